package allocate

import (
	"strconv"

	"github.com/usagelake/usagelake/schemas/words"
)

// nearest proposes the known word that is closest to the given one, or lists them.
func nearest(given string, known []string) string { return words.Nearest(given, known) }

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
