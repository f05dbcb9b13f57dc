package allocate

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/usagelake/usagelake/schemas"
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
	byKey   map[string][]*tableRow
	used    bool // a rule looks it up
}

type tableRow struct {
	line     int
	key      string
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
	r       *csv.Reader
}

func openSheet(name string, content []byte, known func(column string) error) (*sheet, []error) {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	switch {
	case len(content) > maxTableFile:
		return nil, []error{fmt.Errorf("%s: larger than %d MiB", name, maxTableFile>>20)}
	case !utf8.Valid(content):
		return nil, []error{fmt.Errorf("%s:%d: the file is not UTF-8: save it as CSV UTF-8", name, 1+bytes.Count(content[:invalidAt(content)], []byte("\n")))}
	case bytes.IndexByte(content, 0) >= 0:
		return nil, []error{fmt.Errorf("%s: it has NUL bytes: it is no CSV file", name)}
	}
	s := &sheet{name: name, columns: map[string]int{}, r: csv.NewReader(bytes.NewReader(content))}
	s.r.FieldsPerRecord = -1
	header, _, _ := bytes.Cut(content, []byte("\n"))
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
		return nil, []error{fmt.Errorf("%s: %w", name, err)}
	}
	var errs []error
	for i, c := range row {
		c = strings.TrimSpace(c)
		if err := known(c); err != nil {
			errs = append(errs, fmt.Errorf("%s:1: %w", name, err))
			continue
		}
		if _, twice := s.columns[c]; twice {
			errs = append(errs, fmt.Errorf("%s:1: the column %s stands twice", name, c))
		}
		s.columns[c] = i
	}
	s.names = row
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
		if err != nil {
			return append(errs, fmt.Errorf("%s: %w", s.name, err)) // it says which line
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
		for _, c := range row {
			if err := nameable(c); err != nil {
				bad = err
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

// scientific is what a spreadsheet makes of a long number: digits are lost then.
var scientific = regexp.MustCompile(`^[0-9]+([.,][0-9]+)?[eE]\+[0-9]+$`)

// parse reads the file. Its cells are taken as they are: no patterns.
func (t *table) parse(content []byte) []error {
	known := slices.Concat(t.header, attributes, []string{"from", "to"})
	s, errs := openSheet(t.file, content, func(c string) error {
		if slices.Contains(known, c) || strings.HasPrefix(c, tagPrefix) && len(c) > len(tagPrefix) {
			return nil
		}
		return fmt.Errorf("unknown column %s%s", quote(c), nearest(c, known))
	})
	if len(errs) > 0 {
		return errs
	}
	for _, h := range t.header {
		if _, ok := s.columns[h]; !ok {
			errs = append(errs, fmt.Errorf("%s:1: no column %s, which table %s is looked up by", t.file, h, t.name))
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
		errs = append(errs, fmt.Errorf("%s:1: it assigns nothing: it needs a column of %s or %sNAME", t.file, strings.Join(attributes, ", "), tagPrefix))
	}
	if len(errs) > 0 {
		return errs
	}
	t.byKey = map[string][]*tableRow{}
	return s.each(func(line int, cell func(string) string) error {
		row := &tableRow{line: line, tags: s.tags(cell)}
		parts := make([]string, len(t.header))
		for i, h := range t.header {
			parts[i] = cell(h)
			switch {
			case parts[i] == "":
				return fmt.Errorf("no %s", h)
			case scientific.MatchString(parts[i]):
				return fmt.Errorf("%s: %s is a rounded number: the spreadsheet has lost digits; format the column as text and enter it anew", h, parts[i])
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
		for _, other := range t.byKey[row.key] {
			if (other.to == nil || *other.to > start(row.from)) && (row.to == nil || *row.to > start(other.from)) {
				return fmt.Errorf("%s is there already in line %d, for the same time", strings.Join(parts, ", "), other.line)
			}
		}
		t.rows = append(t.rows, row)
		t.byKey[row.key] = append(t.byKey[row.key], row)
		return nil
	})
}

// find is the row for a key, of which some attributes are known; nil if there is none on that day.
func (t *table) find(k schemas.AllocationKey, o schemas.Owner, day schemas.Date) *tableRow {
	key := ""
	for i, f := range t.key {
		v, ok := value(k, f)
		if a := field(&o, f); a != nil {
			v, ok = *a, true
		}
		if !ok || v == "" {
			return nil
		}
		if i > 0 {
			key += "\x00"
		}
		key += v
	}
	for _, row := range t.byKey[key] {
		if (row.from == nil || day >= *row.from) && (row.to == nil || day < *row.to) {
			return row
		}
	}
	return nil
}

// csv reads rules from a table: a row each.
func (p *parser) csv(content []byte) {
	fields := slices.Sorted(maps.Keys(matchFields))
	known := slices.Concat([]string{"id", "from", "to"}, fields, attributes)
	s, errs := openSheet(p.name, content, func(c string) error {
		if slices.Contains(known, c) || strings.HasPrefix(c, tagPrefix) && len(c) > len(tagPrefix) {
			return nil
		}
		return fmt.Errorf("unknown column %s%s", quote(c), nearest(c, known))
	})
	if len(errs) > 0 {
		p.errs = append(p.errs, errs...)
		return
	}
	if _, ok := s.columns["id"]; !ok {
		p.bad(1, "no column id: each rule has a name")
		return
	}
	p.errs = append(p.errs, s.each(func(line int, cell func(string) string) error {
		x := &rule{position: len(p.rules) + 1, id: cell("id"), line: line, source: fmt.Sprintf("%s:%d", p.name, line), tags: s.tags(cell)}
		if x.id == "" {
			return errors.New("no id: each rule has a name")
		}
		var err error
		if x.from, x.to, err = validity(cell); err != nil {
			return fmt.Errorf("rule %s: %w", x.id, err)
		}
		if x.owner, err = s.owner(cell); err != nil {
			return fmt.Errorf("rule %s: %w", x.id, err)
		}
		if x.owner == (schemas.Owner{}) && len(x.tags) == 0 {
			return fmt.Errorf("rule %s: it assigns nothing: fill cost_center, team, project, environment, gl_code or a tag", x.id)
		}
		for _, f := range fields {
			v := cell(f)
			if v == "" {
				continue
			}
			patterns := strings.Split(v, "|")
			for i := range patterns {
				patterns[i] = strings.TrimSpace(patterns[i])
				if scientific.MatchString(patterns[i]) {
					return fmt.Errorf("rule %s: %s: %s is a rounded number: the spreadsheet has lost digits; format the column as text and enter it anew", x.id, f, patterns[i])
				}
			}
			x.match = append(x.match, newCondition(matchFields[f], patterns))
		}
		p.rules = append(p.rules, x)
		return nil
	})...)
}
