package publish

import (
	"fmt"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// span writes days of an account from a day on, a charge of an amount on each; days that skip names are not fetched.
func (w *dayWriter) span(account, from string, days int, amount string, skip ...int) {
	w.T.Helper()
	skipped := map[int]bool{}
	for _, n := range skip {
		skipped[n] = true
	}
	for i := range days {
		if skipped[i] {
			continue
		}
		p := schemas.Partition{Account: account, Date: schemastest.Date(from) + schemas.Date(i)}
		w.Charges(p, loadtest.Charge(p, "r-"+account, "tk_"+account, "m-"+account, amount, "USD"))
	}
}

// budgetOf is a budget of a month, on a cost centre or an account.
func budgetOf(scope, value, amount string) schemas.Budget {
	return schemas.Budget{Name: "b", Scope: scope, Value: value, Period: "month", Amount: money(amount), Currency: "USD"}
}

// An account that began two days ago is forecast by its own two days, and so is the sum of all.
func TestANewAccountIsForecastByItsOwnDays(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.span("old", "2026-10-01", 45, "5")
	w.span("new", "2026-11-13", 2, "10")
	w.publish(PublishOptions{Finance: Finance{Accounts: []string{"old", "new"},
		Budgets: []schemas.Budget{budgetOf("account", "new", "150")}}})
	w.Answers(map[string]string{
		`SELECT "scope" AS s, scope_value AS v, spent::INT AS spent, forecast AS f, history_days AS h FROM forecast_month_end
			WHERE "scope" IN ('all', 'account') ORDER BY ALL`: "{'s': account, 'v': new, 'spent': 20, 'f': 180.00, 'h': " +
			"2}|{'s': account, 'v': old, 'spent': 70, 'f': 150.00, 'h': 28}|{'s': all, 'v': NULL, 'spent': 90, 'f': 330.00, " +
			"'h': 2}",
		`SELECT forecast AS f, status AS s, completeness AS c FROM budget_status ` +
			`WHERE period_start = '2026-11-01'`: "{'f': 180.00, 's': forecast over, 'c': '48 of 720 " +
			"hours (account new lacks 288), as of 2026-11-15 00:00 UTC'}",
		`SELECT completeness AS c FROM month_completeness WHERE "month" = '2026-11-01'`: "{'c': '48 of 720 hours " +
			"(account new lacks 288), as of 2026-11-15 00:00 UTC'}",
	})
}

// An account that is behind is forecast from where it is, and its days that weren't fetched are no drops.
func TestAnAccountThatIsBehindIsForecastFromWhereItIs(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.span("a", "2026-10-01", 55, "10")
	w.span("b", "2026-10-01", 50, "20")
	w.publish(PublishOptions{Finance: Finance{Rules: loadtest.Rules{Name: "a"}, Accounts: []string{"a", "b"},
		Budgets: []schemas.Budget{budgetOf("account", "b", "550")}}})
	w.Answers(map[string]string{
		`SELECT forecast AS f, status AS s FROM budget_status WHERE period_start = '2026-11-01'`: "{'f': " +
			"600.00, 's': forecast over}",
		`SELECT forecast AS f, completeness AS c FROM forecast_month_end WHERE "scope" = 'all'`: "{'f': " +
			"900.00, 'c': '456 of 720 hours (account b lacks 120), as of 2026-11-25 00:00 UTC'}",
		`SELECT forecast AS f FROM forecast_month_end WHERE "scope" = 'account' AND scope_value = 'b'`: "{'f': 600.00}",
		`SELECT count(*) AS n FROM anomalous_days WHERE kind = 'drop'`:                                 "{'n': 0}",
		`SELECT days_left_28 AS d, burn_28_days AS b FROM balance_runway`:                              "",
		`SELECT completeness AS c FROM spend_by_cost_center_month WHERE "month" = '2026-10-01' GROUP BY ALL`: "{'c': " +
			"complete}",
		`SELECT "month" AS m, compared AS c, change::INT AS d FROM month_over_month_drivers ORDER BY ALL`: "{'m': " +
			"2026-11-01, 'c': days 1 to 19; 1 to 24 of both months, 'd': 0}|{'m': 2026-11-01, 'c': days 1 to 19; 1 to 24 of " +
			"both months, 'd': 0}",
		`SELECT completeness AS c, account AS a FROM chargeback_monthly ` +
			`WHERE billing_month = '2026-11-01' ORDER BY 2`: "{'c': '576 of 720 hours, complete to 2026-11-25 00:00 UTC', " +
			"'a': a}|{'c': '456 of 720 hours (account b lacks 120), as of 2026-11-25 00:00 UTC', 'a': b}",
	})
}

// A month that is over and lacks something says so, and a gap in the running one lowers no forecast.
func TestAMonthThatLacksHoursSaysSo(t *testing.T) {
	for _, c := range []struct {
		name     string
		skip     []int
		partly   bool
		forecast string
		words    string
	}{
		{"whole", nil, false, "300.00", "600 of 720 hours, complete to 2026-11-26 00:00 UTC"},
		{"a day", []int{40}, false, "300.00", "576 of 720 hours (account a lacks 24), as of 2026-11-26 00:00 UTC"},
		{"five days", []int{35, 36, 37, 44, 50}, false, "300.00",
			"480 of 720 hours (account a lacks 120), as of 2026-11-26 00:00 UTC"},
		{"half a day", nil, true, "300.00", "588 of 720 hours (account a lacks 12), as of 2026-11-26 00:00 UTC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newDayWriter(t, load.Options{})
			w.span("a", "2026-10-01", 56, "10", c.skip...)
			if c.partly {
				p := schemas.Partition{Account: "a", Date: schemastest.Date("2026-11-11")}
				w.DayFrom(p, loadtest.Charge(p, "half", "tk_a", "m-a", "5", "USD"), "half", func(f *schemas.DayFooter) {
					f.Windows = f.Windows[1:]
					f.Windows[0].Start, f.Windows[0].End = p.Date.Start(), p.Date.Start().Add(12*time.Hour)
				})
			}
			w.publish(PublishOptions{Finance: Finance{Accounts: []string{"a"},
				Budgets: []schemas.Budget{budgetOf("account", "a", "295")}}})
			w.Answers(map[string]string{
				`SELECT forecast AS f, completeness AS c FROM forecast_month_end ` +
					`WHERE "scope" = 'all'`: fmt.Sprintf("{'f': %s, 'c': '%s'}", c.forecast, c.words),
				`SELECT forecast AS f, burn_rate AS b, status AS s FROM budget_status ` +
					`WHERE period_start = '2026-11-01'`: fmt.Sprintf("{'f': %s, 'b': 10.000000, 's': forecast over}", c.forecast),
				`SELECT completeness AS c FROM period_status_and_corrections ` +
					`WHERE "month" = '2026-11-01'`: fmt.Sprintf("{'c': '%s'}", c.words),
				`SELECT complete AS c, completeness AS w ` +
					`FROM completeness(DATE '2026-10-01', DATE '2026-11-01')`: "{'c': true, 'w': complete}",
				`SELECT complete AS c, completeness AS w ` +
					`FROM completeness(DATE '2026-11-27', DATE '2026-11-29')`: "{'c': false, 'w': 0 of 48 hours}",
				`SELECT complete AS c, completeness AS w ` +
					`FROM completeness(DATE '2026-09-29', DATE '2026-10-03')`: "{'c': false, 'w': '48 of 96 hours (account a " +
					"lacks 48)'}",
				`SELECT count(*) AS n ` +
					`FROM anomalous_days`: "{'n': 0}",
			})
		})
	}
}

