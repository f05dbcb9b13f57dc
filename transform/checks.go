package transform

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// seal checks what is known of a window as a whole.
func (p *report) seal(seal schemas.Seal) {
	by := ""
	switch seal.Proof {
	case schemas.ProofNone:
		p.incomplete(seal)
		return
	case schemas.ProofRepeat:
		by = "two whole passes"
	case schemas.ProofParts:
		by = "the window fetched whole and in parts of time"
	default:
		return
	}
	if seal.Announced == nil {
		if i := p.issue(schemas.CheckTotal, schemas.Info, "total", "", "none", 1, nil); i != nil {
			i.Detail = "the API gave no total; " + by + " agreed"
		}
		return
	}
	if *seal.Announced == seal.Records {
		return
	}
	if i := p.issue(schemas.CheckTotal, schemas.Warning, "total", "", "other", 1, nil); i != nil {
		i.Detail = fmt.Sprintf("the API announced %d, %s gave %d (window %s)", *seal.Announced, by, seal.Records,
			seal.Window())
	}
}

// incomplete reports a window that isn't proven to be all, each by itself.
func (p *report) incomplete(seal schemas.Seal) {
	window := seal.Window().String()
	severity, detail := schemas.Warning, "it is not known whether any lack"
	if seal.Lacking > 0 {
		severity, detail = schemas.Failure, fmt.Sprintf("%d lack", seal.Lacking)
	}
	i := p.issue(schemas.CheckIncomplete, severity, "total", "", window, max(1, seal.Lacking), nil)
	if i == nil {
		return
	}
	announced := "no count"
	if seal.Announced != nil {
		announced = fmt.Sprint(*seal.Announced)
	}
	i.Detail = fmt.Sprintf("window %s: the API announced %s, %d could be had: %s", window, announced, seal.Records, detail)
}

// check looks at one row.
func (p *report) check(s *stage, r *record) {
	// Each is below 10¹⁸, so that neither the difference of two nor that of three overflows 64 bits.
	const money = 1<<fTotalAmount | 1<<fDiscount | 1<<fAmount
	if r.have&money == money && r.money[mTotal]-r.money[mDiscount] != r.money[mAmount] {
		p.netMismatch(s, r)
	}
	if r.has(fTotalAmount) {
		p.gross(s, r)
	}
	// The sign of an or is negative just if one of them is. What isn't there is 0.
	if r.counts[cInput]|r.counts[cOutput]|r.counts[cCached]|r.counts[cTotal] < 0 {
		p.negative(s, r)
	}
	if !r.has(fAmount) {
		p.issue(schemas.CheckNoAmount, schemas.Info, "amount", p.modelName(s, r), "", 1, s.id(r))
	}
	if r.absent&expected != 0 && r.kind == kindRequest {
		// Each step takes the lowest bit off.
		for left := r.absent & expected; left != 0; left &= left - 1 {
			p.issue(schemas.CheckMissing, schemas.Info, fields[bits.TrailingZeros32(left)].name, "", "", 1, s.id(r))
		}
	}
	for _, no := range s.unknown[r.names : r.names+r.nNames] {
		p.issue(schemas.CheckUnknown, schemas.Info, s.names[no], "", "", 1, s.id(r))
	}
	if r.shared {
		if i := p.issue(schemas.CheckShared, schemas.Info, "id", "", "", 1, s.id(r)); i != nil {
			i.Detail = "records of one id with other content: each counts"
		}
	}
	if r.alike {
		if i := p.issue(schemas.CheckAlike, schemas.Failure, "id", "", "", 1, s.id(r)); i != nil {
			i.Detail = "records of one id and time differ only in what no column of its own holds, " +
				"or in how it is written: each counts, and whether they are one can't be told"
		}
	}
	if r.badExt {
		p.issue(schemas.CheckExt, schemas.Warning, "ext", "", "", 1, s.id(r))
	}
	p.prices(s, r)
}

// modelName is the model as issues name it.
func (p *report) modelName(s *stage, r *record) string {
	return string(clip(s.bytes(r, r.texts[tModel]), maxName))
}

// netMismatch reports an amount that isn't total_amount − discount_amount to the last unit; where the API sent finer
// figures than twelve decimals, their rounding may make one unit.
func (p *report) netMismatch(s *stage, r *record) {
	// Three roundings are off by half a unit each, 1.5 in all, and diff is whole: at most 1.
	if diff := r.money[mTotal] - r.money[mDiscount] - r.money[mAmount]; r.rounded && -1 <= diff && diff <= 1 {
		return
	}
	if i := p.issue(schemas.CheckNet, schemas.Failure, "amount", p.modelName(s, r), "", 1, s.id(r)); i != nil {
		i.Detail = fmt.Sprintf("%v - %v is %v, the API says %v", r.money[mTotal], r.money[mDiscount],
			wideOf(int64(r.money[mTotal])).sub(wideOf(int64(r.money[mDiscount]))).decimal(schemas.DecimalScale),
			r.money[mAmount])
	}
}

// tokenPrices are the components of a gross charge that are priced per million tokens.
var tokenPrices = [...]struct {
	tokens, price  int // fields
	count, perMega int // their slots
}{
	{fInput, fInputPrice, cInput, mInputPrice},
	{fOutput, fOutputPrice, cOutput, mOutputPrice},
	{fCached, fCachedPrice, cCached, mCachedPrice},
}

const million = 1_000_000

