package transform

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// spelled draws numbers as JSON may spell them.
var spelled = rapid.StringMatching(`-?(0|[1-9][0-9]{0,21})(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?`)

func rat(s string) *big.Rat { r, _ := new(big.Rat).SetString(s); return r }

func TestCountsAreWholeNumbersHoweverSpelled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := spelled.Draw(t, "number")
		v, reason := parseCount([]byte(s))
		r := rat(s)
		want := ""
		switch whole := new(big.Int).Quo(r.Num(), r.Denom()); {
		case !whole.IsInt64():
			want = schemas.ReasonOutOfRange
		case !r.IsInt():
			want = schemas.ReasonNotInteger
		case v != whole.Int64():
			t.Fatalf("%s is %d", s, v)
		}
		if reason != want {
			t.Fatalf("%s: %q, want %q", s, reason, want)
		}
	})
}

func TestTimesAreCutToMicroseconds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := spelled.Draw(t, "number")
		v, reason := parseTime([]byte(s))
		r := rat(s)
		micros := new(big.Rat).Mul(r, big.NewRat(1_000_000, 1))
		whole := new(big.Int).Quo(micros.Num(), micros.Denom())
		want := ""
		switch {
		case r.Sign() >= 0 && s[0] != '-' && r.Cmp(big.NewRat(maxSeconds, 1)) >= 0:
			want = schemas.ReasonTimeUnit
		case whole.Sign() <= 0:
			want = schemas.ReasonNoTime
		case v != whole.Int64():
			t.Fatalf("%s is %d", s, v)
		}
		if reason != want {
			t.Fatalf("%s: %q, want %q", s, reason, want)
		}
	})
}

