package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/jobs/serve/library/librarytest"
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
var dbtSources = []dbtSource{
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

// dbtLayer are the views of the semantic layer that it offers.
var dbtLayer = []dbtSource{
	{"anomalies", nil}, {"budget_periods", []string{"budget", "period_start", "currency"}}, {"charges_daily", nil},
	{"charges_monthly", nil}, {"forecasts", []string{"scope", "scope_value", "currency"}},
	{"freshness", []string{"account"}}, {"invoices", nil}, {"month_totals", []string{"month", "currency"}},
	{"months", []string{"month"}}, {"prepaid", []string{"month", "account", "currency"}}, {"prices", nil},
	{"records", []string{"account", "usage_date", "request_time", "id", "ordinal"}},
	{"unit_costs", []string{"month", "scope", "scope_value", "currency"}}, {"usage_by_user", nil},
}

type dbtSource struct {
	name string
	key  []string
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
	for _, row := range ask(`SELECT schema_name, view_name, "comment" FROM duckdb_views() WHERE NOT internal
		UNION ALL SELECT schema_name, table_name, "comment" FROM duckdb_tables() WHERE NOT "temporary"`) {
		comments[row[0].Text+"."+row[1].Text] = row[2].Text
	}
	var b bytes.Buffer
	b.WriteString(`# Made of the comments in usage.duckdb: go test ./cmd/usagelake -run TheDbtSources -sources
sources:
`)
	write := func(schema string, s dbtSource) {
		comment := comments[schema+"."+s.name]
		if comment == "" {
			t.Errorf("the published file has no %s.%s", schema, s.name)
		}
		fmt.Fprintf(&b, "      - name: %s\n        description: %s\n", s.name, quoted(comment))
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
			WHERE schema_name = '` + schema + "' AND table_name = '" + s.name + "' AND NOT internal ORDER BY column_index") {
			fmt.Fprintf(&b, "          - {name: %s, data_type: %s, description: %s}\n", c[0].Text, quoted(c[1].Text),
				quoted(c[2].Text))
		}
	}
	b.WriteString(`  - name: usagelake_bi
    description: The semantic layer of the published file.
    database: usage
    schema: bi
    tables:
`)
	for _, s := range dbtLayer {
		write(schemas.BISchema, s)
	}
	b.WriteString(`  - name: usagelake
    description: The published file of a lake, attached to be read.
    database: usage
    schema: main
    tables:
`)
	for _, s := range dbtSources {
		write("main", s)
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

// What the docs give to type, and what Grafana's dashboard of cost asks, is answered by the file.
func TestTheQueriesOfDashboardsAreAnswered(t *testing.T) {
	w := librarytest.New(t)
	root := filepath.Join("..", "..")
	docs, err := os.ReadFile(filepath.Join(root, "docs", "dashboards.md"))
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]string{}
	for i, m := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(docs, -1) {
		asked[fmt.Sprintf("docs %d", i)] = string(m[1])
	}
	board, err := os.ReadFile(filepath.Join(root, "deploy", "grafana", "cost.json"))
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ UID string }
	var d struct {
		Panels []struct {
			ID         int
			Title      string
			Datasource source
			GridPos    struct{ X, Y, W, H int }
			Targets    []struct {
				Datasource source
				RawSQL     string
			}
		}
		Templating struct {
			List []struct{ Name, Type, Query string }
		}
	}
	if err := json.Unmarshal(board, &d); err != nil {
		t.Fatal(err)
	}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		if p.Datasource.UID != "${duckdb}" || len(p.Targets) != 1 || p.Targets[0].Datasource.UID != "${duckdb}" {
			t.Errorf("panel %q asks not one thing, or of a data source that others don't have", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or past the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		asked[p.Title] = p.Targets[0].RawSQL
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			asked["variable "+v.Name] = v.Query
		}
	}
	answers := map[string][][]query.Value{}
	for what, sql := range asked {
		sql = strings.NewReplacer("$period", "2026-11", "$currency", "USD").Replace(sql)
		rows, err := query.Run(t.Context(), w.Lake, sql)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for row, err := range rows.All(t.Context()) {
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			answers[what] = append(answers[what], slices.Clone(row))
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if len(answers[what]) == 0 && what != "Anomalies" { // a lake of three days has none
			t.Errorf("%s: no row", what)
		}
	}
	// Of two days 12.345678901234 + 0.000000000001 + 9 + 777.77 + 100 in one account, 888.88 in the other.
	if got := answers["Charged in the month"]; len(got) != 1 || got[0][0].Text != "3575.99" {
		t.Errorf("charged: %v", got)
	}
	if len(asked) < 15 {
		t.Errorf("only %d queries are asked", len(asked))
	}
}
