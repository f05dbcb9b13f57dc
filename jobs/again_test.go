package jobs

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

func TestTwiceIsOnceButForTheJournal(t *testing.T) {
	kit.Bubble(t, "twice", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(Span{From: kit.Day(10)})
		before := w.Files()
		w.Requests()
		for _, s := range []Span{{}, {From: kit.Day(10)}, {From: kit.Day(12), To: kit.Day(19)}} {
			res := w.export(s)
			want := int64(4) // days 17, 18, 19, and today
			if !s.To.IsZero() {
				want = 2
			}
			if res.Requests != want || res.Windows != 0 || res.DaysWritten != 0 || res.Published {
				t.Errorf("%d requests, %d windows, %d days, published: %t; want %d and nothing else", res.Requests, res.Windows,
					res.DaysWritten, res.Published, want)
			}
		}
		for _, r := range w.Requests() {
			if !strings.Contains(r.Query, "pagesize=1&") {
				t.Errorf("%s is no small request", r.Query)
			}
		}
		for _, f := range kit.Changed(before, w.Files()) {
			if !strings.HasPrefix(f, "journal/") {
				t.Errorf("%s changed", f)
			}
		}
	})
}

// content is every row of every table of the published file, as text.
func (w *world) content() map[string][]string {
	w.Helper()
	r := w.Read()
	defer r.Close()
	out := map[string][]string{}
	for _, table := range r.Ask("SELECT table_name FROM information_schema.tables WHERE table_catalog = 'lake' AND " +
		"table_schema = 'main'") {
		// of when and by whom
		if slices.Contains([]string{"meta", "published", "runs", "run_accounts", "data_freshness_and_gaps"}, table[0]) {
			continue
		}
		for _, row := range r.Ask(`SELECT t::VARCHAR FROM "` + table[0] + `" t`) {
			out[table[0]] = append(out[table[0]], row[0])
		}
		slices.Sort(out[table[0]])
	}
	return out
}

func TestARebuildFromTheRawArchiveAloneGivesTheSameBytesWithoutARequest(t *testing.T) {
	for _, faults := range []string{"",
		"late=0.2,late-by=20h,vanish=0.1,bad=0.05,missing=0.2,unknown-fields=true,order=random"} {
		kit.Bubble(t, faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: faults, PerDay: 100, Orgs: []portal.OrgOptions{
				{ID: "0", RecordsPerDay: 100}, {ID: "sum", RecordsPerDay: 100, Shape: portal.Summary}}})
			w.export(span(17, 20))
			w.nightly(2)
			w.export(Span{From: kit.Day(18).Add(time.Hour), To: kit.Day(19).Add(7 * time.Hour), Anew: true})
			before, content := w.Files(), w.content()
			if len(content["usage"]) == 0 || len(content["coverage"]) == 0 || len(content["usage_line_items"]) == 0 {
				t.Fatalf("there is nothing to compare: %d tables", len(content))
			}
			entries, err := os.ReadDir(w.Cfg.Lake)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != "raw" {
					if err := os.RemoveAll(filepath.Join(w.Cfg.Lake, e.Name())); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.Requests()
			w.Keys = nil
			res := w.rebuild()
			if n := len(w.Requests()); n != 0 || res.Requests != 0 {
				t.Errorf("%d requests", n)
			}
			if len(res.Accounts) != 2 || res.Records == 0 || res.DaysWritten == 0 {
				t.Errorf("%+v", res.RunCounts)
			}
			for _, f := range kit.Changed(before, w.Files()) {
				if !strings.HasPrefix(f, "journal/") && f != "usage.duckdb" && f != "published.json" {
					t.Errorf("%s has other bytes", f)
				}
			}
			for table, rows := range w.content() {
				if !slices.Equal(rows, content[table]) {
					t.Errorf("%s has other rows: %d, were %d", table, len(rows), len(content[table]))
				}
				delete(content, table)
			}
			for table := range content {
				t.Errorf("%s is empty", table)
			}
			w.Whole()
		})
	}
}

func TestAnIncrementalFileHasTheRowsOfOneBuiltFromNothing(t *testing.T) {
	kit.Bubble(t, "full", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "late=0.2,corrected=0.2,bad=0.05", PerDay: 100})
		w.export(span(17, 20))
		w.nightly(3)
		before := w.content()
		w.rebuild()
		for table, rows := range w.content() {
			if !slices.Equal(rows, before[table]) {
				t.Errorf("%s differs", table)
			}
		}
	})
}

