package jobs

import (
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// ParseTime reads a time of the command line: 2026-11-01 (midnight UTC), RFC 3339, now, today, yesterday, or a span
// back from now such as -7d or -12h (whole days go to midnight UTC). The result is UTC in whole seconds.
func ParseTime(s string, now time.Time) (time.Time, error) {
	now = now.UTC().Truncate(time.Second)
	today := schemas.DateOf(now)
	switch s {
	case "now":
		return now, nil
	case "today":
		return today.Start(), nil
	case "yesterday":
		return (today - 1).Start(), nil
	}
	if strings.HasPrefix(s, "-") {
		d, err := ParseDuration(s)
		if err == nil {
			if strings.HasSuffix(s, "d") {
				return schemas.DateOf(now.Add(d)).Start(), nil
			}
			return now.Add(d), nil
		}
	}
	if d, err := schemas.ParseDate(s); err == nil {
		return d.Start(), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC().Truncate(time.Second), nil
	}
	return time.Time{}, Usage("", "%q is not a time: write 2026-11-01, 2026-11-01T06:00:00Z, today, yesterday or -7d", s)
}
