package publish

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// randomRates draws a file of rates into EUR of USD and CNY, with gaps of days, and lines of other pairs.
func randomRates(rt *rapid.T, from, to schemas.Date) []schemas.RateLine {
	var out []schemas.RateLine
	for _, currency := range []string{"USD", "CNY"} {
		for day := from; day < to; day += schemas.Date(rapid.SampledFrom([]int{1, 1, 1, 3, 9, 20}).Draw(rt, "step")) {
			rate := schemas.Rate(rapid.Int64Range(1, 99_999_999_999).Draw(rt, "rate"))
			out = append(out, schemas.RateLine{Date: day, From: currency, To: "EUR", Rate: rate,
				Line: fmt.Sprintf("rates.csv:%d", len(out)+2)})
		}
	}
	return append(out, schemas.RateLine{Date: from, From: "EUR", To: "JPY", Rate: 1_600_000_000_000,
		Line: "rates.csv:1000"})
}

// reckonedRates is the rate of a currency on a book day by the file's lines alone; nil if there is none.
func reckonedRates(lines []schemas.RateLine, by string, books *schemas.Books, currency string,
	day schemas.Date) *big.Rat {
	if currency == "EUR" {
		return big.NewRat(1, 1)
	}
	rat := func(r schemas.Rate) *big.Rat { return big.NewRat(int64(r), 10_000_000_000) }
	on := map[schemas.Date]*big.Rat{}
	var latest schemas.Date
	for _, l := range lines {
		if l.From == currency && l.To == "EUR" {
			on[l.Date] = rat(l.Rate)
			latest = max(latest, l.Date)
		}
	}
	month := books.Month(day)
	back := func(from schemas.Date, days int) *big.Rat {
		for d := from; d >= from-schemas.Date(days); d-- {
			if r, ok := on[d]; ok {
				return r
			}
		}
		return nil
	}
	switch by {
	case schemas.RateByAverage:
		sum, n := new(big.Rat), int64(0)
		for d := books.First(month); d < books.End(month); d++ {
			if r, ok := on[d]; ok {
				sum.Add(sum, r)
				n++
			}
		}
		if n == 0 {
			return nil
		}
		return halfEven(sum.Mul(sum, big.NewRat(10_000_000_000, n)))
	case schemas.RateByEnd:
		last := books.End(month) - 1
		if latest >= last {
			return back(last, 7)
		}
		return back(max(latest, books.First(month)), 7)
	}
	return back(day, 7)
}

// halfEven is a number of 10⁻¹⁰, as a whole one and of half the even one, and then as a fraction.
func halfEven(v *big.Rat) *big.Rat {
	twice := new(big.Rat).Mul(v, big.NewRat(2, 1))
	floor := new(big.Int).Quo(v.Num(), v.Denom())
	switch new(big.Rat).Sub(twice, new(big.Rat).SetInt(new(big.Int).Lsh(floor, 1))).Cmp(big.NewRat(1, 1)) {
	case 1:
		floor.Add(floor, big.NewInt(1))
	case 0:
		if floor.Bit(0) == 1 {
			floor.Add(floor, big.NewInt(1))
		}
	}
	return new(big.Rat).SetFrac(floor, big.NewInt(10_000_000_000))
}

// What is charged in the currency of the books, by whatever it is summed, is what the records come to by an independent
// reckoning of their rates, to the last digit; and what has no rate is in no sum.
func TestBookCostIsTheRecordsByTheirRates(t *testing.T) {
	few(t, 2)
	calendars := someBooks(t)
	rapid.Check(t, func(rt *rapid.T) {
		checkRates(t, rt, calendars[rapid.SampledFrom(sortedNames(calendars)).Draw(rt, "books")])
	})
}

