package portal

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

func rat(t *testing.T, s string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%q is no number", s)
	}
	return r
}

// roundEven rounds to 12 decimals, the slow and obvious way.
func roundEven(r *big.Rat) *big.Rat {
	e12 := new(big.Int).Exp(big.NewInt(10), big.NewInt(12), nil)
	x := new(big.Rat).Mul(r, new(big.Rat).SetInt(e12))
	q, m := new(big.Int).DivMod(x.Num(), x.Denom(), new(big.Int))
	switch twice := m.Lsh(m, 1).Cmp(x.Denom()); {
	case twice > 0, twice == 0 && q.Bit(0) == 1:
		q.Add(q, big.NewInt(1))
	}
	return new(big.Rat).SetFrac(q, e12)
}

func TestEveryRecordAddsUp(t *testing.T) {
	p := open(t, Options{Limit: unlimited, Orgs: []OrgOptions{{RecordsPerDay: 40_000}}, Faults: Faults{Corrected: 0.2}})
	p.SetClockOffset(30 * 24 * time.Hour)
	million := big.NewRat(1_000_000, 1)
	seen := map[string]int{}
	for r := range p.Truth("0", noon.Add(-24*time.Hour), noon) {
		gross := new(big.Rat)
		for _, part := range [][2]string{{r.InputPrice, big.NewInt(r.InputTokens).String()},
			{r.OutputPrice, big.NewInt(r.OutputTokens).String()}, {r.CachedPrice, big.NewInt(r.CachedTokens).String()}} {
			gross.Add(gross, new(big.Rat).Mul(rat(t, part[0]), rat(t, part[1])))
		}
		gross.Quo(gross, million)
		for _, e := range r.Ext {
			if a := new(big.Rat).Mul(rat(t, e.Price), rat(t, e.Usage)); a.Cmp(rat(t, e.Amount)) != 0 {
				t.Fatalf("ext %+v doesn't add up", e)
			}
			gross.Add(gross, rat(t, e.Amount))
			seen[e.Group+"."+e.Item+" in "+e.Unit]++
		}
		rounded := roundEven(gross)
		if rounded.Cmp(gross) != 0 {
			seen["rounded"]++
		}
		if rounded.Cmp(rat(t, r.TotalAmount)) != 0 {
			t.Fatalf("total %s, want %s: %+v", r.TotalAmount, gross.FloatString(18), r)
		}
		net := new(big.Rat).Sub(rat(t, r.TotalAmount), rat(t, r.DiscountAmount))
		if net.Cmp(rat(t, r.Amount)) != 0 {
			t.Fatalf("net of %+v", r)
		}
		switch {
		case net.Sign() < 0:
			seen["refund"]++
		case r.Amount == "0":
			seen["free"]++
		}
		if r.DiscountAmount != "0" {
			seen["discount"]++
		}
		if r.Corrected {
			seen["corrected"]++
		}
		if r.CachedTokens > 0 {
			seen["cached"]++
		}
		if strings.ContainsAny(r.CustomUserID, "=<\"\n,") {
			seen["nasty"]++
		}
		seen["model "+r.Model]++
		seen["type "+r.ModelType]++
	}
	for _, what := range []string{"rounded", "refund", "free", "discount", "corrected", "cached", "nasty",
		"input_v2.image in mtoken",
		"input_v2.audio in M tokens", "input_v2.video in mtoken", "tools.web_search in each", "type text", "type others",
		"type image", "type audio"} {
		if seen[what] == 0 {
			t.Errorf("a day without %s", what)
		}
	}
	for _, m := range priceList() {
		if seen["model "+m.name] == 0 {
			t.Errorf("a day without %s", m.name)
		}
	}
}

