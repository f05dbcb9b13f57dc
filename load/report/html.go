package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas/words"
)

//go:embed report.html
var pageText string

// Style is that of a page, and of the content that Content gives of one.
//
//go:embed report.css
var Style string

var page = template.Must(template.New("report").Funcs(template.FuncMap{"printable": words.Cell}).Parse(pageText))

// What a page does with tables of many columns and cells of much text.
const (
	wideTable   = 690 // pixels from which a table is printed on paper turned to the side: as wide as A4 and Letter are
	wordText    = 12  // characters up to which a text stays on one line
	shortText   = 28  // characters up to which a text isn't broken into lines
	longestText = 300 // characters of a text at the most
)

// htmlCell is a cell of a table.
type htmlCell struct {
	Text   string
	Column string // its title, which a narrow screen shows beside it
	ID     string // of what Text is the name of
	Num    bool
	Neg    bool
	Short  bool // the text stays on a line
	Wrap   bool // the text may be broken into lines
	Link   string
}

// htmlLine is a row of a table.
type htmlLine []htmlCell

// Cells are the row's cells as HTML. A template would look at each of some thousand cells a dozen times; here they are
// written at once, their texts escaped as a template does it.
func (l htmlLine) Cells() template.HTML {
	var b strings.Builder
	for _, c := range l {
		b.WriteString(`<td data-t="` + htmlText.Replace(c.Column) + `"`)
		switch {
		case c.Num && c.Neg:
			b.WriteString(` class="n neg"`)
		case c.Num:
			b.WriteString(` class="n"`)
		case c.Wrap:
			b.WriteString(` class="w"`)
		case c.Text == "":
			b.WriteString(` class="none"`)
		case c.Short:
			b.WriteString(` class="s"`)
		}
		b.WriteString(">")
		if c.Link != "" {
			b.WriteString(`<a href="` + htmlText.Replace(c.Link) + `">` + htmlText.Replace(c.Text) + "</a>")
		} else {
			b.WriteString(htmlText.Replace(c.Text))
		}
		if c.ID != "" {
			b.WriteString(" <small>" + htmlText.Replace(c.ID) + "</small>")
		}
		b.WriteString("</td>")
	}
	return template.HTML(b.String())
}

// htmlText escapes a text: as html/template does, within an element and within quotes.
var htmlText = strings.NewReplacer("\x00", "\ufffd", `"`, "&#34;", "&", "&amp;", "'", "&#39;", "+", "&#43;",
	"<", "&lt;", ">", "&gt;")

// htmlPart is the part of a table between two headings: all of it, or the rows of a group.
type htmlPart struct {
	Title        string
	Rows, Totals []htmlLine
}

type htmlTable struct {
	Title, Caption string
	Empty          string // the titles of columns that are left out, as all of their cells are NULL
	Wide           bool
	Head           htmlLine
	Parts          []htmlPart
	Totals         []htmlLine
	More           string // of rows that aren't shown
	Downloads      []Download
}

// Web says how a document stands within a site: where its cells lead, and where its tables can be had as files.
type Web struct {
	// Link is the address that a cell leads to; "" is none. of gives the cells of the same row by their columns.
	Link func(column string, of func(column string) query.Value) string
	// Downloads are those of the table of a name.
	Downloads func(table string) []Download
	// Rows are shown of a table at the most; 0 is all. Totals are of all.
	Rows int
}

// Download is where a table can be had as a file.
type Download struct{ Label, Address string }

// Content is what a page has between its head and its foot, for a site that has a head and a foot of its own.
func (d *Document) Content(w io.Writer, of Web) error {
	return page.ExecuteTemplate(w, "content", d.html(of))
}

// HTML writes the document as one page that needs nothing else: no script, no network. It prints on paper.
func (d *Document) HTML(w io.Writer) error { return page.Execute(w, d.html(Web{})) }

type htmlPicture struct {
	Title, Caption string
	SVG, Legend    template.HTML
	Table          *htmlTable
}

type htmlDocument struct {
	*Document
	Date     string
	Style    template.CSS
	Patterns template.HTML
	Pictures []htmlPicture
	Tables   []*htmlTable
	Wide     bool // the last table is, and what follows stands on its page
	Turned   bool // all of it is printed on paper turned to the side
}

func (d *Document) html(web Web) *htmlDocument {
	out := &htmlDocument{Document: d, Date: d.Generated.UTC().Format("2006-01-02 15:04 UTC"), Patterns: patterns,
		Style: template.CSS(Style)}
	for _, p := range d.Pictures {
		v := htmlPicture{Title: p.Title, Caption: p.Caption, SVG: p.chart.draw(p.Title)}
		if c, ok := p.chart.(interface{ legend() template.HTML }); ok {
			v.Legend = c.legend()
		}
		if p.Table != nil && !slices.Contains(d.Tables, p.Table) { // it may stand below by itself
			v.Table = p.Table.plain(d).html(Web{Link: web.Link, Rows: web.Rows})
		}
		out.Pictures = append(out.Pictures, v)
	}
	for _, t := range d.Tables {
		v := t.plain(d).html(web)
		out.Tables, out.Wide = append(out.Tables, v), v.Wide
		out.Turned = out.Turned || v.Wide && len(d.Pictures) == 0 // its head needs no page of its own then
	}
	return out
}

