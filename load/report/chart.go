package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/usagelake/usagelake/schemas/words"
)

// The pictures are drawn here, as SVG within the page: what they need (bands, heat maps, calendars, patterns beside
// colours) is more than a charting library offers, and no script runs and nothing is loaded.
//
// Geometry is computed in float64; no figure of a picture is money that anybody is charged.

// chart draws itself.
type chart interface {
	draw(title string) template.HTML
}

// palette is Okabe and Ito's, which people with any kind of colour vision can tell apart; the last is for the rest.
var palette = []string{"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C"}

const (
	ink   = "#1b2733"
	faint = "#d7dde3"
	muted = "#5b6875"
)

// patterns are what pictures fill with beside colours; the page holds them once.
const patterns template.HTML = `<svg class="patterns" width="0" height="0" aria-hidden="true" ` +
	`xmlns="http://www.w3.org/2000/svg"><defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" ` +
	`patternTransform="rotate(45)"><rect width="2" height="6" fill="#ffffff" fill-opacity="0.45"/></pattern><pattern ` +
	`id="dots" width="6" height="6" patternUnits="userSpaceOnUse"><circle cx="2" cy="2" r="1.2" fill="#ffffff" ` +
	`fill-opacity="0.6"/></pattern></defs></svg>`

// svg builds a picture. Every text passes through label, which escapes it.
type svg struct{ strings.Builder }

func newSVG(w, h float64, title, description string) *svg {
	s := &svg{}
	fmt.Fprintf(s, `<svg viewBox="0 0 %g %g" role="img" `+
		`xmlns="http://www.w3.org/2000/svg"><title>%s</title><desc>%s</desc>`, w, h, html.EscapeString(words.Cell(title)),
		html.EscapeString(words.Cell(description)))
	return s
}

func (s *svg) rect(x, y, w, h float64, fill string) {
	// What has no extent is left out: a bar that is less than the gap above it, say.
	if w > 0 && h > 0 {
		fmt.Fprintf(s, `<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" fill="%s"/>`, x, y, w, h, fill)
	}
}

// bar is a rectangle in the colour and pattern of the i-th series.
func (s *svg) bar(x, y, w, h float64, i int) {
	s.rect(x, y, w, h, palette[i%len(palette)])
	switch i % 3 {
	case 1:
		s.rect(x, y, w, h, "url(#hatch)")
	case 2:
		s.rect(x, y, w, h, "url(#dots)")
	}
}

func (s *svg) line(x1, y1, x2, y2 float64, stroke string, width float64, dash string) {
	fmt.Fprintf(s, `<line x1="%.2f" y1="%.2f" x2="%.2f" y2="%.2f" stroke="%s" stroke-width="%g"`, x1, y1, x2, y2, stroke,
		width)
	if dash != "" {
		fmt.Fprintf(s, ` stroke-dasharray="%s"`, dash)
	}
	s.WriteString("/>")
}

func (s *svg) label(x, y float64, anchor string, size float64, fill, text string) {
	fmt.Fprintf(s, `<text x="%.2f" y="%.2f" text-anchor="%s" font-size="%g" fill="%s">%s</text>`, x, y, anchor, size, fill,
		html.EscapeString(words.Cell(text)))
}

// What end gives is trusted by the page: nothing but numbers, constants and escaped texts was written.
func (s *svg) end() template.HTML {
	s.WriteString("</svg>")
	return template.HTML(s.String())
}

