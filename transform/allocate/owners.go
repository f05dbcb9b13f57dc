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
		// The tables are gone through as applies did, so that the next is looked up by what those before it gave. The first
		// one that could have assigned a cost centre and has no row is the one to mend.
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
	// Rules are asked by several goroutines, and most never ask this.
	t.once.Do(func() {
		t.byBare = map[string]*tableRow{}
		for _, row := range slices.Backward(t.rows) { // of several the first
			t.byBare[Bare(row.key)] = row
			if len(t.rows) <= maxSlips {
				t.slips.Add(row.key)
			}
		}
	})
	mine := strings.Join(parts, "\x00")
	if row := t.byBare[Bare(mine)]; row != nil && row.key != mine {
		return why + fmt.Sprintf(", but for %s in line %d: capitals and signs count",
			quote(strings.ReplaceAll(row.key, "\x00", ", ")), row.line)
	}
	if near := t.slips.Near(mine); near != "" {
		return why + fmt.Sprintf(", but for %s: a slip of the pen?", quote(strings.ReplaceAll(near, "\x00", ", ")))
	}
	return why
}

// Slips are names, to be asked for one that another is a slip of the pen from: a letter within a word that is missing,
// too many or another, or two that have changed places. The word has five letters at least: shorter ones differ by a
// letter and are meant to, and so do names at a word's first and last letter, and in digits. Of scripts in which a
// letter is a word or a syllable, only two that have changed places: any other makes another name. The zero value has
// no names.
type Slips struct {
	byRest map[string][]string // names by what they are without one of their letters, and as they are
}

// rests are a name as it is and without each of its letters. Two names that are a slip apart have one in common.
func rests(name string) []string {
	runes := folded(name)
	out := []string{string(runes)}
	// A letter that is another, or missing, or too many, is gone from both once it is taken out. Of two that have changed
	// places, taking out the same one of either leaves the same. Only letters: what differs in a digit is another name.
	for i, r := range runes {
		if unicode.IsLetter(r) {
			out = append(out, string(runes[:i])+string(runes[i+1:]))
		}
	}
	return out
}

// maxSlips is how many rows a table has whose keys people type.
const maxSlips = 10_000

// longestSlip is beyond what anybody types; of a longer name nothing is kept.
const longestSlip = 100

// Add adds a name.
func (s *Slips) Add(name string) {
	if s.byRest == nil {
		s.byRest = map[string][]string{}
	}
	if len(name) > longestSlip {
		return
	}
	for _, rest := range rests(name) {
		s.byRest[rest] = append(s.byRest[rest], name)
	}
}

// Near is a name that was added and is a slip apart from this one, the first in order; "" if there is none.
func (s *Slips) Near(name string) string {
	if all := s.All(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

// All are the names that were added and are a slip apart from this one, in order, each once.
func (s *Slips) All(name string) []string {
	if len(name) > longestSlip {
		return nil
	}
	var out []string
	for _, rest := range rests(name) {
		for _, other := range s.byRest[rest] {
			if slip(folded(name), folded(other)) {
				out = append(out, other)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// syllabic says whether a letter is a word or a syllable by itself.
func syllabic(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana, unicode.Bopomofo) || r == 'ー' ||
		r == 'ｰ'
}

// numerals are the letters of Han that count, as digits do.
const numerals = "〇零一二三四五六七八九十百千万两兩壹贰貳叁參肆伍陆陸柒捌玖拾佰仟萬甲乙丙丁戊己庚辛壬癸"

// slip takes off what the two have in common at the front and at the back. What is left in the middle is the slip: of
// "marketing" and "markting" e and nothing, of "platform" and "platfrom" or and ro. Of a doubled letter it is the
// second one. Two that are equal leave nothing, and are no slip.
func slip(a, b []rune) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	from := 0
	for from < len(b) && a[from] == b[from] {
		from++
	}
	// No further than to where the front stopped: a letter of the shorter one isn't taken for both.
	end := 0
	for end < len(b)-from && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	mine, other := a[from:len(a)-end], b[from:len(b)-end]
	word := func(at, step int) (letters int) {
		for at += step; at >= 0 && at < len(a) && unicode.IsLetter(a[at]); at += step {
			letters++
		}
		return letters
	}
	// How many letters of the same word stand on either side. Other signs end a word, the NUL between the cells of a key,
	// too.
	before, after := word(from, -1), word(from+max(len(mine), 1)-1, 1)
	for _, r := range slices.Concat(mine, other) {
		if !unicode.IsLetter(r) || strings.ContainsRune(numerals, r) {
			return false
		}
	}
	switch {
	case before+len(mine)+after < 5:
		return false
	case len(mine) == 2 && len(other) == 2:
		return mine[0] == other[1] && mine[1] == other[0]
	}
	return len(mine) == 1 && len(other) <= 1 && before > 0 && after > 0 &&
		!slices.ContainsFunc(slices.Concat(mine, other), syllabic)
}

// Mention is where rules write a name, and whether it is known as one.
type Mention struct {
	// Places are "tokens.csv:7", "allocation.yaml:12", in order; what a rule, a row's key or a pool says in several
	// versions once.
	Places []string
	Tables []string // that are looked up by it and have a row of its own, by their names
}

// Mentions are the names that the rules, the rows of the tables that they look up, and the pools write for an
// attribute, say team.
func (r *Rules) Mentions(attribute string) map[string]Mention {
	out := map[string]Mention{}
	seen := map[[3]string]bool{} // a name, and what writes it
	write := func(o *schemas.Owner, from, key, place string) {
		name := *field(o, attribute)
		if name == "" || seen[[3]string{name, from, key}] {
			return
		}
		seen[[3]string{name, from, key}] = true
		m := out[name]
		m.Places = append(m.Places, place)
		out[name] = m
	}
	for _, x := range r.rules {
		write(&x.owner, "", x.id, x.source)
	}
	for _, t := range r.tables {
		if !t.used {
			continue
		}
		at := slices.Index(t.key, attribute)
		for _, row := range t.rows {
			write(&row.owner, t.file, row.key, strings.TrimSpace(row.source))
			if at < 0 {
				continue
			}
			name := strings.Split(row.key, "\x00")[at]
			if m := out[name]; !slices.Contains(m.Tables, t.name) {
				m.Tables = append(m.Tables, t.name)
				out[name] = m
			}
		}
	}
	for _, p := range r.pools {
		for _, t := range p.targets {
			write(&t.owner, "pool", p.name, p.source)
		}
	}
	return out
}

func folded(s string) []rune {
	return []rune(strings.Map(func(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }, s))
}

// Bare is a name without capitals, spaces and signs: names of which it is the same are likely one, typed in several
// ways.
func Bare(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r)) // so that a final sigma, and a micro sign, are as the letter
	}, s)
}
