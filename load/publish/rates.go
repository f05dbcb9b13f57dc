package publish

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/schemas"
)

// ErrOtherCurrency says that months were closed in another currency than the one that amounts are to be converted into.
var ErrOtherCurrency = errors.New("the currency of the books can't change while months are closed in it")

// ErrNoRate says that something is charged in a currency that there is no rate of.
var ErrNoRate = errors.New("a rate is missing")

// ManifestRate is a rate that a closed month keeps: whatever is charged for usage of the day, in this month or as a
// correction later, is converted by it.
type ManifestRate struct {
	Currency string `json:"currency"`
	Day      string `json:"book_date"`
	Rate     string `json:"rate"`
	RateDate string `json:"rate_date,omitempty"` // the day that it was written for; "" of a mean
	Of       int    `json:"mean_of,omitempty"`
	Source   string `json:"source,omitempty"`
	Final    bool   `json:"final"`
}

// bookRates are what amounts are converted by: what a closed month has kept of a day, and else what the config says.
// They don't change once they are made.
type bookRates struct {
	*schemas.Rates
	books *schemas.Books
	kept  map[rateKey]keptRate
}

type rateKey struct {
	currency string
	day      schemas.Date
}

type keptRate struct {
	schemas.BookRate
	by schemas.Month // the closed month that keeps it
}

// newBookRates takes the closed months in order: what one keeps of a day holds for those after it.
func newBookRates(rates *schemas.Rates, books *schemas.Books, closed []ClosedMonth) (*bookRates, error) {
	r := &bookRates{rates, books, map[rateKey]keptRate{}}
	for _, c := range closed {
		if c.BookCurrency != "" && c.BookCurrency != rates.Currency() {
			return nil, fmt.Errorf("%w: %s was closed in %s, and the config has %s\nhint: write books.currency as it was; or "+
				"open the closed months again, the last first (usagelake close --reopen), and close them in the new currency",
				ErrOtherCurrency, c.Name(), c.BookCurrency, cmp.Or(rates.Currency(), "none"))
		}
		for _, k := range c.Rates {
			rate, day, err := k.parse()
			if err != nil {
				return nil, fmt.Errorf("closed month %s: its manifest is damaged: %w\nhint: restore %s from a backup", c.Month,
					err, c.Dir)
			}
			key := rateKey{k.Currency, day}
			if _, ok := r.kept[key]; !ok {
				r.kept[key] = keptRate{rate, c.Month}
			}
		}
	}
	return r, nil
}

func (k ManifestRate) parse() (schemas.BookRate, schemas.Date, error) {
	out := schemas.BookRate{Of: k.Of, Source: k.Source, Final: k.Final}
	var err1, err2 error
	out.Rate, err1 = schemas.ParseRate(k.Rate)
	day, err2 := schemas.ParseDate(k.Day)
	if k.RateDate != "" {
		d, err := schemas.ParseDate(k.RateDate)
		out.Date, err2 = &d, errors.Join(err2, err)
	}
	return out, day, errors.Join(err1, err2)
}

// on is the rate of a currency on a book day, and the closed month that keeps it; nil if it isn't kept.
func (r *bookRates) on(currency string, day schemas.Date) (schemas.BookRate, *schemas.Month) {
	if k, ok := r.kept[rateKey{currency, day}]; ok {
		return k.BookRate, &k.by
	}
	return r.On(r.books, currency, day), nil
}

