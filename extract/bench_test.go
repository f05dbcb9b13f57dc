package extract

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// benchFetch fetches a day from a Portal without a limit and without a socket.
func benchFetch(tb testing.TB, p *portal.Portal, sink Sink) {
	c, err := NewClient(Options{Account: "acme", BaseURL: "https://portal.test" + p.BasePath(), Key: p.Key(org),
		Transport: &wire{p, 0}, Pacer: NewPacer(1e6, 4)})
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	f := NewFetcher(FetchOptions{Client: c, RunID: "r", Version: "test"})
	out, err := f.Fetch(tb.Context(), []schemas.Window{{Account: "acme", Start: day(3), End: day(4)}}, sink)
	if err != nil || len(out.Failed) > 0 {
		tb.Fatal(err, out)
	}
}

func benchPortal(b *testing.B) *portal.Portal {
	p, err := portal.New(portal.Options{Seed: 7, Now: func() time.Time { return clock },
		Limit: portal.LimitOptions{Kind: portal.Off}, Faults: portal.Faults{Gzip: "off"},
		Orgs: []portal.OrgOptions{{ID: org, RecordsPerDay: 10_000}}})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkFetch is a day of some 10,000 records from the first request to the proof that it is complete, the simulated
// Portal's own work included.
func BenchmarkFetch(b *testing.B) {
	p := benchPortal(b)
	var mu sync.Mutex
	records := 0
	b.ReportAllocs()
	for b.Loop() {
		benchFetch(b, p, func(_ context.Context, s schemas.Seal, _ []schemas.Page) error {
			mu.Lock()
			defer mu.Unlock()
			records += int(s.Records)
			return nil
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}

// BenchmarkReadListing is what the fetcher reads of each page to prove a window complete.
func BenchmarkReadListing(b *testing.B) {
	var pages []schemas.Page
	benchFetch(b, benchPortal(b), func(_ context.Context, _ schemas.Seal, p []schemas.Page) error {
		for _, page := range p {
			page.Body = scan.Padded(page.Body) // as the client leaves it
			page.Body = page.Body[:len(page.Body)-scan.Padding]
			pages = append(pages, page)
		}
		return nil
	})
	size, records := 0, 0
	for _, p := range pages {
		size += len(p.Body)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range pages {
			l, err := readListing(p.Body)
			if err != nil {
				b.Fatal(err)
			}
			records += len(l.entries)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}
