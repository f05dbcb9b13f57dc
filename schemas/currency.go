package schemas

import (
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas/words"
)

// IsCurrency says that a text has the form of an ISO 4217 code, as "USD": three capital letters.
func IsCurrency(s string) bool {
	if len(s) != 3 {
		return false
	}
	for _, c := range []byte(s) {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}

// minorUnits are the currencies of ISO 4217 whose minor unit isn't the hundredth, with its decimals. The table currencies
// of usage.duckdb is filled from here.
var minorUnits = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "UYI": 0,
	"VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	"CLF": 4, "UYW": 4,
}

// Currency is a currency with the decimals of its minor unit.
type Currency struct {
	Code      string
	MinorUnit int
}

// OddCurrencies are those whose minor unit isn't the hundredth, by code.
func OddCurrencies() []Currency {
	var out []Currency
	for _, code := range slices.Sorted(maps.Keys(minorUnits)) {
		out = append(out, Currency{code, minorUnits[code]})
	}
	return out
}

// MinorUnit is how many decimals the currency's minor unit has: 2 for USD, 0 for JPY, 3 for KWD; 2 where the currency
// isn't known.
func MinorUnit(currency string) int {
	if places, ok := minorUnits[currency]; ok {
		return places
	}
	return 2
}

// AmountText is an amount in units of 1e-12 as people read it, in every table, sheet, page and sentence: in the minor
// unit of its currency, rounded half away from zero, with commas between thousands: "1,234.57".
func AmountText(v *big.Int, currency string) string {
	return words.Grouped(Rounded(v, MinorUnit(currency)))
}

// MoneyIn is AmountText with the currency: "1,234.57 USD"; without where it isn't known.
func MoneyIn(v *big.Int, currency string) string {
	return strings.TrimSpace(AmountText(v, currency) + " " + words.Printable(currency))
}

// Rounded is v, in units of 1e-12, with so many places, rounded half away from zero.
func Rounded(v *big.Int, places int) string {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(DecimalScale-places)), nil)
	q, r := new(big.Int).QuoRem(new(big.Int).Abs(v), unit, new(big.Int))
	if r.Lsh(r, 1).Cmp(unit) >= 0 {
		q.Add(q, big.NewInt(1))
	}
	digits := q.String()
	if places > 0 {
		if len(digits) <= places {
			digits = strings.Repeat("0", places+1-len(digits)) + digits
		}
		digits = digits[:len(digits)-places] + "." + digits[len(digits)-places:]
	}
	if v.Sign() < 0 && q.Sign() != 0 {
		digits = "-" + digits
	}
	return digits
}
