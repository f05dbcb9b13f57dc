// Package report turns questions to the published file into documents that people read and hand on.
//
//	Build: a named report and its period → queries on one snapshot of usage.duckdb → a Document
//	Document: figures, pictures and tables → text for a terminal, CSV, JSON, XLSX, HTML, Parquet
//
// Every amount is the exact text that the file has, and is rounded only where a person reads it; totals are sums of
// the exact amounts, one a currency. Nothing of what comes from outside becomes a formula, markup or a control
// character.
package report

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// Kind is what a column holds, and so how it is shown.
type Kind int

// The kinds of a column.
const (
	Text     Kind = iota
	Count         // a whole number
	Whole         // a whole number that may be a year or an id: without signs between thousands in a workbook
	Money         // an exact decimal, shown in the minor unit of its currency
	Posted        // an amount in whole minor units of its currency
	UnitCost      // a decimal, shown with 6 places
	Quantity      // a decimal, shown as it is
	Prices        // a decimal, or several with commas between them, shown as they are
	Share         // a share of 1, shown in percent
	Day           // 2026-11-01
	Month         // the first day of a month, shown as 2026-11
	Instant       // a time in UTC
	Second        // a time, shown to its last digit
	Flag          // true or false
)

// Shared stands in place of the token and the user of what comes from a shared pool.
const Shared = "(shared)"

// timed says that values are times, which are read at a glance or not at all: they stay on a line.
func (k Kind) timed() bool { return k >= Day && k <= Second }

// Numeric says that values stand to the right.
func (k Kind) Numeric() bool { return k >= Count && k <= Share }

// Column is a column of a Table.
type Column struct {
	Name  string // stable, for machines
	Title string // for people
	Kind  Kind
	Sum   bool // whether a total makes sense
}

// Table is the answer to one question. Cells are exact texts; of a table with a column "currency", totals are one a
// currency.
type Table struct {
	Name    string
	Title   string
	Caption string
	// Basis says of a closed month which of its figures these are; "" where there is but one.
	Basis   Basis
	Columns []Column
	// Each row has a cell for each column. They are the table's own until the document is built: post, nameTables and
	// complete write to them. What renders it reads alone, and parts share them.
	Rows [][]query.Value
	// Group is the column whose values have a sheet of their own in a workbook; "" is none.
	Group string

	types []string // DuckDB's, of the columns of an answer that is no report: they may hold anything; nil of ours
}

// completeness is the column that says how complete a row's period is.
const completeness = "completeness"

// complete adds the column completeness with the text to a table whose rows don't say it themselves.
func (t *Table) complete(text string) {
	if t.column(completeness) >= 0 || text == "" {
		return
	}
	t.Columns = append(t.Columns, describe(query.ResultColumn{Name: completeness}))
	for i := range t.Rows {
		t.Rows[i] = append(t.Rows[i], query.Value{Text: text})
	}
}

// plain is the table for people, who read at the head how complete all of it is: without that column, unless its rows
// differ.
func (t *Table) plain(d *Document) *Table {
	at := t.column(completeness)
	if at < 0 || slices.ContainsFunc(t.Rows, func(row []query.Value) bool { return row[at].Text != d.Completeness.Text }) {
		return t
	}
	out := *t
	out.Columns = slices.Delete(slices.Clone(t.Columns), at, at+1)
	// A copy, for the table stays as it is for other formats.
	out.Rows = make([][]query.Value, len(t.Rows))
	for i, row := range t.Rows {
		out.Rows[i] = slices.Delete(slices.Clone(row), at, at+1)
	}
	return &out
}

// heading is the title of the table and what its figures of closed months are.
func (t *Table) heading() string {
	if t.Basis == "" {
		return t.Title
	}
	return t.Title + ", " + string(t.Basis)
}

// column is the position of a column; -1 if there is none.
func (t *Table) column(name string) int {
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
}

// Total are the sums of the columns that have one, in a currency.
type Total struct {
	Currency string
	Null     bool // the rows have no currency
	// Sums are by column, in the currency, or in that of the books; nil where there is no sum, nothing to sum, a cell that
	// is no exact number, or an amount that has no rate.
	Sums []*schemas.Money
}

