package allocate

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

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
		{"rules:\n- id: a\n  match: {modle: x}\n  assign: {team: x}", nil,
			"a.yaml:3: rule a: match: unknown key modle: did you mean model?"},
		{"rules:\n- id: a\n  match: {model: []}\n  assign: {team: x}", nil, "a.yaml:3: rule a: match: model is empty"},
		{"rules:\n- id: a\n  match: {token_id: 1.50}\n  assign: {team: x}", nil,
			"a.yaml:3: rule a: match: token_id: 1.50 is read as a number: put it in quotes"},
		{"rules:\n- {id: a, from: 2026-13-01, assign: {team: x}}", nil,
			`a.yaml:2: rule a: from: "2026-13-01" is not a date like 2026-11-01`},
		{"rules:\n- {id: a, from: 2026-02-01, to: 2026-02-01, assign: {team: x}}", nil,
			"a.yaml:2: rule a: from 2026-02-01 is not before to 2026-02-01"},
		{ok + "- {id: a, from: 2026-03-01, assign: {team: y}}", nil,
			"a.yaml:3: rule a: it is valid at the same time as that of line 2: end that with to: 2026-03-01"},
		{"rules:\n- {id: a, assign: {cost_center: (unallocated)}}", nil,
			"a.yaml:2: rule a: assign: cost_center: (unallocated) is what no rule matches"},
		{"rules:\n- {id: a, assign: {team: \"x \"}}", nil, "begins or ends with a space"},
		{"rules:\n- {id: a, assign: {team: \"x\\ty\"}}", nil, "has a control character"},
		{"rules:\n- {id: a, pool: p}\npools: {q: {split: even, to: all}}", nil,
			`a.yaml:2: rule a: no pool "p": define it below pools: did you mean q?`},
		{"rules:\n- {id: a, pool: p, assign: {team: x}}\npools: {p: {split: even, to: all}}", nil,
			"it has pool and assign or lookup"},
		{ok + "pools: {p: {split: evenly, to: all}}", nil,
			`a.yaml:3: pool p: split "evenly": write one of fixed, even, usage, cost: did you mean even?`},
		{ok + "pools: {p: {split: fixed, to: all}}", nil, "a fixed split needs a list"},
		{ok + "pools: {p: {split: fixed, to: [{team: x, share: 0}]}}", nil, "every share or weight is 0"},
		{ok + "pools: {p: {split: cost, to: [{team: x, weight: -1}]}}", nil, `"-1" is not a weight`},
		{ok + "pools: {p: {split: cost, to: [{team: x}, {team: x}]}}", nil, "it stands twice"},
		{ok + "pools: {p: {split: cost, to: []}}", nil, "nobody bears it"},
		{"rules:\n- &x {id: a, assign: {team: x}}\n- *x", nil, "a.yaml:3: an alias (*x): write out what it stands for"},
		{ok + "---\n" + ok, nil, "more than one document"},
		{"rules:\n- {id: a, lookup: t}", nil, `a.yaml:2: rule a: lookup: no table "t"`},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, nil, "a.yaml:1: table t: open t.csv: no such file"},
		{"tables: {t: {file: ../t.csv, key: token_id}}\n" + ok, nil,
			`table t: file "../t.csv": write a path below the directory of a.yaml`},
		{"tables: {t: {file: t.csv, key: tokn}}\n" + ok, nil, `key: no field "tokn"`},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token,team\n"},
			`t.csv:1: unknown column "token": did you mean token_id?`},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id\n1\n"},
			"t.csv:1: it assigns nothing"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "team\nx\n"},
			"t.csv:1: no column token_id, which table t is looked up by"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1,x\n2,y\n1,z\n"},
			"t.csv:4: 1 is there already in line 2, for the same time"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1.23457E+18,x\n"},
			"t.csv:2: token_id: 1.23457E+18 is a rounded number: the spreadsheet has lost digits"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1,x,y\n,z\n"},
			"t.csv:2: 3 cells, the header has 2\nt.csv:3: no token_id"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1,\xff\n"},
			"t.csv:2: the file is not UTF-8"},
		{"tables: {t: {file: t.csv, key: team}}\nrules:\n- {id: a, lookup: t}",
			map[string]string{"t.csv": "team,cost_center\nx,y\n"},
			"a.yaml:3: rule a: lookup: t.csv is looked up by team, which no table before it assigns"},
		{"id,modle,team\na,x,y\n", nil, `a.csv:1: unknown column "modle": did you mean model?`},
		{"id,team\n,y\nb,\n", nil,
			"a.csv:2: no id: each rule has a name; rows of one name are its versions\na.csv:3: rule b: it assigns nothing"},
		{"rules:\n- {id: a, lookup: []}", nil,
			"a.yaml:2: rule a: lookup: it is empty: write the name of a table, or take it out"},
		{"rules:\n- {id: a, assign: {team: ~, project: x}}", nil,
			"a.yaml:2: rule a: assign: team: nothing: write a value, or take it out"},
		{"rules:\n- id: a\n  match: {token_id: }\n  assign: {team: x}", nil,
			`a.yaml:3: rule a: match: token_id: no value: write "" for records that have none, or take it out`},
		{"rules:\n- id: a\n  match:\n  assign: {team: x}", nil,
			"a.yaml:3: rule a: match: write a mapping of account, channel,"},
		{"rules:\n- {id: a, match: {channel: seven}, assign: {team: x}}", nil,
			`a.yaml:2: rule a: match: channel: "seven" is no channel: write a whole number such as 7, or a pattern like 1*`},
		{"rules:\n- {id: a, match: {channel: 007}, assign: {team: x}}", nil, `"007" is no channel`},
		{"rules:\n- id: a\n  match:\n    token_id: \"*\"\n    model: *\n  assign: {team: x}", nil,
			"a.yaml:5: it is no YAML: did not find expected alphabetic or numeric character: " +
				"a value that begins with * needs quotes"},
		{"rules:\n- id: a\n  match:\n    token_id: *prod\n  assign: {team: x}", nil,
			`a.yaml:4: it is no YAML: unknown anchor 'prod' referenced: a value that begins with * needs quotes, like ` +
				`"*-prod"`},
		{"rules:\n- id: a\n\tassign: {team: x}", nil,
			"a.yaml:2: it is no YAML: found a tab character that violates indentation: indent with spaces"},
		{"rules:\n- {id: a, assign: {team: \"x\\u200b\"}}", nil,
			`a.yaml:2: rule a: assign: team: "x\u200b" has a character that nobody sees`},
		{"rules:\n- {id: a, assign: {\"te\\eam\": x}}", nil,
			`a.yaml:2: rule a: assign: unknown key "te\x1bam": did you mean team?`},
		{"rules:\n- {id: a, assign: {cost_center: (UNALLOCATED)}}", nil, "(UNALLOCATED) is what no rule matches"},
		{"rules:\n- {id: a, from: 1.7.2026, assign: {team: x}}", nil,
			`a.yaml:2: rule a: from: "1.7.2026" is not a date like 2026-11-01`},
		{ok + "- {id: a, assign: {team: y}}", nil,
			"a.yaml:3: rule a: it is valid at the same time as that of line 2: " +
				"begin one later and end the other there, or give it another id"},
		{ok + "pools: {\"\": {split: even, to: all}}", nil, "a.yaml:3: pools: an entry without a name: write one"},
		{ok + "pools: {p: {split: fixed, to: [{team: x, share: 0.0000000000001}]}}", nil,
			`"0.0000000000001" is not a weight: write a number of 0 or more, such as 0.25 or 3, with at most 12 decimals`},
		{ok + "pools: {p: {split: fixed, to: [{team: x, weight: 1}]}}", nil,
			"a.yaml:3: pool p: to: a fixed split goes by share: write share: 0.3 or the like"},
		{ok + "pools: {p: {split: cost, to: [{team: x, share: 1}]}}", nil,
			"a.yaml:3: pool p: to: share is for a fixed split: write weight"},
		{ok + "pools: {p: {split: cost, to: [{weight: 1}]}}", nil,
			"an entry without cost_center, team, project, environment or gl_code"},
		{ok + "pools: {p: {split: cost}}", nil, "a.yaml:3: pool p: no to: write who bears it, as a list, or all"},
		{ok + "pools: {p: {split: cost, to: [" + strings.Repeat("{team: x}, ", 10001) + "]}}", nil,
			"a.yaml:3: pool p: 10001 bear it: write at most 10000"},
		{"tables: {t: {file: t.csv, key: channel}}\n" + ok, map[string]string{"t.csv": "channel,team\n7.0,x\n"},
			`t.csv:2: channel: "7.0" is no channel: write a whole number such as 7`},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok,
			map[string]string{"t.csv": "token_id,team,gl_code\n1,x,#N/A\n2,#REF!,\n3,x,6.1E+13\n"},
			"t.csv:2: gl_code: #N/A is a formula that failed: mend it in the spreadsheet, or empty the cell\n" +
				"t.csv:3: team: #REF! is a formula that failed"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok,
			map[string]string{"t.csv": "token_id,gl_code\n3,\"6,1E+13\"\n"},
			"t.csv:2: gl_code: 6,1E+13 is a rounded number"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok,
			map[string]string{"t.csv": "\r\ntoken_id;;team;;\r\n1;x;a;;\r\n2;;a;;y\r\n"},
			"t.csv:3: column 2 has no name: write one, or delete the column\nt.csv:4: 5 cells, the header has 3"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team,team\n"},
			"t.csv:1: the column team stands twice: delete one"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1,x\n2,\"y\n"},
			"t.csv:3: a quote that opens or ends no cell: put the whole cell in quotes"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "token_id,team\n1,\"x\ny\"\n"},
			`t.csv:2: team: "x\ny" has a control character`},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok, map[string]string{"t.csv": "t\x00o\x00"},
			"t.csv:1: it has NUL bytes: it is no CSV file; save it as CSV UTF-8"},
		{"tables: {t: {file: t.csv, key: token_id}}\n" + ok,
			map[string]string{"t.csv": "token_id,team,from,to\n1,x,2026-03-01,\n1,y,,2026-04-01\n1,z,,2026-01-01\n"},
			"t.csv:3: 1 is there already in line 2, for the same time: " +
				"delete one, or give the rows from and to that don't overlap\n" +
				"t.csv:4: 1 is there already in line 3"},
		{"id,token_id,team\na,tk_1|,y\n", nil,
			`a.csv:2: rule a: token_id: "tk_1|" has nothing before, after or between its |: take the | out`},
		{"id,channel,team\na,7|x,y\n", nil, `a.csv:2: rule a: channel: "x" is no channel`},
		{"id,pool\na,p\n", nil, `a.csv:1: unknown column "pool"`},
		{"id,token_id,team\na,7E+18,y\n", nil, "a.csv:2: rule a: token_id: 7E+18 is a rounded number"},
	} {
		_, err := parse(c.text, c.files)
		if err == nil {
			t.Errorf("%q: no error, want %s", c.text, c.want)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %v\n got %v\nwant %s", c.text, c.files, err, c.want)
		}
	}
}

