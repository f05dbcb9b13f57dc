package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/schemas"
)

// fault says how a step of faultFS fails.
type fault int

const (
	notDone fault = iota // the step has no effect
	lost                 // the step is done, and its answer lost
	torn                 // of a write: half of it is done
)

func (f fault) String() string {
	return [...]string{"not done", "done but the answer lost", "half done"}[f]
}

// faultFS is the operating system's file system, whose n-th changing step fails, and every step after it too if the
// machine is down. It records the steps.
type faultFS struct {
	osFS
	at    int // counts from 0; -1: nothing fails
	how   fault
	down  bool // all steps after it fail too, undone: the process died
	steps []string
}

var errFault = &fs.PathError{Op: "fault", Path: "disk", Err: syscall.EIO}

// step runs do, or fails.
func (f *faultFS) step(name string, do func() error) error {
	n := len(f.steps)
	f.steps = append(f.steps, name)
	switch {
	case n == f.at && f.how == lost:
		_ = do()
		return errFault
	case n == f.at || f.down && f.at >= 0 && n > f.at:
		return errFault
	}
	return do()
}

func (f *faultFS) CreateTemp(dir, pattern string) (file File, err error) {
	err = f.step("create "+pattern, func() (err error) {
		file, err = f.osFS.CreateTemp(dir, pattern)
		return err
	})
	return f.wrap(file, err)
}

func (f *faultFS) OpenAppend(name string) (file File, err error) {
	err = f.step("open "+filepath.Base(name), func() (err error) {
		file, err = f.osFS.OpenAppend(name)
		return err
	})
	return f.wrap(file, err)
}

func (f *faultFS) wrap(file File, err error) (File, error) {
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *faultFS) MkdirAll(name string, mode fs.FileMode) error {
	return f.step("mkdir "+filepath.Base(name), func() error { return f.osFS.MkdirAll(name, mode) })
}

func (f *faultFS) Rename(from, to string) error {
	return f.step("rename "+filepath.Base(to), func() error { return f.osFS.Rename(from, to) })
}

func (f *faultFS) Remove(name string) error {
	return f.step("remove "+filepath.Base(name), func() error { return f.osFS.Remove(name) })
}

func (f *faultFS) SyncDir(name string) error {
	return f.step("syncdir "+filepath.Base(name), func() error { return nil }) // no power fails here, and it is slow
}

type faultFile struct {
	File
	fs *faultFS
}

func (f *faultFile) Write(b []byte) (n int, err error) {
	if f.fs.how == torn && len(f.fs.steps) == f.fs.at {
		n, _ = f.File.Write(b[:len(b)/2])
		f.fs.steps = append(f.fs.steps, "write")
		return n, errFault
	}
	err = f.fs.step("write", func() (err error) {
		n, err = f.File.Write(b)
		return err
	})
	return n, err
}

func (f *faultFile) Sync() error { return f.fs.step("sync", func() error { return nil }) }
func (f *faultFile) Truncate(size int64) error {
	return f.fs.step("truncate", func() error { return f.File.Truncate(size) })
}

// Close always closes, so that tests leak nothing.
func (f *faultFile) Close() error {
	err := f.File.Close()
	return errors.Join(f.fs.step("close", func() error { return nil }), err)
}

// writing is something that writes to a lake, and what a reader sees of it.
type writing struct {
	name string
	// prepare puts the lake into the state before.
	prepare func(t *testing.T, l *Lake)
	write   func(t *testing.T, l *Lake) error
	// look returns what a reader sees; it fails the test on anything torn.
	look func(t *testing.T, l *Lake) string
	// again: the write done twice looks another than once, as it adds.
	adds bool
}

