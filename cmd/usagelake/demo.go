package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// The demo's Portal allows more than the real one does, so that a month takes seconds and not minutes.
const (
	demoLake    = "./usagelake-demo"
	demoAccount = "demo"
	demoLimit   = 200 // requests a second
	demoRate    = 190
	demoDays    = 30
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Everything, on a simulated Portal: no key, no config, no network",
		Long: `demo starts the simulated Portal on a loopback address, exports the last 30 whole days of its usage into
./usagelake-demo (--lake for another directory), publishes, and prints a chargeback. It writes allocation rules and
budgets into its config directory, and closes the month before. The simulated Portal
allows ` + fmt.Sprint(demoLimit) +
			` requests a second where the real one allows 2. A second demo finds everything covered.`,
		Example: "  usagelake demo\n  usagelake demo --lake /tmp/try",
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := portal.New(portal.Options{Seed: 1, Limit: portal.LimitOptions{Rate: demoLimit}, Now: a.Now})
			if err != nil {
				return err
			}
			s, err := portal.Listen("127.0.0.1:0", p, false)
			if err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			defer s.Close()
			org := p.Orgs()[0]
			// The day that no longer counts: until yesterday has settled, the thirty days end with the one before.
			today := schemas.DateOf(a.Now().Add(-config.DefaultSettle))
			// Not loaded, and so nothing of the user's own config gets into a demo, nor its key: the one below is the
			// simulation's.
			cfg := &config.Config{Lake: demoLake,
				Accounts: []config.Account{{Name: demoAccount, BaseURL: s.BaseURL(), KeyEnv: "USAGELAKE_DEMO_KEY", Rate: demoRate}},
				Export:   config.DefaultExport()}
			if a.overrides.Lake != "" {
				cfg.Lake = a.overrides.Lake
			}
			if err := onlyDemo(cfg.Lake); err != nil {
				return err
			}
			finance := demoFinance{dir: filepath.Join(cfg.Lake, "config"), teams: p.Teams(org)}
			if err := finance.load(cfg); err != nil { // of an earlier demo
				return err
			}
			env := a.env()
			// The key is made up and is never in the process's environment.
			env.Getenv = func(name string) string {
				if name == "USAGELAKE_DEMO_KEY" {
					return p.Key(org)
				}
				return a.Getenv(name)
			}
			if !a.quiet {
				fmt.Fprintf(a.Stderr, "A simulated Portal listens on %s. It allows %d requests a second; the real one allows 2.\n",
					s.Addr(), demoLimit)
			}
			opts := jobs.ExportOptions{Span: jobs.Span{From: demoBegin(today).Start(), To: today.Start()}}
			res, err := a.export(c.Context(), cfg, env, opts)
			if err == nil {
				err = a.demoBooks(c.Context(), cfg, env, finance, today)
			}
			if err != nil || a.json() || a.quiet {
				return a.ended(res, err, a.exportSummary)
			}
			a.exportSummary(res)
			return a.demoSummary(c.Context(), res.Lake)
		},
	}
}

// demoBegin is the first day of a demo that ends before a day, and demoClosed the month that it closes: the one before
// the last day's, so that a month is closed and another open on every day of the year. On the 31st, and after a month
// of 30 days or more, it begins a day or two earlier for that: the month is closed by what the demo has of it.
func demoBegin(today schemas.Date) schemas.Date {
	return min(today-demoDays, (demoClosed(today)+1).First()-1)
}

func demoClosed(today schemas.Date) schemas.Month { return (today - 1).Month() - 1 }

// onlyDemo refuses a lake that holds anything else than a demo: made-up money has no place beside real money.
func onlyDemo(dir string) error {
	lake, err := publish.Open(dir, publish.Options{})
	if errors.Is(err, load.ErrNoLake) {
		return nil
	}
	if err != nil {
		return err
	}
	accounts, err := lake.Accounts()
	if err != nil {
		return err
	}
	for _, name := range accounts {
		if name != demoAccount {
			return config.Usage("usagelake demo --lake ./usagelake-demo",
				"the lake %s holds the account %s: a demo's made-up usage does not go beside it", dir, name)
		}
	}
	return nil
}

