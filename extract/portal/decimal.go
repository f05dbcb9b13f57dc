package portal

import (
	"math/big"
	"math/bits"
	"strconv"
)

// Scales of the integers that carry money: an amount is whole picos (1e-12 of the currency), a price whole nanos (1e-9
// of the currency) per million tokens or per piece, and a measured quantity whole micros.
const (
	pico  = 12
	nano  = 9
	micro = 6
)

// appendDecimal appends v / 10^scale in plain notation, without trailing zeros: 12237 at 6 is 0.012237.
func appendDecimal(b []byte, v int64, scale int) []byte {
	u := uint64(v)
	if v < 0 {
		b = append(b, '-')
		u = -u
	}
	var pow uint64 = 1
	for range scale {
		pow *= 10
	}
	b = strconv.AppendUint(b, u/pow, 10)
	frac := u % pow
	if frac == 0 {
		return b
	}
	b = append(b, '.')
	for n := scale; n > 0 && frac > 0; n-- {
		pow /= 10
		b = append(b, byte('0'+frac/pow))
		frac %= pow
	}
	return b
}

// appendNumber appends v / 10^scale as a JSON number the way the API's own encoder writes it: a figure below a
// millionth comes in scientific notation (2.58e-8), everything else plain.
func appendNumber(b []byte, v int64, scale int) []byte {
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	digits := strconv.FormatUint(u, 10)
	exp := len(digits) - 1 - scale // of the first digit
	if u == 0 || exp >= -6 {
		return appendDecimal(b, v, scale)
	}
	for len(digits) > 1 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	if v < 0 {
		b = append(b, '-')
	}
	b = append(b, digits[0])
	if len(digits) > 1 {
		b = append(b, '.')
		b = append(b, digits[1:]...)
	}
	b = append(b, 'e')
	return strconv.AppendInt(b, int64(exp), 10)
}

func decimal(v int64, scale int) string { return string(appendDecimal(nil, v, scale)) }

// bigDecimal is appendDecimal for sums, which may pass 64 bits.
func bigDecimal(v *big.Int, scale int) string {
	digits := new(big.Int).Abs(v).String()
	for len(digits) <= scale {
		digits = "0" + digits
	}
	whole, frac := digits[:len(digits)-scale], digits[len(digits)-scale:]
	for len(frac) > 0 && frac[len(frac)-1] == '0' {
		frac = frac[:len(frac)-1]
	}
	s := whole
	if frac != "" {
		s += "." + frac
	}
	if v.Sign() < 0 {
		s = "-" + s
	}
	return s
}

// divEven is (hi·2^64 + lo) / d, halves to the even neighbour. The quotient must fit 64 bits.
func divEven(hi, lo, d uint64) uint64 {
	q, r := bits.Div64(hi, lo, d)
	if r > d-r || (r == d-r && q&1 == 1) {
		q++
	}
	return q
}

// charge is what the tokens cost in picos: the sum of count × price per million, rounded once, at the end. A price in
// nanos per million times a count is in units of 1e-15, hence the thousand.
func charge(in, inPrice, out, outPrice, cached, cachedPrice int64) int64 {
	var hi, lo uint64
	for _, p := range [...][2]int64{{in, inPrice}, {out, outPrice}, {cached, cachedPrice}} {
		h, l := bits.Mul64(uint64(p[0]), uint64(p[1]))
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
	}
	return int64(divEven(hi, lo, 1000))
}

// share is total × basisPoints / 10,000 in picos, rounded half to even. Neither may be negative.
func share(total, basisPoints int64) int64 {
	hi, lo := bits.Mul64(uint64(total), uint64(basisPoints))
	return int64(divEven(hi, lo, 10_000))
}
