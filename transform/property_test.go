package transform

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas"
)

// modelled is a record of the model: what the test knows of it.
type modelled struct {
	id   string
	at   int64 // second of the day
	json string
	bad  bool // must become a reject
}

type modelWindow struct {
	from, to int64
	pages    [][]modelled
}

// drawWindows draws windows over the first 100 seconds of the day, in order of Seq, with records in and around them.
func drawWindows(t *rapid.T) []modelWindow {
	second := rapid.Int64Range(0, 99)
	var out []modelWindow
	for range rapid.IntRange(1, 5).Draw(t, "windows") {
		w := modelWindow{from: second.Draw(t, "from")}
		w.to = w.from + rapid.Int64Range(1, 100-w.from).Draw(t, "length")
		for range rapid.IntRange(0, 3).Draw(t, "pages") {
			var page []modelled
			for range rapid.IntRange(0, 6).Draw(t, "records") {
				m := modelled{
					id: fmt.Sprint(rapid.IntRange(1, 30).Draw(t, "id")),
					at: rapid.Int64Range(w.from-1, w.to).Draw(t, "at"),
				}
				amount := fmt.Sprintf(`"amount":%d.%012d`, rapid.IntRange(-9, 999_999).Draw(t, "whole"), rapid.Int64Range(0, 999_999_999_999).Draw(t, "units"))
				if m.bad = rapid.IntRange(0, 9).Draw(t, "fault") == 0; m.bad {
					amount = `"amount":"oops"`
				}
				var id int
				_, _ = fmt.Sscan(m.id, &id)
				m.json = detailed(id, dayStart+m.at, amount)
				page = append(page, m)
			}
			w.pages = append(w.pages, page)
		}
		out = append(out, w)
	}
	return out
}

func (w modelWindow) sealed(seq int) schemas.Sealed {
	var bodies []string
	for _, p := range w.pages {
		var recs []string
		for _, m := range p {
			recs = append(recs, m.json)
		}
		bodies = append(bodies, listing(recs...))
	}
	return sealed(seq, w.from, w.to, bodies...)
}

// naive says what must come out: rows as "id@second amount" in order, and how many rejects and duplicates.
func naive(windows []modelWindow) (rows []string, rejects, duplicates int) {
	owner := func(at int64) int {
		for i := len(windows) - 1; i >= 0; i-- {
			if at >= windows[i].from && at < windows[i].to {
				return i
			}
		}
		return -1
	}
	var kept []modelled
	for i, w := range windows {
		all := slices.Concat(w.pages...)
		for n, m := range all {
			if owner(m.at) != i {
				continue
			}
			if slices.ContainsFunc(all[n+1:], func(o modelled) bool { return o.id == m.id }) {
				duplicates++
				continue
			}
			kept = append(kept, m)
		}
	}
	slices.SortFunc(kept, func(a, b modelled) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(len(a.id), len(b.id)), cmp.Compare(a.id, b.id))
	})
	for _, m := range kept {
		if m.bad {
			rejects++
		} else {
			rows = append(rows, fmt.Sprint(m.id, "@", m.at))
		}
	}
	return rows, rejects, duplicates
}

func TestOwnershipAndDedupeEqualANaiveModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		windows := drawWindows(rt)
		var in []schemas.Sealed
		for i, w := range windows {
			in = append(in, w.sealed(i+1))
		}
		r := derive(t, Options{BatchRows: rapid.IntRange(1, 8).Draw(rt, "batch")}, in...)
		want, rejects, duplicates := naive(windows)
		var got []string
		sum := new(big.Rat)
		for _, row := range r.rows {
			at := strings.TrimSuffix(row["request_time"].(string)[len("2026-11-01T00:"):], "Z")
			var minute, second int
			_, _ = fmt.Sscanf(at, "%d:%d", &minute, &second)
			got = append(got, fmt.Sprint(row["id"], "@", 60*minute+second))
			sum.Add(sum, rat(row["amount"].(string)))
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("rows %v\nwant %v", got, want)
		}
		if len(r.rejects) != rejects || r.footer.Quarantined != int64(rejects) || r.footer.Duplicates != int64(duplicates) || r.footer.Rows != int64(len(want)) {
			rt.Fatalf("%d rejects (want %d), stats %+v (want %d duplicates)", len(r.rejects), rejects, r.footer.DayStats, duplicates)
		}
		if sum.Cmp(rat(r.footer.Amount)) != 0 {
			rt.Fatalf("amounts sum to %s, the footer says %s", sum.FloatString(12), r.footer.Amount)
		}
	})
}

func TestTheOrderOfArrivalLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		windows := drawWindows(rt)
		for i := range windows { // ids once a window, since of several the last to arrive stands
			seen := map[string]bool{}
			for p := range windows[i].pages {
				windows[i].pages[p] = slices.DeleteFunc(windows[i].pages[p], func(m modelled) bool {
					gone := seen[m.id]
					seen[m.id] = true
					return gone
				})
			}
		}
		build := func(shuffle bool) result {
			var in []schemas.Sealed
			for i, w := range windows {
				if shuffle {
					all := rapid.Permutation(slices.Concat(w.pages...)).Draw(rt, "order")
					w.pages = [][]modelled{all}
					if n := len(all); n > 1 {
						cut := rapid.IntRange(0, n).Draw(rt, "cut")
						w.pages = [][]modelled{all[:cut], all[cut:]}
					}
				}
				in = append(in, w.sealed(i+1))
			}
			return derive(t, Options{BatchRows: 3}, in...)
		}
		a, b := build(false), build(true)
		if a.text != b.text {
			rt.Fatalf("rows differ:\n%s\n%s", a.text, b.text)
		}
		strip := func(r result) string { // the page a reject came with may differ
			var out strings.Builder
			for _, j := range r.rejects {
				fmt.Fprintf(&out, "%s %s %s\n", j.Reason, j.Raw, j.RunID)
			}
			return out.String()
		}
		if strip(a) != strip(b) {
			rt.Fatalf("rejects differ:\n%s\n%s", strip(a), strip(b))
		}
		if fmt.Sprint(a.footer.DayStats, a.footer.Issues) != fmt.Sprint(b.footer.DayStats, b.footer.Issues) {
			rt.Fatalf("footers differ:\n%+v\n%+v", a.footer, b.footer)
		}
	})
}
