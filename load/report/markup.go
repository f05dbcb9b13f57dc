package report

import (
	"context"

	"github.com/usagelake/usagelake/load/query"
)

// markup adds what is charged on top of the cost, where anything is.
func (b *builder) markup(ctx context.Context) error {
	where := b.journalled() // it, too, is made of whole months and whole cost centres
	if where == "" {
		some, err := b.ask(ctx, "some", "", "SELECT 1 AS n FROM whole_markup_monthly LIMIT 1")
		if err == nil && len(some.Rows) > 0 {
			b.note("Mark-ups aren't here: they are made of whole months and whole cost centres.")
		}
		return err
	}
	t, err := b.ask(ctx, "markup", "Mark-up", "SELECT "+byOwner+`"month", cost_center, currency, requests, net_cost,
		percent, percent_markup, request_markup, period_fee, minimum_charge, markup, charged FROM whole_markup_monthly
		WHERE `+where+` ORDER BY "month", currency, charged DESC NULLS LAST, cost_center`)
	if err != nil || len(t.Rows) == 0 {
		return err
	}
	t.Basis = AsCharged
	t.Caption = "On top of the net cost, which everything else here is, the journal too."
	b.doc.Tables = append(b.doc.Tables, t)
	for _, total := range t.Totals() {
		if sum := total.Sums[t.column("markup")]; sum != nil {
			b.number("Mark-up", Money, query.Value{Text: sum.String()},
				query.Value{Text: total.Currency, Null: total.Null}, "on top of the net cost")
		}
	}
	return nil
}
