package deliver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/deliver/delivertest"
)

// icebergSnapshot is a snapshot as a reader finds it.
type icebergSnapshot struct {
	ID       int64             `json:"snapshot-id"`
	Parent   *int64            `json:"parent-snapshot-id"`
	Sequence int64             `json:"sequence-number"`
	At       int64             `json:"timestamp-ms"`
	List     string            `json:"manifest-list"`
	Summary  map[string]string `json:"summary"`

	manifests []iceberg.ManifestFile
	files     map[string]iceberg.ManifestEntry // live, by key
}

// icebergVersion is a version of the table, and what its snapshots list.
type icebergVersion struct {
	number    int64
	bytes     int
	Sequence  int64             `json:"last-sequence-number"`
	UUID      string            `json:"table-uuid"`
	Location  string            `json:"location"`
	Current   *int64            `json:"current-snapshot-id"`
	Snapshots []icebergSnapshot `json:"snapshots"`
	Log       []struct {
		File string `json:"metadata-file"`
	} `json:"metadata-log"`
	Schemas []*iceberg.Schema `json:"schemas"`

	named map[string]bool // keys of metadata/
}

func (v *icebergVersion) current() icebergSnapshot {
	for _, s := range v.Snapshots {
		if v.Current != nil && s.ID == *v.Current {
			return s
		}
	}
	return icebergSnapshot{}
}

// readIceberg reads the table as one does who knows the spec: from the hint to each snapshot's files. Whatever is named
// must be there, and be what it is said to be. nil of a table that isn't there.
func readIceberg(t testing.TB, dir string) *icebergVersion {
	t.Helper()
	hint, err := os.ReadFile(filepath.Join(dir, "metadata", "version-hint.text"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, err)
	number, err := strconv.ParseInt(string(hint), 10, 64)
	must(t, err)
	key := fmt.Sprintf("metadata/v%d.metadata.json", number)
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(key)))
	must(t, err)
	v := readVersion(t, dir, b)
	v.number = number
	v.named[key], v.named["metadata/version-hint.text"] = true, true
	return v
}

// readVersion reads all that a version of the table names.
func readVersion(t testing.TB, dir string, b []byte) *icebergVersion {
	t.Helper()
	v := &icebergVersion{named: map[string]bool{}}
	read := func(at string) []byte {
		t.Helper()
		key, ok := strings.CutPrefix(at, dir+"/")
		if !ok {
			t.Fatalf("%s isn't below %s", at, dir)
		}
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(key)))
		must(t, err)
		v.named[key] = true
		return b
	}
	must(t, json.Unmarshal(b, v))
	v.bytes = len(b)
	if v.Location != dir {
		t.Errorf("the table is at %s, want %s", v.Location, dir)
	}
	for _, l := range v.Log {
		read(l.File)
	}
	sequence, at := int64(0), int64(0)
	for i := range v.Snapshots {
		s := &v.Snapshots[i]
		if s.Sequence <= sequence || s.At < at || i > 0 && (s.Parent == nil || *s.Parent != v.Snapshots[i-1].ID) {
			t.Errorf("snapshot %d: %+v doesn't follow the one before", i, s)
		}
		sequence, at = s.Sequence, s.At
		s.read(t, dir, read)
	}
	if sequence > v.Sequence {
		t.Errorf("the last sequence number is %d, a snapshot has %d", v.Sequence, sequence)
	}
	return v
}

func (s *icebergSnapshot) read(t testing.TB, dir string, read func(string) []byte) {
	t.Helper()
	var err error
	s.manifests, err = iceberg.ReadManifestList(strings.NewReader(string(read(s.List))))
	must(t, err)
	s.files = map[string]iceberg.ManifestEntry{}
	var rows, size int64
	for _, m := range s.manifests {
		b := read(m.FilePath())
		if int64(len(b)) != m.Length() {
			t.Errorf("%s has %d bytes, and is listed with %d", m.FilePath(), len(b), m.Length())
		}
		entries, err := iceberg.ReadManifest(m, strings.NewReader(string(b)), false)
		must(t, err)
		var n [3]int32
		for _, e := range entries {
			n[e.Status()]++
			if e.Status() == iceberg.EntryStatusDELETED {
				continue
			}
			f := e.DataFile()
			key, ok := strings.CutPrefix(f.FilePath(), dir+"/")
			if _, twice := s.files[key]; twice || !ok {
				t.Errorf("snapshot %d lists %s (twice: %t)", s.ID, f.FilePath(), twice)
			}
			added := e.Status() == iceberg.EntryStatusADDED
			if e.SequenceNum() > m.SequenceNum() || added != (e.SequenceNum() == m.SequenceNum()) ||
				added && e.SnapshotID() != m.SnapshotID() || *e.FileSequenceNum() != e.SequenceNum() {
				t.Errorf("%s: sequence number %d, of snapshot %d, in a manifest of %d, %d", key, e.SequenceNum(),
					e.SnapshotID(), m.SequenceNum(), m.SnapshotID())
			}
			s.files[key] = e
			rows += f.Count()
			size += f.FileSizeBytes()
		}
		if n != [3]int32{m.ExistingDataFiles(), m.AddedDataFiles(), m.DeletedDataFiles()} {
			t.Errorf("%s has %v entries, and is listed with %d, %d, %d", m.FilePath(), n, m.ExistingDataFiles(),
				m.AddedDataFiles(), m.DeletedDataFiles())
		}
	}
	got := s.Summary["total-data-files"] + " " + s.Summary["total-records"] + " " + s.Summary["total-files-size"]
	if want := fmt.Sprint(len(s.files), rows, size); got != want {
		t.Errorf("snapshot %d says of itself %s, want %s", s.ID, got, want)
	}
}

