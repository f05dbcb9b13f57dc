package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform"
)

func (a *app) verifyCommand() *cobra.Command {
	var repair bool
	var opts jobs.RepairOptions
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check a lake: digests, gaps, duplicates, totals",
		Long: `verify reads the whole lake and says what is wrong with it: every page of the raw archive against its digests,
each day file against its windows and its own footer, records that stand twice, gaps in the coverage, windows that are
not shown to be whole, and usage.duckdb against the day files, row by row. It takes no lock, repairs nothing, and ends
with 1 if it finds anything.

With --repair it makes anew what can be derived from the raw archive, moves raw files that can't be read to damaged/,
says which windows must be fetched anew (the next export does, and asks for nothing else), and ends with 1 if anything
is left.

A day whose raw files are gone can't be derived: its files stay as they are, and every run says so and ends with 4,
until the raw files are back or the day is fetched anew. --drop-orphans gives such days up, by name, and closed months
whose statements are gone. A raw archive that is empty beside days is refused by every run, for its volume may not be
mounted: --raw-lost says that it is lost for good.`,
		Example: `  usagelake verify
  usagelake verify --repair
  usagelake verify --repair --drop-orphans acme/2026-11-20,acme/2026-11-21
  usagelake verify --output json | jq '.findings[]'`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			lake, err := publish.Open(cfg.Lake, a.env().LakeOptions(cfg))
			if err != nil {
				return jobs.NoLake(err)
			}
			if !repair && (len(opts.Drop) > 0 || opts.RawLost) {
				return config.Usage("usagelake verify --help", "--drop-orphans and --raw-lost go with --repair")
			}
			phase, done := a.phases()
			look := publish.VerifyOptions{TransformVersion: transform.Version}
			if phase != nil {
				look.Progress = func(what string, done, total int) { phase(fmt.Sprintf("verify %d of %d: %s", done, total, what)) }
			}
			report, err := lake.Verify(c.Context(), look)
			done()
			if err != nil {
				return err
			}
			if repair && (len(report.Findings) > 0 || len(opts.Drop) > 0) {
				return a.repair(c.Context(), cfg, report, opts)
			}
			if a.json() {
				err = a.printJSON(report)
			} else {
				a.printVerify(report)
			}
			if err == nil && len(report.Findings) > 0 {
				err = errFailed{exitFailed}
			}
			return err
		},
	}
	c.Flags().BoolVar(&repair, "repair", false, "make anew what can be derived, and say what must be fetched")
	c.Flags().StringSliceVar(&opts.Drop, "drop-orphans", nil,
		"give up `days` whose raw files are gone, as acme/2026-11-20, or closed months, as 2026-10")
	c.Flags().BoolVar(&opts.RawLost, "raw-lost", false,
		"the raw archive is empty because it is lost, and not because it isn't mounted")
	return c
}

// repair mends by what verify has found, which took no lock: a run may have changed the lake since. It does no harm,
// for each day is derived from what is there when it is done. That days are left which can't be derived is told by the
// verify after it, and not as an error here.
func (a *app) repair(ctx context.Context, cfg *config.Config, before publish.VerifyReport,
	opts jobs.RepairOptions) error {
	phase, done := a.phases()
	opts.Phase = phase
	_, repaired, after, err := jobs.Repair(ctx, cfg, a.env(), before, opts)
	done()
	if err != nil && !errors.As(err, new(*jobs.OrphanError)) { // what verify finds says it, too
		return err
	}
	err = nil
	if a.json() {
		err = a.printJSON(map[string]any{"before": before, "repair": repaired, "after": after})
	} else {
		w := a.Stdout
		fmt.Fprintf(w, "found %s:\n\n", words.Plural(len(before.Findings), "thing wrong", "things wrong"))
		a.printFindings(before.Findings)
		fmt.Fprintln(w)
		for _, s := range repaired.SetAside {
			fmt.Fprintf(w, "set aside   %s\n            it can't be read; it is now %s\n", words.Printable(s.From),
				words.Printable(s.To))
		}
		for _, path := range repaired.Journal {
			fmt.Fprintf(w, "set aside   what can't be read of the journal; it is now %s\n", words.Printable(path))
		}
		for _, d := range repaired.Derived {
			fmt.Fprintf(w, "derived     %s\n", d)
		}
		for _, d := range repaired.Kept {
			fmt.Fprintf(w, "kept        %s, as it is: raw files that it was made from are gone\n", d)
		}
		for _, d := range repaired.Dropped {
			fmt.Fprintf(w, "dropped     %s, as you said\n", d)
		}
		if repaired.Database {
			fmt.Fprintln(w, "published   usage.duckdb, anew")
		}
		for _, g := range repaired.Gaps {
			fmt.Fprintf(w, "to fetch    usagelake export --account %s --from %s --to %s\n", g.Account, words.Instant(g.Start),
				words.Instant(g.End))
		}
		fmt.Fprintln(w)
		a.printVerify(after)
	}
	if err == nil && len(after.Findings) > 0 {
		err = errFailed{exitFailed}
	}
	return err
}

func (a *app) printFindings(findings []publish.Finding) {
	for _, f := range findings {
		where := []string{f.Check, f.Account, f.Date, f.Path}
		where = slices.DeleteFunc(where, func(s string) bool { return s == "" })
		fmt.Fprintf(a.Stdout, "%s\n  %s\n", words.Printable(strings.Join(where, "  ")), words.Printable(f.Detail))
		if f.Hint != "" {
			fmt.Fprintf(a.Stdout, "  hint: %s\n", f.Hint)
		}
	}
}

func (a *app) printVerify(r publish.VerifyReport) {
	w := a.Stdout
	a.printFindings(r.Findings)
	if a.quiet {
		return
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "checked  %s, %s (%s, %s, %s), %s with %s, %s,\n         %s, %s; usage.duckdb: %s, %s\n",
		words.Plural(r.Accounts, "account", "accounts"), words.Plural(r.Windows, "window", "windows"),
		words.Plural(r.RawFiles, "raw file", "raw files"), words.Plural(r.RawPages, "page", "pages"),
		words.Bytes(r.RawBytes), words.Plural(r.DayFiles, "day file", "day files"),
		words.Plural(r.Rows, "row", "rows"), words.Plural(r.Quarantined, "quarantined record", "quarantined records"),
		words.Plural(r.BalanceFiles, "balance file", "balance files"), words.Plural(r.Runs, "run", "runs"),
		words.Plural(r.DatabaseDays, "day", "days"), words.Plural(r.DatabaseRows, "row", "rows"))
	if r.PrunedDays > 0 {
		fmt.Fprintf(w, "pruned   of %s retention deleted the raw files: the day files are held against their SHA-256\n",
			words.Plural(r.PrunedDays, "day", "days"))
	}
	if r.PrunedRejects > 0 {
		fmt.Fprintf(w, "pruned   of %s in quarantine retention deleted the file: they are counted and not listed\n",
			words.Plural(r.PrunedRejects, "record", "records"))
	}
	if r.PrunedLeft > 0 {
		fmt.Fprintf(w, "pruned   %s of these raw files stand there still: the next usagelake prune deletes them\n",
			words.Count(r.PrunedLeft))
	}
	if len(r.Findings) == 0 {
		fmt.Fprintln(w, "found    nothing wrong")
	} else {
		fmt.Fprintf(w, "found    %s\n", words.Plural(len(r.Findings), "thing wrong", "things wrong"))
	}
}
