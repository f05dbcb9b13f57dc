package jobs

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

// nightly runs the default export half an hour after each of the next n midnights.
func (w *world) nightly(n int) {
	w.Helper()
	for range n {
		w.At(schemas.DateOf(w.Now()).End().Add(30 * time.Minute))
		w.export(Span{})
	}
}

// settled is the last instant that an export of now covers.
func (w *world) settled() time.Time { return w.Now().Add(-config.DefaultSettle) }

func TestNightlyExportsFindWhatComesLateAndWhatVanishes(t *testing.T) {
	for _, faults := range []string{
		"late=0.1", "late=0.2,late-by=3h,inclusive-end=true", "late=0.1,late-by=47h,order=newest",
		"vanish=0.1,exclusive-start=true",
		"vanish=0.1,vanish-by=20h",
	} {
		kit.Bubble(t, faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: faults, PerDay: 100})
			w.export(span(18, 20))
			w.nightly(4)
			w.Equal(kit.Day(18), kit.Day(24))
			before := w.Files()
			w.Faults(faults)
			w.export(Span{})
			for _, f := range kit.Changed(before, w.Files()) {
				if !strings.HasPrefix(f, "journal/") {
					t.Errorf("with nothing new, a run changed %s", f)
				}
			}
		})
	}
}

func (w *world) readCount() int64 {
	w.Helper()
	r := w.Read()
	defer r.Close()
	return kit.Unix(w, r.One("SELECT count(*)::VARCHAR FROM usage")).Unix()
}

func TestCorrectionsThatLeaveTheCountAloneComeWithRefetchEvery(t *testing.T) {
	kit.Bubble(t, "corrected", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "corrected=0.2,corrected-by=20h", PerDay: 100})
		w.Cfg.Export.RefetchEvery = config.Duration(24 * time.Hour)
		w.export(span(17, 20))
		w.nightly(3)
		w.Equal(kit.Day(19), kit.Day(22)) // the days that the last run's lookback held, and were a day old
		corrected := 0
		for r := range w.Portal.Truth("0", kit.Day(19), kit.Day(22)) {
			if r.Corrected {
				corrected++
			}
		}
		if corrected == 0 {
			t.Error("nothing was corrected")
		}
	})
	kit.Bubble(t, "never", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "corrected=0.2,corrected-by=20h", PerDay: 100})
		w.Cfg.Export.RefetchAt = nil
		w.export(span(18, 20))
		w.nightly(1)
		w.Requests()
		w.nightly(1)
		for _, r := range w.Requests() {
			if strings.Contains(r.Query, "start_time="+kit.Itoa(kit.Day(19).Unix()-1)) &&
				!strings.Contains(r.Query, "pagesize=1&") {
				t.Errorf("%s: with refetch_at off a day is asked for again that has the same count", r.Query)
			}
		}
		// A refetch by hand brings it right.
		w.export(Span{From: kit.Day(18), To: kit.Day(21), Anew: true})
		w.Equal(kit.Day(18), kit.Day(21))
	})
}

func TestRefetchReplacesTheRangeWhateverTheCounts(t *testing.T) {
	kit.Bubble(t, "refetch", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "corrected=0.2,vanish=0.2,vanish-by=30h,late=0.2"})
		w.Cfg.Export.Lookback, w.Cfg.Export.RefetchAt = 0, nil
		w.export(span(17, 20))
		w.Pass(72 * time.Hour)
		before := w.Files()
		w.Requests()
		w.export(span(17, 20))
		if n := len(w.Requests()); n != 0 {
			t.Errorf("without a lookback, %d requests were sent for what is covered", n)
		}
		res := w.export(Span{From: kit.Day(17).Add(6 * time.Hour), To: kit.Day(19).Add(6 * time.Hour), Anew: true})
		if res.Windows != 3 {
			t.Errorf("%d windows, want 3: each in a day", res.Windows)
		}
		w.Equal(kit.Day(17).Add(6*time.Hour), kit.Day(19).Add(6*time.Hour))
		w.Kept(before)
		w.export(Span{From: kit.Day(17), To: kit.Day(20), Anew: true})
		w.Equal(kit.Day(17), kit.Day(20))
	})
}

