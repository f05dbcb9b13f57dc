package portal

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"
)

// served is one record as it came.
type served struct {
	ID     string
	Time   int64 `json:"request_time"`
	Amount json.Number
	raw    string
}

// records pages a window to its end.
func records(t *testing.T, p *Portal, from, to time.Time, extra ...string) (list []served) {
	t.Helper()
	for page := 1; ; page++ {
		a := do(t, p, "GET", query(from, to, append([]string{"page", strconv.Itoa(page), "pagesize", "100"}, extra...)...),
			p.Key("0"), "")
		var d struct{ List []json.RawMessage }
		if err := json.Unmarshal(a.Data, &d); err != nil || a.status != 200 {
			t.Fatalf("%d %s: %v", a.status, a.raw, err)
		}
		if len(d.List) == 0 {
			return list
		}
		for _, raw := range d.List {
			r := served{raw: string(raw)}
			if err := json.Unmarshal(raw, &r); err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
		}
	}
}

// raws are records byte for byte, in an order of their own.
func raws(list []served) (s []string) {
	for _, r := range list {
		s = append(s, r.raw)
	}
	slices.Sort(s)
	return s
}

// bytesOf is what Truth says that raws should be.
func bytesOf(p *Portal, from, to time.Time) (s []string) {
	for r := range p.Truth("0", from, to) {
		s = append(s, string(r.Served))
		if r.Twice {
			s = append(s, string(r.Served))
		}
	}
	slices.Sort(s)
	return s
}

func TestSeveralRecordsShareAnID(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{RecordsPerDay: 9000}}})
	from, to := noon.Add(-6*time.Hour), noon
	plain := len(records(t, p, from, to))
	p.SetFaults(faults(t, "shared-id=0.2"))
	list := records(t, p, from, to)
	if !slices.Equal(raws(list), bytesOf(p, from, to)) || len(list) != plain {
		t.Fatalf("served %d, without fault %d, or not the truth", len(list), plain)
	}
	if all := raws(list); len(slices.Compact(all)) != len(list) {
		t.Error("two records are the same byte for byte")
	}
	lent := map[string]int64{} // id → when its own record was made
	numbers := map[int64]bool{}
	for r := range p.Truth("0", from.Add(-4*time.Hour), to) {
		if !r.Shared {
			lent[r.ID] = r.RequestTime.Unix()
		}
		if numbers[r.Number] {
			t.Fatal("the truth has a number twice")
		}
		numbers[r.Number] = true
	}
	seen := map[string]int{}
	for r := range p.Truth("0", from, to) {
		if !r.Shared {
			continue
		}
		at, ok := lent[r.ID]
		if !ok {
			t.Fatalf("id %s is no record's own", r.ID)
		}
		seen["shared"]++
		switch apart := r.RequestTime.Unix() - at; {
		case apart == 0:
			seen["same second"]++
		case apart > 3600:
			seen["hours"]++
		case apart > 60 || apart < -60:
			seen["minutes"]++
		}
		if r.Amount[0] == '-' {
			seen["refunds"]++
		}
	}
	for _, what := range []string{"same second", "hours", "minutes", "refunds"} {
		if seen[what] < seen["shared"]/10 {
			t.Errorf("%v", seen)
		}
	}
	if n := seen["shared"]; n < plain*15/100 || n > plain*25/100 {
		t.Errorf("%d of %d share an id", n, plain)
	}

	p.SetFaults(faults(t, "shared-id=0.1,id-text=None"))
	none := 0
	for _, r := range records(t, p, from, to) {
		if r.ID == "None" {
			none++
		}
	}
	if none < plain*7/100 || none > plain*13/100 {
		t.Errorf("%d of %d have the id None", none, plain)
	}
	for s, most := range map[string]int{"id-modulo=64": 64, "shared-id=1": 6 * 4, "shared-id=0.5,id-modulo=1": 1} {
		p.SetFaults(faults(t, s))
		ids := map[string]int{}
		for _, r := range records(t, p, from, to) {
			ids[r.ID]++
		}
		if len(ids) > most {
			t.Errorf("%s: %d ids", s, len(ids))
		}
	}
}

func TestARecordIsListedAndCountedTwice(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Faults: faults(t, "twice=0.1")})
	from, to := noon.Add(-5*time.Hour), noon.Add(-7*time.Minute)
	list := records(t, p, from, to)
	n, _ := p.Total("0", from, to)
	twice := len(list) - n
	if twice < n/20 || twice > n/5 || *usage(t, p, from, to).Total != len(list) ||
		!slices.Equal(raws(list), bytesOf(p, from, to)) {
		t.Errorf("%d listed, %d in truth, total %d", len(list), n, *usage(t, p, from, to).Total)
	}
	for i := 1; i < len(list); i++ {
		if list[i].raw == list[i-1].raw {
			twice--
		}
	}
	if twice != 0 {
		t.Errorf("%d doubles don't stand side by side", twice)
	}
}

