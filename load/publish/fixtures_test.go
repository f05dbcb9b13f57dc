package publish

import (
	"errors"
	"os"
	"testing"

	"github.com/usagelake/usagelake/load"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open and create are those of lakes, for tests to which DuckDB's settings are all one.
func open(dir string, opts load.Options) (*Lake, error) { return Open(dir, Options{Options: opts}) }

func create(dir string, opts load.Options) (*Lake, error) { return Create(dir, Options{Options: opts}) }

// mustRead is what a file holds, "" if there is none.
func mustRead(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	must(t, err)
	return string(b)
}
