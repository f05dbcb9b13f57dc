package extract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// wire carries requests to a Portal without a socket, so that time can be a bubble's. The answer takes latency.
type wire struct {
	portal  *portal.Portal
	latency time.Duration
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.WroteRequest != nil {
		t.WroteRequest(httptrace.WroteRequestInfo{})
	}
	rec := httptest.NewRecorder()
	r := req.Clone(req.Context())
	r.RemoteAddr = "127.0.0.1:1"
	w.portal.ServeHTTP(rec, r)
	select {
	case <-time.After(w.latency):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	return rec.Result(), nil
}

// clock is the Portal's: the records of the tests lie before it.
var clock = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const org = "0"

func newPortal(t *testing.T, o portal.Options) *portal.Portal {
	t.Helper()
	o.Seed = 7
	if o.Now == nil {
		o.Now = func() time.Time { return clock }
	}
	p, err := portal.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newClient(t *testing.T, p *portal.Portal, latency time.Duration, rate float64) *Client {
	t.Helper()
	c, err := NewClient(Options{Account: "acme", BaseURL: "https://portal.test" + p.BasePath(), Key: p.Key(org),
		Transport: &wire{p, latency}, Pacer: NewPacer(rate, 0),
		Retry: Retry{Base: time.Millisecond, Cap: 10 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// vault keeps what a Fetcher yields.
type vault struct {
	mu    sync.Mutex
	seals []schemas.Seal
	ids   map[uint64]int // of ids within their windows
}

func (v *vault) sink(_ context.Context, s schemas.Seal, pages []schemas.Page) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seals = append(v.seals, s)
	got := map[uint64]bool{}
	for _, p := range pages {
		l, err := readListing(p.Body)
		if err != nil {
			return err
		}
		for _, e := range l.entries {
			got[e.key.id] = true
		}
	}
	for k := range got {
		v.ids[k]++
	}
	return nil
}

// check compares what was kept with the truth: each record of [from, to), and the windows cover it.
func (v *vault) check(t *testing.T, p *portal.Portal, from, to time.Time) int {
	t.Helper()
	missing, n := 0, 0
	for r := range p.Truth(org, from, to) {
		n++
		if r.Bad == "" && v.ids[hashID([]byte(r.ID))] == 0 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d records are missing", missing, n)
	}
	var windows []schemas.Window
	for _, s := range v.seals {
		windows = append(windows, s.Window())
	}
	slices.SortFunc(windows, func(a, b schemas.Window) int { return a.Start.Compare(b.Start) })
	at := from
	for _, w := range windows {
		if w.Start.After(at) {
			t.Errorf("window %s doesn't begin at %s", w, at)
		}
		if w.End.After(at) { // the end of one may have been fetched again
			at = w.End
		}
	}
	if !at.Equal(to) {
		t.Errorf("the windows end at %s, not %s", at, to)
	}
	return n
}

func fetch(t *testing.T, p *portal.Portal, c *Client, from, to time.Time) *vault {
	t.Helper()
	v := &vault{ids: map[uint64]int{}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	f := NewFetcher(FetchOptions{Client: c, RunID: "r", Version: "test", Logger: log})
	out, err := f.Fetch(t.Context(), schemas.Window{Account: "acme", Start: from, End: to}.Days(), v.sink)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Failed) > 0 || len(out.Doubts) > 0 || !out.Horizon.IsZero() {
		t.Fatalf("failed: %+v", out)
	}
	return v
}

func day(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }

func TestAtTheRealLimitThereIsNo429AndNoRequestIsWasted(t *testing.T) {
	for _, kind := range []string{"sliding", "fixed", "bucket"} {
		for _, latency := range []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second,
			5 * time.Second} {
			t.Run(fmt.Sprintf("%s/%s", kind, latency), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k, err := portal.ParseLimitKind(kind)
					if err != nil {
						t.Fatal(err)
					}
					p := newPortal(t, portal.Options{Limit: portal.LimitOptions{Kind: k}, Faults: portal.Faults{Latency: latency}})
					c := newClient(t, p, 0, 0)
					v := fetch(t, p, c, day(1), day(11))
					n := v.check(t, p, day(1), day(11))
					s := p.Stats()
					least := float64(n) / 100
					rate := float64(s.Requests-1) / s.Last.Sub(s.First).Seconds() / 2
					t.Logf("%d records: %d requests (%.3f × records ÷ page size), %.3f of the allowed rate, %d × 429, "+
						"%d in flight at most",
						n, s.Requests, float64(s.Requests)/least, rate, s.Limited, s.MaxInFlight)
					if s.Limited != 0 {
						t.Errorf("%d × 429", s.Limited)
					}
					if rate < 0.95 {
						t.Errorf("%.3f of the allowed rate, want 0.95", rate)
					}
					if float64(s.Requests) > 1.03*least {
						t.Errorf("%d requests for %d records, want at most 1.03 × %.0f", s.Requests, n, least)
					}
				})
			})
		}
	}
}

// A total that is too low by one ends the paging a record early where the last page is full, and is too low for a half,
// as well.
func TestATotalThatIsOneTooLowLosesNothingWhereItEndsAFullPage(t *testing.T) {
	for _, order := range []string{"oldest", "newest"} {
		t.Run(order, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPortal(t, portal.Options{Faults: portal.Faults{TotalDelta: -1, Order: order},
					Limit: portal.LimitOptions{Kind: portal.Off},
					Orgs:  []portal.OrgOptions{{RecordsPerDay: 400}}})
				full := 0
				for d := 2; d < 19; d++ {
					n, _ := p.Total(org, day(d).Add(-time.Second), day(d+1))
					for size := 5; size < 40; size++ {
						if n%size != 1 {
							continue
						}
						full++
						v := &vault{ids: map[uint64]int{}}
						f := NewFetcher(FetchOptions{Client: newClient(t, p, 0, 1000), RunID: "r", Version: "test", PageSize: size})
						window := schemas.Window{Account: "acme", Start: day(d), End: day(d + 1)}
						if _, err := f.Fetch(t.Context(), []schemas.Window{window}, v.sink); err != nil {
							t.Fatal(err)
						}
						v.check(t, p, day(d), day(d+1))
					}
				}
				if full == 0 {
					t.Error("no page was full")
				}
			})
		})
	}
}

