package jobs

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// AllocationConfig names the allocation rules.
type AllocationConfig struct {
	Rules string `yaml:"rules"` // a YAML or CSV file
}

// JournalConfig names the accounts of the general ledger that the chargeback journal uses.
type JournalConfig struct {
	GLCode       string `yaml:"gl_code"`        // debited where no rule assigned one
	CreditGLCode string `yaml:"credit_gl_code"` // credited with the whole
}

// BudgetConfig is a budget as the config has it. One of the scopes, or none for everything.
type BudgetConfig struct {
	Name       string   `yaml:"name"`
	CostCenter string   `yaml:"cost_center"`
	Team       string   `yaml:"team"`
	Project    string   `yaml:"project"`
	Account    string   `yaml:"account"`
	Model      string   `yaml:"model"`
	Amount     string   `yaml:"amount"`
	Currency   string   `yaml:"currency"`
	Period     string   `yaml:"period"` // month or quarter
	From       string   `yaml:"from"`
	To         string   `yaml:"to"`         // excluded
	Thresholds []string `yaml:"thresholds"` // shares of the amount
}

// budget checks and converts b; every mistake is reported.
func (b BudgetConfig) budget() (schemas.Budget, error) {
	out := schemas.Budget{Name: b.Name, Currency: b.Currency, Period: b.Period}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if b.Name == "" {
		bad("name: give it one")
	}
	for _, s := range [][2]string{{"cost_center", b.CostCenter}, {"team", b.Team}, {"project", b.Project}, {"account", b.Account}, {"model", b.Model}} {
		if s[1] == "" {
			continue
		}
		if out.Scope != "" {
			bad("it has both %s and %s: give one, or none for everything", out.Scope, s[0])
		}
		out.Scope, out.Value = s[0], s[1]
	}
	var err error
	if out.Amount, err = schemas.ParseMoney(b.Amount); err != nil {
		bad("amount: %w", err)
	} else if out.Amount.Sign() <= 0 {
		bad("amount: %s is not more than 0", b.Amount)
	}
	if !currencyCode.MatchString(b.Currency) {
		bad("currency: %q is not an ISO 4217 code like USD", b.Currency)
	}
	switch b.Period {
	case "":
		out.Period = "month"
	case "month", "quarter":
	default:
		bad("period: %q is neither month nor quarter", b.Period)
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
		if month := d.Start().Month(); schemas.MonthOf(d) != d || out.Period == "quarter" && month%3 != 1 {
			bad("%s: %s is not the first day of a %s", what, s, out.Period)
		}
		return &d
	}
	out.From, out.To = first("from", b.From), first("to", b.To)
	if out.From != nil && out.To != nil && *out.From >= *out.To {
		bad("from %s is not before to %s", b.From, b.To)
	}
	if len(b.Thresholds) == 0 {
		out.Thresholds = []schemas.Decimal{800_000_000_000, 1_000_000_000_000}
	}
	for _, t := range b.Thresholds {
		v, err := schemas.ParseDecimal([]byte(t))
		if err != nil || v <= 0 || v > 10_000_000_000_000 {
			bad("thresholds: %q is not a share like 0.8 (of the amount; 1 is all of it)", t)
			continue
		}
		out.Thresholds = append(out.Thresholds, v)
	}
	slices.Sort(out.Thresholds)
	return out, errors.Join(errs...)
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

// Rules reads the allocation rules of the config; those without any rule if it names none.
func (c *Config) Rules() (*allocate.Rules, error) {
	if c.Allocation.Rules == "" {
		return allocate.Empty(), nil
	}
	b, err := readFinanceFile(c.Allocation.Rules)
	if err != nil {
		return nil, Usage("", "read the allocation rules: %w", err)
	}
	dir := filepath.Dir(c.Allocation.Rules)
	rules, err := allocate.Parse(allocate.File{Name: filepath.Base(c.Allocation.Rules), Content: b}, func(name string) ([]byte, error) {
		return readFinanceFile(filepath.Join(dir, name))
	})
	if err != nil {
		return nil, Usage("usagelake allocation check   (looks at the file alone; what is published stays as it is until the file is right)", "allocation rules %s: %w", c.Allocation.Rules, err)
	}
	return rules, nil
}

// maxFinanceFile bounds the files that people write: rules, tables, invoices.
const maxFinanceFile = 64 << 20

func readFinanceFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFinanceFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFinanceFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFinanceFile>>20)
	}
	return b, nil
}

// finance reads all that the published file gets beside usage. A mistake in any of the files is ErrUsage, and is found
// before a run does anything.
func (c *Config) finance() (load.Finance, error) {
	out := load.Finance{Archived: archivedRules, GLCode: c.Journal.GLCode, CreditGLCode: c.Journal.CreditGLCode}
	rules, err := c.Rules()
	if err != nil {
		return out, err
	}
	if c.Allocation.Rules != "" {
		out.Rules = rules
	}
	for _, b := range c.Budgets {
		budget, err := b.budget()
		if err != nil {
			return out, Usage("", "budget %s: %w", b.Name, err)
		}
		out.Budgets = append(out.Budgets, budget)
	}
	if out.Names, err = c.called(); err != nil {
		return out, err
	}
	for _, name := range c.Invoices {
		b, err := readFinanceFile(name)
		if err != nil {
			return out, Usage("", "read invoices: %w", err)
		}
		lines, err := parseInvoices(filepath.Base(name), b)
		if err != nil {
			return out, Usage("", "invoices %s: %w", name, err)
		}
		out.Invoices = append(out.Invoices, lines...)
	}
	return out, nil
}

