package load

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/durable/durabletest"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func TestCompactionMovesOldRunsAndLosesNone(t *testing.T) {
	l := newTestLake(t, Options{})
	total := 0
	for _, n := range []int{100, 30, 7, 60, 1} {
		schemastest.AppendRuns(t, l, total, total+n, schemastest.PastRun)
		total += n
		before := schemastest.Runs(t, l)
		if _, err := l.compactBeyond(t.Context(), schemastest.KeepFirst, 50, 20); err != nil {
			t.Fatal(err)
		}
		if after := schemastest.Runs(t, l); after != before || strings.Count(after, "\n") != total-1 {
			t.Fatalf("after %d runs:\n%s\nbefore:\n%s", total, after, before)
		}
		runs, err := l.Runs()
		must(t, err)
		if runs[0].RunID != "run-00000" || len(runs) > 52 {
			t.Errorf("%d runs are live, the first is %s", len(runs), runs[0].RunID)
		}
		last, bad, err := l.LastRuns(10)
		must(t, err)
		if want := schemastest.PastRun(total - 1).RunID; len(last) != 10 || bad > 0 || last[9].RunID != want {
			t.Errorf("the last runs are %s, want %s last", statuses(last), want)
		}
	}
	if months, err := l.JournalMonths(); err != nil || !slices.Equal(months, []string{"2026-10", "2026-11"}) {
		t.Errorf("months %v, %v", months, err)
	}
	if done, err := l.compactBeyond(t.Context(), schemastest.KeepFirst, 50, 20); err != nil || done != 0 {
		t.Errorf("again: %d moved, %v", done, err)
	}
}

