package schemas

import (
	"fmt"
	"iter"
	"strings"
)

// Period is the time that a report is about: the half-open interval [From, To) of UTC days. What its months and
// quarters are is known here alone, so that another calendar than the common one has one place to come to.
type Period struct {
	From, To Date
	// Billing says that it is made of whole billing months: a correction counts in the month it is charged in. Else it is
	// usage of the days.
	Billing bool
}

// MonthPeriod is a billing month.
func MonthPeriod(m Month) Period { return MonthsPeriod(m, m) }

// MonthsPeriod are the billing months from first to last, the last included.
func MonthsPeriod(first, last Month) Period { return Period{first.First(), (last + 1).First(), true} }

// Month is the billing month that the period is, if it is one.
func (p Period) Month() (Month, bool) {
	m := p.From.Month()
	return m, p == MonthPeriod(m)
}

// Last is the month that its last day lies in.
func (p Period) Last() Month { return (p.To - 1).Month() }

// Contains says that the day lies in the period.
func (p Period) Contains(d Date) bool { return p.From <= d && d < p.To }

// Days are the days of the period, in order.
func (p Period) Days() iter.Seq[Date] {
	return func(yield func(Date) bool) {
		for d := p.From; d < p.To && yield(d); d++ {
		}
	}
}

// quarter is its name if it is a quarter of a year: 2026-Q3.
func (p Period) quarter() string {
	m := p.From.Month()
	// Quarters begin in months 1, 4, 7 and 10.
	if m.Start().Month()%3 != 1 || p != MonthsPeriod(m, m+2) {
		return ""
	}
	return fmt.Sprintf("%d-Q%d", m.Start().Year(), (m.Start().Month()+2)/3)
}

// Name is the period in the name of a file: 2026-10, 2026-Q3, 2026-09-to-2026-10, 2026-10-01-to-2026-10-05.
func (p Period) Name() string {
	if m, ok := p.Month(); ok {
		return m.String()
	}
	if q := p.quarter(); q != "" {
		return q
	}
	if p.Billing {
		return p.From.Month().String() + "-to-" + p.Last().String()
	}
	return p.From.String() + "-to-" + p.To.String()
}

// Title is the period for people: October 2026, September to October 2026.
func (p Period) Title() string {
	if m, ok := p.Month(); ok {
		return m.Start().Format("January 2006")
	}
	if p.Billing {
		first, last := p.From.Start(), p.Last().Start()
		if first.Year() == last.Year() {
			return first.Format("January") + " to " + last.Format("January 2006")
		}
		return first.Format("January 2006") + " to " + last.Format("January 2006")
	}
	return fmt.Sprintf("Usage from %s to %s (excluded), UTC", p.From, p.To)
}

// ParsePeriod reads billing months that follow one another: 2026-10, this, last, 2026-Q3. Errors say what is wrong of
// which.
func ParsePeriod(texts []string, today Date) (Period, error) {
	var out Period
	for i, s := range texts {
		p, err := parsePeriod(strings.TrimSpace(s), today)
		if err != nil {
			return out, err
		}
		switch {
		case i == 0:
			out = p
		case p.From == out.To:
			out.To = p.To
		case p.To == out.From:
			out.From = p.From
		default:
			return out, fmt.Errorf("%s doesn't follow %s: a report is about months that follow one another", s, out.Last())
		}
	}
	return out, nil
}

func parsePeriod(s string, today Date) (Period, error) {
	switch {
	case s == "this":
		return MonthPeriod(today.Month()), nil
	case s == "last":
		return MonthPeriod(today.Month() - 1), nil
	case len(s) == 7 && (s[5] == 'Q' || s[5] == 'q') && '1' <= s[6] && s[6] <= '4':
		first, err := ParseMonth(fmt.Sprintf("%s%02d", s[:5], int(s[6]-'0')*3-2))
		if err != nil {
			return Period{}, err
		}
		return MonthsPeriod(first, first+2), nil
	}
	m, err := ParseMonth(s)
	if err != nil {
		return Period{}, err
	}
	return MonthPeriod(m), nil
}
