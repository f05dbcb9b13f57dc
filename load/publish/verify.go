package publish

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// VerifyOptions of Verify. The zero value works.
type VerifyOptions struct {
	// TransformVersion is that of the program: a day file made by another is stale. 0: only the sealed windows are compared, with the
	// version each file names.
	TransformVersion int
	// Progress is told what is looked at, and how many of all days are done; nil: nobody is.
	Progress func(what string, done, total int)
}

// The checks of Verify, the names a Finding goes by.
const (
	FoundRaw        = "raw_damaged"         // a sealed window or balance can't be read whole, or contradicts itself
	FoundStray      = "stray_file"          // a file where none of that name belongs; readers that glob may take it for data
	FoundAnnounced  = "announced_mismatch"  // a window proven by the API's count holds another number of records
	FoundUnproven   = "unproven"            // a window that is not shown to be whole, of a month that isn't closed
	FoundGap        = "gap"                 // time between the account's first and last window that no window covers
	FoundMissing    = "day_missing"         // windows are sealed, and there is no day file
	FoundStale      = "day_stale"           // the derived file is not of these windows, or of another version of the transformation
	FoundOrphan     = "day_orphan"          // derived rows that can't be derived again, because raw files are gone: they are kept
	FoundNoRaw      = "raw_missing"         // the raw archive is empty, and there are days that were derived from one
	FoundDay        = "day_damaged"         // a derived file can't be read whole
	FoundTotals     = "totals_mismatch"     // a day file's rows are not what its footer says
	FoundMisplaced  = "misplaced_rows"      // rows of another account or day
	FoundOrder      = "order"               // rows that aren't in order of time, id and ordinal
	FoundDuplicate  = "duplicate_id"        // a time, id and ordinal that stand more than once in an account
	FoundQuarantine = "quarantine_mismatch" // quarantined records are not as many as the day file says
	FoundJournal    = "journal_damaged"     // lines of the journal that can't be read
	FoundDatabase   = "database_damaged"    // usage.duckdb can't be read whole, or isn't there though there are days
	FoundVersion    = "database_version"    // usage.duckdb has tables of another version
	FoundBehind     = "database_behind"     // usage.duckdb doesn't have a day or a balance as the files do
	FoundIntruded   = "database_intruded"   // another program wrote into usage.duckdb, or its log lies beside it
	FoundDiffers    = "database_differs"    // usage.duckdb holds other rows or sums than the file it names
	FoundChanged    = "file_changed"        // a derived file has other bytes than when it was published
)

// Finding is something wrong in a lake.
type Finding struct {
	Check   string `json:"check"`          // one of the Found constants
	Path    string `json:"path,omitempty"` // within the lake, with slashes
	Account string `json:"account,omitempty"`
	Date    string `json:"date,omitempty"` // the UTC day
	Detail  string `json:"detail"`
	Hint    string `json:"hint,omitempty"` // a command to type
}

// VerifyReport is what Verify looked at, and what it found.
type VerifyReport struct {
	Findings []Finding `json:"findings"` // in the order of accounts and days; the published file's last

	Accounts        int   `json:"accounts"`
	Windows         int   `json:"windows"`   // sealed, of usage
	RawFiles        int   `json:"raw_files"` // of usage and balance
	RawPages        int64 `json:"raw_pages"`
	RawBytes        int64 `json:"raw_bytes"`         // of the pages, decompressed
	PrunedDays      int   `json:"pruned_days"`       // whose raw files retention deleted: the day file is the source
	PrunedWindows   int   `json:"pruned_windows"`    // of Windows, those whose files are gone
	PrunedLeft      int   `json:"pruned_left"`       // raw files of these that stand there still, for the next prune
	PrunedRejects   int64 `json:"pruned_quarantine"` // quarantined records whose file retention deleted
	DayFiles        int   `json:"day_files"`
	Rows            int64 `json:"rows"`
	QuarantineFiles int   `json:"quarantine_files"`
	Quarantined     int64 `json:"quarantined"`
	BalanceFiles    int   `json:"balance_files"`
	Runs            int   `json:"runs"`
	DatabaseDays    int   `json:"database_days"`
	DatabaseRows    int64 `json:"database_rows"`
}

