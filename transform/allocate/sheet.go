package allocate

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// maxTableFile bounds a table, in bytes.
const maxTableFile = 64 << 20

// sheet is a table with a head, of a text file or of a workbook, as spreadsheets write them (text.go, workbook.go).
type sheet struct {
	name    string // of the file
	page    string // of a workbook, the sheet's name; "" of a text
	columns map[string]int
	names   []string
	taken   []bool // of names: whether the column is read
	line    int    // of the head
	next    func() (gridRow, error)
	merged  []area // of a workbook
}

// gridRow is a row as the file has it.
type gridRow struct {
	line  int // from 1; of a workbook the row
	cells []cell
	short bool // what it has fewer than the head is empty
}

// cell is what stands in a row.
type cell struct {
	text string // of a number plain digits, of a date 2026-11-01
	kind kind
	bad  error // why it can't be read as anything
}

type kind int

const (
	isText   kind = iota // numbers in it have a point before their decimals, and no other signs
	isLocal              // numbers in it are as somewhere in the world
	isNumber             // of a workbook
	isPadded             // of a workbook, and shown with zeros before it
	isDay                // of a workbook
	isMonth              // of a workbook, a date that is shown without its day
)

func (c cell) blank() bool { return strings.TrimSpace(c.text) == "" && c.bad == nil }

func (r gridRow) blank() bool {
	return !slices.ContainsFunc(r.cells, func(c cell) bool { return !c.blank() })
}

// errPassedOver is what known of ReadSheet says of a column that is there for somebody else.
var errPassedOver = errors.New("the column is passed over")

// ReadSheet reads a table as a spreadsheet saves it: a workbook (.xlsx), or text separated by commas, semicolons or
// tabs. Rows without any cell are left out, titles above the head, too; what a spreadsheet damaged, and what can be
// read in two ways, is refused. Capitals don't count in names of columns. known judges them, has those that are there,
// and row each row. Every mistake is reported, with its file and line, or file, sheet and cell.
func ReadSheet(name string, content []byte, known func(column string) error, has func(columns map[string]int) []error,
	row func(*Row) error) error {
	s, errs := openSheet(name, content, func(c *string) error {
		*c = strings.ToLower(*c)
		return known(*c)
	}, has)
	if len(errs) == 0 {
		errs = s.each(row)
	}
	return errors.Join(errs...)
}

// misspelt is the one of the known words that a word of five letters or more is likely to be; "" if it is none
// of them.
func misspelt(word string, known []string) string {
	for _, k := range known {
		if min(len(word), len(k)) >= 5 && words.EditDistance(word, k) <= 2 {
			return k
		}
	}
	return ""
}

// Ours judges, for ReadSheet, the columns of a file that some other system wrote: what isn't among ours is passed
// over, such as vat and description, but not what is likely to be one of ours, misspelt.
func Ours(columns []string) func(string) error {
	return func(c string) error {
		if slices.Contains(columns, c) {
			return nil
		}
		if k := misspelt(c, columns); k != "" {
			return fmt.Errorf("unknown column %q: did you mean %s?", c, k)
		}
		return errPassedOver
	}
}

// Lacking says, for ReadSheet, which columns a file can't do without and hasn't.
func Lacking(columns map[string]int, needed ...string) []error {
	var errs []error
	for _, n := range needed {
		if _, ok := columns[n]; !ok {
			errs = append(errs, fmt.Errorf("no column %s", n))
		}
	}
	return errs
}

// openSheet finds the head and reads it. known judges a column's name, and may change it; has says what lacks.
func openSheet(name string, content []byte, known func(column *string) error,
	has func(columns map[string]int) []error) (*sheet, []error) {
	if len(content) > maxTableFile {
		return nil, []error{fmt.Errorf("%s:1: it is larger than %d MiB", name, maxTableFile>>20)}
	}
	if isWorkbook(content) {
		return openWorkbook(name, content, known, has)
	}
	return openText(name, content, known, has)
}

// opened is a sheet whose head is read, and what is wrong with that.
type opened struct {
	*sheet
	errs  []error
	named bool // the head names a column
}

// chooseHead reads the head of a table: of its first rows, each with the sheet that begins below it, the first that
// names a column, and where none does the first of all. A row of one cell that names one but can't be the head alone is
// a title, if a row below it names any. Without rows there is no sheet.
func chooseHead(known func(column *string) error, has func(columns map[string]int) []error,
	rows iter.Seq2[gridRow, *sheet]) (out opened) {
	for row, s := range rows {
		named := headOf(row, known)
		if out.sheet != nil && !named {
			continue
		}
		x := opened{s, s.takeHead(row, known, has), named}
		if !out.named || len(x.errs) == 0 || !row.lone() {
			out = x
		}
		if named && (len(x.errs) == 0 || !row.lone()) {
			break
		}
	}
	return out
}

