package allocate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// Severities of a Finding.
const (
	Warning = "warning" // money may go where nobody meant it to
	Info    = "info"    // something that does nothing
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
// match, or nothing does; for gaps between the versions of a rule; for pools, tables and rows that nothing uses.
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
		shadow := slices.IndexFunc(r.rules[:i], func(earlier *rule) bool { return earlier.covers(x) })
		switch by := taken[i]; {
		case shadow >= 0:
			add(Warning, x, "it never applies: rule %s in line %d matches all that it matches, and stands before it", r.rules[shadow].id, r.rules[shadow].line)
		case caught[i]:
		case len(by) > 0:
			add(Warning, x, "everything that it matches is taken by rules before it: %s", strings.Join(by, ", "))
		default:
			add(Info, x, "it matches nothing of what was used")
		}
	}
	// Gaps: the versions of an id that don't follow each other.
	byID := map[string][]*rule{}
	for _, x := range r.rules {
		byID[x.id] = append(byID[x.id], x)
	}
	for _, x := range r.rules {
		for _, y := range byID[x.id] {
			if y.version == x.version+1 && x.to != nil && y.from != nil && *x.to < *y.from {
				add(Warning, y, "between %s and %s no version of it is valid: the one before ends, in line %d, before this begins", x.to, y.from, x.line)
			}
		}
	}
	for _, p := range r.pools {
		if !slices.ContainsFunc(r.rules, func(x *rule) bool { return x.pool == p }) {
			out = append(out, Finding{Info, "", p.source, "pool " + p.name + ": no rule sends cost to it"})
		}
	}
	for _, t := range r.tables {
		if !t.used {
			out = append(out, Finding{Info, "", fmt.Sprintf("%s:%d", r.files[0].Name, t.line), "table " + t.name + ": no rule looks it up"})
			continue
		}
		var idle []string
		for _, row := range t.rows {
			if !rows[row] {
				idle = append(idle, fmt.Sprint(row.line))
			}
		}
		if len(idle) > 0 {
			more := ""
			if len(idle) > 10 {
				more = fmt.Sprintf(" and %d more", len(idle)-10)
				idle = idle[:10]
			}
			out = append(out, Finding{Info, "", t.file, "nothing that was used is in its lines " + strings.Join(idle, ", ") + more})
		}
	}
	return out
}

// usage asks the rules of all that was used, on each day at which they say something new: which rules applied, which
// rows were found, and of rules that matched but came too late the ids of those that came first.
func (r *Rules) usage(used []Used) (caught map[int]bool, rows map[*tableRow]bool, taken map[int][]string) {
	caught, rows, taken = map[int]bool{}, map[*tableRow]bool{}, map[int][]string{}
	bounds := r.Boundaries()
	for _, u := range used {
		days := []schemas.Date{u.First}
		for _, b := range bounds {
			if b > u.First && b <= u.Last {
				days = append(days, b)
			}
		}
		for _, day := range days {
			winner := ""
			for i, x := range r.rules {
				a, why := x.try(u.Key, day)
				if why != matched {
					continue
				}
				if winner != "" {
					if !caught[i] && !slices.Contains(taken[i], winner) {
						taken[i] = append(taken[i], winner)
					}
					continue
				}
				winner = x.id
				caught[i] = true
				for j, t := range x.lookup {
					o := a.Owner
					if j == 0 {
						o = schemas.Owner{}
					}
					if row := t.find(u.Key, o, day); row != nil {
						rows[row] = true
					}
				}
			}
		}
	}
	return caught, rows, taken
}

// covers says whether x surely matches all that y matches, whenever y is valid.
func (x *rule) covers(y *rule) bool {
	if start(x.from) > start(y.from) || x.to != nil && (y.to == nil || *x.to < *y.to) || len(x.lookup) > 0 {
		return false
	}
	for _, c := range x.match {
		i := slices.IndexFunc(y.match, func(o condition) bool { return o.field == c.field })
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
	for i := range o.source { // a pattern is covered by the same pattern; more is not asked
		g := newGlob(o.source[i])
		if o.source[i] != "" && !g.literal() && !slices.Contains(c.source, o.source[i]) {
			return false
		}
	}
	return true
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
		a, why := x.try(k, day)
		s := Step{RuleID: x.id, Version: x.version, Source: x.source, Matches: why == matched}
		switch why {
		case matched:
			s.Source, s.Why = a.Source, x.matches()
		case notValid:
			s.Why = "not valid on " + day.String()
		case otherValue:
			for _, c := range x.match {
				if !c.holds(k) {
					v, ok := value(k, c.field)
					if !ok {
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
