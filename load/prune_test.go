package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/load/durable/durabletest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// deriveTestDay derives the test day from what is sealed: n rows and one quarantined record.
func deriveTestDay(t testing.TB, l *Lake, n int, seed uint64) {
	t.Helper()
	source, err := l.Source(schemastest.Day)
	must(t, err)
	rows := schemastest.UsageRows(memory.DefaultAllocator, n, seed)
	defer rows.Release()
	must(t, l.KeepPruned(source))
	w, err := l.CreateDay(schemastest.Day)
	must(t, err)
	defer w.Abort()
	must(t, w.Write(rows))
	must(t, w.WriteRejects([]schemas.Reject{{Window: schemastest.Day.Window(), Reason: schemas.ReasonNoID,
		Raw: fmt.Appendf(nil, `{"seed":%d}`, seed), FetchedAt: schemastest.Day.Date.End(), RunID: "r"}}))
	must(t, w.Commit(footerOf(source.Windows, int64(n), 1)))
}

// footerOf is a footer of a day of these windows.
func footerOf(raws []Raw, rows, rejects int64) schemas.DayFooter {
	f := dayFooter(rows, rejects)
	f.Digest = DayDigest(1, raws)
	for _, r := range raws {
		f.Windows = append(f.Windows, schemas.DayWindow{Seq: r.Seq, Start: r.Window.Start, End: r.Window.End,
			FetchedAt: schemastest.Day.Date.End(), RunID: "r", Owns: !r.Pruned})
	}
	return f
}

func sealHours(t testing.TB, l *Lake, from, to int) {
	t.Helper()
	start := schemastest.Day.Date.Start()
	_, err := l.Seal(context.Background(), schemastest.Seal(start.Add(time.Duration(from)*time.Hour),
		start.Add(time.Duration(to)*time.Hour)), schemastest.Pages(start))
	must(t, err)
}

// prunableLake holds the test day: two windows, a balance, a day file and its quarantine.
func prunableLake(t testing.TB) *Lake {
	t.Helper()
	l := newTestLake(t, Options{FS: &durabletest.FS{At: -1}})
	sealHours(t, l, 0, 24)
	sealHours(t, l, 6, 12)
	s := schemastest.Seal(schemastest.Day.Date.Start(), schemastest.Day.Date.Start().Add(time.Second))
	s.Kind, s.Announced, s.Proof, s.RequestIDs = schemas.KindBalance, nil, "", s.RequestIDs[:1]
	_, err := l.Seal(t.Context(), s, schemastest.Pages(s.Start)[:1])
	must(t, err)
	deriveTestDay(t, l, 50, 1)
	return l
}

func pruning(quarantine bool) PruneOptions {
	return PruneOptions{RunID: "run-p", Version: "test", Policy: "raw files 400d after the end of the closed month",
		Now: time.Date(2027, 12, 30, 0, 0, 0, 0, time.UTC), Quarantine: quarantine}
}

func names(raws []Raw) string {
	var b strings.Builder
	for _, r := range raws {
		b.WriteString(r.Name + " ")
	}
	return b.String()
}

// mustRead is what a file holds, "" if there is none.
func mustRead(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	must(t, err)
	return string(b)
}

