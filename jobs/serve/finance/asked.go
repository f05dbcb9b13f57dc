package finance

import (
	"cmp"
	"context"
	"fmt"
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

// asked is what an address asks for, beside its path. Its values are those of the address, but for the empty ones that
// a form sends: two addresses that mean the same are one.
type asked struct {
	report string      // the path, without a format
	viewer query.Scope // of who asks; none sees all
	values url.Values
	books  *schemas.Books // by whose days the addresses of cells are; nil: UTC's
}

// recordKeys are the fields of a record that narrow records beside the dimensions.
var recordKeys = []string{"token_id", "user_id", "custom_user_id"}

// periodKeys say which time is meant.
var periodKeys = []string{"period", "from", "to"}

// narrowing are the keys of what has a period and owners.
var narrowing = slices.Concat(periodKeys, query.ScopeDimensions)

// ask reads an address; known are the keys that the page takes. One that does nothing is refused: who wrote it would
// take the answer for what it says.
func ask(path string, viewer query.Scope, values url.Values, known ...string) (asked, error) {
	out := asked{path, viewer, url.Values{}, nil}
	for key, all := range values {
		if !slices.Contains(known, key) {
			return out, &problem{http.StatusBadRequest, "That can't be shown",
				fmt.Sprintf("The address says %q, which means nothing here.", key), "Leave it out, or begin anew."}
		}
		for _, v := range all {
			if v != "" && !slices.Contains(out.values[key], v) {
				out.values[key] = append(out.values[key], v)
			}
		}
		slices.Sort(out.values[key])
	}
	return out, nil
}

// one is a value that stands but once.
func (a asked) one(key string) (string, error) {
	if len(a.values[key]) > 1 {
		return "", &problem{http.StatusBadRequest, "That can't be shown",
			fmt.Sprintf("The address says %s more than once.", key), "Leave all but one of them out."}
	}
	return a.values.Get(key), nil
}

func (a asked) scope() (out query.Scope) {
	for _, d := range query.ScopeDimensions {
		*out.Values(d) = a.values[d]
	}
	return out
}

// period is the time that is meant; nil if none is said.
func (a asked) period(books *schemas.Books, now time.Time) (*schemas.Period, error) {
	wrong := func(err error) error {
		return &problem{http.StatusBadRequest, "There is no such period", sentence(err.Error()),
			"Choose a month above, or write one such as 2026-10, 2026-Q4, or days with from and to."}
	}
	name, err := a.one("period")
	if err != nil {
		return nil, err
	}
	from, err1 := a.one("from")
	to, err2 := a.one("to")
	if err1 != nil || err2 != nil {
		return nil, cmp.Or(err1, err2)
	}
	p, err := library.Period(books, now, name, from, to)
	if err != nil {
		return nil, wrong(err)
	}
	return p, nil
}

// address is one of the site, with the values of a, less those of other pages, changed: a nil takes a key away.
func (a asked) address(path string, change map[string][]string) string {
	v := url.Values{}
	for key, all := range a.values {
		if slices.Contains(narrowing, key) {
			v[key] = all
		}
	}
	for key, all := range change {
		if delete(v, key); len(all) > 0 {
			v[key] = all
		}
	}
	if len(v) == 0 {
		return Root + path
	}
	return Root + path + "?" + v.Encode()
}

// fits takes away from a's values what a report doesn't take, for a link to it.
func (a asked) fits(r report.Report) string {
	none := map[string][]string{}
	for _, d := range query.ScopeDimensions {
		if !slices.Contains(r.Dimensions, d) {
			none[d] = nil
		}
	}
	if r.Spans < report.AnyDays {
		none["from"], none["to"] = nil, nil
	}
	if r.Spans < report.Months {
		none["period"] = nil
	}
	return a.address(r.Name, none)
}

// nav are the pages, each with the period and the owners that are being looked at.
func (a asked) nav(current string) []link {
	out := []link{{"Months", Root, "", current == ""}}
	for _, r := range library.Reports(a.viewer) {
		out = append(out, link{label(r.Name), a.fits(r), r.About, r.Name == current})
	}
	return append(out, link{"Records", a.address("records", nil), "", current == "records"},
		link{"Questions", Root + "questions", "", current == "questions"}, link{"SQL", Root + "sql", "", current == "sql"})
}

func label(name string) string {
	name = strings.ReplaceAll(name, "-", " ")
	return strings.ToUpper(name[:1]) + name[1:]
}

// frame is what every page of a file says of it, and offers to choose from.
type frame struct {
	Published, CompleteTo string
	Periods               []string // as people call them, the last first
	Choices               []choice
	books                 *schemas.Books
}

type choice struct {
	Key, Title string
	Values     []string
	More       bool // there are more than are offered
}

const mostChoices = 300

// frameOf asks the file for it.
func frameOf(ctx context.Context, reader *library.Reader) (*frame, error) {
	f, err := reader.Kept(ctx, library.Making, "frame", func(ctx context.Context, lake *publish.Lake) (any, int, error) {
		s, err := query.OpenSnapshot(ctx, lake)
		if err != nil {
			return nil, 0, err
		}
		defer s.Close()
		out := &frame{}
		if out.books, err = s.Books(ctx); err != nil {
			return nil, 0, err
		}
		err = s.Each(ctx, "SELECT published_at, complete_to FROM published", func(row []query.Value) (err error) {
			if out.Published, err = minute(row[0]); err == nil {
				out.CompleteTo, err = minute(row[1])
			}
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		err = s.Each(ctx, "SELECT DISTINCT billing_month, period FROM chargeback_daily ORDER BY 1 DESC",
			func(row []query.Value) error {
				out.Periods = append(out.Periods, row[1].Text)
				return nil
			})
		if err != nil {
			return nil, 0, err
		}
		size := 0
		for _, d := range query.ScopeDimensions {
			c := choice{Key: d, Title: titles[d]}
			err := s.Each(ctx, fmt.Sprintf(`SELECT DISTINCT %[1]s FROM chargeback_daily WHERE %[1]s IS NOT NULL
				ORDER BY 1 LIMIT %[2]d`, d, mostChoices+1), func(row []query.Value) error {
				size += len(row[0].Text) + 16
				c.Values = append(c.Values, row[0].Text)
				return nil
			})
			if err != nil {
				return nil, 0, err
			}
			if c.More = len(c.Values) > mostChoices; c.More {
				c.Values = c.Values[:mostChoices]
			}
			out.Choices = append(out.Choices, c)
		}
		return out, size, nil
	})
	if err != nil {
		return nil, err
	}
	return f.(*frame), nil
}

var titles = map[string]string{"account": "Account", "cost_center": "Cost centre", "team": "Team", "project": "Project",
	"environment": "Environment", "model": "Model"}

// minute is an instant as people read it; "" if it is NULL.
func minute(v query.Value) (string, error) {
	if v.Null {
		return "", nil
	}
	t, err := time.Parse(time.RFC3339, v.Text)
	return words.MinuteUTC(t), err
}

// form is what a page's address says, to be changed by hand.
type form struct {
	Action   string
	Period   []option // nil: the page has no period
	Days     bool
	From, To string
	Selects  []selection
	Top      string
	HasTop   bool
	Hidden   []hidden
	Clear    string // the address without any narrowing; "" if there is none
}

type option struct {
	Value, Label string
	Chosen       bool
}

type selection struct {
	Key, Title string
	Options    []option
	Text       bool // too many to choose from
	Value      string
}

type hidden struct{ Key, Value string }

// orders are what a chargeback is by, to choose from; an address may say any others.
var orders = []string{"cost_center", "team", "project", "environment", "account", "gl_code", "token", "user",
	"custom_user",
	"model", "model_type", "day", "cost_center,team", "cost_center,model", "team,model", "token,model"}

// form is that of a page; nil if nothing can be chosen on it.
func (a asked) form(f *frame) *form {
	var dimensions []string
	out := &form{Action: Root + a.report}
	r, isReport := report.Find(a.report)
	switch {
	case isReport:
		dimensions = r.Dimensions
		out.HasTop, out.Days = r.Top, r.Spans == report.AnyDays
	case a.report == "records":
		dimensions, out.Days = query.ScopeDimensions, true
	default:
		return nil
	}
	if !isReport || r.Spans >= report.Months {
		name, chosen := a.values.Get("period"), false
		out.Period = []option{{"", "the last", false}}
		for _, p := range f.Periods {
			out.Period = append(out.Period, option{p, p, p == name})
			chosen = chosen || p == name
		}
		if name != "" && !chosen {
			out.Period = append(out.Period, option{name, name, true})
		}
		out.From, out.To = a.values.Get("from"), a.values.Get("to")
	}
	if r.By != nil {
		by := a.values.Get("by")
		s := selection{Key: "by", Title: "By"}
		for _, o := range orders {
			s.Options = append(s.Options, option{o, strings.ReplaceAll(strings.ReplaceAll(o, ",", ", "), "_", " "),
				o == by || by == "" && o == strings.Join(r.By, ",")})
		}
		if by != "" && !slices.Contains(orders, by) {
			s.Options = append(s.Options, option{by, strings.ReplaceAll(by, "_", " "), true})
		}
		out.Selects = append(out.Selects, s)
	}
	if out.HasTop {
		out.Top = a.values.Get("top")
	}
	narrowed := map[string][]string{}
	for _, c := range f.Choices {
		if !slices.Contains(dimensions, c.Key) || len(c.Values) < 2 && len(a.values[c.Key]) == 0 {
			continue
		}
		now := a.values[c.Key]
		narrowed[c.Key] = nil
		s := selection{Key: c.Key, Title: c.Title, Text: c.More, Value: strings.Join(now[:min(1, len(now))], "")}
		for _, v := range c.Values {
			s.Options = append(s.Options, option{v, v, s.Value == v})
		}
		if s.Value != "" && !slices.Contains(c.Values, s.Value) {
			s.Options = append(s.Options, option{s.Value, s.Value, true})
		}
		// Of several values of one dimension, which an address may have, the others stay as they are.
		for _, v := range now[min(1, len(now)):] {
			out.Hidden = append(out.Hidden, hidden{c.Key, v})
		}
		out.Selects = append(out.Selects, s)
	}
	for _, key := range recordKeys {
		for _, v := range a.values[key] {
			out.Hidden = append(out.Hidden, hidden{key, v})
			narrowed[key] = nil
		}
	}
	if a.narrowed() {
		out.Clear = a.address(a.report, narrowed)
	}
	if len(out.Selects) == 0 && out.Period == nil && !out.HasTop {
		return nil
	}
	return out
}

func (a asked) narrowed() bool {
	return slices.ContainsFunc(slices.Concat(query.ScopeDimensions, recordKeys), func(key string) bool {
		return len(a.values[key]) > 0
	})
}

// number is a whole number of an address; fallback if nothing is said.
func (a asked) number(key string, fallback, least, most int) (int, error) {
	text, err := a.one(key)
	if err != nil || text == "" {
		return fallback, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, &problem{http.StatusBadRequest, "That can't be shown",
			fmt.Sprintf("The address says %s=%s, which is no number from %d to %d.", key, text, least, most), "Change it."}
	}
	return n, nil
}
