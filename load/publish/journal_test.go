package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// largeRun is a past run of so many accounts that a journal of a hundred is compacted.
func largeRun(n int) schemas.Run {
	r := schemastest.PastRun(n)
	r.Accounts = slices.Repeat(r.Accounts, 20)
	return r
}

// The published table has every run, archived or not, whatever happened to the journal between two publishes.
func TestThePublishedRunsAreThoseOfTheJournal(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(1, 30)
	check := func(what string, full bool) {
		t.Helper()
		w.Balance(days[0], fmt.Sprint(time.Now().UnixNano())) // so that there is something to publish
		w.publish(PublishOptions{Full: full})
		want := schemastest.Sorted(schemastest.Runs(t, w.lake))
		var got []string
		for _, row := range w.Ask("SELECT run_id || ' ' || status || ' ' || (SELECT count(*) FROM run_accounts a WHERE " +
			"a.run_id = r.run_id) AS v FROM runs r ORDER BY ALL") {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(row, "{'v': "), "}"))
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%s: the table has %d runs, the journal %d", what, len(got), strings.Count(want, "\n")+1)
		}
	}
	compact := func() {
		t.Helper()
		if moved, err := w.lake.CompactJournal(t.Context(), schemastest.KeepFirst); err != nil || moved == 0 {
			t.Fatal(moved, err)
		}
	}
	schemastest.AppendRuns(t, w.lake, 0, 100, largeRun)
	check("a first publish", false)
	compact()
	check("compacted since", false)
	schemastest.AppendRuns(t, w.lake, 100, 180, largeRun)
	check("runs since", false)
	live, err := os.ReadFile(w.lake.Path("journal", "runs.jsonl"))
	must(t, err)
	compact()
	schemastest.AppendRuns(t, w.lake, 180, 181, largeRun)
	check("both since", false)
	must(t, os.WriteFile(w.lake.Path("journal", "runs.jsonl"), live, durable.FileMode))
	check("as after a crash in a compaction", false)
	compact()
	check("compacted again", false)
	must(t, w.lake.AppendRun(schemas.Run{RunID: "run-00179", Status: schemas.StatusFailed,
		StartedAt: largeRun(179).StartedAt,
		EndedAt:   largeRun(179).EndedAt}))
	check("a run that ended otherwise", false)
	must(t, os.Remove(w.lake.Path("journal", "runs", "2026-10.parquet")))
	check("a month that is gone", false)
	check("a rebuild", true)
	must(t, os.RemoveAll(w.lake.Path("journal")))
	check("without a journal", false)
	if _, err := os.Stat(w.lake.Path("journal")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the journal is back")
	}
}
