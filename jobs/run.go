package jobs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// Env is what a job has of the world besides the network and the lake.
type Env struct {
	Now     func() time.Time
	Getenv  func(string) string
	Logger  *slog.Logger
	Version string
	// FS carries the lake's files; nil: the system's.
	FS durable.FS
	// Transport carries the requests; nil: the system's, with its proxy settings.
	Transport http.RoundTripper
	// Job is what the schedule runs; zero if it is no job of a schedule.
	Job JobRun
}

// Result is what a run did, for a person or a script. Its Status and Error are set by finish alone.
type Result struct {
	schemas.Run
	Elapsed  time.Duration
	Lake     string // its directory
	Database string // the path of the published file
	Plans    []Plan // in order of account
	// Took is how long each account's part took, in order of account; nil for a job that does them together.
	Took    []time.Duration
	Pending int64 // windows that were planned and not sealed
	Publish publish.Published
	Orphans []load.Orphan // what is kept though it can't be derived again
	// What was delivered after it, and why something wasn't; neither is a part of what the run came to.
	Deliveries  []*deliver.Report
	Packed      *Packed // of a close; nil: no packages were to be made, or none could be
	Undelivered string
	Owned       []OwnedFiles // nil: none were to be made

	closed  bool // a month was closed by it
	finance publish.Finance
	drop    drops // what a repair was told to give up
}

// underLock runs a job that writes: it opens or makes the lake, holds its lock, and journals the run. What the job
// returns is what the run comes to: nil says that it did all it was to do. The journal's first line comes under the
// lock and its second before the unlock, so that a run which says running and isn't the holder's was killed. A disk too
// full for the second line leaves it so; what the job committed counts all the same.
func underLock(ctx context.Context, cfg *config.Config, env Env, command string, wait bool,
	job func(context.Context, *publish.Lake, *Result) error) (*Result, error) {
	finance, err := readFinance(cfg) // a mistake in it stops a run before it does anything
	if err != nil {
		return nil, err
	}
	started := env.Now()
	lake, err := publish.Create(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, err
	}
	unlock, err := lake.Lock(ctx, command, wait)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unlock() }()

	res := &Result{Lake: lake.Dir(), Database: lake.Database(), finance: finance,
		Run: schemas.Run{RunID: NewRunID(started),
			Command: command, Job: env.Job.Name, Logical: env.Job.Logical.UTC(), Version: env.Version, PID: os.Getpid(),
			StartedAt: started.UTC(), Status: schemas.StatusRunning}}
	compactJournal(ctx, lake, cfg, env)
	if err := lake.AppendRun(res.Run); err != nil {
		return nil, err
	}
	err = durable.Full(Guarded(func() error { return job(ctx, lake, res) }), lake.Dir())
	LogPanic(env.Logger, err)
	err = ownersAfter(ctx, cfg, env, res, err)
	err = res.finish(ctx, err)
	res.EndedAt = env.Now().UTC()
	res.Elapsed = res.EndedAt.Sub(res.StartedAt)
	if jerr := lake.AppendRun(res.Run); jerr != nil && err == nil {
		err = res.finish(ctx, jerr)
	}
	return res, err
}

// finish decides what a run came to, from what its job returned (of accounts, their verdict), what was found as it
// published, and whether it was told to stop. Nothing else sets a run's status. It returns why the run isn't done, nil
// if it is.
func (r *Result) finish(ctx context.Context, err error) error {
	err = r.reckon(err)
	if context.Cause(ctx) != nil && !errors.As(err, new(*schemas.PanicError)) {
		err = stopped(ctx)
	}
	r.Status, r.Error = StatusOf(err), ""
	if err != nil {
		r.Error = err.Error()
	}
	return err
}

// reckon adds to what a job returned what it says nothing of.
func (r *Result) reckon(err error) error {
	if err != nil {
		return err
	}
	// What else is wrong with the lake is what an export is there to say. Other runs did what they were to do.
	if r.Command == config.KindExport || r.Command == config.KindLookback {
		err = wrong(r.Publish)
	}
	if err == nil && len(r.Orphans) > 0 {
		err = &OrphanError{Orphans: r.Orphans}
	}
	return err
}

// StatusOf is the status that goes with an error: of a run, and of an account's part of one.
func StatusOf(err error) string {
	is := func(targets ...any) bool {
		return slices.ContainsFunc(targets, func(t any) bool { return errors.As(err, t) })
	}
	switch {
	case err == nil:
		return schemas.StatusDone
	case errors.Is(err, errUnderWay):
		return schemas.StatusRunning
	case is(new(*schemas.PanicError), new(*TimeoutError)):
		return schemas.StatusFailed
	case is(new(*stoppedError)):
		return schemas.StatusStopped
	case is(new(*RefusedError)), errors.Is(err, extract.ErrRefused):
		return schemas.StatusRefused
	case is(new(*PartialError), new(*OrphanError), new(*QuarantineError), new(*CurrencyError), new(*publish.OverlapError),
		new(*publish.UnprovenError), new(*TargetsError), new(*UnansweredError), new(*PackagesError), new(*OwnersError)):
		return schemas.StatusPartial
	}
	return schemas.StatusFailed
}

