package library

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

const (
	// SQLLimit is how long a statement of people's own may take.
	SQLLimit = 20 * time.Second
	// LongestSQL is how many bytes one may have: addresses of more aren't taken anyway.
	LongestSQL = 8 << 10
)

// Question is one of the twenty of docs/questions.md.
type Question struct{ Text, View string }

// Questions are the twenty. A test holds them against the docs.
var Questions = []Question{
	{"What does each cost centre owe?", "spend_by_cost_center_month"},
	{"Debit and credit lines to post", "chargeback_journal"},
	{"What has no owner, and which token or user causes it?", "unallocated_spend"},
	{"How much is allocated, day by day?", "allocation_coverage_trend"},
	{"Who bears a shared pool, by what, in what ratio?", "shared_cost_split"},
	{"Which rule and version assigned this record?", "allocation_explain"},
	{"Does the invoice agree with what was used?", "invoice_reconciliation"},
	{"Does the balance move as usage says?", "balance_reconciliation"},
	{"Which months are closed, and what was corrected since?", "period_status_and_corrections"},
	{"What is spent, left, burned a day?", "budget_vs_actual"},
	{"What will the running month come to?", "forecast_month_end"},
	{"Why did cost change from month to month?", "month_over_month_drivers"},
	{"Which days leave their history?", "anomalous_days"},
	{"Which users, tokens, models cost most?", "top_spenders"},
	{"What does a request, a million tokens, a user cost?", "unit_cost"},
	{"How much input comes from the cache, and what does it save?", "cache_savings"},
	{"List against net", "discount_realised"},
	{"Which unit prices changed, and when?", "price_changes"},
	{"What do images, audio, video and tools cost?", "modality_and_tool_spend"},
	{"How fresh and how complete is it?", "data_freshness_and_gaps"},
}

// Statement is what answers it.
func (q Question) Statement() string {
	if macro := q.Macro(); macro != "" {
		return "FROM " + macro + "((SELECT id FROM usage ORDER BY request_time DESC, id LIMIT 1))"
	}
	return "FROM " + q.View
}

// Macro is the macro that answers it of a record, by its id; "" where a view does.
func (q Question) Macro() string {
	if q.View == "allocation_explain" {
		return q.View
	}
	return ""
}

// Reports are the named reports that there are of a scope: of some there are none of an owner.
func Reports(of query.Scope) []report.Report {
	return slices.DeleteFunc(slices.Clone(report.Reports()), func(r report.Report) bool {
		return slices.ContainsFunc(query.ScopeDimensions, func(d string) bool {
			return len(*of.Values(d)) > 0 && !slices.Contains(r.Dimensions, d)
		})
	})
}

// Passing is the size, for Kept, of the answer to a statement of people's own that took so many bytes: one that is
// another a moment later, for the statement asks for the time or for chance, isn't kept.
func Passing(statement string, size int) int {
	if passing.MatchString(statement) {
		return notKept
	}
	return size
}

var passing = regexp.MustCompile(`(?i)\b(now|today|current_date|current_time|current_timestamp|localtime|` +
	`localtimestamp|get_current_time|get_current_timestamp|transaction_timestamp|age|` +
	`random|uuid|uuidv4|uuidv7|gen_random_uuid|sample|tablesample)\b`)

// Run runs a statement of people's own on the reader's file, and hands on its rows: within SQLLimit, reading them
// included. It belongs at a place of Asking. What isn't in the file can't be named.
func (r *Reader) Run(ctx context.Context, statement string, read func(context.Context, *query.Rows) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.lib.limit)
	defer cancel()
	rows, err := query.Run(ctx, r.Lake, statement)
	if err != nil {
		return err
	}
	defer rows.Close()
	return read(ctx, rows)
}

// Answer is what Run gives as a document, of so many rows at the most; more says that there are more.
func (r *Reader) Answer(ctx context.Context, statement string, rows int) (doc *report.Document, more bool, err error) {
	err = r.Run(ctx, statement, func(ctx context.Context, found *query.Rows) error {
		doc, more, err = report.Of(ctx, found, "answer", "Answer", rows)
		return err
	})
	return doc, more, err
}

// Period is the time that a name of the books, or days, the last one excluded, say; nil if they say nothing.
func Period(books *schemas.Books, now time.Time, name, from, to string) (*schemas.Period, error) {
	switch {
	case name != "" && from+to != "":
		return nil, errors.New("a period and days are said, both: leave one out")
	case name != "":
		p, err := books.ParsePeriod(strings.Split(name, ","), now)
		return &p, err
	case from+to == "":
		return nil, nil
	}
	first, err := schemas.ParseDate(from)
	if err != nil {
		return nil, err
	}
	end := books.Day(now) + 1
	if to != "" {
		if end, err = schemas.ParseDate(to); err != nil {
			return nil, err
		}
	}
	p := books.Span(first, end)
	return &p, nil
}

// SQLMistake is what a person is told of a statement that fails; "" of an error that isn't the statement's.
func SQLMistake(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("It was stopped after %s. Ask for less: some days, one owner, fewer columns.", SQLLimit)
	}
	return words.Printable(query.Mistake(err))
}
