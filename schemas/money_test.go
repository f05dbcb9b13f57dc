package schemas

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func bigs(t *rapid.T, name string, low, high int64) *big.Int {
	v := big.NewInt(rapid.Int64Range(low, high).Draw(t, name))
	if rapid.IntRange(0, 9).Draw(t, "huge") == 0 {
		v.Mul(v, big.NewInt(1_000_000_000_000))
	}
	return v
}

// amounts of every size and sign, and some beyond what a column holds.
func genMoney(t *rapid.T, name string) Money {
	v := big.NewInt(rapid.Int64().Draw(t, name))
	switch rapid.IntRange(0, 3).Draw(t, name+" size") {
	case 0:
		v.SetInt64(v.Int64() % 1000)
	case 1:
		v.Mul(v, v).Mul(v, v)
	}
	return MoneyOf(v)
}

func genAmount(t *rapid.T) string {
	return rapid.StringMatching(`[+-]?[0-9]{1,26}(\.[0-9]{1,12})?`).Draw(t, "amount")
}

func TestMoneyIsWhatItsDigitsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := genAmount(t)
		m, err := ParseMoney(text)
		want, ok := new(big.Rat).SetString(text)
		if err != nil || !ok || m.Rat().Cmp(want) != 0 {
			t.Fatalf("%s: %v, %v", text, m, err)
		}
		again, err := ParseMoney(m.String())
		if err != nil || again.Cmp(m) != 0 || again.String() != m.String() || !reflect.DeepEqual(again, m) {
			t.Fatalf("%s is written %s, which reads as %v, %v", text, m, again, err)
		}
		if s := m.String(); strings.Contains(s, ".") && strings.HasSuffix(s, "0") || strings.HasSuffix(s, ".") || s == "-0" {
			t.Fatalf("%s is written %s", text, s)
		}
	})
}

func TestWhatIsNoAmountIsRefused(t *testing.T) {
	for _, text := range []string{"", "-", ".", "1.", ".5", "1,000", "1e3", " 1", "1 ", "0x1", "١", "NaN", "Inf", "+-1",
		"--1", "1.2.3",
		"0.0000000000001", strings.Repeat("9", 27), "1\n"} {
		if m, err := ParseMoney(text); err == nil {
			t.Errorf("%q is taken for %v", text, m)
		}
	}
}

// Every operation gives what fractions give, and changes neither of its operands.
func TestMoneyReckonsAsFractionsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genMoney(t, "a"), genMoney(t, "b")
		n := rapid.Int64().Draw(t, "n")
		textA, textB := a.String(), b.String()
		x, y := a.Rat(), b.Rat()
		for _, c := range []struct {
			name string
			got  Money
			want *big.Rat
		}{
			{"a + b", a.Add(b), new(big.Rat).Add(x, y)},
			{"a - b", a.Sub(b), new(big.Rat).Sub(x, y)},
			{"-a", a.Neg(), new(big.Rat).Neg(x)},
			{"|a|", a.Abs(), new(big.Rat).Abs(x)},
			{"n × a", a.Times(n), new(big.Rat).Mul(x, new(big.Rat).SetInt64(n))},
			{"a - a", a.Sub(a), new(big.Rat)},
		} {
			if c.got.Rat().Cmp(c.want) != 0 {
				t.Fatalf("%s of %v and %v is %v", c.name, a, b, c.got)
			}
		}
		if a.Cmp(b) != x.Cmp(y) || a.Sign() != x.Sign() || !reflect.DeepEqual(a.Sub(a), Money{}) {
			t.Fatalf("%v and %v: %d, %d", a, b, a.Cmp(b), a.Sign())
		}
		units := a.Units()
		held := MoneyOf(units)
		units.Add(units, big.NewInt(1)) // the caller's own
		held.Units().SetInt64(7)
		held.Rat().SetInt64(7)
		for _, p := range held.Split([]*big.Int{big.NewInt(1)}) {
			p.Units().SetInt64(7)
		}
		if a.String() != textA || b.String() != textB || held.Cmp(a) != 0 {
			t.Fatalf("%s and %s became %v, %v and %v", textA, textB, a, b, held)
		}
	})
}

