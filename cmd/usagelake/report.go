package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// reportCommand has a command for each report, made of what the report says of itself: it has the flags that the report
// takes, and cobra refuses the others.
func (a *app) reportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "report NAME",
		Short: "A named report: chargeback, statement, budget …",
		Long: `report answers a named report from the published file. It needs no key and no lock. "usagelake report NAME
--help" says what the report answers and takes.

By default a report is about the last month that has charges. --month is a billing month: corrections of closed months
count in it; several that follow one another are --month 2026-09,2026-10, a quarter is --month 2026-Q3. --from and --to
(excluded) are UTC days of usage. --account, --cost-center, --team, --project, --environment and --model narrow it to
those; repeat one for several. --owner is the cost centre, team or project of a name.

Each says how complete its period is: "complete", or "480 of 744 hours (account acme lacks 264)". With --strict it ends
with 6 where it isn't complete.`,
		Example: `  usagelake report chargeback                                  what each cost centre is charged this month
  usagelake report chargeback --month 2026-10 --by team,model
  usagelake report chargeback --format html --month 2026-10    a page to send: chargeback-2026-10.html
  usagelake report statement --cost-center CC-1010 --out search.xlsx
  usagelake report top --month 2026-Q3 --out top.zip           a CSV for each of its tables
  usagelake report chargeback --by day --format csv --out -
  usagelake report focus --month 2026-10 --format csv          focus-1.2-2026-10.csv`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name a report: usagelake report --help lists them")
			}
			hint := ""
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "; did you mean " + near[0] + "?"
			}
			return fmt.Errorf("no report %q%s", args[0], hint)
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args has refused
	}
	for _, r := range report.Reports() {
		c.AddCommand(a.oneReport(r))
	}
	c.AddCommand(a.focusReport())
	return c
}

// reportFlags are those of a report, as they were given.
type reportFlags struct {
	months      []string
	periods     []string // the same by another name
	from, to    string
	scope       query.Scope
	format, out string
	asOf        string
	strict      bool
}

// add adds the flags that a report of the spans and dimensions takes.
func (f *reportFlags) add(a *app, c *cobra.Command, spans report.Spans, dimensions, formats []string) {
	flags := c.Flags()
	if spans >= report.Months {
		flags.StringSliceVar(&f.months, "month", nil,
			"billing `month`: 2026-10, this, last, 2026-Q3, or several that follow one another (default the last that has "+
				"charges)")
		flags.StringSliceVar(&f.periods, "period", nil,
			"the same: any `period` of the books, such as 2026-10, 2026-P07, 2026-Q3, FY2026")
		for _, name := range []string{"month", "period"} {
			a.complete(c, name, "SELECT DISTINCT period_of(billing_month) FROM chargeback_daily ORDER BY 1 DESC", "this", "last")
		}
	}
	if spans >= report.AnyDays {
		flags.StringVar(&f.from, "from", "", "first `day` of usage, of the books (UTC unless they have a zone): 2026-10-01, "+
			"yesterday, -7d")
		flags.StringVar(&f.to, "to", "", "`day` before which it ends (default tomorrow, if --from is given)")
	}
	for _, d := range dimensions {
		name := strings.TrimPrefix(report.FlagName(d), "--")
		flags.StringArrayVar(f.scope.Values(d), name, nil, "only this `"+name+"`; repeat it for several")
		query := "SELECT DISTINCT " + d + " FROM chargeback_daily WHERE " + d + " IS NOT NULL ORDER BY 1"
		if d == "account" {
			query = "SELECT account FROM accounts ORDER BY 1"
		}
		a.complete(c, name, query)
	}
	flags.StringVar(&f.format, "format", "",
		strings.Join(formats, ", ")+" (default by the ending of --out; else "+formats[0]+")")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&f.out, "out", "",
		"write to this `file`, - for stdout (default stdout; xlsx, html and parquet: NAME-MONTH.ext here)")
	flags.BoolVar(&f.strict, "strict", false,
		"end with 6 if the period isn't complete; what was asked for is written nevertheless")
}

