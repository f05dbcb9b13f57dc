package posting

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// column is a column of a vendor's table.
type column struct {
	head string
	of   func(e Entry, l Line) string
	// code says that it names something of the ledger, so that it is refused rather than changed where the ledger can't
	// take it. most is how many characters there may be; 0 is any number.
	code bool
	most int
	// once says that it stands on the first line of an entry alone.
	once bool
}

// table writes the columns of a vendor: comma-separated UTF-8, lines end with CR and LF.
func table(columns func(s Settings) []column) func(Format, []Entry, Settings) ([]byte, error) {
	return func(f Format, entries []Entry, s Settings) ([]byte, error) {
		list := columns(s)
		heads := make([]string, len(list))
		for i, c := range list {
			heads[i] = c.head
		}
		out := [][]string{heads}
		for _, e := range entries {
			rows, err := lines(f, list, e)
			if err != nil {
				return nil, err
			}
			out = append(out, rows...)
		}
		return separated(out)
	}
}

// lines are the rows of an entry.
func lines(f Format, columns []column, e Entry) ([][]string, error) {
	var out [][]string
	for i, l := range e.Lines {
		row := make([]string, len(columns))
		for j, c := range columns {
			if c.once && i > 0 {
				continue
			}
			row[j] = c.of(e, l)
			if err := c.takes(f, row[j], l); c.code && err != nil {
				return nil, err
			}
		}
		out = append(out, row)
	}
	return out, nil
}

// takes says that a ledger can take a code.
func (c column) takes(f Format, code string, l Line) error {
	const rename = "give it another code in the allocation rules, or its name in the ledger: journal: accounts"
	what := words.Cell(strings.TrimPrefix(c.head, "*"))
	switch {
	case strings.HasPrefix(code, "("):
		return refuse("name one in the config: journal: gl_code, journal: credit_gl_code",
			"%s: no account of the general ledger for %s: %s", f.Name, words.Cell(l.whom()), words.Cell(code))
	case c.most > 0 && utf8.RuneCountInString(code) > c.most:
		return refuse(rename, "%s: %s has at most %d characters, and %q of %s has more", f.Name, what, c.most,
			words.Cell(code), words.Cell(l.whom()))
	case strings.ContainsFunc(code, func(r rune) bool { return words.Steers(r) }) || strings.TrimSpace(code) != code:
		return refuse(rename, "%s: %s of %s has characters that can't be seen: %q", f.Name, what, words.Cell(l.whom()), code)
	case code != "" && strings.ContainsRune("=+-@＝＋－＠", first(code)):
		return refuse(rename, "%s: a spreadsheet would compute %s %q of %s", f.Name, what, code, words.Cell(l.whom()))
	}
	return nil
}

func first(s string) rune {
	r, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(s, unicode.IsSpace))
	return r
}

