package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/usagelake/usagelake/load/durable"
)

// tempDir is the folder of half-done files and of the lock, outside of every listing.
const tempDir = durable.TempDir

// files is a directory as a bucket.
//
//	DIR/KEY           objects
//	DIR/.tmp/lock     held while an object is replaced or removed: a look at what is there and what follows are one step
//	DIR/.tmp/put-*    half-done; those that a kill left are dropped after a day
//
// A put is temp file · write · fsync · close · link, or lock and rename · fsync of the directory. The directory itself
// is made by the first put, the one that it is in must be there: what isn't mounted is not written to. One that has the
// set-group-id bit and lets its group in is shared with the group, as a lake is.
type files struct {
	dir  string
	tree *durable.Tree
	link func(from, to string) error // os.Link; fails where it exists
	once sync.Once                   // of sweep
}

const (
	putPrefix = "put-"
	leftAfter = 24 * time.Hour // since its last byte
)

func openFiles(at address) (*files, error) {
	dir := filepath.FromSlash(at.bucket)
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return nil, &Error{Err: &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}}
	}
	group := err == nil && info.Mode()&fs.ModeSetgid != 0 && info.Mode().Perm()&0o050 == 0o050
	return &files{dir: dir, tree: durable.NewTree(dir, nil, group, nil), link: os.Link}, nil
}

// fails says what an error of the file system comes to.
func (f *files) fails(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return &Error{Err: fmt.Errorf("%w: %w", ErrRights, err),
			Hint: "let the user that usagelake runs as use the directory"}
	}
	return durable.Full(err, f.dir)
}

// missing tells what a missing file means: no object, or no bucket that it could be in.
func (f *files) missing() error {
	if _, err := os.Stat(filepath.Dir(f.dir)); errors.Is(err, fs.ErrNotExist) {
		return &Error{Err: fmt.Errorf("%w: %w", ErrNoBucket, err), Hint: "make " + filepath.Dir(f.dir) + ", or mount it"}
	}
	return &Error{Err: ErrAbsent}
}

func (f *files) path(key string) string { return filepath.Join(f.dir, filepath.FromSlash(key)) }

// open opens an object for reading. No link is followed.
func (f *files) open(key string) (*os.File, fs.FileInfo, error) {
	file, err := durable.OpenNoLink(f.path(key), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil, f.missing()
	}
	if err != nil {
		return nil, nil, f.fails(err)
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = f.missing()
	} else if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

// look opens an object and says in which state it is: whoever replaces it puts another file there, so the one that is
// open stays as it was hashed.
func (f *files) look(ctx context.Context, key string) (*os.File, Object, error) {
	file, info, err := f.open(key)
	if err != nil {
		return nil, Object{}, err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, &withContext{ctx, file})
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return nil, Object{}, f.fails(err)
	}
	return file, Object{Key: key, Size: info.Size(), Tag: tagOf(sum), Modified: info.ModTime().UTC()}, nil
}

func tagOf(sum hash.Hash) Tag { return Tag(hex.EncodeToString(sum.Sum(nil))) }

func (f *files) get(ctx context.Context, key string) (io.ReadCloser, Object, error) {
	file, o, err := f.look(ctx, key)
	if err != nil {
		return nil, Object{}, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&withContext{ctx, file}, file}, o, nil
}

func (f *files) put(ctx context.Context, key string, body Body, on On) (Tag, error) {
	if err := f.makeRoot(); err != nil {
		return "", err
	}
	temp, err := f.tree.CreateTemp(putPrefix + "*")
	if err != nil {
		return "", f.fails(err)
	}
	defer temp.Abort()
	f.once.Do(f.sweep)
	sum := sha256.New()
	if err := copyBody(ctx, io.MultiWriter(temp, sum), body, sum); err != nil {
		return "", f.fails(err)
	}
	if err := temp.Finish(); err != nil {
		return "", f.fails(err)
	}
	defer func() { _ = f.tree.FS.Remove(temp.Name()) }() // the name of a link, or of what failed; gone after a rename
	target := f.path(key)
	if err := f.tree.MakeDirs(filepath.Dir(target)); err != nil {
		return "", f.fails(err)
	}
	if on.Absent {
		err = f.create(ctx, temp.Name(), target)
	} else {
		err = f.replace(ctx, temp.Name(), key, on.Match)
	}
	if err != nil {
		return "", err
	}
	if err := f.tree.SyncDir(filepath.Dir(target)); err != nil { // the name is there, and may not be after a crash
		return "", &Error{Err: fmt.Errorf("%w: %w", ErrUnsure, f.fails(err))}
	}
	return tagOf(sum), nil
}

// create gives a file a name that is free. A link fails where something stands, which a rename would replace: it takes
// no lock, so that puts go on side by side. Whatever the system answers, the names say what was done: file systems of
// networks lose answers, and ask again.
func (f *files) create(ctx context.Context, name, target string) error {
	err := f.link(name, target)
	if err == nil {
		return nil
	}
	there, errThere := os.Lstat(target)
	own, errOwn := os.Lstat(name)
	switch {
	case errThere == nil && errOwn == nil && os.SameFile(there, own):
		return nil
	case errThere == nil:
		return &Error{Err: ErrTaken}
	case errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EMLINK):
	default:
		return f.fails(err)
	}
	unlock, err := f.lock(ctx) // a file system without links: the lock keeps others away
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(target); err == nil {
		return &Error{Err: ErrTaken}
	}
	return f.rename(name, target)
}

