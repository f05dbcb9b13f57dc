package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// Kinds of alert rules.
const (
	AlertBalance    = "balance"    // a balance is below an amount
	AlertRunway     = "runway"     // a balance lasts for fewer days
	AlertBudget     = "budget"     // a budget's threshold is reached
	AlertForecast   = "forecast"   // a budget will not last for its period
	AlertFreshness  = "freshness"  // the last exported instant is too long ago
	AlertFailed     = "failed"     // a job's last runs failed
	AlertQuality    = "quality"    // the quality checks found an error
	AlertQuarantine = "quarantine" // records could not be normalised
	AlertGap        = "gap"        // a stretch within the coverage was never fetched
	AlertAnomaly    = "anomaly"    // a day leaves its history, or a token is new
	AlertKey        = "key"        // a key expires soon, or was refused
)

// Rules that every set-up with receivers has.
const (
	ruleConfig = "(config)" // the config was changed and is wrong
	ruleFacts  = "(facts)"  // what rules go by can't be read
	// RuleIntruded finds what another program wrote into the published file, or left beside it.
	RuleIntruded = "(intruded)"
)

// alertKind is what a kind of rule takes and goes by.
type alertKind struct {
	name   string
	source string
	keys   []string // beside those that every rule has
}

// Where facts come from.
const (
	sourceDatabase = "published file"
	sourceRaw      = "raw archive"
	sourceJournal  = "journal"
)

var alertKinds = []alertKind{
	{AlertBalance, sourceDatabase, []string{"below", "accounts"}},
	{AlertRunway, sourceDatabase, []string{"days", "accounts"}},
	{AlertBudget, sourceDatabase, []string{"budgets", "thresholds"}},
	{AlertForecast, sourceDatabase, []string{"budgets"}},
	{AlertFreshness, sourceRaw, []string{"older_than", "accounts"}},
	{AlertFailed, sourceJournal, []string{"after"}},
	{AlertQuality, sourceDatabase, []string{"within", "accounts"}},
	{AlertQuarantine, sourceDatabase, []string{"within", "accounts"}},
	{AlertGap, sourceRaw, []string{"within", "accounts"}},
	{AlertAnomaly, sourceDatabase, []string{"within", "accounts", "scopes"}},
	{AlertKey, sourceJournal, []string{"within", "accounts"}},
}

// Defaults of AlertsConfig and its rules.
const (
	DefaultRepeat    = 24 * time.Hour
	defaultRunway    = 14
	defaultOlderThan = 26 * time.Hour
	defaultRecent    = 3 * 24 * time.Hour
	defaultExpiry    = 14 * 24 * time.Hour
)

// AlertsConfig says what people are told of, and how.
type AlertsConfig struct {
	Repeat    Duration         `yaml:"repeat"` // an alert that goes on is told again so long after; 0: never
	Receivers []ReceiverConfig `yaml:"receivers"`
	Rules     []AlertRule      `yaml:"rules"`
}

// ReceiverConfig is where alerts go: one of a webhook, a command and the log.
type ReceiverConfig struct {
	Name        string   `yaml:"name"`
	WebhookEnv  string   `yaml:"webhook_env"`  // the variable that holds the URL
	WebhookFile string   `yaml:"webhook_file"` // or the file, readable by its owner alone
	Format      string   `yaml:"format"`       // of a webhook: json or slack
	HMACEnv     string   `yaml:"hmac_env"`     // the variable that holds the secret that signs the body
	HMACFile    string   `yaml:"hmac_file"`    // or the file
	Command     []string `yaml:"command"`      // program and arguments; it gets the JSON on stdin
	Log         bool     `yaml:"log"`
	Timeout     Duration `yaml:"timeout"` // of an attempt; 0: alert.DefaultTimeout
}

// AlertRule says what is worth telling.
type AlertRule struct {
	Name     string    `yaml:"name"`
	Kind     string    `yaml:"kind"`
	Severity string    `yaml:"severity"` // warning or critical; "": warning
	To       []string  `yaml:"to"`       // receivers; nil: all
	Repeat   *Duration `yaml:"repeat"`   // nil: the config's

	// Which of them a rule has depends on its kind.
	Accounts   []string `yaml:"accounts"` // nil: all of the config
	Below      string   `yaml:"below"`    // exact decimal text, in the account's currency
	Days       int      `yaml:"days"`
	Budgets    []string `yaml:"budgets"`    // nil: all of the config
	Thresholds []string `yaml:"thresholds"` // shares of the amount; nil: the budget's own
	OlderThan  Duration `yaml:"older_than"`
	After      int      `yaml:"after"`  // failed runs in a row
	Within     Duration `yaml:"within"` // how far back, or before a key expires
	Scopes     []string `yaml:"scopes"` // of anomalies; nil: all
}

