package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// usage_daily and allocated_daily are there to be smaller than usage. Where most records are the only ones of their
// day, token, user and model they hardly are: filling them takes longer than all else, and they are half of the file.
// Then they are views (schemas.SQLLayout), each by itself: where customers have ids of their own, only allocated_daily
// is as large. It is decided when a file is built, by the share of sums in rows; a file with tables is built anew once
// that share is far beyond.
const (
	// DefaultViewsFrom is the number of records below which both are tables whatever the share: they cost little then.
	DefaultViewsFrom = 100_000

	manyShare     = 0.50
	outgrownShare = 0.65
	// The largest day files are asked for all: they have most of the rows.
	sampledDays = 4
)

// errOutgrown says that tables of sums have nearly as many rows as usage has, so that they are better views.
var errOutgrown = errors.New("nearly every record is a sum of its own")

// layout is that of the file that is built or brought up to date.
func (p *publisher) layout() schemas.SQLLayout {
	return schemas.SQLLayout{Fields: p.finance.fields(), Views: p.views, Outside: p.reads(),
		Books: p.finance.Books}
}

// SumViews are those of schemas.SQLSums that are views in the file.
func (d *Database) SumViews(ctx context.Context) (views []string, err error) {
	for _, name := range schemas.SQLSums {
		var n int
		err := d.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*) FROM duckdb_views() WHERE database_name = '%s' AND "+
			"schema_name = 'main' AND view_name = '%s'", Catalog, name)).Scan(&n)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			views = append(views, name)
		}
	}
	return views, nil
}

// manySums are those of schemas.SQLSums that have more than manyShare of the rows of the lake's largest days.
func (p *publisher) manySums(ctx context.Context, d *Database) (views []string, err error) {
	total := int64(0)
	for _, n := range p.rows {
		total += n
	}
	if total < p.lake.viewsFrom {
		return nil, nil
	}
	days := slices.SortedFunc(maps.Keys(p.rows), func(a, b schemas.Partition) int {
		return cmp.Or(cmp.Compare(p.rows[b], p.rows[a]), a.Compare(b))
	})
	var files, quoted []string
	for _, day := range days[:min(sampledDays, len(days))] {
		files = append(files, p.lake.UsagePath(day))
		quoted = append(quoted, SqlGlob(files[len(files)-1]))
	}
	// An allocation goes by these, and by the channel if rules look at it, which is left out. Files of older schemas have
	// these columns, too.
	var usage, allocated bool
	err = d.conn.QueryRowContext(ctx, fmt.Sprintf(`
		WITH allocated AS (
			SELECT account, usage_date, token_id, user_id, model, model_type, record_kind, currency, custom_user_id,
				count(*) AS n
			FROM read_parquet([%s], hive_partitioning = false, union_by_name = true) GROUP BY ALL
		)
		SELECT (SELECT count(*) FROM (SELECT DISTINCT * EXCLUDE (custom_user_id, n) FROM allocated)) > %[2]g * sum(n),
			count(*) > %[2]g * sum(n)
		FROM allocated`, strings.Join(quoted, ", "), manyShare)).Scan(&usage, &allocated)
	if err != nil {
		return nil, p.blame(err, files)
	}
	for i, many := range []bool{usage, allocated} {
		if many {
			views = append(views, schemas.SQLSums[i])
		}
	}
	return views, nil
}

// outgrown is errOutgrown once a table of sums of the file is a better view.
func (p *publisher) outgrown(ctx context.Context, d *Database) error {
	if p.alone() {
		return nil
	}
	for _, name := range schemas.SQLSums {
		if slices.Contains(p.views, name) {
			continue
		}
		var rows, sums int64
		err := d.conn.QueryRowContext(ctx, `SELECT (SELECT coalesce(sum("rows"), 0)::BIGINT FROM partitions),
			(SELECT count(*) FROM `+name+")").Scan(&rows, &sums)
		if err != nil {
			return err
		}
		if float64(sums) <= outgrownShare*float64(rows) {
			continue
		}
		// A build goes by a sample, and must come to the same: else it would be tried again at every publish. Where the
		// sample can't be read, a build would fail on it, too.
		many, err := p.manySums(ctx, d)
		if err != nil {
			return ctx.Err()
		}
		if slices.Contains(many, name) {
			return errOutgrown
		}
	}
	return nil
}
