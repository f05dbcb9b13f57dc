package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

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
	Name        string   `yaml:"name"`
	CostCenter  string   `yaml:"cost_center"`
	Team        string   `yaml:"team"`
	Project     string   `yaml:"project"`
	Environment string   `yaml:"environment"`
	Account     string   `yaml:"account"`
	Model       string   `yaml:"model"`
	Amount      string   `yaml:"amount"`
	Currency    string   `yaml:"currency"`
	Period      string   `yaml:"period"` // month or quarter
	From        string   `yaml:"from"`
	To          string   `yaml:"to"`         // excluded
	Thresholds  []string `yaml:"thresholds"` // shares of the amount
}

// value is what b says of one of schemas.BudgetScopes; "" if nothing.
func (b BudgetConfig) value(scope string) string {
	return map[string]string{"cost_center": b.CostCenter, "team": b.Team, "project": b.Project, "environment": b.Environment,
		"account": b.Account, "model": b.Model}[scope]
}

// budget checks and converts b; every mistake is reported.
func (b BudgetConfig) budget() (schemas.Budget, error) {
	out := schemas.Budget{Name: b.Name, Currency: b.Currency, Period: b.Period}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if b.Name == "" {
		bad("name: give it one")
	}
	for _, scope := range schemas.BudgetScopes() {
		value := b.value(scope)
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
	out := load.Finance{Accounts: c.allNames(), Archived: archivedRules, GLCode: c.Journal.GLCode, CreditGLCode: c.Journal.CreditGLCode}
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
	out.TopUpsGiven = len(c.TopUps) > 0
	for _, name := range c.TopUps {
		b, err := readFinanceFile(name)
		if err != nil {
			return out, Usage("", "read top-ups: %w", err)
		}
		lines, err := parseTopUps(filepath.Base(name), b, out.Accounts)
		if err != nil {
			return out, Usage("", "topups %s: %w", name, err)
		}
		out.TopUps = append(out.TopUps, lines...)
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

// AccountNames are what people call the accounts, by account, as far as they have names. Where the file can't be read nothing has one:
// doctor says so.
func (c *Config) AccountNames() map[string]string {
	names, _ := c.called()
	out := map[string]string{}
	for _, n := range names {
		if n.Kind == "account" {
			out[n.ID] = n.Name
		}
	}
	return out
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

// Allocate publishes anew with the allocation rules, budgets and invoices as they are now, and the days as they were
// derived last, and says what that changes for the cost centres in the open months. It sends no request.
func Allocate(ctx context.Context, cfg *Config, env Env, wait bool) (*Result, []CenterChange, error) {
	if err := needLake(cfg.Lake); err != nil {
		return nil, nil, err
	}
	changes := []CenterChange{}
	res, err := underLock(ctx, cfg, env, "allocation apply", wait, func(ctx context.Context, lake *load.Lake, res *Result) error {
		before, err := openCenters(ctx, lake)
		unread := err != nil && !errors.Is(err, load.ErrNotPublished)
		if err := publish(ctx, lake, env, res, nil, false, nil); err != nil {
			return err
		}
		after, err := openCenters(ctx, lake)
		if unread || err != nil { // it is published all the same
			env.Logger.Warn("what is charged can't be read, so that nothing can be said of what changed", "error", err)
			return nil
		}
		changes = changesOf(before, after)
		return nil
	})
	return res, changes, err
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
