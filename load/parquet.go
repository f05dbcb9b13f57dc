package load

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/usagelake/usagelake/load/page"
)

// parquetFile puts a Parquet file together of arrow-go's parts: headers of pages, page index and footer are all its. It
// is arrow-go's own file.Writer but for one thing, that a page may be handed to it that load/page has encoded:
//
//	chunk ──▶ writer    arrow-go's column writer: values of any kind, over as many pages as they take
//	      └─▶ one       a page that is encoded already, and its dictionary
//
// It is of no use after an error.
type parquetFile struct {
	out    *tell
	props  *parquet.WriterProperties
	schema *schema.Schema
	meta   *metadata.FileMetaDataBuilder
	index  *metadata.PageIndexBuilder // nil if it has none
	groups int16
	pages  file.PageWriter // of every chunk, one after the other

	// Scratch of one: a page before and after it is compressed.
	plain      []byte
	compressed bytes.Buffer
}

// parquetMagic begins and ends a Parquet file.
const parquetMagic = "PAR1"

// tell counts what is written.
type tell struct {
	io.Writer
	n int64
}

func (t *tell) Write(b []byte) (int, error) {
	n, err := t.Writer.Write(b)
	t.n += int64(n)
	return n, err
}

func (t *tell) Tell() int64 { return t.n }

func newParquetFile(out io.Writer, root *schema.GroupNode, props *parquet.WriterProperties) (*parquetFile, error) {
	s := schema.NewSchema(root)
	f := &parquetFile{out: &tell{Writer: out}, props: props, schema: s,
		meta: metadata.NewFileMetadataBuilder(s, props, nil)}
	if props.PageIndexEnabled() {
		f.index = &metadata.PageIndexBuilder{Schema: s}
	}
	_, err := io.WriteString(f.out, parquetMagic)
	return f, err
}

// rowGroup is a row group that is written, chunk by chunk.
type rowGroup struct {
	f    *parquetFile
	meta *metadata.RowGroupMetaDataBuilder
	next int // index of the next column
}

// chunk is a column's part of a row group.
type chunk struct {
	f    *parquetFile
	meta *metadata.ColumnChunkMetaDataBuilder
	path string
}

func (f *parquetFile) rowGroup() (*rowGroup, error) {
	g := &rowGroup{f: f, meta: f.meta.AppendRowGroup()}
	if f.index == nil {
		return g, nil
	}
	return g, f.index.AppendRowGroup()
}

// chunk begins the next column. The one before it is closed.
func (g *rowGroup) chunk() (chunk, error) {
	f, i := g.f, g.next
	g.next++
	c := chunk{f: f, meta: g.meta.NextColumnChunk()}
	c.path = c.meta.Descr().Path()
	var columnIndex metadata.ColumnIndexBuilder
	var offsetIndex *metadata.OffsetIndexBuilder
	var err error
	if f.index != nil {
		if columnIndex, err = f.index.GetColumnIndexBuilder(i); err != nil {
			return c, err
		}
		if offsetIndex, err = f.index.GetOffsetIndexBuilder(i); err != nil {
			return c, err
		}
	}
	codec, level := f.props.CompressionFor(c.path), f.props.CompressionLevelFor(c.path)
	if f.pages == nil {
		f.pages, err = file.NewPageWriter(f.out, codec, level, c.meta, f.groups, int16(i), memory.DefaultAllocator, false,
			nil, nil)
	} else {
		err = f.pages.Reset(f.out, codec, level, c.meta, f.groups, int16(i), nil, nil)
	}
	if err != nil {
		return c, err
	}
	f.pages.SetIndexBuilders(columnIndex, offsetIndex)
	return c, nil
}

// close ends the row group, which has so many rows.
func (g *rowGroup) close(rows int) error {
	g.meta.SetNumRows(rows)
	err := g.meta.Finish(0, g.f.groups) // it adds up the bytes itself
	g.f.groups++
	return err
}

// writer is arrow-go's writer of the chunk. To close it closes the chunk.
func (c chunk) writer() file.ColumnChunkWriter {
	return file.NewColumnChunkWriter(c.meta, c.f.pages, c.f.props)
}

// body begins a page's body: its levels. Of a column that isn't of a list repetition is nil, of one that can't be NULL
// definition, too.
func (c chunk) body(repetition, definition []int16) []byte {
	b := c.f.plain[:0]
	add := func(levels []int16, most int16) {
		if most == 0 {
			return
		}
		at := len(b)
		b = page.AppendHybrid(append(b, 0, 0, 0, 0), levels, bits.Len16(uint16(most)))
		binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	}
	add(repetition, c.meta.Descr().MaxRepetitionLevel())
	add(definition, c.meta.Descr().MaxDefinitionLevel())
	return b
}

// entries is a dictionary as its page has it.
type entries struct {
	plain []byte
	n     int
}

// one writes the chunk as one page and closes it: body, of so many values, NULLs and empty lists among them. stats have
// seen them. dict is nil if there is none.
func (c chunk) one(body []byte, values int, encoding parquet.Encoding, stats metadata.TypedStatistics,
	dict *entries) error {
	f := c.f
	f.plain = body
	if dict != nil {
		p := file.NewDictionaryPage(memory.NewBufferBytes(dict.plain), int32(dict.n), f.props.DictionaryPageEncoding())
		if _, err := f.pages.WriteDictionaryPage(p); err != nil {
			return err
		}
	}
	encoded, err := stats.Encode()
	if err != nil {
		return err
	}
	encoded.ApplyStatSizeLimits(int(f.props.MaxStatsSizeFor(c.path)))
	encoded.Signed = c.meta.Descr().SortOrder() == schema.SortSIGNED
	f.compressed.Reset()
	data := memory.NewBufferBytes(f.pages.Compress(&f.compressed, body))
	p := file.NewDataPageV1WithConfig(data, parquet.Encodings.RLE, parquet.Encodings.RLE, file.DataPageConfig{
		Num: int32(values), Encoding: encoding, UncompressedSize: int32(len(body)), Stats: encoded})
	defer p.Release()
	if _, err := f.pages.WriteDataPage(p); err != nil {
		return err
	}
	if encoded.IsSet() {
		c.meta.SetStats(encoded)
	}
	return f.pages.Close(dict != nil, false)
}

// statistics are those of the chunk's column, empty.
func (c chunk) statistics() metadata.TypedStatistics {
	return metadata.NewStatistics(c.meta.Descr(), memory.DefaultAllocator)
}

// encoding is that of the chunk's pages where it has no dictionary.
func (c chunk) encoding() parquet.Encoding { return c.f.props.EncodingFor(c.path) }

// close writes page index and footer. What the file is written to stays open.
func (f *parquetFile) close() error {
	if f.index != nil {
		f.index.Finish()
		var where metadata.PageIndexLocation
		if err := f.index.WriteTo(f.out, &where); err != nil {
			return err
		}
		if err := f.meta.SetPageIndexLocation(where); err != nil {
			return err
		}
	}
	footer, err := f.meta.Finish()
	if err != nil {
		return err
	}
	n, err := footer.WriteTo(f.out, nil)
	if err != nil {
		return err
	}
	_, err = f.out.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(n)), parquetMagic...))
	return err
}