func TestRoundingIsHalfAwayFromZero(t *testing.T) {
	half := big.NewRat(1, 2)
	rapid.Check(t, func(t *rapid.T) {
		m, places := genMoney(t, "m"), rapid.IntRange(0, DecimalScale).Draw(t, "places")
		if rapid.Bool().Draw(t, "a tie") {
			m = MoneyOf(new(big.Int).Quo(new(big.Int).Mul(big.NewInt(2*rapid.Int64Range(-50, 50).Draw(t, "n")+1),
				Pow10(DecimalScale-places)), big.NewInt(2)))
		}
		scaled := new(big.Rat).Mul(m.Rat(), new(big.Rat).SetInt(Pow10(places)))
		up := new(big.Rat).Add(new(big.Rat).Abs(scaled), half) // floor(|x| + ½), with x's sign
		want := new(big.Rat).SetFrac(new(big.Int).Quo(up.Num(), up.Denom()), Pow10(places))
		if m.Sign() < 0 {
			want.Neg(want)
		}
		if got, ok := new(big.Rat).SetString(m.Fixed(places)); !ok || got.Cmp(want) != 0 || strings.HasPrefix(m.Fixed(places),
			"-") != (want.Sign() < 0) {
			t.Fatalf("%v to %d places is %s, want %s", m, places, m.Fixed(places), want.FloatString(places))
		}
		if _, frac, _ := strings.Cut(m.Fixed(places), "."); len(frac) != places {
			t.Fatalf("%v to %d places is %s", m, places, m.Fixed(places))
		}
	})
}

func TestRoundingIsThatOfRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := genMoney(t, "m")
		places := rapid.IntRange(0, DecimalScale).Draw(t, "places")
		got, ok := new(big.Rat).SetString(m.Fixed(places))
		if !ok {
			t.Fatalf("%s is no number", m.Fixed(places))
		}
		// Half a last place off at the most, and exactly half only away from zero.
		unit := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil))
		off := new(big.Rat).Sub(got, m.Rat())
		away := off.Sign() == m.Sign()
		twice := new(big.Rat).Mul(off.Abs(off), big.NewRat(2, 1))
		last := new(big.Rat).Quo(got, unit)
		if c := twice.Cmp(unit); c > 0 || c == 0 && !away || !last.IsInt() {
			t.Fatalf("%v at %d places is %s", m, places, m.Fixed(places))
		}
	})
}

func TestMoneyIsWrittenForPeopleAndForPrograms(t *testing.T) {
	for _, c := range []struct{ amount, currency, exact, posted, text string }{
		{"0", "", "0", "0.00", "0.00"},
		{"-0.000000000001", "USD", "-0.000000000001 USD", "0.00", "0.00 USD"},
		{"1234.565", "USD", "1234.565 USD", "1234.57", "1,234.57 USD"},
		{"-1234.565", "USD", "-1234.565 USD", "-1234.57", "-1,234.57 USD"},
		{"1234567.5", "JPY", "1234567.5 JPY", "1234568", "1,234,568 JPY"},
		{"0.0005", "KWD", "0.0005 KWD", "0.001", "0.001 KWD"},
		{"12.00005", "CLF", "12.00005 CLF", "12.0001", "12.0001 CLF"},
		{"+007.10", "EUR", "7.1 EUR", "7.10", "7.10 EUR"},
		{"99999999999999999999999999.999999999999", "", "99999999999999999999999999.999999999999",
			"100000000000000000000000000.00",
			"100,000,000,000,000,000,000,000,000.00"},
		{"1", "A\u202eB", `1 A\u202eB`, "1.00", `1.00 A\u202eB`},
	} {
		m, err := ParseMoney(c.amount)
		if err != nil {
			t.Fatal(err)
		}
		m = m.In(c.currency)
		if m.Exact() != c.exact || m.Posted() != c.posted || m.Text() != c.text || m.Currency() != c.currency {
			t.Errorf("%s %q: %s, %s, %s", c.amount, c.currency, m.Exact(), m.Posted(), m.Text())
		}
	}
}

