package extract

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

var (
	randomCases = flag.Int("random.cases", 60, "how many Portals are drawn")
	randomSeed  = flag.Uint64("random.seed", 1, "the first one's seed")
)

// shelf keeps what a Fetcher yields as a lake does: of each instant what the window sealed last brought.
type shelf struct {
	mu      sync.Mutex
	windows []schemas.Window
	seqs    []int
	listed  [][]entry
}

func (s *shelf) sink(_ context.Context, seal schemas.Seal, pages []schemas.Page) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []entry
	for _, p := range pages {
		l, err := readListing(p.Body)
		if err != nil {
			return err
		}
		all = append(all, l.entries...)
	}
	s.windows, s.seqs, s.listed = append(s.windows, seal.Window()), append(s.seqs, len(s.seqs)+1), append(s.listed, all)
	return nil
}

// holds are the records of the instants that the windows own.
func (s *shelf) holds() map[recordKey]int64 {
	out := map[recordKey]int64{}
	for _, g := range schemas.Own(s.windows, s.seqs) {
		for _, e := range s.listed[g.Index] {
			if e.at >= g.Start.Unix() && e.at < g.End.Unix() {
				out[e.key] = e.at
			}
		}
	}
	return out
}

// undetectable says which faults no client can see in a single run: what is drawn of them is let pass within the share
// that they concern.
func undetectable(f portal.Faults) bool {
	return f.SwapEvery > 0 || f.DropEvery > 0 || f.ArriveEvery > 0 || max(f.Blank, f.BlankPage) >= 0.5 ||
		f.TotalCap > 0 && f.TotalCap < fewest
}

// An export ends with the truth, or says which windows lack something, whatever the Portal does. Each case names its
// seed.
func TestARandomPortalIsFetchedWholeOrItIsSaidWhatLacks(t *testing.T) {
	for i := range *randomCases {
		seed := *randomSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { randomPortal(t, seed) }) })
	}
}

func randomPortal(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	o, faults := portal.Draw(r)
	o.Now = func() time.Time { return clock }
	o.Limit = portal.LimitOptions{Kind: portal.Off}
	o.Faults = faults
	p, err := portal.New(o)
	if err != nil {
		t.Fatal(err)
	}
	org := p.Orgs()[0]
	c, err := NewClient(Options{Account: "acme", BaseURL: "https://portal.test" + portal.BasePath, Key: p.Key(org),
		Transport: &wire{p, 10 * time.Millisecond}, Pacer: NewPacer(100, 0), Now: o.Now})
	if err != nil {
		t.Fatal(err)
	}
	from := day(2 + r.IntN(10))
	to := from.Add(time.Duration(1+r.IntN(6*24)) * time.Hour)
	if r.IntN(3) == 0 {
		from = from.Add(time.Duration(r.IntN(86400)) * time.Second)
	}
	s := &shelf{}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	f := NewFetcher(FetchOptions{Client: c, RunID: "r", Version: "test", Logger: log})
	out, err := f.Fetch(t.Context(), schemas.Window{Account: "acme", Start: from, End: to}.Days(), s.sink)
	if err != nil {
		t.Fatal(err)
	}
	said := func(at time.Time) bool {
		return at.Before(out.Horizon) || slices.ContainsFunc(out.Failed,
			func(w schemas.FailedWindow) bool { return !at.Before(w.Start) && at.Before(w.End) })
	}
	held := s.holds()
	wrong, n := 0, 0
	show := func(format string, args ...any) {
		if wrong++; wrong < 6 {
			t.Logf(format, args...)
		}
	}
	forgotten := time.Time{}
	if faults.Keep > 0 {
		forgotten = clock.Add(-faults.Keep)
	}
	known := map[recordKey]bool{}
	for rec := range p.Truth(org, from, to) {
		e, _, _ := readRecord(scan.Padded(rec.Served), 0)
		if known[e.key] { // two that are alike in all are one
			continue
		}
		known[e.key] = true
		n++
		// No call was seen to be under way at a border, so nothing tells that the filter goes by their ends.
		unseen := faults.FilterBy != "" && f.Learnt().Lag == 0 &&
			rec.RequestTime.After(to.Add(-faults.SettleBy-faults.SettleJitter-time.Second))
		if _, ok := held[e.key]; !ok && !said(rec.RequestTime) && !rec.RequestTime.Before(forgotten) && !unseen {
			show("%s %s lacks", rec.RequestTime.Format(time.RFC3339), rec.ID)
		}
		delete(held, e.key)
	}
	for _, at := range held {
		if !said(time.Unix(at, 0)) {
			show("a record of %s is no longer there", time.Unix(at, 0).UTC().Format(time.RFC3339))
		}
	}
	covered := slices.Clone(s.windows)
	for _, w := range out.Failed {
		covered = append(covered, schemas.Window{Start: w.Start, End: w.End})
	}
	if out.Horizon.After(from) {
		covered = append(covered, schemas.Window{Start: from, End: out.Horizon})
	}
	for _, w := range schemas.Uncovered(schemas.Window{Start: from, End: to}, covered) {
		wrong++
		t.Logf("%s was neither sealed nor reported", w)
	}
	requests := p.Stats().Requests
	verdict := fmt.Sprintf("%d of %d records wrong, %d requests, %d windows, %d failed, "+
		"%.1f requests × 100 ÷ records; %s; %s/%s", wrong, n, requests, len(s.windows), len(out.Failed),
		float64(requests)*100/float64(max(n, 1)), faults, from.Format(time.RFC3339), to.Format(time.RFC3339))
	if wrong > 0 && !undetectable(faults) {
		t.Error(verdict)
	} else {
		t.Log(verdict)
	}
}
