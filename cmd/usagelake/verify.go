package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/transform"
)

func (a *app) verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check a lake: digests, gaps, duplicates, totals",
		Long: `verify reads the whole lake and says what is wrong with it: every page of the raw archive against its digests, each day
file against its windows and its own footer, ids across days, gaps in the coverage, and usage.duckdb against the day
files, row by row. It takes no lock, repairs nothing, and ends with 1 if it finds anything.`,
		Example: "  usagelake verify\n  usagelake verify --output json | jq '.findings[]'",
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := a.lakeDir()
			if err != nil {
				return err
			}
			lake, err := load.Open(dir, load.Options{Logger: a.log})
			if err != nil {
				return jobs.NoLake(err)
			}
			phase, done := a.phases()
			opts := load.VerifyOptions{TransformVersion: transform.Version}
			if phase != nil {
				opts.Progress = func(what string, done, total int) { phase(fmt.Sprintf("verify %d of %d: %s", done, total, what)) }
			}
			report, err := lake.Verify(c.Context(), opts)
			done()
			if err != nil {
				return err
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
	return c
}

func (a *app) printVerify(r load.VerifyReport) {
	w := a.Stdout
	for _, f := range r.Findings {
		where := []string{f.Check, f.Account, f.Date, f.Path}
		where = slices.DeleteFunc(where, func(s string) bool { return s == "" })
		fmt.Fprintf(w, "%s\n  %s\n", printable(strings.Join(where, "  ")), printable(f.Detail))
		if f.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", f.Hint)
		}
	}
	if a.quiet {
		return
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "checked  %s accounts, %s windows (%s raw files, %s pages, %s), %s day files with %s rows, %s quarantined records,\n         %s balance files, %s runs; usage.duckdb: %s days, %s rows\n",
		count(int64(r.Accounts)), count(int64(r.Windows)), count(int64(r.RawFiles)), count(r.RawPages), size(r.RawBytes), count(int64(r.DayFiles)),
		count(r.Rows), count(r.Quarantined), count(int64(r.BalanceFiles)), count(int64(r.Runs)), count(int64(r.DatabaseDays)), count(r.DatabaseRows))
	if len(r.Findings) == 0 {
		fmt.Fprintln(w, "found    nothing wrong")
	} else {
		fmt.Fprintf(w, "found    %s\n", plural(len(r.Findings), "thing wrong", "things wrong"))
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(int64(n)) + " " + many
}
