package jobs

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform/allocate"
)

// priceRow is a row of a file of prices.
type priceRow struct {
	text, line, account, currency string // the model's pattern; "" of account and currency is any
	model                         allocate.Pattern
	from, to                      *schemas.Date // book days, to excluded
	price                         schemas.Money // of a million tokens, or of a unit
	source                        string

	matched    int64           // lines of usage that it is the price of
	hidden     string          // the row before it that has others that it matches
	currencies map[string]bool // of what it is the price of
}

// priceColumns are those of a file of prices.
var priceColumns = []string{"model", "line", "price", "from", "to", "account", "currency"}

// tokenLines are the lines that have prices by the million tokens.
var tokenLines = []string{"input", "output", "cached"}

// parsePrices reads a file of prices: a table of model (a value or a pattern), line (input, output, cached, or an ext
// charge as category/item) and price, and where they are needed from, to (book days), account and currency. Other
// columns are passed over. Every mistake is reported, with its line.
func parsePrices(name string, b []byte) ([]*priceRow, error) {
	var out []*priceRow
	err := allocate.ReadSheet(name, b, allocate.Ours(priceColumns), func(columns map[string]int) []error {
		return allocate.Lacking(columns, priceColumns[:3]...)
	}, func(r *allocate.Row) error {
		p := &priceRow{text: r.Text("model"), line: r.Text("line"), account: r.Text("account"),
			currency: r.Text("currency"), source: r.Source(), currencies: map[string]bool{}}
		p.model = allocate.NewPattern(p.text)
		var errs []error
		if p.text == "" {
			errs = append(errs, r.Wrong("model", "no model: write its name, a pattern such as gpt-*, or * for all of them"))
		}
		if !slices.Contains(tokenLines, p.line) && !strings.Contains(p.line, "/") {
			errs = append(errs, r.Wrong("line", "line %q is none of %s, and no category/item such as image/standard%s", p.line,
				strings.Join(tokenLines, ", "), words.Nearest(p.line, tokenLines)))
		}
		var err error
		if p.price, err = allocate.Number(r, "price", schemas.ParseMoney); err != nil {
			errs = append(errs, err)
		} else if p.price.Sign() < 0 {
			errs = append(errs, r.Wrong("price", "price: %s is less than 0: write 0 for what is free", p.price))
		}
		if p.from, p.to, err = r.Validity(); err != nil {
			errs = append(errs, err)
		}
		if p.currency != "" && !schemas.IsCurrency(p.currency) {
			errs = append(errs, r.Wrong("currency", "currency %q is not an ISO 4217 code like USD; leave it empty for the "+
				"currency of the usage, whatever it is", p.currency))
		}
		for _, o := range out {
			if o.text == p.text && o.line == p.line && o.account == p.account && o.currency == p.currency &&
				(o.to == nil || p.from == nil || *p.from < *o.to) && (p.to == nil || o.from == nil || *o.from < *p.to) {
				errs = append(errs, r.Wrong("model", "%s %s has a price in %s already, for the same time: delete one, or give "+
					"the rows from and to that don't overlap", p.text, p.line, o.source))
				break
			}
		}
		out = append(out, p)
		return errors.Join(errs...)
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s: no row has a price", name)
	}
	return out, err
}

// holds says whether the row's price is that of a line of usage, whenever.
func (p *priceRow) holds(l usedLine) bool {
	return p.line == l.line && (p.account == "" || p.account == l.account) && (p.currency == "" ||
		p.currency == l.currency) && p.model.Match(l.model)
}

// on says whether the row is valid on a book day.
func (p *priceRow) on(day schemas.Date) bool {
	return (p.from == nil || *p.from <= day) && (p.to == nil || day < *p.to)
}

// usedLine is what a price is asked for.
type usedLine struct {
	account  string
	model    *string
	line     string // input, output, cached, category/item, or what has no price: tokens, adjustment
	currency string
}

// priceList finds prices: the first row that matches is the one, as of rules.
type priceList struct {
	rows  []*priceRow
	known map[string][]*priceRow // those that hold, by line of usage
}

// of is the row for lines of usage on a book day; nil if there is none. count is how many lines they are.
func (l *priceList) of(u usedLine, day schemas.Date, count int64) *priceRow {
	key := fmt.Sprintf("%q", []string{u.account, textOf(u.model), fmt.Sprint(u.model == nil), u.line, u.currency})
	rows, ok := l.known[key]
	if !ok {
		for _, p := range l.rows {
			if p.holds(u) {
				rows = append(rows, p)
			}
		}
		l.known[key] = rows
	}
	var first *priceRow
	for _, p := range rows {
		switch {
		case !p.on(day):
		case first == nil:
			first = p
		default:
			p.hidden = first.source
		}
	}
	if first != nil {
		first.matched += count
		first.currencies[u.currency] = true
	}
	return first
}

// unused says of the rows that are the price of nothing why that is, and of those in several currencies that they are.
// used are all lines that anything was ever used of.
func (l *priceList) unused(used []usedLine) []allocate.Finding {
	var out []allocate.Finding
	add := func(severity string, p *priceRow, format string, args ...any) {
		out = append(out, allocate.Finding{Severity: severity, Source: p.source, Message: fmt.Sprintf(format, args...)})
	}
	for _, p := range l.rows {
		models, lines, accounts := map[string]bool{}, map[string]bool{}, map[string]bool{}
		var model, line, account bool // whether any is as the row has it
		for _, u := range used {
			models[textOf(u.model)], accounts[u.account] = true, true
			account = account || u.account == p.account
			if !p.model.Match(u.model) {
				continue
			}
			model, lines[u.line] = true, true
			line = line || u.line == p.line
		}
		delete(models, "")
		switch {
		case p.matched > 0 && len(p.currencies) > 1:
			add(allocate.Warning, p, "the price is taken in %s alike: give the row its currency",
				words.Some(sortedKeys(p.currencies), maxOwnerless))
		case p.matched > 0:
		case !model:
			add(allocate.Warning, p, "nothing was ever used of the model %q%s", p.text,
				words.Nearest(p.text, sortedKeys(models)))
		case !line:
			add(allocate.Warning, p, "%s: nothing was ever used of the line %q%s", p.text, p.line,
				words.Nearest(p.line, sortedKeys(lines)))
		case p.account != "" && !account:
			add(allocate.Warning, p, "nothing was ever used of the account %q%s", p.account,
				words.Nearest(p.account, sortedKeys(accounts)))
		case p.hidden != "":
			add(allocate.Warning, p, "%s has all that it matches, and the first row counts: move it above that", p.hidden)
		default:
			add(allocate.Info, p, "%s %s: nothing of it was used in these months, on its days and in its currency", p.text,
				p.line)
		}
	}
	return out
}

// lineCost is what lines of usage of one price cost.
type lineCost struct {
	quantity schemas.Money // tokens, or units
	per      int64         // units that the price is for
	price    schemas.Money // that is charged
	net      *big.Rat      // what they cost
}

// moved is by how much another price changes the net cost: the list cost is quantity × price, and the part of it that
// is taken off stays what it was. Where the old price is 0 nothing was taken off. Exact.
func (c lineCost) moved(to schemas.Money) *big.Rat {
	if c.price.Sign() == 0 {
		list := new(big.Rat).Mul(c.quantity.Rat(), to.Rat())
		return list.Quo(list, new(big.Rat).SetInt64(c.per))
	}
	// All of them have the one price, so that new list ÷ old list is new price ÷ old price.
	ratio := new(big.Rat).Quo(to.Rat(), c.price.Rat())
	return ratio.Mul(ratio.Sub(ratio, new(big.Rat).SetInt64(1)), c.net)
}

// fine are the decimals that sums are kept to before they are rounded to twelve. Fractions of thousands of old prices
// have no common denominator that could be reckoned with.
const fine = 36

// rounded is an exact amount with twelve decimals, half to even.
func rounded(exact *big.Rat) schemas.Money {
	return schemas.MoneyOf(halfEven(exact, schemas.DecimalScale))
}

// halfEven is an exact amount in units of so many decimals, half to even.
func halfEven(exact *big.Rat, decimals int) *big.Int {
	num := new(big.Int).Mul(exact.Num(), schemas.Pow10(decimals))
	quo, rest := new(big.Int).DivMod(num, exact.Denom(), new(big.Int)) // rest is not negative
	if c := rest.Lsh(rest, 1).Cmp(exact.Denom()); c > 0 || c == 0 && quo.Bit(0) == 1 {
		quo.Add(quo, big.NewInt(1))
	}
	return quo
}

func sortedKeys(of map[string]bool) []string { return slices.Sorted(maps.Keys(of)) }
