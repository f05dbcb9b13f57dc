package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// Carve makes the published file of a lake, one that has none, of what the scope has of another's: every table and view
// is there, and has the rows of the scope alone. So whatever is asked of it, by whatever name, can't be answered with
// what is somebody else's: it isn't there. Narrow is for questions of our own; this is for those of people who may not
// see the rest.
//
// What a view reckons of everybody's rows would be another figure here. So the journal, whose largest remainders are
// those of all cost centres, is a table: the lines that debit the scope's. How complete their months are isn't in it,
// for that names all accounts.
//
// What isn't said here to be of the scope stays empty, a table that is new as well. Figures of an account as a whole
// (its balance, invoices, the counts of its windows) are in the files of scopes of accounts alone: where the scope is
// of owners, others have a part in them. Of rules and runs nothing is there, for their texts name others.
//
// Ids of end users are what users makes of them, in every table.
func Carve(ctx context.Context, from, to *publish.Lake, scope Scope, users EndUsers) (err error) {
	if scope.Period != nil || len(scope.Models) > 0 || scope.Where() == (&Scope{}).Where() {
		return errors.New("carve: the scope names no owner and no account")
	}
	d, err := from.OpenPublishedFile(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	conn, err := d.Second(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	s := &Snapshot{d: d, conn: conn}
	if err := s.Narrow(ctx, scope); err != nil {
		return err
	}
	layout, err := s.layout(ctx)
	if err != nil {
		return err
	}
	if users.Drop && slices.Contains(layout.Fields, schemas.FieldCustomUserID) {
		return ErrEndUsersOwn
	}
	// Before any part names chargeback_ever, which stands on nothing else: views that its text names in passing come back
	// to chargeback_daily.
	if err := s.define(ctx, "chargeback_daily"); err != nil {
		return err
	}
	return to.Carve(ctx, layout, func(path string) error {
		exec := func(sql string) error {
			if err := s.define(ctx, sql); err != nil {
				return err
			}
			_, err := conn.ExecContext(ctx, sql, nil)
			return err
		}
		if err := exec("ATTACH " + publish.SqlPath(path) + " AS " + carved); err != nil {
			return fmt.Errorf("carve: %w", err)
		}
		columns, err := s.columnsOf(ctx, carved, "custom_user_id", "extra")
		if err != nil {
			return err
		}
		if err := users.gather(ctx, s, columns["custom_user_id"]); err != nil {
			return fmt.Errorf("carve: the ids of end users: %w", err)
		}
		for _, p := range scope.parts() {
			if slices.Contains(layout.Views, p.table) {
				continue
			}
			if slices.Contains(columns["custom_user_id"], p.table) {
				p.rows = users.in(p.rows, slices.Contains(columns["extra"], p.table))
			}
			if p.table == "quarantine" && !users.Kept() {
				p.rows = "SELECT * REPLACE ('' AS raw) FROM (" + p.rows + ")"
			}
			if err := exec("INSERT INTO " + carved + "." + p.table + " BY NAME " + p.rows); err != nil {
				return fmt.Errorf("carve %s: %w", p.table, err)
			}
		}
		if err := errors.Join(exec("DROP VIEW "+carved+".chargeback_journal"),
			exec("CREATE TABLE "+carved+".chargeback_journal AS "+
				"SELECT * REPLACE (NULL::VARCHAR AS completeness) FROM usage.main.chargeback_journal WHERE "+
				scope.debited())); err != nil {
			return fmt.Errorf("carve chargeback_journal: %w", err)
		}
		return errors.Join(exec("CHECKPOINT "+carved), exec("DETACH "+carved))
	})
}

const carved = "carved"

// ErrEndUsersOwn says that ids can't be dropped by which it is said who pays.
var ErrEndUsersOwn = errors.New("the allocation rules look at custom_user_id, so that it can't be dropped: who pays " +
	"for a record hangs on it\nhint: hash it: end_users: {handed_out: hash}")

// columnsOf are the tables of a database that have each of the columns.
func (s *Snapshot) columnsOf(ctx context.Context, database string, columns ...string) (map[string][]string, error) {
	out := map[string][]string{}
	for _, c := range columns {
		err := s.Each(ctx, fmt.Sprintf(`SELECT c.table_name FROM duckdb_columns() c
			JOIN duckdb_tables() t ON t.table_oid = c.table_oid AND t.database_name = c.database_name
			WHERE c.database_name = '%s' AND c.column_name = '%s' ORDER BY ALL`, database, c), func(row []Value) error {
			out[c] = append(out[c], row[0].Text)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// debited is the condition that a line of the journal debits the scope: it is of whole cost centres.
func (s *Scope) debited() string {
	if len(s.CostCenters) == 0 {
		return "false"
	}
	return "entry = 'debit' AND coalesce(cost_center, '" + schemas.Unallocated + "') IN " + s.list("cost_center")
}

// part is a table of a carved file, and the query of its rows.
type part struct{ table, rows string }

// parts are the tables that have rows. A plain name is what Narrow makes of it, one behind the catalog the file's own.
func (s *Scope) parts() []part {
	const whole = "usage.main."
	from := func(table, where string, change ...string) part {
		columns := "*"
		if len(change) > 0 {
			columns = "* REPLACE (" + strings.Join(change, ", ") + ")"
		}
		return part{table, "SELECT " + columns + " FROM " + whole + table + " WHERE " + where}
	}
	narrowed := func(table string) part { return part{table, "FROM " + table} }
	// Accounts in which the scope has a charge, and where it names accounts, those.
	accounts := "account IN (SELECT account FROM chargeback_ever)"
	if len(s.Accounts) > 0 {
		accounts = "account IN " + s.list("account")
	}
	// Whether an account was prepaid is for those who have its credit, and by what a share is reckoned tells what all
	// owners of all accounts cost.
	prepaid, basis := "[]::VARCHAR[]", "basis"
	if !s.Owned() {
		prepaid, basis = "list_filter(prepaid, lambda a: a IN "+s.list("account")+")", "''"
	}
	mine := func(kind, value string) string {
		var of []string
		for _, d := range ScopeDimensions {
			if len(*s.Values(d)) > 0 {
				of = append(of, fmt.Sprintf("(%s = '%s' AND %s IN %s)", kind, d, value, s.list(d)))
			}
		}
		return strings.Join(of, " AND ") // of two dimensions none is both
	}
	out := []part{
		// Of everybody: the calendar, currencies and their rates, and what the file is.
		from("meta", "true", "0::BIGINT AS built_rows", "0::BIGINT AS built_bytes", "'' AS balance_digest",
			"'' AS finance_digest", "'' AS rates_digest", "'all' AS records", "NULL::VARCHAR AS lake"),
		from("books", "true"), from("periods", "true"), from("book_days", "true"), from("currencies", "true"),
		from("book_rates", "true"), from("finance_settings", "true"), from("data_as_of", "true"),
		// Why a month was closed in spite of what, and how complete all of it was, names accounts.
		from("closed_months", "true", "NULL::VARCHAR AS reason", "NULL::VARCHAR[] AS objections",
			"NULL::VARCHAR AS completeness", prepaid+" AS prepaid", "'' AS manifest_sha256", "'' AS ruleset",
			"'' AS run_id", "coalesce((SELECT bool_or(true) FROM chargeback_ever c WHERE c.charge_class = 'Correction' "+
				"AND month_of(c.book_date) = closed_months.\"month\"), false) AS corrected"),
		from("accounts", accounts), from("coverage_daily", accounts), from("completeness_monthly", accounts),
		from("closed_lacking", accounts),
		// What was used and charged.
		narrowed("usage"), narrowed("usage_daily"), narrowed("allocated_daily"), narrowed("allocated_model_daily"),
		narrowed("ext_daily"),
		{"shared_cost_shares", "SELECT * REPLACE (" + basis + " AS basis) FROM shared_cost_shares"},
		{"chargeback_daily", "FROM chargeback_ever"},
		// A share of a pool is of the cost of somebody's tokens.
		from("focus_closed", s.Where(), "CASE WHEN pool IS NULL THEN token_id END AS token_id",
			"CASE WHEN pool IS NULL THEN user_id END AS user_id",
			"CASE WHEN pool IS NULL THEN custom_user_id END AS custom_user_id"),
		{"allocations", "SELECT * REPLACE (NULL::VARCHAR AS source, '' AS ruleset) FROM " + whole + "allocations " +
			"WHERE allocation_id IN (SELECT allocation_id FROM allocated_daily)"},
		{"allocation_keys", "FROM " + whole + "allocation_keys WHERE " + accounts +
			" AND allocation_id IN (SELECT allocation_id FROM allocated_daily)"},
		from("budgets", mine(`"scope"`, "scope_value")),
		from("metric_lines", mine(`"scope"`, "scope_value"), "'' AS source"),
		{"names", "SELECT n.* FROM " + whole + `names n WHERE (n.kind, n.id) IN (
			SELECT unnest([('token', token_id), ('user', user_id), ('model', model)]) FROM allocated_daily
			UNION SELECT unnest([('cost_center', cost_center), ('account', account), ('model', model)])
			FROM chargeback_ever)`},
	}
	if len(s.CostCenters) > 0 {
		// A mark-up of no cost centre by name is that of each that has none.
		out = append(out, from("markups", "cost_center IS NULL OR cost_center IN "+s.list("cost_center")),
			from("closed_markups", "cost_center IN "+s.list("cost_center")))
	}
	if s.Owned() {
		// Which time was fetched is what the figures hang on; how much came of it is everybody's.
		return append(out,
			from("coverage", accounts, "NULL::BIGINT AS announced", "0::BIGINT AS listed", "0::BIGINT AS lacking",
				"0::BIGINT AS records", "0::BIGINT AS pages", "0::BIGINT AS requests", "'' AS run_id"),
			part{"unit_prices", `SELECT p.* REPLACE (0::BIGINT AS requests) FROM unit_prices p
				SEMI JOIN usage_ever u ON u.account = p.account AND u.usage_date = p.usage_date AND u.model = p.model`})
	}
	return append(out, from("coverage", accounts), from("partitions", accounts, "NULL::VARCHAR AS records_file"),
		from("day_issues", accounts),
		from("account_overlaps", accounts+" AND other IN "+s.list("account")), from("quarantine", accounts),
		from("unit_prices", accounts), from("balance", accounts), from("invoice_lines", accounts, "'' AS source"),
		from("top_ups", accounts, "'' AS source"), from("account_billing", accounts),
		from("prepaid_ledger", accounts, "NULL::VARCHAR AS source"))
}
