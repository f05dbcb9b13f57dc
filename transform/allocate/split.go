package allocate

import (
	"fmt"
	"math/big"

	"github.com/usagelake/usagelake/schemas"
)

// Split parts the costs of shared pools, all of one month, among who bears them. What a split by usage or cost goes by
// are the direct costs of the month in the currency of the cost: tokens, or net cost, negative ones as 0. Where there
// is nothing to go by the parts are equal, and the method says so. The shares of each cost sum to it in every measure,
// and of each share the list cost less the discount differs from the net cost as much as the cost's does, in parts.
func (r *Rules) Split(month schemas.Date, costs []schemas.PoolCost, direct []schemas.DirectCost) ([]schemas.PoolShare, error) {
	type basis struct{ pool, currency string }
	known := map[basis]division{}
	var out []schemas.PoolShare
	for _, c := range costs {
		if schemas.MonthOf(c.Date) != schemas.MonthOf(month) {
			return nil, fmt.Errorf("pool %s: a cost of %s in the split of %s", c.Pool, c.Date, month.Month())
		}
		p := r.pool(c.Pool)
		if p == nil {
			return nil, fmt.Errorf("no pool %q in the allocation rules", c.Pool)
		}
		b := basis{c.Pool, currencyOf(c.Currency)}
		d, ok := known[b]
		if !ok {
			d = p.divide(c.Currency, direct)
			known[b] = d
		}
		out = append(out, d.shares(c)...)
	}
	return out, nil
}

func (r *Rules) pool(name string) *pool {
	for _, p := range r.pools {
		if p.name == name {
			return p
		}
	}
	return nil
}

func currencyOf(c *string) string {
	if c == nil {
		return ""
	}
	return *c
}

// division is how a pool is split in a month and a currency.
type division struct {
	method  string
	owners  []schemas.Owner
	weights []*big.Int
	basis   []string
	ratios  []schemas.Decimal
}

// divide finds who bears the pool, and in what proportion.
func (p *pool) divide(currency *string, direct []schemas.DirectCost) division {
	d := division{method: p.method}
	targets := p.targets
	if p.all {
		targets = nil
		for _, c := range direct {
			if c.Owner != (schemas.Owner{}) && currencyOf(c.Currency) == currencyOf(currency) {
				targets = append(targets, target{owner: c.Owner, weight: one})
			}
		}
		if len(targets) == 0 { // nobody has cost of their own: it stays visible as nobody's
			d.method += " (no owner)"
			targets = []target{{weight: one}}
		}
	}
	figures := make([]*big.Int, len(targets)) // what is gone by, without the weights
	sum := new(big.Int)
	for i, t := range targets {
		figures[i] = big.NewInt(1)
		if p.method == methodUsage || p.method == methodCost {
			figures[i] = p.figure(t.owner, currency, direct)
		}
		w := new(big.Int).Mul(figures[i], big.NewInt(int64(t.weight)))
		d.owners = append(d.owners, t.owner)
		d.weights = append(d.weights, w)
		sum.Add(sum, w)
	}
	if sum.Sign() == 0 {
		if d.method == p.method {
			d.method = methodEven + " (no " + p.method + ")"
		}
		for i := range d.weights {
			figures[i], d.weights[i] = big.NewInt(1), big.NewInt(1)
		}
		sum.SetInt64(int64(len(d.weights)))
	}
	// The ratios are for people to read: rounded half up.
	for i, w := range d.weights {
		scaled := new(big.Int).Mul(w, big.NewInt(2*int64(one)))
		scaled.Add(scaled, sum).Quo(scaled, new(big.Int).Lsh(sum, 1))
		d.ratios = append(d.ratios, schemas.Decimal(scaled.Int64()))
		d.basis = append(d.basis, p.words(d.method, targets[i], figures[i], currency, len(targets)))
	}
	return d
}

// one is 1 as a Decimal.
const one schemas.Decimal = 1_000_000_000_000

// words says what an owner's part goes by.
func (p *pool) words(method string, t target, figure *big.Int, currency *string, n int) string {
	text := ""
	switch {
	case method == methodFixed:
		return "share " + plain(t.weight)
	case method == methodUsage:
		text = figure.String() + " tokens"
	case method == methodCost:
		text = schemas.MoneyText(figure) + " " + currencyOf(currency)
	default:
		text = fmt.Sprintf("1 of %d", n)
	}
	if t.weight != one && method == p.method {
		text += " × " + plain(t.weight)
	}
	return text
}

// plain is d without trailing zeros.
func plain(d schemas.Decimal) string { return schemas.MoneyText(big.NewInt(int64(d))) }

// figure is what an owner used or cost directly; negative is 0.
func (p *pool) figure(o schemas.Owner, currency *string, direct []schemas.DirectCost) *big.Int {
	sum := new(big.Int)
	for _, c := range direct {
		v := c.Net
		if p.method == methodUsage {
			v = c.Tokens
		}
		if v != nil && currencyOf(c.Currency) == currencyOf(currency) && (p.all && c.Owner == o || !p.all && within(c.Owner, o)) {
			sum.Add(sum, v)
		}
	}
	if sum.Sign() < 0 {
		return new(big.Int)
	}
	return sum
}

// within says whether c is o in every attribute that o names.
func within(c, o schemas.Owner) bool {
	for _, f := range ownerFields(&o) {
		if *f.value != "" && *f.value != *field(&c, f.name) {
			return false
		}
	}
	return true
}

// shares parts one cost. The net cost, the discount and what the list cost has beyond them are parted each by itself;
// an owner's list cost is the sum of the owner's three parts.
func (d division) shares(c schemas.PoolCost) []schemas.PoolShare {
	out := make([]schemas.PoolShare, len(d.owners))
	for i := range out {
		out[i] = schemas.PoolShare{PoolCost: c, Owner: d.owners[i], Method: d.method, Basis: d.basis[i], Ratio: d.ratios[i]}
	}
	part := func(total *big.Int, put func(i int, v *big.Int)) {
		if total == nil {
			return
		}
		for i, v := range Apportion(total, d.weights) {
			put(i, v)
		}
	}
	part(big.NewInt(c.Requests), func(i int, v *big.Int) { out[i].Requests = v.Int64() })
	part(big.NewInt(c.WithoutAmount), func(i int, v *big.Int) { out[i].WithoutAmount = v.Int64() })
	part(c.Input, func(i int, v *big.Int) { out[i].Input = v })
	part(c.Output, func(i int, v *big.Int) { out[i].Output = v })
	part(c.Cached, func(i int, v *big.Int) { out[i].Cached = v })
	part(c.Total, func(i int, v *big.Int) { out[i].Total = v })
	part(c.Net, func(i int, v *big.Int) { out[i].Net = v })
	part(c.Discount, func(i int, v *big.Int) { out[i].Discount = v })
	if c.List == nil {
		return out
	}
	rest := new(big.Int).Set(c.List)
	for _, v := range []*big.Int{c.Net, c.Discount} {
		if v != nil {
			rest.Sub(rest, v)
		}
	}
	part(rest, func(i int, v *big.Int) {
		for _, w := range []*big.Int{out[i].Net, out[i].Discount} {
			if w != nil {
				v = new(big.Int).Add(v, w)
			}
		}
		out[i].List = v
	})
	return out
}
