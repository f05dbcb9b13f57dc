package report

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// workbook writes a document as a workbook, and opens it.
func workbook(t testing.TB, d *Document) (*excelize.File, []byte) {
	t.Helper()
	b := []byte(render(t, d.XLSX))
	f, err := excelize.OpenReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, b
}

type cellOf struct {
	*excelize.File
	t     testing.TB
	sheet string
}

func (c cellOf) raw(at string) string {
	c.t.Helper()
	s, err := c.GetCellValue(c.sheet, at, excelize.Options{RawCellValue: true})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c cellOf) shown(at string) string {
	c.t.Helper()
	s, err := c.GetCellValue(c.sheet, at)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c cellOf) kind(at string) excelize.CellType {
	c.t.Helper()
	k, err := c.GetCellType(c.sheet, at)
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

func (c cellOf) formula(at string) string {
	c.t.Helper()
	s, err := c.GetCellFormula(c.sheet, at)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func TestAWorkbookHasASheetForEachTableAndGroup(t *testing.T) {
	f, _ := workbook(t, sample())
	want := []string{"Summary", "By cost centre", "(unallocated)", "CC-1", "CC-2", "cc-2 (4493f4)", "Nothing here",
		"Charts", "Hours", "Chart data"}
	if got := f.GetSheetList(); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("sheets are %q, want %q", got, want)
	}
	for _, name := range want[1:6] {
		panes, err := f.GetPanes(name)
		if err != nil || !panes.Freeze || panes.YSplit != 1 {
			t.Errorf("%s: panes %+v, %v", name, panes, err)
		}
	}
	c := cellOf{f, t, "CC-1"}
	if c.raw("A2") != "CC-1" || c.raw("A3") != "CC-1" || c.raw("A4") != "" {
		t.Errorf("the sheet CC-1 has %s, %s, %s", c.raw("A2"), c.raw("A3"), c.raw("A4"))
	}
}

func TestCellsOfAWorkbookAreNumbersDatesAndText(t *testing.T) {
	f, b := workbook(t, sample())
	c := cellOf{f, t, "By cost centre"}
	for _, x := range []struct {
		at, raw, shown string
		kind           excelize.CellType
	}{
		{"D2", "1234567", "1,234,567", excelize.CellTypeUnset}, {"E2", "1234.565", "1,234.57", excelize.CellTypeUnset},
		{"E5", "99999999999999999999999999.999999999999", "", excelize.CellTypeUnset},
		{"E4", "0.000000000001", "0.00", excelize.CellTypeUnset}, {"E3", "-0.005", "", excelize.CellTypeUnset},
		{"F4", "", "", excelize.CellTypeUnset}, {"H2", "0.25425", "25.4%", excelize.CellTypeUnset},
		{"I2", "46327", "2026-11-01", excelize.CellTypeUnset},
		{"I5", "1899-12-31", "1899-12-31", excelize.CellTypeSharedString},
		{"J2", "46327", "2026-11", excelize.CellTypeUnset},
		{"K2", "46350.43818576389", "2026-11-24 10:30", excelize.CellTypeUnset}, {"L2", "1", "TRUE", excelize.CellTypeBool},
		{"A2", "CC-1", "CC-1", excelize.CellTypeSharedString}, {"L4", "", "", excelize.CellTypeUnset},
	} {
		if got := c.raw(x.at); got != x.raw {
			t.Errorf("%s holds %q, want %q", x.at, got, x.raw)
		}
		if got := c.shown(x.at); x.shown != "" && got != x.shown {
			t.Errorf("%s shows %q, want %q", x.at, got, x.shown)
		}
		if got := c.kind(x.at); got != x.kind {
			t.Errorf("%s is of type %d, want %d", x.at, got, x.kind)
		}
	}
	sheet := part(t, b, "xl/worksheets/sheet2.xml")
	for _, want := range []string{`<autoFilter ref="$A$1:$L$6"`, `ySplit="1"`, `state="frozen"`} {
		if !strings.Contains(sheet, want) {
			t.Errorf("the sheet has no %s", want)
		}
	}
	if !strings.Contains(part(t, b, "xl/workbook.xml"), `fullCalcOnLoad="true"`) {
		t.Error("the workbook isn't computed anew when it is opened")
	}
}

// part is a file of a workbook.
func part(t testing.TB, b []byte, name string) string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := z.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

func TestTotalsOfAWorkbookAreFormulasThatGiveTheExactSums(t *testing.T) {
	table := &Table{Name: "x", Title: "X",
		Columns: []Column{{"model", "Model", Text, false}, {"currency", "Currency", Text, false},
			{"requests", "Requests", Count, true}, {"net_cost", "Net", Money, true}}}
	for i, c := range []string{"USD", "EUR", "USD", "NULL", "EUR"} {
		table.Rows = append(table.Rows, row(fmt.Sprint(i), c, fmt.Sprint(i+1), fmt.Sprintf("%d.25", i*10)))
	}
	table.Rows = append(table.Rows, row("5", "USD", "NULL", "NULL"))
	f, _ := workbook(t, &Document{Tables: []*Table{table}})
	c := cellOf{f, t, "X"}
	for i, want := range []struct{ currency, requests, formula, net string }{
		{"EUR", "7", "SUMIFS(D2:D7,B2:B7,B9,E2:E7,1)", "50.5"}, {"USD", "4", "SUMIFS(D2:D7,B2:B7,B10,E2:E7,1)", "20.5"},
		{none, "4", "SUMPRODUCT(--ISBLANK(B2:B7),E2:E7,D2:D7)", "30.25"},
	} {
		r := strconv.Itoa(9 + i)
		if c.raw("A"+r) != "Total" || c.raw("B"+r) != want.currency || c.formula("D"+r) != want.formula {
			t.Errorf("row %s is %s, %s, %s", r, c.raw("A"+r), c.raw("B"+r), c.formula("D"+r))
		}
		if c.raw("C"+r) != want.requests || c.raw("D"+r) != want.net { // what a reader shows that doesn't compute
			t.Errorf("row %s holds %s and %s, want %s and %s", r, c.raw("C"+r), c.raw("D"+r), want.requests, want.net)
		}
		if want.currency == none {
			continue // excelize doesn't compute ISBLANK of a range
		}
		if got, err := f.CalcCellValue("X", "D"+r, excelize.Options{RawCellValue: true}); err != nil || got != want.net {
			t.Errorf("row %s computes to %s, want %s: %v", r, got, want.net, err)
		}
	}
	if c.raw("A8") != "" {
		t.Error("the filter would take the totals in")
	}

	// What SUMIFS would mix up, or take for a pattern.
	table.Rows = [][]query.Value{row("a", "USD", "1", "1"), row("b", "usd", "2", "2"), row("c", "*", "4", "4"),
		row("d", "", "8", "8")}
	f, _ = workbook(t, &Document{Tables: []*Table{table}})
	c = cellOf{f, t, "X"}
	// an empty text, which some programs take for no text
	if c.formula("D7") != "" || c.raw("D7") != "8" || c.raw("B7") != "" {
		t.Errorf("row 7 is %s = %s", c.formula("D7"), c.raw("D7"))
	}
	for r := 8; r <= 10; r++ {
		want := fmt.Sprintf("SUMPRODUCT(--EXACT(B2:B5,B%d),E2:E5,D2:D5)", r)
		if got := c.formula("D" + strconv.Itoa(r)); got != want {
			t.Errorf("row %d is %s, want %s", r, got, want)
		}
	}

	// Without currencies.
	table = &Table{Title: "X", Columns: []Column{{"account", "Account", Text, false}, {"records", "Records", Count, true}},
		Rows: [][]query.Value{row("a", "1"), row("b", "2")}}
	f, _ = workbook(t, &Document{Tables: []*Table{table}})
	if c = (cellOf{f, t, "X"}); c.formula("B5") != "SUBTOTAL(109,B2:B3)" || c.raw("B5") != "3" || c.raw("A5") != "Total" {
		t.Errorf("the total is %s = %s", c.formula("B5"), c.raw("B5"))
	}
}

func TestNoTextOfAWorkbookIsAFormula(t *testing.T) {
	d := hostileDocument()
	f, b := workbook(t, d)
	c := cellOf{f, t, "Lines"}
	for i, r := range d.Tables[0].Rows {
		for j, column := range []string{"A", "B"} {
			at := column + strconv.Itoa(i+2)
			if c.formula(at) != "" {
				t.Errorf("%s is the formula %.40s", at, c.formula(at))
			}
			if k := c.kind(at); k != excelize.CellTypeSharedString {
				t.Errorf("%s (%.20q) is of type %d", at, r[j].Text, k)
			}
			want := sheetText(r[j].Text)
			if got := c.raw(at); got != want && got != strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(want) {
				t.Errorf("%s is %.60q, want %.60q", at, got, want)
			}
		}
	}
	// Formulas stand below the data, and in the hidden column beside it, alone.
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range z.File {
		if !strings.HasSuffix(file.Name, ".xml") && !strings.HasSuffix(file.Name, ".rels") {
			t.Errorf("the workbook holds %s", file.Name)
			continue
		}
		in, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		x, at := xml.NewDecoder(in), ""
		for {
			token, err := x.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file.Name, err)
			}
			if start, ok := token.(xml.StartElement); ok {
				switch start.Name.Local {
				case "c":
					for _, a := range start.Attr {
						if a.Name.Local == "r" {
							at = a.Value
						}
					}
				case "f":
					if !strings.HasPrefix(file.Name, "xl/worksheets/") {
						continue // a chart says which cells it is of
					}
					n, _ := strconv.Atoi(strings.TrimLeft(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
					if at[0] != 'D' && at[0] != 'E' || n < 2 || at[0] == 'D' && n < 3 {
						t.Errorf("%s: a formula in %s", file.Name, at)
					}
				case "hyperlink", "externalReference", "oleObject":
					t.Errorf("%s has a %s", file.Name, start.Name.Local)
				}
			}
		}
		_ = in.Close()
	}
}

func TestNamesOfSheetsAreThoseThatAWorkbookTakesAndDiffer(t *testing.T) {
	f, _ := workbook(t, hostileDocument())
	seen := map[string]bool{}
	for _, name := range f.GetSheetList() {
		switch lower := strings.ToLower(name); {
		case name == "" || len(utf16.Encode([]rune(name))) > maxSheetName,
			strings.ContainsAny(name, `:\/?*[]`), strings.HasPrefix(name, "'"), strings.HasSuffix(name, "'"),
			strings.ContainsFunc(name, words.Steers), lower == "history":
			t.Errorf("a sheet is called %q", name)
		case seen[lower]:
			t.Errorf("two sheets are called %q", name)
		default:
			seen[lower] = true
		}
	}
	if want := 5 + len(hostile); len(seen) != want { // Summary, Lines, charts, their data, a field
		t.Errorf("%d sheets, want %d", len(seen), want)
	}
}

func TestALongTextIsCutAndSaysSo(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", maxSheetText), strings.Repeat("x", maxSheetText+1),
		strings.Repeat("𝄞", maxSheetText)} {
		got := sheetText(s)
		units := len(utf16.Encode([]rune(got)))
		if units > maxSheetText || (got != s) != strings.HasSuffix(got, "…") || utf8.RuneCountInString(s) <= maxSheetText &&
			!strings.ContainsRune(s, '𝄞') && got != s {
			t.Errorf("%d characters became %d units that end with %q", utf8.RuneCountInString(s), units, got[len(got)-4:])
		}
	}
}

