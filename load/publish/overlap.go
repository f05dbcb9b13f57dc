package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Two keys of one organisation, or one key that an account was renamed with, bring every record twice, and all cost is
// doubled. Nothing in either account is wrong, so publishing holds the accounts against each other, a day at a time:
// records of the same id, time and content. Only days that changed are looked at; what was found stands in the table
// account_overlaps as long as it is so.

// Overlap is what two accounts hold both.
type Overlap struct {
	Account string // before Other
	Other   string
	Records int64        // that both hold
	Days    int          // on which they do
	From    schemas.Date // the first of them
	To      schemas.Date // the last
	Sample  string       // id of one
}

// OverlapError says that accounts hold the same records, each of which counts once for each.
type OverlapError struct{ Overlaps []Overlap }

func (e *OverlapError) Error() string {
	var pairs []string
	for _, o := range e.Overlaps {
		days := o.From.String()
		if o.Days > 1 {
			days = fmt.Sprintf("%d days from %s to %s", o.Days, o.From, o.To)
		}
		pairs = append(pairs, fmt.Sprintf("%s and %s (%d records on %s, such as id %q)", o.Account, o.Other, o.Records, days,
			o.Sample))
	}
	more := ""
	if n := len(pairs); n > 5 {
		pairs, more = pairs[:5], fmt.Sprintf("; and %d more pairs", n-5)
	}
	return "accounts hold the same records, so that their cost counts twice: " + strings.Join(pairs, "; ") + more
}

// Hint is what to do about it.
func (e *OverlapError) Hint() string {
	return fmt.Sprintf("two keys of one organisation? Take one of the two accounts, say %[1]s, out of the config, move "+
		"its directories below raw, usage, quarantine and balance, and usage.duckdb, out of the lake, then usagelake rebuild",
		e.Overlaps[0].Other)
}

// Two accounts overlap on a day if they hold so many of the same records, or all that one of them has.
const minOverlap = 3

// overlapRows is how many rows are held against each other at once, about, and datesAtOnce of how many days.
const (
	overlapRows = 8_000_000
	datesAtOnce = 500
)

// overlaps looks for records that several accounts hold, on the days that changed.
func (p *publisher) overlaps(ctx context.Context, d *Database, changed []schemas.Partition) error {
	if err := d.transaction(ctx, func() error { return p.findOverlaps(ctx, d, changed) }); err != nil {
		return fmt.Errorf("hold the accounts against each other: %w", err)
	}
	var err error
	p.overlap, err = d.readOverlaps(ctx)
	return err
}