func checkRates(t *testing.T, rt *rapid.T, books *schemas.Books) {
	w := newDayWriter(t, load.Options{})
	first := schemastest.Date("2026-08-01")
	f := testFinance
	f.Books = books
	f.Rules = loadtest.Rules{Name: "a", Since: schemastest.Date("2026-09-30"), Pool: []string{"cc-0", "cc-2"}}
	by := rapid.SampledFrom(schemas.RateBys()).Draw(rt, "by")
	lines := randomRates(rt, first-3, first+92)
	var err error
	if f.Rates, err = schemas.MakeRates("EUR", by, lines[:len(lines)/3]); err != nil {
		rt.Fatal(err)
	}
	currencies := []string{"USD", "CNY", "EUR"}
	days := rapid.SliceOfNDistinct(rapid.IntRange(0, 91), 4, 8, rapid.ID).Draw(rt, "days")
	for i, d := range append(days, 30, 60) {
		p := schemas.Partition{Account: []string{"acme", "zeta-2", "mu"}[i%3], Date: first + schemas.Date(d)}
		w.DayFrom(p, "SELECT * REPLACE ('"+currencies[i%3]+"' AS currency) FROM ("+
			loadtest.UsageSQL(p, rapid.IntRange(5, 40).Draw(rt, "rows"), int64(d))+")", fmt.Sprintf("digest-%d", d), nil)
		if i == len(days)/2 { // the rest is brought up to date, and so are the rates
			w.publish(PublishOptions{Finance: f})
		}
	}
	if f.Rates, err = schemas.MakeRates("EUR", by, lines); err != nil {
		rt.Fatal(err)
	}
	w.publish(PublishOptions{Finance: f})
	type sum struct {
		book  *big.Rat
		lacks bool
	}
	want := map[string]*sum{}
	for _, row := range w.Ask(`SELECT epoch_us(request_time) AS at, currency AS c, amount FROM usage
		WHERE amount IS NOT NULL`) {
		var at int64
		var currency, amount string
		if _, err := fmt.Sscanf(strings.NewReplacer("{'at': ", "", ", 'c': ", " ", ", 'amount': ", " ", "}", "").Replace(row),
			"%d %s %s", &at, &currency, &amount); err != nil {
			rt.Fatal(row, err)
		}
		day := books.Day(time.UnixMicro(at))
		v, ok := new(big.Rat).SetString(amount)
		if !ok {
			rt.Fatal(row)
		}
		rate := reckonedRates(lines, by, books, currency, day)
		for _, key := range []string{"day " + day.String(), "period " + books.Name(books.Month(day)),
			"currency " + currency, "all"} {
			s := want[key]
			if s == nil {
				s = &sum{book: new(big.Rat)}
				want[key] = s
			}
			if rate == nil {
				s.lacks = true
				continue
			}
			s.book.Add(s.book, new(big.Rat).Mul(v, rate))
		}
	}
	var expected []string
	for key, s := range want {
		text := "NULL"
		if !s.lacks {
			text = s.book.FloatString(22)
		}
		expected = append(expected, key+" "+text)
	}
	slices.Sort(expected)
	const book = `coalesce(book_sum(book_cost, net_cost)::VARCHAR, 'NULL') AS t FROM `
	const converted = "(SELECT *, in_books(net_cost, currency, book_date) AS book_cost FROM "
	for _, relation := range []string{"chargeback_daily", converted + "allocated_addends)",
		converted + "allocated_model_daily)",
		converted + "(SELECT *, amount AS net_cost, period_of(month_of(book_date)) AS period FROM booked_usage))"} {
		from := "(FROM " + relation + " WHERE net_cost IS NOT NULL)"
		got := texts(w.Ask("SELECT format('day {} ', book_date) || " + book + from + ` GROUP BY book_date
			UNION ALL SELECT format('period {} ', period) || ` + book + from + ` GROUP BY period
			UNION ALL SELECT format('currency {} ', currency) || ` + book + from + ` GROUP BY currency
			UNION ALL SELECT 'all ' || ` + book + from))
		slices.Sort(got)
		if !slices.Equal(got, expected) {
			rt.Fatalf("%s, %s, %s: %s", books, by, relation, schemastest.FirstDifference(strings.Join(got, "\n"),
				strings.Join(expected, "\n")))
		}
	}
	before := w.Dump()
	w.publish(PublishOptions{Finance: f, Full: true})
	if d := w.Dump(); d != before {
		rt.Fatalf("%s: built from nothing: %s", books, schemastest.FirstDifference(before, d))
	}
}

// Books in any zone and calendar are UTC's books and the bridge, by month and currency, to the last digit; and so are
// they in the currency of the books, where both are converted by the rates of their book days: amount × rate keeps all
// of its decimals, so that twelve hold, too.
func TestBooksInAnyCurrencyAreUTCsBooksAndTheBridge(t *testing.T) {
	few(t, 2)
	calendars := someBooks(t)
	rapid.Check(t, func(rt *rapid.T) {
		checkBridge(t, rt, calendars[rapid.SampledFrom(sortedNames(calendars)).Draw(rt, "books")])
	})
}

