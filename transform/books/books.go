// Package books reckons how usage draws on what was paid ahead. It is pure arithmetic: no disk, network, clock or log.
//
//	entries of closed months ─▶ replay ─▶ the state at their end
//	further top-ups, usage by day ─▶ run ─▶ further entries: topped up, drawn, covered, expired, overdrawn
//
// A ledger is one account's in one currency. What it guarantees, to the last unit of 10⁻¹²: of each credit, what was
// topped up is what was drawn, what expired and what is left; of each day, what was drawn and what was overdrawn is
// what was used; and while something is overdrawn no credit is left. The limit: it goes by book days. Top-ups and
// expiries take effect as a day begins, and of what was used and what was refunded within a day the sum counts.
package books

import (
	"container/heap"
	"fmt"
	"slices"

	"github.com/usagelake/usagelake/schemas"
)

// held is a credit and what is left of it.
type held struct {
	*schemas.Credit
	left   schemas.Money
	queued bool // whether it is in the queue
	place  int  // of the order in which credits came
}

// ledger is the prepaid credit of an account in a currency.
type ledger struct {
	draw      string // schemas.DrawFIFO or DrawCouponsFirst
	credits   map[string]*held
	queue     []*held // a heap: whose turn it is. Who has nothing left may still be in it
	drawn     []drawing
	overdrawn schemas.Money // below 0: refunded beyond all that was ever drawn
	day       schemas.Date  // that of the last entry
	entries   []schemas.CreditEntry
}

// drawing is what was drawn on a credit and not given back. The last is undone first.
type drawing struct {
	credit *held
	amount schemas.Money
}

// Draw goes on with a ledger that had the entries before: it enters top-ups, in order of their lines, and usage, in
// order of its days, each of the day from or later, which is after those. It goes on to the day until, or to the last
// of usage if that is later, and gives the new entries; of days beyond top-ups and expiries aren't entered, for they
// are still to come. What expired before from, and after the last entry, expires on from. draw is the order,
// schemas.DrawFIFO or schemas.DrawCouponsFirst, from now on. It is an error if the entries before can't have come about
// so.
func Draw(draw string, before []schemas.CreditEntry, topUps []*schemas.Credit, usage []schemas.DayUsage,
	from, until schemas.Date) ([]schemas.CreditEntry, error) {
	l := newLedger(draw)
	if err := l.replay(before); err != nil {
		return nil, err
	}
	return l.run(topUps, usage, from, until), nil
}

func newLedger(draw string) *ledger { return &ledger{draw: draw, credits: map[string]*held{}} }

// The heap of credits: whose turn it is comes first.

func (l *ledger) Len() int      { return len(l.queue) }
func (l *ledger) Swap(i, j int) { l.queue[i], l.queue[j] = l.queue[j], l.queue[i] }
func (l *ledger) Push(x any)    { l.queue = append(l.queue, x.(*held)) }
func (l *ledger) Pop() any {
	last := l.queue[len(l.queue)-1]
	l.queue = l.queue[:len(l.queue)-1]
	return last
}

func (l *ledger) Less(i, j int) bool {
	a, b := l.queue[i], l.queue[j]
	if l.draw == schemas.DrawCouponsFirst {
		if x, y := a.Kind == schemas.TopUpCoupon, b.Kind == schemas.TopUpCoupon; x != y {
			return x
		}
		if x, y := a.Expires != nil, b.Expires != nil; x != y {
			return x
		} else if x && *a.Expires != *b.Expires {
			return *a.Expires < *b.Expires
		}
	}
	if a.From != b.From {
		return a.From < b.From
	}
	return a.place < b.place
}

// enter notes a line, with what it does to the state. Nothing is noted of 0.
func (l *ledger) enter(kind string, c *held, amount schemas.Money) {
	if amount.Sign() == 0 {
		return
	}
	e := schemas.CreditEntry{Day: l.day, Kind: kind, Amount: amount}
	if c != nil {
		e.Credit = c.Credit
	}
	switch kind {
	case schemas.EntryTopUp:
		c.left = c.left.Add(amount)
	case schemas.EntryDraw:
		c.left = c.left.Sub(amount)
		if amount.Sign() > 0 {
			l.drawn = append(l.drawn, drawing{c, amount})
		} else {
			l.undo(amount.Neg())
		}
	case schemas.EntryCover:
		c.left = c.left.Sub(amount)
		l.overdrawn = l.overdrawn.Sub(amount)
		l.drawn = append(l.drawn, drawing{c, amount})
	case schemas.EntryExpiry:
		c.left = c.left.Sub(amount)
	case schemas.EntryOverdrawn:
		l.overdrawn = l.overdrawn.Add(amount)
	}
	if c != nil && c.left.Sign() > 0 && !c.queued {
		c.queued = true
		heap.Push(l, c)
	}
	l.entries = append(l.entries, e)
}

// undo takes an amount off the latest drawings, which are all of one credit.
func (l *ledger) undo(amount schemas.Money) {
	for amount.Sign() > 0 {
		last := &l.drawn[len(l.drawn)-1]
		part := least(amount, last.amount)
		amount, last.amount = amount.Sub(part), last.amount.Sub(part)
		if last.amount.Sign() == 0 {
			l.drawn = l.drawn[:len(l.drawn)-1]
		}
	}
}

