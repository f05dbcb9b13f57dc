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
// which tells fewer apart than any of them: "µ-services" and "Μ-SERVICES", "Straße" and "STRASSE", "ﬁ" and "fi" are
// alike. It is for comparing and not for keeping: owners are told apart by each byte of their names.
func Fold(s string) string {
	full := cases.Fold()
	fold := func(s string) string { return strings.Map(minOfCases, full.String(s)) }
	return norm.NFKD.String(fold(norm.NFKD.String(fold(norm.NFD.String(s)))))
}

// minOfCases is the first of the letters that differ from r by their case alone, as strings.EqualFold has it: the
// folding of golang.org/x/text leaves Cherokee as it is.
func minOfCases(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// Secrets finds secrets in text from outside.
type Secrets struct{ found *regexp.Regexp }

// keyBegins and keyRest are what a management key looks like.
const (
	keyBegins = "sk_mg_"
	keyRest   = `[0-9A-Za-z]|%(?:25)*[0-9A-Fa-f]{2}|\\+u00[0-9A-Fa-f]{2}`
)

// minSecret is the shortest text that is taken out as a secret: shorter ones stand in words.
const minSecret = 8

// NewSecrets finds these, and whatever looks like a management key; in upper case and lower, as they are and escaped
// for a URL, for JSON or for HTML.
func NewSecrets(secrets ...string) Secrets {
	patterns := []string{spelled(keyBegins) + "(?:" + keyRest + ")+"}
	for _, s := range secrets {
		if len(s) >= minSecret {
			// Before the pattern of a key in general: of two that match at a place the first is taken, and the secret's own is
			// whole.
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
