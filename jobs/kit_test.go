package jobs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
)

// now is when the tests begin, unless they say otherwise: noon, so that the last day is a part of one.
var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// day is midnight of a day of the month of now.
func day(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }

// world is a Portal, a lake that is exported from it, and a clock that both go by.
type world struct {
	testing.TB
	portal *portal.Portal
	cfg    *config.Config
	env    Env
	log    *syncBuffer
	keys   map[string]string // by account
	live   bool              // the clock is the bubble's

	mu    sync.Mutex
	clock time.Time
	asked []portal.RequestInfo
}

// settings of a world; the zero value works.
type settings struct {
	faults  string
	orgs    []portal.OrgOptions // nil: one of 200 records a day
	at      time.Time           // zero: now
	perDay  float64
	live    bool // in a bubble: by its clock, which at is the beginning of
	limited bool // the Portal's documented limit, and the client's default rate
	seed    uint64
}

// newWorld makes a Portal with an account for each organisation, named after it ("0" is acme).
func newWorld(t testing.TB, s settings) *world {
	t.Helper()
	f, err := portal.ParseFaults(s.faults)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, clock: s.at, keys: map[string]string{}, log: &syncBuffer{}}
	if s.at.IsZero() {
		w.clock = now
	}
	if s.live {
		time.Sleep(time.Until(w.clock))
		w.live = true
	}
	if s.perDay == 0 {
		s.perDay = 200
	}
	if s.orgs == nil {
		s.orgs = []portal.OrgOptions{{ID: "0", RecordsPerDay: s.perDay}}
	}
	limit := portal.LimitOptions{Kind: portal.Off}
	if s.limited {
		limit = portal.LimitOptions{}
	}
	w.portal, err = portal.New(portal.Options{Seed: cmp.Or(s.seed, 7), Now: w.now, Orgs: s.orgs, Limit: limit, Faults: f, OnRequest: w.heard})
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = &config.Config{Lake: filepath.Join(t.TempDir(), "lake"), Export: config.DefaultExport()}
	for _, o := range s.orgs {
		a := config.Account{Name: accountOf(o.ID), BaseURL: "https://portal.test" + portal.BasePath, KeyEnv: "KEY_" + o.ID,
			PageSize: 20}
		if !s.limited {
			a.Rate = 1000
		}
		w.cfg.Accounts = append(w.cfg.Accounts, a)
		w.keys[a.KeyEnv] = w.portal.Key(o.ID)
	}
	w.env = Env{Now: w.now, Getenv: func(k string) string { return w.keys[k] }, Version: "test", Transport: &wire{w.portal},
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("what was logged last:\n" + tail(w.log.String(), 4000))
		}
	})
	return w
}

func accountOf(org string) string {
	if org == "0" {
		return "acme"
	}
	return org
}

func orgOf(account string) string {
	if account == "acme" {
		return "0"
	}
	return account
}

func (w *world) now() time.Time {
	if w.live {
		return time.Now().UTC()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) at(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = t
}

func (w *world) pass(d time.Duration) { w.at(w.now().Add(d)) }

func (w *world) heard(r portal.RequestInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, r)
}

// requests are those since it was last called.
func (w *world) requests() []portal.RequestInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.asked
	w.asked = nil
	return r
}

// faults sets other faults.
func (w *world) faults(s string) {
	w.Helper()
	f, err := portal.ParseFaults(s)
	if err != nil {
		w.Fatal(err)
	}
	w.portal.SetFaults(f)
}

// retry is quick where time is real; in a bubble it costs nothing.
var retry = extract.Retry{Base: time.Millisecond, Cap: 10 * time.Millisecond}

func (w *world) try(ctx context.Context, s Span) (*Result, error) {
	return Export(ctx, w.cfg, w.env, ExportOptions{Span: s, Retry: retry})
}

// export must succeed.
func (w *world) export(s Span) *Result {
	w.Helper()
	res, err := w.try(w.Context(), s)
	if err != nil {
		w.Fatalf("export: %v", err)
	}
	if res.Status != schemas.StatusDone {
		w.Fatalf("export ended as %s", res.Status)
	}
	return res
}

