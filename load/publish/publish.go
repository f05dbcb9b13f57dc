package publish

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// PublishOptions of Publish. The zero value works.
type PublishOptions struct {
	// Full builds the file from nothing, even if the published one could be brought up to date.
	Full    bool
	Version string // of the program
	// Current is the run that publishes, as it will stand if that succeeds, given the Overlaps and Unproven that were
	// found: it takes the place of the journal's row of the same id. nil: no run publishes.
	Current func(found Published) schemas.Run
	// Finance is the allocation of cost, and what it is held against.
	Finance Finance
	Now     func() time.Time // nil is time.Now
	// Orphans is told, before anything is written, what is kept in the lake though it can't be derived again; nil: nobody
	// is. It comes before Current.
	Orphans func([]load.Orphan)
	// Drop are days and closed months that somebody named to be given up, though the published file is the last to have
	// them: see Orphan.
	Drop       []schemas.Partition
	DropMonths []schemas.Month

	small  int64  // for tests; 0 is smallSize
	memory string // for tests; "" is PublishMemoryLimit
}

// Published is what Publish did.
type Published struct {
	Changed   int   // days whose rows were replaced, added or removed
	Total     int   // days in the file
	Rows      int64 // of usage
	Bytes     int64 // size of the file
	Full      bool  // built from nothing
	Unchanged bool  // nothing to do: the file was left alone
	Elapsed   time.Duration
	// Overlaps are the accounts that hold the same records; none is nil.
	Overlaps []Overlap
	// Unproven are the windows of all accounts that are not shown to be whole; none is nil.
	Unproven []Unproven
}

// ErrLastCopy says that the published file can't be built anew, because it alone has something.
var ErrLastCopy = errors.New("usage.duckdb is the last to have it")

// ErrNewerDatabase says that a newer version of the program published the file.
var ErrNewerDatabase = errors.New("usage.duckdb was published by a newer version of usagelake")

// errInexact says that a database's totals are not those of the day files. A file that was brought up to date is
// built anew then; if the new one has it too, the day files are at fault.
var errInexact = errors.New("the totals differ from those of the day files")

const (
	// How many days are inserted in one transaction, and summed up at once, at most: by files, and by rows.
	groupDays = 64
	groupRows = 1_000_000

	// A file is built anew once more than this share of it is dead space, unless it is small: then a publish writes most
	// of it anew, and nearly as much is dead after each.
	maxDead   = 0.30
	smallSize = 16 << 20

	// What a file without usage measures, about: some blocks a table. And what may be lost in blocks that are half empty,
	// whatever the size of the file: one that was built anew and brought up to date once has gained some 4 MiB.
	emptySize = 5 << 20
	looseSize = 8 << 20
)

// Publish brings usage.duckdb up to date with the day files, the quarantine, the balances and the journal. The caller
// holds the lock. The file is built beside the published one and renamed over it:
//
//	read which days the published file has · clone it (or start an empty one) · delete and insert the days that differ
//	· refresh their sums · hold accounts against each other · ask the allocation rules · compare totals with the day
//	files · checkpoint · fsync · rename · fsync the directory
//
// At any moment, a crash included, the old file or the new one stands there, whole. A reader that holds the old one
// open keeps reading it. If no day, no balance and no allocation rule changed, the file is left as it is: news of the
// journal alone waits for the next change, for a run that changed nothing should change no file.
//
// A published file that is missing, damaged, of an older layout, or that another program wrote into is built anew; one
// of a newer layout is refused with ErrNewerDatabase.
func (l *Lake) Publish(ctx context.Context, opts PublishOptions) (Published, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	start := opts.Now()
	p := &publisher{lake: l, opts: opts}
	done, err := p.publish(ctx)
	if outOfMemory(err) && l.engine.memoryLimit == "" && p.engine().memoryLimit != "" {
		l.Log.Info("publishing takes more memory than it is given at first; it is tried again", "memory", DefaultMemoryLimit)
		p = &publisher{lake: l, opts: opts, roomy: true}
		done, err = p.publish(ctx)
	}
	if err != nil {
		d := &Database{spill: l.Path(durable.TempDir)}
		return Published{}, fmt.Errorf("publish %s: %w", l.Database(), d.Spilled(err))
	}
	done.Elapsed, done.Unproven = opts.Now().Sub(start), p.unproven
	return done, nil
}

