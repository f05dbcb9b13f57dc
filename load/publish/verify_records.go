package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/usagelake/usagelake/schemas"
)

// FoundRecords is a day file that usage reads and that is gone, or has other bytes than were published.
const FoundRecords = "records_changed"

// records reads every day file that usage reads, and returns the days whose file isn't as it was published. For the
// comparisons that follow, usage is then without these, so that the others are still looked at.
func (v *verifier) records(ctx context.Context) (broken map[schemas.Partition]bool, err error) {
	files, err := v.d.recordsOutside(ctx)
	if err != nil {
		return nil, err
	}
	broken = map[schemas.Partition]bool{}
	sound := &publisher{lake: v.lake, files: maps.Clone(files), records: schemas.NoRecords}
	for _, p := range slices.SortedFunc(maps.Keys(files), schemas.Partition.Compare) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := v.lake.RecordsPath(p, files[p].digest)
		digest, err := v.lake.Digest(path)
		found := Finding{Check: FoundRecords, Path: path, Account: p.Account, Date: p.Date.String(), Hint: hintRebuild}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found.Detail = "usage.duckdb reads the day's records from this file, and it is gone"
		case err != nil:
			return nil, err
		case digest != files[p].digest:
			found.Detail = "usage.duckdb reads the day's records from this file, and its bytes aren't those that were published"
		default:
			sound.days = append(sound.days, p)
			continue
		}
		v.add(found)
		broken[p] = true
	}
	if len(broken) == 0 {
		return nil, nil
	}
	if err := sound.see(ctx, v.d, sound.days); err != nil {
		return nil, fmt.Errorf("leave out damaged records: %w", err)
	}
	return broken, nil
}
