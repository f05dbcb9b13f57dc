package transform

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"

	"github.com/usagelake/usagelake/schemas"
)

// The plain decoder says what a record means. It is slow and leans on encoding/json: the last of equal keys counts,
// names match exactly, and what is no UTF-8 becomes U+FFFD.

// plainRecord stages the record that stands at raw in the stage's last page: one valid JSON value.
func (s *stage) plainRecord(raw text, kind uint8) {
	no := uint32(len(s.pages) - 1)
	p := &s.pages[no]
	s.recs = append(s.recs, record{page: no, kind: kind, raw: raw})
	r := &s.recs[len(s.recs)-1]
	// readAny goes down a level for each bracket: how deep is looked at first.
	body := s.bytes(r, raw)
	if nesting(body) > maxDepth {
		s.reject(r, schemas.ReasonUnreadable, "", true)
		return
	}
	v, ok := readAny(body)
	if !ok {
		s.reject(r, schemas.ReasonUnreadable, "", true)
		return
	}
	obj, ok := v.(map[string]any)
	if !ok {
		s.reject(r, schemas.ReasonNotObject, "", true)
		return
	}
	d := plainDecoder{s: s, p: p, r: r, obj: obj}
	d.decode()
}

// plainDecoder decodes one record. The first fault found decides; looking goes on as far as it takes to place the
// reject: its time and id.
type plainDecoder struct {
	s     *stage
	p     *page
	r     *record
	obj   map[string]any // members that are taken are deleted
	extra map[string]any
	names []string // of fields that no column holds
	done  bool     // a fault was found
}

func (d *plainDecoder) fail(reason, field string) {
	if !d.done {
		d.s.reject(d.r, reason, field, d.r.time == 0)
		d.done = true
	}
}

// take removes the member from the record's object. came is false if it isn't there.
func (d *plainDecoder) take(name string) (v any, came bool) {
	v, came = d.obj[name]
	delete(d.obj, name)
	return v, came
}

func (d *plainDecoder) decode() {
	r := d.r
	var canonical []byte
	if r.kind == kindSummary {
		// Before the members are taken out.
		canonical = appendCanonical(nil, d.obj)
	}

	// Time and id first: they place the record, and its reject too.
	name := "request_time"
	if r.kind == kindSummary && d.obj["timestamp"] != nil {
		name = "timestamp"
	}
	v, came := d.take(name)
	if !came {
		r.absent |= 1 << fTime
	}
	micros, reason := timeOf(v)
	r.time = micros
	if reason != "" {
		d.fail(reason, name)
	} else {
		r.have |= 1 << fTime
	}
	d.text(fID)
	if !d.done && len(d.s.id(r)) == 0 {
		if r.kind != kindSummary {
			d.fail(schemas.ReasonNoID, "id")
		} else {
			d.summaryID(canonical)
		}
	}
	if d.done {
		return
	}

	for f := range fields {
		switch fields[f].kind {
		case kindText:
			if f != fID {
				d.text(f)
			}
		case kindCount:
			d.count(f)
		case kindMoney:
			d.amount(f)
		case kindExt:
			d.ext()
		}
		if d.done {
			return
		}
	}
	d.total()
	if d.done {
		return
	}
	if r.kind == kindSummary {
		r.absent = 0
	}
	d.leftovers()
}

// timeOf reads a request_time.
func timeOf(v any) (micros int64, reason string) {
	switch v := v.(type) {
	case json.Number:
		return parseTime([]byte(v))
	case string:
		return parseTime([]byte(v))
	}
	return 0, schemas.ReasonNoTime
}

// textOf reads a text: a string, or a number's digits as written.
func textOf(v any) (s string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return string(v), true
	}
	return "", false
}

func (d *plainDecoder) text(f int) {
	v, came := d.take(fields[f].name)
	if !came {
		d.r.absent |= 1 << f
	}
	if v == nil {
		return
	}
	s, ok := textOf(v)
	if !ok {
		d.fail(schemas.ReasonWrongType, fields[f].name)
		return
	}
	d.r.texts[fields[f].slot] = d.p.addString(s)
	d.r.have |= 1 << f
}

// countOf reads a count that isn't null.
func countOf(v any) (n int64, reason string) {
	s, ok := textOf(v)
	if !ok {
		return 0, schemas.ReasonNotInteger
	}
	return parseCount([]byte(s))
}