func TestWhatLooksLikeAnEscapeOfAWorkbookStaysText(t *testing.T) {
	for _, s := range []string{"_x0041_", "_x005F_", "_x0041_x0042_", "a_x000D_b", "_x00_", "_x005f_x0041_",
		strings.Repeat("_x0041_", maxSheetText/7)} {
		f, _ := workbook(t,
			&Document{Tables: []*Table{{Title: "X", Columns: []Column{{"a", "A", Text, false}}, Rows: [][]query.Value{row(s)}}}})
		got := cellOf{f, t, "X"}.raw("A2")
		if cutOff, ok := strings.CutSuffix(got, "…"); got != s &&
			!(ok && len(s) > 1000 && strings.HasPrefix(s, cutOff) && len(cutOff) > 1000) {
			t.Errorf("%.40q came back as %.40q", s, got)
		}
	}
}

func TestNumbersOfAWorkbookHaveAllTheirDigits(t *testing.T) {
	for _, s := range []string{"0.1", "123456789012345678901234.123456789012", "-0.000000000001"} {
		f, _ := workbook(t,
			&Document{Tables: []*Table{{Title: "X", Columns: []Column{{"net_cost", "Net", Money, false}},
				Rows: [][]query.Value{row(s)}}}})
		got, ok := new(big.Rat).SetString(cellOf{f, t, "X"}.raw("A2"))
		n, _ := schemas.ParseMoney(s)
		if !ok || got.Cmp(n.Rat()) != 0 {
			t.Errorf("%s stands as %s", s, cellOf{f, t, "X"}.raw("A2"))
		}
		if x, err := strconv.ParseFloat(cellOf{f, t, "X"}.raw("A2"), 64); err != nil || math.IsInf(x, 0) {
			t.Errorf("%s isn't a number: %v", s, err)
		}
	}
}