// A run that stands in a month and in the live journal counts once, as the live journal has it.
func TestARunInBothPartsCountsOnce(t *testing.T) {
	l := newTestLake(t, Options{})
	schemastest.AppendRuns(t, l, 0, 100, schemastest.PastRun)
	live, err := os.ReadFile(l.journalPath())
	must(t, err)
	want := schemastest.Runs(t, l)
	_, err = l.compactBeyond(t.Context(), schemastest.KeepFirst, 50, 20)
	must(t, err)
	must(t, os.WriteFile(l.journalPath(), live, durable.FileMode)) // as a crash before the second step leaves it
	if got := schemastest.Runs(t, l); schemastest.Sorted(got) != schemastest.Sorted(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	_, err = l.compactBeyond(t.Context(), schemastest.KeepFirst, 50, 20)
	must(t, err)
	if got := schemastest.Runs(t, l); got != want {
		t.Errorf("compacted again: got\n%s\nwant\n%s", got, want)
	}
}

// Each step of a compaction fails in each way: every run is there once before, after, and when it is done again.
func TestEveryStepOfACompactionMayFail(t *testing.T) {
	seed := newTestLake(t, Options{})
	schemastest.AppendRuns(t, seed, 0, 40, schemastest.PastRun)
	_, err := seed.compactBeyond(t.Context(), schemastest.KeepFirst, 20, 10)
	must(t, err)
	schemastest.AppendRuns(t, seed, 40, 80, schemastest.PastRun)
	want := schemastest.Runs(t, seed)
	run := func(ffs *durabletest.FS) (*Lake, error) {
		l := newTestLake(t, Options{})
		must(t, os.CopyFS(filepath.Join(l.Dir(), journalDir), os.DirFS(seed.Path(journalDir))))
		broken, err := Open(l.Dir(), Options{FS: ffs})
		must(t, err)
		_, err = broken.compactBeyond(t.Context(), schemastest.KeepFirst, 20, 10)
		return l, err
	}
	probe := &durabletest.FS{At: -1}
	_, err = run(probe)
	must(t, err)
	t.Logf("%d steps: %s", len(probe.Steps), strings.Join(probe.Steps, ", "))
	for n, step := range probe.Steps {
		for _, how := range []durabletest.Fault{durabletest.NotDone, durabletest.Lost, durabletest.Torn} {
			if how == durabletest.Torn && step != "write" {
				continue
			}
			for _, down := range []bool{false, true} {
				name := fmt.Sprintf("step %d (%s) %s, down %v", n, step, how, down)
				l, err := run(&durabletest.FS{At: n, How: how, Down: down})
				if err != nil && !errors.Is(err, syscall.EIO) {
					t.Errorf("%s: the error hides its cause: %v", name, err)
				}
				if got := schemastest.Runs(t, l); schemastest.Sorted(got) != schemastest.Sorted(want) {
					t.Errorf("%s: the journal has %d runs, not %d", name, strings.Count(got, "\n")+1, strings.Count(want, "\n")+1)
				}
				schemastest.AppendRuns(t, l, 80, 81, schemastest.PastRun)
				if _, err := l.compactBeyond(t.Context(), schemastest.KeepFirst, 20, 10); err != nil {
					t.Errorf("%s: done again: %v", name, err)
				}
				if got := schemastest.Runs(t, l); !strings.HasPrefix(got, want) {
					t.Errorf("%s: done again, the journal has\n%s", name, got)
				}
			}
		}
	}
}

// Any bit that flips in a line is found; and the line costs its run alone, whatever command reads it.
func TestEveryFlippedBitOfTheJournalIsFound(t *testing.T) {
	l := newTestLake(t, Options{})
	schemastest.AppendRuns(t, l, 0, 3, schemastest.PastRun)
	good, err := os.ReadFile(l.journalPath())
	must(t, err)
	for i := range good {
		for bit := range 8 {
			b := slices.Clone(good)
			b[i] ^= 1 << bit
			if good[i] == '\n' && i == len(good)-1 {
				continue // a last line without its end is one that is being written
			}
			j := &liveJournal{from: bytes.NewReader(b)}
			must(t, j.index(bytes.NewReader(b)))
			if len(j.bad) == 0 {
				t.Fatalf("byte %d (%q), bit %d: nothing is found", i, good[i], bit)
			}
			if len(j.runs) < 2 {
				t.Fatalf("byte %d (%q), bit %d: %d runs are left", i, good[i], bit, len(j.runs))
			}
		}
	}
}

func TestVerifyFindsAndRepairMendsTheJournal(t *testing.T) {
	prepare := func(t *testing.T) (*Lake, string) {
		l := newTestLake(t, Options{})
		schemastest.AppendRuns(t, l, 0, 100, schemastest.PastRun)
		_, err := l.compactBeyond(t.Context(), schemastest.KeepFirst, 50, 20)
		must(t, err)
		return l, schemastest.Runs(t, l)
	}
	flip := func(t *testing.T, path string, at func(b []byte) int) {
		b, err := os.ReadFile(path)
		must(t, err)
		b[at(b)] ^= 4
		must(t, os.WriteFile(path, b, durable.FileMode))
	}
	middle := func(b []byte) int { return len(b) / 2 }
	for _, x := range []struct {
		name   string
		damage func(t *testing.T, l *Lake)
		paths  []string // of the findings
		lines  int      // set aside
		months []string
		least  int // runs that are left
	}{
		{"nothing", func(*testing.T, *Lake) {}, nil, 0, nil, 100},
		{"a line in the middle", func(t *testing.T, l *Lake) { flip(t, l.journalPath(), middle) },
			[]string{"journal/runs.jsonl"}, 1, nil, 99},
		{"what is kept of an archived run",
			func(t *testing.T, l *Lake) { flip(t, l.journalPath(), func([]byte) int { return 20 }) },
			[]string{"journal/runs.jsonl"}, 1, nil, 100},
		{"a line of no JSON", func(t *testing.T, l *Lake) {
			b, err := os.ReadFile(l.journalPath())
			must(t, err)
			must(t, os.WriteFile(l.journalPath(), append([]byte("no json\n\x00\x00\n"), b...), durable.FileMode))
		}, []string{"journal/runs.jsonl"}, 2, nil, 100},
		{"the rows of a month", func(t *testing.T, l *Lake) { flip(t, l.monthPath("2026-11"), middle) },
			[]string{"journal/runs/2026-11.parquet"}, 0, []string{"2026-11"}, 50},
		{"the footer of a month", func(t *testing.T, l *Lake) {
			flip(t, l.monthPath("2026-10"), func(b []byte) int { return len(b) - 6 })
		}, []string{"journal/runs/2026-10.parquet"}, 0, []string{"2026-10"}, 50},
		{"a month that is empty", func(t *testing.T, l *Lake) { must(t, os.Truncate(l.monthPath("2026-10"), 0)) },
			[]string{"journal/runs/2026-10.parquet"}, 0, []string{"2026-10"}, 50},
		{"both", func(t *testing.T, l *Lake) {
			flip(t, l.journalPath(), middle)
			must(t, os.Truncate(l.monthPath("2026-10"), 9))
		}, []string{"journal/runs.jsonl", "journal/runs/2026-10.parquet"}, 1, []string{"2026-10"}, 49},
	} {
		t.Run(x.name, func(t *testing.T) {
			l, want := prepare(t)
			x.damage(t, l)
			var paths []string
			found := func(path, _ string) {
				name, err := filepath.Rel(l.Dir(), path)
				must(t, err)
				paths = append(paths, name)
			}
			_, err := l.CheckJournal(t.Context(), found)
			must(t, err)
			if !slices.Equal(paths, x.paths) {
				t.Errorf("found %q, want %q", paths, x.paths)
			}
			// Nothing that reads runs fails over it.
			_, err = l.Runs()
			must(t, err)
			_, _, err = l.LastRuns(10)
			must(t, err)
			must(t, l.AppendRun(schemastest.PastRun(99)))

			done, err := l.MendJournal(t.Context(), schemastest.KeepFirst)
			must(t, err)
			if done.Lines != x.lines || !slices.Equal(done.Months, x.months) {
				t.Errorf("mended %+v", done)
			}
			for _, f := range done.Kept {
				if info, err := os.Stat(f); err != nil || !strings.HasPrefix(f, l.Path(DamagedDir)) {
					t.Errorf("set aside: %v, %v", info, err)
				}
			}
			paths = nil
			counted, err := l.CheckJournal(t.Context(), found)
			must(t, err)
			if len(paths) > 0 {
				t.Errorf("after it: %q", paths)
			}
			got := schemastest.Runs(t, l)
			if n := strings.Count(got, "\n") + 1; n < x.least || n != counted {
				t.Errorf("%d runs are left, and %d are counted", n, counted)
			}
			for line := range strings.SplitSeq(got, "\n") {
				if !strings.Contains(want, line) {
					t.Errorf("a run that never was: %s", line)
				}
			}
			runs, err := l.Runs()
			must(t, err)
			if len(x.months) == 0 && runs[0].RunID != "run-00000" {
				t.Errorf("what is kept begins with %s", runs[0].RunID)
			}
			again, err := l.MendJournal(t.Context(), schemastest.KeepFirst)
			if err != nil || again.Lines > 0 || len(again.Kept) > 0 {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

// What a newer version writes, and lines of one that wrote no checksums, stay readable and are compacted as they are.
func TestLinesOfOtherVersionsAreKept(t *testing.T) {
	l := newTestLake(t, Options{})
	must(t, os.MkdirAll(l.Path(journalDir), durable.DirMode))
	var b []byte
	for n := range 60 {
		b = fmt.Appendf(b,
			`{"run_id":"old-%d","command":"export","version":"0.1","pid":1,"started_at":"2026-10-01T00:00:00Z",`+
				`"status":"done","records":0,"quarantined":0,"requests":0,"retries":0,"throttled":0,"windows":0,`+
				`"days_written":0}`+"\n", n)
		b = append(append(b,
			sumLine(fmt.Appendf(nil, `{"run_id":"new-%d","started_at":"2026-10-01T00:00:00Z","status":"done","mood":"good"}`,
				n))...), '\n')
	}
	must(t, os.WriteFile(l.journalPath(), b, durable.FileMode))
	want := schemastest.Runs(t, l)
	if _, err := l.compactBeyond(t.Context(), schemastest.KeepFirst, 20, 10); err != nil {
		t.Fatal(err)
	}
	if got := schemastest.Runs(t, l); got != want || strings.Count(got, "\n") != 119 {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	found := 0
	for line, err := range l.monthLines("2026-10") {
		must(t, err)
		if strings.Contains(string(line), `"mood":"good"`) {
			found++
		}
	}
	if found < 50 {
		t.Errorf("%d lines have kept what this version doesn't know", found)
	}
}

// countingFS counts what is read of the journal.
type countingFS struct {
	durable.System
	read int64
}

func (c *countingFS) Open(name string) (durable.File, error) {
	f, err := c.System.Open(name)
	if err != nil || !strings.Contains(name, journalDir) {
		return f, err
	}
	return &countingFile{f, c}, nil
}

type countingFile struct {
	durable.File
	fs *countingFS
}

func (c *countingFile) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	c.fs.read += int64(n)
	return n, err
}

func (c *countingFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.File.ReadAt(b, at)
	c.fs.read += int64(n)
	return n, err
}

// However long the lake has run, what is read of its journal is bounded, once it is compacted; and the end of one that
// never was is read without the rest.
func TestWhatIsReadOfALongJournalIsBounded(t *testing.T) {
	l := newTestLake(t, Options{})
	must(t, os.MkdirAll(l.Path(journalDir), durable.DirMode))
	var b []byte
	for n := range 20_000 {
		line, err := encodeLine(schemastest.PastRun(n), false)
		must(t, err)
		b = append(append(b, line...), '\n')
	}
	must(t, os.WriteFile(l.journalPath(), b, durable.FileMode))
	read := func(what string, most int64, f func(l *Lake) error) {
		t.Helper()
		c := &countingFS{}
		counted, err := Open(l.Dir(), Options{FS: c})
		must(t, err)
		must(t, f(counted))
		if c.read > most || c.read == 0 {
			t.Errorf("%s: %d bytes of the journal are read, at most %d should be", what, c.read, most)
		}
	}
	last := func(l *Lake) error { _, _, err := l.LastRuns(10); return err }
	read("the last runs of a journal that was never compacted", 600<<10, last)
	moved, err := l.CompactJournal(t.Context(), schemastest.KeepFirst)
	must(t, err)
	if moved != 20_000-minRuns {
		t.Errorf("%d runs were moved", moved)
	}
	read("the last runs", compactBytes, last)
	read("the runs", compactBytes, func(l *Lake) error { _, err := l.Runs(); return err })
	read("an append", 64<<10,
		func(l *Lake) error {
			_, err := l.Runs()
			return errors.Join(err, l.AppendRun(schemastest.PastRun(20_000)))
		})
}
