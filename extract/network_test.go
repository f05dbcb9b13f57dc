package extract

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/schemas"
)

// realClient asks a Portal over real connections. It waits long enough for any answer that is on its way, however busy
// the machine.
func realClient(t *testing.T, base, key string) *Client {
	t.Helper()
	return clientWithTimeout(t, base, key, 30*time.Second)
}

func clientWithTimeout(t *testing.T, base, key string, timeout time.Duration) *Client {
	t.Helper()
	c, err := NewClient(Options{Account: "acme", BaseURL: base, Key: key, Pacer: NewPacer(500, 0), Timeout: timeout,
		MaxBody: 4 << 20, Retry: Retry{Attempts: 2, Base: time.Millisecond, Cap: 2 * time.Millisecond,
			Throttled: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func listen(t *testing.T, p *portal.Portal) *portal.Server {
	t.Helper()
	s, err := portal.Listen("127.0.0.1:0", p, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestAFailureThatLastsSaysWhatHappenedAndIsOfTheRightKind(t *testing.T) {
	for _, c := range []struct {
		faults, want string
		kind         error
	}{
		{"reset=1", "", ErrTemporary},
		{"reset-body=1", "broke off", ErrTemporary},
		{"truncate=1", "broke off", ErrTemporary},
		{"cut=1", "can't be read", ErrTemporary},
		{"malformed=1", "can't be read", ErrTemporary},
		{"empty=1", "it is empty", ErrTemporary},
		{"html=1", "HTML", ErrTemporary},
		{"html=1,html-status=200", "HTML", ErrTemporary},
		{"hang=1", "no whole answer within 500ms", ErrTemporary},
		{"drip=200ms,drip-bytes=64", "no whole answer within 500ms", ErrTemporary},
		{"gzip-bomb=1", "larger than 4194304 bytes", ErrPermanent},
		{"redirect=1", "redirected to http://portal.invalid/", ErrPermanent},
		{"redirect=1,redirect-to=https://evil.example", "redirected to https://evil.example/", ErrPermanent},
		{"status-500=1", "HTTP 500", ErrTemporary},
		{"status-503=1", "HTTP 503", ErrTemporary},
		{"status-503=1,retry-after=900s", "HTTP 503", ErrTemporary},
		{"status-429=1,retry-after=900s", "HTTP 429", ErrThrottled},
		{"code-inside=1", "error code 500", ErrTemporary},
		{"code-inside=1,inside-code=401", "error code 401", ErrRefused},
		{"code-inside=1,inside-code=400", "error code 400", ErrPermanent},
	} {
		t.Run(c.faults, func(t *testing.T) {
			f, err := portal.ParseFaults(c.faults)
			if err != nil {
				t.Fatal(err)
			}
			p := newPortal(t, portal.Options{Faults: f, Limit: portal.LimitOptions{Kind: portal.Off}})
			timeout := 30 * time.Second
			if strings.Contains(c.want, "within 500ms") { // answers that never come whole
				timeout = 500 * time.Millisecond
			}
			client := clientWithTimeout(t, listen(t, p).BaseURL(), p.Key(org), timeout)
			w := schemas.Window{Account: "acme", Start: day(3), End: day(4)}
			_, err = client.usage(t.Context(), ask{window: w, start: day(3).Unix(), end: day(4).Unix(), size: 100})
			var api *APIError
			if !errors.As(err, &api) || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %v with %q", err, c.kind, c.want)
			}
			if !strings.HasPrefix(err.Error(),
				"account acme: GET /usage page 1 of 2026-11-03T00:00:00Z/2026-11-04T00:00:00Z: ") {
				t.Errorf("%v doesn't name account, request and window", err)
			}
			if strings.Contains(c.faults, "status-") && !strings.Contains(err.Error(), "request_id ") {
				t.Errorf("%v has no request_id", err)
			}
			if errors.Is(c.kind, ErrTemporary) != (client.Counts().Retries > 0) && !strings.Contains(c.faults, "retry-after") {
				t.Errorf("%d retries of a failure that is: %v", client.Counts().Retries, c.kind)
			}
			if strings.Contains(err.Error(), p.Key(org)) {
				t.Error("the key stands in the error")
			}
		})
	}
}

func TestThrottlingThatLastsEndsTheRunAndDoesNotPutItToSleep(t *testing.T) {
	for _, c := range []struct{ name, status, header, body string }{
		{"a Retry-After of a day", "429", "86400",
			`{"meta":{"code":429,"message":"rate_limit_exceeded","request_id":"r"},"data":null}`},
		{"a 429 inside a 200", "200", "",
			`{"meta":{"code":429,"message":"rate_limit_exceeded","request_id":"r"},"data":null}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				if c.status == "429" {
					w.WriteHeader(http.StatusTooManyRequests)
				}
				_, _ = w.Write([]byte(c.body))
			}))
			defer s.Close()
			client := realClient(t, s.URL, "sk_mg_x")
			for range 2 {
				if _, err := client.Balance(t.Context()); !errors.Is(err, ErrThrottled) {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestKeysInWhatTheServerSaysAreRedacted(t *testing.T) {
	const key = "sk_mg_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"meta":{"code":401,"message":"unknown key ` +
			strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + `\u001b[31m","request_id":"` + key +
			`"},"data":null}`))
	}))
	defer s.Close()
	c := realClient(t, s.URL, key)
	_, err := c.Balance(t.Context())
	if !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	if text := err.Error(); strings.Contains(text, "0123456789abcdef") || strings.Contains(text, "\x1b") ||
		!strings.Contains(text, "[key]") {
		t.Errorf("%q", text)
	}
}

func TestAServerThatIsNotTrustedOrNotThereGetsNoKey(t *testing.T) {
	asked := false
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer s.Close()
	for _, c := range []struct{ name, base, want string }{
		{"untrusted certificate", s.URL, "certificate"},
		{"no such host", "https://portal.invalid/api", "portal.invalid"},
		{"nobody listens", "https://127.0.0.1:1/api", "refused"},
		{"plain HTTP behind https", strings.Replace(httptest.NewServer(nil).URL, "http://", "https://", 1),
			"HTTP response to HTTPS client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := realClient(t, c.base, "sk_mg_x").Balance(t.Context())
			if !errors.Is(err, ErrTemporary) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if asked {
		t.Error("a server with an untrusted certificate was asked")
	}
}

func TestBaseURLsThatWouldGiveTheKeyAwayAreRefused(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"http://portal.example/api", "in the clear"},
		{"http://192.168.0.1/api", "in the clear"},
		{"http://localhost.example/api", "in the clear"},
		{"http://127.0.0.1.example/api", "in the clear"},
		{"https://user:secret@portal.example/api", "user name or password"},
		{"https://portal.example/api?key=x", "a query"},
		{"file:///etc/passwd", "no host"},
		{"portal.example/api", "no host"},
		{"", "no host"},
		{"ftp://portal.example", "not http"},
		{"https://portal.example", "only a host"},
		{"https://portal.example/", "only a host"},
		{"https://portal.example/api/usage", "leave /usage away"},
		{"https://portal.example/api/balance/", "leave /balance away"},
		{"http://127.0.0.1:80/x/usage", "leave /usage away"},
	} {
		_, err := NewClient(Options{Account: "a", BaseURL: c.url, Key: "k"})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", c.url, err, c.want)
		}
	}
	for _, good := range []string{"https://portal.example/api/", "http://127.0.0.1:80/x", "http://127.0.0.1:80",
		"https://portal.example/usage/v1", "http://[::1]:80/x", "http://localhost/x"} {
		if _, err := NewClient(Options{Account: "a", BaseURL: good, Key: "k"}); err != nil {
			t.Error(err)
		}
	}
	for _, key := range []string{"", "a b", "a\nb", "ä"} {
		if _, err := NewClient(Options{Account: "a", BaseURL: "https://x/", Key: key}); err == nil ||
			key != "" && strings.Contains(err.Error(), key) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func TestARequestThatIsGivenUpTellsWhy(t *testing.T) {
	p := newPortal(t, portal.Options{Faults: portal.Faults{Latency: 10 * time.Second},
		Limit: portal.LimitOptions{Kind: portal.Off}})
	c := realClient(t, listen(t, p).BaseURL(), p.Key(org))
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	if _, err := c.Balance(ctx); !errors.Is(err, why) {
		t.Errorf("%v, want the cause", err)
	}
}

func TestClockSkewIsReadOffTheDateHeader(t *testing.T) {
	p := newPortal(t, portal.Options{Now: time.Now, Faults: portal.Faults{Skew: 5 * time.Minute},
		Limit: portal.LimitOptions{Kind: portal.Off}})
	c := realClient(t, listen(t, p).BaseURL(), p.Key(org))
	if _, known := c.ClockSkew(); known {
		t.Error("a skew is known before any answer")
	}
	if _, err := c.Balance(t.Context()); err != nil {
		t.Fatal(err)
	}
	if skew, known := c.ClockSkew(); !known || (skew-5*time.Minute).Abs() > 5*time.Second {
		t.Errorf("skew %v, %t", skew, known)
	}
}

func TestTheTimeAnAnswerTakesIsNoClockSkew(t *testing.T) {
	for _, c := range []struct {
		name             string
		ahead, latency   time.Duration // of this machine's clock; of the answer
		minSkew, maxSkew time.Duration
	}{
		{"right", 0, 0, 0, 0},
		{"right, and a slow answer", 0, 50 * time.Second, 0, 0},
		{"an hour ahead", time.Hour, 0, -time.Hour - time.Second, -time.Hour},
		{"an hour ahead, and a slow answer", time.Hour, 50 * time.Second, -time.Hour - 51*time.Second, -time.Hour},
		{"an hour behind", -time.Hour, 0, time.Hour - time.Second, time.Hour},
		{"an hour behind, and a slow answer", -time.Hour, 50 * time.Second, time.Hour - 51*time.Second, time.Hour},
		{"less behind than the answer took", -20 * time.Second, 50 * time.Second, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(300 * time.Millisecond) // the header cuts off fractions
				p := newPortal(t, portal.Options{Now: time.Now, Limit: portal.LimitOptions{Kind: portal.Off}})
				client, err := NewClient(Options{Account: "acme", BaseURL: "https://portal.test" + p.BasePath(), Key: p.Key(org),
					Transport: &wire{p, c.latency}, Now: func() time.Time { return time.Now().Add(c.ahead) }})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := client.Balance(t.Context()); err != nil {
					t.Fatal(err)
				}
				skew, known := client.ClockSkew()
				if !known || skew < c.minSkew || skew > c.maxSkew {
					t.Errorf("skew %v (known: %t), want %v to %v", skew, known, c.minSkew, c.maxSkew)
				}
			})
		})
	}
}

