package report

import (
	"errors"
	"fmt"
	"io"
	"math/big"
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

// Parquet writes the table, as Document.Parquet does. A column of an answer that is no report has its own type; one of
// which Parquet can't hold some value, such as a day before our time, is text.
func (t *Table) Parquet(w io.Writer) error {
	fields, columns := make([]arrow.Field, len(t.Columns)), make([]arrow.Array, len(t.Columns))
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, c := range t.Columns {
		kind := c.Kind.arrowType()
		if t.types != nil {
			kind = arrowTypeOf(t.types[i], kind)
		}
		var err error
		if columns[i], err = t.array(i, kind); err != nil && t.types != nil {
			kind = arrow.BinaryTypes.String
			columns[i], err = t.array(i, kind)
		}
		if err != nil {
			return fmt.Errorf("%s: column %s: %w", t.Name, c.Name, err)
		}
		fields[i] = arrow.Field{Name: c.Name, Type: kind, Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	// All rows are one batch: a document is in memory as it is.
	batch := array.NewRecordBatch(schema, columns, int64(len(t.Rows)))
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

// arrowTypeOf is the type in Parquet of a column of an answer, by DuckDB's; of one that isn't here that of its kind.
func arrowTypeOf(name string, kind arrow.DataType) arrow.DataType {
	var digits, scale int32
	switch name {
	case "DOUBLE", "FLOAT":
		return arrow.PrimitiveTypes.Float64
	case "TIMESTAMP_NS":
		return &arrow.TimestampType{Unit: arrow.Nanosecond} // with a zone DuckDB would cut it to microseconds
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER":
		return arrow.PrimitiveTypes.Int64
	case "HUGEINT", "UBIGINT", "UHUGEINT":
		return &arrow.Decimal128Type{Precision: 38}
	}
	if n, err := fmt.Sscanf(name, "DECIMAL(%d,%d)", &digits, &scale); n == 2 && err == nil {
		return &arrow.Decimal128Type{Precision: digits, Scale: scale}
	}
	return kind
}

// arrowType is the type of a report's column in Parquet.
func (k Kind) arrowType() arrow.DataType {
	switch k {
	case Count:
		return arrow.PrimitiveTypes.Int64
	case Money, Posted, UnitCost, Quantity, Share, Whole:
		return &arrow.Decimal128Type{Precision: 38, Scale: schemas.DecimalScale}
	case Day, Month:
		return arrow.FixedWidthTypes.Date32
	case Instant, Second:
		return arrow.FixedWidthTypes.Timestamp_us
	case Flag:
		return arrow.FixedWidthTypes.Boolean
	}
	return arrow.BinaryTypes.String
}

// array is a column of the table as a type has it, which Release lets go of.
func (t *Table) array(column int, kind arrow.DataType) (arrow.Array, error) {
	b := array.NewBuilder(memory.DefaultAllocator, kind)
	defer b.Release()
	for _, row := range t.Rows {
		v := row[column]
		if v.Null {
			b.AppendNull()
			continue
		}
		var err error
		switch b := b.(type) {
		case *array.StringBuilder:
			b.Append(strings.ToValidUTF8(v.Text, "\ufffd"))
		case *array.Int64Builder:
			err = b.AppendValueFromString(v.Text)
		case *array.Float64Builder:
			err = b.AppendValueFromString(v.Text)
		case *array.Decimal128Builder:
			if t.types != nil {
				err = appendDecimal(b, v.Text, kind.(*arrow.Decimal128Type))
				break
			}
			n, errMoney := schemas.ParseMoney(v.Text)
			if err = errMoney; err == nil {
				b.Append(decimal128.FromBigInt(n.Units())) // units of 10⁻¹², as the type's scale has them
			}
		case *array.Date32Builder:
			d, errDate := schemas.ParseDate(v.Text)
			err = errDate
			b.Append(arrow.Date32(d))
		case *array.TimestampBuilder:
			at, errTime := parseTime(v.Text)
			err = errTime
			if kind.(*arrow.TimestampType).Unit == arrow.Nanosecond {
				b.Append(arrow.Timestamp(at.UnixNano()))
			} else {
				b.Append(arrow.Timestamp(at.UnixMicro()))
			}
		case *array.BooleanBuilder:
			b.Append(v.Text == "true")
		}
		if err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}

// appendDecimal appends the number with all its digits; it is an error if the type has fewer.
func appendDecimal(b *array.Decimal128Builder, text string, kind *arrow.Decimal128Type) error {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return fmt.Errorf("%q is no number", text)
	}
	units := r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(kind.Scale)), nil)))
	if !units.IsInt() || len(new(big.Int).Abs(units.Num()).String()) > int(kind.Precision) {
		return fmt.Errorf("%s doesn't fit %s", text, kind)
	}
	b.Append(decimal128.FromBigInt(units.Num()))
	return nil
}