// headOf says whether a row is the head: whether one of its cells is a column that is known.
func headOf(r gridRow, known func(column *string) error) bool {
	return slices.ContainsFunc(r.cells, func(c cell) bool {
		name := strings.TrimSpace(c.text)
		return name != "" && known(&name) == nil
	})
}

// lone says that a row has one cell: if the table can't be of that column alone, it is a title that is called like it.
func (r gridRow) lone() bool {
	n := 0
	for _, c := range r.cells {
		if !c.blank() {
			n++
		}
	}
	return n == 1
}

// titles is how many rows may stand above the head.
const titles = 10

// takeHead reads the names of the columns. Behind the last of them there is nothing.
func (s *sheet) takeHead(head gridRow, known func(column *string) error,
	has func(columns map[string]int) []error) []error {
	for len(head.cells) > 0 && head.cells[len(head.cells)-1].blank() {
		head.cells = head.cells[:len(head.cells)-1]
	}
	s.line, s.columns = head.line, map[string]int{}
	s.names, s.taken = make([]string, len(head.cells)), make([]bool, len(head.cells))
	var errs []error
	for i, cell := range head.cells {
		if len(errs) >= maxMistakes {
			return append(errs, errors.New(andMore))
		}
		c := strings.TrimSpace(cell.text)
		s.names[i] = c
		if c == "" || strings.HasPrefix(c, "#") { // a note to those who fill the table in
			continue
		}
		err := nameable(c)
		if err == nil {
			err = known(&c)
		}
		if _, twice := s.columns[c]; err == nil && twice {
			err = fmt.Errorf("the column %s stands twice: delete one", c)
		}
		if errors.Is(err, errPassedOver) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.at(s.line, i), err))
			continue
		}
		s.columns[c], s.taken[i] = i, true
	}
	if len(errs) == 0 {
		for _, err := range has(s.columns) {
			errs = append(errs, fmt.Errorf("%s: %w", s.at(s.line, nowhere), err))
		}
	}
	return errs
}

// nowhere is the column of what is wrong with a row as a whole.
const nowhere = -1

// at says where a column of a line is: rates.csv:7; rates.xlsx, sheet Rates, C7.
func (s *sheet) at(line, column int) string {
	switch {
	case s.page == "":
		return fmt.Sprintf("%s:%d", s.name, line)
	case column == nowhere:
		return fmt.Sprintf("%s, sheet %s, row %d", s.name, shown(s.page), line)
	}
	return fmt.Sprintf("%s, sheet %s, %s%d", s.name, shown(s.page), columnName(column), line)
}

// misplaced is what is wrong with the cell of a column.
type misplaced struct {
	column int
	error
}

func (m misplaced) Unwrap() error { return m.error }

// each calls f with every row that isn't empty. What f returns, and what can't be read, is reported.
func (s *sheet) each(f func(*Row) error) []error {
	errs := s.mergers()
	for {
		r, err := s.next()
		if errors.Is(err, io.EOF) {
			return errs
		}
		if len(errs) >= maxMistakes {
			return append(errs, errors.New(andMore))
		}
		if err != nil {
			return append(errs, err)
		}
		if r.blank() {
			continue
		}
		row := &Row{sheet: s, cells: r.cells, Line: r.line}
		bad := s.complete(r)
		if bad == nil {
			bad = row.damage()
		}
		if bad == nil {
			bad = f(row)
			if len(row.bad) > 0 { // what f says of it is about what it couldn't be given
				bad = errors.Join(row.bad...)
			}
		}
		for _, err := range parted(bad) {
			column := nowhere
			if m := (misplaced{}); errors.As(err, &m) {
				column = m.column
			}
			errs = append(errs, fmt.Errorf("%s: %w", s.at(r.line, column), err))
		}
	}
}

// parted are the errors that were joined; none of nil.
func parted(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, parted(e)...)
	}
	return out
}

// complete says of a row that it has what the head has, and nothing beside it.
func (s *sheet) complete(r gridRow) error {
	last := len(r.cells)
	for last > len(s.names) && r.cells[last-1].blank() {
		last--
	}
	if last > len(s.names) && s.page != "" {
		return misplaced{last - 1, errors.New("it stands beside the table: name the column, or delete it")}
	}
	if last > len(s.names) || last < len(s.names) && !r.short {
		return fmt.Errorf("%d cells, the header has %d", last, len(s.names))
	}
	for i, c := range r.cells[:last] {
		if s.names[i] == "" && !c.blank() {
			return misplaced{i, fmt.Errorf("column %d has no name: write one, or delete the column", i+1)}
		}
	}
	return nil
}

// mergers are cells that are one, of columns that are read: below and beside the first nothing stands, which doesn't
// look so.
func (s *sheet) mergers() []error {
	var errs []error
	for _, m := range s.merged {
		for i := m.left; i <= min(m.right, len(s.names)-1) && m.bottom > s.line; i++ {
			if s.taken[i] {
				errs = append(errs, fmt.Errorf("%s: it is merged with cells to %s%d: split them, and fill each",
					s.at(m.top, m.left), columnName(m.right), m.bottom))
				break
			}
		}
		if len(errs) >= maxMistakes {
			break
		}
	}
	return errs
}

