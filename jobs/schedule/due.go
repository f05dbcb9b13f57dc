package schedule

import (
	"errors"
	"slices"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// lakeState is what the lake shows of what is done.
type lakeState struct {
	runs   []schemas.Run        // of the journal, in order
	covers map[string]time.Time // by account: everything up to here is covered, since its first export
	closed schemas.Month        // the month after the last closed one; 0 if none is closed
}

// readLakeState reads it; no lake is an empty one.
func readLakeState(cfg *config.Config, env jobs.Env) (lakeState, error) {
	st := lakeState{covers: map[string]time.Time{}}
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if errors.Is(err, load.ErrNoLake) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	if st.runs, err = jobs.History(lake, cfg); err != nil {
		return st, err
	}
	closed, err := lake.Closed()
	if err != nil {
		return st, err
	}
	for _, c := range closed {
		st.closed = max(st.closed, c.Month+1)
	}
	if !slices.ContainsFunc(cfg.Schedule.Jobs, func(j config.Job) bool { return j.Kind == config.KindExport }) {
		return st, nil
	}
	st.covers, err = jobs.CoveredTo(lake, st.runs, cfg.AccountNames())
	return st, err
}

// look brings what is known of each job up to what the lake shows. The lake is read without mu; no reload comes in
// between, for it is of the same goroutine. A job that runs is left alone: its end is the newer news.
func (s *Scheduler) look() error {
	s.mu.Lock()
	cfg := s.cfg
	s.mu.Unlock()
	lake, err := s.opts.read(cfg, s.env)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.Now()
	for _, j := range s.jobs {
		if !j.running {
			j.look(lake, cfg, now)
			j.plan(now, cfg)
		}
	}
	return nil
}

// look takes from the lake what is done of the job, and what has failed since. Two witnesses are heard: what the work
// left in the lake, whoever did it (doneBy), and the journal's runs of this job, in order. The later one counts. Times
// after now are those of a clock that ran ahead: they are taken for nothing, or the job would wait until the clock has
// caught up.
func (j *scheduled) look(lake lakeState, cfg *config.Config, now time.Time) {
	done := j.doneBy(lake, cfg)
	if done.After(now) {
		done = now
	}
	if !j.done.After(now) { // after now: the clock was set back
		done = later(done, j.done)
	}
	var last *schemas.Run
	var lastDone time.Time
	attempts, failedAt, tried := 0, time.Time{}, time.Time{}
	for i := range lake.runs { // by place: there may be tens of thousands
		r := &lake.runs[i]
		if r.Job != j.Name {
			continue
		}
		if r.Status == schemas.StatusRunning { // it isn't ours: it was killed, or another process is at it
			r.Status = schemas.StatusInterrupted
			r.EndedAt = r.StartedAt
		}
		last = r
		// In order of time: a run that is done wipes out the failures before it, those after it add up. One that was stopped
		// is neither. Repeats are failures that the journal has folded into this one.
		switch {
		case r.Logical.After(now):
		case r.Status == schemas.StatusDone:
			done, lastDone = later(done, r.Logical), r.EndedAt
			attempts, failedAt, tried = 0, time.Time{}, time.Time{}
		case r.Status != schemas.StatusStopped:
			attempts += 1 + r.Repeats
			failedAt, tried = r.EndedAt, r.Logical
			if tried.IsZero() { // a month before the last of those to close
				tried = j.Calendar.Last(r.StartedAt)
			}
		}
	}
	if !tried.After(done) { // somebody else has done it since
		attempts, failedAt, tried = 0, time.Time{}, time.Time{}
	}
	// What failed without a word in the journal is known to this process alone.
	if j.tried.After(done) && j.failedAt.After(failedAt) {
		attempts, failedAt, tried = max(attempts, j.attempts), j.failedAt, j.tried
	}
	// Its end is in the future: the pause counts from the time that it was for.
	if failedAt.After(now) {
		failedAt = tried
	}
	j.done, j.attempts, j.failedAt, j.tried = done, attempts, failedAt, tried
	if last != nil && (j.last == nil || last.StartedAt.After(j.last.StartedAt)) {
		run := *last
		j.last = &run
	}
	j.lastDone = later(j.lastDone, lastDone)
}

// doneBy is up to which time the lake itself shows the job's work to be done, whoever did it; zero if it shows nothing:
// then the journal alone tells.
func (j *scheduled) doneBy(lake lakeState, cfg *config.Config) time.Time {
	switch j.Kind {
	case config.KindExport:
		if j.Lookback != 0 {
			return time.Time{} // how far another export looked back, coverage doesn't show
		}
		// An export at a time covers everything up to the settle time before it.
		var done time.Time
		for i, a := range j.Of(cfg).Accounts {
			covers, ok := lake.covers[a.Name]
			if !ok || covers.IsZero() {
				return time.Time{}
			}
			if t := covers.Add(time.Duration(cfg.Export.Settle)); i == 0 || t.Before(done) {
				done = t
			}
		}
		return done
	case config.KindClose:
		books, err := cfg.ReadBooks()
		if err != nil {
			return time.Time{} // the run says so
		}
		first, err := books.ParseMonth(j.From, time.Time{})
		if err != nil {
			return time.Time{}
		}
		// An occurrence closes the months before the one it lies in. So all occurrences within the first open month, or
		// before it, have nothing left to close, and are done; the first one after its end isn't. With October closed that is
		// until 30 November 23:59:59 of the job's zone.
		open := max(first, lake.closed)
		end := books.End(open).Start()
		done := time.Date(end.Year(), end.Month(), end.Day(), 0, 0, 0, 0, j.Calendar.Location()).Add(-time.Second)
		for _, r := range lake.runs {
			if r.Command == "close --reopen" && r.Status == schemas.StatusDone {
				done = later(done, r.EndedAt) // a person is at it: the month isn't closed again over their head
			}
		}
		return done
	}
	return time.Time{}
}
