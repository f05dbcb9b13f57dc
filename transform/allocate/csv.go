package allocate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// table is a file whose rows say who owns what.
type table struct {
	name    string
	file    string
	line    int      // of the rules file
	key     []string // fields as schemas.Field has them, or attributes
	header  []string // the same as the file calls them
	assigns []string // the attributes it has columns of, and "tags"
	rows    []*tableRow
	// A key is its cells joined by NUL, which no cell can hold: openSheet refuses a file with one. So ("a","bc") and
	// ("ab","c") are two keys.
	byKey map[string][]*tableRow // those of a key in order of their validity, which don't overlap
	// Written by the parser alone. What is below is made by the first goroutine that asks Lost for it, within once, and
	// only read after that: the one thing of Rules that isn't there from the start.
	used   bool                 // a rule looks it up
	byBare map[string]*tableRow // by Bare of the key; made when somebody asks why a row isn't found
	slips  Slips                // the keys; made with byBare
	once   sync.Once
}

type tableRow struct {
	line int
	// The cells of the key, joined by NUL. Where one of them is an attribute, owner lacks it.
	key      string
	source   string // " tokens.csv:7", to go behind that of the rule
	from, to *schemas.Date
	owner    schemas.Owner
	tags     map[string]string
}

// tagPrefix begins the name of a column that holds a tag.
const tagPrefix = "tag."

// tags are the cells of the columns tag.NAME.
func (r *Row) tags() map[string]string {
	tags := map[string]string{}
	for c := range r.sheet.columns {
		if name, ok := strings.CutPrefix(c, tagPrefix); ok && r.Text(c) != "" {
			tags[name] = r.Text(c)
		}
	}
	return tags
}

// owner reads the attributes of a row.
func (r *Row) owner() (schemas.Owner, error) {
	var o schemas.Owner
	for _, f := range ownerFields(&o) {
		*f.value = r.Text(f.name)
		if err := assignable(*f.value); err != nil {
			return o, r.Wrong(f.name, "%s: %w", f.name, err)
		}
	}
	return o, nil
}

// Validity reads the columns from and to of a row: the days that it is valid on, to excluded; nil is for ever.
func (r *Row) Validity() (from, to *schemas.Date, err error) {
	for _, x := range []struct {
		column string
		day    **schemas.Date
	}{{"from", &from}, {"to", &to}} {
		if !r.Empty(x.column) {
			d, err := r.Date(x.column)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", x.column, err)
			}
			*x.day = &d
		}
	}
	if from != nil && to != nil && *from >= *to {
		return nil, nil, fmt.Errorf("from %s is not before to %s (to is excluded)", from, to)
	}
	return from, to, nil
}

// parse reads the file. Its cells are taken as they are: no patterns.
func (t *table) parse(content []byte) []error {
	known := slices.Concat(t.header, attributes, []string{"from", "to"})
	s, errs := openSheet(t.file, content, ownersOr(known), func(columns map[string]int) []error {
		var errs []error
		for _, h := range t.header {
			if _, ok := columns[h]; !ok {
				errs = append(errs, fmt.Errorf("no column %s, which table %s is looked up by", h, t.name))
			}
		}
		return errs
	})
	if len(errs) > 0 {
		return errs
	}
	for _, a := range attributes {
		if _, ok := s.columns[a]; ok && !slices.Contains(t.key, a) {
			t.assigns = append(t.assigns, a)
		}
	}
	if slices.ContainsFunc(s.names, func(c string) bool { return strings.HasPrefix(c, tagPrefix) }) {
		t.assigns = append(t.assigns, "tags")
	}
	if len(t.assigns) == 0 {
		return []error{fmt.Errorf("%s: it assigns nothing: it needs a column of %s or %sNAME", s.at(s.line, nowhere),
			strings.Join(attributes, ", "), tagPrefix)}
	}
	t.byKey = map[string][]*tableRow{}
	errs = s.each(func(r *Row) error {
		row := &tableRow{line: r.Line, source: " " + r.Source(), tags: r.tags()}
		parts := make([]string, len(t.header))
		for i, h := range t.header {
			parts[i] = r.Text(h)
			if parts[i] == "" {
				return r.Wrong(h, "no %s: fill it, or delete the row", h)
			}
			if err := rounded(parts[i]); err != nil {
				return r.Wrong(h, "%s: %w", h, err)
			}
			if _, err := strconv.ParseInt(parts[i], 10, 64); err != nil && t.key[i] == schemas.FieldChannelID {
				return r.Wrong(h, "%s: %s is no channel: write a whole number such as 7", h, quote(parts[i]))
			}
		}
		row.key = strings.Join(parts, "\x00")
		var err error
		if row.owner, err = r.owner(); err != nil {
			return err
		}
		for _, k := range t.key {
			if f := field(&row.owner, k); f != nil {
				*f = "" // it is what the row is found by
			}
		}
		if row.from, row.to, err = r.Validity(); err != nil {
			return err
		}
		t.rows = append(t.rows, row)
		t.byKey[row.key] = append(t.byKey[row.key], row)
		return nil
	})
	return append(errs, t.overlaps()...)
}

