package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Plan is what an export of one account has to ask for.
type Plan struct {
	Account string
	Range   schemas.Window   // [Start, End) of the export; Start = End if there is nothing settled yet
	Missing []schemas.Window // not covered, or to be fetched anew; each within a day, in time order; of pruned days whole
	Anew    bool             // Missing holds the whole range, covered or not
	// Check are the covered days of the lookback, of today as far as it is covered: one small request each tells whether
	// they still hold what the API has.
	Check []schemas.Window
	// Refetch says that the days of the lookback are in Missing because refetch_every has passed.
	Refetch bool
}

// Span is the range of an export as asked for. The zero value means: from where coverage ends to now.
type Span struct {
	From, To time.Time // UTC, whole seconds; zero if not given
	Anew     bool      // fetch what is covered, too
	Covered  bool      // ask for nothing that isn't covered: the lookback alone
	// Since, if it isn't zero: covered days that hold anything that was fetched earlier are fetched whole once more.
	Since time.Time
}

// validate checks the span as far as it is given.
func (s Span) validate(now time.Time) error {
	if s.From.After(now) {
		return config.Usage("", "--from %s lies in the future", words.Instant(s.From))
	}
	if !s.From.IsZero() && !s.To.IsZero() && !s.From.Before(s.To) {
		return config.Usage("", "the range is empty: --from %s is not before --to %s (--to is excluded)",
			words.Instant(s.From), words.Instant(s.To))
	}
	if s.Anew && s.From.IsZero() {
		return config.Usage("usagelake export --refetch --from 2026-11-01 --to 2026-12-01",
			"--refetch fetches a whole range anew: say which with --from")
	}
	return nil
}

// plan decides what an export asks for. days are the footers of the days of the last weeks (see recentDays). Where no
// start is given it is that of the coverage, or FirstDays ago; earlier, if an export began there or failed at a window
// there; later, where the Portal has no records any more, or not_before says so.
func plan(account string, span Span, s sealed, days map[schemas.Date]schemas.DayFooter, cfg config.Export,
	now time.Time, past past) Plan {
	now = now.UTC().Truncate(time.Second)
	settled := now.Add(-time.Duration(cfg.Settle)).Truncate(time.Second)
	have := s.windows()

	r := schemas.Window{Account: account, Start: span.From, End: span.To}
	if r.End.IsZero() || r.End.After(settled) {
		r.End = settled
	}
	if r.Start.IsZero() {
		r.Start = schemas.DateOf(now).Start().AddDate(0, 0, -config.FirstDays)
		if !span.To.IsZero() && !r.Start.Before(r.End) {
			r.Start = r.End.AddDate(0, 0, -config.FirstDays)
		}
		if len(have) > 0 && (span.To.IsZero() || have[0].Start.Before(r.End)) {
			// From the first instant covered, so that a gap that a failed window left behind is filled, too.
			r.Start = have[0].Start
		}
		for _, begins := range []time.Time{past.began, past.lacking} {
			if !begins.IsZero() && begins.Before(r.Start) {
				r.Start = begins
			}
		}
		for _, begins := range []time.Time{past.horizon, time.Time(cfg.NotBefore)} {
			if begins.After(r.Start) {
				r.Start = begins
			}
		}
	}
	p := Plan{Account: account, Range: r, Anew: span.Anew}
	if !r.Start.Before(r.End) {
		p.Range.Start = p.Range.End
		return p
	}
	if span.Anew {
		p.Missing = s.whole(r.Days())
		return p
	}
	if !span.Covered {
		for _, gap := range schemas.Uncovered(r, have) {
			p.Missing = append(p.Missing, gap.Days()...)
		}
	}

	// Pruned days that were begun to be fetched anew, and not to the end.
	anew := map[schemas.Date]bool{}
	for d, source := range s {
		if source.Thawing() && d.Start().Before(r.End) && r.Start.Before(d.End()) {
			anew[d] = true
			p.Missing = append(p.Missing, schemas.Uncovered(source.Window(), windowsOf(source.Live()))...)
		}
	}

	back := settled.Add(-time.Duration(cfg.Lookback))
	// the day as far as it is covered from its start on, or from where the lake begins; ok if that is the whole day, or
	// the settled part of today, lies within r, and isn't to be fetched anew already
	within := func(d schemas.Date) (w schemas.Window, ok bool) {
		w = schemas.Partition{Account: account, Date: d}.Window()
		if len(have) > 0 && w.Start.Before(have[0].Start) && have[0].Start.Before(w.End) {
			w.Start = have[0].Start
		}
		if gaps := schemas.Uncovered(w, windowsOf(s[d].Windows)); len(gaps) > 0 {
			w.End = gaps[0].Start
			if !gaps[0].End.Equal(d.End()) || schemas.DateOf(settled) != d { // a gap, which is fetched anyway
				return w, false
			}
		}
		return w, !anew[d] && !w.Start.Before(r.Start) && !w.End.After(r.End) && w.Start.Before(w.End)
	}
	for d, day := range days {
		due := aged(day, d, cfg.RefetchAt, settled) || oldest(day).Before(span.Since)
		if w, ok := within(d); ok && due && w.End.Equal(d.End()) && !s[d].Frozen() && !d.Start().Before(past.horizon) {
			anew[d] = true
			p.Missing = append(p.Missing, w)
		}
	}

	// The lookback.
	var looked []schemas.Window
	if cfg.Lookback > 0 {
		for d := schemas.DateOf(back); d.Start().Before(r.End); d++ {
			if w, ok := within(d); ok {
				looked = append(looked, w)
			}
		}
	}
	if len(looked) > 0 && cfg.RefetchEvery > 0 && !past.lastRefetch.IsZero() &&
		// after now: the clock was set back
		(now.Sub(past.lastRefetch) >= time.Duration(cfg.RefetchEvery) || past.lastRefetch.After(now)) {
		p.Refetch = true
		p.Missing = append(p.Missing, looked...)
	} else {
		p.Check = looked
		for _, w := range looked {
			for _, part := range days[w.Date()].Windows {
				if part.Owns && part.Proof == schemas.ProofNone {
					p.Missing = append(p.Missing, schemas.Window{Account: account, Start: part.Start, End: part.End})
				}
			}
		}
	}
	slices.SortFunc(p.Missing, func(a, b schemas.Window) int { return a.Start.Compare(b.Start) })
	return p
}

