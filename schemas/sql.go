package schemas

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
)

// SQLVersion counts the layouts of the published file: its tables, views and what their rows mean. A file of an older
// one is built anew; a file of a newer one is left alone.
const SQLVersion = 14

//go:embed sql/tables.sql
var sqlTables string

//go:embed sql/books.sql
var sqlBooks string

//go:embed sql/books_other.sql
var sqlOtherBooks string

//go:embed sql/records.sql
var sqlRecords string

//go:embed sql/allocation.sql
var sqlAllocation string

//go:embed sql/rates.sql
var sqlRates string

//go:embed sql/views.sql
var sqlViews string

//go:embed sql/completeness.sql
var sqlCompleteness string

//go:embed sql/charges.sql
var sqlCharges string

//go:embed sql/markup.sql
var sqlMarkup string

//go:embed sql/reconciliation.sql
var sqlReconciliation string

//go:embed sql/prepaid.sql
var sqlPrepaid string

//go:embed sql/outlook.sql
var sqlOutlook string

//go:embed sql/economics.sql
var sqlEconomics string

//go:embed sql/analysis.sql
var sqlAnalysis string

//go:embed sql/bi.sql
var sqlBI string

//go:embed sql/addends.sql
var sqlAddends string

//go:embed sql/allocated.sql
var sqlAllocated string

//go:embed sql/rollups.sql
var sqlRollups string

//go:embed sql/allocated_sums.sql
var sqlAllocatedSums string

//go:embed sql/chargeback.sql
var sqlChargeback string

// write makes the statement, and the comments of what it makes.
func (s sqlStatement) write(b *strings.Builder) {
	fmt.Fprintf(b, "%s;\n", s.sql)
	if s.comment != "" {
		fmt.Fprintf(b, "COMMENT ON %s %s IS %s;\n", s.kind, s.name, SQLString(s.comment))
	}
	for _, c := range s.columns {
		fmt.Fprintf(b, "COMMENT ON COLUMN %s.\"%s\" IS %s;\n", s.name, c.name, SQLString(c.comment))
	}
}

// statements are those of a .sql file of this package, each column with its comment.
func statements(file string) []sqlStatement {
	out, err := parseSQL(file)
	said := map[string]string{}
	for i := range out {
		err = errors.Join(err, out[i].describe(said))
	}
	if err != nil {
		panic(err) // the files are part of the program, and a test reads them
	}
	return out
}

// describe gives the columns whose comments stand in Go theirs, for the Parquet files or FOCUS have them, too; and
// those of the schema bi, where a name means one thing, what was said of it, which is kept in said. It is an error if a
// table, a view or a column has none.
func (s *sqlStatement) describe(said map[string]string) error {
	if s.comment == "" && (s.kind == "TABLE" || s.kind == "VIEW") {
		return fmt.Errorf("%s has no comment", s.name)
	}
	known := map[string]string{}
	bi := strings.HasPrefix(s.name, BISchema+".")
	if bi {
		known = said
	}
	switch s.name {
	case "usage", "allocated_usage", "booked_usage":
		known = columnComments(UsageColumns())
	case "quarantine":
		known = columnComments(QuarantineColumns())
	case "balance":
		known = columnComments(BalanceColumns())
	case "usage_addends":
		known = commentsOf(sqlTables, "usage_daily")
	case "allocated_addends":
		known = commentsOf(sqlAllocation, "allocated_daily")
	case "focus_lines", "focus_live", "focus_charges", "focus_prepaid":
		for _, c := range focusCharges {
			known[c.Name] = c.comment
		}
	}
	for i, c := range s.columns {
		if (c.comment == "") == (known[c.name] == "") {
			return fmt.Errorf("%s.%s has no comment, or two", s.name, c.name)
		}
		s.columns[i].comment += known[c.name]
		if bi {
			said[c.name] = s.columns[i].comment
		}
	}
	return nil
}

// BISchema is the schema of the published file that has the views of the semantic layer; all else stands in main.
const BISchema = "bi"

// commentsOf are those of the columns of a table of a .sql file.
func commentsOf(file, table string) map[string]string {
	out := map[string]string{}
	for _, s := range statements(file) {
		if s.name == table {
			for _, c := range s.columns {
				out[c.name] = c.comment
			}
		}
	}
	return out
}

func columnComments(columns []Column) map[string]string {
	out := map[string]string{}
	for _, c := range columns {
		out[c.Name] = c.Comment
	}
	return out
}

// SQLView is a view or macro of the published file, and the statement that makes it for a session alone.
type SQLView struct{ Name, SQL string }

// ScopedViews makes the views of finance and completeness once more, as those of a session, over whatever the names of
// tables stand for in it, and the table that every one of them looks up. The files say which of them are "of the whole
// file", and aren't among these; and where "ever" a charge counts, for a rate is a mean over days before the period,
// too: there they look at chargeback_ever.
func (l SQLLayout) ScopedViews() []SQLView {
	out := []SQLView{{bookedUsage, "CREATE TEMP VIEW " + bookedUsage + " AS " + l.BookedUsage("")}}
	for _, file := range []string{
		sqlViews, sqlCompleteness, sqlCharges, sqlMarkup, sqlReconciliation, sqlPrepaid, sqlOutlook,
		sqlEconomics, sqlAnalysis,
	} {
		for _, s := range statements(file) {
			if strings.Contains(s.sql, "/* of the whole file */") {
				continue
			}
			sql := strings.Replace(s.sql, "CREATE ", "CREATE TEMP ", 1)
			sql = strings.ReplaceAll(sql, "chargeback_daily /* ever */", "chargeback_ever")
			out = append(out, SQLView{s.name, sql})
			if s.name == "completeness_now" {
				const filled = "completeness_monthly"
				out = append(out, SQLView{filled, "CREATE TEMP TABLE " + filled + " AS FROM " + s.name})
			}
		}
	}
	return out
}

// SQLUsageColumns lists the columns of usage as they are read from a day file of a SchemaVersion: a column that the
// file doesn't have yet has the value it stands for.
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
