package report

import (
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas/words"
)

// pageAttributes are the attributes that a page has; none can load, link or run anything.
var pageAttributes = []string{"lang", "charset", "http-equiv", "content", "name", "class", "role", "aria-label",
	"aria-hidden", "data-t", "scope", "colspan", "tabindex", "style", "xmlns", "viewBox", "id", "width", "height",
	"patternUnits", "patternTransform", "fill", "fill-opacity", "cx", "cy", "r", "x", "y", "x1", "y1", "x2", "y2",
	"stroke", "stroke-width", "stroke-dasharray", "d", "text-anchor", "font-size"}

// pageElements are the elements that a page has.
var pageElements = []string{"html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p",
	"section", "div", "details", "summary", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "footer",
	"ul", "li", "span", "b", "small", "svg", "desc", "defs", "pattern", "rect", "circle", "line", "path", "text"}

// elements reads a page strictly: what is opened is closed, and there is nothing but the elements and attributes that a
// page has. It returns the elements in their order, and the text.
func elements(t testing.TB, page string) (names []string, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.AutoClose, d.Entity = []string{"meta"}, xml.HTMLEntity
	d.Strict = false // of which the void elements are the reason
	var open []string
	var b strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page isn't well-formed: %v", err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			name := x.Name.Local
			names = append(names, name)
			if !slices.Contains(pageElements, name) {
				t.Errorf("the page has a <%s>", name)
			}
			for _, a := range x.Attr {
				if !slices.Contains(pageAttributes, a.Name.Local) {
					t.Errorf("<%s> has the attribute %s=%.60q", name, a.Name.Local, a.Value)
				}
				if a.Name.Local != "data-t" && (strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf")) {
					t.Errorf("<%s> has %s=%q", name, a.Name.Local, a.Value)
				}
			}
			open = append(open, name)
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != x.Name.Local {
				t.Fatalf("</%s> closes %q", x.Name.Local, open)
			}
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 && open[len(open)-1] != "style" {
				b.Write(x)
			}
		case xml.Comment:
			t.Errorf("the page has the comment %.60q", string(x))
		}
	}
	if len(open) > 0 {
		t.Fatalf("%q are never closed", open)
	}
	return names, b.String()
}

// elsewhere is a style that loads something; url(#hatch) is of the page itself.
var elsewhere = regexp.MustCompile(`(?i)@import|url\([^#]`)

func TestAPageNeedsNothingElseAndSaysSo(t *testing.T) {
	page := render(t, sample().HTML)
	elements(t, page)
	for _, want := range []string{"<!doctype html>", `<html lang="en">`, `<meta charset="utf-8">`,
		`content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"`,
		"<title>Chargeback, November 2026, running</title>", `scope="col"`, "<caption>By cost centre</caption>", "<desc>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if x := elsewhere.FindString(page); x != "" {
		t.Errorf("a style has %s", x)
	}
	if strings.Count(page, "http") != strings.Count(page, `xmlns="http://www.w3.org/2000/svg"`)+1 { // http-equiv
		t.Error("the page names another place")
	}
	for _, id := range []string{`id="hatch"`, `id="dots"`} {
		if strings.Count(page, id) != 1 {
			t.Errorf("%s stands %d times", id, strings.Count(page, id))
		}
	}
}

func TestAPageTellsFiguresTotalsAndWhatItLeavesOut(t *testing.T) {
	d := sample()
	for _, r := range d.Tables[0].Rows {
		r[5] = query.Value{Null: true}
	}
	_, text := elements(t, render(t, d.HTML))
	text = strings.Join(strings.Fields(text), " ")
	for _, want := range []string{"Net cost 1,234.56 USD 532.54 USD in the month before", "3 records could not be read",
		"Without a value in any row: A request.", "Nothing.", "A note on method.", "125.0 % · over"} {
		if !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, " 1,234", "1,234")) &&
			!strings.Contains(strings.ReplaceAll(text, " ", ""), strings.ReplaceAll(want, " ", "")) {
			t.Errorf("the page doesn't say %q", want)
		}
	}
	table := d.Tables[0].html(Web{})
	var parts []string
	for _, p := range table.Parts {
		parts = append(parts, fmt.Sprintf("%s %d rows %d totals", p.Title, len(p.Rows), len(p.Totals)))
	}
	const want = "(unallocated) 1 rows 1 totals; CC-1 2 rows 2 totals; CC-2 1 rows 1 totals; cc-2 1 rows 1 totals"
	if got := strings.Join(parts, "; "); got != want {
		t.Errorf("the parts are %s; want %s", got, want)
	}
	var line []string
	for _, c := range table.Parts[1].Totals[1] {
		line = append(line, c.Text)
	}
	if got := strings.Join(line, "|"); got != "Sum|USD|1,234,567|1,234.57||||||" {
		t.Errorf("the totals of CC-1 are %s", got)
	}
}

