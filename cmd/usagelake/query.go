package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) queryCommand() *cobra.Command {
	var format, out, decimals, csv string
	var rows int
	var raw bool
	c := &cobra.Command{
		Use:   "query SQL",
		Short: "Run SQL on the published file",
		Long: `query runs one statement that reads on usage.duckdb and prints the answer exactly: decimals with all their
digits, times in UTC. It needs no lock; a run that publishes meanwhile changes nothing for it. "-" reads the statement
from stdin. The tables: usage, usage_line_items, usage_daily, balance, coverage, runs, quarantine, quality_issues;
"SHOW TABLES" and "DESCRIBE usage" tell more.

With --out and --output json, stdout has a document with the number of rows and the file.

In CSV, text that a spreadsheet would take for a formula gets an apostrophe before it (--raw leaves it as it came);
--csv excel writes what Excel opens by a double click.`,
		Example: `  usagelake query "SELECT model, sum(amount) AS net FROM usage GROUP BY ALL ORDER BY net DESC"
  usagelake query "FROM usage_daily WHERE usage_date >= '2026-11-01'" --format csv --out november.csv
  usagelake query "FROM spend_by_cost_center_month" --out spend.xlsx
  usagelake query "FROM usage" --format parquet --out usage.parquet
  echo "SELECT sum(amount) FROM usage" | usagelake query -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("give one SQL statement, in quotes, or - to read it from stdin (%d arguments came)", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			sql := args[0]
			if sql == "-" {
				// No statement that a person writes has a megabyte; something else is being piped in.
				b, err := io.ReadAll(io.LimitReader(a.Stdin, 1<<20))
				if err != nil {
					return fmt.Errorf("read the statement: %w", err)
				}
				sql = string(b)
			}
			fallback := a.fallback(csv)
			format, err := outFormat(format, out, fallback, []string{"table", "csv", "json", "xlsx", "parquet"})
			switch {
			case err != nil:
				return err
			case isZip(out):
				return config.Usage("", "--out %s: an answer is one table: name a csv, json, xlsx or parquet file", out)
			case format == "parquet" && (out == "" || out == "-"):
				return config.Usage(`usagelake query "…" --format parquet --out usage.parquet`, "parquet needs a file: --out")
			case format == "xlsx" && out == "":
				return config.Usage(`usagelake query "…" --out usage.xlsx`, "xlsx needs a file: --out, or --out - for stdout")
			case format == "xlsx" && out == "-" && a.onTerminal():
				return config.Usage("", "%s is not for a terminal: name a file with --out", format)
			case raw && format != "csv":
				return config.Usage("", "--raw is for csv: %s has text as it is", format)
			case c.Flags().Changed("rows") && format != "table":
				return config.Usage("", "--rows is for a table: %s has every row; write LIMIT into the statement", format)
			}
			if err := checkDecimals(decimals, format); err != nil {
				return err
			}
			form, err := a.csvForm(csv, format)
			if err != nil {
				return err
			}
			if form.Raw = raw; raw && csv != "" {
				return config.Usage("", "--raw is for programs, and --csv %s for a spreadsheet, which would compute the text", csv)
			}
			toFile := out != "" && out != "-"
			if a.json() && format != "json" && !toFile {
				return config.Usage("usagelake query \"…\" --format "+format+"   (or add --out FILE)",
					"--output json is for one JSON document on stdout, --format %s would write something else there", format)
			}
			cfg, err := a.lakeConfig()
			if err != nil {
				return err
			}
			lake, err := publish.Open(cfg.Lake, a.env().LakeOptions(cfg))
			if err != nil {
				return jobs.NoLake(err)
			}
			n, err := a.query(c.Context(), lake, sql, format, out, decimals, form, rows)
			if err == nil && a.json() && toFile {
				return a.printJSON(queryDocument{Rows: n, Out: out, Format: format})
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&format, "format", "",
		"table, csv, json, xlsx or parquet (default by the ending of --out; else table, or json with --output json)")
	f.StringVar(&out, "out", "", "write to this `file` instead of stdout; xlsx and parquet need one")
	f.StringVar(&decimals, "decimals", "",
		"json: decimals as `number or string`, for readers that make doubles of numbers (default number)")
	a.csvFlag(c, &csv)
	f.BoolVar(&raw, "raw", false, "csv: leave text that a spreadsheet would take for a formula as it is")
	f.IntVar(&rows, "rows", 1000, "print at most this many rows of a table; 0 for all")
	return c
}

// What --decimals can be: how JSON has decimals.
const (
	decimalNumbers = "number"
	decimalStrings = "string"
)

// checkDecimals refuses a --decimals that would have no effect.
func checkDecimals(decimals, format string) error {
	switch {
	case decimals == "":
	case decimals != decimalNumbers && decimals != decimalStrings:
		return config.Usage("", "--decimals %q is neither number nor string", decimals)
	case format != "json":
		return config.Usage("", "--decimals is for --format json: %s has decimals in one way", format)
	}
	return nil
}

// queryDocument is the JSON of a query whose answer went to a file.
type queryDocument struct {
	Rows   int64  `json:"rows"`
	Out    string `json:"out"`
	Format string `json:"format"`
}

// query writes the answer to stdout or to a file, and tells how many rows it has. A file is there whole or not at all;
// stdout has what was written before an error, and the exit code says that it isn't all.
func (a *app) query(ctx context.Context, lake *publish.Lake, sql, format, out, decimals string,
	form query.CSVForm, most int) (n int64, err error) {
	if format == "parquet" {
		n, err := query.WriteParquet(ctx, lake, sql, out)
		if err != nil {
			return n, err
		}
		a.log.Info("written", "file", out, "rows", n)
		return n, nil
	}
	rows, err := query.Run(ctx, lake, sql)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	rows.QuoteDecimals = decimals == decimalStrings
	write := func(w io.Writer) error {
		switch format {
		case "csv":
			n, err = rows.WriteCSV(ctx, w, form)
		case "json":
			n, err = rows.WriteJSON(ctx, w)
		case "xlsx":
			n, err = report.WriteWorkbook(ctx, w, rows, sql, a.Now())
		default:
			n, err = a.writeTable(ctx, w, rows, most)
		}
		return err
	}
	if out == "" || out == "-" {
		err = write(&answerWriter{app: a})
	} else {
		err = durable.WriteOut(out, lake.Out(), write)
	}
	if large := (*report.TooLarge)(nil); errors.As(err, &large) {
		err = fmt.Errorf("%w\nhint: ask for less, by WHERE or LIMIT, or take --format csv or parquet", err)
	}
	return n, err
}

// answerWriter is stdout: once anything stands there, no other document may follow.
type answerWriter struct{ app *app }

func (w *answerWriter) Write(b []byte) (int, error) {
	w.app.printed = true
	return w.app.Stdout.Write(b)
}

// writeTable prints an aligned table. What comes from the data can't move the cursor: control characters show as
// escapes. All rows are read, to count them, and the first ones are kept.
func (a *app) writeTable(ctx context.Context, w io.Writer, rows *query.Rows, most int) (int64, error) {
	header := make(table.Row, len(rows.Columns))
	configs := make([]table.ColumnConfig, len(rows.Columns))
	for i, c := range rows.Columns {
		header[i] = words.Cell(c.Name)
		configs[i] = table.ColumnConfig{Number: i + 1}
		if c.Numeric {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	t := a.newTable(header)
	t.SetColumnConfigs(configs)
	n := int64(0)
	for values, err := range rows.All(ctx) {
		if err != nil {
			return n, err
		}
		n++
		if most > 0 && n > int64(most) {
			continue
		}
		row := make(table.Row, len(values))
		for i, v := range values {
			if v.Null {
				row[i] = "NULL"
				continue
			}
			row[i] = words.Cell(v.Text)
		}
		t.AppendRow(row)
	}
	note := fmt.Sprintf("%s rows", words.Count(n))
	switch {
	case n == 1:
		note = "1 row"
	case most > 0 && n > int64(most):
		note = fmt.Sprintf("%s of %s rows (--rows 0 prints all)", words.Count(most), words.Count(n))
	}
	_, err := fmt.Fprintf(w, "%s\n(%s)\n", t.Render(), note)
	return n, err
}
