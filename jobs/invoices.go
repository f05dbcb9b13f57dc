package jobs

import (
	"errors"
	"fmt"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// invoiceColumns are those of an invoice file.
var invoiceColumns = []string{"invoice", "period", "from", "to", "account", "date", "model", "amount", "currency",
	"book_amount"}

// ParseInvoices reads an invoice file: CSV with a header of invoice, period (2026-10) or from and to (excluded),
// amount, currency, and where the invoice has them account, date and model, and book_amount, what it came to in the
// currency of the books. A line with neither date nor model is the invoice's total. Other columns are passed over.
// Every mistake is reported, with its line.
func ParseInvoices(name string, b []byte) ([]schemas.InvoiceLine, error) {
	var lines []schemas.InvoiceLine
	err := allocate.ReadSheet(name, b, allocate.Ours(invoiceColumns), func(columns map[string]int) []error {
		errs := allocate.Lacking(columns, "invoice", "amount", "currency")
		_, period := columns["period"]
		_, from := columns["from"]
		_, to := columns["to"]
		if period == (from || to) || from != to {
			errs = append(errs, errors.New("give the column period (2026-10), or from and to (excluded)"))
		}
		return errs
	}, func(line int, cell func(string) string) error {
		l, err := invoiceLine(cell)
		l.Source = fmt.Sprintf("%s:%d", name, line)
		lines = append(lines, l)
		return err
	})
	return lines, err
}

func invoiceLine(cell func(string) string) (schemas.InvoiceLine, error) {
	l := schemas.InvoiceLine{Invoice: cell("invoice"), Account: cell("account"), Currency: cell("currency")}
	var errs []error
	if l.Invoice == "" {
		errs = append(errs, errors.New("no invoice number"))
	}
	if p := cell("period"); p != "" {
		month, err := schemas.ParseMonth(p)
		errs = append(errs, err)
		l.From, l.To = month.First(), (month + 1).First()
	} else {
		var err1, err2 error
		l.From, err1 = schemas.ParseDate(cell("from"))
		l.To, err2 = schemas.ParseDate(cell("to"))
		errs = append(errs, err1, err2)
		if err1 == nil && err2 == nil && l.From >= l.To {
			errs = append(errs, fmt.Errorf("from %s is not before to %s (which is excluded)", l.From, l.To))
		}
	}
	if d := cell("date"); d != "" {
		date, err := schemas.ParseDate(d)
		errs = append(errs, err)
		if err == nil && (date < l.From || date >= l.To) {
			errs = append(errs, fmt.Errorf("the date %s lies outside the period", d))
		}
		l.Date = &date
	}
	if m := cell("model"); m != "" {
		l.Model = &m
	}
	var err error
	if l.Amount, err = schemas.ParseMoney(cell("amount")); err != nil {
		errs = append(errs, err)
	}
	if !schemas.IsCurrency(l.Currency) {
		errs = append(errs, fmt.Errorf("currency %q is not an ISO 4217 code like USD", l.Currency))
	}
	if b := cell("book_amount"); b != "" {
		book, err := schemas.ParseMoney(b)
		if err != nil {
			errs = append(errs, fmt.Errorf("book_amount: %w", err))
		}
		l.Book = &book
	}
	return l, errors.Join(errs...)
}
