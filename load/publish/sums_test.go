package publish

import (
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// viewsFrom is a lake whose sums are views from so many records on.
func viewsFrom(t *testing.T, dir string, records int64) *Lake {
	t.Helper()
	l, err := Open(dir, Options{ViewsFrom: records})
	must(t, err)
	return l
}

func isUnsummed(t *testing.T, l *Lake) bool {
	t.Helper()
	d, err := openDatabase(t.Context(), engine{}, l.Database(), true)
	must(t, err)
	defer d.Close()
	is, err := d.unsummed(t.Context())
	must(t, err)
	return is
}

// The sums of a day are the same, and so is all that comes of them, whether they are tables or views: every table and
// view of the file has the same rows, after a build, after days that changed, came and went, after other rules, and
// with a month that is closed and corrected.
func TestSumsAreTheSameInTablesAndInViews(t *testing.T) {
	tables, views := financeLake(t), financeLake(t)
	views.lake = viewsFrom(t, views.lake.Dir(), 1)
	acme := func(day string) schemas.Partition {
		return schemas.Partition{Account: "acme", Date: schemastest.Date(day)}
	}
	finance := testFinance
	steps := []struct {
		name   string
		change func(w *dayWriter)
	}{
		{"built", func(*dayWriter) {}},
		{"days changed and came", func(w *dayWriter) {
			w.RandomDay(acme("2026-10-05"), 90, 77)
			w.RandomDay(acme("2026-10-31"), 40, 78)
		}},
		{"a day without usage", func(w *dayWriter) { w.RandomDay(acme("2026-10-05"), 0, 79) }},
		{"other rules", func(*dayWriter) { finance.Rules = nil }},
		{"rules again", func(*dayWriter) { finance = testFinance }},
		{"a closed month", func(w *dayWriter) {
			_, err := w.closeMonth("2026-09", finance)
			must(t, err)
		}},
		{"corrected", func(w *dayWriter) { w.RandomDay(acme("2026-09-25"), 70, 80) }},
	}
	for _, s := range steps {
		for _, w := range []*dayWriter{tables, views} {
			s.change(w)
			w.publish(PublishOptions{Finance: finance, Full: s.name == "built"})
		}
		if isUnsummed(t, tables.lake) || !isUnsummed(t, views.lake) {
			t.Fatal(s.name, "the wrong kind")
		}
		if got, want := views.Dump(), tables.Dump(); got != want {
			for i, line := range strings.Split(want, "\n") {
				if rest := strings.Split(got, "\n"); i >= len(rest) || rest[i] != line {
					t.Fatalf("%s: line %d of tables is\n%s\nand of views\n%s", s.name, i, line, rest[min(i, len(rest)-1)])
				}
			}
		}
	}
}

// A file whose sums were few when it was built is built anew with views once nearly every record has one of its own,
// and then stays so; a lake of few records keeps its tables.
func TestAFileThatOutgrowsItsSumsGetsViews(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.lake = viewsFrom(t, w.lake.Dir(), 1000)
	day := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
	few := "SELECT * REPLACE ('tk' AS token_id, 'u' AS user_id, 'm' AS model) FROM (" +
		loadtest.UsageSQL(day, 800, 1) + ")"
	w.DayFrom(day, few, "digest", nil)
	wantPublished(t, w.publish(PublishOptions{}), Published{Changed: 1, Total: 1, Rows: 800, Full: true})
	if isUnsummed(t, w.lake) {
		t.Error("two sums of 800 records are a view")
	}
	day.Date++
	w.DayFrom(day, "SELECT * REPLACE (id AS token_id) FROM ("+loadtest.UsageSQL(day, 2000, 2)+")", "digest", nil)
	wantPublished(t, w.publish(PublishOptions{}), Published{Changed: 2, Total: 2, Rows: 2800, Full: true})
	if !isUnsummed(t, w.lake) {
		t.Error("sums of single records are a table")
	}
	day.Date++
	w.RandomDay(day, 10, 3)
	wantPublished(t, w.publish(PublishOptions{}), Published{Changed: 1, Total: 3, Rows: 2810})
	w.lake = viewsFrom(t, w.lake.Dir(), 0)
	w.publish(PublishOptions{Full: true})
	if isUnsummed(t, w.lake) {
		t.Error("a lake of few records has views")
	}
}
