package query

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func TestEveryTableViewAndColumnHasAComment(t *testing.T) {
	w := publishedLake(t)
	got := ask(t, w.Lake, `
		SELECT table_name AS name FROM duckdb_tables() WHERE database_name = 'usage' AND coalesce(comment, '') = ''
		UNION ALL SELECT view_name FROM duckdb_views() WHERE database_name = 'usage' AND NOT internal AND coalesce(comment,
		'') = ''
		UNION ALL SELECT table_name || '.' || column_name FROM duckdb_columns()
		WHERE database_name = 'usage' AND NOT internal AND coalesce(comment, '') = ''`)
	if got != "name\n" {
		t.Errorf("without a comment: %s", got)
	}
	n := ask(t, w.Lake,
		`SELECT count(*) FROM duckdb_columns() WHERE database_name = 'usage' AND NOT internal AND comment IS NOT NULL`)
	if n < "count_star()\n1" {
		t.Errorf("no comments were looked at: %s", n)
	}
}

// What a budget can be for is said where the published file has a scope of budgets, or of their forecasts, and nothing
// else.
func TestTheCommentsOfScopesNameThoseOfBudgets(t *testing.T) {
	w := publishedLake(t)
	scopes := schemas.BudgetScopes()
	last := len(scopes) - 1
	budget := "What it is for: " + strings.Join(scopes, ", ") + ", or all."
	for table, want := range map[string]string{"budgets": budget, "budget_status": budget,
		"scope_rates": "all, " + strings.Join(scopes[:last], ", ") + " or " + scopes[last] + "."} {
		got := w.Ask("SELECT comment AS c FROM duckdb_columns() WHERE column_name = 'scope' AND table_name = '" + table + "'")
		if len(got) != 1 || got[0] != "{'c': '"+want+"'}" {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
	for _, scope := range scopes {
		if got := w.Ask("SELECT count(" + scope + ") >= 0 AS there FROM chargeback_daily"); len(got) != 1 {
			t.Errorf("chargeback_daily has no %s", scope)
		}
	}
}

// sqlType is the type a column of the lake has in DuckDB.
func sqlType(t *testing.T, a arrow.DataType) string {
	t.Helper()
	switch a := a.(type) {
	case *arrow.StringType:
		return "VARCHAR"
	case *arrow.Int64Type:
		return "BIGINT"
	case *arrow.Date32Type:
		return "DATE"
	case *arrow.TimestampType:
		return "TIMESTAMP WITH TIME ZONE"
	case arrow.DecimalType:
		return fmt.Sprintf("DECIMAL(%d,%d)", a.GetPrecision(), a.GetScale())
	case *arrow.ListType:
		return sqlType(t, a.Elem()) + "[]"
	case *arrow.StructType:
		var fields []string
		for _, f := range a.Fields() {
			name := f.Name
			if name == "usage" {
				name = `"usage"`
			}
			fields = append(fields, name+" "+sqlType(t, f.Type))
		}
		return "STRUCT(" + strings.Join(fields, ", ") + ")"
	}
	t.Fatalf("no type for %s", a)
	return ""
}

func TestTheTablesHaveTheColumnsOfTheFiles(t *testing.T) {
	w := publishedLake(t)
	for table, columns := range map[string][]schemas.Column{
		"usage": schemas.UsageColumns(), "quarantine": schemas.QuarantineColumns(), "balance": schemas.BalanceColumns(),
	} {
		var want strings.Builder
		want.WriteString("c\n")
		for _, c := range columns {
			fmt.Fprintf(&want, "%s %s %t %s\n", c.Name, sqlType(t, c.Type), c.Nullable, c.Comment)
		}
		got := ask(t, w.Lake,
			fmt.Sprintf(`SELECT column_name || ' ' || data_type || ' ' || is_nullable || ' ' || comment AS c
				FROM duckdb_columns() WHERE database_name = 'usage' AND table_name = '%s' ORDER BY column_index`, table))
		got = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(got, "\"\"", "\x00"), "\"", ""), "\x00", "\"")
		if got = strings.ReplaceAll(got, "usage DECIMAL", `"usage" DECIMAL`); strings.ReplaceAll(got, `""`,
			`"`) != want.String() {
			t.Errorf("%s has\n%s\nwant\n%s", table, got, want.String())
		}
	}
}

