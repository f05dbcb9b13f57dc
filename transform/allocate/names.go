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

// Names reads a table that gives names to what has ids, as tables of rules are read: CSV with the columns kind, id and
// name. Every mistake is reported, with its line.
func Names(file File) ([]schemas.Name, error) {
	s, errs := openSheet(file.Name, file.Content, func(c *string) error {
		if !slices.Contains(nameColumns, *c) {
			return fmt.Errorf("unknown column %q: there are %s", *c, strings.Join(nameColumns, ", "))
		}
		return nil
	})
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, c := range nameColumns {
		if _, ok := s.columns[c]; !ok {
			errs = append(errs, fmt.Errorf("%s:%d: no column %s", file.Name, s.line, c))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var out []schemas.Name
	type id struct{ kind, id string }
	seen := map[id]int{}
	errs = s.each(func(line int, cell func(string) string) error {
		n := schemas.Name{Kind: cell("kind"), ID: cell("id"), Name: cell("name")}
		first, twice := seen[id{n.Kind, n.ID}]
		switch {
		case !slices.Contains(schemas.NameKinds(), n.Kind):
			return fmt.Errorf("kind: %q is none of %s", n.Kind, strings.Join(schemas.NameKinds(), ", "))
		case n.ID == "":
			return errors.New("id: it is empty")
		case n.Name == "":
			return errors.New("name: it is empty: write one, or delete the row")
		case twice:
			return fmt.Errorf("the %s %s stands in line %d already", n.Kind, n.ID, first)
		}
		if err := rounded(n.ID); err != nil {
			return fmt.Errorf("id: %w", err)
		}
		seen[id{n.Kind, n.ID}] = line
		out = append(out, n)
		return nil
	})
	return out, errors.Join(errs...)
}
