package allocate

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/schemas"
)

func TestNumbersAreReadWhereTheyCanBeReadInOneWay(t *testing.T) {
	for text, want := range map[string]string{
		"7": "7", "": "", "-7": "-7", "1234": "1234", "1,5": "1.5", "1.5": "1.5", "-1,50": "-1.50", "1,2345": "1.2345",
		"0,125": "0.125", "0.125": "0.125", "1234,567": "1234.567", "1234.567": "1234.567",
		"12345678901234,123": "12345678901234.123",
		"1.234,56":           "1234.56", "1.234.567": "1234567", "1.234.567,8": "1234567.8", "1,234.56": "1234.56",
		"1,234,567": "1234567",
		"1'234.50":  "1234.50", "1’234": "1234", "1 234,5": "1234.5", "1\u00a0234\u202f567": "1\u00a0234\u202f567",
		"1\u202f234\u202f567,89": "1234567.89", "+1.234,5": "+1234.5", "1.234,567": "1234.567",
		// what is no number stays as it is, for whoever asked for one to refuse
		"1.23.456": "1.23.456", "1.2345,6": "1.2345,6", "1234.567,8": "1234.567,8", "1..2": "1..2",
		"12.,34": "12.,34", "1.,234.,567": "1.,234.,567", "1,": "1,", ",5": ",5",
		"1.234 €": "1.234 €", "1,2E+5": "1,2E+5", "1,234.567,8": "1,234.567,8", "1.5%": "1.5%", "12/5": "12/5",
	} {
		if got, err := localNumber(text); err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"1.234":    `"1.234" may be 1234, and may be 1.234: write 1234, or 1.2340`,
		"1,234":    `"1,234" may be 1234, and may be 1.234: write 1234, or 1.2340`,
		"-221.152": `"-221.152" may be -221152, and may be -221.152: write -221152, or -221.1520`,
		"12,000":   `"12,000" may be 12000, and may be 12.000: write 12000, or 12.0000`,
	} {
		if got, err := localNumber(text); err == nil || err.Error() != want {
			t.Errorf("%q is %q, %v, want %s", text, got, err, want)
		}
	}
}

