package transform

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
)

// rowWriter gathers staged records into Arrow columns: buffers written directly, a column at a time.
type rowWriter struct {
	mem     memory.Allocator
	schema  *arrow.Schema
	account string
	date    schemas.Date
	items   []itemAt // memory of gather.items
}

// batch makes one record batch of the records recs of s, in that order.
func (w *rowWriter) batch(s *stage, recs []uint32, seal schemas.Seal) arrow.RecordBatch {
	g := gather{mem: w.mem, s: s, recs: recs, items: w.items[:0]}
	g.copy()
	w.items = g.items
	cols := make([]arrow.Array, len(w.schema.Fields()))
	typ := func(c int) arrow.DataType { return w.schema.Field(c).Type }
	text := func(c, f, slot int) { cols[c] = g.column(typ(c), f, g.ends[slot], g.texts[slot]) }
	count := func(c, f, slot int) { cols[c] = g.column(typ(c), f, g.counts[slot]) }
	money := func(c, f, slot int) { cols[c] = g.column(typ(c), f, g.money[slot]) }

	cols[schemas.ColAccount] = g.constant(typ(schemas.ColAccount), w.account)
	cols[schemas.ColUsageDate] = g.date(typ(schemas.ColUsageDate), w.date)
	cols[schemas.ColRequestTime] = g.column(typ(schemas.ColRequestTime), fTime, g.times)
	text(schemas.ColID, fID, tID)
	cols[schemas.ColOrdinal] = g.column(typ(schemas.ColOrdinal), -1, g.ordinals)
	cols[schemas.ColRecordKind] = g.kinds(typ(schemas.ColRecordKind))
	text(schemas.ColTokenID, fToken, tToken)
	text(schemas.ColUserID, fUser, tUser)
	text(schemas.ColCustomUserID, fCustomUser, tCustomUser)
	text(schemas.ColModel, fModel, tModel)
	text(schemas.ColModelType, fModelType, tModelType)
	count(schemas.ColChannelID, fChannel, cChannel)
	count(schemas.ColInputTokens, fInput, cInput)
	count(schemas.ColOutputTokens, fOutput, cOutput)
	count(schemas.ColCachedTokens, fCached, cCached)
	count(schemas.ColTotalTokens, fTotalTokens, cTotal)
	money(schemas.ColInputPrice, fInputPrice, mInputPrice)
	money(schemas.ColOutputPrice, fOutputPrice, mOutputPrice)
	money(schemas.ColCachedPrice, fCachedPrice, mCachedPrice)
	money(schemas.ColTotalAmount, fTotalAmount, mTotal)
	money(schemas.ColDiscountAmount, fDiscount, mDiscount)
	money(schemas.ColAmount, fAmount, mAmount)
	if seal.Currency == "" {
		cols[schemas.ColCurrency] = g.nulls(typ(schemas.ColCurrency))
	} else {
		cols[schemas.ColCurrency] = g.constant(typ(schemas.ColCurrency), seal.Currency)
	}
	cols[schemas.ColExtItems] = g.extItems(typ(schemas.ColExtItems))
	text(schemas.ColExtra, fExtra, tExtra)
	cols[schemas.ColFetchedAt] = g.time(typ(schemas.ColFetchedAt), seal.FetchedAt)
	cols[schemas.ColRunID] = g.constant(typ(schemas.ColRunID), seal.RunID)

	batch := array.NewRecordBatch(w.schema, cols, int64(len(recs)))
	for _, c := range cols {
		c.Release()
	}
	return batch
}

// gather is one batch in the making.
type gather struct {
	mem  memory.Allocator
	s    *stage
	recs []uint32
	// With these a column that is NULL nowhere, or everywhere, is known without a look at each record.
	all, any uint32 // have bits that all records share, that any has

	// What copy has gathered, until column takes it.
	times, ordinals *memory.Buffer
	counts          [numCounts]*memory.Buffer
	money           [numMoney]*memory.Buffer
	ends, texts     [numTexts]*memory.Buffer // ends is one longer: it begins with 0

	// items are those of all records, in order: index in stage.items, and in stage.pages.
	items []itemAt
}

