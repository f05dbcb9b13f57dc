package kit

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/schemas"
)

const null = "NULL"

// Columns of a record as they are compared: its names in the lake, and how each becomes text.
var Columns = []struct{ Name, Expr string }{
	{"account", "account"},
	{"id", "id"},
	{"record_kind", "record_kind"},
	{"usage_date", "usage_date"},
	{"request_time", "epoch_us(request_time)"},
	{"token_id", "token_id"},
	{"user_id", "user_id"},
	{"custom_user_id", "custom_user_id"},
	{"model", "model"},
	{"model_type", "model_type"},
	{"channel_id", "channel_id"},
	{"input_tokens", "input_tokens"},
	{"output_tokens", "output_tokens"},
	{"cached_tokens", "cached_tokens"},
	{"total_tokens", "total_tokens"},
	{"input_price", "input_price"},
	{"output_price", "output_price"},
	{"cached_price", "cached_price"},
	{"total_amount", "total_amount"},
	{"discount_amount", "discount_amount"},
	{"amount", "amount"},
	{"currency", "currency"},
	{"ext_items", `array_to_string(list_transform(ext_items, lambda e: concat_ws('|', e.category, e.item,
		coalesce(e.unit, 'NULL'), coalesce(e.price::VARCHAR, 'NULL'), coalesce(e."usage"::VARCHAR, 'NULL'),
		coalesce(e.amount::VARCHAR, 'NULL'))), ';')`},
	{"extra", "extra"},
}

// Record is a row as text, by column; a NULL is null.
type Record map[string]string

// differences are how many columns of r are others than those of o.
func (r Record) differences(o Record) (n int) {
	for _, c := range Columns {
		if r[c.Name] != o[c.Name] {
			n++
		}
	}
	return n
}

// Reader is a DuckDB of its own that reads the lake's files.
type Reader struct {
	testing.TB
	db *sql.DB
}

// Engine is a reader without the published file.
func (w *World) Engine() *Reader {
	w.Helper()
	c, err := duckdb.NewConnector("", nil)
	if err != nil {
		w.Fatal(err)
	}
	r := &Reader{w.TB, sql.OpenDB(c)}
	r.Exec("SET TimeZone = 'UTC'")
	r.Exec("SET threads = 1")
	return r
}

// Read opens the published file.
func (w *World) Read() *Reader {
	w.Helper()
	r := w.Engine()
	r.Exec("ATTACH " + schemas.SQLString(filepath.Join(w.Cfg.Lake, "usage.duckdb")) + " AS lake (READ_ONLY)")
	r.Exec("USE lake")
	return r
}

// Close closes it.
func (r *Reader) Close() { _ = r.db.Close() }

// Exec runs a statement.
func (r *Reader) Exec(q string) {
	r.Helper()
	if _, err := r.db.ExecContext(r.Context(), q); err != nil {
		r.Fatalf("%s: %v", q, err)
	}
}

// Ask gives the rows of a query as text.
func (r *Reader) Ask(q string) [][]string {
	r.Helper()
	rows, err := r.db.QueryContext(r.Context(), q)
	if err != nil {
		r.Fatalf("%s: %v", q, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		r.Fatal(err)
	}
	var out [][]string
	cells := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			r.Fatal(err)
		}
		row := make([]string, len(names))
		for i, c := range cells {
			row[i] = null
			if c.Valid {
				row[i] = c.String
			}
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		r.Fatalf("%s: %v", q, err)
	}
	return out
}

// One gives the one value of a query as text.
func (r *Reader) One(q string) string {
	r.Helper()
	rows := r.Ask(q)
	if len(rows) != 1 || len(rows[0]) != 1 {
		r.Fatalf("%s: %d rows", q, len(rows))
	}
	return rows[0][0]
}

// Records gives the records of a table, in order.
func (r *Reader) Records(table, where string) []Record {
	r.Helper()
	var exprs []string
	for _, c := range Columns {
		exprs = append(exprs, c.Expr+"::VARCHAR")
	}
	var out []Record
	for _, row := range r.Ask("SELECT " + strings.Join(exprs, ", ") + " FROM " + table + " WHERE " + where +
		" ORDER BY account, request_time, id, ordinal") {
		rec := Record{}
		for i, c := range Columns {
			rec[c.Name] = row[i]
		}
		out = append(out, rec)
	}
	return out
}

// Parquet is the glob of readers, as a table.
func (w *World) Parquet(tree string) string {
	return "read_parquet(" + schemas.SQLString(filepath.Join(w.Cfg.Lake, tree, "**", "*.parquet")) +
		", hive_partitioning = false)"
}

