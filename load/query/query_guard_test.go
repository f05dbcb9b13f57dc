package query

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
)

func TestRefusedFunctionsAreRefusedHoweverTheyAreWritten(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	w.RandomDays(1, 30)
	w.Publish(publish.PublishOptions{})
	for _, q := range []string{
		"SELECT * FROM checkpoint()", "SELECT * FROM CheckPoint ( )", `SELECT * FROM "checkpoint"()`,
		`FROM system.main."CHECKPOINT" /* x /* y */ z */ ()`, "FROM checkpoint--()\n()",
		"SELECT write_log('x')", "SELECT 'x'.write_log()", "WITH a AS (SELECT write_log('x') AS b) FROM a",
		"EXPLAIN SELECT write_log('x')", "SELECT ''''''||write_log('x')", "SELECT $$'$$, write_log('x')",
		"SELECT E'\\'', write_log('x') --'",
		"FROM query('SELECT 1')", "FROM query\t('SELECT 1')", "FROM json_execute_serialized_sql('{}')", "SELECT sleep_ms(1)",
		`SELECT U&"write_l\006fg"('x')`, "DESCRIBE SELECT write_log('x')", "SUMMARIZE SELECT write_log('x')",
	} {
		rows, err := Run(t.Context(), w.Lake, q)
		if err == nil {
			_ = rows.Close()
		}
		if !errors.Is(err, ErrNotReading) || !strings.Contains(err.Error(), "hint: ") {
			t.Errorf("%s: %v", q, err)
		}
		if _, err := WriteParquet(t.Context(), w.Lake, q, t.TempDir()+"/a.parquet"); !errors.Is(err, ErrNotReading) {
			t.Errorf("%s, into Parquet: %v", q, err)
		}
	}
	for _, q := range []string{
		"SELECT 'write_log(1)' AS a", "SELECT 1 AS write_log", "SELECT 1 AS query, (2) AS b", "SELECT 1 /* query('x') */",
		"SELECT 1 -- query('x')", "SELECT $$ write_log('x') $$ AS a", "SELECT $a$ $$ query('x') $a$ AS a",
		"SELECT E'\\' write_log(1) ' AS a", `SELECT 1 AS "query(x"`, "SELECT model, sum(amount) FROM usage GROUP BY ALL",
		"SELECT my.query FROM (SELECT 1 AS query) my", "SELECT 1 AS query -- (\n",
		"SELECT count(*) FROM usage WHERE model IN ('query')",
	} {
		rows, err := Run(t.Context(), w.Lake, q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The names are DuckDB's: one that isn't known any more, in another version, is looked at again.
func TestTheRefusedFunctionsAreDuckDBs(t *testing.T) {
	d, done := loadtest.Connect(t, "")
	defer done()
	rows, err := d.QueryContext(t.Context(), "SELECT DISTINCT function_name FROM duckdb_functions()")
	must(t, err)
	defer rows.Close()
	known := map[string]bool{}
	var writers []string
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		known[name] = true
		if _, ok := refusedFunctions[name]; !ok &&
			(strings.Contains(name, "_logging") || strings.Contains(name, "write_") || strings.Contains(name, "_profiling") ||
				strings.HasPrefix(name, "test_") || strings.HasPrefix(name, "debug") || strings.Contains(name, "sleep")) {
			writers = append(writers, name)
		}
	}
	must(t, rows.Err())
	for _, name := range slices.Sorted(maps.Keys(refusedFunctions)) {
		if !known[name] {
			t.Errorf("DuckDB %s has no function %s", publish.DuckDBVersion(), name)
		}
	}
	writers = slices.DeleteFunc(writers, func(name string) bool {
		return name == "all_profiling_output" ||
			name == "duckdb_profiling_settings"
	})
	if len(writers) > 0 {
		t.Errorf("DuckDB %s has %v: do they read?", publish.DuckDBVersion(), writers)
	}
}
