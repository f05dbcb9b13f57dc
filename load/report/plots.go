package report

import (
	"archive/zip"
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Pictured says that documents of the format have pictures: drawn, or as the charts of a workbook.
func Pictured(format string) bool { return format == "html" || format == "xlsx" }

// plot is a picture as a workbook has it: a chart of cells that hold exact figures, or cells in colours.
type plot struct {
	kind plotKind
	unit string // the currency of amounts
	// about is said of a workbook's chart, where what is said of the picture is about how it is drawn; "" is the same.
	about string
	// table has in its first column what is plotted along, and a series in each of the others.
	table *Table
}

type plotKind int

const (
	stackedColumns plotKind = iota
	sideBars                // from the top down
	movedBars               // the same, of which each row has one
	lines
	field // no chart: the cells themselves, the darker the more
)

// exact are sums by row and column of a plot, both from 0.
type exact map[[2]int]schemas.Money

func (e exact) add(row, column int, v query.Value) {
	n, err := schemas.ParseMoney(v.Text)
	if v.Null || err != nil {
		return
	}
	if sum, ok := e[[2]int{row, column}]; ok {
		n = n.Add(sum)
	}
	e[[2]int{row, column}] = n
}

func (e exact) value(row, column int) query.Value {
	if sum, ok := e[[2]int{row, column}]; ok {
		return query.Value{Text: sum.String()}
	}
	return query.Value{Null: true}
}

// newPlot makes a plot: first is its first column, with a cell for each row of sums, names are its series.
func newPlot(kind plotKind, unit string, first Column, along []string, as Kind, names []string, sums exact) *plot {
	t := &Table{Columns: []Column{first}}
	for _, name := range names {
		t.Columns = append(t.Columns, Column{Title: words.Clip(words.Cell(name), maxCell), Kind: as})
	}
	for r, at := range along {
		row := []query.Value{{Text: at}}
		for c := range names {
			row = append(row, sums.value(r, c))
		}
		t.Rows = append(t.Rows, row)
	}
	return &plot{kind: kind, unit: unit, table: t}
}

// of is the plot with what is said of it.
func (p *plot) of(about string) *plot {
	p.about = about
	return p
}

// share is a part of a whole as a share of 1, to six decimals; none of a whole that isn't above 0.
func (e exact) share(row, column int, part, whole query.Value) {
	n, err := schemas.ParseMoney(part.Text)
	of, err2 := schemas.ParseMoney(whole.Text)
	if part.Null || whole.Null || err != nil || err2 != nil || of.Sign() <= 0 {
		return
	}
	r := n.Rat()
	e.add(row, column, query.Value{Text: r.Quo(r, of.Rat()).FloatString(6)})
}

// The sheets of charts, and of what they are drawn from.
const (
	chartSheet = "Charts"
	dataSheet  = "Chart data"
)

// How large charts are, in rows, and in pixels as the library counts them.
const (
	chartRows   = 20
	chartWidth  = 820
	chartHeight = chartRows * 18
)

// plotted are the pictures that a workbook has as charts, and those that it has as fields.
func (d *Document) plotted() (charts, fields []Picture) {
	for _, p := range d.Pictures {
		switch {
		case p.plot == nil || len(p.plot.table.Rows) == 0 || len(p.plot.table.Columns) < 2:
		case p.plot.kind == field:
			fields = append(fields, p)
		default:
			charts = append(charts, p)
		}
	}
	return charts, fields
}

// charts writes the sheet with the charts: for each its caption, and the chart below it. Their figures stand on the
// sheet data, which is still to be written.
func (b *book) charts(name, data string, charts []Picture) error {
	s, err := b.sheet(name)
	if err != nil {
		return err
	}
	// A library makes the charts: in a workbook of its own, of which they and what places them are taken.
	f := excelize.NewFile()
	defer f.Close()
	s.drawn = true
	top := 1 // the row of data that the next block begins with
	for i, p := range charts {
		row := 1 + i*(chartRows+2)
		s.next(row)
		s.put(0, 0, cmp.Or(p.plot.about, p.Caption, p.Title))
		if i > 0 {
			s.breaks = append(s.breaks, row-1)
		}
		if err := f.AddChart("Sheet1", cellName(0, row+1), p.plot.chart(p.Title, data, top)); err != nil {
			return fmt.Errorf("the chart %s: %w", p.Title, err)
		}
		top += len(p.plot.table.Rows) + 2
	}
	s.next(len(charts) * (chartRows + 2)) // the sheet is as long as they are
	if err := s.end(); err != nil {
		return err
	}
	return b.adopt(f, s)
}

// chartParts are what a workbook has of charts, as the types of its files list them.
var chartParts = regexp.MustCompile(`<Override [^>]*PartName="/(xl/(?:charts|drawings)/[^"]*)"[^>]*>(?:</Override>)?`)

// adopt takes the charts of another workbook's only sheet for those of the sheet.
func (b *book) adopt(f *excelize.File, s *sheet) error {
	var out bytes.Buffer
	if err := f.Write(&out); err != nil {
		return err
	}
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		return err
	}
	types, err := fs.ReadFile(z, partTypes)
	if err != nil {
		return err
	}
	b.types = string(bytes.Join(chartParts.FindAll(types, -1), nil))
	// The library writes them in any order; the same document is to be the same file.
	slices.SortFunc(z.File, func(x, y *zip.File) int { return strings.Compare(x.Name, y.Name) })
	for _, part := range z.File {
		if strings.HasPrefix(part.Name, "xl/charts/") || strings.HasPrefix(part.Name, "xl/drawings/") {
			if err := b.zip.Copy(part); err != nil {
				return err
			}
		}
	}
	rels, err := fs.ReadFile(z, "xl/worksheets/_rels/sheet1.xml.rels")
	if err != nil {
		return err
	}
	return b.part(fmt.Sprintf("xl/worksheets/_rels/sheet%d.xml.rels", s.at+1), rels)
}

