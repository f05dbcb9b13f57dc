package portal

import (
	"math/big"
	"time"
)

// The balance is a prepaid one with automatic top-ups. Every refill period (28 days unless said otherwise, counted from
// the organisation's first hour) it is brought back to that period's target, a round figure above what the period will
// cost. Within a period
//
//	balance(t) = target − what was booked since the period began
//
// and a record is booked when it shows, booked again by the difference when it is corrected, and taken back when it
// vanishes. That makes balance(t2) − balance(t1) = top-ups in (t1, t2] − (visible amounts at t2 − visible amounts at
// t1), exactly, over any range, while no more than a period has to be summed up.

// TopUp is one top-up: an exact decimal in the organisation's currency.
type TopUp struct {
	Time   time.Time `json:"time"`
	Amount string    `json:"amount"`
}

// Balance is the organisation's balance now, as an exact decimal; empty if there is no such organisation.
func (p *Portal) Balance(org string) string {
	w := p.world(org)
	if w == nil {
		return ""
	}
	return bigDecimal(p.balance(w, p.now().Unix()), pico)
}

// TopUps lists the top-ups in [from, to) up to now, the opening figure included as the first.
func (p *Portal) TopUps(org string, from, to time.Time) []TopUp {
	w := p.world(org)
	if w == nil {
		return nil
	}
	var list []TopUp
	lo, hi := ceilUnix(from), min(ceilUnix(to), p.now().Unix()+1)
	for t := w.opening(); t < hi; t += w.refill {
		if t < lo {
			continue
		}
		sum := bigPico(w.target(t))
		if t > w.opening() {
			sum.Sub(sum, p.balance(w, t-1)) // what is left a moment before
		}
		list = append(list, TopUp{time.Unix(t, 0).UTC(), bigDecimal(sum, pico)})
	}
	return list
}

func (w *world) opening() int64 { return w.start / 3600 * 3600 }

// period is when the period of an instant began.
func (w *world) period(at int64) int64 {
	return at - (at-w.opening())%w.refill
}

// target is what a top-up brings the balance to, in whole units: 1.6 times the expected cost, on two digits.
func (w *world) target(t int64) int64 {
	cost := new(big.Int).Mul(big.NewInt(w.hourly*growth(t/3600)/1000), big.NewInt(w.average))
	cost.Mul(cost, big.NewInt(w.refill/3600*16/10))
	n := cost.Quo(cost, new(big.Int).Exp(big.NewInt(10), big.NewInt(18), nil)).Int64() + 1
	scale := int64(1)
	for n/scale >= 100 {
		scale *= 10
	}
	return (n/scale + 1) * scale
}

// balance is the balance at an instant in picos. At the very second of a top-up, records of that second are booked on
// the new period.
func (p *Portal) balance(w *world, at int64) *big.Int {
	if at < w.opening() {
		return new(big.Int)
	}
	begin := w.period(at)
	sum := bigPico(w.target(begin))
	return sum.Sub(sum, p.booked(w, begin-1, at))
}

// booked is what was booked in (from, to]: what is visible at to less what was at from.
func (p *Portal) booked(w *world, from, to int64) *big.Int {
	f := &p.faults.Load().fate
	sum := new(big.Int)
	first := (from - f.still) / 3600
	add := func(h int64) {
		q := wholeTruth(h*3600, h*3600+3600, to)
		sum.Add(sum, big.NewInt(p.stat(w, h, q, f).amount))
		if h*3600 <= from {
			q.at = from
			sum.Sub(sum, big.NewInt(p.stat(w, h, q, f).amount))
		}
	}
	if w.moved.Load() {
		for _, h := range w.touchedBefore(first) {
			add(h)
		}
	}
	for h := max(first, w.opening()/3600); h*3600 <= to; h++ {
		add(h)
	}
	return sum
}

func (p *Portal) balanceAPI(w *world, s *faultState) answer {
	exact := bigDecimal(p.balance(w, p.now().Unix()), pico)
	e := encoder{s: s, b: []byte{'{'}}
	if s.Strings {
		e.str("balance", exact)
	} else {
		e.raw("balance", exact)
	}
	e.str("balance_str", exact)
	e.num("coupon_balance", 0, 0)
	currency := w.currency
	if s.Currency != "" && !p.now().Before(s.began.Add(s.CurrencyAfter)) {
		currency = s.Currency
	}
	e.str("currency_code", currency)
	e.num("credit_limit", 0, 0)
	e.num("total_coupon_amount", 0, 0)
	if s.UnknownFields {
		e.raw("plan", `{"name":"enterprise","seats":40}`)
	}
	e.b = append(e.b, '}')
	return answer{data: e.b}
}
