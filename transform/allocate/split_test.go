package allocate

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas"
)

func bigs(t *rapid.T, name string, low, high int64) *big.Int {
	v := big.NewInt(rapid.Int64Range(low, high).Draw(t, name))
	if rapid.IntRange(0, 9).Draw(t, "huge") == 0 {
		v.Mul(v, big.NewInt(1_000_000_000_000))
	}
	return v
}

func units(n int64) *schemas.Money { return ptr(schemas.MoneyOf(big.NewInt(n))) }

func unitsOf(m *schemas.Money) *big.Int {
	if m == nil {
		return nil
	}
	return m.Units()
}

func TestSharesSumToTheCostInEveryFigure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &pool{name: "p", method: rapid.SampledFrom([]string{methodFixed, methodEven, methodUsage, methodCost}).Draw(t,
			"method")}
		names := []string{"A", "B", "C", "D"}
		p.all = p.method != methodFixed && rapid.Bool().Draw(t, "all")
		if !p.all {
			for _, n := range names[:rapid.IntRange(1, 4).Draw(t, "targets")] {
				p.targets = append(p.targets, target{schemas.Owner{CostCenter: n}, tenths(5 * rapid.Int64Range(0, 3).Draw(t, "w"))})
			}
			if !slices.ContainsFunc(p.targets, func(x target) bool { return x.weight.Sign() > 0 }) {
				p.targets[0].weight = one // Parse refuses a pool that nobody bears
			}
		}
		r := newRules(nil, nil, []*pool{p}, nil)
		var direct []schemas.DirectCost
		for _, n := range append(names, "") {
			if rapid.Bool().Draw(t, "direct") {
				direct = append(direct, schemas.DirectCost{Owner: schemas.Owner{CostCenter: n}, Currency: ptr("USD"),
					Tokens: bigs(t, "tokens", 0, 3), Net: ptr(schemas.MoneyOf(bigs(t, "net", -2, 9)))})
			}
		}
		optional := func(name string) *big.Int {
			if rapid.IntRange(0, 4).Draw(t, name) == 0 {
				return nil
			}
			return bigs(t, name, -1000, 1_000_000)
		}
		optionalMoney := func(name string) *schemas.Money {
			if v := optional(name); v != nil {
				return ptr(schemas.MoneyOf(v))
			}
			return nil
		}
		c := schemas.PoolCost{Pool: "p", Date: day("2026-10-05"), Account: "a", Currency: ptr("USD"),
			Measures: schemas.Measures{
				Requests: rapid.Int64Range(0, 100).Draw(t, "n"), Input: optional("in"), Output: optional("out"),
				Cached: optional("c"), Total: optional("t"),

				List: optionalMoney("list"), Discount: optionalMoney("discount"), Net: optionalMoney("amount")}}
		shares, err := r.Split([]schemas.PoolCost{c}, direct)
		if err != nil || len(shares) == 0 {
			t.Fatalf("%v %v", shares, err)
		}
		figures := func(m schemas.Measures) []*big.Int {
			return []*big.Int{big.NewInt(m.Requests), big.NewInt(m.WithoutAmount), m.Input, m.Output, m.Cached, m.Total,
				unitsOf(m.List), unitsOf(m.Discount), unitsOf(m.Net)}
		}
		for i, want := range figures(c.Measures) {
			sum := new(big.Int)
			for _, s := range shares {
				v := figures(s.Measures)[i]
				if (v == nil) != (want == nil) {
					t.Fatalf("figure %d: NULL and not NULL", i)
				}
				if v != nil {
					sum.Add(sum, v)
				}
			}
			if want != nil && sum.Cmp(want) != 0 {
				t.Fatalf("figure %d: %v, shares sum to %v", i, want, sum)
			}
		}
		ratio := schemas.Decimal(0)
		for _, s := range shares {
			ratio += s.Ratio
		}
		if off := ratio - 1_000_000_000_000; off > 10 || off < -10 {
			t.Fatalf("ratios sum to %v", ratio)
		}
	})
}

