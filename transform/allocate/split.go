package allocate

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// pool is a shared pool and how it is split.
type pool struct {
	name   string
	line   int
	source string
	method string
	// All who have direct cost bear it; targets are empty then.
	all     bool
	targets []target
}

// target bears a part of a pool.
type target struct {
	owner schemas.Owner
	// Many share the one big.Int that is 1, so none is ever written to.
	weight *big.Int // in units of 1e-12; of a fixed split its share
}

// The ways to split a pool.
const (
	methodFixed = "fixed"
	methodEven  = "even"
	methodUsage = "usage"
	methodCost  = "cost"
)

// maxTargets bounds the list of who bears a pool.
const maxTargets = 10_000

// pool reads a pool of a rules file.
func (p *parser) pool(name, n *yaml.Node) *pool {
	what := "pool " + name.Value
	out := &pool{name: name.Value, line: name.Line, source: fmt.Sprintf("%s:%d", p.name, name.Line)}
	p.pools = append(p.pools, out)
	m := p.mapping(n, what, poolKeys)
	methods := []string{methodFixed, methodEven, methodUsage, methodCost}
	if s := m["split"]; s == nil || !slices.Contains(methods, s.Value) {
		given := ""
		if s != nil {
			given = s.Value
		}
		p.bad(name.Line, "%s: split %s: write one of %s%s", what, quote(given), strings.Join(methods, ", "),
			words.Nearest(given, methods))
	} else {
		out.method = s.Value
	}
	to := m["to"]
	switch {
	case to == nil:
		p.bad(name.Line, "%s: no to: write who bears it, as a list, or all", what)
		return out
	case to.Kind == yaml.ScalarNode && to.Value == "all":
		if out.method == methodFixed {
			p.bad(to.Line, "%s: a fixed split needs a list of who bears which share", what)
		}
		out.all = true
		return out
	}
	entries := p.list(to, what+": to")
	if len(entries) > maxTargets {
		p.bad(to.Line, "%s: %d bear it: write at most %d", what, len(entries), maxTargets)
		return out
	}
	nothing, seen := true, map[schemas.Owner]bool{}
	for _, v := range entries {
		who := what + ": to"
		known := targetKeys
		t := target{weight: one}
		got := p.mapping(v, who, known)
		weight := got["weight"]
		if out.method == methodFixed {
			weight = got["share"]
			if got["weight"] != nil || weight == nil {
				p.bad(v.Line, "%s: a fixed split goes by share: write share: 0.3 or the like", who)
			}
		} else if got["share"] != nil {
			p.bad(v.Line, "%s: share is for a fixed split: write weight", who)
		}
		for _, f := range ownerFields(&t.owner) {
			if a := got[f.name]; a != nil && p.text(a, who) {
				if err := assignable(a.Value); err != nil {
					p.bad(a.Line, "%s: %s: %w", who, f.name, err)
				}
				*f.value = a.Value
			}
		}
		if t.owner == (schemas.Owner{}) {
			p.bad(v.Line, "%s: an entry without cost_center, team, project, environment or gl_code", who)
		}
		if seen[t.owner] {
			p.bad(v.Line, "%s: it stands twice: take one out", who)
		}
		seen[t.owner] = true
		if weight != nil {
			w, err := schemas.ParseMoney(weight.Value) // as exact as money, and as large
			if err != nil || w.Sign() < 0 {
				p.bad(weight.Line,
					"%s: %s is not a weight: write a number of 0 or more, such as 0.25 or 3, with at most 12 decimals", who,
					quote(weight.Value))
				w = schemas.MoneyOf(one)
			}
			t.weight = w.Units()
		}
		nothing = nothing && t.weight.Sign() == 0
		out.targets = append(out.targets, t)
	}
	switch {
	case len(out.targets) == 0:
		p.bad(to.Line, "%s: nobody bears it: write a list, or all", what)
	case nothing:
		p.bad(to.Line, "%s: every share or weight is 0: nobody would bear it", what)
	}
	return out
}

