package report

import (
	"context"
	"fmt"

	"github.com/usagelake/usagelake/load/query"
)

// The columns of what is charged in the currency of the books. A document has them if the books have one.
const (
	bookCurrency = "book_currency"
	bookCost     = "book_cost"
)

// inBooks are the measures in the currency of the books, of a relation that has the columns of chargeback_daily: "" if
// the books have none. Exact, a sum has 22 decimals; here it has the twelve of every other amount.
func (b *builder) inBooks() string {
	if b.bookCurrency == "" {
		return ""
	}
	return ", max(book_currency) AS book_currency, book_sum(book_cost, net_cost)::DECIMAL(38,12) AS book_cost"
}

// converting are the columns of inBooks for a relation of usage, which has none.
func (b *builder) converting() string {
	if b.bookCurrency == "" {
		return ""
	}
	return ", " + literal(query.Value{Text: b.bookCurrency}) +
		" AS book_currency, in_books(net_cost, currency, book_date) AS book_cost"
}

// bookFigure is what all of it comes to in the currency of the books, whatever it was charged in.
func (b *builder) bookFigure(ctx context.Context) error {
	if b.bookCurrency == "" {
		return nil
	}
	t, err := b.ask(ctx, "books", "", "SELECT "+byOwner+"max(book_currency) AS book_currency, "+
		"book_sum(book_cost, net_cost)::DECIMAL(38,12) AS book_cost, count(net_cost) AS charges FROM chargeback_daily "+
		"GROUP BY ALL")
	if err != nil {
		return err
	}
	for _, row := range t.Rows { // one, or none
		v, detail := t.value(row, bookCost), "each charge by the rate of its day or period"
		switch {
		case t.value(row, "charges").Text == "0":
			continue
		case v.Null && t.value(row, bookCurrency).Null:
			detail = "it was closed before the books had a currency"
		case v.Null:
			detail = "not all of it has a rate"
		}
		b.number("Net cost in the books", Money, v, query.Value{Text: b.bookCurrency}, detail)
	}
	return b.missingRates(ctx)
}

// missingRates warns of what can't be converted.
func (b *builder) missingRates(ctx context.Context) error {
	t, err := b.ask(ctx, "rates", "", fmt.Sprintf(`SELECT format('{}, {} days from {} to {}: {}', period, days, first_day,
		last_day, lacks) AS note FROM missing_rates WHERE %s ORDER BY ALL`, months(b.period, `"month"`)))
	if err != nil {
		return err
	}
	for _, row := range t.Rows {
		b.warn("what has no rate isn't converted: %s", row[0].Text)
	}
	return nil
}

// currency is what an amount of a row is in.
func (t *Table) currency(row []query.Value, column int) string {
	if t.Columns[column].Name == bookCost {
		return t.value(row, bookCurrency).Text
	}
	return t.value(row, "currency").Text
}

// unconverted says whether a cell is an amount that lacks a rate: a total without it would be about something else.
func (t *Table) unconverted(row []query.Value, column int) bool {
	return t.Columns[column].Name == bookCost && row[column].Null && !t.value(row, "net_cost").Null
}
