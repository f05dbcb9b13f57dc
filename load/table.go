package load

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/usagelake/usagelake/load/page"
	"github.com/usagelake/usagelake/schemas"
)

// How the lake writes Parquet: from Arrow arrays through packed column buffers to pages, which load/page encodes and
// arrow-go puts into the file (parquet.go); few and odd columns go through arrow-go's own column writers. What the
// arrays hold is copied once, so that a row group is cut where the rows say and never where a batch happened to end:
// the bytes of a file depend on its rows alone.
//
//	RecordBatch ──append──▶ leaf buffers (≤ a row group) ──writeRowGroup──▶ column chunks ──▶ temp file

const (
	// columnsKey is the footer key with the columns' comments, a JSON object of name → text; Parquet has no place for
	// them of its own.
	columnsKey = "usagelake.columns"
	// bodyKey is the footer key with the bodySum of the file: Parquet's pages have no checksums of their own here.
	bodyKey = "usagelake.body"
	// maxRowGroupBytes cuts a row group early when its values are large, so that memory stays bounded whatever the API
	// sends. It is looked at every cutStep rows.
	maxRowGroupBytes = 96 << 20
	cutStep          = 256
)

// createdBy is in every Parquet file, in the form that parquet-java parses: of a file whose writer it can't tell, it
// reads no DELTA_BYTE_ARRAY column in splits (PARQUET-246) and believes no statistics of texts. The program's version
// is left out: a new release alone changes no file.
var createdBy = fmt.Sprintf("usagelake version %d", schemas.SchemaVersion)

// tableWriter writes one Parquet file, row group by row group. Memory is that of one row group. It is one goroutine's,
// and of no use after an error: some columns may hold a row that others don't.
type tableWriter struct {
	buffers
	schema   *arrow.Schema     // fields by name and type; metadata aside
	comments map[string]string // by column
	out      *bufio.Writer
	body     hash.Hash
	file     *parquetFile

	rows  int   // in the buffers
	total int64 // written and buffered
}

// buffers are what a tableWriter keeps rows in until they are a row group: its columns, and their leaves in one list.
// They are emptied once it is written, with their memory kept for the next; those of a day file go on to the next day's
// (dayBuffers).
type buffers struct {
	columns []*column
	leaves  []*leaf

	// Scratch of writeLeaf and what it calls.
	slots   []parquet.ByteArray
	present []int16 // definition levels of values that are all there
	data    []byte
	ends    []int64
	numbers numbering
	texts   *dictionary
}

// newTableWriter starts a file of these columns on w. props say how columns are encoded, beyond what all share.
func newTableWriter(w io.Writer, columns []schemas.Column, props ...parquet.WriterProperty) (*tableWriter, error) {
	t := &tableWriter{buffers: buffers{data: []byte{}}, body: sha256.New(), comments: map[string]string{}}
	fields := make([]arrow.Field, len(columns))
	nodes := make(schema.FieldList, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.Name, Type: c.Type, Nullable: c.Nullable}
		col, node, err := newColumn(fields[i])
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		t.columns = append(t.columns, col)
		t.leaves = append(t.leaves, col.leaves...)
		nodes[i] = node
		t.comments[c.Name] = c.Comment
	}
	t.schema = arrow.NewSchema(fields, nil)
	root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, nodes, -1)
	if err != nil {
		return nil, err
	}
	written := parquet.NewWriterProperties(append([]parquet.WriterProperty{
		parquet.WithCreatedBy(createdBy),
		parquet.WithVersion(parquet.V2_6),
		parquet.WithDataPageVersion(parquet.DataPageV1),
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithStats(true),
		parquet.WithPageIndexEnabled(true),
	}, props...)...)
	for _, c := range t.columns {
		if l := c.leaves[0]; !c.items && l.kind == leafText && written.DictionaryEnabledFor(l.path) {
			l.kind, l.dict = leafDict, newDictionary()
		}
	}
	t.out = bufio.NewWriterSize(io.MultiWriter(w, t.body), 1<<18)
	t.file, err = newParquetFile(t.out, root, written)
	return t, err
}

