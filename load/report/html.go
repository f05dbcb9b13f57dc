package report

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed report.html
var pageText string

var page = template.Must(template.New("report").Parse(pageText))

// HTML writes the document as one page that needs nothing else: no script, no network. It prints on paper.
func (d *Document) HTML(w io.Writer) error {
	type cell struct {
		Text string
		Num  bool
		Neg  bool
	}
	type tableView struct {
		Title, Caption string
		Head           []cell
		Rows, Totals   [][]cell
	}
	view := func(t *Table) tableView {
		v := tableView{Title: printable(t.Title), Caption: t.Caption}
		for _, c := range t.Columns {
			v.Head = append(v.Head, cell{Text: c.Title, Num: c.Kind.Numeric()})
		}
		for _, row := range t.Rows {
			cells := make([]cell, len(row))
			for i, x := range row {
				s := shorten(printable(show(t.Columns[i], x)), 300)
				cells[i] = cell{s, t.Columns[i].Kind.Numeric(), t.Columns[i].Kind.Numeric() && strings.HasPrefix(s, "-")}
			}
			v.Rows = append(v.Rows, cells)
		}
		if t.summed() && len(t.Rows) > 0 {
			for _, total := range t.Totals() {
				var cells []cell
				for i, s := range t.totalCells(total) {
					cells = append(cells, cell{s, t.Columns[i].Kind.Numeric(), strings.HasPrefix(s, "-")})
				}
				v.Totals = append(v.Totals, cells)
			}
		}
		return v
	}
	type pictureView struct {
		Title, Caption string
		SVG            template.HTML
		Table          *tableView
	}
	data := struct {
		*Document
		Date     string
		Pictures []pictureView
		Tables   []tableView
	}{Document: d, Date: d.Generated.UTC().Format("2006-01-02 15:04 UTC")}
	for _, p := range d.Pictures {
		v := pictureView{Title: p.Title, Caption: p.Caption, SVG: p.chart.draw(p.Title)}
		if p.Table != nil {
			t := view(p.Table)
			v.Table = &t
		}
		data.Pictures = append(data.Pictures, v)
	}
	for _, t := range d.Tables {
		data.Tables = append(data.Tables, view(t))
	}
	return page.Execute(w, data)
}