// ticks are round numbers from low or below, which is 0 where nothing is below it, to high or above. One is 0.
func ticks(low, high float64) []float64 {
	low, high = math.Min(low, 0), math.Max(high, 0)
	span := high - low
	if span <= 0 || math.IsInf(span, 0) || math.IsNaN(span) {
		return []float64{0, 1}
	}
	// The power of ten at or below a quarter of the span, times the first factor that makes five steps or fewer: of 230 it
	// is 10 times 5, and the marks are 0, 50 … 250. They are multiples of the step, so that 0 is one of them.
	step := math.Pow(10, math.Floor(math.Log10(span/4)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if span/(m*step) <= 5 {
			step *= m
			break
		}
	}
	var out []float64
	// n times the step, and not the step added up: sums of 0.1 drift.
	for n := math.Floor(low / step); ; n++ {
		out = append(out, n*step)
		if n*step >= high {
			return out
		}
	}
}

// short is a number where there is little room: three or four digits, and a letter for thousands and more.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e9:
		return trimZeros(v/1e9) + "G"
	case a >= 1e6:
		return trimZeros(v/1e6) + "M"
	case a >= 1e4:
		return trimZeros(v/1e3) + "k"
	// Whole from 10 on; below that two decimals; below a hundredth one digit, such as 0.003.
	case a >= 10 || a == 0:
		return words.Grouped(strconv.FormatFloat(v, 'f', 0, 64))
	case a < 0.01:
		return strconv.FormatFloat(v, 'g', 1, 64)
	}
	return trimZeros(v)
}

// gutter is the room that names need beside bars.
func gutter(names []string) float64 {
	// Room for eight characters at least, and for what names are clipped to at most; 6.6 for each, and 20 beside them.
	most := 8
	for _, n := range names {
		most = max(most, utf8.RuneCountInString(words.Clip(words.Cell(n), maxName)))
	}
	return 20 + 6.6*float64(most)
}

// maxName is how long a name beside a bar can be.
const maxName = 32

func trimZeros(v float64) string {
	return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(v, 'f', 2, 64), "0"), ".")
}

// series are values by day, stacked.
type series struct {
	name   string
	values []float64
}

// stacked shows what was spent each day, by what.
type stacked struct {
	days   []string // 2026-11-01
	series []series // from the bottom up
	unit   string
}

func (c stacked) draw(title string) template.HTML {
	const w, h, left, right, top, bottom = 640, 320, 56, 2 + dayWidth/2, 12, 34 // the last day has its name below it
	s := newSVG(w, h, title, fmt.Sprintf("Bars for %d days, stacked by %d parts, in %s.", len(c.days), len(c.series),
		c.unit))
	// How high the highest stack is, and how deep the deepest hangs.
	low, high := 0.0, 0.0
	for d := range c.days {
		up, down := 0.0, 0.0
		for _, x := range c.series {
			up, down = up+math.Max(x.values[d], 0), down+math.Min(x.values[d], 0)
		}
		low, high = math.Min(low, down), math.Max(high, up)
	}
	marks := ticks(low, high)
	scale := (h - top - bottom) / (marks[len(marks)-1] - marks[0])
	// Down the picture is up in numbers: the lowest mark stands at the bottom.
	at := func(v float64) float64 { return h - bottom - (v-marks[0])*scale }
	for _, v := range marks {
		s.line(left, at(v), w-right, at(v), faint, 1, "")
		s.label(left-8, at(v)+4, "end", 11, muted, short(v))
	}
	slot := (w - left - right) / float64(max(len(c.days), 1))
	for d, day := range c.days {
		up, down := at(0), at(0) // what is below zero hangs from the line
		x := left + float64(d)*slot
		for i, part := range c.series {
			// Parts above zero are stacked upwards from the line, those below it downwards, in the order of the series: a credit
			// takes nothing off another part. 0.6 is the gap between two.
			v := math.Abs(part.values[d]) * scale
			if part.values[d] < 0 {
				s.bar(x+slot*0.12, down+0.6, slot*0.76, v-0.6, i)
				down += v
			} else {
				up -= v
				s.bar(x+slot*0.12, up, slot*0.76, v-0.6, i)
			}
		}
		// Some eight days have a name, however many there are.
		if every := max(1, len(c.days)/8); d%every == 0 && len(day) == 10 {
			s.label(x+slot/2, h-bottom+16, "middle", 11, muted, day[5:])
		}
	}
	if low < 0 {
		s.line(left, at(0), w-right, at(0), muted, 1, "")
	}
	s.label(left, h-2, "start", 11, muted, c.unit+" a day, UTC")
	return s.end()
}

