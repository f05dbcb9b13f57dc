package allocate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Bounds of what people write, far beyond what they do; a file beyond them is a mistake.
const (
	maxRulesFile = 8 << 20
	maxText      = 1000 // characters of a name
	maxTables    = 100
	maxMistakes  = 100 // that are reported of a file
)

// The fields that a rule can match on, as they are called in a rules file.
var matchFields = map[string]string{
	"account": schemas.FieldAccount, "token_id": schemas.FieldTokenID, "user_id": schemas.FieldUserID,
	"custom_user_id": schemas.FieldCustomUserID, "model": schemas.FieldModel, "model_type": schemas.FieldModelType,
	"channel": schemas.FieldChannelID,
}

// The keys that stand where in a rules file.
var (
	fileKeys   = []string{"version", "tables", "rules", "pools"}
	tableKeys  = []string{"file", "key"}
	ruleKeys   = []string{"id", "from", "to", "match", "lookup", "assign", "pool"}
	assignKeys = append(slices.Clone(attributes), "tags")
	poolKeys   = []string{"split", "to"}
	targetKeys = append(slices.Clone(attributes), "share", "weight")
)

// Parse reads a rules file: a table if its name ends in .csv or .xlsx, else YAML. open reads the tables it names;
// their names are relative and stay below the file's directory. Of each file up to 100 mistakes are reported, a line
// each, with its file and line.
func Parse(file File, open func(name string) ([]byte, error)) (*Rules, error) {
	p := &parser{name: file.Name, open: open, files: []File{file}}
	switch {
	case len(file.Content) > maxRulesFile:
		return nil, fmt.Errorf("%s:1: %d bytes: rules of more than %d MiB are a mistake", file.Name, len(file.Content),
			maxRulesFile>>20)
	case IsTable(file.Name):
		p.sheet(file.Content)
	default:
		p.yaml(file.Content)
	}
	p.versions()
	if err := p.all(); err != nil {
		return nil, err
	}
	return newRules(p.rules, p.tables, p.pools, p.files), nil
}

// IsTable says by a file's name whether it is one that ReadSheet reads, where it may be something else, too.
func IsTable(name string) bool {
	return slices.Contains([]string{".csv", ".xlsx"}, strings.ToLower(filepath.Ext(name)))
}

// parser is a rules file that is being read. It goes on after a mistake, with what can be made of the rest, so that
// all are told at once; what it has made is of use only if there was none.
type parser struct {
	name string
	open func(string) ([]byte, error)
	// The rules file first, then the tables, each once: newRules digests them, and Check names the first.
	files  []File
	rules  []*rule
	tables []*table
	pools  []*pool
	errs   []error // in tables, or in a sheet of rules

	// Those in the rules file itself. They come in the order of what is read, and all sorts them.
	mistakes []mistake
	full     bool // there are more mistakes than are reported
}

func (p *parser) bad(line int, format string, args ...any) {
	// full is set by the mistake that has no place any more: a hundred are not too many.
	if p.full = len(p.mistakes) >= maxMistakes; !p.full {
		p.mistakes = append(p.mistakes, mistake{line, fmt.Errorf("%s:%d: "+format, append([]any{p.name, line},
			args...)...)})
	}
}

// mistake is one in the rules file itself.
type mistake struct {
	line int
	err  error
}

// all are the mistakes: those in tables, then those in the rules file in order of their lines.
func (p *parser) all() error {
	slices.SortStableFunc(p.mistakes, func(a, b mistake) int { return a.line - b.line })
	errs := p.errs
	for _, m := range p.mistakes {
		errs = append(errs, m.err)
	}
	if p.full {
		errs = append(errs, errors.New(andMore))
	}
	return errors.Join(errs...)
}

const andMore = "… and more; these first"

