package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// Options say what a report is about.
type Options struct {
	Name string // one of Names
	// Month is the billing month; nil with From and To: usage of those UTC days, To excluded. Without either it is the
	// last month that has any charge.
	Month    *schemas.Date
	From, To *schemas.Date
	By       []string // dimensions, of Dimensions; nil is the report's own
	// CostCenter is the one that a statement is for; nil is all.
	CostCenter *string
	Closing    bool   // the month is being closed: the document says so
	Edition    int    // of Closing: the version of the statement; above 1 the month was closed before
	Top        int    // of report top: how many; 0 is 20
	Pictures   bool   // whether they will be shown
	Version    string // of the program
	Now        time.Time
}

// ErrNothing says that there is nothing to report on.
var ErrNothing = errors.New("nothing to report on")

// OptionsError is a mistake in Options.
type OptionsError struct{ Message string }

func (e *OptionsError) Error() string { return e.Message }

// report is a named report.
type report struct {
	name  string
	about string
	by    []string // what it is by, if nothing is said; nil: it can't be said
	build func(*builder, context.Context) error
}

var reports = []report{
	{"chargeback", "what each owner is charged, with pictures", []string{"cost_center"}, (*builder).chargeback},
	{"statement", "each cost centre's charges in detail, a sheet for each", nil, (*builder).statement},
	{"budget", "budgets: spent, left, forecast, status", nil, (*builder).budget},
	{"reconciliation", "invoices against usage, the balance's course, the months' status", nil, (*builder).reconciliation},
	{"anomalies", "days that leave their history, new tokens, price changes", nil, (*builder).anomalies},
	{"forecast", "what the current month will come to, and why it differs from the last", nil, (*builder).forecast},
	{"top", "the users, tokens and models that cost most", nil, (*builder).top},
	{"prices", "unit prices that changed, discounts", nil, (*builder).prices},
	{"unit-cost", "cost of a request, a million tokens, a user", nil, (*builder).unitCost},
	{"cache-savings", "what the cache saves", nil, (*builder).cacheSavings},
	{"quality", "freshness, gaps, quarantine, findings", nil, (*builder).quality},
}

// Names are the reports, and what each is about.
func Names() [][2]string {
	out := make([][2]string, len(reports))
	for i, r := range reports {
		out[i] = [2]string{r.name, r.about}
	}
	return out
}

// dimensions are what a chargeback can be by, as columns of chargeback_daily and of lines.
var dimensions = []struct{ name, sql string }{
	{"account", "account"}, {"cost_center", "cost_center"},
	{"team", "coalesce(team, '" + schemas.Unallocated + "') AS team"}, {"project", "coalesce(project, '" + schemas.Unallocated + "') AS project"},
	{"environment", "coalesce(environment, '" + schemas.Unallocated + "') AS environment"}, {"gl_code", "gl_code"},
	{"token", "token_id AS token"}, {"user", `user_id AS "user"`}, {"custom_user", "custom_user_id AS custom_user"},
	{"model", "model"}, {"model_type", "model_type"}, {"day", `usage_date AS "day"`}, {"month", `billing_month AS "month"`},
}

// Dimensions are what a chargeback can be by.
func Dimensions() []string {
	out := make([]string, len(dimensions))
	for i, d := range dimensions {
		out[i] = d.name
	}
	return out
}

// builder builds one document.
type builder struct {
	*load.Snapshot
	Options
	doc      *Document
	asOf     time.Time
	complete schemas.Date // UTC day before which all days are over
	current  schemas.Date // the month that is running
	closed   bool         // the period is a month that is closed: there is nothing to expect of it
}

