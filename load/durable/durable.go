package durable

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
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
	// Link gives a file a second name, which nothing may have yet.
	Link(from, to string) error
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

// System is the operating system's own.
type System struct{}

func (System) CreateTemp(dir, pattern string) (File, error) { return os.CreateTemp(dir, pattern) }
func (System) Open(name string) (File, error)               { return os.Open(name) }
func (System) ReadFile(name string) ([]byte, error)         { return os.ReadFile(name) }
func (System) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (System) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (System) MkdirAll(name string, mode fs.FileMode) error { return os.MkdirAll(name, mode) }
func (System) Chmod(name string, mode fs.FileMode) error    { return os.Chmod(name, mode) }
func (System) Rename(from, to string) error                 { return os.Rename(from, to) }
func (System) Link(from, to string) error                   { return os.Link(from, to) }
func (System) Remove(name string) error                     { return os.Remove(name) }
func (System) RemoveAll(name string) error                  { return os.RemoveAll(name) }
func (System) OpenAppend(name string) (File, error) {
	f, err := OpenNoLink(name, os.O_RDWR|os.O_APPEND|os.O_CREATE, FileMode)
	if err != nil { // not a *os.File that is nil
		return nil, err
	}
	return f, nil
}
func (System) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Tree is a directory that is written to by commits alone: what a reader finds there is a file as it was or as it is to
// be, whole, whenever the process ends.
type Tree struct {
	FS    FS
	Group bool // the members of the directory's group may read what is written

	dir  string
	held func() error // asked before each commit: whether the caller may still write

	// mu guards synced, and is held while directories are made and synced: whoever finds one that another goroutine is
	// making waits until its name is durable.
	mu sync.Mutex
	// synced are the directories whose entries are durable. One that something is being made in is out of it until that is
	// on the disk.
	synced map[string]bool
}

// NewTree is the tree below dir. fs is nil for the operating system's; held, asked before each commit, nil if everybody
// may write.
func NewTree(dir string, fs FS, group bool, held func() error) *Tree {
	if fs == nil {
		fs = System{}
	}
	if held == nil {
		held = func() error { return nil }
	}
	return &Tree{dir: filepath.Clean(dir), FS: fs, Group: group, held: held, synced: map[string]bool{}}
}

// Dir is the directory.
func (t *Tree) Dir() string { return t.dir }

// Path is the path of a file of the tree.
func (t *Tree) Path(elem ...string) string {
	return filepath.Join(append([]string{t.dir}, elem...)...)
}

// Modes of what is written.
const (
	DirMode  os.FileMode = 0o700
	FileMode os.FileMode = 0o600

	// Of a tree that is shared with its group. Set-group-id passes the group on to what is made below.
	GroupDirMode  = os.ModeSetgid | 0o750
	GroupFileMode = os.FileMode(0o640)
)

// TempDir is the folder of half-done files, on the same file system as what they become.
const TempDir = ".tmp"

// Temp is a half-done file in the lake's temp directory. It becomes a file of the lake by commit, or is gone by abort.
type Temp struct {
	File
	tree *Tree
	// Committed, aborted, or given away: Abort leaves the file alone then.
	Done bool
}

// CreateTemp starts a file. The caller must commit or abort it; abort after commit does nothing.
func (t *Tree) CreateTemp(pattern string) (*Temp, error) {
	if err := t.FS.MkdirAll(t.Path(TempDir), DirMode); err != nil {
		return nil, err
	}
	return t.CreateIn(t.Path(TempDir), pattern)
}

// Commit makes the file durable under the name target, in place of what stood there, by one rename. Every step is
// written down, for the order is the promise: the content is on the disk before the name shows it, and the name is
// on the disk before anybody is told.
//
//	fsync(temp) · close(temp) · mkdir(parents of target) · rename(temp, target) · fsync(directory of target)
//
// An error from the last step leaves the new file in place: whoever repeats the commit writes the same again.
func (t *Temp) Commit(target string) error {
	if err := t.Finish(); err != nil {
		return fmt.Errorf("commit %s: %w", target, err)
	}
	return t.tree.Install(t.Name(), target)
}

// Finish makes the content durable and closes the file: the first two steps of commit, for those who learn late under
// which name it goes. Whoever calls it renames or removes the file.
func (t *Temp) Finish() error {
	if t.Done {
		return errors.New("the file is done already")
	}
	defer t.Abort()
	if err := t.Sync(); err != nil {
		return err
	}
	t.Done = true
	if err := t.Close(); err != nil {
		_ = t.tree.FS.Remove(t.Name())
		return err
	}
	return nil
}

