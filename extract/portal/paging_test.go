package portal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPagingFaults(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	from, to := noon.Add(-4*time.Hour), noon.Add(-time.Hour)
	all := truthIDs(p, from, to)
	n := len(all)
	page := func(k, size int) listed {
		return usage(t, p, from, to, "page", fmt.Sprint(k), "pagesize", fmt.Sprint(size))
	}
	set := func(s string) { p.SetFaults(faults(t, s)) }

	set("page-over=refuse")
	if a := do(t, p, "GET", query(from, to, "pagesize", "101"), p.Key("0"), ""); a.status != 400 {
		t.Errorf("page-over=refuse: %d", a.status)
	}
	if len(page(1, 100).List) != 100 {
		t.Error("page-over=refuse: 100 refused")
	}
	set("page-over=default")
	if got := len(page(1, 101).List); got != 20 {
		t.Errorf("page-over=default: %d", got)
	}
	set("page-max=500")
	if got := len(page(1, 500).List); got != 500 {
		t.Errorf("page-max=500: %d", got)
	}
	set("page-clamp=50,page-clamp-after=2")
	for i, want := range []int{100, 100, 50, 50} {
		if got := len(page(1, 100).List); got != want {
			t.Errorf("page-clamp, request %d: %d", i+1, got)
		}
	}
	set("order=newest")
	if page(1, 1).List[0]["id"] != all[n-1] {
		t.Error("order=newest: not the newest")
	}
	set("order=shaky")
	if slices.Equal(ids(page(1, 100).List), ids(page(1, 100).List)) {
		t.Error("order=shaky: the same twice")
	}
	set("past-end=last")
	if got := ids(page(n, 100).List); !slices.Equal(got, all[n/100*100:]) {
		t.Errorf("past-end=last: %d records", len(got))
	}
	for s, want := range map[string]string{"past-end=null": `{"list":null`, "": `{"list":[]`,
		"null-list": `{"list":null`} {
		set(s)
		if a := do(t, p, "GET", query(from, to, "page", "9999"), p.Key("0"), ""); !bytes.HasPrefix(a.Data, []byte(want)) {
			t.Errorf("%s: %s", s, a.Data)
		}
	}
	set("deep-page=2")
	if len(page(2, 100).List) != 100 || len(page(3, 100).List) != 0 {
		t.Error("deep-page=2")
	}
	set("page-ignored")
	if !slices.Equal(ids(page(7, 100).List), all[:100]) {
		t.Error("page-ignored")
	}
	set("max-range=1h")
	if a := do(t, p, "GET", query(from, to), p.Key("0"), ""); a.status != 400 {
		t.Errorf("max-range: %d", a.status)
	}
	for s, want := range map[string]string{
		"": fmt.Sprintf(`"total":%d}`, n), "total=page": `"total":20}`, "total=absent": `}]}`, "total=null": `"total":null}`,
		"total=string": fmt.Sprintf(`"total":"%d"}`, n), "total-delta=-3": fmt.Sprintf(`"total":%d}`, n-3),
		"total-delta=7": fmt.Sprintf(`"total":%d}`, n+7),
	} {
		set(s)
		a := do(t, p, "GET", query(from, to), p.Key("0"), "")
		if !bytes.HasSuffix(a.Data, []byte(want)) && !(s == "total=absent" && !bytes.Contains(a.Data, []byte(`"total":`))) {
			t.Errorf("%s: …%s", s, a.Data[len(a.Data)-40:])
		}
	}
	set("duplicate=1")
	var got []string
	for k := 1; ; k++ {
		l := ids(page(k, 100).List)
		if len(l) == 0 {
			break
		}
		if k > 1 && l[0] != got[len(got)-1] {
			t.Fatal("duplicate: page doesn't begin with the last record of the one before")
		}
		got = append(got, l...)
	}
	slices.Sort(all)
	if slices.Sort(got); len(got) <= n || !slices.Equal(slices.Compact(got), all) {
		t.Errorf("duplicate: %d records of %d", len(got), n)
	}
}

