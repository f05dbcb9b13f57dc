package extract

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/usagelake/usagelake/schemas"
)

// hopeless is how many windows may fail in a row before the rest isn't tried in this run.
const hopeless = 3

// queue holds the windows of a Fetch until they are done: those that wait, and those under way. It decides which is
// next and when, and foresees which have to be cut. It asks nothing and judges nothing.
type queue struct {
	server  *server
	planned int // records that a window is planned to hold at the most
	atOnce  int // windows that may be under way

	// mu guards all below, and every progress of a task under way. The server's lock is taken while it is held, never the
	// other way about.
	mu sync.Mutex
	// changed wakes take, which waits while nothing is to be given out. It is told of whatever may end that: a window that
	// is done or cut, a page that was let through, the end of the context. What only makes it wait longer tells nobody.
	changed sync.Cond
	waiting []*task            // in time order when a run begins; the parts of a window go in front
	active  map[*task]struct{} // under way; where a Fetch stops, what it leaves to do
	inARow  int                // windows that failed since one was answered
	ends    []int64            // of windows that no other follows, until they were looked beyond
	// density is records a second over the last day or so of what was fetched: that of a second, or of a night, alone says
	// nothing of the day around it.
	density struct{ rows, seconds float64 }
}

// task is a window to be fetched. From take on it is its goroutine's alone, but for progress.
type task struct {
	window   schemas.Window
	budget   *budgetOf // of the window it is a part of
	progress *progress // since take
	passes   int
	held     *Held
	must     []entry // what another window has shown to belong to this one
	tail     bool    // the end of a window that was kept, once more
	looks    int     // how often it came back empty and was not
}

// budgetOf bounds the requests that a planned window and its parts may take. The parts share it side by side.
type budgetOf struct {
	used, pages atomic.Int64
	listed      atomic.Bool // a pass through it had records
	kept        atomic.Bool // one of its windows that has records was kept
}

// grow makes room for a window of so many pages.
func (b *budgetOf) grow(pages int) {
	for {
		n := b.pages.Load()
		if int64(pages) <= n || b.pages.CompareAndSwap(n, int64(pages)) {
			return
		}
	}
}

// cut makes tasks of the parts of one.
func (t *task) cut(windows []schemas.Window) []*task {
	var out []*task
	for _, w := range windows {
		part := &task{window: w, budget: t.budget}
		for _, e := range t.must {
			if e.key.hasID() && e.at >= w.Start.Unix() && e.at < w.End.Unix() {
				part.must = append(part.must, e)
			}
		}
		out = append(out, part)
	}
	return out
}

func newQueue(s *server, planned, atOnce int) *queue {
	q := &queue{server: s, planned: planned, atOnce: atOnce, active: map[*task]struct{}{}}
	q.changed.L = &q.mu
	return q
}

// reset begins a Fetch of windows. What an earlier one left to do is forgotten; how dense its records were isn't.
func (q *queue) reset(windows []schemas.Window) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting, q.ends, q.inARow = nil, nil, 0
	clear(q.active)
	for _, w := range windows {
		q.waiting = append(q.waiting, &task{window: w, budget: &budgetOf{}})
		follows := func(o schemas.Window) bool { return !o.Start.After(w.End) && o.End.After(w.End) }
		if !slices.ContainsFunc(windows, follows) {
			q.ends = append(q.ends, w.End.Unix())
		}
	}
}

// sort puts what waits in order of time.
func (q *queue) sort() {
	q.mu.Lock()
	defer q.mu.Unlock()
	slices.SortFunc(q.waiting, func(a, b *task) int { return a.window.Start.Compare(b.window.Start) })
}

// wake has take look again whether its context has ended.
func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

// take gives the next task once it is time for it: when the pacer has let through every page that could be asked for,
// so that it always has one to send and no more windows are in memory than that takes. The first goes alone, for it
// shows what pages the server gives. It returns false when there is nothing left to do and nobody who might add to it,
// or ctx has ended: what waits then stays.
func (q *queue) take(ctx context.Context) (*task, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil && len(q.active) > 0 && (len(q.waiting) == 0 || q.full()) {
		q.changed.Wait()
	}
	if len(q.waiting) == 0 || ctx.Err() != nil {
		return nil, false
	}
	t := q.waiting[0]
	q.waiting = q.waiting[1:]
	if windows := q.foresee(t.window); len(windows) > 1 {
		q.waiting = append(t.cut(windows[1:]), q.waiting...)
		t = t.cut(windows[:1])[0]
	}
	t.progress = &progress{queue: q}
	q.active[t] = struct{}{}
	return t, true
}

