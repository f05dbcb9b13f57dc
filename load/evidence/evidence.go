package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Day is a day of the month, and what it was derived from.
type Day struct {
	schemas.Partition
	Schema, Transform int    // the versions that Digest is made with
	Digest            string // as in the manifest, or of a month that is open in the day file
	Windows           []load.Sealing
	Pruned            []load.PrunedRaw // of those that retention deleted: what their files were
}

// Options say what is proven.
type Options struct {
	Lake       *publish.Lake        // the lake itself
	Derived    *publish.Lake        // one that has the Days alone, derived and published by the rules of the month
	Closed     *publish.ClosedMonth // nil: the month is open
	Chain      []publish.Closing    // the manifests in their order; none if the month's isn't part of it
	Books      *schemas.Books       // that the month is charged by
	Month      schemas.Month
	CostCenter string
	Days       []Day
	Rules      []publish.RuleFile // of a month that is open
	Fields     []string           // of a record, that the rules look at
	GLCode     string             // what the journal says where no rule gave a code
	Pages      bool               // whether the sealed files come with it
	Version    string             // of the program
	Phase      func(string)       // nil: nobody is told
}

// Figure is a line of the journal.
type Figure struct {
	Currency *string `json:"currency"`
	GLCode   string  `json:"gl_code"`
	Net      string  `json:"net_cost"` // exact
	Posted   string  `json:"posted"`   // in whole minor units of the currency
}

// Claim is evidence.json: what the folder says, for programs.
type Claim struct {
	Format      int           `json:"format"`
	Month       schemas.Month `json:"month"`
	Period      string        `json:"period"` // what the books call it
	CostCenter  string        `json:"cost_center"`
	Status      string        `json:"status"` // closed or open
	ClosedAt    *time.Time    `json:"closed_at,omitempty"`
	Manifest    string        `json:"manifest_sha256,omitempty"`
	Figures     []Figure      `json:"figures"`
	Records     int64         `json:"records"` // in records.parquet
	Corrections bool          `json:"corrections"`
	Version     string        `json:"version"` // of the program that wrote it
}

const claimFormat = 1

// Unproven says which checks of a folder don't hold.
type Unproven struct {
	Count    int
	Failures []string // the first
}

func (e *Unproven) Error() string {
	return fmt.Sprintf("%s of its checks:\n  - %s", words.Plural(e.Count, "thing doesn't hold", "things don't hold"),
		strings.Join(e.Failures, "\n  - "))
}

//go:embed views.sql
var viewsSQL string

//go:embed check.sql
var checkSQL string

//go:embed arithmetic.sql
var arithmeticSQL string

//go:embed README.tmpl
var readme string

// Write writes the folder dir, which must not be there. ErrNothing if the cost centre is charged nothing in the month
// and has no records; *Unproven if the evidence doesn't hold, and there is no folder then.
func Write(ctx context.Context, dir string, opts Options) (Claim, error) {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); err == nil {
		return Claim{}, fmt.Errorf("write evidence: %s: %w", dir, fs.ErrExist)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".evidence-*")
	if err != nil {
		return Claim{}, fmt.Errorf("write evidence: %w", err)
	}
	defer os.RemoveAll(temp)
	w := &writer{Options: opts, dir: temp, out: opts.Lake.Out()}
	claim, err := w.write(ctx)
	if err != nil {
		return claim, fmt.Errorf("write evidence: %w", err)
	}
	mode := durable.DirMode
	if opts.Lake.Group {
		mode = durable.GroupDirMode &^ fs.ModeSetgid
	}
	if err = os.Chmod(temp, mode); err == nil {
		err = os.Rename(temp, dir)
	}
	if err == nil {
		err = durable.System{}.SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		return claim, fmt.Errorf("write evidence: %w", err)
	}
	return claim, nil
}

// ErrNothing says that there is nothing to prove.
var ErrNothing = errors.New("nothing is charged to it in the month")

type writer struct {
	Options
	dir      string
	out      durable.Out
	accounts []string // that are prepaid
}

func (w *writer) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

func (w *writer) phase(what string) {
	if w.Phase != nil {
		w.Phase(what)
	}
}

func (w *writer) write(ctx context.Context) (claim Claim, err error) {
	w.phase("write the records")
	claim = Claim{Format: claimFormat, Month: w.Month, Period: w.Books.Name(w.Month),
		CostCenter: w.CostCenter, Status: "open", Version: w.Version}
	if claim.Records, err = w.tables(ctx); err != nil {
		return claim, err
	}
	w.phase("write the month")
	if err := w.month(ctx); err != nil {
		return claim, err
	}
	if err := w.sealed(ctx); err != nil {
		return claim, err
	}
	if err := w.rates(ctx); err != nil {
		return claim, err
	}
	if err := w.prepaid(ctx); err != nil {
		return claim, fmt.Errorf("prepaid credit: %w", err)
	}
	if err := w.markups(ctx); err != nil {
		return claim, fmt.Errorf("mark-ups: %w", err)
	}
	for i, c := range w.Chain {
		name := fmt.Sprintf("%04d-%s.json", i+1, c.Month)
		if err := w.copy(filepath.Join(c.Dir, publish.ManifestName), "chain", name); err != nil {
			return claim, err
		}
	}
	if c := w.Closed; c != nil {
		claim.Status, claim.ClosedAt, claim.Manifest = "closed", &c.ClosedAt, c.Digest
	}
	w.phase("check it")
	return claim, w.conclude(ctx, &claim)
}