type publisher struct {
	lake *Lake
	opts PublishOptions

	// Filled by scan, then by keepLast with what only the published file has; build takes underived out again. From then
	// on days is want in order, and neither changes.
	derived map[schemas.Partition]bool   // that have a day file
	want    map[schemas.Partition]string // the digest of each day file, and of the days that the published file alone has
	rows    map[schemas.Partition]int64  // of the day files that have any
	orphans []load.Orphan
	last    []load.Orphan // what the published file alone has
	// underived are days of the published file whose day files are gone, and not their raw files: whoever derives them
	// brings them back.
	underived []schemas.Partition
	pruned    map[schemas.Partition]*load.Pruned // of frozen days
	days      []schemas.Partition                // of want, in order
	balance   balances
	finance   *finance

	drawnTo *schemas.Date // see firstDraw; nil: the ledger of prepaid credit is made anew

	roomy bool // DuckDB has DefaultMemoryLimit: with less it gave up

	// Of chooseRecords.
	records schemas.Records                   // of which days the file has the records itself
	newest  schemas.Date                      // of the lake
	files   map[schemas.Partition]recordsFile // the day files that usage reads, as they are to be
	before  map[schemas.Partition]recordsFile // those of the published file
	led     string                            // where the published file looks for them; "" if it has all records

	fresh bool     // the file is built from nothing: its tables are empty at first
	views []string // see schemas.SQLLayout

	generation int64     // of the file that is replaced
	overlap    []Overlap // that were found, or stand
	unproven   []Unproven
}

// balances are the balance files and a digest of what they hold.
type balances struct {
	files  []string
	days   []schemas.Partition // of files
	digest string
	kept   []schemas.Partition // days that the published file alone has balances of
}

// engine is one that needs little: whoever asks a question waits for it, and a publish is nobody's hurry. A second
// thread costs a third more CPU, since each fills row groups of its own, which are merged later, and twice the memory.
func (p *publisher) engine() engine {
	e := p.lake.engineFor(p.lake.Path(durable.TempDir, "spill"))
	if e.threads = cmp.Or(e.threads, 1); e.threads == 1 && !p.roomy { // more threads would spill
		e.memoryLimit = cmp.Or(e.memoryLimit, p.opts.memory, PublishMemoryLimit)
	}
	return e
}

