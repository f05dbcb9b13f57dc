package extract

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// What can be told only once the other windows have been fetched: whether an empty window is one (an outage may answer
// empty), whether a record that one window showed is held by the one it belongs to, and where the Portal's records begin.

// look is a window that came back empty.
type look struct {
	task  *task
	pass  *pass
	proof string // that nothing is listed, where a total said otherwise; "" if that is still to be looked at
	at    time.Time
}

// manyLooks is how many looks have to agree that there is nothing, once the server has answered empty where there was something.
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

// border notes what is to be held against the window before t's and the one behind it. The lock is held.
func (f *Fetcher) border(t *task, p *pass) {
	if t.must != nil || t.tail {
		return
	}
	b := border{start: t.window.Start.Unix(), end: t.window.End.Unix(), asked: p.end, tail: map[recordKey]struct{}{}}
	for _, e := range p.entries {
		switch {
		case e.at == noTime || !e.key.hasID():
		case e.at < b.start && e.at >= b.start-maxMargin:
			b.early = append(b.early, e)
		case e.at >= b.end-maxMargin && e.at < b.end:
			b.tail[e.key] = struct{}{}
		}
	}
	f.borders = append(f.borders, b)
}

// wasRefused says that the server has refused a window that t's is a part of, and that no other size of page or range
// helps.
func (f *Fetcher) wasRefused(w schemas.Window) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.refusals, func(r refused) bool { return !r.task.window.Start.After(w.Start) })
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
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) > 0, nil
}

// lookAgain asks once more for each stretch of time that came back empty, in one request; and many times, if the server is known
// to answer empty where there is something. Where there is something now, its windows are fetched again.
func (f *Fetcher) lookAgain(ctx context.Context, sink Sink) error {
	f.mu.Lock()
	looks := f.empties
	f.empties = nil
	f.mu.Unlock()
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
	for n := 1; n < fewLooks || n < manyLooks && f.knowsBlanks(); n++ {
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
		if l.task.held.size() == 0 && f.silent(l.task.window) {
			f.mu.Lock()
			f.fail(l.task.window, fmt.Errorf("window %s came back empty, and so did one of which records are held: %w", l.task.window, ErrTemporary))
			f.mu.Unlock()
			continue
		}
		if err := f.keep(ctx, l.task, l.pass, cmp.Or(l.proof, schemas.ProofEmpty), sink); err != nil {
			return err
		}
	}
	return nil
}

// silent says that nothing came of an earlier window of which records are held, nor of any between the two: it isn't only that the
// Portal has forgotten the earlier one.
func (f *Fetcher) silent(w schemas.Window) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.out.Doubts, func(d Doubt) bool {
		return d.Came == 0 && !slices.ContainsFunc(f.some, func(at time.Time) bool { return d.Window.Start.Before(at) && at.Before(w.Start) })
	})
}

// blank notes that the server has answered empty where there was something.
func (f *Fetcher) blank() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blanks = true
}

func (f *Fetcher) knowsBlanks() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blanks
}

// lookAt asks for a stretch of time once more, and returns it if there is nothing still, or what is left of it to be kept.
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
	a := looks[0].pass.ask
	a.start, a.end = looks[0].task.window.Start.Unix()-before, looks[len(looks)-1].task.window.End.Unix()+behind
	c, err := f.count(ctx, looks[0].task, a)
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
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, l := range looks {
			f.fail(l.task.window, fmt.Errorf("it came back empty, and the second look failed: %w", err))
		}
		return nil, nil
	}
	// A window that had records before it came back empty is none that is empty.
	contradicted := slices.ContainsFunc(looks, func(l *look) bool { return l.task.budget.listed.Load() && !l.task.budget.kept.Load() })
	if !contradicted && !c.Some && (c.Records == nil || *c.Records == 0) && (c.Tokens == nil || *c.Tokens == 0) {
		return [][]*look{looks}, nil
	}
	f.log.Warn("a stretch of time came back empty and isn't: it is fetched again", "from", looks[0].task.window.Start, "to", looks[len(looks)-1].task.window.End)
	f.blank()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range looks {
		if l.task.looks++; l.task.looks > manyLooks {
			f.fail(l.task.window, fmt.Errorf("it comes back empty, and a look at its stretch of time doesn't: %w", ErrTemporary))
			continue
		}
		f.queue = append(f.queue, l.task)
	}
	return nil, nil
}

