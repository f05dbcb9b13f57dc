package schemas

import (
	"fmt"
	"slices"
	"strings"
)

// SQLLayout is what the tables and views of a published file depend on, besides SQLVersion.
type SQLLayout struct {
	Fields []string // columns of allocation_keys that the allocation rules look at
	// Views of usage_daily and allocated_daily are those that sum up when they are asked, for they have nearly as many
	// rows as usage has; what isn't among these is a table. Names and columns are the same.
	Views []string
	// Books are the calendar that it is charged by; nil is UTC's calendar months.
	Books *Books
	// Outside says that not all records stand in the file: usage is a view then (SQLRecords), over the table usage_recent
	// and the day files.
	Outside bool
}

// view says whether a table of sums is a view.
func (l SQLLayout) view(name string) bool { return slices.Contains(l.Views, name) }

// SQLSums are the tables of sums that may be views. The second has a row at least for each of the first.
var SQLSums = []string{"usage_daily", "allocated_daily"}

// Schema makes the tables and views of the published file in an empty one, each table, view and column commented. It is
// several statements.
func (l SQLLayout) Schema() string {
	var b strings.Builder
	var views []sqlStatement // they name tables, and allocated_usage
	for _, s := range slices.Concat(statements(sqlTables), statements(sqlAllocation)) {
		if l.Outside && s.name == SQLRecordsTable(false) {
			s.name, s.comment = SQLRecordsTable(true), "The records of usage that stand in this file, with the same columns."
			s.sql = strings.Replace(s.sql, "TABLE usage ", "TABLE "+s.name+" ", 1)
		}
		if l.view(s.name) {
			s.kind, s.sql = "VIEW", "CREATE VIEW "+s.name+" AS\n"+l.lookedUp(sumsOf(s.name), "")
			views = append(views, s)
			continue
		}
		s.write(&b)
	}
	if l.Outside {
		b.WriteString(SQLUsageView(SQLRecords(true)))
	}
	for _, s := range l.booksStatements() {
		s.write(&b)
	}
	b.WriteString(l.commented(sqlRates))
	b.WriteString(l.allocatedUsage())
	for _, s := range views {
		s.write(&b)
	}
	b.WriteString(l.addends())
	b.WriteString(sqlFocusTable())
	for _, file := range []string{
		sqlViews, sqlCompleteness, sqlCharges, sqlMarkup, sqlReconciliation, sqlPrepaid, sqlOutlook,
		sqlEconomics, sqlAnalysis,
	} {
		b.WriteString(l.commented(file))
	}
	b.WriteString(l.sqlFocusViews())
	b.WriteString(l.commented(sqlBI))
	return b.String()
}

// SQLRecordsTable is the table that has the records of the file itself; outside says that others aren't in it.
func SQLRecordsTable(outside bool) string {
	if outside {
		return "usage_recent"
	}
	return "usage"
}

// SQLRecordFiles are day files with the columns of one kind, by an expression that is a list of their paths,
// …/acct=NAME/date=YYYY-MM-DD/FILE.
type SQLRecordFiles struct {
	Schema int // SchemaVersion of one of them
	Paths  string
}

// SQLRecords is the query of usage where not all records stand in the file: those of usage_recent, if there are any or
// nothing else is, and those of the files.
//
// The account and the day are read off the folders, so that a question about some days or one account opens no file of
// the others. As text and as a date, whatever they look like: 0042 is no number.
func SQLRecords(recent bool, files ...SQLRecordFiles) string {
	var parts []string
	if recent || len(files) == 0 {
		parts = append(parts, "SELECT * FROM "+SQLRecordsTable(true))
	}
	for _, f := range files {
		columns := strings.NewReplacer(`"account"`, `coalesce(acct, 'null') AS "account"`, `"usage_date"`,
			`"date" AS "usage_date"`).Replace(SQLUsageColumns(f.Schema))
		parts = append(parts, "SELECT "+columns+" FROM read_parquet("+f.Paths+
			", hive_partitioning = true, hive_types = {'acct': VARCHAR, 'date': DATE})")
	}
	return strings.Join(parts, "\nUNION ALL\n")
}

