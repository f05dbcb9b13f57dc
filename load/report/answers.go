package report

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

const costs = `sum(requests)::BIGINT AS requests, TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens,
	TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
	sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost`

// measures are the sums of what is charged.
func (b *builder) measures() string { return costs + b.inBooks() }

// The parts that a charge is made of; they sum to net_cost.
const parts = `sum(net_cost) FILTER (pool IS NULL AND charge_class IS NULL) AS direct_cost, sum(net_cost) FILTER ` +
	`(pool IS NOT NULL AND charge_class IS NULL) AS shared_cost, sum(net_cost) FILTER (charge_class IS NOT NULL) AS ` +
	`correction`

// chargeback is what each owner is charged.
func (b *builder) chargeback(ctx context.Context) error {
	b.doc.Title = "Chargeback"
	// Charges know no users, and usage by user knows no owner of a pool. So by users alone it is allocated_daily; by users
	// and owners what is assigned directly, and the shares of pools in the same columns.
	source, basis := "chargeback_daily", AsCharged
	users := slices.ContainsFunc(b.By, func(d string) bool { return d == "token" || d == "user" || d == "custom_user" })
	owners := b.Scope.Owned() || slices.ContainsFunc(b.By, func(d string) bool {
		return slices.Contains([]string{"cost_center", "team", "project", "environment", "gl_code"}, d)
	})
	switch {
	case users && owners:
		source = `(SELECT month_of(book_date) AS billing_month, u.*, coalesce(a.cost_center, '` +
			schemas.Unallocated + `') AS cost_center, a.team, a.project, a.environment, a.gl_code` + b.converting() + `
			FROM allocated_addends u JOIN allocations a USING (allocation_id) WHERE a.pool IS NULL
			UNION ALL BY NAME
			SELECT month_of(book_date) AS billing_month, * REPLACE (coalesce(cost_center, '` +
			schemas.Unallocated +
			`') AS cost_center), '` + Shared + `' AS token_id, '` + Shared + `' AS user_id, '` + Shared + `' AS custom_user_id` +
			b.converting() + ` FROM shared_cost_shares)`
		b.note("What comes from a shared pool has no user or token of its own here, and stands as %s.", Shared)
	case users:
		source = "(SELECT month_of(book_date) AS billing_month, *" + b.converting() + " FROM allocated_addends)"
	}
	if users {
		basis = AsItIsNow
		b.note("By token or user, usage counts in its own month: corrections of closed months are not set apart.")
	}
	columns, plain := make([]string, len(b.By)), make([]string, len(b.By))
	// By time if that comes first, and else the most expensive first.
	byTime := false
	for i, by := range b.By {
		for _, d := range dimensions {
			if d.name == by {
				columns[i] = d.sql
			}
		}
		plain[i] = `"` + by + `"`
		byTime = byTime || i == 0 && (by == "day" || by == "month")
	}
	order := "currency, net_cost DESC NULLS LAST, " + strings.Join(plain, ", ")
	if byTime {
		order = plain[0] + ", " + order
	}
	// A share of a whole whose parts have both signs says nothing.
	t, err := b.add(ctx, basis, "chargeback", "By "+strings.NewReplacer("cost_center", "cost centre", "_",
		" ").Replace(strings.Join(b.By, ", ")), fmt.Sprintf(`
		SELECT *, CASE WHEN min(net_cost) OVER parts >= 0 OR max(net_cost) OVER parts <= 0 THEN
		TRY_CAST(net_cost::DOUBLE / nullif(sum(net_cost) OVER parts, 0)::DOUBLE AS DECIMAL(18,6)) END AS "share"
		FROM (SELECT %s, currency, %s FROM %s GROUP BY ALL) WINDOW parts AS (PARTITION BY currency) ORDER BY %s`,
		strings.Join(columns, ", "), b.measures(), source, order))
	if err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		b.warn("no usage and no charge in this period")
	}
	if err := b.moneyFigures(ctx); err != nil {
		return err
	}
	if err := b.markup(ctx); err != nil {
		return err
	}
	if users {
		if err := b.bridge(ctx, owners); err != nil {
			return err
		}
	}
	if b.Pictures {
		return b.pictures(ctx)
	}
	return nil
}

