package watch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

func TestJobsOfTheScheduleFailByName(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly"}, {Name: "hourly"}}
	h := w.alerted(config.Rule{Name: "failed", Kind: config.AlertFailed})
	w.export(span(18, 19))
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run := func(job, command, status string) {
		if err := lake.AppendRun(schemas.Run{RunID: jobs.NewRunID(w.Now()), Job: job, Command: command, StartedAt: w.Now(),
			EndedAt: w.Now(), Status: status, Error: "why"}); err != nil {
			t.Fatal(err)
		}
	}
	run("nightly", "export", schemas.StatusPartial)
	run("gone", "export", schemas.StatusFailed)    // no longer in the schedule
	run("hourly", "export", schemas.StatusStopped) // no failure
	run("", "close", schemas.StatusFailed)         // somebody saw it
	w.check(Input{Failures: []Failure{{Job: "hourly", Attempts: 1, Error: "no key", At: w.Now()}},
		ConfigError: "line 3: unknown key"})
	wantTold(t, h, "firing (config) | reload", "firing failed | job hourly", "firing failed | job nightly")
	run("nightly", "export", schemas.StatusStopped)
	w.check(Input{})
	wantTold(t, h, "over (config) | reload", "over failed | job hourly")
	run("nightly", "export", schemas.StatusDone)
	w.check(Input{})
	wantTold(t, h, "over failed | job nightly")
}

func TestAKeyThatExpiresIsToldAheadAtTheEndAndAfterIt(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.Cfg.Accounts[0].KeyExpires = "2026-12-10"
	h := w.alerted(config.Rule{Name: "key", Kind: config.AlertKey, Within: config.Duration(10 * 24 * time.Hour),
		Repeat: new(config.Duration)})
	w.export(span(18, 19))
	for _, c := range []struct {
		at   string
		want []string
	}{
		{"2026-11-29T23:00:00Z", nil},
		{"2026-11-30T01:00:00Z", []string{"firing key | acme expires 2026-12-10"}},
		{"2026-12-07T23:00:00Z", nil},
		{"2026-12-08T01:00:00Z", []string{"firing key | acme expires 2026-12-10"}},
		{"2026-12-09T23:00:00Z", nil},
		{"2026-12-10T00:00:00Z", []string{"firing key | acme expires 2026-12-10"}},
		{"2027-01-10T00:00:00Z", nil},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		w.At(at)
		w.check(Input{})
		wantTold(t, h, c.want...)
	}
	w.Cfg.Accounts[0].KeyExpires = "2027-12-10"
	w.check(Input{})
	wantTold(t, h, "over key | acme expires 2026-12-10")
}

// The journal's rules say what needs no journal, even if it can't be read.
func TestAJobThatCantBeginIsToldWithoutAJournal(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport},
		{Name: "hourly", Kind: config.KindLookback}}
	h := w.alerted(config.Rule{Name: "failed", Kind: config.AlertFailed})
	w.export(span(18, 19))
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := lake.AppendRun(schemas.Run{RunID: "r", Job: "hourly", Command: "lookback", StartedAt: w.Now(),
		EndedAt: w.Now(), Status: schemas.StatusFailed}); err != nil {
		t.Fatal(err)
	}
	w.check(Input{})
	wantTold(t, h, "firing failed | job hourly")
	path := filepath.Join(w.Cfg.Lake, "journal", "runs.jsonl")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	w.check(Input{Failures: []Failure{{Job: "nightly", Attempts: 1, Error: "the journal can't be written", At: w.Now()}}})
	wantTold(t, h, "firing (facts) | journal", "firing failed | job nightly")
}

