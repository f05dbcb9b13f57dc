package report

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
	"github.com/xuri/excelize/v2"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// A cell's text and a sheet's rows, at the most, as Excel has it.
const (
	maxSheetText = 32_767
	maxSheetRows = 1_048_576
	maxSheetName = 31
)

// XLSX writes the document as a workbook: a sheet of figures, one a table, and one for each value of the column that a
// table is grouped by. Numbers and dates are such; totals are formulas over the rows, one a currency. Text is text,
// whatever it begins with. The defined name rowsName of each sheet with a table is its head and rows, without the
// totals.
//
// A spreadsheet counts with 15 digits. The cells hold all that there are; sums in a sheet are as exact as the
// spreadsheet is.
func (d *Document) XLSX(w io.Writer) error {
	f := excelize.NewFile()
	defer f.Close()
	f.SetZipWriter(func(w io.Writer) excelize.ZipWriter {
		z := zip.NewWriter(w)
		z.RegisterCompressor(zip.Deflate, deflate)
		return numericFormulas{z}
	})
	b := &book{File: f, used: map[string]bool{}, styles: map[cellStyle]int{}}
	if err := b.begin(d); err != nil {
		return err
	}
	if err := b.cover(d); err != nil {
		return err
	}
	tables := make([]*Table, len(d.Tables)) // how complete the period is stands on the first sheet
	for i, t := range d.Tables {
		tables[i] = t.plain(d)
	}
	sheets := make([]string, len(tables)) // named first: no owner's name takes that of a table
	for i, t := range tables {
		sheets[i] = b.named(t.Title)
	}
	for i, t := range tables {
		if err := b.table(sheets[i], t); err != nil {
			return err
		}
		for _, part := range t.parts() {
			name, err := b.ownName(part.Title)
			if err != nil {
				return err
			}
			if err := b.table(name, part); err != nil {
				return err
			}
		}
	}
	if err := b.writeNames(); err != nil {
		return err
	}
	always := true
	// A spreadsheet computes the formulas when it opens the file, whatever values are stored with them.
	if err := f.SetCalcProps(&excelize.CalcPropsOptions{FullCalcOnLoad: &always}); err != nil {
		return err
	}
	return f.Write(w)
}

type book struct {
	*excelize.File
	// A name is taken (named, ownName) before its sheet is made, so that a table's own is kept for it whatever owners are
	// called.
	used   map[string]bool // names of sheets, folded
	begun  bool            // the first sheet has its name
	head   [2]int          // of text, and of numbers, which stand to the right
	title  int
	styles map[cellStyle]int
	names  []excelize.DefinedName // of writeNames
}

// font is that of every cell: one that isn't named is the program's choice, another in each.
func font(size float64) *excelize.Font { return &excelize.Font{Family: "Calibri", Size: size} }

// cellStyle tells the styles of cells apart.
type cellStyle struct {
	kind   Kind
	places int // of an amount: those of its currency
	total  bool
}

// begin gives the workbook its author and its first styles.
func (b *book) begin(d *Document) (err error) {
	made := d.Generated.UTC().Format(time.RFC3339)
	if err := b.SetDocProps(&excelize.DocProperties{Creator: program, LastModifiedBy: program, Title: sheetText(d.Title),
		Subject: sheetText(d.Subtitle), Created: made, Modified: made}); err != nil {
		return err
	}
	head, title := font(11), font(14)
	head.Bold, head.Color, title.Bold = true, "FFFFFF", true
	for i, to := range []string{"left", "right"} {
		b.head[i], err = b.NewStyle(&excelize.Style{Font: head,
			Fill:      excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"1F3A5F"}},
			Alignment: &excelize.Alignment{Horizontal: to, Vertical: "center"}})
		if err != nil {
			return err
		}
	}
	b.title, err = b.NewStyle(&excelize.Style{Font: title})
	return err
}

// program is the author of a workbook.
const program = "usagelake"

