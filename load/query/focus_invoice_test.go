package query

import (
	"fmt"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// InvoiceId is the number of the only invoice of an account, currency and closed month, if that agrees with what is
// billed.
func TestInvoiceIdIsThatOfTheOnlyInvoiceWhichAgrees(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	for _, date := range []string{"2026-08-31", "2026-09-01", "2026-10-02"} {
		for _, account := range []string{"acme", "zeta"} {
			p := schemas.Partition{Account: account, Date: schemastest.Date(date)}
			w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "10.004", "USD"),
				loadtest.Charge(p, "b", "tk_2", "m2", "1.0004", "USD"), loadtest.Charge(p, "c", "tk_2", "m1", "100.4", "JPY"))
		}
	}
	line := func(invoice, account, from, to, currency, amount string) schemas.InvoiceLine {
		return schemas.InvoiceLine{Invoice: invoice, Account: account, From: schemastest.Date(from), To: schemastest.Date(to),
			Currency: currency, Amount: money(amount), Source: "i.csv:" + invoice + amount}
	}
	model := func(l schemas.InvoiceLine, model string) schemas.InvoiceLine { l.Model = &model; return l }
	september := func(invoice, account, currency, amount string) schemas.InvoiceLine {
		return line(invoice, account, "2026-09-01", "2026-10-01", currency, amount)
	}
	finance := testFinance
	w.Publish(publish.PublishOptions{Finance: finance})
	for _, month := range []string{"2026-08", "2026-09"} {
		if _, err := w.CloseMonth(month, finance); err != nil {
			t.Fatal(err)
		}
	}
	const all = "2026-09 acme USD A|2026-09 zeta USD A"
	for what, c := range map[string]struct {
		lines []schemas.InvoiceLine
		want  string
	}{
		"to the cent": {[]schemas.InvoiceLine{september("A", "acme", "USD", "11")},
			"2026-09 acme USD A"},
		"exactly": {[]schemas.InvoiceLine{september("A", "acme", "USD", "11.0044")},
			"2026-09 acme USD A"},
		"a cent off": {[]schemas.InvoiceLine{september("A", "acme", "USD", "11.01")}, ""},
		"to the yen": {[]schemas.InvoiceLine{september("A", "acme", "JPY", "100")},
			"2026-09 acme JPY A"},
		"of another currency": {[]schemas.InvoiceLine{september("A", "acme", "EUR", "11")}, ""},
		"by model": {[]schemas.InvoiceLine{model(september("A", "acme", "USD", "10"), "m1"),
			model(september("A", "acme", "USD", "1"), "m2")}, "2026-09 acme USD A"},
		"a total beside its parts": {[]schemas.InvoiceLine{september("A", "acme", "USD", "11"),
			model(september("A", "acme", "USD", "10"), "m1")}, "2026-09 acme USD A"},
		"for all accounts": {[]schemas.InvoiceLine{september("A", "", "USD", "22.01")}, all},
		"for all accounts, and one for one": {[]schemas.InvoiceLine{september("A", "", "USD", "22.01"),
			september("B", "acme", "USD", "11")}, ""},
		"one number for two accounts": {[]schemas.InvoiceLine{september("A", "acme", "USD", "11"),
			september("A", "zeta", "USD", "11")}, all},
		"one number, and one of two is wrong": {[]schemas.InvoiceLine{september("A", "acme", "USD", "11"),
			september("A", "zeta", "USD", "12")}, ""},
		"two invoices of the month": {[]schemas.InvoiceLine{september("A", "acme", "USD", "10"),
			september("B", "acme", "USD", "1")}, ""},
		"an invoice and a credit note": {[]schemas.InvoiceLine{september("A", "acme", "USD", "12"),
			september("C", "acme", "USD", "-1")}, ""},
		"and one for a part of it": {[]schemas.InvoiceLine{september("A", "acme", "USD", "11"),
			line("B", "acme", "2026-09-30", "2026-10-02", "USD", "0")}, ""},
		"for a part of the month": {[]schemas.InvoiceLine{line("A", "acme", "2026-09-01", "2026-09-02", "USD",
			"11")}, ""},
		"for two months": {[]schemas.InvoiceLine{line("A", "acme", "2026-08-01", "2026-10-01", "USD",
			"22.01")}, ""},
		"of an open month": {[]schemas.InvoiceLine{line("A", "acme", "2026-10-01", "2026-11-01", "USD",
			"11")}, ""},
	} {
		finance.Invoices = c.lines
		w.Publish(publish.PublishOptions{Finance: finance})
		for _, view := range []string{"focus", "focus_1_4"} {
			got := strings.Join(w.Ask(fmt.Sprintf(`SELECT DISTINCT concat_ws(' ', strftime(BillingPeriodStart, '%%Y-%%m'),
				BillingAccountId, BillingCurrency, InvoiceId) AS i FROM %s WHERE InvoiceId IS NOT NULL ORDER BY 1`, view)), "|")
			if got = strings.NewReplacer("{'i': ", "", "}", "", "'", "").Replace(got); got != c.want {
				t.Errorf("%s: %s has %q, want %q", what, view, got, c.want)
			}
		}
		if got := w.One("SELECT count(*) AS n FROM focus WHERE BillingPeriodStart = '2026-10-01 00:00:00+00' AND InvoiceId " +
			"IS NOT NULL"); got != "{'n': 0}" {
			t.Errorf("%s: an open month has an invoice", what)
		}
	}
}

