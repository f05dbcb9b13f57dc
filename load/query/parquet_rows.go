package query

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"os"
	"strconv"
	"time"
	"unsafe"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load/publish"
)

// parquetFile is an answer that DuckDB wrote as Parquet, a row a line and without lists or structs. Read here, it costs
// a tenth of what it does through the driver, which makes an object of each value.
type parquetFile struct {
	*file.Reader
	columns []parquetColumn
}

// parquetColumn is a column of a row group as it is read: some values at a time are made texts.
type parquetColumn struct {
	render   func(c *parquetColumn) error // the next values
	chunk    file.ColumnChunkReader
	scale    int // of a decimal
	optional bool

	values []Value
	next   int // of values
	levels []int16
	texts  []parquet.ByteArray
	fixed  []parquet.FixedLenByteArray
	longs  []int64
	ints   []int32
	digits []byte
	last   int64  // the number before
	number string // its text; "" if there is none
}

// parquetBatch is how many values of a column are read at once.
const parquetBatch = 1024

// openParquet reads a file that copyTo wrote.
func openParquet(path string) (_ *Rows, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
		}
	}()
	r, err := file.NewParquetReader(f)
	if err != nil {
		return nil, err
	}
	p := &parquetFile{Reader: r}
	rows := &Rows{parquet: p}
	s := r.MetaData().Schema
	for i := range s.NumColumns() {
		at := s.Column(i)
		c := parquetColumn{optional: at.MaxDefinitionLevel() > 0, levels: make([]int16, parquetBatch),
			values: make([]Value, 0, parquetBatch)}
		column := ResultColumn{Name: at.Name(), Numeric: true}
		switch logical := at.LogicalType().(type) {
		case schema.StringLogicalType:
			column.Numeric, c.render, c.texts = false, (*parquetColumn).text, make([]parquet.ByteArray, parquetBatch)
		case schema.TimestampLogicalType:
			column.Numeric, c.render, c.longs = false, (*parquetColumn).instant, make([]int64, parquetBatch)
			if logical.TimeUnit() != schema.TimeUnitMicros || !logical.IsAdjustedToUTC() {
				return nil, fmt.Errorf("column %s is %s", at.Name(), logical)
			}
		case schema.DecimalLogicalType:
			c.scale = int(logical.Scale())
			c.numeric(at.PhysicalType())
		case schema.IntLogicalType:
			c.numeric(at.PhysicalType())
		default:
			return nil, fmt.Errorf("column %s is %s", at.Name(), at.LogicalType())
		}
		p.columns, rows.Columns = append(p.columns, c), append(rows.Columns, column)
	}
	return rows, nil
}

// numeric has the column's numbers read as they are stored.
func (c *parquetColumn) numeric(stored parquet.Type) {
	switch stored {
	case parquet.Types.Int32:
		c.render, c.ints = (*parquetColumn).int, make([]int32, parquetBatch)
	case parquet.Types.Int64:
		c.render, c.longs = (*parquetColumn).long, make([]int64, parquetBatch)
	default:
		c.render, c.fixed = (*parquetColumn).wide, make([]parquet.FixedLenByteArray, parquetBatch)
	}
}

