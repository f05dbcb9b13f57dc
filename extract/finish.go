package extract

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// What can be told only once the other windows have been fetched: whether an empty window is one (an outage may answer
// empty), whether a record that one window showed is held by the one it belongs to, and where the Portal's records
// begin.

// look is a window that came back empty.
type look struct {
	task  *task
	pass  *pass
	proof string // that nothing is listed, where a total said otherwise; "" if that is still to be looked at
	at    time.Time
}

// manyLooks is how many looks have to agree that there is nothing, once the server has answered empty where there was
// something.
const manyLooks = 10

// fewLooks have to agree where it is not known to.
const fewLooks = 3

// apart is how long after the first look at an empty window the second is taken at the earliest.
const apart = 2 * time.Second

// refused is a window that the server won't answer for.
type refused struct {
	task *task
	err  error
}

// border is the end of a window and what it has shown of the time before its own start.
type border struct {
	start, end int64
	early      []entry // records that it listed, but that show an earlier time than it begins
	tail       map[recordKey]struct{}
	asked      int64 // up to where it was asked for
	edge       bool  // of no window: a part of what lies behind one, so that there may be more than the early ones
}

// findings are what the windows of a Fetch have shown: for its Outcome, and for finish. Goroutines of windows note what
// they have found; finish, which runs alone, takes it out.
type findings struct {
	// mu guards all below. Nothing is asked and no other lock is taken while it is held.
	mu       sync.Mutex
	out      Outcome
	empties  []*look
	refusals []refused
	borders  []border
	first    time.Time   // start of the earliest window that was answered; zero if none was
	some     []time.Time // starts of windows that had records
}

func (f *findings) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out, f.empties, f.refusals, f.borders, f.first, f.some = Outcome{}, nil, nil, nil, time.Time{}, nil
}

// outcome is the Outcome, in time order.
func (f *findings) outcome() Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.out.Failed, func(a, b schemas.FailedWindow) int { return a.Start.Compare(b.Start) })
	return f.out
}

// failed reports a window.
func (f *findings) failed(w schemas.Window, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail(w, err)
}

// fail is failed while the lock is held.
func (f *findings) fail(w schemas.Window, err error) {
	f.out.Failed = append(f.out.Failed, schemas.FailedWindow{Start: w.Start, End: w.End, Error: err.Error()})
}

// stays reports a window of which what is held stays, for what came is no better.
func (f *findings) stays(w schemas.Window, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Kept++
	f.fail(w, err)
}

// doubted notes a doubt.
func (f *findings) doubted(d Doubt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Doubts = append(f.out.Doubts, d)
}

// beginsAt notes that the Portal's records begin no earlier than at, and returns the latest such time.
func (f *findings) beginsAt(at time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out.Horizon.Before(at) {
		f.out.Horizon = at
	}
	return f.out.Horizon
}

// answered notes that a window was, with so many records.
func (f *findings) answered(w schemas.Window, rows int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rows > 0 {
		f.some = append(f.some, w.Start)
	}
	if f.first.IsZero() || w.Start.Before(f.first) {
		f.first = w.Start
	}
}

// empty notes a window that came back empty now.
func (f *findings) empty(t *task, p *pass, proof string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.empties = append(f.empties, &look{task: t, pass: p, proof: proof, at: time.Now()})
}

// refused notes a window that the server won't answer for.
func (f *findings) refused(t *task, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals = append(f.refusals, refused{t, err})
}

// border notes what is to be held against the window before t's and the one behind it.
func (f *findings) border(t *task, p *pass) {
	if t.must != nil || t.tail {
		return
	}
	f.note(borderOf(t.window, p))
}

func (f *findings) note(b border) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.borders = append(f.borders, b)
}

// refusedBefore are the refused windows, in order of time, and the start of the earliest window that was answered.
func (f *findings) refusedBefore() ([]refused, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.refusals, func(a, b refused) int { return a.task.window.Start.Compare(b.task.window.Start) })
	return slices.Clone(f.refusals), f.first
}

// narrowed puts a half in place of the last of the refused windows.
func (f *findings) narrowed(half *task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals[len(f.refusals)-1].task = half
}

// forgive forgets the refused windows.
func (f *findings) forgive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusals = nil
}

// takeEmpties takes out the windows that came back empty since it last did.
func (f *findings) takeEmpties() []*look {
	f.mu.Lock()
	defer f.mu.Unlock()
	looks := f.empties
	f.empties = nil
	return looks
}

// takeBorders takes out the borders that were noted since it last did.
func (f *findings) takeBorders() []border {
	f.mu.Lock()
	defer f.mu.Unlock()
	borders := f.borders
	f.borders = nil
	return borders
}

// silent says that nothing came of an earlier window of which records are held, nor of any between the two: it isn't
// only that the Portal has forgotten the earlier one.
func (f *findings) silent(w schemas.Window) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.out.Doubts, func(d Doubt) bool {
		came := func(at time.Time) bool { return d.Window.Start.Before(at) && at.Before(w.Start) }
		return d.Came == 0 && !slices.ContainsFunc(f.some, came)
	})
}

