package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// Books are the calendar and the currency that the company keeps its books by: what is charged goes by its days and
// periods, and is converted into its currency.
type Books struct {
	Zone       string `yaml:"zone"`        // IANA, such as Asia/Shanghai; "" is UTC
	FiscalYear int    `yaml:"fiscal_year"` // the month that it begins with; 0 is January
	Calendar   string `yaml:"calendar"`    // of schemas.Calendars, or a file of periods; "" is months
	WeekStarts string `yaml:"week_starts"` // of a calendar of weeks; "" is sunday
	Currency   string `yaml:"currency"`    // into which amounts are converted; "" into none
	Rates      string `yaml:"rates"`       // a file of rates
	RateBy     string `yaml:"rate_by"`     // of schemas.RateBys; "" is day
}

// file says whether the calendar is a file that lists its periods.
func (b Books) file() bool { return allocate.IsTable(b.Calendar) }

// ReadBooks makes the calendar, of a file as it is now; nil is UTC's calendar months. Errors are ErrUsage.
func (c *Config) ReadBooks() (*schemas.Books, error) {
	books, err := c.Books.read()
	if err != nil {
		return nil, Usage("docs/books.md says what can be written there", "books: %w", err)
	}
	return books, nil
}

func (b Books) read() (*schemas.Books, error) {
	s := schemas.BookSettings{Zone: b.Zone, FiscalYear: b.FiscalYear, Calendar: b.Calendar, WeekStarts: b.WeekStarts}
	if b.file() {
		s.Calendar = schemas.CalendarFile
		content, err := os.ReadFile(b.Calendar)
		if err != nil {
			return nil, fmt.Errorf("calendar: %w", err)
		}
		if s.Periods, err = parsePeriods(filepath.Base(b.Calendar), content); err != nil {
			return nil, fmt.Errorf("calendar %s: %w", b.Calendar, err)
		}
	}
	return schemas.MakeBooks(s)
}

// parsePeriods reads a file of periods: a table of period (2026-P07), from and to (excluded).
func parsePeriods(name string, b []byte) ([]schemas.BookPeriod, error) {
	known := []string{"period", "from", "to"}
	var out []schemas.BookPeriod
	err := allocate.ReadSheet(name, b, func(c string) error {
		if slices.Contains(known, c) {
			return nil
		}
		return fmt.Errorf("unknown column %q: there are %s", c, strings.Join(known, ", "))
	}, func(columns map[string]int) []error {
		return allocate.Lacking(columns, known...)
	}, func(r *allocate.Row) error {
		p := schemas.BookPeriod{Name: strings.ToUpper(r.Period("period")), Source: r.Source()}
		var err1, err2 error
		p.From, err1 = r.Date("from")
		p.To, err2 = r.Date("to")
		out = append(out, p)
		return errors.Join(err1, err2)
	})
	return out, err
}
