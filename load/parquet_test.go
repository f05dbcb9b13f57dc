package load

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	_ "github.com/duckdb/duckdb-go/v2" // the reader that most people will use

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func writeDay(t testing.TB, l *Lake, rejects []schemas.Reject, batches ...arrow.RecordBatch) {
	t.Helper()
	w, err := l.CreateDay(schemastest.Day)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	rows := int64(0)
	for _, rec := range batches {
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
		rows += rec.NumRows()
	}
	if err := w.WriteRejects(rejects); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(dayFooter(rows, int64(len(rejects)))); err != nil {
		t.Fatal(err)
	}
}

// readPqarrow reads a Parquet file as arrow-go's own Arrow layer does.
func readPqarrow(t testing.TB, path string) arrow.Table {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	table, err := pqarrow.ReadTable(t.Context(), bytes.NewReader(b), nil, pqarrow.ArrowReadProperties{},
		memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Release)
	return table
}

func openDuckDB(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// duckRows runs a query and returns its rows as text, values joined by "|", NULL as such.
func duckRows(t testing.TB, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = "NULL"
			if v.Valid {
				texts[i] = v.String
			}
		}
		out = append(out, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDayFileHasTheContractsColumnsInDuckDB(t *testing.T) {
	l := newTestLake(t, Options{})
	rec := schemastest.UsageRows(memory.DefaultAllocator, 500, 1)
	defer rec.Release()
	writeDay(t, l, nil, rec)
	db := openDuckDB(t)
	glob := filepath.Join(l.Dir(), "usage/**/*.parquet")
	want := []string{
		"account|VARCHAR", "usage_date|DATE", "request_time|TIMESTAMP WITH TIME ZONE", "id|VARCHAR", "ordinal|BIGINT",
		"record_kind|VARCHAR",
		"token_id|VARCHAR", "user_id|VARCHAR", "custom_user_id|VARCHAR", "model|VARCHAR", "model_type|VARCHAR",
		"channel_id|BIGINT", "input_tokens|BIGINT", "output_tokens|BIGINT", "cached_tokens|BIGINT", "total_tokens|BIGINT",
		"input_price|DECIMAL(18,12)", "output_price|DECIMAL(18,12)", "cached_price|DECIMAL(18,12)",
		"total_amount|DECIMAL(18,12)", "discount_amount|DECIMAL(18,12)", "amount|DECIMAL(18,12)", "currency|VARCHAR",
		`ext_items|STRUCT(category VARCHAR, item VARCHAR, unit VARCHAR, price DECIMAL(18,12), usage DECIMAL(18,12), ` +
			`amount DECIMAL(18,12))[]`,
		"extra|VARCHAR", "fetched_at|TIMESTAMP WITH TIME ZONE", "run_id|VARCHAR",
	}
	for _, hive := range []string{"false", "true"} { // the path has keys of its own
		got := duckRows(t, db,
			fmt.Sprintf(`SELECT column_name, column_type FROM (DESCRIBE SELECT *
				FROM read_parquet('%s', hive_partitioning = %s))`, glob, hive))
		if hive == "true" {
			got = slices.DeleteFunc(got, func(s string) bool { return s == "date|DATE" || s == "acct|VARCHAR" }) // the path's
		}
		if !slices.Equal(got, want) {
			t.Errorf("hive_partitioning = %s: columns\n%s\nwant\n%s", hive, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if got := duckRows(t, db, fmt.Sprintf(`SELECT DISTINCT account, date FROM '%s'`, glob)); !slices.Equal(got,
		[]string{"acme|2026-11-01T00:00:00Z"}) {
		t.Errorf("account and date are %v", got)
	}
}

// rowsOf renders each row of a usage batch as DuckDB's to_json would not: by column, exactly.
func rowsOf(rec arrow.RecordBatch) []string {
	out := make([]string, rec.NumRows())
	for i := range out {
		parts := make([]string, rec.NumCols())
		for j, col := range rec.Columns() {
			parts[j] = col.ValueStr(i)
		}
		out[i] = strings.Join(parts, "|")
	}
	return out
}

func rowsOfTable(table arrow.Table) []string {
	var out []string
	r := array.NewTableReader(table, 0)
	defer r.Release()
	for r.Next() {
		out = append(out, rowsOf(r.RecordBatch())...)
	}
	return out
}

func TestDayFileReadsBackInArrow(t *testing.T) {
	l := newTestLake(t, Options{})
	rec := schemastest.UsageRows(memory.DefaultAllocator, 5000, 2)
	defer rec.Release()
	writeDay(t, l, nil, rec)
	want := rowsOf(rec)
	got := rowsOfTable(readPqarrow(t, l.UsagePath(schemastest.Day)))
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("row %d of %d is\n%v\nwant\n%s", i, len(got), got[i:min(i+1, len(got))], want[i])
		}
	}
}

func TestDayFileReadsBackInDuckDB(t *testing.T) {
	l := newTestLake(t, Options{})
	rec := schemastest.UsageRows(memory.DefaultAllocator, schemas.MaxRowGroup+7000, 3)
	defer rec.Release()
	writeDay(t, l, nil, rec)
	path := l.UsagePath(schemastest.Day)
	db := openDuckDB(t)

	// What DuckDB reads is written by DuckDB as Parquet, and that is read back by Arrow: row by row the same.
	copied := filepath.Join(t.TempDir(), "copy.parquet")
	if _, err := db.Exec(fmt.Sprintf(`SET preserve_insertion_order = true; COPY (SELECT *
		FROM read_parquet('%s', hive_partitioning = false)) TO '%s' (FORMAT parquet)`, path, copied)); err != nil {
		t.Fatal(err)
	}
	want := rowsOf(rec)
	got := rowsOfTable(readPqarrow(t, copied))
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("row %d of %d is\n%v\nwant\n%s", i, len(got), got[i:min(i+1, len(got))], want[i])
		}
	}

	groups := duckRows(t, db,
		fmt.Sprintf(`SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata('%s') ORDER BY 1`, path))
	if !slices.Equal(groups, []string{"0|122880", "1|7000"}) {
		t.Errorf("row groups %v", groups)
	}
	for _, s := range duckRows(t, db,
		fmt.Sprintf(`SELECT path_in_schema, compression, encodings, stats_min_value IS NOT NULL FROM parquet_metadata('%s')
			WHERE row_group_id = 0`, path)) {
		t.Log(s)
		if !strings.Contains(s, "ZSTD") {
			t.Errorf("column chunk %s is not compressed by zstd", s)
		}
	}
	footer := duckRows(t, db,
		fmt.Sprintf(`SELECT decode(value) FROM parquet_kv_metadata('%s') WHERE decode(key) = 'usagelake.day'`, path))
	var f schemas.DayFooter
	if len(footer) != 1 || json.Unmarshal([]byte(footer[0]), &f) != nil || f.Rows != rec.NumRows() {
		t.Errorf("the footer in DuckDB is %v", footer)
	}
}
