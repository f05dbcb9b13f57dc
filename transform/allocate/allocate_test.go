package allocate

import (
	"fmt"
	"math/big"
	"os"
	"path/filepath"
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

func ptr[T any](v T) *T { return &v }

// example are the rules of testdata, which the docs show.
func example(t testing.TB) *Rules {
	t.Helper()
	b, err := os.ReadFile("testdata/allocation.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(File{"allocation.yaml", b}, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join("testdata", name)) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t testing.TB, text string, files map[string]string) (*Rules, error) {
	t.Helper()
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
		{"eval-7", "search", "2026-10-01", schemas.Assignment{RuleID: "evaluations", Version: 1, Source: "allocation.yaml:11", Pool: "evaluations"}},
		{"tk_102", "search", "2026-06-30", schemas.Assignment{RuleID: "search", Version: 1, Source: "allocation.yaml:16",
			Owner: schemas.Owner{CostCenter: "R&D", Team: "research", Project: "search"}}},
		{"tk_102", "search-eu", "2026-07-01", schemas.Assignment{RuleID: "search", Version: 2, Source: "allocation.yaml:20",
			Owner: schemas.Owner{CostCenter: "Product", Team: "product", Project: "search", GLCode: "6200", Tags: `{"initiative":"relevance"}`}}},
		{"tk_101", "", "2026-08-31", schemas.Assignment{RuleID: "by-token", Version: 1, Source: "allocation.yaml:26 tokens.csv:2 centres.csv:2",
			Owner: schemas.Owner{CostCenter: "R&D", Team: "research", Environment: "prod", GLCode: "6100", Tags: `{"contact":"ada"}`}}},
		{"tk_101", "", "2026-09-01", schemas.Assignment{RuleID: "by-token", Version: 1, Source: "allocation.yaml:26 tokens.csv:3 centres.csv:3",
			Owner: schemas.Owner{CostCenter: "Product", Team: "product", Environment: "prod", GLCode: "6200"}}},
		{"tk_102", "", "2026-09-01", schemas.Assignment{RuleID: "by-token", Version: 1, Source: "allocation.yaml:26 tokens.csv:4 centres.csv:4",
			Owner: schemas.Owner{CostCenter: "Operations", Team: "support", Environment: "staging", GLCode: "6300"}}},
		{"tk_103", "", "2026-09-01", schemas.Assignment{RuleID: "by-token", Version: 1, Source: "allocation.yaml:26 tokens.csv:5", // a team without a centre
			Owner: schemas.Owner{Team: "unknown", Environment: "prod"}}},
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
		{"gpt-*", "gpt-", true}, {"gpt-*", "gpt-4o/mini", true}, {"*/gpt-4", "openai/gpt-4", true}, {"*/gpt-4", "gpt-4", false},
		{"a*b*c", "a-b-b-c", true}, {"a*b*c", "acb", false}, {"*b*", "abc", true}, {"?", "é", true}, {"?", "", false}, {"?", "ab", false},
		{"a**c", "abc", true}, {`\*`, "*", true}, {`\*`, "x", false}, {`a\`, `a\`, true}, {"*", "x", true}, {"*", "", true}, {"*", "NULL", true},
		{"", "", true}, {"", "NULL", true}, {"", "x", false}, {"x*", "NULL", false}, {"a*a", "a", false}, {"*ab", "aab", true}, {"a?*c", "abc", true}, {"[a-z]", "b", false},
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
	r, err := parse(t, "rules:\n  - {id: a, match: {channel: [7, \"1*\"]}, assign: {team: x}}\n", nil)
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
	r, err := parse(t, "\xef\xbb\xbfid;token_id;model;from;cost_center;tag.env\r\na; tk_1 | tk_2 ;claude-*;2026-01-01;\"R;D\";prod\r\n;;;;;\r\nrest;;;;Other;\r\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ token, model, day, want string }{
		{"tk_2", "claude-x", "2026-01-01", "R;D"}, {"tk_2", "claude-x", "2025-12-31", "Other"}, {"tk_3", "claude-x", "2026-01-01", "Other"},
	} {
		if got := r.Assign(schemas.AllocationKey{TokenID: &c.token, Model: &c.model}, day(c.day)); got.CostCenter != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if got := r.List()[0]; got.Source != "a.csv:2" || got.Match != "model claude-* and token_id tk_1 or tk_2" || got.Assigns != "cost_center R;D, tag env prod" {
		t.Errorf("%+v", got)
	}
}

// Each mistake names the file, the line and the rule, and what to write instead; several are reported at once.
func TestMistakesAreReportedWithTheirPlace(t *testing.T) {
	const ok = "rules:\n- {id: a, assign: {team: x}}\n"
	for _, c := range []struct {
		text  string
		files map[string]string
		want  string
	}{
		{"", nil, "a.csv:1: the file is empty"},
		{"# rules", nil, "a.yaml:1: the file is empty: write rules:"},
		{"rulez: []\nrules: []", nil, "a.yaml:1: the file: unknown key rulez: did you mean rules?"},
		{"version: 2\n" + ok, nil, `a.yaml:1: version "2": this program reads version 1`},
		{"rules:\n- {assign: {team: x}}", nil, "a.yaml:2: rule 1: no id"},
		{"rules:\n- {id: a}", nil, "a.yaml:2: rule a: it assigns nothing"},
		{"rules:\n- {id: a, asign: {team: x}}", nil, "a.yaml:2: rule 1: unknown key asign: did you mean assign?"},
		{"rules:\n- {id: a, assign: {teem: x}}", nil, "a.yaml:2: rule a: assign: unknown key teem: did you mean team?"},
		{"rules:\n- id: a\n  match: {modle: x}\n  assign: {team: x}", nil, "a.yaml:3: rule a: match: unknown key modle: did you mean model?"},
		{"rules:\n- id: a\n  match: {model: []}\n  assign: {team: x}", nil, "a.yaml:3: rule a: match: model is empty"},
		{"rules:\n- id: a\n  match: {token_id: 1.50}\n  assign: {team: x}", nil, "a.yaml:3: rule a: match: token_id: 1.50 is read as a number: put it in quotes"},
		{"rules:\n- {id: a, from: 2026-13-01, assign: {team: x}}", nil, `a.yaml:2: rule a: from: "2026-13-01" is not a date like 2026-11-01`},
		{"rules:\n- {id: a, from: 2026-02-01, to: 2026-02-01, assign: {team: x}}", nil, "a.yaml:2: rule a: from 2026-02-01 is not before to 2026-02-01"},
		{ok + "- {id: a, from: 2026-03-01, assign: {team: y}}", nil, "a.yaml:3: rule a: it is valid at the same time as that of line 2: end that with to: 2026-03-01"},
		{"rules:\n- {id: a, assign: {cost_center: (unallocated)}}", nil, "a.yaml:2: rule a: assign: cost_center: (unallocated) is what no rule matches"},
		{"rules:\n- {id: a, assign: {team: \"x \"}}", nil, "begins or ends with a space"},
		{"rules:\n- {id: a, assign: {team: \"x\\ty\"}}", nil, "has a control character"},
		{"rules:\n- {id: a, pool: p}\npools: {q: {split: even, to: all}}", nil, `a.yaml:2: rule a: no pool "p": define it below pools: did you mean q?`},
		{"rules:\n- {id: a, pool: p, assign: {team: x}}\npools: {p: {split: even, to: all}}", nil, "it has pool and assign or lookup"},
		{ok + "pools: {p: {split: evenly, to: all}}", nil, `a.yaml:3: pool p: split "evenly": write one of fixed, even, usage, cost: did you mean even?`},
		{ok + "pools: {p: {split: fixed, to: all}}", nil, "a fixed split needs a list"},
		{ok + "pools: {p: {split: fixed, to: [{team: x, share: 0}]}}", nil, "every share or weight is 0"},
		{ok + "pools: {p: {split: cost, to: [{team: x, weight: -1}]}}", nil, `"-1" is not a weight`},
		{ok + "pools: {p: {split: cost, to: [{team: x}, {team: x}]}}", nil, "it stands twice"},
		{ok + "pools: {p: {split: cost, to: []}}", nil, "nobody bears it"},
		{"rules:\n- &x {id: a, assign: {team: x}}\n- *x", nil, "a.yaml:3: an alias (*x): write out what it stands for"},
		{ok + "---\n" + ok, nil, "more than one document"},
		{"rules:\n- {id: a, lookup: t}", nil, `a.yaml:2: rule a: lookup: no table "t"`},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, nil, "a.yaml:1: table t: open t.csv: no such file"},
		{"tables: {t: {file: ../t.csv, key: token_id}}\n" + ok, nil, `table t: file "../t.csv": write a path below the directory of a.yaml`},
		{"tables: {t: {file: t.csv, key: tokn}}\n" + ok, nil, `key: no field "tokn"`},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token,team\n"}, `t.csv:1: unknown column "token": did you mean token_id?`},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id\n1\n"}, "t.csv:1: it assigns nothing"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "team\nx\n"}, "t.csv:1: no column token_id, which table t is looked up by"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1,x\n2,y\n1,z\n"}, "t.csv:4: 1 is there already in line 2, for the same time"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1.23457E+18,x\n"}, "t.csv:2: token_id: 1.23457E+18 is a rounded number: the spreadsheet has lost digits"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1,x,y\n,z\n"}, "t.csv:2: 3 cells, the header has 2\nt.csv:3: no token_id"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1,\xff\n"}, "t.csv:2: the file is not UTF-8"},
		{"tables: {t: {file: t.csv, key: team}}\nrules:\n- {id: a, lookup: t}", map[string]string{"t.csv": "team,cost_center\nx,y\n"}, "a.yaml:3: rule a: lookup: t.csv is looked up by team, which no table before it assigns"},
		{"id,modle,team\na,x,y\n", nil, `a.csv:1: unknown column "modle": did you mean model?`},
		{"id,team\n,y\nb,\n", nil, "a.csv:2: no id: each rule has a name\na.csv:3: rule b: it assigns nothing"},
		{"id,token_id,team\na,7E+18,y\n", nil, "a.csv:2: rule a: token_id: 7E+18 is a rounded number"},
	} {
		_, err := parse(t, c.text, c.files)
		if err == nil {
			t.Errorf("%q: no error, want %s", c.text, c.want)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %v\n got %v\nwant %s", c.text, c.files, err, c.want)
		}
	}
}

// Asking by an index of tokens says the same as asking rule by rule.
func TestAssignIsTheFirstRuleThatMatches(t *testing.T) {
	words := []string{"", "a", "ab", "b", "x1", "x2"}
	patterns := []string{"a", "b", "x1", "x*", "*", "", "?b"}
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		b.WriteString("rules:\n")
		for i := range rapid.IntRange(1, 8).Draw(t, "rules") {
			fmt.Fprintf(&b, "- id: r%d\n  assign: {team: t%d}\n", i, i)
			if d := rapid.IntRange(0, 3).Draw(t, "from"); d > 0 {
				fmt.Fprintf(&b, "  from: 2026-01-0%d\n", d)
			}
			list := func(name string) string {
				return fmt.Sprintf("%q", rapid.SliceOfN(rapid.SampledFrom(patterns), 1, 3).Draw(t, name))
			}
			quoted := func(s string) string { return strings.ReplaceAll(s, " ", ", ") }
			fmt.Fprintf(&b, "  match: {token_id: %s", quoted(list("token")))
			if rapid.Bool().Draw(t, "both") {
				fmt.Fprintf(&b, ", model: %s", quoted(list("model")))
			}
			b.WriteString("}\n")
		}
		r, err := Parse(File{"a.yaml", []byte(b.String())}, nil)
		if err != nil {
			t.Fatalf("%s\n%v", b.String(), err)
		}
		pick := func(name string) *string {
			if w := rapid.SampledFrom(append(words, "NULL")).Draw(t, name); w != "NULL" {
				return &w
			}
			return nil
		}
		k := schemas.AllocationKey{TokenID: pick("t"), Model: pick("m")}
		d := day("2026-01-01") + schemas.Date(rapid.IntRange(0, 3).Draw(t, "day"))
		want := schemas.Assignment{}
		for _, x := range r.rules {
			if a, why := x.try(k, d); why == matched {
				want = a
				break
			}
		}
		if got := r.Assign(k, d); got != want {
			t.Fatalf("%s\ngot %+v, want %+v", b.String(), got, want)
		}
	})
}

func bigs(t *rapid.T, name string, low, high int64) *big.Int {
	v := big.NewInt(rapid.Int64Range(low, high).Draw(t, name))
	if rapid.IntRange(0, 9).Draw(t, "huge") == 0 {
		v.Mul(v, big.NewInt(1_000_000_000_000))
	}
	return v
}

// Parts sum to the whole, each is its exact share rounded to a unit, and zero weights leave nothing over.
func TestApportionLosesAndMakesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := bigs(t, "total", -1_000_000, 1_000_000)
		weights := make([]*big.Int, rapid.IntRange(1, 12).Draw(t, "n"))
		sum := new(big.Int)
		for i := range weights {
			weights[i] = bigs(t, "w", 0, 5)
			sum.Add(sum, weights[i])
		}
		parts := Apportion(total, weights)
		got := new(big.Int)
		for i, p := range parts {
			got.Add(got, p)
			if sum.Sign() == 0 {
				continue
			}
			// |part × sum − total × weight| < sum: within one unit of the exact share
			off := new(big.Int).Sub(new(big.Int).Mul(p, sum), new(big.Int).Mul(total, weights[i]))
			if off.CmpAbs(sum) >= 0 {
				t.Fatalf("part %d of %v by %v is %v", i, total, weights, p)
			}
			if weights[i].Sign() == 0 && p.Sign() != 0 {
				t.Fatalf("weight 0 got %v", p)
			}
		}
		if got.Cmp(total) != 0 {
			t.Fatalf("%v by %v: %v sums to %v", total, weights, parts, got)
		}
	})
}

func TestSharesSumToTheCostInEveryFigure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &pool{name: "p", method: rapid.SampledFrom([]string{methodFixed, methodEven, methodUsage, methodCost}).Draw(t, "method")}
		names := []string{"A", "B", "C", "D"}
		p.all = p.method != methodFixed && rapid.Bool().Draw(t, "all")
		if !p.all {
			for _, n := range names[:rapid.IntRange(1, 4).Draw(t, "targets")] {
				p.targets = append(p.targets, target{schemas.Owner{CostCenter: n}, schemas.Decimal(rapid.Int64Range(0, 3).Draw(t, "w")) * one / 2})
			}
		}
		r := newRules(nil, nil, []*pool{p}, nil)
		var direct []schemas.DirectCost
		for _, n := range append(names, "") {
			if rapid.Bool().Draw(t, "direct") {
				direct = append(direct, schemas.DirectCost{Owner: schemas.Owner{CostCenter: n}, Currency: ptr("USD"), Tokens: bigs(t, "tokens", 0, 3), Net: bigs(t, "net", -2, 9)})
			}
		}
		optional := func(name string) *big.Int {
			if rapid.IntRange(0, 4).Draw(t, name) == 0 {
				return nil
			}
			return bigs(t, name, -1000, 1_000_000)
		}
		c := schemas.PoolCost{Pool: "p", Date: day("2026-10-05"), Account: "a", Currency: ptr("USD"), Measures: schemas.Measures{
			Requests: rapid.Int64Range(0, 100).Draw(t, "n"), Input: optional("in"), Output: optional("out"), Cached: optional("c"), Total: optional("t"),
			List: optional("list"), Discount: optional("discount"), Net: optional("amount")}}
		shares, err := r.Split(day("2026-10-01"), []schemas.PoolCost{c}, direct)
		if err != nil || len(shares) == 0 {
			t.Fatalf("%v %v", shares, err)
		}
		figures := func(m schemas.Measures) []*big.Int {
			return []*big.Int{big.NewInt(m.Requests), big.NewInt(m.WithoutAmount), m.Input, m.Output, m.Cached, m.Total, m.List, m.Discount, m.Net}
		}
		for i, want := range figures(c.Measures) {
			sum := new(big.Int)
			for _, s := range shares {
				v := figures(s.Measures)[i]
				if (v == nil) != (want == nil) {
					t.Fatalf("figure %d: NULL and not NULL", i)
				}
				if v != nil {
					sum.Add(sum, v)
				}
			}
			if want != nil && sum.Cmp(want) != 0 {
				t.Fatalf("figure %d: %v, shares sum to %v", i, want, sum)
			}
		}
		ratio := schemas.Decimal(0)
		for _, s := range shares {
			ratio += s.Ratio
		}
		if off := ratio - one; off > 10 || off < -10 {
			t.Fatalf("ratios sum to %v", ratio)
		}
	})
}

func TestSplitsByHand(t *testing.T) {
	usd, eur := ptr("USD"), ptr("EUR")
	direct := []schemas.DirectCost{
		{Owner: schemas.Owner{CostCenter: "A", Team: "x"}, Currency: usd, Tokens: big.NewInt(300), Net: big.NewInt(10)},
		{Owner: schemas.Owner{CostCenter: "A", Team: "y"}, Currency: usd, Tokens: big.NewInt(100), Net: big.NewInt(20)},
		{Owner: schemas.Owner{CostCenter: "B"}, Currency: usd, Tokens: big.NewInt(100), Net: big.NewInt(-5)},
		{Owner: schemas.Owner{CostCenter: "C"}, Currency: eur, Net: big.NewInt(7)},
		{Currency: usd, Tokens: big.NewInt(1000), Net: big.NewInt(1000)},
	}
	cc := func(n string, w schemas.Decimal) target { return target{schemas.Owner{CostCenter: n}, w} }
	for name, c := range map[string]struct {
		pool     pool
		currency *string
		want     string
	}{
		"fixed":             {pool{method: "fixed", targets: []target{cc("A", one/10*3), cc("B", one/10*7)}}, usd, "A 30 fixed share 0.3|B 70 fixed share 0.7"},
		"even":              {pool{method: "even", targets: []target{cc("A", one), cc("B", one), cc("C", one)}}, usd, "A 34 even 1 of 3|B 33 even 1 of 3|C 33 even 1 of 3"},
		"usage":             {pool{method: "usage", targets: []target{cc("A", one), cc("B", one)}}, usd, "A 80 usage 400 tokens|B 20 usage 100 tokens"},
		"usage weighted":    {pool{method: "usage", targets: []target{cc("A", one), cc("B", 4*one)}}, usd, "A 50 usage 400 tokens|B 50 usage 100 tokens × 4"},
		"cost":              {pool{method: "cost", targets: []target{cc("A", one), cc("B", one)}}, usd, "A 100 cost 0.00000000003 USD|B 0 cost 0 USD"},
		"cost of nobody":    {pool{method: "cost", targets: []target{cc("B", one), cc("D", one)}}, usd, "B 50 even (no cost) 1 of 2|D 50 even (no cost) 1 of 2"},
		"all by cost":       {pool{method: "cost", all: true}, usd, "A 33 cost 0.00000000001 USD|A 67 cost 0.00000000002 USD|B 0 cost 0 USD"},
		"all, other money":  {pool{method: "cost", all: true}, eur, "C 100 cost 0.000000000007 EUR"},
		"all, nobody there": {pool{method: "cost", all: true}, ptr("CHF"), " 100 cost (no owner) 1 of 1"},
	} {
		c.pool.name = "p"
		r := newRules(nil, nil, []*pool{&c.pool}, nil)
		shares, err := r.Split(day("2026-10-01"), []schemas.PoolCost{{Pool: "p", Date: day("2026-10-09"), Currency: c.currency, Measures: schemas.Measures{Net: big.NewInt(100)}}}, direct)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range shares {
			got = append(got, fmt.Sprintf("%s %v %s %s", s.Owner.CostCenter, s.Net, s.Method, s.Basis))
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "|"), c.want)
		}
	}
	r := newRules(nil, nil, []*pool{{name: "p", method: "even", all: true}}, nil)
	if _, err := r.Split(day("2026-10-01"), []schemas.PoolCost{{Pool: "p", Date: day("2026-11-01")}}, nil); err == nil {
		t.Error("a cost of another month was split")
	}
}

func FuzzRules(f *testing.F) {
	b, err := os.ReadFile("testdata/allocation.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("rules: [{id: a, match: {channel: 7}, pool: p}]\npools: {p: {split: usage, to: all}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := Parse(File{"f.yaml", content}, func(string) ([]byte, error) { return []byte("token_id,team\n1,x\n"), nil })
		if err == nil {
			ask(r)
		}
	})
}

func FuzzRulesCSV(f *testing.F) {
	f.Add([]byte("id;token_id;from;cost_center\na;x*|y;2026-01-01;CC\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if r, err := Parse(File{"f.csv", content}, nil); err == nil {
			ask(r)
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add([]byte("token_id,team,from,to,tag.x\n1,a,2026-01-01,2026-02-01,y\n1,b,2026-02-01,,\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := Parse(File{"f.yaml", []byte("tables: {t: {file: t.csv, key: token_id}}\nrules: [{id: a, lookup: t}]")}, func(string) ([]byte, error) { return content, nil })
		if err == nil {
			ask(r)
		}
	})
}

// ask asks the rules of everything, so that what was accepted is also usable.
func ask(r *Rules) {
	r.List()
	r.Pools()
	for _, d := range append(r.Boundaries(), 0) {
		for _, v := range []string{"", "x", "1"} {
			r.Assign(schemas.AllocationKey{Account: v, TokenID: &v, UserID: &v, CustomUserID: &v, Model: &v, ModelType: &v, ChannelID: ptr(int64(7))}, d)
		}
		r.Assign(schemas.AllocationKey{}, d)
	}
}

func BenchmarkAssign(b *testing.B) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "- {id: r%d, match: {token_id: tk_%d}, assign: {team: t%d}}\n", i, i, i)
	}
	text.WriteString("- {id: rest, match: {model: \"claude-*\"}, assign: {team: rest}}\n")
	r, err := Parse(File{"a.yaml", []byte(text.String())}, nil)
	if err != nil {
		b.Fatal(err)
	}
	k := schemas.AllocationKey{Account: "acme", TokenID: ptr("tk_700"), Model: ptr("claude-x")}
	b.ReportAllocs()
	for b.Loop() {
		r.Assign(k, 0)
	}
}

// key is that of a token.
func key(token string) schemas.AllocationKey {
	return schemas.AllocationKey{Account: "acme", TokenID: &token}
}