// bridge adds a table of what leads from what is charged in the period to what was used in it, where that isn't the
// same. shared says that shares of pools are in the latter.
func (b *builder) bridge(ctx context.Context, shared bool) error {
	// A pool that isn't split is in the usage of all, so nothing leads from one to the other; of an owner's usage the
	// shares are to be taken off, unless they are in it.
	pools := "false"
	if b.Scope.Owned() && !shared {
		pools = "pool IS NOT NULL"
	}
	// charged is what the period is charged with, whenever it was used; since is what the usage of the period was
	// corrected by, wherever that is charged. Lines 2 and 3 take off what isn't in the usage of the period, 4 adds what
	// is. Where there are none of these the two are the same, and there is no table.
	t, err := b.ask(ctx, "bridge", "From what is charged to what was used", fmt.Sprintf(`
		WITH charged AS (
			SELECT currency, sum(net_cost) AS net_cost, sum(net_cost) FILTER (charge_class IS NULL AND (%[1]s)) AS shares,
			sum(net_cost) FILTER (charge_class IS NOT NULL) AS corrections FROM chargeback_daily GROUP BY ALL
		), since AS (
			SELECT currency, sum(net_cost) AS net_cost FROM chargeback_ever
			WHERE charge_class IS NOT NULL AND NOT (%[1]s) AND %[2]s GROUP BY ALL
		), lines AS (
			SELECT 1 AS n, 'charged in the period' AS line, currency, net_cost FROM charged
			UNION ALL SELECT 2, 'less shares of pools', currency, -shares FROM charged WHERE shares <> 0
			UNION ALL SELECT 3, 'less corrections that are charged in it', currency, -corrections FROM charged
			WHERE corrections <> 0
			UNION ALL SELECT 4, 'and corrections of its usage, wherever they are charged', currency, net_cost FROM since
			WHERE net_cost <> 0
		)
		SELECT line, currency, net_cost FROM lines l WHERE EXISTS (FROM lines o WHERE o.n > 1 AND o.currency IS NOT DISTINCT
		FROM l.currency) ORDER BY currency, n`, pools, within(b.period, "book_date")))
	if err != nil || len(t.Rows) == 0 {
		return err
	}
	t.Caption = "The total is the usage of the period as it is now, which the other tables are about."
	b.doc.Tables = append(b.doc.Tables, t)
	return nil
}

// asNow ends a report on usage as it is now: by the bridge from what is charged for it, and by what isn't in it.
func (b *builder) asNow(ctx context.Context) error {
	if b.Scope.Owned() {
		b.note("Shares of pools aren't in these figures: a pool's cost is no owner's before it is split.")
	}
	return b.bridge(ctx, false)
}

