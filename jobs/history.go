package jobs

import (
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// What a run, a look and a check ask of the past is a little of it: where an account began, when a job was last done,
// what failed since. remember picks the runs that answer it, so that the journal that is read stays small
// (load.CompactJournal). Whoever comes to ask for more says so here; TestWhatIsRememberedAnswersAsAllOfIt holds the two
// equal.

const (
	// maxFailures is how many runs are remembered that failed one after the other. Of those before there is their number.
	maxFailures = 20
	// maxHistory is up to which size the live journal is taken as it is; beyond, it was never compacted.
	maxHistory = 4 << 20
)

// History is what is known of past runs, in the order they started: all of late, and of those before what is asked for.
func History(lake *publish.Lake, cfg *config.Config) ([]schemas.Run, error) {
	if lake.JournalStamp().Size() <= maxHistory {
		return lake.Runs()
	}
	var failed error
	runs := Remember(cfg.AccountNames())(func(yield func(schemas.Run) bool) {
		more := true
		failed = lake.EachRun(func(r schemas.Run) { more = more && yield(r) })
	})
	return runs, failed
}

// compactJournal moves old runs out of the live journal. That it can't stands in no run's way.
func compactJournal(ctx context.Context, lake *publish.Lake, cfg *config.Config, env Env) {
	began := env.Now()
	moved, err := lake.CompactJournal(ctx, Remember(cfg.AccountNames()))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		env.Logger.Warn("the journal can't be compacted; the run goes on, and the next one tries again", "error", err)
	case moved > 0:
		env.Logger.Debug("journal compacted", "runs", moved, "elapsed", env.Now().Sub(began))
	}
}

// remembering picks runs as they come. uses counts the places below, in maps and tracks, that name a run; at 0 it goes.
type remembering struct {
	names []string
	n     int
	runs  map[int]*schemas.Run // by place
	uses  map[int]int          // how many reasons there are to remember it

	began    map[string]int // by account: the run whose From is the earliest
	horizon  map[string]int // the last that the Portal told where its records begin
	sealed   map[string]int // the first that sealed windows
	refetch  map[string]int // the last that fetched the lookback anew
	accepted map[string]int // the last of a job whose requests were answered
	answers  map[[2]string]int
	tracks   map[string]*track
}

// track is what is remembered of a job, or of a command that is typed.
type track struct {
	last, done, logical int // places, -1 if there is none
	failures            []int
	// mended are the last runs by others that made good a failure of it: of every account, and of those in the config.
	mended [2]int
}

// Remember is a load.Keep. names are the accounts of the config.
func Remember(names []string) load.Keep {
	return func(runs iter.Seq[schemas.Run]) []schemas.Run { return rememberOf(names, runs) }
}

func rememberOf(names []string, runs iter.Seq[schemas.Run]) []schemas.Run {
	m := &remembering{names: names, runs: map[int]*schemas.Run{}, uses: map[int]int{},
		began: map[string]int{}, horizon: map[string]int{}, sealed: map[string]int{}, refetch: map[string]int{},
		accepted: map[string]int{}, answers: map[[2]string]int{}, tracks: map[string]*track{}}
	for r := range runs {
		m.add(r)
	}
	var out []schemas.Run
	for _, i := range slices.Sorted(maps.Keys(m.runs)) {
		out = append(out, m.shortened(i))
	}
	return out
}

func (m *remembering) use(i int) { m.uses[i]++ }

func (m *remembering) drop(i int) {
	if m.uses[i]--; m.uses[i] == 0 {
		delete(m.uses, i)
		delete(m.runs, i)
	}
}

// take remembers the run at i in the place of another; i may be that one.
func take[K comparable](m *remembering, at map[K]int, key K, i int) {
	m.use(i)
	if before, ok := at[key]; ok {
		m.drop(before)
	}
	at[key] = i
}

func (m *remembering) add(r schemas.Run) {
	i := m.n
	m.n++
	m.runs[i], m.uses[i] = &r, 1
	if i > 0 { // the first run there ever was is remembered, and others while they are looked at
		defer m.drop(i)
	}

	name := r.Command
	if r.Job != "" {
		name = "job " + r.Job
	}
	if r.Status == schemas.StatusDone {
		for _, t := range m.tracks {
			m.mend(t, i, r)
		}
	}
	t := m.tracks[name]
	if t == nil {
		t = &track{last: -1, done: -1, logical: -1, mended: [2]int{-1, -1}}
		m.tracks[name] = t
	}
	m.track(t, i, &r)

	for _, a := range r.Accounts {
		if j, ok := m.began[a.Account]; !a.From.IsZero() && (!ok || a.From.Before(m.account(j, a.Account).From)) {
			take(m, m.began, a.Account, i)
		}
		if !a.Horizon.IsZero() {
			take(m, m.horizon, a.Account, i)
		}
		if _, ok := m.sealed[a.Account]; !ok && a.Windows > 0 {
			take(m, m.sealed, a.Account, i)
		}
		if a.Windows > 0 && a.Refetched && a.Status == schemas.StatusDone {
			take(m, m.refetch, a.Account, i)
		}
		switch a.Status {
		case schemas.StatusDone, schemas.StatusPartial:
			if r.Job != "" && a.Requests > 0 {
				take(m, m.accepted, a.Account, i)
			}
			take(m, m.answers, [2]string{a.Account, r.Command}, i)
		case schemas.StatusFailed, schemas.StatusRefused:
			take(m, m.answers, [2]string{a.Account, r.Command}, i)
		}
	}
}