func TestNothingYoungerThanTheSettleTimeIsExported(t *testing.T) {
	kit.Bubble(t, "settle", func(t *testing.T) {
		// Records show up to nine minutes late; ten are waited for.
		w := newWorld(t, kit.Settings{Faults: "late=0.5,late-by=9m", PerDay: 2000})
		w.export(Span{From: kit.Start.Add(-3 * time.Hour)})
		w.Equal(kit.Start.Add(-3*time.Hour), w.settled())
		r := w.Read()
		defer r.Close()
		if got := kit.Unix(t,
			r.One("SELECT epoch(max(window_end))::BIGINT::VARCHAR FROM coverage")); !got.Equal(w.settled()) {
			t.Errorf("covered up to %s, want %s", got, w.settled())
		}
		for _, q := range w.Requests() {
			if end := "end_time=" + kit.Itoa(w.settled().Unix()); q.Endpoint == "usage" && !strings.Contains(q.Query, end) {
				t.Errorf("%s asks beyond the settled end", q.Query)
			}
		}
		w.Requests()
		w.export(Span{From: kit.Start.Add(-5 * time.Minute), To: kit.Start.Add(time.Hour)})
		w.export(Span{})
		for _, r := range w.Requests() { // but for the lookback's question
			if !strings.Contains(r.Query, "pagesize=1&") {
				t.Errorf("%v: nothing is settled that isn't covered", r)
			}
		}
	})
}

func TestHourlyExportsTileWithoutLossOrDouble(t *testing.T) {
	kit.Bubble(t, "hourly", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "inclusive-end=true,exclusive-start=true", At: kit.Day(17), PerDay: 600})
		w.export(Span{From: kit.Day(16), To: kit.Day(17)})
		w.Requests()
		const hours = 50 // over two midnights
		for range hours {
			w.Pass(time.Hour)
			w.export(Span{})
		}
		w.Equal(kit.Day(16), w.settled())
		// What is covered is asked for once: no more pages than the records need, each window's margin and last page aside.
		usage, checks, proofs := 0, 0, 0
		for _, r := range w.Requests() {
			switch query, _ := url.ParseQuery(r.Query); {
			case r.Endpoint != "usage":
			case query.Get("pagesize") == "1" && (kit.Unix(t, query.Get("start_time")).Unix()+extract.Margin)%86400 == 0:
				checks++
			case query.Get("pagesize") == "1":
				proofs++
			default:
				usage++
			}
		}
		windows := 1 + hours + 2 + 1 // those over midnight in two parts, and a day that is two days old anew
		if most := 2*windows + int(w.readCount())/20; usage > most {
			t.Errorf("%d requests, want at most %d", usage, most)
		}
		// A day is compared from the hour on in which it was covered whole, today as far as it is covered but for the hour
		// after midnight.
		if want := 24*1 + 24*2 + 2*3 - 2 + hours - 2; checks < want-3 || checks > want+3 {
			t.Errorf("%d checks of days, want about %d", checks, want)
		}
		// What only one page tells is looked at from another side: one small request.
		if proofs > windows {
			t.Errorf("%d requests for the proofs of %d windows", proofs, windows)
		}
		r := w.Read()
		defer r.Close()
		if got := r.One("SELECT count(*)::VARCHAR FROM coverage"); got != kit.Itoa(windows+1) && got != kit.Itoa(windows) {
			t.Errorf("%s windows, want %d: a day was fetched again though nothing changed", got, windows)
		}
	})
}

// At midnight, records lie on the border of two days: exactly on it, or a second before it.
func TestTheLookbackIsRightAtTheBordersOfDays(t *testing.T) {
	for _, c := range []struct {
		faults string
		step   time.Duration // of the exports that first covered the days
	}{
		{"", 24 * time.Hour}, {"inclusive-end", 24 * time.Hour}, {"exclusive-start", 24 * time.Hour},
		{"inclusive-end,exclusive-start", 24 * time.Hour},
		{"", 6 * time.Hour}, {"inclusive-end,exclusive-start", 6 * time.Hour},
	} {
		kit.Bubble(t, c.faults+"/"+c.step.String(), func(t *testing.T) {
			w := newWorld(t, kit.Settings{})
			api := &borders{Portal: w.Portal, faults: c.faults, at: map[int64]int{}}
			for d := 18; d <= 20; d++ {
				api.at[kit.Day(d).Unix()] = 3
				api.at[kit.Day(d).Unix()-1] = 2
				api.at[kit.Day(d).Unix()+6*3600] = 2
			}
			w.env.Transport = &kit.Wire{Portal: api}
			for at := kit.Day(18); at.Before(kit.Day(20)); at = at.Add(c.step) {
				w.export(Span{From: at, To: at.Add(c.step)})
			}
			n := w.readCount()
			if n != 2*3+2*2+2*2 {
				t.Errorf("%d records", n)
			}
			quiet := func() {
				t.Helper()
				before := w.Files()
				if res := w.export(span(18, 20)); res.Requests != 2 ||
					len(kit.Changed(kit.Seals(before), kit.Seals(w.Files()))) > 0 {
					t.Errorf("%d requests: a day is fetched anew though nothing changed", res.Requests)
				}
			}
			quiet()
			// One more at the border is of one day, and the margin of the other.
			for _, at := range []time.Time{kit.Day(19), kit.Day(19).Add(-time.Second)} {
				api.at[at.Unix()]++
				w.export(span(18, 20))
				n++
				if got := w.readCount(); got != n {
					t.Errorf("%d records after one was added at %s, want %d", got, at, n)
				}
			}
			quiet()
			w.Whole()
		})
	}
}

