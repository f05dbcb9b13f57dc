package allocate

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
)

// bookOf is a workbook of parts by their names; what every workbook has is added where it lacks.
func bookOf(t testing.TB, parts map[string]string) []byte {
	t.Helper()
	const office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	whole := map[string]string{
		"_rels/.rels": `<Relationships><Relationship Id="r" Type="` + office +
			`/officeDocument" Target="xl/workbook.xml"/>` +
			`</Relationships>`,
		"xl/workbook.xml": `<workbook xmlns:r="` + office +
			`"><sheets><sheet name="Rates" r:id="s1"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels": `<Relationships><Relationship Id="s1" Type="` + office +
			`/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="s2" Type="` + office +
			`/worksheet" Target="/xl/worksheets/sheet2.xml"/><Relationship Id="t" Type="` + office +
			`/sharedStrings" Target="sharedStrings.xml"/><Relationship Id="f" Type="` + office +
			`/styles" Target="styles.xml"/></Relationships>`,
		"xl/sharedStrings.xml": `<sst><si><t>shared</t></si><si><r><t>two ` +
			`</t></r><r><t>parts</t></r><rPh><t>no</t></rPh></si></sst>`,
		"xl/styles.xml": `<styleSheet><numFmts><numFmt numFmtId="164" formatCode="dd\.mm\.yyyy"/>` +
			`<numFmt numFmtId="165" formatCode="00000"/><numFmt numFmtId="166" formatCode="[$-409]mmm\-yy;@"/>` +
			`<numFmt numFmtId="167" formatCode="#,##0.00\ [$USD]"/><numFmt numFmtId="168" formatCode="[h]:mm"/>` +
			`<numFmt numFmtId="169" formatCode="&quot;day &quot;0"/></numFmts>` +
			`<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/>` +
			`<xf numFmtId="164"/><xf numFmtId="10"/><xf numFmtId="165"/><xf numFmtId="166"/><xf numFmtId="167"/>` +
			`<xf numFmtId="168"/><xf numFmtId="22"/><xf numFmtId="169"/><xf numFmtId="17"/></cellXfs></styleSheet>`,
	}
	for name, part := range parts {
		whole[name] = part
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, part := range whole {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(part))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inline is a row of texts.
func inline(texts ...string) string {
	row := "<row>"
	for _, c := range texts {
		row += `<c t="inlineStr"><is><t>` + c + `</t></is></c>`
	}
	return row + "</row>"
}

func sheetOf(rows ...string) string {
	return "<worksheet><sheetData>" + strings.Join(rows, "") + "</sheetData></worksheet>"
}

// valued is what the tests read of a row: a cell as each kind of column.
type valued struct{ text, number, date, period string }

// readValues reads a table of one column as each kind of column. Errors of one kind don't hide the others.
func readValues(name string, content []byte, as string) (string, error) {
	var out []string
	err := ReadSheet(name, content, Ours([]string{"value", "beside"}),
		func(columns map[string]int) []error { return Lacking(columns, "value") }, func(r *Row) error {
			var text string
			var err error
			switch as {
			case "text":
				text = r.Text("value")
			case "period":
				text = r.Period("value")
			case "number":
				text, err = Number(r, "value", func(s string) (string, error) {
					_,
						err := schemas.ParseMoney(s)
					return s, err
				})
			case "date":
				var d schemas.Date
				d, err = r.Date("value")
				text = d.String()
			}
			out = append(out, text)
			return err
		})
	return strings.Join(out, "|"), err
}

func TestCellsOfWorkbooksAreWhatASpreadsheetShows(t *testing.T) {
	const date, padded = "the spreadsheet took it for a date", "shown with zeros before it"
	for cell, want := range map[string]valued{
		`<c><v>7</v></c>`:                     {text: "7", number: "7", period: "7", date: "7 is a number"},
		`<c><v>0.30000000000000004</v></c>`:   {text: "0.3", number: "0.3", date: "is a number"},
		`<c><v>2104.0174688253269</v></c>`:    {text: "2104.01746882533", number: "2104.01746882533"},
		`<c><v>1.0000000000000002E-5</v></c>`: {text: "0.00001", number: "0.00001"},
		`<c><v>9.9999999999999995E-2</v></c>`: {text: "0.1", number: "0.1"},
		`<c><v>-1.5E3</v></c>`:                {text: "-1500", number: "-1500"},
		`<c><v>0</v></c>`:                     {text: "0", number: "0"},
		`<c><v>-0.0</v></c>`:                  {text: "0", number: "0"},
		`<c><v>123456789012345</v></c>`:       {text: "123456789012345", number: "123456789012345"},
		`<c><v>1E+15</v></c>`: {text: "a number of 16 digits, of which a spreadsheet keeps 15",
			number: "16 digits"},
		`<c><v>1234567890123450</v></c>`: {text: "a number of 16 digits", number: "16 digits"},
		`<c><v>x</v></c>`:                {text: "x is no number", number: "x is no number"},
		`<c s="6"><v>1234.5</v></c>`:     {text: "1234.5", number: "1234.5"},
		`<c s="9"><v>3</v></c>`:          {text: "3", number: "3"},
		`<c s="1"><v>46327</v></c>`: {text: date + ", 2026-11-01", number: date, date: "2026-11-01",
			period: date},
		`<c s="2"><v>46327</v></c>`:   {text: date, number: date, date: "2026-11-01", period: date},
		`<c s="2"><v>46327.5</v></c>`: {text: "shown as a time", date: "46327.5, shown as a time"},
		`<c s="8"><v>46327</v></c>`:   {date: "2026-11-01", text: date},
		`<c s="2"><v>60</v></c>`:      {date: "a date that isn't one"},
		`<c s="2"><v>61</v></c>`:      {date: "1900-03-01"},
		`<c s="2"><v>2958466</v></c>`: {date: "a date that isn't one"},
		`<c s="5"><v>46296</v></c>`:   {text: date, date: "2026-10-01", period: "2026-10"},
		`<c s="10"><v>46296</v></c>`:  {text: date, date: "2026-10-01", period: "2026-10"},
		`<c s="7"><v>1.5</v></c>`: {text: "shown as a time", number: "shown as a time",
			date: "shown as a time"},
		`<c s="3"><v>0.12</v></c>`:                {text: "0.12, shown as a percentage", number: "shown as a percentage"},
		`<c s="4"><v>42</v></c>`:                  {text: padded, number: "42", period: padded},
		`<c s="4"><v>12345</v></c>`:               {text: "12345", number: "12345"},
		`<c t="s"><v>0</v></c>`:                   {text: "shared", number: `"shared" is not an amount`},
		`<c t="s"><v>1</v></c>`:                   {text: "two parts"},
		`<c t="s"><v>7</v></c>`:                   {text: "its text isn't in the file"},
		`<c t="str"><f>A1</f><v>a&amp;b</v></c>`:  {text: "a&b"},
		`<c t="str"><f>A1</f><v></v></c>`:         {text: ""},
		`<c><f>1+1</f><v>2</v></c>`:               {text: "2", number: "2"},
		`<c><f>1+1</f></c>`:                       {text: "a formula that was never computed"},
		`<c t="e"><v>#REF!</v></c>`:               {text: "#REF! is a formula that failed", number: "#REF!"},
		`<c t="b"><v>1</v></c>`:                   {text: "a logical value"},
		`<c t="d"><v>2026-11-01T00:00:00</v></c>`: {date: "2026-11-01", text: date},
		`<c t="d"><v>2026-11-01T10:00:00</v></c>`: {date: "is no day"},
		`<c t="q"><v>1</v></c>`:                   {text: "of a kind that isn't known"},
		inline("1.234"): {
			number: `"1.234" may be 1234, and may be 1.234: write 1234, or 1.2340`, text: "1.234"},
		inline("1.234,56"):   {number: "1234.56", text: "1.234,56"},
		inline("01.11.2026"): {date: "2026-11-01"},
		inline("01/11/2026"): {date: "a date that countries read differently"},
		inline("#N/A"):       {text: "#N/A is a formula that failed"},
		inline("a_x000D_b"):  {text: `has a control character`},
		inline("a_x005F_b"):  {text: "a_b"},
		inline(" blanks "):   {text: "blanks"},
	} {
		content := bookOf(t, map[string]string{"xl/worksheets/sheet1.xml": sheetOf(inline("value", "beside"),
			"<row>"+strings.TrimSuffix(strings.TrimPrefix(cell, "<row>"), "</row>")+
				`<c t="inlineStr"><is><t>x</t></is></c></row>`)})
		for as, want := range map[string]string{"text": want.text, "number": want.number, "date": want.date,
			"period": want.period} {
			if want == "" {
				continue
			}
			got, err := readValues("r.xlsx", content, as)
			if err != nil {
				got = err.Error()
				if !strings.HasPrefix(got, "r.xlsx, sheet Rates, A2: ") {
					t.Errorf("%s as %s: %s has no place", cell, as, got)
				}
			}
			if err == nil && got != want || !strings.Contains(got, want) {
				t.Errorf("%s as %s is %s, want %s", cell, as, got, want)
			}
		}
	}
}

func TestDaysAreCountedFrom1904WhereTheWorkbookSaysSo(t *testing.T) {
	content := bookOf(t, map[string]string{
		"xl/workbook.xml": `<workbook xmlns:r="r"><workbookPr date1904="1"/><sheets><sheet name="Rates" ` +
			`r:id="s1"/></sheets></workbook>`,
		"xl/worksheets/sheet1.xml": sheetOf(inline("value"), `<row><c s="1"><v>44865</v></c></row>`,
			`<row><c s="1"><v>0</v></c></row>`)})
	if got, err := readValues("r.xlsx", content, "date"); err != nil || got != "2026-11-01|1904-01-01" {
		t.Errorf("%s %v", got, err)
	}
}

func TestTheSheetOfAWorkbookIsTheOneWithTheTable(t *testing.T) {
	two := func(first, second string, states ...string) []byte {
		states = append(states, "visible", "visible")
		return bookOf(t, map[string]string{"xl/workbook.xml": `<workbook xmlns:r="r"><sheets><sheet name="One" state="` +
			states[0] + `" r:id="s1"/><sheet name="Two" state="` + states[1] + `" r:id="s2"/></sheets></workbook>`,
			"xl/worksheets/sheet1.xml": first, "xl/worksheets/sheet2.xml": second})
	}
	table, other := sheetOf(inline("value"), inline("1")), sheetOf(inline("a note"), inline("2"))
	for name, x := range map[string]struct {
		content []byte
		want    string
	}{
		"the first":           {two(table, other), "1"},
		"the second":          {two(other, table), "1"},
		"the other is empty":  {two(sheetOf(), table), "1"},
		"the other is hidden": {two(table, table, "hidden"), "1"},
		"very":                {two(table, table, "visible", "veryHidden"), "1"},
		"a title above": {two(sheetOf(inline("Rates of 2026"), "<row/>", inline("as of", "today"),
			inline("value"), inline("1")), other), "1"},
		"both": {two(table, table),
			"r.xlsx: the table may be in the sheets One, Two: hide or delete all but one"},
		"neither": {two(other, other), "r.xlsx: the table may be in the sheets One, Two"},
		"none":    {two(sheetOf(), sheetOf()), "r.xlsx: no sheet that can be seen has anything in it"},
		"misspelt": {two(sheetOf(inline("valeu"), inline("1")), sheetOf()),
			"r.xlsx, sheet One, A1: unknown column \"valeu\": did you mean value?"},
		"lacking": {two(sheetOf(inline("beside"), inline("1")), other),
			"r.xlsx, sheet One, row 1: no column value"},
		"beside": {two(sheetOf(inline("value"), inline("1", "", "x")), other),
			"r.xlsx, sheet One, C2: it stands beside the table"},
		"a column without name": {two(sheetOf(inline("value", "", "beside"), inline("1", "y", "x")), other),
			"r.xlsx, sheet One, B2: column 2 has no name"},
		"a name twice": {two(sheetOf(inline("value", "value")), other),
			"r.xlsx, sheet One, B1: the column value stands twice"},
		"merged": {two(`<worksheet><sheetData>`+inline("value")+inline("1")+`</sheetData><mergeCells><mergeCell `+
			`ref="A2:A3"/>`+
			`</mergeCells></worksheet>`, other),
			"r.xlsx, sheet One, A2: it is merged with cells to A3: split them, and fill each"},
		"merged above and beside": {two(`<worksheet><sheetData>`+inline("title")+inline("value")+inline("1")+
			`</sheetData><mergeCells><mergeCell ref="A1:C1"/><mergeCell ref="C2:D9"/></mergeCells></worksheet>`,
			other), "1"},
		"rows that are hidden count": {two(`<worksheet><sheetData>`+inline("value")+
			`<row r="4" hidden="1"><c r="A4"><v>7</v></c></row></sheetData></worksheet>`, other), "7"},
	} {
		got, err := readValues("r.xlsx", x.content, "text")
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != x.want || !strings.Contains(got, x.want) {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
}

func TestWhatIsNoWorkbookIsRefused(t *testing.T) {
	whole := bookOf(t, map[string]string{"xl/worksheets/sheet1.xml": sheetOf(inline("value"))})
	for name, x := range map[string]struct {
		content []byte
		want    string
	}{
		"cut off": {whole[:len(whole)/2], "r.xlsx: it is no whole workbook"},
		"of before 2007": {append(bytes.Clone(oldWorkbook), 0, 0),
			"r.xlsx: it is a workbook of before 2007, or has a password"},
		"of another program": {bookOf(t, map[string]string{"_rels/.rels": "<Relationships/>",
			"xl/workbook.xml": "<a"}), "r.xlsx: it is no workbook that can be read"},
		"packed": {bookOf(t, map[string]string{"_rels/.rels": `<Relationships><Relationship Type="x/officeDocument"` +
			` Target="xl/workbook.bin"/></Relationships>`}),
			"r.xlsx: it is no workbook of Excel's own kind: save it as .xlsx"},
		"a sheet that isn't there": {bookOf(t, nil), "it has no part xl/worksheets/sheet1.xml"},
	} {
		if _, err := readValues("r.xlsx", x.content, "text"); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
	}
}

// A few bytes that come to much are given up early.
func TestAWorkbookTakesNoMoreRoomThanItMay(t *testing.T) {
	parts := func(name, part string) map[string]string {
		return map[string]string{"xl/worksheets/sheet1.xml": sheetOf(inline("value")), name: part}
	}
	for name, x := range map[string]struct {
		parts map[string]string
		room  room
	}{
		"rows whose one cell is the last there may be": {parts("xl/worksheets/sheet1.xml",
			sheetOf(strings.Repeat(`<row><c r="XFD1"><v>1</v></c></row>`, 100))), room{1 << 30, 99 * maxColumns, 1 << 30}},
		"a text without end": {parts("xl/sharedStrings.xml", "<sst><si><t>"+strings.Repeat("x", 1<<20)+"</t></si></sst>"),
			room{1 << 30, 1 << 20, 1 << 19}},
		"texts without number": {parts("xl/sharedStrings.xml", "<sst>"+strings.Repeat("<si/>", 1001)+"</sst>"),
			room{1 << 30, 1000, 1 << 20}},
		"formats without number": {parts("xl/styles.xml", "<a><cellXfs>"+strings.Repeat("<xf/>", 1001)+"</cellXfs></a>"),
			room{1 << 30, 1000, 1 << 20}},
		"nothing, at length": {parts("xl/worksheets/sheet1.xml", "<a>"+strings.Repeat(" ", 1<<20)+"</a>"),
			room{1 << 20, 1000, 2 << 20}},
	} {
		content := bookOf(t, x.parts)
		if _, err := readWorkbook(content, tableRoom); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := readWorkbook(content, x.room); !errors.Is(err, errTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A title that is called like a column is a title where the table can't be of that column alone.
func TestATitleThatIsCalledLikeAColumnIsPassedOver(t *testing.T) {
	rows := []string{inline("Amount"), "<row/>", inline("date", "amount", "note"), inline("2026-11-01", "7", "x")}
	content := bookOf(t, map[string]string{"xl/worksheets/sheet1.xml": sheetOf(rows...)})
	if got, err := readDues("d.xlsx", content); err != nil || got != "2026-11-01|7|x\n" {
		t.Errorf("%q, %v", got, err)
	}
	content = bookOf(t, map[string]string{"xl/worksheets/sheet1.xml": sheetOf(rows[0], rows[1], inline("date", "note"))})
	if _, err := readDues("d.xlsx", content); err == nil || !strings.Contains(err.Error(), "row 3: no column amount") {
		t.Errorf("%v", err)
	}
}

func FuzzWorkbook(f *testing.F) {
	f.Add(`<row><c r="B2" s="2"><v>46327</v></c></row>`, `dd.mm.yyyy`, "a")
	f.Add(`<row r="3"><c t="s"><v>0</v></c><c t="str"><f>1</f><v>x</v></c></row>`, `[h]:mm;"x"0`, "_x0000_")
	f.Add(`<row><c t="d"><v>2026-11-01</v></c><c t="e"><v>#N/A</v></c></row>`, "00000", "1.234")
	f.Add(`<row><c><v>1e-300</v></c><c><v>99999999999999999</v></c></row>`, `0.0E+00`, "")
	f.Fuzz(func(t *testing.T, row, format, text string) {
		var escaped bytes.Buffer
		if err := xml.EscapeText(&escaped, []byte(format)); err != nil {
			t.Fatal(err)
		}
		content := bookOf(t, map[string]string{"xl/worksheets/sheet1.xml": sheetOf(inline("value"), row),
			"xl/styles.xml": `<s><numFmts><numFmt numFmtId="164" formatCode="` + escaped.String() + `"/></numFmts>` +
				`<cellXfs><xf numFmtId="0"/><xf numFmtId="9"/><xf numFmtId="164"/></cellXfs></s>`,
			"xl/sharedStrings.xml": "<sst><si><t>" + text + "</t></si></sst>"})
		for _, as := range []string{"text", "number", "date", "period"} {
			_, err := readValues("r.xlsx", content, as)
			if err == nil {
				continue
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if line != andMore && !placeInBook.MatchString(line) {
					t.Fatalf("a mistake without its place, or that does a terminal harm: %q", line)
				}
			}
		}
	})
}

var placeInBook = regexp.MustCompile(`^r\.xlsx(, sheet [^,]+, ([A-Z]+[0-9]+|row [0-9]+))?: \P{Cc}+$`)