// gross holds total_amount against the sum of what it is made of, where all of it came. A component may have been
// rounded to twelve decimals before it was added, or not: one unit of 10⁻¹² each is let pass.
func (p *report) gross(s *stage, r *record) {
	if r.badExt {
		return
	}
	parts := int64(0)
	var sum wide // in units of 10⁻¹⁸
	for _, c := range &tokenPrices {
		switch n := r.counts[c.count]; {
		case r.has(c.tokens) && r.has(c.price):
			// A price is in 10⁻¹² a million tokens: tokens times price is in 10⁻¹², divided by a million, and so in 10⁻¹⁸
			// undivided.
			sum = sum.add(mulWide(n, int64(r.money[c.perMega])))
			parts++
		// No tokens without a price cost nothing, and need none.
		case r.has(c.tokens) && n != 0 || r.has(c.price) && !r.has(c.tokens):
			return // a price or a count is missing
		}
	}
	var ext wide
	for k := range s.items[r.items : r.items+r.nItems] {
		it := &s.items[int(r.items)+k]
		if it.have&(1<<iAmount) == 0 {
			return
		}
		ext = ext.add(wideOf(int64(it.money[iAmount-1])))
		parts++
	}
	if parts == 0 {
		return
	}
	// |ext| is below 2⁶⁰ × 4096, so the product can't overflow.
	sum = sum.add(scale(ext, million))
	diff := mulWide(int64(r.money[mTotal]), million).sub(sum)
	if diff.abs().compare(wideOf(parts*million)) <= 0 {
		return
	}
	if i := p.issue(schemas.CheckGross, schemas.Warning, "total_amount", p.modelName(s, r), "", 1, s.id(r)); i != nil {
		i.Detail = fmt.Sprintf("prices × tokens and ext amounts make %s, the API says %v", sum.decimal(18), r.money[mTotal])
	}
}

// scale is a × f for a small positive f.
func scale(a wide, f uint64) wide {
	// As a number of two digits in base 2⁶⁴: the high digit wraps where the product has no room, see gross.
	hi, lo := bits.Mul64(a.lo, f)
	return wide{a.hi*int64(f) + int64(hi), lo}
}

func (p *report) negative(s *stage, r *record) {
	for _, f := range [...]int{fInput, fOutput, fCached} {
		if r.has(f) && r.counts[fields[f].slot] < 0 {
			p.issue(schemas.CheckNegative, schemas.Warning, fields[f].name, p.modelName(s, r), "", 1, s.id(r))
		}
	}
	if r.kind == kindSummary && r.has(fTotalTokens) && r.counts[cTotal] < 0 {
		p.issue(schemas.CheckNegative, schemas.Warning, "tokens", p.modelName(s, r), "", 1, s.id(r))
	}
}

// modelPrices are the prices a model was charged at.
type modelPrices struct {
	last [3]schemas.Decimal
	seen [3]bool
	more [3][]priceStep // nil while there is only one price
}

// priceStep is a price and when it was first met.
type priceStep struct {
	price  schemas.Decimal
	time   int64
	sample string
	count  int64
}

// maxModels bounds the models whose prices are followed, maxSteps the prices of each.
const (
	maxModels = 4096
	maxSteps  = 8
)

// prices follows the prices of the record's model. A price counts only where there were tokens to pay for.
func (p *report) prices(s *stage, r *record) {
	if !r.has(fModel) {
		return
	}
	var m *modelPrices
	for k, c := range &tokenPrices {
		if r.have>>c.price&1 == 0 || r.counts[c.count] == 0 {
			continue
		}
		if m == nil {
			if m = p.model(s, r); m == nil {
				return
			}
		}
		price := r.money[c.perMega]
		if m.seen[k] && m.more[k] == nil && m.last[k] == price {
			continue
		}
		m.step(k, price, r.time, s.id(r))
	}
}

// model finds the prices of a record's model; nil if it is one too many.
func (p *report) model(s *stage, r *record) *modelPrices {
	if m := p.staged[r.model]; m != nil {
		return m
	}
	name := s.models[r.model]
	m := p.models[name]
	if m == nil {
		if len(p.models) >= maxModels {
			return nil
		}
		m = &modelPrices{}
		p.models[name] = m
	}
	p.staged[r.model] = m
	return m
}

// step notes a price that isn't the only one met so far.
func (m *modelPrices) step(k int, price schemas.Decimal, at int64, id []byte) {
	if !m.seen[k] {
		m.seen[k], m.last[k] = true, price
		return
	}
	// The first price stands in more from the second one on, with a count of the records that came back to it.
	if m.more[k] == nil {
		m.more[k] = append(m.more[k], priceStep{price: m.last[k]})
	}
	n := slices.IndexFunc(m.more[k], func(s priceStep) bool { return s.price == price })
	if n < 0 {
		if n = len(m.more[k]); n == maxSteps {
			n-- // one too many: counted with the last
		} else {
			m.more[k] = append(m.more[k], priceStep{price: price, time: at, sample: string(clip(id, maxName))})
		}
	}
	m.more[k][n].count++
}

// finishPrices turns the changes of prices into issues: the first price, then each other with the time it was first
// met. An issue counts the records that were not charged at the first.
func (p *report) finishPrices() {
	for _, name := range slices.Sorted(maps.Keys(p.models)) {
		m := p.models[name]
		for k, steps := range m.more {
			if steps == nil {
				continue
			}
			var detail strings.Builder
			detail.WriteString(steps[0].price.String())
			n := int64(0)
			for _, s := range steps[1:] {
				fmt.Fprintf(&detail, "; %v from %s", s.price, time.UnixMicro(s.time).UTC().Format(time.RFC3339))
				n += s.count
			}
			i := p.issue(schemas.CheckPrice, schemas.Info, fields[tokenPrices[k].price].name, name, "", n,
				[]byte(steps[1].sample))
			if i != nil {
				i.Detail = detail.String()
			}
		}
	}
}
