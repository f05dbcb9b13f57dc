package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/calendar"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// stage is a world of a scheduler without a lake: runs take time and fail as a test has it, and are journaled in
// memory.
type stage struct {
	t       *testing.T
	dir     string
	runs    []schemas.Run
	covers  map[string]time.Time
	closed  schemas.Month
	running string
	// Does a run of a job at a logical time fail, and how long does it take?
	outcome func(job config.Job, logical time.Time, try int) (time.Duration, error)
	tries   map[string]int
	log     strings.Builder
}

func newStage(t *testing.T) *stage {
	return &stage{t: t, dir: t.TempDir(), tries: map[string]int{}, covers: map[string]time.Time{}}
}

func (w *stage) write(schedule string) {
	w.t.Helper()
	yaml := "lake: ./lake\naccounts:\n  - name: acme\n    key_env: K\nschedule:\n" + schedule
	if err := os.WriteFile(filepath.Join(w.dir, "usagelake.yaml"), []byte(yaml), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *stage) options() Options {
	return Options{
		tick: 5 * time.Minute,
		Load: func() (*config.Config, error) {
			return config.Load(config.Overrides{ConfigFile: filepath.Join(w.dir, "usagelake.yaml")},
				func(string) string { return "" })
		},
		read: func(*config.Config, jobs.Env) (lakeState, error) {
			return lakeState{runs: slices.Clone(w.runs), covers: w.covers, closed: w.closed}, nil
		},
		run: w.run,
	}
}

func (w *stage) run(ctx context.Context, cfg *config.Config, env jobs.Env, job config.Job,
	logical time.Time) (*jobs.Result, error) {
	if w.running != "" {
		w.t.Errorf("%s begins while %s runs", job.Name, w.running)
	}
	w.running = job.Name
	defer func() { w.running = "" }()
	key := fmt.Sprint(job.Name, logical.Unix())
	w.tries[key]++
	run := schemas.Run{RunID: jobs.NewRunID(time.Now()), Job: job.Name, Logical: logical, Command: job.Kind,
		StartedAt: time.Now(), Status: schemas.StatusRunning}
	w.runs = append(w.runs, run)
	took, err := time.Second, error(nil)
	if w.outcome != nil {
		took, err = w.outcome(job, logical, w.tries[key])
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		err = context.Cause(ctx)
		run.Status = schemas.StatusStopped
	}
	run.EndedAt = time.Now()
	if run.Status == schemas.StatusRunning {
		run.Status = schemas.StatusDone
		if err != nil {
			run.Status, run.Error = schemas.StatusFailed, err.Error()
		}
	}
	w.runs[len(w.runs)-1] = run
	return &jobs.Result{Run: run}, err
}

// live runs a scheduler for d.
func (w *stage) live(d time.Duration) {
	w.t.Helper()
	w.liveWith(d, w.options())
}

func (w *stage) liveWith(d time.Duration, opts Options) {
	w.t.Helper()
	s, err := New(jobs.Env{Now: time.Now, Logger: slog.New(slog.NewTextHandler(&w.log, nil))}, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(w.t.Context(), d, errors.New("the power is off"))
	defer cancel()
	if err := s.Run(ctx); err == nil || err.Error() != "the power is off" {
		w.t.Fatal(err)
	}
}

// inTime runs f in a bubble of fake time, which begins at the given time.
func inTime(t *testing.T, from string, f func(t *testing.T)) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, from)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(at))
		f(t)
	})
}

// times lists the logical times of the done runs of a job.
func (w *stage) times(job string) []time.Time {
	var out []time.Time
	for _, r := range w.runs {
		if r.Job == job && r.Status == schemas.StatusDone {
			out = append(out, r.Logical)
		}
	}
	return out
}