// Totals sums the rows by currency, in order of the currency; one Total if the table has no such column.
func (t *Table) Totals() []Total {
	currency := t.column("currency")
	var out []Total
	type cell struct{ total, column int }
	// Noted, and taken out at the end: a later row would begin the sum anew.
	unknown := map[cell]bool{}
	for _, row := range t.Rows {
		var c query.Value
		if currency >= 0 {
			c = row[currency]
		}
		// There are few currencies. One that is NULL is not the one that is called "".
		i := slices.IndexFunc(out, func(x Total) bool { return x.Currency == c.Text && x.Null == c.Null })
		if i < 0 {
			i = len(out)
			out = append(out, Total{c.Text, c.Null, make([]*schemas.Money, len(t.Columns))})
		}
		for j, col := range t.Columns {
			if t.unconverted(row, j) {
				unknown[cell{i, j}] = true
			}
			if !col.Sum || row[j].Null {
				continue
			}
			v, err := schemas.ParseMoney(row[j].Text)
			if err != nil {
				unknown[cell{i, j}] = true
				continue
			}
			v = v.In(t.currency(row, j))
			if sum := out[i].Sums[j]; sum != nil {
				v = v.Add(*sum)
			}
			out[i].Sums[j] = &v
		}
	}
	for x := range unknown { // no total is better than one that lacks a row
		out[x.total].Sums[x.column] = nil
	}
	slices.SortFunc(out, func(a, b Total) int {
		if a.Null != b.Null {
			if a.Null { // what has no currency comes last
				return 1
			}
			return -1
		}
		return strings.Compare(a.Currency, b.Currency)
	})
	return out
}

// parts are the rows by the value of the column Group, in order of the values; nil if the table has no such column. The
// title of a part is that value.
func (t *Table) parts() []*Table {
	g := t.column(t.Group)
	if g < 0 {
		return nil
	}
	var out []*Table
	at := map[query.Value]*Table{}
	for _, row := range t.Rows {
		// A Value can be a key as it is: NULL and the text "" are two.
		v := row[g]
		part := at[v]
		if part == nil {
			part = &Table{Name: t.Name, Title: v.Text, Columns: t.Columns}
			if v.Null {
				part.Title = none
			}
			at[v] = part
			out = append(out, part)
		}
		part.Rows = append(part.Rows, row)
	}
	slices.SortStableFunc(out, func(a, b *Table) int { return strings.Compare(a.Title, b.Title) })
	return out
}

// summed says whether any column has a total.
func (t *Table) summed() bool {
	return slices.ContainsFunc(t.Columns, func(c Column) bool { return c.Sum })
}

// Figure is one number that matters.
type Figure struct {
	Label, Value, Detail string
	Alarm                bool
	// What Value is exactly, where it is a number: a workbook has it as such.
	Number   query.Value
	Kind     Kind
	Currency string
}

func (f Figure) isNumber() bool { return f.Kind.Numeric() && !f.Number.Null }

// Document is a report.
type Document struct {
	Name     string
	Title    string
	Subtitle string
	Period   string   // for the name of a file: 2026-10
	Scope    []string // whose it is, where that isn't everybody: "Account acme"
	// Completeness of the period, of the accounts that the document is about.
	Completeness Completeness
	Freshness    string // how far the data goes
	Warnings     []string
	Figures      []Figure
	Pictures     []Picture
	Tables       []*Table
	// It may be a table that isn't among Tables; nameTables sees to it, too.
	Data  *Table // what CSV and Parquet hold; nil: the first of Tables
	Notes []string
	// DecimalNumbers says that JSON has decimals as numbers, with all their digits; as texts else.
	DecimalNumbers bool
	Form           query.CSVForm // of a CSV
	postings       *postings     // of report journal
	Generated      time.Time
	Version        string
	Width          int // of a line of prose in a terminal; 0 is 120
}

// data is the table that formats of one table hold; nil if there is none.
func (d *Document) data() *Table {
	if d.Data != nil || len(d.Tables) == 0 {
		return d.Data
	}
	return d.Tables[0]
}

// Completeness is how much of a period was fetched: as much as of the account that lacks most.
type Completeness struct {
	Complete bool   // the period is over and nothing is missing
	Text     string // complete; or how many hours are there, and which accounts lack how many
	// Of the period, what of it is over, and what of that lacks, summed over the accounts. In seconds.
	PeriodSeconds, ExpectedSeconds, MissingSeconds int64
}

