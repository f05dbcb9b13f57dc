package portal

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// noon is the tests' now.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func open(t testing.TB, o Options) *Portal {
	t.Helper()
	if o.Now == nil {
		o.Now = (&clock{noon}).now
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// unlimited is what tests of anything but the limiter use.
var unlimited = LimitOptions{Kind: Off}

type answered struct {
	status int
	header http.Header
	raw    []byte
	Meta   struct {
		Code      int
		Message   string
		RequestID string `json:"request_id"`
	}
	Data json.RawMessage
}

func do(t testing.TB, p *Portal, method, path, bearer, body string) answered {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	a := answered{status: w.Code, header: w.Header(), raw: w.Body.Bytes()}
	if err := json.Unmarshal(a.raw, &a); err != nil && strings.HasPrefix(path, BasePath) && (p.Faults() == Faults{}) {
		t.Fatalf("%s %s: %d %q: %v", method, path, w.Code, a.raw, err)
	}
	return a
}

// query is a /usage path.
func query(from, to time.Time, extra ...string) string {
	v := url.Values{"start_time": {strconv.FormatInt(from.Unix(), 10)}, "end_time": {strconv.FormatInt(to.Unix(), 10)}}
	for i := 0; i < len(extra); i += 2 {
		v.Set(extra[i], extra[i+1])
	}
	return BasePath + "/usage?" + v.Encode()
}

type listed struct {
	List  []map[string]any
	Total *int
}

func usage(t testing.TB, p *Portal, from, to time.Time, extra ...string) listed {
	t.Helper()
	a := do(t, p, "GET", query(from, to, extra...), p.Key(p.Orgs()[0]), "")
	if a.status != 200 {
		t.Fatalf("usage: %d %s", a.status, a.raw)
	}
	var l listed
	d := json.NewDecoder(strings.NewReader(string(a.Data)))
	d.UseNumber()
	if err := d.Decode(&l); err != nil {
		t.Fatalf("%v: %s", err, a.raw)
	}
	return l
}

// drain pages a window to its end.
func drain(t testing.TB, p *Portal, from, to time.Time, extra ...string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for page := 1; ; page++ {
		l := usage(t, p, from, to, append([]string{"page", strconv.Itoa(page), "pagesize", "100"}, extra...)...)
		if len(l.List) == 0 {
			return all
		}
		all = append(all, l.List...)
	}
}

func ids(list []map[string]any) []string {
	var s []string
	for _, r := range list {
		s = append(s, fmt.Sprint(r["id"]))
	}
	return s
}

func truthIDs(p *Portal, from, to time.Time) []string {
	var s []string
	for r := range p.Truth(p.Orgs()[0], from, to) {
		s = append(s, r.ID)
	}
	return s
}

func TestEveryErrorComesInTheEnvelope(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{ID: "acme"}, {ID: "other"}}})
	day := noon.AddDate(0, 0, -1)
	good := query(day, noon)
	key := p.Key("acme")
	id, disabled, _ := p.AddKey(KeySpec{Org: "acme", User: "u", Name: "d", Scopes: []string{ScopeUsage}})
	p.DisableKey(id)
	id, revoked, _ := p.AddKey(KeySpec{Org: "acme", User: "u", Name: "r", Scopes: []string{ScopeUsage}})
	p.RevokeKey(id)
	id, expired, _ := p.AddKey(KeySpec{Org: "acme", User: "u", Name: "e", Scopes: []string{ScopeUsage}})
	p.ExpireKey(id, noon)
	_, balanceOnly, _ := p.AddKey(KeySpec{Org: "acme", User: "u", Name: "b", Scopes: []string{ScopeBalance}})
	_, member, _ := p.AddKey(KeySpec{Org: "acme", User: p.worlds[0].users[3], Name: "m", Scopes: []string{ScopeUsage}})

	for _, c := range []struct {
		name, method, path, key string
		status                  int
		message                 string
	}{
		{"no key", "GET", good, "", 401, "unauthorized: invalid api key"},
		{"no management key", "GET", good, "sk-abc", 401, "Invalid API key format"},
		{"unknown key", "GET", good, keyPrefix + strings.Repeat("0", 64), 401, "API key not found"},
		{"disabled key", "GET", good, disabled, 401, "unauthorized: invalid api key"},
		{"revoked key", "GET", good, revoked, 401, "unauthorized: invalid api key"},
		{"expired key", "GET", good, expired, 401, "unauthorized: invalid api key"},
		{"scope missing", "GET", good, balanceOnly, 403, "forbidden"},
		{"balance scope missing", "GET", BasePath + "/balance", member, 403, "forbidden"},
		{"somebody else's usage", "GET", good + "&user_id=" + p.worlds[0].users[4], member, 403, "forbidden"},
		{"another organisation's member", "GET", good + "&user_id=1", key, 403, "forbidden"},
		{"no start", "GET", BasePath + "/usage?end_time=1", key, 400, "invalid_request: start_time is required"},
		{"no end", "GET", BasePath + "/usage?start_time=1", key, 400, "invalid_request: end_time is required"},
		{"no number", "GET", BasePath + "/usage?start_time=now&end_time=2", key, 400, "invalid_request: start_time must"},
		{"backwards", "GET", query(noon, day), key, 400, "invalid_request: end_time is before"},
		{"page 0", "GET", good + "&page=0", key, 400, "invalid_request: page must"},
		{"pagesize no number", "GET", good + "&pagesize=x", key, 400, "invalid_request: pagesize must"},
		{"no such path", "GET", BasePath + "/nothing", key, 404, "not found"},
		{"outside the base", "GET", "/usage", key, 404, "not found"},
		{"method", "POST", good, key, 405, "method not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, p, c.method, c.path, c.key, "")
			var env map[string]json.RawMessage
			if err := json.Unmarshal(a.raw, &env); err != nil {
				t.Fatalf("%q: %v", a.raw, err)
			}
			if a.status != c.status || a.Meta.Code != c.status || !strings.HasPrefix(a.Meta.Message, c.message) ||
				string(env["data"]) != "null" || len(a.Meta.RequestID) != 32 {
				t.Errorf("got %d %s", a.status, a.raw)
			}
		})
	}
	if a := do(t, p, "GET", good+"&user_id="+p.worlds[0].users[3], member, ""); a.status != 200 {
		t.Errorf("a member's own usage: %s", a.raw)
	}
}

