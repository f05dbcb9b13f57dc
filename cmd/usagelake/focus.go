package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// focusReport exports the FOCUS dataset of billing months; without any, of the last month that has charges.
func (a *app) focusReport() *cobra.Command {
	var f reportFlags
	var focus query.FocusOptions
	var maxBytes string
	formats := []string{query.FocusParquet, query.FocusCSV}
	c := &cobra.Command{
		Use:   "focus",
		Short: "FOCUS, the open cost and usage format, by day and meter; csv or parquet",
		Long: `focus writes a dataset of FOCUS, the open specification of billing data, of billing months: Cost and Usage, or
of FOCUS 1.4 Billing Period and Invoice Detail. x_MissingHours says of each row of the first how much its account lacks
of the billing period. Beside the data stands NAME.metadata.json, which says what the columns are.

--grain says what has a row of its own: a record and its meters, or a day's charges of a token, a user, a project, a
team, a cost center, an environment or a model. --max-rows and --max-bytes split a csv into files that an importer
takes.`,
		Example: `  usagelake report focus --month 2026-10 --format csv
  usagelake report focus --month 2026-Q3 --cost-center CC-1010 --out search.parquet
  usagelake report focus --grain cost_center --format csv --max-rows 10000 --max-bytes 2MB
  usagelake report focus --dataset invoice_detail --month 2026-10`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if focus.Format, err = outFormat(f.format, f.out, query.FocusParquet, formats); err != nil {
				return err
			}
			if a.json() && f.out == "-" {
				return config.Usage("",
					"--output json is for one JSON document on stdout, and --out - would write something else there: name a file")
			}
			if isZip(f.out) {
				return config.Usage("", "--out %s: FOCUS is one table: name a csv or parquet file", f.out)
			}
			lake, err := a.openLake()
			if err != nil {
				return err
			}
			books, err := a.books(c.Context())
			if err != nil {
				return err
			}
			if f.from != "" && f.to == "" { // FOCUS is by month
				f.to = books.End(books.Current(a.Now())).String()
			}
			period, err := f.period(books, a.Now())
			if err != nil {
				return err
			}
			if period == nil {
				m, err := jobs.LastMonth(c.Context(), lake)
				if err != nil {
					return err
				}
				p := books.Period(m, m)
				period = &p
			}
			whole, err := books.Whole(*period)
			if err != nil {
				return config.Usage("", "FOCUS is exported by billing month: %w", err)
			}
			end := whole.Last + 1
			if c.Flags().Changed("max-rows") && focus.MaxRows <= 0 {
				return config.Usage("", "--max-rows %d: give how many rows a file may have", focus.MaxRows)
			}
			if maxBytes != "" {
				if focus.MaxBytes, err = config.ParseSize(maxBytes); err != nil {
					return config.Usage("", "--max-bytes: %w", err)
				}
			}
			focus.Dataset = cmp.Or(focus.Dataset, schemas.FocusCostAndUsage)
			if focus.Version == "" {
				focus.Version = schemas.Focus12
				if focus.Dataset != schemas.FocusCostAndUsage {
					focus.Version = schemas.Focus14
				}
			}
			for i, name := range focus.Columns {
				focus.Columns[i] = strings.TrimSpace(name)
			}
			focus.From, focus.To, focus.Scope = &whole.First, &end, f.scope
			out := f.out
			if out == "" {
				out = focus.Name(whole.Name())
			}
			if out == "-" {
				focus.Out = &answerWriter{app: a}
			} else {
				focus.Path = out
			}
			if err := focus.Validate(); err != nil {
				return config.Usage(c.CommandPath()+" --help", "%w", err)
			}
			usage := focus.Dataset == schemas.FocusCostAndUsage
			if f.strict && !usage {
				return config.Usage("leave --strict out",
					"--strict is about how much usage is there, and the dataset %s holds none", focus.Dataset)
			}
			if focus.Raw && focus.Format != query.FocusCSV {
				return config.Usage("", "--raw is for csv: %s has text as it is", focus.Format)
			}
			state, err := report.Completing(c.Context(), lake, *period, f.scope)
			if wrong := (*report.OptionsError)(nil); errors.As(err, &wrong) {
				return config.Usage(c.CommandPath()+" --help", "%w", err)
			}
			if err != nil {
				return err
			}
			done, err := query.ExportFocus(c.Context(), lake, focus)
			if errors.Is(err, query.ErrClosedRecords) {
				return config.Usage("leave --grain record out, or name open months", "%w", err)
			}
			if refused := (*query.FocusError)(nil); errors.As(err, &refused) {
				return config.Usage(refused.Hint, "%w", err)
			}
			if err != nil {
				return err
			}
			switch {
			case out == "-":
			case a.json():
				answer := map[string]any{"report": "focus", "dataset": focus.Dataset, "focus_version": focus.Version,
					"format": focus.Format, "out": out, "files": done.Files, "metadata": done.Metadata, "rows": done.Rows,
					"omitted": done.Omitted}
				if usage {
					answer["completeness"], answer["complete"] = state.Text, state.Complete
				}
				if err := a.printJSON(answer); err != nil {
					return err
				}
			case !a.quiet:
				name := done.Files[0]
				if n := len(done.Files); n > 1 {
					fmt.Fprintf(a.Stderr, "%s and up to %s are written: %s rows.\n", name, filepath.Base(done.Files[n-1]),
						words.Count(done.Rows))
				} else {
					fmt.Fprintf(a.Stderr, "%s is written: %s rows.\n", name, words.Count(done.Rows))
				}
				if usage {
					fmt.Fprintf(a.Stderr, "Completeness: %s\n", state.Text)
				}
				if done.Omitted > 0 {
					fmt.Fprintf(a.Stderr, "%s records have no row, for they lack an amount or a currency: "+
						"usagelake query \"FROM focus_omitted\"\n", words.Count(done.Omitted))
				}
			}
			return f.whole(a, state)
		},
	}
	f.add(a, c, report.AnyDays, query.ScopeDimensions, formats)
	flags := c.Flags()
	flags.Lookup("out").Usage = "write to this `file`, - for stdout (default focus-VERSION-MONTH.FORMAT here; dataset, " +
		"grain and what narrows it stand in the name, too)"
	flags.Lookup("from").Usage, flags.Lookup("to").Usage = "first `day` of the first month, in place of --month",
		"first `day` of the month before which it ends (default the next one)"
	flags.StringVar(&focus.Dataset, "dataset", schemas.FocusCostAndUsage,
		"this `dataset`: "+strings.Join(schemas.FocusDatasets(), ", "))
	flags.StringVar(&focus.Version, "focus-version", "", strings.Join(schemas.FocusVersions(),
		" or ")+" (default "+schemas.Focus12+"; of the other datasets "+schemas.Focus14+")")
	flags.StringVar(&focus.Grain, "grain", "", "a row for each `what`: "+strings.Join(schemas.FocusGrains(),
		", ")+" (default "+schemas.FocusByDay+")")
	flags.StringSliceVar(&focus.Columns, "columns", nil, "only these `columns`, in this order")
	flags.Int64Var(&focus.MaxRows, "max-rows", 0, "csv: numbered files of so many `rows` at the most")
	flags.StringVar(&maxBytes, "max-bytes", "", "csv: numbered files of this `size` at the most, such as 2MB")
	_ = c.RegisterFlagCompletionFunc("dataset", cobra.FixedCompletions(schemas.FocusDatasets(),
		cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("grain", cobra.FixedCompletions(schemas.FocusGrains(),
		cobra.ShellCompDirectiveNoFileComp))
	flags.BoolVar(&focus.Raw, "raw", false, "leave text of a CSV that a spreadsheet would take for a formula as it is")
	return c
}