// tables writes what was derived, as Parquet: one thread, and in an order that names each row.
func (w *writer) tables(ctx context.Context) (records int64, err error) {
	owner := "coalesce(cost_center, '" + schemas.Unallocated + "') = " + schemas.SQLString(w.CostCenter)
	// A UTC day that two months share is derived whole: its records of the other month are left out.
	within := fmt.Sprintf("book_date >= DATE '%s' AND book_date < DATE '%s'", w.Books.First(w.Month),
		w.Books.End(w.Month))
	pools := "SELECT DISTINCT pool FROM shared_cost_shares WHERE " + owner + " AND " + within
	var columns []string
	for _, c := range schemas.UsageColumns() {
		columns = append(columns, `"`+c.Name+`"`)
	}
	of := "FROM allocated_usage WHERE " + within + " AND (pool IS NULL AND " + owner + " OR pool IN (" + pools + "))"
	ids := "SELECT DISTINCT allocation_id " + of
	for _, t := range []struct{ name, query string }{
		{"records", "SELECT allocation_id, book_date, " + strings.Join(columns, ", ") + " " + of +
			" ORDER BY account, usage_date, request_time, id, ordinal"},
		{"allocations", "SELECT * FROM allocations WHERE allocation_id IN (" + ids + ") ORDER BY ALL"},
		{"allocation_keys", "SELECT * FROM allocation_keys WHERE allocation_id IN (" + ids + ") ORDER BY ALL"},
		{"allocation_rules", "SELECT * FROM allocation_rules ORDER BY ALL"},
		{"shares", "SELECT * FROM shared_cost_shares WHERE pool IN (" + pools + ") AND " + within + " ORDER BY ALL"},
		{"periods", "SELECT * FROM periods ORDER BY ALL"},
	} {
		n, err := query.WriteParquet(ctx, w.Derived, t.query, w.path(t.name+".parquet"))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", t.name, err)
		}
		if t.name == "records" {
			records = n
		}
	}
	return records, nil
}

