package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// loose is cost of a month that is charged, and to nobody or without a code of the general ledger, in one currency.
type loose struct {
	currency                    string
	net, unallocated, withoutGL schemas.Money
	centers                     []string // that have no code, the largest first
}

func looseOf(ctx context.Context, lake *publish.Lake, month schemas.Month) ([]loose, error) {
	rows, err := query.Run(ctx, lake, fmt.Sprintf(`
		SELECT coalesce(currency, ''), cost_center, coalesce(sum(net_cost), 0) AS net,
			coalesce(sum(net_cost) FILTER (gl_code IS NULL), 0) AS bare
		FROM chargeback_daily WHERE billing_month = DATE '%s' GROUP BY ALL ORDER BY 1, abs(bare) DESC, 2`, month.First()))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []loose
	for row, err := range rows.All(ctx) {
		if err != nil {
			return nil, err
		}
		net, err1 := schemas.ParseMoney(row[2].Text)
		bare, err2 := schemas.ParseMoney(row[3].Text)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if len(out) == 0 || out[len(out)-1].currency != row[0].Text {
			out = append(out, loose{currency: row[0].Text})
		}
		l := &out[len(out)-1]
		l.net = l.net.Add(net.In(l.currency))
		l.withoutGL = l.withoutGL.Add(bare.In(l.currency))
		if row[1].Text == schemas.Unallocated {
			l.unallocated = l.unallocated.Add(net.In(l.currency))
		}
		if bare.Sign() != 0 {
			l.centers = append(l.centers, row[1].Text)
		}
	}
	return out, nil
}

// looseObjections hold what is loose against the config's limits.
func looseObjections(ctx context.Context, lake *publish.Lake, cfg *config.Config, month schemas.Month) ([]string,
	error) {
	unallocated, err1 := config.ParseLimit(cfg.Close.MaxUnallocated)
	withoutGL, err2 := config.ParseLimit(cfg.Close.MaxWithoutGLCode)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if unallocated.None() && withoutGL.None() {
		return nil, nil
	}
	all, err := looseOf(ctx, lake, month)
	var out []string
	for _, l := range all {
		if unallocated.Passed(l.unallocated, l.net) {
			out = append(out, fmt.Sprintf("%s is charged to %s, more than close.max_unallocated (%s)",
				l.unallocated.Exact(), schemas.Unallocated, unallocated))
		}
		if withoutGL.Passed(l.withoutGL, l.net) {
			out = append(out, fmt.Sprintf("%s has no code of the general ledger, more than close.max_without_gl_code (%s): %s",
				l.withoutGL.Exact(), withoutGL, words.Some(l.centers, 5)))
		}
	}
	return out, err
}

// CloseReview is what a close would do, as the lake is published now.
type CloseReview struct {
	Month    string        `json:"month"`
	Plans    []DryPlan     `json:"plans"`    // what it would ask the Portal; none without fetching
	Requests int64         `json:"requests"` // about, in all
	Seconds  float64       `json:"seconds"`  // about, at the rate limit: accounts side by side
	Charges  []CloseCharge `json:"charges"`
	Loose    []CloseLoose  `json:"loose"`
	// Objections are what stands against it now: what isn't exported yet is among them, and would be asked for.
	Objections []string          `json:"objections"`
	Invoices   []CloseDifference `json:"invoices"` // those of the month that differ
}

// CloseCharge is what a cost centre would be charged. Exact decimals.
type CloseCharge struct {
	CostCenter string `json:"cost_center"`
	Currency   string `json:"currency"`
	Net        string `json:"net_cost"`
	Posted     string `json:"posted"` // in whole minor units of the currency, as the journal has it
}

// CloseLoose is what would be charged to nobody, and without a code of the general ledger.
type CloseLoose struct {
	Currency      string   `json:"currency"`
	Unallocated   string   `json:"unallocated"`
	WithoutGLCode string   `json:"without_gl_code"`
	CostCenters   []string `json:"cost_centers"` // that have no code, the largest first
}

// CloseDifference is an invoice, or the sum of several, that usage differs from.
type CloseDifference struct {
	Invoice    string `json:"invoice"`
	Kind       string `json:"kind"` // as in invoice_reconciliation
	Currency   string `json:"currency"`
	Invoiced   string `json:"invoiced"`
	Exported   string `json:"exported"`
	Difference string `json:"difference"`
	Causes     string `json:"likely_causes"`
}

