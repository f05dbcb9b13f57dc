package schemas

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMonthsTileTheCalendar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Month(rapid.IntRange(-1969*12, (9999-1970)*12+11).Draw(t, "months since January 1970"))
		if got, err := ParseMonth(m.String()); err != nil || got != m {
			t.Fatalf("%d is written %s, which reads as %d, %v", m, m, got, err)
		}
		at := m.Start()
		if at.Day() != 1 || !at.Equal(DateOf(at).Start()) || !m.End().Equal((m + 1).Start()) ||
			!m.End().Equal(at.AddDate(0, 1, 0)) ||
			m.First().String() != m.String()+"-01" {
			t.Fatalf("%s is from %v to %v", m, at, m.End())
		}
		p := (*Books)(nil).Period(m, m)
		days := slices.Collect(p.Days())
		if days[0] != m.First() || days[len(days)-1]+1 != (m+1).First() || len(days) != m.End().AddDate(0, 0, -1).Day() {
			t.Fatalf("%s has the days %v", m, days)
		}
		for _, d := range days {
			if d.Month() != m || !p.Contains(d) || !strings.HasPrefix(d.String(), m.String()) {
				t.Fatalf("%s lies in %s", d, d.Month())
			}
		}
		if p.Contains(days[0]-1) || p.Contains(days[len(days)-1]+1) || (days[0]-1).Month() != m-1 {
			t.Fatalf("%s holds a day of its neighbours", m)
		}
		if got, ok := p.Month(); !ok || got != m || p.Name() != m.String() || p.Last != m || !slices.Equal(days,
			slices.Collect(p.Days())) {
			t.Fatalf("%s as a period: %+v", m, p)
		}
	})
	for _, text := range []string{"", "2026", "2026-13", "2026-00", "2026-1", "2026-10-01", "26-10", "last", " 2026-10"} {
		if m, err := ParseMonth(text); err == nil {
			t.Errorf("%q is taken for %s", text, m)
		}
	}
}

func TestPeriodsAreReadAndNamed(t *testing.T) {
	now := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	today, books := DateOf(now), (*Books)(nil)
	for _, c := range []struct{ texts, name, title, err string }{
		{"2026-10", "2026-10", "October 2026", ""},
		{"this", "2026-01", "January 2026", ""},
		{" last ", "2025-12", "December 2025", ""},
		{"2026-Q3", "2026-Q3", "July to September 2026", ""},
		{"2026-q4", "2026-Q4", "October to December 2026", ""},
		{"2026-07,2026-08,2026-09", "2026-Q3", "July to September 2026", ""},
		{"2026-08,2026-07", "2026-07-to-2026-08", "July to August 2026", ""},
		{"2025-12,this", "2025-12-to-2026-01", "December 2025 to January 2026", ""},
		{"2026-Q1,2026-Q2", "2026-01-to-2026-06", "January to June 2026", ""},
		{"2026-07,2026-09", "", "", "2026-09 doesn't follow 2026-07"},
		{"2026-07,2026-07", "", "", "2026-07 doesn't follow 2026-07"},
		{"2026-Q5", "", "", `"2026-Q5" is not a month`},
		{"2O26-Q1", "", "", "is not a month"},
		{"", "", "", `"" is not a month like 2026-10`},
	} {
		p, err := books.ParsePeriod(strings.Split(c.texts, ","), now)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", c.texts, err, c.err)
			}
			continue
		}
		if err != nil || p.Name() != c.name || p.Title() != c.title || !p.Billing {
			t.Errorf("%s: %s, %s, %v", c.texts, p.Name(), p.Title(), err)
		}
	}
	days := Period{From: today, To: today + 5}
	if _, ok := days.Month(); ok || days.Name() != "2026-01-15-to-2026-01-20" ||
		days.Title() != "Usage from 2026-01-15 to 2026-01-20 (excluded), UTC" ||
		days.Contains(today-1) || !days.Contains(today) || !days.Contains(today+4) || days.Contains(today+5) {
		t.Errorf("%s, %s", days.Name(), days.Title())
	}
	// The days of a month are not the billing month.
	if p := (Period{From: DateOf(today.Month().Start()),
		To: (today.Month() + 1).First()}); p.Name() != "2026-01-01-to-2026-02-01" {
		t.Errorf("%s", p.Name())
	}
	if len(slices.Collect(Period{From: today, To: today}.Days())) != 0 {
		t.Error("an empty period has days")
	}
}
