package allocate

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// room is what a workbook may come to, however well it is packed.
type room struct {
	parts int64 // bytes that are unpacked and read, as a stream
	cells int   // cells, texts and formats that are kept
	texts int   // bytes of the texts
}

// tableRoom is what a table may come to.
var tableRoom = room{parts: 256 << 20, cells: 2 << 20, texts: 64 << 20}

// isWorkbook says whether a file is a workbook, or something else that is packed: no text begins so.
func isWorkbook(content []byte) bool {
	return bytes.HasPrefix(content, []byte("PK\x03\x04")) || bytes.HasPrefix(content, oldWorkbook)
}

// oldWorkbook begins a file of Excel before 2007, and one with a password.
var oldWorkbook = []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")

// page is a sheet of a workbook.
type page struct {
	name   string
	rows   []gridRow // those that aren't blank
	merged []area
}

// area is a rectangle of cells: columns from 0, lines from 1, all included.
type area struct{ left, top, right, bottom int }

// openWorkbook reads the head of the one sheet that has the table: the only one whose columns are known, of those that
// can be seen.
func openWorkbook(name string, content []byte, known func(column *string) error,
	has func(columns map[string]int) []error) (*sheet, []error) {
	pages, err := readWorkbook(content, tableRoom)
	if err != nil {
		return nil, []error{fmt.Errorf("%s: %w", name, err)}
	}
	var right, likely, all []opened
	for _, p := range pages {
		if len(p.rows) == 0 {
			continue
		}
		x := chooseHead(known, has, func(yield func(gridRow, *sheet) bool) {
			for i, row := range p.rows[:min(titles, len(p.rows))] {
				rows := p.rows[i+1:]
				if !yield(row, &sheet{name: name, page: p.name, merged: p.merged, next: func() (gridRow, error) {
					if len(rows) == 0 {
						return gridRow{}, io.EOF
					}
					row := rows[0]
					rows = rows[1:]
					return row, nil
				}}) {
					return
				}
			}
		})
		all = append(all, x)
		if x.named {
			likely = append(likely, x)
		}
		if x.named && len(x.errs) == 0 {
			right = append(right, x)
		}
	}
	for _, some := range [][]opened{right, likely, all} {
		if len(some) == 1 {
			return some[0].sheet, some[0].errs
		}
		if len(some) > 1 {
			var names []string
			for _, x := range some {
				names = append(names, shown(x.page))
			}
			return nil, []error{fmt.Errorf("%s: the table may be in the sheets %s: hide or delete all but one", name,
				words.Clip(strings.Join(names, ", "), 300))}
		}
	}
	return nil, []error{fmt.Errorf("%s: no sheet that can be seen has anything in it", name)}
}

// workbook is a file that is being read.
type workbook struct {
	files map[string]*zip.File
	left  room         // what it may still come to
	days  schemas.Date // the day of number 0
	// By their numbers in cells.
	shared  []string
	formats []string
}

var errTooLarge = errors.New("it is too large for a table: save the sheet as CSV UTF-8")

// readWorkbook reads the sheets of a workbook that can be seen. Errors don't name the file.
func readWorkbook(content []byte, r room) ([]page, error) {
	if bytes.HasPrefix(content, oldWorkbook) {
		return nil, errors.New("it is a workbook of before 2007, or has a password: save it as .xlsx without one")
	}
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, fmt.Errorf("it is no whole workbook (%w): save it anew as .xlsx", err)
	}
	w := &workbook{files: map[string]*zip.File{}, left: r, days: days1900}
	for _, f := range z.File {
		w.files[strings.ToLower(strings.TrimPrefix(f.Name, "/"))] = f
	}
	pages, err := w.read()
	if err != nil && !errors.Is(err, errTooLarge) && !errors.Is(err, errNoWorkbook) {
		err = fmt.Errorf("it is no workbook that can be read (%s): save it anew as .xlsx",
			words.Clip(words.Printable(err.Error()), 200))
	}
	return pages, err
}

var errNoWorkbook = errors.New("it is no workbook of Excel's own kind: save it as .xlsx")

