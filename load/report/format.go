package report

import (
	"strings"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// none stands for NULL where a person reads.
const none = "–"

// show is a cell as a person reads it; an amount is in the currency, "" is one that isn't known.
func show(c Column, v query.Value, currency string) string {
	if v.Null {
		return none
	}
	switch c.Kind {
	case Count, Money, Posted, UnitCost, Share:
		// Whatever the kind, the text is an exact decimal, and no float stands in between. One that isn't is shown as it is.
		n, err := schemas.ParseMoney(v.Text)
		if err != nil {
			return v.Text
		}
		return showNumber(c.Kind, n.In(currency))
	case Quantity, Whole:
		if n, err := schemas.ParseMoney(v.Text); err == nil {
			return words.Grouped(n.String())
		}
	case Month:
		if len(v.Text) >= 7 {
			return v.Text[:7]
		}
	case Instant:
		// 2026-11-20T10:00:00.25Z is shown as 2026-11-20 10:00.
		if t, ok := strings.CutSuffix(v.Text, "Z"); ok && len(t) >= 16 {
			return strings.Replace(t[:16], "T", " ", 1)
		}
	case Second:
		return strings.Replace(strings.TrimSuffix(v.Text, "Z"), "T", " ", 1)
	case Flag:
		if v.Text == "true" {
			return "yes"
		}
		return "no"
	}
	return v.Text
}

// show is a cell of a row as a person reads it.
func (t *Table) show(row []query.Value, i int) string {
	return show(t.Columns[i], row[i], t.currency(row, i))
}

// showNumber is a number as a person reads it: rounded half away from zero.
func showNumber(k Kind, v schemas.Money) string {
	if k == Share {
		// Before it is rounded: 0.12345 is 12.345, and 12.3 %.
		v = v.Times(100)
	}
	s := words.Grouped(v.Fixed(k.places(v.Currency())))
	if k == Share {
		s += " %"
	}
	return s
}

// places are the decimals that a number is shown with; a share's are those of its percent.
func (k Kind) places(currency string) int {
	switch k {
	case Count:
		return 0
	case UnitCost:
		return 6
	case Share:
		return 1
	}
	return schemas.MinorUnit(currency)
}

// money is an amount with its currency.
func money(v query.Value, currency query.Value) string {
	s := show(Column{Kind: Money}, v, currency.Text)
	if currency.Null || v.Null {
		return s
	}
	return s + " " + words.Cell(currency.Text)
}

// float is a number for the geometry of a picture, where the last digits can't be seen.
func float(v query.Value) float64 {
	n, err := schemas.ParseMoney(v.Text)
	if v.Null || err != nil {
		return 0
	}
	f, _ := n.Rat().Float64()
	return f
}
