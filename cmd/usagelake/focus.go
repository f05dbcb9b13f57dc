package main

import (
	"context"
	"fmt"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// focus exports the FOCUS dataset of the billing months that a report's options name; without any, of the last month
// that has charges.
func (a *app) focus(ctx context.Context, lake *load.Lake, o report.Options, f load.FocusOptions, format, out string) error {
	switch format {
	case "table", "json": // what report chooses where nothing is said
		format = load.FocusParquet
	case load.FocusCSV, load.FocusParquet:
	default:
		return jobs.Usage("", "focus is written as csv or parquet, not as %s", format)
	}
	month := o.Month
	if month == nil && o.From == nil {
		m, err := jobs.LastMonth(ctx, lake)
		if err != nil {
			return err
		}
		month = &m
	}
	name := ""
	if month != nil {
		end := schemas.NextMonth(*month)
		f.From, f.To, name = month, &end, month.Month()
	} else {
		f.From, f.To, name = o.From, o.To, o.From.Month()+"-to-"+o.To.Month()
	}
	f.Format = format
	if out == "" {
		out = "focus-" + name + "." + format
	}
	if out == "-" {
		f.Out = &answerWriter{app: a}
	} else {
		f.Path = out
	}
	if err := f.Validate(); err != nil {
		return jobs.Usage("usagelake report focus --month last --format csv", "%w", err)
	}
	done, err := lake.ExportFocus(ctx, f)
	if err != nil || out == "-" {
		return err
	}
	if a.json() {
		return a.printJSON(map[string]any{"report": "focus", "format": format, "out": out, "rows": done.Rows, "omitted": done.Omitted})
	}
	if !a.quiet {
		fmt.Fprintf(a.Stderr, "%s is written: %s rows.\n", out, count(done.Rows))
		if done.Omitted > 0 {
			fmt.Fprintf(a.Stderr, "%s records have no row, for they lack an amount or a currency: usagelake query \"FROM focus_omitted\"\n", count(done.Omitted))
		}
	}
	return nil
}
