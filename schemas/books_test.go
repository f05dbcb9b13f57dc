package schemas

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// made are books of settings that are right.
func made(t testing.TB, s BookSettings) *Books {
	t.Helper()
	b, err := MakeBooks(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Days by any clocks follow one another without a gap, whatever the clocks do: go forth and back, at midnight and a
// minute past it, by half an hour, over the date line, and where no table of the zone has the year. An instant lies in
// the day that holds it; and periods are made of whole days.
func TestBookDaysAndPeriodsTileTime(t *testing.T) {
	zones := []string{"UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia",
		"America/St_Johns", "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo", "Pacific/Kiritimati", "Asia/Kathmandu",
		"America/Havana", "Atlantic/Azores"}
	rapid.Check(t, func(t *rapid.T) {
		s := BookSettings{Zone: rapid.SampledFrom(zones).Draw(t, "zone"), FiscalYear: rapid.IntRange(0, 12).Draw(t, "year"),
			Calendar: rapid.SampledFrom(append(Calendars(), "")).Draw(t, "calendar")}
		if strings.Contains(s.Calendar, "-") {
			s.WeekStarts = rapid.SampledFrom(append(weekdayNames(), "")).Draw(t, "week starts")
		}
		b, err := MakeBooks(s)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(rapid.Int64Range(0, 5_600_000_000).Draw(t, "instant"), 0) // to 2147
		day := b.Day(at)
		if b.Starts(day).After(at) || !b.Starts(day+1).After(at) {
			t.Fatalf("%s: %v lies in %s, from %v to %v", b, at.UTC(), day, b.Starts(day), b.Starts(day+1))
		}
		if long := b.Starts(day + 1).Sub(b.Starts(day)); long < 22*time.Hour || long > 26*time.Hour {
			t.Fatalf("%s: %s is %v long", b, day, long)
		}
		m := b.Month(day)
		if b.First(m) > day || b.End(m) <= day || b.End(m) != b.First(m+1) || b.Month(b.First(m)-1) != m-1 {
			t.Fatalf("%s: %s lies in %s, from %s to %s", b, day, b.Name(m), b.First(m), b.End(m))
		}
		year, n := b.Fiscal(m)
		if n < 1 || n > 12 || b.fiscal(year, n) != m {
			t.Fatalf("%s: %s is period %d of %d", b, b.Name(m), n, year)
		}
		if got, err := b.ParseMonth(b.Name(m), at); err != nil || got != m {
			t.Fatalf("%s is read as %v, %v", b.Name(m), got, err)
		}
		for _, name := range []string{"this", b.periodName(m)} {
			if p, err := b.ParsePeriod([]string{name}, at); err != nil || p.First != m || !p.Contains(day) {
				t.Fatalf("%s: %s is %+v, %v", b, name, p, err)
			}
		}
		same, err := ParseBooks(b.Text())
		if err != nil || !same.Same(b, m) || same.Text() != b.Text() || same.String() != b.String() {
			t.Fatalf("%s is read back as %s, %v", b, same, err)
		}
		utc := DateOf(at)
		if touched := b.Touches(utc); len(touched) > 2 || touched[0] > m || touched[len(touched)-1] < m {
			t.Fatalf("%s: %s lies in %v, and %v in %s", b, utc, touched, at, b.Name(m))
		}
	})
}

// A date line that is crossed leaves a day out, and clocks that go back over midnight show one twice.
func TestDaysThatClocksLeaveOutOrRepeat(t *testing.T) {
	apia := made(t, BookSettings{Zone: "Pacific/Apia"}) // went from 29 to 31 December 2011
	d := mustDate(t, "2011-12-30")
	if !apia.Starts(d).Equal(apia.Starts(d+1)) || apia.Day(apia.Starts(d)) != d+1 ||
		apia.Day(apia.Starts(d).Add(-1)) != d-1 {
		t.Errorf("%v to %v", apia.Starts(d), apia.Starts(d+1))
	}
	johns := made(t, BookSettings{Zone: "America/St_Johns"}) // went back from 00:01 on 5 November 2006 … to 23:01
	d = mustDate(t, "2006-10-29")
	last := DateOf(time.Date(2006, 1, 1, 0, 0, 0, 0, time.UTC))
	midnight := johns.Starts(d)
	for at := midnight.Add(-2 * time.Hour); at.Before(midnight.Add(2 * time.Hour)); at = at.Add(time.Second) {
		if day := johns.Day(at); day < last {
			t.Fatalf("%v lies in %s, after a moment in %s", at, day, last)
		} else {
			last = day
		}
	}
	for zone, hours := range map[string][2]float64{ // the days on which clocks go forth and back
		"Europe/Berlin 2026-03-29 2026-10-25":       {23, 25},
		"America/New_York 2026-03-08 2026-11-01":    {23, 25},
		"Australia/Lord_Howe 2026-10-04 2026-04-05": {23.5, 24.5},
	} {
		f := strings.Fields(zone)
		b := made(t, BookSettings{Zone: f[0]})
		for i, day := range f[1:] {
			d := mustDate(t, day)
			if got := b.Starts(d + 1).Sub(b.Starts(d)).Hours(); got != hours[i] {
				t.Errorf("%s: %s has %v hours, want %v", f[0], day, got, hours[i])
			}
		}
	}
}

func mustDate(t *testing.T, s string) Date {
	t.Helper()
	d, err := ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A year of weeks begins nearest to the first of its month, and the fifty-third week belongs to its last period.
func TestYearsOfWeeks(t *testing.T) {
	b := made(t, BookSettings{Calendar: "4-4-5", FiscalYear: 4, WeekStarts: "sunday"})
	var long []int
	for year := 2020; year < 2050; year++ {
		first, next := b.year(year), b.year(year+1)
		if first.Start().Weekday() != time.Sunday {
			t.Errorf("%d begins on a %s", year, first.Start().Weekday())
		}
		if off := int(first - b.fiscal(year, 1).First()); off < -3 || off > 3 {
			t.Errorf("%d begins on %s", year, first)
		}
		weeks := []int{4, 4, 5, 4, 4, 5, 4, 4, 5, 4, 4, 5}
		switch int(next-first) / 7 {
		case 52:
		case 53:
			long = append(long, year)
			weeks[11] = 6
		default:
			t.Errorf("%d has %d days", year, next-first)
		}
		for n, w := range weeks {
			m := b.fiscal(year, n+1)
			if got := int(b.End(m) - b.First(m)); got != 7*w {
				t.Errorf("%s has %d days, want %d weeks", b.Name(m), got, w)
			}
		}
	}
	if len(long) != 5 && len(long) != 6 {
		t.Errorf("%v have 53 weeks", long)
	}
	p, err := b.ParsePeriod([]string{"2026-P07"}, time.Unix(0, 0))
	if err != nil || p.Title() != "2026-P07, 27 September to 24 October 2026" {
		t.Errorf("%s, %v", p.Title(), err)
	}
	year, err := b.ParsePeriod([]string{"fy2026"}, time.Unix(0, 0))
	if err != nil || year.Name() != "FY2026" || year.Title() != "FY2026, 29 March 2026 to 3 April 2027" {
		t.Errorf("%s, %s, %v", year.Name(), year.Title(), err)
	}
	if _, err := b.ParseMonth("2026-10", time.Unix(0, 0)); err == nil ||
		!strings.Contains(err.Error(), "write a period like 2026-P07") {
		t.Error(err)
	}
}

func TestBooksThatCantBe(t *testing.T) {
	file := func(rows ...string) []BookPeriod {
		var out []BookPeriod
		for _, r := range rows {
			f := strings.Fields(r)
			out = append(out, BookPeriod{Name: f[0], From: mustDate(t, f[1]), To: mustDate(t, f[2]), Source: "p.csv:" + f[0]})
		}
		return out
	}
	for want, s := range map[string]BookSettings{
		`zone: "Mars/Olympus" is no time zone`:     {Zone: "Mars/Olympus"},
		`zone: "Local" is no time zone`:            {Zone: "Local"},
		"fiscal_year: 13 is no month":              {FiscalYear: 13},
		"did you mean 4-4-5?":                      {Calendar: "4-4-6"},
		"week_starts: only a calendar of weeks":    {WeekStarts: "monday"},
		`week_starts: "mon" is no day of the week`: {Calendar: "4-4-5", WeekStarts: "mon"},
		"the file lists no period":                 {Calendar: CalendarFile},
		`p.csv:2026-13: "2026-13" is not a period like 2026-P07`: {
			Calendar: CalendarFile, Periods: file("2026-13 2026-01-01 2026-02-01")},
		"p.csv:2026-P13: \"2026-P13\": a fiscal year has the periods": {
			Calendar: CalendarFile, Periods: file("2026-P13 2026-01-01 2026-02-01")},
		"p.csv:2026-P01: 2026-P01 ends on 2026-01-01, before it has a": {
			Calendar: CalendarFile, Periods: file("2026-P01 2026-01-01 2026-01-01")},
		"p.csv:2026-P02: no period has the days from 2026-02-01 to 2026-02-03 (excluded), between 2026-P01 and 2026-P02": {
			Calendar: CalendarFile, Periods: file("2026-P01 2026-01-01 2026-02-01", "2026-P02 2026-02-03 2026-03-01")},
		"p.csv:2026-P02: 2026-P02 begins on 2026-01-31, within 2026-P01, which ends before 2026-02-01": {
			Calendar: CalendarFile, Periods: file("2026-P01 2026-01-01 2026-02-01", "2026-P02 2026-01-31 2026-03-01")},
		"p.csv:2026-P03: 2026-P03 follows 2026-P01: write 2026-P02": {
			Calendar: CalendarFile, Periods: file("2026-P01 2026-01-01 2026-02-01", "2026-P03 2026-02-01 2026-03-01")},
	} {
		if _, err := MakeBooks(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	b := made(t, BookSettings{Calendar: CalendarFile,
		Periods: file("2025-P12 2026-01-01 2026-02-07", "2026-P01 2026-02-07 2026-03-01")})
	for text, want := range map[string]string{"2026-P02": "the file of periods has 2025-P12 to 2026-P01",
		"2026-Q1": "the file of periods"} {
		_, err := b.ParsePeriod([]string{text}, b.Starts(mustDate(t, "2026-02-10")))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// What it doesn't have is in no period of it: this is not the month of the calendar that the day lies in.
	for _, day := range []string{"2025-12-31", "2026-03-01", "2026-02-01"} {
		_, err := b.ParsePeriod([]string{"this"}, b.Starts(mustDate(t, day)))
		if (err == nil) != b.Covers(mustDate(t, day)) {
			t.Errorf("this on %s: %v", day, err)
		}
	}
	p, err := b.ParsePeriod([]string{"last"}, b.Starts(mustDate(t, "2026-03-05")))
	if err != nil || p.Name() != "2026-P01" {
		t.Errorf("last after the end: %s, %v", p.Name(), err)
	}
	first, last := b.given(0), b.given(1)
	if b.Month(firstDay) != first-1 || b.Month(lastDay-1) != last+1 || b.First(first-1) != firstDay ||
		b.End(last+1) != lastDay || b.End(last) != b.First(last+1) {
		t.Error("days beyond the file are in one of its periods")
	}
	if !b.Covers(mustDate(t, "2026-02-28")) || b.Covers(mustDate(t, "2026-03-01")) ||
		b.Covers(mustDate(t, "2025-12-31")) {
		t.Error("the file has other days")
	}
}
