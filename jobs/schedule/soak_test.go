package schedule

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/jobs/watch"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

var soakDays = flag.Int("soak.days", 4, "days that the soak lasts, by its own clock; make soak has 30")

// The daemon's jobs, as it runs them, day after day against a Portal that fails now and then: requests that fail,
// outages of hours over the time of the nightly export, records that come late, keys that are replaced (in time, and
// after the old one was revoked), a program that is stopped and started. In the end the lake equals the truth.
func TestSoak(t *testing.T) {
	if *soakDays < 4 {
		t.Fatal("-soak.days: it takes 4 to see anything")
	}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Date(2026, 10, 20, 12, 0, 0, 0, time.UTC) // over the change of Berlin's clocks, and of the month
		w := newWorld(t, kit.Settings{Live: true, At: begin, PerDay: 120,
			Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 120}, {ID: "beta", RecordsPerDay: 60}}})
		w.Logs = &kit.Buffer{} // a month of debug lines is no help
		w.env.Logger = slog.New(slog.NewTextHandler(w.Logs, &slog.HandlerOptions{Level: slog.LevelWarn}))
		keys := t.TempDir()
		for i := range w.Cfg.Accounts {
			a := &w.Cfg.Accounts[i]
			key := w.Keys[a.KeyEnv]
			a.KeyEnv, a.KeyFile = "", filepath.Join(keys, a.Name+".key")
			w.putKey(a.KeyFile, key)
		}
		zero := config.Duration(0)
		hook := w.Alerted(config.Rule{Name: "late", Kind: "freshness", OlderThan: config.Duration(26 * time.Hour),
			Repeat: &zero}, config.Rule{Name: "failed", Kind: "failed", After: 3, Repeat: &zero},
			config.Rule{Name: "key", Kind: "key", Repeat: &zero})
		w.env.Transport = hook
		w.Cfg.Schedule.Jobs = []config.Job{
			{Name: "nightly", Kind: config.KindExport, Cron: "30 2 * * *", Zone: "Europe/Berlin",
				Jitter: config.Duration(10 * time.Minute)},
			{Name: "hourly", Kind: config.KindLookback, Cron: "5 * * * *", Lookback: config.Duration(24 * time.Hour)},
			{Name: "balance", Kind: config.KindBalance, Cron: "35 * * * *"},
			{Name: "weekly", Kind: config.KindVerify, Cron: "0 4 * * 0", Zone: "Europe/Berlin"},
		}
		if err := errors.Join(w.Cfg.Schedule.Validate(w.Cfg.AccountNames())...); err != nil {
			t.Fatal(err)
		}
		if _, err := publish.Create(w.Cfg.Lake, publish.Options{}); err != nil { // as the daemon does
			t.Fatal(err)
		}
		var told []string
		opts := Options{Load: func() (*config.Config, error) { c := *w.Cfg; return &c, nil }, tick: 5 * time.Minute}
		var memory watch.Memory
		opts.Check = func(ctx context.Context, cfg *config.Config, _ string) {
			if time.Now().Minute()%15 == 0 || time.Now().Minute() > 30 { // every minute is what the daemon does
				if _, err := watch.Check(ctx, cfg, w.env, watch.Input{Memory: &memory}); err != nil && ctx.Err() == nil {
					t.Errorf("alerts: %v", err)
				}
			}
		}
		rnd := rand.New(rand.NewPCG(3, 4))
		live := func(d time.Duration) {
			s, err := New(w.env, opts)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), d, errors.New("stopped"))
			defer cancel()
			if err := s.Run(ctx); err == nil || err.Error() != "stopped" {
				t.Fatal(err)
			}
			told = append(told, hook.Told(t)...)
		}
		const weather = "late=0.03,late-by=20h,status-500=0.02,status-429=0.02,reset=0.02,cut=0.01,latency=200ms,jitter=300ms"
		var early, last usage
		for d := range *soakDays {
			w.Faults(weather)
			switch d {
			case 1: // a key is replaced in good time
				fresh := w.newKey("0")
				w.putKey(w.Cfg.Accounts[0].KeyFile, fresh)
				live(24 * time.Hour)
			case 2: // and one after it stopped working, which costs the account a night
				old := w.key(1)
				if err := w.Portal.RevokeKey(old); err != nil {
					t.Fatal(err)
				}
				live(20 * time.Hour)
				w.putKey(w.Cfg.Accounts[1].KeyFile, w.newKey("beta"))
				live(4 * time.Hour)
			default:
				if d%5 == 3 { // an outage over the night
					live(10 * time.Hour)
					w.Faults(weather + ",status-503=1")
					live(time.Duration(4+rnd.IntN(6)) * time.Hour)
					w.Faults(weather)
				}
				if d%4 == 0 { // the program is down for a while
					live(time.Duration(1+rnd.IntN(36000)) * time.Second)
					time.Sleep(time.Duration(rnd.IntN(30)) * time.Hour)
				}
				live(24 * time.Hour)
			}
			last = measure(t)
			if d == 2 {
				early = last
			}
			t.Logf("day %2d, %s: %s, %d alerts told", d+1, time.Now().UTC().Format("2006-01-02 15:04"), last, len(told))
		}
		w.Faults("")
		live(48 * time.Hour)
		w.Equal(begin.Truncate(24*time.Hour).AddDate(0, 0, -config.FirstDays+1),
			time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1))

		if last.files > early.files+4 {
			t.Errorf("files open: %d, and %d on day 3", last.files, early.files)
		}
		if last.heap > early.heap+32<<20 {
			t.Errorf("heap in use: %s, and %s on day 3", last, early)
		}
		st, err := jobs.ReadStatus(t.Context(), w.Cfg.Lake, "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range st.Accounts {
			if len(a.Gaps) > 0 || a.Stale > 0 {
				t.Errorf("account %s: gaps %v, %d days stale", a.Account, a.Gaps, a.Stale)
			}
		}
		for _, want := range []string{"firing key", "over key", "firing failed", "over failed"} {
			if !slices.ContainsFunc(told, func(s string) bool { return strings.HasPrefix(s, want) }) {
				t.Errorf("nobody was told %q", want)
			}
		}
		t.Logf("told: %s", strings.Join(told, "; "))
		w.checkRuns(begin)
	})
}

