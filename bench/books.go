package main

import (
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
)

// What finance keeps its books by, as far as it is measured. "" is UTC's months, the Portal's currency, and billed
// afterwards.
const (
	booksFew    = "few-rates"    // a zone, weeks, a currency and as many rates as the lake has days
	booksRates  = "rates"        // the same with a thousand rates
	booksTopUp  = "topup"        // paid ahead, by one top-up
	booksTopUps = "topups"       // the same by ten thousand
	booksAll    = "rates+topups" // all of it
)

const (
	manyRates  = 1000
	manyTopUps = 10_000
)

// keepBooks has a config keep books of such a kind, whose files stand beside the lake.
func keepBooks(c *config.Config, kind string) {
	file := func(name string) string { return filepath.Join(c.Lake+".books", name+".csv") }
	for part := range strings.SplitSeq(kind, "+") {
		switch part {
		case booksFew, booksRates:
			c.Books = config.Books{Zone: "Asia/Shanghai", FiscalYear: 4, Calendar: "4-4-5", WeekStarts: "monday",
				Currency: "EUR", Rates: file(part)}
		case booksTopUp, booksTopUps:
			c.Accounts[0].Billing, c.Accounts[0].TopUps = "prepaid", file(part)
		}
	}
}

// writeBooks writes the files that keepBooks names, for a lake of so many days. What is topped up in all is what the
// lake's usage comes to, whatever the number of top-ups.
func writeBooks(lake, net string, days int) error {
	dir := lake + ".books"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	write := func(name string, text *strings.Builder) error {
		return os.WriteFile(filepath.Join(dir, name+".csv"), []byte(text.String()), 0o600)
	}
	// A book day begins before UTC's in the east, so there is one more than the lake has.
	for name, n := range map[string]int{booksFew: days + 1, booksRates: manyRates} {
		text := new(strings.Builder)
		text.WriteString("date,from,to,rate,source\n")
		for i := range n {
			fmt.Fprintf(text, "%s,USD,EUR,0.9%03d,made up\n", lastDay().AddDate(0, 0, -i).Format(time.DateOnly), i%997)
		}
		if err := write(name, text); err != nil {
			return err
		}
	}
	sum, ok := new(big.Rat).SetString(net)
	if !ok {
		return fmt.Errorf("%q is no amount", net)
	}
	for name, n := range map[string]int{booksTopUp: 1, booksTopUps: manyTopUps} {
		text := new(strings.Builder)
		text.WriteString("date,amount,currency,kind,reference,expires\n")
		each := new(big.Rat).Quo(sum, big.NewRat(int64(n), 1)).FloatString(6)
		for i := range n {
			day := lastDay().AddDate(0, 0, i*days/n-days)
			fmt.Fprintf(text, "%s,%s,USD,paid,PO-%d,\n", day.Format(time.DateOnly), each, i)
		}
		if err := write(name, text); err != nil {
			return err
		}
	}
	return nil
}

// booking publishes the same lake without books of its own and with them, from nothing and after one changed day.
func (b *bench) booking(s *section) error {
	const days = 30
	lake, truth, err := b.generated(b.size.compared, days, false)
	if err != nil {
		return err
	}
	if err := writeBooks(lake, truth.Net, days); err != nil {
		return err
	}
	kinds := []struct{ kind, name string }{
		{"", "UTC's months, nothing converted"},
		{booksFew, fmt.Sprintf("Shanghai's clocks, 4-4-5, EUR, %d rates", days+1)},
		{booksRates, fmt.Sprintf("the same, %s rates", thousands(manyRates))},
		{booksTopUp, "UTC's months, prepaid, one top-up"},
		{booksTopUps, fmt.Sprintf("the same, %s top-ups", thousands(manyTopUps))},
		{booksAll, fmt.Sprintf("Shanghai's clocks, 4-4-5, EUR, %s rates, %s top-ups", thousands(manyRates),
			thousands(manyTopUps))},
	}
	const first, nightly = "the first publish", "one changed day"
	var ways []variant
	for _, k := range kinds {
		ways = append(ways,
			variant{k.kind + first, func() (run, error) { return b.child("rebuild", lake, "publish", k.kind) }},
			variant{k.kind + nightly, func() (run, error) { return b.child("change", lake, k.kind) }})
	}
	b.say("publish %s records by books of %d kinds", thousands(float64(truth.Records)), len(kinds))
	got, err := turns(min(b.size.turns, 3), ways...)
	if err != nil {
		return err
	}
	f := func(kind, when, what string) sample { return take(got[kind+when], value("publish."+what)) }
	for _, when := range []string{first, nightly} {
		t := s.table(when, "CPU s", "seconds", "CPU ÷ without", "seconds ÷ without")
		for _, k := range kinds {
			of := func(what string) string { return ratio(f(k.kind, when, what), f("", when, what)).text(2) }
			t.row(k.name, f(k.kind, when, "cpu").text(2), f(k.kind, when, "wall").text(2), of("cpu"), of("wall"))
		}
		s.atMost(when+" by other clocks, weeks and a currency, CPU ÷ without", 1.25,
			ratio(f(booksRates, when, "cpu"), f("", when, "cpu")).median(), "%.2f")
		s.atMost(fmt.Sprintf("%s, %s rates ÷ %d, CPU", when, thousands(manyRates), days+1), 1.05,
			ratio(f(booksRates, when, "cpu"), f(booksFew, when, "cpu")).median(), "%.2f")
		s.atMost(fmt.Sprintf("%s, %s top-ups ÷ one, CPU", when, thousands(manyTopUps)), 1.05,
			ratio(f(booksTopUps, when, "cpu"), f(booksTopUp, when, "cpu")).median(), "%.2f")
	}
	s.fact("The lake has %s records of %d days. Each way in its turn builds the file from nothing, and then has "+
		"one day in the middle fetched anew and published.", thousands(float64(truth.Records)), days)
	s.fact("What is topped up in all is what the usage comes to, at equal parts over the days.")
	return nil
}
