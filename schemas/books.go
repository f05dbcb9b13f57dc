package schemas

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas/words"
)

// Calendars of Books.
const (
	CalendarMonths = "months" // the months of the calendar
	CalendarFile   = "file"   // the periods that a file lists
)

// weekCalendars are the weeks of the three periods of a quarter.
var weekCalendars = map[string][3]int{"4-4-5": {4, 4, 5}, "4-5-4": {4, 5, 4}, "5-4-4": {5, 4, 4}}

// Calendars names those that are not a file's.
func Calendars() []string { return []string{CalendarMonths, "4-4-5", "4-5-4", "5-4-4"} }

// Books is the calendar that a company keeps its books by: which book day an instant lies in, by a zone's clocks, and
// which period a book day lies in. nil is UTC and the months of the calendar.
//
// A fiscal year has twelve periods. Each goes by a Month, in order: the first by the month that the year begins with,
// which of calendar months is the month itself. So m+1 is the period after m, whatever its days are.
//
// It doesn't change once it is made.
type Books struct {
	set   BookSettings
	zone  *time.Location
	weeks [3]int // of a calendar of weeks; zeros of another
}

// BookSettings are what Books are made of. The zero value is UTC and calendar months.
type BookSettings struct {
	Zone       string       `json:"zone"`                  // IANA; "" is UTC
	FiscalYear int          `json:"fiscal_year"`           // the month it begins with; 0 is January
	Calendar   string       `json:"calendar"`              // "" is CalendarMonths
	WeekStarts string       `json:"week_starts,omitempty"` // of a calendar of weeks: sunday, …; "" is sunday
	Periods    []BookPeriod `json:"periods,omitempty"`     // of CalendarFile
}

// BookPeriod is a period that a file lists: the book days [From, To).
type BookPeriod struct {
	Name     string `json:"period"` // 2026-P07
	From, To Date
	Source   string `json:"-"` // file and line, for errors
}

// MakeBooks checks the settings. Books of UTC's calendar months, with a year from January, are nil.
func MakeBooks(s BookSettings) (*Books, error) {
	s.Calendar, s.FiscalYear = cmp.Or(s.Calendar, CalendarMonths), cmp.Or(s.FiscalYear, 1)
	b := &Books{set: s, zone: time.UTC}
	if s.Zone != "" {
		zone, err := time.LoadLocation(s.Zone)
		// "Local" is what the machine is set to, which no file says.
		if err != nil || s.Zone == "Local" {
			return nil, fmt.Errorf("zone: %q is no time zone; IANA names them like Asia/Shanghai", s.Zone)
		}
		b.zone = zone
	}
	if s.FiscalYear < 1 || s.FiscalYear > 12 {
		return nil, fmt.Errorf("fiscal_year: %d is no month: 1 is January, 12 December", s.FiscalYear)
	}
	weeks, ok := weekCalendars[s.Calendar]
	switch b.weeks = weeks; {
	case ok:
		b.set.WeekStarts = cmp.Or(s.WeekStarts, "sunday")
		if _, ok := weekdays[b.set.WeekStarts]; !ok {
			return nil, fmt.Errorf("week_starts: %q is no day of the week like sunday%s", s.WeekStarts,
				words.Nearest(s.WeekStarts, weekdayNames()))
		}
	case s.WeekStarts != "":
		return nil, fmt.Errorf("week_starts: only a calendar of weeks (%s) goes by it", strings.Join(Calendars()[1:], ", "))
	case s.Calendar == CalendarFile:
		if err := b.checkPeriods(); err != nil {
			return nil, err
		}
	case s.Calendar != CalendarMonths:
		return nil, fmt.Errorf("calendar: %q is none of %s, and no CSV file of periods%s", s.Calendar,
			strings.Join(Calendars(), ", "), words.Nearest(s.Calendar, Calendars()))
	}
	if b.zone.String() == "UTC" && s.Calendar == CalendarMonths && s.FiscalYear == 1 {
		return nil, nil
	}
	return b, nil
}

var weekdays = map[string]time.Weekday{"sunday": time.Sunday, "monday": time.Monday, "tuesday": time.Tuesday,
	"wednesday": time.Wednesday, "thursday": time.Thursday, "friday": time.Friday, "saturday": time.Saturday}

func weekdayNames() []string {
	var out []string
	for d := time.Sunday; d <= time.Saturday; d++ {
		out = append(out, strings.ToLower(d.String()))
	}
	return out
}