// A file full of mistakes gives the first of them, and says that there are more.
func TestMistakesAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		files map[string]string
	}{
		"rules":        {"rules:\n" + strings.Repeat("- {id: a, asign: {}}\n", 5000), nil},
		"rules as CSV": {"id,team\n" + strings.Repeat(",x\n", 5000), nil},
		"header":       {"id,team" + strings.Repeat(",x", 5000), nil},
		"table": {"tables: {t: {file: t.csv, key: token_id}}\nrules: []",
			map[string]string{"t.csv": "token_id,team\n" + strings.Repeat(",x\n", 5000)}},
		"table, repeat": {"tables: {t: {file: t.csv, key: token_id}}\nrules: []",
			map[string]string{"t.csv": "token_id,team\n" + strings.Repeat("1,x\n", 5000)}},
	} {
		_, err := parse(c.text, c.files)
		if err == nil {
			t.Errorf("%s: no mistake", name)
			continue
		}
		if n := strings.Count(err.Error(), "\n"); n != maxMistakes || !strings.HasSuffix(err.Error(), andMore) {
			t.Errorf("%s: %d lines", name, n+1)
		}
	}
}

// What is written for two tables of one file is one file's content, and a path that leaves the directory is not read.
func TestFilesAreReadOnceAndStayBelow(t *testing.T) {
	var opened []string
	open := func(name string) ([]byte, error) {
		opened = append(opened, name)
		return []byte(fmt.Sprintf("token_id,team\n1,%d\n", len(opened))), nil
	}
	r, err := Parse(File{"a.yaml", []byte("tables: {t: {file: t.csv, key: token_id}, u: {file: t.csv, key: " +
		"token_id}}\n" +
		"rules: [{id: a, lookup: [t, u]}]")}, open)
	if err != nil || len(opened) != 1 || len(r.Files()) != 2 || r.Files()[1].Name != "t.csv" {
		t.Errorf("%v: opened %q", err, opened)
	}
	opened = nil
	for _, name := range []string{"../t.csv", "/etc/passwd", "a/../../t.csv", `a\b.csv`, "C:t.csv", `""`, "[t.csv]",
		`"t\n.csv"`} {
		if _, err := Parse(File{"a.yaml", []byte("tables: {t: {file: " + name + ", key: token_id}}\nrules: []")},
			open); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(opened) > 0 {
		t.Errorf("opened %q", opened)
	}
}

// The digest follows the rules and every table they name.
func TestTheDigestFollowsEveryFile(t *testing.T) {
	const text = "tables: {t: {file: t.csv, key: token_id}}\nrules: [{id: a, lookup: t}]"
	seen := map[string]bool{Empty().Digest(): true}
	for _, c := range []struct{ text, table string }{
		{text, "token_id,team\n1,x\n"}, {text, "token_id,team\n1,y\n"}, {text + "\n", "token_id,team\n1,x\n"},
	} {
		r, err := parse(c.text, map[string]string{"t.csv": c.table})
		if err != nil || seen[r.Digest()] {
			t.Errorf("%q: %v, or seen before", c, err)
			continue
		}
		seen[r.Digest()] = true
		again, err := parse(c.text, map[string]string{"t.csv": c.table})
		if err != nil || again.Digest() != r.Digest() {
			t.Errorf("%q: read again it has another digest (%v)", c, err)
		}
	}
}

func FuzzRules(f *testing.F) {
	b, err := os.ReadFile("testdata/allocation.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("rules: [{id: a, match: {channel: 7}, pool: p}]\npools: {p: {split: usage, to: all}}"))
	f.Add([]byte("rules: [{id: a, pool: p}]\n" +
		"pools: {p: {split: fixed, to: [{team: x, share: 2.5}, {team: y, share: 0}]}}"))
	f.Add([]byte("rules: [{id: a, match: {model: [\"*\", \"\", 'x?\\*']}, assign: {tags: {a: b}}}, " +
		"{id: a, from: 2026-01-01, lookup: t}]\n" +
		"tables: {t: {file: t, key: [token_id, channel]}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := Parse(File{"f.yaml", content}, func(string) ([]byte,
			error) {
			return []byte("token_id,team\n1,x\n"), nil
		})
		answers(t, r, err)
	})
}

