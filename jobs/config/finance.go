package config

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Allocation names the allocation rules.
type Allocation struct {
	Rules string `yaml:"rules"` // a YAML or CSV file
}

// Budget is a budget as the config has it. One of the scopes, or none for everything.
type Budget struct {
	Name        string   `yaml:"name"`
	CostCenter  string   `yaml:"cost_center"`
	Team        string   `yaml:"team"`
	Project     string   `yaml:"project"`
	Environment string   `yaml:"environment"`
	Account     string   `yaml:"account"`
	Model       string   `yaml:"model"`
	Amount      string   `yaml:"amount"`
	Currency    string   `yaml:"currency"`
	Period      string   `yaml:"period"` // month, quarter or year of the books, or once
	From        string   `yaml:"from"`
	To          string   `yaml:"to"`         // excluded
	Thresholds  []string `yaml:"thresholds"` // shares of the amount
}

// Value is what b says of one of schemas.BudgetScopes; "" if nothing.
func (b Budget) Value(scope string) string {
	return map[string]string{"cost_center": b.CostCenter, "team": b.Team, "project": b.Project,
		"environment": b.Environment,
		"account":     b.Account, "model": b.Model}[scope]
}

// Parse checks and converts b, whose periods are those of the books; every mistake is reported.
func (b Budget) Parse(books *schemas.Books) (schemas.Budget, error) {
	out := schemas.Budget{Name: b.Name, Currency: b.Currency, Period: b.Period}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if b.Name == "" {
		bad("name: give it one")
	}
	for _, scope := range schemas.BudgetScopes() {
		value := b.Value(scope)
		if value == "" {
			continue
		}
		if out.Scope != "" {
			bad("it has both %s and %s: give one, or none for everything", out.Scope, scope)
		}
		out.Scope, out.Value = scope, value
	}
	var err error
	if out.Amount, err = schemas.ParseMoney(b.Amount); err != nil {
		bad("amount: %w", err)
	} else if out.Amount.Sign() <= 0 {
		bad("amount: %s is not more than 0", b.Amount)
	}
	if !schemas.IsCurrency(b.Currency) {
		bad("currency: %q is not an ISO 4217 code like USD", b.Currency)
	}
	switch b.Period {
	case "":
		out.Period = schemas.BudgetMonth
	case schemas.BudgetMonth, schemas.BudgetQuarter, schemas.BudgetYear:
	case schemas.BudgetOnce:
		if b.From == "" || b.To == "" {
			bad("period once: give from and to (excluded), the days between which it is for")
		}
	default:
		bad("period: %q is none of month, quarter, year and once", b.Period)
	}
	first := func(what, s string) *schemas.Date {
		if s == "" {
			return nil
		}
		d, err := schemas.ParseDate(s)
		if err != nil {
			bad("%s: %w", what, err)
			return nil
		}
		m := books.Month(d)
		_, n := books.Fiscal(m)
		switch period := out.Period; {
		case period == schemas.BudgetYear && (books.First(m) != d || n != 1),
			period == schemas.BudgetQuarter && (books.First(m) != d || n%3 != 1):
			bad("%s: %s is not the first day of a %s", what, s, period)
		case books.First(m) != d:
			bad("%s: %s is not the first day of a month", what, s)
		}
		return &d
	}
	out.From, out.To = first("from", b.From), first("to", b.To)
	if out.From != nil && out.To != nil && *out.From >= *out.To {
		bad("from %s is not before to %s", b.From, b.To)
	}
	if out.Thresholds, err = ParseThresholds(b.Thresholds); err != nil {
		errs = append(errs, err)
	}
	if len(b.Thresholds) == 0 {
		// 0.8 and 1: a Decimal counts in 10^-12.
		out.Thresholds = []schemas.Decimal{800_000_000_000, 1_000_000_000_000}
	}
	return out, errors.Join(errs...)
}

// Close says what refuses a close, beside what always does, and who signs it. A limit is an amount, in each currency,
// or a share of the month's net cost such as "2%"; "" is no limit.
type Close struct {
	MaxUnallocated   string `yaml:"max_unallocated"`     // charged to (unallocated)
	MaxWithoutGLCode string `yaml:"max_without_gl_code"` // charged to owners without a general ledger code
	// SSHKey is the file of the private key that signs the manifests of closed months; "": they aren't signed.
	SSHKey string `yaml:"ssh_key"`
}

// Validate lists the limits that are none.
func (c Close) Validate() []error {
	var errs []error
	for _, l := range []struct{ key, value string }{
		{"max_unallocated", c.MaxUnallocated}, {"max_without_gl_code", c.MaxWithoutGLCode},
	} {
		if _, err := ParseLimit(l.value); err != nil {
			errs = append(errs, at("close."+l.key, "close.%s: %w", l.key, err))
		}
	}
	return errs
}