func TestSplitsByHand(t *testing.T) {
	usd, eur := ptr("USD"), ptr("EUR")
	direct := []schemas.DirectCost{
		{Owner: schemas.Owner{CostCenter: "A", Team: "x"}, Currency: usd, Tokens: big.NewInt(300), Net: units(10)},
		{Owner: schemas.Owner{CostCenter: "A", Team: "y"}, Currency: usd, Tokens: big.NewInt(100), Net: units(20)},
		{Owner: schemas.Owner{CostCenter: "B"}, Currency: usd, Tokens: big.NewInt(100), Net: units(-5)},
		{Owner: schemas.Owner{CostCenter: "C"}, Currency: eur, Net: units(7)},
		{Currency: usd, Tokens: big.NewInt(1000), Net: units(1000)},
	}
	cc := func(n string, w *big.Int) target { return target{schemas.Owner{CostCenter: n}, w} }
	for name, c := range map[string]struct {
		pool     pool
		currency *string
		want     string
	}{
		"fixed": {pool{method: "fixed", targets: []target{cc("A", tenths(3)), cc("B", tenths(7))}}, usd,
			"A 30 fixed share 0.3|B 70 fixed share 0.7"},
		"even": {pool{method: "even", targets: []target{cc("A", one), cc("B", one), cc("C", one)}}, usd,
			"A 34 even 1 of 3|B 33 even 1 of 3|C 33 even 1 of 3"},
		"usage": {pool{method: "usage", targets: []target{cc("A", one), cc("B", one)}}, usd,
			"A 80 usage 400 tokens|B 20 usage 100 tokens"},
		"usage weighted": {pool{method: "usage", targets: []target{cc("A", one), cc("B", tenths(40))}}, usd,
			"A 50 usage 400 tokens|B 50 usage 100 tokens × 4"},
		"cost": {pool{method: "cost", targets: []target{cc("A", one), cc("B", one)}}, usd,
			"A 100 cost 0.00000000003 USD|B 0 cost 0 USD"},
		"cost of nobody": {pool{method: "cost", targets: []target{cc("B", one), cc("D", one)}}, usd,
			"B 50 even (no cost) 1 of 2|D 50 even (no cost) 1 of 2"},
		"all by cost": {pool{method: "cost", all: true}, usd,
			"A 33 cost 0.00000000001 USD|A 67 cost 0.00000000002 USD|B 0 cost 0 USD"},
		"all, other money":  {pool{method: "cost", all: true}, eur, "C 100 cost 0.000000000007 EUR"},
		"all, nobody there": {pool{method: "cost", all: true}, ptr("CHF"), " 100 cost (no owner) 1 of 1"},
	} {
		c.pool.name = "p"
		r := newRules(nil, nil, []*pool{&c.pool}, nil)
		shares, err := r.Split(
			[]schemas.PoolCost{{Pool: "p", Date: day("2026-10-09"), Currency: c.currency,
				Measures: schemas.Measures{Net: units(100)}}}, direct)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range shares {
			got = append(got, fmt.Sprintf("%s %v %s %s", s.Owner.CostCenter, s.Net.Units(), s.Method, s.Basis))
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "|"), c.want)
		}
	}
}

// Who is meant to bear nothing doesn't, even where there is nothing to go by; and one owner in several rows bears once.
func TestAWeightOfNothingBearsNothing(t *testing.T) {
	r, err := parse("rules: []\npools:\n"+
		"  p: {split: cost, to: [{team: a, weight: 0}, {team: b}, {team: c, weight: 2500000000}]}\n"+
		"  q: {split: cost, to: all}", nil)
	if err != nil {
		t.Fatal(err)
	}
	split := func(pool string, direct []schemas.DirectCost) string {
		shares, err := r.Split(
			[]schemas.PoolCost{{Pool: pool, Date: day("2026-10-09"), Measures: schemas.Measures{Requests: 3, Net: units(100)}}},
			direct)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range shares {
			got = append(got, fmt.Sprintf("%s %d %v %s: %s", s.Owner.Team, s.Requests, s.Net.Units(), s.Method, s.Basis))
		}
		return strings.Join(got, "|")
	}
	cost := func(team string, net int64) schemas.DirectCost {
		return schemas.DirectCost{Owner: schemas.Owner{Team: team}, Net: units(net)}
	}
	for want, got := range map[string]string{
		"a 0 0 even (no cost): 0 of 2|b 2 50 even (no cost): 1 of 2|c 1 50 even (no cost): 1 of 2": split("p", nil),
		"a 0 0 cost: 0.00000000005 × 0|b 3 96 cost: 0.06 |c 0 4 cost: 0.000000000001 × 2500000000": split("p",
			[]schemas.DirectCost{cost("a", 50), cost("b", 60_000_000_000), cost("c", 1)}),
		"x 1 25 cost: 0.000000000001|y 2 75 cost: 0.000000000003": split("q",
			[]schemas.DirectCost{cost("y", 1), cost("x", 1), cost("y", 2)}),
	} {
		if got != strings.ReplaceAll(want, " |", "|") {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

// The order in which direct costs come makes no difference.
func TestSplitsDontDependOnTheOrderOfDirectCosts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &pool{name: "p", method: rapid.SampledFrom([]string{methodEven, methodUsage, methodCost}).Draw(t, "method"),
			all: true}
		r := newRules(nil, nil, []*pool{p}, nil)
		var direct []schemas.DirectCost
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			direct = append(direct, schemas.DirectCost{Owner: schemas.Owner{CostCenter: rapid.SampledFrom([]string{"A", "B",
				""}).Draw(t, "cc"), Team: rapid.SampledFrom([]string{"x", "y", ""}).Draw(t, "team")},
				Tokens: bigs(t, "tokens", 0, 3), Net: ptr(schemas.MoneyOf(bigs(t, "net", -2, 9)))})
		}
		cost := []schemas.PoolCost{{Pool: "p", Measures: schemas.Measures{Net: ptr(schemas.MoneyOf(bigs(t, "amount", -100,
			100)))}}}
		a, err1 := r.Split(cost, direct)
		b, err2 := r.Split(cost, rapid.Permutation(direct).Draw(t, "order"))
		if err1 != nil || err2 != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("%v %v\n%+v\n%+v", err1, err2, a, b)
		}
	})
}