// demoBooks allocates the demo's cost and closes the month before. A demo that was stopped in the middle is gone on
// with by the next one: the rules are there or not, the month is closed or not, and what is there isn't done again.
func (a *app) demoBooks(ctx context.Context, cfg *config.Config, env jobs.Env, f demoFinance,
	today schemas.Date) error {
	if cfg.Allocation.Rules == "" {
		// A second look at the balance, so that there is a course of it to reconcile.
		if _, _, err := jobs.Balance(ctx, cfg, env, jobs.BalanceOptions{}); err != nil {
			return err
		}
		if err := f.write(); err != nil {
			return err
		}
		if err := f.load(cfg); err != nil {
			return err
		}
		if _, _, err := jobs.Allocate(ctx, cfg, env, false); err != nil {
			return err
		}
	}
	lake, err := publish.Open(cfg.Lake, a.env().LakeOptions(cfg))
	if err != nil {
		return err
	}
	closed, err := lake.Closed()
	if err != nil {
		return err
	}
	last, first := demoClosed(today), demoBegin(today)
	if slices.ContainsFunc(closed, func(c publish.ClosedMonth) bool { return c.Month >= last }) {
		return nil
	}
	// On most days of the year the thirty days begin within the month before: it is closed in spite of what it lacks.
	reason := ""
	if first > last.First() {
		reason = "the demo begins on " + first.String()
	}
	opts := jobs.CloseOptions{Month: last, Reason: reason, NoFetch: true}
	if reason == "" {
		opts.Reason = "the demo has just been exported"
	}
	_, _, err = jobs.Close(ctx, cfg, env, opts)
	return err
}

// demoFinance are the allocation rules and budgets of the demo.
type demoFinance struct {
	dir   string
	teams []portal.Team
}

// load takes what an earlier demo wrote into cfg, if there is any.
func (f demoFinance) load(cfg *config.Config) error {
	file := filepath.Join(f.dir, config.DefaultFile)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c, err := config.Load(config.Overrides{ConfigFile: file}, func(string) string { return "" })
	if err != nil {
		return err
	}
	cfg.Allocation, cfg.Journal, cfg.Budgets, cfg.Invoices = c.Allocation, c.Journal, c.Budgets, c.Invoices
	return nil
}

//go:embed demo
var demoFiles embed.FS

// write writes the config that finance has of the demo: rules and budgets as they stand beside this file, and the
// tables of the simulated Portal's teams. The Platform team's tokens are left to a shared pool, and one of Finance Ops'
// to nobody.
func (f demoFinance) write() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	tokens, centers := "token_id,team\n", "team,cost_center,gl_code\n"
	for i, t := range f.teams {
		centers += fmt.Sprintf("%s,%s,%d\n", t.Name, t.CostCentre, 6100+10*i)
		if t.Name == "Platform" {
			continue
		}
		for k, token := range t.Tokens {
			if t.Name == "Finance Ops" && k == 0 {
				continue
			}
			tokens += token + "," + t.Name + "\n"
		}
	}
	var platform []string
	for _, t := range f.teams {
		if t.Name == "Platform" {
			platform = t.Tokens
		}
	}
	rules, err := demoFiles.ReadFile("demo/allocation.yaml")
	if err != nil {
		return err
	}
	set, err := demoFiles.ReadFile("demo/usagelake.yaml")
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name    string
		content []byte
	}{
		{"tokens.csv", []byte(tokens)}, {"centers.csv", []byte(centers)},
		{"allocation.yaml", bytes.ReplaceAll(rules, []byte("PLATFORM_TOKENS"), []byte(strings.Join(platform, ", ")))},
		{config.DefaultFile, set}, // last: what it names is there
	} {
		if err := (durable.Out{}).Bytes(filepath.Join(f.dir, file.name), file.content); err != nil {
			return err
		}
	}
	return nil
}

// demoSummary prints the chargeback, and what to try next.
func (a *app) demoSummary(ctx context.Context, dir string) error {
	lake, err := publish.Open(dir, publish.Options{Options: load.Options{Logger: a.log}})
	if err != nil {
		return err
	}
	doc, err := report.Build(ctx, lake, report.Options{Name: "chargeback", By: []string{"cost_center", "team"},
		Now: a.Now(), Version: version()})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.Stdout)
	if err := doc.Text(a.Stdout); err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, `
next       usagelake report chargeback --lake %[1]s --format html     (the same with pictures)
           usagelake report budget --lake %[1]s
           usagelake query --lake %[1]s "FROM spend_by_cost_center_month ORDER BY ALL"
           ls %[1]s/statements/*      (the month before is closed)
           usagelake demo --lake %[1]s   (once more: everything is covered, three small requests look for late records)
`, dir)
	return nil
}
