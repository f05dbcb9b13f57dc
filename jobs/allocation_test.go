package jobs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// ruleFiles makes the config name rules and tables.
func (w *world) ruleFiles(files map[string]string) {
	w.Helper()
	dir := w.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	w.Cfg.Allocation.Rules = filepath.Join(dir, "allocation.yaml")
}

// What check says that a change will do is what apply does, to the last digit, and cost that loses its cost centre is
// named with why: a row that is gone, a name that is typed otherwise, an entry of a pool without one, tokens of nobody.
func TestCheckSaysWhatApplyDoesAndWhoLosesTheirCostCentre(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 40})
	w.export(span(1, 5))
	r := w.Read()
	tokens := r.Ask("SELECT token_id FROM usage WHERE token_id IS NOT NULL GROUP BY ALL ORDER BY sum(amount) DESC, " +
		"token_id LIMIT 3")
	total := r.One("SELECT sum(amount)::VARCHAR FROM usage")
	r.Close()
	const rules = `tables:
  tokens: {file: tokens.csv, key: token_id}
  centers: {file: centers.csv, key: team}
rules:
- {id: pooled, match: {model: "gpt-*"}, pool: p}
- {id: by-token, lookup: [tokens, centers]}
- {id: rest, match: {token_id: "*"}, assign: {cost_center: Rest}}
pools: {p: {split: cost, to: [{cost_center: R&D}, {cost_center: Rest, weight: 3}]}}
`
	table := fmt.Sprintf("token_id,team\n%s,Search\n%s,Ads\n", tokens[0][0], tokens[1][0])
	good := map[string]string{"allocation.yaml": rules, "tokens.csv": table,
		"centers.csv": "team,cost_center\nSearch,R&D\nAds,Marketing\n"}
	with := func(name, text string) map[string]string {
		out := map[string]string{}
		for k, v := range good {
			out[k] = v
		}
		out[name] = text
		return out
	}
	for _, c := range []struct {
		name    string
		files   map[string]string
		finding []string // what findings say, of warnings; nil: nothing of owners
	}{
		{"as it should be", good, nil},
		{"a row is gone", with("centers.csv", "team,cost_center\nSearch,R&D\n"),
			[]string{`centers.csv has no row for team "Ads": `, "is charged to (unallocated)"}},
		{"typed otherwise", with("centers.csv", "team,cost_center\nsearch,R&D\nAds,Marketing\n"),
			[]string{`centers.csv has no row for team "Search", but for "search" in line 2: capitals and signs count`}},
		{"a centre typed otherwise", with("centers.csv", "team,cost_center\nSearch,r&d\nAds,Marketing\n"),
			[]string{`the cost centres "R&D" and "r&d" differ`}},
		{"a letter in another place", with("centers.csv", "team,cost_center\nSaerch,R&D\nAds,Marketing\n"),
			[]string{`centers.csv has no row for team "Search", but for "Saerch": a slip of the pen?`}},
		{"a centre with a letter too many",
			with("allocation.yaml", strings.Replace(rules, "assign: {cost_center: Rest}", "assign: {cost_center: Marketting}",
				1)), []string{`info centers.csv:3 cost centre "Marketing" is written here alone and comes out for token `,
				`; "Marketting", a slip of the pen apart, is written in 1 place and comes out for `}},
		{"a row without a centre", with("centers.csv", "team,cost_center\nSearch,R&D\nAds,\n"),
			[]string{"nothing assigns it a cost_center"}},
		{"an entry with a team alone",
			with("allocation.yaml", strings.Replace(rules, "{cost_center: R&D}", "{team: Search}", 1)),
			[]string{"the entry team Search names no cost_center", "pool p: the share of team Search: "}},
		{"tokens of nobody",
			with("allocation.yaml",
				strings.Replace(rules, "- {id: rest, match: {token_id: \"*\"}, assign: {cost_center: Rest}}\n", "", 1)),
			[]string{"no rule matches: ", "token "}},
		{"no rules but one", map[string]string{"allocation.yaml": "rules:\n- {id: t, assign: {team: x}}\n"},
			[]string{"rule t", "nothing assigns it a cost_center: "}},
	} {
		w.ruleFiles(c.files)
		check, err := CheckAllocation(t.Context(), w.Cfg, "", nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var said []string
		for _, f := range check.Findings {
			if f.Severity == allocate.Warning {
				said = append(said, "rule "+f.RuleID+" "+f.Message)
			}
			if strings.Contains(f.Message, "a slip of the pen apart") {
				said = append(said, f.Severity+" "+f.Source+" "+f.Message)
			}
		}
		all := strings.Join(said, "\n")
		for _, want := range c.finding {
			if !strings.Contains(all, want) {
				t.Errorf("%s: no word of %q in\n%s", c.name, want, all)
			}
		}
		if c.finding == nil && all != "" {
			t.Errorf("%s: %s", c.name, all)
		}
		_, changes, err := Allocate(t.Context(), w.Cfg, w.env, false)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(check.Centers, changes) {
			t.Errorf("%s: check says\n%+v\nand apply\n%+v", c.name, check.Centers, changes)
		}
		var after schemas.Money
		for _, x := range changes {
			v, err := schemas.ParseMoney(x.After)
			if err != nil {
				t.Fatal(err)
			}
			after = after.Add(v)
		}
		if kit.Dec(after.String()) != kit.Dec(total) {
			t.Errorf("%s: %s is charged, %s was used", c.name, after, total)
		}
	}
}