func checkBridge(t *testing.T, rt *rapid.T, books *schemas.Books) {
	w := newDayWriter(t, load.Options{})
	first := schemastest.Date("2026-08-01")
	by := rapid.SampledFrom(schemas.RateBys()).Draw(rt, "by")
	var lines []schemas.RateLine
	for day := first - 40; day < first+140; day++ { // each day has one: what lacks a rate has no sum
		for _, currency := range []string{"USD", "CNY"} {
			lines = append(lines, schemas.RateLine{Date: day, From: currency, To: "EUR", Line: "rates.csv:2",
				Rate: schemas.Rate(rapid.Int64Range(1, 99_999_999_999).Draw(rt, "rate"))})
		}
	}
	utc := testFinance
	utc.Rules = loadtest.Rules{Name: "a", Since: schemastest.Date("2026-09-30"), Pool: []string{"cc-0", "cc-2"}}
	var err error
	if utc.Rates, err = schemas.MakeRates("EUR", by, lines); err != nil {
		rt.Fatal(err)
	}
	for i, d := range append(rapid.SliceOfNDistinct(rapid.IntRange(0, 91), 2, 4, rapid.ID).Draw(rt, "days"), 30, 60) {
		p := schemas.Partition{Account: []string{"acme", "zeta-2", "mu"}[i%3], Date: first + schemas.Date(d)}
		w.DayFrom(p, "SELECT * REPLACE ('"+[]string{"USD", "CNY", "EUR"}[i%3]+"' AS currency) FROM ("+
			loadtest.UsageSQL(p, rapid.IntRange(5, 40).Draw(rt, "rows"), int64(d))+")", fmt.Sprintf("digest-%d", d), nil)
	}
	const keyed = `SELECT format('{} {}', billing_month, currency) AS t, `
	sums := func(query string) map[string]*big.Rat {
		rt.Helper()
		out := map[string]*big.Rat{}
		for _, row := range texts(w.Ask("SELECT t || ' ' || coalesce(v, 0)::VARCHAR AS t FROM (" + query + ")")) {
			i := strings.LastIndex(row, " ")
			v, ok := new(big.Rat).SetString(row[i+1:])
			if !ok {
				rt.Fatal(row)
			}
			if out[row[:i]] == nil {
				out[row[:i]] = new(big.Rat)
			}
			out[row[:i]].Add(out[row[:i]], v)
		}
		return out
	}
	w.publish(PublishOptions{Finance: utc})
	inUTC := sums(keyed + "sum(net_cost) AS v FROM chargeback_daily GROUP BY ALL")
	// The currency of UTC's books goes by UTC's days: what is held against these are the same records by their book days.
	booked := map[string]*big.Rat{}
	for _, row := range texts(w.Ask(`SELECT epoch_us(request_time) || ' ' || currency || ' ' || amount AS t FROM usage
		WHERE amount IS NOT NULL`)) {
		var at int64
		var currency, amount string
		if _, err := fmt.Sscan(row, &at, &currency, &amount); err != nil {
			rt.Fatal(row, err)
		}
		v, _ := new(big.Rat).SetString(amount)
		key := schemas.DateOf(time.UnixMicro(at)).Month().First().String() + " " + currency
		if booked[key] == nil {
			booked[key] = new(big.Rat)
		}
		booked[key].Add(booked[key], v.Mul(v, reckonedRates(lines, by, books, currency, books.Day(time.UnixMicro(at)))))
	}
	f := utc
	f.Books = books
	w.publish(PublishOptions{Finance: f})
	for _, c := range []struct {
		what, moved, cost string
		utc               map[string]*big.Rat
	}{
		{"net cost", "moved", "sum(net_cost)", inUTC},
		{"book cost", "book_moved", "book_sum(book_cost, net_cost)", booked},
	} {
		got := sums(keyed + c.cost + " AS v FROM chargeback_daily GROUP BY ALL")
		bridge := sums(`SELECT format('{} {}', "month", currency) AS t, ` + c.moved + " AS v FROM period_bridge")
		total := new(big.Rat)
		for key, v := range bridge {
			total.Add(total, v)
			if c.utc[key] == nil {
				c.utc[key] = new(big.Rat)
			}
			c.utc[key].Add(c.utc[key], v)
		}
		if total.Sign() != 0 {
			rt.Fatalf("%s, %s: the bridge of %s comes to %s", books, by, c.what, total.FloatString(22))
		}
		for key := range got {
			if c.utc[key] == nil {
				rt.Fatalf("%s, %s: UTC's books and the bridge have no %s of %s", books, by, c.what, key)
			}
		}
		for key, v := range c.utc {
			if got[key] == nil {
				got[key] = new(big.Rat)
			}
			if v.Cmp(got[key]) != 0 {
				rt.Fatalf("%s, %s: %s of %s is %s, and UTC's books and the bridge are %s", books, by, c.what, key,
					got[key].FloatString(22), v.FloatString(22))
			}
		}
	}
}

