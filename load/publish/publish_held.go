package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// published is what a database file says it holds. Of a file of an older version only days, rows, bad, closed and
// balances are filled, as far as its tables tell: enough to know what it alone has. It is built anew whatever it says.
type published struct {
	schema     int
	balance    string
	finance    string
	rates      string // their digest
	rules      int64  // allocation rules it was published with
	generation int64
	books      string // as schemas.Books.Text
	closed     []schemas.Month
	days       map[schemas.Partition]string
	rows       map[schemas.Partition]int64
	bad        map[schemas.Partition]bool // days with quarantined records
	// intruded says that another program wrote into it, or may have: it can tell what it alone has, and nothing is to be
	// built on it.
	intruded bool
	// records are those it was published with; files are the day files that its usage reads, and lake is where.
	records schemas.Records
	files   map[schemas.Partition]recordsFile
	lake    string
	// balances are the days that it has balances of.
	balances []schemas.Partition
}

// held reads what the published file holds; nil if there is none, or none that could be brought up to date. A file
// that another process has locked for writing is read from a clone.
func (p *publisher) held(ctx context.Context) (*published, error) {
	target := p.lake.Database()
	if _, err := p.lake.FS.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	intruded, err := p.lake.Intrusion()
	if err != nil {
		return nil, err
	}
	if text := intruded.String(); text != "" {
		p.lake.Log.Warn(text+"; it is built anew", "hint", HintIntruded)
	}
	have, err := readPublished(ctx, p.engine(), target)
	// The clone is a file of its own, which nobody has locked and no log belongs to. If that can't be read either, the
	// file is damaged.
	if err != nil && ctx.Err() == nil {
		name, errClone := p.clone()
		if errClone != nil {
			return nil, errClone
		}
		defer p.discard(name)
		have, err = readPublished(ctx, p.engine(), name)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		p.lake.Log.Warn("the published file can't be read; building it anew", "err", err)
		return nil, nil
	case have.schema > schemas.SQLVersion:
		return nil, fmt.Errorf("%w (its tables have version %d, this version knows %d)", ErrNewerDatabase, have.schema,
			schemas.SQLVersion)
	}
	have.intruded = intruded.Changed || intruded.Unmarked
	return &have, nil
}

func readPublished(ctx context.Context, e engine, path string) (published, error) {
	d, err := openDatabase(ctx, e, path, true)
	if err != nil {
		return published{}, err
	}
	defer d.Close()
	var h published
	if err = d.conn.QueryRowContext(ctx, "SELECT schema_version FROM meta").Scan(&h.schema); err != nil {
		return h, err
	}
	// Nothing else is asked of tables that this version doesn't know. held refuses the file.
	if h.schema > schemas.SQLVersion {
		return h, nil
	}
	// Which days and months are held: of an older version as far as its tables tell.
	err = d.digests(ctx, &h)
	var errClosed, errBalances error
	h.closed, errClosed = d.closed(ctx)
	h.balances, errBalances = d.balanceDays(ctx)
	if h.schema < schemas.SQLVersion {
		return h, ctx.Err()
	}
	if err = errors.Join(err, errClosed, errBalances); err != nil {
		return h, err
	}
	var records string
	err = d.conn.QueryRowContext(ctx,
		"SELECT balance_digest, finance_digest, rates_digest, (SELECT count(*) FROM allocation_rules), generation, records, "+
			"coalesce(lake, '') FROM meta").
		Scan(&h.balance, &h.finance, &h.rates, &h.rules, &h.generation, &records, &h.lake)
	if err != nil {
		return h, err
	}
	if h.records, err = schemas.ParseRecords(records); err != nil {
		return h, fmt.Errorf("meta.records: %w", err)
	}
	books, err := d.Books(ctx)
	if err != nil {
		return h, err
	}
	h.books = books.Text()
	h.files, err = d.recordsOutside(ctx)
	return h, err
}

