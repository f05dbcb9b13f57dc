package transform

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// The fast decoder reads pages as the API really writes them, in one pass over their bytes. Each of its functions
// either does exactly what the plain decoder would do, or returns -1 and leaves the record, or the page, to it. It
// makes no rejects.

// fastDecoder is what the decoder remembers between records.
type fastDecoder struct {
	// It is a guess, and never trusted: the name is compared at each place. One that was wrong costs a look at fieldOf. It
	// outlives the page and the window, and has no part in what is decoded.
	// follows[f] is the field that came after field f last time, follows[numFields] the one that came first: records
	// of one API mostly look alike.
	follows [numFields + 1]uint8
	// Emptied by each record, its memory kept.
	unknown []member // of the current record, in order of key
}

// member is a member of an object that no column holds: key and value as they stand in the body.
type member struct{ key, value text }

// fieldKey is a field's name as it mostly stands in a record, quotes and colon included, in words of eight bytes: the
// first, the last, and one between them that overlaps both as may be. mask takes off what of a word a shorter name
// hasn't.
type fieldKey struct {
	length              int
	first, middle, last uint64
	middleAt, lastAt    int
	mask                uint64
}

var keys = func() (k [numFields]fieldKey) {
	for i, f := range fields {
		name := `"` + f.name + `":`
		n := len(name)
		word := func(at int) uint64 { return binary.LittleEndian.Uint64([]byte(name + "       ")[at:]) }
		k[i] = fieldKey{length: n, lastAt: max(n-8, 0), middleAt: min(8, max(n-8, 0)), mask: 1<<(8*min(n, 8)) - 1}
		k[i].first, k[i].middle, k[i].last = word(0), word(k[i].middleAt), word(k[i].lastAt)
	}
	return k
}()

// at says whether the name stands at i.
func (k *fieldKey) at(b []byte, i int) bool {
	first := binary.LittleEndian.Uint64(b[i:]) ^ k.first
	middle := binary.LittleEndian.Uint64(b[i+k.middleAt:]) ^ k.middle
	last := binary.LittleEndian.Uint64(b[i+k.lastAt:]) ^ k.last
	return (first|middle|last)&k.mask == 0
}

// The longest of them must have no byte beside its three words, which the padding behind a body is longer than.
var _ = [1]struct{}{}[len(`"discount_amount":`)/25]

// maxUnknown bounds the unknown members of a record that the fast decoder sorts by insertion.
const maxUnknown = 16

// fastPage stages the records of the last page. It returns false, having staged nothing, for an answer that it leaves
// to the plain decoder.
func (s *stage) fastPage() bool {
	// How far all was, to go back to. What the page has written behind its body stays there, unused, and names that were
	// met stay known: neither is reached but through what is taken back.
	recs, items, bad, unknown, summary := len(s.recs), len(s.items), len(s.bad), len(s.unknown), s.summary
	p := &s.pages[len(s.pages)-1]
	// b keeps to these bytes while p.buf grows behind them. Where growing moves p.buf, b is the same bytes in the old
	// place; positions hold in both.
	b := p.buf[:p.body+scan.Padding]
	i := s.fastTop(b, scan.Space(b, 0))
	if i >= 0 && scan.Space(b, i) == p.body {
		return true
	}
	s.recs, s.items, s.bad, s.unknown = s.recs[:recs], s.items[:items], s.bad[:bad], s.unknown[:unknown]
	s.summary = summary
	return false
}

// fastTop reads the answer: an object with data.
func (s *stage) fastTop(b []byte, i int) int {
	found := false
	i = scan.Members(b, i, func(key []byte, i int) int {
		if string(key) != "data" {
			return scan.Value(b, i, maxDepth)
		}
		if found {
			return -1
		}
		found = true
		return s.fastData(b, i)
	})
	if !found {
		return -1
	}
	return i
}

// fastData reads data: an object with list. Summary answers are left to the plain decoder.
func (s *stage) fastData(b []byte, i int) int {
	found := false
	i = scan.Members(b, i, func(key []byte, i int) int {
		switch string(key) {
		case "records":
			return -1
		case "list":
			if found {
				return -1
			}
			found = true
			return s.fastList(b, i)
		}
		return scan.Value(b, i, maxDepth)
	})
	if !found {
		return -1
	}
	return i
}

