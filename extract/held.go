package extract

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Held is what is held already of a window that is fetched anew.
type Held struct {
	// Replace: it is to be replaced, whatever comes, so that more has to be lacking to be doubted.
	Replace bool
	// Before is an earlier look that found much of it lacking; nil if there was none, or it was taken too short a time
	// ago.
	Before *Doubt
	// Forgotten, if it isn't nil, reports whether the Portal lists nothing before a time, from which on it lists what is
	// held.
	Forgotten func(context.Context, time.Time) (bool, error)

	// Of what was added. records, ids and n count entries: they change together, in count. A Held is one task's, so
	// nothing guards it.
	spans   [][2]int64 // [from, to), Unix seconds
	entries []entry
	records map[recordKey]int
	ids     map[uint64]int
	n       int64
}

// heldOf is what is held of a window already; nil if nothing is.
func (f *Fetcher) heldOf(ctx context.Context, w schemas.Window) (*Held, error) {
	if f.opts.Held == nil {
		return nil, nil
	}
	h, err := f.opts.Held(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("what is held of window %s: %w", w, err)
	}
	return h, nil
}

// Add adds the records of a page's body that show a time of [from, to).
func (h *Held) Add(body []byte, from, to time.Time) error {
	l, err := readListing(body)
	if err != nil {
		return err
	}
	if h.records == nil {
		h.records, h.ids = map[recordKey]int{}, map[uint64]int{}
	}
	if span := [2]int64{from.Unix(), to.Unix()}; !slices.Contains(h.spans, span) {
		h.spans = append(h.spans, span)
	}
	for _, e := range l.entries {
		if e.at < from.Unix() || e.at >= to.Unix() {
			continue
		}
		if h.records[e.key] > 0 && e.key.hasID() && !l.summary {
			continue
		}
		h.entries = append(h.entries, e)
		h.count(e, 1)
	}
	return nil
}

// count keeps what counts the entries in step with them.
func (h *Held) count(e entry, by int) {
	h.records[e.key] += by
	h.ids[e.key.id] += by
	h.n += int64(by)
}

// begins is the time of the first record of w that came with p, if some are held of a time before it.
func (h *Held) begins(w schemas.Window, p *pass) (first int64, later bool) {
	if h == nil || h.Forgotten == nil {
		return 0, false
	}
	first = w.End.Unix()
	for _, e := range p.entries {
		if e.at >= w.Start.Unix() {
			first = min(first, e.at)
		}
	}
	return first, first < w.End.Unix() && slices.ContainsFunc(h.entries, func(e entry) bool { return e.at < first })
}

// cut leaves what shows a time before first to the windows that hold it.
func (h *Held) cut(first int64) {
	h.entries = slices.DeleteFunc(h.entries, func(e entry) bool {
		if e.at >= first {
			return false
		}
		h.count(e, -1)
		return true
	})
}

// size is how many records are held.
func (h *Held) size() int64 {
	if h == nil {
		return 0
	}
	return h.n
}

// lacks says that e is of a time that is held, and isn't held itself.
func (h *Held) lacks(e entry) bool {
	within := func(s [2]int64) bool { return s[0] <= e.at && e.at < s[1] }
	return h != nil && h.records[e.key] == 0 && slices.ContainsFunc(h.spans, within)
}

// gone counts what is held and did not come with p: a record that was corrected has its id on another.
func (h *Held) gone(p *pass) (n int64) {
	if h == nil || h.n == 0 {
		return 0
	}
	came := map[uint64]int{}
	for _, e := range p.entries {
		came[e.key.id]++
	}
	for id, count := range h.ids {
		n += int64(max(0, count-came[id]))
	}
	return n
}

// shrinks says that p lacks something that is held, so that its proof is looked at once more.
func (h *Held) shrinks(p *pass) bool { return h.gone(p) > 0 }

// Doubt is a proven listing of a window that lacks much of what is held of it. It is not believed until a second look,
// at another time, finds the same.
type Doubt struct {
	Window schemas.Window
	Held   int64  // records that are held
	Gone   int64  // of these, those that did not come
	Came   int64  // records that came, within the window
	Digest string // of what came
}

// few is how many records may go without a second look, and what share of a window, one in so many; replaced is the
// share that may go of one that is to be replaced.
const few, share, replaced = 5, 4, 2

// doubt says what is doubted of p; nil if nothing is.
func (h *Held) doubt(w schemas.Window, p *pass) *Doubt {
	gone := h.gone(p)
	if gone == 0 {
		return nil
	}
	most := max(few, h.n/share)
	if h.Replace {
		most = max(few, h.n/replaced)
	}
	if gone <= most && gone < h.n {
		return nil
	}
	d := &Doubt{Window: w, Held: h.n, Gone: gone}
	var ids, contents uint64
	for _, e := range p.entries {
		if e.at >= w.Start.Unix() && e.at < w.End.Unix() {
			d.Came++
			ids, contents = ids+e.key.id, contents+e.key.content*(e.key.id|1)
		}
	}
	// Sums, so that the order in which records came has no part; each content is tied to its id, so that two records which
	// have changed contents are another listing.
	d.Digest = fmt.Sprintf("%016x%016x", ids, contents)
	if h.Before != nil && h.Before.Digest == d.Digest && h.Before.Came == d.Came {
		return nil
	}
	return d
}
