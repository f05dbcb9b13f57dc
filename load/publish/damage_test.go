package publish

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// spoil changes bytes at the beginning of a Parquet file.
func spoil(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	for i := 4; i < 40; i++ { // what is behind the magic number: the first page
		b[i] ^= 0x5a
	}
	must(t, os.WriteFile(path, b, 0o600))
}

// A derived file whose footer is whole and whose rows aren't stops a publish; it is named, with what mends it.
func TestAPublishNamesTheFileThatCanNotBeRead(t *testing.T) {
	var rejects []schemas.Reject
	for range 50 {
		rejects = append(rejects, schemas.Reject{Window: schemastest.Day.Window(), Reason: schemas.ReasonNoID,
			Raw: []byte(`{"a":"something long enough"}`), FetchedAt: schemastest.Day.Date.End(), RunID: "r"})
	}
	rows := schemastest.UsageRows(memory.DefaultAllocator, 500, 1)
	defer rows.Release()
	for name, path := range map[string]func(*Lake) string{
		"a day file":   func(l *Lake) string { return l.UsagePath(schemastest.Day) },
		"a quarantine": func(l *Lake) string { return l.QuarantinePath(schemastest.Day) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newDayWriter(t, load.Options{}).lake
			d, err := l.CreateDay(schemastest.Day)
			must(t, err)
			defer d.Abort()
			must(t, errors.Join(d.Write(rows), d.WriteRejects(rejects)))
			must(t, d.Commit(schemas.DayFooter{Schema: schemas.SchemaVersion, Transform: 1, Digest: "of nothing",
				DayStats: schemas.DayStats{Rows: 500, Quarantined: 50, TotalAmount: "0", Discount: "0", Amount: "0"}}))
			spoil(t, path(l))
			_, err = l.Publish(t.Context(), PublishOptions{})
			var damaged *load.DamagedError
			if !errors.As(err, &damaged) || damaged.Path != path(l) ||
				!strings.Contains(err.Error(), "usagelake verify --repair") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A run that was killed is interrupted in the table, as status has it, and so are its accounts; the run that publishes
// runs.
func TestKilledRunsArePublishedAsInterrupted(t *testing.T) {
	w := newDayWriter(t, load.Options{})
	w.RandomDays(1, 3)
	for _, r := range []schemas.Run{
		{RunID: "killed", Status: schemas.StatusRunning,
			Accounts: []schemas.RunAccount{{Account: "acme", Status: schemas.StatusRunning}}},
		{RunID: "done", Status: schemas.StatusDone},
		{RunID: "now", Status: schemas.StatusRunning},
	} {
		must(t, w.lake.AppendRun(r))
	}
	w.publish(PublishOptions{Current: func(Published) schemas.Run {
		return schemas.Run{RunID: "now",
			Status: schemas.StatusDone}
	}})
	if got := w.One("SELECT list(run_id || ' ' || status ORDER BY run_id) AS s FROM runs"); got !=
		"{'s': [done done, killed interrupted, now done]}" {
		t.Error(got)
	}
	if got := w.One("SELECT status FROM run_accounts"); got != "{'status': interrupted}" {
		t.Error(got)
	}
}
