package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Options say what a report is about.
type Options struct {
	Name string // of a Report
	// Period is the time it is about; nil is the last billing month that has any charge.
	Period *schemas.Period
	// Scope is whose charges it is about; its time is Period's.
	Scope query.Scope
	// Own are names that whoever asks is known by, where the file was carved for him: they needn't be in it, for a cost
	// centre may be his before it has any usage.
	Own      query.Scope
	Owner    string   // the cost centre, team or project of this name, which Build adds to the scope; "": nobody
	By       []string // dimensions, of Dimensions; nil is the report's own
	Closing  bool     // the month is being closed: the document says so
	Dir      string   // of Closing: where the month's ledger stands; "" asks the records
	Edition  int      // of Closing: the version of the statement; above 1 the month was closed before
	Top      int      // of report top: how many; 0 is 20
	Pictures bool     // whether they will be shown
	Voice    Voice    // of what it says that can be asked and done
	Version  string   // of the program
	Now      time.Time
	AsOf     time.Time        // the lake is of what was known then (jobs.AsOf): the document says so; zero: it isn't
	Posting  posting.Settings // of report journal
	Accrual  bool             // of report journal: months that aren't closed, and their reversal
}

// ErrNothing says that there is nothing to report on.
var ErrNothing = errors.New("nothing to report on")

// OptionsError is a mistake in Options.
type OptionsError struct{ Message string }

func (e *OptionsError) Error() string { return e.Message }

// builder builds one document.
type builder struct {
	*query.Snapshot
	Options
	// Found one after the other, each by the steps before it: clock finds period, asOf and current; subtitle closed;
	// callNames called. doc grows as the report is built. It is one goroutine's, as the snapshot is.
	period       schemas.Period
	doc          *Document
	asOf         time.Time
	books        *schemas.Books
	current      schemas.Month // the month that is running
	closed       bool          // the period is a month that is closed, or is being closed
	called       calledNames
	bookCurrency string         // of the books; "" if they have none
	shared       *sharedAnswers // of Statements; nil where a document stands alone
}

// Build answers a named report from the published file. Errors in opts are an OptionsError; ErrNothing says that the
// file has no charges.
func Build(ctx context.Context, lake *publish.Lake, opts Options) (*Document, error) {
	r, ok := Find(opts.Name)
	if !ok {
		var known []string
		for _, r := range reports {
			known = append(known, r.Name)
		}
		return nil, &OptionsError{fmt.Sprintf("no report %q: there are %s", opts.Name, strings.Join(known, ", "))}
	}
	if err := r.Check(opts); err != nil {
		return nil, err
	}
	if opts.By == nil {
		opts.By = r.By
	}
	s, err := opts.open(ctx, lake)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	b := &builder{Snapshot: s, Options: opts}
	// resolve, clock and named ask the whole file: which month is the last, and which names there are, must not hang on a
	// scope that is wrong. From Narrow on every question is asked of the scope.
	if err := b.resolve(ctx); err != nil {
		return nil, err
	}
	if err := b.clock(ctx, r); err != nil {
		return nil, err
	}
	if err := b.named(ctx); err != nil {
		return nil, err
	}
	if err := b.narrow(ctx, r); err != nil {
		return nil, err
	}
	return b.document(ctx, r)
}

// open opens the published file.
func (o Options) open(ctx context.Context, lake *publish.Lake) (*query.Snapshot, error) {
	if o.Dir != "" {
		return query.OpenClosing(ctx, lake, o.Dir)
	}
	return query.OpenSnapshot(ctx, lake)
}

// narrow makes the snapshot show what the document is about.
func (b *builder) narrow(ctx context.Context, r Report) error {
	scope := b.Scope
	// A report with history has its period as a condition in its own queries, and the scope has no time.
	if !r.history {
		scope.Period = &b.period
	}
	return b.Narrow(ctx, scope, r.whole...)
}

// document asks what the document says.
func (b *builder) document(ctx context.Context, r Report) (*Document, error) {
	b.doc = &Document{Name: r.Name, Generated: b.Now, Version: b.Version}
	if err := b.subtitle(ctx); err != nil {
		return nil, err
	}
	if !b.AsOf.IsZero() {
		b.warn("This is what was known at %s. Later records, corrections and closed months aren't in it; allocation rules, "+
			"budgets and names are those of today.", words.Instant(b.AsOf))
	}
	if err := b.freshness(ctx); err != nil {
		return nil, err
	}
	if err := b.callNames(ctx); err != nil {
		return nil, err
	}
	if err := r.build(b, ctx); err != nil {
		return nil, err
	}
	// Last, when the columns have been asked for by their places: names go between them, completeness behind.
	b.nameMonths()
	b.nameTables()
	for _, t := range b.doc.Tables {
		t.complete(b.doc.Completeness.Text)
	}
	return b.doc, nil
}