var anomalyScopes = []string{"account", "cost_center", "model", "token"}

// Set says whether there is anything to check or to send.
func (c *AlertsConfig) Set() bool { return len(c.Receivers) > 0 || len(c.Rules) > 0 }

// beside makes the relative paths of the section relative to the config.
func (c *AlertsConfig) beside(beside func(string) string) {
	for i := range c.Receivers {
		r := &c.Receivers[i]
		r.WebhookFile, r.HMACFile = beside(r.WebhookFile), beside(r.HMACFile)
		if len(r.Command) > 0 && strings.ContainsRune(r.Command[0], filepath.Separator) { // else it is looked for in PATH
			r.Command[0] = beside(r.Command[0])
			if !filepath.IsAbs(r.Command[0]) {
				r.Command[0] = "." + string(filepath.Separator) + r.Command[0]
			}
		}
	}
}

// alertName is what a rule and a receiver may be named.
var alertName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// validate lists every mistake of the section.
func (c *AlertsConfig) validate(accounts []string, budgets []BudgetConfig) []error {
	var errs []error
	receivers := map[string]bool{}
	for i, r := range c.Receivers {
		where := fmt.Sprintf("alerts.receivers[%d] (%s)", i, r.Name)
		for _, err := range r.validate() {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
		if receivers[r.Name] {
			errs = append(errs, fmt.Errorf("%s: name: another receiver has it too", where))
		}
		receivers[r.Name] = true
	}
	if len(c.Rules) > 0 && len(c.Receivers) == 0 {
		errs = append(errs, errors.New("alerts.rules: there is nobody to tell: add one to alerts.receivers, such as {name: log, log: true}"))
	}
	var budgetNames []string
	for _, b := range budgets {
		budgetNames = append(budgetNames, b.Name)
	}
	for i, r := range c.Rules {
		where := fmt.Sprintf("alerts.rules[%d] (%s)", i, r.Name)
		for _, err := range r.validate(slices.Sorted(maps.Keys(receivers)), accounts, budgetNames) {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
		if slices.ContainsFunc(c.Rules[:i], func(o AlertRule) bool { return o.Name == r.Name }) {
			errs = append(errs, fmt.Errorf("%s: name: another rule has it too", where))
		}
	}
	return errs
}

func (r ReceiverConfig) validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !alertName.MatchString(r.Name) {
		bad("name: %q is not a name: 1 to 64 of a-z, 0-9, _ and -, starting with a letter or digit", r.Name)
	}
	webhook := r.WebhookEnv != "" || r.WebhookFile != ""
	ways := 0
	for _, given := range []bool{webhook, len(r.Command) > 0, r.Log} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		bad("give one of webhook_env (a variable that holds the URL), webhook_file (a file that only its owner can read), command and log: true")
	}
	if r.WebhookEnv != "" && r.WebhookFile != "" {
		bad("give webhook_env or webhook_file, not both")
	}
	if r.HMACEnv != "" && r.HMACFile != "" {
		bad("give hmac_env or hmac_file, not both")
	}
	if strings.Contains(r.WebhookEnv, ":") {
		bad("webhook_env holds a URL: write the name of a variable there; who knows a webhook's URL can send to it")
	}
	if !webhook && (r.Format != "" || r.HMACEnv != "" || r.HMACFile != "") {
		bad("format, hmac_env and hmac_file are for webhooks alone")
	}
	if r.Format != "" && r.Format != alert.FormatJSON && r.Format != alert.FormatSlack {
		bad("format: %q is neither %s nor %s", r.Format, alert.FormatJSON, alert.FormatSlack)
	}
	if r.Command != nil && (len(r.Command) == 0 || r.Command[0] == "") {
		bad("command: the program's name is empty: write [/usr/local/bin/notify], or leave the key out")
	}
	if r.Timeout > Duration(time.Minute) {
		bad("timeout: %s is more than a minute", time.Duration(r.Timeout))
	}
	return errs
}

