package schemas

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/schemas/words"
)

// Money is an exact amount: a whole number of units of 10⁻¹², of any size, in a currency where it has one. It is a
// value: nothing that is done with one changes it or another, and none is a float on its way. The zero value is 0, of
// no currency. Amounts are compared by Cmp; == doesn't compile. NULL is a *Money that is nil.
//
// Where the currency stands beside the amount, in a column or as the key of a sum, Money has none, and goes together
// with any. Amounts of two currencies don't go together: a program that adds or compares them is wrong, and panics.
type Money struct {
	_        [0]func()
	units    *big.Int // nil is 0; never changed once it is here
	currency string
}

var oneUnits = big.NewInt(decimalOne)

// ParseMoney reads an exact decimal of at most 26 digits before the point and 12 behind it, as DECIMAL(38,12) holds it.
func ParseMoney(s string) (Money, error) {
	digits := s
	if s != "" && (s[0] == '+' || s[0] == '-') {
		digits = s[1:]
	}
	whole, decimals, point := strings.Cut(digits, ".")
	if !areDigits(whole, 26) || point && !areDigits(decimals, DecimalScale) {
		return Money{}, fmt.Errorf("%q is not an amount like 1234.50 (no thousands separators, at most 12 decimals)", s)
	}
	// The decimals are filled up to twelve, and the point left out: "-1.5" is -1500000000000 units.
	units := s[:len(s)-len(digits)] + whole + decimals + "000000000000"[len(decimals):]
	if len(whole) <= 6 { // 18 digits at the most, which 64 bits hold
		v, _ := strconv.ParseInt(units, 10, 64)
		return money(big.NewInt(v), ""), nil
	}
	v, _ := new(big.Int).SetString(units, 10)
	return money(v, ""), nil
}

