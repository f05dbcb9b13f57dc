package publish

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
	"github.com/usagelake/usagelake/transform/books"
)

// topUp is a top-up of acme of "date kind amount[ expires]".
func topUp(text string) schemas.TopUp {
	f := strings.Fields(text)
	t := schemas.TopUp{Account: "acme", Date: schemastest.Date(f[0]), Kind: f[1], Amount: money(f[2]), Currency: "USD",
		Source: "t.csv:2"}
	if len(f) > 3 {
		d := schemastest.Date(f[3])
		t.Expires = &d
	}
	return t
}

// prepaidFinance is testFinance with acme prepaid.
func prepaidFinance(draw string, topUps ...schemas.TopUp) Finance {
	f := testFinance
	f.Archived = archived(f.Rules)
	f.Draw = books.Draw
	f.Billing = []schemas.Billing{{Account: "acme", Billing: schemas.Prepaid, Draw: draw, TopUpsGiven: true},
		{Account: "zeta-2", Billing: schemas.Postpaid}}
	f.TopUps = topUps
	return f
}

// spend writes a day of acme with records of these amounts, an hour apart from midnight UTC on.
func (w *dayWriter) spend(date string, amounts ...string) {
	w.T.Helper()
	p := schemas.Partition{Account: "acme", Date: schemastest.Date(date)}
	var rows []string
	for i, a := range amounts {
		rows = append(rows, loadtest.Charge(p, fmt.Sprint("r", i), "tk_2", "m", a, "USD",
			fmt.Sprintf("request_time=TIMESTAMPTZ '%s %02d:00:00Z'", date, i)))
	}
	w.DayFrom(p, strings.Join(rows, " UNION ALL "), fmt.Sprintf("d-%s-%s", p, amounts), nil)
}

// ledgerOf is the ledger in short: "10-01 draw 2026-10-01/1 30", a line each.
const ledgerOf = `SELECT strftime(book_date, '%m-%d') || ' ' || entry || coalesce(' ' || credit, '') || ' ' ||
	regexp_replace(amount::VARCHAR, '\.?0+$', '') AS t FROM prepaid_ledger ORDER BY account, currency, book_date, line`

// focusOf are the sums of FOCUS, by month and category: billed, effective, contracted and list cost.
const focusOf = `SELECT format('{} {} {} {} {} {} {}', strftime("BillingPeriodStart" AT TIME ZONE 'UTC', '%Y-%m'),
	"ChargeCategory", "ChargeFrequency", sum("BilledCost")::INT, sum("EffectiveCost")::INT, sum("ContractedCost")::INT,
	sum("ListCost")::INT) AS t FROM focus
	GROUP BY "BillingPeriodStart", "ChargeCategory", "ChargeFrequency" ORDER BY "BillingPeriodStart",
	"ChargeFrequency", "ChargeCategory"`

