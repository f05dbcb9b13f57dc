package load

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// dayWriter writes day files, quarantine and balances with DuckDB: a writer of another make than the lake's own, so
// that the published file is held against files that nobody here derived.
type dayWriter struct {
	t      testing.TB
	lake   *Lake
	db     *sql.DB
	digest string // what the next quarantine and balance files say they are derived from
}

func newDayWriter(t testing.TB, opts Options) *dayWriter {
	t.Helper()
	l, err := Create(filepath.Join(t.TempDir(), "lake"), opts)
	if err != nil {
		t.Fatal(err)
	}
	c, err := duckdb.NewConnector("", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &dayWriter{t: t, lake: l, db: sql.OpenDB(c)}
	t.Cleanup(func() { _ = w.db.Close() })
	w.exec("SET TimeZone = 'UTC'")
	return w
}

func (w *dayWriter) exec(q string) {
	w.t.Helper()
	if _, err := w.db.Exec(q); err != nil {
		w.t.Fatalf("%s\n%v", q, err)
	}
}

func testDate(t testing.TB, s string) schemas.Date {
	t.Helper()
	d, err := schemas.ParseDate(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// usageSQL makes n rows of a day that look like usage, and some that are strange: NULLs everywhere they may be,
// refunds, huge counts, amounts that no price explains. The same seed gives the same rows.
func usageSQL(p schemas.Partition, n int, seed int64) string {
	r := func(k, m int) string { return fmt.Sprintf("(hash(i, %d, %d) %% %d)::BIGINT", seed, k, m) }
	return fmt.Sprintf(`
SELECT %s AS account, DATE '%s' AS usage_date, request_time, id, 1::BIGINT AS ordinal, record_kind, token_id, user_id, custom_user_id, model, model_type, channel_id,
	input_tokens, output_tokens, cached_tokens, total_tokens, input_price, output_price, cached_price, total_amount, discount_amount,
	CASE WHEN record_kind = 'summary' OR %s = 0 THEN NULL
		WHEN %s = 0 THEN -(total_amount - coalesce(discount_amount, 0))::DECIMAL(18,12)
		ELSE (total_amount - coalesce(discount_amount, 0) + CASE WHEN %s = 0 THEN 0.000000000001 ELSE 0 END)::DECIMAL(18,12) END AS amount,
	'USD' AS currency, ext_items, CASE WHEN %s = 0 THEN '{"new_field":' || i || '}' END AS extra,
	TIMESTAMPTZ '2026-11-20 10:00:00+00' AS fetched_at, 'run-%d' AS run_id
FROM (
	SELECT *, (coalesce(input_tokens * input_price, 0)::DECIMAL(38,12) * 0.000001 + coalesce(output_tokens * output_price, 0)::DECIMAL(38,12) * 0.000001)::DECIMAL(18,12) AS total_amount
	FROM (
		SELECT i, (TIMESTAMPTZ '%s 00:00:00+00' + INTERVAL (i * 86400 // %d) SECOND) AS request_time, 'r' || (i + %d)::VARCHAR AS id,
			CASE WHEN %s = 0 THEN 'summary' ELSE 'request' END AS record_kind,
			'tk_' || %s AS token_id, CASE WHEN %s > 0 THEN 'u' || %s END AS user_id, '' AS custom_user_id,
			'model-' || %s AS model, 'text' AS model_type, %s AS channel_id,
			CASE WHEN %s > 0 THEN %s END AS input_tokens, CASE WHEN %s > 0 THEN %s END AS output_tokens, CASE WHEN %s > 0 THEN %s END AS cached_tokens,
			%s AS total_tokens,
			(3 + %s)::DECIMAL(18,12) AS input_price, 15.123456789012::DECIMAL(18,12) AS output_price, CASE WHEN %s > 0 THEN 0.3::DECIMAL(18,12) END AS cached_price,
			CASE WHEN %s > 0 THEN (%s * 0.000000001)::DECIMAL(18,12) END AS discount_amount,
			CASE %s WHEN 0 THEN NULL WHEN 1 THEN [] WHEN 2 THEN [{category: 'image', item: 'out', unit: 'each', price: 0.04::DECIMAL(18,12), "usage": 2::DECIMAL(18,12), amount: 0.08::DECIMAL(18,12)},
				{category: 'tools', item: 'web_search', unit: 'each', price: 0.001::DECIMAL(18,12), "usage": 3.5::DECIMAL(18,12), amount: NULL}] ELSE []
			END::STRUCT(category VARCHAR, item VARCHAR, unit VARCHAR, price DECIMAL(18,12), "usage" DECIMAL(18,12), amount DECIMAL(18,12))[] AS ext_items
		FROM range(%d) t(i)
	)
)`,
		schemas.SQLString(p.Account), p.Date, r(1, 40), r(2, 50), r(3, 20), r(4, 100), seed,
		p.Date, max(n, 1), int64(p.Date)*10_000_000, r(5, 60), r(6, 5), r(7, 10), r(8, 20), r(9, 12), r(10, 4),
		r(11, 15), r(12, 100000), r(13, 15), r(14, 5000), r(15, 2), r(16, 90000), r(17, 200000), r(18, 2), r(19, 2), r(20, 3), r(21, 1000000), r(22, 8), n)
}

// day writes a day file of n rows.
func (w *dayWriter) day(p schemas.Partition, n int, seed int64) {
	w.t.Helper()
	w.dayFrom(p, usageSQL(p, n, seed), fmt.Sprintf("digest-%s-%d-%d", p, n, seed), nil)
}

// dayFrom writes a day file with the rows of a query.
func (w *dayWriter) dayFrom(p schemas.Partition, query, digest string, change func(*schemas.DayFooter)) {
	w.t.Helper()
	w.exec("CREATE OR REPLACE TEMP TABLE d AS " + query)
	f := schemas.DayFooter{Schema: schemas.SchemaVersion, Transform: 1, Digest: digest}
	err := w.db.QueryRow(`SELECT count(*), coalesce(sum(total_amount), 0)::VARCHAR, coalesce(sum(discount_amount), 0)::VARCHAR, coalesce(sum(amount), 0)::VARCHAR FROM d`).
		Scan(&f.Rows, &f.TotalAmount, &f.Discount, &f.Amount)
	if err != nil {
		w.t.Fatal(err)
	}
	announced := f.Rows
	noon := p.Date.Start().Add(12 * time.Hour)
	f.Windows = []schemas.DayWindow{
		{Seq: 1, Start: p.Date.Start(), End: noon, Records: 1, Pages: 1, Requests: 2, Proof: schemas.ProofRepeat, FetchedAt: noon, RunID: "run-0"},
		{Seq: 2, Start: p.Date.Start(), End: p.Date.End(), Announced: &announced, Records: f.Rows, Pages: 3, Requests: 4, Proof: schemas.ProofTotal, FetchedAt: p.Date.End(), RunID: "run-1", Owns: true},
	}
	f.Issues = []schemas.Issue{{Check: schemas.CheckGross, Severity: schemas.Warning, Model: "model-1", Count: 3, SampleID: "r7", Detail: "0.1 is not 0.2"}}
	if change != nil {
		change(&f)
	}
	meta, err := json.Marshal(f)
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.lake.partition(usageDir, p)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	temp := filepath.Join(w.lake.Dir(), durable.TempDir, "day")
	w.exec(fmt.Sprintf("COPY d TO %s (FORMAT parquet, COMPRESSION zstd, KV_METADATA {'%s': %s})", schemas.SQLString(temp), schemas.FooterKey, schemas.SQLString(string(meta))))
	if err := os.Rename(temp, filepath.Join(dir, "usage.parquet")); err != nil {
		w.t.Fatal(err)
	}
}

func (w *dayWriter) quarantine(p schemas.Partition, n int) {
	w.t.Helper()
	dir := w.lake.partition(quarantineDir, p)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.exec(fmt.Sprintf(`COPY (SELECT '%s' AS account, TIMESTAMPTZ '%s 00:00:00+00' AS window_start, TIMESTAMPTZ '%s 00:00:00+00' AS window_end, 'no_id' AS reason, NULL::VARCHAR AS field,
		'{"i":' || i || '}' AS raw, 'req' AS request_id, TIMESTAMPTZ '2026-11-20 10:00:00+00' AS fetched_at, 'run-1' AS run_id FROM range(%d) t(i)) TO %s (FORMAT parquet, KV_METADATA {'%s': '%s'})`,
		p.Account, p.Date, p.Date+1, n, schemas.SQLString(filepath.Join(dir, "quarantine.parquet")), digestKey, w.digest))
}

func (w *dayWriter) balance(p schemas.Partition, amounts ...string) {
	w.t.Helper()
	dir := w.lake.partition(balanceDir, p)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	var rows []string
	for i, a := range amounts { // with "1,2,3": the balance, what is left of coupons, what was granted
		f := append(strings.Split(a, ","), "NULL", "NULL")
		rows = append(rows, fmt.Sprintf(`SELECT '%s' AS account, TIMESTAMPTZ '%s 00:00:00+00' + INTERVAL %d HOUR AS observed_at, %s::DECIMAL(38,12) AS balance, %s::DECIMAL(38,12) AS coupon_balance,
			NULL::DECIMAL(38,12) AS credit_limit, %s::DECIMAL(38,12) AS total_coupon_amount, 'USD' AS currency, NULL::VARCHAR AS extra, 'req' AS request_id, 'run-1' AS run_id`, p.Account, p.Date, i, f[0], f[1], f[2]))
	}
	w.exec(fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, KV_METADATA {'%s': '%s'})", strings.Join(rows, " UNION ALL "), schemas.SQLString(filepath.Join(dir, "balance.parquet")), digestKey, w.digest))
}

// days writes n days of two accounts and returns the partitions.
func (w *dayWriter) days(n, rows int) []schemas.Partition {
	w.t.Helper()
	var out []schemas.Partition
	for _, account := range []string{"acme", "zeta-2"} {
		for i := range n {
			p := schemas.Partition{Account: account, Date: testDate(w.t, "2026-10-15") + schemas.Date(i)}
			w.day(p, rows+i, int64(i+1))
			out = append(out, p)
		}
	}
	return out
}

// tickingClock moves on by a second a call.
func tickingClock() func() time.Time {
	t := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	return func() time.Time { t = t.Add(time.Second); return t }
}

func (w *dayWriter) publish(opts PublishOptions) Published {
	w.t.Helper()
	if opts.Now == nil {
		opts.Now = tickingClock()
	}
	opts.Version = "test"
	done, err := w.lake.Publish(context.Background(), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.noLeftovers()
	return done
}

// noLeftovers checks that nothing half-done is left, neither in the temp directory nor beside the file. What a reader uses is his.
func (w *dayWriter) noLeftovers() {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.lake.Dir(), durable.TempDir))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), scratchPrefix) && usedScratch(w.lake.Path(durable.TempDir, e.Name())) {
			continue
		}
		w.t.Errorf("left in %s: %s", durable.TempDir, e.Name())
	}
	if _, err := os.Stat(w.lake.Database() + ".wal"); err == nil {
		w.t.Error("a log stands beside the published file")
	}
}

