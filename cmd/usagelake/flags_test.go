package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// Every flag of every report changes what comes, or is refused: none is taken and does nothing. The same goes for the flags of the set-up
// and every command.
func TestEveryFlagHasAnEffectOrIsRefused(t *testing.T) {
	lake := filepath.Join(t.TempDir(), "lake")
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	command := func(args ...string) (int, string, string) {
		var out, stderr bytes.Buffer
		code := run(t.Context(), args, streams{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &stderr, Getenv: func(string) string { return "" },
			Now: func() time.Time { return now }})
		return code, out.String(), stderr.String()
	}
	if code, _, stderr := command("demo", "--quiet", "--lake", lake); code != exitDone {
		t.Fatalf("demo: exit %d: %s", code, stderr)
	}
	answers := map[string]string{}
	file := filepath.Join(t.TempDir(), "answer.csv")
	// How each flag is tried: what stands in both calls, and what is added in the second.
	tries := map[string][2][]string{
		"account": {nil, {"--account", "demo"}}, "cost-center": {nil, {"--cost-center", "CC-1010"}}, "team": {nil, {"--team", "Search"}},
		"project": {nil, {"--project", "(unallocated)"}}, "environment": {nil, {"--environment", "(unallocated)"}}, "model": {nil, {"--model", "gpt-5"}},
		"month": {nil, {"--month", "2026-10"}}, "from": {nil, {"--from", "2026-11-10"}}, "to": {{"--from", "2026-11-10"}, {"--to", "2026-11-12"}},
		"by": {nil, {"--by", "model"}}, "top": {nil, {"--top", "1"}}, "decimals": {nil, {"--decimals", "number"}}, "strict": {nil, {"--strict"}},
		"format": {nil, {"--format", "csv"}}, "out": {nil, {"--out", file}}, "focus-version": {nil, {"--focus-version", "1.4"}}, "records": {nil, {"--records"}},
		"table": {{"--format", "csv"}, {"--table", "?"}}, "raw": {nil, {"--raw"}},
	}
	a := &app{streams: streams{Getenv: func(string) string { return "" }, Now: func() time.Time { return now }, Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}, logOut: &bytes.Buffer{}}
	root := a.root()
	reports, _, err := root.Find([]string{"report"})
	if err != nil {
		t.Fatal(err)
	}
	second := map[string]string{"statement": "journal", "reconciliation": "months", "forecast": "drivers", "top": "model", "prices": "discounts", "quality": "issues"}
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
			case f.Name == "decimals":
				both = append(both, "--format", "json")
			case c.Name() == "focus" && (f.Name == "from" || f.Name == "to"):
				both, added = slices.Concat(base, []string{"--from", "2026-10-01", "--to", "2026-12-01", "--format", "csv"}), []string{"--to", "2026-11-01"}
				if f.Name == "from" {
					both, added = slices.Concat(base, []string{"--format", "csv"}), []string{"--from", "2026-10-01", "--to", "2026-11-01"}
				}
			case c.Name() == "focus" && slices.Contains([]string{"account", "project", "environment"}, f.Name): // all of the demo's rows are of the one
				both, added, want = append(both, "--format", "csv"), []string{"--" + f.Name, "nobody"}, exitUsage
			case c.Name() == "focus" && f.Name != "format" && f.Name != "raw":
				both = append(both, "--format", "csv")
			case c.Name() != "focus" && f.Name != "format" && f.Name != "out" && f.Name != "table":
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
				t.Errorf("report %s: %v: exit %d, want %d, and the same answer: %t: %s", c.Name(), added, code, want, after == before, stderr)
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
			if code, _, stderr := command(c.Name(), "--"+flag, "x"); code != exitUsage || !strings.Contains(stderr, "has no use for --"+flag) {
				t.Errorf("%s --%s: exit %d, %s", c.Name(), flag, code, stderr)
			}
		}
	}
}
