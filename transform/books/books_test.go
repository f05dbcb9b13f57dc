package books

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas"
)

func money(t testing.TB, s string) schemas.Money {
	t.Helper()
	m, err := schemas.ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// credit is a top-up of "kind amount from[-expires]", days as numbers.
func credit(t testing.TB, id, text string) *schemas.Credit {
	t.Helper()
	var kind, amount, days string
	if _, err := fmt.Sscan(text, &kind, &amount, &days); err != nil {
		t.Fatal(err)
	}
	c := &schemas.Credit{ID: id, TopUp: schemas.TopUp{Kind: kind, Amount: money(t, amount)}}
	var from, expires schemas.Date
	if n, _ := fmt.Sscanf(days, "%d-%d", &from, &expires); n == 2 {
		c.Expires = &expires
	}
	c.From, c.Date = from, from
	return c
}

// text is the entries in short: "1 draw a 30, …".
func text(entries []schemas.CreditEntry) string {
	var out []string
	for _, e := range entries {
		s := fmt.Sprintf("%d %s ", int(e.Day), e.Kind)
		if e.Credit != nil {
			s += e.Credit.ID + " "
		}
		out = append(out, s+e.Amount.String())
	}
	return strings.Join(out, ", ")
}

func TestCreditIsDrawnInItsOrder(t *testing.T) {
	for _, c := range []struct {
		what, draw string
		credits    []string // a, b, …
		usage      string   // of days 1, 2, …
		want       string
	}{
		{"paid 100 and a coupon of 10 that expires on the third day, usage 30, 50, 40: by date alone", schemas.DrawFIFO,
			[]string{"paid 100 1", "coupon 10 1-3"}, "30 50 40",
			"1 top_up a 100, 1 top_up b 10, 1 draw a 30, 2 draw a 50, 3 expiry b 10, 3 draw a 20, 3 overdrawn 20"},
		{"the same, coupons first", schemas.DrawCouponsFirst,
			[]string{"paid 100 1", "coupon 10 1-3"}, "30 50 40",
			"1 top_up a 100, 1 top_up b 10, 1 draw b 10, 1 draw a 20, 2 draw a 50, 3 draw a 30, 3 overdrawn 10"},
		{"what is overdrawn is covered on the day of the next top-up, and the rest of that pays on", schemas.DrawFIFO,
			[]string{"paid 10 1", "paid 20 3"}, "15 1 5",
			"1 top_up a 10, 1 draw a 10, 1 overdrawn 5, 2 overdrawn 1, 3 top_up b 20, 3 cover b 6, 3 draw b 5"},
		{"the earliest expiry first, then what doesn't expire, then the date", schemas.DrawCouponsFirst,
			[]string{"paid 5 1", "paid 5 1-9", "coupon 5 1", "coupon 5 2-9", "coupon 5 2-8", "credit 5 1"}, "0 30",
			"1 top_up a 5, 1 top_up b 5, 1 top_up c 5, 1 top_up f 5, 2 top_up d 5, 2 top_up e 5, " +
				"2 draw e 5, 2 draw d 5, 2 draw c 5, 2 draw b 5, 2 draw a 5, 2 draw f 5"},
		{"by date, and of one day by line", schemas.DrawFIFO, []string{"coupon 5 2", "paid 5 1", "paid 5 2"}, "0 12",
			"1 top_up b 5, 2 top_up a 5, 2 top_up c 5, 2 draw b 5, 2 draw a 5, 2 draw c 2"},
		{"a refund undoes the last draws, the last first", schemas.DrawFIFO, []string{"paid 10 1", "paid 10 1"},
			"8 7 -9 3", "1 top_up a 10, 1 top_up b 10, 1 draw a 8, 2 draw a 2, 2 draw b 5, " +
				"3 draw b -5, 3 draw a -4, 4 draw a 3"},
		{"what comes back to an expired credit is breakage at once", schemas.DrawFIFO, []string{"coupon 10 1-3"},
			"8 0 0 -5", "1 top_up a 10, 1 draw a 8, 3 expiry a 2, 4 draw a -5, 4 expiry a 5"},
		{"a refund takes back what is overdrawn before it gives credit back", schemas.DrawFIFO, []string{"paid 10 1"},
			"15 -7 4", "1 top_up a 10, 1 draw a 10, 1 overdrawn 5, 2 overdrawn -5, 2 draw a -2, 3 draw a 2, 3 overdrawn 2"},
		{"what was never drawn is owed, and used first", schemas.DrawFIFO, []string{"paid 10 1"}, "1 -4 5",
			"1 top_up a 10, 1 draw a 1, 2 draw a -1, 2 overdrawn -3, 3 overdrawn 3, 3 draw a 2"},
		{"a top-up that expired before it was told is breakage", schemas.DrawFIFO, []string{"coupon 10 2-1"}, "3 3",
			"1 overdrawn 3, 2 top_up a 10, 2 expiry a 10, 2 overdrawn 3"},
		{"nothing of days that are to come", schemas.DrawFIFO, []string{"paid 10 1-7", "paid 10 6"}, "3",
			"1 top_up a 10, 1 draw a 3"},
	} {
		var credits []*schemas.Credit
		for i, s := range c.credits {
			credits = append(credits, credit(t, string(rune('a'+i)), s))
		}
		var usage []schemas.DayUsage
		for i, s := range strings.Fields(c.usage) {
			usage = append(usage, schemas.DayUsage{Day: schemas.Date(i + 1), Amount: money(t, s)})
		}
		if got := text(newLedger(c.draw).run(credits, usage, 0, 0)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.what, got, c.want)
		}
	}
}

