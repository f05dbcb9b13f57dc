package allocate

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// table is a CSV file whose rows say who owns what.
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

// maxTableFile bounds a table, in bytes.
const maxTableFile = 64 << 20

// sheet is a CSV file with a header, as a spreadsheet saves it: UTF-8 with or without a mark, separated by commas,
// semicolons or tabs.
type sheet struct {
	name    string
	columns map[string]int
	names   []string
	taken   []bool // of names: whether the column is read
	line    int    // of the header
	r       *csv.Reader
}

// errPassedOver is what known of ReadSheet says of a column that is there for somebody else.
var errPassedOver = errors.New("the column is passed over")

// ReadSheet reads a CSV file as the tables of rules are read: separated by commas, semicolons or tabs, rows without any
// cell left out, and what a spreadsheet damaged refused. Capitals don't count in names of columns. known judges them,
// has those that are there, and row each row, with a way to its cells: "" of a column that isn't there. Every mistake
// is reported, with its file and line.
func ReadSheet(name string, content []byte, known func(column string) error, has func(columns map[string]int) []error,
	row func(line int, cell func(string) string) error) error {
	s, errs := openSheet(name, content, func(c *string) error {
		*c = strings.ToLower(*c)
		return known(*c)
	})
	if len(errs) == 0 {
		for _, err := range has(s.columns) {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, s.line, err))
		}
	}
	if len(errs) == 0 {
		errs = s.each(row)
	}
	return errors.Join(errs...)
}

// misspelt is the one of the known words that a word of five letters or more is likely to be; "" if it is none of them.
func misspelt(word string, known []string) string {
	for _, k := range known {
		if min(len(word), len(k)) >= 5 && words.EditDistance(word, k) <= 2 {
			return k
		}
	}
	return ""
}

// Ours judges, for ReadSheet, the columns of a file that some other system wrote: what isn't among ours is passed over,
// such as vat and description, but not what is likely to be one of ours, misspelt.
func Ours(columns []string) func(string) error {
	return func(c string) error {
		if slices.Contains(columns, c) {
			return nil
		}
		if k := misspelt(c, columns); k != "" {
			return fmt.Errorf("unknown column %q: did you mean %s?", c, k)
		}
		return errPassedOver
	}
}

// Lacking says, for ReadSheet, which columns a file can't do without and hasn't.
func Lacking(columns map[string]int, needed ...string) []error {
	var errs []error
	for _, n := range needed {
		if _, ok := columns[n]; !ok {
			errs = append(errs, fmt.Errorf("no column %s", n))
		}
	}
	return errs
}

// openSheet reads the header. known judges a column's name, and may change it.
func openSheet(name string, content []byte, known func(column *string) error) (*sheet, []error) {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	switch {
	case len(content) > maxTableFile:
		return nil, []error{fmt.Errorf("%s:1: it is larger than %d MiB", name, maxTableFile>>20)}
	case !utf8.Valid(content):
		return nil, []error{fmt.Errorf("%s:%d: the file is not UTF-8: save it as CSV UTF-8", name,
			1+bytes.Count(content[:invalidAt(content)], []byte("\n")))}
	case bytes.IndexByte(content, 0) >= 0:
		return nil, []error{fmt.Errorf("%s:1: it has NUL bytes: it is no CSV file; save it as CSV UTF-8", name)}
	}
	s := &sheet{name: name, columns: map[string]int{}, r: csv.NewReader(bytes.NewReader(content))}
	// Rows of other lengths are let through, for each is to be named with its line; the reader would stop at the first.
	s.r.FieldsPerRecord = -1
	// The separator is the one that the header has most of. A tie goes to the comma, and between the others to the
	// semicolon; a header of one column has none, and any will do.
	header, _, _ := bytes.Cut(bytes.TrimLeft(content, "\r\n"), []byte("\n"))
	for _, comma := range ";\t" {
		if strings.Count(string(header), string(comma)) > strings.Count(string(header), string(s.r.Comma)) {
			s.r.Comma = comma
		}
	}
	row, err := s.r.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, []error{fmt.Errorf("%s:1: the file is empty: its first line names the columns", name)}
		}
		return nil, []error{notCSV(name, err)}
	}
	var errs []error
	s.line, _ = s.r.FieldPos(0)
	s.names, s.taken = row, make([]bool, len(row))
	for i, c := range row {
		c = strings.TrimSpace(c)
		err := nameable(c)
		switch {
		case len(errs) >= maxMistakes:
			return nil, append(errs, errors.New(andMore))
		case c == "":
			err = fmt.Errorf("column %d has no name: write one, or delete the column", i+1)
		case strings.HasPrefix(c, "#"): // a note to those who fill the table in
			continue
		case err == nil:
			err = known(&c)
		}
		if _, twice := s.columns[c]; err == nil && twice {
			err = fmt.Errorf("the column %s stands twice: delete one", c)
		}
		if errors.Is(err, errPassedOver) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, s.line, err))
			continue
		}
		s.columns[c], s.taken[i] = i, true
	}
	return s, errs
}

