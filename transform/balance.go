package transform

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
)

// errNoData says that an answer of /balance holds no balance at all.
var errNoData = errors.New("data is no object")

// Balance reads an answer of /balance into one row of schemas.BalanceSchema. balance_str is the exact figure and goes
// before balance. What the API left out or sent as null is NULL. The error names the field that can't be read. The
// caller releases the batch.
func Balance(s schemas.Seal, page schemas.Page) (arrow.RecordBatch, error) {
	fail := func(err error) (arrow.RecordBatch, error) {
		return nil, fmt.Errorf("read the balance of %s at %s: %w", s.Account,
			s.FetchedAt.UTC().Format("2006-01-02T15:04:05Z"), err)
	}
	var doc any
	if json.Valid(page.Body) && nesting(page.Body) <= maxDepth {
		doc, _ = readAny(page.Body)
	}
	top, _ := doc.(map[string]any)
	data, ok := top["data"].(map[string]any)
	if !ok {
		return fail(errNoData)
	}

	b := array.NewRecordBuilder(memory.DefaultAllocator, schemas.BalanceSchema())
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(s.Account)
	b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(s.FetchedAt.UnixMicro()))
	if text, ok := data["balance_str"].(string); ok && text != "" || data["balance_str"] != nil && !ok {
		data["balance"], data["balance_str"] = data["balance_str"], nil
		if err := wideColumn(b.Field(2), data, "balance", "balance_str"); err != nil {
			return fail(err)
		}
	} else if err := wideColumn(b.Field(2), data, "balance", "balance"); err != nil {
		return fail(err)
	}
	delete(data, "balance_str")
	for i, name := range []string{"coupon_balance", "credit_limit", "total_coupon_amount"} {
		if err := wideColumn(b.Field(3+i), data, name, name); err != nil {
			return fail(err)
		}
	}
	currency := data["currency_code"]
	delete(data, "currency_code")
	if currency == nil {
		b.Field(6).AppendNull()
	} else if text, ok := currency.(string); ok {
		b.Field(6).(*array.StringBuilder).Append(text)
	} else {
		return fail(errors.New("currency_code: " + schemas.ReasonWrongType))
	}
	optional(b.Field(7), string(appendCanonical(nil, data)), len(data) > 0)
	optional(b.Field(8), page.RequestID, page.RequestID != "")
	b.Field(9).(*array.StringBuilder).Append(s.RunID)
	return b.NewRecordBatch(), nil
}

func optional(b array.Builder, v string, valid bool) {
	if valid {
		b.(*array.StringBuilder).Append(v)
	} else {
		b.AppendNull()
	}
}

// wideColumn takes the member name out of data into a DECIMAL(38,12); field is what it is called in an error.
func wideColumn(b array.Builder, data map[string]any, name, field string) error {
	v := data[name]
	delete(data, name)
	if v == nil {
		b.AppendNull()
		return nil
	}
	text, ok := textOf(v)
	if !ok {
		return errors.New(field + ": " + schemas.ReasonNotNumber)
	}
	n, reason := parseWide([]byte(text))
	if reason != "" {
		return errors.New(field + ": " + reason)
	}
	b.(*array.Decimal128Builder).Append(n)
	return nil
}
