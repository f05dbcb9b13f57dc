package report

import "context"

// prepaid rolls prepaid credit forward: what was paid ahead, drawn and expired, and what is left.
func (b *builder) prepaid(ctx context.Context) error {
	b.doc.Title = "Prepaid credit"
	during := months(b.period, "billing_month")
	rolled, err := b.add(ctx, AsCharged, "months", "Roll-forward",
		`SELECT account, currency, "month", status, opening, paid, coupons, credited, drawn, expired, closing, used,
			overdrawn, portal_observed_at, portal_balance, since_look, difference, difference_coupons_beside, note
		FROM prepaid_monthly WHERE `+months(b.period, `"month"`)+` ORDER BY account, currency, "month"`)
	if err != nil {
		return err
	}
	rolled.Caption = "opening + paid + coupons + credited − drawn − expired = closing, which is the asset. Usage that " +
		"no credit covers is overdrawn. The difference is what the Portal's own balance, brought to the end of the " +
		"month, has beyond closing − overdrawn; the API doesn't say whether the balance includes coupons, so both " +
		"readings stand here."
	if len(rolled.Rows) == 0 {
		b.note("No account was prepaid in this period: write billing: prepaid below the account in the config.")
	}
	credits, err := b.add(ctx, AsItIsNow, "credits", "Credits",
		`SELECT account, currency, credit, kind, reference, top_up_date, expires, amount, drawn, expired, remaining, note
		FROM credits WHERE remaining <> 0 OR (account, currency, credit) IN (SELECT (account, currency, credit)
			FROM prepaid_ledger WHERE `+during+`) ORDER BY account, currency, pays_from, credit`)
	if err != nil {
		return err
	}
	credits.Caption = "amount − drawn − expired = remaining."
	if b.period.To > b.books.First(b.current) { // what comes next is about now
		_, err := b.add(ctx, "", "expiring", "What expires next",
			`SELECT expires, account, currency, credit, kind, remaining FROM credits
			WHERE remaining > 0 AND expires IS NOT NULL ORDER BY expires, account, currency, credit`)
		if err != nil {
			return err
		}
		b.note("How long a balance lasts is in the report reconciliation (runway).")
	}
	if _, err := b.add(ctx, AsCharged, "draws", "Draws by credit",
		`SELECT account, currency, billing_month, credit, kind, sum(amount) AS drawn FROM draws_daily WHERE `+during+`
		GROUP BY ALL ORDER BY account, currency, billing_month, credit`); err != nil {
		return err
	}
	_, err = b.add(ctx, AsCharged, "overdrawn", "Overdrawn",
		`SELECT account, currency, book_date, used, covered, outstanding FROM overdrawn WHERE `+during+`
		ORDER BY account, currency, book_date`)
	return err
}