// Picture is a chart and the table behind it.
type Picture struct {
	Title   string
	Caption string
	chart   chart
	Table   *Table
	plot    *plot // nil: a workbook doesn't have it
}

// names are the columns that queries give, with what they mean to a reader. names say Sum only of what rows can be
// added up by: no budget, forecast or share, and nothing that several rows repeat. Where a report's rows overlap it
// takes Sum away again.
var names = map[string]Column{
	"billing_month": {Title: "Month", Kind: Month}, "month": {Title: "Month", Kind: Month},
	"usage_date": {Title: "Day", Kind: Day}, "book_date": {Title: "Day", Kind: Day}, "day": {Title: "Day", Kind: Day},
	"whole":        {Title: "Whole", Kind: Flag},
	"charge_class": {Title: "Class"}, "cost_center": {Title: "Cost centre"}, "gl_code": {Title: "GL code"},
	"token": {Title: "Token"}, "user": {Title: "User"}, "custom_user": {Title: "Custom user"},
	"token_id": {Title: "Token"}, "user_id": {Title: "User"}, "custom_user_id": {Title: "Custom user"},
	"model_type": {Title: "Model type"},
	"requests":   {Title: "Requests", Kind: Count, Sum: true}, "charges": {Title: "Charges", Kind: Count, Sum: true},
	"records":        {Title: "Records", Kind: Count, Sum: true},
	"without_amount": {Title: "Without amount", Kind: Count, Sum: true},
	"input_tokens":   {Title: "Input", Kind: Count, Sum: true}, "cached_tokens": {Title: "Cached", Kind: Count, Sum: true},
	"output_tokens": {Title: "Output", Kind: Count, Sum: true}, "total_tokens": {Title: "Tokens", Kind: Count, Sum: true},
	"tokens_before": {Title: "Tokens before", Kind: Count, Sum: true},
	"tokens_now":    {Title: "Tokens now", Kind: Count, Sum: true},
	"list_cost":     {Title: "List", Kind: Money, Sum: true}, "discount": {Title: "Discount", Kind: Money, Sum: true},
	"net_cost":   {Title: "Net", Kind: Money, Sum: true},
	bookCurrency: {Title: "Books"}, bookCost: {Title: "Net in books", Kind: Money, Sum: true},
	"direct_cost": {Title: "Direct", Kind: Money, Sum: true}, "shared_cost": {Title: "Shared", Kind: Money, Sum: true},
	"unallocated_cost": {Title: "Unallocated", Kind: Money, Sum: true},
	"correction":       {Title: "Correction", Kind: Money, Sum: true},
	"amount":           {Title: "Amount", Kind: Money, Sum: true}, "posted": {Title: "Posted", Kind: Posted, Sum: true},
	"metric_value": {Title: "Value", Kind: Quantity}, "cost_per_unit": {Title: "Each", Kind: UnitCost},
	"earned": {Title: "Earned", Kind: Money}, "margin": {Title: "Margin", Kind: Money},
	"margin_share": {Title: "Margin share", Kind: Share},
	"percent":      {Title: "%", Kind: Quantity}, "percent_markup": {Title: "Of cost", Kind: Money, Sum: true},
	"request_markup": {Title: "For requests", Kind: Money, Sum: true},
	"period_fee":     {Title: "Fee", Kind: Money, Sum: true},
	"minimum_charge": {Title: "To the minimum", Kind: Money, Sum: true},
	"markup":         {Title: "Mark-up", Kind: Money, Sum: true}, "charged": {Title: "Charged", Kind: Money, Sum: true},
	"budget_amount": {Title: "Budget", Kind: Money}, "spent": {Title: "Spent", Kind: Money},
	"left_over": {Title: "Left", Kind: Money},
	"forecast":  {Title: "Forecast", Kind: Money}, "forecast_low": {Title: "Low", Kind: Money},
	"forecast_high": {Title: "High", Kind: Money}, "burn_rate": {Title: "A day", Kind: Money},
	"recent_rate": {Title: "A day lately", Kind: Money},
	"used_share":  {Title: "Used", Kind: Share}, "share": {Title: "Share", Kind: Share},
	"allocated_share": {Title: "Allocated", Kind: Share}, "cached_share": {Title: "Cached share", Kind: Share},
	"discount_rate": {Title: "Rate", Kind: Share}, "change_share": {Title: "Change", Kind: Share},
	"threshold_reached": {Title: "Threshold", Kind: Share},
	"period_start":      {Title: "From", Kind: Day}, "period_end": {Title: "To (excluded)", Kind: Day},
	"first_day": {Title: "First day", Kind: Day}, "last_day": {Title: "Last day", Kind: Day},
	"day_before": {Title: "Day before", Kind: Day}, "corrected_in": {Title: "Corrected in", Kind: Month},
	"days_over": {Title: "Days over", Kind: Count}, "days_left": {Title: "Days left", Kind: Count},
	"place": {Title: "#", Kind: Count}, "active_users": {Title: "Users", Kind: Count},
	"history_days": {Title: "Days of history", Kind: Count},
	"observed":     {Title: "Observed", Kind: Money}, "expected": {Title: "Expected", Kind: Money},
	"deviation": {Title: "Deviation", Kind: Money}, "score": {Title: "Score", Kind: Quantity},
	"net_before": {Title: "Before", Kind: Money, Sum: true}, "net_now": {Title: "Now", Kind: Money, Sum: true},
	"change": {Title: "Change", Kind: Money, Sum: true}, "volume": {Title: "Volume", Kind: Money, Sum: true},
	"mix": {Title: "Mix", Kind: Money, Sum: true}, "cache": {Title: "Cache", Kind: Money, Sum: true},
	"price_effect": {Title: "Price", Kind: Money, Sum: true},
	"per_request":  {Title: "A request", Kind: UnitCost}, "per_million_tokens": {Title: "A million tokens",
		Kind: UnitCost},
	"per_active_user": {Title: "A user", Kind: UnitCost},
	"saved":           {Title: "Saved", Kind: Money, Sum: true},
	"cached_cost":     {Title: "Cost of cached", Kind: Money, Sum: true},
	"price_before":    {Title: "Price before", Kind: Prices}, "price_now": {Title: "Price now", Kind: Prices},
	"price": {Title: "Price", Kind: Quantity}, "quantity": {Title: "Quantity", Kind: Quantity},
	"ratio":   {Title: "Ratio", Kind: Share},
	"opening": {Title: "Opening", Kind: Money}, "top_ups": {Title: "Top-ups", Kind: Money, Sum: true},
	"used": {Title: "Used", Kind: Money, Sum: true}, "unexplained": {Title: "Unexplained", Kind: Money, Sum: true},
	"closing": {Title: "Closing", Kind: Money}, "inferred": {Title: "Inferred", Kind: Flag},
	"checked": {Title: "Checked", Kind: Flag}, "coupons": {Title: "Coupons", Kind: Money, Sum: true},
	"coupon_balance":             {Title: "Coupons left", Kind: Money},
	"unexplained_coupons_beside": {Title: "Unexplained, coupons beside", Kind: Money, Sum: true},
	"note":                       {Title: "Note"}, "other_invoices": {Title: "Other invoices", Kind: Money},
	"days_left_7_coupons_beside":  {Title: "Days left (7), coupons beside", Kind: Quantity},
	"days_left_28_coupons_beside": {Title: "Days left (28), coupons beside", Kind: Quantity},
	"balance":                     {Title: "Balance", Kind: Money},
	"opened_at":                   {Title: "From", Kind: Instant}, "closed_at": {Title: "To", Kind: Instant},
	"observed_at": {Title: "Observed at", Kind: Instant}, "covered_from": {Title: "From", Kind: Instant},
	"covered_to": {Title: "To", Kind: Instant}, "run_started_at": {Title: "Last run", Kind: Instant},
	"invoiced": {Title: "Invoiced", Kind: Money, Sum: true}, "exported": {Title: "Exported", Kind: Money, Sum: true},
	"difference":  {Title: "Difference", Kind: Money, Sum: true},
	"burn_7_days": {Title: "A day, 7 days", Kind: Money}, "burn_28_days": {Title: "A day, 28 days", Kind: Money},
	"days_left_7": {Title: "Days left (7)", Kind: Quantity}, "days_left_28": {Title: "Days left (28)", Kind: Quantity},
	"gaps": {Title: "Gaps", Kind: Count, Sum: true}, "missing_hours": {Title: "Missing hours", Kind: Quantity},
	"quarantined": {Title: "Quarantined", Kind: Count, Sum: true},
	"duplicates":  {Title: "Duplicates", Kind: Count, Sum: true}, "windows": {Title: "Windows", Kind: Count, Sum: true},
	"miscounted":       {Title: "Miscounted", Kind: Count, Sum: true},
	"quality_errors":   {Title: "Errors", Kind: Count, Sum: true},
	"quality_warnings": {Title: "Warnings", Kind: Count, Sum: true},
	"failed_windows":   {Title: "Failed windows", Kind: Count, Sum: true},
	"corrections_in":   {Title: "Corrections in", Kind: Money, Sum: true},
	"corrections_out":  {Title: "Corrections out", Kind: Money, Sum: true},
	completeness:       {Title: "Completeness"}, "compared": {Title: "Compared"},
	"posting_date": {Title: "Posting date", Kind: Day}, "corrects": {Title: "Corrects", Kind: Month},
	"rule_id": {Title: "Rule"}, "rule_version": {Title: "Version", Kind: Count},
	"cost_center_spent": {Title: "Spent", Kind: Money},
	"paid":              {Title: "Paid", Kind: Money, Sum: true}, "credited": {Title: "Credited", Kind: Money, Sum: true},
	"drawn": {Title: "Drawn", Kind: Money, Sum: true}, "expired": {Title: "Expired", Kind: Money, Sum: true},
	"remaining": {Title: "Left", Kind: Money, Sum: true}, "covered": {Title: "Covered", Kind: Money, Sum: true},
	"overdrawn": {Title: "Overdrawn", Kind: Money}, "outstanding": {Title: "Outstanding", Kind: Money},
	"top_up_date": {Title: "Date", Kind: Day}, "expires": {Title: "Expires", Kind: Day},
	"portal_observed_at": {Title: "Portal looked at", Kind: Instant},
	"portal_balance":     {Title: "Portal's balance", Kind: Money}, "since_look": {Title: "Since", Kind: Money},
	"difference_coupons_beside": {Title: "Difference, coupons beside", Kind: Money, Sum: true},
}

