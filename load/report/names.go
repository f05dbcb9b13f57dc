package report

import (
	"context"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// calledNames are what people call what has an id, by kind and id: the table names of the published file.
type calledNames map[string]map[string]string

// callNames reads the names.
func (b *builder) callNames(ctx context.Context) error {
	t, err := b.ask(ctx, "names", "", "SELECT kind, id, name FROM names")
	if err != nil {
		return err
	}
	b.called = calledNames{}
	for _, row := range t.Rows {
		if b.called[row[0].Text] == nil {
			b.called[row[0].Text] = map[string]string{}
		}
		b.called[row[0].Text][row[1].Text] = row[2].Text
	}
	return nil
}

// label is an id with its name before it, where there is room for one text.
func (c calledNames) label(kind, id string) string {
	if name := c[kind][id]; name != "" {
		return name + " (" + id + ")"
	}
	return id
}

// nameTables gives each column of ids a column of names beside it, where the file has names of that kind.
func (b *builder) nameTables() {
	tables := slices.Clone(b.doc.Tables)
	// A table may stand behind a picture and among the others, too; it gets its names once.
	for _, p := range b.doc.Pictures {
		tables = append(tables, p.Table)
	}
	if b.doc.Data != nil {
		tables = append(tables, b.doc.Data)
	}
	for i, t := range tables {
		if t != nil && !slices.Contains(tables[:i], t) {
			t.name(b.called)
		}
	}
}

// name adds the columns of names. What a scope_value is of says the column scope.
func (t *Table) name(called calledNames) {
	for i := 0; i < len(t.Columns); i++ {
		kind := strings.TrimSuffix(t.Columns[i].Name, "_id")
		scope := t.column("scope")
		isScope := kind == "scope_value" && scope >= 0
		if !isScope && !slices.Contains(schemas.NameKinds(), kind) || called[kind] == nil && (!isScope || len(called) == 0) {
			continue
		}
		t.Columns = slices.Insert(t.Columns, i+1,
			Column{Name: nameColumn(t.Columns[i].Name), Title: t.Columns[i].Title + " name"})
		for r, row := range t.Rows {
			// A scope_value is of another kind in each row.
			of := kind
			if isScope {
				of = row[scope].Text
			}
			name := query.Value{Text: called[of][row[i].Text]}
			name.Null = name.Text == ""
			// Insert may move the row, so that it is put back.
			t.Rows[r] = slices.Insert(row, i+1, name)
		}
		// Past the column that was put in, which is named after none.
		i++
	}
}

// nameColumn is what the column of names beside one of ids is called: token_name beside token and token_id.
func nameColumn(of string) string {
	if of == "scope_value" {
		return "scope_name"
	}
	return strings.TrimSuffix(of, "_id") + "_name"
}

// nameOf is the column of names beside column i; -1 if there is none.
func (t *Table) nameOf(i int) int {
	if i >= 0 && i+1 < len(t.Columns) && t.Columns[i+1].Name == nameColumn(t.Columns[i].Name) {
		return i + 1
	}
	return -1
}
