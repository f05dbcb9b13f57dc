package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// dayWriter writes a lake's files, and publishes them.
type dayWriter struct {
	*loadtest.Writer
	lake *Lake
}

func newDayWriter(t testing.TB, opts load.Options) *dayWriter {
	t.Helper()
	l, err := create(filepath.Join(t.TempDir(), "lake"), opts)
	if err != nil {
		t.Fatal(err)
	}
	return &dayWriter{loadtest.NewWriter(t, l.Lake), l}
}

func (w *dayWriter) publish(opts PublishOptions) Published {
	w.T.Helper()
	if opts.Now == nil {
		opts.Now = loadtest.TickingClock()
	}
	opts.Version = "test"
	done, err := w.lake.Publish(context.Background(), opts)
	if err != nil {
		w.T.Fatal(err)
	}
	w.noLeftovers()
	return done
}

// noLeftovers checks that nothing half-done is left, neither in the temp directory nor beside the file. What a reader
// uses is his.
func (w *dayWriter) noLeftovers() {
	w.T.Helper()
	entries, err := os.ReadDir(filepath.Join(w.lake.Dir(), durable.TempDir))
	if err != nil {
		w.T.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), durable.ScratchPrefix) && durable.UsedScratch(w.lake.Path(durable.TempDir, e.Name())) {
			continue
		}
		w.T.Errorf("left in %s: %s", durable.TempDir, e.Name())
	}
	if _, err := os.Stat(w.lake.Database() + ".wal"); err == nil {
		w.T.Error("a log stands beside the published file")
	}
}

func wantPublished(t testing.TB, got, want Published) {
	t.Helper()
	got.Elapsed, got.Bytes = 0, 0
	got.Overlaps = nil // usageSQL gives accounts the same rows
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("published %+v, want %+v", got, want)
	}
}

func TestPublishRewritesOnlyTheDaysThatChanged(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(6, 50)
	w.Quarantine(days[2], 0)
	w.Balance(days[0], "10.5", "NULL")
	wantPublished(t, w.publish(PublishOptions{}), Published{Changed: 12, Total: 12, Rows: 630, Full: true})

	w.RandomDay(days[1], 70, 99) // corrected
	w.DayFrom(days[7], loadtest.UsageSQL(days[7], 10, 3), "emptier, with quarantine",
		func(f *schemas.DayFooter) { f.Quarantined = 4 })
	w.Quarantine(days[7], 4)
	added := schemas.Partition{Account: "acme", Date: days[5].Date + 1}
	w.RandomDay(added, 20, 5)
	if err := os.RemoveAll(w.lake.Partition(load.UsageDir, days[10])); err != nil { // gone
		t.Fatal(err)
	}
	w.Balance(days[3], "-1.000000000001")
	wantPublished(t, w.publish(PublishOptions{Drop: days[10:11]}),
		Published{Changed: 4, Total: 12, Rows: 630 + 70 - 51 + 10 - 51 + 20 - 54})
	incremental := w.Dump()

	wantPublished(t, w.publish(PublishOptions{Full: true}), Published{Changed: 12, Total: 12, Rows: 574, Full: true})
	if full := w.Dump(); full != incremental {
		t.Errorf("brought up to date differs from built anew:\n%s", schemastest.FirstDifference(incremental, full))
	}
	for _, s := range []string{`-- quarantine\nCREATE TABLE .*\n\{'account': zeta-2`, `-1\.000000000001`} {
		if !regexp.MustCompile(s).MatchString(incremental) {
			t.Errorf("the dump lacks %s", s)
		}
	}
}