// style is that of a cell of the kind, in the currency if it is an amount.
func (b *book) style(k Kind, currency string, total bool) (int, error) {
	key := cellStyle{kind: k, total: total}
	if k == Money || k == Posted {
		key.places = k.places(currency)
	}
	if id, ok := b.styles[key]; ok {
		return id, nil
	}
	// A Money has none here, for its places are its currency's: of two "#,##0.00;[Red]-#,##0.00", of none "#,##0".
	format := map[Kind]string{Text: "@", Count: "#,##0", UnitCost: "#,##0.000000", Quantity: "#,##0.############",
		Share: "0.0%", Day: "yyyy-mm-dd", Month: "yyyy-mm", Instant: "yyyy-mm-dd hh:mm", Flag: "General"}[k]
	if format == "" {
		format = strings.TrimSuffix("#,##0."+strings.Repeat("0", key.places), ".")
		format += ";[Red]-" + format
	}
	style := excelize.Style{CustomNumFmt: &format, Font: font(11)}
	if total {
		style.Font.Bold = true
		if k.Numeric() { // and what stands where there is no sum
			style.Alignment = &excelize.Alignment{Horizontal: "right"}
		}
		style.Border = []excelize.Border{{Type: "top", Style: 1, Color: "000000"}}
	}
	id, err := b.NewStyle(&style)
	b.styles[key] = id
	return id, err
}

// setStyle styles a cell.
func (b *book) setStyle(sheet, at string, k Kind, currency string, total bool) error {
	style, err := b.style(k, currency, total)
	if err != nil {
		return err
	}
	return b.SetCellStyle(sheet, at, at, style)
}

// numericFormulas writes the files of a workbook. excelize marks what a formula gave as text, whatever stands there;
// the formulas of a report are sums, so what they gave is a number, for readers that don't compute, too.
type numericFormulas struct{ *zip.Writer }

func (z numericFormulas) Create(name string) (io.Writer, error) {
	w, err := z.Writer.Create(name)
	if err == nil && strings.HasPrefix(name, "xl/worksheets/sheet") {
		return untyped{w}, nil
	}
	return w, err
}

// deflate compresses the files of a workbook in half the time of the standard library's, to about the same size.
func deflate(w io.Writer) (io.WriteCloser, error) {
	z := deflaters.Get().(*flate.Writer)
	z.Reset(w)
	return &deflater{z}, nil
}

// deflater gives its compressor back: a workbook has a dozen small files, and each compressor is a megabyte.
type deflater struct{ *flate.Writer }

func (d *deflater) Close() error {
	err := d.Writer.Close()
	d.Reset(nil) // else it would keep the workbook
	deflaters.Put(d.Writer)
	return err
}

var deflaters = sync.Pool{New: func() any {
	z, _ := flate.NewWriter(nil, deflateLevel) // whose error is of the level alone
	return z
}}

const deflateLevel = 5

// untyped takes the mark off. A sheet comes in one piece, and no text in it holds a quote that isn't escaped.
type untyped struct{ io.Writer }

