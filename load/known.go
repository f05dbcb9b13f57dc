package load

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Sealing is a sealed window of a day, and when it came into the lake.
type Sealing struct {
	Raw
	FetchedAt time.Time
	// Gone says that its raw file can't be read any more: retention deleted it (Raw.Pruned), or it is missing and the day
	// file alone tells of it.
	Gone bool
}

// Sealings lists the windows of p that the lake has had, in order of Seq, with the instant each was fetched: what the
// lake knew of the day at any instant are those fetched by then. Of a day whose file is up to date its footer tells; of
// another each raw file's first line does. What was set aside as damaged is no longer among them.
func (l *Lake) Sealings(ctx context.Context, p schemas.Partition) ([]Sealing, error) {
	s, err := l.State(p)
	if err != nil {
		return nil, err
	}
	told := map[int]schemas.DayWindow{} // by Seq, which is never given twice
	upToDate := s.Derived && s.Footer.Digest == dayDigest(s.Footer.Schema, s.Footer.Transform, s.Windows)
	for _, w := range s.Footer.Windows {
		if known := slices.ContainsFunc(s.Windows, func(r Raw) bool { return r.Seq == w.Seq }); upToDate || !known {
			told[w.Seq] = w
		}
	}
	if s.Pruned != nil {
		for _, w := range s.Pruned.Windows {
			told[w.Seq] = w
		}
	}
	out := make([]Sealing, 0, len(s.Windows))
	for _, r := range s.Windows {
		w, ok := told[r.Seq]
		if delete(told, r.Seq); !ok {
			sealed, err := l.OpenRaw(ctx, p, r)
			if err != nil {
				return nil, err
			}
			w.FetchedAt = sealed.Seal.FetchedAt
		}
		out = append(out, Sealing{Raw: r, FetchedAt: w.FetchedAt, Gone: r.Pruned})
	}
	for _, w := range told {
		out = append(out, Sealing{FetchedAt: w.FetchedAt, Gone: true, Raw: Raw{Kind: schemas.KindUsage, Seq: w.Seq,
			Window: schemas.Window{Account: p.Account, Start: w.Start, End: w.End}}})
	}
	slices.SortFunc(out, func(a, b Sealing) int { return compareRaw(a.Raw, b.Raw) })
	return out, nil
}

// TakeRaw puts sealed files of p of another lake into this one, under their names: what is derived from them here is
// what was derived from them there. They are second names of its files where the file system has such, else copies. The
// caller holds this lake's lock.
func (l *Lake) TakeRaw(from *Lake, p schemas.Partition, raws []Raw) error {
	if len(raws) == 0 {
		return nil
	}
	dir := l.Partition(RawDir, p)
	if err := l.MakeDirs(dir); err != nil {
		return err
	}
	for _, r := range raws {
		if err := l.Take(filepath.Join(from.Partition(RawDir, p), r.Name), filepath.Join(dir, r.Name)); err != nil {
			return fmt.Errorf("take %s of %s: %w", r.Name, p, err)
		}
	}
	return nil
}

// TakeFrozen puts a day of another lake into this one whose raw files were pruned there: its tombstone, and the files
// that it was pruned with, which are its source.
func (l *Lake) TakeFrozen(from *Lake, s Source) error {
	p := s.Partition
	take := func(at, kept, to, sum string) error {
		got, err := l.Digest(at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || got != sum { // the day was fetched anew since
			at = filepath.Join(from.Partition(RawDir, p), kept)
			if got, err = l.Digest(at); err != nil {
				return err
			}
		}
		if got != sum {
			return from.LostDay(p)
		}
		if err := l.MakeDirs(filepath.Dir(to)); err != nil {
			return err
		}
		return l.Take(at, to)
	}
	if err := take(from.UsagePath(p), KeptUsage, l.UsagePath(p), s.Pruned.Usage.SHA256); err != nil {
		return err
	}
	if s.Pruned.keepsQuarantine() {
		if err := take(from.QuarantinePath(p), KeptQuarantine, l.QuarantinePath(p), s.Pruned.Quarantine.SHA256); err != nil {
			return err
		}
	}
	if err := l.MakeDirs(l.Partition(RawDir, p)); err != nil {
		return err
	}
	return l.Take(from.prunedPath(p), l.prunedPath(p))
}

// Take gives a file of another lake a second name in this one; where the file system has none it is copied. Nothing in
// a lake is changed in place, so the two stay the same.
func (l *Lake) Take(from, to string) error {
	if err := l.FS.Link(from, to); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return l.copyFile(from, to)
}

// DigestVersions are the versions of schema and transformation by which the windows give a day the digest; ok if there
// are any. latest is the transformation's of now. A digest names all windows of its day, and no others.
func DigestVersions(digest string, latest int, raws []Raw) (schema, transform int, ok bool) {
	for transform = latest; transform > 0; transform-- {
		for schema = schemas.SchemaVersion; schema > 0; schema-- {
			if dayDigest(schema, transform, raws) == digest {
				return schema, transform, true
			}
		}
	}
	return 0, 0, false
}