// legend names the parts in the order of the stack, with their sums. It stands beside the picture or, on a narrow
// screen, below it.
func (c stacked) legend() template.HTML {
	var b strings.Builder
	b.WriteString(`<ul class="legend">`)
	for i := len(c.series) - 1; i >= 0; i-- {
		sum := 0.0
		for _, v := range c.series[i].values {
			sum += v
		}
		var s svg
		s.bar(0, 0, 12, 12, i)
		fmt.Fprintf(&b, `<li><svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true" `+
			`xmlns="http://www.w3.org/2000/svg">%s</svg><span>%s</span><b>%s</b></li>`, s.String(),
			html.EscapeString(words.Clip(words.Cell(c.series[i].name), 60)), html.EscapeString(short(sum)))
	}
	b.WriteString("</ul>")
	return template.HTML(b.String())
}

// bars compares values by name; negative ones go to the left.
type bars struct {
	items []barItem
	unit  string
}

type barItem struct {
	name  string
	value float64
	text  string
}

func (c bars) draw(title string) template.HTML {
	const w, row, right = 860, 26, 110
	var names []string
	for _, i := range c.items {
		names = append(names, i.name)
	}
	left := gutter(names)
	h := float64(len(c.items)*row + 12)
	s := newSVG(w, h, title, fmt.Sprintf("%d bars, in %s.", len(c.items), c.unit))
	low, high := 0.0, 0.0
	for _, i := range c.items {
		low, high = math.Min(low, i.value), math.Max(high, i.value)
	}
	if high-low == 0 {
		high = 1
	}
	scale := (w - left - right) / (high - low)
	// low is 0 or less: where all are positive the line stands at the left.
	zero := left - low*scale
	for n, i := range c.items {
		y := 6 + float64(n)*row
		s.label(left-10, y+15, "end", 12, ink, words.Clip(words.Cell(i.name), maxName))
		// A bar of less than a pixel is one wide, or it would seem to be nothing.
		x, width := zero, i.value*scale
		if i.value < 0 {
			x, width = zero+i.value*scale, -i.value*scale
			s.bar(x, y+3, math.Max(width, 1), row-9, 5)
		} else {
			s.bar(x, y+3, math.Max(width, 1), row-9, 0)
		}
		s.label(math.Max(x+width, zero)+8, y+15, "start", 12, ink, i.text)
	}
	s.line(zero, 0, zero, h, muted, 1, "")
	return s.end()
}

// budgetBars shows what was spent of budgets, and where it will end.
type budgetBars struct {
	items []budgetItem
	over  bool // the period is over for good: there is no forecast
}

type budgetItem struct {
	name                               string
	spent, amount, forecast, low, high float64
	ranged                             bool
	text                               string
}

func (c budgetBars) draw(title string) template.HTML {
	const w, row, right = 860, 40, 170
	var names []string
	for _, i := range c.items {
		names = append(names, i.name)
	}
	left := gutter(names)
	h := float64(len(c.items)*row + 26)
	about, legend := "For each budget a bar of what was spent, a mark for the forecast with its range, and a line at the "+
		"budget.",
		"bar: spent · tick: forecast · stroke: its range"
	if c.over {
		about, legend = "For each budget a bar of what was spent, and a line at the budget.", "bar: spent"
	}
	s := newSVG(w, h, title, about)
	least, most := 0.0, 1.0
	for _, i := range c.items {
		if i.amount > 0 {
			most = math.Max(most, max(i.spent, i.forecast, i.high)/i.amount)
			least = math.Min(least, min(i.spent, i.forecast, i.low)/i.amount)
		}
	}
	// In budgets: a bar is as long as its share of its own budget, and one is always in the picture. What is beyond three
	// of them ends at the edge, or all others would be too short to see.
	least, most = math.Max(least*1.04, -3), math.Min(most*1.04, 3)
	scale := (w - left - right) / (most - least)
	zero := left - least*scale
	for n, i := range c.items {
		y := 6 + float64(n)*row
		s.label(left-10, y+20, "end", 12, ink, words.Clip(words.Cell(i.name), maxName))
		s.label(w-right+12, y+20, "start", 12, ink, i.text)
		s.rect(left, y+6, scale*(most-least), row-18, "#eef1f4")
		if i.amount <= 0 {
			continue // there is no scale for a budget of nothing
		}
		// Where an amount stands: as a share of this budget, kept within the picture.
		at := func(v float64) float64 { return zero + math.Min(math.Max(v/i.amount, least), most)*scale }
		series := 0
		if i.spent > i.amount {
			series = 5
		}
		s.bar(math.Min(zero, at(i.spent)), y+6, math.Abs(at(i.spent)-zero), row-18, series)
		if i.ranged {
			s.line(at(i.low), y+17, at(i.high), y+17, ink, 3, "")
		}
		if !c.over {
			s.line(at(i.forecast), y+8, at(i.forecast), y+26, ink, 2, "")
		}
	}
	if least < 0 {
		s.line(zero, 0, zero, h-22, muted, 1, "")
	}
	x := zero + scale
	s.line(x, 0, x, h-22, "#a4262c", 1.5, "4 3")
	s.label(x, h-8, "middle", 11, "#a4262c", "budget")
	s.label(left, h-8, "start", 11, muted, legend)
	return s.end()
}

