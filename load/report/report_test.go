package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

var update = flag.Bool("update", false, "write the golden files anew")

// v is a value; "NULL" is NULL.
func v(s string) query.Value {
	if s == "NULL" {
		return query.Value{Null: true}
	}
	return query.Value{Text: s}
}

func row(cells ...string) []query.Value {
	out := make([]query.Value, len(cells))
	for i, s := range cells {
		out[i] = v(s)
	}
	return out
}

// sums are those of a plot of two series, row by row; "" is none.
func sums(cells ...string) exact {
	out := exact{}
	for i, c := range cells {
		if c != "" {
			out.add(i/2, i%2, v(c))
		}
	}
	return out
}

// sample is a small document with a bit of everything.
func sample() *Document {
	owners := &Table{Name: "owners", Title: "By cost centre", Caption: "What each is charged.", Group: "cost_center",
		Columns: []Column{
			{"cost_center", "Cost centre", Text, false}, {"model", "Model", Text, false}, {"currency", "Currency", Text, false},
			{"requests", "Requests", Count, true},
			{"net_cost", "Net", Money, true}, {"per_request", "A request", UnitCost, false},
			{"quantity", "Quantity", Quantity, false}, {"share", "Share", Share, false},
			{"first_day", "First day", Day, false}, {"month", "Month", Month, false},
			{"observed_at", "Observed at", Instant, false}, {"inferred", "Inferred", Flag, false},
		}, Rows: [][]query.Value{
			row("CC-1", "gpt-5", "USD", "1234567", "1234.565000000000", "0.018957800000", "0.250000000000", "0.254250",
				"2026-11-01", "2026-11-01", "2026-11-24T10:30:59.25Z", "true"),
			row("CC-1", "o3", "EUR", "12", "-0.005000000000", "0.000000500000", "3", "-0.0005", "2026-11-02", "2026-11-01",
				"2026-11-24T00:00:00Z", "false"),
			row("CC-2", "o3", "USD", "0", "0.000000000001", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL"),
			row("cc-2", "", "USD", "NULL", "99999999999999999999999999.999999999999", "1", "1", "1", "1899-12-31", "2026-11-01",
				"2026-11-24T10:30:00Z", "false"),
			row("(unallocated)", "o3", "NULL", "3", "0.015", "1", "1", "1", "2026-11-30", "2026-11-01", "2026-11-24T10:30:00Z",
				"false"),
		}}
	empty := &Table{Name: "empty", Title: "Nothing here",
		Columns: []Column{{"x", "X", Text, false}, {"net_cost", "Net", Money, true}}}
	return &Document{Name: "chargeback", Title: "Chargeback", Subtitle: "November 2026, running", Period: "2026-11",
		Freshness: "Usage of 1 account up to 2026-11-24 00:00 UTC; 0 records in quarantine.",
		Completeness: Completeness{Text: "552 of 720 hours, complete to 2026-11-24 00:00 UTC", PeriodSeconds: 2592000,
			ExpectedSeconds: 1987200},
		Warnings: []string{"3 records could not be read"},
		Figures: []Figure{{Label: "Net cost", Value: "1,234.56 USD", Detail: "532.54 USD in the month before"},
			{Label: "Left", Value: "-10.00 USD", Alarm: true}},
		Pictures: []Picture{
			{"Net cost a day", "Before corrections.",
				stacked{[]string{"2026-11-01", "2026-11-02"}, []series{{"CC-1", []float64{1, 2}}, {"CC-2", []float64{3, -1}}},
					"USD"}, owners, newPlot(stackedColumns, "USD", dayColumn, []string{"2026-11-01", "2026-11-02"}, Money,
					[]string{"CC-1", "CC-2"}, sums("1", "3", "2", "-1"))},
			{"Budgets", "", budgetBars{items: []budgetItem{{"all", 5, 4, 6, 5.5, 7, true, "125.0 % · over"},
				{"none", 1, 0, 1, 0, 0, false, "–"}}}, nil, newPlot(sideBars, "", Column{Title: "Budget"}, []string{"all", "none"},
				Share, []string{"Spent", "Forecast"}, sums("1.25", "1.5")).of("As shares of each budget.")},
			{"Outlook", "", outlook{[]string{"2026-11-01", "2026-11-02", "2026-11-03"}, []float64{1, 2}, 3, 2.5, 3.5, true,
				"USD"}, nil, newPlot(lines, "USD", dayColumn, []string{"2026-11-01", "2026-11-02", "2026-11-03"}, Money,
				[]string{"So far", "Forecast"}, sums("1", "", "2", "2", "", "3"))},
			{"Movers", "", bars{[]barItem{{"CC-1", 3, "+3.00"}, {"CC-2", -2, "-2.00"}}, "USD"}, nil,
				newPlot(movedBars, "USD", Column{Title: "Cost centre"}, []string{"CC-1", "=CC-2"}, Money,
					[]string{moreTitle, lessTitle}, sums("3", "", "", "-2"))},
			{"Hours", "", heat{[7][24]float64{{1, 2.5, 30}}, "USD"}, nil, newPlot(field, "USD", Column{Title: "Weekday"},
				weekdays, Money, hours[:2], sums("1", "2.5", "30"))},
			{"Coverage", "", calendar{[]string{"2026-11-01", "2026-11-02", "2026-11-03"},
				[]calendarRow{{"acme", []byte("fpn")}}}, nil, nil},
		},
		Tables: []*Table{owners, empty}, Notes: []string{"A note on method."},
		Generated: time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC), Version: "1.2.3"}
}

