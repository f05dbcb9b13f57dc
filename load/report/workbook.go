package report

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/xuri/excelize/v2"
)

// bookWriter is a workbook that is being written, a sheet after the other: a zip of files of XML, as ECMA-376 (Office
// Open XML) has them. Those that are the same in all workbooks, as that of the styles, are the skeleton's, which
// excelize makes once. The sheets are written as they come: a library that keeps each cell, for whoever wants to change
// it, takes many times as long, and a close has hundreds of workbooks.
type bookWriter struct {
	*skeleton
	zip    *zip.Writer
	sheets []*sheet
	// Texts stand in the workbook once; a cell has the place of its own.
	places map[string]int
	texts  []byte
	types  string          // of the files that charts are, as XML
	names  strings.Builder // of cells, as XML
}

// newBook begins a workbook.
func newBook(w io.Writer) (*bookWriter, error) {
	k, err := theSkeleton()
	if err != nil {
		return nil, err
	}
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, deflate)
	for _, part := range k.fixed {
		if err := z.Copy(part); err != nil {
			return nil, err
		}
	}
	return &bookWriter{skeleton: k, zip: z, places: map[string]int{}}, nil
}

// close writes what goes by all of the sheets. made is in UTC.
func (b *bookWriter) close(title, subject string, made time.Time) error {
	var types, relations, sheets strings.Builder
	types.WriteString(b.types)
	for i, s := range b.sheets {
		id := "rId1" // of the skeleton's sheet
		if n := i + 1; n > 1 {
			id = fmt.Sprintf("sheet%d", n)
			fmt.Fprintf(&types, `<Override PartName="/xl/worksheets/sheet%d.xml" ContentType="%s"/>`, n,
				excelize.ContentTypeSpreadSheetMLWorksheet)
			fmt.Fprintf(&relations, `<Relationship Id="%s" Target="worksheets/sheet%d.xml" Type="%s"/>`, id, n,
				excelize.SourceRelationshipWorkSheet)
		}
		fmt.Fprintf(&sheets, `<sheet name="%s" sheetId="%d" r:id="%s"/>`, escapeXML(nil, s.name), i+1, id)
	}
	names := b.names.String()
	if names != "" {
		names = "<definedNames>" + names + "</definedNames>"
	}
	stamp := made.UTC().Format(time.RFC3339)
	for _, part := range []struct {
		name    string
		entries []string
	}{
		{partTypes, []string{types.String()}}, {partRelations, []string{relations.String()}},
		{partBook, []string{sheets.String(), names}},
		{partCore, []string{string(escapeXML(nil, title)), string(escapeXML(nil, subject)), stamp, stamp}},
	} {
		var text strings.Builder
		for i, piece := range b.pieces[part.name] {
			text.WriteString(piece)
			if i < len(part.entries) {
				text.WriteString(part.entries[i])
			}
		}
		if err := b.part(part.name, []byte(text.String())); err != nil {
			return err
		}
	}
	head := fmt.Appendf(nil, `%s<sst xmlns="%s" count="%d" uniqueCount="%[3]d">`, xml.Header,
		excelize.NameSpaceSpreadSheet.Value, len(b.places))
	if err := b.part(partTexts, head, b.texts, []byte("</sst>")); err != nil {
		return err
	}
	return b.zip.Close()
}

// part writes a file of the workbook.
func (b *bookWriter) part(name string, pieces ...[]byte) error {
	w, err := b.zip.Create(name)
	for _, p := range pieces {
		if err == nil {
			_, err = w.Write(p)
		}
	}
	return err
}

// define gives cells of the sheet a name that is the sheet's own.
func (s *sheet) define(name, cells string, hidden bool) {
	fmt.Fprintf(&s.bookWriter.names, `<definedName hidden="%t" localSheetId="%d" name="%s">%s</definedName>`, hidden, s.at,
		name, escapeXML(nil, "'"+strings.ReplaceAll(s.name, "'", "''")+"'!"+cells))
}

