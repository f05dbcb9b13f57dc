package allocate

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas"
)

func day(s string) schemas.Date {
	d, err := schemas.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

// tenths is a weight of n tenths.
func tenths(n int64) *big.Int { return big.NewInt(n * 100_000_000_000) }

func ptr[T any](v T) *T { return &v }

// example are the rules of testdata, which the docs show.
func example(t testing.TB) *Rules {
	t.Helper()
	b, err := os.ReadFile("testdata/allocation.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(File{"allocation.yaml", b}, func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join("testdata", name))
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(text string, files map[string]string) (*Rules, error) {
	name := "a.yaml"
	if !strings.Contains(text, "rules") {
		name = "a.csv"
	}
	return Parse(File{name, []byte(text)}, func(name string) ([]byte, error) {
		b, ok := files[name]
		if !ok {
			return nil, fmt.Errorf("open %s: no such file", name)
		}
		return []byte(b), nil
	})
}

func TestTheFirstValidRuleThatMatchesAssigns(t *testing.T) {
	r := example(t)
	for _, c := range []struct {
		token, custom string
		day           string
		want          schemas.Assignment
	}{
		{"eval-7", "search", "2026-10-01", schemas.Assignment{RuleID: "evaluations", Version: 1, Source: "allocation.yaml:11",
			Pool: "evaluations"}},
		{"tk_102", "search", "2026-06-30", schemas.Assignment{RuleID: "search", Version: 1, Source: "allocation.yaml:16",
			Owner: schemas.Owner{CostCenter: "R&D", Team: "research", Project: "search"}}},
		{"tk_102", "search-eu", "2026-07-01", schemas.Assignment{RuleID: "search", Version: 2, Source: "allocation.yaml:20",
			Owner: schemas.Owner{CostCenter: "Product", Team: "product", Project: "search", GLCode: "6200",
				Tags: `{"initiative":"relevance"}`}}},
		{"tk_101", "", "2026-08-31", schemas.Assignment{RuleID: "by-token", Version: 1,
			Source: "allocation.yaml:26 tokens.csv:2 centres.csv:2",
			Owner: schemas.Owner{CostCenter: "R&D", Team: "research", Environment: "prod", GLCode: "6100",
				Tags: `{"contact":"ada"}`}}},
		{"tk_101", "", "2026-09-01", schemas.Assignment{RuleID: "by-token", Version: 1,
			Source: "allocation.yaml:26 tokens.csv:3 centres.csv:3",
			Owner:  schemas.Owner{CostCenter: "Product", Team: "product", Environment: "prod", GLCode: "6200"}}},
		{"tk_102", "", "2026-09-01", schemas.Assignment{RuleID: "by-token", Version: 1,
			Source: "allocation.yaml:26 tokens.csv:4 centres.csv:4",
			Owner:  schemas.Owner{CostCenter: "Operations", Team: "support", Environment: "staging", GLCode: "6300"}}},
		{"tk_103", "", "2026-09-01", schemas.Assignment{RuleID: "by-token", Version: 1,
			Source: "allocation.yaml:26 tokens.csv:5", // a team without a centre
			Owner:  schemas.Owner{Team: "unknown", Environment: "prod"}}},
		{"tk_999", "", "2026-09-01", schemas.Assignment{}},
	} {
		k := schemas.AllocationKey{Account: "acme", TokenID: &c.token, CustomUserID: &c.custom}
		if got := r.Assign(k, day(c.day)); got != c.want {
			t.Errorf("%s %s %s:\n got %+v\nwant %+v", c.token, c.custom, c.day, got, c.want)
		}
	}
	if got, want := r.Fields(), []string{"custom_user_id", "token_id"}; !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
	if got := fmt.Sprint(r.Boundaries()); got != "[2026-07-01 2026-09-01]" {
		t.Errorf("boundaries %s", got)
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, value string // value "NULL" is none
		want           bool
	}{
		{"gpt-4", "gpt-4", true}, {"gpt-4", "GPT-4", false}, {"gpt-4", "gpt-4o", false},
		{"gpt-*", "gpt-", true}, {"gpt-*", "gpt-4o/mini", true}, {"*/gpt-4", "openai/gpt-4", true},
		{"*/gpt-4", "gpt-4", false},
		{"a*b*c", "a-b-b-c", true}, {"a*b*c", "acb", false}, {"*b*", "abc", true}, {"?", "é", true}, {"?", "", false},
		{"?", "ab", false},
		{"a**c", "abc", true}, {`\*`, "*", true}, {`\*`, "x", false}, {`a\`, `a\`, true}, {"*", "x", true}, {"*", "", true},
		{"*", "NULL", true},
		{"", "", true}, {"", "NULL", true}, {"", "x", false}, {"x*", "NULL", false}, {"a*a", "a", false},
		{"*ab", "aab", true}, {"a?*c", "abc", true}, {"[a-z]", "b", false},
	} {
		k := schemas.AllocationKey{Model: &c.value}
		if c.value == "NULL" {
			k.Model = nil
		}
		if got := newCondition(schemas.FieldModel, []string{c.pattern}).holds(k); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.value, got)
		}
	}
}

// The channel, a number, is matched by its digits.
func TestChannelsAreMatchedByTheirDigits(t *testing.T) {
	r, err := parse("rules:\n  - {id: a, match: {channel: [7, \"1*\"]}, assign: {team: x}}\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	for channel, want := range map[int64]string{7: "x", 17: "x", 8: "", 71: ""} {
		if got := r.Assign(schemas.AllocationKey{ChannelID: &channel}, 0).Team; got != want {
			t.Errorf("channel %d: %q", channel, got)
		}
	}
}

func TestRulesFromASpreadsheet(t *testing.T) {
	r, err := parse("\xef\xbb\xbfid;token_id;model;from;cost_center;tag.env\r\n"+
		"a; tk_1 | tk_2 ;claude-*;2026-01-01;\"R;D\";prod\r\n;;;;;\r\nrest;;;;Other;\r\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ token, model, day, want string }{
		{"tk_2", "claude-x", "2026-01-01", "R;D"}, {"tk_2", "claude-x", "2025-12-31", "Other"},
		{"tk_3", "claude-x", "2026-01-01", "Other"},
	} {
		if got := r.Assign(schemas.AllocationKey{TokenID: &c.token, Model: &c.model}, day(c.day)); got.CostCenter != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if got := r.List()[0]; got.Source != "a.csv:2" || got.Match != "model claude-* and token_id tk_1 or tk_2" ||
		got.Assigns != "cost_center R;D, tag env prod" {
		t.Errorf("%+v", got)
	}
}

// Rules, keys and days of few values, so that they often meet.
func randomRules(t *rapid.T) *Rules {
	patterns := []string{"a", "b", "x1", "x*", "*", "", "?b", "a*", "**b", "x?"}
	var b strings.Builder
	b.WriteString("tables: {t: {file: t.csv, key: token_id}, u: {file: u.csv, key: [team, model]}}\nrules:\n")
	list := func(name string) string {
		drawn := rapid.SliceOfN(rapid.SampledFrom(patterns), 1, 3).Draw(t, name)
		return strings.Join(strings.Fields(fmt.Sprintf("%q", drawn)), ", ")
	}
	for i := range rapid.IntRange(1, 8).Draw(t, "rules") {
		fmt.Fprintf(&b, "- id: r%d\n  assign: {team: t%d, tags: {rule: %d, who: rule}}\n", i, i, i)
		if d := rapid.IntRange(0, 3).Draw(t, "from"); d > 0 {
			fmt.Fprintf(&b, "  from: 2026-01-0%d\n", d)
		}
		if rapid.IntRange(0, 3).Draw(t, "to") == 0 {
			b.WriteString("  to: 2026-01-04\n")
		}
		if rapid.IntRange(0, 3).Draw(t, "lookup") == 0 {
			b.WriteString("  lookup: [t, u]\n")
		}
		var match []string
		for _, field := range []string{"token_id", "custom_user_id", "user_id", "model"} {
			if rapid.IntRange(0, 2).Draw(t, field) == 0 {
				match = append(match, field+": "+list(field))
			}
		}
		fmt.Fprintf(&b, "  match: {%s}\n", strings.Join(match, ", "))
	}
	r, err := parse(b.String(), map[string]string{
		"t.csv": "token_id,team,from,to,tag.who\na,red,,2026-01-03,table\na,blue,2026-01-03,,\nx1,red,,,\nb,,,,\n",
		"u.csv": "team,model,cost_center,tag.who,tag.more\nred,x1,R,second,m\nblue,a,B,second,\nr1,a,wrong,,\n",
	})
	if err != nil {
		t.Fatalf("%s\n%v", b.String(), err)
	}
	return r
}

func randomKey(t *rapid.T) schemas.AllocationKey {
	pick := func(name string) *string {
		if w := rapid.SampledFrom([]string{"", "a", "ab", "b", "x1", "x2", "NULL"}).Draw(t, name); w != "NULL" {
			return &w
		}
		return nil
	}
	return schemas.AllocationKey{Account: "acme", TokenID: pick("t"), CustomUserID: pick("c"), UserID: pick("u"),
		Model: pick("m")}
}

func randomDay(t *rapid.T) schemas.Date {
	return day("2026-01-01") + schemas.Date(rapid.IntRange(-1, 4).Draw(t, "day"))
}

// slowly asks rule by rule and row by row, and knows of no index.
func (r *Rules) slowly(k schemas.AllocationKey, d schemas.Date) schemas.Assignment {
	valid := func(from, to *schemas.Date) bool { return (from == nil || *from <= d) && (to == nil || d < *to) }
rules:
	for _, x := range r.rules {
		if !valid(x.from, x.to) {
			continue
		}
		for _, c := range x.match {
			v, _ := value(k, c.field)
			if !slices.ContainsFunc(c.source, func(pattern string) bool { return likes(pattern, v) }) {
				continue rules
			}
		}
		out := schemas.Assignment{RuleID: x.id, Version: x.version, Source: x.source}
		tags := map[string]string{}
		fill := func(o schemas.Owner, more map[string]string) {
			for _, f := range ownerFields(&o) {
				if to := field(&out.Owner, f.name); *to == "" {
					*to = *f.value
				}
			}
			for name, v := range more {
				if tags[name] == "" {
					tags[name] = v
				}
			}
		}
		for n, t := range x.lookup {
			i := slices.IndexFunc(t.rows, func(row *tableRow) bool {
				for j, part := range strings.Split(row.key, "\x00") {
					v, _ := value(k, t.key[j])
					if t.key[j] == attrTeam {
						v = out.Team
					}
					if v != part {
						return false
					}
				}
				return valid(row.from, row.to)
			})
			if i >= 0 {
				fill(t.rows[i].owner, t.rows[i].tags)
				out.Source += fmt.Sprintf(" %s:%d", t.file, t.rows[i].line)
			} else if n == 0 {
				continue rules
			}
		}
		fill(x.owner, x.tags)
		b, _ := json.Marshal(tags)
		out.Tags = string(b)
		return out
	}
	return schemas.Assignment{}
}

// likes is what a pattern means, by way of a regular expression.
func likes(pattern, v string) bool {
	if v == "" {
		return strings.Trim(pattern, "*") == ""
	}
	var b strings.Builder
	b.WriteString(`(?s)^`)
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\':
			escaped = true
		case r == '*':
			b.WriteString(".*")
		case r == '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if escaped {
		b.WriteString(`\\`)
	}
	return regexp.MustCompile(b.String() + "$").MatchString(v)
}

// Asking by indexes says the same as asking rule by rule and row by row.
func TestAssignIsTheFirstRuleThatMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := randomRules(t)
		for range 20 {
			k, d := randomKey(t), randomDay(t)
			if got, want := r.Assign(k, d), r.slowly(k, d); got != want {
				t.Fatalf("%s\n%+v\n%s\n got %+v\nwant %+v", r.files[0].Content, k, d, got, want)
			}
		}
	})
}

// Who asks once for each combination of Fields, on one day of each stretch between Boundaries, knows all answers.
func TestFieldsAndBoundariesAreAllThatMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := randomRules(t)
		for range 20 {
			k, d := randomKey(t), randomDay(t)
			first := schemas.Date(0)
			for _, b := range r.Boundaries() {
				if b <= d {
					first = b
				}
			}
			less := schemas.AllocationKey{Account: k.Account}
			for _, f := range r.Fields() {
				switch f {
				case schemas.FieldTokenID:
					less.TokenID = k.TokenID
				case schemas.FieldCustomUserID:
					less.CustomUserID = k.CustomUserID
				case schemas.FieldUserID:
					less.UserID = k.UserID
				case schemas.FieldModel:
					less.Model = k.Model
				}
			}
			if got, want := r.Assign(less, first), r.Assign(k, d); got != want {
				t.Fatalf("%s\n%+v on %s: %+v\n%+v on %s: %+v", r.files[0].Content, k, d, want, less, first, got)
			}
		}
	})
}

func TestPatternsMeanWhatTheirRegularExpressionMeans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune(`ab*?\é/`)), 0, 8, -1).Draw(t, "pattern")
		v := rapid.StringOfN(rapid.SampledFrom([]rune(`ab*?\é/`)), 0, 8, -1).Draw(t, "value")
		if got, want := newCondition(schemas.FieldModel, []string{pattern}).holds(schemas.AllocationKey{Model: &v}),
			likes(pattern, v); got != want {
			t.Fatalf("%q on %q: %v", pattern, v, got)
		}
	})
}

// A pattern that takes back what it tried takes no time that matters.
func TestHardPatternsAreQuick(t *testing.T) {
	g := newGlob(strings.Repeat("*a", 400) + "*b")
	v := strings.Repeat("a", 100_000)
	if g.match(v) {
		t.Error("it matches")
	}
}

// The rules of a spreadsheet say what the same rules in YAML say.
func TestASpreadsheetSaysTheSameAsYAML(t *testing.T) {
	sheet, err := parse("id,from,to,token_id,channel,model,team,gl_code,tag.x\n"+
		"a,2026-01-02,,x*|a,,,T,1,\nb,,,,7|1*,a\\|b|b,U,,v\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	yaml, err := parse(`rules:
- {id: a, from: 2026-01-02, match: {token_id: ["x*", a]}, assign: {team: T, gl_code: "1"}}
- {id: b, match: {channel: [7, "1*"], model: ['a\|b', b]}, assign: {team: U, tags: {x: v}}}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		k, d := randomKey(t), randomDay(t)
		k.ChannelID = ptr(rapid.Int64Range(7, 11).Draw(t, "channel"))
		k.Model = ptr(rapid.SampledFrom([]string{"a|b", "b", "a"}).Draw(t, "model"))
		a, b := sheet.Assign(k, d), yaml.Assign(k, d)
		if a.Source, b.Source = "", ""; a != b {
			t.Fatalf("%+v\n%+v", a, b)
		}
	})
}

// manyRules are n rules for a token each, and one for the rest by tables.
func manyRules(t testing.TB, n int) *Rules {
	var text strings.Builder
	text.WriteString("tables: {t: {file: t.csv, key: token_id}, u: {file: u.csv, key: team}}\nrules:\n")
	for i := range n {
		fmt.Fprintf(&text, "- {id: r%d, match: {token_id: tk_%d}, assign: {team: t%d}}\n", i, i, i)
	}
	text.WriteString("- {id: claude, match: {model: \"claude-*\"}, assign: {team: rest}}\n- {id: table, lookup: [t, u]}\n")
	r, err := parse(text.String(), map[string]string{"t.csv": "token_id,team\nother,x\n",
		"u.csv": "team,cost_center,tag.a\nx,X,b\n"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func BenchmarkAssign(b *testing.B) {
	r := manyRules(b, 20_000)
	for name, k := range map[string]schemas.AllocationKey{
		"token":   {Account: "acme", TokenID: ptr("tk_7000"), Model: ptr("claude-x")},
		"pattern": {Account: "acme", TokenID: ptr("tk_x"), Model: ptr("claude-x")},
		"table":   {Account: "acme", TokenID: ptr("other"), Model: ptr("gpt")},
		"nothing": {Account: "acme", TokenID: ptr("tk_x"), Model: ptr("gpt")},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Assign(k, 0)
			}
		})
	}
}

// key is that of a token.
func key(token string) schemas.AllocationKey {
	return schemas.AllocationKey{Account: "acme", TokenID: &token}
}
