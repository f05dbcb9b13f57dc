package schemas

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold is what names have in common that some keeper of names takes for one: a workbook, whose library has a folding of
// its own; a file system that knows no case, or that normalises. It is Unicode's compatibility caseless match (D146),
// which tells fewer apart than any of them: "µ-services" and "Μ-SERVICES", "Straße" and "STRASSE", "ﬁ" and "fi" are alike.
// It is for comparing and not for keeping: owners are told apart by each byte of their names.
func Fold(s string) string {
	full := cases.Fold()
	fold := func(s string) string { return strings.Map(leastOfCases, full.String(s)) }
	return norm.NFKD.String(fold(norm.NFKD.String(fold(norm.NFD.String(s)))))
}

// leastOfCases is the first of the letters that differ from r by their case alone, as strings.EqualFold has it: the
// folding of golang.org/x/text leaves Cherokee as it is.
func leastOfCases(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// Printable is text from outside as a terminal, a log, a page or a message may show it: what moves a cursor, colours a
// screen, turns the direction of writing, or is there and not seen, stands as an escape (\u200f, \x9b for a byte that is
// no UTF-8). Line feeds stay.
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
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0 || // fillers of Hangul
		r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

// joins says that a character joins or parts its neighbours: emoji and scripts need them.
func joins(r rune) bool { return r == '\u200c' || r == '\u200d' }

// Secrets finds secrets in text from outside.
type Secrets struct{ found *regexp.Regexp }

// keyBegins and keyRest are what a management key looks like.
const (
	keyBegins = "sk_mg_"
	keyRest   = `[0-9A-Za-z]|%(?:25)*[0-9A-Fa-f]{2}|\\+u00[0-9A-Fa-f]{2}`
)

// leastSecret is the shortest text that is taken out as a secret: shorter ones stand in words.
const leastSecret = 8

// NewSecrets finds these, and whatever looks like a management key; in upper case and lower, as they are and escaped for a
// URL, for JSON or for HTML.
func NewSecrets(secrets ...string) Secrets {
	patterns := []string{spelled(keyBegins) + "(?:" + keyRest + ")+"}
	for _, s := range secrets {
		if len(s) >= leastSecret {
			patterns = append([]string{spelled(s)}, patterns...)
		}
	}
	return Secrets{regexp.MustCompile(strings.Join(patterns, "|"))}
}

// spelled is a pattern of every way in which a text may be spelled.
func spelled(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		upper, lower := strings.ToUpper(string(rune(c))), strings.ToLower(string(rune(c)))
		codes := fmt.Sprintf("%02x|%02x", lower[0], upper[0])
		if c >= utf8.RuneSelf { // no key has it
			upper, lower, codes = string(rune(c)), string(rune(c)), fmt.Sprintf("%02x", c)
		}
		fmt.Fprintf(&b, `(?:%s|%s|%%(?:25)*(?i:%s)|\\+u00(?i:%s)|&#x0*(?i:%s);|&#0*(?:%d|%d);)`,
			regexp.QuoteMeta(lower), regexp.QuoteMeta(upper), codes, codes, codes, lower[0], upper[0])
	}
	return b.String()
}

// Blank puts [key] in the place of each.
func (s Secrets) Blank(text string) string { return s.found.ReplaceAllString(text, "[key]") }