// naive draws unit by unit: each looks at all credits anew. It is written to be read, not to be quick.
type naive struct {
	credits   []*schemas.Credit
	left      []int64
	there     []bool
	stack     []int // of each unit that is drawn, its credit
	overdrawn int64
	sums      map[string]int64 // by day, kind and credit
}

func (n *naive) turn(draw string) int {
	best := -1
	before := func(a, b *schemas.Credit) bool {
		if draw == schemas.DrawCouponsFirst {
			if (a.Kind == schemas.TopUpCoupon) != (b.Kind == schemas.TopUpCoupon) {
				return a.Kind == schemas.TopUpCoupon
			}
			x, y := schemas.Date(1<<30), schemas.Date(1<<30)
			if a.Expires != nil {
				x = *a.Expires
			}
			if b.Expires != nil {
				y = *b.Expires
			}
			if x != y {
				return x < y
			}
		}
		return a.From < b.From
	}
	for i, c := range n.credits {
		if n.there[i] && n.left[i] > 0 && (best < 0 || before(c, n.credits[best])) {
			best = i
		}
	}
	return best
}

func (n *naive) note(day schemas.Date, kind, id string, units int64) {
	n.sums[fmt.Sprintf("%d %s %s", int(day), kind, id)] += units
}

func (n *naive) day(draw string, day schemas.Date, used int64) {
	for i, c := range n.credits {
		if c.From == day {
			n.there[i] = true
			n.left[i] = c.Amount.Units().Int64()
			n.note(day, schemas.EntryTopUp, c.ID, n.left[i])
		}
	}
	for i, c := range n.credits {
		if n.there[i] && c.Expires != nil && *c.Expires <= day && n.left[i] > 0 {
			n.note(day, schemas.EntryExpiry, c.ID, n.left[i])
			n.left[i] = 0
		}
	}
	take := func(kind string) bool {
		i := n.turn(draw)
		if i < 0 {
			return false
		}
		n.left[i]--
		n.stack = append(n.stack, i)
		n.note(day, kind, n.credits[i].ID, 1)
		return true
	}
	for n.overdrawn > 0 && take(schemas.EntryCover) {
		n.overdrawn--
	}
	for ; used > 0; used-- {
		if n.overdrawn < 0 || !take(schemas.EntryDraw) {
			n.overdrawn++
			n.note(day, schemas.EntryOverdrawn, "", 1)
		}
	}
	for ; used < 0; used++ {
		if n.overdrawn > 0 || len(n.stack) == 0 {
			n.overdrawn--
			n.note(day, schemas.EntryOverdrawn, "", -1)
			continue
		}
		i := n.stack[len(n.stack)-1]
		n.stack = n.stack[:len(n.stack)-1]
		n.note(day, schemas.EntryDraw, n.credits[i].ID, -1)
		if c := n.credits[i]; c.Expires != nil && *c.Expires <= day {
			n.note(day, schemas.EntryExpiry, c.ID, 1)
		} else {
			n.left[i]++
		}
	}
}

