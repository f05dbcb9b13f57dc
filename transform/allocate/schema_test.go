package allocate

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
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
	target := at("properties", "pools", "additionalProperties", "properties",
		"to").(map[string]any)["anyOf"].([]any)[1].(map[string]any)["items"].(map[string]any)["properties"]
	for name, c := range map[string]struct {
		schema any
		parser []string
	}{
		"file":  {at("properties"), fileKeys},
		"table": {at("properties", "tables", "additionalProperties", "properties"), tableKeys},
		"rule":  {at("properties", "rules", "items", "properties"), ruleKeys},
		"match": {at("properties", "rules", "items", "properties", "match", "properties"),
			slices.Collect(maps.Keys(matchFields))},
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

// What docs/allocation.md shows is what there is: the example, and the words of the mistakes.
func TestTheDocsShowTheExampleAndRealMistakes(t *testing.T) {
	b, err := os.ReadFile("../../docs/allocation.md")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("testdata/allocation.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, mistakes := parse(`tables:
  tokens: {file: tokens.csv, key: token_id}
rules:
  - id: research
    match: {account: acme, token_id: *-prod}
`, nil)
	_, more := parse(`tables:
  tokens: {file: tokens.csv, key: token_id}
rules:
  - {id: research, match: {modle: "claude-*"}, assign: {cost_centre: R&D}}
  - {id: search, to: 2026-09-01, match: {channel: seven}, assign: {team: search}}
  - {id: search, from: 2026-07-01, assign: {team: product}}
  - {id: by-token, lookup: tokens}
  - {id: rest, pool: platfrom}
pools:
  platform: {split: fixed, to: [{cost_center: R&D, weight: 2}]}
`, map[string]string{"tokens.csv": "token_id,team\n1.23457E+18,research\ntk_7,#N/A\ntk_8,search\ntk_8,product\n"})
	for name, want := range map[string]string{"the example": string(rules), "no YAML": mistakes.Error(),
		"mistakes": more.Error()} {
		want = strings.TrimSpace(strings.ReplaceAll(want, "a.yaml:", "allocation.yaml:"))
		if !strings.Contains(string(b), "```\n"+want+"\n```") && !strings.Contains(string(b), "```yaml\n"+want+"\n```") {
			t.Errorf("%s: the docs don't show\n%s", name, want)
		}
	}
}
