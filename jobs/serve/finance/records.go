package finance

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

const (
	pageRows = 100     // of records on a page
	mostPage = 1000    // pages that can be turned to: what is further on is narrowed down to, or downloaded
	fileRows = 100_000 // of a file of records, and of an answer to SQL
	sqlRows  = 500     // of an answer to SQL on a page
)

// monthName is the month of its first day, as addresses have it; what is no day is a period's name already.
func monthName(text string) string {
	if _, err := schemas.ParseDate(text); err == nil {
		return text[:len("2026-10")]
	}
	return text
}

func dayAfter(text string) string {
	d, err := schemas.ParseDate(text)
	if err != nil {
		return text
	}
	return (d + 1).String()
}

// behind are the records of what an address asks for, as a query.
func (a asked) behind(p schemas.Period) string {
	where := []string{fmt.Sprintf("book_date >= DATE '%s' AND book_date < DATE '%s'", p.From, p.To)}
	from, to := p.UTC() // of usage, whose days they are: others aren't opened
	where = append(where, fmt.Sprintf("usage_date >= DATE '%s' AND usage_date < DATE '%s'", from, to))
	scope := a.scope()
	where = append(where, scope.Where())
	for _, key := range recordKeys {
		if values := a.values[key]; len(values) > 0 {
			var quoted []string
			for _, v := range values {
				quoted = append(quoted, schemas.SQLString(v))
			}
			where = append(where, key+" IN ("+strings.Join(quoted, ", ")+")")
		}
	}
	return "allocated_usage WHERE " + strings.Join(where, " AND ")
}

const recordColumns = `request_time, cost_center, team, project, pool, token_id, user_id, model, amount AS net_cost,
	currency, total_amount AS list_cost, discount_amount AS discount, input_tokens, cached_tokens, output_tokens, account,
	id`

// records are the records behind a figure.
func (s *Site) records(ctx context.Context, reader *library.Reader, values url.Values, format string) (*page, error) {
	a, err := ask("records", reader.Scope, values, slices.Concat(narrowing, recordKeys, []string{"page"})...)
	if err != nil {
		return nil, err
	}
	f, err := frameOf(ctx, reader)
	if err != nil {
		return nil, err
	}
	period, err := a.period(f.books, s.opts.Now())
	if err != nil {
		return nil, err
	}
	if period == nil {
		if len(f.Periods) == 0 {
			return nil, report.ErrNothing
		}
		p, err := f.books.ParsePeriod(f.Periods[:1], s.opts.Now())
		if err != nil {
			return nil, err
		}
		period = &p
	}
	if period.From >= period.To {
		return nil, &problem{http.StatusBadRequest, "There is no such period", "It ends before it begins.",
			"The last day is excluded: choose a later one."}
	}
	n, err := a.number("page", 1, 1, mostPage)
	if err != nil {
		return nil, err
	}
	if err := f.knows(a); err != nil {
		return nil, err
	}
	all := "SELECT " + recordColumns + " FROM " + a.behind(*period) + " ORDER BY request_time, account, id, ordinal"
	if format != "" {
		p, err := answerFile(ctx, reader, all, "records-"+period.Name(), format)
		if errors.Is(err, context.DeadlineExceeded) {
			err = tooLong(library.SQLLimit)
		}
		return p, err
	}
	address := func(page int) string {
		change := map[string][]string{"page": {strconv.Itoa(page)}}
		for _, key := range recordKeys {
			change[key] = a.values[key]
		}
		return a.address("records", change)
	}
	key := "records " + period.Name() + address(n)
	out, err := reader.Kept(ctx, library.Making, key, func(ctx context.Context, lake *publish.Lake) (any, int, error) {
		snapshot, err := query.OpenSnapshot(ctx, lake)
		if err != nil {
			return nil, 0, err
		}
		defer snapshot.Close()
		docs := make([]*report.Document, 2)
		for i, sql := range []string{
			`SELECT currency, count(*) AS records, sum(total_amount) AS list_cost, sum(discount_amount) AS discount,
				sum(amount) AS net_cost FROM ` + a.behind(*period) + " GROUP BY ALL ORDER BY currency",
			all + fmt.Sprintf(" LIMIT %d OFFSET %d", pageRows, (n-1)*pageRows),
		} {
			rows, err := snapshot.Query(ctx, sql)
			if err != nil {
				return nil, 0, err
			}
			title := "All of them"
			if i == 1 {
				title = "One by one"
			}
			docs[i], _, err = report.Of(ctx, rows, "records", title, 0)
			if err = cmp.Or(err, rows.Close()); err != nil {
				return nil, 0, err
			}
		}
		docs[0].Describe("records", "list_cost", "discount", "net_cost")
		docs[1].Exact()
		count := 0
		for _, row := range docs[0].Tables[0].Rows {
			c, err := strconv.Atoi(row[1].Text)
			if err != nil {
				return nil, 0, err
			}
			count += c
		}
		head := &report.Document{Title: "Records", Subtitle: period.Title(),
			Freshness: a.words() + ". As it is now, by the day of the usage; exact, and before pools are split."}
		head.Completeness, err = report.CompletingOf(ctx, snapshot, report.Options{Period: period, Scope: a.scope(),
			Own: reader.Scope, Voice: report.Address})
		if err != nil {
			return nil, 0, err
		}
		var b bytes.Buffer
		if err := headTemplate.Execute(&b, head); err != nil {
			return nil, 0, err
		}
		if count <= fileRows {
			fmt.Fprintf(&b, `<p class="files">Download all %s: %s</p>`, words.Count(count), anchors(a.recordFiles()))
		} else {
			fmt.Fprintf(&b, `<p class="files">A file has %s records at the most: narrow these, or ask whoever runs `+
				`usagelake for a larger one.</p>`,
				words.Count(fileRows))
		}
		if err := docs[0].Content(&b, report.Web{}); err != nil {
			return nil, 0, err
		}
		if err := docs[1].Content(&b, report.Web{Link: a.link}); err != nil {
			return nil, 0, err
		}
		named := slices.ContainsFunc(recordKeys, func(key string) bool { return len(a.values[key]) > 0 })
		if named && count == 0 {
			return nil, 0, &problem{http.StatusBadRequest, "That can't be shown",
				a.words() + ": you can see no record of that in " + period.Title() + ".",
				"Choose another period above, or begin anew."}
		}
		pages := (count + pageRows - 1) / pageRows
		b.WriteString(`<nav class="pages" aria-label="Pages of records">`)
		if n > 1 {
			fmt.Fprintf(&b, `<a rel="prev" href="%s">← earlier</a> `, template.HTMLEscapeString(address(n-1)))
		}
		fmt.Fprintf(&b, "<span>page %s of %s</span>", words.Count(n), words.Count(max(1, pages)))
		if n < min(pages, mostPage) {
			fmt.Fprintf(&b, ` <a rel="next" href="%s">later →</a>`, template.HTMLEscapeString(address(n+1)))
		}
		b.WriteString("</nav>")
		return &made{title: "Records, " + period.Name(), content: template.HTML(b.String())}, b.Len(), nil
	})
	if err != nil {
		return nil, err
	}
	m := out.(*made)
	return &page{title: m.title, content: m.content, frame: f, asked: a, current: "records"}, nil
}

