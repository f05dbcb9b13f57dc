package query

import (
	"database/sql/driver"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load/publish"
)

// plainTypes are DuckDB's names of the types that have no parameters.
var plainTypes = map[duckdb.Type]string{
	duckdb.TYPE_BOOLEAN: "BOOLEAN", duckdb.TYPE_TINYINT: "TINYINT", duckdb.TYPE_SMALLINT: "SMALLINT",
	duckdb.TYPE_INTEGER: "INTEGER",
	duckdb.TYPE_BIGINT:  "BIGINT", duckdb.TYPE_UTINYINT: "UTINYINT", duckdb.TYPE_USMALLINT: "USMALLINT",
	duckdb.TYPE_UINTEGER: "UINTEGER",
	duckdb.TYPE_UBIGINT:  "UBIGINT", duckdb.TYPE_FLOAT: "FLOAT", duckdb.TYPE_DOUBLE: "DOUBLE",
	duckdb.TYPE_TIMESTAMP: "TIMESTAMP",
	duckdb.TYPE_DATE:      "DATE", duckdb.TYPE_TIME: "TIME", duckdb.TYPE_INTERVAL: "INTERVAL",
	duckdb.TYPE_HUGEINT:  "HUGEINT",
	duckdb.TYPE_UHUGEINT: "UHUGEINT", duckdb.TYPE_VARCHAR: "VARCHAR", duckdb.TYPE_BLOB: "BLOB",
	duckdb.TYPE_TIMESTAMP_S:  "TIMESTAMP_S",
	duckdb.TYPE_TIMESTAMP_MS: "TIMESTAMP_MS", duckdb.TYPE_TIMESTAMP_NS: "TIMESTAMP_NS", duckdb.TYPE_UUID: "UUID",
	duckdb.TYPE_BIT:     "BIT",
	duckdb.TYPE_TIME_TZ: "TIME WITH TIME ZONE", duckdb.TYPE_TIMESTAMP_TZ: "TIMESTAMP WITH TIME ZONE",
	duckdb.TYPE_SQLNULL: "NULL",
	duckdb.TYPE_BIGNUM:  "BIGNUM", duckdb.TYPE_ENUM: "ENUM",
}

// typeName is DuckDB's name of a type. With text, JSON is named as the VARCHAR it is stored as.
func typeName(t duckdb.TypeInfo, text bool) string {
	if a := t.Alias(); a != "" && !(text && a == jsonAlias) {
		return a
	}
	switch d := t.Details().(type) {
	case *duckdb.DecimalDetails:
		return fmt.Sprintf("DECIMAL(%d,%d)", d.Width, d.Scale)
	case *duckdb.EnumDetails:
		if text {
			names := make([]string, len(d.Values))
			for i, v := range d.Values {
				names[i] = "'" + strings.ReplaceAll(v, "'", "''") + "'"
			}
			return "ENUM(" + strings.Join(names, ", ") + ")"
		}
	case *duckdb.ListDetails:
		return typeName(d.Child, text) + "[]"
	case *duckdb.ArrayDetails:
		return fmt.Sprintf("%s[%d]", typeName(d.Child, text), d.Size)
	case *duckdb.MapDetails:
		return fmt.Sprintf("MAP(%s, %s)", typeName(d.Key, text), typeName(d.Value, text))
	case *duckdb.StructDetails:
		fields := make([]string, len(d.Entries))
		for i, e := range d.Entries {
			fields[i] = `"` + strings.ReplaceAll(e.Name(), `"`, `""`) + `" ` + typeName(e.Info(), text)
		}
		return "STRUCT(" + strings.Join(fields, ", ") + ")"
	case *duckdb.UnionDetails:
		members := make([]string, len(d.Members))
		for i, m := range d.Members {
			members[i] = `"` + strings.ReplaceAll(m.Name, `"`, `""`) + `" ` + typeName(m.Type, text)
		}
		return "UNION(" + strings.Join(members, ", ") + ")"
	}
	if name, ok := plainTypes[t.InternalType()]; ok {
		return name
	}
	return fmt.Sprintf("type %d", t.InternalType())
}