// Each step of a prune fails in each way, with the process living on and with it dead. The day file stays what it was
// through all of it, the windows are known, a raw file is gone only when the tombstone is there and the lake says that
// it has one, and done again the prune completes.
func TestADayIsWholeWhicheverStepOfAPruneFails(t *testing.T) {
	for _, quarantine := range []bool{false, true} {
		t.Run(fmt.Sprintf("quarantine %v", quarantine), func(t *testing.T) {
			t.Parallel()
			prune := func(l *Lake, ffs *durabletest.FS) error {
				broken, err := Open(l.Dir(), Options{FS: ffs})
				must(t, err)
				ffs.Steps = nil
				_, err = broken.PruneDay(schemastest.Day, pruning(quarantine))
				return err
			}
			// look fails on anything that is not whole, and says whether the day is pruned.
			look := func(t *testing.T, name string, l *Lake, all, day string) bool {
				t.Helper()
				l, err := Open(l.Dir(), Options{FS: &durabletest.FS{At: -1}})
				must(t, err)
				source, err := l.Source(schemastest.Day)
				if err != nil || names(source.Windows) != all {
					t.Fatalf("%s: windows %s %v, want %s", name, names(source.Windows), err, all)
				}
				if got := mustRead(t, l.UsagePath(schemastest.Day)); got != day {
					t.Fatalf("%s: the day file has changed", name)
				}
				frozen := source.Frozen()
				gone := 0
				for _, r := range source.Windows {
					if _, err := os.Stat(filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name)); err != nil {
						gone++
					} else {
						r.Pruned = false // whatever stands there is whole
						must(t, readRaw(t, l, r))
					}
				}
				_, err = os.Stat(l.QuarantinePath(schemastest.Day))
				if !frozen && (gone > 0 || err != nil) {
					t.Errorf("%s: %d raw files are gone, the quarantine %v, and there is no tombstone", name, gone, err)
				}
				if frozen {
					must(t, l.CheckFrozen(source))
					if _, err := l.FrozenDay(source); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				if stale, err := l.Stale(schemastest.Day, 1); stale || err != nil {
					t.Errorf("%s: stale %v %v", name, stale, err)
				}
				// Another version of the transformation makes a pruned day no more stale than it can derive it.
				if stale, err := l.Stale(schemastest.Day, 2); stale == frozen || err != nil {
					t.Errorf("%s: stale by a newer version %v %v", name, stale, err)
				}
				if b, err := l.Balances(schemastest.Day); len(b) != 1 || err != nil {
					t.Errorf("%s: %d balances, %v", name, len(b), err)
				}
				if s, err := l.Strays(schemastest.Day); len(s) != 0 || err != nil {
					t.Errorf("%s: strays %v %v", name, s, err)
				}
				return frozen && gone == 2 && quarantine == (mustRead(t, l.QuarantinePath(schemastest.Day)) == "")
			}
			state := func() (*Lake, string, string) {
				l := prunableLake(t)
				source, err := l.Source(schemastest.Day)
				must(t, err)
				return l, names(source.Windows), mustRead(t, l.UsagePath(schemastest.Day))
			}
			probe := &durabletest.FS{At: -1}
			l, all, day := state()
			must(t, prune(l, probe))
			if !look(t, "whole", l, all, day) {
				t.Fatal("nothing is pruned")
			}
			t.Logf("%d steps: %s", len(probe.Steps), strings.Join(probe.Steps, ", "))
			for n, step := range probe.Steps {
				for _, how := range []durabletest.Fault{durabletest.NotDone, durabletest.Lost, durabletest.Torn} {
					if how == durabletest.Torn && step != "write" {
						continue
					}
					for _, down := range []bool{false, true} {
						name := fmt.Sprintf("step %d (%s) %s, down %v", n, step, how, down)
						l, all, day := state()
						err := prune(l, &durabletest.FS{At: n, How: how, Down: down})
						done := look(t, name, l, all, day)
						switch {
						case err == nil && !done:
							t.Errorf("%s: no error, and the day is not pruned", name)
						case err != nil && !errors.Is(err, syscall.EIO):
							t.Errorf("%s: the error hides its cause: %v", name, err)
						}
						must(t, prune(l, &durabletest.FS{At: -1}))
						if !look(t, name+", again", l, all, day) {
							t.Errorf("%s: done again, the day is not pruned", name)
						}
					}
				}
			}
		})
	}
}

// A dry run says what the prune deletes then, and changes nothing. Twice prunes nothing more.
func TestADryPruneSaysWhatThePruneDeletes(t *testing.T) {
	l := prunableLake(t)
	o := pruning(true)
	o.DryRun = true
	before := treeText(t, l.Dir())
	dry, err := l.PruneDay(schemastest.Day, o)
	must(t, err)
	if got := treeText(t, l.Dir()); got != before {
		t.Error(schemastest.FirstDifference(got, before))
	}
	o.DryRun = false
	got, err := l.PruneDay(schemastest.Day, o)
	must(t, err)
	if got != dry || got.Files != 2 || got.QuarantineFiles != 1 || got.Bytes == 0 || got.QuarantineBytes == 0 {
		t.Errorf("deleted %+v, said %+v", got, dry)
	}
	if again, err := l.PruneDay(schemastest.Day, o); again != (Freed{}) || err != nil {
		t.Errorf("twice: %+v %v", again, err)
	}
	if dry, err = l.PruneDay(schemastest.Day, PruneOptions{DryRun: true}); dry != (Freed{}) || err != nil {
		t.Errorf("twice: %+v %v", dry, err)
	}
}

