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
	began    time.Time    // when set, by the Portal's clock
	until    int64        // when failures end, Unix seconds; 0 is never
	matched  atomic.Int64 // those of the endpoint that failures hit
	keyDone  atomic.Bool  // KeyAfter has struck
	fate     fate
}

func newFaultState(f Faults, seed uint64, generation uint64, now time.Time) *faultState {
	s := &faultState{Faults: f, seed: seed, began: now}
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
		swap: f.Swap, swapBy: or(f.SwapBy, 48*time.Hour),
		twice: f.Twice, bad: f.Bad, missing: f.Missing, hostile: f.Hostile, kinds: badKinds,
		making: making{shared: f.SharedID},
	}
	if f.BadKinds != "" {
		s.fate.kinds = strings.Split(f.BadKinds, "+")
	}
	if f.Burst > 0 {
		s.fate.making.burst, s.fate.making.every = f.Burst, or(f.BurstEvery, 6*time.Hour)
	}
	if f.FilterBy == "settled" {
		s.fate.settled, s.fate.settleBy, s.fate.jitter = true, or(f.SettleBy, 35*time.Second), or(f.SettleJitter, 0)
		s.fate.still = s.fate.settleBy + s.fate.jitter
	}
	for _, x := range []struct {
		share float64
		by    int64
	}{{f.Late, s.fate.lateBy}, {f.Corrected, s.fate.fixedBy}, {f.Vanish, s.fate.vanishBy}, {f.Swap, s.fate.swapBy}} {
		if x.share > 0 {
			s.fate.still = max(s.fate.still, x.by)
		}
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

// fate is what happens to records once they exist: a function of the record's number and of the time, so that everybody
// who asks at one time is told the same. Its times are Unix seconds and seconds.
type fate struct {
	generation                uint64 // tells one SetFaults from the next, for caches
	seed                      uint64
	late, fixed, vanish, swap float64
	lateBy, fixedBy, vanishBy int64
	swapBy                    int64
	still                     int64 // how long after the hour nothing changes any more
	settled                   bool  // the listing goes by settlement, settleBy and up to jitter after the request
	settleBy, jitter          int64
	bad, missing, hostile     float64
	twice                     float64
	kinds                     []string
	making                    making
}

func (f *fate) draw(no int64, what uint64, p float64) bool {
	return p > 0 && chance(hash(f.seed, what, uint64(no)), p)
}

func (f *fate) isLate(no int64) bool { return f.draw(no, 1, f.late) }

func (f *fate) isTwice(no int64) bool { return f.draw(no, 11, f.twice) }

// settlement is when a record is settled, which it must be to show: at the request itself unless the faults say
// otherwise.
func (f *fate) settlement(x *rec) int64 {
	t := x.sec + f.settleBy
	if f.jitter > 0 && x.seen == 0 { // what came during paging came into the window that was paged
		t += int64(hash(f.seed, 12, uint64(x.no)) % uint64(f.jitter+1))
	}
	return t
}

// requestHours are the hours whose records may be settled in an hour.
func (f *fate) requestHours(hour int64) (first, last int64) {
	return (hour*3600 - f.settleBy - f.jitter) / 3600, (hour*3600 + 3599 - f.settleBy) / 3600
}

// visible says whether a record exists at an instant, its hour's overlay aside.
func (f *fate) visible(x *rec, at int64) bool {
	if at < f.settlement(x) || at < x.seen {
		return false
	}
	if at < x.sec+f.lateBy && f.isLate(x.no) {
		return false
	}
	return at < x.sec+f.vanishBy || !f.draw(x.no, 2, f.vanish)
}

// instead is the record that stands in another's place at an instant: x itself, or one of the same hour and no later,
// so that the hour's count stays.
func (f *fate) instead(w *world, x *rec, at int64) *rec {
	if at < x.sec+f.swapBy || x.seen > 0 || !f.draw(x.no, 13, f.swap) {
		return x
	}
	r := rng(hash(f.seed, 14, uint64(x.no)))
	begin := max(x.sec/3600*3600, w.start)
	y := w.record(&r, begin+int64(r.n(int(x.sec-begin+1))))
	y.no, y.seen = x.no|swappedIn, x.sec+f.swapBy
	return &y
}

// final is the record as it stands at an instant: x itself, or a corrected copy.
func (f *fate) final(x *rec, at int64) (*rec, bool) {
	if at < x.sec+f.fixedBy || !f.draw(x.no, 3, f.fixed) {
		return x, false
	}
	y := *x
	switch h := hash(f.seed, 4, uint64(x.no)); {
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
func (f *fate) badKind(no int64) string {
	if !f.draw(no, 5, f.bad) {
		return ""
	}
	return f.kinds[hash(f.seed, 6, uint64(no))%uint64(len(f.kinds))]
}

// optional are the fields that fault missing leaves out or makes null.
var optional = [...]string{"user_id", "custom_user_id", "token_id", "model_type", "cached_token", "cached_price",
	"discount_amount", "channel_id"}

// lacks says which of the optional fields a record goes without: a bit for each. null tells those sent as null.
func (f *fate) lacks(no int64) (lost, null uint) {
	if !f.draw(no, 9, f.missing) {
		return 0, 0
	}
	h := hash(f.seed, 10, uint64(no))
	lost = uint(h>>8&h) & (1<<len(optional) - 1) // two fields of eight, on average
	if lost == 0 {
		lost = 1 << (h >> 20 % uint64(len(optional)))
	}
	return lost, lost & uint(h>>30)
}

// hostileKind is 0 for an ordinary record, else which hostile content it gets.
func (f *fate) hostileKind(no int64) int {
	if !f.draw(no, 7, f.hostile) {
		return 0
	}
	return 1 + int(hash(f.seed, 8, uint64(no))%uint64(hostileKinds))
}
