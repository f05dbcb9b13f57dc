package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/usagelake/usagelake/load"
)

// FoundPruned says that a tombstone, or a file of a day whose raw files were pruned, isn't as it was written.
const FoundPruned = "pruned_damaged"

// pruned returns the tombstone of a frozen day, nil of another. It holds what else is kept of a pruned day against its
// tombstone.
func (v *verifier) pruned(source load.Source) (*load.Pruned, error) {
	p, t := source.Partition, source.Pruned
	if t == nil {
		return nil, nil
	}
	dir := v.lake.Partition(load.RawDir, p)
	for _, f := range t.Files {
		if _, err := v.lake.FS.Stat(filepath.Join(dir, f.Name)); err == nil {
			v.report.PrunedLeft++
		}
	}
	kept := map[string]string{load.KeptUsage: t.Usage.SHA256}
	if t.Quarantine != nil {
		kept[load.KeptQuarantine] = t.Quarantine.SHA256
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		sum, err := v.lake.Digest(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case sum != kept[name]:
			v.add(Finding{Check: FoundPruned, Path: filepath.Join(dir, name), Account: p.Account, Date: p.Date.String(),
				Detail: "it is not the file that the raw files of its day were pruned for", Hint: "restore it from a backup"})
		}
	}
	if !source.Frozen() {
		return nil, nil
	}
	v.report.PrunedDays++
	if source.Thawing() {
		v.add(Finding{Check: FoundStale, Path: v.lake.UsagePath(p), Account: p.Account, Date: p.Date.String(),
			Detail: fmt.Sprintf("its raw files were pruned; of the day as it is fetched anew %d windows are there, and not all",
				len(source.Live())),
			Hint: fmt.Sprintf("usagelake export --account %s --from %s --to %s   (fetches the rest)", p.Account, p.Date,
				p.Date+1)})
	}
	return t, nil
}