// digest is of all that they say, closed months apart.
func (r *bookRates) digest() (string, error) {
	text, err := json.Marshal(r.Digestible())
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// sameRates says whether the published file was converted by the rates that it would be converted by now.
func (p *publisher) sameRates(have *published) bool { return have.rates == p.finance.ratesAt }

// rateValue is a rate as a column has it; NULL if there is none.
func rateValue(r schemas.Rate) driver.Value {
	if r == 0 {
		return nil
	}
	return duckdb.Decimal{Width: 18, Scale: schemas.RateScale, Value: big.NewInt(int64(r))}
}

// fillRates fills book_rates with the rate of each currency and book day that something is charged of, and has the
// months derived anew whose rates are others than before: a rate that comes needs no other table than those of charges.
func (a *allocation) fillRates(ctx context.Context) error {
	err := a.d.Exec(ctx, "CREATE OR REPLACE TEMP TABLE rates_before AS FROM book_rates", "DELETE FROM book_rates")
	if err != nil {
		return err
	}
	if a.finance.rates.Currency() != "" {
		used, err := a.d.chargedIn(ctx, "true")
		if err != nil {
			return err
		}
		var lacks []string
		err = a.d.fill(Catalog, "book_rates", func(add func(...driver.Value) error) error {
			for _, u := range used {
				r, kept := a.finance.rates.on(u.currency, u.day)
				var by driver.Value
				if kept != nil {
					by = kept.Start()
				}
				err := add(u.currency, u.day.Start(), a.finance.rates.Currency(), a.finance.Books.Month(u.day).Start(),
					rateValue(r.Rate), dateValue(r.Date), nullable(int32(r.Of)), nullable(r.Source), r.Final, by,
					nullable(r.Lacks))
				if err != nil {
					return err
				}
				if r.Lacks != "" {
					lacks = append(lacks, r.Lacks)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(lacks) > 0 {
			a.lake.Log.Warn("what has no rate isn't converted, and its month can't be closed", "days", len(lacks), "first",
				lacks[0], "hint", "FROM missing_rates lists them: add them to the file that books.rates names")
		}
	}
	return a.d.Exec(ctx, `INSERT INTO temp.stale_months SELECT DISTINCT "month" FROM (
			SELECT "month", currency, book_date, rate FROM book_rates
			EXCEPT SELECT "month", currency, book_date, rate FROM temp.rates_before)`,
		"DROP TABLE temp.rates_before")
}

// chargedIn lists the currencies and book days of what is charged, or would be if no month was closed, as far as it
// meets a condition on columns of chargeback_daily that usage has, too: book_date, currency.
func (d *Database) chargedIn(ctx context.Context, where string) ([]rateKey, error) {
	rows, err := d.conn.QueryContext(ctx, `SELECT DISTINCT currency, book_date FROM (
			SELECT currency, book_date, net_cost FROM allocated_model_daily
			UNION ALL SELECT currency, book_date, net_cost FROM chargeback_daily)
		WHERE net_cost IS NOT NULL AND currency IS NOT NULL AND `+where+` ORDER BY ALL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []rateKey
	for rows.Next() {
		var k rateKey
		var day sql.NullTime
		if err := rows.Scan(&k.currency, &day); err != nil {
			return nil, err
		}
		k.day = schemas.DateOf(day.Time)
		out = append(out, k)
	}
	return out, rows.Err()
}

// converted is the error of an amount that is beyond what a column holds.
func converted(err error) error {
	if err != nil && strings.Contains(err.Error(), "Overflow in multiplication of DECIMAL") {
		return fmt.Errorf("an amount in the currency of the books has more than 16 digits before the point: %w\nhint: look "+
			"for a rate that is far too high, in the file that books.rates names", err)
	}
	return err
}

// keptRates are those that a month keeps as it is closed: of each of its days, in every currency that the file knows,
// and of the days whose corrections it is charged. It is ErrNoRate if something is charged that has none.
func (d *Database) keptRates(ctx context.Context, opts CloseOptions, closed []ClosedMonth) ([]ManifestRate, error) {
	if opts.Rates.Currency() == "" {
		return nil, nil
	}
	rates, err := newBookRates(opts.Rates, opts.Books, closed)
	if err != nil {
		return nil, err
	}
	var lacks sql.NullString
	err = d.conn.QueryRowContext(ctx, fmt.Sprintf(`SELECT string_agg(lacks, '; ' ORDER BY lacks) FROM (
		SELECT DISTINCT coalesce(r.lacks, 'usage of ' || c.book_date || ' has no currency') AS lacks
		FROM chargeback_daily c LEFT JOIN book_rates r ON r.currency = c.currency AND r.book_date = c.book_date
		WHERE c.billing_month = DATE '%s' AND c.net_cost IS NOT NULL AND c.book_cost IS NULL)`, opts.Month.First())).
		Scan(&lacks)
	if err != nil {
		return nil, err
	}
	if lacks.Valid {
		return nil, fmt.Errorf("%w: %s", ErrNoRate, lacks.String)
	}
	days, err := d.chargedIn(ctx, fmt.Sprintf("book_date IN (SELECT book_date FROM chargeback_daily "+
		"WHERE billing_month = DATE '%s')", opts.Month.First()))
	if err != nil {
		return nil, err
	}
	all, err := d.chargedIn(ctx, "true")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, k := range all {
		if seen[k.currency] {
			continue
		}
		seen[k.currency] = true
		for day := opts.Books.First(opts.Month); day < opts.Books.End(opts.Month); day++ {
			days = append(days, rateKey{k.currency, day})
		}
	}
	out := []ManifestRate{}
	done := map[rateKey]bool{}
	for _, k := range days {
		r, kept := rates.on(k.currency, k.day)
		// What an earlier month keeps is that month's to say.
		if done[k] || kept != nil || r.Rate == 0 || k.currency == opts.Rates.Currency() {
			continue
		}
		done[k] = true
		m := ManifestRate{Currency: k.currency, Day: k.day.String(), Rate: r.Rate.String(), Of: r.Of, Source: r.Source,
			Final: r.Final}
		if r.Date != nil {
			m.RateDate = r.Date.String()
		}
		out = append(out, m)
	}
	return out, d.ratesHold(ctx, rates)
}

// ratesHold says whether the published file has been converted by the rates.
func (d *Database) ratesHold(ctx context.Context, rates *bookRates) error {
	rows, err := d.conn.QueryContext(ctx, "SELECT currency, book_date, coalesce(rate, 0)::VARCHAR FROM book_rates")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var currency, text string
		var day sql.NullTime
		if err := rows.Scan(&currency, &day, &text); err != nil {
			return err
		}
		date := schemas.DateOf(day.Time)
		want, _ := rates.on(currency, date)
		if have, _ := schemas.ParseRate(text); have != want.Rate {
			return fmt.Errorf("usage.duckdb was published with another rate of %s on %s: usagelake rebuild", currency, date)
		}
	}
	return rows.Err()
}