// replace gives a file the name of an object that is in the state tag; "" is any, or none.
func (f *files) replace(ctx context.Context, name, key string, tag Tag) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if tag != "" {
		if err := f.holds(ctx, key, tag); err != nil {
			return err
		}
	}
	return f.rename(name, f.path(key))
}

// rename gives a file its name, in place of what stands there. One that failed and left the old name was not done.
func (f *files) rename(name, target string) error {
	err := f.tree.FS.Rename(name, target)
	if err == nil {
		return nil
	}
	if _, errOwn := os.Lstat(name); errOwn == nil {
		return f.fails(err)
	}
	return &Error{Err: fmt.Errorf("%w: %w", ErrUnsure, f.fails(err))}
}

// holds is nil if the object is in the state tag. The lock is held.
func (f *files) holds(ctx context.Context, key string, tag Tag) error {
	file, o, err := f.look(ctx, key)
	if errors.Is(err, ErrAbsent) {
		return &Error{Err: fmt.Errorf("%w: it is gone", ErrTaken)}
	}
	if err != nil {
		return err
	}
	_ = file.Close()
	if o.Tag != tag {
		return &Error{Err: ErrTaken}
	}
	return nil
}

// sweep drops what puts left that were killed. One that goes on for longer than that without a byte fails, and leaves
// nothing.
func (f *files) sweep() {
	entries, err := f.tree.FS.ReadDir(f.tree.Path(tempDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), putPrefix) && time.Since(info.ModTime()) > leftAfter {
			_ = f.tree.FS.Remove(f.tree.Path(tempDir, e.Name()))
		}
	}
}

func (f *files) makeRoot() error {
	if _, err := f.tree.FS.Stat(f.dir); err == nil {
		return nil
	}
	err := os.Mkdir(f.dir, durable.DirMode)
	switch {
	case errors.Is(err, fs.ErrExist):
		err = nil
	case errors.Is(err, fs.ErrNotExist):
		return f.missing()
	}
	if err == nil {
		err = f.tree.SyncDir(filepath.Dir(f.dir))
	}
	return f.fails(err)
}

// lock waits for the directory's lock, which another process may hold for as long as a rename takes.
func (f *files) lock(ctx context.Context) (unlock func(), err error) {
	path := f.tree.Path(tempDir, "lock")
	file, err := durable.OpenNoLink(path, os.O_RDWR|os.O_CREATE, durable.FileMode)
	if err != nil {
		return nil, f.fails(err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := durable.TryLock(file, true)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, durable.ErrLocked) {
			_ = file.Close()
			return nil, f.fails(err)
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			_ = file.Close()
			return nil, ctx.Err()
		case <-pause.C:
		}
	}
}

func (f *files) delete(ctx context.Context, key string) error {
	target := f.path(key)
	if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		if err := f.missing(); !errors.Is(err, ErrAbsent) {
			return err
		}
		return nil
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := f.tree.FS.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.fails(err)
	}
	return f.fails(f.tree.SyncDir(filepath.Dir(target)))
}

// page is the whole listing: a directory is walked at once. Every file is read, for its Tag.
func (f *files) page(ctx context.Context, prefix, _ string) (list []Object, _ string, err error) {
	top := f.path(prefix[:strings.LastIndexByte(prefix, '/')+1])
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			if path == top {
				if err := f.missing(); !errors.Is(err, ErrAbsent) {
					return err
				}
			}
			return nil // it went between two looks
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		key, err := filepath.Rel(f.dir, path)
		if err != nil {
			return err
		}
		key = filepath.ToSlash(key)
		if d.IsDir() && path != top &&
			(key == tempDir || !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key+"/")) {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() || !strings.HasPrefix(key, prefix) {
			return nil
		}
		file, o, err := f.look(ctx, key)
		if errors.Is(err, ErrAbsent) {
			return nil
		}
		if err != nil {
			return err
		}
		list = append(list, o)
		return file.Close()
	})
	return list, "", f.fails(err)
}

// copyBody copies a body to w, of which sum is a part, and holds it against what it is said to be.
func copyBody(ctx context.Context, w io.Writer, body Body, sum hash.Hash) error {
	r, err := body.Open()
	if err != nil {
		return err
	}
	n, err := io.Copy(w, &withContext{ctx, r})
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if n != body.Size || string(sum.Sum(nil)) != string(body.SHA256[:]) {
		return errChanged(n, body.Size)
	}
	return nil
}

func errChanged(n, want int64) error {
	return &Error{
		Err:  fmt.Errorf("what was read of it isn't what was to be put: %d bytes of %d, or another SHA-256", n, want),
		Hint: "something changed the file while it was put: see what writes there, then run it again"}
}

// withContext ends a copy when ctx does.
type withContext struct {
	ctx context.Context
	io.Reader
}

func (r *withContext) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
