package query

import (
	"bytes"
	"path/filepath"
	"testing"
)

// A Parquet file read here gives the same CSV as DuckDB's answer: texts of every kind, NULLs, times with and without a
// fraction, decimals on both sides of 64 bits, in more than one batch and one row group.
func TestAParquetFileIsTheSameCSVAsTheAnswer(t *testing.T) {
	w := publishedLake(t)
	const query = `SELECT i::BIGINT AS n, (i % 7)::INTEGER AS small, CASE WHEN i % 3 > 0 THEN i END AS some,
		CASE i % 11 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN '=1+1' WHEN 3 THEN ' +2' WHEN 4 THEN 'a "b", c'
			WHEN 5 THEN 'a' || chr(10) || 'b' WHEN 6 THEN ' blank ' WHEN 7 THEN 'Zürich' WHEN 8 THEN '＝2'
			ELSE 'text ' || (i // 100) END AS text,
		(i * 0.001)::DECIMAL(18,3) AS three, ((i - 5000) * 0.000000000001::DECIMAL(13,12))::DECIMAL(18,12) AS few,
		((i - 5000)::DECIMAL(38,18) * 100) AS wide,
		CASE WHEN i % 2 = 0 THEN (i - 5000)::DECIMAL(38,12) * 0.5::DECIMAL(2,1) END AS half,
		TIMESTAMPTZ '2026-10-01 00:00:00+00' + i * INTERVAL 250 MILLISECOND AS at
		FROM range(10000) r(i) ORDER BY i`
	path := filepath.Join(t.TempDir(), "answer.parquet")
	n, err := WriteParquet(t.Context(), w.Lake, query, path)
	must(t, err)
	for _, raw := range []bool{false, true} {
		var want, got bytes.Buffer
		rows, err := Run(t.Context(), w.Lake, query)
		must(t, err)
		_, err = rows.WriteCSV(t.Context(), &want, CSVForm{Raw: raw})
		must(t, err)
		must(t, rows.Close())
		rows, err = openParquet(path)
		must(t, err)
		m, err := rows.WriteCSV(t.Context(), &got, CSVForm{Raw: raw})
		must(t, err)
		must(t, rows.Close())
		if m != n || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("raw %v: %d rows of %d, and not the same bytes:\n%.600s\n%.600s", raw, m, n, got.String(), want.String())
		}
	}
}
