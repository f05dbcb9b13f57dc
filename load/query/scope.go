package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// Scope is a part of what is charged: by who it belongs to, and when. The zero value is everything.
type Scope struct {
	// Values of the dimensions in ScopeDimensions; several of one are any of them.
	Accounts, CostCenters, Teams, Projects, Environments, Models []string
	// Period is when; nil is ever. Of billing periods a correction counts in the one it is charged in, else on the day of
	// the usage.
	Period *schemas.Period
}

// ScopeDimensions are what a Scope narrows by, as columns of chargeback_daily.
var ScopeDimensions = []string{"account", "cost_center", "team", "project", "environment", "model"}

// Values are those of a dimension that the scope is narrowed to; nil is all.
func (s *Scope) Values(dimension string) *[]string {
	return map[string]*[]string{"account": &s.Accounts, "cost_center": &s.CostCenters, "team": &s.Teams,
		"project":     &s.Projects,
		"environment": &s.Environments, "model": &s.Models}[dimension]
}

// Owned says whether it is narrowed by what the allocation rules say.
func (s *Scope) Owned() bool {
	return slices.ContainsFunc(notOwned, func(d string) bool { return len(*s.Values(d)) > 0 })
}

// Where is the scope as a condition on the columns of a table that has those of the dimensions, but for those that are
// left out. Where nothing is assigned, the column is NULL or schemas.Unallocated, and the latter is its name in a
// scope.
func (s *Scope) Where(leaveOut ...string) string { return s.where("", leaveOut...) }

// where is Where for the columns of a table with an alias, such as "u.".
func (s *Scope) where(alias string, leaveOut ...string) string {
	out := []string{"true"}
	for _, d := range ScopeDimensions {
		if len(*s.Values(d)) == 0 || slices.Contains(leaveOut, d) {
			continue
		}
		column := alias + d
		if slices.Contains(notOwned, d) {
			column = "coalesce(" + column + ", '" + schemas.Unallocated + "')"
		}
		out = append(out, column+" IN "+s.list(d))
	}
	return strings.Join(out, " AND ")
}

// list is the values of a dimension as SQL has them.
func (s *Scope) list(dimension string) string {
	var quoted []string
	for _, v := range *s.Values(dimension) {
		quoted = append(quoted, schemas.SQLString(v))
	}
	return "(" + strings.Join(quoted, ", ") + ")"
}

// during is the time of the scope as a condition on a column of book days.
func (s *Scope) during(day string) string {
	if s.Period == nil {
		return "true"
	}
	return fmt.Sprintf("%[1]s >= DATE '%[2]s' AND %[1]s < DATE '%[3]s'", day, s.Period.From, s.Period.To)
}

// charged is the time of the scope as a condition on the columns of what is charged.
func (s *Scope) charged() string {
	if s.Period == nil || !s.Period.Billing {
		return s.during("book_date")
	}
	return fmt.Sprintf("billing_month BETWEEN DATE '%s' AND DATE '%s'", s.Period.First.First(), s.Period.Last.First())
}

// touching is the time of the scope as a condition on a column of UTC days: those that lie in it, if only in part.
func (s *Scope) touching(day string) string {
	if s.Period == nil {
		return "true"
	}
	from, to := s.Period.UTC()
	return fmt.Sprintf("%[1]s >= DATE '%[2]s' AND %[1]s < DATE '%[3]s'", day, from, to)
}

// notOwned are the dimensions that a table of usage lacks, for it knows no rules.
var notOwned = ScopeDimensions[1:5]

