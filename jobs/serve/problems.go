package serve

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/jobs/watch"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Problem is something that somebody should look at.
type Problem struct {
	Summary string `json:"summary"`           // one sentence, without its full stop
	Detail  string `json:"detail,omitempty"`  // what the program said; it may hold text from outside
	Command string `json:"command,omitempty"` // what to type
	Account string `json:"account,omitempty"`
	// Down says that nothing goes on without help: the scheduler is stuck or the lake can't be read.
	Down bool `json:"down,omitempty"`
}

const (
	overdueGrace = 10 * time.Minute // a job that is due so long while none runs: the scheduler doesn't turn
	// Twice the pause of a job of every five minutes is ten, which the settle time alone takes up.
	lateFloor = 30 * time.Minute // an account is never late before that, however often it is exported
	day       = 24 * time.Hour
)

// stuck says why the scheduler doesn't turn, or "". It doesn't if it gives no answer, as with a lock that is never let
// go, or if nothing runs though a job has been due for ten minutes in which it could have. A run of hours is no
// standstill: a job that doesn't end has its timeout.
func (v *view) stuck() string {
	switch {
	case v.state.Pending:
		return "the scheduler doesn't answer"
	case v.state.Err != nil:
		return "the scheduler can't be asked"
	}
	st := v.state.Value
	// Since then it could have run something: jobs that were missed wait for the start, and for each other.
	free := st.StartedAt
	if st.ConfigLoadedAt.After(free) {
		free = st.ConfigLoadedAt
	}
	for _, j := range st.Jobs {
		if j.Running {
			return "" // the others wait for it
		}
		if j.Last != nil && j.Last.EndedAt.After(free) {
			free = j.Last.EndedAt
		}
	}
	for _, j := range st.Jobs {
		// Both have to be long: due at 02:30 and free since 05:00 is overdue from 05:10 on.
		overdue := v.now.Sub(j.NextAt)
		if !st.Stopping && !j.NextAt.IsZero() && min(overdue, v.now.Sub(free)) > overdueGrace {
			return fmt.Sprintf("job %s was due %s ago and doesn't run", j.Name, words.Span(overdue))
		}
	}
	return ""
}

