package deliver

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/usagelake/usagelake/schemas"
)

// sums adds up amounts by currency, exactly. An amount that nobody has stays NULL.
type sums map[string]*[3]*schemas.Money

// noCurrency is the key of records without a currency: none is called so.
const noCurrency = ""

func (s *sums) of(currency string) *[3]*schemas.Money {
	if *s == nil {
		*s = sums{}
	}
	at := (*s)[currency]
	if at == nil {
		at = new([3]*schemas.Money)
		(*s)[currency] = at
	}
	return at
}

func (s *sums) add(list []Sum) {
	for _, sum := range list {
		currency := noCurrency
		if sum.Currency != nil {
			currency = *sum.Currency
		}
		at := s.of(currency)
		for i, text := range []*string{sum.TotalAmount, sum.Discount, sum.Amount} {
			if text == nil {
				continue
			}
			if v, err := schemas.ParseMoney(*text); err == nil {
				addTo(&at[i], v)
			}
		}
	}
}

func addTo(to **schemas.Money, v schemas.Money) {
	if *to != nil {
		v = (*to).Add(v)
	}
	*to = &v
}

// list is the sums in order of currency, those without one first.
func (s sums) list() []Sum {
	var out []Sum
	for currency, at := range s {
		sum := Sum{}
		if currency != noCurrency {
			sum.Currency = &currency
		}
		for i, to := range []**string{&sum.TotalAmount, &sum.Discount, &sum.Amount} {
			if at[i] != nil {
				text := at[i].String()
				*to = &text
			}
		}
		out = append(out, sum)
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	slices.SortFunc(out, func(a, b Sum) int { return strings.Compare(text(a.Currency), text(b.Currency)) })
	return out
}

// summedColumns are the columns of a day file that daySums reads.
var summedColumns = []string{"currency", "total_amount", "discount_amount", "amount"}

// daySums are the amounts of a day file, by currency, and its rows, read from its columns.
func daySums(ctx context.Context, f parquet.ReaderAtSeeker) (rows int64, list []Sum, err error) {
	defer func() {
		if r := recover(); r != nil { // what the decoder makes of damaged bytes
			err = fmt.Errorf("unreadable Parquet: %v", r)
		}
	}()
	r, err := file.NewParquetReader(f)
	if err != nil {
		return 0, nil, err
	}
	rows = r.NumRows()
	reader, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: 64 << 10}, memory.DefaultAllocator)
	if err != nil {
		return 0, nil, err
	}
	var columns []int
	for _, name := range summedColumns {
		i := r.MetaData().Schema.ColumnIndexByName(name)
		if i < 0 {
			return 0, nil, fmt.Errorf("it has no column %s", name)
		}
		columns = append(columns, i)
	}
	batches, err := reader.GetRecordReader(ctx, columns, nil)
	if err != nil {
		return 0, nil, err
	}
	defer batches.Release()
	var total sums
	for batches.Next() {
		if err := total.addBatch(batches.RecordBatch()); err != nil {
			return 0, nil, err
		}
	}
	return rows, total.list(), batches.Err()
}

// addBatch adds the rows of a batch of summedColumns.
func (s *sums) addBatch(batch arrow.RecordBatch) error {
	currency, ok := batch.Column(0).(array.StringLike)
	if !ok {
		return fmt.Errorf("its currency is %s", batch.Column(0).DataType())
	}
	var amounts [3]*array.Decimal128
	for i := range amounts {
		if amounts[i], ok = batch.Column(i + 1).(*array.Decimal128); !ok {
			return fmt.Errorf("its %s is %s", summedColumns[i+1], batch.Column(i+1).DataType())
		}
	}
	// 18 digits each: a batch of 65,536 rows is far below 128 bits, and so is each sum of a currency here.
	type part struct {
		units [3]big.Int
		any   [3]bool
	}
	parts := map[string]*part{}
	var last *part
	var of string
	var unit big.Int
	for row := range int(batch.NumRows()) {
		key := noCurrency
		if currency.IsValid(row) {
			key = currency.Value(row)
		}
		if last == nil || key != of {
			if last, of = parts[key], key; last == nil {
				last = &part{}
				parts[strings.Clone(key)] = last
			}
		}
		for i, column := range amounts {
			if column.IsValid(row) {
				v := column.Value(row)
				unit.SetInt64(int64(v.LowBits()))
				last.units[i].Add(&last.units[i], &unit)
				last.any[i] = true
			}
		}
	}
	for key, p := range parts {
		at := s.of(key)
		for i := range p.units {
			if p.any[i] {
				addTo(&at[i], schemas.MoneyOf(&p.units[i]))
			}
		}
	}
	return nil
}
