package calendar

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func calendar(t *testing.T, expr, zone string) *Calendar {
	t.Helper()
	c, err := Parse(expr, zone)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func instant(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// between lists the occurrences in (from, to].
func between(c *Calendar, from, to time.Time) []string {
	var out []string
	for at := c.Next(from); !at.IsZero() && !at.After(to); at = c.Next(at) {
		out = append(out, at.Format("01-02T15:04Z07:00"))
	}
	return out
}

func TestNextOverTheChangesOfClocks(t *testing.T) {
	for _, tt := range []struct {
		name, expr, zone, from, to string
		want                       string
	}{
		{"a skipped time is due when the clocks have changed", "30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z",
			"2026-03-30T12:00:00Z",
			"03-28T02:30+01:00 03-29T03:00+02:00 03-30T02:30+02:00"},
		{"a doubled time is due the first time", "30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z",
			"2026-10-26T12:00:00Z",
			"10-24T02:30+02:00 10-25T02:30+02:00 10-26T02:30+01:00"},
		{"in New York, too", "30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z",
			"11-01T01:30-04:00 11-02T01:30-05:00"},
		{"skipped in New York", "15 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z",
			"03-08T03:00-04:00 03-09T02:15-04:00"},
		{"half an hour at Lord Howe: skipped", "15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00:00Z",
			"2026-10-05T00:00:00Z",
			"10-04T02:30+11:00 10-05T02:15+11:00"},
		{"half an hour at Lord Howe: doubled", "45 1 * * *", "Australia/Lord_Howe", "2026-04-03T20:00:00Z",
			"2026-04-06T00:00:00Z",
			"04-05T01:45+11:00 04-06T01:45+10:30"},
		{"a day that a country skipped is due at its end", "0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z",
			"2011-12-31T12:00:00Z",
			"12-29T12:00-10:00 12-31T00:00+14:00 12-31T12:00+14:00"},
		{"every hour follows the time that passes, in spring", "0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z",
			"2026-03-29T02:00:00Z",
			"03-29T01:00+01:00 03-29T03:00+02:00 03-29T04:00+02:00"},
		{"and in autumn", "0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", "2026-10-25T02:00:00Z",
			"10-25T02:00+02:00 10-25T02:00+01:00 10-25T03:00+01:00"},
		{"every 20 minutes over Lord Howe's half hour", "*/20 * * * *", "Australia/Lord_Howe", "2026-04-04T14:30:00Z",
			"2026-04-04T16:00:00Z",
			"04-05T01:40+11:00 04-05T01:40+10:30 04-05T02:00+10:30 04-05T02:20+10:30"},
		{"times that are skipped into one are one", "0,30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			"2026-03-29T12:00:00Z",
			"03-29T03:00+02:00 03-29T03:30+02:00"},
		{"either day fits", "0 0 13 * 5", "UTC", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z",
			"02-06T00:00Z 02-13T00:00Z 02-20T00:00Z 02-27T00:00Z"},
		{"29 February", "0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2033-01-01T00:00:00Z", "02-29T00:00Z 02-29T00:00Z"},
		{"@monthly", "@monthly", "Europe/Berlin", "2026-10-15T00:00:00Z", "2026-12-15T00:00:00Z",
			"11-01T00:00+01:00 12-01T00:00+01:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(between(calendar(t, tt.expr, tt.zone), instant(t, tt.from), instant(t, tt.to)), " ")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestLastIsTheOccurrenceBefore(t *testing.T) {
	for _, tt := range []struct{ expr, zone, at, want string }{
		{"30 2 * * *", "Europe/Berlin", "2026-11-24T12:00:00Z", "2026-11-24T01:30:00Z"},
		{"30 2 * * *", "Europe/Berlin", "2026-11-24T01:30:00Z", "2026-11-24T01:30:00Z"},
		{"30 2 * * *", "Europe/Berlin", "2026-11-24T01:29:59Z", "2026-11-23T01:30:00Z"},
		{"*/5 * * * *", "UTC", "2026-11-24T12:03:00Z", "2026-11-24T12:00:00Z"},
		{"0 6 5 * *", "UTC", "2026-11-04T00:00:00Z", "2026-10-05T06:00:00Z"},
		{"0 0 29 2 *", "UTC", "2026-11-04T00:00:00Z", "2024-02-29T00:00:00Z"},
		{"0 0 29 2 *", "UTC", "2104-02-28T00:00:00Z", "2096-02-29T00:00:00Z"},
	} {
		if got := calendar(t, tt.expr, tt.zone).Last(instant(t, tt.at)); !got.Equal(instant(t, tt.want)) {
			t.Errorf("Last(%s) of %s in %s is %s, want %s", tt.at, tt.expr, tt.zone, got.UTC().Format(time.RFC3339), tt.want)
		}
	}
}

// Every day of every zone has its hour once: what chargeback by day needs of a nightly job.
func TestEachLogicalDateComesOnce(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago",
		"Africa/Casablanca", "Asia/Kolkata", "Pacific/Chatham"} {
		for hour := range 24 {
			c := calendar(t, "30 "+time.Date(2000, 1, 1, hour, 0, 0, 0, time.UTC).Format("15")+" * * *", zone)
			day := time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC)
			for at := c.Next(time.Date(2025, 12, 31, 23, 59, 0, 0, c.Location())); at.Year() == 2026; at = c.Next(at) {
				day = day.AddDate(0, 0, 1)
				if at.Format(time.DateOnly) != day.Format(time.DateOnly) {
					t.Fatalf("%s %s: %s follows %s", zone, c, at, day.AddDate(0, 0, -1).Format(time.DateOnly))
				}
			}
			if day.Format(time.DateOnly) != "2026-12-31" {
				t.Errorf("%s %s: the last day is %s", zone, c, day.Format(time.DateOnly))
			}
		}
	}
}

func TestNextAndLastAgree(t *testing.T) {
	exprs := []string{"30 2 * * *", "0 * * * *", "*/15 * * * *", "0 6 1 * *", "5,35 1-3 * * 0", "0 0 13 * 5", "@weekly",
		"17 */2 * * *"}
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns"}
	rapid.Check(t, func(t *rapid.T) {
		c, err := Parse(rapid.SampledFrom(exprs).Draw(t, "expr"), rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(rapid.Int64Range(1_760_000_000, 1_800_000_000).Draw(t, "at"), 0)
		next := c.Next(at)
		if !next.After(at) {
			t.Fatalf("Next(%s) is %s", at, next)
		}
		if between := c.Next(next.Add(-time.Second)); !between.Equal(next) {
			t.Fatalf("an occurrence at %s isn't found from a second before: %s", next, between)
		}
		if last := c.Last(next); !last.Equal(next) {
			t.Fatalf("Last(%s) is %s", next, last)
		}
		if last := c.Last(at); last.After(at) || !c.Next(last).Equal(next) {
			t.Fatalf("Last(%s) is %s, the next after it %s", at, last, c.Next(last))
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ expr, zone, want string }{
		{"TZ=Europe/Berlin 0 2 * * *", "", "zone: Europe/Berlin"},
		{"CRON_TZ=", "", "a key of its own"},
		{"TZ=", "", "a key of its own"},
		{"@every 1h", "", "@daily"},
		{"@every -1s", "", "@daily"},
		{"@reboot", "", "@daily"},
		{"0 0 31 2 *", "", "never comes"},
		{"0 0 30,31 2 *", "", "never comes"},
		{"", "", "0 fields"},
		{"0 2 * *", "", "4 fields"},
		{"0 0 2 * * *", "", "6 fields"},
		{"60 2 * * *", "", "above maximum"},
		{"*/0 * * * *", "", "step"},
		{"5-1 * * * *", "", "beyond end"},
		{"x * * * *", "", "cron"},
		{"0 2 * * *", "Berlin", "IANA"},
		{"0 2 * * *", "Local", "name it"},
		{"0 2 * * *", "../../etc/passwd", "IANA"},
	} {
		if _, err := Parse(tt.expr, tt.zone); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q, %q): %v, want %q in it", tt.expr, tt.zone, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"30 2 * * *", "@daily", "TZ= ", "*/5 1-3,7 L ? MON-FRI", "0 0 31 2 *", "@every 1h"} {
		f.Add(s, "Europe/Berlin")
	}
	at := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, expr, zone string) {
		c, err := Parse(expr, zone)
		if err != nil {
			return
		}
		// Whatever is accepted comes.
		next := c.Next(at)
		if next.IsZero() || !next.After(at) {
			t.Fatalf("Next of %q in %q is %s", expr, zone, next)
		}
	})
}
