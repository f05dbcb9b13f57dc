package publish

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// financeViews are those of finance's questions, and those of the semantic layer.
func (w *dayWriter) financeViews() []string {
	w.T.Helper()
	return w.Ask(`SELECT schema_name || '.' || view_name AS view_name FROM duckdb_views() WHERE database_name = 'usage'
		AND NOT internal AND view_name NOT LIKE 'focus%' ORDER BY 1`)
}

func viewName(row string) string {
	return strings.TrimSuffix(strings.TrimPrefix(row, "{'view_name': "), "}")
}

// Whoever asks a view sees what people call what it is about: beside a column of ids there is one of names, or a reason
// why not.
func TestEveryViewNamesWhatItShows(t *testing.T) {
	w := financeLake(t)
	without := map[string]string{
		"completeness_now": "fills a table of facts", "recent_days": "facts that rates are made of",
		"scope_rates": "facts that forecasts are made of", "charged_in_each": "facts that forecasts are made of",
		"whole_days": "facts that rates are made of", "booked_usage": "records, with their book days",
		"comparable_days": "facts that comparisons are made of", "price_steps": "facts that price_changes names",
		"quality_issues":   "facts that anomalous_days and price_changes name",
		"usage_line_items": "records, as they came", "allocated_usage": "records, with what the rules say of each",
		"unallocated":   "rows of a table of facts; unallocated_spend names them",
		"usage_addends": "facts that sums are made of", "allocated_addends": "facts that sums are made of",
		"invoice_charges": "lines of invoices, that FOCUS's are made of",
		"prepaid_terms":   "facts that FOCUS goes by",
	}
	names := map[string]string{"account": "account_name", "cost_center": "cost_center_name", "model": "model_name",
		"token_id": "token_name", "user_id": "user_name", "scope_value": "scope_name"}
	for _, v := range w.financeViews() {
		v = strings.TrimPrefix(viewName(v), "main.")
		columns := w.Ask("SELECT column_name AS c FROM duckdb_columns() WHERE database_name = 'usage' AND '" + v +
			"' IN (table_name, schema_name || '.' || table_name)")
		for id, name := range names {
			has := func(c string) bool { return slices.Contains(columns, "{'c': "+c+"}") }
			if has(id) && !has(name) && without[v] == "" {
				t.Errorf("%s has %s, and nothing says what it is called", v, id)
			}
			if has(name) && without[v] != "" {
				t.Errorf("%s has names: no reason is needed why not", v)
			}
		}
	}
	// They are the names that the config gives.
	finance := testFinance
	finance.Names = []schemas.Name{{Kind: "cost_center", ID: "cc-2", Name: "Search"},
		{Kind: "account", ID: "acme", Name: "Acme Ltd"}, {Kind: "model", ID: "m1", Name: "Big"}}
	finance.Budgets = []schemas.Budget{{Name: "b", Scope: "cost_center", Value: "cc-2", Period: "month",
		Amount: money("1"), Currency: "USD"}}
	w.publish(PublishOptions{Finance: finance})
	for _, v := range []string{"budget_status", "budget_vs_actual", "forecast_month_end"} {
		if got := w.Ask(`SELECT DISTINCT scope_name AS n FROM ` + v +
			` WHERE "scope" = 'cost_center' AND scope_value = 'cc-2'`); !slices.Equal(got, []string{"{'n': Search}"}) {
			t.Errorf("%s calls it %v", v, got)
		}
	}
	for _, v := range []string{"chargeback_monthly", "spend_by_cost_center_month", "chargeback_journal"} {
		if got := w.Ask("SELECT DISTINCT cost_center_name AS n FROM " + v + " WHERE cost_center = 'cc-2'"); !slices.Equal(got,
			[]string{"{'n': Search}"}) {
			t.Errorf("%s calls it %v", v, got)
		}
	}
}

// A cost centre may be called like a pool: a unit cost says which it is of.
func TestACostCentreThatIsCalledLikeAPoolIsNoPool(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-05")}
	w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "3", "USD"), loadtest.Charge(p, "b", "tk_2", "model-1", "4", "USD"))
	for _, pool := range []string{"shared", "pool shared"} {
		rules := namedLikeAPool{loadtest.Rules{Name: pool, Since: schemastest.Date("2026-12-01"), Pool: []string{"cc-4"}},
			pool}
		w.publish(PublishOptions{Finance: Finance{Rules: rules}})
		w.Answers(map[string]string{
			`SELECT "scope" AS s, scope_value AS v, net_cost::INT AS n FROM unit_cost WHERE "scope" IN ('cost_center', 'pool')
				ORDER BY 1`: "{'s': cost_center, 'v': " + pool + ", 'n': 3}|{'s': pool, 'v': shared, 'n': 4}",
		})
	}
}

// namedLikeAPool gives what isn't the pool's to a cost centre of a name.
type namedLikeAPool struct {
	loadtest.Rules
	center string
}

func (r namedLikeAPool) Assign(k schemas.AllocationKey, day schemas.Date) schemas.Assignment {
	a := r.Rules.Assign(k, day)
	if a.Pool == "" {
		a.Owner.CostCenter = r.center
	}
	return a
}

