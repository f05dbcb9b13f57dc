package publish

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func money(s string) schemas.Money {
	v, err := schemas.ParseMoney(s)
	if err != nil {
		panic(err)
	}
	return v
}

// financeLake is a lake with usage of two accounts in two months, rules, budgets, invoices and balances.
func financeLake(t *testing.T) *dayWriter {
	t.Helper()
	return randomFinanceLake(t, 0, testFinance)
}

// randomFinanceLake is the same with other usage for each seed, and other rules.
func randomFinanceLake(t *testing.T, seed int64, f Finance) *dayWriter {
	t.Helper()
	w := newDayWriter(t, load.Options{})
	for _, account := range []string{"acme", "zeta-2"} {
		for i := range 40 {
			w.RandomDay(schemas.Partition{Account: account, Date: schemastest.Date("2026-09-20") + schemas.Date(i)}, 60+i%7*5,
				seed*1000+int64(i+1))
		}
	}
	w.Balance(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-15")}, "100", "90.5", "400.25")
	f.Budgets = []schemas.Budget{
		{Name: "all", Period: "month", Amount: money("1000"), Currency: "USD",
			Thresholds: []schemas.Decimal{800_000_000_000, 1_000_000_000_000}},
		{Name: "cc-0", Scope: "cost_center", Value: "cc-0", Period: "quarter", Amount: money("0.5"), Currency: "USD"},
		{Name: "euros", Period: "month", Amount: money("10"), Currency: "EUR"},
	}
	day, model := schemastest.Date("2026-10-02"), "model-2"
	f.Invoices = []schemas.InvoiceLine{
		{Invoice: "INV-1", From: schemastest.Date("2026-10-01"), To: schemastest.Date("2026-11-01"), Amount: money("12.34"),
			Currency: "USD", Source: "i.csv:2"},
		{Invoice: "INV-1", From: schemastest.Date("2026-10-01"), To: schemastest.Date("2026-11-01"), Model: &model,
			Date: &day, Amount: money("0.01"), Currency: "USD", Source: "i.csv:3"},
	}
	w.publish(PublishOptions{Finance: f})
	return w
}

// Every view whose figures are charges sums to the amount of usage, in each currency, to the last decimal.
func TestEveryViewOfChargesTiesOut(t *testing.T) {
	few(t, 3)
	calendars := someBooks(t)
	rapid.Check(t, func(rt *rapid.T) {
		rules := loadtest.Rules{Name: "r",
			Since: schemastest.Date("2026-09-15") + schemas.Date(rapid.IntRange(0, 50).Draw(rt, "since")),
			Pool: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"cc-0", "cc-2", "cc-4", "cc-new"}), 0, 4, rapid.ID).Draw(rt,
				"pool")}
		books := calendars[rapid.SampledFrom(sortedNames(calendars)).Draw(rt, "books")]
		tiesOut(t, randomFinanceLake(t, rapid.Int64Range(0, 1_000_000).Draw(rt, "usage"),
			Finance{Rules: rules, Books: books}))
	})
}

