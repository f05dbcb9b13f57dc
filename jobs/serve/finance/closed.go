package finance

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// closedAddress is where a closed month has its page.
func closedAddress(period string) string {
	return Root + "closed?" + url.Values{"period": {period}}.Encode()
}

// closing is a closed month as a reader is handed it.
type closing struct{ *library.Closing }

// closedQueries are what of a month's usage is charged later, and what of earlier months it is charged itself.
var closedQueries = []struct{ name, title, sql string }{
	{"corrected", "Charged later for it", `SELECT period_of(billing_month) AS charged_in, cost_center, currency,
		sum(requests)::BIGINT AS records, sum(net_cost) AS correction FROM chargeback_daily
		WHERE charge_class = 'Correction' AND month_of(book_date) = DATE '%s' GROUP BY billing_month, cost_center, currency
		ORDER BY billing_month, abs(correction) DESC, cost_center`},
	{"carried", "Charged in it for earlier months", `SELECT period_of(month_of(book_date)) AS corrects, cost_center,
		currency, sum(requests)::BIGINT AS records, sum(net_cost) AS correction FROM chargeback_daily
		WHERE charge_class = 'Correction' AND billing_month = DATE '%s' GROUP BY month_of(book_date), cost_center, currency
		ORDER BY month_of(book_date), abs(correction) DESC, cost_center`},
}

// closedMonth is a closed month: when and as what it was closed, its files, and its corrections; or one of the files.
func (s *Site) closedMonth(ctx context.Context, reader *library.Reader, values url.Values) (*page, error) {
	a, err := ask("closed", reader.Scope, values, append([]string{"file"}, periodKeys...)...)
	if err != nil {
		return nil, err
	}
	h := reader.Handout()
	if !h.Any() {
		return nil, &problem{http.StatusForbidden, "These aren't for you",
			"What a month was closed with stands by cost centre: in each there is usage that isn't yours to see.",
			"Ask for the statement of what is yours among the reports."}
	}
	f, err := frameOf(ctx, reader)
	if err != nil {
		return nil, err
	}
	months, err := h.Months()
	if err != nil {
		return nil, err
	}
	none := &problem{http.StatusNotFound, "That month isn't closed", "No month is closed yet.",
		"What it comes to until now is among the reports."}
	if len(months) == 0 {
		return nil, none
	}
	none.Text = "Closed are " + strings.Join(namesOf(months), ", ") + "."
	period, err := a.period(f.books, s.opts.Now())
	if err != nil {
		return nil, err
	}
	at := 0
	if period != nil {
		at = slices.IndexFunc(months, func(c publish.ClosedMonth) bool {
			month, ok := period.Month()
			return ok && month == c.Month
		})
	}
	if at < 0 {
		return nil, none
	}
	of, err := h.Closing(months[at])
	if err != nil {
		return nil, err
	}
	c := closing{of}
	name, err := a.one("file")
	if err != nil {
		return nil, err
	}
	if name != "" {
		return c.file(ctx, h, name)
	}
	p := f.books.Period(c.Month, c.Month)
	body, err := s.corrections(ctx, reader, p)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := c.write(&b, p, months, body); err != nil {
		return nil, err
	}
	b.WriteString(string(body.tables))
	return &page{title: "Closed month " + p.Name(), content: template.HTML(b.String()), frame: f, asked: a,
		current: "closed"}, nil
}

// namesOf are what people call months.
func namesOf(months []publish.ClosedMonth) (out []string) {
	for _, m := range months {
		out = append(out, m.Name())
	}
	return out
}

// corrected is what the published file says of a closed month.
type corrected struct {
	completeness report.Completeness
	centers      []string // that are charged in it
	tables       template.HTML
}