// What is expected of an account: of one of the config everything, of one that is no more its own months, and of none
// what a closed month was closed without.
func TestWhatIsExpectedOfAnAccount(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.span("a", "2026-08-01", 92, "1")
	w.span("gone", "2026-08-01", 40, "1")
	w.span("late", "2026-10-01", 31, "1")
	finance := Finance{Rules: loadtest.Rules{Name: "a"}, Accounts: []string{"a", "late", "never"}}
	finance.Archived = archived(finance.Rules)
	w.publish(PublishOptions{Finance: finance})
	months := `SELECT "month" AS m, completeness AS c FROM month_completeness
		WHERE "month" BETWEEN '2026-08-01' AND '2026-10-01' ORDER BY 1`
	w.Answers(map[string]string{months: "{'m': 2026-08-01, 'c': '0 of 744 hours (account late lacks 744, account never " +
		"lacks 744)'}|" +
		"{'m': 2026-09-01, 'c': '0 of 720 hours (account late lacks 720, account never lacks 720, account gone lacks " +
		"504)'}|{'m': 2026-10-01, 'c': '0 of 744 hours (account never lacks 744)'}",
		`SELECT account AS a, configured AS c, covered_to IS NULL AS n FROM accounts ORDER BY 1`: "{'a': a, 'c': true, " +
			"'n': false}|{'a': gone, 'c': false, 'n': false}|{'a': late, 'c': true, 'n': false}|{'a': never, 'c': true, " +
			"'n': true}",
		// What is no more has nothing ahead.
		`SELECT forecast::INT AS f FROM forecast_month_end WHERE "scope" = 'all'`: "{'f': 62}",
	})
	// What a month was closed without was not there then; what it lacked then it lacks.
	for _, month := range []string{"2026-08", "2026-09"} {
		if month == "2026-08" {
			finance.Accounts = []string{"a"}
			w.publish(PublishOptions{Finance: finance})
		}
		if _, err := w.closeMonth(month, finance); err != nil {
			t.Fatal(err)
		}
	}
	finance.Accounts = []string{"a", "late", "never"}
	w.span("gone", "2026-09-10", 21, "1")
	w.publish(PublishOptions{Finance: finance})
	w.Answers(map[string]string{months: "{'m': 2026-08-01, 'c': complete}|{'m': 2026-09-01, 'c': '216 of 720 hours " +
		"(account gone lacks 504)'}|{'m': 2026-10-01, 'c': '0 of 744 hours (account never lacks 744)'}",
		`SELECT "month" AS m, completeness AS c FROM closed_months ORDER BY 1`: "{'m': 2026-08-01, 'c': complete}|{'m': " +
			"2026-09-01, 'c': '216 of 720 hours (account gone lacks 504)'}"})
	// A config of another lake says nothing of this one.
	w.publish(PublishOptions{Finance: Finance{Rules: finance.Rules, Archived: finance.Archived,
		Accounts: []string{"default"}}})
	w.Answers(map[string]string{`SELECT account AS a, configured AS c FROM accounts ORDER BY 1`: "{'a': a, 'c': " +
		"true}|{'a': gone, 'c': true}|{'a': late, 'c': true}"})
}

