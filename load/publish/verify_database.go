package publish

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// database holds the published file against the files it was made from.
func (v *verifier) database(ctx context.Context) error {
	path := v.lake.Database()
	found := func(check string, p schemas.Partition, format string, args ...any) {
		f := Finding{Check: check, Path: path, Detail: fmt.Sprintf(format, args...), Hint: hintRebuild}
		if p.Account != "" {
			f.Account, f.Date = p.Account, p.Date.String()
		}
		v.add(f)
	}
	if _, err := v.lake.FS.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if len(v.days) > 0 {
			found(FoundDatabase, schemas.Partition{}, "it isn't there")
		}
		return nil
	}
	intruded, err := v.lake.Intrusion()
	if err != nil {
		return err
	}
	if !intruded.None() {
		v.add(Finding{Check: FoundIntruded, Path: path, Detail: intruded.String(), Hint: HintIntruded})
	}
	if intruded.Log == "" {
		err = v.checkDatabase(ctx, path, found)
	}
	if intruded.Log != "" || isLocked(err) { // the file is looked at as it is, without what stands in the log
		var done func()
		if done, err = v.lake.aside(func(name, _ string) error { return v.checkDatabase(ctx, name, found) }); err == nil {
			defer done()
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		found(FoundDatabase, schemas.Partition{}, "%s", err)
	}
	return nil
}

func (v *verifier) checkDatabase(ctx context.Context, path string,
	found func(check string, p schemas.Partition, format string, args ...any)) error {
	if err := v.d.Exec(ctx, "ATTACH "+SqlPath(path)+" AS "+Catalog+" (READ_ONLY)", "USE "+Catalog); err != nil {
		return err
	}
	var version int
	if err := v.d.conn.QueryRowContext(ctx, "SELECT schema_version FROM meta").Scan(&version); err != nil {
		return err
	}
	if version != schemas.SQLVersion {
		found(FoundVersion, schemas.Partition{}, "its tables have version %d, this program makes version %d", version,
			schemas.SQLVersion)
		return nil
	}

	broken, err := v.records(ctx)
	if err != nil {
		return err
	}
	// Every block of every table is read, which checks DuckDB's checksums. A view holds nothing: that it can still be
	// asked is enough.
	tables, views, err := v.d.relations(ctx)
	if err != nil {
		return err
	}
	for _, name := range views {
		stmt, err := v.d.conn.PrepareContext(ctx, "SELECT * FROM "+name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := stmt.Close(); err != nil {
			return err
		}
	}
	for _, name := range tables {
		var n int64
		var hash sql.NullString
		if err := v.d.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*), sum(hash(r))::VARCHAR FROM %s r",
			name)).Scan(&n, &hash); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}

	held, err := v.heldContent(ctx)
	if err != nil {
		return err
	}
	v.report.DatabaseDays = len(held)
	all := slices.Collect(maps.Keys(held))
	// Those of either side, so that a day that only one of them has is looked at.
	for p := range v.days {
		if _, ok := held[p]; !ok {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, schemas.Partition.Compare)
	for _, p := range all {
		day, inLake := v.days[p]
		h, inFile := held[p]
		v.report.DatabaseRows += h.rows
		switch {
		case !inFile:
			found(FoundBehind, p, "it lacks the day")
			continue
		case !inLake:
			source, err := v.lake.Source(p)
			if err != nil || len(source.Windows) > 0 {
				found(FoundBehind, p, "it has the day, and the lake has no readable file of it")
			} else if _, err := v.lake.FS.Stat(v.lake.UsagePath(p)); errors.Is(err, fs.ErrNotExist) {
				v.orphan(load.Orphan{Partition: p, What: load.OrphanPublished, Path: path,
					Why: fmt.Sprintf("neither its day file nor its raw files are there; usage.duckdb has %d rows of it", h.rows)})
			}
			continue
		case h.digest != day.footer.Digest:
			found(FoundBehind, p, "it has the day as it was before")
			continue
		}
		if h.usageFile != day.usage {
			v.add(Finding{Check: FoundChanged, Path: v.lake.UsagePath(p), Account: p.Account, Date: p.Date.String(),
				Detail: "its bytes are not those it was published from", Hint: hintRebuild})
		}
		if h.quarantineFile != day.quarantine && day.pruned != nil && day.pruned.QuarantineGone() {
			found(FoundBehind, p, "it has quarantined records that were pruned since")
			continue
		}
		if h.quarantineFile != day.quarantine {
			v.add(Finding{Check: FoundChanged, Path: v.lake.QuarantinePath(p), Account: p.Account, Date: p.Date.String(),
				Detail: "its bytes are not those it was published from", Hint: hintRebuild})
		}
		if broken[p] {
			continue // what can be asked of it isn't there
		}
		if day.readable && h.content != day.content {
			found(FoundDiffers, p, "usage holds %d rows with amount %s, the day file %d with %s; or other values", h.rows,
				h.amount, day.content.rows, day.content.amount)
		}
		if said, err := footerContent(day.footer); err == nil && h.daily != said {
			found(FoundDiffers, p, "usage_daily holds %d records with amount %s, the day file %d with %s", h.daily.rows,
				h.daily.amount, said.rows, said.amount)
		}
		f := day.footer
		if day.pruned != nil && day.pruned.QuarantineGone() {
			f.Quarantined = 0
		}
		if h.quarantined != f.Quarantined || h.windows != int64(len(f.Windows)) || h.issues != int64(len(f.Issues)) {
			found(FoundDiffers, p, "it holds %d quarantined records, %d windows, %d issues; the day file says %d, %d, %d",
				h.quarantined, h.windows, h.issues, f.Quarantined, len(f.Windows), len(f.Issues))
		}
	}
	if err := v.closedMonths(ctx); err != nil {
		return err
	}
	return v.checkBalance(ctx, found)
}

