package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// Whatever a run fails with, it is not done, and what is journaled is what is returned.
func TestAnErrorNeverLeavesDone(t *testing.T) {
	timeout, signal := &TimeoutError{Job: "j", After: time.Hour}, errors.New("a signal")
	broken := errors.New("the disk is broken")
	for name, c := range map[string]struct {
		cause error // of ctx; nil: it goes on
		err   error
		want  string
	}{
		"nothing":                  {nil, nil, schemas.StatusDone},
		"anything":                 {nil, broken, schemas.StatusFailed},
		"anything, with a hint":    {nil, &config.Hint{Err: broken, Hint: "x"}, schemas.StatusFailed},
		"bad usage":                {nil, config.Usage("", "x"), schemas.StatusFailed},
		"nothing could be fetched": {nil, errNothing, schemas.StatusFailed},
		"a held file":              {nil, fmt.Errorf("open: %w", &load.HeldError{}), schemas.StatusFailed},
		"objections":               {nil, &config.Hint{Err: &ObjectionsError{}}, schemas.StatusFailed},
		"findings":                 {nil, &FindingsError{}, schemas.StatusFailed},
		"closed already":           {nil, publish.ErrClosed, schemas.StatusFailed},
		"a part":                   {nil, &config.Hint{Err: errors.Join(&PartialError{})}, schemas.StatusPartial},
		"days that were kept":      {nil, &KeptError{}, schemas.StatusPartial},
		"orphans":                  {nil, &OrphanError{Orphans: make([]load.Orphan, 1)}, schemas.StatusPartial},
		"another currency":         {nil, errors.Join(&CurrencyError{}), schemas.StatusPartial},
		"quarantine":               {nil, &config.Hint{Err: &QuarantineError{}}, schemas.StatusPartial},
		"the same records": {nil, &publish.OverlapError{Overlaps: make([]publish.Overlap, 1)},
			schemas.StatusPartial},
		"windows without a proof": {nil, &publish.UnprovenError{Windows: make([]publish.Unproven, 1)},
			schemas.StatusPartial},
		"a refused key":              {nil, &RefusedError{Err: broken}, schemas.StatusRefused},
		"a refused key, elsewhere":   {nil, extract.ErrRefused, schemas.StatusRefused},
		"a mistake in the program":   {nil, &schemas.PanicError{}, schemas.StatusFailed},
		"a signal":                   {signal, broken, schemas.StatusStopped},
		"a signal at the end":        {signal, nil, schemas.StatusStopped},
		"the timeout":                {timeout, broken, schemas.StatusFailed},
		"a mistake during a signal":  {signal, &schemas.PanicError{}, schemas.StatusFailed},
		"a part, as the signal came": {signal, &PartialError{}, schemas.StatusStopped},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if c.cause != nil {
			cancel(c.cause)
		}
		var res Result
		err := res.finish(ctx, c.err)
		if res.Status != c.want || (err == nil) != (res.Status == schemas.StatusDone) || (err == nil) != (res.Error == "") {
			t.Errorf("%s: %s with %v and %q, want %s", name, res.Status, err, res.Error, c.want)
		}
		cancel(nil)
	}
}

// What stands in the place of usage.duckdb and can't be replaced is in a close's way: whatever the close was about to
// ask of the file, it has failed, the journal says so, and the month is tried again.
func TestACloseThatCanNotReadTheFileHasFailed(t *testing.T) {
	for _, noFetch := range []bool{true, false} {
		t.Run(fmt.Sprint("no-fetch=", noFetch), func(t *testing.T) {
			w := newWorld(t, kit.Settings{PerDay: 3, At: time.Date(2026, 11, 2, 6, 0, 0, 0, time.UTC)})
			w.export(octoberSpan())
			w.At(kit.Day(7))
			file := w.Cfg.Lake + "/usage.duckdb"
			if err := errors.Join(os.Remove(file), os.MkdirAll(file+"/something", 0o700)); err != nil {
				t.Fatal(err)
			}
			res, closed, err := w.close(CloseOptions{NoFetch: noFetch, Reason: "it must go on"})
			if err == nil || closed != nil || res == nil {
				t.Fatalf("closed without a file: %v", err)
			}
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
			st, serr := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
			if serr != nil || res.Status != schemas.StatusFailed || st.Runs[0].Command != "close" ||
				st.Runs[0].Status != schemas.StatusFailed || st.Runs[0].Error == "" {
				t.Errorf("%s; the journal: %+v, %v; %v", res.Status, st.Runs[0], serr, err)
			}
			if res, closed, err := w.close(CloseOptions{NoFetch: noFetch, Reason: "it must go on"}); err != nil ||
				closed == nil || res.Status != schemas.StatusDone {
				t.Errorf("released: %v", err)
			}
		})
	}
}
