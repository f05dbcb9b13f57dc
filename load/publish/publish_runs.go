package publish

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// replaceRuns brings the tables of the runs up to date with the journal: months that the file has otherwise, and what
// of the live journal it has otherwise or not at all. If the number of rows isn't the journal's then, as when somebody
// took a month away, the tables are filled anew.
func (p *publisher) replaceRuns(ctx context.Context, d *Database) error {
	live, err := p.liveRuns()
	if err != nil {
		return err
	}
	months, archived, err := p.runMonths()
	if err != nil {
		return err
	}
	if err := d.Exec(ctx, "CREATE TEMP TABLE changed_runs (run_id VARCHAR)"); err != nil {
		return err
	}
	fresh := p.fresh
	if !fresh {
		if err := p.updateRuns(ctx, d, live, months); err != nil {
			return err
		}
		var have int64
		if err := d.conn.QueryRowContext(ctx, "SELECT count(*) FROM runs").Scan(&have); err != nil {
			return err
		}
		// Rows of months that are gone, or of runs that no line is of any more, are in no list of changes: their number gives
		// them away. Where runs stand in a month and in the live journal, the sum counts them twice, so the tables are filled
		// anew each time until a compaction has moved them: slower, and right.
		fresh = have != archived+int64(len(live)) // after a crash in a compaction, too: then some stand in both
	}
	if fresh {
		if err := d.Exec(ctx, "DELETE FROM runs", "DELETE FROM run_accounts", "DELETE FROM journal_months"); err != nil {
			return err
		}
		if err := p.updateRuns(ctx, d, live, months); err != nil {
			return err
		}
	}
	return d.Exec(ctx, "DROP TABLE temp.changed_runs")
}

// liveRuns are the runs of the live journal and the one that publishes, by their ids.
func (p *publisher) liveRuns() (map[string]schemas.Run, error) {
	live, err := p.lake.LiveRuns()
	if err != nil {
		return nil, err
	}
	for id, run := range live {
		live[id] = interrupted(run)
	}
	if p.opts.Current != nil {
		run := p.opts.Current(Published{Overlaps: p.overlap, Unproven: p.unproven})
		live[run.RunID] = run
	}
	return live, nil
}

// interrupted is a run of the journal as the table runs has it: whoever publishes holds the lock, so none that has no
// end goes on.
func interrupted(r schemas.Run) schemas.Run {
	if r.Status == schemas.StatusRunning {
		r.Status = schemas.StatusInterrupted
	}
	r.Accounts = slices.Clone(r.Accounts)
	for i := range r.Accounts {
		if r.Accounts[i].Status == schemas.StatusRunning {
			r.Accounts[i].Status = schemas.StatusInterrupted
		}
	}
	return r
}

