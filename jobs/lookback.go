package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// check asks of each day of the lookback whether the API still announces what it did when the day was fetched, and adds
// those that differ to what is missing. Today is a day as far as it is covered.
func (x *exporter) check(ctx context.Context) error {
	// mu guards what the goroutines add up: stop, checked, plan.Missing and out.Failed.
	var mu sync.Mutex
	var wg sync.WaitGroup
	var stop error
	for _, w := range x.plan.Check {
		footer, ok := x.days[w.Date()]
		wg.Go(func() {
			var same bool
			var err error
			var c extract.Counted
			if ok {
				c, same, err = x.unchanged(ctx, w, footer)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				x.checked++
			}
			switch {
			case same:
				return
			case err == nil:
				x.log.Info("a day of the lookback differs, it is fetched anew", "day", w.Date().String(), "api", c.String(), "lake",
					held(footer))
				x.refetch(w)
			case errors.Is(err, extract.ErrRefused) || ctx.Err() != nil || errors.As(err, new(*schemas.PanicError)):
				stop = cmp.Or(stop, err)
			default: // the day stays as it is, and the run says that it could not be checked
				x.out.Failed = append(x.out.Failed,
					schemas.FailedWindow{Start: w.Start, End: w.End, Error: "lookback: " + err.Error()})
			}
		})
	}
	wg.Wait()
	slices.SortFunc(x.plan.Missing, func(a, b schemas.Window) int { return a.Start.Compare(b.Start) })
	slices.SortFunc(x.out.Failed, func(a, b schemas.FailedWindow) int { return a.Start.Compare(b.Start) })
	return stop
}

// refetch adds a covered stretch from the start of a day on to what is missing, in place of parts of it, and as one
// with what is missing behind it.
func (x *exporter) refetch(w schemas.Window) {
	x.plan.Missing = slices.DeleteFunc(x.plan.Missing, func(m schemas.Window) bool {
		within := m.Date() == w.Date() && !m.Start.After(w.End)
		if within && m.End.After(w.End) {
			w.End = m.End
		}
		return within
	})
	x.plan.Missing = append(x.plan.Missing, w)
}

// doubted adds to what is missing the windows that an earlier run doubted, and that nothing else has looked at since: a
// day may have left the lookback with its second look still to come. What the Portal has forgotten needs none, and is
// no doubt any more.
func (x *exporter) doubted(ctx context.Context) error {
	days, err := x.lake.Doubted(x.account.Name)
	if err != nil {
		return err
	}
	for _, p := range days {
		doubts, err := x.lake.Doubts(p)
		if err != nil {
			return err
		}
		for _, d := range doubts {
			w := schemas.Window{Account: x.account.Name, Start: d.Start, End: d.End}
			within := func(m schemas.Window) bool { return !w.Start.Before(m.Start) && !w.End.After(m.End) }
			if w.Start.Before(x.plan.Range.Start) || w.End.After(x.plan.Range.End) || x.sealed[p.Date].Frozen() ||
				slices.ContainsFunc(x.plan.Missing, within) {
				continue
			}
			if d.Came == 0 {
				forgot, err := x.forgot(ctx, w)
				if err != nil {
					return err
				}
				if forgot {
					if err := x.settleDoubts(w); err != nil {
						return err
					}
					continue
				}
			}
			// what is missing of it, too, is fetched as one with it
			x.plan.Missing = slices.DeleteFunc(x.plan.Missing, func(m schemas.Window) bool {
				overlaps := m.Start.Before(w.End) && w.Start.Before(m.End)
				if overlaps && m.Start.Before(w.Start) {
					w.Start = m.Start
				}
				if overlaps && m.End.After(w.End) {
					w.End = m.End
				}
				return overlaps
			})
			x.plan.Missing = append(x.plan.Missing, w)
		}
	}
	slices.SortFunc(x.plan.Missing, func(a, b schemas.Window) int { return a.Start.Compare(b.Start) })
	return nil
}

// unchanged asks whether the API announces for w, the covered part of a day, what it did when its windows were fetched:
// in one request for all of them, and where that tells nothing or something else, in one for each.
func (x *exporter) unchanged(ctx context.Context, w schemas.Window, f schemas.DayFooter) (c extract.Counted, same bool,
	err error) {
	var owning []schemas.DayWindow
	for _, part := range f.Windows {
		if part.Owns {
			owning = append(owning, part)
		}
	}
	if len(owning) == 0 {
		return c, false, nil
	}
	slices.SortFunc(owning,
		func(a, b schemas.DayWindow) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(b.Seq, a.Seq)) })
	first, last := owning[0], slices.MaxFunc(owning,
		func(a, b schemas.DayWindow) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.Seq, b.Seq)) })
	start, _ := x.asked(first)
	_, end := x.asked(last)
	c, err = x.count(ctx, w, start, end)
	var api *extract.APIError
	refusesDays := errors.As(err, &api) && api.Status == http.StatusBadRequest
	switch {
	case err != nil && (!refusesDays || len(owning) == 1):
		return c, false, err
	case err == nil &&
		(c.Some && c.Records != nil && *c.Records == 0 || slices.ContainsFunc(owning,
			func(part schemas.DayWindow) bool { return !x.counts(part) })):
		return c, false, nil
	case err == nil && f.MaybeTwice == 0 && agrees(c, f, owning):
		return c, true, nil
	case err == nil && (len(owning) == 1 || c.Records == nil):
		return c, false, nil
	}
	for _, part := range owning {
		start, end := x.asked(part)
		n, err := x.count(ctx, schemas.Window{Account: w.Account, Start: part.Start, End: part.End}, start, end)
		if err != nil || n.Records == nil || part.Announced == nil || *n.Records != *part.Announced {
			return c, false, err
		}
	}
	return c, true, nil
}

