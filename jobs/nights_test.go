package jobs

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

var (
	nightsCases = flag.Int("nights.cases", 8, "how many Portals are exported from for some nights")
	nightsSeed  = flag.Uint64("nights.seed", 1, "the first one's seed")
)

// Night after night, the lake is what the Portal was when each stretch of it was last fetched, and it is fetched when
// it has to be:
//
//   - Of each instant, the lake holds what the Portal had in the run that sealed the window which owns it. What the
//     Portal has changed since, by the times of its own records or because its faults changed, a lake may not know yet.
//   - It has to know of a change, so that the day is sealed by this very run: the first time that a stretch of time has
//     settled; within the lookback, where the day has another number of records than the lake; where a day has come to
//     an age of refetch_at since it was last fetched; where the run before said that a covered stretch lacks something.
//   - Else the run says so: it ends non-zero, and its failed windows, or the horizon, name each instant at which lake
//     and Portal differ.
//   - What was in the lake and is at the Portal stays in the lake, whatever a run came to. No record is there twice.
//
// What a lake can't know (docs/faults.md, "What no client can detect") is left out of the comparison where it may have
// happened, and only there: records that the Portal never listed, for it had forgotten them; a change behind a total
// that no longer means what it did, or behind another change that makes up for it in number; a blank answer for a day
// of which nothing is held; the last minutes before the end of an export, of a Portal that lists by settlement. Swaps
// while a window is paged through aren't drawn.
//
// Each case names its seed; go test ./jobs -run Night -nights.cases 1 -nights.seed N -v repeats it.
func TestNightAfterNightTheLakeIsTheTruthOrItIsSaidWhatLacks(t *testing.T) {
	for i := range *nightsCases {
		seed := *nightsSeed + uint64(i)
		kit.Bubble(t, fmt.Sprint(seed), func(t *testing.T) { drawNights(t, seed).run() })
	}
}

// night is one run of a case.
type night struct {
	at     time.Time
	faults portal.Faults
	ahead  time.Duration // by which this machine's clock is ahead of the Portal's
	span   Span
}

// nights is a case.
type nights struct {
	*world
	files *kit.Reader // of the day files
	plan  []night

	moments []moment       // as the Portal was before and after each run
	runs    map[string]int // by id
	held    map[uint64]entry
	owed    []schemas.Window  // covered stretches that the run before said to be lacking
	silent  map[int]bool      // runs in which the Portal answered empty where the lake holds something
	keys    map[uint64]uint64 // of records, by a hash of what is served
	weight  map[uint64]int    // how often a record is listed
	horizon time.Time
}

// entry is a record as far as messages need it. Its key is a hash of all of its columns.
type entry struct {
	at int64
	id string
}

// moment is what the Portal had at a time, and from when on it listed it.
type moment struct {
	at      time.Time
	records map[uint64]entry
	keeps   int64
}

var nightsHash = maphash.MakeSeed()

// keyOf is a record's identity: that of all its columns.
func keyOf(r kit.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(nightsHash)
	for _, c := range kit.Columns {
		h.WriteString(r[c.Name])
		h.WriteByte(0)
	}
	return h.Sum64()
}