// icebergIs holds the table against the manifests, one of each lake.
func (r *rig) icebergIs(manifests ...string) *icebergVersion {
	r.t.Helper()
	v := readIceberg(r.t, r.dir)
	if v == nil {
		r.t.Fatal("there is no table")
	}
	if _, err := os.Stat(filepath.Join(r.dir, fmt.Sprintf("metadata/v%d.metadata.json", v.number+1))); err == nil {
		r.t.Errorf("the hint names version %d, and there is a later one", v.number)
	}
	r.holds(v, manifests...)
	return v
}

// holds says that a version of the table has the files of the manifests.
func (r *rig) holds(v *icebergVersion, manifests ...string) {
	r.t.Helper()
	files := v.current().files
	n := 0
	for _, name := range append(manifests, "manifest.json") {
		there, _, err := delivertest.ReadAll(r.dir, name)
		must(r.t, err)
		for _, f := range there {
			if !strings.HasPrefix(f.Path, "usage/") || *f.Rows == 0 {
				continue
			}
			n++
			e, ok := files[f.Key]
			if !ok || e.DataFile().Count() != *f.Rows || e.DataFile().FileSizeBytes() != f.Bytes {
				r.t.Errorf("%s (%s) isn't in the table as it was delivered", f.Key, f.Path)
			}
		}
	}
	if n != len(files) {
		r.t.Errorf("the table has %d files, the manifests %d with rows", len(files), n)
	}
	// Whatever an older snapshot lists is there as long as the snapshot is.
	for _, s := range v.Snapshots {
		for key := range s.files {
			if _, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(key))); err != nil {
				r.t.Errorf("snapshot %d: %v", s.ID, err)
			}
		}
	}
}

func withIceberg(t *deliver.Target) { t.Delta, t.Iceberg = false, true }

// TestIcebergRequests: a table costs four requests where a day file changed, and none where none did.
func TestIcebergRequests(t *testing.T) {
	r := newRig(t)
	for n := range 5 {
		r.w.RandomDay(day("acme", n), 100+n, int64(n))
	}
	rep := r.delivered(withIceberg)
	if rep.Iceberg == nil || *rep.Iceberg != 1 {
		t.Errorf("the first delivery: %+v", rep)
	}
	r.icebergIs()
	if r.delivered(withIceberg); len(r.b.requests) > 1 {
		t.Errorf("nothing changed: %q", r.b.requests)
	}
	r.w.RandomDay(day("acme", 2), 7, 99)
	if r.delivered(withIceberg); len(r.b.requests) > 2+4 {
		t.Errorf("one changed day: %q", r.b.requests)
	}
	v := r.icebergIs()
	s := v.current().Summary
	if s["operation"] != "overwrite" || s["added-records"] != "7" || s["deleted-records"] != "102" {
		t.Errorf("the snapshot says %v", s)
	}
	// A table that is there is kept up to date, asked for or not; beside a Delta log, too.
	r.w.RandomDay(day("acme", 3), 0, 100)
	r.delivered(func(t *deliver.Target) { t.Delta = false })
	r.w.RandomDay(day("acme", 9), 3, 101)
	if r.delivered(nil); len(r.b.requests) > 2+4+1 {
		t.Errorf("with both tables: %q", r.b.requests)
	}
	r.icebergIs()
	r.tableIs()
	r.w.RandomDay(day("acme", 9), 4, 102)
	r.delivered(nil)
	r.icebergIs()
	r.tableIs()
}

// TestNothingMixedInTheIcebergTable: TestNothingMixed with an Iceberg table, which is whole after each delivery, broken
// off or not.
func TestNothingMixedInTheIcebergTable(t *testing.T) {
	contents := days(t)
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		for range rapid.IntRange(1, 8).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 4).Draw(rt, "changes") {
				account := rapid.SampledFrom([]string{"acme", "2026"}).Draw(rt, "account")
				p := day(account, rapid.IntRange(0, 3).Draw(rt, "day"))
				put(t, r.lake, p, contents[rapid.IntRange(0, len(contents)-1).Draw(rt, "content")])
			}
			some := chance(rapid.Uint64().Draw(rt, "seed"), 0.1)
			left := rapid.IntRange(0, 40).Draw(rt, "requests until it is killed")
			r.b.fault = func(op, key string) fault {
				if left--; left < 0 {
					return broken
				}
				return some(op, key)
			}
			both := rapid.Bool().Draw(rt, "both tables")
			r.now = r.now.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "hours")) * time.Hour)
			if _, err := r.deliver(func(t *deliver.Target) { t.Iceberg, t.Delta = true, both }); err != nil &&
				!errors.Is(err, errBroken) {
				rt.Fatalf("a delivery that is broken off: %v", err)
			}
			if rapid.IntRange(0, 5).Draw(rt, "the lake forgets") == 0 {
				must(t, os.RemoveAll(r.lake.Path(deliver.Dir, "warehouse")))
			}
			readIceberg(t, r.dir)
		}
		r.b.fault = nil
		r.delivered(withIceberg)
		r.same("usage")
		r.icebergIs()
		// What was broken off is swept as soon as another manifest is there.
		put(t, r.lake, day("acme", 5), contents[2])
		r.delivered(withIceberg)
		v, err := deliver.Verify(context.Background(), r.lake, r.target(), r.opts, true)
		if err != nil || len(v.Found) > 0 {
			rt.Fatalf("verify: %+v, %v", v, err)
		}
		table := r.icebergIs()
		for key := range filesOf(t, r.dir, "metadata") {
			if !table.named[key] {
				rt.Fatalf("%s is there, and nothing names it", key)
			}
		}
	})
}