// invalidAt is where the first bytes are that are no UTF-8.
func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// each calls f with every row that isn't empty, its line, and a way to its cells. What f returns, and what can't be
// read, is reported.
func (s *sheet) each(f func(line int, cell func(string) string) error) []error {
	var errs []error
	for {
		row, err := s.r.Read()
		if errors.Is(err, io.EOF) {
			return errs
		}
		if len(errs) >= maxMistakes {
			return append(errs, errors.New(andMore))
		}
		if err != nil {
			return append(errs, notCSV(s.name, err))
		}
		line, _ := s.r.FieldPos(0)
		if !slices.ContainsFunc(row, func(c string) bool { return strings.TrimSpace(c) != "" }) {
			continue
		}
		if len(row) != len(s.names) {
			errs = append(errs, fmt.Errorf("%s:%d: %d cells, the header has %d", s.name, line, len(row), len(s.names)))
			continue
		}
		bad := error(nil)
		for i, c := range row {
			// What isn't read may hold anything: notes have control characters and failed formulas, and nobody is charged by
			// them.
			if !s.taken[i] {
				continue
			}
			err := nameable(c)
			if err == nil {
				err = failedFormula(strings.TrimSpace(c))
			}
			if err != nil && bad == nil {
				bad = fmt.Errorf("%s: %w", strings.TrimSpace(s.names[i]), err)
			}
		}
		if bad == nil {
			bad = f(line, func(column string) string {
				i, ok := s.columns[column]
				if !ok {
					return ""
				}
				return strings.TrimSpace(row[i])
			})
		}
		if bad != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", s.name, line, bad))
		}
	}
}

// notCSV is what can't be read at all, with its line.
func notCSV(name string, err error) error {
	var at *csv.ParseError
	switch {
	case !errors.As(err, &at):
		return fmt.Errorf("%s:1: %w", name, err)
	case errors.Is(err, csv.ErrBareQuote), errors.Is(err, csv.ErrQuote):
		return fmt.Errorf("%s:%d: a quote that opens or ends no cell: put the whole cell in quotes, "+
			"and write those inside it twice", name, at.StartLine)
	}
	return fmt.Errorf("%s:%d: %w", name, at.StartLine, at.Err)
}

// tags are the cells of the columns tag.NAME.
func (s *sheet) tags(cell func(string) string) map[string]string {
	tags := map[string]string{}
	for c := range s.columns {
		if name, ok := strings.CutPrefix(c, tagPrefix); ok && cell(c) != "" {
			tags[name] = cell(c)
		}
	}
	return tags
}

