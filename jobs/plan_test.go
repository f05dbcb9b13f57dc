package jobs

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

func window(from, to time.Time) schemas.Window {
	return schemas.Window{Account: "acme", Start: from, End: to}
}

// sealedAs makes what a lake lists of these windows.
func sealedAs(windows ...schemas.Window) sealed {
	s := sealed{}
	for _, w := range windows {
		for i, d := range w.Days() {
			source := s[d.Date()]
			source.Windows = append(source.Windows, load.Raw{Window: d, Seq: i + 1})
			s[d.Date()] = source
		}
	}
	return s
}

func TestPlan(t *testing.T) {
	settled := kit.Start.Add(-config.DefaultSettle)
	thirty := kit.Day(20).AddDate(0, 0, -config.FirstDays)
	for _, c := range []struct {
		name        string
		have        sealed
		span        Span
		cfg         func(*config.Export)
		began, last time.Time
		from, to    time.Time
		missing     int // windows
		first, end  time.Time
		check       string
		refetch     bool
	}{
		{name: "first", from: thirty, to: settled, missing: 31, first: thirty, end: settled},
		{name: "the next day", have: sealedAs(window(kit.Day(1), kit.Day(20))), from: kit.Day(1), to: settled, missing: 1,
			first: kit.Day(20), end: settled, check: "17 18 19"},
		{name: "from a part of a day", have: sealedAs(window(kit.Day(1), kit.Start.Add(-5*time.Hour))), from: kit.Day(1),
			to: settled, missing: 1, first: kit.Start.Add(-5 * time.Hour), end: settled, check: "17 18 19 20"},
		{name: "covered whole", have: sealedAs(window(kit.Day(1), settled)), from: kit.Day(1), to: settled,
			check: "17 18 19 20"},
		{name: "a gap", have: sealedAs(window(kit.Day(1), kit.Day(5)), window(kit.Day(7).Add(time.Hour), settled)),
			from: kit.Day(1), to: settled, missing: 3, first: kit.Day(5), end: kit.Day(7).Add(time.Hour), check: "17 18 19 20"},
		{name: "a gap at the start", have: sealedAs(window(kit.Day(3), settled)), began: kit.Day(1), from: kit.Day(1),
			to: settled, missing: 2, first: kit.Day(1), end: kit.Day(3), check: "17 18 19 20"},
		{name: "begun later than covered", have: sealedAs(window(kit.Day(3), settled)), began: kit.Day(5), from: kit.Day(3),
			to: settled, check: "17 18 19 20"},
		{name: "a gap in the lookback", have: sealedAs(window(kit.Day(1), kit.Day(18)), window(kit.Day(19), settled)),
			from: kit.Day(1), to: settled, missing: 1, first: kit.Day(18), end: kit.Day(19), check: "17 19 20"},
		{name: "an explicit range", have: sealedAs(window(kit.Day(10), kit.Day(12))), span: span(11, 14), from: kit.Day(11),
			to: kit.Day(14), missing: 2, first: kit.Day(12), end: kit.Day(14)},
		{name: "an explicit range within the lookback", have: sealedAs(window(kit.Day(10), settled)), span: span(18, 20),
			from: kit.Day(18), to: kit.Day(20), check: "18 19"},
		{name: "a range of parts of days", have: sealedAs(window(kit.Day(10), settled)),
			span: Span{From: kit.Day(18).Add(time.Second), To: kit.Day(19).Add(time.Hour)}, from: kit.Day(18).Add(time.Second),
			to: kit.Day(19).Add(time.Hour)},
		{name: "to the future", span: Span{From: kit.Day(19), To: kit.Day(25)}, from: kit.Day(19), to: settled, missing: 2,
			first: kit.Day(19), end: settled},
		{name: "from the future", span: Span{From: kit.Day(25)}, from: settled, to: settled},
		{name: "nothing settled", span: Span{From: kit.Start.Add(-time.Minute)}, from: settled, to: settled},
		{name: "an end in the past", span: Span{To: kit.Day(2)}, from: thirty, to: kit.Day(2), missing: 12, first: thirty,
			end: kit.Day(2)},
		{name: "an end long past", span: Span{To: kit.Day(2).AddDate(-1, 0, 0)},
			from: kit.Day(2).AddDate(-1, 0, -config.FirstDays),
			to:   kit.Day(2).AddDate(-1, 0, 0), missing: 30, first: kit.Day(2).AddDate(-1, 0, -config.FirstDays),
			end: kit.Day(2).AddDate(-1, 0, 0)},
		{name: "anew", have: sealedAs(window(kit.Day(1), settled)),
			span: Span{From: kit.Day(17), To: kit.Day(20), Anew: true}, from: kit.Day(17), to: kit.Day(20), missing: 3,
			first: kit.Day(17), end: kit.Day(20)},
		{name: "no lookback", have: sealedAs(window(kit.Day(1), kit.Day(20))), cfg: func(c *config.Export) { c.Lookback = 0 },
			from: kit.Day(1), to: settled, missing: 1, first: kit.Day(20), end: settled},
		{name: "refetch is due", have: sealedAs(window(kit.Day(1), kit.Day(20))), last: kit.Start.Add(-168 * time.Hour),
			from: kit.Day(1), to: settled, missing: 4, first: kit.Day(17), end: settled, refetch: true},
		{name: "refetch is not due", have: sealedAs(window(kit.Day(1), kit.Day(20))), last: kit.Start.Add(-167 * time.Hour),
			from: kit.Day(1), to: settled, missing: 1, first: kit.Day(20), end: settled, check: "17 18 19"},
		{name: "refetch is off", have: sealedAs(window(kit.Day(1), kit.Day(20))),
			cfg:  func(c *config.Export) { c.RefetchEvery = 0 },
			last: kit.Day(1), from: kit.Day(1), to: settled, missing: 1, first: kit.Day(20), end: settled, check: "17 18 19"},
		{name: "a clock set back", have: sealedAs(window(kit.Start.AddDate(0, 0, 2), kit.Start.AddDate(0, 0, 3))),
			from: settled, to: settled},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config.DefaultExport()
			cfg.RefetchEvery = config.Duration(168 * time.Hour)
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			p := plan("acme", c.span, c.have, nil, cfg, kit.Start.Add(123), past{began: c.began, lastRefetch: c.last})
			if !p.Range.Start.Equal(c.from) || !p.Range.End.Equal(c.to) {
				t.Errorf("range %s, want %s", p.Range, window(c.from, c.to))
			}
			if len(p.Missing) != c.missing {
				t.Fatalf("missing %v, want %d", p.Missing, c.missing)
			}
			if c.missing > 0 && (!p.Missing[0].Start.Equal(c.first) || !p.Missing[c.missing-1].End.Equal(c.end)) {
				t.Errorf("missing %v, want from %s to %s", p.Missing, c.first, c.end)
			}
			var check []string
			for _, d := range p.Check {
				check = append(check, d.Date().String()[8:])
			}
			if got := strings.Join(check, " "); got != c.check || p.Refetch != c.refetch || p.Anew != c.span.Anew {
				t.Errorf("checks %q, want %q; refetch %t, anew %t", got, c.check, p.Refetch, p.Anew)
			}
		})
	}
}