// A session's time zone makes no difference: readers are where finance is, and days are UTC.
func TestTheViewsAnswerTheSameInEveryTimeZone(t *testing.T) {
	w := financeLake(t)
	d, err := openDatabase(t.Context(), engine{}, w.lake.Database(), true)
	must(t, err)
	defer d.Close()
	want := map[string]string{}
	for _, zone := range []string{"UTC", "America/Los_Angeles", "Asia/Tokyo", "Europe/Berlin"} {
		must(t, d.Exec(t.Context(), "SET TimeZone = '"+zone+"'"))
		for _, v := range w.financeViews() {
			var got string
			must(t, d.conn.QueryRowContext(t.Context(),
				"SELECT count(*) || ' ' || coalesce(bit_xor(hash(r)), 0) FROM "+viewName(v)+" r").Scan(&got))
			if zone == "UTC" {
				want[v] = got
			} else if got != want[v] {
				t.Errorf("%s is another in %s", v, zone)
			}
		}
	}
}

// Refunds may cancel out a month to next to nothing; shares of that are beyond any column, and no view fails of it.
func TestSharesOfNextToNothingFailNoView(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for i := range 40 {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-09-20") + schemas.Date(i)}
		w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "900000", "USD", "input_tokens=5::BIGINT",
			"cached_tokens=(-4)::BIGINT", "input_price=900000::DECIMAL(18,12)", "total_tokens=9000000000000000000::BIGINT"),
			loadtest.Charge(p, "b", "tk_3", "m2", "-899999.999999999999", "USD", "input_tokens=1::BIGINT",
				fmt.Sprintf("input_price=%s::DECIMAL(18,12)", []string{"900000", "0.000000000001"}[i%2])),
			loadtest.Charge(p, "c", "tk_4", "m3", []string{"0.000000000001", "900000"}[i/39], "USD"))
	}
	finance := testFinance
	finance.Budgets = []schemas.Budget{{Name: "least", Period: "month", Amount: money("0.000000000001"), Currency: "USD"}}
	w.Balance(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-15")}, "99999999999999999999", "5")
	w.publish(PublishOptions{Finance: finance})
	for _, v := range w.financeViews() {
		w.Ask("SELECT hash(r) AS h FROM " + viewName(v) + " r")
	}
	w.Answers(map[string]string{
		`SELECT net_cost, "share" FROM top_spenders WHERE "month" = '2026-09-01' AND scope_value = 'm1'`: "{'net_cost': " +
			"9900000.000000000000, 'share': NULL}",
	})
}

// A forecast goes by the days that were exported: a gap is no day without cost, the running day counts once, and an
// account that was quiet for weeks burns little.
func TestForecastsGoByTheDaysThatWereExported(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for i := range 20 {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01") + schemas.Date(i)}
		quiet := schemas.Partition{Account: "quiet", Date: p.Date}
		w.Charges(quiet, loadtest.Charge(quiet, "q", "tk_9", "m2", []string{"0", "18"}[i/18], "USD"))
		if i == 10 {
			continue
		}
		w.DayFrom(p, loadtest.Charge(p, "a", "tk_2", "m1", "10", "USD"), "d"+p.String(), func(f *schemas.DayFooter) {
			if i == 19 {
				f.Windows = f.Windows[1:]
				f.Windows[0].End = p.Date.Start().Add(18 * time.Hour)
			}
		})
	}
	// The day that acme lacks, and the end of the last, aren't there for anybody.
	for _, i := range []int{10, 19} {
		must(t, os.RemoveAll(w.lake.Partition(load.UsageDir, schemas.Partition{Account: "quiet",
			Date: schemastest.Date("2026-10-01") + schemas.Date(i)})))
	}
	finance := testFinance
	finance.Budgets = []schemas.Budget{
		{Name: "all", Scope: "account", Value: "acme", Period: "month", Amount: money("300"), Currency: "USD",
			Thresholds: []schemas.Decimal{500_000_000_000, 800_000_000_000}},
		{Name: "q", Scope: "account", Value: "acme", Period: "quarter", Amount: money("2000"), Currency: "USD"},
	}
	w.Balance(schemas.Partition{Account: "quiet", Date: schemastest.Date("2026-10-18")}, "180", "90")
	w.publish(PublishOptions{Finance: finance})
	w.Answers(map[string]string{
		"SELECT as_of, complete_before FROM data_as_of": "{'as_of': '2026-10-20 18:00:00+00', 'complete_before': 2026-10-20}",
		// 18 days of 10 are complete, the running one has its 10 too; 11 days and 6 hours are left, and a day is lacking.
		"SELECT spent, days_left, recent_rate, forecast, forecast_low, forecast_high, history_days FROM forecast_month_end " +
			"WHERE \"scope\" = 'account' AND scope_value = 'acme'": "{'spent': 190.000000000000, 'days_left': 12, " +
			"'recent_rate': 10.000000, 'forecast': 312.50, 'forecast_low': 312.50, 'forecast_high': 312.50, 'history_days': 18}",
		"SELECT spent, forecast, days_over, days_left, threshold_reached, status FROM budget_status " +
			"WHERE budget = 'all'": "{'spent': 190.000000000000, 'forecast': 312.50, " +
			"'days_over': 19, 'days_left': 12, 'threshold_reached': 0.500000000000, 'status': forecast over}",
		"SELECT period_start, period_end, forecast, status FROM budget_status WHERE budget = 'q'": "{'period_start': " +
			"2026-10-01, 'period_end': 2027-01-01, 'forecast': 922.50, 'status': ok}",
		"SELECT count(*) AS n FROM anomalous_days WHERE \"scope\" = 'account' AND scope_value = 'acme'": "{'n': 0}",
		// 18 in 18 days, all of it in the last week.
		"SELECT balance, burn_7_days, burn_28_days, days_left_7, days_left_28 FROM balance_runway " +
			"WHERE account = 'quiet'": "{'balance': 90.000000000000, 'burn_7_days': 2.571429, 'burn_28_days': 1.000000, " +
			"'days_left_7': 35.0, 'days_left_28': 90.0}",
		"SELECT gaps, missing_hours FROM data_freshness_and_gaps WHERE account = 'acme'": "{'gaps': 1, 'missing_hours': " +
			"24.00}",
	})
}

