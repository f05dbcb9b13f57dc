package publish

import (
	"os"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// The .sql files are plain SQL. Run as they stand, the list of a view's columns renames them by place; that the columns
// come out as the view's query names them shows that each list, and so each comment, stands in their order.
func TestTheFilesOfSQLRunAsTheyStand(t *testing.T) {
	d, err := openDatabase(t.Context(), engine{}, "", true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	exec := func(statements ...string) {
		t.Helper()
		if err := d.Exec(t.Context(), statements...); err != nil {
			t.Fatal(err)
		}
	}
	exec("ATTACH ':memory:' AS made", "ATTACH ':memory:' AS plain")
	exec("USE made", schemas.SQLLayout{Fields: KeyFields, Views: schemas.SQLSums}.Schema())
	exec("USE plain", "CREATE TABLE focus_closed AS FROM made.focus_closed LIMIT 0")
	for _, name := range []string{"tables", "allocation", "books", "rates", "allocated", "addends", "views",
		"completeness", "charges", "markup", "reconciliation", "prepaid", "outlook", "economics", "analysis", "focus", "bi"} {
		text, err := os.ReadFile("../../schemas/sql/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		exec(string(text))
	}
	rows, err := d.conn.QueryContext(t.Context(), `
		WITH columns AS (
			SELECT database_name, table_name, column_index, column_name, data_type FROM duckdb_columns() WHERE NOT internal
		)
		SELECT concat_ws(' ', table_name, m.column_index, m.column_name, m.data_type, p.column_name, p.data_type)
		FROM (FROM columns WHERE database_name = 'made') m
		FULL JOIN (FROM columns WHERE database_name = 'plain') p USING (table_name, column_index)
		WHERE (m.column_name, m.data_type) IS DISTINCT FROM (p.column_name, p.data_type)
			AND table_name IN (SELECT table_name FROM columns WHERE database_name = 'plain')
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var differ []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		differ = append(differ, s)
	}
	if err := rows.Err(); err != nil || len(differ) > 0 {
		t.Error(err, strings.Join(differ, "\n"))
	}
	const all = "SELECT count(DISTINCT table_name) FROM duckdb_columns() WHERE database_name = 'plain'"
	var tables int
	if err := d.conn.QueryRowContext(t.Context(), all).Scan(&tables); err != nil || tables < 70 {
		t.Error(err, tables)
	}
}