func render(t testing.TB, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGoldens(t *testing.T) {
	d := sample()
	for name, write := range map[string]func(io.Writer) error{"sample.txt": d.Text, "sample.csv": d.CSV,
		"sample.json": d.JSON} {
		t.Run(name, func(t *testing.T) {
			got, path := render(t, write), filepath.Join("testdata", name)
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is not as it was (go test -run TestGoldens -update writes it anew):\n%s", path, got)
			}
		})
	}
}

func TestNumbersAreRoundedHalfAwayFromZeroWhereAPersonReadsThem(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		text string
		want string
	}{
		{Money, "0", "0.00"}, {Money, "0.005", "0.01"}, {Money, "0.015", "0.02"}, {Money, "0.025", "0.03"},
		{Money, "0.025000000001", "0.03"}, {Money, "0.024999999999", "0.02"},
		{Money, "-0.005", "-0.01"}, {Money, "49.625", "49.63"}, {Money, "-49.625", "-49.63"}, {Posted, "49.6300", "49.63"},
		{Money, "-0.015", "-0.02"}, {Money, "-0.000000000001", "0.00"}, {Money, "999.995", "1,000.00"},
		{Money, "999999.99", "999,999.99"}, {Money, "-1234567.891", "-1,234,567.89"},
		{Money, "99999999999999999999999999.999999999999", "100,000,000,000,000,000,000,000,000.00"},
		{Money, "12.500000000000", "12.50"},
		{Money, "n/a", "n/a"}, {Money, "1e3", "1e3"}, {Money, "NULL", none},
		{Count, "0", "0"}, {Count, "999", "999"}, {Count, "1000", "1,000"}, {Count, "-1000", "-1,000"},
		{Count, "9223372036854775807", "9,223,372,036,854,775,807"},
		{UnitCost, "0.0189578", "0.018958"}, {UnitCost, "0.0000005", "0.000001"}, {UnitCost, "0.0000015", "0.000002"},
		{Quantity, "1234.250000000000", "1,234.25"}, {Quantity, "3", "3"}, {Quantity, "1e-13", "1e-13"},
		{Share, "0.2543", "25.4 %"}, {Share, "0.0005", "0.1 %"}, {Share, "0.0015", "0.2 %"}, {Share, "-0.6667", "-66.7 %"},
		{Share, "12.5", "1,250.0 %"},
		{Month, "2026-11-01", "2026-11"}, {Day, "2026-11-01", "2026-11-01"},
		{Instant, "2026-11-24T10:30:59.25Z", "2026-11-24 10:30"}, {Instant, "NULL", none},
		{Flag, "true", "yes"}, {Flag, "false", "no"}, {Flag, "NULL", none}, {Text, "", ""}, {Text, "007", "007"},
	} {
		if got := show(Column{Kind: c.kind}, v(c.text), "USD"); got != c.want {
			t.Errorf("kind %d: %s is shown as %q, want %q", c.kind, c.text, got, c.want)
		}
	}
}