// complete offers what a query of the published file gives as values of a flag. A shell asks while somebody types:
// where there is no config, no lake or no file there is nothing to offer, and no word of it.
func (a *app) complete(c *cobra.Command, name, sql string, more ...string) {
	_ = c.RegisterFlagCompletionFunc(name, func(c *cobra.Command, _ []string, _ string) ([]string,
		cobra.ShellCompDirective) {
		out := more
		if cfg, err := a.lakeConfig(); err == nil {
			if lake, err := publish.Open(cfg.Lake, a.env().LakeOptions(cfg)); err == nil {
				if rows, err := query.Run(c.Context(), lake, sql); err == nil {
					defer rows.Close()
					for row, err := range rows.All(c.Context()) {
						if err != nil {
							break
						}
						out = append(out, words.Printable(row[0].Text))
					}
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	})
}

// period is what --month or --period, --from and --to say, by the books and their clocks; nil if they say nothing.
func (f *reportFlags) period(books *schemas.Books, now time.Time) (*schemas.Period, error) {
	flag, months := "--month", f.months
	if len(f.periods) > 0 {
		if len(months) > 0 {
			return nil, config.Usage("", "give --month or --period, not both: they are the same")
		}
		flag, months = "--period", f.periods
	}
	if len(months) > 0 {
		if f.from != "" || f.to != "" {
			return nil, config.Usage("", "give %s, or --from and --to, not both", flag)
		}
		p, err := books.ParsePeriod(months, now)
		if err != nil {
			return nil, config.Usage("", "%s: %w", flag, err)
		}
		return &p, nil
	}
	if f.from == "" && f.to == "" {
		return nil, nil
	}
	if f.from == "" {
		return nil, config.Usage("", "give both --from and --to")
	}
	today := books.Day(now)
	from, to := schemas.Date(0), today+1
	clocks := today.Start().Add(now.Sub(books.Starts(today))) // yesterday is that of the books
	for _, x := range []struct {
		flag, value string
		to          *schemas.Date
	}{{"--from", f.from, &from}, {"--to", f.to, &to}} {
		if x.value == "" {
			continue
		}
		t, err := config.ParseTime(x.value, clocks)
		if err != nil {
			return nil, config.Usage("", "%s: %w", x.flag, err)
		}
		*x.to = schemas.DateOf(t)
		// -12h, say, or a time of day.
		if !x.to.Start().Equal(t) {
			return nil, config.Usage("", "%s: a report is about whole days, and %s lies within one", x.flag, x.value)
		}
	}
	p := books.Span(from, to)
	return &p, nil
}

// outFormat is the format of an answer: what --format says, or the ending of the file, and no contradiction between the
// two. fallback is for where neither says anything. Of a zip it is that of the files in it.
//
//	--format csv --out a.csv   csv          --out a.parquet   parquet      --out a.zip   csv, a file for each table
//	--format csv --out a.json  refused      --out a.dat       refused      --out a.txt   the fallback
func outFormat(format, out, fallback string, formats []string) (string, error) {
	ending := strings.ToLower(strings.TrimPrefix(filepath.Ext(out), "."))
	if ending == "htm" {
		ending = "html"
	}
	known := slices.Contains(formats, ending) && ending != "table"
	switch {
	case format != "" && !slices.Contains(formats, format):
		return "", config.Usage("", "--format %q is none of %s", format, strings.Join(formats, ", "))
	case out == "" || out == "-":
	case ending == "zip" && slices.ContainsFunc(formats, report.OneTable):
		if format == "" {
			format = "csv"
		}
		if !report.OneTable(format) {
			return "", config.Usage("", "--out %s: a zip holds a file for each table, as csv or parquet; %s has them all in one",
				out, format)
		}
	case known && format == "":
		format = ending
	case known && format != ending:
		return "", config.Usage("", "--out %s says %s, and --format says %s: leave one out", out, ending, format)
	case !known && slices.Contains([]string{"csv", "json", "xlsx", "html", "parquet", "zip"}, ending):
		return "", config.Usage("", "--out %s: this is written as %s", out, strings.Join(formats, ", "))
	case !known && ending != "" && ending != "txt" && format == "":
		return "", config.Usage("", "--out %s: the ending says no format: add --format, one of %s", out,
			strings.Join(formats, ", "))
	case ending == "txt" && format != "" && format != "table":
		return "", config.Usage("", "--out %s says text, and --format says %s: leave one out", out, format)
	}
	if format == "" {
		format = fallback
	}
	return format, nil
}

func (a *app) oneReport(r report.Report) *cobra.Command {
	var f reportFlags
	var by []string
	var top int
	var table, decimals, owner, csv string
	var accrual bool
	formats := report.Formats()
	if r.Ledgers {
		formats = append(formats, posting.Names()...)
	}
	c := &cobra.Command{
		Use:     r.Name,
		Short:   r.About,
		Long:    r.Long,
		Example: "  usagelake report " + r.Example,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			format, err := a.reportFormat(f, r, a.fallback(csv))
			if err != nil {
				return err
			}
			if err := checkDecimals(decimals, format); err != nil {
				return err
			}
			form, err := a.csvForm(csv, format)
			if err != nil {
				return err
			}
			opts := report.Options{Name: r.Name, Scope: f.scope, Owner: owner, By: by, Now: a.Now(), Version: version(),
				Pictures: report.Pictured(format), Accrual: accrual}
			if c.Flags().Changed("owner") && owner == "" {
				return config.Usage("", "--owner is empty: give the name of a cost centre, team or project, or leave it out")
			}
			if c.Flags().Changed("top") {
				if opts.Top = top; top <= 0 {
					return config.Usage("", "--top %d: give how many of each kind", top)
				}
			}
			books, err := a.books(c.Context())
			if err != nil {
				return err
			}
			if opts.Period, err = f.period(books, a.Now()); err != nil {
				return err
			}
			stdout := f.out == "-" || f.out == "" && (format == "table" || format == "csv" || format == "json")
			switch {
			case table != "" && !report.OneTable(format):
				return config.Usage("", "--table is for csv and parquet, which hold one table; %s has them all", format)
			case table != "" && isZip(f.out):
				return config.Usage("", "--table is for a file of one table; %s holds them all", f.out)
			case a.json() && format != "json" && stdout:
				return config.Usage("",
					"--output json is for one JSON document on stdout, --format %s would write something else there: add --out FILE",
					format)
			}
			if err := r.Check(opts); err != nil {
				return config.Usage(c.CommandPath()+" --help", "%w", err)
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			opts.Posting = cfg.Journal.Posting()
			lake, done, err := a.openAsOf(c.Context(), cfg, f.asOf, &opts)
			if err != nil {
				return err
			}
			defer done()
			doc, err := report.Build(c.Context(), lake, opts)
			if err == nil && table != "" {
				err = doc.Choose(table)
			}
			if refused := (*posting.Error)(nil); errors.As(err, &refused) {
				return config.Usage(refused.Hint, "report %s: %w", opts.Name, err)
			}
			if wrong := (*report.OptionsError)(nil); errors.As(err, &wrong) {
				return config.Usage(c.CommandPath()+" --help", "%w", err)
			}
			if err != nil {
				return err
			}
			doc.DecimalNumbers, doc.Form = decimals == decimalNumbers, form
			if _, ok := posting.Find(format); ok {
				if err := a.writePostings(lake, doc, format, f.out); err != nil {
					return err
				}
				return f.whole(a, doc.Completeness)
			}
			if f.out == "" && !stdout {
				f.out = r.Name + "-" + doc.Period + "." + format
			}
			err = a.writeReport(lake, doc, format, f.out, table == "")
			if large := (*report.TooLarge)(nil); errors.As(err, &large) {
				err = fmt.Errorf("%w\nhint: ask for fewer dimensions, or take --format csv or parquet", err)
			}
			if err != nil {
				return err
			}
			return f.whole(a, doc.Completeness)
		},
	}
	f.add(a, c, r.Spans, r.Dimensions, formats)
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if name, ok := strings.CutPrefix(err.Error(), "unknown flag: "); ok && r.WhyNot(name) != "" {
			return config.Usage(c.CommandPath()+" --help", "the report %s takes no %s: %s", r.Name, name, r.WhyNot(name))
		}
		return c.Root().FlagErrorFunc()(c, err)
	})
	flags := c.Flags()
	flags.StringVar(&f.asOf, "as-of", "",
		"answer from what was known at this `time`: 2026-11-10, 2026-11-10T06:00:00Z, -7d; it is derived anew for it")
	flags.StringVar(&decimals, "decimals", "", "json: decimals as `number or string` (default string)")
	a.csvFlag(c, &csv)
	flags.StringVar(&table, "table", "", "csv and parquet hold one table: this `name`")
	if r.Owned() {
		flags.StringVar(&owner, "owner", "", "only this `owner`: the cost centre, team or project of that name")
		a.complete(c, "owner", "SELECT DISTINCT name FROM ("+report.OwnerNames()+") ORDER BY 1")
	}
	if r.By != nil {
		flags.StringSliceVar(&by, "by", nil, "by these `dimensions`: "+strings.Join(report.Dimensions(),
			", ")+" (default "+strings.Join(r.By, ", ")+")")
		_ = c.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(report.Dimensions(),
			cobra.ShellCompDirectiveNoFileComp))
	}
	if r.Ledgers {
		flags.BoolVar(&accrual, "accrual", false, "of months that aren't closed: an accrual, and its reversal")
	}
	if r.Top {
		flags.IntVar(&top, "top", 20, "how many of each kind")
	}
	return c
}

