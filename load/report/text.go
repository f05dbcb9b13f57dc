package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// longest text of a cell in a terminal
const maxCell = 60

// Text writes the document for a terminal: figures, warnings, tables with their totals.
func (d *Document) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s\n", words.Cell(d.Title))
	if d.Subtitle != "" {
		fmt.Fprintf(b, "%s\n", words.Cell(d.Subtitle))
	}
	if d.Completeness.Text != "" {
		fmt.Fprintf(b, "Completeness: %s\n", words.Cell(d.Completeness.Text))
	}
	for _, f := range d.Figures {
		fmt.Fprintf(b, "  %-24s %s", words.Cell(f.Label), words.Cell(f.Value))
		if f.Detail != "" {
			fmt.Fprintf(b, "   %s", words.Cell(f.Detail))
		}
		fmt.Fprintln(b)
	}
	for _, t := range d.Tables {
		fmt.Fprintf(b, "\n%s\n\n", words.Cell(t.heading()))
		t.plain(d).text(b)
		if t.Caption != "" {
			d.prose(b, t.Caption)
		}
	}
	fmt.Fprintln(b)
	for _, s := range d.Warnings {
		d.prose(b, "warning: "+s)
	}
	for _, s := range d.Notes {
		d.prose(b, "note: "+s)
	}
	if d.Freshness != "" {
		fmt.Fprintf(b, "%s\n", words.Cell(d.Freshness))
	}
	return b.Flush()
}

