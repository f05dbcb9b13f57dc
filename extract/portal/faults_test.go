package portal

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func faults(t testing.TB, s string) Faults {
	t.Helper()
	f, err := ParseFaults(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wire is what a client sees of one request over a real connection.
type wire struct {
	status int
	header http.Header
	body   []byte
	err    error // of the request or of reading the body
}

func dial(t *testing.T, p *Portal) (*Server, func(path string) wire) {
	t.Helper()
	s, err := Listen("127.0.0.1:0", p, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := &http.Client{
		Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       10 * time.Second,
	}
	return s, func(path string) wire {
		r, err := http.NewRequest("GET", s.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+p.Key("0"))
		res, err := c.Do(r)
		if err != nil {
			return wire{err: err}
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return wire{res.StatusCode, res.Header, b, err}
	}
}

// metaCode is the code inside an envelope, -1 if there is none.
func (w wire) metaCode() int {
	var e struct{ Meta *struct{ Code int } }
	if json.Unmarshal(w.body, &e) != nil || e.Meta == nil {
		return -1
	}
	return e.Meta.Code
}

// TestEachFailureDoesWhatItSays has a row for every fault of the wire.
func TestEachFailureDoesWhatItSays(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	s, get := dial(t, p)
	path := query(noon.Add(-4*time.Hour), noon.Add(-time.Hour), "pagesize", "100")
	status := func(n int) func(wire) bool {
		return func(w wire) bool { return w.err == nil && w.status == n && w.metaCode() == n }
	}
	for _, c := range []struct {
		faults string
		ok     func(wire) bool
	}{
		{"status-429=1", func(w wire) bool { return status(429)(w) && w.header.Get("Retry-After") == "" }},
		{"status-429=1,retry-after=90s", func(w wire) bool { return status(429)(w) && w.header.Get("Retry-After") == "90" }},
		{"status-429=1,retry-after=90s,retry-after-date", func(w wire) bool {
			d, err := http.ParseTime(w.header.Get("Retry-After"))
			return status(429)(w) && err == nil && d.Sub(noon) >= 90*time.Second && d.Sub(noon) <= 91*time.Second
		}},
		{"status-503=1,retry-after=5s", func(w wire) bool { return status(503)(w) && w.header.Get("Retry-After") == "5" }},
		{"status-408=1", status(408)}, {"status-500=1", status(500)}, {"status-502=1", status(502)},
		{"status-503=1", status(503)}, {"status-504=1", status(504)},
		{"html=1", func(w wire) bool {
			return w.status == 502 && bytes.HasPrefix(w.body, []byte("<html>")) && w.metaCode() == -1
		}},
		{"html=1,html-status=200", func(w wire) bool { return w.status == 200 && bytes.HasPrefix(w.body, []byte("<html>")) }},
		{"empty=1", func(w wire) bool { return w.err == nil && w.status == 200 && len(w.body) == 0 }},
		{"content-type=1", func(w wire) bool { return w.metaCode() == 0 && w.header.Get("Content-Type") == "text/html" }},
		{"code-inside=1", func(w wire) bool { return w.status == 200 && w.metaCode() == 500 }},
		{"code-inside=1,inside-code=429", func(w wire) bool { return w.status == 200 && w.metaCode() == 429 }},
		{"code-200", func(w wire) bool { return w.status == 200 && w.metaCode() == 200 }},
		{"malformed=1", func(w wire) bool {
			return w.err == nil && w.status == 200 && len(w.body) > 1000 && !json.Valid(w.body)
		}},
		{"cut=1", func(w wire) bool { return w.err == nil && w.status == 200 && len(w.body) > 1000 && !json.Valid(w.body) }},
		{"truncate=1", func(w wire) bool { return errors.Is(w.err, io.ErrUnexpectedEOF) && len(w.body) > 1000 }},
		{"reset=1", func(w wire) bool { return w.status == 0 && w.err != nil }},
		{"reset-body=1", func(w wire) bool {
			return w.err != nil && (errors.Is(w.err, syscall.ECONNRESET) || errors.Is(w.err, io.ErrUnexpectedEOF))
		}},
		{"redirect=1", func(w wire) bool {
			return w.status == 307 && w.header.Get("Location") == "http://portal.invalid"+path
		}},
		{"redirect=1,redirect-to=http://127.0.0.9:1/",
			func(w wire) bool { return w.header.Get("Location") == "http://127.0.0.9:1"+path }},
		{"gzip=always", func(w wire) bool {
			z, err := gzip.NewReader(bytes.NewReader(w.body))
			if err != nil {
				return false
			}
			b, err := io.ReadAll(z)
			return err == nil && json.Valid(b)
		}},
		{"gzip-bomb=1", func(w wire) bool {
			z, err := gzip.NewReader(bytes.NewReader(w.body))
			if err != nil || len(w.body) > 2<<20 {
				return false
			}
			n, err := io.Copy(io.Discard, io.LimitReader(z, 100<<20))
			return err == nil && n == 100<<20
		}},
		{"drip=1ms,drip-bytes=5000", func(w wire) bool { return w.err == nil && w.metaCode() == 0 }},
		{"bare", func(w wire) bool {
			return w.status == 200 && bytes.HasPrefix(w.body, []byte(`{"data":{"list":[{"id":`)) &&
				bytes.HasSuffix(w.body, []byte("}}"))
		}},
		{"bare,code-200", func(w wire) bool { return w.status == 200 && w.metaCode() == -1 && json.Valid(w.body) }},
		{"bare,status-500=1", status(500)},
		{"echo-key=upper,status-500=1", func(w wire) bool {
			return status(500)(w) && bytes.Contains(w.body, []byte("internal_error: "+strings.ToUpper(p.Key("0"))))
		}},
		{"skew=-26h", func(w wire) bool { return w.header.Get("Date") == httpDate(noon.Add(-26*time.Hour)) }},
		{"", func(w wire) bool { return w.header.Get("Date") == httpDate(noon) && w.metaCode() == 0 }},
	} {
		p.SetFaults(faults(t, c.faults))
		if w := get(path); !c.ok(w) {
			t.Errorf("%s: %d %v %.80q %v", c.faults, w.status, w.header, w.body, w.err)
		}
	}
	if n := p.Stats().ByStatus["usage"][0]; n != 3 {
		t.Errorf("%d answers were lost, want 3", n)
	}

	p.SetFaults(faults(t, "hang=1"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", s.URL()+path, nil)
	r.Header.Set("Authorization", "Bearer "+p.Key("0"))
	if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hang: %v", err)
	}
}

// statuses are those of n requests for the balance.
func statuses(t *testing.T, p *Portal, n int) string {
	t.Helper()
	var b strings.Builder
	for range n {
		if do(t, p, "GET", BasePath+"/balance", p.Key("0"), "").status == 200 {
			b.WriteByte('.')
		} else {
			b.WriteByte('x')
		}
	}
	return b.String()
}

func TestFailuresKeepToTheirBounds(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	for s, want := range map[string]string{
		"status-503=1,to=3":          "xxx.......",
		"status-503=1,from=4,to=5":   "...xx.....",
		"status-503=1,from=9":        "........xx",
		"status-503=1,only=usage":    "..........",
		"status-503=1,only=balance":  "xxxxxxxxxx",
		"key-after=4":                "....xxxxxx",
		"":                           "..........",
		"from=1,to=10,run=3,drip=0s": "..........",
	} {
		p.SetFaults(faults(t, s))
		for _, k := range p.keys.list {
			k.Status = Active
		}
		whole := p.keys.list[0].whole
		var b strings.Builder
		for range 10 {
			if do(t, p, "GET", BasePath+"/balance", whole, "").status == 200 {
				b.WriteByte('.')
			} else {
				b.WriteByte('x')
			}
		}
		if b.String() != want {
			t.Errorf("%s: %s, want %s", s, b.String(), want)
		}
	}
}

func TestErrorsEchoTheKeyInAnotherCase(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Faults: faults(t, "echo-key=lower")})
	key := keyPrefix + strings.Repeat("AB", 32)
	for _, path := range []string{"/usage", "/balance"} {
		if a := do(t, p, "GET", BasePath+path, key, ""); a.status != 401 ||
			a.Meta.Message != "API key not found: "+strings.ToLower(key) {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
	if a := do(t, p, "GET", BasePath+"/balance", p.Key("0"), ""); a.Meta.Message != "" {
		t.Errorf("a success says %q", a.Meta.Message)
	}
}

func TestTheBalanceNamesAnotherCurrency(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: unlimited, Now: c.now})
	currency := func() string {
		var d struct {
			Currency string `json:"currency_code"`
		}
		json.Unmarshal(do(t, p, "GET", BasePath+"/balance", p.Key("0"), "").Data, &d)
		return d.Currency
	}
	for s, want := range map[string][2]string{"": {"USD", "USD"}, "currency=EUR": {"EUR", "EUR"},
		"currency=€,currency-after=5h": {"USD", "€"}, "currency-after=1h": {"USD", "USD"}} {
		c.t = noon
		p.SetFaults(faults(t, s))
		first := currency()
		c.t = noon.Add(5 * time.Hour)
		if got := [2]string{first, currency()}; got != want {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
	}
}

func TestFailuresEndInTime(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: unlimited, Now: c.now, Faults: faults(t, "status-429=1,for=1h")})
	for _, want := range []string{"xx", "xx", ".."} {
		if got := statuses(t, p, 2); got != want {
			t.Errorf("at %v: %s, want %s", c.t.Sub(noon), got, want)
		}
		c.t = c.t.Add(30 * time.Minute)
	}
}

func TestAProbabilityIsRepeatableAndAboutRight(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	p.SetFaults(faults(t, "status-500=0.2"))
	first := statuses(t, p, 1000)
	p.SetFaults(faults(t, "status-500=0.2"))
	if statuses(t, p, 1000) != first {
		t.Error("the same faults hit other requests")
	}
	if n := strings.Count(first, "x"); n < 150 || n > 250 {
		t.Errorf("%d of 1000 failed", n)
	}
	p.SetFaults(faults(t, "status-500=0.2,run=10"))
	runs := statuses(t, p, 1000)
	for i := 0; i < 1000; i += 10 {
		if part := runs[i : i+10]; part != strings.Repeat("x", 10) && part != strings.Repeat(".", 10) {
			t.Fatalf("requests %d on: %s", i+1, part)
		}
	}
	if s := p.Stats(); s.Faults["status-500"] != strings.Count(first, "x")*2+strings.Count(runs, "x") {
		t.Errorf("stats %v", s.Faults)
	}
}

func TestLatencyHoldsAnswersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, Options{Now: time.Now, Limit: unlimited, Faults: Faults{Latency: 2 * time.Second, Jitter: time.Second}})
		seen := map[time.Duration]bool{}
		for range 5 {
			began := time.Now()
			do(t, p, "GET", BasePath+"/balance", p.Key("0"), "")
			d := time.Since(began)
			if d < 2*time.Second || d >= 3*time.Second {
				t.Errorf("answered after %v", d)
			}
			seen[d] = true
		}
		if len(seen) < 2 {
			t.Error("no jitter")
		}
	})
}

