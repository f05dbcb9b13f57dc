package load

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func dayFooter(rows, rejects int64) schemas.DayFooter {
	return schemas.DayFooter{Schema: schemas.SchemaVersion, Transform: 1, Digest: DayDigest(1, nil),
		DayStats: schemas.DayStats{Rows: rows, Quarantined: rejects, TotalAmount: "0", Discount: "0", Amount: "0"}}
}

func BenchmarkDayWriter(b *testing.B) {
	const rows = 3 * schemas.MaxRowGroup
	rec := schemastest.UsageRows(memory.DefaultAllocator, rows, 1)
	defer rec.Release()
	l := newTestLake(b, Options{})
	var batches []arrow.RecordBatch
	for at := int64(0); at < rows; at += 20_000 {
		batches = append(batches, rec.NewSlice(at, min(at+20_000, rows)))
	}
	b.ReportAllocs()
	start := time.Now()
	for b.Loop() {
		w, err := l.CreateDay(schemastest.Day)
		if err != nil {
			b.Fatal(err)
		}
		for _, rec := range batches {
			if err := w.Write(rec); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Commit(dayFooter(rows, 0)); err != nil {
			b.Fatal(err)
		}
	}
	spent := time.Since(start)
	info, err := os.Stat(l.UsagePath(schemastest.Day))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/rows, "bytes/record")
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N)/rows, "ns/record")
	b.ReportMetric(float64(b.N)*rows/spent.Seconds(), "records/s")
}

func BenchmarkSeal(b *testing.B) {
	l := newTestLake(b, Options{})
	var pages []schemas.Page
	id := 0
	for n := 1; n <= 100; n++ {
		body := []byte(`{"success":true,"message":"","data":{"list":[`)
		for i := range 100 {
			if i > 0 {
				body = append(body, ',')
			}
			id++
			body = fmt.Appendf(body,
				`{"id":%d,"request_time":%d,"token_id":%d,"user_id":%d,"custom_user_id":"","model":"vendor/model-%d",`+
					`"model_type":"text","channel_id":%d,"input_tokens":%d,"output_tokens":%d,"cached_tokens":0,`+
					`"input_price":0.25,"output_price":1,"cached_price":0.025,"total_amount":%d.%06d,"discount_amount":0,`+
					`"amount":%d.%06d,"ext":{}}`,
				7_300_000_000+id*7, 1793491200+id/3, id%50, id%17, id%11, id%9, id*7919%8000, id*104729%2000, id%2,
				id*7919%1_000_000, id%2, id*7919%1_000_000)
		}
		body = append(body, `],"total":10000,"page":1,"pagesize":100},"meta":{"request_id":"r"}}`...)
		pages = append(pages, schemas.Page{Number: n, RequestID: fmt.Sprintf("req-%d", n),
			FetchedAt: schemastest.Day.Date.End(), Body: body})
	}
	var bytes int64
	for _, p := range pages {
		bytes += int64(len(p.Body))
	}
	seal := schemastest.Seal(schemastest.Day.Date.Start(), schemastest.Day.Date.End())
	b.SetBytes(bytes)
	b.ReportAllocs()
	var raw Raw
	for b.Loop() {
		var err error
		if raw, err = l.Seal(b.Context(), seal, pages); err != nil {
			b.Fatal(err)
		}
	}
	info, err := os.Stat(l.Partition(RawDir, schemastest.Day) + "/" + raw.Name)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/float64(id), "bytes/record")
}

// BenchmarkSmallDay is what a day costs however little it holds: most days of most accounts are small.
func BenchmarkSmallDay(b *testing.B) {
	const rows = 300
	rec := schemastest.UsageRows(memory.DefaultAllocator, rows, 1)
	defer rec.Release()
	l := newTestLake(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		w, err := l.CreateDay(schemastest.Day)
		if err != nil {
			b.Fatal(err)
		}
		if err := w.Write(rec); err != nil {
			b.Fatal(err)
		}
		if err := w.Commit(dayFooter(rows, 0)); err != nil {
			b.Fatal(err)
		}
	}
}
