package jobs

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

// oddities are what the Portal may do to data, paging and shape. A run copes with each by itself.
var oddities = []struct {
	faults string
	// anew: the announced total is of no use, so the lookback fetches its days anew on every run.
	anew bool
}{
	{"", false},
	{"order=newest", false}, {"order=random", false}, {"order=shaky", false},
	{"inclusive-end=true", false}, {"exclusive-start=true", false}, {"inclusive-end=true,exclusive-start=true", false},
	{"page-clamp=7", false}, {"page-clamp=7,page-clamp-after=5", false}, {"page-max=10,page-over=refuse", false},
	{"page-max=10,page-over=default", false}, {"page-max=10,page-over=clamp", false},
	{"total=absent", true}, {"total=null", true}, {"total=string", false}, {"total=page", true}, {"total-delta=3", true},
	{"total-delta=-3", true},
	{"total=absent,order=newest", true}, {"total=page,page-clamp=7", true},
	{"past-end=last", false}, {"past-end=null", false}, {"past-end=last,total=absent", true},
	{"deep-page=3", false}, {"deep-page=1", false}, {"deep-page=3,total=absent", true},
	{"deep-page=3,past-end=last", false},
	{"max-range=6h", false}, {"max-range=1h", false}, {"page-ignored=true", false},
	{"duplicate=0.2", false}, {"null-list=true", false}, {"code-200=true", false},
	{"strings=true", false}, {"float-noise=true", false}, {"strings=true,float-noise=true", false},
	{"unknown-fields=true", false}, {"ext=absent", false}, {"ext=null", false}, {"ext=string", false},
	{"ext=string,unknown-fields=true", false},
	{"missing=0.3", false}, {"hostile=0.1", false}, {"bad=0.05", false},
	{"bad=0.1,bad-kinds=no-id", false}, {"bad=0.1,bad-kinds=null-id", false}, {"bad=0.1,bad-kinds=ms-time", false},
	{"bad=0.1,bad-kinds=fraction", false}, {"bad=0.1,bad-kinds=nan", false}, {"bad=0.1,bad-kinds=huge", false},
	{"bad=0.1,bad-kinds=number", false},
	{"shared-id=0.1", false}, {"shared-id=0.5,id-text=None", false}, {"shared-id=0.1,id-text=0", false},
	{"id-modulo=1", false}, {"id-modulo=64", false},
	{"shared-id=0.2,id-modulo=1024,order=shaky", false}, {"shared-id=0.2,total=absent", true},
	{"skew=45m", false}, {"skew=-45m", false},
	// A storm of them. What has no id can't be told from its like where pages repeat records, so its kinds are left out.
	{"order=shaky,page-clamp=7,past-end=last,inclusive-end=true,exclusive-start=true,duplicate=0.1,strings=true," +
		"float-noise=true,unknown-fields=true,ext=string,missing=0.2,bad=0.03,bad-kinds=ms-time+fraction+nan+huge," +
		"hostile=0.03,code-200=true,null-list=true", false},
}

func TestWhateverThePortalDoesToDataAndPagingTheLakeEqualsTheTruth(t *testing.T) {
	for _, c := range oddities {
		kit.Bubble(t, c.faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: c.faults})
			w.export(span(18, 20))
			w.Equal(kit.Day(18), kit.Day(20))
			before := w.Files()
			windows := len(kit.Seals(before)) - 1 // all but the balance
			w.Requests()

			res := w.export(span(18, 20))
			if c.anew {
				w.Equal(kit.Day(18), kit.Day(20))
				return
			}
			want := 2 // days
			if strings.HasPrefix(c.faults, "max-range") {
				want += windows
			}
			if int(res.Requests) != want || len(w.Requests()) != want {
				t.Errorf("the second run sent %d requests, want %d: one for each day, or each window where a day is too long",
					res.Requests, want)
			}
			for _, f := range kit.Changed(before, w.Files()) {
				if !strings.HasPrefix(f, "journal/") {
					t.Errorf("the second run changed %s", f)
				}
			}
		})
	}
}

func TestRecordsThatComeAndGoDuringPagingEndUpAsTheyAreThen(t *testing.T) {
	for _, faults := range []string{
		"arrive-every=3,arrive-max=5", "arrive-every=3,arrive-max=5,order=newest", "drop-every=3,drop-max=5",
		"drop-every=3,drop-max=5,order=newest",
		"arrive-every=2,drop-every=3", "arrive-every=4,drop-every=5,order=shaky,page-clamp=7", "arrive-every=3,total=absent",
		"drop-every=3,total=absent",
	} {
		kit.Bubble(t, faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: faults})
			w.export(span(17, 20))
			// What moved after its window was sealed is found by the next lookback.
			w.Faults(strings.ReplaceAll(strings.ReplaceAll(faults, "arrive-every", "arrive-max"), "drop-every", "drop-max"))
			w.Pass(time.Hour)
			w.export(span(17, 20))
			w.Equal(kit.Day(17), kit.Day(20))
		})
	}
}

