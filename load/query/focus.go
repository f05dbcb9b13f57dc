package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// The files that ExportFocus writes.
const (
	FocusParquet = "parquet"
	FocusCSV     = "csv"
)

// focusSince is the first layout of the published file whose views ExportFocus can read.
const focusSince = 8

// ErrClosedRecords says that rows by record are asked for of a closed month.
var ErrClosedRecords = errors.New("a closed month is kept by day and meter: there are no rows by record of it")

// FocusOptions say which part of which dataset of FOCUS is exported, and to where.
type FocusOptions struct {
	Dataset string // of schemas.FocusDatasets; "" is the first
	// Version of FOCUS: schemas.Focus12 or schemas.Focus14; "" is the former of Cost and Usage and the latter of the other
	// datasets, which 1.2 doesn't have.
	Version string
	// From and To are billing months, To excluded; nil leaves the side open. A correction belongs to
	// the month it is charged in, whenever the usage was.
	From, To *schemas.Month
	Scope    Scope  // whose charges; its time is From and To. Invoice Detail has accounts alone, Billing Period none
	Format   string // FocusParquet or FocusCSV; "" goes by the extension of Path
	// Path is the file, which is replaced by one rename; beside it stands STEM.metadata.json, which says what its columns
	// are, unless it is a pipe or a device. Else the bytes go to Out.
	Path string
	Out  io.Writer
	// Grain is what has a row of its own, of schemas.FocusGrains; "" is schemas.FocusByDay. Of closed months there are no
	// rows by record; of FOCUS 1.4 neither. The other datasets have none.
	Grain   string
	Columns []string // those that are written, in this order; nil is all, and none is refused
	// MaxRows and MaxBytes, if not 0, split a CSV into STEM-0001.csv and so on, each with the header and within both.
	MaxRows, MaxBytes int64
	// Raw leaves text of a CSV as it is, even where a spreadsheet would take it for a formula. A Parquet file has it so
	// always.
	Raw bool
}

// Validate reports every error at once.
func (o FocusOptions) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	v, cost := o.version(), o.dataset() == schemas.FocusCostAndUsage
	knownVersion, knownDataset, knownGrain := schemas.FocusView(v) != "",
		slices.Contains(schemas.FocusDatasets(), o.dataset()), slices.Contains(schemas.FocusGrains(), o.grain())
	switch {
	case !knownVersion:
		bad("FOCUS %q is not known: the versions are %s", v, strings.Join(schemas.FocusVersions(), " and "))
	case !knownDataset:
		bad("the dataset %q is not known: there are %s", o.Dataset, strings.Join(schemas.FocusDatasets(), ", "))
	case !cost && v != schemas.Focus14:
		bad("FOCUS %s has no dataset %s: it is there in %s", v, o.Dataset, schemas.Focus14)
	case !knownGrain:
		bad("the grain %q is not known: there are %s", o.Grain, strings.Join(schemas.FocusGrains(), ", "))
	case !cost && o.Grain != "":
		bad("the dataset %s has its own rows: a grain is for %s", o.Dataset, schemas.FocusCostAndUsage)
	case o.byRecord() && v != schemas.Focus12:
		bad("FOCUS %s has no rows by record: they are there in %s", v, schemas.Focus12)
	default:
		if o.Columns != nil && len(o.Columns) == 0 {
			bad("no column is named: name some, or leave the columns out for all")
		}
		columns := o.columns()
		for i, name := range o.Columns {
			if !slices.ContainsFunc(columns, func(c schemas.FocusColumn) bool { return c.Name == name }) {
				bad("FOCUS %s as it is exported has no column %q%s", v, name, o.instead(name))
			}
			if slices.Contains(o.Columns[:i], name) {
				bad("the column %s is asked for twice", name)
			}
		}
	}
	if !cost {
		rest := o.Scope
		if o.Dataset == schemas.FocusInvoiceDetail {
			rest.Accounts = nil
		}
		for _, d := range ScopeDimensions {
			if len(*rest.Values(d)) > 0 {
				bad("the dataset %s can't be narrowed by %s", o.Dataset, d)
			}
		}
	}
	if f := o.format(); f != FocusParquet && f != FocusCSV {
		bad("the format %q is not known: it is %s or %s", f, FocusParquet, FocusCSV)
	}
	if (o.Path == "") == (o.Out == nil) {
		bad("a FOCUS export goes either to a file or to a writer")
	}
	switch {
	case o.MaxRows < 0 || o.MaxBytes < 0:
		bad("the most rows and bytes of a file are above 0")
	case o.split() && o.format() != FocusCSV:
		bad("only a csv is split into several files")
	case o.split() && o.Path == "":
		bad("several files need a name: stdout is one")
	}
	if o.From != nil && o.To != nil && *o.To <= *o.From {
		bad("no billing month lies between %s and %s (the end is excluded)", o.From, o.To)
	}
	return errors.Join(errs...)
}