// exactlyOnce checks that each time of the job's calendar in (from, to] is done by exactly one run: its own, or that of
// a later time which caught up with it.
func (w *stage) exactlyOnce(job, expr, zone string, from, to time.Time) (runs, occurrences int) {
	w.t.Helper()
	c, err := calendar.Parse(expr, zone)
	if err != nil {
		w.t.Fatal(err)
	}
	done := w.times(job)
	for i := 1; i < len(done); i++ {
		if !done[i].After(done[i-1]) {
			w.t.Errorf("%s: %s is done after %s", job, done[i], done[i-1])
		}
	}
	i := 0
	for at := c.Next(from); !at.After(to); at = c.Next(at) {
		occurrences++
		for i < len(done) && done[i].Before(at) {
			i++
		}
		if i == len(done) {
			w.t.Errorf("%s: %s is never done", job, at)
			break
		}
		if own := c.Last(done[i]); !own.Equal(done[i]) {
			w.t.Errorf("%s: %s is no time of %s", job, done[i], expr)
		}
	}
	done = slices.DeleteFunc(done, func(at time.Time) bool { return !at.After(from) || at.After(to) })
	return len(done), occurrences
}

func TestAYearOfSchedules(t *testing.T) {
	jobs := []struct{ name, kind, cron, zone, more string }{
		{"nightly", "export", "30 2 * * *", "Europe/Berlin", ""},
		{"midnight-ny", "export", "30 1 * * *", "America/New_York", ", jitter: 10m"},
		{"lord-howe", "balance", "45 1 * * *", "Australia/Lord_Howe", ""},
		{"skipped-ny", "verify", "15 2 * * *", "America/New_York", ""},
		{"hourly", "lookback", "5 * * * *", "Europe/Berlin", ", jitter: 3m"},
		{"weekly", "verify", "0 4 * * 0", "America/New_York", ""},
		{"monthly", "report", "0 6 1 * *", "Europe/Berlin", ", report: chargeback, out: reports, month: last"},
		{"close", "close", "0 7 5 * *", "Europe/Berlin", ", from: 2025-12"},
	}
	var yaml strings.Builder
	yaml.WriteString("  jobs:\n")
	for _, j := range jobs {
		fmt.Fprintf(&yaml, "    - {name: %s, kind: %s, cron: \"%s\", zone: %s%s}\n", j.name, j.kind, j.cron, j.zone, j.more)
	}
	for _, tt := range []struct {
		name      string
		downtimes bool
		failures  float64
		long      float64
	}{
		{"nothing happens", false, 0, 0},
		{"runs fail", false, 0.2, 0},
		{"runs take long", false, 0, 0.02},
		{"the program is down now and then", true, 0, 0},
		{"everything at once", true, 0.1, 0.02},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTime(t, "2025-12-31T12:00:00Z", func(t *testing.T) {
				w := newStage(t)
				w.write(yaml.String())
				rnd := rand.New(rand.NewPCG(1, 2))
				failed := 0
				w.outcome = func(job config.Job, _ time.Time, _ int) (time.Duration, error) {
					took := time.Duration(1+rnd.IntN(60)) * time.Second
					if rnd.Float64() < tt.long {
						took = time.Duration(rnd.IntN(20)) * time.Hour // past the timeout, too, which is the run's own matter
					}
					if rnd.Float64() < tt.failures {
						failed++
						return took, errors.New("no luck")
					}
					return took, nil
				}
				// Of a job that never ran the last time is done at once; the year begins with that.
				w.live(12 * time.Hour)
				begin, end := time.Now(), time.Now().AddDate(1, 0, 0)
				for time.Now().Before(end) {
					if !tt.downtimes {
						w.live(time.Until(end))
						break
					}
					w.live(min(time.Until(end), time.Duration(rnd.IntN(240))*time.Hour+time.Duration(rnd.IntN(3600))*time.Second))
					time.Sleep(time.Duration(rnd.IntN(50)) * time.Hour)
				}
				w.outcome = nil
				w.live(48 * time.Hour) // whatever is still open is caught up with
				total := 0
				for _, j := range jobs {
					runs, occurrences := w.exactlyOnce(j.name, j.cron, j.zone, begin, end)
					if tt.name == "nothing happens" && runs != occurrences {
						t.Errorf("%s: %d runs for %d times", j.name, runs, occurrences)
					}
					total += runs
				}
				t.Logf("%d runs done, %d failed", total, failed)
				if tt.failures > 0 && failed == 0 {
					t.Error("nothing failed: the test shows nothing")
				}
			})
		})
	}
}

