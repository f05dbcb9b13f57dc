package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A scratch is a directory for what DuckDB spills while the lake is read: of mode 0700, under a name that nobody can
// foresee, in the lake's temp directory, or where the lake can't be written, in the system's. A file in it is locked as
// long as its process lives, so that whoever comes later can tell one that is left from one that is used, and removes
// it.
//
//	LAKE/.tmp/usagelake-scratch-123456/lock      held
//	                                  /spill/    DuckDB's
const (
	ScratchPrefix = "usagelake-scratch-"
	scratchLock   = "lock"
	// scratchAge is how old a scratch without a lock must be to be left over, and not one that is being made.
	scratchAge = time.Minute
)

// MakeScratch makes one in base; done removes it.
func MakeScratch(base string) (dir string, done func(), err error) {
	top, err := os.MkdirTemp(base, ScratchPrefix+"*") // of mode 0700
	if err != nil {
		return "", nil, err
	}
	drop := func() { _ = os.RemoveAll(top) }
	f, err := os.OpenFile(filepath.Join(top, scratchLock), os.O_RDWR|os.O_CREATE|os.O_EXCL, FileMode)
	if err == nil {
		if err = TryLock(f, true); errors.Is(err, ErrNoLocks) {
			err = nil // nobody can tell whether it is left, and nobody removes it
		}
		if err != nil {
			_ = f.Close()
		}
	}
	dir = filepath.Join(top, "spill")
	if err == nil {
		if err = os.Mkdir(dir, DirMode); err != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		drop()
		return "", nil, err
	}
	// The lock is let go of last: until then nobody sweeps what is being removed.
	return dir, func() {
		drop()
		_ = f.Close()
	}, nil
}

// SweepScratch removes the scratches in base that were left. What belongs to another user can't be, and stays.
func SweepScratch(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if name := filepath.Join(base, e.Name()); strings.HasPrefix(e.Name(), ScratchPrefix) && e.IsDir() &&
			!UsedScratch(name) {
			_ = os.RemoveAll(name)
		}
	}
}

// UsedScratch says whether a process still uses a scratch, or may.
func UsedScratch(top string) bool {
	info, err := os.Lstat(top)
	if err != nil || !info.IsDir() {
		return false
	}
	if owner, known := OwnerOf(info); known && owner != os.Geteuid() {
		return true
	}
	f, err := OpenNoLink(filepath.Join(top, scratchLock), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Since(info.ModTime()) < scratchAge
	}
	if err != nil {
		return true
	}
	defer f.Close()
	// One that is free stays so: nobody takes up another's scratch. The lock that this look took goes with f.
	return TryLock(f, true) != nil
}

// ErrNoLocks says that the lake's file system can't lock files, so two processes could not be kept apart.
var ErrNoLocks = errors.New("the file system can't lock files")
