package finance

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// shownRows are shown of a table at the most; a file has all.
const shownRows = 500

// files are the formats that a page can be had in.
var files = map[string]struct{ label, kind string }{
	"xlsx":    {"XLSX", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
	"csv":     {"CSV", "text/csv; charset=utf-8"},
	"parquet": {"Parquet", "application/vnd.apache.parquet"},
	"json":    {"JSON", "application/json"},
	"html":    {"page to send", "text/html; charset=utf-8"},
}

// made is a page as it is kept.
type made struct {
	title         string
	content, foot template.HTML
}

// report is a report as a page, or as a file.
func (s *Site) report(ctx context.Context, reader *library.Reader, r report.Report, values url.Values,
	format string) (*page, error) {
	keys := slices.Clone(narrowing)
	if r.By != nil {
		keys = append(keys, "by")
	}
	if r.Top {
		keys = append(keys, "top")
	}
	if format != "" {
		keys = append(keys, "table")
	}
	a, err := ask(r.Name, reader.Scope, values, keys...)
	if err != nil {
		return nil, err
	}
	f, err := frameOf(ctx, reader)
	if err != nil {
		return nil, err
	}
	// Of a viewer a report is what it is of the whole file for his scope, though his own has nothing else.
	opts := report.Options{Name: r.Name, Scope: reader.Within(a.scope()), Own: reader.Scope, Now: s.opts.Now(),
		Version: s.opts.Version, Pictures: format == "" || report.Pictured(format), Voice: report.Address}
	if s.opts.Posting != nil {
		opts.Posting = s.opts.Posting()
	}
	if opts.Period, err = a.period(f.books, s.opts.Now()); err != nil {
		return nil, err
	}
	if by, err := a.one("by"); err != nil {
		return nil, err
	} else if by != "" {
		opts.By = strings.Split(by, ",")
	}
	if opts.Top, err = a.number("top", 0, 1, 1000); err != nil {
		return nil, err
	}
	if err := r.Check(opts); err != nil {
		return nil, err
	}
	if format != "" {
		return s.file(ctx, reader, a, opts, format)
	}
	// What an address means by this month, and which month runs, is of a day; how a journal is posted, of the settings.
	key := f.books.Day(s.opts.Now()).String() + " "
	if r.Ledgers {
		settings, err := json.Marshal(opts.Posting)
		if err != nil {
			return nil, err
		}
		key += fmt.Sprintf("%x ", sha256.Sum256(settings))
	}
	key += a.address(r.Name, map[string][]string{"by": a.values["by"], "top": a.values["top"]})
	out, err := reader.Kept(ctx, library.Making, key,
		func(ctx context.Context, lake *publish.Lake) (any, int, error) {
			doc, err := report.Build(ctx, lake, opts)
			if err != nil {
				return nil, 0, err
			}
			m, err := s.made(a.of(doc, f.books), doc)
			return m, len(m.content) + len(m.foot), err
		})
	if err != nil {
		return nil, err
	}
	m := out.(*made)
	return &page{title: m.title, content: m.content, foot: m.foot, frame: f, asked: a, current: r.Name}, nil
}

var headTemplate = template.Must(template.New("head").Funcs(pageFuncs).Parse(`<header>
<h1>{{printable .Title}}</h1>
<p class="sub">{{printable .Subtitle}}</p>
<p class="complete{{if .Completeness.MissingSeconds}} lacking{{end}}">Completeness: {{printable .Completeness.Text}}</p>
<p class="fresh">{{printable .Freshness}}</p>
</header>
`))

var footTemplate = template.Must(template.New("foot").Funcs(pageFuncs).Parse(
	`{{range .Notes}}<p>{{printable .}}</p>{{end}}`))

// of is what was asked for with the period of the document that answers it, where the address names none: what is
// behind its figures is of that period.
func (a asked) of(doc *report.Document, books *schemas.Books) asked {
	a.books = books
	if a.values.Get("period")+a.values.Get("from")+a.values.Get("to") != "" {
		return a
	}
	if _, err := books.ParsePeriod([]string{doc.Period}, doc.Generated); err != nil {
		return a
	}
	values := maps.Clone(a.values)
	values.Set("period", doc.Period)
	return asked{a.report, a.viewer, values, books}
}

// made is a document as a page.
func (s *Site) made(a asked, doc *report.Document) (*made, error) {
	var b, foot bytes.Buffer
	if err := headTemplate.Execute(&b, doc); err != nil {
		return &made{}, err
	}
	fmt.Fprintf(&b, `<p class="files">Download all of it: %s</p>`, anchors(a.files("", "xlsx", "html", "json")))
	err := doc.Content(&b, report.Web{Link: a.link, Rows: shownRows, Downloads: func(table string) []report.Download {
		return a.files(table, "csv", "parquet")
	}})
	if err != nil {
		return &made{}, err
	}
	if err := footTemplate.Execute(&foot, doc); err != nil {
		return &made{}, err
	}
	return &made{title: doc.Title + ", " + doc.Period, content: template.HTML(b.String()),
		foot: template.HTML(foot.String())}, nil
}

func anchors(downloads []report.Download) string {
	var out []string
	for _, d := range downloads {
		out = append(out, `<a href="`+template.HTMLEscapeString(d.Address)+`">`+template.HTMLEscapeString(d.Label)+`</a>`)
	}
	return strings.Join(out, " · ")
}

// files are the addresses of a's report as files; of the table of a name where it isn't "".
func (a asked) files(table string, formats ...string) (out []report.Download) {
	change := map[string][]string{"by": a.values["by"], "top": a.values["top"]}
	if table != "" {
		change["table"] = []string{table}
	}
	for _, f := range formats {
		out = append(out, report.Download{Label: files[f].label, Address: a.address(a.report+"."+f, change)})
	}
	return out
}

// file is a report as a file. It is made for each who asks: files are large, and asked for but once.
func (s *Site) file(ctx context.Context, reader *library.Reader, a asked, opts report.Options,
	format string) (*page, error) {
	table, err := a.one("table")
	if err != nil {
		return nil, err
	}
	if table != "" && !report.OneTable(format) {
		return nil, &problem{http.StatusBadRequest, "There is no such file", "A file of that kind has all tables.",
			"Leave out which table it is to have."}
	}
	out, err := reader.Made(ctx, library.Making, "file "+a.report+"."+format+"?"+a.values.Encode(),
		func(ctx context.Context) (any, error) {
			doc, err := report.Build(ctx, reader.Lake, opts)
			if err == nil && table != "" {
				err = doc.Choose(table)
			}
			if err != nil {
				return nil, err
			}
			name := opts.Name + "-" + doc.Period
			if table != "" {
				name += "-" + table
			}
			return fileOf(doc, name, format)
		})
	if err != nil {
		return nil, err
	}
	return out.(*page), nil
}

// fileOf renders a document as a file.
func fileOf(doc *report.Document, name, format string) (*page, error) {
	var b bytes.Buffer
	if err := doc.Render(&b, format); err != nil {
		return nil, err
	}
	return &page{file: b.Bytes(), kind: files[format].kind, name: name + "." + format}, nil
}

// finer is what a chargeback of one of something is by.
var finer = map[string]string{"account": "cost_center", "cost_center": "team,model", "team": "token,model",
	"project": "token,model", "environment": "cost_center", "model": "cost_center"}

// records are the fields of a record that a column is, of reports and of views.
var recordFields = map[string]string{"token": "token_id", "token_id": "token_id",
	"user": "user_id", "user_id": "user_id",
	"custom_user": "custom_user_id", "custom_user_id": "custom_user_id"}

// scopes are the kinds of a row that says in two columns whose it is, and by what addresses have them.
var scopes = map[string]string{
	"token": "token_id", "user": "user_id", "custom_user": "custom_user_id",
	"account": "account", "cost_center": "cost_center", "team": "team", "project": "project",
	"environment": "environment", "model": "model",
}

// link is where a cell leads: what is behind it, of the period and the owners that the page is of, and of the owners
// that its row names.
func (a asked) link(column string, of func(column string) query.Value) string {
	value := of(column)
	if value.Null || value.Text == "" || value.Text == report.Shared {
		return ""
	}
	change := map[string][]string{}
	// A row of several names is about all of them.
	for _, d := range query.ScopeDimensions {
		if v := of(d); !v.Null && v.Text != "" {
			change[d] = []string{v.Text}
		}
	}
	kind, whose := scopes[of("scope").Text], of("scope_value")
	if kind != "" && !whose.Null {
		change[kind] = []string{whose.Text}
	}
	for _, month := range []string{"month", "billing_month"} {
		if m := of(month); !m.Null && len(m.Text) >= 7 {
			change["period"], change["from"], change["to"] = []string{monthName(m.Text)}, nil, nil
		}
	}
	switch field := recordFields[column]; {
	case column == "scope_value" && !of("usage_date").Null:
		return a.link("usage_date", of)
	case column == "scope_value" && slices.Contains(recordKeys, kind):
		return a.address("records", change)
	case column == "scope_value" && kind != "", column == "budget":
		a.span(change, of("period_start").Text, of("period_end").Text)
		change["by"] = []string{cmp.Or(finer[kind], "cost_center")}
		return a.address("chargeback", change)
	case column == "invoice":
		change["period"] = nil
		change["from"], change["to"] = []string{of("period_start").Text}, []string{of("period_end").Text}
		change["by"] = []string{"account,model"}
		return a.address("chargeback", change)
	case finer[column] != "":
		// The other names of the row stay what they are, and what was narrowed before does, too.
		by := finer[column]
		if value.Text == schemas.Unallocated { // what causes it is who used it
			by = "token,user,model"
		}
		change["by"] = []string{by}
		return a.address("chargeback", change)
	case field != "":
		for column, field := range recordFields {
			if v := of(column); !v.Null && v.Text != "" {
				change[field] = []string{v.Text}
			}
		}
		return a.address("records", change)
	case slices.Contains([]string{"day", "book_date", "usage_date"}, column) && len(value.Text) == len("2026-10-01"):
		from, to := value.Text, dayAfter(value.Text)
		if d, err := schemas.ParseDate(value.Text); err == nil && column == "usage_date" {
			// A UTC day, and an address has book days: those that it lies in.
			from, to = a.books.Day(d.Start()).String(), (a.books.Day((d + 1).Start().Add(-1)) + 1).String()
		}
		change["period"], change["from"], change["to"] = nil, []string{from}, []string{to}
		return a.address("records", change)
	case column == "month" || column == "billing_month":
		change["period"], change["from"], change["to"] = []string{monthName(value.Text)}, nil, nil
		return a.address("chargeback", change)
	}
	return ""
}

// span has change say the book days from one to another, excluded: by the names of the periods that they are, of which
// all is meant that is charged in them, or else by the days. What are no days changes nothing.
func (a asked) span(change map[string][]string, from, to string) {
	first, err1 := schemas.ParseDate(from)
	end, err2 := schemas.ParseDate(to)
	if err1 != nil || err2 != nil {
		return
	}
	change["period"], change["from"], change["to"] = nil, []string{from}, []string{to}
	p, err := a.books.Whole(a.books.Span(first, end))
	if err != nil {
		return
	}
	var each []string
	for m := p.First; m <= p.Last; m++ {
		each = append(each, p.NameOf(m))
	}
	// Not every run of periods has a name that an address knows.
	for _, name := range []string{p.Name(), strings.Join(each, ",")} {
		if got, err := a.books.ParsePeriod(strings.Split(name, ","), time.Time{}); err == nil && got == p {
			change["period"], change["from"], change["to"] = []string{name}, nil, nil
			return
		}
	}
}

const indexQuery = `SELECT period, completeness, status, closed_at::DATE AS closed_on, currency, requests, net_cost,
	corrections_in FROM period_status_and_corrections ORDER BY "month" DESC, currency`

// index is the first page: the months, and where to go.
func (s *Site) index(ctx context.Context, reader *library.Reader, values url.Values) (*page, error) {
	a, err := ask("", reader.Scope, values)
	if err != nil {
		return nil, err
	}
	f, err := frameOf(ctx, reader)
	if err != nil {
		return nil, err
	}
	out, err := reader.Kept(ctx, library.Making, "index", func(ctx context.Context, lake *publish.Lake) (any, int, error) {
		rows, err := query.Run(ctx, lake, indexQuery)
		if err != nil {
			return nil, 0, err
		}
		defer rows.Close()
		doc, _, err := report.Of(ctx, rows, "months", "Months", 0)
		if err != nil {
			return nil, 0, err
		}
		doc.Describe()
		var b bytes.Buffer
		b.WriteString("<header><h1>Finance</h1><p class=\"sub\">What it costs, and who pays</p></header>\n")
		if err := doc.Content(&b, report.Web{Link: func(column string, of func(string) query.Value) string {
			switch {
			case column == "period":
				return asked{}.address("chargeback", map[string][]string{"period": {of(column).Text}})
			case column == "status" && of(column).Text == "closed" && reader.Handout().Any():
				return closedAddress(of("period").Text)
			}
			return ""
		}}); err != nil {
			return nil, 0, err
		}
		b.WriteString(closedLinks(doc, reader))
		b.WriteString("<section><h2>Reports</h2><ul class=\"list\">\n")
		for _, r := range library.Reports(a.viewer) {
			fmt.Fprintf(&b, "<li><a href=\"%s%s\">%s</a> %s</li>\n", Root, r.Name, label(r.Name),
				template.HTMLEscapeString(r.About))
		}
		fmt.Fprintf(&b, "<li><a href=\"%[1]srecords\">Records</a> the requests behind a figure</li>\n"+
			"<li><a href=\"%[1]squestions\">Questions</a> the twenty that finance asks at a month's end</li>\n"+
			"<li><a href=\"%[1]ssql\">SQL</a> anything else</li></ul></section>", Root)
		return &made{title: "Finance", content: template.HTML(b.String())}, b.Len(), nil
	})
	if err != nil {
		return nil, err
	}
	m := out.(*made)
	return &page{title: m.title, content: m.content, frame: f, asked: a}, nil
}

// closedLinks leads to the months that are closed.
func closedLinks(doc *report.Document, reader *library.Reader) string {
	var out []string
	for _, row := range doc.Tables[0].Rows { // as indexQuery has its columns
		link := `<a href="` + template.HTMLEscapeString(closedAddress(row[0].Text)) + `">` +
			template.HTMLEscapeString(words.Cell(row[0].Text)) + "</a>"
		if row[2].Text == "closed" && !slices.Contains(out, link) { // a month stands once for each currency
			out = append(out, link)
		}
	}
	if len(out) == 0 || !reader.Handout().Any() {
		return ""
	}
	return "<section><h2>Closed months</h2><p>With their statements, files and corrections: " +
		strings.Join(out, " · ") + "</p></section>\n"
}
