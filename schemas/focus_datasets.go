package schemas

import (
	"fmt"
	"slices"
	"strings"
)

// The datasets of FOCUS that the published file has. Those but the first came with FOCUS 1.4.
const (
	FocusCostAndUsage  = "cost_and_usage"
	FocusBillingPeriod = "billing_period"
	FocusInvoiceDetail = "invoice_detail"
)

// FocusDatasets lists them, the default first.
func FocusDatasets() []string {
	return []string{FocusCostAndUsage, FocusBillingPeriod, FocusInvoiceDetail}
}

// focusDataset is a dataset beside Cost and Usage.
type focusDataset struct {
	view, comment string
	from          string // what its columns are made of
	columns       []focusColumn
}

const (
	noPaymentCurrency = "an invoice is paid in the currency it is written in"
	noPurchaseOrders  = "invoice files name no purchase orders"
)

// focusDatasets are those beside Cost and Usage, their columns in the order of the alphabet.
var focusDatasets = map[string]focusDataset{
	FocusBillingPeriod: {
		view:    "focus_billing_period",
		comment: "The Billing Period dataset of FOCUS 1.4: a row per month that was used in or is closed.",
		from: `(SELECT p."month", m.closed_at, (SELECT max(published_at) FROM meta) AS published_at
			FROM (
				SELECT DISTINCT month_of(book_date) AS "month" FROM allocated_model_daily
				UNION SELECT "month" FROM closed_months
			) p LEFT JOIN closed_months m ON m."month" = p."month")`,
		columns: []focusColumn{
			{name: "BillingPeriodCreated", kind: FocusDateTime, asked: from14(FocusMandatory),
				expr: `period_starts("month")`, comment: "Start of the month, UTC: from then on there is such a period."},
			{name: "BillingPeriodEnd", kind: FocusDateTime, asked: from14(FocusMandatory),
				expr: `period_ends("month")`, comment: "End of the month, UTC, exclusive."},
			{name: "BillingPeriodLastUpdated", kind: FocusDateTime, asked: from14(FocusMandatory),
				expr:    "date_trunc('second', coalesce(closed_at, published_at))",
				comment: "When the month was closed; of an open one when usage.duckdb was published."},
			{name: "BillingPeriodStart", kind: FocusDateTime, asked: from14(FocusMandatory),
				expr: `period_starts("month")`, comment: "Start of the month, UTC, inclusive."},
			{name: "BillingPeriodStatus", kind: FocusString, asked: from14(FocusMandatory),
				expr:    "CASE WHEN closed_at IS NULL THEN 'Open' ELSE 'Closed' END",
				comment: "Closed once the month is closed here; else Open.",
				values:  []string{"Open", "Closed"}},
			{name: "InvoiceIssuerName", kind: FocusString, asked: from14(FocusMandatory), expr: SQLString(FocusProvider),
				comment: "The gateway."},
		},
	},
	FocusInvoiceDetail: {
		view:    "focus_invoice_detail",
		comment: "The Invoice Detail dataset of FOCUS 1.4: a row per line that an invoice of the config is the sum of.",
		from: `(SELECT l.*,
			coalesce(l.account, (SELECT CASE WHEN count(*) = 1 THEN any_value(account) END FROM accounts)) AS whose,
			coalesce(
				(SELECT closed_at FROM closed_months m WHERE m."month" = month_of(l.period_start)),
				(SELECT max(published_at) FROM meta)) AS seen_at,
			(SELECT sum(amount) FROM invoice_charges s WHERE s.invoice = l.invoice) AS total,
			(
				SELECT CASE WHEN count(DISTINCT o.invoice) = 1 THEN any_value(o.invoice) END FROM invoice_charges o
				WHERE o.amount > 0 AND o.invoice <> l.invoice AND o.currency = l.currency
					AND o.account IS NOT DISTINCT FROM l.account
					AND o.period_start <= l.period_start AND o.period_end >= l.period_end
			) AS credited
			FROM invoice_charges l)`,
		columns: []focusColumn{
			{name: "BilledCost", kind: FocusDecimal, asked: from14(FocusMandatory), expr: "amount",
				comment: "What the line says."},
			{name: "BillingAccountId", kind: FocusString, asked: from14(FocusMandatory), expr: "whose",
				comment: "Account that the invoice names, or the only one. NULL of an invoice for several, which FOCUS doesn't " +
					"allow: name an account in the invoice file."},
			{name: "BillingCurrency", kind: FocusString, asked: from14(FocusMandatory), expr: "currency",
				comment: "ISO 4217 code of the amount. Never sum across currencies."},
			{name: "BillingPeriodEnd", kind: FocusDateTime, asked: from14(FocusMandatory),
				expr: "to_timestamp(epoch(period_end))", comment: "End of the invoice's period, UTC, exclusive."},
			{name: "BillingPeriodStart", kind: FocusDateTime, asked: from14(FocusMandatory),
				expr: "to_timestamp(epoch(period_start))", comment: "Start of the invoice's period, UTC, inclusive."},
			{name: "ChargeCategory", kind: FocusString, asked: from14(FocusMandatory),
				expr:    "CASE WHEN amount < 0 THEN 'Adjustment' ELSE 'Usage' END",
				comment: "Usage; of an amount below 0 Adjustment.",
				values:  []string{"Usage", "Purchase", "Tax", "Credit", "Adjustment"}},
			{name: "InvoiceDetailCreated", kind: FocusDateTime, asked: from14(FocusMandatory),
				expr:    "date_trunc('second', seen_at)",
				comment: "When the month was closed; of an open one when usage.duckdb was published."},
			{name: "InvoiceDetailDescription", kind: FocusString, nullable: true, asked: from14(FocusMandatory),
				expr:    "'Usage' || coalesce(' of ' || nullif(model, ''), '') || coalesce(' on ' || usage_date, '')",
				comment: "The line in words."},
			{name: "InvoiceDetailGrain", kind: FocusJSON, nullable: true, asked: from14(FocusMandatory),
				expr: `nullif(json_merge_patch('{}'::JSON, json_object('x_Model', model, 'x_UsageDate',
					usage_date::VARCHAR))::VARCHAR, '{}')`,
				comment: "Model and day of the line, as a JSON object; NULL of a total."},
			{name: "InvoiceDetailId", kind: FocusString, asked: from14(FocusMandatory), expr: "source",
				comment: "File and line of the invoice file."},
			{name: "InvoiceDetailLastUpdated", kind: FocusDateTime, asked: from14(FocusMandatory),
				expr: "date_trunc('second', seen_at)", comment: "The same as InvoiceDetailCreated."},
			{name: "InvoiceId", kind: FocusString, asked: from14(FocusMandatory), expr: "invoice",
				comment: "Number of the invoice."},
			{name: "InvoiceIssueDate", kind: FocusDateTime, nullable: true, asked: from14(FocusMandatory),
				expr: "NULL::TIMESTAMPTZ", comment: "NULL: invoice files don't tell."},
			{name: "InvoiceIssueStatus", kind: FocusString, asked: from14(FocusMandatory), expr: "'Issued'",
				comment: "Always Issued: what stands in an invoice file is an invoice.",
				values:  []string{"Open", "Issued", "Voided"}},
			{name: "InvoiceIssuerName", kind: FocusString, asked: from14(FocusMandatory), expr: SQLString(FocusProvider),
				comment: "The gateway."},
			{name: "PaymentCurrency", kind: FocusString, asked: from14(FocusConditional), absent: noPaymentCurrency},
			{name: "PaymentCurrencyBilledCost", kind: FocusDecimal, asked: from14(FocusConditional), absent: noPaymentCurrency},
			{name: "PaymentCurrencyInvoiceDetailId", kind: FocusString, asked: from14(FocusConditional),
				absent: noPaymentCurrency},
			{name: "PaymentDueDate", kind: FocusDateTime, nullable: true, asked: from14(FocusMandatory),
				expr: "NULL::TIMESTAMPTZ", comment: "NULL: invoice files don't tell."},
			{name: "PaymentTerms", kind: FocusString, asked: from14(FocusMandatory), expr: "NULL::VARCHAR",
				comment: "NULL, which FOCUS doesn't allow: invoice files don't tell, and a placeholder would be wrong."},
			{name: "PurchaseOrderNumber", kind: FocusString, nullable: true, asked: from14(FocusConditional),
				absent: noPurchaseOrders},
			{name: "ReferenceInvoiceId", kind: FocusString, asked: from14(FocusMandatory),
				expr:    "CASE WHEN total < 0 THEN coalesce(credited, invoice) ELSE invoice END",
				comment: "Of a credit note the only invoice of the same account, currency and time; else InvoiceId."},
		},
	},
}