// Paid 100 and a coupon of 10 that expires, usage of 30, 50 and 40: draws, what is left, expired and overdrawn, by
// hand.
func TestPaidAndACouponByHand(t *testing.T) {
	for draw, want := range map[string][3]string{
		schemas.DrawFIFO: {"10-01 top_up 2026-10-01/1 100|10-01 top_up 2026-10-01/2 10|10-01 draw 2026-10-01/1 30|" +
			"10-02 draw 2026-10-01/1 50|10-03 expiry 2026-10-01/2 10|10-03 draw 2026-10-01/1 20|10-03 overdrawn 20",
			"2026-10-01/1 100 100 0 0|2026-10-01/2 10 0 10 0", "0 100 10 0 100 10 0 120 20"},
		schemas.DrawCouponsFirst: {"10-01 top_up 2026-10-01/1 100|10-01 top_up 2026-10-01/2 10|" +
			"10-01 draw 2026-10-01/2 10|10-01 draw 2026-10-01/1 20|10-02 draw 2026-10-01/1 50|10-03 draw 2026-10-01/1 30|" +
			"10-03 overdrawn 10",
			"2026-10-01/1 100 100 0 0|2026-10-01/2 10 10 0 0", "0 100 10 0 110 0 0 120 10"},
	} {
		w := newDayWriter(t, load.Options{})
		w.spend("2026-10-01", "10", "20")
		w.spend("2026-10-02", "50")
		w.spend("2026-10-03", "15", "25")
		w.Balance(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-03")}, "5")
		w.publish(PublishOptions{Finance: prepaidFinance(draw, topUp("2026-10-01 paid 100"),
			topUp("2026-10-01 coupon 10 2026-10-03"))})
		number := func(c string) string { return `regexp_replace(` + c + `::VARCHAR, '\.?0+$', '')` }
		for i, query := range []string{ledgerOf,
			`SELECT concat_ws(' ', credit, ` + number("amount") + `, ` + number("drawn") + `, ` + number("expired") + `, ` +
				number("remaining") + `) AS t FROM credits ORDER BY credit`,
			`SELECT concat_ws(' ', ` + number("opening") + `, ` + number("paid") + `, ` + number("coupons") + `, ` +
				number("credited") + `, ` + number("drawn") + `, ` + number("expired") + `, ` + number("closing") + `, ` +
				number("used") + `, ` + number("overdrawn") + `) AS t FROM prepaid_monthly`} {
			if got := strings.Join(texts(w.Ask(query)), "|"); got != want[i] {
				t.Errorf("%s: %s\nwant %s", draw, got, want[i])
			}
		}
		if got, want := strings.Join(texts(w.Ask(focusOf)), "|"), "2026-10 Credit One-Time 0 0 0 10|"+
			"2026-10 Purchase One-Time 100 0 100 100|2026-10 Adjustment Usage-Based 0 120 120 120"; got != want {
			t.Errorf("%s: FOCUS has %s\nwant %s", draw, got, want)
		}
		// The look is of midnight: 40 were used since, and 20 or 10 are overdrawn then.
		over := map[string]string{schemas.DrawFIFO: "-15", schemas.DrawCouponsFirst: "-25"}[draw]
		if got := w.One(`SELECT format('{} {}', since_look::INT, difference::INT) AS t FROM prepaid_monthly`); !strings.
			Contains(got, "-40 "+over) {
			t.Errorf("%s: %s, want -40 %s", draw, got, over)
		}
	}
}

// reckoned is a credit in a reckoning of its own, by looking at all of them for each draw.
type reckoned struct {
	*schemas.TopUp
	id   string
	left *big.Int
}

// Random records, top-ups, coupons and expiries, in any books and both orders: the ledger, the credits and the months
// are what an independent reckoning of the records comes to; records' draws sum to the ledger and to their amounts; and
// it is the same whether the file is brought up to date or built from nothing.
func TestDrawsAreTheRecordsToTheLastDigit(t *testing.T) {
	few(t, 2)
	calendars := someBooks(t)
	rapid.Check(t, func(rt *rapid.T) {
		draw := rapid.SampledFrom([]string{schemas.DrawFIFO, schemas.DrawCouponsFirst}).Draw(rt, "draw")
		f := prepaidFinance(draw)
		f.Books = calendars[rapid.SampledFrom(sortedNames(calendars)).Draw(rt, "books")]
		day := rapid.IntRange(0, 24)
		on := func(n int) schemas.Date { return schemastest.Date("2026-09-20") + schemas.Date(n) }
		for i := range rapid.IntRange(3, 8).Draw(rt, "top-ups") {
			u := topUp(fmt.Sprintf("%s %s %d.%06d", on(day.Draw(rt, "date")), rapid.SampledFrom([]string{"paid", "coupon",
				"credit"}).Draw(rt, "kind"), rapid.IntRange(1, 40).Draw(rt, "amount"), i+1))
			if rapid.Bool().Draw(rt, "expires") {
				d := u.Date + schemas.Date(1+day.Draw(rt, "for"))
				u.Expires = &d
			}
			f.TopUps = append(f.TopUps, u)
		}
		w := newDayWriter(t, load.Options{})
		for d := range 22 {
			var amounts []string
			for range rapid.IntRange(0, 5).Draw(rt, "records") {
				amounts = append(amounts, fmt.Sprintf("%d.%012d", rapid.IntRange(-3, 6).Draw(rt, "whole"),
					rapid.IntRange(0, 999_999_999_999).Draw(rt, "part")))
			}
			if len(amounts) > 0 {
				w.spend(on(d).String(), amounts...)
			}
			if d == 11 {
				w.publish(PublishOptions{Finance: f})
			}
		}
		w.publish(PublishOptions{Finance: f})
		checkDraws(rt, w, f)
		before := w.Dump()
		w.publish(PublishOptions{Finance: f, Full: true})
		if d := w.Dump(); d != before {
			rt.Fatal("built from nothing: ", schemastest.FirstDifference(before, d))
		}
	})
}

// checkDraws holds the tables against the records, reckoned anew in whole units of 10⁻¹².
func checkDraws(rt *rapid.T, w *dayWriter, f Finance) {
	used := map[schemas.Date]*big.Int{}
	last := schemas.Date(0)
	for _, row := range texts(w.Ask(`SELECT epoch_us(request_time)::VARCHAR || ' ' || amount::VARCHAR AS t FROM usage`)) {
		var at int64
		var amount string
		if _, err := fmt.Sscan(row, &at, &amount); err != nil {
			rt.Fatal(err)
		}
		d := f.Books.Day(time.UnixMicro(at))
		if used[d] == nil {
			used[d] = new(big.Int)
		}
		used[d].Add(used[d], money(amount).Units())
		last = max(last, d)
	}
	until := schemastest.Date(strings.TrimSpace(texts(w.Ask("SELECT complete_before::VARCHAR AS t FROM data_as_of"))[0]))
	var credits []*reckoned
	want := map[string]*big.Int{}
	note := func(d schemas.Date, entry, id string, v *big.Int) {
		key := fmt.Sprint(d, " ", entry, " ", id)
		if want[key] == nil {
			want[key] = new(big.Int)
		}
		want[key].Add(want[key], v)
	}
	type drawn struct {
		*reckoned
		v *big.Int
	}
	var stack []drawn
	over := new(big.Int)
	first := slices.MinFunc(f.TopUps, func(a, b schemas.TopUp) int { return int(a.Date - b.Date) }).Date - 30
	for d := first; d <= max(until, last); d++ {
		for i := range f.TopUps {
			if t := &f.TopUps[i]; t.Date == d {
				n := 1
				for _, c := range credits {
					if c.Date == d {
						n++
					}
				}
				c := &reckoned{t, fmt.Sprintf("%s/%d", d, n), t.Amount.Units()}
				credits = append(credits, c)
				note(d, "top_up", c.id, c.left)
			}
		}
		for _, c := range credits {
			if c.Expires != nil && *c.Expires == d {
				note(d, "expiry", c.id, c.left)
				c.left = new(big.Int)
			}
		}
		turn := func() *reckoned { // by looking at all
			open := slices.DeleteFunc(slices.Clone(credits), func(c *reckoned) bool { return c.left.Sign() == 0 })
			slices.SortStableFunc(open, func(a, b *reckoned) int {
				never := schemas.Date(1 << 30)
				x, y := never, never
				if a.Expires != nil {
					x = *a.Expires
				}
				if b.Expires != nil {
					y = *b.Expires
				}
				coupons := map[bool]int{true: 0, false: 1}
				if f.Billing[0].Draw == schemas.DrawCouponsFirst {
					if v := coupons[a.Kind == "coupon"] - coupons[b.Kind == "coupon"]; v != 0 {
						return v
					}
					if x != y {
						return int(x - y)
					}
				}
				return int(a.Date - b.Date)
			})
			if len(open) == 0 {
				return nil
			}
			return open[0]
		}
		take := func(entry string, v *big.Int) {
			for c := turn(); c != nil && v.Sign() > 0; c = turn() {
				part := new(big.Int).Set(v)
				if c.left.Cmp(v) < 0 {
					part.Set(c.left)
				}
				c.left = new(big.Int).Sub(c.left, part)
				v.Sub(v, part)
				stack = append(stack, drawn{c, new(big.Int).Set(part)})
				note(d, entry, c.id, part)
			}
		}
		if over.Sign() > 0 {
			take("cover", over)
		}
		left := new(big.Int)
		if used[d] != nil {
			left.Set(used[d])
		}
		if left.Sign() < 0 && over.Sign() > 0 {
			part := new(big.Int).Neg(left)
			if over.Cmp(part) < 0 {
				part.Set(over)
			}
			over.Sub(over, part)
			left.Add(left, part)
			note(d, "overdrawn", "", new(big.Int).Neg(part))
		}
		for left.Sign() < 0 && len(stack) > 0 {
			top := stack[len(stack)-1]
			part := new(big.Int).Neg(left)
			if top.v.Cmp(part) < 0 {
				part.Set(top.v)
			}
			if top.v.Sub(top.v, part); top.v.Sign() == 0 {
				stack = stack[:len(stack)-1]
			}
			left.Add(left, part)
			note(d, "draw", top.id, new(big.Int).Neg(part))
			if top.Expires != nil && *top.Expires <= d {
				note(d, "expiry", top.id, part)
			} else {
				top.left = new(big.Int).Add(top.left, part)
			}
		}
		if left.Sign() > 0 && over.Sign() < 0 {
			part := new(big.Int).Neg(over)
			if left.Cmp(part) < 0 {
				part.Set(left)
			}
			over.Add(over, part)
			left.Sub(left, part)
			note(d, "overdrawn", "", part)
		}
		take("draw", left)
		over.Add(over, left)
		note(d, "overdrawn", "", left)
	}
	var got, expected []string
	for key, v := range want {
		if v.Sign() != 0 {
			expected = append(expected, key+" "+schemas.MoneyOf(v).String())
		}
	}
	for _, row := range texts(w.Ask(`SELECT concat_ws('|', book_date, entry, coalesce(credit, ''), sum(amount)) AS t
			FROM prepaid_ledger GROUP BY book_date, entry, credit HAVING sum(amount) <> 0`)) {
		c := strings.Split(row, "|")
		got = append(got, strings.Join(c[:3], " ")+" "+money(c[3]).String())
	}
	slices.Sort(got)
	slices.Sort(expected)
	if !slices.Equal(got, expected) {
		rt.Fatalf("%s", schemastest.FirstDifference(strings.Join(got, "\n"), strings.Join(expected, "\n")))
	}
	for _, c := range credits {
		row := w.One(fmt.Sprintf(`SELECT (amount = drawn + expired + remaining)::VARCHAR || ' ' || remaining::VARCHAR AS t
			FROM credits WHERE credit = '%s'`, c.id))
		if row = texts([]string{row})[0]; row != "true "+schemas.MoneyOf(c.left).Fixed(12) {
			rt.Fatalf("%s: %s, want %s", c.id, row, schemas.MoneyOf(c.left))
		}
	}
	w.tie(rt)
}

// tie holds what must agree in every lake.
func (w *dayWriter) tie(rt interface{ Fatalf(string, ...any) }) {
	for what, query := range map[string]string{
		"records draw something else than the ledger has": `SELECT * FROM (
				SELECT account, currency, book_date, entry, credit, sum(amount) AS a FROM record_draws WHERE entry <> 'offset'
				GROUP BY ALL HAVING sum(amount) <> 0) r
			FULL JOIN (SELECT account, currency, book_date, entry, credit, sum(amount) AS a FROM prepaid_ledger
				WHERE entry IN ('draw', 'overdrawn') GROUP BY ALL HAVING sum(amount) <> 0) l
			ON l.account = r.account AND l.currency = r.currency AND l.book_date = r.book_date AND l.entry = r.entry
				AND l.credit IS NOT DISTINCT FROM r.credit
			WHERE l.a IS DISTINCT FROM r.a`,
		"a record's draws aren't its amount": `SELECT * FROM (
				SELECT account, request_time, id, ordinal, sum(amount) AS a FROM record_draws WHERE id IS NOT NULL GROUP BY ALL) r
			JOIN usage u USING (account, request_time, id, ordinal) WHERE r.a <> u.amount`,
		"a month doesn't roll forward": `FROM prepaid_monthly
			WHERE opening + paid + coupons + credited - drawn - expired <> closing`,
		"a month opens with something else than the one before closed with": `FROM (SELECT opening, lag(closing, 1, 0) OVER
			(PARTITION BY account, currency ORDER BY "month") AS a FROM prepaid_monthly) WHERE opening <> a`,
		"the last month isn't what is left": `SELECT * FROM (
				SELECT account, currency, arg_max(closing, "month") AS a FROM prepaid_monthly GROUP BY ALL) m
			JOIN (SELECT account, currency, sum(remaining) AS a FROM credits GROUP BY ALL) c USING (account, currency)
			WHERE m.a <> c.a`,
		"overdrawn isn't what months say": `SELECT * FROM (
				SELECT account, currency, arg_max(outstanding, book_date) AS a FROM overdrawn GROUP BY ALL) o
			JOIN (SELECT account, currency, arg_max(overdrawn, "month") AS a FROM prepaid_monthly GROUP BY ALL) m
				USING (account, currency) WHERE o.a <> m.a`,
		"a month charges something else": `SELECT * FROM (SELECT account, billing_month AS "month", sum(net_cost) AS a
				FROM chargeback_daily WHERE account = 'acme' GROUP BY ALL) c
			FULL JOIN (SELECT account, "month", sum(used) AS a FROM prepaid_monthly GROUP BY ALL) m USING (account, "month")
			WHERE coalesce(m.a, 0) <> coalesce(c.a, 0)`,
	} {
		if rows := w.Ask(query); len(rows) > 0 {
			rt.Fatalf("%s: %s", what, rows[0])
		}
	}
}

// closedFindings is what verify has against closed months.
func (w *dayWriter) closedFindings() []Finding {
	w.T.Helper()
	r, err := w.lake.Verify(w.T.Context(), VerifyOptions{})
	if err != nil {
		w.T.Fatal(err)
	}
	return slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.Check != FoundClosed })
}