// areDigits says whether a text is digits, of which there are some, and no more than most.
func areDigits(s string, most int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// MoneyOf is an amount of so many units of 10⁻¹².
func MoneyOf(units *big.Int) Money { return money(new(big.Int).Set(units), "") }

// money takes the units for its own.
func money(units *big.Int, currency string) Money {
	if units.Sign() == 0 {
		units = nil // so that equal amounts are deeply equal
	}
	return Money{units: units, currency: currency}
}

// In is the same number in a currency, "" for none.
func (m Money) In(currency string) Money { return Money{units: m.units, currency: currency} }

// Currency is the amount's currency, as "USD"; "" if it has none.
func (m Money) Currency() string { return m.currency }

// Units are the amount in units of 10⁻¹², the caller's own.
func (m Money) Units() *big.Int { return new(big.Int).Set(m.held()) }

func (m Money) held() *big.Int {
	if m.units == nil {
		return new(big.Int)
	}
	return m.units
}

// Rat is the amount as a fraction, the caller's own.
func (m Money) Rat() *big.Rat { return new(big.Rat).SetFrac(m.held(), oneUnits) }

// MarshalJSON gives the units as a whole number, as it stands in what digests are made of.
func (m Money) MarshalJSON() ([]byte, error) { return m.held().Append(nil, 10), nil }

// with is the currency that both amounts are in.
func (m Money) with(n Money) string {
	switch {
	case m.currency == "":
		return n.currency
	case n.currency != "" && n.currency != m.currency:
		panic("schemas: " + m.currency + " and " + n.currency + " in one sum")
	}
	return m.currency
}

// Add is m + n.
func (m Money) Add(n Money) Money { return money(new(big.Int).Add(m.held(), n.held()), m.with(n)) }

// Sub is m − n.
func (m Money) Sub(n Money) Money { return money(new(big.Int).Sub(m.held(), n.held()), m.with(n)) }

// Neg is −m.
func (m Money) Neg() Money { return money(new(big.Int).Neg(m.held()), m.currency) }

// Abs is m without its sign.
func (m Money) Abs() Money { return money(new(big.Int).Abs(m.held()), m.currency) }

// Times is n × m.
func (m Money) Times(n int64) Money {
	return money(new(big.Int).Mul(m.held(), big.NewInt(n)), m.currency)
}

// Sign is -1, 0 or 1.
func (m Money) Sign() int { return m.held().Sign() }

// Cmp is -1, 0 or 1, as m is less than n, equal or more.
func (m Money) Cmp(n Money) int {
	m.with(n)
	return m.held().Cmp(n.held())
}

// Split parts the amount by the weights, as Apportion does: the parts sum to it.
func (m Money) Split(weights []*big.Int) []Money {
	parts := Apportion(m.held(), weights)
	out := make([]Money, len(parts))
	for i, v := range parts {
		out[i] = money(v, m.currency)
	}
	return out
}

// Round is the amount to so many decimals, at most 12, rounded half away from zero.
func (m Money) Round(places int) Money {
	unit := Pow10(DecimalScale - places)
	q := roundQuo(m.held(), unit)
	return money(q.Mul(q, unit), m.currency)
}

// Fixed is the amount with so many decimals, at most 12, rounded half away from zero: "-1234.50". Minus zero is zero.
func (m Money) Fixed(places int) string {
	return decimalText(roundQuo(m.held(), Pow10(DecimalScale-places)), places)
}

// Posted is the amount with the decimals of its currency's minor unit, as books have it: "1234.57".
func (m Money) Posted() string { return m.Fixed(MinorUnit(m.currency)) }

// String is the exact amount as programs read it, without its currency and without trailing zeros: "1234.5678".
func (m Money) String() string {
	s := decimalText(m.held(), DecimalScale)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// Exact is the exact amount with its currency, where what is rounded would mislead: "1234.5678 USD".
func (m Money) Exact() string { return m.of(m.String()) }

// Amount is the amount as people read it, in every table, sheet, page and sentence: in the minor unit of its currency,
// rounded half away from zero, with commas between thousands: "1,234.57".
func (m Money) Amount() string { return words.Grouped(m.Posted()) }

// Text is Amount with the currency: "1,234.57 USD"; without where it has none.
func (m Money) Text() string { return m.of(m.Amount()) }

func (m Money) of(digits string) string {
	return strings.TrimSpace(digits + " " + words.Printable(m.currency))
}

// Apportion parts total in the proportion of the weights, which are not negative, by largest remainder: each part is
// its exact share rounded down or up to a whole unit (towards or away from zero, if total is negative), the parts sum
// to total, and of equal remainders the first gets the unit. If no weight is above 0, the parts are equal. No weights
// give no parts.
func Apportion(total *big.Int, weights []*big.Int) []*big.Int {
	if len(weights) == 0 {
		return nil
	}
	sum := new(big.Int)
	for _, w := range weights {
		sum.Add(sum, w)
	}
	if sum.Sign() <= 0 {
		weights = slices.Repeat([]*big.Int{big.NewInt(1)}, len(weights))
		sum.SetInt64(int64(len(weights)))
	}
	abs := new(big.Int).Abs(total)
	// parts[i] points to held[i]: the numbers are made all at once. They are the caller's own.
	held, rests := make([]big.Int, len(weights)), make([]big.Int, len(weights))
	parts := make([]*big.Int, len(weights))
	left, product := new(big.Int).Set(abs), new(big.Int)
	for i, w := range weights {
		parts[i], _ = held[i].QuoRem(product.Mul(abs, w), sum, &rests[i])
		left.Sub(left, parts[i])
	}
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return rests[b].Cmp(&rests[a]) })
	one := big.NewInt(1)
	// What is left is the sum of the fractions that were cut off, each below 1. 100 by three equal weights is 33, 33 and
	// 33, and the 1 that is left goes to the first.
	for i := range int(left.Int64()) { // fewer than there are parts
		parts[order[i]].Add(parts[order[i]], one)
	}
	if total.Sign() < 0 {
		for _, p := range parts {
			p.Neg(p)
		}
	}
	return parts
}

// roundQuo is v ÷ unit, rounded half away from zero.
func roundQuo(v, unit *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(v, unit, new(big.Int))
	// QuoRem cuts toward zero, and r has the sign of v: from half a unit on, q goes one further from zero.
	if r.Abs(r).Lsh(r, 1).Cmp(unit) >= 0 {
		q.Add(q, big.NewInt(int64(v.Sign())))
	}
	return q
}

// Pow10 is 10 to the n.
func Pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// decimalText is v × 10^-places in digits.
func decimalText(v *big.Int, places int) string {
	digits := new(big.Int).Abs(v).String()
	if places > 0 {
		if len(digits) <= places {
			digits = strings.Repeat("0", places+1-len(digits)) + digits
		}
		digits = digits[:len(digits)-places] + "." + digits[len(digits)-places:]
	}
	if v.Sign() < 0 {
		digits = "-" + digits
	}
	return digits
}
