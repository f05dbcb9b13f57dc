package deliver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/catalog/catalogtest"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/deliver/delivertest"
)

// TestIcebergBrokenOffAtEachRequest: a delivery is broken off before, or right after, each of its requests. The table
// is whole all the time, and the next delivery makes it up, although nothing changed.
func TestIcebergBrokenOffAtEachRequest(t *testing.T) {
	r := newRig(t)
	for n := range 3 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
	}
	seed := int64(100)
	for first := true; ; first = false { // of a table that isn't there yet, and of one that is
		for at, ended := 0, false; !ended; at++ {
			for _, how := range []fault{broken, lost} {
				if first {
					must(t, os.RemoveAll(r.dir))
				}
				seed++
				r.w.RandomDay(day("acme", int(seed)%4), 5, seed)
				n := 0
				r.b.fault = func(op, key string) fault {
					if n++; n == at+1 {
						return how
					} else if n > at {
						return broken
					}
					return sound
				}
				r.now = r.now.Add(100 * time.Hour)
				_, err := r.deliver(withIceberg)
				r.b.fault = nil
				ended = err == nil && n <= at
				if err != nil && !errors.Is(err, errBroken) {
					t.Fatalf("broken off at request %d: %v", at, err)
				}
				readIceberg(t, r.dir)
				r.delivered(withIceberg)
				if r.icebergIs(); t.Failed() {
					t.Fatalf("after request %d, %d", at, how)
				}
			}
		}
		if !first {
			return
		}
	}
}

// TestIcebergGrowth: of 365 nights, of which each changes a day and brings another one, the table's folder stays small,
// and nothing is left over.
func TestIcebergGrowth(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	contents := days(t)
	nights := 365
	if testing.Short() {
		nights = 40
	}
	for n := range nights {
		put(t, r.lake, day("acme", n), contents[1+n%5])
		put(t, r.lake, day("acme", n-1), contents[1+(n+1)%5])
		r.now = r.now.Add(24 * time.Hour)
		if r.delivered(withIceberg); n > 1 && len(r.b.requests) > 3+4+8 { // two files and what expires
			t.Fatalf("night %d: %q", n, r.b.requests)
		}
	}
	v := r.icebergIs()
	there := filesOf(t, r.dir, "metadata")
	if v.bytes > 100_000 || len(there) > 200 || len(v.current().manifests) > 2 {
		t.Errorf("metadata.json has %d bytes, metadata/ %d files, the snapshot %d manifests", v.bytes, len(there),
			len(v.current().manifests))
	}
	for key := range there {
		if !v.named[key] {
			t.Errorf("nothing names %s", key)
		}
	}
	t.Logf("after %d nights: metadata.json %d bytes, metadata/ %d files, %d snapshots", nights, v.bytes, len(there),
		len(v.Snapshots))
	kept, err := os.ReadDir(r.lake.Path(deliver.Dir, "warehouse", "metadata"))
	must(t, err)
	if len(kept) > 20 {
		t.Errorf("the lake keeps %d objects of the table", len(kept))
	}
}