func (s *Site) corrections(ctx context.Context, reader *library.Reader, p schemas.Period) (*corrected, error) {
	key := "closed " + p.Name()
	out, err := reader.Kept(ctx, library.Making, key, func(ctx context.Context, lake *publish.Lake) (any, int, error) {
		snapshot, err := query.OpenSnapshot(ctx, lake)
		if err != nil {
			return nil, 0, err
		}
		defer snapshot.Close()
		var b bytes.Buffer
		for _, q := range closedQueries {
			rows, err := snapshot.Query(ctx, fmt.Sprintf(q.sql, p.First.First()))
			if err != nil {
				return nil, 0, err
			}
			doc, _, err := report.Of(ctx, rows, q.name, q.title, 0)
			if err = cmp.Or(err, rows.Close()); err != nil {
				return nil, 0, err
			}
			if len(doc.Tables[0].Rows) == 0 {
				fmt.Fprintf(&b, "<section><h2>%s</h2><p>Nothing.</p></section>\n", q.title)
				continue
			}
			doc.Describe("records", "correction")
			if err := doc.Content(&b, report.Web{Link: correctionLink, Rows: shownRows}); err != nil {
				return nil, 0, err
			}
		}
		out := &corrected{tables: template.HTML(b.String())}
		if out.centers, err = report.StatementsOf(ctx, snapshot, p.First); err != nil {
			return nil, 0, err
		}
		size := b.Len()
		for _, center := range out.centers {
			size += len(center)
		}
		out.completeness, err = report.CompletingOf(ctx, snapshot, report.Options{Period: &p}) // the file has his alone
		return out, size, err
	})
	if err != nil {
		return nil, err
	}
	return out.(*corrected), nil
}

// correctionLink is where a cell of the corrections leads: to the chargeback of the month that is charged.
func correctionLink(column string, of func(string) query.Value) string {
	switch column {
	case "corrects":
		return closedAddress(of(column).Text)
	case "charged_in":
		return asked{}.address("chargeback", map[string][]string{"period": {of(column).Text}})
	case "cost_center":
		if in := of("charged_in"); !in.Null {
			return asked{}.address("chargeback", map[string][]string{"period": {in.Text},
				"cost_center": {of(column).Text}, "by": {"team,model"}})
		}
	}
	return ""
}

//go:embed closed.html
var closedText string

var closedTemplate = template.Must(template.New("closed").Funcs(pageFuncs).Parse(closedText))

// write writes what the month's manifest says of it, and the tables of its files.
func (c closing) write(b *bytes.Buffer, p schemas.Period, months []publish.ClosedMonth, body *corrected) error {
	d := struct {
		closing
		Period       schemas.Period
		At, Who      string
		Completeness report.Completeness
		Chargeback   string
		Others       []link
	}{closing: c, Period: p, At: words.MinuteUTC(c.ClosedAt), Completeness: body.completeness,
		Chargeback: asked{}.address("chargeback", map[string][]string{"period": {p.Name()}})}
	if c.By != nil {
		d.Who = strings.TrimSuffix(c.By.User+" at "+c.By.Host, " at ")
	}
	for _, m := range months {
		if m.Month != c.Month {
			d.Others = append(d.Others, link{Label: m.Name(), Address: closedAddress(m.Name())})
		}
	}
	if err := closedTemplate.Execute(b, d); err != nil {
		return err
	}
	doc := &report.Document{Tables: c.tables(body.centers)}
	return doc.Content(b, report.Web{Link: func(column string, of func(string) query.Value) string {
		name := of("file").Text
		if center := of("cost_center"); !center.Null {
			name = c.of(center.Text, column)
		}
		if _, ok := c.Find(name); !ok || column != "file" && of("cost_center").Null {
			return ""
		}
		return Root + "closed?" + url.Values{"period": {p.Name()}, "file": {name}}.Encode()
	}})
}

// of is the name of a cost centre's file of a kind.
func (c closing) of(center, kind string) string {
	if kind != "package" {
		return report.StatementPath(center) + "." + kind
	}
	i := slices.IndexFunc(c.Files, func(f library.Handed) bool { return f.Center == center && f.Center != "" })
	if i < 0 {
		return ""
	}
	return c.Files[i].Name
}

