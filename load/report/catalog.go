package report

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// Basis is which of two figures of a closed month a table has.
type Basis string

// The bases. They are the same until usage of a closed month comes late or changes.
const (
	AsCharged Basis = "as charged"   // closed months as they were closed, corrections in the month they are charged in
	AsItIsNow Basis = "as it is now" // usage in its own month, whatever was charged for it
)

// Spans are the periods that a report can be about.
type Spans int

// What they are.
const (
	Running Spans = iota // the running month, by the file's own clock: no period can be given
	Months               // whole billing months
	AnyDays              // whole billing months, or any UTC days of usage
)

// Report is a named report: what it answers, and what can be asked of it. Parsing, help, refusals, completion, the
// check of the config and the docs go by it.
type Report struct {
	Name  string
	About string // in a line
	Long  string // what it answers
	// Example is a call of it, but for "usagelake report ".
	Example string
	Spans   Spans
	// Dimensions are those of query.ScopeDimensions that it can be narrowed by.
	Dimensions []string
	// NoPeriod says why it isn't of any days, or any months; NoOwners why it isn't narrowed by the other dimensions. ""
	// where it is.
	NoPeriod, NoOwners string
	By                 []string // the dimensions it is by, if nothing is said; nil: it has its own order
	Top                bool     // whether how many can be said
	Ledgers            bool     // whether it can be written in the forms that ledgers import, and be an accrual

	build func(*builder, context.Context) error
	// history says that it looks at more than its period, which is then a condition of its own.
	history bool
	whole   []string // views that it asks of the whole file
}

var everyDimension = query.ScopeDimensions

