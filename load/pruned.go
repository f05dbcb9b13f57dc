package load

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// A pruned day. Once the raw files of a day are deleted, its day file is no longer derived: it is the source. What the
// names of the raw files told stands in a tombstone in their place:
//
//	raw/acct=acme/date=2025-10-03/pruned.jsonl
//	    {"format":1,"account":"acme","date":"2025-10-03",…}   a Pruned, one line
//	    {"sha256":"…"}                                        of the first line, its line feed included
//
// Source lists what the tombstone names as if it stood there, with Raw.Pruned, so coverage and the day's digest are
// what they were. A file that is named counts as gone even while it stands there still. Such a day is frozen
// (Source.Frozen): nothing derives, replaces or removes its day file.
//
// It thaws when windows that came later cover the whole of it: they own every instant then, and the day is derived from
// them alone. Windows that cover a part of it wait for the rest, for what is left of the day can't be had from the raw
// archive any more. The day file that was the source is kept beside the tombstone before it is replaced:
//
//	raw/acct=acme/date=2025-10-03/pruned.usage.parquet, pruned.quarantine.parquet
//
// Should the later windows be set aside, the day is taken from there again.
const (
	prunedFile     = "pruned.jsonl"
	KeptUsage      = "pruned.usage.parquet"
	KeptQuarantine = "pruned.quarantine.parquet"

	prunedFormat = 1
)

// Pruned is the tombstone of a day: what its raw files were, and what its day file must be.
type Pruned struct {
	Format   int       `json:"format"`
	Account  string    `json:"account"`
	Date     string    `json:"date"`
	PrunedAt time.Time `json:"pruned_at"`
	RunID    string    `json:"run_id"`
	Version  string    `json:"version"` // of the program
	Policy   string    `json:"policy"`  // why, for a person

	Schema    int    `json:"schema"`
	Transform int    `json:"transform"` // that the day file was derived by
	Digest    string `json:"digest"`    // DayDigest of Files

	Files      []PrunedRaw         `json:"files"`   // in order of Seq
	Windows    []schemas.DayWindow `json:"windows"` // the same, as the day file has them
	Usage      PrunedTable         `json:"usage"`
	Quarantine *PrunedQuarantine   `json:"quarantine,omitempty"` // nil if nothing was quarantined
}

// PrunedRaw is a raw file that was deleted.
type PrunedRaw struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// PrunedTable is a derived file as it was when the raw files it was derived from were deleted.
type PrunedTable struct {
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// PrunedQuarantine is the quarantine file. It may have been deleted, too.
type PrunedQuarantine struct {
	PrunedTable
	PrunedAt *time.Time `json:"pruned_at,omitempty"` // nil: it is kept
}

// QuarantineGone says whether records were quarantined and their file was deleted.
func (t *Pruned) QuarantineGone() bool { return t.Quarantine != nil && t.Quarantine.PrunedAt != nil }

func (l *Lake) prunedPath(p schemas.Partition) string {
	return filepath.Join(l.Partition(RawDir, p), prunedFile)
}

// tombstoneOf reads the tombstone of p, nil if there is none. One that can't be read gives a *DamagedError, and
// ErrNewer is a format that this program doesn't know.
func (l *Lake) tombstoneOf(p schemas.Partition) (*Pruned, error) {
	path := l.prunedPath(p)
	b, err := l.FS.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read what was pruned of %s: %w", p, err)
	}
	t := &Pruned{}
	if err := t.parse(p, b); errors.Is(err, ErrNewer) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	} else if err != nil {
		return nil, &DamagedError{Path: path, Detail: err.Error(),
			Hint: fmt.Sprintf("restore it from a backup; without one, move it and the day file out of the lake, and fetch the "+
				"day anew: usagelake export --account %s --from %s --to %s", p.Account, p.Date, p.Date+1)}
	}
	return t, nil
}

// parse reads a tombstone of p, and says what is wrong with it.
func (t *Pruned) parse(p schemas.Partition, b []byte) error {
	head, tail, ok := bytes.Cut(b, lineFeed)
	if !ok {
		return errors.New("it is cut off")
	}
	if !bytes.Equal(tail, prunedSum(head)) {
		return errors.New("its second line is not the checksum of the first")
	}
	if err := json.Unmarshal(head, t); err != nil {
		return fmt.Errorf("its first line can't be read: %w", err)
	}
	switch {
	case t.Format > prunedFormat:
		return fmt.Errorf("%w (its format is %d, this version knows %d)", ErrNewer, t.Format, prunedFormat)
	case t.Format < 1 || t.Account != p.Account || t.Date != p.Date.String():
		return fmt.Errorf("it says format %d, %s %s", t.Format, t.Account, t.Date)
	}
	raws, err := t.raws(p)
	if err != nil {
		return err
	}
	switch {
	case len(schemas.Uncovered(p.Window(), windows(raws))) > 0:
		return errors.New("its files don't cover the day")
	case len(t.Windows) != len(raws):
		return fmt.Errorf("it names %d files, and %d windows", len(raws), len(t.Windows))
	}
	return nil
}

