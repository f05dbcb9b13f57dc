package publish

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// replaceDays makes the rows of the given days, which are in order, those of the day files.
func (p *publisher) replaceDays(ctx context.Context, d *Database, days []schemas.Partition) error {
	if err := d.Exec(ctx, "CREATE TEMP TABLE changed (account VARCHAR, usage_date DATE)"); err != nil {
		return err
	}
	for len(days) > 0 {
		var group []day
		rows := int64(0)
		// A group has one day at least, however large, and goes beyond groupRows by less than one.
		for len(group) < len(days) && len(group) < groupDays && rows < groupRows {
			g := day{Partition: days[len(group)]}
			if _, ok := p.want[g.Partition]; ok {
				footer, ok, err := p.lake.Day(g.Partition)
				if err != nil {
					return fmt.Errorf("day %s: %w", g.Partition, err)
				}
				// The lock is held, so only who goes past it can have done that. What was scanned is what is published, or nothing.
				if !ok || footer.Digest != p.want[g.Partition] {
					return fmt.Errorf("day %s changed meanwhile", g.Partition)
				}
				g.footer = &footer
				rows += footer.Rows
			}
			group = append(group, g)
		}
		days = days[len(group):]
		// One transaction a group bounds what DuckDB has to hold. If a later one fails the file is thrown away with those
		// that were committed.
		err := d.transaction(ctx, func() error { return p.replaceGroup(ctx, d, group) })
		if err != nil {
			return fmt.Errorf("days %s to %s: %w", group[0], group[len(group)-1], err)
		}
	}
	return d.Exec(ctx, "DROP TABLE temp.changed")
}

// day is a day to be published: its footer, or nil if the lake has no such day any more. The digests are of the bytes
// as they are read now: verify holds the files against them later.
type day struct {
	schemas.Partition
	footer            *schemas.DayFooter
	usage, quarantine string // digests of the files; "" if there is none
}

type dayTable struct{ table, date string }

// dayTables hold rows of a day, by the column that says which; the records' table is one, too.
var dayTables = []dayTable{
	{"partitions", "usage_date"},
	{"usage_daily", "usage_date"},
	{"unit_prices", "usage_date"},
	{"coverage", "usage_date"},
	{"coverage_daily", "usage_date"},
	{"day_issues", "usage_date"},
	{"quarantine", "window_start::DATE"},
}

