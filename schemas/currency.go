package schemas

import (
	"maps"
	"slices"
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

// minorUnits are the currencies of ISO 4217 whose minor unit isn't the hundredth, with its decimals. The table
// currencies of usage.duckdb is filled from here.
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