func (m *remembering) account(i int, name string) schemas.RunAccount {
	for _, a := range m.runs[i].Accounts {
		if a.Account == name {
			return a
		}
	}
	return schemas.RunAccount{}
}

// replace remembers the run at i in the place of the one at *at.
func (m *remembering) replace(at *int, i int) {
	m.use(i)
	if *at >= 0 {
		m.drop(*at)
	}
	*at = i
}

// mend notes that the run at i makes good what t failed at last.
func (m *remembering) mend(t *track, i int, r schemas.Run) {
	if len(t.failures) == 0 {
		return
	}
	at := t.failures[len(t.failures)-1]
	failed := *m.runs[at]
	if Mends(r, failed, func(string) bool { return true }) && at > t.mended[0] {
		m.replace(&t.mended[0], i)
	}
	if Mends(r, failed, func(name string) bool { return slices.Contains(m.names, name) }) && at > t.mended[1] {
		m.replace(&t.mended[1], i)
	}
}

// track notes a run of t's own.
func (m *remembering) track(t *track, i int, r *schemas.Run) {
	replace := func(at *int) { m.replace(at, i) }
	replace(&t.last)
	switch r.Status {
	case schemas.StatusDone:
		if t.logical < 0 || r.Logical.After(m.runs[t.logical].Logical) {
			replace(&t.logical)
		}
		replace(&t.done)
		for _, j := range t.failures {
			m.drop(j)
		}
		for s, j := range t.mended {
			if j >= 0 {
				m.drop(j)
			}
			t.mended[s] = -1
		}
		t.failures = nil
	case schemas.StatusStopped: // no failure
	default:
		if r.Repeats == schemas.Counted {
			return
		}
		m.use(i)
		if t.failures = append(t.failures, i); len(t.failures) > maxFailures {
			m.fold(t)
		}
	}
}

// fold lets the number stand for the earliest failure that may go: one that was made good isn't counted with those
// since.
func (m *remembering) fold(t *track) {
	for k, at := range t.failures[:len(t.failures)-1] {
		next := t.failures[k+1]
		if slices.ContainsFunc(t.mended[:], func(by int) bool { return at < by && by < next }) {
			continue
		}
		m.runs[next].Repeats += 1 + m.runs[at].Repeats
		m.runs[at].Repeats = schemas.Counted // something else may be asked of it
		m.drop(at)
		t.failures = slices.Delete(t.failures, k, k+1)
		return
	}
}

// shortened is a run without what nobody asks of one that is long over.
func (m *remembering) shortened(i int) schemas.Run {
	r := *m.runs[i]
	whole := false // all of its accounts count
	for _, t := range m.tracks {
		whole = whole || t.last == i || slices.Contains(t.failures, i) || slices.Contains(t.mended[:], i)
	}
	var accounts []schemas.RunAccount
	for _, a := range r.Accounts {
		asked := whole
		for _, at := range []map[string]int{m.began, m.horizon, m.sealed, m.refetch, m.accepted} {
			j, ok := at[a.Account]
			asked = asked || ok && j == i
		}
		j, ok := m.answers[[2]string{a.Account, r.Command}]
		if asked = asked || ok && j == i; !asked {
			continue
		}
		a.Failed = nil
		a.Error = shortError(a.Error)
		accounts = append(accounts, a)
	}
	r.Accounts = accounts
	r.Error = shortError(r.Error)
	return r
}

// shortError is as much of an error as anything shows of a run that is over.
func shortError(s string) string {
	if r := []rune(s); len(r) > MaxDetail {
		return string(r[:MaxDetail])
	}
	return s
}

// MaxDetail is how much of an error stands in an alert's details.
const MaxDetail = 2000

// Mends says that a run makes good one that failed before it: it is done, and of the same job, or one of them was by
// hand and did the same for each account that the other had failed for, if it counts.
func Mends(run, failed schemas.Run, counts func(account string) bool) bool {
	switch {
	case run.Status != schemas.StatusDone:
		return false
	case run.Job != "" && failed.Job != "":
		return run.Job == failed.Job
	case run.Command != failed.Command:
		return false
	}
	for _, a := range failed.Accounts {
		if a.Status != schemas.StatusDone && counts(a.Account) &&
			!slices.ContainsFunc(run.Accounts, func(m schemas.RunAccount) bool {
				return m.Account == a.Account &&
					m.Status == schemas.StatusDone
			}) {
			return false
		}
	}
	return true
}

// UnderWay says whether the i-th run of a journal may go on still, in the process that holds the lake. Only the last
// one can, for a run begins under the lock. A PID alone tells little: in a container it is 1 each time.
func UnderWay(runs []schemas.Run, i int, holder *load.HeldError) bool {
	return i == len(runs)-1 && holder != nil && holder.PID == runs[i].PID
}
