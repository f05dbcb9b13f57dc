package load

import (
	"io"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/usagelake/usagelake/schemas"
)

type countW struct{ n int64 }

func (c *countW) Write(b []byte) (int, error) { c.n += int64(len(b)); return len(b), nil }

var _ io.Writer = (*countW)(nil)

func TestZZEncodings(t *testing.T) {
	rec := usageRows(memory.DefaultAllocator, 2*schemas.MaxRowGroup, 1)
	defer rec.Release()
	E := parquet.Encodings
	base := func() []parquet.WriterProperty { return usageEncodings() }
	plain := func(col string, e parquet.Encoding) []parquet.WriterProperty {
		return append(base(), parquet.WithDictionaryFor(col, false), parquet.WithEncodingFor(col, e))
	}
	v := map[string][]parquet.WriterProperty{
		"00 base":                  base(),
		"id delta_length":          plain("id", E.DeltaLengthByteArray),
		"id plain":                 plain("id", E.Plain),
		"id dict":                  append(base(), parquet.WithDictionaryFor("id", true)),
		"time dict":                append(base(), parquet.WithDictionaryFor("request_time", true)),
		"total plain":              plain("total_amount", E.Plain),
		"amount plain":             plain("amount", E.Plain),
		"discount delta":           plain("discount_amount", E.DeltaBinaryPacked),
		"discount dict":            append(base(), parquet.WithDictionaryFor("discount_amount", true)),
		"total_tokens delta":       plain("total_tokens", E.DeltaBinaryPacked),
		"total_tokens plain":       plain("total_tokens", E.Plain),
		"input_tokens delta":       plain("input_tokens", E.DeltaBinaryPacked),
		"input_tokens plain":       plain("input_tokens", E.Plain),
		"output_tokens delta":      plain("output_tokens", E.DeltaBinaryPacked),
		"level1":                   append(base(), parquet.WithCompressionLevel(1)),
		"level9":                   append(base(), parquet.WithCompressionLevel(9)),
		"level19":                  append(base(), parquet.WithCompressionLevel(19)),
		"v2 pages":                 append(base(), parquet.WithDataPageVersion(parquet.DataPageV2)),
		"page 256k":                append(base(), parquet.WithDataPageSize(256<<10)),
	}
	for _, n := range sortedKeys(v) {
		var w countW
		start := time.Now()
		tw, err := newTableWriter(&w, schemas.UsageColumns(), v[n]...)
		must(t, err)
		must(t, tw.write(rec))
		must(t, tw.close())
		t.Logf("%-22s %.3f B/record  %4d ns/record", n, float64(w.n)/float64(rec.NumRows()), time.Since(start).Nanoseconds()/rec.NumRows())
	}
}

func sortedKeys(m map[string][]parquet.WriterProperty) []string {
	var k []string
	for n := range m {
		k = append(k, n)
	}
	for i := range k {
		for j := i; j > 0 && k[j] < k[j-1]; j-- {
			k[j], k[j-1] = k[j-1], k[j]
		}
	}
	return k
}