func TestTheEndsOfAWindow(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	var at []time.Time
	for r := range p.Truth("0", noon.Add(-2*time.Hour), noon) {
		at = append(at, r.RequestTime)
	}
	from, to := at[5], at[len(at)-5]
	count := func(lo, hi time.Time) (n int) {
		for _, x := range at {
			if !x.Before(lo) && x.Before(hi) {
				n++
			}
		}
		return n
	}
	for s, want := range map[string]int{
		"":                              count(from, to),
		"inclusive-end":                 count(from, to.Add(time.Second)),
		"exclusive-start":               count(from.Add(time.Second), to),
		"inclusive-end,exclusive-start": count(from.Add(time.Second), to.Add(time.Second)),
	} {
		p.SetFaults(faults(t, s))
		if got := *usage(t, p, from, to).Total; got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
	p.SetFaults(Faults{})
	if *usage(t, p, from, from).Total != 0 {
		t.Error("an empty window holds something")
	}
}

// asked are the statuses, sizes and totals of the pages 1 to n as "200:100/437"; a total that isn't a number stands as
// it came.
func asked(t *testing.T, p *Portal, from, to time.Time, size, n int) string {
	t.Helper()
	var parts []string
	for k := 1; k <= n; k++ {
		a := do(t, p, "GET", query(from, to, "page", fmt.Sprint(k), "pagesize", fmt.Sprint(size)), p.Key("0"), "")
		var d struct{ List, Total json.RawMessage }
		var list []json.RawMessage
		json.Unmarshal(a.Data, &d)
		json.Unmarshal(d.List, &list)
		parts = append(parts, fmt.Sprintf("%d:%d/%s", a.status, len(list), d.Total))
	}
	return strings.Join(parts, " ")
}

// hundreds is a window that holds a number of records, which end with the hour.
func hundreds(t *testing.T, p *Portal, n int) (from, to time.Time) {
	t.Helper()
	to = noon.Add(-time.Hour)
	var at []time.Time
	for r := range p.Truth("0", to.Add(-12*time.Hour), to) {
		at = append(at, r.RequestTime)
	}
	from = at[len(at)-n]
	if at[len(at)-n-1].Equal(from) {
		t.Fatalf("no window of %d records", n)
	}
	return from, to
}

// TestCapsSizesAndEnds has a row for each fault of how much an answer gives, and of what comes after it.
func TestCapsSizesAndEnds(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	from, to := hundreds(t, p, 437)
	for _, c := range []struct {
		faults      string
		size, pages int
		want        string
	}{
		{"", 100, 6, "200:100/437 200:100/437 200:100/437 200:100/437 200:37/437 200:0/437"},
		{"past-end=400", 200, 4, "200:200/437 200:200/437 200:37/437 400:0/"},
		{"past-end=404", 437, 2, "200:437/437 404:0/"},
		{"total-cap=250", 100, 4, "200:100/250 200:100/250 200:50/250 200:0/250"},
		{"total-cap=200,past-end=404", 100, 3, "200:100/200 200:100/200 404:0/"},
		{"total-cap=200,total=absent,order=newest", 100, 3, "200:100/ 200:100/ 200:0/"},
		{"total-cap=1000", 100, 1, "200:100/437"},
		{"total-cap-only=200", 200, 4, "200:200/200 200:200/200 200:37/200 200:0/200"},
		{"total-cap-only=200,total-delta=1", 200, 1, "200:200/201"},
		{"total=huge", 400, 2, "200:400/9223372036854775807 200:37/9223372036854775807"},
		{"total=huge,total-delta=7", 400, 1, "200:400/9223372036854775807"},
		{"page-max=1000,total=page", 1000, 2, "200:437/437 200:0/0"},
		{"page-max=5000", 5000, 1, "200:437/437"},
		{"page-max=1000,page-over=refuse", 1001, 1, "400:0/"},
		{"page-max=50,page-over=refuse", 100, 1, "400:0/"},
		{"page-max=50,page-over=default", 100, 1, "200:20/437"},
		{"page-max=50", 100, 1, "200:50/437"},
		{"pagesize-ignored", 100, 2, "200:20/437 200:20/437"},
		{"page-default=300,pagesize-ignored", 10, 2, "200:300/437 200:137/437"},
		{"page-clamp=40,page-clamp-from=3", 100, 9,
			"200:100/437 200:100/437 200:40/437 200:40/437 200:40/437 200:40/437 200:40/437 200:37/437 200:0/437"},
		{"page-clamp=40,page-clamp-from=3,past-end=400", 200, 5, "200:200/437 200:200/437 200:37/437 400:0/ 400:0/"},
		{"page-clamp=100,page-clamp-from=3,page-clamp-back", 200, 6,
			"200:200/437 200:200/437 200:100/437 200:100/437 200:37/437 200:0/437"},
		{"blank=1", 100, 2, "200:0/0 200:0/0"},
		{"blank=1,from=2,to=3,past-end=400", 300, 4, "200:300/437 200:0/0 200:0/0 400:0/"},
		{"blank=1,total=absent,to=1", 300, 2, "200:0/ 200:137/"},
		{"blank=1,only=balance", 300, 1, "200:300/437"},
		{"blank-page=1", 200, 4, "200:200/437 200:0/437 200:0/437 200:0/437"},
		{"blank-page=1,total=page,from=2,to=2", 200, 3, "200:200/200 200:0/0 200:37/37"},
	} {
		f := faults(t, c.faults)
		if f.PageMax == 0 && c.size > largestPage {
			f.PageMax = c.size
		}
		p.SetFaults(f)
		if got := asked(t, p, from, to, c.size, c.pages); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.faults, got, c.want)
		}
	}
	if s := p.Stats(); s.Faults["blank"] != 5 || s.Faults["blank-page"] != 3 {
		t.Errorf("stats %v", s.Faults)
	}
	for s, want := range map[string]int{"": 20, "page-default=300": 300, "page-max=7": 7} {
		p.SetFaults(faults(t, s))
		if got := len(usage(t, p, from, to).List); got != want {
			t.Errorf("%q without pagesize: %d, want %d", s, got, want)
		}
	}
}

