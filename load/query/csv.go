package query

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/usagelake/usagelake/schemas/words"
)

// CSVForm is how a CSV is written. The zero value is the plain one, for programs and for English settings: commas,
// points, UTF-8 without a mark.
type CSVForm struct {
	// Raw leaves text that a spreadsheet would take for a formula as it is.
	Raw bool
	// Excel, unless it is zero, is for a spreadsheet that opens the file by a double click: it has a byte order mark, the
	// signs of the spreadsheet's settings, times without T and Z, and as a formula, ="0042", what is text and would be
	// made a number or a date, and whole numbers that would lose digits.
	Excel Signs
}

// Signs are those of a country's settings.
type Signs struct {
	Separator byte // between fields
	Decimal   byte
}

// WriteCSV writes the answer with a header line, as RFC 4180 has it but for the line ends, which are line feeds. NULL
// is an empty field, an empty string is "". Unless form says Raw, text that a spreadsheet would take for a formula
// (NoFormula) gets an apostrophe before it, which makes a spreadsheet show it as it is; numbers are written as
// CSVNumber has them. It returns the number of rows.
func (r *Rows) WriteCSV(ctx context.Context, w io.Writer, form CSVForm) (int64, error) {
	b := bufio.NewWriterSize(w, 1<<16)
	_, _ = b.Write(r.csvHead(form)) // Flush has the error
	n := int64(0)
	line := r.csvLines(form)
	for row, err := range r.All(ctx) {
		if err != nil {
			return n, err
		}
		if _, err := b.Write(line(row)); err != nil {
			return n, err
		}
		n++
	}
	return n, b.Flush()
}

// csvLines gives the line of a row, until the next one is asked for. Most fields are those of the row before.
func (r *Rows) csvLines(form CSVForm) func(row []Value) []byte {
	type field struct {
		of   Value
		text []byte // with the separator before it
	}
	fields := make([]field, len(r.Columns))
	for i := range fields {
		fields[i] = field{Value{Null: true}, r.csvField(nil, i, Value{Null: true}, form)}
	}
	var line []byte
	return func(row []Value) []byte {
		line = line[:0]
		for i, v := range row {
			f := &fields[i]
			if v.Null != f.of.Null || v.Text != f.of.Text {
				f.of, f.text = v, r.csvField(f.text[:0], i, v, form)
			}
			line = append(line, f.text...)
		}
		line = append(line, '\n')
		return line
	}
}

func (r *Rows) csvHead(form CSVForm) []byte {
	head := form.Mark()
	for i, c := range r.Columns {
		if i > 0 {
			head = append(head, form.Separator())
		}
		head = form.AppendHead(head, c.Name)
	}
	return append(head, '\n')
}

// csvField appends the field of a value of the i-th column, and the separator before it.
func (r *Rows) csvField(to []byte, i int, v Value, form CSVForm) []byte {
	if i > 0 {
		to = append(to, form.Separator())
	}
	switch {
	case v.Null:
		return to
	case r.Columns[i].Numeric:
		return form.AppendNumber(to, v.Text)
	case r.Columns[i].Type == "DATE", strings.HasPrefix(r.Columns[i].Type, "TIMESTAMP"):
		return form.AppendTime(to, v.Text)
	}
	return form.AppendText(to, v.Text)
}

// Mark is what a file begins with.
func (f CSVForm) Mark() []byte {
	if f.Excel == (Signs{}) {
		return nil
	}
	return []byte("\ufeff") // by which Excel knows that it is UTF-8
}

// Separator stands between fields.
func (f CSVForm) Separator() byte {
	if f.Excel == (Signs{}) {
		return ','
	}
	return f.Excel.Separator
}

// AppendHead appends the name of a column.
func (f CSVForm) AppendHead(to []byte, name string) []byte {
	if !f.Raw {
		name = NoFormula(name)
	}
	return f.quoted(to, name)
}

// AppendText appends a text.
func (f CSVForm) AppendText(to []byte, s string) []byte {
	switch {
	case f.Excel == (Signs{}) && plainText(s):
		return append(to, s...)
	case f.Excel != (Signs{}) && len(s) <= excelLiteral && guessed.MatchString(s):
		return f.literal(to, s)
	case !f.Raw:
		s = NoFormula(s)
	}
	return f.quoted(to, s)
}

// AppendNumber appends a number.
func (f CSVForm) AppendNumber(to []byte, s string) []byte {
	if f.Excel == (Signs{}) {
		return append(to, CSVNumber(s)...)
	}
	// Excel keeps 15 digits: of an id it would make another one.
	if digits := strings.TrimPrefix(s, "-"); len(digits) > 15 && strings.Trim(digits, "0123456789") == "" {
		return f.literal(to, s)
	}
	at := len(to)
	to = append(to, CSVNumber(s)...)
	if i := bytes.IndexByte(to[at:], '.'); i >= 0 {
		to[at+i] = f.Excel.Decimal
	}
	return to
}

