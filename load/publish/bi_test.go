package publish

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// alike are the views of the semantic layer with the queries of main that they are to answer like, to the last digit,
// by whatever parts rows: a join that loses a row or doubles one, or a name that stands for another thing, is seen.
var alike = map[string][2]string{
	"charges by day": {`SELECT "month", period, usage_date, book_date, charge_class, account, cost_center, team, pool,
			model, currency, sum(requests), sum(without_amount), sum(input_tokens), sum(output_tokens), sum(cached_tokens),
			sum(total_tokens), sum(list_cost), sum(discount), sum(net_cost), book_currency, sum(book_cost), count(*)
		FROM bi.charges_daily GROUP BY ALL ORDER BY ALL`,
		`SELECT billing_month, period, usage_date, book_date, charge_class, account, cost_center, team, pool,
			model, currency, sum(requests), sum(without_amount), sum(input_tokens), sum(output_tokens), sum(cached_tokens),
			sum(total_tokens), sum(list_cost), sum(discount), sum(net_cost), book_currency, sum(book_cost), count(*)
		FROM chargeback_daily GROUP BY ALL ORDER BY ALL`},
	"charges by month": {`SELECT "month", period, currency, book_currency, sum(net_cost), sum(requests), sum(book_cost)
		FROM bi.charges_monthly GROUP BY ALL ORDER BY ALL`,
		`SELECT billing_month, period, currency, book_currency, sum(net_cost), sum(requests), sum(x)
		FROM (SELECT billing_month, period, account, cost_center, team, project, environment, gl_code, tags, pool, model,
			model_type, record_kind, charge_class, currency, book_currency, sum(net_cost) AS net_cost,
			sum(requests) AS requests, book_sum(book_cost, net_cost) AS x FROM chargeback_daily GROUP BY ALL)
		GROUP BY ALL ORDER BY ALL`},
	"what was used, by token and user": {`SELECT "month", period, book_date, usage_date, account, cost_center, pool,
			rule_id, token_id, user_id, custom_user_id, model, currency, sum(requests), sum(without_amount),
			sum(total_tokens), sum(list_cost), sum(discount), sum(net_cost), sum(book_cost)
		FROM bi.usage_by_user GROUP BY ALL ORDER BY ALL`, used},
	"records": {`SELECT "month", period, book_date, usage_date, account, cost_center, pool,
			rule_id, token_id, user_id, custom_user_id, model, currency, sum(requests), sum(without_amount),
			sum(total_tokens), sum(list_cost), sum(discount), sum(net_cost), sum(book_cost)
		FROM bi.records GROUP BY ALL ORDER BY ALL`, used},
	"each record once": {`SELECT account, request_time, id, "ordinal", net_cost FROM bi.records ORDER BY ALL`,
		`SELECT account, request_time, id, "ordinal", amount::DECIMAL(38,12) FROM usage ORDER BY ALL`},
	"without an owner": {`SELECT "month", account, token_id, user_id, currency, sum(net_cost), sum(requests)
		FROM bi.usage_by_user WHERE cost_center = '(unallocated)' GROUP BY ALL ORDER BY ALL`,
		`SELECT "month", account, token_id, user_id, currency, net_cost, requests FROM unallocated_spend ORDER BY ALL`},
	"months": {`SELECT "month", period, month_status, closed_at, completeness FROM bi.months
		WHERE "month" IN (SELECT "month" FROM period_status_and_corrections) ORDER BY ALL`,
		`SELECT DISTINCT "month", period, status, closed_at, completeness FROM period_status_and_corrections ORDER BY ALL`},
	"each month once": {`SELECT count(*), count(DISTINCT "month") = count(*) FROM bi.months`,
		`SELECT count(*), true FROM (SELECT "month" FROM month_completeness WHERE expected_seconds > 0
			UNION SELECT billing_month FROM chargeback_daily UNION SELECT "month" FROM closed_months)`},
	"months, in all": {`SELECT "month", currency, net_cost, corrections_in, corrections_out, book_cost FROM bi.month_totals
		ORDER BY ALL`, `SELECT "month", currency, net_cost, corrections_in, corrections_out, book_cost
		FROM period_status_and_corrections ORDER BY ALL`},
	"budgets": {`SELECT budget, period_start, period_end, currency, budget_amount, spent, forecast FROM bi.budget_periods
		ORDER BY ALL`, `SELECT budget, period_start, period_end, currency, amount, spent, forecast FROM budget_status
		ORDER BY ALL`},
	"forecasts": {`SELECT "month", period, "scope", scope_value, currency, spent, forecast FROM bi.forecasts ORDER BY ALL`,
		`SELECT "month", period_of("month"), "scope", scope_value, currency, spent, forecast FROM forecast_month_end
		ORDER BY ALL`},
	"accounts": {"SELECT account, covered_to FROM bi.freshness ORDER BY ALL",
		"SELECT account, covered_to FROM accounts ORDER BY ALL"},
}

