package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// someBooks are calendars of every kind, by clocks that go forth and back, by half an hour, and over the date line.
func someBooks(t testing.TB) map[string]*schemas.Books {
	t.Helper()
	out := map[string]*schemas.Books{"": nil}
	for _, s := range []schemas.BookSettings{
		{Zone: "Asia/Shanghai"},
		{Zone: "America/New_York", FiscalYear: 4, Calendar: "4-4-5"},
		{Zone: "Australia/Lord_Howe", FiscalYear: 7},
		{Zone: "Pacific/Kiritimati", Calendar: "5-4-4", WeekStarts: "monday"},
		{FiscalYear: 10, Calendar: "4-5-4"},
		{Zone: "Europe/Berlin", Calendar: schemas.CalendarFile, Periods: []schemas.BookPeriod{
			{Name: "2026-P07", From: schemastest.Date("2026-07-10"), To: schemastest.Date("2026-08-12")},
			{Name: "2026-P08", From: schemastest.Date("2026-08-12"), To: schemastest.Date("2026-09-03")},
			{Name: "2026-P09", From: schemastest.Date("2026-09-03"), To: schemastest.Date("2026-10-20")},
			{Name: "2026-P10", From: schemastest.Date("2026-10-20"), To: schemastest.Date("2026-12-24")},
		}},
	} {
		b, err := schemas.MakeBooks(s)
		if err != nil {
			t.Fatal(err)
		}
		out[b.String()] = b
	}
	return out
}

// What is charged by books is what the records come to by an independent reckoning of their days and periods, to the
// last digit; usage by UTC months and the bridge come to the same; and what was fetched of a book day is what windows
// cover of it.
func TestBooksAreTheRecordsByTheirOwnCalendar(t *testing.T) {
	few(t, 1)
	for name, books := range someBooks(t) {
		t.Run(name, func(t *testing.T) { rapid.Check(t, func(rt *rapid.T) { checkBooks(t, rt, books) }) })
	}
}

