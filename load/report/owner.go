package report

import (
	"context"
	"fmt"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// ownerDimensions are what an owner may be.
var ownerDimensions = []struct{ name, title string }{
	{"cost_center", "a cost centre"}, {"team", "a team"}, {"project", "a project"},
}

// OwnerNames asks for the names that an owner may be called by.
func OwnerNames() string {
	var of []string
	for _, d := range ownerDimensions {
		of = append(of, fmt.Sprintf("SELECT %[1]s AS name, '%[1]s' AS dimension FROM chargeback_daily "+
			"WHERE %[1]s IS NOT NULL", d.name))
	}
	return strings.Join(of, " UNION ")
}

// resolve narrows the scope to the owner: the cost centre, team or project of that name. One that several of them have
// is whose the caller has to say: the figures of a team aren't those of a cost centre that is called like it.
func (b *builder) resolve(ctx context.Context) error {
	if b.Owner == "" {
		return nil
	}
	t, err := b.ask(ctx, "owners", "", fmt.Sprintf(`SELECT name, dimension, name = %[1]s AS it FROM (%[2]s)
		ORDER BY it DESC, jaro_winkler_similarity(lower(name), lower(%[1]s)) DESC, name, dimension`,
		schemas.SQLString(b.Owner), OwnerNames()))
	if err != nil {
		return err
	}
	refuse := func(format string, args ...any) error {
		return &OptionsError{fmt.Sprintf("--owner %q: ", words.Cell(b.Owner)) + fmt.Sprintf(format, args...)}
	}
	var is, titles, flags, near []string
	for _, row := range t.Rows {
		for _, d := range ownerDimensions {
			if d.name != row[1].Text {
				continue
			}
			if row[2].Text == "true" {
				is, titles, flags = append(is, d.name), append(titles, d.title), append(flags, FlagName(d.name))
			} else {
				near = append(near, fmt.Sprintf("%q (%s)", words.Cell(row[0].Text), d.title))
			}
		}
	}
	switch {
	case len(is) > 1:
		return refuse("it is %s: say which by %s", strings.Join(titles, " and "), strings.Join(flags, " or "))
	case len(is) == 0 && len(near) == 0:
		return refuse("nothing in the published file has an owner")
	case len(is) == 0:
		return refuse("no cost centre, team or project is called that; the nearest are %s",
			strings.Join(near[:min(3, len(near))], ", "))
	}
	values := b.Scope.Values(is[0])
	if len(*values) > 0 {
		return refuse("it is %s, which %s narrows to already: leave one out", titles[0], flags[0])
	}
	*values = []string{b.Owner}
	return nil
}