// Whoever reads the sheet without computing it finds numbers: amounts, totals, and the figures of the summary.
func TestNumbersOfAWorkbookAreNumbersForWhoeverReadsIt(t *testing.T) {
	d := sample()
	d.Figures = append(d.Figures, Figure{Label: "Net", Value: "1,234,567.57 USD", Detail: "of all",
		Number: v("1234567.565"), Kind: Money, Currency: "USD"},
		Figure{Label: "Allocated", Value: "25.4 %", Number: v("0.254"), Kind: Share})
	f, b := workbook(t, d)
	for n := range f.GetSheetList() {
		if sheet := part(t, b, fmt.Sprintf("xl/worksheets/sheet%d.xml", n+1)); strings.Contains(sheet, `t="str"`) ||
			!strings.Contains(sheet, "<f>") && n > 0 && n < 6 {
			t.Errorf("sheet %d has what a formula gave as text, or no formula", n+1)
		}
	}
	c := cellOf{f, t, "By cost centre"}
	if c.raw("E9") != "100000000000000000000001234.565" && c.kind("E9") != excelize.CellTypeUnset &&
		c.kind("E9") != excelize.CellTypeNumber {
		t.Errorf("a total is %q of type %d", c.raw("E9"), c.kind("E9"))
	}
	c = cellOf{f, t, "Summary"}
	for at, want := range map[string]string{"A3": "Completeness", "A8": "Net", "B8": "1234567.565", "C8": "USD",
		"D8": "of all", "B9": "0.254", "B6": "1,234.56 USD"} {
		if got := c.raw(at); got != want {
			t.Errorf("%s is %q, want %q", at, got, want)
		}
	}
	if c.shown("B8") != "1,234,567.57" || c.shown("B9") != "25.4%" {
		t.Errorf("the summary shows %q and %q", c.shown("B8"), c.shown("B9"))
	}
}