// The text of an attack changes no element of the page: it has those of the same document with plain words.
func TestNoTextBecomesMarkup(t *testing.T) {
	d := hostileDocument()
	got, text := elements(t, render(t, d.HTML))
	for _, r := range text {
		if r != '\n' && words.Steers(r) && !strings.ContainsRune("\u200c\u200d", r) {
			t.Errorf("%U stands in the page", r)
		}
	}
	for _, want := range []string{"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, `' onmouseover='x`,
		"{{.Title}}"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page doesn't show %s", want)
		}
	}
	plain := hostileDocument()
	words := map[string]string{}
	word := func(s string) string {
		if s == "" {
			return ""
		}
		if words[s] == "" {
			words[s] = fmt.Sprintf("word%d", len(words))
		}
		return words[s]
	}
	for _, r := range plain.Tables[0].Rows {
		for i := range 3 {
			r[i].Text = word(r[i].Text)
		}
	}
	for i := range plain.Figures {
		plain.Figures[i].Label, plain.Figures[i].Value, plain.Figures[i].Detail = "a", "b", "c"
		plain.Warnings[i], plain.Notes[i] = "d", "e"
	}
	plain.Title, plain.Subtitle, plain.Freshness = "f", "g", "h"
	for i := range plain.Pictures {
		plain.Pictures[i].Title, plain.Pictures[i].Caption = "i", "j"
	}
	want, _ := elements(t, render(t, plain.HTML))
	if !slices.Equal(got, want) {
		t.Errorf("the page has %d elements, that of plain words %d", len(got), len(want))
	}
}

func TestPicturesTakeAnyNumber(t *testing.T) {
	for _, x := range []float64{0, -1, 1e-12, 0.001, 1, 1e26, -1e26} {
		days := []string{"2026-11-01", "2026-11-02"}
		for _, c := range []chart{
			stacked{days, []series{{"a", []float64{x, 0}}, {"b", []float64{-x, x}}}, "USD"}, stacked{unit: "USD"},
			bars{[]barItem{{"a", x, ""}, {"b", -x, ""}}, "USD"}, bars{},
			budgetBars{items: []budgetItem{{"a", x, 1, x, x, x, true, ""}, {"b", 1, x, 1, 1, 1, true, ""}}}, budgetBars{},
			outlook{days, []float64{x}, x, x, x, true, "USD"}, outlook{},
			heat{values: [7][24]float64{{x}}}, calendar{days, []calendarRow{{"a", []byte("fp")}}}, calendar{},
		} {
			elements(t, string(c.draw("x")))
			if l, ok := c.(interface{ legend() template.HTML }); ok {
				elements(t, string(l.legend()))
			}
		}
	}
}

func TestAnAxisHasAFewRoundMarksThatReachTheLowestAndTheHighest(t *testing.T) {
	for _, x := range []struct {
		low, most float64
		want      []string
	}{{-62.9, 12, []string{"-80", "-60", "-40", "-20", "0", "20"}}, {-5, -1, []string{"-5", "-4", "-3", "-2", "-1", "0"}},
		{-0.3, 97, []string{"-20", "0", "20", "40", "60", "80", "100"}},
		{0, 97, []string{"0", "20", "40", "60", "80", "100"}},
		{0, 2341, []string{"0", "500", "1,000", "1,500", "2,000", "2,500"}},
		{0, 1, []string{"0", "0.2", "0.4", "0.6", "0.8", "1"}}, {0, 0, []string{"0", "1"}}, {0, -5, []string{"0", "1"}},
		{0, 0.004, []string{"0", "0.001", "0.002", "0.003", "0.004"}},
		{0, 45_000, []string{"0", "10k", "20k", "30k", "40k", "50k"}}} {
		var got []string
		for _, m := range ticks(x.low, x.most) {
			got = append(got, short(m))
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("the axis from %g to %g is marked %q, want %q", x.low, x.most, got, x.want)
		}
	}
}

// Every picture shows what is below zero, on its side of a line at zero and within its frame.
func TestPicturesDrawWhatIsBelowZero(t *testing.T) {
	days := []string{"2026-11-01", "2026-11-02"}
	for name, c := range map[string][2]chart{
		"stacked": {stacked{days, []series{{"a", []float64{3, -2}}, {"b", []float64{1, -1}}}, "USD"},
			stacked{days, []series{{"a", []float64{3, 0}}, {"b", []float64{1, 0}}}, "USD"}},
		"outlook": {outlook{days, []float64{-20}, -57.9, -62.9, -53, true, "USD"},
			outlook{days, []float64{0}, 0, 0, 0, true, "USD"}},
		"budgets": {budgetBars{items: []budgetItem{{"a", -5, 10, -6, -7, -5, true, ""}}},
			budgetBars{items: []budgetItem{{"a", 0, 10, 0, 0, 0, true, ""}}}},
		"hours": {heat{values: [7][24]float64{{-3}}}, heat{values: [7][24]float64{{0}}}},
		"bars":  {bars{[]barItem{{"a", -3, ""}}, "USD"}, bars{[]barItem{{"a", 0, ""}}, "USD"}},
	} {
		below, none := string(c[0].draw("x")), string(c[1].draw("x"))
		if below == none {
			t.Errorf("%s draws -3 as 0", name)
		}
		for _, m := range regexp.MustCompile(` (?:x|y|width|height|x1|x2|y1|y2)="(-?[0-9.]+)"`).FindAllStringSubmatch(below,
			-1) {
			if v, err := strconv.ParseFloat(m[1], 64); err != nil || v < 0 || v > 900 {
				t.Errorf("%s has %s", name, m[0])
			}
		}
	}
}