func TestCurrenciesDontMix(t *testing.T) {
	usd, eur, bare := MoneyOf(big.NewInt(5)).In("USD"), MoneyOf(big.NewInt(7)).In("EUR"), MoneyOf(big.NewInt(1))
	if got := usd.Add(bare); got.Currency() != "USD" || bare.Sub(usd).Currency() != "USD" ||
		usd.Neg().Currency() != "USD" || usd.Cmp(bare) != 1 ||
		(Money{}).Add(usd).Cmp(usd) != 0 || usd.Split([]*big.Int{big.NewInt(1)})[0].Currency() != "USD" {
		t.Errorf("%v %s", got, got.Currency())
	}
	for name, mix := range map[string]func(){"Add": func() { usd.Add(eur) }, "Sub": func() { usd.Sub(eur) },
		"Cmp": func() { usd.Cmp(eur) }} {
		func() {
			defer func() {
				if why := fmt.Sprint(recover()); !strings.Contains(why, "USD and EUR") {
					t.Errorf("%s of two currencies: %s", name, why)
				}
			}()
			mix()
		}()
	}
}

// What digests are made of stays as it is: they tell whether tables have to be derived anew.
func TestMoneyInADigestIsItsUnits(t *testing.T) {
	amount, err := ParseMoney("-12.5")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal([]any{Budget{Name: "n", Period: "month", Amount: amount, Currency: "USD"}, TopUp{}})
	const want = `[{"Name":"n","Scope":"","Value":"","Period":"month","Amount":-12500000000000,"Currency":"USD",` +
		`"From":null,"To":null,"Thresholds":null},` +
		`{"Account":"","Date":0,"Amount":0,"Currency":"","Kind":"","Reference":"","Expires":null,"Source":""}]`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}

// The parts of an amount are those of its units.
func TestSplitsSumToTheAmount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := genMoney(t, "m")
		weights := make([]*big.Int, rapid.IntRange(1, 12).Draw(t, "n"))
		for i := range weights {
			weights[i] = bigs(t, "w", 0, 5)
		}
		var sum Money
		for _, p := range m.Split(weights) {
			sum = sum.Add(p)
		}
		if sum.Cmp(m) != 0 || len(m.Split(nil)) != 0 {
			t.Fatalf("%v by %v sums to %v", m, weights, sum)
		}
	})
}

// Parts sum to the whole, each is its exact share rounded to a unit, and zero weights leave nothing over.
func TestApportionLosesAndMakesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := bigs(t, "total", -1_000_000, 1_000_000)
		weights := make([]*big.Int, rapid.IntRange(1, 12).Draw(t, "n"))
		sum := new(big.Int)
		for i := range weights {
			weights[i] = bigs(t, "w", 0, 5)
			sum.Add(sum, weights[i])
		}
		parts := Apportion(total, weights)
		got := new(big.Int)
		for i, p := range parts {
			got.Add(got, p)
			if sum.Sign() == 0 {
				continue
			}
			// |part × sum − total × weight| < sum: within one unit of the exact share
			off := new(big.Int).Sub(new(big.Int).Mul(p, sum), new(big.Int).Mul(total, weights[i]))
			if off.CmpAbs(sum) >= 0 {
				t.Fatalf("part %d of %v by %v is %v", i, total, weights, p)
			}
			if weights[i].Sign() == 0 && p.Sign() != 0 {
				t.Fatalf("weight 0 got %v", p)
			}
		}
		if got.Cmp(total) != 0 {
			t.Fatalf("%v by %v: %v sums to %v", total, weights, parts, got)
		}
	})
}
