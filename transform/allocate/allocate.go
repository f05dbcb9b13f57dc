// Package allocate says who pays for what: rules that people write, and the splitting of shared cost.
//
//	Parse: a rules file and the tables it names → Rules, or every mistake with its line
//	Assign: a record's account, token, user, model … and day → the first rule that matches → an owner or a shared pool
//	Split: the pools' cost of a month → each owner's part, to the last of twelve decimals
//
// It is pure: it reads no file and no clock. What no rule matches is assigned to nobody, and stays visible as that. A
// split loses and makes nothing: the parts of a cost sum to it in every figure.
package allocate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// engineVersion changes when the same files would assign or split otherwise.
const engineVersion = 1

// File is a file's content under the name that messages call it by.
type File struct {
	Name    string
	Content []byte
}

// Rules are allocation rules, ready to be asked. They don't change and can be used from several goroutines.
type Rules struct {
	rules  []*rule
	tables []*table
	pools  []*pool
	files  []File
	digest string
	fields []string

	// All of this is written by newRules, before anybody else has the Rules, and is only read from then on. So there is no
	// lock. The one thing that is made later is made under a sync.Once: see table.byBare.
	// Where to look for the rules that may match a key: each stands in one of these, as its position in rules.
	// Every list of positions ascends: newRules goes through the rules in order, and next relies on it.
	exact   [len(indexed)]map[string][]int // those that name values of a field and no patterns, by value
	general []int                          // all others
}

// indexed are the fields that a file may have a rule for each value of.
var indexed = [...]string{schemas.FieldTokenID, schemas.FieldCustomUserID, schemas.FieldUserID}

// rule is one version of a rule.
type rule struct {
	// Until versions has run, version is 0. A rule of a file with a mistake may lack an id or a pool, but no Rules are
	// made of such a file.
	position int // from 1, in the order of the file
	id       string
	version  int
	line     int
	source   string
	// Valid on the days from <= day < to; nil is without a bound on that side.
	from, to *schemas.Date
	// All of them must hold; none is a rule that matches everything.
	match []condition
	// Looked up in this order. The first must have a row for the key, else the rule doesn't match; the others may lack
	// one.
	lookup   []*table
	owner    schemas.Owner // without tags
	tags     map[string]string
	tagsText string // tags as Owner has them
	// Where cost goes instead of to owner and tags; nil of a rule that assigns. No rule has both.
	pool *pool
}

// Empty are no rules: everything is unallocated.
func Empty() *Rules { return newRules(nil, nil, nil, nil) }