// Verify reads a lake whole and says what is wrong with it. It needs no lock, writes nothing into the lake and repairs nothing. An error
// means that it could not go on (the context, a directory that can't be listed), not that something is wrong.
//
// It checks every digest and every page of the raw archive, each day file against its windows and its own footer, records that stand twice, gaps
// in the coverage, and the published file against the day files, row for row by a hash. A flipped byte is found wherever it matters:
// in the raw archive by its digests, in derived files by the digests the published file keeps of them, in the published file by
// DuckDB's checksums. What is fetched or derived while it runs may show as missing or stale.
func (l *Lake) Verify(ctx context.Context, opts VerifyOptions) (VerifyReport, error) {
	v := &verifier{lake: l, opts: opts, days: map[schemas.Partition]*verifiedDay{}, balances: sha256.New()}
	err := v.verify(ctx)
	if v.report.Findings == nil {
		v.report.Findings = []Finding{}
	}
	if err != nil {
		return v.report, fmt.Errorf("verify %s: %w", l.Dir(), errors.Join(ctx.Err(), err))
	}
	return v.report, nil
}

type verifier struct {
	lake   *Lake
	opts   VerifyOptions
	report VerifyReport
	d      *Database
	closed []ClosedMonth

	days         map[schemas.Partition]*verifiedDay
	balances     hash.Hash           // over the balance files, as Publish makes it
	balanceFiles []string            // that are there
	balanceDays  []schemas.Partition // of them
	balanceBad   bool
}

// verifiedDay is what the files of a day turned out to hold.
type verifiedDay struct {
	footer            schemas.DayFooter
	usage, quarantine string // digests of the files
	readable          bool
	content           content
	pruned            *load.Pruned // nil if the day isn't frozen
	hint              string       // what mends its files
}

// content is what is compared of a day's rows.
type content struct {
	rows                    int64
	total, discount, amount string
	hash                    string
}

func (v *verifier) add(f Finding) {
	if rel, err := filepath.Rel(v.lake.Dir(), f.Path); err == nil && f.Path != "" {
		f.Path = filepath.ToSlash(rel)
	}
	v.report.Findings = append(v.report.Findings, f)
}

const (
	hintRebuild = "usagelake rebuild"
	hintLook    = "look at it, then move it out of the lake"
	hintRepair  = "usagelake verify --repair   (sets it aside; then export fetches its window anew)"
)

func hintFetch(w schemas.Window) string {
	return fmt.Sprintf("usagelake export --account %s --from %s --to %s", w.Account, w.Start.UTC().Format(time.RFC3339), w.End.UTC().Format(time.RFC3339))
}

