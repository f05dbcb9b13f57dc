package finance

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas/words"
)

func sqlAddress(path, statement string) string {
	return Root + path + "?" + url.Values{"q": {statement}}.Encode()
}

// questions lists the twenty.
func (s *Site) questions(ctx context.Context, reader *library.Reader, values url.Values) (*page, error) {
	a, err := ask("questions", reader.Scope, values)
	if err != nil {
		return nil, err
	}
	f, err := frameOf(ctx, reader)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("<header><h1>Twenty questions</h1><p class=\"sub\">What finance asks at a month's end. Each is a view" +
		", and its answer a table that can be narrowed and summed in SQL.</p></header>\n<ol class=\"list\">\n")
	for _, q := range library.Questions {
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a> <code>%s</code></li>\n",
			template.HTMLEscapeString(sqlAddress("sql", q.Statement())), template.HTMLEscapeString(q.Text), q.View)
	}
	b.WriteString("</ol>")
	return &page{title: "Twenty questions", content: template.HTML(b.String()), frame: f, asked: a, current: "questions"},
		nil
}

//go:embed sql.html
var boxText string

var boxTemplate = template.Must(template.New("box").Parse(boxText))

const (
	tablesQuery = `SELECT "schema", name, kind, "comment" FROM (
	SELECT schema_name AS "schema", view_name AS name, 'view' AS kind, "comment" FROM duckdb_views() WHERE NOT internal
	UNION ALL SELECT schema_name, table_name, 'table', "comment" FROM duckdb_tables() WHERE NOT "temporary")
ORDER BY ALL`
	columnsQuery = `SELECT schema_name AS "schema", table_name, column_name, data_type, "comment" FROM duckdb_columns()
WHERE NOT internal ORDER BY schema_name, table_name, column_index`
)

// sql answers a statement. It is the reader's file that is asked: what isn't in it can't be named.
func (s *Site) sql(ctx context.Context, reader *library.Reader, values url.Values, format string) (*page, error) {
	a, err := ask("sql", reader.Scope, values, "q")
	if err != nil {
		return nil, err
	}
	statement, err := a.one("q")
	if err != nil {
		return nil, err
	}
	f, err := frameOf(ctx, reader)
	if err != nil {
		return nil, err
	}
	if len(statement) > library.LongestSQL {
		return nil, &problem{http.StatusBadRequest, "That is too long",
			fmt.Sprintf("A statement may have %s bytes.", words.Count(library.LongestSQL)), "Ask for less at once."}
	}
	if format != "" {
		p, err := answerFile(ctx, reader, statement, "answer", format)
		if text := library.SQLMistake(err); text != "" {
			return nil, &problem{http.StatusBadRequest, "That can't be answered", text, "Change the statement."}
		}
		return p, err
	}
	box := map[string]any{"Limit": library.SQLLimit, "Rows": words.Count(sqlRows), "FileRows": words.Count(fileRows),
		"Action": Root + "sql", "Longest": library.LongestSQL, "Statement": statement,
		"Tables":  sqlAddress("sql", tablesQuery),
		"Columns": sqlAddress("sql", columnsQuery)}
	var answer bytes.Buffer
	if strings.TrimSpace(statement) != "" {
		out, err := reader.Kept(ctx, library.Asking, "sql "+statement, func(ctx context.Context, _ *publish.Lake) (any, int,
			error) {
			doc, more, err := reader.Answer(ctx, statement, sqlRows)
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
			return template.HTML(b.String()), library.Passing(statement, b.Len()), err
		})
		if text := library.SQLMistake(err); text != "" {
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