func (w *workbook) read() ([]page, error) {
	top, err := w.related("", "")
	if err != nil {
		return nil, err
	}
	main := "xl/workbook.xml"
	for _, r := range top {
		if strings.HasSuffix(r.kind, "/officeDocument") {
			main = r.target
		}
	}
	if w.files[strings.ToLower(main)] == nil || strings.HasSuffix(strings.ToLower(main), ".bin") {
		return nil, errNoWorkbook
	}
	parts, err := w.related(path.Dir(main), path.Base(main))
	if err != nil {
		return nil, err
	}
	for _, r := range parts {
		switch {
		case strings.HasSuffix(r.kind, "/sharedStrings"):
			err = w.readShared(r.target)
		case strings.HasSuffix(r.kind, "/styles"):
			err = w.readFormats(r.target)
		}
		if err != nil {
			return nil, err
		}
	}
	type named struct{ name, target string }
	var sheets []named
	err = w.walk(main, func(e xml.StartElement) error {
		switch e.Name.Local {
		case "workbookPr":
			if v := attribute(e, "date1904"); v == "1" || v == "true" {
				w.days = days1904
			}
		case "sheet":
			if state := attribute(e, "state"); state == "hidden" || state == "veryHidden" {
				return nil
			}
			for _, r := range parts {
				if r.id == attribute(e, "id") && strings.HasSuffix(r.kind, "/worksheet") {
					sheets = append(sheets, named{attribute(e, "name"), r.target})
				}
			}
		}
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	var pages []page
	for _, s := range sheets {
		p, err := w.readSheet(s.target)
		if err != nil {
			return nil, err
		}
		p.name = s.name
		pages = append(pages, p)
	}
	return pages, nil
}

// relation is what a part says of another.
type relation struct{ id, kind, target string }

// related are the relations of a part; of the package if it has no name.
func (w *workbook) related(dir, part string) ([]relation, error) {
	rels := path.Join(dir, "_rels", part+".rels")
	if w.files[strings.ToLower(rels)] == nil {
		return nil, nil
	}
	var out []relation
	err := w.walk(rels, func(e xml.StartElement) error {
		if e.Name.Local != "Relationship" || attribute(e, "TargetMode") == "External" {
			return nil
		}
		target := attribute(e, "Target")
		if !strings.HasPrefix(target, "/") {
			target = path.Join(dir, target)
		}
		out = append(out, relation{attribute(e, "Id"), attribute(e, "Type"), strings.TrimPrefix(path.Clean(target), "/")})
		return nil
	}, nil)
	return out, err
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// walk reads a part as a stream: start is given each element that begins, end each that ends, with the text since the
// last that began or ended.
func (w *workbook) walk(part string, start func(xml.StartElement) error, end func(name, text string) error) error {
	f := w.files[strings.ToLower(part)]
	if f == nil {
		return fmt.Errorf("it has no part %s", part)
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	d := xml.NewDecoder(&counted{r, &w.left.parts})
	var text []byte
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch x := token.(type) {
		case xml.StartElement:
			text = text[:0]
			err = start(x)
		case xml.EndElement:
			if end != nil {
				err = end(x.Name.Local, string(text))
			}
			text = text[:0]
		case xml.CharData:
			if text = append(text, x...); len(text) > w.left.texts {
				err = errTooLarge
			}
		}
		if err != nil {
			return err
		}
	}
}

// counted gives no more than so many bytes.
type counted struct {
	io.Reader
	left *int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if *c.left -= int64(n); *c.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// keep counts what is kept of a workbook.
func (w *workbook) keep(cells, texts int) error {
	if w.left.cells, w.left.texts = w.left.cells-cells, w.left.texts-texts; w.left.cells < 0 || w.left.texts < 0 {
		return errTooLarge
	}
	return nil
}

// spelled puts together a text of pieces, without the readings of Chinese and Japanese that may stand beside it.
type spelled struct {
	text    string
	reading bool
}

func (s *spelled) begin(element string) {
	if element == "rPh" {
		s.reading = true
	}
}

func (s *spelled) end(element, text string) {
	switch {
	case element == "rPh":
		s.reading = false
	case element == "t" && !s.reading:
		s.text += unescaped(text)
	}
}

func (w *workbook) readShared(part string) error {
	var s spelled
	return w.walk(part, func(e xml.StartElement) error {
		if e.Name.Local == "si" {
			s = spelled{}
		}
		s.begin(e.Name.Local)
		return nil
	}, func(name, text string) error {
		s.end(name, text)
		if name != "si" {
			return nil
		}
		w.shared = append(w.shared, s.text)
		return w.keep(1, len(s.text))
	})
}

// readFormats notes how numbers are shown, by the number that cells have for it.
func (w *workbook) readFormats(part string) error {
	codes := map[string]string{}
	inCells := false
	return w.walk(part, func(e xml.StartElement) error {
		switch e.Name.Local {
		case "numFmt":
			codes[attribute(e, "numFmtId")] = attribute(e, "formatCode")
		case "cellXfs":
			inCells = true
		case "xf":
			if inCells {
				id := attribute(e, "numFmtId")
				code, ok := codes[id]
				if !ok {
					code = builtIn(id)
				}
				w.formats = append(w.formats, code)
				return w.keep(1, 0)
			}
		}
		return nil
	}, func(name, _ string) error {
		if name == "cellXfs" {
			inCells = false
		}
		return nil
	})
}

// stored is a cell as the file has it.
type stored struct {
	kind    string // its attribute t
	format  string // how it is shown
	value   string
	formula bool
	inside  spelled
}

func (w *workbook) readSheet(part string) (page, error) {
	var p page
	var row gridRow
	var at int // column
	var c *stored
	err := w.walk(part, func(e xml.StartElement) error {
		switch e.Name.Local {
		case "row":
			row = gridRow{line: row.line + 1, short: true}
			if n, err := strconv.Atoi(attribute(e, "r")); err == nil && n >= row.line {
				row.line = n
			}
			at = -1
		case "c":
			at++
			if column, _, ok := cellAt(attribute(e, "r")); ok && column >= at {
				at = column
			}
			c = &stored{kind: attribute(e, "t")}
			if n, err := strconv.Atoi(attribute(e, "s")); err == nil && n >= 0 && n < len(w.formats) {
				c.format = w.formats[n]
			}
		case "mergeCell":
			first, second, several := strings.Cut(attribute(e, "ref"), ":")
			left, top, ok1 := cellAt(first)
			right, bottom, ok2 := cellAt(second)
			if several && ok1 && ok2 && first != second {
				p.merged = append(p.merged, area{left, top, right, bottom})
				return w.keep(1, 0)
			}
		default:
			if c != nil {
				c.inside.begin(e.Name.Local)
			}
		}
		return nil
	}, func(name, text string) error {
		switch {
		case name == "row":
			if len(row.cells) > 0 {
				p.rows = append(p.rows, row)
			}
		case c == nil:
		case name == "v":
			c.value = text
		case name == "f":
			c.formula = true
		case name == "c":
			x := w.cell(c)
			c = nil
			if x.blank() {
				return nil
			}
			// What is left out before it is kept, too, as empty cells.
			if err := w.keep(1+at-len(row.cells), len(x.text)); err != nil {
				return err
			}
			for len(row.cells) < at {
				row.cells = append(row.cells, cell{})
			}
			row.cells = append(row.cells, x)
		default:
			c.inside.end(name, text)
		}
		return nil
	})
	return p, err
}

// cellAt reads C7: column 2, line 7. ok says whether it is such a name, of a cell that a sheet may have.
func cellAt(name string) (column, line int, ok bool) {
	letters := strings.TrimRight(name, "0123456789")
	for _, c := range letters {
		if c < 'A' || c > 'Z' || column > maxColumns {
			return 0, 0, false
		}
		column = column*26 + int(c-'A') + 1
	}
	line, err := strconv.Atoi(name[len(letters):])
	return column - 1, line, err == nil && column > 0 && column <= maxColumns
}

// maxColumns is how many columns a sheet of Excel has.
const maxColumns = 16384

// columnName is the letters of a column: C of 2.
func columnName(column int) string {
	name := ""
	for column++; column > 0; column = (column - 1) / 26 {
		name = string(rune('A'+(column-1)%26)) + name
	}
	return name
}
