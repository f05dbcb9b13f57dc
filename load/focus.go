package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/schemas"
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
	// Version of FOCUS: schemas.Focus12 or schemas.Focus14; "" is the former of Cost and Usage and the latter of the other datasets,
	// which 1.2 doesn't have.
	Version string
	// From and To are the first days of billing months, To excluded; nil leaves the side open. A correction belongs to
	// the month it is charged in, whenever the usage was.
	From, To *schemas.Date
	Scope    Scope  // whose charges; its time is From and To. Invoice Detail has accounts alone, Billing Period none
	Format   string // FocusParquet or FocusCSV; "" goes by the extension of Path
	// Path is the file, which is replaced by one rename; beside it stands STEM.metadata.json, which says what its columns are. Else the
	// bytes go to Out.
	Path string
	Out  io.Writer
	// Grain is what has a row of its own, of schemas.FocusGrains; "" is schemas.FocusByDay. Of closed months there are no rows
	// by record; of FOCUS 1.4 neither. The other datasets have none.
	Grain   string
	Columns []string // those that are written, in this order; nil is all
	// MaxRows and MaxBytes, if not 0, split a CSV into STEM-0001.csv and so on, each with the header and within both.
	MaxRows, MaxBytes int64
	// Raw leaves text of a CSV as it is, even where a spreadsheet would take it for a formula. A Parquet file has it so always.
	Raw bool
}

// Validate reports every error at once.
func (o FocusOptions) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	v, cost := o.version(), o.dataset() == schemas.FocusCostAndUsage
	knownVersion, knownDataset, knownGrain := schemas.FocusView(v) != "", slices.Contains(schemas.FocusDatasets(), o.dataset()), slices.Contains(schemas.FocusGrains(), o.grain())
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
		columns := o.columns()
		for i, name := range o.Columns {
			if !slices.ContainsFunc(columns, func(c schemas.FocusColumn) bool { return c.Name == name }) {
				bad("FOCUS %s as it is exported has no column %q: docs/focus.md lists them", v, name)
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
	for _, m := range []*schemas.Date{o.From, o.To} {
		if m != nil && schemas.MonthOf(*m) != *m {
			bad("FOCUS is exported by billing month: %s is not the first day of a month", *m)
		}
	}
	if o.From != nil && o.To != nil && *o.To <= *o.From {
		bad("no billing month lies between %s and %s (the end is excluded)", o.From.Month(), o.To.Month())
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
		cond += fmt.Sprintf(" AND %s >= DATE '%s'", month, *o.From)
	}
	if o.To != nil {
		cond += fmt.Sprintf(" AND %s < DATE '%s'", month, *o.To)
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
		rows = "FROM " + schemas.FocusDatasetView(o.Dataset) + " WHERE " + o.months("make_timestamp(epoch_us(BillingPeriodStart))::DATE")
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
		charges := "(FROM focus_charges WHERE " + o.between("billing_month") + ")"
		if o.grain() != schemas.FocusByDay {
			charges = schemas.FocusSum(o.Grain, charges)
		}
		rows = schemas.FocusSelect(o.version(), charges)
	}
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
	// Omitted is the number of records of the months that FOCUS has no row for, since they lack an amount or a currency. The view
	// focus_omitted has them.
	Omitted int64
	// Files are the paths of the data and, last, of its metadata; none where it went to a writer.
	Files []string
}

// ExportFocus writes a dataset of FOCUS from the published file, which it only reads.
//
// A Parquet file has decimals as DECIMAL and times as timestamps in UTC. A CSV is what Rows.WriteCSV writes: decimals with all the
// decimals that their column has, times like 2026-11-01T00:00:00Z, NULL as an empty field.
// If it fails there is no new file. Of a CSV in several files those with a higher number go that an export before left.
func (l *Lake) ExportFocus(ctx context.Context, opts FocusOptions) (FocusExport, error) {
	if err := opts.Validate(); err != nil {
		return FocusExport{}, err
	}
	done, err := l.exportFocus(ctx, opts)
	if err != nil {
		return FocusExport{}, fmt.Errorf("export FOCUS %s: %w", opts.version(), err)
	}
	return done, nil
}

func (l *Lake) exportFocus(ctx context.Context, opts FocusOptions) (done FocusExport, err error) {
	s, err := l.Snapshot(ctx)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	// A file of before there was FOCUS in it has no such views.
	layout, err := s.number(ctx, "SELECT schema_version FROM meta")
	if err != nil {
		return done, err
	}
	if layout < focusSince {
		return done, fmt.Errorf("the published file has no such FOCUS views: an older version made it\nhint: usagelake rebuild --lake %s", l.dir)
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
		if done.Omitted, err = s.number(ctx, "SELECT coalesce(sum(requests), 0)::BIGINT FROM focus_omitted WHERE "+opts.omitted()); err != nil {
			return done, err
		}
	}
	meta, err := opts.metadata(ctx, s)
	if err != nil {
		return done, err
	}
	// Beside a pipe or a device there is no place for a file.
	info, err := os.Stat(opts.Path)
	beside := opts.Path != "" && (err != nil || info.Mode().IsRegular())
	if err := l.focusData(ctx, s, opts, &meta, &done); err != nil {
		return done, err
	}
	if !beside {
		return done, nil
	}
	b, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return done, err
	}
	name := strings.TrimSuffix(opts.Path, filepath.Ext(opts.Path)) + ".metadata.json"
	done.Files = append(done.Files, name)
	return done, l.Out().Bytes(name, append(b, '\n'))
}

