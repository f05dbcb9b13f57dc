package publish

import (
	"context"
	"testing"
)

func TestWideDecimal(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "0.000000000000"}, {"0", "0.000000000000"}, {"-1.5", "-1.500000000000"},
		{"12345678901234567890123456.000000000001", "12345678901234567890123456.000000000001"},
		{"1.0000000000001", "error"}, {"x", "error"}, {"1.-5", "error"}, {"123456789012345678901234567", "error"},
	} {
		d, err := wideDecimal(c.in)
		got := "error"
		if err == nil {
			got = DecimalText(d)
		}
		if got != c.want {
			t.Errorf("%q is %s, want %s", c.in, got, c.want)
		}
	}
	if _, err := openDatabase(context.Background(), engine{}, "/what?/x", true); err == nil {
		t.Error("a path with a question mark was taken")
	}
}