// outlook shows how a month's cost adds up, and what it will come to.
type outlook struct {
	days                []string // of the month, all of them
	actual              []float64
	forecast, low, high float64
	ranged              bool
	unit                string
}

func (c outlook) draw(title string) template.HTML {
	const w, h, left, right, top, bottom = 860, 280, 56, 110, 16, 34
	s := newSVG(w, h, title, "The month's cost so far, added up by day, and a line to the forecast with its range.")
	// Whatever is drawn has to lie between the marks.
	low, high := c.forecast, c.forecast
	if c.ranged {
		low, high = math.Min(low, c.low), math.Max(high, c.high)
	}
	for _, v := range c.actual {
		low, high = math.Min(low, v), math.Max(high, v)
	}
	marks := ticks(low, high)
	scale := (h - top - bottom) / (marks[len(marks)-1] - marks[0])
	// x(0) is the beginning of the first day, x(1) its end, where what was spent until then stands.
	x := func(day int) float64 { return left + (w-left-right)*float64(day)/float64(max(len(c.days), 1)) }
	y := func(v float64) float64 { return h - bottom - (v-marks[0])*scale }
	for _, v := range marks {
		color := faint
		if v == 0 && low < 0 {
			color = muted
		}
		s.line(left, y(v), w-right, y(v), color, 1, "")
		s.label(left-8, y(v)+4, "end", 11, muted, short(v))
	}
	// From the end of the last day that is there, the forecast goes straight to the end of the month.
	n, end := len(c.actual), len(c.days)
	last := 0.0
	var path strings.Builder
	fmt.Fprintf(&path, "M%.2f %.2f", x(0), y(0))
	for i, v := range c.actual {
		fmt.Fprintf(&path, "L%.2f %.2f", x(i+1), y(v))
		last = v
	}
	if n < end {
		if c.ranged {
			fmt.Fprintf(s, `<path d="M%.2f %.2fL%.2f %.2fL%.2f %.2fZ" fill="#56B4E9" fill-opacity="0.35"/>`, x(n), y(last),
				x(end), y(c.high), x(end), y(c.low))
			// The names keep clear of that of the forecast, however narrow the band.
			s.label(x(end)+8, math.Min(y(c.high)+1, y(c.forecast)-10), "start", 11, muted, "high "+short(c.high))
			s.label(x(end)+8, math.Max(y(c.low)+9, y(c.forecast)+19), "start", 11, muted, "low "+short(c.low))
		}
		s.line(x(n), y(last), x(end), y(c.forecast), "#0072B2", 2, "6 4")
		s.label(x(end)+8, y(c.forecast)+5, "start", 12, ink, "forecast "+short(c.forecast))
	}
	fmt.Fprintf(s, `<path d="%s" fill="none" stroke="#0072B2" stroke-width="2.5"/>`, path.String())
	for i, day := range c.days {
		if i%5 == 0 && len(day) == 10 {
			s.label(x(i)+2, h-bottom+16, "start", 11, muted, day[5:])
		}
	}
	s.label(left, h-2, "start", 11, muted, c.unit+", added up")
	return s.end()
}

