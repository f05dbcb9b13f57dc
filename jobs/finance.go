package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
	"github.com/usagelake/usagelake/transform/books"
)

// Rules reads the allocation rules of the config; those without any rule if it names none.
func Rules(cfg *config.Config) (*allocate.Rules, error) {
	if cfg.Allocation.Rules == "" {
		return allocate.Empty(), nil
	}
	return readRules(cfg.Allocation.Rules, "usagelake allocation check")
}

// readRules reads the rules in a file, and the tables beside it that they name. check is what looks at them alone.
func readRules(file, check string) (*allocate.Rules, error) {
	b, err := ReadFinanceFile(file)
	if err != nil {
		return nil, config.Usage("", "read the allocation rules: %w", err)
	}
	dir := filepath.Dir(file)
	rules, err := allocate.Parse(allocate.File{Name: filepath.Base(file), Content: b},
		func(name string) ([]byte, error) {
			return ReadFinanceFile(filepath.Join(dir, name))
		})
	if err != nil {
		return nil, config.Usage(check+"   "+
			"(looks at the file alone; what is published stays as it is until the file is right)",
			"allocation rules %s: %w", file, err)
	}
	return rules, nil
}

// maxFinanceFile bounds the files that people write: rules, tables, invoices.
const maxFinanceFile = 64 << 20

func ReadFinanceFile(name string) ([]byte, error) {
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

// CheckFinance reads all that the published file gets beside usage, for the mistakes in it.
func CheckFinance(cfg *config.Config) error {
	_, err := readFinance(cfg)
	return err
}

// readFinance reads all that the published file gets beside usage. A mistake in any of the files is ErrUsage, and is
// found before a run does anything.
func readFinance(cfg *config.Config) (publish.Finance, error) {
	out := publish.Finance{Accounts: cfg.AllAccountNames(), Archived: archivedRules, GLCode: cfg.Journal.GLCode,
		CreditGLCode: cfg.Journal.CreditGLCode}
	rules, err := Rules(cfg)
	if err != nil {
		return out, err
	}
	if cfg.Allocation.Rules != "" {
		out.Rules = rules
	}
	if out.Books, err = cfg.ReadBooks(); err != nil {
		return out, err
	}
	if out.Rates, err = cfg.ReadRates(); err != nil {
		return out, err
	}
	for _, b := range cfg.Budgets {
		budget, err := b.Parse(out.Books)
		if err != nil {
			return out, config.Usage("", "budget %s: %w", b.Name, err)
		}
		out.Budgets = append(out.Budgets, budget)
	}
	if out.Markups, err = config.ParseMarkups(cfg.Markups, out.Books); err != nil {
		return out, config.Usage("", "%w", err)
	}
	if out.Metrics, err = ReadMetrics(cfg); err != nil {
		return out, err
	}
	if out.Names, err = Called(cfg); err != nil {
		return out, err
	}
	for _, name := range cfg.Invoices {
		b, err := ReadFinanceFile(name)
		if err != nil {
			return out, config.Usage("", "read invoices: %w", err)
		}
		lines, err := ParseInvoices(filepath.Base(name), b)
		if err != nil {
			return out, config.Usage("", "invoices %s: %w", name, err)
		}
		out.Invoices = append(out.Invoices, lines...)
	}
	out.TopUpsGiven, out.Draw = len(cfg.TopUps) > 0, books.Draw
	out.TopUps, out.Billing, err = ReadTopUps(cfg)
	return out, err
}

// Called reads what tokens, users, models, cost centres and accounts are called; nothing if the config names no file.
func Called(cfg *config.Config) ([]schemas.Name, error) {
	if cfg.Names == "" {
		return nil, nil
	}
	b, err := ReadFinanceFile(cfg.Names)
	if err != nil {
		return nil, config.Usage("", "read the names: %w", err)
	}
	names, err := allocate.Names(allocate.File{Name: filepath.Base(cfg.Names), Content: b})
	if err != nil {
		return nil, config.Usage("", "names %s: %w", cfg.Names, err)
	}
	return names, nil
}

// NamesOfAccounts are what people call the accounts, by account, as far as they have names. Where the file can't be
// read nothing has one: doctor says so.
func NamesOfAccounts(cfg *config.Config) map[string]string {
	names, _ := Called(cfg)
	out := map[string]string{}
	for _, n := range names {
		if n.Kind == "account" {
			out[n.ID] = n.Name
		}
	}
	return out
}

// archivedRules reads the rules that a closed month keeps.
func archivedRules(files []publish.RuleFile) (publish.Allocator, error) {
	return allocate.Parse(allocate.File{Name: files[0].Name, Content: files[0].Content},
		func(name string) ([]byte, error) {
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
func Allocate(ctx context.Context, cfg *config.Config, env Env, wait bool) (*Result, []CenterChange, error) {
	if err := needLake(cfg.Lake); err != nil {
		return nil, nil, err
	}
	changes := []CenterChange{}
	res, err := underLock(ctx, cfg, env, "allocation apply", wait,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			before, unread := openCenters(ctx, lake)
			if errors.Is(unread, query.ErrNotPublished) {
				unread = nil
			}
			if err := publishFile(ctx, lake, env, res, nil, false, nil); err != nil {
				return err
			}
			after, err := openCenters(ctx, lake)
			if err := cmp.Or(unread, err); err != nil { // it is published all the same
				env.Logger.Warn("what is charged can't be read, so that nothing can be said of what changed", "error", err)
				return nil
			}
			changes = changesOf(before, after)
			return nil
		})
	return res, changes, err
}

// BooksOf are the books that the lake's published file was made by, or where none is published those of the config.
func BooksOf(ctx context.Context, cfg *config.Config, lake *publish.Lake) (*schemas.Books, error) {
	s, err := query.OpenSnapshot(ctx, lake)
	if errors.Is(err, query.ErrNotPublished) {
		return cfg.ReadBooks()
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	books, err := s.Books(ctx)
	if errors.Is(err, query.ErrOlderTables) {
		return cfg.ReadBooks()
	}
	return books, err
}

// LastMonth is the last billing month that has charges.
func LastMonth(ctx context.Context, lake *publish.Lake) (schemas.Month, error) {
	m, err := Texts(ctx, lake, "SELECT max(billing_month)::VARCHAR FROM chargeback_daily HAVING count(*) > 0")
	if err != nil {
		return 0, err
	}
	if len(m) == 0 {
		return 0, &config.Hint{Err: fmt.Errorf("%s has no usage yet", lake.Database()), Hint: "usagelake export"}
	}
	d, err := schemas.ParseDate(m[0])
	return d.Month(), err
}
