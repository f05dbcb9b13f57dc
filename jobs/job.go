package jobs

import (
	"context"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
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
	case config.KindDeliver:
		return deliverJob(ctx, cfg, env, job.Deliver)
	case config.KindPackage:
		return packageJob(ctx, cfg, env)
	}
	return nil, config.Usage("", "job %s: kind %q is none that runs", job.Name, job.Kind)
}