func TestAmountsAreInTheMinorUnitOfTheirCurrency(t *testing.T) {
	for _, c := range [][3]string{{"1234.5", "JPY", "1,235"}, {"-0.5", "KRW", "-1"}, {"0.4999", "JPY", "0"},
		{"1.0005", "KWD", "1.001"}, {"1234.5", "TND", "1,234.500"}, {"0.00005", "CLF", "0.0001"}, {"49.625", "", "49.63"},
		{"49.625", "jpy", "49.63"}, {"49.625", "???", "49.63"}} {
		table := &Table{Title: "T",
			Columns: []Column{{"currency", "Currency", Text, false}, {"net_cost", "Net", Money, true}},
			Rows:    [][]query.Value{row(c[1], c[0])}}
		d := &Document{Tables: []*Table{table},
			Figures: []Figure{{Label: "Net", Value: money(v(c[0]), v(c[1])), Kind: Money, Number: v(c[0]), Currency: c[1]}}}
		f, _ := workbook(t, d)
		for what, got := range map[string]string{"the cell": table.show(table.Rows[0], 1),
			"its total": table.totalCells(table.Totals()[0])[1], "the sheet": cellOf{f, t, "T"}.shown("B2"),
			"the figure of the sheet": cellOf{f, t, "Summary"}.shown("B6"),
			"the figure":              strings.TrimSpace(strings.TrimSuffix(d.Figures[0].Value, c[1]))} {
			if got != c[2] {
				t.Errorf("%s of %s %s is %q, want %q", what, c[0], c[1], got, c[2])
			}
		}
		for _, format := range []func(io.Writer) error{d.Text, d.HTML} {
			if s := render(t, format); strings.Count(s, c[2]) < 3 {
				t.Errorf("%s %s doesn't stand as %s in\n%s", c[0], c[1], c[2], s)
			}
		}
	}
}

func TestTotalsAreExactAndNeverAcrossCurrencies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := &Table{Columns: []Column{{"currency", "", Text, false}, {"net_cost", "", Money, true}}}
		want := map[query.Value]schemas.Money{}
		for range rapid.IntRange(0, 30).Draw(t, "rows") {
			c := v(rapid.SampledFrom([]string{"USD", "usd", "EUR", "", "NULL"}).Draw(t, "currency"))
			x := query.Value{Null: true}
			want[c] = want[c].Add(schemas.Money{})
			if rapid.Bool().Draw(t, "set") {
				n := schemas.MoneyOf(big.NewInt(rapid.Int64().Draw(t, "amount")))
				want[c] = want[c].Add(n)
				x.Null, x.Text = false, n.String()
			}
			table.Rows = append(table.Rows, []query.Value{c, x})
		}
		totals := table.Totals()
		if len(totals) != len(want) {
			t.Fatalf("%d totals for %d currencies", len(totals), len(want))
		}
		for _, total := range totals {
			sum := total.Sums[1]
			if sum == nil { // nothing but NULL
				sum = &schemas.Money{}
			}
			if w, ok := want[query.Value{Null: total.Null, Text: total.Currency}]; !ok || w.Cmp(*sum) != 0 {
				t.Fatalf("currency %q (NULL: %t) sums to %s, want %s", total.Currency, total.Null, sum, w)
			}
		}
	})
}

func TestATotalThatLacksARowIsNotShown(t *testing.T) {
	table := &Table{Columns: []Column{{"name", "Name", Text, false}, {"net_cost", "Net", Money, true},
		{"discount", "Discount", Money, true}},
		Rows: [][]query.Value{row("a", "1", "NULL"), row("b", "inf", "NULL"), row("c", "1", "NULL")}}
	if got := table.totalCells(table.Totals()[0]); !slices.Equal(got, []string{"Total", none, none}) {
		t.Errorf("the total is %q", got)
	}
}

func TestPartsAreTheRowsByGroupAndNullIsAGroupOfItsOwn(t *testing.T) {
	table := &Table{Group: "g", Columns: []Column{{"g", "", Text, false}, {"x", "", Text, false}},
		Rows: [][]query.Value{row("b", "1"), row("NULL", "2"), row("a", "3"), row("", "4"), row("b", "5")}}
	var got []string
	for _, p := range table.parts() {
		got = append(got, p.Title+":")
		for _, r := range p.Rows {
			got = append(got, r[1].Text)
		}
	}
	if s := strings.Join(got, " "); s != ": 4 a: 3 b: 1 5 "+none+": 2" {
		t.Errorf("parts are %q", s)
	}
}

func TestCSVTellsNullFromEmptyAndLeavesNumbersAlone(t *testing.T) {
	d := &Document{Tables: []*Table{{Columns: []Column{{"a", "", Text, false}, {"b", "", Money, false},
		{"c", "", Text, false}},
		Rows: [][]query.Value{row("", "-1.500000000000", "-1"), row("NULL", "NULL", " x"), row("a\nb", "=1", "\tx")}}}}
	want := "a,b,c\n\"\",-1.500000000000,'-1\n,,\" x\"\n\"a\nb\",'=1,'\tx\n"
	if got := render(t, d.CSV); got != want {
		t.Errorf("CSV is %q, want %q", got, want)
	}
}

