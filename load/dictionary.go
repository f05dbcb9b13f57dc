package load

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"math/bits"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
)

// maxDictionary is the size from which on a row group's texts are written plain, in bytes as a dictionary page has
// them: readers keep a dictionary in memory, and one of nearly as many entries as rows only costs.
const maxDictionary = 1 << 20

// dictionary gathers a row group's texts of one column as they are to be written: each distinct one once, in order of
// first appearance, and a number for each row. arrow-go would do the same later, with an allocation for each value.
type dictionary struct {
	// Another in each process. It decides where a text is looked for, and nothing of what is written.
	seed maphash.Seed
	data []byte  // the distinct texts, one after another
	ends []int64 // where they begin and end in data
	// So that slots can be made anew without the texts, and two texts are compared only if their hashes are equal.
	hash []uint64 // of each
	slot []int32  // open addressing by hash: 1 + number of the text, 0 if free
	rows []int32  // by row the number of its text; 0 where there is none
	last int32    // number of the text before, -1 at the start
}

func newDictionary() *dictionary {
	return &dictionary{seed: maphash.MakeSeed(), data: []byte{}, ends: []int64{0}, slot: make([]int32, 256), last: -1}
}

func (d *dictionary) reset() {
	d.data, d.ends, d.hash, d.rows, d.last = d.data[:0], d.ends[:1], d.hash[:0], d.rows[:0], -1
	clear(d.slot)
}

// text is the distinct text of that number.
func (d *dictionary) text(n int32) []byte { return d.data[d.ends[n]:d.ends[n+1]] }

// add takes in the texts [from, to) of a, all of which are there.
func (d *dictionary) add(a *array.String, from, to int) error {
	offsets := a.ValueOffsets()
	first := offsets[0]
	data := a.ValueBytes()
	d.rows = grow(d.rows, to-from)
	for i := from; i < to; i++ {
		v := data[offsets[i]-first : offsets[i+1]-first]
		// Most often it is the text of the row before.
		if d.last < 0 || !bytes.Equal(v, d.text(d.last)) {
			n, err := d.number(v)
			if err != nil {
				return err
			}
			d.last = n
		}
		d.rows = append(d.rows, d.last)
	}
	return nil
}

// number finds v, or adds it.
func (d *dictionary) number(v []byte) (int32, error) {
	h := maphash.Bytes(d.seed, v)
	mask := uint64(len(d.slot) - 1)
	i := h & mask
	for ; d.slot[i] != 0; i = (i + 1) & mask {
		if n := d.slot[i] - 1; d.hash[n] == h && bytes.Equal(v, d.text(n)) {
			return n, nil
		}
	}
	if !utf8.Valid(v) {
		return 0, errText
	}
	n := int32(len(d.hash))
	d.slot[i] = n + 1
	d.hash = append(d.hash, h)
	d.data = append(d.data, v...)
	d.ends = append(d.ends, int64(len(d.data)))
	if 2*len(d.hash) > len(d.slot) {
		d.grow()
	}
	return n, nil
}

func (d *dictionary) grow() {
	// From half full to an eighth: a free slot always ends a search, and soon.
	d.slot = make([]int32, 4*len(d.slot))
	mask := uint64(len(d.slot) - 1)
	for n, h := range d.hash {
		i := h & mask
		for d.slot[i] != 0 {
			i = (i + 1) & mask
		}
		d.slot[i] = int32(n) + 1
	}
}

