package schemas

import (
	"reflect"
	"strings"
	"testing"
)

func TestWhatIsSaidOfATableStandsWhereItDoes(t *testing.T) {
	got, err := parseSQL(`-- Not kept; it's a note.
INSERT INTO t VALUES ('a;b', ';');

--| What the table is:
--| a table.
CREATE TABLE t (
    account VARCHAR NOT NULL,   --| The account's name,
                                --| in the config.
    "rows" DECIMAL(38,12)       --| How many. -- so many; 'quoted
);

/* ; */
--| A view.
CREATE OR REPLACE VIEW v /* marked */ (
    a,  --| First.
    b   --| Last.
) AS
SELECT * FROM t; -- the end

CREATE MACRO m(x, y) AS x || ';' || y;
--| Rows.
CREATE MACRO r(x) AS TABLE SELECT x;
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []sqlStatement{
		{sql: "INSERT INTO t VALUES ('a;b', ';')"},
		{kind: "TABLE", name: "t", comment: "What the table is: a table.",
			columns: []sqlColumn{{"account", "The account's name, in the config."}, {"rows", "How many. -- so many; 'quoted"}}},
		{kind: "VIEW", name: "v", comment: "A view.", columns: []sqlColumn{{"a", "First."}, {"b", "Last."}},
			sql: "CREATE OR REPLACE VIEW v /* marked */ AS\nSELECT * FROM t"},
		{kind: "MACRO", name: "m", sql: "CREATE MACRO m(x, y) AS x || ';' || y"},
		{kind: "MACRO TABLE", name: "r", comment: "Rows.", sql: "CREATE MACRO r(x) AS TABLE SELECT x"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d statements, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if w.sql == "" {
			w.sql = g.sql
		}
		if !reflect.DeepEqual(g, w) {
			t.Errorf("got  %+v\nwant %+v", g, w)
		}
	}
}

func TestACommentThatBelongsToNothingIsRefused(t *testing.T) {
	for file, want := range map[string]string{
		"CREATE TABLE t (a INTEGER);\n--| Of what?\n":                `nothing follows the comment "Of what?"`,
		"--| Of what?\nINSERT INTO t VALUES (1);":                    "is about nothing that can have one",
		"CREATE TABLE t ( --| Of what?\n a INTEGER);":                `"Of what?" is about no column`,
		"CREATE TABLE t (a INTEGER) --| Of what?\n;":                 "is about no column",
		"CREATE TABLE --| Of what?\n t (a INTEGER);":                 "no list of columns",
		"CREATE VIEW v (a) AS SELECT 1 AS a --| Of what?\n, 2 AS b;": "is about no column",
		"CREATE VIEW v AS SELECT 1 AS a;":                            "no list of columns",
		"CREATE MACRO m(x --| Of what?\n) AS x;":                     "is about no column",
		"CREATE TABLE t (a INTEGER)":                                 "no semicolon",
		"CREATE TABLE t (a DECIMAL(38,12);":                          "a parenthesis is not closed",
		"SELECT 'it''s;\n":                                           "is not closed",
		"SELECT 1 /* ;\n":                                            "is not closed",
	} {
		if got, err := parseSQL(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %+v; want %s", file, err, got, want)
		}
	}
	for file, want := range map[string]string{
		"CREATE TABLE t (a INTEGER --| It.\n);":                                 "t has no comment",
		"--| It.\nCREATE TABLE t (a INTEGER, --| It.\n b INTEGER);":             "t.b has no comment, or two",
		"--| It.\nCREATE TABLE balance (account VARCHAR --| Again.\n);":         "balance.account has no comment, or two",
		"--| It.\nCREATE VIEW focus_live (account, nobody) AS SELECT * FROM t;": "focus_live.nobody has no comment, or two",
	} {
		s, err := parseSQL(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := s[0].describe(nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", file, err, want)
		}
	}
}

// The schema is made by text that is part of the program: none of it may be one that the program stumbles over.
func TestEveryFileOfSQLIsRead(t *testing.T) {
	for _, sql := range []string{SQLLayout{}.Schema(), SQLLayout{Views: SQLSums}.Schema(),
		SQLLayout{Views: SQLSums[1:]}.Schema(), SQLLayout{Outside: true}.Schema(),
		SQLLayout{}.Allocated()} {
		if strings.Count(sql, "\nCOMMENT ON COLUMN ") < 39 {
			t.Errorf("without comments: %.200s", sql)
		}
	}
	const fields = "k.model IS NOT DISTINCT FROM u.model AND k.token_id IS NOT DISTINCT FROM u.token_id"
	for n, views := range [][]string{nil, SQLSums[1:]} {
		got := SQLLayout{Fields: []string{"model", "token_id"}, Views: views}.Allocated()
		if strings.Count(got, fields) != n+1 {
			t.Errorf("views %v: the fields aren't joined by: %s", views, got)
		}
	}
	for name, sql := range map[string]string{"charges.sql": sqlCharges, "chargeback.sql": sqlChargeback} {
		if !strings.Contains(sql, SQLString(Unallocated)) {
			t.Errorf("%s doesn't say %s of what has no cost centre", name, Unallocated)
		}
	}
	names := map[string]bool{}
	for _, v := range (SQLLayout{}).ScopedViews() {
		names[v.Name] = true
		ever := strings.Contains(v.SQL, "chargeback_ever")
		if ever != (v.Name == "charged_in_each") || strings.Contains(v.SQL, "/* ever */") {
			t.Errorf("%s looks at what was charged at any time, or not: %v", v.Name, ever)
		}
	}
	for name, want := range map[string]bool{
		"price_steps": true, "budget_status": true, "money_text": false, "hours_text": true, "completeness_monthly": true,
		"data_as_of": false, "published": false, "usage_line_items": false,
	} {
		if names[name] != want {
			t.Errorf("%s is made for a session: %v", name, names[name])
		}
	}
}