// TestIcebergOfManyFiles: past some thousand files there are several manifests, of which a delivery writes those anew
// where something changed.
func TestIcebergOfManyFiles(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it delivers thousands of files")
	}
	r := newRig(t)
	both := func(t *deliver.Target) { withIceberg(t); t.Delta = true }
	contents := days(t)
	put(t, r.lake, day("a000", 40), contents[1]) // all else comes before it
	r.delivered(both)
	for account := range 140 {
		for n := range 30 {
			put(t, r.lake, day(fmt.Sprintf("a%03d", account), n+2), contents[1])
		}
	}
	r.delivered(both)
	// A version that is most of the Delta table has a checkpoint at once.
	if files, _ := r.checkpointAt(1); !maps.Equal(files, logTo(t, r.dir, 1)) {
		t.Errorf("the checkpoint of the first %d files isn't what the log says", len(files))
	}
	was := r.icebergIs().current().manifests
	if len(was) != 2 {
		t.Fatalf("there are %d manifests", len(was))
	}
	put(t, r.lake, day("a139", 9), contents[2])
	r.delivered(both)
	was = r.icebergIs().current().manifests
	put(t, r.lake, day("a007", 9), contents[2])
	if r.delivered(both); len(r.b.requests) > 3+4+2 {
		t.Errorf("one changed day: %q", r.b.requests)
	}
	now := r.icebergIs().current().manifests
	if len(now) != 2 || now[1].FilePath() != was[1].FilePath() || now[0].FilePath() == was[0].FilePath() {
		t.Errorf("the manifests are %v, were %v", now, was)
	}
	// An account in the middle, months before all, one that is given up, days after all.
	for n := range 25 {
		put(t, r.lake, day("a0070", n+2), contents[3])
		put(t, r.lake, day("a139", n-100), contents[4])
		put(t, r.lake, day("a000", n+32), contents[4])
	}
	must(t, os.RemoveAll(r.lake.AccountDir("usage", "a138")))
	r.opts.Drop = []deliver.Drop{{Account: "a138"}}
	r.delivered(both)
	if n := len(r.icebergIs().current().manifests); n > 3 {
		t.Errorf("there are %d manifests", n)
	}
}

// TestIcebergExpiry: a snapshot is there, with all that it lists, until it was replaced for as long as Keep says; what
// it alone had goes after it, never before.
func TestIcebergExpiry(t *testing.T) {
	r := newRig(t)
	keep := func(t *deliver.Target) { withIceberg(t); t.Keep = 48 * time.Hour }
	r.w.RandomDay(day("acme", 0), 10, 0)
	r.delivered(keep)
	began := r.icebergIs().current().ID
	first := r.same("usage").Groups[0].Files[0].Key
	for n := range 8 {
		r.now = r.now.Add(24 * time.Hour)
		r.w.RandomDay(day("acme", 0), 11+n, int64(n+1))
		r.delivered(keep)
		v := r.icebergIs()
		_, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(first)))
		if has := v.Snapshots[0].ID == began; has != (n < 2) || has && err != nil {
			t.Errorf("night %d: the first snapshot is there: %t, its file: %v", n, has, err)
		}
		if len(v.Snapshots) > 4 {
			t.Errorf("night %d: there are %d snapshots", n, len(v.Snapshots))
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(first))); err == nil {
		t.Error("the first file is still there")
	}
}

// TestAnIcebergTableThatAnotherProgramChanged is told of, and left alone.
func TestAnIcebergTableThatAnotherProgramChanged(t *testing.T) {
	for name, change := range map[string]func(v map[string]any){
		"a snapshot": func(v map[string]any) {
			s := v["snapshots"].([]any)[0].(map[string]any)
			s["summary"] = map[string]any{"operation": "replace"}
		},
		"a property": func(v map[string]any) { v["properties"].(map[string]any)["commit.retry.num-retries"] = "4" },
		"another table": func(v map[string]any) {
			v["table-uuid"] = "00000000-0000-4000-8000-000000000000"
			v["properties"] = map[string]any{}
		},
		"a member": func(v map[string]any) { v["next-row-id"] = 5 },
		"another place": func(v map[string]any) {
			v["location"] = "s3://elsewhere/usage"
			v["properties"].(map[string]any)["usagelake.version"] = "2"
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.w.RandomDay(day("acme", 0), 10, 1)
			r.delivered(withIceberg)
			b, err := os.ReadFile(filepath.Join(r.dir, "metadata", "v1.metadata.json"))
			must(t, err)
			var v map[string]any
			must(t, json.Unmarshal(b, &v))
			change(v)
			b, err = json.Marshal(v)
			must(t, err)
			second := filepath.Join(r.dir, "metadata", "v2.metadata.json")
			must(t, os.WriteFile(second, b, 0o600))
			r.w.RandomDay(day("acme", 0), 11, 2)
			for range 2 {
				_, err = r.deliver(withIceberg)
				if !errors.Is(err, deliver.ErrTable) || !strings.Contains(err.Error(), "hint: ") {
					t.Errorf("a delivery: %v", err)
				}
				r.same("usage")
				if now, err := os.ReadFile(second); err != nil || !bytes.Equal(b, now) {
					t.Errorf("the version was touched: %v", err)
				}
			}
			before := filesOf(t, r.dir, "metadata")
			if v := r.verified(withIceberg, true); len(v.Found) != 1 || v.Swept > 0 {
				t.Errorf("verify: %+v", v)
			}
			if after := filesOf(t, r.dir, "metadata"); len(after) != len(before) {
				t.Errorf("a verification left %d of %d objects of the table", len(after), len(before))
			}
			must(t, os.RemoveAll(filepath.Join(r.dir, "metadata")))
			r.delivered(withIceberg)
			r.icebergIs()
		})
	}
}

