package transform

import (
	"hash/maphash"
	"time"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// The fields of a record of the detailed answer, in the order the API documents them. A field's number is its bit in
// record.have and record.absent.
const (
	fID = iota
	fTime
	fUser
	fCustomUser
	fToken
	fModel
	fModelType
	fInput
	fOutput
	fInputPrice
	fOutputPrice
	fCached
	fCachedPrice
	fTotalAmount
	fDiscount
	fAmount
	fChannel
	fExt
	numFields

	// Bits of record.have that no single field stands for.
	fTotalTokens = numFields
	fExtra       = numFields + 1
)

// expected are the fields whose absence is drift. ext is left out: the API omits it where there is nothing to say.
const expected = uint32(1<<numFields-1) &^ (1 << fExt)

type fieldKind uint8

const (
	kindText fieldKind = iota
	kindCount
	kindMoney
	kindTime
	kindExt
)

// field says what a field holds and in which slot of the record's array of that kind.
type field struct {
	name string // the API's
	kind fieldKind
	slot uint8
}

// Slots of record.texts.
const (
	tID = iota
	tUser
	tCustomUser
	tToken
	tModel
	tModelType
	tExtra
	numTexts
)

// Slots of record.counts.
const (
	cInput = iota
	cOutput
	cCached
	cChannel
	cTotal
	numCounts
)

// Slots of record.money.
const (
	mInputPrice = iota
	mOutputPrice
	mCachedPrice
	mTotal
	mDiscount
	mAmount
	numMoney
)

var fields = [numFields]field{
	fID:          {"id", kindText, tID},
	fTime:        {"request_time", kindTime, 0},
	fUser:        {"user_id", kindText, tUser},
	fCustomUser:  {"custom_user_id", kindText, tCustomUser},
	fToken:       {"token_id", kindText, tToken},
	fModel:       {"model", kindText, tModel},
	fModelType:   {"model_type", kindText, tModelType},
	fInput:       {"input_token", kindCount, cInput},
	fOutput:      {"output_token", kindCount, cOutput},
	fInputPrice:  {"input_price", kindMoney, mInputPrice},
	fOutputPrice: {"output_price", kindMoney, mOutputPrice},
	fCached:      {"cached_token", kindCount, cCached},
	fCachedPrice: {"cached_price", kindMoney, mCachedPrice},
	fTotalAmount: {"total_amount", kindMoney, mTotal},
	fDiscount:    {"discount_amount", kindMoney, mDiscount},
	fAmount:      {"amount", kindMoney, mAmount},
	fChannel:     {"channel_id", kindCount, cChannel},
	fExt:         {"ext", kindExt, 0},
}

// isAmount tells the charges from the prices.
func isAmount(f int) bool { return f >= fTotalAmount && f <= fAmount }

// text is a stretch of the buffer of the record's page: a value as it stands in the body, or one written behind it.
type text struct{ off, n uint32 }

// The kinds of a staged record.
const (
	kindRequest uint8 = iota
	kindSummary
	kindPage // not a record: an answer that could not be read as one
)

// record is a decoded record as it is staged. It has a fixed size and owns no memory: a window's records are one
// slice.
type record struct {
	time   int64  // µs since 1970; 0 if there is none that can be used
	have   uint32 // bit per field: the column isn't NULL
	absent uint32 // bit per field: it did not come (null came)
	page   uint32 // index in stage.pages
	bad    uint32 // 1 + index in stage.bad; 0 for a row
	items  uint32 // first in stage.items
	nItems uint32
	names  uint32 // first in stage.unknown: fields that no column holds
	nNames uint32
	// ordinal is how many rows of the same time and id stand before it.
	ordinal uint32
	idHash  uint32 // a hash of the id
	model   uint32 // index in stage.models
	kind    uint8
	badExt  bool // ext could not be read
	shared  bool // another row of the window has its id
	alike   bool // another row of its time and id has the same columns, extra aside
	// rounded: digits past the twelfth decimal of an amount were lost (prices and ext aside).
	rounded bool
	raw     text // the JSON as it came
	texts   [numTexts]text
	counts  [numCounts]int64
	money   [numMoney]schemas.Decimal
}

func (r *record) has(f int) bool { return r.have&(1<<f) != 0 }

// item is a charge below ext. Its texts lie in the record's page.
type item struct {
	category, name, unit text
	have                 uint8 // bits iUnit…
	money                [3]schemas.Decimal
}

// Bits of item.have; iPrice, iUsage and iAmount less one are the slots of item.money.
const (
	iUnit = iota
	iPrice
	iUsage
	iAmount
	numMembers
)

var members = [numMembers]string{"unit", "price", "usage", "amount"}

// fault is why a staged record is no row.
type fault struct {
	reason string
	field  string
	// unplaced: the record's time, if it has one, does not say which segment it belongs to. It goes with the first
	// segment of its window.
	unplaced bool
}

// page is a staged answer: its body, padding zeros that stop every scan, then whatever had to be written anew
// (unescaped strings, canonical JSON).
type page struct {
	buf       []byte
	body      int    // length of the body
	lent      bool   // buf is of what the archive has read (schemas.Sealed.Whole): nothing may be written behind it
	own       []byte // memory for buf where it isn't, of the pages that were here before
	requestID string
	fetchedAt time.Time
}

// hold makes p the page of this body, which stays as it is until then or may change.
func (p *page) hold(body []byte, stays bool) {
	if !p.lent {
		p.own = p.buf
	}
	p.lent = stays
	if stays {
		p.buf = scan.Padded(body)
	} else {
		p.buf = scan.Pad(p.copied(body))
	}
}

// writable is buf, to be written behind: a body that lies among others is copied now.
func (p *page) writable() []byte {
	if p.lent {
		p.lent, p.buf = false, p.copied(p.buf)
	}
	return p.buf
}

// copied is b in the page's own memory, with room for more.
func (p *page) copied(b []byte) []byte {
	if need := len(b) + scan.Padding; cap(p.own) < need {
		p.own = make([]byte, 0, need+need/16)
	}
	return append(p.own[:0], b...)
}

// add writes b behind the body and says where.
func (p *page) add(b []byte) text {
	off := len(p.buf)
	p.buf = append(p.writable(), b...)
	return text{uint32(off), uint32(len(b))}
}

func (p *page) addString(s string) text {
	off := len(p.buf)
	p.buf = append(p.writable(), s...)
	return text{uint32(off), uint32(len(s))}
}

// stage holds the decoded records of one window, in the order they came.
type stage struct {
	whole []byte // the bodies of pages that are lent, and memory for those of the next window
	// Those beyond its length are of earlier windows, kept for their buffers.
	pages []page
	recs  []record
	items []item
	bad   []fault
	// Those of one record stand together: see record.names.
	unknown []uint32 // indexes in names
	names   []string // distinct names of fields that no column holds
	nameNo  map[string]uint32
	models  []string // distinct models, as issues name them
	modelNo map[string]uint32
	recent  [64]uint32 // some of models by modelSlot: 1 + index
	// summaries counts the records of the summary answer that have the same content.
	summaries map[[32]byte]int
	summary   bool // a summary answer came

	plainOnly bool // leave the fast decoder out: the oracle of the tests
	fast      fastDecoder
	// Of leftovers, for the length of one call.
	scratch []byte
}

// reset empties s and keeps its memory.
func (s *stage) reset() {
	for i := range s.pages {
		s.pages[i].buf = s.pages[i].buf[:0]
	}
	s.pages, s.recs, s.items = s.pages[:0], s.recs[:0], s.items[:0]
	s.bad, s.unknown, s.names = s.bad[:0], s.unknown[:0], s.names[:0]
	clear(s.nameNo)
	s.models, s.recent = s.models[:0], [len(s.recent)]uint32{}
	clear(s.modelNo)
	clear(s.summaries)
	s.summary = false
}

// bytes are the text t of r. They are valid until the stage is reset.
func (s *stage) bytes(r *record, t text) []byte {
	return s.pages[r.page].buf[t.off : t.off+t.n : t.off+t.n]
}

// id is the text of r's id; empty if it has none.
func (s *stage) id(r *record) []byte { return s.bytes(r, r.texts[tID]) }

// reject makes r a reject.
func (s *stage) reject(r *record, reason, field string, unplaced bool) {
	s.bad = append(s.bad, fault{reason, field, unplaced})
	r.bad = uint32(len(s.bad))
}

// fault is why r is no row; nil if it is one.
func (s *stage) fault(r *record) *fault {
	if r.bad == 0 {
		return nil
	}
	return &s.bad[r.bad-1]
}

func (s *stage) unplaced(r *record) bool { return r.bad != 0 && s.bad[r.bad-1].unplaced }

// know notes what is asked of a record again and again, while its page is in the processor's caches: once all of a
// window is read it no longer is.
func (s *stage) know(r *record) {
	r.idHash = uint32(maphash.Bytes(idSeed, s.id(r)))
	name := clip(s.bytes(r, r.texts[tModel]), maxName)
	slot := &s.recent[modelSlot(name)%len(s.recent)]
	if *slot != 0 && s.models[*slot-1] == string(name) {
		r.model = *slot - 1
		return
	}
	no, ok := s.modelNo[string(name)]
	if !ok {
		if s.modelNo == nil {
			s.modelNo = map[string]uint32{}
		}
		no = uint32(len(s.models))
		s.models = append(s.models, string(name))
		s.modelNo[s.models[no]] = no
	}
	r.model, *slot = no, no+1
}

// modelSlot tells most models of a day apart: by their lengths and ends.
func modelSlot(name []byte) int {
	n := len(name)
	if n < 2 {
		return n
	}
	return n + 5*int(name[n-1]) + 11*int(name[n-2]) + 17*int(name[n/2])
}

// idSeed is of record.idHash. Another in each process, it decides where an id is looked for, and nothing of what comes
// out.
var idSeed = maphash.MakeSeed()

// maxName bounds the names of fields and models in issues; the API may send anything.
const maxName = 200

// addName notes that r has a field that no column holds. Names of one record are added one after the other.
func (s *stage) addName(r *record, name []byte) {
	name = clip(name, maxName)
	no, ok := s.nameNo[string(name)]
	if !ok {
		if s.nameNo == nil {
			s.nameNo = map[string]uint32{}
		}
		no = uint32(len(s.names))
		s.names = append(s.names, string(name))
		s.nameNo[s.names[no]] = no
	}
	if r.nNames == 0 {
		r.names = uint32(len(s.unknown))
	}
	s.unknown = append(s.unknown, no)
	r.nNames++
}

// clip cuts b to at most n bytes, at the start of a rune.
func clip(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for n > 0 && b[n]&0xC0 == 0x80 {
		n--
	}
	return b[:n]
}

// setTotal derives the total of the tokens that were sent.
func (r *record) setTotal() {
	const tokens = 1<<fInput | 1<<fOutput | 1<<fCached
	if r.have&tokens == 0 {
		return
	}
	// A count that wasn't sent is 0 in its slot.
	r.counts[cTotal] = r.counts[cInput] + r.counts[cCached] + r.counts[cOutput]
	r.have |= 1 << fTotalTokens
}

// totalFits reports whether the sum of the tokens is a whole number of 64 bits.
func (r *record) totalFits() bool {
	a, b, c := r.counts[cInput], r.counts[cCached], r.counts[cOutput]
	// Three that are each below 2⁶⁰ sum to less than 2⁶², and nearly all are. Others are summed in 128 bits.
	const small = 1 << 60
	if -small < a && a < small && -small < b && b < small && -small < c && c < small {
		return true
	}
	return add3Fits(a, b, c)
}