func TestAKeyFailsInTheWayAskedFor(t *testing.T) {
	for how, want := range map[string]struct {
		status  int
		message string
	}{
		"disabled": {401, "unauthorized: invalid api key"}, "revoked": {401, "unauthorized: invalid api key"},
		"expired": {401, "unauthorized: invalid api key"},
		"deleted": {401, "API key not found"}, "stripped": {403, "forbidden"},
	} {
		p := open(t, Options{Limit: unlimited, Faults: Faults{KeyAfter: 2, KeyBecomes: how}})
		key := p.Key("0")
		for i := range 4 {
			a := do(t, p, "GET", BasePath+"/balance", key, "")
			if i < 2 && a.status != 200 {
				t.Errorf("%s: request %d: %d", how, i+1, a.status)
			}
			if i >= 2 && (a.status != want.status || !strings.HasPrefix(a.Meta.Message, want.message)) {
				t.Errorf("%s: request %d: %d %s", how, i+1, a.status, a.raw)
			}
		}
		// Once mended it works, though the fault is still in force.
		var err error
		switch how {
		case "disabled":
			err = p.EnableKey(key)
		case "revoked":
			err = p.RestoreKey(key)
		case "expired":
			err = p.ExpireKey(key, time.Time{})
		case "stripped":
			err = p.SetScopes(key, ScopeBalance)
		case "deleted":
			continue
		}
		if a := do(t, p, "GET", BasePath+"/balance", key, ""); err != nil || a.status != 200 {
			t.Errorf("%s, mended: %v %s", how, err, a.raw)
		}
	}
}

