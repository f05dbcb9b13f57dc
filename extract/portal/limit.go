package portal

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// LimitKind is how the requests of a key are counted.
type LimitKind int

const (
	Sliding LimitKind = iota // no more than Rate in any one second
	Fixed                    // no more than Rate in each second of the clock
	Bucket                   // a token bucket, refilled at Rate, holding Burst
	Off                      // no limit
)

// ParseLimitKind reads sliding, fixed, bucket or off.
func ParseLimitKind(s string) (LimitKind, error) {
	for k := Sliding; k <= Off; k++ {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf("%q is none of sliding, fixed, bucket, off", s)
}

func (k LimitKind) String() string {
	return [...]string{"sliding", "fixed", "bucket", "off"}[k]
}

// LimitOptions is what each key is allowed. The zero value is what the Portal documents, counted in the strictest way.
type LimitOptions struct {
	Rate        float64 // requests a second; zero is 2. Below 1, or broken, a window is longer than that: 0.5 is 1 in 2 s
	Concurrency int     // requests at once; zero is 20
	Kind        LimitKind
	Burst       int // what a Bucket holds; zero is 1

	// RetryAfter says what a 429 carries: "" nothing, "seconds" or "date" a Retry-After header of whole seconds.
	RetryAfter string
	// Headers adds X-RateLimit-Limit, -Remaining and -Reset (Unix seconds) to every answer.
	Headers bool
	// Clock is what the limiter goes by; nil is time.Now, with its monotonic reading.
	Clock func() time.Time
}

func (o *LimitOptions) setDefaults() error {
	if o.Rate == 0 {
		o.Rate = 2
	}
	if o.Concurrency == 0 {
		o.Concurrency = 20
	}
	if o.Burst == 0 {
		o.Burst = 1
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	var errs []error
	if !(o.Rate > 0 && o.Rate <= 1e6) {
		errs = append(errs, fmt.Errorf("limit: rate %v: must be above 0 and at most 1e6", o.Rate))
	}
	if o.Concurrency < 0 || o.Burst < 0 {
		errs = append(errs, fmt.Errorf("limit: concurrency %d, burst %d: must not be negative", o.Concurrency, o.Burst))
	}
	if o.Kind < Sliding || o.Kind > Off {
		errs = append(errs, fmt.Errorf("limit: no kind %d", o.Kind))
	}
	if o.RetryAfter != "" && o.RetryAfter != "seconds" && o.RetryAfter != "date" {
		errs = append(errs, fmt.Errorf("limit: retry-after %q is none of seconds, date", o.RetryAfter))
	}
	return errors.Join(errs...)
}

// limiter counts the requests of one key. A refused request costs nothing, so that a client that waits long enough is
// always let through.
type limiter struct {
	o      LimitOptions
	most   int           // requests per window
	window time.Duration // a second, or longer for a broken rate

	mu       sync.Mutex
	inFlight int
	took     []time.Time // Sliding: accepted requests of the last window, oldest first
	slot     int64       // Fixed: the second, and how many it has had
	inSlot   int
	tokens   float64 // Bucket, as of filled
	filled   time.Time
}

func newLimiter(o LimitOptions) *limiter {
	l := &limiter{o: o, most: int(o.Rate), window: time.Second, tokens: float64(o.Burst), filled: o.Clock()}
	if o.Rate != math.Trunc(o.Rate) {
		l.most = int(math.Ceil(o.Rate))
		l.window = time.Duration(float64(l.most) / o.Rate * float64(time.Second))
	}
	return l
}

// verdict is what the limiter says of a request.
type verdict struct {
	ok        bool
	reason    string        // of a refusal
	wait      time.Duration // until a request would be accepted, as far as the rate goes
	remaining int
}

// acquire asks for one request. If it is accepted, release must be called at its end.
func (l *limiter) acquire() verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.o.Kind == Off {
		l.inFlight++
		return verdict{ok: true, remaining: l.most}
	}
	if l.inFlight >= l.o.Concurrency {
		return verdict{reason: fmt.Sprintf("%d requests under way already", l.inFlight), wait: time.Second}
	}
	now := l.o.Clock()
	v := l.rate(now)
	if v.ok {
		l.inFlight++
	} else {
		v.reason = fmt.Sprintf("more than %v requests per second", l.o.Rate)
	}
	return v
}

func (l *limiter) rate(now time.Time) verdict {
	switch l.o.Kind {
	case Sliding:
		for len(l.took) > 0 && now.Sub(l.took[0]) >= l.window {
			l.took = l.took[1:]
		}
		if len(l.took) >= l.most {
			return verdict{wait: l.window - now.Sub(l.took[0])}
		}
		l.took = append(l.took, now)
		return verdict{ok: true, remaining: l.most - len(l.took)}
	case Fixed:
		slot := now.UnixNano() / int64(l.window)
		if slot != l.slot {
			l.slot, l.inSlot = slot, 0
		}
		if l.inSlot >= l.most {
			return verdict{wait: time.Duration((slot+1)*int64(l.window) - now.UnixNano())}
		}
		l.inSlot++
		return verdict{ok: true, remaining: l.most - l.inSlot}
	default: // Bucket
		l.tokens = min(l.tokens+now.Sub(l.filled).Seconds()*l.o.Rate, float64(l.o.Burst))
		l.filled = now
		const grain = 1e-9 // what floats lose is not held against the client
		if l.tokens < 1-grain {
			return verdict{wait: time.Duration((1 - l.tokens) / l.o.Rate * float64(time.Second))}
		}
		l.tokens = max(l.tokens-1, 0)
		return verdict{ok: true, remaining: int(l.tokens)}
	}
}

func (l *limiter) release() {
	l.mu.Lock()
	l.inFlight--
	l.mu.Unlock()
}
