package serve

import (
	"fmt"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// The coverage of an account is drawn as weeks side by side, Monday on top, a year back at the most.
const (
	maxWeeks = 53
	cellSize = 12
	cellStep = cellSize + 3
	gridLeft = 32 // beside it the names of weekdays
	gridTop  = 18 // above it the names of months
)

// States of a day.
const (
	dayWhole   = "whole"
	dayPart    = "in part"
	dayNone    = "not at all"
	dayDamaged = "unreadable"
)

// calendar is an account's days, drawn and in words.
type calendar struct {
	Account       string
	Summary       string // in a sentence
	Width, Height int
	Months        []calendarMonth
	Cells         []calendarCell
	Stretches     []stretch
}

type calendarMonth struct {
	X    int
	Name string
}

// calendarCell is the square of one day. Its state shows by shape as well as by colour.
type calendarCell struct {
	X, Y      int
	State     string
	FillY     int // of a day in part: from where down it is filled, and how high that is
	FillH     int
	MidX      int // its middle
	MidY      int
	Rejects   bool
	Underived bool
	Title     string
}

// stretch is days in a row that are alike.
type stretch struct {
	From, To    string // both included
	Days        int
	State       string
	Records     int64
	Quarantined int64
}

// drawCalendar draws the days of an account, which is called label, up to that of now, which may be an earlier time for
// an account that has ended.
func drawCalendar(a jobs.AccountStatus, label string, now time.Time) calendar {
	today := schemas.DateOf(now)
	// Weekday counts from Sunday = 0; +6 mod 7 makes it from Monday.
	monday := today - schemas.Date((int(now.UTC().Weekday())+6)%7)
	first := monday - 7*(maxWeeks-1)
	byDate := map[string]jobs.Day{}
	for _, d := range a.Days {
		byDate[d.Date] = d
	}
	from := today
	if !a.From.IsZero() {
		from = max(first, schemas.DateOf(a.From))
	}
	// The first column begins on the Monday of the first day's week, which may lie before it: those squares are left out.
	first = from - schemas.Date((int(from.Start().Weekday())+6)%7)
	// a month's name takes two weeks
	c := calendar{Account: label, Height: gridTop + 7*cellStep, Width: gridLeft + max(2, int(monday-first)/7+1)*cellStep}
	counts := map[string]int{}
	month := time.Month(0)
	for d := from; d <= today; d++ {
		week, weekday := int(d-first)/7, int(d-first)%7
		if m := d.Start().Month(); m != month {
			x := gridLeft + week*cellStep
			if n := len(c.Months); n > 0 && x-c.Months[n-1].X < 2*cellStep { // there is no room for both names
				c.Months = c.Months[:n-1]
			}
			name := m.String()[:3]
			if m == time.January {
				name += fmt.Sprintf(" %d", d.Start().Year())
			}
			c.Months, month = append(c.Months, calendarMonth{x, name}), m
		}
		day, known := byDate[d.String()]
		cell := calendarCell{X: gridLeft + week*cellStep, Y: gridTop + weekday*cellStep, State: dayState(day, known)}
		cell.MidX, cell.MidY = cell.X+cellSize/2, cell.Y+cellSize/2
		if cell.State == dayPart { // neither empty nor full
			cell.FillH = min(max(int(day.Covered*cellSize+0.5), 3), cellSize-3)
			cell.FillY = cell.Y + cellSize - cell.FillH
		}
		cell.Rejects = day.Quarantined > 0 && cell.State != dayDamaged
		cell.Underived = day.Stale && cell.State != dayDamaged
		means := dayWords(cell.State, day)
		cell.Title = d.String() + ": " + means
		if day.Windows > 0 {
			cell.Title += ", " + words.Count(day.Records) + " records"
		}
		if day.Error != "" {
			cell.Title += ": " + line(day.Error)
		}
		c.Cells = append(c.Cells, cell)
		counts[cell.State]++
		if n := len(c.Stretches); n > 0 && c.Stretches[n-1].State == means {
			s := &c.Stretches[n-1]
			s.To, s.Days, s.Records, s.Quarantined = d.String(), s.Days+1, s.Records+day.Records, s.Quarantined+day.Quarantined
		} else {
			c.Stretches = append(c.Stretches, stretch{d.String(), d.String(), 1, means, day.Records, day.Quarantined})
		}
	}
	var parts []string
	for _, state := range []string{dayWhole, dayPart, dayNone, dayDamaged} {
		if n := counts[state]; n > 0 {
			parts = append(parts, words.Plural(n, "day ", "days ")+state)
		}
	}
	c.Summary = fmt.Sprintf("%s to %s: %s", from, today, strings.Join(parts, ", "))
	return c
}

// dayState is how much of a day is covered. A day within the coverage of which the lake has nothing is covered not at
// all, and not unknown.
func dayState(d jobs.Day, known bool) string {
	switch {
	case d.Error != "":
		return dayDamaged
	case !known || d.Covered <= 0:
		return dayNone
	case d.Covered < 1:
		return dayPart
	}
	return dayWhole
}

// dayWords says what the square shows.
func dayWords(state string, d jobs.Day) string {
	if state == dayDamaged {
		return state
	}
	means := state
	if state == dayPart {
		means = fmt.Sprintf("%d %% of it", min(max(int(d.Covered*100), 1), 99))
	}
	if d.Quarantined > 0 {
		means += ", with rejects"
	}
	if d.Stale {
		means += ", not in the tables yet"
	}
	return means
}