func TestPublishLeavesTheFileAloneIfNothingChanged(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(2, 30)
	w.Balance(days[0], "1")
	first := w.publish(PublishOptions{})
	before, err := os.Stat(w.lake.Database())
	if err != nil {
		t.Fatal(err)
	}
	run := schemas.Run{RunID: "r9", Command: "export", Status: schemas.StatusDone, StartedAt: time.Unix(1, 0),
		EndedAt: time.Unix(2, 0)}
	current := func(Published) schemas.Run { return run }
	got := w.publish(PublishOptions{Current: current})
	if got.Bytes != first.Bytes {
		t.Errorf("%d bytes, before %d", got.Bytes, first.Bytes)
	}
	wantPublished(t, got, Published{Total: 4, Rows: first.Rows, Unchanged: true})
	after, err := os.Stat(w.lake.Database())
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the file was replaced")
	}
	w.Balance(days[0], "1", "2")
	wantPublished(t, w.publish(PublishOptions{Current: current}), Published{Total: 4, Rows: first.Rows})
	if d := w.Dump(); !strings.Contains(d, "'run_id': r9") || !strings.Contains(d, "'balance': 2.000000000000") {
		t.Error("the next publish brought neither the run nor the balance")
	}
}

// A file that is built anew has no holes, and one that is brought up to date night after night doesn't gather them:
// beyond their share it is built anew, yet not night after night.
func TestPublishLeavesDeadSpaceBehind(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	day := func(i int) schemas.Partition {
		return schemas.Partition{Account: "acme", Date: schemastest.Date("2026-08-01") + schemas.Date(i)}
	}
	const first, rows = 66, 2000 // more than a row group, and more bytes than DuckDB keeps without being told
	for i := range first {
		w.RandomDay(day(i), rows, int64(i))
	}
	done := w.publish(PublishOptions{})
	// But for the two blocks of metadata that the checkpoint after meta's own size was noted wrote anew.
	if size, free := w.blocks(); free > 2*256<<10 {
		t.Errorf("built anew, %d of %d bytes are free", free, size)
	}
	var built int64
	w.number("SELECT built_bytes FROM meta", &built)
	if built < done.Bytes-1<<20 || built > done.Bytes {
		t.Errorf("built_bytes is %d of a file of %d", built, done.Bytes)
	}
	const nights = 6
	fulls := 0
	for i := range nights {
		w.RandomDay(day(first+i), rows, int64(first+i))
		w.RandomDay(day(first+i-1), rows+i, int64(1000+i)) // late records
		w.RandomDay(day(9*i), rows-i, int64(2000+i))       // a correction
		done = w.publish(PublishOptions{small: 1})
		if done.Full {
			fulls++
		}
		if size, free := w.blocks(); float64(free) > maxDead*float64(size) {
			t.Errorf("night %d: %d of %d bytes are free", i, free, size)
		}
	}
	if fulls == 0 || fulls > nights/2 {
		t.Errorf("built anew %d times in %d nights", fulls, nights)
	}
	size := done.Bytes
	anew := w.publish(PublishOptions{Full: true}).Bytes
	if float64(size-anew-looseSize) > maxDead*float64(size) {
		t.Errorf("the file has %d bytes, and %d if it is built anew", size, anew)
	}
}

// blocks is the size of the published file and how much of it are free blocks, by what is in use: DuckDB counts free
// blocks that it has cut off the file's end, too.
func (w *dayWriter) blocks() (size, free int64) {
	w.T.Helper()
	var used int64
	w.number("SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = '"+Catalog+"'", &used)
	info, err := os.Stat(w.lake.Database())
	if err != nil {
		w.T.Fatal(err)
	}
	const header = 3 * 4096
	return info.Size() - header, info.Size() - header - used
}

// number reads one value from the published file.
func (w *dayWriter) number(query string, into *int64) {
	w.T.Helper()
	d, err := openDatabase(w.T.Context(), engine{}, w.lake.Database(), true)
	if err != nil {
		w.T.Fatal(err)
	}
	defer d.Close()
	if err := d.conn.QueryRowContext(w.T.Context(), query).Scan(into); err != nil {
		w.T.Fatal(err)
	}
}