func writings(t *testing.T) []writing {
	old := usageRows(memory.DefaultAllocator, 300, 1)
	t.Cleanup(old.Release)
	changed := usageRows(memory.DefaultAllocator, 400, 2)
	t.Cleanup(changed.Release)
	reject := []schemas.Reject{{Window: testDay.Window(), Reason: schemas.ReasonNoID, Raw: []byte(`{}`), FetchedAt: testDay.Date.End(), RunID: "r"}}
	seal := testSeal(testDay.Date.Start(), testDay.Date.End())
	commit := func(t *testing.T, l *Lake, digest string, rec arrow.RecordBatch, rejects []schemas.Reject) error {
		w, err := l.CreateDay(testDay)
		if err != nil {
			return err
		}
		defer w.Abort()
		if err := w.Write(rec); err != nil {
			return err
		}
		if err := w.WriteRejects(rejects); err != nil {
			return err
		}
		f := dayFooter(rec.NumRows(), int64(len(rejects)))
		f.Digest = digest
		return w.Commit(f)
	}
	lookDay := func(t *testing.T, l *Lake) string {
		t.Helper()
		f, ok, err := l.Day(testDay)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return "none"
		}
		must(t, l.checkBody(l.usagePath(testDay)))
		return f.Digest
	}
	day := func(name string, before, after []schemas.Reject) writing {
		return writing{
			name:    name,
			prepare: func(t *testing.T, l *Lake) { must(t, commit(t, l, "old", old, before)) },
			write:   func(t *testing.T, l *Lake) error { return commit(t, l, "new", changed, after) },
			look: func(t *testing.T, l *Lake) string {
				seen := lookDay(t, l)
				// Whatever the two files say together, it is one of the two states, or one that Stale sees.
				digest, ok, err := l.footerValue(l.quarantinePath(testDay), testDay, digestKey)
				must(t, err)
				f, _, _ := l.Day(testDay)
				if ok == (f.Quarantined > 0) && (!ok || digest == f.Digest) {
					return seen
				}
				return seen + " (stale)"
			},
		}
	}
	balance := balanceRows(t)
	return []writing{
		{
			name:    "Seal",
			prepare: func(t *testing.T, l *Lake) {},
			write: func(t *testing.T, l *Lake) error {
				_, err := l.Seal(t.Context(), seal, testPages(testDay.Date.End()))
				return err
			},
			look: func(t *testing.T, l *Lake) string {
				raws, err := l.Windows(testDay)
				must(t, err)
				for _, r := range raws {
					must(t, readRaw(t, l, r))
				}
				return strings.Repeat("sealed ", len(raws))
			},
			adds: true,
		},
		day("day without quarantine", nil, nil),
		day("day that gets a quarantine", nil, reject),
		day("day that loses its quarantine", reject, nil),
		day("day whose quarantine changes", reject, append(slices.Clone(reject), reject...)),
		{
			name:    "WriteBalance",
			prepare: func(t *testing.T, l *Lake) { must(t, l.WriteBalance(testDay, "old", nil, nil)) },
			write:   func(t *testing.T, l *Lake) error { return l.WriteBalance(testDay, "new", nil, balance) },
			look: func(t *testing.T, l *Lake) string {
				digest, ok, err := l.BalanceDigest(testDay)
				if err != nil || !ok {
					t.Fatalf("balance: %v %v", ok, err)
				}
				must(t, l.checkBody(l.balancePath(testDay)))
				return digest
			},
		},
		{
			name: "AppendRun",
			prepare: func(t *testing.T, l *Lake) {
				must(t, l.AppendRun(schemas.Run{RunID: "a", Status: schemas.StatusDone}))
			},
			write: func(t *testing.T, l *Lake) error {
				return l.AppendRun(schemas.Run{RunID: "b", Status: schemas.StatusRunning})
			},
			look: func(t *testing.T, l *Lake) string {
				runs, bad, err := l.journal()
				must(t, err)
				if len(bad) > 0 {
					t.Fatalf("unreadable lines %v", bad)
				}
				return fmt.Sprint(len(runs), " runs")
			},
		},
		{
			name: "KeepOrphan",
			prepare: func(t *testing.T, l *Lake) {
				first := sealRecords(t, l, 0, 24, 300)
				deriveRows(t, l, 300, reject...)
				removeRaw(t, l, first)
				sealRecords(t, l, 0, 24, 300)
			},
			write: func(t *testing.T, l *Lake) error {
				raws, err := l.Windows(testDay)
				must(t, err)
				return l.KeepOrphan(testDay, raws)
			},
			look: func(t *testing.T, l *Lake) string {
				must(t, l.checkBody(l.usagePath(testDay)))
				names, err := l.list(l.path(damagedDir))
				must(t, err)
				for _, n := range names {
					must(t, l.checkBody(l.path(damagedDir, n)))
				}
				if len(names) == 1 { // the quarantine first
					return "one (stale)"
				}
				return fmt.Sprint(len(names), " kept")
			},
		},
		{
			name: "Drop",
			prepare: func(t *testing.T, l *Lake) {
				first := sealRecords(t, l, 0, 24, 300)
				deriveRows(t, l, 300)
				removeRaw(t, l, first)
			},
			write: func(t *testing.T, l *Lake) error {
				_, err := l.Drop(testDay)
				return err
			},
			look: lookDay,
		},
		{
			name:    "SetAsideBalance",
			prepare: func(t *testing.T, l *Lake) { must(t, l.WriteBalance(testDay, "old", nil, balance)) },
			write:   func(t *testing.T, l *Lake) error { return l.SetAsideBalance(testDay) },
			look: func(t *testing.T, l *Lake) string {
				_, errThere := os.Stat(l.balancePath(testDay))
				names, err := l.list(l.path(damagedDir))
				must(t, err)
				if (errThere == nil) == (len(names) == 1) {
					t.Fatalf("there %v, aside %v", errThere, names)
				}
				return fmt.Sprint(len(names), " aside")
			},
		},
		{
			name:    "RemoveDay",
			prepare: func(t *testing.T, l *Lake) { must(t, commit(t, l, "old", old, reject)) },
			write:   func(t *testing.T, l *Lake) error { return l.RemoveDay(testDay) },
			look: func(t *testing.T, l *Lake) string {
				seen := lookDay(t, l)
				if _, err := os.Stat(l.quarantinePath(testDay)); seen == "old" && err != nil {
					return "old (stale)"
				}
				return seen
			},
		},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// readRaw reads a sealed file to its end.
func readRaw(t testing.TB, l *Lake, r Raw) error {
	s, err := l.OpenRaw(t.Context(), testDay, r)
	if err != nil {
		return err
	}
	for _, err := range s.Pages(t.Context()) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Each step of each write fails in each way, with the process living on and with it dead. A reader then sees the old
// state or the new one, whole; and the write, done again on a mended disk, completes.
func TestEveryWriteStepMayFail(t *testing.T) {
	for _, w := range writings(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			run := func(ffs *faultFS) (*Lake, string, error) {
				l := newTestLake(t, Options{FS: &faultFS{at: -1}})
				w.prepare(t, l)
				before := w.look(t, l)
				broken, err := Open(l.Dir(), Options{FS: ffs})
				must(t, err)
				return l, before, w.write(t, broken)
			}
			probe := &faultFS{at: -1}
			l, before, err := run(probe)
			must(t, err)
			after := w.look(t, l)
			if before == after {
				t.Fatalf("the write changes nothing: %q", before)
			}
			t.Logf("%d steps: %s", len(probe.steps), strings.Join(probe.steps, ", "))

			for n, step := range probe.steps {
				for _, how := range []fault{notDone, lost, torn} {
					if how == torn && step != "write" {
						continue
					}
					for _, down := range []bool{false, true} {
						name := fmt.Sprintf("step %d (%s) %s, down %v", n, step, how, down)
						l, before, err := run(&faultFS{at: n, how: how, down: down})
						seen := w.look(t, l)
						switch {
						case err == nil && seen != after:
							t.Errorf("%s: no error, but a reader sees %q", name, seen)
						case err != nil && !errors.Is(err, syscall.EIO):
							t.Errorf("%s: the error hides its cause: %v", name, err)
						case seen != before && seen != after && !strings.HasSuffix(seen, " (stale)"):
							t.Errorf("%s: a reader sees %q, neither %q nor %q", name, seen, before, after)
						}
						must(t, w.write(t, l))
						if again := w.look(t, l); again != after && !(w.adds && strings.HasPrefix(again, after)) {
							t.Errorf("%s: done again, a reader sees %q, not %q", name, again, after)
						}
						if !down && err != nil {
							if left, _ := l.list(l.path(tempDir)); len(left) > 0 && step != "close" && !strings.HasPrefix(step, "create") && !strings.HasPrefix(step, "remove") {
								t.Errorf("%s: half-done files are left: %v", name, left)
							}
						}
					}
				}
			}
		})
	}
}