// prose writes a text in lines that the terminal has room for.
func (d *Document) prose(w io.Writer, s string) {
	for line := range strings.Lines(text.WrapSoft(words.Cell(s), cmp.Or(d.Width, 120)) + "\n") {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

func (t *Table) text(w io.Writer) {
	if len(t.Rows) == 0 {
		fmt.Fprintln(w, "  (nothing)")
		return
	}
	out := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Format.Header = text.FormatDefault
	style.Format.Footer = text.FormatDefault
	style.Options.SeparateFooter = true
	out.SetStyle(style)
	header := make(table.Row, len(t.Columns))
	configs := make([]table.ColumnConfig, len(t.Columns))
	for i, c := range t.Columns {
		header[i] = c.Title
		configs[i] = table.ColumnConfig{Number: i + 1}
		if c.Kind.Numeric() {
			configs[i].Align, configs[i].AlignHeader, configs[i].AlignFooter = text.AlignRight, text.AlignRight, text.AlignRight
		}
	}
	out.AppendHeader(header)
	out.SetColumnConfigs(configs)
	for _, row := range t.Rows {
		cells := make(table.Row, len(row))
		for i := range row {
			cells[i] = words.Clip(words.Cell(t.show(row, i)), maxCell)
		}
		out.AppendRow(cells)
	}
	if t.summed() {
		for _, total := range t.Totals() {
			out.AppendFooter(t.totalRow(total))
		}
	}
	fmt.Fprintln(w, out.Render())
}

// totalRow is a total as a row of a table.
func (t *Table) totalRow(total Total) table.Row {
	cells := make(table.Row, len(t.Columns))
	for i, s := range t.totalCells(total) {
		cells[i] = s
	}
	return cells
}

// totalWord stands before a total.
const totalWord = "Total"

// totalCells are the cells of a total: sums, and in the first column that has none the word.
func (t *Table) totalCells(total Total) []string {
	cells := make([]string, len(t.Columns))
	named := false
	for i, c := range t.Columns {
		switch {
		case total.Sums[i] != nil:
			cells[i] = showNumber(c.Kind, *total.Sums[i])
		// There is no sum of it: no row has a value, or one of them is no number.
		case c.Sum:
			cells[i] = none
		case c.Name == "currency":
			cells[i] = words.Clip(words.Cell(total.Currency), maxCell)
			if total.Null {
				cells[i] = none
			}
		case c.Name == bookCurrency:
			if at := t.column(bookCost); at >= 0 && total.Sums[at] != nil {
				cells[i] = total.Sums[at].Currency()
			}
		// Once only, in the first column that is free.
		case !named:
			cells[i], named = totalWord, true
		}
	}
	return cells
}

// CSV writes the document's main table: a header of the columns' stable names, and exact values, as query.Rows.WriteCSV
// does: no number has exactly three decimals, NULL is an empty field, an empty string is "", lines end with a line
// feed, text that a spreadsheet would compute gets an apostrophe in front. It has the document's Form. There is no row
// of totals.
func (d *Document) CSV(w io.Writer) error {
	b := bufio.NewWriter(w)
	if t := d.data(); t != nil {
		t.CSV(b, d.Form)
	}
	return b.Flush()
}

// CSV writes the table, as Document.CSV does.
func (t *Table) CSV(b *bufio.Writer, form query.CSVForm) {
	line := form.Mark()
	for i, c := range t.Columns {
		if i > 0 {
			line = append(line, form.Separator())
		}
		line = form.AppendHead(line, c.Name)
	}
	_, _ = b.Write(append(line, '\n')) // Flush has the error
	for _, row := range t.Rows {
		line = line[:0]
		for i, v := range row {
			if i > 0 {
				line = append(line, form.Separator())
			}
			// A column of numbers may hold a text all the same: it is guarded as any other.
			switch _, err := schemas.ParseMoney(v.Text); {
			case v.Null:
			case t.Columns[i].Kind.Numeric() && err == nil:
				line = form.AppendNumber(line, v.Text)
			case t.Columns[i].Kind.timed():
				line = form.AppendTime(line, v.Text)
			default: // text, whatever the column says
				line = form.AppendText(line, v.Text)
			}
		}
		_, _ = b.Write(append(line, '\n'))
	}
}

// JSON writes the document: amounts are texts with all their digits, or numbers with DecimalNumbers; NULL is null.
func (d *Document) JSON(w io.Writer) error {
	type jsonComplete struct {
		Complete        bool   `json:"complete"`
		Text            string `json:"text"`
		PeriodSeconds   int64  `json:"period_seconds"`
		ExpectedSeconds int64  `json:"expected_seconds"`
		MissingSeconds  int64  `json:"missing_seconds"`
	}
	type jsonTable struct {
		Name    string           `json:"name"`
		Title   string           `json:"title"`
		Basis   Basis            `json:"basis,omitempty"`
		Columns []string         `json:"columns"`
		Rows    []map[string]any `json:"rows"`
		Totals  []map[string]any `json:"totals,omitempty"`
	}
	type jsonFigure struct {
		Label  string `json:"label"`
		Value  string `json:"value"`
		Detail string `json:"detail,omitempty"`
	}
	out := struct {
		Report    string       `json:"report"`
		Title     string       `json:"title"`
		Subtitle  string       `json:"subtitle"`
		Period    string       `json:"period"`
		Scope     []string     `json:"scope"`
		Complete  jsonComplete `json:"completeness"`
		Generated time.Time    `json:"generated"`
		Version   string       `json:"version"`
		Freshness string       `json:"freshness"`
		Warnings  []string     `json:"warnings"`
		Figures   []jsonFigure `json:"figures"`
		Tables    []jsonTable  `json:"tables"`
		Notes     []string     `json:"notes"`
	}{d.Name, d.Title, d.Subtitle, d.Period, append([]string{}, d.Scope...), jsonComplete(d.Completeness),
		d.Generated.UTC().Truncate(time.Second), d.Version, d.Freshness, append([]string{}, d.Warnings...), []jsonFigure{},
		[]jsonTable{}, append([]string{}, d.Notes...)}
	for _, f := range d.Figures {
		out.Figures = append(out.Figures, jsonFigure{f.Label, f.Value, f.Detail})
	}
	for _, t := range d.Tables {
		x := jsonTable{Name: t.Name, Title: t.Title, Basis: t.Basis, Rows: []map[string]any{}}
		for _, c := range t.Columns {
			x.Columns = append(x.Columns, c.Name)
		}
		for _, row := range t.Rows {
			r := map[string]any{}
			for i, v := range row {
				r[t.Columns[i].Name] = d.jsonValue(t.Columns[i].Kind, v)
			}
			x.Rows = append(x.Rows, r)
		}
		if t.summed() {
			for _, total := range t.Totals() {
				r := map[string]any{}
				// Sums of columns without a currency have none, and no key for it.
				if t.column("currency") >= 0 {
					r["currency"] = d.jsonValue(Text, query.Value{Null: total.Null, Text: total.Currency})
				}
				for i, s := range total.Sums {
					if s != nil {
						if t.Columns[i].Name == bookCost {
							r[bookCurrency] = s.Currency()
						}
						r[t.Columns[i].Name] = d.jsonValue(t.Columns[i].Kind, query.Value{Text: s.String()})
					}
				}
				x.Totals = append(x.Totals, r)
			}
		}
		out.Tables = append(out.Tables, x)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func (d *Document) jsonValue(k Kind, v query.Value) any {
	switch {
	case v.Null:
		return nil
	// A count is a number whatever DecimalNumbers says, with all its digits.
	case k == Count:
		if n, ok := new(big.Int).SetString(v.Text, 10); ok {
			return json.Number(n.String())
		}
	case k == Flag:
		return v.Text == "true"
	case k.Numeric() && d.DecimalNumbers:
		if n, err := schemas.ParseMoney(v.Text); err == nil {
			return json.Number(n.String())
		}
	}
	return v.Text
}