// inEuro is a Finance with rates of USD into EUR, a line a day, and of the currency of the books.
func inEuro(t *testing.T, currency string, perDay ...[2]string) Finance {
	t.Helper()
	f := testFinance
	f.Archived = archived(f.Rules)
	var lines []schemas.RateLine
	for i, l := range perDay {
		rate, err := schemas.ParseRate(l[1])
		must(t, err)
		lines = append(lines, schemas.RateLine{Date: schemastest.Date(l[0]), From: "USD", To: "EUR", Rate: rate,
			Line: fmt.Sprintf("rates.csv:%d", i+2)})
	}
	var err error
	f.Rates, err = schemas.MakeRates(currency, "", lines)
	must(t, err)
	return f
}

// A closed month keeps its rates for good: for its charges, and for what comes later of any of its days.
func TestAClosedMonthKeepsItsRates(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	day := func(date string, amounts ...string) {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date(date)}
		var rows []string
		for i, a := range amounts {
			rows = append(rows, loadtest.Charge(p, fmt.Sprintf("r%d", i), "tk_2", "m", a, "USD"))
		}
		w.Charges(p, rows...)
	}
	charged := func() string {
		return strings.Join(texts(w.Ask(`SELECT format('{} {} {}{} ', period, book_date, net_cost::DOUBLE,
				coalesce(' ' || charge_class, '')) || coalesce(rtrim(rtrim(book_cost::VARCHAR, '0'), '.'), 'NULL') || ' ' ||
				coalesce(book_currency, 'NULL') AS t FROM chargeback_daily ORDER BY billing_month, book_date`)), "\n")
	}
	publish := func(f Finance) error {
		_, err := w.lake.Publish(context.Background(), PublishOptions{Finance: f, Version: "test",
			Now: loadtest.TickingClock()})
		return err
	}
	// July was closed before the books had a currency.
	day("2026-07-20", "7")
	old := inEuro(t, "")
	w.publish(PublishOptions{Finance: old})
	if _, err := w.closeMonth("2026-07", old); err != nil {
		t.Fatal(err)
	}
	day("2026-08-10", "100.000000000001")
	f := inEuro(t, "EUR", [2]string{"2026-07-18", "0.7"}, [2]string{"2026-08-20", "0.8123456789"})
	w.publish(PublishOptions{Finance: f})
	const lacking = "2026-07 2026-07-20 7.0 NULL NULL\n2026-08 2026-08-10 100.000000000001 NULL EUR"
	if got := charged(); got != lacking {
		t.Errorf("a day without a rate:\n%s\nwant\n%s", got, lacking)
	}
	got := w.One("SELECT period, currency, days, lacks FROM missing_rates")
	if want := "{'period': 2026-08, 'currency': USD, 'days': 1, 'lacks': no rate of USD to EUR on 2026-08-10 or in the " +
		"7 days before}"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	_, err := w.closeMonth("2026-08", f)
	if !errors.Is(err, ErrNoRate) || !strings.Contains(err.Error(), "on 2026-08-10") {
		t.Errorf("a month that lacks a rate is closed: %v", err)
	}
	// A rate that comes is enough: no record, rule or balance did.
	f = inEuro(t, "EUR", [2]string{"2026-07-18", "0.7"}, [2]string{"2026-08-09", "0.9"},
		[2]string{"2026-08-20", "0.8123456789"}, [2]string{"2026-09-01", "1.1"})
	w.publish(PublishOptions{Finance: f})
	const august = "2026-07 2026-07-20 7.0 NULL NULL\n2026-08 2026-08-10 100.000000000001 90.0000000000009 EUR"
	if got := charged(); got != august {
		t.Errorf("the rate came:\n%s\nwant\n%s", got, august)
	}
	c, err := w.closeMonth("2026-08", f)
	must(t, err)
	if c.BookCurrency != "EUR" || len(c.Rates) != 16 || *c.Totals[0].Book != "90.0000000000009000000000" {
		t.Errorf("the manifest keeps %s, %d rates, %v", c.BookCurrency, len(c.Rates), c.Totals)
	}
	// The file says something else now; what came late of August goes by what August keeps, of its day without usage, too,
	// and what came late of July, which keeps nothing, by the file.
	f = inEuro(t, "EUR", [2]string{"2026-07-18", "0.6"}, [2]string{"2026-08-09", "5"}, [2]string{"2026-08-20", "5"},
		[2]string{"2026-09-01", "1.1"})
	day("2026-07-20", "7", "1")
	day("2026-08-10", "100.000000000001", "10")
	day("2026-08-21", "3")
	day("2026-09-02", "2")
	w.publish(PublishOptions{Finance: f})
	want := august + "\n2026-09 2026-07-20 1.0 Correction 0.6 EUR\n2026-09 2026-08-10 10.0 Correction 9 EUR\n" +
		"2026-09 2026-08-21 3.0 Correction 2.4370370367 EUR\n2026-09 2026-09-02 2.0 2.2 EUR"
	if got := charged(); got != want {
		t.Errorf("late records:\n%s\nwant\n%s", got, want)
	}
	before := w.Dump()
	w.publish(PublishOptions{Finance: f, Full: true})
	if got := w.Dump(); got != before {
		t.Errorf("built from nothing: %s", schemastest.FirstDifference(before, got))
	}
	// What September is charged of July it keeps from then on.
	_, err = w.closeMonth("2026-09", f)
	must(t, err)
	f = inEuro(t, "EUR", [2]string{"2026-07-18", "3"}, [2]string{"2026-09-01", "3"})
	day("2026-07-20", "7", "1", "10")
	w.publish(PublishOptions{Finance: f})
	if got, want := charged(), want+"\n2026-10 2026-07-20 10.0 Correction 6 EUR"; got != want {
		t.Errorf("after September:\n%s\nwant\n%s", got, want)
	}
	for _, currency := range []string{"", "GBP"} {
		other := f
		other.Rates, err = schemas.MakeRates(currency, "", nil)
		must(t, err)
		if err := publish(other); !errors.Is(err, ErrOtherCurrency) ||
			!strings.Contains(err.Error(), "2026-08 was closed in EUR") {
			t.Errorf("the currency becomes %q: %v", currency, err)
		}
	}
	report, err := w.lake.Verify(context.Background(), VerifyOptions{})
	must(t, err)
	for _, x := range report.Findings {
		if x.Check == FoundClosed {
			t.Errorf("%+v", x)
		}
	}
}

