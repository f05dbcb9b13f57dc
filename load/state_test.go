package load

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/durable/durabletest"
)

type note struct{ N int }

func writeNote(l *Lake, n int) error {
	unlock, err := l.LockState(context.Background(), "notes")
	if err != nil {
		return err
	}
	return errors.Join(l.WriteState("notes", note{n}), unlock())
}

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	l := newTestLake(t, Options{Group: true})
	var got note
	if ok, err := l.ReadState("notes", &got); ok || err != nil {
		t.Fatalf("no state gives %v, %v", ok, err)
	}
	for n := range 3 {
		must(t, writeNote(l, n))
		if ok, err := l.ReadState("notes", &got); !ok || err != nil || got.N != n {
			t.Fatalf("%d reads as %d, %v, %v", n, got.N, ok, err)
		}
	}
	info, err := os.Stat(l.Path("journal", "notes.json"))
	must(t, err)
	if info.Mode().Perm() != durable.GroupFileMode {
		t.Errorf("its mode is %o", info.Mode().Perm())
	}
	must(t, os.WriteFile(l.Path("journal", "notes.json"), []byte(`{"N":`), 0o600))
	var damaged *DamagedError
	if _, err := l.ReadState("notes", &got); !errors.As(err, &damaged) {
		t.Errorf("a torn one: %v", err)
	}
}

func TestAStateNeedsNotTheLakesLockAndOneWritesAtATime(t *testing.T) {
	l := newTestLake(t, Options{})
	unlockLake, err := l.Lock(t.Context(), "export", false)
	must(t, err)
	unlock, err := l.LockState(t.Context(), "notes")
	must(t, err)
	if _, err := l.LockState(t.Context(), "notes"); !errors.Is(err, ErrStateHeld) {
		t.Errorf("a second one: %v", err)
	}
	if other, err := l.LockState(t.Context(), "others"); err != nil || other() != nil {
		t.Errorf("another state: %v", err)
	}
	must(t, l.WriteState("notes", note{1}))
	must(t, unlockLake())
	must(t, unlock())
	must(t, writeNote(l, 2))
	for _, name := range []string{"", "../x", "a/b", "A", "lake.json"} {
		if _, err := l.LockState(t.Context(), name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}

// Whatever step fails, and in whatever way, the state is the old one or the new, and the next write leaves nothing
// behind.
func TestAStateIsWholeWhateverStepFails(t *testing.T) {
	for _, how := range []durabletest.Fault{durabletest.NotDone, durabletest.Lost, durabletest.Torn} {
		for _, down := range []bool{false, true} {
			for at := 0; ; at++ {
				dir := filepath.Join(t.TempDir(), "lake")
				l, err := Create(dir, Options{})
				must(t, err)
				must(t, writeNote(l, 1))
				ffs := &durabletest.FS{At: -1}
				l, err = Open(dir, Options{FS: ffs})
				must(t, err)
				unlock, err := l.LockState(t.Context(), "notes")
				must(t, err)
				ffs.Steps, ffs.At, ffs.How, ffs.Down = nil, at, how, down
				err = l.WriteState("notes", note{2})
				must(t, unlock())
				if at >= len(ffs.Steps) {
					must(t, err)
					break
				}
				l, openErr := Open(dir, Options{})
				must(t, openErr)
				var got note
				if ok, readErr := l.ReadState("notes", &got); !ok || readErr != nil || got.N == 1 && err == nil {
					t.Errorf("%v at step %d (%s): %v, and the state is %v, %v", how, at, ffs.Steps[at], err, got, readErr)
				}
				must(t, writeNote(l, 3))
				left, err := l.list(l.Path("journal"))
				must(t, err)
				if names := strings.Join(left, " "); names != "notes.json notes.lock" {
					t.Errorf("%v at step %d: left is %s", how, at, names)
				}
			}
		}
	}
}