// drawNights draws a case: a Portal whose records are what they are and come, change and go as drawn once, and whose
// answers may be spoilt in another way each night.
func drawNights(t *testing.T, seed uint64) *nights {
	r := rand.New(rand.NewPCG(seed, 2))
	o, base := portal.Draw(r)
	base.SwapEvery, base.SwapMax = 0, 0
	base.Blank, base.BlankPage = min(base.Blank, 0.1), min(base.BlankPage, 0.1)
	base.From, base.To = 0, 0
	base.Burst = min(base.Burst, 150) // each such second may take hundreds of requests
	changes(r, &base)
	perDay := min(o.Orgs[0].RecordsPerDay, 30*math.Pow(10, r.Float64()))
	start := kit.Day(20).Add(time.Duration(r.IntN(24)) * time.Hour)
	from := kit.Day(20 - 1 - r.IntN(4))
	if r.IntN(4) == 0 {
		from = from.Add(time.Duration(r.IntN(86400)) * time.Second)
	}
	first := Span{From: from}
	if r.IntN(6) == 0 {
		first, perDay, base.Burst = Span{}, min(perDay, 40), 0
	}
	w := newWorld(t, kit.Settings{Seed: o.Seed, At: start, PerDay: perDay})
	w.Logs = &kit.Buffer{}
	w.env.Logger = slog.New(slog.NewTextHandler(w.Logs, &slog.HandlerOptions{Level: slog.LevelInfo}))
	w.Cfg.Accounts[0].PageSize = []int{0, 0, 20}[r.IntN(3)]
	n := &nights{world: w, runs: map[string]int{}, held: map[uint64]entry{}, weight: map[uint64]int{},
		silent: map[int]bool{}, keys: map[uint64]uint64{}}
	wrongClock := r.IntN(8) == 0
	begins := r.IntN(3) // when what happens to records does
	at := start
	for k := range 3 + r.IntN(6) {
		x := night{at: at, faults: spoilt(r, base)}
		if k < begins-1 {
			f := &x.faults
			f.Late, f.Vanish, f.Corrected, f.Swap = 0, 0, 0, 0
		}
		if wrongClock {
			x.ahead = []time.Duration{0, 0, -2 * time.Hour, -5 * time.Minute, time.Minute, 90 * time.Minute,
				14 * time.Hour}[r.IntN(7)]
		}
		if k == 0 {
			x.span = first
		}
		n.plan = append(n.plan, x)
		switch next := schemas.DateOf(at).End().Add(30 * time.Minute); r.IntN(12) {
		case 0, 1:
			at = at.Add(time.Hour)
		case 2:
			at = at.Add(time.Duration(2+r.IntN(10)) * time.Hour)
		case 3:
			at = next.AddDate(0, 0, 1+r.IntN(3))
		case 4:
			at = next.AddDate(0, 0, 5+r.IntN(3))
		default:
			at = next
		}
	}
	return n
}

// changes draws what happens to records after they were listed.
func changes(r *rand.Rand, f *portal.Faults) {
	share := func() float64 { return []float64{0.005, 0.02, 0.1, 0.3}[r.IntN(4)] }
	by := func() time.Duration { return time.Duration(1+r.IntN(72)) * time.Hour }
	for range 1 + r.IntN(2) {
		switch r.IntN(5) {
		case 0:
			f.Late, f.LateBy = share(), by()
		case 1:
			f.Vanish, f.VanishBy = share(), by()
		case 2:
			f.Corrected, f.CorrectedBy = share(), by()
		case 3:
			f.Swap, f.SwapBy = share(), by()
		}
	}
	if r.IntN(8) == 0 { // a retention that ends near an age at which days are fetched anew
		f.Keep = []time.Duration{3, 7, 8, 30, 31}[r.IntN(5)]*24*time.Hour + time.Duration(r.IntN(48)-24)*time.Hour
		f.KeepAnswer = []string{"empty", "400", "404"}[r.IntN(3)]
	}
}

// spoilt are the faults of a night: those of the case, or with other answers, an outage, or a bad hour.
func spoilt(r *rand.Rand, base portal.Faults) portal.Faults {
	f := base
	switch r.IntN(8) {
	case 0: // other orders, pages and ends
		_, g := portal.Draw(r)
		f.Order, f.Ties, f.TieSpan, f.PastEnd = g.Order, g.Ties, g.TieSpan, g.PastEnd
		f.PageMax, f.PageOver, f.PageDefault, f.SizeIgnored = g.PageMax, g.PageOver, g.PageDefault, g.SizeIgnored
		f.PageClamp, f.PageClampAfter, f.PageClampFrom, f.PageClampBack = g.PageClamp, g.PageClampAfter, g.PageClampFrom,
			g.PageClampBack
		f.DeepPage, f.Duplicate = g.DeepPage, g.Duplicate
	case 1: // other totals and clocks
		_, g := portal.Draw(r)
		f.Total, f.TotalDelta, f.TotalCap, f.TotalCapOnly = g.Total, g.TotalDelta, g.TotalCap, g.TotalCapOnly
		f.InclusiveEnd, f.ExclusiveStart = g.InclusiveEnd, g.ExclusiveStart
	case 2: // an outage that answers empty
		f.Blank, f.From = 1, 1+r.IntN(30)
		if r.IntN(2) == 0 {
			f.To = f.From + r.IntN(20)
		}
		f.Only = "usage"
	case 3: // one that doesn't answer
		f.Status503, f.From, f.Only = 1, 1+r.IntN(30), "usage" // without a balance there is no currency
		if r.IntN(2) == 0 {
			f.To = f.From + r.IntN(40)
		}
	}
	return f
}

