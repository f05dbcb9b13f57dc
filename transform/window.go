package transform

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/usagelake/usagelake/schemas"
)

// window is one sealed window, decoded: which of its records stand, in what order.
type window struct {
	// All of it is memory that load fills anew, and keeps for the next window. One Day has it at a time, from windowPool.
	no    int // index in Day.windows; -1 if it holds none
	used  int // when it was last asked for, to choose which to give up
	stage stage
	// order lists the records that stand: first those that no time places, then by time, id and content.
	order []uint32
	// unplaced is how many of order no time places.
	unplaced int
	// dups are the records left out because the same one stands, in that order.
	dups []uint32

	// Of load alone: what they hold is of no use after it.
	keys  []sortKey
	slots []uint64 // hash table of ids: 1 + index in stage.recs in the low half, the id's hash in the high one
}

type sortKey struct {
	time int64
	rec  uint32
}

// maxAhead bounds the records that room is made for on the seal's word.
const maxAhead = 1 << 18

// load decodes the window anew.
func (w *window) load(ctx context.Context, no int, sealed schemas.Sealed) error {
	// A load that fails leaves a window that is none, so that nobody takes what was read so far for all.
	w.no = -1
	w.stage.reset()
	w.order, w.dups, w.unplaced = w.order[:0], w.dups[:0], 0
	// The seal says how many come, but it is a text in a file: a wrong one must not ask for all memory.
	w.stage.recs = slices.Grow(w.stage.recs, int(min(max(sealed.Seal.Records, 0), maxAhead)))
	if err := w.stage.read(ctx, sealed); err != nil {
		return fmt.Errorf("read the window %s (seal %d): %w", sealed.Seal.Window(), sealed.Seq, err)
	}
	w.checkAsked(sealed.Seal)
	w.sort()
	w.share()
	w.no = no
	return nil
}

// maxBody bounds a body, so that positions in it and in what is written behind it fit 32 bits.
const maxBody = 512 << 20