// all reads the rows in order, as Rows.All has them.
func (p *parquetFile) all(ctx context.Context) iter.Seq2[[]Value, error] {
	return func(yield func([]Value, error) bool) {
		row := make([]Value, len(p.columns))
		for g := range p.NumRowGroups() {
			group := p.RowGroup(g)
			for i := range p.columns {
				c := &p.columns[i]
				var err error
				if c.chunk, err = group.Column(i); err != nil {
					yield(nil, err)
					return
				}
				c.values, c.next = c.values[:0], 0
			}
			for range group.NumRows() {
				for i := range p.columns {
					c := &p.columns[i]
					if c.next == len(c.values) {
						if err := c.more(); err != nil {
							yield(nil, fmt.Errorf("column %d: %w", i, err))
							return
						}
					}
					row[i] = c.values[c.next]
					c.next++
				}
				if err := ctx.Err(); err != nil {
					yield(nil, err)
					return
				}
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// more reads the next values of the column.
func (c *parquetColumn) more() error {
	c.values, c.next = c.values[:0], 0
	if err := c.render(c); err != nil {
		return err
	}
	if len(c.values) == 0 {
		return errors.New("rows are missing")
	}
	return nil
}

// each makes values of so many levels that were read; text is that of the value at a place among those that aren't
// NULL.
func (c *parquetColumn) each(levels int64, text func(i int) string) {
	at := 0
	for i := range levels {
		if c.optional && c.levels[i] == 0 {
			c.values = append(c.values, Value{Null: true})
			continue
		}
		c.values = append(c.values, Value{Text: text(at)})
		at++
	}
}

func (c *parquetColumn) text() error {
	n, _, err := c.chunk.(*file.ByteArrayColumnChunkReader).ReadBatchInPage(parquetBatch, c.texts, c.levels, nil)
	last, at := "", parquet.ByteArray(nil)
	c.each(n, func(i int) string {
		// Most texts are that of the row before: those of a dictionary lie where it does.
		text := c.texts[i]
		if (len(text) != len(at) || unsafe.SliceData(text) != unsafe.SliceData(at)) && string(text) != last {
			last = string(text)
		}
		at = text
		return last
	})
	return err
}

func (c *parquetColumn) instant() error {
	n, _, err := c.chunk.(*file.Int64ColumnChunkReader).ReadBatch(parquetBatch, c.longs, c.levels, nil)
	last, at := "", int64(0)
	c.each(n, func(i int) string {
		if last == "" || c.longs[i] != at {
			at = c.longs[i]
			last = timeText(duckdb.TYPE_TIMESTAMP_TZ, time.UnixMicro(at))
		}
		return last
	})
	return err
}

func (c *parquetColumn) long() error {
	n, _, err := c.chunk.(*file.Int64ColumnChunkReader).ReadBatch(parquetBatch, c.longs, c.levels, nil)
	c.each(n, func(i int) string { return c.fixedPoint(c.longs[i]) })
	return err
}

func (c *parquetColumn) int() error {
	n, _, err := c.chunk.(*file.Int32ColumnChunkReader).ReadBatch(parquetBatch, c.ints, c.levels, nil)
	c.each(n, func(i int) string { return c.fixedPoint(int64(c.ints[i])) })
	return err
}

// wide are decimals of more than 18 digits: whole numbers in two's complement, the highest byte first.
func (c *parquetColumn) wide() error {
	n, _, err := c.chunk.(*file.FixedLenByteArrayColumnChunkReader).ReadBatch(parquetBatch, c.fixed, c.levels, nil)
	c.each(n, func(i int) string {
		b := c.fixed[i]
		high, low := b[:len(b)-8], b[len(b)-8:]
		v := int64(binary.BigEndian.Uint64(low))
		for _, h := range high {
			if h != byte(v>>63) {
				return c.big(b)
			}
		}
		return c.fixedPoint(v)
	})
	return err
}

// big is a decimal that 64 bits don't hold.
func (c *parquetColumn) big(b []byte) string {
	v := new(big.Int).SetBytes(b)
	if b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(len(b)*8)))
	}
	return publish.DecimalText(duckdb.Decimal{Width: 38, Scale: uint8(c.scale), Value: v})
}

// fixedPoint is v units of the column's last decimal. Many are those of the row before: prices, discounts, nothing.
func (c *parquetColumn) fixedPoint(v int64) string {
	if c.number != "" && v == c.last {
		return c.number
	}
	c.last = v
	var digits [24]byte
	b := strconv.AppendInt(digits[:0], v, 10)
	if c.scale == 0 {
		c.number = string(b)
		return c.number
	}
	c.digits = c.digits[:0]
	if v < 0 {
		c.digits, b = append(c.digits, '-'), b[1:]
	}
	// One digit stands before the point at least.
	whole := max(len(b)-c.scale, 0)
	if whole == 0 {
		c.digits = append(c.digits, '0')
	}
	c.digits = append(append(c.digits, b[:whole]...), '.')
	for range c.scale - len(b) {
		c.digits = append(c.digits, '0')
	}
	c.number = string(append(c.digits, b[whole:]...))
	return c.number
}
