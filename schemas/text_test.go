package schemas

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

func TestPrintableShowsWhatSteersAsEscapes(t *testing.T) {
	for _, x := range []struct{ text, want string }{
		{"", ""}, {"plain, Grüße, 日本語, ñ", "plain, Grüße, 日本語, ñ"}, {"two\nlines", "two\nlines"},
		{"\x1b[31mred", `\u001b[31mred`}, {"bell\a, back\b, null\x00, tab\t, return\r", `bell\u0007, back\u0008, null\u0000, tab\u0009, return\u000d`},
		{"c1 \u0085 \u009b31m", `c1 \u0085 \u009b31m`}, {"byte \x9b31m", `byte \x9b31m`}, {"\xff\xfe", `\xff\xfe`},
		{"a\u061cb\u200eb\u200fc", `a\u061cb\u200eb\u200fc`}, {"\u202aa\u202eb\u2066c\u2069", `\u202aa\u202eb\u2066c\u2069`},
		{"zero\u200bwidth\u2060joined\ufeff", `zero\u200bwidth\u2060joined\ufeff`}, {"soft\u00adhyphen\u180e", `soft\u00adhyphen\u180e`},
		{"ad\u200dmin \u200c", `ad\u200dmin \u200c`}, {"👩\u200d💻 می\u200cخواهم", "👩\u200d💻 می\u200cخواهم"}, {"é\u200d\u200dé", "é\\u200d\u200dé"},
		{"line\u2028paragraph\u2029", `line\u2028paragraph\u2029`}, {"tag\U000e0041", `tag\U000e0041`}, {"\ufffe\uffff\U0001fffe", `\ufffe\uffff\U0001fffe`},
		{"a replacement \ufffd stays", "a replacement \ufffd stays"},
	} {
		if got := Printable(x.text); got != x.want {
			t.Errorf("%q is shown as %q, want %q", x.text, got, x.want)
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if s := string(r); r != '\n' && s == Printable(s) && (unicode.Is(unicode.C, r) && !unicode.Is(unicode.Co, r) && !unicode.Is(unicode.Cs, r) && unicode.Is(unicode.Cf, r) || unicode.IsControl(r)) {
			t.Errorf("%U is shown as it is", r)
		}
	}
}

func TestAKeyIsBlankedHoweverItIsSpelled(t *testing.T) {
	const key = "sk_mg_aB3dEf9/Gh+jK=mN0pQ"
	entities := ""
	percent := ""
	unicodes := ""
	for _, c := range key {
		entities += fmt.Sprintf("&#x%x;", c)
		percent += fmt.Sprintf("%%%02x", c)
		unicodes += fmt.Sprintf(`\u%04X`, c)
	}
	mixed := ""
	for i, c := range key {
		if i%2 == 0 {
			mixed += strings.ToUpper(string(c))
		} else {
			mixed += strings.ToLower(string(c))
		}
	}
	quoted, err := json.Marshal(unicodes)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSecrets(key)
	for _, echoed := range []string{key, strings.ToUpper(key), strings.ToLower(key), mixed, url.QueryEscape(key), url.PathEscape(key), url.QueryEscape(url.QueryEscape(key)), percent, strings.ToUpper(percent), unicodes, string(quoted), entities, fmt.Sprintf("%q", key)} {
		got := s.Blank("the key " + echoed + " is bad")
		if !strings.Contains(got, "[key]") || strings.Contains(strings.ToLower(got), "ef9") || strings.Contains(got, "pQ") || strings.Contains(strings.ToLower(got), "\\u0064") {
			t.Errorf("%q is shown as %q", echoed, got)
		}
	}
	// One that isn't known is known by its looks; a short one would be found in words.
	if got := NewSecrets("short").Blank("a short story of SK_MG_0a1b, sk%5Fmg%5Fab12 and \\u0073k_mg_zz"); got != "a short story of [key], [key] and [key]" {
		t.Errorf("%q", got)
	}
	if got := NewSecrets("a-plain-token").Blank("A-PLAIN-TOKEN, a%2Dplain%2dtoken"); got != "[key], [key]" {
		t.Errorf("%q", got)
	}
}

func TestNamesThatSomebodyTakesForOneFoldAlike(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		if unicode.SimpleFold(r) == r && norm.NFKD.IsNormalString(string(r)) {
			continue
		}
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) { // strings.EqualFold's notion
			if Fold(string(r)) != Fold(string(f)) {
				t.Errorf("%U and %U are equal but for their case, and fold to %q and %q", r, f, Fold(string(r)), Fold(string(f)))
			}
		}
		if s := string(r); Fold(s) != Fold(norm.NFC.String(s)) || Fold(s) != Fold(norm.NFKD.String(s)) || Fold(s) != Fold(Fold(s)) || Fold(s) != Fold(strings.ToUpper(s)) && r != 'ı' {
			t.Errorf("%U folds to %q", r, Fold(s))
		}
	}
	for _, alike := range [][2]string{{"µ-services", "Μ-SERVICES"}, {"ΟΔΟΣ", "οδος"}, {"ſales", "Sales"}, {"Straße", "STRASSE"}, {"é", "E\u0301"}, {"ﬁ", "FI"}, {"\u212b", "å"}, {"Ａ", "a"}, {"ᾳ\u0301", "\u03b1\u0301\u03b9"}} {
		if Fold(alike[0]) != Fold(alike[1]) {
			t.Errorf("%q and %q fold to %q and %q", alike[0], alike[1], Fold(alike[0]), Fold(alike[1]))
		}
	}
	if Fold("a") == Fold("á") || Fold("1") == Fold("l") {
		t.Error("what differs by more than its case folds alike")
	}
}
