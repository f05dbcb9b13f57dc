package jobs

import (
	"context"
	"time"

	"github.com/usagelake/usagelake/load"
)

// Mend publishes anew if another program wrote into the published file, or left a log beside it. It sends no request. The result is
// nil if there is nothing to mend.
func Mend(ctx context.Context, cfg *Config, env Env) (*Result, error) {
	lake, err := load.Open(cfg.Lake, cfg.LakeOptions(env))
	if err != nil {
		return nil, NoLake(err)
	}
	found, err := lake.Intrusion()
	if err != nil || found.None() {
		return nil, err
	}
	env.Logger.Warn(found.String()+"; it is published anew", "hint", load.HintIntruded)
	return underLock(ctx, cfg, env, "publish", false, func(ctx context.Context, lake *load.Lake, res *Result) error {
		return publish(ctx, lake, env, res, nil, false, nil)
	})
}

// intruded says, once a minute, whether another program wrote into the published file or left a log beside it, and nobody is about to
// mend that. The first time it has alerts checked, so that people hear of it; the next time it is mended.
func (s *Scheduler) intruded(tell func()) bool {
	now := s.env.Now()
	if now.Sub(s.lookedAt).Abs() < time.Minute {
		return false
	}
	s.lookedAt = now
	lake, err := load.Open(s.Config().Lake, load.Options{})
	if err != nil { // whatever else runs says so
		return false
	}
	found, err := lake.Intrusion()
	if err != nil || found.None() || lake.Holder() != nil {
		s.intrusion = load.Intrusion{}
		return false
	}
	seen := s.intrusion == found
	s.intrusion = found
	if !seen {
		tell()
	}
	return seen
}

// mend is intruded's mending.
func (s *Scheduler) mend(ctx context.Context) {
	s.intrusion = load.Intrusion{}
	err := guarded(func() error {
		_, err := Mend(ctx, s.Config(), s.env)
		return err
	})
	logPanic(s.log, err)
	if err != nil && ctx.Err() == nil {
		s.log.Error("the published file can't be published anew", "error", err)
	}
}
