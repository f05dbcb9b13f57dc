package publish

import (
	"fmt"
	"log/slog"
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

// sumViews are the names of the file's sums that are views.
func sumViews(t *testing.T, l *Lake) string {
	t.Helper()
	d, err := openDatabase(t.Context(), engine{}, l.Database(), true)
	must(t, err)
	defer d.Close()
	views, err := d.SumViews(t.Context())
	must(t, err)
	return strings.Join(views, " ")
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
		if a, b := sumViews(t, tables.lake), sumViews(t, views.lake); a != "" || b != "usage_daily allocated_daily" {
			t.Fatalf("%s: the views are %q and %q", s.name, a, b)
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
	w.lake = viewsFrom(t, w.lake.Dir(), 500)
	day := schemas.Partition{Account: "acme", Date: schemastest.Date("2026-10-01")}
	like := func(replace string, rows int, seed int64) {
		w.DayFrom(day, "SELECT * REPLACE ("+replace+") FROM ("+loadtest.UsageSQL(day, rows, seed)+")",
			fmt.Sprintf("digest-%d", seed), nil)
	}
	for _, step := range []struct {
		replace string
		rows    int
		want    Published
		views   string
	}{
		{"'tk' AS token_id, 'u' AS user_id, 'm' AS model", 800, Published{Changed: 1, Total: 1, Rows: 800, Full: true}, ""},
		{"'tk' AS token_id, 'u' AS user_id, 'm' AS model, id AS custom_user_id", 2000,
			Published{Changed: 2, Total: 2, Rows: 2800, Full: true}, "allocated_daily"},
		{"id AS token_id", 9000, Published{Changed: 3, Total: 3, Rows: 11800, Full: true}, "usage_daily allocated_daily"},
		{"'tk' AS token_id", 10, Published{Changed: 1, Total: 4, Rows: 11810}, "usage_daily allocated_daily"},
	} {
		like(step.replace, step.rows, int64(step.rows))
		wantPublished(t, w.publish(PublishOptions{}), step.want)
		if got := sumViews(t, w.lake); got != step.views {
			t.Errorf("%d records more: the views are %q, want %q", step.rows, got, step.views)
		}
		day.Date++
	}
	w.lake = viewsFrom(t, w.lake.Dir(), 0)
	w.publish(PublishOptions{Full: true})
	if got := sumViews(t, w.lake); got != "" {
		t.Errorf("a lake of few records has views: %s", got)
	}
}

// A publish that doesn't come out with the memory it is given at first comes out with more.
func TestAPublishThatLacksMemoryIsGivenMore(t *testing.T) {
	log := &strings.Builder{}
	w := newDayWriter(t, load.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	w.RandomDays(2, 3000)
	want := Published{Changed: 4, Total: 4, Rows: 12002, Full: true}
	wantPublished(t, w.publish(PublishOptions{memory: "6MB"}), want)
	if !strings.Contains(log.String(), "it is tried again") {
		t.Errorf("6 MB were enough: %s", log)
	}
	// Whoever says how much there is isn't given more.
	little, err := Open(w.lake.Dir(), Options{Memory: "6MB"})
	must(t, err)
	if _, err := little.Publish(t.Context(), PublishOptions{Full: true}); !outOfMemory(err) {
		t.Errorf("6 MB by the config: %v", err)
	}
	var rows int64
	if w.number("SELECT count(*) FROM usage", &rows); rows != want.Rows {
		t.Errorf("%d rows are there", rows)
	}
}
