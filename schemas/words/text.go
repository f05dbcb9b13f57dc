package words

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable is text from outside as a terminal, a log, a page or a message may show it: what moves a cursor, colours a
// screen, turns the direction of writing, or is there and not seen, stands as an escape (\u200f, \x9b for a byte that
// is no UTF-8). Line feeds stay.
func Printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || Steers(r) }) {
		return s
	}
	var b strings.Builder
	before := rune(' ')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		after, _ := utf8.DecodeRuneInString(s[i+size:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n', joins(r) && before > unicode.MaxASCII && after > unicode.MaxASCII && !Steers(after), !Steers(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		before = r
		i += size
	}
	return b.String()
}

// Steers says that a character is none that is seen, or steers what shows it.
func Steers(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) ||
		r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0 || // fillers of Hangul
		r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

// joins says that a character joins or parts its neighbours: emoji and scripts need them.
func joins(r rune) bool { return r == '\u200c' || r == '\u200d' }

// Line is text from outside on one line: what parts lines or words is a space, and the rest is Printable.
func Line(s string) string { return Printable(blanks.Replace(s)) }

var blanks = strings.NewReplacer("\n", " ", "\r", " ", "\t", " ", "\u2028", " ", "\u2029", " ")

// Cell is text from outside on one line that shows where it had line feeds, as \n: a value, of which nothing is hidden.
func Cell(s string) string { return strings.ReplaceAll(Printable(s), "\n", `\n`) }

// Clip cuts text to so many characters, the last of which is then … .
func Clip(s string, most int) string {
	if len(s) <= most || utf8.RuneCountInString(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n++; n == most {
			return s[:i] + "…"
		}
	}
	return ""
}

// Some lists the first few: "a, b, c and 4 more".
func Some[T any](list []T, most int) string {
	var b strings.Builder
	for i, x := range list {
		switch {
		case i == most:
			fmt.Fprintf(&b, " and %d more", len(list)-most)
			return b.String()
		case i > 0:
			b.WriteString(", ")
		}
		fmt.Fprint(&b, x)
	}
	return b.String()
}
