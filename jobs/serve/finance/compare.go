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

// Comparison holds other rules against the published file.
type Comparison struct {
	// Digest is of the rules as they are now, and of all else that counts beside the file. A mistake in them is a
	// RulesError, of Make as well.
	Digest func() (string, error)
	Make   func(context.Context) (*Changes, error)
}

// errComparing says that it goes on, and nobody waits for it any more.
var errComparing = errors.New("what other rules would change is being worked out")

// Changes are what other allocation rules would charge in the months that are open.
type Changes struct {
	Rules    string // the file, as people call it
	Months   []ChangedMonth
	Findings []string
}

// ChangedMonth are the changes of a month.
type ChangedMonth struct {
	Period  string
	Centers []ChangedCenter // those that change most first
}

// ChangedCenter is what a cost centre is charged in a currency, as published and by the rules. Amounts are exact.
type ChangedCenter struct{ CostCenter, Currency, Before, After, Difference string }

// RulesError is a mistake in the rules, told to those who see all.
type RulesError struct{ Err error }

func (e *RulesError) Error() string { return e.Err.Error() }

// Unwrap is the mistake.
func (e *RulesError) Unwrap() error { return e.Err }

// comparing is what looks at the rules that the operator names for it; nil if there are none, or they aren't for him.
func (s *Site) comparing(all bool) *Comparison {
	if !all || s.opts.Compare == nil {
		return nil
	}
	return s.opts.Compare()
}

var comparedTemplate = template.Must(template.New("compared").Funcs(pageFuncs).Parse(`<header>
<h1>Change of rules</h1>
<p class="sub">What the rules in {{printable .Rules}} would charge in the months that are open</p>
<p class="fresh">Nothing is changed by it. Closed months keep the rules that they were closed with.</p>
</header>
{{range .Findings}}<p class="warn" role="note">{{printable .}}</p>
{{end}}{{if not .Months}}<p>No month with usage is open.</p>
{{end}}`))

// compared is who would pay more, and who less, by the rules that the operator names. Their file may be another at each
// request; of one that stays the same it is made once. It may take minutes.
func (s *Site) compared(ctx context.Context, reader *library.Reader, values url.Values) (*page, error) {
	compare := s.comparing(reader.SeesAll())
	if compare == nil {
		return nil, noPage()
	}
	a, err := ask("compare", reader.Scope, values)
	if err != nil {
		return nil, err
	}
	f, err := frameOf(ctx, reader)
	if err != nil {
		return nil, err
	}
	out, err := s.changes(ctx, reader, compare)
	switch mistake := (*RulesError)(nil); {
	case errors.As(err, &mistake):
		return nil, &problem{http.StatusConflict, "These rules can't be read", unhinted(mistake.Error()) + ".",
			"Tell whoever runs usagelake."}
	case errors.Is(err, errComparing):
		return nil, &problem{http.StatusServiceUnavailable, "It is being worked out",
			"What these rules would charge takes a while.", "Ask again in a minute: it goes on, and is kept."}
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &problem{http.StatusServiceUnavailable, "That took too long",
			fmt.Sprintf("What these rules would charge was stopped after %.0f minutes.", library.CompareLimit.Minutes()),
			"Whoever runs usagelake can have it worked out without a limit."}
	case err != nil:
		return nil, err
	}
	var b bytes.Buffer
	if err := comparedTemplate.Execute(&b, out); err != nil {
		return nil, err
	}
	doc := &report.Document{}
	for _, m := range slices.Backward(out.Months) {
		doc.Tables = append(doc.Tables, m.table())
	}
	err = doc.Content(&b, report.Web{Rows: shownRows, Link: func(column string, of func(string) query.Value) string {
		if column != "cost_center" || of("before").Text == "0" { // it may be of the other rules alone
			return ""
		}
		return asked{}.address("chargeback", map[string][]string{"period": {of("month").Text},
			"cost_center": {of(column).Text}, "by": {"token,model"}})
	}})
	return &page{title: "Change of rules", content: template.HTML(b.String()), frame: f, asked: a, current: "compare"}, err
}

// changes are those of the rules as they are now.
func (s *Site) changes(ctx context.Context, reader *library.Reader, c *Comparison) (*Changes, error) {
	digest, err := c.Digest()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.longWait, errComparing)
	defer cancel()
	out, err := reader.Kept(ctx, library.Comparing, "compare "+digest,
		func(ctx context.Context, _ *publish.Lake) (any, int, error) {
			out, err := c.Make(ctx)
			if err != nil {
				return nil, 0, err
			}
			size := 0
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

// table is what changes in the month: how many don't is said above it.
func (m ChangedMonth) table() *report.Table {
	t := &report.Table{Name: "changes", Title: m.Period, Columns: []report.Column{{Name: "month", Title: "Month"},
		{Name: "cost_center", Title: "Cost centre"}, {Name: "currency", Title: "Currency"},
		{Name: "before", Title: "Published", Kind: report.Money, Sum: true},
		{Name: "after", Title: "By these rules", Kind: report.Money, Sum: true},
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
