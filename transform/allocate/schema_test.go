package allocate

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"
)

// The JSON Schema that editors use knows the keys that the parser knows, and no others.
func TestTheSchemaForEditorsKnowsTheSameKeys(t *testing.T) {
	b, err := os.ReadFile("../../schemas/allocation.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	at := func(path ...string) any {
		v := schema
		for _, p := range path {
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("%v: nothing there", path)
			}
			v = m[p]
		}
		return v
	}
	keys := func(v any) []string { return slices.Sorted(maps.Keys(v.(map[string]any))) }
	target := at("properties", "pools", "additionalProperties", "properties", "to").(map[string]any)["anyOf"].([]any)[1].(map[string]any)["items"].(map[string]any)["properties"]
	for name, c := range map[string]struct {
		schema any
		parser []string
	}{
		"file":   {at("properties"), fileKeys},
		"table":  {at("properties", "tables", "additionalProperties", "properties"), tableKeys},
		"rule":   {at("properties", "rules", "items", "properties"), ruleKeys},
		"match":  {at("properties", "rules", "items", "properties", "match", "properties"), slices.Collect(maps.Keys(matchFields))},
		"assign": {at("$defs", "owner", "properties"), assignKeys},
		"pool":   {at("properties", "pools", "additionalProperties", "properties"), poolKeys},
		"target": {target, targetKeys},
	} {
		want := slices.Sorted(slices.Values(c.parser))
		if got := keys(c.schema); !slices.Equal(got, want) {
			t.Errorf("%s: the schema has %v, the parser %v", name, got, want)
		}
	}
}

func TestCheckFindsRulesThatDoNothing(t *testing.T) {
	r, err := parse(t, `tables: {t: {file: t.csv, key: token_id}, u: {file: t.csv, key: token_id}}
rules:
- {id: a, to: 2026-02-01, match: {token_id: x}, assign: {team: a}}
- {id: a, from: 2026-03-01, match: {token_id: x}, assign: {team: b}}
- {id: wide, match: {token_id: ["x", "y*"]}, assign: {team: c}}
- {id: narrow, match: {token_id: "y1", model: m}, assign: {team: d}}
- {id: taken, match: {token_id: "?", model: "*"}, assign: {team: f}}
- {id: idle, match: {token_id: qq}, assign: {team: e}}
- {id: table, lookup: t}
pools: {p: {split: even, to: all}}
`, map[string]string{"t.csv": "token_id,team\nz,zz\nnever,n\n"})
	if err != nil {
		t.Fatal(err)
	}
	used := func(token string) Used {
		return Used{Key: key(token), First: day("2026-01-15"), Last: day("2026-03-15")}
	}
	var got []string
	for _, f := range r.Check([]Used{used("x"), used("y2"), used("zz"), used("z")}) {
		got = append(got, f.Severity+" "+f.RuleID+" "+f.Source+" "+f.Message)
	}
	want := []string{
		"warning narrow a.yaml:6 it never applies: rule wide in line 5 matches all that it matches, and stands before it",
		"info idle a.yaml:8 it matches nothing of what was used",
		"warning table a.yaml:9 everything that it matches is taken by rules before it: taken",
		"warning a a.yaml:4 between 2026-02-01 and 2026-03-01 no version of it is valid: the one before ends, in line 3, before this begins",
		"info  a.yaml:10 pool p: no rule sends cost to it",
		"info  t.csv nothing that was used is in its lines 2, 3",
		"info  a.yaml:1 table u: no rule looks it up",
	}
	if !slices.Equal(got, want) {
		for _, g := range got {
			t.Log(g)
		}
		t.Errorf("want %q", want)
	}
	var why []string
	for _, s := range r.Explain(key("y2"), day("2026-02-10")) {
		why = append(why, s.Why)
	}
	if want := []string{"not valid on 2026-02-10", "not valid on 2026-02-10", "token_id x or y*"}; !slices.Equal(why, want) {
		t.Errorf("explained %q", why)
	}
}
