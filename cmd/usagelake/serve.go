package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/jobs/serve"
	"github.com/usagelake/usagelake/jobs/serve/finance"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
)

func (a *app) serveCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Finance's page and the status page, without the daemon",
		Long: `serve shows the published file in a browser, until it is told to stop: /finance/ has the months, every report,
the records behind a figure, the twenty questions and a box for SQL; / is the status page of the exports. It reads the
lake, changes nothing and needs no lock and no key. A file that is published meanwhile is shown at once.

Without viewers it listens on loopback alone, and whoever can ask sees all. serve: viewers: in the config says who may
look, and at which cost centres, teams or accounts. The daemon (usagelake schedule) has the same pages.
See docs/page.md.`,
		Example: `  usagelake serve                             http://127.0.0.1:8080/finance/
  usagelake serve --listen 127.0.0.1:9000
  usagelake serve --lake usagelake-demo`,
		RunE: func(c *cobra.Command, _ []string) error { return a.serve(c.Context(), listen) },
	}
	c.Flags().StringVar(&listen, "listen", "",
		"`address`: HOST:PORT or unix:/PATH (default serve: listen:, else "+config.DefaultServe+")")
	return c
}

// guarded says that whoever asks over HTTP has to say who it is.
func guarded(cfg *config.Config) bool {
	return cfg.Schedule.TokenEnv != "" || cfg.Schedule.TokenFile != "" || len(cfg.Serve.Viewers) > 0
}

// serve shows the lake until ctx ends.
func (a *app) serve(ctx context.Context, listen string) error {
	cfg, err := a.lakeConfig()
	if err != nil {
		return err
	}
	if listen == "" {
		listen = cfg.Serve.Listen
	}
	if err := serve.CheckAddress(listen, guarded(cfg)); err != nil {
		return config.Usage("", "%w", err)
	}
	if err := cfg.Serve.Listened(listen); err != nil {
		return err
	}
	if _, err := cfg.Schedule.Token(a.Getenv); err != nil {
		return err
	}
	if errs := cfg.CheckViewers(a.Getenv); len(errs) > 0 {
		return errors.Join(errs...)
	}
	log := a.scheduleLog()
	current := func() *config.Config { return cfg }
	options := a.serveOptions(current, func() schedule.State { return schedule.State{} }, log)
	options.Finance = a.finance(current, log)
	defer options.Finance.Close()
	listener, err := serve.Listen(listen, guarded(cfg))
	if err != nil {
		return &config.Hint{Err: err, Hint: "is another program there? Name another address with --listen"}
	}
	where := listen
	if !strings.HasPrefix(listen, "unix:") {
		where = "http://" + listener.Addr().String() + finance.Root
	}
	if !a.quiet {
		fmt.Fprintf(a.Stderr, "Finance's page is at %s   (Ctrl-C ends it)\n", where)
	}
	defer madeAhead(ctx, options.Finance)()
	if err := serve.New(options).Serve(ctx, listener); err != nil {
		return err
	}
	return context.Cause(ctx) // it ends by a signal alone
}

// lookEvery is how often finance's page looks whether another file is published.
const lookEvery = 5 * time.Second

// madeAhead has the pages of finance's site made before they are asked for, until the function that it gives is called.
func madeAhead(ctx context.Context, site *finance.Site) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ticker, done := time.NewTicker(lookEvery), make(chan struct{})
	go func() {
		defer close(done)
		site.Watch(ctx, ticker.C)
	}()
	return func() {
		cancel()
		<-done
		ticker.Stop()
	}
}

// finance is finance's page of a set-up.
func (a *app) finance(cfg func() *config.Config, log *slog.Logger) *finance.Site {
	return finance.New(finance.Options{
		Lake: func() (*publish.Lake, error) {
			lake, err := publish.Open(cfg().Lake, a.env().LakeOptions(cfg()))
			if err != nil {
				return nil, jobs.NoLake(err)
			}
			return lake, nil
		},
		Viewers:  func() ([]finance.Viewer, error) { return a.viewers(cfg()), nil },
		Compare:  func() []finance.Comparison { return comparisons(cfg()) },
		EndUsers: func() (query.EndUsers, error) { return cfg().EndUsers.Handed(a.Getenv) },
		Posting:  func() posting.Settings { return cfg().Journal.Posting() },
		Operator: "/", Version: version(), Now: a.Now, Logger: log,
	})
}

