package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// dateOf is the day of t by its own clock, as the day of that name.
func dateOf(t time.Time) schemas.Date {
	return schemas.DateOf(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC))
}

// writeReport writes a job's report of the month that logical lies in, or of the one before, to OUT/NAME-MONTH.FORMAT,
// and FOCUS to what query.FocusOptions.Name says. The file is replaced whole.
func writeReport(ctx context.Context, cfg *config.Config, env Env, job config.Job, logical time.Time) (*Result, error) {
	local := logical.In(job.Calendar.Location())
	books, err := cfg.ReadBooks()
	if err != nil {
		return nil, err
	}
	month := books.Month(dateOf(local))
	if job.Month == "last" {
		month--
	}
	name := books.Name(month)
	path := filepath.Join(job.Out, job.Report+"-"+name+"."+extension(job.Format))
	return underLock(ctx, cfg, env, "report", true, func(ctx context.Context, lake *publish.Lake, _ *Result) error {
		if err := os.MkdirAll(job.Out, 0o700); err != nil {
			return fmt.Errorf("report %s: %w", job.Report, err)
		}
		if job.Report == config.ReportFocus {
			end := month + 1
			opts, err := job.Focus()
			if err != nil {
				return fmt.Errorf("report %s: %w", job.Report, err)
			}
			opts.From, opts.To, opts.Path = &month, &end, filepath.Join(job.Out, opts.Name(name))
			done, err := query.ExportFocus(ctx, lake, opts)
			// as it always is once the month is closed: what was written before stays
			if errors.Is(err, query.ErrClosedRecords) {
				env.Logger.Warn("a closed month is kept by day and meter: nothing is written by record", "report", job.Report,
					"month", name)
				return nil
			}
			if refused := (*query.FocusError)(nil); errors.As(err, &refused) {
				return config.Usage(refused.Hint, "report %s: %w", job.Report, err)
			}
			if err != nil {
				return err
			}
			env.Logger.Info("a report is written", "report", job.Report, "month", name, "path", done.Files[0], "files",
				len(done.Files), "rows", done.Rows)
			return nil
		}
		opts := report.Options{Name: job.Report, By: job.By, Now: env.Now(), Version: env.Version,
			Pictures: report.Pictured(job.Format), Posting: cfg.Journal.Posting()}
		if named, _ := report.Find(job.Report); named.Spans != report.Running {
			period := books.Period(month, month)
			opts.Period = &period
		}
		doc, err := report.Build(ctx, lake, opts)
		if errors.Is(err, report.ErrNothing) {
			env.Logger.Info("there is nothing to report on", "report", job.Report, "month", name)
			return nil
		}
		if err != nil {
			return err
		}
		write := func(path string, doc *report.Document) error {
			return durable.WriteOut(path, lake.Out(), func(w io.Writer) error { return doc.Render(w, job.Format) })
		}
		if err := write(path, doc); err != nil {
			return err
		}
		if report.OneTable(job.Format) { // the main table stands there; each of the others in a file of its own
			main := doc.Main()
			err := doc.Each(func(one *report.Document, table string) error {
				if table == main {
					return nil
				}
				return write(strings.TrimSuffix(path, "."+job.Format)+"-"+table+"."+job.Format, one)
			})
			if err != nil {
				return err
			}
		}
		env.Logger.Info("a report is written", "report", job.Report, "month", name, "path", path, "completeness",
			doc.Completeness.Text)
		return nil
	})
}

func extension(format string) string {
	if format == "table" {
		return "txt"
	}
	return format
}