// A closed month keeps its draws: a late record draws in the open month, a top-up that is told late pays from its first
// day on, and one that the month was closed with can't be changed. Opened again, all is drawn where it belongs.
func TestAClosedMonthFreezesItsDraws(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.spend("2026-09-01", "30")
	w.spend("2026-09-30", "50")
	w.spend("2026-10-01", "10")
	paid := topUp("2026-09-01 paid 100")
	f := prepaidFinance(schemas.DrawFIFO, paid)
	w.publish(PublishOptions{Finance: f})
	c, err := w.closeMonth("2026-09", f)
	must(t, err)
	if !slices.Equal(c.Prepaid, []string{"acme"}) || !c.Has(PrepaidFile) {
		t.Fatalf("the manifest has %v, %v", c.Prepaid, c.Files)
	}
	september := func() string {
		const of = "WHERE billing_month = DATE '2026-09-01' ORDER"
		return strings.Join(texts(w.Ask(strings.Replace(ledgerOf, "ORDER", of, 1))), "|")
	}
	before := september()
	if want := "09-01 top_up 2026-09-01/1 100|09-01 draw 2026-09-01/1 30|09-30 draw 2026-09-01/1 50"; before != want {
		t.Fatalf("%s, want %s", before, want)
	}
	w.spend("2026-09-30", "50", "25") // 25 came late
	// A coupon of September that is told now, and the line of the other one moved.
	f.TopUps = []schemas.TopUp{topUp("2026-09-15 coupon 7 2026-10-20"), paid}
	f.TopUps[1].Source = "t.csv:3"
	f.Billing[0].Draw = schemas.DrawCouponsFirst
	w.publish(PublishOptions{Finance: f})
	if got := september(); got != before {
		t.Errorf("september changed: %s", got)
	}
	all := strings.Join(texts(w.Ask(ledgerOf)), "|")
	want := before + "|10-01 top_up 2026-09-15/1 7|10-01 draw 2026-09-15/1 7|10-01 draw 2026-09-01/1 20|10-01 overdrawn 8"
	if all != want {
		t.Errorf("%s\nwant %s", all, want)
	}
	if note := w.One("SELECT note AS t FROM credits WHERE kind = 'coupon'"); !strings.Contains(note,
		"was closed: it pays from 2026-10-01 on") {
		t.Error(note)
	}
	w.tie(t)
	if found := w.closedFindings(); len(found) > 0 {
		t.Errorf("verify: %+v", found)
	}
	// Built from nothing, it is the same.
	dump := w.Dump()
	w.publish(PublishOptions{Finance: f, Full: true})
	if d := w.Dump(); d != dump {
		t.Error("built from nothing: ", schemastest.FirstDifference(dump, d))
	}
	gone := f
	gone.TopUps = []schemas.TopUp{topUp("2026-09-01 paid 110")}
	_, err = w.lake.Publish(context.Background(), PublishOptions{Finance: gone, Now: loadtest.TickingClock()})
	if !errors.Is(err, ErrTopUpGone) || !strings.Contains(err.Error(), "acme, 2026-09-01, paid, 100 USD") {
		t.Errorf("a top-up was changed: %v", err)
	}
	// An account that is postpaid from now on keeps what closed months have, and no more.
	post := f
	post.Billing = []schemas.Billing{{Account: "acme", Billing: schemas.Postpaid}}
	w.publish(PublishOptions{Finance: post})
	if got := strings.Join(texts(w.Ask(ledgerOf)), "|"); got != before {
		t.Errorf("postpaid: %s", got)
	}
	// Another digit in the ledger of the closed month is found.
	file := filepath.Join(c.Dir, filepath.FromSlash(PrepaidFile))
	was := mustRead(t, file)
	w.Exec(fmt.Sprintf("COPY (SELECT * REPLACE (amount * 2 AS amount) FROM read_parquet(%s)) TO %s (FORMAT parquet)",
		schemas.SQLString(file), schemas.SQLString(file+".new")))
	must(t, os.Rename(file+".new", file))
	said := fmt.Sprint(w.closedFindings())
	if !strings.Contains(said, "its bytes are not those") || !strings.Contains(said, "other draws of the month") {
		t.Errorf("verify of a changed ledger: %s", said)
	}
	must(t, os.WriteFile(file, []byte(was), 0o600))
	m, _ := schemas.ParseMonth("2026-09")
	_, err = w.lake.ReopenMonth(m, "run-r", "test", "because", loadtest.TickingClock()())
	must(t, err)
	w.publish(PublishOptions{Finance: f})
	all = strings.Join(texts(w.Ask(ledgerOf)), "|")
	if want := "09-01 top_up 2026-09-01/1 100|09-01 draw 2026-09-01/1 30|09-15 top_up 2026-09-15/1 7|" +
		"09-30 draw 2026-09-15/1 7|09-30 draw 2026-09-01/1 68|10-01 draw 2026-09-01/1 2|10-01 overdrawn 8"; all != want {
		t.Errorf("opened again: %s\nwant %s", all, want)
	}
}

