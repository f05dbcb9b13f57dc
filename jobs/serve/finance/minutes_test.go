package finance

import (
	"encoding/csv"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// asks is what a query comes to: one cell.
func (w *world) asks(sql string) string {
	w.t.Helper()
	rows, err := query.Run(w.t.Context(), w.w.Lake, sql)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	out := ""
	for row, err := range rows.All(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		out = row[0].Text
	}
	return out
}

// money is an exact amount.
func money(t *testing.T, exact string) schemas.Money {
	t.Helper()
	m, err := schemas.ParseMoney(exact)
	if err != nil {
		t.Fatal(err)
	}
	return m.In("USD")
}

// The ten things of "ten minutes" (docs/finance.md), each in a browser by clicks and forms alone, and each figure held
// against the records.
func tenMinutesOnThePage(t *testing.T, w *world, _ publish.ClosedMonth) {
	viewers := w.viewers
	defer func() { w.viewers = viewers }()
	w.viewers = nil
	server := httptest.NewServer(w.site)
	defer server.Close()
	b := browse(t, server.URL+Root)
	const november = " FROM usage WHERE usage_date >= '2026-11-01'"
	is := func(what, got, exact string) {
		t.Helper()
		if want := money(t, exact).Amount(); got != want {
			t.Errorf("%s: the page says %q, the records %s", what, got, want)
		}
	}

	// 1. What is each cost centre charged? With what came late of October, which is charged now.
	b.click("td a", "2026-11")
	late := "4.5 * (token_id LIKE '%2')::INT + 7 * (token_id LIKE '%6')::INT"
	of := func(digit string) string {
		return w.asks("SELECT sum(amount) + max(" + late + ")" + november + " AND token_id LIKE '%" + digit + "'")
	}
	is("cc-0", b.cell("cc-0", "Net"), of("0"))
	is("cc-4", b.cell("cc-4", "Net"), of("4"))
	is("all", b.cell("Total", "Net"), w.asks("SELECT sum(amount) + 11.5"+november))
	is("the pool's part of cc-2", b.cell("cc-2", "Net"),
		w.asks("SELECT sum(amount) FILTER (token_id LIKE '%2') + sum(amount) FILTER (model = 'model-1') / 2 + 4.5"+november))

	// 2. Why so much? Narrowed by the form to a cost centre, and who costs most in it.
	b.click(".reports a", "Top")
	b.choose("cost_center", "cc-4")
	b.write("[name=top]", "3")
	b.click(".choose button", "")
	is("the top token", b.cell("tk_hidden4", "Net"), of("4"))
	if address := b.js("location.search"); !strings.Contains(address, "cost_center=cc-4") ||
		!strings.Contains(address, "top=3") || !strings.Contains(address, "period=2026-11") {
		t.Errorf("the form asks for %s", address)
	}

	// 3. Which prices changed?
	b.click(".choose a", "everything")
	b.click(".reports a", "Prices")
	if got := b.heading(); got != "Prices and discounts" {
		t.Errorf("prices: %s", got)
	}
	is("a model's net", b.cell("model-both", "Net"), w.asks("SELECT sum(amount)"+november+" AND model = 'model-both'"))

	// 4. Who pays for what nobody owns? The row leads to its cause, and that to its records.
	b.click(".reports a", "Chargeback")
	is("nobody's", b.cell(schemas.Unallocated, "Net"), "3.21")
	b.click("td a", schemas.Unallocated)
	is("its cause", b.cell("tk_nobody1", "Net"), "3.21")
	b.click("td a", "tk_nobody1")
	if got := b.js(`document.querySelector("main").textContent`); !strings.Contains(got, "rec-nobodys") ||
		!strings.Contains(got, "3.21") || strings.Contains(got, "rec-own") {
		t.Error("its records aren't those of the token")
	}

	// 5. Do the budgets hold?
	b.click(".choose a", "everything")
	b.click(".reports a", "Budget")
	is("spent of all", b.cell("Hidden of all", "Spent"), w.asks("SELECT sum(amount) + 11.5"+november))

	// 6 and 7. The statement of a cost centre, as a workbook and as a page to send.
	b.click(".reports a", "Statement")
	b.choose("cost_center", "cc-2")
	b.choose("period", "2026-10")
	b.click(".choose button", "")
	october := w.asks(`SELECT sum(amount) FILTER (token_id LIKE '%2') + sum(amount) FILTER (model = 'model-1') / 2
		FROM usage WHERE usage_date < '2026-11-01' AND id NOT LIKE '%late'`)
	if got := b.js(`document.querySelector("main").textContent`); !strings.Contains(got, money(t, october).Amount()) {
		t.Errorf("the statement has no %s", money(t, october).Amount())
	}
	name, workbook := b.download(".files a", "XLSX")
	if name != "statement-2026-10.xlsx" || !strings.HasPrefix(string(workbook), "PK") {
		t.Errorf("the workbook is %s", name)
	}
	name, page := b.download(".files a", "page to send")
	if name != "statement-2026-10.html" || !strings.Contains(string(page), money(t, october).Amount()) {
		t.Errorf("the page is %s", name)
	}

	// 8 and 9. Which months are closed, and what was each cost centre handed?
	b.click(".reports a", "Months")
	b.click("td a", "closed")
	if got := b.heading(); got != "Closed month 2026-10" {
		t.Errorf("the closed month: %s", got)
	}
	is("charged later", b.cell("2026-11", "Correction"), "7")
	name, handed := b.download(`a[href*="cc-2"][href$="csv&period=2026-10"], a[href*="cc-2"][href*=".csv"]`, "")
	if sum := sumOf(t, string(handed), "net_cost"); sum.Cmp(money(t, october)) != 0 {
		t.Errorf("%s sums to %s, the records to %s", name, sum.Exact(), october)
	}

	// 10. Anything else, as a file.
	b.click(".reports a", "SQL")
	b.write("#q", "SELECT cost_center, net_cost, currency FROM spend_by_cost_center_month WHERE month = '2026-11-01'")
	b.click(".box button", "")
	name, answer := b.download(".files a", "CSV")
	want := w.asks("SELECT sum(amount) + 11.5" + november)
	if sum := sumOf(t, string(answer), "net_cost"); sum.Cmp(money(t, want)) != 0 {
		t.Errorf("%s sums to %s, the records to %s", name, sum.Exact(), want)
	}

	if len(b.complains) > 0 {
		t.Errorf("the browser complains: %s", b.complains)
	}
}

// sumOf is what a column of a CSV file comes to.
func sumOf(t *testing.T, text, column string) (sum schemas.Money) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range rows[0] {
		for _, row := range rows[1:] {
			if name == column {
				sum = sum.Add(money(t, row[i]))
			}
		}
	}
	return sum
}
