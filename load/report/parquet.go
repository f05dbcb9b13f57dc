package report

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/usagelake/usagelake/schemas"
)

// Parquet writes the document's main table: amounts as DECIMAL(38,12), days as DATE, times in UTC.
func (d *Document) Parquet(w io.Writer) error {
	t := d.data()
	if t == nil {
		return errors.New("the report has no table")
	}
	return t.Parquet(w)
}

// Parquet writes the table, as Document.Parquet does.
func (t *Table) Parquet(w io.Writer) error {
	money := &arrow.Decimal128Type{Precision: 38, Scale: schemas.DecimalScale}
	fields := make([]arrow.Field, len(t.Columns))
	for i, c := range t.Columns {
		fields[i] = arrow.Field{Name: c.Name, Type: arrow.BinaryTypes.String, Nullable: true}
		switch c.Kind {
		case Count:
			fields[i].Type = arrow.PrimitiveTypes.Int64
		case Money, Posted, UnitCost, Quantity, Share, Whole:
			fields[i].Type = money
		case Day, Month:
			fields[i].Type = arrow.FixedWidthTypes.Date32
		case Instant, Second:
			fields[i].Type = arrow.FixedWidthTypes.Timestamp_us
		case Flag:
			fields[i].Type = arrow.FixedWidthTypes.Boolean
		}
	}
	schema := arrow.NewSchema(fields, nil)
	// All rows are one batch: a document is in memory as it is.
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, row := range t.Rows {
		for i, v := range row {
			f := b.Field(i)
			if v.Null {
				f.AppendNull()
				continue
			}
			var err error
			switch f := f.(type) {
			case *array.StringBuilder:
				f.Append(strings.ToValidUTF8(v.Text, "\ufffd"))
			case *array.Int64Builder:
				err = f.AppendValueFromString(v.Text)
			case *array.Decimal128Builder:
				n, errMoney := schemas.ParseMoney(v.Text)
				if err = errMoney; err == nil {
					// Units of 10⁻¹², as the type's scale has them.
					f.Append(decimal128.FromBigInt(n.Units()))
				}
			case *array.Date32Builder:
				d, errDate := schemas.ParseDate(v.Text)
				err = errDate
				f.Append(arrow.Date32(d))
			case *array.TimestampBuilder:
				at, errTime := parseTime(v.Text)
				err = errTime
				f.Append(arrow.Timestamp(at.UnixMicro()))
			case *array.BooleanBuilder:
				f.Append(v.Text == "true")
			}
			if err != nil {
				return fmt.Errorf("%s: column %s: %w", t.Name, t.Columns[i].Name, err)
			}
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	out, err := pqarrow.NewFileWriter(schema, w,
		parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd)), pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	if batch.NumRows() > 0 {
		if err := out.WriteBuffered(batch); err != nil {
			return errors.Join(err, out.Close())
		}
	}
	return out.Close()
}
