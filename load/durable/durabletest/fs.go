// Package durabletest makes any step of writing fail, in the three ways a step can: not done, done but the answer lost,
// and half done. It is for tests.
package durabletest

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/usagelake/usagelake/load/durable"
)

// Fault says how a step of an FS fails.
type Fault int

// The ways a step fails.
const (
	NotDone Fault = iota // the step has no effect
	Lost                 // the step is done, and its answer lost
	Torn                 // of a write: half of it is done
)

func (f Fault) String() string {
	return [...]string{"not done", "done but the answer lost", "half done"}[f]
}

// FS is the operating system's file system, whose n-th changing step fails, and every step after it too if the
// machine is down. It records the steps.
type FS struct {
	durable.System
	At    int // counts from 0; -1: nothing fails
	How   Fault
	Down  bool // all steps after it fail too, undone: the process died
	Steps []string
}

var errFault = &fs.PathError{Op: "fault", Path: "disk", Err: syscall.EIO}

// Step runs do, or fails.
func (f *FS) Step(name string, do func() error) error {
	n := len(f.Steps)
	f.Steps = append(f.Steps, name)
	switch {
	case n == f.At && f.How == Lost:
		_ = do()
		return errFault
	case n == f.At || f.Down && f.At >= 0 && n > f.At:
		return errFault
	}
	return do()
}

func (f *FS) CreateTemp(dir, pattern string) (file durable.File, err error) {
	err = f.Step("create "+pattern, func() (err error) {
		file, err = f.System.CreateTemp(dir, pattern)
		return err
	})
	return f.Wrap(file, err)
}

func (f *FS) OpenAppend(name string) (file durable.File, err error) {
	err = f.Step("open "+filepath.Base(name), func() (err error) {
		file, err = f.System.OpenAppend(name)
		return err
	})
	return f.Wrap(file, err)
}

// Wrap makes the steps of an open file fail, too.
func (f *FS) Wrap(file durable.File, err error) (durable.File, error) {
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *FS) MkdirAll(name string, mode fs.FileMode) error {
	return f.Step("mkdir "+filepath.Base(name), func() error { return f.System.MkdirAll(name, mode) })
}

func (f *FS) Rename(from, to string) error {
	return f.Step("rename "+filepath.Base(to), func() error { return f.System.Rename(from, to) })
}

func (f *FS) Link(from, to string) error {
	return f.Step("link "+filepath.Base(to), func() error { return f.System.Link(from, to) })
}

func (f *FS) Remove(name string) error {
	return f.Step("remove "+filepath.Base(name), func() error { return f.System.Remove(name) })
}

func (f *FS) SyncDir(name string) error {
	return f.Step("syncdir "+filepath.Base(name), func() error { return nil }) // no power fails here, and it is slow
}

type faultFile struct {
	durable.File
	fs *FS
}

func (f *faultFile) Write(b []byte) (n int, err error) {
	if f.fs.How == Torn && len(f.fs.Steps) == f.fs.At {
		n, _ = f.File.Write(b[:len(b)/2])
		f.fs.Steps = append(f.fs.Steps, "write")
		return n, errFault
	}
	err = f.fs.Step("write", func() (err error) {
		n, err = f.File.Write(b)
		return err
	})
	return n, err
}

func (f *faultFile) Sync() error { return f.fs.Step("sync", func() error { return nil }) }
func (f *faultFile) Truncate(size int64) error {
	return f.fs.Step("truncate", func() error { return f.File.Truncate(size) })
}

// Close always closes, so that tests leak nothing.
func (f *faultFile) Close() error {
	err := f.File.Close()
	return errors.Join(f.fs.Step("close", func() error { return nil }), err)
}