// Months are compared by what both have, and by nothing where that is nothing.
func TestMonthsAreComparedByWhatBothHave(t *testing.T) {
	ask := `SELECT compared AS c, sum(net_before)::INT AS b, sum(net_now)::INT AS n FROM month_over_month_drivers
		GROUP BY ALL`
	for _, c := range []struct {
		name, from string
		days       int
		skip       []int
		want       string
	}{
		{"three days of the month before", "2026-10-29", 31, nil, ""},
		{"the whole month before, and some of this", "2026-10-01", 40, nil,
			"{'c': days 1 to 9 of both months, 'b': 9, 'n': 9}"},
		{"two whole months", "2026-09-01", 61, nil, "{'c': whole months, 'b': 30, 'n': 31}"},
		{"a day that is lacking", "2026-09-01", 61, []int{10}, "{'c': days 1 … 30 of both months, 'b': 29, 'n': 29}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newDayWriter(t, load.Options{})
			w.span("a", c.from, c.days, "1", c.skip...)
			w.publish(PublishOptions{})
			w.Answers(map[string]string{ask: c.want})
		})
	}
}

// A budget of a quarter is as complete as the quarter is, months before the first one that has anything included.
func TestABudgetsQuarterIsAsCompleteAsTheQuarter(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.span("a", "2026-09-10", 41, "1")
	finance := Finance{Accounts: []string{"a"}, Budgets: []schemas.Budget{budgetOf("account", "a", "500")}}
	finance.Budgets[0].Period = "quarter"
	w.publish(PublishOptions{Finance: finance})
	const words = "504 of 2208 hours (account a lacks 1704)"
	w.Answers(map[string]string{
		`SELECT completeness AS c FROM budget_status WHERE period_start = '2026-07-01'`: "{'c': '" + words +
			"'}",
		`SELECT completeness AS c FROM completeness(DATE '2026-07-01', DATE '2026-10-01')`: "{'c': '" + words +
			"'}",
		`SELECT "month" AS m, completeness AS c FROM month_completeness ORDER BY 1 LIMIT 1`: "{'m': 2026-07-01, " +
			"'c': '0 of 744 hours (account a lacks 744)'}",
		`SELECT forecast AS f, spent::INT AS s FROM budget_status WHERE period_start < '2026-10-01'`: "{'f': 21.00, 's': 21}",
	})
}

