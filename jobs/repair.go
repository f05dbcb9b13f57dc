package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform"
)

// Repaired is what a repair did and what it leaves to be done.
type Repaired struct {
	Derived  []string   `json:"derived"`   // days that were derived anew, "acme 2026-11-01"
	SetAside []SetAside `json:"set_aside"` // raw files that could not be read
	// days that can't be derived anew, for raw files are gone: left as they are
	Kept    []string `json:"kept"`
	Dropped []string `json:"dropped"` // what was given up, as it was told to be by name
	// what they covered and nothing else does: the next export asks for it
	Fetch    []schemas.Window `json:"-"`
	Gaps     []Gap            `json:"fetch"`             // the same, for a document
	Database bool             `json:"database"`          // usage.duckdb was built anew
	Journal  []string         `json:"journal,omitempty"` // files in damaged/ with what could not be read of the journal
}

// SetAside is a damaged raw file that was taken out of the archive.
type SetAside struct {
	From   string `json:"from"` // within the lake
	To     string `json:"to"`
	Window string `json:"window"`
}

// RepairOptions say what a repair may do beyond what can be undone.
type RepairOptions struct {
	// Drop names what is to be given up that can't be derived again: days, as acme/2026-11-20, and closed months whose
	// statements are gone, as 2026-10.
	Drop []string
	// RawLost says that the raw archive is empty because it is lost, and not because it isn't mounted.
	RawLost bool
	Phase   func(string)
}

// Repair makes anew what can be derived, and takes raw files that can't be read out of the archive, so that the next
// export fetches what they held. Day files that were made from raw files which are gone stay as they are, but for those
// that opts names. It returns what verify finds after it.
func Repair(ctx context.Context, cfg *config.Config, env Env, before publish.VerifyReport, opts RepairOptions) (*Result,
	*Repaired, publish.VerifyReport, error) {
	done := &Repaired{Derived: []string{}, SetAside: []SetAside{}, Kept: []string{}, Dropped: []string{}, Gaps: []Gap{}}
	var after publish.VerifyReport
	phase := opts.Phase
	drop, err := parseDrops(opts.Drop)
	if err != nil {
		return nil, nil, after, err
	}
	// Before the lock, which isn't given for a lake whose raw archive has gone.
	if opts.RawLost {
		lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
		if err != nil {
			return nil, nil, after, err
		}
		if err := lake.AcceptNoRaw(); err != nil {
			return nil, nil, after, err
		}
	}
	res, err := underLock(ctx, cfg, env, "verify --repair", false,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			redo := map[schemas.Partition]bool{}
			unreadable := map[schemas.Partition]bool{}
			res.drop = drop
			for _, p := range drop.days {
				gone, err := lake.Drop(p)
				if err != nil {
					return err
				}
				redo[p] = true
				for _, o := range gone {
					done.Dropped = append(done.Dropped, p.String()+" ("+o.What+")")
				}
			}
			for _, m := range drop.months {
				done.Database = true
				done.Dropped = append(done.Dropped, m.String())
			}
			journal := false
			for _, f := range before.Findings {
				p := schemas.Partition{Account: f.Account}
				if f.Date != "" {
					d, err := schemas.ParseDate(f.Date)
					if err != nil {
						return err
					}
					p.Date = d
				}
				switch f.Check {
				case publish.FoundRaw:
					raw, to, err := lake.SetAside(f.Path)
					if err != nil {
						return err
					}
					env.Logger.Warn("a raw file can't be read and is set aside", "file", f.Path, "now", to, "detail", f.Detail)
					done.SetAside = append(done.SetAside, SetAside{From: f.Path, To: to, Window: raw.Window.String()})
					if raw.Kind == schemas.KindUsage {
						done.Fetch = append(done.Fetch, raw.Window)
					}
					redo[p] = true
				case publish.FoundDay:
					redo[p], unreadable[p] = true, true
				case publish.FoundMissing, publish.FoundStale, publish.FoundOrphan, publish.FoundTotals, publish.FoundMisplaced,
					publish.FoundOrder,
					publish.FoundQuarantine, publish.FoundChanged, publish.FoundPruned:
					redo[p] = true
				case publish.FoundJournal:
					journal = true
				case publish.FoundIntruded, publish.FoundDatabase, publish.FoundVersion, publish.FoundBehind, publish.FoundDiffers,
					publish.FoundRecords:
					done.Database = true
				}
			}
			if journal {
				mended, err := lake.MendJournal(ctx, Remember(cfg.AccountNames()))
				for _, path := range mended.Kept {
					env.Logger.Warn("what can't be read of the journal is set aside", "now", path)
				}
				done.Journal = append(done.Journal, mended.Kept...)
				if err != nil {
					return err
				}
			}
			lost := 0
			accounts, err := lake.Accounts()
			if err != nil {
				return err
			}
			for _, account := range accounts {
				partitions, err := lake.Partitions(account)
				if err != nil {
					return err
				}
				for _, p := range partitions {
					if !redo[p] {
						continue
					}
					if phase != nil {
						phase("derive " + p.String())
					}
					if unreadable[p] {
						if err := setAsideUnreadable(ctx, lake, p); err != nil {
							return err
						}
					}
					how, err := redoDay(ctx, lake, p, env.Logger)
					if err != nil {
						return err
					}
					if err := deriveBalance(ctx, lake, p, env.Logger); err != nil {
						return err
					}
					switch how {
					case lostDay:
						lost++
					case keptDay:
						done.Kept = append(done.Kept, p.String())
					case madeDay:
						done.Derived = append(done.Derived, p.String())
						res.DaysWritten++
					}
				}
			}
			done.Fetch, err = uncovered(lake, done.Fetch)
			if err != nil {
				return err
			}
			for _, w := range done.Fetch {
				done.Gaps = append(done.Gaps, Gap{Account: w.Account, Start: w.Start, End: w.End})
			}
			done.Database = done.Database || len(redo) > 0
			if done.Database = done.Database && lost == 0; done.Database { // without them, their usage would count in nothing
				err := publishFile(ctx, lake, env, res, phase, true, nil)
				if errors.Is(err, publish.ErrLastCopy) { // it is brought up to date, and keeps what it alone has
					err = publishFile(ctx, lake, env, res, phase, false, nil)
				}
				if err != nil {
					return err
				}
			}
			after, err = lake.Verify(ctx, publish.VerifyOptions{TransformVersion: transform.Version})
			if err != nil {
				return fmt.Errorf("verify after the repair: %w", err)
			}
			return nil
		})
	return res, done, after, err
}

