package schedule

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

func TestWhatIsDueIsReadOffTheLake(t *testing.T) {
	at := func(s string) time.Time {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			panic(err)
		}
		return t
	}
	run := func(job, logical, status string) schemas.Run {
		return schemas.Run{RunID: job + logical + status, Job: job, Logical: at(logical), StartedAt: at(logical),
			EndedAt: at(logical).Add(time.Minute), Status: status}
	}
	reopened := schemas.Run{RunID: "r", Command: "close --reopen", Status: schemas.StatusDone,
		StartedAt: at("2026-11-20T00:00:00Z"), EndedAt: at("2026-11-20T00:00:01Z")}
	november, _ := schemas.ParseMonth("2026-11")
	for _, tt := range []struct {
		name, job string
		lake      lakeState
		logical   string // "": nothing is due
		missed    int
		next      string
	}{
		{"an empty lake", "kind: export, cron: \"0 2 * * *\"", lakeState{}, "2026-11-24T02:00:00Z", 0,
			"2026-11-24T02:00:00Z"},
		{"it was done", "kind: export, cron: \"0 2 * * *\"",
			lakeState{runs: []schemas.Run{run("j", "2026-11-24T02:00:00Z", "done")}}, "", 0, "2026-11-25T02:00:00Z"},
		{"three were missed", "kind: export, cron: \"0 2 * * *\"",
			lakeState{runs: []schemas.Run{run("j", "2026-11-21T02:00:00Z", "done")}}, "2026-11-24T02:00:00Z", 2,
			"2026-11-22T02:00:00Z"},
		{"another job's run is not its own", "kind: balance, cron: \"0 2 * * *\"",
			lakeState{runs: []schemas.Run{run("k", "2026-11-24T02:00:00Z", "done")}}, "2026-11-24T02:00:00Z", 0,
			"2026-11-24T02:00:00Z"},
		{"somebody exported by hand", "kind: export, cron: \"0 2 * * *\"",
			lakeState{covers: map[string]time.Time{"acme": at("2026-11-24T01:50:00Z")}}, "", 0, "2026-11-25T02:00:00Z"},
		{"but not far enough", "kind: export, cron: \"0 2 * * *\"",
			lakeState{covers: map[string]time.Time{"acme": at("2026-11-24T01:49:59Z")}}, "2026-11-24T02:00:00Z", 0,
			"2026-11-24T02:00:00Z"},
		{"it was killed", "kind: balance, cron: \"0 2 * * *\"",
			lakeState{runs: []schemas.Run{run("j", "2026-11-24T02:00:00Z", "running")}}, "2026-11-24T02:00:00Z", 0,
			"2026-11-24T02:00:00Z+"},
		{"it was stopped, which is no failure", "kind: balance, cron: \"0 2 * * *\"",
			lakeState{runs: []schemas.Run{run("j", "2026-11-24T02:00:00Z", "stopped")}}, "2026-11-24T02:00:00Z", 0,
			"2026-11-24T02:00:00Z"},
		{"a clock that ran ahead", "kind: balance, cron: \"0 2 * * *\"",
			lakeState{runs: []schemas.Run{run("j", "2036-11-24T02:00:00Z", "done")}}, "2026-11-24T02:00:00Z", 0,
			"2026-11-24T02:00:00Z"},
		{"October is closed", "kind: close, from: 2026-09, cron: \"0 6 5 * *\"", lakeState{closed: november}, "", 0,
			"2026-12-05T06:00:00Z"},
		{"September is open", "kind: close, from: 2026-09, cron: \"0 6 5 * *\"", lakeState{}, "2026-11-05T06:00:00Z", 1,
			"2026-10-05T06:00:00Z"},
		{"the first month isn't over", "kind: close, from: 2026-11, cron: \"0 6 5 * *\"", lakeState{}, "", 0,
			"2026-12-05T06:00:00Z"},
		{"a person has opened it again", "kind: close, from: 2026-09, cron: \"0 6 5 * *\"",
			lakeState{runs: []schemas.Run{reopened}}, "", 0, "2026-12-05T06:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTime(t, "2026-11-24T12:00:00Z", func(t *testing.T) {
				w := newStage(t)
				w.write("  jobs:\n    - {name: j, " + tt.job + "}\n")
				opts := w.options()
				opts.read = func(*config.Config, jobs.Env) (lakeState, error) { return tt.lake, nil }
				s, err := New(jobs.Env{Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, opts)
				if err != nil {
					t.Fatal(err)
				}
				got := s.State().Jobs[0]
				logical := ""
				if !got.Logical.IsZero() {
					logical = got.Logical.UTC().Format(time.RFC3339)
				}
				next := got.NextAt.UTC().Format(time.RFC3339)
				if later, ok := strings.CutSuffix(tt.next, "+"); ok && got.NextAt.After(at(later)) {
					next = tt.next
				}
				if logical != tt.logical || got.Missed != tt.missed || next != tt.next {
					t.Errorf("due %q with %d missed, next %s; want %q, %d, %s", logical, got.Missed, next, tt.logical, tt.missed,
						tt.next)
				}
			})
		})
	}
}