// Split parts the costs of shared pools, all of one period, among who bears them. What a split by usage or cost goes by
// are the direct costs of the period in the currency of the cost: tokens, or net cost, negative ones as 0. Where there
// is nothing to go by the parts of all whose weight isn't 0 are equal, and the method says so. The shares of each cost
// sum to it in every measure, and of each share the list cost less the discount differs from the net cost as much as
// the cost's does, in parts.
func (r *Rules) Split(costs []schemas.PoolCost, direct []schemas.DirectCost) ([]schemas.PoolShare, error) {
	// A pool is divided once for each currency. Its costs of all days, accounts and models go by the same proportion: it
	// is the period's, and not the day's.
	type basis struct{ pool, currency string }
	known := map[basis]division{}
	var out []schemas.PoolShare
	for _, c := range costs {
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
	// Each list has an entry for each owner, in the same order. They are made once and read by each cost of the month.
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
		targets = owners(currency, direct)
		if len(targets) == 0 { // nobody has cost of their own: it stays visible as nobody's
			d.method += " (no owner)"
			targets = []target{{weight: one}}
		}
	}
	figures := p.figures(targets, currency, direct) // what is gone by, without the weights
	sum, bearing := new(big.Int), int64(0)
	for i, t := range targets {
		// A figure of tokens or of 1e-12 times a weight of 1e-12: the unit doesn't matter, for only the proportion does, and
		// a big.Int doesn't overflow.
		w := new(big.Int).Mul(figures[i], t.weight)
		d.owners = append(d.owners, t.owner)
		d.weights = append(d.weights, w)
		sum.Add(sum, w)
		bearing += int64(t.weight.Sign())
	}
	if sum.Sign() == 0 {
		if d.method == p.method {
			d.method = methodEven + " (no " + p.method + ")"
		}
		for i, t := range targets { // who is meant to bear nothing doesn't bear it now
			figures[i] = big.NewInt(int64(t.weight.Sign()))
			d.weights[i] = figures[i]
		}
		sum.SetInt64(bearing)
	}
	// The ratios are for people to read: rounded half up.
	for i, w := range d.weights {
		// w/sum in units of 1e-12, rounded: floor((2·w·10¹² + sum) / (2·sum)) is floor(w·10¹²/sum + 1/2). No part is
		// negative, so that Quo, which cuts off, is floor; a third is 0.333333333333, two thirds 0.666666666667. They needn't
		// sum to 1: nothing is split by them. sum isn't 0: someone bears it, or it would not have passed the parser.
		scaled := new(big.Int).Mul(w, one)
		scaled.Lsh(scaled, 1)
		scaled.Add(scaled, sum).Quo(scaled, new(big.Int).Lsh(sum, 1))
		d.ratios = append(d.ratios, schemas.Decimal(scaled.Int64()))
		d.basis = append(d.basis, p.words(d.method, targets[i], figures[i], currency, bearing))
	}
	return d
}

// one is the weight 1.
var one = big.NewInt(1_000_000_000_000)

// owners are all who have cost of their own in the currency, in order of their attributes.
func owners(currency *string, direct []schemas.DirectCost) []target {
	var out []target
	// Tags are part of an owner: two who differ in a tag alone bear a part each.
	seen := map[schemas.Owner]bool{{}: true} // nobody is no owner
	for _, c := range direct {
		if currencyOf(c.Currency) == currencyOf(currency) && !seen[c.Owner] {
			seen[c.Owner] = true
			out = append(out, target{owner: c.Owner, weight: one})
		}
	}
	slices.SortFunc(out, func(a, b target) int {
		for _, f := range ownerFields(&a.owner) {
			if order := strings.Compare(*f.value, *field(&b.owner, f.name)); order != 0 {
				return order
			}
		}
		return strings.Compare(a.owner.Tags, b.owner.Tags)
	})
	return out
}