// A month that was closed before all of it was exported stays as it was closed, though a coupon expires within it: what
// is left of it is breakage of the first day after. Of top-ups that are alike, closed months have as many as they had.
func TestWhatExpiresInAClosedMonthExpiresAfterIt(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.spend("2026-09-10", "30")
	f := prepaidFinance(schemas.DrawFIFO, topUp("2026-09-01 paid 40"), topUp("2026-09-05 coupon 7 2026-09-20"),
		topUp("2026-09-01 paid 40"))
	w.publish(PublishOptions{Finance: f})
	_, err := w.closeMonth("2026-09", f)
	must(t, err)
	const september = "SELECT * FROM prepaid_monthly WHERE \"month\" = '2026-09-01'"
	closed := w.One(september)
	before := strings.Join(texts(w.Ask(ledgerOf)), "|")
	if want := "09-01 top_up 2026-09-01/1 40|09-01 top_up 2026-09-01/2 40|09-05 top_up 2026-09-05/1 7|" +
		"09-10 draw 2026-09-01/1 30"; before != want {
		t.Fatalf("%s\nwant %s", before, want)
	}
	w.spend("2026-10-05", "5")
	f.TopUps = append(f.TopUps, topUp("2026-09-01 paid 40")) // a third, which is told late
	w.publish(PublishOptions{Finance: f})
	if got := w.One(september); got != closed {
		t.Errorf("september is %s\nand was %s", got, closed)
	}
	want := before + "|10-01 top_up 2026-09-01/3 40|10-01 expiry 2026-09-05/1 7|10-05 draw 2026-09-01/1 5"
	if got := strings.Join(texts(w.Ask(ledgerOf)), "|"); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	w.tie(t)
	if found := w.closedFindings(); len(found) > 0 {
		t.Errorf("verify: %+v", found)
	}
	f.TopUps = f.TopUps[:2]
	_, err = w.lake.Publish(context.Background(), PublishOptions{Finance: f, Now: loadtest.TickingClock()})
	if !errors.Is(err, ErrTopUpGone) {
		t.Errorf("one of two that are alike is gone: %v", err)
	}
}