// The file is all that is needed: in another directory, under another name, opened as any client opens it.
func TestThePublishedFileIsWholeInItself(t *testing.T) {
	w := publishedLake(t)
	b, err := os.ReadFile(w.Lake.Database())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "copy-of-june.db")
	if err := os.WriteFile(elsewhere, b, 0o600); err != nil {
		t.Fatal(err)
	}
	want := w.Dump()
	if err := os.RemoveAll(w.Lake.Dir()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("duckdb", elsewhere+"?access_mode=read_only")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT CASE WHEN table_schema <> 'main' THEN table_schema || '.' ELSE '' END || table_name " +
		"FROM information_schema.tables ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
		if _, err := db.Exec("SELECT * FROM " + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"usage", "usage_line_items", "usage_daily", "balance", "coverage", "runs", "quarantine",
		"quality_issues", "partitions", "meta", "bi.charges_daily"} {
		if !slices.Contains(names, name) {
			t.Errorf("there is no %s in %q", name, names)
		}
	}
	if got := loadtest.Dump(t, elsewhere); got != want {
		t.Errorf("the copy answers otherwise: %s", schemastest.FirstDifference(got, want))
	}
}

// For rows of any kind the lines of a record sum to its amount, to the last digit, and the view never fails.
func TestLineItemsSumExactlyToTheAmount(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-15")}
	w.RandomDay(p, 5000, 1)
	extreme := schemas.Partition{Account: "acme", Date: p.Date + 1}
	// Every combination of the extremes that the columns can hold.
	w.DayFrom(extreme,
		`SELECT 'acme' AS account, DATE '2026-10-16' AS usage_date, TIMESTAMPTZ '2026-10-16 10:00:00+00' AS request_time,
			'x' || row_number() OVER () AS id, 1::BIGINT AS ordinal, 'request' AS record_kind,
		't' AS token_id, 'u' AS user_id, NULL::VARCHAR AS custom_user_id, 'm' AS model, 'text' AS model_type,
		1::BIGINT AS channel_id, i AS input_tokens, o AS output_tokens, i AS cached_tokens, NULL::BIGINT AS total_tokens,
		ip AS input_price, ip AS output_price, -ip AS cached_price, a AS total_amount, d AS discount_amount, a AS amount,
		'USD' AS currency,
		e::STRUCT(category VARCHAR, item VARCHAR, unit VARCHAR, price DECIMAL(18,12), "usage" DECIMAL(18,12),
		amount DECIMAL(18,12))[] AS ext_items, NULL::VARCHAR AS extra, TIMESTAMPTZ '2026-10-17 10:00:00+00' AS fetched_at,
		'r' AS run_id
	FROM (SELECT unnest([NULL, 0, 1, -3, 9999999999999, 10000000000000, 9223372036854775807, -9223372036854775808]) AS i),
		(SELECT unnest([NULL, 7, 9999999999999]) AS o),
		(SELECT unnest([NULL, 0, 0.000000000001, 999999.999999999999, -999999.999999999999]::DECIMAL(18,12)[]) AS ip),
		(SELECT unnest([NULL, 0, 999999.999999999999, -999999.999999999999, 0.123456789012]::DECIMAL(18,12)[]) AS a),
		(SELECT unnest([NULL, 0, 999999.999999999999, -0.000000000001]::DECIMAL(18,12)[]) AS d),
		(SELECT unnest([NULL, [], [{category: 'c', item: 'i', unit: 'u', price: 999999.999999999999,
		"usage": 999999.999999999999, amount: NULL}, {category: NULL, item: NULL, unit: NULL, price: NULL, "usage": NULL,
		amount: -999999.999999999999}]]) AS e)`, "extremes", nil)
	w.Publish(publish.PublishOptions{})
	got := ask(t, w.Lake, `
		WITH lines AS (SELECT account, usage_date, id, sum(amount) AS lines, count(*) AS n FROM usage_line_items GROUP BY ALL)
		SELECT count(*) AS differ FROM usage u LEFT JOIN lines l USING (account, usage_date, id)
		WHERE coalesce(u.amount, 0) <> coalesce(l.lines, 0) OR u.amount IS NULL AND l.lines IS NOT NULL`)
	if got != "differ\n0\n" {
		t.Error(got)
	}
	// The sum over anything is the sum of amount, and usual records have no adjustment but that of the last digit.
	got = ask(t, w.Lake, `SELECT (SELECT sum(amount) FROM usage) = (SELECT sum(amount) FROM usage_line_items) AS same,
		(SELECT count(*) FROM usage_line_items WHERE line = 'tokens') = (SELECT count(*) FROM usage
		WHERE record_kind = 'summary' AND total_tokens <> 0) AS summaries`)
	if got != "same,summaries\ntrue,true\n" {
		t.Error(got)
	}
}