// words says what an owner's part goes by.
func (p *pool) words(method string, t target, figure *big.Int, currency *string, n int64) string {
	text := ""
	switch {
	case method == methodFixed:
		return "share " + schemas.MoneyOf(t.weight).String()
	case method == methodUsage:
		text = figure.String() + " tokens"
	case method == methodCost:
		text = strings.TrimSpace(schemas.MoneyOf(figure).String() + " " + currencyOf(currency))
	default:
		text = fmt.Sprintf("%d of %d", figure, n)
	}
	if t.weight.Cmp(one) != 0 && method == p.method {
		text += " × " + schemas.MoneyOf(t.weight).String()
	}
	return text
}

// figures are what each target used or cost directly, negative as 0; 1 of each where the split doesn't go by it.
func (p *pool) figures(targets []target, currency *string, direct []schemas.DirectCost) []*big.Int {
	out := make([]*big.Int, len(targets))
	byOwner := map[schemas.Owner]*big.Int{} // what each owner has; many, where a target is each of them
	if p.method == methodUsage || p.method == methodCost {
		for _, c := range direct {
			// nil is not known, and adds nothing. What cost in another currency says nothing of this one's.
			v := c.Tokens
			if p.method == methodCost {
				v = nil
				if c.Net != nil {
					v = c.Net.Units()
				}
			}
			if v == nil || currencyOf(c.Currency) != currencyOf(currency) {
				continue
			}
			if byOwner[c.Owner] == nil {
				byOwner[c.Owner] = new(big.Int)
			}
			byOwner[c.Owner].Add(byOwner[c.Owner], v)
		}
	}
	for i, t := range targets {
		switch {
		case p.method != methodUsage && p.method != methodCost:
			out[i] = big.NewInt(1)
			continue
		case p.all:
			out[i] = new(big.Int)
			if v := byOwner[t.owner]; v != nil {
				out[i].Set(v)
			}
		default:
			out[i] = new(big.Int)
			for o, v := range byOwner {
				if within(o, t.owner) {
					out[i].Add(out[i], v)
				}
			}
		}
		// A month of credits. As a weight it would give the owner a part below 0, and the others more than there is. It is
		// the sum that counts, and not each day.
		if out[i].Sign() < 0 {
			out[i] = new(big.Int)
		}
	}
	return out
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
		for i, v := range schemas.Apportion(total, d.weights) {
			put(i, v)
		}
	}
	share := func(total *schemas.Money, put func(i int, v schemas.Money)) {
		if total == nil {
			return
		}
		for i, v := range total.Split(d.weights) {
			put(i, v)
		}
	}
	part(big.NewInt(c.Requests), func(i int, v *big.Int) { out[i].Requests = v.Int64() })
	part(big.NewInt(c.WithoutAmount), func(i int, v *big.Int) { out[i].WithoutAmount = v.Int64() })
	part(c.Input, func(i int, v *big.Int) { out[i].Input = v })
	part(c.Output, func(i int, v *big.Int) { out[i].Output = v })
	part(c.Cached, func(i int, v *big.Int) { out[i].Cached = v })
	part(c.Total, func(i int, v *big.Int) { out[i].Total = v })
	share(c.Net, func(i int, v schemas.Money) { out[i].Net = &v })
	share(c.Discount, func(i int, v schemas.Money) { out[i].Discount = &v })
	if c.List == nil {
		return out
	}
	// What list cost has beyond net cost and discount is 0 where the three agree, and a rest where the Portal's figures
	// don't. Splitting list cost by itself would round it another way than the other two, and list − discount = net would
	// be off by a last decimal in some shares. Splitting the rest, and adding up, can't: the rest of 0 is 0 in every
	// share.
	rest := *c.List
	for _, v := range []*schemas.Money{c.Net, c.Discount} {
		if v != nil {
			rest = rest.Sub(*v)
		}
	}
	share(&rest, func(i int, v schemas.Money) {
		for _, w := range []*schemas.Money{out[i].Net, out[i].Discount} {
			if w != nil {
				v = v.Add(*w)
			}
		}
		out[i].List = &v
	})
	return out
}
