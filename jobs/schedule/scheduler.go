package schedule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// defaultTick is how often the scheduler looks at the clock and at the config file: a clock that is set, and a machine
// that slept, are noticed by then.
const defaultTick = 15 * time.Second

// Scheduler runs the jobs of a config when they are due, one after the other: one lake has one writer.
//
// What is due is not remembered but read off the lake: off its coverage, its closed months, and the runs of its
// journal. A job that missed some of its times, because the program or the machine was down or another job took long,
// runs once for all of them. Without a journal every job runs once more, which changes nothing that was right.
//
// Three goroutines meet here: that of Run, which alone plans, reloads and looks at the lake; that of the one run or
// mending that is under way, never two; and whoever asks for Config or State.
type Scheduler struct {
	opts Options
	env  jobs.Env
	log  *slog.Logger

	// Held for a look at memory alone, never across a read of the lake or a run, so that the status page is answered while
	// a run takes hours. After New, Run's goroutine alone writes cfg and configFile; configFile it reads and writes
	// without mu, as nobody else does.
	mu             sync.Mutex // guards what follows
	cfg            *config.Config
	startedAt      time.Time
	configLoadedAt time.Time
	configError    string
	configFile     os.FileInfo // as it was when it was read last; nil if it could not be looked at
	stopping       bool
	jobs           []*scheduled

	wake chan struct{} // a reload is asked for
	home os.FileInfo   // the directory of the lake as the program began; nil if there was none; set by New alone

	// Of Run's goroutine while nothing is under way, and of a mending's while that is: the one starts the other and waits
	// for its end before it looks again. So no lock.
	lookedAt  time.Time         // when intruded looked
	intrusion publish.Intrusion // and what it saw
	mendedAt  time.Time         // when that was mended last, or tried to
	mendPause time.Duration     // how long to wait then
}

// Options say how a scheduler works with the world. Load is needed.
type Options struct {
	// Load reads the config; it is called at the start and for each reload.
	Load func() (*config.Config, error)
	// Began is told of each run as it begins, Ended when it has ended; of one run after the other.
	Began func(JobState)
	Ended func(RunEvent)
	// Reloaded is told of each reload, with the error of one that was refused.
	Reloaded func(error)
	// Check is called every minute and after each run, one call at a time, while runs go on: it sends alerts.
	Check func(ctx context.Context, cfg *config.Config, configError string)

	// 0: defaultTick
	tick time.Duration
	// nil: RunJob
	run func(ctx context.Context, cfg *config.Config, env jobs.Env, job config.Job, logical time.Time) (*jobs.Result,
		error)
	read func(cfg *config.Config, env jobs.Env) (lakeState, error) // nil: readLakeState
}

// scheduled is a job as the scheduler knows it. The Scheduler's mu guards all of it. While running is set no look and
// no plan touches it; the run's end plans it.
//
// done ≤ the times that are due (first … logical, missed of them before logical) ≤ the time of the plan. attempts,
// failedAt and tried are of what was tried since done: attempts is 0 where failedAt is zero.
type scheduled struct {
	config.Job
	done     time.Time // its times up to here are done
	first    time.Time // the earliest time that is due; zero if none is
	logical  time.Time // the latest time that is due
	missed   int       // how many are due before it
	tried    time.Time // the latest time that a run was for, of those since done
	attempts int       // failed runs since done
	failedAt time.Time // when the last of them ended
	// Of this process alone: after a restart the pause goes by the number of failures, until the next one tells again.
	lasting  bool      // it failed for a reason that doesn't pass by itself
	nextAt   time.Time // when it is run next
	planned  time.Time // when that was worked out
	until    time.Time // and how long it holds: to the next time of the calendar
	running  bool
	began    time.Time    // the run that is under way
	last     *schemas.Run // the last run that ended
	lastDone time.Time    // when the last one that was done ended
}