// Narrow makes every table and view of the snapshot, by its plain name, show the scope alone: a question asked of it is
// asked of the scope. What the scope has at any time, whatever From and To, of chargeback_daily and usage_daily has the
// names chargeback_ever and usage_ever. The views in keep are kept as they are of the whole file, by the name
// whole_NAME; the names usage.NAME of views don't do for that, since what such a view names is looked up in the session
// first.
//
// A shared pool's cost belongs to nobody until it is split: where the scope is narrowed to owners it stands in
// chargeback_daily alone. Unit prices, and what they are compared with, aren't narrowed by time.
func (s *Snapshot) Narrow(ctx context.Context, scope Scope, keep ...string) error {
	const whole = publish.Catalog + "."
	if err := s.fresh(ctx); err != nil {
		return err
	}
	for _, name := range keep {
		if _, err := s.conn.ExecContext(ctx, "CREATE TEMP TABLE whole_"+name+" AS FROM "+whole+name, nil); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	// Three conditions, by what columns a table has: account alone; account and model; and, by allocation_id, the owner.
	account, usage := scope.Where(append([]string{"model"}, notOwned...)...), scope.Where(notOwned...)
	allocated := usage
	if scope.Owned() {
		allocated += " AND allocation_id IN (SELECT allocation_id FROM " + whole + "allocations WHERE pool IS NULL AND " +
			scope.Where("account", "model") + ")"
	}
	layout, err := s.layout(ctx)
	if err != nil {
		return err
	}
	usageAddends, allocatedAddends := layout.Addends(whole)
	// What allocated_daily sums up has all that usage_daily does, and whose it is.
	ever := "SELECT * FROM (" + usageAddends + ") WHERE " + usage
	if scope.Owned() {
		ever = `SELECT account, usage_date, token_id, user_id, model, model_type, record_kind, currency, requests,
			without_amount, input_tokens, output_tokens, cached_tokens, total_tokens, list_cost AS total_amount,
			discount AS discount_amount, net_cost AS amount
			FROM (` + allocatedAddends + ") WHERE " + allocated
	}
	booked := "(" + layout.BookedUsage(whole) + ")"
	records := "SELECT * EXCLUDE (book_date) FROM " + booked + " WHERE " + usage
	if scope.Owned() {
		// A record has one key, and a key one allocation: the join doubles none.
		records = `SELECT u.* EXCLUDE (book_date) FROM ` + booked + ` u JOIN ` + whole + `allocation_keys k ON ` +
			layout.KeyJoin() + `
			JOIN (FROM ` + whole + "allocations WHERE pool IS NULL AND " + scope.Where("account", "model") +
			`) a ON a.allocation_id = k.allocation_id
			WHERE ` + scope.where("u.", notOwned...)
	}
	budgets := []string{"true"}
	for _, d := range ScopeDimensions {
		if len(*scope.Values(d)) > 0 {
			budgets = append(budgets, `"scope" = '`+d+"' AND scope_value IN "+scope.list(d))
		}
	}
	invoices := account
	if len(scope.Models) > 0 {
		invoices = usage
	}
	prices := usage
	if scope.Owned() {
		prices += " AND (account, model) IN (SELECT (account, model) FROM usage_ever)"
	}
	view := func(name, query string) schemas.SQLView {
		return schemas.SQLView{Name: name, SQL: "CREATE TEMP VIEW " + name + " AS " + query}
	}
	// None is made here: define makes each when a text asks for it, and those that it names before it.
	s.scoped = slices.Concat([]schemas.SQLView{
		view("accounts", "SELECT * FROM "+whole+"accounts WHERE "+account),
		view("coverage_daily", "SELECT * FROM "+whole+"coverage_daily WHERE "+account),
		view("coverage", "SELECT * FROM "+whole+"coverage WHERE "+account+" AND "+scope.touching("usage_date")),
		view("partitions", "SELECT * FROM "+whole+"partitions WHERE "+account+" AND "+scope.touching("usage_date")),
		view("day_issues", "SELECT * FROM "+whole+"day_issues WHERE "+usage+" AND "+scope.touching("usage_date")),
		view("account_overlaps", "SELECT * FROM "+whole+"account_overlaps WHERE "+account+" AND "+
			scope.touching("usage_date")),
		view("quarantine",
			"SELECT * FROM "+whole+"quarantine WHERE "+account+" AND "+
				scope.touching("make_timestamp(epoch_us(window_start))::DATE")),
		view("balance", "SELECT * FROM "+whole+"balance WHERE "+account),
		view("prepaid_ledger", "SELECT * FROM "+whole+"prepaid_ledger WHERE "+account),
		view("run_accounts", "SELECT * FROM "+whole+"run_accounts WHERE "+account),
		view("budgets", "SELECT * FROM "+whole+"budgets WHERE "+strings.Join(budgets, " AND ")),
		view("invoice_lines", "SELECT * FROM "+whole+"invoice_lines WHERE "+invoices),
		view("usage", records+" AND "+scope.touching("usage_date")+" AND "+scope.during("book_date")),
		view("usage_ever", ever),
		view("usage_addends", "SELECT * FROM usage_ever WHERE "+scope.touching("usage_date")),
		view("usage_daily", `SELECT account, usage_date, token_id, user_id, model, model_type, record_kind, currency,
			`+summedUp+`, sum(total_amount) AS total_amount, sum(discount_amount) AS discount_amount, sum(amount) AS amount
			FROM usage_addends GROUP BY ALL`),
		view("unit_prices", "SELECT * FROM "+whole+"unit_prices WHERE "+prices),
		view("allocated_addends",
			"SELECT * FROM ("+allocatedAddends+") WHERE "+allocated+" AND "+scope.touching("usage_date")+" AND "+
				scope.during("book_date")),
		view("allocated_daily", `SELECT account, usage_date, book_date, period, allocation_id, token_id, user_id,
			custom_user_id, model, model_type, record_kind, currency,
			`+summedUp+`, sum(list_cost) AS list_cost, sum(discount) AS discount, sum(net_cost) AS net_cost
			FROM allocated_addends GROUP BY ALL`),
		view("allocated_model_daily",
			"SELECT * FROM "+whole+"allocated_model_daily WHERE "+allocated+" AND "+scope.during("book_date")),
		view("ext_daily", "SELECT * FROM "+whole+"ext_daily WHERE "+allocated+" AND "+scope.during("book_date")),
		view("shared_cost_shares",
			"SELECT * FROM "+whole+"shared_cost_shares WHERE "+scope.Where()+" AND "+scope.during("book_date")),
		view("chargeback_ever", "SELECT * FROM "+whole+"chargeback_daily WHERE "+scope.Where()),
		view("chargeback_daily", "SELECT * FROM chargeback_ever WHERE "+scope.charged()),
	}, layout.ScopedViews())
	return nil
}

// define makes the narrowed views that a text names, and those that they name. There are some fifty of them and a
// report needs a few. What a text calls usage.NAME is the file's own.
func (s *Snapshot) define(ctx context.Context, text string) error {
	// Any word counts that is the name of a view, in a text or a comment, too: one made in vain costs little. Of a.b both
	// are looked at, for a may be a view and b a column of it.
	words := map[string]bool{}
	for _, w := range strings.FieldsFunc(text, func(r rune) bool {
		return r != '_' && r != '.' && !unicode.IsLetter(r) &&
			!unicode.IsDigit(r)
	}) {
		if strings.HasPrefix(w, publish.Catalog+".") {
			continue
		}
		_, column, _ := strings.Cut(w, ".")
		words[w], words[column] = true, true
	}
	// The list shrinks below: a view that another has made meanwhile is none any more (i < 0).
	for _, v := range slices.Clone(s.scoped) {
		i := slices.IndexFunc(s.scoped, func(o schemas.SQLView) bool { return o.Name == v.Name })
		if !words[v.Name] || i < 0 {
			continue
		}
		// Before it is made, so that what it names can't come back to it without end.
		s.scoped = slices.Delete(s.scoped, i, i+1)
		if err := s.define(ctx, v.SQL); err != nil {
			return err
		}
		if _, err := s.conn.ExecContext(ctx, v.SQL, nil); err != nil {
			return fmt.Errorf("narrow %s: %w", v.Name, err)
		}
	}
	return nil
}

// ErrOlderTables says that an older version of the program made the published file.
var ErrOlderTables = errors.New("the published file has tables of an older version")

// fresh is ErrOlderTables if the file's tables are not those that this version makes.
func (s *Snapshot) fresh(ctx context.Context) error {
	n, err := s.number(ctx, "SELECT schema_version FROM meta")
	if err != nil || n >= schemas.SQLVersion {
		return err
	}
	return fmt.Errorf("%w, %d, and this program makes version %d\nhint: usagelake rebuild, or the next export that "+
		"publishes", ErrOlderTables, n, schemas.SQLVersion)
}

// Books are the calendar that the published file was made by. Of a file of before there were any it is ErrOlderTables.
func (s *Snapshot) Books(ctx context.Context) (*schemas.Books, error) {
	if err := s.fresh(ctx); err != nil {
		return nil, err
	}
	return s.d.Books(ctx)
}

// layout is that of the snapshot's file. A field of the keys that is NULL in all of them is looked at by no rule, or is
// NULL in every record.
func (s *Snapshot) layout(ctx context.Context) (l schemas.SQLLayout, err error) {
	for _, f := range publish.KeyFields {
		n, err := s.number(ctx, "SELECT count("+f+") FROM allocation_keys")
		if err != nil {
			return l, err
		}
		if n > 0 {
			l.Fields = append(l.Fields, f)
		}
	}
	if l.Books, err = s.d.Books(ctx); err != nil {
		return l, err
	}
	l.Views, err = s.d.SumViews(ctx)
	return l, err
}

// summedUp are the counts of a sum of addends.
const summedUp = `sum(requests)::BIGINT AS requests, sum(without_amount)::BIGINT AS without_amount,
	TRY_CAST(sum(input_tokens) AS BIGINT) AS input_tokens, TRY_CAST(sum(output_tokens) AS BIGINT) AS output_tokens,
	TRY_CAST(sum(cached_tokens) AS BIGINT) AS cached_tokens, TRY_CAST(sum(total_tokens) AS BIGINT) AS total_tokens`