var reports = []Report{
	{Name: "chargeback", About: "what each owner is charged, with pictures", Spans: AnyDays, Dimensions: everyDimension,
		By: []string{"cost_center"}, build: (*builder).chargeback, whole: []string{"budget_status", "markup_monthly"},
		Long:    "What is each owner charged? By cost centre, or by any dimensions.",
		Example: "chargeback --month 2026-10 --by team,model"},
	{Name: "statement", About: "each cost centre's charges in detail, a sheet for each", Spans: AnyDays,
		Dimensions: everyDimension, build: (*builder).statement,
		whole: []string{"chargeback_journal", "markup_monthly"},
		Long: "What is charged to each cost centre, line by line, with the journal and the shares of pools? Of one owner " +
			"alone with --cost-center, at any time.",
		Example: "statement --format xlsx --month 2026-10"},
	{Name: "journal", About: "debit and credit lines to post, in the forms that ledgers import", Spans: Months,
		build: (*builder).posted, whole: []string{"chargeback_journal"}, Ledgers: true,
		NoPeriod: "what is posted is rounded over a whole month, so that debit and credit agree to the cent",
		NoOwners: "a journal balances as a whole; what one cost centre is charged is in the report statement",
		Long: "What is to be posted? Debits by account of the general ledger and cost centre, a credit for each currency, " +
			"each line with an id that stays the same. The formats " + strings.Join(posting.Names(), ", ") +
			" are files that those ledgers import: of closed months, or with --accrual of months that aren't closed yet.",
		Example: "journal --month 2026-10 --format xero"},
	{Name: "budget", About: "budgets: spent, left, forecast, status", Spans: Months, Dimensions: everyDimension,
		build: (*builder).budget, history: true, whole: []string{"budget_status"},
		NoPeriod: "a budget is for a whole month or quarter, and of some days of it there is none to hold their cost " +
			"against; what they cost is in the report chargeback",
		Long: "How does each budget stand in the periods that the months lie in? A narrowing chooses the budgets that " +
			"are for it.",
		Example: "budget --cost-center CC-1010"},
	{Name: "reconciliation", About: "invoices against usage, the balance's course, the months' status", Spans: Months,
		Dimensions: []string{"account"}, build: (*builder).reconciliation, history: true,
		NoPeriod: "an invoice, and a balance between two looks at it, are held against usage whole, and some days of them " +
			"can't be",
		NoOwners: "an invoice and a balance are of an account, and who used it isn't known to either",
		Long:     "Does what was invoiced agree with what was used, and the balance with both?",
		Example:  "reconciliation --month 2026-10"},
	{Name: "prepaid", About: "prepaid credit rolled forward: what was drawn, expired, and is left", Spans: Months,
		Dimensions: []string{"account"}, build: (*builder).prepaid, history: true,
		NoPeriod: "credit is rolled forward from month to month; its days are in the view draws_daily",
		NoOwners: "credit is an account's, and what an owner is charged doesn't hang on how it was paid",
		Long: "What was paid ahead, drawn and expired, what is left at each month's end, and does the Portal's own " +
			"balance agree?",
		Example: "prepaid --month 2026-10"},
	{Name: "anomalies", About: "days that leave their history, new tokens, price changes", Spans: AnyDays,
		Dimensions: everyDimension, build: (*builder).anomalies, history: true,
		Long:    "Which days left their own history?",
		Example: "anomalies --from -7d"},
	{Name: "forecast", About: "what the current month will come to, and why it differs from the last", Spans: Running,
		Dimensions: everyDimension, build: (*builder).forecast, history: true,
		NoPeriod: "it is about the running month; what is over came to what the report chargeback says",
		Long:     "What will the running month come to, and why does cost differ from the month before?",
		Example:  "forecast --account acme"},
	{Name: "top", About: "the users, tokens and models that cost most", Spans: AnyDays, Dimensions: everyDimension,
		Top: true, build: (*builder).top,
		Long:    "Which users, tokens and models cost most?",
		Example: "top --top 5 --cost-center CC-1010"},
	{Name: "prices", About: "unit prices that changed, discounts", Spans: AnyDays, Dimensions: everyDimension,
		build: (*builder).prices,
		Long: "Which unit prices changed, and what was the discount? Narrowed to an owner, it is about the models that " +
			"the owner uses.",
		Example: "prices --model gpt-5"},
	{Name: "unit-cost", About: "cost of a request, a million tokens, a user", Spans: AnyDays, Dimensions: everyDimension,
		build:   (*builder).unitCost,
		Long:    "What does a request, a million tokens, an active user cost?",
		Example: "unit-cost --month 2026-Q4"},
	{Name: "unit-economics", About: "cost of an order, a customer, a feature; margin", Spans: Months,
		build: (*builder).unitEconomics, history: true, whole: []string{"unit_economics"},
		NoPeriod: "what was counted in a month stands beside what the month is charged",
		NoOwners: "whose a metric is stands in the file that metrics: names",
		Long: "What does what we count cost, and what is left of what we earn? By the files of metrics that the config " +
			"names.",
		Example: "unit-economics --month 2026-Q4"},
	{Name: "cache-savings", About: "what the cache saves", Spans: AnyDays, Dimensions: everyDimension,
		build:   (*builder).cacheSavings,
		Long:    "How much input comes from the cache, and what does that save?",
		Example: "cache-savings --team search"},
	{Name: "quality", About: "freshness, gaps, quarantine, findings", Spans: AnyDays, Dimensions: []string{"account"},
		build: (*builder).quality,
		NoOwners: "what lacks, and what couldn't be read, is of an account and a day, and whose it would have been nobody " +
			"knows",
		Long:    "What is there, what lacks, what is odd?",
		Example: "quality --account acme"},
}

// Reports are the named reports.
func Reports() []Report { return reports }

// Owned says whether the report can be narrowed to an owner.
func (r Report) Owned() bool { return slices.Contains(r.Dimensions, "cost_center") }

// Find is the report of a name.
func Find(name string) (Report, bool) {
	i := slices.IndexFunc(reports, func(r Report) bool { return r.Name == name })
	if i < 0 {
		return Report{}, false
	}
	return reports[i], true
}