// chart is the plot as a chart of a workbook: its table begins in the row top of the sheet data.
func (p *plot) chart(title, data string, top int) *excelize.Chart {
	quoted := "'" + strings.ReplaceAll(data, "'", "''") + "'!"
	cells := func(column, from, to int) string {
		at := "$" + columnName(column) + "$"
		if from == to {
			return quoted + at + strconv.Itoa(from)
		}
		return quoted + at + strconv.Itoa(from) + ":" + at + strconv.Itoa(to)
	}
	first, last := top+1, top+len(p.table.Rows)
	paint := func(color string) excelize.Fill {
		return excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{strings.TrimPrefix(color, "#")}}
	}
	c := &excelize.Chart{Title: excelize.ChartTitle{Paragraph: []excelize.RichTextRun{{Text: title,
		Font: &excelize.Font{Bold: true, Size: 12}}}}, Legend: excelize.ChartLegend{Position: "right"},
		Dimension: excelize.ChartDimension{Width: chartWidth, Height: chartHeight}, ShowBlanksAs: "gap"}
	format := "#,##0.00"
	if k := p.table.Columns[1].Kind; k == Share {
		format = "0%"
	} else if schemas.MinorUnit(p.unit) == 0 {
		format = "#,##0"
	}
	small := excelize.Font{Color: strings.TrimPrefix(ink, "#"), Size: 9}
	c.YAxis = excelize.ChartAxis{MajorGridLines: true, NumFmt: excelize.ChartNumFmt{CustomNumFmt: format}, Font: small}
	if p.unit != "" {
		c.YAxis.Title = excelize.ChartTitle{Paragraph: []excelize.RichTextRun{{Text: words.Cell(p.unit)}}}
	}
	c.XAxis = excelize.ChartAxis{TickLabelPosition: excelize.ChartTickLabelLow, Font: small}
	if p.table.Columns[0].Kind == Day {
		c.XAxis.NumFmt = excelize.ChartNumFmt{CustomNumFmt: "mm-dd"}
		c.XAxis.TickLabelSkip = 1 + len(p.table.Rows)/32
		c.XAxis.Alignment.TextRotation = -45
	}
	if p.kind == sideBars || p.kind == movedBars { // the first on top, and the numbers below the last
		c.XAxis.ReverseOrder, c.YAxis.TickLabelPosition = true, excelize.ChartTickLabelHigh
	}
	gap, overlap, many := uint(30), 100, false
	c.VaryColors = &many
	switch p.kind {
	case stackedColumns:
		c.Type, c.GapWidth, c.Overlap = excelize.ColStacked, &gap, &overlap
	case sideBars:
		c.Type, c.GapWidth = excelize.Bar, &gap
	case movedBars:
		c.Type, c.GapWidth, c.Overlap = excelize.Bar, &gap, &overlap
	case lines:
		c.Type, c.ShowBlanksAs = excelize.Line, "span"
	}
	for i, column := range p.table.Columns[1:] {
		color := palette[i%len(palette)]
		s := excelize.ChartSeries{Name: cells(i+1, top, top), Categories: cells(0, first, last),
			Values: cells(i+1, first, last)}
		switch {
		case p.kind == lines: // what is there in full, what is thought of it in dashes
			s.Fill, s.Line = paint(palette[0]), excelize.LineOptions{Type: excelize.LineSolid, Width: 2.25}
			s.Marker = excelize.ChartMarker{Symbol: "none"}
			if i > 0 {
				s.Line.Dash, s.Line.Width = excelize.LineDashSysDash, 1.5
			}
			if i > 1 {
				s.Fill = paint(palette[4])
			}
		case p.kind == movedBars && column.Title == lessTitle:
			s.Fill = paint(palette[5])
		default:
			s.Fill = paint(color)
		}
		c.Series = append(c.Series, s)
	}
	if len(c.Series) == 1 {
		c.Legend.Position = "none"
	}
	return c
}