// Install renames a durable temp file to target and makes the name durable.
func (t *Tree) Install(name, target string) error {
	dir := filepath.Dir(target)
	// The last look before the name changes. Between it and the rename the lock may still be lost: then two commits of one
	// name follow each other, each whole.
	if err := t.held(); err != nil {
		_ = t.FS.Remove(name)
		return fmt.Errorf("commit %s: %w", target, err)
	}
	if err := t.MakeDirs(dir); err != nil {
		_ = t.FS.Remove(name)
		return fmt.Errorf("commit %s: %w", target, err)
	}
	if err := t.FS.Rename(name, target); err != nil {
		_ = t.FS.Remove(name)
		return fmt.Errorf("commit %s: %w", target, err)
	}
	if err := t.SyncDir(dir); err != nil {
		return fmt.Errorf("commit %s: %w", target, err)
	}
	return nil
}

// Abort drops the file if it isn't committed.
func (t *Temp) Abort() {
	if t.Done {
		return
	}
	t.Done = true
	name := t.Name()
	_ = t.Close()
	_ = t.tree.FS.Remove(name)
}

// Replace writes r to target as one commit.
func (t *Tree) Replace(target string, r io.Reader) error {
	h, err := t.CreateTemp(filepath.Base(target) + ".*")
	if err != nil {
		return fmt.Errorf("commit %s: %w", target, err)
	}
	defer h.Abort()
	if _, err := io.Copy(h, r); err != nil {
		return fmt.Errorf("commit %s: %w", target, err)
	}
	return h.Commit(target)
}

// MakeDirs makes dir, a directory of the lake, and its missing parents within the lake, and makes their names durable.
// A directory that is there already may have been made by a process that died before its name was on the disk, so each
// parent is synced once by each process, whatever it finds.
func (t *Tree) MakeDirs(dir string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mkdirsLocked(dir)
}

func (t *Tree) mkdirsLocked(dir string) error {
	parent := filepath.Dir(dir)
	if dir == t.dir || dir == parent {
		return nil
	}
	if err := t.mkdirsLocked(parent); err != nil {
		return err
	}
	if _, err := t.FS.Stat(dir); err == nil && t.synced[parent] {
		return nil
	}
	// Until it is synced again: if making the directory or the sync fails, the next one tries anew.
	delete(t.synced, parent)
	if err := t.MakeDir(dir); err != nil {
		return err
	}
	if err := t.SyncDir(parent); err != nil {
		return err
	}
	t.synced[parent] = true
	return nil
}

// SyncDir makes the names in a directory durable, where the file system can.
func (t *Tree) SyncDir(name string) error { return tolerate(t.FS.SyncDir(name)) }

// tolerate passes over what file systems say that have no fsync of a directory (some of networks and of FUSE): they
// keep names as they see fit, whatever is asked.
func tolerate(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EOPNOTSUPP) ||
		errors.Is(err, syscall.ENOSYS) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// Chmod gives a file its mode. A file system that refuses is no matter where the mode is right already.
func (t *Tree) Chmod(name string, mode fs.FileMode) error {
	err := t.FS.Chmod(name, mode)
	if err == nil {
		return nil
	}
	const bits = fs.ModePerm | fs.ModeSetgid
	if info, errStat := t.FS.Stat(name); errStat == nil && info.Mode()&bits == mode&bits {
		return nil
	}
	return err
}

// TryCommit does in a directory what a commit does, each step of it, with a file that it removes again: it tells
// whether a run would come through. fs is nil for the operating system's; group is as in Options.
func TryCommit(fs FS, dir string, group bool) error {
	if fs == nil {
		fs = System{}
	}
	t := NewTree(dir, fs, group, nil)
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
	mode := FileMode
	if group {
		mode = GroupFileMode
	}
	if err := t.Chmod(name, mode); err != nil {
		return err
	}
	if err := fs.Rename(name, target); err != nil {
		return err
	}
	if err := t.SyncDir(dir); err != nil {
		return err
	}
	return fs.Remove(target)
}

// Share lets the lake's group read a file that was made, where the lake is shared.
func (t *Tree) Share(name string) error {
	if !t.Group {
		return nil
	}
	return t.Chmod(name, GroupFileMode)
}

// MakeDir makes a directory of the lake, or leaves the one that is there as it is.
func (t *Tree) MakeDir(dir string) error {
	if _, err := t.FS.Stat(dir); err == nil {
		return nil
	}
	if err := t.FS.MkdirAll(dir, DirMode); err != nil {
		return err
	}
	if !t.Group {
		return nil
	}
	return t.Chmod(dir, GroupDirMode)
}

// CreateIn starts a file in dir and not among the tree's temp files, which whoever takes the lake's lock drops.
func (t *Tree) CreateIn(dir, pattern string) (*Temp, error) {
	f, err := t.FS.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	h := &Temp{File: f, tree: t}
	if err := t.Share(f.Name()); err != nil {
		h.Abort()
		return nil, err
	}
	return h, nil
}

// Unchanged says that two looks at a path found one file, as it was: by its place on the disk, its size and time.
func Unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Digest is the hex SHA-256 of a file.
func (t *Tree) Digest(path string) (string, error) {
	f, err := t.FS.Open(path)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), errors.Join(err, f.Close())
}
