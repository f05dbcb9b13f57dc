package load

import (
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// balanceRows makes two batches of a row each: one with everything, exact to the last digit, and one of NULLs.
func balanceRows(t testing.TB) []arrow.RecordBatch {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schemas.BalanceSchema())
	defer b.Release()
	at := schemastest.Day.Date.Start().Add(7 * 3600e9)
	var out []arrow.RecordBatch
	for i, texts := range [][]string{
		{"1234567890123.000000000001", "-0.5", "99999999999999999999999999.999999999999", "0"},
		{"", "", "", ""},
	} {
		b.Field(0).(*array.StringBuilder).Append(schemastest.Day.Account)
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMicro()))
		for j, s := range texts {
			if s == "" {
				b.Field(2 + j).AppendNull()
				continue
			}
			d, err := decimal128.FromString(s, 38, schemas.DecimalScale)
			must(t, err)
			b.Field(2 + j).(*array.Decimal128Builder).Append(d)
		}
		if i == 0 {
			b.Field(6).(*array.StringBuilder).Append("USD")
		} else {
			b.Field(6).AppendNull()
		}
		b.Field(7).AppendNull()
		b.Field(8).(*array.StringBuilder).Append("req")
		b.Field(9).(*array.StringBuilder).Append("run")
		rec := b.NewRecordBatch()
		t.Cleanup(rec.Release)
		out = append(out, rec)
	}
	return out
}

func TestBalanceFileIsExactInDuckDBAndArrow(t *testing.T) {
	l := newTestLake(t, Options{})
	must(t, l.WriteBalance(schemastest.Day, "abc", nil, balanceRows(t)))
	digest, ok, err := l.BalanceDigest(schemastest.Day)
	if digest != "abc" || !ok || err != nil {
		t.Fatalf("BalanceDigest = %q, %v, %v", digest, ok, err)
	}
	db := openDuckDB(t)
	got := duckRows(t, db,
		fmt.Sprintf(`SELECT balance::VARCHAR, coupon_balance::VARCHAR, credit_limit::VARCHAR, total_coupon_amount::VARCHAR,
			currency, extra, typeof(balance) FROM '%s/balance/**/*.parquet'`, l.Dir()))
	want := []string{
		"1234567890123.000000000001|-0.500000000000|99999999999999999999999999.999999999999|0.000000000000|USD|NULL|" +
			"DECIMAL(38,12)",
		"NULL|NULL|NULL|NULL|NULL|NULL|DECIMAL(38,12)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("DuckDB reads\n%v\nwant\n%v", got, want)
	}
	table := readPqarrow(t, l.BalancePath(schemastest.Day))
	var rows []string
	for _, rec := range balanceRows(t) {
		rows = append(rows, rowsOf(rec)...)
	}
	if got := rowsOfTable(table); !slices.Equal(got, rows) {
		t.Errorf("Arrow reads\n%v\nwant\n%v", got, rows)
	}
}
