package report

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

var labelText = regexp.MustCompile(
	`<text x="([0-9.-]+)" y="[0-9.-]+" text-anchor="(\w+)" font-size="([0-9.]+)"[^>]*>([^<]*)</text>`)

// Whatever the days of a period, no name of one is cut off at the end of its picture.
func TestNamesOfDaysAreWithinThePicture(t *testing.T) {
	for _, n := range []int{1, 2, 7, 28, 29, 30, 31, 61, 92, 184, 366, maxDays} {
		var days []string
		first := schemas.DateOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		for d := range n {
			days = append(days, (first + schemas.Date(d)).String())
		}
		for what, c := range map[string]chart{
			"stacked":  stacked{days: days, unit: "USD", series: []series{{"a", make([]float64, n)}}},
			"calendar": calendar{days: days, rows: []calendarRow{{"acme", make([]byte, n)}}},
			"calendar of a long name": calendar{days: days,
				rows: []calendarRow{{"an-account-with-quite-a-long-name", make([]byte, n)}}},
		} {
			svg := string(c.draw("t"))
			box := regexp.MustCompile(`viewBox="0 0 ([0-9.]+) `).FindStringSubmatch(svg)
			width, err := strconv.ParseFloat(box[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for _, m := range labelText.FindAllStringSubmatch(svg, -1) {
				if len(m[4]) != len("01-31") || m[4][2] != '-' {
					continue
				}
				found++
				x, err1 := strconv.ParseFloat(m[1], 64)
				size, err2 := strconv.ParseFloat(m[3], 64)
				if err1 != nil || err2 != nil {
					t.Fatal(m)
				}
				long := float64(len(m[4])) * size * 0.62 // of a wide font
				end := x + map[string]float64{"start": long, "middle": long / 2}[m[2]]
				if end > width {
					t.Errorf("%s of %d days: %s ends at %.1f of %.0f", what, n, m[4], end, width)
				}
			}
			if found == 0 {
				t.Errorf("%s of %d days names none", what, n)
			}
		}
	}
}
