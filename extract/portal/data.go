package portal

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
)

// Team is one cost-bearing group of an organisation.
type Team struct {
	Name       string   `json:"name"`
	CostCentre string   `json:"cost_centre"`
	Tokens     []string `json:"tokens"` // API token ids (tk_…), each of this team alone
	Users      []string `json:"users"`  // user ids, each of this team alone
}

// rng is splitmix64: tiny, and the same on every platform and Go version, which math/rand's helpers don't promise.
type rng uint64

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	return mix(uint64(*r))
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// n is a number in [0, k).
func (r *rng) n(k int) int {
	if k <= 1 {
		return 0
	}
	return int(r.next() % uint64(k))
}

// size is a number from [lo, lo·2^(steps+1)), each doubling as likely as the next.
func (r *rng) size(lo, steps int) int64 {
	if lo == 0 {
		return 0
	}
	v := int64(lo) << r.n(steps+1)
	return v + int64(r.n(int(v)))
}

// hash folds words into one: FNV would do, but this is the mixing that the generator already has.
func hash(words ...uint64) uint64 {
	h := uint64(0x2545f4914f6cdd1d)
	for _, w := range words {
		h = mix(h ^ w + 0x9e3779b97f4a7c15)
	}
	return h
}

func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// chance is true for a share p of all h.
func chance(h uint64, p float64) bool {
	return p > 0 && float64(h>>11)/(1<<53) < p
}

// extItem is one charge beside the tokens: price in nanos, usage in micros, amount in picos.
type extItem struct {
	group, item, unit    string
	price, usage, amount int64
}

// rec is one record as generated, before anything that happens to it later.
type rec struct {
	no, sec                        int64 // no is the Portal's own number of it, which no other has
	bears                          int64 // the number whose id it bears; 0 is its own
	token, user                    int32
	channel                        int32
	model                          uint8
	basisPoints                    int16 // the discount agreed
	in, out, cached                int64
	inPrice, outPrice, cachedPrice int64 // nanos per million
	total, discount                int64 // picos
	ext                            []extItem
	custom                         string
	refund                         bool
	seen                           int64 // when it first showed, for one that arrived during paging; else 0
}

func (r *rec) tokens() int64 { return r.in + r.out + r.cached }

// reprice sets total and discount from the counts, the prices and the ext items.
func (r *rec) reprice() {
	r.total = charge(r.in, r.inPrice, r.out, r.outPrice, r.cached, r.cachedPrice)
	for i := range r.ext {
		r.total += r.ext[i].amount
	}
	r.discount = share(r.total, int64(r.basisPoints))
}

type apiToken struct {
	id     string
	team   int
	users  []int32
	models []uint8 // with repetition: a draw from it is weighted
	custom uint8   // how its callers fill custom_user_id
	cum    int     // cumulative weight, for drawing a token
}

// world is what an organisation consists of; its records follow from it.
type world struct {
	org      string
	index    int
	seed     uint64
	hourly   int64 // records an hour at growth 1, in millionths
	start    int64 // Unix seconds of the first record
	currency string
	shape    Shape
	refill   int64 // seconds between top-ups
	teams    []Team
	tokens   []apiToken
	users    []string
	models   []model
	contract map[string]int16 // vendor → basis points
	rhythm   [168]int64       // weight of each hour of the week, ten thousandths of the average
	average  int64            // what a record costs on average, in picos

	mu      sync.RWMutex
	extra   map[int64][]*rec // hour → records that arrived during paging
	gone    map[int64]int64  // no → when it vanished during paging
	touched map[int64]bool   // hours with either
	moved   atomic.Bool      // any hour touched
}

var teamNames = [...][2]string{
	{"Search", "CC-1010"}, {"Support", "CC-1020"}, {"Data Science", "CC-2010"}, {"Platform", "CC-2020"},
	{"Marketing", "CC-3010"}, {"Mobile", "CC-1030"}, {"Research", "CC-4010"}, {"Finance Ops", "CC-5010"},
}

// dayRhythm is the weight of each hour of a working day, UTC; weekends have less than half of it.
var dayRhythm = [24]int64{30, 25, 22, 20, 22, 30, 50, 85, 130, 165, 180, 178, 160, 172, 185, 180, 165, 140, 110, 90, 75,
	60, 48, 38}

