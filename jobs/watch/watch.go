package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// Rules that every set-up with receivers has.
const (
	ruleConfig = "(config)" // the config was changed and is wrong
	ruleFacts  = "(facts)"  // what rules go by can't be read
	// RuleIntruded finds what another program wrote into the published file, or left beside it.
	RuleIntruded = "(intruded)"
)

// Where facts come from.
const (
	sourceDatabase = "published file"
	sourceRaw      = "raw archive"
	sourceJournal  = "journal"
	sourceDeliver  = "outcome of deliveries"
)

// sourceOf is where a rule's facts come from.
func sourceOf(r config.Rule) string {
	switch r.Kind {
	case config.AlertFreshness, config.AlertGap:
		return sourceRaw
	case config.AlertFailed, config.AlertKey:
		return sourceJournal
	case config.AlertDelivery:
		return sourceDeliver
	}
	return sourceDatabase
}

// stateName is the name of what is remembered of alerts in the lake, journal/alerts.json.
const stateName = "alerts"

// remembered is that document.
type remembered struct {
	alert.State
	// Published are the findings of the published file. It is asked anew only if it is another file, or the rules or the
	// day are.
	Published struct {
		Key      string          `json:"key"`
		Findings []alert.Finding `json:"findings"`
	} `json:"published"`
}

// Input is what a check can't read off the lake. The zero value is right for a check from the command line. It is the
// caller's again when Check returns; Memory is shared by all of a daemon's checks.
type Input struct {
	// ConfigError is why a changed config was not taken; "" if there is nothing wrong with it.
	ConfigError string
	// Failures are jobs whose last run failed before the journal could say so, because it could not begin.
	Failures []Failure
	// Memory keeps what is remembered of alerts, of a daemon that checks again and again; with it a check goes on without
	// a lake. nil: nothing does, a lake that can't be opened is an error, and while one can't be written to each check
	// tells everything anew.
	Memory *Memory
}

// Failure is a job whose last run could not begin.
type Failure struct {
	Job      string
	Attempts int // failed tries in a row
	Error    string
	At       time.Time
}

// Memory is what a daemon remembers of alerts when the lake can't be read or written to. The zero value is ready. mu
// guards last and unwritten, for the length of a copy; seen has a lock of its own. What last points to is never
// changed, only replaced.
type Memory struct {
	mu        sync.Mutex
	last      *remembered // as the last check left it; nil before the first
	unwritten bool        // the lake doesn't have it so
	seen      seenLake
}

// lakeSeen is what earlier checks saw of the lake; nil without a memory.
func (k *Memory) lakeSeen() *seenLake {
	if k == nil {
		return nil
	}
	return &k.seen
}

// Report is what came of a check.
type Report struct {
	CheckedAt time.Time `json:"checked_at"`
	// Held says that another process was checking, and nothing was done here.
	Held          bool                 `json:"held,omitempty"`
	Firing        []alert.Active       `json:"firing"`
	Notifications []alert.Notification `json:"notifications"` // that this check made
	Deliveries    []alert.Delivery     `json:"deliveries"`    // by receiver
}

// Failed says that something waits that a receiver did not take.
func (r Report) Failed() bool {
	return slices.ContainsFunc(r.Deliveries, func(d alert.Delivery) bool { return d.Error != "" })
}

// deliverWithin bounds the deliveries of one check; what is left waits for the next.
const deliverWithin = 90 * time.Second