// dump is the whole content of a database file as text: every table and view, every row, in a fixed order. What
// tells of the publishing itself and not of the data is left out.
func dump(t testing.TB, path string) string {
	t.Helper()
	ctx := context.Background()
	d, err := openDatabase(ctx, engine{}, path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	var b bytes.Buffer
	for _, rel := range relations(t, d) {
		switch {
		case rel == "meta", rel == "published", rel == "allocation_keys": // the last may hold more than usage asks for
			continue
		case strings.HasPrefix(rel, "focus") && rel != "focus_closed": // computed of what is compared already, and slow
			continue
		}
		fmt.Fprintf(&b, "-- %s\n", rel)
		rows, err := d.conn.QueryContext(ctx, fmt.Sprintf("SELECT r::VARCHAR FROM (SELECT r FROM %s r) ORDER BY ALL", rel))
		if err != nil {
			t.Fatalf("%s: %v", rel, err)
		}
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			b.WriteString(s)
			b.WriteByte('\n')
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	return b.String()
}

// relations are the names of the tables and views of the file.
func relations(t testing.TB, d *database) []string {
	t.Helper()
	rows, err := d.conn.QueryContext(context.Background(), `SELECT table_name FROM information_schema.tables WHERE table_catalog = 'usage' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func (w *dayWriter) dump() string {
	w.t.Helper()
	return dump(w.t, w.lake.Database())
}

func wantPublished(t testing.TB, got, want Published) {
	t.Helper()
	got.Elapsed, got.Bytes = 0, 0
	got.Overlaps = nil // usageSQL gives accounts the same rows
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("published %+v, want %+v", got, want)
	}
}

func TestPublishRewritesOnlyTheDaysThatChanged(t *testing.T) {
	w := newDayWriter(t, Options{})
	days := w.days(6, 50)
	w.quarantine(days[2], 0)
	w.balance(days[0], "10.5", "NULL")
	wantPublished(t, w.publish(PublishOptions{}), Published{Changed: 12, Total: 12, Rows: 630, Full: true})

	w.day(days[1], 70, 99) // corrected
	w.dayFrom(days[7], usageSQL(days[7], 10, 3), "emptier, with quarantine", func(f *schemas.DayFooter) { f.Quarantined = 4 })
	w.quarantine(days[7], 4)
	added := schemas.Partition{Account: "acme", Date: days[5].Date + 1}
	w.day(added, 20, 5)
	if err := os.RemoveAll(w.lake.partition(usageDir, days[10])); err != nil { // gone
		t.Fatal(err)
	}
	w.balance(days[3], "-1.000000000001")
	wantPublished(t, w.publish(PublishOptions{Drop: days[10:11]}), Published{Changed: 4, Total: 12, Rows: 630 + 70 - 51 + 10 - 51 + 20 - 54})
	incremental := w.dump()

	wantPublished(t, w.publish(PublishOptions{Full: true}), Published{Changed: 12, Total: 12, Rows: 574, Full: true})
	if full := w.dump(); full != incremental {
		t.Errorf("brought up to date differs from built anew:\n%s", firstDifference(incremental, full))
	}
	for _, s := range []string{"quarantine\n('acme'", "-1.000000000001"} {
		if s = strings.Replace(s, "('acme'", "{'account': zeta-2", 1); !strings.Contains(incremental, s) {
			t.Errorf("the dump lacks %q", s)
		}
	}
}

func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("line %d\n%s\n%s", i, as[i], bs[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(as), len(bs))
}

func TestPublishLeavesTheFileAloneIfNothingChanged(t *testing.T) {
	w := newDayWriter(t, Options{})
	days := w.days(2, 30)
	w.balance(days[0], "1")
	first := w.publish(PublishOptions{})
	before, err := os.Stat(w.lake.Database())
	if err != nil {
		t.Fatal(err)
	}
	run := schemas.Run{RunID: "r9", Command: "export", Status: schemas.StatusDone, StartedAt: time.Unix(1, 0), EndedAt: time.Unix(2, 0)}
	current := func(Published) schemas.Run { return run }
	got := w.publish(PublishOptions{Current: current})
	if got.Bytes != first.Bytes {
		t.Errorf("%d bytes, before %d", got.Bytes, first.Bytes)
	}
	wantPublished(t, got, Published{Total: 4, Rows: first.Rows, Unchanged: true})
	after, err := os.Stat(w.lake.Database())
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the file was replaced")
	}
	w.balance(days[0], "1", "2")
	wantPublished(t, w.publish(PublishOptions{Current: current}), Published{Total: 4, Rows: first.Rows})
	if d := w.dump(); !strings.Contains(d, "'run_id': r9") || !strings.Contains(d, "'balance': 2.000000000000") {
		t.Error("the next publish brought neither the run nor the balance")
	}
}

// A file that is built anew has no holes, and one that is brought up to date night after night doesn't gather them: beyond their share
// it is built anew, yet not night after night.
func TestPublishLeavesDeadSpaceBehind(t *testing.T) {
	w := newDayWriter(t, Options{})
	day := func(i int) schemas.Partition {
		return schemas.Partition{Account: "acme", Date: testDate(t, "2026-08-01") + schemas.Date(i)}
	}
	const first, rows = 66, 2000 // more than a row group, and more bytes than DuckDB keeps without being told
	for i := range first {
		w.day(day(i), rows, int64(i))
	}
	done := w.publish(PublishOptions{})
	// But for the block of metadata that the checkpoint after meta's own size was noted wrote anew.
	if size, free := w.blocks(); free > 256<<10 {
		t.Errorf("built anew, %d of %d bytes are free", free, size)
	}
	var built int64
	w.number("SELECT built_bytes FROM meta", &built)
	if built < done.Bytes-1<<20 || built > done.Bytes {
		t.Errorf("built_bytes is %d of a file of %d", built, done.Bytes)
	}
	const nights = 6
	fulls := 0
	for i := range nights {
		w.day(day(first+i), rows, int64(first+i))
		w.day(day(first+i-1), rows+i, int64(1000+i)) // late records
		w.day(day(9*i), rows-i, int64(2000+i))       // a correction
		done = w.publish(PublishOptions{small: 1})
		if done.Full {
			fulls++
		}
		if size, free := w.blocks(); float64(free) > maxDead*float64(size) {
			t.Errorf("night %d: %d of %d bytes are free", i, free, size)
		}
	}
	if fulls == 0 || fulls > nights/2 {
		t.Errorf("built anew %d times in %d nights", fulls, nights)
	}
	size := done.Bytes
	anew := w.publish(PublishOptions{Full: true}).Bytes
	if float64(size-anew-looseSize) > maxDead*float64(size) {
		t.Errorf("the file has %d bytes, and %d if it is built anew", size, anew)
	}
}

// blocks is the size of the published file and how much of it are free blocks, by what is in use: DuckDB counts free blocks that it
// has cut off the file's end, too.
func (w *dayWriter) blocks() (size, free int64) {
	w.t.Helper()
	var used int64
	w.number("SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = '"+catalog+"'", &used)
	info, err := os.Stat(w.lake.Database())
	if err != nil {
		w.t.Fatal(err)
	}
	const header = 3 * 4096
	return info.Size() - header, info.Size() - header - used
}

// number reads one value from the published file.
func (w *dayWriter) number(query string, into *int64) {
	w.t.Helper()
	d, err := openDatabase(w.t.Context(), engine{}, w.lake.Database(), true)
	if err != nil {
		w.t.Fatal(err)
	}
	defer d.close()
	if err := d.conn.QueryRowContext(w.t.Context(), query).Scan(into); err != nil {
		w.t.Fatal(err)
	}
}
