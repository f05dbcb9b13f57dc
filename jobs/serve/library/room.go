package library

import (
	"context"
	"slices"
	"sync"
)

// room has some places at which things are made. Who is waited for gets the first that is free, one after the other in
// the order in which they came. What is made before anybody asks for it gets one while nobody waits, and never the
// last: who comes then finds it free.
type room struct {
	mu      sync.Mutex
	free    int
	queue   []*bool       // who is waited for and has no place yet
	changed chan struct{} // closed, and another one, whenever something of this changes
}

func newRoom(places int) *room { return &room{free: places, changed: make(chan struct{})} }

// take takes a place, which leave gives back. waited says whether somebody waits for what is to be made; where that
// changes, tell has to be called.
func (r *room) take(ctx context.Context, waited func() bool) error {
	me := new(bool)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.forget(me)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		now := waited()
		if now && !slices.Contains(r.queue, me) {
			r.queue = append(r.queue, me)
		} else if !now {
			r.forget(me)
		}
		if r.free > 0 && now && r.queue[0] == me || r.free > 1 && len(r.queue) == 0 {
			r.free--
			return nil
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		r.mu.Lock()
	}
}

// forget takes who has a place, or gave up, out of the queue.
func (r *room) forget(me *bool) {
	if i := slices.Index(r.queue, me); i >= 0 {
		r.queue = slices.Delete(r.queue, i, i+1)
		r.told()
	}
}

func (r *room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free++
	r.told()
}

// tell has who waits look again.
func (r *room) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told()
}

func (r *room) told() {
	close(r.changed)
	r.changed = make(chan struct{})
}