type itemAt struct{ item, page uint32 }

// copy gathers the columns of numbers and of texts, a record at a time: each record and its page come into the
// processor's caches once, and not once a column.
func (g *gather) copy() {
	n := len(g.recs)
	column := func(b **memory.Buffer) []int64 {
		*b = g.buffer(8 * n)
		return arrow.Int64Traits.CastFromBytes((*b).Bytes())
	}
	times, ordinals := column(&g.times), column(&g.ordinals)
	var counts [numCounts][]int64
	for k := range counts {
		counts[k] = column(&g.counts[k])
	}
	var money [numMoney][]int64
	for k := range money {
		money[k] = column(&g.money[k])
	}
	var ends [numTexts][]int32
	for k := range ends {
		g.ends[k] = g.buffer(4 * (n + 1))
		ends[k] = arrow.Int32Traits.CastFromBytes(g.ends[k].Bytes())
		ends[k][0] = 0
	}
	g.all, g.any = ^uint32(0), 0
	for at, i := range g.recs {
		r := &g.s.recs[i]
		g.all &= r.have
		g.any |= r.have
		times[at], ordinals[at] = r.time, 1+int64(r.ordinal)
		for k, v := range &r.counts {
			counts[k][at] = v
		}
		for k, v := range &r.money {
			money[k][at] = int64(v)
		}
		for k := range r.nItems {
			g.items = append(g.items, itemAt{r.items + k, r.page})
		}
		for k := range &r.texts { // one that is NULL has no bytes
			ends[k][at+1] = ends[k][at] + int32(r.texts[k].n)
		}
	}
	var texts [numTexts][]byte
	for k := range texts {
		g.texts[k] = g.buffer(int(ends[k][n]))
		texts[k] = g.texts[k].Bytes()
	}
	for at, i := range g.recs {
		r := &g.s.recs[i]
		page := g.s.pages[r.page].buf
		for k := range &r.texts {
			copyText(texts[k], int(ends[k][at]), page, r.texts[k])
		}
	}
}

// column is the column of field f, of what copy has gathered for it. f < 0 stands for what every record has.
func (g *gather) column(typ arrow.DataType, f int, gathered ...*memory.Buffer) arrow.Array {
	valid, nulls := g.valid(f)
	return finish(typ, len(g.recs), nulls, valid, gathered...)
}

func (g *gather) buffer(size int) *memory.Buffer {
	// Its bytes are what the allocator left there: whoever doesn't write all of them clears them.
	b := memory.NewResizableBuffer(g.mem)
	b.Resize(size)
	return b
}

// finish makes an array of the buffers and lets go of them. valid is nil if nothing is NULL.
func finish(typ arrow.DataType, n, nulls int, valid *memory.Buffer, rest ...*memory.Buffer) arrow.Array {
	buffers := append([]*memory.Buffer{valid}, rest...)
	// NewData holds the buffers, and the array will hold data. So both are let go of here, and the array alone keeps them:
	// when it is released all of it is.
	data := array.NewData(typ, n, buffers, nil, nulls, 0)
	for _, b := range buffers {
		if b != nil {
			b.Release()
		}
	}
	defer data.Release()
	return array.MakeFromData(data)
}

// valid is the validity bitmap of field f: nil if no record lacks it. f < 0 stands for what every record has.
func (g *gather) valid(f int) (bitmap *memory.Buffer, nulls int) {
	if f < 0 || g.all&(1<<f) != 0 {
		return nil, 0
	}
	n := len(g.recs)
	buf := g.buffer((n + 7) / 8)
	b := buf.Bytes()
	clear(b)
	if g.any&(1<<f) == 0 {
		return buf, n
	}
	set := 0
	for at, i := range g.recs {
		bit := g.s.recs[i].have >> f & 1
		// Arrow's order: row 0 is the lowest bit of the first byte, row 8 that of the second.
		b[at>>3] |= byte(bit) << (at & 7)
		set += int(bit)
	}
	return buf, n - set
}