func (p *publisher) findOverlaps(ctx context.Context, d *Database, changed []schemas.Partition) error {
	days := map[schemas.Date]bool{}
	for _, c := range changed {
		days[c.Date] = true
	}
	for dates := range slices.Chunk(slices.Sorted(maps.Keys(days)), datesAtOnce) {
		if err := d.Exec(ctx, "DELETE FROM account_overlaps WHERE usage_date IN ("+dateList(dates)+")"); err != nil {
			return err
		}
	}
	// Only days of which more than one account has rows can overlap.
	type shared struct {
		date schemas.Date
		rows int64
	}
	var look []shared // in order
	rows, err := d.conn.QueryContext(ctx,
		`SELECT usage_date, sum("rows")::BIGINT FROM partitions WHERE "rows" > 0 GROUP BY usage_date HAVING count(*) > 1
			ORDER BY 1`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var date time.Time
		var s shared
		if err := rows.Scan(&date, &s.rows); err != nil {
			return err
		}
		if s.date = schemas.DateOf(date); days[s.date] {
			look = append(look, s)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for len(look) > 0 {
		var dates []schemas.Date
		n := int64(0)
		// As many days at once as memory allows, and one at least.
		for len(look) > 0 && (n == 0 || n+look[0].rows <= overlapRows) && len(dates) < datesAtOnce {
			dates, n, look = append(dates, look[0].date), n+look[0].rows, look[1:]
		}
		if err := p.see(ctx, d, p.daysOf(dates)); err != nil {
			return err
		}
		if err := d.Exec(ctx, overlapSQL(dates)); err != nil {
			return err
		}
	}
	return nil
}

// daysOf are the days of all accounts on some dates, which are in order.
func (p *publisher) daysOf(dates []schemas.Date) []schemas.Partition {
	return slices.DeleteFunc(slices.Clone(p.days), func(d schemas.Partition) bool {
		_, is := slices.BinarySearch(dates, d.Date)
		return !is
	})
}

func dateList(dates []schemas.Date) string {
	var b strings.Builder
	for i, d := range dates {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "DATE '%s'", d)
	}
	return b.String()
}

// overlapSQL finds what pairs of accounts share on these days. First it looks for what has one time and id, and only at
// that more closely. A record is one number, for speed: numbers of 64 bits that are equal by chance are never as many
// as minOverlap. A summary record has no id of the API's, and small ones are often alike: it counts only where all of
// an account's are shared.
func overlapSQL(dates []schemas.Date) string {
	in := dateList(dates)
	return fmt.Sprintf(`
		INSERT INTO account_overlaps
		WITH candidates AS MATERIALIZED (
			SELECT k FROM (SELECT hash(request_time, id) AS k, hash(account) AS a FROM usage WHERE usage_date IN (%[1]s))
			GROUP BY k HAVING min(a) <> max(a)
		), numbered AS NOT MATERIALIZED (
			SELECT usage_date, account, record_kind, hash(request_time, id, token_id, user_id, model, total_amount,
			discount_amount, amount, total_tokens) AS n
			FROM usage WHERE usage_date IN (%[1]s) AND hash(request_time, id) IN (FROM candidates)
		), shared AS MATERIALIZED (
			SELECT usage_date, record_kind, n, list_sort(list(DISTINCT account)) AS accounts
			FROM numbered GROUP BY usage_date, record_kind, n HAVING min(account) <> max(account)
		), pairs AS (
			SELECT usage_date, record_kind, a.a AS account, a.b AS other, count(*) AS records, min(n) AS sample
			FROM (SELECT usage_date, record_kind, n, unnest(flatten(list_transform(accounts, lambda x,
			i: list_transform(accounts[i + 1:], lambda y: {'a': x, 'b': y})))) AS a FROM shared)
			GROUP BY ALL
		), counts AS (
			SELECT usage_date, record_kind, account, count(*) AS records FROM usage
			WHERE usage_date IN (SELECT usage_date FROM pairs) GROUP BY ALL
		), found AS (
			SELECT p.* FROM pairs p
			JOIN counts a ON a.usage_date = p.usage_date AND a.record_kind = p.record_kind AND a.account = p.account
			JOIN counts o ON o.usage_date = p.usage_date AND o.record_kind = p.record_kind AND o.account = p.other
			WHERE CASE p.record_kind WHEN 'summary' THEN p.records >= %[2]d AND p.records >= least(a.records, o.records)
				ELSE p.records >= least(%[2]d, a.records, o.records) END
		)
		SELECT f.account, f.other, f.usage_date, sum(f.records)::BIGINT, min(u.id)
		FROM found f JOIN usage u ON u.usage_date = f.usage_date AND u.account = f.account AND u.record_kind = f.record_kind
			AND hash(u.request_time, u.id, u.token_id, u.user_id, u.model, u.total_amount, u.discount_amount, u.amount,
			u.total_tokens) = f.sample
		GROUP BY f.account, f.other, f.usage_date ORDER BY ALL`, in, minOverlap)
}

// readOverlaps reads what is known of accounts that hold the same records.
func (d *Database) readOverlaps(ctx context.Context) ([]Overlap, error) {
	rows, err := d.conn.QueryContext(ctx, `
		SELECT account, other, sum(records)::BIGINT, count(*)::BIGINT, min(usage_date), max(usage_date),
		arg_min(sample_id, usage_date)
		FROM account_overlaps GROUP BY account, other ORDER BY account, other`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Overlap
	for rows.Next() {
		var o Overlap
		var from, to time.Time
		if err := rows.Scan(&o.Account, &o.Other, &o.Records, &o.Days, &from, &to, &o.Sample); err != nil {
			return nil, err
		}
		o.From, o.To = schemas.DateOf(from), schemas.DateOf(to)
		out = append(out, o)
	}
	return out, rows.Err()
}

// Overlaps reads off the published file which accounts hold the same records. None if there is no such file, or one of
// an older layout.
func (l *Lake) Overlaps(ctx context.Context) ([]Overlap, error) {
	if _, err := l.FS.Stat(l.Database()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	d, err := l.OpenPublishedFile(ctx)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var layout int
	if err := d.conn.QueryRowContext(ctx, "SELECT schema_version FROM meta").Scan(&layout); err != nil ||
		layout != schemas.SQLVersion {
		return nil, err
	}
	return d.readOverlaps(ctx)
}