// run exports night after night, and looks after each.
func (n *nights) run() {
	n.files = n.Engine()
	defer n.files.Close()
	for k := range n.plan {
		n.night(k)
		if n.Failed() {
			break
		}
	}
	for k, x := range n.plan {
		n.Logf("%d: %s %s ahead=%s %+v", k, x.at.Format(time.RFC3339), x.faults, x.ahead, x.span)
	}
}

func (n *nights) night(k int) {
	x := n.plan[k]
	n.At(x.at)
	n.env.Now = func() time.Time { return n.Now().Add(x.ahead) }
	n.Portal.SetFaults(x.faults)
	n.remember()
	looks := n.due(k)
	last := k == len(n.plan)-1
	var res *Result
	var err error
	if last {
		res, err = n.try(n.Context(), x.span)
	} else {
		res, err = n.unpublished(x.span)
	}
	if res == nil {
		n.Fatalf("night %d: %v", k, err)
	}
	n.runs[res.RunID] = k
	n.remember()
	a := res.Accounts[0]
	n.Logf("%d: %s, %d windows, %d requests, %d failed, horizon %s, %v", k, res.Status, a.Windows, a.Requests,
		len(a.Failed), a.Horizon.Format(time.RFC3339), err)
	if (res.Status == schemas.StatusDone) != (err == nil) || a.Error != "" || err == nil && len(a.Failed) > 0 {
		n.Errorf("night %d: %s with %d failed windows: %v, %s", k, res.Status, len(a.Failed), err, a.Error)
	}
	if a.Horizon.After(n.horizon) {
		n.horizon = a.Horizon
	}
	var named, looked []schemas.Window
	for _, f := range a.Failed {
		if !slices.ContainsFunc([]string{"lookback: ", "can't be shown", "are lacking by", "did not show"},
			func(s string) bool { return strings.Contains(f.Error, s) }) {
			looked = append(looked, schemas.Window{Start: f.Start, End: f.End})
		}
		named = append(named, schemas.Window{Start: f.Start, End: f.End})
		n.silent[k] = n.silent[k] || strings.Contains(f.Error, "the Portal lists 0 records")
	}
	n.compare(k, named, looked, looks)
	if last {
		n.published(err == nil)
	}
}

// unpublished is an export that leaves usage.duckdb alone, which takes most of the time of a small one.
func (n *nights) unpublished(s Span) (*Result, error) {
	opts := ExportOptions{Span: s, Retry: kit.Retry}
	clients, err := makeClients(n.Cfg, n.env, opts.Retry)
	if err != nil {
		return nil, err
	}
	defer clients[0].Close()
	return underLock(n.Context(), n.Cfg, n.env, "export", false,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			outcome, err := fetchAndDerive(ctx, lake, n.Cfg, n.env, opts, clients, res)
			return cmp.Or(err, outcome)
		})
}

// remember adds what the Portal has now to the moments.
func (n *nights) remember() {
	m := moment{at: n.Now(), records: map[uint64]entry{}}
	if keep := n.Portal.Faults().Keep; keep > 0 {
		m.keeps = m.at.Add(-keep).Unix()
	}
	// nothing happens during a run
	if f := n.Portal.Faults(); len(n.moments)%2 == 1 && f.ArriveEvery == 0 && f.DropEvery == 0 {
		n.moments = append(n.moments, n.moments[len(n.moments)-1])
		return
	}
	for t := range n.Portal.Truth("0", kit.Day(20).AddDate(0, 0, -config.FirstDays-1), m.at.Add(time.Second)) {
		served := maphash.Bytes(nightsHash, t.Served)
		key, known := n.keys[served]
		if !known {
			key = keyOf(kit.Expected("acme", "USD", t))
			n.keys[served] = key
		}
		m.records[key] = entry{t.RequestTime.Unix(), t.ID}
		n.weight[key] = 1
		if t.Twice {
			n.weight[key] = 2
		}
	}
	n.moments = append(n.moments, m)
}

// before and after are what the Portal had before and after a run.
func (n *nights) before(k int) moment { return n.moments[2*k] }
func (n *nights) after(k int) moment  { return n.moments[2*k+1] }

// stretch is a part of a day and the run that sealed the window which owns it.
type stretch struct {
	schemas.Window
	run    int
	unsure bool // the window could not be shown to be all
	empty  bool // nothing came for it
}

