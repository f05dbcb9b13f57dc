package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform"
)

// derived is what a derivation changed.
type derived struct {
	days        int64 // usage day files written
	rows        int64 // records in them
	quarantined int64 // the same, in quarantine
}

// derive brings an account's day files up to its sealed windows: whatever is stale, and nothing else.
func derive(ctx context.Context, lake *publish.Lake, account string, log *slog.Logger,
	each func(schemas.Partition)) (derived, error) {
	var out derived
	partitions, err := lake.Partitions(account)
	if err != nil {
		return out, err
	}
	for _, p := range partitions {
		if err := context.Cause(ctx); err != nil {
			return out, err
		}
		stale, err := lake.Stale(p, transform.Version)
		if err != nil {
			return out, err
		}
		if stale {
			if each != nil {
				each(p)
			}
			footer, _, err := deriveDay(ctx, lake, p)
			if err != nil {
				return out, err
			}
			out.days++
			out.rows += footer.Rows
			out.quarantined += footer.Quarantined
		}
		if err := deriveBalance(ctx, lake, p, log); err != nil {
			return out, err
		}
	}
	return out, nil
}

// deriveDay replaces the day file of p by what its sealed windows give. That of a frozen day stays, for it is the
// source, and so does one that was made from windows that are missing (load.Orphan): then wrote is false, and footer
// what stands there.
func deriveDay(ctx context.Context, lake *publish.Lake, p schemas.Partition) (footer schemas.DayFooter, wrote bool,
	err error) {
	source, err := lake.Source(p)
	if err != nil {
		return footer, false, err
	}
	if source.Frozen() {
		footer, err = lake.FrozenDay(source)
		return footer, false, err
	}
	orphan, err := lake.Orphaned(source)
	if err != nil {
		return footer, false, err
	}
	if orphan != nil || len(source.Windows) == 0 {
		footer, _, err = lake.Day(p)
		if errors.As(err, new(*load.DamagedError)) {
			return schemas.DayFooter{}, false, nil // whoever publishes says so
		}
		return footer, false, err
	}
	// Copies come first: with the commit of the new file, what the old one alone held would be gone.
	if err := lake.KeepPruned(source); err != nil {
		return footer, false, err
	}
	if err := lake.KeepOrphan(source); err != nil {
		return footer, false, err
	}
	w, err := lake.CreateDay(p)
	if err != nil {
		return footer, false, fmt.Errorf("derive %s: %w", p, err)
	}
	footer, err = deriveTo(ctx, lake, source, w)
	return footer, err == nil, err
}

// deriveTo writes what the windows of a day that isn't frozen give, and commits it. Windows that were pruned own
// nothing any more; the day's coverage still lists them.
func deriveTo(ctx context.Context, lake *publish.Lake, source load.Source,
	w *load.DayWriter) (footer schemas.DayFooter, err error) {
	defer w.Abort()
	p, live := source.Partition, source.Live()
	windows := make([]schemas.Sealed, len(live))
	for i, r := range live {
		if windows[i], err = lake.OpenRaw(ctx, p, r); err != nil {
			return footer, fmt.Errorf("derive %s: %w", p, err)
		}
	}
	day := transform.NewDay(p, windows, transform.Options{})
	for batch, err := range day.Batches(ctx) {
		if err != nil {
			return footer, fmt.Errorf("derive %s: %w", p, err)
		}
		if batch.Usage != nil {
			if err := w.Write(batch.Usage); err != nil {
				return footer, fmt.Errorf("derive %s: %w", p, err)
			}
		}
		if err := w.WriteRejects(batch.Rejects); err != nil {
			return footer, fmt.Errorf("derive %s: %w", p, err)
		}
	}
	footer = day.Footer()
	footer.Windows = append(source.Silent(), footer.Windows...) // which came later
	footer.Digest = source.Digest(transform.Version)
	return footer, w.Commit(footer)
}

// deriveBalance replaces the balance file of p if the sealed balances of its day have changed. Rows whose answers are
// missing stay.
func deriveBalance(ctx context.Context, lake *publish.Lake, p schemas.Partition, log *slog.Logger) error {
	raws, err := lake.Balances(p)
	if err != nil || len(raws) == 0 {
		return err
	}
	digest := load.DayDigest(transform.Version, raws)
	have, ok, err := lake.BalanceDigest(p)
	if err != nil {
		return err
	}
	if ok && have == digest {
		return nil
	}
	var names []string
	asked := map[int64]bool{}
	var rows []arrow.RecordBatch
	defer func() {
		for _, r := range rows {
			r.Release()
		}
	}()
	for _, r := range raws {
		s, err := lake.OpenRaw(ctx, p, r)
		if err != nil {
			return fmt.Errorf("derive balance %s: %w", p, err)
		}
		names = append(names, r.Name)
		asked[s.Seal.FetchedAt.UnixMicro()] = true
		for page, err := range s.Pages(ctx) {
			if err != nil {
				return fmt.Errorf("derive balance %s: %w", p, err)
			}
			row, err := transform.Balance(s.Seal, page)
			if err != nil { // it stays in the raw archive
				log.Warn("a balance can't be used", "day", p.String(), "file", r.Name, "error", err)
				continue
			}
			rows = append(rows, row)
		}
	}
	// Rows of answers whose raw files are gone can't be had again.
	gone, kept, err := lake.OrphanedBalances(ctx, p, raws, func(at time.Time) bool { return asked[at.UnixMicro()] })
	if err != nil {
		return err
	}
	if len(kept) > 0 {
		rows = append(kept, rows...)
		at := func(r arrow.RecordBatch) arrow.Timestamp { return r.Column(1).(*array.Timestamp).Value(0) }
		slices.SortStableFunc(rows, func(a, b arrow.RecordBatch) int { return cmp.Compare(at(a), at(b)) })
	}
	return lake.WriteBalance(p, digest, append(gone, names...), slices.Clone(rows))
}