func TestAFailureThatWasMadeGoodIsOver(t *testing.T) {
	now := time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC)
	cfg := &config.Config{Accounts: []config.Account{{Name: "acme"}, {Name: "bee"}}}
	cfg.Schedule.Jobs = []config.Job{{Name: "close", Kind: config.KindClose}, {Name: "nightly", Kind: config.KindExport},
		{Name: "hourly", Kind: config.KindExport}}
	run := func(hour int, job, command, status string, accounts ...string) schemas.Run {
		r := schemas.Run{Job: job, Command: command, Status: status, StartedAt: now.Add(time.Duration(hour-24) * time.Hour)}
		r.EndedAt = r.StartedAt.Add(time.Minute)
		for _, a := range accounts {
			name, how, _ := strings.Cut(a, " ")
			r.Accounts = append(r.Accounts, schemas.RunAccount{Account: name, Status: how})
		}
		return r
	}
	failure := func(hour int, job string) []Failure {
		return []Failure{{Job: job, Attempts: 1, Error: "no key", At: now.Add(time.Duration(hour-24) * time.Hour)}}
	}
	for _, x := range []struct {
		name    string
		runs    []schemas.Run
		unbegun []Failure
		want    []string
	}{
		{"a job could not begin", nil, failure(1, "nightly"), []string{"job nightly"}},
		{"its job was removed", nil, failure(1, "gone"), nil},
		{"it was done since, by usagelake schedule --once", []schemas.Run{run(2, "nightly", "export", "done")},
			failure(1, "nightly"), nil},
		{"or by hand", []schemas.Run{run(2, "", "export", "done", "acme done")}, failure(1, "nightly"), nil},
		{"it was done before", []schemas.Run{run(0, "nightly", "export", "done")}, failure(1, "nightly"),
			[]string{"job nightly"}},
		{"another job of the kind was done", []schemas.Run{run(2, "hourly", "export", "done")}, failure(1, "nightly"),
			[]string{"job nightly"}},
		{"another command was", []schemas.Run{run(2, "", "rebuild", "done")}, failure(1, "nightly"), []string{"job nightly"}},
		{"it was stopped since", []schemas.Run{run(2, "nightly", "export", "stopped")}, failure(1, "nightly"),
			[]string{"job nightly"}},
		{"a job failed", []schemas.Run{run(1, "close", "close", "failed")}, nil, []string{"job close"}},
		{"somebody did it by hand", []schemas.Run{run(1, "close", "close", "failed"), run(2, "", "close", "done")}, nil, nil},
		{"somebody did it before", []schemas.Run{run(1, "", "close", "done"), run(2, "close", "close", "failed")}, nil,
			[]string{"job close"}},
		{"somebody tried it", []schemas.Run{run(1, "close", "close", "failed"), run(2, "", "close", "failed")}, nil,
			[]string{"job close"}},
		{"somebody did another thing",
			[]schemas.Run{run(1, "close", "close", "failed"), run(2, "", "close --reopen", "done")}, nil, []string{"job close"}},
		{"by hand for the account that had failed",
			[]schemas.Run{run(1, "nightly", "export", "partial", "acme failed", "bee done"),
				run(2, "", "export", "done", "acme done")}, nil, nil},
		{"by hand for another one",
			[]schemas.Run{run(1, "nightly", "export", "partial", "acme failed", "bee done"),
				run(2, "", "export", "done", "bee done")}, nil, []string{"job nightly"}},
		{"the account that had failed is gone",
			[]schemas.Run{run(1, "nightly", "export", "partial", "gone failed", "bee done"),
				run(2, "", "export", "done", "bee done")}, nil, nil},
		{"a job made good what was tried by hand",
			[]schemas.Run{run(1, "", "export", "failed", "acme failed"), run(2, "nightly", "export", "done", "acme done")}, nil,
			nil},
		{"it failed again",
			[]schemas.Run{run(1, "nightly", "export", "failed"), run(2, "", "export", "done"),
				run(3, "nightly", "export", "failed")}, nil, []string{"job nightly"}},
	} {
		g := &gatherer{cfg: cfg, now: now, today: schemas.DateOf(now)}
		g.ofJournal([]config.Rule{{Name: "failed", Kind: config.AlertFailed}}, x.runs, x.unbegun)
		var got []string
		for _, f := range g.found {
			got = append(got, f.Subject)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

func TestARefusedKeyIsForgottenWhereNobodyAsksAgain(t *testing.T) {
	now := time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC)
	run := func(daysAgo int, job, command, account, status string, requests int64) schemas.Run {
		return schemas.Run{Job: job, Command: command, StartedAt: now.AddDate(0, 0, -daysAgo),
			Accounts: []schemas.RunAccount{{Account: account, Status: status, RunCounts: schemas.RunCounts{Requests: requests}}}}
	}
	for _, x := range []struct {
		name string
		runs []schemas.Run
		want []string
	}{
		{"refused by hand", []schemas.Run{run(6, "", "balance", "acme", "refused", 1)}, []string{"acme refused by balance"}},
		{"a week ago", []schemas.Run{run(7, "", "balance", "acme", "refused", 1)}, nil},
		{"accepted since",
			[]schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "", "balance", "acme", "done", 1)}, nil},
		{"a job's export was accepted since",
			[]schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "nightly", "export", "acme", "done", 9)}, nil},
		{"or part of it",
			[]schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "nightly", "export", "acme", "partial", 9)}, nil},
		{"before", []schemas.Run{run(6, "nightly", "export", "acme", "done", 9), run(5, "", "balance", "acme", "refused", 1)},
			[]string{"acme refused by balance"}},
		{"another account's",
			[]schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "nightly", "export", "bee", "done", 9)},
			[]string{"acme refused by balance"}},
		{"without a request",
			[]schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "nightly", "prune", "acme", "done", 0)},
			[]string{"acme refused by balance"}},
		// Timers that ask both again and again, with a key that isn't let see the balance: it must not be over and fire in
		// turn.
		{"an export that no schedule runs",
			[]schemas.Run{run(2, "", "balance", "acme", "refused", 1), run(1, "", "export", "acme", "done", 9)},
			[]string{"acme refused by balance"}},
		{"a job asks again, however late",
			[]schemas.Run{run(90, "monthly", "lookback", "acme", "refused", 1), run(5, "nightly", "export", "acme", "done", 9)},
			[]string{"acme refused by lookback"}},
		{"a job of other accounts does not", []schemas.Run{run(90, "monthly", "lookback", "bee", "refused", 1)}, nil},
	} {
		cfg := &config.Config{Accounts: []config.Account{{Name: "acme"}, {Name: "bee"}}}
		cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport},
			{Name: "monthly", Kind: config.KindLookback, Accounts: []string{"acme"}}}
		g := &gatherer{cfg: cfg, now: now, today: schemas.DateOf(now)}
		g.ofJournal([]config.Rule{{Name: "key", Kind: config.AlertKey}}, x.runs, nil)
		var got []string
		for _, f := range g.found {
			got = append(got, f.Subject)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

// In a container each process has the PID 1, so the one that holds the lake seems to be the one that was killed.
func TestARunThatWasKilledIsNotUnderWayForItsPID(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport}}
	h := w.alerted(config.Rule{Name: "failed", Kind: config.AlertFailed})
	lake, err := publish.Create(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(id string) (unlock func() error) {
		t.Helper()
		unlock, err := lake.Lock(t.Context(), "export", true)
		if err != nil {
			t.Fatal(err)
		}
		if err := lake.AppendRun(schemas.Run{RunID: id, Job: "nightly", Command: "export", PID: os.Getpid(),
			StartedAt: w.Now(), Status: schemas.StatusRunning}); err != nil {
			t.Fatal(err)
		}
		return unlock
	}
	statuses := func() (out []string) {
		t.Helper()
		st, err := jobs.ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range st.Runs {
			out = append(out, r.Status)
		}
		return out
	}
	unlock := begin("a")
	w.check(Input{})
	wantTold(t, h)
	if got := statuses(); !slices.Equal(got, []string{schemas.StatusRunning}) {
		t.Errorf("%q", got)
	}
	for _, id := range []string{"b", "c"} {
		if err := unlock(); err != nil { // killed
			t.Fatal(err)
		}
		w.check(Input{})
		unlock = begin(id)
		w.check(Input{})
	}
	wantTold(t, h, "firing failed | job nightly")
	if got := statuses(); !slices.Equal(got, []string{schemas.StatusRunning, schemas.StatusInterrupted,
		schemas.StatusInterrupted}) {
		t.Errorf("%q", got)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}