func checkBooks(t *testing.T, rt *rapid.T, books *schemas.Books) {
	w := newDayWriter(t, load.Options{})
	f := testFinance
	f.Books = books
	f.Rules = loadtest.Rules{Name: "a", Since: schemastest.Date("2026-09-30"), Pool: []string{"cc-0", "cc-2"}}
	days := rapid.SliceOfNDistinct(rapid.IntRange(0, 91), 4, 8, rapid.ID).Draw(rt, "days")
	days = append(days, 30, 60) // of August and September, the last
	for i, d := range days {
		p := schemas.Partition{Account: []string{"acme", "zeta-2"}[i%2],
			Date: schemastest.Date("2026-08-01") + schemas.Date(d)}
		w.RandomDay(p, rapid.IntRange(5, 60).Draw(rt, "rows"), int64(d))
		if i == len(days)/2 { // the rest is brought up to date
			w.publish(PublishOptions{Finance: f})
		}
	}
	w.publish(PublishOptions{Finance: f})
	want := map[string]schemas.Money{}
	for _, row := range w.Ask(`SELECT epoch_us(request_time) AS at, amount FROM usage WHERE amount IS NOT NULL`) {
		var at int64
		var amount string
		if _, err := fmt.Sscanf(strings.NewReplacer("{'at': ", "", ", 'amount': ", " ", "}", "").Replace(row), "%d %s", &at,
			&amount); err != nil {
			rt.Fatal(row, err)
		}
		day := books.Day(time.UnixMicro(at))
		m, err := schemas.ParseMoney(amount)
		if err != nil {
			rt.Fatal(err)
		}
		for _, key := range []string{"day " + day.String(), "period " + books.Name(books.Month(day))} {
			want[key] = want[key].Add(m)
		}
	}
	var expected []string
	for key, m := range want {
		expected = append(expected, key+" "+m.String())
	}
	slices.Sort(expected)
	got := texts(w.Ask(`SELECT format('day {} ', book_date) || sum(net_cost)::VARCHAR AS t FROM chargeback_daily
			GROUP BY book_date HAVING sum(net_cost) IS NOT NULL
			UNION ALL SELECT format('period {} ', period) || sum(net_cost)::VARCHAR FROM chargeback_daily GROUP BY period
			HAVING sum(net_cost) IS NOT NULL`))
	for i, g := range got { // as Money writes it
		name, v, _ := strings.Cut(g[strings.LastIndex(g[:strings.LastIndex(g, " ")], " ")+1:], " ")
		m, err := schemas.ParseMoney(v)
		if err != nil {
			rt.Fatal(g, err)
		}
		got[i] = strings.Fields(g)[0] + " " + name + " " + m.String()
	}
	slices.Sort(got)
	if !slices.Equal(got, expected) {
		rt.Fatalf("%s: %s", books, schemastest.FirstDifference(strings.Join(got, "\n"), strings.Join(expected, "\n")))
	}
	for what, query := range map[string]string{
		"the bridge doesn't sum to 0": `SELECT currency FROM period_bridge GROUP BY ALL HAVING sum(moved) <> 0`,
		"UTC and the bridge are not the books": `SELECT * FROM (
				SELECT "month", currency, sum(a) AS a FROM (
					SELECT date_trunc('month', usage_date)::DATE AS "month", currency, sum(amount) AS a FROM usage GROUP BY ALL
					UNION ALL SELECT "month", currency, moved FROM period_bridge) GROUP BY ALL) u
				FULL JOIN (SELECT billing_month AS "month", currency, sum(net_cost) AS a FROM chargeback_daily GROUP BY ALL) b
				USING ("month", currency) WHERE coalesce(u.a, 0) <> coalesce(b.a, 0)`,
		"two views say a month differently": `FROM (SELECT DISTINCT billing_month, period FROM chargeback_daily) c
				JOIN periods p ON p."month" = c.billing_month WHERE c.period <> p.period`,
		"FOCUS bills something else": `SELECT * FROM (
				SELECT sum("BilledCost") AS a, "BillingPeriodStart" AS s FROM focus GROUP BY ALL) f
				FULL JOIN (SELECT sum(net_cost) AS a, period_starts(billing_month) AS s FROM chargeback_daily
				WHERE net_cost IS NOT NULL GROUP BY ALL) c USING (s) WHERE coalesce(f.a, 0) <> coalesce(c.a, 0)`,
		"a charge of FOCUS lies outside of its period": `SELECT * FROM focus WHERE "ChargePeriodStart" < "BillingPeriodStart"
				OR "ChargePeriodEnd" > "BillingPeriodEnd" OR "ChargePeriodStart" >= "ChargePeriodEnd"`,
		"parts of days aren't the days": `SELECT account, usage_date FROM coverage_daily GROUP BY ALL
				HAVING sum(covered_seconds + missing_seconds) <> 86400`,
		"a part is more than its book day": `FROM (SELECT account, book_date, sum(covered_seconds) AS s FROM coverage_daily
				GROUP BY ALL) WHERE s > book_day_starts(book_date + 1) - book_day_starts(book_date)`,
		"a period's days begin elsewhere": `FROM periods WHERE book_day_starts(period_start) <> epoch(starts_at)
				OR book_day_starts(period_end) <> epoch(ends_at)`,
		"a month has other seconds than its instants": `SELECT * FROM completeness_monthly m JOIN periods p USING ("month")
				WHERE period_seconds <> epoch(ends_at) - epoch(starts_at)`,
		"more of a month was fetched than windows cover": `SELECT * FROM completeness_monthly m WHERE covered_seconds <> (
				SELECT coalesce(sum(c.covered_seconds), 0) FROM coverage_daily c WHERE c.account = m.account
				AND month_of(c.book_date) = m."month")`,
	} {
		if rows := w.Ask(query); len(rows) > 0 {
			rt.Fatalf("%s: %s: %s", books, what, rows[0])
		}
	}
	before := w.Dump()
	w.publish(PublishOptions{Finance: f, Full: true})
	if d := w.Dump(); d != before {
		rt.Fatalf("%s: built from nothing: %s", books, schemastest.FirstDifference(before, d))
	}
}

// withoutPeriod are the tables and views with a cost of an owner that have no period by design, and why.
var withoutPeriod = map[string]string{
	"budgets": "a plan: period says how long one is", "budget_vs_actual": "by the budget's own periods",
	"closed_markups": "kept by month; markup_monthly has the period of each",
	"focus_lines":    "FOCUS is UTC's, and has BillingPeriodStart", "focus_live": "as focus_lines",
	"focus_charges": "as focus_lines", "focus_prepaid": "as focus_lines", "focus_closed": "as focus_lines",
	"bi.budget_periods": "by the budget's own periods",
}