func TestARandomTotalIsAnotherInEachAnswer(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Faults: faults(t, "total=random")})
	seen := map[int]bool{}
	for range 20 {
		seen[*usage(t, p, noon.Add(-3*time.Hour), noon).Total] = true
	}
	if len(seen) < 15 {
		t.Errorf("%d totals in 20 answers", len(seen))
	}
}

// TestPagesThatShrinkLoseNothing is for page-clamp-from: whatever the sizes, all comes by asking for one page after
// another.
func TestPagesThatShrinkLoseNothing(t *testing.T) {
	p := open(t, Options{Limit: unlimited})
	from, to := hundreds(t, p, 437)
	all := truthIDs(p, from, to)
	for s, twice := range map[string]int{
		"page-clamp=30,page-clamp-from=2": 0, "page-clamp=7,page-clamp-from=4,order=newest": 0,
		"page-clamp=30,page-clamp-from=9":                 0,
		"page-clamp=30,page-clamp-from=4,page-clamp-back": 210, "page-clamp=50,page-clamp-after=3": 150,
		"page-clamp=30,page-clamp-from=3,page-clamp-after=3": 70, "page-clamp=200,page-clamp-from=2": 0,
	} {
		p.SetFaults(faults(t, s))
		got := ids(drain(t, p, from, to))
		if len(got) != len(all)+twice {
			t.Errorf("%s: %d records, want %d", s, len(got), len(all)+twice)
		}
		slices.Sort(got)
		if want := slices.Sorted(slices.Values(all)); !slices.Equal(slices.Compact(got), want) {
			t.Errorf("%s: %d of %d records", s, len(got), len(all))
		}
	}
	p.SetFaults(faults(t, "page-clamp=30,page-clamp-from=2,past-end=last"))
	if got := ids(usage(t, p, from, to, "page", "99", "pagesize", "100").List); !slices.Equal(got, all[430:]) {
		t.Errorf("the last page of shrunken ones: %d records", len(got))
	}
}

// TestTiesMove is for ties: the order by time holds, and what changes is among equals alone.
func TestTiesMove(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{RecordsPerDay: 50_000}}})
	from, to := noon.Add(-time.Hour), noon.Add(-50*time.Minute)
	all := truthIDs(p, from, to)
	page := func(k int) []map[string]any {
		return usage(t, p, from, to, "page", fmt.Sprint(k), "pagesize", "50").List
	}
	for _, order := range []string{"oldest", "newest"} {
		for span, seconds := range map[string]int64{"": 1, "tie-span=20s": 20, "tie-span=90m": 5400} {
			for _, ties := range []string{"request", "page"} {
				name := strings.Join([]string{"order=" + order, "ties=" + ties, span}, ",")
				p.SetFaults(faults(t, strings.TrimSuffix(name, ",")))
				first, second := page(2), page(2)
				if got := slices.Equal(ids(first), ids(second)); got != (ties == "page") {
					t.Errorf("%s: the same twice: %v", name, got)
				}
				last := int64(0)
				for i, r := range first {
					n, _ := r["request_time"].(json.Number).Int64()
					if order == "newest" {
						n = -n
					}
					if key := floor(n, seconds); i > 0 && key < last {
						t.Fatalf("%s: the order by time is broken", name)
					} else {
						last = key
					}
				}
				var pass []string
				for k := 1; ; k++ {
					l := ids(page(k))
					if len(l) == 0 {
						break
					}
					pass = append(pass, l...)
				}
				if len(pass) != len(all) {
					t.Fatalf("%s: %d records, want %d", name, len(pass), len(all))
				}
				slices.Sort(pass)
				if n := len(slices.Compact(pass)); n == len(all) {
					t.Errorf("%s: no page repeats a record of another", name)
				}
			}
		}
	}
	p.SetFaults(faults(t, "ties=request"))
	one := ids(usage(t, p, from, to, "pagesize", "100").List)
	slices.Sort(one)
	if len(slices.Compact(one)) != 100 {
		t.Error("a page holds a record twice")
	}
}

func floor(n, span int64) int64 {
	if n < 0 {
		return -((-n) / span)
	}
	return n / span
}
