package publish

import (
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// What is counted and earned stands beside what is charged for the same scope: of a month, or of the days that were
// counted; in the currency of the books, too. What lacks a half says nothing, and nothing is divided by 0.
func TestMetricsStandBesideTheCostOfTheirScope(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for _, c := range []struct{ day, token, amount, currency string }{
		{"2026-09-05", "tk_0", "9", "USD"}, {"2026-10-05", "tk_0", "12", "USD"}, {"2026-10-06", "tk_2", "30", "USD"},
		{"2026-10-07", "tk_1", "6", "CNY"}, {"2026-11-02", "tk_0", "1", "USD"},
	} {
		p := schemas.Partition{Account: "acme-" + strings.ToLower(c.currency), Date: schemastest.Date(c.day)}
		w.Charges(p, loadtest.Charge(p, c.token+c.day, c.token, "m1", c.amount, c.currency))
	}
	line := func(metric, month, day, scope, of, value, currency string) schemas.MetricLine {
		l := schemas.MetricLine{Metric: metric, Month: schemastest.Date(month + "-01").Month(), Scope: scope, Of: of,
			Value: money(value), Currency: currency, Source: "metrics.csv:2"}
		if day != "" {
			d := schemastest.Date(day)
			l.Date = &d
		}
		return l
	}
	usd := schemas.RateLine{From: "USD", To: "EUR", Rate: 5_000_000_000, Date: schemastest.Date("2026-10-01"), Line: "r:1"}
	var lines []schemas.RateLine
	for d := usd.Date; d < schemastest.Date("2026-12-01"); d++ {
		usd.Date = d
		lines = append(lines, usd)
	}
	rates, err := schemas.MakeRates("EUR", "", lines) // none of CNY
	if err != nil {
		t.Fatal(err)
	}
	f := Finance{Rules: loadtest.Rules{Name: "a"}, Rates: rates, Metrics: []schemas.MetricLine{
		line("orders", "2026-10", "", "", "", "4", ""), line("orders", "2026-12", "", "", "", "7", ""),
		line("tickets", "2026-10", "2026-10-05", "cost_center", "cc-0", "3", ""),
		line("tickets", "2026-10", "2026-10-09", "cost_center", "cc-0", "5", ""),
		line("visits", "2026-11", "", "cost_center", "cc-0", "0", ""),
		line("sales", "2026-10", "", "cost_center", "cc-2", "50", "EUR"),
		line("sales", "2026-10", "", "cost_center", "cc-none", "8", "EUR"),
		line("returns", "2026-11", "", "cost_center", "cc-0", "-3", "USD"),
	}}
	w.publish(PublishOptions{Finance: f})
	got := texts(w.Ask(`SELECT concat_ws(' ', metric, period, coalesce(scope_value, 'all'), coalesce(metric_value::VARCHAR,
		'-'), coalesce(days::VARCHAR, 'month'), coalesce(currency, '-'), coalesce(net_cost::VARCHAR, '-'),
		coalesce(cost_per_unit::VARCHAR, '-'), coalesce(margin::VARCHAR, '-'), coalesce(margin_share::VARCHAR, '-')) AS t
		FROM unit_economics ORDER BY ALL`))
	for i, row := range got {
		var cells []string
		for _, cell := range strings.Fields(row) {
			if strings.Contains(cell, ".") {
				cell = strings.TrimRight(strings.TrimRight(cell, "0"), ".")
			}
			cells = append(cells, cell)
		}
		got[i] = strings.Join(cells, " ")
	}
	slices.Sort(got)
	want := []string{
		// September is before the first order; October's 6 CNY have no rate.
		"orders 2026-10 all 4 month CNY 6 1.5 - -", "orders 2026-10 all 4 month EUR - - - -",
		"orders 2026-10 all 4 month USD 42 10.5 - -", "orders 2026-11 all - month EUR 0.5 - - -",
		"orders 2026-11 all - month USD 1 - - -", "orders 2026-12 all 7 month - - - - -",
		"returns 2026-11 cc-0 -3 month USD 1 - -4 -", "returns 2026-12 cc-0 - month USD - - - -",
		// of two days, on one of which something was charged
		"sales 2026-10 cc-2 50 month EUR 15 - 35 0.7", "sales 2026-10 cc-none 8 month EUR - - - -",
		"sales 2026-11 cc-2 - month EUR - - - -", "sales 2026-11 cc-none - month EUR - - - -",
		"sales 2026-12 cc-2 - month EUR - - - -", "sales 2026-12 cc-none - month EUR - - - -",
		"tickets 2026-10 cc-0 8 2 EUR 6 0.75 - -", "tickets 2026-10 cc-0 8 2 USD 12 1.5 - -",
		"tickets 2026-11 cc-0 - month EUR 0.5 - - -", "tickets 2026-11 cc-0 - month USD 1 - - -",
		"tickets 2026-12 cc-0 - month - - - - -",
		"visits 2026-11 cc-0 0 month EUR 0.5 - - -", "visits 2026-11 cc-0 0 month USD 1 - - -",
		"visits 2026-12 cc-0 - month - - - - -",
	}
	if !slices.Equal(got, want) {
		t.Error(schemastest.FirstDifference(strings.Join(got, "\n"), strings.Join(want, "\n")))
	}
}