// raws are the files that the tombstone names.
func (t *Pruned) raws(p schemas.Partition) ([]Raw, error) {
	raws := make([]Raw, len(t.Files))
	for i, f := range t.Files {
		r, ok := parseRaw(p, f.Name)
		if !ok || r.Kind != schemas.KindUsage || i > 0 && raws[i-1].Seq >= r.Seq {
			return nil, fmt.Errorf("it names %q", f.Name)
		}
		r.Pruned = true
		raws[i] = r
	}
	return raws, nil
}

func windows(raws []Raw) []schemas.Window {
	out := make([]schemas.Window, len(raws))
	for i, r := range raws {
		out[i] = r.Window
	}
	return out
}

// prunedSum is the second line of a tombstone.
func prunedSum(head []byte) []byte {
	sum := sha256.Sum256(append(bytes.Clone(head), '\n'))
	return fmt.Appendf(nil, `{"sha256":"%s"}`+"\n", hex.EncodeToString(sum[:]))
}

// writePruned commits a tombstone.
func (l *Lake) writePruned(p schemas.Partition, t *Pruned) error {
	head, err := json.Marshal(t)
	if err != nil {
		return err
	}
	b := slices.Concat(head, lineFeed, prunedSum(head))
	if err := (&Pruned{}).parse(p, b); err != nil { // what can't be read back deletes nothing
		return fmt.Errorf("write %s: %w", l.prunedPath(p), err)
	}
	return l.Replace(l.prunedPath(p), bytes.NewReader(b))
}

// among puts what the tombstone names in the place of the sealed files of p that stand there still.
func (t *Pruned) among(p schemas.Partition, sealed []Raw) ([]Raw, error) {
	gone, err := t.raws(p)
	if err != nil {
		return nil, err
	}
	// One that stands there still, since a prune was killed, is listed once: as the tombstone has it.
	sealed = slices.DeleteFunc(sealed, func(r Raw) bool {
		return slices.ContainsFunc(gone, func(g Raw) bool { return g.Name == r.Name })
	})
	sealed = append(sealed, gone...)
	slices.SortFunc(sealed, compareRaw)
	return sealed, nil
}

// FrozenDay returns what the day file of a frozen day says of itself. If the day file isn't the one that the raw
// files were deleted for, and that one was kept when the day was derived anew, it is put in its place again: then the
// caller holds the lock. If it is lost, it is a *DamagedError.
func (l *Lake) FrozenDay(s Source) (schemas.DayFooter, error) {
	p, t := s.Partition, s.Pruned
	footer, sound, err := l.frozenAs(p, t)
	if err != nil || sound {
		return footer, err
	}
	if err := l.restorePruned(p, t); err != nil {
		return schemas.DayFooter{}, err
	}
	if footer, sound, err = l.frozenAs(p, t); err == nil && !sound {
		err = l.LostDay(p)
	}
	return footer, err
}

// frozenStale says whether FrozenDay would put a kept file in its place. A day that is lost is said, and isn't stale.
func (l *Lake) frozenStale(s Source) (bool, error) {
	p, t := s.Partition, s.Pruned
	_, sound, err := l.frozenAs(p, t)
	if err != nil || sound {
		return false, err
	}
	if restorable, err := l.restorable(p, t); err != nil || restorable {
		return restorable, err
	}
	l.Log.Error("a pruned day is lost", "day", p.String(), "detail", Detail(l.LostDay(p)), "hint", HintLost(p))
	return false, nil
}

// frozenAs says whether the derived files of a frozen day are those of the tombstone, by their footers.
func (l *Lake) frozenAs(p schemas.Partition, t *Pruned) (schemas.DayFooter, bool, error) {
	footer, ok, err := l.Day(p)
	if errors.As(err, new(*DamagedError)) || err == nil && (!ok || footer.Digest != t.Digest) {
		return footer, false, nil
	}
	if err != nil {
		return footer, false, err
	}
	digest, ok, err := l.FooterValue(l.QuarantinePath(p), p, DigestKey)
	switch {
	case errors.As(err, new(*DamagedError)):
		return footer, false, nil
	case err != nil:
		return footer, false, err
	case t.keepsQuarantine():
		return footer, ok && digest == t.Digest, nil
	}
	return footer, !ok || digest == t.Digest, nil // one that a prune is yet to delete is as good as gone
}