// What is no object has neither id nor time, so where two windows meet it may be quarantined with both; no good record
// is lost by it.
func TestBrokenRecordsThatAreAlikeCostNoGoodOne(t *testing.T) {
	kit.Bubble(t, "text", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "bad=0.1,bad-kinds=text"})
		for range 2 {
			w.export(span(18, 20))
			r := w.Read()
			want := 0
			for rec := range w.Portal.Truth("0", kit.Day(18), kit.Day(20)) {
				if rec.Bad == "" {
					want++
				}
			}
			if got := r.One("SELECT count(DISTINCT id)::VARCHAR FROM usage"); got != kit.Itoa(want) {
				t.Errorf("%s records, want %d", got, want)
			}
			r.Close()
			w.Whole()
		}
	})
}

// What may go wrong with a request and pass.
func TestWhatMayPassIsAskedAgainAndTheLakeEqualsTheTruth(t *testing.T) {
	// With a share of 0.1 the seven attempts of a page all fail once in ten million pages.
	for _, faults := range []string{
		"status-429=0.1", "status-429=0.1,retry-after=3s", "status-429=0.1,retry-after=70s,retry-after-date=true",
		"status-429=1,from=5,to=15",
		"status-408=0.1", "status-500=0.1", "status-502=0.1", "status-503=0.1", "status-503=0.1,retry-after=4s",
		"status-504=0.1", "status-500=1,run=3,from=4,to=9",
		"html=0.1", "html=0.1,html-status=200", "html=0.1,html-status=503", "empty=0.1", "content-type=1",
		"code-inside=0.1", "code-inside=0.1,inside-code=429", "code-inside=0.1,inside-code=503",
		"malformed=0.1", "cut=0.1", "truncate=0.1", "reset=0.1", "reset-body=0.1", "hang=0.1",
		"latency=300ms,jitter=2s", "drip=15s,drip-bytes=2000", "latency=59s",
		"status-429=0.05,status-500=0.05,html=0.05,html-status=200,cut=0.05,reset=0.05,reset-body=0.05,truncate=0.05," +
			"empty=0.05,latency=2s,jitter=1s",
		"status-503=0.1,reset=0.1,duplicate=0.1,order=newest,page-clamp=7,strings=true,bad=0.02,inclusive-end=true," +
			"past-end=last",
	} {
		kit.Bubble(t, faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: faults})
			res := w.export(span(17, 20))
			w.Equal(kit.Day(17), kit.Day(20))
			sent := w.Requests()
			if int(res.Requests) != len(sent) {
				t.Errorf("the run says %d requests, the Portal had %d", res.Requests, len(sent))
			}
			throttled := 0
			for _, r := range sent {
				if r.Status == 429 {
					throttled++
				}
			}
			if !strings.Contains(faults, "inside-code=429") && int(res.Throttled) != throttled {
				t.Errorf("the run says %d × 429, the Portal sent %d", res.Throttled, throttled)
			}
			if s := w.Portal.Stats(); len(s.Faults) == 0 && !strings.HasPrefix(faults, "latency") &&
				!strings.HasPrefix(faults, "drip") {
				t.Error("the fault never struck")
			}
		})
	}
}

