package library

import (
	"context"
	"slices"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

const (
	// mostAgain is how many addresses are made anew after a publish, and unasked how many publishes one is made for that
	// nobody asks for any more.
	mostAgain = 50
	unasked   = 3
)

// wanted is an address that was asked for.
type wanted struct {
	who     Sight
	name    string // of who, as a Reader's scope
	address string
	made    int // how often it was made since
}

func (w wanted) same(o wanted) bool { return w.name == o.name && w.address == o.address }

// Asked notes that an address was asked for, so that it is made anew after the next publish.
func (r *Reader) Asked(address string) {
	w := wanted{Sight{r.SeesAll(), r.Scope}, r.scope, address, 0}
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.of.wanted = slices.DeleteFunc(r.of.wanted, w.same)
	r.of.wanted = slices.Insert(r.of.wanted, 0, w)
	r.of.wanted = r.of.wanted[:min(len(r.of.wanted), mostAgain)]
}

// Ahead is what Watch makes pages by.
type Ahead struct {
	First func(context.Context, *Reader) ([]string, error) // the addresses that who sees all asks for first
	Again func(context.Context, *Reader, string) error     // makes an address
	Holds func(Sight) bool                                 // whether there is still somebody who sees that
}

// Watch looks at each tick whether another file is published, until ctx ends. Of each, the first one too, it has made
// what who sees all asks for first, and then what was asked for of the file before, what was asked for last
// first: one after the other, and only while nobody waits for a place. What fails is left to who asks for it.
func (l *Library) Watch(ctx context.Context, tick <-chan time.Time, by Ahead) {
	var last *edition
	stop, done := func() {}, make(chan struct{})
	close(done)
	for {
		if e, err := l.edition(); err == nil {
			if e != last {
				stop()
				<-done
				last, done = e, make(chan struct{})
				var inside context.Context
				inside, stop = context.WithCancel(ctx)
				go func() {
					defer close(done)
					l.ahead(inside, e, by)
				}()
			}
			e.release()
		}
		select {
		case <-tick:
		case <-ctx.Done():
			stop()
			<-done
			return
		}
	}
}

// ahead makes pages of an edition before they are asked for.
func (l *Library) ahead(ctx context.Context, e *edition, by Ahead) {
	var all []wanted
	if r, err := l.readerOf(ctx, Sight{All: true}, true); err == nil {
		addresses, _ := by.First(ctx, r) // what keeps them from being made, who asks is told
		for _, address := range addresses {
			all = append(all, wanted{who: Sight{All: true}, address: address})
		}
		r.Close()
	}
	e.mu.Lock()
	for _, w := range e.before {
		if !slices.ContainsFunc(all, w.same) {
			all = append(all, w)
		}
	}
	e.mu.Unlock()
	for _, w := range all {
		if ctx.Err() != nil {
			return
		}
		if !by.Holds(w.who) {
			continue
		}
		r, err := l.readerOf(ctx, w.who, true)
		if err != nil { // a viewer's file may be under way
			continue
		}
		if r.of == e {
			_ = guarded(func() error { return by.Again(ctx, r, w.address) })
		}
		r.Close()
	}
}

// guarded has a panic be an error: nobody's request is there that it could end with.
func guarded(do func() error) (err error) {
	defer schemas.Guard(&err)
	return do()
}

// after are the addresses that a file published after this one begins with.
func (e *edition) after() (out []wanted) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range slices.Concat(e.wanted, e.before) {
		if w.made++; w.made <= unasked && !slices.ContainsFunc(out, w.same) && len(out) < mostAgain {
			out = append(out, w)
		}
	}
	return out
}
