package load

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/durable/durabletest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

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
	old := schemastest.UsageRows(memory.DefaultAllocator, 300, 1)
	t.Cleanup(old.Release)
	changed := schemastest.UsageRows(memory.DefaultAllocator, 400, 2)
	t.Cleanup(changed.Release)
	reject := []schemas.Reject{{Window: schemastest.Day.Window(), Reason: schemas.ReasonNoID, Raw: []byte(`{}`),
		FetchedAt: schemastest.Day.Date.End(), RunID: "r"}}
	seal := schemastest.Seal(schemastest.Day.Date.Start(), schemastest.Day.Date.End())
	commit := func(t *testing.T, l *Lake, digest string, rec arrow.RecordBatch, rejects []schemas.Reject) error {
		w, err := l.CreateDay(schemastest.Day)
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
		f, ok, err := l.Day(schemastest.Day)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return "none"
		}
		must(t, l.CheckBody(l.UsagePath(schemastest.Day)))
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
				digest, ok, err := l.FooterValue(l.QuarantinePath(schemastest.Day), schemastest.Day, DigestKey)
				must(t, err)
				f, _, _ := l.Day(schemastest.Day)
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
				_, err := l.Seal(t.Context(), seal, schemastest.Pages(schemastest.Day.Date.End()))
				return err
			},
			look: func(t *testing.T, l *Lake) string {
				source, err := l.Source(schemastest.Day)
				must(t, err)
				for _, r := range source.Windows {
					must(t, readRaw(t, l, r))
				}
				return strings.Repeat("sealed ", len(source.Windows))
			},
			adds: true,
		},
		day("day without quarantine", nil, nil),
		day("day that gets a quarantine", nil, reject),
		day("day that loses its quarantine", reject, nil),
		day("day whose quarantine changes", reject, append(slices.Clone(reject), reject...)),
		{
			name:    "WriteBalance",
			prepare: func(t *testing.T, l *Lake) { must(t, l.WriteBalance(schemastest.Day, "old", nil, nil)) },
			write:   func(t *testing.T, l *Lake) error { return l.WriteBalance(schemastest.Day, "new", nil, balance) },
			look: func(t *testing.T, l *Lake) string {
				digest, ok, err := l.BalanceDigest(schemastest.Day)
				if err != nil || !ok {
					t.Fatalf("balance: %v %v", ok, err)
				}
				must(t, l.CheckBody(l.BalancePath(schemastest.Day)))
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
				return l.KeepOrphan(sourceOf(t, l))
			},
			look: func(t *testing.T, l *Lake) string {
				must(t, l.CheckBody(l.UsagePath(schemastest.Day)))
				names, err := l.list(l.Path(DamagedDir))
				must(t, err)
				for _, n := range names {
					must(t, l.CheckBody(l.Path(DamagedDir, n)))
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
				_, err := l.Drop(schemastest.Day)
				return err
			},
			look: lookDay,
		},
		{
			name:    "SetAsideBalance",
			prepare: func(t *testing.T, l *Lake) { must(t, l.WriteBalance(schemastest.Day, "old", nil, balance)) },
			write:   func(t *testing.T, l *Lake) error { return l.SetAsideBalance(schemastest.Day) },
			look: func(t *testing.T, l *Lake) string {
				_, errThere := os.Stat(l.BalancePath(schemastest.Day))
				names, err := l.list(l.Path(DamagedDir))
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
			write:   func(t *testing.T, l *Lake) error { return l.RemoveDay(schemastest.Day) },
			look: func(t *testing.T, l *Lake) string {
				seen := lookDay(t, l)
				if _, err := os.Stat(l.QuarantinePath(schemastest.Day)); seen == "old" && err != nil {
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
	err, _ := readBoth(t, l, r)
	return err
}

// readBoth reads a sealed file page by page and at once, which give the same.
func readBoth(t testing.TB, l *Lake, r Raw) (byPage, atOnce error) {
	t.Helper()
	s, err := l.OpenRaw(t.Context(), schemastest.Day, r)
	if err != nil {
		return err, err
	}
	pages, byPage := collect(t.Context(), s)
	whole, _, ok, atOnce := s.Whole(t.Context(), []byte("what was here before"))
	switch {
	case !ok && atOnce == nil: // too large: to be read by page
	case (byPage == nil) != (atOnce == nil):
		t.Fatalf("page by page: %v; at once: %v", byPage, atOnce)
	case byPage == nil && !reflect.DeepEqual(pages, whole):
		t.Fatalf("page by page: %v; at once: %v", pages, whole)
	}
	return byPage, atOnce
}

// Each step of each write fails in each way, with the process living on and with it dead. A reader then sees the old
// state or the new one, whole; and the write, done again on a mended disk, completes.
func TestEveryWriteStepMayFail(t *testing.T) {
	for _, w := range writings(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			run := func(ffs *durabletest.FS) (*Lake, string, error) {
				l := newTestLake(t, Options{FS: &durabletest.FS{At: -1}})
				w.prepare(t, l)
				before := w.look(t, l)
				broken, err := Open(l.Dir(), Options{FS: ffs})
				must(t, err)
				return l, before, w.write(t, broken)
			}
			probe := &durabletest.FS{At: -1}
			l, before, err := run(probe)
			must(t, err)
			after := w.look(t, l)
			if before == after {
				t.Fatalf("the write changes nothing: %q", before)
			}
			t.Logf("%d steps: %s", len(probe.Steps), strings.Join(probe.Steps, ", "))

			for n, step := range probe.Steps {
				for _, how := range []durabletest.Fault{durabletest.NotDone, durabletest.Lost, durabletest.Torn} {
					if how == durabletest.Torn && step != "write" {
						continue
					}
					for _, down := range []bool{false, true} {
						name := fmt.Sprintf("step %d (%s) %s, down %v", n, step, how, down)
						l, before, err := run(&durabletest.FS{At: n, How: how, Down: down})
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
							if left, _ := l.list(l.Path(durable.TempDir)); len(left) > 0 && step != "close" &&
								!strings.HasPrefix(step, "create") && !strings.HasPrefix(step, "remove") {
								t.Errorf("%s: half-done files are left: %v", name, left)
							}
						}
					}
				}
			}
		})
	}
}

func newTestLake(t testing.TB, opts Options) *Lake {
	t.Helper()
	l, err := Create(t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