// dimensions are what a chargeback can be by, as columns of chargeback_daily and of lines. What is NULL where nothing
// is assigned has that as a name, as in a scope; cost_center has it in the table already.
var dimensions = []struct{ name, sql string }{
	{"account", "account"}, {"cost_center", "cost_center"},
	{"team", "coalesce(team, '" + schemas.Unallocated + "') AS team"},
	{"project", "coalesce(project, '" + schemas.Unallocated + "') AS project"},
	{"environment", "coalesce(environment, '" + schemas.Unallocated + "') AS environment"}, {"gl_code", "gl_code"},
	{"token", "token_id AS token"}, {"user", `user_id AS "user"`}, {"custom_user", "custom_user_id AS custom_user"},
	{"model", "model"}, {"model_type", "model_type"}, {"day", `book_date AS "day"`},
	{"month", `billing_month AS "month"`},
}

// Dimensions are what a chargeback can be by.
func Dimensions() []string {
	out := make([]string, len(dimensions))
	for i, d := range dimensions {
		out[i] = d.name
	}
	return out
}

// WhyNot says why the report has no flag for a period or a narrowing; "" of any other, and of one that it has.
func (r Report) WhyNot(flag string) string {
	switch {
	// Spans are in the order of how much can be asked.
	case flag == "--month" && r.Spans < Months, (flag == "--from" || flag == "--to") && r.Spans < AnyDays:
		return r.NoPeriod
	case flag == "--owner" && !r.Owned():
		return r.NoOwners
	case slices.ContainsFunc(query.ScopeDimensions, func(d string) bool {
		return FlagName(d) == flag &&
			!slices.Contains(r.Dimensions, d)
	}):
		return r.NoOwners
	}
	return ""
}

// Check says what of the options the report has no use for, or what is wrong with them; what they name is looked up by
// Build. The error is an OptionsError.
func (r Report) Check(o Options) error {
	refuse := func(format string, args ...any) error { return &OptionsError{fmt.Sprintf(format, args...)} }
	if o.Period != nil {
		switch p := *o.Period; {
		case p.From >= p.To:
			return refuse("from %s is not before to %s, which is excluded", p.From, p.To)
		case r.Spans == Running:
			return refuse("the report %s takes no period: %s", r.Name, r.NoPeriod)
		case r.Spans == Months && !p.Billing:
			return refuse("the report %s takes whole months (%s): %s", r.Name,
				o.Voice.or("--month 2026-10, or --month 2026-Q3", o.Voice.given("period", "2026-10")+", or "+
					o.Voice.given("period", "2026-Q3")), r.NoPeriod)
		}
	}
	for _, d := range query.ScopeDimensions {
		if len(*o.Scope.Values(d)) > 0 && !slices.Contains(r.Dimensions, d) {
			return refuse("the report %s can't be narrowed by %s: %s", r.Name, o.Voice.key(d), r.NoOwners)
		}
	}
	if o.Owner != "" && !r.Owned() {
		return refuse("the report %s can't be narrowed by --owner: %s", r.Name, r.NoOwners)
	}
	if o.By != nil && r.By == nil {
		return refuse("the report %s has its own order: %s is for chargeback", r.Name, o.Voice.key("by"))
	}
	// The names go into SQL: none but these do.
	for i, by := range o.By {
		if !slices.Contains(Dimensions(), by) {
			return refuse("no dimension %q: there are %s", by, strings.Join(Dimensions(), ", "))
		}
		if slices.Contains(o.By[:i], by) {
			return refuse("the dimension %s stands twice", by)
		}
	}
	if o.Top != 0 && !r.Top {
		return refuse("the report %s has no use for %s", r.Name, o.Voice.key("top"))
	}
	if o.Accrual && !r.Ledgers {
		return refuse("the report %s has no use for --accrual", r.Name)
	}
	if o.Top < 0 {
		return refuse("%s: give how many of each kind", o.Voice.given("top", strconv.Itoa(o.Top)))
	}
	return nil
}
