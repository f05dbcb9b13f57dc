package jobs

import (
	"errors"
	"maps"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

func money(t *testing.T, s string) schemas.Money {
	t.Helper()
	m, err := schemas.ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Other mark-ups are asked before they apply: what each cost centre would be charged on top is what a publish by them
// charges, a percentage, a fee of the month and a minimum as they are reckoned by hand. Nothing that stands changes.
func TestMarkupsAreComparedBeforeTheyApply(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 40})
	w.export(span(-1, 3))
	w.ruleFiles(map[string]string{"allocation.yaml": "rules:\n- {id: g, match: {model: \"g*\"}, assign: {cost_center: " +
		"G}}\n- {id: never, match: {model: none}, assign: {cost_center: Idle}}\n- {id: all, assign: {cost_center: A}}\n",
		"new.yaml": "# other mark-ups\nmarkups:\n- {cost_center: G, percent: \"2.5\"}\n- {cost_center: A, minimum: " +
			"\"900000\", currency: USD}\n- {cost_center: Idle, per_period: \"20.000000000001\", currency: USD}\n",
		"none.yaml": "markups: []\n", "wrong.yaml": "markups:\n- {cost_center: Idel, percent: \"1\"}\n- {cost_center: A, " +
			"percent: \"-1\"}\n- {cost_center: G, percent: \"1\"}\n- {cost_center: G, percent: \"2\"}\n",
		"empty.yaml": "budgets: []\n"})
	beside := func(name string) string { return filepath.Join(filepath.Dir(w.Cfg.Allocation.Rules), name) }
	w.Cfg.Markups = []config.Markup{{CostCenter: "G", Percent: "1"}}
	if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
		t.Fatal(err)
	}
	published := func() map[[3]string]string {
		r := w.Read()
		defer r.Close()
		out := map[[3]string]string{}
		for _, row := range r.Ask("SELECT period, cost_center, currency, markup::VARCHAR FROM markup_monthly") {
			out[[3]string{row[0], row[1], row[2]}] = money(t, row[3]).String()
		}
		return out
	}
	before := published()
	got, err := CheckMarkups(t.Context(), w.Cfg, beside("new.yaml"), nil)
	if err != nil || len(got.ByMonth) < 2 {
		t.Fatalf("%+v %v", got, err)
	}
	if now := published(); !maps.Equal(now, before) {
		t.Error("to compare changed what is published")
	}
	r := w.Read()
	net := map[[2]string]schemas.Money{}
	for _, row := range r.Ask("SELECT period, cost_center, sum(net_cost)::VARCHAR FROM chargeback_daily GROUP BY ALL") {
		net[[2]string{row[0], row[1]}] = money(t, row[2])
	}
	r.Close()
	hundredth := func(m schemas.Money, percent int64) schemas.Money { // of ten-thousandths
		n, unit := new(big.Int).Mul(m.Units(), big.NewInt(percent)), big.NewInt(10_000)
		n.Add(n, big.NewInt(5_000)) // halves away from zero
		return schemas.MoneyOf(n.Quo(n, unit))
	}
	for _, m := range got.ByMonth {
		by := map[string]CenterChange{}
		var last schemas.Money
		for i, c := range m.Centers {
			by[c.CostCenter] = c
			if d := money(t, c.Difference).Abs(); i > 0 && d.Cmp(last) > 0 {
				t.Errorf("%s: %+v is behind what changes less", m.Month, c)
			} else {
				last = d
			}
		}
		g, a, idle := by["G"], by["A"], by["Idle"]
		g1, g25 := hundredth(net[[2]string{m.Month, "G"}], 100), hundredth(net[[2]string{m.Month, "G"}], 250)
		if g.Before != g1.String() || g.After != g25.String() || g.Difference != g25.Sub(g1).String() {
			t.Errorf("%s: percent: %+v, want %s and %s", m.Month, g, g1, g25)
		}
		if want := money(t, "900000").Sub(net[[2]string{m.Month, "A"}]).String(); a.Before != "0" || a.After != want {
			t.Errorf("%s: minimum: %+v, want %s", m.Month, a, want)
		}
		if idle.Before != "0" || idle.After != "20.000000000001" {
			t.Errorf("%s: a fee where nothing was used: %+v", m.Month, idle)
		}
		sum := money(t, g.After).Add(money(t, a.After)).Add(money(t, idle.After))
		if len(m.Totals) != 1 || m.Totals[0].After != sum.String() || m.Totals[0].Before != g.Before {
			t.Errorf("%s: sums %+v, want %s", m.Month, m.Totals, sum)
		}
	}
	w.Cfg.Markups = []config.Markup{{CostCenter: "G", Percent: "2.5"},
		{CostCenter: "A", Minimum: "900000", Currency: "USD"},
		{CostCenter: "Idle", PerPeriod: "20.000000000001", Currency: "USD"}}
	if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
		t.Fatal(err)
	}
	applied := published()
	for _, m := range got.ByMonth {
		for _, c := range m.Centers {
			if applied[[3]string{m.Month, c.CostCenter, c.Currency}] != c.After {
				t.Errorf("%s: compared %+v, applied %v", m.Month, c, applied)
			}
		}
	}
	// What is in force changes nothing; none at all takes all of it away.
	if got, err = CheckMarkups(t.Context(), w.Cfg, beside("new.yaml"), nil); err != nil ||
		slices.ContainsFunc(got.Centers, func(c CenterChange) bool { return c.Difference != "0" }) {
		t.Errorf("%+v %v", got, err)
	}
	if got, err = CheckMarkups(t.Context(), w.Cfg, beside("none.yaml"), nil); err != nil ||
		len(got.Totals) != 1 || got.Totals[0].After != "0" || "-"+got.Totals[0].Before != got.Totals[0].Difference {
		t.Errorf("%+v %v", got, err)
	}
	for name, want := range map[string][]string{
		"wrong.yaml": {`line 2: markups[0].cost_center: nothing was ever charged to "Idel"`, "did you mean Idle?",
			`line 3: markups[1] (A): percent: "-1" is not a percentage`,
			"line 5: markups[3] (G): markups[2] is of it, too"},
		"empty.yaml": {"it has no markups: write them as in the config, or markups: [] for none at all"}} {
		_, err := CheckMarkups(t.Context(), w.Cfg, beside(name), nil)
		if !errors.Is(err, config.ErrUsage) {
			t.Fatalf("%s: %v", name, err)
		}
		for _, text := range append(want, name) {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: no word of %q in %v", name, text, err)
			}
		}
	}
}

// What a page keeps of a file is asked anew when the file says something else, or the rules of the config do.
func TestADigestIsOfAllThatCounts(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	file := filepath.Join(t.TempDir(), "new.yaml")
	seen := map[string]string{}
	say := func(what What, why string) {
		t.Helper()
		digest, err := WhatDigest(w.Cfg, what, file)
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := seen[digest]; ok {
			t.Errorf("%s: the digest is that of %s", why, was)
		}
		seen[digest] = why
	}
	kit.Write(t, file, "rules:\n- {id: a, match: {}, assign: {cost_center: A}}\n", 0o600)
	say(WhatRules, "rules")
	say(WhatPrices, "prices")
	kit.Write(t, file, "rules:\n- {id: a, match: {}, assign: {cost_center: B}}\n", 0o600)
	say(WhatRules, "other rules")
	say(WhatPrices, "other prices")
	w.rules(twoRules)
	say(WhatMarkups, "rules of the config")
	if _, err := WhatDigest(w.Cfg, WhatPrices, file+".gone"); !errors.Is(err, config.ErrUsage) {
		t.Errorf("a file that isn't there: %v", err)
	}
}