// hostile are texts that an account, a token or a file of finance may bring.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</style></svg></table>&lt;b&gt;`, `' onmouseover='x`,
	`{{.Title}}`, "=cmd|' /C calc'!A0", `@SUM(1+1)*cmd|' /C calc'!A0`, `+1+1`, `-1+1`, "\t=1", "\r=1",
	"\x1b[31mred\x1b]0;title\x07", "\u202egpj.exe", "\u2066x\u2069\u200f", "a\x00b",
	"line\nbreak\r\nand \"quotes\", commas;", "\xff\xfe not UTF-8", "\ufffe\uffff", "_x0041_x0042_", "history",
	"a/b\\c?*[d]:e'", "'", "\u2028", strings.Repeat("long ", 1<<16/5+1), "👩‍💻 e\u0301", "USD", "usd", ">0", "*", "",
}

// hostileDocument has one of them in each place that text from outside can take.
func hostileDocument() *Document {
	t := &Table{Name: "lines", Title: "Lines", Group: "cost_center",
		Columns: []Column{{"cost_center", "Cost centre", Text, false}, {"model", "Model", Text, false},
			{"currency", "Currency", Text, false}, {"net_cost", "Net", Money, true}}}
	d := &Document{Name: "statement", Period: "2026-11", Tables: []*Table{t}, Generated: time.Unix(0, 0)}
	stack := stacked{days: []string{"2026-11-01"}, unit: "USD"}
	var budgets budgetBars
	var movers bars
	cal := calendar{days: []string{"2026-11-01"}}
	for i, s := range hostile {
		x := hostile[(i+1)%len(hostile)]
		t.Rows = append(t.Rows, []query.Value{{Text: s}, {Text: x}, {Text: hostile[(i+2)%len(hostile)]},
			{Text: "1.000000000001"}})
		d.Figures = append(d.Figures, Figure{Label: s, Value: x, Detail: s, Alarm: i%2 == 0})
		d.Warnings = append(d.Warnings, s)
		d.Notes = append(d.Notes, s)
		stack.series = append(stack.series, series{s, []float64{1}})
		budgets.items = append(budgets.items, budgetItem{s, 1, 2, 3, 2, 4, true, s})
		movers.items = append(movers.items, barItem{s, float64(i), s})
		cal.rows = append(cal.rows, calendarRow{s, []byte("f")})
	}
	all := strings.Join(hostile, "|")
	d.Title, d.Subtitle, d.Freshness = all, all, all
	stack.unit = hostile[0]
	many := exact{}
	for i := range hostile {
		many.add(0, i, v("1.5"))
	}
	d.Pictures = []Picture{{hostile[0], hostile[1], stack, t, newPlot(stackedColumns, hostile[0], dayColumn,
		[]string{hostile[0]}, Money, hostile, many)}, {all, all, budgets, nil, nil},
		{all, all, movers, nil, newPlot(movedBars, hostile[1], Column{Title: hostile[0]}, hostile, Money, hostile[:2],
			sums("1", "2"))}, {all, all, cal, nil, newPlot(field, hostile[0], Column{Title: hostile[0]}, hostile, Money, hostile,
			many)}, {all, all, heat{unit: hostile[0]}, nil, nil}, {all, all, outlook{unit: hostile[0]}, nil, nil}}
	return d
}

func TestNoTextSteersATerminal(t *testing.T) {
	out := render(t, hostileDocument().Text)
	for i, r := range out {
		if r != '\n' && words.Steers(r) && !strings.ContainsRune("\u200c\u200d", r) {
			t.Fatalf("%U stands in the text: %q", r, out[max(0, i-40):i])
		}
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, " ") && utf8.RuneCountInString(line) > 300 && strings.Contains(line, "1.00") {
			t.Errorf("a row is %d characters wide", utf8.RuneCountInString(line))
		}
	}
}

func TestNoCellOfCSVIsAFormulaAndAllTextComesBack(t *testing.T) {
	d := hostileDocument()
	rows, err := csv.NewReader(strings.NewReader(render(t, d.CSV))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(hostile)+1 {
		t.Fatalf("%d lines, want %d", len(rows), len(hostile)+1)
	}
	for i, r := range rows[1:] {
		for j, cell := range r[:3] {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("the cell %.40q is a formula", cell)
			}
			// as the reader has it
			if want := strings.ReplaceAll(query.NoFormula(d.Tables[0].Rows[i][j].Text), "\r\n", "\n"); cell != want {
				t.Errorf("%.40q came back as %.40q", want, cell)
			}
		}
		if r[3] != "1.000000000001" {
			t.Errorf("the amount is %s", r[3])
		}
	}
}

