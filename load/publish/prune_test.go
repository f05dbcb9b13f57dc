package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// A pruned lake publishes and verifies as before; its quarantine is gone from the published file, and no damage. What
// is lost of it is found, and nothing is published without it.
func TestVerifyAndPublishKnowPrunedDays(t *testing.T) {
	lake := func(t *testing.T) (*dayWriter, []schemas.Partition) {
		w, days := soundLake(t)
		w.derived(days[1], loadtest.UsageSQL(days[1], 201, 1), 1, nil) // the footer names both windows
		w.publish(PublishOptions{})
		_, err := w.lake.PruneDay(days[1], pruning(false))
		must(t, err)
		return w, days
	}
	found := func(t *testing.T, w *dayWriter) ([]Finding, VerifyReport) {
		t.Helper()
		r, err := w.lake.Verify(t.Context(), VerifyOptions{TransformVersion: 1})
		must(t, err)
		return r.Findings, r
	}
	t.Run("sound", func(t *testing.T) {
		t.Parallel()
		w, days := lake(t)
		before := w.Dump()
		if f, r := found(t, w); len(f) != 0 || r.PrunedDays != 1 || r.PrunedWindows != 2 || r.Windows != 8 ||
			r.RawFiles != 7 || r.PrunedLeft != 0 {
			t.Errorf("%+v", r)
		}
		// A version of the transformation that is newer can't derive it anew: it stays as it is.
		r, err := w.lake.Verify(t.Context(), VerifyOptions{TransformVersion: 2})
		must(t, err)
		if slices.ContainsFunc(r.Findings, func(f Finding) bool {
			return strings.HasPrefix(f.Path, "usage/acct=acme/date="+days[1].Date.String())
		}) {
			t.Errorf("%+v", r.Findings)
		}
		p, err := w.lake.Publish(t.Context(), PublishOptions{Now: loadtest.TickingClock()})
		must(t, err)
		if !p.Unchanged {
			t.Errorf("published: %+v", p)
		}
		w.publish(PublishOptions{Full: true})
		if got := w.Dump(); got != before {
			t.Error(schemastest.FirstDifference(got, before))
		}

		_, err = w.lake.PruneDay(days[1], pruning(true))
		must(t, err)
		if f, _ := found(t, w); len(f) != 1 || f[0].Check != FoundBehind {
			t.Errorf("before it is published: %+v", f)
		}
		w.publish(PublishOptions{})
		if f, r := found(t, w); len(f) != 0 || r.PrunedRejects != 1 {
			t.Errorf("%+v", r)
		}
		ask := fmt.Sprintf("SELECT (SELECT count(*) FROM quarantine WHERE account = 'acme' AND window_start::DATE = "+
			"'%[1]s') AS rows, (SELECT quarantined FROM partitions WHERE account = 'acme' AND usage_date = '%[1]s') AS n",
			days[1].Date)
		if got := w.One(ask); got != "{'rows': 0, 'n': 1}" {
			t.Errorf("published: %s", got)
		}
		after := w.Dump()
		w.publish(PublishOptions{Full: true})
		if got := w.Dump(); got != after {
			t.Error(schemastest.FirstDifference(got, after))
		}
	})
	for name, c := range map[string]struct {
		damage  func(t *testing.T, w *dayWriter, p schemas.Partition)
		check   string
		publish string // what a publish says; "" is that it succeeds
	}{
		"a day file gone": {func(t *testing.T, w *dayWriter,
			p schemas.Partition) {
			must(t, os.Remove(w.lake.UsagePath(p)))
		}, FoundPruned, "it is not the file"},
		"a day file older": {func(t *testing.T, w *dayWriter, p schemas.Partition) { w.RandomDay(p, 5, 9) }, FoundPruned,
			"it is not the file"},
		"a quarantine gone": {func(t *testing.T, w *dayWriter,
			p schemas.Partition) {
			must(t, os.Remove(w.lake.QuarantinePath(p)))
		}, FoundQuarantine, ""},
		"a quarantine changed": {func(t *testing.T, w *dayWriter, p schemas.Partition) {
			w.Digest = "x"
			w.Quarantine(p, 1)
		}, FoundPruned, ""},
		"a tombstone damaged": {func(t *testing.T, w *dayWriter, p schemas.Partition) {
			must(t, os.WriteFile(w.lake.Path("raw", "acct="+p.Account, "date="+p.Date.String(), "pruned.jsonl"), []byte("{}\n"),
				0o600))
		}, FoundPruned, "is damaged"},
		"a tombstone gone": {func(t *testing.T, w *dayWriter, p schemas.Partition) {
			must(t, os.Remove(w.lake.Path("raw", "acct="+p.Account, "date="+p.Date.String(), "pruned.jsonl")))
		}, FoundOrphan, ""},
		"half fetched anew": {func(t *testing.T, w *dayWriter, p schemas.Partition) { w.seal(p, 0, 1) }, FoundStale, ""},
		"what is kept damaged": {func(t *testing.T, w *dayWriter, p schemas.Partition) {
			must(t, os.WriteFile(filepath.Join(w.lake.Path("raw", "acct="+p.Account, "date="+p.Date.String()), load.KeptUsage),
				[]byte("x"), 0o600))
		}, FoundPruned, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, days := lake(t)
			c.damage(t, w, days[1])
			f, _ := found(t, w)
			i := slices.IndexFunc(f, func(f Finding) bool { return f.Check == c.check })
			if i < 0 || f[i].Date != days[1].Date.String() || f[i].Hint == "" {
				t.Errorf("found %+v, want %s", f, c.check)
			}
			before := w.Dump()
			_, err := w.lake.Publish(t.Context(), PublishOptions{Now: loadtest.TickingClock()})
			if c.publish == "" && err != nil || c.publish != "" && (err == nil || !strings.Contains(err.Error(), c.publish)) {
				t.Errorf("published: %v", err)
			}
			if got := w.Dump(); c.publish != "" && got != before {
				t.Error(schemastest.FirstDifference(got, before))
			}
		})
	}
}

func pruning(quarantine bool) load.PruneOptions {
	return load.PruneOptions{RunID: "run-p", Version: "test", Policy: "raw files 400d after the end of the closed month",
		Now: time.Date(2027, 12, 30, 0, 0, 0, 0, time.UTC), Quarantine: quarantine}
}