// checkRuns checks that of each job no time was done twice, and that the last one of each is done.
func (w *world) checkRuns(begin time.Time) {
	w.Helper()
	st, err := readLakeState(w.Cfg, w.env)
	if err != nil {
		w.Fatal(err)
	}
	for _, j := range w.Cfg.Schedule.Jobs {
		var done []time.Time
		failed, requests := 0, int64(0)
		for _, r := range st.runs {
			if r.Job == j.Name {
				requests += r.Requests
				switch r.Status {
				case schemas.StatusDone:
					done = append(done, r.Logical)
				case schemas.StatusRunning:
					w.Errorf("%s: a run of %s has not ended", j.Name, r.StartedAt)
				case schemas.StatusStopped:
				default:
					failed++
				}
			}
		}
		w.Logf("%s: %d runs done, %d failed, %d requests", j.Name, len(done), failed, requests)
		for i := 1; i < len(done); i++ {
			if !done[i].After(done[i-1]) {
				w.Errorf("%s: %s is done after %s", j.Name, done[i], done[i-1])
			}
		}
		if n := len(done); n == 0 || time.Since(done[n-1]) > 8*24*time.Hour {
			w.Errorf("%s: the last times are not done", j.Name)
		}
	}
}

func (w *world) putKey(path, key string) {
	w.Helper()
	if err := (durable.Out{}).Bytes(path, []byte(key+"\n")); err != nil {
		w.Fatal(err)
	}
}

// key is what the key file of an account holds.
func (w *world) key(account int) string {
	w.Helper()
	k, err := w.Cfg.Accounts[account].Key(w.env.Getenv)
	if err != nil {
		w.Fatal(err)
	}
	return k
}

func (w *world) newKey(org string) string {
	w.Helper()
	_, key, err := w.Portal.AddKey(portal.KeySpec{Org: org, Name: "rotated",
		Scopes: []string{"usage:read", "balance:read"}, Admin: true})
	if err != nil {
		w.Fatal(err)
	}
	return key
}

// usage is what the process holds.
type usage struct {
	heap, rss uint64
	files     int
}

func (u usage) String() string {
	return fmt.Sprintf("heap %.1f MiB, resident %.1f MiB, %d files open", float64(u.heap)/(1<<20), float64(u.rss)/(1<<20),
		u.files)
}

func measure(t testing.TB) (u usage) {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap = m.HeapInuse
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil { // elsewhere the heap must do
		u.files = len(fds)
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, resident uint64
		if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
			t.Fatal(err)
		}
		u.rss = resident * uint64(os.Getpagesize())
	}
	return u
}