// A record that can't be read and has no usable time comes with both windows that are asked for its second.
func TestABrokenRecordWhereTwoWindowsMeetIsNotFetchedAnewForEver(t *testing.T) {
	const withID, without = `{"id":"x","request_time":"never"}`, `"no record"`
	for _, c := range []struct {
		name        string
		raw         []string
		quarantined int // after the exports by the quarter of a day; the whole day in one window shows each once
		requests    int64
	}{
		{"with an id", []string{withID}, 1, 2},
		{"without", []string{without}, 2, 2 + 4},
		{"two without, alike", []string{without, without}, 4, 2 + 4},
		{"all of them", []string{withID, without, without}, 5, 2 + 4},
	} {
		for _, faults := range []string{"", "inclusive-end,exclusive-start"} {
			kit.Bubble(t, c.name+"/"+faults, func(t *testing.T) {
				w := newWorld(t, kit.Settings{})
				meet := kit.Day(18).Add(6 * time.Hour)
				api := &borders{Portal: w.Portal, faults: faults, at: map[int64]int{kit.Day(18).Unix(): 3, meet.Unix() - 1: 2,
					meet.Unix(): 2, kit.Day(19).Unix() + 5: 1}}
				at := meet.Unix() - 1
				if faults != "" {
					at++ // what both windows are asked for there
				}
				api.raw = map[int64][]string{at: c.raw}
				w.env.Transport = &kit.Wire{Portal: api}
				for at := kit.Day(18); at.Before(kit.Day(20)); at = at.Add(6 * time.Hour) {
					w.export(Span{From: at, To: at.Add(6 * time.Hour)})
				}
				check := func(quarantined int, requests int64) {
					t.Helper()
					r := w.Read()
					defer r.Close()
					if got := r.One("SELECT count(*)::VARCHAR FROM quarantine"); got != kit.Itoa(quarantined) {
						t.Errorf("%s quarantined, want %d", got, quarantined)
					}
					before := w.Files()
					if res := w.export(span(18, 20)); res.Requests != requests ||
						len(kit.Changed(kit.Seals(before), kit.Seals(w.Files()))) > 0 {
						t.Errorf("%d requests, want %d: a day is fetched anew though nothing changed", res.Requests, requests)
					}
				}
				check(c.quarantined, c.requests)
				check(c.quarantined, c.requests)
				api.at[meet.Unix()]++ // a change is still seen, and the day is one window from then on
				w.export(span(18, 20))
				if got := w.readCount(); got != 9 {
					t.Errorf("%d records, want 9", got)
				}
				check(len(c.raw), 2)
				w.Whole()
			})
		}
	}
}

func TestTheFirstExportTakesThirtyDays(t *testing.T) {
	kit.Bubble(t, "first", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 30})
		res := w.export(Span{})
		from := kit.Day(20).AddDate(0, 0, -config.FirstDays)
		if !res.Plans[0].Range.Start.Equal(from) || len(res.Plans[0].Missing) != 31 {
			t.Errorf("%v", res.Plans[0].Range)
		}
		w.Equal(from, w.settled())
	})
}

func TestAGapIsFilledByTheNextDefaultRun(t *testing.T) {
	for name, strike := range map[string]string{
		"in the middle": "status-500=1,from=60,to=120", "at the start": "status-500=1,only=usage,from=1,to=18",
	} {
		kit.Bubble(t, name, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: strike, PerDay: 60})
			res, err := w.try(t.Context(), Span{})
			if err == nil || res.Status != schemas.StatusPartial {
				t.Fatalf("%s, %v", res.Status, err)
			}
			w.Faults("")
			w.Pass(24 * time.Hour)
			w.export(Span{})
			w.Equal(kit.Day(20).AddDate(0, 0, -config.FirstDays), w.settled())
		})
	}
}