// owner reads the attributes of a row.
func (s *sheet) owner(cell func(string) string) (schemas.Owner, error) {
	var o schemas.Owner
	for _, f := range ownerFields(&o) {
		*f.value = cell(f.name)
		if err := assignable(*f.value); err != nil {
			return o, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return o, nil
}

// validity reads from and to of a row.
func validity(cell func(string) string) (from, to *schemas.Date, err error) {
	for _, x := range []struct {
		column string
		day    **schemas.Date
	}{{"from", &from}, {"to", &to}} {
		if s := cell(x.column); s != "" {
			d, err := schemas.ParseDate(s)
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

// What a spreadsheet makes of a long number, whose digits are lost then, and of a formula that fails.
var (
	scientific = regexp.MustCompile(`^[0-9]+([.,][0-9]+)?[eE]\+[0-9]+$`)
	failed     = regexp.MustCompile(`^#(N/A|NV|[\pL\pN/]+[!?])$`)
)

func failedFormula(cell string) error {
	if failed.MatchString(cell) {
		return fmt.Errorf("%s is a formula that failed: mend it in the spreadsheet, or empty the cell", cell)
	}
	return nil
}

func rounded(cell string) error {
	if scientific.MatchString(cell) {
		return fmt.Errorf("%s is a rounded number: the spreadsheet has lost digits; "+
			"format the column as text and enter it anew", cell)
	}
	return nil
}

// parse reads the file. Its cells are taken as they are: no patterns.
func (t *table) parse(content []byte) []error {
	known := slices.Concat(t.header, attributes, []string{"from", "to"})
	s, errs := openSheet(t.file, content, func(column *string) error {
		c := *column
		if slices.Contains(known, c) || strings.HasPrefix(c, tagPrefix) && len(c) > len(tagPrefix) {
			return nil
		}
		return fmt.Errorf("unknown column %s%s", quote(c), words.Nearest(c, known))
	})
	if len(errs) > 0 {
		return errs
	}
	for _, h := range t.header {
		if _, ok := s.columns[h]; !ok {
			errs = append(errs, fmt.Errorf("%s:%d: no column %s, which table %s is looked up by", t.file, s.line, h, t.name))
		}
	}
	for _, a := range attributes {
		if _, ok := s.columns[a]; ok && !slices.Contains(t.key, a) {
			t.assigns = append(t.assigns, a)
		}
	}
	if slices.ContainsFunc(s.names, func(c string) bool { return strings.HasPrefix(strings.TrimSpace(c), tagPrefix) }) {
		t.assigns = append(t.assigns, "tags")
	}
	if len(t.assigns) == 0 {
		errs = append(errs, fmt.Errorf("%s:%d: it assigns nothing: it needs a column of %s or %sNAME", t.file, s.line,
			strings.Join(attributes, ", "), tagPrefix))
	}
	if len(errs) > 0 {
		return errs
	}
	t.byKey = map[string][]*tableRow{}
	errs = s.each(func(line int, cell func(string) string) error {
		row := &tableRow{line: line, source: fmt.Sprintf(" %s:%d", t.file, line), tags: s.tags(cell)}
		parts := make([]string, len(t.header))
		for i, h := range t.header {
			parts[i] = cell(h)
			if parts[i] == "" {
				return fmt.Errorf("no %s: fill it, or delete the row", h)
			}
			if err := rounded(parts[i]); err != nil {
				return fmt.Errorf("%s: %w", h, err)
			}
			if _, err := strconv.ParseInt(parts[i], 10, 64); err != nil && t.key[i] == schemas.FieldChannelID {
				return fmt.Errorf("%s: %s is no channel: write a whole number such as 7", h, quote(parts[i]))
			}
		}
		row.key = strings.Join(parts, "\x00")
		var err error
		if row.owner, err = s.owner(cell); err != nil {
			return err
		}
		for _, k := range t.key {
			if f := field(&row.owner, k); f != nil {
				*f = "" // it is what the row is found by
			}
		}
		if row.from, row.to, err = validity(cell); err != nil {
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
	// The rows of a key don't overlap and are in order of their start. So only the last that has begun can be valid: those
	// before it have ended, those behind it begin later. A day on which a row begins is its own; -1 is before all of them.
	i := sort.Search(len(rows), func(i int) bool { return start(rows[i].from) > day }) - 1 // the last that has begun
	if i < 0 || rows[i].to != nil && day >= *rows[i].to {
		return nil
	}
	return rows[i]
}

// csv reads rules from a table: a row each.
func (p *parser) csv(content []byte) {
	fields := slices.Sorted(maps.Keys(matchFields))
	known := slices.Concat([]string{"id", "from", "to"}, fields, attributes)
	s, errs := openSheet(p.name, content, func(column *string) error {
		c := *column
		if slices.Contains(known, c) || strings.HasPrefix(c, tagPrefix) && len(c) > len(tagPrefix) {
			return nil
		}
		return fmt.Errorf("unknown column %s%s", quote(c), words.Nearest(c, known))
	})
	if len(errs) > 0 {
		p.errs = append(p.errs, errs...)
		return
	}
	if _, ok := s.columns["id"]; !ok {
		p.bad(s.line, "no column id: each rule has a name")
		return
	}
	p.errs = append(p.errs, s.each(func(line int, cell func(string) string) error {
		x := &rule{position: len(p.rules) + 1, id: cell("id"), line: line, source: fmt.Sprintf("%s:%d", p.name, line),
			tags: s.tags(cell)}
		if x.id == "" {
			return errors.New("no id: each rule has a name; rows of one name are its versions")
		}
		var err error
		if x.from, x.to, err = validity(cell); err != nil {
			return fmt.Errorf("rule %s: %w", x.id, err)
		}
		if x.owner, err = s.owner(cell); err != nil {
			return fmt.Errorf("rule %s: %w", x.id, err)
		}
		if x.owner == (schemas.Owner{}) && len(x.tags) == 0 {
			return fmt.Errorf("rule %s: it assigns nothing: fill cost_center, team, project, environment, gl_code or a tag",
				x.id)
		}
		for _, f := range fields {
			v := cell(f)
			if v == "" {
				continue
			}
			patterns := alternatives(v)
			for _, pattern := range patterns {
				if pattern == "" {
					return fmt.Errorf("rule %s: %s: %s has nothing before, after or between its |: take the | out", x.id, f, quote(v))
				}
				if err := rounded(pattern); err != nil {
					return fmt.Errorf("rule %s: %s: %w", x.id, f, err)
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
