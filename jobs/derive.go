package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform"
)

// derived is what a derivation changed.
type derived struct {
	days        int64 // usage day files written
	quarantined int64 // records in them
}

// derive brings an account's day files up to its sealed windows: whatever is stale, and nothing else.
func derive(ctx context.Context, lake *load.Lake, account string, log *slog.Logger, each func(schemas.Partition)) (derived, error) {
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
			footer, err := deriveDay(ctx, lake, p)
			if err != nil {
				return out, err
			}
			out.days++
			out.quarantined += footer.Quarantined
		}
		if err := deriveBalance(ctx, lake, p, log); err != nil {
			return out, err
		}
	}
	return out, nil
}

// deriveDay replaces the day file of p by what its sealed windows give.
func deriveDay(ctx context.Context, lake *load.Lake, p schemas.Partition) (footer schemas.DayFooter, err error) {
	raws, err := lake.Windows(p)
	if err != nil {
		return footer, err
	}
	if len(raws) == 0 {
		return footer, lake.RemoveDay(p)
	}
	windows := make([]schemas.Sealed, len(raws))
	for i, r := range raws {
		if windows[i], err = lake.OpenRaw(ctx, p, r); err != nil {
			return footer, fmt.Errorf("derive %s: %w", p, err)
		}
	}
	w, err := lake.CreateDay(p)
	if err != nil {
		return footer, fmt.Errorf("derive %s: %w", p, err)
	}
	defer w.Abort()
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
	footer.Digest = load.DayDigest(transform.Version, raws)
	return footer, w.Commit(footer)
}

// deriveBalance replaces the balance file of p if the sealed balances of its day have changed.
func deriveBalance(ctx context.Context, lake *load.Lake, p schemas.Partition, log *slog.Logger) error {
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
	return lake.WriteBalance(p, digest, slices.Clone(rows))
}
