package library

import (
	"context"
	"errors"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// errGivenUp is why what nobody waits for any more is stopped. Nobody is told it.
var errGivenUp = errors.New("nobody waits for it any more")

// flight is something that is being made by one who asked for it, for all who ask meanwhile. x/sync's singleflight
// doesn't know who of these is still there, so that nothing could be stopped for them.
type flight struct {
	waiting int // how many wait for it; guarded by the edition's mu
	stop    context.CancelCauseFunc
	done    chan struct{} // closed when out and err are there
	out     any
	err     error
}

// once has something made by one who asks for it, for all who ask meanwhile. It goes on if they go away, but for a
// statement of people's own: the next one has it then. The limit is of the making; where no place is free in time it is
// ErrBusy.
func (r *Reader) once(ctx context.Context, at Place, limit time.Duration, name string,
	do func(context.Context) (any, error)) (any, error) {
	e := r.of
	e.mu.Lock()
	f := e.flights[name]
	if f == nil {
		making, stop := context.WithCancelCause(context.WithoutCancel(ctx))
		f = &flight{stop: stop, done: make(chan struct{})}
		e.flights[name] = f
		e.readers++ // whoever makes it reads, too, and may outlast who asked
		go r.fly(making, f, at, limit, name, do)
	}
	if !r.ahead {
		f.waiting++
	}
	e.mu.Unlock()
	if !r.ahead {
		r.lib.places[at].tell() // it may be under way already, with nobody waiting
		defer r.leave(f, at, name)
	}
	select {
	case <-f.done:
		return f.out, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// leave is of who waits for a flight no more. A statement of people's own ends with the last of them: it would keep the
// others of its place waiting, for an answer that may never be asked for again.
func (r *Reader) leave(f *flight, at Place, name string) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if f.waiting--; f.waiting == 0 && at == Asking {
		f.stop(errGivenUp)
		r.of.ended(f, name) // who comes now has it made anew
	}
}

// ended has who comes from now on begin another flight. It is called under mu.
func (e *edition) ended(f *flight, name string) {
	if e.flights[name] == f {
		delete(e.flights, name)
	}
}

// fly makes what a flight is for.
func (r *Reader) fly(ctx context.Context, f *flight, at Place, limit time.Duration, name string,
	do func(context.Context) (any, error)) {
	e, places := r.of, r.lib.places[at]
	defer e.release()
	defer f.stop(nil)
	f.out, f.err = func() (out any, err error) {
		defer schemas.Guard(&err)
		wait, stop := context.WithTimeoutCause(ctx, placeWait, ErrBusy)
		defer stop()
		if err := places.take(wait, func() bool { return e.isWaited(f) }); err != nil {
			return nil, err
		}
		defer places.leave()
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return do(ctx)
	}()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended(f, name)
	close(f.done)
}

func (e *edition) isWaited(f *flight) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return f.waiting > 0
}
