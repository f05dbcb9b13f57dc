package jobs

import (
	"path/filepath"
	"testing"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
)

// benchDays are the days of a benchmark's lake, of some 5,000 records each.
const benchDays = 5

func benchWorld(b *testing.B) *world {
	return newWorld(b, kit.Settings{Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 5000}}})
}

// BenchmarkExport is a first export into a new lake, from the first request to the published file, the simulated
// Portal's own work included.
func BenchmarkExport(b *testing.B) {
	w := benchWorld(b)
	w.Cfg.Accounts[0].PageSize = 100
	var records int64
	for b.Loop() {
		w.Cfg.Lake = filepath.Join(b.TempDir(), "lake")
		records += w.export(span(1, 1+benchDays)).Records
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}

// BenchmarkDerive is sealed windows to day files: what a rebuild does before it publishes.
func BenchmarkDerive(b *testing.B) {
	w := benchWorld(b)
	w.Cfg.Accounts[0].PageSize = 100
	w.export(span(1, 1+benchDays))
	lake, err := publish.Open(w.Cfg.Lake, publish.Options{})
	if err != nil {
		b.Fatal(err)
	}
	partitions, err := lake.Partitions("acme")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var records int64
	for b.Loop() {
		for _, p := range partitions {
			footer, _, err := deriveDay(b.Context(), lake, p)
			if err != nil {
				b.Fatal(err)
			}
			records += footer.Rows
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}

// BenchmarkSettled is a run that finds nothing new: what an hourly schedule costs most of the time.
func BenchmarkSettled(b *testing.B) {
	w := benchWorld(b)
	w.Cfg.Accounts[0].PageSize = 100
	w.export(span(1, 20))
	for b.Loop() {
		if res := w.export(span(1, 20)); res.Published {
			b.Fatal("something was published")
		}
	}
}
