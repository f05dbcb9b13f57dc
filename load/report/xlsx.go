package report

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

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
	sheetDigits  = 15 // of a number: a spreadsheet makes a double of it, and zeros of what follows
)

// XLSX writes the document as a workbook: a sheet of figures, one a table, and one for each value of the column that a
// table is grouped by; then one of charts, and what they are drawn from. Numbers and dates are such; totals are
// formulas over the rows that are shown, one a currency. Text is text, whatever it begins with. The defined name
// rowsName of each sheet with a table is its head and rows, without the totals.
//
// A spreadsheet counts with 15 digits. The cells hold all that there are; sums in a sheet are as exact as the
// spreadsheet is.
func (d *Document) XLSX(w io.Writer) error {
	out, err := newBook(w)
	if err != nil {
		return err
	}
	b := &book{out, map[string]bool{}}
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
	writePlots := b.withPlots(d)
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
	if err := writePlots(); err != nil {
		return err
	}
	return b.close(sheetText(d.Title), sheetText(d.Subtitle), d.Generated)
}

type book struct {
	*bookWriter
	// A name is taken (named, ownName) before its sheet is made, so that a table's own is kept for it whatever owners are
	// called.
	used map[string]bool // names of sheets, folded
}

// font is that of every cell: one that isn't named is the program's choice, another in each.
func font(size float64) *excelize.Font { return &excelize.Font{Family: "Calibri", Size: size} }

// cellStyle tells the styles of cells apart.
type cellStyle struct {
	kind   Kind
	places int // of an amount: those of its currency
	total  bool
}

// program is the author of a workbook.
const program = "usagelake"

