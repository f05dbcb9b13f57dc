package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) pruneCommand() *cobra.Command {
	var opts jobs.PruneOptions
	var raw, quarantine string
	c := &cobra.Command{
		Use:   "prune",
		Short: "Retention: delete the raw files of closed months",
		Long: `prune deletes what is older than the policy says: raw files of days whose month is closed, and the quarantine
of days whose raw files are gone. Ages count from the end of the month. The policy is in the config (prune: {raw: 400d,
quarantine: 400d}) or on the command line; without one nothing is deleted.

A day is pruned only if what its raw files give is, byte for byte, what its day file is. The day file is the source of
the day from then on: figures, coverage and statements stay as they are, a rebuild keeps it, verify holds it against
its SHA-256, and late records fetch the whole day anew. What an open month is derived from stays, whatever its age, as
do balances, statements and the journal. There is no way back but a backup: look at --dry-run first.

It ends with 4 if days are due that it keeps because something is wrong with them.`,
		Example: `  usagelake prune --dry-run
  usagelake prune --raw-older-than 400d --quarantine-older-than 400d --dry-run
  usagelake prune --output json | jq '.prune.months[].kept'`,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if opts.Raw, err = age("raw-older-than", raw); err != nil {
				return err
			}
			if opts.Quarantine, err = age("quarantine-older-than", quarantine); err != nil {
				return err
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			opts.Account = a.overrides.Account
			phase, done := a.phases()
			opts.Phase = phase
			res, report, err := jobs.Prune(c.Context(), cfg, a.env(), opts)
			done()
			switch {
			// It never began, or was refused: there is nothing to sum up. Else there is, whether it failed or not.
			case report == nil:
				return err
			case a.json() && opts.DryRun:
				return errors.Join(a.printJSON(map[string]any{"prune": report}), err)
			case a.json():
				return a.closeDocument(res, err, map[string]any{"prune": report})
			}
			if !a.quiet {
				a.pruneSummary(res, report)
			}
			return err
		},
	}
	f := c.Flags()
	f.BoolVar(&opts.DryRun, "dry-run", false, "change nothing: print what would be deleted, and what is kept and why")
	f.StringVar(&raw, "raw-older-than", "",
		"`age` from which raw files of closed months go, such as 400d (default: the config's prune.raw)")
	f.StringVar(&quarantine, "quarantine-older-than", "",
		"`age` from which the quarantine of pruned days goes (default: the config's prune.quarantine)")
	f.BoolVar(&opts.Wait, "wait", false, "wait for a lake that another process holds")
	return c
}

// age reads a retention given by a flag; "" is 0.
func age(flag, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := config.ParseDuration(text)
	if err != nil || d < 24*time.Hour {
		return 0, config.Usage("usagelake prune --help", "--%s: %q is not an age of at least a day, such as 400d", flag, text)
	}
	return d, nil
}

func (a *app) pruneSummary(res *jobs.Result, r *jobs.PruneReport) {
	w := a.Stdout
	verb := "deleted"
	if r.DryRun {
		verb = "would delete"
		fmt.Fprintln(w, "a dry run: nothing is changed")
	} else if res != nil {
		fmt.Fprintf(w, "prune %s in %s   run %s\n", res.Status, words.Took(res.Elapsed), res.RunID)
	}
	forEver := func(s string) string {
		if s == "" {
			return "kept for ever"
		}
		return "older than " + s + " after the end of the month"
	}
	fmt.Fprintf(w, "policy   raw files %s; quarantine %s\n\n", forEver(r.Raw), forEver(r.Quarantine))
	if len(r.Months) > 0 {
		t := a.newTable(table.Row{"account", "month", "days", "raw files", "bytes", "quarantine files", "bytes",
			"pruned before", "kept", "why"})
		for _, m := range r.Months {
			row := table.Row{m.Account, m.Month, words.Count(m.Days), words.Count(m.Files), words.Bytes(m.Bytes),
				words.Count(m.QuarantineFiles), words.Bytes(m.QuarantineBytes), words.Count(m.Pruned)}
			if len(m.Kept) == 0 {
				t.AppendRow(append(row, "0", ""))
			}
			for i, k := range m.Kept {
				if i > 0 {
					row = table.Row{"", "", "", "", "", "", "", ""}
				}
				why := k.Reason
				if k.Days < m.Days || len(m.Kept) > 1 || k.Failed {
					why += " (first: " + k.First + ")"
				}
				t.AppendRow(append(row, words.Count(k.Days), words.Printable(why)))
			}
		}
		rightAlign(t, 3, 9)
		fmt.Fprintln(w, t.Render())
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s  %s (%s), %s (%s), of %s\n", verb, words.Plural(r.Files, "raw file", "raw files"),
		words.Bytes(r.Bytes),
		words.Plural(r.QuarantineFiles, "quarantine file", "quarantine files"), words.Bytes(r.QuarantineBytes),
		words.Plural(r.Days, "day", "days"))
}