// FuzzDocument puts any text and number into every format: none fails, and a page has the elements of plain words.
func FuzzDocument(f *testing.F) {
	for i, s := range hostile {
		// a fuzzer is slow with long ones, and a test has them
		if other := hostile[(i+7)%len(hostile)]; len(s)+len(other) < 1000 {
			f.Add(s, other, "1234.5", int8(i))
		}
	}
	f.Add("a", "b", "-99999999999999999999999999.999999999999", int8(1))
	f.Add("a", "b", "1e400", int8(2))
	f.Fuzz(func(t *testing.T, a, b, number string, k int8) {
		document := func(a, b string, number query.Value) *Document {
			kind := Kind(uint8(k) % uint8(Flag+1))
			table := &Table{Name: "t", Title: a, Caption: b, Group: "g",
				Columns: []Column{{"g", "G", Text, false}, {"currency", "C", Text, false}, {"x", "X", kind, kind.Numeric()}},
				Rows:    [][]query.Value{{{Text: a}, {Text: b}, number}, {{Text: b}, {Null: true}, {Null: true}}}}
			x := float(number)
			return &Document{Title: a, Subtitle: b, Freshness: a, Warnings: []string{a}, Notes: []string{b},
				Figures: []Figure{{Label: a, Value: b, Detail: a, Alarm: true, Number: number, Kind: kind, Currency: b}},
				Tables:  []*Table{table},
				Pictures: []Picture{{a, b, stacked{[]string{a}, []series{{b, []float64{x}}}, a}, nil, nil},
					{a, b, bars{[]barItem{{a, x, b}}, b}, nil, nil},
					{a, b, budgetBars{items: []budgetItem{{a, x, x, x, x, x, true, b}}}, nil, nil},
					{a, b, outlook{[]string{a}, []float64{x}, x, x, x, true, b}, nil, nil},
					{a, b, heat{[7][24]float64{{x}}, a}, nil, nil},
					{a, b, calendar{[]string{a}, []calendarRow{{b, []byte("p")}}}, nil, nil}}}
		}
		d := document(a, b, query.Value{Text: number})
		for _, r := range render(t, d.Text) {
			if r != '\n' && words.Steers(r) && !strings.ContainsRune("\u200c\u200d", r) {
				t.Fatalf("%U stands in the text", r)
			}
		}
		render(t, d.CSV)
		render(t, d.JSON)
		workbook(t, d)
		_ = d.Parquet(io.Discard) // refuses what isn't as its column says
		page := render(t, d.HTML)
		elements(t, page)
		if strings.Count(page, "<script") > 0 || strings.Count(page, "<img") > 0 {
			t.Error("text became markup")
		}
	})
}

// The cells of a table are written as a template would have them, whatever their texts.
func TestCellsAreEscapedAsATemplateEscapes(t *testing.T) {
	page := template.Must(template.New("cell").Parse(`<td data-t="{{.Column}}"{{if .Num}} ` +
		`class="n{{if .Neg}} neg{{end}}"{{else if .Wrap}} class="w"{{else if not .Text}} class="none"` +
		`{{else if .Short}} class="s"{{end}}>{{.Text}}{{if .ID}} <small>{{.ID}}</small>{{end}}</td>`))
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[<>&"'+=/ \x00a-z\-]*`))
		c := htmlCell{Text: text.Draw(t, "text"), ID: text.Draw(t, "id"),
			Column: rapid.StringMatching(`[<>&"'+=/ a-zé\-]*`).Draw(t, "column"), Num: rapid.Bool().Draw(t, "num"),
			Neg: rapid.Bool().Draw(t, "neg"), Wrap: rapid.Bool().Draw(t, "wrap"), Short: rapid.Bool().Draw(t, "short")}
		var want strings.Builder
		if err := page.Execute(&want, c); err != nil {
			t.Fatal(err)
		}
		if got := string(htmlLine{c}.Cells()); got != want.String() {
			t.Fatalf("%q, want %q", got, want.String())
		}
	})
}
