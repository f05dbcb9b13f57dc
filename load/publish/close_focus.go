package publish

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"

	"github.com/usagelake/usagelake/schemas"
)

// FocusLedger is the ledger of the FOCUS rows of a month whose directory is dir.
func FocusLedger(dir string) string { return filepath.Join(dir, filepath.FromSlash(LedgerFocus)) }

// focusBatch is how many records' FOCUS rows are made at once, but that a day isn't parted: what they take stays within
// DuckDB's memory, where a whole month of many records would be spilled to disk.
const focusBatch = 50_000

// focusGroups has DuckDB end a row group of the ledger in time. It adds whole vectors, of up to 2,048 rows, until there
// are so many; and row groups of more than 122,880 cost the publish that reads them three times the work, and leave as
// many blocks empty as they fill.
const focusGroups = ", ROW_GROUP_SIZE 120832"

// writeFocus writes what focus_charges has of a month, in the order of its columns. They are the most rows of a close
// and the most work by far, so FOCUS's files and the published file take them from here.
//
// No two rows of a month are the same in all columns that aren't summed, and the order begins with whether it is a
// correction, and with the day. So the corrections, and then some days at a time, are computed and sorted into files of
// their own; those in a row are the whole.
func (l *Lake) writeFocus(ctx context.Context, d *Database, opts CloseOptions, target string) error {
	month, progress := opts.Month, opts.Progress
	// On one thread: each has its own part of the rows in memory, and it costs less.
	if err := d.Exec(ctx, "SET threads = 1"); err != nil {
		return err
	}
	dir, done, err := l.Scratch()
	if err != nil {
		return err
	}
	defer done()
	days, err := d.chargedDays(ctx, utcDaysOf(opts.Books, month))
	if err != nil {
		return err
	}
	var parts []string
	part := func(rows string) error {
		path := filepath.Join(dir, fmt.Sprintf("%03d.parquet", len(parts)))
		parts = append(parts, path)
		return d.copyParquet(ctx, fmt.Sprintf("SELECT * FROM %s AND billing_month = DATE '%s' ORDER BY charge_class, %s",
			rows, month.First(), focusColumns(false)), path, focusGroups)
	}
	if err := part("focus_closed WHERE charge_class IS NOT NULL"); err != nil {
		return err
	}
	for from := 0; from < len(days); {
		to, records := from, int64(0)
		for to < len(days) && (to == from || records+days[to].records <= focusBatch) {
			records += days[to].records
			to++
		}
		if progress != nil {
			progress(from, len(days))
		}
		err := part(fmt.Sprintf("focus_charges WHERE charge_class IS NULL AND usage_date BETWEEN DATE '%s' AND DATE '%s'",
			days[from].date, days[to-1].date))
		if err != nil {
			return err
		}
		from = to
	}
	if progress != nil {
		progress(len(days), len(days))
	}
	return joinParquet(target, parts)
}

// chargedDay is a day of a month, and how many records it has.
type chargedDay struct {
	date    schemas.Date
	records int64
}

// chargedDays lists the UTC days that a condition is about, in order.
func (d *Database) chargedDays(ctx context.Context, which string) ([]chargedDay, error) {
	rows, err := d.conn.QueryContext(ctx, `SELECT usage_date, sum("rows")::BIGINT FROM partitions WHERE `+which+
		" GROUP BY usage_date ORDER BY usage_date")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var days []chargedDay
	for rows.Next() {
		var date sql.NullTime
		var x chargedDay
		if err := rows.Scan(&date, &x.records); err != nil {
			return nil, err
		}
		x.date = schemas.DateOf(date.Time)
		days = append(days, x)
	}
	return days, rows.Err()
}

// copyParquet writes the answer to a query into a new Parquet file. options are further ones of DuckDB's COPY, each
// with a comma before it.
func (d *Database) copyParquet(ctx context.Context, query, path, options string) error {
	return d.Exec(ctx, "COPY ("+query+") TO "+SqlPath(path)+" (FORMAT parquet, COMPRESSION zstd"+options+")")
}
