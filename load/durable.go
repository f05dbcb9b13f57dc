package load

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is the part of the operating system that the lake writes and reads through, so that tests can make any step
// fail. Paths are those of package os.
type FS interface {
	// CreateTemp makes a new file of mode 0600 in dir; pattern as in os.CreateTemp.
	CreateTemp(dir, pattern string) (File, error)
	Open(name string) (File, error)
	// OpenAppend opens name for appending, and makes it with mode 0600 if it isn't there. It follows no link.
	OpenAppend(name string) (File, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	MkdirAll(name string, mode fs.FileMode) error
	Chmod(name string, mode fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	// SyncDir makes the names in a directory durable: a rename is not before it.
	SyncDir(name string) error
}

// File is an open file of an FS.
type File interface {
	io.ReadWriteSeeker
	io.ReaderAt
	io.Closer
	Name() string
	Sync() error
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

// OS is the operating system's own, for whoever wraps it.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) CreateTemp(dir, pattern string) (File, error) { return os.CreateTemp(dir, pattern) }
func (osFS) Open(name string) (File, error)               { return os.Open(name) }
func (osFS) ReadFile(name string) ([]byte, error)         { return os.ReadFile(name) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (osFS) MkdirAll(name string, mode fs.FileMode) error { return os.MkdirAll(name, mode) }
func (osFS) Chmod(name string, mode fs.FileMode) error    { return os.Chmod(name, mode) }
func (osFS) Rename(from, to string) error                 { return os.Rename(from, to) }
func (osFS) Remove(name string) error                     { return os.Remove(name) }
func (osFS) RemoveAll(name string) error                  { return os.RemoveAll(name) }
func (osFS) OpenAppend(name string) (File, error) {
	f, err := openNoLink(name, os.O_RDWR|os.O_APPEND|os.O_CREATE, fileMode)
	if err != nil { // not a *os.File that is nil
		return nil, err
	}
	return f, nil
}
func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// temp is a half-done file in the lake's temp directory. It becomes a file of the lake by commit, or is gone by abort.
type temp struct {
	File
	lake *Lake
	done bool
}

// createTemp starts a file. The caller must commit or abort it; abort after commit does nothing.
func (l *Lake) createTemp(pattern string) (*temp, error) {
	if err := l.fs.MkdirAll(l.path(tempDir), dirMode); err != nil {
		return nil, err
	}
	f, err := l.fs.CreateTemp(l.path(tempDir), pattern)
	if err != nil {
		return nil, err
	}
	t := &temp{File: f, lake: l}
	if err := l.shareFile(f.Name()); err != nil {
		t.abort()
		return nil, err
	}
	return t, nil
}

// commit makes the file durable under the name target, in place of what stood there, by one rename. Every step is
// written down, for the order is the promise: the content is on the disk before the name shows it, and the name is
// on the disk before anybody is told.
//
//	fsync(temp) · close(temp) · mkdir(parents of target) · rename(temp, target) · fsync(directory of target)
//
// An error from the last step leaves the new file in place: whoever repeats the commit writes the same again.
func (t *temp) commit(target string) error {
	if err := t.finish(); err != nil {
		return fmt.Errorf("commit %s: %w", target, err)
	}
	return t.lake.install(t.Name(), target)
}

// finish makes the content durable and closes the file: the first two steps of commit, for those who learn late under
// which name it goes. Whoever calls it renames or removes the file.
func (t *temp) finish() error {
	if t.done {
		return errors.New("the file is done already")
	}
	defer t.abort()
	if err := t.Sync(); err != nil {
		return err
	}
	t.done = true
	if err := t.Close(); err != nil {
		_ = t.lake.fs.Remove(t.Name())
		return err
	}
	return nil
}

// install renames a durable temp file to target and makes the name durable.
func (l *Lake) install(name, target string) error {
	dir := filepath.Dir(target)
	if err := l.checkHeld(); err != nil {
		_ = l.fs.Remove(name)
		return fmt.Errorf("commit %s: %w", target, err)
	}
	if err := l.mkdirs(dir); err != nil {
		_ = l.fs.Remove(name)
		return fmt.Errorf("commit %s: %w", target, err)
	}
	if err := l.fs.Rename(name, target); err != nil {
		_ = l.fs.Remove(name)
		return fmt.Errorf("commit %s: %w", target, err)
	}
	if err := l.syncDir(dir); err != nil {
		return fmt.Errorf("commit %s: %w", target, err)
	}
	return nil
}

// abort drops the file if it isn't committed.
func (t *temp) abort() {
	if t.done {
		return
	}
	t.done = true
	name := t.Name()
	_ = t.Close()
	_ = t.lake.fs.Remove(name)
}

// replace writes r to target as one commit.
func (l *Lake) replace(target string, r io.Reader) error {
	t, err := l.createTemp(filepath.Base(target) + ".*")
	if err != nil {
		return fmt.Errorf("commit %s: %w", target, err)
	}
	defer t.abort()
	if _, err := io.Copy(t, r); err != nil {
		return fmt.Errorf("commit %s: %w", target, err)
	}
	return t.commit(target)
}

// mkdirs makes dir, a directory of the lake, and its missing parents within the lake, and makes their names durable. A
// directory that is there already may have been made by a process that died before its name was on the disk, so each
// parent is synced once by each process, whatever it finds.
func (l *Lake) mkdirs(dir string) error {
	l.dirMu.Lock()
	defer l.dirMu.Unlock()
	return l.mkdirsLocked(dir)
}

func (l *Lake) mkdirsLocked(dir string) error {
	parent := filepath.Dir(dir)
	if dir == l.dir || dir == parent {
		return nil
	}
	if err := l.mkdirsLocked(parent); err != nil {
		return err
	}
	if _, err := l.fs.Stat(dir); err == nil && l.synced[parent] {
		return nil
	}
	delete(l.synced, parent)
	if err := l.makeDir(dir); err != nil {
		return err
	}
	if err := l.syncDir(parent); err != nil {
		return err
	}
	l.synced[parent] = true
	return nil
}

// syncDir makes the names in a directory durable, where the file system can.
func (l *Lake) syncDir(name string) error { return tolerate(l.fs.SyncDir(name)) }

// tolerate passes over what file systems say that have no fsync of a directory (some of networks and of FUSE): they keep
// names as they see fit, whatever is asked.
func tolerate(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// chmod gives a file its mode. A file system that refuses is no matter where the mode is right already.
func (l *Lake) chmod(name string, mode fs.FileMode) error {
	err := l.fs.Chmod(name, mode)
	if err == nil {
		return nil
	}
	const bits = fs.ModePerm | fs.ModeSetgid
	if info, errStat := l.fs.Stat(name); errStat == nil && info.Mode()&bits == mode&bits {
		return nil
	}
	return err
}

// TryCommit does in a directory what a commit does, each step of it, with a file that it removes again: it tells whether a run
// would come through. fs is nil for the operating system's; group is as in Options.
func TryCommit(fs FS, dir string, group bool) error {
	if fs == nil {
		fs = osFS{}
	}
	l := &Lake{dir: dir, fs: fs, group: group}
	f, err := fs.CreateTemp(dir, ".usagelake-doctor-*")
	if err != nil {
		return err
	}
	name, target := f.Name(), f.Name()+".renamed"
	defer func() {
		_ = fs.Remove(name)
		_ = fs.Remove(target)
	}()
	_, err = f.Write([]byte("a file that usagelake doctor made, and removes\n"))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	mode := fileMode
	if group {
		mode = groupFileMode
	}
	if err := l.chmod(name, mode); err != nil {
		return err
	}
	if err := fs.Rename(name, target); err != nil {
		return err
	}
	if err := l.syncDir(dir); err != nil {
		return err
	}
	return fs.Remove(target)
}

// shareFile lets the lake's group read a file that was made, where the lake is shared.
func (l *Lake) shareFile(name string) error {
	if !l.group {
		return nil
	}
	return l.chmod(name, groupFileMode)
}

// makeDir makes a directory of the lake, or leaves the one that is there as it is.
func (l *Lake) makeDir(dir string) error {
	if _, err := l.fs.Stat(dir); err == nil {
		return nil
	}
	if err := l.fs.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	if !l.group {
		return nil
	}
	return l.chmod(dir, groupDirMode)
}
