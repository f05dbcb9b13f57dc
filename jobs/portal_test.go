package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"

	"github.com/usagelake/usagelake/schemas"
)

// partial must end as a run that lacks something, and say so.
func (w *world) partial(s Span, says string) *Result {
	w.Helper()
	res, err := w.try(w.Context(), s)
	var partial *PartialError
	if err == nil || !errors.As(err, &partial) || res.Status != schemas.StatusPartial ||
		!strings.Contains(err.Error(), says) {
		w.Fatalf("%+v, %v; want a partial run that says %q", res, err, says)
	}
	return res
}

func (w *world) rows() string {
	w.Helper()
	r := w.Read()
	defer r.Close()
	return r.One("SELECT format('{} {}', count(*), sum(amount)) FROM usage")
}

// A back end that answers as if there were nothing takes nothing away: not within a run, not the night after, and not
// where it forgot. What is really gone goes once two looks at different times agree.
func TestAnOutageThatAnswersEmptyReplacesNoGoodDay(t *testing.T) {
	kit.Bubble(t, "a night", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(17, 20))
		before := w.rows()
		w.Faults("blank=1,only=usage")
		w.Pass(time.Hour)
		w.partial(span(17, 20), "are not among them")
		if got := w.rows(); got != before {
			t.Errorf("%s after the outage, %s before", got, before)
		}
		for _, u := range w.unproven(3) {
			if !u.Doubted || u.Lacking != u.Records || u.Lacking == 0 {
				t.Errorf("%+v", u)
			}
		}
		w.Faults("")
		w.Pass(24 * time.Hour)
		w.Cfg.Export.Lookback, w.Cfg.Export.RefetchAt = 0, nil // what is doubted is looked at all the same
		w.export(Span{})
		w.unproven(0)
		w.Equal(kit.Day(17), kit.Day(20))
	})
	for _, total := range []string{"", "total-delta=2"} {
		kit.Bubble(t, "what is new is no better than what is held "+total, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: total})
			w.export(span(17, 20))
			w.Faults("blank=1,only=usage," + total)
			w.Pass(13 * time.Hour)
			res := w.partial(Span{}, "came back empty")
			if !slices.ContainsFunc(res.Accounts[0].Failed, func(f schemas.FailedWindow) bool {
				return f.Start.Equal(kit.Day(20)) && strings.Contains(f.Error, "came back empty")
			}) {
				t.Errorf("nobody says of 20 November that it is taken for empty: %v", res.Accounts[0].Failed)
			}
			w.Faults(total)
			w.Pass(5 * 24 * time.Hour) // the day has left the lookback
			w.export(Span{})
			w.Equal(kit.Day(17), w.settled())
		})
	}
	kit.Bubble(t, "half a day is gone, and stays so", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(17, 20))
		before := w.rows()
		w.Faults("vanish=0.5,vanish-by=1h")
		w.Pass(time.Hour)
		w.partial(span(17, 20), "at another time")
		w.Pass(10 * time.Minute) // too soon for a second look
		w.partial(span(17, 20), "at another time")
		if got := w.rows(); got != before {
			t.Errorf("%s after the first looks, %s before", got, before)
		}
		w.Pass(time.Hour)
		w.export(span(17, 20))
		w.Equal(kit.Day(17), kit.Day(20))
	})
	kit.Bubble(t, "half a day is gone, seen last as it left the lookback", func(t *testing.T) {
		w := newWorld(t, kit.Settings{At: kit.Day(20).Add(20 * time.Hour)})
		w.export(span(17, 20))
		w.Faults("vanish=0.5,vanish-by=48h")
		w.Pass(time.Hour)
		w.partial(Span{}, "are not among them")
		w.Pass(4 * time.Hour)
		w.try(t.Context(), Span{})
		w.Equal(kit.Day(17), kit.Day(18))
	})
	kit.Bubble(t, "half of today is gone, and the day ends", func(t *testing.T) {
		w := newWorld(t, kit.Settings{At: kit.Day(20).Add(19 * time.Hour)})
		w.export(Span{From: kit.Day(20)})
		w.Faults("late=0.4,late-by=49h")
		w.Pass(time.Hour)
		w.partial(Span{}, "are not among them")
		w.At(kit.Day(21).Add(30 * time.Minute))
		w.partial(Span{}, "are not among them") // another stretch of time, so a first look
		w.Pass(time.Hour)
		w.export(Span{})
		w.Equal(kit.Day(20), w.settled())
	})
	for _, total := range []string{"", "total=random"} {
		kit.Bubble(t, "the Portal forgets "+total, func(t *testing.T) {
			w := newWorld(t, kit.Settings{})
			w.export(span(17, 20))
			before := w.rows()
			w.Faults("keep=1h," + total)
			for range 3 {
				w.Pass(2 * time.Hour)
				w.partial(span(17, 20), "are not among them")
			}
			if got := w.rows(); got != before {
				t.Errorf("%s after it forgot, %s before", got, before)
			}
		})
	}
}

