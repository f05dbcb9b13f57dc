package report_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
)

var asked = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// answered is the workbook of an answer, and how many rows it says that there are.
func answered(t *testing.T, lake *publish.Lake, sql string) (*excelize.File, int64) {
	t.Helper()
	rows, err := query.Run(t.Context(), lake, sql)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var b bytes.Buffer
	n, err := report.WriteWorkbook(t.Context(), &b, rows, sql, asked)
	if err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, n
}

// An answer's numbers are numbers, its dates dates, and its ids text, by their types in the published file.
func TestTheWorkbookOfAnAnswerHasWhatItsTypesSay(t *testing.T) {
	lake := randomBooks(t, 0).lake
	long := strings.Repeat("x", 40_000)
	var columns []string
	cases := []struct{ sql, raw, shown, format string }{
		{"DATE '2026-11-01'", "46327", "2026-11-01", "yyyy-mm-dd"},
		{"DATE '1900-01-01'", "1900-01-01", "1900-01-01", "yyyy-mm-dd"},
		{"TIMESTAMP '2026-11-01 12:00:30'", "46327.50034722222", "2026-11-01 12:00:30", "yyyy-mm-dd hh:mm:ss"},
		{"TIMESTAMPTZ '2026-11-01 13:00:00+01'", "46327.5", "2026-11-01 12:00:00", "yyyy-mm-dd hh:mm:ss"},
		{"1234.5::DECIMAL(18,12)", "1234.5", "", "#,##0.############"}, {"7::DECIMAL(18,12)", "7", "7", "#,##0"},
		{"1234567.123456789012::DECIMAL(38,12)", "1234567.123456789012", "", "#,##0.############"},
		{"1e-18::DECIMAL(38,18)", "0.000000000000000001", "", "#,##0.############"},
		{"1.5e-300::DOUBLE", "1.5e-300", "", "#,##0.############"}, {"'NaN'::DOUBLE", "NaN", "NaN", ""},
		{"2026", "2026", "2026", "0"}, {"-123456789012345", "-123456789012345", "", "0"},
		{"1234567890123456", "1234567890123456", "", ""}, // an id, of which fifteen digits would be left
		{"'0042'", "0042", "0042", "@"}, {"'=1+1'", "=1+1", "=1+1", "@"}, {"'1e5'", "1e5", "1e5", "@"},
		{"true", "1", "TRUE", "General"}, {"NULL::BIGINT", "", "", "0"}, {"''", "", "", "@"},
		{"[1.5, 2]", "[1.5,2.0]", "", "@"}, {"{'a': 'b'}", `{"a":"b"}`, "", "@"}, {"'{\"a\": 1}'::JSON", `{"a": 1}`, "", "@"},
		{"INTERVAL 3 DAY", "3 days", "", "@"}, {"TIME '10:00:00'", "10:00:00", "", "@"},
		{"'" + long + "'", long[:32_766] + "…", "", "@"},
	}
	for _, c := range cases {
		columns = append(columns, c.sql+" AS same") // two columns may have one name
	}
	f, n := answered(t, lake, "SELECT "+strings.Join(columns, ", "))
	if n != 1 || strings.Join(f.GetSheetList(), "|") != "Answer|Query" {
		t.Errorf("%d rows, sheets %v", n, f.GetSheetList())
	}
	for i, c := range cases {
		at, err := excelize.CoordinatesToCellName(i+1, 2)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := f.GetCellValue("Answer", at, excelize.Options{RawCellValue: true})
		shown, _ := f.GetCellValue("Answer", at)
		id, _ := f.GetCellStyle("Answer", at)
		style, err := f.GetStyle(id)
		if err != nil {
			t.Fatal(err)
		}
		format := ""
		if style.CustomNumFmt != nil {
			format = *style.CustomNumFmt
		}
		if raw != c.raw || c.shown != "" && shown != c.shown || c.format != "" && format != c.format {
			t.Errorf("%.40s is %.60q, shown as %.60q by %q", c.sql, raw, shown, format)
		}
		if formula, _ := f.GetCellFormula("Answer", at); formula != "" {
			t.Errorf("%.40s is a formula", c.sql)
		}
	}
	if sql, _ := f.GetCellValue("Query", "B1"); !strings.HasPrefix(sql, "SELECT DATE '2026-11-01' AS same, ") {
		t.Errorf("the second sheet has %.80q", sql)
	}
}