// Row is a row of a table. What is wrong with a cell that is asked for is reported with the row, whatever is
// made of it.
type Row struct {
	Line  int // of the file, from 1; of a workbook the row
	sheet *sheet
	cells []cell
	bad   []error
}

// Source names the row: rates.csv:7.
func (r *Row) Source() string { return fmt.Sprintf("%s:%d", r.sheet.name, r.Line) }

// damage is what is wrong with a cell that is read, whatever it is read as.
func (r *Row) damage() error {
	for i, c := range r.cells {
		// What isn't read may hold anything: notes have control characters and failed formulas, and nobody is charged by
		// them.
		if i >= len(r.sheet.taken) || !r.sheet.taken[i] {
			continue
		}
		err := c.bad
		if err == nil {
			err = nameable(c.text)
		}
		if err == nil {
			err = failedFormula(strings.TrimSpace(c.text))
		}
		if err != nil {
			return misplaced{i, fmt.Errorf("%s: %w", r.sheet.names[i], err)}
		}
	}
	return nil
}

// cell is that of a column; an empty one where there is no such column.
func (r *Row) cell(column string) (c cell, at int) {
	at, ok := r.sheet.columns[column]
	if !ok {
		at = nowhere
	}
	if !ok || at >= len(r.cells) {
		return cell{}, at
	}
	c = r.cells[at]
	c.text = strings.TrimSpace(c.text)
	return c, at
}

func (r *Row) note(at int, format string, args ...any) {
	err := misplaced{at, fmt.Errorf("%s: "+format, append([]any{r.sheet.names[at]}, args...)...)}
	if !slices.ContainsFunc(r.bad, func(e error) bool { return e.Error() == err.Error() }) {
		r.bad = append(r.bad, err)
	}
}

// Empty says whether nothing stands in a column.
func (r *Row) Empty(column string) bool {
	c, _ := r.cell(column)
	return c.blank()
}

// Text is a cell as it stands there, without blanks around it; "" of a column that isn't there.
func (r *Row) Text(column string) string {
	c, at := r.cell(column)
	switch c.kind {
	case isDay, isMonth:
		r.note(at, "the spreadsheet took it for a date, %s: format the column as text and enter it anew", c.text)
	case isPadded:
		r.note(at, "it is the number %s, shown with zeros before it: format the column as text and enter it anew", c.text)
	}
	return c.text
}

// Period is a cell that names a period, such as 2026-10, which a spreadsheet takes for a month.
func (r *Row) Period(column string) string {
	c, _ := r.cell(column)
	if c.kind == isMonth {
		return c.text[:len("2026-10")]
	}
	return r.Text(column)
}

// Date is a cell that has a date, as 2026-11-01, as 1.11.2026, or as a workbook keeps dates.
func (r *Row) Date(column string) (schemas.Date, error) {
	c, at := r.cell(column)
	var day schemas.Date
	var err error
	switch c.kind {
	case isNumber, isPadded:
		err = fmt.Errorf("%s is a number: format the column as a date", c.text)
	case isText, isLocal:
		day, err = localDate(c.text)
	default:
		day, err = schemas.ParseDate(c.text)
	}
	if err != nil {
		err = misplaced{at, err}
	}
	return day, err
}

// Number is a cell that has a number, which parse is given with plain digits and a point before decimals.
func Number[T any](r *Row, column string, parse func(string) (T, error)) (T, error) {
	c, at := r.cell(column)
	var err error
	switch c.kind {
	case isDay, isMonth:
		err = fmt.Errorf("the spreadsheet took it for a date, %s: format the column as a number and enter it anew", c.text)
	case isLocal:
		c.text, err = localNumber(c.text)
	}
	var v T
	if err == nil {
		v, err = parse(c.text)
	}
	if err != nil {
		err = misplaced{at, err}
	}
	return v, err
}

// Wrong is an error about a column's cell.
func (r *Row) Wrong(column, format string, args ...any) error {
	_, at := r.cell(column)
	return misplaced{at, fmt.Errorf(format, args...)}
}

// What a spreadsheet makes of a long number, whose digits are lost then, and of a formula that fails.
var (
	scientific = regexp.MustCompile(`^[0-9]+([.,][0-9]+)?[eE]\+[0-9]+$`)
	failed     = regexp.MustCompile(`^#(N/A|NV|[\pL\pN/]+[!?])$`)
)

func failedFormula(cell string) error {
	if failed.MatchString(cell) {
		return fmt.Errorf("%s is a formula that failed: mend it in the spreadsheet, or empty the cell", cell)
	}
	return nil
}

func rounded(cell string) error {
	if scientific.MatchString(cell) {
		return fmt.Errorf("%s is a rounded number: the spreadsheet has lost digits; "+
			"format the column as text and enter it anew", cell)
	}
	return nil
}