// A gap at the start shows in no window; one that was asked for by its dates is no other.
func TestAGapAtTheStartOfAGivenRangeIsFilledByTheNextDefaultRun(t *testing.T) {
	kit.Bubble(t, "given", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "status-500=1,only=usage,from=1,to=8", PerDay: 60})
		if res, err := w.try(t.Context(), Span{From: kit.Day(16)}); err == nil || res.Status != schemas.StatusPartial {
			t.Fatalf("%s, %v", res.Status, err)
		}
		w.Faults("")
		w.Pass(24 * time.Hour)
		w.export(Span{})
		w.Equal(kit.Day(16), w.settled())
	})
}

func TestClocksThatAreWrongAreMadeGoodByTheLookback(t *testing.T) {
	kit.Bubble(t, "set back", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 100})
		w.export(Span{From: kit.Day(18)})
		before := w.Files()
		w.Pass(-36 * time.Hour)
		w.export(Span{})
		w.export(Span{From: kit.Day(18)})
		w.Pass(36*time.Hour + 4*time.Hour)
		w.export(Span{})
		w.Kept(before)
		w.Equal(kit.Day(18), w.settled())
	})
	kit.Bubble(t, "ahead", func(t *testing.T) {
		// This machine's clock is 30 hours ahead for one run: what is covered then has not happened yet.
		w := newWorld(t, kit.Settings{PerDay: 100})
		w.export(Span{From: kit.Day(18)})
		right := w.env.Now
		w.env.Now = func() time.Time { return right().Add(30 * time.Hour) }
		w.export(Span{})
		w.env.Now = right
		w.nightly(4)
		w.Equal(kit.Day(18), w.settled())
	})
}

// ahead makes this machine's clock run ahead of the Portal's by d, until it is put right.
func (w *world) ahead(d time.Duration) (right func()) {
	was := w.env.Now
	w.env.Now = func() time.Time { return was().Add(d) }
	return func() { w.env.Now = was }
}

func (w *world) coveredTo() time.Time {
	w.Helper()
	r := w.Read()
	defer r.Close()
	return kit.Unix(w, r.One("SELECT epoch(max(window_end))::BIGINT::VARCHAR FROM coverage"))
}

func TestNothingIsSealedThatHasNotSettledByThePortalsClock(t *testing.T) {
	// Records show up to nine minutes late, and ten are waited for: by the clock of whoever makes the records.
	const faults = "late=0.5,late-by=9m"
	for _, c := range []struct {
		name  string
		ahead time.Duration
		first Span
	}{
		{"an hour, the first export", time.Hour, Span{From: kit.Start.Add(-3 * time.Hour)}},
		{"an hour, without a start", time.Hour, Span{}},
		{"a little more than the settle time", 11 * time.Minute, Span{From: kit.Start.Add(-3 * time.Hour)}},
		{"over midnight", 13 * time.Hour, Span{From: kit.Start.Add(-3 * time.Hour)}},
		{"so far that the first thirty days are yet to come", 40 * 24 * time.Hour, Span{}},
	} {
		kit.Bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: faults, PerDay: 500})
			w.Cfg.Export.Lookback = 0 // or it would make good what was sealed too early
			from := c.first.From
			if from.IsZero() {
				from = kit.Day(20).AddDate(0, 0, -config.FirstDays)
			}
			right := w.ahead(c.ahead)
			first := w.export(c.first)
			if got := w.coveredTo(); !got.Equal(w.settled()) {
				t.Errorf("covered up to %s, want %s", got, w.settled())
			}
			if got := first.Plans[0].Range.End; !got.Equal(w.settled()) {
				t.Errorf("the plan ends at %s, want %s", got, w.settled())
			}
			if !strings.Contains(w.Logs.String(), "ahead="+c.ahead.String()) {
				t.Error("no warning says how far the clock is ahead")
			}
			w.Equal(from, w.settled())
			w.Pass(30 * time.Minute)
			w.export(Span{})
			w.Pass(30 * time.Minute)
			right()
			w.export(Span{})
			w.Equal(from, w.settled())
			if got := w.coveredTo(); !got.Equal(w.settled()) {
				t.Errorf("with the clock right, covered up to %s, want %s", got, w.settled())
			}
		})
	}
	kit.Bubble(t, "a day that was covered before it was over", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "skew=13h", PerDay: 500}) // the header agrees with this machine's clock
		right := w.ahead(13 * time.Hour)
		w.export(span(18, 21))
		if !w.coveredTo().Equal(kit.Day(21)) {
			t.Fatalf("covered up to %s", w.coveredTo())
		}
		w.Faults("")
		w.Pass(time.Hour)
		res := w.export(span(18, 21)) // day 20 has more records now
		if m := res.Plans[0].Missing; len(m) != 1 || !m[0].End.Equal(w.settled()) {
			t.Errorf("%v is fetched anew, want what of the day has settled", m)
		}
		right()
		w.nightly(2)
		w.Equal(kit.Day(18), kit.Day(22))
	})
	kit.Bubble(t, "a clock that stays ahead is no reason for a refetch", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.ahead(30 * time.Hour)
		w.export(Span{From: kit.Day(17)})
		for range 3 {
			w.Pass(time.Hour)
			if p := w.export(Span{}).Plans[0]; p.Refetch || len(p.Missing) != 1 {
				t.Errorf("%d windows, refetch %t", len(p.Missing), p.Refetch)
			}
		}
		dry, err := DryRun(t.Context(), w.Cfg, w.env, ExportOptions{})
		if err != nil || dry[0].To.After(w.settled()) || dry[0].Windows > 1 {
			t.Errorf("%+v, %v", dry, err)
		}
		w.Equal(kit.Day(17), w.settled())
	})
	kit.Bubble(t, "a dry run of a first export", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.ahead(30 * time.Hour)
		dry, err := DryRun(t.Context(), w.Cfg, w.env, ExportOptions{})
		if err != nil || !dry[0].To.Equal(w.settled()) || !dry[0].From.Equal(kit.Day(20).AddDate(0, 0, -config.FirstDays)) {
			t.Errorf("%+v, %v", dry, err)
		}
	})
	kit.Bubble(t, "behind", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: faults, PerDay: 500})
		right := w.ahead(-time.Hour)
		w.export(Span{From: kit.Start.Add(-3 * time.Hour)})
		if want := w.settled().Add(-time.Hour); !w.coveredTo().Equal(want) {
			t.Errorf("covered up to %s, want %s by this machine's clock", w.coveredTo(), want)
		}
		right()
		w.export(Span{})
		w.Equal(kit.Start.Add(-3*time.Hour), w.settled())
	})
}