// What an earlier run learnt of totals proves nothing of this run's: a full page whose total is its own length is
// looked at again, however short it was asked to be.
func TestATotalThatHasCeasedToCountIsNoProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPortal(t, portal.Options{Limit: portal.LimitOptions{Kind: portal.Off},
			Faults: portal.Faults{Total: "page", Order: "newest", Burst: 219, BurstEvery: 3 * time.Hour},
			Orgs:   []portal.OrgOptions{{RecordsPerDay: 100}}})
		s := &shelf{}
		f := NewFetcher(FetchOptions{Client: newClient(t, p, 0, 1000), RunID: "r", Version: "test", PageSize: 20,
			Known: Learnt{Most: 500, Beyond: true}})
		out, err := f.Fetch(t.Context(), []schemas.Window{{Account: "acme", Start: day(3), End: day(4)}}, s.sink)
		if err != nil {
			t.Fatal(err)
		}
		held, lacking := s.holds(), 0
		for r := range p.Truth(org, day(3), day(4)) {
			e, _, _ := readRecord(scan.Padded(r.Served), 0)
			_, ok := held[e.key]
			if !ok && !slices.ContainsFunc(out.Failed, func(w schemas.FailedWindow) bool {
				return !r.RequestTime.Before(w.Start) && r.RequestTime.Before(w.End)
			}) {
				lacking++
			}
		}
		if lacking > 0 {
			t.Errorf("%d records are lacking, and nobody says so", lacking)
		}
	})
}