// outages last for a whole run.
var outages = []struct {
	faults string
	status string // of the first run
	kind   error
	says   string
	hint   string
}{
	{"status-500=1", schemas.StatusFailed, nil, "HTTP 500", "usagelake doctor"},
	{"status-503=1,retry-after=20m", schemas.StatusFailed, nil, "HTTP 503", "usagelake doctor"},
	{"status-408=1", schemas.StatusFailed, nil, "HTTP 408", "usagelake doctor"},
	{"status-429=1", schemas.StatusFailed, nil, "HTTP 429", "usagelake doctor"},
	{"status-429=1,retry-after=30m", schemas.StatusFailed, nil, "HTTP 429", "usagelake doctor"},
	{"html=1", schemas.StatusFailed, nil, "HTML", "usagelake doctor"},
	{"html=1,html-status=200", schemas.StatusFailed, nil, "HTML", "usagelake doctor"},
	{"empty=1", schemas.StatusFailed, nil, "empty", "usagelake doctor"},
	{"code-inside=1", schemas.StatusFailed, nil, "error code 500", "usagelake doctor"},
	{"code-inside=1,inside-code=400", schemas.StatusFailed, nil, "error code 400", "usagelake doctor"},
	{"malformed=1", schemas.StatusFailed, nil, "can't be read", "usagelake doctor"},
	{"truncate=1", schemas.StatusFailed, nil, "broke off", "usagelake doctor"},
	{"reset=1", schemas.StatusFailed, nil, "reset", "usagelake doctor"},
	{"reset-body=1", schemas.StatusFailed, nil, "broke off", "usagelake doctor"},
	{"hang=1", schemas.StatusFailed, nil, "no whole answer within", "usagelake doctor"},
	{"latency=61s", schemas.StatusFailed, nil, "no whole answer within", "usagelake doctor"},
	{"redirect=1", schemas.StatusFailed, nil, "portal.invalid", "usagelake doctor"},
	{"code-inside=1,inside-code=401", schemas.StatusRefused, extract.ErrRefused, "401", ""},
	{"code-inside=1,inside-code=403,only=usage", schemas.StatusRefused, extract.ErrRefused, "403", ""},
	// It begins when part of the work is done: a lookback and a balance, and some pages.
	{"status-500=1,from=20", schemas.StatusPartial, nil, "HTTP 500", "run the same command again"},
	{"redirect=1,from=20", schemas.StatusPartial, nil, "portal.invalid", "run the same command again"},
	{"hang=1,from=20", schemas.StatusPartial, nil, "no whole answer within", "run the same command again"},
	{"code-inside=1,inside-code=401,from=20", schemas.StatusRefused, extract.ErrRefused, "401", ""},
}

func TestAnOutageLeavesWhatWasSealedAndTheNextRunFetchesTheRestAlone(t *testing.T) {
	for _, c := range outages {
		kit.Bubble(t, c.faults, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: c.faults})
			res, err := w.try(t.Context(), span(14, 20))
			if err == nil || res == nil || res.Status != c.status {
				t.Fatalf("the first run: %+v, %v", res, err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q doesn't say %q", err, c.says)
			}
			if !strings.Contains(kit.HintOf(err), c.hint) || (c.hint == "" && kit.HintOf(err) == "") {
				t.Errorf("the hint is %q, want %q", kit.HintOf(err), c.hint)
			}
			var partial *PartialError
			var refused *RefusedError
			if got := errors.As(err, &partial); got != (c.status == schemas.StatusPartial) {
				t.Errorf("it is a PartialError: %t", got)
			}
			if got := errors.As(err, &refused); got != (c.status == schemas.StatusRefused) {
				t.Errorf("it is a RefusedError: %t", got)
			}
			if c.kind != nil && !errors.Is(err, c.kind) {
				t.Errorf("%v is not %v", err, c.kind)
			}
			if res.Error != err.Error() {
				t.Errorf("the journal says %q", res.Error)
			}
			before := w.Files()
			if c.status == schemas.StatusPartial && res.Windows == 0 {
				t.Error("nothing was sealed")
			}
			if strings.Contains(c.faults, "from=20") {
				w.published(res)
			}

			w.Faults("")
			w.Requests()
			again := w.export(span(14, 20))
			w.Equal(kit.Day(14), kit.Day(20))
			w.Kept(before)
			w.notAskedAgain(w.Requests(), res, again)
		})
	}
}

// published fails unless all that a run sealed can be read in the published file.
func (w *world) published(res *Result) {
	w.Helper()
	r := w.Read()
	defer r.Close()
	if got := r.One("SELECT count(*)::VARCHAR FROM coverage"); got != kit.Itoa(res.Windows) {
		w.Errorf("%s windows are published, %d were sealed", got, res.Windows)
	}
	if res.Windows > 0 {
		w.Whole()
	}
}

// notAskedAgain fails if more than the lookback's first page of a window that was sealed before is asked for.
func (w *world) notAskedAgain(sent []portal.RequestInfo, before, after *Result) {
	w.Helper()
	for _, r := range sent {
		query, _ := url.ParseQuery(r.Query)
		if r.Endpoint != "usage" || query.Get("pagesize") == "1" {
			continue
		}
		start, _ := strconv.ParseInt(query.Get("start_time"), 10, 64)
		found := false
		for _, p := range after.Plans {
			for _, m := range p.Missing { // with its margin, and what was under way as the last one ended
				found = found || start >= m.Start.Unix()-1 && start <= m.End.Unix()+1
			}
		}
		if !found {
			w.Errorf("%s was not missing, and is asked for", r.Query)
		}
	}
	if got := before.Windows + int64(len(after.Plans[0].Missing)); got != 6 {
		w.Errorf("%d windows were sealed and %d were missing, of 6 days", before.Windows, len(after.Plans[0].Missing))
	}
}

// blackhole drops the packets while closed says so: a connection fails after a quarter of a minute.
type blackhole struct {
	wire   *kit.Wire
	closed func() bool
}

