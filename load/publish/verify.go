package publish

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// VerifyOptions of Verify. The zero value works.
type VerifyOptions struct {
	// TransformVersion is that of the program: a day file made by another is stale. 0: only the sealed windows are
	// compared, with the version each file names.
	TransformVersion int
	// Progress is told what is looked at, and how many of all days are done; nil: nobody is.
	Progress func(what string, done, total int)
}

// The checks of Verify, the names a Finding goes by.
const (
	FoundRaw = "raw_damaged" // a sealed window or balance can't be read whole, or contradicts itself
	// a file where none of that name belongs; readers that glob may take it for data
	FoundStray     = "stray_file"
	FoundAnnounced = "announced_mismatch" // a window proven by the API's count holds another number of records
	FoundUnproven  = "unproven"           // a window that is not shown to be whole, of a month that isn't closed
	FoundGap       = "gap"                // time between the account's first and last window that no window covers
	FoundMissing   = "day_missing"        // windows are sealed, and there is no day file
	// the derived file is not of these windows, or of another version of the transformation
	FoundStale = "day_stale"
	// derived rows that can't be derived again, because raw files are gone: they are kept
	FoundOrphan     = "day_orphan"
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

// Verify reads a lake whole and says what is wrong with it. It needs no lock, writes nothing into the lake and repairs
// nothing. An error means that it could not go on (the context, a directory that can't be listed), not that something
// is wrong.
//
// It checks every digest and every page of the raw archive, each day file against its windows and its own footer,
// records that stand twice, gaps in the coverage, and the published file against the day files, row for row by a hash.
// A flipped byte is found wherever it matters: in the raw archive by its digests, in derived files by the digests the
// published file keeps of them, in the published file by DuckDB's checksums. What is fetched or derived while it runs
// may show as missing or stale.
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

// verifier is one look. It holds no lock, so what it has read may be old by the time it is held against something else:
// that shows as a finding, and never as an error.
type verifier struct {
	lake   *Lake
	opts   VerifyOptions
	report VerifyReport
	d      *Database
	closed []ClosedMonth

	// What was found of the files, for the published file to be held against at the end. d is an instance without a file
	// until checkDatabase attaches the published one.
	days         map[schemas.Partition]*verifiedDay
	balances     hash.Hash           // over the balance files, as Publish makes it
	balanceFiles []string            // that are there
	balanceDays  []schemas.Partition // of them
	balanceBad   bool
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
	return fmt.Sprintf("usagelake export --account %s --from %s --to %s", w.Account, words.Instant(w.Start),
		words.Instant(w.End))
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
			Hint: "is its volume mounted? Else restore it from a backup; if it is lost for good: usagelake verify --repair " +
				"--raw-lost"})
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
			source, err := v.raw(ctx, p)
			if damaged := (*load.DamagedError)(nil); errors.As(err, &damaged) { // the tombstone
				v.add(Finding{Check: FoundPruned, Path: damaged.Path, Account: p.Account, Date: p.Date.String(),
					Detail: load.Detail(err), Hint: damaged.Hint})
				// Which windows it had can't be told. The day counts as covered, so that no gap is told of besides.
				windows = append(windows, p.Window())
				if err := v.balance(ctx, p); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			for _, r := range source.Windows {
				windows = append(windows, r.Window)
			}
			if err := v.day(ctx, source); err != nil {
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
		v.add(Finding{Check: FoundUnproven, Path: v.lake.UsagePath(p), Account: p.Account, Date: p.Date.String(),
			Detail: u.String(), Hint: u.Hint()})
	}
	return err
}

// strays looks for files that don't belong where they stand: in the trees that readers glob, and in the raw archive.
func (v *verifier) strays() error {
	for tree, file := range map[string]string{load.UsageDir: load.UsageFile, load.QuarantineDir: load.QuarantineFile,
		load.BalanceDir: load.BalanceFile, load.RawDir: "", load.RecordsDir: ""} {
		accounts, err := v.lake.Entries(v.lake.Path(tree))
		if err != nil {
			return err
		}
		for _, a := range accounts {
			name, ok := load.AccountOf(a.Name())
			// Both names at once would count what is in both twice.
			if ok && a.IsDir() && v.lake.AccountDir(tree, name) != v.lake.Path(tree, a.Name()) {
				v.add(Finding{Check: FoundStray, Path: v.lake.Path(tree, a.Name()), Account: name,
					Detail: "the folder of this account has another name now, and stands beside this one",
					Hint:   "the next run that writes takes in what the lake lacks of it: usagelake rebuild"})
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
					if f.IsDir() || f.Name() != file && (tree != load.RecordsDir || !load.IsRecordsFile(f.Name())) {
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

// orphan tells what is kept though it can't be derived again.
func (v *verifier) orphan(o load.Orphan) {
	v.add(Finding{Check: FoundOrphan, Path: o.Path, Account: o.Account, Date: o.Date.String(), Detail: o.Why,
		Hint: o.Hint()})
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
			Detail: fmt.Sprintf("nothing was fetched from %s to %s", words.Instant(gap.Start),
				words.Instant(gap.End)), Hint: hintFetch(gap)})
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
			quoted[k] = SqlGlob(name)
		}
		all[i] = fmt.Sprintf("SELECT usage_date, request_time, id, ordinal FROM (SELECT %s FROM read_parquet([%s], "+
			"hive_partitioning = false))",
			schemas.SQLUsageColumns(f.schema), strings.Join(quoted, ", "))
	}
	// First which keys come more than once, then their days: so few are that the files may be read twice. The window over
	// all of them counts what LIMIT leaves out.
	rows, err := v.d.conn.QueryContext(ctx, fmt.Sprintf(`
		SELECT id, ordinal, n, days, count(*) OVER () FROM (
			SELECT request_time, id, ordinal, count(*) AS n, string_agg(DISTINCT usage_date::VARCHAR, ', '
			ORDER BY usage_date::VARCHAR) AS days
			FROM (%[1]s)
			WHERE (request_time, id, ordinal) IN (SELECT (request_time, id, ordinal) FROM (%[1]s)
			GROUP BY request_time, id, ordinal HAVING count(*) > 1)
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
			Detail: fmt.Sprintf("the record of id %q and ordinal %d stands %d times, on %s (%d such records in the account)", id,
				ordinal, n, days, all), Hint: hintRebuild})
	}
	return rows.Err()
}

// journal tells of lines and months of it that can't be read. Nothing is derived from them.
func (v *verifier) journal(ctx context.Context) error {
	runs, err := v.lake.CheckJournal(ctx, func(path, detail string) {
		v.add(Finding{Check: FoundJournal, Path: path, Detail: detail, Hint: load.HintJournal})
	})
	v.report.Runs = runs
	return err
}
