package load

import (
	"fmt"
	"testing"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// BenchmarkReadRaw reads a sealed window of 10,000 records, as a derivation does: its first line, then its pages, held
// against their digests.
func BenchmarkReadRaw(b *testing.B) {
	l := newTestLake(b, Options{})
	var pages []schemas.Page
	size := 0
	for n := 1; n <= 100; n++ {
		body := []byte(`{"data":{"list":[`)
		for i := range 100 {
			if i > 0 {
				body = append(body, ',')
			}
			id := n*100 + i
			body = fmt.Appendf(body,
				`{"id":"%d","request_time":%d,"user_id":"%d","custom_user_id":"","token_id":"tk_%04x",`+
					`"model":"vendor-model-%d","model_type":"text","input_token":%d,"output_token":%d,"input_price":0.25,`+
					`"output_price":1,"cached_token":0,"cached_price":0.025,"total_amount":0.%06d,"discount_amount":0,`+
					`"amount":0.%06d,"channel_id":%d,"ext":{}}`,
				7_300_000_000+id*7, 1793491200+id/3, id%200, id%50, id%17, id*7919%8000, id*104729%2000, id*7919%1_000_000,
				id*7919%1_000_000, id%9)
		}
		body = append(body, `],"total":10000}}`...)
		size += len(body)
		pages = append(pages, schemas.Page{Number: n, RequestID: fmt.Sprintf("req-%d", n),
			FetchedAt: schemastest.Day.Date.End(), Body: body})
	}
	raw, err := l.Seal(b.Context(), schemastest.Seal(schemastest.Day.Date.Start(), schemastest.Day.Date.End()), pages)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		s, err := l.OpenRaw(b.Context(), schemastest.Day, raw)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, err := range s.Pages(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != len(pages) {
			b.Fatal(n)
		}
	}
}