func TestAPlanAsksForWhatIsMissingAndNothingElse(t *testing.T) {
	base := kit.Start.Unix()
	instant := rapid.Int64Range(base-40*86400, base+2*86400)
	draw := func(t *rapid.T, what string) time.Time { return time.Unix(instant.Draw(t, what), 0).UTC() }
	rapid.Check(t, func(t *rapid.T) {
		var have []schemas.Window
		for range rapid.IntRange(0, 6).Draw(t, "windows") {
			w := window(draw(t, "start"), draw(t, "end"))
			if w.Start.Before(w.End) {
				have = append(have, w)
			}
		}
		var s Span
		if rapid.Bool().Draw(t, "from?") {
			s.From = draw(t, "from")
			s.Anew = rapid.Bool().Draw(t, "anew")
		}
		if rapid.Bool().Draw(t, "to?") {
			s.To = draw(t, "to")
		}
		if s.validate(kit.Start) != nil {
			t.Skip("no range")
		}
		cfg := config.Export{Settle: config.Duration(rapid.Int64Range(0, 7200).Draw(t,
			"settle")) * config.Duration(time.Second),
			Lookback:     config.Duration(rapid.Int64Range(0, 240).Draw(t, "lookback")) * config.Duration(time.Hour),
			RefetchEvery: config.Duration(rapid.Int64Range(0, 200).Draw(t, "every")) * config.Duration(time.Hour)}
		var began, last time.Time
		if rapid.Bool().Draw(t, "began?") {
			began = draw(t, "began")
		}
		if rapid.Bool().Draw(t, "refetched?") {
			last = draw(t, "last")
		}
		p := plan("acme", s, sealedAs(have...), nil, cfg, kit.Start, past{began: began, lastRefetch: last})
		settled := kit.Start.Add(-time.Duration(cfg.Settle))

		if p.Range.End.After(settled) || p.Range.Start.After(p.Range.End) {
			t.Fatalf("range %s goes beyond %s or backwards", p.Range, settled)
		}
		if p.Range.Start.Before(p.Range.End) && !s.From.IsZero() && p.Range.Start.Before(s.From) || !s.To.IsZero() &&
			p.Range.End.After(s.To) {
			t.Fatalf("range %s goes beyond what was asked for", p.Range)
		}
		for i, m := range p.Missing {
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
			if m.Start.Before(p.Range.Start) || m.End.After(p.Range.End) {
				t.Fatalf("%s is outside of %s", m, p.Range)
			}
			if i > 0 && p.Missing[i-1].End.After(m.Start) {
				t.Fatalf("%s and %s overlap", p.Missing[i-1], m)
			}
		}
		// Missing and what is there cover the range; without a refetch, Missing is nothing but what isn't there.
		if p.Range.Start.Before(p.Range.End) {
			if left := schemas.Uncovered(p.Range, slices.Concat(have, p.Missing)); len(left) > 0 {
				t.Fatalf("%v is neither there nor missing", left)
			}
			want := schemas.Uncovered(p.Range, have)
			if p.Anew {
				want = []schemas.Window{p.Range}
			}
			if !p.Refetch {
				var days []schemas.Window
				for _, w := range want {
					days = append(days, w.Days()...)
				}
				if !slices.Equal(days, p.Missing) {
					t.Fatalf("missing %v, want %v", p.Missing, days)
				}
			}
		} else if len(p.Missing) > 0 || len(p.Check) > 0 {
			t.Fatalf("an empty range asks for %v, %v", p.Missing, p.Check)
		}
		for _, w := range p.Check {
			if w.Start.Before(p.Range.Start) || w.End.After(p.Range.End) || len(schemas.Uncovered(w, have)) > 0 {
				t.Fatalf("%s can't be compared: it isn't covered, or not asked for", w)
			}
			if schemas.DateOf(w.Start) < schemas.DateOf(settled.Add(-time.Duration(cfg.Lookback))) {
				t.Fatalf("%s is older than the lookback", w)
			}
			if slices.ContainsFunc(p.Missing, func(m schemas.Window) bool {
				return m.Start.Before(w.End) &&
					w.Start.Before(m.End)
			}) {
				t.Fatalf("%s is checked and fetched", w)
			}
		}
		if p.Refetch && (len(p.Check) > 0 || cfg.RefetchEvery == 0 || last.IsZero() || !last.After(kit.Start) &&
			kit.Start.Sub(last) < time.Duration(cfg.RefetchEvery)) {
			t.Fatalf("a refetch that isn't due, or checks beside it")
		}
	})
}

