package schemas_test

import (
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func rates(t *testing.T, by string, lines ...[3]string) *schemas.Rates {
	t.Helper()
	var all []schemas.RateLine
	for _, l := range lines {
		rate, err := schemas.ParseRate(l[2])
		if err != nil {
			t.Fatal(err)
		}
		from, to, _ := strings.Cut(l[1], "/")
		all = append(all, schemas.RateLine{Date: schemastest.Date(l[0]), From: from, To: to, Rate: rate, Source: "s" + l[2]})
	}
	r, err := schemas.MakeRates("EUR", by, all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Which rate a book day has, of which day it is, and whether it may still change.
func TestTheRateOfABookDay(t *testing.T) {
	file := [][3]string{{"2026-10-02", "USD/EUR", "0.9"}, {"2026-09-30", "USD/EUR", "0.8"},
		{"2026-10-28", "USD/EUR", "0.7"}, {"2026-10-02", "EUR/CNY", "7.8"}, {"2026-10-02", "USD/CNY", "7.1"}}
	past := append(file[:5:5], [3]string{"2026-11-02", "USD/EUR", "0.6"})
	odd := [][3]string{{"2026-10-01", "USD/EUR", "0.0000000001"}, {"2026-10-02", "USD/EUR", "0.0000000002"},
		{"2026-10-31", "JPY/EUR", "0.0000000002"}, {"2026-10-01", "JPY/EUR", "0.0000000003"}}
	for _, c := range []struct {
		by, currency, day string
		file              [][3]string
		want              string // the rate, the day it was written for, how many it is the mean of, final; or what lacks
	}{
		{"day", "EUR", "2026-01-01", nil, "1 - 0 true"},
		{"day", "USD", "2026-10-02", file, "0.9 2026-10-02 0 true"},
		{"day", "USD", "2026-10-09", file, "0.9 2026-10-02 0 true"},
		{"day", "USD", "2026-10-10", file, "no rate of USD to EUR on 2026-10-10 or in the 7 days before"},
		{"day", "USD", "2026-09-29", file, "no rate of USD to EUR on 2026-09-29 or in the 7 days before"},
		{"day", "USD", "2026-10-28", file, "0.7 2026-10-28 0 true"},
		{"day", "USD", "2026-10-31", file, "0.7 2026-10-28 0 false"},
		{"day", "USD", "2026-10-31", past, "0.7 2026-10-28 0 true"},
		{"day", "CNY", "2026-10-02", file, "no rate of CNY to EUR: the file has EUR to CNY, and an inverse is not exact: " +
			"write CNY to EUR"},
		{"day", "GBP", "2026-10-02", file, "no rate of GBP to EUR"},
		{"day", "USD", "2026-10-02", nil, "no rate of USD to EUR"},
		{"month_average", "USD", "2026-10-15", file, "0.8 - 2 false"},
		{"month_average", "USD", "2026-10-15", past, "0.8 - 2 true"},
		{"month_average", "USD", "2026-11-15", file, "no rate of USD to EUR from 2026-11-01 to 2026-11-30"},
		// Half to even: of 1 and 2 units, and of 2 and 3.
		{"month_average", "USD", "2026-10-15", odd, "0.0000000002 - 2 false"},
		{"month_average", "JPY", "2026-10-15", odd, "0.0000000002 - 2 true"},
		{"month_end", "USD", "2026-10-01", file, "0.7 2026-10-28 0 false"},
		{"month_end", "USD", "2026-10-01", past, "0.7 2026-10-28 0 true"},
		{"month_end", "USD", "2026-09-01", file, "0.8 2026-09-30 0 true"},
		// Of a month that the file doesn't reach the end of, the last so far.
		{"month_end", "USD", "2026-10-01", file[:2], "0.9 2026-10-02 0 false"},
		{"month_end", "USD", "2026-11-05", file, "0.7 2026-10-28 0 false"},
		{"month_end", "USD", "2026-12-05", file, "no rate of USD to EUR on 2026-12-01 or in the 7 days before"},
		{"month_end", "USD", "2026-10-05", append(file[:2:2], [3]string{"2026-11-02", "USD/EUR", "1"}),
			"no rate of USD to EUR on 2026-10-31 or in the 7 days before"},
	} {
		got := rates(t, c.by, c.file...).On(nil, c.currency, schemastest.Date(c.day))
		text := got.Lacks
		if text == "" {
			date := "-"
			if got.Date != nil {
				date = got.Date.String()
			}
			text = strings.Join([]string{got.Rate.String(), date, string(rune('0' + got.Of)),
				map[bool]string{true: "true", false: "false"}[got.Final]}, " ")
		}
		if text != c.want || (got.Rate == 0) != (got.Lacks != "") {
			t.Errorf("%s %s on %s: %s, want %s", c.by, c.currency, c.day, text, c.want)
		}
	}
}

func TestARateIsExactOrRefused(t *testing.T) {
	for text, want := range map[string]string{"1": "1", "0.9231": "0.9231", "7.10000": "7.1", "99999999.9999999999": "",
		"0.0000000001": ""} {
		if want == "" {
			want = text
		}
		if r, err := schemas.ParseRate(text); err != nil || r.String() != want {
			t.Errorf("%s: %s, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "0", "0.0", "-1", "+1", "1,5", "1e3", "0.00000000001", "123456789", ".5", "1.",
		"١"} {
		if r, err := schemas.ParseRate(text); err == nil {
			t.Errorf("%q is %s", text, r)
		}
	}
}
