package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// rateColumns are those of a file of rates. What else a bank or a treasury writes beside them is passed over.
var rateColumns = []string{"date", "from", "to", "rate", "source"}

// ReadRates reads what amounts are converted by into the currency of the books, from the file as it is now; nil if the
// books have no currency. Errors are ErrUsage.
func (c *Config) ReadRates() (*schemas.Rates, error) {
	var lines []schemas.RateLine
	if name := c.Books.Rates; name != "" {
		content, err := os.ReadFile(name)
		if err == nil {
			lines, err = parseRates(filepath.Base(name), content)
		}
		if err != nil {
			return nil, Usage("docs/books.md says what can be written there", "books: rates %s: %w", name, err)
		}
	}
	rates, err := schemas.MakeRates(c.Books.Currency, c.Books.RateBy, lines)
	if err != nil {
		return nil, Usage("docs/books.md says what can be written there", "books: %w", err)
	}
	return rates, nil
}

// checkRates lists what can't be meant of the settings, whatever the file has.
func (b Books) checkRates() error {
	if b.Currency == "" && b.Rates != "" {
		return errors.New("currency: name the one that rates are to convert into, such as EUR")
	}
	_, err := schemas.MakeRates(b.Currency, b.RateBy, nil)
	return err
}

// parseRates reads a file of rates: a table of date, from, to and rate, and where it is known source.
func parseRates(name string, b []byte) ([]schemas.RateLine, error) {
	var out []schemas.RateLine
	err := allocate.ReadSheet(name, b, allocate.Ours(rateColumns), func(columns map[string]int) []error {
		return allocate.Lacking(columns, rateColumns[:4]...)
	}, func(r *allocate.Row) error {
		l := schemas.RateLine{From: strings.ToUpper(r.Text("from")), To: strings.ToUpper(r.Text("to")),
			Source: r.Text("source"), Line: r.Source()}
		var errs []error
		var err1, err2 error
		l.Date, err1 = r.Date("date")
		l.Rate, err2 = allocate.Number(r, "rate", schemas.ParseRate)
		errs = append(errs, err1, err2)
		for _, c := range [][2]string{{"from", l.From}, {"to", l.To}} {
			if !schemas.IsCurrency(c[1]) {
				errs = append(errs, r.Wrong(c[0], "currency %q is not an ISO 4217 code like USD", c[1]))
			}
		}
		if l.From == l.To {
			errs = append(errs, fmt.Errorf("from and to are both %s, which is 1 and needs no rate: delete the line", l.From))
		}
		out = append(out, l)
		return errors.Join(errs...)
	})
	return out, err
}