func (p *publisher) publish(ctx context.Context) (Published, error) {
	if err := p.scan(ctx); err != nil {
		return Published{}, err
	}
	// Before anything opens the file: DuckDB would read the log with it.
	if err := p.lake.dropLog(); err != nil {
		return Published{}, err
	}
	have, err := p.held(ctx)
	if err != nil {
		return Published{}, err
	}
	if have != nil {
		p.generation = have.generation
		if err := p.keepLast(have); err != nil {
			return Published{}, err
		}
	}
	if p.opts.Orphans != nil {
		p.opts.Orphans(p.orphans)
	}
	err = p.closedDerived()
	if err == nil && have != nil {
		err = p.stillClosed(have.closed)
	}
	if err != nil {
		return Published{}, err
	}
	anew := p.chooseRecords(have)
	if err := p.covered(); err != nil {
		return Published{}, err
	}
	if anew || p.opts.Full || have == nil || have.intruded || have.schema < schemas.SQLVersion ||
		have.books != p.finance.Books.Text() {
		return p.build(ctx)
	}
	changed, err := p.movedRecords()
	if err != nil {
		return Published{}, err
	}
	for _, d := range p.days {
		if have.days[d] != p.want[d] || have.bad[d] && p.quarantineGone(d) {
			changed = append(changed, d)
		}
	}
	for d := range have.days {
		if _, ok := p.want[d]; !ok {
			changed = append(changed, d)
		}
	}
	reallocate := have.finance != p.finance.digest
	if _, none := p.finance.current.Allocator.(noRules); none && have.rules > 0 && reallocate {
		p.lake.Log.Warn("the published file was allocated by rules, and the config names none: what is not closed becomes "+
			schemas.Unallocated, "hint", "name the config with --config")
	}
	if len(changed) == 0 && have.balance == p.balance.digest && !reallocate && p.sameRates(have) && p.leadsHere() {
		return p.unchanged(ctx)
	}
	slices.SortFunc(changed, schemas.Partition.Compare)
	changed = slices.Compact(changed)
	// What fails from here on, a full disk or a kill included, leaves a file in .tmp that nobody reads: discard drops it,
	// or the next holder of the lock. The published file is untouched until install.
	if len(changed) > len(p.days)/2 && len(changed) > 1 && !p.alone() {
		return p.build(ctx) // more is new than is not
	}
	// A close has the tables of finance written anew, and adds its FOCUS rows. A file that isn't small would come out with
	// more dead space than it may have, and be built from nothing after all.
	if reallocate && !p.alone() && len(p.finance.closed) > len(have.closed) && !p.small() {
		return p.build(ctx)
	}
	done, err := p.update(ctx, changed, reallocate)
	switch {
	case err == nil:
		return done, nil
	case ctx.Err() != nil || outOfMemory(err):
		return Published{}, err
	case errors.Is(err, errInexact) || errors.As(err, new(*duckdb.Error)): // the file isn't as a publish left it
		p.lake.Log.Warn("the published file can't be brought up to date; building it anew", "err", err)
		return p.build(ctx)
	case errors.Is(err, errBloated) || errors.Is(err, errOutgrown):
		return p.build(ctx)
	}
	return Published{}, err
}

