package deliver

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/iceberg-go"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// boundColumns are those whose least and greatest value the table has for each file: what people filter by.
var boundColumns = []string{"request_time", "record_kind", "token_id", "user_id", "custom_user_id", "model",
	"model_type", "channel_id", "amount", "currency"}

// boundLength is how many characters of a text a bound has.
const boundLength = 16

// fileStats are what the table says of a file's columns, by field id: how many values there are, NULLs among them, and
// bounds in the form of the spec ("Binary single-value serialization").
type fileStats struct {
	values, nulls map[int]int64
	lower, upper  map[int][]byte
}

// statsOf are those of a day file: of its account and day always, of the other columns by the footer of the lake's own
// file, if that is still the one that was delivered.
func statsOf(lake *load.Lake, f File, was look, schema *iceberg.Schema) (fileStats, error) {
	day, err := schemas.ParseDate(f.Date)
	if err != nil {
		return fileStats{}, err
	}
	s := fileStats{map[int]int64{}, map[int]int64{}, map[int][]byte{}, map[int][]byte{}}
	for name, v := range map[string][]byte{"account": []byte(f.Account),
		"usage_date": binary.LittleEndian.AppendUint32(nil, uint32(day))} {
		field, _ := schema.FindFieldByName(name)
		s.values[field.ID], s.nulls[field.ID] = rowsOf(f), 0
		s.lower[field.ID], s.upper[field.ID] = v, v
	}
	open, err := lake.FS.Open(lake.Path(f.Path))
	if err != nil { // it went away since it was delivered: readers skip less
		return s, nil
	}
	defer open.Close()
	info, err := open.Stat()
	if err != nil || (look{info.Size(), info.ModTime().UTC()}) != was || was.Size != f.Bytes {
		return s, nil
	}
	s.footer(open, rowsOf(f), schema)
	return s, nil
}

// footer adds what a file's footer says. Of one that can't be read it adds nothing.
func (s fileStats) footer(open parquet.ReaderAtSeeker, rows int64, schema *iceberg.Schema) {
	defer func() { _ = recover() }() // what the decoder makes of damaged bytes
	r, err := file.NewParquetReader(open)
	if err != nil || r.NumRows() != rows {
		return
	}
	for i := range r.MetaData().Schema.NumColumns() {
		column := r.MetaData().Schema.Column(i)
		field, ok := schema.FindFieldByName(column.Path())
		if !ok || column.MaxRepetitionLevel() > 0 || s.values[field.ID] > 0 {
			continue
		}
		s.column(r.MetaData(), i, field, rows)
	}
}

// column adds what the footer says of a column over all row groups, where each of them says it.
func (s fileStats) column(md *metadata.FileMetaData, i int, field iceberg.NestedField, rows int64) {
	var least, greatest []byte
	nulls, bounded := int64(0), slices.Contains(boundColumns, field.Name)
	for n := range md.NumRowGroups() {
		chunk, err := md.RowGroup(n).ColumnChunk(i)
		if err != nil {
			return
		}
		stats, err := chunk.Statistics()
		if err != nil || stats == nil || !stats.HasNullCount() {
			return
		}
		nulls += stats.NullCount()
		if stats.NullCount() == md.RowGroup(n).NumRows() {
			continue
		}
		if !stats.HasMinMax() {
			bounded = false
			continue
		}
		lo, hi := stats.EncodeMin(), stats.EncodeMax()
		if least == nil || compareValues(chunk.Type(), lo, least) < 0 {
			least = lo
		}
		if greatest == nil || compareValues(chunk.Type(), hi, greatest) > 0 {
			greatest = hi
		}
	}
	s.values[field.ID], s.nulls[field.ID] = rows, nulls
	if !bounded || least == nil {
		return
	}
	if lo, hi, ok := boundsOf(field.Type, least, greatest); ok {
		s.lower[field.ID] = lo
		if hi != nil {
			s.upper[field.ID] = hi
		}
	}
}

// compareValues compares two values as Parquet's statistics have them.
func compareValues(t parquet.Type, a, b []byte) int {
	switch t {
	case parquet.Types.Int64:
		return cmp.Compare(int64(binary.LittleEndian.Uint64(a)), int64(binary.LittleEndian.Uint64(b)))
	case parquet.Types.Int32:
		return cmp.Compare(int32(binary.LittleEndian.Uint32(a)), int32(binary.LittleEndian.Uint32(b)))
	}
	return bytes.Compare(a, b)
}

// boundsOf makes bounds of a column's least and greatest value. hi is nil where no text of that length is greater.
func boundsOf(t iceberg.Type, least, greatest []byte) (lo, hi []byte, ok bool) {
	switch t.(type) {
	case iceberg.StringType:
		if !utf8.Valid(least) || !utf8.Valid(greatest) {
			return nil, nil, false
		}
		return []byte(string(firstRunes(least))), upperText(greatest), true
	case iceberg.Int64Type, iceberg.TimestampTzType:
		return least, greatest, len(least) == 8 && len(greatest) == 8
	case iceberg.DecimalType: // day files have decimals as INT64
		if len(least) != 8 || len(greatest) != 8 {
			return nil, nil, false
		}
		return decimalBytes(least), decimalBytes(greatest), true
	}
	return nil, nil, false
}

// decimalBytes is an unscaled decimal as two's complement, big-endian, of the fewest bytes.
func decimalBytes(littleEndian []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, binary.LittleEndian.Uint64(littleEndian))
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:]
	}
	return b
}

// firstRunes are the first characters of a text, up to boundLength.
func firstRunes(b []byte) []rune {
	r := []rune(string(b))
	return r[:min(len(r), boundLength)]
}

// upperText is a text that is no less than any that begins like b: b itself, if it is short, or else its beginning with
// the last character that can be raised raised.
func upperText(b []byte) []byte {
	r := firstRunes(b)
	if len(string(r)) == len(b) {
		return slices.Clone(b)
	}
	for i := len(r) - 1; i >= 0; i-- {
		switch {
		case r[i] == utf8.MaxRune:
			continue
		case r[i] == 0xd7ff: // the surrogates are no characters
			r[i] = 0xe000
		default:
			r[i]++
		}
		return []byte(string(r[:i+1]))
	}
	return nil
}