// TestWhatIsServedIsTheTruth compares every field of every record, under each way of writing them.
func TestWhatIsServedIsTheTruth(t *testing.T) {
	for _, faults := range []string{"", "strings", "ext=string", "ext=null", "ext=absent", "unknown-fields", "float-noise",
		"float-noise,strings,ext=string,unknown-fields", "hostile=0.5", "code-200", "missing=0.5",
		"missing=1,strings,float-noise,hostile=0.5",
		"shared-id=0.5,id-modulo=9", "shared-id=0.5,id-text=None,burst=30,burst-every=10m", "swap=0.5,swap-by=1m"} {
		f, err := ParseFaults(faults)
		if err != nil {
			t.Fatal(err)
		}
		p := open(t, Options{Limit: unlimited, Faults: f, Orgs: []OrgOptions{{RecordsPerDay: 9000}}})
		from, to := noon.Add(-40*time.Minute), noon
		list := drain(t, p, from, to)
		i, missing := 0, 0
		for w := range p.Truth("0", from, to) {
			if i == len(list) {
				t.Fatalf("%q: served %d only", faults, i)
			}
			got := list[i]
			i++
			number := func(v any) string {
				switch v := v.(type) {
				case json.Number:
					if f.Strings {
						t.Fatalf("%q: number %v", faults, v)
					}
					return string(v)
				case string:
					return v
				}
				t.Fatalf("%q: %v is no number", faults, v)
				return ""
			}
			same := func(field, want string) {
				t.Helper()
				if slices.Contains(w.Missing, field) {
					if v := got[field]; v != nil || (want != "" && want != "0") {
						t.Fatalf("%q: %s is %v, should be missing", faults, field, v)
					}
					return
				}
				if roundEven(rat(t, number(got[field]))).Cmp(rat(t, want)) != 0 {
					t.Fatalf("%q: %s is %v, want %s", faults, field, got[field], want)
				}
			}
			for field, want := range map[string]string{"id": w.ID, "user_id": w.UserID, "custom_user_id": w.CustomUserID,
				"token_id": w.TokenID, "model": w.Model, "model_type": w.ModelType} {
				if slices.Contains(w.Missing, field) {
					if v, sent := got[field]; v != nil || want != "" {
						t.Fatalf("%q: %s is %v (sent %v), should be missing", faults, field, v, sent)
					}
					missing++
					continue
				}
				if got[field] != want {
					t.Fatalf("%q: %s is %q, want %q", faults, field, got[field], want)
				}
			}
			for field, want := range map[string]int64{"request_time": w.RequestTime.Unix(), "input_token": w.InputTokens,
				"output_token": w.OutputTokens, "cached_token": w.CachedTokens, "channel_id": w.ChannelID} {
				same(field, big.NewInt(want).String())
			}
			for field, want := range map[string]string{"input_price": w.InputPrice, "output_price": w.OutputPrice,
				"cached_price": w.CachedPrice, "total_amount": w.TotalAmount, "discount_amount": w.DiscountAmount,
				"amount": w.Amount} {
				same(field, want)
			}
			ext := got["ext"]
			if (ext != nil) != w.ExtSent {
				t.Fatalf("%q: ext %v, truth says sent: %v", faults, ext, w.ExtSent)
			}
			if s, ok := ext.(string); ok {
				var m map[string]any
				d := json.NewDecoder(strings.NewReader(s))
				d.UseNumber()
				if err := d.Decode(&m); err != nil {
					t.Fatal(err)
				}
				ext = m
			}
			groups, _ := ext.(map[string]any)
			n := 0
			for _, g := range groups {
				n += len(g.(map[string]any))
			}
			if n != len(w.Ext) {
				t.Fatalf("%q: ext %v, want %v", faults, ext, w.Ext)
			}
			for _, e := range w.Ext {
				item := groups[e.Group].(map[string]any)[e.Item].(map[string]any)
				for field, want := range map[string]string{"price": e.Price, "usage": e.Usage, "amount": e.Amount} {
					if rat(t, number(item[field])).Cmp(rat(t, want)) != 0 {
						t.Fatalf("%q: ext %v, want %v", faults, item, e)
					}
				}
			}
			for name, want := range w.Extra {
				if !json.Valid([]byte(want)) || got[name] == nil {
					t.Fatalf("%q: field %s is %v, want %s", faults, name, got[name], want)
				}
			}
			for name := range got {
				if _, known := w.Extra[name]; !known && !slices.Contains(documented, name) {
					t.Fatalf("%q: undocumented field %s isn't in the truth", faults, name)
				}
			}
		}
		if (missing > 0) != (f.Missing > 0) {
			t.Errorf("%q: %d fields missing", faults, missing)
		}
		if i != len(list) {
			t.Errorf("%q: served %d, truth has %d", faults, len(list), i)
		}
	}
}

var documented = strings.Fields(`id request_time user_id custom_user_id token_id model model_type input_token
	output_token input_price output_price cached_token cached_price total_amount discount_amount amount channel_id ext`)

