package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/usagelake/usagelake/schemas"
)

// Instant is a time that YAML spells as 2026-11-01 or 2026-11-01T06:00:00Z, UTC.
type Instant time.Time

// UnmarshalYAML reads the text form.
func (i *Instant) UnmarshalYAML(n *yaml.Node) error {
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, n.Value); err == nil {
			*i = Instant(t.UTC().Truncate(time.Second))
			return nil
		}
	}
	return wrong("line %d: %q is not a time like 2026-11-01 or 2026-11-01T06:00:00Z", n.Line, n.Value)
}

var size = regexp.MustCompile(`^0*([1-9][0-9]*) ?([A-Z]*)$`)

var sizeUnits = map[string]int64{"": 1, "B": 1, "KB": 1e3, "KIB": 1 << 10, "MB": 1e6, "MIB": 1 << 20, "GB": 1e9,
	"GIB": 1 << 30}

// ParseSize reads a number of bytes above 0: 500000, 2MB, 2MiB, in any capitals.
func ParseSize(s string) (int64, error) {
	m := size.FindStringSubmatch(strings.ToUpper(strings.TrimSpace(s)))
	if m == nil || sizeUnits[m[2]] == 0 {
		return 0, fmt.Errorf("%q is not a size such as 500000 or 2MB: a whole number above 0 of bytes, kB, MB, GB, KiB, MiB "+
			"or GiB", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/sizeUnits[m[2]] {
		return 0, fmt.Errorf("%q is more than %d bytes: no file has so many", s, int64(math.MaxInt64))
	}
	return n * sizeUnits[m[2]], nil
}

// Duration is a time.Duration that YAML spells as 10m, 72h or 7d. Negative ones are refused.
type Duration time.Duration

// UnmarshalYAML reads the text form.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := ParseDuration(n.Value)
	if err != nil || v < 0 {
		return wrong("line %d: %q is not a duration like 10m, 72h or 7d", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// ParseDuration reads what time.ParseDuration does, and whole days as 7d. Days are read as hours and multiplied: 7d as
// 7h times 24. 100,000 days at the most, so that this doesn't overflow.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := time.ParseDuration(days + "h")
		if err == nil && !strings.ContainsAny(days, "hms.") && n.Abs() < 100_000*time.Hour {
			return 24 * n, nil
		}
	}
	return time.ParseDuration(s)
}

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
			// -7d at any hour of the 20th is midnight of the 13th, so that the same command gives the same range all day; -12h
			// goes by the clock.
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

// Records is a schemas.Records that YAML spells as all, none or 90d.
type Records schemas.Records

// UnmarshalYAML reads the text form.
func (r *Records) UnmarshalYAML(n *yaml.Node) error {
	v, err := schemas.ParseRecords(n.Value)
	if err != nil {
		return wrong("line %d: %s", n.Line, err)
	}
	*r = Records(v)
	return nil
}

// wrong is an error that the decoder gathers with the others, and goes on: it does so with a TypeError alone, and stops
// at any other.
func wrong(format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf(format, args...)}}
}
