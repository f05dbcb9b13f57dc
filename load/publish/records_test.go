package publish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// records sets publish.records.
func (w *dayWriter) records(t testing.TB, setting string) {
	t.Helper()
	r, err := schemas.ParseRecords(setting)
	must(t, err)
	w.lake.records = r
}

// sameRows holds every table and view of one published file against those of another, and the columns of usage.
func sameRows(t testing.TB, what string, got, want *dayWriter) {
	t.Helper()
	columns := func(w *dayWriter) (out string) {
		conn, done := loadtest.Connect(t, w.lake.Database())
		defer done()
		must(t, conn.QueryRowContext(t.Context(), `SELECT string_agg(column_name || ' ' || data_type || ' ' || comment, '
			' ORDER BY column_index) FROM duckdb_columns() WHERE table_name = 'usage' AND database_name = 'usage'`).Scan(&out))
		return out
	}
	if a, b := columns(got), columns(want); a != b {
		t.Fatalf("%s: the columns of usage are\n%s\nand not\n%s", what, a, b)
	}
	a, b := strings.Split(got.Dump(), "\n"), strings.Split(want.Dump(), "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			t.Fatalf("%s: line %d is\n%s\nand not\n%s", what, i, a[min(i, len(a)-1)], b[min(i, len(b)-1)])
		}
	}
}

// outside counts the days that usage reads from files, and the files that stand there.
func (w *dayWriter) outside() (days int64, files int) {
	w.number("SELECT count(records_file) FROM partitions", &days)
	found, err := filepath.Glob(w.lake.Path(load.RecordsDir, "acct=*", "date=*", "*.parquet"))
	must(w.T, err)
	return days, len(found)
}

// Whatever publish.records says, every table and view has the same rows, of the same types: after a build, after days
// that changed, grew few, came, went, were left without a record, after other rules, a closed month, a correction, and
// after another setting.
func TestRecordsAreTheSameWhereverTheyStand(t *testing.T) {
	few(t, 2)
	rapid.Check(t, func(rt *rapid.T) {
		all, some := newDayWriter(t, load.Options{}), newDayWriter(t, load.Options{})
		for _, w := range []*dayWriter{all, some} {
			if views := rapid.Bool(); w == some && views.Draw(rt, "sums are views") {
				w.lake.viewsFrom = 1
			}
		}
		start := schemastest.Date("2026-09-24")
		day := func() schemas.Partition {
			return schemas.Partition{Account: rapid.SampledFrom([]string{"2026", "0042", "null"}).Draw(rt, "account"),
				Date: start + schemas.Date(rapid.IntRange(0, 14).Draw(rt, "day"))}
		}
		finance, closed, publishes := testFinance, false, 0
		both := func(do func(w *dayWriter)) {
			do(all)
			do(some)
		}
		setting := "all"
		publish := func(what string, full bool) {
			publishes++
			both(func(w *dayWriter) { w.publish(PublishOptions{Finance: finance, Full: full}) })
			sameRows(t, fmt.Sprintf("publish %d, records %s, after %s", publishes, setting, what), some, all)
			if days, _ := some.outside(); setting == "none" {
				var left int64
				if some.number("SELECT count(*) FROM usage_recent", &left); left > 0 {
					t.Fatalf("the file has %d records, %d days are outside", left, days)
				}
			}
		}
		for range 6 {
			p, n, seed := day(), rapid.IntRange(20, 60).Draw(rt, "rows"), rapid.Int64Range(1, 1000).Draw(rt, "seed")
			both(func(w *dayWriter) { w.RandomDay(p, n, seed) })
		}
		for range 7 {
			setting = rapid.SampledFrom([]string{"none", "none", "3d", "5d", "all"}).Draw(rt, "setting")
			some.records(t, setting)
			steps := []string{"replaced", "emptied", "removed", "rules", "close", "nothing", "rebuilt"}
			what := rapid.SampledFrom(steps).Draw(rt, "step")
			p, n, seed := day(), rapid.IntRange(1, 40).Draw(rt, "rows"), rapid.Int64Range(1, 1000).Draw(rt, "seed")
			switch what {
			case "replaced":
				both(func(w *dayWriter) { w.RandomDay(p, n, seed) })
			case "emptied":
				both(func(w *dayWriter) { w.RandomDay(p, 0, seed) })
			case "rules":
				if finance = testFinance; seed%2 == 0 && !closed {
					finance.Rules = nil
				}
			case "removed":
				both(func(w *dayWriter) {
					must(t, os.RemoveAll(w.lake.Partition(load.UsageDir, p)))
					w.publish(PublishOptions{Finance: finance, Drop: []schemas.Partition{p}})
				})
			case "close":
				if finance = testFinance; !closed {
					closed = true
					publish("nothing", false)
					both(func(w *dayWriter) {
						_, err := w.closeMonth("2026-09", finance)
						must(t, err)
					})
				}
			}
			publish(what, what == "rebuilt")
		}
	})
}

