// Package librarytest makes lakes whose usage belongs to several who must not learn of each other.
package librarytest

import (
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// Noon is a time that the lake's usage lies before.
var Noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// Search and Acme are scopes of two who don't see all: a cost centre, and an account.
var (
	Search = query.Scope{CostCenters: []string{"cc-2"}}
	Acme   = query.Scope{Accounts: []string{"acme"}}
)

// HiddenOfSearch is what Search, the cost centre cc-2, must never learn: whatever names somebody else, and what only
// others have.
var HiddenOfSearch = []string{"cc-6", "team-6", "cc-0", "team-0", "cc-4", "cc-moved", "hiddenacct",
	"tk_hidden", "model-hidden", "rec-hidden", "Hidden", "777.77", "888.88", "INV-", "controller"}

// HiddenOfAcme is what Acme must never learn.
var HiddenOfAcme = []string{"hiddenacct", "tk_hidden0", "model-hidden0", "rec-hidden-other", "Hidden Account", "888.88",
	"INV-2", "controller", "cc-0", "team-0"}

// Attacks are statements by which somebody may look for more than is his. {lake} is the lake's directory.
var Attacks = []string{
	"FROM usage.main.chargeback_daily", "FROM usage.usage", "FROM usage.main.usage", "FROM main.allocations",
	"FROM usage.main.allocation_keys", "FROM usage.main.allocation_rules", "FROM usage.main.names", "FROM usage.runs",
	"FROM usage.main.invoice_lines", "FROM usage.main.budgets", "FROM usage.main.balance", "FROM usage.main.partitions",
	"FROM bi.charges_daily", "FROM usage.bi.charges_monthly", "FROM bi.usage_by_user", "FROM usage.bi.records",
	"FROM bi.months", "FROM bi.month_totals", "FROM bi.budget_periods", "FROM bi.forecasts", "FROM bi.anomalies",
	"FROM bi.unit_costs", "FROM bi.prices", "FROM bi.invoices", "FROM bi.prepaid", "FROM bi.freshness",
	"SUMMARIZE usage.bi.records", "FROM usage.main.unit_prices", "FROM usage.main.focus_charges",
	"FROM focus_closed", "FROM usage.main.meta",
	"SUMMARIZE usage", "SUMMARIZE usage.main.chargeback_daily", "DESCRIBE usage", "SHOW ALL TABLES", "SHOW DATABASES",
	"FROM information_schema.tables", "FROM information_schema.columns", "FROM duckdb_databases()", "FROM duckdb_tables()",
	"FROM duckdb_columns()", "FROM duckdb_constraints()", "FROM duckdb_settings()", "FROM duckdb_temporary_files()",
	"FROM duckdb_views()", "FROM pragma_storage_info('chargeback_daily')", "FROM pragma_database_size()",
	"FROM temp.chargeback_ever", "FROM whole_budget_status", "FROM usagelake_answer", "FROM chargeback_ever",
	"FROM carved.main.usage", "FROM read_parquet('{lake}/usage/**/*.parquet')", "FROM '{lake}/usage.duckdb'",
	"FROM read_text('{lake}/usagelake.yaml')", "FROM read_blob('{lake}/usage.duckdb')", "FROM glob('{lake}/**')",
	"FROM read_csv('/etc/passwd')", "ATTACH '{lake}/usage.duckdb' AS x", "FROM query('FROM usage')",
	"FROM query_table('usage')", "SELECT getenv('HOME')", "FROM duckdb_secrets()", "FROM duckdb_logs()",
	"EXPLAIN ANALYZE FROM usage.main.chargeback_daily", "PRAGMA database_list", "SET enable_external_access = true",
	"COPY usage TO '/tmp/x.csv'", "CREATE TABLE x AS FROM usage", "SELECT 1; SELECT 2", "FROM allocation_explain('x')",
	"SELECT * FROM chargeback_daily c FULL JOIN usage u ON true",
}

// World is a published lake of two accounts whose usage belongs to several cost centres.
type World struct {
	*publishtest.Writer
	Finance publish.Finance
}

// New makes a World.
func New(t testing.TB) *World {
	w := publishtest.New(t, load.Options{})
	day := func(account, date string) schemas.Partition {
		return schemas.Partition{Account: account, Date: schemastest.Date(date)}
	}
	for _, d := range []string{"2026-10-30", "2026-11-02", "2026-11-03"} {
		w.Day(day("acme", d), [4]string{"rec-own-" + d, "tk_own2", "model-own", "12.345678901234"},
			[4]string{"rec-own-b-" + d, "tk_own2", "model-both", "0.000000000001"},
			[4]string{"rec-pool-" + d, "tk_pool5", "model-1", "9"},
			[4]string{"rec-hidden-" + d, "tk_hidden6", "model-hidden", "777.77"},
			[4]string{"rec-hidden-b-" + d, "tk_hidden4", "model-both", "100"})
		w.Day(day("hiddenacct", d), [4]string{"rec-hidden-other-" + d, "tk_hidden0", "model-hidden0", "888.88"})
	}
	w.Balance(day("hiddenacct", "2026-11-03"), "888.88")
	money := func(text string) schemas.Money {
		m, err := schemas.ParseMoney(text)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	f := publishtest.Ruled("2026-12-01", "cc-2", "cc-6")
	f.Accounts = []string{"acme", "hiddenacct"}
	f.Budgets = []schemas.Budget{
		{Name: "Own budget", Scope: "cost_center", Value: "cc-2", Period: schemas.BudgetMonth, Amount: money("30"),
			Currency: "USD"},
		{Name: "Hidden budget", Scope: "cost_center", Value: "cc-6", Period: schemas.BudgetMonth, Amount: money("30"),
			Currency: "USD"},
		{Name: "Hidden of all", Period: schemas.BudgetMonth, Amount: money("30"), Currency: "USD"},
	}
	f.Names = []schemas.Name{{Kind: "cost_center", ID: "cc-2", Name: "Own centre"},
		{Kind: "cost_center", ID: "cc-6", Name: "Hidden centre"}, {Kind: "account", ID: "hiddenacct", Name: "Hidden Account"},
		{Kind: "token", ID: "tk_hidden6", Name: "Hidden token"}}
	f.Invoices = []schemas.InvoiceLine{
		{Invoice: "INV-1", Account: "acme", From: schemastest.Date("2026-10-01"), To: schemastest.Date("2026-11-01"),
			Amount: money("777.77"), Currency: "USD", Source: "invoices.csv:1"},
		{Invoice: "INV-2", Account: "hiddenacct", From: schemastest.Date("2026-10-01"), To: schemastest.Date("2026-11-01"),
			Amount: money("888.88"), Currency: "USD", Source: "invoices.csv:2"}}
	w.Publish(publish.PublishOptions{Finance: f})
	return &World{w, f}
}

// Open opens the lake, as a Library does at each request.
func (w *World) Open() (*publish.Lake, error) { return publish.Open(w.Lake.Dir(), publish.Options{}) }

// PublishMore publishes a day more.
func (w *World) PublishMore() {
	w.Day(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-11-04")},
		[4]string{"rec-own-new", "tk_own2", "model-own", "5"})
	w.Publish(publish.PublishOptions{Finance: w.Finance})
}
