package transform

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// benchPages are pages of believable records, in order of time.
func benchPages(records int) (bodies []string, bytes int) {
	rnd := rand.New(rand.NewPCG(1, 2))
	start := day0.Start().Unix()
	var page []string
	for i := range records {
		in, out, cached := rnd.IntN(20_000), rnd.IntN(3_000), rnd.IntN(4)/3*rnd.IntN(5_000)
		m := rnd.IntN(30)
		price := 1 + m%7
		units := int64(in)*int64(price)*1_000_000 + int64(out)*int64(5*price)*1_000_000 + int64(cached)*int64(price)*100_000
		total := schemas.Decimal(units)
		off := schemas.Decimal(0)
		if m%3 == 0 {
			off = total / 10
		}
		ext := "{}"
		if rnd.IntN(20) == 0 {
			ext = `{"tools":{"web_search":{"unit":"each","price":0.001,"usage":3,"amount":0.003}}}`
			total += 3_000_000_000
		}
		page = append(page, fmt.Sprintf(`{"id":"%d","request_time":%d,"user_id":"%d","custom_user_id":"%s",`+
			`"token_id":"tk_%04x","model":"vendor-model-%d","model_type":"text","input_token":%d,"output_token":%d,`+
			`"input_price":%d,"output_price":%d,"cached_token":%d,"cached_price":%v,`+
			`"total_amount":%v,"discount_amount":%v,"amount":%v,"channel_id":%d,"ext":%s}`,
			7318349394477056+int64(i)*1000+rnd.Int64N(1000), start+int64(i)*86000/int64(records), 10_000+rnd.IntN(200),
			[]string{"", "", "customer-" + fmt.Sprint(rnd.IntN(1000))}[rnd.IntN(3)], rnd.IntN(500), m, in, out, price, 5*price,
			cached, schemas.Decimal(price*100_000_000_000), total, off, total-off, rnd.IntN(60), ext))
		if len(page) == 100 || i == records-1 {
			bodies = append(bodies, listing(page...))
			bytes += len(bodies[len(bodies)-1])
			page = page[:0]
		}
	}
	return bodies, bytes
}

func benchDay(b *testing.B, bodies []string, size, records int) {
	d := NewDay(part, []schemas.Sealed{wholeDay(bodies...)}, Options{})
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		rows := int64(0)
		for batch, err := range d.Batches(context.Background()) {
			if err != nil {
				b.Fatal(err)
			}
			rows += batch.Usage.NumRows()
		}
		if rows != int64(records) {
			b.Fatal(rows)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(records), "ns/record")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkDay(b *testing.B) {
	const records = 10_000
	bodies, size := benchPages(records)
	b.Run("fast", func(b *testing.B) { benchDay(b, bodies, size, records) })
	noise := make([]string, len(bodies))
	for i := range bodies {
		noise[i] = strings.ReplaceAll(bodies[i], `,"channel_id"`, `00000000000004,"channel_id"`)
	}
	b.Run("float_noise", func(b *testing.B) { benchDay(b, noise, size, records) })
	drift := make([]string, len(bodies))
	for i := range bodies {
		drift[i] = strings.ReplaceAll(bodies[i], `,"ext":`, `,"region":"eu-1","ext":`)
	}
	b.Run("unknown_field", func(b *testing.B) { benchDay(b, drift, size, records) })
	shuffled := append([]string(nil), bodies...)
	swap := func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] }
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(shuffled), swap)
	b.Run("shuffled_pages", func(b *testing.B) { benchDay(b, shuffled, size, records) })
}

func BenchmarkDecode(b *testing.B) {
	const records = 10_000
	bodies, size := benchPages(records)
	pages := make([]schemas.Page, len(bodies))
	for i := range bodies {
		pages[i] = schemas.Page{Number: i + 1, Body: []byte(bodies[i])}
	}
	run := func(name string, do func(p schemas.Page) error, reset func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				reset()
				for _, p := range pages {
					if err := do(p); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
			b.ReportMetric(0, "ns/op")
		})
	}
	fast, plain := &stage{}, &stage{plainOnly: true}
	run("fast", func(p schemas.Page) error { return fast.addPage(p, false) }, fast.reset)
	run("plain", func(p schemas.Page) error { return plain.addPage(p, false) }, plain.reset)
	run("encoding_json_struct", func(p schemas.Page) error {
		var doc struct {
			Data struct {
				List []struct {
					ID             string      `json:"id"`
					RequestTime    int64       `json:"request_time"`
					UserID         string      `json:"user_id"`
					CustomUserID   string      `json:"custom_user_id"`
					TokenID        string      `json:"token_id"`
					Model          string      `json:"model"`
					ModelType      string      `json:"model_type"`
					InputToken     int64       `json:"input_token"`
					OutputToken    int64       `json:"output_token"`
					InputPrice     json.Number `json:"input_price"`
					OutputPrice    json.Number `json:"output_price"`
					CachedToken    int64       `json:"cached_token"`
					CachedPrice    json.Number `json:"cached_price"`
					TotalAmount    json.Number `json:"total_amount"`
					DiscountAmount json.Number `json:"discount_amount"`
					Amount         json.Number `json:"amount"`
					ChannelID      int64       `json:"channel_id"`
					Ext            map[string]map[string]struct {
						Unit                 string
						Price, Usage, Amount json.Number
					} `json:"ext"`
				} `json:"list"`
			} `json:"data"`
		}
		return json.Unmarshal(p.Body, &doc)
	}, func() {})
	run("json_valid", func(p schemas.Page) error { _ = json.Valid(p.Body); return nil }, func() {})
}