func TestAnExportOfItsOwnLookbackIsNotDoneByAnother(t *testing.T) {
	inTime(t, "2026-11-24T10:30:00Z", func(t *testing.T) {
		w := newStage(t)
		w.write("  jobs:\n    - {name: hourly, kind: export, cron: \"0 * * * *\"}\n    - {name: nightly, kind: export, " +
			"cron: \"0 2 * * *\", lookback: 14d}\n")
		w.outcome = func(config.Job, time.Time, int) (time.Duration, error) {
			w.covers["acme"] = time.Now().Add(-config.DefaultSettle)
			return time.Minute, nil
		}
		w.live(72 * time.Hour)
		if n := len(w.times("nightly")); n != 4 {
			t.Errorf("nightly ran %d times in three nights, and once at the start", n)
		}
	})
}

func TestEachMonthToCloseIsTriedAgainUntilAllAreClosed(t *testing.T) {
	w := newWorld(t, kit.Settings{At: time.Date(2026, 10, 30, 12, 0, 0, 0, time.UTC), PerDay: 20})
	w.export(jobs.Span{From: time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC)})
	w.At(time.Date(2027, 1, 5, 8, 0, 0, 0, time.UTC))
	w.export(jobs.Span{})
	w.Faults("")
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "close", Kind: config.KindClose, Cron: "0 7 5 * *", From: "2026-11"}}
	if err := errors.Join(w.Cfg.Schedule.Validate(w.Cfg.AccountNames())...); err != nil {
		t.Fatal(err)
	}
	job := w.Cfg.Schedule.Jobs[0]
	logical := job.Calendar.Last(w.Now())
	// October is open, and of November nothing can be closed before it.
	_, err := jobs.RunJob(t.Context(), w.Cfg, w.env, job, logical)
	if objections := (*jobs.ObjectionsError)(nil); !errors.As(err, &objections) {
		t.Fatalf("%v", err)
	}
	due := func() JobState {
		t.Helper()
		s, err := New(w.env, Options{Load: func() (*config.Config, error) { return w.Cfg, nil }})
		if err != nil {
			t.Fatal(err)
		}
		return s.State().Jobs[0]
	}
	if j := due(); !j.Logical.Equal(logical) || j.Attempts != 1 {
		t.Errorf("after a failure: due for %s after %d attempts", j.Logical, j.Attempts)
	}
	w.Cfg.Schedule.Jobs[0].From = "2026-10"
	job = w.Cfg.Schedule.Jobs[0]
	// October has hours that were never exported; a person closes it. November closes, and December is stopped on the way.
	if _, _, err := jobs.Close(t.Context(), w.Cfg, w.env,
		jobs.CloseOptions{Month: schemas.DateOf(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)).Month(),
			Reason: "it began late", Retry: kit.Retry}); err != nil {
		t.Fatal(err)
	}
	if _, err := jobs.RunJob(t.Context(), w.Cfg, w.env, job, logical.AddDate(0, -1, 0)); err != nil { // as on 5 December
		t.Fatal(err)
	}
	if j := due(); !j.Logical.Equal(logical) {
		t.Errorf("November is closed and December open, and what is due is %s", j.Logical)
	}
	if _, err := jobs.RunJob(t.Context(), w.Cfg, w.env, job, logical); err != nil {
		t.Fatal(err)
	}
	if j := due(); !j.Logical.IsZero() {
		t.Errorf("all is closed, and due is %s", j.Logical)
	}
}
