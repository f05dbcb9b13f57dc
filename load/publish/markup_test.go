package publish

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func percent(t rapid.TB, s string) *schemas.Decimal {
	d, err := schemas.ParseDecimal([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

func amountOf(s string) *schemas.Money {
	m := money(s)
	return &m
}

// Terms that are reckoned by hand: a percentage of the cost in each currency, rounded at the twelfth decimal; a price
// of each record; a fee and a minimum, due where nothing was used, too; and nothing of what has no cost centre.
func TestMarkupsByHand(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for _, c := range []struct{ day, token, amount, currency string }{
		// loadtest.Rules: tk_0 is cc-0's, …; tk_1 is nobody's
		{"2026-10-05", "tk_0", "10.000000000033", "USD"}, {"2026-10-06", "tk_0", "7", "CNY"},
		{"2026-10-07", "tk_1", "99", "USD"}, {"2026-11-02", "tk_0", "1", "USD"}, {"2026-11-03", "tk_2", "30", "USD"},
	} {
		p := schemas.Partition{Account: "acme-" + strings.ToLower(c.currency), Date: schemastest.Date(c.day)}
		w.Charges(p, loadtest.Charge(p, c.token+c.day, c.token, "m1", c.amount, c.currency))
	}
	f := Finance{Rules: loadtest.Rules{Name: "a"}}
	november := schemastest.Date("2026-11-01").Month()
	f.Markups = []schemas.Markup{
		{CostCenter: "cc-0", Percent: percent(t, "2.5"), PerRequest: amountOf("0.25"), Currency: "USD"},
		{PerPeriod: amountOf("100"), Minimum: amountOf("140"), Currency: "USD", From: &november},
		{CostCenter: "cc-idle", PerPeriod: amountOf("5"), Currency: "EUR", From: &november},
	}
	w.publish(PublishOptions{Finance: f})
	got := w.Ask(`SELECT concat_ws(' ', period, cost_center, currency, requests, coalesce(net_cost::VARCHAR, 'none'),
		percent_markup, request_markup, period_fee, minimum_charge, markup, charged) AS t FROM markup_monthly
		ORDER BY period, cost_center, currency`)
	want := []string{
		"2026-10 cc-0 CNY 1 7 0.175 0 0 0 0.175 7.175",
		"2026-10 cc-0 USD 1 10.000000000033 0.250000000001 0.25 0 0 0.500000000001 10.500000000034",
		"2026-11 cc-0 USD 1 1 0.025 0.25 0 0 0.275 1.275",
		"2026-11 cc-2 USD 1 30 0 0 100 10 110 140",
		"2026-11 cc-idle EUR 0 none 0 0 5 0 5 5",
	}
	for i, row := range texts(got) {
		var cells []string
		for _, cell := range strings.Fields(row) {
			if strings.Contains(cell, ".") { // twelve decimals
				cell = strings.TrimRight(strings.TrimRight(cell, "0"), ".")
			}
			cells = append(cells, cell)
		}
		got[i] = strings.Join(cells, " ")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Of random usage, terms and calendars, each mark-up is what an exact reckoning makes of what is charged; and a month
// that is closed keeps its own, whatever comes and whatever is charged on top from then on.
func TestMarkupsAreTheCostsByTheirTermsAndClosedOnesStay(t *testing.T) {
	few(t, 2)
	calendars := someBooks(t)
	rapid.Check(t, func(rt *rapid.T) {
		w := newDayWriter(t, load.Options{})
		f := testFinance
		f.Books = calendars[rapid.SampledFrom(sortedNames(calendars)).Draw(rt, "books")]
		f.Archived = archived(f.Rules)
		seed := int64(0)
		write := func(day int) {
			seed++
			w.RandomDay(schemas.Partition{Account: []string{"acme", "zeta-2"}[day%2],
				Date: schemastest.Date("2026-08-15") + schemas.Date(day)}, rapid.IntRange(1, 40).Draw(rt, "rows"), seed)
		}
		for _, d := range []int{0, 1, 20, 41, 50} {
			write(d)
		}
		draw := func() []schemas.Markup {
			var out []schemas.Markup
			for _, of := range []string{"cc-0", "cc-2", ""} {
				p := schemas.Decimal(rapid.Int64Range(0, 30_000_000).Draw(rt, "percent")) * 1_000_000
				m := schemas.Markup{CostCenter: of, Percent: &p, Currency: "USD"}
				if rapid.Bool().Draw(rt, "fees") {
					m.PerRequest, m.PerPeriod, m.Minimum = amountOf("0.000000000007"), amountOf("3.25"),
						amountOf(fmt.Sprint(rapid.IntRange(0, 20_000).Draw(rt, "minimum")))
				}
				out = append(out, m)
			}
			return out
		}
		f.Markups = draw()
		w.publish(PublishOptions{Finance: f})
		checkMarkups(rt, w, f.Markups, "")
		august := f.Books.Month(schemastest.Date("2026-08-16")).First().String()
		if _, err := w.closeMonth(august[:7], f); err != nil {
			rt.Fatal(err)
		}
		kept := "SELECT * FROM markup_monthly WHERE \"month\" = '" + august + "' ORDER BY ALL"
		want := w.Ask(kept)
		if len(want) == 0 {
			rt.Fatal("nothing is marked up in the closed month")
		}
		f.Markups = draw()
		write(1) // comes late
		w.publish(PublishOptions{Finance: f})
		if got := w.Ask(kept); !slices.Equal(got, want) {
			rt.Fatalf("the closed month has\n%s\nand had\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		checkMarkups(rt, w, f.Markups, august)
		closed := func() []Finding {
			return slices.DeleteFunc(w.verify().Findings, func(x Finding) bool { return x.Check != FoundClosed })
		}
		if found := closed(); len(found) > 0 {
			rt.Fatalf("%+v", found)
		}
		w.tamper("UPDATE closed_markups SET period_fee = period_fee + 1")
		if found := closed(); len(found) != 1 || !strings.Contains(found[0].Detail, "other mark-ups") {
			rt.Fatalf("a mark-up was changed: %+v", found)
		}
	})
}

// checkMarkups holds the mark-ups of all months but one against what is charged in them.
func checkMarkups(rt *rapid.T, w *dayWriter, terms []schemas.Markup, but string) {
	rat := func(text string) *big.Rat {
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			rt.Fatalf("%q is no number", text)
		}
		return r
	}
	type line struct{ month, center, currency string }
	want := map[line]*big.Rat{}
	for _, row := range texts(w.Ask(`SELECT concat_ws(' ', billing_month, cost_center, coalesce(currency, '-'),
		sum(requests), coalesce(sum(net_cost), 0)) AS t FROM chargeback_daily WHERE cost_center <> '(unallocated)'
		GROUP BY billing_month, cost_center, currency`)) {
		x := strings.Fields(row)
		l, requests, net := line{x[0], x[1], x[2]}, rat(x[3]), rat(x[4])
		i := slices.IndexFunc(terms, func(m schemas.Markup) bool { return m.CostCenter == l.center })
		m := terms[len(terms)-1]
		if i >= 0 {
			m = terms[i]
		}
		part := new(big.Rat).Mul(net, big.NewRat(int64(*m.Percent), 100_000_000_000_000))
		sum := rat(part.FloatString(schemas.DecimalScale)) // rounds halves away from zero
		if l.currency == m.Currency && m.PerPeriod != nil {
			sum.Add(sum, new(big.Rat).Mul(requests, m.PerRequest.Rat()))
			sum.Add(sum, m.PerPeriod.Rat())
			if lacks := new(big.Rat).Sub(m.Minimum.Rat(), new(big.Rat).Add(net, sum)); lacks.Sign() > 0 {
				sum.Add(sum, lacks)
			}
		}
		if l.month != but {
			want[l] = sum
		}
	}
	for _, row := range texts(w.Ask(`SELECT concat_ws(' ', "month", cost_center, coalesce(currency, '-'), markup,
		charged - coalesce(net_cost, 0)) AS t FROM markup_monthly`)) {
		x := strings.Fields(row)
		l := line{x[0], x[1], x[2]}
		if l.month == but {
			continue
		}
		sum, charged := want[l], rat(x[3])
		if sum == nil { // a fee where nothing was used
			m := terms[slices.IndexFunc(terms, func(m schemas.Markup) bool { return m.CostCenter == l.center })]
			sum = m.PerPeriod.Rat()
			if m.Minimum.Rat().Cmp(sum) > 0 {
				sum = m.Minimum.Rat()
			}
		}
		if sum.Cmp(charged) != 0 || charged.Cmp(rat(x[4])) != 0 {
			rt.Fatalf("%v is marked up by %s and %s, want %s", l, x[3], x[4], sum.FloatString(12))
		}
		delete(want, l)
	}
	if len(want) > 0 {
		rt.Fatalf("not marked up: %v", want)
	}
}