func (w *world) rebuild() *Result {
	w.Helper()
	res, err := Rebuild(w.Context(), w.cfg, w.env, RebuildOptions{})
	if err != nil {
		w.Fatalf("rebuild: %v", err)
	}
	return res
}

func span(from, to int) Span { return Span{From: day(from), To: day(to)} }

// ---- the wire

// wire carries requests to a Portal without a socket. A handler that aborts is a connection that breaks: before the
// headers, or in the middle of the body.
type wire struct{ portal http.Handler }

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.WroteRequest != nil {
		t.WroteRequest(httptrace.WroteRequestInfo{})
	}
	r := req.Clone(req.Context())
	r.RemoteAddr = "127.0.0.1:1"
	rec := httptest.NewRecorder()
	whole := serve(w.portal, rec, r)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if !whole && rec.Body.Len() == 0 {
		return nil, syscall.ECONNRESET
	}
	res := rec.Result()
	if !whole {
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(rec.Body.Bytes()), broken{}))
	}
	res.Request = req
	return res, nil
}

func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (whole bool) {
	defer func() {
		if x := recover(); x != nil && x != http.ErrAbortHandler { //nolint:errorlint // it is panicked with as it is
			panic(x)
		}
	}()
	h.ServeHTTP(w, r)
	return true
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// ---- what a lake holds, as a reader of its files sees it

const null = "NULL"

// columns of a record as they are compared: its names in the lake, and how each becomes text.
var columns = []struct{ name, expr string }{
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
	{"ext_items", `array_to_string(list_transform(ext_items, lambda e: concat_ws('|', e.category, e.item, coalesce(e.unit, 'NULL'),
		coalesce(e.price::VARCHAR, 'NULL'), coalesce(e."usage"::VARCHAR, 'NULL'), coalesce(e.amount::VARCHAR, 'NULL'))), ';')`},
	{"extra", "extra"},
}

// record is a row as text, by column; a NULL is null.
type record map[string]string

// differences are how many columns of r are others than those of o.
func (r record) differences(o record) (n int) {
	for _, c := range columns {
		if r[c.name] != o[c.name] {
			n++
		}
	}
	return n
}

// reader is a DuckDB of its own that reads the lake's files.
type reader struct {
	testing.TB
	db *sql.DB
}

// engine is a reader without the published file.
func (w *world) engine() *reader {
	w.Helper()
	c, err := duckdb.NewConnector("", nil)
	if err != nil {
		w.Fatal(err)
	}
	r := &reader{w.TB, sql.OpenDB(c)}
	r.exec("SET TimeZone = 'UTC'")
	r.exec("SET threads = 1")
	return r
}

// read opens the published file.
func (w *world) read() *reader {
	w.Helper()
	r := w.engine()
	r.exec("ATTACH " + schemas.SQLString(filepath.Join(w.cfg.Lake, "usage.duckdb")) + " AS lake (READ_ONLY)")
	r.exec("USE lake")
	return r
}

func (r *reader) close() { _ = r.db.Close() }

func (r *reader) exec(q string) {
	r.Helper()
	if _, err := r.db.ExecContext(r.Context(), q); err != nil {
		r.Fatalf("%s: %v", q, err)
	}
}

// ask gives the rows of a query as text.
func (r *reader) ask(q string) [][]string {
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

func (r *reader) one(q string) string {
	r.Helper()
	rows := r.ask(q)
	if len(rows) != 1 || len(rows[0]) != 1 {
		r.Fatalf("%s: %d rows", q, len(rows))
	}
	return rows[0][0]
}

func (r *reader) records(table, where string) []record {
	r.Helper()
	var exprs []string
	for _, c := range columns {
		exprs = append(exprs, c.expr+"::VARCHAR")
	}
	var out []record
	for _, row := range r.ask("SELECT " + strings.Join(exprs, ", ") + " FROM " + table + " WHERE " + where + " ORDER BY account, request_time, id, ordinal") {
		rec := record{}
		for i, c := range columns {
			rec[c.name] = row[i]
		}
		out = append(out, rec)
	}
	return out
}

// parquet is the glob of readers, as a table.
func (w *world) parquet(tree string) string {
	return "read_parquet(" + schemas.SQLString(filepath.Join(w.cfg.Lake, tree, "**", "*.parquet")) + ", hive_partitioning = false)"
}

// ---- the truth

// dec is an exact amount with 12 decimals, as DuckDB writes it; NULL for none.
func dec(s string) string {
	if s == "" {
		return null
	}
	whole, frac, _ := strings.Cut(s, ".")
	return whole + "." + frac + strings.Repeat("0", 12-len(frac))
}

func expected(account, currency string, t portal.Record) record {
	r := record{}
	for _, c := range columns {
		r[c.name] = null
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
	set("input_price", "input_price", dec(t.InputPrice))
	set("output_price", "output_price", dec(t.OutputPrice))
	set("cached_price", "cached_price", dec(t.CachedPrice))
	set("total_amount", "total_amount", dec(t.TotalAmount))
	set("discount_amount", "discount_amount", dec(t.DiscountAmount))
	set("amount", "amount", dec(t.Amount))
	if t.ExtSent {
		items := slices.Clone(t.Ext)
		slices.SortFunc(items, func(a, b portal.ExtItem) int {
			return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Item, b.Item))
		})
		var parts []string
		for _, e := range items {
			parts = append(parts, strings.Join([]string{e.Group, e.Item, e.Unit, dec(e.Price), dec(e.Usage), dec(e.Amount)}, "|"))
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
func summaryKey(r record) string {
	return r["request_time"] + "|" + r["model"] + "|" + r["total_tokens"]
}

// equal fails unless the lake holds exactly what the Portal holds now of [from, to), for each account.
func (w *world) equal(from, to time.Time) {
	w.Helper()
	r := w.read()
	defer r.close()
	for _, a := range w.cfg.Accounts {
		r.equal(w, a.Name, "USD", from, to)
	}
	r.whole(w)
}

// equalAccount is equal for one account, in the currency that is expected ("": none).
func (w *world) equalAccount(account, currency string, from, to time.Time) {
	w.Helper()
	r := w.read()
	defer r.close()
	r.equal(w, account, currency, from, to)
}

func (r *reader) equal(w *world, account, currency string, from, to time.Time) {
	r.Helper()
	where := fmt.Sprintf("account = '%s' AND epoch(request_time) >= %d AND epoch(request_time) < %d", account, from.Unix(), to.Unix())
	want := map[string][]record{}
	bad, n := 0, 0
	for t := range w.portal.Truth(orgOf(account), from, to) {
		if t.Bad != "" {
			bad++
			continue
		}
		n++
		e := expected(account, currency, t)
		key := t.ID
		if t.Kind == schemas.RecordSummary {
			key = summaryKey(e)
		}
		want[key] = append(want[key], e)
	}
	if n == 0 {
		w.Errorf("account %s: there is nothing to compare", account)
	}
	for _, source := range []string{"usage", w.parquet("usage")} {
		got := r.records(source, where)
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
			slices.SortStableFunc(e, func(a, b record) int { return cmp.Compare(g.differences(a), g.differences(b)) })
			if len(e) == 0 {
				if wrong++; wrong < 4 {
					w.Errorf("account %s: %s has %q at %s, which is not in the truth (or twice)", account, source, tail(key, 60), g["request_time"])
				}
				continue
			}
			left[key] = e[1:]
			for _, c := range columns {
				same := g[c.name] == e[0][c.name]
				switch {
				case c.name == "extra" && g[c.name] != null && e[0][c.name] != null:
					same = sameJSON(g[c.name], e[0][c.name])
				case summary && (c.name == "id" || c.name == "extra"): // made up; the truth doesn't tell
					same = g["id"] != null
				}
				if !same {
					if wrong++; wrong < 4 {
						w.Errorf("account %s: %s: %s of %s is %.80q, want %.80q", account, source, c.name, key, g[c.name], e[0][c.name])
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
	if got := r.one(fmt.Sprintf("SELECT count(*) FROM quarantine WHERE account = '%s' AND epoch(window_start) < %d AND epoch(window_end) > %d",
		account, to.Unix(), from.Unix())); got != strconv.Itoa(bad) {
		w.Errorf("account %s: %s quarantined, the truth has %d that can't be read", account, got, bad)
	}
	var covered []schemas.Window
	for _, row := range r.ask("SELECT epoch(window_start)::BIGINT, epoch(window_end)::BIGINT FROM coverage WHERE account = '" + account + "'") {
		covered = append(covered, schemas.Window{Account: account, Start: unix(w, row[0]), End: unix(w, row[1])})
	}
	for _, g := range schemas.Uncovered(schemas.Window{Account: account, Start: from, End: to}, covered) {
		w.Errorf("%s is not covered", g)
	}
}

// whole fails unless the lake is sound in itself: records once, line items that sum to the charge, rollups that sum to the
// records, and every row traced to the window it came with.
func (w *world) whole() {
	w.Helper()
	r := w.read()
	defer r.close()
	r.whole(w)
}

func (r *reader) whole(w *world) {
	r.Helper()
	for what, q := range map[string]string{
		"records that stand twice":                      "SELECT count(*) - count(DISTINCT (account, request_time, id, ordinal)) FROM usage",
		"records that stand twice in the Parquet files": "SELECT count(*) - count(DISTINCT (account, request_time, id, ordinal)) FROM " + w.parquet("usage"),
		"records whose line items don't sum to their amount": `SELECT count(*) FROM usage u LEFT JOIN
			(SELECT account, request_time, id, ordinal, sum(amount) AS s FROM usage_line_items GROUP BY ALL) l USING (account, request_time, id, ordinal)
			WHERE u.amount IS NOT NULL AND u.amount <> coalesce(l.s, 0)`,
		"records of another day than their file's": "SELECT count(*) FROM usage WHERE usage_date <> (request_time AT TIME ZONE 'UTC')::DATE",
		"records of no window": `SELECT count(*) FROM usage u WHERE NOT EXISTS (FROM coverage c WHERE c.account = u.account AND c.owns
			AND c.run_id = u.run_id AND c.fetched_at = u.fetched_at AND u.request_time >= c.window_start AND u.request_time < c.window_end)`,
		"amounts that the rollup has more or less": "SELECT coalesce((SELECT sum(amount) FROM usage), 0) - coalesce((SELECT sum(amount) FROM usage_daily), 0)",
	} {
		if got := r.one("SELECT (" + q + ")::VARCHAR"); strings.Trim(got, ".0") != "" {
			w.Errorf("%s: %s", what, got)
		}
	}
}

func unix(t testing.TB, s string) time.Time {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(n, 0).UTC()
}

// files are the lake's, with a digest of each; the lock is left out.
func (w *world) files() map[string]string {
	w.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(w.cfg.Lake, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(w.cfg.Lake, path)
		sum := sha256.Sum256(b)
		out[filepath.ToSlash(name)] = hex.EncodeToString(sum[:8])
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// changed are the names that differ.
func changed(before, after map[string]string) []string {
	var names []string
	for k, v := range after {
		if before[k] != v {
			names = append(names, k)
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	return names
}

// seals are the sealed windows among files.
func seals(files map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range files {
		if strings.HasPrefix(k, "raw/") {
			out[k] = v
		}
	}
	return out
}

// kept fails unless every sealed file of before still stands as it was.
func (w *world) kept(before map[string]string) {
	w.Helper()
	after := w.files()
	for k, v := range seals(before) {
		if after[k] != v {
			w.Errorf("the sealed file %s is not as it was", k)
		}
	}
}

func hintOf(err error) string {
	var h *config.Hint
	if errors.As(err, &h) {
		return h.Hint
	}
	return ""
}

func itoa[T int | int64](n T) string { return strconv.FormatInt(int64(n), 10) }
