package finance

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas/words"
)

// sqlLimit is how long a statement may take.
const sqlLimit = 20 * time.Second

// longestSQL is how long one may be: addresses of more aren't taken anyway.
const longestSQL = 8 << 10

// question is one of the twenty of docs/questions.md. A test holds the two against each other.
type question struct{ Text, View string }

var twenty = []question{
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

// statement is what answers it.
func (q question) statement() string {
	if q.View == "allocation_explain" { // a macro, of a record
		return "FROM allocation_explain((SELECT id FROM usage ORDER BY request_time DESC, id LIMIT 1))"
	}
	return "FROM " + q.View
}

func sqlAddress(path, statement string) string {
	return Root + path + "?" + url.Values{"q": {statement}}.Encode()
}

// questions lists the twenty.
func (s *Site) questions(ctx context.Context, reader *reader, values url.Values) (*page, error) {
	a, err := ask("questions", reader.who, values)
	if err != nil {
		return nil, err
	}
	f, err := reader.frame(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("<header><h1>Twenty questions</h1><p class=\"sub\">What finance asks at a month's end. Each is a view" +
		", and its answer a table that can be narrowed and summed in SQL.</p></header>\n<ol class=\"list\">\n")
	for _, q := range twenty {
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a> <code>%s</code></li>\n",
			template.HTMLEscapeString(sqlAddress("sql", q.statement())), template.HTMLEscapeString(q.Text), q.View)
	}
	b.WriteString("</ol>")
	return &page{title: "Twenty questions", content: template.HTML(b.String()), frame: f, asked: a, current: "questions"},
		nil
}

//go:embed sql.html
var boxText string

var boxTemplate = template.Must(template.New("box").Parse(boxText))

const (
	tablesQuery = `SELECT name, kind, "comment" FROM (
	SELECT view_name AS name, 'view' AS kind, "comment" FROM duckdb_views() WHERE NOT internal
	UNION ALL SELECT table_name, 'table', "comment" FROM duckdb_tables() WHERE NOT "temporary")
ORDER BY ALL`
	columnsQuery = `SELECT table_name, column_name, data_type, "comment" FROM duckdb_columns()
WHERE NOT internal ORDER BY table_name, column_index`
)

// sql answers a statement. It is the reader's file that is asked: what isn't in it can't be named.
func (s *Site) sql(ctx context.Context, reader *reader, values url.Values, format string) (*page, error) {
	a, err := ask("sql", reader.who, values, "q")
	if err != nil {
		return nil, err
	}
	statement, err := a.one("q")
	if err != nil {
		return nil, err
	}
	f, err := reader.frame(ctx)
	if err != nil {
		return nil, err
	}
	if len(statement) > longestSQL {
		return nil, &problem{http.StatusBadRequest, "That is too long",
			fmt.Sprintf("A statement may have %s bytes.", words.Count(longestSQL)), "Ask for less at once."}
	}
	if format != "" {
		p, err := reader.answerFile(ctx, statement, "answer", format)
		if text := sqlError(err); text != "" {
			return nil, &problem{http.StatusBadRequest, "That can't be answered", text, "Change the statement."}
		}
		return p, err
	}
	box := map[string]any{"Limit": sqlLimit, "Rows": words.Count(sqlRows), "FileRows": words.Count(fileRows),
		"Action": Root + "sql", "Longest": longestSQL, "Statement": statement, "Tables": sqlAddress("sql", tablesQuery),
		"Columns": sqlAddress("sql", columnsQuery)}
	var answer bytes.Buffer
	if strings.TrimSpace(statement) != "" {
		out, err := reader.keptBy(ctx, reader.lib.asking, "sql "+statement, func(ctx context.Context,
			lake *publish.Lake) (any, int, error) {
			ctx, cancel := context.WithTimeout(ctx, sqlLimit)
			defer cancel()
			rows, err := query.Run(ctx, lake, statement)
			if err != nil {
				return nil, 0, err
			}
			defer rows.Close()
			doc, more, err := report.Of(ctx, rows, "answer", "Answer", sqlRows)
			if err != nil {
				return nil, 0, err
			}
			var b bytes.Buffer
			if more {
				fmt.Fprintf(&b, "<p class=\"fresh\">The first %s rows; a file has all, up to %s.</p>",
					words.Count(len(doc.Tables[0].Rows)), words.Count(fileRows))
			}
			err = doc.Content(&b, report.Web{Downloads: func(string) (out []report.Download) {
				for _, f := range []string{"csv", "xlsx", "parquet", "json"} {
					out = append(out, report.Download{Label: files[f].label, Address: sqlAddress("sql."+f, statement)})
				}
				return out
			}})
			return template.HTML(b.String()), b.Len(), err
		})
		if text := sqlError(err); text != "" {
			box["Error"] = text
		} else if err != nil {
			return nil, err
		} else {
			answer.WriteString(string(out.(template.HTML)))
		}
	}
	var b bytes.Buffer
	if err := boxTemplate.Execute(&b, box); err != nil {
		return nil, err
	}
	b.Write(answer.Bytes())
	p := &page{title: "SQL", content: template.HTML(b.String()), frame: f, asked: a, current: "sql"}
	if box["Error"] != nil {
		p.status = http.StatusBadRequest
	}
	return p, nil
}

// sqlError is what a person is told of a statement that fails; "" of an error that isn't the statement's.
func sqlError(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("It was stopped after %s. Ask for less: some days, one owner, fewer columns.", sqlLimit)
	}
	return words.Printable(query.Mistake(err))
}