// Dec is an exact amount with 12 decimals, as DuckDB writes it; NULL for none.
func Dec(s string) string {
	if s == "" {
		return null
	}
	whole, frac, _ := strings.Cut(s, ".")
	return whole + "." + frac + strings.Repeat("0", 12-len(frac))
}

// Expected is a record of the Portal as the lake is to have it.
func Expected(account, currency string, t portal.Record) Record {
	r := Record{}
	for _, c := range Columns {
		r[c.Name] = null
	}
	r["account"], r["record_kind"], r["currency"] = account, t.Kind, cmp.Or(currency, null)
	r["usage_date"] = t.RequestTime.Format(time.DateOnly)
	r["request_time"] = strconv.FormatInt(t.RequestTime.UnixMicro(), 10)
	r["model"] = t.Model
	r["total_tokens"] = strconv.FormatInt(t.Tokens, 10)
	if t.Kind == schemas.RecordSummary {
		return r
	}
	r["id"] = t.ID
	set := func(column, api, value string) {
		if !slices.Contains(t.Missing, api) {
			r[column] = value
		}
	}
	i64 := func(n int64) string { return strconv.FormatInt(n, 10) }
	set("token_id", "token_id", t.TokenID)
	set("user_id", "user_id", t.UserID)
	set("custom_user_id", "custom_user_id", t.CustomUserID)
	set("model_type", "model_type", t.ModelType)
	set("channel_id", "channel_id", i64(t.ChannelID))
	set("input_tokens", "input_token", i64(t.InputTokens))
	set("output_tokens", "output_token", i64(t.OutputTokens))
	set("cached_tokens", "cached_token", i64(t.CachedTokens))
	set("input_price", "input_price", Dec(t.InputPrice))
	set("output_price", "output_price", Dec(t.OutputPrice))
	set("cached_price", "cached_price", Dec(t.CachedPrice))
	set("total_amount", "total_amount", Dec(t.TotalAmount))
	set("discount_amount", "discount_amount", Dec(t.DiscountAmount))
	set("amount", "amount", Dec(t.Amount))
	if t.ExtSent {
		items := slices.Clone(t.Ext)
		slices.SortFunc(items, func(a, b portal.ExtItem) int {
			return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Item, b.Item))
		})
		var parts []string
		for _, e := range items {
			parts = append(parts, strings.Join([]string{e.Group, e.Item, e.Unit, Dec(e.Price), Dec(e.Usage), Dec(e.Amount)},
				"|"))
		}
		r["ext_items"] = strings.Join(parts, ";")
	}
	if len(t.Extra) > 0 {
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(t.Extra)) {
			parts = append(parts, strconv.Quote(k)+":"+t.Extra[k])
		}
		r["extra"] = "{" + strings.Join(parts, ",") + "}"
	}
	return r
}

func sameJSON(a, b string) bool {
	if a == b {
		return true
	}
	var x, y any
	for s, into := range map[string]*any{a: &x, b: &y} {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if d.Decode(into) != nil {
			return false
		}
	}
	return reflect.DeepEqual(x, y)
}

// summaryKey is what tells summary records apart, which have no id.
func summaryKey(r Record) string {
	return r["request_time"] + "|" + r["model"] + "|" + r["total_tokens"]
}

// Equal fails unless the lake holds exactly what the Portal holds now of [from, to), for each account.
func (w *World) Equal(from, to time.Time) {
	w.Helper()
	r := w.Read()
	defer r.Close()
	for _, a := range w.Cfg.Accounts {
		r.equal(w, a.Name, "USD", from, to)
	}
	r.whole(w)
}

// EqualAccount is equal for one account, in the currency that is expected ("": none).
func (w *World) EqualAccount(account, currency string, from, to time.Time) {
	w.Helper()
	r := w.Read()
	defer r.Close()
	r.equal(w, account, currency, from, to)
}