// What has a row a record, and what fills the tables of sums, looks up no calendar by a subquery of each row: DuckDB
// would gather all rows for that before it leaves one out. What UTC's months have of it is of other things.
func TestACalendarIsJoinedAndNotAskedOfEachRecord(t *testing.T) {
	gathers := func(settings schemas.BookSettings) map[string]int {
		w := newDayWriter(t, load.Options{})
		f := testFinance
		var err error
		f.Books, err = schemas.MakeBooks(settings)
		must(t, err)
		w.RandomDay(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}, 20, 1)
		w.publish(PublishOptions{Finance: f})
		asked := map[string]string{}
		for _, view := range []string{"booked_usage", "allocated_usage", "allocated_addends", "focus_lines",
			"focus_omitted"} {
			asked[view] = "FROM " + view
		}
		sums := strings.ReplaceAll(schemas.SQLLayout{Books: f.Books}.AllocatedSums(),
			" SEMI JOIN temp.summed_days USING (account, usage_date)", "")
		for sum := range strings.SplitSeq(strings.TrimSpace(sums), ";\n") {
			table, query, _ := strings.Cut(strings.TrimSuffix(sum, ";"), "\n")
			asked[table] = query
		}
		conn, done := loadtest.Connect(t, w.lake.Database())
		defer done()
		out := map[string]int{}
		for name, query := range asked {
			var what, plan string
			must(t, conn.QueryRowContext(t.Context(), "EXPLAIN (FORMAT json) "+query).Scan(&what, &plan))
			if !strings.Contains(plan, "SCAN") {
				t.Fatalf("%s: no plan: %s", name, plan)
			}
			out[name] = strings.Count(plan, "DELIM_JOIN")
		}
		if len(out) != 8 {
			t.Fatalf("%d queries: %v", len(out), out)
		}
		return out
	}
	want := gathers(schemas.BookSettings{})
	got := gathers(schemas.BookSettings{Zone: "Asia/Shanghai", FiscalYear: 4, Calendar: "4-4-5"})
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s gathers its rows %d times, and without a calendar of tables %d times", name, got[name], n)
		}
	}
}

// book_date and period stand beside usage_date in every table and view with a cost of an owner; and they agree.
func TestEveryCostOfAnOwnerHasItsBookDayAndPeriod(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	f := testFinance
	f.Rules = loadtest.Rules{Name: "a", Since: schemastest.Date("2026-08-01"), Pool: []string{"cc-0"}}
	var err error
	f.Books, err = schemas.MakeBooks(schemas.BookSettings{Zone: "America/New_York", FiscalYear: 4, Calendar: "4-4-5"})
	must(t, err)
	for i, day := range []string{"2026-08-22", "2026-08-24"} { // P06 begins on August 23
		w.RandomDay(schemas.Partition{Account: "acme", Date: schemastest.Date(day)}, 40, int64(i))
	}
	w.publish(PublishOptions{Finance: f})
	owned := map[string]bool{}
	for _, table := range texts(w.Ask(`SELECT CASE WHEN schema_name <> 'main' THEN schema_name || '.' ELSE '' END
			|| table_name AS t FROM duckdb_columns() WHERE NOT internal GROUP BY ALL
		HAVING bool_or(column_name IN ('cost_center', 'team', 'project', 'environment', 'gl_code', 'allocation_id',
			'scope_value'))
		AND bool_or(data_type LIKE 'DECIMAL%' AND regexp_matches(column_name,
			'cost$|amount|discount|charged|spend|fee|^own$|^book$|^net'))`)) {
		owned[table] = true
		columns := texts(w.Ask("SELECT column_name AS t FROM duckdb_columns() WHERE '" + table +
			"' IN (table_name, schema_name || '.' || table_name)"))
		has := func(name string) bool { return slices.Contains(columns, name) }
		by := withoutPeriod[table] != ""
		if !by && !has("period") || !by && has("usage_date") && !has("book_date") {
			t.Errorf("%s has a cost of an owner, and no book_date or no period beside it", table)
		}
		if by && has("period") && has("book_date") {
			t.Errorf("%s has a period and a book day: it needs no reason for lacking them (%s)", table, withoutPeriod[table])
		}
		// What is charged later has another period than its book day.
		if by || !has("book_date") || has("billing_month") || table == "bi.charges_daily" {
			continue
		}
		if rows := w.Ask("SELECT DISTINCT period, book_date FROM " + table +
			" WHERE period IS DISTINCT FROM period_of(month_of(book_date))"); len(rows) > 0 {
			t.Errorf("%s: %v", table, rows)
		}
		if n := w.One("SELECT count(DISTINCT period) AS n FROM " + table); n != "{'n': 2}" {
			t.Errorf("%s has %s periods, want 2", table, n)
		}
	}
	for table := range withoutPeriod {
		if !owned[table] {
			t.Errorf("%s has no cost of an owner", table)
		}
	}
	for _, table := range []string{"allocated_usage", "allocated_daily", "allocated_model_daily", "ext_daily",
		"shared_cost_shares", "chargeback_daily", "unallocated", "bi.charges_daily", "bi.usage_by_user", "bi.records"} {
		if !owned[table] {
			t.Errorf("%s isn't looked at", table)
		}
	}
}

