package report

import (
	"context"
	"fmt"
	"slices"

	"github.com/usagelake/usagelake/load/query"
)

// freeBytes are read of an answer at the most, where rows are limited.
const freeBytes = 64 << 20

// Of makes a document of the answer to a query that is no report, for the formats that a report has: its one table is
// called name. It reads limit rows at the most, and says whether there were more; 0 is all. Columns are called as the
// query does, and nothing is summed: whether sums of them mean anything isn't known.
func Of(ctx context.Context, rows *query.Rows, name, title string, limit int) (doc *Document, more bool, err error) {
	t := &Table{Name: name, Title: title}
	for _, c := range rows.Columns {
		// A column of a known name may hold anything here.
		column := Column{Name: c.Name, Title: c.Name}
		if c.Numeric {
			column.Kind = Quantity
		}
		t.Columns = append(t.Columns, column)
	}
	bytes := 0
	for row, err := range rows.All(ctx) {
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", name, err)
		}
		if limit > 0 && len(t.Rows) == limit {
			more = true
			break
		}
		t.Rows = append(t.Rows, slices.Clone(row))
		for _, v := range row {
			bytes += len(v.Text)
		}
		if limit > 0 && bytes > freeBytes {
			more = true
			break
		}
	}
	return &Document{Name: name, Title: title, Tables: []*Table{t}}, more, nil
}

// Describe calls the columns what a report calls them, where the query is ours and its names mean what theirs do. Those
// of sums are summed, by currency.
func (d *Document) Describe(sums ...string) {
	for _, t := range d.Tables {
		for i, c := range t.Columns {
			t.Columns[i] = describe(query.ResultColumn{Name: c.Name, Numeric: c.Kind == Quantity})
			t.Columns[i].Sum = slices.Contains(sums, c.Name)
		}
	}
}

// Exact is Describe for single records: of an amount all digits are shown, and of a time.
func (d *Document) Exact() {
	d.Describe()
	for _, t := range d.Tables {
		for i, c := range t.Columns {
			switch {
			case c.Kind == Money:
				t.Columns[i].Kind = Quantity
			case c.Name == "request_time":
				t.Columns[i] = Column{Name: c.Name, Title: "Time, UTC", Kind: Moment}
			}
		}
	}
}
