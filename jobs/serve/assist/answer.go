package assist

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas/words"
)

const (
	// Rows of a table, where nothing else is asked for, and at the most.
	someRows, mostRows = 100, 1000
	// mostBytes of cells are in an answer, and longestCell characters in one of them: clients hand no more to a model.
	mostBytes   = 32 << 10
	longestCell = 1000
)

// answer is what a tool says. What it says of the file stands before all else.
type answer struct {
	PublishedAt  string         `json:"published_at"`
	AsOf         string         `json:"as_of"`
	CompleteTo   *string        `json:"complete_to"`
	Completeness completeness   `json:"completeness"`
	Incomplete   []completeness `json:"incomplete_periods,omitempty"`
	Currencies   []string       `json:"currencies"`
	BookCurrency string         `json:"book_currency,omitempty"`
	Viewer       string         `json:"viewer,omitempty"`
	Scope        []string       `json:"scope,omitempty"`
	Basis        []string       `json:"basis,omitempty"`

	Title     string     `json:"title,omitempty"`
	Warnings  []string   `json:"warnings,omitempty"`
	Figures   []figure   `json:"figures,omitempty"`
	Tables    []table    `json:"tables,omitempty"`
	Notes     []string   `json:"notes,omitempty"`
	Objects   []object   `json:"views,omitempty"`
	Questions []question `json:"questions,omitempty"`
	Reports   []named    `json:"reports,omitempty"`

	room int // bytes of cells that it has taken
}

type figure struct {
	Label  string `json:"label"`
	Value  string `json:"value"`
	Detail string `json:"detail,omitempty"`
}

// table has a cell for each column in each row: null, true, false, a number, or a text, which decimals are, too.
type table struct {
	Name      string   `json:"name"`
	Title     string   `json:"title,omitempty"`
	Basis     string   `json:"basis,omitempty"`
	Caption   string   `json:"caption,omitempty"`
	Columns   []column `json:"columns"`
	Rows      [][]any  `json:"rows"`
	Totals    []total  `json:"totals,omitempty"`
	Truncated bool     `json:"truncated"`
	Hint      string   `json:"hint,omitempty"`
}

// total are the sums of all rows in a currency, those that were cut too.
type total struct {
	Currency *string           `json:"currency,omitempty"`
	Sums     map[string]string `json:"sums"`
}

// outputSchema is that of every answer.
const outputSchema = `{
  "type": "object",
  "required": ["published_at", "as_of", "completeness", "currencies"],
  "properties": {
    "published_at": {"type": "string", "description": "when what is answered from was published, UTC"},
    "as_of": {"type": "string", "description": "how far the usage goes, UTC; empty if there is none yet"},
    "complete_to": {"type": ["string", "null"], "description": "up to when every account is fetched, UTC"},
    "completeness": {
      "type": "object", "description": "how much of the period of this answer was fetched: the rest is in no figure",
      "required": ["period", "complete", "missing_seconds", "text"],
      "properties": {"period": {"type": "string"}, "complete": {"type": "boolean"},
        "missing_seconds": {"type": "integer"}, "text": {"type": "string"}}
    },
    "incomplete_periods": {"type": "array", "items": {"type": "object"},
      "description": "the last periods that aren't complete, each with what it lacks"},
    "currencies": {"type": "array", "items": {"type": "string"}, "description": "never sum across them"},
    "book_currency": {"type": "string"},
    "viewer": {"type": "string", "description": "who may see what is answered"},
    "scope": {"type": "array", "items": {"type": "string"}, "description": "what the answer is narrowed to"},
    "basis": {"type": "array", "items": {"type": "string"}, "description": "what the figures are about"},
    "tables": {
      "type": "array",
      "items": {
        "type": "object", "required": ["name", "columns", "rows", "truncated"],
        "properties": {
          "columns": {"type": "array", "items": {"type": "object"}},
          "rows": {"type": "array", "items": {"type": "array"},
            "description": "a cell for each column; decimals are strings with all their digits; null isn't 0"},
          "totals": {"type": "array", "items": {"type": "object"}, "description": "of all rows, cut ones too"},
          "truncated": {"type": "boolean", "description": "there are more rows"}
        }
      }
    }
  }
}`

