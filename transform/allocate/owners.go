package allocate

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/usagelake/usagelake/schemas"
)

// Lost says why a record that a rule matches has no cost centre, so that its cost is charged to (unallocated): which
// table lacks a row that was looked for, or that nothing assigns one. "" if it has one, goes to a pool, or no rule
// matches it.
func (r *Rules) Lost(k schemas.AllocationKey, day schemas.Date) string {
	c := r.candidates(k)
	for i := c.next(); i >= 0; i = c.next() {
		x := r.rules[i]
		rows, why := x.applies(k, day, nil)
		if why != matched {
			continue
		}
		if x.pool != nil || x.assignment(rows).CostCenter != "" {
			return ""
		}
		var owner schemas.Owner
		for n, t := range x.lookup {
			if rows[n] != nil {
				owner = merge(owner, rows[n].owner)
				continue
			}
			if slices.Contains(t.assigns, attrCostCenter) {
				return t.lacks(k, owner)
			}
		}
		return "nothing assigns it a cost_center"
	}
	return ""
}

// lacks says which row a table doesn't have, and whether it has one that differs in how it is written.
func (t *table) lacks(k schemas.AllocationKey, owner schemas.Owner) string {
	parts, words := make([]string, len(t.key)), make([]string, len(t.key))
	for i, name := range t.key {
		if f := field(&owner, name); f != nil {
			parts[i] = *f
		} else {
			parts[i], _ = value(k, name)
		}
		words[i] = name + " " + quote(parts[i])
		if parts[i] == "" {
			words[i] = "no " + name
		}
	}
	why := fmt.Sprintf("%s has no row for %s", t.file, strings.Join(words, ", "))
	t.once.Do(func() {
		t.byBare = map[string]*tableRow{}
		for _, row := range slices.Backward(t.rows) { // of several the first
			t.byBare[Bare(row.key)] = row
		}
	})
	mine := strings.Join(parts, "\x00")
	if row := t.byBare[Bare(mine)]; row != nil && row.key != mine {
		return why + fmt.Sprintf(", but for %s in line %d: capitals and signs count", quote(strings.ReplaceAll(row.key, "\x00", ", ")), row.line)
	}
	return why
}

// Bare is a name without capitals, spaces and signs: names of which it is the same are likely one, typed in several ways.
func Bare(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r)) // so that a final sigma, and a micro sign, are as the letter
	}, s)
}