// stretches are what the lake covers, as its day files say, in time order.
func (n *nights) stretches() []stretch {
	lake, err := publish.Open(n.Cfg.Lake, n.env.LakeOptions(n.Cfg))
	if err != nil {
		n.Fatal(err)
	}
	partitions, err := lake.Partitions("acme")
	if err != nil {
		n.Fatal(err)
	}
	var out []stretch
	for _, p := range partitions {
		f, ok, err := lake.Day(p)
		if err != nil {
			n.Fatal(err)
		}
		if !ok {
			continue
		}
		var windows []schemas.Window
		var seqs []int
		for _, w := range f.Windows {
			windows, seqs = append(windows, schemas.Window{Start: w.Start, End: w.End}), append(seqs, w.Seq)
		}
		for _, s := range schemas.Own(windows, seqs) {
			w := f.Windows[s.Index]
			k, ok := n.runs[w.RunID]
			if !ok {
				n.Fatalf("%v is of run %s, which there was not", windows[s.Index], w.RunID)
			}
			out = append(out, stretch{schemas.Window{Account: "acme", Start: s.Start, End: s.End}, k,
				w.Proof == schemas.ProofNone, w.Listed == 0})
		}
	}
	return out
}

// look is a stretch of time that a run has to fetch, and why.
type look struct {
	schemas.Window
	why string
}

// due are the stretches that a run has to fetch anew because of what it could know, by what the lake held before.
func (n *nights) due(k int) []look {
	if k == 0 {
		return nil
	}
	x := n.plan[k]
	// By the Portal's clock or this machine's, whichever makes it sure.
	early, late := n.clocks(x)
	byDay := map[schemas.Date][]stretch{}
	for _, s := range n.stretches() {
		byDay[s.Date()] = append(byDay[s.Date()], s)
	}
	var out []look
	for d, parts := range byDay {
		end := d.Start() // of what is covered from the start of the day on
		for _, s := range parts {
			if s.Start.Equal(end) {
				end = s.End
			}
		}
		whole := end.Equal(d.End())
		covered := schemas.Window{Account: "acme", Start: d.Start(), End: end}
		today := d == schemas.DateOf(early) && d == schemas.DateOf(late) && end.Equal(parts[len(parts)-1].End)
		if !whole && !today || end.Equal(d.Start()) || d.Start().Before(n.horizon) || d.Start().Unix() < n.before(k).keeps {
			continue
		}
		for _, age := range n.Cfg.Export.RefetchAt {
			due := d.End().Add(time.Duration(age))
			if whole && !early.Before(due) && late.Before(due.Add(refetchGrace)) &&
				// a clock that ran ahead has stamped what was fetched
				slices.ContainsFunc(parts,
					func(s stretch) bool { return n.plan[s.run].at.Add(max(0, n.plan[s.run].ahead)).Before(due) }) {
				out = append(out, look{covered, "its age"})
			}
		}
		if !d.Start().Before(schemas.DateOf(late.Add(-config.DefaultLookback)).Start()) && !end.After(early) &&
			n.counts(k, covered, parts) {
			out = append(out, look{covered, "its count"})
		}
	}
	for _, w := range n.owed {
		out = append(out, look{w, "what was said of it"})
	}
	return out
}

// clocks are up to when things have settled by the clock that a run may go by: the earlier and the later that it may
// be.
func (n *nights) clocks(x night) (early, late time.Time) {
	machine := x.at.Add(x.ahead - config.DefaultSettle)
	portal := x.at.Add(x.faults.Skew - config.DefaultSettle)
	if portal.Before(machine) {
		return portal, machine
	}
	return machine, machine
}

