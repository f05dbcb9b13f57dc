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

// usage_daily and allocated_daily are there to be smaller than usage. Where nearly every record is the only one of its
// day, token, user and model they aren't: filling them takes longer than all else, and they are half of the file. Then
// they are views (schemas.SQLLayout). Which they are is decided when a file is built, by the share of sums in rows; a
// file with tables is built anew once that share is far beyond.
const (
	// DefaultViewsFrom is the number of records below which both are tables whatever the share, for they cost little then,
	// and a file that begins to grow keeps its kind.
	DefaultViewsFrom = 100_000

	manyShare    = 0.50
	outgrownRate = 0.65
	// The largest day files are asked for all: they have most of the rows.
	sampledDays = 4
)

// errOutgrown says that tables of sums have nearly as many rows as usage has, so that they are better views.
var errOutgrown = errors.New("nearly every record is a sum of its own")

// layout is that of the file that is built or brought up to date.
func (p *publisher) layout() schemas.SQLLayout {
	return schemas.SQLLayout{Fields: p.finance.fields(), Unsummed: p.unsummed}
}

// unsummed says whether the file's tables of sums are views.
func (d *Database) unsummed(ctx context.Context) (is bool, err error) {
	err = d.conn.QueryRowContext(ctx, "SELECT count(*) > 0 FROM duckdb_views() WHERE database_name = '"+Catalog+
		"' AND view_name = 'usage_daily'").Scan(&is)
	return is, err
}

// manySums says whether the sums of the lake's largest days are more than manyShare of their rows.
func (p *publisher) manySums(ctx context.Context, d *Database) (bool, error) {
	total := int64(0)
	for _, n := range p.rows {
		total += n
	}
	if total < p.lake.viewsFrom {
		return false, nil
	}
	days := slices.SortedFunc(maps.Keys(p.rows), func(a, b schemas.Partition) int {
		return cmp.Or(cmp.Compare(p.rows[b], p.rows[a]), a.Compare(b))
	})
	var files []string
	for _, day := range days[:min(sampledDays, len(days))] {
		files = append(files, sqlGlob(p.lake.UsagePath(day)))
	}
	var many bool
	err := d.conn.QueryRowContext(ctx, fmt.Sprintf(`
		SELECT count(*) > %g * sum(n) FROM (
			SELECT count(*) AS n FROM read_parquet([%s], hive_partitioning = false)
			GROUP BY account, usage_date, token_id, user_id, model, model_type, record_kind, currency
		)`, manyShare, strings.Join(files, ", "))).Scan(&many)
	return many, err
}

// outgrown is errOutgrown once a file's tables of sums are better views.
func (p *publisher) outgrown(ctx context.Context, d *Database) error {
	if p.unsummed {
		return nil
	}
	var rows, sums int64
	err := d.conn.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM usage), (SELECT count(*) FROM usage_daily)").
		Scan(&rows, &sums)
	if err != nil || float64(sums) <= outgrownRate*float64(rows) || len(p.last) > 0 {
		return err
	}
	// A build goes by a sample, and must come to the same: else it would be tried again at every publish.
	many, err := p.manySums(ctx, d)
	if err == nil && many {
		err = errOutgrown
	}
	return err
}