// errUnderWay is what a run has come to that publishes and goes on.
var errUnderWay = errors.New("the run goes on")

// stoppedError is why a run ended that was told to.
type stoppedError struct{ cause error }

// stopped is why what ctx stopped has ended: whatever a stop breaks off looks like a failure.
func stopped(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.As(cause, new(*TimeoutError)) {
		return cause
	}
	return &stoppedError{cause}
}

// brokenOff is what something failed with: that it was stopped, if ctx was.
func brokenOff(ctx context.Context, err error) error {
	if err == nil || context.Cause(ctx) == nil || errors.As(err, new(*schemas.PanicError)) {
		return err
	}
	return stopped(ctx)
}

func (e *stoppedError) Error() string { return e.cause.Error() }
func (e *stoppedError) Unwrap() error { return e.cause }

// wrong is what stands against figures of a lake whose accounts hold the same records, so that costs count twice, or
// which may lack some.
func wrong(p publish.Published) error {
	var errs []error
	if len(p.Overlaps) > 0 {
		err := &publish.OverlapError{Overlaps: p.Overlaps}
		errs = append(errs, &config.Hint{Err: err, Hint: err.Hint()})
	}
	if len(p.Unproven) > 0 {
		err := &publish.UnprovenError{Windows: p.Unproven}
		errs = append(errs, &config.Hint{Err: err, Hint: err.Hint()})
	}
	return errors.Join(errs...)
}

// publishFile publishes what the day files hold now. came is what the run will have come to if that succeeds: nil if
// all is done, errUnderWay if something follows.
func publishFile(ctx context.Context, lake *publish.Lake, env Env, res *Result, phase func(string), full bool,
	came error) error {
	if phase != nil {
		phase("publish")
	}
	current := func(found publish.Published) schemas.Run {
		r := *res
		if r.Publish = found; !errors.Is(came, errUnderWay) {
			r.EndedAt = env.Now().UTC()
		}
		_ = r.finish(ctx, came)
		r.Error, _, _ = strings.Cut(r.Error, "\nhint: ") // hints are for who sees the run end
		return r.Run
	}
	releaseHeap()
	p, err := lake.Publish(ctx, publish.PublishOptions{Version: env.Version, Full: full, Current: current,
		Finance: res.finance,
		Now:     env.Now, Drop: res.drop.days, DropMonths: res.drop.months,
		Orphans: func(found []load.Orphan) { res.keepOrphans(found, env) }})
	if errors.Is(err, publish.ErrOtherBooks) || errors.Is(err, publish.ErrOtherCurrency) ||
		errors.Is(err, publish.ErrLacksDays) || errors.Is(err, publish.ErrTopUpGone) { // what the config says can't be
		return config.Usage("", "%w", err)
	}
	if err != nil {
		return err
	}
	res.Publish = p
	if len(p.Overlaps) > 0 {
		wrong := &publish.OverlapError{Overlaps: p.Overlaps}
		env.Logger.Warn(wrong.Error(), "hint", wrong.Hint())
	}
	res.Published = res.Published || !p.Unchanged
	env.Logger.Debug("published", "changed_days", p.Changed, "days", p.Total, "rows", p.Rows, "bytes", p.Bytes, "elapsed",
		p.Elapsed)
	return nil
}

// Guarded calls f; a panic in it is its error.
func Guarded(f func() error) (err error) {
	defer schemas.Guard(&err)
	return f()
}

// LogPanic logs the stack of a panic that err holds, if it does.
func LogPanic(log *slog.Logger, err error) {
	if wrong := (*schemas.PanicError)(nil); errors.As(err, &wrong) {
		log.Error("a mistake in the program", "panic", fmt.Sprint(wrong.Value), "stack", string(wrong.Stack))
	}
}

// NewRunID names a run: sortable by time, unique by chance.
func NewRunID(t time.Time) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return t.UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
}

// PartialError says that a part of a run failed; the rest is committed and published.
type PartialError struct {
	What  string // "windows", "balances"
	Count int
	First string // the error of the first
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d %s could not be fetched, the rest is committed and published; the first: %s", e.Count, e.What,
		e.First)
}

// RefusedError says that keys were refused; what was fetched before is committed and published.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// JobRun is what a run of the schedule is for.
type JobRun struct {
	Name    string
	Logical time.Time // the time of the schedule, the latest of those that had been missed
}

// TimeoutError is why a run was stopped that took longer than its job may.
type TimeoutError struct {
	Job   string
	After time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("job %s did not end within its timeout of %s; what was fetched is kept, and the next try goes on "+
		"from there", e.Job, e.After)
}

// LakeOptions are how the config's lake is opened.
func (e Env) LakeOptions(cfg *config.Config) publish.Options {
	return publish.Options{
		Options: load.Options{FS: e.FS, Logger: e.Logger, Group: cfg.LakeAccess == config.AccessGroup},
		Memory:  cfg.DuckDB.Memory, Threads: cfg.DuckDB.Threads, Records: schemas.Records(cfg.Publish.Records),
	}
}
