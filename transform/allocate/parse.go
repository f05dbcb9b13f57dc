package allocate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/usagelake/usagelake/schemas"
)

// Bounds of what people write, far beyond what they do; a file beyond them is a mistake.
const (
	maxRulesFile = 8 << 20
	maxText      = 1000 // characters of a name
)

// The fields that a rule can match on, as they are called in a rules file.
var matchFields = map[string]string{
	"account": schemas.FieldAccount, "token_id": schemas.FieldTokenID, "user_id": schemas.FieldUserID,
	"custom_user_id": schemas.FieldCustomUserID, "model": schemas.FieldModel, "model_type": schemas.FieldModelType, "channel": schemas.FieldChannelID,
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

// Parse reads a rules file: CSV if its name ends in .csv, else YAML. open reads the tables it names; their names are
// relative and stay below the file's directory. Every mistake is reported, with its file and line.
func Parse(file File, open func(name string) ([]byte, error)) (*Rules, error) {
	p := &parser{name: file.Name, open: open, files: []File{file}}
	switch {
	case len(file.Content) > maxRulesFile:
		return nil, fmt.Errorf("%s: %d bytes: rules of more than %d MiB are a mistake", file.Name, len(file.Content), maxRulesFile>>20)
	case strings.EqualFold(filepath.Ext(file.Name), ".csv"):
		p.csv(file.Content)
	default:
		p.yaml(file.Content)
	}
	p.versions()
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return newRules(p.rules, p.tables, p.pools, p.files), nil
}

type parser struct {
	name   string
	open   func(string) ([]byte, error)
	files  []File
	rules  []*rule
	tables []*table
	pools  []*pool
	errs   []error
}

func (p *parser) bad(line int, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: "+format, append([]any{p.name, line}, args...)...))
}

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
		p.errs = append(p.errs, fmt.Errorf("%s: %w", p.name, err))
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
		p.bad(v.Line, "version %q: this program reads version 1", v.Value)
	}
	tables := map[string]*table{}
	for _, name := range p.entries(top["tables"], "tables") {
		if t := p.table(name.key, name.value); t != nil {
			tables[name.key.Value] = t
		}
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
		p.rule(n, tables, pools)
	}
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
			p.bad(k.Line, "%s: %s stands twice", what, k.Value)
			continue
		}
		seen[k.Value] = true
		if p.text(k, what) {
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
			p.bad(k.Line, "%s: unknown key %s%s", what, k.Value, nearest(k.Value, known))
		case out[k.Value] != nil:
			p.bad(k.Line, "%s: %s stands twice", what, k.Value)
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

// text says whether n is a plain value that can stand for a name in tables, statements and terminals.
func (p *parser) text(n *yaml.Node, what string) bool {
	if n.Kind != yaml.ScalarNode {
		p.bad(n.Line, "%s: write one value", what)
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
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return fmt.Errorf("%q has a control character: take it out", s)
	}
	return nil
}

func (p *parser) date(n *yaml.Node, what string) *schemas.Date {
	if n == nil {
		return nil
	}
	d, err := schemas.ParseDate(n.Value)
	if err != nil {
		p.bad(n.Line, "%s: %w", what, err)
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
			if t := tables[name.Value]; t != nil {
				x.lookup = append(x.lookup, t)
				t.used = true
			} else {
				p.bad(name.Line, "%s: lookup: no table %q%s", what, name.Value, nearest(name.Value, slices.Sorted(maps.Keys(tables))))
			}
		}
		p.chain(x, l.Line, what)
	}
	if a := m["assign"]; a != nil {
		x.owner, x.tags = p.assign(a, what+": assign", assignKeys)
	}
	if name := m["pool"]; name != nil {
		x.pool = pools[name.Value]
		if x.pool == nil {
			p.bad(name.Line, "%s: no pool %q: define it below pools%s", what, name.Value, nearest(name.Value, slices.Sorted(maps.Keys(pools))))
		}
	}
	switch {
	case m["pool"] != nil && (m["assign"] != nil || m["lookup"] != nil):
		p.bad(n.Line, "%s: it has pool and assign or lookup: cost goes to a pool or to an owner", what)
	case m["pool"] == nil && m["lookup"] == nil && x.owner == (schemas.Owner{}) && len(x.tags) == 0:
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
		if !p.text(v, what+": match: "+name) {
			continue
		}
		if v.Tag == "!!float" {
			p.bad(v.Line, "%s: match: %s: %s is read as a number: put it in quotes", what, name, v.Value)
			continue
		}
		s := v.Value
		if v.Tag == "!!null" {
			s = ""
		}
		patterns = append(patterns, s)
	}
	x.match = append(x.match, newCondition(matchFields[name], patterns))
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
	if s == schemas.Unallocated {
		return fmt.Errorf("%s is what no rule matches: give it another name", s)
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
			p.bad(k.Line, "%s: key: no field %q%s", what, k.Value, nearest(k.Value, append(slices.Sorted(maps.Keys(matchFields)), attributes...)))
			return nil
		}
		t.key = append(t.key, field)
		t.header = append(t.header, k.Value)
	}
	if len(t.key) == 0 {
		p.bad(m["key"].Line, "%s: key: write a field", what)
		return nil
	}
	if !filepath.IsLocal(t.file) || strings.ContainsAny(t.file, `\:`) {
		p.bad(m["file"].Line, "%s: file %q: write a path below the directory of %s, with slashes", what, t.file, p.name)
		return nil
	}
	content, err := p.open(t.file)
	if err != nil {
		p.bad(m["file"].Line, "%s: %w", what, err)
		return nil
	}
	if !slices.ContainsFunc(p.files[1:], func(f File) bool { return f.Name == t.file }) {
		p.files = append(p.files, File{t.file, content})
	}
	if errs := t.parse(content); len(errs) > 0 {
		p.errs = append(p.errs, errs...)
		return nil
	}
	p.tables = append(p.tables, t)
	return t
}