// moneyFigures are the figures of a chargeback: net cost, what it was before, how much is allocated.
func (b *builder) moneyFigures(ctx context.Context) error {
	// The share that is allocated says something only if what is and what isn't have one sign: of −20 and 120 it would be
	// 1.2.
	t, err := b.ask(ctx, "figures", "", fmt.Sprintf(`
		SELECT %[3]scurrency, sum(net_cost) AS net_cost, sum(list_cost) AS list_cost, sum(discount) AS discount,
		sum(requests)::BIGINT AS requests, %[1]s,
			sum(net_cost) FILTER (cost_center = '%[2]s') AS unallocated_cost,
			CASE WHEN sign(coalesce(unallocated_cost, 0)) * sign(sum(net_cost) - coalesce(unallocated_cost, 0)) >= 0
				THEN TRY_CAST(1 - coalesce(unallocated_cost, 0)::DOUBLE / nullif(sum(net_cost),
				0)::DOUBLE AS DECIMAL(18,6)) END AS allocated_share
		FROM chargeback_daily GROUP BY ALL ORDER BY net_cost DESC NULLS LAST, currency`, parts, schemas.Unallocated, byOwner))
	if err != nil {
		return err
	}
	if len(t.Rows) > 1 {
		b.warn("there are amounts in %d currencies: nothing is summed across them", len(t.Rows))
	}
	if err := b.bookFigure(ctx); err != nil {
		return err
	}
	for _, row := range t.Rows {
		currency := t.value(row, "currency")
		cost := func(name string) string { return money(t.value(row, name), currency) }
		number := func(label, name string, kind Kind, detail string) {
			b.number(label, kind, t.value(row, name), currency, detail)
		}
		change, err := b.change(ctx, currency)
		if err != nil {
			return err
		}
		number("Net cost", "net_cost", Money, change)
		number("List cost", "list_cost", Money, "discount "+cost("discount"))
		if !b.Scope.Owned() {
			number("Allocated", "allocated_share", Share, "unallocated "+cost("unallocated_cost"))
		}
		if v := t.value(row, "shared_cost"); !v.Null {
			number("Of it shared", "shared_cost", Money, "split between owners")
		}
		if v := t.value(row, "correction"); !v.Null {
			number("Of it corrections", "correction", Money, "of months closed before")
		}
		number("Requests", "requests", Count, "")
	}
	month, ok := b.period.Month()
	if !ok || month != b.current || b.closed { // what is closed can't become more
		return nil
	}
	f, err := b.ask(ctx, "forecast", "",
		`SELECT currency, sum(forecast) AS forecast, sum(forecast_low) AS forecast_low, sum(forecast_high) AS forecast_high
			FROM forecast_month_end WHERE "scope" = 'all' GROUP BY currency ORDER BY forecast DESC NULLS LAST, currency`)
	if err != nil {
		return err
	}
	// One a currency, the largest first.
	for _, row := range f.Rows {
		detail := ""
		if !row[2].Null {
			detail = "8 of 10 outcomes: " + show(f.Columns[2], row[2], row[0].Text) + " to " +
				show(f.Columns[3], row[3], row[0].Text)
		}
		b.number("Forecast for the month", Money, row[1], row[0], detail)
	}
	return nil
}

// change says how the cost of a month compares with that of the month before, by what both have: of like with like, or
// why not.
func (b *builder) change(ctx context.Context, currency query.Value) (string, error) {
	month, ok := b.period.Month()
	if !ok {
		return "", nil
	}
	// comparable_days has the days that can be compared, as they are whole in both months, each with its side. Corrections
	// are left out: they are of other months.
	like, err := b.ask(ctx, "basis", "", fmt.Sprintf(`
		SELECT (SELECT basis FROM comparison_basis WHERE "month" = DATE '%[1]s') AS basis,
			(SELECT any_value(completeness) FROM completeness(DATE '%[2]s', DATE '%[3]s')) AS completeness`,
		month.First(), b.books.First(month-1), b.books.First(month)))
	if err != nil {
		return "", err
	}
	t, err := b.ask(ctx, "change", "", fmt.Sprintf(`
		SELECT %[3]ssum(net_cost) FILTER (side = 'before') AS net_before, TRY_CAST(sum(net_cost)
			FILTER (side = 'now')::DOUBLE / nullif(sum(net_cost) FILTER (side = 'before'),
			0)::DOUBLE - 1 AS DECIMAL(18,6)) AS change_share
		FROM chargeback_ever JOIN (FROM comparable_days WHERE "month" = DATE '%[1]s') USING (account, book_date)
		WHERE charge_class IS NULL AND currency IS NOT DISTINCT FROM %[2]s GROUP BY ALL`,
		month.First(), literal(currency), byOwner))
	if err != nil {
		return "", err
	}
	basis, change, was := like.value(like.Rows[0], "basis"), query.Value{Null: true}, query.Value{Null: true}
	for _, row := range t.Rows { // one, or none
		change, was = t.value(row, "change_share"), t.value(row, "net_before")
	}
	switch {
	case basis.Null:
		return "not compared with the month before: that has " + like.value(like.Rows[0], "completeness").Text, nil
	case change.Null || float(was) <= 0: // from nothing, or from what was paid back, nothing grows by a share
		return money(was, currency) + " in the month before (" + basis.Text + ")", nil
	}
	return signed(show(Column{Kind: Share}, change, "")) + " on the month before (" + basis.Text + ")", nil
}

