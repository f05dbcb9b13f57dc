package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) closeCommand() *cobra.Command {
	var opts jobs.CloseOptions
	var month string
	var reopen, list, dryRun bool
	c := &cobra.Command{
		Use:   "close --month MONTH",
		Short: "Close a month: its charges are final, its statements written",
		Long: `close fetches the days of the month that were not fetched since it ended and what differs, publishes, and then
makes what is charged in the month final. It writes LAKE/statements/MONTH: a statement for all and one for each cost
centre (CSV, XLSX, HTML), the journal, the ledger, the allocation rules it was made by, and a manifest with the SHA-256
of everything.

It refuses, and ends with 1, while hours are missing, records are in quarantine, quality errors are open, an earlier
month is, or more is charged to nobody or without a code of the general ledger than the config allows (close:
max_unallocated, max_without_gl_code); with --reason it closes in spite of that, and records the reason and what it
overrode.

--dry-run says what it would do: requests and time, what is charged to whom, what stands against it, invoices that
differ. It writes nothing.

What comes or changes after that is a correction, charged in the month after the last closed one. --reopen opens the
month that was closed last.`,
		Example: `  usagelake close --month 2026-10
  usagelake close --month last --dry-run
  usagelake close --month last --reason "two hours lost at the Portal, agreed with finance"
  usagelake close --list
  usagelake close --reopen --month 2026-10 --reason "wrong cost centre for tk_81"`,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case list && (reopen || month != ""):
				return config.Usage("", "--list stands alone: it lists every closed month")
			case reopen && opts.NoFetch:
				return config.Usage("", "--no-fetch has no meaning with --reopen: it asks the Portal nothing")
			case list && dryRun, reopen && dryRun:
				return config.Usage("", "--dry-run is about closing a month: leave --list and --reopen out")
			case list:
				return a.closedMonths()
			}
			if month == "" {
				return config.Usage("usagelake close --month last", "which month? Give --month")
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			books, m, err := a.monthOf(cfg, month)
			if err != nil {
				return err
			}
			opts.Month = m
			name := books.Name(opts.Month)
			if reopen {
				res, kept, err := jobs.Reopen(c.Context(), cfg, a.env(), opts.Month, opts.Reason, opts.Wait)
				if a.json() {
					return a.closeDocument(res, err, map[string]any{"month": name, "kept": kept})
				}
				return a.ended(res, err, func(*jobs.Result) {
					if kept != "" {
						fmt.Fprintf(a.Stdout, "reopened   %s; what it was closed with is kept in %s\n", name, kept)
					}
				})
			}
			if cfg, err = a.config(); err != nil {
				return err
			}
			if dryRun {
				return a.reviewClose(c.Context(), cfg, opts)
			}
			// From here on the bars own the terminal; the log goes above them.
			p := a.newProgress(c.Context(), cfg)
			env := a.env()
			env.Logger = p.logger()
			opts.Watch, opts.Phase, opts.Progress = p.watch, p.phase, p.work
			res, closed, err := jobs.Close(c.Context(), cfg, env, opts)
			p.close()
			if a.json() {
				more := map[string]any{"month": name, "closed": nil, "objections": []string{}}
				if res != nil && res.Packed != nil {
					more["packages"] = res.Packed
				}
				var refused *jobs.ObjectionsError
				switch {
				case closed != nil:
					more["closed"] = closed.Manifest
				case errors.As(err, &refused):
					more["objections"] = refused.Objections
				}
				return a.closeDocument(res, err, more)
			}
			return a.ended(res, err, func(res *jobs.Result) {
				if closed != nil {
					a.closedSummary(*closed)
				}
				if res.Packed != nil {
					a.packedSummary(res.Packed)
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&month, "month", "", "`month` of the books: 2026-10, this or last; of a fiscal calendar 2026-P07")
	f.StringVar(&opts.Reason, "reason", "", "`why` it is closed in spite of objections, or opened again; recorded")
	f.BoolVar(&opts.NoFetch, "no-fetch", false, "don't ask the Portal once more; needs a --reason")
	f.BoolVar(&opts.Wait, "wait", false, "wait for a lake that another process holds")
	f.BoolVar(&dryRun, "dry-run", false, "say what it would ask for, charge, and stumble over; write nothing")
	f.BoolVar(&reopen, "reopen", false, "open the month that was closed last")
	f.BoolVar(&list, "list", false, "list the closed months")
	return c
}

// closeDocument prints a run's document with more members, and passes the run's error on.
func (a *app) closeDocument(res *jobs.Result, err error, more map[string]any) error {
	document, err1 := json.Marshal(runDocument(res, err))
	members, err2 := json.Marshal(more)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	// Both are objects with members, so that one without its closing brace, a comma, and the other without its opening one
	// are an object again.
	joined := slices.Concat(document[:len(document)-1], []byte(","), members[1:])
	return errors.Join(a.printJSON(json.RawMessage(joined)), err)
}

// reviewClose says what a close would do.
func (a *app) reviewClose(ctx context.Context, cfg *config.Config, opts jobs.CloseOptions) error {
	r, err := jobs.ReviewClose(ctx, cfg, a.env(), opts)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(r)
	}
	w := a.Stdout
	if len(r.Plans) > 0 {
		fmt.Fprintf(w, "asks       about %s, in about %s\n", words.Plural(r.Requests, "request", "requests"),
			words.Took(time.Duration(r.Seconds*float64(time.Second))))
	}
	if len(r.Charges) == 0 {
		fmt.Fprintf(w, "charges    nothing: no usage of %s is published\n", r.Month)
	} else {
		t := a.newTable(table.Row{"cost centre", "currency", "net cost", "posted"})
		rightAlign(t, 3, 4)
		for _, c := range r.Charges {
			t.AppendRow(table.Row{words.Cell(c.CostCenter), words.Cell(c.Currency), c.Net, c.Posted})
		}
		fmt.Fprintf(w, "charges    of %s, as it is published now:\n\n%s\n\n", r.Month, t.Render())
	}
	for _, l := range r.Loose {
		fmt.Fprintf(w, "to nobody  %s\n", strings.TrimSpace(l.Unallocated+" "+words.Cell(l.Currency)))
		line := strings.TrimSpace(l.WithoutGLCode + " " + words.Cell(l.Currency))
		if len(l.CostCenters) > 0 {
			line += ": " + words.Cell(strings.Join(l.CostCenters, ", "))
		}
		fmt.Fprintf(w, "no GL code %s\n", line)
	}
	for _, o := range r.Objections {
		fmt.Fprintf(w, "against    %s\n", words.Printable(o))
	}
	for _, i := range r.Invoices {
		what := "invoice"
		if i.Kind == "sum" {
			what = "invoices"
		}
		fmt.Fprintf(w, "differs    %s %s: invoiced %s, used %s %s, difference %s", what, words.Cell(i.Invoice), i.Invoiced,
			i.Exported, words.Cell(i.Currency), i.Difference)
		if i.Causes != "" {
			fmt.Fprintf(w, " (%s)", words.Cell(i.Causes))
		}
		fmt.Fprintln(w)
	}
	if len(r.Objections) == 0 {
		fmt.Fprintln(w, "against    nothing, as it is published now")
	}
	fmt.Fprintln(w, "\nnothing was written; the same command without --dry-run closes the month")
	return nil
}

// closedSummary tells a person what a month was closed with.
func (a *app) closedSummary(c publish.ClosedMonth) {
	for _, t := range c.Totals {
		fmt.Fprintf(a.Stdout, "closed     %s: %s for %s records\n", c.Name(), charged(t), words.Count(t.Requests))
	}
	if len(c.Totals) == 0 {
		fmt.Fprintf(a.Stdout, "closed     %s: no usage\n", c.Name())
	}
	for _, o := range c.Objections {
		fmt.Fprintf(a.Stdout, "overridden %s\n", words.Printable(o))
	}
	files := len(c.Files) + 1 // the manifest
	if c.Signer != "" {
		files++
		fmt.Fprintf(a.Stdout, "signed     by %s\n", words.Printable(c.Signer))
	}
	fmt.Fprintf(a.Stdout, "written    %s: %d files\n", c.Dir, files)
}

func orWithout(s *string) string {
	if s == nil {
		return "without"
	}
	return words.Printable(*s)
}

// charged is what was charged in a currency, as people read it.
func charged(t publish.ManifestTotal) string {
	if t.Net == nil {
		return "without " + orWithout(t.Currency)
	}
	return money(*t.Net, orWithout(t.Currency))
}

// money is an exact amount as people read it, with its currency.
func money(exact, currency string) string {
	v, err := schemas.ParseMoney(exact)
	if err != nil {
		return strings.TrimSpace(words.Printable(exact + " " + currency))
	}
	return v.In(currency).Text()
}

func (a *app) closedMonths() error {
	cfg, err := a.lakeConfig()
	if err != nil {
		return err
	}
	lake, err := publish.Open(cfg.Lake, a.env().LakeOptions(cfg))
	if err != nil {
		return jobs.NoLake(err)
	}
	closed, err := lake.Closed()
	if err != nil {
		return err
	}
	if a.json() {
		docs := make([]publish.Manifest, len(closed))
		for i, c := range closed {
			docs[i] = c.Manifest
		}
		return a.printJSON(map[string]any{"closed": docs})
	}
	if len(closed) == 0 {
		fmt.Fprintln(a.Stdout, "no month is closed")
		return nil
	}
	for _, c := range closed {
		var totals []string
		for _, t := range c.Totals {
			totals = append(totals, charged(t))
		}
		line := fmt.Sprintf("%s   closed %s by run %s   %s", c.Name(), words.Stamp(c.ClosedAt), words.Printable(c.RunID),
			strings.Join(totals, ", "))
		if c.By != nil {
			line += "   by " + words.Printable(strings.TrimSuffix(c.By.User+"@"+c.By.Host, "@"))
		}
		if c.Edition > 1 {
			line += fmt.Sprintf("   version %d", c.Edition)
		}
		if c.Reason != "" {
			line += "   in spite of objections: " + words.Printable(c.Reason)
		}
		fmt.Fprintln(a.Stdout, line)
	}
	return nil
}