// The datasets beside Cost and Usage have the columns of the specification, and what the closed months and invoices
// say.
func TestTheBillingPeriodAndInvoiceDetailDatasets(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	for _, date := range []string{"2026-09-01", "2026-10-02"} {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date(date)}
		w.Charges(p, loadtest.Charge(p, "a", "tk_2", "m1", "10", "USD"))
	}
	day, m1 := schemastest.Date("2026-09-01"), "m1"
	line := func(n int, invoice, amount string, model *string, day *schemas.Date) schemas.InvoiceLine {
		return schemas.InvoiceLine{Invoice: invoice, From: schemastest.Date("2026-09-01"), To: schemastest.Date("2026-10-01"),
			Currency: "USD", Amount: money(amount), Model: model, Date: day, Source: fmt.Sprintf("i.csv:%d", n)}
	}
	finance := testFinance
	finance.Accounts = []string{"acme"}
	finance.Invoices = []schemas.InvoiceLine{line(2, "A", "12", nil, nil), line(3, "A", "9", &m1, nil),
		line(4, "B", "3", &m1, &day), line(5, "C", "-2", nil, nil)}
	w.Publish(publish.PublishOptions{Finance: finance})
	if _, err := w.CloseMonth("2026-09", finance); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"billing_period": "BillingPeriodCreated BillingPeriodEnd BillingPeriodLastUpdated BillingPeriodStart " +
			"BillingPeriodStatus InvoiceIssuerName",
		"invoice_detail": "BilledCost BillingAccountId BillingCurrency BillingPeriodEnd BillingPeriodStart ChargeCategory " +
			"InvoiceDetailCreated InvoiceDetailDescription InvoiceDetailGrain InvoiceDetailId InvoiceDetailLastUpdated " +
			"InvoiceId InvoiceIssueDate InvoiceIssueStatus InvoiceIssuerName PaymentDueDate PaymentTerms ReferenceInvoiceId",
	} {
		got := strings.Join(w.Ask("SELECT column_name AS c FROM duckdb_columns() WHERE database_name = 'usage' AND "+
			"table_name = 'focus_"+name+"' ORDER BY column_index"), " ")
		if got = strings.NewReplacer("{'c': ", "", "}", "").Replace(got); got != want {
			t.Errorf("%s has %s", name, got)
		}
	}
	w.Answers(map[string]string{
		"SELECT strftime(BillingPeriodStart, '%Y-%m') AS m, BillingPeriodStatus AS s, BillingPeriodLastUpdated >= " +
			"BillingPeriodCreated AS u FROM focus_billing_period ORDER BY m": "{'m': 2026-09, 's': Closed, 'u': true}|{'m': " +
			"2026-10, 's': Open, 'u': true}",
		// B is 3 and C a credit note of which of the two nobody knows; the total of A stands for its part.
		"SELECT InvoiceId AS i, InvoiceDetailId AS l, BilledCost::VARCHAR AS b, BillingAccountId AS a, ChargeCategory AS " +
			"c, ReferenceInvoiceId AS ref, InvoiceDetailDescription AS d FROM focus_invoice_detail ORDER BY l": "{'i': A, " +
			"'l': 'i.csv:2', 'b': 12.000000000000, 'a': acme, 'c': Usage, 'ref': A, 'd': Usage}|{'i': B, 'l': 'i.csv:4', " +
			"'b': 3.000000000000, 'a': acme, 'c': Usage, 'ref': B, 'd': Usage of m1 on 2026-09-01}|{'i': C, 'l': 'i.csv:5', " +
			"'b': -2.000000000000, 'a': acme, 'c': Adjustment, 'ref': C, 'd': Usage}",
		"SELECT InvoiceDetailGrain AS g FROM focus_invoice_detail WHERE InvoiceId = 'B'": `{'g': '{"x_Model":"m1",` +
			`"x_UsageDate":"2026-09-01"}'}`,
		"SELECT count(*) AS n FROM focus_invoice_detail d JOIN focus_billing_period p USING (BillingPeriodStart, " +
			"InvoiceIssuerName) WHERE InvoiceDetailCreated <= BillingPeriodLastUpdated": "{'n': 3}",
	})
	finance.Invoices = finance.Invoices[:2]
	finance.Invoices = append(finance.Invoices, line(5, "C", "-2", nil, nil))
	w.Publish(publish.PublishOptions{Finance: finance})
	w.Answers(map[string]string{
		"SELECT ReferenceInvoiceId AS ref FROM focus_invoice_detail WHERE InvoiceId = 'C'": "{'ref': A}"})
}