// problems lists what needs attention, the most urgent first: what is down, and else in the order in which they are
// found here.
func (v *view) problems() []Problem {
	out := []Problem{}
	add := func(p Problem) { out = append(out, p) }
	st := v.state.Value
	if why := v.stuck(); why != "" {
		p := Problem{Summary: "The scheduler is stuck: " + why, Command: "systemctl restart usagelake", Down: true}
		if v.state.Err != nil {
			p.Detail = v.state.Err.Error()
		}
		add(p)
	}
	if st.Stopping {
		add(Problem{Summary: "The scheduler is stopping", Down: true})
	}
	switch {
	case errors.Is(v.status.Err, load.ErrNoLake):
		add(Problem{Summary: "There is no lake yet: nothing was exported", Command: "usagelake doctor"})
	case v.status.Err != nil:
		add(Problem{Summary: "The lake can't be read", Detail: v.status.Err.Error(), Command: "usagelake doctor", Down: true})
	case v.status.At.IsZero():
		add(Problem{Summary: "The lake has not been read yet; a large one takes a while", Down: true})
	}
	if st.ConfigError != "" {
		add(Problem{Summary: "The last change of the config was refused; the one before it is in force",
			Detail: st.ConfigError, Command: "usagelake doctor"})
	}
	for _, j := range st.Jobs {
		if p, ok := v.jobProblem(j, v.unbegun[j.Name]); ok {
			add(p)
		}
	}
	for _, name := range v.accounts() {
		for _, p := range v.accountProblems(name) {
			add(p)
		}
	}
	if st := v.status.Value; st != nil {
		for _, d := range st.Deliveries {
			if d.Error != "" {
				add(Problem{Summary: fmt.Sprintf("Delivery %s fails since %s", d.Name, words.MinuteUTC(d.Since)),
					Detail: d.Error, Command: "usagelake deliver " + d.Name})
			}
		}
		for _, m := range st.Packages {
			if problem := m.Problem(); problem != "" {
				add(Problem{Summary: "Packages of " + m.Name() + " are to be made up", Detail: problem,
					Command: "usagelake package --month " + m.Name()})
			}
		}
	}
	intruded := ""
	if v.status.Value != nil {
		intruded = v.status.Value.Database.Intruded
	}
	// Said once: as an alert, if there are any, else here. While the file is intruded that the balances can't be read is
	// no news.
	told := slices.ContainsFunc(v.alerts.Value, func(a Alert) bool { return a.Rule == watch.RuleIntruded })
	switch {
	case intruded != "" && !told: // else it is one of the alerts below
		add(Problem{Summary: "The published file is not as it was published", Detail: intruded, Command: "usagelake rebuild"})
	case intruded == "" && v.balances.Err != nil:
		add(Problem{Summary: "The balances can't be read from the published file", Detail: v.balances.Err.Error(),
			Command: "usagelake rebuild"})
	}
	if v.alerts.Err != nil {
		add(Problem{Summary: "The alerts can't be read", Detail: v.alerts.Err.Error(), Command: "usagelake doctor"})
	}
	waiting, why := map[string]int{}, map[string]string{}
	for _, a := range v.alerts.Value {
		add(Problem{Summary: "Alert " + a.Rule + " fires", Detail: a.Summary})
		for receiver, reason := range a.Waiting {
			waiting[receiver]++
			why[receiver] = cmp.Or(why[receiver], reason)
		}
	}
	// one that is broken is broken once, whatever waits for it
	for _, receiver := range slices.Sorted(maps.Keys(waiting)) {
		add(Problem{Summary: fmt.Sprintf("Receiver %s can't be told of %s", receiver,
			words.Plural(waiting[receiver], "alert", "alerts")),
			Detail: why[receiver], Command: "usagelake alert test --to " + receiver})
	}
	slices.SortStableFunc(out, func(a, b Problem) int {
		switch {
		case a.Down == b.Down:
			return 0
		case a.Down:
			return -1
		}
		return 1
	})
	return out
}

// jobProblem says what is wrong with a job's last run, if anything is. unbegun is why its last try could not begin, ""
// if it could: no run tells of it.
func (v *view) jobProblem(j schedule.JobState, unbegun string) (Problem, bool) {
	// It is of the last run, unless the last try could not begin: that is newer than any run.
	p := Problem{Command: "usagelake doctor"}
	if len(j.Accounts) == 1 {
		p.Command += " --account " + j.Accounts[0]
	}
	if unbegun != "" {
		p.Summary, p.Detail = fmt.Sprintf("Job %s can't begin", j.Name), unbegun
		return p, true
	}
	if j.Last == nil {
		p.Summary = fmt.Sprintf("Job %s failed %s and has not run through yet", j.Name, words.Times(j.Attempts))
		return p, j.Attempts > 0
	}
	p.Detail = j.Last.Error
	switch j.Last.Status {
	case schemas.StatusRefused:
		p.Summary = fmt.Sprintf("Job %s: a key was refused", j.Name)
		for _, a := range j.Last.Accounts {
			if a.Status == schemas.StatusRefused {
				p.Summary = fmt.Sprintf("Job %s: the key of account %s was refused", j.Name, v.label(a.Account))
				p.Command, p.Account = "usagelake doctor --account "+a.Account, a.Account
				break
			}
		}
	case schemas.StatusPartial:
		p.Summary = fmt.Sprintf("Job %s was done in part", j.Name)
		p.Command = "usagelake export"
	case schemas.StatusFailed:
		p.Summary = fmt.Sprintf("Job %s failed", j.Name)
		if j.Attempts > 1 {
			p.Summary += " " + words.Times(j.Attempts)
		}
	default:
		return p, false
	}
	return p, true
}