func isZip(path string) bool { return strings.EqualFold(filepath.Ext(path), ".zip") }

// openLake opens the lake to be read.
func (a *app) openLake() (*publish.Lake, error) {
	cfg, err := a.lakeConfig()
	if err != nil {
		return nil, err
	}
	lake, err := publish.Open(cfg.Lake, a.env().LakeOptions(cfg))
	if err != nil {
		return nil, jobs.NoLake(err)
	}
	return lake, nil
}

// openAsOf opens the lake to be read; with a time, a lake that has what was known then, as which the report is built.
func (a *app) openAsOf(ctx context.Context, cfg *config.Config, asOf string, opts *report.Options) (lake *publish.Lake,
	done func(), err error) {
	if asOf == "" {
		lake, err = a.openLake()
		return lake, func() {}, err
	}
	at, err := config.ParseTime(asOf, a.Now())
	if err != nil {
		return nil, nil, config.Usage("", "--as-of: %w", err)
	}
	if at.After(a.Now()) {
		return nil, nil, config.Usage("", "--as-of %s lies in the future", words.Instant(at))
	}
	opts.Now, opts.AsOf = at, at
	phase, clear := a.phases()
	defer clear()
	return jobs.AsOf(ctx, cfg, a.env(), at, phase)
}

// whole ends a --strict report of a period that isn't complete with the exit code for that. The report is written by
// then: who asked for it gets it, and is told what it lacks.
func (f *reportFlags) whole(a *app, c report.Completeness) error {
	if !f.strict || c.Complete {
		return nil
	}
	a.report(fmt.Errorf("the period is not complete: %s", c.Text))
	return errFailed{exitIncomplete}
}