// Build answers a named report from the published file. Errors in opts are an OptionsError; ErrNothing says that the
// period has no charges.
func Build(ctx context.Context, lake *load.Lake, opts Options) (*Document, error) {
	i := slices.IndexFunc(reports, func(r report) bool { return r.name == opts.Name })
	if i < 0 {
		var known []string
		for _, r := range reports {
			known = append(known, r.name)
		}
		return nil, &OptionsError{fmt.Sprintf("no report %q: there are %s", opts.Name, strings.Join(known, ", "))}
	}
	r := reports[i]
	switch {
	case opts.Month != nil && (opts.From != nil || opts.To != nil):
		return nil, &OptionsError{"give a month, or from and to, not both"}
	case (opts.From == nil) != (opts.To == nil):
		return nil, &OptionsError{"give both from and to"}
	case opts.From != nil && *opts.From >= *opts.To:
		return nil, &OptionsError{fmt.Sprintf("from %s is not before to %s, which is excluded", opts.From, opts.To)}
	case opts.By != nil && r.by == nil:
		return nil, &OptionsError{fmt.Sprintf("the report %s has its own order: --by is for chargeback", r.name)}
	}
	if opts.By == nil {
		opts.By = r.by
	}
	for i, by := range opts.By {
		if !slices.Contains(Dimensions(), by) {
			return nil, &OptionsError{fmt.Sprintf("no dimension %q: there are %s", by, strings.Join(Dimensions(), ", "))}
		}
		if slices.Contains(opts.By[:i], by) {
			return nil, &OptionsError{fmt.Sprintf("the dimension %s stands twice", by)}
		}
	}
	s, err := lake.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	b := &builder{Snapshot: s, Options: opts, doc: &Document{Name: r.name, Generated: opts.Now, Version: opts.Version}}
	if err := b.clock(ctx); err != nil {
		return nil, err
	}
	if err := b.freshness(ctx); err != nil {
		return nil, err
	}
	if err := r.build(b, ctx); err != nil {
		return nil, err
	}
	return b.doc, nil
}

// clock reads how far the data goes, and finds the period.
func (b *builder) clock(ctx context.Context) error {
	t, err := ask(ctx, b.Snapshot, "clock", "", `SELECT as_of, complete_before, current_month, (SELECT max(billing_month) FROM chargeback_daily) AS last_month FROM data_as_of`)
	if err != nil {
		return err
	}
	row := t.Rows[0]
	if row[0].Null || row[3].Null {
		return fmt.Errorf("%w: the published file has no usage yet\nhint: usagelake export", ErrNothing)
	}
	var errs []error
	b.asOf, err = time.Parse(time.RFC3339, row[0].Text)
	errs = append(errs, err)
	for i, d := range []*schemas.Date{&b.complete, &b.current} {
		*d, err = schemas.ParseDate(row[i+1].Text)
		errs = append(errs, err)
	}
	last, err := schemas.ParseDate(row[3].Text)
	errs = append(errs, err)
	if b.Month == nil && b.From == nil {
		b.Month = &last
	}
	if b.Month == nil {
		b.doc.Period = b.From.String() + "-to-" + b.To.String()
		b.doc.Subtitle = fmt.Sprintf("Usage from %s to %s (excluded), UTC", b.From, b.To)
		return errors.Join(errs...)
	}
	b.doc.Period = b.Month.Month()
	b.doc.Subtitle = b.Month.Start().Format("January 2006")
	closed, err := ask(ctx, b.Snapshot, "closed", "", fmt.Sprintf(`SELECT closed_at, corrected FROM closed_months WHERE "month" = DATE '%s'`, b.Month))
	if err != nil {
		return err
	}
	b.closed = b.Closing || len(closed.Rows) > 0
	switch {
	case b.Closing:
		b.doc.Subtitle += ", closed on " + b.Now.UTC().Format(time.DateOnly)
		if b.Edition > 1 {
			b.doc.Subtitle += fmt.Sprintf(", version %d", b.Edition)
			b.doc.Notes = append(b.doc.Notes, fmt.Sprintf("This is version %d of the statement. It replaces version %d, which the month was closed with before it was opened again.", b.Edition, b.Edition-1))
		}
	case len(closed.Rows) > 0:
		b.doc.Subtitle += ", closed on " + closed.Rows[0][0].Text[:10]
		if closed.Rows[0][1].Text == "true" {
			b.doc.Notes = append(b.doc.Notes, "Usage of this month has changed since it was closed. The difference is charged as a correction in the next open month.")
		}
	case *b.Month >= b.current:
		b.doc.Subtitle += ", running"
	default:
		b.doc.Subtitle += ", open"
	}
	return errors.Join(errs...)
}