func (b *builder) figure(label, value, detail string) {
	b.doc.Figures = append(b.doc.Figures, Figure{Label: label, Value: value, Detail: detail})
}

// number is a figure that is a number; an amount is in the currency.
func (b *builder) number(label string, kind Kind, v, currency query.Value, detail string) {
	f := Figure{Label: label, Value: show(Column{Kind: kind}, v, currency.Text), Detail: detail, Number: v, Kind: kind}
	if kind == Money {
		f.Value, f.Currency = money(v, currency), currency.Text
	}
	b.doc.Figures = append(b.doc.Figures, f)
}

func signed(s string) string {
	if strings.HasPrefix(s, "-") {
		return s
	}
	return "+" + s
}

// literal is a value as SQL has it.
func literal(v query.Value) string {
	if v.Null {
		return "NULL"
	}
	return schemas.SQLString(v.Text)
}

// statement is each cost centre's charges, in detail.
func (b *builder) statement(ctx context.Context) error {
	b.doc.Title = "Chargeback statement"
	if len(b.doc.Scope) > 0 {
		b.doc.Title += ": " + b.owners()
	}
	if err := b.moneyFigures(ctx); err != nil {
		return err
	}
	summary := "SELECT " + byOwner + "cost_center, currency, " + b.measures() + ", " + parts +
		" FROM chargeback_daily GROUP BY ALL"
	if where := b.journalled(); where != "" { // in whole cents as the journal has it, so that the two agree
		// Of the whole file: within a scope the largest remainders would be others, and the cents with them.
		posted := "(SELECT cost_center, currency, sum(posted) AS posted FROM whole_chargeback_journal WHERE entry = " +
			"'debit' AND " + where + " GROUP BY ALL)"
		t, err := b.ask(ctx, "posted", "",
			"SELECT "+byOwner+"currency, sum(posted) AS posted FROM "+posted+
				" GROUP BY ALL ORDER BY posted DESC NULLS LAST, currency")
		if err != nil {
			return err
		}
		for _, row := range t.Rows {
			b.number("Posted", Money, row[1], row[0], "as the journal has it")
		}
		// What is converted is posted in the currency of the books, and a line of it may be of several rows here.
		if b.bookCurrency == "" {
			summary = "SELECT s.*, j.posted FROM (" + summary + ") s LEFT JOIN " + posted +
				" j ON j.cost_center = s.cost_center AND j.currency IS NOT DISTINCT FROM s.currency"
		}
	}
	if _, err := b.add(ctx, AsCharged, "summary", "By cost centre",
		summary+" ORDER BY currency, net_cost DESC NULLS LAST, cost_center"); err != nil {
		return err
	}
	lines, err := b.add(ctx, AsCharged, "lines", "Lines", fmt.Sprintf(`
		SELECT %scost_center, team, project, gl_code, account, model,
		CASE WHEN charge_class IS NOT NULL THEN 'correction of ' || period_of(month_of(book_date))
		WHEN pool IS NOT NULL THEN 'share of ' || pool ELSE 'direct' END AS charge, currency, %s
		FROM chargeback_daily GROUP BY ALL ORDER BY cost_center, currency, net_cost DESC NULLS LAST, team, project, gl_code,
		account, model, charge`, byOwner, b.measures()))
	if err != nil {
		return err
	}
	// A workbook has a sheet for each cost centre, and CSV and Parquet the lines.
	lines.Group = "cost_center"
	b.doc.Data = lines
	if err := b.markup(ctx); err != nil {
		return err
	}
	if err := b.journal(ctx); err != nil {
		return err
	}
	// What a closed month was charged by meter is kept with it; of an open one it is what the usage has.
	ext := "SELECT " + byOwner + `cost_center, pool, model, category, item, unit, currency, charges, quantity, list_cost
		FROM modality_and_tool_spend ORDER BY ALL`
	if b.closed {
		kept := "focus_closed"
		switch {
		case b.Dir != "":
			kept = query.FocusLedger
		case b.Closing: // it isn't kept yet
			kept = "focus_charges"
		}
		ext = "SELECT " + byOwner + `coalesce(cost_center, CASE WHEN pool IS NULL THEN '` + schemas.Unallocated +
			`' END) AS cost_center, pool, model, category, item, unit, currency, sum(requests)::BIGINT AS charges,
			sum(quantity)::DECIMAL(38,12) AS quantity, sum(list_cost)::DECIMAL(38,12) AS list_cost FROM ` + kept +
			` WHERE line = 'ext' AND ` + months(b.period, "billing_month") + " AND " + b.where() +
			` GROUP BY ALL ORDER BY ALL`
	}
	table, err := b.add(ctx, AsCharged, "ext", "Images, audio, tools", ext)
	if err != nil {
		return err
	}
	table.Caption = "Part of the list cost above, before pools are split."
	pools, err := b.add(ctx, AsCharged, "pools", "Shared pools", `
		SELECT `+byOwner+`billing_month AS "month", pool, cost_center, team, currency, sum(list_cost) AS list_cost,
		sum(discount) AS discount, sum(net_cost) AS net_cost`+b.inBooks()+`
		FROM chargeback_daily WHERE pool IS NOT NULL AND charge_class IS NULL GROUP BY ALL ORDER BY ALL`)
	if err != nil {
		return err
	}
	pools.Caption = "Corrections of shares stand with the corrections. What the shares go by: FROM shared_cost_split."
	return nil
}

