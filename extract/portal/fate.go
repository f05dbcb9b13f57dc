package portal

import (
	"strings"
	"sync/atomic"
	"time"
)

// faultState is a Faults at work: what one SetFaults put in force.
type faultState struct {
	Faults
	seed     uint64
	requests atomic.Int64 // accepted since set
	until    int64        // when failures end, Unix seconds; 0 is never
	matched  atomic.Int64 // those of the endpoint that failures hit
	keyDone  atomic.Bool  // KeyAfter has struck
	fate     fate
}

func newFaultState(f Faults, seed uint64, generation uint64, now time.Time) *faultState {
	s := &faultState{Faults: f, seed: seed}
	if f.For > 0 {
		s.until = now.Add(f.For + time.Second - 1).Unix()
	}
	or := func(d, instead time.Duration) int64 {
		if d == 0 {
			d = instead
		}
		return int64((d + time.Second - 1) / time.Second)
	}
	s.fate = fate{
		generation: generation, seed: hash(seed, 77),
		late: f.Late, lateBy: or(f.LateBy, 30*time.Hour),
		fixed: f.Corrected, fixedBy: or(f.CorrectedBy, 36*time.Hour),
		vanish: f.Vanish, vanishBy: or(f.VanishBy, 48*time.Hour),
		bad: f.Bad, missing: f.Missing, hostile: f.Hostile, kinds: badKinds,
	}
	if f.BadKinds != "" {
		s.fate.kinds = strings.Split(f.BadKinds, "+")
	}
	if f.Late > 0 {
		s.fate.settle = max(s.fate.settle, s.fate.lateBy)
	}
	if f.Corrected > 0 {
		s.fate.settle = max(s.fate.settle, s.fate.fixedBy)
	}
	if f.Vanish > 0 {
		s.fate.settle = max(s.fate.settle, s.fate.vanishBy)
	}
	return s
}

// roll decides a probability for a request.
func (s *faultState) roll(name string, n int64, p float64) bool {
	if p <= 0 {
		return false
	}
	if s.Run > 1 {
		n = (n - 1) / int64(s.Run)
	}
	return chance(hash(s.seed, hashString(name), uint64(n)), p)
}

// fate is what happens to records once they exist: a function of the record's id and of the time, so that everybody who
// asks at one time is told the same. Its times are Unix seconds and seconds.
type fate struct {
	generation              uint64 // tells one SetFaults from the next, for caches
	seed                    uint64
	late, fixed, vanish     float64
	lateBy, fixedBy, settle int64 // settle: how long after the hour nothing changes any more
	vanishBy                int64
	bad, missing, hostile   float64
	kinds                   []string
}

func (f *fate) draw(id int64, what uint64, p float64) bool {
	return p > 0 && chance(hash(f.seed, what, uint64(id)), p)
}

func (f *fate) isLate(id int64) bool { return f.draw(id, 1, f.late) }

// visible says whether a record exists at an instant, its hour's overlay aside.
func (f *fate) visible(x *rec, at int64) bool {
	if at < x.sec || at < x.seen {
		return false
	}
	if at < x.sec+f.lateBy && f.isLate(x.id) {
		return false
	}
	return at < x.sec+f.vanishBy || !f.draw(x.id, 2, f.vanish)
}

// final is the record as it stands at an instant: x itself, or a corrected copy.
func (f *fate) final(x *rec, at int64) (*rec, bool) {
	if at < x.sec+f.fixedBy || !f.draw(x.id, 3, f.fixed) {
		return x, false
	}
	y := *x
	switch h := hash(f.seed, 4, uint64(x.id)); {
	case y.refund:
		y.discount += 1_000_000 // the money back was a little more
	case y.total > 0 && h&1 == 0:
		y.discount += share(y.total, 500) // a rebate afterwards
	default:
		y.out += 1 + y.out/8 // more had been produced than was first counted
		y.reprice()
	}
	return &y, true
}

// badKind is how the record is spoilt, or "".
func (f *fate) badKind(id int64) string {
	if !f.draw(id, 5, f.bad) {
		return ""
	}
	return f.kinds[hash(f.seed, 6, uint64(id))%uint64(len(f.kinds))]
}

// optional are the fields that fault missing leaves out or makes null.
var optional = [...]string{"user_id", "custom_user_id", "token_id", "model_type", "cached_token", "cached_price", "discount_amount", "channel_id"}

// lacks says which of the optional fields a record goes without: a bit for each. null tells those sent as null.
func (f *fate) lacks(id int64) (lost, null uint) {
	if !f.draw(id, 9, f.missing) {
		return 0, 0
	}
	h := hash(f.seed, 10, uint64(id))
	lost = uint(h>>8&h) & (1<<len(optional) - 1) // two fields of eight, on average
	if lost == 0 {
		lost = 1 << (h >> 20 % uint64(len(optional)))
	}
	return lost, lost & uint(h>>30)
}

// hostileKind is 0 for an ordinary record, else which hostile content it gets.
func (f *fate) hostileKind(id int64) int {
	if !f.draw(id, 7, f.hostile) {
		return 0
	}
	return 1 + int(hash(f.seed, 8, uint64(id))%uint64(hostileKinds))
}
