package portal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func sim(t *testing.T, p *Portal, method, path, body string, want int) []byte {
	t.Helper()
	r := httptest.NewRequest(method, "/sim/"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:4711"
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if w.Code != want {
		t.Fatalf("%s /sim/%s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

func TestTheSimulationsOwnSide(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{ID: "a"}, {ID: "b"}}})
	from, to := noon.Add(-3*time.Hour), noon
	n := 0
	truth := fmt.Sprintf("truth?org=b&from=%d&to=%s", from.Unix(), to.Format(time.RFC3339))
	s := bufio.NewScanner(bytes.NewReader(sim(t, p, "GET", truth, "", 200)))
	want := truthOf(p, "b", from, to)
	for s.Scan() {
		var r Record
		if err := json.Unmarshal(s.Bytes(), &r); err != nil || r.ID != want[n] || r.Amount == "" {
			t.Fatalf("%s: %v", s.Bytes(), err)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d records, want %d", n, len(want))
	}
	b := sim(t, p, "GET", "total?org=b&from=2026-11-23&to=2026-11-24", "", 200)
	if !bytes.Contains(b, []byte(`"records": `)) {
		t.Errorf("%s", b)
	}

	sim(t, p, "PUT", "faults", `{"latency":"1ns","strings":true}`, 200)
	sim(t, p, "PATCH", "faults", `{"order":"newest"}`, 200)
	if f := p.Faults(); f.Order != "newest" || !f.Strings {
		t.Errorf("%+v", f)
	}
	sim(t, p, "PUT", "faults", `{"order":"up"}`, 400)
	sim(t, p, "DELETE", "faults", "", 200)
	if p.Faults() != (Faults{}) {
		t.Error("faults are left")
	}

	var ks struct {
		Keys       []made
		UserTokens map[string]string `json:"user_tokens"`
	}
	if err := json.Unmarshal(sim(t, p, "GET", "keys", "", 200), &ks); err != nil || len(ks.Keys) != 2 ||
		ks.Keys[1].Key != p.Key("b") || ks.UserTokens["a"] != p.UserToken("a", "") {
		t.Errorf("%+v %v", ks, err)
	}
	id := ks.Keys[0].ID
	key := ks.Keys[0].Key
	works := func(want int) {
		t.Helper()
		if a := do(t, p, "GET", BasePath+"/balance", key, ""); a.status != want {
			t.Errorf("key: %d, want %d", a.status, want)
		}
	}
	sim(t, p, "POST", "keys/"+id+"/disable", "", 200)
	works(401)
	sim(t, p, "POST", "keys/"+id+"/enable", "", 200)
	works(200)
	sim(t, p, "POST", "keys/"+id+"/revoke", "", 200)
	sim(t, p, "POST", "keys/"+id+"/restore", "", 200)
	sim(t, p, "POST", "keys/"+id+"/restore", "", 400)
	sim(t, p, "PUT", "keys/"+id+"/scopes", `["usage:read"]`, 200)
	works(403)
	sim(t, p, "POST", "keys/"+id+"/expire", "", 200)
	works(401)
	sim(t, p, "POST", "keys/"+id+"/delete", "", 200)
	sim(t, p, "POST", "keys/"+id+"/delete", "", 400)
	sim(t, p, "POST", "keys/"+id+"/polish", "", 404)

	var teams []Team
	if json.Unmarshal(sim(t, p, "GET", "teams?org=a", "", 200), &teams); len(teams) != len(teamNames) {
		t.Errorf("%d teams", len(teams))
	}
	var stats Stats
	if json.Unmarshal(sim(t, p, "GET", "stats", "", 200), &stats); stats.ByStatus["balance"][200] != 1 ||
		stats.ByStatus["balance"][401] != 2 {
		t.Errorf("%+v", stats)
	}
	sim(t, p, "DELETE", "stats", "", 200)
	if p.Stats().Requests != 0 {
		t.Error("stats are left")
	}
	sim(t, p, "PUT", "clock", `{"offset":"2h"}`, 200)
	if !p.now().Equal(noon.Add(2 * time.Hour)) {
		t.Errorf("now %v", p.now())
	}
	if b := sim(t, p, "GET", "clock", "", 200); !bytes.Contains(b, []byte("2026-11-24T14:00:00Z")) {
		t.Errorf("%s", b)
	}
	if b := sim(t, p, "GET", "balance?org=a", "", 200); !bytes.Contains(b, []byte(p.Balance("a"))) {
		t.Errorf("%s", b)
	}
	var ups []TopUp
	if json.Unmarshal(sim(t, p, "GET", "topups?org=a&from=2026-10-20", "", 200), &ups); len(ups) == 0 {
		t.Error("no top-up in five weeks")
	}
	sim(t, p, "GET", "", "", 200)
	sim(t, p, "GET", "nothing", "", 404)
	sim(t, p, "GET", "teams?org=z", "", 404)
	sim(t, p, "GET", "truth?from=yesterday", "", 400)
	sim(t, p, "PUT", "clock", `{"offset":"soon"}`, 400)

	r := httptest.NewRequest("GET", "/sim/keys", nil) // from 192.0.2.1
	w := httptest.NewRecorder()
	if p.ServeHTTP(w, r); w.Code != 403 {
		t.Errorf("from afar: %d", w.Code)
	}
}

func truthOf(p *Portal, org string, from, to time.Time) []string {
	var s []string
	for r := range p.Truth(org, from, to) {
		s = append(s, r.ID)
	}
	return s
}

// TestManyAtOnce is for the race detector: everything that may happen together does.
func TestManyAtOnce(t *testing.T) {
	p := open(t, Options{Limit: LimitOptions{Rate: 1e6, Concurrency: 1000}, OnRequest: func(RequestInfo) {}})
	key := p.Key("0")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 20 {
				from := noon.Add(-time.Duration(i+2) * time.Hour)
				do(t, p, "GET", query(from, noon.Add(-time.Hour), "page", fmt.Sprint(k+1)), key, "")
				do(t, p, "GET", BasePath+"/api-keys", p.UserToken("0", ""), "")
			}
		})
	}
	wg.Go(func() {
		for k := range 20 {
			p.SetFaults(Faults{Late: 0.1, ArriveEvery: 1 + k%2, DropEvery: 2, Order: []string{"", "newest"}[k%2]})
			p.Stats()
			for range p.Truth("0", noon.Add(-2*time.Hour), noon) {
			}
			p.SetClockOffset(time.Duration(k) * time.Minute)
			p.Balance("0")
		}
	})
	wg.Wait()
	if s := p.Stats(); s.InFlight != 0 || s.ByStatus["usage"][200] != 160 {
		t.Errorf("%+v", s)
	}
}
