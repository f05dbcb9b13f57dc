package load

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// The folders of a lake's trees are TREE/acct=NAME/date=YYYY-MM-DD. Readers of Parquet make a column of each key: one
// that is called as a column of the files, account, breaks half of them (pandas, pyarrow, Dask), and the others take
// its value for theirs and make a number of 2026. So the key is called as no column is, and account stands in the files
// alone.
const (
	accountKey = "acct="
	// accountKeyBefore was the key of lakes of format 1 and 2. Whoever takes the lock of such a lake moves its folders;
	// who only reads takes them as they are.
	accountKeyBefore = "account="
	dateKey          = "date="
)

// trees are the lake's trees of partitions.
var trees = []string{RawDir, UsageDir, QuarantineDir, BalanceDir}

// Partition is the directory of p below one of the trees.
func (l *Lake) Partition(tree string, p schemas.Partition) string {
	return filepath.Join(l.AccountDir(tree, p.Account), dateKey+p.Date.String())
}

// AccountDir is the folder of an account below one of the trees.
func (l *Lake) AccountDir(tree, account string) string {
	dir := l.Path(tree, accountKey+account)
	if _, ok := l.renamed.Load(dir); ok {
		return dir
	}
	// A lake that is being moved by another process has some folders of either name. One that has the new name keeps it.
	if _, err := l.FS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if old := l.Path(tree, accountKeyBefore+account); l.IsDir(old) {
			return old
		}
	}
	l.renamed.Store(dir, nil)
	return dir
}

// IsDir says whether path is a directory.
func (l *Lake) IsDir(path string) bool {
	info, err := l.FS.Stat(path)
	return err == nil && info.IsDir()
}

// AccountOf returns the account of a folder below a tree, by either name.
func AccountOf(folder string) (string, bool) {
	name, ok := strings.CutPrefix(folder, accountKey)
	if !ok {
		name, ok = strings.CutPrefix(folder, accountKeyBefore)
	}
	return name, ok && schemas.ValidateAccount(name) == nil
}

// DateOf returns the day of a folder below an account.
func DateOf(folder string) (schemas.Date, bool) {
	text, ok := strings.CutPrefix(folder, dateKey)
	if !ok {
		return 0, false
	}
	d, err := schemas.ParseDate(text)
	return d, err == nil && d.String() == text
}

// Accounts returns the accounts that have anything in the lake, raw or derived, sorted.
func (l *Lake) Accounts() ([]string, error) {
	var out []string
	for _, tree := range trees {
		names, err := l.list(l.Path(tree))
		if err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		for _, name := range names {
			if account, ok := AccountOf(name); ok {
				out = append(out, account)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Partitions returns the days of an account that have a directory in the raw archive or among the derived files,
// sorted. A day may have neither windows nor a day file: one with only a balance, or one whose first window was never
// sealed.
func (l *Lake) Partitions(account string) ([]schemas.Partition, error) {
	var out []schemas.Partition
	for _, tree := range trees {
		names, err := l.list(l.AccountDir(tree, account))
		if err != nil {
			return nil, fmt.Errorf("list days of %s: %w", account, err)
		}
		for _, name := range names {
			if d, ok := DateOf(name); ok {
				out = append(out, schemas.Partition{Account: account, Date: d})
			}
		}
	}
	slices.SortFunc(out, schemas.Partition.Compare)
	return slices.Compact(out), nil
}

// list returns the names in dir, none if it doesn't exist.
func (l *Lake) list(dir string) ([]string, error) {
	entries, err := l.Entries(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Entries lists a directory; none if it isn't there.
func (l *Lake) Entries(dir string) ([]fs.DirEntry, error) {
	entries, err := l.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// moveAccounts gives the folders of accounts the name that they have since format 3, each by one rename, so that a
// reader finds every file once at any moment. The marker goes first: an older program refuses a lake that is half
// moved. A crash leaves folders of either name, and whoever takes the lock next goes on. So it is with a backup of
// before that is put back into a lake: what the lake lacks is taken, what it has otherwise is moved to damaged/. The
// caller holds the lock.
func (l *Lake) moveAccounts() error {
	if l.format < Format {
		now, err := l.readMarker() // somebody else may have made it another since it was opened
		if err != nil {
			return err
		}
		if l.format = Format; now < Format {
			if err := l.writeMarker(); err != nil {
				l.format = now
				return err
			}
		}
	}
	for _, tree := range trees {
		names, err := l.list(l.Path(tree))
		if err != nil {
			return err
		}
		for _, name := range names {
			account, ok := strings.CutPrefix(name, accountKeyBefore)
			if !ok || schemas.ValidateAccount(account) != nil {
				continue
			}
			from, to := l.Path(tree, name), l.Path(tree, accountKey+account)
			if err := l.MoveInto(from, to, filepath.Join(tree, name)); err != nil {
				return fmt.Errorf("move %s to %s, its name since lakes of format %d: %w\nhint: the same command goes on from there",
					from, to, Format, err)
			}
			l.Log.Info("the folder of an account has its new name", "tree", tree, "account", account, "folder",
				accountKey+account)
		}
	}
	return nil
}

// MoveInto moves a file or directory to a name that is free; into a directory that is there already, name by name. A
// file whose place is taken is removed if it is the same one, and else goes to damaged/, below the name it had in the
// lake, with its digest.
func (l *Lake) MoveInto(from, to, name string) error {
	info, err := l.FS.Stat(to)
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.CheckHeld(); err != nil {
			return err
		}
		if err := l.FS.Rename(from, to); err != nil {
			return err
		}
		// The new name is made durable first; see SetAside.
		return errors.Join(l.SyncDir(filepath.Dir(to)), l.SyncDir(filepath.Dir(from)))
	}
	if err != nil {
		return err
	}
	if !info.IsDir() || !l.IsDir(from) {
		return l.takenAside(from, to, name)
	}
	names, err := l.list(from)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := l.MoveInto(filepath.Join(from, n), filepath.Join(to, n), filepath.Join(name, n)); err != nil {
			return err
		}
	}
	if err := l.FS.Remove(from); err != nil {
		return err
	}
	return l.SyncDir(filepath.Dir(from))
}

// takenAside is MoveInto where something else than two directories stands at both names.
func (l *Lake) takenAside(from, to, name string) error {
	if l.IsDir(from) || l.IsDir(to) {
		return fmt.Errorf("%s is a folder where %s is a file, or the other way round: %w", from, to, fs.ErrExist)
	}
	sum, err := l.Digest(from)
	if err != nil {
		return err
	}
	there, err := l.Digest(to)
	if err != nil {
		return err
	}
	aside := l.Path(DamagedDir, filepath.Dir(name), sum[:digestPrefix]+"_"+filepath.Base(name))
	if _, err := l.FS.Stat(aside); err == nil || there == sum { // it is kept
		return l.remove(from)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.Log.Warn("a file of before has its place taken and is moved out of the lake", "path", from, "taken", to, "now",
		aside)
	if err := l.MakeDirs(filepath.Dir(aside)); err != nil {
		return err
	}
	return l.MoveInto(from, aside, name)
}