// words say whose records they are.
func (a asked) words() string {
	var out []string
	for _, key := range slices.Concat(query.ScopeDimensions, recordKeys) {
		if values := a.values[key]; len(values) > 0 {
			title := titles[key]
			if title == "" {
				title = label(strings.TrimSuffix(key, "_id"))
			}
			out = append(out, strings.ReplaceAll(title, "_", " ")+" "+strings.Join(values, ", "))
		}
	}
	if len(out) == 0 {
		return "All records"
	}
	return strings.Join(out, "; ")
}

func (a asked) recordFiles() (out []report.Download) {
	change := map[string][]string{}
	for _, key := range recordKeys {
		change[key] = a.values[key]
	}
	for _, f := range []string{"csv", "xlsx", "parquet"} {
		out = append(out, report.Download{Label: files[f].label, Address: a.address("records."+f, change)})
	}
	return out
}

// knows refuses a name that nothing of the file has: a page of nobody would be taken for one of somebody without cost.
// A name among too many to look through is asked for as it is, and one that is the viewer's own may have no usage yet.
func (f *frame) knows(a asked) error {
	for _, c := range f.Choices {
		for _, v := range a.values[c.Key] {
			if v != schemas.Unallocated && !c.More && !slices.Contains(c.Values, v) &&
				!slices.Contains(*a.viewer.Values(c.Key), v) {
				return &problem{http.StatusBadRequest, "That can't be shown",
					fmt.Sprintf("%s %q: nothing that you can see is called that.", c.Title, words.Cell(v)),
					"Choose another one above."}
			}
		}
	}
	return nil
}

// answerFile is the answer to a query as a file, of fileRows at the most.
func answerFile(ctx context.Context, reader *library.Reader, sql, name, format string) (*page, error) {
	if !slices.Contains([]string{"csv", "xlsx", "parquet", "json"}, format) {
		return nil, &problem{http.StatusNotFound, "There is no such page", "This can't be had as a file of that kind.",
			"It can be had as csv, xlsx, parquet and json."}
	}
	out, err := reader.Made(ctx, library.Asking, format+" "+sql, func(ctx context.Context) (any, error) {
		doc, more, err := reader.Answer(ctx, sql, fileRows)
		if err != nil {
			return nil, err
		}
		if more { // a part would be taken for the whole
			return nil, &problem{http.StatusRequestEntityTooLarge, "That is too much for a file",
				"It has more than " + words.Count(fileRows) + " rows, or 64 MiB of text, and a part would be taken for all.",
				"Ask for some days, or one owner; whoever runs usagelake can make a file of any size."}
		}
		doc.Generated = time.Now()
		return fileOf(doc, name, format)
	})
	if err != nil {
		return nil, err
	}
	return out.(*page), nil
}