// On the first day there is nothing to forecast from: spent is there, and the forecast is NULL rather than what was
// spent.
func TestWithoutACompleteDayThereIsNoForecast(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-05")}
	w.DayFrom(p, loadtest.Charge(p, "a", "tk_2", "m1", "10", "USD"), "d", func(f *schemas.DayFooter) {
		f.Windows = f.Windows[1:]
		f.Windows[0].End = p.Date.Start().Add(6 * time.Hour)
	})
	finance := testFinance
	finance.Budgets = []schemas.Budget{{Name: "all", Period: "month", Amount: money("300"), Currency: "USD"}}
	w.publish(PublishOptions{Finance: finance})
	w.Answers(map[string]string{
		"SELECT spent, recent_rate, forecast FROM forecast_month_end WHERE \"scope\" = 'all'": "{'spent': " +
			"10.000000000000, 'recent_rate': NULL, 'forecast': NULL}",
		"SELECT spent, forecast, status FROM budget_status": "{'spent': 10.000000000000, 'forecast': NULL, 'status': ok}",
	})
}

// A correction that is charged in a month still to come counts in that month's budget, and a closed month without a
// charge is listed.
func TestCorrectionsInAMonthToComeCountInItsBudget(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	day := func(n int, amount string) {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01") + schemas.Date(n)}
		w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", amount, "USD"))
	}
	for i := range 31 {
		day(i, "10")
	}
	finance := testFinance
	finance.Archived = archived(finance.Rules)
	finance.Budgets = []schemas.Budget{{Name: "all", Period: "month", Amount: money("300"), Currency: "USD"},
		{Name: "q", Period: "quarter", Amount: money("300"), Currency: "USD"}}
	w.publish(PublishOptions{Finance: finance})
	for _, month := range []string{"2026-08", "2026-10"} {
		if _, err := w.closeMonth(month, finance); err != nil {
			t.Fatal(err)
		}
	}
	day(4, "12.5")
	w.publish(PublishOptions{Finance: finance})
	w.Answers(map[string]string{
		`SELECT budget, period_start, spent, status FROM budget_status ` +
			`WHERE period_start >= '2026-10-01' ORDER BY ALL`: "{'budget': all, 'period_start': 2026-10-01, 'spent': " +
			"310.000000000000, 'status': over}|{'budget': all, 'period_start': 2026-11-01, 'spent': 2.500000000000, " +
			"'status': forecast over}|{'budget': q, 'period_start': 2026-10-01, 'spent': 312.500000000000, 'status': over}",
		`SELECT "month", status, net_cost, corrections_in AS c, corrections_out AS o, corrected_in AS i
			FROM period_status_and_corrections ORDER BY 1`: "{'month': 2026-08-01, 'status': closed, 'net_cost': NULL, 'c': " +
			"NULL, 'o': NULL, 'i': NULL}|{'month': 2026-10-01, 'status': closed, 'net_cost': 310.000000000000, 'c': NULL, " +
			"'o': 2.500000000000, 'i': 2026-11-01}|{'month': 2026-11-01, 'status': current, 'net_cost': 2.500000000000, " +
			"'c': 2.500000000000, 'o': NULL, 'i': NULL}",
	})
}

// Budgets that are spent once and end on the same day are each counted from its own first day, in one row.
func TestBudgetsThatEndTogetherBeginApart(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for _, d := range []string{"2026-08-20", "2026-09-20", "2026-10-20"} {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date(d)}
		w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "10", "USD"))
	}
	finance, to := testFinance, schemastest.Date("2026-11-01")
	finance.Budgets = nil
	for _, from := range []string{"2026-08-01", "2026-09-01"} {
		from := schemastest.Date(from)
		finance.Budgets = append(finance.Budgets, schemas.Budget{Name: from.String(), Period: "once", Amount: money("300"),
			Currency: "USD", From: &from, To: &to})
	}
	w.publish(PublishOptions{Finance: finance})
	w.Answers(map[string]string{
		"SELECT budget, period_start, spent, days_over + days_left AS days FROM budget_status ORDER BY ALL": "{'budget': " +
			"2026-08-01, 'period_start': 2026-08-01, 'spent': 30.000000000000, 'days': 92}|{'budget': 2026-09-01, " +
			"'period_start': 2026-09-01, 'spent': 20.000000000000, 'days': 61}",
	})
}

