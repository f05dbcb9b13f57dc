package load

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// PruneOptions say how a day is pruned.
type PruneOptions struct {
	RunID   string
	Version string // of the program
	Policy  string // why, for a person
	Now     time.Time
	// Quarantine deletes the quarantine file, too.
	Quarantine bool
	// DryRun changes nothing: it says what would be deleted.
	DryRun bool
}

// Freed is what was deleted.
type Freed struct {
	Files           int   `json:"files"` // raw files of windows, and what is kept of a day file that was replaced
	Bytes           int64 `json:"bytes"`
	QuarantineFiles int   `json:"quarantine_files"`
	QuarantineBytes int64 `json:"quarantine_bytes"`
}

// Add sums up.
func (f *Freed) Add(g Freed) {
	f.Files += g.Files
	f.Bytes += g.Bytes
	f.QuarantineFiles += g.QuarantineFiles
	f.QuarantineBytes += g.QuarantineBytes
}

// PruneDay deletes the raw files of the windows of p, and its quarantine if that is asked for. From then on its day
// file is the source of the day. Of a day that was pruned before, it finishes what was left, and deletes the
// quarantine.
//
//	fsync the derived files and their directories · the tombstone, committed · remove the raw files · fsync their
//	directory · remove the quarantine · fsync its directory
//
// The tombstone is the commit point: from it on the raw files count as gone. A crash after it leaves some of them, for
// the next prune. Balances stay.
//
// The caller holds the lock, and has found that the derived files are what the windows give (CompareDay); that a day
// isn't covered whole, is stale, or is being fetched anew, is an error, and nothing is deleted.
func (l *Lake) PruneDay(p schemas.Partition, opts PruneOptions) (Freed, error) {
	freed, err := l.pruneDay(p, opts)
	if err != nil {
		return freed, fmt.Errorf("prune %s: %w", p, err)
	}
	return freed, nil
}

func (l *Lake) pruneDay(p schemas.Partition, opts PruneOptions) (Freed, error) {
	source, err := l.Source(p)
	if err != nil {
		return Freed{}, err
	}
	t, write := source.Pruned, false
	switch {
	case !source.Frozen():
		if t, err = l.tombstone(source, opts); err != nil {
			return Freed{}, err
		}
		write = true
	case source.Thawing():
		return Freed{}, errors.New("the day is being fetched anew")
	default:
		if err := l.CheckFrozen(source); err != nil {
			return Freed{}, err
		}
	}
	// The tombstone says that it is gone before it is: a crash leaves a file that nobody counts, and the next prune
	// deletes. In the other order the day would be taken for damaged.
	if opts.Quarantine && t.keepsQuarantine() {
		at := opts.Now.UTC()
		t.Quarantine.PrunedAt = &at
		write = true
	}
	if write && !opts.DryRun {
		if err := l.settleDay(p); err != nil {
			return Freed{}, err
		}
		if err := l.writePruned(p, t); err != nil {
			return Freed{}, err
		}
	}
	return l.deletePruned(p, t, opts.DryRun)
}

// tombstone is that of a day as it stands, in the place of the one that it may have already.
func (l *Lake) tombstone(source Source, opts PruneOptions) (*Pruned, error) {
	p, raws, before := source.Partition, source.Windows, source.Pruned
	footer, ok, err := l.Day(p)
	switch {
	case err != nil:
		return nil, err
	case !ok || footer.Digest != DayDigest(footer.Transform, raws) || footer.Schema != schemas.SchemaVersion:
		return nil, errors.New("its day file was not derived from its windows")
	case len(schemas.Uncovered(p.Window(), windows(raws))) > 0:
		return nil, errors.New("it is not covered whole")
	case len(footer.Windows) != len(raws):
		return nil, fmt.Errorf("its day file has %d windows, of %d", len(footer.Windows), len(raws))
	}
	t := &Pruned{Format: prunedFormat, Account: p.Account, Date: p.Date.String(), PrunedAt: opts.Now.UTC(),
		RunID: opts.RunID, Version: opts.Version,
		Policy: opts.Policy, Schema: footer.Schema, Transform: footer.Transform, Digest: footer.Digest,
		Windows: footer.Windows}
	for _, r := range raws {
		// It was pruned before, and the day was derived anew from windows that cover it whole. Its file is gone; what it was
		// stands in the tombstone of then.
		if r.Pruned {
			i := slices.IndexFunc(before.Files, func(f PrunedRaw) bool { return f.Name == r.Name })
			t.Files = append(t.Files, before.Files[i])
			continue
		}
		file, err := l.tableOf(filepath.Join(l.Partition(RawDir, p), r.Name), 0)
		if err != nil {
			return nil, err
		}
		t.Files = append(t.Files, PrunedRaw{Name: r.Name, Bytes: file.Bytes, SHA256: file.SHA256})
	}
	if t.Usage, err = l.tableOf(l.UsagePath(p), footer.Rows); err != nil {
		return nil, err
	}
	if footer.Quarantined > 0 {
		file, err := l.tableOf(l.QuarantinePath(p), footer.Quarantined)
		if err != nil {
			return nil, err
		}
		t.Quarantine = &PrunedQuarantine{PrunedTable: file}
	}
	return t, nil
}

func (l *Lake) tableOf(path string, rows int64) (PrunedTable, error) {
	info, err := l.FS.Stat(path)
	if err != nil {
		return PrunedTable{}, err
	}
	sum, err := l.Digest(path)
	return PrunedTable{Rows: rows, Bytes: info.Size(), SHA256: sum}, err
}

// settleDay makes the derived files of p durable once more, and the names that lead to them: the run that wrote them
// may have been told that the disk failed, and gone on.
func (l *Lake) settleDay(p schemas.Partition) error {
	for _, path := range []string{l.UsagePath(p), l.QuarantinePath(p)} {
		f, err := l.FS.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			if err := l.SyncDir(dir); err != nil {
				return err
			}
			if dir == l.Dir() {
				break
			}
		}
	}
	return nil
}

// deletePruned deletes what the tombstone of p says is gone, as far as it stands there.
func (l *Lake) deletePruned(p schemas.Partition, t *Pruned, dry bool) (Freed, error) {
	var freed Freed
	dir := l.Partition(RawDir, p)
	var names []string
	for _, f := range t.Files {
		names = append(names, filepath.Join(dir, f.Name))
	}
	// What was kept of the day as an older tombstone had it: the day file is the one of this.
	names = append(names, filepath.Join(dir, KeptUsage), filepath.Join(dir, KeptQuarantine))
	var err error
	// What stands there still may be what a prune that was killed has left, and need not be all.
	if freed.Files, freed.Bytes, err = l.deleteFiles(names, dry); err != nil || !t.QuarantineGone() {
		return freed, err
	}
	freed.QuarantineFiles, freed.QuarantineBytes, err = l.deleteFiles([]string{l.QuarantinePath(p)}, dry)
	return freed, err
}

// deleteFiles removes the files of one directory that are there, and makes that durable.
func (l *Lake) deleteFiles(paths []string, dry bool) (files int, size int64, err error) {
	if err := l.CheckHeld(); err != nil {
		return 0, 0, err
	}
	for _, path := range paths {
		info, err := l.FS.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return files, size, err
		}
		if !dry {
			if err := l.FS.Remove(path); err != nil {
				return files, size, err
			}
		}
		files++
		size += info.Size()
	}
	if files == 0 || dry {
		return files, size, nil
	}
	return files, size, l.SyncDir(filepath.Dir(paths[0]))
}
