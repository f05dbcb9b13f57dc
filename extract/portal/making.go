package portal

import (
	"cmp"
	"slices"
	"strconv"
)

// making is what faults change about the records of an hour as they are made.
type making struct {
	burst  int     // so many records in one second
	every  int64   // in each span of so many seconds
	shared float64 // share of records that bear another's id
}

// bursts are the seconds of an hour in which a burst falls.
func (m making) bursts(w *world, hour int64) (at []int64) {
	if m.burst == 0 {
		return nil
	}
	for k := hour * 3600 / m.every; k*m.every < hour*3600+3600; k++ {
		sec := k*m.every + int64(hash(w.seed, 5, uint64(k))%uint64(m.every))
		if sec/3600 == hour && sec >= w.start {
			at = append(at, sec)
		}
	}
	return at
}

// make makes the records of an hour, oldest first; before gives those that an hour has without any fault.
func (m making) make(w *world, hour int64, before func(hour int64) []rec) []rec {
	recs := w.hour(hour)
	if m == (making{}) {
		return recs
	}
	for _, sec := range m.bursts(w, hour) {
		r := rng(hash(w.seed, 6, uint64(sec)))
		for i := range m.burst {
			x := w.record(&r, sec)
			x.no = w.number(sec*1000+int64(i>>8), i&255) | ofBurst
			recs = append(recs, x)
		}
	}
	m.lend(w, hour, recs, before)
	slices.SortFunc(recs, func(a, b rec) int { return cmp.Or(cmp.Compare(a.sec, b.sec), cmp.Compare(a.no, b.no)) })
	return recs
}

// lend has a share of an hour's records bear the ids of others. They are, a quarter each: a call tried again over
// another channel in the same second; a charge given back at some time of the same hour; a call of that hour; and one
// settled up to three hours after the one whose id it bears. The place in the hour is in the figures, so that no two
// are the same.
func (m making) lend(w *world, hour int64, recs []rec, before func(hour int64) []rec) {
	borrows := func(x *rec) bool { return chance(hash(w.seed, 7, uint64(x.no)), m.shared) }
	lenders := func(recs []rec) (list []*rec) {
		for i := range recs {
			if !borrows(&recs[i]) {
				list = append(list, &recs[i])
			}
		}
		if len(list) == 0 && len(recs) > 0 { // all share: let them share one
			list = append(list, &recs[0])
		}
		return list
	}
	here := lenders(recs)
	for i := range recs {
		x := &recs[i]
		if !borrows(x) {
			continue
		}
		r := rng(hash(w.seed, 8, uint64(x.no)))
		kind, from := r.n(4), here
		if kind == 3 {
			if past := lenders(before(hour - 1 - int64(r.n(3)))); len(past) > 0 {
				from = past
			}
		}
		of := from[r.n(len(from))]
		switch y := *of; {
		case kind == 0:
			y.no, y.channel = x.no, of.channel%97+1
			y.in += int64(i) + 1
			y.reprice()
			*x = y
		case kind == 1 && of.total > of.discount:
			y.no, y.sec, y.refund = x.no, x.sec, true
			y.in, y.out, y.cached, y.ext = 0, 0, 0, nil
			y.total, y.discount = 0, of.total-of.discount+int64(i)*1000
			*x = y
		}
		x.bears = of.no
	}
}

// idText is the id as it is served: the X-Request-Id of the model call modulo 2^63, so without order. Records share one
// by faults alone.
func (s *faultState) idText(x *rec) string {
	no := x.no
	if x.bears != 0 {
		no = x.bears
	}
	n := hash(s.fate.seed, 15, uint64(no)) >> 1
	if s.IDModulo > 0 {
		n %= uint64(s.IDModulo)
	}
	t := strconv.FormatUint(n, 10)
	if s.IDText != "" && x.bears != 0 {
		t = s.IDText
	}
	if s.fate.hostileKind(x.no) == hostileID {
		return `../'` + t + `"<b>`
	}
	return t
}
