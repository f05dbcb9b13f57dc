package portal

import (
	"cmp"
	"container/list"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"sort"
	"sync"
)

// question is what part of an organisation's records is asked for, and as of when. Times are Unix seconds, hi excluded;
// token and user are indexes, -1 for all, -2 for one that isn't there.
type question struct {
	lo, hi, at  int64
	token, user int
	truth       bool // asked by request_time and each record once, whatever the listing does
}

// wholeTruth asks for the truth about [lo, hi).
func wholeTruth(lo, hi, at int64) question {
	return question{lo: lo, hi: hi, at: at, token: -1, user: -1, truth: true}
}

func (q question) wants(x *rec, f *fate) bool {
	t := q.time(x, f)
	return t >= q.lo && t < q.hi && (q.token == -1 || int(x.token) == q.token) && (q.user == -1 || int(x.user) == q.user)
}

// time is the time of a record that a question goes by.
func (q question) time(x *rec, f *fate) int64 {
	if q.truth {
		return x.sec
	}
	return f.settlement(x)
}

// requestHours are the hours whose records may answer a question about an hour.
func (q question) requestHours(hour int64, f *fate) (first, last int64) {
	if q.truth {
		return hour, hour
	}
	return f.requestHours(hour)
}

// hourKey names a cached hour; statKey what was counted in it.
type hourKey struct {
	w      *world
	hour   int64
	making making
}

type statKey struct {
	w           *world
	hour        int64
	token, user int
	truth       bool
	generation  uint64
}

// stat sums up the visible records of an hour: how many, their net amount in picos, their tokens.
type stat struct {
	n              int
	amount, tokens int64
}

// hours holds the hours used last, up to a number of records, and the sums of those that won't change any more.
type hours struct {
	mu    sync.Mutex
	order *list.List // of *hourEntry, last used first
	byKey map[hourKey]*list.Element
	held  int
	stats map[statKey]stat
}

type hourEntry struct {
	key  hourKey
	recs []rec
}

// maxHeld bounds the records in memory, at some 200 bytes each; maxStats the sums, at some 100.
const (
	maxHeld  = 200_000
	maxStats = 200_000
)

func newHours() *hours {
	return &hours{order: list.New(), byKey: map[hourKey]*list.Element{}, stats: map[statKey]stat{}}
}

