package finance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas/words"
)

// Change is of what a file has others than those in force.
type Change int

// Allocation rules, mark-ups, prices.
const (
	OfRules Change = iota
	OfMarkups
	OfPrices
)

// changes are how each stands on the site: at which address, what is in the file, and what the page is about.
var changes = map[Change]struct{ path, these, about string }{
	OfRules:   {"compare", "rules", "What the rules in %s would charge in the months that are open"},
	OfMarkups: {"compare-markups", "mark-ups", "What the mark-ups in %s would charge on top in the months that are open"},
	OfPrices:  {"compare-prices", "prices", "What the months that are open would be charged by the prices in %s"},
}

// changeAt is what an address is about.
func changeAt(path string) (of Change, ok bool) {
	for of, c := range changes {
		if c.path == path {
			return of, true
		}
	}
	return 0, false
}

// Comparison holds a file with others than those in force against the published file.
type Comparison struct {
	Of Change
	// Digest is of the file as it is now, and of all else that counts beside what is published. A mistake in it is a
	// MistakeError, of Make as well.
	Digest func() (string, error)
	Make   func(context.Context) (*Changes, error)
}

// errComparing says that it goes on, and nobody waits for it any more.
var errComparing = errors.New("what another file would change is being worked out")

// Changes are what would be charged by the file in the months that are open.
type Changes struct {
	File     string // as people call it
	Months   []ChangedMonth
	Unpriced []Unpriced // of prices: lines that cost what they do, the largest first
	Findings []string
}

// Unpriced are lines of usage that the file has no price of. Net is exact; Lines says how many there are.
type Unpriced struct{ Model, Line, Currency, Lines, Net, Why string }

// ChangedMonth are the changes of a month.
type ChangedMonth struct {
	Period  string
	Centers []ChangedCenter // those that change most first
}

// ChangedCenter is what a cost centre is charged in a currency, as published and by the file. Amounts are exact.
type ChangedCenter struct{ CostCenter, Currency, Before, After, Difference string }

// MistakeError is a mistake in such a file, told to those who see all.
type MistakeError struct{ Err error }

func (e *MistakeError) Error() string { return e.Err.Error() }

// Unwrap is the mistake.
func (e *MistakeError) Unwrap() error { return e.Err }

// comparing are what looks at the files that the operator names for it; nil if there are none, or they aren't for him
// who asks.
func (s *Site) comparing(all bool) []Comparison {
	if !all || s.opts.Compare == nil {
		return nil
	}
	return s.opts.Compare()
}

var comparedTemplate = template.Must(template.New("compared").Funcs(pageFuncs).Parse(`<header>
<h1>{{.Title}}</h1>
<p class="sub">{{printable .About}}</p>
<p class="fresh">Nothing is changed by it. Closed months keep the {{.These}} that they were closed with.</p>
</header>
{{range .Findings}}<p class="warn" role="note">{{printable .}}</p>
{{end}}{{if not .Months}}<p>No month with usage is open.</p>
{{end}}`))

// compared is who would pay more, and who less, by the file that the operator names. It may be another at each request;
// of one that stays the same it is made once. It may take minutes.
func (s *Site) compared(ctx context.Context, reader *library.Reader, of Change, values url.Values) (*page, error) {
	all := s.comparing(reader.SeesAll())
	i := slices.IndexFunc(all, func(c Comparison) bool { return c.Of == of })
	if i < 0 {
		return nil, noPage()
	}
	is := changes[of]
	a, err := ask(is.path, reader.Scope, values)
	if err != nil {
		return nil, err
	}
	f, err := frameOf(ctx, reader)
	if err != nil {
		return nil, err
	}
	out, err := s.changes(ctx, reader, &all[i])
	switch mistake := (*MistakeError)(nil); {
	case errors.As(err, &mistake):
		return nil, &problem{http.StatusConflict, "These " + is.these + " can't be read", unhinted(mistake.Error()) + ".",
			"Tell whoever runs usagelake."}
	case errors.Is(err, errComparing):
		return nil, &problem{http.StatusServiceUnavailable, "It is being worked out",
			"What these " + is.these + " would charge takes a while.", "Ask again in a minute: it goes on, and is kept."}
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &problem{http.StatusServiceUnavailable, "That took too long",
			fmt.Sprintf("What these %s would charge was stopped after %.0f minutes.", is.these, library.CompareLimit.Minutes()),
			"Whoever runs usagelake can have it worked out without a limit."}
	case err != nil:
		return nil, err
	}
	title := "Change of " + is.these
	var b bytes.Buffer
	if err := comparedTemplate.Execute(&b, struct {
		*Changes
		Title, About, These string
	}{out, title, fmt.Sprintf(is.about, out.File), is.these}); err != nil {
		return nil, err
	}
	doc := &report.Document{}
	for _, m := range slices.Backward(out.Months) {
		doc.Tables = append(doc.Tables, m.table(is.these))
	}
	if len(out.Unpriced) > 0 {
		doc.Tables = append(doc.Tables, unpriced(out.Unpriced))
	}
	err = doc.Content(&b, report.Web{Rows: shownRows, Link: func(column string, of func(string) query.Value) string {
		if column != "cost_center" || of("before").Text == "0" { // it may be of the file alone
			return ""
		}
		return asked{}.address("chargeback", map[string][]string{"period": {of("month").Text},
			"cost_center": {of(column).Text}, "by": {"token,model"}})
	}})
	return &page{title: title, content: template.HTML(b.String()), frame: f, asked: a, current: is.path}, err
}

