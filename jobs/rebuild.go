package jobs

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// RebuildOptions say how a rebuild is done.
type RebuildOptions struct {
	Account string // only this one's days; "" is every account
	Wait    bool
	Phase   func(string) // told what is done: "derive acme 2026-11-01", "publish"
}

// Rebuild derives everything anew from the raw archive: Parquet for every account the archive holds, in the config or
// not, and the DuckDB file from nothing. It sends no request and needs no key. The day files of days whose raw files
// were pruned are held against what they were then, and taken as they are; if one isn't, nothing is published. Those
// whose raw files are missing are kept (load.Orphan), and the run is done in part.
func Rebuild(ctx context.Context, cfg *config.Config, env Env, opts RebuildOptions) (*Result, error) {
	if err := needLake(cfg.Lake); err != nil {
		return nil, err
	}
	return underLock(ctx, cfg, env, "rebuild", opts.Wait, func(ctx context.Context, lake *publish.Lake,
		res *Result) error {
		accounts, err := lake.Accounts()
		if err != nil {
			return err
		}
		defer boundHeap(len(accounts))()
		if opts.Account != "" {
			if !slices.Contains(accounts, opts.Account) {
				return config.Usage("usagelake status", "the lake %s holds no account %q: it has %s", lake.Dir(), opts.Account,
					strings.Join(accounts, ", "))
			}
			accounts = []string{opts.Account}
		}
		pruned := 0
		for _, account := range accounts {
			out := schemas.RunAccount{Account: account, Status: StatusOf(nil)}
			partitions, err := lake.Partitions(account)
			if err != nil {
				return err
			}
			days, err := rebuildDays(ctx, lake, env, partitions, opts.Phase)
			if err != nil {
				return err
			}
			for _, d := range days {
				switch {
				case d.frozen:
					pruned++
				case d.wrote:
					out.DaysWritten++
				}
				out.Records += d.footer.Rows
				out.Quarantined += d.footer.Quarantined
			}
			res.Accounts = append(res.Accounts, out)
			res.RunCounts.Add(out.RunCounts)
		}
		if pruned > 0 {
			env.Logger.Info("days are taken from their day files: their raw files were pruned", "days", pruned)
		}
		return publishFile(ctx, lake, env, res, opts.Phase, true, nil)
	})
}

// daysAtOnce is how many days a rebuild derives side by side. Each holds a row group and two windows.
const daysAtOnce = 2

// rebuilt is a day as it was derived anew. A frozen one is held against what it was when it was pruned.
type rebuilt struct {
	footer schemas.DayFooter
	wrote  bool // false of one that is kept as it is
	frozen bool
}

// rebuildDays derives days anew, some side by side. What it returns is in their order.
func rebuildDays(ctx context.Context, lake *publish.Lake, env Env, days []schemas.Partition,
	phase func(string)) ([]rebuilt, error) {
	out := make([]rebuilt, len(days))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(daysAtOnce, runtime.GOMAXPROCS(0)))
	for i, p := range days {
		g.Go(func() (err error) {
			defer schemas.Guard(&err)
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if phase != nil {
				phase("derive " + p.String())
			}
			source, err := lake.Source(p)
			if err != nil {
				return err
			}
			if out[i].footer, out[i].wrote, err = deriveDay(ctx, lake, p); err != nil {
				return err
			}
			if out[i].frozen = source.Frozen(); out[i].frozen {
				if err := lake.CheckFrozen(source); err != nil {
					return err
				}
			}
			return deriveBalance(ctx, lake, p, env.Logger)
		})
	}
	return out, g.Wait()
}

// needLake says in a helpful way that there is no lake. A raw archive alone will do: a rebuild makes the rest.
func needLake(dir string) error {
	_, err := publish.Open(dir, publish.Options{})
	if errors.Is(err, load.ErrNoLake) && !load.HasRaw(dir) {
		return NoLake(err)
	}
	if errors.Is(err, load.ErrNoLake) {
		return nil
	}
	return err
}

// NoLake adds to load.ErrNoLake what to do; other errors it leaves as they are.
func NoLake(err error) error {
	if !errors.Is(err, load.ErrNoLake) {
		return err
	}
	return &config.Hint{Err: err,
		Hint: "usagelake export   (makes one), or name another with --lake; usagelake demo shows one without a key"}
}
