package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform"
)

// Repaired is what a repair did and what it leaves to be done.
type Repaired struct {
	Derived  []string         `json:"derived"`           // days that were derived anew, "acme 2026-11-01"
	SetAside []SetAside       `json:"set_aside"`         // raw files that could not be read
	Fetch    []schemas.Window `json:"-"`                 // what they covered and nothing else does: the next export asks for it
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

// Repair makes anew what can be derived, and takes raw files that can't be read out of the archive, so that the next
// export fetches what they held. It returns what verify finds after it.
func Repair(ctx context.Context, cfg *Config, env Env, before load.VerifyReport, phase func(string)) (*Result, *Repaired, load.VerifyReport, error) {
	done := &Repaired{Derived: []string{}, SetAside: []SetAside{}, Gaps: []Gap{}}
	var after load.VerifyReport
	res, err := underLock(ctx, cfg, env, "verify --repair", false, func(ctx context.Context, lake *load.Lake, res *Result) error {
		redo := map[schemas.Partition]bool{}
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
			case load.FoundRaw:
				raw, to, err := lake.SetAside(f.Path)
				if err != nil {
					return err
				}
				env.Logger.Warn("a raw file can't be read and is set aside", "file", f.Path, "now", to, "detail", f.Detail)
				done.SetAside = append(done.SetAside, SetAside{From: f.Path, To: to, Window: raw.Window.String()})
				if raw.Kind == schemas.KindUsage {
					done.Fetch = append(done.Fetch, raw.Window)
					if err := lake.SetAsideDay(p); err != nil {
						return err
					}
				}
				redo[p] = true
			case load.FoundMissing, load.FoundStale, load.FoundOrphan, load.FoundDay, load.FoundTotals, load.FoundMisplaced, load.FoundOrder,
				load.FoundQuarantine, load.FoundChanged, load.FoundPruned:
				redo[p] = true
			case load.FoundJournal:
				journal = true
			case load.FoundDatabase, load.FoundVersion, load.FoundBehind, load.FoundDiffers:
				done.Database = true
			}
		}
		if journal {
			mended, err := lake.MendJournal(ctx, remember(cfg.names()))
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
				whole, err := redoDay(ctx, lake, p, env.Logger)
				if err != nil {
					return err
				}
				if err := lake.RemoveBalance(p); err != nil {
					return err
				}
				if err := deriveBalance(ctx, lake, p, env.Logger); err != nil {
					return err
				}
				if !whole {
					lost++
					continue
				}
				done.Derived = append(done.Derived, p.String())
				res.DaysWritten++
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
		res.Status = schemas.StatusDone
		if done.Database = done.Database && lost == 0; done.Database { // without them, their usage would count in nothing
			if err := finish(ctx, lake, env, res, phase, true); err != nil {
				res.Status = schemas.StatusFailed
				return err
			}
		}
		after, err = lake.Verify(ctx, load.VerifyOptions{TransformVersion: transform.Version})
		if err != nil {
			res.Status = schemas.StatusFailed
			return fmt.Errorf("verify after the repair: %w", err)
		}
		return nil
	})
	return res, done, after, err
}

// redoDay derives a day anew, or says that it can't: its raw files were pruned, and its day file isn't what it was.
func redoDay(ctx context.Context, lake *load.Lake, p schemas.Partition, log *slog.Logger) (bool, error) {
	raws, err := lake.Windows(p)
	frozen := err != nil || load.Frozen(raws) // an error: its tombstone can't be read
	if err == nil {
		_, err = deriveDay(ctx, lake, p)
	}
	if err == nil && frozen {
		err = lake.CheckFrozen(p)
	}
	if damaged := (*load.DamagedError)(nil); frozen && errors.As(err, &damaged) {
		log.Error("a pruned day can't be derived anew", "day", p.String(), "detail", damaged.Detail, "hint", damaged.Hint)
		return false, nil
	}
	return err == nil, err
}

// uncovered is what of the windows no sealed window covers.
func uncovered(lake *load.Lake, windows []schemas.Window) ([]schemas.Window, error) {
	var out []schemas.Window
	for _, w := range windows {
		raws, err := lake.Windows(w.Partition())
		if err != nil {
			return nil, err
		}
		out = append(out, schemas.Uncovered(w, windowsOf(raws))...)
	}
	return out, nil
}