// owners are those that the document is about.
func (b *builder) owners() string {
	var out []string
	for _, d := range query.ScopeDimensions {
		for _, v := range *b.Scope.Values(d) {
			out = append(out, b.called.label(d, v))
		}
	}
	return strings.Join(out, ", ")
}

// journalled is the condition on the journal's lines that the document is about; "" if it can't be shown. Its cents are
// rounded so that the lines of a whole month sum to it, so it can be shown of months and cost centres, and of nothing
// else.
func (b *builder) journalled() string {
	if !b.period.Billing ||
		len(b.Scope.Accounts)+len(b.Scope.Teams)+len(b.Scope.Projects)+len(b.Scope.Environments)+len(b.Scope.Models) > 0 {
		return ""
	}
	where := months(b.period, `"month"`)
	if len(b.Scope.CostCenters) > 0 { // the credit has none
		where += " AND cost_center IS NOT NULL AND " + b.where()
	}
	return where
}

// journal adds the journal of the months.
func (b *builder) journal(ctx context.Context) error {
	where := b.journalled()
	if where == "" {
		b.note("There is no journal here: it is made of whole months and whole cost centres.")
		return nil
	}
	_, err := b.add(ctx, AsCharged, "journal", "Journal",
		"SELECT "+byOwner+`"month", currency, entry, gl_code, cost_center, amount, posted FROM whole_chargeback_journal
			WHERE `+where+`
			ORDER BY "month", currency, entry DESC, gl_code, cost_center`)
	return err
}

// How a forecast is made, for those who read one.
const forecastNote = "The forecast is what was spent, and for each account the mean of its last 28 whole days times " +
	"the time that isn't there yet: still to come, or not exported. The range holds 8 of 10 outcomes, if days scatter " +
	"as those did."

// budget shows the budgets of the period.
func (b *builder) budget(ctx context.Context) error {
	b.doc.Title = "Budgets"
	t, err := b.add(ctx, AsCharged, "budget", "Budgets",
		fmt.Sprintf(`SELECT budget, "scope", scope_value, period_start, period_end, currency, amount AS budget_amount, spent,
			left_over, used_share, burn_rate, forecast, forecast_low, forecast_high, threshold_reached, status, completeness
		FROM whole_budget_status WHERE period_start < DATE '%s' AND period_end > DATE '%s' AND (budget, "scope",
		scope_value) IN (SELECT (budget, "scope", scope_value) FROM budgets) ORDER BY period_start, used_share DESC, budget`,
			b.period.To, b.period.From))
	if err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		b.warn("no budget is for this: write one below budgets: in the config")
	}
	for _, row := range t.Rows {
		// Only what somebody has to look at is a figure.
		if s := t.value(row, "status").Text; s != "ok" {
			b.doc.Figures = append(b.doc.Figures,
				Figure{Label: t.value(row, "budget").Text, Value: s,
					Detail: money(t.value(row, "spent"), t.value(row, "currency")) + " of " +
						money(t.value(row, "budget_amount"), t.value(row, "currency")), Alarm: s == "over"})
		}
	}
	b.note(forecastNote)
	if b.Pictures {
		return b.budgetPicture(t)
	}
	return nil
}