// replaceGroup makes the rows of some days those of their files, within the caller's transaction: what it deletes and
// then can't insert is there again.
func (p *publisher) replaceGroup(ctx context.Context, d *Database, group []day) error {
	if err := d.Exec(ctx, "DELETE FROM temp.changed"); err != nil {
		return err
	}
	err := d.fill("temp", "changed", func(add func(...driver.Value) error) error {
		for _, g := range group {
			if err := add(g.Account, g.Date.Start()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !p.fresh {
		// Deleted and inserted in one transaction. Each table goes by the same list of days, so that none keeps rows of a day
		// that another has lost.
		for _, t := range append(dayTables[:len(dayTables):len(dayTables)], dayTable{p.recordsTable(), "usage_date"}) {
			if slices.Contains(p.views, t.table) {
				continue
			}
			if err := d.Exec(ctx,
				fmt.Sprintf("DELETE FROM %s WHERE (account, %s) IN (SELECT (account, usage_date) FROM temp.changed)", t.table,
					t.date)); err != nil {
				return fmt.Errorf("delete from %s: %w", t.table, err)
			}
		}
	}

	var quarantine []string
	var usage []dayFiles // in the order of the days
	for i, g := range group {
		if g.footer == nil {
			delete(p.files, g.Partition)
			continue
		}
		if group[i].usage, err = p.lake.Digest(p.lake.UsagePath(g.Partition)); err != nil {
			return err
		}
		if t := p.pruned[g.Partition]; t != nil && group[i].usage != t.Usage.SHA256 {
			return p.lake.LostDay(g.Partition) // nothing can derive it anew, should it be damaged
		}
		outside, err := p.placeRecords(group[i])
		if err != nil {
			return err
		}
		if g.footer.Rows > 0 && !outside {
			// Runs of days of one version, and not one list a version: rows come into the table in the order of the days, which
			// is what lets a reader skip row groups by their range of days.
			if n := len(usage); n == 0 || usage[n-1].schema != g.footer.Schema {
				usage = append(usage, dayFiles{schema: g.footer.Schema})
			}
			last := &usage[len(usage)-1]
			last.files = append(last.files, p.lake.UsagePath(g.Partition))
		}
		if g.footer.Quarantined > 0 && !p.quarantineGone(g.Partition) {
			quarantine = append(quarantine, p.lake.QuarantinePath(g.Partition))
			if group[i].quarantine, err = p.lake.Digest(p.lake.QuarantinePath(g.Partition)); err != nil {
				return err
			}
		}
	}
	for _, u := range usage {
		if err := d.insertParquet(ctx, p.recordsTable(), schemas.UsageColumns(), schemas.SQLUsageColumns(u.schema),
			u.files); err != nil {
			return p.blame(err, u.files)
		}
	}
	rejects := schemas.QuarantineColumns()
	if err := d.insertParquet(ctx, "quarantine", rejects, schemas.SQLColumns(rejects), quarantine); err != nil {
		return p.blame(err, quarantine)
	}
	if err := p.fillFooters(d, group); err != nil {
		return err
	}
	days := make([]schemas.Partition, len(group))
	for i, g := range group {
		days[i] = g.Partition
	}
	if err := p.see(ctx, d, days); err != nil {
		return err
	}
	if err := d.Exec(ctx, p.layout().Rollups()); err != nil {
		return fmt.Errorf("sum up: %w", err)
	}
	return p.checkGroup(ctx, d)
}

// dayFiles are day files of one schemas.SchemaVersion: those of pruned days stay as they were.
type dayFiles struct {
	schema int
	files  []string
}

// blame names the file that is at fault, of those that DuckDB could not read: it says what it stumbled over, and not
// where.
func (p *publisher) blame(err error, files []string) error {
	// Each is read whole, which takes time, but only once DuckDB has failed. If all are sound the fault is not theirs.
	for _, f := range files {
		if wrong := p.lake.CheckBody(f); wrong != nil {
			if damaged := (*load.DamagedError)(nil); errors.As(wrong, &damaged) {
				damaged.Hint = "usagelake verify --repair   (derives it anew from the raw archive)"
			}
			return wrong
		}
	}
	return err
}

// insertParquet inserts the rows of files, file by file in their order. selected are the columns as the files give
// them.
func (d *Database) insertParquet(ctx context.Context, table string, columns []schemas.Column, selected string,
	files []string) error {
	if len(files) == 0 {
		return nil
	}
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = SqlGlob(f)
	}
	err := d.Exec(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM read_parquet([%s], hive_partitioning = false)",
		table, schemas.SQLColumns(columns), selected, strings.Join(quoted, ", ")))
	if err != nil {
		return fmt.Errorf("insert into %s: %w", table, err)
	}
	return nil
}

// fillFooters inserts what the footers of the day files say: control totals, coverage, issues.
func (p *publisher) fillFooters(d *Database, group []day) error {
	each := func(table string, rows func(add func(...driver.Value) error, g day) error) error {
		return d.fill(Catalog, table, func(add func(...driver.Value) error) error {
			for _, g := range group {
				if g.footer == nil {
					continue
				}
				if err := rows(add, g); err != nil {
					return fmt.Errorf("day %s: %w", g, err)
				}
			}
			return nil
		})
	}
	return errors.Join(
		each("partitions", func(add func(...driver.Value) error, g day) error {
			total, err1 := wideDecimal(g.footer.TotalAmount)
			discount, err2 := wideDecimal(g.footer.Discount)
			amount, err3 := wideDecimal(g.footer.Amount)
			if err := errors.Join(err1, err2, err3); err != nil {
				return err
			}
			s := g.footer.DayStats
			records := ""
			if f, ok := p.files[g.Partition]; ok {
				records = load.RecordsName(g.Partition, f.digest)
			}
			return add(g.Account, g.Date.Start(), g.footer.Digest, int32(g.footer.Transform), int32(g.footer.Schema),
				s.Rows, s.Quarantined, s.Duplicates, s.Ignored, total, discount, amount, g.usage, nullable(g.quarantine),
				nullable(records))
		}),
		each("coverage", func(add func(...driver.Value) error, g day) error {
			for _, w := range g.footer.Windows {
				var announced driver.Value
				if w.Announced != nil {
					announced = *w.Announced
				}
				listed := w.Listed
				if g.footer.Schema < schemas.SchemaOrdinal { // Records was that
					listed = w.Records
				}
				err := add(g.Account, g.Date.Start(), w.Start, w.End, int32(w.Seq), announced, listed, w.Lacking, w.Records,
					int64(w.Pages),
					int64(w.Requests), nullable(w.Proof), w.FetchedAt, w.RunID, w.Owns)
				if err != nil {
					return err
				}
			}
			return nil
		}),
		each("day_issues", func(add func(...driver.Value) error, g day) error {
			for _, i := range g.footer.Issues {
				err := add(g.Account, g.Date.Start(), i.Check, i.Severity, nullable(i.Field), nullable(i.Model), i.Count,
					nullable(i.SampleID), nullable(i.Detail))
				if err != nil {
					return err
				}
			}
			return nil
		}),
	)
}

// checkGroup compares what the tables hold for the days in changed with the footers of their files: the number of
// rows, and every sum to the last digit.
func (p *publisher) checkGroup(ctx context.Context, d *Database) error {
	var account, what sql.NullString
	var date sql.NullTime
	// FULL JOINs, so that a day that one side has and another hasn't is found, too: the side that lacks it counts as 0.
	// One that the lake has no more is in none of them.
	err := d.conn.QueryRowContext(ctx, `
		WITH held AS (
			SELECT account, usage_date, count(*) AS n, coalesce(sum(total_amount), 0) AS t,
			coalesce(sum(discount_amount), 0) AS s, coalesce(sum(amount), 0) AS a
			FROM usage SEMI JOIN temp.changed USING (account, usage_date) GROUP BY ALL
		), summed AS (
			SELECT account, usage_date, sum(requests) AS n, coalesce(sum(total_amount), 0) AS t,
			coalesce(sum(discount_amount), 0) AS s, coalesce(sum(amount), 0) AS a
			FROM usage_addends SEMI JOIN temp.changed USING (account, usage_date) GROUP BY ALL
		), bad AS (
			SELECT account, window_start::DATE AS usage_date, count(*) AS n
			FROM quarantine WHERE (account, window_start::DATE) IN (SELECT (account, usage_date) FROM temp.changed) GROUP BY ALL
		)
		SELECT account, usage_date, format('rows {} of {}, amount {} of {}, quarantined {} of {}', coalesce(h.n, 0), p."rows",
		coalesce(h.a, 0), p.amount, coalesce(b.n, 0), p.quarantined)
		FROM (FROM partitions SEMI JOIN temp.changed USING (account, usage_date)) p
		FULL JOIN held h USING (account, usage_date)
		FULL JOIN summed s USING (account, usage_date)
		FULL JOIN bad b USING (account, usage_date)
		WHERE (coalesce(h.n, 0), coalesce(h.t, 0), coalesce(h.s, 0), coalesce(h.a, 0)) IS DISTINCT
		FROM (p."rows", p.total_amount, p.discount_amount, p.amount)
			OR (coalesce(s.n, 0), coalesce(s.t, 0), coalesce(s.s, 0), coalesce(s.a, 0)) IS DISTINCT
			FROM (p."rows", p.total_amount, p.discount_amount, p.amount)
			-- no quarantine_sha256: retention deleted the file
			OR coalesce(b.n, 0) IS DISTINCT FROM CASE WHEN p.quarantine_sha256 IS NULL THEN 0 ELSE p.quarantined END
		ORDER BY ALL LIMIT 1`).Scan(&account, &date, &what)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("check totals: %w", err)
	}
	return fmt.Errorf("%w: %s %s: %s", errInexact, account.String, date.Time.Format(time.DateOnly), what.String)
}
