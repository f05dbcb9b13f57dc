package schemastest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
)

// The partition most tests write.
var Day = schemas.Partition{Account: "acme", Date: Date("2026-11-01")}

// Date reads a date, and panics if it is none.
func Date(s string) schemas.Date {
	d, err := schemas.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

// UsageRows makes n rows of the test day that look like an account's: time order, growing ids, some 30 models, prices
// by model, a discount, now and then a NULL, an ext charge, an extra field.
func UsageRows(mem memory.Allocator, n int, seed uint64) arrow.RecordBatch {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := array.NewRecordBuilder(mem, schemas.UsageSchema())
	defer b.Release()
	str := func(i int, s string) { b.Field(i).(*array.StringBuilder).Append(s) }
	num := func(i int, v int64) { b.Field(i).(*array.Int64Builder).Append(v) }
	dec := func(i int, v int64) { b.Field(i).(*array.Decimal64Builder).Append(decimal.Decimal64(v)) }
	at := Day.Date.Start().UnixMicro()
	id := int64(7_300_000_000)
	items := b.Field(schemas.ColExtItems).(*array.ListBuilder)
	item := items.ValueBuilder().(*array.StructBuilder)
	for range n {
		at += rnd.Int64N(2) * 1_000_000 * int64(rnd.IntN(2))
		id += 1 + rnd.Int64N(40)
		model := rnd.IntN(30) * rnd.IntN(30) / 30
		in, out, cached := rnd.Int64N(8000), rnd.Int64N(2000), rnd.Int64N(3)*rnd.Int64N(4000)
		pin := int64(model+1) * 50_000_000_000
		pout, pcached := 4*pin, pin/10
		gross := (in*pin + out*pout + cached*pcached) / 1_000_000
		discount := gross / 10 * int64(rnd.IntN(2))
		str(schemas.ColAccount, Day.Account)
		b.Field(schemas.ColUsageDate).(*array.Date32Builder).Append(arrow.Date32(Day.Date))
		b.Field(schemas.ColRequestTime).(*array.TimestampBuilder).Append(arrow.Timestamp(at))
		str(schemas.ColID, strconv.FormatInt(id, 10))
		num(schemas.ColOrdinal, 1)
		str(schemas.ColRecordKind, schemas.RecordRequest)
		token := rnd.IntN(200)
		str(schemas.ColTokenID, strconv.Itoa(1000+token))
		str(schemas.ColUserID, strconv.Itoa(500+token/4))
		if rnd.IntN(3) == 0 {
			str(schemas.ColCustomUserID, fmt.Sprintf("customer-%d", rnd.IntN(2000)))
		} else {
			str(schemas.ColCustomUserID, "")
		}
		str(schemas.ColModel, fmt.Sprintf("vendor-%d/model-%d", model%7, model))
		str(schemas.ColModelType, "text")
		num(schemas.ColChannelID, int64(model%9))
		num(schemas.ColInputTokens, in)
		num(schemas.ColOutputTokens, out)
		num(schemas.ColCachedTokens, cached)
		num(schemas.ColTotalTokens, in+out+cached)
		dec(schemas.ColInputPrice, pin)
		dec(schemas.ColOutputPrice, pout)
		dec(schemas.ColCachedPrice, pcached)
		dec(schemas.ColTotalAmount, gross)
		dec(schemas.ColDiscountAmount, discount)
		dec(schemas.ColAmount, gross-discount)
		str(schemas.ColCurrency, "USD")
		switch rnd.IntN(20) {
		case 0:
			items.Append(true)
			for k := range 1 + rnd.IntN(3) {
				item.Append(true)
				item.FieldBuilder(0).(*array.StringBuilder).Append("image")
				item.FieldBuilder(1).(*array.StringBuilder).Append(fmt.Sprintf("size-%d", k))
				item.FieldBuilder(2).(*array.StringBuilder).Append("piece")
				item.FieldBuilder(3).(*array.Decimal64Builder).Append(40_000_000_000)
				item.FieldBuilder(4).(*array.Decimal64Builder).Append(decimal.Decimal64(rnd.Int64N(5) * 1_000_000_000_000))
				item.FieldBuilder(5).AppendNull()
			}
		case 1:
			items.AppendNull()
		default:
			items.Append(true)
		}
		if rnd.IntN(50) == 0 {
			str(schemas.ColExtra, fmt.Sprintf(`{"region":"eu-%d"}`, rnd.IntN(3)))
		} else {
			b.Field(schemas.ColExtra).AppendNull()
		}
		b.Field(schemas.ColFetchedAt).(*array.TimestampBuilder).Append(arrow.Timestamp(Day.Date.End().UnixMicro()))
		str(schemas.ColRunID, "20261102T000000Z-1f")
	}
	return b.NewRecordBatch()
}

// Seal is a seal of the test day's account, of a window with two records.
func Seal(start, end time.Time) schemas.Seal {
	announced := int64(2)
	return schemas.Seal{
		Kind: schemas.KindUsage, Account: Day.Account, Start: start, End: end,
		AskedStart: start.Unix() - 1, AskedEnd: end.Unix() + 1, PageSize: 100,
		Announced: &announced, Records: 2, Proof: schemas.ProofTotal, Requests: 3,
		RequestIDs: []string{"req-1", "req-2"}, FetchedAt: end.Add(15 * time.Minute),
		RunID: "20261102T000000Z-1f", Version: "test", Currency: "USD",
	}
}

// Pages are its pages.
func Pages(at time.Time) []schemas.Page {
	return []schemas.Page{
		{Number: 1, RequestID: "req-1", FetchedAt: at, Body: []byte(`{"success":true,"data":{"list":[{"id":1}],"total":2}}`)},
		{Number: 2, RequestID: "req-2", FetchedAt: at.Add(time.Second),
			Body: []byte("{\"success\":true,\"data\":{\n\"list\":[{\"id\":2}],\"total\":2}}")},
	}
}