func TestEveryRecordComesWhateverThePortalDoes(t *testing.T) {
	for _, faults := range []string{
		"order=newest", "order=random", "order=shaky", "inclusive-end=true", "exclusive-start=true",
		"page-clamp=37", "page-clamp=37,total=page", "page-clamp=20,page-clamp-after=10", "page-max=50,page-over=refuse",
		"page-max=50,page-over=default",
		"total=absent", "total=null", "total=string", "total=page", "total-delta=3", "total-delta=-3",
		"total=absent,order=newest",
		"past-end=last", "past-end=null", "past-end=last,total=absent", "deep-page=5", "deep-page=3,past-end=last",
		"deep-page=5,total=absent", "deep-page=5,total=absent,past-end=last", "deep-page=1", "deep-page=2,total=page",
		"deep-page=4,total-delta=3", "max-range=24h", "max-range=1h",
		"duplicate=0.2", "arrive-every=3,arrive-max=5", "arrive-every=3,arrive-max=5,order=newest", "drop-every=3,drop-max=5",
		"drop-every=3,drop-max=5,order=newest", "strings=true", "unknown-fields=true", "ext=string", "code-200=true",
		"null-list=true",
		"status-500=0.1", "status-502=0.1", "status-503=0.1,retry-after=3s", "status-504=0.1", "status-408=0.1",
		"status-429=0.1", "status-429=0.1,retry-after=2s",
		"status-429=0.05,retry-after=70s,retry-after-date=true", "html=0.1", "html=0.1,html-status=200", "empty=0.1",
		"content-type=1", "code-inside=0.1", "code-inside=0.1,inside-code=429",
		"malformed=0.1", "cut=0.1", "bad=0.01", "hostile=0.01",
		"ties=page,tie-span=1h,total=absent", "ties=request,tie-span=1m", "ties=page,tie-span=1h,order=newest",
		"total-cap=400", "total-cap=400,past-end=last", "total-cap-only=400,order=newest",
		"total=random", "total=huge", "total=absent,past-end=400", "past-end=404,page-clamp=50",
		"page-clamp=50,page-clamp-from=3,total=absent", "page-max=1000", "page-max=5000,order=newest",
		"blank=1,from=8,to=9", "blank-page=1,from=4,to=4,total=page", "filter-by=settled,settle-by=35s",
		"filter-by=settled,settle-by=20m,order=newest", "burst=230,burst-every=24h", "burst=230,burst-every=24h,ties=request",
		"shared-id=0.1", "id-modulo=1024", "twice=0.05", "swap=0.1",
	} {
		t.Run(faults, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, err := portal.ParseFaults(faults)
				if err != nil {
					t.Fatal(err)
				}
				p := newPortal(t, portal.Options{Faults: f, Orgs: []portal.OrgOptions{{ID: org, RecordsPerDay: 1500}}})
				c := newClient(t, p, 100*time.Millisecond, 0)
				v := fetch(t, p, c, day(3), day(5))
				n := v.check(t, p, day(3), day(5))
				s := p.Stats()
				t.Logf("%d records, %d requests, %d windows", n, s.Requests, len(v.seals))
			})
		})
	}
}

// lifetime answers each query with a total that counts something else altogether.
type lifetime struct {
	next  http.RoundTripper
	total string
}

func (l *lifetime) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/usage") {
		return resp, err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	b = regexp.MustCompile(`"total":[0-9]+`).ReplaceAll(b, []byte(`"total":`+l.total))
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return resp, nil
}

func TestATotalThatCountsSomethingElseIsFoundOut(t *testing.T) {
	for _, total := range []string{"50000000", "9000000000000000000"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPortal(t, portal.Options{Limit: portal.LimitOptions{Kind: portal.Off},
				Orgs: []portal.OrgOptions{{ID: org, RecordsPerDay: 1500}}})
			c := newClient(t, p, time.Millisecond, 100)
			c.http.Transport = &lifetime{c.http.Transport, total}
			v := fetch(t, p, c, day(3), day(5))
			n := v.check(t, p, day(3), day(5))
			if asked := p.Stats().Requests; asked > 1000 {
				t.Errorf("%d requests for %d records", asked, n)
			}
		})
	}
}

