package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/usagelake/usagelake/load/durable"
)

// Format is the version of the lake's layout that this program writes. It reads this and all older ones, and whoever
// takes the lock of an older one makes it one of this.
//
// 1: the first. 2: it has pruned days. 3: the folders of accounts are acct=NAME (see accountKey), and days may be
// pruned.
const Format = 3

// The names within a lake. Readers glob the first three and open the database; the rest is ours.
const (
	UsageDir      = "usage"
	BalanceDir    = "balance"
	QuarantineDir = "quarantine"
	RawDir        = "raw"
	journalDir    = "journal"
	StatementsDir = "statements"
	DatabaseFile  = "usage.duckdb"
	MarksFile     = "published.json" // what the published file begins with
	markerFile    = "lake.json"
	lockFile      = ".lock"
)

// Errors of opening a lake.
var (
	ErrNoLake = errors.New("no lake here")
	ErrNewer  = errors.New("the lake was made by a newer version of usagelake")
)

// Options of a Lake. The zero value works.
type Options struct {
	FS     durable.FS   // nil: the operating system's
	Logger *slog.Logger // nil: nothing is logged
	// Group lets the members of the directory's group read what is written from now on: directories of mode 2750 and
	// files of 0640 in place of 0700 and 0600.
	Group bool
}

// Lake is a directory of one company's usage: the raw archive, what is derived from it, and the published file.
// Reading needs no lock. Whoever writes holds the lock.
type Lake struct {
	*durable.Tree
	format int
	Log    *slog.Logger
	coders coders

	// held is the lock file, while the lock is held; nil else. Lock sets it, unlock takes it away, and every commit, of
	// whatever goroutine, looks at it first (CheckHeld).
	held atomic.Pointer[os.File]

	// renamed are the folders of accounts that don't have the name of before: see AccountDir. It only grows; what it
	// doesn't know yet costs a look at the disk.
	renamed sync.Map

	// seqMu is held while a sequence number of the raw archive is chosen and taken. The directory is the counter: a number
	// is taken by the rename that puts a file there. No other lock is taken under it.
	seqMu sync.Mutex
}

// marker is the content of lake.json.
type marker struct {
	Format int `json:"format"`
}

// Open opens an existing lake for reading, or for writing under Lock. It returns ErrNoLake or ErrNewer, or ErrForeign
// if one of its directories is a link.
func Open(dir string, opts Options) (*Lake, error) {
	if err := checkPath(dir); err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	l := newLake(dir, opts)
	var err error
	if l.format, err = l.readMarker(); err == nil {
		err = l.checkFolders(false)
	}
	if err != nil {
		return nil, fmt.Errorf("open lake %s: %w", dir, err)
	}
	return l, nil
}

// Create opens the lake in dir, or makes one if dir doesn't exist or is empty.
func Create(dir string, opts Options) (*Lake, error) {
	l, err := Open(dir, opts)
	if !errors.Is(err, ErrNoLake) {
		return l, err
	}
	l = newLake(dir, opts)
	entries, err := l.FS.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("create lake %s: %w", dir, err)
	}
	for _, e := range entries {
		switch e.Name() {
		case RawDir, journalDir, durable.TempDir, lockFile, MarksFile: // a raw archive alone is a lake to rebuild
		default:
			return nil, fmt.Errorf("create lake %s: the directory is not empty and is no lake (it has %s)", dir, e.Name())
		}
	}
	if err := l.MakeDir(l.Dir()); err != nil {
		return nil, fmt.Errorf("create lake %s: %w", dir, err)
	}
	if err := l.FS.MkdirAll(l.Path(durable.TempDir), durable.DirMode); err != nil {
		return nil, fmt.Errorf("create lake %s: %w", dir, err)
	}
	l.format = Format
	if err := l.writeMarker(); err != nil {
		// Another process may have made the lake meanwhile, and emptied the temp directory.
		if other, openErr := Open(dir, opts); openErr == nil {
			return other, nil
		}
		return nil, fmt.Errorf("create lake %s: %w", dir, err)
	}
	// The lake's own name, where its parent may be read; who makes a lake in a directory of others' can't do more.
	if abs, err := filepath.Abs(dir); err == nil {
		_ = l.SyncDir(filepath.Dir(abs))
	}
	return l, nil
}

// readMarker reads the lake's format. ErrNoLake, or ErrNewer if it is none that this program knows.
func (l *Lake) readMarker() (int, error) {
	b, err := l.FS.ReadFile(l.Path(markerFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, ErrNoLake
	case err != nil:
		return 0, err
	}
	var m marker
	if err := json.Unmarshal(b, &m); err != nil || m.Format < 1 {
		return 0, fmt.Errorf("%s is damaged: it should read {\"format\":%d}", markerFile, Format)
	}
	if m.Format > Format {
		return 0, fmt.Errorf("%w (its format is %d, this version knows %d)", ErrNewer, m.Format, Format)
	}
	return m.Format, nil
}

func (l *Lake) writeMarker() error {
	b, err := json.Marshal(marker{Format: l.format})
	if err != nil {
		return err
	}
	return l.Replace(l.Path(markerFile), bytes.NewReader(append(b, '\n')))
}

func newLake(dir string, opts Options) *Lake {
	l := &Lake{Log: opts.Logger}
	l.Tree = durable.NewTree(dir, opts.FS, opts.Group, l.CheckHeld)
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
	return l
}

// Format is the version of the lake's layout, as it was when it was opened.
func (l *Lake) Format() int { return l.format }

// Database is the path of the published DuckDB file, whether it stands there or not.
func (l *Lake) Database() string { return l.Path(DatabaseFile) }