func newWorld(seed uint64, index int, o OrgOptions, start int64) *world {
	w := &world{
		org: o.ID, index: index, seed: hash(seed, hashString(o.ID)), start: start, currency: o.Currency, shape: o.Shape,
		hourly: int64(o.RecordsPerDay * 1e6 / 24), refill: int64(o.RefillDays) * 86400,
		models: priceList(), contract: map[string]int16{},
		extra: map[int64][]*rec{}, gone: map[int64]int64{}, touched: map[int64]bool{},
	}
	r := rng(hash(w.seed, 1))
	var sum int64
	for h := range w.rhythm {
		v := dayRhythm[h%24] * 100
		if h/24 >= 5 { // Monday is day 0
			v = v * 45 / 100
		}
		w.rhythm[h] = v
		sum += v
	}
	for h := range w.rhythm {
		w.rhythm[h] = w.rhythm[h] * 168 * 10_000 / sum
	}
	for _, v := range []string{"anthropic", "openai", "google", "meta", "deepseek", "alibaba", "mistral", "baai"} {
		if r.n(5) < 2 {
			w.contract[v] = int16(250 + 125*r.n(12)) // 2.5 % to 16.25 %
		}
	}
	var all []uint8
	for i := range w.models {
		for range w.models[i].weight {
			all = append(all, uint8(i))
		}
	}
	user := 10_000 + r.n(900)
	weight := 0
	for t, name := range teamNames {
		team := Team{Name: name[0], CostCentre: name[1]}
		var members []int32
		for range 4 + r.n(9) {
			user += 1 + r.n(17)
			members = append(members, int32(len(w.users)))
			w.users = append(w.users, strconv.Itoa(user))
			team.Users = append(team.Users, strconv.Itoa(user))
		}
		for k := range 2 + r.n(4) {
			id := fmt.Sprintf("tk_%08x", uint32(hash(w.seed, 2, uint64(t), uint64(k))))
			tok := apiToken{id: id, team: t, users: members, custom: uint8(r.n(4))}
			if r.n(2) == 0 { // a service's own token has one user
				m := r.n(len(members))
				tok.users = members[m : m+1]
			}
			for range 3 + r.n(8) { // and a team has its habits
				tok.models = append(tok.models, all[r.n(len(all))])
			}
			weight += 1 + r.n(20)
			tok.cum = weight
			team.Tokens = append(team.Tokens, id)
			w.tokens = append(w.tokens, tok)
		}
		w.teams = append(w.teams, team)
	}
	// Every model is somebody's habit, or the list would be longer than the data.
	for m := range w.models {
		t := r.n(len(w.tokens))
		w.tokens[t].models = append(w.tokens[t].models, uint8(m))
	}
	const sample = 1024
	for i := range sample {
		x := w.record(&r, growthEpoch+int64(i)*600)
		w.average += (x.total - x.discount) / sample
	}
	return w
}

// growthEpoch is where growth is 1: 2026-11-01T00:00Z. Volume changes by 0.7 per mille of that a day, and stays between
// half and three times of it.
const growthEpoch = 1793491200

func growth(hour int64) int64 {
	return min(max(1000+(hour*3600-growthEpoch)/86400*7/10, 500), 3000)
}

// count is how many records an hour (Unix seconds / 3600) holds once it is over; no record need be made for that.
func (w *world) count(hour int64) int {
	if hour*3600 < w.start {
		return 0
	}
	h := hash(w.seed, 3, uint64(hour))
	// 1970-01-01 was a Thursday, three days after a Monday.
	expect := w.hourly * growth(hour) / 1000
	expect = expect / 100 * w.rhythm[(hour+72)%168] / 100
	expect = expect / 1000 * int64(850+h%301)
	n := expect / 1_000_000
	if int64(h>>20%1_000_000) < expect%1_000_000 {
		n++
	}
	return int(n)
}

// Numbers are like a snowflake's: milliseconds since 1990 above twelve bits, four for the organisation and eight for
// the order within the millisecond. Below bit 61 they rise with time.
const numberEpoch = 631152000

// What marks the numbers of records that a fault makes.
const (
	ofBurst   = 1 << 61
	swappedIn = 1 << 62
)

func (w *world) number(ms int64, seq int) int64 {
	return (ms-numberEpoch*1000)<<12 | int64(w.index&15)<<8 | int64(seq)
}

// hour makes the records of an hour, oldest first, numbers rising.
func (w *world) hour(hour int64) []rec {
	n := w.count(hour)
	r := rng(hash(w.seed, 4, uint64(hour)))
	at := make([]int64, n)
	for i := range at {
		at[i] = hour*3_600_000 + int64(r.n(3_600_000))
	}
	slices.Sort(at)
	recs := make([]rec, n)
	seq := 0
	for i, ms := range at {
		if i > 0 && ms == at[i-1] {
			seq++ // up to 96 in one millisecond fit below the next field; that is a thousand times any sane volume
		} else {
			seq = r.n(64)
		}
		recs[i] = w.record(&r, ms/1000)
		recs[i].no = w.number(ms, seq)
	}
	return recs
}

