package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// ask runs a query and returns its answer as CSV.
func ask(t testing.TB, l *publish.Lake, query string) string {
	t.Helper()
	ctx := context.Background()
	r, err := Run(ctx, l, query)
	if err != nil {
		t.Fatalf("%s\n%v", query, err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := r.WriteCSV(ctx, &b, CSVForm{}); err != nil {
		t.Fatalf("%s\n%v", query, err)
	}
	return b.String()
}

func publishedLake(t testing.TB) *publishtest.Writer {
	t.Helper()
	w := publishtest.New(t, load.Options{})
	w.RandomDays(2, 100)
	w.Publish(publish.PublishOptions{})
	return w
}

func TestQueryRendersEveryTypeExactly(t *testing.T) {
	w := publishedLake(t)
	for _, c := range []struct{ expr, csv, json string }{
		{"0.1::DECIMAL(18,12)", "0.100000000000", "0.100000000000"},
		{"-999999.999999999999::DECIMAL(18,12)", "-999999.999999999999", "-999999.999999999999"},
		{"98765.432109876543::DECIMAL(38,12)", "98765.432109876543", "98765.432109876543"},
		{"-0.000000000001::DECIMAL(18,12)", "-0.000000000001", "-0.000000000001"},
		{"7::DECIMAL(5,0)", "7", "7"},
		{"170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727",
			"170141183460469231731687303715884105727"},
		{"9223372036854775807", "9223372036854775807", "9223372036854775807"},
		{"255::UTINYINT", "255", "255"},
		{"0.1::DOUBLE", "0.1", "0.1"},
		{"'nan'::DOUBLE", "NaN", `"NaN"`},
		{"true", "true", "true"},
		{"NULL", "", "null"},
		{"''", `""`, `""`},
		{`'a "b", c'`, `"a ""b"", c"`, `"a \"b\", c"`},
		{"chr(10) || chr(27)", "\"\n\x1b\"", `"\n\u001b"`},
		{"TIMESTAMPTZ '2026-11-01 10:00:00.25+02'", "2026-11-01T08:00:00.25Z", `"2026-11-01T08:00:00.25Z"`},
		{"TIMESTAMP '2026-11-01 10:00:00'", "2026-11-01T10:00:00", `"2026-11-01T10:00:00"`},
		{"DATE '2026-11-01'", "2026-11-01", `"2026-11-01"`},
		{"TIME '10:00:00.5'", "10:00:00.5", `"10:00:00.5"`},
		{"INTERVAL '14 months 3 days 4 seconds'", "1 year 2 months 3 days 00:00:04", `"1 year 2 months 3 days 00:00:04"`},
		{"'ab\\x00'::BLOB", `ab\x00`, `"ab\\x00"`},
		{"'1234abcd-0000-4000-8000-000000000001'::UUID", "1234abcd-0000-4000-8000-000000000001",
			`"1234abcd-0000-4000-8000-000000000001"`},
		{"'x'::ENUM('x', 'y')", "x", `"x"`},
		{"[1.50::DECIMAL(18,12), NULL]", `"[1.500000000000,null]"`, "[1.500000000000,null]"},
		{"{b: 1.5::DECIMAL(3,1), a: 'x', \"quo\"\"te\": [DATE '2026-11-01']}",
			`"{""b"":1.5,""a"":""x"",""quo\""te"":[""2026-11-01""]}"`, `{"b":1.5,"a":"x","quo\"te":["2026-11-01"]}`},
		{"MAP {'k': 1, 'j': 2}", `"{""k"":1,""j"":2}"`, `{"k":1,"j":2}`},
		{`'{"n": 0.12345678901234567890, "z": 1, "a": 2}'::JSON`, `"{""n"": 0.12345678901234567890, ""z"": 1, ""a"": 2}"`,
			`{"n": 0.12345678901234567890, "z": 1, "a": 2}`},
		{`[{'j': '0.12345678901234567890'::JSON}]`, `"[{""j"":0.12345678901234567890}]"`, `[{"j":0.12345678901234567890}]`},
		{"union_value(num := 2)", "2", "2"},
		{"'101'::BIT", "101", `"101"`},
	} {
		if got, want := ask(t, w.Lake, "SELECT "+c.expr+" AS v"), "v\n"+c.csv+"\n"; got != want {
			t.Errorf("%s: CSV %q, want %q", c.expr, got, want)
		}
		r, err := Run(context.Background(), w.Lake, "SELECT "+c.expr+" AS v, 1 AS v;")
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := r.WriteJSON(context.Background(), &b); err != nil {
			t.Error(err)
		}
		if got, want := b.String(), "[\n{\"v\":"+c.json+",\"v_2\":1}\n]\n"; got != want {
			t.Errorf("%s: JSON %s, want %s", c.expr, got, want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestQueryKeepsTheOrderOfLongAnswers(t *testing.T) {
	w := publishedLake(t)
	r, err := Run(context.Background(), w.Lake,
		"SELECT i, 'row ' || i AS s FROM range(100000) t(i) ORDER BY i DESC -- last comment\n")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := int64(99999)
	for row, err := range r.All(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if got := row[0].Text; got != strings.TrimPrefix(row[1].Text, "row ") || len(got) > 5 {
			t.Fatalf("row %v, want %d", row, next)
		}
		next--
	}
	if next != -1 {
		t.Errorf("the answer ended before %d", next)
	}
}

func TestQueryTellsTypes(t *testing.T) {
	w := publishedLake(t)
	r, err := Run(context.Background(), w.Lake,
		"SELECT amount, sum(amount) OVER () AS s, request_time, ext_items, extra::JSON AS j, 1 AS one FROM usage LIMIT 0")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for _, c := range r.Columns {
		got = append(got, c.Name+" "+c.Type)
	}
	want := `amount DECIMAL(18,12)|s DECIMAL(38,12)|request_time TIMESTAMP WITH TIME ZONE|ext_items ` +
		`STRUCT("category" VARCHAR, "item" VARCHAR, "unit" VARCHAR, "price" DECIMAL(18,12), "usage" DECIMAL(18,12), ` +
		`"amount" DECIMAL(18,12))[]|j JSON|one INTEGER`
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("columns\n%s\nwant\n%s", s, want)
	}
	if !r.Columns[0].Numeric || r.Columns[2].Numeric {
		t.Error("numbers are not told from text")
	}
}

func TestQueryReadsAndNothingElse(t *testing.T) {
	w := publishedLake(t)
	outside := filepath.Join(t.TempDir(), "outside.csv")
	if err := os.WriteFile(outside, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ query, want string }{
		{"DELETE FROM usage", "one statement that reads"},
		{"DROP TABLE usage", "one statement that reads"},
		{"SELECT 1; SELECT 2", "one statement that reads"},
		{"SELECT 1; DROP TABLE usage", "one statement that reads"},
		{"SET threads = 1", "one statement that reads"},
		{"ATTACH 'x.db'", "one statement that reads"},
		{"COPY usage TO '" + outside + ".out'", "disabled by configuration"},
		{"PIVOT usage_daily ON model USING sum(amount)", "must list its values"},
		{"EXPLAIN ANALYZE DELETE FROM usage", "read-only"},
		{"", "empty"},
		{"-- nothing", "one statement that reads"},
		{"SELECT * FROM read_csv('" + outside + "')", "disabled by configuration"},
		{"SELECT * FROM '" + outside + "'", "disabled by configuration"},
		{"SELECT * FROM usge", `Did you mean "usage"`},
		{"SELECT amout FROM usage", `Candidate bindings: "amount"`},
		{"SELECT ?", "parameters"},
		{"SELEC 1", "syntax error"},
		{"INSTALL httpfs", "one statement that reads"},
	} {
		r, err := Run(context.Background(), w.Lake, c.query)
		if err == nil {
			_ = r.Close()
			t.Errorf("%s: no error", c.query)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.query, err, c.want)
		}
	}
	for _, q := range []string{"DESCRIBE usage", "SHOW TABLES", "SUMMARIZE usage_daily", "EXPLAIN SELECT 1",
		"FROM usage LIMIT 1", "WITH a AS (SELECT 1) SELECT * FROM a;", "VALUES (1)", "EXPLAIN ANALYZE SELECT 1",
		"PIVOT usage_daily ON model IN ('model-1') USING sum(amount)", "SELECT * FROM usage.main.usage", "TABLE runs"} {
		if got := ask(t, w.Lake, q); !strings.Contains(got, "\n") {
			t.Errorf("%s: %q", q, got)
		}
	}
}

func TestQueryWithoutAPublishedFileSaysWhatToType(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	_, err := Run(context.Background(), w.Lake, "SELECT 1")
	if !errors.Is(err, ErrNotPublished) || !strings.Contains(err.Error(), "hint: usagelake export") {
		t.Error(err)
	}
}

func TestQueryEndsWhenCancelled(t *testing.T) {
	w := publishedLake(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := Run(ctx, w.Lake, "SELECT i FROM range(50000) t(i)")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for _, err = range r.All(ctx) {
		if n++; n == 10 {
			cancel()
		}
	}
	if !errors.Is(err, context.Canceled) || n > 20 {
		t.Errorf("after %d rows: %v", n, err)
	}
	if _, err := Run(ctx, w.Lake, "SELECT 1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestQueryParquetIsWholeOrAbsent(t *testing.T) {
	w := publishedLake(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "it's [out].parquet")
	n, err := WriteParquet(context.Background(), w.Lake, "SELECT * FROM usage ORDER BY id;", path)
	if err != nil || n != 402 {
		t.Fatal(n, err)
	}
	var same bool
	w.Exec("ATTACH '" + w.Lake.Database() + "' AS published (READ_ONLY)")
	err = w.Db.QueryRow(`SELECT (SELECT (count(*), sum(amount), typeof(any_value(amount))) FROM read_parquet('` +
		strings.ReplaceAll(path, "'", "''") +
		`')) = (SELECT (count(*), sum(amount), typeof(any_value(amount))) FROM published.usage)`).Scan(&same)
	if err != nil || !same {
		t.Error(same, err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"SELECT * FROM nowhere", "SELECT error('no') FROM usage", "EXPLAIN SELECT 1",
		"DROP TABLE usage"} {
		if _, err := WriteParquet(context.Background(), w.Lake, q, path); err == nil {
			t.Errorf("%s: no error", q)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Error("a failed query touched the file", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestAReaderKeepsTheFileItOpened(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	days := w.RandomDays(2, 20)
	w.Publish(publish.PublishOptions{})
	ctx := context.Background()
	r, err := Run(ctx, w.Lake, "SELECT count(*) FROM usage, (SELECT 1 FROM range(100000))")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	conn, done := loadtest.Connect(t, w.Lake.Database())
	defer done()
	count := func() (n int) {
		t.Helper()
		if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM usage").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 82 {
		t.Fatal(n)
	}
	for i := range 3 { // the reader's file is two publishes away, and still answers
		w.RandomDay(days[1], 100+i, 77)
		if got := w.Publish(publish.PublishOptions{Full: i == 1}); got.Rows != 82-21+int64(100+i) {
			t.Errorf("%+v", got)
		}
		if n := count(); n != 82 {
			t.Errorf("the reader sees %d rows", n)
		}
		if got := ask(t, w.Lake, "SELECT count(*) AS n FROM usage"); got != fmt.Sprintf("n\n%d\n", 82-21+100+i) {
			t.Errorf("a new reader sees %s", got)
		}
	}
}

// DuckDB takes a path for a pattern, and the beginning of one for the name of an extension; a lake may have any of
// these names.
func TestALakeMayHaveAnyOtherName(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"st*r", "[ab]c", "md:", "o'brien", "{a,b}", "100%"} {
		for _, dir := range []string{name, "stXr", "ac"} { // which the patterns would match, too
			if _, err := os.Stat(dir); err == nil {
				continue
			}
			l, err := publish.Create(dir, publish.Options{})
			must(t, err)
			loadtest.NewWriter(t, l.Lake).RandomDay(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-11-01")}, 5,
				1)
		}
		l, err := publish.Open(name, publish.Options{})
		must(t, err)
		p, err := l.Publish(t.Context(), publish.PublishOptions{})
		must(t, err)
		if p.Rows != 5 {
			t.Errorf("%s: %d rows", name, p.Rows)
		}
		if n, err := WriteParquet(t.Context(), l, "FROM usage", "out"+name+".parquet"); err != nil || n != 5 {
			t.Errorf("%s: %d %v", name, n, err)
		}
		r, err := l.Verify(t.Context(), publish.VerifyOptions{})
		must(t, err)
		if r.DatabaseRows != 5 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
