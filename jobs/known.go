package jobs

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// recalled says what of a lake is made anew in a lake of its own.
type recalled struct {
	days *schemas.Period // nil: all
	// known are those of a day's windows that are taken.
	known func(schemas.Partition, []load.Sealing) ([]load.Sealing, error)
	// balances says whether what was answered at that time is taken.
	balances func(asked time.Time) bool
	closed   []publish.Closing // months that are closed there
	finance  publish.Finance
	now      time.Time // by its clock
	threads  int       // of DuckDB; 0: as many as the config gives
	phase    func(string)
}

// recall makes a lake in a scratch directory that has some of what another has, derives and publishes it: whatever asks
// a lake asks it of that. done removes it. Days that can't be derived any more are an UnansweredError, and there is no
// lake then. The other lake isn't changed, nor locked: its files never change.
func recall(ctx context.Context, lake *publish.Lake, cfg *config.Config, env Env, r recalled) (out *publish.Lake,
	done func(), err error) {
	scratch, drop, err := lake.Scratch()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			drop()
		}
	}()
	opts := env.LakeOptions(cfg)
	opts.Records = schemas.AllRecords // whole in itself: what is outside of it would be gone with the scratch
	if r.threads > 0 {
		opts.Threads = r.threads
	}
	if out, err = publish.Create(filepath.Join(scratch, "lake"), opts); err != nil {
		return nil, nil, err
	}
	unlock, err := out.Lock(ctx, "recall", false)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = unlock() }()
	var lost []DiffUnanswered
	accounts, err := lake.Accounts()
	if err != nil {
		return nil, nil, err
	}
	for _, account := range accounts {
		days, err := lake.Partitions(account)
		if err != nil {
			return nil, nil, err
		}
		for _, p := range days {
			if r.days != nil {
				if from, to := r.days.UTC(); p.Date < from || p.Date >= to {
					continue
				}
			}
			if err := context.Cause(ctx); err != nil {
				return nil, nil, err
			}
			why, err := r.take(ctx, lake, out, p)
			if err != nil {
				return nil, nil, fmt.Errorf("recall %s: %w", p, err)
			}
			if why != "" {
				lost = append(lost, DiffUnanswered{p.Account, p.Date.String(), why})
			}
		}
	}
	if len(lost) > 0 {
		return nil, nil, &UnansweredError{len(lost), lost[0]}
	}
	for _, c := range r.closed {
		if err := out.TakeClosed(c); err != nil {
			return nil, nil, err
		}
	}
	if err := r.derive(ctx, out, env); err != nil {
		return nil, nil, err
	}
	if r.phase != nil {
		r.phase("publish")
	}
	if _, err := out.Publish(ctx, publish.PublishOptions{Version: env.Version, Full: true, Finance: r.finance,
		Now: func() time.Time { return r.now }}); err != nil {
		return nil, nil, err
	}
	return out, drop, nil
}

// take puts what is known of a day into the other lake; why says what can't be had of it any more, "" if nothing is.
func (r recalled) take(ctx context.Context, from, to *publish.Lake, p schemas.Partition) (why string, err error) {
	all, err := from.Sealings(ctx, p)
	if err != nil {
		return "", err
	}
	known, err := r.known(p, all)
	if err != nil {
		return "", err
	}
	source, err := from.Source(p)
	if err != nil {
		return "", err
	}
	then := load.Source{Partition: p, Pruned: source.Pruned}
	var raws []load.Raw
	pruned := 0
	for _, s := range known {
		then.Windows = append(then.Windows, s.Raw)
		if !s.Gone {
			raws = append(raws, s.Raw)
		}
		if s.Pruned {
			pruned++
		}
	}
	switch {
	case then.Frozen() && pruned == len(then.Pruned.Files):
		if err := to.TakeFrozen(from.Lake, then); err != nil {
			return "", err
		}
	default:
		if why := unreadable(known); why != "" {
			return why, nil
		}
	}
	balances, err := from.Balances(p)
	if err != nil {
		return "", err
	}
	for _, b := range balances {
		if !b.Pruned && r.balances != nil && r.balances(b.Window.Start) {
			raws = append(raws, b)
		}
	}
	return "", to.TakeRaw(from.Lake, p, raws)
}

// derive derives every day of the lake, some side by side.
func (r recalled) derive(ctx context.Context, lake *publish.Lake, env Env) error {
	accounts, err := lake.Accounts()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(daysAtOnce, runtime.GOMAXPROCS(0)))
	for _, account := range accounts {
		days, err := lake.Partitions(account)
		if err != nil {
			return err
		}
		for _, p := range days {
			g.Go(func() (err error) {
				defer schemas.Guard(&err)
				if err := context.Cause(ctx); err != nil {
					return err
				}
				if r.phase != nil {
					mu.Lock()
					r.phase("derive " + p.String())
					mu.Unlock()
				}
				if _, _, err := deriveDay(ctx, lake, p); err != nil {
					return err
				}
				return deriveBalance(ctx, lake, p, env.Logger)
			})
		}
	}
	return g.Wait()
}

// AsOf makes a lake that has what this one knew at an instant: the windows and balances that were fetched until then,
// and the months that were closed. What people write, allocation rules, budgets and names, is that of today, but for
// the rules of those months. done removes it.
func AsOf(ctx context.Context, cfg *config.Config, env Env, at time.Time, phase func(string)) (known *publish.Lake,
	done func(), err error) {
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, nil, NoLake(err)
	}
	r := recalled{now: at, phase: phase, balances: func(asked time.Time) bool { return !asked.After(at) },
		known: func(_ schemas.Partition, all []load.Sealing) ([]load.Sealing, error) { return knownBy(all, at), nil }}
	if r.finance, err = readFinance(cfg); err != nil {
		return nil, nil, err
	}
	// Without the rules nothing would be allocated, under a heading that says so of then.
	if err := sameSetup(ctx, lake, cfg, r.finance, nil); err != nil {
		return nil, nil, err
	}
	closings, err := lake.Closings()
	if err != nil {
		return nil, nil, err
	}
	for _, c := range closings {
		if !c.ClosedAt.After(at) && (c.Reopened == nil || c.Reopened.At.After(at)) {
			r.closed = append(r.closed, c)
		}
	}
	known, done, err = recall(ctx, lake, cfg, env, r)
	if err != nil {
		return nil, nil, fmt.Errorf("as of %s: %w", at.UTC().Format(time.RFC3339), err)
	}
	return known, done, nil
}
