package load

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"github.com/usagelake/usagelake/load/page"
)

// maxDictionary is the size from which on a row group's texts are written plain, in bytes as a dictionary page has
// them: readers keep a dictionary in memory, and one of nearly as many entries as rows only costs.
const maxDictionary = 1 << 20

// dictionary gathers a row group's texts of one column as they are to be written: each distinct one once, in order of
// first appearance, and a number for each row. arrow-go would do the same later, with an allocation for each value.
type dictionary struct {
	seeds
	data []byte  // the distinct texts, one after another
	ends []int64 // where they begin and end in data
	// So that slots can be made anew without the texts, and two texts are compared only if their hashes are equal.
	hash []uint64 // of each
	key  []key    // of each
	// Open addressing by hash: 1 + number of the text in the low half, 0 if free; in the high half that of its hash, so
	// that most texts that are others are told without a look at them.
	slot []uint64
	rows []int32 // by row the number of its text; 0 where there is none
	last int32   // number of the text before, -1 at the start
}

func newDictionary() *dictionary {
	return &dictionary{seeds: newSeeds(), data: []byte{}, ends: []int64{0}, slot: make([]uint64, 256), last: -1}
}

func (d *dictionary) reset() {
	d.data, d.ends, d.hash, d.key, d.rows, d.last = d.data[:0], d.ends[:1], d.hash[:0], d.key[:0], d.rows[:0], -1
	clear(d.slot)
}

// size is that of the dictionary's page, in bytes.
func (d *dictionary) size() int { return len(d.data) + 4*len(d.hash) }

// text is the distinct text of that number.
func (d *dictionary) text(n int32) []byte { return d.data[d.ends[n]:d.ends[n+1]] }

// add takes in the texts [from, to) of a, all of which are there.
func (d *dictionary) add(a *array.String, from, to int) error {
	offsets := a.ValueOffsets()
	first := offsets[0]
	data := a.ValueBytes()
	offsets = offsets[from : to+1]
	d.rows = grow(d.rows, to-from)
	if constant(data[offsets[0]-first:offsets[to-from]-first], offsets) {
		offsets = offsets[:2]
	}
	at := offsets[0] - first
	last := key{n: -1}
	if d.last >= 0 {
		last = d.key[d.last]
	}
	for _, end := range offsets[1:] {
		v := data[at : end-first]
		at = end - first
		k := keyOf(v)
		// Often it is the text of the row before.
		if k != last || k.long() && !bytes.Equal(v, d.text(d.last)) {
			n, err := d.numberOf(k, v)
			if err != nil {
				return err
			}
			d.last, last = n, k
		}
		d.rows = append(d.rows, d.last)
	}
	for range to - from - (len(offsets) - 1) { // of a constant
		d.rows = append(d.rows, d.last)
	}
	return nil
}

// constant says whether texts that stand one after another in data are all the same. offsets say where they begin and
// end, counted from anywhere.
func constant(data []byte, offsets []int32) bool {
	length := offsets[1] - offsets[0]
	if int(length)*(len(offsets)-1) != len(data) || !bytes.Equal(data[length:], data[:len(data)-int(length)]) {
		return false // as most columns that aren't are told at once, or by their second text
	}
	for i := 2; i < len(offsets); i++ {
		if offsets[i]-offsets[i-1] != length {
			return false
		}
	}
	return true
}

// missing takes in n rows without a text.
func (d *dictionary) missing(n int) {
	d.rows = grow(d.rows, n)
	for range n {
		d.rows = append(d.rows, 0)
	}
}

// highHalf of a hash stands beside a text's number in its slot.
const highHalf = 0xFFFFFFFF << 32

// number finds v, or adds it.
func (d *dictionary) number(v []byte) (int32, error) { return d.numberOf(keyOf(v), v) }

func (d *dictionary) numberOf(k key, v []byte) (int32, error) {
	var h uint64
	if k.long() {
		h = maphash.Bytes(d.long, v)
	} else {
		h = d.of(k)
	}
	mask := uint64(len(d.slot) - 1)
	i := h & mask
	for ; d.slot[i] != 0; i = (i + 1) & mask {
		if s := d.slot[i]; (s^h)&highHalf == 0 {
			if n := int32(uint32(s)) - 1; d.key[n] == k && (!k.long() || bytes.Equal(v, d.text(n))) {
				return n, nil
			}
		}
	}
	if !utf8.Valid(v) {
		return 0, errText
	}
	n := int32(len(d.hash))
	d.slot[i] = h&highHalf | uint64(n+1)
	d.hash, d.key = append(d.hash, h), append(d.key, k)
	d.data = append(d.data, v...)
	d.ends = append(d.ends, int64(len(d.data)))
	if 2*len(d.hash) > len(d.slot) {
		d.grow()
	}
	return n, nil
}

