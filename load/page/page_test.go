package page

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// written is the body of the one page that arrow-go makes of a column: write hands it the values.
func written(t *testing.T, node schema.Node, write func(file.ColumnChunkWriter) error,
	props ...parquet.WriterProperty) []byte {
	t.Helper()
	root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, schema.FieldList{node}, -1)
	must(t, err)
	var out bytes.Buffer
	w := file.NewParquetWriter(&out, root, file.WithWriterProps(parquet.NewWriterProperties(append(props,
		parquet.WithDataPageSize(1<<30), parquet.WithDictionaryPageSizeLimit(1<<30))...)))
	rg, err := w.AppendRowGroupChecked()
	must(t, err)
	cw, err := rg.NextColumn()
	must(t, err)
	must(t, write(cw))
	must(t, cw.Close())
	must(t, rg.Close())
	must(t, w.Close())
	r, err := file.NewParquetReader(bytes.NewReader(out.Bytes()))
	must(t, err)
	pages, err := r.RowGroup(0).GetColumnPageReader(0)
	must(t, err)
	for pages.Next() {
		if p, ok := pages.Page().(*file.DataPageV1); ok {
			return bytes.Clone(p.Data())
		}
	}
	t.Fatal("arrow-go wrote no page")
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %d bytes, arrow-go has %d; they differ from byte %d on", what, len(got), len(want), at)
	}
}

// draw makes values of runs and of noise from the fuzzer's bytes: each byte is a step, how long it lasts, and how wide.
func draw(data []byte, most uint64) []uint64 {
	var out []uint64
	seed := uint64(0)
	for i, b := range data {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		seed = seed*31 + uint64(b)
		n := int(b>>3) + 1
		if b&4 != 0 {
			n *= 9
		}
		v := r.Uint64() & most >> (b & 3 * 7)
		for range n {
			if b&1 != 0 {
				v = r.Uint64() & most >> (b & 3 * 5)
			}
			out = append(out, v)
		}
	}
	return out
}

var corpus = [][]byte{{1}, {0}, {2, 1}, {255}, {248, 7}, {1, 0, 1, 0, 60, 1}, {4, 5, 4, 5, 255, 255, 255},
	{63, 1, 8, 9},
	[]byte("runs and noise in turn, for longer than a run's header of one byte can tell")}

func FuzzHybrid(f *testing.F) {
	for _, c := range corpus {
		f.Add(c, byte(1))
		f.Add(c, byte(11))
	}
	f.Fuzz(func(t *testing.T, data []byte, width byte) {
		if len(data) == 0 || len(data) > 200 {
			return
		}
		// Numbers of a dictionary that has so many entries that they have this width.
		entries := 1 << (width % 12)
		numbers := []int32{}
		for _, v := range draw(data, uint64(entries-1)) {
			numbers = append(numbers, int32(v))
		}
		most := make([]int64, entries)
		for i := range most {
			most[i] = int64(i)
		}
		want := written(t, schema.NewInt64Node("c", parquet.Repetitions.Required, -1), func(w file.ColumnChunkWriter) error {
			b := array.NewInt64Builder(memory.DefaultAllocator)
			defer b.Release()
			b.AppendValues(most, nil)
			encoder := w.CurrentEncoder().(interface{ PutDictionary(arrow.Array) error })
			if err := encoder.PutDictionary(b.NewArray()); err != nil {
				return err
			}
			values := make([]int64, len(numbers))
			for i, n := range numbers {
				values[i] = int64(n)
			}
			_, err := w.(*file.Int64ColumnChunkWriter).WriteBatch(values, nil, nil)
			return err
		}, parquet.WithDictionaryDefault(true), parquet.WithDictionaryCostFallbackFor("c", false))
		bits := max(int(width%12), 1)
		same(t, "numbers", AppendHybrid([]byte{byte(bits)}, numbers, bits), want)
	})
}

func FuzzLevels(f *testing.F) {
	for _, c := range corpus {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 200 {
			return
		}
		var levels []int16
		var values []int64
		for _, v := range draw(data, 1) {
			levels = append(levels, int16(v))
			if v == 1 {
				values = append(values, int64(len(values)))
			}
		}
		want := written(t, schema.NewInt64Node("c", parquet.Repetitions.Optional, -1), func(w file.ColumnChunkWriter) error {
			_, err := w.(*file.Int64ColumnChunkWriter).WriteBatch(values, levels, nil)
			return err
		}, parquet.WithDictionaryDefault(false))
		got := AppendHybrid([]byte{0, 0, 0, 0}, levels, 1)
		binary.LittleEndian.PutUint32(got, uint32(len(got)-4))
		same(t, "levels", append(got, arrow.Int64Traits.CastToBytes(values)...), want)
	})
}

func FuzzDelta(f *testing.F) {
	for _, c := range corpus {
		f.Add(c, byte(0))
		f.Add(c, byte(40))
	}
	f.Fuzz(func(t *testing.T, data []byte, shift byte) {
		if len(data) == 0 || len(data) > 200 {
			return
		}
		var wide []int64
		var narrow []int32
		for _, v := range draw(data, math.MaxUint64) {
			v >>= shift & 63
			wide, narrow = append(wide, int64(v)), append(narrow, int32(v))
		}
		delta := []parquet.WriterProperty{parquet.WithDictionaryDefault(false),
			parquet.WithEncoding(parquet.Encodings.DeltaBinaryPacked)}
		same(t, "64 bits", AppendDelta(nil, wide),
			written(t, schema.NewInt64Node("c", parquet.Repetitions.Required, -1), func(w file.ColumnChunkWriter) error {
				_, err := w.(*file.Int64ColumnChunkWriter).WriteBatch(wide, nil, nil)
				return err
			}, delta...))
		same(t, "32 bits", AppendDelta(nil, narrow),
			written(t, schema.NewInt32Node("c", parquet.Repetitions.Required, -1), func(w file.ColumnChunkWriter) error {
				_, err := w.(*file.Int32ColumnChunkWriter).WriteBatch(narrow, nil, nil)
				return err
			}, delta...))
	})
}

func FuzzDeltaTexts(f *testing.F) {
	f.Add([]byte("req-0001,req-0002,,req-0002,req-00021,other"), byte(1))
	f.Add([]byte(",,,"), byte(200))
	f.Add([]byte("a"), byte(3))
	f.Fuzz(func(t *testing.T, data []byte, times byte) {
		if len(data) > 2000 {
			return
		}
		var texts []parquet.ByteArray
		for range int(times) + 1 {
			for _, text := range bytes.Split(data, []byte(",")) {
				texts = append(texts, text)
			}
		}
		var all []byte
		ends := []int64{0}
		for _, text := range texts {
			all = append(all, text...)
			ends = append(ends, int64(len(all)))
		}
		node := schema.NewByteArrayNode("c", parquet.Repetitions.Required, -1)
		want := written(t, node, func(w file.ColumnChunkWriter) error {
			_, err := w.(*file.ByteArrayColumnChunkWriter).WriteBatch(texts, nil, nil)
			return err
		}, parquet.WithDictionaryDefault(false), parquet.WithEncoding(parquet.Encodings.DeltaByteArray))
		same(t, "texts", AppendDeltaTexts(nil, all, ends), want)
	})
}