// fastList reads the records of a list, null being an empty one.
func (s *stage) fastList(b []byte, i int) int {
	if b[i] == 'n' {
		return scan.Literal(b, i, "null")
	}
	if b[i] != '[' {
		return -1
	}
	i = scan.Space(b, i+1)
	if b[i] == ']' {
		return i + 1
	}
	no := uint32(len(s.pages) - 1)
	for {
		n, items, unknown := len(s.recs), len(s.items), len(s.unknown)
		if n == cap(s.recs) {
			s.recs = slices.Grow(s.recs, n+1024)
		}
		s.recs = s.recs[:n+1]
		// r points into the slice, which nothing grows until the record is done. plainRecord, which appends, comes after it
		// has been given up, and takes its place.
		r := &s.recs[n]
		*r = record{page: no}
		end := -1
		if b[i] == '{' {
			end = s.fastRecord(b, i+1, r)
		}
		if end >= 0 {
			r.raw = text{uint32(i), uint32(end - i)}
		} else {
			s.recs, s.items, s.unknown = s.recs[:n], s.items[:items], s.unknown[:unknown]
			if end = scan.Value(b, i, maxDepth); end < 0 {
				return -1
			}
			s.plainRecord(text{uint32(i), uint32(end - i)}, kindRequest)
		}
		// As nearly all do: no space between records.
		if b[end] == ',' && b[end+1] == '{' {
			i = end + 1
			continue
		}
		switch i = scan.Space(b, end); b[i] {
		case ',':
			i = scan.Space(b, i+1)
		case ']':
			return i + 1
		default:
			return -1
		}
	}
}

// fastRecord decodes the record whose first member, if it has one, stands at i.
func (s *stage) fastRecord(b []byte, i int, r *record) int {
	d := &s.fast
	d.unknown = d.unknown[:0]
	// came has a bit for each field that was met. have will be those that weren't null, absent those that never came: a
	// null is neither.
	came := uint32(0)
	last := numFields
	for {
		// Compared with its quotes and colon in one step. Near the end of the body it reads into the padding, which is zeros
		// and equals no name.
		f := int(d.follows[last])
		if k := &keys[f]; k.at(b, i) {
			i += k.length
		} else {
			i = scan.Space(b, i)
			if b[i] != '"' {
				return -1
			}
			end, plain := scan.String(b, i+1)
			if !plain {
				return -1
			}
			key := text{uint32(i + 1), uint32(end - i - 1)}
			f = fieldOf(b[i+1 : end])
			if i = scan.Space(b, end+1); b[i] != ':' {
				return -1
			}
			i++
			if f < 0 {
				if i = d.keepUnknown(b, key, scan.Space(b, i)); i < 0 {
					return -1
				}
				goto next
			}
			// Members that no column holds don't count: what follows one of them is guessed by the field before it.
			d.follows[last] = uint8(f)
		}
		// A field that comes twice: of equal keys the last counts, which is for the plain decoder to see to.
		if came&(1<<f) != 0 {
			return -1
		}
		came |= 1 << f
		last = f
		if b[i] <= ' ' {
			i = scan.Space(b, i)
		}
		if b[i] == 'n' && string(b[i:i+4]) == "null" {
			i += 4
			goto next
		}
		r.have |= 1 << f
		switch field := &fields[f]; field.kind {
		case kindText:
			i = s.fastText(b, i, &r.texts[field.slot])
		case kindCount:
			r.counts[field.slot], i = fastCount(b, i)
		case kindMoney:
			var rounded bool
			r.money[field.slot], rounded, i = fastMoney(b, i)
			if rounded && isAmount(f) {
				r.rounded = true
			}
		case kindTime:
			r.time, i = fastTime(b, i)
		default:
			i = s.fastExt(b, i, r)
		}
		if i < 0 {
			return -1
		}
	next:
		if b[i] == ',' {
			i++
			continue
		}
		switch i = scan.Space(b, i); b[i] {
		case ',':
			i++
		case '}':
			// What lacks one of these, or totals beyond 64 bits, is a reject: the plain decoder says of what kind.
			const needed = 1<<fID | 1<<fTime
			if r.have&needed != needed || r.texts[tID].n == 0 || !r.totalFits() {
				return -1
			}
			r.absent = (1<<numFields - 1) &^ came
			r.setTotal()
			if len(d.unknown) > 0 {
				s.fastExtra(r)
			}
			return i + 1
		default:
			return -1
		}
	}
}

