package publish

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// CloseOptions say how a month is closed.
type CloseOptions struct {
	Month       schemas.Month
	RunID       string
	Version     string // of the program
	By          ClosedBy
	Reason      string // why it is closed in spite of Objections
	Objections  []string
	Rules       []RuleFile // the allocation rules of the published file, the rules file first
	RulesDigest string
	Books       *schemas.Books // of the published file
	Rates       *schemas.Rates // that it was converted by; nil: the books have no currency
	Sign        *Signer        // signs the manifest; nil: nobody does
	Now         func() time.Time
	// Write writes the month's statements into a directory, durable or not; nil writes none. edition is 1, or one more for
	// each time that the month was opened again.
	Write func(ctx context.Context, dir string, edition int) error
	// Progress is told how many days of the month's FOCUS rows are written, of how many; nil: nobody is.
	Progress func(done, total int)
}

// ErrClosed says that the month is closed already, ErrNotClosed that it isn't.
var (
	ErrClosed    = errors.New("the month is closed")
	ErrNotClosed = errors.New("the month is not closed")
)

// CloseMonth makes what is charged in a month final: it keeps the rows that the published file has of it, the rules
// they were made by, the statements, and a manifest with the digest of each of these files and of every day file. The
// published file must be up to date, and is to be published again afterwards. The caller holds the lock.
//
//	write everything into a directory beside · fsync each file and directory · rename the directory to statements/MONTH
//
// The rename is the commit point: a crash leaves the month closed or not.
func (l *Lake) CloseMonth(ctx context.Context, opts CloseOptions) (ClosedMonth, error) {
	c, err := l.closeMonth(ctx, opts)
	if err != nil {
		return c, fmt.Errorf("close %s: %w", opts.Month, err)
	}
	return c, nil
}

