package schemas

import (
	"fmt"
	"time"
)

// Month is a calendar month of UTC days, as months since January 1970: m+1 is the month after m, m-1 the one before.
type Month int32

// ParseMonth reads the form 2026-10.
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a month like 2026-10", s)
	}
	return monthAt(t), nil
}

func monthAt(t time.Time) Month { return Month((t.Year()-1970)*12 + int(t.Month()-time.January)) }

// Month is the month that holds the day.
func (d Date) Month() Month { return monthAt(d.Start()) }

// Start is the first instant of the month, UTC.
func (m Month) Start() time.Time {
	return time.Date(1970, time.January+time.Month(m), 1, 0, 0, 0, 0, time.UTC)
}

// End is the first instant of the next month, UTC: a month is [Start, End).
func (m Month) End() time.Time { return (m + 1).Start() }

// First is the first day of the month.
func (m Month) First() Date { return DateOf(m.Start()) }

// String gives 2026-10.
func (m Month) String() string { return m.Start().Format("2006-01") }

// MarshalText gives 2026-10.
func (m Month) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads it.
func (m *Month) UnmarshalText(text []byte) error {
	v, err := ParseMonth(string(text))
	if err != nil {
		return err
	}
	*m = v
	return nil
}
