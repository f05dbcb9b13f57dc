package jobs

import (
	"fmt"
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

// finance makes a world with something in each table of finance: prepaid credit with a coupon that expires, which two
// days of September and October together overdraw, mark-ups, metrics, a budget, and books in another currency with a
// rate for every day.
func (w *world) finance() {
	w.Helper()
	w.rules(twoRules)
	file := func(name, text string) string {
		return kit.Write(w.TB, filepath.Join(w.TempDir(), name), text, 0o600)
	}
	w.Cfg.Accounts[0].Billing, w.Cfg.Accounts[0].Draw = schemas.Prepaid, schemas.DrawCouponsFirst
	w.Cfg.Accounts[0].TopUps = file("topups.csv", "date,amount,currency,kind,reference,expires\n"+
		"2026-09-01,6,USD,paid,PO-1,\n2026-10-03,0.5,USD,coupon,C-1,2026-10-05\n2026-10-20,3,USD,paid,PO-2,\n")
	w.Cfg.Markups = []config.Markup{{Percent: "7.5"}, {CostCenter: "A", Percent: "12.345", PerRequest: "0.001",
		PerPeriod: "2", Currency: "USD"}}
	w.Cfg.Metrics = []string{file("metrics.csv", "metric,date,value\norders,2026-10-05,12\norders,2026-10-06,30\n")}
	w.Cfg.Budgets = []config.Budget{{Name: "all", Amount: "5", Currency: "EUR", Period: "month"}}
	rates := "date,from,to,rate\n"
	for day, n := schemas.DateOf(october.Start())-40, 0; n < 90; day, n = day+1, n+1 {
		rates += fmt.Sprintf("%s,USD,EUR,0.9%02d7\n", day, n)
	}
	w.Cfg.Books = config.Books{Currency: "EUR", Rates: file("rates.csv", rates)}
}

// What is delivered of finance is what the published file has, table by table and row by row; and each table has some.
func TestADeliveryOfFinanceIsThePublishedFiles(t *testing.T) {
	place := filepath.Join(t.TempDir(), "bucket")
	kit.Bubble(t, "", func(t *testing.T) {
		w := newWorld(t, kit.Settings{PerDay: 12})
		w.finance()
		w.Cfg.Deliver = []config.Delivery{{Name: "bi", To: "file://" + place, What: []string{"finance"}}}
		w.export(octoberSpan())
		w.mustClose(october)
		if _, err := Deliver(t.Context(), w.Cfg, w.env, DeliverOptions{To: w.Cfg.Deliver}); err != nil {
			t.Fatal(err)
		}
		files, _, err := delivertest.ReadAll(place, "manifest.json")
		if err != nil || len(files) != len(FinanceTables()) {
			t.Fatalf("delivered: %d files, %v", len(files), err)
		}
		r := w.Read()
		defer r.Close()
		for _, table := range FinanceTables() {
			f, ok := files["finance/"+table+".parquet"]
			if !ok {
				t.Errorf("%s isn't delivered", table)
				continue
			}
			there := "(FROM read_parquet(" + schemas.SQLString(filepath.Join(place, filepath.FromSlash(f.Key))) + "))"
			if table != "unallocated" && r.One("SELECT count(*) FROM "+there) == "0" {
				t.Errorf("%s is empty", table)
			}
			if n := r.One("SELECT count(*) FROM ((FROM " + there + " EXCEPT ALL FROM " + table + ") UNION ALL (FROM " + table +
				" EXCEPT ALL FROM " + there + "))"); n != "0" {
				t.Errorf("%s rows of %s aren't the published file's", n, table)
			}
		}
	})
}
