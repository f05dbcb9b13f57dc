package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

var writeSources = flag.Bool("sources", false, "write the sources of deploy/dbt anew")

// dbtSources are the tables and views that the dbt project offers as sources, each with the columns that name a row;
// nil where none is checked there.
var dbtSources = []struct {
	name string
	key  []string
}{
	{"accounts", []string{"account"}}, {"anomaly_events", nil},
	{"balance_reconciliation", nil}, {"budget_vs_actual", nil}, {"cache_savings", nil}, {"chargeback_daily", nil},
	{"chargeback_journal", nil}, {"chargeback_monthly", nil}, {"closed_months", []string{"month"}},
	{"data_freshness_and_gaps", []string{"account"}}, {"forecast_month_end", nil}, {"invoice_reconciliation", nil},
	{"month_completeness", []string{"month"}}, {"names", []string{"kind", "id"}}, {"period_status_and_corrections", nil},
	{"price_changes", nil}, {"published", []string{"generation"}}, {"quality_issues", nil},
	{"spend_by_cost_center_month", []string{"month", "cost_center", "currency"}},
	{"top_spenders", []string{"month", "scope", "scope_value", "currency"}}, {"unallocated_spend", nil},
	{"unit_cost", nil}, {"usage", []string{"account", "usage_date", "request_time", "id", "ordinal"}},
	{"usage_line_items", nil},
}

// sourcesOf are the sources of the dbt project as a published file describes them.
func sourcesOf(t *testing.T, lake *publish.Lake) []byte {
	t.Helper()
	quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	ask := func(sql string) (out [][]query.Value) {
		rows, err := query.Run(t.Context(), lake, sql)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for row, err := range rows.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, slices.Clone(row))
		}
		return out
	}
	comments := map[string]string{}
	for _, row := range ask(`SELECT view_name, "comment" FROM duckdb_views() WHERE NOT internal
		UNION ALL SELECT table_name, "comment" FROM duckdb_tables() WHERE NOT "temporary"`) {
		comments[row[0].Text] = row[1].Text
	}
	var b bytes.Buffer
	b.WriteString(`# Made of the comments in usage.duckdb: go test ./cmd/usagelake -run TheDbtSources -sources
sources:
  - name: usagelake
    description: The published file of a lake, attached to be read.
    database: usage
    schema: main
    tables:
`)
	for _, s := range dbtSources {
		if comments[s.name] == "" {
			t.Errorf("the published file has no %s", s.name)
		}
		fmt.Fprintf(&b, "      - name: %s\n        description: %s\n", s.name, quoted(comments[s.name]))
		if s.name == "published" {
			b.WriteString("        config:\n          loaded_at_field: published_at AT TIME ZONE 'UTC'\n" +
				"          freshness: {warn_after: {count: 26, period: hour}, error_after: {count: 3, period: day}}\n")
		}
		if s.key != nil {
			fmt.Fprintf(&b, "        data_tests:\n          - unique_key: {arguments: {columns: [%s]}}\n",
				strings.Join(s.key, ", "))
		}
		b.WriteString("        columns:\n")
		for _, c := range ask(`SELECT column_name, data_type, coalesce("comment", '') FROM duckdb_columns()
			WHERE table_name = '` + s.name + "' AND NOT internal ORDER BY column_index") {
			fmt.Fprintf(&b, "          - {name: %s, data_type: %s, description: %s}\n", c[0].Text, quoted(c[1].Text),
				quoted(c[2].Text))
		}
	}
	return b.Bytes()
}

// What the dbt project says of its sources is what the published file says of its columns.
func TestTheDbtSourcesAreThoseOfTheFile(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	w.Day(schemas.Partition{Account: "acme", Date: schemastest.Date("2026-11-02")}, [4]string{"a", "tk_1", "gpt-5", "0.1"})
	w.Publish(publish.PublishOptions{})
	got := sourcesOf(t, w.Lake)
	path := filepath.Join("..", "..", "deploy", "dbt", "models", "sources.yml")
	if *writeSources {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("deploy/dbt/models/sources.yml isn't made of the file: go test ./cmd/usagelake -run TheDbtSources -sources")
	}
}
