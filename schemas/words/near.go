package words

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Nearest proposes the known word that is closest to the given one, or lists them, unless they are too many: what
// follows a message, or nothing.
func Nearest(given string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	best, bestAt := "", utf8.RuneCountInString(given)/2+2
	if len(given) <= 100 && len(known) <= 1000 {
		for _, k := range known {
			if d := EditDistance(given, k); d < bestAt {
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

// FileName is a name for a file that is about what a text says: the small letters, digits and dashes of it, or
// otherwise if it has none, and a digest of all of it. It is good on every file system, of which some know no case,
// some normalise, and some read a device into "con".
func FileName(text, otherwise string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 40 {
			break
		}
	}
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%s-%x", cmp.Or(strings.Trim(b.String(), "-"), otherwise), sum[:6])
}

// EditDistance is Levenshtein's distance of two texts, in bytes. Messages find by it the word that was meant.
func EditDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