// TestAnIcebergTableThatIsGone is made anew by the next delivery that changes something, or after a look that told of
// it.
func TestAnIcebergTableThatIsGone(t *testing.T) {
	r := newRig(t)
	for n := range 3 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
		r.delivered(withIceberg)
	}
	was := r.icebergIs()
	must(t, os.RemoveAll(filepath.Join(r.dir, "metadata")))
	r.w.RandomDay(day("acme", 1), 20, 9)
	r.delivered(withIceberg)
	if now := r.icebergIs(); now.number != 1 || now.UUID == was.UUID {
		t.Errorf("it is version %d of %s, was %s", now.number, now.UUID, was.UUID)
	}
	must(t, os.RemoveAll(filepath.Join(r.dir, "metadata")))
	if f := r.verified(withIceberg, false).Found; len(f) != 1 || f[0].Problem != deliver.FoundMissing {
		t.Errorf("verify: %+v", f)
	}
	r.delivered(withIceberg)
	r.icebergIs()
	// The hint alone: mended by a delivery that changes something, or after a look that told of it.
	must(t, os.Remove(filepath.Join(r.dir, "metadata", "version-hint.text")))
	if f := r.verified(withIceberg, false).Found; len(f) != 1 || f[0].Problem != deliver.FoundMissing {
		t.Errorf("verify: %+v", f)
	}
	r.delivered(withIceberg)
	r.icebergIs()
	must(t, os.Remove(filepath.Join(r.dir, "metadata", "version-hint.text")))
	r.w.RandomDay(day("acme", 1), 21, 10)
	r.delivered(withIceberg)
	r.icebergIs()
	// A manifest list of it: what it named isn't swept.
	must(t, os.Remove(r.icebergIs().Snapshots[0].List))
	before := filesOf(t, r.dir, "metadata")
	v := r.verified(withIceberg, false)
	if len(v.Found) != 1 || !strings.Contains(v.Found[0].Detail, "Remove its folder metadata") || v.Swept > 0 {
		t.Errorf("verify: %+v", v)
	}
	if after := filesOf(t, r.dir, "metadata"); len(after) != len(before) {
		t.Errorf("a verification left %d of %d objects of the table", len(after), len(before))
	}
}

