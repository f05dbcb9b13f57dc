package load

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// rowMaker fills usage batches column by column; what isn't set is NULL, or of a required column a fixed value.
type rowMaker struct {
	b   *array.RecordBuilder
	set [schemas.ColRunID + 1]bool
}

func newRowMaker(mem memory.Allocator) *rowMaker {
	return &rowMaker{b: array.NewRecordBuilder(mem, schemas.UsageSchema())}
}

func (m *rowMaker) str(i int, s string) {
	m.set[i] = true
	m.b.Field(i).(*array.StringBuilder).Append(s)
}

func (m *rowMaker) num(i int, v int64) {
	m.set[i] = true
	switch b := m.b.Field(i).(type) {
	case *array.Int64Builder:
		b.Append(v)
	case *array.Decimal64Builder:
		b.Append(decimal.Decimal64(v))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v))
	case *array.Date32Builder:
		b.Append(arrow.Date32(v))
	}
}

// item is a member of ext_items; nil pointers are NULL.
type item struct {
	text    [3]*string
	decimal [3]*int64
}

// items sets ext_items; a nil item is a NULL in the list.
func (m *rowMaker) items(items []*item) {
	m.set[schemas.ColExtItems] = true
	list := m.b.Field(schemas.ColExtItems).(*array.ListBuilder)
	list.Append(true)
	st := list.ValueBuilder().(*array.StructBuilder)
	for _, it := range items {
		if it == nil {
			st.AppendNull()
			continue
		}
		st.Append(true)
		for i, s := range it.text {
			if s == nil {
				st.FieldBuilder(i).AppendNull()
			} else {
				st.FieldBuilder(i).(*array.StringBuilder).Append(*s)
			}
		}
		for i, d := range it.decimal {
			if d == nil {
				st.FieldBuilder(3 + i).AppendNull()
			} else {
				st.FieldBuilder(3 + i).(*array.Decimal64Builder).Append(decimal.Decimal64(*d))
			}
		}
	}
}

// end ends the row.
func (m *rowMaker) end() {
	for i, c := range schemas.UsageColumns() {
		switch {
		case m.set[i]:
		case c.Nullable:
			m.b.Field(i).AppendNull()
		case arrow.TypeEqual(c.Type, arrow.BinaryTypes.String):
			m.str(i, c.Name)
		default:
			m.num(i, int64(schemastest.Day.Date))
		}
		m.set[i] = false
	}
}

func (m *rowMaker) batch(t testing.TB) arrow.RecordBatch {
	rec := m.b.NewRecordBatch()
	t.Cleanup(rec.Release)
	return rec
}
