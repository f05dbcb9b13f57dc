package portal

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// accepted tells which requests at the given milliseconds a limiter lets through, each over before the next.
func accepted(t *testing.T, o LimitOptions, at ...int) string {
	t.Helper()
	c := &clock{time.Unix(1_000_000, 0)}
	o.Clock = c.now
	if err := o.setDefaults(); err != nil {
		t.Fatal(err)
	}
	l := newLimiter(o)
	var b strings.Builder
	for _, ms := range at {
		c.t = time.Unix(1_000_000, 0).Add(time.Duration(ms) * time.Millisecond)
		if v := l.acquire(); v.ok {
			l.release()
			b.WriteByte('y')
		} else {
			if v.wait <= 0 {
				t.Errorf("refused at %d ms without a wait", ms)
			}
			b.WriteByte('n')
		}
	}
	return b.String()
}

func TestEachLimiterIsStrict(t *testing.T) {
	for _, c := range []struct {
		name string
		o    LimitOptions
		at   []int
		want string
	}{
		{"sliding: three within a second", LimitOptions{}, []int{0, 999, 999, 1000, 1001, 1998, 1999}, "yynynny"},
		{"sliding: over the edge of a clock second", LimitOptions{}, []int{900, 950, 1050, 1900, 1901}, "yynyn"},
		{"sliding: a refusal costs nothing", LimitOptions{}, []int{0, 0, 1, 2, 3, 1000}, "yynnny"},
		{"sliding: half a request a second", LimitOptions{Rate: 0.5}, []int{0, 1000, 1999, 2000}, "ynny"},
		{"fixed: both sides of the edge", LimitOptions{Kind: Fixed}, []int{900, 950, 960, 1000, 1001, 1002, 2000}, "yynyyny"},
		{"bucket of one", LimitOptions{Kind: Bucket}, []int{0, 0, 499, 500, 600, 999, 1000, 5000, 5001}, "ynnynnyyn"},
		{"bucket of three", LimitOptions{Kind: Bucket, Burst: 3}, []int{0, 0, 0, 0, 500, 501, 9000, 9000, 9000, 9000},
			"yyynynyyyn"},
		{"off", LimitOptions{Kind: Off}, []int{0, 0, 0, 0, 0, 0}, "yyyyyy"},
	} {
		if got := accepted(t, c.o, c.at...); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestNeverMoreThanAllowedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{Now: time.Now, Limit: LimitOptions{Rate: 1000, Concurrency: 20},
			Faults: Faults{Latency: time.Second}})
		status := make(chan int)
		for range 23 {
			go func() { status <- do(t, p, "GET", BasePath+"/balance", p.Key("0"), "").status }()
		}
		n := map[int]int{}
		for range 23 {
			n[<-status]++
		}
		if n[200] != 20 || n[429] != 3 {
			t.Errorf("statuses %v", n)
		}
		if s := p.Stats(); s.MaxInFlight != 20 || s.InFlight != 0 || s.Limited != 3 || s.Accepted != 20 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestARefusedRequestSaysWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{Now: time.Now, Limit: LimitOptions{RetryAfter: "seconds", Headers: true}})
		get := func() answered { return do(t, p, "GET", BasePath+"/balance", p.Key("0"), "") }
		if a := get(); a.header.Get("X-RateLimit-Remaining") != "1" || a.header.Get("X-RateLimit-Limit") != "2" {
			t.Errorf("headers %v", a.header)
		}
		get()
		a := get()
		if a.status != 429 || !strings.HasPrefix(a.Meta.Message, "rate_limit_exceeded") ||
			a.header.Get("Retry-After") != "1" {
			t.Errorf("%d %s %v", a.status, a.raw, a.header)
		}
		time.Sleep(time.Second)
		if a := get(); a.status != 200 {
			t.Errorf("after the wait: %s", a.raw)
		}
		p.options.Limit.RetryAfter = "date"
		get()
		a = get()
		if d, err := time.Parse(time.RFC1123, a.header.Get("Retry-After")); err != nil ||
			d.Before(time.Now().Add(time.Second)) {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
		if s := p.Stats(); s.MaxPerSecond != 2 {
			t.Errorf("%d requests in a second", s.MaxPerSecond)
		}
	})
}

func TestKeysAreLimitedEachByItself(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: LimitOptions{Clock: c.now}, Orgs: []OrgOptions{{ID: "a"}, {ID: "b"}}})
	for i, want := range []int{200, 200, 429} {
		for _, org := range []string{"a", "b"} {
			if a := do(t, p, "GET", BasePath+"/balance", p.Key(org), ""); a.status != want {
				t.Errorf("request %d of %s: %d", i, org, a.status)
			}
		}
	}
	// What is refused before the limiter isn't counted.
	c.t = c.t.Add(time.Second)
	for range 5 {
		do(t, p, "GET", BasePath+"/balance", "sk_mg_x", "")
	}
	if a := do(t, p, "GET", BasePath+"/balance", p.Key("a"), ""); a.status != 200 {
		t.Error("refused keys cost a good one its rate")
	}
}
