package schedule

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/jobs/watch"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// longJournal is what years of the documented schedule leave behind, as versions before the months wrote it: a line as
// a run starts and one as it ends, for each of nightly, hourly, balance, chargeback and close.
func longJournal(tb testing.TB, until time.Time, years int, accounts []string) []byte {
	tb.Helper()
	var out []byte
	n := 0
	add := func(at time.Time, job, command string, requests int64) {
		n++
		r := schemas.Run{RunID: fmt.Sprintf("%s-%08x", at.Format("20060102T150405Z"), n), Command: command, Job: job,
			Logical: at, Version: "v1.0.0", PID: 4711, StartedAt: at, Status: schemas.StatusRunning}
		start, err := json.Marshal(r)
		if err != nil {
			tb.Fatal(err)
		}
		r.EndedAt, r.Status, r.Published = at.Add(20*time.Second), schemas.StatusDone, true
		if n%97 == 0 {
			r.Status, r.Error = schemas.StatusPartial, "1 windows could not be fetched, the rest is committed and published"
		}
		for _, a := range accounts {
			if requests > 0 {
				c := schemas.RunCounts{Records: 2000, Requests: requests, Windows: requests / 20}
				r.Accounts = append(r.Accounts, schemas.RunAccount{Account: a, Status: r.Status, RunCounts: c})
				r.RunCounts.Add(c)
			}
		}
		end, err := json.Marshal(r)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(append(append(append(out, start...), '\n'), end...), '\n')
	}
	for day := until.AddDate(-years, 0,
		0).Truncate(24 * time.Hour); day.Before(until.Truncate(24 * time.Hour)); day = day.AddDate(0, 0, 1) {
		for half := range 48 {
			at := day.Add(time.Duration(half) * 30 * time.Minute)
			add(at, "balance", "balance", 1)
			switch {
			case half == 5:
				add(at.Add(time.Minute), "nightly", "export", 40)
			case half == 12 && at.Weekday() != time.Saturday && at.Weekday() != time.Sunday:
				add(at.Add(time.Minute), "chargeback", "report", 0)
			case half == 14 && at.Day() == 5:
				add(at.Add(time.Minute), "close", "close", 0)
			}
			if half%2 == 0 {
				add(at.Add(5*time.Minute), "hourly", "lookback", 2)
			}
		}
	}
	return out
}

func (w *world) journal(b []byte) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.Cfg.Lake, "journal", "runs.jsonl"), b, 0o600); err != nil {
		w.Fatal(err)
	}
}

// readFS counts what is read of the journal and which of the lake's files and directories are.
type readFS struct {
	durable.FS
	mu      sync.Mutex
	journal int64
	names   []string
}

func (c *readFS) note(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, name)
}

func (c *readFS) ReadDir(name string) ([]fs.DirEntry, error) {
	c.note(name)
	return c.FS.ReadDir(name)
}

func (c *readFS) ReadFile(name string) ([]byte, error) {
	c.note(name)
	return c.FS.ReadFile(name)
}

func (c *readFS) Open(name string) (durable.File, error) {
	c.note(name)
	f, err := c.FS.Open(name)
	if err != nil || !strings.Contains(name, "/journal/runs") {
		return f, err
	}
	return &readFile{f, c}, nil
}

type readFile struct {
	durable.File
	c *readFS
}

func (f *readFile) count(n int) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.c.journal += int64(n)
}

func (f *readFile) Read(b []byte) (int, error) {
	n, err := f.File.Read(b)
	f.count(n)
	return n, err
}

func (f *readFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	f.count(n)
	return n, err
}

// After years of the documented schedule, a run reads no more of the journal than what is live of it.
func TestARunReadsTheTailOfALongJournal(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	w.export(span(15, 19))
	w.journal(longJournal(t, w.Now(), 1, []string{"acme", "bee"}))
	// the first one after an upgrade compacts
	_, readings, err := jobs.Balance(t.Context(), w.Cfg, w.env, jobs.BalanceOptions{})
	if err != nil || len(readings) != 1 {
		t.Fatal(readings, err)
	}
	for _, x := range []struct {
		name string
		run  func(env jobs.Env) error
	}{
		{"balance", func(env jobs.Env) error {
			_, _, err := jobs.Balance(t.Context(), w.Cfg, env, jobs.BalanceOptions{})
			return err
		}},
		{"export", func(env jobs.Env) error {
			_, err := jobs.Export(t.Context(), w.Cfg, env, jobs.ExportOptions{Span: span(15, 19)})
			return err
		}},
		{"a look at what is due", func(env jobs.Env) error { _, err := readLakeState(w.Cfg, env); return err }},
	} {
		c := &readFS{FS: durable.System{}}
		env := w.env
		env.FS = c
		if err := x.run(env); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
		const most = 400 << 10 // of some 20 MB; published from it and asked, and the ends of the months
		if c.journal == 0 || c.journal > most {
			t.Errorf("%s reads %d bytes of the journal, at most %d are live", x.name, c.journal, most)
		}
	}
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := query.Run(t.Context(), lake, "SELECT count(*) > 26800 FROM runs")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for row, err := range rows.All(t.Context()) {
		if err != nil || row[0].Text != "true" {
			t.Errorf("not all runs are published: %v, %v", row, err)
		}
	}
}