// books are the calendar of the published file; where there is none, that of the config.
func (a *app) books(ctx context.Context) (*schemas.Books, error) {
	cfg, err := a.lakeConfig()
	if err != nil {
		return nil, err
	}
	lake, err := publish.Open(cfg.Lake, a.env().LakeOptions(cfg))
	if err != nil {
		return cfg.ReadBooks()
	}
	return jobs.BooksOf(ctx, cfg, lake)
}

// monthOf is the month that a --month names, by the calendar of the config.
func (a *app) monthOf(cfg *config.Config, month string) (*schemas.Books, schemas.Month, error) {
	books, err := cfg.ReadBooks()
	if err != nil {
		return nil, 0, err
	}
	m, err := books.ParseMonth(month, a.Now())
	if err != nil {
		return nil, 0, config.Usage("", "--month: %w", err)
	}
	return books, m, nil
}

// writeReport writes a report to a file, or to stdout. A file is there whole or not at all. tell says on stderr which
// tables a file of one leaves out.
func (a *app) writeReport(lake *publish.Lake, doc *report.Document, format, out string, tell bool) error {
	left := doc.Others()
	if !report.OneTable(format) || isZip(out) || !tell {
		left = nil
	}
	if out == "" || out == "-" {
		if (format == "xlsx" || format == "parquet") && a.onTerminal() {
			return config.Usage("", "%s is not for a terminal: name a file with --out", format)
		}
		if f, ok := a.Stdout.(*os.File); ok {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil {
				doc.Width = width
			}
		}
		err := doc.Render(&answerWriter{app: a}, format)
		a.tellLeft(left, format)
		return err
	}
	size := counter{}
	if err := durable.WriteOut(out, lake.Out(), func(w io.Writer) error {
		if isZip(out) {
			return doc.Zip(io.MultiWriter(w, &size), format)
		}
		return doc.Render(io.MultiWriter(w, &size), format)
	}); err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(map[string]any{"report": doc.Name, "format": format, "out": out, "bytes": size.n,
			"completeness": doc.Completeness.Text, "complete": doc.Completeness.Complete,
			"tables_left_out": append([]string{}, left...)})
	}
	if !a.quiet {
		fmt.Fprintf(a.Stderr, "%s is written.\n", out)
	}
	a.tellLeft(left, format)
	return nil
}

// onTerminal says that stdout is a terminal.
func (a *app) onTerminal() bool {
	f, ok := a.Stdout.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) tellLeft(left []string, format string) {
	if len(left) > 0 && !a.quiet {
		fmt.Fprintf(a.Stderr, "A %s holds one table. Left out: %s. --table NAME gives one of them, --out NAME.zip all.\n",
			format, strings.Join(left, ", "))
	}
}

// counter counts the bytes that are written to it.
type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}
