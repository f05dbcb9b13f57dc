package pack

import (
	"archive/zip"
	"cmp"
	"context"
	"crypto/sha256"
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
	"time"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Dir is the lake's folder of packages: a folder MONTH with those of a closed month, and MONTH.json, Deliveries.
const Dir = "packages"

const (
	indexName    = "index.json"    // of a month's packages
	manifestName = "manifest.json" // of a package
	formatNow    = 1
)

// Options say of what packages are made, and how.
type Options struct {
	Closed  publish.ClosedMonth
	Books   *schemas.Books // that the month is charged by
	Posting posting.Settings
	Formats []string // of posting.Names: as which ledgers import the journal's lines
	// EndUsers says what the records have in place of end users' ids.
	EndUsers query.EndUsers
	// Derive makes a lake that has the days of the month alone, as it was closed; done removes it. It is asked only if
	// there is something to make.
	Derive func(context.Context) (derived *publish.Lake, done func(), err error)
	// Progress is told how many packages are made, of how many; nil: nobody is.
	Progress func(done, total int)
}

// Index is what index.json says: which packages there are, and of what they were made.
type Index struct {
	Format   int           `json:"format"`
	Month    schemas.Month `json:"month"`
	Period   string        `json:"period"`                // what the books call it
	Closed   string        `json:"month_manifest_sha256"` // of the closed month
	Settings string        `json:"settings"`              // digest of the Posting, Formats and EndUsers
	Packages []Package     `json:"packages"`

	dir string
}

// Package is what a cost centre is handed: the folder Name, and the zip of the same files, Name.zip.
type Package struct {
	CostCenter string  `json:"cost_center"`
	Name       string  `json:"name"`
	Bytes      int64   `json:"bytes"`  // of the zip
	SHA256     string  `json:"sha256"` // of the zip
	Totals     []Total `json:"totals"`
	Posted     []Sum   `json:"posted"`
	Files      []File  `json:"files"` // of the folder, manifest.json included
}

// Folder and Zip are the paths of a package.
func (x *Index) Folder(p Package) string { return filepath.Join(x.dir, p.Name) }

// Zip is the path of a package's zip.
func (x *Index) Zip(p Package) string { return x.Folder(p) + ".zip" }

// Manifest is the path of a package's manifest.json.
func (x *Index) Manifest(p Package) string { return filepath.Join(x.Folder(p), manifestName) }

// File is a file of a package.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Total is what a cost centre is charged in a currency: Net = Direct + Shared + Corrections. Amounts are exact; nil
// where there is none.
type Total struct {
	Currency    *string `json:"currency"`
	Records     int64   `json:"records"` // lines of the records
	Direct      *string `json:"direct_cost"`
	Shared      *string `json:"shared_cost"`
	Corrections *string `json:"corrections"`
	List        *string `json:"list_cost"`
	Discount    *string `json:"discount"`
	Net         *string `json:"net_cost"`
	Markup      *string `json:"markup"` // what is charged on top of Net
	// Book is Net in the currency of the books, BookCurrency; nil if they have none.
	BookCurrency *string `json:"book_currency,omitempty"`
	Book         *string `json:"book_cost,omitempty"`
}

// Sum is what the journal's lines of a cost centre come to, in whole minor units of the currency that is posted.
type Sum struct {
	Currency string `json:"currency"`
	Amount   string `json:"amount"`
}

// Manifest is what a package says of itself, for programs.
type Manifest struct {
	Format     int           `json:"format"`
	Month      schemas.Month `json:"month"`
	Period     string        `json:"period"`
	CostCenter string        `json:"cost_center"`
	ClosedAt   time.Time     `json:"closed_at"`
	Edition    int           `json:"statement_version"`
	Closed     string        `json:"month_manifest_sha256"` // of the closed month
	Totals     []Total       `json:"totals"`
	Posted     []Sum         `json:"posted"`
	Files      []File        `json:"files"` // beside this one
}

// Make makes the packages of a closed month, unless they are there: made of the same month, with the same settings, and
// as they were made. The caller holds the lock of the lake's packages. made says whether anything was made.
func Make(ctx context.Context, lake *publish.Lake, opts Options) (x *Index, made bool, err error) {
	settings, err := opts.digest()
	if err != nil {
		return nil, false, err
	}
	x, err = Read(lake, opts.Closed.Month)
	switch {
	case err != nil:
		return nil, false, err
	case x != nil && x.Closed == opts.Closed.Digest && x.Settings == settings && x.intact(lake):
		return x, false, nil
	}
	m := &maker{Options: opts, lake: lake, out: lake.Out(), settings: settings,
		dir: lake.Path(Dir, ".making-"+opts.Closed.Month.String())}
	m.out.New = true
	if err := m.make(ctx); err != nil {
		return nil, false, fmt.Errorf("packages of %s: %w", opts.Closed.Name(), durable.Full(err, lake.Dir()))
	}
	x, err = Read(lake, opts.Closed.Month)
	if err == nil && x == nil {
		err = fmt.Errorf("packages of %s: %s is gone", opts.Closed.Name(), lake.Path(Dir, opts.Closed.Month.String()))
	}
	return x, true, err
}

// digest is that of what packages are made by.
func (o Options) digest() (string, error) {
	settings := struct {
		Posting  posting.Settings
		Formats  []string
		EndUsers string `json:",omitempty"`
	}{Posting: o.Posting, Formats: o.Formats}
	if !o.EndUsers.Kept() { // left out else, so that packages of before there was a choice stay as they are
		settings.EndUsers = o.EndUsers.Digest()
	}
	b, err := json.Marshal(settings)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), err
}

