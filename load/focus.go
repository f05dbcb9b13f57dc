package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// FocusOptions say which part of the FOCUS dataset is exported, and to where.
type FocusOptions struct {
	Version string // of FOCUS: schemas.Focus12 or schemas.Focus14; "" is the former
	// From and To are the first days of billing months, To excluded; nil leaves the side open. A correction belongs to
	// the month it is charged in, whenever the usage was.
	From, To *schemas.Date
	Scope    Scope  // whose charges; its time is From and To
	Format   string // FocusParquet or FocusCSV; "" goes by the extension of Path
	// Path is the file, which is replaced by one rename. Else the bytes go to Out.
	Path string
	Out  io.Writer
	// Records asks for a row per record and meter instead of one per day. Closed months have none. FOCUS 1.2 only.
	Records bool
	// Raw leaves text of a CSV as it is, even where a spreadsheet would take it for a formula. A Parquet file has it so always.
	Raw bool
}

// Validate reports every error at once.
func (o FocusOptions) Validate() error {
	var errs []error
	if v := o.version(); schemas.FocusView(v) == "" {
		errs = append(errs, fmt.Errorf("FOCUS %q is not known: the versions are %s", v, strings.Join(schemas.FocusVersions(), " and ")))
	} else if o.Records && v != schemas.Focus12 {
		errs = append(errs, fmt.Errorf("FOCUS %s has no rows by record: they are there in %s", v, schemas.Focus12))
	}
	if f := o.format(); f != FocusParquet && f != FocusCSV {
		errs = append(errs, fmt.Errorf("the format %q is not known: it is %s or %s", f, FocusParquet, FocusCSV))
	}
	if (o.Path == "") == (o.Out == nil) {
		errs = append(errs, errors.New("a FOCUS export goes either to a file or to a writer"))
	}
	for _, m := range []*schemas.Date{o.From, o.To} {
		if m != nil && schemas.MonthOf(*m) != *m {
			errs = append(errs, fmt.Errorf("FOCUS is exported by billing month: %s is not the first day of a month", *m))
		}
	}
	if o.From != nil && o.To != nil && *o.To <= *o.From {
		errs = append(errs, fmt.Errorf("no billing month lies between %s and %s (the end is excluded)", o.From.Month(), o.To.Month()))
	}
	return errors.Join(errs...)
}

func (o FocusOptions) version() string {
	if o.Version == "" {
		return schemas.Focus12
	}
	return o.Version
}

func (o FocusOptions) format() string {
	if o.Format == "" {
		return strings.ToLower(strings.TrimPrefix(filepath.Ext(o.Path), "."))
	}
	return o.Format
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
	query := schemas.FocusSelect(o.version(), "(FROM focus_charges WHERE "+o.between("billing_month")+")")
	if o.Records {
		query = schemas.FocusSelectRecords("(FROM focus_lines WHERE NOT closed AND " + o.between("usage_month") + ")")
	}
	by := []string{`"BillingPeriodStart"`, `"ChargePeriodStart"`, `"BillingAccountId"`, `"BillingCurrency"`, `"SkuId"`}
	for _, c := range schemas.FocusColumns(o.version()) {
		by = append(by, `"`+c.Name+`"`)
	}
	if o.Records {
		by = append(by[:5:5], append([]string{`"x_RequestTime"`, `"x_RequestId"`, `"x_RequestOrdinal"`}, by[5:]...)...)
	}
	return "FROM (" + query + ") ORDER BY " + strings.Join(by, ", ")
}

// FocusExport is what ExportFocus wrote.
type FocusExport struct {
	Rows int64
	// Omitted is the number of records of the months that FOCUS has no row for, since they lack an amount or a currency. The view
	// focus_omitted has them.
	Omitted int64
}

// ExportFocus writes the Cost and Usage dataset of FOCUS from the published file, which it only reads.
//
// A Parquet file has decimals as DECIMAL and times as timestamps in UTC. A CSV is what Rows.WriteCSV writes: decimals with all the
// decimals that their column has, times like 2026-11-01T00:00:00Z, NULL as an empty field.
// If it fails there is no new file.
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
	if opts.Records {
		closed, err := s.number(ctx, `SELECT count(*) FROM closed_months WHERE `+opts.months(`"month"`))
		if err != nil {
			return done, err
		}
		if closed > 0 {
			return done, ErrClosedRecords
		}
	}
	if done.Omitted, err = s.number(ctx, "SELECT coalesce(sum(requests), 0)::BIGINT FROM focus_omitted WHERE "+opts.omitted()); err != nil {
		return done, err
	}
	if opts.format() == FocusParquet {
		done.Rows, err = l.focusParquet(ctx, opts)
		return done, err
	}
	rows, err := s.Query(ctx, opts.query())
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if opts.Path == "" {
		done.Rows, err = rows.WriteCSV(ctx, opts.Out, opts.Raw)
		return done, err
	}
	err = WriteOut(opts.Path, l.Out(), func(w io.Writer) error {
		done.Rows, err = rows.WriteCSV(ctx, w, opts.Raw)
		return err
	})
	return done, err
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

func (l *Lake) focusParquet(ctx context.Context, opts FocusOptions) (int64, error) {
	if opts.Path != "" {
		return l.QueryParquet(ctx, opts.query(), opts.Path)
	}
	dir, done, err := l.scratch()
	if err != nil {
		return 0, err
	}
	defer done()
	name := filepath.Join(dir, "focus.parquet")
	n, err := l.QueryParquet(ctx, opts.query(), name)
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