// BenchmarkLongJournal is what a lake's past costs: each command on a lake whose journal is empty, and after five years
// of the documented schedule with three accounts.
func BenchmarkLongJournal(b *testing.B) {
	for _, past := range []struct {
		name  string
		years int
	}{{"empty", 0}, {"5-years", 5}} {
		w := newWorld(b, kit.Settings{})
		w.export(span(1, 20))
		if past.years > 0 {
			w.journal(longJournal(b, w.Now(), past.years, []string{"acme", "bee", "cow"}))
			b.Run("first-balance/"+past.name, func(b *testing.B) {
				for b.Loop() {
					w.journal(longJournal(b, w.Now(), past.years, []string{"acme", "bee", "cow"}))
					if _, _, err := jobs.Balance(b.Context(), w.Cfg, w.env, jobs.BalanceOptions{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		if _, _, err := jobs.Balance(b.Context(), w.Cfg, w.env, jobs.BalanceOptions{}); err != nil {
			b.Fatal(err)
		}
		b.Run("status/"+past.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jobs.ReadStatus(b.Context(), w.Cfg.Lake, "", w.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("balance/"+past.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.Pass(time.Second)
				if _, _, err := jobs.Balance(b.Context(), w.Cfg, w.env, jobs.BalanceOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("export/"+past.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jobs.Export(b.Context(), w.Cfg, w.env, jobs.ExportOptions{Span: span(1, 20)}); err != nil {
					b.Fatal(err)
				}
			}
		})
		w.Cfg.Alerts = config.Alerts{Receivers: []config.Receiver{{Name: "log", Log: true}},
			Rules: []config.Rule{{Name: "failed", Kind: config.AlertFailed}, {Name: "gap", Kind: config.AlertGap}}}
		b.Run("idle-check/"+past.name, func(b *testing.B) {
			var memory watch.Memory
			for b.Loop() {
				if _, err := watch.Check(b.Context(), w.Cfg, w.env, watch.Input{Memory: &memory}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// While nothing runs and nothing changes, a daemon's check of alerts looks at stamps and reads neither the journal nor
// the raw archive.
func TestAnIdleCheckReadsNothingOfTheLake(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	w.export(span(15, 19))
	w.Cfg.Alerts = config.Alerts{Receivers: []config.Receiver{{Name: "log", Log: true}},
		Repeat: config.Duration(config.DefaultRepeat),
		Rules: []config.Rule{{Name: "failed", Kind: config.AlertFailed}, {Name: "gap", Kind: config.AlertGap},
			{Name: "fresh", Kind: config.AlertFreshness},
			{Name: "quarantine", Kind: config.AlertQuarantine, Within: config.Duration(24 * time.Hour)}}}
	var memory watch.Memory
	check := func() string {
		t.Helper()
		w.Pass(time.Minute)
		c := &readFS{FS: durable.System{}}
		env := w.env
		env.FS = c
		if _, err := watch.Check(t.Context(), w.Cfg, env, watch.Input{Memory: &memory}); err != nil {
			t.Fatal(err)
		}
		var read []string
		for _, name := range c.names {
			if strings.Contains(name, "/journal/runs") || strings.Contains(name, "/raw") {
				read = append(read, name)
			}
		}
		return strings.Join(read, " ")
	}
	if read := check(); !strings.Contains(read, "runs.jsonl") || !strings.Contains(read, "raw") {
		t.Errorf("a first check reads %s", read)
	}
	for range 3 {
		if read := check(); read != "" {
			t.Errorf("an idle check reads %s", read)
		}
	}
	w.export(span(15, 20))
	if read := check(); !strings.Contains(read, "runs.jsonl") || !strings.Contains(read, "raw") {
		t.Errorf("after a run a check reads %s", read)
	}
	if read := check(); read != "" {
		t.Errorf("the next reads %s", read)
	}
	if err := os.RemoveAll(filepath.Join(w.Cfg.Lake, "raw", "acct=acme", "date=2026-11-16")); err != nil {
		t.Fatal(err)
	}
	if read := check(); !strings.Contains(read, "raw") {
		t.Errorf("when a day was taken away a check reads %s", read)
	}
	w.Pass(2 * time.Hour) // somebody may have put files there
	if read := check(); !strings.Contains(read, "raw") {
		t.Errorf("an hour later a check reads %s", read)
	}
}