// New makes a scheduler, or reports what is wrong with the config.
func New(env jobs.Env, opts Options) (*Scheduler, error) {
	if opts.tick == 0 {
		opts.tick = defaultTick
	}
	if opts.run == nil {
		opts.run = jobs.RunJob
	}
	if opts.read == nil {
		opts.read = readLakeState
	}
	clock := env.Now
	env.Now = func() time.Time { return clock().Round(0) } // the wall clock alone: the monotonic one hides that it was set
	s := &Scheduler{opts: opts, env: env, log: env.Logger, wake: make(chan struct{}, 1)}
	cfg, err := s.load()
	if err != nil {
		return nil, err
	}
	if err := cfg.Schedulable(); err != nil {
		return nil, err
	}
	now := env.Now()
	s.cfg, s.startedAt, s.configLoadedAt = cfg, now, now
	s.take(cfg)
	s.home, _ = os.Stat(cfg.Lake) // none yet is none to lose
	return s, s.look()
}

// take makes cfg's jobs the scheduler's. What is known of a job of the same name stays, and so a reload in the middle
// of a backoff doesn't try at once. A job is its name: under another it has no runs in the journal.
func (s *Scheduler) take(cfg *config.Config) {
	known := s.jobs
	s.jobs = nil
	for _, c := range cfg.Schedule.Jobs {
		j := &scheduled{}
		if i := slices.IndexFunc(known, func(k *scheduled) bool { return k.Name == c.Name }); i >= 0 {
			j = known[i]
		}
		j.Job = c
		s.jobs = append(s.jobs, j)
	}
}

// Config is the one in force.
func (s *Scheduler) Config() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// State is the scheduler as it stands.
func (s *Scheduler) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := State{StartedAt: s.startedAt, ConfigLoadedAt: s.configLoadedAt, ConfigError: s.configError, Stopping: s.stopping}
	for _, j := range s.jobs {
		st.Jobs = append(st.Jobs, j.state())
	}
	return st
}

func (j *scheduled) state() JobState {
	return JobState{Name: j.Name, Kind: j.Kind, Cron: j.Cron, Zone: j.Zone, Accounts: j.Accounts, Running: j.running,
		StartedAt: j.began,
		Logical:   j.logical, Missed: j.missed, Attempts: j.attempts, NextAt: j.nextAt, Last: j.last, LastDone: j.lastDone}
}

// Reload has the config read anew, soon.
func (s *Scheduler) Reload() {
	select {
	case s.wake <- struct{}{}:
	default: // one is on its way
	}
}

// Run runs jobs until ctx ends; it returns the cause. A run that is under way is told to end with it, and is given the
// config's grace for that: what it has sealed is kept in either case.
func (s *Scheduler) Run(ctx context.Context) error {
	s.logPlan()
	var ended chan struct{} // of the run that is under way; nil if none is
	checks := newChecker(ctx, s)
	for {
		if ended == nil {
			if j, ok := s.due(); ok {
				ended = make(chan struct{})
				go func() {
					defer close(ended)
					s.execute(ctx, j)
				}()
			} else if s.intruded(checks.now) {
				ended = make(chan struct{})
				go func() {
					defer close(ended)
					s.mend(ctx)
				}()
			}
		}
		checks.every(s.env.Now())
		timer := time.NewTimer(s.pause(ended != nil))
		select {
		case <-ctx.Done():
			timer.Stop()
			return s.stop(ctx, ended, checks.ended)
		case <-ended:
			ended = nil
			checks.now()
		case <-s.wake:
			s.reload(true)
		case <-timer.C:
			s.reload(false)
		}
		timer.Stop()
	}
}