func (r AlertRule) validate(receivers, accounts, budgets []string) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	among := func(key string, given, known []string, what string) {
		for _, g := range given {
			if !slices.Contains(known, g) {
				bad("%s: no %s %q: there is %s", key, what, g, orNone(known))
			}
		}
	}
	if !alertName.MatchString(r.Name) {
		bad("name: %q is not a name: 1 to 64 of a-z, 0-9, _ and -, starting with a letter or digit", r.Name)
	}
	if r.Severity != "" && r.Severity != alert.Warning && r.Severity != alert.Critical {
		bad("severity: %q is neither %s nor %s", r.Severity, alert.Warning, alert.Critical)
	}
	for _, list := range []struct {
		key   string
		given []string
		all   string
	}{{"to", r.To, "every receiver"}, {"accounts", r.Accounts, "every account"}, {"budgets", r.Budgets, "every budget"},
		{"thresholds", r.Thresholds, "the budget's own"}, {"scopes", r.Scopes, "every scope"}} {
		if list.given != nil && len(list.given) == 0 {
			bad("%s: the list is empty, so that nobody would ever be told: name one, or leave the key out for %s", list.key, list.all)
		}
	}
	among("to", r.To, receivers, "receiver")
	i := slices.IndexFunc(alertKinds, func(k alertKind) bool { return k.name == r.Kind })
	if i < 0 {
		var names []string
		for _, k := range alertKinds {
			names = append(names, k.name)
		}
		bad("kind: %q is not one of %s", r.Kind, strings.Join(names, ", "))
		return errs
	}
	given := map[string]bool{"accounts": r.Accounts != nil, "below": r.Below != "", "days": r.Days != 0, "budgets": r.Budgets != nil, "thresholds": r.Thresholds != nil,
		"older_than": r.OlderThan != 0, "after": r.After != 0, "within": r.Within != 0, "scopes": r.Scopes != nil}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if given[key] && !slices.Contains(alertKinds[i].keys, key) {
			bad("%s: a rule of kind %s doesn't take it, but %s", key, r.Kind, strings.Join(alertKinds[i].keys, ", "))
		}
	}
	among("accounts", r.Accounts, accounts, "account")
	among("budgets", r.Budgets, budgets, "budget")
	among("scopes", r.Scopes, anomalyScopes, "scope")
	if r.Kind == AlertBalance {
		if _, err := schemas.ParseMoney(r.Below); err != nil {
			bad("below: %w", err)
		}
	}
	if (r.Kind == AlertBudget || r.Kind == AlertForecast) && len(budgets) == 0 {
		bad("kind: %s needs budgets, and the config has none", r.Kind)
	}
	if r.Days < 0 || r.Days > 3650 {
		bad("days: %d is not between 1 and 3650", r.Days)
	}
	if r.After < 0 || r.After > 1000 {
		bad("after: %d is not between 1 and 1000", r.After)
	}
	if _, err := parseThresholds(r.Thresholds); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// parseThresholds reads shares of a budget's amount and sorts them.
