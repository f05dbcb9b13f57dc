package allocate

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/usagelake/usagelake/schemas"
)

// separatorLine is how Excel is told of a file's separator, in its first line.
var separatorLine = regexp.MustCompile(`^(?i:"?sep=([,;\t|])"?)\r?\n`)

// openText reads the head of text that is separated by commas, semicolons or tabs, of which the head has most.
func openText(name string, content []byte, known func(column *string) error,
	has func(columns map[string]int) []error) (*sheet, []error) {
	content, err := decoded(name, content)
	if err != nil {
		return nil, []error{err}
	}
	begin, separator := 0, byte(0)
	if m := separatorLine.FindSubmatchIndex(content); m != nil {
		begin, separator = m[1], content[m[2]]
	}
	// Above the head there may be titles, whose separators are no matter.
	var unread error // of the first line
	x := chooseHead(known, has, func(yield func(gridRow, *sheet) bool) {
		for at, seen := begin, 0; at < len(content) && seen < titles; {
			line, _, _ := bytes.Cut(content[at:], []byte("\n"))
			if len(bytes.Trim(line, "\r\t,; \"")) > 0 {
				seen++
				t := newText(name, content, at, separator)
				row, err := t.read()
				if err != nil && seen == 1 {
					unread = err
					return
				}
				if err == nil && !yield(row, &sheet{name: name, next: t.next}) {
					return
				}
			}
			at += len(line) + 1
		}
	})
	switch {
	case x.sheet != nil:
		return x.sheet, x.errs
	case unread != nil:
		return nil, []error{unread}
	}
	return nil, []error{fmt.Errorf("%s:1: the file is empty: its first line names the columns", name)}
}

// decoded is the text of a file in UTF-8, or in UTF-16 with a mark, without the mark.
func decoded(name string, content []byte) ([]byte, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(content, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(content, []byte("\xfe\xff")):
		order = binary.BigEndian
	}
	if order != nil {
		if len(content)%2 != 0 {
			return nil, fmt.Errorf("%s:1: it is UTF-16 with half a character at its end: save it anew", name)
		}
		units := make([]uint16, len(content)/2-1)
		for i := range units {
			units[i] = order.Uint16(content[2*i+2:])
		}
		content = []byte(string(utf16.Decode(units)))
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	switch {
	case !utf8.Valid(content):
		return nil, fmt.Errorf("%s:%d: the file is not UTF-8: save it as CSV UTF-8", name,
			1+bytes.Count(content[:invalidAt(content)], []byte("\n")))
	case bytes.IndexByte(content, 0) >= 0:
		return nil, fmt.Errorf("%s:1: it has NUL bytes: it is no CSV file; save it as CSV UTF-8", name)
	}
	return content, nil
}

// invalidAt is where the first bytes are that are no UTF-8.
func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// text is what a file has from some line on.
type text struct {
	name  string
	above int // lines before it
	kind  kind
	whole bool // the last line is ended
	r     *csv.Reader
	block []gridRow // read and not given yet
	end   error     // what comes after them
	ahead *gridRow  // the first of the block after it
}

// newText begins at a line. A separator of 0 is the one that the line has most of: a tie goes to the comma, and
// between the others to the semicolon; a line of one column has none, and any will do.
func newText(name string, content []byte, at int, separator byte) *text {
	t := &text{name: name, above: bytes.Count(content[:at], []byte("\n")), whole: bytes.HasSuffix(content, []byte("\n")),
		r: csv.NewReader(bytes.NewReader(content[at:]))}
	// Rows of other lengths are let through, for each is to be named with its line; the reader would stop at the first.
	t.r.FieldsPerRecord = -1
	if separator != 0 {
		t.r.Comma = rune(separator)
	} else {
		line, _, _ := bytes.Cut(content[at:], []byte("\n"))
		for _, comma := range []byte(";\t") {
			if bytes.Count(line, []byte{comma}) > bytes.Count(line, []byte{byte(t.r.Comma)}) {
				t.r.Comma = rune(comma)
			}
		}
	}
	if t.r.Comma != ',' { // so it was chosen where a comma stands in numbers; or not
		t.kind = isLocal
	}
	return t
}

// read is the next row; its error has its place.
func (t *text) read() (gridRow, error) {
	record, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return gridRow{}, err
	}
	if err != nil {
		return gridRow{}, t.notCSV(err)
	}
	line, _ := t.r.FieldPos(0)
	row := gridRow{line: t.above + line, cells: make([]cell, len(record))}
	for i, c := range record {
		row.cells[i] = cell{text: c, kind: t.kind}
	}
	return row, nil
}

// excelBlock is how many rows Excel looks at together: where the last columns of all of them are empty, it leaves out
// the separators, so that rows of one block are equally short.
const excelBlock = 16

