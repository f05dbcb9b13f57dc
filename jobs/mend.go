package jobs

import (
	"context"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
)

// Mend publishes anew if another program wrote into the published file, or may have, or left a log beside it. It sends
// no request. The result is nil if there is nothing to mend.
func Mend(ctx context.Context, cfg *config.Config, env Env) (*Result, error) {
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	found, err := lake.Intrusion()
	if err != nil || found == (publish.Intrusion{}) {
		return nil, err
	}
	env.Logger.Warn(found.String()+"; it is published anew", "hint", publish.HintIntruded)
	return underLock(ctx, cfg, env, "publish", false, func(ctx context.Context, lake *publish.Lake, res *Result) error {
		return publishFile(ctx, lake, env, res, nil, false, nil)
	})
}
