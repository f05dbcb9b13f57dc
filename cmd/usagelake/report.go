package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

func (a *app) reportCommand() *cobra.Command {
	var opts report.Options
	var month, from, to, format, out, decimals string
	var focus load.FocusOptions
	var b strings.Builder
	for _, r := range append(report.Names(), [2]string{"focus", "FOCUS, the open cost and usage format, by day and meter; csv or parquet"}) {
		fmt.Fprintf(&b, "  %-15s %s\n", r[0], r[1])
	}
	c := &cobra.Command{
		Use:   "report NAME",
		Short: "A named report: chargeback, statement, budget …",
		Long: `report answers a named report from the published file. It needs no key and no lock.

Reports:
` + b.String() + `
By default it is about the last month that has charges. --month is a billing month: corrections of closed months count in
it. --from and --to (excluded) are UTC days of usage.`,
		Example: `  usagelake report chargeback                                  what each cost centre is charged this month
  usagelake report chargeback --month 2026-10 --by team,model
  usagelake report chargeback --format html --month 2026-10    a page to send: chargeback-2026-10.html
  usagelake report statement --format xlsx --month 2026-10     a workbook, a sheet for each cost centre
  usagelake report budget
  usagelake report chargeback --by day --format csv --out -
  usagelake report focus --month 2026-10 --format csv          focus-2026-10.csv, FOCUS 1.2`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, r := range report.Names() {
				names = append(names, r[0]+"\t"+r[1])
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			opts.Name = args[0]
			if format == "" {
				format = "table"
				if a.json() {
					format = "json"
				}
			}
			if !slices.Contains(report.Formats(), format) {
				return jobs.Usage("", "--format %q is none of table, csv, json, xlsx, html, parquet", format)
			}
			err := checkDecimals(decimals, format)
			if err != nil {
				return err
			}
			if month != "" {
				m, err := a.month(month)
				if err != nil {
					return jobs.Usage("", "--month: %w", err)
				}
				opts.Month = &m
			}
			for _, x := range []struct {
				flag, value string
				to          **schemas.Date
			}{{"--from", from, &opts.From}, {"--to", to, &opts.To}} {
				if x.value == "" {
					continue
				}
				t, err := jobs.ParseTime(x.value, a.Now())
				if err != nil {
					return jobs.Usage("", "%s: %w", x.flag, err)
				}
				d := schemas.DateOf(t)
				if !d.Start().Equal(t) {
					return jobs.Usage("", "%s: a report is about whole UTC days, and %s lies within one", x.flag, x.value)
				}
				*x.to = &d
			}
			if opts.From != nil && opts.To == nil {
				d := schemas.DateOf(a.Now()) + 1
				opts.To = &d
			}
			opts.Now, opts.Version, opts.Pictures = a.Now(), version(), format == "html"
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			lake, err := load.Open(cfg.Lake, cfg.LakeOptions(a.env()))
			if err != nil {
				return jobs.NoLake(err)
			}
			if opts.Name == "focus" {
				return a.focus(c.Context(), lake, opts, focus, format, out)
			}
			doc, err := report.Build(c.Context(), lake, opts)
			if wrong := (*report.OptionsError)(nil); errors.As(err, &wrong) {
				return jobs.Usage("usagelake report --help", "%w", err)
			}
			if err != nil {
				return err
			}
			doc.DecimalNumbers = decimals == decimalNumbers
			if out == "" && (format == "xlsx" || format == "html" || format == "parquet") {
				out = opts.Name + "-" + doc.Period + "." + format
			}
			return a.writeReport(lake, doc, format, out)
		},
	}
	f := c.Flags()
	f.StringVar(&month, "month", "", "billing `month`: 2026-10, this or last")
	f.StringVar(&from, "from", "", "first UTC `day` of usage: 2026-10-01, yesterday, -7d")
	f.StringVar(&to, "to", "", "`day` before which it ends (default tomorrow, if --from is given)")
	f.StringSliceVar(&opts.By, "by", nil, "chargeback: by these `dimensions`: "+strings.Join(report.Dimensions(), ", "))
	f.IntVar(&opts.Top, "top", 20, "top: how many of each kind")
	f.StringVar(&focus.Version, "focus-version", schemas.Focus12, "focus: "+strings.Join(schemas.FocusVersions(), " or "))
	f.BoolVar(&focus.Records, "records", false, "focus: a row per record and meter in place of a day's sums")
	f.BoolVar(&focus.Raw, "raw", false, "focus: leave text of a CSV that a spreadsheet would take for a formula as it is")
	f.StringVar(&format, "format", "", "table, csv, json, xlsx, html or parquet (default table; json with --output json)")
	f.StringVar(&decimals, "decimals", "", "json: decimals as `number or string` (default string)")
	f.StringVar(&out, "out", "", "write to this `file`, - for stdout (default stdout; xlsx, html and parquet: NAME-MONTH.ext here)")
	return c
}

// month reads 2026-10, this, last.
func (a *app) month(s string) (schemas.Date, error) {
	this := schemas.MonthOf(schemas.DateOf(a.Now()))
	switch s {
	case "this":
		return this, nil
	case "last":
		return schemas.MonthOf(this - 1), nil
	}
	return schemas.ParseMonth(s)
}

// writeReport writes a report to a file, or to stdout. A file is there whole or not at all.
func (a *app) writeReport(lake *load.Lake, doc *report.Document, format, out string) error {
	if out == "" || out == "-" {
		if f, ok := a.Stdout.(*os.File); ok && (format == "xlsx" || format == "parquet") && term.IsTerminal(int(f.Fd())) {
			return jobs.Usage("", "%s is not for a terminal: name a file with --out", format)
		}
		return doc.Render(&answerWriter{app: a}, format)
	}
	size := counter{}
	if err := load.WriteOut(out, lake.Out(), func(w io.Writer) error { return doc.Render(io.MultiWriter(w, &size), format) }); err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(map[string]any{"report": doc.Name, "format": format, "out": out, "bytes": size.n})
	}
	if !a.quiet {
		fmt.Fprintf(a.Stderr, "%s is written.\n", out)
	}
	return nil
}

// counter counts the bytes that are written to it.
type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}