// full says that another window under way would only wait. The lock is held.
func (q *queue) full() bool {
	return len(q.active) >= q.atOnce || q.isBehind() || !q.server.isAnswered()
}

// isBehind says that an active window has a page that the pacer hasn't let through. The first page of a window is one;
// the others are from when the first has told of them. The lock is held.
func (q *queue) isBehind() bool {
	for t := range q.active {
		if p := t.progress; p.asked < max(1, p.expected) {
			return true
		}
	}
	return false
}

// due are the ends to be looked beyond, once the last window is under way. Each is given out once.
func (q *queue) due() []int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		return nil
	}
	ends := q.ends
	q.ends = nil
	return ends
}

// expected is how many records a window holds if it is as dense as the last ones. The lock is held.
func (q *queue) expected(w schemas.Window) float64 {
	return q.density.rows / max(1, q.density.seconds) * float64(w.Seconds())
}

// foresee splits a window that would hold too much if it is as dense as the last ones, or is longer than the server
// takes. Where it errs, the first page tells, and the window is split then. The lock is held.
func (q *queue) foresee(w schemas.Window) []schemas.Window {
	records := q.expected(w)
	n := max(parts(records, q.server.most()), int(math.Ceil(min(48, records/float64(q.planned)))))
	return w.Split(max(n, int(min(1000, (w.Seconds()-1)/q.server.longestRange()+1))))
}

// add puts tasks behind what waits, for the next run.
func (q *queue) add(tasks ...*task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, tasks...)
}

// isEmpty says that nothing waits.
func (q *queue) isEmpty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0
}

// done takes t off the active ones. Whatever t has shown must be noted before: a run ends when the last one is done.
func (q *queue) done(t *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leave(t)
}

// leave takes t off the active ones, and wakes who waits for work. The lock is held.
func (q *queue) leave(t *task) {
	delete(q.active, t)
	q.changed.Broadcast()
}

// answered takes t off, which was answered with so many records.
func (q *queue) answered(t *task, rows int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inARow = 0
	const day = 24 * 60 * 60
	seconds := float64(t.window.Seconds())
	stays := max(0, 1-seconds/day) // of what was known before: nothing, once a whole day has come
	q.density.rows = q.density.rows*stays + float64(rows)
	q.density.seconds = q.density.seconds*stays + seconds
	q.leave(t)
}

// split takes t off, and puts windows, its parts, in front.
func (q *queue) split(t *task, windows []schemas.Window) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(t.cut(windows), q.waiting...)
	q.leave(t)
}

// failed takes t off, which failed for a reason that may pass. It tells how many have in a row, and once they are too
// many hands back what waits, which isn't tried any more.
func (q *queue) failed(t *task) (rest []*task, inARow int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inARow++
	if q.inARow >= hopeless {
		rest, q.waiting = q.waiting, nil
	}
	q.leave(t)
	return rest, q.inARow
}

// left is how many windows and, as far as can be told, how many pages are to be fetched still.
func (q *queue) left() (windows, pages int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	guess := func(w schemas.Window) int64 {
		return int64(q.expected(w))/int64(max(1, q.server.pageSize())) + 1
	}
	for t := range q.active {
		expected := int64(t.progress.expected)
		if expected == 0 {
			expected = guess(t.window)
		}
		pages += max(0, expected-int64(t.progress.done))
	}
	for _, t := range q.waiting {
		pages += guess(t.window)
	}
	return int64(len(q.waiting) + len(q.active)), pages
}

// progress is how far a pass of a window under way is, as its queue goes by. The methods of nil do nothing: what is
// asked for beside the windows isn't waited for.
type progress struct {
	queue *queue

	// Guarded by the queue's lock. Where a window is paged through again, all of it begins anew.
	expected int // pages, 0 while unknown
	done     int
	asked    int // pages of this pass that the pacer has let through
}

// begin starts a pass: nothing of it has been asked for.
func (p *progress) begin() {
	if p == nil {
		return
	}
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	p.expected, p.done, p.asked = 0, 0, 0
}

// expect notes how many pages the window is thought to have.
func (p *progress) expect(pages int) {
	if p == nil {
		return
	}
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	p.expected = pages
}

// asking notes that the pacer has let the request for a page through.
func (p *progress) asking(page int) {
	if p == nil {
		return
	}
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	p.asked = max(p.asked, page)
	p.queue.changed.Broadcast()
}

// arrived counts a page.
func (p *progress) arrived() {
	if p == nil {
		return
	}
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	p.done++
}