// reconciliation holds invoices and balances against usage. An invoice belongs to the period if it shares a day with
// it: its end is excluded, as the period's is.
func (b *builder) reconciliation(ctx context.Context) error {
	b.doc.Title = "Reconciliation"
	utcFrom, utcTo := b.period.UTC() // invoices and balances are the Portal's, by UTC days
	t, err := b.add(ctx, AsItIsNow, "invoices", "Invoices against usage",
		fmt.Sprintf(`SELECT kind, invoice, account, period_start, period_end, usage_date, model, currency, invoiced,
			other_invoices, exported, difference, likely_causes, source FROM invoice_reconciliation
		WHERE period_start < DATE '%s' AND period_end > DATE '%s' ORDER BY kind = 'sum' DESC, invoice, account NULLS FIRST,
		usage_date NULLS FIRST, model NULLS FIRST`, utcTo, utcFrom))
	if err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		b.note("There is no invoice for this period: name invoice files below invoices: in the config.")
	}
	for i := range t.Columns { // the lines of an invoice repeat its total: a sum of them all would count twice
		t.Columns[i].Sum = false
	}
	balance, err := b.add(ctx, AsItIsNow, "balance", "Course of the balance",
		fmt.Sprintf(`SELECT account, currency, opened_at, closed_at, opening, top_ups, coupons, used, unexplained,
			unexplained_coupons_beside, closing, checked, note FROM balance_reconciliation
			WHERE closed_at >= TIMESTAMPTZ '%s 00:00:00Z' AND opened_at < TIMESTAMPTZ '%s 00:00:00Z'
			ORDER BY account, currency, closed_at`, utcFrom, utcTo))
	if err != nil {
		return err
	}
	balance.Caption = "opening + top-ups − used + unexplained = closing. Where no file of top-ups is named (topups: in " +
		"the config) they are " +
		"inferred: nothing was checked there. The API doesn't say whether the balance includes coupons, so both readings " +
		"stand here."
	if b.period.To > b.books.First(b.current) { // how long it lasts is about now
		_, err := b.add(ctx, "", "runway", "How long the balance lasts",
			`SELECT account, currency, observed_at, balance, coupon_balance, burn_7_days, burn_28_days, days_left_7,
				days_left_28, days_left_7_coupons_beside, days_left_28_coupons_beside FROM balance_runway ORDER BY ALL`)
		if err != nil {
			return err
		}
	}
	_, err = b.add(ctx, AsCharged, "months", "Months",
		`SELECT "month", currency, status, requests, net_cost, corrections_in, corrections_out, corrected_in, reason,
			completeness FROM period_status_and_corrections WHERE `+months(b.period, `"month"`)+` ORDER BY ALL`)
	return err
}

