package posting

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Format is a form that a ledger imports.
type Format struct {
	Name   string // xero
	Ledger string // Xero
	// Source is where the columns and limits are written, and Seen when that was read; "" where it wasn't: SAP's page
	// wants a login, and of plain-text accounting the programs themselves are run.
	Source, Seen string
	Ext          string // of its files
	// Limits of a file and of an entry in it; 0 is none that is known.
	FileLines, EntryLines int
	// Digits before the decimal sign and behind it, at the most; 0 is any number.
	Digits, Decimals int
	// OneCurrency says that a file has no place for a currency, and so holds one alone; OneKind that a reversal, which is
	// of another period, has a file of its own.
	OneCurrency, OneKind bool
	prefix               string // of its files' names
	write                func(f Format, entries []Entry, s Settings) ([]byte, error)
}

// The dimensions that NetSuite knows, as columns.
var netSuiteDimensions = []string{"Department", "Class", "Location"}

// Formats are the forms that are known.
func Formats() []Format {
	return []Format{
		{Name: "netsuite", Ledger: "NetSuite",
			Source: "https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_1534492737.html", Seen: "2026-11-30",
			Ext: "csv", EntryLines: 10_000, Digits: 10, Decimals: 2, write: table(netSuite)},
		{Name: "sap", Ledger: "SAP S/4HANA",
			Source: "https://help.sap.com/docs/SAP_S4HANA_CLOUD/0fa84c9d9c634132b7c4abb9ffdd8f06/" +
				"583f130d246a4c61ab954580fe21787a.html",
			Ext: "csv", EntryLines: 999, write: sap},
		{Name: "quickbooks", Ledger: "QuickBooks Online",
			Source: "https://quickbooks.intuit.com/learn-support/en-au/help-article/import-export-files/" +
				"import-journal-entries-quickbooks-online/L4tQBwbs7_AU_en_AU", Seen: "2026-11-30",
			Ext: "csv", OneCurrency: true, write: table(quickBooks)},
		{Name: "xero", Ledger: "Xero",
			Source: "https://help.xero.com/nz/ManualJournalsImport", Seen: "2026-11-30",
			Ext: "csv", FileLines: 300, EntryLines: 300, OneCurrency: true, write: table(xero)},
		{Name: "odoo", Ledger: "Odoo",
			Source: "https://www.odoo.com/documentation/19.0/applications/essentials/export_import_data.html", Seen: "2026-11-30",
			Ext: "csv", OneCurrency: true, write: table(odoo)},
		{Name: "datev", Ledger: "DATEV",
			Source: "https://developer.datev.de/datev/platform/de/dtvf/formate/buchungsstapel", Seen: "2026-11-30",
			Ext: "csv", FileLines: 99_999, EntryLines: 99_999, Digits: 10, Decimals: 2, OneCurrency: true, OneKind: true,
			prefix: "EXTF_", write: datev},
		{Name: "hledger", Ledger: "hledger",
			Source: "https://hledger.org/1.25/hledger.html", Ext: "hledger", write: plainText},
		{Name: "beancount", Ledger: "Beancount",
			Source: "https://beancount.github.io/docs/beancount_language_syntax.html", Ext: "beancount",
			write: beancount},
		{Name: "ledger", Ledger: "Ledger",
			Source: "https://ledger-cli.org/doc/ledger3.html", Ext: "ledger", write: plainText},
	}
}

// Names are the names of the formats.
func Names() []string {
	var out []string
	for _, f := range Formats() {
		out = append(out, f.Name)
	}
	return out
}

// Find is the format of a name.
func Find(name string) (Format, bool) {
	all := Formats()
	i := slices.IndexFunc(all, func(f Format) bool { return f.Name == name })
	if i < 0 {
		return Format{}, false
	}
	return all[i], true
}

// File is a file to import.
type File struct {
	Name    string // journal-2026-10-xero-USD.csv
	Content []byte
}