func (o FocusOptions) dataset() string { return cmp.Or(o.Dataset, schemas.FocusCostAndUsage) }

func (o FocusOptions) version() string {
	if o.Version == "" && o.dataset() != schemas.FocusCostAndUsage {
		return schemas.Focus14
	}
	return cmp.Or(o.Version, schemas.Focus12)
}

func (o FocusOptions) grain() string { return cmp.Or(o.Grain, schemas.FocusByDay) }

func (o FocusOptions) byRecord() bool { return o.Grain == schemas.FocusByRecord }

func (o FocusOptions) split() bool { return o.MaxRows != 0 || o.MaxBytes != 0 }

func (o FocusOptions) format() string {
	if o.Format == "" {
		return strings.ToLower(strings.TrimPrefix(filepath.Ext(o.Path), "."))
	}
	return o.Format
}

// columns are those that could be written.
func (o FocusOptions) columns() []schemas.FocusColumn {
	switch {
	case o.dataset() != schemas.FocusCostAndUsage:
		return schemas.FocusDatasetColumns(o.Dataset)
	case o.byRecord():
		return append(schemas.FocusColumns(o.version()), schemas.FocusRecordColumns()...)
	}
	return schemas.FocusColumns(o.version())
}

// instead says of a column that isn't there why, or which was meant.
func (o FocusOptions) instead(name string) string {
	if o.dataset() == schemas.FocusCostAndUsage {
		for _, c := range schemas.FocusSpec(o.version()) {
			if c.Name == name && c.Absent != "" {
				return ": " + c.Absent
			}
		}
	}
	names := []string{}
	for _, c := range o.columns() {
		names = append(names, c.Name)
	}
	return cmp.Or(words.Nearest(name, names), ": docs/focus.md lists them")
}

// Name is what the file is called that nobody names, focus-VERSION[-DATASET][-GRAIN]-PERIOD[-SCOPE].FORMAT: exports of
// different rows have different names, on every file system. Columns and limits leave it as it is.
func (o FocusOptions) Name(period string) string {
	parts := []string{"focus", o.version()}
	if o.dataset() != schemas.FocusCostAndUsage {
		parts = append(parts, o.dataset())
	}
	if o.grain() != schemas.FocusByDay {
		parts = append(parts, o.grain())
	}
	parts = append(parts, period)
	var scope []string
	for _, d := range ScopeDimensions {
		if values := slices.Compact(slices.Sorted(slices.Values(*o.Scope.Values(d)))); len(values) > 0 {
			scope = append(scope, fmt.Sprintf("%s %q", d, values))
		}
	}
	if len(scope) > 0 {
		parts = append(parts, words.FileName(strings.Join(scope, " "), "scope"))
	}
	return strings.Join(parts, "-") + "." + o.format()
}

// between is the condition that a month, an expression of SQL, lies in what is asked for.
func (o FocusOptions) between(month string) string {
	cond := o.Scope.Where()
	if o.Scope.Owned() { // a pool isn't split here, and is no owner's
		cond += " AND pool IS NULL"
	}
	return cond + " AND " + o.months(month)
}

// months is the condition that a month lies in the time that is asked for.
func (o FocusOptions) months(month string) string {
	cond := "true"
	if o.From != nil {
		cond += fmt.Sprintf(" AND %s >= DATE '%s'", month, o.From.First())
	}
	if o.To != nil {
		cond += fmt.Sprintf(" AND %s < DATE '%s'", month, o.To.First())
	}
	return cond
}

