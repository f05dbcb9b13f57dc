package load

import (
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func TestDictionaryStatisticsAreExact(t *testing.T) {
	m := newRowMaker(memory.DefaultAllocator)
	for _, s := range []string{"m", "b", "z", "b"} {
		m.str(schemas.ColModel, s)
		m.end()
	}
	m.end()
	l := newTestLake(t, Options{})
	writeDay(t, l, nil, m.batch(t))
	r := openParquet(t, l)
	chunk, err := r.RowGroup(0).MetaData().ColumnChunk(schemas.ColModel)
	must(t, err)
	stats, err := chunk.Statistics()
	must(t, err)
	s := stats.(*metadata.ByteArrayStatistics)
	if string(s.Min()) != "b" || string(s.Max()) != "z" || s.NullCount() != 1 {
		t.Errorf("min %q, max %q, nulls %d", s.Min(), s.Max(), s.NullCount())
	}
	index, err := r.GetPageIndexReader().RowGroup(0)
	must(t, err)
	column, err := index.GetColumnIndex(schemas.ColModel)
	must(t, err)
	if got := fmt.Sprintf("%s %s %v", column.GetMinValues(), column.GetMaxValues(),
		column.GetNullCounts()); got != "[b] [z] [1]" {
		t.Errorf("the page index says %s", got)
	}
}

func TestDictionariesHoldTheMostFrequentFirst(t *testing.T) {
	m := newRowMaker(memory.DefaultAllocator)
	for i, s := range []string{"b", "c", "", "a", "c", "", "a"} {
		if s != "" {
			m.str(schemas.ColModel, s)
			m.num(schemas.ColInputPrice, int64(s[0]))
		}
		m.num(schemas.ColRequestTime, int64(i)*1e6)
		m.end()
	}
	rec := m.batch(t)
	l := newTestLake(t, Options{})
	writeDay(t, l, nil, rec)
	if got := rowsOfTable(readPqarrow(t, l.UsagePath(schemastest.Day))); !slices.Equal(got, rowsOf(rec)) {
		t.Errorf("Arrow reads\n%v, want\n%v", got, rowsOf(rec))
	}
	r := openParquet(t, l)
	for column, want := range map[int]string{ // of equally frequent texts the first, of integers the smaller one
		schemas.ColModel:      "\x01\x00\x00\x00c\x01\x00\x00\x00a\x01\x00\x00\x00b",
		schemas.ColInputPrice: "a\x00\x00\x00\x00\x00\x00\x00c\x00\x00\x00\x00\x00\x00\x00b\x00\x00\x00\x00\x00\x00\x00",
	} {
		pages, err := r.RowGroup(0).GetColumnPageReader(column)
		must(t, err)
		if !pages.Next() {
			t.Fatalf("column %d has no page: %v", column, pages.Err())
		}
		if got := string(pages.Page().Data()); got != want {
			t.Errorf("column %d begins with %q, want %q", column, got, want)
		}
	}
}

// Quantities have a dictionary where it is smaller, and every column is readable either way.
func TestQuantitiesHaveADictionaryIfTheyAreFew(t *testing.T) {
	const usage = schemas.ColExtItems + 4 // as a leaf
	for name, different := range map[string]int64{"few": 3, "some": 300, "all": 1 << 40} {
		m := newRowMaker(memory.DefaultAllocator)
		for i := range int64(3000) {
			quantity := i * 1_000_003 % different
			m.items([]*item{{decimal: [3]*int64{nil, &quantity, &quantity}}})
			m.num(schemas.ColInputPrice, quantity)
			m.end()
		}
		rec := m.batch(t)
		l := newTestLake(t, Options{})
		writeDay(t, l, nil, rec)
		chunk, err := openParquet(t, l).RowGroup(0).MetaData().ColumnChunk(usage)
		must(t, err)
		if path := chunk.PathInSchema().String(); path != "ext_items.list.element.usage" {
			t.Fatalf("the leaf is %s", path)
		}
		if chunk.HasDictionaryPage() != (name != "all") {
			t.Errorf("%s: dictionary %v", name, chunk.HasDictionaryPage())
		}
		if got := rowsOfTable(readPqarrow(t, l.UsagePath(schemastest.Day))); !slices.Equal(got, rowsOf(rec)) {
			t.Errorf("%s: Arrow reads other rows", name)
		}
		got := duckRows(t, openDuckDB(t),
			fmt.Sprintf(`SELECT count(*), count(DISTINCT input_price),
				count(*) FILTER (ext_items[1].usage = input_price AND ext_items[1].amount = input_price) FROM '%s'`,
				l.UsagePath(schemastest.Day)))
		if want := fmt.Sprintf("3000|%d|3000", min(different, 3000)); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: DuckDB says %v, want %s", name, got, want)
		}
	}
}

func openParquet(t *testing.T, l *Lake) *file.Reader {
	t.Helper()
	f, err := l.FS.Open(l.UsagePath(schemastest.Day))
	must(t, err)
	t.Cleanup(func() { f.Close() })
	r, err := file.NewParquetReader(f)
	must(t, err)
	return r
}
