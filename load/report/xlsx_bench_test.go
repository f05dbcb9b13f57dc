package report

import (
	"fmt"
	"io"
	"testing"

	"github.com/usagelake/usagelake/load/query"
)

// BenchmarkManySheets writes a workbook in which each of many cost centres has a sheet: in time that grows with their
// number, and not with its square.
func BenchmarkManySheets(b *testing.B) {
	for _, n := range []int{100, 800} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t := &Table{Name: "lines", Title: "Lines", Group: "cost_center", Columns: []Column{
				{Name: "cost_center", Title: "Cost centre"}, {Name: "currency", Title: "Currency"},
				{Name: "net_cost", Title: "Net", Kind: Money, Sum: true}}}
			for i := range 4 * n {
				t.Rows = append(t.Rows, []query.Value{{Text: fmt.Sprintf("CC-%04d", i/4)}, {Text: "USD"}, {Text: "1.25"}})
			}
			doc := &Document{Title: "Statement", Tables: []*Table{t}}
			for b.Loop() {
				if err := doc.XLSX(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/sheet")
		})
	}
}
