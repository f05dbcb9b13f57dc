package portal

import (
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
}

func (q question) wants(x *rec) bool {
	return x.sec >= q.lo && x.sec < q.hi && (q.token == -1 || int(x.token) == q.token) && (q.user == -1 || int(x.user) == q.user)
}

// hourKey names a cached hour; statKey what was counted in it.
type hourKey struct {
	w    *world
	hour int64
}

type statKey struct {
	hourKey
	token, user int
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

func (c *hours) get(w *world, hour int64) []rec {
	key := hourKey{w, hour}
	c.mu.Lock()
	if e, ok := c.byKey[key]; ok {
		c.order.MoveToFront(e)
		recs := e.Value.(*hourEntry).recs
		c.mu.Unlock()
		return recs
	}
	c.mu.Unlock()
	recs := w.hour(hour) // outside the lock: two callers may make the same hour, which costs but doesn't harm
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
	recs := p.hours.get(w, hour)
	out := make([]row, 0, len(recs))
	add := func(x *rec) {
		if q.wants(x) && f.visible(x, q.at) {
			y, corrected := f.final(x, q.at)
			out = append(out, row{y, corrected})
		}
	}
	if !w.moved.Load() {
		for i := range recs {
			add(&recs[i])
		}
		return out
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	alive := func(x *rec) {
		if gone, ok := w.gone[x.id]; !ok || q.at < gone {
			add(x)
		}
	}
	for i := range recs {
		alive(&recs[i])
	}
	if extra := w.extra[hour]; len(extra) > 0 {
		for _, x := range extra {
			alive(x)
		}
		sort.SliceStable(out, func(i, j int) bool { return out[i].id < out[j].id })
	}
	return out
}

// stat sums up an hour; what can't change any more is remembered.
func (p *Portal) stat(w *world, hour int64, q question, f *fate) stat {
	whole := q.lo <= hour*3600 && q.hi >= hour*3600+3600
	settled := whole && q.at >= hour*3600+3599+f.settle && !w.isTouched(hour)
	key := statKey{hourKey{w, hour}, q.token, q.user, f.generation}
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

func (w *world) isTouched(hour int64) bool {
	if !w.moved.Load() {
		return false
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.touched[hour]
}

// count is how many records of an hour a question is answered with, by arithmetic where that is enough.
func (p *Portal) count(w *world, hour int64, q question, f *fate) int {
	if q.token == -2 || q.user == -2 {
		return 0
	}
	whole := q.lo <= hour*3600 && q.hi >= hour*3600+3600
	if whole && q.token == -1 && q.user == -1 && f.vanish == 0 && q.at >= hour*3600+3599+f.settle && !w.isTouched(hour) {
		return w.count(hour)
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

// equals says which records [lo, hi) have the same time as the i-th, in spans of so many seconds, and which span that is.
func (v *view) equals(i int, span int64) (lo, hi int, key int64) {
	at := func(i int) int64 {
		if r, ok := v.at(i); ok {
			return r.sec / span
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