func TestLineItemsShowEachCharge(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-15")}
	w.DayFrom(p, `SELECT 'acme' AS account, DATE '2026-10-15' AS usage_date,
		TIMESTAMPTZ '2026-10-15 10:00:00+00' AS request_time, 'x' AS id, 1::BIGINT AS ordinal, 'request' AS record_kind,
		't' AS token_id, 'u' AS user_id, '' AS custom_user_id, 'm' AS model, 'text' AS model_type, 1::BIGINT AS channel_id,
		1234 AS input_tokens, 567 AS output_tokens, 100 AS cached_tokens, 1901 AS total_tokens,
		3::DECIMAL(18,12) AS input_price, 15::DECIMAL(18,12) AS output_price, 0.3::DECIMAL(18,12) AS cached_price,
		0.017367::DECIMAL(18,12) AS total_amount, 0.001::DECIMAL(18,12) AS discount_amount, 0.0164::DECIMAL(18,12) AS amount,
		'USD' AS currency,
		[{category: 'tools', item: 'web_search', unit: 'each', price: 0.001::DECIMAL(18,12), "usage": 3::DECIMAL(18,12),
		amount: 0.003::DECIMAL(18,12)}] AS ext_items, NULL::VARCHAR AS extra,
		TIMESTAMPTZ '2026-10-17 10:00:00+00' AS fetched_at, 'r' AS run_id`, "one", nil)
	w.Publish(publish.PublishOptions{})
	got := ask(t, w.Lake,
		`SELECT line, category, item, unit, quantity::DECIMAL(18,1) AS q, price::DECIMAL(18,4) AS p, price_per AS per, amount,
			currency AS c FROM usage_line_items ORDER BY ALL`)
	want := `line,category,item,unit,q,p,per,amount,c
adjustment,adjustment,,,,,,0.002163000000,USD
cached,tokens,cached,token,100.0,0.3000,1000000,0.000030000000,USD
discount,discount,,,,,,-0.001000000000,USD
ext,tools,web_search,each,3.0,0.0010,1,0.003000000000,USD
input,tokens,input,token,1234.0,3.0000,1000000,0.003702000000,USD
output,tokens,output,token,567.0,15.0000,1000000,0.008505000000,USD
`
	// 0.0164 was charged: 0.003702 + 0.00003 + 0.008505 + 0.003 − 0.001 is 0.014237, and 0.002163 is left.
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAPriceThatChangesBetweenDaysIsAnIssue(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	day := schemastest.Date("2026-10-15")
	for i, price := range []string{"3", "3", "3.5", "3.5"} {
		if i == 1 {
			continue // a day without use is passed over
		}
		p := schemas.Partition{Account: "acme", Date: day + schemas.Date(i)}
		w.DayFrom(p, "SELECT * REPLACE ("+price+"::DECIMAL(18,12) AS input_price, 'model-1' AS model, 100 AS input_tokens, "+
			"NULL::STRUCT(category VARCHAR, item VARCHAR, unit VARCHAR, price DECIMAL(18,12), \"usage\" DECIMAL(18,12), amount "+
			"DECIMAL(18,12))[] AS ext_items) FROM ("+loadtest.UsageSQL(p, 30, 1)+")", price+p.String(), nil)
	}
	w.Publish(publish.PublishOptions{})
	got := ask(t, w.Lake,
		`SELECT usage_date, severity, field, model, records, detail FROM quality_issues
			WHERE check_name = 'price_change_days'`)
	if want := "usage_date,severity,field,model,records,detail\n2026-10-17,warning,input_price,model-1,30,\"3 on " +
		"2026-10-15, then 3.5\"\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := ask(t, w.Lake, "SELECT count(*) AS n FROM quality_issues"); got != "n\n4\n" {
		t.Errorf("with those of the days: %s", got)
	}
}

// DuckDB's own JSON reader loses digits of these; the file must not.
func TestTheDecimalsAreExact(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-15")}
	w.DayFrom(p, `SELECT * REPLACE (98765.432109876543::DECIMAL(18,12) AS amount,
		999999.999999999999::DECIMAL(18,12) AS total_amount, -0.000000000001::DECIMAL(18,12) AS discount_amount,
		't' AS token_id, 'u' AS user_id, 'm' AS model, 'request' AS record_kind) FROM (`+loadtest.UsageSQL(p, 3, 1)+`)`, "x",
		nil)
	w.Publish(publish.PublishOptions{})
	for query, want := range map[string]string{
		"SELECT DISTINCT amount, total_amount, discount_amount FROM usage": "98765.432109876543,999999.999999999999," +
			"-0.000000000001",
		"SELECT amount, total_amount, discount_amount FROM usage_daily": "296296.296329629629,2999999.999999999997," +
			"-0.000000000003",
		"SELECT amount, total_amount, discount_amount FROM partitions": "296296.296329629629,2999999.999999999997," +
			"-0.000000000003",
	} {
		if got := ask(t, w.Lake, query); got != "amount,total_amount,discount_amount\n"+want+"\n" {
			t.Errorf("%s: %s", query, got)
		}
	}
}