// stop waits for the run that is under way, and for a check of alerts, for the grace period at the most, of both
// together. What hasn't ended then dies with the process, in the middle of whatever it does: each commit is one rename
// or one line, and the lake's lock goes with the process, so that the next start finds a lake as after a kill.
func (s *Scheduler) stop(ctx context.Context, run, check <-chan struct{}) error {
	s.mu.Lock()
	s.stopping = true
	grace := time.Duration(s.cfg.Schedule.Grace)
	s.mu.Unlock()
	if run != nil {
		s.log.Info("stopping: the run that is under way is ended", "grace", grace)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for _, ended := range []<-chan struct{}{run, check} {
		if ended == nil {
			continue
		}
		select {
		case <-ended:
		case <-timer.C:
			s.log.Error("what is under way did not end within the grace period; what is sealed is kept, and the next run goes "+
				"on from there", "grace", grace)
			return context.Cause(ctx)
		}
	}
	return context.Cause(ctx)
}

// pause is how long there is nothing to do: until the next job is due, but a tick at the most, so that a nextAt of a
// clock that was set since is never waited for. While a run is under way no other begins, whatever is due.
func (s *Scheduler) pause(busy bool) time.Duration {
	d := s.opts.tick
	if busy {
		return d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if !j.nextAt.IsZero() {
			d = min(d, j.nextAt.Sub(s.env.Now()))
		}
	}
	return max(d, 0)
}

// due picks the job to run now: of those whose time has come, the one that has waited longest. It looks at the lake
// again before it says so, for another process may have done what is due.
func (s *Scheduler) due() (*scheduled, bool) {
	now, setBack := s.env.Now(), false
	// A plan holds until the calendar's next time. One that was made at a later time than now is of a clock that was set
	// back, and is made anew; it shows that, too, in setBack, which is read after the first call.
	ready := func() []*scheduled {
		s.mu.Lock()
		defer s.mu.Unlock()
		var out []*scheduled
		for _, j := range s.jobs {
			setBack = setBack || now.Before(j.planned)
			if now.Before(j.planned) || !now.Before(j.until) {
				j.plan(now, s.cfg)
			}
			if !j.first.IsZero() && !j.nextAt.After(now) {
				out = append(out, j)
			}
		}
		return out
	}
	if len(ready()) == 0 && !setBack { // what was done by a clock that ran ahead is looked at anew
		return nil, false
	}
	if err := s.look(); err != nil {
		s.log.Error("the lake can't be looked at", "error", err)
	}
	// A lake that can't be looked at keeps no job from being tried: it fails by itself, is journalled if that can be, and
	// its pauses keep the log short. What is planned is what was known before.
	still := ready()
	if len(still) == 0 {
		return nil, false
	}
	return slices.MinFunc(still, func(a, b *scheduled) int { return a.nextAt.Compare(b.nextAt) }), true
}

// plan works out what is due at now and when the job is run next.
func (j *scheduled) plan(now time.Time, cfg *config.Config) {
	j.first, j.logical, j.missed = time.Time{}, time.Time{}, 0
	j.planned, j.until = now, j.Calendar.Next(now)
	// Done are times, not runs: with done = Monday 02:30 and a daily 02:30, on Thursday at noon Tuesday is first, Thursday
	// is logical, and two are missed. The run for Thursday does for all three.
	if j.done.IsZero() {
		j.first = j.Calendar.Last(now) // of a job that never ran, the latest time is due
		j.logical = j.first
	} else {
		const most = 10_000 // more aren't counted
		for at := j.Calendar.Next(j.done); !at.IsZero() && !at.After(now); at = j.Calendar.Next(at) {
			if j.first.IsZero() {
				j.first = at
			} else {
				j.missed++
			}
			j.logical = at
			// A job of every minute after a year: what is counted is for people, what is run is the latest.
			if j.missed == most {
				j.logical = j.Calendar.Last(now)
				break
			}
		}
	}
	if j.first.IsZero() {
		j.nextAt = j.until.Add(j.jitter(j.until))
		return
	}
	j.nextAt = j.first.Add(j.jitter(j.first))
	// Its times are of its zone: 1 December 00:30 in Tokyo is 30 November in UTC. It begins when the month has ended
	// there, too, and its last records have settled.
	if j.Kind == config.KindClose { // its months are the books'
		if books, err := cfg.ReadBooks(); err == nil { // else the run says so
			day := schemas.DateOf(time.Date(j.first.Year(), j.first.Month(), j.first.Day(), 0, 0, 0, 0, time.UTC))
			began := books.Starts(books.First(books.Month(day)))
			j.nextAt = later(j.nextAt, began.Add(time.Duration(cfg.Export.Settle)))
		}
	}
	if j.attempts > 0 {
		retry := j.failedAt.Add(j.backoff(cfg))
		// The job's next time comes all the same: a job of every ten minutes waits no hour after its sixth failure. A try for
		// a later time counts on from the failures before it, as done didn't move.
		if next := j.Calendar.Next(j.tried); !next.IsZero() && next.Add(j.jitter(next)).Before(retry) {
			retry = next.Add(j.jitter(next))
		}
		if retry.After(j.nextAt) {
			j.nextAt = retry
		}
	}
}

// jitter is how much later than at the job begins: always the same for the same time, job and machine, so that a
// restart doesn't change it.
func (j *scheduled) jitter(at time.Time) time.Duration {
	if j.Jitter <= 0 {
		return 0
	}
	host, _ := os.Hostname() // unknown is as good as any
	return time.Duration(spread(fmt.Sprintf("%s %s %d", host, j.Name,
		at.Unix())) * float64(j.Jitter)).Truncate(time.Second)
}

// backoff is the pause after the last failure: doubled for each, and up to a fifth shorter, by chance that is the same
// for the same failure: many machines that one outage failed don't come back at once. By default a minute, 2, 4 … 60.
// What needs a person pauses for the longest at once.
func (j *scheduled) backoff(cfg *config.Config) time.Duration {
	d, most := time.Duration(cfg.Schedule.RetryAfter), time.Duration(cfg.Schedule.RetryMost)
	for n := 1; n < j.attempts && d < most; n++ {
		d *= 2
	}
	if j.lasting {
		d = most
	}
	d = min(d, most)
	return (d - time.Duration(0.2*spread(fmt.Sprintf("%s %d", j.Name,
		j.failedAt.UnixNano()))*float64(d))).Truncate(time.Second)
}

// spread makes a number in [0, 1) of text.
func spread(text string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	sum := h.Sum64()
	sum ^= sum >> 33 // FNV's high bits hardly change with the last letters
	sum *= 0xff51afd7ed558ccd
	return float64((sum^sum>>33)>>11) / (1 << 53)
}

// execute runs a job for what is due of it. It takes copies under the lock, runs without it, and writes down what came
// of it under the lock again: a reload meanwhile may have changed j.Job, and this run is the old one's.
//
//	no Result and an error   the run could not begin: nothing of it stands in the journal, so it is written there here
//	ctx has ended            it was stopped, which is no failure: the time stays due, and the next start finds it so
//	any other error          a failure: the pause grows; done stays, and so do the times that are due
func (s *Scheduler) execute(ctx context.Context, j *scheduled) {
	s.mu.Lock()
	now := s.env.Now()
	cfg, job, logical := s.cfg, j.Job, j.logical
	j.running, j.began, j.tried = true, now, logical
	state := j.state()
	s.mu.Unlock()
	log := s.log.With("job", job.Name, "logical", logical.Format(time.RFC3339))
	log.Info("a job begins", "kind", job.Kind, "missed", state.Missed, "attempt", state.Attempts+1)
	if s.opts.Began != nil {
		s.opts.Began(state)
	}

	res, err := s.attempt(ctx, cfg, job, logical)
	stopped := ctx.Err() != nil
	if res == nil && err != nil && !stopped {
		s.journal(cfg, job, logical, now, err)
	}

	s.mu.Lock()
	ended := s.env.Now()
	j.running, j.began = false, time.Time{}
	run := schemas.Run{Command: job.Kind, Job: job.Name, Logical: logical, StartedAt: now, EndedAt: ended,
		Status: jobs.StatusOf(err)}
	switch {
	case res != nil:
		run = res.Run
	case err != nil:
		run.Error = err.Error()
	}
	j.last = &run
	switch {
	case err == nil:
		j.done, j.lastDone = later(j.done, logical), ended
		j.attempts, j.failedAt, j.lasting = 0, time.Time{}, false
	// Should the journal not have it, a look keeps these as long as no newer failure stands there.
	case !stopped:
		j.attempts++
		j.failedAt, j.lasting = ended, needsPerson(err)
	}
	j.plan(ended, s.cfg)
	next := j.nextAt
	s.mu.Unlock()

	switch {
	case err == nil:
		log.Info("a job is done", "elapsed_seconds", ended.Sub(now).Round(time.Millisecond).Seconds(), "records", run.Records,
			"requests", run.Requests, "next", next)
	case stopped:
		log.Info("a job was stopped", "elapsed_seconds", ended.Sub(now).Round(time.Millisecond).Seconds(), "records",
			run.Records)
	default:
		message, hint := err.Error(), ""
		if h := (*config.Hint)(nil); errors.As(err, &h) {
			hint = h.Hint
		}
		log.Error("a job failed, and is tried again", "error", message, "hint", hint, "attempt", state.Attempts+1, "next",
			next)
	}
	if s.opts.Ended != nil {
		s.opts.Ended(RunEvent{Job: state, Result: res, Err: err, Started: now, Elapsed: ended.Sub(now)})
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// needsPerson says that a failure needs a person: trying again soon would only cost.
func needsPerson(err error) bool {
	var objections *jobs.ObjectionsError
	var findings *jobs.FindingsError
	var kept *jobs.KeptError
	var overlap *publish.OverlapError
	var unproven *publish.UnprovenError
	var focus *query.FocusError
	return errors.As(err, &focus) || errors.As(err, &objections) || errors.As(err, &findings) || errors.As(err, &kept) ||
		errors.As(err, &overlap) || errors.As(err, &unproven)
}

// attempt runs the job; a panic in it is its error.
func (s *Scheduler) attempt(ctx context.Context, cfg *config.Config, job config.Job,
	logical time.Time) (res *jobs.Result,
	err error) {
	defer func() {
		if res == nil { // a run that began has logged it
			jobs.LogPanic(s.log.With("job", job.Name), err)
		}
	}()
	defer schemas.Guard(&err)
	// Its volume may have gone, and another stand in its place: what is written there is not missed until the right one is
	// back. The directory's inode tells; a lake that was put back from a backup is another one, too.
	if s.home != nil {
		if here, err := os.Stat(cfg.Lake); err != nil || !os.SameFile(here, s.home) {
			return nil, &config.Hint{Err: fmt.Errorf("job %s: the lake %s is not the one that was there when the program began",
				job.Name, cfg.Lake),
				Hint: "is its disk mounted? If another lake is meant, start the program anew"}
		}
	}
	return s.opts.run(ctx, cfg, s.env, job, logical)
}

// journal writes down a run that failed before it began: without a key, say. That it can't be written fails nothing. It
// waits for no lock: who holds the lake may do so for hours, and this process knows of the failure until it ends.
func (s *Scheduler) journal(cfg *config.Config, job config.Job, logical, began time.Time, failure error) {
	run := schemas.Run{RunID: jobs.NewRunID(began), Command: job.Kind, Job: job.Name, Logical: logical.UTC(),
		Version: s.env.Version, PID: os.Getpid(),
		StartedAt: began.UTC(), EndedAt: s.env.Now().UTC(), Status: jobs.StatusOf(failure), Error: failure.Error()}
	lake, err := publish.Open(cfg.Lake, s.env.LakeOptions(cfg))
	if err == nil {
		var unlock func() error
		if unlock, err = lake.Lock(context.Background(), "schedule", false); err == nil {
			err = errors.Join(lake.AppendRun(run), unlock())
		}
	}
	if err != nil && !errors.Is(err, load.ErrNoLake) {
		s.log.Warn("a failed run can't be journaled", "job", job.Name, "error", err)
	}
}

// logPlan says what is planned, as the scheduler starts and after each reload.
func (s *Scheduler) logPlan() {
	st := s.State()
	s.log.Info("schedule", "lake", s.Config().Lake, "jobs", len(st.Jobs), "version", s.env.Version)
	for _, j := range st.Jobs {
		s.log.Info("job", "job", j.Name, "kind", j.Kind, "cron", j.Cron, "zone", j.Zone, "next", j.NextAt, "missed", j.Missed,
			"attempts", j.Attempts)
	}
}

// reload takes a changed config, or one that it is told to take. A bad one is refused, and the one before goes on. It
// is called at each tick, and costs a stat unless something changed; one that was refused is read at every tick, and
// spoken of once, until it is right or says something else.
func (s *Scheduler) reload(told bool) {
	s.mu.Lock()
	before := s.configError
	s.mu.Unlock()
	if !told && before == "" && !s.configChanged() { // one that was refused may lack a file that comes later
		return
	}
	path, now := s.Config().Path, s.env.Now()
	cfg, err := s.load()
	if err == nil {
		err = cmp.Or(cfg.Schedulable(), s.fixed(cfg))
	}
	if err == nil {
		// What a job would refuse when it is run is refused here, while somebody is at it.
		err = jobs.CheckFinance(cfg)
	}
	s.mu.Lock()
	if err != nil {
		s.configError = err.Error()
	} else {
		s.cfg, s.configLoadedAt, s.configError = cfg, now, ""
		s.take(cfg)
	}
	s.mu.Unlock()
	if err != nil && !told && err.Error() == before {
		return // as was said already
	}
	if err != nil {
		s.log.Error("the new config is refused, the one before goes on", "path", path, "error", err)
	} else {
		if err := s.look(); err != nil {
			s.log.Error("the lake can't be looked at", "error", err)
		}
		s.log.Info("the config is loaded anew", "path", path)
		s.logPlan()
	}
	if s.opts.Reloaded != nil {
		s.opts.Reloaded(err)
	}
}

// fixed refuses what can't change while the program runs: the daemon's lock is the lake's, the listener is open, and
// whether it asks for a token was decided with its address. Which token it is may change.
func (s *Scheduler) fixed(cfg *config.Config) error {
	have := s.Config()
	token := func(c *config.Config) string {
		if c.Schedule.TokenEnv == "" && c.Schedule.TokenFile == "" {
			return "no token"
		}
		return "a token"
	}
	for _, f := range []struct{ key, have, want string }{
		{"lake", have.Lake, cfg.Lake}, {"lake_access", have.LakeAccess, cfg.LakeAccess},
		{"schedule.listen", have.Schedule.Listen, cfg.Schedule.Listen},
		{"schedule", token(have), token(cfg)},
	} {
		if f.have != f.want {
			return config.Usage("start the program anew", "%s changes from %q to %q, which takes a restart", f.key, f.have,
				f.want)
		}
	}
	return nil
}

// load reads the config, and remembers which file it read.
func (s *Scheduler) load() (*config.Config, error) {
	path := ""
	if s.cfg != nil {
		path = s.cfg.Path
	}
	info, _ := os.Stat(path) // before it is read: a change meanwhile is noticed next time
	cfg, err := s.opts.Load()
	if err == nil && path == "" {
		info, _ = os.Stat(cfg.Path)
	}
	s.configFile = info
	return cfg, err
}

// configChanged reports whether the file isn't the one that was read last.
func (s *Scheduler) configChanged() bool {
	info, err := os.Stat(s.cfg.Path)
	have := s.configFile
	if err != nil || have == nil {
		return err == nil // a file that is gone is no change yet: editors replace it
	}
	return !durable.Unchanged(info, have)
}

// checker calls Options.Check, one call at a time, in the background. last and ask's sending side are Run's
// goroutine's; s and ctx never change.
type checker struct {
	ctx   context.Context
	s     *Scheduler
	ask   chan struct{}
	last  time.Time
	ended chan struct{} // closed when the last check has ended; nil if there are none
}

func newChecker(ctx context.Context, s *Scheduler) *checker {
	c := &checker{ctx: ctx, s: s, ask: make(chan struct{}, 1)}
	if s.opts.Check == nil {
		return c
	}
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.ask:
				c.check()
			}
		}
	}()
	return c
}

