package jobs

import (
	"context"
	"fmt"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/transform"
)

// FindingsError says that a check of the lake found something.
type FindingsError struct {
	Count int
	First publish.Finding
}

func (e *FindingsError) Error() string {
	return fmt.Sprintf("verify found %d things wrong with the lake, the first: %s: %s", e.Count, e.First.Check,
		e.First.Detail)
}

// verifyLake checks the lake; findings fail the run.
func verifyLake(ctx context.Context, cfg *config.Config, env Env) (*Result, error) {
	return underLock(ctx, cfg, env, "verify", true, func(ctx context.Context, lake *publish.Lake, _ *Result) error {
		report, err := lake.Verify(ctx, publish.VerifyOptions{TransformVersion: transform.Version})
		if err != nil {
			return err
		}
		for i, f := range report.Findings {
			if i == 20 {
				env.Logger.Error("and more", "findings", len(report.Findings)-i)
				break
			}
			env.Logger.Error("verify", "check", f.Check, "account", f.Account, "date", f.Date, "path", f.Path, "detail",
				f.Detail, "hint", f.Hint)
		}
		if n := len(report.Findings); n > 0 {
			return &config.Hint{Err: &FindingsError{Count: n, First: report.Findings[0]},
				Hint: "usagelake verify lists them, usagelake verify --repair mends what can be mended"}
		}
		return nil
	})
}
