package jobs

import (
	"context"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
)

// Mend publishes anew if another program wrote into the published file, or may have, or left a log beside it. It sends no request. The result is
// nil if there is nothing to mend.
func Mend(ctx context.Context, cfg *config.Config, env Env) (*Result, error) {
	lake, err := load.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	found, err := lake.Intrusion()
	if err != nil || found == (load.Intrusion{}) {
		return nil, err
	}
	env.Logger.Warn(found.String()+"; it is published anew", "hint", load.HintIntruded)
	return underLock(ctx, cfg, env, "publish", false, func(ctx context.Context, lake *load.Lake, res *Result) error {
		return publish(ctx, lake, env, res, nil, false, nil)
	})
}

// intruded says, once a minute, whether another program wrote into the published file or left a log beside it, and nobody is about to
// mend that. The first time it has alerts checked, so that people hear of it; the next time it is mended. What comes again and again is
// mended after ever longer pauses, for that builds the whole file.
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
	if err != nil || found == (load.Intrusion{}) || lake.Holder() != nil {
		s.intrusion = load.Intrusion{}
		if now.Sub(s.mendedAt).Abs() > 2*mendMost {
			s.mendPause = 0
		}
		return false
	}
	seen := s.intrusion == found
	s.intrusion = found
	if !seen && !found.None() {
		tell()
	}
	return seen && now.Sub(s.mendedAt).Abs() >= s.mendPause
}

// mendMost is the longest pause between two mendings.
const mendMost = time.Hour

// mend is intruded's mending.
func (s *Scheduler) mend(ctx context.Context) {
	s.intrusion, s.mendedAt = load.Intrusion{}, s.env.Now()
	s.mendPause = min(max(2*s.mendPause, time.Minute), mendMost)
	err := guarded(func() error {
		_, err := Mend(ctx, s.Config(), s.env)
		return err
	})
	logPanic(s.log, err)
	if err != nil && ctx.Err() == nil {
		s.log.Error("the published file can't be published anew", "error", err, "next", s.mendPause)
	}
}
