// Package pacing measures in simulated time how much of the Portal's limit an export gets. It is a test because only
// tests can have a clock of their own; it links no DuckDB, so it is built in seconds.
package pacing

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/schemas"
)

var clock = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// wire carries requests to a Portal without a socket. A request reaches the Portal after half the latency, the answer
// its sender after the other half; each way takes up to jitter more, which is what makes requests arrive closer
// together than they were sent.
type wire struct {
	portal          http.Handler
	latency, jitter time.Duration

	mu             sync.Mutex
	random         *rand.Rand
	underWay, most int
}

// count counts the requests under way, on their way to the Portal and back.
func (w *wire) count(d int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.underWay += d
	w.most = max(w.most, w.underWay)
}

func (w *wire) way() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.latency / 2
	if w.jitter > 0 {
		d += time.Duration(w.random.Int64N(int64(w.jitter)))
	}
	return d
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.WroteRequest != nil {
		t.WroteRequest(httptrace.WroteRequestInfo{})
	}
	w.count(1)
	defer w.count(-1)
	time.Sleep(w.way())
	rec := httptest.NewRecorder()
	r := req.Clone(req.Context())
	r.RemoteAddr = "127.0.0.1:1"
	w.portal.ServeHTTP(rec, r)
	time.Sleep(w.way())
	return rec.Result(), nil
}

// Result is a line of the table.
type Result struct {
	Kind            string
	Latency, Jitter float64 // seconds
	Client          string
	Records         int
	Requests        int
	Limited         int
	Share           float64 // accepted requests ÷ those the limit allowed in the same time
	Best            float64 // the same, of the fastest sending that is sure to draw no 429
	Waste           float64 // requests ÷ (records ÷ page size)
	InFlight        int
	Seconds         float64 // simulated
}

const (
	allowed = 2.0 // requests a second
	// pageSize is small, so that many requests are simulated in little time: a day has as many pages as one of 4,000
	// records in pages of 100.
	pageSize = 20
)

// Best is the largest share that draws no 429 with certainty: as far as two requests may come closer together, so much
// farther apart they must be sent. A bucket of one looks at neighbours, a sliding second at every third.
func Best(kind portal.LimitKind, jitter time.Duration) float64 {
	j := jitter.Seconds()
	if kind == portal.Bucket {
		return 0.5 / (0.5 + j)
	}
	return 1 / (1 + j)
}

// open makes a Portal, and what leads to it.
func open(t *testing.T, kind portal.LimitKind, latency, jitter time.Duration, perDay float64,
	faults portal.Faults) (*portal.Portal, *wire) {
	faults.Gzip = "off"
	p, err := portal.New(portal.Options{Seed: 7, Now: func() time.Time { return clock },
		Limit: portal.LimitOptions{Kind: kind}, Faults: faults,
		Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: perDay}}})
	if err != nil {
		t.Fatal(err)
	}
	return p, &wire{portal: p, latency: latency, jitter: jitter, random: rand.New(rand.NewPCG(1, uint64(jitter)))}
}

func simulate(t *testing.T, kind portal.LimitKind, latency, jitter time.Duration, days int, client string) (r Result) {
	synctest.Test(t, func(t *testing.T) {
		p, w := open(t, kind, latency, jitter, 40*pageSize, portal.Faults{})
		end := clock.Truncate(24 * time.Hour)
		start := end.AddDate(0, 0, -days)
		began := time.Now()
		records := 0
		switch client {
		case "usagelake":
			records = export(t, p, w, pageSize, start, end)
		case "one at a time":
			records = onePageAtATime(t, p, w, start, end)
		}
		n, _ := p.Total("0", start, end)
		if records != n {
			t.Errorf("%s: %d records of %d", client, records, n)
		}
		s := p.Stats()
		r = Result{Kind: kind.String(), Latency: latency.Seconds(), Jitter: jitter.Seconds(), Client: client, Records: n,
			Requests: s.Requests, Limited: s.Limited,
			Share: s.Rate() / allowed, Best: Best(kind, jitter), Waste: float64(s.Requests) / (float64(n) / pageSize),
			InFlight: w.most, Seconds: time.Since(began).Seconds()}
	})
	return r
}

// Pages is how many requests it takes to fetch and prove days of a Portal that gives pages of at most Max records.
type Pages struct {
	PerDay, Max, Days int
	Records, Requests int
	Least             int     // the pages that hold the days, each as full as they are given
	Seconds           float64 // simulated
}

// fetchPages fetches days at the default page size, from a Portal that gives fewer where it gives no more.
func fetchPages(t *testing.T, perDay, most, days int) (r Pages) {
	synctest.Test(t, func(t *testing.T) {
		p, w := open(t, portal.Sliding, 500*time.Millisecond, 0, float64(perDay), portal.Faults{PageMax: most})
		end := clock.Truncate(24 * time.Hour)
		start := end.AddDate(0, 0, -days)
		began := time.Now()
		r = Pages{PerDay: perDay, Max: most, Days: days, Records: export(t, p, w, 0, start, end)}
		r.Requests, r.Seconds = p.Stats().Requests, time.Since(began).Seconds()
		for d := start; d.Before(end); d = d.AddDate(0, 0, 1) {
			n, _ := p.Total("0", d, d.AddDate(0, 0, 1))
			r.Least += max(1, (n+most-1)/most)
		}
		if n, _ := p.Total("0", start, end); n != r.Records {
			t.Errorf("%d records of %d", r.Records, n)
		}
	})
	return r
}

