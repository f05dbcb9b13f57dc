package jobs_test

import (
	"context"
	"fmt"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/doctor"
)

func init() {
	jobs.Examined = func(ctx context.Context, cfg *config.Config, env jobs.Env, offline bool) []string {
		var out []string
		for _, c := range doctor.Examine(ctx, cfg, env, doctor.Options{Offline: offline}) {
			out = append(out, fmt.Sprintf("%+v", c))
		}
		return out
	}
}
