package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

const maxDecimal = 999_999_999_999_999_999

func TestDayFileHoldsExtremesInDuckDBAndArrow(t *testing.T) {
	m := newRowMaker(memory.DefaultAllocator)
	m.str(schemas.ColID, "")
	m.str(schemas.ColModel, "")
	m.num(schemas.ColInputTokens, math.MinInt64)
	m.num(schemas.ColOutputTokens, math.MaxInt64)
	m.num(schemas.ColTotalAmount, maxDecimal)
	m.num(schemas.ColDiscountAmount, -maxDecimal)
	m.num(schemas.ColAmount, 1)
	m.items(nil)
	m.end()
	m.str(schemas.ColID, strings.Repeat("9", 10_000))
	m.str(schemas.ColModel, "nul \x00, quote ' \", Ünïcode 日本 \U0001F680")
	m.num(schemas.ColInputPrice, -1)
	m.num(schemas.ColTotalAmount, 98765_432109876543)
	one, text, empty := int64(1), "image", ""
	m.items([]*item{{}, {text: [3]*string{&text, &empty, nil}, decimal: [3]*int64{&one, nil, &one}}})
	m.end()
	m.str(schemas.ColExtra, `{"a":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+"}")
	m.num(schemas.ColRequestTime, -1)
	m.end()
	rec := m.batch(t)
	l := newTestLake(t, Options{})
	writeDay(t, l, nil, rec)

	want := rowsOf(rec)
	if got := rowsOfTable(readPqarrow(t, l.UsagePath(schemastest.Day))); !slices.Equal(got, want) {
		t.Errorf("Arrow reads\n%.500q\nwant\n%.500q", got, want)
	}
	db := openDuckDB(t)
	got := duckRows(t, db,
		fmt.Sprintf(`SELECT length(id), model, input_tokens, output_tokens, total_amount::VARCHAR, discount_amount::VARCHAR,
			amount::VARCHAR, input_price::VARCHAR, ext_items::VARCHAR, length(extra), epoch_us(request_time)
			FROM '%s/usage/**/*.parquet'`, l.Dir()))
	wantRows := []string{
		"0||-9223372036854775808|9223372036854775807|999999.999999999999|-999999.999999999999|0.000000000001|NULL|[]|" +
			"NULL|20758",
		"10000|nul \x00, quote ' \", Ünïcode 日本 " +
			"\U0001F680|NULL|NULL|98765.432109876543|NULL|NULL|-0.000000000001|[{'category': NULL, 'item': NULL, 'unit': " +
			"NULL, 'price': NULL, 'usage': NULL, 'amount': NULL}, {'category': image, 'item': '', 'unit': NULL, 'price': " +
			"0.000000000001, 'usage': NULL, 'amount': 0.000000000001}]|NULL|20758",
		"2|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|2006|-1",
	}
	if !slices.Equal(got, wantRows) {
		t.Errorf("DuckDB reads\n%q\nwant\n%q", got, wantRows)
	}
}

func TestEmptyDayIsAValidFile(t *testing.T) {
	l := newTestLake(t, Options{})
	writeDay(t, l, nil)
	f, ok, err := l.Day(schemastest.Day)
	if err != nil || !ok || f.Rows != 0 {
		t.Fatalf("Day = %+v, %v, %v", f, ok, err)
	}
	if table := readPqarrow(t, l.UsagePath(schemastest.Day)); table.NumRows() != 0 ||
		int(table.NumCols()) != len(schemas.UsageColumns()) {
		t.Errorf("the table is %d × %d", table.NumRows(), table.NumCols())
	}
	if got := duckRows(t, openDuckDB(t), fmt.Sprintf(`SELECT count(*) FROM '%s/usage/**/*.parquet'`,
		l.Dir())); !slices.Equal(got, []string{"0"}) {
		t.Errorf("DuckDB counts %v", got)
	}
}

func TestDayFileCarriesCommentsAndNoVersion(t *testing.T) {
	l := newTestLake(t, Options{})
	writeDay(t, l, nil)
	f, err := l.FS.Open(l.UsagePath(schemastest.Day))
	must(t, err)
	defer f.Close()
	meta, err := readFooter(f)
	must(t, err)
	var comments map[string]string
	must(t, json.Unmarshal([]byte(*meta.KeyValueMetadata().FindValue(columnsKey)), &comments))
	for _, c := range schemas.UsageColumns() {
		if comments[c.Name] != c.Comment {
			t.Errorf("the comment of %s is %q", c.Name, comments[c.Name])
		}
	}
	if got := meta.GetCreatedBy(); got != fmt.Sprintf("usagelake version %d", schemas.SchemaVersion) {
		t.Errorf("created by %q: a release would change every file, or parquet-java can't parse it", got)
	}
}

// Money is in encodings that every reader decodes right, and the order of the rows is declared.
func TestDayFileSuitsReaders(t *testing.T) {
	rec := schemastest.UsageRows(memory.DefaultAllocator, 2000, 9)
	defer rec.Release()
	l := newTestLake(t, Options{})
	writeDay(t, l, nil, rec)
	f, err := l.FS.Open(l.UsagePath(schemastest.Day))
	must(t, err)
	defer f.Close()
	meta, err := readFooter(f)
	must(t, err)
	group := meta.RowGroup(0)
	var order []string
	for _, c := range group.SortingColumns() {
		if c.Descending || c.NullsFirst {
			t.Errorf("%+v", c)
		}
		order = append(order, meta.Schema.Column(int(c.ColumnIdx)).Path())
	}
	if !slices.Equal(order, []string{"request_time", "id", "ordinal"}) {
		t.Errorf("in order of %v", order)
	}
	money := 0
	for i := range group.NumColumns() {
		column, err := group.ColumnChunk(i)
		must(t, err)
		if _, decimal := meta.Schema.Column(i).LogicalType().(schema.DecimalLogicalType); !decimal {
			continue
		}
		money++
		for _, e := range column.Encodings() {
			if e == parquet.Encodings.DeltaBinaryPacked {
				t.Errorf("%s has the encoding %s", meta.Schema.Column(i).Path(), e)
			}
		}
	}
	if money != 9 {
		t.Errorf("%d columns of money", money)
	}
}

// A file's bytes depend on its rows, and not on how they came in batches.
func TestBatchesLeaveNoTraceInTheBytes(t *testing.T) {
	rec := schemastest.UsageRows(memory.DefaultAllocator, 7000, 4)
	defer rec.Release()
	var first []byte
	for _, size := range []int64{7000, 1, 999, 256, 4096} {
		l := newTestLake(t, Options{})
		var batches []arrow.RecordBatch
		for at := int64(0); at < rec.NumRows(); at += size {
			s := rec.NewSlice(at, min(rec.NumRows(), at+size))
			defer s.Release()
			batches = append(batches, s)
		}
		writeDay(t, l, nil, batches...)
		b, err := os.ReadFile(l.UsagePath(schemastest.Day))
		must(t, err)
		if first == nil {
			first = b
		}
		if !bytes.Equal(b, first) {
			t.Errorf("in batches of %d the file has other bytes", size)
		}
	}
}

func TestColumnsOfAnyCardinalityAndPages(t *testing.T) {
	// Texts and numbers beyond any dictionary, many NULLs, and lists, over several pages and row groups.
	m := newRowMaker(memory.DefaultAllocator)
	const n = schemas.MaxRowGroup + 5000
	for i := range n {
		m.str(schemas.ColID, fmt.Sprintf("%x", i*2654435761))
		m.num(schemas.ColRequestTime, int64(i)*1e6)
		if i%3 > 0 {
			m.str(schemas.ColCustomUserID, fmt.Sprintf("user-%08d", i*7919%n))
		}
		if i%5 > 0 {
			m.num(schemas.ColInputTokens, int64(i)*65_537)
			m.num(schemas.ColAmount, int64(i)*104729%maxDecimal)
		}
		if i%1000 == 0 {
			m.str(schemas.ColExtra, fmt.Sprintf(`{"n":%d}`, i))
		}
		switch i % 4 {
		case 0:
			text, price := fmt.Sprintf("item-%d", i), int64(i)
			m.items([]*item{{text: [3]*string{&text, &text, nil}, decimal: [3]*int64{&price, nil, nil}}, {}})
		case 1:
			m.items(nil)
		}
		m.end()
	}
	rec := m.batch(t)
	l := newTestLake(t, Options{})
	writeDay(t, l, nil, rec)
	want := rowsOf(rec)
	if got := rowsOfTable(readPqarrow(t, l.UsagePath(schemastest.Day))); !slices.Equal(got, want) {
		t.Error("Arrow reads other rows")
	}
	db := openDuckDB(t)
	path := l.UsagePath(schemastest.Day)
	got := duckRows(t, db,
		fmt.Sprintf(`SELECT count(*), count(DISTINCT id), count(DISTINCT custom_user_id), count(custom_user_id),
			sum(input_tokens)::VARCHAR, sum(amount)::VARCHAR, count(extra), sum(len(ext_items))::BIGINT,
			sum(list_count([x.price FOR x IN ext_items]))::BIGINT FROM '%s'`, path))
	var users, tokens, amount, extras, lens, prices int64
	distinct := map[int]bool{}
	for i := range n {
		if i%3 > 0 {
			users++
			distinct[i*7919%n] = true
		}
		if i%5 > 0 {
			tokens += int64(i) * 65_537
			amount += int64(i) * 104729 % maxDecimal
		}
		if i%1000 == 0 {
			extras++
		}
		if i%4 == 0 {
			lens += 2
			prices++
		}
	}
	if want := fmt.Sprintf("%d|%d|%d|%d|%d|%s|%d|%d|%d", n, n, len(distinct), users, tokens,
		padded(schemas.Decimal(amount)), extras, lens, prices); len(got) != 1 || got[0] != want {
		t.Errorf("DuckDB says\n%v, want\n%s", got, want)
	}
	// Statistics and page index are right: a reader that prunes by them finds each row.
	for _, i := range []int{0, 1, 4999, 100_000, n - 1} {
		got := duckRows(t, db,
			fmt.Sprintf(`SELECT count(*) FROM '%s' WHERE id = '%x' AND request_time = make_timestamptz(%d)
				AND (custom_user_id = 'user-%08d') IS NOT FALSE`,
				path, i*2654435761, int64(i)*1e6, i*7919%n))
		if !slices.Equal(got, []string{"1"}) {
			t.Errorf("row %d is found %v times", i, got)
		}
	}
}

func padded(d schemas.Decimal) string {
	whole, frac, _ := strings.Cut(d.String(), ".")
	return whole + "." + frac + strings.Repeat("0", 12-len(frac))
}

func TestLargeValuesCutRowGroupsEarly(t *testing.T) {
	m := newRowMaker(memory.DefaultAllocator)
	for i := range 3 * cutStep {
		m.str(schemas.ColExtra, fmt.Sprintf("%d%s", i, strings.Repeat("x", 400<<10)))
		m.end()
	}
	rec := m.batch(t)
	l := newTestLake(t, Options{})
	writeDay(t, l, nil, rec)
	f, err := l.FS.Open(l.UsagePath(schemastest.Day))
	must(t, err)
	defer f.Close()
	meta, err := readFooter(f)
	must(t, err)
	if meta.NumRowGroups() != 3 {
		t.Errorf("%d row groups of 300 MiB", meta.NumRowGroups())
	}
	if table := readPqarrow(t, l.UsagePath(schemastest.Day)); table.NumRows() != rec.NumRows() {
		t.Errorf("%d rows", table.NumRows())
	}
}

func TestDayWriterRefusesWhatTheContractDoesNotHold(t *testing.T) {
	row := func(change func(m *rowMaker)) arrow.RecordBatch {
		m := newRowMaker(memory.DefaultAllocator)
		change(m)
		m.end()
		return m.batch(t)
	}
	wrong := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "account", Type: arrow.BinaryTypes.String}}, nil),
		nil, 0)
	tests := []struct {
		name string
		rec  arrow.RecordBatch
		want string
	}{
		{"another schema", wrong, "columns"},
		{"another table", balanceRows(t)[0], "columns"},
		{"a NULL in a required column", row(func(m *rowMaker) {
			m.set[schemas.ColID] = true
			m.b.Field(schemas.ColID).AppendNull()
		}), "column id: a NULL"},
		{"a NULL among the items", row(func(m *rowMaker) { m.items([]*item{nil}) }), "column ext_items: a NULL"},
		{"no UTF-8 in a plain column", row(func(m *rowMaker) { m.str(schemas.ColID, "\xff") }),
			"column id: a text that is not UTF-8"},
		{"no UTF-8 in a dictionary", row(func(m *rowMaker) { m.str(schemas.ColModel, "a\xc3") }),
			"column model: a text that is not UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			w, err := l.CreateDay(schemastest.Day)
			must(t, err)
			defer w.Abort()
			if err := w.Write(tt.rec); err == nil || !strings.Contains(err.Error(), tt.want) ||
				!strings.Contains(err.Error(), schemastest.Day.String()) {
				t.Errorf("Write = %v, want %q", err, tt.want)
			}
			if err := w.Commit(dayFooter(1, 0)); err == nil {
				t.Error("it was committed all the same")
			}
			if left, _ := l.list(l.Path(durable.TempDir)); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}

	// Two halves of a rune are valid together and wrong each.
	m := newRowMaker(memory.DefaultAllocator)
	for _, s := range []string{"\xc3", "\xa4"} {
		m.str(schemas.ColID, s)
		m.end()
	}
	l := newTestLake(t, Options{})
	w, err := l.CreateDay(schemastest.Day)
	must(t, err)
	defer w.Abort()
	if err := w.Write(m.batch(t)); !errors.Is(err, errText) {
		t.Errorf("half runes: %v", err)
	}

	rec := row(func(*rowMaker) {})
	for name, f := range map[string]schemas.DayFooter{
		"other rows": dayFooter(2, 0), "other rejects": dayFooter(1, 1), "no digest": {DayStats: schemas.DayStats{Rows: 1}},
	} {
		w, err := l.CreateDay(schemastest.Day)
		must(t, err)
		must(t, w.Write(rec))
		if err := w.Commit(f); err == nil {
			t.Errorf("%s: committed", name)
		}
	}
	if _, ok, err := l.Day(schemastest.Day); ok || err != nil {
		t.Errorf("Day = %v, %v", ok, err)
	}
}

func TestQuarantineKeepsTheRecordAndItsReason(t *testing.T) {
	l := newTestLake(t, Options{})
	at := schemastest.Day.Date.End()
	var rejects []schemas.Reject
	for range 700 {
		rejects = append(rejects,
			schemas.Reject{Window: schemas.Window{Account: "acme", Start: schemastest.Day.Date.Start(), End: at},
				Reason: schemas.ReasonNotNumber, Field: "amount",
				Raw: []byte(`{"amount":"a\u0000b"}` + "\x00"), RequestID: "req-1", FetchedAt: at, RunID: "run"},
			schemas.Reject{Window: schemastest.Day.Window(), Reason: schemas.ReasonUnreadable, Raw: []byte("\xff\xfeä"),
				FetchedAt: at, RunID: "run"})
	}
	writeDay(t, l, rejects)
	db := openDuckDB(t)
	got := duckRows(t, db,
		fmt.Sprintf(`SELECT account, epoch(window_start)::BIGINT, epoch(window_end)::BIGINT, reason, field, raw, request_id,
			run_id, count(*) FROM '%s/quarantine/**/*.parquet' GROUP BY ALL ORDER BY reason`, l.Dir()))
	want := []string{
		"acme|1793491200|1793577600|not_a_number|amount|{\"amount\":\"a\\u0000b\"}\x00|req-1|run|700",
		"acme|1793491200|1793577600|unreadable|NULL|\uFFFDä|NULL|run|700",
	}
	if !slices.Equal(got, want) {
		t.Errorf("DuckDB reads\n%q\nwant\n%q", got, want)
	}
	if got := duckRows(t, db,
		fmt.Sprintf(`SELECT column_name, column_type FROM (DESCRIBE SELECT *
			FROM read_parquet('%s/quarantine/**/*.parquet', hive_partitioning = false))`,
			l.Dir())); len(got) != len(schemas.QuarantineColumns()) {
		t.Errorf("columns %v", got)
	}
	must(t, l.CheckBody(l.QuarantinePath(schemastest.Day)))
	writeDay(t, l, nil)
	if _, err := os.Stat(l.QuarantinePath(schemastest.Day)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a day without rejects keeps its old quarantine: %v", err)
	}
}

func TestStaleIsWhateverIsNotDerivedFromTheWindows(t *testing.T) {
	reject := schemas.Reject{Window: schemastest.Day.Window(), Reason: schemas.ReasonNoID, Raw: []byte("{}"),
		FetchedAt: schemastest.Day.Date.End(), RunID: "r"}
	derive := func(t *testing.T, l *Lake, rejects ...schemas.Reject) {
		source, err := l.Source(schemastest.Day)
		must(t, err)
		w, err := l.CreateDay(schemastest.Day)
		must(t, err)
		must(t, w.WriteRejects(rejects))
		f := dayFooter(0, int64(len(rejects)))
		f.Digest = DayDigest(1, source.Windows)
		must(t, w.Commit(f))
	}
	tests := []struct {
		name  string
		do    func(t *testing.T, l *Lake)
		stale bool
	}{
		{"nothing", func(t *testing.T, l *Lake) {}, false},
		{"a window", func(t *testing.T, l *Lake) { sealWindow(t, l, 0, time.Hour) }, true},
		{"derived", func(t *testing.T, l *Lake) { sealWindow(t, l, 0, time.Hour); derive(t, l) }, false},
		{"derived with rejects", func(t *testing.T, l *Lake) { sealWindow(t, l, 0, time.Hour); derive(t, l, reject) }, false},
		{"one window more", func(t *testing.T, l *Lake) {
			sealWindow(t, l, 0, time.Hour)
			derive(t, l)
			sealWindow(t, l, 0, time.Hour)
		}, true},
		{"a window less: what it was derived from can't be had again", func(t *testing.T, l *Lake) {
			r := sealWindow(t, l, 0, time.Hour)
			derive(t, l)
			must(t, os.Remove(filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name)))
		}, false},
		{"quarantine gone", func(t *testing.T, l *Lake) {
			sealWindow(t, l, 0, time.Hour)
			derive(t, l, reject)
			must(t, os.Remove(l.QuarantinePath(schemastest.Day)))
		}, true},
		{"quarantine of before", func(t *testing.T, l *Lake) {
			sealWindow(t, l, 0, time.Hour)
			derive(t, l, reject)
			b, err := os.ReadFile(l.QuarantinePath(schemastest.Day))
			must(t, err)
			sealWindow(t, l, 0, time.Hour)
			derive(t, l, reject)
			must(t, os.WriteFile(l.QuarantinePath(schemastest.Day), b, durable.FileMode))
		}, true},
		{"quarantine left behind", func(t *testing.T, l *Lake) {
			sealWindow(t, l, 0, time.Hour)
			derive(t, l, reject)
			b, err := os.ReadFile(l.QuarantinePath(schemastest.Day))
			must(t, err)
			derive(t, l)
			must(t, os.WriteFile(l.QuarantinePath(schemastest.Day), b, durable.FileMode))
		}, true},
		{"day file damaged", func(t *testing.T, l *Lake) {
			sealWindow(t, l, 0, time.Hour)
			derive(t, l)
			must(t, os.WriteFile(l.UsagePath(schemastest.Day), []byte("PAR1 no PAR1"), durable.FileMode))
		}, true},
		{"quarantine damaged", func(t *testing.T, l *Lake) {
			sealWindow(t, l, 0, time.Hour)
			derive(t, l, reject)
			must(t, os.WriteFile(l.QuarantinePath(schemastest.Day), nil, durable.FileMode))
		}, true},
		{"removed", func(t *testing.T, l *Lake) {
			derive(t, l, reject)
			must(t, l.RemoveDay(schemastest.Day))
			must(t, l.RemoveDay(schemastest.Day))
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			tt.do(t, l)
			if stale, err := l.Stale(schemastest.Day, 1); err != nil || stale != tt.stale {
				t.Errorf("Stale = %v, %v; want %v", stale, err, tt.stale)
			}
			if tt.name == "derived" {
				if stale, err := l.Stale(schemastest.Day, 2); err != nil || !stale {
					t.Errorf("by another transformation Stale = %v, %v", stale, err)
				}
			}
		})
	}
}

func TestDamagedDayFilesAreNamedAndHarmless(t *testing.T) {
	l := newTestLake(t, Options{})
	rec := schemastest.UsageRows(memory.DefaultAllocator, 200, 5)
	defer rec.Release()
	writeDay(t, l, nil, rec)
	path := l.UsagePath(schemastest.Day)
	must(t, l.CheckBody(path))
	good, err := os.ReadFile(path)
	must(t, err)
	check := func(name string, b []byte, always bool) {
		must(t, os.WriteFile(path, b, durable.FileMode))
		_, _, err := l.Day(schemastest.Day)
		if err == nil {
			err = l.CheckBody(path)
		}
		var damaged *DamagedError
		if err != nil && (!errors.As(err, &damaged) || damaged.Path != path || !strings.Contains(damaged.Hint, "rebuild")) ||
			err == nil && always {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := 0; n < len(good); n += 11 {
		check(fmt.Sprintf("cut to %d bytes", n), good[:n], true)
	}
	must(t, os.WriteFile(path, good, durable.FileMode))
	var body bodySum
	value, _, err := l.FooterValue(path, schemastest.Day, bodyKey)
	must(t, err)
	must(t, json.Unmarshal([]byte(value), &body))
	for i := 0; i < len(good); i += 5 {
		b := bytes.Clone(good)
		b[i] ^= 0x55
		check(fmt.Sprintf("byte %d of %d flipped", i, len(good)), b, int64(i) < body.Bytes)
	}
}

func TestDayRowsComeBackWhateverTheyAre(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		l, err := Create(filepath.Join(dir, fmt.Sprint(n)), Options{})
		if err != nil {
			rt.Fatal(err)
		}
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer mem.AssertSize(rt, 0)
		m := newRowMaker(mem)
		defer m.b.Release()
		w, err := l.CreateDay(schemastest.Day)
		if err != nil {
			rt.Fatal(err)
		}
		defer w.Abort()
		var want []string
		maybe := func() bool { return rapid.Bool().Draw(rt, "null") }
		for range rapid.IntRange(0, 4).Draw(rt, "batches") {
			for range rapid.IntRange(0, 20).Draw(rt, "rows") {
				for i, c := range schemas.UsageColumns() {
					if c.Nullable && maybe() {
						continue
					}
					switch c.Type.(type) {
					case *arrow.StringType:
						m.str(i, rapid.String().Draw(rt, c.Name))
					case *arrow.ListType:
						var items []*item
						for range rapid.IntRange(0, 3).Draw(rt, "items") {
							it := &item{}
							for k := range 3 {
								if !maybe() {
									s := rapid.String().Draw(rt, "text")
									it.text[k] = &s
								}
								if !maybe() {
									d := rapid.Int64Range(-maxDecimal, maxDecimal).Draw(rt, "decimal")
									it.decimal[k] = &d
								}
							}
							items = append(items, it)
						}
						m.items(items)
					case *arrow.Date32Type:
						m.num(i, int64(rapid.Int32().Draw(rt, c.Name)))
					case *arrow.Decimal64Type:
						m.num(i, rapid.Int64Range(-maxDecimal, maxDecimal).Draw(rt, c.Name))
					case *arrow.TimestampType:
						m.num(i, rapid.Int64Range(-1<<55, 1<<55).Draw(rt, c.Name))
					default:
						m.num(i, rapid.Int64().Draw(rt, c.Name))
					}
				}
				m.end()
			}
			rec := m.b.NewRecordBatch()
			want = append(want, rowsOf(rec)...)
			err := w.Write(rec)
			rec.Release()
			if err != nil {
				rt.Fatal(err)
			}
		}
		if err := w.Commit(dayFooter(int64(len(want)), 0)); err != nil {
			rt.Fatal(err)
		}
		if got := rowsOfTable(readPqarrow(t, l.UsagePath(schemastest.Day))); !slices.Equal(got, want) {
			rt.Fatalf("rows came back as\n%q\nwant\n%q", got, want)
		}
	})
}

// Buffers are used again from file to file, and no trace of the file before may be left.
func TestADayFileIsTheSameWhateverWasWrittenBefore(t *testing.T) {
	random := func(rt *rapid.T) arrow.RecordBatch {
		m := newRowMaker(memory.DefaultAllocator)
		text := rapid.SampledFrom([]string{"", "a", "b", "model", strings.Repeat("x", 300)})
		number := rapid.SampledFrom([]int64{0, 1, -1, 7, 1e12})
		there := rapid.SampledFrom([]int{0, 1, 2}) // never, always, now and then
		columns := schemas.UsageColumns()
		how := make([]int, len(columns))
		for i := range how {
			how[i] = there.Draw(rt, "there")
		}
		for range rapid.IntRange(1, 40).Draw(rt, "rows") {
			for i, c := range columns {
				if how[i] == 0 || how[i] == 2 && rapid.Bool().Draw(rt, "null") {
					continue
				}
				switch {
				case i == schemas.ColExtItems:
					s, d := text.Draw(rt, "item"), number.Draw(rt, "quantity")
					m.items(rapid.SampledFrom([][]*item{nil, {{}},
						{{text: [3]*string{&s, &s, nil}, decimal: [3]*int64{&d, nil, &d}}}}).Draw(rt, "items"))
				case arrow.TypeEqual(c.Type, arrow.BinaryTypes.String):
					m.str(i, text.Draw(rt, "text"))
				case i != schemas.ColUsageDate:
					m.num(i, number.Draw(rt, "number"))
				}
			}
			m.end()
		}
		return m.batch(t)
	}
	written := func(l *Lake, rec arrow.RecordBatch) string {
		w, err := l.CreateDay(schemastest.Day)
		must(t, err)
		must(t, w.Write(rec))
		must(t, w.Commit(dayFooter(rec.NumRows(), 0)))
		b, err := l.FS.ReadFile(l.UsagePath(schemastest.Day))
		must(t, err)
		return string(b)
	}
	l := newTestLake(t, Options{})
	rapid.Check(t, func(rt *rapid.T) {
		first, second := random(rt), random(rt)
		dayBuffers = sync.Pool{}
		want := written(l, first)
		written(l, second)
		if written(l, first) != want {
			rt.Fatal("the file has other bytes after another was written")
		}
	})
}