// Limit is the most that an amount may be. The zero value is none: amount is nil then, and only then.
type Limit struct {
	text   string
	amount *schemas.Money // of a share, the percents
	share  bool
}

// ParseLimit reads a limit as the config has it: an amount, a share such as "2%", or "" for none.
func ParseLimit(text string) (Limit, error) {
	if text == "" {
		return Limit{}, nil
	}
	number, share := strings.CutSuffix(text, "%")
	v, err := schemas.ParseMoney(strings.TrimSpace(number))
	if err == nil && (v.Sign() < 0 || share && v.Rat().Cmp(big.NewRat(100, 1)) > 0) {
		err = errors.New("out of range")
	}
	if err != nil {
		return Limit{}, fmt.Errorf("%q is neither an amount of 0 or more, such as 100, "+
			"nor a share of the month's cost, such as 2%%", text)
	}
	return Limit{text, &v, share}, nil
}

// None says that there is no limit.
func (l Limit) None() bool { return l.amount == nil }

func (l Limit) String() string { return l.text }

// Passed says that an amount of a whole is more than the limit allows. Of a share of p %: |v|·100 > |whole|·p, exactly,
// and without a division, so that a whole of 0 allows 0.
func (l Limit) Passed(v, whole schemas.Money) bool {
	switch {
	case l.amount == nil:
		return false
	case !l.share:
		return v.Abs().Cmp(*l.amount) > 0
	}
	return v.Abs().Times(100).Rat().Cmp(new(big.Rat).Mul(whole.Abs().Rat(), l.amount.Rat())) > 0
}

// ParseThresholds reads shares of a budget's amount and sorts them.
func ParseThresholds(texts []string) ([]schemas.Decimal, error) {
	var out []schemas.Decimal
	var errs []error
	for _, t := range texts {
		v, err := schemas.ParseDecimal([]byte(t))
		if err != nil || v <= 0 || v > 10_000_000_000_000 {
			errs = append(errs, fmt.Errorf("thresholds: %q is not a share like 0.8 (of the amount; 1 is all of it)", t))
			continue
		}
		out = append(out, v)
	}
	slices.Sort(out)
	return out, errors.Join(errs...)
}

// Journal names the accounts of the general ledger that the chargeback journal uses, and says how it is posted.
type Journal struct {
	GLCode       string `yaml:"gl_code"`        // debited where no rule assigned one
	CreditGLCode string `yaml:"credit_gl_code"` // credited with the whole
	// Of posting.Names: the forms that a close writes.
	Formats     []string           `yaml:"formats"`
	Accounts    []posting.Account  `yaml:"accounts"`
	PostingDate string             `yaml:"posting_date"`
	Series      string             `yaml:"series"`
	Narration   string             `yaml:"narration"`
	Xero        posting.Xero       `yaml:"xero"`
	QuickBooks  posting.QuickBooks `yaml:"quickbooks"`
	NetSuite    posting.NetSuite   `yaml:"netsuite"`
	SAP         posting.SAP        `yaml:"sap"`
	Odoo        posting.Odoo       `yaml:"odoo"`
	DATEV       posting.DATEV      `yaml:"datev"`
	PlainText   posting.PlainText  `yaml:"plain_text"`
}

// Posting is what the journal says of how it is posted.
func (j Journal) Posting() posting.Settings {
	return posting.Settings{Accounts: j.Accounts, PostingDate: j.PostingDate, Series: j.Series, Narration: j.Narration,
		Xero: j.Xero, QuickBooks: j.QuickBooks, NetSuite: j.NetSuite, SAP: j.SAP, Odoo: j.Odoo, DATEV: j.DATEV,
		PlainText: j.PlainText}
}

// Validate lists what can't be posted so, and what a format that a close writes can't do without.
func (j Journal) Validate() []error {
	var errs []error
	bad := func(key, text string) { errs = append(errs, at("journal."+key, "journal.%s: %s", key, text)) }
	for _, m := range j.Posting().Validate() {
		bad(m.Key, m.Text)
	}
	for i, name := range j.Formats {
		key := fmt.Sprintf("formats[%d]", i)
		switch _, known := posting.Find(name); {
		case !known:
			bad(key, fmt.Sprintf("no format %q%s", name, words.Nearest(name, posting.Names())))
		case slices.Contains(j.Formats[:i], name):
			bad(key, name+" stands twice")
		}
		for _, m := range j.Posting().Lacks(name) {
			bad(m.Key, m.Text)
		}
	}
	for _, c := range []struct{ key, code, what string }{{"gl_code", j.GLCode, "debited where no rule gives a code"},
		{"credit_gl_code", j.CreditGLCode, "credited with the whole"}} {
		if len(j.Formats) > 0 && c.code == "" {
			bad(c.key, "what a ledger imports needs the account that is "+c.what)
		}
	}
	return errs
}
