package transform

import (
	"math"
	"math/big"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// number is the anatomy of a number as JSON spells one.
type number struct {
	neg       bool
	whole     []byte // digits before the point
	frac      []byte // digits after it
	exp       int    // clamped to ±2³⁰: no text is that long, so only its sign matters then
	spelledOK bool
}

// splitNumber takes a JSON number apart; spelledOK is false if s isn't exactly one.
func splitNumber(s []byte) number {
	var n number
	end := scan.Number(s, 0)
	if end != len(s) || end <= 0 {
		return n
	}
	i := 0
	if s[0] == '-' {
		n.neg = true
		i++
	}
	at := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	n.whole = s[at:i]
	if i < len(s) && s[i] == '.' {
		i++
		at = i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		n.frac = s[at:i]
	}
	if i < len(s) { // e or E
		i++
		neg := s[i] == '-'
		if neg || s[i] == '+' {
			i++
		}
		for ; i < len(s); i++ {
			if n.exp < 1<<30 {
				n.exp = n.exp*10 + int(s[i]-'0')
			}
		}
		n.exp = min(n.exp, 1<<30)
		if neg {
			n.exp = -n.exp
		}
	}
	n.spelledOK = true
	return n
}

// digit is the k-th digit of the number, point and exponent left aside.
func (n *number) digit(k int) byte {
	if k < len(n.whole) {
		return n.whole[k] - '0'
	}
	return n.frac[k-len(n.whole)] - '0'
}

// scaled is the number × 10^scale, cut toward zero. exact is false if digits were cut; fits is false if it is beyond
// 64 bits.
func (n *number) scaled(scale int) (v int64, exact, fits bool) {
	total := len(n.whole) + len(n.frac)
	// How many digits stand before the point once the number is scaled: of 12.345 × 10³ five, of 12.345e-1 × 10³ four.
	// They are read; digits that lack are zeros; those past them are cut. It may be negative: all are cut then.
	keep := len(n.whole) + n.exp + scale
	// The magnitude is read. A negative one may be 2⁶³, one more than a positive.
	limit := uint64(math.MaxInt64)
	if n.neg {
		limit++
	}
	var u uint64
	k := 0
	for ; k < total && k < keep; k++ {
		hi, lo := bits.Mul64(u, 10)
		lo, carry := bits.Add64(lo, uint64(n.digit(k)), 0)
		if hi+carry != 0 || lo > limit {
			return 0, false, false
		}
		u = lo
	}
	// It ends after 19 steps at the most, whatever the exponent: u has at least one digit, and overflows.
	for pad := total; u != 0 && pad < keep; pad++ {
		hi, lo := bits.Mul64(u, 10)
		if hi != 0 || lo > limit {
			return 0, false, false
		}
		u = lo
	}
	exact = true
	for ; k < total && exact; k++ {
		exact = n.digit(k) == 0
	}
	if n.neg {
		// In two's complement, so that 2⁶³ becomes the least int64.
		return int64(-u), exact, true
	}
	return int64(u), exact, true
}

// parseCount reads a whole number of 64 bits, in whatever spelling: 1234, 1234.0, 1.234e3. The reason is "" if it is
// one.
func parseCount(s []byte) (v int64, reason string) {
	n := splitNumber(s)
	if !n.spelledOK {
		return 0, schemas.ReasonNotInteger
	}
	v, exact, fits := n.scaled(0)
	switch {
	case !fits:
		return 0, schemas.ReasonOutOfRange
	case !exact:
		return 0, schemas.ReasonNotInteger
	}
	return v, ""
}

// maxSeconds is where Unix seconds end: the year 5138. What is larger counts milliseconds or finer.
const maxSeconds = 100_000_000_000

// parseTime reads Unix seconds, whole or with a fraction, into microseconds; finer digits are cut. The reason is ""
// if it can be used. A time in milliseconds or finer is not one that is used, but is told all the same: it places the
// reject.
func parseTime(s []byte) (micros int64, reason string) {
	n := splitNumber(s)
	if !n.spelledOK {
		return 0, schemas.ReasonNoTime
	}
	v, _, fits := n.scaled(6)
	switch {
	case n.neg:
		return 0, schemas.ReasonNoTime
	case !fits || v >= maxSeconds*1_000_000:
		return unitTime(n), schemas.ReasonTimeUnit
	case v <= 0:
		return 0, schemas.ReasonNoTime
	}
	return v, ""
}

// unitTime is the instant that a time beyond maxSeconds means: milliseconds, microseconds or nanoseconds, whichever
// gives one before the year 5138; 0 if none does.
func unitTime(n number) (micros int64) {
	// Milliseconds are a thousand microseconds, nanoseconds a thousandth. The coarsest unit that gives a time is taken:
	// 1,700,000,000,000 is one of 2023 in milliseconds, and would be one of 1970 in the others.
	for _, scale := range [...]int{3, 0, -3} {
		if v, _, fits := n.scaled(scale); fits && v < maxSeconds*1_000_000 {
			return v
		}
	}
	return 0
}

// parseMoney reads a DECIMAL(18,12). rounded says that digits past the twelfth decimal were lost. The reason is "" if
// it is one.
func parseMoney(s []byte) (d schemas.Decimal, rounded bool, reason string) {
	d, err := schemas.ParseDecimal(s)
	switch err {
	case nil:
		n := splitNumber(s)
		_, exact, _ := n.scaled(schemas.DecimalScale)
		return d, !exact, ""
	case schemas.ErrOutOfRange:
		return 0, false, schemas.ReasonOutOfRange
	}
	return 0, false, schemas.ReasonNotNumber
}

// parseWide reads a DECIMAL(38,12), rounded half to even: a balance can exceed a million.
func parseWide(s []byte) (decimal128.Num, string) {
	n := splitNumber(s)
	if !n.spelledOK {
		return decimal128.Num{}, schemas.ReasonNotNumber
	}
	total := len(n.whole) + len(n.frac)
	first := 0
	for first < total && n.digit(first) == 0 {
		first++
	}
	keep := len(n.whole) + n.exp + schemas.DecimalScale // digits that count units
	if first == total || keep < first {                 // zero, or below a tenth of a unit
		return decimal128.Num{}, ""
	}
	// Without leading zeros so many digits are whole units, and 38 are all that the type has.
	if keep-first > 38 {
		return decimal128.Num{}, schemas.ReasonOutOfRange
	}
	u, ten := new(big.Int), big.NewInt(10)
	for k := first; k < keep; k++ {
		u.Mul(u, ten)
		if k < total {
			u.Add(u, big.NewInt(int64(n.digit(k))))
		}
	}
	if keep < total {
		// Half to even, as in fastMoney. It can make a 39th digit of 38 nines.
		half, rest := n.digit(keep), false
		for k := keep + 1; k < total && !rest; k++ {
			rest = n.digit(k) != 0
		}
		if half > 5 || half == 5 && (rest || u.Bit(0) == 1) {
			u.Add(u, big.NewInt(1))
		}
	}
	if len(u.String()) > 38 {
		return decimal128.Num{}, schemas.ReasonOutOfRange
	}
	if n.neg {
		u.Neg(u)
	}
	return decimal128.FromBigInt(u), ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// wide is a signed integer of 128 bits in two's complement, for sums and products that 64 bits can't hold. It wraps
// beyond that, which no sum of a day's columns can reach.
type wide struct {
	hi int64
	lo uint64
}

func wideOf(v int64) wide { return wide{v >> 63, uint64(v)} }

func (a wide) add(b wide) wide {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	return wide{a.hi + b.hi + int64(carry), lo}
}

func (a wide) neg() wide {
	lo, borrow := bits.Sub64(0, a.lo, 0)
	return wide{-a.hi - int64(borrow), lo}
}

func (a wide) sub(b wide) wide { return a.add(b.neg()) }

// abs is the magnitude of a.
func (a wide) abs() wide {
	if a.hi < 0 {
		return a.neg()
	}
	return a
}

// compare compares as signed numbers.
func (a wide) compare(b wide) int {
	switch {
	case a.hi != b.hi:
		if a.hi < b.hi {
			return -1
		}
		return 1
	case a.lo != b.lo:
		if a.lo < b.lo {
			return -1
		}
		return 1
	}
	return 0
}

// mulWide is the exact product of two signed integers.
func mulWide(a, b int64) wide {
	// A negative a stands as a + 2⁶⁴, so that the product of the two is too large by b × 2⁶⁴, which is b in hi; and so for
	// b.
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if a < 0 {
		hi -= uint64(b)
	}
	if b < 0 {
		hi -= uint64(a)
	}
	return wide{int64(hi), lo}
}

// int64 is a as 64 bits, clamped to their range.
func (a wide) int64() int64 {
	switch {
	// hi is nothing but the sign of lo, repeated.
	case a.hi == int64(a.lo)>>63:
		return int64(a.lo)
	case a.hi < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

func add3Fits(a, b, c int64) bool {
	s := wideOf(a).add(wideOf(b)).add(wideOf(c))
	return s.hi == int64(s.lo)>>63
}

// decimal is a, counted in units of 10⁻ˢᶜᵃˡᵉ, as the shortest exact decimal text.
func (a wide) decimal(scale int) string {
	v := new(big.Int).Lsh(big.NewInt(a.hi), 64)
	v.Or(v, new(big.Int).SetUint64(a.lo))
	neg := v.Sign() < 0
	digits := v.Abs(v).String()
	for len(digits) <= scale {
		digits = "0" + digits
	}
	whole, frac := digits[:len(digits)-scale], digits[len(digits)-scale:]
	for len(frac) > 0 && frac[len(frac)-1] == '0' {
		frac = frac[:len(frac)-1]
	}
	if frac != "" {
		whole += "." + frac
	}
	if neg {
		whole = "-" + whole
	}
	return whole
}
