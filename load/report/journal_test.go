package report_test

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"testing"
	"time"

	ledgers "github.com/usagelake/usagelake/load/posting" // posting is a type of the tests
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// postingSettings are those of a company that imports into every ledger, in a currency for those that know but one.
func postingSettings(currency string) ledgers.Settings {
	return ledgers.Settings{Xero: ledgers.Xero{TaxRate: "Tax Exempt"}, SAP: ledgers.SAP{CompanyCode: "1000"},
		DATEV: ledgers.DATEV{Consultant: 1001, Client: 1, Currency: currency},
		// What the rules of the tests assign is no number, as DATEV has it.
		Accounts: []ledgers.Account{{GLCode: publish.DefaultGLCode, Name: "6100"},
			{GLCode: publish.DefaultCreditGLCode, Name: "2100"}}}
}

// What is posted is what was charged, to the cent of the statement, parted by the month that a correction corrects: of
// random lakes, closed months and open ones.
func TestTheJournalPostsWhatIsCharged(t *testing.T) {
	corrected, written := 0, 0
	for _, seed := range []uint64{0, 1, 5} {
		k := draw(t, seed)
		for _, first := range []string{"2026-09-01", "2026-10-01", "2026-11-01"} {
			period := monthPeriod(day(first).Month())
			what := fmt.Sprintf("lake %d, %s", seed, period.Name())
			o := report.Options{Name: "journal", Period: &period, Version: "t",
				Now:     time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
				Posting: postingSettings("USD"), Accrual: period.From != k.closed}
			doc, err := report.Build(t.Context(), k.lake, o)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			everyFormat(t, what, doc)
			exact, posted := map[string]*big.Int{}, map[string]*big.Int{}
			ids := map[string]bool{}
			balance := map[string]*big.Int{}
			for _, row := range rows(table(doc, "journal"), "id") {
				add := func(to map[string]*big.Int, key, text string) {
					n, err := schemas.ParseMoney(text)
					if err != nil {
						t.Fatal(err)
					}
					if to[key] == nil {
						to[key] = new(big.Int)
					}
					to[key].Add(to[key], n.Units())
				}
				if ids[row["id"].Text] {
					t.Errorf("%s: the id %s stands twice", what, row["id"].Text)
				}
				ids[row["id"].Text] = true
				add(balance, row["document"].Text, row["posted"].Text)
				if row["entry"].Text == "credit" || row["posting_date"].Text == period.To.String() { // not the reversal
					continue
				}
				add(posted, row["currency"].Text+"|"+row["cost_center"].Text, row["posted"].Text)
				add(exact, row["currency"].Text+"|"+row["cost_center"].Text+"|"+row["corrects"].Text, row["amount"].Text)
				if row["corrects"].Text != "" {
					corrected++
				}
			}
			for doc, sum := range balance {
				if sum.Sign() != 0 {
					t.Errorf("%s: %s is off by %s", what, doc, schemas.MoneyOf(sum).String())
				}
			}
			k.postedAsCharged(page{t, what}, period, exact)
			k.postedAsStated(page{t, what}, period, posted)
			for _, currency := range []string{"USD", "EUR"} { // each that there is, in books of that currency
				o.Posting = postingSettings(currency)
				if doc, err = report.Build(t.Context(), k.lake, o); err != nil {
					t.Fatal(err)
				}
				for _, f := range ledgers.Formats() {
					files, err := doc.Post(f.Name)
					var refused *ledgers.Error
					if errors.As(err, &refused) && f.Name == "datev" || err == nil && len(files) > 0 {
						written++
					} else if err != nil {
						t.Errorf("%s, %s: %v", what, f.Name, err)
					}
				}
			}
			if o.Accrual { // what may change isn't posted as if it were final
				o.Accrual = false
				if doc, err = report.Build(t.Context(), k.lake, o); err != nil {
					t.Fatal(err)
				}
				if _, err := doc.Post("xero"); len(ids) > 0 && !errors.As(err, new(*ledgers.Error)) {
					t.Errorf("%s is open, and posted: %v", what, err)
				}
			} else {
				o.Accrual = true
				if _, err := report.Build(t.Context(), k.lake, o); len(ids) > 0 && !errors.As(err, new(*report.OptionsError)) {
					t.Errorf("%s is closed, and accrued: %v", what, err)
				}
			}
		}
	}
	if corrected == 0 || written == 0 {
		t.Errorf("%d corrections, %d files", corrected, written)
	}
}

// postedAsCharged holds the exact amounts to the records: by currency, cost centre and the month that is corrected.
// Lines that come to less than half a cent aren't posted.
func (k *ledger) postedAsCharged(p page, period schemas.Period, got map[string]*big.Int) {
	p.t.Helper()
	want := map[string]*big.Int{}
	for _, l := range k.charged {
		if l.billed != period.From {
			continue
		}
		key := l.currency + "|" + l.of("cost_center") + "|"
		if l.correction {
			key += l.day.Month().First().String()
		}
		if want[key] == nil {
			want[key] = new(big.Int)
		}
		want[key].Add(want[key], l.amount)
	}
	cent := big.NewInt(10_000_000_000)
	maps.DeleteFunc(want, func(key string, v *big.Int) bool { return got[key] == nil && v.CmpAbs(cent) < 0 })
	if !maps.EqualFunc(got, want, func(a, b *big.Int) bool { return a.Cmp(b) == 0 }) {
		p.t.Errorf("%s: the journal has %v, charged is %v", p.what, got, want)
	}
}

// postedAsStated holds the cents to those of the statement.
func (k *ledger) postedAsStated(p page, period schemas.Period, got map[string]*big.Int) {
	p.t.Helper()
	doc, err := report.Build(p.t.Context(), k.lake, report.Options{Name: "statement", Period: &period,
		Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Version: "t"})
	if err != nil {
		p.t.Fatal(err)
	}
	want := map[string]*big.Int{}
	t := table(doc, "journal")
	for _, row := range t.Rows {
		cells := map[string]string{}
		for i, c := range t.Columns {
			cells[c.Name] = row[i].Text
		}
		n, err := schemas.ParseMoney(cells["posted"])
		if err != nil {
			p.t.Fatal(err)
		}
		if key := cells["currency"] + "|" + cells["cost_center"]; cells["entry"] == "debit" && n.Sign() != 0 {
			if want[key] == nil {
				want[key] = new(big.Int)
			}
			want[key].Add(want[key], n.Units())
		}
	}
	maps.DeleteFunc(got, func(_ string, v *big.Int) bool { return v.Sign() == 0 })
	if !maps.EqualFunc(got, want, func(a, b *big.Int) bool { return a.Cmp(b) == 0 }) {
		p.t.Errorf("%s: the journal posts %v, the statement says %v", p.what, got, slices.Sorted(maps.Keys(want)))
	}
}
