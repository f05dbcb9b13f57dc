package report

import (
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// none stands for NULL where a person reads.
const none = "–"

// show is a cell as a person reads it.
func show(c Column, v load.Value) string {
	if v.Null {
		return none
	}
	switch c.Kind {
	case Count, Money, UnitCost, Share:
		n, err := schemas.ParseMoney(v.Text)
		if err != nil {
			return v.Text
		}
		return showNumber(c.Kind, n)
	case Quantity:
		if n, err := schemas.ParseMoney(v.Text); err == nil {
			return group(schemas.MoneyText(n))
		}
	case Month:
		if len(v.Text) >= 7 {
			return v.Text[:7]
		}
	case Instant:
		if t, ok := strings.CutSuffix(v.Text, "Z"); ok && len(t) >= 16 {
			return strings.Replace(t[:16], "T", " ", 1)
		}
	case Flag:
		if v.Text == "true" {
			return "yes"
		}
		return "no"
	}
	return v.Text
}

// showNumber is a number, in units of 1e-12, as a person reads it: rounded half to even.
func showNumber(k Kind, v *big.Int) string {
	switch k {
	case Count:
		return group(rounded(v, 0))
	case UnitCost:
		return group(rounded(v, 6))
	case Share:
		return group(rounded(new(big.Int).Mul(v, big.NewInt(100)), 1)) + " %"
	}
	return group(rounded(v, 2))
}

// rounded is v, in units of 1e-12, with so many places, rounded half to even.
func rounded(v *big.Int, places int) string {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(schemas.DecimalScale-places)), nil)
	q, r := new(big.Int).QuoRem(new(big.Int).Abs(v), unit, new(big.Int))
	switch c := r.Lsh(r, 1).Cmp(unit); {
	case c > 0, c == 0 && q.Bit(0) == 1:
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

// group sets commas between thousands.
func group(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, frac, dot := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if dot {
		whole += "." + frac
	}
	return sign + whole
}

// money is an amount with its currency.
func money(v load.Value, currency load.Value) string {
	s := show(Column{Kind: Money}, v)
	if currency.Null || v.Null {
		return s
	}
	return s + " " + printable(currency.Text)
}

// printable is text from outside on a line of its own.
func printable(s string) string { return strings.ReplaceAll(schemas.Printable(s), "\n", `\n`) }

// shorten cuts a text to n characters.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// float is a number for the geometry of a picture, where the last digits can't be seen.
func float(v load.Value) float64 {
	n, err := schemas.ParseMoney(v.Text)
	if v.Null || err != nil {
		return 0
	}
	f, _ := new(big.Rat).SetFrac(n, big.NewInt(1_000_000_000_000)).Float64()
	return f
}