// checkPeriods sees that the periods of a file follow one another, in their days and in their names.
func (b *Books) checkPeriods() error {
	list := b.set.Periods
	if len(list) == 0 {
		return fmt.Errorf("calendar: the file lists no period")
	}
	for i, p := range list {
		m, err := b.parsePeriodName(p.Name)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", p.Source, err)
		case p.To <= p.From:
			return fmt.Errorf("%s: %s ends on %s, before it has a day: to is the day after its last one", p.Source, p.Name, p.To)
		case i == 0:
			continue
		}
		switch before := list[i-1]; {
		case p.From < before.To:
			return fmt.Errorf("%s: %s begins on %s, within %s, which ends before %s", p.Source, p.Name, p.From, before.Name,
				before.To)
		case p.From > before.To:
			return fmt.Errorf("%s: no period has the days from %s to %s (excluded), between %s and %s", p.Source, before.To,
				p.From, before.Name, p.Name)
		default:
			if last, _ := b.parsePeriodName(before.Name); m != last+1 {
				return fmt.Errorf("%s: %s follows %s: write %s, for a year has the periods P01 to P12", p.Source, p.Name,
					before.Name, b.periodName(last+1))
			}
		}
	}
	return nil
}

var periodName = regexp.MustCompile(`^(\d{4})-[Pp](\d{2})$`)

// parsePeriodName reads the form 2026-P07.
func (b *Books) parsePeriodName(s string) (Month, error) {
	x := periodName.FindStringSubmatch(s)
	if x == nil {
		return 0, fmt.Errorf("%q is not a period like 2026-P07", s)
	}
	year, _ := strconv.Atoi(x[1])
	n, _ := strconv.Atoi(x[2])
	if n < 1 || n > 12 {
		return 0, fmt.Errorf("%q: a fiscal year has the periods P01 to P12", s)
	}
	return b.fiscal(year, n), nil
}

// fiscal is the n-th period of a fiscal year, from 1.
func (b *Books) fiscal(year, n int) Month {
	return Month((year-1970)*12 + b.Settings().FiscalYear - 1 + n - 1)
}

// Fiscal is the fiscal year that a period is of, and its number there, from 1. A year is called by the calendar year
// that its first month lies in.
func (b *Books) Fiscal(m Month) (year, number int) {
	i := int(m) - (b.Settings().FiscalYear - 1)
	year = i / 12
	if i%12 < 0 {
		year--
	}
	return 1970 + year, i - year*12 + 1
}

func (b *Books) periodName(m Month) string {
	year, n := b.Fiscal(m)
	return fmt.Sprintf("%04d-P%02d", year, n)
}

// Name is what a period is called: 2026-10 of calendar months, else 2026-P07.
func (b *Books) Name(m Month) string {
	if b.Months() {
		return m.String()
	}
	return b.periodName(m)
}

// Months says that the periods are calendar months, by whatever clocks.
func (b *Books) Months() bool { return b == nil || b.set.Calendar == CalendarMonths }

// UTC says that book days are UTC days.
func (b *Books) UTC() bool { return b == nil || b.zone.String() == "UTC" }

// ZoneName is the zone as IANA calls it.
func (b *Books) ZoneName() string {
	if b.UTC() {
		return "UTC"
	}
	return b.zone.String()
}

// Settings are those that it was made of, without what they leave out.
func (b *Books) Settings() BookSettings {
	if b == nil {
		return BookSettings{Calendar: CalendarMonths, FiscalYear: 1}
	}
	return b.set
}

// Text is the settings as the published file and a closed month's manifest keep them; ParseBooks reads it. "" is UTC's
// calendar months.
func (b *Books) Text() string {
	if b == nil {
		return ""
	}
	text, err := json.Marshal(b.set)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(text)
}

// ParseBooks reads what Text wrote.
func ParseBooks(text string) (*Books, error) {
	if text == "" {
		return nil, nil
	}
	var s BookSettings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, fmt.Errorf("the calendar of the books: %w", err)
	}
	return MakeBooks(s)
}

// String is the calendar for people.
func (b *Books) String() string {
	s := b.Settings()
	out := "calendar months"
	switch {
	case s.Calendar == CalendarFile:
		out = fmt.Sprintf("%d periods of a file", len(s.Periods))
	case !b.Months():
		out = s.Calendar + " weeks from " + s.WeekStarts
	}
	if s.FiscalYear > 1 {
		out += ", the year from " + time.Month(s.FiscalYear).String()
	}
	return out + ", " + b.ZoneName()
}

// Starts is the first instant of a book day, UTC: at which the zone's clocks show it, or a later day where they leave
// it out. A day is [Starts(d), Starts(d+1)), also where clocks that go back show the day before once more.
func (b *Books) Starts(d Date) time.Time {
	if b.UTC() {
		return d.Start()
	}
	// On nearly all days clocks are as far off UTC at midnight as they were at midnight UTC.
	_, offset := d.Start().In(b.zone).Zone()
	at := d.Start().Add(-time.Duration(offset) * time.Second)
	if b.clock(at) == d && b.clock(at.Add(-time.Second)) < d {
		return at
	}
	// Clocks are no more than a day off UTC, and go forth and back on whole seconds. time.ZoneBounds isn't asked: of the
	// last day of a leap year that no table of the zone has, Go 1.26 says that its zone ended before it.
	begin := d.Start().Add(-26 * time.Hour)
	n := sort.Search(52*3600, func(i int) bool { return b.clock(begin.Add(time.Duration(i)*time.Second)) >= d })
	return begin.Add(time.Duration(n) * time.Second)
}

