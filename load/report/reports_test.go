package report_test

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/xuri/excelize/v2"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// spent is a record as the test remembers it.
type spent struct {
	account, token, model string
	day                   schemas.Date
	amount                *big.Int
}

// books are a random lake, and the records that it was made of.
type books struct {
	lake     *publish.Lake
	rules    loadtest.Rules
	records  []spent
	covered  map[string]map[schemas.Date]bool
	accounts []string
	asOf     schemas.Date // the day before which everything lies
}

func day(s string) schemas.Date {
	d, err := schemas.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

// randomBooks draws accounts that begin, lack days and end as it comes.
func randomBooks(t *testing.T, seed uint64) *books {
	rnd := rand.New(rand.NewPCG(seed, 14))
	w := publishtest.New(t, load.Options{})
	finance := publishtest.Ruled("2026-10-20")
	b := &books{lake: w.Lake, rules: finance.Rules.(loadtest.Rules), covered: map[string]map[schemas.Date]bool{}}
	first := day("2026-09-24")
	for _, account := range []string{"acme", "beta", "0042"}[:1+rnd.IntN(3)] {
		b.accounts = append(b.accounts, account)
		b.covered[account] = map[schemas.Date]bool{}
		from, days := rnd.IntN(12), 25+rnd.IntN(20)
		for n := from; n < from+days; n++ {
			if n > from && rnd.IntN(15) == 0 {
				continue
			}
			p := schemas.Partition{Account: account, Date: first + schemas.Date(n)}
			var rows [][4]string
			for i := range rnd.IntN(4) {
				r := spent{account, fmt.Sprintf("tk_%d", rnd.IntN(10)), fmt.Sprintf("m%d", rnd.IntN(3)), p.Date,
					big.NewInt(rnd.Int64N(9_000_000_000_000) - 1_000_000_000_000)}
				b.records = append(b.records, r)
				rows = append(rows, [4]string{fmt.Sprintf("r%d", i), r.token, r.model, schemas.MoneyOf(r.amount).String()})
			}
			w.Day(p, rows...)
			b.covered[account][p.Date] = true
			b.asOf = max(b.asOf, p.Date+1)
		}
	}
	finance.Accounts = b.accounts
	w.Publish(publish.PublishOptions{Finance: finance})
	return b
}

// of is the value of a dimension of a record.
func (b *books) of(r spent, dimension string) string {
	a := b.rules.Assign(schemas.AllocationKey{Account: r.account, TokenID: &r.token, Model: &r.model}, r.day)
	v := map[string]string{"account": r.account, "model": r.model, "cost_center": a.CostCenter, "team": a.Team,
		"project":     a.Project,
		"environment": a.Environment, "token": r.token, "user": "u1", "day": r.day.String(),
		"month": r.day.Month().First().String()}[dimension]
	if v == "" && slices.Contains([]string{"cost_center", "team", "project", "environment"}, dimension) {
		return schemas.Unallocated
	}
	return v
}

// sums are what the records of the options cost, by the values of dimensions.
func (b *books) sums(o report.Options, by ...string) map[string]string {
	out := map[string]*big.Int{}
	for _, r := range b.records {
		if r.day < o.Period.From || r.day >= o.Period.To || slices.ContainsFunc(query.ScopeDimensions, func(d string) bool {
			values := *o.Scope.Values(d)
			return len(values) > 0 && !slices.Contains(values, b.of(r, d))
		}) {
			continue
		}
		var key []string
		for _, d := range by {
			key = append(key, b.of(r, d))
		}
		k := strings.Join(key, "|")
		if out[k] == nil {
			out[k] = new(big.Int)
		}
		out[k].Add(out[k], r.amount)
	}
	texts := map[string]string{}
	for k, v := range out {
		texts[k] = schemas.MoneyOf(v).String()
	}
	return texts
}

// lacking are the seconds that accounts of the scope lack of a period.
func (b *books) lacking(o report.Options) (missing int64) {
	for _, a := range b.accounts {
		if len(o.Scope.Accounts) > 0 && !slices.Contains(o.Scope.Accounts, a) {
			continue
		}
		for d := o.Period.From; d < min(o.Period.To, b.asOf); d++ {
			if !b.covered[a][d] {
				missing += 86400
			}
		}
	}
	return missing
}

// told are the sums of a table's column by the values of columns.
func told(t *report.Table, measure string, keep func(row map[string]query.Value) bool, by ...string) map[string]string {
	out := map[string]*big.Int{}
	for _, row := range t.Rows {
		cells := map[string]query.Value{}
		for i, c := range t.Columns {
			cells[c.Name] = row[i]
		}
		if keep != nil && !keep(cells) || cells[measure].Null {
			continue
		}
		var key []string
		for _, c := range by {
			v := cells[c]
			if v.Null {
				v.Text = schemas.Unallocated
			}
			key = append(key, v.Text)
		}
		n, err := schemas.ParseMoney(cells[measure].Text)
		if err != nil {
			panic(err)
		}
		k := strings.Join(key, "|")
		if out[k] == nil {
			out[k] = new(big.Int)
		}
		out[k].Add(out[k], n.Units())
	}
	texts := map[string]string{}
	for k, v := range out {
		texts[k] = schemas.MoneyOf(v).String()
	}
	return texts
}

func table(d *report.Document, name string) *report.Table {
	i := slices.IndexFunc(d.Tables, func(t *report.Table) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return d.Tables[i]
}

// Whatever is asked, of whom and when: the reports say what the records say.
func TestEveryReportSaysWhatTheRecordsSay(t *testing.T) {
	for seed := range uint64(2) {
		b := randomBooks(t, seed)
		rnd := rand.New(rand.NewPCG(seed, 15))
		values := map[string][]string{}
		for _, d := range query.ScopeDimensions {
			seen := map[string]bool{}
			for _, r := range b.records {
				seen[b.of(r, d)] = true
			}
			values[d] = slices.Sorted(maps.Keys(seen))
		}
		for range 25 {
			o := report.Options{Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Version: "t", Pictures: rnd.IntN(4) == 0}
			switch rnd.IntN(4) {
			case 0:
				from := day("2026-09-20") + schemas.Date(rnd.IntN(40))
				o.Period = &schemas.Period{From: from, To: from + 1 + schemas.Date(rnd.IntN(30))}
			case 1:
				o.Period = monthsFrom("2026-07-01", "2026-10-01")
			case 2:
				o.Period = monthsFrom("2026-09-01", "2026-11-01")
			default:
				p := monthPeriod(day("2026-09-01").Month() + schemas.Month(rnd.IntN(3)))
				o.Period = &p
			}
			for _, d := range query.ScopeDimensions {
				if rnd.IntN(4) == 0 && len(values[d]) > 0 {
					*o.Scope.Values(d) = []string{values[d][rnd.IntN(len(values[d]))]}
					if rnd.IntN(2) == 0 {
						*o.Scope.Values(d) = append(*o.Scope.Values(d), values[d][rnd.IntN(len(values[d]))])
					}
				}
			}
			o.Name = []string{"chargeback", "statement", "top", "unit-cost", "prices", "chargeback"}[rnd.IntN(6)]
			if o.Name == "chargeback" {
				all := []string{"account", "cost_center", "team", "project", "model", "token", "user", "day", "month"}
				rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				o.By = all[:1+rnd.IntN(3)]
			}
			if o.Name == "top" {
				o.Top = 100
			}
			what := fmt.Sprintf("lake %d, %s by %v, %s, %+v", seed, o.Name, o.By, o.Period.Name(), o.Scope)
			doc, err := report.Build(t.Context(), b.lake, o)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if missing := b.lacking(o); doc.Completeness.MissingSeconds != missing ||
				doc.Completeness.Complete != (missing == 0 && o.Period.To <= b.asOf) {
				t.Errorf("%s: %+v, of the days %d seconds lack", what, doc.Completeness, missing)
			}
			same := func(name string, got, want map[string]string) {
				t.Helper()
				if !maps.Equal(got, want) {
					t.Errorf("%s: %s\n got %v\nwant %v", what, name, got, want)
				}
			}
			switch o.Name {
			case "chargeback":
				same("chargeback", told(table(doc, "chargeback"), "net_cost", nil, o.By...), b.sums(o, o.By...))
			case "statement":
				same("summary", told(table(doc, "summary"), "net_cost", nil, "cost_center"), b.sums(o, "cost_center"))
				same("lines", told(table(doc, "lines"), "net_cost", nil, "cost_center", "team", "account", "model"),
					b.sums(o, "cost_center", "team", "account", "model"))
				if j := table(doc, "journal"); j != nil {
					same("journal", told(j, "amount", func(r map[string]query.Value) bool { return r["entry"].Text == "debit" },
						"month", "cost_center"), b.sums(o, "month", "cost_center"))
				}
			case "top":
				for _, d := range []string{"token", "model", "user"} {
					same(d, told(table(doc, d), "net_cost", nil, "month", d), b.sums(o, "month", d))
				}
			case "unit-cost":
				for _, d := range []string{"cost_center", "model"} {
					same(d, told(table(doc, "unit_cost"), "net_cost",
						func(r map[string]query.Value) bool { return r["scope"].Text == d }, "month", "scope_value"),
						b.sums(o, "month", d))
				}
			case "prices":
				same("discounts", told(table(doc, "discounts"), "net_cost", nil, "month", "model"), b.sums(o, "month", "model"))
			}
			everyFormat(t, what, doc)
		}
	}
}

// everyFormat holds what each format says against the document.
func everyFormat(t *testing.T, what string, doc *report.Document) {
	t.Helper()
	render := func(format string) []byte {
		var b bytes.Buffer
		if err := doc.Render(&b, format); err != nil {
			t.Fatalf("%s: %s: %v", what, format, err)
		}
		return b.Bytes()
	}
	for _, format := range []string{"table", "html"} {
		if text := string(render(format)); !strings.Contains(text, "Completeness: "+doc.Completeness.Text) {
			t.Errorf("%s: %s doesn't say how complete it is", what, format)
		}
	}
	var parsed struct {
		Completeness struct {
			Text     string
			Complete bool
		}
		Tables []struct {
			Name string
			Rows []map[string]any
		}
	}
	dec := json.NewDecoder(bytes.NewReader(render("json")))
	dec.UseNumber()
	if err := dec.Decode(&parsed); err != nil {
		t.Fatal(err)
	}
	if parsed.Completeness.Text != doc.Completeness.Text || len(parsed.Tables) != len(doc.Tables) {
		t.Errorf("%s: json has %+v and %d tables", what, parsed.Completeness, len(parsed.Tables))
	}
	book, err := excelize.OpenReader(bytes.NewReader(render("xlsx")))
	if err != nil {
		t.Fatal(err)
	}
	sheets := 0
	for n, tab := range doc.Tables {
		for r, row := range tab.Rows {
			for i, c := range tab.Columns {
				var want any
				if !row[i].Null {
					want = row[i].Text
				}
				if got := parsed.Tables[n].Rows[r][c.Name]; want == nil && got != nil || want != nil && fmt.Sprint(got) != want {
					t.Fatalf("%s: json %s has %v for %v in %s", what, tab.Name, got, want, c.Name)
				}
			}
		}
		// a sheet's name is short
		i := slices.IndexFunc(book.GetSheetList(), func(s string) bool {
			return s == tab.Title || len(s) > 25 &&
				strings.HasPrefix(tab.Title, s)
		})
		if i >= 0 {
			sheets++
			rows, err := book.GetRows(book.GetSheetList()[i])
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) < len(tab.Rows)+1 {
				t.Errorf("%s: the sheet %s has %d rows for %d", what, tab.Title, len(rows), len(tab.Rows))
			}
		}
	}
	if sheets != len(doc.Tables) {
		t.Errorf("%s: %d of %d tables have a sheet", what, sheets, len(doc.Tables))
	}
	for _, format := range []string{"csv", "parquet"} {
		var b bytes.Buffer
		if err := doc.Zip(&b, format); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if len(z.File) != len(doc.Tables) {
			t.Errorf("%s: the zip has %d files for %d tables", what, len(z.File), len(doc.Tables))
		}
		for _, f := range z.File {
			tab := table(doc, strings.TrimSuffix(path.Base(f.Name), "."+format))
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			var content bytes.Buffer
			if _, err := content.ReadFrom(r); err != nil {
				t.Fatal(err)
			}
			rows, columns := readBack(t, format, content.Bytes())
			if rows != len(tab.Rows) || !slices.Contains(columns, "completeness") {
				t.Errorf("%s: %s has %d rows for %d, of %v", what, f.Name, rows, len(tab.Rows), columns)
			}
		}
	}
}

// readBack counts the rows of a file, and names its columns.
func readBack(t *testing.T, format string, content []byte) (int, []string) {
	t.Helper()
	if format == "csv" {
		rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return len(rows) - 1, rows[0]
	}
	r, err := file.NewParquetReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	f, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := f.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, field := range schema.Fields() {
		columns = append(columns, field.Name)
	}
	return int(r.NumRows()), columns
}

// Of a closed month that changed since, a statement has what was charged, in every table; reports on usage have it as
// it is now, and a table that leads from the one to the other.
func TestAsChargedAndAsItIsNowArentMixed(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	finance := publishtest.Ruled("2026-12-01", "cc-2", "cc-4")
	on := func(date string, rows ...[4]string) {
		w.Day(schemas.Partition{Account: "acme", Date: day(date)}, rows...)
	}
	on("2026-10-05", [4]string{"a", "tk_2", "m1", "9"}, [4]string{"b", "tk_1", "model-1", "8"},
		[4]string{"c", "tk_4", "m1", "1"})
	on("2026-11-05", [4]string{"d", "tk_2", "m1", "100"})
	w.Publish(publish.PublishOptions{Finance: finance})
	w.Close("2026-10", finance)
	on("2026-10-05", [4]string{"a", "tk_2", "m1", "11"}, [4]string{"b", "tk_1", "model-1", "9"},
		[4]string{"c", "tk_4", "m1", "1"})
	w.Publish(publish.PublishOptions{Finance: finance})
	build := func(name, month string, scope query.Scope) *report.Document {
		t.Helper()
		p := monthPeriod(day(month + "-01").Month())
		doc, err := report.Build(t.Context(), w.Lake, report.Options{Name: name, Period: &p, Scope: scope,
			Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	sum := func(tab *report.Table, column string, keep func(map[string]query.Value) bool) string {
		t.Helper()
		return told(tab, column, keep)[""]
	}
	for _, c := range []struct {
		month                string
		scope                query.Scope
		net, shared, correct string
	}{
		{"2026-10", query.Scope{}, "18", "8", ""},
		{"2026-11", query.Scope{}, "103", "", "3"},
		{"2026-10", query.Scope{CostCenters: []string{"cc-2"}}, "13", "4", ""},
		{"2026-11", query.Scope{CostCenters: []string{"cc-2"}}, "102.5", "", "2.5"},
	} {
		doc := build("statement", c.month, c.scope)
		summary := table(doc, "summary")
		for what, got := range map[string][2]string{
			"net": {sum(summary, "net_cost", nil), c.net}, "lines": {sum(table(doc, "lines"), "net_cost", nil), c.net},
			"shared":     {sum(summary, "shared_cost", nil), c.shared},
			"pools":      {sum(table(doc, "pools"), "net_cost", nil), c.shared},
			"correction": {sum(summary, "correction", nil), c.correct},
			"journal": {sum(table(doc, "journal"), "amount",
				func(r map[string]query.Value) bool { return r["entry"].Text == "debit" }), c.net},
		} {
			if got[0] != got[1] {
				t.Errorf("%s %v: %s is %q, want %q", c.month, c.scope, what, got[0], got[1])
			}
		}
		for _, tab := range doc.Tables {
			if tab.Basis != report.AsCharged {
				t.Errorf("a statement has %s %s", tab.Name, tab.Basis)
			}
		}
		if slices.ContainsFunc(doc.Figures,
			func(f report.Figure) bool { return strings.Contains(f.Label, "Forecast") }) != (c.month == "2026-11") {
			t.Errorf("%s: what is closed has a forecast, or what runs has none", c.month)
		}
	}
	// Usage as it is now, and what leads to it.
	for _, c := range []struct{ month, now, bridge string }{{"2026-10", "21",
		"charged in the period 18, and corrections of its usage, wherever they are charged 3"},
		{"2026-11", "100", "charged in the period 103, less corrections that are charged in it -3"}} {
		for name, tab := range map[string]string{"unit-cost": "unit_cost", "top": "model", "prices": "discounts"} {
			doc := build(name, c.month, query.Scope{})
			got := sum(table(doc, tab), "net_cost", func(r map[string]query.Value) bool {
				return r["scope"].Text == "" ||
					r["scope"].Text == "all"
			})
			var lines []string
			for _, row := range table(doc, "bridge").Rows {
				lines = append(lines, row[0].Text+" "+strings.TrimSuffix(strings.TrimRight(row[2].Text, "0"), "."))
			}
			if got != c.now || strings.Join(lines, ", ") != c.bridge || sum(table(doc, "bridge"), "net_cost", nil) != c.now {
				t.Errorf("%s %s: %s, by way of %q", name, c.month, got, lines)
			}
		}
	}
}

// The forecast that stands beside a month's charges is the one that the report of forecasts has, for all and for each:
// its rate is a mean over days before the month, too.
func TestTheForecastBesideAMonthIsTheForecast(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	for n := range 45 {
		amount := "1"
		if n >= 31 {
			amount = "10"
		}
		for account, from := range map[string]int{"acme": 0, "labs": 38} {
			if n >= from {
				w.Day(schemas.Partition{Account: account, Date: day("2026-10-01") + schemas.Date(n)},
					[4]string{"a", "tk_2", "m1", amount})
			}
		}
	}
	finance := publishtest.Ruled("2026-12-01")
	finance.Accounts = []string{"acme", "labs"}
	w.Publish(publish.PublishOptions{Finance: finance})
	for _, scope := range []query.Scope{{}, {Accounts: []string{"labs"}}, {CostCenters: []string{"cc-2"}}} {
		o := report.Options{Name: "forecast", Scope: scope, Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}
		said, err := report.Build(t.Context(), w.Lake, o)
		if err != nil {
			t.Fatal(err)
		}
		want := told(table(said, "forecast"), "forecast",
			func(r map[string]query.Value) bool { return r["scope"].Text == "all" })[""]
		for _, name := range []string{"chargeback", "statement"} {
			o.Name = name
			doc, err := report.Build(t.Context(), w.Lake, o)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(doc.Figures, func(f report.Figure) bool { return f.Label == "Forecast for the month" })
			if got, err := schemas.ParseMoney(doc.Figures[max(i, 0)].Number.Text); i < 0 || err != nil || got.String() != want {
				t.Errorf("%s %v: %+v, the report has %s", name, scope, doc.Figures, want)
			}
		}
	}
}

// namesakes are the test rules where a cost centre is called as a pool looks: pool x, beside the pool x.
type namesakes struct{ loadtest.Rules }

func (r namesakes) Pools() []schemas.SharedPool {
	return []schemas.SharedPool{{Pool: "x", Method: "even", Source: "rules.yaml:20"}}
}

func (r namesakes) Assign(k schemas.AllocationKey, _ schemas.Date) schemas.Assignment {
	switch *k.Model {
	case "pooled":
		return schemas.Assignment{RuleID: "pooled", Version: 1, Source: "rules.yaml:9", Pool: "x"}
	case "own":
		return schemas.Assignment{Owner: schemas.Owner{CostCenter: "pool x"}, RuleID: "own", Version: 1,
			Source: "rules.yaml:3"}
	case "alike":
		return schemas.Assignment{Owner: schemas.Owner{CostCenter: "x"}, RuleID: "alike", Version: 1, Source: "rules.yaml:4"}
	}
	return schemas.Assignment{}
}

// A statement tells a pool's images from those of a cost centre that is called like it, in an open month and in a
// closed one.
func TestAStatementTellsAPoolFromACostCentreCalledAlike(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	finance := publishtest.Ruled("2026-12-01", "cc-2")
	finance.Rules = namesakes{finance.Rules.(loadtest.Rules)}
	finance.Archived = func([]publish.RuleFile) (publish.Allocator, error) { return finance.Rules, nil }
	w.Images(schemas.Partition{Account: "acme", Date: day("2026-10-05")}, [4]string{"a", "tk_1", "pooled", "8"},
		[4]string{"b", "tk_1", "own", "3"}, [4]string{"c", "tk_1", "alike", "5"}, [4]string{"d", "tk_1", "nobodys", "1"})
	w.Images(schemas.Partition{Account: "acme", Date: day("2026-11-05")}, [4]string{"e", "tk_1", "pooled", "80"},
		[4]string{"f", "tk_1", "own", "30"}, [4]string{"g", "tk_1", "alike", "50"}, [4]string{"h", "tk_1", "nobodys", "10"})
	w.Publish(publish.PublishOptions{Finance: finance})
	w.Close("2026-10", finance)
	w.Publish(publish.PublishOptions{Finance: finance})
	for month, times := range map[string]string{"2026-10": "", "2026-11": "0"} {
		for _, c := range []struct {
			scope query.Scope
			want  []string
		}{
			{query.Scope{}, []string{" of x: 8", "(unallocated) of : 1", "pool x of : 3", "x of : 5"}},
			{query.Scope{CostCenters: []string{"pool x"}}, []string{"pool x of : 3"}},
			{query.Scope{CostCenters: []string{"x"}}, []string{"x of : 5"}},
		} {
			p := monthPeriod(day(month + "-01").Month())
			doc, err := report.Build(t.Context(), w.Lake, report.Options{Name: "statement", Period: &p, Scope: c.scope,
				Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)})
			if err != nil {
				t.Fatal(err)
			}
			tab := table(doc, "ext")
			at := func(row []query.Value, column string) string {
				v := row[slices.IndexFunc(tab.Columns, func(c report.Column) bool { return c.Name == column })]
				if v.Null {
					return ""
				}
				return v.Text
			}
			var got, want []string
			for _, row := range tab.Rows {
				cost, err := schemas.ParseMoney(at(row, "list_cost"))
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, at(row, "cost_center")+" of "+at(row, "pool")+": "+cost.String())
			}
			for _, line := range c.want {
				want = append(want, line+times)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s %v:\n got %q\nwant %q", month, c.scope, got, want)
			}
		}
	}
}

// A scope is data and no SQL: a name that looks like a part of a condition narrows to what is called that.
func TestAScopeOfNamesThatLookLikeConditions(t *testing.T) {
	w := publishtest.New(t, load.Options{})
	const odd = "m account IN model IN ('x') OR '1' = '1"
	w.Day(schemas.Partition{Account: "acme", Date: day("2026-10-05")}, [4]string{"a", "tk_2", odd, "3"},
		[4]string{"b", "tk_2", "m1", "5"}, [4]string{"c", "tk_1", odd, "7"})
	w.Publish(publish.PublishOptions{Finance: publishtest.Ruled("2026-12-01")})
	for _, c := range []struct {
		scope query.Scope
		want  string
	}{
		{query.Scope{Models: []string{odd}}, "10"},
		{query.Scope{Models: []string{odd}, CostCenters: []string{"cc-2"}}, "3"},
		{query.Scope{Models: []string{odd}, Accounts: []string{"acme"}, Teams: []string{schemas.Unallocated}}, "7"},
	} {
		s, err := query.OpenSnapshot(t.Context(), w.Lake)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Narrow(t.Context(), c.scope); err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{"sum(amount) FROM usage", "sum(amount) FROM usage_daily",
			"sum(net_cost) FROM allocated_daily", "sum(net_cost) FROM chargeback_daily",
			`sum(net_cost) FROM unit_cost WHERE "scope" = 'all'`} {
			rows, err := s.Query(t.Context(), "SELECT "+from)
			if err != nil {
				t.Fatal(err)
			}
			for row, err := range rows.All(t.Context()) {
				if got, bad := schemas.ParseMoney(row[0].Text); err != nil || bad != nil || got.String() != c.want {
					t.Errorf("%+v: %s is %s, want %s (%v)", c.scope, from, row[0].Text, c.want, err)
				}
			}
			_ = rows.Close()
		}
		_ = s.Close()
	}
}

// monthPeriod is a month of books in UTC.
func monthPeriod(m schemas.Month) schemas.Period { return (*schemas.Books)(nil).Period(m, m) }

// monthsFrom are the months of books in UTC from one to another, excluded, each given by its first day.
func monthsFrom(from, to string) *schemas.Period {
	p := (*schemas.Books)(nil).Period(day(from).Month(), day(to).Month()-1)
	return &p
}