// holdBorders sees that what a window has shown of the time before its start is held by the window that the time belongs
// to, and else has the end of that fetched again, with more asked for behind it.
func (f *Fetcher) holdBorders(ctx context.Context) error {
	f.mu.Lock()
	borders := f.borders
	f.borders = nil
	f.mu.Unlock()
	_, behind := f.server.margins()
	for _, b := range borders {
		if !b.edge && b.asked < b.end+behind && !slices.ContainsFunc(borders, func(o border) bool { return !o.edge && o.start <= b.end && o.end > b.end }) {
			// Nothing behind it would show what it lacks, since the margin was learnt; and some may be later than what it was learnt from.
			tail := schemas.Window{Account: f.client.opts.Account, Start: time.Unix(max(b.start, b.end-2*behind), 0).UTC(), End: time.Unix(b.end, 0).UTC()}
			f.mu.Lock()
			f.queue = append(f.queue, &task{window: tail, budget: &budgetOf{}, tail: true})
			f.mu.Unlock()
		}
		var lacking, elsewhere []entry
		for _, e := range b.early {
			i := slices.IndexFunc(borders, func(o border) bool { return o.end <= b.start && o.start <= e.at && e.at < o.end })
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
		if b.edge && len(lacking) > 0 {
			lacking = append(lacking, entry{at: b.start - 2*behind}, entry{at: b.start - 1})
		}
		for _, t := range f.taskFor(lacking) {
			f.log.Info("records that began before a window was over and were settled after it are fetched", "window", t.window.String(), "records", len(t.must))
			f.mu.Lock()
			f.queue = append(f.queue, t)
			f.mu.Unlock()
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
	whole := &task{budget: &budgetOf{}, must: records,
		window: schemas.Window{Account: f.client.opts.Account, Start: time.Unix(from, 0).UTC(), End: time.Unix(to, 0).UTC()}}
	return whole.cut(whole.window.Days())
}

// heldOf is what is held of a window already; nil if nothing is.
func (f *Fetcher) heldOf(ctx context.Context, w schemas.Window) (*Held, error) {
	if f.opts.Held == nil {
		return nil, nil
	}
	h, err := f.opts.Held(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("what is held of window %s: %w", w, err)
	}
	return h, nil
}

// edge looks at what is listed right behind a window that no other one follows, in one request: what began before its end and
// was settled after it shows there alone.
func (f *Fetcher) edge(ctx context.Context, end int64) error {
	_, behind := f.server.margins()
	from, to := end+behind+Margin, end+2*behind+shortRange
	if f.client.opts.Now().Unix()-to < int64(time.Hour/time.Second) {
		return nil // the next run's window begins here
	}
	w := schemas.Window{Account: f.client.opts.Account, Start: time.Unix(end, 0).UTC(), End: time.Unix(to, 0).UTC()}
	p := &pass{ask: ask{window: w, start: from, end: to}, seen: map[recordKey]mark{}, next: 2}
	err := f.firstPage(ctx, p)
	if err == nil {
		err = f.announcedPages(ctx, p, 20)
	}
	if err != nil { // it was no window's, so none has failed
		return context.Cause(ctx)
	}
	if early, _ := p.strays(); early > behind {
		f.server.strays(w, early, 0)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.border(&task{window: w}, p)
	b := &f.borders[len(f.borders)-1]
	b.edge, b.tail = true, nil
	return nil
}

// horizon decides what the windows that the server refused are: if they lie before all that it answered for, its records
// begin there, and the last of them is halved to find out where. Else they have failed.
func (f *Fetcher) horizon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.refusals) == 0 || len(f.queue) > 0 {
		return
	}
	slices.SortFunc(f.refusals, func(a, b refused) int { return a.task.window.Start.Compare(b.task.window.Start) })
	last := &f.refusals[len(f.refusals)-1]
	if f.first.IsZero() || !last.task.window.Start.Before(f.first) {
		for _, r := range f.refusals {
			f.log.Warn("window failed", "window", r.task.window.String(), "error", r.err)
			f.fail(r.task.window, r.err)
		}
		f.refusals = nil
		return
	}
	if w := last.task.window; w.Seconds() > finest && w.End.Equal(f.first) {
		halves := last.task.cut(w.Split(2))
		last.task = halves[0] // it begins where the whole did, which was refused
		f.queue = append(f.queue, halves[1])
		return
	}
	if f.out.Horizon.Before(last.task.window.End) {
		f.out.Horizon = last.task.window.End
	}
	f.log.Warn("the API refuses to answer for what lies before: its records begin here", "at", f.out.Horizon, "error", last.err)
	f.refusals = nil
}

// finest is how exactly the horizon is looked for, in seconds.
const finest = 60
