package report

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

// office has a spreadsheet program open files and save them in a format; it computes every formula anew.
func office(t *testing.T, format string, files ...string) (dir string) {
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
oor:op="fuse"><value>0</value></prop></item> </oor:items>`
	if err := os.MkdirAll(filepath.Join(profile, "user"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profile, "user", "registrymodifications.xcu"), []byte(settings),
		0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-env:UserInstallation=file://" + profile, "--headless", "--norestore", "--convert-to", format,
		"--outdir", dir}, files...)
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Fatalf("soffice %v: %v\n%s", args, err, out)
	}
	return dir
}

// A spreadsheet program opens each workbook, computes its totals anew, saves and prints it, and the figures stay those
// that it was written with, to the fifteen digits that a spreadsheet has.
func TestASpreadsheetProgramComputesSavesAndPrintsTheSame(t *testing.T) {
	odd := &Table{Name: "odd", Title: "Odd",
		Columns: []Column{{"currency", "Currency", Text, false}, {"net_cost", "Net", Money, true}}}
	for i, c := range []string{"USD", "usd", "*", "", "NULL", "JPY", "USD"} {
		odd.Rows = append(odd.Rows, row(c, fmt.Sprintf("%d.%012d", i*1000+1, i*7+1)))
	}
	dir := t.TempDir()
	var files []string
	for name, d := range map[string]*Document{"sample": sample(), "hostile": hostileDocument(),
		"odd": {Tables: []*Table{odd}}} {
		file := filepath.Join(dir, name+".xlsx")
		if err := os.WriteFile(file, []byte(render(t, d.XLSX)), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	saved := office(t, "xlsx:Calc MS Excel 2007 XML", files...)
	formulas := 0
	for _, file := range files {
		was, now := opened(t, file), opened(t, filepath.Join(saved, filepath.Base(file)))
		if got, want := strings.Join(now.GetSheetList(), "|"), strings.Join(was.GetSheetList(), "|"); got != want {
			t.Errorf("%s: the sheets are %s, were %s", filepath.Base(file), got, want)
			continue
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
							t.Errorf("%s!%s is no formula any more", sheet, at)
						}
					}
					if a, b := before.raw(at), after.raw(at); !sameFigure(a, b) && before.kind(at) != excelize.CellTypeSharedString {
						t.Errorf("%s!%s is %s, was %s (%s)", sheet, at, b, a, before.formula(at))
					}
				}
			}
		}
	}
	if formulas < 20 {
		t.Errorf("%d formulas", formulas)
	}
	printed := office(t, "pdf", files...)
	for _, file := range files {
		name := filepath.Join(printed, strings.TrimSuffix(filepath.Base(file), ".xlsx")+".pdf")
		if b, err := os.ReadFile(name); err != nil || !strings.HasPrefix(string(b), "%PDF-") {
			t.Errorf("%s: %v", name, err)
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
