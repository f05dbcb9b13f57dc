// Package alert turns what is found in a lake into messages, and sees that each is delivered.
//
//	findings ─▶ Step: what fires, still fires, is over (pure) ─▶ Outbox ─▶ Deliver: webhook, command, log
//
// It knows nothing of lakes and of rules: whoever calls it finds out what is the case now and hands in the findings.
// The State is all that it remembers; it is JSON, to be written down before anything is sent and again after it. So
// each alert is told once, again after its interval, and once when it is over, whatever happens in between; what could
// not be delivered stays in the outbox. A message is delivered at least once: after a crash between the sending and the
// writing down it is sent again, with the same id and the same body.
package alert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Severities.
const (
	Warning  = "warning"
	Critical = "critical"
)

// Phases of a Notification.
const (
	Firing      = "firing"       // the alert begins, or got worse
	StillFiring = "still_firing" // it was told before, and goes on
	Over        = "over"         // it is no longer so
	Test        = "test"         // somebody tries the receivers
)

// Finding is something that a rule says people should know of, as long as it is found.
type Finding struct {
	Rule     string `json:"rule"` // its name
	Kind     string `json:"kind"`
	Severity string `json:"severity"`
	// Subject is what it is about: an account, a budget and its period, a day. Rule and Subject together are the alert's
	// identity. Subject, Summary and Details may hold text from outside.
	Subject string `json:"subject"`
	Summary string `json:"summary"` // one sentence
	// Details are the figures, exact texts by name.
	Details map[string]string `json:"details,omitempty"`
	// Level tells how bad it is; an alert that reaches a higher level than any it was told with is told anew.
	Level int `json:"level,omitempty"`
	// Until is when the finding passes by itself, because its day leaves the window or its budget's period ends. An alert
	// that goes after that ends without a word. Zero: never.
	Until time.Time `json:"until,omitzero"`
	// Once is an event rather than a condition: it is told once and not again after an interval.
	Once bool `json:"once,omitempty"`
}

func (f Finding) key() string { return f.Rule + "/" + f.Subject }

// Rule is what Step has to know of a rule.
type Rule struct {
	Repeat time.Duration // an alert that goes on is told again so long after it was told last; 0: never
	To     []string      // receivers
}

// Alert is a finding that people were told of, and that goes on. Its Finding is as it was found last, though nobody was
// told of a change that made it no worse; ToldOf never falls, so that what swings between two levels is told once.
type Alert struct {
	Finding
	Since    time.Time `json:"since"`     // when it was found first
	ToldAt   time.Time `json:"told_at"`   // when a notification was made last
	ToldOf   int       `json:"told_of"`   // the highest level that was told
	Notified int       `json:"notified"`  // notifications so far
	To       []string  `json:"receivers"` // who got the last
}

// Notification tells of one alert.
type Notification struct {
	ID    string    `json:"id"` // the same however often it is sent
	State string    `json:"state"`
	At    time.Time `json:"at"`
	Since time.Time `json:"since"`
	Finding

	to []string
}

// State is what is remembered from one check to the next. Its methods change it in place, one at a time: a State is one
// check's, and nothing guards it. None of them writes into a map or a slice that a copy of it may share: a copy is a
// snapshot.
type State struct {
	Version int              `json:"version"`
	Seq     uint64           `json:"seq"` // notifications made so far
	Alerts  map[string]Alert `json:"alerts"`
	Outbox  []Message        `json:"outbox"`
}

// StateVersion is the version of State.
const StateVersion = 1

// Input is what a check found.
type Input struct {
	// Rules are all there are, by name. An alert of a rule that isn't among them is over.
	Rules    map[string]Rule
	Findings []Finding
	// Unknown are the rules whose facts could not be had, or not all of them: an alert of theirs that isn't found stays as
	// it is, and nothing is said of it. What is found counts.
	Unknown map[string]bool
}

