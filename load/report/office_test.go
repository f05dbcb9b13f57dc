package report

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"github.com/usagelake/usagelake/load/query"
)

// office has a spreadsheet program of a country's settings open files and save them in a format; it computes every
// formula anew. in says how text is read, as --infilter has it; "" is for workbooks.
func office(t *testing.T, locale, in, format string, files ...string) (dir string) {
	t.Helper()
	path, err := exec.LookPath("soffice")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no soffice, and CI is set")
		}
		t.Skip("no soffice")
	}
	profile, dir := t.TempDir(), t.TempDir()
	// 0 is "always": it would take the stored values of formulas for right.
	settings := `<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema">
<item oor:path="/org.openoffice.Office.Calc/Formula/Load"><prop oor:name="OOXMLRecalcMode"
oor:op="fuse"><value>0</value></prop></item><item oor:path="/org.openoffice.Setup/L10N">
<prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>` + locale + `</value></prop></item></oor:items>`
	if err := os.MkdirAll(filepath.Join(profile, "user"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profile, "user", "registrymodifications.xcu"), []byte(settings),
		0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-env:UserInstallation=file://" + profile, "--headless", "--norestore"}
	if in != "" {
		args = append(args, "--infilter="+in)
	}
	args = append(append(args, "--convert-to", format, "--outdir", dir), files...)
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Fatalf("soffice %v: %v\n%s", args, err, out)
	}
	return dir
}

// calc is how a spreadsheet program saves a workbook.
const calc = "xlsx:Calc MS Excel 2007 XML"