func (p *parser) yaml(content []byte) {
	if !utf8.Valid(content) {
		p.bad(1, "the file is not UTF-8: save it as UTF-8")
		return
	}
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var root yaml.Node
	if err := dec.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			p.bad(1, "the file is empty: write rules: and below it a list, or take allocation.rules out of the config")
			return
		}
		p.notYAML(content, err)
		return
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		p.bad(1, "the file holds more than one document: write one")
		return
	}
	if n := alias(&root); n != nil {
		p.bad(n.Line, "an alias (*%s): write out what it stands for", n.Value)
		return
	}
	top := p.mapping(root.Content[0], "the file", fileKeys)
	if v := top["version"]; v != nil && v.Value != "1" {
		p.bad(v.Line, "version %s: this program reads version 1", quote(v.Value))
	}
	tables := map[string]*table{}
	named := p.entries(top["tables"], "tables")
	if len(named) > maxTables {
		p.bad(top["tables"].Line, "tables: %d of them: write at most %d", len(named), maxTables)
		return
	}
	for _, name := range named {
		tables[name.key.Value] = p.table(name.key, name.value) // nil if it has a mistake, which is enough to say of it
	}
	pools := map[string]*pool{}
	for _, name := range p.entries(top["pools"], "pools") {
		pools[name.key.Value] = p.pool(name.key, name.value)
	}
	if top["rules"] == nil {
		p.bad(1, "no rules: write rules: and below it a list")
		return
	}
	for _, n := range p.list(top["rules"], "rules") {
		if p.full {
			return // to look for words that are meant takes time
		}
		p.rule(n, tables, pools)
	}
}

// yamlPlace is how the library begins what it says.
var yamlPlace = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)

// notYAML reports what can't be read at all, with the two mistakes that are most likely in a rules file.
func (p *parser) notYAML(content []byte, err error) {
	m := yamlPlace.FindStringSubmatch(err.Error())
	line, text := 1, err.Error()
	if m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	hint := ""
	switch {
	case strings.HasPrefix(text, "unknown anchor '"): // its line is never told
		name, _, _ := strings.Cut(strings.TrimPrefix(text, "unknown anchor '"), "'")
		line = 1 + bytes.Count(content[:max(bytes.Index(content, []byte("*"+name)), 0)], []byte("\n"))
		fallthrough
	case strings.Contains(text, "alphabetic or numeric"):
		hint = `: a value that begins with * needs quotes, like "*-prod"`
	case strings.Contains(text, "tab character"), strings.Contains(text, "cannot start any token"):
		hint = ": indent with spaces, and put values that begin with @ or % in quotes"
	}
	p.bad(line, "it is no YAML: %s%s", text, hint)
}

// alias is the first alias below n: they can make a small file huge.
func alias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n
	}
	for _, c := range n.Content {
		if a := alias(c); a != nil {
			return a
		}
	}
	return nil
}

type entry struct{ key, value *yaml.Node }

// entries are those of a mapping whose keys are names that people give.
func (p *parser) entries(n *yaml.Node, what string) []entry {
	if n == nil || n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		p.bad(n.Line, "%s: write a mapping of names", what)
		return nil
	}
	var out []entry
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if seen[k.Value] {
			p.bad(k.Line, "%s: %s stands twice: take one out", what, shown(k.Value))
			continue
		}
		seen[k.Value] = true
		if p.named(k, what) {
			out = append(out, entry{k, n.Content[i+1]})
		}
	}
	return out
}

// mapping gives the values of a mapping by key, of the keys that are known.
func (p *parser) mapping(n *yaml.Node, what string, known []string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		p.bad(n.Line, "%s: write a mapping of %s", what, strings.Join(known, ", "))
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case !slices.Contains(known, k.Value):
			p.bad(k.Line, "%s: unknown key %s%s", what, shown(k.Value), words.Nearest(k.Value, known))
		case out[k.Value] != nil:
			p.bad(k.Line, "%s: %s stands twice: take one out", what, k.Value)
		default:
			out[k.Value] = n.Content[i+1]
		}
	}
	return out
}

func (p *parser) list(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		p.bad(n.Line, "%s: write a list, each entry after a dash", what)
		return nil
	}
	return n.Content
}

