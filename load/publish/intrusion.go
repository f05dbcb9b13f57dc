package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
)

// Nobody but a publish writes to usage.duckdb. A program that opens it to write, as DuckDB's clients do if nothing else
// is said, may change what it says in two ways:
//
//   - It writes a log, usage.duckdb.wal, that DuckDB finds by the file's name. A publish may have replaced the file
//     since: in the storage format of before 1.4 every reader then added a log of yesterday's file to today's, without
//     an error. In the format of 1.4 such a log is refused (storageVersion), and a log of the very file still counts.
//   - It writes into the file, as it does with its log when it ends.
//
// Both are told: the log by its name, the other by the headers of the file (load.Mark). Our own commands read under a
// name to which no log belongs, and read no file that was written into. A run mends both.
const logSuffix = ".wal"

// ErrIntruded says that the published file is not as it was published.
var ErrIntruded = errors.New("usage.duckdb is no file that published.json knows: another program wrote into it, it " +
	"is damaged, or one of the two was copied or restored without the other; its figures can't be trusted")

// HintIntruded says what to do about an Intrusion.
const HintIntruded = "publish it anew: usagelake export, or usagelake rebuild; open it read-only elsewhere " +
	"(-readonly, read_only=True), and keep tables of your own in another file"

// Intrusion is what another program did to the published file.
type Intrusion struct {
	Log     string // the path of a write-ahead log beside the file, which is no publish's; "" if there is none
	Changed bool   // the file is not as it was published
	// Unmarked says that there is nothing to hold the file against: published.json is missing, or can't be read.
	Unmarked bool
}

// None says that no other program is known to have done anything.
func (i Intrusion) None() bool { return i.Log == "" && !i.Changed }

// String is a sentence for a person; "" if there is nothing to tell.
func (i Intrusion) String() string {
	switch {
	case i.Changed:
		return ErrIntruded.Error()
	case i.Log != "":
		return i.Log + " is the log of another program that writes to usage.duckdb: whoever opens the file reads what " +
			"stands in the log, too, or is refused"
	case i.Unmarked:
		return "published.json is missing or can't be read, so it can't be told whether another program wrote into " +
			"usage.duckdb; the next publish makes both anew"
	}
	return ""
}

// Intrusion looks at the published file and beside it. That costs a few reads, whatever the size of the file. None if
// there is no such file.
func (l *Lake) Intrusion() (Intrusion, error) {
	var found Intrusion
	switch _, err := l.FS.Stat(l.Database() + logSuffix); {
	case err == nil:
		found.Log = l.Database() + logSuffix
	case !errors.Is(err, fs.ErrNotExist):
		return found, err
	}
	// A publish writes the marks before it puts the file in its place: what was opened between the two is looked at once
	// more.
	for range 2 {
		known, err := l.Marks()
		if err != nil {
			return found, err
		}
		m, err := l.mark(l.Database())
		if errors.Is(err, fs.ErrNotExist) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		found.Unmarked = len(known) == 0
		_, is := load.FindMark(known, m)
		if found.Changed = !found.Unmarked && !is; !found.Changed {
			break
		}
	}
	return found, nil
}

// mark is the mark of the file at path.
func (l *Lake) mark(path string) (load.Mark, error) {
	f, err := l.FS.Open(path)
	if err != nil {
		return load.Mark{}, err
	}
	defer f.Close()
	return load.MarkOf(f)
}

// proven says whether the file at path, a copy of the published one, is one that was published.
func (l *Lake) proven(path string) (bool, error) {
	known, err := l.Marks()
	if err != nil {
		return false, err
	}
	m, err := l.mark(path)
	if err != nil {
		return false, err
	}
	_, is := load.FindMark(known, m)
	return is, nil
}

// Published is what was noted of the published file when it was published; false if there is none, or it isn't known.
func (l *Lake) Published() (load.PublishedMark, bool, error) {
	m, err := l.mark(l.Database())
	if errors.Is(err, fs.ErrNotExist) {
		return load.PublishedMark{}, false, nil
	}
	if err != nil {
		return load.PublishedMark{}, false, err
	}
	known, err := l.Marks() // after the file: the marks of a later one know it, too
	found, is := load.FindMark(known, m)
	return found, is, err
}

// markPublished notes that the file at path is about to be the published one, and where its records are. Until then,
// and if that fails, the one that stands there is known still.
func (p *publisher) markPublished(path string) error {
	mark, err := p.lake.mark(path)
	if err != nil {
		return err
	}
	next := load.PublishedMark{Mark: mark, Records: p.records.String(), Outside: len(p.files)}
	// A publish that fails after this leaves a mark of a file that nobody will see. It does no harm: no other file has it.
	return p.lake.AddMark(next)
}

