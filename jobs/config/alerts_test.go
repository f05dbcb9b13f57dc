package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryMistakeInAlertsIsNamed(t *testing.T) {
	for _, c := range []struct{ receivers, rules, want string }{
		{"{name: A, log: true}", "", "alerts.receivers[0] (A): name: "},
		{"{name: a}", "", "give one of webhook_env"},
		{"{name: a, log: true, command: [x]}", "", "give one of webhook_env"},
		{"{name: a, log: true}, {name: a, log: true}", "", "another receiver has it too"},
		{"{name: a, webhook_env: U, webhook_file: u}", "", "webhook_env or webhook_file, not both"},
		{"{name: a, webhook_env: U, hmac_env: H, hmac_file: h}", "", "hmac_env or hmac_file, not both"},
		{"{name: a, webhook_env: 'https://hooks.example/secret'}", "", "webhook_env holds a URL"},
		{"{name: a, log: true, format: slack}", "", "for webhooks alone"},
		{"{name: a, webhook_env: U, format: xml}", "", `format: "xml" is neither json nor slack`},
		{"{name: a, command: ['']}", "", "the program's name is empty"},
		{"{name: a, command: []}", "", "the program's name is empty"},
		{"{name: a, log: true, command: []}", "", "the program's name is empty"},
		{"{name: a, log: true, timeout: 2m}", "", "timeout: 2m0s is more than a minute"},
		{"{name: a, log: true, url: x}", "", "unknown key alerts.receivers[0].url"},
		{"", "{name: r, kind: gap}", "there is nobody to tell"},
		{"{name: a, log: true}", "{name: '', kind: gap}", `alerts.rules[0] (): name: "" is not a name`},
		{"{name: a, log: true}", "{name: r, kind: gap}, {name: r, kind: gap}", "another rule has it too"},
		{"{name: a, log: true}", "{name: r, kind: gaps}", `kind: "gaps" is not one of balance, runway, budget,`},
		{"{name: a, log: true}", "{name: r, kind: gap, to: [b]}", `to: no receiver "b": there is a`},
		{"{name: a, log: true}", "{name: r, kind: gap, to: []}", "to: the list is empty"},
		{"{name: a, log: true}", "{name: r, kind: gap, accounts: []}", "accounts: the list is empty"},
		{"{name: a, log: true}", "{name: r, kind: budget, budgets: []}", "budgets: the list is empty"},
		{"{name: a, log: true}", "{name: r, kind: budget, thresholds: []}", "thresholds: the list is empty"},
		{"{name: a, log: true}", "{name: r, kind: anomaly, scopes: []}", "scopes: the list is empty"},
		{"{name: a, log: true}", "{name: r, kind: gap, severity: bad}", `severity: "bad" is neither`},
		{"{name: a, log: true}", "{name: r, kind: gap, accounts: [bee]}", `accounts: no account "bee": there is acme`},
		{"{name: a, log: true}", "{name: r, kind: gap, below: '3'}",
			"below: a rule of kind gap doesn't take it, but within, accounts"},
		{"{name: a, log: true}", "{name: r, kind: balance}", `below: "" is not an amount`},
		{"{name: a, log: true}", "{name: r, kind: balance, below: 1e3}", "is not an amount"},
		{"{name: a, log: true}", "{name: r, kind: runway, days: -1}", "days: -1 is not between"},
		{"{name: a, log: true}", "{name: r, kind: failed, after: 1001}", "after: 1001 is not between"},
		{"{name: a, log: true}", "{name: r, kind: budget}", "needs budgets, and the config has none"},
		{"{name: a, log: true}", "{name: r, kind: budget, budgets: [x]}", `budgets: no budget "x": there is none`},
		{"{name: a, log: true}", "{name: r, kind: budget, thresholds: ['80%']}", `thresholds: "80%" is not a share`},
		{"{name: a, log: true}", "{name: r, kind: anomaly, scopes: [user]}", `scopes: no scope "user"`},
		{"{name: a, log: true}", "{name: r, kind: freshness, older_than: soon}", "is not a duration"},
	} {
		_, err := Load(Overrides{ConfigFile: configFile(t,
			fmt.Sprintf("accounts: [{name: acme, key_env: K}]\nalerts:\n  receivers: [%s]\n  rules: [%s]\n", c.receivers,
				c.rules))}, noEnv)
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s | %s: %v, want %q", c.receivers, c.rules, err, c.want)
		}
	}
	if _, err := Load(Overrides{ConfigFile: configFile(t, "accounts: [{name: acme, key_env: K, key_expires: soon}]\n")},
		noEnv); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "key_expires") {
		t.Errorf("%v", err)
	}
}

func TestPathsAndDefaultsOfAlerts(t *testing.T) {
	path := configFile(t,
		"accounts: [{name: acme, key_env: K}]\nalerts:\n  receivers: [{name: a, webhook_file: u, hmac_file: h}, {name: b, "+
			"command: [./notify, ./x]}, {name: c, command: [mail]}]\n  rules: [{name: r, kind: gap, repeat: 0s}]\n")
	cfg, err := Load(Overrides{ConfigFile: path}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	a, dir := cfg.Alerts, filepath.Dir(path)
	if a.Repeat != Duration(DefaultRepeat) || *a.Rules[0].Repeat != 0 ||
		a.Receivers[0].WebhookFile != filepath.Join(dir, "u") || a.Receivers[0].HMACFile != filepath.Join(dir, "h") ||
		a.Receivers[1].Command[0] != filepath.Join(dir, "notify") || a.Receivers[1].Command[1] != "./x" ||
		a.Receivers[2].Command[0] != "mail" {
		t.Errorf("%+v", a)
	}
	t.Chdir(dir)
	if cfg, err = Load(Overrides{}, noEnv); err != nil || cfg.Alerts.Receivers[1].Command[0] != "./notify" {
		t.Errorf("%+v, %v", cfg, err)
	}
}