// SQLUsageView makes the view usage of a query of SQLRecords, in place of what it was, with its comments. It is several
// statements.
func SQLUsageView(query string) string {
	s := statements(sqlRecords)[0]
	head, _, _ := strings.Cut(s.sql, " AS\n")
	s.sql = head + " AS\n" + query
	var b strings.Builder
	s.write(&b)
	return b.String()
}

// bookedUsage is the view of the records with their book days.
const bookedUsage = "booked_usage"

// booksStatements make what books.sql does, as the books have it.
func (l SQLLayout) booksStatements() []sqlStatement {
	out := statements(sqlBooks)
	others, err := parseSQL(sqlOtherBooks)
	if err != nil {
		panic(err) // the file is part of the program, and a test reads it
	}
	for _, o := range others {
		switch o.name {
		case "month_of", "period_of":
			if l.Books.Months() {
				continue
			}
		case "book_date_of", "book_day_starts", "day_parts", bookedUsage:
			if l.Books.UTC() {
				continue
			}
		default:
			if l.Books.UTC() && l.Books.Months() {
				continue
			}
		}
		i := slices.IndexFunc(out, func(s sqlStatement) bool { return s.name == o.name })
		out[i].sql = o.sql
	}
	return out
}

// BookedUsage is the query of booked_usage over the tables of a catalog, "usage." say; "" is the one that is used.
func (l SQLLayout) BookedUsage(catalog string) string {
	all := l.booksStatements()
	i := slices.IndexFunc(all, func(s sqlStatement) bool { return s.name == bookedUsage })
	_, query, _ := strings.Cut(all[i].sql, " AS\n")
	return strings.NewReplacer("FROM usage u", "FROM "+catalog+"usage u", "JOIN book_days b",
		"JOIN "+catalog+"book_days b").Replace(query)
}

// Allocated makes the views that go by the fields that the rules look at, and the macro that explains a record, in
// place of what they were. It is several statements.
func (l SQLLayout) Allocated() string { return l.allocatedUsage() + l.addends() }

// KeyJoin is the condition by which a record u finds its row k of allocation_keys.
func (l SQLLayout) KeyJoin() string {
	on := "k.account = u.account AND u.book_date >= k.valid_from AND u.book_date < k.valid_to"
	for _, f := range l.Fields {
		on += fmt.Sprintf(" AND k.%[1]s IS NOT DISTINCT FROM u.%[1]s", f)
	}
	return on
}

// byFields completes the joins with allocation_keys of a .sql file, which name no field that the rules look at.
func (l SQLLayout) byFields(sql string) string {
	return strings.ReplaceAll(sql, SQLLayout{}.KeyJoin(), l.KeyJoin())
}

func (l SQLLayout) allocatedUsage() string { return l.byFields(l.commented(sqlAllocated)) }

// lookedUp has a query that says "month of u" or "period of u" behind what it reads join the calendar, if that is of
// tables, and take the month and the period of u.book_date from there: over the tables of a catalog, "usage." say; ""
// is the one that is used. As macros these are subqueries of each row, for which DuckDB gathers all rows beneath,
// whole, before any condition on them: publishing one day of 30 took three times as long, and hundreds of MiB on disk.
func (l SQLLayout) lookedUp(sql, catalog string) string {
	if l.Books.Months() {
		return sql
	}
	const (
		days    = "LEFT JOIN %[1]sbook_days of_day ON of_day.book_date = u.book_date"
		periods = days + "\n" + `LEFT JOIN %[1]speriods of_month ON of_month."month" = of_day."month"`
	)
	for mark, join := range map[string]string{"/* month of u */": days, "/* period of u */": periods} {
		if strings.Contains(sql, mark) {
			sql = strings.NewReplacer(mark, fmt.Sprintf(join, catalog),
				"period_of(month_of(u.book_date))", "coalesce(of_month.period, strftime(u.book_date, '%Y-%m'))",
				"month_of(u.book_date)", `coalesce(of_day."month", date_trunc('month', u.book_date)::DATE)`).Replace(sql)
		}
	}
	return sql
}

