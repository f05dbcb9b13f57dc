package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// question is one of docs/questions.md. view answers it from what is published; bare is the same question, or the
// nearest that records without owners, budgets and invoices can answer, with FROM u for the records.
type question struct{ name, view, bare string }

// month is the one that is asked about: MONTH in a question is its first day.
var questions = []question{
	{"chargeback by month",
		"SELECT cost_center, sum(net_cost) FROM chargeback_daily WHERE billing_month = MONTH GROUP BY ALL",
		"SELECT token_id, sum(amount) FROM u WHERE date_trunc('month', usage_date) = MONTH GROUP BY ALL"},
	{"1 spend_by_cost_center_month", "SELECT * FROM spend_by_cost_center_month WHERE month = MONTH",
		"SELECT token_id, count(*), sum(total_amount), sum(discount_amount), sum(amount) FROM u WHERE date_trunc('month', " +
			"usage_date) = MONTH GROUP BY ALL"},
	{"2 chargeback_journal", "SELECT * FROM chargeback_journal WHERE month = MONTH",
		"SELECT token_id, round(sum(amount), 2) FROM u WHERE date_trunc('month', usage_date) = MONTH GROUP BY ALL"},
	{"3 unallocated_spend", "SELECT * FROM unallocated_spend",
		"SELECT date_trunc('month', usage_date), token_id, user_id, count(*), sum(amount), min(usage_date), " +
			"max(usage_date) FROM u GROUP BY ALL"},
	{"4 allocation_coverage_trend", "SELECT * FROM allocation_coverage_trend",
		"SELECT usage_date, sum(amount) FROM u GROUP BY ALL"},
	{"5 shared_cost_split", "SELECT * FROM shared_cost_split WHERE month = MONTH", ""},
	{"6 allocation_explain", "SELECT * FROM allocation_explain(ID)", "SELECT * FROM u WHERE id = ID"},
	{"7 invoice_reconciliation", "SELECT * FROM invoice_reconciliation", ""},
	{"8 balance_reconciliation", "SELECT * FROM balance_reconciliation", ""},
	{"9 period_status_and_corrections", "SELECT * FROM period_status_and_corrections",
		"SELECT date_trunc('month', usage_date), count(*), sum(amount) FROM u GROUP BY ALL"},
	{"10 budget_vs_actual", "SELECT * FROM budget_vs_actual",
		"SELECT date_trunc('month', usage_date), model, sum(amount) FROM u GROUP BY ALL"},
	{"11 forecast_month_end", "SELECT * FROM forecast_month_end",
		"SELECT usage_date, model, token_id, sum(amount) FROM u GROUP BY ALL"},
	{"12 month_over_month_drivers", "SELECT * FROM month_over_month_drivers",
		"SELECT date_trunc('month', usage_date), model, sum(amount), sum(input_tokens), sum(output_tokens), " +
			"sum(cached_tokens) FROM u GROUP BY ALL"},
	{"13 anomalous_days", "SELECT * FROM anomalous_days",
		"SELECT usage_date, model, token_id, sum(amount) FROM u GROUP BY ALL"},
	{"14 top_spenders", "SELECT * FROM top_spenders WHERE month = MONTH",
		"SELECT user_id, token_id, model, custom_user_id, count(*), sum(amount) FROM u WHERE date_trunc('month', " +
			"usage_date) = MONTH GROUP BY GROUPING SETS ((user_id), (token_id), (model), (custom_user_id))"},
	{"15 unit_cost", "SELECT * FROM unit_cost WHERE month = MONTH",
		"SELECT model, count(*), count(DISTINCT user_id), sum(amount), sum(amount) / count(*), sum(amount) / " +
			"sum(total_tokens) FROM u WHERE date_trunc('month', usage_date) = MONTH GROUP BY ALL"},
	{"16 cache_savings", "SELECT * FROM cache_savings WHERE month = MONTH",
		"SELECT model, sum(cached_tokens), sum(cached_tokens * (input_price - cached_price)::DOUBLE) FROM u WHERE " +
			"date_trunc('month', usage_date) = MONTH GROUP BY ALL"},
	{"17 discount_realised", "SELECT * FROM discount_realised WHERE month = MONTH",
		"SELECT model, sum(total_amount), sum(discount_amount), sum(amount) FROM u WHERE date_trunc('month', usage_date) = " +
			"MONTH GROUP BY ALL"},
	{"18 price_changes", "SELECT * FROM price_changes",
		"SELECT usage_date, model, list(DISTINCT input_price), list(DISTINCT output_price), list(DISTINCT cached_price) " +
			"FROM u GROUP BY ALL"},
	{"19 modality_and_tool_spend", "SELECT * FROM modality_and_tool_spend WHERE month = MONTH",
		"SELECT model, i.category, i.item, i.unit, sum(i.usage), sum(i.amount) FROM (SELECT model, unnest(ext_items) i " +
			"FROM u WHERE date_trunc('month', usage_date) = MONTH) GROUP BY ALL"},
	{"20 data_freshness_and_gaps", "SELECT * FROM data_freshness_and_gaps",
		"SELECT account, max(request_time), count(*) FROM u GROUP BY ALL"},
}

// childQueries asks every question of the published file, of its table usage, and of the Parquet files by glob.
func childQueries(ctx context.Context, args []string, out *answer) error {
	lake, times := args[0], atoi(args[1])
	db, err := sql.Open("duckdb", "?threads=2")
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	exec := func(statement string) error { _, err := c.ExecContext(ctx, statement); return err }
	if err := exec("ATTACH " + schemas.SQLString(filepath.Join(lake, "usage.duckdb")) +
		" AS usage (READ_ONLY)"); err != nil {
		return err
	}
	if err := exec("USE usage"); err != nil {
		return err
	}
	month := truthMonth() + "-01"
	var id string
	err = c.QueryRowContext(ctx,
		"SELECT any_value(id) FROM usage.usage WHERE usage_date = (SELECT min(usage_date) FROM usage.usage)").Scan(&id)
	if err != nil {
		return err
	}
	parquet := "read_parquet(" + schemas.SQLString(filepath.Join(lake, "usage", "*", "*", "*.parquet")) +
		", hive_partitioning = false)"
	for _, q := range questions {
		for from, text := range map[string]string{"view": q.view, "table": q.bare, "parquet": q.bare} {
			if text == "" {
				continue
			}
			text = strings.NewReplacer("ID", schemas.SQLString(id), "MONTH", "DATE "+schemas.SQLString(month)).Replace(text)
			switch from {
			case "table":
				text = strings.ReplaceAll(text, "FROM u ", "FROM usage.usage u ")
			case "parquet":
				text = strings.ReplaceAll(text, "FROM u ", "FROM "+parquet+" u ")
			}
			var took sample
			for range times {
				start := time.Now()
				// Every cell counts, or DuckDB would leave out the columns that nobody looks at.
				var n, sum any
				if err := c.QueryRowContext(ctx, "SELECT count(*), bit_xor(hash(r)) FROM ("+text+") r").Scan(&n, &sum); err != nil {
					return fmt.Errorf("%s, %s: %w", q.name, from, err)
				}
				took = append(took, time.Since(start).Seconds())
			}
			out.V[q.name+"."+from] = took.median()
		}
	}
	return nil
}