func tiesOut(t *testing.T, w *dayWriter) {
	t.Helper()
	saysWhatMainSays(t, w)
	want := w.One("SELECT sum(amount) AS a FROM usage")
	for view, query := range map[string]string{
		"chargeback_daily":           "SELECT sum(net_cost) AS a FROM chargeback_daily",
		"chargeback_monthly":         "SELECT sum(net_cost) AS a FROM chargeback_monthly",
		"spend_by_cost_center_month": "SELECT sum(net_cost) AS a FROM spend_by_cost_center_month",
		"its parts": "SELECT sum(direct_cost) + coalesce(sum(shared_cost), 0) + " +
			"coalesce(sum(correction), 0) AS a FROM spend_by_cost_center_month",
		"chargeback_journal":        "SELECT sum(amount) AS a FROM chargeback_journal WHERE entry = 'debit'",
		"allocation_coverage_trend": "SELECT sum(net_cost) AS a FROM allocation_coverage_trend",
		"the trend's parts": "SELECT sum(direct_cost + shared_cost + unallocated_cost) AS a FROM " +
			"allocation_coverage_trend",
		"period_status_and_corrections": "SELECT sum(net_cost) AS a FROM period_status_and_corrections",
		"discount_realised":             "SELECT sum(net_cost) AS a FROM discount_realised",
		"unit_cost, all":                `SELECT sum(net_cost) AS a FROM unit_cost WHERE "scope" = 'all'`,
		"unit_cost, by centre":          `SELECT sum(net_cost) AS a FROM unit_cost WHERE "scope" IN ('cost_center', 'pool')`,
		"top_spenders, users":           `SELECT sum(net_cost) AS a FROM top_spenders WHERE "scope" = 'user'`,
		"top_spenders, tokens":          `SELECT sum(net_cost) AS a FROM top_spenders WHERE "scope" = 'token'`,
		"top_spenders, models":          `SELECT sum(net_cost) AS a FROM top_spenders WHERE "scope" = 'model'`,
		"data_freshness_and_gaps":       "SELECT sum(net_cost) AS a FROM data_freshness_and_gaps",
		"budget_status, all":            "SELECT sum(spent) AS a FROM budget_status WHERE budget = 'all'",
		"forecast and what was before": `SELECT (SELECT spent FROM forecast_month_end WHERE "scope" = 'all') + (SELECT
				sum(amount) FROM booked_usage, data_as_of WHERE month_of(book_date) < current_month) AS a`,
		"drivers and what they compare": `SELECT (SELECT sum(amount) FROM usage) - (SELECT coalesce(sum(volume + mix +
				cache + price), 0) FROM month_over_month_drivers)
			+ (SELECT coalesce(sum(CASE side WHEN 'now' THEN amount ELSE -amount END), 0) FROM booked_usage
			JOIN comparable_days USING (account, book_date)) AS a`,
		"shares, direct and unallocated": "SELECT coalesce((SELECT sum(net_cost) FROM shared_cost_split), 0) + (SELECT " +
			"sum(net_cost) FROM unallocated_spend) + (SELECT sum(direct_cost) FROM allocation_coverage_trend) AS a",
	} {
		if got := w.One(query); got != want {
			t.Errorf("%s: %s, usage has %s", view, got, want)
		}
	}
	for what, query := range map[string]string{
		"the journal": `SELECT sum(amount) AS a, sum(posted) AS b FROM chargeback_journal
			GROUP BY "month", currency`,
		"balance reconciliation": "SELECT sum(opening + top_ups - used + coalesce(unexplained, 0) - closing) AS a, 0.00 " +
			"AS b FROM balance_reconciliation",
		"posted and exact, cents": `SELECT round(sum(amount), 2) - sum(posted) AS a, 0.0000 AS b FROM chargeback_journal
				WHERE entry = 'debit' GROUP BY "month"`,
	} {
		for _, got := range w.Ask(query) {
			if strings.Trim(got, "{'ab: }0.,") != "" {
				t.Errorf("%s: %s, want 0", what, got)
			}
		}
	}
}