const jsonAlias = "JSON"

// hasJSON reports whether a type is JSON or holds it.
func hasJSON(t duckdb.TypeInfo) bool {
	if t.Alias() == jsonAlias {
		return true
	}
	switch d := t.Details().(type) {
	case *duckdb.ListDetails:
		return hasJSON(d.Child)
	case *duckdb.ArrayDetails:
		return hasJSON(d.Child)
	case *duckdb.MapDetails:
		return hasJSON(d.Key) || hasJSON(d.Value)
	case *duckdb.StructDetails:
		for _, e := range d.Entries {
			if hasJSON(e.Info()) {
				return true
			}
		}
	case *duckdb.UnionDetails:
		for _, m := range d.Members {
			if hasJSON(m.Type) {
				return true
			}
		}
	}
	return false
}

func numeric(t duckdb.TypeInfo) bool {
	switch t.InternalType() {
	case duckdb.TYPE_TINYINT, duckdb.TYPE_SMALLINT, duckdb.TYPE_INTEGER, duckdb.TYPE_BIGINT, duckdb.TYPE_UTINYINT,
		duckdb.TYPE_USMALLINT,
		duckdb.TYPE_UINTEGER, duckdb.TYPE_UBIGINT, duckdb.TYPE_FLOAT, duckdb.TYPE_DOUBLE, duckdb.TYPE_HUGEINT,
		duckdb.TYPE_UHUGEINT,
		duckdb.TYPE_BIGNUM, duckdb.TYPE_DECIMAL:
		return true
	}
	return false
}

// render makes the exact text of a value as the driver gives it. With quoted, JSON has decimals as strings.
func render(t duckdb.TypeInfo, v driver.Value, quoted bool) (Value, error) {
	if v == nil {
		return Value{Null: true}, nil
	}
	if t.Alias() == jsonAlias {
		if s, ok := v.(string); ok {
			return Value{Text: s, Bare: true}, nil
		}
	}
	switch v := v.(type) {
	case string:
		return Value{Text: v}, nil
	case bool:
		return Value{Text: strconv.FormatBool(v), Bare: true}, nil
	case int8:
		return number(strconv.FormatInt(int64(v), 10)), nil
	case int16:
		return number(strconv.FormatInt(int64(v), 10)), nil
	case int32:
		return number(strconv.FormatInt(int64(v), 10)), nil
	case int64:
		return number(strconv.FormatInt(v, 10)), nil
	case uint8:
		return number(strconv.FormatUint(uint64(v), 10)), nil
	case uint16:
		return number(strconv.FormatUint(uint64(v), 10)), nil
	case uint32:
		return number(strconv.FormatUint(uint64(v), 10)), nil
	case uint64:
		return number(strconv.FormatUint(v, 10)), nil
	case *big.Int:
		return number(v.String()), nil
	case float32:
		return float(float64(v), 32), nil
	case float64:
		return float(v, 64), nil
	case duckdb.Decimal:
		return Value{Text: publish.DecimalText(v), Bare: !quoted}, nil
	case time.Time:
		return Value{Text: timeText(t.InternalType(), v)}, nil
	case duckdb.Interval:
		return Value{Text: intervalText(v)}, nil
	// The driver gives a UUID as its 16 bytes.
	case []byte:
		if t.InternalType() == duckdb.TYPE_UUID && len(v) == 16 {
			u := duckdb.UUID(v)
			return Value{Text: u.String()}, nil
		}
		return Value{Text: blobText(v)}, nil
	}
	switch d := t.Details().(type) {
	case *duckdb.UnionDetails:
		if u, ok := v.(duckdb.Union); ok {
			for _, m := range d.Members {
				if m.Name == u.Tag {
					return render(m.Type, u.Value, quoted)
				}
			}
		}
	case *duckdb.ListDetails:
		if list, ok := v.([]any); ok {
			return renderList(d.Child, list, quoted)
		}
	case *duckdb.ArrayDetails:
		if list, ok := v.([]any); ok {
			return renderList(d.Child, list, quoted)
		}
	case *duckdb.StructDetails:
		if m, ok := v.(map[string]any); ok {
			b := []byte{'{'}
			for i, e := range d.Entries {
				f, err := render(e.Info(), m[e.Name()], quoted)
				if err != nil {
					return Value{}, err
				}
				if i > 0 {
					b = append(b, ',')
				}
				b = append(appendJSONString(b, e.Name()), ':')
				b = f.appendJSON(b)
			}
			return Value{Text: string(append(b, '}')), Bare: true}, nil
		}
	case *duckdb.MapDetails:
		if m, ok := v.(duckdb.OrderedMap); ok {
			b := []byte{'{'}
			values := m.Values()
			for i, k := range m.Keys() {
				key, err := render(d.Key, k, quoted)
				if err != nil {
					return Value{}, err
				}
				value, err := render(d.Value, values[i], quoted)
				if err != nil {
					return Value{}, err
				}
				if i > 0 {
					b = append(b, ',')
				}
				b = append(appendJSONString(b, key.Text), ':')
				b = value.appendJSON(b)
			}
			return Value{Text: string(append(b, '}')), Bare: true}, nil
		}
	}
	return Value{}, fmt.Errorf("a value of type %s can't be shown: cast it to VARCHAR in the query", typeName(t, false))
}