// html is the table as a page shows it. The rows of a grouped table stand below headings, each group with its totals.
func (t *Table) html(web Web) *htmlTable {
	out := &htmlTable{Title: t.heading(), Caption: t.Caption}
	if web.Downloads != nil {
		out.Downloads = web.Downloads(t.Name)
	}
	left := len(t.Rows)
	if web.Rows > 0 && left > web.Rows {
		out.More = fmt.Sprintf("%s of %s rows are shown; the sums are of all. A file has every row.",
			words.Count(web.Rows), words.Count(left))
		left = web.Rows
	}
	grouped := t.column(t.Group)
	var shown []int
	var empty []string
	for i, c := range t.Columns {
		filled := func() bool {
			for _, row := range t.Rows {
				if !row[i].Null {
					return true
				}
			}
			return len(t.Rows) == 0
		}
		switch {
		case i == grouped || i > 0 && t.nameOf(i-1) == i: // a name stands in the cell of its id
		// A column that is NULL in all rows is named below the table and takes no room.
		case filled():
			// From here on the columns of the page are those in shown, in that order: cells goes by it, and Head has as many.
			shown = append(shown, i)
			out.Head = append(out.Head, htmlCell{Text: c.Title, Num: c.Kind.Numeric()})
		default:
			empty = append(empty, c.Title)
		}
	}
	out.Empty = strings.Join(empty, ", ")
	cells := func(text func(i int) string) htmlLine {
		var cells htmlLine
		for _, i := range shown {
			s, number := text(i), t.Columns[i].Kind.Numeric()
			n := utf8.RuneCountInString(s)
			cells = append(cells,
				htmlCell{Text: s, Column: t.Columns[i].Title, Num: number, Neg: number && strings.HasPrefix(s, "-"),
					Short: n <= wordText || t.Columns[i].Kind.timed(), Wrap: !number && n > shortText})
		}
		return cells
	}
	rows := func(rows [][]query.Value) (out []htmlLine) {
		for _, row := range rows {
			if left == 0 {
				break
			}
			left--
			line := cells(func(i int) string { return words.Clip(words.Cell(t.show(row, i)), longestText) })
			for at, i := range shown {
				if web.Link != nil && !row[i].Null {
					line[at].Link = web.Link(t.Columns[i].Name, func(column string) query.Value { return t.value(row, column) })
				}
				// The name is what is read, the id stands small beside it.
				if n := t.nameOf(i); n >= 0 && !row[n].Null {
					line[at].ID, line[at].Text, line[at].Short = line[at].Text, words.Clip(words.Cell(row[n].Text), longestText), false
				}
			}
			out = append(out, line)
		}
		return out
	}
	totals := func(of *Table, word string) (out []htmlLine) {
		if !t.summed() || len(of.Rows) == 0 {
			return nil
		}
		for _, total := range of.Totals() {
			texts := of.totalCells(total)
			// totalCells knows the table, and not which of its columns are shown.
			line := cells(func(i int) string { return texts[i] })
			for i, c := range line { // where the column of the word is left out, the first that is free takes it
				if c.Text == "" || c.Text == totalWord {
					line[i].Text = word
					break
				}
			}
			out = append(out, line)
		}
		return out
	}
	if grouped < 0 {
		out.Parts = []htmlPart{{Rows: rows(t.Rows)}}
	}
	// None where the table isn't grouped.
	parts := t.parts()
	for _, part := range parts {
		p := htmlPart{Title: words.Clip(words.Cell(part.Title), longestText), Rows: rows(part.Rows)}
		if n := t.nameOf(grouped); n >= 0 && !part.Rows[0][n].Null {
			p.Title = words.Clip(words.Cell(part.Rows[0][n].Text), longestText) + " (" + p.Title + ")"
		}
		if len(parts) > 1 { // of one alone it would be the total
			p.Totals = totals(part, "Sum")
		}
		out.Parts = append(out.Parts, p)
	}
	out.Totals = totals(t, totalWord)
	// An estimate of the width: a column is as wide as its longest text, up to where texts are broken. 12 for the space
	// around a cell, 5.2 for a letter.
	longest := make([]int, len(shown))
	look := func(rows []htmlLine) {
		for _, row := range rows {
			for i, c := range row {
				longest[i] = max(longest[i], min(utf8.RuneCountInString(c.Text), shortText))
			}
		}
	}
	look([]htmlLine{out.Head})
	look(out.Totals)
	for _, part := range out.Parts {
		look(part.Rows)
	}
	width := 0.0
	for _, n := range longest {
		width += 12 + 5.2*float64(n) // in the print's letters
	}
	out.Wide = width > wideTable
	return out
}
