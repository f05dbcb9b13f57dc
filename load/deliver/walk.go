package deliver

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// local is a file of the lake as it was listed.
type local struct {
	path     string // in the lake, with slashes
	file     string // where it is
	account  string
	date     string
	size     int64
	modified time.Time
	opened   durable.File // as it is to be sent; nil: as it is by then
}

// localGroup is the lake's files of one group, in order of path.
type localGroup struct {
	account, month string
	files          []local
	days           map[string]bool // of an account, that have a folder in some tree
}

// Extra is a file that isn't the lake's own: a table of the published file.
type Extra struct {
	Path string // finance/NAME.parquet
	File string
}

// walk lists the lake, group after group, in order of account and month. Memory goes by the largest group.
func walk(lake *load.Lake, what []string, extra []Extra) iter.Seq2[localGroup, error] {
	return func(yield func(localGroup, error) bool) {
		partitioned, others := treesOf(what)
		groups, err := walkOthers(lake, others, extra)
		if err != nil {
			yield(localGroup{}, err)
			return
		}
		for _, g := range groups {
			if !yield(g, nil) {
				return
			}
		}
		accounts, err := lake.Accounts()
		if err != nil {
			yield(localGroup{}, err)
			return
		}
		for _, account := range accounts {
			for g, err := range walkAccount(lake, account, partitioned) {
				if !yield(g, err) || err != nil {
					return
				}
			}
		}
	}
}

// walkAccount lists the months of an account.
func walkAccount(lake *load.Lake, account string, trees []string) iter.Seq2[localGroup, error] {
	return func(yield func(localGroup, error) bool) {
		days, err := lake.Partitions(account)
		if err != nil {
			yield(localGroup{}, err)
			return
		}
		for len(days) > 0 {
			month := days[0].Date.Month()
			n := slices.IndexFunc(days, func(p schemas.Partition) bool { return p.Date.Month() != month })
			if n < 0 {
				n = len(days)
			}
			g := localGroup{account: account, month: month.String(), days: map[string]bool{}}
			for _, p := range days[:n] {
				g.days[p.Date.String()] = true
				for _, tree := range trees {
					files, err := walkDay(lake, tree, p)
					if err != nil {
						yield(g, err)
						return
					}
					g.files = append(g.files, files...)
				}
			}
			slices.SortFunc(g.files, comparePath)
			if days = days[n:]; !yield(g, nil) {
				return
			}
		}
	}
}

// walkDay lists the files of a day in a tree: of those that readers glob the one file, of the raw archive all.
func walkDay(lake *load.Lake, tree string, p schemas.Partition) ([]local, error) {
	dir := lake.Partition(tree, p)
	entries, err := lake.Entries(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var out []local
	for _, e := range entries {
		if tree != load.RawDir && e.Name() != tree+".parquet" || !e.Type().IsRegular() {
			continue
		}
		l, ok, err := stat(lake, filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if ok {
			l.account, l.date = p.Account, p.Date.String()
			out = append(out, l)
		}
	}
	return out, nil
}

// walkOthers lists what no account has: by months what closed months left, and the rest.
func walkOthers(lake *load.Lake, names []string, extra []Extra) ([]localGroup, error) {
	byMonth := map[string][]local{"": nil}
	var visit func(name string) error
	visit = func(name string) error {
		at := lake.Path(filepath.FromSlash(name))
		if !lake.IsDir(at) {
			l, ok, err := stat(lake, at)
			if err != nil || !ok {
				return err
			}
			month := monthOf(name)
			byMonth[month] = append(byMonth[month], l)
			return nil
		}
		entries, err := lake.Entries(at)
		if err != nil {
			return fmt.Errorf("list %s: %w", at, err)
		}
		for _, e := range entries {
			child := path.Join(name, e.Name())
			if !ours(child) || e.Type()&fs.ModeSymlink != 0 {
				continue
			}
			if err := visit(child); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	for _, x := range extra {
		info, err := lake.FS.Stat(x.File)
		if err != nil {
			return nil, err
		}
		byMonth[""] = append(byMonth[""], local{path: x.Path, file: x.File, size: info.Size(), modified: info.ModTime()})
	}
	var groups []localGroup
	for month, files := range byMonth {
		slices.SortFunc(files, comparePath)
		groups = append(groups, localGroup{month: month, files: files})
	}
	slices.SortFunc(groups, func(a, b localGroup) int { return strings.Compare(a.month, b.month) })
	return groups, nil
}

// monthOf is the month of a file that no account has: of a closed month's. "" is none.
func monthOf(name string) string {
	if parts := strings.Split(name, "/"); parts[0] == load.StatementsDir && len(parts) > 1 {
		if m, err := schemas.ParseMonth(parts[1]); err == nil {
			return m.String()
		}
	}
	return ""
}

// ours leaves out what isn't a lake's truth: locks, half-done files, and what is told about this process alone.
func ours(name string) bool {
	base := path.Base(name)
	switch {
	case strings.HasPrefix(base, "."), strings.HasSuffix(base, ".lock"), strings.HasSuffix(base, ".tmp"):
		return false
	case strings.HasPrefix(name, "journal/") && strings.HasSuffix(base, ".json"): // states: alerts that wait to be told
		return false
	}
	return true
}

// stat looks at a file; false if it isn't there any more, or is no file.
func stat(lake *load.Lake, at string) (local, bool, error) {
	info, err := lake.FS.Stat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return local{}, false, nil
	}
	if err != nil {
		return local{}, false, err
	}
	rel, err := filepath.Rel(lake.Dir(), at)
	if err != nil {
		return local{}, false, err
	}
	l := local{path: filepath.ToSlash(rel), file: at, size: info.Size(), modified: info.ModTime()}
	if trees.MatchString(l.path) && checkPath(l.path) != nil { // no manifest can have it; nothing of a lake is called so
		lake.Log.Warn("a file of this name isn't delivered", "path", words.Printable(l.path))
		return l, false, nil
	}
	return l, info.Mode().IsRegular(), nil
}

func comparePath(a, b local) int { return strings.Compare(a.path, b.path) }

// missing is how many seconds of a day no sealed window covers.
func missing(lake *load.Lake, p schemas.Partition) (int64, error) {
	source, err := lake.Source(p)
	if err != nil {
		return 0, err
	}
	have := make([]schemas.Window, len(source.Windows))
	for i, w := range source.Windows {
		have[i] = w.Window
	}
	var seconds int64
	for _, w := range schemas.Uncovered(p.Window(), have) {
		seconds += int64(w.End.Sub(w.Start) / time.Second)
	}
	return seconds, nil
}