// changes are those of the file as it is now.
func (s *Site) changes(ctx context.Context, reader *library.Reader, c *Comparison) (*Changes, error) {
	digest, err := c.Digest()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.longWait, errComparing)
	defer cancel()
	out, err := reader.Kept(ctx, library.Comparing, changes[c.Of].path+" "+digest,
		func(ctx context.Context, _ *publish.Lake) (any, int, error) {
			out, err := c.Make(ctx)
			if err != nil {
				return nil, 0, err
			}
			size := 100 * len(out.Unpriced)
			for _, m := range out.Months {
				size += 100 * len(m.Centers)
			}
			return out, size, nil
		})
	if err != nil {
		return nil, err
	}
	return out.(*Changes), nil
}

// table is what changes in the month by these: how many don't is said above it.
func (m ChangedMonth) table(these string) *report.Table {
	t := &report.Table{Name: "changes", Title: m.Period, Columns: []report.Column{{Name: "month", Title: "Month"},
		{Name: "cost_center", Title: "Cost centre"}, {Name: "currency", Title: "Currency"},
		{Name: "before", Title: "Published", Kind: report.Money, Sum: true},
		{Name: "after", Title: "By these " + these, Kind: report.Money, Sum: true},
		{Name: "difference", Title: "Difference", Kind: report.Money, Sum: true}}}
	same := 0
	for _, c := range m.Centers {
		if c.Difference == "0" {
			same++
		}
		row := []query.Value{{Text: m.Period}}
		for _, text := range []string{c.CostCenter, c.Currency, c.Before, c.After, c.Difference} {
			row = append(row, query.Value{Null: text == "", Text: text})
		}
		t.Rows = append(t.Rows, row)
	}
	t.Caption = words.Count(len(m.Centers)-same) + " of " + words.Count(len(m.Centers)) + " change."
	return t
}

// unpriced is the table of what the file has no price of.
func unpriced(lines []Unpriced) *report.Table {
	t := &report.Table{Name: "unpriced", Title: "What the file has no price of", Caption: "It costs what it does.",
		Columns: []report.Column{{Name: "model", Title: "Model"}, {Name: "line", Title: "Line"},
			{Name: "currency", Title: "Currency"}, {Name: "lines", Title: "Lines", Kind: report.Count},
			{Name: "net_cost", Title: "Net", Kind: report.Money}, {Name: "why", Title: "Why"}}}
	for _, u := range lines {
		var row []query.Value
		for _, text := range []string{u.Model, u.Line, u.Currency, u.Lines, u.Net, u.Why} {
			row = append(row, query.Value{Null: text == "", Text: text})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// noPage is that of an address where nothing stands.
func noPage() *problem {
	return &problem{http.StatusNotFound, "There is no such page",
		"Nothing stands at this address.", "The reports are named above, and the months on the first page."}
}

// unhinted is a message of several lines without its hints, which are for who types commands.
func unhinted(message string) string {
	lines := slices.DeleteFunc(strings.Split(message, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "hint:")
	})
	return strings.Join(lines, "; ")
}