// Check finds out what the rules say now, and tells the receivers of what began, goes on or is over. It takes no lock
// that a run needs. The report is there even with an error, which is of the lake or of ctx: what a receiver didn't take
// is in the report, and is tried again by later checks. That the lake can't be written to keeps nothing from being
// told, and in a daemon nor does it that the lake can't be opened: that is told, too.
//
//	lock · read what was told · gather (slow, reads alone) · Step · write · deliver (90 s at the most) · write · unlock
//
// A kill before the first write loses this check, which the next one makes again. One between the two writes leaves the
// messages in the outbox: the next check sends them, those that were taken once more, with the same ids. Written after
// the sending alone, a kill would have every alert fire anew, under ids that no receiver knows.
func Check(ctx context.Context, cfg *config.Config, env jobs.Env, in Input) (report Report, err error) {
	defer schemas.Guard(&err)
	now := env.Now().UTC()
	report = Report{CheckedAt: now, Firing: []alert.Active{}, Notifications: []alert.Notification{},
		Deliveries: []alert.Delivery{}}
	if !cfg.Alerts.Set() {
		return report, nil
	}
	// broken: there is no lake, so no facts, and nothing is read or written. unwritable: there is one, but its lock can't
	// be had, as on a disk that is full or read-only. Another who checks (ErrStateHeld) is no such: what there is to tell,
	// that one tells.
	lake, broken := openAlerts(cfg, env)
	if broken != nil && in.Memory == nil {
		return report, broken
	}
	unwritable := broken
	if lake != nil {
		var unlock func() error
		switch unlock, unwritable = lake.LockState(ctx, stateName); {
		case errors.Is(unwritable, load.ErrStateHeld):
			report.Held = true
			return report, nil
		case unwritable == nil:
			defer func() { _ = unlock() }()
		}
	}
	if stopped := context.Cause(ctx); stopped != nil {
		return report, stopped
	}
	memory, written := readAlerts(lake, env, in.Memory)
	var before []byte // what is on the disk, if that is known
	if written {
		if before, err = json.Marshal(memory); err != nil {
			return report, err
		}
	}

	findings, unknown, err := gather(ctx, cfg, env, lake, broken, now, in, &memory)
	if err != nil {
		return report, err
	}
	memory.State, report.Notifications = alert.Step(now, memory.State,
		alert.Input{Rules: policies(&cfg.Alerts), Findings: findings, Unknown: unknown})
	if report.Notifications == nil {
		report.Notifications = []alert.Notification{}
	}
	dir, err := filepath.Abs(cfg.Lake)
	if err != nil {
		return report, err
	}
	memory.Enqueue(now, dir, report.Notifications)
	for _, m := range memory.Prune(now, cfg.Alerts.Knows) {
		env.Logger.Error("an alert message is given up", "receiver", m.To, "message", m.ID, "of", m.At, "notifications",
			len(m.Notifications), "error", m.Error)
	}
	// What is to be sent is written down before it is sent. If it can't be, it is sent all the same: a full disk is what
	// people must hear of, and a lake that became read-only, or is gone. Without the lock nothing is written.
	errs := []error{unwritable}
	write := func() {
		after, err := json.Marshal(memory)
		if err == nil && unwritable == nil && !slices.Equal(before, after) {
			if err = lake.WriteState(stateName, memory); err == nil {
				before = after
			}
		}
		in.Memory.keep(memory, err != nil || !slices.Equal(before, after))
		errs = append(errs, err)
	}
	write()
	within, cancel := context.WithTimeout(ctx, deliverWithin)
	defer cancel()
	report.Deliveries = memory.Deliver(within, now, receivers(cfg, env, memory.Outbox))
	write()
	for _, d := range report.Deliveries {
		if d.Failed > 0 {
			env.Logger.Error("alerts could not be delivered", "receiver", d.Receiver, "waiting", d.Waiting, "error", d.Error)
		}
	}
	report.Firing = memory.Active()
	return report, errors.Join(append(errs, context.Cause(ctx))...)
}

func openAlerts(cfg *config.Config, env jobs.Env) (*publish.Lake, error) {
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	return lake, jobs.NoLake(err)
}

// readAlerts reads what is remembered; written says that it stands so in the lake, which is nil if it can't be opened.
// If nothing can be read everything is told anew, rather than anything lost.
//
// Memory goes before the lake where the last check could not write it, for the lake's is older. Else the lake's goes
// before memory: a check from the command line may have told something since.
func readAlerts(lake *publish.Lake, env jobs.Env, kept *Memory) (_ remembered, written bool) {
	var last *remembered
	if kept != nil {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		if last = kept.last; last != nil && (kept.unwritten || lake == nil) {
			return *last, false
		}
	}
	if lake == nil {
		return remembered{}, false
	}
	var m remembered
	_, err := lake.ReadState(stateName, &m)
	if err == nil && m.Version > alert.StateVersion {
		err = fmt.Errorf("its version is %d, this program knows %d", m.Version, alert.StateVersion)
	}
	switch {
	case err == nil:
		return m, true
	case last != nil:
		env.Logger.Warn("what was told of alerts can't be read; it is remembered, and written anew", "error", err)
		return *last, false
	}
	env.Logger.Warn("what was told of alerts can't be read; all that is found now is told anew", "error", err)
	return remembered{}, false
}

// keep remembers what a check left.
func (k *Memory) keep(m remembered, unwritten bool) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.unwritten = &m, unwritten
}