// describe makes a Column of a column of an answer.
func describe(c query.ResultColumn) Column {
	out, ok := names[c.Name]
	out.Name = c.Name
	if out.Title == "" {
		out.Title = strings.ToUpper(c.Name[:1]) + strings.ReplaceAll(c.Name[1:], "_", " ")
	}
	// A number that nobody has described is shown as it is, and not summed: whether a sum of it means anything isn't
	// known.
	if !ok && c.Numeric {
		out.Kind = Quantity
	}
	return out
}

// ask makes a Table of the answer to a query.
func ask(ctx context.Context, s *query.Snapshot, name, title, query string) (*Table, error) {
	rows, err := s.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("report: %s: %w", name, err)
	}
	defer rows.Close()
	t := &Table{Name: name, Title: title}
	for _, c := range rows.Columns {
		t.Columns = append(t.Columns, describe(c))
	}
	for row, err := range rows.All(ctx) {
		if err != nil {
			return nil, fmt.Errorf("report: %s: %w", name, err)
		}
		// All gives the same slice for every row.
		t.Rows = append(t.Rows, slices.Clone(row))
	}
	t.post()
	return t, nil
}

// post gives what is posted the decimals of its currency's minor unit, for who reads texts: SQL has a type for all of
// them.
func (t *Table) post() {
	for i, c := range t.Columns {
		if c.Kind != Posted {
			continue
		}
		for _, row := range t.Rows {
			if n, err := schemas.ParseMoney(row[i].Text); err == nil && !row[i].Null {
				row[i].Text = n.In(t.value(row, "currency").Text).Posted()
			}
		}
	}
}

// value is the cell of a named column of a row; NULL if the table has no such column.
func (t *Table) value(row []query.Value, name string) query.Value {
	if i := t.column(name); i >= 0 {
		return row[i]
	}
	return query.Value{Null: true}
}
