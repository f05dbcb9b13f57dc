package load

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// sealRecords seals the hours [from, to) of the test day with so many records.
func sealRecords(t testing.TB, l *Lake, from, to int, records int64) Raw {
	t.Helper()
	s := schemastest.Seal(schemastest.Day.Date.Start().Add(time.Duration(from)*time.Hour),
		schemastest.Day.Date.Start().Add(time.Duration(to)*time.Hour))
	s.Records, s.Announced = records, &records
	r, err := l.Seal(t.Context(), s, schemastest.Pages(s.Start))
	must(t, err)
	return r
}

// deriveRows writes the day file of the test day with so many rows, as derived from what is sealed.
func deriveRows(t testing.TB, l *Lake, rows int, rejects ...schemas.Reject) {
	t.Helper()
	source, err := l.Source(schemastest.Day)
	must(t, err)
	w, err := l.CreateDay(schemastest.Day)
	must(t, err)
	defer w.Abort()
	rec := schemastest.UsageRows(memory.DefaultAllocator, rows, 1)
	defer rec.Release()
	must(t, w.Write(rec))
	must(t, w.WriteRejects(rejects))
	f := dayFooter(int64(rows), int64(len(rejects)))
	f.Digest = DayDigest(1, source.Windows)
	for _, r := range source.Windows {
		seal := schemas.DayWindow{Seq: r.Seq, Start: r.Window.Start, End: r.Window.End, Records: int64(rows),
			FetchedAt: schemastest.Day.Date.End(), RunID: "r", Owns: true}
		f.Windows = append(f.Windows, seal)
	}
	must(t, w.Commit(f))
}

func removeRaw(t testing.TB, l *Lake, raws ...Raw) {
	t.Helper()
	for _, r := range raws {
		must(t, os.Remove(filepath.Join(l.Partition(RawDir, schemastest.Day), r.Name)))
	}
}

// A day file stays as long as what it was made from is missing, whatever else is there, and no longer.
func TestADayWhoseRawFilesAreMissingIsKept(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lose  func(t *testing.T, l *Lake) // after three windows of 8 hours were sealed and derived to 300 rows
		lost  string                      // "" if it can be derived
		stale bool
	}{
		{"nothing missing", func(t *testing.T, l *Lake) {}, "", false},
		{"all of it", func(t *testing.T, l *Lake) { must(t, os.RemoveAll(l.Path(RawDir, "acct=acme", "date=2026-11-01"))) },
			"00:00:00 to 24:00:00", false},
		{"one of three", func(t *testing.T, l *Lake) { removeRaw(t, l, sourceOf(t, l).Windows[1]) }, "08:00:00 to 16:00:00",
			false},
		{"the last, and others sealed since", func(t *testing.T, l *Lake) {
			removeRaw(t, l, sourceOf(t, l).Windows[2])
			sealRecords(t, l, 0, 8, 100)
		}, "16:00:00 to 24:00:00", false},
		{"fetched anew in part", func(t *testing.T, l *Lake) {
			removeRaw(t, l, sourceOf(t, l).Windows[1:]...)
			sealRecords(t, l, 8, 20, 100)
		}, "20:00:00 to 24:00:00", false},
		{"fetched anew", func(t *testing.T, l *Lake) {
			removeRaw(t, l, sourceOf(t, l).Windows[1:]...)
			sealRecords(t, l, 8, 20, 150)
			sealRecords(t, l, 20, 24, 100)
		}, "", true},
		{"fetched anew, and less than half came", func(t *testing.T, l *Lake) {
			must(t, os.RemoveAll(l.Path(RawDir, "acct=acme", "date=2026-11-01")))
			sealRecords(t, l, 0, 24, 149)
		}, "00:00:00 to 08:00:00, 08:00:00 to 16:00:00, 16:00:00 to 24:00:00", false},
		{"fetched anew, and nothing came", func(t *testing.T, l *Lake) {
			removeRaw(t, l, sourceOf(t, l).Windows[0])
			sealRecords(t, l, 0, 8, 0)
		}, "00:00:00 to 08:00:00", false},
		{"one that a later one covers", func(t *testing.T, l *Lake) {
			sealRecords(t, l, 0, 24, 300)
			deriveRows(t, l, 300)
			removeRaw(t, l, sourceOf(t, l).Windows[0])
		}, "", true},
		{"one that an older one covers", func(t *testing.T, l *Lake) {
			sealRecords(t, l, 2, 4, 50) // corrects a part of the first
			deriveRows(t, l, 300)
			removeRaw(t, l, sourceOf(t, l).Windows[3])
		}, "02:00:00 to 04:00:00", false},
		{"a day file that can't be read", func(t *testing.T, l *Lake) {
			must(t, os.RemoveAll(l.Path(RawDir, "acct=acme", "date=2026-11-01")))
			must(t, os.WriteFile(l.UsagePath(schemastest.Day), []byte("PAR1 no PAR1"), durable.FileMode))
		}, "00:00:00 to 24:00:00", false},
		{"the day file gone, too, and a quarantine left", func(t *testing.T, l *Lake) {
			deriveRows(t, l, 300, schemas.Reject{Window: schemastest.Day.Window(), Reason: schemas.ReasonNoID, Raw: []byte("{}"),
				FetchedAt: schemastest.Day.Date.End(), RunID: "r"})
			must(t, os.RemoveAll(l.Path(RawDir, "acct=acme", "date=2026-11-01")))
			must(t, os.Remove(l.UsagePath(schemastest.Day)))
		}, "00:00:00 to 24:00:00", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			for i := range 3 {
				sealRecords(t, l, 8*i, 8*i+8, 100)
			}
			deriveRows(t, l, 300)
			tt.lose(t, l)
			orphans, err := l.Orphans(schemastest.Day)
			must(t, err)
			got := ""
			for _, o := range orphans {
				got += spans(o.Lost)
				if !strings.Contains(o.Hint(), "--drop-orphans acme/2026-11-01") || o.Why == "" {
					t.Errorf("%s: %s", o, o.Hint())
				}
			}
			if got != tt.lost {
				t.Errorf("missing is %q, want %q (%v)", got, tt.lost, orphans)
			}
			if stale, err := l.Stale(schemastest.Day, 1); err != nil || stale != tt.stale {
				t.Errorf("Stale = %v, %v; want %v", stale, err, tt.stale)
			}
			if tt.lost == "" {
				return
			}
			// Named, it goes.
			if dropped, err := l.Drop(schemastest.Day); err != nil || len(dropped) != 1 {
				t.Errorf("dropped %v, %v", dropped, err)
			}
			if left, err := l.Orphans(schemastest.Day); err != nil || len(left) != 0 {
				t.Errorf("dropped, and still %v, %v", left, err)
			}
			if again, err := l.Drop(schemastest.Day); err != nil || len(again) != 0 {
				t.Errorf("dropped again: %v, %v", again, err)
			}
		})
	}
}

