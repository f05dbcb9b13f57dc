package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// alerted makes the world one with rules, and a webhook that is told.
func (w *world) alerted(rules ...config.Rule) *kit.Hook {
	h := w.Alerted(rules...)
	w.env.Transport = h
	return h
}

func (w *world) check(in Input) Report {
	w.Helper()
	r, err := Check(w.Context(), w.Cfg, w.env, in)
	if err != nil {
		w.Fatalf("check: %v", err)
	}
	return r
}

func wantTold(t testing.TB, h *kit.Hook, want ...string) {
	t.Helper()
	if got := h.Told(t); !slices.Equal(got, want) {
		t.Errorf("told\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

func TestALateExportAGapAFailedRunAndARefusedKeyAreTold(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 40})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)},
		config.Rule{Name: "gap", Kind: config.AlertGap},
		config.Rule{Name: "failed", Kind: config.AlertFailed, After: 2}, config.Rule{Name: "key", Kind: config.AlertKey})
	if _, err := Check(t.Context(), w.Cfg, w.env, Input{}); !errors.Is(err, load.ErrNoLake) {
		t.Errorf("no lake: %v", err)
	}
	w.export(span(15, 16))
	w.check(Input{})
	wantTold(t, h, "firing late | acme")
	w.export(span(18, 19))
	w.check(Input{})
	wantTold(t, h, "firing gap | acme")

	if err := w.Portal.DisableKey(w.Keys["KEY_0"]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.Pass(time.Minute)
		if _, err := w.try(t.Context(), jobs.Span{}); err == nil {
			t.Fatal("a disabled key exports")
		}
		w.check(Input{})
	}
	wantTold(t, h, "firing key | acme refused by export", "firing failed | export")
	if err := w.Portal.EnableKey(w.Keys["KEY_0"]); err != nil {
		t.Fatal(err)
	}

	// While a run goes on its windows may lie apart: that is no gap, nor is a gap over.
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lake.Lock(t.Context(), "export", false)
	if err != nil {
		t.Fatal(err)
	}
	w.check(Input{})
	wantTold(t, h)
	if err := unlock(); err != nil {
		t.Fatal(err)
	}

	w.export(jobs.Span{})
	w.check(Input{})
	wantTold(t, h, "over failed | export", "over gap | acme", "over key | acme refused by export", "over late | acme")

	// A run that was killed is a failed one; one under way is none.
	for i := range 2 {
		if err := lake.AppendRun(schemas.Run{RunID: fmt.Sprint("killed-", i), Command: "export", PID: 1 << 30,
			StartedAt: w.Now(), Status: schemas.StatusRunning}); err != nil {
			t.Fatal(err)
		}
	}
	w.check(Input{})
	wantTold(t, h, "firing failed | export")
	w.Pass(forgotten)
	w.Cfg.Alerts.Rules = w.Cfg.Alerts.Rules[2:]
	w.check(Input{})
	wantTold(t, h) // nobody runs it any more: it passes without a word
}

