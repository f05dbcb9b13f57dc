package report_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// The statements of many cost centres are, byte for byte, what each is by itself: of months that are over, are being
// closed, or lack days, with pools, corrections, two currencies and what nobody is charged for.
func TestStatementsOfManyAreThoseOfEach(t *testing.T) {
	for _, seed := range []uint64{0, 1, 3, 4, 5, 7} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			k := draw(t, seed)
			for i, month := range []string{"2026-09-01", "2026-10-01", "2026-11-01", "2026-10-01"} {
				period := schemas.MonthPeriod(day(month).Month())
				centers := []string{"nobody's"} // who has nothing in it
				for _, l := range k.charged {
					if c := l.of("cost_center"); l.billed == period.From && !slices.Contains(centers, c) {
						centers = append(centers, c)
					}
				}
				o := report.Options{Name: "statement", Period: &period, Pictures: true, Closing: i > 0, Edition: 1 + i/2,
					Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Version: "t"}
				n := 0
				for doc, err := range report.Statements(t.Context(), k.lake, o, centers[1:]) {
					if err != nil {
						t.Fatal(err)
					}
					n++
					alone := o
					alone.Scope = query.Scope{CostCenters: centers[n : n+1]}
					want, err := report.Build(t.Context(), k.lake, alone)
					if err != nil {
						t.Fatal(err)
					}
					for _, format := range []string{"csv", "json", "html", "table"} {
						var a, b bytes.Buffer
						if err := doc.Render(&a, format); err != nil {
							t.Fatal(err)
						}
						if err := want.Render(&b, format); err != nil {
							t.Fatal(err)
						}
						if !bytes.Equal(a.Bytes(), b.Bytes()) {
							t.Errorf("%s of %s as %s:\n%s\nby itself:\n%s", centers[n], month, format, a.Bytes(), b.Bytes())
						}
					}
				}
				if n != len(centers)-1 {
					t.Errorf("%s: %d statements of %d", month, n, len(centers)-1)
				}
			}
		})
	}
}