const used = `SELECT month_of(u.book_date), period, book_date, usage_date, account,
		coalesce(cost_center, CASE WHEN pool IS NULL THEN '(unallocated)' END), pool,
		rule_id, token_id, user_id, custom_user_id, model, currency, count(*), count(*) - count(amount), sum(total_tokens),
		sum(total_amount), sum(discount_amount), sum(amount), sum(in_books(amount, currency, book_date))
	FROM allocated_usage u GROUP BY ALL ORDER BY ALL`

// saysWhatMainSays holds the semantic layer against main.
func saysWhatMainSays(t *testing.T, w *dayWriter) {
	t.Helper()
	text := func(query string) string {
		return strings.Join(w.Ask("SELECT list(r::VARCHAR) AS r FROM (SELECT row(*COLUMNS(*)) AS r FROM ("+query+"))"), "\n")
	}
	for what, query := range alike {
		got, want := text(query[0]), text(query[1])
		if w.One("SELECT count(*) > 0 AS a FROM usage") == "{'a': true}" && !strings.Contains(got, "(") {
			t.Errorf("bi says nothing, %s: %s", what, got)
		}
		if got != want {
			t.Errorf("bi says otherwise, %s: %s", what, schemastest.FirstDifference(strings.ReplaceAll(got, "),", "),\n"),
				strings.ReplaceAll(want, "),", "),\n")))
		}
	}
}

// biLake has all that may go wrong: names, a pool, a calendar and a zone of its own, rates, and one of them missing, a
// currency that isn't known, records without an amount, a closed month and what came for it later.
func biLake(t *testing.T) *dayWriter {
	w := newDayWriter(t, load.Options{})
	f := testFinance
	f.Rules = loadtest.Rules{Name: "a", Since: schemastest.Date("2026-08-01"), Pool: []string{"cc-0"}}
	var err error
	f.Books, err = schemas.MakeBooks(schemas.BookSettings{Zone: "America/New_York", FiscalYear: 4, Calendar: "4-4-5"})
	must(t, err)
	f.Names = []schemas.Name{{Kind: "cost_center", ID: "cc-2", Name: "Search"},
		{Kind: "account", ID: "acme", Name: "Acme"},
		{Kind: "model", ID: "model-1", Name: "Big"}, {Kind: "token", ID: "cc-2", Name: "no cost centre"}}
	f.Budgets = []schemas.Budget{{Name: "b", Scope: "cost_center", Value: "cc-2", Period: "quarter", Amount: money("1"),
		Currency: "USD"}}
	f.Archived = archived(f.Rules)
	f.Rates, err = schemas.MakeRates("EUR", "", []schemas.RateLine{{Date: schemastest.Date("2026-08-21"), From: "USD",
		To: "EUR", Rate: 9_123_456_789, Line: "rates.csv:2"}, {Date: schemastest.Date("2026-08-24"), From: "USD", To: "EUR",
		Rate: 9_000_000_001, Line: "rates.csv:3"}}) // none of September
	must(t, err)
	for i, day := range []string{"2026-08-22", "2026-08-23", "2026-08-24", "2026-09-26", "2026-09-28"} {
		p := schemas.Partition{Account: []string{"acme", "zeta-2"}[i%2], Date: schemastest.Date(day)}
		w.RandomDay(p, 40, int64(i))
	}
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-09-25")}
	w.Charges(p, loadtest.Charge(p, "a", "tk_2", "model-1", "1.000000000001", "USD"),
		loadtest.Charge(p, "b", "tk_2", "model-1", "2", ""), loadtest.Charge(p, "c", "tk_9", "model-1", "3", "EUR"),
		loadtest.Charge(p, "d", "tk_0", "model-1", "-0.5", "USD"))
	w.publish(PublishOptions{Finance: f})
	if _, err := w.closeMonth("2026-08", f); err != nil {
		t.Fatal(err)
	}
	late := schemas.Partition{Account: "zeta-2", Date: schemastest.Date("2026-08-21")}
	w.Charges(late, loadtest.Charge(late, "late", "tk_2", "model-1", "7", "USD"))
	w.publish(PublishOptions{Finance: f})
	return w
}

