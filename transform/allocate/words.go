package allocate

import (
	"strconv"

	"github.com/usagelake/usagelake/schemas/words"
)

// quote is s as a message shows it.
func quote(s string) string { return strconv.Quote(words.Clip(s, 60)) }

// shown is s without quotes where it is a plain word.
func shown(s string) string {
	if q := quote(s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}