// makeStyles makes every style that a cell may have.
func (k *skeleton) makeStyles(f *excelize.File) (err error) {
	head, title := font(11), font(14)
	head.Bold, head.Color, title.Bold = true, "FFFFFF", true
	for i, to := range []string{"left", "right"} {
		k.heads[i], err = f.NewStyle(&excelize.Style{Font: head,
			Fill:      excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"1F3A5F"}},
			Alignment: &excelize.Alignment{Horizontal: to, Vertical: "center"}})
		if err != nil {
			return err
		}
	}
	if k.title, err = f.NewStyle(&excelize.Style{Font: title}); err != nil {
		return err
	}
	units := append(schemas.OddCurrencies(), schemas.Currency{MinorUnit: schemas.MinorUnit("")})
	for kind := Text; kind <= Flag; kind++ {
		for _, unit := range units {
			for _, total := range []bool{false, true} {
				key := styleKey(kind, unit.MinorUnit, total)
				if _, ok := k.styles[key]; ok {
					continue
				}
				if k.styles[key], err = newStyle(f, key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// styleKey is the style of cells of the kind, of an amount in a currency with so many places.
func styleKey(k Kind, places int, total bool) cellStyle {
	if k != Money && k != Posted {
		places = 0
	}
	return cellStyle{k, places, total}
}

// style is that of a cell of the kind, in the currency if it is an amount.
func (b *book) style(k Kind, currency string, total bool) int {
	return b.styles[styleKey(k, schemas.MinorUnit(currency), total)]
}

func newStyle(f *excelize.File, s cellStyle) (int, error) {
	// A Money has none here, for its places are its currency's: of two "#,##0.00;[Red]-#,##0.00", of none "#,##0".
	format := map[Kind]string{Text: "@", Count: "#,##0", Whole: "0", UnitCost: "#,##0.000000",
		Quantity: "#,##0.############", Prices: "#,##0.############", Share: "0.0%", Day: "yyyy-mm-dd", Month: "yyyy-mm",
		Instant: "yyyy-mm-dd hh:mm", Second: "yyyy-mm-dd hh:mm:ss", Flag: "General"}[s.kind]
	if format == "" {
		format = strings.TrimSuffix("#,##0."+strings.Repeat("0", s.places), ".")
		format += ";[Red]-" + format
	}
	style := excelize.Style{CustomNumFmt: &format, Font: font(11)}
	if s.total {
		style.Font.Bold = true
		if s.kind.Numeric() { // and what stands where there is no sum
			style.Alignment = &excelize.Alignment{Horizontal: "right"}
		}
		style.Border = []excelize.Border{{Type: "top", Style: 1, Color: "000000"}}
	}
	return f.NewStyle(&style)
}

// rowsName is the name of a table's head and rows, in each sheet: what a program reads, for which a total would be one
// more row.
const rowsName = "Table_rows"

// maxBreaks is how many page breaks a sheet takes.
const maxBreaks = 1023

// pageBreaks are the rows of a sheet after which a page ends: it begins with each value of the column that the table
// is grouped by.
func (t *Table) pageBreaks() (rows []int) {
	g := t.column(t.Group)
	if g < 0 {
		return nil
	}
	for r := 1; r < len(t.Rows) && len(rows) < maxBreaks; r++ {
		if t.Rows[r][g] != t.Rows[r-1][g] {
			rows = append(rows, r+1) // row r of the table is row r+2 of the sheet, below the head
		}
	}
	return rows
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

const digitsNote = "A spreadsheet counts with 15 digits. Amounts with all their twelve decimals are in the CSV and " +
	"in usage.duckdb."

func (b *book) cover(d *Document) error {
	s, err := b.sheet(b.named("Summary"))
	if err != nil {
		return err
	}
	s.widths = []int{28, 28, 0, 40}
	put := func(cells ...string) {
		s.next(s.row + 1)
		for i, c := range cells {
			style := 0
			if s.row == 1 {
				style = b.title
			}
			s.put(i, style, c)
		}
	}
	put(d.Title)
	put(d.Subtitle)
	put("Completeness", d.Completeness.Text)
	put(d.Freshness)
	put("")
	for _, f := range d.Figures { // the number, what it is in, what it is held against
		s.next(s.row + 1)
		value, unit := f.Value, ""
		if f.isNumber() {
			value, unit = "", f.Currency
		}
		// A cell without a text is left out: an empty one would keep the text beside it from running over.
		for i, c := range []string{f.Label, value, unit, f.Detail} {
			switch {
			case i == 1 && f.isNumber():
				s.value(1, b.style(f.Kind, f.Currency, false), f.Kind, f.Number, f.Currency)
			case c != "":
				s.put(i, 0, c)
			}
		}
	}
	for _, t := range d.Tables {
		if t.Basis != "" {
			put(t.Title, string(t.Basis))
		}
	}
	for _, w := range d.Warnings {
		put("Warning", w)
	}
	put("")
	for _, n := range d.Notes {
		put("Note", n)
	}
	put("Note", digitsNote)
	return s.end()
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

// put writes a cell of a text.
func (s *sheet) put(column, style int, text string) {
	text = sheetText(text)
	escaped, n := escapes(text)
	if n > 0 && cut(escaped, maxSheetText) != escaped {
		// Each escape is six characters longer than what it stands for. Those that are cut off with the end make it shorter
		// than it might be, and never longer.
		escaped, _ = escapes(cut(text, maxSheetText-1-n*6) + "…")
	}
	s.text(column, style, escaped)
}

// escapes writes out what a workbook would read as a character: it has _x0041_ for A, and _x005F_ for an underscore
// that begins no such thing. n is how many there are.
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

func (b *book) table(name string, t *Table) error {
	totals := t.Totals()
	if 2+len(t.Rows)+len(totals) > maxSheetRows {
		return &TooLarge{fmt.Sprintf("%s rows in the table %s, and a sheet has %s with head and totals",
			words.Count(len(t.Rows)), name, words.Count(maxSheetRows))}
	}
	s, err := b.sheet(name)
	if err != nil {
		return err
	}
	s.marks = t.summed() && len(totals) > 1
	b.head(s, t)
	for _, row := range t.Rows {
		b.line(s, t, row)
	}
	// The sheet's row of the last row of the table: the head is row 1.
	last := s.row
	if last > 1 {
		b.totals(s, t, totals, last)
	}
	s.breaks = t.pageBreaks()
	return b.endTable(s, t, last)
}

// head begins the sheet of a table.
func (b *book) head(s *sheet, t *Table) {
	s.heads = true
	s.next(1)
	s.widths = make([]int, len(t.Columns))
	for i, c := range t.Columns {
		head := b.heads[0]
		if c.Kind.Numeric() {
			head = b.heads[1]
		}
		s.put(i, head, c.Title)
		s.widen(i, c.Title)
	}
	if s.marks {
		s.put(len(t.Columns), b.heads[1], shownTitle)
	}
}

// shownTitle is the head of a hidden column that says of each row whether it is shown: a filter hides rows. What sums
// by a condition can't see that by itself, and a SUBTOTAL has no condition.
const shownTitle = "Shown"

// line writes a row of a table. Widths go by what is shown, and not by all the digits that a cell holds.
func (b *book) line(s *sheet, t *Table, row []query.Value) {
	s.next(s.row + 1)
	for i, v := range row {
		kind, currency := t.Columns[i].Kind, t.currency(row, i)
		style := b.style(kind, currency, false)
		if (kind == Quantity || kind == Prices) && isWhole(v.Text) { // else Excel would show the point alone: 7.
			style = b.style(Count, "", false)
		}
		s.value(i, style, kind, v, currency)
		if !s.streams {
			s.widen(i, show(t.Columns[i], v, currency))
		}
	}
	if s.marks {
		shown := "0"
		if slices.ContainsFunc(row, func(v query.Value) bool { return !v.Null }) {
			shown = "1"
		}
		s.formula(len(row), 0, fmt.Sprintf("SIGN(SUBTOTAL(103,A%d:%s))", s.row, cellName(len(row)-1, s.row)), shown)
	}
}

// isWhole says that a number has no decimals but zeros.
func isWhole(s string) bool {
	_, decimals, _ := strings.Cut(s, ".")
	return !strings.ContainsAny(s, "eE") && strings.Trim(decimals, "0") == ""
}

// widen makes room for a text in a column.
func (s *sheet) widen(column int, text string) {
	s.widths[column] = max(s.widths[column], min(max(utf8.RuneCountInString(text)+3, 9), 50))
}

// endTable ends the sheet of a table whose last row is that of the sheet: what it filters, and its name.
func (b *book) endTable(s *sheet, t *Table, last int) error {
	cells := "$A$1:$" + columnName(len(t.Columns)-1) + "$" + strconv.Itoa(last)
	if last > 1 {
		s.filter = cells
	}
	s.define(rowsName, cells, false)
	return s.end()
}

// currencyCode is a code as ISO 4217 has it.
var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

// totals writes a row of formulas, or of sums, for each currency, below an empty row that keeps the filter off them.
// They sum what a filter shows.
func (b *book) totals(s *sheet, t *Table, totals []Total, last int) {
	if !t.summed() {
		return
	}
	currency := t.column("currency")
	// To some programs an empty text is an empty cell: no formula tells the two apart.
	empty := slices.ContainsFunc(totals, func(t Total) bool { return !t.Null && t.Currency == "" })
	// SUMIFS takes "usd" for USD, and some texts for patterns.
	codes := !slices.ContainsFunc(totals, func(t Total) bool { return !t.Null && !currencyCode.MatchString(t.Currency) })
	for n, total := range totals {
		// last + 1 is the empty row.
		row := last + 2 + n
		s.next(row)
		texts := t.totalCells(total)
		for i, text := range texts {
			c := t.Columns[i]
			in := total.Currency
			if total.Sums[i] != nil {
				in = total.Sums[i].Currency()
			}
			style := b.style(c.Kind, in, true)
			if total.Sums[i] == nil {
				s.put(i, style, text)
			} else {
				// What sums them: in one currency alone SUBTOTAL; of rows without a currency those whose cell is blank; of codes
				// SUMIFS; of any other name EXACT, which tells capitals apart. Each refers to the cell of the row that has the
				// currency, and not to its text, so that no text becomes part of a formula.
				cells := rowsOf(i, last)
				formula := "SUBTOTAL(109," + cells + ")"
				if s.marks {
					in, shown := rowsOf(currency, last), rowsOf(len(t.Columns), last)
					switch {
					// nor what the row doesn't show as it is
					case empty && total.Currency == "", !total.Null && texts[currency] != total.Currency:
						formula = ""
					case total.Null:
						formula = fmt.Sprintf("SUMPRODUCT(--ISBLANK(%s),%s,%s)", in, shown, cells)
					case codes:
						formula = fmt.Sprintf("SUMIFS(%s,%s,%s,%s,1)", cells, in, cellName(currency, row), shown)
					default:
						formula = fmt.Sprintf("SUMPRODUCT(--EXACT(%s,%s),%s,%s)", in, cellName(currency, row), shown, cells)
					}
				}
				// The value that a reader shows which doesn't compute.
				stored := total.Sums[i].String()
				if c.Kind == Money || c.Kind == Posted {
					stored = sheetAmount(*total.Sums[i])
				}
				if formula != "" {
					s.formula(i, style, formula, stored)
				} else {
					s.number(i, style, stored)
				}
			}
		}
	}
}

// rowsOf are the cells of a table's rows in a column.
func rowsOf(column, last int) string { return cellName(column, 2) + ":" + cellName(column, last) }

// value writes a cell. Numbers stand with all their digits; what isn't as its column says stands as text.
func (s *sheet) value(column, style int, k Kind, v query.Value, currency string) {
	switch {
	case v.Null:
		s.cell(column, style, "", "")
		return
	case k == Whole && len(strings.TrimLeft(v.Text, "-")) > sheetDigits:
		// An id: a spreadsheet would keep its first digits alone.
	case k.Numeric():
		if n, err := schemas.ParseMoney(v.Text); err == nil {
			if k == Money || k == Posted {
				s.number(column, style, sheetAmount(n.In(currency)))
			} else {
				s.number(column, style, n.String())
			}
			return
		}
		// With more decimals than amounts have, or an exponent.
		if _, err := strconv.ParseFloat(v.Text, 64); err == nil && v.Bare {
			s.number(column, style, v.Text)
			return
		}
	case k == Day || k == Month:
		if d, err := schemas.ParseDate(v.Text); err == nil && int64(d)+epoch > 60 {
			s.number(column, style, strconv.FormatInt(int64(d)+epoch, 10))
			return
		}
	case k == Instant || k == Second:
		if t, err := parseTime(v.Text); err == nil && t.Unix()+epoch*daySeconds > 61*daySeconds {
			seconds := t.Unix() + epoch*daySeconds
			days := float64(seconds/daySeconds) + (float64(seconds%daySeconds)+float64(t.Nanosecond())/1e9)/daySeconds
			s.number(column, style, strconv.FormatFloat(days, 'f', -1, 64))
			return
		}
	case k == Flag:
		s.cell(column, style, "b", map[bool]string{true: "<v>1</v>", false: "<v>0</v>"}[v.Text == "true"])
		return
	}
	s.put(column, style, v.Text)
}

// parseTime reads a time in UTC, or one that says no zone.
func parseTime(s string) (time.Time, error) {
	if !strings.HasSuffix(s, "Z") {
		s += "Z"
	}
	return time.Parse(time.RFC3339, s)
}

// A workbook counts days from 1899-12-30: epoch is 1970-01-01, from which a Date counts. It believes that 1900 had a
// February 29th, its day 60, so that it counts the days before otherwise; these stand as text.
const (
	epoch      = 25_569
	daySeconds = 24 * 60 * 60
)

// sheetAmount is what a cell stores of an amount: all its digits. A spreadsheet keeps 15 of them and rounds what it
// shows from these, so an amount that would come out another cent than everywhere else stands in its minor unit.
func sheetAmount(n schemas.Money) string {
	count := func(s string) int { return len(s) - strings.Count(s, "-") - strings.Count(s, ".") }
	exact := n.String()
	if count(exact) <= sheetDigits { // as most: a double gives all of them back
		return exact
	}
	rounded := n.Posted()
	f, err := strconv.ParseFloat(exact, 64)
	if err != nil || count(rounded) > sheetDigits {
		return exact
	}
	// What a spreadsheet makes of the text: the nearest double, and 15 digits of that. 1,234,567.004999999999 is
	// 1,234,567.00 everywhere else; of 15 digits, 1,234,567.00500000, it would show .01. Then the cell has the rounded
	// amount. Digits beyond the twelfth decimal are of an amount so small that none are lost.
	kept, ok := new(big.Rat).SetString(strconv.FormatFloat(f, 'e', sheetDigits-1, 64))
	if !ok {
		return exact
	}
	kept.Mul(kept, new(big.Rat).SetInt64(1_000_000_000_000))
	if !kept.IsInt() || schemas.MoneyOf(kept.Num()).In(n.Currency()).Posted() == rounded {
		return exact
	}
	return rounded
}
