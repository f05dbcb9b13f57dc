package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// An orphan is a derived file that can't be derived again, because raw files that it was made from are gone: a disk
// that isn't mounted, a folder that was deleted, a file that was set aside because it is damaged. Absence is not data:
// such a file stays as it is, and every run says so. It is replaced once windows that were sealed later cover all of
// what is missing (see unreplaced), and removed by Drop alone.
//
// What a day file was made from stands in its footer (DayFooter.Windows), of a balance file in its key sealedKey; both
// are held against the names in raw/. A day that was pruned is no orphan: its tombstone names what is gone.
type Orphan struct {
	schemas.Partition
	What string           // one of the Orphan constants
	Path string           // of the file that is kept
	Lost []schemas.Window // what the missing raw files were of and nothing that was sealed since covers
	Rows int64            // that are kept; 0 if the file can't be read
	Why  string           // for a person
}

// What an Orphan is.
const (
	OrphanUsage      = "usage"
	OrphanQuarantine = "quarantine"
	OrphanBalance    = "balance"
	OrphanPublished  = "published" // usage.duckdb alone has the day
)

// ErrNoRaw says that the raw archive is empty, and days were derived from one.
var ErrNoRaw = errors.New("the raw archive is empty, and there are days that were derived from one")

// Hint says what can be done about it.
func (o Orphan) Hint() string {
	drop := fmt.Sprintf("; to give it up for good: usagelake verify --repair --drop-orphans %s/%s", o.Account, o.Date)
	switch o.What {
	case OrphanBalance:
		return "restore the raw files from a backup (a balance can't be asked for a time that has passed)" + drop
	case OrphanPublished:
		return "restore its day file or its raw files from a backup" + drop
	}
	return fmt.Sprintf("restore the raw files from a backup, or fetch the day anew: usagelake export --refetch --account "+
		"%s --from %s --to %s", o.Account, o.Date, o.Date+1) + drop
}

// String: "acme 2026-11-20: its raw files are gone; its 4,321 rows are kept".
func (o Orphan) String() string { return fmt.Sprintf("%s (%s): %s", o.Partition, o.What, o.Why) }

// CheckRaw returns ErrNoRaw if the raw archive has no day at all, and a tree of derived files has: then a volume isn't
// mounted or a folder is gone, and whatever is written now is written in the wrong place. AcceptNoRaw is the way out if
// it is gone for good.
func (l *Lake) CheckRaw() error {
	accounts, err := l.list(l.Path(RawDir))
	if err != nil {
		return fmt.Errorf("list the raw archive: %w", err)
	}
	isAccount := func(name string) bool { _, ok := AccountOf(name); return ok }
	if slices.ContainsFunc(accounts, isAccount) {
		return nil
	}
	for _, tree := range []string{UsageDir, QuarantineDir, BalanceDir} {
		accounts, err := l.list(l.Path(tree))
		if err != nil {
			return fmt.Errorf("list %s: %w", tree, err)
		}
		for _, a := range accounts {
			if !isAccount(a) {
				continue
			}
			days, err := l.list(l.Path(tree, a))
			if err != nil {
				return fmt.Errorf("list %s: %w", tree, err)
			}
			if len(days) > 0 {
				return fmt.Errorf("%w: %s has none, %s has\nhint: is its volume mounted? Else restore it from a backup. If it is "+
					"lost for good, say so: usagelake verify --repair --raw-lost   (keeps every day as it is, and fetches nothing by "+
					"itself)",
					ErrNoRaw, l.Path(RawDir), l.Path(tree, a))
			}
		}
	}
	return nil
}

// AcceptNoRaw makes an empty raw archive one that is known to be empty: it has the accounts of the derived files, and
// no days. What was derived stays, as orphans. The caller does not hold the lock, which isn't given for such a lake.
func (l *Lake) AcceptNoRaw() error {
	if err := l.CheckRaw(); !errors.Is(err, ErrNoRaw) {
		return err
	}
	accounts, err := l.Accounts()
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if err := l.MakeDirs(l.AccountDir(RawDir, a)); err != nil {
			return fmt.Errorf("accept that the raw archive is lost: %w", err)
		}
	}
	return nil
}

// DayState is what the lake has of a day.
type DayState struct {
	Source
	Footer  schemas.DayFooter // of the day file, zero if there is none that can be read
	Derived bool              // there is one
	Damage  error             // why it can't be read, a *DamagedError; nil if it can, or there is none
	Orphans []Orphan          // what is kept though it can't be derived again; none is the rule
}

// State looks at a day: the names of its raw files, and the footers of what was derived from them.
func (l *Lake) State(p schemas.Partition) (DayState, error) {
	var s DayState
	var all []Raw
	var err error
	if s.Source, all, err = l.sources(p); err != nil {
		return s, err
	}
	if s.Footer, s.Derived, err = l.Day(p); errors.As(err, new(*DamagedError)) {
		s.Damage = err
	} else if err != nil {
		return s, err
	}
	o, err := l.OrphanedDay(s.Source, s.Footer, s.Derived, s.Damage)
	if o != nil {
		s.Orphans = append(s.Orphans, *o)
	}
	if err != nil {
		return s, err
	}
	if o, err = l.OrphanedBalance(p, ofKind(all, schemas.KindBalance)); o != nil {
		s.Orphans = append(s.Orphans, *o)
	}
	return s, err
}

