package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/usagelake/usagelake/extract/portal"
)

// Every flag of every report changes what comes, or is refused: none is taken and does nothing. The same goes for the
// flags of the set-up and every command.
func TestEveryFlagHasAnEffectOrIsRefused(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	p, err := portal.New(portal.Options{Seed: 3, Limit: portal.LimitOptions{Kind: portal.Off},
		Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 250}}, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	server, err := portal.Listen("127.0.0.1:0", p, false)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	dir := t.TempDir()
	lake, config := filepath.Join(dir, "lake"), filepath.Join(dir, "usagelake.yaml")
	for name, text := range map[string]string{
		config: fmt.Sprintf("lake: lake\naccounts: [{name: acme, base_url: %q, key_env: KEY, rate: 900, "+
			"billing: prepaid}]\nallocation: {rules: rules.yaml}\nbudgets: [{name: all, amount: \"1\", currency: USD}]\n"+
			"metrics: [metrics.csv]\n", server.BaseURL()),
		filepath.Join(dir, "metrics.csv"): "metric,period,value,currency\norders,2026-10,5,\norders,2026-11,70,\n" +
			"revenue,2026-11,900,USD\n",
		filepath.Join(dir,
			"rules.yaml"): "version: 1\nrules:\n  - {id: a, match: {model: \"gpt-*\"}, assign: {cost_center: CC-1010, team: " +
			"Search}}\n" +
			"  - {id: b, match: {model: \"claude-*\"}, assign: {cost_center: CC-1020}}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) (int, string, string) {
		var out, stderr bytes.Buffer
		code := run(t.Context(), args, streams{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &stderr, Now: clock,
			Getenv: func(name string) string { return map[string]string{"KEY": p.Key("0")}[name] }})
		return code, out.String(), stderr.String()
	}
	if code, _, stderr := command("export", "--quiet", "--config", config, "--from", "2026-10-28", "--to",
		"2026-11-20"); code != exitDone {
		t.Fatalf("export: exit %d: %s", code, stderr)
	}
	answers := map[string]string{}
	file := filepath.Join(t.TempDir(), "answer.csv")
	// How each flag is tried: what stands in both calls, and what is added in the second.
	tries := map[string][2][]string{
		"account": {nil, {"--account", "acme"}}, "cost-center": {nil, {"--cost-center", "CC-1010"}},
		"team": {nil, {"--team", "Search"}}, "owner": {nil, {"--owner", "Search"}},
		"project": {nil, {"--project", "(unallocated)"}}, "environment": {nil, {"--environment", "(unallocated)"}},
		"model": {nil, {"--model", "gpt-5"}},
		"month": {nil, {"--month", "2026-10"}}, "period": {nil, {"--period", "2026-10"}},
		"from": {nil, {"--from", "2026-11-10"}},
		"to":   {{"--from", "2026-11-10"}, {"--to", "2026-11-12"}},
		"by":   {nil, {"--by", "model"}}, "top": {nil, {"--top", "1"}}, "decimals": {nil, {"--decimals", "number"}},
		"as-of":  {{"--config", config}, {"--as-of", "now"}}, // the rules are read for it
		"strict": {nil, {"--strict"}}, "accrual": {nil, {"--accrual"}},
		"format": {nil, {"--format", "csv"}}, "out": {nil, {"--out", file}},
		"focus-version": {nil, {"--focus-version", "1.4"}}, "grain": {nil, {"--grain", "record"}},
		"columns": {nil, {"--columns", "BilledCost,BillingCurrency"}},
		"dataset": {nil, {"--dataset", "billing_period"}}, "max-rows": {nil, {"--max-rows", "100"}},
		"max-bytes": {nil, {"--max-bytes", "1MB"}},
		"table":     {{"--format", "csv"}, {"--table", "?"}}, "raw": {nil, {"--raw"}},
		"csv": {{"--format", "csv"}, {"--csv", "excel:de-DE"}},
	}
	a := &app{streams: streams{Getenv: func(string) string { return "" }, Now: clock, Stdout: &bytes.Buffer{},
		Stderr: &bytes.Buffer{}}, logOut: &bytes.Buffer{}}
	root := a.root()
	reports, _, err := root.Find([]string{"report"})
	if err != nil {
		t.Fatal(err)
	}
	second := map[string]string{"statement": "journal", "reconciliation": "months", "forecast": "drivers", "top": "model",
		"prices": "discounts", "quality": "issues", "prepaid": "overdrawn",
		"unit-economics": "earned"}
	for _, c := range reports.Commands() {
		if c.Name() == "help" {
			continue
		}
		base := []string{"report", c.Name(), "--lake", lake}
		if c.Name() == "focus" {
			base = append(base, "--out", "-")
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			try, ok := tries[f.Name]
			if !ok {
				t.Errorf("report %s has --%s, which this test doesn't know", c.Name(), f.Name)
				return
			}
			both, added, want := slices.Concat(base, try[0]), slices.Clone(try[1]), exitDone
			switch {
			case f.Name == "table":
				if added[1] = second[c.Name()]; added[1] == "" { // it has but one
					added[1], want = "none", exitUsage
				}
			case f.Name == "strict":
				want = exitIncomplete
			case f.Name == "raw": // of Parquet
				want = exitUsage
			case f.Name == "max-rows" || f.Name == "max-bytes": // of stdout; what they do to a file is another test's
				both, want = append(both, "--format", "csv"), exitUsage
			case f.Name == "decimals":
				both = append(both, "--format", "json")
			case c.Name() == "focus" && (f.Name == "from" || f.Name == "to"):
				both, added = slices.Concat(base, []string{"--from", "2026-10-01", "--to", "2026-12-01", "--format", "csv"}),
					[]string{"--to", "2026-11-01"}
				if f.Name == "from" {
					both, added = slices.Concat(base, []string{"--format", "csv"}),
						[]string{"--from", "2026-10-01", "--to", "2026-11-01"}
				}
			// all rows are of the one
			case c.Name() == "focus" && slices.Contains([]string{"account", "project", "environment"}, f.Name):
				both, added, want = append(both, "--format", "csv"), []string{"--" + f.Name, "nobody"}, exitUsage
			case c.Name() == "focus" && f.Name != "format" && f.Name != "raw":
				both = append(both, "--format", "csv")
			case c.Name() != "focus" && f.Name != "format" && f.Name != "out" && f.Name != "table" && f.Name != "csv":
				both = append(both, "--format", "json", "--out", "-")
			}
			key := strings.Join(both, " ")
			before, ok := answers[key]
			if !ok {
				code, out, stderr := command(both...)
				if code != exitDone {
					t.Errorf("%v: exit %d: %s", both, code, stderr)
					return
				}
				before, answers[key] = out, out
			}
			code, after, stderr := command(append(slices.Clone(both), added...)...)
			if code != want || code == exitDone && after == before {
				t.Errorf("report %s: %v: exit %d, want %d, and the same answer: %t: %s", c.Name(), added, code, want,
					after == before, stderr)
			}
		})
	}
	for _, c := range root.Commands() {
		for _, flag := range setupFlags[""] {
			if slices.Contains([]string{"help", "completion"}, c.Name()) || slices.Contains(setupFlags[c.Name()], flag) {
				continue
			}
			if c.Name() == "report" && flag == "account" { // each report has one of its own
				continue
			}
			if code, _, stderr := command(c.Name(), "--"+flag, "x"); code != exitUsage ||
				!strings.Contains(stderr, "has no use for --"+flag) {
				t.Errorf("%s --%s: exit %d, %s", c.Name(), flag, code, stderr)
			}
		}
	}
}
