package load

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/schemas"
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
	reject := []schemas.Reject{}
	for range 50 {
		reject = append(reject, schemas.Reject{Window: testDay.Window(), Reason: schemas.ReasonNoID, Raw: []byte(`{"a":"something long enough"}`), FetchedAt: testDay.Date.End(), RunID: "r"})
	}
	for name, path := range map[string]func(*Lake) string{
		"a day file":   func(l *Lake) string { return l.usagePath(testDay) },
		"a quarantine": func(l *Lake) string { return l.quarantinePath(testDay) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLake(t, Options{})
			sealHours(t, l, 0, 24)
			deriveRows(t, l, 0, reject...)
			if name == "a day file" {
				deriveRows(t, l, 500)
			}
			spoil(t, path(l))
			_, err := l.Publish(t.Context(), PublishOptions{})
			var damaged *DamagedError
			if !errors.As(err, &damaged) || damaged.Path != path(l) || !strings.Contains(err.Error(), "usagelake verify --repair") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A run that was killed is interrupted in the table, as status has it, and so are its accounts; the run that publishes runs.
func TestKilledRunsArePublishedAsInterrupted(t *testing.T) {
	w := newDayWriter(t, Options{})
	w.days(1, 3)
	for _, r := range []schemas.Run{
		{RunID: "killed", Status: schemas.StatusRunning, Accounts: []schemas.RunAccount{{Account: "acme", Status: schemas.StatusRunning}}},
		{RunID: "done", Status: schemas.StatusDone},
		{RunID: "now", Status: schemas.StatusRunning},
	} {
		must(t, w.lake.AppendRun(r))
	}
	w.publish(PublishOptions{Current: func(Published) schemas.Run { return schemas.Run{RunID: "now", Status: schemas.StatusDone} }})
	if got := w.one("SELECT list(run_id || ' ' || status ORDER BY run_id) AS s FROM runs"); got != "{'s': [done done, killed interrupted, now done]}" {
		t.Error(got)
	}
	if got := w.one("SELECT status FROM run_accounts"); got != "{'status': interrupted}" {
		t.Error(got)
	}
}