func (c *hours) get(w *world, hour int64, m making) []rec {
	key := hourKey{w, hour, m}
	c.mu.Lock()
	if e, ok := c.byKey[key]; ok {
		c.order.MoveToFront(e)
		recs := e.Value.(*hourEntry).recs
		c.mu.Unlock()
		return recs
	}
	c.mu.Unlock()
	// Outside the lock: two callers may make the same hour, which costs but doesn't harm.
	recs := m.make(w, hour, func(hour int64) []rec { return c.get(w, hour, making{}) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		return e.Value.(*hourEntry).recs
	}
	c.byKey[key] = c.order.PushFront(&hourEntry{key, recs})
	c.held += len(recs)
	for c.held > maxHeld && c.order.Len() > 1 {
		e := c.order.Back()
		old := c.order.Remove(e).(*hourEntry)
		delete(c.byKey, old.key)
		c.held -= len(old.recs)
	}
	return recs
}

// rows are the records of an hour that a question is answered with, oldest first.
func (p *Portal) rows(w *world, hour int64, q question, f *fate) []row {
	if hour*3600 < w.start/3600*3600 || hour*3600 > q.at || q.token == -2 || q.user == -2 {
		return nil
	}
	q.lo, q.hi = max(q.lo, hour*3600), min(q.hi, hour*3600+3600)
	var out []row
	gone := func(no int64) bool { return false }
	moved := w.moved.Load()
	if moved {
		w.mu.RLock()
		defer w.mu.RUnlock()
		gone = func(no int64) bool {
			at, ok := w.gone[no]
			return ok && q.at >= at
		}
	}
	add := func(x *rec) {
		if !f.visible(x, q.at) || gone(x.no) {
			return
		}
		if x = f.instead(w, x, q.at); !q.wants(x, f) || gone(x.no) {
			return
		}
		y, corrected := f.final(x, q.at)
		out = append(out, row{y, corrected})
		if !q.truth && f.isTwice(y.no) {
			out = append(out, row{y, corrected})
		}
	}
	sorted := f.swap == 0 && (q.truth || !f.settled)
	for h, last := q.requestHours(hour, f); h <= last; h++ {
		recs := p.hours.get(w, h, f.making)
		out = slices.Grow(out, len(recs))
		for i := range recs {
			add(&recs[i])
		}
		if moved {
			for _, x := range w.extra[h] {
				add(x)
				sorted = false
			}
		}
	}
	if !sorted {
		slices.SortStableFunc(out, func(a, b row) int {
			return cmp.Or(cmp.Compare(q.time(a.rec, f), q.time(b.rec, f)), cmp.Compare(a.no, b.no))
		})
	}
	return out
}

// stat sums up an hour; what can't change any more is remembered.
func (p *Portal) stat(w *world, hour int64, q question, f *fate) stat {
	whole := q.lo <= hour*3600 && q.hi >= hour*3600+3600
	settled := whole && q.at >= hour*3600+3599+f.still && !w.isTouched(q.requestHours(hour, f))
	key := statKey{w, hour, q.token, q.user, q.truth, f.generation}
	if settled {
		p.hours.mu.Lock()
		s, ok := p.hours.stats[key]
		p.hours.mu.Unlock()
		if ok {
			return s
		}
	}
	var s stat
	for _, r := range p.rows(w, hour, q, f) {
		s.n++
		s.amount += r.total - r.discount
		s.tokens += r.tokens()
	}
	if settled {
		p.hours.mu.Lock()
		if len(p.hours.stats) >= maxStats {
			clear(p.hours.stats)
		}
		p.hours.stats[key] = s
		p.hours.mu.Unlock()
	}
	return s
}

// isTouched says whether something happened during paging in any of some hours.
func (w *world) isTouched(first, last int64) bool {
	if !w.moved.Load() {
		return false
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	for h := first; h <= last; h++ {
		if w.touched[h] {
			return true
		}
	}
	return false
}

// count is how many records of an hour a question is answered with, by arithmetic where that is enough.
func (p *Portal) count(w *world, hour int64, q question, f *fate) int {
	if q.token == -2 || q.user == -2 {
		return 0
	}
	whole := q.lo <= hour*3600 && q.hi >= hour*3600+3600
	plain := f.vanish == 0 && (q.truth || (f.twice == 0 && !f.settled))
	if whole && plain && q.token == -1 && q.user == -1 && q.at >= hour*3600+3599+f.still && !w.isTouched(hour, hour) {
		return w.count(hour) + f.making.burst*len(f.making.bursts(w, hour))
	}
	return p.stat(w, hour, q, f).n
}

// view is a question with its answer laid out: how many records, and any of them by its place.
type view struct {
	p    *Portal
	w    *world
	q    question
	f    *fate
	hour []int64 // of the hours that hold anything
	cum  []int   // records up to and with that hour
	made map[int][]row
	n    int
}

// clamp cuts a question to the time in which there are records.
func (q question) clamp(w *world) question {
	q.lo = max(q.lo, w.start)
	q.hi = min(q.hi, q.at+1)
	return q
}

func (p *Portal) view(w *world, q question, f *fate) *view {
	q = q.clamp(w)
	v := &view{p: p, w: w, q: q, f: f, made: map[int][]row{}}
	if q.hi <= q.lo {
		return v
	}
	for h := q.lo / 3600; h <= (q.hi-1)/3600; h++ {
		if n := p.count(w, h, q, f); n > 0 {
			v.n += n
			v.hour = append(v.hour, h)
			v.cum = append(v.cum, v.n)
		}
	}
	return v
}

// at is the i-th record, oldest first. ok is false if it vanished since the view was laid out.
func (v *view) at(i int) (row, bool) {
	k := sort.SearchInts(v.cum, i+1)
	rows, ok := v.made[k]
	if !ok {
		rows = v.p.rows(v.w, v.hour[k], v.q, v.f)
		v.made[k] = rows
	}
	if k > 0 {
		i -= v.cum[k-1]
	}
	if i >= len(rows) {
		return row{}, false
	}
	return rows[i], true
}

// equals says which records [lo, hi) have the same time as the i-th, in spans of so many seconds, and which span that
// is.
func (v *view) equals(i int, span int64) (lo, hi int, key int64) {
	at := func(i int) int64 {
		if r, ok := v.at(i); ok {
			return v.q.time(r.rec, v.f) / span
		}
		return math.MaxInt64
	}
	key = at(i)
	lo = sort.Search(i, func(j int) bool { return at(j) >= key })
	return lo, i + 1 + sort.Search(v.n-i-1, func(j int) bool { return at(i+1+j) > key }), key
}

// net is the sum of the amounts in picos, tokens that of the tokens.
func (v *view) net() *big.Int {
	sum := new(big.Int)
	for _, h := range v.hour {
		sum.Add(sum, big.NewInt(v.p.stat(v.w, h, v.q, v.f).amount))
	}
	return sum
}

func (v *view) tokens() int64 {
	var sum int64
	for _, h := range v.hour {
		sum += v.p.stat(v.w, h, v.q, v.f).tokens
	}
	return sum
}

// shuffle maps [0, n) onto itself, by seed: a four-round Feistel network on the next even number of bits, walked until
// it lands inside. It gives the i-th place of a random order without the order being laid out.
func shuffle(i, n int, seed uint64) int {
	half := max((bits.Len(uint(n-1))+1)/2, 1)
	mask := uint64(1)<<half - 1
	x := uint64(i)
	for {
		l, r := x>>half, x&mask
		for round := range uint64(4) {
			l, r = r, l^hash(seed, round, r)&mask
		}
		if x = l<<half | r; x < uint64(n) {
			return int(x)
		}
	}
}

// touchedBefore lists the hours before one in which something happened during paging.
func (w *world) touchedBefore(hour int64) []int64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	var hs []int64
	for h := range w.touched {
		if h < hour {
			hs = append(hs, h)
		}
	}
	slices.Sort(hs)
	return hs
}