// sheet is a sheet that is being written, row by row, and in each from left to right.
type sheet struct {
	*bookWriter
	name   string
	at     int    // from 0
	rows   []byte // as XML
	row    int    // the one that is being written, from 1; 0 before the first
	wide   int    // how many columns there are
	widths []int  // of columns, in characters; 0 is the program's own
	heads  bool   // the first row stays where it is
	marks  bool   // the column beyond those of widths says of each row whether it is shown, and is hidden
	filter string // the cells that are filtered; "" none
	breaks []int  // the rows that a page ends with
	shaded string // the cells that are the darker the more they hold; "" none
	drawn  bool   // charts stand on it
	// streams says that what stands above the rows is written, and they are as they come: to is where to. height is how
	// many there will be, 0 if that isn't known.
	streams bool
	to      io.Writer
	height  int
}

// sheet begins a sheet. Two of the same name are an error: nobody could tell whose is whose.
func (b *bookWriter) sheet(name string) (*sheet, error) {
	for _, s := range b.sheets {
		if strings.EqualFold(s.name, name) { // as workbooks compare them, and not as schemas.Fold does
			return nil, fmt.Errorf("the workbook has a sheet %q already: %w", name, fs.ErrExist)
		}
	}
	s := &sheet{bookWriter: b, name: name, at: len(b.sheets)}
	b.sheets = append(b.sheets, s)
	return s, nil
}

// next begins the row, which is beyond those that are there.
func (s *sheet) next(row int) {
	s.endRow()
	s.row = row
	s.rows = append(strconv.AppendInt(append(s.rows, `<row r="`...), int64(row), 10), `">`...)
}

func (s *sheet) endRow() {
	if s.row > 0 {
		s.rows = append(s.rows, "</row>"...)
	}
}

// cell writes a cell of the column, from 0: of the type, "" is a number, with its content as XML.
func (s *sheet) cell(column, style int, kind, content string) {
	s.wide = max(s.wide, column+1)
	s.rows = append(append(s.rows, `<c r="`...), columnName(column)...)
	s.rows = append(strconv.AppendInt(s.rows, int64(s.row), 10), '"')
	if style > 0 {
		s.rows = append(strconv.AppendInt(append(s.rows, ` s="`...), int64(style), 10), '"')
	}
	if kind != "" {
		s.rows = append(append(append(s.rows, ` t="`...), kind...), '"')
	}
	s.rows = append(append(append(s.rows, '>'), content...), "</c>"...)
}

// number writes a cell with the digits.
func (s *sheet) number(column, style int, digits string) {
	s.cell(column, style, "", "<v>"+digits+"</v>")
}

// formula writes a cell with a formula, and the digits that it gives.
func (s *sheet) formula(column, style int, formula, digits string) {
	s.cell(column, style, "", "<f>"+string(escapeXML(nil, formula))+"</f><v>"+digits+"</v>")
}

// text writes a cell with a text that a sheet can hold.
func (s *sheet) text(column, style int, text string) {
	place, ok := s.places[text]
	if !ok && len(s.texts) > maxTexts {
		s.cell(column, style, "inlineStr", "<is>"+string(textElement(nil, text))+"</is>")
		return
	}
	if !ok {
		place = len(s.places)
		s.places[text] = place
		s.texts = append(textElement(append(s.texts, "<si>"...), text), "</si>"...)
	}
	s.cell(column, style, "s", "<v>"+strconv.Itoa(place)+"</v>")
}

// maxTexts is from how many bytes of texts on new ones stand in their cells: those that are told apart are in memory.
const maxTexts = 16 << 20

// textElement appends a text as an element, blanks at its ends and all.
func textElement(to []byte, text string) []byte {
	if strings.Trim(text, "\t\n\r ") != text {
		to = append(to, `<t xml:space="preserve">`...)
	} else {
		to = append(to, "<t>"...)
	}
	return append(escapeXML(to, text), "</t>"...)
}