// called reads what tokens, users, models, cost centres and accounts are called; nothing if the config names no file.
func (c *Config) called() ([]schemas.Name, error) {
	if c.Names == "" {
		return nil, nil
	}
	b, err := readFinanceFile(c.Names)
	if err != nil {
		return nil, Usage("", "read the names: %w", err)
	}
	names, err := allocate.Names(allocate.File{Name: filepath.Base(c.Names), Content: b})
	if err != nil {
		return nil, Usage("", "names %s: %w", c.Names, err)
	}
	return names, nil
}

// archivedRules reads the rules that a closed month keeps.
func archivedRules(files []load.RuleFile) (load.Allocator, error) {
	return allocate.Parse(allocate.File{Name: files[0].Name, Content: files[0].Content}, func(name string) ([]byte, error) {
		for _, f := range files[1:] {
			if f.Name == name {
				return f.Content, nil
			}
		}
		return nil, fmt.Errorf("%s was not kept", name)
	})
}

// The columns of an invoice file.
var invoiceColumns = []string{"invoice", "period", "from", "to", "account", "date", "model", "amount", "currency"}

// parseInvoices reads an invoice file: CSV with a header of invoice, period (2026-10) or from and to (excluded),
// amount, currency, and where the invoice has them account, date and model. A line with neither date nor model is the
// invoice's total. Every mistake is reported, with its line.
func parseInvoices(name string, b []byte) ([]schemas.InvoiceLine, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(b) {
		return nil, errors.New("it is not UTF-8: save it as CSV UTF-8")
	}
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord = -1
	header, _, _ := bytes.Cut(b, []byte("\n"))
	if bytes.Count(header, []byte(";")) > bytes.Count(header, []byte(",")) {
		r.Comma = ';'
	}
	names, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("line 1: no header: %w", err)
	}
	var errs []error
	at := map[string]int{}
	for i, n := range names {
		n = strings.ToLower(strings.TrimSpace(n))
		if !slices.Contains(invoiceColumns, n) {
			errs = append(errs, fmt.Errorf("line 1: unknown column %q (known are %s)", n, strings.Join(invoiceColumns, ", ")))
		}
		if _, ok := at[n]; ok {
			errs = append(errs, fmt.Errorf("line 1: the column %s stands twice", n))
		}
		at[n] = i
	}
	_, period := at["period"]
	_, from := at["from"]
	_, to := at["to"]
	if period == (from || to) || from != to {
		errs = append(errs, errors.New("line 1: give the column period (2026-10), or from and to (excluded)"))
	}
	for _, n := range []string{"invoice", "amount", "currency"} {
		if _, ok := at[n]; !ok {
			errs = append(errs, fmt.Errorf("line 1: no column %s", n))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var lines []schemas.InvoiceLine
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.Join(append(errs, err)...) // it names the line
		}
		number, _ := r.FieldPos(0)
		if len(row) != len(names) {
			errs = append(errs, fmt.Errorf("line %d: %d cells, the header has %d", number, len(row), len(names)))
			continue
		}
		line, err := invoiceLine(func(n string) string {
			if i, ok := at[n]; ok {
				return strings.TrimSpace(row[i])
			}
			return ""
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", number, err))
			continue
		}
		line.Source = fmt.Sprintf("%s:%d", name, number)
		lines = append(lines, line)
	}
	return lines, errors.Join(errs...)
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
		l.From, l.To = month, schemas.NextMonth(month)
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
		l.Amount = new(big.Int)
		errs = append(errs, err)
	}
	if !currencyCode.MatchString(l.Currency) {
		errs = append(errs, fmt.Errorf("currency %q is not an ISO 4217 code like USD", l.Currency))
	}
	return l, errors.Join(errs...)
}

// Allocate publishes anew with the allocation rules, budgets and invoices as they are now, and the days as they were
// derived last. It sends no request.
func Allocate(ctx context.Context, cfg *Config, env Env, wait bool) (*Result, error) {
	if err := needLake(cfg.Lake); err != nil {
		return nil, err
	}
	return underLock(ctx, cfg, env, "allocation apply", wait, func(ctx context.Context, lake *load.Lake, res *Result) error {
		res.Status = schemas.StatusDone
		if err := finish(ctx, lake, env, res, nil, false); err != nil {
			res.Status = schemas.StatusFailed
			return err
		}
		return nil
	})
}

// LastMonth is the last billing month that has charges.
func LastMonth(ctx context.Context, lake *load.Lake) (schemas.Date, error) {
	m, err := texts(ctx, lake, "SELECT max(billing_month)::VARCHAR FROM chargeback_daily HAVING count(*) > 0")
	if err != nil {
		return 0, err
	}
	if len(m) == 0 {
		return 0, &Hint{Err: fmt.Errorf("%s has no usage yet", lake.Database()), Hint: "usagelake export"}
	}
	return schemas.ParseDate(m[0])
}
