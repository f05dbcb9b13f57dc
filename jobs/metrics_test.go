package jobs

import (
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

func TestMetricsAreReadOrRefusedWithTheirPlace(t *testing.T) {
	weeks, err := schemas.MakeBooks(schemas.BookSettings{Calendar: "4-4-5"})
	if err != nil {
		t.Fatal(err)
	}
	const head = "metric,period,date,value,currency,cost_center,team\n"
	for _, c := range []struct {
		file  string
		books *schemas.Books
		want  string // "" if there is nothing wrong
	}{
		{"\xef\xbb\xbfmetric;period;value;note\norders;2026-10;1200;from the shop\n", nil, ""},
		{"metric,date,value\norders,2026-10-01,5\norders,2026-10-02,7\n", nil, ""},
		{head + "sales,2026-10,,-3.5,USD,,\n", nil, ""}, {head + "a,2026-P10,,1,,,\n", weeks, ""},
		{head + "a,2026-10,,1,,x,\na,2026-10,,1,,y,\na,2026-10,,1,,,x\na,2026-11,,1,,x,\n", nil, ""},
		{"metric,value\na,1\n", nil, "give the column period (2026-10), or date"},
		{"period,value\n2026-10,1\n", nil, "no column metric"},
		{"metric,period,valeu\na,2026-10,1\n", nil, "did you mean value?"},
		{head + ",2026-10,,1,,,\n", nil, "m.csv:2: metric: say what is counted"},
		{head + "a,2026-10,2026-10-01,1,,,\n", nil, "m.csv:2: give period or date"},
		{head + "a,,,1,,,\n", nil, "m.csv:2: give period or date"},
		{head + "a,last,,1,,,\n", nil, `"last" is another month every month`},
		{head + "a,2026-Q4,,1,,,\n", nil, "m.csv:2: period: "},
		{head + "a,2026-10,,1,,,\n", weeks, "write a period like 2026-P"},
		{head + "a,,31/10/2026,1,,,\n", nil, "m.csv:2: date: "},
		{head + "a,2026-10,,\"1,200\",,,\n", nil, `m.csv:2: value: "1,200" is not an amount`},
		{head + "a,2026-10,,-1,,,\n", nil, "value: -1 is less than 0"},
		{head + "a,2026-10,,1,usd,,\n", nil, `currency "usd" is not an ISO 4217 code`},
		{head + "a,2026-10,,1,,x,y\n", nil, "it is for the cost_center x and the team y: give one of them"},
		{head + "a,2026-10,,1,,,\na,2026-10,,1,,,\n", nil, "m.csv:3: a of the same month or day stands in m.csv:2 already"},
		{head + "a,2026-10,,1,,,\na,,2026-10-09,1,,,\n", nil, "m.csv:3: a of the same month or day stands in m.csv:2"},
		{head + "a,,2026-10-09,1,,,\na,2026-10,,1,,,\n", nil, "m.csv:3: a of the same month or day stands in m.csv:2"},
		{head + "a,,2026-10-09,1,,,\na,,2026-10-09,1,,,\n", nil, "m.csv:3: a of the same month or day stands in m.csv:2"},
		{head + "a,2026-10,,1,USD,,\na,2026-11,,1,,,\n", nil, "m.csv:3: a is in no currency, and in m.csv:2 in USD"},
	} {
		lines, err := ParseMetrics("m.csv", []byte(c.file), c.books)
		switch {
		case c.want == "" && (err != nil || len(lines) != strings.Count(c.file, "\n")-1):
			t.Errorf("%q: %d lines, %v", c.file, len(lines), err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v, want %s", c.file, err, c.want)
		}
	}
}