// blackhole drops each packet: a connection fails after timeout, unless the request is given up before. Once open, the
// requests get through.
type blackhole struct {
	timeout time.Duration
	open    atomic.Pointer[wire]
}

func (b *blackhole) RoundTrip(req *http.Request) (*http.Response, error) {
	if w := b.open.Load(); w != nil {
		return w.RoundTrip(req)
	}
	select {
	case <-time.After(b.timeout):
		return nil, errors.New("dial tcp 192.0.2.1:443: i/o timeout")
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

func TestAHostThatHasNeverAnsweredIsGivenUpSoonByAllRequestsAtOnce(t *testing.T) {
	for _, dial := range []time.Duration{15 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			c, err := NewClient(Options{Account: "acme", BaseURL: "https://portal.test/api", Key: "sk_mg_x",
				Transport: &blackhole{timeout: dial}})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			var wg sync.WaitGroup
			for range 40 {
				wg.Go(func() {
					_, err := c.Balance(t.Context())
					if !errors.Is(err, ErrTemporary) || !strings.Contains(err.Error(),
						"nothing at portal.test has answered for 1m15s") {
						t.Error(err)
					}
					if last := "i/o timeout"; dial == 15*time.Second && !strings.Contains(err.Error(), last) {
						t.Errorf("%v doesn't say %q", err, last)
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); took > 80*time.Second {
				t.Errorf("it took %v", took)
			}
			if c.Answered() {
				t.Error("it is said to have answered")
			}
		})
	}
}

func TestAHostThatHasAnsweredOnceIsWaitedForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPortal(t, portal.Options{Limit: portal.LimitOptions{Kind: portal.Off}})
		hole := &blackhole{timeout: 15 * time.Second}
		hole.open.Store(&wire{p, 0})
		c, err := NewClient(Options{Account: "acme", BaseURL: "https://portal.test" + p.BasePath(), Key: p.Key(org),
			Transport: hole})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Balance(t.Context()); err != nil || !c.Answered() {
			t.Fatal(err)
		}
		hole.open.Store(nil)
		time.AfterFunc(90*time.Second, func() { hole.open.Store(&wire{p, 0}) })
		if _, err := c.Balance(t.Context()); err != nil {
			t.Errorf("an outage of 90 s is not waited out: %v", err)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "5", "-1", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, clock); d < 0 {
			t.Fatalf("%q: %v", s, d)
		}
	})
}