func TestBadRecordsAreCountedByTheTruth(t *testing.T) {
	from, to := noon.Add(-6*time.Hour), noon
	for _, kind := range append([]string{""}, badKinds...) {
		p := open(t, Options{Limit: unlimited, Faults: Faults{Bad: 0.1, BadKinds: kind}})
		bad := map[string]int{}
		n := 0
		for r := range p.Truth("0", from, to) {
			n++
			if r.Bad != "" {
				bad[r.Bad]++
			}
		}
		if kind == "" && len(bad) != len(badKinds) {
			t.Errorf("kinds %v", bad)
		}
		if kind != "" && (len(bad) != 1 || bad[kind] < n/20) {
			t.Errorf("%s: %v of %d", kind, bad, n)
		}
		seen := map[string]int{}
		for page := 1; ; page++ {
			a := do(t, p, "GET", query(from, to, "pagesize", "100", "page", fmt.Sprint(page)), p.Key("0"), "")
			var d struct{ List []json.RawMessage }
			if err := json.Unmarshal(a.Data, &d); err != nil {
				t.Fatal(err)
			}
			if len(d.List) == 0 {
				break
			}
			for _, raw := range d.List {
				if k := spoilt(raw); k != "" {
					seen[k]++
				}
			}
		}
		if fmt.Sprint(seen) != fmt.Sprint(bad) {
			t.Errorf("%q: served %v, truth %v", kind, seen, bad)
		}
	}
}

