package allocate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"
)

// office has a spreadsheet program of some country's settings open files and save them in a format, and gives what it
// wrote.
func office(t *testing.T, locale, format string, files ...string) []string {
	t.Helper()
	path, err := exec.LookPath("soffice")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no soffice, and CI is set")
		}
		t.Skip("no soffice")
	}
	profile, dir := t.TempDir(), t.TempDir()
	settings := `<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry"><item oor:path="/org.openoffice.Setup/L10N">
<prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>` + locale + `</value></prop></item></oor:items>`
	if err := os.MkdirAll(filepath.Join(profile, "user"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profile, "user", "registrymodifications.xcu"), []byte(settings),
		0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-env:UserInstallation=file://" + profile, "--headless", "--norestore",
		"--convert-to", format,
		"--outdir", dir}, files...)
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("soffice %s: %v\n%s", format, err, out)
	}
	extension, _, _ := strings.Cut(format, ":")
	var saved []string
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(dir, strings.TrimSuffix(filepath.Base(file), ".xlsx")+"."+extension))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		saved = append(saved, string(b))
	}
	return saved
}

// What LibreOffice saves with German and with English settings, as a workbook and as text, is read as what was typed;
// what it writes so that it can be read in two ways is refused.
func TestWhatLibreOfficeSavesIsRead(t *testing.T) {
	dir, n := t.TempDir(), 0
	typed := func(dates, numbers string) string {
		f := excelize.NewFile()
		defer f.Close()
		day, err := f.NewStyle(&excelize.Style{CustomNumFmt: &dates})
		if err != nil {
			t.Fatal(err)
		}
		number, err := f.NewStyle(&excelize.Style{CustomNumFmt: &numbers})
		if err != nil {
			t.Fatal(err)
		}
		rows := []struct {
			day    time.Time
			amount string
			note   string
		}{
			{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "1234.5", "Café, 0042"},
			{time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC), "-0.25", "1.234"},
			{time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC), "7", ""},
		}
		_ = f.SetSheetRow("Sheet1", "A1", &[]string{"date", "amount", "note"})
		for i, r := range rows {
			at := func(column string) string { return fmt.Sprintf("%s%d", column, i+2) }
			_ = f.SetCellValue("Sheet1", at("A"), r.day)
			_ = f.SetCellStyle("Sheet1", at("A"), at("A"), day)
			_ = f.SetCellDefault("Sheet1", at("B"), r.amount)
			_ = f.SetCellStyle("Sheet1", at("B"), at("B"), number)
			_ = f.SetCellStr("Sheet1", at("C"), r.note)
		}
		n++
		file := filepath.Join(dir, fmt.Sprintf("%d.xlsx", n))
		if err := f.SaveAs(file); err != nil {
			t.Fatal(err)
		}
		return file
	}
	// Separator, quotes, UTF-8 or UTF-16, from line 1, the settings' language, as the cells show it.
	const commas, semicolons, unicode = `csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true`,
		`csv:Text - txt - csv (StarCalc):59,34,76,1,,0,false,true`,
		`csv:Text - txt - csv (StarCalc):9,34,65535,1,,0,false,true`
	type shown struct{ dates, numbers, want string }
	for _, x := range []struct {
		locale, format string
		shown          []shown
	}{
		{"de-DE", "xlsx", []shown{{"dd/mm/yyyy", "#,##0.00", dues}}},
		{"de-DE", semicolons, []shown{{"dd.mm.yyyy", "#,##0.00", dues},
			{"dd.mm.yyyy", "#,##0.000", `d.csv:4: "7,000" may be 7000, and may be 7.000`}}},
		{"de-DE", unicode, []shown{{"yyyy-mm-dd", "General", dues}}},
		{"en-US", commas, []shown{{"yyyy-mm-dd", "General", dues},
			{"mm/dd/yyyy", "General", `d.csv:2: "11/01/2026" is a date that countries read differently`}}},
	} {
		var files []string
		for _, s := range x.shown {
			files = append(files, typed(s.dates, s.numbers))
		}
		extension, _, _ := strings.Cut(x.format, ":")
		for i, saved := range office(t, x.locale, x.format, files...) {
			s := x.shown[i]
			got, err := readDues("d."+extension, []byte(saved))
			if err != nil {
				got = err.Error()
			}
			if err == nil && got != s.want || !strings.Contains(got, s.want) {
				t.Errorf("%s, %s, %s as %s: %s\nof\n%s", x.locale, s.dates, s.numbers, x.format, got,
					saved[:min(len(saved), 300)])
			}
		}
	}
}