// An account that comes to be prepaid while months are closed draws in them, too, as far as its top-ups say; and its
// entries are frozen by the next close.
func TestAnAccountMayBecomePrepaidAfterACloses(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.spend("2026-09-10", "30")
	w.spend("2026-10-10", "50")
	w.spend("2026-11-10", "1")
	f := prepaidFinance(schemas.DrawFIFO)
	f.Billing = nil
	w.publish(PublishOptions{Finance: f})
	_, err := w.closeMonth("2026-09", f)
	must(t, err)
	f = prepaidFinance(schemas.DrawFIFO, topUp("2026-09-01 paid 100"))
	w.publish(PublishOptions{Finance: f})
	want := "09-01 top_up 2026-09-01/1 100|09-10 draw 2026-09-01/1 30|10-10 draw 2026-09-01/1 50|11-10 draw 2026-09-01/1 1"
	if got := strings.Join(texts(w.Ask(ledgerOf)), "|"); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	// What was billed in September stays billed as it was closed, and what was paid then isn't billed a second time.
	focus := "2026-09 Adjustment Usage-Based 30 30 30 30|2026-10 Adjustment Usage-Based 0 50 50 50|" +
		"2026-11 Adjustment Usage-Based 0 1 1 1"
	if got := strings.Join(texts(w.Ask(focusOf)), "|"); got != focus {
		t.Errorf("FOCUS has %s\nwant %s", got, focus)
	}
	c, err := w.closeMonth("2026-10", f)
	must(t, err)
	if got := strings.Join(texts(w.Ask(focusOf)), "|"); got != focus {
		t.Errorf("after the close FOCUS has %s\nwant %s", got, focus)
	}
	frozen := texts(w.Ask(`SELECT count(*)::VARCHAR || ' ' || strftime(closed_in, '%Y-%m') AS t FROM prepaid_ledger
		WHERE closed_in IS NOT NULL GROUP BY closed_in`))
	if strings.Join(frozen, "|") != "3 2026-10" || !c.Has(PrepaidFile) {
		t.Errorf("frozen: %s", frozen)
	}
	w.tie(t)
	if found := w.closedFindings(); len(found) > 0 {
		t.Errorf("verify: %+v", found)
	}
}