// month writes what is charged in the month: what it was closed with, as it is, or what is published now.
func (w *writer) month(ctx context.Context) error {
	if c := w.Closed; c != nil {
		statement := "cost-centers/" + words.FileName(w.CostCenter, "cost-center") + "."
		names := []string{publish.ManifestName, publish.LedgerFile, "journal.csv"}
		if c.Signer != "" {
			names = append(names, publish.SignatureFile)
		}
		for _, f := range c.Files {
			if strings.HasPrefix(f.Path, "rules/") || strings.HasPrefix(f.Path, statement) {
				names = append(names, f.Path)
			}
		}
		for _, name := range names {
			if !filepath.IsLocal(filepath.FromSlash(name)) {
				return fmt.Errorf("the manifest of %s names the file %q, which lies elsewhere", c.Month, name)
			}
			if err := w.copy(filepath.Join(c.Dir, filepath.FromSlash(name)), "month", filepath.FromSlash(name)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := os.MkdirAll(w.path("month", "ledger"), durable.DirMode); err != nil {
		return err
	}
	month := "DATE '" + w.Month.First().String() + "'"
	if _, err := query.WriteParquet(ctx, w.Lake, "SELECT * FROM chargeback_daily WHERE billing_month = "+month+
		" ORDER BY ALL", w.path("month", filepath.FromSlash(publish.LedgerFile))); err != nil {
		return err
	}
	journal, err := query.Run(ctx, w.Lake, `SELECT * FROM chargeback_journal WHERE "month" = `+month+
		" ORDER BY currency, entry DESC, gl_code, cost_center")
	if err != nil {
		return err
	}
	defer journal.Close()
	if err := durable.WriteOut(w.path("month", "journal.csv"), w.out, func(to io.Writer) error {
		_, err := journal.WriteCSV(ctx, to, query.CSVForm{})
		return err
	}); err != nil {
		return err
	}
	for i, f := range w.Rules {
		if err := os.MkdirAll(w.path("month", "rules"), durable.DirMode); err != nil {
			return err
		}
		if err := w.out.Bytes(w.path("month", filepath.FromSlash(publish.RulePath(i, f.Name))), f.Content); err != nil {
			return err
		}
	}
	return nil
}

// copy copies a file into the folder.
func (w *writer) copy(from string, elem ...string) error {
	to := w.path(elem...)
	if err := os.MkdirAll(filepath.Dir(to), durable.DirMode); err != nil {
		return err
	}
	return w.out.Copy(from, to)
}

// sealed writes which sealed files the days come from, and with Pages the files.
func (w *writer) sealed(ctx context.Context) error {
	type file struct {
		Account string    `json:"account"`
		Date    string    `json:"usage_date"`
		Seq     int       `json:"seq"`
		Name    string    `json:"name"`
		Fetched time.Time `json:"fetched_at"`
		Bytes   int64     `json:"bytes"`
		SHA256  string    `json:"sha256"`
		Deleted bool      `json:"deleted"` // by retention: a copy in a backup can be told to be the one
	}
	type day struct {
		Account   string `json:"account"`
		Date      string `json:"usage_date"`
		Schema    int    `json:"schema_version"`
		Transform int    `json:"transform_version"`
		Digest    string `json:"digest"`
	}
	var days []day
	var files []file
	for _, d := range w.Days {
		days = append(days, day{d.Account, d.Date.String(), d.Schema, d.Transform, d.Digest})
		for _, s := range d.Windows {
			f := file{Account: d.Account, Date: d.Date.String(), Seq: s.Seq, Name: s.Name, Fetched: s.FetchedAt.UTC(),
				Deleted: s.Pruned}
			if i := slices.IndexFunc(d.Pruned, func(p load.PrunedRaw) bool { return p.Name == s.Name }); i >= 0 {
				f.Bytes, f.SHA256 = d.Pruned[i].Bytes, d.Pruned[i].SHA256
			} else {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				path := filepath.Join(w.Lake.Partition(load.RawDir, d.Partition), s.Name)
				info, err := os.Stat(path)
				if err != nil {
					return err
				}
				f.Bytes = info.Size()
				if f.SHA256, err = w.Lake.Digest(path); err != nil {
					return err
				}
				if w.Pages {
					if err := w.copy(path, "pages", d.Account, d.Date.String(), s.Name); err != nil {
						return err
					}
				}
			}
			files = append(files, f)
		}
	}
	if err := w.rows(ctx, "days", "{account: 'VARCHAR', usage_date: 'DATE', schema_version: 'INTEGER', "+
		"transform_version: 'INTEGER', digest: 'VARCHAR'}", days); err != nil {
		return err
	}
	return w.rows(ctx, "sealed", "{account: 'VARCHAR', usage_date: 'DATE', seq: 'INTEGER', name: 'VARCHAR', "+
		"fetched_at: 'TIMESTAMPTZ', bytes: 'BIGINT', sha256: 'VARCHAR', deleted: 'BOOLEAN'}", files)
}

// rows writes a table of values as Parquet, by way of JSON.
func (w *writer) rows(ctx context.Context, name, columns string, rows any) error {
	b, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	if string(b) == "null" {
		b = []byte("[]")
	}
	from := w.path(name + ".json")
	if err := os.WriteFile(from, b, durable.FileMode); err != nil {
		return err
	}
	defer os.Remove(from)
	return w.derived(ctx, name, fmt.Sprintf("SELECT * FROM read_json(%s, columns = %s, format = 'array', "+
		"maximum_object_size = 1000000000)", schemas.SQLString(from), columns))
}

// derived writes the answer of a query as Parquet.
func (w *writer) derived(ctx context.Context, name, query string) error {
	f, err := w.out.Create(w.path(name + ".parquet"))
	if err != nil {
		return err
	}
	defer f.Abort()
	db, err := w.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)",
		query, schemas.SQLString(f.Name()))); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return f.Commit()
}

// open is a DuckDB of its own in the folder, as an auditor's.
func (w *writer) open(ctx context.Context) (*sql.DB, error) {
	c, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	for _, q := range []string{"SET TimeZone = 'UTC'", "SET threads = 1", "SET file_search_path = " +
		schemas.SQLString(w.dir)} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

// page is what the texts of the folder are made of.
type page struct {
	*writer
	Claim
	Currencies []schemas.Currency
	Prepaid    []string // accounts
	Chain      int
	Signed     bool
	Rules      []publish.ManifestFile
	Closed     *publish.ClosedMonth
	Month      schemas.Month
	CostCenter string
}

// conclude writes the texts, what is claimed, and the digests, and checks all of it.
func (w *writer) conclude(ctx context.Context, claim *Claim) error {
	p := page{writer: w, Chain: len(w.Chain), Currencies: schemas.OddCurrencies(), Prepaid: w.accounts, Closed: w.Closed,
		Month: w.Month, CostCenter: w.CostCenter}
	if c := w.Closed; c != nil {
		p.Signed, p.Rules = c.Signer != "", c.Rules.Files
	} else {
		for i, f := range w.Rules {
			p.Rules = append(p.Rules, publish.ManifestFile{Name: f.Name, Path: publish.RulePath(i, f.Name)})
		}
	}
	if err := w.figures(ctx, claim); err != nil {
		return err
	}
	views, err := p.text(viewsSQL)
	if err != nil {
		return err
	}
	p.Claim = *claim
	b, err := json.MarshalIndent(claim, "", "  ")
	if err != nil {
		return err
	}
	checks, err1 := p.text(checkSQL)
	way, err2 := p.text(arithmeticSQL)
	how, err3 := p.text(readme)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{"evidence.json", append(b, '\n')}, {"check.sql", slices.Concat(views, checks)},
		{"arithmetic.sql", slices.Concat(views, way)}, {"README.md", how}} {
		if err := w.out.Bytes(w.path(f.name), f.content); err != nil {
			return err
		}
	}
	if err := w.sums(); err != nil {
		return err
	}
	return w.check(ctx, string(slices.Concat(views, checks)))
}