// counts says that the number of records of what is covered of a day shows that it has changed.
func (n *nights) counts(k int, covered schemas.Window, parts []stretch) bool {
	f := n.plan[k].faults
	oldest := k
	for _, s := range parts {
		oldest = min(oldest, s.run)
	}
	for _, x := range n.plan[oldest:k] {
		if g := x.faults; g.Total != f.Total || g.TotalDelta != f.TotalDelta || g.TotalCap != f.TotalCap ||
			g.TotalCapOnly != f.TotalCapOnly ||
			g.InclusiveEnd != f.InclusiveEnd || g.ExclusiveStart != f.ExclusiveStart {
			return false // a total that means something else is compared
		}
	}
	margin := int64(2)
	if f.FilterBy != "" {
		margin = int64(schemas.MaxLag / time.Second)
	}
	from, to := covered.Start.Unix(), covered.End.Unix()
	within := func(at int64) bool { return at >= from && at < to }
	around := func(at int64) bool { return at >= from-margin && at < to+margin && !within(at) }
	now := n.before(k).records
	more, some := 0, 0
	for key, e := range now {
		if _, ok := n.held[key]; !ok && within(e.at) {
			more += n.weight[key]
		}
	}
	for key, e := range n.held {
		if within(e.at) {
			some++
			if _, ok := now[key]; !ok {
				more -= n.weight[key]
			}
		}
	}
	if more == 0 || some == 0 && (f.Blank > 0 || f.BlankPage > 0) {
		return false
	}
	for _, m := range n.moments[2*oldest : 2*k] { // nothing around it may make up for it
		for key, e := range m.records {
			if _, ok := now[key]; !ok && around(e.at) {
				return false
			}
		}
		for key, e := range now {
			if _, ok := m.records[key]; !ok && around(e.at) {
				return false
			}
		}
	}
	return true
}

// compare holds the lake against the Portal after a run that named stretches of time, of some of which it had looked at
// the records.
func (n *nights) compare(k int, named, looked []schemas.Window, looks []look) {
	x := n.plan[k]
	wrong := 0
	fail := func(format string, args ...any) {
		if wrong++; wrong < 8 {
			n.Errorf("night %d: "+format, append([]any{k}, args...)...)
		}
	}
	said := func(at int64) bool {
		t := time.Unix(at, 0)
		return t.Before(n.horizon) || slices.ContainsFunc(named, func(w schemas.Window) bool { return w.Contains(t) })
	}
	held := map[uint64]entry{}
	if files, _ := filepath.Glob(filepath.Join(n.Cfg.Lake, "usage", "*", "*", "*.parquet")); len(files) > 0 {
		for _, r := range n.files.Records(n.Parquet("usage"), "true") {
			key := keyOf(r)
			at := kit.Unix(n.world, strings.TrimSuffix(r["request_time"], "000000")).Unix()
			if _, twice := held[key]; twice {
				fail("%s of %s stands twice", r["id"], stamp(at))
			}
			held[key] = entry{at, r["id"]}
		}
	}
	now, then := n.after(k), n.before(k)
	for key, e := range n.held {
		_, still := now.records[key]
		_, was := then.records[key]
		if _, ok := held[key]; !ok && still && was {
			fail("%s of %s was in the lake, is at the Portal and has left the lake", e.id, stamp(e.at))
		}
	}
	n.held = held

	stretches := n.stretches()
	owner := func(at int64) (stretch, bool) {
		i := slices.IndexFunc(stretches, func(s stretch) bool { return s.Contains(time.Unix(at, 0)) })
		if i < 0 {
			return stretch{}, false
		}
		return stretches[i], true
	}
	n.owed = nil
	differs := func(e entry) {
		at := time.Unix(e.at, 0).UTC()
		w := schemas.Window{Account: "acme", Start: at, End: at.Add(time.Second)}
		if _, covered := owner(e.at); covered && !at.Before(n.horizon) && e.at >= now.keeps &&
			len(schemas.Uncovered(w, looked)) == 0 {
			n.owed = append(n.owed, w)
		}
	}
	// The Portal may have shown it so since its time was last fetched.
	since := func(run int, ok func(m moment) bool) bool { return slices.ContainsFunc(n.moments[2*run:], ok) }
	for key, e := range now.records {
		if _, ok := held[key]; ok || said(e.at) {
			if !ok {
				differs(e)
			}
			continue
		}
		s, covered := owner(e.at)
		switch {
		case !covered || s.unsure && !n.lookedBack(x, s):
		case since(s.run, func(m moment) bool { _, ok := m.records[key]; return !ok || e.at < m.keeps }):
		case n.ends(s, e.at):
		case s.empty && n.plan[s.run].faults.Blank == 1 && !n.silent[s.run]:
		default:
			fail("%s of %s lacks, fetched in night %d", e.id, stamp(e.at), s.run)
		}
	}
	for key, e := range held {
		if _, ok := now.records[key]; ok || said(e.at) {
			if !ok {
				differs(e)
			}
			continue
		}
		s, covered := owner(e.at)
		switch {
		case !covered:
			fail("%s of %s is of no window", e.id, stamp(e.at))
		case since(s.run, func(m moment) bool { _, ok := m.records[key]; return ok || e.at < m.keeps }):
		default:
			fail("%s of %s is no longer there, fetched in night %d", e.id, stamp(e.at), s.run)
		}
	}
	for _, l := range looks {
		for _, s := range stretches {
			if s.run == k || !s.Start.Before(l.End) || !l.Start.Before(s.End) {
				continue
			}
			from, to := s.Start, s.End
			if from.Before(l.Start) {
				from = l.Start
			}
			if to.After(l.End) {
				to = l.End
			}
			if gaps := schemas.Uncovered(schemas.Window{Start: from, End: to}, named); len(gaps) > 0 && n.matters(gaps) {
				fail("%v had to be fetched for %s, and is of night %d", l.Window, l.why, s.run)
				break
			}
		}
	}
	var covered []schemas.Window
	for _, s := range stretches {
		covered = append(covered, s.Window)
	}
	early, _ := n.clocks(x)
	whole := schemas.Window{Start: n.begins(), End: early.Truncate(time.Second)}
	if whole.Start.Before(n.horizon) {
		whole.Start = n.horizon
	}
	if whole.Start.Before(whole.End) {
		for _, g := range schemas.Uncovered(whole, append(covered, named...)) {
			fail("%v is neither covered nor named", g)
		}
	}
	if wrong >= 8 {
		n.Errorf("night %d: %d in all", k, wrong)
	}
}