// Completing says how complete a period is, of what the scope names. The errors are Build's.
func Completing(ctx context.Context, lake *publish.Lake, period schemas.Period, scope query.Scope) (Completeness,
	error) {
	s, err := query.OpenSnapshot(ctx, lake)
	if err != nil {
		return Completeness{}, err
	}
	defer s.Close()
	return CompletingOf(ctx, s, Options{Period: &period, Scope: scope})
}

// CompletingOf is Completing by a snapshot, which it narrows: whatever is asked of that before is of all. Of opts it
// takes Period, which must be there, Scope, Own and Voice.
func CompletingOf(ctx context.Context, s *query.Snapshot, opts Options) (Completeness, error) {
	b := &builder{Snapshot: s, Options: opts, period: *opts.Period}
	if err := b.named(ctx); err != nil {
		return Completeness{}, err
	}
	if err := s.Narrow(ctx, opts.Scope); err != nil {
		return Completeness{}, err
	}
	return b.completeness(ctx)
}

func (b *builder) completeness(ctx context.Context) (Completeness, error) {
	t, err := b.ask(ctx, "completeness", "",
		fmt.Sprintf(`SELECT period_seconds, expected_seconds, missing_seconds, complete, completeness
			FROM completeness(DATE '%s', DATE '%s')`, b.period.From, b.period.To))
	if err != nil {
		return Completeness{}, err
	}
	// completeness gives one row, whatever is there.
	row := t.Rows[0]
	out := Completeness{Complete: row[3].Text == "true", Text: row[4].Text}
	for i, n := range []*int64{&out.PeriodSeconds, &out.ExpectedSeconds, &out.MissingSeconds} {
		if *n, err = strconv.ParseInt(row[i].Text, 10, 64); err != nil {
			return out, fmt.Errorf("completeness: %w", err)
		}
	}
	return out, nil
}

// within is a period as a condition on a column of book days.
func within(p schemas.Period, column string) string {
	return fmt.Sprintf("%[1]s >= DATE '%[2]s' AND %[1]s < DATE '%[3]s'", column, p.From, p.To)
}

// withinUTC is a period as a condition on a column of UTC days: those that lie in it, if only in part.
func withinUTC(p schemas.Period, column string) string {
	from, to := p.UTC()
	return fmt.Sprintf("%[1]s >= DATE '%[2]s' AND %[1]s < DATE '%[3]s'", column, from, to)
}

// months is a period as a condition on a column of months, as periods calls them; of days, those that begin among
// these.
func months(p schemas.Period, column string) string {
	if !p.Billing {
		return column + ` IN (SELECT "month" FROM periods WHERE ` + within(p, "period_start") + ")"
	}
	return fmt.Sprintf("%s BETWEEN DATE '%s' AND DATE '%s'", column, p.First.First(), p.Last.First())
}

// clock reads how far the data goes, and finds the period.
func (b *builder) clock(ctx context.Context, r Report) error {
	// The last month in which the scope has a charge, and where it has none the last of all: a document about nothing says
	// so of the same month as others.
	var err error
	if b.books, err = b.Books(ctx); err != nil {
		return err
	}
	t, err := b.ask(ctx, "clock", "",
		`SELECT as_of, current_month, coalesce((SELECT max(billing_month) FROM chargeback_daily WHERE `+b.where()+`),
			(SELECT max(billing_month) FROM chargeback_daily)) AS last_month,
			(SELECT book_currency FROM finance_settings) AS book_currency FROM data_as_of`)
	if err != nil {
		return err
	}
	row := t.Rows[0]
	if row[0].Null || row[2].Null {
		return fmt.Errorf("%w: the published file has no usage yet\nhint: usagelake export", ErrNothing)
	}
	b.bookCurrency = row[3].Text
	var err1 error
	b.asOf, err1 = time.Parse(time.RFC3339, row[0].Text)
	current, err2 := schemas.ParseDate(row[1].Text)
	last, err3 := schemas.ParseDate(row[2].Text)
	b.current = current.Month()
	switch {
	case r.Spans == Running:
		b.period = b.books.Period(b.current, b.current)
	case b.Period == nil:
		b.period = b.books.Period(last.Month(), last.Month())
	default:
		// Whole months of charges, or any days of usage: Billing of it says which, and so what a correction counts in.
		b.period = *b.Period
	}
	return errors.Join(err1, err2, err3)
}

