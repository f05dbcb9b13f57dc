package schemas

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The versions of FOCUS, the FinOps Open Cost and Usage Specification, that the published file speaks.
const (
	Focus12 = "1.2"
	Focus14 = "1.4"
)

// FocusVersions lists them, the default first.
func FocusVersions() []string { return []string{Focus12, Focus14} }

// FocusView is the view of the published file in a version of FOCUS; "" if there is none.
func FocusView(version string) string {
	return map[string]string{Focus12: "focus", Focus14: "focus_1_4"}[version]
}

// Whose name stands in the FOCUS columns that say who provides, sells and hosts a service: the gateway that the usage
// was bought of. Whose model it was is told by PublisherName and x_ModelVendor, where the model's name says it.
const (
	FocusProvider    = "R9S Portal"
	FocusServiceName = "LLM API"
)

// FocusSchemaDate is when the columns of a dataset, or their types, were changed last: CreationDate of FOCUS's
// metadata.
const FocusSchemaDate = "2026-11-29T00:00:00Z"

// How FOCUS asks for a column.
const (
	FocusMandatory   = "Mandatory"
	FocusConditional = "Conditional" // mandatory if what is billed has the feature
	FocusRecommended = "Recommended"
	FocusCustom      = "Custom" // not of FOCUS
)

// The data types of FOCUS.
const (
	FocusString   = "String"
	FocusDecimal  = "Decimal"
	FocusDateTime = "Date/Time"
	FocusJSON     = "JSON"
	FocusInteger  = "Integer" // of our own columns alone
)

// FocusColumn is a column of FOCUS's Cost and Usage dataset.
type FocusColumn struct {
	Name     string
	Type     string   // FocusString, …
	Level    string   // FocusMandatory, … in the version that was asked for
	Nullable bool     // whether FOCUS allows NULL
	Values   []string // the allowed values; nil is any
	// Absent says why the column is not there; "" if it is.
	Absent  string
	Comment string
}

// FocusSpec lists every column of a version of FOCUS in the specification's order, those that the views lack included.
// It is nil for a version that isn't known.
func FocusSpec(version string) []FocusColumn {
	var out []FocusColumn
	for _, c := range focusColumns {
		if c := c.in(version); c.Level != "" {
			out = append(out, c)
		}
	}
	return out
}

// FocusColumns lists the columns of a version's view in order: those of FOCUS that are there, then our own.
func FocusColumns(version string) []FocusColumn {
	out := slices.DeleteFunc(FocusSpec(version), func(c FocusColumn) bool { return c.Absent != "" })
	if out == nil {
		return nil
	}
	for _, c := range focusCustom {
		out = append(out, c.in(version))
	}
	return out
}

//go:embed sql/focus.sql
var sqlFocus string

// sqlFocusTable makes the table that holds what FOCUS shows of closed months.
func sqlFocusTable() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE focus_closed (\n")
	for i, c := range focusCharges {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "    %s %s", c.Name, c.kind)
	}
	b.WriteString("\n);\nCOMMENT ON TABLE focus_closed IS 'The charges of closed months by day and meter, as they were" +
		" when the months were closed, and the corrections found since: what FOCUS shows of these months.';\n")
	for _, c := range focusCharges {
		fmt.Fprintf(&b, "COMMENT ON COLUMN focus_closed.%s IS %s;\n", c.Name, SQLString(c.comment))
	}
	return b.String()
}

// sqlFocusViews makes the views of FOCUS: focus_lines, focus_live, focus_charges and focus_omitted in our own names,
// focus, focus_1_4, focus_records, focus_billing_period and focus_invoice_detail in those of FOCUS. They need the view
// allocated_usage. It is several statements.
func (l SQLLayout) sqlFocusViews() string {
	var b strings.Builder
	b.WriteString(l.commented(sqlFocus))
	for _, v := range FocusVersions() {
		view := FocusView(v)
		fmt.Fprintf(&b, "CREATE VIEW %s AS %s;\n", view, FocusSelect(v, FocusCharges("")))
		fmt.Fprintf(&b, "COMMENT ON VIEW %s IS %s;\n", view, SQLString("The Cost and Usage dataset of FOCUS "+v+
			", by UTC day. EffectiveCost sums exactly to amount, per currency, but for the records in focus_omitted."))
		commentFocus(&b, view, FocusColumns(v))
	}
	records := FocusSelectRecords("(FROM focus_lines WHERE NOT closed)")
	fmt.Fprintf(&b, "CREATE VIEW focus_records AS %s;\n", records)
	b.WriteString("COMMENT ON VIEW focus_records IS 'The same as focus, but a row per record and meter." +
		" Months that are not closed only: a closed one is kept by day.';\n")
	commentFocus(&b, "focus_records", append(FocusColumns(Focus12), FocusRecordColumns()...))
	b.WriteString(sqlFocusDatasets())
	return b.String()
}

func commentFocus(b *strings.Builder, view string, columns []FocusColumn) {
	for _, c := range columns {
		fmt.Fprintf(b, "COMMENT ON COLUMN %s.\"%s\" IS %s;\n", view, c.Name, SQLString(c.Comment))
	}
}