// ReviewClose says what closing a month would do. It takes no lock and writes nothing; the Portal is asked for counts
// alone.
func ReviewClose(ctx context.Context, cfg *config.Config, env Env, opts CloseOptions) (*CloseReview, error) {
	books, err := cfg.ReadBooks()
	if err != nil {
		return nil, err
	}
	if env.Now().Before(books.Starts(books.First(opts.Month))) {
		return nil, config.Usage("", "--month %s has not begun", books.Name(opts.Month))
	}
	if _, err := SignerOf(cfg, env); err != nil {
		return nil, err
	}
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	months, err := lake.Closed()
	if err != nil {
		return nil, err
	}
	if err := closedAlready(months, opts.Month); err != nil {
		return nil, err
	}
	out := &CloseReview{Month: books.Name(opts.Month), Plans: []DryPlan{}, Charges: []CloseCharge{}, Loose: []CloseLoose{},
		Objections: []string{}, Invoices: []CloseDifference{}}
	if opts.NoFetch {
		out.Objections = append(out.Objections, notAsked)
	} else {
		month, span := closing(cfg, env, opts.Month, books)
		plans, err := DryRun(ctx, month, env, ExportOptions{Span: span, Retry: opts.Retry})
		switch {
		case errors.Is(err, config.ErrUsage), context.Cause(ctx) != nil:
			return nil, err
		case err != nil:
			out.Objections = append(out.Objections, "the Portal can't be asked: "+err.Error())
		}
		for _, p := range plans {
			out.Plans = append(out.Plans, p)
			out.Requests += p.Requests
			out.Seconds = max(out.Seconds, p.Seconds)
		}
	}
	more, err := objectionsTo(ctx, lake, cfg, env, opts.Month, books, months)
	if err != nil {
		return nil, err
	}
	lacks, err := lackingRates(ctx, lake, opts.Month)
	if err != nil && !errors.Is(err, query.ErrNotPublished) {
		return nil, err
	}
	out.Objections = append(append(out.Objections, lacks...), more...)
	// Its figures may still change, but not what its accounts are called.
	_, err = report.Postings(ctx, lake, opts.Month, cfg.Journal.Posting(), cfg.Journal.Formats)
	if refused := (*posting.Error)(nil); errors.As(err, &refused) {
		out.Objections = append(out.Objections, "its journal can't be written: "+refused.Message+" ("+refused.Hint+")")
	} else if err != nil && !errors.Is(err, query.ErrNotPublished) {
		return nil, err
	}
	all, err := looseOf(ctx, lake, opts.Month)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		out.Loose = append(out.Loose, CloseLoose{l.currency, l.unallocated.String(), l.withoutGL.String(),
			append([]string{}, l.centers...)})
	}
	err = lines(ctx, lake, fmt.Sprintf(`
		SELECT cost_center, coalesce(currency, ''), sum(amount), sum(posted) FROM chargeback_journal
		WHERE "month" = DATE '%s' AND entry = 'debit' GROUP BY ALL ORDER BY 2, 3 DESC, 1`, opts.Month.First()),
		func(row []query.Value) {
			posted := row[3].Text
			if v, err := schemas.ParseMoney(posted); err == nil { // the column has the decimals of every currency
				posted = v.In(row[1].Text).Posted()
			}
			out.Charges = append(out.Charges, CloseCharge{row[0].Text, row[1].Text, row[2].Text, posted})
		})
	if err != nil {
		return nil, err
	}
	utcFrom, utcTo := books.Period(opts.Month, opts.Month).UTC()
	err = lines(ctx, lake, fmt.Sprintf(`
		SELECT invoice, kind, coalesce(currency, ''), invoiced, exported, difference, likely_causes
		FROM invoice_reconciliation
		WHERE period_start < DATE '%s' AND period_end > DATE '%s' AND difference <> 0
			AND usage_date IS NULL AND model IS NULL ORDER BY kind DESC, invoice`,
		utcTo, utcFrom), func(row []query.Value) {
		out.Invoices = append(out.Invoices, CloseDifference{Invoice: row[0].Text, Kind: row[1].Text, Currency: row[2].Text,
			Invoiced: row[3].Text, Exported: row[4].Text, Difference: row[5].Text, Causes: row[6].Text})
	})
	return out, err
}

func lines(ctx context.Context, lake *publish.Lake, sql string, do func([]query.Value)) error {
	rows, err := query.Run(ctx, lake, sql)
	if err != nil {
		return err
	}
	defer rows.Close()
	for row, err := range rows.All(ctx) {
		if err != nil {
			return err
		}
		do(row)
	}
	return nil
}

// notAsked is the objection of a close that doesn't ask the Portal.
const notAsked = "the Portal was not asked once more (--no-fetch)"

// closing is how a month is fetched when it is closed: every day of it is asked for its count, as the lookback does,
// and fetched whole if that wasn't done since the month ended, for corrections leave the count as it is.
func closing(cfg *config.Config, env Env, month schemas.Month, books *schemas.Books) (*config.Config, Span) {
	span := Span{From: books.Starts(books.First(month)), To: books.Starts(books.End(month))}
	if len(cfg.Export.RefetchAt) > 0 {
		span.Since = span.To
	}
	c := *cfg
	c.Export.Lookback = config.Duration(env.Now().Sub(span.From) + 24*time.Hour)
	c.Export.RefetchEvery = 0
	return &c, span
}

// closedAlready is an error if the month is closed.
func closedAlready(months []publish.ClosedMonth, month schemas.Month) error {
	i := slices.IndexFunc(months, func(c publish.ClosedMonth) bool { return c.Month == month })
	if i < 0 {
		return nil
	}
	m := months[i]
	return &config.Hint{
		Err: fmt.Errorf("%w: %s, on %s by run %s", publish.ErrClosed, m.Name(), words.Instant(m.ClosedAt), m.RunID),
		Hint: "what came since is charged in the next open month. To close it anew: usagelake close --reopen --month " +
			m.Name() + ` --reason "…"`,
	}
}

// closer is who closes a month: the user of the system that the program runs as, and its machine.
func closer() publish.ClosedBy {
	by := publish.ClosedBy{User: "uid " + fmt.Sprint(os.Getuid())} // a container may know no name
	if u, err := user.Current(); err == nil {
		by.User = cmp.Or(u.Username, by.User)
	}
	by.Host, _ = os.Hostname()
	return by
}
