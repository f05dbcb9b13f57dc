package jobs

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// tablesOfFinance are the tables that a config may name, as CSV in English settings.
var tablesOfFinance = map[string]string{
	"rules": "id,from,token_id,cost_center,gl_code,tag.env\nsearch,2026-03-01,tk_1|tk_9*,CC-1,0042,prod\n" +
		"rest,,,CC-2,6100,\n",
	"tokens": "token_id,from,to,cost_center,gl_code\ntk_1,2026-01-01,2026-07-01,CC-1,0042\ntk_1,2026-07-01,,CC-2,6100\n",
	"names":  "kind,id,name\ntoken,10930,\"Search, nightly\"\ncost_center,CC-1,Café\n",
	"invoices": "invoice,period,account,date,model,amount,currency,book_amount\n" +
		"INV-1,2026-10,acme,,,1234.5,USD,1100.125\n" +
		"INV-1,2026-10,acme,2026-10-03,gpt-5,-0.25,USD,\n",
	"rates": "date,from,to,rate,source\n2026-10-01,USD,EUR,0.9231,\"ECB; 1.234\"\n2026-10-02,USD,EUR,0.9,\n",
	"topups": "date,amount,currency,kind,reference,expires\n2026-10-01,12000,USD,paid,PO-1,\n" +
		"2026-10-02,0.5,USD,coupon,,2026-12-31\n",
	"metrics": "metric,period,date,customer,cost_center,value,currency\n" +
		"orders,2026-10,,,CC-1,120034,\n" +
		"revenue,,2026-11-02,,CC-1,1234567.25,EUR\n",
	"periods": "period,from,to\n2026-P07,2026-10-03,2026-10-31\n2026-P08,2026-10-31,2026-11-28\n",
}

// asGerman is a table as a German Excel saves it, with a title, and empty columns and rows behind.
func asGerman(t *testing.T, table string) []byte {
	t.Helper()
	out := "\xef\xbb\xbfsep=;\r\nTabelle für die Finanzabteilung;;\r\n"
	for i, row := range rowsOf(t, table) {
		for j, c := range row {
			switch {
			case i > 0 && isDay.MatchString(c):
				row[j] = c[8:] + "." + c[5:7] + "." + c[:4]
			case i > 0 && isDecimal.MatchString(c):
				row[j] = strings.ReplaceAll(c, ".", ",")
				if len(c) > 3 && strings.Index(c, ".") == len(c)-4 {
					row[j] += "0" // 1100,125 could be above a million
				}
			case strings.Contains(c, ";"):
				row[j] = `"` + c + `"`
			}
		}
		out += strings.Join(row, ";") + ";;\r\n"
	}
	return []byte(out + ";;\r\n")
}

// asWorkbook is a table as it is typed into a spreadsheet: days are dates, amounts numbers, and 2026-10 is taken for a
// month. Codes and ids are text.
func asWorkbook(t *testing.T, table string) []byte {
	t.Helper()
	f := excelize.NewFile()
	defer f.Close()
	day, err1 := f.NewStyle(&excelize.Style{NumFmt: 14})
	month, err2 := f.NewStyle(&excelize.Style{NumFmt: 17})
	err := errors.Join(err1, err2)
	rows := rowsOf(t, table)
	for i, row := range rows {
		for j, c := range row {
			at, _ := excelize.CoordinatesToCellName(j+1, i+2)
			switch {
			case i > 0 && (isDay.MatchString(c) || isMonth.MatchString(c)):
				style, layout := day, time.DateOnly
				if isMonth.MatchString(c) {
					style, layout = month, "2006-01"
				}
				value, errTime := time.Parse(layout, c)
				err = errors.Join(err, errTime, f.SetCellValue("Sheet1", at, value), f.SetCellStyle("Sheet1", at, at, style))
			case i > 0 && slices.Contains([]string{"amount", "rate", "value", "book_amount"}, rows[0][j]):
				err = errors.Join(err, f.SetCellDefault("Sheet1", at, c))
			case c != "":
				err = errors.Join(err, f.SetCellStr("Sheet1", at, c))
			}
		}
	}
	_, errSheet := f.NewSheet("Notes")
	b, errWrite := f.WriteToBuffer()
	if err := errors.Join(err, f.SetCellStr("Sheet1", "A1", "A title"), errSheet,
		f.SetCellStr("Notes", "B2", "to whom it may concern"), errWrite); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var (
	isDay     = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)
	isMonth   = regexp.MustCompile(`^\d{4}-\d\d$`)
	isDecimal = regexp.MustCompile(`^-?\d+\.\d+$`)
)

func rowsOf(t *testing.T, table string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Every table that a config names says the same as a workbook, as a German CSV and as a plain one.
func TestEveryTableIsReadAlikeFromASpreadsheet(t *testing.T) {
	read := func(ext string, save func(table string) []byte) []string {
		dir := t.TempDir()
		file := func(name string) string { return filepath.Join(dir, name+ext) }
		for name, table := range tablesOfFinance {
			if err := os.WriteFile(file(name), save(table), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		rules := filepath.Join(dir, "allocation.yaml")
		err := os.WriteFile(rules, []byte("tables: {tokens: {file: tokens"+ext+", key: token_id}}\n"+
			"rules: [{id: a, lookup: tokens}]\n"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		cfg := &config.Config{Accounts: []config.Account{{Name: "acme", Billing: "prepaid", TopUps: file("topups")}},
			Names: file("names"), Invoices: []string{file("invoices")}, Metrics: []string{file("metrics")},
			Allocation: config.Allocation{Rules: file("rules")}}
		cfg.Books.Currency, cfg.Books.Rates = "EUR", file("rates")
		var out []string
		say := func(v any) {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, strings.ReplaceAll(string(text), ext, ".csv"))
		}
		for _, name := range []string{file("rules"), rules} {
			cfg.Allocation.Rules = name
			finance, err := readFinance(cfg)
			if err != nil {
				t.Fatalf("%s: %v", ext, err)
			}
			say(finance.Rates.Digestible())
			say(finance.Names)
			say(finance.Invoices)
			say(finance.TopUps)
			say(finance.Metrics)
			r := finance.Rules.(*allocate.Rules)
			say(r.List())
			for _, day := range []string{"2026-02-01", "2026-06-30", "2026-07-01"} {
				token := "tk_1"
				on, err := schemas.ParseDate(day)
				if err != nil {
					t.Fatal(err)
				}
				say(r.Assign(schemas.AllocationKey{Account: "acme", TokenID: &token}, on))
			}
		}
		cfg.Books.Calendar = file("periods")
		books, err := cfg.ReadBooks()
		if err != nil {
			t.Fatalf("%s: %v", ext, err)
		}
		return append(out, strings.ReplaceAll(books.Text(), ext, ".csv"))
	}
	plain := read(".csv", func(table string) []byte { return []byte(table) })
	for name, other := range map[string][]string{
		"German":     read(".csv", func(table string) []byte { return asGerman(t, table) }),
		"a workbook": read(".xlsx", func(table string) []byte { return asWorkbook(t, table) }),
	} {
		for i := range plain {
			// Two lines more stand above the head of the German one, one of the workbook.
			if got, want := line.ReplaceAllString(other[i], ".csv:n"), line.ReplaceAllString(plain[i],
				".csv:n"); got != want {
				t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
			}
		}
	}
}

var line = regexp.MustCompile(`\.csv:\d+`)
