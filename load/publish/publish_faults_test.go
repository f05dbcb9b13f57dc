package publish

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/durable/durabletest"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// Whichever step of a publish fails, and in whichever way, the old file or the new one is there, whole; and the next
// publish brings the new one.
func TestPublishSurvivesTheFailureOfEachStep(t *testing.T) { survivesEachStep(t, "all") }

// The same where the records are kept as files, whose names appear before the file that reads them and go after it.
func TestPublishSurvivesTheFailureOfEachStepWithRecordsOutside(t *testing.T) {
	survivesEachStep(t, "none")
}

func survivesEachStep(t *testing.T, records string) {
	fsys := &durabletest.FS{At: -1}
	w := newDayWriter(t, load.Options{FS: fsys})
	w.records(t, records)
	days := w.RandomDays(2, 20)
	w.publish(PublishOptions{})
	older, err := os.ReadFile(w.lake.Database())
	if err != nil {
		t.Fatal(err)
	}
	mark := []byte(mustRead(t, w.lake.Path(load.MarksFile)))
	before := w.Dump()
	w.RandomDay(days[1], 25, 77)
	w.Balance(days[0], "3")
	reset := func() {
		fsys.At, fsys.Down, fsys.Steps = -1, false, nil
		entries, _ := os.ReadDir(w.lake.Path(durable.TempDir))
		for _, e := range entries { // as whoever takes the lock does
			if err := os.RemoveAll(w.lake.Path(durable.TempDir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(w.lake.Database(), older, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.lake.Path(load.MarksFile), mark, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A file that is byte for byte the old one needs no look into it, unless it reads records elsewhere.
	dump := func() string {
		if records == "all" && mustRead(t, w.lake.Database()) == string(older) {
			return before
		}
		return w.Dump()
	}
	for _, full := range []bool{false, true} {
		if full && records != "all" {
			continue
		}
		reset()
		w.publish(PublishOptions{Full: full})
		steps := fsys.Steps
		after := w.Dump()
		if len(steps) < 5 || after == before {
			t.Fatalf("steps %q", steps)
		}
		for at := range steps {
			if steps[at] == "write" && steps[at-1] == "write" && steps[at+1] == "write" {
				continue // of many in a row, the first and the last
			}
			if names := strings.Fields("link mkdir rename remove syncdir"); records != "all" &&
				!slices.Contains(names, strings.Fields(steps[at])[0]) {
				continue // what is written is written as it is where all records stand in the file
			}
			for _, how := range []durabletest.Fault{durabletest.NotDone, durabletest.Lost, durabletest.Torn} {
				for _, down := range []bool{false, true} {
					if down && (how != durabletest.NotDone || testing.Short() || records != "all") {
						continue
					}
					if how == durabletest.Torn && steps[at] != "write" {
						continue
					}
					name := fmt.Sprintf("full %t, %d %s %s, down %t", full, at, steps[at], how, down)
					reset()
					fsys.At, fsys.How, fsys.Down = at, how, down
					_, err := w.lake.Publish(context.Background(), PublishOptions{Full: full, Version: "test"})
					fsys.At, fsys.Down = -1, false
					got := dump()
					if found, err := w.lake.Intrusion(); err != nil || !found.None() {
						t.Errorf("%s: what stands there counts as another's: %+v %v", name, found, err)
					}
					switch {
					case got != before && got != after:
						t.Errorf("%s: neither the old nor the new file: %s", name, schemastest.FirstDifference(got, after))
					case err == nil && got != after:
						t.Errorf("%s: no error, and the old file", name)
					case err != nil && !strings.Contains(err.Error(), "publish "):
						t.Errorf("%s: %v", name, err)
					}
					if _, err := w.lake.Publish(context.Background(), PublishOptions{Version: "test"}); err != nil {
						t.Errorf("%s: the next publish: %v", name, err)
					} else if got := w.Dump(); got != after {
						t.Errorf("%s: after the next publish: %s", name, schemastest.FirstDifference(got, after))
					}
				}
			}
		}
	}
}

func TestPublishLeavesTheOldFileWhenItIsCancelled(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(2, 20)
	w.publish(PublishOptions{})
	before := w.Dump()
	w.RandomDay(days[1], 25, 77)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.lake.Publish(ctx, PublishOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if w.Dump() != before {
		t.Error("the file was replaced")
	}
	w.noLeftovers()
}

func TestPublishRefusesSumsThatContradictTheDayFile(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(2, 20)
	w.publish(PublishOptions{})
	before := w.Dump()
	for what, change := range map[string]func(*schemas.DayFooter){
		"rows":        func(f *schemas.DayFooter) { f.Rows++ },
		"amount":      func(f *schemas.DayFooter) { f.Amount = "0.000000000001" },
		"quarantined": func(f *schemas.DayFooter) { f.Quarantined = 2 },
	} {
		w.Quarantine(days[1], 1)
		w.DayFrom(days[1], loadtest.UsageSQL(days[1], 10, 1), what, change)
		for _, full := range []bool{false, true} {
			_, err := w.lake.Publish(context.Background(), PublishOptions{Full: full})
			if !errors.Is(err, errInexact) || !strings.Contains(err.Error(), days[1].String()) {
				t.Errorf("%s, full %t: %v", what, full, err)
			}
		}
		if w.Dump() != before {
			t.Errorf("%s: the file was replaced", what)
		}
		w.noLeftovers()
	}
}

func TestPublishBuildsAnewWhatCannotBeBroughtUpToDate(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, w *dayWriter){
		"missing": func(t *testing.T, w *dayWriter) { _ = os.Remove(w.lake.Database()) },
		"no database": func(t *testing.T, w *dayWriter) {
			_ = os.WriteFile(w.lake.Database(), bytes.Repeat([]byte("no database "), 5000), 0o600)
		},
		"empty":    func(t *testing.T, w *dayWriter) { _ = os.Truncate(w.lake.Database(), 0) },
		"cut off":  func(t *testing.T, w *dayWriter) { _ = os.Truncate(w.lake.Database(), 600_000) },
		"foreign":  func(t *testing.T, w *dayWriter) { w.tamper("DROP TABLE meta") },
		"older":    func(t *testing.T, w *dayWriter) { w.tamper("UPDATE meta SET schema_version = 0") },
		"edited":   func(t *testing.T, w *dayWriter) { w.tamper("UPDATE usage SET amount = 1 WHERE amount IS NOT NULL") },
		"stripped": func(t *testing.T, w *dayWriter) { w.tamper("DROP TABLE unit_prices") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newDayWriter(t, load.Options{})
			days := w.RandomDays(3, 20)
			w.publish(PublishOptions{})
			w.RandomDay(days[1], 25, 77)
			spoil(t, w)
			if got := w.publish(PublishOptions{}); !got.Full {
				t.Errorf("%+v", got)
			}
			got := w.Dump()
			w.publish(PublishOptions{Full: true})
			if want := w.Dump(); got != want {
				t.Error(schemastest.FirstDifference(got, want))
			}
		})
	}
}

func TestPublishRefusesAFileOfANewerVersion(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(2, 20)
	w.publish(PublishOptions{})
	w.tamper("UPDATE meta SET schema_version = 99")
	before, err := os.ReadFile(w.lake.Database())
	if err != nil {
		t.Fatal(err)
	}
	w.RandomDay(days[1], 25, 77)
	for _, full := range []bool{false, true} {
		if _, err := w.lake.Publish(context.Background(), PublishOptions{Full: full}); !errors.Is(err, ErrNewerDatabase) {
			t.Errorf("full %t: %v", full, err)
		}
	}
	after, err := os.ReadFile(w.lake.Database())
	if err != nil || !bytes.Equal(before, after) {
		t.Error("the file was touched", err)
	}
}

func TestALogLeftByAnotherProgramIsNotTakenForTheNewFiles(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(2, 20)
	w.publish(PublishOptions{})
	if err := os.WriteFile(w.lake.Database()+".wal", []byte("of the old file"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.RandomDay(days[1], 25, 77)
	w.publish(PublishOptions{}) // checks that no log is left
}

// held has another process hold a database open for writing, as clients do if nothing else is said, until release is
// called. A statement is written into its log.
func held(t *testing.T, path, statement string) (release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperHoldDatabase$")
	cmd.Env = append(os.Environ(), "USAGELAKE_TEST_HOLD="+path, "USAGELAKE_TEST_WRITE="+statement)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	release = func() { _ = in.Close(); _ = cmd.Wait() }
	t.Cleanup(release)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatal(line, err)
	}
	return release
}

// TestHelperHoldDatabase is no test: it is the other process of held.
func TestHelperHoldDatabase(t *testing.T) {
	path := os.Getenv("USAGELAKE_TEST_HOLD")
	if path == "" {
		t.Skip("only as a process of its own")
	}
	write, leave := stranger(t, path)
	defer leave()
	if statement := os.Getenv("USAGELAKE_TEST_WRITE"); statement != "" {
		write(statement)
	}
	fmt.Println("held")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes it
}

// A client that opens the file the way clients do, for writing, locks it. That must not stop a publish, nor a query.
func TestPublishWhileAnotherProcessHasTheFileOpenForWriting(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(3, 20)
	w.publish(PublishOptions{})
	held(t, w.lake.Database(), "")
	if got, err := figuresOf(t, w.lake); err != nil || !strings.HasPrefix(got, "126 ") {
		t.Errorf("a query: %s, %v", got, err)
	}
	if got := w.publish(PublishOptions{}); !got.Unchanged {
		t.Errorf("%+v", got)
	}
	w.RandomDay(days[1], 25, 77)
	wantPublished(t, w.publish(PublishOptions{}), Published{Changed: 1, Total: 6, Rows: 126 - 21 + 25})
	if got := w.One("SELECT count(*) AS n FROM usage"); got != "{'n': 130}" { // the new file is nobody's
		t.Error(got)
	}
}

func TestPublishAndQueryOfAnEmptyLake(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	wantPublished(t, w.publish(PublishOptions{}), Published{Full: true})
	if got := w.One("SELECT count(*) AS n, sum(amount) AS a FROM usage_line_items"); got != "{'n': 0, 'a': NULL}" {
		t.Error(got)
	}
	wantPublished(t, w.publish(PublishOptions{}), Published{Unchanged: true})
}

func TestPublishInADirectoryWithAnyName(t *testing.T) {
	for _, name := range []string{"it's", "[a-z]*", "50% off & more", "ü \"x\"", "a#b;c"} {
		t.Run(name, func(t *testing.T) {
			w := newDayWriter(t, load.Options{})
			days := w.RandomDays(2, 20)
			dir := filepath.Join(t.TempDir(), name)
			if err := os.Rename(w.lake.Dir(), dir); err != nil {
				t.Fatal(err)
			}
			l, err := open(dir, load.Options{})
			must(t, err)
			w = &dayWriter{loadtest.NewWriter(t, l.Lake), l}
			w.publish(PublishOptions{})
			w.RandomDay(days[0], 30, 3)
			w.publish(PublishOptions{})
			if got := w.One("SELECT count(*) AS n FROM usage"); got != "{'n': 92}" {
				t.Error(got)
			}
		})
	}
}