func FuzzRulesCSV(f *testing.F) {
	f.Add([]byte("id;token_id;from;cost_center\na;x*|y;2026-01-01;CC\n"))
	f.Add([]byte("id,channel,to,team,tag.x\na,7|1*,2026-01-01,\"a,b\",#N/A\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := Parse(File{"f.csv", content}, nil)
		answers(t, r, err)
	})
}

func FuzzTable(f *testing.F) {
	f.Add([]byte("token_id,team,from,to,tag.x\n1,a,2026-01-01,2026-02-01,y\n1,b,2026-02-01,,\n"))
	f.Add([]byte("\xef\xbb\xbftoken_id;team\r\n1.23457E+18;\"a;b\"\r\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := Parse(File{"f.yaml", []byte("tables: {t: {file: t.csv, key: token_id}}\nrules: [{id: a, lookup: t}]")},
			func(string) ([]byte, error) { return content, nil })
		answers(t, r, err)
	})
}

var place = regexp.MustCompile(`^[^:]+:[0-9]+: \P{Cc}+$`)

// answers checks that what was accepted answers every question, and that what was refused says where and why, in words
// that do a terminal no harm.
func answers(t *testing.T, r *Rules, err error) {
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			if line != andMore && !place.MatchString(line) {
				t.Fatalf("a mistake without its place: %q", line)
			}
		}
		return
	}
	r.List()
	var used []Used
	for _, d := range append(r.Boundaries(), 0) {
		for _, v := range []string{"", "x", "1"} {
			k := schemas.AllocationKey{Account: v, TokenID: &v, UserID: &v, CustomUserID: &v, Model: &v, ModelType: &v,
				ChannelID: ptr(int64(7))}
			a := r.Assign(k, d)
			steps := r.Explain(k, d)
			if matches := len(steps) > 0 && steps[len(steps)-1].Matches; matches != (a.RuleID != "") ||
				matches && steps[len(steps)-1].Source != a.Source {
				t.Fatalf("%+v, explained as %+v", a, steps)
			}
			if a.CostCenter == schemas.Unallocated || a.Pool != "" && a.Owner != (schemas.Owner{}) {
				t.Fatalf("assigned %+v", a)
			}
			used = append(used, Used{k, d, d})
		}
		r.Assign(schemas.AllocationKey{}, d)
		if len(used) > 100 {
			break
		}
	}
	r.Check(used)
	for _, p := range r.Pools() {
		shares, err := r.Split([]schemas.PoolCost{{Pool: p.Pool,
			Measures: schemas.Measures{Requests: 7, Net: units(-101)}}}, nil)
		var sum schemas.Money
		for _, s := range shares {
			sum = sum.Add(*s.Net)
		}
		if err != nil || sum.Cmp(*units(-101)) != 0 {
			t.Fatalf("%v: shares sum to %v", err, sum)
		}
	}
}