// handedKinds are the files of a cost centre.
var handedKinds = []struct{ name, title string }{{"html", "Page"}, {"xlsx", "Workbook"}, {"csv", "CSV"},
	{"package", "Package with its records"}}

// tables are those of the files: what each cost centre is handed, and what is of all.
func (c closing) tables(centers []string) (out []*report.Table) {
	each := &report.Table{Name: "cost-centers", Title: "What each cost centre is handed",
		Columns: []report.Column{{Name: "cost_center", Title: "Cost centre"}}}
	for _, k := range handedKinds {
		each.Columns = append(each.Columns, report.Column{Name: k.name, Title: k.title})
	}
	for _, center := range centers {
		row, any := []query.Value{{Text: center}}, false
		for _, k := range handedKinds {
			f, ok := c.Find(c.of(center, k.name))
			row, any = append(row, query.Value{Null: !ok, Text: words.Bytes(f.Size)}), any || ok
		}
		if any {
			each.Rows = append(each.Rows, row)
		}
	}
	if len(each.Rows) > 0 {
		out = append(out, each)
	}
	all := &report.Table{Name: "files", Title: "Of all", Columns: []report.Column{{Name: "file", Title: "File"},
		{Name: "is", Title: "Is"}, {Name: "size", Title: "Size"}, {Name: "sha256", Title: "SHA-256"}}}
	for _, f := range c.Files {
		if f.Center == "" && !strings.HasPrefix(f.Name, path.Dir(report.StatementPath(""))+"/") {
			all.Rows = append(all.Rows, []query.Value{{Text: f.Name}, {Text: fileIs(f.Name)}, {Text: words.Bytes(f.Size)},
				{Null: f.SHA256 == "", Text: f.SHA256}})
		}
	}
	if len(all.Rows) > 0 {
		out = append(out, all)
	}
	return out
}

// fileIs says what a file of a closed month is.
func fileIs(name string) string {
	base := strings.TrimSuffix(name, path.Ext(name))
	switch {
	case base == "statement":
		return "every cost centre's statement"
	case base == "chargeback":
		return "what each owner is charged"
	case name == "journal.csv":
		return "debit and credit lines to post"
	case strings.Contains(base, "journal"):
		return "the journal as a ledger imports it"
	case strings.HasPrefix(name, "focus") && strings.HasSuffix(name, ".metadata.json"):
		return "what the columns of the FOCUS files are"
	case strings.HasPrefix(name, "focus"):
		return "FOCUS, for FinOps tools"
	case name == publish.LedgerFile:
		return "what was charged, row by row"
	case name == publish.LedgerFocus:
		return "the charges of each record, which the FOCUS files were made of"
	case name == publish.PrepaidFile:
		return "what was topped up, drawn and expired of prepaid credit"
	case strings.HasPrefix(name, "rules/"):
		return "the allocation rules it was made by"
	case name == "cost-centers.csv":
		return "whose files are whose"
	case name == publish.ManifestName:
		return "what it was closed with, and the digest of each file"
	case name == publish.SignatureFile:
		return "the manifest's signature"
	}
	return ""
}

// file is one of the month's files, by its name.
func (c closing) file(ctx context.Context, h library.Handout, name string) (*page, error) {
	f, ok := c.Find(name)
	if !ok {
		return nil, &problem{http.StatusNotFound, "There is no such file",
			"The month has no file of that name that is for you.", "Choose one on the page of the month."}
	}
	open, err := h.Open(ctx, f)
	if errors.Is(err, library.ErrChanged) {
		s := "Tell whoever runs usagelake: a backup has it as it was."
		return nil, &problem{http.StatusInternalServerError, "That file isn't as it was",
			"It isn't what the month was closed with, by its digest, and isn't handed out.", s}
	}
	if err != nil {
		return nil, err
	}
	kind := files[strings.TrimPrefix(path.Ext(name), ".")].kind
	return &page{stream: open, kind: cmp.Or(kind, "application/octet-stream"), name: c.Month.String() + "-" +
		path.Base(name)}, nil
}