// setAsideUnreadable moves derived files of p that can't be read out of the way of those that are derived next: a
// balance file, and a day file that was made from raw files which are gone, for else it would be kept. What is left of
// the day is derived then.
func setAsideUnreadable(ctx context.Context, lake *publish.Lake, p schemas.Partition) error {
	if err := lake.CheckBalance(ctx, p); errors.As(err, new(*load.DamagedError)) {
		if err := lake.SetAsideBalance(p); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	orphans, err := lake.Orphans(p)
	if err != nil {
		return err
	}
	for _, o := range orphans {
		if o.What != load.OrphanUsage {
			continue
		}
		if err := lake.CheckDay(p); errors.As(err, new(*load.DamagedError)) {
			return lake.SetAsideDay(p)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// What came of a day that was to be derived anew.
const (
	lostDay = iota // it was pruned, and its day file isn't what it was
	keptDay        // raw files that it was made from are gone: it stays as it is
	madeDay
)

// redoDay derives a day anew, if it can.
func redoDay(ctx context.Context, lake *publish.Lake, p schemas.Partition, log *slog.Logger) (int, error) {
	source, err := lake.Source(p)
	frozen := err != nil || source.Frozen() // an error: its tombstone can't be read
	wrote := false
	if err == nil {
		_, wrote, err = deriveDay(ctx, lake, p)
	}
	if err == nil && frozen {
		err = lake.CheckFrozen(source)
	}
	switch damaged := (*load.DamagedError)(nil); {
	case frozen && errors.As(err, &damaged):
		log.Error("a pruned day can't be derived anew", "day", p.String(), "detail", damaged.Detail, "hint", damaged.Hint)
		return lostDay, nil
	case err != nil:
		return lostDay, err
	case wrote || frozen:
		return madeDay, nil
	}
	return keptDay, nil
}

// uncovered is what of the windows no sealed window covers.
func uncovered(lake *publish.Lake, windows []schemas.Window) ([]schemas.Window, error) {
	var out []schemas.Window
	for _, w := range windows {
		source, err := lake.Source(w.Partition())
		if err != nil {
			return nil, err
		}
		out = append(out, schemas.Uncovered(w, windowsOf(source.Windows))...)
	}
	return out, nil
}