func (d *dictionary) grow() {
	// From half full to an eighth: a free slot always ends a search, and soon.
	d.slot = make([]uint64, 4*len(d.slot))
	mask := uint64(len(d.slot) - 1)
	for n, h := range d.hash {
		i := h & mask
		for d.slot[i] != 0 {
			i = (i + 1) & mask
		}
		d.slot[i] = h&highHalf | uint64(n+1)
	}
}

// seeds make the hashes of texts, which differ in each process: they decide where a text is looked for, and nothing of
// what is written.
type seeds struct {
	a, b uint64 // of those with a key that says all
	long maphash.Seed
}

func newSeeds() seeds { return seeds{rand.Uint64(), rand.Uint64(), maphash.MakeSeed()} }

// of is the hash of a short text.
func (s *seeds) of(k key) uint64 {
	hi, lo := bits.Mul64(k.a^s.a, k.b^s.b)
	hi, lo = bits.Mul64(hi^lo^s.a, uint64(k.n)^0x9E3779B97F4A7C15) // 2⁶⁴ by the golden ratio
	return hi ^ lo
}

// key tells texts apart: of two of up to 16 bytes, which most are, the keys are equal just if they are. They are loaded
// from both ends, so that the loads overlap and each byte is in one of them. Of longer ones it has what can be had as
// cheaply.
type key struct {
	a, b uint64
	n    int
}

func (k *key) long() bool { return k.n > 16 }

func keyOf(v []byte) key {
	switch n := len(v); {
	case n >= 8:
		return key{binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[n-8:]), n}
	case n >= 4:
		return key{uint64(binary.LittleEndian.Uint32(v)), uint64(binary.LittleEndian.Uint32(v[n-4:])), n}
	case n > 0:
		return key{uint64(v[0]) | uint64(v[n/2])<<8, uint64(v[n-1]), n}
	}
	return key{}
}

// writeDictionary writes a flat text column with its dictionary, or plain if that is too large.
func (t *tableWriter) writeDictionary(c chunk, l *leaf) error {
	d := l.dict
	def := t.definition(l)
	if d.size() >= maxDictionary {
		t.data, t.ends = t.data[:0], append(t.ends[:0], 0)
		for i, n := range d.rows {
			if len(l.def) == 0 || l.def[i] == l.maxDef {
				t.data = append(t.data, d.text(n)...)
				t.ends = append(t.ends, int64(len(t.data)))
			}
		}
		w := c.writer().(*file.ByteArrayColumnChunkWriter)
		w.FallbackToPlain()
		if _, err := w.WriteBatchArrow64(t.data, t.ends, def, nil); err != nil {
			return err
		}
		return w.Close()
	}

	stats := c.statistics().(*metadata.ByteArrayStatistics)
	stats.UpdateFromArrowOffsets64(d.data, d.ends, int64(l.nulls))
	dict, numbers := t.byFrequency(l)
	body := appendNumbers(c.body(nil, def), numbers, dict.n)
	return c.one(body, len(d.rows), t.file.props.DictionaryIndexEncoding(), stats, &dict)
}

// numbered gathers the texts of a list's members in t.texts. It is false if they, or the dictionary, are more than a
// page surely holds.
func (t *tableWriter) numbered(l *leaf) bool {
	n := len(l.ends) - 1
	if n == 0 || 8*n >= pageSize {
		return false
	}
	if t.texts == nil {
		t.texts = newDictionary()
	}
	d := t.texts
	d.reset()
	for i := range n {
		no, err := d.number(l.data[l.ends[i]:l.ends[i+1]])
		if err != nil || d.size() >= maxDictionary {
			return false
		}
		d.rows = append(d.rows, no)
	}
	return true
}

// writeNumbered writes what numbered has gathered. The dictionary is in order of first appearance: these columns have
// few texts, and few values.
func (t *tableWriter) writeNumbered(c chunk, l *leaf) error {
	d := t.texts
	stats := c.statistics().(*metadata.ByteArrayStatistics)
	stats.UpdateFromArrowOffsets64(d.data, d.ends, int64(l.levels-len(d.rows)))
	t.data = t.data[:0]
	for n := range d.hash {
		t.data = appendText(t.data, d.text(int32(n)))
	}
	body := appendNumbers(c.body(*l.rep, t.definition(l)), d.rows, len(d.hash))
	return c.one(body, l.levels, t.file.props.DictionaryIndexEncoding(), stats, &entries{t.data, len(d.hash)})
}

