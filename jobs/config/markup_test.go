package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

func TestEveryMistakeInAMarkupIsNamed(t *testing.T) {
	quarters, err := schemas.MakeBooks(schemas.BookSettings{Calendar: "4-4-5"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		list  []Markup
		books *schemas.Books
		want  string // "" if there is none
	}{
		{[]Markup{{}}, nil, "markups[0] (of each other cost centre): it marks nothing up"},
		{[]Markup{{CostCenter: "(unallocated)", Percent: "1"}}, nil, "nobody pays what is (unallocated)"},
		{[]Markup{{Percent: "5%"}}, nil, `percent: "5%" is not a percentage like 5`},
		{[]Markup{{Percent: "-1"}}, nil, `percent: "-1" is not`}, {[]Markup{{Percent: "1000"}}, nil, "below 1000"},
		{[]Markup{{Percent: "0.0000001"}}, nil, "six decimals at the most"},
		{[]Markup{{Percent: "999.999999"}}, nil, ""}, {[]Markup{{Percent: "0"}}, nil, ""},
		{[]Markup{{Percent: "1", Currency: "USD"}}, nil, "currency: a percentage has none"},
		{[]Markup{{PerRequest: "0,01", Currency: "USD"}}, nil, `per_request: "0,01" is not an amount`},
		{[]Markup{{PerPeriod: "-5", Currency: "USD"}}, nil, "per_period: -5 is less than 0"},
		{[]Markup{{Minimum: "5"}}, nil, `currency: "" is not an ISO 4217 code`},
		{[]Markup{{Percent: "1", From: "2026-01-02"}}, nil, "from: 2026-01-02 is not the first day of a month"},
		{[]Markup{{Percent: "1", From: "2026-01-01"}}, quarters, "from: 2026-01-01 is not the first day"},
		{[]Markup{{Percent: "1", From: "2026-01-04"}}, quarters, ""},
		{[]Markup{{Percent: "1", To: "yesterday"}}, nil, "to: "},
		{[]Markup{{Percent: "1", From: "2026-02-01", To: "2026-02-01"}}, nil, "from 2026-02-01 is not before to"},
		{[]Markup{{Percent: "1"}, {CostCenter: "a", Percent: "2"}, {Percent: "3"}}, nil,
			"markups[2] (of each other cost centre): markups[0] is of it, too"},
		{[]Markup{{Percent: "1", To: "2026-03-01"}, {Percent: "3", From: "2026-02-01"}}, nil, "is of it, too"},
		{[]Markup{{Percent: "1", From: "x"}, {Percent: "3"}}, nil, "markups[0]"},
		{[]Markup{{Percent: "1", From: "2026-03-01"}, {Percent: "3", To: "2026-03-01"}}, nil, ""},
	} {
		got, err := ParseMarkups(c.list, c.books)
		if all := errors.Join(markups(c.list, c.books)...); (all == nil) != (err == nil) {
			t.Errorf("%+v: %v, and as the config is checked %v", c.list, err, all)
		}
		if err != nil && strings.Count(err.Error(), "markups[") > 1 && !strings.Contains(c.want, "too") {
			t.Errorf("%+v: one mistake is told as several: %v", c.list, err)
		}
		switch {
		case c.want == "" && (err != nil || len(got) != len(c.list)):
			t.Errorf("%+v: %v", c.list, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v, want %s", c.list, err, c.want)
		}
	}
}