// heldDay is what the published file holds of a day.
type heldDay struct {
	digest, usageFile, quarantineFile string
	content
	daily                        content
	quarantined, windows, issues int64
}

func (v *verifier) heldContent(ctx context.Context) (map[schemas.Partition]heldDay, error) {
	const sums = "count(*) AS n, coalesce(sum(total_amount), 0) AS t, coalesce(sum(discount_amount), 0) AS s, " +
		"coalesce(sum(amount), 0) AS a"
	rows, err := v.d.conn.QueryContext(ctx, `
		SELECT account, usage_date, coalesce(digest, ''), coalesce(file_sha256, ''), coalesce(quarantine_sha256, ''),
			coalesce(u.n, 0)::BIGINT, coalesce(u.t, 0)::DECIMAL(38,12)::VARCHAR, coalesce(u.s, 0)::DECIMAL(38,12)::VARCHAR,
			coalesce(u.a, 0)::DECIMAL(38,12)::VARCHAR, coalesce(u.h, 0)::VARCHAR,
			coalesce(d.n, 0)::BIGINT, coalesce(d.t, 0)::DECIMAL(38,12)::VARCHAR, coalesce(d.s, 0)::DECIMAL(38,12)::VARCHAR,
			coalesce(d.a, 0)::DECIMAL(38,12)::VARCHAR,
			coalesce(q.n, 0), coalesce(c.n, 0), coalesce(i.n, 0)
		FROM partitions
		FULL JOIN (SELECT account, usage_date, `+sums+`, sum(hash(`+schemas.SQLColumns(schemas.UsageColumns())+`)) AS h
			FROM usage GROUP BY ALL) u USING (account, usage_date)
		FULL JOIN (SELECT account, usage_date, `+strings.Replace(sums, "count(*)", "sum(requests)",
		1)+` FROM usage_daily GROUP BY ALL) d USING (account, usage_date)
		FULL JOIN (SELECT account, window_start::DATE AS usage_date, count(*) AS n FROM quarantine
		GROUP BY ALL) q USING (account, usage_date)
		FULL JOIN (SELECT account, usage_date, count(*) AS n FROM coverage GROUP BY ALL) c USING (account, usage_date)
		FULL JOIN (SELECT account, usage_date, count(*) AS n FROM day_issues GROUP BY ALL) i USING (account, usage_date)`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	held := map[schemas.Partition]heldDay{}
	for rows.Next() {
		var account string
		var date time.Time
		var h heldDay
		err := rows.Scan(&account, &date, &h.digest, &h.usageFile, &h.quarantineFile,
			&h.rows, &h.total, &h.discount, &h.amount, &h.hash,
			&h.daily.rows, &h.daily.total, &h.daily.discount, &h.daily.amount,
			&h.quarantined, &h.windows, &h.issues)
		if err != nil {
			return nil, err
		}
		held[schemas.Partition{Account: account, Date: schemas.DateOf(date)}] = h
	}
	return held, rows.Err()
}

func (v *verifier) checkBalance(ctx context.Context, found func(check string, p schemas.Partition, format string,
	args ...any)) error {
	var digest string
	if err := v.d.conn.QueryRowContext(ctx, "SELECT balance_digest FROM meta").Scan(&digest); err != nil {
		return err
	}
	if digest != hex.EncodeToString(v.balances.Sum(nil)) {
		found(FoundBehind, schemas.Partition{}, "its balances are not those of the balance files")
		return nil
	}
	if v.balanceBad {
		return nil
	}
	sum, n := new(big.Int), int64(0)
	for _, path := range v.balanceFiles {
		rows, hash, err := v.readAll(ctx, path, schemas.BalanceColumns())
		if err != nil {
			return err
		}
		h, ok := new(big.Int).SetString(hash, 10)
		if !ok {
			return fmt.Errorf("hash %q", hash)
		}
		sum.Add(sum, h)
		n += rows
	}
	held, err := v.d.balanceDays(ctx)
	if err != nil {
		return err
	}
	// What the file alone has is told of, and left out of the comparison.
	own := "true"
	for _, p := range held {
		if slices.Contains(v.balanceDays, p) {
			continue
		}
		if raws, err := v.lake.Balances(p); err != nil {
			return err
		} else if len(raws) > 0 {
			continue
		}
		v.orphan(load.Orphan{Partition: p, What: load.OrphanPublished, Path: v.lake.Database(),
			Why: "neither its balance file nor its raw files are there; usage.duckdb has balances of it"})
		own += fmt.Sprintf(" AND (account, observed_at::DATE) <> (%s, DATE '%s')", schemas.SQLString(p.Account), p.Date)
	}
	var rows int64
	var hash string
	err = v.d.conn.QueryRowContext(ctx,
		"SELECT count(*), coalesce(sum(hash("+schemas.SQLColumns(schemas.BalanceColumns())+")), 0)::VARCHAR FROM balance "+
			"WHERE "+own).Scan(&rows, &hash)
	if err != nil {
		return err
	}
	if rows != n || hash != sum.String() {
		found(FoundDiffers, schemas.Partition{}, "balance holds %d rows, the balance files %d; or other values", rows, n)
	}
	return nil
}

func quotedName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// relations are the names of the tables and views of the attached file, quoted and with their schema, in order.
func (d *Database) relations(ctx context.Context) (tables, views []string, err error) {
	rows, err := d.conn.QueryContext(ctx,
		"SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_catalog = '"+Catalog+
			"' ORDER BY ALL")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var schema, name, kind string
		if err := rows.Scan(&schema, &name, &kind); err != nil {
			return nil, nil, err
		}
		name = quotedName(schema) + "." + quotedName(name)
		if kind == "VIEW" {
			views = append(views, name)
		} else {
			tables = append(tables, name)
		}
	}
	return tables, views, rows.Err()
}