// scan reads what the lake holds: the digest of every day file, and the balances.
func (p *publisher) scan(ctx context.Context) error {
	accounts, err := p.lake.Accounts()
	if err != nil {
		return err
	}
	if p.finance, err = p.lake.loadFinance(p.opts.Finance); err != nil {
		return err
	}
	p.want, p.rows = map[schemas.Partition]string{}, map[schemas.Partition]int64{}
	p.derived = map[schemas.Partition]bool{}
	p.pruned = map[schemas.Partition]*load.Pruned{}
	sum := sha256.New()
	for _, account := range accounts {
		days, err := p.lake.Partitions(account)
		if err != nil {
			return err
		}
		for _, d := range days {
			if err := ctx.Err(); err != nil {
				return err
			}
			st, err := p.lake.State(d)
			if err != nil {
				return fmt.Errorf("day %s: %w", d, err)
			}
			p.orphans = append(p.orphans, st.Orphans...)
			if st.Damage != nil &&
				!slices.ContainsFunc(st.Orphans, func(o load.Orphan) bool { return o.What == load.OrphanUsage }) {
				return fmt.Errorf("day %s: %w", d, st.Damage)
			}
			if err := p.frozen(st); err != nil {
				return err
			}
			if st.Derived {
				p.want[d], p.derived[d] = st.Footer.Digest, true
				if st.Footer.Rows > 0 {
					p.rows[d] = st.Footer.Rows
				}
			}
			unproven, err := p.lake.Unproven(d, st.Footer, p.finance.closed)
			if err != nil {
				return err
			}
			p.unproven = append(p.unproven, unproven...)
			name := p.lake.BalancePath(d)
			switch content, err := p.lake.FS.ReadFile(name); {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return err
			default:
				fmt.Fprintf(sum, "%s %x\n", d, sha256.Sum256(content))
				p.balance.files = append(p.balance.files, name)
				p.balance.days = append(p.balance.days, d)
			}
		}
	}
	p.days = slices.SortedFunc(maps.Keys(p.want), schemas.Partition.Compare)
	p.balance.digest = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// frozen refuses to publish without the usage of a pruned day whose day file is lost, and notes its tombstone.
func (p *publisher) frozen(st load.DayState) error {
	if !st.Frozen() {
		return nil
	}
	if st.Footer.Digest != st.Pruned.Digest {
		return p.lake.LostDay(st.Partition)
	}
	p.pruned[st.Partition] = st.Pruned
	return nil
}

// quarantineGone says whether retention deleted the quarantine of a day.
func (p *publisher) quarantineGone(d schemas.Partition) bool {
	t := p.pruned[d]
	return t != nil && t.QuarantineGone()
}

func (p *publisher) unchanged(ctx context.Context) (Published, error) {
	d, err := openDatabase(ctx, p.engine(), p.lake.Database(), true)
	done := Published{Total: len(p.days), Unchanged: true}
	if err == nil { // it may be locked by a writer of another make: then the figures are left out
		_ = d.conn.QueryRowContext(ctx, "SELECT coalesce(sum(\"rows\"), 0)::BIGINT FROM partitions").Scan(&done.Rows)
		done.Overlaps, _ = d.readOverlaps(ctx)
		_ = d.Close()
	}
	info, err := p.lake.FS.Stat(p.lake.Database())
	if err != nil {
		return Published{}, err
	}
	done.Bytes = info.Size()
	return done, nil
}

// errBloated says that a file that was brought up to date holds too much dead space.
var errBloated = errors.New("the file has gathered too much dead space")

// build makes the file from nothing.
func (p *publisher) build(ctx context.Context) (Published, error) {
	if err := p.lastCopy(); err != nil {
		return Published{}, err
	}
	for _, d := range p.underived {
		delete(p.want, d)
	}
	p.days = slices.DeleteFunc(p.days, func(d schemas.Partition) bool { return slices.Contains(p.underived, d) })
	p.findNewest()
	p.files = map[schemas.Partition]recordsFile{}
	if err := p.closedDerived(); err != nil { // once more: those that a file would have kept are out now
		return Published{}, err
	}
	name, err := p.reserve()
	if err != nil {
		return Published{}, err
	}
	defer p.discard(name)
	d, err := openDatabase(ctx, p.engine(), name, false)
	if err != nil {
		return Published{}, err
	}
	defer d.Close()
	p.fresh = true
	if p.views, err = p.manySums(ctx, d); err != nil {
		return Published{}, fmt.Errorf("count the sums: %w", err)
	}
	if err := p.makeTables(ctx, d); err != nil {
		return Published{}, fmt.Errorf("make the tables: %w", err)
	}
	if err := p.fillBooks(ctx, d); err != nil {
		return Published{}, fmt.Errorf("fill the calendar of the books: %w", err)
	}
	if err := p.replaceDays(ctx, d, p.days); err != nil {
		return Published{}, err
	}
	if err := p.overlaps(ctx, d, p.days); err != nil {
		return Published{}, err
	}
	if err := p.allocate(ctx, d, nil, true); err != nil {
		return Published{}, err
	}
	if err := p.finish(ctx, d); err != nil {
		return Published{}, err
	}
	done := Published{Changed: len(p.days), Total: len(p.days), Full: true}
	return p.install(ctx, d, name, done)
}

// update brings a clone of the published file up to date.
func (p *publisher) update(ctx context.Context, changed []schemas.Partition, reallocate bool) (Published, error) {
	name, err := p.clone()
	if err != nil {
		return Published{}, err
	}
	defer p.discard(name)
	if ok, err := p.lake.proven(name); err != nil || !ok { // somebody wrote into it since it was looked at
		return Published{}, cmp.Or(err, errInexact)
	}
	d, err := openDatabase(ctx, p.engine(), name, false)
	if err != nil {
		return Published{}, err
	}
	defer d.Close()
	if p.views, err = d.SumViews(ctx); err != nil {
		return Published{}, err
	}
	if err := p.replaceDays(ctx, d, changed); err != nil {
		return Published{}, err
	}
	if err := p.overlaps(ctx, d, changed); err != nil {
		return Published{}, err
	}
	if err := p.allocate(ctx, d, changed, reallocate); err != nil {
		return Published{}, err
	}
	if err := p.outgrown(ctx, d); err != nil {
		return Published{}, err
	}
	if err := p.finish(ctx, d); err != nil {
		return Published{}, err
	}
	return p.install(ctx, d, name, Published{Changed: len(changed), Total: len(p.days)})
}

// reserve finds a name in the temp directory at which DuckDB can make a file.
func (p *publisher) reserve() (string, error) {
	t, err := p.lake.CreateTemp(load.DatabaseFile + ".*")
	if err != nil {
		return "", err
	}
	// DuckDB makes its file itself, and takes none that is there. Nobody else takes the name: the lock is held.
	t.Done = true
	return t.Name(), errors.Join(t.Close(), p.lake.FS.Remove(t.Name()))
}

// clone copies the published file into the temp directory.
func (p *publisher) clone() (string, error) {
	src, err := p.lake.FS.Open(p.lake.Database())
	if err != nil {
		return "", err
	}
	defer src.Close()
	t, err := p.lake.CreateTemp(load.DatabaseFile + ".*")
	if err != nil {
		return "", err
	}
	defer t.Abort()
	if err := copyBlocks(t.File, src); err != nil {
		return "", err
	}
	// Abort leaves it, then: it is discard's from here on.
	t.Done = true
	return t.Name(), t.Close()
}

// discard removes a file of the temp directory and what DuckDB may have left beside it. After install it finds
// nothing to remove.
func (p *publisher) discard(name string) {
	_ = p.lake.FS.Remove(name)
	_ = p.lake.FS.Remove(name + logSuffix)
}

// finish replaces what is not kept by day, compares the grand totals, and looks at the dead space.
func (p *publisher) finish(ctx context.Context, d *Database) error {
	err := d.transaction(ctx, func() error {
		for _, replace := range []func(context.Context, *Database) error{p.replaceRuns, p.replaceBalance, p.replaceAccounts,
			p.replacePrepaid} {
			if err := replace(ctx, d); err != nil {
				return err
			}
		}
		if err := p.replaceRecords(ctx, d); err != nil {
			return fmt.Errorf("view of the records: %w", err)
		}
		return p.replaceMeta(ctx, d)
	})
	if err != nil {
		return err
	}
	// The same three ways: row by row, as they were summed up by day, and as the footers of the day files had it. Where
	// usage_daily is a view it would say what usage says. Records that stand outside were held against their footers when
	// their day was published, and no file is another since.
	summed := "usage_daily"
	if slices.Contains(p.views, summed) {
		summed = "(SELECT requests, list_cost AS total_amount, discount AS discount_amount, net_cost AS amount FROM " +
			"allocated_model_daily)"
	}
	var days, rows, sums int64
	err = d.conn.QueryRowContext(ctx, `
		WITH u AS (SELECT count(*) AS n, coalesce(sum(total_amount), 0) AS t, coalesce(sum(discount_amount), 0) AS s,
		coalesce(sum(amount), 0) AS a FROM `+p.recordsTable()+`),
		own AS (SELECT coalesce(sum("rows"), 0) AS n, coalesce(sum(total_amount), 0) AS t,
		coalesce(sum(discount_amount), 0) AS s, coalesce(sum(amount), 0) AS a FROM partitions WHERE records_file IS NULL),
		d AS (SELECT coalesce(sum(requests), 0) AS n, coalesce(sum(total_amount), 0) AS t,
		coalesce(sum(discount_amount), 0) AS s, coalesce(sum(amount), 0) AS a FROM `+summed+`),
		p AS (SELECT count(*) AS days, coalesce(sum("rows"), 0) AS n, coalesce(sum(total_amount), 0) AS t,
		coalesce(sum(discount_amount), 0) AS s, coalesce(sum(amount), 0) AS a FROM partitions)
		SELECT p.days, p.n::BIGINT, ((u.t, u.s, u.a) IS NOT DISTINCT FROM (own.t, own.s, own.a) AND (d.t, d.s, d.a) IS NOT
		DISTINCT FROM (p.t, p.s, p.a) AND u.n = own.n AND d.n = p.n)::BIGINT
		FROM u, own, d, p`).Scan(&days, &rows, &sums)
	switch {
	case err != nil:
		return fmt.Errorf("check totals: %w", err)
	case sums != 1 || days != int64(len(p.days)):
		return fmt.Errorf("%w: the grand totals of %d days, %d rows", errInexact, days, rows)
	}
	if err := d.Exec(ctx, "CHECKPOINT "+Catalog); err != nil {
		return err
	}
	if p.fresh {
		// What the file measures now is what it is held against when it has gathered dead space.
		return d.Exec(ctx,
			"UPDATE meta SET built_bytes = (SELECT total_blocks * block_size FROM pragma_database_size() WHERE "+
				"database_name = '"+Catalog+"')")
	}
	size, dead, err := d.deadSpace(ctx, p.recordsTable())
	if err != nil {
		return fmt.Errorf("look at the dead space: %w", err)
	}
	if size >= cmp.Or(p.opts.small, smallSize) && float64(dead) > maxDead*float64(size) && !p.alone() {
		return errBloated
	}
	return nil
}

// deadSpace is the size of the file, right after a checkpoint, and how much of it is dead. That is the larger of two
// figures:
//
//   - what surely holds nothing: the free blocks, and the share of deleted rows in the others. DuckDB drops these rows
//     only when it can merge or drop whole row groups.
//   - what is more than the file would measure if it were built anew, and looseSize. That is reckoned from what it
//     measured when it was, and by the rows it has got since; but never at more than twice of that, for such a
//     reckoning carries only so far.
//
// The instance that wrote the file must be asked: DuckDB cuts free blocks off the file's end after it wrote how many
// there are, so that whoever opens the file later is told of blocks that it hasn't.
func (d *Database) deadSpace(ctx context.Context, records string) (size, dead int64, err error) {
	err = d.conn.QueryRowContext(ctx, `
		WITH file AS (SELECT block_size * total_blocks AS size, block_size * free_blocks AS free FROM pragma_database_size()
		WHERE database_name = '`+Catalog+`'),
		live AS (SELECT coalesce(sum("rows"), 0) AS n, coalesce(sum("rows") FILTER (records_file IS NULL), 0) AS own
		FROM partitions),
		stored AS (SELECT coalesce(sum("count"), 0) AS n FROM pragma_storage_info('`+records+`')
		WHERE column_name = 'usage_date' AND segment_type <> 'VALIDITY'),
		due AS (SELECT least(2 * built_bytes, built_bytes
			+ (live.n - built_rows)::HUGEINT * greatest(0, built_bytes - ?) // greatest(built_rows, 1)) + ? AS size
		FROM meta, live)
		SELECT file.size, greatest(file.free
			+ (file.size - file.free) * greatest(0, stored.n - live.own) // greatest(stored.n, 1),
			file.size - due.size)::BIGINT
		FROM file, live, stored, due`, emptySize, looseSize).Scan(&size, &dead)
	return size, dead, err
}

func (p *publisher) replaceBalance(ctx context.Context, d *Database) error {
	kept := make([]string, len(p.balance.kept))
	for i, k := range p.balance.kept {
		kept[i] = fmt.Sprintf("(%s, DATE '%s')", schemas.SQLString(k.Account), k.Date)
	}
	remove := "DELETE FROM balance"
	if len(kept) > 0 {
		remove += " WHERE (account, observed_at::DATE) NOT IN (" + strings.Join(kept, ", ") + ")"
	}
	if err := d.Exec(ctx, remove); err != nil {
		return err
	}
	for files := range slices.Chunk(p.balance.files, 1000) {
		columns := schemas.BalanceColumns()
		if err := d.insertParquet(ctx, "balance", columns, schemas.SQLColumns(columns), files); err != nil {
			return p.blame(err, files)
		}
	}
	return nil
}

// replaceAccounts says from when to when each account was fetched, which are expected to be there, how far all of it
// goes, and how complete the months are.
func (p *publisher) replaceAccounts(ctx context.Context, d *Database) error {
	names := make([]string, len(p.finance.Accounts))
	for i, a := range p.finance.Accounts {
		names[i] = schemas.SQLString(a)
	}
	err := d.Exec(ctx, "DELETE FROM accounts", `INSERT INTO accounts
		WITH covered AS (SELECT account, min(window_start) AS covered_from, max(window_end) AS covered_to FROM coverage
		GROUP BY account),
		config AS (SELECT unnest([`+strings.Join(names, ", ")+`]::VARCHAR[]) AS account),
		meant AS (SELECT count(*) > 0 AS it FROM covered SEMI JOIN config USING (account))
		SELECT account, NOT it OR account IN (FROM config), covered_from, covered_to
		FROM (SELECT account FROM covered UNION SELECT account FROM config, meant WHERE it) LEFT
		JOIN covered USING (account), meant
		ORDER BY account`,
		"DELETE FROM data_as_of", "INSERT INTO data_as_of FROM data_as_of_now",
		"DELETE FROM completeness_monthly", `INSERT INTO completeness_monthly FROM completeness_now ORDER BY "month", `+
			`account`)
	if err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	return nil
}

func (p *publisher) replaceMeta(ctx context.Context, d *Database) error {
	now := p.opts.Now().UTC()
	var lake driver.Value // NULL where nothing is looked for in it
	if len(p.files) > 0 {
		lake = p.lakeDir()
	}
	var err error
	if p.fresh {
		_, err = d.conn.ExecContext(ctx,
			`INSERT INTO meta SELECT ?, ?, ?, ?, coalesce(sum("rows"), 0), 0, ?, ?, ?, ?, ?, ? FROM partitions`,
			int32(schemas.SQLVersion), p.opts.Version, now, now, p.balance.digest, p.finance.digest, p.finance.ratesAt,
			p.records.String(), lake, p.generation+1)
	} else {
		_, err = d.conn.ExecContext(ctx, `UPDATE meta SET version = ?, published_at = ?, balance_digest = ?,
			finance_digest = ?, rates_digest = ?, lake = ?, generation = ?`, p.opts.Version, now, p.balance.digest,
			p.finance.digest, p.finance.ratesAt, lake, p.generation+1)
	}
	if err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	return nil
}

// install closes the finished database and makes it the published one.
func (p *publisher) install(ctx context.Context, d *Database, name string, done Published) (Published, error) {
	err := d.conn.QueryRowContext(ctx, "SELECT coalesce(sum(\"rows\"), 0)::BIGINT FROM partitions").Scan(&done.Rows)
	if err != nil {
		return done, err
	}
	// The names of the files that usage reads are looked at once more, by DuckDB.
	if _, err := d.conn.ExecContext(ctx, "EXPLAIN FROM usage LIMIT 0"); err != nil {
		return done, fmt.Errorf("read the records: %w", err)
	}
	done.Overlaps = p.overlap
	// The order: only a file that is detached is whole and has no log. Its mode and its content are right before its name
	// is. Its mark comes before the rename: after a crash between the two published.json knows both files. In the other
	// order a file would stand there that every reader takes for written into. The log goes last: another program may have
	// made one since, and it would lie beside the new file.
	if err := d.detach(ctx); err != nil {
		return done, err
	}
	if err := d.Close(); err != nil {
		return done, err
	}
	if _, err := p.lake.FS.Stat(name + logSuffix); err == nil {
		return done, errors.New("DuckDB left a log beside the finished file")
	}
	if err := p.lake.Chmod(name, durable.FileMode); err != nil {
		return done, err
	}
	if err := p.lake.Share(name); err != nil {
		return done, err
	}
	f, err := p.lake.FS.Open(name)
	if err != nil {
		return done, err
	}
	info, errStat := f.Stat()
	if err := errors.Join(f.Sync(), errStat, f.Close()); err != nil {
		return done, err
	}
	done.Bytes = info.Size()
	if err := p.markPublished(name); err != nil {
		return done, err
	}
	if err := p.lake.dropLog(); err != nil {
		return done, err
	}
	if err := p.lake.Install(name, p.lake.Database()); err != nil {
		return done, err
	}
	// The file is published whatever becomes of this: what is left is swept by the next publish.
	if err := p.sweepRecords(); err != nil {
		p.lake.Log.Warn("day files that nobody reads any more can't be removed", "folder", p.lake.Path(load.RecordsDir),
			"err", err)
	}
	return done, nil
}
