package durable

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Out says how a file outside of the lake is written. The zero value is a file for its owner alone, in place of what
// stood there.
type Out struct {
	Mode fs.FileMode // 0 is 0600; the umask takes off what it takes off
	GID  *int        // of the group that Mode lets in; nil: as the folder has it
	New  bool        // fs.ErrExist if something stands there
	// Loose files aren't made durable: whoever writes many does that at the end, of all of them, where each by itself
	// would wait for the disk.
	Loose bool
}

// Out is how files with the lake's usage are written outside of it: as private as the lake itself.
func (t *Tree) Out() Out {
	if t.Group {
		return Out{Mode: GroupFileMode}
	}
	return Out{Mode: FileMode}
}

// WriteOut writes a file outside of the lake: a report, the answer to a query, a config. All of them go this way:
//
//	a temp file beside the target, of the mode and the umask · write · fsync · close · rename · fsync the directory
//
// If write fails there is no new file, and what stood there stays. A symbolic link stays, and the file that it points
// to is replaced. What is no file, as /dev/stdout or a pipe, is written to.
func WriteOut(path string, o Out, write func(io.Writer) error) error {
	f, err := o.Draft(path, write)
	if err != nil {
		return err
	}
	return f.Commit()
}

// Draft is WriteOut up to the rename, which commit does; abort drops the file.
func (o Out) Draft(path string, write func(io.Writer) error) (_ *OutFile, err error) {
	f, err := o.Create(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Abort()
		}
	}()
	b := bufio.NewWriterSize(f.File, 1<<16)
	if err := write(b); err != nil {
		return nil, Full(err, filepath.Dir(path))
	}
	err = b.Flush()
	if f.Target != "" && err == nil {
		err = f.Settle()
	}
	if err != nil {
		return nil, Full(fmt.Errorf("write %s: %w", path, err), filepath.Dir(path))
	}
	return f, nil
}

// Bytes is WriteOut of what is at hand.
func (o Out) Bytes(path string, b []byte) error {
	return WriteOut(path, o, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// Copy is WriteOut of a file.
func (o Out) Copy(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return WriteOut(to, o, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}

// OutFile is a file that WriteOut has begun. A kill before the rename leaves it beside the target, as .usagelake-…:
// nobody takes it for the target, and nobody removes it.
type OutFile struct {
	*os.File
	Path   string // as it was given
	Target string // of the rename; "" if the file is written to as it stands
	isNew  bool
	loose  bool
	closed bool // durable, unless it is loose, under its first name
	done   bool
}

// Create begins a file; Commit or Abort ends it.
func (o Out) Create(path string) (_ *OutFile, err error) {
	defer func() {
		if err != nil {
			err = Full(fmt.Errorf("write %s: %w", path, err), filepath.Dir(path))
		}
	}()
	f := &OutFile{Path: path, Target: path, isNew: o.New, loose: o.Loose}
	switch info, err := os.Stat(path); {
	case err == nil && o.New:
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	case err == nil && info.IsDir():
		return nil, &fs.PathError{Op: "create", Path: path, Err: syscall.EISDIR}
	case err == nil && !info.Mode().IsRegular():
		f.Target = ""
		f.File, err = os.OpenFile(path, os.O_WRONLY, 0)
		return f, err
	case err == nil:
		if f.Target, err = filepath.EvalSymlinks(path); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	default:
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, errors.New("it is a symbolic link that leads nowhere")
		}
	}
	mode := o.Mode
	if mode == 0 {
		mode = FileMode
	}
	for range 100 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		name := filepath.Join(filepath.Dir(f.Target), ".usagelake-"+hex.EncodeToString(b[:])+filepath.Ext(f.Target))
		f.File, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err == nil && o.GID != nil {
		// Before there is anything in it. The umask may have taken off what lets the group in.
		if err = errors.Join(f.Chown(-1, *o.GID), f.Chmod(mode)); err != nil {
			f.Abort()
		}
	}
	return f, err
}

// Settle makes the file durable, and leaves its name to commit.
func (f *OutFile) Settle() error {
	f.closed = true
	if f.loose {
		return f.Close()
	}
	return errors.Join(f.Sync(), f.Close())
}

// Commit makes the file durable under its name.
func (f *OutFile) Commit() (err error) {
	if f.done {
		return nil
	}
	f.done = true
	defer func() {
		if err != nil {
			if f.Target != "" {
				_ = os.Remove(f.Name())
			}
			err = Full(fmt.Errorf("write %s: %w", f.Path, err), filepath.Dir(f.Path))
		}
	}()
	if f.Target == "" {
		return f.Close()
	}
	if !f.closed {
		if err := f.Settle(); err != nil {
			return err
		}
	}
	if err := f.place(); err != nil {
		return err
	}
	if f.loose {
		return nil
	}
	return tolerate(System{}.SyncDir(filepath.Dir(f.Target)))
}

func (f *OutFile) place() error {
	if !f.isNew {
		return os.Rename(f.Name(), f.Target)
	}
	// A link fails where something stands, which a rename would replace. A kill between it and the remove leaves both
	// names of the one file.
	switch err := os.Link(f.Name(), f.Target); {
	case err == nil:
		return os.Remove(f.Name())
	case errors.Is(err, fs.ErrExist):
		return err
	}
	return os.Rename(f.Name(), f.Target) // a file system without links
}

// Abort drops what isn't committed.
func (f *OutFile) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close()
	if f.Target != "" {
		_ = os.Remove(f.Name())
	}
}
