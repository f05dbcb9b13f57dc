package schemas

import (
	_ "embed"
	"fmt"
	"strings"
)

// SQLVersion counts the layouts of the published file: its tables, views and what their rows mean. A file of an older
// one is built anew; a file of a newer one is left alone.
const SQLVersion = 7

//go:embed sql/tables.sql
var sqlTables string

//go:embed sql/allocation.sql
var sqlAllocation string

//go:embed sql/views.sql
var sqlViews string

//go:embed sql/finance.sql
var sqlFinance string

//go:embed sql/rollups.sql
var sqlRollups string

// SQLSchema makes the tables and views of the published file in an empty one, each table, view and column commented.
// SQLFocus adds the views that need more than that. It is several statements.
func SQLSchema() string {
	var b strings.Builder
	b.WriteString(sqlTables)
	b.WriteString(sqlAllocation)
	b.WriteString(sqlFocusTable())
	for _, t := range []struct {
		table   string
		columns []Column
	}{{"usage", UsageColumns()}, {"quarantine", QuarantineColumns()}, {"balance", BalanceColumns()}} {
		for _, c := range t.columns {
			fmt.Fprintf(&b, "COMMENT ON COLUMN %s.%s IS %s;\n", t.table, c.Name, SQLString(c.Comment))
		}
	}
	b.WriteString(sqlViews)
	b.WriteString(sqlFinance)
	return b.String()
}

// SQLRollups inserts into usage_daily and unit_prices what usage has for the days in the temporary table changed
// (account, usage_date). It is several statements.
func SQLRollups() string { return sqlRollups }

// SQLUsageColumns lists the columns of usage as they are read from a day file of a SchemaVersion: a column that the file
// doesn't have yet has the value it stands for.
func SQLUsageColumns(schema int) string {
	names := SQLColumns(UsageColumns())
	if schema < SchemaOrdinal {
		names = strings.Replace(names, `"ordinal"`, `1::BIGINT AS "ordinal"`, 1)
	}
	return names
}

// SQLString quotes s as a string of SQL.
func SQLString(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// SQLColumns lists the names of columns, quoted, as SELECT and INSERT take them.
func SQLColumns(columns []Column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = `"` + c.Name + `"`
	}
	return strings.Join(names, ", ")
}