// zones have their change of time within the range, or lie far from UTC.
func TestTheTimeZoneOfTheProcessMakesNoDifference(t *testing.T) {
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	for _, c := range []struct {
		name, zone string
		last       time.Time // midnight after the range
	}{
		{"summer time begins in Europe", "Europe/Berlin", time.Date(2026, 3, 31, 0, 0, 0, 0, time.UTC)},
		{"summer time ends in America", "America/New_York", time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)},
		{"leap day", "Australia/Lord_Howe", time.Date(2028, 3, 2, 0, 0, 0, 0, time.UTC)},
		{"year end", "America/New_York", time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var first map[string]string
			for _, zone := range []string{"UTC", c.zone, "Pacific/Kiritimati"} {
				loc, err := time.LoadLocation(zone)
				if err != nil {
					t.Skipf("no time zones here: %v", err)
				}
				time.Local = loc
				w := newWorld(t, kit.Settings{At: c.last.Add(time.Hour).In(loc), PerDay: 60})
				from := c.last.AddDate(0, 0, -3)
				w.export(Span{From: from, To: c.last})
				w.Equal(from, c.last)
				r := w.Read()
				got := map[string]string{}
				for _, rec := range r.Records("usage", "true") {
					got[rec["id"]] = fmt.Sprint(rec)
				}
				r.Close()
				if first == nil {
					first = got
					continue
				}
				if d := kit.Changed(first, got); len(d) > 0 {
					t.Errorf("%s: %d records differ from UTC's", zone, len(d))
				}
			}
		})
	}
}

func TestSummaryAnswersAreExportedAndCheckedByTheirTokens(t *testing.T) {
	for _, faults := range []string{"", "page-clamp=7,past-end=last",
		"inclusive-end=true,exclusive-start=true,strings=true", "order=newest,unknown-fields=true,null-list=true"} {
		kit.Bubble(t, faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: faults,
				Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 150, Shape: portal.Summary}}})
			w.export(span(17, 20))
			w.Equal(kit.Day(17), kit.Day(20))
			before := w.Files()
			if res := w.export(span(17, 20)); res.Requests != 3 {
				t.Errorf("%d requests, want one for each of the 3 days", res.Requests)
			}
			for _, f := range kit.Changed(before, w.Files()) {
				if !strings.HasPrefix(f, "journal/") {
					t.Errorf("the second run changed %s", f)
				}
			}
		})
	}
	kit.Bubble(t, "late", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "late=0.2",
			Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 100, Shape: portal.Summary}}})
		w.export(span(17, 20))
		w.nightly(3)
		w.Equal(kit.Day(17), kit.Day(21))
	})
}