// borderOf is the border of a window that a pass went through.
func borderOf(w schemas.Window, p *pass) border {
	b := border{start: w.Start.Unix(), end: w.End.Unix(), asked: p.end, tail: map[recordKey]struct{}{}}
	for _, e := range p.entries {
		switch {
		case e.at == noTime || !e.key.hasID():
		case e.at < b.start && e.at >= b.start-maxMargin:
			b.early = append(b.early, e)
		case e.at >= b.end-maxMargin && e.at < b.end:
			b.tail[e.key] = struct{}{}
		}
	}
	return b
}

// finish looks at what the windows of a run have shown together. It reports whether there is more to fetch.
func (f *Fetcher) finish(ctx context.Context, sink Sink) (bool, error) {
	if err := f.lookAgain(ctx, sink); err != nil {
		return false, err
	}
	if err := f.holdBorders(ctx); err != nil {
		return false, err
	}
	f.horizon()
	return !f.queue.isEmpty(), nil
}

// lookAgain asks once more for each stretch of time that came back empty, in one request; and many times, if the server
// is known to answer empty where there is something. Where there is something now, its windows are fetched again.
func (f *Fetcher) lookAgain(ctx context.Context, sink Sink) error {
	looks := f.found.takeEmpties()
	var empty, proven []*look
	for _, l := range looks {
		if l.proof != "" {
			proven = append(proven, l)
		} else {
			empty = append(empty, l)
		}
	}
	looks = empty
	slices.SortFunc(looks, func(a, b *look) int { return a.task.window.Start.Compare(b.task.window.Start) })
	var stretches [][]*look
	for len(looks) > 0 {
		n := 1
		for n < len(looks) && looks[n-1].task.window.End.Equal(looks[n].task.window.Start) &&
			looks[n].task.window.End.Unix()-looks[0].task.window.Start.Unix() <= f.server.longestRange() {
			n++
		}
		stretches, looks = append(stretches, looks[:n]), looks[n:]
	}
	for n := 1; n < fewLooks || n < manyLooks && f.server.knowsBlanks(); n++ {
		var still [][]*look
		for _, s := range stretches {
			left, err := f.lookAt(ctx, s)
			if err != nil {
				return err
			}
			still = append(still, left...)
		}
		stretches = still
	}
	empty = append(slices.Concat(stretches...), proven...)
	// What is held is looked at first: where that came back empty, too, the other windows may be as little so.
	slices.SortStableFunc(empty, func(a, b *look) int { return cmp.Compare(b.task.held.size(), a.task.held.size()) })
	for _, l := range empty {
		if l.task.held.size() == 0 && f.found.silent(l.task.window) {
			f.found.failed(l.task.window, fmt.Errorf(
				"window %s came back empty, and so did one of which records are held: %w", l.task.window, ErrTemporary))
			continue
		}
		if err := f.keep(ctx, l.task, l.pass, cmp.Or(l.proof, schemas.ProofEmpty), sink); err != nil {
			return err
		}
	}
	return nil
}

// lookAt asks for a stretch of time once more, and returns it if there is nothing still, or what is left of it to be
// kept.
func (f *Fetcher) lookAt(ctx context.Context, looks []*look) ([][]*look, error) {
	last := slices.MaxFunc(looks, func(a, b *look) int { return a.at.Compare(b.at) })
	if wait := apart - time.Since(last.at); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-timer.C:
		}
	}
	before, behind := f.server.margins() // those of now: more may have been learnt since the first look
	from, to := looks[0].task.window.Start, looks[len(looks)-1].task.window.End
	a := looks[0].pass.ask.between(from.Unix()-before, to.Unix()+behind)
	c, err := f.prover.count(ctx, looks[0].task, a)
	switch {
	case refusal(err) && len(looks) > 1: // too long a range, perhaps
		var out [][]*look
		for _, half := range [][]*look{looks[:len(looks)/2], looks[len(looks)/2:]} {
			left, err := f.lookAt(ctx, half)
			if err != nil {
				return nil, err
			}
			out = append(out, left...)
		}
		return out, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		for _, l := range looks {
			f.found.failed(l.task.window, fmt.Errorf("it came back empty, and the second look failed: %w", err))
		}
		return nil, nil
	}
	// A window that had records before it came back empty is none that is empty.
	contradicted := slices.ContainsFunc(looks, func(l *look) bool {
		return l.task.budget.listed.Load() && !l.task.budget.kept.Load()
	})
	if !contradicted && c.isNothing() {
		return [][]*look{looks}, nil
	}
	f.log.Warn("a stretch of time came back empty and isn't: it is fetched again", "from", from, "to", to)
	f.server.blank()
	for _, l := range looks {
		if l.task.looks++; l.task.looks > manyLooks {
			f.found.failed(l.task.window,
				fmt.Errorf("it comes back empty, and a look at its stretch of time doesn't: %w", ErrTemporary))
			continue
		}
		f.queue.add(l.task)
	}
	return nil, nil
}