// Days of a closed month lack the accounts that the month lacks.
func TestDaysOfAClosedMonthLackWhatTheMonthLacks(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.span("a", "2026-09-01", 61, "1")
	w.span("new", "2026-10-05", 27, "1")
	finance := Finance{Rules: loadtest.Rules{Name: "a"}, Accounts: []string{"a", "new"}}
	finance.Archived = archived(finance.Rules)
	w.publish(PublishOptions{Finance: finance})
	if _, err := w.closeMonth("2026-09", finance); err != nil {
		t.Fatal(err)
	}
	w.Answers(map[string]string{
		`SELECT completeness AS c FROM completeness(DATE '2026-09-01', DATE '2026-10-01')`: "{'c': '0 of 720 hours " +
			"(account new lacks 720)'}",
		`SELECT completeness AS c FROM completeness(DATE '2026-09-10', DATE '2026-09-12')`: "{'c': '0 of 48 hours " +
			"(account new lacks 48)'}",
		`SELECT completeness AS c FROM completeness(DATE '2026-09-30', DATE '2026-10-02')`: "{'c': '0 of 48 hours " +
			"(account new lacks 48)'}",
	})
}

// What came to a day after its month was closed is a cost of that day: rates know it, and so does the history of a cost
// centre.
func TestADayCostsWhatWasChargedForItLater(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	late := func(days int, amount string) {
		for i := range days {
			p := schemas.Partition{Account: "a", Date: schemastest.Date("2026-09-11") + schemas.Date(i)}
			w.Charges(p, loadtest.Charge(p, "r", "tk_2", "m", "10", "USD"),
				loadtest.Charge(p, "late", "tk_2", "m", amount, "USD"))
		}
	}
	w.span("a", "2026-10-01", 2, "0")
	late(20, "0")
	finance := Finance{Rules: loadtest.Rules{Name: "a"}, Accounts: []string{"a"}}
	finance.Archived = archived(finance.Rules)
	w.publish(PublishOptions{Finance: finance})
	if _, err := w.closeMonth("2026-09", finance); err != nil {
		t.Fatal(err)
	}
	late(20, "12")
	w.publish(PublishOptions{Finance: finance})
	w.Answers(map[string]string{
		// 22 a day on 20 of 22 days; 240 is charged by now.
		`SELECT spent::INT AS s, recent_rate AS a, forecast AS f FROM forecast_month_end WHERE "scope" = 'all'`: "{'s': " +
			"240, 'a': 20.000000, 'f': 820.00}",
		`SELECT DISTINCT "scope" AS s, expected AS e FROM anomalous_days ORDER BY ALL`: "{'s': account, 'e': " +
			"22.000000}|{'s': cost_center, 'e': 22.000000}|{'s': model, 'e': 22.000000}|{'s': token, 'e': 22.000000}",
	})
}

// Where an account costs something and has no whole day nobody knows what comes: neither a forecast nor an end of its
// range.
func TestWhatNobodyKnowsHasNoRange(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.span("old", "2026-10-20", 20, "5")
	p := schemas.Partition{Account: "new", Date: schemastest.Date("2026-11-08")}
	w.DayFrom(p, loadtest.Charge(p, "a", "tk_new", "m", "3", "USD"), "half", func(f *schemas.DayFooter) {
		f.Windows = f.Windows[1:]
		f.Windows[0].End = p.Date.Start().Add(12 * time.Hour)
	})
	w.publish(PublishOptions{Finance: Finance{Accounts: []string{"old", "new"},
		Budgets: []schemas.Budget{{Name: "b", Period: "month", Amount: money("100"), Currency: "USD"}}}})
	w.Answers(map[string]string{
		`SELECT scope_value AS v, forecast AS f, forecast_low AS l, forecast_high AS h, history_days AS d
			FROM forecast_month_end WHERE "scope" IN ('all', 'account') ORDER BY 1 NULLS FIRST`: "{'v': NULL, 'f': NULL, " +
			"'l': NULL, 'h': NULL, 'd': 0}|{'v': new, 'f': NULL, 'l': NULL, 'h': NULL, 'd': 0}|{'v': old, 'f': 150.00, 'l': " +
			"150.00, 'h': 150.00, 'd': 20}",
		`SELECT forecast AS f, forecast_low AS l, forecast_high AS h, status AS s FROM budget_status
			WHERE period_start = '2026-11-01'`: "{'f': NULL, 'l': NULL, 'h': NULL, 's': ok}",
	})
}