func TestRecordsGiveWayToOthersAndTheCountStays(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: unlimited, Now: c.now, Faults: faults(t, "swap=0.1,swap-by=20h")})
	from, to := noon.Add(-6*time.Hour), noon
	before := raws(records(t, p, from, to))
	c.t = noon.Add(30 * time.Hour)
	after := raws(records(t, p, from, to))
	if len(after) != len(before) || !slices.Equal(after, bytesOf(p, from, to)) {
		t.Fatalf("%d records, then %d, or not the truth", len(before), len(after))
	}
	gone := 0
	for _, r := range before {
		if _, ok := slices.BinarySearch(after, r); !ok {
			gone++
		}
	}
	if gone < len(before)/20 || gone > len(before)/5 {
		t.Errorf("%d of %d gave way", gone, len(before))
	}
	for h := from; h.Before(to); h = h.Add(time.Hour) {
		c.t = noon
		n := *usage(t, p, h, h.Add(time.Hour)).Total
		c.t = noon.Add(30 * time.Hour)
		if got := *usage(t, p, h, h.Add(time.Hour)).Total; got != n {
			t.Errorf("hour %v: %d, then %d", h, n, got)
		}
	}
}

func TestOneRecordVanishesAndOneShowsDuringPaging(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	from, to := noon.Add(-4*time.Hour), noon.Add(-time.Hour)
	token := p.Teams("0")[0].Tokens[0]
	for _, filter := range [][]string{nil, {"token_id", token}} {
		before := raws(records(t, p, from, to, filter...))
		p.SetFaults(faults(t, "swap-every=2,swap-max=3"))
		total := *usage(t, p, from, to, filter...).Total
		for range 12 {
			if got := *usage(t, p, from, to, filter...).Total; got != total {
				t.Errorf("%v: total %d, then %d", filter, total, got)
			}
		}
		p.SetFaults(Faults{})
		after := raws(records(t, p, from, to, filter...))
		gone := 0
		for _, r := range before {
			if _, ok := slices.BinarySearch(after, r); !ok {
				gone++
			}
		}
		if gone == 0 || gone > 3 || len(after) != len(before) ||
			(filter == nil && !slices.Equal(after, bytesOf(p, from, to))) {
			t.Errorf("%v: %d records went", filter, gone)
		}
	}
}

// TestTheListingGoesBySettlement is for filter-by: a record is listed in the window of its settlement, and shows its
// request.
func TestTheListingGoesBySettlement(t *testing.T) {
	for s, late := range map[string][2]int64{
		"filter-by=settled": {35, 35}, "filter-by=settled,settle-by=10m,settle-jitter=5m": {600, 900},
		"filter-by=settled,settle-by=2h":                               {7200, 7200},
		"filter-by=settled,settle-by=1s,settle-jitter=3h,order=newest": {1, 10801},
	} {
		p := open(t, Options{Limit: unlimited, Faults: faults(t, s)})
		from, to := noon.Add(-30*time.Hour), noon.Add(-4*time.Hour)
		var got []served
		step := 37*time.Minute + 11*time.Second
		early := 0
		for a := from; a.Before(to); a = a.Add(step) {
			b := minTime(a.Add(step), to)
			list := records(t, p, a, b)
			if n := *usage(t, p, a, b).Total; n != len(list) {
				t.Fatalf("%s: total %d, listed %d", s, n, len(list))
			}
			for _, r := range list {
				if r.Time+late[1] < a.Unix() || r.Time+late[0] >= b.Unix() {
					t.Fatalf("%s: a record of %d in %d to %d", s, r.Time, a.Unix(), b.Unix())
				}
				if r.Time < a.Unix() {
					early++
				}
			}
			got = append(got, list...)
		}
		if early == 0 {
			t.Errorf("%s: no record lies outside its window", s)
		}
		whole := records(t, p, from, to)
		if !slices.Equal(raws(got), raws(whole)) {
			t.Errorf("%s: windows hold %d, the whole %d", s, len(got), len(whole))
		}
		// All that was settled by then, whenever it was asked for.
		inside := 0
		margin := time.Duration(late[1]) * time.Second
		want := bytesOf(p, from, to.Add(-margin))
		for _, r := range raws(whole) {
			if _, ok := slices.BinarySearch(want, r); ok {
				inside++
			}
		}
		if inside != len(want) {
			t.Errorf("%s: %d of %d listed", s, inside, len(want))
		}
	}
	p := open(t, Options{Limit: unlimited, Faults: faults(t, "filter-by=settled,settle-by=1h")})
	if n, _ := p.Total("0", noon.Add(-time.Hour).Add(time.Second), noon); n != 0 {
		t.Errorf("%d records show before they are settled", n)
	}
}