func least(a, b schemas.Money) schemas.Money {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

// replay enters what was entered before, in the same order. Credits of one id are one.
func (l *ledger) replay(entries []schemas.CreditEntry) error {
	for _, e := range entries {
		if e.Day < l.day {
			return fmt.Errorf("an entry of %s follows one of %s", e.Day, l.day)
		}
		l.day = e.Day
		var c *held
		if e.Credit != nil {
			if c = l.credits[e.Credit.ID]; c == nil {
				if e.Kind != schemas.EntryTopUp {
					return fmt.Errorf("%s: the credit %q is drawn on before it is topped up", e.Day, e.Credit.ID)
				}
				c = l.add(e.Credit)
			}
		}
		if e.Kind == schemas.EntryDraw && e.Amount.Sign() < 0 && !l.undoable(c, e.Amount.Neg()) {
			return fmt.Errorf("%s: %s is given back to the credit %q, which wasn't drawn last", e.Day, e.Amount.Neg(), c.ID)
		}
		l.enter(e.Kind, c, e.Amount)
		if c != nil && c.left.Sign() < 0 {
			return fmt.Errorf("%s: more is drawn on the credit %q than it has", e.Day, c.ID)
		}
	}
	l.entries = nil
	return nil
}

// undoable says whether the latest drawings, so much of them, are of a credit.
func (l *ledger) undoable(c *held, amount schemas.Money) bool {
	for i := len(l.drawn) - 1; amount.Sign() > 0; i-- {
		if i < 0 || l.drawn[i].credit != c {
			return false
		}
		amount = amount.Sub(least(amount, l.drawn[i].amount))
	}
	return true
}

func (l *ledger) add(c *schemas.Credit) *held {
	h := &held{Credit: c, place: len(l.credits)}
	l.credits[c.ID] = h
	return h
}

// run enters what comes after that: see Draw.
func (l *ledger) run(topUps []*schemas.Credit, usage []schemas.DayUsage, from,
	until schemas.Date) []schemas.CreditEntry {
	if n := len(usage); n > 0 {
		until = max(until, usage[n-1].Day)
	}
	begins := map[schemas.Date][]*schemas.Credit{}
	expires := map[schemas.Date][]*held{}
	used := map[schemas.Date]schemas.Money{}
	var days []schemas.Date
	on := func(day schemas.Date) {
		if day <= until {
			days = append(days, day)
		}
	}
	for _, h := range l.credits {
		if h.Expires != nil && *h.Expires > l.day {
			at := max(*h.Expires, from)
			expires[at] = append(expires[at], h)
			on(at)
		}
	}
	for _, c := range topUps {
		begins[c.From] = append(begins[c.From], c)
		on(c.From)
		if c.Expires != nil {
			on(max(*c.Expires, c.From))
		}
	}
	for _, u := range usage {
		used[u.Day] = used[u.Day].Add(u.Amount)
		on(u.Day)
	}
	slices.Sort(days)
	for _, day := range slices.Compact(days) {
		l.day = day
		for _, c := range begins[day] {
			h := l.add(c)
			l.enter(schemas.EntryTopUp, h, c.Amount)
			if c.Expires != nil {
				at := max(*c.Expires, day)
				expires[at] = append(expires[at], h)
			}
		}
		gone := expires[day]
		slices.SortFunc(gone, func(a, b *held) int { return a.place - b.place })
		for _, h := range gone {
			l.enter(schemas.EntryExpiry, h, h.left)
		}
		if l.overdrawn.Sign() > 0 {
			l.spend(schemas.EntryCover, l.overdrawn)
		}
		l.use(used[day])
	}
	out := l.entries
	l.entries = nil
	return out
}

// use enters a day's usage.
func (l *ledger) use(amount schemas.Money) {
	if amount.Sign() < 0 {
		l.refund(amount.Neg())
		return
	}
	if l.overdrawn.Sign() < 0 { // refunded beyond what was drawn: that is used first
		part := least(amount, l.overdrawn.Neg())
		l.enter(schemas.EntryOverdrawn, nil, part)
		amount = amount.Sub(part)
	}
	l.enter(schemas.EntryOverdrawn, nil, l.spend(schemas.EntryDraw, amount))
}

// spend draws on credits, each in its turn, and gives what none covers.
func (l *ledger) spend(kind string, amount schemas.Money) schemas.Money {
	for amount.Sign() > 0 && len(l.queue) > 0 {
		c := l.queue[0]
		part := least(amount, c.left)
		l.enter(kind, c, part)
		amount = amount.Sub(part)
		if c.left.Sign() == 0 {
			c.queued = false
			heap.Pop(l)
		}
	}
	return amount
}

// refund gives credit back: what is overdrawn becomes less, then the latest drawings are undone, the last first. What
// comes back to a credit that has expired since is breakage at once.
func (l *ledger) refund(amount schemas.Money) {
	if l.overdrawn.Sign() > 0 {
		part := least(amount, l.overdrawn)
		l.enter(schemas.EntryOverdrawn, nil, part.Neg())
		amount = amount.Sub(part)
	}
	for amount.Sign() > 0 && len(l.drawn) > 0 {
		c, part := l.drawn[len(l.drawn)-1].credit, schemas.Money{}
		for i := len(l.drawn) - 1; i >= 0 && l.drawn[i].credit == c && part.Cmp(amount) < 0; i-- {
			part = part.Add(least(l.drawn[i].amount, amount.Sub(part)))
		}
		l.enter(schemas.EntryDraw, c, part.Neg())
		amount = amount.Sub(part)
		if c.Expired(l.day) {
			l.enter(schemas.EntryExpiry, c, c.left)
		}
	}
	l.enter(schemas.EntryOverdrawn, nil, amount.Neg())
}