// The grains of FOCUS: what has a row of its own. All but record are by UTC day, account, meter, unit price and
// currency.
const (
	FocusByRecord = "record" // each record and meter
	FocusByDay    = "day"    // everything that is the same of a day's charges
)

// focusGrain is a grain that charges are summed to.
type focusGrain struct {
	name    string
	without []string // the columns of focus_charges that it leaves out
}

var focusGrains = []focusGrain{
	{FocusByDay, nil},
	{"token", []string{"custom_user_id"}},
	{"user", []string{"custom_user_id", "token_id"}},
	{"project", []string{"custom_user_id", "token_id", "user_id", "environment", "tags", "rule_id", "rule_version"}},
	{"team", []string{"custom_user_id", "token_id", "user_id", "environment", "tags", "rule_id", "rule_version",
		"project"}},
	{"cost_center", []string{"custom_user_id", "token_id", "user_id", "environment", "tags", "rule_id", "rule_version",
		"project", "team"}},
	{"environment", []string{"custom_user_id", "token_id", "user_id", "tags", "rule_id", "rule_version",
		"project", "team", "cost_center", "gl_code", "pool"}},
	{"model", []string{"custom_user_id", "token_id", "user_id", "environment", "tags", "rule_id", "rule_version",
		"project", "team", "cost_center", "gl_code", "pool"}},
}

// FocusGrains lists the grains, the finest first.
func FocusGrains() []string {
	out := []string{FocusByRecord}
	for _, g := range focusGrains {
		out = append(out, g.name)
	}
	return out
}

// FocusSum is the query that sums rows of focus_charges to a grain, not FocusByRecord: from is a query of them in
// parentheses. What the grain leaves out is NULL.
func FocusSum(grain, from string) string {
	i := slices.IndexFunc(focusGrains, func(g focusGrain) bool { return g.name == grain })
	columns := make([]string, len(focusCharges))
	for n, c := range focusCharges {
		switch {
		case c.Measure:
			columns[n] = "sum(" + c.Name + ") AS " + c.Name
		case slices.Contains(focusGrains[i].without, c.Name):
			kind, _, _ := strings.Cut(c.kind, " ")
			columns[n] = "NULL::" + kind + " AS " + c.Name
		default:
			columns[n] = c.Name
		}
	}
	return "(SELECT " + strings.Join(columns, ", ") + " FROM " + from + " GROUP BY ALL)"
}

// FocusCharges is the query, in parentheses, of all rows that FOCUS has, of those that a condition is true of: charges,
// and what prepaid accounts were topped up with.
func FocusCharges(where string) string {
	if where != "" {
		where = " WHERE " + where
	}
	return "(FROM focus_charges" + where + " UNION ALL FROM focus_prepaid" + where + ")"
}

// FocusSelect is the query that gives the columns of a version of FOCUS from rows of the view focus_charges: from names
// the view, or is a query of it in parentheses.
func FocusSelect(version, from string) string {
	return focusSelect(version, from, focusMissingHours, focusInvoice, focusPrepaid, focusDayStart, focusDayEnd, "")
}

// FocusSelectClosing is FocusSelect of a month that is being closed: no invoice is its yet, and what its accounts lack
// and which are prepaid is known. So nothing is joined, and the rows stay in the order in which they come.
func FocusSelectClosing(version, from string, missingHours map[string]string, prepaid []string) string {
	var missing strings.Builder
	missing.WriteString("CASE")
	for _, account := range slices.Sorted(maps.Keys(missingHours)) {
		fmt.Fprintf(&missing, " WHEN account = %s THEN %s::DECIMAL(18,12)", SQLString(account), missingHours[account])
	}
	missing.WriteString(" WHEN false THEN NULL ELSE 0::DECIMAL(18,12) END") // a CASE has a WHEN, whoever lacks nothing
	paid := "false"
	for _, account := range prepaid {
		paid += " OR account = " + SQLString(account)
	}
	return focusSelect(version, from, missing.String(), "NULL::VARCHAR", "("+paid+")", focusDayStart, focusDayEnd, "")
}

// focusMissingHours, focusInvoice and focusPrepaid are what the published file says of the month and the account of a
// row, f. What is paid ahead is on no invoice of usage.
const (
	focusMissingHours = `coalesce((
					SELECT (m.missing_seconds / 3600)::DECIMAL(18,12) FROM completeness_monthly m
					WHERE m."month" = f.billing_month AND m.account = f.account
				), 0)::DECIMAL(18,12)`
	focusInvoice = `(
					SELECT i.invoice FROM focus_invoices i
					WHERE i.billing_month = f.billing_month AND i.account = f.account AND i.currency = f.currency
						AND f.line NOT IN ('purchase', 'credit')
				)`
	focusPrepaid = "(f.account, f.billing_month) IN (FROM prepaid_terms)"
)

