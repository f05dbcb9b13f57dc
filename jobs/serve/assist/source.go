package assist

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// source is the file that a reader has: what every answer says of it, and what can be asked of it. It is kept, and
// nothing writes to it.
type source struct {
	published, asOf string  // instants in UTC; asOf is "" if there is no usage yet
	completeTo      *string // nil: of some account nothing was ever fetched
	currencies      []string
	bookCurrency    string // "" if the books have none
	scope           []string
	books           *schemas.Books
	months          []completeness // from the first of which anything was fetched, the last first
	objects         []object       // by name
}

// completeness is how much of a period was fetched.
type completeness struct {
	Period         string `json:"period"`
	Complete       bool   `json:"complete"`
	MissingSeconds int64  `json:"missing_seconds"`
	Text           string `json:"text"`
}

// object is a view, a table or a macro of the file.
type object struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Comment string   `json:"comment"`
	Columns []column `json:"columns,omitempty"`
}

type column struct {
	Name    string `json:"name"`
	Type    string `json:"type,omitempty"`
	Comment string `json:"comment,omitempty"`
}

const (
	fileQuery = `SELECT published_at, as_of, complete_to, (SELECT book_currency FROM finance_settings),
	(SELECT string_agg(DISTINCT currency, ',' ORDER BY currency) FROM chargeback_daily) FROM published`
	monthsQuery = `SELECT period_of("month"), complete, missing_seconds, completeness FROM month_completeness
	WHERE expected_seconds > 0 AND "month" >= (SELECT min("month") FROM completeness_monthly WHERE covered_seconds > 0)
	ORDER BY "month" DESC`
	// What isn't of main is called by its schema, too: bi.months. Of a macro the parameters stand where columns do.
	objectsQuery = `SELECT name, kind, coalesce("comment", '') FROM (
	SELECT ` + inSchema + `view_name AS name, 'view' AS kind, "comment" FROM duckdb_views() WHERE NOT internal
	UNION ALL SELECT ` + inSchema + `table_name, 'table', "comment" FROM duckdb_tables() WHERE NOT "temporary"
	UNION ALL SELECT function_name || '(' || array_to_string("parameters", ', ') || ')', 'macro', "comment"
	FROM duckdb_functions() WHERE NOT internal AND "comment" IS NOT NULL) ORDER BY name`
	columnsQuery = `SELECT ` + inSchema + `table_name, column_name, data_type, coalesce("comment", '')
	FROM duckdb_columns() WHERE NOT internal ORDER BY schema_name, table_name, column_index`
	inSchema = `CASE WHEN schema_name <> 'main' THEN schema_name || '.' ELSE '' END || `
)

// sourceOf asks the reader's file for it.
func sourceOf(ctx context.Context, r *library.Reader) (*source, error) {
	out, err := r.Kept(ctx, library.Making, "assist", func(ctx context.Context, lake *publish.Lake) (any, int, error) {
		snapshot, err := query.OpenSnapshot(ctx, lake)
		if err != nil {
			return nil, 0, err
		}
		defer snapshot.Close()
		s := &source{}
		if s.books, err = snapshot.Books(ctx); err != nil {
			return nil, 0, err
		}
		size := 0
		for _, q := range []struct {
			sql string
			do  func(row []query.Value) error
		}{
			{fileQuery, func(row []query.Value) error {
				s.published, s.asOf, s.bookCurrency = row[0].Text, row[1].Text, row[3].Text
				if to := row[2].Text; !row[2].Null {
					s.completeTo = &to
				}
				s.currencies = strings.FieldsFunc(words.Cell(row[4].Text), func(r rune) bool { return r == ',' })
				return nil
			}},
			{monthsQuery, func(row []query.Value) error {
				missing, err := strconv.ParseInt(row[2].Text, 10, 64)
				s.months = append(s.months, completeness{row[0].Text, row[1].Text == "true", missing, words.Cell(row[3].Text)})
				return err
			}},
			{objectsQuery, func(row []query.Value) error {
				s.objects = append(s.objects, object{Name: row[0].Text, Kind: row[1].Text, Comment: row[2].Text})
				size += len(row[2].Text) + 100
				return nil
			}},
			{columnsQuery, func(row []query.Value) error {
				if o := s.object(row[0].Text); o != nil {
					o.Columns = append(o.Columns, column{row[1].Text, row[2].Text, row[3].Text})
				}
				size += len(row[3].Text) + 100
				return nil
			}},
		} {
			if err := snapshot.Each(ctx, q.sql, q.do); err != nil {
				return nil, 0, err
			}
		}
		for _, d := range query.ScopeDimensions {
			if values := *r.Scope.Values(d); len(values) > 0 {
				s.scope = append(s.scope, d+" "+words.Cell(strings.Join(values, ", ")))
			}
		}
		return s, size, nil
	})
	if err != nil {
		return nil, err
	}
	return out.(*source), nil
}

// object is that of a name, of a macro with its parameters or without; nil if there is none.
func (s *source) object(name string) *object {
	at, ok := slices.BinarySearchFunc(s.objects, name, func(o object, name string) int {
		return cmp.Compare(o.Name, name)
	})
	if !ok && (at == len(s.objects) || !strings.HasPrefix(s.objects[at].Name, name+"(")) {
		return nil
	}
	return &s.objects[at]
}

func (o *object) has(name string) bool {
	return slices.ContainsFunc(o.Columns, func(c column) bool { return c.Name == name })
}

// mostIncomplete are named one by one of the periods that lack something.
const mostIncomplete = 12

// whole is how complete all of the file is.
func (s *source) whole() (all completeness, incomplete []completeness) {
	switch len(s.months) {
	case 0: // a viewer without a charge, or a file without usage
		return completeness{Period: "all", Text: "not known: nothing that may be seen here was charged yet"}, nil
	case 1:
		return s.months[0], nil
	}
	all = completeness{Complete: true, Text: "complete"}
	all.Period = s.months[len(s.months)-1].Period + " to " + s.months[0].Period
	for _, m := range s.months {
		all.MissingSeconds += m.MissingSeconds
		if !m.Complete {
			all.Complete = false
			incomplete = append(incomplete, m)
		}
	}
	if n := len(incomplete); n > 0 {
		all.Text = fmt.Sprintf("%s of %s not complete: %s", words.Count(n), words.Plural(len(s.months), "period", "periods"),
			words.Some(texts(incomplete), 3))
	}
	return all, incomplete[:min(len(incomplete), mostIncomplete)]
}

func texts(list []completeness) (out []string) {
	for _, c := range list {
		out = append(out, c.Period+" has "+c.Text)
	}
	return out
}

// answer is an answer about all of the file.
func (s *source) answer() *answer {
	a := &answer{PublishedAt: s.published, AsOf: s.asOf, CompleteTo: s.completeTo, Currencies: s.currencies,
		BookCurrency: s.bookCurrency, Scope: s.scope}
	a.Completeness, a.Incomplete = s.whole()
	return a
}
