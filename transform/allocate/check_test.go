package allocate

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestCheckFindsRulesThatDoNothing(t *testing.T) {
	r, err := parse(`tables: {t: {file: t.csv, key: token_id}, u: {file: t.csv, key: token_id}}
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
		"warning a a.yaml:4 between 2026-02-01 and 2026-03-01 no version of it is valid: " +
			"the one before ends, in line 3, before this begins",
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
	if want := []string{"not valid on 2026-02-10, but before 2026-02-01", "not valid on 2026-02-10, but from 2026-03-01",
		"token_id x or y*"}; !slices.Equal(why, want) {
		t.Errorf("explained %q", why)
	}
}

func TestCheckFindsWhatSaysLessThanItSeems(t *testing.T) {
	r, err := parse(`tables: {t: {file: t.csv, key: token_id}}
rules:
- {id: prefix, match: {model: "gpt-*"}, assign: {team: a}}
- {id: longer, match: {model: ["gpt-4*", gpt-5, "gpt-?"]}, assign: {team: b}}
- {id: not-covered, match: {model: ["gpt*"]}, assign: {team: c}}
- {id: shared, match: {token_id: s}, pool: p}
- {id: table, lookup: t}
pools:
  p: {split: cost, to: [{cost_center: A, team: x}, {cost_center: A}]}
`, map[string]string{"t.csv": "token_id,team\nz,\n"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.Check(nil) {
		if f.Severity == Warning {
			got = append(got, f.RuleID+" "+f.Source+" "+f.Message)
		}
	}
	want := []string{
		"longer a.yaml:4 it never applies: rule prefix in line 3 matches all that it matches, and stands before it",
		" a.yaml:9 pool p: cost_center A, team x is a part of cost_center A, and what it used or cost counts for both",
		" t.csv what they are found by has no owner in lines 2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// A rule that is said never to apply never does, and the quick way to find what shadows it finds as much as a slow one.
func TestWhatIsShadowedNeverApplies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := randomRules(t)
		for i, x := range r.rules {
			slow := slices.IndexFunc(r.rules[:i], func(y *rule) bool { return y.covers(x) })
			switch by := r.shadow(i); {
			case slow < 0 && by != nil, slow >= 0 && by != r.rules[slow]:
				t.Fatalf("rule %d: %v, slowly %d", i, by, slow)
			case by == nil:
				continue
			}
			for range 20 {
				if a := r.Assign(randomKey(t), randomDay(t)); a.RuleID == x.id && a.Version == x.version {
					t.Fatalf("%s applies: %+v", x.id, a)
				}
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	r := manyRules(b, 20_000)
	used := make([]Used, 100_000)
	for i := range used {
		used[i] = Used{key(fmt.Sprintf("tk_%d", i)), 20_000, 20_100}
	}
	for b.Loop() {
		r.Check(used)
	}
}