// separated writes rows as comma-separated values.
func separated(rows [][]string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	if err := w.WriteAll(rows); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// What several tables have.

func (s Settings) account(_ Entry, l Line) string {
	name, _ := s.named(l.Account)
	return name
}

// center is the cost centre where the ledger has such a thing; the credit has none, nor has what nobody is charged for.
func center(_ Entry, l Line) string {
	if l.CostCenter == schemas.Unallocated {
		return ""
	}
	return l.CostCenter
}

func description(most int) func(Entry, Line) string {
	return func(_ Entry, l Line) string { return l.text(most) }
}

func debit(_ Entry, l Line) string { return l.debit() }

func credit(_ Entry, l Line) string { return l.credit() }

func number(e Entry, _ Line) string { return e.Number }

// titled is what an entry is called, with its number, which makes it the only one that is called so.
func titled(e Entry, _ Line) string { return e.Narration + " " + e.Number }

func dated(form string) func(Entry, Line) string {
	return func(e Entry, _ Line) string { return date(e.Date, form) }
}

// constant is a value of the settings.
func constant(value string) func(Entry, Line) string {
	return func(Entry, Line) string { return value }
}

// xero are the columns of its template; those with a star are mandatory. Lines of one narration and date are one
// journal, so that the narration has the number. Amounts are signed.
func xero(s Settings) []column {
	columns := []column{
		{head: "*Narration", of: titled},
		{head: "*Date", of: dated("DD/MM/YYYY")},
		{head: "Description", of: description(0)},
		{head: "*AccountCode", of: s.account, code: true},
		{head: "*TaxRate", of: constant(s.Xero.TaxRate)},
		{head: "*Amount", of: func(_ Entry, l Line) string { return l.Amount.Posted() }},
	}
	tracked := func(of func(Entry, Line) string) func(Entry, Line) string {
		return func(e Entry, l Line) string {
			if s.Xero.Tracking == "" || center(e, l) == "" {
				return ""
			}
			return of(e, l)
		}
	}
	return append(columns,
		column{head: "TrackingName1", of: tracked(constant(s.Xero.Tracking))},
		column{head: "TrackingOption1", of: tracked(center), code: true},
		column{head: "TrackingName2", of: constant("")}, column{head: "TrackingOption2", of: constant("")})
}

// quickBooks are the columns that Intuit's page lists.
func quickBooks(s Settings) []column {
	return []column{
		{head: "Journal No", of: number},
		{head: "Journal Date", of: dated(cmp.Or(s.QuickBooks.DateFormat, "MM/DD/YYYY"))},
		{head: "Account Name", of: s.account, code: true},
		{head: "Description", of: description(0)},
		{head: "Debits", of: debit},
		{head: "Credits", of: credit},
	}
}

// netSuite are fields of the body on every line, then those of the line. With both of them, Memo is the body's and Line
// Memo the line's.
func netSuite(s Settings) []column {
	columns := []column{
		{head: "External ID", of: func(e Entry, _ Line) string { return e.ID }},
		{head: "Date", of: dated(cmp.Or(s.NetSuite.DateFormat, "MM/DD/YYYY"))},
		{head: "Currency", of: func(e Entry, _ Line) string { return e.Currency }},
		{head: "Memo", of: titled},
	}
	if s.NetSuite.Subsidiary != "" {
		columns = append(columns, column{head: "Subsidiary", of: constant(s.NetSuite.Subsidiary)})
	}
	columns = append(columns,
		column{head: "Account", of: s.account, code: true},
		column{head: "Debit", of: debit},
		column{head: "Credit", of: credit},
		column{head: "Line Memo", of: description(0)})
	if s.NetSuite.CostCenter != "" {
		columns = append(columns, column{head: s.NetSuite.CostCenter, of: center, code: true})
	}
	return columns
}

// odoo are fields of account.move on the first line of an entry, and those of its line_ids on each.
func odoo(s Settings) []column {
	columns := []column{
		{head: "id", of: func(e Entry, _ Line) string { return e.ID }, once: true},
		{head: "date", of: dated("YYYY-MM-DD"), once: true},
		{head: "ref", of: titled, once: true},
	}
	if s.Odoo.Journal != "" {
		columns = append(columns, column{head: "journal_id", of: constant(s.Odoo.Journal), once: true})
	}
	// The side on which nothing stands is 0: what is left out would be a default.
	or0 := func(of func(Entry, Line) string) func(Entry, Line) string {
		return func(e Entry, l Line) string { return cmp.Or(of(e, l), "0") }
	}
	return append(columns,
		column{head: "line_ids/id", of: func(_ Entry, l Line) string { return l.ID }},
		column{head: "line_ids/account_id", of: s.account, code: true},
		column{head: "line_ids/name", of: description(0)},
		column{head: "line_ids/debit", of: or0(debit)},
		column{head: "line_ids/credit", of: or0(credit)})
}

// sapHead are the fields of a journal entry's head, by their technical names, sapLines those of its lines.
func sapHead(s Settings) ([]string, []column) {
	form := cmp.Or(s.SAP.DateFormat, "YYYYMMDD")
	return []string{"BUKRS", "BLART", "BLDAT", "BUDAT", "BKTXT", "WAERS", "XBLNR"}, []column{
		{head: "*Company Code (4)", of: constant(s.SAP.CompanyCode), code: true, most: 4},
		{head: "*Journal Entry Type (2)", of: constant(cmp.Or(s.SAP.Type, "SA")), code: true, most: 2},
		{head: "*Journal Entry Date", of: dated(form)},
		{head: "*Posting Date", of: dated(form)},
		{head: "Document Header Text (25)", of: func(e Entry, _ Line) string { return words.Clip(e.Narration, 25) }},
		{head: "*Transaction Currency (5)", of: func(e Entry, _ Line) string { return e.Currency }, code: true, most: 5},
		{head: "Reference Document Number (16)", of: number, code: true, most: 16},
	}
}

func sapLines(s Settings) ([]string, []column) {
	names := []string{"BUKRS", "HKONT", "SGTXT", "WRSOL", "WRHAB", "MWSKZ"}
	columns := []column{
		{head: "Company Code (4)", of: constant(s.SAP.CompanyCode), code: true, most: 4},
		{head: "G/L Account (10)", of: s.account, code: true, most: 10},
		{head: "Item Text (50)", of: description(50)},
		{head: "Debit", of: debit},
		{head: "Credit", of: credit},
		{head: "Tax Code (2)", of: func(_ Entry, l Line) string {
			if l.Credit {
				return ""
			}
			return s.SAP.TaxCode
		}, code: true, most: 2},
	}
	if s.SAP.CostCenters {
		names = append(names, "KOSTL")
		columns = append(columns, column{head: "Cost Center (10)", of: center, code: true, most: 10})
	}
	return names, columns
}

// sap writes the arrangement of the app's own template: for each entry a section of its head, and one of its lines,
// each under the fields' technical names and their labels.
func sap(f Format, entries []Entry, s Settings) ([]byte, error) {
	headNames, head := sapHead(s)
	lineNames, line := sapLines(s)
	wide := max(len(head), len(line)) + 1
	row := func(cells ...string) []string { return append(cells, make([]string, wide-len(cells))...) }
	labels := func(columns []column) []string {
		out := []string{""}
		for _, c := range columns {
			out = append(out, c.head)
		}
		return row(out...)
	}
	under := func(names []string) []string { return row(append([]string{""}, names...)...) }
	rows := [][]string{row("Upload General Journal Entry"), row("// written by usagelake: " + entries[0].Period.Name()),
		row("// fields by their technical names"), row("Batch ID"), row()}
	for i, e := range entries {
		one := e
		one.Lines = e.Lines[:1] // the head is that of any line
		cells, err := lines(f, head, one)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row(strconv.Itoa(i+1), "Header"), under(headNames), labels(head),
			row(append([]string{""}, cells[0]...)...), row(), row("", "Line Items"),
			row("", "", "", "", "Transaction Currency"), under(lineNames), labels(line))
		if cells, err = lines(f, line, e); err != nil {
			return nil, err
		}
		for _, c := range cells {
			rows = append(rows, row(append([]string{""}, c...)...))
		}
		rows = append(rows, row())
	}
	return separated(rows)
}