// The scanners of the fast decoder may only succeed where the plain functions do, with the same value.
func TestFastNumbersEqualPlainOnes(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, s string) {
		b := scan.Pad([]byte(s + ","))
		if n := splitNumber([]byte(s)); !n.spelledOK { // refused, or not taken to its end
			_, count := fastCount(b, 0)
			_, _, money := fastMoney(b, 0)
			_, micros := fastTime(b, 0)
			if count == len(s) || money == len(s) || micros == len(s) {
				t.Fatalf("%s is taken for a number", s)
			}
			return
		}
		if v, end := fastCount(b, 0); end >= 0 {
			if want, reason := parseCount([]byte(s)); reason != "" || v != want || end != len(s) {
				t.Fatalf("count %s is %d to %d, want %d %s", s, v, end, want, reason)
			}
		}
		if v, rounded, end := fastMoney(b, 0); end >= 0 {
			if want, lost, reason := parseMoney([]byte(s)); reason != "" || v != want || rounded != lost || end != len(s) {
				t.Fatalf("money %s is %v to %d, want %v %s", s, v, end, want, reason)
			}
		} else if _, _, reason := parseMoney([]byte(s)); reason == "" {
			t.Fatalf("money %s is refused", s)
		}
		if v, end := fastTime(b, 0); end >= 0 {
			if want, reason := parseTime([]byte(s)); reason != "" || v != want || end != len(s) {
				t.Fatalf("time %s is %d to %d, want %d %s", s, v, end, want, reason)
			}
		}
	}
	for _, s := range []string{"0", "-0", "999999.999999999999", "-999999.999999999999", "0.0000000000005",
		"0.0000000000015", "0.00000000000050", "0.000000000000501", "0.30000000000000004", "1.1000000000000000",
		"999999.9999999999995", "999999.9999999999994", "1793534400", "123456789012345678", "1234567890123456789", "1e5",
		"100000000000"} {
		check(t, s)
	}
	money := rapid.StringMatching(`-?[0-9]{1,7}\.[0-9]{11}[0-9]?[05]?[0-9]?0{0,5}1?(e-?[0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		check(t, spelled.Draw(t, "number"))
		check(t, money.Draw(t, "money"))
	})
}

func TestWideArithmeticIsExact(t *testing.T) {
	toBig := func(a wide) *big.Int {
		v := new(big.Int).Lsh(big.NewInt(a.hi), 64)
		return v.Or(v, new(big.Int).SetUint64(a.lo))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b"), rapid.Int64().Draw(t, "c")
		p := mulWide(a, b)
		want := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
		if toBig(p).Cmp(want) != 0 {
			t.Fatalf("%d × %d is %v, want %v", a, b, toBig(p), want)
		}
		d := p.sub(wideOf(c))
		want.Sub(want, big.NewInt(c))
		if toBig(d).Cmp(want) != 0 || d.compare(p) != want.Cmp(toBig(p)) || toBig(d.abs()).CmpAbs(want) != 0 {
			t.Fatalf("%v − %d is %v, want %v", toBig(p), c, toBig(d), want)
		}
		if s := toBig(scale(wideOf(c), million)); s.Cmp(new(big.Int).Mul(big.NewInt(c), big.NewInt(million))) != 0 {
			t.Fatalf("%d scaled is %v", c, s)
		}
		if r := rat(d.decimal(12)); r.Cmp(new(big.Rat).SetFrac(want, big.NewInt(1e12))) != 0 {
			t.Fatalf("%v as a decimal is %s", want, d.decimal(12))
		}
		sum := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		sum.Add(sum, big.NewInt(c))
		if add3Fits(a, b, c) != sum.IsInt64() {
			t.Fatalf("%d + %d + %d", a, b, c)
		}
	})
	if v := mulWide(math.MaxInt64, 4).int64(); v != math.MaxInt64 {
		t.Errorf("clamped to %d", v)
	}
	if v := mulWide(math.MinInt64, 4).int64(); v != math.MinInt64 {
		t.Errorf("clamped to %d", v)
	}
}

func TestBalancesAreRoundedHalfToEven(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"470.010481", "470.010481"}, {"-1.5e3", "-1500"}, {"0", "0"}, {"0e99999999999", "0"},
		{"0.0000000000005", "0"}, {"0.0000000000015", "0.000000000002"}, {"0.00000000000251", "0.000000000003"},
		{"99999999999999999999999999.999999999999", "99999999999999999999999999.999999999999"},
		{"99999999999999999999999999.9999999999995", schemas.ReasonOutOfRange}, {"1e26", schemas.ReasonOutOfRange},
		{"1e99999999999", schemas.ReasonOutOfRange}, {"1e-99999999999", "0"}, {"NaN", schemas.ReasonNotNumber},
		{"", schemas.ReasonNotNumber},
		{"0." + strings.Repeat("0", 10_000) + "1", "0"},
	} {
		n, got := parseWide([]byte(c.in))
		if got == "" {
			got = rat(n.BigInt().String()).Quo(rat(n.BigInt().String()), rat("1000000000000")).FloatString(12)
			if strings.Contains(got, ".") {
				got = strings.TrimRight(strings.TrimRight(got, "0"), ".")
			}
		}
		equal(t, c.in, got, c.want)
	}
}

func TestWhatIsQuotedReadsBack(t *testing.T) {
	parts := rapid.SliceOf(rapid.SampledFrom([]string{"a", "long plain text", "\n", "/", "\"", "\\", "\x00", "\x7f", "€",
		"😀", "\u2028", "\ufffd"}))
	rapid.Check(t, func(t *rapid.T) {
		want := strings.Join(parts.Draw(t, "parts"), "")
		if got, ok := readAny(appendQuoted(nil, want)); !ok || got != want {
			t.Fatalf("%q quoted is %q", want, appendQuoted(nil, want))
		}
	})
}

func TestDigitsAreReadAtOnce(t *testing.T) {
	for _, text := range []string{"", "0", "7", "12", "1234567", "12345678", "123456789", "00000000", "99999999",
		"3.14", "0,5", "5e3", "1/2", "1:2", "12\"", "9\x00\x00", "4\xff\xff", "1\xb02", "77777777777777777777"} {
		b := scan.Pad([]byte("x" + text))
		n, v := digits(b, 1)
		want := 0
		for want < min(len(text), 8) && isDigit(text[want]) {
			want++
		}
		value, _ := strconv.ParseInt("0"+text[:want], 10, 64)
		if n != want || v != value {
			t.Errorf("%q: %d digits, %d; want %d, %d", text, n, v, want, value)
		}
	}
}