// anomalies lists what left its history. A day's deviation shows in several scopes: one is the line, the others are
// also.
func (b *builder) anomalies(ctx context.Context) error {
	b.doc.Title = "Anomalies"
	t, err := b.add(ctx, AsItIsNow, "anomalies", "What left its history",
		`SELECT usage_date, kind, "scope", scope_value, currency, observed, expected, deviation, score, requests, detail,
			array_to_string(list_transform(also, lambda x: x."scope" || ' ' ||
			coalesce(x.scope_name || ' (' || x.scope_value || ')', x.scope_value, '')), ', ') AS also FROM anomaly_events
			WHERE `+withinUTC(b.period, "usage_date")+
			` ORDER BY usage_date DESC, abs(deviation) DESC NULLS LAST, "scope", scope_value, currency, kind, detail`)
	if err != nil {
		return err
	}
	for i := range t.Columns {
		t.Columns[i].Sum = false
	}
	b.figure("Findings", words.Grouped(fmt.Sprint(len(t.Rows))), "")
	b.note("A day is held against the median of up to 20 days of its kind (working day or weekend) before it, of those "+
		"that were fetched whole. It is listed from 4 times their spread on (1.4826 × the median absolute deviation, at "+
		"least 5 %% of the median), and from 1 currency unit on. The rows behind it: %s", b.Voice.or(
		"usagelake query \"FROM usage WHERE usage_date = '…' AND token_id = '…'\".", "the records of its day and token."))
	return nil
}

func (b *builder) forecast(ctx context.Context) error {
	b.doc.Title = "Forecast"
	if _, err := b.add(ctx, AsCharged, "forecast", "What the running month will come to",
		`SELECT "scope", scope_value, "month", currency, spent, days_left, recent_rate, forecast, forecast_low, forecast_high,
			history_days, completeness FROM forecast_month_end ORDER BY CASE "scope" WHEN 'all' THEN 0 WHEN 'account' THEN 1
			ELSE 2 END, forecast DESC NULLS LAST, scope_value, currency`); err != nil {
		return err
	}
	// price_effect, since price is a price: names describes columns by what they are called.
	drivers, err := b.add(ctx, AsItIsNow, "drivers", "Why cost differs from the month before",
		`SELECT "month", model, currency, net_before, net_now, change, volume, mix, cache, price AS price_effect, compared
			FROM month_over_month_drivers WHERE `+months(b.period, `"month"`)+`
			ORDER BY abs(change) DESC, model, currency, "month"`)
	if err != nil {
		return err
	}
	if len(drivers.Rows) == 0 {
		before, err := b.ask(ctx, "before", "",
			fmt.Sprintf(`SELECT completeness FROM completeness(DATE '%s', DATE '%s')`,
				b.books.First(b.current-1), b.books.First(b.current)))
		if err != nil {
			return err
		}
		b.note("The month isn't compared with the one before: no day of the same number is there whole in both. The month "+
			"before has %s.", before.Rows[0][0].Text)
	} else {
		drivers.Caption = "Of like with like: " + drivers.value(drivers.Rows[0], "compared").Text + "."
	}
	b.note(forecastNote)
	b.note("Volume: as if all models had grown alike. Mix: the model's own growth beyond that. Cache: the share of " +
		"cached tokens. Price: the rest. They sum to the change.")
	if b.Pictures {
		return b.outlookPicture(ctx)
	}
	return nil
}

// top lists who spends most, by month and currency: places of different months aren't compared.
func (b *builder) top(ctx context.Context) error {
	b.doc.Title = "Top spenders"
	n := b.Top
	if n == 0 {
		n = 20
	}
	for _, s := range []string{"user", "token", "model"} {
		t, err := b.add(ctx, AsItIsNow, s, "By "+s,
			fmt.Sprintf(`SELECT place, scope_value AS "%s", "month", currency, requests, total_tokens, net_cost, "share"
				FROM top_spenders WHERE "scope" = '%s' AND place <= %d ORDER BY "month", currency, place, scope_value`, s, s, n))
		if err != nil {
			return err
		}
		for i := range t.Columns { // a sum of the first few would be taken for the total
			t.Columns[i].Sum = false
		}
	}
	return b.asNow(ctx)
}

