package publish

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/usagelake/usagelake/schemas"
)

// ErrLacksDays says that there is usage of days that no period of the books has.
var ErrLacksDays = errors.New("no period of the books has them")

// The years whose periods and book days stand in the published file: of usage of other days the views take UTC days and
// calendar months.
const firstBookYear, lastBookYear = 1970, 2149

// covered refuses to publish days that the file of periods doesn't have: in whatever period they were put, it would be
// another one's figure.
func (p *publisher) covered() error {
	books := p.finance.Books
	for _, d := range p.days {
		for _, day := range []schemas.Date{books.Day(d.Date.Start()), books.Day(d.Date.End().Add(-1))} {
			if !books.Covers(day) {
				list := books.Settings().Periods
				return fmt.Errorf("%s lies in %s: %w, which are %s (from %s) to %s (before %s)\nhint: add a period that has the "+
					"day to the file that books.calendar names", d, day, ErrLacksDays, list[0].Name, list[0].From,
					list[len(list)-1].Name, list[len(list)-1].To)
			}
		}
	}
	return nil
}

// fillBooks fills what says which period a record lies in.
func (p *publisher) fillBooks(ctx context.Context, d *Database) error {
	books := p.finance.Books
	if _, err := d.conn.ExecContext(ctx, "INSERT INTO books VALUES (?, ?, ?)", books.ZoneName(), books.String(),
		books.Text()); err != nil {
		return err
	}
	first, last := monthOf(firstBookYear), monthOf(lastBookYear+1)-1
	if list := books.Settings().Periods; len(list) > 0 {
		first, last = books.Month(list[0].From), books.Month(list[len(list)-1].From)
	}
	err := d.fill(Catalog, "periods", func(add func(...driver.Value) error) error {
		for m := first; m <= last; m++ {
			year, n := books.Fiscal(m)
			from, to := books.First(m), books.End(m)
			if err := add(m.Start(), books.Name(m), int32(year), int32((n+2)/3), int32(n), from.Start(), to.Start(),
				books.Starts(from), books.Starts(to)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || books.UTC() && books.Months() {
		return err
	}
	// Also the days that a file of periods doesn't have: the last one that it has ends where the next begins.
	return d.fill(Catalog, "book_days", func(add func(...driver.Value) error) error {
		begin := min(monthOf(firstBookYear).First(), books.First(first))
		end := max(monthOf(lastBookYear+1).First(), books.End(last))
		starts := books.Starts(begin)
		for day := begin; day <= end; day++ {
			ends := books.Starts(day + 1)
			if err := add(day.Start(), books.Month(day).Start(), starts, ends); err != nil {
				return err
			}
			starts = ends
		}
		return nil
	})
}

// monthOf is January of a year.
func monthOf(year int) schemas.Month { return schemas.Month((year - 1970) * 12) }

// Books reads the calendar that the published file was made by.
func (d *Database) Books(ctx context.Context) (*schemas.Books, error) {
	var text string
	if err := d.conn.QueryRowContext(ctx, "SELECT settings FROM books").Scan(&text); err != nil {
		return nil, fmt.Errorf("read the calendar of the books: %w", err)
	}
	return schemas.ParseBooks(text)
}
