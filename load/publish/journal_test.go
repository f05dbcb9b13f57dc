package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// runOf is the n-th of runs that start an hour after the other, from a day of October on.
func runOf(n int) schemas.Run {
	at := time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Hour)
	return schemas.Run{RunID: fmt.Sprintf("run-%05d", n), Command: "export", Job: "hourly", Version: "test", StartedAt: at,
		EndedAt: at.Add(time.Minute), Status: schemas.StatusDone,
		Accounts: []schemas.RunAccount{{Account: "acme", Status: schemas.StatusDone,
			RunCounts: schemas.RunCounts{Records: int64(n)}}}}
}

// newest keeps the first run, shortened.
func newest(runs iter.Seq[schemas.Run]) []schemas.Run {
	for r := range runs {
		r.Accounts = nil
		return []schemas.Run{r}
	}
	return nil
}

// everyRun is every run of the journal, in words.
func everyRun(t testing.TB, l *Lake) string {
	t.Helper()
	var out []string
	for r, err := range l.AllRuns(t.Context()) {
		must(t, err)
		out = append(out, fmt.Sprint(r.RunID, " ", r.Status, " ", len(r.Accounts)))
	}
	return strings.Join(out, "\n")
}

func addRuns(t testing.TB, l *Lake, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		r := runOf(n)
		r.Status = schemas.StatusRunning
		must(t, l.AppendRun(r))
		must(t, l.AppendRun(runOf(n)))
	}
}

func inOrder(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// The published table has every run, archived or not, whatever happened to the journal between two publishes.
func TestThePublishedRunsAreThoseOfTheJournal(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	days := w.RandomDays(1, 30)
	check := func(what string, full bool) {
		t.Helper()
		w.Balance(days[0], fmt.Sprint(time.Now().UnixNano())) // so that there is something to publish
		w.publish(PublishOptions{Full: full})
		want := inOrder(everyRun(t, w.lake))
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
		_, err := w.lake.CompactBeyond(t.Context(), newest, 50, 20)
		must(t, err)
	}
	addRuns(t, w.lake, 0, 100)
	check("a first publish", false)
	compact()
	check("compacted since", false)
	addRuns(t, w.lake, 100, 180)
	check("runs since", false)
	live, err := os.ReadFile(w.lake.Path("journal", "runs.jsonl"))
	must(t, err)
	compact()
	addRuns(t, w.lake, 180, 181)
	check("both since", false)
	must(t, os.WriteFile(w.lake.Path("journal", "runs.jsonl"), live, durable.FileMode))
	check("as after a crash in a compaction", false)
	compact()
	check("compacted again", false)
	must(t, w.lake.AppendRun(schemas.Run{RunID: "run-00179", Status: schemas.StatusFailed, StartedAt: runOf(179).StartedAt,
		EndedAt: runOf(179).EndedAt}))
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