// plotData writes what charts are drawn from, a block below the other, each with its head.
func (b *book) plotData(name string, charts []Picture) error {
	s, err := b.sheet(name)
	if err != nil {
		return err
	}
	for _, p := range charts {
		t := p.plot.table
		if s.row > 0 {
			s.next(s.row + 1) // an empty one between two
		}
		s.next(s.row + 1)
		for i, c := range t.Columns {
			head := b.heads[0]
			if c.Kind.Numeric() {
				head = b.heads[1]
			}
			s.put(i, head, c.Title)
			if i == len(s.widths) {
				s.widths = append(s.widths, 0)
			}
			s.widen(i, c.Title)
		}
		for _, row := range t.Rows {
			s.next(s.row + 1)
			for i, v := range row {
				kind := t.Columns[i].Kind
				s.value(i, b.style(kind, p.plot.unit, false), kind, v, p.plot.unit)
				s.widen(i, show(t.Columns[i], v, p.plot.unit))
			}
		}
	}
	return s.end()
}

// field writes a picture as a sheet whose cells are the darker the more they hold.
func (b *book) field(name string, p Picture) error {
	s, err := b.sheet(name)
	if err != nil {
		return err
	}
	t := p.plot.table
	b.head(s, t)
	for _, row := range t.Rows {
		b.line(s, t, row)
	}
	s.shaded = "B2:" + cellName(len(t.Columns)-1, s.row)
	return b.endTable(s, t, s.row)
}

// withPlots gives a sheet names to what a document's pictures take, before those of owners are given.
func (b *book) withPlots(d *Document) (write func() error) {
	charts, fields := d.plotted()
	var sheet, data string
	var titles []string
	if len(charts) > 0 {
		sheet, data = b.named(chartSheet), b.named(dataSheet)
	}
	for _, p := range fields {
		titles = append(titles, b.named(p.Title))
	}
	return func() error {
		if len(charts) > 0 {
			if err := b.charts(sheet, data, charts); err != nil {
				return err
			}
		}
		for i, p := range fields {
			if err := b.field(titles[i], p); err != nil {
				return err
			}
		}
		if len(charts) > 0 {
			return b.plotData(data, charts)
		}
		return nil
	}
}

// The series of what is more than before, and of what is less.
const (
	moreTitle = "More"
	lessTitle = "Less"
)

var dayColumn = Column{Title: "Day", Kind: Day}

var weekdays = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

var hours = strings.Fields("0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23")
