package allocate

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// condition is what one field must be: any of several values or patterns.
type condition struct {
	field string // as schemas.Field has it
	// What patterns without * and ? name is here, and looked up; only real patterns are tried one by one.
	exact  map[string]bool
	globs  []glob
	empty  bool // NULL and the empty string are meant too
	source []string
}

func newCondition(field string, patterns []string) condition {
	c := condition{field: field, exact: map[string]bool{}, source: patterns}
	for _, p := range patterns {
		switch g := newGlob(p); {
		case p == "":
			c.empty = true
		case g.literal():
			c.exact[g.text()] = true
		default:
			c.globs = append(c.globs, g)
		}
	}
	return c
}

// names are the exact values, sorted.
func (c condition) names() []string { return slices.Sorted(maps.Keys(c.exact)) }

func (c condition) String() string {
	words := make([]string, len(c.source))
	for i, p := range c.source {
		words[i] = p
		if p == "" {
			words[i] = "nothing"
		}
	}
	return c.field + " " + strings.Join(words, " or ")
}

// holds says whether the key's field is any of what the condition names. NULL is no value: the pattern "" names it,
// as it does the empty string, and so does "*".
func (c condition) holds(k schemas.AllocationKey) bool {
	v, ok := value(k, c.field)
	if !ok || v == "" {
		return c.empty || slices.ContainsFunc(c.globs, glob.everything)
	}
	return c.exact[v] || slices.ContainsFunc(c.globs, func(g glob) bool { return g.match(v) })
}

// value is a field of the key as text; false if it is NULL.
func value(k schemas.AllocationKey, field string) (string, bool) {
	text := func(s *string) (string, bool) {
		if s == nil {
			return "", false
		}
		return *s, true
	}
	switch field {
	case schemas.FieldAccount:
		return k.Account, true
	case schemas.FieldTokenID:
		return text(k.TokenID)
	case schemas.FieldUserID:
		return text(k.UserID)
	case schemas.FieldCustomUserID:
		return text(k.CustomUserID)
	case schemas.FieldModel:
		return text(k.Model)
	case schemas.FieldModelType:
		return text(k.ModelType)
	case schemas.FieldChannelID:
		if k.ChannelID != nil {
			return strconv.FormatInt(*k.ChannelID, 10), true
		}
	}
	return "", false
}

// Pattern is a value or a pattern as the conditions of rules have them.
type Pattern struct{ is condition }

// NewPattern reads one: * is any text, ? any one character, \ takes the next as it is.
func NewPattern(text string) Pattern {
	return Pattern{newCondition(schemas.FieldModel, []string{text})}
}

// Match says whether it names a value. NULL and an empty one are named by "*" alone.
func (p Pattern) Match(v *string) bool { return p.is.holds(schemas.AllocationKey{Model: v}) }

// glob is a pattern: * is any text, ? any one character, \ takes the next as it is. Unlike path.Match a * also
// matches a slash, which model names have.
type glob []globPart

// globPart is a run of plain text after any text (many), or after nothing.
type globPart struct {
	many bool   // any text may come before it
	text []rune // anyRune is any one character
}

// Marks in place of a character.
const (
	anyRune = -1 // of a pattern: any one character
	anyText = -2 // of a text that stands for many, see covers: any text
)

func newGlob(pattern string) glob {
	g := glob{{}}
	escaped := false
	for _, r := range pattern {
		last := &g[len(g)-1]
		switch {
		case escaped:
			last.text = append(last.text, r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == '*':
			g = append(g, globPart{many: true})
		case r == '?':
			last.text = append(last.text, anyRune)
		default:
			last.text = append(last.text, r)
		}
	}
	if escaped {
		g[len(g)-1].text = append(g[len(g)-1].text, '\\')
	}
	return g
}

// literal says whether the pattern names one text alone.
func (g glob) literal() bool { return len(g) == 1 && !slices.Contains(g[0].text, anyRune) }

func (g glob) text() string { return string(g[0].text) }

// everything says whether it is "*", or the like.
func (g glob) everything() bool {
	return len(g) > 1 && !slices.ContainsFunc(g, func(p globPart) bool { return len(p.text) > 0 })
}

// match takes time in proportion to the text times the longest run of the pattern: after a *, the first place where
// the next run fits is as good as any later one.
func (g glob) match(s string) bool { return g.matches([]rune(s)) }

// A glob is cut at its *: "gpt-*-mini*" is [gpt-] [* -mini] [* ""]. Only the first part can be without one before it.
// It has to stand at the beginning. A part in the middle takes the first place where it fits: what a later one would
// leave for the rest, this one leaves, too. The last part has to stand at the end of the text, and not at its first
// place: "a*b" matches "abab" by the last b. Without any *, nothing may be left.
func (g glob) matches(text []rune) bool {
	for i, p := range g {
		switch {
		case !p.many:
			if !fits(text, p.text) {
				return false
			}
			text = text[len(p.text):]
		case i == len(g)-1:
			return len(text) >= len(p.text) && fits(text[len(text)-len(p.text):], p.text)
		default:
			for !fits(text, p.text) {
				// It doesn't fit here, and there is no room to fit it further on.
				if len(text) <= len(p.text) {
					return false
				}
				text = text[1:]
			}
			text = text[len(p.text):]
		}
	}
	return len(text) == 0
}

func fits(text, run []rune) bool {
	if len(text) < len(run) {
		return false
	}
	for i, r := range run {
		// Of a real text only the second half counts. Of a pattern that stands as a text (covers), a ? takes a ? or a letter,
		// but not a *, which may be none or many; and a letter takes neither mark, since both are negative and no letter is.
		if r == anyRune && text[i] == anyText || r != anyRune && r != text[i] {
			return false
		}
	}
	return true
}

// covers says whether g surely matches all that o matches: it matches o's own text, in which a * of g takes what a * or
// ? of o may stand for, and a ? of g a ? of o. "*-prod" covers "a*-prod" and "?-prod". It may say no where yes is
// right, as of "?*" and "*?", which mean the same: then a finding is not made. It never says yes where no is right.
func (g glob) covers(o glob) bool {
	var text []rune
	for _, p := range o {
		if p.many {
			text = append(text, anyText)
		}
		text = append(text, p.text...)
	}
	return g.matches(text)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// writeJSONString writes s as a JSON string without the escapes that only HTML needs.
func writeJSONString(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s)
	b.Truncate(b.Len() - 1) // its newline
}