// A spreadsheet shows 15 digits, rounded: a cell stores what comes out the same as in every other document.
func TestWhatASheetShowsIsWhatOtherDocumentsShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := big.NewInt(rapid.Int64().Draw(t, "units"))
		if rapid.Bool().Draw(t, "near half a cent") {
			n = new(big.Int).Add(new(big.Int).Mul(big.NewInt(rapid.Int64Range(-1e15, 1e15).Draw(t, "half cents")),
				big.NewInt(5_000_000_000)), big.NewInt(rapid.Int64Range(-2, 2).Draw(t, "units beside")))
		}
		m := schemas.MoneyOf(n).In(rapid.SampledFrom([]string{"JPY", "USD", "KWD", "CLF"}).Draw(t, "currency"))
		f, err := strconv.ParseFloat(sheetAmount(m), 64)
		if err != nil {
			t.Fatal(err)
		}
		kept, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'e', 14, 64))
		units := kept.Mul(kept, big.NewRat(1_000_000_000_000, 1))
		if shown := schemas.MoneyOf(units.Num()).In(m.Currency()); !units.IsInt() || shown.Posted() != m.Posted() {
			if len(strings.Trim(m.Posted(), "-.")) < 15 {
				t.Fatalf("%s is stored as %s, and shown as %s", m, sheetAmount(m), shown.Posted())
			}
		}
	})
}