func TestAFailingJobIsTriedAgainAndStopsNoOther(t *testing.T) {
	inTime(t, "2026-11-24T00:00:00Z", func(t *testing.T) {
		w := newStage(t)
		w.write("  jobs:\n    - {name: nightly, kind: export, cron: \"0 2 * * *\"}\n    - {name: hourly, kind: balance, " +
			"cron: \"0 * * * *\"}\n")
		broken := true
		w.outcome = func(job config.Job, logical time.Time, _ int) (time.Duration, error) {
			if job.Name == "nightly" && broken && logical.Day() == 24 {
				return 0, errors.New("no luck")
			}
			return 0, nil
		}
		w.live(11*time.Hour + 30*time.Minute)
		var starts []time.Time
		for _, r := range w.runs {
			if r.Job == "nightly" && r.Logical.Hour() == 2 && r.Logical.Day() == 24 {
				starts = append(starts, r.StartedAt)
			}
		}
		if n := len(w.times("hourly")); n != 12 { // from 00:00 on
			t.Errorf("hourly ran %d times in twelve hours", n)
		}
		for i := 1; i < len(starts); i++ {
			pause, most := starts[i].Sub(starts[i-1]), min(time.Minute<<(i-1), time.Hour)
			if pause < most*8/10-time.Second || pause > most+time.Second {
				t.Errorf("pause %d was %s, want a little less than %s", i, pause, most)
			}
		}
		if len(starts) < 14 || len(starts) > 18 {
			t.Errorf("%d tries in ten hours", len(starts))
		}
		// A restart forgets nothing of that, and what was mended is done soon.
		before := len(w.runs)
		broken = false
		w.live(5 * time.Minute)
		for _, r := range w.runs[before:] {
			if r.Job == "nightly" && r.StartedAt.Sub(starts[len(starts)-1]) < 40*time.Minute {
				t.Error("the restart forgot the backoff")
			}
		}
		w.live(time.Hour)
		if got := w.times("nightly"); len(got) != 2 || got[1].Day() != 24 {
			t.Errorf("done: %v", got)
		}
	})
}

func TestAPanicIsAFailedRun(t *testing.T) {
	inTime(t, "2026-11-24T00:30:00Z", func(t *testing.T) {
		w := newStage(t)
		w.write("  jobs:\n    - {name: nightly, kind: export, cron: \"0 2 * * *\"}\n    - {name: hourly, kind: balance, " +
			"cron: \"0 * * * *\"}\n")
		opts := w.options()
		inner := opts.run
		opts.run = func(ctx context.Context, cfg *config.Config, env jobs.Env, job config.Job,
			logical time.Time) (*jobs.Result, error) {
			if job.Name == "nightly" {
				panic("index out of range")
			}
			return inner(ctx, cfg, env, job, logical)
		}
		var events []RunEvent
		opts.Ended = func(e RunEvent) { events = append(events, e) }
		w.liveWith(5*time.Hour, opts)
		if n := len(w.times("hourly")); n != 6 {
			t.Errorf("hourly ran %d times", n)
		}
		wrong := 0
		for _, e := range events {
			if e.Job.Name == "nightly" {
				wrong++
				if e.Err == nil || !strings.Contains(e.Err.Error(), "index out of range") {
					t.Errorf("the run ended with %v", e.Err)
				}
			}
		}
		if wrong < 5 {
			t.Errorf("%d tries of what panics", wrong)
		}
		if !strings.Contains(w.log.String(), "scheduler_test.go") {
			t.Error("the log has no stack")
		}
	})
}