// counts says that what the API announced for a window goes by what it has: as many as came, or off by as many as for
// another window that had another number. What it announces alike whatever it has would agree for ever.
func (x *exporter) counts(w schemas.DayWindow) bool {
	switch {
	case w.Announced == nil, w.Proof == schemas.ProofTotal, w.Proof == schemas.ProofEmpty:
		return true
	case w.Proof == schemas.ProofNone: // it is fetched anew by itself
		return true
	case w.Pages > 1 && *w.Announced == w.Listed: // more than a page counts
		return true
	}
	for _, day := range x.days {
		for _, o := range day.Windows {
			if o.Announced != nil && *o.Announced != *w.Announced && *o.Announced-o.Listed == *w.Announced-w.Listed {
				return true
			}
		}
	}
	return false
}

// asked are the bounds that a window was asked for with, Unix seconds as they were sent.
func (x *exporter) asked(w schemas.DayWindow) (start, end int64) {
	if w.AskedStart == 0 && w.AskedEnd == 0 { // of a program that did not keep them
		return w.Start.Unix() - extract.Margin, w.End.Unix()
	}
	return w.AskedStart, w.AskedEnd
}

// count is the fetcher's, in which a panic is an error.
func (x *exporter) count(ctx context.Context, w schemas.Window, start, end int64) (c extract.Counted, err error) {
	defer schemas.Guard(&err)
	return x.fetcher.CountAs(ctx, w, start, end)
}

// held is how many records came for a day with its margins, each once.
func held(f schemas.DayFooter) int64 { return f.Rows + f.Quarantined + f.Before + f.After }

// agrees compares like with like: what is announced now with what would have been when the day was fetched. Where the
// total of its windows was off by as much in each, it is off by as much now: two windows with 101 announced for 100
// that came, and 201 for 200, make 301 for the 300 of the day. Where the API announces nothing, nothing agrees.
func agrees(c extract.Counted, f schemas.DayFooter, owning []schemas.DayWindow) bool {
	switch {
	case c.Records != nil && len(owning) == 1 && owning[0].Announced != nil:
		return *c.Records == *owning[0].Announced
	case c.Records != nil:
		off := int64(0)
		for i, w := range owning {
			if w.Announced == nil || w.Listed == 0 && w.Records > 0 {
				continue
			}
			if n := *w.Announced - w.Listed; i > 0 && n != off {
				return false
			} else {
				off = n
			}
		}
		return *c.Records == held(f)+off
	case c.Tokens != nil:
		return f.SummaryTokens != nil && *c.Tokens == *f.SummaryTokens
	}
	return false
}

// secondLook is how long after the first look at a day that lacks much of what is held the second is taken at the
// earliest.
const secondLook = time.Hour

// held tells what the lake holds of a window: of each instant what its owner brought. Raw files that were pruned tell
// nothing.
func (x *exporter) held(ctx context.Context, w schemas.Window) (*extract.Held, error) {
	p := w.Partition()
	live := x.sealed[p.Date].Live()
	seqs := make([]int, len(live))
	for i, r := range live {
		seqs[i] = r.Seq
	}
	var h *extract.Held
	for _, s := range schemas.Own(windowsOf(live), seqs) {
		from, to := s.Start, s.End
		if from.Before(w.Start) {
			from = w.Start
		}
		if to.After(w.End) {
			to = w.End
		}
		if !from.Before(to) {
			continue
		}
		if h == nil {
			h = &extract.Held{Replace: x.opts.Span.Anew, Forgotten: func(ctx context.Context, begins time.Time) (bool,
				error) {
				return x.begins(ctx, w, begins)
			}}
		}
		raw, err := x.lake.OpenRaw(ctx, p, live[s.Index])
		if err != nil {
			return nil, err
		}
		for page, err := range raw.Pages(ctx) {
			if err != nil {
				return nil, err
			}
			if err := h.Add(page.Body, from, to); err != nil {
				return nil, err
			}
		}
	}
	if h == nil {
		return nil, nil
	}
	doubts, err := x.lake.Doubts(p)
	if err != nil {
		return nil, err
	}
	for _, d := range doubts {
		if d.Start.Equal(w.Start) && d.End.Equal(w.End) && x.env.Now().Sub(d.SeenAt) >= secondLook {
			h.Before = &extract.Doubt{Window: w, Held: d.Held, Gone: d.Gone, Came: d.Came, Digest: d.Digest}
		}
	}
	if h.Before != nil && h.Before.Came == 0 {
		forgotten, err := x.forgotten(ctx, w)
		if err != nil {
			return nil, err
		}
		if forgotten {
			h.Before = nil
		}
	}
	return h, nil
}