func (v *verifier) verify(ctx context.Context) error {
	accounts, err := v.lake.Accounts()
	if err != nil {
		return err
	}
	partitions := map[string][]schemas.Partition{}
	total := 0
	for _, a := range accounts {
		if partitions[a], err = v.lake.Partitions(a); err != nil {
			return err
		}
		total += len(partitions[a])
	}
	if v.closed, err = v.lake.Closed(); err != nil {
		return err
	}
	v.d, err = v.lake.openScratch(ctx, "")
	if err != nil {
		return err
	}
	defer v.d.Close()

	if err := v.strays(); err != nil {
		return err
	}
	switch err := v.lake.CheckRaw(); {
	case errors.Is(err, load.ErrNoRaw):
		v.add(Finding{Check: FoundNoRaw, Path: v.lake.Path(load.RawDir), Detail: load.ErrNoRaw.Error(),
			Hint: "is its volume mounted? Else restore it from a backup; if it is lost for good: usagelake verify --repair --raw-lost"})
	case err != nil:
		return err
	}
	v.report.Accounts = len(accounts)
	done := 0
	for _, a := range accounts {
		var windows []schemas.Window
		var files []dayFiles
		for _, p := range partitions[a] {
			if v.opts.Progress != nil {
				v.opts.Progress(p.String(), done, total)
			}
			done++
			if err := ctx.Err(); err != nil {
				return err
			}
			raws, err := v.raw(ctx, p)
			if damaged := (*load.DamagedError)(nil); errors.As(err, &damaged) { // the tombstone
				v.add(Finding{Check: FoundPruned, Path: damaged.Path, Account: p.Account, Date: p.Date.String(), Detail: load.Detail(err), Hint: damaged.Hint})
				windows = append(windows, p.Window())
				if err := v.balance(ctx, p); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			for _, r := range raws {
				windows = append(windows, r.Window)
			}
			if err := v.day(ctx, p, raws); err != nil {
				return err
			}
			if err := v.balance(ctx, p); err != nil {
				return err
			}
			if d := v.days[p]; d != nil && d.readable {
				if err := v.unproven(p, d.footer); err != nil {
					return err
				}
				if n := len(files); n == 0 || files[n-1].schema != d.footer.Schema {
					files = append(files, dayFiles{schema: d.footer.Schema})
				}
				last := &files[len(files)-1]
				last.files = append(last.files, v.lake.UsagePath(p))
			}
		}
		v.gaps(a, windows)
		if err := v.duplicates(ctx, a, files); err != nil {
			return err
		}
	}
	if err := v.journal(ctx); err != nil {
		return err
	}
	if v.opts.Progress != nil {
		v.opts.Progress(load.DatabaseFile, total, total)
	}
	return v.database(ctx)
}

// unproven tells which windows of a day are not shown to be whole.
func (v *verifier) unproven(p schemas.Partition, f schemas.DayFooter) error {
	found, err := v.lake.Unproven(p, f, v.closed)
	for _, u := range found {
		v.add(Finding{Check: FoundUnproven, Path: v.lake.UsagePath(p), Account: p.Account, Date: p.Date.String(), Detail: u.String(), Hint: u.Hint()})
	}
	return err
}

// strays looks for files that don't belong where they stand: in the trees that readers glob, and in the raw archive.
func (v *verifier) strays() error {
	for tree, file := range map[string]string{load.UsageDir: load.UsageFile, load.QuarantineDir: load.QuarantineFile, load.BalanceDir: load.BalanceFile, load.RawDir: ""} {
		accounts, err := v.lake.Entries(v.lake.Path(tree))
		if err != nil {
			return err
		}
		for _, a := range accounts {
			name, ok := load.AccountOf(a.Name())
			// Both names at once would count what is in both twice.
			if ok && a.IsDir() && v.lake.AccountDir(tree, name) != v.lake.Path(tree, a.Name()) {
				v.add(Finding{Check: FoundStray, Path: v.lake.Path(tree, a.Name()), Account: name, Detail: "the folder of this account has another name now, and stands beside this one",
					Hint: "the next run that writes takes in what the lake lacks of it: usagelake rebuild"})
				continue
			}
			if !ok || !a.IsDir() {
				v.stray(v.lake.Path(tree, a.Name()))
				continue
			}
			dates, err := v.lake.Entries(v.lake.Path(tree, a.Name()))
			if err != nil {
				return err
			}
			for _, d := range dates {
				date, ok := load.DateOf(d.Name())
				if !ok || !d.IsDir() {
					v.stray(v.lake.Path(tree, a.Name(), d.Name()))
					continue
				}
				if tree == load.RawDir {
					strays, err := v.lake.Strays(schemas.Partition{Account: name, Date: date})
					if err != nil {
						return err
					}
					for _, s := range strays {
						v.stray(v.lake.Path(tree, a.Name(), d.Name(), s))
					}
					continue
				}
				files, err := v.lake.Entries(v.lake.Path(tree, a.Name(), d.Name()))
				if err != nil {
					return err
				}
				for _, f := range files {
					if f.Name() != file || f.IsDir() {
						v.stray(v.lake.Path(tree, a.Name(), d.Name(), f.Name()))
					}
				}
			}
		}
	}
	slices.SortFunc(v.report.Findings, func(a, b Finding) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

func (v *verifier) stray(path string) {
	v.add(Finding{Check: FoundStray, Path: path, Detail: "nothing of this name belongs here", Hint: hintLook})
}

// raw reads the sealed files of a day whole, and returns the usage windows.
func (v *verifier) raw(ctx context.Context, p schemas.Partition) ([]load.Raw, error) {
	windows, err := v.lake.Windows(p)
	if err != nil {
		return nil, err
	}
	balances, err := v.lake.Balances(p)
	if err != nil {
		return nil, err
	}
	v.report.Windows += len(windows)
	live := load.Live(windows)
	v.report.PrunedWindows += len(windows) - len(live)
	for _, r := range slices.Concat(live, balances) {
		v.report.RawFiles++
		path := filepath.Join(v.lake.Partition(load.RawDir, p), r.Name)
		found := Finding{Check: FoundRaw, Path: path, Account: p.Account, Date: p.Date.String(), Hint: hintRepair}
		if r.Kind == schemas.KindBalance {
			found.Hint += " (a balance can't be asked for again for the past)"
		}
		seal, pages, size, err := v.readRaw(ctx, p, r)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		v.report.RawPages += int64(pages)
		v.report.RawBytes += size
		switch {
		case err != nil && !errors.As(err, new(*load.DamagedError)):
			return nil, err // it may be whole: it can't be told, and nothing is to be made of that
		case err != nil:
			found.Detail = load.Detail(err)
		case pages != seal.Pages:
			found.Detail = fmt.Sprintf("it holds %d pages, its first line says %d", pages, seal.Pages)
		case r.Kind == schemas.KindUsage && !vouched(seal):
			found.Check = FoundAnnounced
			found.Detail = fmt.Sprintf("%d records came, and the API announced %s", seal.Records, announced(seal.Announced))
		default:
			continue
		}
		v.add(found)
	}
	return windows, nil
}

func announced(n *int64) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

func (v *verifier) readRaw(ctx context.Context, p schemas.Partition, r load.Raw) (seal schemas.Seal, pages int, size int64, err error) {
	sealed, err := v.lake.OpenRaw(ctx, p, r)
	if err != nil {
		return seal, 0, 0, err
	}
	for page, err := range sealed.Pages(ctx) {
		if err != nil {
			return sealed.Seal, pages, size, err
		}
		pages++
		size += int64(len(page.Body))
	}
	return sealed.Seal, pages, size, nil
}

// day holds the derived files of a day against its windows and against themselves.
func (v *verifier) day(ctx context.Context, p schemas.Partition, raws []load.Raw) error {
	path := v.lake.UsagePath(p)
	hint := hintRebuild
	found := func(check, path, format string, args ...any) {
		v.add(Finding{Check: check, Path: path, Account: p.Account, Date: p.Date.String(), Detail: fmt.Sprintf(format, args...), Hint: hint})
	}
	t, err := v.pruned(p, raws)
	if err != nil {
		return err
	}
	if t != nil {
		hint = load.HintLost(p)
	}
	footer, ok, err := v.lake.Day(p)
	var damaged *load.DamagedError
	if err != nil && !errors.As(err, &damaged) {
		return err
	}
	orphan, errOrphan := v.lake.OrphanedDay(p, raws, footer, ok, err)
	if errOrphan != nil && !errors.As(errOrphan, new(*load.DamagedError)) { // a raw file, which is found by itself
		return errOrphan
	}
	if orphan != nil {
		v.orphan(*orphan)
		hint = orphan.Hint()
	}
	switch {
	case damaged != nil:
		if orphan == nil {
			found(FoundDay, path, "%s", load.Detail(err))
		}
		v.report.DayFiles++
		return nil
	case err != nil:
		return err
	case !ok && t != nil:
		found(FoundPruned, path, "%s", load.Detail(v.lake.LostFile(p, path, true)))
		return nil
	case !ok && len(raws) > 0:
		found(FoundMissing, path, "%d windows are sealed, and no rows were derived from them", len(raws))
		return nil
	case !ok:
		return nil
	}
	v.report.DayFiles++
	version := cmp.Or(v.opts.TransformVersion, footer.Transform)
	switch {
	case t != nil: // held against its tombstone, below
	case orphan != nil: // held against itself and the published file
	case footer.Digest != load.DayDigest(version, raws):
		found(FoundStale, path, "it was derived from other windows than the %d that are sealed, or by another version", len(raws))
	}
	d := &verifiedDay{footer: footer, pruned: t, hint: hint}
	v.days[p] = d
	if d.usage, err = v.lake.Digest(path); err != nil {
		return err
	}
	if t != nil && d.usage != t.Usage.SHA256 {
		found(FoundPruned, path, "%s", load.Detail(v.lake.LostDay(p)))
	}
	var misplaced, unordered int64
	if err = v.lake.CheckBody(path); err == nil {
		d.content, misplaced, unordered, err = v.readDay(ctx, p, path, footer.Schema)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		found(FoundDay, path, "%s", load.Detail(err))
	default:
		d.readable = true
		v.report.Rows += d.content.rows
		if said, err := footerContent(footer); err != nil {
			found(FoundDay, path, "its footer: %s", err)
		} else if got := d.content; got.rows != said.rows || got.total != said.total || got.discount != said.discount || got.amount != said.amount {
			found(FoundTotals, path, "it holds %d rows, total_amount %s, discount_amount %s, amount %s; its footer says %d, %s, %s, %s",
				got.rows, got.total, got.discount, got.amount, said.rows, said.total, said.discount, said.amount)
		}
		if misplaced > 0 {
			found(FoundMisplaced, path, "%d rows are of another account or day", misplaced)
		}
		if unordered > 0 {
			found(FoundOrder, path, "%d rows aren't in order of time, id and ordinal", unordered)
		}
	}
	return v.quarantine(ctx, p, d)
}

// vouched says that a window that was proven by the API's count holds as many records: one that stands twice on a page may count
// twice. An empty one holds none.
func vouched(s schemas.Seal) bool {
	switch s.Proof {
	case schemas.ProofEmpty:
		return s.Records == 0
	case schemas.ProofTotal:
		return s.Announced != nil && (*s.Announced == s.Records || *s.Announced == s.Records+s.Twice)
	}
	return true
}

// readDay reads every page of a day file, and sums it up.
func (v *verifier) readDay(ctx context.Context, p schemas.Partition, path string, schema int) (c content, misplaced, unordered int64, err error) {
	err = v.d.conn.QueryRowContext(ctx, fmt.Sprintf(`
		SELECT count(*), coalesce(sum(total_amount), 0)::DECIMAL(38,12)::VARCHAR, coalesce(sum(discount_amount), 0)::DECIMAL(38,12)::VARCHAR, coalesce(sum(amount), 0)::DECIMAL(38,12)::VARCHAR, coalesce(sum(h), 0)::VARCHAR,
			count(*) FILTER (account IS DISTINCT FROM ? OR usage_date IS DISTINCT FROM ?::DATE OR request_time < ?::TIMESTAMPTZ OR request_time >= ?::TIMESTAMPTZ OR request_time IS NULL),
			count(*) FILTER (time_before > request_time OR time_before = request_time AND (%[1]s > %[2]s OR id_before = id AND ordinal_before >= ordinal))
		FROM (SELECT *, hash(%[3]s) AS h, lag(request_time) OVER () AS time_before, lag(id) OVER () AS id_before, lag(ordinal) OVER () AS ordinal_before
			FROM (SELECT %[4]s FROM read_parquet(%[5]s, hive_partitioning = false)))`,
		schemas.SQLOrderKey("id_before"), schemas.SQLOrderKey("id"), schemas.SQLColumns(schemas.UsageColumns()), schemas.SQLUsageColumns(schema), sqlGlob(path)),
		p.Account, p.Date.String(), p.Date.Start(), p.Date.End()).
		Scan(&c.rows, &c.total, &c.discount, &c.amount, &c.hash, &misplaced, &unordered)
	return c, misplaced, unordered, err
}

// footerContent is what a footer says, spelled as readDay spells it; without the hash.
func footerContent(f schemas.DayFooter) (content, error) {
	total, err1 := wideDecimal(f.TotalAmount)
	discount, err2 := wideDecimal(f.Discount)
	amount, err3 := wideDecimal(f.Amount)
	if err := errors.Join(err1, err2, err3); err != nil {
		return content{}, err
	}
	return content{rows: f.Rows, total: DecimalText(total), discount: DecimalText(discount), amount: DecimalText(amount)}, nil
}

func (v *verifier) quarantine(ctx context.Context, p schemas.Partition, d *verifiedDay) error {
	path := v.lake.QuarantinePath(p)
	f := Finding{Path: path, Account: p.Account, Date: p.Date.String(), Hint: d.hint}
	n, want := int64(0), d.footer.Quarantined
	if d.pruned != nil {
		if d.pruned.QuarantineGone() { // a file that a prune is yet to delete is no part of the lake any more
			v.report.PrunedRejects += want
			return nil
		}
	}
	switch _, err := v.lake.FS.Stat(path); {
	case err == nil:
		v.report.QuarantineFiles++
		if d.quarantine, err = v.lake.Digest(path); err != nil {
			return err
		}
		digest, _, err := v.lake.FooterValue(path, p, load.DigestKey)
		if err == nil {
			err = v.lake.CheckBody(path)
		}
		if err == nil {
			n, _, err = v.readAll(ctx, path, schemas.QuarantineColumns())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f.Check, f.Detail = FoundDay, load.Detail(err)
			v.add(f)
			return nil
		}
		switch {
		case d.pruned != nil && d.pruned.Quarantine != nil && d.quarantine != d.pruned.Quarantine.SHA256:
			f.Check, f.Detail = FoundPruned, load.Detail(v.lake.LostFile(p, path, false))
			v.add(f)
		case digest != d.footer.Digest:
			f.Check, f.Detail = FoundStale, "it was not derived together with the day file"
			v.add(f)
		}
		v.report.Quarantined += n
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if n != want {
		f.Check, f.Detail = FoundQuarantine, fmt.Sprintf("%d records are quarantined, the day file says %d", n, want)
		v.add(f)
	}
	return nil
}

// readAll reads every page of Parquet files, and returns their rows and a hash of them that doesn't depend on their order.
func (v *verifier) readAll(ctx context.Context, path string, columns []schemas.Column) (rows int64, sum string, err error) {
	err = v.d.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*), coalesce(sum(hash(%s)), 0)::VARCHAR FROM read_parquet(%s, hive_partitioning = false)",
		schemas.SQLColumns(columns), sqlGlob(path))).Scan(&rows, &sum)
	return rows, sum, err
}

func (v *verifier) balance(ctx context.Context, p schemas.Partition) error {
	raws, err := v.lake.Balances(p)
	if err != nil {
		return err
	}
	path := v.lake.BalancePath(p)
	f := Finding{Path: path, Account: p.Account, Date: p.Date.String(), Hint: hintRebuild}
	b, err := v.lake.FS.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if len(raws) > 0 {
			f.Check, f.Detail = FoundMissing, fmt.Sprintf("%d balances are sealed, and no rows were derived from them", len(raws))
			v.add(f)
		}
		return nil
	case err != nil:
		return err
	}
	v.report.BalanceFiles++
	fmt.Fprintf(v.balances, "%s %x\n", p, sha256.Sum256(b))
	digest, _, err := v.lake.FooterValue(path, p, load.DigestKey)
	if err == nil {
		err = v.lake.CheckBody(path)
	}
	if err == nil {
		_, _, err = v.readAll(ctx, path, schemas.BalanceColumns())
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		f.Check, f.Detail = FoundDay, load.Detail(err)
		v.balanceBad = true
	case len(raws) == 0: // an orphan, below
	case v.opts.TransformVersion != 0 && digest != load.DayDigest(v.opts.TransformVersion, raws):
		f.Check, f.Detail = FoundStale, fmt.Sprintf("it was derived from other answers than the %d that are sealed, or by another version", len(raws))
	}
	if f.Check != "" {
		v.add(f)
	}
	v.balanceFiles = append(v.balanceFiles, path)
	v.balanceDays = append(v.balanceDays, p)
	if orphan, err := v.lake.OrphanedBalance(p, raws); err != nil && !errors.As(err, new(*load.DamagedError)) {
		return err
	} else if orphan != nil {
		v.orphan(*orphan)
	}
	return nil
}

