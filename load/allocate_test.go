package load

import (
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// testRules is an allocator of another make than the project's own: tokens that end in an even digit belong to a team
// of their last digit, model-1 to the pool "shared", the rest to nobody. From `since` on, team 4 has another owner.
type testRules struct {
	name  string
	since schemas.Date
	pool  []string // cost centres that bear the pool, in equal parts and the rest to the first
}

func (r testRules) Digest() string             { return fmt.Sprintf("%s-%s-%v", r.name, r.since, r.pool) }
func (r testRules) Fields() []string           { return []string{schemas.FieldModel, schemas.FieldTokenID} }
func (r testRules) Boundaries() []schemas.Date { return []schemas.Date{r.since} }
func (r testRules) List() []schemas.AllocationRule {
	return []schemas.AllocationRule{{Position: 1, RuleID: "team-4", Version: 2, ValidFrom: &r.since, Match: "token_id *4", Assigns: "cost_center=cc-moved", Source: "rules.yaml:7"}}
}
func (r testRules) Pools() []schemas.SharedPool {
	return []schemas.SharedPool{{Pool: "shared", Method: "even", Source: "rules.yaml:20"}}
}

func (r testRules) Assign(k schemas.AllocationKey, day schemas.Date) schemas.Assignment {
	if k.Model != nil && *k.Model == "model-1" && len(r.pool) > 0 {
		return schemas.Assignment{RuleID: "pool", Version: 1, Source: "rules.yaml:9", Pool: "shared"}
	}
	if k.TokenID == nil {
		return schemas.Assignment{}
	}
	last := (*k.TokenID)[len(*k.TokenID)-1:]
	switch last {
	case "4":
		owner, version := schemas.Owner{CostCenter: "cc-4", Team: "team-4", GLCode: "6100"}, 1
		if day >= r.since {
			owner, version = schemas.Owner{CostCenter: "cc-moved", Team: "team-4"}, 2
		}
		return schemas.Assignment{Owner: owner, RuleID: "team-4", Version: version, Source: "rules.yaml:7"}
	case "0", "2", "6", "8":
		return schemas.Assignment{Owner: schemas.Owner{CostCenter: "cc-" + last, Team: "team-" + last, Tags: `{"env":"prod"}`}, RuleID: "team-" + last, Version: 1, Source: "rules.yaml:3"}
	}
	return schemas.Assignment{}
}

func (r testRules) Split(_ schemas.Date, costs []schemas.PoolCost, _ []schemas.DirectCost) ([]schemas.PoolShare, error) {
	var out []schemas.PoolShare
	n := int64(len(r.pool))
	for _, c := range costs {
		for i, cc := range r.pool {
			s := schemas.PoolShare{PoolCost: c, Owner: schemas.Owner{CostCenter: cc}, Method: "even", Basis: fmt.Sprintf("1 of %d", n), Ratio: schemas.Decimal(1_000_000_000_000 / n)}
			part := func(v *big.Int) *big.Int {
				if v == nil {
					return nil
				}
				q := new(big.Int).Quo(v, big.NewInt(n))
				if i == 0 {
					q.Add(q, new(big.Int).Rem(v, big.NewInt(n)))
				}
				return q
			}
			s.Requests, s.WithoutAmount = part(big.NewInt(c.Requests)).Int64(), part(big.NewInt(c.WithoutAmount)).Int64()
			s.Input, s.Output, s.Cached, s.Total = part(c.Input), part(c.Output), part(c.Cached), part(c.Total)
			s.List, s.Discount, s.Net = part(c.List), part(c.Discount), part(c.Net)
			out = append(out, s)
		}
	}
	return out, nil
}

// ask runs a query on the published file and gives its rows as text.
func (w *dayWriter) ask(query string) []string {
	w.t.Helper()
	d, err := openDatabase(w.t.Context(), engine{}, w.lake.Database(), true)
	if err != nil {
		w.t.Fatal(err)
	}
	defer d.close()
	rows, err := d.conn.QueryContext(w.t.Context(), "SELECT r::VARCHAR FROM ("+query+") r")
	if err != nil {
		w.t.Fatalf("%s\n%v", query, err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// one is the single value of a query.
func (w *dayWriter) one(query string) string {
	w.t.Helper()
	got := w.ask(query)
	if len(got) != 1 {
		w.t.Fatalf("%s: %d rows", query, len(got))
	}
	return got[0]
}

var testFinance = Finance{Rules: testRules{name: "a", since: mustDate("2026-10-18"), pool: []string{"cc-0", "cc-2", "cc-new"}}}

// What is charged sums to what was used, in every column, day and currency; what no rule matches stands there as
// (unallocated); a pool's cost is all somebody's.
func TestChargesSumToUsage(t *testing.T) {
	w := newDayWriter(t, Options{})
	w.days(6, 300)
	w.publish(PublishOptions{Finance: testFinance})
	for _, columns := range [][2]string{
		{"count(*), count(*) FILTER (amount IS NULL), sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(total_tokens), sum(total_amount), sum(discount_amount), sum(amount)",
			"sum(requests), sum(without_amount), sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(total_tokens), sum(list_cost), sum(discount), sum(net_cost)"},
	} {
		want := w.ask("SELECT account, usage_date, currency, " + columns[0] + " FROM usage GROUP BY ALL ORDER BY ALL")
		got := w.ask("SELECT account, usage_date, currency, " + columns[1] + " FROM chargeback_daily GROUP BY ALL ORDER BY ALL")
		if len(want) < 6 || len(got) != len(want) {
			t.Fatalf("%d rows, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i][len("row"):] == "" || !sameValues(got[i], want[i]) {
				t.Errorf("charged %s\nused    %s", got[i], want[i])
			}
		}
	}
	if got := w.one("SELECT count(*) > 0 AS n FROM chargeback_daily WHERE cost_center = '(unallocated)' AND rule_id IS NULL"); got != "{'n': true}" {
		t.Error("nothing is unallocated")
	}
	if got := w.one("SELECT count(DISTINCT cost_center) AS n FROM chargeback_daily WHERE pool = 'shared'"); got != "{'n': 3}" {
		t.Errorf("the pool is borne by %s cost centres", got)
	}
	if got := w.ask("SELECT min(usage_date), max(usage_date), rule_version FROM allocated_usage WHERE rule_id = 'team-4' GROUP BY ALL ORDER BY ALL"); len(got) != 2 {
		t.Errorf("versions of a rule: %v", got)
	}
	if got := w.one("SELECT (SELECT count(*) FROM allocated_usage) = (SELECT count(*) FROM usage) AS same"); got != "{'same': true}" {
		t.Error("allocated_usage lost or doubled records")
	}
}

// sameValues compares two rows by their values, whatever their columns are called.
func sameValues(a, b string) bool { return slices.Equal(valuesOf(a), valuesOf(b)) }

func valuesOf(row string) []string {
	var out []string
	for part := range splitRow(row) {
		out = append(out, part)
	}
	return out
}

// splitRow yields the values of a row as DuckDB prints a struct.
func splitRow(row string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, field := range splitTop(row[1 : len(row)-1]) {
			for i := 1; i < len(field); i++ {
				if field[i] == '\'' {
					if !yield(field[i+3:]) {
						return
					}
					break
				}
			}
		}
	}
}

func splitTop(s string) []string {
	var out []string
	start := 0
	for i := 0; i+1 < len(s); i++ {
		if s[i] == ',' && s[i+1] == ' ' {
			out = append(out, s[start:i])
			start = i + 2
		}
	}
	return append(out, s[start:])
}

// Days that come or change one at a time, and rules that change, leave the same file as building it from nothing.
func TestAllocationOfOneDayIsThatOfAll(t *testing.T) {
	w := newDayWriter(t, Options{})
	days := w.days(8, 100)
	finance := testFinance
	w.publish(PublishOptions{Finance: finance})
	same := func(what string) {
		t.Helper()
		w.publish(PublishOptions{Finance: finance})
		got := w.dump()
		w.publish(PublishOptions{Finance: finance, Full: true})
		if want := w.dump(); got != want {
			t.Errorf("%s: %s", what, firstDifference(got, want))
		}
	}
	w.day(days[2], 90, 77)
	same("a day changed")
	w.day(schemas.Partition{Account: "other", Date: days[3].Date}, 40, 5)
	same("a day came")
	finance.Rules = testRules{name: "b", since: mustDate("2026-10-17"), pool: []string{"cc-4"}}
	if done := w.publish(PublishOptions{Finance: finance}); done.Full || done.Unchanged || done.Changed != 0 {
		t.Errorf("other rules: %+v", done)
	}
	same("other rules")
	finance.Rules = nil
	same("no rules")
	if got := w.one("SELECT count(DISTINCT cost_center) AS n FROM chargeback_daily"); got != "{'n': 1}" {
		t.Errorf("cost centres without rules: %s", got)
	}
	if done := w.publish(PublishOptions{Finance: finance}); !done.Unchanged {
		t.Errorf("the same once more: %+v", done)
	}
}