// focusData writes the rows.
func (l *Lake) focusData(ctx context.Context, s *Snapshot, opts FocusOptions, meta *focusMetadata, done *FocusExport) (err error) {
	if opts.format() == FocusParquet {
		done.Rows, err = l.focusParquet(ctx, opts, meta)
		if opts.Path != "" {
			done.Files = []string{opts.Path}
		}
		return err
	}
	rows, err := s.Query(ctx, opts.query())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	switch {
	case opts.Path == "":
		done.Rows, err = rows.WriteCSV(ctx, opts.Out, opts.Raw)
	case opts.split():
		meta.DataLocation, err = rows.splitCSV(ctx, l.Out(), opts)
		for _, f := range meta.DataLocation {
			done.Rows += f.Rows
			done.Files = append(done.Files, filepath.Join(filepath.Dir(opts.Path), f.Path))
		}
	default:
		done.Files = []string{opts.Path}
		err = WriteOut(opts.Path, l.Out(), func(w io.Writer) error {
			done.Rows, err = rows.WriteCSV(ctx, w, opts.Raw)
			return err
		})
	}
	return err
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

func (l *Lake) focusParquet(ctx context.Context, opts FocusOptions, meta *focusMetadata) (int64, error) {
	if opts.Path != "" {
		return l.queryParquet(ctx, opts.query(), opts.Path, meta.copyOption())
	}
	dir, done, err := l.scratch()
	if err != nil {
		return 0, err
	}
	defer done()
	name := filepath.Join(dir, "focus.parquet")
	n, err := l.queryParquet(ctx, opts.query(), name, meta.copyOption())
	if err != nil {
		return 0, err
	}
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(opts.Out, f)
	return n, errors.Join(err, f.Close())
}

// splitCSV writes the rows into as many files as the limits ask for, at least one. They have their names once all are whole.
func (r *Rows) splitCSV(ctx context.Context, out Out, opts FocusOptions) (parts []focusFile, err error) {
	ext := filepath.Ext(opts.Path)
	name := func(n int) string { return fmt.Sprintf("%s-%04d%s", strings.TrimSuffix(opts.Path, ext), n, ext) }
	var files []*outFile
	defer func() {
		for _, f := range files {
			f.abort()
		}
	}()
	var row bytes.Buffer
	line := bufio.NewWriter(&row)
	r.csvHead(line, opts.Raw)
	if err := line.Flush(); err != nil {
		return nil, err
	}
	head := bytes.Clone(row.Bytes())
	var w *bufio.Writer
	finish := func() error {
		if w == nil {
			return nil
		}
		f := files[len(files)-1]
		if err := errors.Join(w.Flush(), f.settle()); err != nil {
			return Full(fmt.Errorf("write %s: %w", f.path, err), filepath.Dir(f.path))
		}
		return nil
	}
	begin := func() error {
		if err := finish(); err != nil {
			return err
		}
		n := len(files) + 1
		f, err := out.create(name(n))
		if err != nil {
			return err
		}
		files = append(files, f)
		w = bufio.NewWriterSize(f.File, 1<<16)
		_, _ = w.Write(head) // Flush has the error
		parts = append(parts, focusFile{Path: filepath.Base(name(n)), Bytes: int64(len(head))})
		return nil
	}
	if err := begin(); err != nil {
		return nil, err
	}
	for values, err := range r.All(ctx) {
		if err != nil {
			return nil, err
		}
		row.Reset()
		if err := errors.Join(r.csvRow(line, values, opts.Raw), line.Flush()); err != nil {
			return nil, err
		}
		size := int64(row.Len())
		if opts.MaxBytes > 0 && int64(len(head))+size > opts.MaxBytes {
			return nil, fmt.Errorf("a row has %d bytes and the header %d: no file of %d holds them\nhint: ask for fewer columns", size, len(head), opts.MaxBytes)
		}
		part := &parts[len(parts)-1]
		if opts.MaxRows > 0 && part.Rows == opts.MaxRows || opts.MaxBytes > 0 && part.Bytes+size > opts.MaxBytes {
			if err := begin(); err != nil {
				return nil, err
			}
			part = &parts[len(parts)-1]
		}
		if _, err := w.Write(row.Bytes()); err != nil {
			return nil, err
		}
		part.Rows++
		part.Bytes += size
	}
	if err := finish(); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := f.commit(); err != nil {
			return nil, err
		}
	}
	// An importer that takes all files of the name would count these twice.
	for n := len(files) + 1; ; n++ {
		if err := os.Remove(name(n)); errors.Is(err, fs.ErrNotExist) {
			return parts, nil
		} else if err != nil {
			return nil, fmt.Errorf("remove %s, which an export before left: %w", name(n), err)
		}
	}
}
