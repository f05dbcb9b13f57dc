package schemas

import (
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Period is the time that a report is about: the half-open interval [From, To) of book days.
type Period struct {
	From, To Date
	// Billing says that it is made of whole billing periods, those from First to Last: a correction counts in the one it
	// is charged in. Else it is usage of the days.
	Billing     bool
	First, Last Month
	books       *Books
}

// Period are the billing periods from first to last, the last included.
func (b *Books) Period(first, last Month) Period {
	return Period{From: b.First(first), To: b.End(last), Billing: true, First: first, Last: last, books: b}
}

// Span are the book days [from, to), as usage and not as charges.
func (b *Books) Span(from, to Date) Period { return Period{From: from, To: to, books: b} }

// Whole is a period of days as the billing periods that it is made of; an error if it is made of none.
func (b *Books) Whole(p Period) (Period, error) {
	if p.Billing {
		return p, nil
	}
	first, after := b.Month(p.From), b.Month(p.To)
	for _, d := range []struct {
		day   Date
		month Month
	}{{p.From, first}, {p.To, after}} {
		if b.First(d.month) != d.day {
			return p, fmt.Errorf("%s is not the first day of a month", d.day)
		}
	}
	if after <= first {
		return p, fmt.Errorf("no billing month lies between %s and %s (the end is excluded)", b.Name(first), b.Name(after))
	}
	return b.Period(first, after-1), nil
}

// Month is the billing period that it is, if it is a single one.
func (p Period) Month() (Month, bool) { return p.First, p.Billing && p.First == p.Last }

// NameOf is what the books call a billing period.
func (p Period) NameOf(m Month) string { return p.books.Name(m) }

// Contains says that the book day lies in the period.
func (p Period) Contains(d Date) bool { return p.From <= d && d < p.To }

// Holds says that the instant lies in a book day of the period.
func (p Period) Holds(t time.Time) bool { return p.Contains(p.books.Day(t)) }

// UTC are the UTC days [from, to) that lie in the period, if only in part.
func (p Period) UTC() (from, to Date) {
	return DateOf(p.books.Starts(p.From)), DateOf(p.books.Starts(p.To).Add(-1)) + 1
}

// Days are the book days of the period, in order.
func (p Period) Days() iter.Seq[Date] {
	return func(yield func(Date) bool) {
		for d := p.From; d < p.To && yield(d); d++ {
		}
	}
}

// fiscal is its name if it is a fiscal year or a quarter of one: FY2026, 2026-Q3.
func (p Period) fiscal() string {
	year, n := p.books.Fiscal(p.First)
	switch months := p.Last - p.First + 1; {
	case !p.Billing:
	case months == 12 && n == 1:
		return fmt.Sprintf("FY%d", year)
	case months == 3 && n%3 == 1:
		return fmt.Sprintf("%d-Q%d", year, (n+2)/3)
	}
	return ""
}

// Name is the period in the name of a file: 2026-10, 2026-P07, 2026-Q3, FY2026, 2026-09-to-2026-10,
// 2026-10-01-to-2026-10-05.
func (p Period) Name() string {
	if m, ok := p.Month(); ok {
		return p.books.Name(m)
	}
	if name := p.fiscal(); name != "" {
		return name
	}
	if p.Billing {
		return p.books.Name(p.First) + "-to-" + p.books.Name(p.Last)
	}
	return p.From.String() + "-to-" + p.To.String()
}

// Title is the period for people: October 2026, September to October 2026; 2026-P07, 27 September to 31 October 2026;
// and by which clocks, if those are not UTC.
func (p Period) Title() string {
	if !p.Billing {
		return fmt.Sprintf("Usage from %s to %s (excluded), %s", p.From, p.To, p.books.ZoneName())
	}
	out := span(p.First.Start(), p.Last.Start(), "January", " 2006")
	if !p.books.Months() {
		out = strings.ReplaceAll(p.Name(), "-to-", " to ") + ", " +
			span(p.From.Start(), (p.To-1).Start(), "2 January", " 2006")
	}
	if !p.books.UTC() {
		out += ", " + p.books.ZoneName()
	}
	return out
}

// span words two times of which the years are said once if they are one.
func span(first, last time.Time, form, year string) string {
	switch {
	case first.Equal(last):
		return first.Format(form + year)
	case first.Year() == last.Year():
		return first.Format(form) + " to " + last.Format(form+year)
	}
	return first.Format(form+year) + " to " + last.Format(form+year)
}

// ParseMonth reads a single billing period, as ParsePeriod does.
func (b *Books) ParseMonth(s string, now time.Time) (Month, error) {
	p, err := b.ParsePeriod([]string{s}, now)
	if err != nil {
		return 0, err
	}
	month, ok := p.Month()
	if !ok {
		return 0, fmt.Errorf("%s is more than a month", s)
	}
	return month, nil
}

// ParsePeriod reads billing periods that follow one another: 2026-10, 2026-P07, this, last, 2026-Q3, FY2026. Errors say
// what is wrong of which.
func (b *Books) ParsePeriod(texts []string, now time.Time) (Period, error) {
	var out Period
	for i, s := range texts {
		p, err := b.parsePeriod(strings.TrimSpace(s), now)
		if err != nil {
			return out, err
		}
		switch {
		case i == 0:
			out = p
		case p.First == out.Last+1:
			out = b.Period(out.First, p.Last)
		case p.Last == out.First-1:
			out = b.Period(p.First, out.Last)
		default:
			return out, fmt.Errorf("%s doesn't follow %s: a report is about months that follow one another", s,
				b.Name(out.Last))
		}
	}
	return out, nil
}

var (
	quarterName = regexp.MustCompile(`^(\d{4})-[Qq]([1-4])$`)
	yearName    = regexp.MustCompile(`^[Ff][Yy](\d{4})$`)
)

func (b *Books) parsePeriod(s string, now time.Time) (Period, error) {
	first, n, err := b.named(s, now)
	if err != nil {
		return Period{}, err
	}
	if list := b.Settings().Periods; len(list) > 0 && (first < b.given(0) || first+n > b.given(len(list))) {
		return Period{}, fmt.Errorf("%s: the file of periods has %s to %s", s, list[0].Name, list[len(list)-1].Name)
	}
	return b.Period(first, first+n-1), nil
}

// named is the first of the periods that a name is for, and how many they are.
func (b *Books) named(s string, now time.Time) (first, n Month, err error) {
	quarter, year := quarterName.FindStringSubmatch(s), yearName.FindStringSubmatch(s)
	switch {
	case s == "this":
		return b.Current(now), 1, nil
	case s == "last":
		return b.Current(now) - 1, 1, nil
	case quarter != nil:
		y, _ := strconv.Atoi(quarter[1])
		return b.fiscal(y, int(quarter[2][0]-'0')*3-2), 3, nil
	case year != nil:
		y, _ := strconv.Atoi(year[1])
		return b.fiscal(y, 1), 12, nil
	case periodName.MatchString(s):
		first, err = b.parsePeriodName(s)
		return first, 1, err
	}
	first, err = ParseMonth(s)
	switch {
	case b.Months():
	case err != nil:
		err = fmt.Errorf("%q is not a period like %s", s, b.Name(b.Current(now)))
	default:
		err = fmt.Errorf("%s is a month of the calendar, and the books have %s: write a period like %s", s, b,
			b.Name(b.Month(first.First()+14)))
	}
	return first, 1, err
}
