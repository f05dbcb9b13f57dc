package watch

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// journal asks the journal. If it can't be read there are the findings that need no journal.
//
// A line that says running is of a run that goes on, or of one that was killed: the lock tells. It is asked for before
// the journal is read and after it: a run that ended in between holds it at first, one that began in between at the
// end. Only one that neither has is taken for killed.
func (g *gatherer) journal(rules []config.Rule, unbegun []Failure) error {
	before := g.lake.Holder()
	_, runs, err := g.look(nil)
	after := g.lake.Holder()
	for i := range runs {
		if run := &runs[i]; !jobs.UnderWay(runs, i, before) && !jobs.UnderWay(runs, i, after) &&
			run.Status == schemas.StatusRunning {
			run.Status, run.Error = schemas.StatusInterrupted, "it never ended: it was killed, or the machine went down"
		}
	}
	g.ofJournal(rules, runs, unbegun)
	return err
}

func (g *gatherer) ofJournal(rules []config.Rule, runs []schemas.Run, unbegun []Failure) {
	for _, r := range rules {
		if r.Kind == config.AlertFailed {
			g.unbegun(r, runs, unbegun)
			g.failed(r, runs)
			continue
		}
		g.refused(r, runs)
		g.expiring(r)
	}
}

// jobOf is what a run's failures count for: its job of the schedule, or else its command. "" is nothing: a job that is
// no longer in the schedule, or a command that somebody typed and saw the end of.
func (g *gatherer) jobOf(run schemas.Run) string {
	if run.Job != "" {
		if slices.ContainsFunc(g.cfg.Schedule.Jobs, func(j config.Job) bool { return j.Name == run.Job }) {
			return "job " + run.Job
		}
		return ""
	}
	if run.Command == "export" || run.Command == "balance" {
		return run.Command
	}
	return ""
}

// forgotten is how long after its last run a command that no schedule repeats counts as failing.
const forgotten = 7 * 24 * time.Hour

// unbegun finds the jobs that could not begin, and neither did begin since nor were done by hand. A failure is of this
// process's memory, and so it is known without a journal, or a lake.
func (g *gatherer) unbegun(r config.Rule, runs []schemas.Run, failures []Failure) {
	for _, f := range failures {
		i := slices.IndexFunc(g.cfg.Schedule.Jobs, func(j config.Job) bool { return j.Name == f.Job })
		if i < 0 || f.Attempts < max(1, r.After) {
			continue
		}
		failed := schemas.Run{Job: f.Job, Command: g.cfg.Schedule.Jobs[i].Kind}
		if slices.ContainsFunc(runs, func(run schemas.Run) bool { return run.EndedAt.After(f.At) && g.mends(run, failed) }) {
			continue
		}
		g.add(r, alert.Finding{Subject: "job " + f.Job, Summary: fmt.Sprintf("job %s could not begin: %s", f.Job,
			brief(f.Error)),
			Details: map[string]string{"job": f.Job, "status": schemas.StatusFailed, "error": clip(f.Error, jobs.MaxDetail),
				"in_a_row": strconv.Itoa(f.Attempts), "at": words.Instant(f.At)}})
	}
}

func (g *gatherer) mends(run, failed schemas.Run) bool {
	return jobs.Mends(run, failed, func(account string) bool { return slices.Contains(g.cfg.AccountNames(), account) })
}

// failed counts, for each job, and for export and balance where they are typed, the failures since the last run that
// was done: by itself, or by another that made good the last of them (jobs.Mends), such as an export by hand after a
// job's. A folded failure stands for Repeats more. A typed command that failed and is never typed again would fire for
// ever: it is forgotten after a week.
func (g *gatherer) failed(r config.Rule, runs []schemas.Run) {
	after := max(1, r.After)
	type tally struct {
		last  schemas.Run
		times int
	}
	var order []string
	tallies := map[string]*tally{}
	for _, run := range runs {
		// Before the run is counted itself: it may make good the failures of several.
		for _, t := range tallies {
			if t.times > 0 && g.mends(run, t.last) {
				t.times = 0
			}
		}
		job := g.jobOf(run)
		if job == "" || run.Status == schemas.StatusRunning || run.Status == schemas.StatusStopped {
			continue
		}
		if tallies[job] == nil {
			tallies[job] = &tally{}
			order = append(order, job)
		}
		t := tallies[job]
		t.last = run
		if t.times += 1 + run.Repeats; run.Status == schemas.StatusDone {
			t.times = 0
		}
	}
	for _, job := range order {
		t := tallies[job]
		if t.times < after {
			continue
		}
		f := alert.Finding{Subject: job,
			Details: map[string]string{"run_id": t.last.RunID, "command": t.last.Command, "job": t.last.Job,
				"status": t.last.Status, "error": clip(t.last.Error, jobs.MaxDetail),
				"in_a_row": strconv.Itoa(t.times), "started_at": words.Instant(t.last.StartedAt)}}
		if t.last.Job == "" {
			f.Until = t.last.StartedAt.Add(forgotten)
			if !g.now.Before(f.Until) {
				continue
			}
		}
		times := "the last run"
		if t.times > 1 {
			times = fmt.Sprintf("the last %d runs, the last one of them", t.times)
		}
		f.Summary = fmt.Sprintf("%s: %s ended as %s at %s: %s", job, times, t.last.Status,
			words.MinuteUTC(cmp.Or(t.last.EndedAt, t.last.StartedAt)), brief(t.last.Error))
		g.add(r, f)
	}
}

