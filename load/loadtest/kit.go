package loadtest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// bookWriter writes day files, quarantine and balances with DuckDB: a writer of another make than the lake's own, so
// that the published file is held against files that nobody here derived.
type Writer struct {
	T      testing.TB
	lake   *load.Lake
	Db     *sql.DB
	Digest string // what the next quarantine and balance files say they are derived from
}

// newBookWriter writes into a lake.
func NewWriter(t testing.TB, l *load.Lake) *Writer {
	t.Helper()
	c, err := duckdb.NewConnector("", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &Writer{T: t, lake: l, Db: sql.OpenDB(c)}
	t.Cleanup(func() { _ = w.Db.Close() })
	w.Exec("SET TimeZone = 'UTC'")
	return w
}

// Connect opens a published file as any reader does, or none if path is "".
func Connect(t testing.TB, path string) (conn *sql.Conn, done func()) {
	t.Helper()
	c, err := duckdb.NewConnector("", nil)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	ctx := context.Background()
	conn, err = db.Conn(ctx)
	set := []string{"SET TimeZone = 'UTC'"}
	if path != "" {
		set = append(set, "ATTACH "+schemas.SQLString(path)+" AS usage (READ_ONLY)", "USE usage")
	}
	for _, s := range set {
		if err == nil {
			_, err = conn.ExecContext(ctx, s)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn, func() { _ = conn.Close(); _ = db.Close() }
}

// Exec runs a statement of the writer's own DuckDB.
func (w *Writer) Exec(q string) {
	w.T.Helper()
	if _, err := w.Db.Exec(q); err != nil {
		w.T.Fatalf("%s\n%v", q, err)
	}
}

// UsageSQL makes n rows of a day that look like usage, and some that are strange: NULLs everywhere they may be,
// refunds, huge counts, amounts that no price explains. The same seed gives the same rows.
func UsageSQL(p schemas.Partition, n int, seed int64) string {
	r := func(k, m int) string { return fmt.Sprintf("(hash(i, %d, %d) %% %d)::BIGINT", seed, k, m) }
	return fmt.Sprintf(`
SELECT %s AS account, DATE '%s' AS usage_date, request_time, id, 1::BIGINT AS ordinal, record_kind, token_id, user_id,
custom_user_id, model, model_type, channel_id,
	input_tokens, output_tokens, cached_tokens, total_tokens, input_price, output_price, cached_price, total_amount,
	discount_amount,
	CASE WHEN record_kind = 'summary' OR %s = 0 THEN NULL
		WHEN %s = 0 THEN -(total_amount - coalesce(discount_amount, 0))::DECIMAL(18,12)
		ELSE (total_amount - coalesce(discount_amount, 0) + CASE WHEN %s = 0 THEN 0.000000000001
		ELSE 0 END)::DECIMAL(18,12) END AS amount,
	'USD' AS currency, ext_items, CASE WHEN %s = 0 THEN '{"new_field":' || i || '}' END AS extra,
	TIMESTAMPTZ '2026-11-20 10:00:00+00' AS fetched_at, 'run-%d' AS run_id
FROM (
	SELECT *, (coalesce(input_tokens * input_price, 0)::DECIMAL(38,12) * 0.000001 + coalesce(output_tokens * output_price,
	0)::DECIMAL(38,12) * 0.000001)::DECIMAL(18,12) AS total_amount
	FROM (
		SELECT i, (TIMESTAMPTZ '%s 00:00:00+00' + INTERVAL (i * 86400 // %d) SECOND) AS request_time,
		'r' || (i + %d)::VARCHAR AS id,
			CASE WHEN %s = 0 THEN 'summary' ELSE 'request' END AS record_kind,
			'tk_' || %s AS token_id, CASE WHEN %s > 0 THEN 'u' || %s END AS user_id, '' AS custom_user_id,
			'model-' || %s AS model, 'text' AS model_type, %s AS channel_id,
			CASE WHEN %s > 0 THEN %s END AS input_tokens, CASE WHEN %s > 0 THEN %s END AS output_tokens,
			CASE WHEN %s > 0 THEN %s END AS cached_tokens,
			%s AS total_tokens,
			(3 + %s)::DECIMAL(18,12) AS input_price, 15.123456789012::DECIMAL(18,12) AS output_price,
			CASE WHEN %s > 0 THEN 0.3::DECIMAL(18,12) END AS cached_price,
			CASE WHEN %s > 0 THEN (%s * 0.000000001)::DECIMAL(18,12) END AS discount_amount,
			CASE %s WHEN 0 THEN NULL WHEN 1 THEN [] WHEN 2 THEN [{category: 'image', item: 'out', unit: 'each',
			price: 0.04::DECIMAL(18,12), "usage": 2::DECIMAL(18,12), amount: 0.08::DECIMAL(18,12)},
				{category: 'tools', item: 'web_search', unit: 'each', price: 0.001::DECIMAL(18,12), "usage": 3.5::DECIMAL(18,12),
				amount: NULL}] ELSE []
			END::STRUCT(category VARCHAR, item VARCHAR, unit VARCHAR, price DECIMAL(18,12), "usage" DECIMAL(18,12),
			amount DECIMAL(18,12))[] AS ext_items
		FROM range(%d) t(i)
	)
)`,
		schemas.SQLString(p.Account), p.Date, r(1, 40), r(2, 50), r(3, 20), r(4, 100), seed,
		p.Date, max(n, 1), int64(p.Date)*10_000_000, r(5, 60), r(6, 5), r(7, 10), r(8, 20), r(9, 12), r(10, 4),
		r(11, 15), r(12, 100000), r(13, 15), r(14, 5000), r(15, 2), r(16, 90000), r(17, 200000), r(18, 2), r(19, 2), r(20, 3),
		r(21, 1000000), r(22, 8), n)
}

// day writes a day file of n rows.
func (w *Writer) RandomDay(p schemas.Partition, n int, seed int64) {
	w.T.Helper()
	w.DayFrom(p, UsageSQL(p, n, seed), fmt.Sprintf("digest-%s-%d-%d", p, n, seed), nil)
}

// DayFrom writes a day file with the rows of a query.
func (w *Writer) DayFrom(p schemas.Partition, query, digest string, change func(*schemas.DayFooter)) {
	w.T.Helper()
	w.Exec("CREATE OR REPLACE TEMP TABLE d AS " + query)
	f := schemas.DayFooter{Schema: schemas.SchemaVersion, Transform: 1, Digest: digest}
	err := w.Db.QueryRow(`SELECT count(*), coalesce(sum(total_amount), 0)::VARCHAR,
		coalesce(sum(discount_amount), 0)::VARCHAR, coalesce(sum(amount), 0)::VARCHAR FROM d`).
		Scan(&f.Rows, &f.TotalAmount, &f.Discount, &f.Amount)
	if err != nil {
		w.T.Fatal(err)
	}
	announced := f.Rows
	noon := p.Date.Start().Add(12 * time.Hour)
	f.Windows = []schemas.DayWindow{
		{Seq: 1, Start: p.Date.Start(), End: noon, Records: 1, Pages: 1, Requests: 2, Proof: schemas.ProofRepeat,
			FetchedAt: noon, RunID: "run-0"},
		{Seq: 2, Start: p.Date.Start(), End: p.Date.End(), Announced: &announced, Records: f.Rows, Pages: 3, Requests: 4,
			Proof: schemas.ProofTotal, FetchedAt: p.Date.End(), RunID: "run-1", Owns: true},
	}
	f.Issues = []schemas.Issue{{Check: schemas.CheckGross, Severity: schemas.Warning, Model: "model-1", Count: 3,
		SampleID: "r7", Detail: "0.1 is not 0.2"}}
	if change != nil {
		change(&f)
	}
	meta, err := json.Marshal(f)
	if err != nil {
		w.T.Fatal(err)
	}
	dir := w.lake.Partition(load.UsageDir, p)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.T.Fatal(err)
	}
	temp := filepath.Join(w.lake.Dir(), durable.TempDir, "day")
	w.Exec(fmt.Sprintf("COPY d TO %s (FORMAT parquet, COMPRESSION zstd, KV_METADATA {'%s': %s})", schemas.SQLString(temp),
		schemas.FooterKey, schemas.SQLString(string(meta))))
	if err := os.Rename(temp, filepath.Join(dir, "usage.parquet")); err != nil {
		w.T.Fatal(err)
	}
}

// Quarantine writes n rejected records of a day.
func (w *Writer) Quarantine(p schemas.Partition, n int) {
	w.T.Helper()
	dir := w.lake.Partition(load.QuarantineDir, p)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.T.Fatal(err)
	}
	w.Exec(fmt.Sprintf(`COPY (SELECT '%s' AS account, TIMESTAMPTZ '%s 00:00:00+00' AS window_start,
		TIMESTAMPTZ '%s 00:00:00+00' AS window_end, 'no_id' AS reason, NULL::VARCHAR AS field,
		'{"i":' || i || '}' AS raw, 'req' AS request_id, TIMESTAMPTZ '2026-11-20 10:00:00+00' AS fetched_at, 'run-1' AS run_id
		FROM range(%d) t(i)) TO %s (FORMAT parquet, KV_METADATA {'%s': '%s'})`,
		p.Account, p.Date, p.Date+1, n, schemas.SQLString(filepath.Join(dir, "quarantine.parquet")), load.DigestKey,
		w.Digest))
}

// Balance writes the balances of a day, an hour apart: "1", or "1,2,3" with what is left of coupons, and what was
// granted.
func (w *Writer) Balance(p schemas.Partition, amounts ...string) {
	w.T.Helper()
	dir := w.lake.Partition(load.BalanceDir, p)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.T.Fatal(err)
	}
	var rows []string
	for i, a := range amounts { // with "1,2,3": the balance, what is left of coupons, what was granted
		f := append(strings.Split(a, ","), "NULL", "NULL")
		rows = append(rows,
			fmt.Sprintf(`SELECT '%s' AS account, TIMESTAMPTZ '%s 00:00:00+00' + INTERVAL %d HOUR AS observed_at,
				%s::DECIMAL(38,12) AS balance, %s::DECIMAL(38,12) AS coupon_balance,
			NULL::DECIMAL(38,12) AS credit_limit, %s::DECIMAL(38,12) AS total_coupon_amount, 'USD' AS currency,
			NULL::VARCHAR AS extra, 'req' AS request_id, 'run-1' AS run_id`, p.Account, p.Date, i, f[0], f[1], f[2]))
	}
	w.Exec(fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, KV_METADATA {'%s': '%s'})", strings.Join(rows, " UNION ALL "),
		schemas.SQLString(filepath.Join(dir, "balance.parquet")), load.DigestKey, w.Digest))
}