// newRules makes the rules ready to be asked.
func newRules(rules []*rule, tables []*table, pools []*pool, files []File) *Rules {
	r := &Rules{rules: rules, tables: tables, pools: pools, files: files}
	for i := range r.exact {
		r.exact[i] = map[string][]int{}
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n", engineVersion)
	for _, f := range files {
		// A quoted name ends where its quote does, and a sum has one length, so that no two lists of files write the same
		// text.
		fmt.Fprintf(sum, "%q %x\n", f.Name, sha256.Sum256(f.Content))
	}
	r.digest = hex.EncodeToString(sum.Sum(nil))
	used := map[string]bool{}
	for i, x := range rules {
		x.tagsText = tagsJSON(x.tags)
		for _, c := range x.match {
			used[c.field] = true
		}
		for _, t := range x.lookup {
			for _, k := range t.key {
				if !slices.Contains(attributes, k) {
					used[k] = true
				}
			}
		}
		r.index(i, x)
	}
	for f := range used {
		if f != schemas.FieldAccount {
			r.fields = append(r.fields, f)
		}
	}
	slices.Sort(r.fields)
	return r
}

// index notes where the rule at i of rules is looked for.
func (r *Rules) index(i int, x *rule) {
	// The first of indexed that the rule names by values alone takes it, so that it stands under one field. A key has one
	// value of that field, and so meets the rule at most once. Another field that it names is left to holds.
	//
	// A condition with a pattern, or one that "" is meant by, too, holds for values that aren't in exact: such a rule is
	// found under no value, and has to be looked at for every key.
	for n, field := range indexed {
		for _, c := range x.match {
			if c.field == field && len(c.globs) == 0 && !c.empty {
				for v := range c.exact {
					r.exact[n][v] = append(r.exact[n][v], i)
				}
				return
			}
		}
	}
	r.general = append(r.general, i)
}

// candidates are the positions of the rules that may match a key: no other does.
type candidates [len(indexed) + 1][]int

// The lists are those of Rules themselves, and not copies: next takes from the front of its own slice headers, and
// writes to none of what they share.
func (r *Rules) candidates(k schemas.AllocationKey) candidates {
	c := candidates{r.general}
	for n, field := range indexed {
		if v, ok := value(k, field); ok {
			c[n+1] = r.exact[n][v]
		}
	}
	return c
}

// next takes the first position off, in the order of the file; -1 if there is none.
func (c *candidates) next() int {
	// A merge of lists that ascend: the smallest head is the earliest rule of the file that is left. There are four lists
	// at the most, so looking at each is cheaper than a heap. With [2 7] and [4], it gives 2, 4, 7.
	first := -1
	for n := range c {
		if len(c[n]) > 0 && (first < 0 || c[n][0] < c[first][0]) {
			first = n
		}
	}
	if first < 0 {
		return -1
	}
	i := c[first][0]
	c[first] = c[first][1:]
	return i
}

// Digest is that of the rules with all they look up, and of this package's way to read them.
func (r *Rules) Digest() string { return r.digest }

// Files are the rules file and the tables it names, as they were read; none of Empty.
func (r *Rules) Files() []File { return slices.Clone(r.files) }

// Fields are the fields of a key that the rules look at, sorted, but for the account, which always counts.
func (r *Rules) Fields() []string { return slices.Clone(r.fields) }

// Boundaries are the UTC days at which the validity of a rule, or of a row of a table, begins or ends, in order. From
// one to the next the rules say the same of a key.
func (r *Rules) Boundaries() []schemas.Date {
	var days []schemas.Date
	add := func(from, to *schemas.Date) {
		for _, d := range []*schemas.Date{from, to} {
			if d != nil {
				days = append(days, *d)
			}
		}
	}
	// A to is excluded, so it is a boundary just as a from is: the first day on which something else is said. A table that
	// several rules look up is gone through for each; Compact takes out what that repeats.
	for _, x := range r.rules {
		add(x.from, x.to)
		for _, t := range x.lookup {
			for _, row := range t.rows {
				add(row.from, row.to)
			}
		}
	}
	slices.Sort(days)
	return slices.Compact(days)
}

// List are the rules in the order of their file.
func (r *Rules) List() []schemas.AllocationRule {
	out := make([]schemas.AllocationRule, len(r.rules))
	for i, x := range r.rules {
		out[i] = schemas.AllocationRule{Position: x.position, RuleID: x.id, Version: x.version,
			ValidFrom: x.from, ValidTo: x.to, Match: x.matches(), Assigns: x.assigns(), Source: x.source}
		if x.pool != nil {
			out[i].Pool = x.pool.name
		}
	}
	return out
}

// Pools are the shared pools, by name.
func (r *Rules) Pools() []schemas.SharedPool {
	out := make([]schemas.SharedPool, len(r.pools))
	for i, p := range r.pools {
		out[i] = schemas.SharedPool{Pool: p.name, Method: p.method, Source: p.source}
	}
	return out
}

// Assign is what the rules say of a record with the key on a UTC day: the first that is valid and matches. The zero
// Assignment says that none does. Fields that no rule looks at may be nil.
func (r *Rules) Assign(k schemas.AllocationKey, day schemas.Date) schemas.Assignment {
	c := r.candidates(k)
	var rows [4]*tableRow // room, so that none is allocated
	for i := c.next(); i >= 0; i = c.next() {
		if found, why := r.rules[i].applies(k, day, rows[:0]); why == matched {
			return r.rules[i].assignment(found)
		}
	}
	return schemas.Assignment{}
}

// reason is why a rule matches a key or not.
type reason int

const (
	matched reason = iota
	notValid
	otherValue
	noRow
)

// applies says whether the rule matches the key on a day. To rows it adds those that are found: one for each table,
// nil where a table after the first has none.
func (x *rule) applies(k schemas.AllocationKey, day schemas.Date, rows []*tableRow) ([]*tableRow, reason) {
	if x.from != nil && day < *x.from || x.to != nil && day >= *x.to {
		return nil, notValid
	}
	for i := range x.match {
		if !x.match[i].holds(k) {
			return nil, otherValue
		}
	}
	var owner schemas.Owner // of the tables so far, which the next may be looked up by
	for i, t := range x.lookup {
		row := t.find(k, owner, day)
		if row == nil && i == 0 {
			return nil, noRow
		}
		if row != nil {
			owner = merge(owner, row.owner)
		}
		// A nil is kept: what is at n of rows is of the table at n of lookup, which Lost and assignment go by.
		rows = append(rows, row)
	}
	return rows, matched
}

// assignment is what the rule assigns with the rows that were found. What stands first in it counts: a table before
// those after it, and all of them before what the rule itself says.
func (x *rule) assignment(rows []*tableRow) schemas.Assignment {
	out := schemas.Assignment{RuleID: x.id, Version: x.version, Source: x.source}
	if x.pool != nil {
		out.Pool = x.pool.name
		return out
	}
	var tags map[string]string
	for _, row := range rows {
		if row == nil {
			continue
		}
		out.Source += row.source
		out.Owner = merge(out.Owner, row.owner)
		tags = mergeTags(tags, row.tags)
	}
	out.Owner = merge(out.Owner, x.owner)
	out.Tags = x.tagsText
	// Only now is there something of a row to mix with what the rule says. Where no row has tags the rule's own are text
	// already, and no JSON is made for a record.
	if tags != nil {
		out.Tags = tagsJSON(mergeTags(tags, x.tags))
	}
	return out
}

// mergeTags adds to a what only b has: what stands first counts. b is the tags of a rule or a row, which every
// assignment after this one reads, too, so it is never written to; a is the assignment's own, made by the first that
// has any.
func mergeTags(a, b map[string]string) map[string]string {
	if a == nil && len(b) > 0 {
		a = map[string]string{}
	}
	for name, v := range b {
		if _, there := a[name]; !there {
			a[name] = v
		}
	}
	return a
}

// merge fills what is empty in a from b: as with tags, what stands first counts. Both are copies, so neither a rule nor
// a row is changed. An attribute that a table has a column for, but nothing in the cell, is empty and filled by the
// next.
func merge(a, b schemas.Owner) schemas.Owner {
	for _, f := range ownerFields(&a) {
		if *f.value == "" {
			*f.value = *field(&b, f.name)
		}
	}
	return a
}

// The attributes that rules and tables assign, beside tags.
const (
	attrCostCenter  = "cost_center"
	attrTeam        = "team"
	attrProject     = "project"
	attrEnvironment = "environment"
	attrGLCode      = "gl_code"
)

var attributes = []string{attrCostCenter, attrTeam, attrProject, attrEnvironment, attrGLCode}

// ownerField is an attribute of an owner: what rules call it, and where it stands.
type ownerField struct {
	name  string
	value *string
}

// ownerFields are the attributes of o, each with the place in o that holds it: what is written there is written to o.
func ownerFields(o *schemas.Owner) []ownerField {
	return []ownerField{{attrCostCenter, &o.CostCenter}, {attrTeam, &o.Team}, {attrProject, &o.Project},
		{attrEnvironment, &o.Environment}, {attrGLCode, &o.GLCode}}
}

// field is one of ownerFields by its name; nil if there is none. It makes no slice, for it is asked at each look into a
// table.
func field(o *schemas.Owner, name string) *string {
	switch name {
	case attrCostCenter:
		return &o.CostCenter
	case attrTeam:
		return &o.Team
	case attrProject:
		return &o.Project
	case attrEnvironment:
		return &o.Environment
	case attrGLCode:
		return &o.GLCode
	}
	return nil
}

// tagsJSON is the flat JSON object of tags, its keys sorted; "" if there are none.
func tagsJSON(tags map[string]string) string {
	if len(tags) == 0 {
		return ""
	}
	var b bytes.Buffer
	for i, name := range sortedKeys(tags) {
		// A brace before the first name, a comma before each other.
		b.WriteString([]string{"{", ","}[min(i, 1)])
		writeJSONString(&b, name)
		b.WriteByte(':')
		writeJSONString(&b, tags[name])
	}
	b.WriteByte('}')
	return b.String()
}

// matches says in words what the rule matches.
func (x *rule) matches() string {
	if len(x.match) == 0 && len(x.lookup) == 0 {
		return "everything"
	}
	var words []string
	for _, c := range x.match {
		words = append(words, c.String())
	}
	for i, t := range x.lookup {
		if i == 0 {
			words = append(words, fmt.Sprintf("%s in %s", strings.Join(t.key, ", "), t.file))
		}
	}
	return strings.Join(words, " and ")
}

// assigns says in words what the rule assigns.
func (x *rule) assigns() string {
	if x.pool != nil {
		return "pool " + x.pool.name
	}
	var words []string
	if x.owner != (schemas.Owner{}) {
		words = append(words, ownerWords(x.owner))
	}
	for _, name := range sortedKeys(x.tags) {
		words = append(words, "tag "+name+" "+x.tags[name])
	}
	for _, t := range x.lookup {
		words = append(words, fmt.Sprintf("%s from %s", strings.Join(t.assigns, ", "), t.file))
	}
	return strings.Join(words, ", ")
}

// ownerWords names an owner's attributes.
func ownerWords(o schemas.Owner) string {
	var words []string
	for _, f := range ownerFields(&o) {
		if *f.value != "" {
			words = append(words, f.name+" "+*f.value)
		}
	}
	return strings.Join(words, ", ")
}