// named is text that isn't empty: a name that people give.
func (p *parser) named(n *yaml.Node, what string) bool {
	if n.Kind == yaml.ScalarNode && (n.Value == "" || n.Tag == "!!null") {
		p.bad(n.Line, "%s: an entry without a name: write one", what)
		return false
	}
	return p.text(n, what)
}

// text says whether n is a plain value that can stand for a name in tables, statements and terminals.
func (p *parser) text(n *yaml.Node, what string) bool {
	if n.Kind != yaml.ScalarNode {
		p.bad(n.Line, "%s: write one value", what)
		return false
	}
	if n.Tag == "!!null" {
		p.bad(n.Line, "%s: nothing: write a value, or take it out", what)
		return false
	}
	if err := nameable(n.Value); err != nil {
		p.bad(n.Line, "%s: %w", what, err)
		return false
	}
	return true
}

func nameable(s string) error {
	if utf8.RuneCountInString(s) > maxText {
		return fmt.Errorf("a text of %d characters: write at most %d", utf8.RuneCountInString(s), maxText)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s has a control character: take it out", quote(s))
	}
	if strings.ContainsFunc(s, invisible) {
		return fmt.Errorf("%s has a character that nobody sees: take it out", quote(s))
	}
	return nil
}

// invisible are characters that make two names look the same, or turn the text around them: they come along when
// text is copied from a page. Joiners stay: scripts and emoji need them.
func invisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\u200c' && r != '\u200d'
}

func (p *parser) date(n *yaml.Node, what string) *schemas.Date {
	if n == nil {
		return nil
	}
	d, err := schemas.ParseDate(n.Value)
	if err != nil {
		p.bad(n.Line, "%s: %s is not a date like 2026-11-01", what, quote(n.Value))
		return nil
	}
	return &d
}

func (p *parser) rule(n *yaml.Node, tables map[string]*table, pools map[string]*pool) {
	what := fmt.Sprintf("rule %d", len(p.rules)+1)
	m := p.mapping(n, what, ruleKeys)
	x := &rule{position: len(p.rules) + 1, line: n.Line, source: fmt.Sprintf("%s:%d", p.name, n.Line)}
	p.rules = append(p.rules, x)
	if id := m["id"]; id == nil || id.Value == "" {
		p.bad(n.Line, "%s: no id: write id: and a name for it", what)
	} else if p.text(id, what) {
		x.id = id.Value
		what = "rule " + x.id
	}
	x.from, x.to = p.date(m["from"], what+": from"), p.date(m["to"], what+": to")
	p.period(x, n.Line, what)
	if match := m["match"]; match != nil {
		known := slices.Sorted(maps.Keys(matchFields))
		got := p.mapping(match, what+": match", known)
		for _, f := range known {
			if got[f] != nil {
				p.condition(x, f, got[f], what)
			}
		}
	}
	if l := m["lookup"]; l != nil {
		names := []*yaml.Node{l}
		if l.Kind == yaml.SequenceNode {
			names = l.Content
		}
		for _, name := range names {
			switch t, there := tables[name.Value]; {
			case t != nil:
				x.lookup = append(x.lookup, t)
				t.used = true
			case !there:
				p.bad(name.Line, "%s: lookup: no table %s%s", what, quote(name.Value),
					words.Nearest(name.Value, slices.Sorted(maps.Keys(tables))))
			}
		}
		if len(names) == 0 {
			p.bad(l.Line, "%s: lookup: it is empty: write the name of a table, or take it out", what)
		}
		if len(x.lookup) == len(names) {
			p.chain(x, l.Line, what)
		}
	}
	before := len(p.mistakes)
	if a := m["assign"]; a != nil {
		x.owner, x.tags = p.assign(a, what+": assign", assignKeys)
	}
	good := len(p.mistakes) == before
	if name := m["pool"]; name != nil {
		x.pool = pools[name.Value]
		if x.pool == nil {
			p.bad(name.Line, "%s: no pool %s: define it below pools%s", what, quote(name.Value),
				words.Nearest(name.Value, slices.Sorted(maps.Keys(pools))))
		}
	}
	switch {
	case m["pool"] != nil && (m["assign"] != nil || m["lookup"] != nil):
		p.bad(n.Line, "%s: it has pool and assign or lookup: cost goes to a pool or to an owner", what)
	case m["pool"] == nil && m["lookup"] == nil && x.owner == (schemas.Owner{}) && len(x.tags) == 0 && good:
		p.bad(n.Line, "%s: it assigns nothing: write assign: and below it cost_center, team, …, or pool: or lookup:", what)
	}
}

