// Package calendar tells when a job of the schedule is to run: a cron expression in a time zone.
//
// An occurrence is an instant. Expressions that name their hours (30 2 * * *) have each day's hours once, whatever the
// clocks do: a time that is skipped in spring is due when the clocks have changed, one that comes twice in autumn is
// due the first time. Expressions that start their hours with a star (0 * * * *) follow the time that passes: what is
// skipped is skipped, what comes twice comes twice. That is how cron daemons have done it since Vixie's.
//
// robfig/cron parses the expressions and steps through them, but in times without a zone: by itself it passes over a
// skipped time for that day and runs a doubled one twice.
package calendar

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Calendar is a cron expression in a zone. It never changes, and may be asked by several goroutines. All of its
// reckoning is done on two kinds of time: instants, and walls. A wall is what a clock of the zone shows, held as if the
// clock were UTC's, so that steps from one to the next know of no change of the clocks.
type Calendar struct {
	expr    string
	zone    *time.Location
	times   cron.Schedule
	elapsed bool // it follows the time that passes
}

// macros are the names that stand for an expression. @every and @reboot, which other programs know, are none: they have
// no logical date that a missed run could be caught up by.
var macros = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// Parse reads an expression of five fields (minute, hour, day of month, month, day of week) or one of @hourly, @daily,
// @weekly, @monthly, @yearly. Sunday is 0 or 7. Where both day fields are restricted, a day that fits either is meant,
// as cron has it. zone is an IANA name; "" is UTC.
func Parse(expr, zone string) (c *Calendar, err error) {
	defer func() {
		if p := recover(); p != nil { // the parser has panicked on malformed input before
			c, err = nil, fmt.Errorf("cron %q can't be read: %v", expr, p)
		}
	}()
	loc, err := Zone(zone)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(expr)
	if upper := strings.ToUpper(text); strings.HasPrefix(upper, "TZ=") || strings.HasPrefix(upper, "CRON_TZ=") {
		return nil, fmt.Errorf("cron %q: the time zone has a key of its own: zone: %s", expr, zoneOf(text))
	}
	if strings.HasPrefix(text, "@") {
		full, ok := macros[strings.ToLower(text)]
		if !ok {
			return nil, fmt.Errorf("cron %q is not known: write @hourly, @daily, @weekly, @monthly, @yearly, or five fields "+
				"such as \"30 2 * * *\"", expr)
		}
		text = full
	}
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return nil, fmt.Errorf("cron %q has %d fields, not five: minute, hour, day of month, month, day of week, such as "+
			"\"30 2 * * *\"", expr, len(fields))
	}
	fields[4] = sundays(fields[4])
	times, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(strings.Join(fields,
		" "))
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w", expr, err)
	}
	// The hours decide, and no other field: */5 2 * * * names its hour.
	c = &Calendar{expr: expr, zone: loc, times: times, elapsed: strings.HasPrefix(fields[1], "*")}
	if times.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("cron %q never comes: no month has that day", expr)
	}
	return c, nil
}

