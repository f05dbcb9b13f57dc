package schedule

import (
	"context"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load/publish"
)

// intruded says, once a minute, whether another program wrote into the published file or left a log beside it, and
// nobody is about to mend that. The first time it has alerts checked, so that people hear of it; the next time it is
// mended. What comes again and again is mended after ever longer pauses, for that builds the whole file.
func (s *Scheduler) intruded(tell func()) bool {
	now := s.env.Now()
	if now.Sub(s.lookedAt).Abs() < time.Minute {
		return false
	}
	s.lookedAt = now
	lake, err := publish.Open(s.Config().Lake, publish.Options{})
	if err != nil { // whatever else runs says so
		return false
	}
	found, err := lake.Intrusion()
	if err != nil || found == (publish.Intrusion{}) || lake.Holder() != nil {
		s.intrusion = publish.Intrusion{}
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
	s.intrusion, s.mendedAt = publish.Intrusion{}, s.env.Now()
	s.mendPause = min(max(2*s.mendPause, time.Minute), mendMost)
	err := jobs.Guarded(func() error {
		_, err := jobs.Mend(ctx, s.Config(), s.env)
		return err
	})
	jobs.LogPanic(s.log, err)
	if err != nil && ctx.Err() == nil {
		s.log.Error("the published file can't be published anew", "error", err, "next", s.mendPause)
	}
}