// time is a column of one time.
func (g *gather) time(typ arrow.DataType, t time.Time) arrow.Array {
	buf := g.buffer(8 * len(g.recs))
	out := arrow.Int64Traits.CastFromBytes(buf.Bytes())
	micros := t.UnixMicro()
	for at := range out {
		out[at] = micros
	}
	return finish(typ, len(g.recs), 0, nil, buf)
}

func (g *gather) date(typ arrow.DataType, d schemas.Date) arrow.Array {
	buf := g.buffer(4 * len(g.recs))
	out := arrow.Int32Traits.CastFromBytes(buf.Bytes())
	for at := range out {
		out[at] = int32(d)
	}
	return finish(typ, len(g.recs), 0, nil, buf)
}

// wideCopy is how many bytes copyText copies at once.
const wideCopy = 32

// copyText copies the text t of src to dst[at:]. It may write beyond it: texts are copied in order, and the next one
// comes there. Nearly all are short, and so many bytes at once, eight by eight, cost less than a call that copies as
// many as there are.
func copyText(dst []byte, at int, src []byte, t text) {
	if t.n > wideCopy || at+wideCopy > len(dst) || int(t.off)+wideCopy > len(src) {
		copy(dst[at:], src[t.off:t.off+t.n])
		return
	}
	if t.n == 0 {
		return
	}
	from, to := (*[wideCopy]byte)(src[t.off:]), (*[wideCopy]byte)(dst[at:])
	a, b := binary.NativeEndian.Uint64(from[0:]), binary.NativeEndian.Uint64(from[8:])
	binary.NativeEndian.PutUint64(to[0:], a)
	binary.NativeEndian.PutUint64(to[8:], b)
	if t.n > 16 {
		a, b = binary.NativeEndian.Uint64(from[16:]), binary.NativeEndian.Uint64(from[24:])
		binary.NativeEndian.PutUint64(to[16:], a)
		binary.NativeEndian.PutUint64(to[24:], b)
	}
}

// constant is a column of one string.
func (g *gather) constant(typ arrow.DataType, v string) arrow.Array {
	n := len(g.recs)
	offsets := g.buffer(4 * (n + 1))
	ends := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	for at := range ends {
		ends[at] = int32(at * len(v))
	}
	data := g.buffer(n * len(v))
	// The first is written, then what is written is copied behind itself: twice as much each time.
	for at, out := 0, data.Bytes(); at < len(out); {
		if at == 0 {
			at = copy(out, v)
		} else {
			at += copy(out[at:], out[:at])
		}
	}
	return finish(typ, n, 0, nil, offsets, data)
}

// nulls is a column of strings with nothing in it.
func (g *gather) nulls(typ arrow.DataType) arrow.Array {
	n := len(g.recs)
	valid, offsets := g.buffer((n+7)/8), g.buffer(4*(n+1))
	clear(valid.Bytes())
	clear(offsets.Bytes())
	return finish(typ, n, n, valid, offsets, g.buffer(0))
}

// kinds is the column record_kind.
func (g *gather) kinds(typ arrow.DataType) arrow.Array {
	// A kind is 0 of a request and 1 of a summary; an answer that is neither is a reject, and not among the rows.
	summaries := 0
	for _, i := range g.recs {
		summaries += int(g.s.recs[i].kind)
	}
	switch summaries {
	case 0:
		return g.constant(typ, schemas.RecordRequest)
	case len(g.recs):
		return g.constant(typ, schemas.RecordSummary)
	}
	b := array.NewStringBuilder(g.mem)
	defer b.Release()
	for _, i := range g.recs {
		if g.s.recs[i].kind == kindSummary {
			b.Append(schemas.RecordSummary)
		} else {
			b.Append(schemas.RecordRequest)
		}
	}
	return b.NewArray()
}