// chain checks that each table that is looked up finds what its key needs.
func (p *parser) chain(x *rule, line int, what string) {
	var have []string
	for _, t := range x.lookup {
		for _, k := range t.key {
			if slices.Contains(attributes, k) && !slices.Contains(have, k) {
				p.bad(line, "%s: lookup: %s is looked up by %s, which no table before it assigns", what, t.file, k)
			}
		}
		have = append(have, t.assigns...)
	}
}

// period checks the validity of a rule.
func (p *parser) period(x *rule, line int, what string) {
	if x.from != nil && x.to != nil && *x.from >= *x.to {
		p.bad(line, "%s: from %s is not before to %s (to is excluded)", what, x.from, x.to)
	}
}

func (p *parser) condition(x *rule, name string, n *yaml.Node, what string) {
	values := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		values = n.Content
	}
	if len(values) == 0 {
		p.bad(n.Line, "%s: match: %s is empty: write a value, or take it out", what, name)
	}
	var patterns []string
	for _, v := range values {
		if v.Tag == "!!null" {
			if v.Value == "" { // forgotten, or meant?
				p.bad(v.Line, "%s: match: %s: no value: write \"\" for records that have none, or take it out", what, name)
			} else {
				patterns = append(patterns, "")
			}
			continue
		}
		if !p.text(v, what+": match: "+name) {
			continue
		}
		if v.Tag == "!!float" {
			p.bad(v.Line, "%s: match: %s: %s is read as a number: put it in quotes", what, name, shown(v.Value))
			continue
		}
		if err := possible(name, v.Value); err != nil {
			p.bad(v.Line, "%s: match: %w", what, err)
			continue
		}
		patterns = append(patterns, v.Value)
	}
	x.match = append(x.match, newCondition(matchFields[name], patterns))
}

// possible refuses a pattern that no value of the field is like.
func possible(name, pattern string) error {
	g := newGlob(pattern)
	if matchFields[name] != schemas.FieldChannelID || pattern == "" || !g.literal() {
		return nil
	}
	if n, err := strconv.ParseInt(g.text(), 10, 64); err != nil || strconv.FormatInt(n, 10) != g.text() {
		return fmt.Errorf("%s: %s is no channel: write a whole number such as 7, or a pattern like 1*", name,
			quote(pattern))
	}
	return nil
}

// assign reads attributes and tags.
func (p *parser) assign(n *yaml.Node, what string, known []string) (schemas.Owner, map[string]string) {
	var o schemas.Owner
	m := p.mapping(n, what, known)
	for _, f := range ownerFields(&o) {
		if v := m[f.name]; v != nil && p.text(v, what+": "+f.name) {
			if err := assignable(v.Value); err != nil {
				p.bad(v.Line, "%s: %s: %w", what, f.name, err)
			}
			*f.value = v.Value
		}
	}
	tags := map[string]string{}
	for _, e := range p.entries(m["tags"], what+": tags") {
		if p.text(e.value, what+": tags") {
			tags[e.key.Value] = e.value.Value
		}
	}
	return o, tags
}

// assignable refuses what a report would take for something else.
func assignable(s string) error {
	if strings.EqualFold(s, schemas.Unallocated) {
		return fmt.Errorf("%s is what no rule matches: give it another name", s)
	}
	if err := rounded(s); err != nil {
		return err
	}
	if s != strings.TrimSpace(s) {
		return fmt.Errorf("%q begins or ends with a space: take it out", s)
	}
	return nil
}