// holdBorders sees that what a window has shown of the time before its start is held by the window that the time
// belongs to, and else has the end of that fetched again, with more asked for behind it.
func (f *Fetcher) holdBorders(ctx context.Context) error {
	borders := f.found.takeBorders()
	_, behind := f.server.margins()
	for _, b := range borders {
		follows := func(o border) bool { return !o.edge && o.start <= b.end && o.end > b.end }
		if !b.edge && b.asked < b.end+behind && !slices.ContainsFunc(borders, follows) {
			// Nothing behind it would show what it lacks, since the margin was learnt; and some may be later than what it was
			// learnt from.
			tail := f.window(max(b.start, b.end-2*behind), b.end)
			f.queue.add(&task{window: tail, budget: &budgetOf{}, tail: true})
		}
		var lacking, elsewhere []entry
		for _, e := range b.early {
			owns := func(o border) bool { return o.end <= b.start && o.start <= e.at && e.at < o.end }
			// If the window that owns it is of this run its tail tells whether it has it; else only what is held does.
			i := slices.IndexFunc(borders, owns)
			if i < 0 {
				if e.at < b.start-Margin || behind > 0 { // else it came with the margin, and says nothing
					elsewhere = append(elsewhere, e)
				}
			} else if _, ok := borders[i].tail[e.key]; !ok {
				lacking = append(lacking, e)
			}
		}
		for _, t := range f.taskFor(elsewhere) {
			held, err := f.heldOf(ctx, t.window)
			if err != nil {
				return err
			}
			for _, e := range t.must {
				if held.lacks(e) {
					lacking = append(lacking, e)
				}
			}
		}
		if b.edge && len(lacking) > 0 { // an edge shows a part of what lies behind it: the whole end of its window may lack
			lacking = append(lacking, entry{at: b.start - 2*behind}, entry{at: b.start - 1})
		}
		for _, t := range f.taskFor(lacking) {
			f.log.Info("records that began before a window was over and were settled after it are fetched",
				"window", t.window.String(), "records", len(t.must))
			f.queue.add(t)
		}
	}
	return nil
}

// taskFor makes a task for each day of the stretch of time that records lie in; none for none. Those without a key only
// widen it.
func (f *Fetcher) taskFor(records []entry) []*task {
	if len(records) == 0 {
		return nil
	}
	byTime := func(a, b entry) int { return cmp.Compare(a.at, b.at) }
	from, to := slices.MinFunc(records, byTime).at, slices.MaxFunc(records, byTime).at+1
	whole := &task{window: f.window(from, to), budget: &budgetOf{}, must: records}
	return whole.cut(whole.window.Days())
}

// window is one of the account, from Unix seconds.
func (f *Fetcher) window(start, end int64) schemas.Window {
	return schemas.Window{Account: f.prover.client.opts.Account,
		Start: time.Unix(start, 0).UTC(), End: time.Unix(end, 0).UTC()}
}

// edge looks at what is listed right behind a window that no other one follows, in one request: what began before its
// end and was settled after it shows there alone.
func (f *Fetcher) edge(ctx context.Context, end int64) error {
	_, behind := f.server.margins()
	from, to := end+behind+Margin, end+2*behind+shortRange
	if f.prover.client.opts.Now().Unix()-to < int64(time.Hour/time.Second) {
		return nil // the next run's window begins here
	}
	w := f.window(end, to)
	p, err := f.prover.open(ctx, ask{window: w, start: from, end: to})
	if err == nil {
		err = f.prover.announcedPages(ctx, p, 20)
	}
	if err != nil { // it was no window's, so none has failed: what it would have shown stays unknown
		return context.Cause(ctx)
	}
	if early, _ := p.strays(); early > behind {
		f.server.strays(w, early, 0)
	}
	b := borderOf(w, p)
	b.edge, b.tail = true, nil
	f.found.note(b)
	return nil
}

// horizon decides what the windows that the server refused are: if they lie before all that it answered for, its
// records begin there, and the last of them is halved to find out where. Else they have failed.
func (f *Fetcher) horizon() {
	refusals, first := f.found.refusedBefore()
	if len(refusals) == 0 || !f.queue.isEmpty() {
		return
	}
	last := refusals[len(refusals)-1]
	if first.IsZero() || !last.task.window.Start.Before(first) {
		for _, r := range refusals {
			f.log.Warn("window failed", "window", r.task.window.String(), "error", r.err)
			f.found.failed(r.task.window, r.err)
		}
	} else if w := last.task.window; w.Seconds() > finest && w.End.Equal(first) {
		halves := last.task.cut(w.Split(2))
		f.found.narrowed(halves[0]) // it begins where the whole did, which was refused
		f.queue.add(halves[1])
		return
	} else {
		at := f.found.beginsAt(w.End)
		f.log.Warn("the API refuses to answer for what lies before: its records begin here", "at", at, "error", last.err)
	}
	f.found.forgive()
	f.server.forgiven()
}

// finest is how exactly the horizon is looked for, in seconds.
const finest = 60
