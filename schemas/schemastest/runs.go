package schemastest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// Journal is what runs are appended to and read from.
type Journal interface {
	AppendRun(schemas.Run) error
	AllRuns(context.Context) iter.Seq2[schemas.Run, error]
}

// PastRun is the n-th of runs that start an hour after the other, from a day of October on.
func PastRun(n int) schemas.Run {
	at := time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Hour)
	return schemas.Run{RunID: fmt.Sprintf("run-%05d", n), Command: "export", Job: "hourly", Version: "test",
		StartedAt: at, EndedAt: at.Add(time.Minute), Status: schemas.StatusDone,
		Accounts: []schemas.RunAccount{{Account: "acme", Status: schemas.StatusDone,
			RunCounts: schemas.RunCounts{Records: int64(n)}}}}
}

// AppendRuns appends the start and the end of runs to a journal.
func AppendRuns(t testing.TB, j Journal, from, to int, run func(int) schemas.Run) {
	t.Helper()
	for n := from; n < to; n++ {
		started := run(n)
		started.Status = schemas.StatusRunning
		for _, r := range []schemas.Run{started, run(n)} {
			if err := j.AppendRun(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Runs is every run of a journal, a line each.
func Runs(t testing.TB, j Journal) string {
	t.Helper()
	var out []string
	for r, err := range j.AllRuns(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(r.RunID, " ", r.Status, " ", len(r.Accounts)))
	}
	return strings.Join(out, "\n")
}

// KeepFirst keeps the first run, shortened.
func KeepFirst(runs iter.Seq[schemas.Run]) []schemas.Run {
	for r := range runs {
		r.Accounts = nil
		return []schemas.Run{r}
	}
	return nil
}

// Sorted is a text with its lines in order.
func Sorted(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// FirstDifference says where two texts differ.
func FirstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("line %d\n%s\n%s", i, as[i], bs[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(as), len(bs))
}
