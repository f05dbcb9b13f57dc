package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/usagelake/usagelake/load/durable"
)

// ErrForeign says that something stands where the lake has a folder or a file of its own, and isn't one: a symbolic
// link, a file in a folder's place, a folder of another user.
var ErrForeign = errors.New("it is not the lake's own")

// folders are the lake's own directories. None of them may be a link: what is written, emptied and removed there would
// be elsewhere.
var folders = []string{durable.TempDir, RawDir, UsageDir, QuarantineDir, BalanceDir, journalDir, StatementsDir,
	RecordsDir, DamagedDir}

// checkFolders looks at the lake's own directories, as far as they are there; with owner, at whose they are, too.
func (l *Lake) checkFolders(owner bool) error {
	for _, name := range folders {
		if err := l.checkFolder(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if owner {
			if err := l.checkOwner(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkFolder returns fs.ErrNotExist if there is nothing of that name, ErrForeign if it is no directory.
func (l *Lake) checkFolder(name string) error {
	path := l.Path(name)
	info, err := os.Lstat(path) // not through l.FS: it is about the name, and not about what can be read there
	switch {
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link: %w\nhint: move what it points to into its place, or mount it there (mount "+
			"--bind); a lake as a whole may be a link", path, ErrForeign)
	case !info.IsDir():
		return fmt.Errorf("%s is no directory: %w\nhint: look at it, then move it out of the lake", path, ErrForeign)
	}
	return nil
}

// checkOwner refuses to write into directories of another user, who could put anything in their place: they are this
// user's, or of whoever owns the lake, or root's.
func (l *Lake) checkOwner(name string) error {
	path := l.Path(name)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lake, err := os.Stat(l.Dir())
	if err != nil {
		return err
	}
	owner, known := durable.OwnerOf(info)
	of, _ := durable.OwnerOf(lake)
	if known && owner != os.Geteuid() && owner != of && owner != 0 {
		return fmt.Errorf("%s belongs to user %d, the lake to user %d: %w\nhint: look at it; if it is right: chown "+
			"--reference=%s %[1]s", path, owner, of, ErrForeign, l.Dir())
	}
	return nil
}

// openLock opens a file to lock, and makes it if it isn't there. A link is not followed, and what is known by another
// name, too, is refused: what stands in the file is cut off.
func openLock(path string) (*os.File, error) {
	f, err := durable.OpenNoLink(path, os.O_RDWR|os.O_CREATE, durable.FileMode)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: %w\nhint: look at it, then remove it", path, ErrForeign)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	// What is opened is looked at, and not the name once more: the name may be another's by now.
	if err == nil && (!info.Mode().IsRegular() || durable.LinksTo(info) > 1) {
		err = fmt.Errorf("%s is no file of its own, but %s with %d names: %w\nhint: look at it, then remove it", path,
			info.Mode().Type(), durable.LinksTo(info), ErrForeign)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Scratch makes one. done removes it.
func (l *Lake) Scratch() (dir string, done func(), err error) {
	base := l.Path(durable.TempDir)
	if err := l.checkFolder(durable.TempDir); err == nil {
		durable.SweepScratch(base)
		if dir, done, err := durable.MakeScratch(base); err == nil {
			return dir, done, nil
		}
	}
	base = os.TempDir()
	durable.SweepScratch(base)
	return durable.MakeScratch(base)
}
