package watch

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// raw asks the raw archive for freshness and gaps. Who holds the lake is asked before the look and after it, as in
// journal.
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

// freshness goes by the end of the newest window, whatever gaps lie before it: those are another rule's. An account
// that was never exported counts from the first run there ever was, so that one whose key never worked is told of, too;
// a new one of an old lake is late until its first export.
func (g *gatherer) freshness(r config.Rule, account string, have []schemas.Window, began time.Time) {
	limit := cmp.Or(time.Duration(r.OlderThan), config.DefaultOlderThan)
	var to time.Time
	for _, w := range have {
		if w.End.After(to) {
			to = w.End
		}
	}
	since, what := to, "exported to "+words.MinuteUTC(to)
	if to.IsZero() {
		if began.IsZero() {
			return // nothing ever ran
		}
		since, what = began, "never exported, the first run was "+words.MinuteUTC(began)
	}
	if age := g.now.Sub(since); age > limit {
		g.add(r, alert.Finding{Subject: account, Summary: fmt.Sprintf("account %s is %s, %s ago (more than %s)",
			g.label("account", account), what, words.Span(age), words.Span(limit)),
			Details: map[string]string{"account": account, "covered_to": words.Instant(to), "older_than": limit.String()}})
	}
}

// gaps finds what no window covers between the first instant that is covered and the last, or within the rule's window
// of it. What comes after the last is not fetched yet, which freshness is about.
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
	f := alert.Finding{Subject: account, Details: map[string]string{"account": account, "gaps": strconv.Itoa(len(missing)),
		"missing_seconds": strconv.FormatInt(int64(missed/time.Second), 10),
		"first_start":     words.Instant(first.Start), "first_end": words.Instant(first.End)}}
	f.Summary = fmt.Sprintf("account %s has a gap: nothing was fetched from %s to %s", g.label("account", account),
		words.MinuteUTC(first.Start), words.MinuteUTC(first.End))
	if len(missing) > 1 {
		f.Summary += fmt.Sprintf("; it is the first of %d, %s in all", len(missing), words.Span(missed))
	}
	g.add(r, f)
}

// orphans finds days that can't be derived again, for raw files that they were made from are gone: a gap in the raw
// archive that its windows alone don't show.
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
	g.add(r, alert.Finding{Subject: account + " (raw files)",
		Summary: fmt.Sprintf("account %s has %s whose raw files are gone, kept as it was derived; the first: %s %s",
			g.label("account", account), words.Plural(len(found), "file", "files"), first.Date, brief(first.Why)),
		Details: map[string]string{"account": account, "files": strconv.Itoa(len(found)), "first_date": first.Date.String(),
			"first_why": clip(first.Why, jobs.MaxDetail), "hint": first.Hint()}})
	return nil
}