// FocusDatasetView is the view of a dataset beside Cost and Usage; "" if there is none.
func FocusDatasetView(dataset string) string { return focusDatasets[dataset].view }

// FocusDatasetSpec lists every column of a dataset beside Cost and Usage, those that the view lacks included.
func FocusDatasetSpec(dataset string) []FocusColumn {
	var out []FocusColumn
	for _, c := range focusDatasets[dataset].columns {
		out = append(out, c.in(Focus14))
	}
	return out
}

// FocusDatasetColumns lists the columns of the view in order.
func FocusDatasetColumns(dataset string) []FocusColumn {
	return slices.DeleteFunc(FocusDatasetSpec(dataset), func(c FocusColumn) bool { return c.Absent != "" })
}

// sqlFocusDatasets makes the views of the datasets beside Cost and Usage.
func sqlFocusDatasets() string {
	var b strings.Builder
	for _, name := range FocusDatasets()[1:] {
		d := focusDatasets[name]
		var columns []string
		for _, c := range d.columns {
			if c.absent == "" {
				columns = append(columns, fmt.Sprintf("%s AS %q", c.expr, c.name))
			}
		}
		fmt.Fprintf(&b, "CREATE VIEW %s AS SELECT %s FROM %s;\n", d.view, strings.Join(columns, ", "), d.from)
		fmt.Fprintf(&b, "COMMENT ON VIEW %s IS %s;\n", d.view, SQLString(d.comment))
		commentFocus(&b, d.view, FocusDatasetColumns(name))
	}
	return b.String()
}