// export fetches as usagelake does, at its defaults but for the page size.
func export(t *testing.T, p *portal.Portal, w *wire, pageSize int, from, to time.Time) int {
	c, err := extract.NewClient(extract.Options{Account: "acme", BaseURL: "https://portal.test" + p.BasePath(),
		Key: p.Key("0"), Transport: w})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := extract.NewFetcher(extract.FetchOptions{Client: c, RunID: "r", PageSize: pageSize})
	var mu sync.Mutex
	ids := map[string]bool{} // of the range: a window is asked for with a second more
	out, err := f.Fetch(t.Context(), schemas.Window{Account: "acme", Start: from, End: to}.Days(),
		func(_ context.Context, _ schemas.Seal, pages []schemas.Page) error {
			mu.Lock()
			defer mu.Unlock()
			for _, page := range pages {
				if err := collect(page.Body, from, to, ids); err != nil {
					return err
				}
			}
			return nil
		})
	if err != nil || len(out.Failed) > 0 {
		t.Fatal(err, out)
	}
	return len(ids)
}

// collect notes the ids of a page's records of [from, to).
func collect(body []byte, from, to time.Time, ids map[string]bool) error {
	var doc struct {
		Data struct {
			List []struct {
				ID   string `json:"id"`
				Time int64  `json:"request_time"`
			} `json:"list"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return err
	}
	for _, r := range doc.Data.List {
		if r.Time >= from.Unix() && r.Time < to.Unix() {
			ids[r.ID] = true
		}
	}
	return nil
}

// onePageAtATime is the pager that is written first: ask for a page of a day, wait for it, ask for the next, at most
// twice a second; after a 429 wait a second.
func onePageAtATime(t *testing.T, p *portal.Portal, w *wire, from, to time.Time) int {
	ids := map[string]bool{}
	client := &http.Client{Transport: w}
	var sent time.Time
	for day := from; day.Before(to); day = day.AddDate(0, 0, 1) {
		for page := 1; ; {
			time.Sleep(time.Until(sent.Add(time.Second / 2)))
			sent = time.Now()
			url := fmt.Sprintf("https://portal.test%s/usage?start_time=%d&end_time=%d&page=%d&pagesize=%d", p.BasePath(),
				day.Unix(), day.AddDate(0, 0, 1).Unix(), page, pageSize)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+p.Key("0"))
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			switch {
			case err != nil:
				t.Fatal(err)
			case resp.StatusCode == http.StatusTooManyRequests:
				time.Sleep(time.Second)
				continue
			case resp.StatusCode != http.StatusOK:
				t.Fatalf("%d: %s", resp.StatusCode, body)
			}
			var doc struct {
				Data struct {
					List []json.RawMessage `json:"list"`
				} `json:"data"`
			}
			if err := json.Unmarshal(body, &doc); err != nil {
				t.Fatal(err)
			}
			if err := collect(body, from, to, ids); err != nil {
				t.Fatal(err)
			}
			if len(doc.Data.List) < pageSize {
				break
			}
			page++
		}
	}
	return len(ids)
}

// TestPacing writes its results as JSON to the file that BENCH_PACING names; BENCH_DAYS is how many days are fetched.
func TestPacing(t *testing.T) {
	days := 3
	if s := os.Getenv("BENCH_DAYS"); s != "" {
		var err error
		if days, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var results []Result
	var pages []Pages
	t.Run("each", func(t *testing.T) {
		try := func(kind portal.LimitKind, latency, jitter time.Duration, days int, client string) {
			t.Run(fmt.Sprintf("%s/%s/%s/%s", kind, latency, jitter, client), func(t *testing.T) {
				t.Parallel()
				r := simulate(t, kind, latency, jitter, days, client)
				mu.Lock()
				defer mu.Unlock()
				results = append(results, r)
			})
		}
		for _, latency := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second,
			5 * time.Second} {
			for _, kind := range []portal.LimitKind{portal.Sliding, portal.Fixed, portal.Bucket} {
				for _, jitter := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
					try(kind, latency, jitter, days, "usagelake")
				}
			}
			try(portal.Sliding, latency, 0, min(days, 3), "one at a time")
		}
		for _, c := range []struct{ perDay, most int }{{400, 100}, {4_000, 100}, {4_000, 1_000}, {40_000, 1_000}} {
			t.Run(fmt.Sprintf("%d a day in pages of %d", c.perDay, c.most), func(t *testing.T) {
				t.Parallel()
				r := fetchPages(t, c.perDay, c.most, days)
				mu.Lock()
				defer mu.Unlock()
				pages = append(pages, r)
			})
		}
	})
	slices.SortFunc(pages,
		func(a, b Pages) int { return cmp.Or(cmp.Compare(a.PerDay, b.PerDay), cmp.Compare(a.Max, b.Max)) })
	slices.SortFunc(results, func(a, b Result) int {
		return cmp.Or(cmp.Compare(b.Client, a.Client), cmp.Compare(a.Latency, b.Latency), cmp.Compare(b.Kind, a.Kind),
			cmp.Compare(a.Jitter, b.Jitter))
	})
	for _, r := range results {
		t.Logf("%+v", r)
	}
	for _, r := range pages {
		t.Logf("%+v", r)
	}
	if name := os.Getenv("BENCH_PACING"); name != "" {
		b, err := json.Marshal(map[string]any{"pacing": results, "pages": pages})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