func sourceOf(t testing.TB, l *Lake) Source {
	t.Helper()
	source, err := l.Source(schemastest.Day)
	must(t, err)
	return source
}

// A number in the raw archive is never given to another window while a day file names it: a file that is restored later
// is still the one it was.
func TestANumberOfAMissingWindowIsNotTakenAgain(t *testing.T) {
	l := newTestLake(t, Options{})
	sealRecords(t, l, 0, 12, 1)
	last := sealRecords(t, l, 12, 24, 1)
	deriveRows(t, l, 2)
	removeRaw(t, l, last)
	if r := sealRecords(t, l, 12, 24, 1); r.Seq != 3 {
		t.Errorf("the next window has number %d, want 3", r.Seq)
	}
	// no number can be told from it
	must(t, os.WriteFile(l.UsagePath(schemastest.Day), []byte("damaged"), durable.FileMode))
	if r := sealRecords(t, l, 0, 1, 1); r.Seq != 4 {
		t.Errorf("the next window has number %d, want 4", r.Seq)
	}
}

// What is replaced after its raw files were fetched anew is kept in damaged/, for it may hold what no window does.
func TestADayThatIsDerivedFromOtherWindowsIsKeptBeside(t *testing.T) {
	l := newTestLake(t, Options{})
	first := sealRecords(t, l, 0, 24, 10)
	deriveRows(t, l, 10)
	must(t, l.KeepOrphan(sourceOf(t, l)))
	sealRecords(t, l, 0, 12, 10)
	must(t, l.KeepOrphan(sourceOf(t, l)))
	if names, err := l.list(l.Path(DamagedDir)); err != nil || len(names) != 0 {
		t.Errorf("kept though nothing is missing: %v %v", names, err)
	}
	was, err := os.ReadFile(l.UsagePath(schemastest.Day))
	must(t, err)
	removeRaw(t, l, first)
	sealRecords(t, l, 0, 24, 10)
	for range 2 { // twice is once
		must(t, l.KeepOrphan(sourceOf(t, l)))
	}
	names, err := l.list(l.Path(DamagedDir))
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("kept %v", names)
	}
	if b, err := os.ReadFile(l.Path(DamagedDir, names[0])); err != nil || !bytes.Equal(b, was) {
		t.Errorf("kept another file: %v", err)
	}
	if _, err := os.Stat(l.UsagePath(schemastest.Day)); err != nil {
		t.Errorf("readers miss the day meanwhile: %v", err)
	}
}