func TestACountAgreesOnlyWithWhatIsHeld(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	day := schemas.DayFooter{DayStats: schemas.DayStats{Rows: 10, Quarantined: 2, Before: 1, After: 3, Duplicates: 7,
		Ignored: 9}}
	summary := schemas.DayFooter{DayStats: schemas.DayStats{Rows: 5, SummaryTokens: n(1000)}}
	for _, c := range []struct {
		name   string
		count  extract.Counted
		footer schemas.DayFooter
		want   bool
	}{
		{"rows, quarantine and margins", extract.Counted{Records: n(16)}, day, true},
		{"one more", extract.Counted{Records: n(17)}, day, false},
		{"one less", extract.Counted{Records: n(15)}, day, false},
		{"nothing said", extract.Counted{}, day, false},
		{"an empty day", extract.Counted{Records: n(0)}, schemas.DayFooter{}, true},
		{"tokens", extract.Counted{Tokens: n(1000)}, summary, true},
		{"other tokens", extract.Counted{Tokens: n(1001)}, summary, false},
		{"tokens of a day of the other shape", extract.Counted{Tokens: n(0)}, day, false},
		{"the count of a day of the summary shape", extract.Counted{Records: n(5)}, summary, true},
	} {
		if got := agrees(c.count, c.footer, nil); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestTheLastRefetchIsReadOffTheJournal(t *testing.T) {
	run := func(d int, status string, refetched bool, windows int64) schemas.Run {
		return schemas.Run{StartedAt: kit.Day(d),
			Accounts: []schemas.RunAccount{{Account: "acme", Status: status, Refetched: refetched,
				RunCounts: schemas.RunCounts{Windows: windows}}}}
	}
	for _, c := range []struct {
		name string
		runs []schemas.Run
		want time.Time
	}{
		{"none", nil, time.Time{}},
		{"nothing was fetched yet", []schemas.Run{run(1, "failed", false, 0)}, time.Time{}},
		{"the first export", []schemas.Run{run(1, "done", false, 30), run(2, "done", false, 1)}, kit.Day(1)},
		{"a refetch", []schemas.Run{run(1, "done", false, 30), run(8, "done", true, 4), run(9, "done", false, 1)},
			kit.Day(8)},
		{"a refetch in part is none", []schemas.Run{run(1, "done", false, 30), run(8, "partial", true, 2)}, kit.Day(1)},
		{"another account's",
			[]schemas.Run{{StartedAt: kit.Day(1),
				Accounts: []schemas.RunAccount{{Account: "bee", Status: "done", RunCounts: schemas.RunCounts{Windows: 3}}}}},
			time.Time{}},
	} {
		if got := pasts(c.runs)["acme"].lastRefetch; !got.Equal(c.want) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
