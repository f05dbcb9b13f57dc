package schemas

import (
	_ "embed"
	"fmt"
	"strings"
)

// SQLVersion counts the layouts of the published file: its tables, views and what their rows mean. A file of an older
// one is built anew; a file of a newer one is left alone.
const SQLVersion = 8

//go:embed sql/tables.sql
var sqlTables string

//go:embed sql/allocation.sql
var sqlAllocation string

//go:embed sql/views.sql
var sqlViews string

//go:embed sql/completeness.sql
var sqlCompleteness string

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
	b.WriteString(sqlCompleteness)
	b.WriteString(sqlFinance)
	return b.String()
}

// SQLView is a view or macro of the published file, and the statement that makes it for a session alone.
type SQLView struct{ Name, SQL string }

// SQLScopedViews makes the views of finance and completeness once more, as those of a session, over whatever the names of tables stand
// for in it, and the table that every one of them looks up. Each names only those before it.
func SQLScopedViews() []SQLView {
	var out []SQLView
	_, completeness, _ := strings.Cut(sqlCompleteness, "-- Seconds as hours") // data_as_of is the whole file's
	for line := range strings.Lines(sqlViews[strings.Index(sqlViews, "CREATE VIEW price_steps"):] + "--" + completeness + sqlFinance) {
		for _, what := range []string{"VIEW", "MACRO"} {
			if rest, ok := strings.CutPrefix(line, "CREATE "+what+" "); ok {
				name := rest[:strings.IndexAny(rest, " (")]
				if name == "month_completeness" {
					out = append(out, SQLView{"completeness_monthly", "CREATE TEMP TABLE completeness_monthly AS FROM completeness_now;\n"})
				}
				out = append(out, SQLView{Name: name})
				line = "CREATE TEMP " + what + " " + rest
			}
		}
		if n := len(out) - 1; n >= 0 && (out[n].Name == "scope_rates" || out[n].Name == "forecast_month_end") {
			line = strings.ReplaceAll(line, "chargeback_daily", "chargeback_ever") // a rate is a mean over days before the period, too
		}
		if n := len(out) - 1; n >= 0 && !strings.HasPrefix(line, "COMMENT ON ") && !strings.HasPrefix(line, "--") {
			out[n].SQL += line
		}
	}
	return out
}

// SQLRollups inserts into usage_daily, unit_prices and coverage_daily what usage and coverage have for the days in the
// temporary table changed (account, usage_date). It is several statements.
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