func TestThePortalKeepsRecordsForAWhile(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: unlimited, Now: c.now})
	old, oldest := noon.Add(-50*time.Hour), noon.Add(-48*time.Hour)
	for s, want := range map[string][3]int{ // status of a window before, of one across, of one after
		"keep=48h": {200, 200, 200}, "keep=48h,keep-answer=empty": {200, 200, 200},
		"keep=48h,keep-answer=400": {400, 400, 200}, "keep=48h,keep-answer=404": {404, 404, 200},
	} {
		p.SetFaults(faults(t, s))
		for i, w := range [][2]time.Time{{old, old.Add(time.Hour)}, {old, noon}, {oldest, noon}} {
			a := do(t, p, "GET", query(w[0], w[1]), p.Key("0"), "")
			if a.status != want[i] {
				t.Errorf("%s: window %d: %d %s", s, i, a.status, a.raw)
			}
			var l listed
			if json.Unmarshal(a.Data, &l); a.status == 200 {
				if n, _ := p.Total("0", oldest, w[1]); *l.Total != n {
					t.Errorf("%s: window %d: total %d, want %d", s, i, *l.Total, n)
				}
			}
		}
	}
	if n, _ := p.Total("0", old, oldest); n == 0 {
		t.Error("the truth forgets")
	}
	p.SetFaults(faults(t, "keep=48h"))
	c.t = noon.Add(20 * time.Hour)
	if got := *usage(t, p, oldest, oldest.Add(20*time.Hour)).Total; got != 0 {
		t.Errorf("%d records are older than those kept", got)
	}
}

func TestBurstsFillASecond(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Faults: faults(t, "burst=500,burst-every=2h")})
	from, to := noon.Add(-24*time.Hour), noon
	list := records(t, p, from, to)
	if !slices.Equal(raws(list), bytesOf(p, from, to)) || *usage(t, p, from, to).Total != len(list) {
		t.Errorf("served %d, total %d, or not the truth", len(list), *usage(t, p, from, to).Total)
	}
	second := map[int64]int{}
	for _, r := range list {
		second[r.Time]++
	}
	full := 0
	for at, n := range second {
		if n >= 500 {
			full++
			if got := *usage(t, p, time.Unix(at, 0), time.Unix(at+1, 0)).Total; got != n {
				t.Errorf("the second %d: total %d, want %d", at, got, n)
			}
		}
	}
	if full != 12 {
		t.Errorf("%d bursts in a day", full)
	}
}

func TestFiltersAreIgnored(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Faults: faults(t, "filter-ignored")})
	from, to := noon.Add(-2*time.Hour), noon
	n := *usage(t, p, from, to).Total
	for _, f := range [][]string{{"token_id", p.Teams("0")[0].Tokens[0]}, {"token_id", "tk_nobody"},
		{"user_id", p.Teams("0")[1].Users[0]}, {"user_id", "1"}} {
		if got := *usage(t, p, from, to, f...).Total; got != n {
			t.Errorf("%v: %d, want %d", f, got, n)
		}
	}
}

// TestFaultsOfRecordsGoTogether pages what several faults make of records, and compares it with the truth.
func TestFaultsOfRecordsGoTogether(t *testing.T) {
	c := &clock{noon}
	p := open(t, Options{Limit: unlimited, Now: c.now, Orgs: []OrgOptions{{RecordsPerDay: 600}}})
	from, to := noon.Add(-26*time.Hour), noon.Add(-90*time.Minute)
	for _, s := range []string{
		"swap=0.3,swap-by=1h,shared-id=0.3,late=0.2,late-by=3h,corrected=0.3,corrected-by=2h",
		"swap=0.5,swap-by=1s,vanish=0.2,vanish-by=5h,twice=0.3,burst=40,burst-every=1h",
		"shared-id=0.5,id-modulo=100,twice=0.5,order=newest,ties=page,tie-span=10m",
		"swap-every=2,arrive-every=3,drop-every=5,twice=0.2,swap=0.3,swap-by=1h,shared-id=0.2",
		"burst=300,burst-every=3h,order=random,missing=0.3,hostile=0.1,unknown-fields",
	} {
		p.SetFaults(faults(t, s))
		for _, now := range []time.Time{noon, noon.Add(2 * time.Hour), noon.Add(40 * time.Hour)} {
			c.t = now
			f := p.Faults()
			records(t, p, from, to) // what comes and goes during paging does so here
			f.SwapEvery, f.ArriveEvery, f.DropEvery, f.Ties = 0, 0, 0, ""
			p.SetFaults(f)
			got, want := raws(records(t, p, from, to)), bytesOf(p, from, to)
			if !slices.Equal(got, want) || *usage(t, p, from, to).Total != len(want) {
				t.Errorf("%s at %v: %d records of %d, total %d", s, now.Sub(noon), len(got), len(want),
					*usage(t, p, from, to).Total)
			}
			if n, net := p.Total("0", from, to); fmt.Sprint(n, net) != fmt.Sprint(sum(t, p, from, to)) {
				t.Errorf("%s at %v: total %d %s, truth %s", s, now.Sub(noon), n, net, sum(t, p, from, to))
			}
		}
	}
}

// sum is what Total should say.
func sum(t *testing.T, p *Portal, from, to time.Time) string {
	n, net := 0, int64(0)
	for r := range p.Truth("0", from, to) {
		n++
		x := rat(t, r.TotalAmount)
		if r.DiscountAmount != "" { // fault missing
			x.Sub(x, rat(t, r.DiscountAmount))
		} else {
			x = rat(t, r.Amount)
		}
		x.Mul(x, rat(t, "1000000000000"))
		net += x.Num().Int64()
	}
	return fmt.Sprint(n, decimal(net, pico))
}