func parseThresholds(texts []string) ([]schemas.Decimal, error) {
	var out []schemas.Decimal
	var errs []error
	for _, t := range texts {
		v, err := schemas.ParseDecimal([]byte(t))
		if err != nil || v <= 0 || v > 10_000_000_000_000 {
			errs = append(errs, fmt.Errorf("thresholds: %q is not a share like 0.8 (of the amount; 1 is all of it)", t))
			continue
		}
		out = append(out, v)
	}
	slices.Sort(out)
	return out, errors.Join(errs...)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// policies are the rules as the engine has to know them.
func (c *AlertsConfig) policies() map[string]alert.Rule {
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

// alertsState is the name of what is remembered of alerts in the lake, journal/alerts.json.
const alertsState = "alerts"

// alertMemory is that document.
type alertMemory struct {
	alert.State
	// Published are the findings of the published file. It is asked anew only if it is another file, or the rules or the
	// day are.
	Published struct {
		Key      string          `json:"key"`
		Findings []alert.Finding `json:"findings"`
	} `json:"published"`
}

// AlertInput is what a check can't read off the lake. The zero value is right for a check from the command line.
type AlertInput struct {
	// ConfigError is why a changed config was not taken; "" if there is nothing wrong with it.
	ConfigError string
	// Failures are jobs whose last run failed before the journal could say so, because it could not begin.
	Failures []JobFailure
	// Memory keeps what is remembered of alerts, of a daemon that checks again and again; with it a check goes on without a
	// lake. nil: nothing does, a lake that can't be opened is an error, and while one can't be written to each check tells
	// everything anew.
	Memory *AlertMemory
}

// JobFailure is a job whose last run could not begin.
type JobFailure struct {
	Job      string
	Attempts int // failed tries in a row
	Error    string
	At       time.Time
}

// AlertMemory is what a daemon remembers of alerts when the lake can't be read or written to. The zero value is ready.
type AlertMemory struct {
	mu        sync.Mutex
	last      *alertMemory // as the last check left it; nil before the first
	unwritten bool         // the lake doesn't have it so
	seen      seenLake
}

// lakeSeen is what earlier checks saw of the lake; nil without a memory.
func (k *AlertMemory) lakeSeen() *seenLake {
	if k == nil {
		return nil
	}
	return &k.seen
}

// AlertReport is what came of a check.
type AlertReport struct {
	CheckedAt time.Time `json:"checked_at"`
	// Held says that another process was checking, and nothing was done here.
	Held          bool                 `json:"held,omitempty"`
	Firing        []alert.Active       `json:"firing"`
	Notifications []alert.Notification `json:"notifications"` // that this check made
	Deliveries    []alert.Delivery     `json:"deliveries"`    // by receiver
}

// Failed says that something waits that a receiver did not take.
func (r AlertReport) Failed() bool {
	return slices.ContainsFunc(r.Deliveries, func(d alert.Delivery) bool { return d.Error != "" })
}

// deliverWithin bounds the deliveries of one check; what is left waits for the next.
const deliverWithin = 90 * time.Second

// CheckAlerts finds out what the rules say now, and tells the receivers of what began, goes on or is over. It takes no
// lock that a run needs. The report is there even with an error, which is of the lake or of ctx: what a receiver didn't
// take is in the report, and is tried again by later checks. That the lake can't be written to keeps nothing from being
// told, and in a daemon nor does it that the lake can't be opened: that is told, too.
func CheckAlerts(ctx context.Context, cfg *Config, env Env, in AlertInput) (report AlertReport, err error) {
	defer schemas.Guard(&err)
	now := env.Now().UTC()
	report = AlertReport{CheckedAt: now, Firing: []alert.Active{}, Notifications: []alert.Notification{}, Deliveries: []alert.Delivery{}}
	if !cfg.Alerts.Set() {
		return report, nil
	}
	lake, broken := openAlerts(cfg, env)
	if broken != nil && in.Memory == nil {
		return report, broken
	}
	unwritable := broken
	if lake != nil {
		var unlock func() error
		switch unlock, unwritable = lake.LockState(ctx, alertsState); {
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
	memory.State, report.Notifications = alert.Step(now, memory.State, alert.Input{Rules: cfg.Alerts.policies(), Findings: findings, Unknown: unknown})
	if report.Notifications == nil {
		report.Notifications = []alert.Notification{}
	}
	dir, err := filepath.Abs(cfg.Lake)
	if err != nil {
		return report, err
	}
	memory.Enqueue(now, dir, report.Notifications)
	for _, m := range memory.Prune(now, cfg.Alerts.knows) {
		env.Logger.Error("an alert message is given up", "receiver", m.To, "message", m.ID, "of", m.At, "notifications", len(m.Notifications), "error", m.Error)
	}
	// What is to be sent is written down before it is sent. If it can't be, it is sent all the same: a full disk is what
	// people must hear of, and a lake that became read-only, or is gone. Without the lock nothing is written.
	errs := []error{unwritable}
	write := func() {
		after, err := json.Marshal(memory)
		if err == nil && unwritable == nil && !slices.Equal(before, after) {
			if err = lake.WriteState(alertsState, memory); err == nil {
				before = after
			}
		}
		in.Memory.keep(memory, err != nil || !slices.Equal(before, after))
		errs = append(errs, err)
	}
	write()
	within, cancel := context.WithTimeout(ctx, deliverWithin)
	defer cancel()
	report.Deliveries = memory.Deliver(within, now, cfg.receivers(env, memory.Outbox))
	write()
	for _, d := range report.Deliveries {
		if d.Failed > 0 {
			env.Logger.Error("alerts could not be delivered", "receiver", d.Receiver, "waiting", d.Waiting, "error", d.Error)
		}
	}
	report.Firing = memory.Active()
	return report, errors.Join(append(errs, context.Cause(ctx))...)
}

func openAlerts(cfg *Config, env Env) (*load.Lake, error) {
	lake, err := load.Open(cfg.Lake, cfg.LakeOptions(env))
	return lake, NoLake(err)
}

// readAlerts reads what is remembered; written says that it stands so in the lake, which is nil if it can't be opened. If
// nothing can be read everything is told anew, rather than anything lost.
func readAlerts(lake *load.Lake, env Env, kept *AlertMemory) (_ alertMemory, written bool) {
	var last *alertMemory
	if kept != nil {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		if last = kept.last; last != nil && (kept.unwritten || lake == nil) {
			return *last, false
		}
	}
	if lake == nil {
		return alertMemory{}, false
	}
	var m alertMemory
	_, err := lake.ReadState(alertsState, &m)
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
	return alertMemory{}, false
}

// keep remembers what a check left.
func (k *AlertMemory) keep(m alertMemory, unwritten bool) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.unwritten = &m, unwritten
}

// ActiveAlerts lists the alerts that fire, as the last check left them. It needs no lock.
func ActiveAlerts(cfg *Config) ([]alert.Active, error) {
	if !cfg.Alerts.Set() {
		return []alert.Active{}, nil
	}
	lake, err := load.Open(cfg.Lake, load.Options{})
	if errors.Is(err, load.ErrNoLake) {
		return []alert.Active{}, nil
	}
	if err != nil {
		return nil, err
	}
	var m alertMemory
	if _, err := lake.ReadState(alertsState, &m); err != nil {
		return nil, err
	}
	return m.Active(), nil
}

// TryReceivers sends a test message to each receiver, or to the one that is named.
func TryReceivers(ctx context.Context, cfg *Config, env Env, to string) ([]alert.Delivery, error) {
	const hint = "docs/alerts.md shows how: alerts: receivers: [{name: log, log: true}]"
	if len(cfg.Alerts.Receivers) == 0 {
		return nil, Usage(hint, "the config has no alerts.receivers")
	}
	if to != "" && !cfg.Alerts.knows(to) {
		return nil, Usage("", "no receiver %q in the config: it has %s", to, strings.Join(cfg.Alerts.policies()[ruleConfig].To, ", "))
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
	return s.Deliver(ctx, env.Now(), cfg.receivers(env, s.Outbox)), context.Cause(ctx)
}

func (c *AlertsConfig) knows(receiver string) bool {
	return slices.ContainsFunc(c.Receivers, func(r ReceiverConfig) bool { return r.Name == receiver })
}

// receivers makes those that messages wait for.
func (c *Config) receivers(env Env, outbox []alert.Message) []alert.Receiver {
	var out []alert.Receiver
	for _, r := range c.Alerts.Receivers {
		if !slices.ContainsFunc(outbox, func(m alert.Message) bool { return m.To == r.Name }) {
			continue
		}
		made, err := c.receiver(env, r)
		if err != nil {
			made = unready{r.Name, err}
		}
		out = append(out, made)
	}
	return out
}

func (c *Config) receiver(env Env, r ReceiverConfig) (alert.Receiver, error) {
	switch {
	case r.Log:
		return &alert.Log{Receiver: r.Name, Logger: env.Logger}, nil
	case len(r.Command) > 0:
		return &alert.Command{Receiver: r.Name, Argv: r.Command, Timeout: time.Duration(r.Timeout), Hide: c.secretVariables(), Logger: env.Logger}, nil
	}
	url, err := secret("its webhook", "URL", r.WebhookEnv, r.WebhookFile, env.Getenv)
	if err != nil {
		return nil, err
	}
	if err := alert.CheckURL(url); err != nil {
		return nil, fmt.Errorf("%s: %w", r.WebhookEnv+r.WebhookFile, err)
	}
	key := ""
	if r.HMACEnv != "" || r.HMACFile != "" {
		if key, err = secret("its webhook", "HMAC secret", r.HMACEnv, r.HMACFile, env.Getenv); err != nil {
			return nil, err
		}
	}
	return &alert.Webhook{Receiver: r.Name, URL: url, Format: r.Format, Secret: key, Timeout: time.Duration(r.Timeout),
		UserAgent: "usagelake/" + env.Version, Transport: env.Transport, Now: env.Now}, nil
}

// secretVariables are the names of the environment's variables that hold secrets.
func (c *Config) secretVariables() []string {
	names := []string{EnvKey, c.Schedule.TokenEnv}
	for _, a := range c.Accounts {
		names = append(names, a.KeyEnv)
	}
	for _, r := range c.Alerts.Receivers {
		names = append(names, r.WebhookEnv, r.HMACEnv)
	}
	return names
}

// unready is a receiver whose secret can't be had.
type unready struct {
	name string
	err  error
}

func (u unready) Name() string { return u.name }

func (u unready) Send(context.Context, alert.Message) error {
	return &alert.SendError{Receiver: u.name, Detail: u.err.Error()}
}