// aged says that a day is due to be fetched whole once more: an age has passed since it ended, and what it holds was
// fetched before. What is much older than the last age isn't looked at any more. With 48h, 1 November is due from the
// 4th to before the 11th, unless all of it was fetched on the 4th or later.
func aged(day schemas.DayFooter, d schemas.Date, ages []config.Duration, now time.Time) bool {
	fetched := oldest(day)
	for _, age := range ages {
		due := d.End().Add(time.Duration(age))
		if !fetched.IsZero() && !now.Before(due) && now.Before(due.Add(refetchGrace)) && fetched.Before(due) {
			return true
		}
	}
	return false
}

// oldest is when the oldest of what a day holds was fetched; zero if it holds nothing.
func oldest(day schemas.DayFooter) (fetched time.Time) {
	for _, w := range day.Windows {
		if w.Owns && (fetched.IsZero() || w.FetchedAt.Before(fetched)) {
			fetched = w.FetchedAt
		}
	}
	return fetched
}

// refetchGrace is how long after its time a refetch is still made up for: a lake that was left alone for a year, or is
// older than refetch_at, is not fetched anew as a whole.
const refetchGrace = 7 * 24 * time.Hour

// recentDays are the footers of an account's days that a plan looks at: those of the lookback and of refetch_at. A day
// file that is missing or can't be read is none.
func recentDays(lake *publish.Lake, account string, s sealed, cfg config.Export,
	now time.Time) (map[schemas.Date]schemas.DayFooter, error) {
	oldest := time.Duration(cfg.Lookback)
	for _, age := range cfg.RefetchAt {
		oldest = max(oldest, time.Duration(age)+refetchGrace)
	}
	out := map[schemas.Date]schemas.DayFooter{}
	for d := schemas.DateOf(now.Add(-oldest)) - 1; d <= schemas.DateOf(now); d++ {
		if len(s[d].Windows) == 0 {
			continue
		}
		footer, ok, err := lake.Day(schemas.Partition{Account: account, Date: d})
		if damaged := (*load.DamagedError)(nil); err != nil && !errors.As(err, &damaged) {
			return nil, err
		}
		if ok {
			out[d] = footer
		}
	}
	return out, nil
}