// written writes files into a new folder, and gives their paths, in order of their names.
func written(t *testing.T, files map[string]string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// oddDocument has currencies that a spreadsheet might take for one another, or for a pattern.
func oddDocument() *Document {
	odd := &Table{Name: "odd", Title: "Odd",
		Columns: []Column{{"currency", "Currency", Text, false}, {"net_cost", "Net", Money, true}}}
	for i, c := range []string{"USD", "usd", "*", "", "NULL", "JPY", "USD"} {
		odd.Rows = append(odd.Rows, row(c, fmt.Sprintf("%d.%012d", i*1000+1, i*7+1)))
	}
	return &Document{Tables: []*Table{odd}}
}

// A spreadsheet program of either settings opens each workbook, computes its totals anew, saves and prints it, and the
// figures stay those that it was written with, to the fifteen digits that a spreadsheet has.
func TestASpreadsheetProgramComputesSavesAndPrintsTheSame(t *testing.T) {
	files := written(t, map[string]string{"sample.xlsx": render(t, sample().XLSX),
		"hostile.xlsx": render(t, hostileDocument().XLSX), "odd.xlsx": render(t, oddDocument().XLSX)})
	for _, locale := range []string{"en-US", "de-DE"} {
		saved := office(t, locale, "", calc, files...)
		formulas := 0
		for _, file := range files {
			formulas += sameFigures(t, locale, opened(t, file), opened(t, filepath.Join(saved, filepath.Base(file))))
		}
		if formulas < 40 {
			t.Errorf("%s: %d formulas", locale, formulas)
		}
	}
	printed := office(t, "en-US", "", "pdf", files...)
	for _, file := range files {
		name := filepath.Join(printed, strings.TrimSuffix(filepath.Base(file), ".xlsx")+".pdf")
		if b, err := os.ReadFile(name); err != nil || !strings.HasPrefix(string(b), "%PDF-") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sameFigures holds a workbook against what it was, and counts its formulas.
func sameFigures(t *testing.T, what string, was, now *excelize.File) (formulas int) {
	t.Helper()
	if got, want := strings.Join(now.GetSheetList(), "|"), strings.Join(was.GetSheetList(), "|"); got != want {
		t.Errorf("%s: the sheets are %s, were %s", what, got, want)
		return 0
	}
	for _, sheet := range was.GetSheetList() {
		rows, err := was.GetRows(sheet, excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		for r, cells := range rows {
			for c := range cells {
				at := cellName(c, r+1)
				before, after := cellOf{was, t, sheet}, cellOf{now, t, sheet}
				if before.formula(at) != "" {
					formulas++
					if after.formula(at) == "" {
						t.Errorf("%s: %s!%s is no formula any more", what, sheet, at)
					}
				}
				if a, b := before.raw(at), after.raw(at); !sameFigure(a, b) && before.kind(at) != excelize.CellTypeSharedString {
					t.Errorf("%s: %s!%s is %s, was %s (%s)", what, sheet, at, b, a, before.formula(at))
				}
			}
		}
	}
	return formulas
}

// What a filter hides isn't in the totals: neither in those of one currency, nor in those of several.
func TestTotalsFollowAFilter(t *testing.T) {
	table := func(currencies ...string) *Document {
		d := &Document{Tables: []*Table{{Name: "x", Title: "X", Columns: []Column{{"model", "Model", Text, false},
			{"currency", "Currency", Text, false}, {"requests", "Requests", Count, true}, {"net_cost", "Net", Money, true}}}}}
		for i, c := range currencies { // 1.5, 2.5, 4.5, 8.5, …: each sum is one of its own
			d.Tables[0].Rows = append(d.Tables[0].Rows, row(string(rune('a'+i)), c, fmt.Sprint(1<<i), fmt.Sprintf("%d.5", 1<<i)))
		}
		return d
	}
	docs := map[string]*Document{"one.xlsx": table("USD", "USD", "USD", "USD", "USD", "USD"),
		"two.xlsx": table("USD", "EUR", "USD", "EUR", "USD", "EUR"),
		"odd.xlsx": table("USD", "usd", "NULL", "NULL", "USD", "usd")}
	filtered := map[string]string{}
	for name, d := range docs {
		f, _ := workbook(t, d)
		// As a spreadsheet saves a filter: with the rows that it hides, the second and the third.
		for _, r := range []int{3, 4} {
			if err := f.SetRowVisible("X", r, false); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.AutoFilter("X", "A1:D7",
			[]excelize.AutoFilterOptions{{Column: "A", Expression: "x != b and x != c"}}); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := f.Write(&b); err != nil {
			t.Fatal(err)
		}
		filtered[name] = b.String()
	}
	saved := office(t, "de-DE", "", calc, written(t, filtered)...)
	for name, want := range map[string]string{
		"one.xlsx": "Total USD 57 59", "two.xlsx": "Total EUR 40 41, Total USD 17 18",
		"odd.xlsx": "Total USD 17 18, Total usd 32 32.5, Total – 8 8.5",
	} {
		f := opened(t, filepath.Join(saved, name))
		rows, err := f.GetRows("X", excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range rows {
			if len(r) > 0 && r[0] == "Total" {
				got = append(got, strings.Join(r[:4], " "))
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, want %s", name, strings.Join(got, ", "), want)
		}
	}
}

// A CSV for Excel opens as it is meant with the settings that it is for, without a question: numbers are numbers, dates
// dates, and ids text.
func TestACSVForExcelOpensAsItIsMeant(t *testing.T) {
	for locale, in := range map[string]string{
		// Separator, quotes, UTF-8, from line 1, no column's format, the settings' language, quoted fields may be numbers,
		// numbers and dates are known by their looks, formulas are computed.
		"en-US": "CSV:44,34,76,1,,0,false,true,false,false,false,0,true,false,true",
		"de-DE": "CSV:59,34,76,1,,0,false,true,false,false,false,0,true,false,true",
	} {
		d := sample()
		d.Tables[0].Rows = append(d.Tables[0].Rows[:3], row("0042", "10-Mar-26", "USD", "1234567", "1234.125", "1.5",
			"1.0625", "-0.5", "2026-11-30", "2026-11-01", "2026-11-24T10:30:00Z", "false"))
		d.Form.Excel, _ = query.SignsOf(locale)
		files := written(t, map[string]string{"sample.csv": render(t, d.CSV)})
		f := opened(t, filepath.Join(office(t, locale, in, calc, files...), "sample.xlsx"))
		c := cellOf{f, t, f.GetSheetList()[0]}
		for at, want := range map[string]string{"A1": "cost_center", "A2": "CC-1", "A5": "0042", "B5": "10-Mar-26",
			"D2": "1234567", "E2": "1234.565", "E3": "-0.005", "E5": "1234.125", "G5": "1.0625", "H5": "-0.5", "I2": "46327",
			"I5": "46356", "K5": "46350.4375", "F4": ""} {
			if got := c.raw(at); !sameFigure(got, want) {
				t.Errorf("%s: %s is %q, want %q", locale, at, got, want)
			}
		}
	}
}

// sameFigure says that two cells hold the same number, as far as a spreadsheet keeps it.
func sameFigure(a, b string) bool {
	x, err := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	if err != nil || err2 != nil {
		return a == b
	}
	return math.Abs(x-y) <= math.Abs(x)*1e-14
}

func opened(t *testing.T, name string) *excelize.File {
	t.Helper()
	f, err := excelize.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