// Read is the index of a month's packages; nil if there are none, or what is there is no index: they are made anew.
func Read(lake *publish.Lake, month schemas.Month) (*Index, error) {
	dir := lake.Path(Dir, month.String())
	b, err := lake.FS.ReadFile(filepath.Join(dir, indexName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	x := &Index{dir: dir}
	if json.Unmarshal(b, x) != nil || x.Format != formatNow || x.Month != month {
		return nil, nil
	}
	return x, nil
}

// intact says whether the packages are as they were made.
func (x *Index) intact(lake *publish.Lake) bool {
	for _, p := range x.Packages {
		if !filepath.IsLocal(p.Name) || p.Intact(lake, x.Folder(p)) != nil {
			return false
		}
	}
	return true
}

// Intact says what of a package isn't as it was made, in a folder with its zip beside; nil if all of it is.
func (p Package) Intact(lake *publish.Lake, folder string) error {
	for _, f := range append(slices.Clone(p.Files), File{Path: "../" + filepath.Base(folder) + ".zip", SHA256: p.SHA256}) {
		sum, err := lake.Digest(filepath.Join(folder, filepath.FromSlash(f.Path)))
		if err != nil {
			return err
		}
		if sum != f.SHA256 {
			return fmt.Errorf("%s: it isn't as it was made", filepath.Join(folder, f.Path))
		}
	}
	return nil
}

type maker struct {
	Options
	lake     *publish.Lake
	out      durable.Out
	settings string
	dir      string // of what is being made
	records  *query.Parts
	entries  []posting.Entry
}

func (m *maker) make(ctx context.Context) error {
	if err := m.lake.MakeDirs(m.lake.Path(Dir)); err != nil {
		return err
	}
	// What one that was killed has left.
	if err := m.lake.FS.RemoveAll(m.dir); err != nil {
		return err
	}
	defer func() { _ = m.lake.FS.RemoveAll(m.dir) }()
	if err := m.lake.MakeDirs(m.dir); err != nil {
		return err
	}
	charged, err := m.charged(ctx)
	if err != nil {
		return err
	}
	x := Index{Format: formatNow, Month: m.Closed.Month, Period: m.Closed.Name(), Closed: m.Closed.Digest,
		Settings: m.settings, Packages: []Package{}}
	if len(charged) > 0 {
		if x.Packages, err = m.packages(ctx, charged); err != nil {
			return err
		}
	}
	b, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	if err := m.out.Bytes(filepath.Join(m.dir, indexName), append(b, '\n')); err != nil {
		return err
	}
	return m.install(ctx)
}

// install puts what was made in the place of what was there. A kill in between leaves none, and the next run makes
// them.
func (m *maker) install(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	target, old := m.lake.Path(Dir, m.Closed.Month.String()), m.dir+"-old"
	if err := m.lake.FS.RemoveAll(old); err != nil {
		return err
	}
	if err := m.lake.FS.Rename(target, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := m.lake.SyncDir(m.dir)
	if err == nil {
		err = m.lake.FS.Rename(m.dir, target)
	}
	if err == nil {
		err = m.lake.SyncDir(m.lake.Path(Dir))
	}
	if err != nil {
		return err
	}
	return m.lake.FS.RemoveAll(old)
}

// charged are the cost centres that are charged in the month, and how much: what their statements say. They are asked
// of the published file, which has the rows of the closed month's ledger once it was published after the close.
func (m *maker) charged(ctx context.Context) ([]Package, error) {
	var out []Package
	err := m.each(ctx, fmt.Sprintf(`
		SELECT cost_center, currency, sum(net_cost) FILTER (pool IS NULL AND charge_class IS NULL),
			sum(net_cost) FILTER (pool IS NOT NULL AND charge_class IS NULL),
			sum(net_cost) FILTER (charge_class IS NOT NULL), sum(list_cost), sum(discount), sum(net_cost), book_currency,
			book_sum(book_cost, net_cost)
		FROM chargeback_daily WHERE billing_month = DATE '%[1]s'
			AND (SELECT manifest_sha256 FROM closed_months WHERE "month" = DATE '%[1]s') = '%[2]s'
		GROUP BY cost_center, currency, book_currency ORDER BY cost_center, currency`,
		m.Closed.Month.First(), m.Closed.Digest), func(row []query.Value) error {
		if n := len(out); n == 0 || out[n-1].CostCenter != row[0].Text {
			out = append(out, m.of(row[0].Text))
		}
		t := Total{Currency: text(row[1]), Direct: text(row[2]), Shared: text(row[3]), Corrections: text(row[4]),
			List: text(row[5]), Discount: text(row[6]), Net: text(row[7]), BookCurrency: text(row[8]), Book: text(row[9])}
		p := &out[len(out)-1]
		p.Totals = append(p.Totals, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(out) == 0 && len(m.Closed.Totals) > 0 {
		return nil, fmt.Errorf("what is published isn't of the month as it was closed\nhint: usagelake allocation apply   " +
			"(publishes it)")
	}
	if out, err = m.marked(ctx, out); err != nil {
		return nil, err
	}
	return out, m.posted(ctx, out)
}

// marked adds what is charged on top, also to cost centres and in currencies that nothing else is charged in.
func (m *maker) marked(ctx context.Context, charged []Package) ([]Package, error) {
	err := m.each(ctx, fmt.Sprintf(`SELECT cost_center, currency, markup FROM markup_monthly WHERE "month" = DATE '%s'
		ORDER BY cost_center, currency`, m.Closed.Month.First()), func(row []query.Value) error {
		center, currency := row[0].Text, text(row[1])
		t := total(charged, center, currency)
		if t == nil {
			i := slices.IndexFunc(charged, func(p Package) bool { return p.CostCenter == center })
			if i < 0 {
				i = len(charged)
				charged = append(charged, m.of(center))
			}
			charged[i].Totals = append(charged[i].Totals, Total{Currency: currency})
			t = &charged[i].Totals[len(charged[i].Totals)-1]
		}
		t.Markup = text(row[2])
		return nil
	})
	slices.SortFunc(charged, func(a, b Package) int { return strings.Compare(a.CostCenter, b.CostCenter) })
	return charged, err
}

// posted adds what is posted of each.
func (m *maker) posted(ctx context.Context, charged []Package) error {
	return m.each(ctx, fmt.Sprintf(`SELECT cost_center, currency, sum(posted) FROM chargeback_journal
		WHERE "month" = DATE '%s' AND entry = 'debit' AND currency IS NOT NULL GROUP BY ALL ORDER BY ALL`,
		m.Closed.Month.First()), func(row []query.Value) error {
		amount, err := schemas.ParseMoney(row[2].Text)
		if err != nil {
			return err
		}
		for i := range charged {
			if charged[i].CostCenter == row[0].Text {
				charged[i].Posted = append(charged[i].Posted, Sum{row[1].Text, amount.In(row[1].Text).Posted()})
			}
		}
		return nil
	})
}

// each asks the published file, and does something with each row.
func (m *maker) each(ctx context.Context, sql string, do func(row []query.Value) error) error {
	rows, err := query.Run(ctx, m.lake, sql)
	if err != nil {
		return err
	}
	return rows.Each(ctx, do)
}

// of is the package of a cost centre, before it is made.
func (m *maker) of(costCenter string) Package {
	return Package{CostCenter: costCenter, Posted: []Sum{},
		Name: "statement-" + m.Closed.Name() + "-" + report.StatementFile(costCenter)}
}

func text(v query.Value) *string {
	if v.Null {
		return nil
	}
	return &v.Text
}

// packages makes the package of each, and says what it is.
func (m *maker) packages(ctx context.Context, of []Package) ([]Package, error) {
	derived, done, err := m.Derive(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if m.records, err = query.OpenParts(ctx, derived, recordsSQL(m.Books, m.Closed.Month),
		filepath.Join(filepath.Dir(derived.Dir()), "records.parquet"), m.EndUsers); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	defer m.records.Close()
	if err := m.tally(ctx, of); err != nil {
		return nil, err
	}
	if len(m.Formats) > 0 {
		if m.entries, err = report.Entries(ctx, m.lake, m.Closed.Month, m.Posting); err != nil {
			return nil, err
		}
	}
	for i := range of {
		if m.Progress != nil {
			m.Progress(i, len(of))
		}
		if err := cmp.Or(context.Cause(ctx), m.write(ctx, &of[i])); err != nil {
			return nil, fmt.Errorf("%s: %w", words.Cell(of[i].CostCenter), err)
		}
	}
	if m.Progress != nil {
		m.Progress(len(of), len(of))
	}
	return of, nil
}

// tally counts the records of each cost centre, and holds their costs against what is charged: records + parts of pools
// + corrections = charged, to the last digit, or there are no packages.
func (m *maker) tally(ctx context.Context, of []Package) error {
	rows, err := m.records.Query(ctx, `SELECT cost_center, currency, count(*), sum(net_cost) FILTER (pool IS NULL),
		sum(net_cost) FILTER (pool IS NOT NULL) FROM parts GROUP BY ALL ORDER BY ALL`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for row, err := range rows.All(ctx) {
		if err != nil {
			return err
		}
		t := total(of, row[0].Text, text(row[1]))
		if t == nil {
			return fmt.Errorf("there are records of %s, who is charged nothing\nhint: usagelake verify", words.Cell(row[0].Text))
		}
		if _, err := fmt.Sscan(row[2].Text, &t.Records); err != nil {
			return err
		}
		for _, c := range []struct {
			what          string
			charged, held *string
		}{{"directly", t.Direct, text(row[3])}, {"by shares of pools", t.Shared, text(row[4])}} {
			if !same(c.charged, c.held) {
				return fmt.Errorf("%s is charged %s %s, and its records come to %s\nhint: usagelake verify",
					words.Cell(row[0].Text), or(c.charged), c.what, or(c.held))
			}
		}
	}
	for _, p := range of {
		for _, t := range p.Totals {
			if t.Records == 0 && (t.Direct != nil || t.Shared != nil) {
				return fmt.Errorf("%s is charged, and there are no records of it\nhint: usagelake verify", words.Cell(p.CostCenter))
			}
		}
	}
	return nil
}

func total(of []Package, costCenter string, currency *string) *Total {
	for i := range of {
		for j := range of[i].Totals {
			if of[i].CostCenter == costCenter && same(of[i].Totals[j].Currency, currency) {
				return &of[i].Totals[j]
			}
		}
	}
	return nil
}

func same(a, b *string) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

func or(s *string) string {
	if s == nil {
		return "nothing"
	}
	return words.Cell(*s)
}

// write writes a package.
func (m *maker) write(ctx context.Context, p *Package) error {
	dir := filepath.Join(m.dir, p.Name)
	if err := m.lake.MakeDirs(dir); err != nil {
		return err
	}
	if err := m.statement(p.CostCenter, dir); err != nil {
		return err
	}
	records := recordsOf(p.CostCenter)
	err := m.records.Parquet(ctx, records, filepath.Join(dir, "records.parquet"), m.out)
	if err == nil {
		err = m.records.CSV(ctx, records, filepath.Join(dir, "records.csv"), m.out)
	}
	if err == nil {
		err = m.corrections(ctx, *p, dir)
	}
	if err == nil {
		err = durable.WriteOut(filepath.Join(dir, "journal.csv"), m.out, func(w io.Writer) error {
			return report.JournalCSV(ctx, m.lake, m.Closed.Month, &p.CostCenter, w)
		})
	}
	if err != nil {
		return err
	}
	ledger, err := posting.Write(posting.Of(m.entries, p.CostCenter, m.Posting), m.Posting, m.Formats)
	if err != nil {
		return err
	}
	for _, f := range ledger {
		if err := m.out.Bytes(filepath.Join(dir, f.Name), f.Content); err != nil {
			return err
		}
	}
	return m.seal(p, dir)
}

// statement copies the statement as the month was closed with it.
func (m *maker) statement(costCenter, dir string) error {
	for _, ext := range []string{".csv", ".html", ".xlsx"} {
		name := "cost-centers/" + report.StatementFile(costCenter) + ext
		i := slices.IndexFunc(m.Closed.Files, func(f publish.ManifestFile) bool { return f.Path == name })
		if i < 0 {
			return fmt.Errorf("the month was closed without the statement %s", name)
		}
		from := filepath.Join(m.Closed.Dir, filepath.FromSlash(name))
		b, err := m.lake.FS.ReadFile(from)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != m.Closed.Files[i].SHA256 {
			return fmt.Errorf("%s isn't what the month was closed with\nhint: restore it from a backup", from)
		}
		if err := m.out.Bytes(filepath.Join(dir, "statement"+ext), b); err != nil {
			return err
		}
	}
	return nil
}

// corrections writes what is charged for months that were closed before, which has no records here; nothing where there
// is none.
func (m *maker) corrections(ctx context.Context, p Package, dir string) error {
	if !slices.ContainsFunc(p.Totals, func(t Total) bool { return t.Corrections != nil }) {
		return nil
	}
	rows, err := query.Run(ctx, m.lake, fmt.Sprintf(`SELECT period_of(month_of(book_date)) AS corrects, book_date, account,
			model, model_type, record_kind, pool, rule_id, rule_version, team, project, environment, gl_code, currency,
			list_cost, discount, net_cost
		FROM chargeback_daily WHERE billing_month = DATE '%s' AND charge_class IS NOT NULL AND cost_center = %s ORDER BY ALL`,
		m.Closed.Month.First(), schemas.SQLString(p.CostCenter)))
	if err != nil {
		return err
	}
	defer rows.Close()
	return durable.WriteOut(filepath.Join(dir, "corrections.csv"), m.out, func(w io.Writer) error {
		_, err := rows.WriteCSV(ctx, w, query.CSVForm{})
		return err
	})
}

// seal writes the manifest of a package, and the zip.
func (m *maker) seal(p *Package, dir string) error {
	files, err := m.files(dir)
	if err != nil {
		return err
	}
	edition := max(m.Closed.Edition, 1)
	b, err := json.MarshalIndent(Manifest{Format: formatNow, Month: m.Closed.Month, Period: m.Closed.Name(),
		CostCenter: p.CostCenter, ClosedAt: m.Closed.ClosedAt, Edition: edition, Closed: m.Closed.Digest, Totals: p.Totals,
		Posted: p.Posted, Files: files}, "", "  ")
	if err != nil {
		return err
	}
	if err := m.out.Bytes(filepath.Join(dir, manifestName), append(b, '\n')); err != nil {
		return err
	}
	if p.Files, err = m.files(dir); err != nil {
		return err
	}
	path := dir + ".zip"
	if err := durable.WriteOut(path, m.out, func(w io.Writer) error { return m.zip(w, *p, dir) }); err != nil {
		return err
	}
	info, err := m.lake.FS.Stat(path)
	if err != nil {
		return err
	}
	p.Bytes = info.Size()
	p.SHA256, err = m.lake.Digest(path)
	return err
}

// files are those of a package, in order of their names.
func (m *maker) files(dir string) ([]File, error) {
	entries, err := m.lake.FS.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []File
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		sum, err := m.lake.Digest(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		out = append(out, File{e.Name(), info.Size(), sum})
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// zip writes the folder as an archive: its files in order, with the time of the close, so that the same files give the
// same archive.
func (m *maker) zip(w io.Writer, p Package, dir string) error {
	z := zip.NewWriter(w)
	for _, f := range p.Files {
		to, err := z.CreateHeader(&zip.FileHeader{Name: p.Name + "/" + f.Path, Method: zip.Deflate,
			Modified: m.Closed.ClosedAt.UTC()})
		if err != nil {
			return err
		}
		from, err := os.Open(filepath.Join(dir, f.Path))
		if err != nil {
			return err
		}
		_, err = io.Copy(to, from)
		if err := errors.Join(err, from.Close()); err != nil {
			return err
		}
	}
	return z.Close()
}
