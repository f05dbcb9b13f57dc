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
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform"
)

// RunJob does what a job of the schedule is there to do, for the logical time. It waits for a lake that another process
// holds. Like Export it returns a Result even with an error, unless the run could not begin.
func RunJob(ctx context.Context, cfg *config.Config, env Env, job config.Job, logical time.Time) (*Result, error) {
	env.Job = JobRun{Name: job.Name, Logical: logical}
	env.Logger = env.Logger.With("job", job.Name)
	if job.Timeout > 0 {
		late := &TimeoutError{Job: job.Name, After: time.Duration(job.Timeout)}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(job.Timeout), late)
		defer cancel()
	}
	cfg = job.Of(cfg)
	// A job makes no lake: one that isn't there was lost, and an empty one in its place would hide that.
	if err := needLake(cfg.Lake); err != nil {
		return nil, err
	}
	switch job.Kind {
	case config.KindExport, config.KindLookback:
		return Export(ctx, cfg, env, ExportOptions{Wait: true, Span: Span{Covered: job.Kind == config.KindLookback}})
	case config.KindBalance:
		res, _, err := Balance(ctx, cfg, env, BalanceOptions{Wait: true})
		return res, err
	case config.KindReport:
		return writeReport(ctx, cfg, env, job, logical)
	case config.KindClose:
		return closeDue(ctx, cfg, env, job, logical)
	case config.KindVerify:
		return verifyLake(ctx, cfg, env)
	case config.KindPrune:
		res, _, err := Prune(ctx, cfg, env, PruneOptions{Wait: true})
		return res, err
	}
	return nil, config.Usage("", "job %s: kind %q is none that runs", job.Name, job.Kind)
}

// previousMonth is the month before the one that t lies in, by its own clock.
func previousMonth(t time.Time) schemas.Date {
	return schemas.MonthOf(schemas.MonthOf(dateOf(t)) - 1)
}

// dateOf is the day of t by its own clock, as the UTC day of that name.
func dateOf(t time.Time) schemas.Date {
	return schemas.DateOf(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC))
}

// closeDue closes every month from the job's first to the one before logical that is still open, in order. A month that
// can't be closed is in the way of those after it.
func closeDue(ctx context.Context, cfg *config.Config, env Env, job config.Job, logical time.Time) (*Result, error) {
	first, err := schemas.ParseMonth(job.From)
	if err != nil {
		return nil, config.Usage("", "job %s: from: %w", job.Name, err)
	}
	lake, err := load.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	closed, err := lake.Closed()
	if err != nil {
		return nil, err
	}
	for _, c := range closed {
		first = max(first, schemas.NextMonth(c.Start))
	}
	last := previousMonth(logical.In(job.Calendar.Location()))
	var res *Result
	for month := first; month <= last; month = schemas.NextMonth(month) {
		each := env
		if month < last { // the time is done when its last month is
			each.Job.Logical = time.Time{}
		}
		if res, _, err = Close(ctx, cfg, each, CloseOptions{Month: month, Wait: true}); err != nil {
			return res, err
		}
	}
	if res != nil {
		return res, nil
	}
	return underLock(ctx, cfg, env, "close", true, func(context.Context, *load.Lake, *Result) error {
		env.Logger.Info("there is no month to close", "closed_to", schemas.MonthOf(first-1).Month())
		return nil
	})
}

// FindingsError says that a check of the lake found something.
type FindingsError struct {
	Count int
	First load.Finding
}

func (e *FindingsError) Error() string {
	return fmt.Sprintf("verify found %d things wrong with the lake, the first: %s: %s", e.Count, e.First.Check, e.First.Detail)
}

// verifyLake checks the lake; findings fail the run.
func verifyLake(ctx context.Context, cfg *config.Config, env Env) (*Result, error) {
	return underLock(ctx, cfg, env, "verify", true, func(ctx context.Context, lake *load.Lake, _ *Result) error {
		report, err := lake.Verify(ctx, load.VerifyOptions{TransformVersion: transform.Version})
		if err != nil {
			return err
		}
		for i, f := range report.Findings {
			if i == 20 {
				env.Logger.Error("and more", "findings", len(report.Findings)-i)
				break
			}
			env.Logger.Error("verify", "check", f.Check, "account", f.Account, "date", f.Date, "path", f.Path, "detail", f.Detail, "hint", f.Hint)
		}
		if n := len(report.Findings); n > 0 {
			return &config.Hint{Err: &FindingsError{Count: n, First: report.Findings[0]},
				Hint: "usagelake verify lists them, usagelake verify --repair mends what can be mended"}
		}
		return nil
	})
}

// writeReport writes a job's report of the month that logical lies in, or of the one before, to OUT/NAME-MONTH.FORMAT, and FOCUS to
// what load.FocusOptions.Name says. The file is replaced whole.
func writeReport(ctx context.Context, cfg *config.Config, env Env, job config.Job, logical time.Time) (*Result, error) {
	local := logical.In(job.Calendar.Location())
	month := schemas.MonthOf(dateOf(local))
	if job.Month == "last" {
		month = previousMonth(local)
	}
	path := filepath.Join(job.Out, job.Report+"-"+month.Month()+"."+extension(job.Format))
	return underLock(ctx, cfg, env, "report", true, func(ctx context.Context, lake *load.Lake, _ *Result) error {
		if err := os.MkdirAll(job.Out, 0o700); err != nil {
			return fmt.Errorf("report %s: %w", job.Report, err)
		}
		if job.Report == config.ReportFocus {
			end := schemas.NextMonth(month)
			opts, err := job.Focus()
			if err != nil {
				return fmt.Errorf("report %s: %w", job.Report, err)
			}
			opts.From, opts.To, opts.Path = &month, &end, filepath.Join(job.Out, opts.Name(month.Month()))
			done, err := lake.ExportFocus(ctx, opts)
			if errors.Is(err, load.ErrClosedRecords) { // as it always is once the month is closed: what was written before stays
				env.Logger.Warn("a closed month is kept by day and meter: nothing is written by record", "report", job.Report, "month", month.Month())
				return nil
			}
			if refused := (*load.FocusError)(nil); errors.As(err, &refused) {
				return config.Usage(refused.Hint, "report %s: %w", job.Report, err)
			}
			if err != nil {
				return err
			}
			env.Logger.Info("a report is written", "report", job.Report, "month", month.Month(), "path", done.Files[0], "files", len(done.Files), "rows", done.Rows)
			return nil
		}
		opts := report.Options{Name: job.Report, By: job.By, Now: env.Now(), Version: env.Version, Pictures: job.Format == "html"}
		if named, _ := report.Find(job.Report); named.Spans != report.Running {
			period := report.MonthPeriod(month)
			opts.Period = &period
		}
		doc, err := report.Build(ctx, lake, opts)
		if errors.Is(err, report.ErrNothing) {
			env.Logger.Info("there is nothing to report on", "report", job.Report, "month", month.Month())
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
		env.Logger.Info("a report is written", "report", job.Report, "month", month.Month(), "path", path, "completeness", doc.Completeness.Text)
		return nil
	})
}

func extension(format string) string {
	if format == "table" {
		return "txt"
	}
	return format
}