// Whatever changes, the ledger that is brought up to date is the one that is made anew: records that come late or come
// to nothing, top-ups before and after, coupons that expire, another order, a month that is closed.
func TestTheLedgerThatIsBroughtUpToDateIsTheOneMadeAnew(t *testing.T) {
	few(t, 2)
	calendars := someBooks(t)
	rapid.Check(t, func(rt *rapid.T) {
		f := prepaidFinance(schemas.DrawFIFO, topUp("2026-09-15 paid 20"), topUp("2026-10-13 paid 20"))
		f.Books = calendars[rapid.SampledFrom(sortedNames(calendars)).Draw(rt, "books")]
		day := rapid.IntRange(0, 20)
		on := func(n int) schemas.Date { return schemastest.Date("2026-09-22") + schemas.Date(n) }
		w := newDayWriter(t, load.Options{})
		spend := func(n int) {
			var amounts []string
			for range rapid.IntRange(0, 3).Draw(rt, "records") {
				amounts = append(amounts, rapid.SampledFrom([]string{"0", "1.5", "4", "-4", "0.000000000007", "9"}).
					Draw(rt, "amount"))
			}
			w.spend(on(n).String(), append(amounts, "0")...)
		}
		for n := range 14 {
			spend(n)
		}
		w.spend(on(0).String(), "7")
		w.publish(PublishOptions{Finance: f})
		closed := false
		for range 6 {
			switch change := rapid.SampledFrom([]string{"day", "day", "day", "top-up", "order", "close"}).Draw(rt, "change"); {
			case change == "close" && !closed:
				closed = true
				_, err := w.closeMonth(f.Books.Month(on(0)-1).String(), f)
				must(t, err)
			case change == "top-up":
				u := topUp(fmt.Sprintf("%s %s %d.25", on(day.Draw(rt, "date")), rapid.SampledFrom([]string{"paid", "coupon"}).
					Draw(rt, "kind"), rapid.IntRange(1, 12).Draw(rt, "topped up")))
				if rapid.Bool().Draw(rt, "expires") {
					u.Expires = new(u.Date + schemas.Date(1+day.Draw(rt, "for")))
				}
				f.TopUps = append(slices.Clone(f.TopUps), u)
			case change == "order":
				f.Billing = slices.Clone(f.Billing)
				f.Billing[0].Draw = rapid.SampledFrom([]string{schemas.DrawFIFO, schemas.DrawCouponsFirst}).Draw(rt, "draw")
			default:
				spend(day.Draw(rt, "day"))
			}
			if done := w.publish(PublishOptions{Finance: f}); done.Full {
				rt.Fatal("the file was built from nothing")
			}
		}
		// A top-up that nothing was charged after isn't entered yet. A record of 0 has it entered, and draws nothing.
		f.TopUps = append(slices.Clone(f.TopUps), topUp(on(22).String()+" paid 5"))
		w.publish(PublishOptions{Finance: f})
		w.spend(on(24).String(), "0")
		w.publish(PublishOptions{Finance: f})
		const all = "FROM prepaid_ledger ORDER BY ALL"
		was := strings.Join(w.Ask(all), "\n")
		w.tie(rt)
		w.publish(PublishOptions{Finance: f, Full: true})
		if anew := strings.Join(w.Ask(all), "\n"); anew != was {
			rt.Fatal("made anew: ", schemastest.FirstDifference(was, anew))
		}
	})
}
