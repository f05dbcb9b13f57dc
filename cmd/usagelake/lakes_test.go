package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// figuresOf is what is compared of a golden lake.
const figuresOf = `SELECT (SELECT count(*) FROM usage) AS records, (SELECT count(*) FROM quarantine) AS quarantined,
	(SELECT count(*) FROM balance) AS balances, (SELECT count(*) FROM coverage) AS windows, (SELECT sum(amount)::VARCHAR
	FROM usage) AS net,
	(SELECT count(*) FROM usage WHERE extra IS NOT NULL) AS with_extra, (SELECT count(DISTINCT run_id)
	FROM usage) AS fetching_runs`

// TestLakesOfEveryFormatOpenForEver opens a lake of each format that was ever released (testdata/lakes/NAME.tar.gz,
// with what it holds in NAME.json): it can be read as it is, and rebuilt to the same.
func TestLakesOfEveryFormatOpenForEver(t *testing.T) {
	lakes, err := filepath.Glob("../../testdata/lakes/*.tar.gz")
	if err != nil || len(lakes) == 0 {
		t.Fatalf("no golden lakes: %v", err)
	}
	for _, archive := range lakes {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.gz"), func(t *testing.T) {
			lake := filepath.Join(t.TempDir(), "lake")
			untar(t, archive, lake)
			want, err := os.ReadFile(strings.TrimSuffix(archive, ".tar.gz") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			command := func(args ...string) string {
				t.Helper()
				var out, stderr bytes.Buffer
				code := run(t.Context(), append(args, "--lake", lake),
					streams{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &stderr,
						Getenv: func(string) string { return "" }, Now: time.Now})
				if code != exitDone {
					t.Fatalf("%s: exit %d: %s%s", args[0], code, stderr.String(), out.String())
				}
				return out.String()
			}
			if got := command("query", "--format", "json", figuresOf); got != string(want) {
				t.Errorf("as it is, it holds %swant %s", got, want)
			}
			command("status")
			closed, err := filepath.Glob(filepath.Join(lake, "statements", "20*"))
			if err != nil {
				t.Fatal(err)
			}
			prove := func() { // by a manifest of that version, from days of that schema
				t.Helper()
				for _, month := range closed {
					command("prove", "--month", filepath.Base(month), "--cost-center", "(unallocated)", "--out",
						filepath.Join(t.TempDir(), "evidence"))
				}
			}
			prove()
			pruned := prunedDays(t, lake)
			command("rebuild")
			prove()
			if !maps.Equal(prunedDays(t, lake), pruned) {
				t.Error("a pruned day, which nothing can derive, has other bytes")
			}
			if got := command("query", "--format", "json", figuresOf); got != string(want) {
				t.Errorf("rebuilt, it holds %swant %s", got, want)
			}
			command("verify")
		})
	}
}

// prunedDays are the day files that are the source of their days, for the raw files were pruned: by directory.
func prunedDays(t *testing.T, lake string) map[string]string {
	t.Helper()
	tombstones, err := filepath.Glob(filepath.Join(lake, "raw", "*", "*", "pruned.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	days := map[string]string{}
	for _, name := range tombstones {
		if _, err := os.Stat(strings.TrimSuffix(name, ".jsonl") + ".usage.parquet"); err == nil {
			continue // it was fetched anew since
		}
		day, err := filepath.Rel(filepath.Join(lake, "raw"), filepath.Dir(name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(lake, "usage", day, "usage.parquet"))
		if err != nil {
			t.Fatal(err)
		}
		days[strings.Replace(day, "account=", "acct=", 1)] = string(b) // as folders of lakes before format 3 are called
	}
	return days
}

func untar(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
