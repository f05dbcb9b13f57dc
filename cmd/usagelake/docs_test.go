package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestEveryRowOfTheFaultTableNamesATestThatIsThere holds docs/faults.md to the tests: each row names one, by package
// and name, by a short name that the page defines, or as a script.
func TestEveryRowOfTheFaultTableNamesATestThatIsThere(t *testing.T) {
	doc := read(t, "docs/faults.md")
	var (
		row    = regexp.MustCompile(`(?m)^\| ([0-9]+) \|.*\| ([^|]+) \|$`)
		short  = regexp.MustCompile("(?m)^\\| ([A-Z]+) \\| (`[^|]+`) \\|$")
		test   = regexp.MustCompile("`([a-z/]+): (Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+)`")
		script = regexp.MustCompile(`script ([a-z-]+)`)
	)
	exists := func(dir, name string) bool {
		files, _ := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil && strings.Contains(string(b), "func "+name+"(") {
				return true
			}
		}
		return false
	}
	check := func(where, text string) (found int) {
		for _, m := range test.FindAllStringSubmatch(text, -1) {
			found++
			if !exists(m[1], m[2]) {
				t.Errorf("%s names %s of %s, which isn't there", where, m[2], m[1])
			}
		}
		for _, m := range script.FindAllStringSubmatch(text, -1) {
			found++
			if _, err := os.Stat(filepath.Join("../../testdata/script", m[1]+".txtar")); err != nil {
				t.Errorf("%s names script %s, which isn't there", where, m[1])
			}
		}
		return found
	}
	shorts := map[string]bool{}
	for _, m := range short.FindAllStringSubmatch(doc, -1) {
		shorts[m[1]] = true
		check("the name "+m[1], m[2])
	}
	rows := row.FindAllStringSubmatch(doc, -1)
	for _, m := range rows {
		found := check("row "+m[1], m[2])
		for _, word := range regexp.MustCompile(`\b[A-Z]{4,}\b`).FindAllString(m[2], -1) {
			if !shorts[word] {
				t.Errorf("row %s names %s, which the page doesn't define", m[1], word)
			}
			found++
		}
		if found == 0 {
			t.Errorf("row %s names no test: %s", m[1], m[2])
		}
	}
	if len(rows) < 25 {
		t.Errorf("the table has %d rows", len(rows))
	}
}

func TestTheDocsNameEveryFaultAndExitCode(t *testing.T) {
	portalDoc := read(t, "docs/portal.md")
	for _, f := range portal.FaultNames() {
		if !strings.Contains(portalDoc, "`"+f.Name+"`") {
			t.Errorf("docs/portal.md doesn't name the fault %s", f.Name)
		}
	}
	operators := read(t, "docs/operators.md")
	for _, code := range []string{"0", "1", "2", "3", "4", "5", "6", "130", "134", "143"} {
		if !regexp.MustCompile(`(?m)^\| ([0-9]+, )?` + code + `\b`).MatchString(operators) {
			t.Errorf("docs/operators.md doesn't explain exit code %s", code)
		}
	}
	for _, key := range config.Keys() {
		last := key[strings.LastIndex(key, ".")+1:]
		if !strings.Contains(string(template), last+":") {
			t.Errorf("the config that init writes doesn't show %s", key)
		}
	}
}

// docs/config.md has a row for each key of the config, with its type, and shows each in an example;
// TestEveryBlockOfTheDocsHolds reads these.
func TestTheDocsExplainEveryConfigKey(t *testing.T) {
	var examples strings.Builder
	rows := map[string]string{} // type by key
	for _, p := range pages(t) {
		if p.name != "docs/config.md" {
			continue
		}
		for _, b := range p.blocks {
			if b.kind == "yaml" {
				examples.WriteString(b.text)
			}
		}
		for _, line := range p.prose {
			if cells := strings.Split(line, "|"); len(cells) == 6 {
				for _, m := range code.FindAllString(cells[1], -1) {
					rows[strings.ReplaceAll(strings.Trim(m, "`"), "[]", "")] = strings.TrimSpace(cells[2])
				}
			}
		}
	}
	keys := config.Keys()
	for _, key := range keys {
		if kind, ok := rows[key]; !ok || kind == "" {
			t.Errorf("docs/config.md has no row with the type of %s", key)
		}
		if last := key[strings.LastIndex(key, ".")+1:]; !strings.Contains(examples.String(), last+":") {
			t.Errorf("docs/config.md shows no %s", key)
		}
	}
	for key := range rows {
		if strings.Contains(key, ".") && !slices.Contains(keys, key) {
			t.Errorf("docs/config.md explains %s, which is no key", key)
		}
	}
}

// The numbers of the formats stand where people look who read the files, or are about to upgrade.
func TestTheDocsHaveTheFormatsOfNow(t *testing.T) {
	formats := fmt.Sprintf("lake format %d, raw format %d, schema %d", load.Format, schemas.RawFormat,
		schemas.SchemaVersion)
	for name, want := range map[string]string{
		"docs/lake.md":      formats,
		"docs/operators.md": fmt.Sprintf("%s, transform %d\n", formats, transform.Version),
		"CHANGELOG.md":      fmt.Sprintf("tables %d.", schemas.SQLVersion),
	} {
		if !strings.Contains(read(t, name), want) {
			t.Errorf("%s doesn't say %q", name, want)
		}
	}
}

func TestTheConfigThatInitWritesIsTheDefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usagelake.yaml")
	if err := os.WriteFile(path, template, 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) string { return "" }
	written, err := config.Load(config.Overrides{ConfigFile: path}, none)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	byDefault, err := config.Load(config.Overrides{}, none)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(written.Export, byDefault.Export) || len(written.Accounts) != 1 ||
		written.Accounts[0] != byDefault.Accounts[0] {
		t.Errorf("init writes %+v, the default is %+v", written, byDefault)
	}
}

// The twenty questions have a view each, and docs/questions.md answers each by its name.
func TestTheDocsAnswerTheTwentyQuestionsByTheirNames(t *testing.T) {
	doc := read(t, "docs/questions.md")
	sql := schemas.SQLLayout{}.Schema()
	for i, name := range strings.Fields(`spend_by_cost_center_month chargeback_journal unallocated_spend
		allocation_coverage_trend shared_cost_split allocation_explain invoice_reconciliation balance_reconciliation
		period_status_and_corrections budget_vs_actual forecast_month_end month_over_month_drivers anomalous_days
		top_spenders unit_cost cache_savings discount_realised price_changes modality_and_tool_spend
		data_freshness_and_gaps`) {
		if !strings.Contains(doc, fmt.Sprintf("\n## %d %s\n", i+1, name)) || !strings.Contains(doc, "FROM "+name) {
			t.Errorf("docs/questions.md doesn't answer %d %s", i+1, name)
		}
		if !strings.Contains(sql, "VIEW "+name+" AS") && !strings.Contains(sql, "MACRO "+name+"(") {
			t.Errorf("no view or macro %s", name)
		}
	}
}

// docs/reports.md has a section for each report, which names every flag of its command and none that the command
// refuses. Those of all commands, and the set-up, stand in the first section.
func TestTheDocsNameTheFlagsOfEveryReport(t *testing.T) {
	sections, names := map[string]string{}, []string{}
	for _, s := range strings.Split(read(t, "docs/reports.md"), "\n## ")[1:] {
		name, text, _ := strings.Cut(s, "\n")
		sections[name], names = text, append(names, name)
	}
	reports, _, err := (&app{}).root().Find([]string{"report"})
	if err != nil {
		t.Fatal(err)
	}
	flag := regexp.MustCompile(`(?:^|[^-\w])--([a-z][a-z-]*)`)
	named := func(section string) map[string]bool {
		out := map[string]bool{}
		for _, m := range flag.FindAllStringSubmatch(section, -1) {
			out[m[1]] = true
		}
		return out
	}
	if len(names) == 0 {
		t.Fatal("docs/reports.md has no section")
	}
	shared := named(sections[names[0]])
	var have []string
	for _, c := range reports.Commands() {
		have = append(have, c.Name())
		section, ok := sections[c.Name()]
		if !ok {
			t.Errorf("docs/reports.md has no section on %s", c.Name())
			continue
		}
		there := named(section)
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if !there[f.Name] {
				t.Errorf("docs/reports.md: the section on %s doesn't name --%s", c.Name(), f.Name)
			}
		})
		c.InheritedFlags().VisitAll(func(f *pflag.Flag) {
			if !shared[f.Name] {
				t.Errorf("docs/reports.md: the section %q doesn't name --%s", names[0], f.Name)
			}
		})
		for name := range there {
			if c.Flag(name) == nil {
				t.Errorf("docs/reports.md: the section on %s names --%s, which the command refuses", c.Name(), name)
			}
		}
		if !strings.Contains(section, "\nusagelake report "+c.Name()) {
			t.Errorf("docs/reports.md: the section on %s has no command to type", c.Name())
		}
	}
	for _, name := range names[1:] {
		if !slices.Contains(have, name) {
			t.Errorf("docs/reports.md has a section on %s, which is no report", name)
		}
	}
	for name := range shared {
		if name != "help" &&
			!slices.ContainsFunc(reports.Commands(), func(c *cobra.Command) bool { return c.Flag(name) != nil }) {
			t.Errorf("docs/reports.md: the section %q names --%s, which no report takes", names[0], name)
		}
	}
}

// Whoever takes the comment signs away has a config that works.
func TestTheExamplesOfTheConfigThatInitWritesAreValid(t *testing.T) {
	text := regexp.MustCompile(`(?m)^# (  |[a-z_]+:)`).ReplaceAllString(string(template), "$1")
	dir := t.TempDir()
	path := filepath.Join(dir, "usagelake.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Overrides{ConfigFile: path}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Schedule.Jobs) != len(config.Kinds()) || len(c.Alerts.Rules) != 12 || len(c.Budgets) != 1 {
		t.Errorf("of the examples there are %d jobs, %d rules of alerts, %d budgets", len(c.Schedule.Jobs),
			len(c.Alerts.Rules), len(c.Budgets))
	}
}