// sundays writes days of the week without the 7, which cron daemons take for Sunday as they do 0, and the parser
// doesn't: a list of 7, and of ranges up to it. What is wrong with a field is left to the parser to say.
func sundays(field string) string {
	parts := strings.Split(field, ",")
	for i, part := range parts {
		span, every, stepped := strings.Cut(part, "/")
		from, to, ranged := strings.Cut(span, "-")
		if !ranged {
			if part == "7" {
				parts[i] = "0"
			}
			continue
		}
		first, step := slices.Index(weekdays, strings.ToLower(from)), 1
		if n, err := strconv.Atoi(from); err == nil {
			first = n
		}
		if stepped {
			n, err := strconv.Atoi(every)
			if err != nil || n < 1 {
				continue
			}
			step = n
		}
		if to != "7" || first < 0 || first > 7 {
			continue
		}
		var days []string
		// 5-7 becomes 5,6,0; 1-7/2 becomes 1,3,5,0.
		for d := first; d <= 7; d += step {
			days = append(days, strconv.Itoa(d%7))
		}
		parts[i] = strings.Join(days, ",")
	}
	return strings.Join(parts, ",")
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// zoneOf is the zone of a prefix such as TZ=Europe/Berlin.
func zoneOf(text string) string {
	_, zone, _ := strings.Cut(strings.Fields(text)[0], "=")
	if zone == "" {
		return "Europe/Berlin"
	}
	return zone
}

// Zone reads the name of a time zone; "" is UTC.
func Zone(name string) (*time.Location, error) {
	if strings.EqualFold(name, "local") {
		return nil, errors.New("zone: name it, such as Europe/Berlin: what is local differs from machine to machine")
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("zone %q is not known: write an IANA name such as Europe/Berlin, America/New_York or UTC",
			name)
	}
	return loc, nil
}

// Location is the calendar's zone.
func (c *Calendar) Location() *time.Location { return c.zone }

func (c *Calendar) String() string { return c.expr }

// margin is more than any zone's clocks were ever moved by: Samoa left out a whole day. For so long after a change the
// clocks may show once more what they showed before it.
const margin = 26 * time.Hour

// Next is the first occurrence after t, in the calendar's zone. Zero if there is none within the five years that the
// expression is searched for.
func (c *Calendar) Next(t time.Time) time.Time {
	// Far from any change of the clocks the wall clock tells all; near one it has to be asked what it showed when.
	local := t.In(c.zone)
	from, to := local.ZoneBounds()
	// Within one span of an unchanging offset: a wall becomes an instant by taking the offset off. If the occurrence lies
	// behind the end of the span the offset there is another, and it is asked the long way.
	if from.IsZero() || local.Sub(from) > margin {
		wall := c.times.Next(wallOf(local))
		_, offset := local.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second).In(c.zone)
		switch {
		case wall.IsZero():
			return wall
		case to.IsZero(), at.Before(to):
			return at
		}
	}
	return c.nextNearChange(t)
}

// nextNearChange is Next where the clocks may be changed between t and the occurrence, or were not long before. It
// begins a margin before t, as the walls go, for one that looks earlier than t's may be the second of its name. The
// walls come in order and their instants nearly so: once the first instant of a wall isn't before the best one, no
// later wall has a better.
func (c *Calendar) nextNearChange(t time.Time) time.Time {
	var best time.Time
	// wall is a time of the wall clock, held as if the clock were UTC's.
	for wall := c.times.Next(wallOf(t.In(c.zone)).Add(-margin)); !wall.IsZero(); wall = c.times.Next(wall) {
		first, second := c.instants(wall)
		if !best.IsZero() && !first.Before(best) {
			return best
		}
		for _, at := range []time.Time{first, second} {
			if at.After(t) && (best.IsZero() || at.Before(best)) {
				best = at
			}
		}
	}
	return best
}

// Last is the latest occurrence at or before t; zero if there is none in the eight years before it, which hold a 29
// February at least. It looks back over ever longer stretches, for an occurrence can be found forwards alone: a job of
// every minute is found within the hour, in sixty steps or so, and one of each day within 26 hours.
func (c *Calendar) Last(t time.Time) time.Time {
	for _, back := range []time.Duration{time.Hour, 26 * time.Hour, 32 * 24 * time.Hour, 367 * 24 * time.Hour,
		8 * 366 * 24 * time.Hour} {
		var last time.Time
		for at := c.Next(t.Add(-back)); !at.IsZero() && !at.After(t); at = c.Next(at) {
			last = at
		}
		if !last.IsZero() {
			return last
		}
	}
	return time.Time{}
}

func wallOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instants are when the clocks of the zone show wall: the first time, and the second if there is one that counts, else
// zero. Where the clocks skip wall, the first is when they have done so, or zero if skipped times are skipped.
func (c *Calendar) instants(wall time.Time) (first, second time.Time) {
	// Date picks one of the offsets around a change; the others that may count are those beside it.
	guess := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, c.zone)
	from, to := guess.ZoneBounds()
	for _, near := range []time.Time{guess, from.Add(-time.Second), to} {
		if near.IsZero() {
			continue
		}
		_, offset := near.In(c.zone).Zone()
		at := wall.Add(-time.Duration(offset) * time.Second).In(c.zone)
		// The clocks don't show wall by that offset.
		if !wallOf(at).Equal(wall) {
			continue
		}
		switch {
		case first.IsZero() || at.Equal(first):
			first = at
		case at.Before(first):
			first, second = at, first
		default:
			second = at
		}
	}
	if !c.elapsed {
		second = time.Time{}
		if first.IsZero() { // the change is at one end of guess's span or the other
			first = to
			if guess.Sub(from) < to.Sub(guess) || to.IsZero() {
				first = from
			}
			first = first.In(c.zone)
		}
	}
	return first, second
}