// closed reads which months are published as closed.
func (d *Database) closed(ctx context.Context) ([]schemas.Month, error) {
	rows, err := d.conn.QueryContext(ctx, `SELECT "month" FROM closed_months ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []schemas.Month
	for rows.Next() {
		var t time.Time
		if err := rows.Scan(&t); err != nil {
			return nil, err
		}
		out = append(out, schemas.DateOf(t).Month())
	}
	return out, rows.Err()
}

// digests reads the table partitions: the digest of each day, its rows, and which have quarantined records.
func (d *Database) digests(ctx context.Context, h *published) error {
	rows, err := d.conn.QueryContext(ctx,
		`SELECT account, usage_date, digest, "rows", quarantine_sha256 IS NOT NULL FROM partitions`)
	if err != nil {
		return err
	}
	defer rows.Close()
	h.days, h.rows, h.bad = map[schemas.Partition]string{}, map[schemas.Partition]int64{}, map[schemas.Partition]bool{}
	for rows.Next() {
		var account, digest string
		var date time.Time
		var n int64
		var quarantine bool
		if err := rows.Scan(&account, &date, &digest, &n, &quarantine); err != nil {
			return err
		}
		p := schemas.Partition{Account: account, Date: schemas.DateOf(date)}
		h.days[p], h.rows[p], h.bad[p] = digest, n, quarantine
	}
	return rows.Err()
}

// balanceDays reads of which days there are balances.
func (d *Database) balanceDays(ctx context.Context) ([]schemas.Partition, error) {
	rows, err := d.conn.QueryContext(ctx, `SELECT DISTINCT account, observed_at::DATE FROM balance ORDER BY ALL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []schemas.Partition
	for rows.Next() {
		var account string
		var date time.Time
		if err := rows.Scan(&account, &date); err != nil {
			return nil, err
		}
		out = append(out, schemas.Partition{Account: account, Date: schemas.DateOf(date)})
	}
	return out, rows.Err()
}

// keepLast keeps the days that the published file has and no day file is of: what is gone from the disk is no news of
// the usage. Nothing but their names in Drop takes them out.
func (p *publisher) keepLast(have *published) error {
	keep := func(d schemas.Partition, rows int64, why string) {
		o := load.Orphan{Partition: d, What: load.OrphanPublished, Path: p.lake.Database(),
			Lost: []schemas.Window{d.Window()}, Rows: rows, Why: why}
		p.last = append(p.last, o)
		// which can't be read
		if !slices.ContainsFunc(p.orphans, func(o load.Orphan) bool {
			return o.Partition == d &&
				o.What != load.OrphanBalance
		}) {
			p.orphans = append(p.orphans, o)
		}
	}
	for _, d := range slices.SortedFunc(maps.Keys(have.days), schemas.Partition.Compare) {
		if _, ok := p.want[d]; ok || slices.Contains(p.opts.Drop, d) {
			continue
		}
		source, err := p.lake.Source(d)
		if err != nil {
			return err
		}
		// The digest that the file has, so that the day is none of those that changed.
		p.want[d] = have.days[d]
		if len(source.Live()) > 0 {
			p.underived = append(p.underived, d)
			continue
		}
		keep(d, have.rows[d], fmt.Sprintf("its day file is gone, and usage.duckdb has %d rows of it; they are kept there",
			have.rows[d]))
	}
	p.days = slices.SortedFunc(maps.Keys(p.want), schemas.Partition.Compare)
	if len(p.underived) > 0 {
		p.lake.Log.Warn("day files are gone whose raw files are there; usage.duckdb keeps their rows", "days",
			len(p.underived), "first", p.underived[0].String(), "hint", "usagelake rebuild")
	}
	for _, d := range have.balances {
		if slices.Contains(p.balance.days, d) || slices.Contains(p.opts.Drop, d) {
			continue
		}
		if raws, err := p.lake.Balances(d); err != nil {
			return err
		} else if len(raws) > 0 {
			continue
		}
		p.balance.kept = append(p.balance.kept, d)
		keep(d, 0, "its balance file is gone, and usage.duckdb has balances of it; they are kept there")
	}
	return nil
}

// alone says whether the published file has days that a build would leave out: it is brought up to date then, for as
// long as it can be read.
func (p *publisher) alone() bool { return len(p.last)+len(p.underived) > 0 }

// lastCopy refuses to build the file from nothing while it is the last to have something.
func (p *publisher) lastCopy() error {
	if len(p.last) == 0 {
		return nil
	}
	o := p.last[0]
	return fmt.Errorf("%w: %s\nhint: %s", ErrLastCopy, o, o.Hint())
}

// stillClosed refuses to open months that were closed and that nobody has opened: their statements are gone.
func (p *publisher) stillClosed(months []schemas.Month) error {
	for _, m := range months {
		if slices.ContainsFunc(p.finance.closed, func(c ClosedMonth) bool { return c.Month == m }) ||
			slices.Contains(p.opts.DropMonths, m) {
			continue
		}
		kept, err := p.lake.Entries(p.lake.Path(load.StatementsDir, reopenedDir))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(kept,
			func(e fs.DirEntry) bool { return e.IsDir() && strings.HasPrefix(e.Name(), m.String()+"_") }) {
			return fmt.Errorf("%s is closed, and %s is gone: what is charged in it would change\nhint: restore it from a "+
				"backup; if it is to be given up: usagelake verify --repair --drop-orphans %[1]s",
				m, p.lake.Path(load.StatementsDir, m.String()))
		}
	}
	return nil
}

// small says whether the published file is so small that its dead space is no matter.
func (p *publisher) small() bool {
	info, err := p.lake.FS.Stat(p.lake.Database())
	return err == nil && info.Size() < cmp.Or(p.opts.small, smallSize)
}
