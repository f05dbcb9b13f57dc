package portal

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestWhatIsDrawnIsServed draws Portals, and asks each a few pages: all that is listed is in the truth, byte for byte.
func TestWhatIsDrawnIsServed(t *testing.T) {
	together := map[int]int{}
	seen := map[string]bool{}
	for n := range uint64(200) {
		o, f := Draw(rand.New(rand.NewPCG(n, 1)))
		again, same := Draw(rand.New(rand.NewPCG(n, 1)))
		if again.Seed != o.Seed || same != f {
			t.Fatal("one seed, two Portals")
		}
		if err := f.Validate(); err != nil {
			t.Fatal(err)
		}
		for name := range strings.SplitSeq(f.String(), ",") {
			name, _, _ = strings.Cut(name, "=")
			seen[name] = true
		}
		o.Limit, o.Start = unlimited, noon.AddDate(0, 0, -10)
		p := open(t, o)
		p.SetFaults(f)
		from, to := noon.Add(-20*time.Hour), noon.Add(-3*time.Hour)
		want := map[string]bool{}
		learn := func() {
			for r := range p.Truth("0", from.Add(-50*time.Hour), to.Add(time.Second)) {
				want[string(r.Served)] = true
			}
		}
		learn()
		for page := 1; page <= 3; page++ {
			for _, size := range []int{10, 100} {
				a := do(t, p, "GET", query(from, to, "page", strconv.Itoa(page), "pagesize", strconv.Itoa(size)), p.Key("0"), "")
				var d struct{ List []json.RawMessage }
				if err := json.Unmarshal(a.Data, &d); err != nil || !slices.Contains([]int{200, 400, 404}, a.status) ||
					len(d.List) > max(size, f.PageDefault)+1 {
					t.Errorf("seed %d, %s: %d %.300s: %v", o.Seed, f, a.status, a.raw, err)
				}
				if f.ArriveEvery+f.SwapEvery > 0 {
					learn()
				}
				for _, raw := range d.List {
					if !want[string(raw)] {
						t.Errorf("seed %d, %s: not in the truth: %s", o.Seed, f, raw)
					}
				}
			}
		}
		on := 0
		v := reflect.ValueOf(f)
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				on++
			}
		}
		together[min(on, 8)]++
	}
	if together[0] > 50 || together[0] == 0 || together[8] > 50 {
		t.Errorf("faults together: %v", together)
	}
	for _, name := range strings.Fields(`order ties tie-span total-cap total-cap-only deep-page past-end
		inclusive-end exclusive-start filter-by settle-by settle-jitter keep keep-answer id-modulo id-text shared-id
		page-max page-over page-default pagesize-ignored page-clamp page-clamp-after page-clamp-from page-clamp-back
		blank blank-page from to swap swap-by swap-every arrive-every drop-every late vanish total total-delta twice
		duplicate burst burst-every`) {
		if !seen[name] {
			t.Errorf("%s is never drawn", name)
		}
	}
}

// TestAnyFaultsThatAreValidMayStandTogether sets every fault at random, extremes among them, and asks for everything
// there is.
func TestAnyFaultsThatAreValidMayStandTogether(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Start: noon.AddDate(0, 0, -4), Orgs: []OrgOptions{{RecordsPerDay: 100}}})
	valid := 0
	for n := range uint64(500) {
		r := rand.New(rand.NewPCG(n, 2))
		var f Faults
		v := reflect.ValueOf(&f).Elem()
		for i := range v.NumField() {
			if r.IntN(8) > 0 {
				continue
			}
			tag := v.Type().Field(i).Tag
			switch x := v.Field(i).Addr().Interface().(type) {
			case *int:
				*x = pick(r, -1, 1, 2, 30, 200, 500, 5000, largest, largest+1)
			case *time.Duration:
				*x = pick(r, -time.Second, 1, time.Second, time.Hour, 20*time.Hour, longest, longest+1)
			case *float64:
				*x = pick(r, -1, 0.1, 0.1, 1, 2)
			case *bool:
				*x = true
			case *string:
				*x = pick(r, "", "no-id", "\x00", strings.Repeat("ä\n", 9))
				if one := tag.Get("one"); one != "" {
					*x = pick(r, strings.Split(one, "|")...)
				}
			}
			// What isn't valid must be found so; the rest of the draw is to be of use.
			if f.Validate() != nil {
				v.Field(i).SetZero()
			}
		}
		if err := f.Validate(); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		f.Latency, f.Jitter, f.Drip, f.Hang, f.GzipBomb, f.KeyAfter = 0, 0, 0, 0, 0, 0 // slow, or the end of the key
		p.SetFaults(f)
		for _, path := range []string{query(noon.Add(-30*time.Hour), noon),
			query(noon.Add(-20*time.Minute), noon.AddDate(0, 0, 3), "page", "3", "pagesize", "100"), BasePath + "/balance"} {
			if survives(p, f, path) == 200 {
				valid++
			}
		}
		p.Total("0", noon.Add(-time.Hour), noon)
	}
	if valid < 500 {
		t.Errorf("only %d answers", valid)
	}
}

// survives asks, and panics if the Portal does so in another way than an aborted answer.
func survives(p *Portal, f Faults, path string) (status int) {
	w := httptest.NewRecorder()
	defer func() {
		if e := recover(); e != nil && e != http.ErrAbortHandler {
			panic(fmt.Sprintf("%s with %s: %v", path, f, e))
		}
	}()
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", "Bearer "+p.Key("0"))
	p.ServeHTTP(w, r)
	return w.Code
}