// Orphans returns what is kept of p though it can't be derived again.
func (l *Lake) Orphans(p schemas.Partition) ([]Orphan, error) {
	s, err := l.State(p)
	return s.Orphans, err
}

// Orphaned is Orphans of the day file and its quarantine alone; nil if they can be derived, or are the source.
func (l *Lake) Orphaned(source Source) (*Orphan, error) {
	footer, ok, err := l.Day(source.Partition)
	if err != nil && !errors.As(err, new(*DamagedError)) {
		return nil, err
	}
	return l.OrphanedDay(source, footer, ok, err)
}

// OrphanedDay is Orphaned, given what Day says; damaged is nil if that can be read.
func (l *Lake) OrphanedDay(source Source, footer schemas.DayFooter, ok bool, damaged error) (*Orphan, error) {
	if source.Frozen() {
		return nil, nil
	}
	p, raws := source.Partition, source.Windows
	o := &Orphan{Partition: p, What: OrphanUsage, Path: l.UsagePath(p)}
	switch {
	// what it was made from isn't known; what is sealed is derived, and it is set aside
	case damaged != nil && len(raws) > 0:
		return nil, nil
	case damaged != nil:
		o.Lost, o.Why = []schemas.Window{p.Window()}, "it can't be read, and its raw files are gone"
		return o, nil
	case !ok && len(raws) > 0:
		return nil, nil
	case !ok:
		o.What, o.Path = OrphanQuarantine, l.QuarantinePath(p)
		if _, err := l.FS.Stat(o.Path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		o.Lost, o.Why = []schemas.Window{p.Window()}, "its day file is gone, and its raw files are"
		return o, nil
	case footer.Digest == dayDigest(footer.Schema, footer.Transform, raws):
		return nil, nil
	}
	gone := missing(footer.Windows, raws)
	if len(gone) == 0 && len(raws) > 0 {
		return nil, nil
	}
	o.Rows = footer.Rows
	if o.Lost = unreplaced(p, gone, raws); len(o.Lost) > 0 || len(raws) == 0 {
		o.Why = fmt.Sprintf("%d of its %d raw files are gone (%s); the %d rows derived from them are kept", len(gone),
			len(footer.Windows), spans(o.Lost), footer.Rows)
		if len(raws) == 0 && len(o.Lost) == 0 {
			o.Lost, o.Why = []schemas.Window{p.Window()}, fmt.Sprintf("its raw files are gone; its %d rows are kept",
				footer.Rows)
		}
		return o, nil
	}
	return l.shrunk(o, footer, gone, raws)
}

// missing are the windows of a footer that no sealed file is of. The sequence number and the interval tell: a number is
// never taken twice while a day file names it, see place.
func missing(had []schemas.DayWindow, raws []Raw) []schemas.DayWindow {
	return slices.DeleteFunc(slices.Clone(had), func(w schemas.DayWindow) bool {
		return slices.ContainsFunc(raws, func(r Raw) bool {
			return r.Seq == w.Seq && r.Window.Start.Equal(w.Start) &&
				r.Window.End.Equal(w.End)
		})
	})
}

// unreplaced is what the missing windows covered and no window that was sealed after them does. An older window is no
// replacement: it would bring back what the newer one had corrected.
func unreplaced(p schemas.Partition, gone []schemas.DayWindow, raws []Raw) []schemas.Window {
	var all []schemas.Window
	for _, g := range gone {
		var later []schemas.Window
		for _, r := range raws {
			if r.Seq > g.Seq {
				later = append(later, r.Window)
			}
		}
		all = append(all, schemas.Uncovered(schemas.Window{Account: p.Account, Start: g.Start, End: g.End}, later)...)
	}
	// Those of several windows may overlap: what of the day they cover in sum.
	// Twice what is left of the day: what isn't covered by what isn't covered.
	rest := schemas.Uncovered(p.Window(), all)
	return schemas.Uncovered(p.Window(), rest)
}

// shrunk looks at a day whose missing windows were all fetched anew. If what came holds less than half of what is kept,
// the kept file is the better witness: the Portal may keep no day that old, or have answered empty.
func (l *Lake) shrunk(o *Orphan, footer schemas.DayFooter, gone []schemas.DayWindow, raws []Raw) (*Orphan, error) {
	kept := footer.Rows + footer.Quarantined
	var came int64 // with the windows that took their place
	for _, r := range raws {
		if r.Pruned || !slices.ContainsFunc(gone, func(g schemas.DayWindow) bool {
			return r.Seq > g.Seq && r.Window.Start.Before(g.End) && g.Start.Before(r.Window.End)
		}) {
			continue
		}
		f, err := l.openRaw(o.Partition, r)
		if err != nil {
			return nil, err
		}
		seal, _, err := f.readSeal()
		f.close()
		if err != nil {
			return nil, err
		}
		came += seal.Records
	}
	var before int64 // what of the day the missing windows had brought, at most
	for _, g := range gone {
		if g.Owns {
			before += g.Records
		}
	}
	// Before schemas.SchemaOrdinal Records counted all that a window listed, which may be more than the day has of it.
	if before = min(before, kept); 2*came >= before {
		return nil, nil
	}
	o.Lost = nil
	for _, g := range gone {
		o.Lost = append(o.Lost, schemas.Window{Account: o.Account, Start: g.Start, End: g.End})
	}
	o.Why = fmt.Sprintf("its raw files are gone, and fetched anew it has %d records in place of %d; the %d rows derived "+
		"from them are kept", came, before, footer.Rows)
	return o, nil
}

// spans writes intervals of a day: "00:00-06:00, 12:00-24:00".
func spans(windows []schemas.Window) string {
	var parts []string
	for _, w := range windows {
		end := w.End.UTC().Format("15:04:05")
		if w.End.Equal(w.Date().End()) {
			end = "24:00:00"
		}
		parts = append(parts, w.Start.UTC().Format("15:04:05")+" to "+end)
	}
	return words.Some(parts, 3)
}

// sealedKey is the footer key of a balance file with the names of the sealed answers that its rows are of: a JSON list.
const sealedKey = "usagelake.sealed"

// OrphanedBalance tells of a balance file that has rows of answers that are gone.
func (l *Lake) OrphanedBalance(p schemas.Partition, raws []Raw) (*Orphan, error) {
	path := l.BalancePath(p)
	names, ok, err := l.balanceNames(p)
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged) && len(raws) > 0:
		return nil, nil
	case errors.As(err, &damaged):
		return &Orphan{Partition: p, What: OrphanBalance, Path: path, Lost: []schemas.Window{p.Window()},
			Why: "it can't be read, and its raw files are gone"}, nil
	case err != nil || !ok:
		return nil, err
	}
	o := &Orphan{Partition: p, What: OrphanBalance, Path: path}
	if names == nil && len(raws) == 0 { // written before the names were
		o.Lost, o.Why = []schemas.Window{p.Window()}, "its raw files are gone; its rows are kept"
		return o, nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(raws, func(r Raw) bool { return r.Name == name }) {
			o.Rows++
			if r, ok := parseRaw(p, name); ok {
				o.Lost = append(o.Lost, r.Window)
			}
		}
	}
	if o.Rows == 0 {
		return nil, nil
	}
	o.Why = fmt.Sprintf("the raw files of %d of its answers are gone; their rows are kept", o.Rows)
	return o, nil
}