// freshness tells how far the data goes and what is missing.
func (b *builder) freshness(ctx context.Context) error {
	t, err := ask(ctx, b.Snapshot, "freshness", "", `SELECT count(*) AS accounts, min(covered_to) AS oldest, max(covered_to) AS newest, sum(gaps)::BIGINT AS gaps, sum(missing_hours) AS missing_hours, sum(quarantined)::BIGINT AS quarantined,
		sum(quality_errors)::BIGINT AS quality_errors, sum(failed_windows)::BIGINT AS failed_windows, (SELECT count(*) FROM usage_daily WHERE currency IS NULL AND amount IS NOT NULL) AS no_currency,
		(SELECT sum(without_amount)::BIGINT FROM usage_daily WHERE record_kind = 'request') AS without_amount FROM data_freshness_and_gaps`)
	if err != nil {
		return err
	}
	row := t.Rows[0]
	cell := func(name string) string { return show(t.Columns[t.column(name)], t.value(row, name)) }
	positive := func(name string) bool { return float(t.value(row, name)) > 0 }
	accounts := "1 account"
	if cell("accounts") != "1" {
		accounts = cell("accounts") + " accounts"
	}
	upTo := strings.Replace(t.value(row, "newest").Text, "T", " ", 1)
	if len(upTo) > 16 {
		upTo = upTo[:16]
	}
	complete := "no gaps"
	if positive("gaps") {
		complete = fmt.Sprintf("%s gaps of %s hours in all", cell("gaps"), cell("missing_hours"))
		b.warn("%s: what was used then is not in these figures. usagelake export fetches it.", complete)
	}
	b.doc.Freshness = fmt.Sprintf("Usage of %s up to %s UTC; %s; %s records in quarantine.", accounts, upTo, complete, cell("quarantined"))
	if positive("quarantined") {
		b.warn("%s records could not be read and count in no figure: usagelake query \"FROM quarantine\"", cell("quarantined"))
	}
	if positive("failed_windows") {
		b.warn("%s windows of the last export failed: usagelake export tries them again", cell("failed_windows"))
	}
	if positive("no_currency") {
		b.warn("some usage has no currency: set accounts[].currency in the config")
	}
	if positive("without_amount") {
		b.warn("%s records have no amount: they count in requests and tokens, not in costs", cell("without_amount"))
	}
	if o := t.value(row, "oldest"); o.Text != t.value(row, "newest").Text && len(o.Text) > 16 {
		b.doc.Notes = append(b.doc.Notes, "The account that is furthest behind ends at "+strings.Replace(o.Text[:16], "T", " ", 1)+" UTC.")
	}
	return nil
}

func (b *builder) warn(format string, args ...any) {
	b.doc.Warnings = append(b.doc.Warnings, fmt.Sprintf(format, args...))
}

// period is the condition on billing months, or on days, that the report is about.
func (b *builder) period(month, day string) string {
	if b.Month != nil {
		return fmt.Sprintf("%s = DATE '%s'", month, b.Month)
	}
	return fmt.Sprintf("%[1]s >= DATE '%[2]s' AND %[1]s < DATE '%[3]s'", day, b.From, b.To)
}

// charged is the condition on chargeback_daily.
func (b *builder) charged() string {
	where := b.period("billing_month", "usage_date")
	if b.CostCenter != nil {
		where += " AND cost_center = " + schemas.SQLString(*b.CostCenter)
	}
	return where
}

// ofOwner narrows a condition on a view with a column cost_center.
func (b *builder) ofOwner(where string) string {
	if b.CostCenter != nil {
		where += " AND cost_center = " + schemas.SQLString(*b.CostCenter)
	}
	return where
}

// months is the condition for views that know months alone.
func (b *builder) months() string {
	if b.Month != nil {
		return fmt.Sprintf(`"month" = DATE '%s'`, b.Month)
	}
	return fmt.Sprintf(`"month" >= DATE '%s' AND "month" < DATE '%s'`, schemas.MonthOf(*b.From), b.To)
}

// days is the condition for views by day.
func (b *builder) days() string {
	if b.Month != nil {
		return fmt.Sprintf("usage_date >= DATE '%s' AND usage_date < DATE '%s'", b.Month, schemas.NextMonth(*b.Month))
	}
	return b.period("", "usage_date")
}

// add asks a query and adds its answer as a table.
func (b *builder) add(ctx context.Context, name, title, query string) (*Table, error) {
	t, err := ask(ctx, b.Snapshot, name, title, query)
	if err != nil {
		return nil, err
	}
	b.doc.Tables = append(b.doc.Tables, t)
	return t, nil
}

const measures = `sum(requests)::BIGINT AS requests, TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
	sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost`