// Step compares what is found now with what people were told, and says what they are to be told. It changes neither of
// its arguments. The notifications come in order: what fires, what still fires, what is over, each by rule and subject.
//
//	              found                            not found
//	not known     fires                            —
//	known         fires anew if it got worse,      over; without a word if its Until has come;
//	              still fires after the interval   as it was if the rule's facts are unknown
//
// An alert that is over is forgotten. Should it be found again it is another one, with a Since and an id of its own.
func Step(now time.Time, before State, in Input) (State, []Notification) {
	now = now.UTC().Round(0)
	after := State{Version: StateVersion, Seq: before.Seq, Alerts: map[string]Alert{}, Outbox: slices.Clone(before.Outbox)}
	found := map[string]Finding{}
	// Of two findings of one identity the worse counts. One of a rule that isn't there is none: its alert ends below.
	for _, f := range in.Findings {
		if other, ok := found[f.key()]; ok && other.Level >= f.Level {
			continue
		}
		if _, ok := in.Rules[f.Rule]; ok {
			found[f.key()] = f
		}
	}
	var fires, still, over []Notification
	// Seq makes ids differ, and only grows. It is written down before anything is sent: a check that is killed before that
	// makes its notifications again, under other ids, and nobody has seen the first ones.
	tell := func(a *Alert, state string, to []string) Notification {
		after.Seq++
		a.ToldAt, a.To = now, to
		a.Notified++
		return Notification{ID: notificationID(a.key(), a.Since, after.Seq), State: state, At: now, Since: a.Since,
			Finding: a.Finding, to: to}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		f := found[key]
		rule := in.Rules[f.Rule]
		a, known := before.Alerts[key]
		a.Finding = f
		if a.ToldAt.After(now) {
			a.ToldAt = now // the clock was ahead then: the interval begins anew, rather than in years
		}
		switch {
		case !known:
			a.Since, a.ToldOf = now, f.Level
			fires = append(fires, tell(&a, Firing, rule.To))
		case f.Level > a.ToldOf:
			a.ToldOf = f.Level
			fires = append(fires, tell(&a, Firing, rule.To))
		case !f.Once && rule.Repeat > 0 && now.Sub(a.ToldAt) >= rule.Repeat:
			still = append(still, tell(&a, StillFiring, rule.To))
		}
		after.Alerts[key] = a
	}
	for _, key := range slices.Sorted(maps.Keys(before.Alerts)) {
		a := before.Alerts[key]
		if _, ok := found[key]; ok {
			continue
		}
		switch _, ok := in.Rules[a.Rule]; {
		case ok && in.Unknown[a.Rule]:
			after.Alerts[key] = a
		case !a.Until.IsZero() && !now.Before(a.Until): // it passed by itself
		default:
			if !ok {
				a.Summary = "the rule is no longer in the config; it said: " + a.Summary
			}
			// To whoever was told last, and not whoever the rule names by now: who was alarmed hears that it is over.
			over = append(over, tell(&a, Over, a.To))
		}
	}
	return after, slices.Concat(fires, still, over)
}

func notificationID(key string, since time.Time, seq uint64) string {
	return digest(fmt.Sprintf("%s\x00%d\x00%d", key, since.UnixNano(), seq))
}

// digest is a short name for a text.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// Active is an alert that fires, for people.
type Active struct {
	Rule     string            `json:"rule"`
	Kind     string            `json:"kind"`
	Severity string            `json:"severity"`
	Subject  string            `json:"subject"`
	Summary  string            `json:"summary"`
	Details  map[string]string `json:"details,omitempty"`
	Since    time.Time         `json:"since"`
	ToldAt   time.Time         `json:"told_at"`  // when its last notification was made
	Notified int               `json:"notified"` // how many were made
	// Undelivered says which of its notifications wait in the outbox, by receiver, and why; nil if none does.
	Undelivered map[string]string `json:"undelivered,omitempty"`
}

// Active lists the alerts that fire: the critical ones first, then by rule and subject.
func (s State) Active() []Active {
	out := []Active{}
	for _, a := range s.Alerts {
		v := Active{Rule: a.Rule, Kind: a.Kind, Severity: a.Severity, Subject: a.Subject, Summary: a.Summary,
			Details: a.Details,
			Since:   a.Since, ToldAt: a.ToldAt, Notified: a.Notified}
		for _, m := range s.Outbox {
			if !slices.ContainsFunc(m.Notifications, func(n Notification) bool { return n.key() == a.key() }) {
				continue
			}
			if v.Undelivered == nil {
				v.Undelivered = map[string]string{}
			}
			v.Undelivered[m.To] = cmp.Or(m.Error, "it waits behind an earlier message")
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b Active) int {
		if a.Severity != b.Severity {
			return strings.Compare(a.Severity, b.Severity) // critical, warning
		}
		return strings.Compare(a.Rule+"/"+a.Subject, b.Rule+"/"+b.Subject)
	})
	return out
}