// nameMonths calls the periods of a fiscal calendar what people do, and not by the months that tables call them by.
func (b *builder) nameMonths() {
	if b.books.Months() {
		return
	}
	tables := slices.Clone(b.doc.Tables)
	for _, p := range b.doc.Pictures {
		tables = append(tables, p.Table)
	}
	for _, t := range tables {
		for i, c := range t.Columns {
			if c.Kind != Month {
				continue
			}
			t.Columns[i].Kind, t.Columns[i].Title = Text, strings.Replace(c.Title, "Month", "Period", 1)
			for _, row := range t.Rows {
				if d, err := schemas.ParseDate(row[i].Text); err == nil && !row[i].Null {
					row[i].Text = b.books.Name(d.Month())
				}
			}
		}
	}
}

// named sees that what the scope names is there: a report on nobody would be taken for one on somebody without cost.
func (b *builder) named(ctx context.Context) error {
	for _, d := range query.ScopeDimensions {
		for _, v := range *b.Scope.Values(d) {
			if slices.Contains(*b.Own.Values(d), v) {
				continue
			}
			names := "SELECT DISTINCT coalesce(" + d + ", '" + schemas.Unallocated + "') AS name FROM chargeback_daily"
			if d == "account" {
				names = "SELECT account AS name FROM accounts"
			} else if d == "model" {
				names = "SELECT DISTINCT model AS name FROM chargeback_daily WHERE model IS NOT NULL"
			}
			if d != "account" {
				names += ` UNION SELECT scope_value FROM budgets WHERE "scope" = '` + d + "'"
			}
			if d == "cost_center" { // one that is charged a fee alone
				names += " UNION SELECT cost_center FROM markups WHERE cost_center IS NOT NULL " +
					"UNION SELECT cost_center FROM closed_markups"
			}
			// The name itself first, if it is there: then the first row says so. Else the three that are most like it.
			t, err := b.ask(ctx, "names", "",
				fmt.Sprintf(`SELECT name, name = %[1]s AS it FROM (%[2]s)
					ORDER BY it DESC, jaro_winkler_similarity(lower(name), lower(%[1]s)) DESC, name LIMIT 3`, schemas.SQLString(v),
					names))
			if err != nil {
				return err
			}
			if len(t.Rows) > 0 && t.Rows[0][1].Text == "true" {
				continue
			}
			var near []string
			for _, row := range t.Rows {
				near = append(near, fmt.Sprintf("%q", words.Cell(row[0].Text)))
			}
			hint := "there is none"
			if len(near) > 0 {
				hint = "the nearest are " + strings.Join(near, ", ")
			}
			return &OptionsError{fmt.Sprintf("%s: nothing in the published file is called that; %s",
				b.Voice.given(d, fmt.Sprintf("%q", words.Cell(v))), hint)}
		}
	}
	return nil
}

// subtitle says what the document is about: the period and its state, and whose it is.
func (b *builder) subtitle(ctx context.Context) error {
	b.doc.Period, b.doc.Subtitle = b.period.Name(), b.period.Title()
	if month, ok := b.period.Month(); ok {
		closed, err := b.ask(ctx, "closed", "",
			fmt.Sprintf(`SELECT closed_at, corrected, array_to_string(objections, '; ') AS objections FROM closed_months
				WHERE "month" = DATE '%s'`, month.First()))
		if err != nil {
			return err
		}
		switch {
		case b.Closing:
			b.doc.Subtitle += ", closed on " + b.Now.UTC().Format(time.DateOnly)
			if b.Edition > 1 {
				b.doc.Subtitle += fmt.Sprintf(", version %d", b.Edition)
				b.note("This is version %d of the statement. It replaces version %d, which the month was closed with before it "+
					"was opened again.", b.Edition, b.Edition-1)
			}
		case len(closed.Rows) > 0:
			row := closed.Rows[0]
			b.doc.Subtitle += ", closed on " + row[0].Text[:10]
			if row[1].Text == "true" {
				b.doc.Notes = append(b.doc.Notes,
					"Usage of this month has changed since it was closed. The difference is charged as a correction in the next open "+
						"month.")
			}
			if !row[2].Null && row[2].Text != "" {
				b.doc.Notes = append(b.doc.Notes, "It was closed in spite of: "+row[2].Text)
			}
		// By the file's clock, and not by ours: a file of last week has last week's month running.
		case month >= b.current:
			b.doc.Subtitle += ", running"
		default:
			b.doc.Subtitle += ", open"
		}
		// Of more than one month nothing is closed: some of it may be.
		b.closed = b.Closing || len(closed.Rows) > 0
	}
	for _, d := range query.ScopeDimensions {
		if values := *b.Scope.Values(d); len(values) > 0 {
			b.doc.Scope = append(b.doc.Scope, describe(query.ResultColumn{Name: d}).Title+" "+strings.Join(values, ", "))
		}
	}
	if len(b.doc.Scope) > 0 {
		b.doc.Subtitle += "; " + strings.Join(b.doc.Scope, "; ") + " alone"
	}
	return nil
}