// heat shows a value for each hour of each weekday.
type heat struct {
	values [7][24]float64 // from Monday; hours UTC
	unit   string
}

func (c heat) draw(title string) template.HTML {
	const w, left, top, cell = 860, 56, 24, 33
	s := newSVG(w, top+7*24+26, title, "A field for each hour of each weekday, the darker the more; "+c.unit+".")
	most := 0.0
	for _, day := range c.values {
		for _, v := range day {
			most = math.Max(most, math.Abs(v))
		}
	}
	for d, day := range c.values {
		s.label(left-8, top+float64(d)*24+16, "end", 12, ink, []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}[d])
		for hour, v := range day {
			x, y := left+float64(hour)*cell, top+float64(d)*24
			// The darkest is the hour with the most, of either sign. Where that is 0, all are light.
			share := 0.0
			if most > 0 {
				share = math.Abs(v) / most
			}
			// From near white to dark blue: lightness alone tells. What is below zero goes to red, and has a minus.
			mix := func(a, b float64) int { return int(a + (b-a)*share) }
			color := fmt.Sprintf("#%02x%02x%02x", mix(238, 8), mix(243, 48), mix(248, 107))
			if v < 0 {
				color = fmt.Sprintf("#%02x%02x%02x", mix(248, 127), mix(240, 28), mix(238, 20))
			}
			s.rect(x, y, cell-1.5, 22.5, color)
			if v != 0 {
				fill := ink
				if share > 0.45 {
					fill = "#ffffff"
				}
				text := short(v)
				if a := math.Abs(v); a >= 0.1 && a < 10 {
					text = strconv.FormatFloat(v, 'f', 1, 64)
				}
				s.label(x+(cell-1.5)/2, y+15, "middle", 10, fill, text)
			}
		}
	}
	for hour := range 24 {
		s.label(left+float64(hour)*cell+cell/2, top-8, "middle", 10, muted, strconv.Itoa(hour))
	}
	s.label(left, top+7*24+18, "start", 11, muted, c.unit)
	return s.end()
}

// calendar shows for each account which days are covered.
type calendar struct {
	days []string
	rows []calendarRow
}

// dayWidth is what 11-01 takes as the name of a day, about.
const dayWidth = 34

type calendarRow struct {
	name  string
	state []byte // by day: 'f' full, 'p' part, 'n' none
}

func (c calendar) draw(title string) template.HTML {
	const w, top = 860, 20
	var names []string
	for _, r := range c.rows {
		names = append(names, r.name)
	}
	left := gutter(names)
	h := float64(top + len(c.rows)*22 + 26)
	s := newSVG(w, h, title, "A field for each day of each account: full, in part, or not covered.")
	// Few days aren't spread over all of the width.
	cell := math.Min((w-left)/float64(max(len(c.days), 1)), 26)
	for r, row := range c.rows {
		y := top + float64(r)*22
		s.label(left-8, y+14, "end", 12, ink, words.Clip(words.Cell(row.name), maxName))
		for d, state := range row.state {
			x := left + float64(d)*cell
			switch state {
			case 'f':
				s.rect(x, y, cell-1.5, 20, "#0072B2")
			case 'p':
				s.rect(x, y, cell-1.5, 20, "#E69F00")
				s.rect(x, y, cell-1.5, 20, "url(#hatch)")
			default:
				s.rect(x, y, cell-1.5, 20, "#eef1f4")
				s.label(x+(cell-1.5)/2, y+14, "middle", 11, "#a4262c", "×")
			}
		}
	}
	for d, day := range c.days {
		x := left + float64(d)*cell
		if every := max(1, len(c.days)/10); d%every == 0 && len(day) == 10 && x+dayWidth <= w {
			s.label(x, top-7, "start", 10, muted, day[5:])
		}
	}
	s.label(left, h-8, "start", 11, muted, "blue: the whole day · hatched: a part of it · ×: not exported")
	return s.end()
}
