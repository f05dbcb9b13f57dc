package schemas

import (
	"errors"
	"math/bits"
	"strconv"
)

// Decimal is an exact amount with 12 decimal places: the integer count of 10⁻¹² units. Its range is that of SQL's
// DECIMAL(18,12), ±999999.999999999999; the column types of Arrow, Parquet and DuckDB hold the same integer.
type Decimal int64

const (
	// DecimalPrecision and DecimalScale are the p and s of DECIMAL(p,s).
	DecimalPrecision = 18
	DecimalScale     = 12

	decimalOne = 1_000_000_000_000
	decimalMax = 999_999_999_999_999_999
)

var (
	// ErrNotNumber says that the text isn't a number as JSON spells one.
	ErrNotNumber = errors.New("not a number")
	// ErrOutOfRange says that the number is one, but the column's type can't hold it.
	ErrOutOfRange = errors.New("out of range")
)

// ParseDecimal reads a number as JSON spells it (with or without fraction and exponent) from its digits, never through
// a float. Digits past the twelfth decimal are rounded half to even. Text of any length takes linear time and no
// memory. It returns ErrNotNumber or ErrOutOfRange.
func ParseDecimal(s []byte) (Decimal, error) {
	i := 0
	neg := false
	if i < len(s) && s[i] == '-' {
		neg = true
		i++
	}
	intStart := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	intEnd := i
	if intEnd == intStart || (s[intStart] == '0' && intEnd-intStart > 1) {
		return 0, ErrNotNumber
	}
	fracStart, fracEnd := i, i
	if i < len(s) && s[i] == '.' {
		i++
		fracStart = i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		fracEnd = i
		if fracEnd == fracStart {
			return 0, ErrNotNumber
		}
	}
	exp := 0
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		expNeg := false
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			expNeg = s[i] == '-'
			i++
		}
		start := i
		for i < len(s) && isDigit(s[i]) {
			if exp < 1<<30 { // beyond any text's length: the sign of the exponent alone matters then
				exp = exp*10 + int(s[i]-'0')
			}
			i++
		}
		if i == start {
			return 0, ErrNotNumber
		}
		if expNeg {
			exp = -exp
		}
	}
	if i != len(s) {
		return 0, ErrNotNumber
	}

	// The digits form one string, the integer part's then the fraction's; its point stands after `point` digits. The
	// first point+12 digits are the units, the rest decides the rounding.
	nInt, nFrac := intEnd-intStart, fracEnd-fracStart
	digit := func(k int) byte {
		if k < nInt {
			return s[intStart+k] - '0'
		}
		return s[fracStart+k-nInt] - '0'
	}
	n := nInt + nFrac
	keep := nInt + exp + DecimalScale // how many digits of the string are units
	var units uint64
	k := 0
	for ; k < n && k < keep; k++ {
		// units is below 10¹⁸ here: neither the product nor the digit added to it overflows 64 bits, and what is too large is
		// seen.
		hi, lo := bits.Mul64(units, 10)
		if hi != 0 || lo > decimalMax {
			return 0, ErrOutOfRange
		}
		units = lo + uint64(digit(k))
		if units > decimalMax {
			return 0, ErrOutOfRange
		}
	}
	if units != 0 {
		for pad := n; pad < keep; pad++ {
			units *= 10
			if units > decimalMax {
				return 0, ErrOutOfRange
			}
		}
	}
	// With keep below 0 the first digit stands for less than a tenth of a unit: it is 0, whatever it is.
	if keep >= 0 && k < n { // digits are left: half to even
		first := digit(k)
		rest := false
		for j := k + 1; j < n && !rest; j++ {
			rest = digit(j) != 0
		}
		if first > 5 || first == 5 && (rest || units%2 == 1) {
			units++
		}
		if units > decimalMax {
			return 0, ErrOutOfRange
		}
	}
	if neg {
		return -Decimal(units), nil
	}
	return Decimal(units), nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// AppendText appends the shortest exact decimal text: "12.5", "-0.000001", "0".
func (d Decimal) AppendText(b []byte) ([]byte, error) {
	u := uint64(d)
	if d < 0 {
		b = append(b, '-')
		u = -u
	}
	b = strconv.AppendUint(b, u/decimalOne, 10)
	frac := u % decimalOne
	if frac == 0 {
		return b, nil
	}
	var digits [DecimalScale]byte
	for i := range digits {
		digits[DecimalScale-1-i] = byte('0' + frac%10)
		frac /= 10
	}
	n := DecimalScale
	for digits[n-1] == '0' {
		n--
	}
	return append(append(b, '.'), digits[:n]...), nil
}

// String is the shortest exact decimal text.
func (d Decimal) String() string {
	b, _ := d.AppendText(nil)
	return string(b)
}

// MarshalText and UnmarshalText carry the exact text, so that JSON holds a string and no float.
func (d Decimal) MarshalText() ([]byte, error) { return d.AppendText(nil) }

// UnmarshalText reads what MarshalText wrote.
func (d *Decimal) UnmarshalText(b []byte) error {
	v, err := ParseDecimal(b)
	if err != nil {
		return err
	}
	*d = v
	return nil
}