// chargeback is what each owner is charged.
func (b *builder) chargeback(ctx context.Context) error {
	b.doc.Title = "Chargeback"
	source := "chargeback_daily"
	users := slices.ContainsFunc(b.By, func(d string) bool { return d == "token" || d == "user" || d == "custom_user" })
	owners := slices.ContainsFunc(b.By, func(d string) bool {
		return slices.Contains([]string{"cost_center", "team", "project", "environment", "gl_code"}, d)
	})
	switch {
	case users && owners:
		source = `(SELECT date_trunc('month', usage_date)::DATE AS billing_month, u.*, coalesce(a.cost_center, '` + schemas.Unallocated + `') AS cost_center, a.team, a.project, a.environment, a.gl_code
			FROM allocated_daily u JOIN allocations a USING (allocation_id) WHERE a.pool IS NULL
			UNION ALL BY NAME
			SELECT date_trunc('month', usage_date)::DATE AS billing_month, * REPLACE (coalesce(cost_center, '` + schemas.Unallocated + `') AS cost_center), '(shared)' AS token_id, '(shared)' AS user_id, '(shared)' AS custom_user_id FROM shared_cost_shares)`
		b.doc.Notes = append(b.doc.Notes, "What comes from a shared pool has no user or token of its own here, and stands as (shared).")
	case users:
		source = "(SELECT date_trunc('month', usage_date)::DATE AS billing_month, * FROM allocated_daily)"
	}
	if users {
		b.doc.Notes = append(b.doc.Notes, "By token or user, usage counts in its own month: corrections of closed months are not set apart.")
	}
	columns, plain := make([]string, len(b.By)), make([]string, len(b.By))
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
	t, err := b.add(ctx, "chargeback", "By "+strings.NewReplacer("cost_center", "cost centre", "_", " ").Replace(strings.Join(b.By, ", ")), fmt.Sprintf(`
		SELECT *, TRY_CAST(net_cost::DOUBLE / nullif(sum(net_cost) OVER (PARTITION BY currency), 0)::DOUBLE AS DECIMAL(18,6)) AS "share"
		FROM (SELECT %s, currency, %s FROM %s WHERE %s GROUP BY ALL) ORDER BY %s`,
		strings.Join(columns, ", "), measures, source, b.period("billing_month", "usage_date"), order))
	if err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		b.warn("no usage and no charge in this period")
	}
	if err := b.moneyFigures(ctx); err != nil {
		return err
	}
	if b.Pictures {
		return b.pictures(ctx)
	}
	return nil
}

