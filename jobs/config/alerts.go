package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/alert"
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
	AlertDelivery   = "delivery"   // a delivery failed, or is too long ago
	AlertRate       = "rate"       // something is charged that there is no rate of
)

// alertKind is what a kind of rule takes.
type alertKind struct {
	name string
	keys []string // beside those that every rule has
}

var alertKinds = []alertKind{
	{AlertBalance, []string{"below", "accounts"}},
	{AlertRunway, []string{"days", "accounts"}},
	{AlertBudget, []string{"budgets", "thresholds"}},
	{AlertForecast, []string{"budgets"}},
	{AlertFreshness, []string{"older_than", "accounts"}},
	{AlertFailed, []string{"after"}},
	{AlertQuality, []string{"within", "accounts"}},
	{AlertQuarantine, []string{"within", "accounts"}},
	{AlertGap, []string{"within", "accounts"}},
	{AlertAnomaly, []string{"within", "accounts", "scopes"}},
	{AlertKey, []string{"within", "accounts"}},
	{AlertDelivery, []string{"older_than"}},
	{AlertRate, nil},
}

// Defaults of Alerts and its rules.
const (
	DefaultRepeat    = 24 * time.Hour
	DefaultRunway    = 14
	DefaultOlderThan = 26 * time.Hour
	DefaultRecent    = 3 * 24 * time.Hour
	DefaultExpiry    = 14 * 24 * time.Hour
)

// Alerts says what people are told of, and how.
type Alerts struct {
	Repeat    Duration   `yaml:"repeat"` // an alert that goes on is told again so long after; 0: never
	Receivers []Receiver `yaml:"receivers"`
	Rules     []Rule     `yaml:"rules"`
}

// Receiver is where alerts go: one of a webhook, a command and the log.
type Receiver struct {
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

// Rule says what is worth telling.
type Rule struct {
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
func (c *Alerts) Set() bool { return len(c.Receivers) > 0 || len(c.Rules) > 0 }

// beside makes the relative paths of the section relative to the config.
func (c *Alerts) beside(beside func(string) string) {
	for i := range c.Receivers {
		r := &c.Receivers[i]
		r.WebhookFile, r.HMACFile = beside(r.WebhookFile), beside(r.HMACFile)
		commandBeside(r.Command, beside)
	}
}

// Validate lists every mistake of the section.
func (c *Alerts) Validate(accounts []string, budgets []Budget) []error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, at(path, format, args...)) }
	receivers := map[string]bool{}
	for i, r := range c.Receivers {
		path := fmt.Sprintf("alerts.receivers[%d]", i)
		for _, err := range r.Validate() {
			bad(path, "%s (%s): %w", path, r.Name, err)
		}
		if receivers[r.Name] {
			bad(path, "%s (%s): name: another receiver has it too", path, r.Name)
		}
		receivers[r.Name] = true
	}
	if len(c.Rules) > 0 && len(c.Receivers) == 0 {
		bad("alerts.rules", "alerts.rules: there is nobody to tell: "+
			"add one to alerts.receivers, such as {name: log, log: true}")
	}
	var budgetNames []string
	for _, b := range budgets {
		budgetNames = append(budgetNames, b.Name)
	}
	for i, r := range c.Rules {
		path := fmt.Sprintf("alerts.rules[%d]", i)
		for _, err := range r.Validate(slices.Sorted(maps.Keys(receivers)), accounts, budgetNames) {
			bad(path, "%s (%s): %w", path, r.Name, err)
		}
		if slices.ContainsFunc(c.Rules[:i], func(o Rule) bool { return o.Name == r.Name }) {
			bad(path, "%s (%s): name: another rule has it too", path, r.Name)
		}
	}
	return errs
}

// Validate lists every mistake of a receiver.
func (r Receiver) Validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, named(r.Name)...)
	webhook := r.WebhookEnv != "" || r.WebhookFile != ""
	ways := 0
	for _, given := range []bool{webhook, len(r.Command) > 0, r.Log} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		bad("give one of webhook_env (a variable that holds the URL), webhook_file (a file that only its owner can read), " +
			"command and log: true")
	}
	errs = append(errs, webhookKeys(r.WebhookEnv, r.WebhookFile, r.HMACEnv, r.HMACFile)...)
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

// Validate lists every mistake of a rule; the receivers, accounts and budgets are those that it may name.
func (r Rule) Validate(receivers, accounts, budgets []string) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	among := func(key string, given, known []string, what string) {
		for _, g := range given {
			if !slices.Contains(known, g) {
				bad("%s: no %s %q: there is %s", key, what, g, cmp.Or(strings.Join(known, ", "), "none"))
			}
		}
	}
	errs = append(errs, named(r.Name)...)
	if r.Severity != "" && r.Severity != alert.Warning && r.Severity != alert.Critical {
		bad("severity: %q is neither %s nor %s", r.Severity, alert.Warning, alert.Critical)
	}
	// nil is a key that was left out, and means all; [] is a list that somebody wrote and forgot to fill.
	for _, list := range []struct {
		key   string
		given []string
		all   string
	}{{"to", r.To, "every receiver"}, {"accounts", r.Accounts, "every account"}, {"budgets", r.Budgets, "every budget"},
		{"thresholds", r.Thresholds, "the budget's own"}, {"scopes", r.Scopes, "every scope"}} {
		if list.given != nil && len(list.given) == 0 {
			bad("%s: the list is empty, so that nobody would ever be told: name one, or leave the key out for %s", list.key,
				list.all)
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
	// A key that a kind of rule doesn't take is refused, and not passed over: who writes it believes that it does
	// something.
	given := map[string]bool{"accounts": r.Accounts != nil, "below": r.Below != "", "days": r.Days != 0,
		"budgets": r.Budgets != nil, "thresholds": r.Thresholds != nil,
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
	if _, err := ParseThresholds(r.Thresholds); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// Knows says whether the config has a receiver of that name.
func (c *Alerts) Knows(receiver string) bool {
	return slices.ContainsFunc(c.Receivers, func(r Receiver) bool { return r.Name == receiver })
}