func (b *builder) prices(ctx context.Context) error {
	b.doc.Title = "Prices and discounts"
	t, err := b.add(ctx, AsItIsNow, "price_changes", "Prices that changed",
		`SELECT usage_date, account, model, line, category, item, unit, currency, day_before,
			array_to_string(list_transform(prices_before, lambda p: rtrim(rtrim(p::VARCHAR, '0'), '.')), ', ') AS price_before,
			array_to_string(list_transform(prices, lambda p: rtrim(rtrim(p::VARCHAR, '0'), '.')), ', ') AS price_now,
			change AS change_share, requests FROM price_changes WHERE `+withinUTC(b.period, "usage_date")+` ORDER BY ALL`)
	if err != nil {
		return err
	}
	for i := range t.Columns { // the same requests may stand in several lines
		t.Columns[i].Sum = false
	}
	t.Caption = "A day's prices against those of the last day before on which the same was charged; tokens by the million."
	if _, err = b.add(ctx, AsItIsNow, "discounts", "List against net",
		`SELECT "month", model, currency, list_cost, discount, net_cost, discount_rate FROM discount_realised
			ORDER BY "month", currency, list_cost DESC NULLS LAST, model`); err != nil {
		return err
	}
	return b.asNow(ctx)
}

func (b *builder) unitCost(ctx context.Context) error {
	b.doc.Title = "Unit cost"
	t, err := b.add(ctx, AsItIsNow, "unit_cost", "Unit cost",
		`SELECT "month", "scope", scope_value, currency, requests, total_tokens, active_users, net_cost, per_request,
			per_million_tokens, per_active_user FROM unit_cost ORDER BY "month", currency,
			CASE "scope" WHEN 'all' THEN 0 WHEN 'model' THEN 2 ELSE 1 END, net_cost DESC NULLS LAST, "scope", scope_value`)
	if err != nil {
		return err
	}
	for i := range t.Columns { // each scope sums to the whole by itself
		t.Columns[i].Sum = false
	}
	return b.asNow(ctx)
}

func (b *builder) cacheSavings(ctx context.Context) error {
	b.doc.Title = "Cache savings"
	if _, err := b.add(ctx, AsItIsNow, "cache_savings", "By model",
		`SELECT "month", model, currency, input_tokens, cached_tokens, cached_share, cached_cost, saved FROM cache_savings
			ORDER BY "month", currency, saved DESC NULLS LAST, model`); err != nil {
		return err
	}
	b.note("Saved is what the cached tokens would have cost more at the input price of the same record, before discounts.")
	return b.asNow(ctx)
}

// quality tells what there is and what lacks. It has no amounts, and so no basis.
func (b *builder) quality(ctx context.Context) error {
	b.doc.Title = "Data quality"
	// Each joined table is summed up by account first, so that an account has one row: gaps and findings of several days
	// would multiply each other.
	if _, err := b.add(ctx, "", "accounts", "Accounts", fmt.Sprintf(`
		SELECT f.account, covered_from, covered_to, gaps, (coalesce(c.missing, 0) / 3600)::DECIMAL(18,4) AS missing_hours,
		records, quarantined, duplicates, windows, miscounted,
			coalesce(i.errors, 0) AS quality_errors, coalesce(i.warnings, 0) AS quality_warnings, failed_windows, run_status,
			run_started_at
		FROM data_freshness_and_gaps f
		LEFT JOIN (SELECT account, sum(missing_seconds) AS missing FROM completeness_by_account(DATE '%s', DATE '%s')
		GROUP BY account) c USING (account)
		LEFT JOIN (SELECT account, sum(records) FILTER (severity = 'error')::BIGINT AS errors,
		sum(records) FILTER (severity = 'warning')::BIGINT AS warnings FROM quality_issues WHERE %s
		GROUP BY account) i USING (account)
		ORDER BY f.account`, b.period.From, b.period.To, withinUTC(b.period, "usage_date"))); err != nil {
		return err
	}
	if _, err := b.add(ctx, "", "issues", "Findings",
		`SELECT usage_date, account, check_name, severity, field, model, records, sample_id, detail FROM quality_issues
			WHERE `+withinUTC(b.period,
			"usage_date")+` ORDER BY CASE severity WHEN 'error' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, usage_date DESC,
					account, check_name, model, field, detail, sample_id`); err != nil {
		return err
	}
	_, err := b.add(ctx, "", "quarantine", "Quarantine",
		`SELECT account, make_timestamp(epoch_us(window_start))::DATE AS usage_date, reason, field, count(*) AS records,
			min(raw) AS sample FROM quarantine GROUP BY ALL ORDER BY ALL`)
	return err
}