// read stages the records of a sealed window.
func (s *stage) read(ctx context.Context, sealed schemas.Sealed) error {
	if sealed.Whole != nil {
		pages, whole, ok, err := sealed.Whole(ctx, s.whole)
		s.whole = whole
		for _, p := range pages {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = s.addPage(p, true)
			}
		}
		if ok || err != nil {
			return err
		}
	}
	for p, err := range sealed.Pages(ctx) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = s.addPage(p, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addPage stages the records of a page. Its body stays as it is until the stage is reset, or may change afterwards.
func (s *stage) addPage(p schemas.Page, stays bool) error {
	if len(p.Body) > maxBody {
		return fmt.Errorf("page %d has %d bytes, more than the %d that can be read", p.Number, len(p.Body), maxBody)
	}
	var pg *page
	if n := len(s.pages); n < cap(s.pages) {
		// A page of an earlier window, whose buffer is used again.
		s.pages = s.pages[:n+1]
		pg = &s.pages[n]
	} else {
		s.pages = append(s.pages, page{})
		pg = &s.pages[n]
	}
	pg.hold(p.Body, stays)
	pg.body, pg.requestID, pg.fetchedAt = len(p.Body), p.RequestID, p.FetchedAt
	first := len(s.recs)
	if s.plainOnly || !s.fastPage() {
		s.plainPage()
	}
	for i := range s.recs[first:] {
		s.know(&s.recs[first+i])
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

// checkAsked rejects what is outside of what was asked for by more than schemas.MaxLag. What is outside by less belongs
// to another window, which owns its instant.
func (w *window) checkAsked(seal schemas.Seal) {
	from, to := asked(seal)
	lag := int64(schemas.MaxLag.Seconds())
	first, last := (from-lag)*1_000_000, (to+lag)*1_000_000+999_999 // both seconds are inclusive
	s := &w.stage
	for i := range s.recs {
		r := &s.recs[i]
		if r.time == 0 || r.time >= first && r.time <= last {
			continue
		}
		if f := s.fault(r); f != nil && f.reason == schemas.ReasonTimeUnit { // it means nothing, after all
			f.unplaced, r.time = true, 0
			continue
		}
		s.reject(r, schemas.ReasonNotAsked, "request_time", true)
	}
}

// sort brings the records into the order of time, id and content, which the order of arrival has no part in. Of those
// that are the same, by id and content, one stands. Records of one time and id with other content are several, and
// numbered. A record without an id is one of its own, even if another has the same bytes: that is how the API counts
// it.
func (w *window) sort() {
	s := &w.stage
	w.keys = slices.Grow(w.keys[:0], len(s.recs))
	for i := range s.recs {
		k := sortKey{s.recs[i].time, uint32(i)}
		if s.unplaced(&s.recs[i]) {
			k.time = 0
		}
		w.keys = append(w.keys, k)
	}
	if !w.sortTimes() {
		slices.SortFunc(w.keys, w.compare)
	}
	w.order = slices.Grow(w.order, len(w.keys))
	for i := 0; i < len(w.keys); {
		k := w.keys[i]
		if k.time != 0 && (i+1 == len(w.keys) || w.keys[i+1].time != k.time) { // the only one of its time
			w.order = append(w.order, k.rec)
			i++
			continue
		}
		// Those of one time and id stand next to each other. Without an id each is a group of its own.
		id := s.id(&s.recs[k.rec])
		end := i + 1
		for len(id) > 0 && end < len(w.keys) && w.keys[end].time == k.time &&
			bytes.Equal(s.id(&s.recs[w.keys[end].rec]), id) {
			end++
		}
		stand := len(w.order)
		if end == i+1 {
			w.order = append(w.order, k.rec)
		} else {
			w.tell(w.keys[i:end])
		}
		if k.time == 0 {
			w.unplaced += len(w.order) - stand
		}
		i = end
	}
}

// sortTimes sorts keys that came in the order of their times or against it, as the API lists them: only those of one
// time are yet to be ordered. Of others it returns false, having done nothing.
func (w *window) sortTimes() bool {
	up, down := true, true
	for i := 1; i < len(w.keys) && (up || down); i++ {
		before, at := w.keys[i-1].time, w.keys[i].time
		up, down = up && before <= at, down && before >= at
	}
	if !up && !down {
		return false
	}
	if !up {
		slices.Reverse(w.keys)
	}
	for rest := w.keys; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].time == rest[0].time {
			n++
		}
		if n > 1 {
			slices.SortFunc(rest[:n], w.compare)
		}
		rest = rest[n:]
	}
	return true
}

// compare orders by time, id and bytes. Of the same bytes the last to arrive comes first.
func (w *window) compare(a, b sortKey) int {
	if a.time != b.time {
		return cmp.Compare(a.time, b.time)
	}
	s := &w.stage
	ra, rb := &s.recs[a.rec], &s.recs[b.rec]
	if c := schemas.CompareIDs(s.id(ra), s.id(rb)); c != 0 {
		return c
	}
	if c := bytes.Compare(s.bytes(ra, ra.raw), s.bytes(rb, rb.raw)); c != 0 {
		return c
	}
	// Of the same bytes the first in this order stands, and so the last that came: which page it is said to be of must not
	// hang on luck.
	return cmp.Compare(b.rec, a.rec)
}

// tell tells the records of one time and id apart, which are in the order of their bytes: repeats go to dups, what
// stands goes to order, in the order of its content, and its rows are numbered. Content, not bytes, so that keys in
// another order the next time give no other numbers.
func (w *window) tell(group []sortKey) {
	type content struct {
		rec  uint32
		raw  []byte
		text []byte // in canonical form
	}
	s := &w.stage
	var all []content
	for i, k := range group {
		r := &s.recs[k.rec]
		raw := s.bytes(r, r.raw)
		// The same bytes are the same record, and most repeats are: no JSON is read for them.
		if i > 0 && bytes.Equal(raw, s.bytes(&s.recs[group[i-1].rec], s.recs[group[i-1].rec].raw)) {
			w.dups = append(w.dups, k.rec)
			continue
		}
		all = append(all, content{rec: k.rec, raw: raw})
	}
	if len(all) == 1 {
		w.order = append(w.order, all[0].rec)
		return
	}
	for i := range all {
		all[i].text = canonical(all[i].raw)
	}
	slices.SortStableFunc(all, func(a, b content) int { return bytes.Compare(a.text, b.text) }) // they are sorted by raw
	rows := map[string]uint32{}
	number := uint32(0)
	for i, c := range all {
		if i > 0 && bytes.Equal(c.text, all[i-1].text) && readsExactly(c.text) {
			w.dups = append(w.dups, c.rec)
			continue
		}
		w.order = append(w.order, c.rec)
		r := &s.recs[c.rec]
		if r.bad != 0 {
			continue
		}
		r.ordinal = number
		number++
		// Two rows that no column tells apart. A third that is alike marks the second again, and itself.
		key := s.columns(r)
		if twin, ok := rows[key]; ok {
			r.alike, s.recs[twin].alike = true, true
		}
		rows[key] = c.rec
	}
}

// canonical is the content of a record, the same whatever the order of its keys and its spacing.
func canonical(raw []byte) []byte {
	v, ok := readAny(raw)
	if !ok {
		return raw
	}
	return appendCanonical(nil, v)
}

// readsExactly says whether only one content reads as this canonical text: bytes that are no UTF-8, and halves of
// surrogate pairs, all become the same sign.
func readsExactly(text []byte) bool { return !bytes.Contains(text, []byte("\uFFFD")) }

// columns is what the columns of a row hold that have a field of the API to themselves, as text to compare.
func (s *stage) columns(r *record) string {
	b := fmt.Appendf(nil, "%d %x %v %v", r.time, r.have&^(1<<fExtra), r.counts, r.money)
	part := func(t text) { b = fmt.Appendf(b, " %q", s.bytes(r, t)) }
	for _, t := range r.texts[:tExtra] {
		part(t)
	}
	for _, it := range s.items[r.items : r.items+r.nItems] {
		part(it.category)
		part(it.name)
		part(it.unit)
		b = fmt.Appendf(b, " %x %v", it.have, it.money)
	}
	return string(b)
}

// share marks the rows whose id another row of the window has, too.
func (w *window) share() {
	s := &w.stage
	// A power of two, and at least twice as many slots as ids: a mask finds the slot, a look at the next ones ends soon. A
	// table that an earlier window made may be larger than this one takes; all of it is used, so that the mask fits.
	size := 64
	for size < 2*len(w.order) {
		size *= 2
	}
	if len(w.slots) < size {
		w.slots = make([]uint64, size)
	} else {
		clear(w.slots)
	}
	mask := uint32(len(w.slots) - 1)
	for _, i := range w.order[w.unplaced:] {
		r := &s.recs[i]
		if r.bad != 0 {
			continue
		}
		at := r.idHash & mask
		for ; w.slots[at] != 0; at = (at + 1) & mask {
			// Their hashes first: of another record not even the page is looked at.
			if other := &s.recs[uint32(w.slots[at])-1]; uint32(w.slots[at]>>32) == r.idHash &&
				bytes.Equal(s.id(other), s.id(r)) {
				r.shared, other.shared = true, true
				break
			}
		}
		if w.slots[at] == 0 {
			w.slots[at] = uint64(r.idHash)<<32 | uint64(i+1)
		}
	}
}

// within is the part of order that a stretch of time holds: [from, to) in microseconds.
func (w *window) within(from, to int64) (first, end int) {
	// The first that is not before t. A record at from is in, one at to is out: it is of the next stretch.
	at := func(t int64) int {
		n, _ := slices.BinarySearchFunc(w.order[w.unplaced:], t, func(i uint32, t int64) int {
			return cmp.Compare(w.stage.recs[i].time, t)
		})
		return w.unplaced + n
	}
	return at(from), at(to)
}

// lists says whether the window has a record of that time and id.
func (w *window) lists(time int64, id []byte) bool {
	first, end := w.within(time, time+1)
	has := func(i uint32) bool { return bytes.Equal(w.stage.id(&w.stage.recs[i]), id) }
	return slices.ContainsFunc(w.order[first:end], has)
}