// moneyFigures are the figures of a chargeback: net cost, what it was before, how much is allocated.
func (b *builder) moneyFigures(ctx context.Context) error {
	t, err := ask(ctx, b.Snapshot, "figures", "", fmt.Sprintf(`
		SELECT currency, sum(net_cost) AS net_cost, sum(list_cost) AS list_cost, sum(discount) AS discount, sum(requests)::BIGINT AS requests,
			sum(net_cost) FILTER (cost_center = '%s') AS unallocated_cost, sum(net_cost) FILTER (pool IS NOT NULL) AS shared_cost, sum(net_cost) FILTER (charge_class IS NOT NULL) AS correction,
			TRY_CAST(1 - coalesce(sum(net_cost) FILTER (cost_center = '%s'), 0)::DOUBLE / nullif(sum(net_cost), 0)::DOUBLE AS DECIMAL(18,6)) AS allocated_share
		FROM chargeback_daily WHERE %s GROUP BY ALL ORDER BY net_cost DESC NULLS LAST`, schemas.Unallocated, schemas.Unallocated, b.charged()))
	if err != nil {
		return err
	}
	if len(t.Rows) > 1 {
		b.warn("there are amounts in %d currencies: nothing is summed across them", len(t.Rows))
	}
	for _, row := range t.Rows {
		currency := t.value(row, "currency")
		cost := func(name string) string { return money(t.value(row, name), currency) }
		detail := ""
		if b.Month != nil {
			before, err := ask(ctx, b.Snapshot, "before", "", fmt.Sprintf(`SELECT sum(net_cost) AS net_cost,
				TRY_CAST((SELECT sum(net_cost) FROM chargeback_daily WHERE billing_month = DATE '%[1]s' AND currency IS NOT DISTINCT FROM %[3]s%[4]s)::DOUBLE / nullif(sum(net_cost), 0)::DOUBLE - 1 AS DECIMAL(18,6)) AS change_share
				FROM chargeback_daily WHERE billing_month = DATE '%[2]s' AND currency IS NOT DISTINCT FROM %[3]s%[4]s`, b.Month, schemas.MonthOf(*b.Month-1), literal(currency), b.ofOwner("")))
			if err != nil {
				return err
			}
			if change := before.value(before.Rows[0], "change_share"); !change.Null {
				detail = signed(show(Column{Kind: Share}, change)) + " on the month before"
				if *b.Month >= b.current {
					detail = money(before.value(before.Rows[0], "net_cost"), currency) + " in the month before"
				}
			}
		}
		b.figure("Net cost", cost("net_cost"), detail)
		b.figure("List cost", cost("list_cost"), "discount "+cost("discount"))
		if b.CostCenter == nil {
			b.figure("Allocated", show(Column{Kind: Share}, t.value(row, "allocated_share")), "unallocated "+cost("unallocated_cost"))
		}
		if v := t.value(row, "shared_cost"); !v.Null {
			b.figure("Of it shared", cost("shared_cost"), "split between owners")
		}
		if v := t.value(row, "correction"); !v.Null {
			b.figure("Of it corrections", cost("correction"), "of months closed before")
		}
		b.figure("Requests", show(Column{Kind: Count}, t.value(row, "requests")), "")
	}
	if b.Month == nil || *b.Month != b.current || b.CostCenter != nil || b.closed {
		return nil
	}
	f, err := ask(ctx, b.Snapshot, "forecast", "", `SELECT currency, forecast, forecast_low, forecast_high FROM forecast_month_end WHERE "scope" = 'all' ORDER BY forecast DESC`)
	if err != nil {
		return err
	}
	for _, row := range f.Rows {
		detail := ""
		if !row[2].Null {
			detail = "8 of 10 outcomes: " + money(row[2], load.Value{Null: true}) + " to " + money(row[3], load.Value{Null: true})
		}
		b.figure("Forecast for the month", money(row[1], row[0]), detail)
	}
	return nil
}

func (b *builder) figure(label, value, detail string) {
	b.doc.Figures = append(b.doc.Figures, Figure{Label: label, Value: value, Detail: detail})
}

func signed(s string) string {
	if strings.HasPrefix(s, "-") {
		return s
	}
	return "+" + s
}

// literal is a value as SQL has it.
func literal(v load.Value) string {
	if v.Null {
		return "NULL"
	}
	return schemas.SQLString(v.Text)
}