// A long answer is written as it comes: with every row, as wide as the first rows are, and with its name and filter.
func TestALongAnswerIsAWorkbookWithEveryRow(t *testing.T) {
	lake := randomBooks(t, 0).lake
	const rows = 20_000 // with more text than is kept in one place
	f, n := answered(t, lake, fmt.Sprintf("SELECT range AS n, repeat('x', 1000) || range AS text FROM range(%d)", rows))
	got, err := f.GetRows("Answer")
	if err != nil || n != rows || len(got) != rows+1 {
		t.Fatalf("%d rows of %d: %v", len(got), n, err)
	}
	for i, r := range got[1:] {
		if r[0] != fmt.Sprint(i) || r[1] != strings.Repeat("x", 1000)+r[0] {
			t.Fatalf("row %d is %.30q", i, r)
		}
	}
	want := fmt.Sprintf("'Answer'!$A$1:$B$%d", rows+1)
	named := ""
	for _, name := range f.GetDefinedName() {
		if name.Name == "Table_rows" {
			named = name.RefersTo
		}
	}
	if named != want {
		t.Errorf("the rows are %q, want %q", named, want)
	}
	dimension, err := f.GetSheetDimension("Answer")
	width, err2 := f.GetColWidth("Answer", "B")
	if err != nil || err2 != nil || dimension != fmt.Sprintf("A1:B%d", rows+1) || width != 50 {
		t.Errorf("%s, %v wide: %v, %v", dimension, width, err, err2)
	}
}

func TestAnAnswerThatASheetCantHoldIsRefused(t *testing.T) {
	lake := randomBooks(t, 0).lake
	rows, err := query.Run(t.Context(), lake, "FROM range(1048576)")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	large := (*report.TooLarge)(nil)
	if n, err := report.WriteWorkbook(t.Context(), io.Discard, rows, "", asked); n != 0 || !errors.As(err, &large) ||
		err.Error() != "the answer has 1,048,576 rows, and a sheet has 1,048,575 below its head" {
		t.Errorf("%d, %v", n, err)
	}
	f, _ := answered(t, lake, "SELECT 1 AS n WHERE false")
	if got, err := f.GetRows("Answer"); err != nil || len(got) != 1 {
		t.Errorf("of an answer without rows %v, %v", got, err)
	}
}

// The Parquet of an answer has the types and the values that DuckDB has, and text where Parquet can't hold a value.
func TestTheParquetOfAnAnswerHoldsWhatDuckDBDoes(t *testing.T) {
	lake := randomBooks(t, 0).lake
	cases := []struct{ sql, kind, shown string }{
		{"avg(x)", "DOUBLE", "0.5"}, {"'NaN'::DOUBLE", "DOUBLE", "nan"}, {"1e-20::DOUBLE", "DOUBLE", "1e-20"},
		{"1e-18::DECIMAL(38,18)", "DECIMAL(38,18)", "0.000000000000000001"},
		{"-1234567.123456789012::DECIMAL(38,12)", "DECIMAL(38,12)", "-1234567.123456789012"},
		{"12345678901234567890::DECIMAL(38,0)", "DECIMAL(38,0)", "12345678901234567890"},
		{"12345678901234567890123456789::HUGEINT", "DECIMAL(38,0)", "12345678901234567890123456789"},
		{"9223372036854775807", "BIGINT", "9223372036854775807"}, {"7", "BIGINT", "7"},
		{"DATE '2026-11-01'", "DATE", "2026-11-01"}, {"DATE '12026-11-01'", "VARCHAR", "12026-11-01"},
		{"TIMESTAMP_NS '2026-11-01 10:00:00.123456789'", "TIMESTAMP_NS", "2026-11-01 10:00:00.123456789"},
		{"TIMESTAMP '2026-11-01 10:00:00.123456'", "TIMESTAMP WITH TIME ZONE", "2026-11-01 10:00:00.123456+00"},
		{"true", "BOOLEAN", "true"}, {"NULL::DECIMAL(18,12)", "DECIMAL(18,12)", ""}, {"'0042'", "VARCHAR", "0042"},
	}
	columns, asked := make([]string, len(cases)), make([]string, len(cases))
	for i, c := range cases {
		columns[i] = fmt.Sprintf("%s AS c%d", c.sql, i)
		asked[i] = fmt.Sprintf("typeof(c%[1]d) || ' ' || coalesce(c%[1]d::VARCHAR, '')", i)
	}
	rows, err := query.Run(t.Context(), lake, "SELECT "+strings.Join(columns, ", ")+" FROM (VALUES (0), (1)) v(x)")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	doc, _, err := report.Of(t.Context(), rows, "answer", "Answer", 0)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "answer.parquet")
	var content bytes.Buffer
	if err := doc.Parquet(&content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var got string
	if err := db.QueryRowContext(t.Context(), "SELECT concat_ws(chr(10), "+strings.Join(asked, ", ")+") FROM '"+name+
		"'").Scan(&got); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(got, "\n") {
		if want := cases[i].kind + " " + cases[i].shown; line != want {
			t.Errorf("%s is %s, want %s", cases[i].sql, line, want)
		}
	}
}