// freshness tells how complete the period is, how far the data goes and what is odd with it.
func (b *builder) freshness(ctx context.Context) error {
	var err error
	if b.doc.Completeness, err = b.completeness(ctx); err != nil {
		return err
	}
	if b.doc.Completeness.MissingSeconds > 0 {
		// The end of the day that asOf lies in, or asOf if that is midnight: of 10:00 on the 20th the 21st, of 00:00 on the
		// 20th the 20th. It is excluded, as --to is.
		from, to := b.period.UTC()
		to = min(to, schemas.DateOf(b.asOf.Add(24*time.Hour-time.Second)))
		b.warn("%s: what was used in the rest is not in these figures. %s", b.doc.Completeness.Text, b.Voice.or(
			fmt.Sprintf("usagelake export --from %s --to %s fetches it.", from, to), "The exports have yet to fetch it."))
	}
	t, err := b.ask(ctx, "freshness", "",
		`SELECT count(*) AS accounts, (SELECT sum(quarantined)::BIGINT FROM partitions) AS quarantined,
		sum(failed_windows)::BIGINT AS failed_windows FROM accounts LEFT JOIN data_freshness_and_gaps USING (account)`)
	if err != nil {
		return err
	}
	row := t.Rows[0]
	cell := func(name string) string { return show(t.Columns[t.column(name)], t.value(row, name), "") }
	positive := func(name string) bool { return float(t.value(row, name)) > 0 }
	// Of the scope: Narrow has made accounts that.
	accounts := "1 account"
	if cell("accounts") != "1" {
		accounts = cell("accounts") + " accounts"
	}
	b.doc.Freshness = fmt.Sprintf("Usage of %s up to %s UTC", accounts, b.asOf.UTC().Format("2006-01-02 15:04"))
	if !t.value(row, "quarantined").Null { // it isn't known where the file is that of an owner
		b.doc.Freshness += "; " + cell("quarantined") + " records in quarantine"
	}
	b.doc.Freshness += "."
	if positive("quarantined") {
		b.warn("%s records could not be read and count in no figure: %s", cell("quarantined"),
			b.Voice.or("usagelake query \"FROM quarantine\"", "in SQL, FROM quarantine"))
	}
	if positive("failed_windows") {
		b.warn("%s windows of the last export failed: %s tries them again", cell("failed_windows"),
			b.Voice.or("usagelake export", "the next export"))
	}
	return b.lacks(ctx)
}

// lacks tells of usage that lacks a currency or an amount.
func (b *builder) lacks(ctx context.Context) error {
	usage := "(SELECT currency, record_kind, without_amount, net_cost AS amount FROM allocated_addends)"
	if b.Scope.Owned() {
		usage = `(SELECT cost_center, currency, record_kind, without_amount, net_cost AS amount
			FROM allocated_addends JOIN ` + publish.Catalog + `.allocations USING (allocation_id) WHERE pool IS NULL)`
	}
	t, err := b.ask(ctx, "lacks", "", "SELECT "+byOwner+`count(*) FILTER (currency IS NULL AND amount IS NOT NULL) AS
		no_currency, sum(without_amount) FILTER (record_kind = 'request')::BIGINT AS without_amount FROM `+usage+
		" GROUP BY ALL")
	if err != nil {
		return err
	}
	for _, row := range t.Rows { // one, or none
		if float(t.value(row, "no_currency")) > 0 {
			b.warn("some usage has no currency: set accounts[].currency in the config")
		}
		if v := t.value(row, "without_amount"); float(v) > 0 {
			b.warn("%s records have no amount: they count in requests and tokens, not in costs",
				show(t.Columns[t.column("without_amount")], v, ""))
		}
	}
	return nil
}

func (b *builder) warn(format string, args ...any) {
	b.doc.Warnings = append(b.doc.Warnings, fmt.Sprintf(format, args...))
}

func (b *builder) note(format string, args ...any) {
	b.doc.Notes = append(b.doc.Notes, fmt.Sprintf(format, args...))
}

// add asks a query and adds its answer as a table, on a basis; "" where there is none.
func (b *builder) add(ctx context.Context, basis Basis, name, title, query string) (*Table, error) {
	t, err := b.ask(ctx, name, title, query)
	if err != nil {
		return nil, err
	}
	t.Basis = basis
	b.doc.Tables = append(b.doc.Tables, t)
	return t, nil
}