// statement is each cost centre's charges, in detail.
func (b *builder) statement(ctx context.Context) error {
	b.doc.Title = "Chargeback statement"
	if b.CostCenter != nil {
		b.doc.Title += ": " + *b.CostCenter
	}
	if err := b.moneyFigures(ctx); err != nil {
		return err
	}
	if b.Month != nil {
		t, err := ask(ctx, b.Snapshot, "posted", "", `SELECT currency, sum(posted) AS posted FROM chargeback_journal WHERE entry = 'debit' AND `+b.ofOwner(b.months())+` GROUP BY ALL ORDER BY posted DESC NULLS LAST`)
		if err != nil {
			return err
		}
		for _, row := range t.Rows {
			b.figure("Posted", money(row[1], row[0]), "as the journal has it")
		}
	}
	summary := fmt.Sprintf(`SELECT cost_center, currency, %s, sum(net_cost) FILTER (pool IS NULL AND charge_class IS NULL) AS direct_cost, sum(net_cost) FILTER (pool IS NOT NULL AND charge_class IS NULL) AS shared_cost, sum(net_cost) FILTER (charge_class IS NOT NULL) AS correction
		FROM chargeback_daily WHERE %s GROUP BY ALL`, measures, b.charged())
	if b.Month != nil { // in whole cents as the journal has it, so that the two agree; a journal is of a month
		summary = fmt.Sprintf(`SELECT s.*, j.posted FROM (%s) s
			LEFT JOIN (SELECT cost_center, currency, sum(posted) AS posted FROM chargeback_journal WHERE "month" = DATE '%s' AND entry = 'debit' GROUP BY ALL) j
			ON j.cost_center = s.cost_center AND j.currency IS NOT DISTINCT FROM s.currency`, summary, b.Month)
	}
	if _, err := b.add(ctx, "summary", "By cost centre", summary+" ORDER BY currency, net_cost DESC NULLS LAST, cost_center"); err != nil {
		return err
	}
	lines, err := b.add(ctx, "lines", "Lines", fmt.Sprintf(`
		SELECT cost_center, team, project, gl_code, account, model, CASE WHEN charge_class IS NOT NULL THEN 'correction of ' || strftime(usage_date, '%%Y-%%m') WHEN pool IS NOT NULL THEN 'share of ' || pool ELSE 'direct' END AS charge, currency, %s
		FROM chargeback_daily WHERE %s GROUP BY ALL ORDER BY cost_center, currency, net_cost DESC NULLS LAST, team, project, gl_code, account, model, charge`, measures, b.charged()))
	if err != nil {
		return err
	}
	lines.Group = "cost_center"
	b.doc.Data = lines
	if _, err := b.add(ctx, "journal", "Journal", `SELECT "month", currency, entry, gl_code, cost_center, amount, posted FROM chargeback_journal WHERE `+b.ofOwner(b.months())+` ORDER BY "month", currency, entry DESC, gl_code, cost_center`); err != nil {
		return err
	}
	ext, err := b.add(ctx, "ext", "Images, audio, tools", `SELECT coalesce(cost_center, 'pool ' || pool) AS cost_center, model, category, item, unit, currency, charges, quantity, list_cost FROM modality_and_tool_spend WHERE `+b.ofOwner(b.months())+` ORDER BY ALL`)
	if err != nil {
		return err
	}
	ext.Caption = "Part of the list cost above; usage of the month as it is now, before pools are split."
	if _, err := b.add(ctx, "pools", "Shared pools", `SELECT "month", pool, method, basis, ratio, cost_center, team, currency, list_cost, discount, net_cost FROM shared_cost_split WHERE `+b.ofOwner(b.months())+` ORDER BY ALL`); err != nil {
		return err
	}
	return nil
}

// budget shows the budgets of the period.
func (b *builder) budget(ctx context.Context) error {
	b.doc.Title = "Budgets"
	where := fmt.Sprintf("period_start <= DATE '%[1]s' AND period_end > DATE '%[1]s'", b.monthOrFrom())
	if b.From != nil {
		where = fmt.Sprintf("period_start < DATE '%s' AND period_end > DATE '%s'", b.To, b.From)
	}
	t, err := b.add(ctx, "budget", "Budgets", `SELECT budget, "scope", scope_value, period_start, period_end, currency, amount AS budget_amount, spent, left_over, used_share, burn_rate, forecast, forecast_low, forecast_high, threshold_reached, status FROM budget_status WHERE `+where+` ORDER BY period_start, used_share DESC, budget`)
	if err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		b.warn("no budgets for this period: write them below budgets: in the config")
	}
	for _, row := range t.Rows {
		if s := t.value(row, "status").Text; s != "ok" {
			b.doc.Figures = append(b.doc.Figures, Figure{Label: t.value(row, "budget").Text, Value: s, Detail: money(t.value(row, "spent"), t.value(row, "currency")) + " of " + money(t.value(row, "budget_amount"), t.value(row, "currency")), Alarm: s == "over"})
		}
	}
	b.doc.Notes = append(b.doc.Notes, "The forecast is what was spent plus the days left times the mean of the last 28 complete days. The range holds 8 of 10 outcomes, if days scatter as those did.")
	if b.Pictures {
		return b.budgetPicture(t)
	}
	return nil
}

func (b *builder) monthOrFrom() schemas.Date {
	if b.Month != nil {
		return *b.Month
	}
	return *b.From
}