// learnt is what the sealed windows of the last days tell of the server.
func learnt(days map[schemas.Date]schemas.DayFooter) extract.Learnt {
	var l extract.Learnt
	var newest time.Time
	for _, day := range days {
		for _, w := range day.Windows {
			if w.PageRecords == 0 { // of a program that did not write it down
				continue
			}
			if w.Pages > 1 && w.FetchedAt.After(newest) {
				newest = w.FetchedAt
				l.PageSize = w.PageRecords
			}
			if w.Proof == schemas.ProofTotal && w.Announced != nil {
				l.Most = max(l.Most, *w.Announced)
				l.Beyond = l.Beyond || w.Pages > 1 && *w.Announced > int64(w.PageRecords)
			}
			l.Lag = max(l.Lag, w.AskedEnd-w.End.Unix())
			l.Lead = max(l.Lead, w.Start.Unix()-extract.Margin-w.AskedStart)
		}
	}
	return l
}

// until is p without what lies at end or after it.
func (p Plan) until(end time.Time) Plan {
	end = end.UTC().Truncate(time.Second)
	if !p.Range.End.After(end) {
		return p
	}
	p.Range.End = end
	if p.Range.Start.After(end) {
		p.Range.Start = end
	}
	var missing []schemas.Window
	for _, w := range p.Missing {
		if w.End.After(end) {
			w.End = end
		}
		if w.Start.Before(w.End) {
			missing = append(missing, w)
		}
	}
	p.Missing = missing
	return p
}

func windowsOf(raws []load.Raw) []schemas.Window {
	out := make([]schemas.Window, len(raws))
	for i, r := range raws {
		out[i] = r.Window
	}
	return out
}

// portalTime is what an export takes for now: this machine's time, or the Portal's if that is known to be earlier. It
// also tells by how much, 0 if it is this machine's.
//
// By a clock that runs ahead, time would count as settled for which records are still to come. One that is behind is
// harmless: what it leaves out the next run fetches.
func portalTime(now time.Time, c *extract.Client) (time.Time, time.Duration) {
	skew, known := c.ClockSkew()
	if !known || skew > -minSkew {
		return now, 0
	}
	return now.Add(skew), -skew
}

// minSkew is what the settle time is trusted to cover.
const minSkew = 3 * time.Second

// by is p by a clock that is so much behind the one that the journal was written by.
func (p past) by(ahead time.Duration) past {
	if !p.lastRefetch.IsZero() {
		p.lastRefetch = p.lastRefetch.Add(-ahead)
	}
	return p
}

// Estimate is what a plan costs.
type Estimate struct {
	Windows  int     `json:"windows"`
	Records  int64   `json:"records"`  // about
	Requests int64   `json:"requests"` // about, the lookback's and /balance included
	Seconds  float64 `json:"seconds"`  // at the configured rate
	Sampled  bool    `json:"sampled"`  // Records was taken from some of the windows
	// Unknown: of some of the windows, UnknownWindows of those asked about, the API tells no count, because it announces
	// none or takes no range as long as they are. Records and Requests are a lower bound.
	Unknown        bool `json:"unknown"`
	UnknownWindows int  `json:"unknown_windows"`
}

// maxSamples is how many windows an estimate asks the API about.
const maxSamples = 40

