package load

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

// Out says how a file outside of the lake is written. The zero value is a file for its owner alone, in place of what stood
// there.
type Out struct {
	Mode fs.FileMode // 0 is 0600; the umask takes off what it takes off
	New  bool        // fs.ErrExist if something stands there
}

// Out is how files with the lake's usage are written outside of it: as private as the lake itself.
func (l *Lake) Out() Out {
	if l.group {
		return Out{Mode: groupFileMode}
	}
	return Out{Mode: fileMode}
}

// WriteOut writes a file outside of the lake: a report, the answer to a query, a config. All of them go this way:
//
//	a temp file beside the target, of the mode and the umask · write · fsync · close · rename · fsync the directory
//
// If write fails there is no new file, and what stood there stays. A symbolic link stays, and the file that it points to is
// replaced. What is no file, as /dev/stdout or a pipe, is written to.
func WriteOut(path string, o Out, write func(io.Writer) error) error {
	f, err := o.draft(path, write)
	if err != nil {
		return err
	}
	return f.commit()
}

// draft is WriteOut up to the rename, which commit does; abort drops the file.
func (o Out) draft(path string, write func(io.Writer) error) (_ *outFile, err error) {
	f, err := o.create(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.abort()
		}
	}()
	b := bufio.NewWriterSize(f.File, 1<<16)
	if err := write(b); err != nil {
		return nil, Full(err, filepath.Dir(path))
	}
	err = b.Flush()
	if f.target != "" && err == nil {
		err = f.settle()
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

// outFile is a file that WriteOut has begun.
type outFile struct {
	*os.File
	path   string // as it was given
	target string // of the rename; "" if the file is written to as it stands
	isNew  bool
	closed bool // durable, under its first name
	done   bool
}

func (o Out) create(path string) (_ *outFile, err error) {
	defer func() {
		if err != nil {
			err = Full(fmt.Errorf("write %s: %w", path, err), filepath.Dir(path))
		}
	}()
	f := &outFile{path: path, target: path, isNew: o.New}
	switch info, err := os.Stat(path); {
	case err == nil && o.New:
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	case err == nil && info.IsDir():
		return nil, &fs.PathError{Op: "create", Path: path, Err: syscall.EISDIR}
	case err == nil && !info.Mode().IsRegular():
		f.target = ""
		f.File, err = os.OpenFile(path, os.O_WRONLY, 0)
		return f, err
	case err == nil:
		if f.target, err = filepath.EvalSymlinks(path); err != nil {
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
		mode = fileMode
	}
	for range 100 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		name := filepath.Join(filepath.Dir(f.target), ".usagelake-"+hex.EncodeToString(b[:])+filepath.Ext(f.target))
		f.File, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return f, err
}

// settle makes the file durable, and leaves its name to commit.
func (f *outFile) settle() error {
	f.closed = true
	return errors.Join(f.Sync(), f.Close())
}

// commit makes the file durable under its name.
func (f *outFile) commit() (err error) {
	if f.done {
		return nil
	}
	f.done = true
	defer func() {
		if err != nil {
			if f.target != "" {
				_ = os.Remove(f.Name())
			}
			err = Full(fmt.Errorf("write %s: %w", f.path, err), filepath.Dir(f.path))
		}
	}()
	if f.target == "" {
		return f.Close()
	}
	if !f.closed {
		if err := f.settle(); err != nil {
			return err
		}
	}
	if err := f.place(); err != nil {
		return err
	}
	return tolerate(osFS{}.SyncDir(filepath.Dir(f.target)))
}

func (f *outFile) place() error {
	if !f.isNew {
		return os.Rename(f.Name(), f.target)
	}
	switch err := os.Link(f.Name(), f.target); {
	case err == nil:
		return os.Remove(f.Name())
	case errors.Is(err, fs.ErrExist):
		return err
	}
	return os.Rename(f.Name(), f.target) // a file system without links
}

// abort drops what isn't committed.
func (f *outFile) abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close()
	if f.target != "" {
		_ = os.Remove(f.Name())
	}
}