func renderList(t duckdb.TypeInfo, list []any, quoted bool) (Value, error) {
	b := []byte{'['}
	for i, e := range list {
		v, err := render(t, e, quoted)
		if err != nil {
			return Value{}, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = v.appendJSON(b)
	}
	return Value{Text: string(append(b, ']')), Bare: true}, nil
}

func number(text string) Value { return Value{Text: text, Bare: true} }

func float(f float64, bits int) Value {
	// The fewest digits that read back as the same number. JSON has no words for what is no number.
	text := strconv.FormatFloat(f, 'g', -1, bits)
	return Value{Text: text, Bare: !math.IsNaN(f) && !math.IsInf(f, 0)}
}

func timeText(t duckdb.Type, v time.Time) string {
	switch t {
	case duckdb.TYPE_DATE:
		return v.Format(time.DateOnly)
	// Zeros at the end of a fraction are left out, and so is a fraction of none.
	case duckdb.TYPE_TIME:
		return v.Format("15:04:05.999999")
	case duckdb.TYPE_TIME_TZ:
		return v.Format("15:04:05.999999Z07:00")
	case duckdb.TYPE_TIMESTAMP_TZ:
		return v.UTC().Format("2006-01-02T15:04:05.999999Z")
	}
	return v.Format("2006-01-02T15:04:05.999999999")
}

// intervalText is what DuckDB writes: 1 year 2 months 3 days 04:05:06.7.
func intervalText(v duckdb.Interval) string {
	var parts []string
	add := func(n int64, unit string) {
		if n != 0 {
			if n != 1 && n != -1 {
				unit += "s"
			}
			parts = append(parts, fmt.Sprintf("%d %s", n, unit))
		}
	}
	add(int64(v.Months)/12, "year")
	add(int64(v.Months)%12, "month")
	add(int64(v.Days), "day")
	if us := v.Micros; us != 0 || len(parts) == 0 {
		sign := ""
		if us < 0 {
			sign, us = "-", -us
		}
		s := fmt.Sprintf("%s%02d:%02d:%02d", sign, us/3_600_000_000, us/60_000_000%60, us/1_000_000%60)
		if frac := us % 1_000_000; frac != 0 {
			s += strings.TrimRight(fmt.Sprintf(".%06d", frac), "0")
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

// blobText is what DuckDB writes: printable ASCII as it is, the rest as \x0A.
func blobText(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c >= 0x20 && c < 0x7f && c != '\\' && c != '\'' && c != '"' {
			s.WriteByte(c)
		} else {
			fmt.Fprintf(&s, `\x%02X`, c)
		}
	}
	return s.String()
}