// extItems is the column ext_items: a list of structs.
func (g *gather) extItems(typ arrow.DataType) arrow.Array {
	n := len(g.recs)
	valid, nulls := g.valid(fExt)
	offsets := g.buffer(4 * (n + 1))
	ends := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	total := int32(0)
	ends[0] = 0
	for at, i := range g.recs {
		total += int32(g.s.recs[i].nItems)
		ends[at+1] = total
	}
	list := typ.(*arrow.ListType)
	struc := list.Elem().(*arrow.StructType)
	children := []arrow.ArrayData{
		g.itemTexts(struc.Field(0).Type, int(total), -1, func(it *item) text { return it.category }),
		g.itemTexts(struc.Field(1).Type, int(total), -1, func(it *item) text { return it.name }),
		g.itemTexts(struc.Field(2).Type, int(total), iUnit, func(it *item) text { return it.unit }),
		g.itemMoney(struc.Field(3).Type, int(total), iPrice),
		g.itemMoney(struc.Field(4).Type, int(total), iUsage),
		g.itemMoney(struc.Field(5).Type, int(total), iAmount),
	}
	// As in finish: items holds the children, data holds items and the buffers, the array holds data.
	items := array.NewData(struc, int(total), []*memory.Buffer{nil}, children, 0, 0)
	data := array.NewData(typ, n, []*memory.Buffer{valid, offsets}, []arrow.ArrayData{items}, nulls, 0)
	defer data.Release()
	for _, c := range children {
		c.Release()
	}
	items.Release()
	offsets.Release()
	if valid != nil {
		valid.Release()
	}
	return array.MakeFromData(data)
}

// eachItem walks the items of the batch in order.
func (g *gather) eachItem(do func(at int, p *page, it *item)) {
	for at, i := range g.items {
		do(at, &g.s.pages[i.page], &g.s.items[i.item])
	}
}

// itemValid is the validity bitmap of a member of the items; member < 0 stands for what every item has.
func (g *gather) itemValid(total, member int) (*memory.Buffer, int) {
	if member < 0 {
		return nil, 0
	}
	buf := g.buffer((total + 7) / 8)
	b := buf.Bytes()
	clear(b)
	set := 0
	g.eachItem(func(at int, _ *page, it *item) {
		bit := it.have >> member & 1
		b[at>>3] |= bit << (at & 7)
		set += bits.OnesCount8(bit)
	})
	if set == total {
		buf.Release()
		return nil, 0
	}
	return buf, total - set
}

func (g *gather) itemMoney(typ arrow.DataType, total, member int) arrow.ArrayData {
	valid, nulls := g.itemValid(total, member)
	buf := g.buffer(8 * total)
	out := buf.Bytes()
	g.eachItem(func(at int, _ *page, it *item) {
		binary.NativeEndian.PutUint64(out[8*at:], uint64(it.money[member-1]))
	})
	return itemData(typ, total, nulls, valid, buf)
}

func (g *gather) itemTexts(typ arrow.DataType, total, member int, value func(*item) text) arrow.ArrayData {
	valid, nulls := g.itemValid(total, member)
	offsets := g.buffer(4 * (total + 1))
	ends := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	ends[0] = 0
	sum := int32(0)
	g.eachItem(func(at int, _ *page, it *item) {
		sum += int32(value(it).n)
		ends[at+1] = sum
	})
	data := g.buffer(int(sum))
	out := data.Bytes()
	g.eachItem(func(at int, p *page, it *item) {
		copyText(out, int(ends[at]), p.buf, value(it))
	})
	return itemData(typ, total, nulls, valid, offsets, data)
}

func itemData(typ arrow.DataType, n, nulls int, valid *memory.Buffer, rest ...*memory.Buffer) arrow.ArrayData {
	buffers := append([]*memory.Buffer{valid}, rest...)
	data := array.NewData(typ, n, buffers, nil, nulls, 0)
	for _, b := range buffers {
		if b != nil {
			b.Release()
		}
	}
	return data
}
