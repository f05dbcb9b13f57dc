package transform

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"iter"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
)

// Options tune a Day. The zero value works.
type Options struct {
	Allocator memory.Allocator // of the Arrow buffers; nil is memory.DefaultAllocator
	BatchRows int              // most rows of a batch; 0 is 2,048
}

// Batch is a stretch of a day's rows with the rejects that fall among them.
type Batch struct {
	Usage arrow.RecordBatch // schemas.UsageSchema; nil if there are no rows
	// Rejects are ordered by time and id, those without a usable time first. They may be kept.
	Rejects []schemas.Reject
}

// Day derives one partition from its sealed windows. It is used by one goroutine.
type Day struct {
	partition schemas.Partition
	windows   []schemas.Sealed // in order of Seq
	segments  []schemas.Segment
	opts      Options

	// records are how many each window holds within its own [start, end), of those that own something: what no time
	// places included. -1 until it was read.
	records []int64

	// From windowPool, and given back when Batches ends, however it ends; nil outside of it. Which Day has them has them
	// alone.
	cache [2]*window // while Batches goes on
	// The time that window.used counts in: it goes up with each look.
	tick   int
	report report
}

// NewDay prepares the day p from its sealed usage windows, in any order. Whatever part of them lies outside of the
// day is left aside. Nothing is read yet.
func NewDay(p schemas.Partition, windows []schemas.Sealed, opts Options) *Day {
	if opts.Allocator == nil {
		opts.Allocator = memory.DefaultAllocator
	}
	if opts.BatchRows <= 0 {
		opts.BatchRows = 2_048
	}
	d := &Day{partition: p, windows: slices.Clone(windows), opts: opts}
	slices.SortFunc(d.windows, func(a, b schemas.Sealed) int { return cmp.Compare(a.Seq, b.Seq) })
	covers := make([]schemas.Window, len(d.windows))
	seqs := make([]int, len(d.windows))
	for i, w := range d.windows {
		covers[i], seqs[i] = w.Seal.Window(), w.Seq
	}
	day := p.Window()
	for _, s := range schemas.Own(covers, seqs) {
		if s.Start.Before(day.Start) {
			s.Start = day.Start
		}
		if s.End.After(day.End) {
			s.End = day.End
		}
		if s.Start.Before(s.End) {
			d.segments = append(d.segments, s)
		}
	}
	d.reset()
	return d
}

func (d *Day) reset() {
	d.report.reset()
	d.records = slices.Repeat([]int64{-1}, len(d.windows))
}

// windowPool holds the memory of windows, which is most of what decoding takes, for the next day.
var windowPool = sync.Pool{New: func() any { return new(window) }}

// Batches derives the day: its rows in order of time, id and ordinal, its rejects. A batch and its rows are valid until
// the next step, and are released by Batches; a consumer that keeps the rows retains them. The iteration ends with the
// first error. It can be repeated, and gives the same.
func (d *Day) Batches(ctx context.Context) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		if d.cache[0] != nil {
			panic("transform: a Day is iterated over twice at the same time")
		}
		for i := range d.cache {
			d.cache[i] = windowPool.Get().(*window)
			d.cache[i].no, d.cache[i].used = -1, 0
		}
		defer func() {
			for i, w := range d.cache {
				windowPool.Put(w)
				d.cache[i] = nil
			}
		}()
		d.reset()
		buffers := &reuse{from: d.opts.Allocator}
		defer buffers.close()
		rows := rowWriter{
			mem: buffers, schema: schemas.UsageSchema(),
			account: d.partition.Account, date: d.partition.Date,
		}
		seen := make([]bool, len(d.windows))
		unplaced := map[[sha256.Size]byte]int64{}
		for _, seg := range d.segments {
			w, err := d.window(ctx, seg.Index)
			if err != nil {
				yield(Batch{}, err)
				return
			}
			// first and end stay right below: unlisted may read another window, but makes room for it in the other place.
			first, end := w.within(seg.Start.UnixMicro(), seg.End.UnixMicro())
			// What is told once of a window, with its first stretch: its rejects that no time places, and what it brought that
			// the day doesn't keep.
			if !seen[seg.Index] {
				seen[seg.Index] = true
				d.report.window(d, seg.Index, w)
				all := d.once(seg.Index, w, unplaced)
				of := d.windows[seg.Index].Seal
				from, to := w.within(of.Start.UnixMicro(), of.End.UnixMicro())
				d.records[seg.Index] = int64(len(all) + to - from)
				if len(all) > 0 && !d.emit(ctx, &rows, seg.Index, w, all, yield) {
					return
				}
				if err := d.unlisted(ctx, seg.Index, w); err != nil {
					yield(Batch{}, err)
					return
				}
			}
			if !d.emit(ctx, &rows, seg.Index, w, w.order[first:end], yield) {
				return
			}
		}
		d.report.finish()
	}
}

// once lists the records of w that no time places, but for those that a window before it brought, too: where two
// windows meet, both are asked for the same seconds. Which instant such a record is of can't be told, so only its id
// together with its content tells that it is the same one. Without an id nothing does: each is kept, and the report
// counts those that may have come twice. seen holds up to when (Unix seconds) the windows before w were asked that
// brought such a content. Each of them owns an instant before w's first, so one that ends before w begins has no second
// in common with it.
func (d *Day) once(no int, w *window, seen map[[sha256.Size]byte]int64) []uint32 {
	all := w.order[:w.unplaced]
	if len(d.segments) == 1 {
		return all
	}
	s := &w.stage
	from, to := asked(d.windows[no].Seal)
	var brought [][sha256.Size]byte
	out := make([]uint32, 0, len(all))
	for _, i := range all {
		r := &s.recs[i]
		if r.kind == kindRequest {
			sum := sha256.Sum256(canonical(s.bytes(r, r.raw)))
			brought = append(brought, sum)
			until, came := seen[sum]
			switch {
			case came && len(s.id(r)) > 0:
				d.report.count.Ignored++
				continue
			case came && until >= from:
				d.report.count.MaybeTwice++
			}
		}
		out = append(out, i)
	}
	for _, sum := range brought {
		// Only now, so that two of one content in the same window don't take each other for one that came before.
		if until, came := seen[sum]; !came || until < to {
			seen[sum] = to
		}
	}
	return out
}

