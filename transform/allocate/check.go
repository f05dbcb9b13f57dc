package allocate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Severities of a Finding.
const (
	Warning = "warning" // money may go where nobody meant it to
	Info    = "info"    // something that does nothing, or may be a slip of the pen: nothing that must be mended
)

// Finding is something in rules that are valid, and that their author may not mean.
type Finding struct {
	Severity string `json:"severity"`
	RuleID   string `json:"rule_id,omitempty"`
	Source   string `json:"source"` // file and line
	Message  string `json:"message"`
}

// Used is a combination of fields that was used, on the days from First to Last.
type Used struct {
	Key         schemas.AllocationKey
	First, Last schemas.Date
}

// Check looks for rules that match nothing of what was used and says why: an earlier rule takes everything that they
// match, or nothing does; for gaps between the versions of a rule; for pools, tables and rows that nothing uses, or
// that say nothing.
func (r *Rules) Check(used []Used) []Finding {
	var out []Finding
	add := func(severity string, x *rule, format string, args ...any) {
		f := Finding{Severity: severity, Message: fmt.Sprintf(format, args...)}
		if x != nil {
			f.RuleID, f.Source = x.id, x.source
		}
		out = append(out, f)
	}
	caught, rows, taken := r.usage(used)
	for i, x := range r.rules {
		by := taken[i]
		if len(by) > 10 {
			// The third index keeps append from writing into what taken holds.
			by = append(by[:10:10], fmt.Sprintf("and %d more", len(by)-10))
		}
		switch shadow := r.shadow(i); {
		case shadow != nil:
			add(Warning, x, "it never applies: rule %s in line %d matches all that it matches, and stands before it",
				shadow.id, shadow.line)
		case caught[i]:
		case len(by) > 0:
			add(Warning, x, "everything that it matches is taken by rules before it: %s", strings.Join(by, ", "))
		default:
			add(Info, x, "it matches nothing of what was used")
		}
	}
	// Gaps: the versions of an id that don't follow each other.
	type version struct {
		id string
		n  int
	}
	versions := map[version]*rule{}
	for _, x := range r.rules {
		versions[version{x.id, x.version}] = x
	}
	for _, x := range r.rules {
		// A version that ends on the day the next begins leaves none out, for to is excluded. That no two overlap is refused
		// by the parser.
		if y := versions[version{x.id, x.version + 1}]; y != nil && x.to != nil && y.from != nil && *x.to < *y.from {
			add(Warning, y, "between %s and %s no version of it is valid: the one before ends, in line %d, before this begins",
				x.to, y.from, x.line)
		}
	}
	for _, p := range r.pools {
		if !slices.ContainsFunc(r.rules, func(x *rule) bool { return x.pool == p }) {
			out = append(out, Finding{Info, "", p.source, "pool " + p.name + ": no rule sends cost to it"})
		}
		for _, t := range p.targets {
			if t.owner.CostCenter == "" {
				out = append(out, Finding{Warning, "", p.source,
					fmt.Sprintf("pool %s: the entry %s names no cost_center: its share is charged to %s",
						p.name, ownerWords(t.owner), schemas.Unallocated)})
			}
		}
		if a, b := p.overlap(); a != "" {
			out = append(out, Finding{Warning, "", p.source,
				fmt.Sprintf("pool %s: %s is a part of %s, and what it used or cost counts for both", p.name, a, b)})
		}
	}
	for _, t := range r.tables {
		if !t.used {
			out = append(out, Finding{Info, "", fmt.Sprintf("%s:%d", r.files[0].Name, t.line),
				"table " + t.name + ": no rule looks it up"})
			continue
		}
		var idle, empty []int
		for _, row := range t.rows {
			switch {
			case row.owner == (schemas.Owner{}) && len(row.tags) == 0:
				empty = append(empty, row.line)
			case !rows[row]:
				idle = append(idle, row.line)
			}
		}
		if len(empty) > 0 {
			out = append(out, Finding{Warning, "", t.file, "what they are found by has no owner in lines " + words.Some(empty,
				10)})
		}
		if len(idle) > 0 {
			out = append(out, Finding{Info, "", t.file, "nothing that was used is in its lines " + words.Some(idle, 10)})
		}
	}
	return out
}

// usage asks the rules of all that was used, on each day at which they say something new: which rules applied, which
// rows were found, and of rules that matched but came too late the ids of those that came first.
func (r *Rules) usage(used []Used) (caught map[int]bool, rows map[*tableRow]bool, taken map[int][]string) {
	caught, rows, taken = map[int]bool{}, map[*tableRow]bool{}, map[int][]string{}
	bounds := r.Boundaries()
	var room [4]*tableRow
	for _, u := range used {
		// BinarySearch of a day + 1 is how many boundaries are at that day or before it. So bounds[first:last] are those
		// after First and up to Last: with First itself, one day of each stretch in which the rules say the same. Used from
		// the 3rd to the 10th with boundaries on the 1st, the 3rd, the 7th and the 11th, it is asked of the 3rd and of the
		// 7th.
		//
		// A Last before First would put last before first, which max makes an empty range.
		first, _ := slices.BinarySearch(bounds, u.First+1)
		last, _ := slices.BinarySearch(bounds, u.Last+1)
		for _, day := range append([]schemas.Date{u.First}, bounds[first:max(first, last)]...) {
			winner := ""
			c := r.candidates(u.Key)
			for i := c.next(); i >= 0; i = c.next() {
				// Whom it lost to matters only of a rule that never wins.
				if winner != "" && caught[i] {
					continue
				}
				found, why := r.rules[i].applies(u.Key, day, room[:0])
				if why != matched {
					continue
				}
				if winner != "" {
					if !slices.Contains(taken[i], winner) {
						taken[i] = append(taken[i], winner)
					}
					continue
				}
				winner = r.rules[i].id
				caught[i] = true
				// A nil among them, of a table without a row, notes nothing that is asked for.
				for _, row := range found {
					rows[row] = true
				}
			}
		}
	}
	return caught, rows, taken
}