// rowBreaks are the rows of the nth sheet after which a page ends.
func rowBreaks(t testing.TB, b []byte, n int) (rows []int) {
	t.Helper()
	var sheet struct {
		Breaks []struct {
			ID int `xml:"id,attr"`
		} `xml:"rowBreaks>brk"`
		Columns []struct{} `xml:"colBreaks>brk"`
	}
	if err := xml.Unmarshal([]byte(part(t, b, fmt.Sprintf("xl/worksheets/sheet%d.xml", n))), &sheet); err != nil ||
		len(sheet.Columns) > 0 {
		t.Fatalf("%+v, %v", sheet, err)
	}
	for _, x := range sheet.Breaks {
		rows = append(rows, x.ID)
	}
	return rows
}

// What stands over and below numbers stands to the right as they do.
func TestHeadsAndTotalsOfNumbersStandToTheRight(t *testing.T) {
	f, _ := workbook(t, sample())
	for at, want := range map[string]string{"A1": "left", "D1": "right", "E1": "right", "I1": "left", "E9": "right",
		"D9": "right"} {
		id, err := f.GetCellStyle("By cost centre", at)
		if err != nil {
			t.Fatal(err)
		}
		if style, err := f.GetStyle(id); err != nil || style.Alignment == nil || style.Alignment.Horizontal != want {
			t.Errorf("%s: %+v, %v", at, style, err)
		}
	}
}

// A program that reads a sheet takes the rows without the totals, by a name.
func TestTheRowsOfASheetHaveAName(t *testing.T) {
	f, b := workbook(t, sample())
	want := map[string]string{"By cost centre": "$A$1:$L$6", "CC-1": "$A$1:$L$3", "CC-2": "$A$1:$L$2",
		"cc-2 (4493f4)": "$A$1:$L$2", "(unallocated)": "$A$1:$L$2", "Nothing here": "$A$1:$B$1",
		"Hours": "$A$1:$C$8"}
	for _, n := range f.GetDefinedName() {
		if n.Name != "Table_rows" {
			continue
		}
		if n.RefersTo != "'"+n.Scope+"'!"+want[n.Scope] {
			t.Errorf("%s: the rows are %s, want %s", n.Scope, n.RefersTo, want[n.Scope])
		}
		delete(want, n.Scope)
	}
	if len(want) > 0 {
		t.Errorf("without a name: %v", want)
	}
	// Names are there to be chosen from, but for those of filters.
	var book struct {
		Names []struct {
			Name   string `xml:"name,attr"`
			Hidden bool   `xml:"hidden,attr"`
		} `xml:"definedNames>definedName"`
	}
	if err := xml.Unmarshal([]byte(part(t, b, "xl/workbook.xml")), &book); err != nil || len(book.Names) < 10 {
		t.Fatalf("%+v, %v", book, err)
	}
	for _, n := range book.Names {
		if n.Hidden != (n.Name == "_xlnm._FilterDatabase") {
			t.Errorf("%s is hidden: %v", n.Name, n.Hidden)
		}
	}
}

func TestASheetTakesNoMoreBreaksThanASheetHas(t *testing.T) {
	table := &Table{Title: "X", Group: "g", Columns: []Column{{"g", "G", Text, false}}}
	for i := range maxBreaks + 10 {
		table.Rows = append(table.Rows, row(fmt.Sprint(i)))
	}
	_, b := workbook(t, &Document{Tables: []*Table{table}})
	if n := len(rowBreaks(t, b, 2)); n != maxBreaks {
		t.Errorf("%d breaks", n)
	}
}