func (r *Reader) equal(w *World, account, currency string, from, to time.Time) {
	r.Helper()
	where := fmt.Sprintf("account = '%s' AND epoch(request_time) >= %d AND epoch(request_time) < %d", account, from.Unix(),
		to.Unix())
	want := map[string][]Record{}
	bad, n := 0, 0
	for t := range w.Portal.Truth(OrgOf(account), from, to) {
		if t.Bad != "" {
			bad++
			continue
		}
		n++
		e := Expected(account, currency, t)
		key := t.ID
		if t.Kind == schemas.RecordSummary {
			key = summaryKey(e)
		}
		want[key] = append(want[key], e)
	}
	if n == 0 {
		w.Errorf("account %s: there is nothing to compare", account)
	}
	for _, source := range []string{"usage", w.Parquet("usage")} {
		got := r.Records(source, where)
		if source != "usage" {
			source = "the Parquet files"
		}
		if len(got) != n {
			w.Errorf("account %s: %s has %d records, the truth %d", account, source, len(got), n)
		}
		left := maps.Clone(want)
		wrong := 0
		for _, g := range got {
			key := g["id"]
			summary := g["record_kind"] == schemas.RecordSummary
			if summary {
				key = summaryKey(g)
			}
			e := slices.Clone(left[key])
			// Of several of one id, the one that is meant.
			slices.SortStableFunc(e, func(a, b Record) int { return cmp.Compare(g.differences(a), g.differences(b)) })
			if len(e) == 0 {
				if wrong++; wrong < 4 {
					w.Errorf("account %s: %s has %q at %s, which is not in the truth (or twice)", account, source, tail(key, 60),
						g["request_time"])
				}
				continue
			}
			left[key] = e[1:]
			for _, c := range Columns {
				same := g[c.Name] == e[0][c.Name]
				switch {
				case c.Name == "extra" && g[c.Name] != null && e[0][c.Name] != null:
					same = sameJSON(g[c.Name], e[0][c.Name])
				case summary && (c.Name == "id" || c.Name == "extra"): // made up; the truth doesn't tell
					same = g["id"] != null
				}
				if !same {
					if wrong++; wrong < 4 {
						w.Errorf("account %s: %s: %s of %s is %.80q, want %.80q", account, source, c.Name, key, g[c.Name], e[0][c.Name])
					}
				}
			}
		}
		missing := 0
		for key, e := range left {
			if len(e) > 0 {
				if missing++; missing < 4 {
					w.Errorf("account %s: %s lacks %s", account, source, key)
				}
			}
		}
	}
	if got := r.One(fmt.Sprintf("SELECT count(*) FROM quarantine WHERE account = '%s' AND epoch(window_start) < %d AND "+
		"epoch(window_end) > %d",
		account, to.Unix(), from.Unix())); got != strconv.Itoa(bad) {
		w.Errorf("account %s: %s quarantined, the truth has %d that can't be read", account, got, bad)
	}
	var covered []schemas.Window
	for _, row := range r.Ask("SELECT epoch(window_start)::BIGINT, epoch(window_end)::BIGINT FROM coverage WHERE " +
		"account = '" + account + "'") {
		covered = append(covered, schemas.Window{Account: account, Start: Unix(w, row[0]), End: Unix(w, row[1])})
	}
	for _, g := range schemas.Uncovered(schemas.Window{Account: account, Start: from, End: to}, covered) {
		w.Errorf("%s is not covered", g)
	}
}

// Whole fails unless the lake is sound in itself: records once, line items that sum to the charge, rollups that sum to
// the records, and every row traced to the window it came with.
func (w *World) Whole() {
	w.Helper()
	r := w.Read()
	defer r.Close()
	r.whole(w)
}

func (r *Reader) whole(w *World) {
	r.Helper()
	for what, q := range map[string]string{
		"records that stand twice": "SELECT count(*) - count(DISTINCT (account, request_time, id, " +
			"ordinal)) FROM usage",
		"records that stand twice in the Parquet files": "SELECT count(*) - count(DISTINCT (account, request_time, id, " +
			"ordinal)) FROM " + w.Parquet("usage"),
		"records whose line items don't sum to their amount": `SELECT count(*) FROM usage u LEFT JOIN
			(SELECT account, request_time, id, ordinal, sum(amount) AS s FROM usage_line_items
			GROUP BY ALL) l USING (account, request_time, id, ordinal)
			WHERE u.amount IS NOT NULL AND u.amount <> coalesce(l.s, 0)`,
		"records of another day than their file's": "SELECT count(*) FROM usage WHERE usage_date <> (request_time AT " +
			"TIME ZONE 'UTC')::DATE",
		"records of no window": `SELECT count(*) FROM usage u WHERE NOT EXISTS (FROM coverage c WHERE c.account =
			u.account AND c.owns AND c.run_id = u.run_id AND c.fetched_at = u.fetched_at AND u.request_time >= c.window_start
			AND u.request_time < c.window_end)`,
		"amounts that the rollup has more or less": "SELECT coalesce((SELECT sum(amount) FROM usage), 0) - " +
			"coalesce((SELECT sum(amount) FROM usage_daily), 0)",
	} {
		if got := r.One("SELECT (" + q + ")::VARCHAR"); strings.Trim(got, ".0") != "" {
			w.Errorf("%s: %s", what, got)
		}
	}
}

// Unix is a time that a query gave in seconds.
func Unix(t testing.TB, s string) time.Time {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(n, 0).UTC()
}