func TestFinanceViewsByHand(t *testing.T) {
	w := financeLake(t)
	for query, want := range map[string]string{
		"SELECT budget, period_start, status FROM budget_status WHERE budget = 'cc-0' ORDER BY ALL": "{'budget': cc-0, " +
			"'period_start': 2026-07-01, 'status': over}|{'budget': cc-0, 'period_start': 2026-10-01, 'status': over}",
		"SELECT spent, status FROM budget_status WHERE budget = 'euros' AND period_start = '2026-10-01'": "{'spent': " +
			"0.000000000000, 'status': ok}",
		"SELECT opening, closing, inferred FROM balance_reconciliation ORDER BY closed_at": "{'opening': " +
			"100.000000000000, 'closing': 90.500000000000, 'inferred': false}|{'opening': 90.500000000000, 'closing': " +
			"400.250000000000, 'inferred': true}",
		"SELECT as_of, current_month, complete_before FROM data_as_of": "{'as_of': '2026-10-30 " +
			"00:00:00+00', 'current_month': 2026-10-01, 'complete_before': 2026-10-30}",
		"SELECT days_over, days_left FROM budget_status " +
			"WHERE budget = 'all' AND period_start = '2026-10-01'": "{'days_over': 29, 'days_left': 2}",
		"SELECT rule_id, rule_version, cost_center, assigns FROM allocation_explain((SELECT min(id) FROM allocated_usage " +
			"WHERE rule_id = 'team-4')) LIMIT 1": "{'rule_id': team-4, 'rule_version': 1, 'cost_center': cc-4, 'assigns': NULL}",
		"SELECT DISTINCT invoice, model, difference = exported - coalesce(invoiced, 0) AS ok FROM invoice_reconciliation " +
			"WHERE invoiced IS NOT NULL ORDER BY 2": "{'invoice': INV-1, 'model': model-2, 'ok': true}|{'invoice': INV-1, " +
			"'model': NULL, 'ok': true}",
		"SELECT count(*) > 5 AS others FROM invoice_reconciliation WHERE invoiced IS NULL AND likely_causes LIKE '%no line " +
			"for this model%'": "{'others': true}",
	} {
		if got := strings.Join(w.Ask(query), "|"); got != want {
			t.Errorf("%s\n got %s\nwant %s", query, got, want)
		}
	}
	for _, view := range []string{
		"spend_by_cost_center_month", "chargeback_journal", "unallocated_spend", "allocation_coverage_trend",
		"shared_cost_split",
		"invoice_reconciliation", "balance_reconciliation", "period_status_and_corrections", "budget_vs_actual",
		"forecast_month_end", "month_over_month_drivers",
		"top_spenders", "unit_cost", "cache_savings", "discount_realised", "modality_and_tool_spend",
		"data_freshness_and_gaps", "unallocated", "chargeback_monthly",
	} {
		if got := w.Ask("SELECT 1 AS one FROM " + view + " LIMIT 1"); len(got) != 1 {
			t.Errorf("%s is empty", view)
		}
	}
	if got := w.Ask("SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL"); len(got) > 0 {
		t.Errorf("views without a comment: %v", got)
	}
}