func (d *plainDecoder) count(f int) {
	v, came := d.take(fields[f].name)
	if !came {
		d.r.absent |= 1 << f
	}
	if v == nil {
		return
	}
	n, reason := countOf(v)
	if reason != "" {
		d.fail(reason, fields[f].name)
		return
	}
	d.r.counts[fields[f].slot] = n
	d.r.have |= 1 << f
}

// moneyOf reads an amount that isn't null.
func moneyOf(v any) (d schemas.Decimal, rounded bool, reason string) {
	s, ok := textOf(v)
	if !ok {
		return 0, false, schemas.ReasonNotNumber
	}
	return parseMoney([]byte(s))
}

func (d *plainDecoder) amount(f int) {
	v, came := d.take(fields[f].name)
	if !came {
		d.r.absent |= 1 << f
	}
	if v == nil {
		return
	}
	m, rounded, reason := moneyOf(v)
	if reason != "" {
		d.fail(reason, fields[f].name)
		return
	}
	d.r.rounded = d.r.rounded || rounded && isAmount(f)
	d.r.money[fields[f].slot] = m
	d.r.have |= 1 << f
}

func (d *plainDecoder) total() {
	r := d.r
	if r.kind == kindSummary {
		if v, _ := d.take("tokens"); v != nil {
			n, reason := countOf(v)
			if reason != "" {
				d.fail(reason, "tokens")
				return
			}
			r.counts[cTotal] = n
			r.have |= 1 << fTotalTokens
			return
		}
	}
	if !r.totalFits() {
		d.fail(schemas.ReasonOutOfRange, "total_tokens")
		return
	}
	r.setTotal()
}

// ext reads the groups of charges below ext. An empty or null group says nothing; a group's member is an item if it is
// an object with at least one of an item's members; all else is kept in extra.
func (d *plainDecoder) ext() {
	r := d.r
	v, came := d.take("ext")
	if !came {
		r.absent |= 1 << fExt
	}
	if v == nil {
		return
	}
	// An ext that can't be read is no reason to lose the record: it goes to extra whole, and an issue says so.
	groups, ok := extGroups(v)
	if !ok || countMembers(groups) > maxItems {
		r.badExt = true
		d.keep("ext", v)
		return
	}
	r.have |= 1 << fExt
	r.items = uint32(len(d.s.items))
	var rest map[string]any
	for _, category := range sortedKeys(groups) {
		var left any
		group, isGroup := groups[category].(map[string]any)
		if isGroup && len(category) <= maxItemName {
			left = d.group(category, group)
		} else if left = groups[category]; left != nil {
			d.names = append(d.names, "ext."+category)
		}
		if d.done {
			return
		}
		if left != nil {
			rest = with(rest, category, left)
		}
	}
	r.nItems = uint32(len(d.s.items)) - r.items
	if rest != nil {
		d.keep("ext", rest)
	}
}

// extGroups is the object ext holds, itself or as the JSON in a string.
func extGroups(v any) (map[string]any, bool) {
	if s, ok := v.(string); ok {
		// What nests too deeply or is no JSON reads as no object.
		v = nil
		if b := []byte(s); json.Valid(b) && nesting(b) <= maxDepth {
			v, _ = readAny(b)
		}
	}
	groups, ok := v.(map[string]any)
	return groups, ok
}

// Bounds of ext, so that a hostile one can't make rows many times its own size: a group or an item with a longer name
// is left in extra, an ext with more members below its groups is one that can't be read.
const (
	maxItemName = 256
	maxItems    = 4096
)

func countMembers(groups map[string]any) int {
	n := 0
	for _, g := range groups {
		if g, ok := g.(map[string]any); ok {
			n += len(g)
		}
	}
	return n
}

// group stages the items of a group and returns what is left of it, nil if nothing is.
func (d *plainDecoder) group(category string, group map[string]any) any {
	var rest map[string]any
	at := d.p.addString(category)
	for _, name := range sortedKeys(group) {
		v := group[name]
		if v == nil {
			continue
		}
		obj, ok := v.(map[string]any)
		if ok {
			ok = false
			if len(name) > maxItemName {
				obj = nil
			}
			for _, m := range members {
				_, has := obj[m]
				ok = ok || has
			}
		}
		path := "ext." + category + "." + name
		if !ok {
			d.names = append(d.names, path)
			rest = with(rest, name, v)
			continue
		}
		if left := d.item(at, name, path, obj); left != nil {
			rest = with(rest, name, left)
		}
		if d.done {
			return nil
		}
	}
	if rest == nil {
		return nil
	}
	return rest
}