// TestTheIcebergTableIsRepaired: what is missing or was replaced of its current snapshot is put back where it was, in a
// catalog or without one, and nothing of it when it is sound.
func TestTheIcebergTableIsRepaired(t *testing.T) {
	for _, name := range []string{"hadoop", "catalog"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			what := withIceberg
			read := func() *icebergVersion { return r.icebergIs() }
			if name == "catalog" {
				k := r.inCatalog(catalogtest.Namespace(t, "repaired"), "repaired.usage")
				what = k.iceberg
				read = func() *icebergVersion { return r.catalogIs(k) }
			}
			for n := range 4 {
				r.w.RandomDay(day("acme", n), 10+n, int64(n))
				r.delivered(what)
			}
			v := read()
			now := v.current()
			damaged := map[string]func(string) error{
				now.List: os.Remove, now.manifests[0].FilePath(): os.Remove,
				v.Snapshots[1].List: func(at string) error { return os.WriteFile(at, []byte("else"), 0o600) },
			}
			if name == "hadoop" {
				damaged[fmt.Sprintf("%s/metadata/v%d.metadata.json", r.dir, v.number)] = os.Remove
			}
			before := filesOf(t, r.dir, "metadata")
			for at, damage := range damaged {
				was, err := os.ReadFile(at)
				must(t, err)
				must(t, damage(at))
				found := r.verified(what, true).Found
				if len(found) == 0 {
					t.Fatalf("nothing is wrong without %s", at)
				}
				r.opts.Anew = map[string]bool{}
				for _, f := range found {
					r.opts.Anew[f.Key] = true
				}
				r.delivered(what)
				r.opts.Anew = nil
				if b, err := os.ReadFile(at); err != nil || !bytes.Equal(b, was) {
					t.Errorf("%s isn't as it was: %v", at, err)
				}
				if v := r.verified(what, true); len(v.Found) > 0 {
					t.Errorf("after %s was put back: %+v", at, v.Found)
				}
				read()
			}
			if after := filesOf(t, r.dir, "metadata"); !maps.Equal(before, after) {
				t.Errorf("metadata/ has %d objects, had %d", len(after), len(before))
			}
		})
	}
}

// TestIcebergOfAManifestThatIsGone: the files of a series of manifests that is over are told of.
func TestIcebergOfAManifestThatIsGone(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(withIceberg)
	must(t, os.Remove(filepath.Join(r.dir, deliver.ManifestKey)))
	if _, err := r.deliver(withIceberg); !errors.Is(err, deliver.ErrTable) {
		t.Errorf("beside the old table: %v", err)
	}
	must(t, os.RemoveAll(filepath.Join(r.dir, "metadata")))
	r.delivered(withIceberg)
	r.icebergIs()
}

// TestIcebergAskedForLater: a delivery that is there gets a table, which has all of its files, and nothing is deleted
// that the table may need.
func TestIcebergAskedForLater(t *testing.T) {
	r := newRig(t)
	for n := range 4 {
		r.w.RandomDay(day("acme", n%2), 10+n, int64(n))
		r.delivered(nil)
		r.now = r.now.Add(8 * 24 * time.Hour)
	}
	r.delivered(withIceberg)
	r.icebergIs()
	r.tableIs()
}

// TestIcebergBesideADeltaLogThatIsTouched goes on.
func TestIcebergBesideADeltaLogThatIsTouched(t *testing.T) {
	r := newRig(t)
	both := func(t *deliver.Target) { t.Iceberg = true }
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(both)
	key := r.same("usage").Groups[0].Files[0].Key
	must(t, os.WriteFile(filepath.Join(r.dir, fmt.Sprintf("_delta_log/%020d.json", 1)),
		[]byte(`{"remove":{"path":"`+key+`","dataChange":false}}`), 0o600))
	r.w.RandomDay(day("acme", 0), 11, 2)
	rep, err := r.deliver(both)
	if !errors.Is(err, deliver.ErrTable) || rep.Iceberg == nil || *rep.Iceberg != 2 {
		t.Errorf("%+v, %v", rep, err)
	}
	r.icebergIs()
}

// TestARestoredLakeGoesOnWithItsIcebergTable.
func TestARestoredLakeGoesOnWithItsIcebergTable(t *testing.T) {
	r := newRig(t)
	raw := func(t *deliver.Target) { rawOnly(t); t.Iceberg = true }
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.w.RandomDay(day("acme", 1), 11, 2)
	r.delivered(raw)
	dir := filepath.Join(t.TempDir(), "restored")
	_, err := deliver.Restore(context.Background(), r.b, "", dir, false, nil)
	must(t, err)
	r.lake, err = load.Open(dir, load.Options{})
	must(t, err)
	r.delivered(raw)
	was := r.icebergIs()
	put(t, r.lake, day("acme", 1), days(t)[2])
	r.delivered(raw)
	if now := r.icebergIs(); now.number != was.number+1 || now.UUID != was.UUID {
		t.Errorf("it is version %d of %s, was %d of %s", now.number, now.UUID, was.number, was.UUID)
	}
	if v := r.verified(raw, true); len(v.Found) > 0 {
		t.Errorf("verify: %+v", v.Found)
	}
}