// AppendTime appends a day or a time, 2026-11-01T10:00:00.25Z. Excel knows it without the letters. What a column of
// times has besides, a list of them for one, is a text as any other.
func (f CSVForm) AppendTime(to []byte, s string) []byte {
	if f.Excel == (Signs{}) || !csvTime.MatchString(s) {
		return f.AppendText(to, s)
	}
	s = strings.Replace(strings.TrimSuffix(s, "Z"), "T", " ", 1)
	return append(to, strings.Replace(s, ".", string(f.Excel.Decimal), 1)...)
}

var csvTime = regexp.MustCompile(`^[0-9]+-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z?)?$`)

// guessed are the texts that a spreadsheet makes numbers, dates or times of, and some that it doesn't: 0042, 1-2, 1E5,
// 3 PM, 10-Mar-26, .5, (5), $5, 5 €, TRUE. What they are made of is harmless within quotes.
var guessed = regexp.MustCompile(
	`^((?i:true|false)|[ ($€£¥]*[.,]?[0-9][0-9.,:/+% -]*([A-Za-z]{1,9}[0-9.,:/+% -]*)?[ )$€£¥]*)$`)

// excelLiteral is how long a text within a formula can be.
const excelLiteral = 255

// literal appends a text without quotes as a formula that gives it.
func (f CSVForm) literal(to []byte, s string) []byte {
	return append(append(append(to, `"=""`...), s...), `"""`...)
}

// plainText says of most texts, and quickly, that a plain CSV has them as they are: ASCII that begins no formula and
// needs no quotes.
func plainText(s string) bool {
	if s == "" || s[0] == ' ' || s[len(s)-1] == ' ' || s[0] == '=' || s[0] == '+' || s[0] == '-' || s[0] == '@' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == ',' {
			return false
		}
	}
	return true
}

// CSVNumber is a number as every CSV of this program has it. One of exactly three decimals gets a fourth, a zero: where
// the decimal sign is a comma, a spreadsheet takes 1.125 for 1125 without a word.
func CSVNumber(s string) string {
	if dot := strings.IndexByte(s, '.'); dot >= 0 && dot == len(s)-4 {
		return s + "0"
	}
	return s
}

// NoFormula keeps a spreadsheet from computing text that came from outside: text that begins with =, +, - or @, in full
// width or small as well, also behind blanks and characters that nobody sees, which spreadsheets pass over.
func NoFormula(s string) string {
	begins := strings.TrimLeftFunc(s, func(r rune) bool { return unicode.IsSpace(r) || words.Steers(r) })
	if r, _ := utf8.DecodeRuneInString(begins); begins != "" && strings.ContainsRune("=+-@＝＋－＠﹦﹢﹣﹫", r) || s != "" &&
		(s[0] == '\t' || s[0] == '\r') {
		return "'" + s
	}
	return s
}

// quoted appends a text, in quotes where it needs them.
func (f CSVForm) quoted(to []byte, s string) []byte {
	// An empty text is quoted, for an empty field is NULL; and so is one with a blank at either end, which readers like to
	// trim.
	if s != "" && !strings.ContainsAny(s, "\",\r\n") && strings.IndexByte(s, f.Separator()) < 0 && s[0] != ' ' &&
		s[len(s)-1] != ' ' {
		return append(to, s...)
	}
	return append(append(append(to, '"'), strings.ReplaceAll(s, `"`, `""`)...), '"')
}

// signs are those of the locales that are known, as Windows has them: no setting of this program's surroundings says
// what separates fields.
var signs = []struct {
	Signs
	locales string
}{
	{Signs{',', '.'}, "en-US en-GB en-AU en-CA en-HK en-IE en-IN en-NZ en-PH en-SG es-MX es-US he-IL ja-JP ko-KR ms-MY " +
		"th-TH zh-CN zh-HK zh-SG zh-TW"},
	{Signs{';', ','}, "bg-BG ca-ES cs-CZ da-DK de-AT de-DE de-LU el-GR es-AR es-CL es-CO es-ES et-EE eu-ES fi-FI fr-BE " +
		"fr-CA fr-CH fr-FR fr-LU gl-ES hr-HR hu-HU id-ID is-IS it-IT lt-LT lv-LV nb-NO nl-BE nl-NL nn-NO pl-PL pt-BR pt-PT " +
		"ro-RO ru-RU sk-SK sl-SI sr-RS sv-FI sv-SE tr-TR uk-UA"},
	{Signs{';', '.'}, "de-CH de-LI it-CH"},
}

// SignsOf are the signs of a locale, de-DE or de_DE.UTF-8; false if it isn't known. C and POSIX are en-US.
func SignsOf(locale string) (Signs, bool) {
	locale, _, _ = strings.Cut(locale, ".")
	locale, _, _ = strings.Cut(locale, "@")
	if locale == "C" || locale == "POSIX" {
		locale = "en-US"
	}
	locale = strings.ReplaceAll(locale, "_", "-")
	for _, s := range signs {
		if slices.ContainsFunc(strings.Fields(s.locales), func(l string) bool { return strings.EqualFold(l, locale) }) {
			return s.Signs, true
		}
	}
	return Signs{}, false
}

// Locales are those that SignsOf knows.
func Locales() (out []string) {
	for _, s := range signs {
		out = append(out, strings.Fields(s.locales)...)
	}
	slices.Sort(out)
	return out
}