// begin writes what stands above the rows. It is set up for print: turned to the side, on A4, one page wide.
func (s *sheet) begin() (err error) {
	if s.to, err = s.zip.Create(fmt.Sprintf("xl/worksheets/sheet%d.xml", s.at+1)); err != nil {
		return err
	}
	head := xml.Header + `<worksheet xmlns="` + excelize.NameSpaceSpreadSheet.Value + `" xmlns:r="` +
		excelize.SourceRelationship.Value + `"><sheetPr`
	head += `><pageSetUpPr fitToPage="true"/></sheetPr>`
	if s.wide > 0 && s.height > 0 {
		head += `<dimension ref="A1:` + cellName(s.wide-1, s.height) + `"/>`
	}
	head += `<sheetViews><sheetView`
	if s.at == 0 {
		head += ` tabSelected="true"`
	}
	head += ` workbookViewId="0">`
	if s.heads {
		head += `<pane activePane="bottomLeft" state="frozen" topLeftCell="A2" ySplit="1"/>`
	}
	head += `</sheetView></sheetViews><sheetFormatPr defaultRowHeight="15"/>`
	columns := ""
	for i, width := range s.widths {
		if width > 0 {
			columns += fmt.Sprintf(`<col customWidth="true" max="%[1]d" min="%[1]d" width="%[2]d"/>`, i+1, width)
		}
	}
	if s.marks {
		columns += fmt.Sprintf(`<col hidden="true" max="%[1]d" min="%[1]d" width="9"/>`, len(s.widths)+1)
	}
	if columns != "" {
		head += "<cols>" + columns + "</cols>"
	}
	_, err = s.to.Write([]byte(head + "<sheetData>"))
	return err
}

// flush writes what there is of the rows. The sheet's widths and height are those of the first time.
func (s *sheet) flush() error {
	if !s.streams {
		s.streams = true
		if err := s.begin(); err != nil {
			return err
		}
	}
	_, err := s.to.Write(s.rows)
	s.rows = s.rows[:0]
	return err
}

// end ends the sheet.
func (s *sheet) end() error {
	s.endRow()
	if !s.streams {
		s.height = s.row
	}
	if err := s.flush(); err != nil {
		return err
	}
	tail := "</sheetData>"
	if s.filter != "" {
		tail += `<autoFilter ref="` + s.filter + `"/>`
		s.define("_xlnm._FilterDatabase", s.filter, true)
	}
	if s.shaded != "" {
		tail += `<conditionalFormatting sqref="` + s.shaded + `"><cfRule type="colorScale" priority="1"><colorScale>` +
			`<cfvo type="min"/><cfvo type="max"/><color rgb="FFEEF3F8"/><color rgb="FF56B4E9"/></colorScale></cfRule>` +
			`</conditionalFormatting>`
	}
	tail += `<pageSetup fitToHeight="0" fitToWidth="1" orientation="landscape" paperSize="9"/>` +
		`<headerFooter><oddFooter>&amp;L&amp;A&amp;R&amp;P / &amp;N</oddFooter></headerFooter>`
	if s.heads { // on every page, too
		s.define("_xlnm.Print_Titles", "$1:$1", false)
	}
	if n := len(s.breaks); n > 0 {
		tail += fmt.Sprintf(`<rowBreaks count="%d" manualBreakCount="%[1]d">`, n)
		for _, row := range s.breaks {
			tail += fmt.Sprintf(`<brk id="%d" man="true" max="%d"/>`, row, excelize.MaxColumns-1)
		}
		tail += "</rowBreaks>"
	}
	if s.drawn { // by the only relation that a sheet has
		tail += `<drawing r:id="rId1"/>`
	}
	_, err := s.to.Write([]byte(tail + "</worksheet>"))
	s.rows, s.to = nil, nil
	return err
}

