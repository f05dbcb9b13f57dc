package jobs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found
}

func inLake(w *world, elem ...string) string {
	return filepath.Join(append([]string{w.Cfg.Lake}, elem...)...)
}

// What raw files were deleted of stays in the day files and in the published file, whatever runs, and every run says
// so; fetched anew, all is well.
func TestMissingRawFilesDeleteNoDay(t *testing.T) {
	kit.Bubble(t, "orphans", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "bad=0.02"})
		w.export(span(10, 16))
		days := func() []string {
			found, err := filepath.Glob(inLake(w, "usage/acct=acme/*/usage.parquet"))
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		all := days()
		kept := func(what string, res *Result, err error) {
			t.Helper()
			var orphaned *OrphanError
			if !errors.As(err, &orphaned) || res.Status != schemas.StatusPartial {
				t.Errorf("%s: %v, status %s", what, err, res.Status)
			}
			if !slices.Equal(days(), all) {
				t.Errorf("%s: %v", what, days())
			}
			w.Equal(kit.Day(10), kit.Day(16))
		}

		// A whole day, and a part of another.
		if err := os.RemoveAll(inLake(w, "raw/acct=acme/date=2026-11-12")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(glob(t, inLake(w, "raw/acct=acme/date=2026-11-14/*.pages.zst"))[0]); err != nil {
			t.Fatal(err)
		}
		res, _, err := Balance(t.Context(), w.Cfg, w.env, BalanceOptions{})
		kept("balance", res, err)
		if n := len(daysOf(res.Orphans)); n != 2 {
			t.Errorf("balance tells of %d days", n)
		}
		res, err = Rebuild(t.Context(), w.Cfg, w.env, RebuildOptions{})
		kept("rebuild", res, err)
		res, err = w.try(t.Context(), Span{From: kit.Day(10), To: kit.Day(12)})
		kept("export of another day", res, err)
		res, done, after, err := Repair(t.Context(), w.Cfg, w.env, verified(t, w), RepairOptions{})
		kept("verify --repair", res, err)
		if !slices.Equal(done.Kept, []string{"acme 2026-11-12", "acme 2026-11-14"}) || len(done.Derived) != 0 {
			t.Errorf("%+v", done)
		}
		if !slices.ContainsFunc(after.Findings, func(f publish.Finding) bool {
			return f.Check == publish.FoundOrphan && f.Date == "2026-11-12" &&
				strings.Contains(f.Hint, "--drop-orphans acme/2026-11-12")
		}) {
			t.Errorf("%+v", after.Findings)
		}
		st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.env.Now())
		if err != nil || len(st.Accounts[0].Orphans) != 2 {
			t.Errorf("status: %v, %+v", err, st.Accounts[0].Orphans)
		}

		// Fetched anew, it is as before; the files that were kept are kept beside.
		w.export(span(10, 16))
		w.Equal(kit.Day(10), kit.Day(16))
		if r := verified(t, w); len(r.Findings) != 0 {
			t.Errorf("%+v", r.Findings)
		}
		if aside, _ := os.ReadDir(inLake(w, "damaged")); len(aside) < 2 {
			t.Errorf("kept beside: %v", aside)
		}

		// An account's all, in a lake that has others.
		if err := os.MkdirAll(inLake(w, "raw/acct=other"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(inLake(w, "raw/acct=acme")); err != nil {
			t.Fatal(err)
		}
		res, _, _, err = Repair(t.Context(), w.Cfg, w.env, verified(t, w), RepairOptions{})
		kept("verify --repair without any raw file", res, err)
		st, err = ReadStatus(t.Context(), w.Cfg.Lake, "", w.env.Now())
		if err != nil || len(st.Accounts[0].Orphans) < 6 {
			t.Errorf("status: %v, %+v", err, st)
		}

		// By name it goes, and nothing else.
		_, done, _, err = Repair(t.Context(), w.Cfg, w.env, verified(t, w), RepairOptions{Drop: []string{"acme/2026-11-15"}})
		if !errors.As(err, new(*OrphanError)) || len(done.Dropped) != 1 || len(days()) != len(all)-1 {
			t.Errorf("%v %+v %v", err, done, days())
		}
		w.Equal(kit.Day(10), kit.Day(15))
	})
}

