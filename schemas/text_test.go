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
	for _, echoed := range []string{key, strings.ToUpper(key), strings.ToLower(key), mixed, url.QueryEscape(key),
		url.PathEscape(key), url.QueryEscape(url.QueryEscape(key)), percent, strings.ToUpper(percent), unicodes,
		string(quoted), entities, fmt.Sprintf("%q", key)} {
		got := s.Blank("the key " + echoed + " is bad")
		if !strings.Contains(got, "[key]") || strings.Contains(strings.ToLower(got), "ef9") || strings.Contains(got, "pQ") ||
			strings.Contains(strings.ToLower(got), "\\u0064") {
			t.Errorf("%q is shown as %q", echoed, got)
		}
	}
	// One that isn't known is known by its looks; a short one would be found in words.
	if got := NewSecrets("short").Blank("a short story of SK_MG_0a1b, sk%5Fmg%5Fab12 and \\u0073k_mg_zz"); got !=
		"a short story of [key], [key] and [key]" {
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
		if s := string(r); Fold(s) != Fold(norm.NFC.String(s)) || Fold(s) != Fold(norm.NFKD.String(s)) ||
			Fold(s) != Fold(Fold(s)) || Fold(s) != Fold(strings.ToUpper(s)) && r != 'ı' {
			t.Errorf("%U folds to %q", r, Fold(s))
		}
	}
	for _, alike := range [][2]string{{"µ-services", "Μ-SERVICES"}, {"ΟΔΟΣ", "οδος"}, {"ſales", "Sales"},
		{"Straße", "STRASSE"}, {"é", "E\u0301"}, {"ﬁ", "FI"}, {"\u212b", "å"}, {"Ａ", "a"},
		{"ᾳ\u0301", "\u03b1\u0301\u03b9"}} {
		if Fold(alike[0]) != Fold(alike[1]) {
			t.Errorf("%q and %q fold to %q and %q", alike[0], alike[1], Fold(alike[0]), Fold(alike[1]))
		}
	}
	if Fold("a") == Fold("á") || Fold("1") == Fold("l") {
		t.Error("what differs by more than its case folds alike")
	}
}