// item stages one charge and returns the members it has besides, nil if it has none.
func (d *plainDecoder) item(category text, name, path string, obj map[string]any) any {
	it := item{category: category, name: d.p.addString(name)}
	for m, member := range members {
		v := obj[member]
		delete(obj, member)
		if v == nil {
			continue
		}
		if m == iUnit {
			s, ok := textOf(v)
			if !ok {
				d.fail(schemas.ReasonWrongType, path+"."+member)
				return nil
			}
			it.unit = d.p.addString(s)
		} else {
			n, _, reason := moneyOf(v)
			if reason != "" {
				d.fail(reason, path+"."+member)
				return nil
			}
			it.money[m-1] = n
		}
		it.have |= 1 << m
	}
	d.s.items = append(d.s.items, it)
	if len(obj) == 0 {
		return nil
	}
	for _, k := range sortedKeys(obj) {
		d.names = append(d.names, path+"."+k)
	}
	return obj
}

func with(m map[string]any, key string, v any) map[string]any {
	if m == nil {
		m = map[string]any{}
	}
	m[key] = v
	return m
}

// keep puts a value into extra.
func (d *plainDecoder) keep(name string, v any) { d.extra = with(d.extra, name, v) }

// leftovers puts what no column took into extra.
func (d *plainDecoder) leftovers() {
	for _, name := range sortedKeys(d.obj) {
		d.keep(name, d.obj[name])
		d.s.addName(d.r, []byte(name))
	}
	for _, name := range d.names {
		d.s.addName(d.r, []byte(name))
	}
	if d.extra == nil {
		return
	}
	d.s.scratch = appendCanonical(d.s.scratch[:0], d.extra)
	d.r.texts[tExtra] = d.p.add(d.s.scratch)
	d.r.have |= 1 << fExtra
}

// summaryID makes up the id of a summary record from its content, and numbers those that are alike.
func (d *plainDecoder) summaryID(canonical []byte) {
	sum := sha256.Sum256(canonical)
	if d.s.summaries == nil {
		d.s.summaries = map[[32]byte]int{}
	}
	// Two that are alike are two: -1 and -2. So the same answer gives the same ids each time, in whatever order it lists
	// them.
	d.s.summaries[sum]++
	id := append([]byte("summary-"), strconv.FormatInt(d.r.time/1_000_000, 10)...)
	id = append(id, '-')
	id = hex.AppendEncode(id, sum[:6])
	id = append(id, '-')
	id = strconv.AppendInt(id, int64(d.s.summaries[sum]), 10)
	d.r.texts[tID] = d.p.add(id)
	d.r.have |= 1 << fID
}

// maxPageRaw bounds what a reject holds of a whole answer; the raw archive has it all.
const maxPageRaw = 64 << 10

// rejectPage stages the last page as one reject.
func (s *stage) rejectPage(reason string) {
	no := uint32(len(s.pages) - 1)
	raw := text{0, uint32(min(s.pages[no].body, maxPageRaw))}
	s.recs = append(s.recs, record{page: no, kind: kindPage, raw: raw})
	s.reject(&s.recs[len(s.recs)-1], reason, "", true)
}

// plainPage stages the records of the last page.
func (s *stage) plainPage() {
	p := &s.pages[len(s.pages)-1]
	body := p.buf[:p.body:p.body]
	if !json.Valid(body) {
		s.rejectPage(schemas.ReasonUnreadable)
		return
	}
	var top, data map[string]json.RawMessage
	if json.Unmarshal(body, &top) != nil || json.Unmarshal(top["data"], &data) != nil {
		s.rejectPage(schemas.ReasonUnknownPage)
		return
	}
	list, hasList := data["list"]
	records, hasRecords := data["records"]
	var requests, summaries []json.RawMessage
	if !hasList && !hasRecords ||
		hasList && json.Unmarshal(list, &requests) != nil ||
		hasRecords && json.Unmarshal(records, &summaries) != nil {
		s.rejectPage(schemas.ReasonUnknownPage)
		return
	}
	s.summary = s.summary || hasRecords
	for _, raw := range requests {
		// Written behind the body once more: the JSON reader tells no positions, and a record's raw text is one.
		s.plainRecord(s.pages[len(s.pages)-1].add(bytes.TrimSpace(raw)), kindRequest)
	}
	for _, raw := range summaries {
		s.plainRecord(s.pages[len(s.pages)-1].add(bytes.TrimSpace(raw)), kindSummary)
	}
}