// What a Portal keeps ends in the middle of a day, in which much more comes than is lacking: it has forgotten that, and
// nobody has deleted it. What really is deleted at the start of a day goes.
func TestADayThatThePortalForgetsInPartStaysWhole(t *testing.T) {
	for _, from := range []int{16, 18} { // with days before it in the lake, and without
		kit.Bubble(t, fmt.Sprint(from), func(t *testing.T) {
			w := newWorld(t, kit.Settings{})
			w.export(span(from, 20))
			before := w.rows()
			w.Faults("keep=56h")
			res := w.export(span(18, 20))
			if got := w.rows(); got != before {
				t.Errorf("%s after the Portal forgot, %s before", got, before)
			}
			if h := res.Accounts[0].Horizon; h.Before(kit.Day(18).Add(4*time.Hour)) || h.After(kit.Day(18).Add(5*time.Hour)) {
				t.Errorf("its records are said to begin at %s, they do at %s", h, kit.Day(18).Add(4*time.Hour))
			}
			w.Equal(kit.Day(18), kit.Day(20))
		})
	}
	kit.Bubble(t, "deleted", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(18, 20))
		w.Faults("vanish=0.1,vanish-by=1h")
		w.export(span(18, 20))
		w.Equal(kit.Day(18), kit.Day(20))
	})
}

func TestCorrectionsThatLeaveTheCountAloneAreFoundAtTheDefaults(t *testing.T) {
	kit.Bubble(t, "corrected", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "corrected=0.2,corrected-by=20h", PerDay: 60})
		w.export(span(18, 20))
		w.nightly(5)
		corrected := 0
		for r := range w.Portal.Truth("0", kit.Day(18), kit.Day(22)) {
			if r.Corrected {
				corrected++
			}
		}
		if corrected == 0 {
			t.Fatal("nothing was corrected")
		}
		w.Equal(kit.Day(18), kit.Day(22)) // each of these is two days old at least
	})
}

func TestWhatComesLateTodayIsFoundToday(t *testing.T) {
	kit.Bubble(t, "today", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "late=0.3,late-by=2h"})
		w.export(Span{From: kit.Day(20)})
		w.Pass(3 * time.Hour)
		w.export(Span{})
		w.Equal(kit.Day(20), kit.Start.Add(-config.DefaultSettle))
	})
}

// A lake that begins within a day has that day compared, and fetched anew, from there on.
func TestTheFirstDayIsLookedAtFromWhereTheLakeBegins(t *testing.T) {
	for faults, after := range map[string]time.Duration{"late=0.3,late-by=30h": 40 * time.Hour,
		"corrected=0.3,corrected-by=30h": 80 * time.Hour} {
		kit.Bubble(t, faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: faults, At: kit.Day(18).Add(20 * time.Hour)})
			begins := kit.Day(18).Add(9*time.Hour + 30*time.Minute)
			w.export(Span{From: begins})
			w.Pass(6 * time.Hour)
			w.export(Span{})
			w.Pass(after)
			w.export(Span{})
			w.Equal(begins, kit.Day(19))
		})
	}
}

// A total that is always off hides nothing that changes.
func TestTheLookbackComparesAnAnnouncementWithTheOneOfThen(t *testing.T) {
	for _, off := range []string{"total-delta=-1", "total-delta=1", "total-delta=3"} {
		kit.Bubble(t, off, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: off})
			w.export(span(17, 20))
			w.Requests()
			if res := w.export(span(17, 20)); res.Requests != 3 {
				t.Errorf("%d requests where nothing changed, want 3", res.Requests)
			}
			w.Faults(off + ",late=0.01,late-by=240h") // of all that lies in the past, a few are not there yet
			w.Pass(time.Hour)
			w.export(span(17, 20))
			w.Equal(kit.Day(17), kit.Day(20))
		})
	}
}