func TestJSONHoldsAllTextAndExactAmounts(t *testing.T) {
	d := hostileDocument()
	var doc struct {
		Tables []struct {
			Rows   []map[string]any
			Totals []map[string]any
		}
	}
	if err := json.Unmarshal([]byte(render(t, d.JSON)), &doc); err != nil {
		t.Fatal(err)
	}
	for i, r := range doc.Tables[0].Rows {
		if want := strings.ToValidUTF8(hostile[i], "\ufffd"); strings.ReplaceAll(r["cost_center"].(string), "\ufffd\ufffd",
			"\ufffd") != want {
			t.Errorf("%.40q came back as %.40q", want, r["cost_center"])
		}
		if r["net_cost"] != "1.000000000001" {
			t.Errorf("the amount is %v", r["net_cost"])
		}
	}
	if len(doc.Tables[0].Totals) != len(hostile) {
		t.Errorf("%d totals for %d currencies", len(doc.Tables[0].Totals), len(hostile))
	}
}

func TestParquetHoldsAllTextAndExactAmounts(t *testing.T) {
	d := hostileDocument()
	read := func(doc *Document) arrow.Table {
		r, err := file.NewParquetReader(strings.NewReader(render(t, doc.Parquet)))
		if err != nil {
			t.Fatal(err)
		}
		f, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		table, err := f.ReadTable(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(table.Release)
		return table
	}
	table := read(d)
	if table.NumRows() != int64(len(hostile)) {
		t.Fatalf("%d rows", table.NumRows())
	}
	for i := range hostile {
		if got := table.Column(0).Data().Chunk(0).(*array.String).Value(i); got != strings.ToValidUTF8(hostile[i], "\ufffd") {
			t.Errorf("%.40q came back as %.40q", hostile[i], got)
		}
	}
	table = read(sample())
	for i, want := range []string{"utf8", "utf8", "utf8", "int64", "decimal(38, 12)", "decimal(38, 12)", "decimal(38, 12)",
		"decimal(38, 12)", "date32", "date32", "timestamp[us, tz=UTC]", "bool"} {
		if got := table.Column(i).DataType().String(); got != want {
			t.Errorf("column %s is %s, want %s", table.Column(i).Name(), got, want)
		}
	}
	for i, want := range []string{"1234.565000000000", "-0.005000000000", "0.000000000001",
		"99999999999999999999999999.999999999999", "0.015"} {
		n := schemas.MoneyOf(table.Column(4).Data().Chunk(0).(*array.Decimal128).Value(i).BigInt())
		if w, _ := schemas.ParseMoney(want); w.Cmp(n) != 0 {
			t.Errorf("the amount %s came back as %s", want, n)
		}
	}
	if c := table.Column(8).Data().Chunk(0); !c.IsNull(2) ||
		c.(*array.Date32).Value(0) != arrow.Date32FromTime(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("days came back as %v", c)
	}
}

// Whatever a report doesn't take it refuses with a sentence that says why.
func TestEveryRefusalSaysWhy(t *testing.T) {
	day := schemas.Date(20000)
	for _, r := range Reports() {
		for _, flag := range []string{"--month", "--from", "--to"} {
			if has := r.Spans == AnyDays || r.Spans == Months && flag == "--month"; has != (r.WhyNot(flag) == "") {
				t.Errorf("%s %s: %q", r.Name, flag, r.WhyNot(flag))
			}
		}
		if err := r.Check(Options{Period: &schemas.Period{From: day, To: day + 1}}); r.Spans != AnyDays &&
			(err == nil || !strings.Contains(err.Error(), r.NoPeriod)) {
			t.Errorf("%s of a day: %v", r.Name, err)
		}
		for _, d := range query.ScopeDimensions {
			var o Options
			*o.Scope.Values(d) = []string{"x"}
			has := slices.Contains(r.Dimensions, d)
			if err := r.Check(o); has != (r.WhyNot(FlagName(d)) == "") || has != (err == nil) || err != nil &&
				!strings.Contains(err.Error(), r.NoOwners) {
				t.Errorf("%s %s: %q, %v", r.Name, FlagName(d), r.WhyNot(FlagName(d)), err)
			}
		}
	}
}
