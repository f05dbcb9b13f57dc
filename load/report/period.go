package report

import (
	"fmt"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// Period is the time that a report is about.
type Period struct {
	From, To schemas.Date // UTC days, To excluded
	// Billing says that it is made of whole billing months: a correction counts in the month it is charged in. Else it is usage of the
	// days.
	Billing bool
}

// MonthPeriod is a billing month.
func MonthPeriod(month schemas.Date) Period {
	return Period{From: month, To: schemas.NextMonth(month), Billing: true}
}

// Month is the billing month that the period is, if it is one.
func (p Period) Month() (schemas.Date, bool) {
	return p.From, p.Billing && p.To == schemas.NextMonth(p.From)
}

// last is the last billing month of it.
func (p Period) last() schemas.Date { return schemas.MonthOf(p.To - 1) }

// quarter is its name if it is a quarter of a year: 2026-Q3.
func (p Period) quarter() string {
	at := p.From.Start()
	if !p.Billing || at.Month()%3 != 1 || p.last() != schemas.NextMonth(schemas.NextMonth(p.From)) {
		return ""
	}
	return fmt.Sprintf("%d-Q%d", at.Year(), (at.Month()+2)/3)
}

// Name is the period in the name of a file: 2026-10, 2026-Q3, 2026-09-to-2026-10, 2026-10-01-to-2026-10-05.
func (p Period) Name() string {
	if m, ok := p.Month(); ok {
		return m.Month()
	}
	if q := p.quarter(); q != "" {
		return q
	}
	if p.Billing {
		return p.From.Month() + "-to-" + p.last().Month()
	}
	return p.From.String() + "-to-" + p.To.String()
}

// title is the period for people.
func (p Period) title() string {
	if m, ok := p.Month(); ok {
		return m.Start().Format("January 2006")
	}
	if p.Billing {
		first, last := p.From.Start(), p.last().Start()
		if first.Year() == last.Year() {
			return first.Format("January") + " to " + last.Format("January 2006")
		}
		return first.Format("January 2006") + " to " + last.Format("January 2006")
	}
	return fmt.Sprintf("Usage from %s to %s (excluded), UTC", p.From, p.To)
}

// within is the period as a condition on a column of days, or of the first days of months.
func (p Period) within(column string) string {
	return fmt.Sprintf("%[1]s >= DATE '%[2]s' AND %[1]s < DATE '%[3]s'", column, p.From, p.To)
}

// ParseMonths reads billing months that follow one another: 2026-10, this, last, 2026-Q3. Errors say what is wrong of which.
func ParseMonths(texts []string, today schemas.Date) (Period, error) {
	var out Period
	for i, s := range texts {
		p, err := parseMonth(strings.TrimSpace(s), today)
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
			return out, fmt.Errorf("%s doesn't follow %s: a report is about months that follow one another", s, out.last().Month())
		}
	}
	return out, nil
}

func parseMonth(s string, today schemas.Date) (Period, error) {
	this := schemas.MonthOf(today)
	switch {
	case s == "this":
		return MonthPeriod(this), nil
	case s == "last":
		return MonthPeriod(schemas.MonthOf(this - 1)), nil
	case len(s) == 7 && (s[5] == 'Q' || s[5] == 'q') && '1' <= s[6] && s[6] <= '4':
		first, err := schemas.ParseMonth(fmt.Sprintf("%s%02d", s[:5], int(s[6]-'0')*3-2))
		if err != nil {
			return Period{}, err
		}
		return Period{From: first, To: schemas.NextMonth(schemas.NextMonth(schemas.NextMonth(first))), Billing: true}, nil
	}
	m, err := schemas.ParseMonth(s)
	if err != nil {
		return Period{}, err
	}
	return MonthPeriod(m), nil
}
