package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load"
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
./usagelake-demo (--lake for another directory), publishes, and prints what teams and models cost. The simulated Portal
allows ` + fmt.Sprint(demoLimit) + ` requests a second where the real one allows 2. A second demo finds everything covered.`,
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
			today := schemas.DateOf(a.Now())
			cfg := &jobs.Config{Lake: demoLake, Accounts: []jobs.Account{{Name: demoAccount, BaseURL: s.BaseURL(), KeyEnv: "USAGELAKE_DEMO_KEY", Rate: demoRate}},
				Export: jobs.ExportConfig{Settle: jobs.Duration(jobs.DefaultSettle), Lookback: jobs.Duration(jobs.DefaultLookback), RefetchEvery: jobs.Duration(jobs.DefaultRefetchEvery)}}
			if a.overrides.Lake != "" {
				cfg.Lake = a.overrides.Lake
			}
			if err := onlyDemo(cfg.Lake); err != nil {
				return err
			}
			env := a.env()
			env.Getenv = func(name string) string {
				if name == "USAGELAKE_DEMO_KEY" {
					return p.Key(org)
				}
				return a.Getenv(name)
			}
			if !a.quiet {
				fmt.Fprintf(a.Stderr, "A simulated Portal listens on %s. It allows %d requests a second; the real one allows 2.\n", s.Addr(), demoLimit)
			}
			opts := jobs.ExportOptions{Span: jobs.Span{From: (today - demoDays).Start(), To: today.Start()}}
			res, err := a.export(c.Context(), cfg, env, opts)
			if err != nil || a.json() || a.quiet {
				return a.ended(res, err, a.exportSummary)
			}
			a.exportSummary(res)
			return a.demoSummary(c.Context(), a.Stdout, res.Lake, p.Teams(org))
		},
	}
}

// onlyDemo refuses a lake that holds anything else than a demo: made-up money has no place beside real money.
func onlyDemo(dir string) error {
	lake, err := load.Open(dir, load.Options{})
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
			return jobs.Usage("usagelake demo --lake ./usagelake-demo", "the lake %s holds the account %s: a demo's made-up usage does not go beside it", dir, name)
		}
	}
	return nil
}

// demoSummary prints what teams and models cost. Which token is whose is the Portal's knowledge here, and the cost
// allocation's elsewhere.
func (a *app) demoSummary(ctx context.Context, w io.Writer, dir string, teams []portal.Team) error {
	lake, err := load.Open(dir, load.Options{Logger: a.log})
	if err != nil {
		return err
	}
	var owners []string
	for _, t := range teams {
		for _, token := range t.Tokens {
			owners = append(owners, fmt.Sprintf("(%s, %s)", schemas.SQLString(token), schemas.SQLString(t.Name)))
		}
	}
	owner := "WITH owner(token_id, team) AS (VALUES " + strings.Join(owners, ", ") + ")"
	for _, q := range []struct{ title, sql string }{
		{"What each team costs", owner + `
			SELECT coalesce(team, '(unallocated)') AS team, sum(requests) AS requests, sum(total_amount)::DECIMAL(18,2) AS list,
			       sum(discount_amount)::DECIMAL(18,2) AS discount, sum(amount)::DECIMAL(18,2) AS net, any_value(currency) AS currency
			FROM usage_daily LEFT JOIN owner USING (token_id) GROUP BY 1 ORDER BY net DESC`},
		{"The ten models that cost most", `
			SELECT model, sum(requests) AS requests, sum(input_tokens) AS input, sum(cached_tokens) AS cached, sum(output_tokens) AS output,
			       sum(amount)::DECIMAL(18,2) AS net
			FROM usage_daily GROUP BY 1 ORDER BY net DESC LIMIT 10`},
	} {
		fmt.Fprintf(w, "\n%s\n\n", q.title)
		if err := a.query(ctx, lake, q.sql, "table", "", false, 0); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, `
next       usagelake status --lake %[1]s
           usagelake query --lake %[1]s "SELECT usage_date, sum(amount) AS net FROM usage GROUP BY ALL ORDER BY 1"
           usagelake demo --lake %[1]s   (once more: everything is covered, three small requests look for late records)
`, dir)
	return nil
}