// Rules in another file are asked of each open month as if they were the config's, whose own stay as they are. What
// they move is what a publish by them moves, and no cost appears or goes.
func TestRulesAreComparedBeforeTheyApply(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 40})
	w.export(span(-1, 3))
	w.ruleFiles(map[string]string{"allocation.yaml": `rules: [{id: all, assign: {cost_center: R&D}}]`,
		"new.yaml": "rules:\n- {id: some, match: {model: \"*a*\"}, assign: {cost_center: Ads}}\n" +
			"- {id: all, assign: {cost_center: R&D}}\n",
		"wrong.yaml": "rules: [{id: all}]\n"})
	if _, _, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil {
		t.Fatal(err)
	}
	charged := func() []MonthChanges {
		t.Helper()
		check, err := CheckAllocation(t.Context(), w.Cfg, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return check.ByMonth
	}
	before := charged()
	own := w.Cfg.Allocation.Rules
	file := filepath.Join(filepath.Dir(own), "new.yaml")
	check, err := CheckAllocation(t.Context(), w.Cfg, file, nil)
	if err != nil || check.Rules != file || len(check.ByMonth) < 2 || w.Cfg.Allocation.Rules != own {
		t.Fatalf("%+v %v", check, err)
	}
	for i, m := range check.ByMonth {
		if len(m.Centers) != 2 || m.Month != before[i].Month {
			t.Fatalf("%+v", m)
		}
		ads, rd := m.Centers[0], m.Centers[1]
		if ads.CostCenter != "Ads" || ads.Before != "0" || ads.After == "0" || rd.Before != before[i].Centers[0].Before ||
			"-"+ads.Difference != rd.Difference {
			t.Errorf("%+v", m)
		}
	}
	if !slices.EqualFunc(charged(), before, func(a, b MonthChanges) bool { return slices.Equal(a.Centers, b.Centers) }) {
		t.Error("to compare changed what is charged")
	}
	w.Cfg.Allocation.Rules = file
	if _, changes, err := Allocate(t.Context(), w.Cfg, w.env, false); err != nil || !slices.Equal(changes, check.Centers) {
		t.Errorf("compared %+v, applied %+v, %v", check.Centers, changes, err)
	}
	w.Cfg.Allocation.Rules = own
	if _, err := CheckAllocation(t.Context(), w.Cfg, filepath.Join(filepath.Dir(own), "wrong.yaml"), nil); err == nil ||
		!strings.Contains(err.Error(), "wrong.yaml:1: ") {
		t.Errorf("%v", err)
	}
}

// The tables that init writes can be filled in and used as they are: every token that has cost, the largest first. What
// is there stays.
func TestInitWritesTablesThatRulesCanUse(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 40})
	w.export(span(1, 3))
	w.ruleFiles(map[string]string{"allocation.yaml": "tables: {t: {file: tokens.csv, key: token_id}, u: {file: " +
		"users.csv, key: user_id}}\nrules:\n- {id: t, lookup: [t]}\n- {id: u, lookup: [u]}\n",
		"users.csv": "user_id,team\nu,x\n"})
	made, err := InitAllocation(t.Context(), w.Cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := w.Read()
	defer r.Close()
	b, err := os.ReadFile(made[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for line := range strings.Lines(string(b)) {
		id, _, _ := strings.Cut(line, ",")
		got = append(got, id)
	}
	want = append(want, "token_id")
	for _, row := range r.Ask("SELECT token_id FROM usage WHERE token_id <> '' GROUP BY token_id HAVING sum(amount) " +
		"<> 0 ORDER BY abs(sum(amount)) DESC, token_id") {
		want = append(want, row[0])
	}
	if !slices.Equal(got, want) || made[0].Rows != len(want)-1 || made[0].There {
		t.Errorf("%+v, %q, want %q", made, got, want)
	}
	if b, err := os.ReadFile(made[1].Path); err != nil || string(b) != "user_id,team\nu,x\n" || !made[1].There {
		t.Errorf("%+v %q %v", made[1], b, err)
	}
	if err := os.WriteFile(made[0].Path, []byte(strings.Replace(string(b), want[1]+",,", want[1]+",R&D,", 1)),
		0o600); err != nil {
		t.Fatal(err)
	}
	_, changes, err := Allocate(t.Context(), w.Cfg, w.env, false)
	if err != nil || !slices.ContainsFunc(changes, func(c CenterChange) bool {
		return c.CostCenter == "R&D" &&
			c.After != "0"
	}) {
		t.Errorf("%+v %v", changes, err)
	}
}