func (b *blackhole) RoundTrip(req *http.Request) (*http.Response, error) {
	if !b.closed() {
		return b.wire.RoundTrip(req)
	}
	select {
	case <-time.After(15 * time.Second):
		return nil, errors.New("dial tcp 192.0.2.1:443: i/o timeout")
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

func TestAPortalThatCanNotBeReachedEndsTheRunSoon(t *testing.T) {
	for _, c := range []struct {
		name      string
		before    Span // exported while the Portal could be reached
		transport func(w *world) http.RoundTripper
		says      string
	}{
		{"packets are dropped", Span{},
			func(*world) http.RoundTripper { return &blackhole{nil, func() bool { return true }} },
			"dial tcp 192.0.2.1:443: i/o timeout"},
		{"packets are dropped, all is covered", span(1, 19),
			func(*world) http.RoundTripper { return &blackhole{nil, func() bool { return true }} },
			"dial tcp 192.0.2.1:443: i/o timeout"},
		{"connected, and no answer", Span{}, func(w *world) http.RoundTripper { w.Faults("hang=1"); return w.env.Transport },
			"nothing at portal.test has answered"},
		{"connections are reset", Span{}, func(w *world) http.RoundTripper { w.Faults("reset=1"); return w.env.Transport },
			"connection reset"},
	} {
		kit.Bubble(t, c.name, func(t *testing.T) {
			w := newWorld(t, kit.Settings{PerDay: 50})
			w.Cfg.Export.Lookback = config.Duration(14 * 24 * time.Hour)
			if !c.before.From.IsZero() {
				w.export(c.before)
			}
			reachable := w.env.Transport
			w.env.Transport = c.transport(w)
			began := time.Now()
			res, err := Export(t.Context(), w.Cfg, w.env, ExportOptions{Span: span(1, 19)})
			if took := time.Since(began); took > 3*time.Minute {
				t.Errorf("the run gave up after %v", took)
			}
			if err == nil || res.Status != schemas.StatusFailed ||
				!strings.Contains(err.Error(), "the Portal can't be reached") || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v, %v", res, err)
			}
			if h := kit.HintOf(err); !strings.Contains(h, "base_url") || !strings.Contains(h, "usagelake doctor") {
				t.Errorf("the hint is %q", h)
			}
			if n := len(res.Accounts[0].Failed); n == 0 {
				t.Error("no window is said to have failed")
			}
			w.Faults("")
			w.env.Transport = reachable
			w.export(span(1, 19))
			w.Equal(kit.Day(1), kit.Day(19))
		})
	}
}

func TestAnAccountThatCanNotBeReachedHoldsUpNoOther(t *testing.T) {
	kit.Bubble(t, "two", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 50},
			{ID: "lost", RecordsPerDay: 50}}})
		w.Cfg.Accounts[1].BaseURL = "https://lost.test" + portal.BasePath
		both := w.env.Transport
		w.env.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
			if req.URL.Host == "lost.test" {
				return (&blackhole{nil, func() bool { return true }}).RoundTrip(req)
			}
			return both.RoundTrip(req)
		})
		res, err := w.try(t.Context(), span(17, 20))
		if res.Status != schemas.StatusPartial || res.Accounts[0].Status != schemas.StatusDone ||
			res.Accounts[1].Status != schemas.StatusFailed {
			t.Errorf("%+v, %v", res, err)
		}
		w.EqualAccount("acme", "USD", kit.Day(17), kit.Day(20))
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestAnExportDoesWithoutABalanceThatNeverAnswers(t *testing.T) {
	kit.Bubble(t, "hang", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Faults: "hang=1,only=balance"})
		if _, err := Export(t.Context(), w.Cfg, w.env, ExportOptions{Span: span(17, 20)}); err != nil {
			t.Fatal(err)
		}
		w.EqualAccount("acme", "", kit.Day(17), kit.Day(20))
	})
}

func TestAnOutageOfMinutesInTheMiddleOfARunIsWaitedOut(t *testing.T) {
	kit.Bubble(t, "three minutes", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		began := time.Now()
		var outage time.Time
		hole := &blackhole{wire: w.env.Transport.(*kit.Wire)}
		var mu sync.Mutex
		n := 0
		hole.closed = func() bool {
			mu.Lock()
			defer mu.Unlock()
			if n++; n == 20 {
				outage = time.Now()
			}
			return !outage.IsZero() && time.Since(outage) < 3*time.Minute
		}
		w.env.Transport = hole
		res, err := Export(t.Context(), w.Cfg, w.env, ExportOptions{Span: span(1, 20)})
		if err != nil {
			t.Fatalf("%+v, %v", res, err)
		}
		if time.Since(began) < 3*time.Minute {
			t.Error("there was no outage")
		}
		w.Equal(kit.Day(1), kit.Day(20))
	})
}