// comparisons hold the files that serve: names against what is published.
func comparisons(cfg *config.Config) (out []finance.Comparison) {
	for _, c := range []struct {
		of   finance.Change
		file string
		what jobs.What
		make func(context.Context) (*finance.Changes, error)
	}{
		{finance.OfRules, cfg.Serve.Compare, jobs.WhatRules, func(ctx context.Context) (*finance.Changes, error) {
			check, err := jobs.CheckAllocation(ctx, cfg, cfg.Serve.Compare, nil)
			if err != nil {
				return nil, err
			}
			return changed(check.ByMonth, check.Findings), nil
		}},
		{finance.OfMarkups, cfg.Serve.CompareMarkups, jobs.WhatMarkups, func(ctx context.Context) (*finance.Changes, error) {
			return whatIfChanged(jobs.CheckMarkups(ctx, cfg, cfg.Serve.CompareMarkups, nil))
		}},
		{finance.OfPrices, cfg.Serve.ComparePrices, jobs.WhatPrices, func(ctx context.Context) (*finance.Changes, error) {
			return whatIfChanged(jobs.CheckPrices(ctx, cfg, cfg.Serve.ComparePrices, nil))
		}},
	} {
		if c.file == "" {
			continue
		}
		out = append(out, finance.Comparison{Of: c.of,
			Digest: func() (string, error) {
				digest, err := jobs.WhatDigest(cfg, c.what, c.file)
				return digest, ofFile(err)
			},
			Make: func(ctx context.Context) (*finance.Changes, error) {
				changes, err := c.make(ctx)
				if err != nil {
					return nil, ofFile(err)
				}
				changes.File = filepath.Base(c.file)
				return changes, nil
			}})
	}
	return out
}

// ofFile is an error as finance's page knows it: of a mistake in the file it says so.
func ofFile(err error) error {
	if errors.Is(err, config.ErrUsage) {
		return &finance.MistakeError{Err: err}
	}
	return err
}

// changed is what changes, as finance's page shows it.
func changed(months []jobs.MonthChanges, findings []jobs.Finding) *finance.Changes {
	out := &finance.Changes{}
	for _, m := range months {
		of := finance.ChangedMonth{Period: m.Month}
		for _, c := range m.Centers {
			of.Centers = append(of.Centers, finance.ChangedCenter(c))
		}
		out.Months = append(out.Months, of)
	}
	for _, f := range findings {
		text := f.Message
		if f.RuleID != "" {
			text = "rule " + f.RuleID + ": " + text
		}
		out.Findings = append(out.Findings, strings.TrimPrefix(f.Source+": "+text, ": "))
	}
	return out
}

func whatIfChanged(w *jobs.WhatIf, err error) (*finance.Changes, error) {
	if err != nil {
		return nil, err
	}
	var months []jobs.MonthChanges
	for _, m := range w.ByMonth {
		months = append(months, m.MonthChanges)
	}
	out := changed(months, w.Findings)
	for _, u := range w.Unpriced {
		out.Unpriced = append(out.Unpriced, finance.Unpriced{Model: u.Model, Line: u.Line, Currency: u.Currency,
			Lines: fmt.Sprint(u.Lines), Net: u.Net, Why: u.Why})
	}
	return out, nil
}

// viewers are those of the config, and who has the schedule's token.
func (a *app) viewers(cfg *config.Config) []finance.Viewer {
	var out []finance.Viewer
	for _, v := range cfg.Serve.Viewers {
		one := finance.Viewer{Name: v.Name, All: v.Sees == config.SeesAll, Scope: v.Scope()}
		if v.Header == "" {
			one.Token = func() (string, error) { return v.Token(a.Getenv) }
		} else {
			one.Header, one.Trust = v.Header, v.Networks()
		}
		if v.Map != "" {
			one.People = func() (map[string]query.Scope, error) { return v.People() }
		}
		out = append(out, one)
	}
	if s := cfg.Schedule; s.TokenEnv != "" || s.TokenFile != "" {
		out = append(out, finance.Viewer{Name: config.OperatorViewer, All: true,
			Token: func() (string, error) { return s.Token(a.Getenv) }})
	}
	return out
}
