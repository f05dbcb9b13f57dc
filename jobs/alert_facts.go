package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// gatherer asks what the rules ask, of what the lake's files say, without a lock.
type gatherer struct {
	cfg   *config.Config
	lake  *load.Lake // nil if it can't be opened
	now   time.Time
	today schemas.Date
	found []alert.Finding
	names []schemas.Name
	seen  *seenLake // what an earlier check of this process saw; nil: nothing is remembered
}

// seenLake is what a check saw of the lake's files, for those after it: while nobody wrote to the journal nothing has run, and what a
// run writes is as it was. A daemon that waits for the next night then looks at one file a minute.
type seenLake struct {
	mu      sync.Mutex
	journal load.Stamp
	lake    string
	at      time.Time
	raw     map[string]load.Stamp       // by account
	windows map[string][]schemas.Window // by account, in order
	orphans map[string][]load.Orphan    // by account
	runs    []schemas.Run
	known   bool // runs and windows are as of journal
}

// seenFor is how long that holds at the most: somebody may put a file into a day, or take one out, by hand.
const seenFor = time.Hour

// orphansOf is what is kept of an account though it can't be derived again; look was asked for it just now.
func (g *gatherer) orphansOf(account string) ([]load.Orphan, error) {
	s := g.seen
	if s == nil {
		s = &seenLake{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.orphans[account]; ok && s.known {
		return found, nil
	}
	days, err := g.lake.Partitions(account)
	if err != nil {
		return nil, err
	}
	var found []load.Orphan
	for _, d := range days {
		o, err := g.lake.Orphans(d)
		if err != nil {
			return nil, err
		}
		found = append(found, o...)
	}
	if s.orphans != nil {
		s.orphans[account] = found
	}
	return found, nil
}

// look reads what the lake's files say of runs and windows, or remembers it.
func (g *gatherer) look(accounts []string) (map[string][]schemas.Window, []schemas.Run, error) {
	s := g.seen
	if s == nil {
		s = &seenLake{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held := g.lake.Holder() != nil
	stamp := g.lake.JournalStamp()
	fresh := s.known && !held && s.lake == g.lake.Dir() && stamp.Size() > 0 && stamp.Same(s.journal) && g.now.Sub(s.at).Abs() < seenFor
	if !fresh {
		runs, err := history(g.lake, g.cfg)
		if err != nil {
			s.known = false
			return nil, nil, err
		}
		s.journal, s.lake, s.at, s.known = stamp, g.lake.Dir(), g.now, !held
		s.runs, s.raw, s.windows, s.orphans = runs, map[string]load.Stamp{}, map[string][]schemas.Window{}, map[string][]load.Orphan{}
	}
	for _, a := range accounts {
		stamp := g.lake.RawStamp(a)
		if _, ok := s.windows[a]; ok && stamp.Same(s.raw[a]) {
			continue
		}
		have, err := sealedOf(g.lake, a)
		if err != nil {
			return nil, nil, err
		}
		s.windows[a], s.raw[a] = have.windows(), stamp
		delete(s.orphans, a)
	}
	if s.known && g.lake.Holder() != nil { // it may seal what we have not seen
		s.known = false
	}
	return s.windows, slices.Clone(s.runs), nil
}

// gather finds what the rules are there to find. unknown are the rules whose facts can't be had, or not all of them; if
// that is because something is broken there is a finding of it. broken is why there is no lake, nil if there is one. The
// error is ctx's.
func gather(ctx context.Context, cfg *config.Config, env Env, lake *load.Lake, broken error, now time.Time,
	in AlertInput, memory *alertMemory) (_ []alert.Finding, unknown map[string]bool, _ error) {
	g := &gatherer{cfg: cfg, lake: lake, now: now, today: schemas.DateOf(now), seen: in.Memory.lakeSeen()}
	g.names, _ = called(cfg) // without them there are ids: that the file can't be read is doctor's to say
	unknown = map[string]bool{}
	bySource := map[string][]config.Rule{}
	for _, r := range cfg.Alerts.Rules {
		bySource[sourceOf(r)] = append(bySource[sourceOf(r)], r)
	}
	if in.ConfigError != "" {
		g.builtIn(ruleConfig, "reload", "the config was changed and can't be used, what was loaded before goes on: "+brief(in.ConfigError), map[string]string{"error": clip(in.ConfigError, mostDetail)})
	}
	if broken != nil {
		g.withoutLake(broken, bySource[sourceJournal], in.Failures, unknown)
		return g.found, unknown, nil
	}
	if found, err := lake.Intrusion(); err == nil && !found.None() { // if it can't be looked at, the published file can't be read either
		g.builtIn(RuleIntruded, "usage.duckdb", found.String(), map[string]string{"hint": load.HintIntruded})
	}
	for _, s := range []struct {
		source string
		ask    func([]config.Rule) map[string]error
	}{
		{sourceDatabase, func(rules []config.Rule) map[string]error { return g.published(ctx, env, rules, memory) }},
		{sourceRaw, func(rules []config.Rule) map[string]error { return all(rules, g.raw(rules, unknown)) }},
		{sourceJournal, func(rules []config.Rule) map[string]error { return all(rules, g.journal(rules, in.Failures)) }},
	} {
		rules := bySource[s.source]
		if len(rules) == 0 {
			continue
		}
		failed := s.ask(rules)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		var names []string
		var first error
		for _, r := range rules {
			err := failed[r.Name]
			if err == nil {
				continue
			}
			unknown[r.Name] = true
			if errors.Is(err, load.ErrNotPublished) || errors.Is(err, load.ErrIntruded) {
				continue // as in every new lake, where a freshness rule tells if it stays so; an alert of its own
			}
			names = append(names, r.Name)
			first = cmp.Or(first, err)
		}
		var other *errOtherTables
		if errors.As(first, &other) { // nothing is broken
			g.builtIn(ruleFacts, s.source, fmt.Sprintf("%s, and until then nothing is known of %s", other, strings.Join(names, ", ")),
				map[string]string{"hint": "usagelake export, or usagelake rebuild, by one version everywhere", "rules": strings.Join(names, ", ")})
		} else if first != nil {
			g.builtIn(ruleFacts, s.source, fmt.Sprintf("the %s can't be read, so nothing is known of %s: %s", s.source, strings.Join(names, ", "), brief(first.Error())),
				map[string]string{"error": clip(first.Error(), mostDetail), "rules": strings.Join(names, ", ")})
		}
	}
	return g.found, unknown, nil
}

// withoutLake finds what can be told without one: that it is gone, which jobs could not begin, and which keys expire.
// Nothing else is known, nor whether what was told of files that can't be read is over.
func (g *gatherer) withoutLake(broken error, ofJournal []config.Rule, unbegun []JobFailure, unknown map[string]bool) {
	var names []string
	for _, r := range g.cfg.Alerts.Rules {
		unknown[r.Name] = true
		names = append(names, r.Name)
	}
	unknown[ruleFacts], unknown[RuleIntruded] = true, true
	g.ofJournal(ofJournal, nil, unbegun)
	g.builtIn(ruleFacts, "lake", fmt.Sprintf("the lake can't be opened, so nothing is known of %s: %s",
		cmp.Or(strings.Join(names, ", "), "none"), brief(broken.Error())),
		map[string]string{"error": clip(broken.Error(), mostDetail), "rules": strings.Join(names, ", ")})
}

// all is an error of every rule.
func all(rules []config.Rule, err error) map[string]error {
	out := map[string]error{}
	for _, r := range rules {
		out[r.Name] = err
	}
	return out
}

// brief is the beginning of a text, on a line, for a sentence; clip is more of it, for details. Hints are left out.
func brief(s string) string { return clip(s, 300) }

func clip(s string, most int) string {
	s, _, _ = strings.Cut(s, "\nhint: ")
	s = strings.TrimSpace(words.Line(s))
	if r := []rune(s); len(r) > most {
		s = string(r[:most-1]) + "…"
	}
	return s
}

// mostDetail is how much of an error stands in an alert's details.
const mostDetail = 2000

func (g *gatherer) builtIn(rule, subject, summary string, details map[string]string) {
	g.found = append(g.found, alert.Finding{Rule: rule, Kind: strings.Trim(rule, "()"), Severity: alert.Warning, Subject: subject, Summary: summary, Details: details})
}

// add adds a finding of a rule.
func (g *gatherer) add(r config.Rule, f alert.Finding) {
	f.Rule, f.Kind, f.Severity = r.Name, r.Kind, cmp.Or(r.Severity, alert.Warning)
	g.found = append(g.found, f)
}

// label is an id with its name before it, where it has one.
func (g *gatherer) label(kind, id string) string {
	i := slices.IndexFunc(g.names, func(n schemas.Name) bool { return n.Kind == kind && n.ID == id })
	if i < 0 {
		return id
	}
	return g.names[i].Name + " (" + id + ")"
}

// covers says whether a rule is about an account. Accounts that aren't in the config any more are nobody's concern.
func (g *gatherer) covers(r config.Rule, account string) bool {
	return slices.Contains(g.cfg.AccountNames(), account) && (r.Accounts == nil || slices.Contains(r.Accounts, account))
}

// since is the first instant of a rule's window: whole days back from today.
func (g *gatherer) since(within time.Duration) time.Time { return g.today.Start().Add(-within) }

// passes is when something of the instant t leaves the window.
func passes(t time.Time, within time.Duration) time.Time {
	return (schemas.DateOf(t.Add(within)) + 1).Start()
}

// ---- the raw archive

func (g *gatherer) raw(rules []config.Rule, unknown map[string]bool) error {
	running := g.lake.Holder() != nil
	windows, runs, err := g.look(g.cfg.AccountNames())
	if err != nil {
		return err
	}
	var began time.Time // the first run; zero if there was none
	if len(runs) > 0 {
		began = runs[0].StartedAt
	}
	for _, r := range rules {
		if r.Kind == config.AlertGap && (running || g.lake.Holder() != nil) {
			unknown[r.Name] = true // a run seals its windows as they come; what lies between is no gap before it has ended
			continue
		}
		for _, a := range g.cfg.AccountNames() {
			if !g.covers(r, a) {
				continue
			}
			if r.Kind == config.AlertGap {
				g.gaps(r, a, windows[a])
				if err := g.orphans(r, a); err != nil {
					return err
				}
			} else {
				g.freshness(r, a, windows[a], began)
			}
		}
	}
	return nil
}

func (g *gatherer) freshness(r config.Rule, account string, have []schemas.Window, began time.Time) {
	limit := cmp.Or(time.Duration(r.OlderThan), config.DefaultOlderThan)
	var to time.Time
	for _, w := range have {
		if w.End.After(to) {
			to = w.End
		}
	}
	since, what := to, "exported to "+minute(to)
	if to.IsZero() {
		if began.IsZero() {
			return // nothing ever ran
		}
		since, what = began, "never exported, the first run was "+minute(began)
	}
	if age := g.now.Sub(since); age > limit {
		g.add(r, alert.Finding{Subject: account, Summary: fmt.Sprintf("account %s is %s, %s ago (more than %s)", g.label("account", account), what, length(age), length(limit)),
			Details: map[string]string{"account": account, "covered_to": instant(to), "older_than": limit.String()}})
	}
}

func (g *gatherer) gaps(r config.Rule, account string, have []schemas.Window) {
	if len(have) == 0 {
		return
	}
	all := schemas.Window{Account: account, Start: have[0].Start}
	for _, w := range have {
		if w.End.After(all.End) {
			all.End = w.End
		}
	}
	if r.Within != 0 {
		if from := g.since(time.Duration(r.Within)); from.After(all.Start) {
			all.Start = from
		}
	}
	if !all.Start.Before(all.End) {
		return
	}
	missing := schemas.Uncovered(all, have)
	if len(missing) == 0 {
		return
	}
	var missed time.Duration
	for _, m := range missing {
		missed += m.End.Sub(m.Start)
	}
	first := missing[0]
	f := alert.Finding{Subject: account, Details: map[string]string{"account": account, "gaps": strconv.Itoa(len(missing)), "missing_seconds": strconv.FormatInt(int64(missed/time.Second), 10),
		"first_start": instant(first.Start), "first_end": instant(first.End)}}
	f.Summary = fmt.Sprintf("account %s has a gap: nothing was fetched from %s to %s", g.label("account", account), minute(first.Start), minute(first.End))
	if len(missing) > 1 {
		f.Summary += fmt.Sprintf("; it is the first of %d, %s in all", len(missing), length(missed))
	}
	g.add(r, f)
}

// orphans finds days that can't be derived again, for raw files that they were made from are gone: a gap in the raw archive
// that its windows alone don't show.
func (g *gatherer) orphans(r config.Rule, account string) error {
	all, err := g.orphansOf(account)
	if err != nil {
		return err
	}
	var found []load.Orphan
	for _, o := range all {
		if r.Within == 0 || o.Date.End().After(g.since(time.Duration(r.Within))) {
			found = append(found, o)
		}
	}
	if len(found) == 0 {
		return nil
	}
	first := found[0]
	g.add(r, alert.Finding{Subject: account + " (raw files)", Summary: fmt.Sprintf("account %s has %s whose raw files are gone, kept as it was derived; the first: %s %s", g.label("account", account), plural(len(found), "file"), first.Date, brief(first.Why)),
		Details: map[string]string{"account": account, "files": strconv.Itoa(len(found)), "first_date": first.Date.String(), "first_why": clip(first.Why, mostDetail), "hint": first.Hint()}})
	return nil
}

// ---- the journal

// journal asks the journal. If it can't be read there are the findings that need no journal.
func (g *gatherer) journal(rules []config.Rule, unbegun []JobFailure) error {
	before := g.lake.Holder()
	_, runs, err := g.look(nil)
	after := g.lake.Holder()
	for i := range runs {
		if run := &runs[i]; !underWay(runs, i, before) && !underWay(runs, i, after) && run.Status == schemas.StatusRunning {
			run.Status, run.Error = schemas.StatusInterrupted, "it never ended: it was killed, or the machine went down"
		}
	}
	g.ofJournal(rules, runs, unbegun)
	return err
}

func (g *gatherer) ofJournal(rules []config.Rule, runs []schemas.Run, unbegun []JobFailure) {
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

// jobOf is what a run's failures count for: its job of the schedule, or else its command. "" is nothing: a job that is no
// longer in the schedule, or a command that somebody typed and saw the end of.
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

// unbegun finds the jobs that could not begin, and neither did begin since nor were done by hand.
func (g *gatherer) unbegun(r config.Rule, runs []schemas.Run, failures []JobFailure) {
	for _, f := range failures {
		i := slices.IndexFunc(g.cfg.Schedule.Jobs, func(j config.Job) bool { return j.Name == f.Job })
		if i < 0 || f.Attempts < max(1, r.After) {
			continue
		}
		failed := schemas.Run{Job: f.Job, Command: g.cfg.Schedule.Jobs[i].Kind}
		if slices.ContainsFunc(runs, func(run schemas.Run) bool { return run.EndedAt.After(f.At) && g.mends(run, failed) }) {
			continue
		}
		g.add(r, alert.Finding{Subject: "job " + f.Job, Summary: fmt.Sprintf("job %s could not begin: %s", f.Job, brief(f.Error)),
			Details: map[string]string{"job": f.Job, "status": schemas.StatusFailed, "error": clip(f.Error, mostDetail), "in_a_row": strconv.Itoa(f.Attempts), "at": instant(f.At)}})
	}
}

func (g *gatherer) mends(run, failed schemas.Run) bool {
	return mends(run, failed, func(account string) bool { return slices.Contains(g.cfg.AccountNames(), account) })
}

// mends says that a run makes good one that failed before it: it is done, and of the same job, or one of them was by hand
// and did the same for each account that the other had failed for, if it counts.
func mends(run, failed schemas.Run, counts func(account string) bool) bool {
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
			!slices.ContainsFunc(run.Accounts, func(m schemas.RunAccount) bool { return m.Account == a.Account && m.Status == schemas.StatusDone }) {
			return false
		}
	}
	return true
}

func (g *gatherer) failed(r config.Rule, runs []schemas.Run) {
	after := max(1, r.After)
	type tally struct {
		last  schemas.Run
		times int
	}
	var order []string
	tallies := map[string]*tally{}
	for _, run := range runs {
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
		f := alert.Finding{Subject: job, Details: map[string]string{"run_id": t.last.RunID, "command": t.last.Command, "job": t.last.Job, "status": t.last.Status, "error": clip(t.last.Error, mostDetail),
			"in_a_row": strconv.Itoa(t.times), "started_at": instant(t.last.StartedAt)}}
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
		f.Summary = fmt.Sprintf("%s: %s ended as %s at %s: %s", job, times, t.last.Status, minute(cmp.Or(t.last.EndedAt, t.last.StartedAt)), brief(t.last.Error))
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
		f := alert.Finding{Subject: a.Account + " refused by " + command, Summary: fmt.Sprintf("the key of account %s was refused (%s, %s): %s", g.label("account", a.Account), command, minute(at), brief(a.Error)),
			Details: map[string]string{"account": a.Account, "command": command, "started_at": instant(at), "error": clip(a.Error, mostDetail)}}
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
		f := alert.Finding{Subject: a.Name + " expires " + a.KeyExpires, Details: map[string]string{"account": a.Name, "key_expires": a.KeyExpires}}
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
			f.Summary = fmt.Sprintf("the key of account %s expires on %s, in %s: make another in the Portal, put it in its place, and key_expires with it", g.label("account", a.Name), a.KeyExpires, length(left))
		}
		g.add(r, f)
	}
}

// ---- the published file

// published asks the published file, unless it was asked already: it is the same file, and so are the rules and the day.
// It returns the rules that it could not ask for.
func (g *gatherer) published(ctx context.Context, env Env, rules []config.Rule, memory *alertMemory) map[string]error {
	key, err := g.publishedKey(env, rules)
	if err != nil {
		return all(rules, err)
	}
	if key == memory.Published.Key {
		g.found = append(g.found, memory.Published.Findings...)
		return nil
	}
	had := len(g.found)
	failed := g.ask(ctx, rules)
	if len(failed) == 0 {
		memory.Published.Key = key
		memory.Published.Findings = slices.Clone(g.found[had:])
	}
	return failed
}

func (g *gatherer) publishedKey(env Env, rules []config.Rule) (string, error) {
	info, err := g.lake.DatabaseInfo()
	if errors.Is(err, fs.ErrNotExist) {
		return "", load.ErrNotPublished
	}
	if err != nil {
		return "", err
	}
	asked, err := json.Marshal([]any{rules, g.cfg.AccountNames(), g.names, g.cfg.Budgets, env.Version})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %d %s %x", info.ModTime().UnixNano(), info.Size(), g.today, sha256.Sum256(asked)), nil
}

func (g *gatherer) ask(ctx context.Context, rules []config.Rule) map[string]error {
	snap, err := g.lake.Snapshot(ctx)
	if err != nil {
		return all(rules, err)
	}
	defer snap.Close()
	failed := map[string]error{}
	for _, r := range rules {
		had := len(g.found)
		var err error
		switch r.Kind {
		case config.AlertBalance, config.AlertRunway:
			err = g.balance(ctx, snap, r)
		case config.AlertBudget, config.AlertForecast:
			err = g.budget(ctx, snap, r)
		case config.AlertQuality:
			err = g.quality(ctx, snap, r)
		case config.AlertQuarantine:
			err = g.quarantine(ctx, snap, r)
		case config.AlertAnomaly:
			err = g.anomaly(ctx, snap, r)
		}
		if err != nil {
			g.found = g.found[:had]
			failed[r.Name] = err
		}
	}
	if len(failed) > 0 && ctx.Err() == nil {
		if other := otherTables(ctx, snap); other != nil {
			for name := range failed {
				failed[name] = other
			}
		}
	}
	return failed
}

// errOtherTables is why facts can't be had of a file that another version published: it lacks what is asked of it.
type errOtherTables struct{ version int }

func (e *errOtherTables) Error() string {
	which := "an older version"
	if e.version > schemas.SQLVersion {
		which = "a newer version"
	}
	return fmt.Sprintf("usage.duckdb was published by %s (tables %d, this one makes %d); the next publish mends it", which, e.version, schemas.SQLVersion)
}

// otherTables says whether a file has tables of another version; nil if not, or if it doesn't say.
func otherTables(ctx context.Context, snap *load.Snapshot) (other error) {
	_ = each(ctx, snap, "SELECT schema_version FROM meta", func(v row) error {
		if n, err := strconv.Atoi(v.text("schema_version")); err == nil && n != schemas.SQLVersion {
			other = &errOtherTables{n}
		}
		return nil
	})
	return other
}

// row is a row of an answer, by column.
type row map[string]load.Value

func (r row) text(column string) string { return r[column].Text }

// money is a decimal of a row, exactly; nil for NULL.
func (r row) money(column string) (*big.Int, error) {
	if r[column].Null {
		return nil, nil
	}
	v, err := schemas.ParseMoney(r[column].Text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", column, err)
	}
	return v, nil
}

func each(ctx context.Context, snap *load.Snapshot, query string, do func(row) error) error {
	rows, err := snap.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for values, err := range rows.All(ctx) {
		if err != nil {
			return err
		}
		r := row{}
		for i, c := range rows.Columns {
			r[c.Name] = values[i]
		}
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) balance(ctx context.Context, snap *load.Snapshot, r config.Rule) error {
	return each(ctx, snap, `SELECT account, currency, observed_at, balance, burn_7_days, days_left_7, days_left_28, least(days_left_7, days_left_28) AS days_left,
			least(days_left_7_coupons_beside, days_left_28_coupons_beside) AS days_left_coupons_beside
		FROM balance_runway QUALIFY row_number() OVER (PARTITION BY account ORDER BY observed_at DESC) = 1 ORDER BY account`, func(v row) error {
		account := v.text("account")
		if !g.covers(r, account) {
			return nil
		}
		balance, err := v.money("balance")
		if err != nil || balance == nil {
			return err
		}
		amount := schemas.MoneyIn(balance, v.text("currency"))
		details := map[string]string{"account": account, "balance": schemas.MoneyText(balance), "currency": v.text("currency"), "observed_at": v.text("observed_at")}
		if r.Kind == config.AlertBalance {
			below, err := schemas.ParseMoney(r.Below)
			if err != nil {
				return err
			}
			if balance.Cmp(below) < 0 {
				details["below"] = schemas.MoneyText(below)
				limit := schemas.AmountText(below, v.text("currency"))
				if schemas.AmountText(balance, v.text("currency")) == limit { // the difference is less than people read
					amount, limit = amountIn(balance, words.Printable(v.text("currency"))), schemas.MoneyText(below)
				}
				g.add(r, alert.Finding{Subject: account, Details: details, Summary: fmt.Sprintf("the balance of account %s is %s, below %s", g.label("account", account), amount, limit)})
			}
			return nil
		}
		left, err := v.money("days_left")
		if err != nil || left == nil { // nothing burns
			return err
		}
		days := cmp.Or(r.Days, config.DefaultRunway)
		limit, err := schemas.ParseMoney(strconv.Itoa(days))
		if err != nil {
			return err
		}
		if left.Cmp(limit) < 0 {
			details["days_left"], details["days"], details["burn_7_days"] = v.text("days_left"), strconv.Itoa(days), v.text("burn_7_days")
			f := alert.Finding{Subject: account, Details: details, Summary: fmt.Sprintf("the balance of account %s, %s, lasts for about %s days (fewer than %d)", g.label("account", account), amount, schemas.MoneyText(left), days)}
			// The API doesn't say whether the balance includes what is left of coupons; the shorter reading is what warns.
			if more := v.text("days_left_coupons_beside"); more != "" && more != v.text("days_left") {
				f.Details["days_left_coupons_beside"] = more
				f.Summary += fmt.Sprintf("; about %s if its coupons stand beside it", more)
			}
			g.add(r, f)
		}
		return nil
	})
}

func (g *gatherer) budget(ctx context.Context, snap *load.Snapshot, r config.Rule) error {
	thresholds := map[string][]schemas.Decimal{}
	for _, b := range g.cfg.Budgets {
		if r.Budgets != nil && !slices.Contains(r.Budgets, b.Name) {
			continue
		}
		own, err := b.Parse()
		if err != nil {
			return err
		}
		thresholds[b.Name] = own.Thresholds
		if r.Thresholds != nil {
			if thresholds[b.Name], err = config.ParseThresholds(r.Thresholds); err != nil {
				return err
			}
		}
	}
	// A period's last days come after it has ended.
	return each(ctx, snap, fmt.Sprintf(`SELECT budget, period_start, period_end, currency, amount, spent, forecast, forecast_low, forecast_high, completeness FROM budget_status
		WHERE period_start <= DATE '%s' AND period_end > DATE '%s' ORDER BY ALL`, g.today,
		g.today-schemas.Date(config.DefaultRecent/(24*time.Hour))), func(v row) error {
		name := v.text("budget")
		shares, ok := thresholds[name]
		if !ok {
			return nil
		}
		amount, err := v.money("amount")
		if err != nil {
			return err
		}
		spent, err := v.money("spent")
		if err != nil {
			return err
		}
		forecast, err := v.money("forecast")
		if err != nil {
			return err
		}
		end, err := schemas.ParseDate(v.text("period_end"))
		if err != nil {
			return err
		}
		f := alert.Finding{Subject: name + " " + v.text("period_start"),
			Until: passes((end - 1).Start(), config.DefaultRecent), Details: map[string]string{
				"budget": name, "period_start": v.text("period_start"), "period_end": v.text("period_end"),
				"currency": v.text("currency"),
				"amount":   schemas.MoneyText(amount), "spent": schemas.MoneyText(spent), "completeness": v.text("completeness")}}
		currency := v.text("currency")
		what := fmt.Sprintf("budget %s from %s: %s of %s", name, v.text("period_start"),
			schemas.MoneyIn(spent, currency), schemas.AmountText(amount, currency))
		if strings.Contains(v.text("completeness"), " lacks ") {
			what += ", with " + v.text("completeness") + ","
		}
		if r.Kind == config.AlertForecast {
			if forecast == nil || forecast.Cmp(amount) <= 0 || end <= g.today {
				return nil
			}
			for _, c := range []string{"forecast", "forecast_low", "forecast_high"} {
				f.Details[c] = v.text(c)
			}
			f.Summary = fmt.Sprintf("%s spent, about %s expected by %s", what, schemas.AmountText(forecast, currency), v.text("period_end"))
			g.add(r, f)
			return nil
		}
		for _, t := range shares {
			if reached(spent, amount, t) {
				f.Level++
				f.Details["threshold"] = t.String()
			}
		}
		if f.Level == 0 {
			return nil
		}
		f.Summary = fmt.Sprintf("%s spent, the threshold %s is reached", what, f.Details["threshold"])
		g.add(r, f)
		return nil
	})
}

// reached says whether spent is at least the share t of amount, exactly.
func reached(spent, amount *big.Int, t schemas.Decimal) bool {
	one, _ := schemas.ParseDecimal([]byte("1"))
	left := new(big.Int).Mul(spent, big.NewInt(int64(one)))
	return left.Cmp(new(big.Int).Mul(amount, big.NewInt(int64(t)))) >= 0
}

// mostTold is how many findings a rule makes of the published file: after a great backfill there may be any number,
// and the latest ones do.
const mostTold = 500

func (g *gatherer) quality(ctx context.Context, snap *load.Snapshot, r config.Rule) error {
	within := cmp.Or(time.Duration(r.Within), config.DefaultRecent)
	return each(ctx, snap, fmt.Sprintf(`SELECT account, usage_date, check_name, sum(records)::BIGINT AS records, fetched_at, min(detail) AS detail, min(sample_id) AS sample_id
		FROM quality_issues JOIN (SELECT account, usage_date, max(fetched_at) AS fetched_at FROM coverage WHERE owns GROUP BY ALL) USING (account, usage_date)
		WHERE severity = '%s' AND check_name <> '%s' AND fetched_at >= TIMESTAMPTZ '%s'
		GROUP BY ALL ORDER BY usage_date DESC, account, check_name LIMIT %d`, schemas.Failure, schemas.CheckQuarantine, instant(g.since(within)), mostTold), func(v row) error {
		account, day, check := v.text("account"), v.text("usage_date"), v.text("check_name")
		if !g.covers(r, account) {
			return nil
		}
		fetched, err := time.Parse(time.RFC3339, v.text("fetched_at"))
		if err != nil {
			return err
		}
		g.add(r, alert.Finding{Subject: account + " " + day + " " + check, Once: true, Until: passes(fetched, within),
			Summary: fmt.Sprintf("account %s, %s: the check %s failed for %s records, such as %s", g.label("account", account), day, check, v.text("records"), brief(v.text("sample_id")+" "+v.text("detail"))),
			Details: map[string]string{"account": account, "usage_date": day, "check": check, "records": v.text("records"), "sample_id": v.text("sample_id"), "detail": v.text("detail")}})
		return nil
	})
}

func (g *gatherer) quarantine(ctx context.Context, snap *load.Snapshot, r config.Rule) error {
	within := cmp.Or(time.Duration(r.Within), config.DefaultRecent)
	return each(ctx, snap, fmt.Sprintf(`SELECT account, make_timestamp(epoch_us(window_start))::DATE AS usage_date, count(*) AS records, max(fetched_at) AS fetched_at, string_agg(DISTINCT reason, ', ' ORDER BY reason) AS reasons
		FROM quarantine GROUP BY ALL HAVING max(fetched_at) >= TIMESTAMPTZ '%s'
		ORDER BY usage_date DESC, account LIMIT %d`, instant(g.since(within)), mostTold), func(v row) error {
		account, day := v.text("account"), v.text("usage_date")
		if !g.covers(r, account) {
			return nil
		}
		fetched, err := time.Parse(time.RFC3339, v.text("fetched_at"))
		if err != nil {
			return err
		}
		g.add(r, alert.Finding{Subject: account + " " + day, Once: true, Until: passes(fetched, within),
			Summary: fmt.Sprintf("account %s, %s: %s records are in quarantine and count in no sum: %s", g.label("account", account), day, v.text("records"), brief(v.text("reasons"))),
			Details: map[string]string{"account": account, "usage_date": day, "records": v.text("records"), "reasons": v.text("reasons")}})
		return nil
	})
}

// about is the condition that an event of anomaly_events is one of those that the rule is about, or shows in one of them.
func about(r config.Rule) string {
	if r.Scopes == nil && r.Accounts == nil {
		return "true"
	}
	in := func(column string, values []string) string {
		var quoted []string
		for _, v := range values {
			quoted = append(quoted, schemas.SQLString(v))
		}
		return column + " IN (" + strings.Join(quoted, ", ") + ")"
	}
	is := func(prefix string) string {
		all := []string{"true"}
		if r.Scopes != nil {
			all = append(all, in(prefix+`"scope"`, r.Scopes))
		}
		if r.Accounts != nil {
			all = append(all, in(prefix+`"scope"`, []string{"account"}), in(prefix+"scope_value", r.Accounts))
		}
		return "(" + strings.Join(all, " AND ") + ")"
	}
	return "(" + is("") + " OR len(list_filter(also, lambda x: " + is("x.") + ")) > 0)"
}

func (g *gatherer) anomaly(ctx context.Context, snap *load.Snapshot, r config.Rule) error {
	within := cmp.Or(time.Duration(r.Within), config.DefaultRecent)
	return each(ctx, snap, fmt.Sprintf(`SELECT usage_date, kind, "scope", scope_value, scope_name, currency, observed, expected, deviation, detail,
			array_to_string(list_transform(also, lambda x: x."scope" || ' ' || coalesce(x.scope_name || ' (' || x.scope_value || ')', x.scope_value, 'NULL')), ', ') AS also
		FROM anomaly_events WHERE usage_date >= DATE '%s' AND %s ORDER BY usage_date DESC, abs(deviation) DESC NULLS LAST, "scope", scope_value, kind, currency, detail LIMIT %d`, schemas.DateOf(g.since(within)), about(r), mostTold), func(v row) error {
		scope, value := v.text("scope"), v.text("scope_value")
		day, err := schemas.ParseDate(v.text("usage_date"))
		if err != nil {
			return err
		}
		f := alert.Finding{Once: true, Until: passes(day.Start(), within), Details: map[string]string{}}
		for c, cell := range v {
			if !cell.Null {
				f.Details[c] = cell.Text
			}
		}
		f.Subject = strings.Join([]string{day.String(), v.text("kind"), scope, value, v.text("currency")}, " ")
		f.Summary = fmt.Sprintf("%s of %s %s on %s: %s", v.text("kind"), scope, brief(g.label(scope, value)), day, brief(v.text("detail")))
		if observed, err := v.money("observed"); err == nil && observed != nil {
			expected, err := v.money("expected")
			if err != nil {
				return err
			}
			currency := v.text("currency")
			f.Summary = fmt.Sprintf("%s of %s %s on %s: %s, %s expected (%s)", v.text("kind"), scope, brief(g.label(scope, value)), day,
				schemas.MoneyIn(observed, currency), schemas.AmountText(expected, currency), brief(v.text("detail")))
		}
		if also := v.text("also"); also != "" {
			f.Summary += "; it explains " + brief(also)
		}
		g.add(r, f)
		return nil
	})
}

// ---- words

// instant is a time as details have it; "" if it is zero.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// minute is a time as a sentence has it.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// length is a length of time as a sentence has it.
func length(d time.Duration) string {
	switch hours := int(d.Hours()); {
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case hours < 72:
		return fmt.Sprintf("%d h", hours)
	default:
		return fmt.Sprintf("%d days", hours/24)
	}
}
