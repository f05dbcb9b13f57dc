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

func of14(name, kind string, nullable bool, expr, comment string, values ...string) focusColumn {
	return present(name, kind, nullable, "", FocusMandatory, expr, comment, values...)
}

// focusDatasets are those beside Cost and Usage, their columns in the order of the alphabet.
var focusDatasets = map[string]focusDataset{
	FocusBillingPeriod: {
		view:    "focus_billing_period",
		comment: "The Billing Period dataset of FOCUS 1.4: a row per month that was used in or is closed.",
		from: `(SELECT p."month", m.closed_at, (SELECT max(published_at) FROM meta) AS published_at
			FROM (SELECT DISTINCT date_trunc('month', usage_date)::DATE AS "month" FROM usage_daily UNION SELECT "month" FROM closed_months) p LEFT JOIN closed_months m ON m."month" = p."month")`,
		columns: []focusColumn{
			of14("BillingPeriodCreated", FocusDateTime, false, `to_timestamp(epoch("month"))`, "Start of the month, UTC: from then on there is such a period."),
			of14("BillingPeriodEnd", FocusDateTime, false, `to_timestamp(epoch("month" + INTERVAL 1 MONTH))`, "End of the month, UTC, exclusive."),
			of14("BillingPeriodLastUpdated", FocusDateTime, false, "date_trunc('second', coalesce(closed_at, published_at))", "When the month was closed; of an open one when usage.duckdb was published."),
			of14("BillingPeriodStart", FocusDateTime, false, `to_timestamp(epoch("month"))`, "Start of the month, UTC, inclusive."),
			of14("BillingPeriodStatus", FocusString, false, "CASE WHEN closed_at IS NULL THEN 'Open' ELSE 'Closed' END", "Closed once the month is closed here; else Open.", "Open", "Closed"),
			of14("InvoiceIssuerName", FocusString, false, SQLString(FocusProvider), "The gateway."),
		},
	},
	FocusInvoiceDetail: {
		view:    "focus_invoice_detail",
		comment: "The Invoice Detail dataset of FOCUS 1.4: a row per line that an invoice of the config is the sum of.",
		from: `(SELECT l.*, coalesce(l.account, (SELECT CASE WHEN count(*) = 1 THEN any_value(account) END FROM accounts)) AS whose,
			coalesce((SELECT closed_at FROM closed_months m WHERE m."month" = date_trunc('month', l.period_start)::DATE), (SELECT max(published_at) FROM meta)) AS seen_at,
			(SELECT sum(amount) FROM invoice_charges s WHERE s.invoice = l.invoice) AS total,
			(SELECT CASE WHEN count(DISTINCT o.invoice) = 1 THEN any_value(o.invoice) END FROM invoice_charges o WHERE o.amount > 0 AND o.invoice <> l.invoice AND o.currency = l.currency
				AND o.account IS NOT DISTINCT FROM l.account AND o.period_start <= l.period_start AND o.period_end >= l.period_end) AS credited
			FROM invoice_charges l)`,
		columns: []focusColumn{
			of14("BilledCost", FocusDecimal, false, "amount", "What the line says."),
			of14("BillingAccountId", FocusString, false, "whose", "Account that the invoice names, or the only one. NULL of an invoice for several, which FOCUS doesn't allow: name an account in the invoice file."),
			of14("BillingCurrency", FocusString, false, "currency", "ISO 4217 code of the amount. Never sum across currencies."),
			of14("BillingPeriodEnd", FocusDateTime, false, "to_timestamp(epoch(period_end))", "End of the invoice's period, UTC, exclusive."),
			of14("BillingPeriodStart", FocusDateTime, false, "to_timestamp(epoch(period_start))", "Start of the invoice's period, UTC, inclusive."),
			of14("ChargeCategory", FocusString, false, "CASE WHEN amount < 0 THEN 'Adjustment' ELSE 'Usage' END", "Usage; of an amount below 0 Adjustment.", "Usage", "Purchase", "Tax", "Credit", "Adjustment"),
			of14("InvoiceDetailCreated", FocusDateTime, false, "date_trunc('second', seen_at)", "When the month was closed; of an open one when usage.duckdb was published."),
			of14("InvoiceDetailDescription", FocusString, true, "'Usage' || coalesce(' of ' || nullif(model, ''), '') || coalesce(' on ' || usage_date, '')", "The line in words."),
			of14("InvoiceDetailGrain", FocusJSON, true, "nullif(json_merge_patch('{}'::JSON, json_object('x_Model', model, 'x_UsageDate', usage_date::VARCHAR))::VARCHAR, '{}')", "Model and day of the line, as a JSON object; NULL of a total."),
			of14("InvoiceDetailId", FocusString, false, "source", "File and line of the invoice file."),
			of14("InvoiceDetailLastUpdated", FocusDateTime, false, "date_trunc('second', seen_at)", "The same as InvoiceDetailCreated."),
			of14("InvoiceId", FocusString, false, "invoice", "Number of the invoice."),
			of14("InvoiceIssueDate", FocusDateTime, true, "NULL::TIMESTAMPTZ", "NULL: invoice files don't tell."),
			of14("InvoiceIssueStatus", FocusString, false, "'Issued'", "Always Issued: what stands in an invoice file is an invoice.", "Open", "Issued", "Voided"),
			of14("InvoiceIssuerName", FocusString, false, SQLString(FocusProvider), "The gateway."),
			absent("PaymentCurrency", FocusString, false, "", FocusConditional, noPaymentCurrency),
			absent("PaymentCurrencyBilledCost", FocusDecimal, false, "", FocusConditional, noPaymentCurrency),
			absent("PaymentCurrencyInvoiceDetailId", FocusString, false, "", FocusConditional, noPaymentCurrency),
			of14("PaymentDueDate", FocusDateTime, true, "NULL::TIMESTAMPTZ", "NULL: invoice files don't tell."),
			of14("PaymentTerms", FocusString, false, "NULL::VARCHAR", "NULL, which FOCUS doesn't allow: invoice files don't tell, and a placeholder would be wrong."),
			absent("PurchaseOrderNumber", FocusString, true, "", FocusConditional, noPurchaseOrders),
			of14("ReferenceInvoiceId", FocusString, false, "CASE WHEN total < 0 THEN coalesce(credited, invoice) ELSE invoice END", "Of a credit note the only invoice of the same account, currency and time; else InvoiceId."),
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
			if c.Absent == "" {
				columns = append(columns, fmt.Sprintf("%s AS %q", c.expr, c.Name))
			}
		}
		fmt.Fprintf(&b, "CREATE OR REPLACE VIEW %s AS SELECT %s FROM %s;\nCOMMENT ON VIEW %s IS %s;\n", d.view, strings.Join(columns, ", "), d.from, d.view, SQLString(d.comment))
		commentFocus(&b, d.view, FocusDatasetColumns(name))
	}
	return b.String()
}
