package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// gatherer asks what the rules ask, of what the lake's files say, without a lock. It is one check's, and seen alone
// outlives it.
type gatherer struct {
	cfg   *config.Config
	lake  *publish.Lake // nil if it can't be opened
	now   time.Time
	today schemas.Date
	found []alert.Finding
	names []schemas.Name
	seen  *seenLake // what an earlier check of this process saw; nil: nothing is remembered
}

// gather finds what the rules are there to find. unknown are the rules whose facts can't be had, or not all of them; if
// that is because something is broken there is a finding of it. broken is why there is no lake, nil if there is one.
// The error is ctx's.
func gather(ctx context.Context, cfg *config.Config, env jobs.Env, lake *publish.Lake, broken error, now time.Time,
	in Input, memory *remembered) (_ []alert.Finding, unknown map[string]bool, _ error) {
	g := &gatherer{cfg: cfg, lake: lake, now: now, today: schemas.DateOf(now), seen: in.Memory.lakeSeen()}
	g.names, _ = jobs.Called(cfg) // without them there are ids: that the file can't be read is doctor's to say
	unknown = map[string]bool{}
	bySource := map[string][]config.Rule{}
	for _, r := range cfg.Alerts.Rules {
		bySource[sourceOf(r)] = append(bySource[sourceOf(r)], r)
	}
	if in.ConfigError != "" {
		g.builtIn(ruleConfig, "reload", "the config was changed and can't be used, what was loaded before goes on: "+
			brief(in.ConfigError), map[string]string{"error": clip(in.ConfigError, jobs.MaxDetail)})
	}
	if broken != nil {
		g.withoutLake(broken, bySource[sourceJournal], in.Failures, unknown)
		return g.found, unknown, nil
	}
	// if it can't be looked at, the published file can't be read either
	if found, err := lake.Intrusion(); err == nil && !found.None() {
		g.builtIn(RuleIntruded, "usage.duckdb", found.String(), map[string]string{"hint": publish.HintIntruded})
	}
	// Each source by itself: one that can't be read leaves the others' rules as they are. A run may write meanwhile; what
	// is read then is of before or of after each of its commits, and where that would make a false finding (a gap between
	// windows that are still being sealed) the rule is unknown until the run has ended.
	for _, s := range []struct {
		source string
		ask    func([]config.Rule) map[string]error
	}{
		{sourceDatabase, func(rules []config.Rule) map[string]error { return g.published(ctx, env, rules, memory) }},
		{sourceRaw, func(rules []config.Rule) map[string]error { return all(rules, g.raw(rules, unknown)) }},
		{sourceJournal, func(rules []config.Rule) map[string]error { return all(rules, g.journal(rules, in.Failures)) }},
		{sourceDeliver, func(rules []config.Rule) map[string]error { return all(rules, g.delivered(rules)) }},
	} {
		rules := bySource[s.source]
		if len(rules) == 0 {
			continue
		}
		failed := s.ask(rules)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		// One finding for a source, and not one for each rule: it is broken once.
		var names []string
		var first error
		for _, r := range rules {
			err := failed[r.Name]
			if err == nil {
				continue
			}
			unknown[r.Name] = true
			if errors.Is(err, query.ErrNotPublished) || errors.Is(err, publish.ErrIntruded) {
				continue // as in every new lake, where a freshness rule tells if it stays so; an alert of its own
			}
			names = append(names, r.Name)
			first = cmp.Or(first, err)
		}
		var other *errOtherTables
		if errors.As(first, &other) { // nothing is broken
			g.builtIn(ruleFacts, s.source,
				fmt.Sprintf("%s, and until then nothing is known of %s", other, strings.Join(names, ", ")),
				map[string]string{"hint": "usagelake export, or usagelake rebuild, by one version everywhere",
					"rules": strings.Join(names, ", ")})
		} else if first != nil {
			g.builtIn(ruleFacts, s.source, fmt.Sprintf("the %s can't be read, so nothing is known of %s: %s", s.source,
				strings.Join(names, ", "), brief(first.Error())),
				map[string]string{"error": clip(first.Error(), jobs.MaxDetail), "rules": strings.Join(names, ", ")})
		}
	}
	return g.found, unknown, nil
}

// withoutLake finds what can be told without one: that it is gone, which jobs could not begin, and which keys expire.
// Nothing else is known, nor whether what was told of files that can't be read is over.
func (g *gatherer) withoutLake(broken error, ofJournal []config.Rule, unbegun []Failure, unknown map[string]bool) {
	var names []string
	for _, r := range g.cfg.Alerts.Rules {
		unknown[r.Name] = true
		names = append(names, r.Name)
	}
	// What was told of the published file before stays as it was, too, beside the new one that the lake is gone.
	unknown[ruleFacts], unknown[RuleIntruded] = true, true
	g.ofJournal(ofJournal, nil, unbegun)
	g.builtIn(ruleFacts, "lake", fmt.Sprintf("the lake can't be opened, so nothing is known of %s: %s",
		cmp.Or(strings.Join(names, ", "), "none"), brief(broken.Error())),
		map[string]string{"error": clip(broken.Error(), jobs.MaxDetail), "rules": strings.Join(names, ", ")})
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
	return words.Clip(strings.TrimSpace(words.Line(s)), most)
}

func (g *gatherer) builtIn(rule, subject, summary string, details map[string]string) {
	g.found = append(g.found, alert.Finding{Rule: rule, Kind: strings.Trim(rule, "()"), Severity: alert.Warning,
		Subject: subject, Summary: summary, Details: details})
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

// passes is when something of the instant t leaves the window: at the first midnight UTC after t and the window's
// length, from which on since lies behind t. An alert that goes then goes without a word, for the window has moved and
// nothing has been mended.
func passes(t time.Time, within time.Duration) time.Time {
	return (schemas.DateOf(t.Add(within)) + 1).Start()
}
