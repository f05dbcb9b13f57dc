package jobs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform/allocate"
)

// bearers are those whose records come out for a name.
type bearers struct{ tokens, users map[string]bool } // "" of records without one

// comesOut notes the names of an owner, and the key of the records that it is of; nil: it is a share of a pool.
func (t *trial) comesOut(o schemas.Owner, k *schemas.AllocationKey) {
	for _, x := range [][2]string{{"cost_center", o.CostCenter}, {"team", o.Team}} {
		b := t.who[x[0]][x[1]]
		if b == nil {
			b = &bearers{map[string]bool{}, map[string]bool{}}
			t.who[x[0]][x[1]] = b
		}
		if k != nil {
			b.tokens[textOf(k.TokenID)] = true
			b.users[cmp.Or(textOf(k.UserID), textOf(k.CustomUserID))] = true
		}
	}
}

// knownNames are lists of the config, by attribute: who has a name in names:, and who has a budget.
func knownNames(cfg *config.Config) map[string][][]string {
	names, _ := Called(cfg) // that the file can't be read is doctor's to say
	out := map[string][][]string{}
	for _, scope := range []string{"cost_center", "team"} {
		var called, budgeted []string
		for _, n := range names {
			if n.Kind == scope {
				called = append(called, n.ID)
			}
		}
		for _, b := range cfg.Budgets {
			budgeted = append(budgeted, b.Value(scope))
		}
		out[scope] = [][]string{called, budgeted}
	}
	return out
}

// names finds names that are likely one, and are charged apart.
func (t *trial) names() []allocate.Finding {
	var out, slips []allocate.Finding
	for _, x := range [][2]string{{"cost_center", "cost centre"}, {"team", "team"}} {
		attribute, what := x[0], x[1]
		out = append(out, typedTwice(what, slices.Collect(maps.Keys(t.who[attribute])))...)
		slips = append(slips, slipped(what, t.who[attribute], t.rules.Mentions(attribute), t.known[attribute])...)
	}
	return append(out, slips...)
}

// typedTwice finds names that are one but for capitals and signs.
func typedTwice(what string, names []string) []allocate.Finding {
	var out []allocate.Finding
	first := map[string]string{}
	slices.Sort(names)
	for _, name := range names {
		bare := allocate.Bare(name)
		if other, ok := first[bare]; ok && name != "" {
			out = append(out, allocate.Finding{Severity: allocate.Warning, Message: fmt.Sprintf("the %ss %q and %q"+
				" differ in how they are written alone, and are charged apart: capitals and signs count", what, other, name)})
			continue
		}
		first[bare] = name
	}
	return out
}

// established is how many rows write a name, or how many tokens or users it comes out for, beside which one that does
// so once may be a slip of the pen.
const established = 3

// slipped finds names that are written once and may be a slip of the pen from one that is established. Two that are
// used alike, and two that somebody wrote down both, in a table by that name or in a list of known, are two names.
func slipped(what string, who map[string]*bearers, mentions map[string]allocate.Mention,
	known [][]string) []allocate.Finding {
	var slips allocate.Slips
	names := slices.Sorted(maps.Keys(who))
	for _, name := range names {
		slips.Add(name)
	}
	var out []allocate.Finding
	more := 0
	for _, name := range names {
		mine := mentions[name]
		if name == "" || len(mine.Places) != 1 {
			continue
		}
		near := slices.DeleteFunc(slips.All(name), func(other string) bool {
			theirs := mentions[other]
			return !rareBeside(who[name], who[other], len(theirs.Places)) ||
				slices.ContainsFunc(mine.Tables, func(t string) bool { return slices.Contains(theirs.Tables, t) }) ||
				slices.ContainsFunc(known,
					func(of []string) bool { return slices.Contains(of, name) && slices.Contains(of, other) })
		})
		if len(near) == 0 {
			continue
		}
		if len(out) == maxOwnerless {
			more++
			continue
		}
		other := near[0]
		out = append(out, allocate.Finding{Severity: allocate.Info, Source: mine.Places[0], Message: fmt.Sprintf(
			"%s %q is written here alone and comes out for %s; %q, a slip of the pen apart, is written in %s and comes out for "+
				"%s: is it meant?",
			what, name, who[name], other, words.Plural(len(mentions[other].Places), "place", "places"), who[other])})
	}
	if more > 0 {
		out = append(out,
			allocate.Finding{Severity: allocate.Info,
				Message: fmt.Sprintf("and %s more that may be a slip of the pen", words.Plural(more, what, what+"s"))})
	}
	return out
}

// rareBeside says whether a name that one place writes is rare beside another: many places write that, or it comes out
// for many tokens, or users, and this for one.
func rareBeside(mine, other *bearers, places int) bool {
	return places >= established ||
		len(mine.tokens) <= 1 && len(other.tokens) >= established ||
		len(mine.users) == 1 && !mine.users[""] && len(other.users) >= established
}

// String says whom the records are of: the one token or user by its id.
func (b *bearers) String() string {
	for _, x := range []struct {
		what string
		ids  map[string]bool
	}{{"token", b.tokens}, {"user", b.users}} {
		ids := slices.DeleteFunc(slices.Sorted(maps.Keys(x.ids)), func(id string) bool { return id == "" })
		switch {
		case len(ids) == 1 && len(x.ids) == 1:
			return x.what + " " + ids[0]
		case len(ids) > 0:
			return words.Plural(len(ids), x.what, x.what+"s")
		}
	}
	if len(b.tokens) > 0 {
		return "records without a token"
	}
	return "shares of pools"
}