func TestTheSemanticLayerSaysWhatMainSays(t *testing.T) {
	w := biLake(t)
	saysWhatMainSays(t, w)
	for what, query := range map[string]string{
		"a correction": "SELECT count(*) > 0 AS a FROM bi.charges_daily WHERE charge_class = 'Correction'",
		"a currency that isn't known": "SELECT count(*) > 0 AND sum(net_cost) = 2 AS a FROM bi.records WHERE " +
			"currency IS NULL AND id = 'b'",
		"a period that is no calendar month": `SELECT bool_or(period LIKE '2026-P%' AND "month" <>
			date_trunc('month', book_date)) AS a FROM bi.usage_by_user`,
		"a name, of the kind that it is of": `SELECT bool_and(cost_center_name = 'Search') AS a FROM bi.charges_daily
			WHERE cost_center = 'cc-2'`,
		"a rate, and none": `SELECT count(book_cost) > 0 AND count(net_cost) > count(book_cost)
			AND bool_and(book_currency = 'EUR') AS a FROM bi.usage_by_user`,
		"a closed month": "SELECT bool_or(month_status = 'closed' AND corrected) AS a FROM bi.months",
	} {
		if got := w.One(query); got != "{'a': true}" {
			t.Errorf("the lake hasn't %s: %s", what, got)
		}
	}
}

// A name is one column: of one type, and with one meaning. And a view is called like nothing of main.
func TestANameOfTheSemanticLayerMeansOneThing(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
	w.RandomDay(p, 5, 1)
	w.publish(PublishOptions{})
	const bi = "FROM duckdb_columns() WHERE database_name = 'usage' AND schema_name = 'bi'"
	if rows := w.Ask(`SELECT column_name, list(DISTINCT data_type), list(DISTINCT "comment") ` + bi + ` GROUP BY 1
		HAVING count(DISTINCT data_type) > 1 OR count(DISTINCT "comment") > 1`); len(rows) > 0 {
		t.Errorf("two things by one name: %s", strings.Join(rows, "\n"))
	}
	// What main calls otherwise.
	if rows := w.Ask("SELECT table_name, column_name " + bi + ` AND column_name IN ('billing_month', 'amount', 'kind',
		'status', 'total_amount', 'discount_amount', 'line', 'note', 'records')`); len(rows) > 0 {
		t.Errorf("main's names: %v", rows)
	}
	if rows := w.Ask("SELECT column_name, data_type " + bi + ` AND data_type IN ('DOUBLE', 'FLOAT', 'HUGEINT')
		OR schema_name = 'bi' AND regexp_matches(data_type, 'STRUCT|\[\]')`); len(rows) > 0 {
		t.Errorf("no decimal, or no column that BI tools read: %v", rows)
	}
	if rows := w.Ask(`SELECT view_name FROM duckdb_views() WHERE schema_name = 'bi' AND view_name IN (
		SELECT table_name FROM duckdb_tables()
		UNION ALL SELECT view_name FROM duckdb_views() WHERE schema_name = 'main')`); len(rows) > 0 {
		t.Errorf("called like something of main: %v", rows)
	}
	if n := w.One("SELECT count(DISTINCT table_name) AS n " + bi); n != "{'n': 14}" {
		t.Errorf("%s views", n)
	}
}

// A tool may attach the file by whatever name and never USE it. What a view of bi names is looked up in bi alone then,
// so each names the schema.
func TestTheSemanticLayerAnswersWhereTheFileIsAttachedByAnotherName(t *testing.T) {
	w := biLake(t)
	d, err := openDatabase(t.Context(), engine{}, "", true)
	must(t, err)
	defer d.Close()
	must(t, d.Exec(t.Context(), "ATTACH "+SqlPath(w.lake.Database())+" AS june (READ_ONLY)"))
	views := texts(w.Ask("SELECT view_name AS t FROM duckdb_views() WHERE schema_name = 'bi' ORDER BY 1"))
	for _, v := range views {
		if err := d.Exec(t.Context(), "CREATE OR REPLACE TABLE x AS FROM june.bi."+v); err != nil {
			t.Errorf("%s: %v", v, err)
		}
		var n int
		must(t, d.conn.QueryRowContext(t.Context(), "SELECT count(*) FROM x").Scan(&n))
		if want := w.One("SELECT count(*) AS n FROM bi." + v); want != fmt.Sprintf("{'n': %d}", n) {
			t.Errorf("%s has %d rows, want %s", v, n, want)
		}
	}
	if !slices.Contains(views, "records") {
		t.Errorf("views: %v", views)
	}
}
