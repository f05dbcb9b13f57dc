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

// ParseInvoices reads an invoice file: a table of invoice, period (2026-10) or from and to (excluded),
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
	}, func(r *allocate.Row) error {
		l, err := invoiceLine(r)
		l.Source = r.Source()
		lines = append(lines, l)
		return err
	})
	return lines, err
}

func invoiceLine(r *allocate.Row) (schemas.InvoiceLine, error) {
	l := schemas.InvoiceLine{Invoice: r.Text("invoice"), Account: r.Text("account"), Currency: r.Text("currency")}
	var errs []error
	if l.Invoice == "" {
		errs = append(errs, r.Wrong("invoice", "no invoice number"))
	}
	if !r.Empty("period") {
		month, err := schemas.ParseMonth(r.Period("period"))
		if err != nil {
			errs = append(errs, r.Wrong("period", "%w", err))
		}
		l.From, l.To = month.First(), (month + 1).First()
	} else {
		var err1, err2 error
		l.From, err1 = r.Date("from")
		l.To, err2 = r.Date("to")
		errs = append(errs, err1, err2)
		if err1 == nil && err2 == nil && l.From >= l.To {
			errs = append(errs, r.Wrong("to", "from %s is not before to %s (which is excluded)", l.From, l.To))
		}
	}
	if !r.Empty("date") {
		date, err := r.Date("date")
		errs = append(errs, err)
		if err == nil && (date < l.From || date >= l.To) {
			errs = append(errs, r.Wrong("date", "the date %s lies outside the period", date))
		}
		l.Date = &date
	}
	if m := r.Text("model"); m != "" {
		l.Model = &m
	}
	var err error
	if l.Amount, err = allocate.Number(r, "amount", schemas.ParseMoney); err != nil {
		errs = append(errs, err)
	}
	if !schemas.IsCurrency(l.Currency) {
		errs = append(errs, r.Wrong("currency", "currency %q is not an ISO 4217 code like USD", l.Currency))
	}
	if !r.Empty("book_amount") {
		book, err := allocate.Number(r, "book_amount", schemas.ParseMoney)
		if err != nil {
			errs = append(errs, fmt.Errorf("book_amount: %w", err))
		}
		l.Book = &book
	}
	return l, errors.Join(errs...)
}