// omitted is the condition on focus_omitted, which knows accounts and models alone.
func (o FocusOptions) omitted() string {
	o.Scope = Scope{Accounts: o.Scope.Accounts, Models: o.Scope.Models}
	return o.between("billing_month")
}

// query gives the rows in an order that is the same every time.
func (o FocusOptions) query() string {
	var rows string
	by := []string{"BillingPeriodStart", "ChargePeriodStart", "BillingAccountId", "BillingCurrency", "SkuId"}
	switch {
	case o.dataset() != schemas.FocusCostAndUsage:
		rows = "FROM " + schemas.FocusDatasetView(o.Dataset) + " WHERE " +
			o.months("month_of(book_date_of(BillingPeriodStart))")
		by = []string{"BillingPeriodStart"}
		if accounts := o.Scope.Accounts; len(accounts) > 0 {
			quoted := make([]string, len(accounts))
			for i, a := range accounts {
				quoted[i] = schemas.SQLString(a)
			}
			rows += " AND BillingAccountId IN (" + strings.Join(quoted, ", ") + ")"
		}
	case o.byRecord():
		rows = schemas.FocusSelectRecords("(FROM focus_lines WHERE NOT closed AND " + o.between("usage_month") + ")")
		by = append(by, "x_RequestTime", "x_RequestId", "x_RequestOrdinal")
	default:
		charges := schemas.FocusCharges(o.between("billing_month"))
		if o.grain() != schemas.FocusByDay {
			charges = schemas.FocusSum(o.Grain, charges)
		}
		rows = schemas.FocusSelect(o.version(), charges)
	}
	// The columns that tell rows apart first, then all others: rows that are equal in all of them can change places
	// unseen.
	for _, c := range o.columns() {
		by = append(by, c.Name)
	}
	columns := "*"
	if len(o.Columns) > 0 {
		columns = `"` + strings.Join(o.Columns, `", "`) + `"`
	}
	return "SELECT " + columns + " FROM (" + rows + `) ORDER BY "` + strings.Join(by, `", "`) + `"`
}

// FocusExport is what ExportFocus wrote.
type FocusExport struct {
	Rows int64
	// Omitted is the number of records of the months that FOCUS has no row for, since they lack an amount or a currency.
	// The view focus_omitted has them.
	Omitted  int64
	Files    []string // the paths of the data; none where it went to a writer
	Metadata string   // the path of what says what the data is; "" where it went to a writer, a pipe or a device
}

// ExportFocus writes a dataset of FOCUS from the published file, which it only reads.
//
// A Parquet file has decimals as DECIMAL and times as timestamps in UTC. A CSV is what Rows.WriteCSV writes: decimals
// with all the decimals that their column has, times like 2026-11-01T00:00:00Z, NULL as an empty field. All files are
// whole before the first has its name, so that what fails until then leaves what stood there. The renames follow one
// another, the metadata's last: what is cut short among them, as by a crash, may leave new files beside old ones, which
// the next export puts right. Files that the export before wrote and this one doesn't go, so that an importer counts
// nothing twice; others are never touched: where they are in the way it is a *FocusError.
func ExportFocus(ctx context.Context, l *publish.Lake, opts FocusOptions) (FocusExport, error) {
	if err := opts.Validate(); err != nil {
		return FocusExport{}, err
	}
	done, err := exportFocus(ctx, l, opts)
	if err != nil {
		return FocusExport{}, fmt.Errorf("export FOCUS %s: %w", opts.version(), err)
	}
	return done, nil
}