func TestFactsThatCantBeReadAreToldAndNothingIsOver(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "low", Kind: config.AlertBalance, Below: "99999999"},
		config.Rule{Name: "late", Kind: config.AlertFreshness})
	w.export(span(19, 20))
	w.check(Input{})
	wantTold(t, h, "firing low | acme")
	db := filepath.Join(w.Cfg.Lake, "usage.duckdb")
	whole, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(db, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Pass(30 * time.Hour)
	w.check(Input{})
	wantTold(t, h, "firing (intruded) | usage.duckdb", "firing late | acme")
	if err := os.WriteFile(db, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	w.check(Input{})
	wantTold(t, h, "still_firing low | acme", "over (intruded) | usage.duckdb")
	log := db + ".wal" // which another program left
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.check(Input{})
	wantTold(t, h, "firing (intruded) | usage.duckdb")
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	w.check(Input{})
	wantTold(t, h, "over (intruded) | usage.duckdb")
	if err := os.Remove(db); err != nil { // as before the first publish
		t.Fatal(err)
	}
	w.check(Input{})
	wantTold(t, h)
}

func TestWhatIsNotDeliveredWaitsAndIsToldOnce(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.Cfg.Alerts.Receivers = append(w.Cfg.Alerts.Receivers, config.Receiver{Name: "none", WebhookEnv: "UNSET"},
		config.Receiver{Name: "log", Log: true})
	w.export(span(18, 19))
	h.Status = 404
	r := w.check(Input{})
	h.Told(t)
	if !r.Failed() || len(r.Deliveries) != 3 ||
		r.Deliveries[1].Error != "receiver none: its webhook: no URL: the environment variable UNSET is not set" ||
		r.Deliveries[2].Sent != 1 {
		t.Errorf("%+v", r.Deliveries)
	}
	active, err := Active(w.Cfg)
	if err != nil || len(active) != 1 || active[0].Undelivered["ops"] != "receiver ops: it answered 404" ||
		active[0].Undelivered["log"] != "" {
		t.Errorf("%+v, %v", active, err)
	}
	h.Status = 200
	w.check(Input{})
	wantTold(t, h) // it rests for a minute
	w.Pass(time.Minute)
	w.check(Input{})
	wantTold(t, h, "firing late | acme")
	w.Pass(time.Hour)
	w.check(Input{})
	wantTold(t, h)
	if strings.Contains(w.Logs.String(), "hooks.test") {
		t.Error("the log shows the webhook's URL")
	}
}

// fullDisk refuses whatever makes a file, once it is full.
type fullDisk struct {
	durable.FS
	full bool
}

func (f *fullDisk) CreateTemp(dir, pattern string) (durable.File, error) {
	if f.full {
		return nil, &os.PathError{Op: "open", Path: dir, Err: syscall.ENOSPC}
	}
	return f.FS.CreateTemp(dir, pattern)
}

func TestAFullDiskKeepsNobodyFromBeingToldOnce(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.export(span(18, 19))
	w.check(Input{})
	wantTold(t, h, "firing late | acme")
	disk := &fullDisk{FS: durable.System{}, full: true}
	w.env.FS = disk
	in := Input{Memory: &Memory{}, ConfigError: "line 1"}
	for range 3 {
		if _, err := Check(t.Context(), w.Cfg, w.env, in); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v", err)
		}
	}
	wantTold(t, h, "firing (config) | reload")
	disk.full = false
	w.check(in)
	wantTold(t, h)
	if active, err := Active(w.Cfg); err != nil || len(active) != 2 {
		t.Errorf("what was told is not written down: %+v, %v", active, err)
	}
}

