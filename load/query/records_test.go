package query

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/schemas"
)

// outsideLake is publishedLake with its records outside of the published file.
func outsideLake(t *testing.T) *publishtest.Writer {
	t.Helper()
	w := publishtest.New(t, load.Options{})
	var err error
	if w.Lake, err = publish.Open(w.Lake.Dir(), publish.Options{Records: schemas.NoRecords}); err != nil {
		t.Fatal(err)
	}
	w.RandomDays(2, 100)
	w.Publish(publish.PublishOptions{})
	return w
}

// Where records are read from day files, a query reads these, and no other file beside them.
func TestAQueryReachesTheRecordsAndNothingElse(t *testing.T) {
	inside, w := publishedLake(t), outsideLake(t)
	const sums = "SELECT count(*), sum(amount), min(id), max(request_time) FROM usage"
	if got, want := ask(t, w.Lake, sums), ask(t, inside.Lake, sums); got != want {
		t.Errorf("records outside: %s, inside: %s", got, want)
	}
	dir := w.Lake.Dir()
	secret := filepath.Join(dir, "secret.csv")
	for _, path := range []string{secret, filepath.Join(dir, "records-of-mine.csv")} {
		if err := os.WriteFile(path, []byte("a\n1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(filepath.Dir(dir), "records")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		secret, dir + "/records/../secret.csv", dir + "/records/acct=acme/../../secret.csv", dir + "/records-of-mine.csv",
		dir + "/usage/acct=acme/date=2026-10-15/usage.parquet", "/etc/passwd", "file://" + secret,
		filepath.Dir(dir) + "/records/secret.csv",
	} {
		for _, call := range []string{"read_csv", "read_text", "read_blob", "glob", "read_parquet"} {
			r, err := Run(t.Context(), w.Lake, "SELECT count(*) FROM "+call+"("+schemas.SQLString(path)+")")
			var e *duckdb.Error
			if err == nil {
				_ = r.Close()
			}
			if !errors.As(err, &e) || e.Type != duckdb.ErrorTypePermission {
				t.Errorf("%s of %s: %v", call, path, err)
			}
		}
	}
	for _, statement := range []string{
		"COPY (SELECT 1) TO " + schemas.SQLString(dir+"/records/mine.csv"),
		"SET VARIABLE usagelake_lake = '/tmp'", "SET allowed_directories = ['/']",
	} {
		if _, err := Run(t.Context(), w.Lake, statement); !errors.Is(err, ErrNotReading) {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// The sandbox goes by paths as they are written, and a lake may be called like a pattern.
func TestAQueryReachesTheRecordsOfALakeOfAnyName(t *testing.T) {
	w := outsideLake(t)
	want := ask(t, w.Lake, "SELECT count(*), sum(amount) FROM usage")
	for _, name := range []string{"it's a lake", "a*b", "[a] lake", `a\b`, "100%"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Rename(w.Lake.Dir(), dir); err != nil {
			t.Fatal(err)
		}
		var err error
		if w.Lake, err = publish.Open(dir, publish.Options{Records: schemas.NoRecords}); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, w.Lake, "SELECT count(*), sum(amount) FROM usage"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A snapshot that is narrowed to an owner has its records alone, wherever they stand; and the FOCUS rows are the same.
func TestAScopeHoldsForRecordsOutside(t *testing.T) {
	var answers [2]string
	for i, w := range []*publishtest.Writer{publishedLake(t), outsideLake(t)} {
		w.Publish(publish.PublishOptions{Finance: testFinance})
		for _, scope := range []Scope{
			{Accounts: []string{"acme"}}, {CostCenters: []string{"cc-2"}}, {Models: []string{"model-3"}},
		} {
			s, err := OpenSnapshot(t.Context(), w.Lake)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Narrow(t.Context(), scope); err != nil {
				t.Fatal(err)
			}
			for _, q := range []string{"SELECT count(*), sum(amount), min(id), count(DISTINCT account) FROM usage",
				"SELECT usage_date, sum(requests), sum(amount) FROM usage_daily GROUP BY ALL ORDER BY ALL"} {
				rows, err := s.Query(t.Context(), q)
				if err != nil {
					t.Fatalf("%+v: %s: %v", scope, q, err)
				}
				var b strings.Builder
				if _, err := rows.WriteCSV(t.Context(), &b, CSVForm{}); err != nil {
					t.Fatal(err)
				}
				answers[i] += b.String()
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		answers[i] += ask(t, w.Lake, "FROM focus ORDER BY ALL")
	}
	if answers[0] != answers[1] || !strings.Contains(answers[0], ",1\n") {
		t.Errorf("inside:\n%.2000s\noutside:\n%.2000s", answers[0], answers[1])
	}
}