// forgotten says that the Portal lists nothing of the time before w, either, of which the lake has records, or w is the
// first that it has: then the Portal doesn't keep records for so long, rather than that they were deleted.
func (x *exporter) forgotten(ctx context.Context, w schemas.Window) (bool, error) {
	first := w
	for _, h := range x.sealed.windows() {
		if h.Start.Before(first.Start) {
			first = h
		}
	}
	if first == w || !first.Start.Before(w.Start) {
		return true, nil
	}
	before := schemas.Window{Account: w.Account, Start: first.Start, End: w.Start}
	c, err := x.fetcher.Count(ctx, before)
	if err != nil {
		return true, nil // the range may be too long for it; what is held stays
	}
	return !c.Some, nil // whatever is announced
}

// begins says that the Portal lists nothing of the time before begins, an instant of w: neither of as long a time as w
// before it, nor, where that may have been a quiet one, of the month before.
func (x *exporter) begins(ctx context.Context, w schemas.Window, begins time.Time) (bool, error) {
	for _, long := range []time.Duration{w.End.Sub(w.Start), config.FirstDays * 24 * time.Hour} {
		c, err := x.fetcher.CountAs(ctx, w, begins.Add(-long).Unix(), begins.Unix()-extract.Margin)
		var api *extract.APIError
		switch {
		case errors.As(err, &api) && ctx.Err() == nil && !errors.Is(err, extract.ErrRefused):
			return long > w.End.Sub(w.Start), nil // a month may be too long for it; what is held stays
		case err != nil:
			return false, err
		case c.Some:
			return false, nil
		}
	}
	return true, nil
}

// forgot says that the Portal has forgotten w, of which nothing came, and that it is no outage: something comes still
// of the newest day behind w that the lake has records of. An error stops the account; where the Portal can't be asked,
// w isn't known to be forgotten.
func (x *exporter) forgot(ctx context.Context, w schemas.Window) (bool, error) {
	var newest schemas.Date
	for date, day := range x.days {
		if day.Rows > 0 && date > w.Date() {
			newest = max(newest, date)
		}
	}
	if newest == 0 {
		return false, nil
	}
	c, err := x.fetcher.Count(ctx, schemas.Partition{Account: w.Account, Date: newest}.Window())
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.Is(err, extract.ErrRefused):
		return false, err
	case err != nil || !c.Some:
		return false, nil
	}
	return x.forgotten(ctx, w)
}

// doubt notes the windows of which much of what is held did not come, and reports them as failed. Of a window and all
// before it that nothing comes of, while something comes of later days, nothing is doubted: the Portal has forgotten
// it.
func (x *exporter) doubt(ctx context.Context, doubts []extract.Doubt) error {
	for _, d := range doubts {
		p := d.Window.Partition()
		if d.Came == 0 {
			forgot, err := x.forgot(ctx, d.Window)
			if err != nil {
				return err
			}
			if forgot {
				x.log.Warn("the API lists no records any more of what lies before: those that are held stay", "window",
					d.Window.String(), "at", d.Window.End)
				if x.out.Horizon.Before(d.Window.End) {
					x.out.Horizon = d.Window.End
				}
				if err := x.settleDoubts(d.Window); err != nil {
					return err
				}
				continue
			}
		}
		all, err := x.lake.Doubts(p)
		if err != nil {
			return err
		}
		now := load.Doubt{Start: d.Window.Start, End: d.Window.End, Held: d.Held, Gone: d.Gone, Came: d.Came,
			Digest: d.Digest,
			SeenAt: x.env.Now().UTC().Truncate(time.Second), RunID: x.runID}
		all = slices.DeleteFunc(all, func(o load.Doubt) bool {
			if o.Start.Equal(now.Start) && o.End.Equal(now.End) && o.Digest == now.Digest {
				now.SeenAt, now.RunID = o.SeenAt, o.RunID // the first look counts
			}
			return o.Start.Before(now.End) && now.Start.Before(o.End)
		})
		if err := x.lake.SetDoubts(p, append(all, now)); err != nil {
			return err
		}
		x.out.Failed = append(x.out.Failed, schemas.FailedWindow{Start: now.Start, End: now.End, Error: fmt.Sprintf(
			"window %s: the Portal lists %d records, and %d of the %d that the lake holds are not among them: they stay until "+
				"a look at another time, an hour later or more, finds the same",
			d.Window, d.Came, d.Gone, d.Held)})
	}
	return nil
}

// settleDoubts takes back what was doubted of a window that has been sealed.
func (x *exporter) settleDoubts(w schemas.Window) error {
	p := w.Partition()
	doubts, err := x.lake.Doubts(p)
	if err != nil || len(doubts) == 0 {
		return err
	}
	return x.lake.SetDoubts(p,
		slices.DeleteFunc(doubts, func(d load.Doubt) bool { return d.Start.Before(w.End) && w.Start.Before(d.End) }))
}