// An account that was never fetched is as unfresh as can be; the last run's failures are those of the last run.
func TestFreshnessKnowsEveryAccountAndTheLastRun(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDays(2, 5)
	at := time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC)
	run := func(id string, hours int, failed ...schemas.FailedWindow) {
		started := at.Add(time.Duration(hours) * time.Hour)
		must(t, w.lake.AppendRun(schemas.Run{RunID: id, Command: "export", StartedAt: started,
			EndedAt: started.Add(time.Minute), Status: schemas.StatusDone, Accounts: []schemas.RunAccount{
				{Account: "acme", Status: schemas.StatusDone, Failed: failed},
				{Account: "refused", Status: schemas.StatusRefused}}}))
	}
	run("r1", 0, schemas.FailedWindow{Start: at, End: at.Add(time.Hour), Error: "x"})
	run("r2", 1)
	w.Balance(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-15")}, "7", "NULL")
	w.publish(PublishOptions{})
	w.Answers(map[string]string{
		"SELECT account, covered_to IS NULL AS never, run_id, run_status, failed_windows AS f FROM data_freshness_and_gaps " +
			"ORDER BY account": "{'account': acme, 'never': false, 'run_id': r2, 'run_status': done, 'f': 0}|{'account': " +
			"refused, 'never': true, 'run_id': r2, 'run_status': refused, 'f': 0}|{'account': zeta-2, 'never': false, " +
			"'run_id': NULL, 'run_status': NULL, 'f': 0}",
		"SELECT balance, observed_at = (SELECT max(observed_at) FROM balance) AS last FROM balance_runway": "{'balance': " +
			"NULL, 'last': true}",
	})
}

// An invoice that is detailed by account, model or day leaves out what it has no line for, and that is listed.
func TestAnInvoiceIsHeldAgainstWhatItLeavesOut(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for _, account := range []string{"acme", "zeta-2"} {
		for i := range 3 {
			p := schemas.Partition{Account: account, Date: schemastest.Date("2026-10-01") + schemas.Date(i)}
			w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "1.5", "USD"),
				loadtest.Charge(p, "b", "tk_2", "m2", "0.25", "USD"))
		}
	}
	acme, zeta, nobody, m1, m2 := "acme", "zeta-2", "nobody", "m1", "m2"
	from, to := schemastest.Date("2026-10-01"), schemastest.Date("2026-10-04")
	first, second := from, from+1
	line := func(invoice string, account string, model *string, date *schemas.Date, amount string) schemas.InvoiceLine {
		return schemas.InvoiceLine{Invoice: invoice, Account: account, From: from, To: to, Model: model, Date: date,
			Amount: money(amount), Currency: "USD", Source: "i.csv:1"}
	}
	finance := testFinance
	finance.Invoices = []schemas.InvoiceLine{
		line("BY-ACCOUNT", acme, &m1, nil, "4.5"), line("BY-ACCOUNT", acme, &m2, nil, "0.75"),
		line("BY-ACCOUNT", zeta, &m1, nil, "4.5"),
		line("BY-DAY", acme, &m1, &first, "1.5"), line("BY-DAY", acme, &m1, &second, "1.5"),
		line("BY-DAY", acme, &m2, nil, "0.76"),
		line("DAYS", "", nil, &first, "3.5"),
		line("WHO", nobody, nil, nil, "1"),
	}
	all := finance.Invoices
	ask := func(invoice string) string {
		return "SELECT account AS a, model AS m, day(usage_date) AS d, invoiced AS i, exported AS e, difference AS diff, " +
			"likely_causes LIKE '%no line%' AS l FROM invoice_reconciliation WHERE difference <> 0 AND kind <> 'sum' AND " +
			"invoice = '" + invoice + "' ORDER BY ALL"
	}
	for query, want := range map[string]string{
		ask("BY-ACCOUNT"): "{'a': zeta-2, 'm': m2, 'd': NULL, 'i': NULL, 'e': 0.750000000000, 'diff': 0.750000000000, 'l': " +
			"true}",
		ask("BY-DAY"): "{'a': acme, 'm': m1, 'd': 3, 'i': NULL, 'e': 1.500000000000, 'diff': 1.500000000000, 'l': " +
			"true}|{'a': acme, 'm': m2, 'd': NULL, 'i': 0.760000000000, 'e': 0.750000000000, 'diff': -0.010000000000, 'l': " +
			"NULL}",
		ask("DAYS"): "{'a': NULL, 'm': NULL, 'd': 2, 'i': NULL, 'e': 3.500000000000, 'diff': 3.500000000000, 'l': " +
			"true}|{'a': NULL, 'm': NULL, 'd': 3, 'i': NULL, 'e': 3.500000000000, 'diff': 3.500000000000, 'l': true}",
		"SELECT exported, likely_causes FROM invoice_reconciliation WHERE invoice = 'WHO'": "{'exported': " +
			"0.000000000000, 'likely_causes': nothing of this account was exported}",
		// What is listed of an invoice without a total sums to what was used.
		"SELECT kind = 'sum' AS s, sum(exported) AS e, sum(invoiced) AS i FROM invoice_reconciliation WHERE invoice = " +
			"'BY-DAY' GROUP BY s ORDER BY s": "{'s': false, 'e': 5.250000000000, 'i': 3.760000000000}|{'s': true, 'e': " +
			"5.250000000000, 'i': 3.760000000000}",
		"SELECT kind = 'sum' AS s, sum(exported) AS e, sum(invoiced) AS i FROM invoice_reconciliation WHERE invoice = " +
			"'DAYS' GROUP BY s ORDER BY s": "{'s': false, 'e': 10.500000000000, 'i': 3.500000000000}|{'s': true, 'e': " +
			"10.500000000000, 'i': 3.500000000000}",
	} {
		finance.Invoices = slices.DeleteFunc(slices.Clone(all),
			func(l schemas.InvoiceLine) bool { return !strings.Contains(query, "'"+l.Invoice+"'") })
		w.publish(PublishOptions{Finance: finance})
		w.Answers(map[string]string{query: want})
	}
}

