package posting

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// Settings are what a ledger has to be told that usage doesn't know, as the config's section journal has them.
type Settings struct {
	Accounts    []Account  // what codes are called in the ledger, where they are called something else
	PostingDate string     // MonthEnd or NextMonth; "" is MonthEnd
	Series      string     // begins the numbers of entries; "" is DefaultSeries
	Narration   string     // "" is DefaultNarration; {period} in it is the period's name
	Xero        Xero       // of the format xero
	QuickBooks  QuickBooks // quickbooks
	NetSuite    NetSuite   // netsuite
	SAP         SAP        // sap
	Odoo        Odoo       // odoo
	DATEV       DATEV      // datev
	PlainText   PlainText  // hledger, ledger, beancount
}

// Account is what a code of the general ledger is called in a ledger that goes by names.
type Account struct {
	GLCode string `yaml:"gl_code"`
	Name   string `yaml:"name"`
}

// Xero says how Xero's manual journals are filled in.
type Xero struct {
	TaxRate  string `yaml:"tax_rate"` // as Xero shows it; it is mandatory there
	Tracking string `yaml:"tracking"` // the tracking category of cost centres; "": none
}

// QuickBooks says how QuickBooks Online's journal entries are filled in.
type QuickBooks struct {
	DateFormat string `yaml:"date_format"` // of DateFormats; "" is MM/DD/YYYY
}

// NetSuite says how NetSuite's journal entries are filled in.
type NetSuite struct {
	Subsidiary string `yaml:"subsidiary"`  // of OneWorld
	CostCenter string `yaml:"cost_center"` // the column of cost centres: Department, Class, Location; "": none
	DateFormat string `yaml:"date_format"` // as the user's preferences have it; "" is MM/DD/YYYY
}

// SAP says how SAP S/4HANA's general journal entries are filled in.
type SAP struct {
	CompanyCode string `yaml:"company_code"` // at most 4 characters; mandatory there
	Type        string `yaml:"type"`         // of the journal entry, 2 characters; "" is SA
	TaxCode     string `yaml:"tax_code"`     // of the debits
	CostCenters bool   `yaml:"cost_centers"` // whether cost centres are SAP's own
	DateFormat  string `yaml:"date_format"`  // "" is YYYYMMDD
}

// Odoo says how Odoo's journal entries are filled in.
type Odoo struct {
	Journal string `yaml:"journal"` // its name; "": Odoo's own choice
}

// DATEV says how DATEV's posting batches are filled in. What a batch is for has no default.
type DATEV struct {
	Consultant    int    `yaml:"consultant"`     // 1001 to 9999999
	Client        int    `yaml:"client"`         // 1 to 99999
	AccountLength int    `yaml:"account_length"` // digits of a general ledger account, 4 to 8; 0 is 4
	FiscalYear    int    `yaml:"fiscal_year"`    // first month of the client's; 0 is January
	Currency      string `yaml:"currency"`       // of the client's books; "" is EUR
	TaxKey        string `yaml:"tax_key"`        // of the debits, up to 4 digits
	CostCenters   bool   `yaml:"cost_centers"`   // whether cost centres are DATEV's own
}

// PlainText says where accounts stand in the tree of a plain-text ledger.
type PlainText struct {
	Debit  string `yaml:"debit"`  // above what is debited; "" is Expenses
	Credit string `yaml:"credit"` // above what is credited; "" is Liabilities
}

// Values of Settings.
const (
	MonthEnd  = "month_end"  // the last day of the period
	NextMonth = "next_month" // the first day after it

	DefaultSeries    = "UL"
	DefaultNarration = "LLM usage {period}"
)

// DateFormats are how a date can be written where a ledger goes by somebody's preferences, and Go's form of each.
func dateForms() map[string]string {
	return map[string]string{"MM/DD/YYYY": "01/02/2006", "DD/MM/YYYY": "02/01/2006", "DD.MM.YYYY": "02.01.2006",
		"YYYY-MM-DD": "2006-01-02", "YYYYMMDD": "20060102"}
}

// DateFormats are the names of those forms.
func DateFormats() []string {
	return []string{"MM/DD/YYYY", "DD/MM/YYYY", "DD.MM.YYYY", "YYYY-MM-DD", "YYYYMMDD"}
}

// Mistake is something wrong with Settings: Key is that of the config's section journal, such as datev.client.
type Mistake struct{ Key, Text string }

var (
	series      = regexp.MustCompile(`^[A-Z][A-Z0-9]{0,3}$`)
	companyCode = regexp.MustCompile(`^[A-Z0-9]{1,4}$`)
	entryType   = regexp.MustCompile(`^[A-Z0-9]{1,2}$`)
	taxKey      = regexp.MustCompile(`^[0-9]{1,4}$`)
	root        = regexp.MustCompile(`^\p{Lu}[\p{L}\p{Nd}-]*(:[\p{Lu}\p{Nd}][\p{L}\p{Nd}-]*)*$`)
)