// estimate asks the API how much some or all of a plan's windows hold, and how much it gives on a page.
func estimate(ctx context.Context, f *extract.Fetcher, p Plan, rate float64) (Estimate, error) {
	e := Estimate{Windows: len(p.Missing), Requests: int64(len(p.Check))}
	if len(p.Missing) > 0 {
		e.Requests++ // the balance
	}
	step := 1
	if len(p.Missing) > maxSamples {
		step = (len(p.Missing) + maxSamples - 1) / maxSamples
		e.Sampled = true
	}
	var counts []int64
	var records, asked int64
	fullest := schemas.Window{}
	for i := 0; i < len(p.Missing); i += step {
		w := p.Missing[i]
		c, err := f.Count(ctx, w)
		var api *extract.APIError
		if errors.As(err, &api) && api.Status == http.StatusBadRequest {
			err = nil // the range may be too long for this server; the export finds out, and asks for it in parts
		}
		if err != nil {
			return e, fmt.Errorf("estimate: %w", err)
		}
		asked++
		if c.Records == nil {
			e.Unknown = true
			e.UnknownWindows++
			continue
		}
		if counts = append(counts, *c.Records); *c.Records == slices.Max(counts) {
			fullest = w
		}
		records += *c.Records
	}
	pages := asked
	if records > 0 {
		size, err := f.PageSize(ctx, fullest)
		if err != nil {
			return e, fmt.Errorf("estimate: %w", err)
		}
		for _, n := range counts {
			// asked has the first page of each; n = 100 of 100 a page has no other, 101 has one
			pages += max(0, n-1) / int64(size)
		}
	}
	if asked > 0 {
		e.Records = records * int64(len(p.Missing)) / asked
		e.Requests += pages * int64(len(p.Missing)) / asked
	}
	e.Seconds = float64(e.Requests) / rate
	return e, nil
}

// DryPlan is what an export of an account would do.
type DryPlan struct {
	Account string    `json:"account"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Checks  int       `json:"checks"` // days of the lookback, one small request each
	Rate    float64   `json:"rate"`   // requests a second
	Estimate
}

// DryRun plans an export without writing anything. It asks the API how much some of the windows hold.
func DryRun(ctx context.Context, cfg *config.Config, env Env, opts ExportOptions) ([]DryPlan, error) {
	if err := opts.Span.validate(env.Now()); err != nil {
		return nil, err
	}
	clients, err := makeClients(cfg, env, opts.Retry)
	if err != nil {
		return nil, err
	}
	var runs []schemas.Run
	lake, err := publish.Open(cfg.Lake, publish.Options{})
	switch {
	case errors.Is(err, load.ErrNoLake):
		lake = nil
	case err != nil:
		return nil, err
	default:
		if runs, err = History(lake, cfg); err != nil {
			return nil, err
		}
	}
	past := pasts(runs)
	plans := make([]DryPlan, len(clients))
	for i, a := range cfg.Accounts {
		defer clients[i].Close()
		s, days := sealed{}, map[schemas.Date]schemas.DayFooter{}
		now := env.Now()
		if lake != nil {
			if s, err = sealedOf(lake, a.Name); err != nil {
				return nil, err
			}
			if days, err = recentDays(lake, a.Name, s, cfg.Export, now); err != nil {
				return nil, err
			}
		}
		f := extract.NewFetcher(extract.FetchOptions{Client: clients[i], PageSize: a.PageSize, Known: learnt(days)})
		rate := cmp.Or(a.Rate, extract.DefaultRate)
		planned := func(now time.Time, ahead time.Duration) (Plan, Estimate, error) {
			p := plan(a.Name, opts.Span, s, days, cfg.Export, now, past[a.Name].by(ahead))
			e, err := estimate(ctx, f, p, rate)
			return p, e, err
		}
		p, e, err := planned(now, 0)
		if t, ahead := portalTime(now, clients[i]); err == nil && ahead > 0 { // known by the answers to the first
			env.Logger.Warn("this machine's clock is ahead of the Portal's: the export would end by the Portal's; set this "+
				"machine's (NTP)",
				"account", a.Name, "ahead", ahead.Round(time.Second))
			p, e, err = planned(t, ahead)
		}
		if err != nil {
			return nil, err
		}
		plans[i] = DryPlan{Account: a.Name, From: p.Range.Start, To: p.Range.End, Checks: len(p.Check), Rate: rate,
			Estimate: e}
	}
	return plans, nil
}