// keepsQuarantine says whether the day has a quarantine file that belongs to it.
func (t *Pruned) keepsQuarantine() bool { return t.Quarantine != nil && !t.QuarantineGone() }

// restorable says whether what the derived files of a pruned day were is kept, byte for byte.
func (l *Lake) restorable(p schemas.Partition, t *Pruned) (bool, error) {
	holds := func(name, want string) (bool, error) {
		sum, err := l.Digest(filepath.Join(l.Partition(RawDir, p), name))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return sum == want, err
	}
	ok, err := holds(KeptUsage, t.Usage.SHA256)
	if ok && err == nil && t.keepsQuarantine() {
		ok, err = holds(KeptQuarantine, t.Quarantine.SHA256)
	}
	return ok, err
}

// restorePruned puts the kept files of a pruned day in their place again, in the order of DayWriter.Commit.
func (l *Lake) restorePruned(p schemas.Partition, t *Pruned) error {
	// Both files are looked at before either is put back: a day is restored whole, or left as it is.
	if ok, err := l.restorable(p, t); err != nil || !ok {
		return cmp.Or(err, l.LostDay(p))
	}
	l.Log.Warn("a pruned day is taken from the day file that was kept of it", "day", p.String())
	raw := l.Partition(RawDir, p)
	if t.keepsQuarantine() {
		if err := l.copyFile(filepath.Join(raw, KeptQuarantine), l.QuarantinePath(p)); err != nil {
			return err
		}
	}
	if err := l.copyFile(filepath.Join(raw, KeptUsage), l.UsagePath(p)); err != nil {
		return err
	}
	if !t.keepsQuarantine() {
		return l.remove(l.QuarantinePath(p))
	}
	return nil
}

// KeepPruned keeps the day file of a pruned day beside its tombstone, for the day is about to be derived anew from
// windows that came later. It is done once; a day file that isn't the pruned one any more is left alone.
func (l *Lake) KeepPruned(s Source) error {
	p, t := s.Partition, s.Pruned
	if t == nil {
		return nil
	}
	keep := func(from, name, sum string) error {
		to := filepath.Join(l.Partition(RawDir, p), name)
		if _, err := l.FS.Stat(to); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		switch got, err := l.Digest(from); {
		case errors.Is(err, fs.ErrNotExist), err == nil && got != sum:
			l.Log.Warn("the day file of a pruned day is not the one it was pruned with, and is not kept", "day", p.String(),
				"file", from)
			return nil
		case err != nil:
			return err
		}
		return l.copyFile(from, to)
	}
	if t.keepsQuarantine() { // the day file last: with it, all is kept
		if err := keep(l.QuarantinePath(p), KeptQuarantine, t.Quarantine.SHA256); err != nil {
			return fmt.Errorf("keep the pruned day %s: %w", p, err)
		}
	}
	if err := keep(l.UsagePath(p), KeptUsage, t.Usage.SHA256); err != nil {
		return fmt.Errorf("keep the pruned day %s: %w", p, err)
	}
	return nil
}

// CheckFrozen holds the derived files of a frozen day against its tombstone, byte for byte. It returns a *DamagedError
// if they differ.
func (l *Lake) CheckFrozen(s Source) error {
	p, t := s.Partition, s.Pruned
	check := func(path string, want PrunedTable) error {
		sum, err := l.Digest(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && sum != want.SHA256:
			return l.LostFile(p, path, err != nil)
		}
		return err
	}
	if err := check(l.UsagePath(p), t.Usage); err != nil {
		return err
	}
	if t.keepsQuarantine() {
		return check(l.QuarantinePath(p), t.Quarantine.PrunedTable)
	}
	return nil
}

// HintLost is what can be done about the derived file of a frozen day that isn't what it was.
func HintLost(p schemas.Partition) string {
	return fmt.Sprintf("restore it from a backup, for its raw files were pruned; or fetch the day anew: usagelake export "+
		"--refetch --account %s --from %s --to %s", p.Account, p.Date, p.Date+1)
}

// LostDay is the error of a pruned day whose day file isn't the one that was kept: nothing can derive it again.
func (l *Lake) LostDay(p schemas.Partition) error { return l.LostFile(p, l.UsagePath(p), false) }

// LostFile is LostDay of another file of the day, which is missing, or not the one that was kept.
func (l *Lake) LostFile(p schemas.Partition, path string, missing bool) error {
	detail := "it is not the file that the raw files of its day were pruned for"
	if missing {
		detail = "it is gone, and the raw files of its day were pruned"
	}
	return &DamagedError{Path: path, Detail: detail, Hint: HintLost(p)}
}

// copyFile commits a copy of a file of the lake.
func (l *Lake) copyFile(from, to string) error {
	f, err := l.FS.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return l.Replace(to, f)
}