// A lake that became read-only, or belongs to somebody else, has no lock to take.
func TestALakeThatCantBeLockedKeepsNobodyFromBeingToldOnce(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.export(span(18, 19))
	lock := filepath.Join(w.Cfg.Lake, "journal", "alerts.lock")
	if err := os.Mkdir(lock, 0o700); err != nil {
		t.Fatal(err)
	}
	check := func(in Input) {
		t.Helper()
		if _, err := Check(t.Context(), w.Cfg, w.env, in); !errors.Is(err, syscall.EISDIR) {
			t.Errorf("%v", err)
		}
	}
	check(Input{})
	wantTold(t, h, "firing late | acme")
	daemon := Input{Memory: &Memory{}}
	for range 3 {
		check(daemon)
	}
	wantTold(t, h, "firing late | acme")
	if active, err := Active(w.Cfg); err != nil || len(active) > 0 {
		t.Errorf("it was written without the lock: %+v, %v", active, err)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	w.check(daemon)
	wantTold(t, h)
	if active, err := Active(w.Cfg); err != nil || len(active) != 1 {
		t.Errorf("what was told is not written down: %+v, %v", active, err)
	}
}

func TestADaemonTellsThatItsLakeIsGoneAndNothingElseIsOver(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport}}
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)},
		config.Rule{Name: "failed", Kind: config.AlertFailed}, config.Rule{Name: "key", Kind: config.AlertKey})
	w.export(span(18, 19))
	db := filepath.Join(w.Cfg.Lake, "usage.duckdb")
	if err := os.WriteFile(db, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Cfg.Alerts.Rules = append(w.Cfg.Alerts.Rules, config.Rule{Name: "low", Kind: config.AlertBalance, Below: "1"})
	in := Input{Memory: &Memory{}}
	w.check(in)
	wantTold(t, h, "firing (intruded) | usage.duckdb", "firing late | acme")

	away := w.Cfg.Lake + "-away"
	if err := os.Rename(w.Cfg.Lake, away); err != nil {
		t.Fatal(err)
	}
	w.Cfg.Accounts[0].KeyExpires = w.Now().Format(time.DateOnly)
	in.Failures = []Failure{{Job: "nightly", Attempts: 1, Error: "no lake", At: w.Now()}}
	for range 2 {
		report, err := Check(t.Context(), w.Cfg, w.env, in)
		if !errors.Is(err, load.ErrNoLake) || len(report.Firing) != 5 {
			t.Errorf("%v, %+v", err, report.Firing)
		}
	}
	wantTold(t, h, "firing (facts) | lake", "firing failed | job nightly",
		"firing key | acme expires "+w.Cfg.Accounts[0].KeyExpires)
	if _, err := os.Stat(w.Cfg.Lake); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a check made the lake: %v", err)
	}
	if _, err := Check(t.Context(), w.Cfg, w.env, Input{}); !errors.Is(err, load.ErrNoLake) {
		t.Errorf("%v", err)
	}
	wantTold(t, h) // who typed it sees it

	if err := os.Rename(away, w.Cfg.Lake); err != nil {
		t.Fatal(err)
	}
	in.Failures = nil
	w.check(in)
	wantTold(t, h, "over (facts) | lake", "over failed | job nightly")
	if active, err := Active(w.Cfg); err != nil || len(active) != 3 {
		t.Errorf("what was told is not written down: %+v, %v", active, err)
	}
}

// What a daemon told stands in the lake; if that can't be read any more, the daemon knows it still.
func TestADaemonRemembersWhatADamagedLakeForgets(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.export(span(18, 19))
	in := Input{Memory: &Memory{}}
	w.check(in)
	wantTold(t, h, "firing late | acme")
	if err := os.WriteFile(filepath.Join(w.Cfg.Lake, "journal", "alerts.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.check(in)
	wantTold(t, h)
	if active, err := Active(w.Cfg); err != nil || len(active) != 1 {
		t.Errorf("it is not written anew: %+v, %v", active, err)
	}
}

func TestOneChecksAtATimeAndADamagedMemoryTellsAnew(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.export(span(18, 19))
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lake.LockState(t.Context(), stateName)
	if err != nil {
		t.Fatal(err)
	}
	if r := w.check(Input{}); !r.Held {
		t.Error("two check at once")
	}
	wantTold(t, h)
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	w.check(Input{})
	wantTold(t, h, "firing late | acme")
	path := filepath.Join(w.Cfg.Lake, "journal", "alerts.json")
	for _, damage := range []string{"", "{", "[]", `{"version":99}`, "\x00\x00"} {
		if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		w.check(Input{})
		wantTold(t, h, "firing late | acme")
		w.check(Input{})
		wantTold(t, h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, w.Cfg, w.env, Input{}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestReceiversAreTriedWithoutALake(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	h := w.alerted()
	w.Cfg.Alerts.Receivers = append(w.Cfg.Alerts.Receivers, config.Receiver{Name: "clear", WebhookEnv: "CLEAR"})
	w.Keys["CLEAR"] = "http://hooks.example/secret"
	d, err := TryReceivers(t.Context(), w.Cfg, w.env, "")
	if err != nil || len(d) != 2 || d[0].Sent != 1 || !strings.Contains(d[1].Error, "CLEAR: the URL is http://") ||
		strings.Contains(d[1].Error, "secret") {
		t.Errorf("%+v, %v", d, err)
	}
	wantTold(t, h, "test test | ops")
	if _, err := TryReceivers(t.Context(), w.Cfg, w.env, "nobody"); !errors.Is(err, config.ErrUsage) {
		t.Errorf("%v", err)
	}
}
