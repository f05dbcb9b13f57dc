package extract

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Defaults of a Pacer. The Portal allows 2 requests a second and 20 at once. Even spacing at 1.95 a second keeps
// 12.8 ms of slack between two requests for what the network delays the first of them more than the second.
const (
	DefaultRate        = 1.95
	DefaultMaxInFlight = 20
)

const (
	// After a 429 the gap between requests grows by this much, and the key rests for at least firstRest, twice as
	// long for each 429 without an accepted request in between.
	slowDown  = 1.025
	firstRest = 1 * time.Second
	longRest  = 60 * time.Second
	// The slowest a Pacer becomes: this many times the gap it was made with.
	maxSlowDown = 8
	// The gap shrinks by speedUp after so many accepted requests in a row; each 429 that follows a step back up
	// doubles the number, so that the pacer settles at the rate that draws almost none.
	speedUp      = 0.99
	firstPatient = 50
	maxPatient   = 6400
)

// Pacer spaces the requests of one key evenly: a request is sent no sooner than a gap after the one before it was
// really written to its connection, and it never catches up for time lost. A bucket that allows bursts would be
// answered by 429s where the server counts strictly. A Pacer is safe for concurrent use; it uses the real clock.
type Pacer struct {
	base time.Duration // the gap at the configured rate
	most int           // requests under way at once

	// mu guards all below, and the slots that were given. No other lock is taken while it is held, and nothing waits: who
	// gets a slot is told through a channel with room for it.
	mu       sync.Mutex
	gap      time.Duration // now, ≥ base
	inFlight int           // slots that were given and not released
	granted  bool          // a slot was given and its request isn't written yet: no other is given until it is
	next     time.Time     // no slot is given before
	rest     time.Time     // nor before this, after a 429
	waiting  waitHeap
	arrivals uint64
	timer    *time.Timer // calls dispatch when the next slot is due; nil until one had to wait

	lastThrottle time.Time
	streak       int // 429s since the last accepted request
	accepted     int // accepted requests since the last 429 or step up
	patience     int
	stepped      bool // the gap shrank since the last 429
}

// NewPacer makes a Pacer of rate requests a second with at most inFlight under way. Values ≤ 0 mean the defaults. The
// first request waits for a gap, too: another process may have used the key a moment ago.
func NewPacer(rate float64, inFlight int) *Pacer {
	if rate <= 0 {
		rate = DefaultRate
	}
	if inFlight <= 0 {
		inFlight = DefaultMaxInFlight
	}
	gap := time.Duration(float64(time.Second) / rate)
	return &Pacer{base: gap, gap: gap, most: inFlight, patience: firstPatient, next: time.Now().Add(gap)}
}

// Rate is the current number of requests a second.
func (p *Pacer) Rate() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(time.Second) / float64(p.gap)
}

// slot is the right to send one request. Until it is written no other is given, so one that is neither written nor
// released would stop the key for good: whoever acquires it releases it, whatever happens.
type slot struct {
	p      *Pacer
	sentAt time.Time
	sent   bool
	done   bool
}

type waiter struct {
	priority int64 // lower goes first
	arrival  uint64
	ready    chan *slot
	index    int // in the heap, -1 when out of it
}

// acquire waits for the turn of a request. Among those that wait the lowest priority goes first, then the first come.
// The slot's written must be called when the request is on the wire, and release when its answer is there; release
// alone will do.
func (p *Pacer) acquire(ctx context.Context, priority int64) (*slot, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	p.mu.Lock()
	p.arrivals++
	w := &waiter{priority: priority, arrival: p.arrivals, ready: make(chan *slot, 1)}
	heap.Push(&p.waiting, w)
	p.dispatch()
	p.mu.Unlock()

	select {
	case s := <-w.ready:
		return s, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.index >= 0 {
		heap.Remove(&p.waiting, w.index)
	} else { // the slot came at the same moment: nothing was sent with it, and it is given back
		p.inFlight--
		p.granted = false
		p.dispatch()
	}
	return nil, context.Cause(ctx)
}

// dispatch gives the next slot if its time has come, or sets the timer for when it will. The lock is held.
func (p *Pacer) dispatch() {
	if p.granted || p.inFlight >= p.most || len(p.waiting) == 0 {
		return
	}
	due := p.next
	if p.rest.After(due) {
		due = p.rest
	}
	if wait := time.Until(due); wait > 0 {
		if p.timer == nil {
			p.timer = time.AfterFunc(wait, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.dispatch()
			})
		} else {
			p.timer.Reset(wait)
		}
		return
	}
	w := heap.Pop(&p.waiting).(*waiter)
	p.inFlight++
	p.granted = true
	w.ready <- &slot{p: p}
}

// written says that the request is on the wire now. Only the first call counts.
func (s *slot) written() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.markWritten()
}

// markWritten is written while the lock is held. A request that failed before it was on the wire counts as written when
// it is released: whether the server saw any of it isn't known.
func (s *slot) markWritten() {
	if s.sent {
		return
	}
	s.sent = true
	s.sentAt = time.Now()
	s.p.next = s.sentAt.Add(s.p.gap)
	s.p.granted = false
	s.p.dispatch()
}

// release says that the request is over: accepted by the server's limiter, or for another reason (neither counts).
func (s *slot) release(accepted bool) {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.done {
		return
	}
	s.done = true
	p.inFlight--
	s.markWritten()
	if accepted {
		p.streak = 0
		p.accepted++
		if p.accepted >= p.patience && p.gap > p.base {
			p.gap = max(p.base, time.Duration(float64(p.gap)*speedUp))
			p.accepted = 0
			p.stepped = true
		}
	}
	p.dispatch()
}

// throttled says that the request was answered by a 429, and how long the server asked to wait (0: it didn't). The
// whole key rests and slows down. 429s to requests that were sent before the last one was answered tell nothing new.
func (s *slot) throttled(retryAfter time.Duration) {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !s.sentAt.Before(p.lastThrottle) {
		p.lastThrottle = now
		rest := longRest
		if p.streak < 6 {
			rest = firstRest << p.streak
		}
		p.streak++
		if p.stepped {
			p.patience = min(p.patience*2, maxPatient)
			p.stepped = false
		}
		p.accepted = 0
		p.gap = min(time.Duration(float64(p.gap)*slowDown), p.base*maxSlowDown)
		p.restUntil(now.Add(min(rest, longRest)))
	}
	if retryAfter > 0 {
		p.restUntil(now.Add(retryAfter))
	}
}

// restUntil makes the key rest at least until t. The lock is held.
func (p *Pacer) restUntil(t time.Time) {
	if t.After(p.rest) {
		p.rest = t
	}
}

// waitHeap orders waiters by priority, then by arrival.
type waitHeap []*waiter

func (h waitHeap) Len() int { return len(h) }
func (h waitHeap) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority < h[j].priority
	}
	return h[i].arrival < h[j].arrival
}
func (h waitHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *waitHeap) Push(x any) {
	w := x.(*waiter)
	w.index = len(*h)
	*h = append(*h, w)
}
func (h *waitHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	w.index = -1
	*h = old[:len(old)-1]
	return w
}