// recordsLake is a lake of six days of two accounts, published with none of its records inside.
func recordsLake(t testing.TB) (*dayWriter, []schemas.Partition) {
	t.Helper()
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(3, 50)
	w.records(t, "none")
	w.publish(PublishOptions{})
	return w, days
}

// A publish of one changed day reads the records of no other: theirs could not be read.
func TestAPublishReadsTheRecordsOfTheDaysThatChanged(t *testing.T) {
	w, days := recordsLake(t)
	for _, p := range days {
		if p.Date == days[0].Date { // the accounts are held against each other on the days that changed
			continue
		}
		path := w.lake.UsagePath(p)
		b, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, append([]byte("PAR1"+strings.Repeat("x", 200)), b[204:]...), 0o600))
	}
	w.RandomDay(days[0], 20, 9)
	wantPublished(t, w.publish(PublishOptions{}), Published{Changed: 1, Total: 6, Rows: 20 + 51 + 52 + 50 + 51 + 52})
	var n int64
	if w.number("SELECT sum(requests)::BIGINT FROM usage_daily", &n); n != 276 {
		t.Errorf("%d records are summed up", n)
	}
}

// Readers of a publish have its records after a day was replaced, as whoever has the file open has its sums; two
// publishes later they are told that these are gone.
func TestAReplacedDayIsReadAsItWasPublished(t *testing.T) {
	w, days := recordsLake(t)
	d, err := w.lake.OpenPublishedFile(t.Context())
	must(t, err)
	defer d.Close()
	count := func() (n int64, err error) {
		return n, d.conn.QueryRowContext(t.Context(), "SELECT count(*) FROM usage").Scan(&n)
	}
	for i, rows := range []int{5, 0} {
		w.RandomDay(days[0], rows, int64(100+i))
		for _, when := range []string{"replaced", "published"} {
			switch n, err := count(); {
			case i == 1 && when == "published":
				if err == nil || !strings.Contains(err.Error(), "No files found that match the pattern") {
					t.Errorf("records of two publishes ago: %d, %v", n, err)
				}
			case err != nil || n != 306:
				t.Errorf("day %s %d times: %d records, %v", when, i+1, n, err)
			}
			if when == "replaced" {
				w.publish(PublishOptions{})
			}
		}
	}
	if days, files := w.outside(); days != 5 || files != 6 { // the empty day's of before is kept once more
		t.Errorf("%d days are outside in %d files", days, files)
	}
}