func (p *parser) pool(name, n *yaml.Node) *pool {
	what := "pool " + name.Value
	out := &pool{name: name.Value, line: name.Line, source: fmt.Sprintf("%s:%d", p.name, name.Line)}
	p.pools = append(p.pools, out)
	m := p.mapping(n, what, poolKeys)
	methods := []string{methodFixed, methodEven, methodUsage, methodCost}
	if s := m["split"]; s == nil || !slices.Contains(methods, s.Value) {
		given := ""
		if s != nil {
			given = s.Value
		}
		p.bad(name.Line, "%s: split %q: write one of %s%s", what, given, strings.Join(methods, ", "), nearest(given, methods))
	} else {
		out.method = s.Value
	}
	to := m["to"]
	switch {
	case to == nil:
		p.bad(name.Line, "%s: no to: write who bears it, as a list, or all", what)
		return out
	case to.Kind == yaml.ScalarNode && to.Value == "all":
		if out.method == methodFixed {
			p.bad(to.Line, "%s: a fixed split needs a list of who bears which share", what)
		}
		out.all = true
		return out
	}
	sum := schemas.Decimal(0)
	for _, v := range p.list(to, what+": to") {
		who := what + ": to"
		known := targetKeys
		t := target{weight: one}
		got := p.mapping(v, who, known)
		weight := got["weight"]
		if out.method == methodFixed {
			weight = got["share"]
			if got["weight"] != nil || weight == nil {
				p.bad(v.Line, "%s: a fixed split goes by share: write share: 0.3 or the like", who)
			}
		} else if got["share"] != nil {
			p.bad(v.Line, "%s: share is for a fixed split: write weight", who)
		}
		for _, f := range ownerFields(&t.owner) {
			if a := got[f.name]; a != nil && p.text(a, who) {
				if err := assignable(a.Value); err != nil {
					p.bad(a.Line, "%s: %s: %w", who, f.name, err)
				}
				*f.value = a.Value
			}
		}
		if t.owner == (schemas.Owner{}) {
			p.bad(v.Line, "%s: an entry without cost_center, team, project, environment or gl_code", who)
		}
		if slices.ContainsFunc(out.targets, func(o target) bool { return o.owner == t.owner }) {
			p.bad(v.Line, "%s: it stands twice", who)
		}
		if weight != nil {
			w, err := schemas.ParseDecimal([]byte(weight.Value))
			if err != nil || w < 0 {
				p.bad(weight.Line, "%s: %q is not a weight: write a number of 0 or more, such as 0.25 or 3", who, weight.Value)
			}
			t.weight = w
		}
		sum += min(t.weight, 1_000_000*one) // no overflow: it is only looked at for being 0
		out.targets = append(out.targets, t)
	}
	switch {
	case len(out.targets) == 0:
		p.bad(to.Line, "%s: nobody bears it: write a list, or all", what)
	case len(out.targets) > 10_000:
		p.bad(to.Line, "%s: more than 10000 bear it", what)
	case sum == 0:
		p.bad(to.Line, "%s: every share or weight is 0: nobody would bear it", what)
	}
	return out
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
		rules := byID[id]
		slices.SortStableFunc(rules, func(a, b *rule) int { return int(start(a.from)) - int(start(b.from)) })
		for i, x := range rules {
			x.version = i + 1
			if i > 0 && (rules[i-1].to == nil || *rules[i-1].to > start(x.from)) {
				p.bad(x.line, "rule %s: it is valid at the same time as that of line %d: end that with to: %s, or give it another id",
					id, rules[i-1].line, beginning(x.from))
			}
		}
	}
}

// start is the first day of a validity; a nil one begins before all.
func start(d *schemas.Date) schemas.Date {
	if d == nil {
		return -1 << 30
	}
	return *d
}

func beginning(d *schemas.Date) string {
	if d == nil {
		return "a date"
	}
	return d.String()
}

// nearest proposes the known word that is closest to the given one, or lists them.
func nearest(given string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	best, bestAt := "", utf8.RuneCountInString(given)/2+2
	if len(given) <= 100 {
		for _, k := range known {
			if d := distance(given, k); d < bestAt {
				best, bestAt = k, d
			}
		}
	}
	if best != "" {
		return ": did you mean " + best + "?"
	}
	if len(known) > 20 {
		return ""
	}
	return " (known here: " + strings.Join(known, ", ") + ")"
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// quote is s as a message shows it.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return strconv.Quote(s)
}