func TestDatesAreReadWhereEveryCountryReadsThemAlike(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-01": "2026-11-01", "01.11.2026": "2026-11-01", "1.11.2026": "2026-11-01", "31.1.2026": "2026-01-31",
		"01/11/2026": "countries read differently: write 2026-11-01, or 01.11.2026",
		"2026/11/01": "countries read differently",
		"31/12/2026": "countries read differently", "01-11-2026": "countries read differently",
		"31.02.2026": "no day of the calendar", "11.31.2026": "no day of the calendar", "01.11.26": "is not a date like",
		"1. 11. 2026": "is not a date like", "": "is not a date like", "46327": "is not a date like",
	} {
		day, err := localDate(text)
		got := day.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || err == nil && got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// inUTF16 is a text as Excel saves it as "Unicode Text".
func inUTF16(s string, order binary.AppendByteOrder) string {
	b := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

// readDues reads a table with a column of each kind, a row a line.
func readDues(name string, content []byte) (string, error) {
	var out strings.Builder
	columns := []string{"date", "amount", "note"}
	err := ReadSheet(name, content, Ours(columns),
		func(have map[string]int) []error { return Lacking(have, columns...) }, func(r *Row) error {
			day, err := r.Date("date")
			if err != nil {
				return err
			}
			amount, err := Number(r, "amount", schemas.ParseMoney)
			fmt.Fprintf(&out, "%s|%s|%s\n", day, amount, r.Text("note"))
			return err
		})
	return out.String(), err
}

// dues is the table that follows, as it is read.
const dues = "2026-11-01|1234.5|Café, 0042\n2026-11-02|-0.25|1.234\n2026-11-03|7|\n"

func TestTablesAreReadAsSpreadsheetsSaveThem(t *testing.T) {
	const plain = "date,amount,note\n2026-11-01,1234.50,\"Café, 0042\"\n2026-11-02,-0.25,1.234\n2026-11-03,7,\n"
	const german = "date;amount;note\r\n01.11.2026;1.234,50;Café, 0042\r\n02.11.2026;-0,25;1.234\r\n03.11.2026;7;\r\n"
	tabs := strings.NewReplacer(";", "\t").Replace(german)
	for name, text := range map[string]string{
		"plain":                    plain,
		"with a mark":              "\xef\xbb\xbf" + plain,
		"German":                   german,
		"German with a mark":       "\xef\xbb\xbf" + german,
		"tabs":                     tabs,
		"UTF-16, little end first": inUTF16(tabs, binary.LittleEndian),
		"UTF-16, big end first":    inUTF16(tabs, binary.BigEndian),
		"UTF-16, semicolons":       inUTF16(german, binary.LittleEndian),
		"sep=":                     "sep=;\r\n" + german,
		"sep= behind a mark":       "\xef\xbb\xbfSEP=;\r\n" + german,
		"sep= in quotes":           "\"sep=;\"\r\n" + german,
		"sep=|":                    "sep=|\n" + strings.ReplaceAll(german, ";", "|"),
		"a title":                  "Dues of November;;\r\n;;\r\n" + german,
		"a title like a column":    "Amount;;\r\n;;\r\nNote\r\n" + german,
		"titles with commas":       "Dues, of November, 2026\r\nas of, 2026-11-30,\r\n\r\n" + german,
		"empty columns behind":     strings.ReplaceAll(german, "\r\n", ";;;\r\n"),
		"empty rows behind":        german + ";;\r\n;;\r\n\r\n",
		"no end of line":           strings.TrimSuffix(german, "\r\n"),
		"capitals":                 strings.Replace(german, "date;amount", "Date;AMOUNT", 1),
		"further columns": strings.NewReplacer("note\r", "note;VAT\r", "0042\r", "0042;1,9%\r", "1.234\r",
			"1.234;\r", "7;\r", "7;;\r").Replace(german),
	} {
		if got, err := readDues("d.csv", []byte(text)); err != nil || got != dues {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
	for text, want := range map[string]string{
		"date;amount;note\n2026-11-01;1.234;x\n": `d.csv:2: "1.234" may be 1234, and may be 1.234: write ` +
			`1234, or 1.2340`,
		"title;;\ndate;amount;note\n2026-11-01;1,234;x\n": `d.csv:3: "1,234" may be 1234`,
		"amount\n1\n":                                "d.csv:1: no column date",
		"amount\ndate,note\n2026-11-01,x\n":          "d.csv:2: no column amount",
		"date\tamount\tnote\n2026-11-01\t1,234\tx\n": `d.csv:2: "1,234" may be 1234`,
		"date,amount,note\n2026-11-01,\"1,5\",x\n":   `d.csv:2: "1,5" is not an amount`,
		"date,amount,note\n01/11/2026,1,x\n": `d.csv:2: "01/11/2026" is a date that countries read ` +
			`differently`,
		"date;amount;note\n2026-11-01;1;x;y\n":  "d.csv:2: 4 cells, the header has 3",
		"date;amount;note;\n2026-11-01;1;x;y\n": "d.csv:2: 4 cells, the header has 3",
		"date;;amount;note\n2026-11-01;y;1;x\n": "d.csv:2: column 2 has no name: write one, or delete the " +
			"column",
		"\xff\xfed\x00a": "d.csv:1: it is UTF-16 with half a character at its end",
		"sep=;\n":        "d.csv:1: the file is empty",
		";;\n":           "d.csv:1: the file is empty",
	} {
		if got, err := readDues("d.csv", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s\n%s", text, err, want, got)
		}
	}
}

// Excel leaves out the separators of empty columns at the end where sixteen rows have them empty. A single row that is
// short is one in which something is missing.
func TestRowsMayBeShortWhereExcelMakesThemSo(t *testing.T) {
	rows := func(n int, text string) string { return strings.Repeat(text, n) }
	full, short := "2026-11-01,1,x\n", "2026-11-01,1\n"
	head := "date,amount,note\n"
	for name, x := range map[string]struct{ text, want string }{
		"none":                {head + rows(40, full), ""},
		"a block":             {head + rows(15, full) + rows(16, short) + rows(16, full), ""},
		"the last":            {head + rows(15, full) + rows(3, short), ""},
		"one of a block":      {head + rows(20, full) + short + rows(30, full), "d.csv:22: 2 cells, the header has 3"},
		"the head's block":    {head + short, "d.csv:2: 2 cells, the header has 3"},
		"a block but for one": {head + rows(15, full) + rows(15, short) + full, "d.csv:17: 2 cells, the header has 3"},
		"the last, broken off": {head + rows(15, full) + strings.TrimSuffix(short, "\n"),
			"d.csv:17: 2 cells, the header has 3"},
		"the key itself is there": {head + rows(15, full) + rows(16, "2026-11-01\n"), `d.csv:17: "" is not an amount`},
	} {
		_, err := readDues("d.csv", []byte(x.text))
		if got := fmt.Sprint(err); (x.want == "") != (err == nil) || !strings.HasPrefix(got, x.want) && err != nil {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
}

// due is a row of a table with a column of each kind.
type due struct {
	day    schemas.Date
	amount string // of fifteen digits at the most, which is what a spreadsheet keeps
	note   string
}

// A table reads the same as a workbook, as a German CSV and as UTF-16 with tabs.
func TestATableReadsTheSameInEveryFormat(t *testing.T) {
	note := rapid.OneOf(rapid.StringMatching(`[A-Za-zäß€,;'"=+ 0-9._-]{0,12}`), rapid.SampledFrom([]string{"0042",
		"1.234",
		"01/02/2026", "2026-11-01", "1E5", "TRUE", "sep=;", "a|b", "=1+1", "123456789012345678901"}))
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) due {
			digits := rapid.StringMatching(`(0|[1-9][0-9]{0,7})(\.[0-9]{1,2}|\.[0-9]{4,7})?`).Draw(t, "amount")
			return due{schemas.Date(rapid.IntRange(10957, 32872).Draw(t, "day")),
				rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign") + digits, note.Draw(t, "note")}
		}), 0, 40).Draw(t, "rows")
		german, tabs := "date;amount;note\r\n", "date\tamount\tnote\r\n"
		book := excelize.NewFile()
		defer book.Close()
		style, err := book.NewStyle(&excelize.Style{NumFmt: 14})
		set := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		set(err)
		set(book.SetSheetRow("Sheet1", "A1", &[]string{"date", "amount", "note"}))
		var want strings.Builder
		for i, r := range rows {
			m, err := schemas.ParseMoney(r.amount)
			set(err)
			fmt.Fprintf(&want, "%s|%s|%s\n", r.day, m, strings.TrimSpace(r.note))
			day, amount := r.day.Start().Format("02.01.2006"), strings.ReplaceAll(r.amount, ".", ",")
			quoted := strings.ReplaceAll(r.note, `"`, `""`)
			german += fmt.Sprintf("%s;%s;\"%s\"\r\n", day, amount, quoted)
			tabs += fmt.Sprintf("%s\t%s\t\"%s\"\r\n", day, amount, quoted)
			set(book.SetCellValue("Sheet1", fmt.Sprintf("A%d", i+2), r.day.Start()))
			set(book.SetCellStyle("Sheet1", fmt.Sprintf("A%d", i+2), fmt.Sprintf("A%d", i+2), style))
			set(book.SetCellDefault("Sheet1", fmt.Sprintf("B%d", i+2), r.amount))
			set(book.SetCellStr("Sheet1", fmt.Sprintf("C%d", i+2), r.note))
		}
		packed, err := book.WriteToBuffer()
		set(err)
		for name, content := range map[string][]byte{"d.xlsx": packed.Bytes(), "german.csv": []byte(german),
			"tabs.txt": []byte(inUTF16(tabs, binary.LittleEndian))} {
			got, err := readDues(name, content)
			if err != nil || got != want.String() {
				t.Fatalf("%s: %v\n%s\nwant\n%s", name, err, got, want.String())
			}
		}
	})
}