// write appends the rows of rec.
func (t *tableWriter) write(rec arrow.RecordBatch) error {
	if err := t.checkSchema(rec.Schema()); err != nil {
		return err
	}
	n := int(rec.NumRows())
	for from := 0; from < n; {
		// Up to the next cutStep rows of the row group, or to the end of the batch: with 200 rows in the buffers 56, then 256
		// at a time. So the size is looked at after the same rows, however batches were cut, and MaxRowGroup, a multiple of
		// cutStep, is met and never passed.
		to := min(n, from+cutStep-t.rows%cutStep)
		for i, c := range t.columns {
			if err := c.append(rec.Column(i), from, to); err != nil {
				return fmt.Errorf("column %s: %w", c.field.Name, err)
			}
		}
		t.rows += to - from
		t.total += int64(to - from)
		from = to
		if t.rows >= schemas.MaxRowGroup || t.rows%cutStep == 0 && t.buffered() >= maxRowGroupBytes {
			if err := t.writeRowGroup(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tableWriter) checkSchema(got *arrow.Schema) error {
	if got.NumFields() != t.schema.NumFields() {
		return fmt.Errorf("the batch has %d columns, the table %d", got.NumFields(), t.schema.NumFields())
	}
	for i, want := range t.schema.Fields() {
		f := got.Field(i)
		if f.Name != want.Name || !arrow.TypeEqual(f.Type, want.Type) {
			return fmt.Errorf("the batch has %s %s where the table has %s %s", f.Name, f.Type, want.Name, want.Type)
		}
	}
	return nil
}

// buffered is the size of the buffers, in bytes.
func (t *tableWriter) buffered() int {
	n := 0
	for _, l := range t.leaves {
		// 8 for a value: an integer, or where a text ends.
		n += len(l.data) + 8*l.levels
		if l.dict != nil {
			n += len(l.dict.data)
		}
	}
	return n
}

// writeRowGroup writes the buffers as a row group and empties them.
func (t *tableWriter) writeRowGroup() error {
	rg, err := t.file.rowGroup()
	if err != nil {
		return err
	}
	for _, l := range t.leaves {
		c, err := rg.chunk()
		if err == nil {
			err = t.writeLeaf(c, l)
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", l.path, err)
		}
	}
	rows := t.rows
	for _, c := range t.columns {
		c.reset()
	}
	t.rows = 0
	return rg.close(rows)
}

// pageSize ends a page: the first 1024 values with which it is as large. What surely fits one page is encoded by
// load/page, the rest by arrow-go.
const pageSize = int(parquet.DefaultDataPageSize)

func (t *tableWriter) writeLeaf(c chunk, l *leaf) error {
	switch {
	case l.kind == leafInt64:
		return t.writeIntegers(c, l)
	case l.kind == leafDict:
		return t.writeDictionary(c, l)
	case l.kind == leafInt32 && t.file.props.DictionaryEnabledFor(l.path) && repeated(l.i32):
		return t.writeRepeated(c, l)
	case l.kind == leafText && t.file.props.DictionaryEnabledFor(l.path) && t.numbered(l):
		return t.writeNumbered(c, l)
	case l.kind == leafText && c.encoding() == parquet.Encodings.DeltaByteArray && len(l.data) < 2*pageSize:
		body := page.AppendDeltaTexts(c.body(*l.rep, t.definition(l)), l.data, l.ends)
		if len(body) >= pageSize {
			break
		}
		stats := c.statistics().(*metadata.ByteArrayStatistics)
		stats.UpdateFromArrowOffsets64(l.data, l.ends, int64(l.nulls))
		return c.one(body, l.levels, c.encoding(), stats, nil)
	}
	def, rep := t.definition(l), *l.rep
	cw := c.writer()
	var err error
	switch w := cw.(type) {
	case *file.Int32ColumnChunkWriter:
		_, err = w.WriteBatch(l.i32, def, rep)
	case *file.FixedLenByteArrayColumnChunkWriter:
		values := make([]parquet.FixedLenByteArray, len(l.data)/16)
		for i := range values {
			values[i] = l.data[16*i : 16*i+16]
		}
		_, err = w.WriteBatch(values, def, rep)
	case *file.ByteArrayColumnChunkWriter:
		err = t.writeTexts(w, l, def, rep)
	default:
		err = fmt.Errorf("no way to write %T", cw)
	}
	if err != nil {
		return err
	}
	return cw.Close()
}

func (t *tableWriter) writeTexts(w *file.ByteArrayColumnChunkWriter, l *leaf, def, rep []int16) error {
	if w.SupportsArrowOffsets() {
		_, err := w.WriteBatchArrow64(l.data, l.ends, def, rep)
		return err
	}
	n := len(l.ends) - 1
	t.slots = slices.Grow(t.slots[:0], n)[:n]
	for i := range t.slots {
		t.slots[i] = l.data[l.ends[i]:l.ends[i+1]]
	}
	_, err := w.WriteBatch(t.slots, def, rep)
	// They point into l.data, which is written over.
	clear(t.slots)
	return err
}

// close writes what is buffered and the footer with these keys and values. The file behind it stays open.
func (t *tableWriter) close(keys ...keyValue) error {
	if t.rows > 0 {
		if err := t.writeRowGroup(); err != nil {
			return err
		}
	}
	if err := t.out.Flush(); err != nil {
		return err
	}
	text, err := json.Marshal(t.comments) // with the keys sorted
	if err != nil {
		return err
	}
	// The row groups have all passed out, and so body; page index and footer are yet to come, and aren't in the sum.
	body, err := json.Marshal(bodySum{Bytes: t.file.out.Tell(), SHA256: hex.EncodeToString(t.body.Sum(nil))})
	if err != nil {
		return err
	}
	keys = append(keys, keyValue{columnsKey, string(text)}, keyValue{bodyKey, string(body)})
	for _, kv := range keys {
		if err := t.file.meta.AppendKeyValueMetadata(kv.key, kv.value); err != nil {
			return err
		}
	}
	if err := t.file.close(); err != nil {
		return err
	}
	return t.out.Flush()
}

type keyValue struct{ key, value string }

// bodySum is the digest of what stands before the page index and the footer: the magic number and the row groups.
type bodySum struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// CheckBody holds the row groups of a Parquet file of the lake against the digest in its footer. It reads the whole
// file, and returns a *DamagedError if they differ. Footer and page index are read, but only deriving the file anew and
// comparing the bytes proves them.
func (l *Lake) CheckBody(path string) error {
	f, err := l.FS.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	meta, err := readFooter(f)
	if err != nil {
		return derivedDamage(path, "it can't be read as Parquet", err)
	}
	var want bodySum
	text := meta.KeyValueMetadata().FindValue(bodyKey)
	if text == nil { // another program wrote it: there is nothing to hold it against
		return nil
	}
	if err := json.Unmarshal([]byte(*text), &want); err != nil {
		return derivedDamage(path, "its "+bodyKey+" can't be read", err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(f, 0, max(0, want.Bytes)))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if got := (bodySum{n, hex.EncodeToString(sum.Sum(nil))}); got != want {
		return derivedDamage(path, fmt.Sprintf("its %d bytes of rows have the digest %s, its footer says %s", n, got.SHA256,
			want.SHA256), nil)
	}
	return nil
}

// column is a column of the table with the buffers of its leaves: one, or of a list of structs one a member.
type column struct {
	field  arrow.Field
	leaves []*leaf
	items  bool    // a list of structs
	rep    []int16 // of a list: the repetition levels that its leaves share
}

// leaf buffers a Parquet column: the values that are there, packed, and the levels.
type leaf struct {
	path   string
	kind   leafKind
	maxDef int16
	levels int      // rows, or of a list items and the rows that have none
	nulls  int      // of them without a value
	def    []int16  // definition levels; empty while all of them are maxDef
	rep    *[]int16 // repetition levels; of a flat column always nil
	i32    []int32
	i64    []int64
	data   []byte  // of texts, one after another; of 128-bit decimals, big-endian
	ends   []int64 // of texts: where they begin and end in data, one more than texts
	dict   *dictionary
}

type leafKind uint8

const (
	leafInt32 leafKind = iota
	leafInt64
	leafText  // data and ends
	leafDict  // dict
	leafFixed // data, 16 bytes each
)

func newColumn(f arrow.Field) (*column, schema.Node, error) {
	c := &column{field: f}
	list, ok := f.Type.(*arrow.ListType)
	if !ok {
		l, node, err := newLeaf(f, f.Name, 0)
		if err != nil {
			return nil, nil, err
		}
		l.rep = new([]int16)
		c.leaves = []*leaf{l}
		return c, node, nil
	}

	// The standard three levels: optional group NAME (LIST) { repeated group list { required group element { … } } }
	item, ok := list.Elem().(*arrow.StructType)
	if !ok || !f.Nullable || list.ElemField().Nullable {
		return nil, nil, fmt.Errorf("a list is written of structs that are there only, not as %s", f.Type)
	}
	c.items = true
	members := make(schema.FieldList, item.NumFields())
	for i, m := range item.Fields() {
		if !m.Nullable {
			return nil, nil, fmt.Errorf("member %s of a list's struct is not nullable", m.Name)
		}
		l, node, err := newLeaf(m, f.Name+".list.element."+m.Name, defElement)
		if err != nil {
			return nil, nil, fmt.Errorf("member %s: %w", m.Name, err)
		}
		l.rep = &c.rep
		c.leaves = append(c.leaves, l)
		members[i] = node
	}
	element, err := schema.NewGroupNode("element", parquet.Repetitions.Required, members, -1)
	if err != nil {
		return nil, nil, err
	}
	repeated, err := schema.NewGroupNode("list", parquet.Repetitions.Repeated, schema.FieldList{element}, -1)
	if err != nil {
		return nil, nil, err
	}
	node, err := schema.NewGroupNodeLogical(f.Name, parquet.Repetitions.Optional, schema.FieldList{repeated},
		schema.NewListLogicalType(), -1)
	return c, node, err
}

// Definition levels of a list's leaves.
const (
	defNull    = 0 // no list
	defEmpty   = 1 // a list without items
	defElement = 2 // an item whose member is NULL; its members are one deeper
)

// newLeaf makes the buffer and the Parquet node of a flat field; above is the definition level of what holds it.
func newLeaf(f arrow.Field, path string, above int16) (*leaf, schema.Node, error) {
	l := &leaf{path: path, maxDef: above}
	rep := parquet.Repetitions.Required
	if f.Nullable {
		rep = parquet.Repetitions.Optional
		l.maxDef++
	}
	var (
		logical schema.LogicalType = schema.NoLogicalType{}
		typ     parquet.Type
		width   = -1
	)
	switch dt := f.Type.(type) {
	case *arrow.StringType:
		l.kind, typ, logical = leafText, parquet.Types.ByteArray, schema.StringLogicalType{}
		l.ends = []int64{0}
		l.data = []byte{} // an empty text that is nil has other statistics
	case *arrow.Int64Type:
		l.kind, typ = leafInt64, parquet.Types.Int64
	case *arrow.Date32Type:
		l.kind, typ, logical = leafInt32, parquet.Types.Int32, schema.DateLogicalType{}
	case *arrow.TimestampType:
		if dt.Unit != arrow.Microsecond {
			return nil, nil, fmt.Errorf("a time is written in microseconds, not as %s", dt)
		}
		l.kind, typ, logical = leafInt64, parquet.Types.Int64,
			schema.NewTimestampLogicalType(dt.TimeZone != "", schema.TimeUnitMicros)
	case *arrow.Decimal64Type:
		l.kind, typ, logical = leafInt64, parquet.Types.Int64, schema.NewDecimalLogicalType(dt.Precision, dt.Scale)
	case *arrow.Decimal128Type:
		l.kind, typ, logical, width = leafFixed, parquet.Types.FixedLenByteArray,
			schema.NewDecimalLogicalType(dt.Precision, dt.Scale), 16
	default:
		return nil, nil, fmt.Errorf("no Parquet type for %s", f.Type)
	}
	node, err := schema.NewPrimitiveNodeLogical(f.Name, rep, logical, typ, width, -1)
	return l, node, err
}

// append copies the rows [from, to) of arr.
func (c *column) append(arr arrow.Array, from, to int) error {
	if c.items {
		return c.appendItems(arr.(*array.List), from, to)
	}
	return c.leaves[0].append(arr, from, to, c.field.Nullable)
}

// appendItems copies the lists of the rows [from, to) into the leaves of their members.
func (c *column) appendItems(lists *array.List, from, to int) error {
	items := lists.ListValues().(*array.Struct)
	none := func(i int) int16 { // what a row without items has for its level
		if lists.IsNull(i) {
			return defNull
		}
		if start, end := lists.ValueOffsets(i); start == end {
			return defEmpty
		}
		return defElement
	}
	for i := from; i < to; i++ {
		if def := none(i); def != defElement {
			// Most rows have none, and are copied as many as stand together.
			first := i
			for i+1 < to && none(i+1) == def {
				i++
			}
			c.appendNone(def, i+1-first)
			continue
		}
		start, end := lists.ValueOffsets(i)
		for j := int(start); j < int(end); j++ {
			// 0 begins a row, 1 goes on with it. The rows [a b], NULL and [] are 0 1, 0, 0, at the definition levels 3 3, 0, 1
			// where the member is there in both items.
			repeats := int16(1)
			if j == int(start) {
				repeats = 0
			}
			if items.IsNull(j) {
				return errNull
			}
			for k, l := range c.leaves {
				if err := l.append(items.Field(k), j, j+1, true); err != nil {
					return fmt.Errorf("member %s: %w", l.path, err)
				}
			}
			c.rep = append(c.rep, repeats)
		}
	}
	return nil
}

// appendNone appends to every leaf n levels without a value, each at the start of a row.
func (c *column) appendNone(def int16, n int) {
	for _, l := range c.leaves {
		l.missing(def, n)
	}
	c.rep = grow(c.rep, n)
	at := len(c.rep)
	c.rep = c.rep[:at+n]
	clear(c.rep[at:])
}

func (c *column) reset() {
	c.rep = c.rep[:0]
	for _, l := range c.leaves {
		l.levels, l.nulls = 0, 0
		l.def, l.i32, l.i64, l.data = l.def[:0], l.i32[:0], l.i64[:0], l.data[:0]
		switch l.kind {
		// The first end is where the first text begins: 0.
		case leafText:
			l.ends = l.ends[:1]
		case leafDict:
			l.dict.reset()
		}
	}
}

var (
	errNull = errors.New("a NULL where there may be none")
	errText = errors.New("a text that is not UTF-8")
)

// append copies the values [from, to) of arr, whose type is the leaf's.
func (l *leaf) append(arr arrow.Array, from, to int, nullable bool) error {
	// Stretches without a NULL are copied whole, which is nearly all of most columns.
	if arr.NullN() == 0 {
		l.present(to - from)
		return l.values(arr, from, to)
	}
	for i := from; i < to; {
		if arr.IsNull(i) {
			if !nullable {
				return errNull
			}
			first := i
			for i++; i < to && arr.IsNull(i); i++ {
			}
			l.missing(l.maxDef-1, i-first)
			continue
		}
		end := i + 1
		for end < to && arr.IsValid(end) {
			end++
		}
		l.present(end - i)
		if err := l.values(arr, i, end); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// values copies values that are all there.
func (l *leaf) values(arr arrow.Array, from, to int) error {
	switch a := arr.(type) {
	case *array.String:
		if l.kind == leafDict {
			return l.dict.add(a, from, to)
		}
		return l.texts(a, from, to)
	case *array.Int64:
		l.i64 = append(grow(l.i64, to-from), a.Int64Values()[from:to]...)
	case *array.Timestamp:
		l.i64 = append(grow(l.i64, to-from),
			arrow.Int64Traits.CastFromBytes(arrow.TimestampTraits.CastToBytes(a.TimestampValues()[from:to]))...)
	case *array.Decimal64:
		l.i64 = append(grow(l.i64, to-from),
			arrow.Int64Traits.CastFromBytes(arrow.Decimal64Traits.CastToBytes(a.Values()[from:to]))...)
	case *array.Date32:
		l.i32 = append(grow(l.i32, to-from),
			arrow.Int32Traits.CastFromBytes(arrow.Date32Traits.CastToBytes(a.Date32Values()[from:to]))...)
	case *array.Decimal128:
		for _, v := range a.Values()[from:to] {
			hi, lo := uint64(v.HighBits()), v.LowBits()
			l.data = append(l.data, byte(hi>>56), byte(hi>>48), byte(hi>>40), byte(hi>>32), byte(hi>>24), byte(hi>>16),
				byte(hi>>8), byte(hi),
				byte(lo>>56), byte(lo>>48), byte(lo>>40), byte(lo>>32), byte(lo>>24), byte(lo>>16), byte(lo>>8), byte(lo))
		}
	default:
		return fmt.Errorf("no way to copy %s", arr.DataType())
	}
	return nil
}

// texts copies texts that are all there.
func (l *leaf) texts(a *array.String, from, to int) error {
	base := int64(len(l.data))
	// A batch may be a slice of another: its offsets count from the start of that one's bytes, and ValueBytes begins at
	// its own first. base and start bring both to where the texts stand in l.data.
	offsets := a.ValueOffsets()[from : to+1]
	start, end := int64(offsets[0]), int64(offsets[to-from])
	l.ends = grow(l.ends, to-from)
	for _, at := range offsets[1:] {
		l.ends = append(l.ends, base+int64(at)-start)
	}
	first := int64(a.ValueOffset(0))
	l.data = append(l.data, a.ValueBytes()[start-first:end-first]...)
	// Readers refuse a file with a text that isn't UTF-8, as a whole. Together the texts can be right where each alone
	// is wrong, but not if each also begins with a first byte.
	added := l.data[base:]
	if !utf8.Valid(added) {
		return errText
	}
	// Where each of the new texts begins: the end of the one before it. An empty one at the end of all begins behind them.
	for _, at := range l.ends[len(l.ends)-1-(to-from) : len(l.ends)-1] {
		if at < int64(len(l.data)) && !utf8.RuneStart(l.data[at]) {
			return errText
		}
	}
	return nil
}

// present counts n values that are there.
func (l *leaf) present(n int) {
	if len(l.def) > 0 {
		l.def = grow(l.def, n)
		for range n {
			l.def = append(l.def, l.maxDef)
		}
	}
	l.levels += n
}

// missing counts n values that aren't there, because of what stands at level def.
func (l *leaf) missing(def int16, n int) {
	// The first one that is missing writes out the levels of all before it.
	l.def = grow(l.def, l.levels+n-len(l.def))
	for len(l.def) < l.levels { // so far all were there
		l.def = append(l.def, l.maxDef)
	}
	for range n {
		l.def = append(l.def, def)
	}
	l.levels += n
	l.nulls += n
	if l.kind == leafDict {
		l.dict.missing(n)
	}
}

// definition returns the definition levels of l; of a column that can't be NULL nil. They are not to be changed.
func (t *tableWriter) definition(l *leaf) []int16 {
	switch {
	case l.maxDef == 0:
		return nil
	case len(l.def) > 0 || l.maxDef != 1:
		for len(l.def) < l.levels {
			l.def = append(l.def, l.maxDef)
		}
		return l.def
	}
	// Most columns have all their values: they share the levels.
	for len(t.present) < l.levels {
		t.present = append(t.present, 1)
	}
	return t.present[:l.levels]
}

// grow makes room for n more: as much again as there is, up to a row group. By append alone a column would be copied
// five times over until it is as long.
func grow[T any](s []T, n int) []T {
	if cap(s)-len(s) >= n {
		return s
	}
	return slices.Grow(s, max(n, min(len(s), schemas.MaxRowGroup-len(s))))
}
