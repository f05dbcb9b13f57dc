package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) diffCommand() *cobra.Command {
	var opts jobs.DiffOptions
	var f reportFlags
	var out string
	c := &cobra.Command{
		Use:   "diff FROM [TO]",
		Short: "Which records came, went and changed between two days, in money",
		Long: `diff compares what the lake knew at two instants: FROM and TO are days (their first instant, UTC) or instants,
and TO is now if it isn't given. What was known is told by the windows in the raw archive that were fetched until then:
late records, corrections and deletions show as records that came, changed or went. By account, month, day and currency:

  after = before + came - went - changed before + changed after        to the last of twelve decimals

--month, or --from and --to, restrict it to days of usage, which is another time than that of knowledge. Months, and
these days, are those of the books; the days that are listed are UTC days, as the lake's are. A record has changed if
its id is the same and anything else isn't; one whose day, month or currency is another one went and came.

Days whose raw files are gone, by retention say, can't be compared. They are listed, and it ends with 4.`,
		Example: `  usagelake diff 2026-11-01                                  since the first of November
  usagelake diff 2026-11-01 2026-11-08 --month 2026-10       what that week brought for October
  usagelake diff 2026-11-02T06:00:00Z --out changes.csv      every record, as CSV
  usagelake diff yesterday --output json | jq '.months'
  usagelake diff -- -7d`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			opts.To = a.Now()
			for i, to := range []*time.Time{&opts.From, &opts.To} {
				if i >= len(args) {
					break
				}
				t, err := config.ParseTime(args[i], a.Now())
				if err != nil {
					return err
				}
				*to = t
			}
			if opts.From.After(opts.To) {
				return config.Usage("", "FROM %s is later than TO %s", words.Instant(opts.From), words.Instant(opts.To))
			}
			if opts.Limit < 0 {
				return config.Usage("", "--limit %d: give how many records", opts.Limit)
			}
			var err error
			if opts.Books, err = a.books(c.Context()); err != nil {
				return err
			}
			if opts.Days, err = f.period(opts.Books, a.Now()); err != nil {
				return err
			}
			opts.Account = a.overrides.Account
			lake, err := a.openLake()
			if err != nil {
				return err
			}
			phase, done := a.phases()
			opts.Phase = phase
			var diff *jobs.Diff
			if out == "" {
				diff, err = jobs.CompareKnown(c.Context(), lake, opts)
			} else {
				// What can't be answered is no reason to throw away what can.
				var part *jobs.UnansweredError
				err = durable.WriteOut(out, lake.Out(), func(w io.Writer) error {
					lines := csv.NewWriter(w)
					opts.Each = diffLines(lines)
					if diff, err = jobs.CompareKnown(c.Context(), lake, opts); err != nil && !errors.As(err, &part) {
						return err
					}
					lines.Flush()
					return lines.Error()
				})
				if err == nil && part != nil {
					err = part
				}
			}
			done()
			if diff == nil {
				return err
			}
			if a.json() {
				return errors.Join(a.printJSON(diff), err)
			}
			a.printDiff(diff)
			if out != "" && !a.quiet {
				fmt.Fprintf(a.Stderr, "%s is written.\n", out)
			}
			return err
		},
	}
	flags := c.Flags()
	flags.StringSliceVar(&f.months, "month", nil, "usage of this `month` of the books alone: 2026-10, this, last, 2026-Q3")
	flags.StringVar(&f.from, "from", "", "usage from this book `day` on alone: 2026-10-01, yesterday, -7d")
	flags.StringVar(&f.to, "to", "", "usage before this `day` (default tomorrow, if --from is given)")
	flags.IntVar(&opts.Limit, "limit", 20, "how many `records` to list; --out has all of them")
	flags.StringVar(&out, "out", "", "write every record that came, went or changed to this `file`, as CSV")
	return c
}

// diffLines writes a line for each record, below a header.
func diffLines(w *csv.Writer) func(jobs.DiffRecord) error {
	head := false
	return func(r jobs.DiffRecord) error {
		if !head {
			head = true
			if err := w.Write([]string{"kind", "account", "usage_date", "request_time", "id", "token_id", "model", "currency",
				"amount_before", "amount_after", "fields"}); err != nil {
				return err
			}
		}
		amount := func(s *string) string {
			if s == nil {
				return ""
			}
			return query.CSVNumber(*s)
		}
		return w.Write([]string{r.Kind, r.Account, r.Date, words.Instant(*r.Time), query.NoFormula(r.ID),
			query.NoFormula(r.TokenID), query.NoFormula(r.Model), amount(r.Currency), amount(r.Before), amount(r.After),
			strings.Join(r.Fields, " ")})
	}
}

// printDiff tells a person.
func (a *app) printDiff(d *jobs.Diff) {
	w := a.Stdout
	fmt.Fprintf(w, "known    at %s, and at %s\n", words.Instant(d.From), words.Instant(d.To))
	fmt.Fprintf(w, "compared %s fetched in between, of %s", words.Plural(d.Compared, "day", "days"),
		words.Plural(d.Looked, "day", "days"))
	if d.Same > 0 {
		fmt.Fprintf(w, "; %s the same records as before", words.Plural(d.Same, "has", "have"))
	}
	fmt.Fprintln(w)
	if len(d.Months) == 0 && len(d.Unanswered) == 0 {
		fmt.Fprintln(w, "changed  nothing: no record came, went or changed")
	}
	a.diffTable("month", d.Months, func(l jobs.DiffLine) string { return l.Month })
	a.diffTable("day", d.Days, func(l jobs.DiffLine) string { return l.Date })
	for _, r := range d.Rejects {
		fmt.Fprintf(w, "quarantine  %s %s: %s came, %s went; %s then, %s now\n", r.Account, r.Date, words.Count(r.Came),
			words.Count(r.Went), words.Count(r.Before), words.Count(r.After))
	}
	if len(d.Records) > 0 {
		t := a.newTable(table.Row{"", "account", "time", "id", "model", "currency", "amount before", "amount after",
			"differs in"})
		rightAlign(t, 7, 8)
		for _, r := range d.Records {
			t.AppendRow(table.Row{r.Kind, r.Account, words.Stamp(*r.Time), words.Cell(r.ID), words.Cell(r.Model),
				words.Cell(orDash(r.Currency)), orDash(r.Before), orDash(r.After),
				words.Some(r.Fields, 3)})
		}
		fmt.Fprintf(w, "\n%s\n", t.Render())
		if d.More > 0 {
			fmt.Fprintf(w, "\nand %s: --limit lists more of them, --out FILE.csv all\n",
				words.Plural(d.More, "further record", "further records"))
		}
	}
	for _, u := range d.Unanswered {
		fmt.Fprintf(w, "can't be told  %s %s: %s\n", u.Account, u.Date, u.Why)
	}
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func (a *app) diffTable(what string, lines []jobs.DiffLine, of func(jobs.DiffLine) string) {
	if len(lines) == 0 {
		return
	}
	t := a.newTable(table.Row{what, "account", "currency", "came", "amount", "went", "amount", "changed", "before",
		"after", "difference"})
	rightAlign(t, 4, 11)
	for _, l := range lines {
		t.AppendRow(table.Row{of(l), l.Account, words.Cell(orDash(l.Currency)), words.Count(l.Came), l.CameAmount,
			words.Count(l.Went), l.WentAmount, words.Count(l.Changed), l.ChangedBefore, l.ChangedAfter, l.Difference})
	}
	fmt.Fprintf(a.Stdout, "\n%s\n", t.Render())
}
