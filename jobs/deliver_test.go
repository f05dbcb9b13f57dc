package jobs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/deliver/delivertest"
	"github.com/usagelake/usagelake/schemas"
)

// TestAJobThatDelivers is a run of the journal with what it came to; an export's own outcome is not touched by what
// becomes of the delivery after it, and the status tells of both.
func TestAJobThatDelivers(t *testing.T) {
	dir := t.TempDir()
	place, lost := filepath.Join(dir, "bucket"), filepath.Join(dir, "not mounted", "bucket")
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 20})
		w.Cfg.Deliver = []config.Delivery{
			{Name: "warehouse", To: "file://" + place, Tables: []string{config.TableDelta}},
			{Name: "offsite", To: "file://" + lost, After: config.AfterExport},
		}
		if res := w.export(octoberSpan()); res.Status != schemas.StatusDone || res.Undelivered == "" {
			t.Errorf("the export: %s, undelivered %q", res.Status, res.Undelivered)
		}
		run := func(names ...string) *Result {
			t.Helper()
			j := config.Job{Name: "deliver", Kind: config.KindDeliver, Cron: "0 4 * * *", Deliver: names}
			if errs := j.Validate("UTC", nil); len(errs) > 0 {
				t.Fatal(errs)
			}
			res, _ := RunJob(t.Context(), w.Cfg, w.env, j, time.Date(2026, 11, 15, 4, 0, 0, 0, time.UTC))
			if res == nil {
				t.Fatal("the job has no result")
			}
			return res
		}
		if res := run("warehouse"); res.Status != schemas.StatusDone || len(res.Deliveries) != 1 ||
			!res.Deliveries[0].Changed {
			t.Errorf("the job: %s %s %+v", res.Status, res.Error, res.Deliveries)
		}
		there, m, err := delivertest.ReadAll(place, "manifest.json")
		if err != nil || len(there) == 0 || m.Rows == 0 {
			t.Errorf("delivered: %d files, %+v, %v", len(there), m, err)
		}
		if res := run("offsite"); res.Status != schemas.StatusFailed || res.Error == "" {
			t.Errorf("the job to a place that isn't there: %s %q", res.Status, res.Error)
		}
		st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Deliveries) != 2 || st.Deliveries[0].Error == "" || st.Deliveries[1].Error != "" {
			t.Errorf("the status: %+v", st.Deliveries)
		}
		if r := st.Runs[0]; r.Command != "deliver" || r.Job != "deliver" || r.Status != schemas.StatusFailed {
			t.Errorf("the journal's last run: %+v", r)
		}
		// It is made up by the next.
		if err := os.Mkdir(filepath.Dir(lost), 0o700); err != nil {
			t.Fatal(err)
		}
		if res := w.export(octoberSpan()); res.Undelivered != "" || len(res.Deliveries) != 1 {
			t.Errorf("the next export: undelivered %q, %+v", res.Undelivered, res.Deliveries)
		}
	})
}
