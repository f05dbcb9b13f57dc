package schemas

import (
	"errors"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDecimalIsReadFromTheDigits(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0", "0"}, {"-0", "0"}, {"0.0", "0"}, {"3", "3"}, {"15.50", "15.5"}, {"0.3", "0.3"},
		{"0.30000000000000004", "0.3"},
		{"2.58e-8", "0.0000000258"}, {"2.58E+2", "258"}, {"1e5", "100000"}, {"1e-12", "0.000000000001"},
		{"98765.432109876543", "98765.432109876543"},
		{"999999.999999999999", "999999.999999999999"}, {"-999999.999999999999", "-999999.999999999999"},
		{"0.0000000000005", "0"}, {"0.0000000000015", "0.000000000002"}, {"0.0000000000025", "0.000000000002"},
		{"0.00000000000050000001", "0.000000000001"}, {"-0.0000000000015", "-0.000000000002"},
		{"0e999999999999", "0"}, {"1e-999999999999", "0"},
		{"0." + strings.Repeat("0", 10_000) + "1", "0"},
		{"1." + strings.Repeat("0", 10_000) + "1", "1"},
		{"0.1" + strings.Repeat("9", 10_000), "0.2"},
		{strings.Repeat("1", 30) + "e-30", "0.111111111111"},
	} {
		d, err := ParseDecimal([]byte(c.in))
		if err != nil || d.String() != c.want {
			t.Errorf("%.40s: %s, %v, want %s", c.in, d, err, c.want)
		}
	}
}

func TestDecimalSaysWhatItCannotHold(t *testing.T) {
	for _, c := range []struct {
		in   string
		want error
	}{
		{"1000000", ErrOutOfRange}, {"-1000000", ErrOutOfRange}, {"1e6", ErrOutOfRange},
		{"1e999999999999999999999", ErrOutOfRange},
		{"999999.9999999999995", ErrOutOfRange}, {strings.Repeat("9", 10_000), ErrOutOfRange},
		{"", ErrNotNumber}, {"-", ErrNotNumber}, {"+1", ErrNotNumber}, {".5", ErrNotNumber}, {"5.", ErrNotNumber},
		{"01", ErrNotNumber},
		{"1e", ErrNotNumber}, {"1e+", ErrNotNumber}, {"NaN", ErrNotNumber}, {"Infinity", ErrNotNumber}, {"1,5", ErrNotNumber},
		{" 1", ErrNotNumber}, {"1 ", ErrNotNumber}, {"0x1", ErrNotNumber}, {"1_000", ErrNotNumber}, {"--1", ErrNotNumber},
		{"1.2.3", ErrNotNumber},
	} {
		if d, err := ParseDecimal([]byte(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%.40q: %s, %v, want %v", c.in, d, err, c.want)
		}
	}
}

// oracle rounds half to even with big integers.
func oracle(text string) (Decimal, bool) {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, false
	}
	r.Mul(r, new(big.Rat).SetInt64(decimalOne))
	q, m := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	twice := new(big.Int).Lsh(m.Abs(m), 1)
	if c := twice.Cmp(r.Denom()); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(int64(r.Sign())))
	}
	if !q.IsInt64() || q.CmpAbs(big.NewInt(decimalMax)) > 0 {
		return 0, false
	}
	return Decimal(q.Int64()), true
}

func TestDecimalAgreesWithBigRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "text")
		want, ok := oracle(text)
		got, err := ParseDecimal([]byte(text))
		if ok != (err == nil) || got != want && ok {
			t.Fatalf("%s: %s, %v, want %s, %t", text, got, err, want, ok)
		}
	})
}

func TestDecimalTextComesBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Decimal(rapid.Int64Range(-decimalMax, decimalMax).Draw(t, "units"))
		b, err := d.MarshalText()
		var back Decimal
		if err != nil || back.UnmarshalText(b) != nil || back != d {
			t.Fatalf("%d gives %s gives %d", d, b, back)
		}
	})
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0", "-1.5e-3", "999999.999999999999", "1e400", "0.0000000000005", "-", "1e"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDecimal(b)
		if err != nil {
			if d != 0 || !errors.Is(err, ErrNotNumber) && !errors.Is(err, ErrOutOfRange) {
				t.Fatalf("%q: %d, %v", b, d, err)
			}
			return
		}
		back, err := ParseDecimal([]byte(d.String()))
		if err != nil || back != d {
			t.Fatalf("%q gives %s gives %s, %v", b, d, back, err)
		}
	})
}