func TestWhatIsSealedAndNotDerivedIsDerivedByTheNextRunThoughNothingIsToFetch(t *testing.T) {
	kit.Bubble(t, "stale", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(10, 13))
		before, content := w.Files(), w.content()
		for _, gone := range []string{"usage/acct=acme/date=2026-11-11", "usage.duckdb", "balance"} {
			if err := os.RemoveAll(filepath.Join(w.Cfg.Lake, gone)); err != nil {
				t.Fatal(err)
			}
		}
		st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
		if err != nil || st.Accounts[0].Stale != 1 || !st.Accounts[0].Days[1].Stale {
			t.Errorf("status: %+v, %v", st, err)
		}
		res := w.export(span(10, 13)) // beyond the lookback
		if res.Requests != 0 || res.DaysWritten != 1 || !res.Published {
			t.Errorf("%+v", res.RunCounts)
		}
		for _, f := range kit.Changed(before, w.Files()) {
			if !strings.HasPrefix(f, "journal/") && f != "usage.duckdb" && f != "published.json" {
				t.Errorf("%s has other bytes", f)
			}
		}
		for table, rows := range w.content() {
			if !slices.Equal(rows, content[table]) {
				t.Errorf("%s has other rows", table)
			}
		}
	})
}

func TestWithoutItsJournalALakeLosesNoData(t *testing.T) {
	kit.Bubble(t, "journal", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(17, 20))
		before := w.Files()
		if err := os.RemoveAll(filepath.Join(w.Cfg.Lake, "journal")); err != nil {
			t.Fatal(err)
		}
		if res := w.export(span(17, 20)); res.Requests != 3 {
			t.Errorf("%d requests", res.Requests)
		}
		w.Kept(before)
		w.Equal(kit.Day(17), kit.Day(20))
	})
}

func TestALakeOfANewerVersionIsRefusedAndLeftAlone(t *testing.T) {
	kit.Bubble(t, "newer", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(17, 19))
		if err := os.WriteFile(filepath.Join(w.Cfg.Lake, "lake.json"), []byte(`{"format":99}`), 0o600); err != nil {
			t.Fatal(err)
		}
		before := w.Files()
		w.Requests()
		_, errExport := w.try(t.Context(), span(17, 20))
		_, errRebuild := Rebuild(t.Context(), w.Cfg, w.env, RebuildOptions{})
		_, errStatus := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
		_, _, errBalance := Balance(t.Context(), w.Cfg, w.env, BalanceOptions{})
		_, errDry := DryRun(t.Context(), w.Cfg, w.env, ExportOptions{})
		for i, err := range []error{errExport, errRebuild, errStatus, errBalance, errDry} {
			if !errors.Is(err, load.ErrNewer) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if d := kit.Changed(before, w.Files()); len(d) > 0 || len(w.Requests()) > 0 {
			t.Errorf("%v changed, or a request was sent", d)
		}
	})
}

func TestALakeThatAnotherHoldsIsNotWrittenAndReadersDontMind(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	w.export(span(17, 19))
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lake.Lock(t.Context(), "export", false)
	if err != nil {
		t.Fatal(err)
	}
	before := w.Files()
	w.Requests()
	_, errExport := w.try(t.Context(), span(17, 20))
	_, errRebuild := Rebuild(t.Context(), w.Cfg, w.env, RebuildOptions{})
	_, _, errBalance := Balance(t.Context(), w.Cfg, w.env, BalanceOptions{})
	for i, err := range []error{errExport, errRebuild, errBalance} {
		var held *load.HeldError
		if !errors.As(err, &held) || held.PID != os.Getpid() || held.Doing != "export" {
			t.Errorf("%d: %v", i, err)
		}
	}
	if len(w.Requests()) > 0 || len(kit.Changed(before, w.Files())) > 0 {
		t.Error("something was done without the lock")
	}
	st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
	if err != nil || st.Holder == nil || len(st.Accounts) != 1 {
		t.Errorf("status of a held lake: %+v, %v", st, err)
	}
	// With --wait it goes on when the holder is done, or ends when the user has had enough.
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := Export(ctx, w.Cfg, w.env, ExportOptions{Span: span(17, 20), Wait: true,
		Retry: kit.Retry}); !errors.Is(err, enough) {
		t.Errorf("stopped while waiting: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := Export(t.Context(), w.Cfg, w.env, ExportOptions{Span: span(17, 20), Wait: true, Retry: kit.Retry})
		done <- err
	}()
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the holder was done: %v", err)
	}
	w.Equal(kit.Day(17), kit.Day(20))
}

func TestNoLakeIsSaidWithWhatToDo(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	_, errStatus := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
	_, errRebuild := Rebuild(t.Context(), w.Cfg, w.env, RebuildOptions{})
	for _, err := range []error{errStatus, errRebuild} {
		if !errors.Is(err, load.ErrNoLake) || !strings.Contains(kit.HintOf(err), "usagelake export") {
			t.Errorf("%v (hint: %s)", err, kit.HintOf(err))
		}
	}
	if _, err := os.Stat(w.Cfg.Lake); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a lake was made")
	}
}