// The file has as many bytes with ten times the records.
func TestTheFileDoesNotGrowWithItsRecords(t *testing.T) {
	sizes := map[string][2]int64{}
	for _, setting := range []string{"all", "none"} {
		var size [2]int64
		for i, rows := range []int{2_000, 20_000} {
			w := newDayWriter(t, load.Options{})
			w.records(t, setting)
			p := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
			w.DayFrom(p, "SELECT * REPLACE ('tk' AS token_id, 'u' AS user_id, 'm' AS model, 1 AS channel_id) FROM ("+
				loadtest.UsageSQL(p, rows, 1)+")", "d", nil)
			size[i] = w.publish(PublishOptions{}).Bytes
		}
		sizes[setting] = size
	}
	if grown := sizes["none"][1] - sizes["none"][0]; grown > 64<<10 {
		t.Errorf("records outside: the file grew by %d bytes", grown)
	}
	if grown := sizes["all"][1] - sizes["all"][0]; grown < 512<<10 {
		t.Errorf("records inside: the file grew by %d bytes only, so that the test shows nothing", grown)
	}
}

// A lake that was moved is read where it is by our own commands, and by others once they are told; the next publish
// tells them. Its path is no SQL and no pattern.
func TestAMovedLakeIsReadWhereItIs(t *testing.T) {
	w, _ := recordsLake(t)
	was := w.lake.Dir()
	now := filepath.Join(t.TempDir(), "it's [a]* lake")
	must(t, os.Rename(was, now))
	moved, err := Open(now, Options{Records: schemas.NoRecords})
	must(t, err)
	own, err := moved.OpenPublishedFile(t.Context())
	must(t, err)
	var n int64
	must(t, own.conn.QueryRowContext(t.Context(), "SELECT count(*) FROM usage").Scan(&n))
	must(t, own.Close())
	if n != 306 {
		t.Errorf("%d records", n)
	}
	other := func(first string) (n int64, err error) {
		conn, done := loadtest.Connect(t, moved.Database())
		defer done()
		_, err = conn.ExecContext(t.Context(), first)
		must(t, err)
		return n, conn.QueryRowContext(t.Context(), "SELECT count(*) FROM usage").Scan(&n)
	}
	if n, err := other("SELECT 1"); err == nil || !strings.Contains(err.Error(), was) {
		t.Errorf("a moved lake: %d, %v", n, err)
	}
	if n, err := other("SET VARIABLE usagelake_lake = " + schemas.SQLString(now)); err != nil || n != 306 {
		t.Errorf("a moved lake that is named: %d, %v", n, err)
	}
	done, err := moved.Publish(t.Context(), PublishOptions{Now: loadtest.TickingClock()})
	must(t, err)
	if done.Unchanged || done.Full || done.Changed > 0 {
		t.Errorf("published %+v", done)
	}
	if n, err := other("SELECT 1"); err != nil || n != 306 {
		t.Errorf("a moved lake that was published: %d, %v", n, err)
	}
}

// Verify finds a day file that was changed, or removed, behind the publish's back, and a rebuild mends it; without the
// day file, the records are the last copy and are kept.
func TestVerifyFindsRecordsThatChanged(t *testing.T) {
	w, days := soundLake(t)
	w.records(t, "none")
	w.publish(PublishOptions{})
	if r := w.verify(); len(r.Findings) > 0 {
		t.Fatalf("a sound lake: %+v", r.Findings)
	}
	d, err := w.lake.OpenPublishedFile(t.Context())
	must(t, err)
	files, err := d.recordsOutside(t.Context())
	must(t, errors.Join(err, d.Close()))
	var p schemas.Partition
	for _, day := range days {
		if _, ok := files[day]; ok {
			p = day
		}
	}
	path := w.lake.RecordsPath(p, files[p].digest)
	for name, change := range map[string]func(){
		"changed": func() {
			b, err := os.ReadFile(path)
			must(t, err)
			b[len(b)/2] ^= 1
			must(t, os.Remove(path)) // the day file is the same file
			must(t, os.WriteFile(path, b, 0o600))
		},
		"gone": func() { must(t, os.Remove(path)) },
	} {
		change()
		r := w.verify()
		if len(r.Findings) != 1 || r.Findings[0].Check != FoundRecords || r.Findings[0].Date != p.Date.String() {
			t.Errorf("%s: %+v", name, r.Findings)
		}
		w.publish(PublishOptions{Full: true})
		if r := w.verify(); len(r.Findings) > 0 {
			t.Errorf("%s and rebuilt: %+v", name, r.Findings)
		}
	}
	must(t, os.WriteFile(w.lake.Path(load.RecordsDir, "acct="+p.Account, "mine.txt"), nil, 0o600))
	if r := w.verify(); len(r.Findings) != 1 || r.Findings[0].Check != FoundStray {
		t.Errorf("a file of somebody's: %+v", r.Findings)
	}
}

