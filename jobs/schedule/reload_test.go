package schedule

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/jobs"
)

func TestTheConfigIsReloaded(t *testing.T) {
	inTime(t, "2026-11-24T00:30:00Z", func(t *testing.T) {
		w := newStage(t)
		nightly := "  jobs:\n    - {name: nightly, kind: export, cron: \"0 2 * * *\"}\n"
		w.write(nightly)
		opts := w.options()
		var reloads []error
		opts.Reloaded = func(err error) { reloads = append(reloads, err) }
		s, err := New(jobs.Env{Now: time.Now, Logger: slog.New(slog.NewTextHandler(&w.log, nil))}, opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		change := func(schedule string, want string) {
			t.Helper()
			reloads = nil
			w.write(schedule)
			time.Sleep(6 * time.Minute) // longer than a tick
			synctest.Wait()
			switch {
			case len(reloads) != 1:
				t.Errorf("%d reloads of a file that changed once", len(reloads))
			case want == "" && (reloads[0] != nil || s.State().ConfigError != ""):
				t.Errorf("a good config is refused: %v", reloads[0])
			case want != "" && (reloads[0] == nil || !strings.Contains(reloads[0].Error(), want) || s.State().ConfigError == ""):
				t.Errorf("reload: %v, want %q", reloads[0], want)
			}
		}
		change(nightly+"    - {name: hourly, kind: balance, cron: \"0 * * * *\"}\n", "")
		change(nightly+"    - {name: hourly, kind: balance, cron: \"0 * * * * *\"}\n", "6 fields")
		change("  jobs: []\n", "has no jobs")
		change("  listen: 127.0.0.1:1\n"+nightly, "takes a restart")
		if got := len(s.State().Jobs); got != 2 {
			t.Errorf("%d jobs after refused reloads", got)
		}
		change(nightly, "")
		if got := len(s.State().Jobs); got != 1 {
			t.Errorf("%d jobs", got)
		}
		reloads = nil
		s.Reload() // SIGHUP, without a change
		time.Sleep(time.Second)
		synctest.Wait()
		if len(reloads) != 1 || reloads[0] != nil {
			t.Errorf("told to reload: %v", reloads)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestARefusedConfigIsTakenWhenWhatItLackedComes(t *testing.T) {
	inTime(t, "2026-11-24T00:30:00Z", func(t *testing.T) {
		w := newStage(t)
		nightly := "  jobs:\n    - {name: nightly, kind: export, cron: \"0 2 * * *\"}\n"
		w.write(nightly)
		opts := w.options()
		var reloads []error
		opts.Reloaded = func(err error) { reloads = append(reloads, err) }
		s, err := New(jobs.Env{Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		w.write(nightly + "allocation: {rules: rules.yaml}\n")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(reloads) != 1 || reloads[0] == nil {
			t.Errorf("without the rules: %v", reloads)
		}
		if err := os.WriteFile(filepath.Join(w.dir, "rules.yaml"),
			[]byte("rules:\n  - id: all\n    assign: {cost_center: CC-1}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(reloads) != 2 || reloads[1] != nil || s.State().ConfigError != "" {
			t.Errorf("with the rules: %v", reloads)
		}
		cancel()
		<-ended
	})
}