// json is the structured content.
func (a *answer) json() (json.RawMessage, error) {
	if a.Currencies == nil {
		a.Currencies = []string{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(a)
	return bytes.TrimSpace(b.Bytes()), err
}

// text is the same for clients that hand on no structured content.
func (a *answer) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if a.Title != "" {
		line("%s", a.Title)
	}
	line("Completeness of %s: %s", a.Completeness.Period, a.Completeness.Text)
	complete := "no time yet"
	if a.CompleteTo != nil {
		complete = *a.CompleteTo
	}
	line("Published %s; usage up to %s, of every account up to %s. Currencies: %s.", a.PublishedAt,
		cmp.Or(a.AsOf, "no time yet"), complete, cmp.Or(strings.Join(a.Currencies, ", "), "none yet"))
	if a.BookCurrency != "" {
		line("Books are in %s.", a.BookCurrency)
	}
	if a.Viewer != "" || len(a.Scope) > 0 {
		line("As seen by %s: %s.", a.Viewer, strings.Join(append(a.Scope, []string{"all"}[min(1, len(a.Scope)):]...), "; "))
	}
	for _, s := range a.Basis {
		line("Basis: %s", s)
	}
	for _, s := range a.Warnings {
		line("Warning: %s", s)
	}
	for _, f := range a.Figures {
		line("%s: %s %s", f.Label, f.Value, f.Detail)
	}
	for _, t := range a.Tables {
		t.text(&b)
	}
	for _, o := range a.Objects {
		line("%s (%s): %s", o.Name, o.Kind, o.Comment)
		for _, c := range o.Columns {
			line("  %s %s: %s", c.Name, c.Type, c.Comment)
		}
	}
	for _, q := range a.Questions {
		line("%d. %s (%s)", q.Number, q.Question, q.View)
	}
	for _, r := range a.Reports {
		line("%s: %s. Takes %s.", r.Name, r.About, strings.Join(r.Takes, ", "))
	}
	for _, s := range a.Notes {
		line("Note: %s", s)
	}
	return b.String()
}

func (t *table) text(b *strings.Builder) {
	head := t.Title
	if head == "" {
		head = t.Name
	}
	if t.Basis != "" {
		head += ", " + t.Basis
	}
	fmt.Fprintf(b, "\n%s\n", head)
	cells := make([]string, len(t.Columns))
	row := func() { b.WriteString(strings.Join(cells, " | ") + "\n") }
	for i, c := range t.Columns {
		cells[i] = bar.Replace(c.Name)
	}
	row()
	for _, r := range t.Rows {
		for i, v := range r {
			switch v := v.(type) {
			case nil:
				cells[i] = "NULL"
			case string:
				cells[i] = bar.Replace(v)
			default:
				cells[i] = fmt.Sprint(v)
			}
		}
		row()
	}
	for _, total := range t.Totals {
		b.WriteString("Total")
		if total.Currency != nil {
			b.WriteString(" " + *total.Currency)
		}
		for _, c := range t.Columns {
			if sum, ok := total.Sums[c.Name]; ok {
				fmt.Fprintf(b, " | %s %s", c.Name, sum)
			}
		}
		b.WriteString("\n")
	}
	if t.Truncated {
		fmt.Fprintf(b, "(%s; there are more: %s)\n", words.Plural(len(t.Rows), "row", "rows"), t.Hint)
	} else {
		fmt.Fprintf(b, "(%s)\n", words.Plural(len(t.Rows), "row", "rows"))
	}
	if t.Caption != "" {
		fmt.Fprintf(b, "%s\n", t.Caption)
	}
}

// bar has a cell not end where a text in it has a bar.
var bar = strings.NewReplacer("|", `\|`)

// plain is text from outside as an answer has it: on a line, without what steers a screen, and not endless.
func plain(text string) string { return words.Clip(words.Cell(text), longestCell) }

// number is a number of JSON.
var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// safeDigits are read by everybody, doubles too.
const safeDigits = 15

// cellOf is a value of an answer to SQL, where decimals are texts (query.Rows.QuoteDecimals).
func cellOf(v query.Value) any {
	switch {
	case v.Null:
		return nil
	case v.Bare && (v.Text == "true" || v.Text == "false"):
		return v.Text == "true"
	case v.Bare && number.MatchString(v.Text) &&
		(len(v.Text) <= safeDigits || strings.ContainsAny(v.Text, ".eE")): // the latter are DuckDB's doubles
		return json.Number(v.Text)
	}
	return plain(v.Text)
}

// cellOfReport is a value of a report's column.
func cellOfReport(k report.Kind, v query.Value) any {
	switch {
	case v.Null:
		return nil
	case k == report.Flag:
		return v.Text == "true"
	case k == report.Count && len(v.Text) <= safeDigits:
		if n, ok := new(big.Int).SetString(v.Text, 10); ok {
			return json.Number(n.String())
		}
	}
	return plain(v.Text)
}

// fits takes the room of a row, and says whether it is there.
func (a *answer) fits(row []any) bool {
	for _, v := range row {
		a.room += 4
		switch v := v.(type) {
		case string:
			a.room += len(v)
		case json.Number:
			a.room += len(v)
		}
	}
	return a.room <= mostBytes
}
