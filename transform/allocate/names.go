package allocate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// nameColumns are those of a table of names.
var nameColumns = []string{"kind", "id", "name"}

// Names reads a table that gives names to what has ids, as tables of rules are read: with the columns kind, id and
// name. Every mistake is reported, with its line.
func Names(file File) ([]schemas.Name, error) {
	s, errs := openSheet(file.Name, file.Content, func(c *string) error {
		if !slices.Contains(nameColumns, *c) {
			return fmt.Errorf("unknown column %q: there are %s", *c, strings.Join(nameColumns, ", "))
		}
		return nil
	}, func(columns map[string]int) []error { return Lacking(columns, nameColumns...) })
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var out []schemas.Name
	type id struct{ kind, id string }
	seen := map[id]int{}
	errs = s.each(func(r *Row) error {
		n := schemas.Name{Kind: r.Text("kind"), ID: r.Text("id"), Name: r.Text("name")}
		first, twice := seen[id{n.Kind, n.ID}]
		switch {
		case !slices.Contains(schemas.NameKinds(), n.Kind):
			return r.Wrong("kind", "kind: %q is none of %s", n.Kind, strings.Join(schemas.NameKinds(), ", "))
		case n.ID == "":
			return r.Wrong("id", "id: it is empty")
		case n.Name == "":
			return r.Wrong("name", "name: it is empty: write one, or delete the row")
		case twice:
			return r.Wrong("id", "the %s %s stands in line %d already", n.Kind, n.ID, first)
		}
		if err := rounded(n.ID); err != nil {
			return r.Wrong("id", "id: %w", err)
		}
		seen[id{n.Kind, n.ID}] = r.Line
		out = append(out, n)
		return nil
	})
	return out, errors.Join(errs...)
}
