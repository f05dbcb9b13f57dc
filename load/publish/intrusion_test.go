package publish

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
)

// stranger opens the published file to write, as DuckDB's clients do if nothing else is said.
func stranger(t *testing.T, path string) (write func(string), leave func()) {
	t.Helper()
	c, err := duckdb.NewConnector("", nil)
	must(t, err)
	db := sql.OpenDB(c)
	conn, err := db.Conn(t.Context())
	must(t, err)
	write = func(q string) {
		t.Helper()
		_, err := conn.ExecContext(t.Context(), q)
		must(t, err)
	}
	write("ATTACH '" + path + "' AS theirs")
	return write, func() { must(t, errors.Join(conn.Close(), db.Close())) }
}

func figuresOf(t *testing.T, l *Lake) (string, error) {
	t.Helper()
	d, err := l.OpenPublishedFile(t.Context())
	if err != nil {
		return "", err
	}
	defer d.Close()
	var n, sum string
	must(t, d.conn.QueryRowContext(t.Context(), `SELECT count(*)::VARCHAR, sum(amount)::VARCHAR FROM usage`).Scan(&n,
		&sum))
	return n + " " + sum, nil
}

// A program that had yesterday's file open writes its log beside today's; one that has today's open writes a log of it.
// In either case our commands give the right figures and say so, other readers are refused the first, and a publish
// that has nothing to do removes it.
func TestTheLogOfAnotherProgramChangesNoFigure(t *testing.T) {
	for _, replaced := range []bool{true, false} {
		t.Run(fmt.Sprintf("replaced %v", replaced), func(t *testing.T) {
			var logged bytes.Buffer
			w, _ := soundLake(t)
			l, err := open(w.lake.Dir(), load.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			must(t, err)
			right, err := figuresOf(t, l)
			must(t, err)
			write, leave := stranger(t, l.Database())
			if replaced {
				w.publish(PublishOptions{Full: true})
			}
			write("DELETE FROM theirs.usage WHERE model LIKE '%1'")
			found, err := l.Intrusion()
			if err != nil || found.Log != l.Database()+logSuffix || found.Changed {
				t.Fatalf("%+v %v", found, err)
			}
			logged.Reset()
			if got, err := figuresOf(t, l); err != nil || got != right {
				t.Errorf("%s %v, want %s", got, err, right)
			}
			if !strings.Contains(logged.String(), "level=WARN") || !strings.Contains(logged.String(), ".wal") {
				t.Errorf("it says %q", logged.String())
			}
			if replaced { // DuckDB's own refusal, which readers of other makes see
				d, err := l.openScratch(t.Context(), l.Database())
				if err == nil {
					_ = d.Close()
				}
				if err == nil || !strings.Contains(err.Error(), "WAL does not match") {
					t.Errorf("another reader gets %v", err)
				}
			}
			r := w.verify()
			if len(r.Findings) != 1 || r.Findings[0].Check != FoundIntruded {
				t.Errorf("verify finds %+v", r.Findings)
			}
			if done := w.publish(PublishOptions{}); !done.Unchanged {
				t.Errorf("%+v", done)
			}
			if found, err := l.Intrusion(); err != nil || !found.None() {
				t.Errorf("after a publish: %+v %v", found, err)
			}
			leave()
			if got, err := figuresOf(t, l); replaced && (err != nil || got != right) {
				t.Errorf("%s %v, want %s", got, err, right)
			}
			w.publish(PublishOptions{})
			if r := w.verify(); len(r.Findings) > 0 {
				t.Errorf("after a publish, verify finds %+v", r.Findings)
			}
			w.noLeftovers()
		})
	}
}

// A file that another program wrote into is read by no command, and a publish that has nothing else to do builds it
// anew.
func TestAFileThatAnotherProgramWroteIntoIsRefused(t *testing.T) {
	w, _ := soundLake(t)
	l := w.lake
	right, err := figuresOf(t, l)
	must(t, err)
	for _, statement := range []string{"DELETE FROM theirs.usage WHERE model LIKE '%1'",
		"CREATE TABLE theirs.mine (i INTEGER)", "UPDATE theirs.partitions SET digest = 'x'"} {
		write, leave := stranger(t, l.Database())
		write(statement)
		write("DETACH theirs")
		leave()
		if found, err := l.Intrusion(); err != nil || !found.Changed {
			t.Fatalf("%s: %+v %v", statement, found, err)
		}
		if got, err := figuresOf(t, l); !errors.Is(err, ErrIntruded) {
			t.Errorf("%s: %s %v", statement, got, err)
		}
		if _, err := l.Overlaps(t.Context()); !errors.Is(err, ErrIntruded) {
			t.Errorf("%s: overlaps: %v", statement, err)
		}
		if r := w.verify(); len(r.Findings) == 0 || r.Findings[0].Check != FoundIntruded {
			t.Errorf("%s: verify finds %+v", statement, r.Findings)
		}
		if done := w.publish(PublishOptions{}); !done.Full {
			t.Errorf("%s: %+v", statement, done)
		}
		if got, err := figuresOf(t, l); err != nil || got != right {
			t.Errorf("%s: %s %v, want %s", statement, got, err, right)
		}
		if r := w.verify(); len(r.Findings) > 0 {
			t.Errorf("%s: after a publish, verify finds %+v", statement, r.Findings)
		}
	}
	// Whoever only opens the file to write, and doesn't, does nothing; nor does a copy of the lake, or one without
	// published.json.
	_, leave := stranger(t, l.Database())
	leave()
	dir := t.TempDir() + "/copy"
	must(t, os.CopyFS(dir, os.DirFS(l.Dir())))
	c, err := open(dir, load.Options{})
	must(t, err)
	for _, l := range []*Lake{l, c} {
		if found, err := l.Intrusion(); err != nil || !found.None() {
			t.Errorf("%+v %v", found, err)
		}
	}
	// Without published.json it can't be told: figures come with a warning, and a publish that has nothing else to do
	// builds the file anew, so that it can.
	for _, content := range []string{"", "{"} {
		var logged bytes.Buffer
		c, err := open(dir, load.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		must(t, err)
		if must(t, os.Remove(c.Path(load.MarksFile))); content != "" {
			must(t, os.WriteFile(c.Path(load.MarksFile), []byte(content), durable.FileMode))
		}
		if found, err := c.Intrusion(); err != nil || !found.None() || !found.Unmarked {
			t.Errorf("%q: %+v %v", content, found, err)
		}
		if got, err := figuresOf(t, c); err != nil || got != right ||
			!strings.Contains(logged.String(), "published.json is missing") {
			t.Errorf("%q: %s %v %s", content, got, err, logged.String())
		}
		if done, err := c.Publish(t.Context(), PublishOptions{}); err != nil || !done.Full {
			t.Errorf("%q: %+v %v", content, done, err)
		}
		if found, err := c.Intrusion(); err != nil || found != (Intrusion{}) {
			t.Errorf("%q: after a publish: %+v %v", content, found, err)
		}
	}
	// A file that was published before, put back, is one that was published.
	before := mustRead(t, l.Database())
	w.publish(PublishOptions{Full: true})
	w.publish(PublishOptions{Full: true})
	must(t, os.WriteFile(l.Database(), []byte(before), durable.FileMode))
	if found, err := l.Intrusion(); err != nil || found != (Intrusion{}) {
		t.Errorf("one of before: %+v %v", found, err)
	}
	// A folder in the place of the log stops no publish, and is kept.
	must(t, os.MkdirAll(l.Database()+logSuffix+"/x", durable.DirMode))
	w.publish(PublishOptions{})
	if _, err := os.Stat(l.Path(load.DamagedDir, load.DatabaseFile+logSuffix, "x")); err != nil {
		t.Error(err)
	}
}

// A program that holds the file open to write locks it; what our commands read is a copy then, as it was published.
func TestAFileThatIsLockedIsReadFromACopy(t *testing.T) {
	w, _ := soundLake(t)
	right, err := figuresOf(t, w.lake)
	must(t, err)
	release := held(t, w.lake.Database(), "DELETE FROM theirs.usage WHERE model LIKE '%1'")
	if got, err := figuresOf(t, w.lake); err != nil || got != right {
		t.Errorf("%s %v, want %s", got, err, right)
	}
	r := w.verify()
	if len(r.Findings) != 1 || r.Findings[0].Check != FoundIntruded || r.DatabaseRows == 0 {
		t.Errorf("verify finds %+v", r)
	}
	release()
	w.noLeftovers()
}