// Raw files that come back from a backup are a day as before, once the tombstone is gone.
func TestAPrunedDayGoesBackToItsRawFiles(t *testing.T) {
	l := prunableLake(t)
	source, err := l.Source(schemastest.Day)
	must(t, err)
	backup := filepath.Join(t.TempDir(), "raw")
	must(t, os.CopyFS(backup, os.DirFS(l.Path(RawDir))))
	_, err = l.PruneDay(schemastest.Day, pruning(false))
	must(t, err)
	must(t, os.RemoveAll(l.Path(RawDir)))
	must(t, os.CopyFS(l.Path(RawDir), os.DirFS(backup)))
	later, err := l.Source(schemastest.Day)
	must(t, err)
	if names(later.Windows) != names(source.Windows) || later.Frozen() {
		t.Errorf("%+v", later.Windows)
	}
	if stale, err := l.Stale(schemastest.Day, 1); stale || err != nil {
		t.Errorf("stale %v %v", stale, err)
	}
	if stale, err := l.Stale(schemastest.Day, 2); !stale || err != nil {
		t.Errorf("by a newer version: stale %v %v", stale, err)
	}
}

func treeText(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", path, content)
		return err
	}))
	return b.String()
}

// A day that isn't derived from what is sealed, isn't covered whole or is half fetched anew is refused.
func TestADayThatIsNotInOrderIsNotPruned(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, l *Lake){
		"not derived from its windows": func(t *testing.T, l *Lake) { sealHours(t, l, 3, 4) },
		"no such file":                 func(t *testing.T, l *Lake) { must(t, os.Remove(l.QuarantinePath(schemastest.Day))) },
		"not covered whole": func(t *testing.T, l *Lake) {
			source, err := l.Source(schemastest.Day)
			must(t, err)
			must(t, os.Remove(filepath.Join(l.Partition(RawDir, schemastest.Day), source.Windows[0].Name)))
			deriveTestDay(t, l, 50, 1)
		},
		"being fetched anew": func(t *testing.T, l *Lake) {
			_, err := l.PruneDay(schemastest.Day, pruning(false))
			must(t, err)
			sealHours(t, l, 3, 4)
		},
		"not the file that the raw files of its day were pruned for": func(t *testing.T, l *Lake) {
			_, err := l.PruneDay(schemastest.Day, pruning(false))
			must(t, err)
			must(t, os.WriteFile(l.UsagePath(schemastest.Day), []byte("x"), 0o600))
		},
	} {
		l := prunableLake(t)
		change(t, l)
		before := treeText(t, l.Dir())
		if _, err := l.PruneDay(schemastest.Day, pruning(true)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if got := treeText(t, l.Dir()); got != before {
			t.Errorf("%s: %s", name, schemastest.FirstDifference(got, before))
		}
	}
}