// refused finds the keys that were refused, by command: a key may do for one and not for another. A command that no job
// runs may never be asked again, so a job whose requests were answered since shows that the account's key is good, and
// else the refusal is forgotten.
func (g *gatherer) refused(r config.Rule, runs []schemas.Run) {
	type answer struct {
		schemas.RunAccount
		run int // its place in runs
	}
	last := map[[2]string]answer{}
	accepted := map[string]int{} // by account, the last run of a job whose requests were answered
	var order [][2]string
	for i, run := range runs {
		for _, a := range run.Accounts {
			switch a.Status {
			case schemas.StatusDone, schemas.StatusPartial:
				if run.Job != "" && a.Requests > 0 {
					accepted[a.Account] = i
				}
			case schemas.StatusFailed, schemas.StatusRefused:
			default:
				continue // it did not get so far as to tell
			}
			key := [2]string{a.Account, run.Command}
			if _, ok := last[key]; !ok {
				order = append(order, key)
			}
			last[key] = answer{a, i}
		}
	}
	for _, key := range order {
		a, command := last[key], key[1]
		if a.Status != schemas.StatusRefused || !g.covers(r, a.Account) {
			continue
		}
		at := runs[a.run].StartedAt
		f := alert.Finding{Subject: a.Account + " refused by " + command,
			Summary: fmt.Sprintf("the key of account %s was refused (%s, %s): %s", g.label("account", a.Account), command,
				words.MinuteUTC(at), brief(a.Error)),
			Details: map[string]string{"account": a.Account, "command": command, "started_at": words.Instant(at),
				"error": clip(a.Error, jobs.MaxDetail)}}
		if !g.scheduled(command, a.Account) {
			f.Until = at.Add(forgotten)
			if accepted[a.Account] > a.run || !g.now.Before(f.Until) {
				continue
			}
		}
		g.add(r, f)
	}
}

// scheduled says whether a job runs a command for an account.
func (g *gatherer) scheduled(command, account string) bool {
	return slices.ContainsFunc(g.cfg.Schedule.Jobs, func(j config.Job) bool {
		return j.Kind == command && (j.Accounts == nil || slices.Contains(j.Accounts, account))
	})
}

// expiring tells of keys by what the config says of them, which gets worse twice: from within before the end on, in the
// last two days, and when it has come. The day is in the alert's identity, so that a new key with a new day ends it.
func (g *gatherer) expiring(r config.Rule) {
	within := cmp.Or(time.Duration(r.Within), config.DefaultExpiry)
	for _, a := range g.cfg.Accounts {
		if a.KeyExpires == "" || !g.covers(r, a.Name) {
			continue
		}
		day, err := schemas.ParseDate(a.KeyExpires)
		if err != nil {
			continue // the config was checked
		}
		left := day.Start().Sub(g.now)
		f := alert.Finding{Subject: a.Name + " expires " + a.KeyExpires,
			Details: map[string]string{"account": a.Name, "key_expires": a.KeyExpires}}
		switch {
		case left > within:
			continue
		case left <= 0:
			f.Level = 2
			f.Summary = fmt.Sprintf("the key of account %s expired on %s", g.label("account", a.Name), a.KeyExpires)
		default:
			if left <= 2*24*time.Hour {
				f.Level = 1
			}
			f.Summary = fmt.Sprintf("the key of account %s expires on %s, in %s: make another in the Portal, put it in its "+
				"place, and key_expires with it", g.label("account", a.Name), a.KeyExpires, words.Span(left))
		}
		g.add(r, f)
	}
}