// shadow is a rule before that at i of rules which surely matches all that it matches; nil if none is known.
func (r *Rules) shadow(i int) *rule {
	x := r.rules[i]
	// Whatever covers x matches a key of x's own first values, too, so it is among the candidates for that.
	var k schemas.AllocationKey
	for _, c := range x.match {
		if names := c.names(); len(names) > 0 {
			switch c.field {
			case schemas.FieldTokenID:
				k.TokenID = &names[0]
			case schemas.FieldCustomUserID:
				k.CustomUserID = &names[0]
			case schemas.FieldUserID:
				k.UserID = &names[0]
			}
		}
	}
	c := r.candidates(k)
	for j := c.next(); j >= 0 && j < i; j = c.next() {
		if r.rules[j].covers(x) {
			return r.rules[j]
		}
	}
	return nil
}

// covers says whether x surely matches all that y matches, whenever y is valid.
func (x *rule) covers(y *rule) bool {
	// It has to be valid on every day on which y is. A rule that looks something up is never sure to match: the row may be
	// missing.
	if start(x.from) > start(y.from) || x.to != nil && (y.to == nil || *x.to < *y.to) || len(x.lookup) > 0 {
		return false
	}
	for _, c := range x.match {
		i := slices.IndexFunc(y.match, func(o condition) bool { return o.field == c.field })
		// Where y says nothing of a field any value of it will do, and only "*" of x takes that.
		if i < 0 && !slices.ContainsFunc(c.globs, glob.everything) || i >= 0 && !c.covers(y.match[i]) {
			return false
		}
	}
	return true
}

// covers says whether c surely holds wherever o does.
func (c condition) covers(o condition) bool {
	if slices.ContainsFunc(c.globs, glob.everything) {
		return true
	}
	if o.empty && !c.empty {
		return false
	}
	for v := range o.exact {
		if !c.exact[v] && !slices.ContainsFunc(c.globs, func(g glob) bool { return g.match(v) }) {
			return false
		}
	}
	for _, g := range o.globs {
		if !slices.ContainsFunc(c.globs, func(wide glob) bool { return wide.covers(g) }) {
			return false
		}
	}
	return true
}

// overlap names two of who bears the pool of which the first is part of the second, if what they used or cost matters.
func (p *pool) overlap() (part, whole string) {
	if p.method != methodUsage && p.method != methodCost || len(p.targets) > 1000 {
		return "", ""
	}
	for _, a := range p.targets {
		for _, b := range p.targets {
			// Every pair is looked at: a million at the bound above, and a hundred times that at maxTargets.
			if a.owner != b.owner && within(a.owner, b.owner) {
				return ownerWords(a.owner), ownerWords(b.owner)
			}
		}
	}
	return "", ""
}

// Step is what one rule says of a record.
type Step struct {
	RuleID  string `json:"rule_id"`
	Version int    `json:"version"`
	Source  string `json:"source"`
	Matches bool   `json:"matches"`
	Why     string `json:"why"` // what the rule matches, and why it doesn't here
}

// Explain is what each rule says of a key on a UTC day, in order, up to the one that matches.
func (r *Rules) Explain(k schemas.AllocationKey, day schemas.Date) []Step {
	var out []Step
	for _, x := range r.rules {
		rows, why := x.applies(k, day, nil)
		s := Step{RuleID: x.id, Version: x.version, Source: x.source, Matches: why == matched}
		switch why {
		case matched:
			s.Source, s.Why = x.assignment(rows).Source, x.matches()
		case notValid:
			s.Why = "not valid on " + day.String() + ", but " + validWords(x.from, x.to)
		case otherValue:
			for _, c := range x.match {
				if !c.holds(k) {
					v, _ := value(k, c.field)
					if v == "" {
						v = "nothing"
					}
					s.Why = fmt.Sprintf("%s is %s, not %s", c.field, v, strings.TrimPrefix(c.String(), c.field+" "))
					break
				}
			}
		case noRow:
			t := x.lookup[0]
			values := make([]string, len(t.key))
			for i, f := range t.key {
				values[i], _ = value(k, f)
			}
			s.Why = fmt.Sprintf("%s has no row for %s", t.file, strings.Join(values, ", "))
		}
		out = append(out, s)
		if s.Matches {
			break
		}
	}
	return out
}

func validWords(from, to *schemas.Date) string {
	switch {
	case from == nil:
		return "before " + to.String()
	case to == nil:
		return "from " + from.String()
	}
	return "from " + from.String() + " until before " + to.String()
}