// fieldOf is the field with the name; -1 if there is none.
func fieldOf(name []byte) int {
	switch string(name) {
	case "id":
		return fID
	case "request_time":
		return fTime
	case "user_id":
		return fUser
	case "custom_user_id":
		return fCustomUser
	case "token_id":
		return fToken
	case "model":
		return fModel
	case "model_type":
		return fModelType
	case "input_token":
		return fInput
	case "output_token":
		return fOutput
	case "input_price":
		return fInputPrice
	case "output_price":
		return fOutputPrice
	case "cached_token":
		return fCached
	case "cached_price":
		return fCachedPrice
	case "total_amount":
		return fTotalAmount
	case "discount_amount":
		return fDiscount
	case "amount":
		return fAmount
	case "channel_id":
		return fChannel
	case "ext":
		return fExt
	}
	return -1
}

// fastText reads a string, or the digits of a number.
func (s *stage) fastText(b []byte, i int, t *text) int {
	if b[i] != '"' {
		end := scan.Number(b, i)
		*t = text{uint32(i), uint32(end - i)}
		return end
	}
	end, plain := scan.String(b, i+1)
	switch {
	case end < 0:
		return -1
	case plain:
		*t = text{uint32(i + 1), uint32(end - i - 1)}
	default:
		p := &s.pages[len(s.pages)-1]
		off := len(p.buf)
		p.buf = scan.AppendUnquoted(p.writable(), b[i+1:end])
		*t = text{uint32(off), uint32(len(p.buf) - off)}
	}
	return end + 1
}

// closeQuote returns the end of a value whose number ends at end: a number may stand in quotes.
func closeQuote(b []byte, end int, quoted bool) int {
	if !quoted {
		return end
	}
	if b[end] != '"' {
		return -1
	}
	return end + 1
}

// goesOn reports whether c may belong to a number that was read so far.
func goesOn(c byte) bool { return isDigit(c) || c == '.' || c|0x20 == 'e' }

// digits reads up to eight digits at i, all of them at once: how many there are is mostly another number than the last
// time, and a loop would be guessed wrong at its end.
func digits(b []byte, i int) (n int, v int64) {
	x := binary.LittleEndian.Uint64(b[i:]) ^ '0'*lows
	// A byte that is no digit is above 9 now. It carries into those behind it alone.
	n = bits.TrailingZeros64(((x+0x76*lows)|x)&(0x80*lows)) >> 3
	x <<= 64 - 8*n // zeros in front, so that there are eight
	// Pairs of digits, then of pairs, then of these: each step has its products beside each other.
	x = x*10 + x>>8
	x = (x&0x000000FF000000FF*(100+1_000_000<<32) + x>>16&0x000000FF000000FF*(1+10_000<<32)) >> 32
	return n, int64(uint32(x))
}

// lows has the lowest bit of each byte.
const lows = 0x0101010101010101

// tens are the powers of ten by their exponent.
var tens = [9]int64{1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000}

// fastCount reads a whole number.
func fastCount(b []byte, i int) (v int64, end int) {
	quoted := b[i] == '"'
	if quoted {
		i++
	}
	from := i
	neg := b[i] == '-'
	if neg {
		i++
	}
	first := i
	// 18 digits are below 10¹⁸, which 64 bits hold. A nineteenth is met by goesOn, and the number read the slow way.
	n, v := digits(b, i)
	for i += n; n >= 8 && isDigit(b[i]) && i-first < 18; i++ {
		v = v*10 + int64(b[i]-'0')
	}
	// No digit, more than whole digits, or a zero in front of others: the grammar of JSON decides what it is.
	if i == first || goesOn(b[i]) || b[first] == '0' && i-first > 1 {
		if i = scan.Number(b, from); i < 0 {
			return 0, -1
		}
		var reason string
		if v, reason = parseCount(b[from:i]); reason != "" {
			return 0, -1
		}
		return v, closeQuote(b, i, quoted)
	}
	if neg {
		v = -v
	}
	return v, closeQuote(b, i, quoted)
}

// fastTime reads Unix seconds.
func fastTime(b []byte, i int) (micros int64, end int) {
	quoted := b[i] == '"'
	if quoted {
		i++
	}
	from := i
	for isDigit(b[i]) && i-from < 12 {
		micros = micros*10 + int64(b[i]-'0')
		i++
	}
	// A zero or beyond the last second is no time, but a reject; parseTime says so.
	if i == from || goesOn(b[i]) || b[from] == '0' || micros >= maxSeconds {
		if i = scan.Number(b, from); i < 0 {
			return 0, -1
		}
		var reason string
		if micros, reason = parseTime(b[from:i]); reason != "" {
			return 0, -1
		}
		return micros, closeQuote(b, i, quoted)
	}
	return micros * 1_000_000, closeQuote(b, i, quoted)
}