// spoilt finds out how a served record is bad.
func spoilt(raw json.RawMessage) string {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		if raw[0] == '"' {
			return "text"
		}
		return "number"
	}
	switch id, ok := m["id"]; {
	case !ok:
		return "no-id"
	case string(id) == "null":
		return "null-id"
	case len(m["request_time"]) == 13:
		return "ms-time"
	case bytes.Contains(m["input_token"], []byte(".")):
		return "fraction"
	case string(m["total_amount"]) == `"NaN"`:
		return "nan"
	case len(m["total_amount"]) > 30:
		return "huge"
	}
	return ""
}

func TestWhatHappensToRecordsDaysLater(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: unlimited, Now: c.now, Faults: faults(t,
		"late=0.1,late-by=30h,corrected=0.1,corrected-by=50h,vanish=0.1,vanish-by=70h")})
	from, to := noon.Add(-6*time.Hour), noon
	take := func() map[string]Record {
		t.Helper()
		m := map[string]Record{}
		for r := range p.Truth("0", from, to) {
			m[r.ID] = r
		}
		served := drain(t, p, from, to)
		if len(served) != len(m) {
			t.Errorf("served %d, truth has %d", len(served), len(m))
		}
		for _, s := range served {
			served := roundEven(rat(t, s["amount"].(json.Number).String()))
			if r, ok := m[s["id"].(string)]; !ok || served.Cmp(rat(t, r.Amount)) != 0 {
				t.Fatalf("served %v, truth %+v", s, r)
			}
		}
		return m
	}
	first := take()
	c.t = noon.Add(31 * time.Hour)
	second := take()
	c.t = noon.Add(51 * time.Hour)
	third := take()
	c.t = noon.Add(71 * time.Hour)
	last := take()
	share := func(what string, n, of int) {
		t.Helper()
		if n < of/20 || n > of/5 {
			t.Errorf("%s: %d of %d", what, n, of)
		}
	}
	share("late", len(second)-len(first), len(second))
	for id, r := range second {
		if _, early := first[id]; r.Late == early {
			t.Fatalf("late %v, there at first %v", r.Late, early)
		}
	}
	changed := 0
	for id, r := range third {
		was := second[id]
		if r.Corrected {
			changed++
			if r.Amount == was.Amount && r.OutputTokens == was.OutputTokens {
				t.Fatalf("correction changed nothing: %+v", r)
			}
		} else if r.Amount != was.Amount {
			t.Fatalf("changed without a correction: %+v", r)
		}
	}
	share("corrected", changed, len(third))
	share("vanished", len(third)-len(last), len(third))
	for id := range last {
		if _, ok := third[id]; !ok {
			t.Fatal("a record came out of nowhere")
		}
	}
	c.t = noon.Add(500 * time.Hour)
	if now := take(); len(now) != len(last) {
		t.Error("something changed after everything had settled")
	}
}

func TestWhatIsOfTheFutureDoesNotExist(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: unlimited, Now: c.now})
	from, to := noon.Add(-time.Hour), noon.Add(time.Hour)
	before := truthIDs(p, from, to)
	for _, r := range drain(t, p, from, to) {
		if n, _ := r["request_time"].(json.Number).Int64(); n > noon.Unix() {
			t.Fatal("a record of the future")
		}
	}
	c.t = noon.Add(20 * time.Minute)
	after := truthIDs(p, from, to)
	if len(after) <= len(before) || !slices.Equal(after[:len(before)], before) {
		t.Errorf("%d records, then %d", len(before), len(after))
	}
}