func TestAWorkbookIsSetUpForPrint(t *testing.T) {
	f, b := workbook(t, sample())
	for _, name := range f.GetSheetList() {
		layout, err := f.GetPageLayout(name)
		props, err2 := f.GetSheetProps(name)
		if err != nil || err2 != nil || *layout.Orientation != "landscape" || *layout.FitToWidth != 1 ||
			*layout.FitToHeight != 0 || !*props.FitToPage {
			t.Errorf("%s: %+v, %+v, %v, %v", name, layout, props, err, err2)
		}
	}
	heads := 0
	for _, n := range f.GetDefinedName() {
		if n.Name == "_xlnm.Print_Titles" && n.RefersTo == "'"+n.Scope+"'!$1:$1" {
			heads++
		}
	}
	if heads != len(f.GetSheetList())-3 { // all but the summary, the charts and what they are of
		t.Errorf("%d sheets have a head on every page", heads)
	}
	// CC-1 has two rows; CC-2, cc-2 and what has no owner one
	if got, want := rowBreaks(t, b, 2), []int{3, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("the table by cost centre breaks after the rows %v, want %v", got, want)
	}
	if got := rowBreaks(t, b, 3); len(got) > 0 {
		t.Errorf("a cost centre's own sheet breaks after the rows %v", got)
	}
	// Each style names its font, so that all programs show the same one.
	var styles struct {
		Fonts []struct {
			Name struct {
				Val string `xml:"val,attr"`
			} `xml:"name"`
			Size struct {
				Val string `xml:"val,attr"`
			} `xml:"sz"`
		} `xml:"fonts>font"`
	}
	if err := xml.Unmarshal([]byte(part(t, b, "xl/styles.xml")), &styles); err != nil || len(styles.Fonts) < 4 {
		t.Errorf("%+v, %v", styles, err)
	}
	for _, font := range styles.Fonts {
		if font.Name.Val != "Calibri" || font.Size.Val != "11" && font.Size.Val != "14" {
			t.Errorf("a font is %+v", font)
		}
	}
	p, err := f.GetDocProps()
	if err != nil || p.Creator != "usagelake" || p.LastModifiedBy != "usagelake" || p.Title != "Chargeback" ||
		p.Created != "2026-11-24T10:30:00Z" {
		t.Errorf("%+v, %v", p, err)
	}
	if strings.Contains(part(t, b, "docProps/core.xml"), "xuri") {
		t.Error("the author is the library's")
	}
}

// A sheet that is read row by row, by programs that keep no cell, says how many rows and columns it has.
func TestASheetSaysHowFarItGoes(t *testing.T) {
	_, b := workbook(t, sample())
	for n, want := range []string{"A1:D", "A1:M10", "A1:L4", "A1:M6"} {
		sheet := part(t, b, fmt.Sprintf("xl/worksheets/sheet%d.xml", n+1))
		if !strings.Contains(sheet, `<dimension ref="`+want) {
			t.Errorf("sheet %d isn't %s: %s", n+1, want, regexp.MustCompile("<dimension[^>]*>").FindString(sheet))
		}
	}
}

// Amounts of every currency have a style of their own places.
func TestEveryKindOfCellHasAStyle(t *testing.T) {
	k, err := theSkeleton()
	if err != nil {
		t.Fatal(err)
	}
	b := &book{&bookWriter{skeleton: k}, nil}
	for kind := Text; kind <= Flag; kind++ {
		for _, c := range append(schemas.OddCurrencies(), schemas.Currency{Code: "USD"}, schemas.Currency{Code: "?"}) {
			if b.style(kind, c.Code, false) == 0 || b.style(kind, c.Code, true) == 0 ||
				b.style(kind, c.Code, false) == b.style(kind, c.Code, true) {
				t.Errorf("cells of kind %d in %s have no style", kind, c.Code)
			}
		}
	}
	if b.style(Money, "JPY", false) == b.style(Money, "USD", false) ||
		b.style(Money, "KWD", true) == b.style(Money, "USD", true) {
		t.Error("amounts of all currencies have the same places")
	}
}
