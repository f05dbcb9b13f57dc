package report

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas/words"
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
		t.Columns = append(t.Columns, Column{Name: c.Name, Title: c.Name, Kind: kindOf(c)})
		t.types = append(t.types, c.Type)
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

// kindOf is what a column of an answer holds, by its type.
func kindOf(c query.ResultColumn) Kind {
	switch {
	case c.Type == "DATE":
		return Day
	case strings.HasPrefix(c.Type, "TIMESTAMP"):
		return Second
	case c.Type == "BOOLEAN":
		return Flag
	case c.Numeric && (strings.HasSuffix(c.Type, "INT") || strings.HasSuffix(c.Type, "INTEGER") ||
		strings.HasSuffix(c.Type, ",0)")):
		return Whole
	case c.Numeric:
		return Quantity
	}
	return Text
}

// What an answer's workbook is made of before its rows are written as they come: by those the columns are as wide as
// they are, and what else there is stands in the zip.
const (
	widthRows  = 1000
	flushBytes = 1 << 16
)

// WriteWorkbook writes the answer to a query as a workbook, as it is read: a sheet of its rows, and one with the
// statement that it answers. It returns the number of rows. An answer of more rows or columns than a sheet has is a
// TooLarge, and nothing is written if that is known before.
func WriteWorkbook(ctx context.Context, w io.Writer, rows *query.Rows, statement string, now time.Time) (n int64,
	err error) {
	most := int64(maxSheetRows - 1) // and the head
	count, err := rows.Count(ctx)
	if err != nil {
		return 0, err
	}
	if columns := len(rows.Columns); columns > excelize.MaxColumns {
		return 0, &TooLarge{fmt.Sprintf("%s columns, and a sheet has %s", words.Count(columns),
			words.Count(excelize.MaxColumns))}
	}
	tooMany := func(n int64) error {
		return &TooLarge{fmt.Sprintf("%s rows, and a sheet has %s below its head", words.Count(n), words.Count(most))}
	}
	if count > most {
		return 0, tooMany(count)
	}
	out, err := newBook(w)
	if err != nil {
		return 0, err
	}
	b := &book{out, map[string]bool{}}
	t := &Table{}
	for _, c := range rows.Columns {
		t.Columns = append(t.Columns, Column{Name: c.Name, Title: c.Name, Kind: kindOf(c)})
	}
	s, err := b.sheet(b.named("Answer"))
	if err != nil {
		return 0, err
	}
	s.height = int(count + 1)
	b.head(s, t)
	for row, err := range rows.All(ctx) {
		if err != nil {
			return n, err
		}
		if n++; n > most {
			return n, tooMany(n)
		}
		b.line(s, t, row)
		if n >= widthRows && len(s.rows) > flushBytes {
			if err := s.flush(); err != nil {
				return n, err
			}
		}
	}
	if err := b.endTable(s, t, s.row); err != nil {
		return n, err
	}
	if s, err = b.sheet(b.named("Query")); err != nil {
		return n, err
	}
	s.widths = []int{16, 100}
	for i, of := range []struct {
		title, text string
		kind        Kind
	}{{"Query", statement, Text}, {"Rows", strconv.FormatInt(n, 10), Count},
		{"Asked at", now.UTC().Format(time.RFC3339), Instant}, {"Note", digitsNote, Text}} {
		s.next(i + 1)
		s.put(0, 0, of.title)
		s.value(1, b.style(of.kind, "", false), of.kind, query.Value{Text: of.text}, "")
	}
	if err := s.end(); err != nil {
		return n, err
	}
	return n, b.close("Answer", "", now)
}

// TooLarge says that a sheet can't hold an answer.
type TooLarge struct{ What string }

func (e *TooLarge) Error() string { return "the answer has " + e.What }

// Describe calls the columns what a report calls them, where the query is ours and its names mean what theirs do. Those
// of sums are summed, by currency.
func (d *Document) Describe(sums ...string) {
	for _, t := range d.Tables {
		t.types = nil
		for i, c := range t.Columns {
			t.Columns[i] = describe(query.ResultColumn{Name: c.Name})
			if _, ok := names[c.Name]; !ok {
				t.Columns[i].Kind = c.Kind
			}
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
				t.Columns[i] = Column{Name: c.Name, Title: "Time, UTC", Kind: Second}
			}
		}
	}
}