// Later windows thaw a pruned day once they cover the whole of it. The file it was is kept, and taken again if they are
// set aside; pruned again, the day needs it no more.
func TestAPrunedDayThawsWhenAllOfItIsFetchedAnew(t *testing.T) {
	l := prunableLake(t)
	day, bad := mustRead(t, l.UsagePath(schemastest.Day)), mustRead(t, l.QuarantinePath(schemastest.Day))
	_, err := l.PruneDay(schemastest.Day, pruning(false))
	must(t, err)
	frozen := func(want bool) []Raw {
		t.Helper()
		source, err := l.Source(schemastest.Day)
		must(t, err)
		if source.Frozen() != want {
			t.Fatalf("frozen: %v; %+v", !want, source.Windows)
		}
		return source.Windows
	}
	sealHours(t, l, 0, 13)
	raws := frozen(true)
	if len(raws) != 3 || raws[2].Seq != 4 { // the balance has 3
		t.Fatalf("%+v", raws)
	}
	if stale, err := l.Stale(schemastest.Day, 1); stale || err != nil {
		t.Errorf("half fetched: stale %v, %v", stale, err)
	}
	must(t, l.SetAsideDay(schemastest.Day))
	if mustRead(t, l.UsagePath(schemastest.Day)) != day {
		t.Fatal("the source of a frozen day was set aside")
	}
	sealHours(t, l, 12, 24)
	frozen(false)
	if stale, err := l.Stale(schemastest.Day, 1); !stale || err != nil {
		t.Errorf("fetched anew: stale %v, %v", stale, err)
	}
	deriveTestDay(t, l, 60, 2)
	if stale, err := l.Stale(schemastest.Day, 1); stale || err != nil {
		t.Errorf("derived: stale %v, %v", stale, err)
	}
	kept := func(name string) string {
		return mustRead(t, filepath.Join(l.Partition(RawDir, schemastest.Day), name))
	}
	if kept(KeptUsage) != day || kept(KeptQuarantine) != bad {
		t.Fatal("what was replaced is not kept")
	}
	deriveTestDay(t, l, 60, 3) // once more: it stays what it was
	if kept(KeptUsage) != day || kept(KeptQuarantine) != bad {
		t.Fatal("what was kept is replaced")
	}
	if s, err := l.Strays(schemastest.Day); len(s) != 0 || err != nil {
		t.Errorf("strays %v %v", s, err)
	}

	again, err := Open(l.Dir(), Options{}) // a lake to go on with, in which the day is pruned again
	must(t, err)
	freed, err := again.PruneDay(schemastest.Day, pruning(false))
	must(t, err)
	if freed.Files != 4 || kept(KeptUsage)+kept(KeptQuarantine) != "" {
		t.Errorf("pruned again: %+v", freed)
	}
	frozen(true)
	if tomb, err := l.tombstoneOf(schemastest.Day); err != nil || len(tomb.Files) != 4 || tomb.Files[0].SHA256 == "" {
		t.Errorf("%+v %v", tomb, err)
	}

	// The other way: a window that is set aside freezes it as it was.
	l = prunableLake(t)
	day = mustRead(t, l.UsagePath(schemastest.Day))
	_, err = l.PruneDay(schemastest.Day, pruning(false))
	must(t, err)
	sealHours(t, l, 0, 24)
	deriveTestDay(t, l, 60, 2)
	raws = frozen(false)
	_, _, err = l.SetAside("raw/acct=acme/date=2026-11-01/" + raws[2].Name)
	must(t, err)
	frozen(true)
	if stale, err := l.Stale(schemastest.Day, 1); !stale || err != nil {
		t.Errorf("frozen again: stale %v, %v", stale, err)
	}
	if f, err := l.FrozenDay(sourceOf(t, l)); err != nil || f.Rows != 50 {
		t.Errorf("frozen again: %+v %v", f, err)
	}
	must(t, l.CheckFrozen(sourceOf(t, l)))
	if mustRead(t, l.UsagePath(schemastest.Day)) != day {
		t.Error("the day is not what it was")
	}
}