func exportFocus(ctx context.Context, l *publish.Lake, opts FocusOptions) (done FocusExport, err error) {
	place, err := opts.place()
	if err != nil {
		return done, err
	}
	draft, s, drop, err := opts.open(ctx, l)
	if err != nil {
		return done, err
	}
	defer drop()
	defer func() { err = errors.Join(err, s.Close()) }()
	// A file of before there was FOCUS in it has no such views.
	layout, err := s.number(ctx, "SELECT schema_version FROM meta")
	if err != nil {
		return done, err
	}
	if layout < focusSince {
		return done, fmt.Errorf("the published file has no such FOCUS views: an older version made it\nhint: usagelake "+
			"rebuild --lake %s", l.Dir())
	}
	if opts.byRecord() {
		closed, err := s.number(ctx, `SELECT count(*) FROM closed_months WHERE `+opts.months(`"month"`))
		if err != nil {
			return done, err
		}
		if closed > 0 {
			return done, ErrClosedRecords
		}
	}
	if opts.dataset() == schemas.FocusCostAndUsage {
		if done.Omitted, err = s.number(ctx,
			"SELECT coalesce(sum(requests), 0)::BIGINT FROM focus_omitted WHERE "+opts.omitted()); err != nil {
			return done, err
		}
	}
	meta, err := opts.metadata(ctx, s, opts.query())
	if err != nil {
		return done, err
	}
	if opts.Path == "" {
		done.Rows, err = focusStream(ctx, s, draft, opts, meta)
		return done, err
	}
	files, rows, err := focusData(ctx, l, s, draft, opts, place, &meta)
	defer func() {
		for _, f := range files {
			f.Abort()
		}
	}()
	if err != nil {
		return done, err
	}
	// Until here no file has its name, and Abort, which does nothing after Commit, drops all of them.
	done.Rows, done.Metadata = rows, place.metadata
	for _, f := range files {
		done.Files = append(done.Files, f.Path)
	}
	return done, place.commit(l.Out(), files, meta)
}

// open opens the snapshot that all of an export is of. A Parquet file is written by DuckDB, which may write into that
// file alone, so it is made before: draft, nil of a CSV. One for a writer goes there from a file in the lake's .tmp.
// drop lets go of a draft that wasn't committed.
func (o FocusOptions) open(ctx context.Context, l *publish.Lake) (draft *durable.OutFile, s *Snapshot, drop func(),
	err error) {
	if o.format() != FocusParquet {
		s, err = OpenSnapshot(ctx, l)
		return nil, s, func() {}, err
	}
	path, scratched := o.Path, func() {}
	if path == "" {
		dir, done, err := l.Scratch()
		if err != nil {
			return nil, nil, nil, err
		}
		path, scratched = filepath.Join(dir, "focus.parquet"), done
	}
	if draft, s, err = draftParquet(ctx, l, path); err != nil {
		scratched()
		return nil, nil, nil, err
	}
	return draft, s, func() { draft.Abort(); scratched() }, nil
}

// focusData writes the rows into files that have no names yet; those that it returns are for commit or abort, with an
// error too.
func focusData(ctx context.Context, l *publish.Lake, s *Snapshot, draft *durable.OutFile, opts FocusOptions,
	place focusPlace, meta *focusMetadata) (files []*durable.OutFile, n int64, err error) {
	if draft != nil {
		n, err := s.copyTo(ctx, draft, opts.query(), meta.copyOption())
		return []*durable.OutFile{draft}, n, err
	}
	rows, err := s.Query(ctx, opts.query())
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if opts.split() {
		files, meta.DataLocation, err = rows.splitCSV(ctx, l.Out(), opts, place)
		for _, f := range meta.DataLocation {
			n += f.Rows
		}
		return files, n, err
	}
	f, err := l.Out().Draft(opts.Path, func(w io.Writer) error {
		n, err = rows.WriteCSV(ctx, w, CSVForm{Raw: opts.Raw})
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return []*durable.OutFile{f}, n, nil
}

// focusStream writes the rows to a writer.
func focusStream(ctx context.Context, s *Snapshot, draft *durable.OutFile, opts FocusOptions,
	meta focusMetadata) (n int64, err error) {
	if draft != nil {
		if n, err = s.copyTo(ctx, draft, opts.query(), meta.copyOption()); err != nil {
			return 0, err
		}
		f, err := os.Open(draft.Name())
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(opts.Out, f)
		return n, errors.Join(err, f.Close())
	}
	rows, err := s.Query(ctx, opts.query())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	return rows.WriteCSV(ctx, opts.Out, CSVForm{Raw: opts.Raw})
}

// number is the single whole number that a query gives.
func (s *Snapshot) number(ctx context.Context, query string) (n int64, err error) {
	rows, err := s.Query(ctx, query)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for row, err := range rows.All(ctx) {
		if err != nil {
			return 0, err
		}
		if n, err = strconv.ParseInt(row[0].Text, 10, 64); err != nil {
			return 0, err
		}
	}
	return n, nil
}