func (c *checker) check() {
	jobs.LogPanic(c.s.log, jobs.Guarded(func() error {
		st := c.s.State()
		c.s.opts.Check(c.ctx, c.s.Config(), st.ConfigError)
		return nil
	}))
}

// now has a check made; one that waits already is enough.
func (c *checker) now() {
	c.last = c.s.env.Now()
	select {
	case c.ask <- struct{}{}:
	default:
	}
}

// every has one made if a minute has passed, by a clock that was set back, too.
func (c *checker) every(now time.Time) {
	if now.Sub(c.last).Abs() >= time.Minute {
		c.now()
	}
}

// RunOnce runs a job of the config now, whether it is due or not: for its latest time. The journal has it under the
// job's name, so that a daemon finds that time done.
func RunOnce(ctx context.Context, cfg *config.Config, env jobs.Env, name string) (*jobs.Result, error) {
	job, err := cfg.Schedule.Job(name)
	if err != nil {
		return nil, err
	}
	s := &Scheduler{env: env, log: env.Logger, opts: Options{run: jobs.RunJob}}
	if _, err := publish.Create(cfg.Lake, env.LakeOptions(cfg)); err != nil {
		return nil, err
	}
	began := env.Now()
	logical := job.Calendar.Last(began)
	res, err := s.attempt(ctx, cfg, job, logical)
	if res == nil && err != nil && ctx.Err() == nil {
		s.journal(cfg, job, logical, began, err)
	}
	if res == nil && err != nil {
		err = fmt.Errorf("job %s (%s): %w", job.Name, job.Kind, err)
	}
	return res, err
}