// texts are the rows of a query of one column, t.
func texts(rows []string) []string {
	for i, r := range rows {
		rows[i] = strings.TrimSuffix(strings.TrimPrefix(r, "{'t': "), "}")
	}
	return rows
}

func sortedNames(all map[string]*schemas.Books) []string {
	var out []string
	for name := range all {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// A month begins and ends by the books' clocks, to the second.
func TestAMonthEndsByTheClocksOfItsBooks(t *testing.T) {
	shanghai, err := schemas.MakeBooks(schemas.BookSettings{Zone: "Asia/Shanghai"})
	if err != nil {
		t.Fatal(err)
	}
	w := newDayWriter(t, load.Options{})
	at := func(id, amount, when string) {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date(when[:10])}
		w.Charges(p, loadtest.Charge(p, id, "tk_2", "m", amount, "CNY", "request_time=TIMESTAMPTZ '"+when+"'"))
	}
	day := func(date string, rows ...[3]string) {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date(date)}
		var out []string
		for _, r := range rows {
			out = append(out, loadtest.Charge(p, r[0], "tk_2", "m", r[1], "CNY", "request_time=TIMESTAMPTZ '"+r[2]+"'"))
		}
		w.Charges(p, out...)
	}
	at("x", "7", "2026-10-15 00:00:00Z")
	day("2026-09-30", [3]string{"a", "1", "2026-09-30 15:59:59Z"}, [3]string{"b", "100", "2026-09-30 16:00:00Z"})
	day("2026-10-31", [3]string{"c", "6", "2026-10-31 15:59:59Z"}, [3]string{"d", "40", "2026-10-31 16:00:00Z"})
	at("x", "0", "2026-10-15 00:00:00Z")
	f := testFinance
	f.Books = shanghai
	w.publish(PublishOptions{Finance: f})
	got := texts(w.Ask(`SELECT format('{} {}', period, sum(net_cost)::BIGINT) AS t FROM chargeback_daily GROUP BY period
		ORDER BY period`))
	if want := "2026-09 1|2026-10 106|2026-11 40"; strings.Join(got, "|") != want {
		t.Errorf("%s, want %s", strings.Join(got, "|"), want)
	}
	got = texts(w.Ask(`SELECT format('{} {} {} {}', utc_month, period, currency, moved::BIGINT) AS t FROM period_bridge
		ORDER BY ALL`))
	want := "2026-09-01 2026-09 CNY -100|2026-09-01 2026-10 CNY 100|2026-10-01 2026-10 CNY -40|2026-10-01 2026-11 CNY 40"
	if strings.Join(got, "|") != want {
		t.Errorf("%s, want %s", strings.Join(got, "|"), want)
	}
}

