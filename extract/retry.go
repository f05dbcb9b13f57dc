package extract

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Retry says how long what may pass is asked again. The zero value means the defaults.
type Retry struct {
	// Attempts is how often one request is sent at most, 429s not counted (default 7, over about a minute).
	Attempts int
	// Base and Cap bound the wait before attempt n: random in [0, min(Cap, Base × 2ⁿ)) (default 500 ms and 30 s).
	Base, Cap time.Duration
	// Throttled is how long 429s are put up with while no request of the client is accepted (default 10 minutes), or
	// how long a Retry-After may be at the most.
	Throttled time.Duration
	// Silent is how long one request is tried while no request of the client has ever had an answer (default 75 s):
	// then the host isn't there, rather than out of order for a while.
	Silent time.Duration
}

func (r Retry) withDefaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 7
	}
	if r.Base <= 0 {
		r.Base = 500 * time.Millisecond
	}
	if r.Cap <= 0 {
		r.Cap = 30 * time.Second
	}
	if r.Throttled <= 0 {
		r.Throttled = 10 * time.Minute
	}
	if r.Silent <= 0 {
		r.Silent = 75 * time.Second
	}
	return r
}

// budget counts the attempts of one request.
type budget struct {
	Retry
	began    time.Time
	attempts int       // sent so far
	failures int       // of these, not 429
	since    time.Time // began, or when the client last had an answer that was no 429, if that is later
}

func (r Retry) start() *budget {
	now := time.Now()
	return &budget{Retry: r, began: now, since: now}
}

// silent says that after a wait of so long no time is left to try a host that has never answered.
func (b *budget) silent(wait time.Duration) bool { return time.Since(b.began)+wait >= b.Silent }

// next decides whether a request that ended in e is sent again, and after what wait. After a 429 the pacer makes the
// whole key wait, so the request itself doesn't; accepted is when the client last had an answer that was none.
func (b *budget) next(e *APIError, accepted time.Time) (time.Duration, bool) {
	b.attempts++
	switch {
	case errors.Is(e, ErrThrottled):
		if accepted.After(b.since) {
			b.since = accepted
		}
		return 0, time.Since(b.since) < b.Throttled && e.retryAfter <= b.Throttled
	case errors.Is(e, ErrTemporary):
		b.failures++
		if b.failures >= b.Attempts || e.retryAfter > b.Throttled {
			return 0, false
		}
		top := b.Cap
		if b.failures < 16 {
			top = min(b.Cap, b.Base<<(b.failures-1))
		}
		return max(rand.N(top), e.retryAfter), true
	default:
		return 0, false
	}
}