// FocusSelectRecords is the query that gives the columns of FOCUS 1.2 for each record and meter, from rows of
// focus_lines: from names a query of it in parentheses.
func FocusSelectRecords(from string) string {
	records := "(SELECT usage_month AS billing_month, NULL::VARCHAR AS charge_class, *, 1 AS requests FROM " + from + ")"
	return focusSelect(Focus12, records, focusMissingHours, focusInvoice, focusPrepaid,
		"to_timestamp(floor(epoch(request_time) / 3600) * 3600)", "charge_start + INTERVAL 3600 SECOND",
		`, id AS "x_RequestId", request_time AS "x_RequestTime", ordinal AS "x_RequestOrdinal"`)
}

// A day of usage, or what the period has of a day that two periods share.
const (
	focusDayStart = "charge_starts(usage_date, usage_month)"
	focusDayEnd   = "charge_ends(usage_date, usage_month)"
)

// focusSelect takes besides what is missing of the month, its invoice, and whether the account was prepaid in it, as
// expressions; and when a charge begins and ends, each a TIMESTAMPTZ that doesn't depend on the session's time zone.
func focusSelect(version, from, missingHours, invoice, prepaid, start, end, more string) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	var columns []string
	for _, c := range slices.Concat(focusColumns, focusCustom) {
		if in := c.in(version); in.Level != "" && in.Absent == "" {
			columns = append(columns, fmt.Sprintf(`%s AS "%s"`, c.expr, c.name))
		}
	}
	b.WriteString(strings.Join(columns, ", "))
	fmt.Fprintf(&b, `%s FROM (
		SELECT *, %s AS charge_end,
			CASE WHEN model_name LIKE '_%%/%%' THEN split_part(model_name, '/', 1) END AS vendor,
			CASE line WHEN 'adjustment' THEN NULL WHEN 'credit' THEN NULL WHEN 'purchase' THEN 'prepaid-credit'
				ELSE concat_ws('/', model_name, CASE line
					WHEN 'ext' THEN coalesce(nullif(concat_ws('/', nullif(category, ''), nullif(item, '')), ''), 'ext')
					ELSE line END) END AS sku,
			CASE line WHEN 'adjustment' THEN NULL WHEN 'credit' THEN NULL WHEN 'purchase' THEN 'Prepaid Credit'
				WHEN 'input' THEN 'Input Tokens' WHEN 'cached' THEN 'Cached Input Tokens'
				WHEN 'output' THEN 'Output Tokens' WHEN 'tokens' THEN 'Tokens'
				ELSE coalesce(nullif(array_to_string(list_transform(
					list_filter(string_split(translate(concat_ws(' ', category, item), '_-', '  '), ' '), lambda w: w <> ''),
					lambda w: upper(w[1]) || w[2:]), ' '), ''), 'Other') END AS meter,
			CASE scale WHEN 6 THEN 1000000 WHEN 3 THEN 1000 ELSE 1 END AS consumed_per_unit,
			CASE scale WHEN 6 THEN '1000000 ' WHEN 3 THEN '1000 ' ELSE '' END || consumed_unit AS pricing_unit
		FROM (
			SELECT *, nullif(model, '') AS model_name, %s AS charge_start, %s,
				%s AS missing_hours, %s AS invoice_id, %s AS prepaid
			FROM %s f
		)
	)`, more, end, start, focusUnits, missingHours, invoice, prepaid, from)
	return b.String()
}

// focusUnits reads a unit of the Portal, which is free text, as one of FOCUS: a plural noun with a capital, and the
// power of ten that one unit has of it. What it doesn't know is Units; x_MeterUnit keeps the Portal's word.
const focusUnits = `CASE
		WHEN price_per = 1000000 OR regexp_full_match(unit, '\s*(1?\s*m(illion)?|1000000|1?\s*k|1000|)\s*tokens?\s*', 'i')
			THEN 'Tokens'
		WHEN regexp_full_match(unit, '\s*(requests?|calls?)\s*', 'i') THEN 'Requests'
		WHEN regexp_full_match(unit, '\s*images?\s*', 'i') THEN 'Images'
		WHEN line = 'purchase' THEN 'Credits'
		WHEN regexp_full_match(unit, '\s*pages?\s*', 'i') THEN 'Pages'
		WHEN regexp_full_match(unit, '\s*(characters?|chars?)\s*', 'i') THEN 'Characters'
		WHEN regexp_full_match(unit, '\s*(seconds?|secs?|s)\s*', 'i') THEN 'Seconds'
		WHEN regexp_full_match(unit, '\s*(minutes?|mins?)\s*', 'i') THEN 'Minutes'
		WHEN regexp_full_match(unit, '\s*(hours?|h)\s*', 'i') THEN 'Hours'
		ELSE 'Units' END AS consumed_unit,
	CASE
		WHEN price_per = 1000000 OR regexp_full_match(unit, '\s*(1?\s*m(illion)?|1000000)\s*tokens?\s*', 'i') THEN 6
		WHEN regexp_full_match(unit, '\s*(1?\s*k|1000)\s*tokens?\s*', 'i') THEN 3
		ELSE 0 END AS scale`