func TestRequestIDsAreNeverTheSame(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	seen := map[string]bool{}
	for range 200 {
		a := do(t, p, "GET", BasePath+"/balance", p.Key("0"), "")
		if seen[a.Meta.RequestID] {
			t.Fatal("request id twice")
		}
		seen[a.Meta.RequestID] = true
	}
}

func TestPagingTilesTheWindow(t *testing.T) {
	from, to := noon.Add(-26*time.Hour), noon.Add(-3*time.Hour+17*time.Second)
	for _, c := range []struct {
		faults string
		sizes  []int
	}{
		{"", []int{1, 37, 100, 1000}},
		{"order=newest", []int{33, 100}},
		{"order=random", []int{33, 100}},
		{"page-clamp=40", []int{100}},
		{"page-max=60,page-over=default", []int{60, 100}},
		{"gzip=off,strings,unknown-fields,ext=string,float-noise", []int{100}},
	} {
		f, err := ParseFaults(c.faults)
		if err != nil {
			t.Fatal(err)
		}
		p := open(t, Options{Limit: unlimited, Faults: f})
		want := truthIDs(p, from, to)
		if len(want) < 2000 {
			t.Fatalf("only %d records", len(want))
		}
		for _, size := range c.sizes {
			span := from
			if size == 1 { // a request a record: a smaller window will do
				span = to.Add(-20 * time.Minute)
				want = truthIDs(p, span, to)
			} else {
				want = truthIDs(p, from, to)
			}
			var got []string
			for page := 1; ; page++ {
				l := usage(t, p, span, to, "page", fmt.Sprint(page), "pagesize", fmt.Sprint(size))
				if *l.Total != len(want) {
					t.Fatalf("%q: total %d, want %d", c.faults, *l.Total, len(want))
				}
				if len(l.List) == 0 {
					break
				}
				got = append(got, ids(l.List)...)
			}
			switch {
			case f.Order == "newest":
				slices.Reverse(got)
			case f.Order == "random":
				if slices.Equal(got, want) {
					t.Error("random order is sorted")
				}
				slices.Sort(got)
				slices.Sort(want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q size %d: %d records, want %d", c.faults, size, len(got), len(want))
			}
		}
	}
}

func TestWindowsOfAnySizeTileARange(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	from, to := noon.Add(-30*time.Hour), noon
	want := truthIDs(p, from, to)
	for _, step := range []time.Duration{time.Hour, 6 * time.Hour, 37*time.Minute + 11*time.Second} {
		var got []string
		for t0 := from; t0.Before(to); t0 = t0.Add(step) {
			got = append(got, truthIDs(p, t0, minTime(t0.Add(step), to))...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("step %v: %d records, want %d", step, len(got), len(want))
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func TestFiltersPartitionTheWindow(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	from, to := noon.Add(-9*time.Hour), noon.Add(-time.Hour/2)
	all := drain(t, p, from, to)
	want := map[string]int{}
	users := map[string]int{}
	for _, r := range all {
		want[r["token_id"].(string)]++
		users[r["user_id"].(string)]++
	}
	sum := 0
	for _, team := range p.Teams("0") {
		for _, tok := range team.Tokens {
			got := drain(t, p, from, to, "token_id", tok)
			sum += len(got)
			if len(got) != want[tok] {
				t.Errorf("token %s: %d records, want %d", tok, len(got), want[tok])
			}
			for _, r := range got {
				if !slices.Contains(team.Users, r["user_id"].(string)) {
					t.Errorf("token %s of %s used by %v", tok, team.Name, r["user_id"])
				}
			}
		}
	}
	if sum != len(all) {
		t.Errorf("the tokens have %d records together, the window %d", sum, len(all))
	}
	for u, n := range users {
		if got := usage(t, p, from, to, "user_id", u); *got.Total != n {
			t.Errorf("user %s: total %d, want %d", u, *got.Total, n)
		}
	}
	if l := usage(t, p, from, to, "token_id", "tk_nobody"); len(l.List) != 0 || *l.Total != 0 {
		t.Error("a token that isn't there has records")
	}
}

func TestSameSeedSameEverything(t *testing.T) {
	take := func(seed uint64) (string, []Record) {
		p := open(t, Options{Seed: seed, Limit: unlimited})
		return p.Key("0"), slices.Collect(p.Truth("0", noon.Add(-5*time.Hour), noon))
	}
	k1, r1 := take(7)
	k2, r2 := take(7)
	k3, r3 := take(8)
	b1, _ := json.Marshal(r1)
	b2, _ := json.Marshal(r2)
	b3, _ := json.Marshal(r3)
	if k1 != k2 || string(b1) != string(b2) {
		t.Error("one seed, two worlds")
	}
	if k1 == k3 || string(b1) == string(b3) {
		t.Error("two seeds, one world")
	}
}

func TestTheDefaultMonthHasOverAHundredThousandRecords(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	for _, month := range []int{11, 10, 9} {
		to := time.Date(2026, time.Month(month), 20, 0, 0, 0, 0, time.UTC)
		n, _ := p.Total("0", to.AddDate(0, 0, -30), to)
		if n < 100_000 || n > 150_000 {
			t.Errorf("30 days up to %v: %d records", to, n)
		}
	}
}

func TestIDsAreDecimalsOfUpTo19DigitsWithoutOrder(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{RecordsPerDay: 200_000}}})
	digits, up, n := map[int]int{}, 0, 0
	seen := map[string]bool{}
	var last uint64
	for r := range p.Truth("0", noon.Add(-2*time.Hour), noon) {
		id, err := strconv.ParseInt(r.ID, 10, 64) // below 2^63
		if err != nil || id < 0 || strconv.FormatInt(id, 10) != r.ID || seen[r.ID] {
			t.Fatalf("id %s: %v", r.ID, err)
		}
		seen[r.ID] = true
		digits[len(r.ID)]++
		if uint64(id) > last {
			up++
		}
		last = uint64(id)
		n++
	}
	if digits[19] < n*8/10 || digits[18] < n/20 || digits[17] == 0 || up < n*45/100 || up > n*55/100 {
		t.Errorf("of %d ids: digits %v, %d rise", n, digits, up)
	}
}

func TestSummaryShape(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{Shape: Summary}}})
	from, to := noon.Add(-3*time.Hour), noon
	truth := slices.Collect(p.Truth("0", from, to))
	var tokens int64
	for _, r := range truth {
		tokens += r.Tokens
	}
	var i int
	for page := 1; ; page++ {
		a := do(t, p, "GET", query(from, to, "page", fmt.Sprint(page), "pagesize", "100"), p.Key("0"), "")
		var d struct {
			Records []struct {
				Timestamp, Tokens int64
				Model             string
			}
			TotalTokens int64 `json:"total_tokens"`
		}
		if err := json.Unmarshal(a.Data, &d); err != nil {
			t.Fatal(err)
		}
		if d.TotalTokens != tokens {
			t.Fatalf("total_tokens %d, want %d", d.TotalTokens, tokens)
		}
		if len(d.Records) == 0 {
			break
		}
		for _, r := range d.Records {
			if w := truth[i]; r.Timestamp != w.RequestTime.Unix() || r.Tokens != w.Tokens || r.Model != w.Model ||
				w.Kind != "summary" || w.ID != "" {
				t.Fatalf("record %d: %+v, want %+v", i, r, w)
			}
			i++
		}
	}
	if i != len(truth) {
		t.Errorf("%d records, want %d", i, len(truth))
	}
}

