package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"
)

// A file that was joined has the rows of its parts, in order, for readers that go by statistics, dictionaries and
// filters of the row groups, too.
func TestJoinedParquetFilesAreReadAsOne(t *testing.T) {
	ctx := t.Context()
	d, err := openDatabase(ctx, engine{}, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	dir := t.TempDir()
	var parts []string
	for i, rows := range []int{0, 5000, 1, 0, 9000} {
		path := filepath.Join(dir, fmt.Sprintf("[%d].parquet", i))
		err := d.copyParquet(ctx, fmt.Sprintf("SELECT %d * 10000 + i AS id, 'user ' || (i %% 7 + %[1]d) AS name, "+
			"CASE WHEN i %% 3 = 0 THEN NULL ELSE (i / 4)::DECIMAL(38,12) END AS amount FROM range(%[2]d) r(i)", i, rows), path,
			", ROW_GROUP_SIZE 2048")
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, path)
	}
	whole := filepath.Join(dir, "whole.parquet")
	if err := joinParquet(whole, parts); err != nil {
		t.Fatal(err)
	}
	from := "read_parquet(" + SqlGlob(whole) + ")"
	list := ""
	for _, p := range parts {
		list += SqlGlob(p) + ", "
	}
	for query, want := range map[string]string{
		"SELECT count(*) FROM " + from: "14001",
		"SELECT count(*) FROM (SELECT id, lag(id) OVER (ORDER BY file_row_number) AS before FROM " + from[:len(from)-1] +
			", file_row_number = true)) WHERE id <= before": "0",
		"SELECT count(*) FROM " + from + " WHERE id = 43210":                                    "1",
		"SELECT count(*) FROM " + from + " WHERE name = 'user 10'":                              "1285",
		"SELECT count(*) FROM " + from + " WHERE name = 'nobody'":                               "0",
		"SELECT num_row_groups::VARCHAR FROM parquet_file_metadata" + from[12:]:                 "9",
		"SELECT count(*) FROM (FROM " + from + " EXCEPT ALL FROM read_parquet([" + list + "]))": "0",
		"SELECT count(*) FROM (FROM read_parquet([" + list + "]) EXCEPT ALL FROM " + from + ")": "0",
	} {
		var got string
		if err := d.conn.QueryRowContext(ctx, "SELECT ("+query+")::VARCHAR").Scan(&got); err != nil || got != want {
			t.Errorf("%s gives %q, want %q: %v", query, got, want, err)
		}
	}
	f, err := os.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	r, err := file.NewParquetReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.NumRows() != 14001 {
		t.Errorf("%d rows", r.NumRows())
	}
	if err := joinParquet(whole, parts); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there gives %v", err)
	}
	if err := joinParquet(filepath.Join(dir, "none"), []string{filepath.Join(dir, "none.parquet")}); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("a part that isn't there gives %v", err)
	}
}