// Validate lists the values that can't be meant.
func (s Settings) Validate() []Mistake {
	var out []Mistake
	bad := func(key, format string, args ...any) { out = append(out, Mistake{key, fmt.Sprintf(format, args...)}) }
	matches := func(key, value string, form *regexp.Regexp, what string) {
		if value != "" && !form.MatchString(value) {
			bad(key, "%q is not %s", value, what)
		}
	}
	for i, a := range s.Accounts {
		key := fmt.Sprintf("accounts[%d]", i)
		switch {
		case a.GLCode == "" || a.Name == "":
			bad(key, "give both gl_code (what the rules assign) and name (what the ledger calls it)")
		case slices.ContainsFunc(s.Accounts[:i], func(o Account) bool { return o.GLCode == a.GLCode }):
			bad(key, "the code %q stands twice", a.GLCode)
		}
	}
	if s.PostingDate != "" && s.PostingDate != MonthEnd && s.PostingDate != NextMonth {
		bad("posting_date", "%q is neither %s (the last day of the month) nor %s (the first day after it)", s.PostingDate,
			MonthEnd, NextMonth)
	}
	matches("series", s.Series, series, "1 to 4 capitals and digits, beginning with a letter, such as UL")
	for _, d := range []struct{ key, value string }{{"quickbooks.date_format", s.QuickBooks.DateFormat},
		{"netsuite.date_format", s.NetSuite.DateFormat}, {"sap.date_format", s.SAP.DateFormat}} {
		if d.value != "" && !slices.Contains(DateFormats(), d.value) {
			bad(d.key, "%q is none of %s", d.value, strings.Join(DateFormats(), ", "))
		}
	}
	if c := s.NetSuite.CostCenter; c != "" && !slices.Contains(netSuiteDimensions, c) {
		bad("netsuite.cost_center", "%q is none of %s", c, strings.Join(netSuiteDimensions, ", "))
	}
	matches("sap.company_code", s.SAP.CompanyCode, companyCode, "a company code: up to 4 capitals and digits")
	matches("sap.type", s.SAP.Type, entryType, "a journal entry type: up to 2 capitals and digits, such as SA")
	matches("sap.tax_code", s.SAP.TaxCode, entryType, "a tax code: up to 2 capitals and digits, such as V0")
	between := func(key string, value, least, most int) {
		if value != 0 && (value < least || value > most) {
			bad(key, "%d is not between %d and %d", value, least, most)
		}
	}
	between("datev.consultant", s.DATEV.Consultant, 1001, 9_999_999)
	between("datev.client", s.DATEV.Client, 1, 99_999)
	between("datev.account_length", s.DATEV.AccountLength, 4, 8)
	between("datev.fiscal_year", s.DATEV.FiscalYear, 1, 12)
	if c := s.DATEV.Currency; c != "" && !schemas.IsCurrency(c) {
		bad("datev.currency", "%q is not an ISO 4217 code like EUR", c)
	}
	matches("datev.tax_key", s.DATEV.TaxKey, taxKey, "a tax key: up to 4 digits")
	const account = "an account: words of letters, digits and dashes, each beginning with a capital or digit, with " +
		"colons between them, such as Expenses:AI"
	matches("plain_text.debit", s.PlainText.Debit, root, account)
	matches("plain_text.credit", s.PlainText.Credit, root, account)
	return out
}

// Lacks lists the keys that a format can't do without and that aren't set.
func (s Settings) Lacks(format string) []Mistake {
	var out []Mistake
	need := func(set bool, key, what string) {
		if !set {
			out = append(out, Mistake{key, "the format " + format + " needs " + what})
		}
	}
	switch format {
	case "xero":
		need(s.Xero.TaxRate != "", "xero.tax_rate", "the tax rate's name as Xero shows it, such as Tax Exempt (0%)")
	case "sap":
		need(s.SAP.CompanyCode != "", "sap.company_code", "the company code, such as 1000")
	case "datev":
		need(s.DATEV.Consultant != 0, "datev.consultant", "the tax adviser's number (Beraternummer)")
		need(s.DATEV.Client != 0, "datev.client", "the client's number (Mandantennummer)")
	}
	return out
}

// postedOn is the day on which a closed period is posted.
func (s Settings) postedOn(p schemas.Period) schemas.Date {
	if s.PostingDate == NextMonth {
		return p.To
	}
	return p.To - 1
}

func (s Settings) series() string { return cmp.Or(s.Series, DefaultSeries) }

// named is what a ledger calls an account, and whether the config says so.
func (s Settings) named(code string) (string, bool) {
	for _, a := range s.Accounts {
		if a.GLCode == code {
			return a.Name, true
		}
	}
	return code, false
}

// date writes a date in a form of DateFormats.
func date(d schemas.Date, form string) string { return d.Start().Format(dateForms()[form]) }