// A total that says the same whatever there is agrees with itself for ever, and tells nothing of a change.
func TestATotalThatDoesNotCountHidesNoChange(t *testing.T) {
	for _, faults := range []string{"total=huge", "total=page"} {
		kit.Bubble(t, faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: faults + ",late=0.1,late-by=30h", PerDay: 60})
			w.export(span(18, 20))
			w.Pass(20 * time.Hour)
			w.export(Span{})
			w.Equal(kit.Day(18), w.settled())
			w.Pass(20 * time.Hour)
			w.export(Span{})
			w.Equal(kit.Day(20), w.settled())
		})
	}
}

func TestThePortalsHorizonIsSaidOnceAndIsNoFailure(t *testing.T) {
	for _, answer := range []string{"400", "404"} {
		kit.Bubble(t, answer, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: "keep=340h,keep-answer=" + answer, PerDay: 60})
			res := w.export(Span{})
			begins := kit.Start.Add(-340 * time.Hour)
			horizon := res.Accounts[0].Horizon
			if horizon.Before(begins) || horizon.Sub(begins) > 2*time.Minute {
				t.Errorf("the horizon is said to be %s, it is %s", horizon, begins)
			}
			w.Equal(horizon, w.settled())
			w.Requests()
			w.Pass(time.Hour)
			w.export(Span{})
			for _, r := range w.Requests() {
				if r.Status != 200 {
					t.Errorf("%s was answered by %d: what lies before the horizon is asked for again", r.Query, r.Status)
				}
			}
		})
	}
}

// A Portal that forgets, and answers with empty lists, ends no night in part: what is held stays, and is not asked for
// again and again.
func TestWhatThePortalForgotIsNoDoubt(t *testing.T) {
	kit.Bubble(t, "days that come to an age of refetch_at", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 40, At: kit.Day(10).Add(2 * time.Hour)})
		w.export(span(1, 10))
		w.Faults("keep=120h,keep-answer=empty")
		w.Requests()
		for range 4 {
			w.Pass(24 * time.Hour)
			w.export(Span{})
			w.unproven(0)
		}
		if n := len(w.Requests()); n > 4*25 {
			t.Errorf("%d requests in 4 nights", n)
		}
		w.Faults("")
		w.Equal(kit.Day(1), kit.Day(14))
	})
	kit.Bubble(t, "an outage looks otherwise", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 40, At: kit.Day(10).Add(2 * time.Hour)})
		w.export(span(1, 10))
		w.Faults("blank=1,only=usage")
		w.Pass(24 * time.Hour)
		if res, err := w.try(w.Context(), Span{}); err == nil || !res.Accounts[0].Horizon.IsZero() {
			t.Errorf("%+v %v", res, err)
		}
		st, err := ReadStatus(w.Context(), w.Cfg.Lake, "acme", w.Now())
		if err != nil || len(st.Accounts[0].Unproven) == 0 {
			t.Fatalf("%+v %v", st, err)
		}
		w.Cfg.Export.Lookback, w.Cfg.Export.RefetchAt = 0, nil
		w.Pass(24 * time.Hour)
		if _, err := w.try(w.Context(), Span{}); err == nil { // it lasts: what was doubted is, whatever else is looked at
			t.Error("the second night is done")
		}
		w.unproven(len(st.Accounts[0].Unproven))
		w.Faults("")
		w.Pass(24 * time.Hour)
		w.export(Span{})
		w.unproven(0)
		w.Equal(kit.Day(1), kit.Day(12))
	})
}