// A day that stands out of its history is an anomaly, and so is a new token that spends; days like any other are not.
func TestADayThatLeavesItsHistoryIsAnAnomaly(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for i := range 30 {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01") + schemas.Date(i)}
		amount, token := "2.0", "tk_1"
		if i == 20 {
			amount = "9.0"
		}
		q := func(id, token, amount string) string {
			return "SELECT * REPLACE ('" + id + "' AS id, '" + token + "' AS token_id, 'model-9' AS model, " + amount +
				"::DECIMAL(18,12) AS amount, " + amount +
				"::DECIMAL(18,12) AS total_amount, 0::DECIMAL(18,12) AS discount_amount, 'request' AS record_kind) FROM (" +
				loadtest.UsageSQL(p, 1, 3) + ")"
		}
		query := q("a", token, amount)
		if i >= 25 {
			query += " UNION ALL " + q("b", "tk_new", "0.5")
		}
		w.DayFrom(p, query, "d"+p.String(), nil)
	}
	w.publish(PublishOptions{})
	got := w.Ask(`SELECT usage_date, kind, "scope", scope_value, observed, expected FROM anomalous_days
		WHERE "scope" IN ('token', 'account') ORDER BY ALL`)
	want := []string{
		"{'usage_date': 2026-10-21, 'kind': spike, 'scope': account, 'scope_value': acme, 'observed': 9.000000000000, " +
			"'expected': 2.000000}",
		"{'usage_date': 2026-10-21, 'kind': spike, 'scope': token, 'scope_value': tk_1, 'observed': 9.000000000000, " +
			"'expected': 2.000000}",
		"{'usage_date': 2026-10-26, 'kind': new, 'scope': token, 'scope_value': tk_new, 'observed': 0.500000000000, " +
			"'expected': 0.000000}",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// One event is told once, at the level that explains the most of it with one value: a token of one model, a model of
// many tokens, two accounts by themselves, and a drop as a spike is. What leaves its history by itself stays by itself.
func TestAnEventIsOneRowAtTheLevelThatExplainsIt(t *testing.T) {
	type part struct{ account, token, model string }
	usual := map[part]int{
		{"acme", "tk_1", "m-1"}: 20, {"acme", "tk_2", "m-1"}: 20, {"acme", "tk_3", "m-2"}: 20, {"zeta", "tk_4", "m-3"}: 20,
		{"zeta", "tk_5", "m-4"}: 20}
	for name, c := range map[string]struct {
		day  map[part]int
		want []string
	}{
		"a token":            {map[part]int{{"acme", "tk_1", "m-1"}: 220}, []string{"token tk_1 3"}},
		"a token that stops": {map[part]int{{"acme", "tk_3", "m-2"}: 0}, []string{"token tk_3 3"}},
		"a model of two tokens": {map[part]int{{"acme", "tk_1", "m-1"}: 120, {"acme", "tk_2", "m-1"}: 120},
			[]string{"model m-1 5"}},
		"an account of several models": {map[part]int{{"zeta", "tk_4", "m-3"}: 120, {"zeta", "tk_5", "m-4"}: 120},
			[]string{"account zeta 6"}},
		"two accounts, each by a token": {map[part]int{{"acme", "tk_3", "m-2"}: 170, {"zeta", "tk_4", "m-3"}: 120},
			[]string{"token tk_3 3", "token tk_4 3"}},
		"one up, one down": {map[part]int{{"acme", "tk_3", "m-2"}: 170, {"zeta", "tk_4", "m-3"}: 0},
			[]string{"token tk_3 3", "token tk_4 3"}},
		"a new token": {map[part]int{{"acme", "tk_9", "m-1"}: 300}, []string{"token tk_9 3"}},
		"nothing":     {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newDayWriter(t, load.Options{})
			for i := range 35 {
				for _, account := range []string{"acme", "zeta"} {
					p := schemas.Partition{Account: account, Date: schemastest.Date("2026-09-01") + schemas.Date(i)}
					parts := maps.Clone(usual)
					if i == 30 {
						maps.Copy(parts, c.day)
					}
					var queries []string
					for _, x := range slices.SortedFunc(maps.Keys(parts),
						func(a, b part) int { return strings.Compare(a.token, b.token) }) {
						if n := parts[x]; x.account == account && n > 0 {
							queries = append(queries,
								fmt.Sprintf("SELECT * REPLACE ('%s' AS id, '%[1]s' AS token_id, '%s' AS model, %d::DECIMAL(18,12) AS amount, "+
									"'request' AS record_kind) FROM (%s)", x.token, x.model, n, loadtest.UsageSQL(p, 1, 3)))
						}
					}
					w.DayFrom(p, strings.Join(queries, " UNION ALL "), "d"+p.String(), nil)
				}
			}
			w.publish(PublishOptions{Finance: Finance{Rules: loadtest.Rules{Name: "none",
				Since: schemastest.Date("2030-01-01")}}})
			var got []string
			for _, row := range w.Ask(`SELECT "scope" || ' ' || scope_value || ' ' || len(also) AS e FROM anomaly_events
				WHERE kind <> 'price change' ORDER BY scope_value`) {
				got = append(got, strings.TrimSuffix(strings.TrimPrefix(row, "{'e': "), "}"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q\n%s", got, c.want,
					strings.Join(w.Ask(`SELECT "scope", scope_value, deviation, also FROM anomaly_events`), "\n"))
			}
		})
	}
}
