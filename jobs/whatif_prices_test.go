package jobs

import (
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// By hand: the list cost is quantity × price, the part of it that is taken off stays, and it is rounded once.
func TestAnotherPriceMovesTheNetCostInProportion(t *testing.T) {
	for _, c := range []struct{ name, quantity, price, net, to, moved string }{
		// 2 million at 15.00 are 30.00, less 20 %: 24.00. At 7.50 they are 15.00, less 20 %: 12.00.
		{"halved, with a discount of 20 %", "2000000", "15", "24", "7.5", "-12"},
		{"the same price", "2000000", "15", "24", "15.000", "0"},
		{"doubled, nothing taken off", "500000", "3", "1.5", "6", "1.5"},
		{"free from now on", "500000", "3", "1.5", "0", "-1.5"},
		{"was free", "3000000", "0", "0", "0.2", "0.6"},
		{"more taken off than it cost", "1000000", "1", "-0.5", "2", "-0.5"},
		{"a third", "1000000", "3", "1", "1", "-0.666666666667"},
		{"half of a unit goes to the even one, down", "1000000", "2", "0.000000000001", "3", "0"},
		{"half of a unit goes to the even one, up", "1000000", "2", "0.000000000003", "3", "0.000000000002"},
	} {
		net, _ := new(big.Rat).SetString(c.net)
		got := rounded(lineCost{money(t, c.quantity), 1_000_000, money(t, c.price), net}.moved(money(t, c.to)))
		if got.String() != c.moved {
			t.Errorf("%s: moved by %s, want %s", c.name, got, c.moved)
		}
	}
}

// The prices in force change nothing, to the last digit. One model's input at half its price is half of what its lines
// cost less, for who used it directly and for who bears the pool. What no row is for is counted and named.
func TestPricesAreComparedBeforeTheyApply(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 60})
	w.export(span(-1, 3))
	w.ruleFiles(map[string]string{"allocation.yaml": "rules:\n- {id: shared, match: {model: \"claude-*\"}, pool: p}\n" +
		"- {id: all, assign: {cost_center: G}}\npools: {p: {split: fixed, to: [{cost_center: A, share: 1}, " +
		"{cost_center: B, share: 3}]}}\n"})
	if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
		t.Fatal(err)
	}
	check := func(text string) (*WhatIf, error) {
		file := filepath.Join(w.TempDir(), "prices.csv")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return CheckPrices(t.Context(), w.Cfg, file, nil)
	}
	r := w.Read()
	defer r.Close()
	published := map[[3]string]string{}
	for _, row := range r.Ask("SELECT period, cost_center, currency, sum(net_cost)::VARCHAR FROM chargeback_daily " +
		"WHERE net_cost IS NOT NULL GROUP BY ALL") {
		published[[3]string{row[0], row[1], row[2]}] = money(t, row[3]).String()
	}
	same := "model,line,price,account,currency\n"
	for _, row := range r.Ask("SELECT model, CASE line WHEN 'ext' THEN category || '/' || item ELSE line END, " +
		"any_value(price)::VARCHAR, account, currency FROM unit_prices WHERE model <> '' GROUP BY ALL " +
		"HAVING min(price) = max(price)") {
		same += strings.Join(row, ",") + "\n"
	}
	got, err := check(same)
	if err != nil || len(got.ByMonth) != 2 {
		t.Fatalf("%+v %v", got, err)
	}
	n := 0
	for _, m := range got.ByMonth {
		for _, c := range m.Centers {
			n++
			if c.Difference != "0" || c.Before != published[[3]string{m.Month, c.CostCenter, c.Currency}] {
				t.Errorf("%s: the same prices: %+v, published %v", m.Month, c, published)
			}
		}
	}
	if n != len(published) {
		t.Errorf("%d rows, %d are published", n, len(published))
	}

	// An expensive input of either kind, with a discount if there is one, at half its price.
	model := func(like string) string {
		return r.One("SELECT model FROM focus_lines WHERE line = 'input' AND price > 0 AND model " + like +
			" GROUP BY ALL HAVING min(price) = max(price) ORDER BY sum(discount) > 0 DESC, sum(net_cost) DESC LIMIT 1")
	}
	shared, direct := model("LIKE 'claude-%'"), model("NOT LIKE 'claude-%'")
	half := "model;line;price\n"
	for _, m := range []string{shared, direct} {
		prices := r.Ask("SELECT DISTINCT price::VARCHAR FROM focus_lines WHERE line = 'input' AND model = '" + m + "'")
		if len(prices) != 1 {
			t.Fatalf("%s has %v", m, prices)
		}
		at := money(t, prices[0][0])
		half += fmt.Sprintf("%s;input;%s\n", m, strings.Replace(schemas.MoneyOf(new(big.Int).Rsh(at.Units(), 1)).Fixed(12),
			".", ",", 1))
	}
	if got, err = check(half); err != nil {
		t.Fatal(err)
	}
	for _, m := range got.ByMonth {
		less := func(model string) *big.Rat {
			net, _ := new(big.Rat).SetString(r.One("SELECT sum(net_cost)::VARCHAR FROM focus_lines WHERE line = 'input' AND " +
				"model = '" + model + "' AND month_of(book_date) = DATE '" + m.Month + "-01'"))
			return net.Quo(net, big.NewRat(-2, 1))
		}
		by, sum := map[string]schemas.Money{}, schemas.Money{}
		for _, c := range m.Centers {
			by[c.CostCenter] = money(t, c.Difference)
			sum = sum.Add(by[c.CostCenter])
		}
		if want := rounded(less(direct)); by["G"].Cmp(want) != 0 {
			t.Errorf("%s: G pays %s more, want %s", m.Month, by["G"], want)
		}
		// A charge of the pool, of which there is one a day, account and kind, is rounded, and so are its parts.
		near := func(who string, got schemas.Money, want *big.Rat) {
			if off := got.Sub(rounded(want)).Abs(); off.Cmp(money(t, "0.000000001")) > 0 {
				t.Errorf("%s: %s: %s, want %s", m.Month, who, got, want.FloatString(15))
			}
		}
		part := less(shared)
		near("A", by["A"], new(big.Rat).Mul(part, big.NewRat(1, 4)))
		near("B", by["B"], new(big.Rat).Mul(part, big.NewRat(3, 4)))
		if len(m.Totals) != 1 || m.Totals[0].Difference != sum.String() || sum.Sign() >= 0 {
			t.Errorf("%s: sums %+v, want %s", m.Month, m.Totals, sum)
		}
	}
	var lines int64
	left := new(big.Rat)
	for _, u := range got.Unpriced {
		lines += u.Lines
		net, _ := new(big.Rat).SetString(u.Net)
		left.Add(left, net)
		if u.Line == "input" && (u.Model == shared || u.Model == direct) && u.Why == NoRow {
			t.Errorf("it has a row: %+v", u)
		}
	}
	if want := r.One("SELECT count(*) FROM focus_lines WHERE NOT (line = 'input' AND price IS NOT NULL AND model IN ('" +
		shared + "', '" + direct + "'))"); fmt.Sprint(lines) != want {
		t.Errorf("%d lines are left, want %s", lines, want)
	}
	if !slices.ContainsFunc(got.Findings, func(f allocate.Finding) bool {
		return strings.Contains(f.Message, "have no price in the file and cost what they do: ")
	}) {
		t.Errorf("%+v", got.Findings)
	}

	// Rows that are the price of nothing are told, with what may be meant.
	got, err = check("model,line,price,from,account,currency\nclaude*,input,1,,,\n" + shared + ",input,2,,,\n" +
		shared[1:] + ",input,1,,,\n" + shared + ",image/none,1,,,\n*,output,1,2027-01-01,,\n*,output,2,,acmee,\n")
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, f := range got.Findings {
		said += f.Severity + " " + f.Source + " " + f.Message + "\n"
	}
	for _, want := range []string{"warning prices.csv:3 prices.csv:2 has all that it matches",
		`warning prices.csv:4 nothing was ever used of the model "` + shared[1:] + `": did you mean ` + shared + "?",
		"warning prices.csv:5 " + shared + `: nothing was ever used of the line "image/none"`,
		"info prices.csv:6 * output: nothing of it was used in these months",
		`warning prices.csv:7 nothing was ever used of the account "acmee": did you mean acme?`} {
		if !strings.Contains(said, want) {
			t.Errorf("no word of %q in\n%s", want, said)
		}
	}
	for text, want := range map[string]string{
		"model,price\n*,1\n":                                               "prices.csv:1: no column line",
		"model,line,price\n":                                               "no row has a price",
		"model,line,price\n,input,1\n":                                     "prices.csv:2: no model: write its name",
		"model,line,price\n*,inptu,1\n":                                    `prices.csv:2: line "inptu" is none of`,
		"model,line,price\n*,input,-1\n":                                   "prices.csv:2: price: -1 is less than 0",
		"model,line,price\n*,input,\n":                                     `prices.csv:2: "" is not an amount like`,
		"model,line,price\n*,input,0.0000000000001\n":                      "at most 12 decimals",
		"model,line,price,currency\n*,input,1,usd\n":                       `prices.csv:2: currency "usd" is not`,
		"model,line,price\n*,input,1\n*,input,2\n":                         "3: * input has a price in prices.csv:2 already",
		"model,line,price,from\n*,input,1,2026-11-31\n":                    "prices.csv:2: from: ",
		"model,line,price,from,to\nx,input,1,2026-11-02," + "2026-11-01\n": "is not before to",
	} {
		if _, err := check(text); !errors.Is(err, config.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	// Pools are split by the rules, which have to be those that are published.
	w.ruleFiles(map[string]string{"allocation.yaml": "rules: [{id: all, assign: {cost_center: G}}]\n"})
	if _, err := check(half); !errors.Is(err, config.ErrUsage) || kit.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}