// A second that no request can show whole is kept as far as it came, and is no secret: the exit code, status, doctor
// and verify say so for as long as it stands, whether it is asked for again or not.
func TestASecondThatCanNotBeShownToBeWholeIsKeptAndSaid(t *testing.T) {
	kit.Bubble(t, "burst", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "burst=60,burst-every=24h,total-cap=40,past-end=empty,filter-ignored=true",
			PerDay: 30})
		res := w.partial(span(18, 20), "can't be shown to be all")
		if res.Records == 0 {
			t.Error("nothing was kept")
		}
		r := w.Read()
		if got := r.One("SELECT count(*)::VARCHAR FROM quality_issues WHERE check_name = 'incomplete_window'"); got == "0" {
			t.Error("no quality issue says so")
		}
		r.Close()
		w.Requests()
		again := w.partial(span(18, 20), "can't be shown to be all")
		if again.Requests > res.Requests {
			t.Errorf("%d requests the second time, %d the first", again.Requests, res.Requests)
		}
		standing := w.unproven(4) // of two days the second, and the one after it, whose margin holds it
		if standing[0].Doubted {
			t.Errorf("%+v", standing)
		}
		w.Cfg.Export.RefetchAt = nil
		w.Faults("burst=60,burst-every=24h")
		w.Pass(30 * 24 * time.Hour)
		w.Requests()
		w.wrong() // it has left the lookback, and stands
		for _, q := range w.Requests() {
			if strings.Contains(q.Query, kit.Itoa(standing[0].Start.Unix()-extract.Margin)) {
				t.Errorf("%s asks for it again", q.Query)
			}
		}
		w.unproven(4)
		w.export(Span{From: kit.Day(18), To: kit.Day(20), Anew: true})
		w.unproven(0)
		w.Equal(kit.Day(18), kit.Day(20))
	})
	kit.Bubble(t, "a month that is closed in spite of it", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "burst=60,burst-every=24h,total-cap=40,past-end=empty,filter-ignored=true",
			PerDay: 10, At: kit.Day(1).Add(6 * time.Hour)})
		w.partial(Span{From: kit.Day(0), To: kit.Day(1)}, "can't be shown to be all")
		w.Cfg.Export.RefetchAt, w.Cfg.Export.Lookback = nil, 0
		w.Pass(time.Hour)
		w.Faults("burst=60,burst-every=24h")
		w.wrong()
		if _, _, err := w.close(CloseOptions{NoFetch: true, Reason: "agreed with finance"}); err != nil {
			t.Fatal(err)
		}
		w.Pass(time.Hour)
		w.export(Span{})
		w.unproven(0)
	})
}

// wrong is an export that did all it was to do, in a lake that may lack something.
func (w *world) wrong() {
	w.Helper()
	res, err := w.try(w.Context(), Span{})
	if err == nil || !errors.As(err, new(*publish.UnprovenError)) || res.Status != schemas.StatusPartial {
		w.Fatalf("%+v, %v; want a run that says what isn't shown to be whole", res, err)
	}
}

// unproven are the windows that status, verify and doctor say are not shown to be whole: n of them.
func (w *world) unproven(n int) []Unproven {
	w.Helper()
	st, err := ReadStatus(w.Context(), w.Cfg.Lake, "acme", w.Now())
	if err != nil {
		w.Fatal(err)
	}
	found, findings, checks := st.Accounts[0].Unproven, 0, 0
	for _, f := range verified(w, w).Findings {
		if f.Check == publish.FoundUnproven {
			findings++
		}
	}
	for _, said := range Examined(w.Context(), w.Cfg, w.env, true) {
		if strings.Contains(said, "not shown to be whole, the first from") {
			checks++
		}
	}
	if len(found) != n || findings != n || checks != min(n, 1) {
		w.Fatalf("status has %d, verify %d, doctor %d; want %d", len(found), findings, checks, n)
	}
	return found
}

// Records that are listed and counted twice are one each, in a second that is asked for by its tokens as well: verify
// knows.
func TestASecondWhoseRecordsAreCountedTwiceIsVouchedFor(t *testing.T) {
	kit.Bubble(t, "burst", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "burst=150,burst-every=6h,twice=0.1,filter-by=settled,settle-by=35s",
			PerDay: 30})
		if res, err := w.try(t.Context(), span(18, 20)); res.Windows == 0 { // some seconds never stand still
			t.Fatal(err)
		}
		for _, f := range verified(t, w).Findings {
			if f.Check == publish.FoundAnnounced {
				t.Errorf("%+v", f)
			}
		}
	})
}

// What is held of such a second gives way to nothing that can't be shown to be more.
func TestASecondThatCanNotBeShownToBeWholeReplacesNone(t *testing.T) {
	kit.Bubble(t, "burst", func(t *testing.T) {
		const burst = "burst=60,burst-every=24h,filter-ignored=true"
		w := newWorld(t, kit.Settings{Faults: burst, PerDay: 30})
		w.export(span(18, 20))
		before := w.rows()
		w.Faults(burst + ",total-cap=50,past-end=empty")
		w.partial(Span{From: kit.Day(18), To: kit.Day(20), Anew: true}, "these stay")
		if got := w.rows(); got != before {
			t.Errorf("%s after a listing that a limit cut off, %s before", got, before)
		}
	})
}

// Portals that go by the moment of settlement and show the start of a call: from one run to the next, too.
func TestWhatSettlesAfterItsWindowIsFoundByTheNextRun(t *testing.T) {
	for _, by := range []string{"35s", "20m"} {
		kit.Bubble(t, by, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: fmt.Sprintf("filter-by=settled,settle-by=%s", by), PerDay: 400})
			for d := 16; d < 20; d++ {
				w.export(span(d, d+1))
			}
			w.Equal(kit.Day(16), kit.Day(19))
		})
	}
}