func TestASecondThatNeverStandsStillIsKeptAsADoubtAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPortal(t, portal.Options{Faults: portal.Faults{Order: "shaky", PageClamp: 2, Total: "absent"},
			Orgs: []portal.OrgOptions{{ID: org, RecordsPerDay: 600_000}}})
		c := newClient(t, p, time.Millisecond, 0)
		v := &vault{ids: map[uint64]int{}}
		at := day(4).Add(14 * time.Hour)
		if n, _ := p.Total(org, at, at.Add(time.Second)); n < 5 {
			t.Fatalf("only %d records in the second", n)
		}
		f := NewFetcher(FetchOptions{Client: c, RunID: "r"})
		out, err := f.Fetch(t.Context(), []schemas.Window{{Account: "acme", Start: at, End: at.Add(time.Second)}}, v.sink)
		if err != nil || len(out.Failed) != 1 || !strings.Contains(out.Failed[0].Error, "can't be shown to be all") {
			t.Errorf("%v, %v, want the window to be reported", out, err)
		}
		if len(v.seals) != 1 || v.seals[0].Proof != schemas.ProofNone {
			t.Errorf("what came is not kept as a doubt: %+v", v.seals)
		}
	})
}

func TestSinksThatShareABoundAreNotMoreAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPortal(t, portal.Options{Limit: portal.LimitOptions{Kind: portal.Off},
			Orgs: []portal.OrgOptions{{ID: org, RecordsPerDay: 300}}})
		sealing := make(chan struct{}, 2)
		var atWork, most, windows atomic.Int64
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				f := NewFetcher(FetchOptions{Client: newClient(t, p, time.Millisecond, 100), RunID: "r", Sealing: sealing})
				out, err := f.Fetch(t.Context(), schemas.Window{Account: "acme", Start: day(1), End: day(11)}.Days(),
					func(_ context.Context, _ schemas.Seal, pages []schemas.Page) error {
						if n := atWork.Add(1); n > most.Load() {
							most.Store(n)
						}
						defer atWork.Add(-1)
						time.Sleep(time.Second)
						windows.Add(1)
						_, err := readListing(pages[0].Body)
						return err
					})
				if err != nil || len(out.Failed) > 0 {
					t.Error(err, out)
				}
			})
		}
		wg.Wait()
		if most.Load() != 2 || windows.Load() != 30 {
			t.Errorf("%d at once, %d windows; want 2 and 30", most.Load(), windows.Load())
		}
	})
}

// stopper ends a context as a request for a page is sent, and answers it all the same.
type stopper struct {
	portal *portal.Portal
	page   string
	stop   context.CancelFunc
}

func (s *stopper) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Query().Get("page") == s.page {
		s.stop()
	}
	rec := httptest.NewRecorder()
	r := req.Clone(context.WithoutCancel(req.Context()))
	r.RemoteAddr = "127.0.0.1:1"
	s.portal.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// Whenever it is stopped, a window is whole or it isn't yielded.
func TestAWindowThatIsStoppedBetweenTwoPagesIsNotSealed(t *testing.T) {
	p := newPortal(t, portal.Options{Orgs: []portal.OrgOptions{{ID: org, RecordsPerDay: 600}},
		Limit: portal.LimitOptions{Kind: portal.Off}})
	for range 200 {
		ctx, stop := context.WithCancel(t.Context())
		c, err := NewClient(Options{Account: "acme", BaseURL: "https://portal.test" + p.BasePath(), Key: p.Key(org),
			Transport: &stopper{p, "3", stop}, Pacer: NewPacer(1000, 0)})
		if err != nil {
			t.Fatal(err)
		}
		v := &vault{ids: map[uint64]int{}}
		_, err = NewFetcher(FetchOptions{Client: c, PageSize: 100}).Fetch(ctx,
			[]schemas.Window{{Account: "acme", Start: day(3), End: day(4)}}, v.sink)
		if !errors.Is(err, context.Canceled) || len(v.seals) > 0 {
			t.Fatalf("%v, and %d windows", err, len(v.seals))
		}
		stop()
	}
}
