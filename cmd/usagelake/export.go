package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) exportCommand() *cobra.Command {
	var from, to string
	var refetch, dryRun, wait bool
	c := &cobra.Command{
		Use:   "export",
		Short: "Fetch what is missing, archive it, write Parquet, publish DuckDB",
		Long: `export fetches what the lake doesn't cover yet, seals it in the raw archive, writes the day files and publishes
usage.duckdb. What is covered is not fetched again, but the last days are looked at anew (the lookback): one small
request a day, and the day once more if its count differs. It can be stopped and started again at any time.

Without --from and --to it goes from where coverage ends (the first time: 30 days ago) to now less the settle time,
and fills the gaps that failed windows have left.`,
		Example: `  usagelake export                                     the nightly run
  usagelake export --from 2026-10-01 --to 2026-11-01   October; --to is excluded
  usagelake export --from -7d --dry-run                what it would ask for, and how long that takes
  usagelake export --from 2026-10-01 --to 2026-11-01 --refetch
                                                       October anew, corrected and deleted records included`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			opts := jobs.ExportOptions{Wait: wait}
			opts.Span.Anew = refetch
			for _, e := range []struct {
				flag, value string
				to          *time.Time
			}{{"--from", from, &opts.Span.From}, {"--to", to, &opts.Span.To}} {
				if e.value == "" {
					if c.Flags().Changed(e.flag[2:]) {
						return config.Usage("", "%s is empty", e.flag)
					}
					continue
				}
				if *e.to, err = config.ParseTime(e.value, a.Now()); err != nil {
					return fmt.Errorf("%s: %w", e.flag, err)
				}
			}
			if dryRun {
				return a.dryRun(c.Context(), cfg, opts)
			}
			res, err := a.export(c.Context(), cfg, a.env(), opts)
			return a.ended(res, err, func(res *jobs.Result) {
				a.exportSummary(res)
				a.next(cfg, res)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&from, "from", "", "first instant: 2026-11-01, RFC 3339, today, yesterday, -7d")
	f.StringVar(&to, "to", "", "end, excluded")
	f.BoolVar(&refetch, "refetch", false, "fetch the whole range anew and replace it")
	f.BoolVar(&dryRun, "dry-run", false, "print the plan: windows, requests, time at the rate limit")
	f.BoolVar(&wait, "wait", false, "wait for a lake that another process holds")
	return c
}

// export runs an export and shows how far it is.
func (a *app) export(ctx context.Context, cfg *config.Config, env jobs.Env,
	opts jobs.ExportOptions) (*jobs.Result, error) {
	// Closed before anything is printed: the bars own the terminal until then.
	p := a.newProgress(ctx, cfg)
	env.Logger = p.logger()
	opts.Watch, opts.Phase = p.watch, p.phase
	res, err := jobs.Export(ctx, cfg, env, opts)
	p.close()
	return res, err
}

// ended prints what a run came to, whether it failed or not, and passes its error on. res is nil if the run never
// began: then the error says all there is.
func (a *app) ended(res *jobs.Result, err error, summary func(*jobs.Result)) error {
	if a.json() {
		return errors.Join(a.printJSON(runDocument(res, err)), err)
	}
	if res != nil && !a.quiet {
		summary(res)
	}
	var stopped *signalError
	if errors.As(err, &stopped) && res != nil {
		err = &config.Hint{Err: err,
			Hint: "windows that were complete are kept; the pages of those under way are asked for again. " +
				"Run the same command again to go on"}
	}
	return err
}

// accountDocument is an account's part of a run, as JSON: the fields of the run's own document, and its windows.
type accountDocument struct {
	Account string `json:"account"`
	RunID   string `json:"run_id"`
	Status  string `json:"status"`
	Error   string `json:"error,omitempty"`
	schemas.RunCounts
	ElapsedSeconds float64                `json:"elapsed_seconds"` // the run's, of a job that does its accounts together
	From           *time.Time             `json:"from,omitempty"`
	To             *time.Time             `json:"to,omitempty"`
	Failed         []schemas.FailedWindow `json:"failed,omitempty"`
}

// runDocument is the JSON of a run; of one that failed before it began, its error.
func runDocument(res *jobs.Result, err error) any {
	type document struct {
		RunID   string `json:"run_id"`
		Command string `json:"command,omitempty"`
		Job     string `json:"job,omitempty"` // of the schedule

		Status string   `json:"status"`
		Error  string   `json:"error,omitempty"`
		Hints  []string `json:"hints,omitempty"`
		schemas.RunCounts
		ElapsedSeconds float64           `json:"elapsed_seconds"`
		Lake           string            `json:"lake,omitempty"`
		Database       string            `json:"database,omitempty"`
		Published      bool              `json:"published"`
		ExitCode       int               `json:"exit_code"`
		Accounts       []accountDocument `json:"accounts"`
		// What was delivered after it; its status says nothing of that.
		Deliveries  []*deliver.Report `json:"deliveries,omitempty"`
		Undelivered string            `json:"undelivered,omitempty"`
		Owners      []jobs.OwnedFiles `json:"owners,omitempty"` // files of their own
	}
	// Of a run that never began these are all there is; else the run's own follow.
	d := document{Status: jobs.StatusOf(err), ExitCode: exitCode(err), Accounts: []accountDocument{}}
	if err != nil {
		d.Error, d.Hints = explain(err)
	}
	if res != nil {
		d.RunID, d.Command, d.Job, d.Status, d.RunCounts = res.RunID, res.Command, res.Job, res.Status, res.RunCounts
		d.ElapsedSeconds = res.Elapsed.Seconds()
		d.Lake, d.Database, d.Published = res.Lake, res.Database, res.Published
		d.Deliveries, d.Undelivered, d.Owners = reported(res.Deliveries), keys.Blank(res.Undelivered), res.Owned
		for i, acc := range res.Accounts {
			ad := accountDocument{Account: acc.Account, RunID: res.RunID, Status: acc.Status, Error: acc.Error,
				RunCounts:      acc.RunCounts,
				ElapsedSeconds: d.ElapsedSeconds, Failed: acc.Failed}
			if ad.Error == "" && len(acc.Failed) > 0 {
				ad.Error = fmt.Sprintf("%s could not be fetched; the first: %s",
					words.Plural(len(acc.Failed), "window", "windows"), acc.Failed[0].Error)
			}
			if i < len(res.Took) {
				ad.ElapsedSeconds = res.Took[i].Seconds()
			}
			if i < len(res.Plans) && !res.Plans[i].Range.End.IsZero() {
				ad.From, ad.To = &res.Plans[i].Range.Start, &res.Plans[i].Range.End
			}
			d.Accounts = append(d.Accounts, ad)
		}
	}
	return d
}

// ran names what ran: the command, or the schedule's job with its kind.
func ran(res *jobs.Result) string {
	if res.Job == "" {
		return res.Command
	}
	return fmt.Sprintf("job %s (%s)", res.Job, res.Command)
}

func (a *app) exportSummary(res *jobs.Result) {
	w := a.Stdout
	fmt.Fprintf(w, "%s %s in %s   run %s\n\n", ran(res), res.Status, words.Took(res.Elapsed), res.RunID)
	t := a.newTable(table.Row{"account", "from", "to (UTC, excluded)", "windows", "records", "quarantined", "requests",
		"retries", "429s", "days written"})
	for i, acc := range res.Accounts {
		from, to := "", ""
		if i < len(res.Plans) && !res.Plans[i].Range.End.IsZero() {
			from, to = words.Stamp(res.Plans[i].Range.Start), words.Stamp(res.Plans[i].Range.End)
		}
		name := acc.Account
		if acc.Status != schemas.StatusDone {
			name += " (" + acc.Status + ")"
		}
		t.AppendRow(table.Row{name, from, to, words.Count(acc.Windows), words.Count(acc.Records),
			words.Count(acc.Quarantined), words.Count(acc.Requests), words.Count(acc.Retries), words.Count(acc.Throttled),
			words.Count(acc.DaysWritten)})
	}
	rightAlign(t, 4, 10)
	fmt.Fprintln(w, t.Render())
	for _, acc := range res.Accounts {
		for i, f := range acc.Failed {
			if i == 5 {
				fmt.Fprintf(w, "  … and %d more windows of %s\n", len(acc.Failed)-i, acc.Account)
				break
			}
			fmt.Fprintf(w, "  failed: %s %s/%s: %s\n", acc.Account, words.Stamp(f.Start), words.Stamp(f.End),
				words.Printable(f.Error))
		}
	}
	fmt.Fprintln(w)
	if res.Quarantined > 0 {
		fmt.Fprintf(w, "%s could not be normalised: kept in quarantine, with the reason\n",
			words.Plural(res.Quarantined, "record", "records"))
	}
	switch {
	case res.Published:
		fmt.Fprintf(w, "published  %s (%s rows of usage, %s)\n", res.Database, words.Count(res.Publish.Rows),
			words.Bytes(res.Publish.Bytes))
	case res.Status == schemas.StatusDone:
		fmt.Fprintf(w, "unchanged  %s is up to date\n", res.Database)
	}
	a.ownedSummary(res.Owned)
	for _, r := range res.Deliveries {
		a.printDelivery(r)
	}
	if res.Undelivered != "" {
		fmt.Fprintf(w, "undelivered  %s\n", words.Printable(res.Undelivered))
	}
}

// next proposes what to do with what was exported.
func (a *app) next(cfg *config.Config, res *jobs.Result) {
	if res.Status != schemas.StatusDone {
		return
	}
	flag := ""
	if a.overrides.Lake != "" { // the next command would not find the lake without
		flag = " --lake " + a.overrides.Lake
	}
	fmt.Fprintf(a.Stdout,
		"next       usagelake query%s \"SELECT model, sum(amount) AS net FROM usage GROUP BY ALL ORDER BY net DESC\"\n", flag)
	if cfg.Allocation.Rules == "" {
		fmt.Fprintf(a.Stdout,
			"next       usagelake allocation init%s   (tables of all tokens and users with cost, to say who pays)\n", flag)
	}
}

func (a *app) dryRun(ctx context.Context, cfg *config.Config, opts jobs.ExportOptions) error {
	plans, err := jobs.DryRun(ctx, cfg, a.env(), opts)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(map[string]any{"accounts": plans})
	}
	t := a.newTable(table.Row{"account", "from", "to (UTC, excluded)", "windows", "days to check", "records", "requests",
		"at a second", "takes"})
	for _, p := range plans {
		about := ""
		if p.Sampled || p.Unknown {
			about = "about "
		}
		t.AppendRow(table.Row{p.Account, words.Stamp(p.From), words.Stamp(p.To), words.Count(p.Windows),
			words.Count(p.Checks), about + words.Count(p.Records), about + words.Count(p.Requests),
			strconv.FormatFloat(p.Rate, 'f', -1, 64), about + words.Took(time.Duration(p.Seconds*float64(time.Second)))})
	}
	rightAlign(t, 4, 9)
	fmt.Fprintln(a.Stdout, t.Render())
	for _, p := range plans {
		if p.Unknown {
			fmt.Fprintf(a.Stdout, "%s: of %d of the windows asked about the API tells no count: the figures are a lower bound\n",
				p.Account, p.UnknownWindows)
		}
	}
	fmt.Fprintln(a.Stdout, "\nnothing was written; the same command without --dry-run does it")
	return nil
}

// newTable makes a table in the house style.
func (a *app) newTable(header table.Row) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header, t.Style().Format.Footer = text.FormatDefault, text.FormatDefault
	t.Style().Options.DrawBorder = false
	t.Style().Options.SeparateColumns = false
	t.AppendHeader(header)
	return t
}

// rightAlign aligns the columns from to to (counted from 1) to the right.
func rightAlign(t table.Writer, from, to int) {
	var configs []table.ColumnConfig
	for n := from; n <= to; n++ {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight,
			AlignFooter: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
}