// Whatever is topped up, used and refunded: the ledger is what drawing unit by unit comes to; draws, what is left and
// what expired are what was topped up; and a ledger that is cut anywhere and replayed goes on as the whole one did.
func TestLedgersAreWhatDrawingUnitByUnitComesTo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := rapid.SampledFrom([]string{schemas.DrawFIFO, schemas.DrawCouponsFirst}).Draw(rt, "draw")
		day := rapid.IntRange(1, 14)
		n := naive{sums: map[string]int64{}}
		for i := range rapid.IntRange(0, 6).Draw(rt, "credits") {
			c := &schemas.Credit{ID: fmt.Sprint("c", i), From: schemas.Date(day.Draw(rt, "from")), TopUp: schemas.TopUp{
				Kind:   rapid.SampledFrom([]string{schemas.TopUpPaid, schemas.TopUpCoupon, schemas.TopUpCredit}).Draw(rt, "kind"),
				Amount: schemas.MoneyOf(big.NewInt(rapid.Int64Range(1, 30).Draw(rt, "amount")))}}
			if rapid.Bool().Draw(rt, "expires") {
				e := schemas.Date(day.Draw(rt, "expiry"))
				c.Expires = &e
			}
			n.credits = append(n.credits, c)
		}
		n.left, n.there = make([]int64, len(n.credits)), make([]bool, len(n.credits))
		var usage []schemas.DayUsage
		for d := schemas.Date(1); d <= 12; d++ {
			v := rapid.Int64Range(-20, 30).Draw(rt, "used")
			usage = append(usage, schemas.DayUsage{Day: d, Amount: schemas.MoneyOf(big.NewInt(v))})
		}
		for d := schemas.Date(1); d <= 14; d++ {
			var used int64
			if int(d) <= len(usage) {
				used = usage[d-1].Amount.Units().Int64()
			}
			n.day(draw, d, used)
		}
		l := newLedger(draw)
		entries := l.run(n.credits, usage, 0, 14)
		got, byCredit := map[string]int64{}, map[string]int64{}
		for _, e := range entries {
			id, v := "", e.Amount.Units().Int64()
			if e.Credit != nil {
				id = e.Credit.ID
				if e.Kind != schemas.EntryTopUp {
					byCredit[id] += v
				}
			}
			got[fmt.Sprintf("%d %s %s", int(e.Day), e.Kind, id)] += v
		}
		for key := range n.sums {
			if n.sums[key] != got[key] {
				rt.Fatalf("%s: %d, unit by unit %d\n%s", key, got[key], n.sums[key], text(entries))
			}
		}
		if len(got) != len(n.sums) {
			rt.Fatalf("%d sums, unit by unit %d\n%s", len(got), len(n.sums), text(entries))
		}
		for i, c := range n.credits {
			left := l.credits[c.ID].left.Units().Int64()
			if left != n.left[i] || byCredit[c.ID]+left != c.Amount.Units().Int64() {
				rt.Fatalf("%s: drawn and expired %d, left %d (unit by unit %d) of %s", c.ID, byCredit[c.ID], left, n.left[i],
					c.Amount)
			}
			if l.overdrawn.Sign() > 0 && left > 0 {
				rt.Fatalf("%s has %d left, and %s are overdrawn", c.ID, left, l.overdrawn)
			}
		}
		if v := l.overdrawn.Units().Int64(); v != n.overdrawn {
			rt.Fatalf("overdrawn %d, unit by unit %d", v, n.overdrawn)
		}
		// Cut before a day, as a month is closed.
		cut := schemas.Date(rapid.IntRange(1, 15).Draw(rt, "cut"))
		k := slices.IndexFunc(entries, func(e schemas.CreditEntry) bool { return e.Day >= cut })
		if k < 0 {
			k = len(entries)
		}
		again := newLedger(draw)
		if err := again.replay(entries[:k]); err != nil {
			rt.Fatal(err)
		}
		later := slices.DeleteFunc(slices.Clone(n.credits), func(c *schemas.Credit) bool { return c.From < cut })
		rest := again.run(later, usage[min(int(cut)-1, len(usage)):], cut, 14)
		if a, b := text(rest), text(entries[k:]); a != b {
			rt.Fatalf("cut before %d:\n%s\nwant\n%s", int(cut), a, b)
		}
	})
}

func TestWhatCantHaveComeAboutIsNotReplayed(t *testing.T) {
	a, b := credit(t, "a", "paid 10 1"), credit(t, "b", "paid 10 1")
	up := func(c *schemas.Credit) schemas.CreditEntry {
		return schemas.CreditEntry{Day: 1, Kind: schemas.EntryTopUp, Credit: c, Amount: c.Amount}
	}
	draw := func(c *schemas.Credit, amount string) schemas.CreditEntry {
		return schemas.CreditEntry{Day: 1, Kind: schemas.EntryDraw, Credit: c, Amount: money(t, amount)}
	}
	over := func(day schemas.Date) schemas.CreditEntry {
		return schemas.CreditEntry{Day: day, Kind: schemas.EntryOverdrawn, Amount: money(t, "1")}
	}
	for want, entries := range map[string][]schemas.CreditEntry{
		"follows":                  {over(2), over(1)},
		"before it is topped up":   {draw(a, "1")},
		"more is drawn":            {up(a), draw(a, "11")},
		"which wasn't drawn last":  {up(a), up(b), draw(a, "1"), draw(b, "-1")},
		"1970-01-02: 2 is given b": {up(a), draw(a, "1"), draw(a, "-2")},
	} {
		if err := newLedger(schemas.DrawFIFO).replay(entries); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// 10,000 top-ups and ten years of days are no work.
func BenchmarkManyTopUps(b *testing.B) {
	for b.Loop() {
		l := newLedger(schemas.DrawCouponsFirst)
		var credits []*schemas.Credit
		for i := range 10_000 {
			e := schemas.Date(i/3 + 40)
			credits = append(credits, &schemas.Credit{ID: fmt.Sprint(i), From: schemas.Date(i / 3), TopUp: schemas.TopUp{
				Kind: schemas.TopUpCoupon, Expires: &e, Amount: schemas.MoneyOf(big.NewInt(1000))}})
		}
		var usage []schemas.DayUsage
		for d := range 3650 {
			usage = append(usage, schemas.DayUsage{Day: schemas.Date(d),
				Amount: schemas.MoneyOf(big.NewInt(int64(d*7919%5000 - 500)))})
		}
		l.run(credits, usage, 0, 3650)
	}
}