// overlaps puts the rows of each key in order of their validity, and reports those that are valid at the same time.
func (t *table) overlaps() []error {
	var later []*tableRow // of each such two the one further down
	other := map[*tableRow]*tableRow{}
	for _, rows := range t.byKey {
		// In this order a row overlaps some row before it just if it begins before the latest end of those. The row just
		// before isn't enough: of 1..100, 2..3 and 50..60 the third overlaps the first alone.
		slices.SortStableFunc(rows, func(a, b *tableRow) int { return cmp.Compare(start(a.from), start(b.from)) })
		longest := rows[0] // that ends last of those so far
		for _, row := range rows[1:] {
			a, b := longest, row
			if end(row.to) > end(longest.to) {
				longest = row
			}
			// An end is excluded: one that ends on the day on which the next begins does not overlap it.
			if end(a.to) <= start(b.from) {
				continue
			}
			if a.line > b.line {
				a, b = b, a
			}
			if other[b] == nil {
				later = append(later, b)
			}
			other[b] = a
		}
	}
	slices.SortFunc(later, func(a, b *tableRow) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, row := range later {
		if len(errs) == maxMistakes {
			return append(errs, errors.New(andMore))
		}
		errs = append(errs, fmt.Errorf("%s:%d: %s is there already in line %d, for the same time: "+
			"delete one, or give the rows from and to that don't overlap",
			t.file, row.line, strings.ReplaceAll(row.key, "\x00", ", "), other[row].line))
	}
	return errs
}

// find is the row for a key, of which some attributes are known; nil if there is none on that day.
func (t *table) find(k schemas.AllocationKey, o schemas.Owner, day schemas.Date) *tableRow {
	key := ""
	for i, f := range t.key {
		v, ok := value(k, f)
		// An attribute isn't in the key but in what the tables before this one gave; field is nil of all else.
		if a := field(&o, f); a != nil {
			v, ok = *a, true
		}
		// No row has an empty cell in its key (parse refuses it), and a key of NULL is nobody's.
		if !ok || v == "" {
			return nil
		}
		if i > 0 {
			key += "\x00"
		}
		key += v
	}
	rows := t.byKey[key]
	// The rows of a key don't overlap and are in order of their start. So only the last that has begun can be valid:
	// those before it have ended, those behind it begin later. A day on which a row begins is its own; -1 is before
	// all of them.
	i := sort.Search(len(rows), func(i int) bool { return start(rows[i].from) > day }) - 1 // the last that has begun
	if i < 0 || rows[i].to != nil && day >= *rows[i].to {
		return nil
	}
	return rows[i]
}

// ownersOr judges columns: known ones, and tags.
func ownersOr(known []string) func(column *string) error {
	return func(column *string) error {
		c := *column
		if slices.Contains(known, c) || strings.HasPrefix(c, tagPrefix) && len(c) > len(tagPrefix) {
			return nil
		}
		return fmt.Errorf("unknown column %s%s", quote(c), words.Nearest(c, known))
	}
}

// sheet reads rules from a table: a row each.
func (p *parser) sheet(content []byte) {
	fields := slices.Sorted(maps.Keys(matchFields))
	known := slices.Concat([]string{"id", "from", "to"}, fields, attributes)
	s, errs := openSheet(p.name, content, ownersOr(known), func(columns map[string]int) []error {
		if _, ok := columns["id"]; !ok {
			return []error{errors.New("no column id: each rule has a name")}
		}
		return nil
	})
	if len(errs) > 0 {
		p.errs = append(p.errs, errs...)
		return
	}
	p.errs = append(p.errs, s.each(func(r *Row) error {
		x := &rule{position: len(p.rules) + 1, id: r.Text("id"), line: r.Line, source: r.Source(), tags: r.tags()}
		if x.id == "" {
			return errors.New("no id: each rule has a name; rows of one name are its versions")
		}
		var err error
		if x.from, x.to, err = r.Validity(); err != nil {
			return fmt.Errorf("rule %s: %w", x.id, err)
		}
		if x.owner, err = r.owner(); err != nil {
			return fmt.Errorf("rule %s: %w", x.id, err)
		}
		if x.owner == (schemas.Owner{}) && len(x.tags) == 0 {
			return fmt.Errorf("rule %s: it assigns nothing: fill cost_center, team, project, environment, gl_code or a tag",
				x.id)
		}
		for _, f := range fields {
			v := r.Text(f)
			if v == "" {
				continue
			}
			patterns := alternatives(v)
			for _, pattern := range patterns {
				if pattern == "" {
					return r.Wrong(f, "rule %s: %s: %s has nothing before, after or between its |: take the | out", x.id,
						f, quote(v))
				}
				if err := rounded(pattern); err != nil {
					return r.Wrong(f, "rule %s: %s: %w", x.id, f, err)
				}
				if err := possible(f, pattern); err != nil {
					return fmt.Errorf("rule %s: %w", x.id, err)
				}
			}
			x.match = append(x.match, newCondition(matchFields[f], patterns))
		}
		p.rules = append(p.rules, x)
		return nil
	})...)
}

// alternatives are the patterns of a cell, which | separates; after a \ it is a character like others.
func alternatives(cell string) []string {
	var out []string
	begin, escaped := 0, false
	for i, c := range cell {
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '|':
			out = append(out, strings.TrimSpace(cell[begin:i]))
			begin = i + 1
		}
	}
	return append(out, strings.TrimSpace(cell[begin:]))
}