// clock is the day that the zone's clocks show.
func (b *Books) clock(t time.Time) Date {
	y, m, d := t.In(b.zone).Date()
	return DateOf(time.Date(y, m, d, 0, 0, 0, 0, time.UTC))
}

// Day is the book day that holds the instant.
func (b *Books) Day(t time.Time) Date {
	if b.UTC() {
		return DateOf(t)
	}
	day := b.clock(t)
	switch { // clocks that went back over midnight
	case t.Before(b.Starts(day)):
		return day - 1
	case !t.Before(b.Starts(day + 1)):
		return day + 1
	}
	return day
}

// Month is the period that holds a book day. Of days that a file of periods doesn't have (Covers) it is the one before
// its first, which has all days until then, or the one after its last, which has all from then on.
func (b *Books) Month(d Date) Month {
	switch {
	case b.Months():
		return d.Month()
	case b.set.Calendar == CalendarFile:
		n, within := slices.BinarySearchFunc(b.set.Periods, d, func(p BookPeriod, d Date) int {
			if p.To <= d {
				return -1
			}
			return max(0, cmp.Compare(p.From, d))
		})
		if !within && n == 0 {
			n = -1
		}
		return b.given(n)
	}
	year := d.Start().Year() + 1
	for b.year(year) > d {
		year--
	}
	week := int(d-b.year(year)) / 7
	quarter := min(week/13, 3) // the fifty-third belongs to the last period
	n := 0
	for n < 2 && week-quarter*13 >= b.weeksBefore(n+1) {
		n++
	}
	return b.fiscal(year, quarter*3+n+1)
}

// The days before which, and from which on, there is no day of any period.
var (
	firstDay = DateOf(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC))
	lastDay  = DateOf(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
)

// given is the period of a place in the file's list, whose names follow one another.
func (b *Books) given(i int) Month {
	first, _ := b.parsePeriodName(b.set.Periods[0].Name)
	return first + Month(i)
}

// year is the first day of a fiscal year of weeks: the day on which weeks start that is nearest to the first of its
// first month.
func (b *Books) year(year int) Date {
	first := b.fiscal(year, 1).First()
	past := (int(first.Start().Weekday()) - int(weekdays[b.set.WeekStarts]) + 7) % 7
	if past > 3 {
		past -= 7
	}
	return first - Date(past)
}

// weeksBefore are the weeks of a quarter before its n-th period, from 0.
func (b *Books) weeksBefore(n int) (weeks int) {
	for _, w := range b.weeks[:n] {
		weeks += w
	}
	return weeks
}

// First is the first book day of a period.
func (b *Books) First(m Month) Date {
	switch {
	case b.Months():
		return m.First()
	case b.set.Calendar == CalendarFile:
		switch i, last := int(m-b.given(0)), len(b.set.Periods)-1; {
		case i < 0:
			return firstDay
		case i <= last:
			return b.set.Periods[i].From
		case i == last+1:
			return b.set.Periods[last].To
		}
		return lastDay
	}
	year, n := b.Fiscal(m)
	return b.year(year) + Date(7*((n-1)/3*13+b.weeksBefore((n-1)%3)))
}

// End is the book day after the last one of a period.
func (b *Books) End(m Month) Date { return b.First(m + 1) }

// Covers says whether a period has the book day.
func (b *Books) Covers(d Date) bool {
	if b.Months() || b.set.Calendar != CalendarFile {
		return true
	}
	return b.set.Periods[0].From <= d && d < b.set.Periods[len(b.set.Periods)-1].To
}

// Touches are the periods that a UTC day lies in, in order: its first instant's and, where another begins within it,
// that one.
func (b *Books) Touches(utc Date) []Month {
	return slices.Compact([]Month{b.Month(b.Day(utc.Start())), b.Month(b.Day(utc.End().Add(-1)))})
}

// Current is the period that is running.
func (b *Books) Current(now time.Time) Month { return b.Month(b.Day(now)) }

// Same says whether a period has the same days by the same clocks in both, and the same name. So a year that begins
// with another month makes no other calendar months, and a file of periods may go on.
func (b *Books) Same(o *Books, m Month) bool {
	return b.ZoneName() == o.ZoneName() && b.First(m) == o.First(m) && b.End(m) == o.End(m) && b.Name(m) == o.Name(m)
}