func TestGzipWhenAskedFor(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	for faults, want := range map[string]string{"": "gzip", "gzip=off": ""} {
		f, _ := ParseFaults(faults)
		p.SetFaults(f)
		r := httptest.NewRequest("GET", query(noon.Add(-time.Hour), noon), nil)
		r.Header.Set("Authorization", "Bearer "+p.Key("0"))
		r.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding"); got != want {
			t.Fatalf("%q: encoding %q", faults, got)
		}
		if want == "gzip" {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(z)
			if err != nil || !json.Valid(b) {
				t.Fatal(err)
			}
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"rate":   {Limit: LimitOptions{Rate: -1}},
		"key":    {Orgs: []OrgOptions{{Key: "sk_mg_short"}}},
		"twice":  {Orgs: []OrgOptions{{ID: "a"}, {ID: "a"}}},
		"faults": {Faults: Faults{Empty: 2}},
		"start":  {Start: time.Unix(0, 0)},
		"volume": {Orgs: []OrgOptions{{RecordsPerDay: 1e12}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	for _, order := range []string{"oldest", "random"} {
		b.Run(order, func(b *testing.B) {
			p := open(b, Options{Limit: unlimited, Orgs: []OrgOptions{{RecordsPerDay: 30_000}}, Faults: Faults{Order: order}})
			day := noon.Truncate(24*time.Hour).AddDate(0, 0, -1)
			for i := 0; b.Loop(); i++ {
				do(b, p, "GET", query(day, day.AddDate(0, 0, 1), "pagesize", "100", "page", fmt.Sprint(1+i%300)), p.Key("0"), "")
			}
		})
	}
	b.Run("month", func(b *testing.B) {
		p := open(b, Options{Limit: unlimited})
		for i := 0; b.Loop(); i++ {
			do(b, p, "GET", query(noon.AddDate(0, 0, -30), noon, "pagesize", "100", "page", fmt.Sprint(1+i%1200)),
				p.Key("0"), "")
		}
	})
}