// begins is where the first export begins.
func (n *nights) begins() time.Time {
	if from := n.plan[0].span.From; !from.IsZero() {
		return from
	}
	early, _ := n.clocks(n.plan[0])
	return schemas.DateOf(early.Add(config.DefaultSettle)).Start().AddDate(0, 0, -config.FirstDays)
}

// matters says that in some stretches of time lake and Portal differ now.
func (n *nights) matters(gaps []schemas.Window) bool {
	now := n.moments[len(n.moments)-1].records
	in := func(e entry) bool {
		return !time.Unix(e.at, 0).Before(n.horizon) &&
			slices.ContainsFunc(gaps, func(w schemas.Window) bool { return w.Contains(time.Unix(e.at, 0)) })
	}
	for key, e := range now {
		if _, ok := n.held[key]; !ok && in(e) {
			return true
		}
	}
	for key, e := range n.held {
		if _, ok := now[key]; !ok && in(e) {
			return true
		}
	}
	return false
}

// ends says that a record may have been settled after the end of the last window of its run.
func (n *nights) ends(s stretch, at int64) bool {
	f := n.plan[s.run].faults
	if f.FilterBy == "" || s.run != len(n.moments)/2-1 {
		return false
	}
	by := cmp.Or(f.SettleBy, 35*time.Second) + f.SettleJitter
	early, _ := n.clocks(n.plan[s.run])
	return !time.Unix(at, 0).Add(by).Before(early)
}

// lookedBack says that a stretch lies in the lookback of a run.
func (n *nights) lookedBack(x night, s stretch) bool {
	_, late := n.clocks(x)
	return !s.Date().Start().Before(schemas.DateOf(late.Add(-config.DefaultLookback)).Start())
}

// published holds the published file and verify against the day files after the last run.
func (n *nights) published(done bool) {
	n.Whole()
	r := n.Read()
	defer r.Close()
	if got := r.One("SELECT count(*)::VARCHAR FROM usage"); got != kit.Itoa(len(n.held)) {
		n.Errorf("%s records are published, the day files have %d", got, len(n.held))
	}
	const sums = "SELECT format('{} {} {}', sum(total_amount), sum(discount_amount), sum(amount)) FROM "
	if got, want := r.One(sums+"usage"), n.files.One(sums+n.Parquet("usage")); got != want {
		n.Errorf("the published sums are %s, those of the day files %s", got, want)
	}
	for _, f := range verified(n, n.world).Findings {
		switch {
		case f.Check == publish.FoundUnproven: // what lacks has been said
		case f.Check != publish.FoundGap || done && n.horizon.IsZero():
			n.Errorf("verify: %+v", f)
		}
	}
}

func stamp(at int64) string { return time.Unix(at, 0).UTC().Format(time.RFC3339) }