// repeated says whether values are one value.
func repeated(values []int32) bool {
	for _, v := range values {
		if v != values[0] {
			return false
		}
	}
	return len(values) > 0
}

// writeRepeated writes a column whose values are one value, which is its dictionary.
func (t *tableWriter) writeRepeated(c chunk, l *leaf) error {
	stats := c.statistics().(*metadata.Int32Statistics)
	stats.Update(l.i32[:1], int64(l.levels-len(l.i32)))
	t.numbers.rows = slices.Grow(t.numbers.rows[:0], len(l.i32))[:len(l.i32)]
	clear(t.numbers.rows)
	body := appendNumbers(c.body(*l.rep, t.definition(l)), t.numbers.rows, 1)
	return c.one(body, l.levels, t.file.props.DictionaryIndexEncoding(), stats,
		&entries{arrow.Int32Traits.CastToBytes(l.i32[:1]), 1})
}

// byFrequency puts the distinct texts of l with the most frequent first, and returns the rows' numbers in that order,
// of those that are there. Rows have as many bits as the largest number needs: if most numbers are small, most of these
// bits are 0, and compress.
func (t *tableWriter) byFrequency(l *leaf) (dict entries, numbers []int32) {
	d := l.dict
	numbers = d.rows
	if l.nulls > 0 {
		numbers = t.numbers.rows[:0]
		for i, n := range d.rows {
			if l.def[i] == l.maxDef {
				numbers = append(numbers, n)
			}
		}
		t.numbers.rows = numbers
	}
	count := make([]int, len(d.hash))
	for _, n := range numbers {
		count[n]++
	}
	order := make([]int32, len(count))
	for n := range order {
		order[n] = int32(n)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return count[b] - count[a] })
	to := make([]int32, len(order))
	t.data = t.data[:0]
	for i, n := range order {
		to[n] = int32(i)
		t.data = appendText(t.data, d.text(n))
	}
	for i, n := range numbers {
		numbers[i] = to[n]
	}
	return entries{t.data, len(order)}, numbers
}

// appendNumbers encodes rows as numbers of a dictionary's entries: their width, then they: "Dictionary Encoding
// (PLAIN_DICTIONARY = 2 and RLE_DICTIONARY = 8)" of Encodings.md.
func appendNumbers(dst []byte, numbers []int32, entries int) []byte {
	width := bits.Len(uint(max(entries, 1) - 1))
	if entries == 1 {
		width = 1 // as arrow-go has it: not every reader takes a width of 0
	}
	return page.AppendHybrid(append(dst, byte(width)), numbers, width)
}

// appendText encodes a text: its length, then it: "Plain: (PLAIN = 0)".
func appendText(dst, text []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(text))), text...)
}

// numbering gathers a row group's integers of one column as dictionary does its texts.
type numbering struct {
	seed   uint64  // another in each process: it decides where an integer is looked for, and nothing of what is written
	values []int64 // the distinct ones, in order of first appearance
	count  []int   // of each
	slot   []int32 // open addressing: 1 + index in values, 0 if free
	rows   []int32 // by row the number of its integer
}

// of takes in a column's integers of a row group. It decides by all of them whether they have a dictionary: if that
// makes them smaller. If it is false, n holds nothing of use.
func (n *numbering) of(values []int64) bool {
	if n.slot == nil {
		n.seed, n.slot = rand.Uint64(), make([]int32, 256)
	}
	clear(n.slot)
	n.values, n.count = n.values[:0], n.count[:0]
	n.rows = slices.Grow(n.rows[:0], len(values))
	last := int32(-1)
	for i, v := range values {
		if i == 0 || v != values[i-1] {
			if last = n.number(v); !n.pays(len(values)) {
				return false
			}
		}
		n.count[last]++
		n.rows = append(n.rows, last)
	}
	return true
}

// pays says whether the distinct integers so far are few enough for a dictionary of rows integers. With one: 8 bytes an
// entry, and for each value the bits that the largest number has. Plain: 8 bytes a value. Of 1000 values, 100 different
// ones take 800 + 1000·7/8 = 1675 bytes in place of 8000; 900 different ones 7200 + 1250, which is more.
func (n *numbering) pays(rows int) bool {
	entries := len(n.values)
	return 8*entries+rows*bits.Len(uint(entries-1))/8 < 8*rows
}