// Active lists the alerts that fire, as the last check left them. It needs no lock: a state is replaced by a rename, so
// that the old or the new one is read, whole.
func Active(cfg *config.Config) ([]alert.Active, error) {
	if !cfg.Alerts.Set() {
		return []alert.Active{}, nil
	}
	lake, err := publish.Open(cfg.Lake, publish.Options{})
	if errors.Is(err, load.ErrNoLake) {
		return []alert.Active{}, nil
	}
	if err != nil {
		return nil, err
	}
	var m remembered
	if _, err := lake.ReadState(stateName, &m); err != nil {
		return nil, err
	}
	return m.Active(), nil
}

// TryReceivers sends a test message to each receiver, or to the one that is named.
func TryReceivers(ctx context.Context, cfg *config.Config, env jobs.Env, to string) ([]alert.Delivery, error) {
	const hint = "docs/alerts.md shows how: alerts: receivers: [{name: log, log: true}]"
	if len(cfg.Alerts.Receivers) == 0 {
		return nil, config.Usage(hint, "the config has no alerts.receivers")
	}
	if to != "" && !cfg.Alerts.Knows(to) {
		return nil, config.Usage("", "no receiver %q in the config: it has %s",
			to, strings.Join(policies(&cfg.Alerts)[ruleConfig].To, ", "))
	}
	dir, err := filepath.Abs(cfg.Lake)
	if err != nil {
		return nil, err
	}
	var s alert.State
	for _, r := range cfg.Alerts.Receivers {
		if to == "" || r.Name == to {
			s.Outbox = append(s.Outbox, alert.TestMessage(env.Now(), dir, r.Name))
		}
	}
	return s.Deliver(ctx, env.Now(), receivers(cfg, env, s.Outbox)), context.Cause(ctx)
}

// receivers makes those that messages wait for.
func receivers(c *config.Config, env jobs.Env, outbox []alert.Message) []alert.Receiver {
	var out []alert.Receiver
	for _, r := range c.Alerts.Receivers {
		if !slices.ContainsFunc(outbox, func(m alert.Message) bool { return m.To == r.Name }) {
			continue
		}
		made, err := receiver(c, env, r)
		if err != nil {
			made = unready{r.Name, err}
		}
		out = append(out, made)
	}
	return out
}

func receiver(c *config.Config, env jobs.Env, r config.Receiver) (alert.Receiver, error) {
	switch {
	case r.Log:
		return &alert.Log{Receiver: r.Name, Logger: env.Logger}, nil
	case len(r.Command) > 0:
		return &alert.Command{Receiver: r.Name, Argv: r.Command, Timeout: time.Duration(r.Timeout), Hide: c.SecretVariables(),
			Logger: env.Logger}, nil
	}
	url, err := config.Secret("its webhook", "URL", r.WebhookEnv, r.WebhookFile, env.Getenv)
	if err != nil {
		return nil, err
	}
	if err := alert.CheckURL(url); err != nil {
		return nil, fmt.Errorf("%s: %w", r.WebhookEnv+r.WebhookFile, err)
	}
	key := ""
	if r.HMACEnv != "" || r.HMACFile != "" {
		if key, err = config.Secret("its webhook", "HMAC secret", r.HMACEnv, r.HMACFile, env.Getenv); err != nil {
			return nil, err
		}
	}
	return &alert.Webhook{Receiver: r.Name, URL: url, Format: r.Format, Secret: key, Timeout: time.Duration(r.Timeout),
		UserAgent: "usagelake/" + env.Version, Transport: env.Transport, Now: env.Now}, nil
}

// unready is a receiver whose secret can't be had. Its messages wait, as those of one that doesn't answer, until the
// secret is there; it is read anew at each check.
type unready struct {
	name string
	err  error
}

func (u unready) Name() string { return u.name }

func (u unready) Send(context.Context, alert.Message) error {
	return &alert.SendError{Receiver: u.name, Detail: u.err.Error()}
}

// policies are the rules as the engine has to know them.
func policies(c *config.Alerts) map[string]alert.Rule {
	var all []string
	for _, r := range c.Receivers {
		all = append(all, r.Name)
	}
	builtIn := alert.Rule{Repeat: time.Duration(c.Repeat), To: all}
	out := map[string]alert.Rule{ruleConfig: builtIn, ruleFacts: builtIn, RuleIntruded: builtIn}
	for _, r := range c.Rules {
		p := builtIn
		if r.Repeat != nil {
			p.Repeat = time.Duration(*r.Repeat)
		}
		if r.To != nil {
			p.To = r.To
		}
		out[r.Name] = p
	}
	return out
}
