package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// focusReport exports the FOCUS dataset of billing months; without any, of the last month that has charges.
func (a *app) focusReport() *cobra.Command {
	var f reportFlags
	var focus load.FocusOptions
	formats := []string{load.FocusParquet, load.FocusCSV}
	c := &cobra.Command{
		Use:   "focus",
		Short: "FOCUS, the open cost and usage format, by day and meter; csv or parquet",
		Long: `focus writes the Cost and Usage dataset of FOCUS, the open specification of billing data, of billing months. x_MissingHours says of
each row how much its account lacks of the billing period.`,
		Example: `  usagelake report focus --month 2026-10 --format csv
  usagelake report focus --month 2026-Q3 --cost-center CC-1010 --out search.parquet`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if focus.Format, err = outFormat(f.format, f.out, load.FocusParquet, formats); err != nil {
				return err
			}
			if a.json() && f.out == "-" {
				return jobs.Usage("", "--output json is for one JSON document on stdout, and --out - would write something else there: name a file")
			}
			if isZip(f.out) {
				return jobs.Usage("", "--out %s: FOCUS is one table: name a csv or parquet file", f.out)
			}
			lake, err := a.openLake()
			if err != nil {
				return err
			}
			if f.from != "" && f.to == "" { // FOCUS is by month
				f.to = schemas.NextMonth(schemas.MonthOf(schemas.DateOf(a.Now()))).String()
			}
			period, err := f.period(a)
			if err != nil {
				return err
			}
			if period == nil {
				m, err := jobs.LastMonth(c.Context(), lake)
				if err != nil {
					return err
				}
				p := report.MonthPeriod(m)
				period = &p
			}
			out := f.out
			if out == "" {
				out = "focus-" + period.Name() + "." + focus.Format
			}
			focus.From, focus.To, focus.Scope = &period.From, &period.To, f.scope
			if out == "-" {
				focus.Out = &answerWriter{app: a}
			} else {
				focus.Path = out
			}
			if err := focus.Validate(); err != nil {
				return jobs.Usage("usagelake report focus --month last --format csv", "%w", err)
			}
			if focus.Raw && focus.Format != load.FocusCSV {
				return jobs.Usage("", "--raw is for csv: %s has text as it is", focus.Format)
			}
			state, err := report.Completing(c.Context(), lake, *period, f.scope)
			if wrong := (*report.OptionsError)(nil); errors.As(err, &wrong) {
				return jobs.Usage(c.CommandPath()+" --help", "%w", err)
			}
			if err != nil {
				return err
			}
			done, err := lake.ExportFocus(c.Context(), focus)
			if errors.Is(err, load.ErrClosedRecords) {
				return jobs.Usage("leave --records out, or name open months", "%w", err)
			}
			if err != nil {
				return err
			}
			switch {
			case out == "-":
			case a.json():
				if err := a.printJSON(map[string]any{"report": "focus", "format": focus.Format, "out": out, "rows": done.Rows, "omitted": done.Omitted, "completeness": state.Text, "complete": state.Complete}); err != nil {
					return err
				}
			case !a.quiet:
				fmt.Fprintf(a.Stderr, "%s is written: %s rows.\nCompleteness: %s\n", out, count(done.Rows), state.Text)
				if done.Omitted > 0 {
					fmt.Fprintf(a.Stderr, "%s records have no row, for they lack an amount or a currency: usagelake query \"FROM focus_omitted\"\n", count(done.Omitted))
				}
			}
			return f.whole(a, state)
		},
	}
	f.add(a, c, report.AnyDays, load.ScopeDimensions, formats)
	flags := c.Flags()
	flags.Lookup("from").Usage, flags.Lookup("to").Usage = "first `day` of the first month, in place of --month", "first `day` of the month before which it ends (default the next one)"
	flags.StringVar(&focus.Version, "focus-version", schemas.Focus12, strings.Join(schemas.FocusVersions(), " or "))
	flags.BoolVar(&focus.Records, "records", false, "a row per record and meter in place of a day's sums")
	flags.BoolVar(&focus.Raw, "raw", false, "leave text of a CSV that a spreadsheet would take for a formula as it is")
	return c
}
