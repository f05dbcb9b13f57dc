package allocate

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/usagelake/usagelake/schemas"
)

// nearest proposes the known word that is closest to the given one, or lists them.
func nearest(given string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	best, bestAt := "", utf8.RuneCountInString(given)/2+2
	if len(given) <= 100 && len(known) <= 1000 {
		for _, k := range known {
			if d := schemas.EditDistance(given, k); d < bestAt {
				best, bestAt = k, d
			}
		}
	}
	if best != "" {
		return ": did you mean " + best + "?"
	}
	if len(known) > 20 {
		return ""
	}
	return " (known here: " + strings.Join(known, ", ") + ")"
}

// quote is s as a message shows it.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return strconv.Quote(s)
}

// shown is s without quotes where it is a plain word.
func shown(s string) string {
	if q := quote(s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}