func (l *Lake) closeMonth(ctx context.Context, opts CloseOptions) (ClosedMonth, error) {
	target := l.Path(load.StatementsDir, opts.Month.String())
	if _, err := l.FS.Stat(target); err == nil {
		return ClosedMonth{}, ErrClosed
	} else if !errors.Is(err, fs.ErrNotExist) {
		return ClosedMonth{}, err
	}
	dir := l.Path(durable.TempDir, "close-"+opts.Month.String())
	// What a close that was killed has left; whoever takes the lock drops it, too.
	if err := l.FS.RemoveAll(dir); err != nil {
		return ClosedMonth{}, err
	}
	defer func() { _ = l.FS.RemoveAll(dir) }()
	for _, d := range []string{dir, filepath.Join(dir, "ledger"), filepath.Join(dir, "rules")} {
		if err := l.FS.MkdirAll(d, durable.DirMode); err != nil {
			return ClosedMonth{}, err
		}
	}
	edition, err := l.edition(opts.Month)
	if err != nil {
		return ClosedMonth{}, err
	}
	m := Manifest{Format: manifestFormat, Month: opts.Month, ClosedAt: opts.Now().UTC(), RunID: opts.RunID,
		Version: opts.Version, By: &opts.By, Edition: edition,
		Reason: opts.Reason, Objections: opts.Objections, Books: opts.Books.Text(),
		Rules: ManifestRules{Digest: opts.RulesDigest}}
	if !opts.Books.Months() {
		m.Period = opts.Books.Name(opts.Month)
	}
	m.BookCurrency = opts.Rates.Currency()
	if err := l.writeLedger(ctx, dir, opts, &m); err != nil {
		return ClosedMonth{}, err
	}
	for i, f := range opts.Rules {
		name := RulePath(i, f.Name)
		if err := l.writeFile(filepath.Join(dir, filepath.FromSlash(name)), f.Content); err != nil {
			return ClosedMonth{}, err
		}
		sum := sha256.Sum256(f.Content)
		m.Rules.Files = append(m.Rules.Files, ManifestFile{Name: f.Name, Path: name, SHA256: hex.EncodeToString(sum[:]),
			Bytes: int64(len(f.Content))})
	}
	if opts.Write != nil {
		if err := opts.Write(ctx, dir, edition); err != nil {
			return ClosedMonth{}, fmt.Errorf("write the statements: %w", err)
		}
	}
	files, dirs, err := l.treeFiles(dir)
	if err != nil {
		return ClosedMonth{}, err
	}
	// DuckDB and Write make files as they like. Each is made durable before its digest stands in the manifest. Where there
	// are many, the disk takes several at once in the time of one.
	m.Files = make([]ManifestFile, len(files))
	var g errgroup.Group
	g.SetLimit(settling)
	for i, f := range files {
		g.Go(func() (err error) {
			if err := l.settle(filepath.Join(dir, filepath.FromSlash(f))); err != nil {
				return err
			}
			m.Files[i], err = l.manifestFile(dir, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return ClosedMonth{}, err
	}
	if err := l.writeManifest(dir, m, opts.Sign); err != nil {
		return ClosedMonth{}, err
	}
	// treeFiles lists a directory before those in it, so that backwards the inner ones come first: a name is on the disk
	// before the directory it leads to the reader through.
	for _, d := range slices.Backward(dirs) {
		if l.Group {
			if err := l.Chmod(d, durable.GroupDirMode); err != nil {
				return ClosedMonth{}, err
			}
		}
		if err := l.SyncDir(d); err != nil {
			return ClosedMonth{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return ClosedMonth{}, context.Cause(ctx)
	}
	// Until here nothing of the month has changed. From here on the context isn't asked: a rename that was done and not
	// told would leave a month closed that its user takes for open.
	if err := errors.Join(l.CheckHeld(), l.MakeDirs(l.Path(load.StatementsDir))); err != nil {
		return ClosedMonth{}, err
	}
	// A directory that is there is not replaced: should another have closed the month past the lock, this fails.
	if err := l.FS.Rename(dir, target); err != nil {
		return ClosedMonth{}, err
	}
	if err := l.SyncDir(l.Path(load.StatementsDir)); err != nil {
		return ClosedMonth{}, fmt.Errorf("%w\nhint: the month may be closed: usagelake close --list", err)
	}
	return l.closedMonth(opts.Month)
}

// writeManifest writes the manifest as the next of the chain, and its signature.
func (l *Lake) writeManifest(dir string, m Manifest, sign *Signer) error {
	closings, err := l.Closings()
	if err != nil {
		return err
	}
	m.Chain = &ManifestChain{}
	if last := lastClosing(closings); last != nil {
		m.Chain.Previous = last.link()
	}
	if sign != nil {
		m.Signer = sign.PublicKey()
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	files := []RuleFile{{ManifestName, b}}
	if sign != nil {
		signature, err := sign.sign(b)
		if err != nil {
			return err
		}
		files = append(files, RuleFile{SignatureFile, signature})
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name)
		if err := l.writeFile(name, f.Content); err != nil {
			return err
		}
		if err := l.settle(name); err != nil {
			return err
		}
	}
	return nil
}

// settling is how many files of a month are made durable at once.
const settling = 16

// edition is the version that a month's statement will have: one more than were kept as it was opened again.
func (l *Lake) edition(month schemas.Month) (int, error) {
	kept, err := l.Entries(l.Path(load.StatementsDir, reopenedDir))
	n := 1
	for _, e := range kept {
		if e.IsDir() && strings.HasPrefix(e.Name(), month.String()+"_") {
			n++
		}
	}
	return n, err
}

// RulePath is where the file of the rules of that place is kept: its name is whatever people gave it.
func RulePath(i int, name string) string { return fmt.Sprintf("rules/%d%s", i, safeExt(name)) }

// safeExt is the extension that says how a rules file is read.
func safeExt(name string) string {
	if strings.EqualFold(path.Ext(name), ".csv") {
		return ".csv"
	}
	return ".yaml"
}

// writeLedger keeps what is charged in the month, and its totals.
func (l *Lake) writeLedger(ctx context.Context, dir string, opts CloseOptions, m *Manifest) error {
	month, books := opts.Month, opts.Books
	d, err := l.OpenPublishedFile(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	closed, err := l.Closed()
	if err != nil {
		return err
	}
	if m.Rates, err = d.keptRates(ctx, opts, closed); err != nil {
		return err
	}
	if err := d.copyParquet(ctx, "SELECT * FROM chargeback_daily WHERE billing_month = DATE '"+month.First().String()+
		"' ORDER BY ALL", filepath.Join(dir, filepath.FromSlash(LedgerFile)), ""); err != nil {
		return fmt.Errorf("write %s: %w", LedgerFile, err)
	}
	if err := l.writeFocus(ctx, d, opts, FocusLedger(dir)); err != nil {
		return fmt.Errorf("write %s: %w", LedgerFocus, err)
	}
	if err := d.writePrepaid(ctx, dir, month, m); err != nil {
		return fmt.Errorf("write %s: %w", PrepaidFile, err)
	}
	rows, err := d.conn.QueryContext(ctx,
		ledgerTotals(fmt.Sprintf("chargeback_daily WHERE billing_month = DATE '%s'", month.First())))
	if err != nil {
		return err
	}
	if m.Totals, err = scanTotals(rows); err != nil {
		return err
	}
	// What was written is read back, and held against the table it came from.
	if same, err := d.ledgerHolds(ctx, filepath.Join(dir, filepath.FromSlash(LedgerFile)), m.Totals); err != nil ||
		!same {
		return cmp.Or(err, fmt.Errorf("%w: %s doesn't hold what is charged", errInexact, LedgerFile))
	}
	if m.Markups, err = d.markups(ctx, "markup_monthly", month); err != nil {
		return fmt.Errorf("mark-ups: %w", err)
	}
	if err := d.lacking(ctx, opts, m); err != nil {
		return fmt.Errorf("completeness: %w", err)
	}
	days, err := d.conn.QueryContext(ctx,
		"SELECT account, usage_date, digest FROM partitions WHERE "+utcDaysOf(books, month)+" ORDER BY ALL")
	if err != nil {
		return err
	}
	defer days.Close()
	m.Partitions = []ManifestInput{}
	for days.Next() {
		var in ManifestInput
		var date sql.NullTime
		if err := days.Scan(&in.Account, &date, &in.Digest); err != nil {
			return err
		}
		in.Date = schemas.DateOf(date.Time).String()
		m.Partitions = append(m.Partitions, in)
	}
	return days.Err()
}

// utcDaysOf is the condition that some of a UTC day lies in a month.
func utcDaysOf(books *schemas.Books, month schemas.Month) string {
	from, to := books.Starts(books.First(month)), books.Starts(books.End(month))
	return fmt.Sprintf("usage_date BETWEEN DATE '%s' AND DATE '%s'", schemas.DateOf(from), schemas.DateOf(to.Add(-1)))
}

// lacking keeps how complete the month is: what is charged in it stays as it is, whatever is fetched of it later.
func (d *Database) lacking(ctx context.Context, opts CloseOptions, m *Manifest) error {
	span := fmt.Sprintf("(DATE '%s', DATE '%s')", opts.Books.First(opts.Month), opts.Books.End(opts.Month))
	if err := d.conn.QueryRowContext(ctx, "SELECT completeness FROM completeness"+span).Scan(&m.Completeness); err != nil {
		return err
	}
	rows, err := d.conn.QueryContext(ctx,
		"SELECT account, missing_seconds FROM completeness_by_account"+span+" WHERE missing_seconds > 0 ORDER BY account")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l ManifestLacking
		if err := rows.Scan(&l.Account, &l.Seconds); err != nil {
			return err
		}
		m.Lacking = append(m.Lacking, l)
	}
	return rows.Err()
}

// ledgerHolds says whether the charges in a ledger file sum to the totals, to the last digit.
func (d *Database) ledgerHolds(ctx context.Context, file string, totals []ManifestTotal) (bool, error) {
	charges, err := d.ledgerRows(ctx, ledgers[0], file)
	if err != nil {
		return false, err
	}
	rows, err := d.conn.QueryContext(ctx, ledgerTotals(charges))
	if err != nil {
		return false, err
	}
	held, err := scanTotals(rows)
	return reflect.DeepEqual(held, totals), err
}

// ledgerTotals asks for the totals of charges.
func ledgerTotals(charges string) string {
	return "SELECT currency, sum(requests)::BIGINT, sum(list_cost)::VARCHAR, sum(discount)::VARCHAR, " +
		"sum(net_cost)::VARCHAR, sum(book_cost)::VARCHAR FROM " + charges + " GROUP BY ALL ORDER BY ALL"
}

func scanTotals(rows *sql.Rows) ([]ManifestTotal, error) {
	defer rows.Close()
	totals := []ManifestTotal{} // not null in the manifest
	for rows.Next() {
		var t ManifestTotal
		if err := rows.Scan(&t.Currency, &t.Requests, &t.List, &t.Discount, &t.Net, &t.Book); err != nil {
			return nil, err
		}
		totals = append(totals, t)
	}
	return totals, rows.Err()
}

// writeFile writes a file of a directory that nobody reads yet.
func (l *Lake) writeFile(name string, content []byte) error {
	t, err := l.CreateTemp(filepath.Base(name) + ".*")
	if err != nil {
		return err
	}
	defer t.Abort()
	if _, err := io.Copy(t, bytes.NewReader(content)); err != nil {
		return err
	}
	if err := t.Finish(); err != nil {
		return err
	}
	if err := l.FS.Rename(t.Name(), name); err != nil {
		_ = l.FS.Remove(t.Name())
		return err
	}
	return nil
}

// settle gives a file the lake's mode and makes its content durable.
func (l *Lake) settle(name string) error {
	if err := l.Chmod(name, durable.FileMode); err != nil {
		return err
	}
	if err := l.Share(name); err != nil {
		return err
	}
	f, err := l.FS.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// treeFiles lists the files below dir, with slashes and in order, and the directories, dir first.
func (l *Lake) treeFiles(dir string) (files, dirs []string, err error) {
	var walk func(rel string) error
	walk = func(rel string) error {
		at := filepath.Join(dir, filepath.FromSlash(rel))
		dirs = append(dirs, at)
		entries, err := l.FS.ReadDir(at)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := path.Join(rel, e.Name())
			if e.IsDir() {
				if err := walk(name); err != nil {
					return err
				}
				continue
			}
			files = append(files, name)
		}
		return nil
	}
	err = walk("")
	slices.Sort(files)
	return files, dirs, err
}

func (l *Lake) manifestFile(dir, name string) (ManifestFile, error) {
	full := filepath.Join(dir, filepath.FromSlash(name))
	info, err := l.FS.Stat(full)
	if err != nil {
		return ManifestFile{}, err
	}
	sum, err := l.Digest(full)
	return ManifestFile{Path: name, SHA256: sum, Bytes: info.Size()}, err
}

// reopened is what is kept of a month that was opened again.
type reopened struct {
	Month      schemas.Month `json:"month"`
	ReopenedAt time.Time     `json:"reopened_at"`
	RunID      string        `json:"run_id"`
	Version    string        `json:"version"`
	Reason     string        `json:"reason"`
}

// ReopenMonth opens the month that was closed last. What it was closed with is kept beside, with the reason. The
// published file is to be published again afterwards. The caller holds the lock.
func (l *Lake) ReopenMonth(month schemas.Month, runID, version, reason string, now time.Time) (kept string, err error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("reopen %s: %w", month, err) }
	from := l.Path(load.StatementsDir, month.String())
	if _, err := l.FS.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return fail(ErrNotClosed)
	} else if err != nil {
		return fail(err)
	}
	b, err := json.MarshalIndent(reopened{month, now.UTC(), runID, version, reason}, "", "  ")
	if err != nil {
		return fail(err)
	}
	base := month.String() + "_" + now.UTC().Format("20060102T150405Z")
	if err := l.MakeDirs(l.Path(load.StatementsDir, reopenedDir)); err != nil {
		return fail(err)
	}
	// The reason is on the disk before the month is open: a reason without a month beside it says that it was not.
	if err := l.Replace(l.Path(load.StatementsDir, reopenedDir, base+".json"),
		bytes.NewReader(append(b, '\n'))); err != nil {
		return fail(err)
	}
	// The rename is the commit point. Until the next publish the published file has the month as closed; its statements
	// stand below reopened then, by which stillClosed knows that somebody opened it.
	kept = l.Path(load.StatementsDir, reopenedDir, base)
	if err := l.FS.Rename(from, kept); err != nil {
		return fail(err)
	}
	if err := errors.Join(l.SyncDir(l.Path(load.StatementsDir)),
		l.SyncDir(l.Path(load.StatementsDir, reopenedDir))); err != nil {
		return fail(err)
	}
	return kept, nil
}
