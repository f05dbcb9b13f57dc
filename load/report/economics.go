package report

import "context"

// unitEconomics shows what the company counts and earns beside what usage costs.
func (b *builder) unitEconomics(ctx context.Context) error {
	b.doc.Title = "Unit economics"
	where := months(b.period, `"month"`)
	counted, err := b.add(ctx, AsCharged, "counted", "Cost of what is counted",
		`SELECT "month", metric, "scope", scope_value, metric_value, days, currency, net_cost, cost_per_unit
		FROM whole_unit_economics WHERE metric_currency IS NULL AND `+where+`
		ORDER BY metric, "scope", scope_value, currency, "month"`)
	if err != nil {
		return err
	}
	earned, err := b.add(ctx, AsCharged, "earned", "Margin of what is earned",
		`SELECT "month", metric, "scope", scope_value, days, currency, metric_value AS earned, net_cost, margin, margin_share
		FROM whole_unit_economics WHERE metric_currency IS NOT NULL AND `+where+`
		ORDER BY metric, "scope", scope_value, currency, "month"`)
	if err != nil {
		return err
	}
	for _, t := range []*Table{counted, earned} { // a scope may be a part of another
		for i := range t.Columns {
			t.Columns[i].Sum = false
		}
	}
	counted.Caption = "Net cost ÷ value; where days were counted, the cost of these days. What isn't there is left " +
		"empty, and so is what it would be needed for."
	if len(counted.Rows)+len(earned.Rows) == 0 {
		b.note("There is no metric in this period: name a file of them as metrics: in the config.")
	}
	return nil
}