// runMonths are the digests of the journal's months, and how many runs there are in them. A month that can't be read is
// left out, with a warning: verify finds it.
func (p *publisher) runMonths() (digests map[string]string, runs int64, err error) {
	months, err := p.lake.JournalMonths()
	if err != nil {
		return nil, 0, err
	}
	digests = map[string]string{}
	for _, month := range months {
		digest, n, err := p.lake.MonthDigest(month)
		if errors.As(err, new(*load.DamagedError)) {
			p.lake.Log.Warn("a month of the journal can't be read: the table runs lacks it", "error", err, "hint",
				load.HintJournal)
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		digests[month] = digest
		runs += n
	}
	return digests, runs, nil
}

// updateRuns makes the rows of changed months and runs those of the journal.
func (p *publisher) updateRuns(ctx context.Context, d *Database, live map[string]schemas.Run,
	months map[string]string) error {
	have := map[string]string{}
	rows, err := d.conn.QueryContext(ctx, `SELECT "month", digest FROM journal_months`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var month, digest string
		if err := rows.Scan(&month, &digest); err != nil {
			return err
		}
		have[month] = digest
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, month := range slices.Sorted(maps.Keys(months)) {
		if have[month] == months[month] {
			continue
		}
		var runs []schemas.Run
		for run, err := range p.lake.MonthRuns(month) {
			switch _, newer := live[run.RunID]; {
			case errors.Is(err, load.ErrUnknownLine), errors.As(err, new(*load.DamagedError)):
				p.lake.Log.Warn("a month of the journal can't be read whole: the table runs lacks some of it", "month", month,
					"error", err, "hint", load.HintJournal)
				continue
			case err != nil:
				return err
			// The live journal's line is the later one; it is put below.
			case newer:
				continue
			}
			// putRuns has taken them in when it returns, so that their memory is used again.
			if runs = append(runs, interrupted(run)); len(runs) == runsAtOnce {
				if err := p.putRuns(ctx, d, runs); err != nil {
					return err
				}
				runs = runs[:0]
			}
		}
		// Its digest is noted only once all of its runs are put: both stand in one transaction (finish).
		if err := p.putRuns(ctx, d, runs); err != nil {
			return err
		}
		if _, err := d.conn.ExecContext(ctx, `DELETE FROM journal_months WHERE "month" = ?`, month); err != nil {
			return err
		}
		if _, err := d.conn.ExecContext(ctx, `INSERT INTO journal_months VALUES (?, ?)`, month, months[month]); err != nil {
			return err
		}
	}
	changed, err := p.changedRuns(ctx, d, live)
	if err != nil {
		return err
	}
	return p.putRuns(ctx, d, changed)
}

// runsAtOnce is how many runs are put at once: each may have hundreds of accounts.
const runsAtOnce = 2000

// changedRuns are those of live that the table has otherwise or not at all, in order of their start.
func (p *publisher) changedRuns(ctx context.Context, d *Database, live map[string]schemas.Run) ([]schemas.Run, error) {
	rows, err := d.conn.QueryContext(ctx, "SELECT run_id, status, ended_at FROM runs WHERE started_at >= ?",
		earliest(live))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	changed := maps.Clone(live)
	for rows.Next() {
		var id, status string
		var ended sql.NullTime
		if err := rows.Scan(&id, &status, &ended); err != nil {
			return nil, err
		}
		// A run's line changes when it ends, and then never again. Times are compared as the table keeps them, to the
		// microsecond; no end is the zero time here and NULL there, which scans as the zero time.
		if r, ok := live[id]; ok && r.Status == status && r.EndedAt.Truncate(time.Microsecond).Equal(ended.Time) {
			delete(changed, id)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return slices.SortedStableFunc(maps.Values(changed), func(a, b schemas.Run) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), strings.Compare(a.RunID, b.RunID))
	}), nil
}

func earliest(runs map[string]schemas.Run) time.Time {
	var first time.Time
	for _, r := range runs {
		if first.IsZero() || r.StartedAt.Before(first) {
			first = r.StartedAt
		}
	}
	return first.UTC().Truncate(time.Microsecond)
}

// putRuns puts runs in the place of those of the same ids.
func (p *publisher) putRuns(ctx context.Context, d *Database, runs []schemas.Run) error {
	if len(runs) == 0 {
		return nil
	}
	err := d.fill("temp", "changed_runs", func(add func(...driver.Value) error) error {
		for _, r := range runs {
			if err := add(r.RunID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = d.Exec(ctx, "DELETE FROM runs WHERE run_id IN (SELECT run_id FROM temp.changed_runs)",
		"DELETE FROM run_accounts WHERE run_id IN (SELECT run_id FROM temp.changed_runs)", "DELETE FROM temp.changed_runs")
	if err != nil {
		return err
	}
	return fillRuns(d, runs)
}

func fillRuns(d *Database, runs []schemas.Run) error {
	err := d.fill(Catalog, "runs", func(add func(...driver.Value) error) error {
		for _, r := range runs {
			var ended, logical driver.Value
			if !r.EndedAt.IsZero() {
				ended = r.EndedAt
			}
			if !r.Logical.IsZero() {
				logical = r.Logical
			}
			err := add(r.RunID, r.Command, nullable(r.Job), logical, r.Version, int64(r.PID), r.StartedAt, ended, r.Status,
				nullable(r.Error),
				r.Records, r.Quarantined, r.Requests, r.Retries, r.Throttled, r.Windows, r.DaysWritten)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.fill(Catalog, "run_accounts", func(add func(...driver.Value) error) error {
		for _, r := range runs {
			for _, a := range r.Accounts {
				var failed driver.Value
				if len(a.Failed) > 0 {
					list := make([]any, len(a.Failed))
					for i, f := range a.Failed {
						list[i] = map[string]any{"window_start": f.Start, "window_end": f.End, "error": f.Error}
					}
					failed = list
				}
				err := add(r.RunID, a.Account, a.Status, nullable(a.Error),
					a.Records, a.Quarantined, a.Requests, a.Retries, a.Throttled, a.Windows, a.DaysWritten, failed)
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}