// CompareDay tells any difference, and changes nothing.
func TestComparingADayFindsAnyDifference(t *testing.T) {
	l := prunableLake(t)
	source, err := l.Source(schemastest.Day)
	must(t, err)
	compare := func(rows int, seed uint64, rejects int) error {
		w, err := l.CompareDay(schemastest.Day)
		must(t, err)
		defer w.Abort()
		rec := schemastest.UsageRows(memory.DefaultAllocator, rows, seed)
		defer rec.Release()
		must(t, w.Write(rec))
		for range rejects {
			must(t, w.WriteRejects([]schemas.Reject{{Window: schemastest.Day.Window(), Reason: schemas.ReasonNoID,
				Raw: []byte(`{"seed":1}`), FetchedAt: schemastest.Day.Date.End(), RunID: "r"}}))
		}
		return w.Commit(footerOf(source.Windows, int64(rows), int64(rejects)))
	}
	before := treeText(t, l.Dir())
	must(t, compare(50, 1, 1))
	for _, c := range []struct {
		rows    int
		seed    uint64
		rejects int
	}{{51, 1, 1}, {50, 2, 1}, {50, 1, 2}, {50, 1, 0}} {
		if err := compare(c.rows, c.seed, c.rejects); !errors.Is(err, ErrDiffers) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if got := treeText(t, l.Dir()); got != before {
		t.Error(schemastest.FirstDifference(got, before))
	}
	must(t, os.Remove(l.QuarantinePath(schemastest.Day)))
	if err := compare(50, 1, 1); !errors.Is(err, ErrDiffers) {
		t.Errorf("no quarantine: %v", err)
	}
}

// A tombstone with any bit flipped, cut anywhere, or of another day is damage; nothing is listed or derived by it.
func TestEveryChangeOfATombstoneIsFound(t *testing.T) {
	l := prunableLake(t)
	_, err := l.PruneDay(schemastest.Day, pruning(true))
	must(t, err)
	whole := mustRead(t, l.prunedPath(schemastest.Day))
	write := func(b string) { must(t, os.WriteFile(l.prunedPath(schemastest.Day), []byte(b), 0o600)) }
	check := func(name string) {
		t.Helper()
		var damaged *DamagedError
		if _, err := l.Source(schemastest.Day); !errors.As(err, &damaged) || damaged.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range whole {
		b := []byte(whole)
		b[i] ^= 1
		write(string(b))
		check(fmt.Sprint("byte ", i))
	}
	for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
		write(whole[:n])
		check(fmt.Sprint("cut at ", n))
	}
	head, _, _ := strings.Cut(whole, "\n")
	reseal := func(old, changed string) {
		h := strings.Replace(head, old, changed, 1)
		if h == head {
			t.Fatalf("no %s in %s", old, head)
		}
		write(h + "\n" + string(prunedSum([]byte(h))))
	}
	for _, c := range [][2]string{
		{`"date":"2026-11-01"`, `"date":"2026-11-02"`}, {`"account":"acme"`, `"account":"b"`}, {`"format":1`, `"format":0`},
		{`_000000-240000_`, `_000000-230000_`}, {`"000001_`, `"000007_`}, {`"000001_`, `"../../x_`},
		{`"windows":[{`, `"windows":[{},{`},
	} {
		reseal(c[0], c[1])
		check(c[1])
	}
	reseal(`"format":1`, `"format":2`)
	if _, err := l.Source(schemastest.Day); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer format: %v", err)
	}
	if _, err := l.Seal(t.Context(), schemastest.Seal(schemastest.Day.Date.Start(), schemastest.Day.Date.End()),
		schemastest.Pages(schemastest.Day.Date.Start())); err == nil {
		t.Error("a window was sealed beside a tombstone that can't be read")
	}
	if bal, err := l.Balances(schemastest.Day); err != nil || len(bal) != 1 {
		t.Errorf("balances %v %v", bal, err)
	}
	write(whole)
	if source, err := l.Source(schemastest.Day); err != nil || len(source.Windows) != 2 || !source.Frozen() {
		t.Errorf("whole: %v %v", source.Windows, err)
	}
}

func FuzzTombstone(f *testing.F) {
	l := prunableLake(f)
	_, err := l.PruneDay(schemastest.Day, pruning(true))
	must(f, err)
	b, err := os.ReadFile(l.prunedPath(schemastest.Day))
	must(f, err)
	head, _, _ := bytes.Cut(b, lineFeed)
	f.Add(head)
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, head []byte) {
		if bytes.Contains(head, lineFeed) {
			return
		}
		tomb := &Pruned{}
		if tomb.parse(schemastest.Day, slices.Concat(head, lineFeed, prunedSum(head))) != nil {
			return
		}
		raws, err := tomb.raws(schemastest.Day)
		s := Source{Partition: schemastest.Day, Windows: raws, Pruned: tomb}
		if err != nil || !s.Frozen() || s.Thawing() {
			t.Errorf("%v: %+v", err, raws)
		}
	})
}

// A day that is given up may be the last of its kind, were a tombstone lost: it is moved, not deleted.
func TestADayIsMovedWhenItIsGivenUp(t *testing.T) {
	l := prunableLake(t)
	must(t, l.RemoveDay(schemastest.Day))
	if moved, err := l.list(l.Path(DamagedDir)); err != nil || len(moved) != 1 {
		t.Errorf("moved %v %v", moved, err)
	}
}
