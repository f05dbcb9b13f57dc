package schedule

import (
	"context"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load/publish"
)

// intruded says, once a minute, whether another program wrote into the published file or left a log beside it, and
// nobody is about to mend that. The first time it has alerts checked, so that people hear of it; the next time it is
// mended: mended at once, nobody would learn which program to stop. What comes again and again is mended after ever
// longer pauses, for that builds the whole file; after two hours of peace the pauses begin anew.
//
// A job that is due comes first: an export publishes, and mends by that. A publish that is under way leaves the file
// and its mark apart for a moment, and holds the lake: then nothing is wrong.
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
	// The same twice, a minute apart. A file that can't be told about (Unmarked) is mended like the others, but alarms
	// nobody.
	seen := s.intrusion == found
	s.intrusion = found
	if !seen && !found.None() {
		tell()
	}
	return seen && now.Sub(s.mendedAt).Abs() >= s.mendPause
}

// mendMost is the longest pause between two mendings.
const mendMost = time.Hour

// mend is intruded's mending. What was seen is forgotten before it: should it fail, or be killed, the next look sees it
// for the first time, tells of it, and mends after the pause. mendedAt counts tries, so that one that fails at once
// doesn't come each minute.
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
