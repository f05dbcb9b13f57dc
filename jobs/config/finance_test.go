package config

import (
	"strings"
	"testing"
)

func TestEveryMistakeInABudgetIsNamed(t *testing.T) {
	for _, c := range []struct {
		budget Budget
		want   string
	}{
		{Budget{}, "name: give it one"},
		{Budget{Name: "b", Amount: "1,000", Currency: "USD"}, `amount: "1,000" is not an amount`},
		{Budget{Name: "b", Amount: "0", Currency: "USD"}, "amount: 0 is not more than 0"},
		{Budget{Name: "b", Amount: "1", Currency: "usd"}, `currency: "usd" is not an ISO 4217 code`},
		{Budget{Name: "b", Amount: "1", Currency: "USD", Team: "x", Model: "y"}, "it has both team and model"},
		{Budget{Name: "b", Amount: "1", Currency: "USD", Period: "week"},
			`period: "week" is none of month, quarter, year and once`},
		{Budget{Name: "b", Amount: "1", Currency: "USD", From: "2026-01-02"},
			"from: 2026-01-02 is not the first day of a month"},
		{Budget{Name: "b", Amount: "1", Currency: "USD", Period: "quarter", From: "2026-02-01"},
			"is not the first day of a quarter"},
		{Budget{Name: "b", Amount: "1", Currency: "USD", From: "2026-02-01", To: "2026-02-01"},
			"from 2026-02-01 is not before to 2026-02-01"},
		{Budget{Name: "b", Amount: "1", Currency: "USD", Thresholds: []string{"80%"}}, `thresholds: "80%" is not a share`},
	} {
		if _, err := c.budget.Parse(nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.budget, err, c.want)
		}
	}
	ok, err := Budget{Name: "b", CostCenter: "R&D", Amount: "5000.01", Currency: "USD",
		Thresholds: []string{"1", "0.5"}}.Parse(nil)
	if err != nil || ok.Scope != "cost_center" || ok.Value != "R&D" || ok.Period != "month" ||
		ok.Amount.String() != "5000.01" || ok.Thresholds[0] != 500_000_000_000 {
		t.Errorf("%+v %v", ok, err)
	}
}

func TestALimitIsAnAmountOrAShare(t *testing.T) {
	for text, want := range map[string]string{"100": "", "0": "", "2%": "", "0.5 %": "", "": "", "-1": "neither an amount",
		"101%": "neither", "a": "neither", "1e3": "neither"} {
		if _, err := ParseLimit(text); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