// Invoices of one period are held against what the others of it leave, whole bills and lines of models, and their sum
// against usage.
func TestInvoicesOfAPeriodAreHeldAgainstWhatTheOthersLeave(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for i := range 31 {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01") + schemas.Date(i)}
		w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "2", "USD"), loadtest.Charge(p, "b", "tk_2", "m2", "1", "USD"))
	}
	m1, m2 := "m1", "m2"
	from, to := schemastest.Date("2026-10-01"), schemastest.Date("2026-11-01")
	line := func(invoice string, model *string, amount string) schemas.InvoiceLine {
		return schemas.InvoiceLine{Invoice: invoice, From: from, To: to, Model: model, Amount: money(amount), Currency: "USD",
			Source: "i.csv:1"}
	}
	const ask = "SELECT kind || ' ' || invoice || ' ' || coalesce(model, '-') AS l, other_invoices::DOUBLE AS o, " +
		"exported::DOUBLE AS e, difference::DOUBLE AS d FROM invoice_reconciliation ORDER BY kind, invoice, model"
	for name, c := range map[string]struct {
		lines []schemas.InvoiceLine
		want  string
	}{
		"one": {[]schemas.InvoiceLine{line("A", nil, "93")}, "{'l': line A -, 'o': 0.0, 'e': 93.0, 'd': 0.0}"},
		"two": {[]schemas.InvoiceLine{line("A", nil, "60"), line("B", nil, "33")},
			"{'l': line A -, 'o': 33.0, 'e': 93.0, 'd': 0.0}|{'l': line B -, 'o': 60.0, 'e': 93.0, 'd': 0.0}|{'l': 'sum A, B " +
				"-', 'o': 0.0, 'e': 93.0, 'd': 0.0}"},
		"a credit note": {[]schemas.InvoiceLine{line("A", nil, "100"), line("C", nil, "-10")},
			"{'l': line A -, 'o': -10.0, 'e': 93.0, 'd': 3.0}|{'l': line C -, 'o': 100.0, 'e': 93.0, 'd': 3.0}|{'l': 'sum " +
				"A, C -', 'o': 0.0, 'e': 93.0, 'd': 3.0}"},
		"a credit note for some days of it": {[]schemas.InvoiceLine{line("A", nil, "100"),
			{Invoice: "C", From: from + 3, To: from + 9, Amount: money("-7"), Currency: "USD", Source: "i.csv:3"}},
			"{'l': line A -, 'o': -7.0, 'e': 93.0, 'd': 0.0}|{'l': line C -, 'o': 100.0, 'e': 93.0, 'd': 0.0}|{'l': 'sum A, C " +
				"-', 'o': 0.0, 'e': 93.0, 'd': 0.0}"},
		"an invoice for each model": {[]schemas.InvoiceLine{line("A", &m1, "62"), line("B", &m2, "31")},
			"{'l': line A m1, 'o': 0.0, 'e': 62.0, 'd': 0.0}|{'l': line B m2, 'o': 0.0, 'e': 31.0, 'd': 0.0}|{'l': 'sum A, B " +
				"-', 'o': 0.0, 'e': 93.0, 'd': 0.0}"},
		"by model, and a credit note for one": {[]schemas.InvoiceLine{line("A", &m1, "70"), line("A", &m2, "31"),
			line("C", &m1, "-8")},
			"{'l': line A m1, 'o': -8.0, 'e': 62.0, 'd': 0.0}|{'l': line A m2, 'o': 0.0, 'e': 31.0, 'd': 0.0}|{'l': line C " +
				"m1, 'o': 70.0, 'e': 62.0, 'd': 0.0}|{'l': 'sum A, C -', 'o': 0.0, 'e': 93.0, 'd': 0.0}"},
		"by model with a total": {[]schemas.InvoiceLine{line("A", nil, "93"), line("A", &m1, "62"), line("A", &m2, "31")},
			"{'l': line A m1, 'o': 0.0, 'e': 62.0, 'd': 0.0}|{'l': line A m2, 'o': 0.0, 'e': 31.0, 'd': 0.0}|{'l': line A -, " +
				"'o': 0.0, 'e': 93.0, 'd': 0.0}"},
		"a model that neither has": {[]schemas.InvoiceLine{line("A", &m1, "60"), line("B", &m1, "2")},
			"{'l': line A m1, 'o': 2.0, 'e': 62.0, 'd': 0.0}|{'l': line B m1, 'o': 60.0, 'e': 62.0, 'd': 0.0}|{'l': 'no line " +
				"A, B m2', 'o': 0.0, 'e': 31.0, 'd': 31.0}|{'l': 'sum A, B -', 'o': 0.0, 'e': 93.0, 'd': 31.0}"},
	} {
		w.publish(PublishOptions{Finance: Finance{Invoices: c.lines}})
		if got := strings.Join(w.Ask(ask), "|"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// A difference that the hours at the edges of a month explain is another time zone's, of whole and of half hours; one
// that they don't explain isn't. What was fetched once, however late, brought nothing late.
func TestAnotherTimeZoneIsALikelyCauseWhereTheEdgesExplainIt(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for i := range 33 {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-09-30") + schemas.Date(i)}
		var rows []string
		for h := range 48 { // each half hour costs something of its own
			amount := fmt.Sprintf("%d.%03d", (i*7919+h*1013)%7, (i*7919+h*104729)%997)
			rows = append(rows, loadtest.Charge(p, fmt.Sprint(h), "tk_2", "m1", amount, "USD",
				fmt.Sprintf("request_time=TIMESTAMPTZ '%s 00:10:00+00' + INTERVAL %d MINUTE", p.Date, 30*h)))
		}
		w.Charges(p, rows...)
	}
	w.publish(PublishOptions{})
	for zone, want := range map[string]string{"0": "", "480": "UTC+8", "330": "UTC+5:30", "-300": "UTC−5",
		"-180": "UTC−3"} {
		sum := strings.Trim(w.One("SELECT sum(amount)::VARCHAR AS s FROM usage WHERE request_time + INTERVAL ("+zone+
			") MINUTE >= TIMESTAMPTZ '2026-10-01 00:00:00+00' AND request_time + INTERVAL ("+zone+
			") MINUTE < TIMESTAMPTZ '2026-11-01 00:00:00+00'"), "{}'s: ")
		for add, explains := range map[string]bool{"0": true, "0.004": true, "5": false} {
			total := money(sum).Add(money(add))
			w.publish(PublishOptions{Finance: Finance{Invoices: []schemas.InvoiceLine{{Invoice: "A",
				From: schemastest.Date("2026-10-01"), To: schemastest.Date("2026-11-01"), Amount: total, Currency: "USD",
				Source: "i.csv:2"}}}})
			got := w.One("SELECT coalesce(likely_causes, '') AS c FROM invoice_reconciliation")
			if strings.Contains(got, "time zone") != (explains && want != "") || explains && !strings.Contains(got, want) {
				t.Errorf("%s and %s: %s", zone, add, got)
			}
			if strings.Contains(got, "late") {
				t.Errorf("nothing came late: %s", got)
			}
		}
	}
}

// tagRules splits the pool between two owners that differ in their tags alone.
type tagRules struct{ loadtest.Rules }

func (r tagRules) Split(costs []schemas.PoolCost, direct []schemas.DirectCost) ([]schemas.PoolShare, error) {
	out, err := r.Rules.Split(costs, direct)
	for i := range out {
		out[i].Owner = schemas.Owner{CostCenter: "cc-0", Tags: fmt.Sprintf(`{"n":"%s"}`, out[i].Owner.CostCenter)}
	}
	return out, err
}

func TestOwnersThatDifferInTagsHaveSharesOfTheirOwn(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
	w.Charges(p, loadtest.Charge(p, "a", "tk_2", "model-1", "4", "USD"))
	w.publish(PublishOptions{Finance: Finance{Rules: tagRules{loadtest.Rules{Name: "t", Since: p.Date,
		Pool: []string{"a", "b"}}}}})
	w.Answers(map[string]string{
		"SELECT tags, ratio, net_cost FROM shared_cost_split ORDER BY ALL": `{'tags': '{"n":"a"}', 'ratio': ` +
			`0.500000000000, 'net_cost': 2.000000000000}|{'tags': '{"n":"b"}', 'ratio': 0.500000000000, 'net_cost': ` +
			`2.000000000000}`,
	})
}

// The journal, the drivers and what the cache saves, computed by hand.
func TestJournalDriversAndCacheByHand(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	tokens := func(p schemas.Partition, id, amount, input, cached, total string) string {
		return loadtest.Charge(p, id, "tk_2", "m1", amount, "USD", "input_tokens="+input, "cached_tokens="+cached,
			"total_tokens="+total+"::BIGINT", "input_price=3::DECIMAL(18,12)", "cached_price=0.3::DECIMAL(18,12)")
	}
	september, october := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-09-01")},
		schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
	w.Charges(september, tokens(september, "a", "2.46", "800000::BIGINT", "200000::BIGINT", "1000000"))
	w.Charges(october, tokens(october, "a", "3.84", "1200000::BIGINT", "800000::BIGINT", "2000000"),
		loadtest.Charge(october, "b", "tk_4", "m3", "0.334", "USD"),
		loadtest.Charge(october, "c", "tk_6", "m3", "0.333", "USD"),
		loadtest.Charge(october, "d", "tk_8", "m3", "0.333", "USD"),
		loadtest.Charge(october, "e", "tk_1", "m3", "-0.005", "EUR"),
		loadtest.Charge(october, "f", "tk_0", "m3", "-0.002", "EUR"),
		loadtest.Charge(october, "g", "tk_1", "m3", "7", ""))
	w.publish(PublishOptions{Finance: Finance{Rules: loadtest.Rules{Name: "a", Since: schemastest.Date("2026-12-01")},
		GLCode: "6999", CreditGLCode: "2100"}})
	w.Answers(map[string]string{
		"SELECT entry AS e, currency AS c, gl_code AS g, cost_center AS o, amount AS a, posted AS p FROM " +
			"chargeback_journal WHERE \"month\" = '2026-10-01' AND currency = 'USD' ORDER BY e DESC, o": "{'e': debit, 'c': " +
			"USD, 'g': 6999, 'o': cc-2, 'a': 3.840000000000, 'p': 3.8400}|{'e': debit, 'c': USD, 'g': 6100, 'o': cc-4, 'a': " +
			"0.334000000000, 'p': 0.3400}|{'e': debit, 'c': USD, 'g': 6999, 'o': cc-6, 'a': 0.333000000000, 'p': " +
			"0.3300}|{'e': debit, 'c': USD, 'g': 6999, 'o': cc-8, 'a': 0.333000000000, 'p': 0.3300}|{'e': credit, 'c': USD, " +
			"'g': 2100, 'o': NULL, 'a': -4.840000000000, 'p': -4.8400}",
		// −0.005 and −0.002 are −0.007, a cent: it is −0.005's.
		"SELECT entry AS e, cost_center AS o, amount AS a, posted AS p FROM chargeback_journal WHERE \"month\" = " +
			"'2026-10-01' AND currency = 'EUR' ORDER BY e DESC, o": "{'e': debit, 'o': '(unallocated)', 'a': " +
			"-0.005000000000, 'p': -0.0100}|{'e': debit, 'o': cc-0, 'a': -0.002000000000, 'p': 0.0000}|{'e': credit, 'o': " +
			"NULL, 'a': 0.007000000000, 'p': 0.0100}",
		"SELECT entry AS e, amount AS a, posted AS p FROM chargeback_journal " +
			"WHERE currency IS NULL ORDER BY e DESC": "{'e': debit, 'a': 7.000000000000, 'p': 7.0000}|{'e': credit, " +
			"'a': -7.000000000000, 'p': -7.0000}",
		"SELECT change, volume, mix, cache, price FROM month_over_month_drivers WHERE model = 'm1'": "{'change': " +
			"1.380000000000, 'volume': 2.460738000000, 'mix': -0.000738000000, 'cache': -1.080000000000, 'price': " +
			"0.000000000000}",
		"SELECT currency, change, mix FROM month_over_month_drivers WHERE model = 'm3' ORDER BY ALL": "{'currency': EUR, " +
			"'change': -0.007000000000, 'mix': -0.007000000000}|{'currency': USD, 'change': 1.000000000000, 'mix': " +
			"1.000000000000}|{'currency': NULL, 'change': 7.000000000000, 'mix': 7.000000000000}",
		"SELECT cached_share, cached_cost, saved FROM cache_savings WHERE \"month\" = '2026-10-01' AND cached_tokens IS " +
			"NOT NULL": "{'cached_share': 0.400000, 'cached_cost': 0.240000000000, 'saved': " +
			"2.160000000000}",
		"SELECT per_request, per_million_tokens, per_active_user FROM unit_cost WHERE \"scope\" = 'model' AND " +
			"scope_value = 'm1' AND \"month\" = '2026-10-01'": "{'per_request': 3.840000, 'per_million_tokens': 1.920000, " +
			"'per_active_user': 3.840000}",
		"SELECT currency, net_cost, direct_cost FROM spend_by_cost_center_month WHERE cost_center = '(unallocated)' ORDER " +
			"BY ALL": "{'currency': EUR, 'net_cost': -0.005000000000, 'direct_cost': " +
			"-0.005000000000}|{'currency': NULL, 'net_cost': 7.000000000000, 'direct_cost': 7.000000000000}",
	})
}

// What was used between two looks at the balance is what lies from the one to just before the other, to the
// microsecond.
func TestBalancesAreReconciledToTheMicrosecond(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-05")}
	at := func(id, time, amount string) string {
		return loadtest.Charge(p, id, "tk_2", "m1", amount, "USD", "request_time=TIMESTAMPTZ '2026-10-05 "+time+"+00'")
	}
	w.Charges(p, at("a", "00:00:00", "4"), at("b", "00:59:59.999999", "5"), at("c", "01:00:00", "7"),
		at("d", "01:30:00", "1"), at("e", "02:00:00", "50"))
	before := schemas.Partition{Account: "acme", Date: p.Date - 1}
	w.Charges(before, loadtest.Charge(before, "z", "tk_2", "m1", "1000", "USD"))
	w.Balance(p, "100", "90", "120")
	w.publish(PublishOptions{})
	w.Answers(map[string]string{
		"SELECT opening::INT AS o, top_ups::INT AS t, used::INT AS u, unexplained::INT AS x, closing::INT AS c, inferred " +
			"AS i, requests AS n FROM balance_reconciliation ORDER BY closed_at": "{'o': 100, 't': 0, 'u': 9, 'x': -1, 'c': " +
			"90, 'i': false, 'n': 2}|{'o': 90, 't': 38, 'u': 8, 'x': NULL, 'c': 120, 'i': true, 'n': 2}",
	})
}

// A question about a month looks for it in the records, and not in what was summed of all of them.
func TestAConditionOnAMonthIsMetBeforeAnythingIsSummed(t *testing.T) {
	w := financeLake(t)
	d, err := openDatabase(t.Context(), engine{}, w.lake.Database(), true)
	must(t, err)
	defer d.Close()
	type node struct {
		Name     string         `json:"name"`
		Children []node         `json:"children"`
		More     map[string]any `json:"extra_info"`
	}
	for view, column := range map[string]string{
		"focus_charges": "billing_month", "top_spenders": `"month"`, "unit_cost": `"month"`, "cache_savings": `"month"`,
		"discount_realised": `"month"`,
	} {
		var what, plan string
		must(t, d.conn.QueryRowContext(t.Context(),
			"EXPLAIN (FORMAT json) FROM "+view+" WHERE "+column+" = DATE '2026-10-01'").Scan(&what, &plan))
		var roots []node
		must(t, json.Unmarshal([]byte(plan), &roots))
		var gathers func(node) bool
		gathers = func(n node) bool {
			return strings.Contains(n.Name, "GROUP_BY") || n.Name == "UNION" || slices.ContainsFunc(n.Children, gathers)
		}
		var look func(node)
		look = func(n node) {
			if text := fmt.Sprint(n.More); n.Name == "FILTER" && strings.Contains(text, "date_trunc") &&
				strings.Contains(text, "usage_date") && gathers(n) {
				t.Errorf("%s: the month is looked for in all that was gathered: %s", view, text)
			}
			for _, c := range n.Children {
				look(c)
			}
		}
		for _, n := range roots {
			look(n)
		}
	}
}

// The balance's course can fail: what the file of top-ups doesn't explain is unexplained, whichever way the balance
// went. Without a file nothing was checked where a top-up is inferred, and it says so. Coupons count, in both readings.
func TestTheBalancesCourseIsCheckedOrSaysThatItIsNot(t *testing.T) {
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-05")}
	top := func(amount, kind string) schemas.TopUp {
		return schemas.TopUp{Account: "acme", Date: p.Date, Amount: money(amount), Currency: "USD", Kind: kind,
			Source: "topups.csv:2"}
	}
	for name, c := range map[string]struct {
		used     string
		balances []string // balance, coupon_balance, total_coupon_amount
		given    bool
		topUps   []schemas.TopUp
		want     string
	}{
		"as the file says": {"80", []string{"100", "70"}, true, []schemas.TopUp{top("50", "paid")},
			"top 50 coupons 0 unexplained 0 beside NULL checked true"},
		"less than the file says": {"80", []string{"100", "60"}, true, []schemas.TopUp{top("50", "paid")},
			"top 50 coupons 0 unexplained -10 beside NULL checked true"},
		"it rose, and the file is less": {"80", []string{"100", "170"}, true, []schemas.TopUp{top("100", "paid")},
			"top 100 coupons 0 unexplained 50 beside NULL checked true"},
		"it rose, and the file is empty": {"80", []string{"100", "170"}, true, nil,
			"top 0 coupons 0 unexplained 150 beside NULL checked true"},
		"it fell, without a file": {"80", []string{"100", "70"}, false, nil,
			"top 50 coupons 0 unexplained NULL beside NULL checked false"},
		"it rose, without a file": {"80", []string{"100", "170"}, false, nil,
			"top 150 coupons 0 unexplained NULL beside NULL checked false"},
		"too low, without a file": {"80", []string{"100", "15"}, false, nil,
			"top 0 coupons 0 unexplained -5 beside NULL checked true"},
		"cents, without a file": {"80", []string{"100", "20.02"}, false, nil,
			"top 0 coupons 0 unexplained 0.02 beside NULL checked true"},
		"a coupon in the balance": {"80", []string{"100,0,0", "40,20,20"}, true, []schemas.TopUp{top("20", "coupon")},
			"top 20 coupons 20 unexplained 0 beside 20 checked true"},
		"a coupon beside the balance": {"80", []string{"100,0,0", "20,20,20"}, true, []schemas.TopUp{top("20", "coupon")},
			"top 20 coupons 20 unexplained -20 beside 0 checked true"},
		"a coupon that the API tells of": {"80", []string{"100,0,0", "20,20,20"}, false, nil,
			"top 20 coupons 20 unexplained -20 beside 0 checked true"},
		"used from a coupon": {"80", []string{"100,30,30", "50,0,30"}, true, nil,
			"top 0 coupons 0 unexplained 30 beside 0 checked true"},
		"used from a coupon, no file": {"80", []string{"100,30,30", "50,0,30"}, false, nil,
			"top 0 coupons 0 unexplained 30 beside 0 checked true"},
	} {
		w := newDayWriter(t, load.Options{})
		w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", c.used, "USD",
			"request_time=TIMESTAMPTZ '2026-10-05 00:30:00+00'"))
		w.Balance(p, c.balances...)
		w.publish(PublishOptions{Finance: Finance{TopUps: c.topUps, TopUpsGiven: c.given}})
		number := func(column string) string {
			return "coalesce(rtrim(rtrim(" + column + "::VARCHAR, '0'), '.'), 'NULL')"
		}
		got := w.One("SELECT 'top ' || " + number("top_ups") + " || ' coupons ' || " + number("coupons") +
			" || ' unexplained ' || " + number("unexplained") + " || ' beside ' || " + number("unexplained_coupons_beside") +
			" || ' checked ' || checked AS s FROM balance_reconciliation")
		if got != "{'s': "+c.want+"}" {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		says := w.One("SELECT coalesce(note, '') AS s FROM balance_reconciliation")
		if strings.Contains(says, "nothing was checked") != strings.HasSuffix(c.want, "false") ||
			strings.Contains(says, "beside") != strings.Contains(strings.Join(c.balances, ""), ",") {
			t.Errorf("%s: it says %s", name, says)
		}
	}
}

// A top-up of a day is of the look that it fits, and one that is booked where nothing was looked at is of none.
func TestATopUpIsOfTheLookThatItFits(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-05")}
	w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "1", "USD", "request_time=TIMESTAMPTZ '2026-10-05 00:30:00+00'"))
	w.Balance(p, "100", "99", "149", "149", "229")
	top := func(amount string) schemas.TopUp {
		return schemas.TopUp{Account: "acme", Date: p.Date, Amount: money(amount), Currency: "USD", Kind: "paid",
			Source: "t.csv:1"}
	}
	lost := top("7")
	lost.Date += 3
	w.publish(PublishOptions{Finance: Finance{TopUpsGiven: true, TopUps: []schemas.TopUp{top("50"), top("70"), lost}}})
	w.Answers(map[string]string{
		"SELECT top_ups::INT AS t, unexplained::INT AS x FROM balance_reconciliation ORDER BY closed_at": "{'t': 0, 'x': " +
			"0}|{'t': 50, 'x': 0}|{'t': 0, 'x': 0}|{'t': 70, 'x': 10}",
	})
}