// pow10 scales a number with so many decimals to units of 10⁻¹².
var pow10 = [schemas.DecimalScale + 1]int64{
	1e12, 1e11, 1e10, 1e9, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 10, 1,
}

// fastMoney reads an amount: up to six digits before the point, decimals past the twelfth rounded half to even. Others
// it reads by their digits. rounded says that digits were lost.
func fastMoney(b []byte, i int) (d schemas.Decimal, rounded bool, end int) {
	quoted := b[i] == '"'
	if quoted {
		i++
	}
	from := i
	neg := b[i] == '-'
	if neg {
		i++
	}
	// Six digits and twelve decimals are 18 digits: v stays below 10¹⁸. "0.5" is v 5 with one decimal, times pow10[1] =
	// 10¹¹: 500,000,000,000 units.
	v := int64(0)
	first := i
	for isDigit(b[i]) && i-first < 6 {
		v = v*10 + int64(b[i]-'0')
		i++
	}
	ok := i > first && (b[first] != '0' || i-first == 1)
	decimals := 0
	if b[i] == '.' {
		i++
		point := i
		n, d := digits(b, i)
		v = v*tens[n] + d
		for i += n; n == 8 && isDigit(b[i]) && i-point < schemas.DecimalScale; i++ {
			v = v*10 + int64(b[i]-'0')
		}
		decimals = i - point
		ok = ok && decimals > 0
		if isDigit(b[i]) && ok { // what arithmetic in floats leaves behind
			// next is the thirteenth decimal. rest gathers those behind it: digits are '0' with their value in the low bits, so
			// that an or over them is '0' just if all are.
			next, rest := b[i], byte('0')
			for i++; isDigit(b[i]); i++ {
				rest |= b[i]
			}
			rounded = next|rest != '0'
			// Half to even: a five with nothing behind it goes up only from an odd v. 0.0000000000005 is 0, 0.0000000000015 is
			// 0.000000000002. What rounds up to a million is out of range, and parseMoney says so.
			if next > '5' || next == '5' && (rest != '0' || v&1 == 1) {
				v++
				ok = v < 1_000_000*1_000_000_000_000
			}
		}
	}
	if !ok || goesOn(b[i]) {
		if i = scan.Number(b, from); i < 0 {
			return 0, false, -1
		}
		var reason string
		if d, rounded, reason = parseMoney(b[from:i]); reason != "" {
			return 0, false, -1
		}
		return d, rounded, closeQuote(b, i, quoted)
	}
	v *= pow10[decimals]
	if neg {
		v = -v
	}
	return schemas.Decimal(v), rounded, closeQuote(b, i, quoted)
}

// keepUnknown notes a member that no column holds: a string, number, boolean or null.
func (d *fastDecoder) keepUnknown(b []byte, key text, i int) int {
	end := -1
	switch b[i] {
	case '{', '[':
		return -1
	case '"':
		var plain bool
		if end, plain = scan.String(b, i+1); !plain {
			return -1
		}
		end++
	default:
		end = scan.Value(b, i, 0)
	}
	if end < 0 || len(d.unknown) == maxUnknown {
		return -1
	}
	m := member{key, text{uint32(i), uint32(end - i)}}
	// A sort by insertion, by bytes as the canonical form has keys: a key without escapes is written as it stands. The
	// same key twice is left to the plain decoder.
	name := b[key.off : key.off+key.n]
	at := len(d.unknown)
	for at > 0 {
		k := d.unknown[at-1].key
		c := bytes.Compare(b[k.off:k.off+k.n], name)
		if c == 0 {
			return -1
		}
		if c < 0 {
			break
		}
		at--
	}
	d.unknown = slices.Insert(d.unknown, at, m)
	return end
}

// fastExtra writes the unknown members into extra.
func (s *stage) fastExtra(r *record) {
	p := &s.pages[len(s.pages)-1]
	off := len(p.buf)
	p.buf = append(p.writable(), '{')
	for i, m := range s.fast.unknown {
		if i > 0 {
			p.buf = append(p.buf, ',')
		}
		key := p.buf[m.key.off : m.key.off+m.key.n]
		p.buf = append(p.buf, '"')
		p.buf = append(p.buf, key...)
		p.buf = append(p.buf, '"', ':')
		p.buf = append(p.buf, p.buf[m.value.off:m.value.off+m.value.n]...)
		s.addName(r, key)
	}
	p.buf = append(p.buf, '}')
	r.texts[tExtra] = text{uint32(off), uint32(len(p.buf) - off)}
	r.have |= 1 << fExtra
}