// number finds v, or adds it.
func (n *numbering) number(v int64) int32 {
	i := n.start(v)
	for ; n.slot[i] != 0; i = (i + 1) & (len(n.slot) - 1) {
		if no := n.slot[i] - 1; n.values[no] == v {
			return no
		}
	}
	n.values, n.count = append(n.values, v), append(n.count, 0)
	n.slot[i] = int32(len(n.values))
	if 2*len(n.values) > len(n.slot) {
		n.grow()
	}
	return int32(len(n.values) - 1)
}

// start is the slot from which on v is looked for.
func (n *numbering) start(v int64) int {
	hi, lo := bits.Mul64(uint64(v)^n.seed, 0x9E3779B97F4A7C15) // 2⁶⁴ by the golden ratio: every bit of v tells in hi ^ lo
	return int(hi^lo) & (len(n.slot) - 1)
}

func (n *numbering) grow() {
	n.slot = make([]int32, 4*len(n.slot)) // from half full to an eighth
	for no, v := range n.values {
		i := n.start(v)
		for n.slot[i] != 0 {
			i = (i + 1) & (len(n.slot) - 1)
		}
		n.slot[i] = int32(no) + 1
	}
}

// byFrequency orders the distinct integers with the most frequent first, and numbers the rows by that. By value among
// those that are as frequent: in whichever order they came, they are the same.
func (n *numbering) byFrequency() []int64 {
	order := make([]int32, len(n.values))
	for no := range order {
		order[no] = int32(no)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(n.count[b]-n.count[a], cmp.Compare(n.values[a], n.values[b]))
	})
	to := make([]int32, len(order))
	sorted := make([]int64, len(order))
	for i, no := range order {
		to[no], sorted[i] = int32(i), n.values[no]
	}
	for i, no := range n.rows {
		n.rows[i] = to[no]
	}
	return sorted
}

// writeIntegers writes a column of integers. If it may have a dictionary, it has one where that makes it smaller.
func (t *tableWriter) writeIntegers(c chunk, l *leaf) error {
	def, rep := t.definition(l), *l.rep
	dictionary := t.file.props.DictionaryEnabledFor(l.path)
	if dictionary {
		dictionary = t.numbers.of(l.i64)
	}
	if 8*len(l.i64) >= pageSize { // of a list: a row group has fewer rows
		return t.writeManyIntegers(c, l, dictionary)
	}
	stats := c.statistics().(*metadata.Int64Statistics)
	stats.Update(l.i64, int64(l.levels-len(l.i64)))
	body := c.body(rep, def)
	encoding := c.encoding()
	switch {
	case dictionary:
		sorted := t.numbers.byFrequency()
		body = appendNumbers(body, t.numbers.rows, len(sorted))
		return c.one(body, l.levels, t.file.props.DictionaryIndexEncoding(), stats,
			&entries{arrow.Int64Traits.CastToBytes(sorted), len(sorted)})
	case encoding == parquet.Encodings.DeltaBinaryPacked:
		body = page.AppendDelta(body, l.i64)
	case encoding == parquet.Encodings.Plain:
		body = append(body, arrow.Int64Traits.CastToBytes(l.i64)...)
	default:
		return fmt.Errorf("no way to write integers as %s", encoding)
	}
	return c.one(body, l.levels, encoding, stats, nil)
}

// writeManyIntegers is writeIntegers for more than a page holds.
func (t *tableWriter) writeManyIntegers(c chunk, l *leaf, dictionary bool) error {
	w := c.writer().(*file.Int64ColumnChunkWriter)
	if dictionary {
		data := array.NewData(arrow.PrimitiveTypes.Int64, len(t.numbers.values),
			[]*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(t.numbers.byFrequency()))}, nil, 0, 0)
		defer data.Release()
		sorted := array.NewInt64Data(data)
		defer sorted.Release()
		encoder, ok := w.CurrentEncoder().(interface{ PutDictionary(arrow.Array) error })
		if !ok {
			return fmt.Errorf("no way to write a dictionary by %T", w.CurrentEncoder())
		}
		if err := encoder.PutDictionary(sorted); err != nil {
			return err
		}
	} else {
		w.FallbackToPlain() // if it isn't
	}
	if _, err := w.WriteBatch(l.i64, t.definition(l), *l.rep); err != nil {
		return err
	}
	return w.Close()
}
