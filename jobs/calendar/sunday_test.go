package calendar

import (
	"testing"
	"time"
)

// Seven is Sunday, wherever a day of the week may stand: each expression has the same days as one without a 7.
func TestSevenIsSunday(t *testing.T) {
	for _, x := range []struct{ with, without string }{
		{"7", "0"}, {"7,3", "0,3"}, {"5-7", "5,6,0"}, {"1-7", "*"}, {"0-7", "*"}, {"7-7", "0"}, {"fri-7", "fri,sat,sun"},
		{"1-7/2", "1,3,5,0"}, {"0-7/7", "0"}, {"2,6-7", "2,6,0"},
	} {
		a, err := Parse("0 3 * * "+x.with, "Europe/Berlin")
		if err != nil {
			t.Errorf("%s: %v", x.with, err)
			continue
		}
		b, err := Parse("0 3 * * "+x.without, "Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 60 {
			na, nb := a.Next(at), b.Next(at)
			if !na.Equal(nb) {
				t.Errorf("%s after %s: %s, and %s of %s", x.with, at, na, nb, x.without)
				break
			}
			at = na
		}
	}
	for _, bad := range []string{"8", "7-8", "7-5", "7/2", "77", "5-7/0", "-7", "7-"} {
		if _, err := Parse("0 3 * * "+bad, ""); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	// Both day fields restricted: either fits, and 0-7 restricts as little as a star does.
	c, err := Parse("0 3 13 * 7", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Next(time.Date(2026, 11, 12, 0, 0, 0, 0, time.UTC)).Format(time.DateOnly); got != "2026-11-13" {
		t.Errorf("next is %s", got)
	}
}
