package pack

import (
	"flag"
	"fmt"
	"math/big"
	"path/filepath"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// charge is a record as it was drawn.
type charge struct {
	day               string
	id, token, amount string // NULL is an amount, too
	pooled            bool
}

// Each record is one owner's whole, or of a pool every owner's in parts: the parts of an owner's share sum to the share
// whatever the records are (refunds, sums of 0, one unit of the last decimal, no amount), and none is further from its
// record's even part than the rounding of a ratio explains.
func TestPartsOfRecordsSumToTheShares(t *testing.T) {
	few(t, 4) // each publishes
	rapid.Check(t, func(rt *rapid.T) {
		w := publishtest.New(t, load.Options{})
		owners := []string{"cc-a", "cc-b", "cc-c"}[:rapid.IntRange(1, 3).Draw(rt, "owners")]
		amounts := rapid.SampledFrom([]string{"0.000000000001", "-0.000000000001", "1", "-1", "0.000000000002", "0", "NULL",
			"999999.999999999999", "-123.456789012345", "0.333333333333"})
		var all []charge
		for _, day := range []string{"2026-10-05", "2026-10-31"} {
			var rows [][4]string
			for i := range rapid.IntRange(1, 12).Draw(rt, "records") {
				c := charge{day: day, id: fmt.Sprintf("%s-%02d", day, i), amount: amounts.Draw(rt, "amount"),
					token:  rapid.SampledFrom([]string{"tk_2", "tk_4", "tk_1"}).Draw(rt, "token"),
					pooled: rapid.Bool().Draw(rt, "pooled")}
				model := "other"
				if c.pooled {
					model = "model-1"
				}
				all = append(all, c)
				rows = append(rows, [4]string{c.id, c.token, model, c.amount})
			}
			d, err := schemas.ParseDate(day)
			if err != nil {
				t.Fatal(err)
			}
			w.Day(schemas.Partition{Account: "acme", Date: d}, rows...)
		}
		w.Publish(publish.PublishOptions{Finance: publishtest.Ruled("2026-12-01", owners...)})
		month, err := schemas.ParseMonth("2026-10")
		if err != nil {
			t.Fatal(err)
		}
		p, err := query.OpenParts(t.Context(), w.Lake, recordsSQL(nil, month),
			filepath.Join(t.TempDir(), "part"), query.EndUsers{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		rows, err := p.Query(t.Context(), "SELECT cost_center, id, book_date, pool, net_cost, token_id, total_tokens, "+
			"input_price FROM parts")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		got := map[string]query.Value{} // by owner and id
		shares := map[string]*big.Int{} // by owner and day
		for row, err := range rows.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			key := row[0].Text + " " + row[1].Text
			if _, twice := got[key]; twice {
				rt.Fatalf("%s stands twice", key)
			}
			got[key] = row[4]
			if row[3].Null != !row[5].Null {
				rt.Fatalf("%s: pool %+v, token %+v", key, row[3], row[5])
			}
			if !row[3].Null && !(row[6].Null && row[7].Null) {
				rt.Fatalf("%s tells of a pool's record more than the own part", key)
			}
			if !row[3].Null && !row[4].Null {
				k := row[0].Text + " " + row[2].Text
				if shares[k] == nil {
					shares[k] = new(big.Int)
				}
				shares[k].Add(shares[k], units(t, row[4].Text))
			}
		}
		want, pools, records := 0, map[string]*big.Int{}, map[string]int64{}
		for _, c := range all {
			if !c.pooled {
				want++
				owner := map[string]string{"tk_2": "cc-2", "tk_4": "cc-4", "tk_1": schemas.Unallocated}[c.token]
				if v, ok := got[owner+" "+c.id]; !ok || v.Null != (c.amount == "NULL") || !v.Null &&
					units(t, v.Text).Cmp(units(t, c.amount)) != 0 {
					rt.Fatalf("%s of %s: %+v, not %s, in %v", c.id, owner, v, c.amount, got)
				}
				continue
			}
			want += len(owners)
			if c.amount != "NULL" {
				if pools[c.day] == nil {
					pools[c.day] = new(big.Int)
				}
				pools[c.day].Add(pools[c.day], units(t, c.amount))
				records[c.day]++
			}
		}
		if len(got) != want {
			rt.Fatalf("%d lines, not %d", len(got), want)
		}
		n := big.NewInt(int64(len(owners)))
		for day, cost := range pools {
			for i, owner := range owners {
				share := new(big.Int).Quo(cost, n)
				if i == 0 {
					share.Add(share, new(big.Int).Rem(cost, n))
				}
				if sum := shares[owner+" "+day]; sum == nil || sum.Cmp(share) != 0 {
					rt.Fatalf("%s on %s: parts come to %s, the share is %s", owner, day, sum, share)
				}
			}
		}
		// The ratio lacks less than a unit of its last decimal: of a cost of a million that is a millionth, spread over all.
		for _, c := range all {
			for _, owner := range owners {
				v, ok := got[owner+" "+c.id]
				if !c.pooled || c.amount == "NULL" {
					if c.pooled && (!ok || !v.Null) {
						rt.Fatalf("%s of %s has no amount, and the part %+v", c.id, owner, v)
					}
					continue
				}
				off := new(big.Int).Sub(units(t, v.Text), new(big.Int).Quo(units(t, c.amount), n))
				if most := big.NewInt(13_000_000); off.Abs(off).Cmp(most) > 0 {
					rt.Fatalf("%s of %s: %s is not a part of %s", c.id, owner, v.Text, c.amount)
				}
			}
		}
	})
}

// few sets how many cases the properties of a test draw.
func few(t *testing.T, n int) {
	t.Helper()
	for name, value := range map[string]string{"rapid.checks": strconv.Itoa(n), "rapid.shrinktime": "20s"} {
		f := flag.Lookup(name)
		was := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Value.Set(was) })
	}
}

func units(t *testing.T, s string) *big.Int {
	t.Helper()
	m, err := schemas.ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m.Units()
}