// orphan tells what is kept though it can't be derived again.
func (v *verifier) orphan(o load.Orphan) {
	v.add(Finding{Check: FoundOrphan, Path: o.Path, Account: o.Account, Date: o.Date.String(), Detail: o.Why, Hint: o.Hint()})
}

// gaps looks for time between an account's first and last window that no window covers.
func (v *verifier) gaps(account string, windows []schemas.Window) {
	if len(windows) == 0 {
		return
	}
	want := schemas.Window{Account: account,
		Start: slices.MinFunc(windows, func(a, b schemas.Window) int { return a.Start.Compare(b.Start) }).Start,
		End:   slices.MaxFunc(windows, func(a, b schemas.Window) int { return a.End.Compare(b.End) }).End,
	}
	for _, gap := range schemas.Uncovered(want, windows) {
		v.add(Finding{Check: FoundGap, Account: account, Date: gap.Date().String(),
			Detail: fmt.Sprintf("nothing was fetched from %s to %s", gap.Start.Format(time.RFC3339), gap.End.Format(time.RFC3339)), Hint: hintFetch(gap)})
	}
}

// maxDuplicates is how many records of an account that stand twice are listed.
const maxDuplicates = 20

// duplicates looks for records that stand twice: days aside, for a file in the place of another has its records, too.
func (v *verifier) duplicates(ctx context.Context, account string, files []dayFiles) error {
	if len(files) == 0 {
		return nil
	}
	all := make([]string, len(files))
	for i, f := range files {
		quoted := make([]string, len(f.files))
		for k, name := range f.files {
			quoted[k] = sqlGlob(name)
		}
		all[i] = fmt.Sprintf("SELECT usage_date, request_time, id, ordinal FROM (SELECT %s FROM read_parquet([%s], hive_partitioning = false))",
			schemas.SQLUsageColumns(f.schema), strings.Join(quoted, ", "))
	}
	rows, err := v.d.conn.QueryContext(ctx, fmt.Sprintf(`
		SELECT id, ordinal, n, days, count(*) OVER () FROM (
			SELECT request_time, id, ordinal, count(*) AS n, string_agg(DISTINCT usage_date::VARCHAR, ', ' ORDER BY usage_date::VARCHAR) AS days
			FROM (%[1]s)
			WHERE (request_time, id, ordinal) IN (SELECT (request_time, id, ordinal) FROM (%[1]s) GROUP BY request_time, id, ordinal HAVING count(*) > 1)
			GROUP BY request_time, id, ordinal
		) ORDER BY request_time, id, ordinal LIMIT %[2]d`, strings.Join(all, " UNION ALL "), maxDuplicates))
	if err != nil {
		return fmt.Errorf("look for records of %s that stand twice: %w", account, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, days string
		var ordinal, n, all int64
		if err := rows.Scan(&id, &ordinal, &n, &days, &all); err != nil {
			return err
		}
		v.add(Finding{Check: FoundDuplicate, Account: account, Date: days[:len(time.DateOnly)],
			Detail: fmt.Sprintf("the record of id %q and ordinal %d stands %d times, on %s (%d such records in the account)", id, ordinal, n, days, all), Hint: hintRebuild})
	}
	return rows.Err()
}

func (v *verifier) journal(ctx context.Context) error {
	runs, err := v.lake.CheckJournal(ctx, func(path, detail string) {
		v.add(Finding{Check: FoundJournal, Path: path, Detail: detail, Hint: load.HintJournal})
	})
	v.report.Runs = runs
	return err
}

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

func (v *verifier) checkDatabase(ctx context.Context, path string, found func(check string, p schemas.Partition, format string, args ...any)) error {
	if err := v.d.Exec(ctx, "ATTACH "+SqlPath(path)+" AS "+Catalog+" (READ_ONLY)", "USE "+Catalog); err != nil {
		return err
	}
	var version int
	if err := v.d.conn.QueryRowContext(ctx, "SELECT schema_version FROM meta").Scan(&version); err != nil {
		return err
	}
	if version != schemas.SQLVersion {
		found(FoundVersion, schemas.Partition{}, "its tables have version %d, this program makes version %d", version, schemas.SQLVersion)
		return nil
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
		if err := v.d.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*), sum(hash(r))::VARCHAR FROM %s r", name)).Scan(&n, &hash); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}

	held, err := v.heldContent(ctx)
	if err != nil {
		return err
	}
	v.report.DatabaseDays = len(held)
	all := slices.Collect(maps.Keys(held))
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
			raws, err := v.lake.Windows(p)
			if err != nil || len(raws) > 0 {
				found(FoundBehind, p, "it has the day, and the lake has no readable file of it")
			} else if _, err := v.lake.FS.Stat(v.lake.UsagePath(p)); errors.Is(err, fs.ErrNotExist) {
				v.orphan(load.Orphan{Partition: p, What: load.OrphanPublished, Path: path, Why: fmt.Sprintf("neither its day file nor its raw files are there; usage.duckdb has %d rows of it", h.rows)})
			}
			continue
		case h.digest != day.footer.Digest:
			found(FoundBehind, p, "it has the day as it was before")
			continue
		}
		if h.usageFile != day.usage {
			v.add(Finding{Check: FoundChanged, Path: v.lake.UsagePath(p), Account: p.Account, Date: p.Date.String(), Detail: "its bytes are not those it was published from", Hint: hintRebuild})
		}
		if h.quarantineFile != day.quarantine && day.pruned != nil && day.pruned.QuarantineGone() {
			found(FoundBehind, p, "it has quarantined records that were pruned since")
			continue
		}
		if h.quarantineFile != day.quarantine {
			v.add(Finding{Check: FoundChanged, Path: v.lake.QuarantinePath(p), Account: p.Account, Date: p.Date.String(), Detail: "its bytes are not those it was published from", Hint: hintRebuild})
		}
		if day.readable && h.content != day.content {
			found(FoundDiffers, p, "usage holds %d rows with amount %s, the day file %d with %s; or other values", h.rows, h.amount, day.content.rows, day.content.amount)
		}
		if said, err := footerContent(day.footer); err == nil && h.daily != said {
			found(FoundDiffers, p, "usage_daily holds %d records with amount %s, the day file %d with %s", h.daily.rows, h.daily.amount, said.rows, said.amount)
		}
		f := day.footer
		if day.pruned != nil && day.pruned.QuarantineGone() {
			f.Quarantined = 0
		}
		if h.quarantined != f.Quarantined || h.windows != int64(len(f.Windows)) || h.issues != int64(len(f.Issues)) {
			found(FoundDiffers, p, "it holds %d quarantined records, %d windows, %d issues; the day file says %d, %d, %d", h.quarantined, h.windows, h.issues, f.Quarantined, len(f.Windows), len(f.Issues))
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
	const sums = "count(*) AS n, coalesce(sum(total_amount), 0) AS t, coalesce(sum(discount_amount), 0) AS s, coalesce(sum(amount), 0) AS a"
	rows, err := v.d.conn.QueryContext(ctx, `
		SELECT account, usage_date, coalesce(digest, ''), coalesce(file_sha256, ''), coalesce(quarantine_sha256, ''),
			coalesce(u.n, 0)::BIGINT, coalesce(u.t, 0)::DECIMAL(38,12)::VARCHAR, coalesce(u.s, 0)::DECIMAL(38,12)::VARCHAR, coalesce(u.a, 0)::DECIMAL(38,12)::VARCHAR, coalesce(u.h, 0)::VARCHAR,
			coalesce(d.n, 0)::BIGINT, coalesce(d.t, 0)::DECIMAL(38,12)::VARCHAR, coalesce(d.s, 0)::DECIMAL(38,12)::VARCHAR, coalesce(d.a, 0)::DECIMAL(38,12)::VARCHAR,
			coalesce(q.n, 0), coalesce(c.n, 0), coalesce(i.n, 0)
		FROM partitions
		FULL JOIN (SELECT account, usage_date, `+sums+`, sum(hash(`+schemas.SQLColumns(schemas.UsageColumns())+`)) AS h FROM usage GROUP BY ALL) u USING (account, usage_date)
		FULL JOIN (SELECT account, usage_date, `+strings.Replace(sums, "count(*)", "sum(requests)", 1)+` FROM usage_daily GROUP BY ALL) d USING (account, usage_date)
		FULL JOIN (SELECT account, window_start::DATE AS usage_date, count(*) AS n FROM quarantine GROUP BY ALL) q USING (account, usage_date)
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

func (v *verifier) checkBalance(ctx context.Context, found func(check string, p schemas.Partition, format string, args ...any)) error {
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
		v.orphan(load.Orphan{Partition: p, What: load.OrphanPublished, Path: v.lake.Database(), Why: "neither its balance file nor its raw files are there; usage.duckdb has balances of it"})
		own += fmt.Sprintf(" AND (account, observed_at::DATE) <> (%s, DATE '%s')", schemas.SQLString(p.Account), p.Date)
	}
	var rows int64
	var hash string
	err = v.d.conn.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(hash("+schemas.SQLColumns(schemas.BalanceColumns())+")), 0)::VARCHAR FROM balance WHERE "+own).Scan(&rows, &hash)
	if err != nil {
		return err
	}
	if rows != n || hash != sum.String() {
		found(FoundDiffers, schemas.Partition{}, "balance holds %d rows, the balance files %d; or other values", rows, n)
	}
	return nil
}

// relations are the names of the tables and views of the attached file, in order.
func (d *Database) relations(ctx context.Context) (tables, views []string, err error) {
	rows, err := d.conn.QueryContext(ctx, "SELECT table_name, table_type FROM information_schema.tables WHERE table_catalog = '"+Catalog+"' ORDER BY ALL")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return nil, nil, err
		}
		name = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		if kind == "VIEW" {
			views = append(views, name)
		} else {
			tables = append(tables, name)
		}
	}
	return tables, views, rows.Err()
}