// A raw archive that isn't there stops every run before it writes, until somebody says that it is lost.
func TestALakeWithoutItsRawArchiveIsRefused(t *testing.T) {
	kit.Bubble(t, "noraw", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(12, 14))
		if err := os.Rename(inLake(w, "raw"), inLake(w, "..", "elsewhere")); err != nil {
			t.Fatal(err)
		}
		w.Requests()
		if _, err := w.try(t.Context(), Span{From: kit.Day(14), To: kit.Day(15)}); !errors.Is(err, load.ErrNoRaw) {
			t.Errorf("export: %v", err)
		}
		if _, err := Rebuild(t.Context(), w.Cfg, w.env, RebuildOptions{}); !errors.Is(err, load.ErrNoRaw) {
			t.Errorf("rebuild: %v", err)
		}
		if _, _, err := Balance(t.Context(), w.Cfg, w.env, BalanceOptions{}); !errors.Is(err, load.ErrNoRaw) {
			t.Errorf("balance: %v", err)
		}
		if n := len(w.Requests()); n != 0 {
			t.Errorf("%d requests", n)
		}
		if _, err := os.Stat(inLake(w, "raw")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("raw/ was made: %v", err)
		}
		w.Equal(kit.Day(12), kit.Day(14))
		if _, _, _, err := Repair(t.Context(), w.Cfg, w.env, verified(t, w), RepairOptions{RawLost: true}); !errors.As(err,
			new(*OrphanError)) {
			t.Errorf("repair: %v", err)
		}
		w.Equal(kit.Day(12), kit.Day(14))
	})
}

// The published file is the last copy of a day whose day file and raw files are both gone: it keeps it, and isn't built
// anew without it.
func TestThePublishedFileKeepsWhatItAloneHas(t *testing.T) {
	kit.Bubble(t, "last", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		w.export(span(10, 14))
		for _, tree := range []string{"raw", "usage", "quarantine"} {
			if err := os.RemoveAll(inLake(w, tree, "acct=acme/date=2026-11-11")); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(inLake(w, "balance")); err != nil {
			t.Fatal(err)
		}
		for _, b := range glob(t, inLake(w, "raw/*/*/*.balance.zst")) {
			if err := os.Remove(b); err != nil {
				t.Fatal(err)
			}
		}
		held := func() string {
			r := w.Read()
			defer r.Close()
			return strings.Join(r.Ask("SELECT (SELECT count(*) FROM usage WHERE usage_date = '2026-11-11') > 0, (SELECT " +
				"count(*) FROM balance) > 0")[0], " ")
		}
		if _, err := w.try(t.Context(), Span{From: kit.Day(14), To: kit.Day(15)}); !errors.As(err, new(*OrphanError)) ||
			held() != "true true" {
			t.Errorf("export: %v, %s", err, held())
		}
		if _, err := Rebuild(t.Context(), w.Cfg, w.env, RebuildOptions{}); !errors.Is(err, publish.ErrLastCopy) ||
			held() != "true true" {
			t.Errorf("rebuild: %v, %s", err, held())
		}
		if !slices.ContainsFunc(verified(t, w).Findings,
			func(f publish.Finding) bool { return f.Check == publish.FoundOrphan && f.Date == "2026-11-11" }) {
			t.Errorf("%+v", verified(t, w).Findings)
		}
		res, done, after, err := Repair(t.Context(), w.Cfg, w.env, verified(t, w), RepairOptions{})
		if !errors.As(err, new(*OrphanError)) || held() != "true true" {
			t.Errorf("repair: %v %+v %+v, %s", err, res, done, held())
		}
		var names []string
		for _, f := range after.Findings {
			if f.Check == publish.FoundOrphan {
				names = append(names, f.Account+"/"+f.Date)
			}
		}
		if _, _, _, err = Repair(t.Context(), w.Cfg, w.env, verified(t, w), RepairOptions{Drop: names}); err != nil ||
			held() != "false true" && held() != "false false" {
			t.Errorf("repair, dropping %v: %v, %s", names, err, held())
		}
	})
}

// An export half of whose records can't be normalised has not done what was asked.
func TestAnExportMostlyQuarantinedIsDoneInPart(t *testing.T) {
	for share, want := range map[string]bool{"bad=0.97": true, "bad=0.02": false} {
		kit.Bubble(t, "quarantine "+share, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: share})
			res, err := w.try(t.Context(), span(12, 13))
			var rejects *QuarantineError
			if errors.As(err, &rejects) != want || (res.Status == schemas.StatusPartial) != want ||
				res.Accounts[0].Status != res.Status {
				t.Fatalf("%s: %v, %s, account %s", share, err, res.Status, res.Accounts[0].Status)
			}
			if want && (rejects.Quarantined < rejects.Rows || rejects.Quarantined == 0) {
				t.Errorf("%+v", rejects)
			}
			if want { // nothing new, nothing to say
				if res, err := w.try(t.Context(), span(12, 13)); err != nil {
					t.Errorf("again: %v %s", err, res.Status)
				}
			}
		})
	}
}
