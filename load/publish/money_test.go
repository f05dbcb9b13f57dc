package publish

import (
	"fmt"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// A currency's own minor unit decides what is posted, and how an amount is written: half is rounded away from zero.
func TestMoneyIsPostedInTheMinorUnitOfItsCurrency(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
	w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "49.625", "USD"),
		loadtest.Charge(p, "b", "tk_2", "m1", "1234.5", "JPY"), loadtest.Charge(p, "c", "tk_2", "m1", "1.0005", "KWD"),
		loadtest.Charge(p, "d", "tk_2", "m1", "-49.625", "EUR"), loadtest.Charge(p, "e", "tk_2", "m1", "0.00005", "CLF"))
	w.publish(PublishOptions{Finance: Finance{Rules: loadtest.Rules{Name: "a", Since: schemastest.Date("2026-12-01")}}})
	w.Answers(map[string]string{
		"SELECT currency AS c, posted AS p FROM chargeback_journal WHERE entry = 'debit' ORDER BY c": "{'c': CLF, 'p': " +
			"0.0001}|{'c': EUR, 'p': -49.6300}|{'c': JPY, 'p': 1235.0000}|{'c': KWD, 'p': 1.0010}|{'c': USD, 'p': 49.6300}",
		"SELECT sum(posted) AS p FROM chargeback_journal": "{'p': 0.0000}",
	})
	// The file says it as the program does.
	for _, currency := range []string{"USD", "JPY", "KWD", "CLF", "???"} {
		for _, amount := range []string{"0", "0.005", "-0.005", "0.004999999999", "1", "999.995", "1234.5", "-1234567.891",
			"-999999.9995", "12345678901234567890.123456789012", "0.00005"} {
			n, err := schemas.ParseMoney(amount)
			must(t, err)
			want := fmt.Sprintf("{'m': '%s'}", n.In(currency).Amount())
			if got := w.Ask(fmt.Sprintf("SELECT money_text(%s::DECIMAL(38,12), '%s') AS m", amount,
				currency)); strings.ReplaceAll(got[0], "'", "") != strings.ReplaceAll(want, "'", "") {
				t.Errorf("%s %s is %s in SQL, and %s elsewhere", amount, currency, got, want)
			}
		}
	}
}

// Views that use the file's own macro answer for who attached the file under another name.
func TestTheViewsAnswerWhereTheFileIsAttached(t *testing.T) {
	w := financeLake(t)
	d, err := openDatabase(t.Context(), engine{}, w.lake.Database(), true)
	must(t, err)
	defer d.Close()
	must(t, d.Exec(t.Context(), "ATTACH ':memory:' AS own", "USE own"))
	var n int
	must(t, d.conn.QueryRowContext(t.Context(), "SELECT count(detail) FROM usage.anomalous_days").Scan(&n))
	must(t, d.conn.QueryRowContext(t.Context(), "SELECT count(posted) FROM usage.chargeback_journal").Scan(&n))
}

// What refunds make of a month has no share and no change in percent, and its forecast lies in its range.
func TestBelowZeroSaysNothingWhereItMeansNothing(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for i := range 20 {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01") + schemas.Date(i)}
		w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", []string{"-1.5", "-2.5", "-1"}[i%3], "USD"),
			loadtest.Charge(p, "b", "tk_3", "m2", []string{"3", "-3"}[i%2], "EUR"),
			loadtest.Charge(p, "c", "tk_4", "m1", "2", "EUR"), loadtest.Charge(p, "d", "tk_5", "m3", "-1", "EUR"))
	}
	finance := testFinance
	finance.Budgets = []schemas.Budget{{Name: "b", Period: "month", Amount: money("100"), Currency: "USD"}}
	w.publish(PublishOptions{Finance: finance})
	w.Answers(map[string]string{
		`SELECT count(*) AS n FROM forecast_month_end WHERE NOT (forecast_low <= forecast AND forecast <= forecast_high
			AND forecast_low < forecast)`: "{'n': 0}",
		`SELECT count(*) AS n FROM budget_status ` +
			`WHERE NOT (forecast_low < forecast AND forecast < forecast_high)`: "{'n': 0}",
		`SELECT DISTINCT "share" FROM top_spenders ` +
			`WHERE currency = 'EUR' AND "scope" = 'model'`: "{'share': NULL}",
		`SELECT DISTINCT "share" FROM top_spenders ` +
			`WHERE currency = 'USD' AND "scope" = 'model'`: "{'share': 1.000000}",
	})
}

// Names are published with the file, and changed names make it stale.
func TestNamesArePublishedAndPartOfTheDigest(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
	w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "1", "USD"), loadtest.Charge(p, "b", "tk_3", "m1", "2", "USD"))
	finance := testFinance
	for _, name := range []string{"Nightly", "Daily"} {
		finance.Names = []schemas.Name{{Kind: "token", ID: "tk_2", Name: name}, {Kind: "user", ID: "u1", Name: "Ann"},
			{Kind: "user", ID: "tk_2", Name: "no token"}}
		w.publish(PublishOptions{Finance: finance})
		w.Answers(map[string]string{
			`SELECT scope_value AS v, scope_name AS n FROM top_spenders WHERE "scope" = 'token' ORDER BY v`: "{'v': tk_2, " +
				"'n': " + name + "}|{'v': tk_3, 'n': NULL}",
			`SELECT scope_value AS v, scope_name AS n FROM top_spenders WHERE "scope" = 'user'`: "{'v': u1, 'n': Ann}",
			"SELECT token_id AS v, token_name AS n, user_name AS u FROM unallocated_spend " +
				"WHERE token_id = 'tk_2'": strings.Join(w.Ask(
				"SELECT token_id AS v, name_of('token', token_id) AS n, 'Ann' AS u FROM unallocated_spend "+
					"WHERE token_id = 'tk_2'"), "|"),
			"SELECT count(*) AS n FROM names": "{'n': 3}",
		})
	}
}