// dropLog removes a log beside the published file: it is of no use to whoever wrote it, for the file that it belonged
// to is, or is about to be, another. A folder of that name is no log, and is moved to damaged/.
func (l *Lake) dropLog() error {
	log := l.Database() + logSuffix
	if l.IsDir(log) {
		if err := l.MakeDirs(l.Path(load.DamagedDir)); err != nil {
			return err
		}
		return l.MoveInto(log, l.Path(load.DamagedDir, filepath.Base(log)), filepath.Base(log))
	}
	err := l.FS.Remove(log)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		l.Log.Warn("another program's log beside the published file is removed", "log", log, "hint", HintIntruded)
	}
	return err
}

// OpenPublishedFile opens the published file to be read, without any log that lies beside it. ErrIntruded if somebody
// wrote into it.
func (l *Lake) OpenPublishedFile(ctx context.Context) (*Database, error) {
	for {
		found, err := l.Intrusion()
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", l.Database(), err)
		}
		if found.Changed {
			return nil, fmt.Errorf("%w: %s\nhint: %s", ErrIntruded, l.Database(), HintIntruded)
		}
		if text := found.String(); found.Log != "" {
			l.Log.Warn(text+"; it is left out here", "hint", HintIntruded)
		} else if text != "" {
			l.Log.Warn(text)
		}
		if found.Log != "" {
			return l.openAside(ctx)
		}
		d, err := l.openScratch(ctx, l.Database())
		if isLocked(err) {
			return l.openAside(ctx)
		}
		// A log that came meanwhile may have been read.
		if _, errLog := l.FS.Stat(l.Database() + logSuffix); errors.Is(errLog, fs.ErrNotExist) {
			return d, err
		}
		if err == nil {
			if err := d.Close(); err != nil {
				return nil, err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
	}
}

// isLocked says that DuckDB found a file locked by a program that writes to it.
func isLocked(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Could not set lock")
}

// openAside is OpenPublishedFile by another name.
func (l *Lake) openAside(ctx context.Context) (d *Database, err error) {
	done, err := l.aside(func(name, spill string) (err error) {
		d, err = openDatabase(ctx, l.engineFor(spill), name, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.after = done
	return d, nil
}

// aside has the published file opened by another name, beside which no log stands: by a hard link, or of a copy if it
// can't be made, or if a program that writes to the file has it locked. spill is an empty directory, and done removes
// both.
func (l *Lake) aside(open func(name, spill string) error) (done func(), err error) {
	spill, done, err := l.Scratch()
	if err != nil {
		return nil, fmt.Errorf("make a directory for DuckDB: %w", err)
	}
	name := filepath.Join(filepath.Dir(spill), load.DatabaseFile)
	// A link costs nothing, and shares the file's locks: a file that is locked has to be copied.
	linked := os.Link(l.Database(), name) == nil
	if linked {
		if err = open(name, spill); isLocked(err) {
			linked, err = false, os.Remove(name)
		}
	}
	if !linked && err == nil {
		if err = l.copyTo(name); err == nil {
			err = open(name, spill)
		}
	}
	if err != nil {
		done()
		return nil, fmt.Errorf("read %s by another name: %w", l.Database(), err)
	}
	return done, nil
}

// copyTo copies the published file, sharing its blocks where the file system can, as it was published: whoever writes
// to it may do so meanwhile.
func (l *Lake) copyTo(name string) error {
	src, err := l.FS.Open(l.Database())
	if err != nil {
		return err
	}
	defer src.Close()
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, durable.FileMode)
	if err != nil {
		return err
	}
	if err := errors.Join(copyBlocks(to, src), to.Close()); err != nil {
		return err
	}
	known, err := l.Marks()
	if err != nil || len(known) == 0 {
		return err
	}
	// A copy that was made while somebody wrote has blocks of before and of after.
	if ok, err := l.proven(name); err != nil || !ok {
		return cmp.Or(err, ErrIntruded)
	}
	return nil
}

// copyBlocks copies a file by sharing its blocks where the file system can do that, else within the kernel, else by
// reading and writing.
func copyBlocks(to io.Writer, src io.Reader) error {
	from, ok1 := src.(*os.File)
	target, ok2 := to.(*os.File)
	if ok1 && ok2 && reflink(target, from) == nil {
		return nil
	}
	if _, err := io.Copy(to, src); err != nil { // *os.File to *os.File is copy_file_range
		return fmt.Errorf("clone: %w", err)
	}
	return nil
}