func TestDecimals(t *testing.T) {
	for _, c := range []struct {
		v             int64
		scale         int
		plain, number string
	}{
		{0, 12, "0", "0"}, {3_000_000_000, 9, "3", "3"}, {300_000_000, 9, "0.3", "0.3"},
		{12_237_000_000, 12, "0.012237", "0.012237"},
		{25_800, 12, "0.0000000258", "2.58e-8"}, {-25_800, 12, "-0.0000000258", "-2.58e-8"},
		{1, 12, "0.000000000001", "1e-12"},
		{1_000_000, 12, "0.000001", "0.000001"}, {999_999, 12, "0.000000999999", "9.99999e-7"},
		{-5_500_000_000_000, 12, "-5.5", "-5.5"}, {42, 0, "42", "42"},
		{-9_223_372_036_854_775_808, 12, "-9223372.036854775808", "-9223372.036854775808"},
	} {
		if got := decimal(c.v, c.scale); got != c.plain {
			t.Errorf("decimal(%d, %d) = %s, want %s", c.v, c.scale, got, c.plain)
		}
		if got := string(appendNumber(nil, c.v, c.scale)); got != c.number {
			t.Errorf("number(%d, %d) = %s, want %s", c.v, c.scale, got, c.number)
		}
		if got := bigDecimal(big.NewInt(c.v), c.scale); got != c.plain {
			t.Errorf("bigDecimal(%d, %d) = %s, want %s", c.v, c.scale, got, c.plain)
		}
	}
	for _, c := range [][3]uint64{{2500, 1000, 2}, {3500, 1000, 4}, {2501, 1000, 3}, {2499, 1000, 2}, {0, 7, 0}} {
		if got := divEven(0, c[0], c[1]); got != c[2] {
			t.Errorf("%d / %d = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

func TestPricesChangeAtTheirDates(t *testing.T) {
	for _, m := range priceList() {
		for i := 1; i < len(m.rates) && !m.spot; i++ {
			at := m.rates[i].from
			if m.at(at-1) != &m.rates[i-1] || m.at(at) != &m.rates[i] {
				t.Errorf("%s: wrong rate around %d", m.name, at)
			}
		}
	}
	p := open(t, Options{Limit: unlimited})
	spot := map[string]bool{}
	for r := range p.Truth("0", noon.AddDate(0, 0, -30), noon) {
		if r.Model == "llama-3.3-70b-spot" {
			spot[r.InputPrice] = true
		}
	}
	if len(spot) != 2 {
		t.Errorf("the spot model had the prices %v in 30 days", spot)
	}
}

func TestShuffleIsAPermutation(t *testing.T) {
	for _, n := range []int{1, 2, 3, 17, 256, 1000} {
		seen := make([]bool, n)
		for i := range n {
			j := shuffle(i, n, 5)
			if seen[j] {
				t.Fatalf("n %d: %d twice", n, j)
			}
			seen[j] = true
		}
	}
}

func TestTheBalanceReconciles(t *testing.T) {
	for _, faults := range []string{"", "late=0.1,late-by=20h,corrected=0.1,corrected-by=40h,vanish=0.05,vanish-by=60h",
		"swap=0.3,swap-by=30h,twice=0.2,burst=20,burst-every=5h,shared-id=0.2",
		"filter-by=settled,settle-by=20h,settle-jitter=9h,swap=0.2,swap-by=25h,keep=10h"} {
		f, _ := ParseFaults(faults)
		c := &clock{noon.AddDate(0, 0, -40)}
		p := open(t, Options{Limit: unlimited, Now: c.now, Faults: f, Start: noon.AddDate(0, 0, -60),
			Orgs: []OrgOptions{{RecordsPerDay: 500, RefillDays: 7}}})
		start := noon.AddDate(0, 0, -61)
		balance, spent := rat(t, p.Balance("0")), netOf(t, p, start, c.t)
		topups := 0
		for range 6 {
			before := c.t
			c.t = c.t.Add(61*time.Hour + 7*time.Minute)
			now, nowSpent := rat(t, p.Balance("0")), netOf(t, p, start, c.t)
			want := new(big.Rat).Sub(balance, new(big.Rat).Sub(nowSpent, spent))
			for _, u := range p.TopUps("0", before.Add(time.Second), c.t.Add(time.Second)) {
				want.Add(want, rat(t, u.Amount))
				topups++
			}
			if now.Cmp(want) != 0 {
				t.Fatalf("%q: balance %s, want %s", faults, now.FloatString(12), want.FloatString(12))
			}
			balance, spent = now, nowSpent
		}
		if topups == 0 {
			t.Error("no top-up in two weeks")
		}
		var d struct {
			Balance  json.Number
			Str      string `json:"balance_str"`
			Currency string `json:"currency_code"`
		}
		a := do(t, p, "GET", BasePath+"/balance", p.Key("0"), "")
		if err := json.Unmarshal(a.Data, &d); err != nil || d.Str != p.Balance("0") || string(d.Balance) != d.Str ||
			d.Currency != "USD" {
			t.Errorf("balance %s: %v", a.raw, err)
		}
	}
}

func netOf(t *testing.T, p *Portal, from, to time.Time) *big.Rat {
	t.Helper()
	_, s := p.Total("0", from, to.Add(time.Second))
	return rat(t, s)
}