func (u untyped) Write(p []byte) (int, error) {
	// The writer above is told that all of p was written, and not how much shorter it became.
	if _, err := u.Writer.Write(bytes.ReplaceAll(p, []byte(` t="str"><f>`), []byte(`><f>`))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// onPaper sets a sheet up for print: turned to the side, one page wide, with its head on every page.
func (b *book) onPaper(sheet string, head bool) error {
	one, any, a4, fit, landscape := 1, 0, 9, true, "landscape"
	if err := b.SetSheetProps(sheet, &excelize.SheetPropsOptions{FitToPage: &fit}); err != nil {
		return err
	}
	if err := b.SetPageLayout(sheet, &excelize.PageLayoutOptions{Orientation: &landscape, Size: &a4, FitToWidth: &one,
		FitToHeight: &any}); err != nil {
		return err
	}
	if err := b.SetHeaderFooter(sheet, &excelize.HeaderFooterOptions{OddFooter: "&L&A&R&P / &N"}); err != nil || !head {
		return err
	}
	b.define(sheet, "_xlnm.Print_Titles", "$1:$1")
	return nil
}

// define gives cells of a sheet a name that is the sheet's own.
func (b *book) define(sheet, name, cells string) {
	b.names = append(b.names, excelize.DefinedName{Name: name, Scope: sheet,
		RefersTo: "'" + strings.ReplaceAll(sheet, "'", "''") + "'!" + cells})
}

// writeNames puts the names into the workbook, all at once: SetDefinedName goes over every sheet for each name that is
// there already, which takes minutes where there are hundreds of sheets. It makes the first, and the others are like
// it.
func (b *book) writeNames() error {
	if len(b.names) == 0 {
		return nil
	}
	if err := b.SetDefinedName(&b.names[0]); err != nil {
		return err
	}
	at := map[string]int{}
	for i, sheet := range b.GetSheetList() {
		at[sheet] = i
	}
	all := b.WorkBook.DefinedNames
	made := all.DefinedName[len(all.DefinedName)-1] // those before it are hidden: the filters' own
	for _, n := range b.names[1:] {
		sheet, ok := at[n.Scope]
		if !ok {
			return fmt.Errorf("no sheet %q for the name %s", n.Scope, n.Name)
		}
		d := made
		d.Name, d.Data, d.LocalSheetID = n.Name, n.RefersTo, &sheet
		all.DefinedName = append(all.DefinedName, d)
	}
	return nil
}

// rowsName is the name of a table's head and rows, in each sheet: what a program reads, for which a total would be one
// more row.
const rowsName = "Table_rows"

// maxBreaks is how many page breaks a sheet takes.
const maxBreaks = 1023

// breakPages begins a page with each value of the column that the table is grouped by.
func (b *book) breakPages(sheet string, t *Table) error {
	g := t.column(t.Group)
	if g < 0 {
		return nil
	}
	breaks := 0
	for r := 1; r < len(t.Rows) && breaks < maxBreaks; r++ {
		if t.Rows[r][g] == t.Rows[r-1][g] {
			continue
		}
		// A break stands above the cell's row: row r of the table is row r+2 of the sheet, below the head.
		if err := b.InsertPageBreak(sheet, cellName(0, r+2)); err != nil {
			return err
		}
		breaks++
	}
	return nil
}

// sheetName is the name, or the nearest that a workbook takes.
func sheetName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:\/?*[]`, r) || words.Steers(r) || notXML(r) {
			return '_'
		}
		return r
	}, name)
	clean = escapeAnywhere.ReplaceAllStringFunc(clean, func(s string) string { return "-" + s[1:] })
	return strings.Trim(cut(clean, maxSheetName), "' ")
}

// taken says that a sheet can't have the name: one has it, or one of which somebody may say that it is the same. A
// workbook has a use of its own for History.
func (b *book) taken(name string) bool {
	fold := schemas.Fold(name)
	return name == "" || b.used[fold] || fold == schemas.Fold("history")
}

// named is the name of a sheet with a fixed title, or the nearest that is free.
func (b *book) named(title string) string {
	name := sheetName(title)
	for i := 2; b.taken(name); i++ {
		suffix := fmt.Sprintf(" (%d)", i)
		// Cut first, so that the suffix stays whole.
		name = cut(cmp.Or(sheetName(title), "Sheet"), maxSheetName-len(suffix)) + suffix
	}
	b.used[schemas.Fold(name)] = true
	return name
}

// ownName is the name of a sheet for what is called so in the data. It is that name where a workbook takes it, and else
// has a digest of it, so that no sheet is one owner's this month and another's in the next.
func (b *book) ownName(owner string) (string, error) {
	base, sum := sheetName(owner), sha256.Sum256([]byte(owner))
	name, free := base, base == owner && !b.taken(base)
	// The digest of the name alone: three bytes of it, and more if even that is taken. It is the same in every workbook.
	for n := 3; !free; n++ {
		suffix := fmt.Sprintf(" (%x)", sum[:n])
		if len(suffix) > maxSheetName {
			return "", fmt.Errorf("no name is left for a sheet of %q", owner)
		}
		name = strings.TrimSpace(cut(base, maxSheetName-len(suffix)) + suffix)
		free = !b.taken(name)
	}
	b.used[schemas.Fold(name)] = true
	return name, nil
}

// sheet makes a sheet. One that is there already is an error: whoever wrote to it would overwrite somebody's rows.
func (b *book) sheet(name string) error {
	if !b.begun {
		b.begun = true
		return b.SetSheetName("Sheet1", name)
	}
	// The names are folded by us and by the workbook, and perhaps not alike.
	if i, err := b.GetSheetIndex(name); err != nil || i >= 0 {
		return fmt.Errorf("the workbook has a sheet %q already: %w", name, cmp.Or(err, fs.ErrExist))
	}
	_, err := b.NewSheet(name)
	return err
}

// cut cuts a text to n characters of UTF-16, which is how a workbook counts.
func cut(s string, n int) string {
	// A character beyond the first plane, such as most emoji, counts as two.
	units := 0
	for i, r := range s {
		units++
		if r > 0xffff {
			units++
		}
		if units > n {
			return s[:i]
		}
	}
	return s
}

func (b *book) cover(d *Document) error {
	sheet := b.named("Summary")
	if err := b.sheet(sheet); err != nil {
		return err
	}
	row := 1
	put := func(cells ...string) error {
		for i, c := range cells {
			if err := b.text(sheet, cellName(i, row), c); err != nil {
				return err
			}
		}
		row++
		return nil
	}
	if err := errors.Join(put(d.Title), b.SetCellStyle(sheet, "A1", "A1", b.title), put(d.Subtitle),
		put("Completeness", d.Completeness.Text), put(d.Freshness), put("")); err != nil {
		return err
	}
	for _, f := range d.Figures { // the number, what it is in, what it is held against
		value, unit := f.Value, ""
		if f.isNumber() {
			value, unit = "", f.Currency
			if err := errors.Join(b.value(sheet, cellName(1, row), f.Kind, f.Number, f.Currency),
				b.setStyle(sheet, cellName(1, row), f.Kind, f.Currency, false)); err != nil {
				return err
			}
		}
		cells := []string{f.Label, value, unit, f.Detail}
		// A cell without a text is left out: an empty one would keep the text beside it from running over.
		for i, c := range cells {
			if c == "" {
				continue
			}
			if err := b.text(sheet, cellName(i, row), c); err != nil {
				return err
			}
		}
		row++
	}
	var lines [][]string
	for _, t := range d.Tables {
		if t.Basis != "" {
			lines = append(lines, []string{t.Title, string(t.Basis)})
		}
	}
	for _, s := range d.Warnings {
		lines = append(lines, []string{"Warning", s})
	}
	lines = append(lines, []string{""})
	for _, s := range d.Notes {
		lines = append(lines, []string{"Note", s})
	}
	lines = append(lines,
		[]string{"Note", "A spreadsheet counts with 15 digits. Amounts with all their twelve decimals are in the CSV and " +
			"in usage.duckdb."})
	for _, l := range lines {
		if err := put(l...); err != nil {
			return err
		}
	}
	return errors.Join(b.SetColWidth(sheet, "A", "B", 28), b.SetColWidth(sheet, "D", "D", 40), b.onPaper(sheet, false))
}

// cellName is the name of a cell: its column from 0, its row from 1.
func cellName(col, row int) string {
	s, _ := excelize.CoordinatesToCellName(col+1, row)
	return s
}

// notXML says that a sheet can't hold a character.
func notXML(r rune) bool { return r == utf8.RuneError || r < ' ' || r == 0xfffe || r == 0xffff }

// sheetText is a text that a cell can hold.
func sheetText(s string) string {
	s = strings.Map(func(r rune) rune {
		if notXML(r) && r != '\n' && r != '\t' {
			return '\ufffd'
		}
		return r
	}, s)
	if c := cut(s, maxSheetText); c != s {
		return cut(s, maxSheetText-1) + "…"
	}
	return s
}

// text writes a cell of text.
func (b *book) text(sheet, at, s string) error {
	s = sheetText(s)
	escaped, n := escapes(s)
	if n > 0 && cut(escaped, maxSheetText) != escaped {
		// Each escape is six characters longer than what it stands for. Those that are cut off with the end make it shorter
		// than it might be, and never longer.
		escaped, _ = escapes(cut(s, maxSheetText-1-n*6) + "…")
	}
	return b.SetCellStr(sheet, at, escaped)
}

// escapes writes out what a workbook would read as a character: it has _x0041_ for A, and _x005F_ for an underscore
// that begins no such thing. excelize reads them so, but doesn't write them in shared strings. n is how many there are.
func escapes(s string) (escaped string, n int) {
	if !strings.Contains(s, "_x") {
		return s, 0
	}
	var b strings.Builder
	for i := range len(s) {
		// By bytes: an underscore is none within another character, and seven bytes are all that an escape has.
		if s[i] == '_' && escape.MatchString(s[i:min(i+7, len(s))]) {
			b.WriteString("_x005F_")
			n++
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String(), n
}

var (
	escape = regexp.MustCompile(`^_x[0-9A-Fa-f]{4}_`)
	// escapeAnywhere is what begins one, without the end, which may begin the next.
	escapeAnywhere = regexp.MustCompile(`_x[0-9A-Fa-f]{4}`)
)

func (b *book) table(sheet string, t *Table) error {
	totals := t.Totals()
	if 2+len(t.Rows)+len(totals) > maxSheetRows {
		return fmt.Errorf("%s has %d rows, more than a sheet holds: ask for fewer dimensions, or for --format csv or parquet",
			sheet, len(t.Rows))
	}
	if err := b.sheet(sheet); err != nil {
		return err
	}
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = utf8.RuneCountInString(c.Title)
		head := b.head[0]
		if c.Kind.Numeric() {
			head = b.head[1]
		}
		if err := errors.Join(b.text(sheet, cellName(i, 1), c.Title),
			b.SetCellStyle(sheet, cellName(i, 1), cellName(i, 1), head)); err != nil {
			return err
		}
	}
	// Widths go by what is shown, and not by all the digits that a cell holds.
	for r, row := range t.Rows {
		for i, v := range row {
			if err := b.value(sheet, cellName(i, r+2), t.Columns[i].Kind, v, t.value(row, "currency").Text); err != nil {
				return err
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(t.show(row, i)))
		}
	}
	// The sheet's row of the last row of the table: the head is row 1.
	last := len(t.Rows) + 1
	for i, c := range t.Columns {
		for from := 0; from < len(t.Rows); { // rows that follow one another in a currency are styled at once
			currency, to := t.value(t.Rows[from], "currency").Text, from+1
			// Only an amount's style hangs on the currency: all rows of any other column are styled at once.
			for to < len(t.Rows) && (c.Kind != Money && c.Kind != Posted || t.value(t.Rows[to], "currency").Text == currency) {
				to++
			}
			style, err := b.style(c.Kind, currency, false)
			if err == nil {
				err = b.SetCellStyle(sheet, cellName(i, from+2), cellName(i, to+1), style)
			}
			if err != nil {
				return err
			}
			from = to
		}
		letter, _ := excelize.ColumnNumberToName(i + 1)
		if err := b.SetColWidth(sheet, letter, letter, float64(min(max(widths[i]+3, 9), 50))); err != nil {
			return err
		}
	}
	if last > 1 {
		if err := b.totals(sheet, t, totals, last); err != nil {
			return err
		}
		if err := b.AutoFilter(sheet, cellName(0, 1)+":"+cellName(len(t.Columns)-1, last), nil); err != nil {
			return err
		}
	}
	end, err := excelize.CoordinatesToCellName(len(t.Columns), last, true)
	b.define(sheet, rowsName, "$A$1:"+end)
	return errors.Join(err, b.breakPages(sheet, t),
		b.SetPanes(sheet, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}),
		b.onPaper(sheet, true))
}

// currencyCode is a code as ISO 4217 has it.
var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

// totals writes a row of formulas, or of sums, for each currency, below an empty row that keeps the filter off them.
func (b *book) totals(sheet string, t *Table, totals []Total, last int) error {
	if !t.summed() {
		return nil
	}
	currency := t.column("currency")
	// To some programs an empty text is an empty cell: no formula tells the two apart.
	empty := slices.ContainsFunc(totals, func(t Total) bool { return !t.Null && t.Currency == "" })
	// SUMIFS takes "usd" for USD, and some texts for patterns.
	codes := !slices.ContainsFunc(totals, func(t Total) bool { return !t.Null && !currencyCode.MatchString(t.Currency) })
	for n, total := range totals {
		// last + 1 is the empty row.
		row := last + 2 + n
		texts := t.totalCells(total)
		for i, text := range texts {
			c := t.Columns[i]
			at := cellName(i, row)
			if total.Sums[i] == nil {
				if err := b.text(sheet, at, text); err != nil {
					return err
				}
			} else {
				// What sums them: without a currency column SUM; of rows without a currency those whose cell is blank; of codes
				// SUMIFS; of any other name EXACT, which tells capitals apart. Each refers to the cell of the row that has the
				// currency, and not to its text, so that no text becomes part of a formula.
				cells := cellName(i, 2) + ":" + cellName(i, last)
				formula := "SUM(" + cells + ")"
				if currency >= 0 {
					in := cellName(currency, 2) + ":" + cellName(currency, last)
					switch {
					// nor what the row doesn't show as it is
					case empty && total.Currency == "", !total.Null && texts[currency] != total.Currency:
						formula = ""
					case total.Null:
						formula = fmt.Sprintf("SUMPRODUCT(--ISBLANK(%s),%s)", in, cells)
					case codes:
						formula = fmt.Sprintf("SUMIFS(%s,%s,%s)", cells, in, cellName(currency, row))
					default:
						formula = fmt.Sprintf("SUMPRODUCT(--EXACT(%s,%s),%s)", in, cellName(currency, row), cells)
					}
				}
				// The value that a reader shows which doesn't compute.
				stored := total.Sums[i].String()
				if c.Kind == Money || c.Kind == Posted {
					stored = sheetAmount(*total.Sums[i])
				}
				if err := b.SetCellDefault(sheet, at, stored); err != nil {
					return err
				}
				if formula != "" {
					if err := b.SetCellFormula(sheet, at, formula); err != nil {
						return err
					}
				}
			}
			if err := b.setStyle(sheet, at, c.Kind, total.Currency, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// value writes a cell. Numbers stand with all their digits; what isn't as its column says stands as text.
func (b *book) value(sheet, at string, k Kind, v query.Value, currency string) error {
	if v.Null {
		return nil
	}
	switch {
	case k.Numeric():
		// Default writes the digits as they are; a float of excelize's would have lost some.
		if n, err := schemas.ParseMoney(v.Text); err == nil {
			if k == Money || k == Posted {
				return b.SetCellDefault(sheet, at, sheetAmount(n.In(currency)))
			}
			return b.SetCellDefault(sheet, at, n.String())
		}
	case k == Day || k == Month:
		// Days from 1899-12-30, as a workbook counts; before March 1900 it counts otherwise.
		// 25,569 is 1970-01-01, from which a Date counts. A workbook believes that 1900 had a February 29th, its day 60.
		if d, err := schemas.ParseDate(v.Text); err == nil && int64(d)+25_569 > 60 {
			return b.SetCellInt(sheet, at, int64(d)+25_569)
		}
	case k == Instant:
		if t, err := time.Parse(time.RFC3339, v.Text); err == nil {
			return b.SetCellValue(sheet, at, t.UTC().Truncate(time.Second))
		}
	case k == Flag:
		return b.SetCellBool(sheet, at, v.Text == "true")
	}
	return b.text(sheet, at, v.Text)
}

// sheetAmount is what a cell stores of an amount: all its digits. A spreadsheet keeps 15 of them and rounds what it
// shows from these, so an amount that would come out another cent than everywhere else stands in its minor unit.
func sheetAmount(n schemas.Money) string {
	const digits = 15
	count := func(s string) int { return len(s) - strings.Count(s, "-") - strings.Count(s, ".") }
	exact := n.String()
	if count(exact) <= digits { // as most: a double gives all of them back
		return exact
	}
	rounded := n.Posted()
	f, err := strconv.ParseFloat(exact, 64)
	if err != nil || count(rounded) > digits {
		return exact
	}
	// What a spreadsheet makes of the text: the nearest double, and 15 digits of that. 1,234,567.004999999999 is
	// 1,234,567.00 everywhere else; of 15 digits, 1,234,567.00500000, it would show .01. Then the cell has the rounded
	// amount. Digits beyond the twelfth decimal are of an amount so small that none are lost.
	kept, ok := new(big.Rat).SetString(strconv.FormatFloat(f, 'e', digits-1, 64))
	if !ok {
		return exact
	}
	kept.Mul(kept, new(big.Rat).SetInt64(1_000_000_000_000))
	if !kept.IsInt() || schemas.MoneyOf(kept.Num()).In(n.Currency()).Posted() == rounded {
		return exact
	}
	return rounded
}