// Write writes entries in formats, of Names. What can't be posted is an Error, and then there is no file.
func Write(entries []Entry, s Settings, formats []string) ([]File, error) {
	var out []File
	for _, name := range formats {
		f, _ := Find(name)
		files, err := f.Write(entries, s)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	return out, nil
}

// Write writes entries in the format. What can't be posted is an Error, and then there is no file.
func (f Format) Write(entries []Entry, s Settings) ([]File, error) {
	if lacks := s.Lacks(f.Name); len(lacks) > 0 {
		return nil, refuse("set journal: "+lacks[0].Key+" in the config", "%s", lacks[0].Text)
	}
	// Those that may stand in one file, in order.
	var names []string
	groups := map[string][]Entry{}
	for _, e := range entries {
		if err := f.fits(e); err != nil {
			return nil, err
		}
		name := f.name(e)
		if groups[name] == nil {
			names = append(names, name)
		}
		groups[name] = append(groups[name], e.split(f.EntryLines, s)...)
	}
	var out []File
	for _, name := range names {
		packed := pack(groups[name], f.FileLines)
		for i, part := range packed {
			for _, e := range part { // once more, as they are written
				if err := e.balance(); err != nil {
					return nil, err
				}
			}
			content, err := f.write(f, part, s)
			if err != nil {
				return nil, err
			}
			number := ""
			if len(packed) > 1 {
				number = fmt.Sprintf("-%d", i+1)
			}
			out = append(out, File{name + number + "." + f.Ext, content})
		}
	}
	return out, nil
}

// name is that of the file that an entry stands in, without a number and its ending.
func (f Format) name(e Entry) string {
	parts := []string{f.prefix + "journal", e.Period.Name(), f.Name}
	if f.OneCurrency {
		parts = append(parts, e.Currency)
	}
	switch {
	case e.Kind == Reversal && f.OneKind:
		parts = append(parts, string(Reversal))
	case e.Kind != Charge:
		parts = append(parts, string(Accrual))
	}
	return strings.Join(parts, "-")
}

// pack puts entries into files of at most so many lines, in order; 0 is any number.
func pack(entries []Entry, most int) [][]Entry {
	var out [][]Entry
	lines := 0
	for _, e := range entries {
		if len(out) == 0 || most > 0 && lines+len(e.Lines) > most {
			out, lines = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], e)
		lines += len(e.Lines)
	}
	return out
}

// fits says that the format takes the amounts of an entry.
func (f Format) fits(e Entry) error {
	if !schemas.IsCurrency(e.Currency) {
		return refuse("set currency of the account in the config, and export those days anew: usagelake export --refetch",
			"%s has charges in the currency %q, which no ledger knows", e.Period.Title(), words.Cell(e.Currency))
	}
	if f.Decimals > 0 && schemas.MinorUnit(e.Currency) > f.Decimals {
		return refuse("post it by hand, or with another format", "%s takes %d decimals, and %s has %d", f.Ledger, f.Decimals,
			e.Currency, schemas.MinorUnit(e.Currency))
	}
	for _, l := range e.Lines {
		whole, _, _ := strings.Cut(l.Amount.Abs().Posted(), ".")
		if f.Digits > 0 && len(whole) > f.Digits {
			return refuse("post it by hand, or with another format", "%s takes amounts of %d digits before the decimal sign, "+
				"and %s is charged %s", f.Ledger, f.Digits, words.Cell(l.whom()), l.Amount.Exact())
		}
	}
	return nil
}

// whom is the owner of a line as messages name it.
func (l Line) whom() string { return cmp.Or(l.CostCenter, "the credit") }

// debit and credit are the amount on the side where it stands, with the decimals of its currency; "" on the other. A
// debit below 0, as of refunds, is a credit.
func (l Line) debit() string {
	if l.Amount.Sign() < 0 {
		return ""
	}
	return l.Amount.Posted()
}

func (l Line) credit() string {
	if l.Amount.Sign() > 0 {
		return ""
	}
	return l.Amount.Neg().Posted()
}