// commented makes what a .sql file makes, with its comments.
func (l SQLLayout) commented(file string) string {
	var b strings.Builder
	for _, s := range statements(file) {
		s.sql = l.lookedUp(s.sql, "")
		s.write(&b)
	}
	return b.String()
}

func (l SQLLayout) addends() string {
	var b strings.Builder
	for _, s := range statements(sqlAddends) {
		head, _, _ := strings.Cut(s.sql, " AS\n")
		s.sql = head + " AS\n" + l.addendsOf(s, "")
		s.write(&b)
	}
	return b.String()
}

// addendsOf is the query of a view of addends, over the tables of a catalog, "usage." say; "" is the one that is used.
func (l SQLLayout) addendsOf(s sqlStatement, catalog string) string {
	if daily := strings.TrimSuffix(s.name, "addends") + "daily"; !l.view(daily) {
		return "SELECT * FROM " + catalog + daily
	}
	_, query, _ := strings.Cut(s.sql, " AS\n")
	query = strings.ReplaceAll(query, bookedUsage+" /* of the file */", "("+l.BookedUsage(catalog)+")")
	for _, table := range []string{"usage", "allocation_keys"} {
		query = strings.ReplaceAll(query, table+" /* of the file */", catalog+table)
	}
	return l.byFields(l.lookedUp(query, catalog))
}

// Addends are the queries of usage_addends and allocated_addends, over the tables of a catalog.
func (l SQLLayout) Addends(catalog string) (usage, allocated string) {
	all := statements(sqlAddends)
	return l.addendsOf(all[0], catalog), l.addendsOf(all[1], catalog)
}

// Rollups inserts into usage_daily, if that is a table, unit_prices and coverage_daily what usage and coverage have for
// the days in the temporary table changed (account, usage_date). It is several statements.
func (l SQLLayout) Rollups() string { return l.tablesOnly(sqlRollups) }

// AllocatedSums inserts into allocated_daily, if that is a table, allocated_model_daily and ext_daily what
// allocated_usage has for the days in the temporary table summed_days (account, usage_date). It is several statements.
func (l SQLLayout) AllocatedSums() string { return l.tablesOnly(sqlAllocatedSums) }

// Chargeback charges in chargeback_daily what was spent in the open months of the temporary table stale_months
// (billing_month), and leaves a temporary view, chargeback_live, of what would be charged in every month if none was
// closed. It is several statements.
func (l SQLLayout) Chargeback() string { return l.lookedUp(sqlChargeback, "") }

// tablesOnly leaves out what fills a table that is a view.
func (l SQLLayout) tablesOnly(file string) string {
	var b strings.Builder
	for _, s := range statements(file) {
		if _, into := intoSums(s.sql); l.view(into) {
			continue
		}
		b.WriteString(l.lookedUp(s.sql, "") + ";\n")
	}
	return b.String()
}

// sumsOf is the query that fills a table of sums, of all days.
func sumsOf(table string) string {
	for _, s := range slices.Concat(statements(sqlRollups), statements(sqlAllocatedSums)) {
		if query, into := intoSums(s.sql); into == table {
			from, days, _ := strings.Cut(query, " SEMI JOIN ")
			_, grouped, _ := strings.Cut(days, "\n")
			return from + "\n" + strings.TrimSuffix(grouped, "\nORDER BY ALL")
		}
	}
	panic("nothing fills " + table) // the files are part of the program, and a test reads them
}

// intoSums is the query of a statement that fills one of SQLSums, and which; "" of another.
func intoSums(sql string) (query, table string) {
	for _, name := range SQLSums {
		if query, ok := strings.CutPrefix(sql, "INSERT INTO "+name+"\n"); ok {
			return query, name
		}
	}
	return "", ""
}