// record draws one record. The caller gives it its number.
func (w *world) record(r *rng, sec int64) rec {
	pick := r.n(w.tokens[len(w.tokens)-1].cum)
	t := sort.Search(len(w.tokens), func(i int) bool { return w.tokens[i].cum > pick })
	tok := &w.tokens[t]
	x := rec{sec: sec, token: int32(t), user: tok.users[r.n(len(tok.users))], model: tok.models[r.n(len(tok.models))]}
	m := &w.models[x.model]
	rt := m.at(sec)
	x.inPrice, x.outPrice, x.cachedPrice = rt.input, rt.output, rt.cache
	x.channel = int32(1 + hash(w.seed, hashString(m.vendor), uint64(r.n(3)))%97)
	x.custom = customUser(r, tok.custom)
	x.basisPoints = w.contract[m.vendor]

	switch fate := r.n(2000); {
	case fate == 0: // money back: nothing used, a discount on nothing
		x.refund = true
		x.discount = int64(1+r.n(250_000)) * 1_000_000
		return x
	case fate < 20: // a call that failed upstream, and cost nothing
		return x
	}
	x.in = r.size(m.inLo, m.inSteps)
	x.out = r.size(m.outLo, m.outSteps)
	if m.caches && r.n(3) == 0 {
		x.cached = r.size(256, 6)
	}
	x.ext = w.charges(r, m)
	x.reprice()
	return x
}

func (w *world) charges(r *rng, m *model) []extItem {
	input := func(item, unit string, price, usage int64) extItem {
		// nanos × micros are 1e-15; every price here is whole in units of 1e-6, so nothing is lost at 1e-12.
		return extItem{group: "input_v2", item: item, unit: unit, price: price, usage: usage, amount: price * usage / 1000}
	}
	search := func() extItem {
		n := int64(1 + r.n(5))
		return extItem{group: "tools", item: "web_search", unit: "each", price: usd(100 * int64(1+r.n(2)*9)), usage: n * 1e6,
			amount: 0}
	}
	var items []extItem
	switch m.ext {
	case extImage:
		if m.kind == "image" || r.n(3) == 0 {
			items = append(items, input("image", "mtoken", usd(2_00000), r.size(258, 3)))
		}
	case extAudio:
		if m.kind == "audio" || r.n(3) == 0 {
			items = append(items, input("audio", "M tokens", usd(6_00000), r.size(320, 6)))
		}
	case extVideo:
		switch r.n(12) {
		case 0:
			items = append(items, input("video", "mtoken", usd(1_25000), r.size(2580, 5)))
			fallthrough // a film has sound
		case 1:
			items = append(items, input("audio", "M tokens", usd(1_00000), r.size(320, 5)))
		}
	}
	if m.ext == extSearch && r.n(6) == 0 {
		s := search()
		s.amount = s.price * (s.usage / 1e6) * 1000
		items = append(items, s)
	}
	return items
}

// customUser is what the caller's application sent along: mostly nothing, sometimes a name of its own, now and then
// what a careless or hostile caller would send.
func customUser(r *rng, habit uint8) string {
	if r.n(400) == 0 {
		return nasty[r.n(len(nasty))]
	}
	switch {
	case habit == 1 && r.n(2) == 0:
		return fmt.Sprintf("cust-%05d", r.n(3000))
	case habit == 2 && r.n(5) == 0:
		return fmt.Sprintf("user%d@example.com", r.n(800))
	case habit == 3 && r.n(20) == 0:
		return fmt.Sprintf("Ünïcode Žofie %d", r.n(90))
	}
	return ""
}

var nasty = [...]string{
	"=1+1", "@SUM(A1:A9)", "-2+3", "+cmd|' /C calc'!A0", "<script>alert(1)</script>", `"quoted", with 'both'`, "a,b;c\td",
	"line one\nline two", "\r\n", "🦙🔥", "\u202eevil\u202c", "../../etc/passwd", "'; DROP TABLE usage; --", "NULL", "null",
	"0", " ", `\`, `C:\temp\new`,
	"e\u0301", "\u2028", "${jndi:ldap://x}", "%s%n", "{{7*7}}", "tk_5f2a", "0x1F", "1e9",
}

// arrive adds a record made during paging to what a question is about, first visible when it was asked.
func (w *world) arrive(r *rng, q question, f *fate) {
	sec := max(q.lo+int64(r.n(int(q.hi-q.lo)))-f.settleBy, w.start)
	x := w.record(r, sec)
	x.seen = q.at
	if q.token >= 0 {
		x.token = int32(q.token)
	}
	if q.user >= 0 {
		x.user = int32(q.user)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	hour := sec / 3600
	ms := sec*1000 + int64(r.n(1000))
	for seq := 160; ; seq++ { // above what the hour's own records use
		x.no = w.number(ms, seq)
		if !slices.ContainsFunc(w.extra[hour], func(y *rec) bool { return y.no == x.no }) {
			break
		}
	}
	w.extra[hour] = append(w.extra[hour], &x)
	w.touched[hour] = true
	w.moved.Store(true)
}

// drop makes a record vanish at an instant.
func (w *world) drop(x *rec, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.gone[x.no]; !ok {
		w.gone[x.no] = at
	}
	w.touched[x.sec/3600] = true
	w.moved.Store(true)
}

func (w *world) tokenIndex(id string) int {
	return slices.IndexFunc(w.tokens, func(t apiToken) bool { return t.id == id })
}

func (w *world) userIndex(id string) int { return slices.Index(w.users, id) }
