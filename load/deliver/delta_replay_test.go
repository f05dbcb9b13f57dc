package deliver_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load/deliver"
)

// logTo is what the log alone says of the table at a version.
func logTo(t *testing.T, dir string, version int) map[string]int64 {
	t.Helper()
	upTo := t.TempDir()
	must(t, os.Mkdir(filepath.Join(upTo, "_delta_log"), 0o700))
	for v := range version + 1 {
		name := filepath.Join("_delta_log", fmt.Sprintf("%020d.json", v))
		content, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(upTo, name), content, 0o600))
	}
	return deltaFiles(t, upTo)
}

// checkpointAt is what a checkpoint says of the table: its files with their records, and the lakes that it has txns of.
func (r *rig) checkpointAt(version int) (files map[string]int64, lakes int) {
	r.t.Helper()
	name := filepath.Join(r.dir, "_delta_log", fmt.Sprintf("%020d.checkpoint.parquet", version))
	rows, err := r.w.Db.Query(fmt.Sprintf(`SELECT "add".path, CAST("add".stats::JSON->'numRecords' AS BIGINT)
		FROM read_parquet('%s') WHERE "add" IS NOT NULL`, name))
	must(r.t, err)
	defer rows.Close()
	files = map[string]int64{}
	for rows.Next() {
		var path string
		var n int64
		must(r.t, rows.Scan(&path, &n))
		files[path] = n
	}
	must(r.t, rows.Err())
	var heads int
	must(r.t, r.w.Db.QueryRow(fmt.Sprintf(`SELECT count(txn), count(protocol) + count("metaData")
		FROM read_parquet('%s')`, name)).Scan(&lakes, &heads))
	if heads != 2 {
		r.t.Errorf("the checkpoint at %d has %d of protocol and metadata", version, heads)
	}
	return files, lakes
}

// TestALogThatLakesShareHasCheckpoints: each hundredth version has one of all lakes, whoever writes it, and it says
// what the whole log says. Where the one before is gone, the next is made of the log from its beginning.
func TestALogThatLakesShareHasCheckpoints(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := newRig(t)
	other.dir, other.b.Bucket = r.dir, r.b.Bucket
	as := func(t *deliver.Target) { t.As = "emea" }
	for version := range 302 {
		if version%3 == 0 {
			other.w.RandomDay(day("emea", version%7), 1+version%5, int64(version+1))
			other.delivered(as)
		} else {
			r.w.RandomDay(day("acme", version%11), 1+version%4, int64(version+1))
			r.delivered(nil)
		}
		if version == 250 {
			must(t, os.Remove(filepath.Join(r.dir, "_delta_log", fmt.Sprintf("%020d.checkpoint.parquet", 200))))
		}
	}
	names, err := filepath.Glob(filepath.Join(r.dir, "_delta_log", "*.checkpoint.parquet"))
	must(t, err)
	for i, want := range []int{100, 300} {
		if i >= len(names) || filepath.Base(names[i]) != fmt.Sprintf("%020d.checkpoint.parquet", want) {
			t.Fatalf("the checkpoints are %v", names)
		}
		files, lakes := r.checkpointAt(want)
		if log := logTo(t, r.dir, want); !maps.Equal(files, log) {
			t.Errorf("at version %d the checkpoint has\n%v\nthe log\n%v", want, files, log)
		}
		if lakes != 2 {
			t.Errorf("the checkpoint at %d has txns of %d lakes", want, lakes)
		}
	}
}

// TestAStrangeLogGetsNoCheckpoint: what no delivery writes can't be carried over into a checkpoint, and isn't lost by
// one.
func TestAStrangeLogGetsNoCheckpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var said bytes.Buffer
	r.opts.Logger = slog.New(slog.NewTextHandler(&said, nil))
	r.w.RandomDay(day("acme", 0), 3, 1)
	r.delivered(nil)
	strange := filepath.Join(r.dir, "_delta_log", fmt.Sprintf("%020d.json", 1))
	action := `{"domainMetadata":{"domain":"x","configuration":"","removed":false}}` + "\n"
	must(t, os.WriteFile(strange, []byte(action), 0o600))
	for n := range 101 {
		r.w.RandomDay(day("acme", 0), 1+n%3, int64(n+2))
		r.delivered(nil)
	}
	if names, _ := filepath.Glob(filepath.Join(r.dir, "_delta_log", "*checkpoint*")); len(names) > 0 {
		t.Errorf("there are %v", names)
	}
	if !strings.Contains(said.String(), "domainMetadata") {
		t.Errorf("nobody is told:\n%s", said.String())
	}
}
