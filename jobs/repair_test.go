package jobs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/transform"
)

// flipBit flips a bit in the middle of the first file of a pattern within the lake.
func flipBit(t *testing.T, w *world, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.Cfg.Lake, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func verified(t testing.TB, w *world) publish.VerifyReport {
	t.Helper()
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := lake.Verify(t.Context(), publish.VerifyOptions{TransformVersion: transform.Version})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARepairDerivesWhatItCanAndNamesWhatMustBeFetched(t *testing.T) {
	kit.Bubble(t, "repair", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "bad=0.02"})
		w.export(span(12, 16))
		if r := verified(t, w); len(r.Findings) != 0 {
			t.Fatalf("%+v", r.Findings)
		}
		flipBit(t, w, "usage/acct=acme/date=2026-11-12/usage.parquet")
		flipBit(t, w, "quarantine/acct=acme/date=2026-11-1*/quarantine.parquet")
		flipBit(t, w, "balance/acct=acme/*/balance.parquet")
		flipBit(t, w, "raw/acct=acme/date=2026-11-14/*.pages.zst")
		flipBit(t, w, "usage.duckdb")
		before := verified(t, w)
		res, done, after, err := Repair(t.Context(), w.Cfg, w.env, before, RepairOptions{Phase: func(string) {}})
		if !errors.As(err, new(*OrphanError)) { // until it is fetched, the day stays as it was
			t.Fatal(err)
		}
		w.Equal(kit.Day(12), kit.Day(16))
		if len(done.SetAside) != 1 || len(done.Gaps) != 1 || !done.Gaps[0].Start.Equal(kit.Day(14)) ||
			!done.Gaps[0].End.Equal(kit.Day(15)) || !done.Database {
			t.Errorf("%+v", done)
		}
		if !slices.Contains(done.Derived, "acme 2026-11-12") || !slices.Equal(done.Kept, []string{"acme 2026-11-14"}) ||
			res.DaysWritten != int64(len(done.Derived)) {
			t.Errorf("derived %v, days written %d", done.Derived, res.DaysWritten)
		}
		if len(after.Findings) != 2 || after.Findings[0].Check != publish.FoundOrphan ||
			after.Findings[1].Check != publish.FoundGap {
			t.Errorf("after the repair: %+v", after.Findings)
		}
		if _, err := os.Stat(done.SetAside[0].To); err != nil {
			t.Errorf("the damaged file is gone: %v", err)
		}
		if got := w.export(span(12, 16)); got.Windows != 1 {
			t.Errorf("the export after it sealed %d windows, want 1", got.Windows)
		}
		w.Equal(kit.Day(12), kit.Day(16))
		if r := verified(t, w); len(r.Findings) != 0 {
			t.Errorf("mended, and still %+v", r.Findings)
		}
	})
}
