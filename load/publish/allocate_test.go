package publish

import (
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

var testFinance = Finance{Rules: loadtest.Rules{Name: "a", Since: schemastest.Date("2026-10-18"),
	Pool: []string{"cc-0", "cc-2", "cc-new"}}}

// What is charged sums to what was used, in every column, day and currency; what no rule matches stands there as
// (unallocated); a pool's cost is all somebody's.
func TestChargesSumToUsage(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDays(6, 300)
	w.publish(PublishOptions{Finance: testFinance})
	for _, columns := range [][2]string{
		{"count(*), count(*) FILTER (amount IS NULL), sum(input_tokens), sum(output_tokens), sum(cached_tokens), " +
			"sum(total_tokens), sum(total_amount), sum(discount_amount), sum(amount)",
			"sum(requests), sum(without_amount), sum(input_tokens), sum(output_tokens), sum(cached_tokens), " +
				"sum(total_tokens), sum(list_cost), sum(discount), sum(net_cost)"},
	} {
		want := w.Ask("SELECT account, usage_date, currency, " + columns[0] + " FROM usage GROUP BY ALL ORDER BY ALL")
		got := w.Ask("SELECT account, usage_date, currency, " + columns[1] +
			" FROM chargeback_daily GROUP BY ALL ORDER BY ALL")
		if len(want) < 6 || len(got) != len(want) {
			t.Fatalf("%d rows, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i][len("row"):] == "" || !loadtest.SameValues(got[i], want[i]) {
				t.Errorf("charged %s\nused    %s", got[i], want[i])
			}
		}
	}
	if got := w.One("SELECT count(*) > 0 AS n FROM chargeback_daily WHERE cost_center = '(unallocated)' AND rule_id IS " +
		"NULL"); got != "{'n': true}" {
		t.Error("nothing is unallocated")
	}
	if got := w.One("SELECT count(DISTINCT cost_center) AS n FROM chargeback_daily WHERE pool = 'shared'"); got !=
		"{'n': 3}" {
		t.Errorf("the pool is borne by %s cost centres", got)
	}
	if got := w.Ask("SELECT min(usage_date), max(usage_date), rule_version FROM allocated_usage WHERE rule_id = " +
		"'team-4' GROUP BY ALL ORDER BY ALL"); len(got) != 2 {
		t.Errorf("versions of a rule: %v", got)
	}
	if got := w.One("SELECT (SELECT count(*) FROM allocated_usage) = (SELECT count(*) FROM usage) AS same"); got !=
		"{'same': true}" {
		t.Error("allocated_usage lost or doubled records")
	}
}

// Days that come or change one at a time, and rules that change, leave the same file as building it from nothing.
func TestAllocationOfOneDayIsThatOfAll(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(8, 100)
	finance := testFinance
	w.publish(PublishOptions{Finance: finance})
	same := func(what string) {
		t.Helper()
		w.publish(PublishOptions{Finance: finance})
		got := w.Dump()
		w.publish(PublishOptions{Finance: finance, Full: true})
		if want := w.Dump(); got != want {
			t.Errorf("%s: %s", what, schemastest.FirstDifference(got, want))
		}
	}
	w.RandomDay(days[2], 90, 77)
	same("a day changed")
	w.RandomDay(schemas.Partition{Account: "other", Date: days[3].Date}, 40, 5)
	same("a day came")
	finance.Rules = loadtest.Rules{Name: "b", Since: schemastest.Date("2026-10-17"), Pool: []string{"cc-4"}}
	if done := w.publish(PublishOptions{Finance: finance}); done.Full || done.Unchanged || done.Changed != 0 {
		t.Errorf("other rules: %+v", done)
	}
	same("other rules")
	finance.Rules = nil
	same("no rules")
	if got := w.One("SELECT count(DISTINCT cost_center) AS n FROM chargeback_daily"); got != "{'n': 1}" {
		t.Errorf("cost centres without rules: %s", got)
	}
	if done := w.publish(PublishOptions{Finance: finance}); !done.Unchanged {
		t.Errorf("the same once more: %+v", done)
	}
}