// balanceNames are the sealed answers that the balance file of p says its rows are of; nil if it doesn't say. ok is
// false if there is no file.
func (l *Lake) balanceNames(p schemas.Partition) (names []string, ok bool, err error) {
	values, err := l.footer(l.BalancePath(p), p)
	if values == nil || err != nil {
		return nil, false, err
	}
	text, ok := values[sealedKey]
	if !ok {
		return nil, true, nil
	}
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return nil, false, derivedDamage(l.BalancePath(p), "its "+sealedKey+" can't be read", err)
	}
	return names, true, nil
}

// Drop removes what is kept of p though it can't be derived again, because somebody named it. A day that has windows
// still is stale then, and derived from what is left. The caller holds the lock. It returns what it removed, none if p
// has no orphan.
func (l *Lake) Drop(p schemas.Partition) ([]Orphan, error) {
	orphans, err := l.Orphans(p)
	if err != nil {
		return nil, fmt.Errorf("drop %s: %w", p, err)
	}
	for _, o := range orphans {
		if o.What == OrphanBalance {
			err = l.remove(o.Path)
		} else {
			err = l.RemoveDay(p)
		}
		if err != nil {
			return nil, fmt.Errorf("drop %s: %w", p, err)
		}
		l.Log.Warn("what can't be derived again is removed, as it was said to be", "day", p.String(), "what", o.What, "rows",
			o.Rows)
	}
	return orphans, nil
}

// KeepOrphan keeps a copy of the day file in damaged/, and of its quarantine, before it is derived anew: if raw
// files that it was made from are gone, or it can't be told which it was made from, it may hold what no window does.
// Otherwise it does nothing.
func (l *Lake) KeepOrphan(source Source) error {
	p := source.Partition
	footer, ok, err := l.Day(p)
	switch {
	case errors.As(err, new(*DamagedError)): // what it was made from isn't known
	case err != nil:
		return err
	case !ok || len(missing(footer.Windows, source.Windows)) == 0:
		return nil
	}
	for _, path := range []string{l.QuarantinePath(p), l.UsagePath(p)} {
		switch _, err := l.FS.Stat(path); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		to, err := l.asideName(p, path)
		if err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
		if err := l.copyFile(path, to); err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
		l.Log.Warn("a day is derived anew that was made from raw files which are gone, or can't be read; its file is kept",
			"day", p.String(), "kept", to)
	}
	return nil
}
