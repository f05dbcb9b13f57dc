package transform

import (
	"cmp"
	"encoding/json"
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
	id      string
	at      int64  // second of the day
	json    string // as the API sends it
	content string // the same in one form
	amount  string
	bad     bool // must become a reject
}

type modelWindow struct {
	from, to int64
	pages    [][]modelled
}

// drawWindows draws windows over the first 100 seconds of the day, in order of Seq, with records in and around them.
// Few ids and seconds stand against many amounts, so that records share an id and a second; and some come again, with
// their keys in the same order or in another.
func drawWindows(t *rapid.T) []modelWindow {
	second := rapid.Int64Range(0, 99)
	few := rapid.Bool().Draw(t, "few seconds")
	var out []modelWindow
	for range rapid.IntRange(1, 5).Draw(t, "windows") {
		w := modelWindow{from: second.Draw(t, "from")}
		w.to = w.from + rapid.Int64Range(1, 100-w.from).Draw(t, "length")
		var came []modelled
		for range rapid.IntRange(0, 3).Draw(t, "pages") {
			var page []modelled
			for range rapid.IntRange(0, 6).Draw(t, "records") {
				if len(came) > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
					m := rapid.SampledFrom(came).Draw(t, "repeat")
					if rapid.Bool().Draw(t, "rewritten") {
						m.json = m.content
					}
					page = append(page, m)
					continue
				}
				m := modelled{
					id: fmt.Sprint(rapid.IntRange(1, 30).Draw(t, "id")),
					at: rapid.Int64Range(w.from-1, w.to).Draw(t, "at"),
				}
				if few {
					m.id = fmt.Sprint(rapid.IntRange(9, 10).Draw(t, "one of two"))
					m.at = w.from + m.at%2
				}
				m.amount = fmt.Sprintf("%d.%012d", rapid.IntRange(-9, 999_999).Draw(t, "whole"),
					rapid.Int64Range(0, 999_999_999_999).Draw(t, "units"))
				if rapid.IntRange(0, 3).Draw(t, "plain") > 0 {
					m.amount = fmt.Sprint(rapid.IntRange(-2, 2).Draw(t, "whole"))
				}
				value := m.amount
				if m.bad = rapid.IntRange(0, 9).Draw(t, "fault") == 0; m.bad {
					value = `"oops"`
				}
				var id int
				_, _ = fmt.Sscan(m.id, &id)
				m.json = detailed(id, dayStart+m.at, `"amount":`+value)
				m.content = oneForm(m.json)
				page = append(page, m)
				came = append(came, m)
			}
			w.pages = append(w.pages, page)
		}
		out = append(out, w)
	}
	return out
}

// oneForm writes a record with its keys in order, by encoding/json.
func oneForm(record string) string {
	var v map[string]any
	d := json.NewDecoder(strings.NewReader(record))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		panic(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
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

// naive says what must come out: rows as "id@second#ordinal amount" in order, how many rejects and duplicates, and how
// many records each window holds within its own stretch.
func naive(windows []modelWindow) (rows []string, rejects, duplicates int, holds []int64) {
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
		seen := map[string]bool{}
		within, owns := int64(0), false
		for at := w.from; at < w.to; at++ {
			owns = owns || owner(at) == i
		}
		for _, m := range slices.Concat(w.pages...) {
			switch repeat := seen[m.content]; {
			case repeat && owner(m.at) == i:
				duplicates++
				continue
			case repeat:
				continue
			case owner(m.at) == i:
				kept = append(kept, m)
			}
			seen[m.content] = true
			if m.at >= w.from && m.at < w.to {
				within++
			}
		}
		if !owns {
			within = -1
		}
		holds = append(holds, within)
	}
	slices.SortFunc(kept, func(a, b modelled) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(len(a.id), len(b.id)), cmp.Compare(a.id, b.id),
			cmp.Compare(a.content, b.content))
	})
	ordinal := map[string]int{}
	for _, m := range kept {
		if m.bad {
			rejects++
			continue
		}
		key := fmt.Sprint(m.id, "@", m.at)
		ordinal[key]++
		rows = append(rows, fmt.Sprintf("%s#%d %s", key, ordinal[key], rat(m.amount).FloatString(12)))
	}
	return rows, rejects, duplicates, holds
}

func TestRowsAndDedupeEqualANaiveModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		windows := drawWindows(rt)
		var in []schemas.Sealed
		for i, w := range windows {
			in = append(in, w.sealed(i+1))
		}
		r := derive(t, Options{BatchRows: rapid.IntRange(1, 8).Draw(rt, "batch")}, in...)
		want, rejects, duplicates, holds := naive(windows)
		var got []string
		sum := new(big.Rat)
		for _, row := range r.rows {
			at := strings.TrimSuffix(row["request_time"].(string)[len("2026-11-01T00:"):], "Z")
			var minute, second int
			_, _ = fmt.Sscanf(at, "%d:%d", &minute, &second)
			amount := rat(row["amount"].(string))
			got = append(got, fmt.Sprintf("%v@%d#%v %s", row["id"], 60*minute+second, row["ordinal"], amount.FloatString(12)))
			sum.Add(sum, amount)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("rows %v\nwant %v", got, want)
		}
		if len(r.rejects) != rejects || r.footer.Quarantined != int64(rejects) || r.footer.Duplicates != int64(duplicates) ||
			r.footer.Rows != int64(len(want)) {
			rt.Fatalf("%d rejects (want %d), stats %+v (want %d duplicates)", len(r.rejects), rejects, r.footer.DayStats,
				duplicates)
		}
		if sum.Cmp(rat(r.footer.Amount)) != 0 {
			rt.Fatalf("amounts sum to %s, the footer says %s", sum.FloatString(12), r.footer.Amount)
		}
		for i, w := range r.footer.Windows {
			if w.Owns != (holds[i] >= 0) || w.Owns && w.Records != holds[i] {
				rt.Fatalf("window %d: %+v, it holds %d", i, w, holds[i])
			}
		}
	})
}

func TestTheOrderOfArrivalLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		windows := drawWindows(rt)
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
				fmt.Fprintf(&out, "%s %s %s\n", j.Reason, oneForm(string(j.Raw)), j.RunID)
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