// columnName is the letters of a column, from 0.
func columnName(column int) string {
	if column < 26 {
		return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[column : column+1]
	}
	return columnName(column/26-1) + columnName(column%26)
}

// cellName is the name of a cell: its column from 0, its row from 1.
func cellName(column, row int) string { return columnName(column) + strconv.Itoa(row) }

// escapeXML appends a text as XML has it.
func escapeXML(to []byte, text string) []byte {
	b := bytes.NewBuffer(to)
	_ = xml.EscapeText(b, []byte(text)) // a buffer takes all of it
	return b.Bytes()
}

// The files of a workbook that hang on what is in it, besides its sheets.
const (
	partTypes     = "[Content_Types].xml"
	partRelations = "xl/_rels/workbook.xml.rels"
	partBook      = "xl/workbook.xml"
	partCore      = "docProps/core.xml"
	partTexts     = "xl/sharedStrings.xml"
)

// skeleton is what all workbooks have in common.
type skeleton struct {
	fixed  []*zip.File         // as they are in every workbook
	pieces map[string][]string // of a file, what stands around that which hangs on the workbook
	styles map[cellStyle]int
	heads  [2]int // the styles of heads of texts, and of those of numbers, which stand to the right
	title  int
}

var theSkeleton = sync.OnceValues(makeSkeleton)

// makeSkeleton has excelize make a workbook of one sheet with all styles, and takes it apart.
func makeSkeleton() (*skeleton, error) {
	f := excelize.NewFile()
	defer f.Close()
	k := &skeleton{pieces: map[string][]string{}, styles: map[cellStyle]int{}}
	if err := k.makeStyles(f); err != nil {
		return nil, err
	}
	always := true
	var out bytes.Buffer
	for _, err := range []error{
		f.SetDocProps(&excelize.DocProperties{Creator: program, LastModifiedBy: program, Title: "the title",
			Subject: "the subject", Created: "2000-01-01T00:00:00Z", Modified: "2000-01-01T00:00:00Z"}),
		// A spreadsheet computes the formulas when it opens the file, whatever values are stored with them.
		f.SetCalcProps(&excelize.CalcPropsOptions{FullCalcOnLoad: &always}),
		f.SetCellStr("Sheet1", "A1", "so that there are shared texts"), f.Write(&out),
	} {
		if err != nil {
			return nil, err
		}
	}
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		return nil, err
	}
	for _, part := range z.File {
		varies := varying[part.Name]
		switch {
		case part.Name == partTexts, strings.HasPrefix(part.Name, "xl/worksheets/"): // the workbook's own
		case varies == nil:
			k.fixed = append(k.fixed, part)
		default:
			text, err := fs.ReadFile(z, part.Name)
			if err != nil {
				return nil, err
			}
			at := varies.FindSubmatchIndex(text)
			if at == nil {
				return nil, fmt.Errorf("%s of a workbook isn't as it was: %.200q", part.Name, text)
			}
			at = append(at[2:], len(text))
			pieces := []string{string(text[:at[0]])}
			for i := 1; i < len(at); i += 2 {
				pieces = append(pieces, string(text[at[i]:at[i+1]]))
			}
			k.pieces[part.Name] = pieces
		}
	}
	if len(k.pieces) != len(varying) {
		return nil, fmt.Errorf("a workbook has %d of %d files", len(k.pieces), len(varying))
	}
	return k, nil
}

// varying are the files of the skeleton that hang on the workbook; what does is in brackets.
var varying = map[string]*regexp.Regexp{
	partTypes:     regexp.MustCompile(`()</Types>`),
	partRelations: regexp.MustCompile(`()</Relationships>`),
	partBook:      regexp.MustCompile(`<sheets>(.*)</sheets>()`),
	partCore:      regexp.MustCompile(`>(the title)<.*>(the subject)<.*>(2000[^<]*)<.*>(2000[^<]*)<`),
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