// TestTwoLakesOneIcebergTable: each keeps its own files there, whoever comes first; one that is overtaken by more
// versions than are kept begins anew on the last.
func TestTwoLakesOneIcebergTable(t *testing.T) {
	r, s := newRig(t), newRig(t)
	s.dir, s.b = r.dir, &watched{Bucket: openBucket(t, r.dir)}
	r.w.RandomDay(day("acme", 0), 10, 1)
	s.w.RandomDay(day("emea", 0), 20, 2)
	as := func(t *deliver.Target) { withIceberg(t); t.As = "eu" }
	const other = "lakes/eu/manifest.json"
	r.delivered(withIceberg)
	s.delivered(as)
	v := r.icebergIs(other)
	mine := v.current().manifests
	r.w.RandomDay(day("acme", 1), 11, 3)
	r.delivered(withIceberg)
	if now := r.icebergIs(other).current().manifests; !slices.ContainsFunc(now, func(m iceberg.ManifestFile) bool {
		return m.FilePath() == mine[0].FilePath()
	}) && !slices.ContainsFunc(now, func(m iceberg.ManifestFile) bool { return m.FilePath() == mine[1].FilePath() }) {
		t.Error("the other lake's manifest was written anew")
	}
	for overtaken, places := range map[int][]string{1: {"metadata/v", "metadata/version-hint.text", "metadata/snap-"},
		25: {"metadata/v"}} {
		for _, at := range places {
			done := false
			r.b.fault = func(op, key string) fault {
				if op == "put" && strings.HasPrefix(key, at) && !done {
					done = true
					for n := range overtaken {
						s.w.RandomDay(day("emea", n%3), 5+n, s.now.Unix())
						s.delivered(as)
					}
				}
				return sound
			}
			r.w.RandomDay(day("acme", 1), 12, r.now.Unix())
			r.delivered(withIceberg)
			r.b.fault = nil
			if r.icebergIs(other); t.Failed() {
				t.Fatalf("overtaken by %d before %s", overtaken, at)
			}
		}
	}
	for _, x := range []struct {
		r    *rig
		what func(*deliver.Target)
	}{{r, withIceberg}, {s, as}} {
		if v := x.r.verified(x.what, true); len(v.Found) > 0 {
			t.Errorf("verify: %+v", v.Found)
		}
	}
	v = r.icebergIs(other)
	for key := range filesOf(t, r.dir, "metadata") {
		if !v.named[key] {
			t.Errorf("%s is there, and nothing names it", key)
		}
	}
	// One makes the table anew: the other finds it without its files, and adds them.
	must(t, os.RemoveAll(filepath.Join(r.dir, "metadata")))
	r.w.RandomDay(day("acme", 1), 13, 77)
	r.delivered(withIceberg)
	s.w.RandomDay(day("emea", 1), 14, 78)
	s.delivered(as)
	r.icebergIs(other)
}