func TestADryRunWritesNothingAndSaysWhatAnExportWouldDo(t *testing.T) {
	kit.Bubble(t, "dry", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		dry := func(s Span) DryPlan {
			t.Helper()
			plans, err := DryRun(t.Context(), w.Cfg, w.env, ExportOptions{Span: s, Retry: kit.Retry})
			if err != nil || len(plans) != 1 {
				t.Fatalf("%v, %v", plans, err)
			}
			return plans[0]
		}
		p := dry(span(10, 20))
		if _, err := os.Stat(w.Cfg.Lake); !errors.Is(err, fs.ErrNotExist) {
			t.Error("a lake was made")
		}
		w.Requests()
		res := w.export(span(10, 20))
		if p.Windows != 10 || p.Sampled || p.Unknown || p.Checks != 0 || !p.From.Equal(kit.Day(10)) ||
			!p.To.Equal(kit.Day(20)) {
			t.Errorf("%+v", p)
		}
		// The margins may count a record twice.
		if d := p.Records - res.Records; d < -5 || d > 5 {
			t.Errorf("%d records were foreseen, %d came", p.Records, res.Records)
		}
		if d := p.Requests - res.Requests; d < -11 || d > 11 {
			t.Errorf("%d requests were foreseen, %d were sent", p.Requests, res.Requests)
		}
		before := w.Files()
		p = dry(Span{})
		if p.Windows != 1 || p.Checks != 3 || !p.To.Equal(w.settled()) {
			t.Errorf("%+v", p)
		}
		if d := kit.Changed(before, w.Files()); len(d) > 0 {
			t.Errorf("%v changed", d)
		}
		if p = dry(Span{From: kit.Day(10).AddDate(0, -3, 0), To: kit.Day(10)}); !p.Sampled || p.Windows != 92 {
			t.Errorf("%+v", p)
		}
		w.Faults("total=absent")
		if p = dry(Span{}); !p.Unknown {
			t.Errorf("%+v", p)
		}
		if _, err := DryRun(t.Context(), w.Cfg, w.env, ExportOptions{Span: span(5, 4)}); !errors.Is(err, config.ErrUsage) {
			t.Errorf("an empty range: %v", err)
		}
		w.Faults("code-inside=1,inside-code=401")
		if _, err := DryRun(t.Context(), w.Cfg, w.env, ExportOptions{Retry: kit.Retry}); !errors.Is(err, extract.ErrRefused) {
			t.Errorf("a refused key: %v", err)
		}
	})
}

func TestStatusShowsCoverageGapsAndRuns(t *testing.T) {
	kit.Bubble(t, "status", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(12, 14))
		w.export(Span{From: kit.Day(15).Add(12 * time.Hour), To: kit.Day(17)})
		w.Faults("status-500=1")
		_, _ = w.try(t.Context(), span(12, 18))
		st, err := ReadStatus(t.Context(), w.Cfg.Lake, "acme", w.Now())
		if err != nil {
			t.Fatal(err)
		}
		a := st.Accounts[0]
		if !a.From.Equal(kit.Day(12)) || !a.To.Equal(kit.Day(17)) || len(a.Gaps) != 1 ||
			!a.Gaps[0].Start.Equal(kit.Day(14)) || !a.Gaps[0].End.Equal(kit.Day(15).Add(12*time.Hour)) {
			t.Errorf("%+v", a)
		}
		if len(a.Days) != 5 || a.Days[0].Covered != 1 || a.Days[2].Covered != 0 || a.Days[3].Covered != 0.5 ||
			a.Behind != "84h0m0s" || a.Stale != 0 {
			t.Errorf("%+v", a)
		}
		if len(st.Runs) != 3 || st.Runs[0].Status != schemas.StatusFailed || st.Runs[1].Status != schemas.StatusDone ||
			!st.Database.Exists {
			t.Errorf("%+v", st.Runs)
		}
		if _, err := ReadStatus(t.Context(), w.Cfg.Lake, "nobody", w.Now()); !errors.Is(err, config.ErrUsage) {
			t.Errorf("an account that isn't there: %v", err)
		}
	})
}

// The bytes of the lake's files are searched for the key, compressed ones as they are unpacked.
func (w *world) secretIn(key string) []string {
	w.Helper()
	var found []string
	hidden := []byte(strings.TrimPrefix(key, "sk_mg_"))
	err := filepath.WalkDir(w.Cfg.Lake, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".zst") {
			b = append(b, unpack(w, b)...)
		}
		if bytes.Contains(b, hidden) || strings.Contains(path, string(hidden)) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return found
}