// A day whose day file and raw files are gone is read from what was published, whatever is published besides, and the
// setting waits: a file that is built anew would lack it.
func TestRecordsThatAreTheLastCopyAreKept(t *testing.T) {
	for _, setting := range []string{"none", "90d"} {
		w := newDayWriter(t, load.Options{})
		days := w.RandomDays(3, 50)
		w.records(t, setting)
		w.publish(PublishOptions{})
		must(t, os.RemoveAll(w.lake.Partition(load.UsageDir, days[0])))
		for i, step := range []string{setting, "all", "none", "1d"} {
			w.records(t, step)
			w.RandomDay(days[1], 10+i, int64(50+i))
			w.publish(PublishOptions{})
			var n int64
			if w.number("SELECT count(*) FROM usage", &n); n != int64(50+10+i+52+50+51+52) {
				t.Errorf("%s, then %s: %d records", setting, step, n)
			}
		}
		if _, err := w.lake.Publish(t.Context(), PublishOptions{Full: true}); err == nil ||
			!strings.Contains(err.Error(), ErrLastCopy.Error()) {
			t.Errorf("built anew: %v", err)
		}
	}
}

// A day that is older than the last that are kept leaves the file when a newer day comes, and comes back when that is
// gone; the same lake published twice is left as it is.
func TestRecordsGrowOldByTheNewestDay(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDays(3, 50)
	w.records(t, "2d")
	held := func(want string) {
		t.Helper()
		w.publish(PublishOptions{})
		if !w.publish(PublishOptions{}).Unchanged {
			t.Error("published again, though nothing changed")
		}
		conn, done := loadtest.Connect(t, w.lake.Database())
		defer done()
		var got string
		must(t, conn.QueryRowContext(t.Context(),
			"SELECT concat_ws(' to ', min(usage_date), max(usage_date)) FROM usage_recent").Scan(&got))
		if got != want {
			t.Errorf("the file has %s, not %s", got, want)
		}
	}
	held("2026-10-16 to 2026-10-17")
	next := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-18")}
	w.RandomDay(next, 0, 1)
	held("2026-10-17 to 2026-10-17")
	w.RandomDay(next, 7, 2)
	held("2026-10-17 to 2026-10-18")
	must(t, os.RemoveAll(w.lake.Partition(load.UsageDir, next)))
	w.publish(PublishOptions{Drop: []schemas.Partition{next}})
	held("2026-10-16 to 2026-10-17")
}

// Day files of before the column ordinal, as pruned days have them, are read beside those of now.
func TestRecordsOfBeforeOrdinalAreReadOutside(t *testing.T) {
	all, none := newDayWriter(t, load.Options{}), newDayWriter(t, load.Options{})
	none.records(t, "none")
	for _, w := range []*dayWriter{all, none} {
		days := w.RandomDays(2, 30)
		for _, p := range days[:2] {
			w.DayFrom(p, "SELECT * EXCLUDE (ordinal) FROM ("+loadtest.UsageSQL(p, 20, 3)+")", "before",
				func(f *schemas.DayFooter) { f.Schema = schemas.SchemaOrdinal - 1 })
		}
		w.publish(PublishOptions{})
		w.RandomDay(days[0], 10, 4)
		w.publish(PublishOptions{})
	}
	sameRows(t, "files of two kinds", none, all)
	if days, _ := none.outside(); days != 4 {
		t.Errorf("%d days are outside", days)
	}
}
