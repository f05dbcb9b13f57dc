// Package words is what people read: how long something was, how much of it there is, when it was, and text from
// outside that a screen may show. What a program reads isn't here, but for Instant and Typed, which both do.
//
//	Span, Took, Days                    12m · 1.2s · 3 years
//	Bytes, Count, Grouped, Plural, Times  1.5 MiB · 1,234,567 · 2 windows · once
//	Minute, MinuteUTC, Stamp, Instant, Typed  2026-11-01 06:00
//	Printable, Line, Cell, Clip, Some   text and lists, cut and without what steers a terminal
//	Nearest, EditDistance, FileName     the word that was meant; a name for a file
//	OfHTTP                              an error of a service, with what finds it there
//
// Each form has its one function, so that a span, a size or a stamp reads alike on a terminal, a page and in a message.
// testdata/words.golden shows every function on its range. All is pure, in English and in UTC.
package words

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// integer is what is counted in.
type integer interface{ ~int | ~int64 }

// Span is a length of time as a sentence or a table has it, rounded down: 42s, 12m, 3h05m, 3h, and from two days on
// 4 days. Less than nothing is nothing.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return strings.TrimSuffix(fmt.Sprintf("%dh%02dm", d/time.Hour, d/time.Minute%60), "00m")
	}
	return fmt.Sprintf("%d days", d/day)
}

// Took is how long something took, or will take: 1.2s, 42s, 8m42s, 3h05m. Less than nothing is nothing.
func Took(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 9950*time.Millisecond: // what would be written as 10.0s is 10s
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(d/time.Second, 10))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d/time.Second%60)
	}
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d/time.Minute%60)
}

// Days is a number of whole days that may be large: 1 day, 45 days, 3 years, more than ten years.
func Days(days float64) string {
	switch {
	case days > 3650:
		return "more than ten years"
	case days > 730:
		return fmt.Sprintf("%d years", int(days/365))
	}
	return Plural(int(days), "day", "days")
}

// Bytes is a size in the unit that fits: 512 B, 1.5 KiB, 286.1 MiB.
func Bytes(n int64) string {
	if -1024 < n && n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if f /= 1024; math.Abs(f) < 1023.95 { // what would be written as 1024.0 is 1.0 of the next
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.1f EiB", f/1024)
}

// Count is a whole number with commas between its thousands: 1,234,567.
func Count[T integer](n T) string { return Grouped(strconv.FormatInt(int64(n), 10)) }

// Grouped is a decimal number with commas between its thousands; its sign and decimals stay.
func Grouped(s string) string {
	digits, negative := strings.CutPrefix(s, "-")
	whole, frac, dot := strings.Cut(digits, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if dot {
		whole += "." + frac
	}
	if negative {
		return "-" + whole
	}
	return whole
}

// Plural counts things: 1 window, 2 windows, 1,234 windows.
func Plural[T integer](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Times is how often: once, 2 times.
func Times[T integer](n T) string {
	if n == 1 {
		return "once"
	}
	return Count(n) + " times"
}

// Minute is a time to the minute, where it is said that times are UTC: 2026-11-01 06:00; "" if there is none.
func Minute(t time.Time) string { return format(t, "2006-01-02 15:04") }

// MinuteUTC is a time to the minute, as a sentence has it: 2026-11-01 06:00 UTC; "" if there is none.
func MinuteUTC(t time.Time) string { return format(t, "2006-01-02 15:04 UTC") }

// Stamp is a time to the second, where it is said that times are UTC: 2026-11-01 06:00:00, and a midnight as its day
// alone; "" if there is none.
func Stamp(t time.Time) string { return orDay(t, time.DateTime) }

// Instant is a time in RFC 3339, for details, logs and names of windows: 2026-11-01T06:00:00Z; "" if there is none.
func Instant(t time.Time) string { return format(t, time.RFC3339) }

// Typed is a time as the command line reads it: 2026-11-01T06:00:00Z, and a midnight as its day alone; "" if there is
// none.
func Typed(t time.Time) string { return orDay(t, time.RFC3339) }

func orDay(t time.Time, layout string) string {
	if h, m, s := t.UTC().Clock(); h == 0 && m == 0 && s == 0 {
		layout = time.DateOnly
	}
	return format(t, layout)
}

func format(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(layout)
}

// OfHTTP is an error of a service: what happened; (HTTP 503, request 4f), as far as it said either; and what to do.
func OfHTTP(what string, status int, requestID, hint string) string {
	var in []string
	if status != 0 {
		in = append(in, fmt.Sprintf("HTTP %d", status))
	}
	if requestID != "" {
		in = append(in, "request "+requestID)
	}
	if len(in) > 0 {
		what += " (" + strings.Join(in, ", ") + ")"
	}
	if hint != "" {
		what += "\nhint: " + hint
	}
	return what
}