// days writes n days of two accounts and returns the partitions.
func (w *Writer) RandomDays(n, rows int) []schemas.Partition {
	w.T.Helper()
	var out []schemas.Partition
	for _, account := range []string{"acme", "zeta-2"} {
		for i := range n {
			p := schemas.Partition{Account: account, Date: schemastest.Date("2026-10-15") + schemas.Date(i)}
			w.RandomDay(p, rows+i, int64(i+1))
			out = append(out, p)
		}
	}
	return out
}

// TickingClock moves on by a second a call.
func TickingClock() func() time.Time {
	t := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	return func() time.Time { t = t.Add(time.Second); return t }
}

// Dump is the whole content of a database file as text, in a fixed order: every row of every table, and every view. A
// view is a function of what it names, so its text stands for its rows; but its rows are here where it names what isn't
// compared. What tells of the publishing itself and not of the data is left out.
func Dump(t testing.TB, path string) string {
	t.Helper()
	conn, done := Connect(t, path)
	defer done()
	var b bytes.Buffer
	for _, r := range relations(t, conn) {
		if strings.HasPrefix(r.name, "focus") && r.name != "focus_closed" || slices.Contains(notCompared, r.name) ||
			strings.HasSuffix(r.name, "_addends") { // as far summed up as the file chooses; the sums are compared
			continue
		}
		rows := fmt.Sprintf("SELECT r::VARCHAR FROM (SELECT r FROM %s r) ORDER BY ALL", r.name)
		fmt.Fprintf(&b, "-- %s\n", r.name)
		switch {
		case r.name == "partitions": // where the records are is publish.records' choice
			rows = strings.Replace(rows, "FROM partitions", "FROM (SELECT * EXCLUDE (records_file) FROM partitions)", 1)
		case r.name == "usage", r.name == "usage_daily", r.name == "allocated_daily": // tables or views, by that choice
		case r.table != "":
			fmt.Fprintln(&b, r.table)
		case !slices.ContainsFunc(notCompared, r.names):
			fmt.Fprintln(&b, excluded.ReplaceAllStringFunc(r.view, inOrder))
			continue
		}
		for _, row := range texts(t, conn, rows) {
			b.WriteString(row[0])
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// excluded is the list of a * EXCLUDE, a set that DuckDB writes in another order once it has read it from a file.
var excluded = regexp.MustCompile(`EXCLUDE \([^)]*\)`)

// inOrder gives such a list in the order of its names.
func inOrder(list string) string {
	names := strings.Split(strings.TrimSuffix(strings.TrimPrefix(list, "EXCLUDE ("), ")"), ", ")
	slices.Sort(names)
	return "EXCLUDE (" + strings.Join(names, ", ") + ")"
}

// notCompared are the relations that are the publishing's own: when and by what it was done; allocation_keys, which may
// hold more than usage asks for; and which records stand in the file.
var notCompared = []string{"meta", "published", "bi.freshness", "allocation_keys", "usage_recent"}

// relation is a table or a view, each with its text.
type relation struct{ name, table, view string }

// names says that the text of the view has the word.
func (r relation) names(word string) bool {
	return regexp.MustCompile(`\b` + word + `\b`).MatchString(r.view)
}

// relations are the tables and views of the file.
func relations(t testing.TB, conn *sql.Conn) []relation {
	t.Helper()
	var out []relation
	for _, row := range texts(t, conn, `SELECT table_name, sql, '' FROM duckdb_tables() WHERE database_name = 'usage'
		UNION ALL SELECT CASE WHEN schema_name <> 'main' THEN schema_name || '.' ELSE '' END || view_name, '', sql
		FROM duckdb_views() WHERE database_name = 'usage' AND NOT internal ORDER BY 1`) {
		out = append(out, relation{row[0], row[1], row[2]})
	}
	return out
}

// texts are the rows of an answer of text.
func texts(t testing.TB, conn *sql.Conn, query string) [][]string {
	t.Helper()
	rows, err := conn.QueryContext(context.Background(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for rows.Next() {
		row := make([]string, len(columns))
		cells := make([]any, len(columns))
		for i := range row {
			cells[i] = &row[i]
		}
		if err := rows.Scan(cells...); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Dump is Dump of the published file.
func (w *Writer) Dump() string {
	w.T.Helper()
	return Dump(w.T, w.lake.Database())
}

// Charge is a record as a query, of a day: an amount in the currency ("" is NULL) and nothing else, but for set, which
// gives further columns.
func Charge(p schemas.Partition, id, token, model, amount, currency string, set ...string) string {
	columns := map[string]string{
		"id": schemas.SQLString(id), "token_id": schemas.SQLString(token), "model": schemas.SQLString(model),
		"record_kind": "'request'", "user_id": "'u1'",
		"amount": amount + "::DECIMAL(18,12)", "total_amount": amount + "::DECIMAL(18,12)",
		"discount_amount": "0::DECIMAL(18,12)", "currency": "nullif(" + schemas.SQLString(currency) + ", '')",
		"input_tokens": "NULL::BIGINT", "cached_tokens": "NULL::BIGINT", "output_tokens": "NULL::BIGINT",
		"total_tokens": "100::BIGINT",
	}
	for _, s := range set {
		name, value, _ := strings.Cut(s, "=")
		columns[name] = value
	}
	var replace []string
	for name, value := range columns {
		replace = append(replace, value+" AS "+name)
	}
	return "SELECT * REPLACE (" + strings.Join(replace, ", ") + ") FROM (" + UsageSQL(p, 1, 3) + ")"
}

// Charges writes a day file of charges.
func (w *Writer) Charges(p schemas.Partition, rows ...string) {
	w.T.Helper()
	w.DayFrom(p, strings.Join(rows, " UNION ALL "), fmt.Sprintf("d-%s-%d", p, len(strings.Join(rows, ""))), nil)
}

// testRules is an allocator of another make than the project's own: tokens that end in an even digit belong to a team
// of their last digit, model-1 to the pool "shared", the rest to nobody. From `since` on, team 4 has another owner.
type Rules struct {
	Name  string
	Since schemas.Date
	Pool  []string // cost centres that bear the pool, in equal parts and the rest to the first
}

func (r Rules) Digest() string { return fmt.Sprintf("%s-%s-%v", r.Name, r.Since, r.Pool) }

func (r Rules) Fields() []string { return []string{schemas.FieldModel, schemas.FieldTokenID} }

func (r Rules) Boundaries() []schemas.Date { return []schemas.Date{r.Since} }

func (r Rules) List() []schemas.AllocationRule {
	return []schemas.AllocationRule{{Position: 1, RuleID: "team-4", Version: 2, ValidFrom: &r.Since, Match: "token_id *4",
		Assigns: "cost_center=cc-moved", Source: "rules.yaml:7"}}
}

func (r Rules) Pools() []schemas.SharedPool {
	return []schemas.SharedPool{{Pool: "shared", Method: "even", Source: "rules.yaml:20"}}
}

func (r Rules) Assign(k schemas.AllocationKey, day schemas.Date) schemas.Assignment {
	if k.Model != nil && *k.Model == "model-1" && len(r.Pool) > 0 {
		return schemas.Assignment{RuleID: "pool", Version: 1, Source: "rules.yaml:9", Pool: "shared"}
	}
	if k.TokenID == nil {
		return schemas.Assignment{}
	}
	last := (*k.TokenID)[len(*k.TokenID)-1:]
	switch last {
	case "4":
		owner, version := schemas.Owner{CostCenter: "cc-4", Team: "team-4", GLCode: "6100"}, 1
		if day >= r.Since {
			owner, version = schemas.Owner{CostCenter: "cc-moved", Team: "team-4"}, 2
		}
		return schemas.Assignment{Owner: owner, RuleID: "team-4", Version: version, Source: "rules.yaml:7"}
	case "0", "2", "6", "8":
		return schemas.Assignment{Owner: schemas.Owner{CostCenter: "cc-" + last, Team: "team-" + last,
			Tags: `{"env":"prod"}`}, RuleID: "team-" + last, Version: 1, Source: "rules.yaml:3"}
	}
	return schemas.Assignment{}
}

func (r Rules) Split(costs []schemas.PoolCost, _ []schemas.DirectCost) ([]schemas.PoolShare, error) {
	var out []schemas.PoolShare
	n := int64(len(r.Pool))
	for _, c := range costs {
		for i, cc := range r.Pool {
			s := schemas.PoolShare{PoolCost: c, Owner: schemas.Owner{CostCenter: cc}, Method: "even",
				Basis: fmt.Sprintf("1 of %d", n), Ratio: schemas.Decimal(1_000_000_000_000 / n)}
			part := func(v *big.Int) *big.Int {
				if v == nil {
					return nil
				}
				q := new(big.Int).Quo(v, big.NewInt(n))
				if i == 0 {
					q.Add(q, new(big.Int).Rem(v, big.NewInt(n)))
				}
				return q
			}
			s.Requests, s.WithoutAmount = part(big.NewInt(c.Requests)).Int64(), part(big.NewInt(c.WithoutAmount)).Int64()
			s.Input, s.Output, s.Cached, s.Total = part(c.Input), part(c.Output), part(c.Cached), part(c.Total)
			share := func(m *schemas.Money) *schemas.Money {
				if m == nil {
					return nil
				}
				v := schemas.MoneyOf(part(m.Units()))
				return &v
			}
			s.List, s.Discount, s.Net = share(c.List), share(c.Discount), share(c.Net)
			out = append(out, s)
		}
	}
	return out, nil
}

// Ask runs a query on the published file and gives its rows as text.
func (w *Writer) Ask(query string) []string {
	w.T.Helper()
	conn, done := Connect(w.T, w.lake.Database())
	defer done()
	rows, err := conn.QueryContext(w.T.Context(), "SELECT r::VARCHAR FROM ("+query+") r")
	if err != nil {
		w.T.Fatalf("%s\n%v", query, err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			w.T.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		w.T.Fatal(err)
	}
	return out
}

// One is the single value of a query.
func (w *Writer) One(query string) string {
	w.T.Helper()
	got := w.Ask(query)
	if len(got) != 1 {
		w.T.Fatalf("%s: %d rows", query, len(got))
	}
	return got[0]
}

// SameValues compares two rows by their values, whatever their columns are called.
func SameValues(a, b string) bool { return slices.Equal(valuesOf(a), valuesOf(b)) }

func valuesOf(row string) []string {
	var out []string
	for part := range splitRow(row) {
		out = append(out, part)
	}
	return out
}

// splitRow yields the values of a row as DuckDB prints a struct.
func splitRow(row string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, field := range splitTop(row[1 : len(row)-1]) {
			for i := 1; i < len(field); i++ {
				if field[i] == '\'' {
					if !yield(field[i+3:]) {
						return
					}
					break
				}
			}
		}
	}
}

func splitTop(s string) []string {
	var out []string
	start := 0
	for i := 0; i+1 < len(s); i++ {
		if s[i] == ',' && s[i+1] == ' ' {
			out = append(out, s[start:i])
			start = i + 2
		}
	}
	return append(out, s[start:])
}

// Answers compares the rows of each query.
func (w *Writer) Answers(cases map[string]string) {
	w.T.Helper()
	for query, want := range cases {
		if got := strings.Join(w.Ask(query), "|"); got != want {
			w.T.Errorf("%s\n got %s\nwant %s", query, got, want)
		}
	}
}
