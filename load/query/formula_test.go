package query

import "testing"

func TestNoTextBecomesAFormula(t *testing.T) {
	for _, s := range []string{
		"=1+1", "+1", "-1", "@x", "\tx", "\rx", "＝1+1", "＋1", "－1", "＠x", "﹦1", "﹣1", " =1", "\u00a0=1", "\u200b=1",
		"\ufeff@x", "\u3000＝1", "\n-1", " \t\u200b +1", "\u2060=1", "\u202e=1", "\x00=1",
		"-", "=",
	} {
		if got := NoFormula(s); got != "'"+s {
			t.Errorf("%q stays %q", s, got)
		}
	}
	for _, s := range []string{"", " ", "\u200b", "x=1", " x", "1-1", "'=1", "日本", "a@b", "−", "–"} {
		if got := NoFormula(s); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}