func (b *builder) reconciliation(ctx context.Context) error {
	b.doc.Title = "Reconciliation"
	period := fmt.Sprintf("period_start < DATE '%s' AND period_end > DATE '%s'", b.end(), b.monthOrFrom())
	t, err := b.add(ctx, "invoices", "Invoices against usage", `SELECT kind, invoice, account, period_start, period_end, usage_date, model, currency, invoiced, other_invoices, exported, difference, likely_causes, source FROM invoice_reconciliation WHERE `+period+` ORDER BY kind = 'sum' DESC, invoice, account NULLS FIRST, usage_date NULLS FIRST, model NULLS FIRST`)
	if err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		b.doc.Notes = append(b.doc.Notes, "There is no invoice for this period: name invoice files below invoices: in the config.")
	}
	for i := range t.Columns { // the lines of an invoice repeat its total: a sum of them all would count twice
		t.Columns[i].Sum = false
	}
	balance, err := b.add(ctx, "balance", "Course of the balance", fmt.Sprintf(`SELECT account, currency, opened_at, closed_at, opening, top_ups, coupons, used, unexplained, unexplained_coupons_beside, closing, checked, note FROM balance_reconciliation WHERE closed_at >= TIMESTAMPTZ '%s 00:00:00Z' AND opened_at < TIMESTAMPTZ '%s 00:00:00Z' ORDER BY account, currency, closed_at`, b.monthOrFrom(), b.end()))
	if err != nil {
		return err
	}
	balance.Caption = "opening + top-ups − used + unexplained = closing. Where no file of top-ups is named (topups: in the config) they are " +
		"inferred: nothing was checked there. The API doesn't say whether the balance includes coupons, so both readings stand here."
	if _, err := b.add(ctx, "runway", "How long the balance lasts", `SELECT account, currency, observed_at, balance, coupon_balance, burn_7_days, burn_28_days, days_left_7, days_left_28, days_left_7_coupons_beside, days_left_28_coupons_beside FROM balance_runway ORDER BY ALL`); err != nil {
		return err
	}
	_, err = b.add(ctx, "months", "Months", `SELECT "month", currency, status, requests, net_cost, corrections_in, corrections_out, corrected_in, reason FROM period_status_and_corrections ORDER BY ALL`)
	return err
}

// end is the day before which the period ends.
func (b *builder) end() schemas.Date {
	if b.Month != nil {
		return schemas.NextMonth(*b.Month)
	}
	return *b.To
}

func (b *builder) anomalies(ctx context.Context) error {
	b.doc.Title = "Anomalies"
	t, err := b.add(ctx, "anomalies", "What left its history", `SELECT usage_date, kind, "scope", scope_value, currency, observed, expected, deviation, score, requests, detail, array_to_string(list_transform(also, lambda x: x."scope" || ' ' || coalesce(x.scope_value, '')), ', ') AS also FROM anomaly_events WHERE `+b.days()+` ORDER BY usage_date DESC, abs(deviation) DESC NULLS LAST, "scope", scope_value`)
	if err != nil {
		return err
	}
	for i := range t.Columns {
		t.Columns[i].Sum = false
	}
	b.figure("Findings", group(fmt.Sprint(len(t.Rows))), "")
	b.doc.Notes = append(b.doc.Notes, "A day is held against the median of up to 20 days of its kind (working day or weekend) before it. It is listed from 4 times their spread on (1.4826 × the median absolute deviation, at least 5 % of the median), and from 1 currency unit on. The rows behind it: usagelake query \"FROM usage WHERE usage_date = '…' AND token_id = '…'\".")
	return nil
}

func (b *builder) forecast(ctx context.Context) error {
	b.doc.Title = "Forecast"
	if _, err := b.add(ctx, "forecast", "What the running month will come to", `SELECT "scope", scope_value, "month", currency, spent, days_left, recent_rate, forecast, forecast_low, forecast_high, history_days FROM forecast_month_end ORDER BY CASE "scope" WHEN 'all' THEN 0 WHEN 'account' THEN 1 ELSE 2 END, forecast DESC, scope_value`); err != nil {
		return err
	}
	_, err := b.add(ctx, "drivers", "Why cost differs from the month before", `SELECT "month", model, currency, net_before, net_now, change, volume, mix, cache, price AS price_effect FROM month_over_month_drivers WHERE `+b.months()+` ORDER BY abs(change) DESC, model`)
	if err != nil {
		return err
	}
	b.doc.Period = b.current.Month()
	b.doc.Subtitle = b.current.Start().Format("January 2006")
	b.doc.Notes = append(b.doc.Notes, "The forecast is what was spent plus the days left times the mean of the last 28 complete days. The range holds 8 of 10 outcomes, if days scatter as those did.",
		"Volume: as if all models had grown alike. Mix: the model's own growth beyond that. Cache: the share of cached tokens. Price: the rest. They sum to the change.")
	if b.Pictures {
		return b.outlookPicture(ctx)
	}
	return nil
}