func (p *parser) table(name, n *yaml.Node) *table {
	what := "table " + name.Value
	m := p.mapping(n, what, tableKeys)
	if m["file"] == nil || m["key"] == nil {
		p.bad(name.Line, "%s: write file: and key: (the field or fields that its rows are found by)", what)
		return nil
	}
	keys := []*yaml.Node{m["key"]}
	if m["key"].Kind == yaml.SequenceNode {
		keys = m["key"].Content
	}
	t := &table{name: name.Value, file: m["file"].Value, line: name.Line}
	for _, k := range keys {
		field, ok := matchFields[k.Value]
		if !ok && slices.Contains(attributes, k.Value) {
			field, ok = k.Value, true
		}
		if !ok {
			p.bad(k.Line, "%s: key: no field %s%s", what, quote(k.Value),
				words.Nearest(k.Value, append(slices.Sorted(maps.Keys(matchFields)), attributes...)))
			return nil
		}
		t.key = append(t.key, field)
		t.header = append(t.header, k.Value)
	}
	if len(t.key) == 0 {
		p.bad(m["key"].Line, "%s: key: write a field", what)
		return nil
	}
	// The name is given to open, which reads a file: it must not lead out of the directory of the rules, nor be a
	// drive or a stream where a system has those.
	if err := nameable(t.file); err != nil {
		p.bad(m["file"].Line, "%s: file: %w", what, err)
		return nil
	}
	if !filepath.IsLocal(t.file) || strings.ContainsAny(t.file, `\:`) {
		p.bad(m["file"].Line, "%s: file %s: write a path below the directory of %s, with slashes", what, quote(t.file),
			p.name)
		return nil
	}
	content, err := p.read(t.file)
	if err != nil {
		p.bad(m["file"].Line, "%s: %w", what, err)
		return nil
	}
	if errs := t.parse(content); len(errs) > 0 {
		p.errs = append(p.errs, errs...)
		return nil
	}
	p.tables = append(p.tables, t)
	return t
}

// read is a file's content, once read for all tables that stand in it: it may change meanwhile.
func (p *parser) read(name string) ([]byte, error) {
	for _, f := range p.files[1:] {
		if f.Name == name {
			return f.Content, nil
		}
	}
	content, err := p.open(name)
	if err == nil {
		p.files = append(p.files, File{name, content})
	}
	return content, err
}

// versions numbers the rules of one id in order of their validity, and refuses those that overlap.
func (p *parser) versions() {
	byID := map[string][]*rule{}
	for _, x := range p.rules {
		if x.id != "" {
			byID[x.id] = append(byID[x.id], x)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		// As with the rows of a table (overlaps): it is held against the one that ends last, and not against the one
		// before it. The sort is stable, so that of two that begin on the same day, which is a mistake, the one
		// further down is named.
		rules := byID[id]
		slices.SortStableFunc(rules, func(a, b *rule) int { return int(start(a.from)) - int(start(b.from)) })
		longest := rules[0] // that ends last of those so far
		for i, x := range rules {
			x.version = i + 1
			if i > 0 && end(longest.to) > start(x.from) {
				p.bad(x.line, "rule %s: it is valid at the same time as that of line %d: %s give it another id", id,
					longest.line,
					ending(longest, x))
			}
			if end(x.to) > end(longest.to) {
				longest = x
			}
		}
	}
}

// ending says how x can end before its successor, if it can.
func ending(x, successor *rule) string {
	if start(x.from) < start(successor.from) {
		return fmt.Sprintf("end that with to: %s, or", successor.from)
	}
	return "begin one later and end the other there, or"
}

// start is the first day of a validity; a nil one begins before all.
func start(d *schemas.Date) schemas.Date {
	if d == nil {
		return math.MinInt32
	}
	return *d
}

// end is the day at which a validity ends; a nil one ends after all.
func end(d *schemas.Date) schemas.Date {
	if d == nil {
		return math.MaxInt32
	}
	return *d
}
