package transform

import (
	"bytes"
	"slices"

	"github.com/usagelake/usagelake/schemas/scan"
)

// Bounds of the fast decoder's ext, which searches and sorts by walking.
const (
	fastGroups = 8
	fastItems  = 64
)

// fastKey reads the key at i and the colon behind it; next is where the value starts.
func fastKey(b []byte, i int) (key text, next int) {
	if b[i] != '"' {
		return text{}, -1
	}
	end, plain := scan.String(b, i+1)
	if !plain {
		return text{}, -1
	}
	key = text{uint32(i + 1), uint32(end - i - 1)}
	if i = scan.Space(b, end+1); b[i] != ':' {
		return text{}, -1
	}
	return key, scan.Space(b, i+1)
}

// nextMember returns where the next member of an object starts, after a value that ended at i; done says that there
// is none, and that the object ended there.
func nextMember(b []byte, i int) (next int, done bool) {
	switch i = scan.Space(b, i); b[i] {
	case ',':
		return scan.Space(b, i+1), false
	case '}':
		return i + 1, true
	}
	return -1, true
}

// fastExt reads ext: an object of groups of items, each with nothing but what an item has.
func (s *stage) fastExt(b []byte, i int, r *record) int {
	r.items = uint32(len(s.items))
	if b[i] != '{' {
		return -1
	}
	if i = scan.Space(b, i+1); b[i] == '}' {
		return i + 1
	}
	// The same group twice: of the two the last would count. With eight at the most, comparing with each is as fast as a
	// map.
	var groups [fastGroups]text
	for n, done := 0, false; !done; n++ {
		var category text
		if category, i = fastKey(b, i); i < 0 || n == fastGroups || category.n > maxItemName {
			return -1
		}
		name := b[category.off : category.off+category.n]
		for _, g := range groups[:n] {
			if bytes.Equal(b[g.off:g.off+g.n], name) {
				return -1
			}
		}
		groups[n] = category
		if b[i] == 'n' {
			i = scan.Literal(b, i, "null")
		} else {
			i = s.fastGroup(b, i, r, category)
		}
		if i < 0 {
			return -1
		}
		i, done = nextMember(b, i)
	}
	return i
}

// fastGroup reads one group.
func (s *stage) fastGroup(b []byte, i int, r *record, category text) int {
	if b[i] != '{' {
		return -1
	}
	if i = scan.Space(b, i+1); b[i] == '}' {
		return i + 1
	}
	for done := false; !done; {
		it := item{category: category}
		if it.name, i = fastKey(b, i); i < 0 || it.name.n > maxItemName || r.nItems == fastItems {
			return -1
		}
		if i = s.fastItem(b, i, &it); i < 0 || !s.insertItem(b, r, it) {
			return -1
		}
		i, done = nextMember(b, i)
	}
	return i
}

// insertItem puts an item of r where the order of category and name wants it; false if there is one like it.
func (s *stage) insertItem(b []byte, r *record, it item) bool {
	// From the back, for they mostly come in order. Only the items of this record are compared: r.items is its first, and
	// those before it are of others.
	at := len(s.items)
	for ; at > int(r.items); at-- {
		o := &s.items[at-1]
		c := bytes.Compare(b[o.category.off:o.category.off+o.category.n], b[it.category.off:it.category.off+it.category.n])
		if c == 0 {
			c = bytes.Compare(b[o.name.off:o.name.off+o.name.n], b[it.name.off:it.name.off+it.name.n])
		}
		if c == 0 {
			return false
		}
		if c < 0 {
			break
		}
	}
	s.items = slices.Insert(s.items, at, it)
	r.nItems++
	return true
}

// fastItem reads one charge.
func (s *stage) fastItem(b []byte, i int, it *item) int {
	if b[i] != '{' {
		return -1
	}
	i = scan.Space(b, i+1)
	came := uint8(0)
	for done := false; !done; {
		var key text
		if key, i = fastKey(b, i); i < 0 {
			return -1
		}
		m := -1
		switch string(b[key.off : key.off+key.n]) {
		case "unit":
			m = iUnit
		case "price":
			m = iPrice
		case "usage":
			m = iUsage
		case "amount":
			m = iAmount
		}
		// What an item has besides goes to extra, which the plain decoder writes.
		if m < 0 || came&(1<<m) != 0 {
			return -1
		}
		came |= 1 << m
		switch {
		case b[i] == 'n':
			i = scan.Literal(b, i, "null")
		case m == iUnit:
			i = s.fastText(b, i, &it.unit)
			it.have |= 1 << m
		default:
			it.money[m-1], _, i = fastMoney(b, i)
			it.have |= 1 << m
		}
		if i < 0 {
			return -1
		}
		i, done = nextMember(b, i)
	}
	return i
}