func (b *builder) top(ctx context.Context) error {
	b.doc.Title = "Top spenders"
	n := b.Top
	if n <= 0 {
		n = 20
	}
	for _, s := range []string{"user", "token", "model"} {
		t, err := b.add(ctx, s, "By "+s, fmt.Sprintf(`SELECT place, scope_value AS "%s", "month", currency, requests, total_tokens, net_cost, "share" FROM top_spenders WHERE "scope" = '%s' AND place <= %d AND %s ORDER BY "month", currency, place, scope_value`, s, s, n, b.months()))
		if err != nil {
			return err
		}
		for i := range t.Columns { // a sum of the first few would be taken for the total
			t.Columns[i].Sum = false
		}
	}
	return nil
}

func (b *builder) prices(ctx context.Context) error {
	b.doc.Title = "Prices and discounts"
	t, err := b.add(ctx, "price_changes", "Prices that changed", `SELECT usage_date, account, model, line, category, item, unit, currency, day_before, array_to_string(list_transform(prices_before, lambda p: rtrim(rtrim(p::VARCHAR, '0'), '.')), ', ') AS price_before, array_to_string(list_transform(prices, lambda p: rtrim(rtrim(p::VARCHAR, '0'), '.')), ', ') AS price_now, change AS change_share, requests FROM price_changes WHERE `+b.days()+` ORDER BY ALL`)
	if err != nil {
		return err
	}
	for i := range t.Columns { // the same requests may stand in several lines
		t.Columns[i].Sum = false
	}
	t.Caption = "A day's prices against those of the last day before on which the same was charged; tokens by the million."
	_, err = b.add(ctx, "discounts", "List against net", `SELECT "month", model, currency, list_cost, discount, net_cost, discount_rate FROM discount_realised WHERE `+b.months()+` ORDER BY "month", currency, list_cost DESC NULLS LAST, model`)
	return err
}

func (b *builder) unitCost(ctx context.Context) error {
	b.doc.Title = "Unit cost"
	t, err := b.add(ctx, "unit_cost", "Unit cost", `SELECT "month", "scope", scope_value, currency, requests, total_tokens, active_users, net_cost, per_request, per_million_tokens, per_active_user FROM unit_cost WHERE `+b.months()+` ORDER BY "month", currency, CASE "scope" WHEN 'all' THEN 0 WHEN 'cost_center' THEN 1 ELSE 2 END, net_cost DESC NULLS LAST, scope_value`)
	if err != nil {
		return err
	}
	for i := range t.Columns { // each scope sums to the whole by itself
		t.Columns[i].Sum = false
	}
	return nil
}

func (b *builder) cacheSavings(ctx context.Context) error {
	b.doc.Title = "Cache savings"
	_, err := b.add(ctx, "cache_savings", "By model", `SELECT "month", model, currency, input_tokens, cached_tokens, cached_share, cached_cost, saved FROM cache_savings WHERE `+b.months()+` ORDER BY "month", currency, saved DESC NULLS LAST, model`)
	b.doc.Notes = append(b.doc.Notes, "Saved is what the cached tokens would have cost more at the input price of the same record, before discounts.")
	return err
}

func (b *builder) quality(ctx context.Context) error {
	b.doc.Title = "Data quality"
	if _, err := b.add(ctx, "accounts", "Accounts", `SELECT account, covered_from, covered_to, gaps, missing_hours, records, quarantined, duplicates, windows, miscounted, quality_errors, quality_warnings, failed_windows, run_status, run_started_at FROM data_freshness_and_gaps ORDER BY account`); err != nil {
		return err
	}
	if _, err := b.add(ctx, "issues", "Findings", `SELECT usage_date, account, check_name, severity, field, model, records, sample_id, detail FROM quality_issues WHERE `+b.days()+` ORDER BY CASE severity WHEN 'error' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, usage_date DESC, account, check_name, model`); err != nil {
		return err
	}
	_, err := b.add(ctx, "quarantine", "Quarantine", fmt.Sprintf(`SELECT account, window_start::DATE AS usage_date, reason, field, count(*) AS records, min(raw) AS sample FROM quarantine WHERE window_start >= TIMESTAMPTZ '%s 00:00:00Z' AND window_start < TIMESTAMPTZ '%s 00:00:00Z' GROUP BY ALL ORDER BY ALL`, b.monthOrFrom(), b.end()))
	return err
}
