package load

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// DamagedDir holds raw files that can't be read, for a person to look at: outside of everything that is read.
const DamagedDir = "damaged"

// SetAside takes a damaged file of the raw archive, named by its path within the lake as a Finding has it, out of the
// archive. It is moved to damaged/ and not deleted. Its window is no longer covered then, unless others cover it, and
// is fetched anew by the next export. It returns what the file's name says it held, and where it is now. The caller
// holds the lock.
func (l *Lake) SetAside(path string) (r Raw, now string, err error) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 || parts[0] != RawDir {
		return r, "", fmt.Errorf("set aside %s: it is not in the raw archive", path)
	}
	account, okAccount := AccountOf(parts[1])
	d, okDate := DateOf(parts[2])
	if !okAccount || !okDate {
		return r, "", fmt.Errorf("set aside %s: it is not in the raw archive", path)
	}
	p := schemas.Partition{Account: account, Date: d}
	r, ok := parseRaw(p, parts[3])
	if !ok {
		return r, "", fmt.Errorf("set aside %s: it is not a sealed file", path)
	}
	from := filepath.Join(l.Partition(RawDir, p), r.Name)
	to := filepath.Join(l.Path(DamagedDir), strings.Join(parts[1:3], "_")+"_"+r.Name)
	if err := l.MakeDirs(filepath.Dir(to)); err != nil {
		return r, "", fmt.Errorf("set aside %s: %w", path, err)
	}
	if _, err := l.FS.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return r, "", fmt.Errorf("set aside %s: %s is there already", path, to)
	}
	if err := l.CheckHeld(); err != nil {
		return r, "", fmt.Errorf("set aside %s: %w", path, err)
	}
	if err := l.FS.Rename(from, to); err != nil {
		return r, "", fmt.Errorf("set aside %s: %w", path, err)
	}
	// The new name first: were the old one's absence on the disk without it, a crash would lose the file.
	return r, to, errors.Join(l.SyncDir(filepath.Dir(to)), l.SyncDir(filepath.Dir(from)))
}

// SetAsideDay moves the day file of p to damaged/, for it may be the last readable copy of what its windows held. It
// does nothing if there is none, or if it is the source of a pruned day. The caller holds the lock.
func (l *Lake) SetAsideDay(p schemas.Partition) error {
	from := l.UsagePath(p)
	if _, err := l.FS.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if t, err := l.tombstoneOf(p); err != nil {
		return fmt.Errorf("set aside %s: %w", from, err)
	} else if t != nil {
		if _, sound, err := l.frozenAs(p, t); err != nil || sound {
			return err
		}
	}
	return l.moveAside(p, from)
}

// moveAside moves a derived file of p to damaged/. None is no error.
func (l *Lake) moveAside(p schemas.Partition, from string) error {
	to, err := l.asideName(p, from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err = errors.Join(err, l.CheckHeld())
	if err == nil {
		err = l.MakeDirs(filepath.Dir(to))
	}
	if err == nil {
		err = l.FS.Rename(from, to)
	}
	if err != nil {
		return fmt.Errorf("set aside %s: %w", from, err)
	}
	return errors.Join(l.SyncDir(filepath.Dir(to)), l.SyncDir(filepath.Dir(from)))
}

// asideName is where a derived file of p goes in damaged/. Its digest is in the name, so that a later one of the same
// day takes no earlier one's place, and the same one is kept once.
func (l *Lake) asideName(p schemas.Partition, path string) (string, error) {
	sum, err := l.Digest(path)
	if err != nil {
		return "", err
	}
	return l.Path(DamagedDir, fmt.Sprintf(accountKey+"%s_"+dateKey+"%s_%s_%s", p.Account, p.Date, sum[:digestPrefix],
		filepath.Base(path))), nil
}

// SetAsideBalance moves the balance file of p to damaged/, for it can't be read. The caller holds the lock.
func (l *Lake) SetAsideBalance(p schemas.Partition) error { return l.moveAside(p, l.BalancePath(p)) }

// CheckDay reads the day file of p and its quarantine whole, and returns a *DamagedError if either isn't what was
// written. None is no error.
func (l *Lake) CheckDay(p schemas.Partition) error {
	if _, _, err := l.Day(p); err != nil {
		return err
	}
	for _, path := range []string{l.UsagePath(p), l.QuarantinePath(p)} {
		if err := l.CheckBody(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// CheckBalance does the same for the balance file of p.
func (l *Lake) CheckBalance(ctx context.Context, p schemas.Partition) error {
	path := l.BalancePath(p)
	if err := l.CheckBody(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	rows, err := l.readBalance(ctx, p)
	for _, r := range rows {
		r.Release()
	}
	return err
}
