package query

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// The FOCUS files of a month that is closed hold the rows that an export of the month gives, those of corrections of an
// earlier month among them, in a lake whose path looks like a pattern, too. The export asks the published file, which
// took its rows from the ledger by then.
func TestTheFocusFilesOfACloseAreThoseOfItsMonth(t *testing.T) {
	w, _ := focusLake(t)
	odd := filepath.Join(t.TempDir(), "a[b]*c")
	must(t, os.Rename(w.Lake.Dir(), odd))
	lake, err := publish.Open(odd, publish.Options{})
	must(t, err)
	month, err := schemas.ParseMonth("2026-10")
	must(t, err)
	export := func(dir string) {
		t.Helper()
		end := month + 1
		for _, format := range []string{FocusParquet, FocusCSV} {
			_, err := ExportFocus(t.Context(), lake, FocusOptions{From: &month, To: &end,
				Path: filepath.Join(dir, "focus."+format)})
			must(t, err)
		}
	}
	open := t.TempDir()
	export(open)
	closed, err := lake.CloseMonth(t.Context(), publish.CloseOptions{Month: month, RunID: "run-c", Version: "test",
		Now: loadtest.TickingClock(), Rules: []publish.RuleFile{{Name: "rules.yaml",
			Content: []byte(testFinance.Rules.Digest())}}, RulesDigest: testFinance.Rules.Digest(),
		Write: func(ctx context.Context, dir string, _ int) error { return ExportClosing(ctx, lake, month, dir) }})
	must(t, err)
	finance := testFinance
	finance.Archived = func([]publish.RuleFile) (publish.Allocator, error) { return testFinance.Rules, nil }
	_, err = lake.Publish(t.Context(), publish.PublishOptions{Finance: finance, Now: loadtest.TickingClock()})
	must(t, err)
	after := t.TempDir()
	export(after)

	conn, done := loadtest.Connect(t, "")
	defer done()
	rows := func(path, function string) []string {
		t.Helper()
		// What tells of the month's state isn't of its charges.
		r, err := conn.QueryContext(t.Context(), "SELECT r::VARCHAR FROM (SELECT * EXCLUDE (InvoiceId) FROM "+function+"("+
			publish.SqlGlob(path)+")) r ORDER BY 1")
		must(t, err)
		defer r.Close()
		var out []string
		for r.Next() {
			var s string
			must(t, r.Scan(&s))
			out = append(out, s)
		}
		must(t, r.Err())
		return out
	}
	for format, function := range map[string]string{FocusParquet: "read_parquet", FocusCSV: "read_csv"} {
		got := rows(filepath.Join(closed.Dir, "focus-"+schemas.Focus12+"."+format), function)
		for name, dir := range map[string]string{"before": open, "after": after} {
			if want := rows(filepath.Join(dir, "focus."+format), function); len(got) < 100 || !slices.Equal(got, want) {
				t.Errorf("%s: the close has %d rows, an export %s it %d, and they differ", format, len(got), name, len(want))
			}
		}
	}
	var corrections int
	must(t, conn.QueryRowContext(t.Context(), "SELECT count(*) FILTER (ChargeClass = 'Correction') FROM read_parquet("+
		publish.SqlGlob(filepath.Join(closed.Dir, "focus-"+schemas.Focus12+".parquet"))+")").Scan(&corrections))
	if corrections == 0 {
		t.Error("no correction is among them")
	}
}