// next is the next row. One with fewer cells than the head is short if all of its block are, and else a row in which
// something is missing.
func (t *text) next() (gridRow, error) {
	if len(t.block) == 0 {
		if t.end != nil {
			return gridRow{}, t.end
		}
		t.fill()
		if len(t.block) == 0 {
			return gridRow{}, t.end
		}
	}
	row := t.block[0]
	t.block = t.block[1:]
	return row, nil
}

func (t *text) fill() {
	if t.ahead != nil {
		t.block, t.ahead = append(t.block, *t.ahead), nil
	}
	for {
		row, err := t.read()
		if t.end = err; err != nil {
			break
		}
		if len(t.block) > 0 && (row.line-1)/excelBlock != (t.block[0].line-1)/excelBlock {
			t.ahead = &row
			break
		}
		t.block = append(t.block, row)
	}
	if len(t.block) == 0 {
		return
	}
	short := t.end == nil || t.whole // what breaks off is no short row
	for _, row := range t.block {
		short = short && len(row.cells) == len(t.block[0].cells)
	}
	// The head's block has the head, which isn't short.
	short = short && (t.block[0].line-1)/excelBlock > t.above/excelBlock
	for i := range t.block {
		t.block[i].short = short
	}
}

// notCSV is what can't be read at all, with its line.
func (t *text) notCSV(err error) error {
	var at *csv.ParseError
	switch {
	case !errors.As(err, &at):
		return fmt.Errorf("%s:1: %w", t.name, err)
	case errors.Is(err, csv.ErrBareQuote), errors.Is(err, csv.ErrQuote):
		return fmt.Errorf("%s:%d: a quote that opens or ends no cell: put the whole cell in quotes, "+
			"and write those inside it twice", t.name, t.above+at.StartLine)
	}
	return fmt.Errorf("%s:%d: %w", t.name, t.above+at.StartLine, at.Err)
}

// How dates are written where they can't be misread.
var (
	dotted  = regexp.MustCompile(`^([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})$`)
	slashed = regexp.MustCompile(`^[0-9]{1,4}[/-][0-9]{1,2}[/-][0-9]{1,4}$`)
)

// localDate reads 2026-11-01 and 1.11.2026. A date with slashes is of one month in one country and of another in the
// next.
func localDate(s string) (schemas.Date, error) {
	if m := dotted.FindStringSubmatch(s); m != nil {
		pad := func(n string) string { return strings.Repeat("0", 2-len(n)) + n }
		if day, err := schemas.ParseDate(m[3] + "-" + pad(m[2]) + "-" + pad(m[1])); err == nil {
			return day, nil
		}
		return 0, fmt.Errorf("%q is no day of the calendar: write day.month.year, or 2026-11-01", s)
	}
	day, err := schemas.ParseDate(s)
	if err != nil && slashed.MatchString(s) {
		err = fmt.Errorf("%q is a date that countries read differently: write 2026-11-01, or 01.11.2026", s)
	}
	return day, err
}

// grouped are the signs that stand between thousands somewhere, and pointed those before decimals.
const (
	grouped = ".,'’ \u00a0\u202f"
	pointed = ".,"
)

// localNumber is a number with a point before its decimals and no other sign, as far as it can be read in one way. One
// point or comma with three digits behind it can't: 1.234 is one and a bit here, and above a thousand there. What is
// no number stays as it is.
func localNumber(s string) (string, error) {
	body := strings.TrimLeft(s, "+-")
	sign := s[:len(s)-len(body)]
	isDigit := func(c rune) bool { return c >= '0' && c <= '9' }
	digits := strings.FieldsFunc(body, func(c rune) bool { return !isDigit(c) })
	marks := strings.FieldsFunc(body, isDigit)
	if len(marks) == 0 || len(digits) != len(marks)+1 {
		return s, nil // the marks stand between digits
	}
	mark, last := marks[0], marks[len(marks)-1]
	point := len(last) == 1 && strings.Contains(pointed, last) && (len(marks) == 1 || last != mark)
	whole, decimals := digits, ""
	if point {
		marks, whole, decimals = marks[:len(marks)-1], digits[:len(digits)-1], digits[len(digits)-1]
	}
	for i, m := range marks {
		if m != mark || utf8.RuneCountInString(m) > 1 || !strings.Contains(grouped, m) || len(whole[i+1]) != 3 ||
			len(whole[0]) > 3 {
			return s, nil
		}
	}
	n := strings.Join(whole, "")
	if !point {
		return sign + n, nil
	}
	if len(marks) == 0 && len(n) <= 3 && n[0] != '0' && len(decimals) == 3 {
		return "", fmt.Errorf("%q may be %s%s%s, and may be %[2]s%[3]s.%[4]s: write %[2]s%[3]s%[4]s, or "+
			"%[2]s%[3]s.%[4]s0", s, sign, n, decimals)
	}
	return sign + n + "." + decimals, nil
}