func TestRecordsArriveAndVanishDuringPaging(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Faults: faults(t, "arrive-every=2,arrive-max=5")})
	from, to := noon.Add(-4*time.Hour), noon.Add(-time.Hour)
	n := len(truthIDs(p, from, to))
	var totals []int
	for range 14 {
		totals = append(totals, *usage(t, p, from, to).Total-n)
	}
	if want := []int{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5}; !slices.Equal(totals, want) {
		t.Errorf("arrived %v, want %v", totals, want)
	}
	inOrder := slices.IsSortedFunc(slices.Collect(p.Truth("0", from, to)),
		func(a, b Record) int { return a.RequestTime.Compare(b.RequestTime) })
	if got := slices.Sorted(slices.Values(truthIDs(p, from, to))); len(got) != n+5 || !inOrder ||
		len(slices.Compact(got)) != n+5 {
		t.Errorf("truth has %d, want %d", len(got), n+5)
	}
	p.SetFaults(faults(t, "drop-every=1,drop-max=9"))
	for range 12 {
		usage(t, p, from, to)
	}
	if got := len(truthIDs(p, from, to)); got != n+5-9 {
		t.Errorf("truth has %d, want %d", got, n-4)
	}
	p.SetFaults(Faults{})
	if got := ids(drain(t, p, from, to)); !slices.Equal(got, truthIDs(p, from, to)) {
		t.Error("served and truth differ")
	}
}

func TestFaultsAreReadAndWritten(t *testing.T) {
	const text = "latency=200ms,status-429=0.25,retry-after=1m30s,order=newest,total-delta=-2,strings=true,bad=0.5," +
		"bad-kinds=no-id+nan,skew=-1h0m0s"
	f := faults(t, text)
	if f.Latency != 200*time.Millisecond || f.Limited != 0.25 || !f.Strings || f.TotalDelta != -2 || f.String() != text {
		t.Errorf("read %+v as %s", f, f.String())
	}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back Faults
	if err := json.Unmarshal(b, &back); err != nil || back != f {
		t.Errorf("%s: %v, %+v", b, err, back)
	}
	var g Faults
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	g.RegisterFlag(fs, "fault")
	if err := fs.Parse([]string{"--fault", "latency=200ms,status-429=0.25", "--fault", "strings"}); err != nil ||
		g.Latency != 200*time.Millisecond || !g.Strings {
		t.Errorf("flags: %v, %+v", err, g)
	}
	if err := fs.Parse([]string{"--fault", "latency=fast"}); err == nil {
		t.Error("a bad flag was accepted")
	}
	for _, s := range []string{"nothing=1", "latency=5", "latency=-1s", "bad=1.5", "bad=NaN", "order=sideways", "from=-1",
		"from=x", "strings=maybe", "bad-kinds=odd", "html-status=99",
		"burst=5001", "burst-every=9m", "settle-by=25h", "latency=90000h", "from=2000000000", "total-delta=-2000000000",
		"past-end=500"} {
		if _, err := ParseFaults(s); err == nil {
			t.Errorf("%s: accepted", s)
		}
	}
	for _, s := range []string{`{"latency":5}`, `{"what":1}`, `[]`} {
		if json.Unmarshal([]byte(s), new(Faults)) == nil {
			t.Errorf("%s: accepted", s)
		}
	}
	seen := map[string]bool{}
	for _, n := range FaultNames() {
		if n.Name == "" || n.Kind == "" || n.Help == "" || seen[n.Name] {
			t.Errorf("fault %+v", n)
		}
		seen[n.Name] = true
	}
}

func TestListenKeepsToLoopback(t *testing.T) {
	p := open(t, Options{})
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:80", "nonsense"} {
		if s, err := Listen(addr, p, false); err == nil {
			s.Close()
			t.Errorf("%s: accepted", addr)
		}
	}
	s, err := Listen("127.0.0.1:0", p, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := net.SplitHostPort(s.Addr()); err != nil || s.BaseURL() != "http://"+s.Addr()+BasePath {
		t.Errorf("%s %s", s.Addr(), s.BaseURL())
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if s.Err() != nil {
		t.Error(s.Err())
	}
}

func TestEveryFaultSaysWhatItDoes(t *testing.T) {
	names := FaultNames()
	for _, n := range names {
		if n.Name == "" || n.Help == "" {
			t.Errorf("%+v", n)
		}
	}
	if len(names) != len(faultHelp) {
		t.Errorf("%d faults, and %d texts about them", len(names), len(faultHelp))
	}
}