// accountProblems says what is wrong with an account that is in the config.
func (v *view) accountProblems(name string) (out []Problem) {
	if v.status.Value == nil {
		return nil
	}
	i := slices.IndexFunc(v.status.Value.Accounts, func(a jobs.AccountStatus) bool { return a.Account == name })
	if i < 0 || v.status.Value.Accounts[i].To.IsZero() {
		return []Problem{{Summary: "Account " + v.label(name) + ": nothing is exported yet",
			Command: "usagelake export --account " + name, Account: name}}
	}
	a := v.status.Value.Accounts[i]
	if late, allowed := v.late(a); late {
		out = append(out, Problem{Summary: fmt.Sprintf("Account %s is late: %s behind, expected within %s", v.label(name),
			words.Span(v.now.Sub(a.To)), words.Span(allowed)),
			Command: "usagelake export --account " + name, Account: name})
	}
	if len(a.Gaps) > 0 {
		g := a.Gaps[0]
		p := Problem{Summary: fmt.Sprintf("Account %s has a gap from %s to %s UTC", v.label(name), words.Minute(g.Start),
			words.Minute(g.End)), Account: name,
			Command: fmt.Sprintf("usagelake export --account %s --from %s --to %s", name, words.Typed(g.Start),
				words.Typed(g.End))}
		if more := len(a.Gaps) - 1; more > 0 {
			last := a.Gaps[more]
			p.Summary = fmt.Sprintf("Account %s has %d gaps between %s and %s UTC", v.label(name), len(a.Gaps),
				words.Minute(g.Start), words.Minute(last.End))
			p.Command = fmt.Sprintf("usagelake export --account %s --from %s --to %s", name, words.Typed(g.Start),
				words.Typed(last.End))
		}
		out = append(out, p)
	}
	if n := len(a.Unproven); n > 0 {
		u := a.Unproven[0]
		out = append(out, Problem{Summary: fmt.Sprintf("Account %s: %s not shown to be whole, the first from %s UTC",
			v.label(name), words.Plural(n, "window is", "windows are"), words.Minute(u.Start)),
			Detail: u.Detail, Command: "usagelake status", Account: name})
	}
	for _, d := range a.Days {
		if d.Error != "" {
			out = append(out, Problem{Summary: fmt.Sprintf("Account %s: the file of %s can't be read", v.label(name), d.Date),
				Detail: d.Error, Command: "usagelake verify", Account: name})
			break
		}
	}
	// Days are stale for as long as a run is between sealing and deriving.
	if a.Stale > 0 && !v.busy() {
		out = append(out, Problem{Summary: fmt.Sprintf("Account %s: %s fetched and not yet in the tables", v.label(name),
			words.Plural(a.Stale, "day is", "days are")), Command: "usagelake rebuild", Account: name})
	}
	return out
}

// busy says that some process writes to the lake.
func (v *view) busy() bool {
	return v.status.Value != nil && v.status.Value.Holder != nil ||
		slices.ContainsFunc(v.state.Value.Jobs, func(j schedule.JobState) bool { return j.Running })
}

// late says that an account is more behind than twice the time between its exports, and how much that is.
func (v *view) late(a jobs.AccountStatus) (bool, time.Duration) {
	allowed := max(2*v.interval(a.Account), lateFloor)
	return !a.To.IsZero() && v.now.Sub(a.To) > allowed, allowed
}

// interval is how often an account is exported by the schedule; a day if that isn't known.
func (v *view) interval(account string) time.Duration {
	// Of several jobs the one that comes most often; of a job its longest pause (every), so that one of working days isn't
	// late each Sunday.
	shortest := time.Duration(0)
	for _, j := range v.state.Value.Jobs {
		if j.Kind != config.KindExport || j.Accounts != nil && !slices.Contains(j.Accounts, account) || v.every == nil {
			continue
		}
		if d := v.every(j); d > 0 && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	if shortest == 0 {
		return day
	}
	return shortest
}

// headline says in one line how things are.
func headline(problems []Problem) string {
	switch len(problems) {
	case 0:
		return "All is well"
	case 1:
		return problems[0].Summary
	}
	return fmt.Sprintf("%d things need attention", len(problems))
}
