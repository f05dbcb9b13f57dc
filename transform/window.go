package transform

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// window is one sealed window, decoded: which of its records stand, in what order.
type window struct {
	no    int // index in Day.windows; -1 if it holds none
	used  int // when it was last asked for, to choose which to give up
	stage stage
	// order lists the records that stand: first those that no time places, then by time and id.
	order []uint32
	// unplaced is how many of order no time places.
	unplaced int
	dups     []duplicate

	keys  []sortKey
	slots []uint32 // hash table of ids: 1 + index in stage.recs
	seed  maphash.Seed
}

// duplicate is a record left out because a later one of the window has its id.
type duplicate struct {
	dropped uint32
	same    bool // byte for byte what stands
}

type sortKey struct {
	time int64
	rec  uint32
}

// maxAhead bounds the records that room is made for on the seal's word.
const maxAhead = 1 << 18

// load decodes the window anew.
func (w *window) load(ctx context.Context, no int, sealed schemas.Sealed) error {
	w.no = -1
	w.stage.reset()
	w.order, w.dups, w.unplaced = w.order[:0], w.dups[:0], 0
	w.stage.recs = slices.Grow(w.stage.recs, int(min(max(sealed.Seal.Records, 0), maxAhead)))
	for p, err := range sealed.Pages(ctx) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = w.stage.addPage(p)
		}
		if err != nil {
			return fmt.Errorf("read the window %s (seal %d): %w", sealed.Seal.Window(), sealed.Seq, err)
		}
	}
	w.checkAsked(sealed.Seal)
	w.dedupe()
	w.sort()
	w.no = no
	return nil
}

// maxBody bounds a body, so that positions in it and in what is written behind it fit 32 bits.
const maxBody = 512 << 20

// addPage stages the records of a page, which may change afterwards.
func (s *stage) addPage(p schemas.Page) error {
	if len(p.Body) > maxBody {
		return fmt.Errorf("page %d has %d bytes, more than the %d that can be read", p.Number, len(p.Body), maxBody)
	}
	var pg *page
	if n := len(s.pages); n < cap(s.pages) {
		s.pages = s.pages[:n+1]
		pg = &s.pages[n]
	} else {
		s.pages = append(s.pages, page{})
		pg = &s.pages[n]
	}
	if need := len(p.Body) + scan.Padding; cap(pg.buf) < need {
		pg.buf = make([]byte, 0, need+need/16)
	}
	pg.buf = scan.Pad(append(pg.buf[:0], p.Body...))
	pg.body, pg.requestID, pg.fetchedAt = len(p.Body), p.RequestID, p.FetchedAt
	if s.plainOnly || !s.fastPage() {
		s.plainPage()
	}
	return nil
}

// asked is the range that a window was asked for, in Unix seconds, both inclusive.
func asked(seal schemas.Seal) (from, to int64) {
	if seal.AskedStart == 0 && seal.AskedEnd == 0 { // not written down: what every window asks for
		return seal.Start.Unix() - 1, seal.End.Unix()
	}
	return seal.AskedStart, seal.AskedEnd
}

// checkAsked rejects what is outside of what was asked for.
func (w *window) checkAsked(seal schemas.Seal) {
	from, to := asked(seal)
	first, last := from*1_000_000, to*1_000_000+999_999 // both seconds are inclusive
	s := &w.stage
	for i := range s.recs {
		if r := &s.recs[i]; r.time != 0 && (r.time < first || r.time > last) {
			s.reject(r, schemas.ReasonNotAsked, "request_time", true)
		}
	}
}

// dedupe keeps the last of the records that have one id. A record without an id is one of its own, even if another has
// the same bytes: that is how the API counts it.
func (w *window) dedupe() {
	s := &w.stage
	size := 64
	for size < 2*len(s.recs) {
		size *= 2
	}
	if len(w.slots) < size {
		w.slots = make([]uint32, size)
		w.seed = maphash.MakeSeed()
	} else {
		clear(w.slots)
	}
	slots := w.slots
	mask := uint64(len(slots) - 1)
	dropped := false
	for i := range s.recs {
		r := &s.recs[i]
		if r.kind == kindPage {
			continue
		}
		key := s.id(r)
		if len(key) == 0 {
			continue
		}
		at := maphash.Bytes(w.seed, key) & mask
		for {
			no := slots[at]
			if no == 0 {
				slots[at] = uint32(i + 1)
				break
			}
			other := &s.recs[no-1]
			if bytes.Equal(s.id(other), key) {
				same := bytes.Equal(s.bytes(r, r.raw), s.bytes(other, other.raw))
				w.dups = append(w.dups, duplicate{no - 1, same})
				slots[at] = uint32(i + 1)
				dropped = true
				break
			}
			at = (at + 1) & mask
		}
	}
	w.order = slices.Grow(w.order, len(s.recs))[:len(s.recs)]
	for i := range w.order {
		w.order[i] = uint32(i)
	}
	if dropped {
		gone := make([]bool, len(s.recs))
		for _, d := range w.dups {
			gone[d.dropped] = true
		}
		w.order = slices.DeleteFunc(w.order, func(i uint32) bool { return gone[i] })
	}
}

// sort brings order and dups into the order of time and id, which the order of arrival has no part in.
func (w *window) sort() {
	s := &w.stage
	key := func(i uint32) int64 {
		r := &s.recs[i]
		if s.unplaced(r) {
			return 0
		}
		return r.time
	}
	w.keys = slices.Grow(w.keys[:0], len(w.order))
	for _, i := range w.order {
		k := sortKey{key(i), i}
		if k.time == 0 {
			w.unplaced++
		}
		w.keys = append(w.keys, k)
	}
	slices.SortFunc(w.keys, w.compare)
	for n, k := range w.keys {
		w.order[n] = k.rec
	}
	slices.SortFunc(w.dups, func(a, b duplicate) int {
		return w.compare(sortKey{key(a.dropped), a.dropped}, sortKey{key(b.dropped), b.dropped})
	})
}

func (w *window) compare(a, b sortKey) int {
	if a.time != b.time {
		return cmp.Compare(a.time, b.time)
	}
	s := &w.stage
	ra, rb := &s.recs[a.rec], &s.recs[b.rec]
	if c := schemas.CompareIDs(s.id(ra), s.id(rb)); c != 0 {
		return c
	}
	if a.rec == b.rec {
		return 0
	}
	return bytes.Compare(s.bytes(ra, ra.raw), s.bytes(rb, rb.raw))
}

// within is the part of order that a stretch of time holds: [from, to) in microseconds.
func (w *window) within(from, to int64) (first, end int) {
	at := func(t int64) int {
		n, _ := slices.BinarySearchFunc(w.order[w.unplaced:], t, func(i uint32, t int64) int {
			return cmp.Compare(w.stage.recs[i].time, t)
		})
		return w.unplaced + n
	}
	return at(from), at(to)
}