// Closed months keep their calendar; and usage of a day that no period has is in no period.
func TestBooksThatCantBe(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-08-20")}
	w.RandomDay(p, 10, 1)
	f := testFinance
	f.Archived = archived(f.Rules)
	w.publish(PublishOptions{Finance: f})
	if _, err := w.closeMonth("2026-08", f); err != nil {
		t.Fatal(err)
	}
	publish := func(books *schemas.Books) error {
		g := f
		g.Books = books
		_, err := w.lake.Publish(context.Background(), PublishOptions{Finance: g, Version: "test",
			Now: loadtest.TickingClock()})
		return err
	}
	zone, err := schemas.MakeBooks(schemas.BookSettings{Zone: "Asia/Tokyo"})
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(zone); !errors.Is(err, ErrOtherBooks) ||
		!strings.Contains(err.Error(), "2026-08 was closed by calendar months, UTC") {
		t.Errorf("another zone: %v", err)
	}
	year, err := schemas.MakeBooks(schemas.BookSettings{FiscalYear: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(year); err != nil { // the months are the same, and what the year begins with has closed nothing
		t.Errorf("another year: %v", err)
	}
	got := w.One(`SELECT fiscal_year * 100 + number AS n FROM periods WHERE "month" = '2026-10-01'`)
	if got != "{'n': 202607}" {
		t.Error(got)
	}
	if _, err := w.lake.ReopenMonth(schemastest.Date("2026-08-01").Month(), "r", "test", "x", time.Now()); err != nil {
		t.Fatal(err)
	}
	file, err := schemas.MakeBooks(schemas.BookSettings{Calendar: schemas.CalendarFile, Periods: []schemas.BookPeriod{
		{Name: "2026-P08", From: schemastest.Date("2026-08-01"), To: schemastest.Date("2026-08-20")}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(file); !errors.Is(err, ErrLacksDays) || !strings.Contains(err.Error(), "acme 2026-08-20 lies in") {
		t.Errorf("a day that no period has: %v", err)
	}
}

// A file of periods goes on, with the next year's say, while months of it are closed; but those stay as they are. Days
// that the file didn't have then are open.
func TestAFileOfPeriodsGoesOn(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDay(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-08-20")}, 10, 1)
	file := func(to ...string) *schemas.Books {
		s := schemas.BookSettings{Calendar: schemas.CalendarFile}
		for i, from := 0, "2026-08-03"; i < len(to); i, from = i+1, to[i] {
			s.Periods = append(s.Periods, schemas.BookPeriod{Name: fmt.Sprintf("2026-P%02d", 8+i),
				From: schemastest.Date(from), To: schemastest.Date(to[i])})
		}
		b, err := schemas.MakeBooks(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	f := testFinance
	f.Books, f.Archived = file("2026-08-29"), archived(f.Rules)
	w.publish(PublishOptions{Finance: f})
	if _, err := w.closeMonth("2026-08", f); err != nil {
		t.Fatal(err)
	}
	closed, err := w.lake.Closed()
	if err != nil {
		t.Fatal(err)
	}
	for day, open := range map[string]string{"2026-08-03": "", "2026-08-28": "", "2026-08-29": "2026-P09",
		"2026-08-31": "2026-P09", "2026-12-31": "2026-P09", "2026-08-02": "2026-P07"} {
		if got := OpenOf(closed, schemastest.Date(day)); got != open {
			t.Errorf("%s lies in %q, which is open; want %q", day, got, open)
		}
	}
	was := w.Ask("SELECT * FROM chargeback_daily WHERE period = '2026-P08' ORDER BY ALL")
	w.RandomDay(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-08-30")}, 10, 2)
	f.Books = file("2026-08-29", "2026-10-03")
	w.publish(PublishOptions{Finance: f})
	if got := w.Ask("SELECT * FROM chargeback_daily WHERE period = '2026-P08' ORDER BY ALL"); !slices.Equal(got, was) {
		t.Errorf("the closed period changed: %v, was %v", got, was)
	}
	if got := w.One("SELECT count(*) > 0 AS n FROM chargeback_daily WHERE period = '2026-P09'"); got != "{'n': true}" {
		t.Error("the period that came is empty")
	}
	f.Books = file("2026-08-30", "2026-10-03")
	options := PublishOptions{Finance: f, Version: "test", Now: loadtest.TickingClock()}
	_, err = w.lake.Publish(context.Background(), options)
	if !errors.Is(err, ErrOtherBooks) || !strings.Contains(err.Error(), "2026-P08 was closed by") {
		t.Errorf("the closed period has another day: %v", err)
	}
}
