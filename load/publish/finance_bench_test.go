package publish

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// financeBenchLake is a lake of 30 days with as many records as USAGELAKE_BENCH_RECORDS says, 3,000,000 if it says
// nothing.
func financeBenchLake(b *testing.B) *dayWriter {
	b.Helper()
	n := 3_000_000
	if s := os.Getenv("USAGELAKE_BENCH_RECORDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	w := newDayWriter(b, load.Options{})
	for i := range 30 {
		w.RandomDay(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01") + schemas.Date(i)}, n/30,
			int64(i+1))
	}
	return w
}

// benchFinance is what finance of a large company writes: some fifty budgets, an invoice by model and day, a look at
// the balance every hour.
func benchFinance(w *dayWriter) Finance {
	f := testFinance
	for i := range 50 {
		b := schemas.Budget{Name: fmt.Sprint("b", i), Period: []string{"month", "quarter"}[i%2], Amount: money("1000"),
			Currency: "USD", Thresholds: []schemas.Decimal{800_000_000_000}}
		if i > 0 {
			b.Scope, b.Value = []string{"cost_center", "team", "model"}[i%3],
				fmt.Sprint([]string{"cc-", "team-", "model-"}[i%3], i%10)
		}
		f.Budgets = append(f.Budgets, b)
	}
	from, to := schemastest.Date("2026-10-01"), schemastest.Date("2026-11-01")
	f.Invoices = append(f.Invoices, schemas.InvoiceLine{Invoice: "TOTAL", From: from, To: to, Amount: money("1"),
		Currency: "USD", Source: "i.csv:2"})
	for m := range 10 {
		model := fmt.Sprint("model-", m)
		for day := from; day < to; day++ {
			f.Invoices = append(f.Invoices, schemas.InvoiceLine{Invoice: "DETAIL", From: from, To: to, Model: &model, Date: &day,
				Amount: money("1"), Currency: "USD", Source: "i.csv:3"})
		}
	}
	hours := make([]string, 24)
	for day := from; day < to; day++ {
		for h := range hours {
			hours[h] = fmt.Sprint(1_000_000 - int(day-from)*24 - h)
		}
		w.Balance(schemas.Partition{Account: "acme", Date: day}, hours...)
	}
	return f
}

// BenchmarkFinance measures what finance waits for: a chargeback by month from the published file, publishing after a
// change of rules, against building the file from nothing.
func BenchmarkFinance(b *testing.B) {
	w := financeBenchLake(b)
	finance := benchFinance(w)
	start := time.Now()
	done := w.publish(PublishOptions{Finance: finance})
	full := time.Since(start)
	b.Run("rules", func(b *testing.B) {
		for i := range b.N {
			finance.Rules = loadtest.Rules{Name: strconv.Itoa(i), Since: schemastest.Date("2026-10-12"),
				Pool: []string{"cc-0", "cc-2"}}
			w.publish(PublishOptions{Finance: finance})
		}
		b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(full), "of-full")
		b.ReportMetric(float64(done.Rows), "records")
	})
	d, err := openDatabase(b.Context(), engine{}, w.lake.Database(), true)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	for name, query := range map[string]string{
		"chargeback": "SELECT cost_center, sum(net_cost) FROM chargeback_daily WHERE billing_month = '2026-10-01' GROUP BY " +
			"ALL",
		"from-usage": "SELECT cost_center, sum(amount) FROM allocated_usage WHERE usage_date >= '2026-10-01' GROUP BY ALL",
	} {
		b.Run("query/"+name, func(b *testing.B) {
			for b.Loop() {
				if err := d.Exec(b.Context(), "CREATE OR REPLACE TEMP TABLE answer AS "+query); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	_, views, err := d.relations(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range views {
		if strings.Contains(v, `."focus`) {
			continue // exports of all charges, no questions
		}
		b.Run("view/"+strings.ReplaceAll(v, `"`, ""), func(b *testing.B) {
			for b.Loop() {
				var n int64
				if err := d.conn.QueryRowContext(b.Context(), fmt.Sprintf("SELECT count(*) FROM (SELECT hash(r) FROM %s r)",
					v)).Scan(&n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