// unlisted reports the records that w lists from outside of what it was asked for, and that the window which owns their
// instant doesn't list: they are in no table. That other window is held still, if it is the one before w.
func (d *Day) unlisted(ctx context.Context, no int, w *window) error {
	s := &w.stage
	from, to := asked(d.windows[no].Seal)
	first, end := w.within(from*1_000_000, (to+1)*1_000_000)
	at := 0
	for _, i := range slices.Concat(w.order[w.unplaced:first], w.order[end:]) {
		r := &s.recs[i]
		for at < len(d.segments) && r.time >= d.segments[at].End.UnixMicro() {
			at++
		}
		if at == len(d.segments) || r.time < d.segments[at].Start.UnixMicro() || d.segments[at].Index == no ||
			len(s.id(r)) == 0 {
			continue
		}
		d.tick++
		w.used = d.tick // of the two that are held, the other makes room
		owner, err := d.window(ctx, d.segments[at].Index)
		if err != nil {
			return err
		}
		if !owner.lists(r.time, s.id(r)) {
			d.report.unlisted(s.id(r), r.time)
		}
	}
	return nil
}

// window is the decoded window, read now if it isn't held. Two are held, so that a window with many owned stretches
// between those of others is read once.
func (d *Day) window(ctx context.Context, no int) (*window, error) {
	d.tick++
	oldest := d.cache[0]
	for _, w := range d.cache {
		if w.no == no {
			w.used = d.tick
			return w, nil
		}
		if w.used < oldest.used {
			oldest = w
		}
	}
	// Where reading it fails, the error ends Batches; the window is none until then (load).
	oldest.used = d.tick
	return oldest, oldest.load(ctx, no, d.windows[no])
}

// Bounds of a batch besides its rows: the bytes of JSON behind its rows and its rejects.
const (
	maxBatchBytes  = 64 << 20
	maxRejectBytes = 16 << 20
)

// emit yields the records of part of a window's order. It reports whether to go on.
func (d *Day) emit(
	ctx context.Context, rows *rowWriter, no int, w *window, order []uint32, yield func(Batch, error) bool,
) bool {
	seal := d.windows[no].Seal
	s := &w.stage
	d.report.begin(s)
	var recs []uint32
	for len(order) > 0 {
		if err := ctx.Err(); err != nil {
			yield(Batch{}, err)
			return false
		}
		recs = recs[:0]
		var batch Batch
		size, rejected := 0, 0
		n := 0
		// The bounds are looked at before a record is taken. So there is at least one, however large it is, and the bytes go
		// beyond their bound by one record at the most: the offsets of a column of text stay within the 31 bits that Arrow
		// has.
		for n < len(order) && len(recs) < d.opts.BatchRows && size < maxBatchBytes && rejected < maxRejectBytes {
			i := order[n]
			r := &s.recs[i]
			n++
			if f := s.fault(r); f != nil {
				// A copy goes out: the page's memory is used again by the next window.
				raw := s.bytes(r, r.raw)
				rejected += len(raw)
				p := &s.pages[r.page]
				batch.Rejects = append(batch.Rejects, schemas.Reject{
					Window: seal.Window(), Reason: f.reason, Field: f.field, Raw: bytes.Clone(raw),
					RequestID: p.requestID, FetchedAt: seal.FetchedAt, RunID: seal.RunID,
				})
				d.report.reject(s, r, f)
				continue
			}
			recs = append(recs, i)
			size += int(r.raw.n)
		}
		order = order[n:]
		if len(recs) > 0 {
			d.report.rows(s, recs, seal)
			batch.Usage = rows.batch(s, recs, seal)
		}
		// The consumer has had its turn: what it retained lives on, the rest goes.
		more := yield(batch, nil)
		if batch.Usage != nil {
			batch.Usage.Release()
		}
		if !more {
			return false
		}
	}
	return true
}

// Footer is what a day file says about itself, but for the digest. It is whole after a full iteration of Batches;
// before that it lists the windows alone.
func (d *Day) Footer() schemas.DayFooter {
	f := schemas.DayFooter{
		Schema: schemas.SchemaVersion, Transform: Version,
		Windows: make([]schemas.DayWindow, len(d.windows)), DayStats: d.report.stats(), Issues: d.report.issues(),
	}
	for i, w := range d.windows {
		s := w.Seal
		f.Windows[i] = schemas.DayWindow{
			Seq: w.Seq, Start: s.Start, End: s.End, Announced: s.Announced, Records: s.Records, Listed: s.Records,
			AskedStart: s.AskedStart, AskedEnd: s.AskedEnd, PageSize: s.PageSize, PageRecords: s.PageRecords, Lacking: s.Lacking,
			Pages: s.Pages, Requests: s.Requests, Proof: s.Proof, FetchedAt: s.FetchedAt, RunID: s.RunID,
			Owns: slices.ContainsFunc(d.segments, func(g schemas.Segment) bool { return g.Index == i }),
		}
		if d.records[i] >= 0 {
			f.Windows[i].Records = d.records[i]
		}
	}
	return f
}
