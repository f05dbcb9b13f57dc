package jobs

import (
	"cmp"
	"slices"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// sealed is what the days of an account come from.
type sealed map[schemas.Date]load.Source

// sealedOf lists an account's sealed windows: directory listings, and of the files the tombstones of pruned days alone.
func sealedOf(lake *publish.Lake, account string) (sealed, error) {
	partitions, err := lake.Partitions(account)
	if err != nil {
		return nil, err
	}
	s := sealed{}
	for _, p := range partitions {
		source, err := lake.Source(p)
		if err != nil {
			return nil, err
		}
		if len(source.Windows) > 0 {
			s[p.Date] = source
		}
	}
	return s, nil
}

func (s sealed) windows() []schemas.Window {
	var out []schemas.Window
	for _, source := range s {
		for _, r := range source.Windows {
			out = append(out, r.Window)
		}
	}
	slices.SortFunc(out, func(a, b schemas.Window) int { return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End)) })
	return out
}

// whole widens the windows that are to be fetched anew, one a day, to the whole of their day where the rest of it can't
// be derived any more: its raw files were pruned.
func (s sealed) whole(days []schemas.Window) []schemas.Window {
	for i, w := range days {
		if s[w.Date()].Frozen() {
			days[i] = w.Partition().Window()
		}
	}
	return days
}

// coveredTo is the end of the first stretch of windows (in order of their start) without a gap; zero if it doesn't
// begin where the first export did.
func coveredTo(have []schemas.Window, began time.Time) time.Time {
	if len(have) == 0 || !began.IsZero() && began.Before(have[0].Start) {
		return time.Time{}
	}
	end := have[0].End
	for _, w := range have[1:] {
		if w.Start.After(end) {
			break
		}
		if w.End.After(end) {
			end = w.End
		}
	}
	return end
}

// CoveredTo is up to when everything of each account is covered, since its first export, which runs tell; zero where
// nothing is.
func CoveredTo(lake *publish.Lake, runs []schemas.Run, accounts []string) (map[string]time.Time, error) {
	past, out := pasts(runs), map[string]time.Time{}
	for _, a := range accounts {
		s, err := sealedOf(lake, a)
		if err != nil {
			return nil, err
		}
		out[a] = coveredTo(s.windows(), past[a].began)
	}
	return out, nil
}

// SealedWindows lists an account's sealed windows, in order of their start.
func SealedWindows(lake *publish.Lake, account string) ([]schemas.Window, error) {
	s, err := sealedOf(lake, account)
	return s.windows(), err
}
