package report

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

// A workbook has a chart for each picture that has one, drawn from cells with the exact figures, in the colours of the
// page; what isn't a chart is a sheet in colours.
func TestAWorkbookHasTheChartsOfThePage(t *testing.T) {
	f, b := workbook(t, sample())
	for range 5 {
		if again := render(t, sample().XLSX); again != string(b) {
			t.Fatal("the same document is another file")
		}
	}
	type series struct {
		Name   string `xml:"tx>strRef>f"`
		Along  string `xml:"cat>strRef>f"`
		Values string `xml:"val>numRef>f"`
		Fill   struct {
			Val string `xml:"val,attr"`
		} `xml:"spPr>solidFill>srgbClr"`
		Line struct {
			Val string `xml:"val,attr"`
		} `xml:"spPr>ln>solidFill>srgbClr"`
	}
	for n, want := range []string{
		"Net cost a day: CC-1 0072B2 46327=1 46328=2; CC-2 E69F00 46327=3 46328=-1",
		"Budgets: Spent 0072B2 all=1.25 none=; Forecast E69F00 all=1.5 none=",
		"Outlook: So far 0072B2 46327=1 46328=2 46329=; Forecast 0072B2 46327= 46328=2 46329=3",
		"Movers: More 0072B2 CC-1=3 =CC-2=; Less D55E00 CC-1= =CC-2=-2",
	} {
		var chart struct {
			Title string   `xml:"chart>title>tx>rich>p>r>t"`
			Bars  []series `xml:"chart>plotArea>barChart>ser"`
			Lines []series `xml:"chart>plotArea>lineChart>ser"`
		}
		if err := xml.Unmarshal([]byte(part(t, b, fmt.Sprintf("xl/charts/chart%d.xml", n+1))), &chart); err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, s := range slices.Concat(chart.Bars, chart.Lines) {
			text := cellsOf(t, f, s.Name)[0] + " " + s.Fill.Val + s.Line.Val
			values := cellsOf(t, f, s.Values)
			for i, along := range cellsOf(t, f, s.Along) {
				text += " " + along + "=" + values[i]
			}
			told = append(told, text)
		}
		if got := chart.Title + ": " + strings.Join(told, "; "); got != want {
			t.Errorf("chart %d is %s\nwant %s", n+1, got, want)
		}
	}
	if c := (cellOf{f, t, "Charts"}); c.raw("A1") != "Before corrections." || c.raw("A23") != "As shares of each budget." {
		t.Errorf("the captions are %q and %q", c.raw("A1"), c.raw("A23"))
	}
	if c := (cellOf{f, t, "Hours"}); c.raw("B2") != "1" || c.raw("C2") != "2.5" || c.raw("A3") != "Tuesday" {
		t.Errorf("the hours are %q, %q of %q", c.raw("B2"), c.raw("C2"), c.raw("A3"))
	}
	sheet := ""
	for n, name := range f.GetSheetList() {
		if name == "Hours" {
			sheet = part(t, b, fmt.Sprintf("xl/worksheets/sheet%d.xml", n+1))
		}
	}
	if !strings.Contains(sheet, `<conditionalFormatting sqref="B2:C8">`) {
		t.Error("the hours have no colours")
	}
	// Each part is listed with its type, and what is referred to is there.
	types := part(t, b, partTypes)
	for n := range 4 {
		if !strings.Contains(types, fmt.Sprintf(`PartName="/xl/charts/chart%d.xml"`, n+1)) {
			t.Errorf("chart %d has no type", n+1)
		}
	}
	if !strings.Contains(types, `PartName="/xl/drawings/drawing1.xml"`) {
		t.Error("the drawing has no type")
	}
}

func TestADocumentWithoutPicturesHasNoSheetOfCharts(t *testing.T) {
	d := sample()
	d.Pictures = nil
	f, b := workbook(t, d)
	if slices.Contains(f.GetSheetList(), "Charts") || strings.Contains(part(t, b, partTypes), "chart") {
		t.Errorf("sheets are %v", f.GetSheetList())
	}
}

var cellRange = regexp.MustCompile(`^'([^']+)'!\$([A-Z]+)\$(\d+)(?::\$[A-Z]+\$(\d+))?$`)

// cellsOf are the cells of a part of a column, as a chart refers to them.
func cellsOf(t *testing.T, f *excelize.File, of string) (out []string) {
	t.Helper()
	m := cellRange.FindStringSubmatch(of)
	if m == nil {
		t.Fatalf("a chart is of %q", of)
	}
	var first, last int
	_, err := fmt.Sscan(m[3], &first)
	if last = first; err == nil && m[4] != "" {
		_, err = fmt.Sscan(m[4], &last)
	}
	if err != nil {
		t.Fatal(err)
	}
	for row := first; row <= last; row++ {
		out = append(out, cellOf{f, t, m[1]}.raw(fmt.Sprint(m[2], row)))
	}
	return out
}