// Nobody gets to write to a lake whose raw archive isn't there.
func TestALakeWithoutItsRawArchiveIsRefused(t *testing.T) {
	for _, tree := range []string{UsageDir, QuarantineDir, BalanceDir} {
		t.Run(tree, func(t *testing.T) {
			l := newTestLake(t, Options{})
			must(t, os.MkdirAll(l.Partition(tree, schemastest.Day), 0o700))
			for _, empty := range []bool{false, true} {
				if empty {
					must(t, os.Mkdir(l.Path(RawDir), 0o700))
				}
				before := listing(t, l.Dir())
				if _, err := l.Lock(t.Context(), "export", false); !errors.Is(err, ErrNoRaw) ||
					!strings.Contains(err.Error(), "--raw-lost") {
					t.Errorf("Lock: %v", err)
				}
				if after := listing(t, l.Dir()); after != before {
					t.Errorf("something was written: %s", after)
				}
			}
			must(t, l.AcceptNoRaw())
			must(t, l.AcceptNoRaw())
			unlock, err := l.Lock(t.Context(), "export", false)
			must(t, err)
			must(t, unlock())
		})
	}
	l := newTestLake(t, Options{}) // a new lake has neither
	unlock, err := l.Lock(t.Context(), "export", false)
	must(t, err)
	must(t, unlock())
}

// listing lists a directory's files with their sizes.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var out []string
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		out = append(out, fmt.Sprintf("%s %d", path, info.Size()))
		return err
	}))
	return strings.Join(out, "\n")
}

// Rows of balances whose sealed answers are gone are carried on.
func TestBalancesWhoseAnswersAreMissingAreKept(t *testing.T) {
	l := newTestLake(t, Options{})
	row := func(at time.Time) arrow.RecordBatch {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schemas.BalanceSchema())
		defer b.Release()
		b.Field(0).(*array.StringBuilder).Append("acme")
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(at.UnixMicro()))
		for i := 2; i < 8; i++ {
			b.Field(i).AppendNull()
		}
		b.Field(8).(*array.StringBuilder).Append("req")
		b.Field(9).(*array.StringBuilder).Append("run")
		rec := b.NewRecordBatch()
		t.Cleanup(rec.Release)
		return rec
	}
	var raws []Raw
	var rows []arrow.RecordBatch
	var names []string
	at := schemastest.Day.Date.Start().Add(time.Hour)
	for i := range 3 {
		s := schemastest.Seal(at.Add(time.Duration(i)*time.Second), at.Add(time.Duration(i+1)*time.Second))
		s.Kind, s.Announced, s.Proof, s.FetchedAt = schemas.KindBalance, nil, "", s.Start.Add(300*time.Millisecond)
		r, err := l.Seal(t.Context(), s, schemastest.Pages(s.Start)[:1])
		must(t, err)
		raws, rows, names = append(raws, r), append(rows, row(s.FetchedAt)), append(names, r.Name)
	}
	for _, known := range []bool{true, false} {
		sealed := names
		if !known { // as an earlier version wrote them
			sealed = nil
		}
		must(t, l.WriteBalance(schemastest.Day, "d", sealed, rows))
		have := func(at time.Time) bool { return at.Equal(raws[0].Window.Start.Add(300 * time.Millisecond)) }
		gone, kept, err := l.OrphanedBalances(t.Context(), schemastest.Day, raws[:1], have)
		must(t, err)
		if len(gone) != 2 || len(kept) != 2 || known && !slices.Equal(gone, names[1:]) {
			t.Errorf("known %v: gone %v, %d rows", known, gone, len(kept))
		}
		for i, k := range kept {
			if got := k.Column(1).(*array.Timestamp).Value(0); got != rows[i+1].Column(1).(*array.Timestamp).Value(0) ||
				k.NumRows() != 1 {
				t.Errorf("row %d is of %v", i, got)
			}
			k.Release()
		}
	}
	must(t, l.WriteBalance(schemastest.Day, "d", names, rows))
	if o, err := l.Orphans(schemastest.Day); err != nil || len(o) != 0 {
		t.Errorf("%v %v", o, err)
	}
	removeRaw(t, l, raws[1])
	if o, err := l.Orphans(schemastest.Day); err != nil || len(o) != 1 || o[0].What != OrphanBalance || o[0].Rows != 1 {
		t.Errorf("%v %v", o, err)
	}
	removeRaw(t, l, raws[0], raws[2])
	if o, err := l.Orphans(schemastest.Day); err != nil || len(o) != 1 || o[0].Rows != 3 {
		t.Errorf("%v %v", o, err)
	}
	if d, err := l.Drop(schemastest.Day); err != nil || len(d) != 1 {
		t.Errorf("%v %v", d, err)
	}
	if _, err := os.Stat(l.BalancePath(schemastest.Day)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
