package publish

import (
	"fmt"
	"os"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// benchLake is a lake of days × rows records of one account, and two versions of the bytes of its last day but one.
func benchLake(b *testing.B, days, rows int) (w *dayWriter, swap func()) {
	b.Helper()
	w = newDayWriter(b, load.Options{})
	var changes schemas.Partition
	for i := range days {
		p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-01-01") + schemas.Date(i)}
		w.RandomDay(p, rows, int64(i))
		if i == days-2 {
			changes = p
		}
	}
	path := w.lake.UsagePath(changes)
	var versions [2][]byte
	for i := range versions {
		w.RandomDay(changes, rows, int64(1000+i))
		var err error
		if versions[i], err = os.ReadFile(path); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	return w, func() {
		n++
		if err := os.WriteFile(path, versions[(n+1)%2], 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkPublish(b *testing.B, days, rows int, full bool) {
	w, swap := benchLake(b, days, rows)
	p := w.publish(PublishOptions{Full: true})
	b.ResetTimer()
	fulls := 0
	for range b.N {
		b.StopTimer()
		swap()
		b.StartTimer()
		p = w.publish(PublishOptions{Full: full})
		if p.Full {
			fulls++
		}
	}
	b.ReportMetric(float64(p.Bytes)/float64(p.Rows), "bytes/record")
	b.ReportMetric(float64(fulls)/float64(b.N), "fulls/op")
}

// What a publish costs after one day of many has changed, against building the file from nothing.
func BenchmarkPublish(b *testing.B) {
	rows := 10_000
	for _, days := range []int{30, 365} {
		b.Run(fmt.Sprintf("one-day-of-%d", days), func(b *testing.B) { benchmarkPublish(b, days, rows, false) })
		b.Run(fmt.Sprintf("full-%d", days), func(b *testing.B) { benchmarkPublish(b, days, rows, true) })
	}
}