// writeDictionary writes a flat text column, with its dictionary or plain.
func (t *tableWriter) writeDictionary(w *file.ByteArrayColumnChunkWriter, l *leaf) error {
	d := l.dict
	def := t.definition(l)
	if len(d.data)+4*len(d.hash) >= maxDictionary {
		w.FallbackToPlain()
		if !w.SupportsArrowOffsets() {
			return fmt.Errorf("no way to write texts as %s", w.CurrentEncoder().Encoding())
		}
		t.data, t.ends = t.data[:0], append(t.ends[:0], 0)
		for i, n := range d.rows {
			if len(l.def) == 0 || l.def[i] == l.maxDef {
				t.data = append(t.data, d.text(n)...)
				t.ends = append(t.ends, int64(len(t.data)))
			}
		}
		_, err := w.WriteBatchArrow64(t.data, t.ends, def, nil)
		return err
	}

	encoder, ok := w.CurrentEncoder().(interface{ PutDictionary(arrow.Array) error })
	if !ok {
		return fmt.Errorf("no way to write a dictionary by %T", w.CurrentEncoder())
	}
	t.byFrequency(l)
	texts := array.NewData(arrow.BinaryTypes.LargeString, len(d.hash),
		[]*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(t.ends)), memory.NewBufferBytes(t.data)},
		nil, 0, 0)
	defer texts.Release()
	entries := array.NewLargeStringData(texts)
	defer entries.Release()
	if err := encoder.PutDictionary(entries); err != nil {
		return err
	}
	// The numbers alone tell the writer nothing of the values' range. All of them fall on one page.
	if stats, ok := w.PageStatistics().(*metadata.ByteArrayStatistics); ok {
		stats.UpdateFromArrowOffsets64(d.data, d.ends, int64(l.nulls))
	}
	var valid *memory.Buffer
	if l.nulls > 0 {
		bits := make([]byte, bitutil.BytesForBits(int64(len(d.rows))))
		for i, def := range l.def {
			if def == l.maxDef {
				bitutil.SetBit(bits, i)
			}
		}
		valid = memory.NewBufferBytes(bits)
	}
	rows := array.NewData(arrow.PrimitiveTypes.Int32, len(d.rows),
		[]*memory.Buffer{valid, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(d.rows))}, nil, l.nulls, 0)
	defer rows.Release()
	numbers := array.NewInt32Data(rows)
	defer numbers.Release()
	return w.WriteDictIndices(numbers, def, nil)
}

// byFrequency puts the distinct texts into t.data and t.ends with the most frequent first, and numbers the rows of the
// dictionary of l by that. Rows have as many bits as the largest number needs: if most numbers are small, most of these
// bits are 0, and compress.
func (t *tableWriter) byFrequency(l *leaf) {
	d := l.dict
	count := make([]int, len(d.hash))
	for i, n := range d.rows {
		if len(l.def) == 0 || l.def[i] == l.maxDef {
			count[n]++
		}
	}
	order := make([]int32, len(count))
	for n := range order {
		order[n] = int32(n)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return count[b] - count[a] })
	to := make([]int32, max(1, len(order)))
	t.data, t.ends = t.data[:0], append(t.ends[:0], 0)
	for i, n := range order {
		to[n] = int32(i)
		t.data = append(t.data, d.text(n)...)
		t.ends = append(t.ends, int64(len(t.data)))
	}
	for i, n := range d.rows {
		d.rows[i] = to[n]
	}
}

// presetIntegers decides whether a column of integers that may have a dictionary has one, by the whole row group: if it
// makes the values smaller. The encoder gets it beforehand, ordered as byFrequency does it. Without a dictionary it
// does nothing.
func presetIntegers(w *file.Int64ColumnChunkWriter, values []int64) error {
	encoder, ok := w.CurrentEncoder().(interface{ PutDictionary(arrow.Array) error })
	if !ok {
		return nil
	}
	count := map[int64]int{}
	for i := 0; i < len(values); {
		run := i + 1
		for run < len(values) && values[run] == values[i] {
			run++
		}
		count[values[i]] += run - i
		i = run
	}
	// With a dictionary: 8 bytes an entry, and for each value the bits that the largest number has. Plain: 8 bytes a
	// value. Of 1000 values, 100 different ones take 800 + 1000·7/8 = 1675 bytes in place of 8000; 900 different ones 7200
	// + 1250, which is more.
	if entries, n := len(count), len(values); n > 0 && 8*entries+n*bits.Len(uint(entries-1))/8 >= 8*n {
		w.FallbackToPlain()
		return nil
	}
	// By value among those that are as frequent: the order of a map must not reach the file.
	order := slices.SortedFunc(maps.Keys(count), func(a, b int64) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(a, b))
	})
	data := array.NewData(arrow.PrimitiveTypes.Int64, len(order),
		[]*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(order))}, nil, 0, 0)
	defer data.Release()
	entries := array.NewInt64Data(data)
	defer entries.Release()
	return encoder.PutDictionary(entries)
}