// An amount that no column holds fails the publish, and says why.
func TestAnAmountBeyondTheBooksIsAnError(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-08-10")}
	var rows []string
	for i := range 200 {
		rows = append(rows, loadtest.Charge(p, fmt.Sprint("r", i), "tk_2", "m", "999999", "USD"))
	}
	w.Charges(p, rows...)
	f := inEuro(t, "EUR", [2]string{"2026-08-10", "99999999.9999999999"})
	_, err := w.lake.Publish(context.Background(), PublishOptions{Finance: f, Version: "test",
		Now: loadtest.TickingClock()})
	if err == nil || !strings.Contains(err.Error(), "more than 16 digits before the point") {
		t.Error(err)
	}
}

// What an invoice came to in the currency of the books is held against what its usage comes to by the rates of its
// days: the difference is a row of its own, and no invoice's amount is another for it.
func TestExchangeDifferencesAreARowOfTheirOwn(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	for date, amount := range map[string]string{"2026-08-10": "100", "2026-08-20": "10.000000000001"} {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date(date)}
		w.Charges(p, loadtest.Charge(p, "r", "tk_2", "m", amount, "USD"))
	}
	f := inEuro(t, "EUR", [2]string{"2026-08-10", "0.9"}, [2]string{"2026-08-20", "0.8"})
	amount := func(s string) schemas.Money {
		m, err := schemas.ParseMoney(s)
		must(t, err)
		return m
	}
	line := func(invoice, usd, eur string) schemas.InvoiceLine {
		l := schemas.InvoiceLine{Invoice: invoice, From: schemastest.Date("2026-08-01"), To: schemastest.Date("2026-09-01"),
			Amount: amount(usd), Currency: "USD", Source: invoice + ".csv:2"}
		if eur != "" {
			m := amount(eur)
			l.Book = &m
		}
		return l
	}
	rows := func(lines ...schemas.InvoiceLine) string {
		f.Invoices = lines
		w.publish(PublishOptions{Finance: f})
		return strings.ReplaceAll(strings.Join(texts(w.Ask(`SELECT concat_ws(' ', kind, invoice, currency, invoiced, exported,
			difference) AS t
			FROM invoice_reconciliation ORDER BY kind, invoice`)), "\n"), "'", "")
	}
	got := rows(line("A", "100", "91.5"), line("B", "10", "9"))
	want := "exchange A, B EUR 100.500000000000 98.000000000001 -2.499999999999\n" +
		"line A USD 100.000000000000 110.000000000001 0.000000000001\nline B USD 10.000000000000 110.000000000001 " +
		"0.000000000001\nsum A, B USD 110.000000000000 110.000000000001 0.000000000001"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	// One that doesn't say what it came to leaves the sum unknown: there is no row.
	if got := rows(line("A", "100", "91.5"), line("B", "10", "")); strings.Contains(got, "exchange") {
		t.Error(got)
	}
}