// text fills in one of the folder's texts.
func (p page) text(from string) ([]byte, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"sql":     schemas.SQLString,
		"md":      func(s string) string { return markdown.Replace(words.Cell(s)) },
		"instant": words.Instant,
		"text": func(s *string) string {
			if s == nil {
				return "(none)"
			}
			return *s
		},
	}).Parse(from)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, p)
	return b.Bytes(), err
}

// markdown keeps a name from being more than a name on a page.
var markdown = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">",
	"&gt;", "|", `\|`, "#", `\#`, "&", "&amp;")

// figures reads what is posted to the cost centre off the journal.
func (w *writer) figures(ctx context.Context, claim *Claim) error {
	db, err := w.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT currency, ltrim(gl_code, ''''), amount::DECIMAL(38,12)::VARCHAR, posted
		FROM read_csv('month/journal.csv', all_varchar = true, header = true)
		WHERE entry = 'debit' AND ltrim(cost_center, '''') = ltrim(?, '''') ORDER BY 1, 2`, w.CostCenter)
	if err != nil {
		return err
	}
	defer rows.Close()
	claim.Figures = []Figure{}
	for rows.Next() {
		var f Figure
		if err := rows.Scan(&f.Currency, &f.GLCode, &f.Net, &f.Posted); err != nil {
			return err
		}
		claim.Figures = append(claim.Figures, f)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if len(claim.Figures) == 0 && claim.Records == 0 {
		return ErrNothing
	}
	// A closed month's is not in its manifest, and may be another by now. Where the journal names a code that no rule
	// gave, it is that.
	codes, err := db.QueryContext(ctx, `SELECT DISTINCT ltrim(gl_code, '''') FROM read_csv('month/journal.csv',
		all_varchar = true, header = true) WHERE entry = 'debit' AND ltrim(gl_code, '''') NOT IN (
		SELECT ltrim(gl_code, '''') FROM read_parquet('month/`+publish.LedgerFile+`') WHERE gl_code IS NOT NULL)`)
	if err != nil {
		return err
	}
	defer codes.Close()
	for codes.Next() {
		if err := codes.Scan(&w.GLCode); err != nil {
			return err
		}
	}
	if err := errors.Join(codes.Err(), codes.Close()); err != nil {
		return err
	}
	return db.QueryRowContext(ctx, "SELECT count(*) > 0 FROM read_parquet('month/"+publish.LedgerFile+
		"') WHERE cost_center = ? AND charge_class IS NOT NULL AND billing_month = ?", w.CostCenter,
		w.Month.Start()).Scan(&claim.Corrections)
}

// sums writes SHA256SUMS, as sha256sum -c reads it.
func (w *writer) sums() error {
	var lines []string
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(w.dir, path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		lines = append(lines, filepath.ToSlash(rel)+"\x00"+hex.EncodeToString(h.Sum(nil)))
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(lines)
	var b strings.Builder
	for _, l := range lines {
		path, sum, _ := strings.Cut(l, "\x00")
		fmt.Fprintf(&b, "%s  %s\n", sum, path)
	}
	return w.out.Bytes(w.path("SHA256SUMS"), []byte(b.String()))
}

// check runs check.sql as an auditor does.
func (w *writer) check(ctx context.Context, checks string) error {
	db, err := w.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, checks)
	if err != nil {
		return fmt.Errorf("check it: %w", err)
	}
	defer rows.Close()
	var wrong Unproven
	for rows.Next() {
		var check, detail string
		if err := rows.Scan(&check, &detail); err != nil {
			return err
		}
		if wrong.Count++; wrong.Count <= 5 {
			wrong.Failures = append(wrong.Failures, check+": "+detail)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("check it: %w", err)
	}
	if wrong.Count > 0 {
		return &wrong
	}
	return nil
}
