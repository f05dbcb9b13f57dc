package words

import (
	"testing"
	"unicode"
)

func TestPrintableShowsWhatSteersAsEscapes(t *testing.T) {
	for _, x := range []struct{ text, want string }{
		{"", ""}, {"plain, Grüße, 日本語, ñ", "plain, Grüße, 日本語, ñ"}, {"two\nlines", "two\nlines"},
		{"\x1b[31mred", `\u001b[31mred`},
		{"bell\a, back\b, null\x00, tab\t, return\r", `bell\u0007, back\u0008, null\u0000, tab\u0009, return\u000d`},
		{"c1 \u0085 \u009b31m", `c1 \u0085 \u009b31m`}, {"byte \x9b31m", `byte \x9b31m`}, {"\xff\xfe", `\xff\xfe`},
		{"a\u061cb\u200eb\u200fc", `a\u061cb\u200eb\u200fc`}, {"\u202aa\u202eb\u2066c\u2069", `\u202aa\u202eb\u2066c\u2069`},
		{"zero\u200bwidth\u2060joined\ufeff", `zero\u200bwidth\u2060joined\ufeff`},
		{"soft\u00adhyphen\u180e", `soft\u00adhyphen\u180e`},
		{"ad\u200dmin \u200c", `ad\u200dmin \u200c`},
		{"👩\u200d💻 می\u200cخواهم", "👩\u200d💻 می\u200cخواهم"}, {"é\u200d\u200dé", "é\\u200d\u200dé"},
		{"line\u2028paragraph\u2029", `line\u2028paragraph\u2029`}, {"tag\U000e0041", `tag\U000e0041`},
		{"\ufffe\uffff\U0001fffe", `\ufffe\uffff\U0001fffe`},
		{"a replacement \ufffd stays", "a replacement \ufffd stays"},
	} {
		if got := Printable(x.text); got != x.want {
			t.Errorf("%q is shown as %q, want %q", x.text, got, x.want)
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if s := string(r); r != '\n' && s == Printable(s) && (unicode.Is(unicode.Cf, r) || unicode.IsControl(r)) {
			t.Errorf("%U is shown as it is", r)
		}
	}
}