// TestIcebergColumns: bounds and counts are those of the records; columns that a later version of the program has get
// ids of their own.
func TestIcebergColumns(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 400, 1)
	r.w.RandomDay(day("2026", 1), 3, 2)
	r.delivered(withIceberg)
	v := r.icebergIs()
	ids := map[string]int{}
	for _, f := range v.Schemas[0].Fields() {
		ids[f.Name] = f.ID
	}
	there, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	for _, f := range there {
		e := v.current().files[f.Key].DataFile()
		if p := e.Partition(); len(p) != 2 || p[1000] != f.Account {
			t.Errorf("the partition of %s is %v", f.Path, p)
		}
		file := filepath.Join(r.lake.Dir(), filepath.FromSlash(f.Path))
		for name, id := range ids {
			if name == "ext_items" {
				continue
			}
			var nulls int64
			count := fmt.Sprintf("SELECT count(*) - count(%s) FROM read_parquet('%s')", name, file)
			must(t, r.w.Db.QueryRow(count).Scan(&nulls))
			if e.NullValueCounts()[id] != nulls || e.ValueCounts()[id] != *f.Rows {
				t.Errorf("%s of %s: %d values, %d NULL, want %d, %d", name, f.Path, e.ValueCounts()[id],
					e.NullValueCounts()[id], *f.Rows, nulls)
			}
		}
		for name, text := range map[string]string{"account": "%s",
			"usage_date":   "date_diff('day', DATE '1970-01-01', %s)::VARCHAR",
			"request_time": "epoch_us(%s)::VARCHAR", "model": "left(%s, 16)", "custom_user_id": "%s", "currency": "%s",
			"channel_id": "%s::VARCHAR", "amount": "(%s * 1000000000000)::DECIMAL(38, 0)::VARCHAR"} {
			var lo, hi *string
			col := func(agg string) string { return fmt.Sprintf(text, agg+"("+name+")") }
			bounds := fmt.Sprintf("SELECT %s, %s FROM read_parquet('%s')", col("min"), col("max"), file)
			must(t, r.w.Db.QueryRow(bounds).Scan(&lo, &hi))
			gotLo, gotHi := e.LowerBoundValues()[ids[name]], e.UpperBoundValues()[ids[name]]
			if lo == nil {
				if gotLo != nil || gotHi != nil {
					t.Errorf("%s of %s has bounds, and no value", name, f.Path)
				}
				continue
			}
			if g := bound(name, gotLo); g != cut(name, *lo) {
				t.Errorf("%s of %s is at least %q, want %q", name, f.Path, g, *lo)
			}
			if g := bound(name, gotHi); len(g) <= 16 && name != "custom_user_id" && g != *hi ||
				name == "custom_user_id" && (g < *hi || len([]rune(g)) > 16) {
				t.Errorf("%s of %s is at most %q, want %q", name, f.Path, g, *hi)
			}
		}
	}
	// The version was written by a program that knew no run_id.
	path := filepath.Join(r.dir, "metadata", "v1.metadata.json")
	b, err := os.ReadFile(path)
	must(t, err)
	b = []byte(strings.Replace(string(b), `"name":"run_id"`, `"name":"gone"`, 1))
	must(t, os.WriteFile(path, b, 0o600))
	must(t, os.RemoveAll(r.lake.Path(deliver.Dir, "warehouse")))
	r.w.RandomDay(day("acme", 0), 30, 3)
	r.delivered(withIceberg)
	now := r.icebergIs()
	last := now.Schemas[len(now.Schemas)-1]
	item, _ := last.FindFieldByName("ext_items.element.amount")
	if f, ok := last.FindFieldByName("run_id"); !ok || len(now.Schemas) != 2 || f.ID <= item.ID {
		t.Errorf("the new column is %+v, of %d schemas", f, len(now.Schemas))
	}
	for name, id := range ids {
		if f, _ := last.FindFieldByName(name); name != "run_id" && f.ID != id {
			t.Errorf("%s had id %d, and has %d", name, id, f.ID)
		}
	}
}

// cut is a lower bound as the table has it: the first characters of a text.
func cut(name, s string) string {
	if r := []rune(s); name == "custom_user_id" && len(r) > 16 {
		return string(r[:16])
	}
	return s
}

// bound is a bound as text.
func bound(name string, b []byte) string {
	switch name {
	case "usage_date":
		return fmt.Sprint(int32(binary.LittleEndian.Uint32(b)))
	case "request_time", "channel_id":
		return fmt.Sprint(int64(binary.LittleEndian.Uint64(b)))
	case "amount":
		v := int64(int8(b[0]))
		for _, x := range b[1:] {
			v = v<<8 | int64(x)
		}
		return fmt.Sprint(v)
	}
	return string(b)
}
