package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// RecordsDir has the day files that the published file reads records from, where it doesn't hold all of them itself. A
// day file is replaced at any time; what a publish was made from must not be, or the records of tomorrow would stand
// beside the sums of today. So a publish gives the file a second name here, of its content's digest, which is never
// another file's: a reader finds exactly what was published, or an error. On most file systems that takes no room.
const RecordsDir = "records"

// IsRecordsFile says whether a file of a day below RecordsDir has such a name.
func IsRecordsFile(name string) bool { return recordsFile.MatchString(name) }

var recordsFile = regexp.MustCompile(`^[0-9a-f]{16}\.parquet$`)

// RecordsName is the name within the lake, with slashes, by which the published file knows the day file of p whose
// SHA-256 is digest.
func RecordsName(p schemas.Partition, digest string) string {
	return path.Join(RecordsDir, accountKey+p.Account, dateKey+p.Date.String(), digest[:digestPrefix]+".parquet")
}

// RecordsPath is the path of RecordsName.
func (l *Lake) RecordsPath(p schemas.Partition, digest string) string {
	return l.Path(filepath.FromSlash(RecordsName(p, digest)))
}

// LinkRecords gives the day file of p, whose SHA-256 is digest, the name that the published file knows it by. Where the
// file system has no second names, it is a copy. The caller holds the lock.
func (l *Lake) LinkRecords(p schemas.Partition, digest string) error {
	day, target := l.UsagePath(p), l.RecordsPath(p, digest)
	if same, err := l.sameFile(day, target); same || err != nil {
		return err
	}
	// Beside the half-done files, under a name that nobody else takes while the lock is held: what stands at the target is
	// replaced, or nothing is.
	temp := l.Path(durable.TempDir, path.Base(filepath.ToSlash(target)))
	if err := l.FS.MkdirAll(l.Path(durable.TempDir), durable.DirMode); err != nil {
		return err
	}
	if err := l.FS.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if l.FS.Link(day, temp) == nil {
		return l.Install(temp, target)
	}
	f, err := l.FS.Open(day)
	if err != nil {
		return err
	}
	return errors.Join(l.Replace(target, f), f.Close())
}

// KeepRecords makes sure that the records of a day that didn't change since it was published are there, by the digest
// that it was published with. It puts them back from the day file where they are gone, or where the day file was
// written since: a repair does that. false: the day file has other bytes than were published. An error, with a hint, if
// neither of the two files is there.
func (l *Lake) KeepRecords(p schemas.Partition, digest string) (bool, error) {
	day, errDay := l.FS.Stat(l.UsagePath(p))
	kept, errKept := l.FS.Stat(l.RecordsPath(p, digest))
	for _, err := range []error{errDay, errKept} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	switch {
	case errDay != nil && errKept != nil:
		return false, fmt.Errorf("day %s: its records are gone: neither %s nor %s is there\nhint: restore one of them from "+
			"a backup; if the day is to be given up: usagelake verify --repair --drop-orphans %s/%s", p, l.UsagePath(p),
			l.RecordsPath(p, digest), p.Account, p.Date)
	case errDay != nil:
		return true, nil
	// A copy is as good as a second name, unless the day file was written after it.
	case errKept == nil && (os.SameFile(day, kept) || day.Size() == kept.Size() && !kept.ModTime().Before(day.ModTime())):
		return true, nil
	}
	now, err := l.Digest(l.UsagePath(p))
	if err != nil || now != digest {
		return false, err
	}
	return true, l.LinkRecords(p, digest)
}

// sameFile says whether both names are of one file. One of them may be of none.
func (l *Lake) sameFile(a, b string) (bool, error) {
	infoA, errA := l.FS.Stat(a)
	infoB, errB := l.FS.Stat(b)
	for _, err := range []error{errA, errB} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return errA == nil && errB == nil && os.SameFile(infoA, infoB), nil
}

// SweepRecords removes the files of RecordsDir but for those to be kept, which are asked for by their names within the
// lake, and the folders that are empty then. The caller holds the lock. What isn't named as the lake names it stays:
// verify tells of it.
func (l *Lake) SweepRecords(keep func(name string) bool) error {
	var sweep func(depth int, elem ...string) (left int, err error)
	sweep = func(depth int, elem ...string) (left int, err error) {
		entries, err := l.Entries(l.Path(elem...))
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			below := append(elem[:len(elem):len(elem)], e.Name())
			gone := false
			switch {
			case e.IsDir() && depth > 0:
				n, err := sweep(depth-1, below...)
				if err != nil {
					return 0, err
				}
				gone = n == 0
			case depth == 0 && IsRecordsFile(e.Name()):
				gone = !keep(path.Join(below...))
			}
			if !gone {
				left++
			} else if err := l.FS.Remove(l.Path(below...)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
		}
		return left, nil
	}
	_, err := sweep(2, RecordsDir)
	return err
}
