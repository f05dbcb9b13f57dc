package serve

import (
	"context"
	"sync"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// retryEvery is how soon a question is asked again that had no answer.
const retryEvery = 15 * time.Second

// latest is the last answer to a question that may take long. It is asked in the background, once at a time, and only
// when somebody wants to know. Its three promises: no request waits longer than its own ctx; a question that hangs is
// one goroutine and not one for each request; and what takes long is left alone for ten times as long, unless something
// happened.
type latest[T any] struct {
	ask   func(context.Context) (T, error)
	now   func() time.Time
	every time.Duration // an answer is good for so long, and for ten times what it took; 0: it is asked each time
	limit time.Duration // a question is given up after it

	// mu guards all below. It is never held while asking. asking and cancel are those of the question under way; last
	// changes only when one ends, in the same breath in which asking is closed.
	mu    sync.Mutex
	last  reading[T]
	ended time.Time     // of the last question
	took  time.Duration // of the last question
	// What was told may have changed. A question that is under way then may have looked before that, so it clears nothing:
	// the next start asks once more.
	expired bool
	asking  chan struct{} // closed when the question under way has its answer; nil if none is
	cancel  context.CancelFunc
	closed  bool
}

// reading is an answer.
type reading[T any] struct {
	Value   T         // the last that could be had
	At      time.Time // when it was asked for; zero: there is no Value yet
	Err     error     // why there is no later one
	Pending bool      // a later one was asked for and took too long
}

// start asks if the last answer is too old, and doesn't wait. What carries the question outlives ctx: who asked may
// hang up, and the next one gets the answer.
func (l *latest[T]) start(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	age := l.now().Sub(l.ended).Abs() // a clock that is set back makes no answer young
	// With every = 15 s: an answer is good for 15 s, one that took 3 s to get for 30 s, and an error for 15 s. With every
	// = 0 nothing is good, whatever it took.
	good := l.every
	if l.last.Err != nil {
		good = min(good, retryEvery)
	}
	if good > 0 {
		good = max(good, 10*l.took)
	}
	if l.asking != nil || l.closed || !l.expired && !l.ended.IsZero() && age < good {
		return
	}
	ctx, l.cancel = context.WithTimeout(context.WithoutCancel(ctx), l.limit)
	l.expired, l.asking = false, make(chan struct{})
	go l.run(ctx, l.now())
}

// run puts the question. An error leaves the last value, with why there is no later one beside it. At is when it was
// asked for, and not when the answer came: what has changed since then isn't in it.
func (l *latest[T]) run(ctx context.Context, asked time.Time) {
	value, err := l.guarded(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel()
	l.ended = l.now()
	l.took = l.ended.Sub(asked)
	l.last.Err = err
	if err == nil {
		l.last.Value, l.last.At = value, asked
	}
	close(l.asking)
	l.asking = nil
}

// guarded asks; a panic is an error, for what is shown must not end what is run.
func (l *latest[T]) guarded(ctx context.Context) (value T, err error) {
	defer schemas.Guard(&err)
	return l.ask(ctx)
}

// get starts and waits until ctx ends at the most.
func (l *latest[T]) get(ctx context.Context) reading[T] {
	l.start(ctx)
	l.mu.Lock()
	asking := l.asking
	l.mu.Unlock()
	if asking != nil {
		select {
		case <-asking:
		case <-ctx.Done():
			select { // both may be true
			case <-asking:
			default:
				l.mu.Lock()
				defer l.mu.Unlock()
				out := l.last
				out.Pending = true
				return out
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// expire has the next start ask anew.
func (l *latest[T]) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired = true
}

// stop gives up the question under way, and waits for it until ctx ends. No other is asked after it. A question that
// doesn't heed its context is left behind; the process ends soon.
func (l *latest[T]) stop(ctx context.Context) {
	l.mu.Lock()
	l.closed = true
	asking := l.asking
	if asking != nil {
		l.cancel()
	}
	l.mu.Unlock()
	if asking != nil {
		select {
		case <-asking:
		case <-ctx.Done():
		}
	}
}