func TestARunThatDoesNotEndIsLeftAfterTheGrace(t *testing.T) {
	inTime(t, "2026-11-24T03:00:00Z", func(t *testing.T) {
		w := newStage(t)
		w.write("  grace: 20s\n  jobs:\n    - {name: nightly, kind: export, cron: \"0 2 * * *\"}\n")
		for _, tt := range []struct{ takes, want time.Duration }{{5 * time.Second, 5 * time.Second},
			{time.Hour, 20 * time.Second}} {
			opts := w.options()
			opts.run = func(ctx context.Context, _ *config.Config, _ jobs.Env, _ config.Job, _ time.Time) (*jobs.Result, error) {
				<-ctx.Done()
				time.Sleep(tt.takes)
				return nil, context.Cause(ctx)
			}
			s, err := New(jobs.Env{Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, opts)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- s.Run(ctx) }()
			time.Sleep(time.Second)
			told := time.Now()
			cancel()
			<-ended
			if took := time.Since(told); took != tt.want {
				t.Errorf("it stopped after %s, want %s", took, tt.want)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestJitterIsTheSameForTheSameTime(t *testing.T) {
	j := &scheduled{Job: config.Job{Name: "nightly", Jitter: config.Duration(10 * time.Minute)}}
	at := time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	var sum time.Duration
	for d := range 1000 {
		day := at.AddDate(0, 0, d)
		one := j.jitter(day)
		if one != j.jitter(day) || one < 0 || one >= 10*time.Minute {
			t.Fatalf("jitter %s, then %s", one, j.jitter(day))
		}
		sum += one
	}
	if mean := sum / 1000; mean < 4*time.Minute || mean > 6*time.Minute {
		t.Errorf("the mean of a jitter of 10m is %s", mean)
	}
}

func TestAClockThatIsSetBackStopsNothing(t *testing.T) {
	inTime(t, "2026-11-24T10:30:00Z", func(t *testing.T) {
		w := newStage(t)
		w.write("  jobs:\n    - {name: hourly, kind: balance, cron: \"0 * * * *\"}\n    - {name: nightly, kind: verify, " +
			"cron: \"0 2 * * *\"}\n")
		ahead := 7 * 24 * time.Hour
		s, err := New(jobs.Env{Now: func() time.Time { return time.Now().Add(ahead) }, Logger: slog.New(slog.DiscardHandler)},
			w.options())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(time.Hour) // by a clock that is a week ahead
		synctest.Wait()
		ahead = 0
		right := time.Now()
		time.Sleep(24 * time.Hour)
		cancel()
		<-ended
		hourly, nightly := 0, 0
		for _, r := range w.runs {
			if r.StartedAt.After(right) && !r.Logical.After(r.StartedAt) {
				if r.Job == "hourly" {
					hourly++
				} else {
					nightly++
				}
			}
		}
		if hourly < 24 || nightly != 2 { // the last night's, which the clock that was ahead had not done, and the next
			t.Errorf("in the day since the clock is right hourly ran %d times, nightly %d times", hourly, nightly)
		}
	})
}

func TestAFailureInTheFutureDelaysNoRetry(t *testing.T) {
	inTime(t, "2026-11-24T10:00:00Z", func(t *testing.T) {
		w := newStage(t)
		w.write("  jobs:\n    - {name: weekly, kind: verify, cron: \"0 4 * * 0\"}\n")
		start := time.Now()
		w.runs = append(w.runs, schemas.Run{RunID: "a", Job: "weekly", Logical: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC),
			Status:    schemas.StatusFailed,
			StartedAt: start.Add(48 * time.Hour), EndedAt: start.Add(49 * time.Hour)}) // the clock was two days ahead then
		w.live(time.Hour)
		if len(w.runs) < 2 || w.runs[1].StartedAt.Sub(start) > time.Minute {
			t.Errorf("runs: %+v", w.runs)
		}
	})
}

func TestAJobMakesNoLakeInPlaceOfOneThatWasLost(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.export(span(19, 20))
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport, Cron: "0 2 * * *"}}
	if err := errors.Join(w.Cfg.Schedule.Validate(w.Cfg.AccountNames())...); err != nil {
		t.Fatal(err)
	}
	s, err := New(w.env, Options{Load: func() (*config.Config, error) { return w.Cfg, nil }})
	if err != nil {
		t.Fatal(err)
	}
	w.Requests()
	for _, lose := range []func() error{
		func() error { return os.Rename(w.Cfg.Lake, w.Cfg.Lake+".gone") },
		func() error { return os.Mkdir(w.Cfg.Lake, 0o700) }, // what is there when a disk isn't mounted
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		j := w.Cfg.Schedule.Jobs[0]
		if _, err := s.attempt(t.Context(), w.Cfg, j, w.Now()); err == nil ||
			!strings.Contains(err.Error(), "not the one that was there") {
			t.Errorf("%v", err)
		}
		if _, err := jobs.RunJob(t.Context(), w.Cfg, w.env, j, w.Now()); err == nil {
			t.Error("a job made a lake")
		}
	}
	if n := len(w.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestACheckThatHangsIsLeftAfterTheGrace(t *testing.T) {
	inTime(t, "2026-11-24T12:30:00Z", func(t *testing.T) {
		w := newStage(t)
		w.write("  grace: 20s\n  jobs:\n    - {name: nightly, kind: export, cron: \"0 2 * * *\"}\n")
		opts := w.options()
		hang := make(chan struct{})
		opts.Check = func(context.Context, *config.Config, string) { <-hang }
		s, err := New(jobs.Env{Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		told := time.Now()
		cancel()
		<-ended
		if took := time.Since(told); took != 20*time.Second {
			t.Errorf("it stopped after %s", took)
		}
		close(hang)
	})
}

func TestScheduleRefuses(t *testing.T) {
	report := "    - {name: a, kind: report, cron: \"@daily\", report: chargeback, by: [team], out: r}\n"
	for _, tt := range []struct{ schedule, want string }{
		{report + strings.Replace(report, "name: a", "name: b", 1), "job a writes the same file"},
		{report + strings.NewReplacer("name: a", "name: b", "out: r", "out: ./R/").Replace(report),
			"job a writes the same file"},
		{"    - {name: a, kind: export, cron: \"@daily\", accounts: []}\n", "the list is empty"},
		{"    - {name: a, kind: prune, cron: \"@daily\"}\n", "nothing to go by"},
		{"    - {name: a, kind: export, cron: \"@daily\", accounts: [nobody]}\n", `no account "nobody"`},
		{"    - {name: A, kind: export, cron: \"@daily\"}\n", "1 to 64 of a-z, 0-9, _ and -"},
		{"    - {name: a, kind: balance, cron: \"@daily\", lookback: 24h}\n", "has no use for it"},
		{"    - {name: a, kind: report, cron: \"@daily\", report: chargeback, by: [planet], out: r}\n",
			`by: no dimension "planet"`},
		{"    - {name: a, kind: report, cron: \"@daily\", report: chargeback, month: next, out: r}\n",
			"neither this nor last"},
	} {
		w := newStage(t)
		w.write("  jobs:\n" + tt.schedule)
		if _, err := w.options().Load(); err == nil || !strings.Contains(err.Error(), tt.want) ||
			!errors.Is(err, config.ErrUsage) {
			t.Errorf("%s: %v, want %q", tt.schedule, err, tt.want)
		}
	}
}

// The daemon publishes anew what another program wrote into, and removes a log that lies beside it: at the look after
// the one that has alerts checked.
func TestTheDaemonMendsThePublishedFile(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.export(span(19, 20))
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "monthly", Kind: config.KindExport, Cron: "0 2 1 * *"}}
	if err := errors.Join(w.Cfg.Schedule.Validate(w.Cfg.AccountNames())...); err != nil {
		t.Fatal(err)
	}
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var checked []publish.Intrusion // what stood there as alerts were checked
	var mu sync.Mutex
	check := func(context.Context, *config.Config, string) {
		found, err := lake.Intrusion()
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		checked = append(checked, found)
	}
	s, err := New(w.env,
		Options{Load: func() (*config.Config, error) { return w.Cfg, nil }, Check: check, tick: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	for n, intrude := range []func() error{
		func() error { return os.WriteFile(lake.Database()+".wal", nil, 0o600) },
		func() error {
			f, err := os.OpenFile(lake.Database(), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.Write([]byte{0})
			return errors.Join(err, f.Close())
		},
	} {
		if err := intrude(); err != nil {
			t.Fatal(err)
		}
		for try := 0; ; try++ {
			found, err := lake.Intrusion()
			if err != nil {
				t.Fatal(err)
			}
			// The run goes on for a moment once nothing strange lies there.
			runs, _, err := lake.LastRuns(10)
			if err != nil {
				t.Fatal(err)
			}
			mended := 0
			for _, r := range runs {
				if r.Command == "publish" && r.Status == schemas.StatusDone {
					mended++
				}
			}
			if found.None() && mended == n+1 {
				break
			}
			if try == 3000 {
				t.Fatalf("still there: %+v, after %+v", found, runs)
			}
			w.Pass(time.Minute)
			time.Sleep(10 * time.Millisecond)
		}
		mu.Lock()
		if !slices.ContainsFunc(checked, func(i publish.Intrusion) bool { return !i.None() }) {
			t.Error("nobody could hear of it")
		}
		checked = nil
		mu.Unlock()
	}
	cancel()
	<-done
	if w.Whole(); len(w.Requests()) == 0 {
		t.Error("no request")
	}
}
