package report_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// The statements of many cost centres are, byte for byte, what each is by itself: of months that are whole, lack days
// or run still, with pools, corrections, two currencies and what nobody is charged for.
func TestStatementsOfManyAreThoseOfEach(t *testing.T) {
	for _, seed := range []uint64{0, 1, 7} { // without a pool, with one, with accounts that are new
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			k := draw(t, seed)
			all := 0
			for i, month := range []string{"2026-09-01", "2026-10-01", "2026-11-01"} {
				period := monthPeriod(day(month).Month())
				var centers []string
				for _, l := range k.charged {
					if c := l.of("cost_center"); l.billed == period.From && !slices.Contains(centers, c) {
						centers = append(centers, c)
					}
				}
				o := report.Options{Name: "statement", Period: &period, Pictures: true, Closing: true, Edition: 1 + i/2,
					Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Version: "t"}
				n := sameAlone(t, k.lake, o, centers)
				if n != len(centers) {
					t.Errorf("%s: %d statements of %d", month, n, len(centers))
				}
				all += n
			}
			if all < 4 {
				t.Errorf("%d statements show nothing", all)
			}
		})
	}
}

// Meters are told by owner, too: of a pool, of centres called like it, of nobody.
func TestMetersOfStatementsOfManyAreThoseOfEach(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	finance := publishtest.Ruled("2026-12-01", "cc-2")
	finance.Rules = namesakes{finance.Rules.(loadtest.Rules)}
	w.Images(schemas.Partition{Account: "acme", Date: day("2026-10-05")}, [4]string{"a", "tk_1", "pooled", "8"},
		[4]string{"b", "tk_1", "own", "3"}, [4]string{"c", "tk_1", "alike", "5"}, [4]string{"d", "tk_1", "nobodys", "1"})
	w.Publish(publish.PublishOptions{Finance: finance})
	period := monthPeriod(day("2026-10-01").Month())
	n := sameAlone(t, w.Lake, report.Options{Name: "statement", Period: &period, Closing: true, Version: "t",
		Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}, []string{"pool x", "x", "cc-2", schemas.Unallocated})
	if n != 4 {
		t.Errorf("%d statements of 4", n)
	}
}

// sameAlone holds the statements of the cost centres against those that are built of each, and counts them.
func sameAlone(t *testing.T, lake *publish.Lake, o report.Options, centers []string) (n int) {
	t.Helper()
	for doc, err := range report.Statements(t.Context(), lake, o, centers) {
		if err != nil {
			t.Fatal(err)
		}
		alone := o
		alone.Scope = query.Scope{CostCenters: centers[n : n+1]}
		want, err := report.Build(t.Context(), lake, alone)
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"csv", "json", "html", "table"} {
			var a, b bytes.Buffer
			if err := errors.Join(doc.Render(&a, format), want.Render(&b, format)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Errorf("%s of %s as %s:\n%s\nby itself:\n%s", centers[n], o.Period.Name(), format, a.Bytes(), b.Bytes())
			}
		}
		n++
	}
	return n
}
