package deliver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/deliver/delivertest"
)

// TestRequests: a changed day costs three requests and its table one, nothing changed one.
func TestRequests(t *testing.T) {
	r := newRig(t)
	for n := range 5 {
		r.w.RandomDay(day("acme", n), 100+n, int64(n))
	}
	plain := func(t *deliver.Target) { t.Delta = false }
	rep := r.delivered(plain)
	if rep.Sent != 5 || rep.Number != 1 || !rep.Changed {
		t.Errorf("the first delivery: %+v", rep)
	}
	r.same("usage")
	if rep := r.delivered(plain); rep.Changed || len(r.b.requests) > 1 {
		t.Errorf("nothing changed: %+v, requests %q", rep, r.b.requests)
	}
	r.w.RandomDay(day("acme", 2), 7, 99)
	if rep := r.delivered(plain); rep.Sent != 1 || rep.Retired != 1 || rep.Requests > 3 || len(r.b.requests) > 3 {
		t.Errorf("one changed day: %+v, requests %q", rep, r.b.requests)
	}
	r.same("usage")
	// The table is made up, and costs one request more from then on.
	r.delivered(nil)
	r.tableIs()
	r.w.RandomDay(day("acme", 3), 8, 100)
	if r.delivered(nil); len(r.b.requests) > 6 {
		t.Errorf("one changed day with a table: requests %q", r.b.requests)
	}
	r.same("usage")
	r.tableIs()
	if r.delivered(nil); len(r.b.requests) > 1 {
		t.Errorf("nothing changed with a table: requests %q", r.b.requests)
	}
	// The same content under another time is hashed and not sent.
	path := r.lake.UsagePath(day("acme", 0))
	must(t, os.Chtimes(path, r.now, r.now))
	if rep := r.delivered(nil); rep.Sent != 0 || rep.Changed {
		t.Errorf("the same content written anew: %+v", rep)
	}
}

// TestManifestTells: rows, sums and completeness are those of the files.
func TestManifestTells(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 50, 1)
	r.w.RandomDay(day("2026", 1), 0, 2)
	r.delivered(nil)
	m := r.same("usage")
	if m.Rows != 50 {
		t.Errorf("the manifest has %d rows", m.Rows)
	}
	var want string
	must(t, r.w.Db.QueryRow(fmt.Sprintf(`SELECT string_agg(coalesce(currency, '-') || ' ' || a || ' ' || d || ' ' || n,
		', ' ORDER BY currency NULLS FIRST)
		FROM (SELECT currency, sum(total_amount)::VARCHAR a, sum(discount_amount)::VARCHAR d, sum(amount)::VARCHAR n
			FROM read_parquet('%s/usage/**/*.parquet') GROUP BY currency)`, r.lake.Dir())).Scan(&want))
	var got []string
	trim := func(s *string) string {
		if s == nil {
			return "NULL"
		}
		whole, frac, _ := strings.Cut(*s, ".")
		return whole + "." + (frac + strings.Repeat("0", 12))[:12]
	}
	for _, s := range m.Sums {
		currency := "-"
		if s.Currency != nil {
			currency = *s.Currency
		}
		got = append(got, fmt.Sprintf("%s %s %s %s", currency, trim(s.TotalAmount), trim(s.Discount), trim(s.Amount)))
	}
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("the manifest's sums are\n%s\nthe records'\n%s", text, want)
	}
	for _, g := range m.Groups {
		for _, f := range g.Files {
			if f.MissingSeconds == nil || *f.MissingSeconds != 86400 { // no window is sealed
				t.Errorf("%s lacks %v seconds", f.Path, f.MissingSeconds)
			}
		}
	}
	// A day without records is delivered, and no file of the table.
	if n := len(deltaFiles(t, r.dir)); n != 1 {
		t.Errorf("the table has %d files", n)
	}
}

// TestIdentity: another lake, an older copy, and an account of another lake are refused by name.
func TestIdentity(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(nil)
	other := newRig(t)
	other.dir, other.b.Bucket = r.dir, r.b.Bucket
	other.w.RandomDay(day("acme", 0), 11, 2)
	if _, err := other.deliver(nil); !errors.Is(err, deliver.ErrOtherLake) || !strings.Contains(err.Error(), "hint: ") {
		t.Errorf("another lake: %v", err)
	}
	as := func(t *deliver.Target) { t.As = "eu" }
	_, err := other.deliver(as)
	if !errors.Is(err, deliver.ErrOtherLake) || !strings.Contains(err.Error(), "account acme") {
		t.Errorf("another lake with the same account: %v", err)
	}
	must(t, os.RemoveAll(other.lake.AccountDir("usage", "acme")))
	other.w.RandomDay(day("emea", 0), 12, 3)
	if rep, err := other.deliver(as); err != nil || rep.Rows != 12 {
		t.Errorf("another lake with accounts of its own: %+v, %v", rep, err)
	}
	if table := deltaFiles(t, r.dir); len(table) != 2 {
		t.Errorf("the table of both lakes: %v", table)
	}
	// Each goes on beside the other, in one table.
	r.w.RandomDay(day("acme", 0), 13, 4)
	r.delivered(nil)
	other.w.RandomDay(day("emea", 0), 14, 5)
	if _, err := other.deliver(as); err != nil {
		t.Fatal(err)
	}
	rows := int64(0)
	for _, n := range deltaFiles(t, r.dir) {
		rows += n
	}
	if rows != 27 {
		t.Errorf("the table of both lakes has %d rows, want 13 + 14", rows)
	}
	eu := deliver.Target{Name: "warehouse", Bucket: other.b, As: "eu"}
	v, err := deliver.Verify(context.Background(), other.lake, eu, other.opts, true)
	if err != nil || len(v.Found) > 0 || v.Swept > 0 {
		t.Errorf("verify the other: %+v, %v", v, err)
	}

	// A backup of the lake is put back: it must not roll back what is delivered.
	backup := t.TempDir()
	must(t, os.CopyFS(backup, os.DirFS(r.lake.Path(deliver.Dir))))
	r.w.RandomDay(day("acme", 0), 15, 6)
	r.delivered(nil)
	must(t, os.RemoveAll(r.lake.Path(deliver.Dir)))
	must(t, os.CopyFS(r.lake.Path(deliver.Dir), os.DirFS(backup)))
	r.w.RandomDay(day("acme", 0), 16, 7)
	if _, err := r.deliver(nil); !errors.Is(err, deliver.ErrOlder) {
		t.Errorf("an older copy: %v", err)
	}
	r.opts.Adopt = true
	if rep := r.delivered(nil); rep.Rows != 16 {
		t.Errorf("an older copy that was told to go on: %+v", rep)
	}
	r.opts.Adopt = false
	must(t, os.RemoveAll(r.lake.Path(deliver.Dir)))
	if _, err := r.deliver(nil); !errors.Is(err, deliver.ErrOtherLake) || !strings.Contains(err.Error(), "--adopt") {
		t.Errorf("a lake that lost its memory: %v", err)
	}
}

// TestForeign: a prefix that holds something else isn't delivered to.
func TestForeign(t *testing.T) {
	r := newRig(t)
	must(t, os.MkdirAll(r.dir, 0o700))
	must(t, os.WriteFile(filepath.Join(r.dir, "thesis.docx"), []byte("x"), 0o600))
	if _, err := r.deliver(nil); !errors.Is(err, deliver.ErrForeign) || !strings.Contains(err.Error(), "thesis.docx") {
		t.Errorf("a prefix of somebody else: %v", err)
	}
	if names, _ := os.ReadDir(r.dir); len(names) > 2 { // .tmp
		t.Errorf("something was written there: %v", names)
	}
}

// TestLost: what the lake lacks although nobody removed it stays, and is told; what was removed goes.
func TestLost(t *testing.T) {
	r := newRig(t)
	for n := range 4 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
	}
	r.w.RandomDay(day("gone", 0), 5, 9)
	r.delivered(nil)
	// A whole day is gone, and a whole account.
	must(t, os.RemoveAll(r.lake.Partition("usage", day("acme", 1))))
	must(t, os.RemoveAll(r.lake.AccountDir("usage", "gone")))
	// Another one was moved aside by name, as a repair that is told to does.
	aside := r.lake.UsagePath(day("acme", 2))
	sum, err := r.lake.Digest(aside)
	must(t, err)
	must(t, os.MkdirAll(r.lake.Path(load.DamagedDir), 0o700))
	must(t, os.Rename(aside, r.lake.Path(load.DamagedDir, fmt.Sprintf("acct=acme_date=%s_%s_usage.parquet",
		day("acme", 2).Date, sum[:16]))))
	rep := r.delivered(nil)
	if len(rep.Lost) != 2 || rep.Files != 4 {
		t.Errorf("the report: %+v", rep)
	}
	if rep := r.delivered(nil); rep.Changed || len(rep.Lost) != 2 {
		t.Errorf("once more: %+v", rep)
	}
	r.tableIs()
	r.opts.Drop = []deliver.Drop{{Account: "gone"}}
	if rep := r.delivered(nil); len(rep.Lost) != 1 || rep.Files != 3 {
		t.Errorf("an account that was dropped: %+v", rep)
	}
	r.opts.Drop = nil
	// What comes back is no longer lost.
	r.w.RandomDay(day("acme", 1), 11, 1)
	if rep := r.delivered(nil); len(rep.Lost) != 0 || rep.Files != 3 {
		t.Errorf("a day that came back: %+v", rep)
	}
	r.same("usage")
	r.tableIs()
}

// TestDaysThatAreGivenUp: by name, the days of an interval without its end, and of those only what the lake lacks. What
// was given up doesn't come back by itself; what the lake has again does.
func TestDaysThatAreGivenUp(t *testing.T) {
	r := newRig(t)
	for n := range 5 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
		r.w.RandomDay(day("acme2", n), 20+n, int64(n))
	}
	r.delivered(both)
	for n := range 4 {
		must(t, os.RemoveAll(r.lake.Partition("usage", day("acme", n))))
	}
	must(t, os.RemoveAll(r.lake.Partition("usage", day("acme2", 1))))
	r.opts.Drop = []deliver.Drop{{Account: "acme", From: day("", 1).Date, To: day("", 3).Date},
		{Account: "acme", From: day("", 4).Date, To: day("", 5).Date}} // the lake has the last
	p, err := deliver.DryRun(context.Background(), r.lake, r.target(), r.opts)
	must(t, err)
	if p.Dropped != 2 || p.Retire != 2 || len(p.Lost) != 3 {
		t.Errorf("the plan: %+v", p)
	}
	rep := r.delivered(both)
	want := []string{"usage/acct=acme/date=2026-10-30/usage.parquet", "usage/acct=acme/date=2026-11-02/usage.parquet",
		"usage/acct=acme2/date=2026-10-31/usage.parquet"}
	if rep.Dropped != 2 || rep.Files != 8 || !slices.Equal(slices.Sorted(slices.Values(rep.Lost)), want) {
		t.Errorf("two days that were given up: %+v", rep)
	}
	r.tableIs()
	r.icebergIs()
	r.opts.Drop = nil
	r.now = r.now.AddDate(0, 0, 8)
	r.w.RandomDay(day("acme", 4), 7, 99)
	if rep := r.delivered(both); rep.Files != 8 || len(rep.Lost) != 3 {
		t.Errorf("a week later: %+v", rep)
	}
	r.w.RandomDay(day("acme", 1), 11, 1) // with the bytes that were delivered before
	if rep := r.delivered(both); rep.Files != 9 || rep.Sent != 1 {
		t.Errorf("a day that is in the lake again: %+v", rep)
	}
	r.tableIs()
	r.icebergIs()
}

// TestKeep: what was replaced stays as long as a reader may hold an older manifest, and goes then.
func TestKeep(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(nil)
	before, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	old := before[slices.Collect(func(yield func(string) bool) {
		for p := range before {
			yield(p)
		}
	})[0]].Key
	r.w.RandomDay(day("acme", 0), 11, 2)
	r.delivered(nil)
	there := func() bool { _, err := os.Stat(filepath.Join(r.dir, old)); return err == nil }
	r.now = r.now.Add(6 * 24 * time.Hour)
	r.w.RandomDay(day("acme", 0), 12, 3)
	r.delivered(nil)
	if !there() {
		t.Error("the first file is gone before its time")
	}
	r.now = r.now.Add(2 * 24 * time.Hour)
	r.w.RandomDay(day("acme", 0), 13, 4)
	if rep := r.delivered(nil); rep.Deleted != 1 || there() {
		t.Errorf("the first file is still there: %+v", rep)
	}
	r.same("usage")
	r.tableIs()
}

// TestSplit: of many files the manifest has parts, and a changed day costs no more than three requests.
func TestSplit(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	statements := r.lake.Path("statements", "2026-09")
	must(t, os.MkdirAll(statements, 0o700))
	for i := range 2100 {
		must(t, os.WriteFile(filepath.Join(statements, fmt.Sprintf("%04d.csv", i)), []byte{byte(i), byte(i >> 8)}, 0o600))
	}
	// Two files of one content share an object: one of them goes, the other stays.
	must(t, os.WriteFile(filepath.Join(statements, "twin.csv"), []byte{1, 0}, 0o600))
	both := func(t *deliver.Target) { t.What, t.Delta = []string{deliver.WhatUsage, deliver.WhatStatements}, false }
	r.delivered(both)
	r.same("usage", "statements")
	r.w.RandomDay(day("acme", 0), 11, 2)
	if rep := r.delivered(both); rep.Sent != 1 || len(r.b.requests) > 3 {
		t.Errorf("one changed day: %+v, requests %q", rep, r.b.requests)
	}
	r.same("usage", "statements")
	if r.delivered(both); len(r.b.requests) > 1 {
		t.Errorf("nothing changed: requests %q", r.b.requests)
	}
	// A lake that lost what it remembers reads the parts.
	must(t, os.RemoveAll(r.lake.Path(deliver.Dir, "warehouse")))
	if rep := r.delivered(both); rep.Sent != 0 || rep.Changed {
		t.Errorf("after the memory was lost: %+v", rep)
	}
	r.same("usage", "statements")
}

// TestWhat: what isn't asked for any more goes; nothing of the program's own is delivered.
func TestWhat(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.w.Quarantine(day("acme", 0), 3)
	r.w.Balance(day("acme", 0), "1")
	must(t, os.MkdirAll(r.lake.Path("journal"), 0o700))
	must(t, os.WriteFile(r.lake.Path("journal", "runs.jsonl"), []byte("{}\n"), 0o600))
	must(t, os.WriteFile(r.lake.Path("journal", "alerts.json"), []byte("{}\n"), 0o600))
	r.delivered(func(t *deliver.Target) { t.What = []string{deliver.WhatRaw} })
	there, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	var paths []string
	for p := range there {
		paths = append(paths, strings.Split(p, "/")[0])
	}
	slices.Sort(paths)
	if want := []string{"balance", "journal", "lake.json", "quarantine", "usage"}; !slices.Equal(paths, want) {
		t.Errorf("delivered: %q, want %q", paths, want)
	}
	// The journal alone is no reason to deliver, and goes along with others.
	must(t, os.WriteFile(r.lake.Path("journal", "runs.jsonl"), []byte("{}\n{}\n"), 0o600))
	raw := func(t *deliver.Target) { t.What = []string{deliver.WhatRaw} }
	if rep := r.delivered(raw); rep.Changed || len(r.b.requests) > 1 {
		t.Errorf("after a run that changed nothing: %+v %q", rep, r.b.requests)
	}
	r.w.RandomDay(day("acme", 0), 11, 2)
	if rep := r.delivered(raw); rep.Sent != 2 {
		t.Errorf("after a run that changed a day: %+v", rep)
	}
	if rep := r.delivered(nil); rep.Files != 1 {
		t.Errorf("usage alone: %+v", rep)
	}
	r.same("usage")
}

// TestOutcome: a delivery that failed is remembered with since when, and made up by the next one.
func TestOutcome(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(nil)
	done := r.now
	r.b.fault = func(op, key string) fault { return broken }
	for range 2 {
		r.w.RandomDay(day("acme", 0), 11, 2)
		if _, err := r.deliver(nil); !errors.Is(err, errBroken) {
			t.Fatalf("a broken network: %v", err)
		}
	}
	o, ok, err := deliver.Last(r.lake, "warehouse")
	must(t, err)
	if !ok || o.Error == "" || !o.Since.Equal(done.Add(time.Minute)) || !o.Delivered.Equal(done) || o.Number != 1 {
		t.Errorf("the outcome: %+v", o)
	}
	r.b.fault = nil
	r.delivered(nil)
	if o, _, _ := deliver.Last(r.lake, "warehouse"); o.Error != "" || !o.Since.IsZero() || o.Number != 2 {
		t.Errorf("the outcome of the next: %+v", o)
	}
	r.same("usage")
	r.tableIs()
}

// TestDryRun changes nothing.
func TestDryRun(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	p, err := deliver.DryRun(context.Background(), r.lake, r.target(), r.opts)
	must(t, err)
	if p.Send != 1 || p.Files != 1 || p.Number != 0 {
		t.Errorf("the plan: %+v", p)
	}
	if _, err := os.Stat(r.dir); err == nil {
		t.Error("a dry run made the bucket's directory")
	}
	r.delivered(nil)
	r.w.RandomDay(day("acme", 1), 10, 1)
	before, _ := os.ReadFile(filepath.Join(r.dir, "manifest.json"))
	p, err = deliver.DryRun(context.Background(), r.lake, r.target(), r.opts)
	must(t, err)
	if p.Send != 1 || p.Files != 2 || p.Number != 1 {
		t.Errorf("the plan: %+v", p)
	}
	if after, _ := os.ReadFile(filepath.Join(r.dir, "manifest.json")); string(after) != string(before) {
		t.Error("a dry run changed the manifest")
	}
}

// TestNewer: a manifest of a newer version is refused, and one that names what is none.
func TestBadManifests(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(nil)
	path := filepath.Join(r.dir, "manifest.json")
	b, err := os.ReadFile(path)
	must(t, err)
	var m map[string]any
	must(t, delivertest.Unzip(b, &m))
	for name, change := range map[string]func(){
		"newer":       func() { m["format"] = 2 },
		"no manifest": func() { m["format"] = 1; m["commit"] = "" },
		"a path out of the lake": func() {
			m["commit"] = "x"
			m["groups"].([]any)[0].(map[string]any)["files"].([]any)[0].(map[string]any)["path"] = "usage/../../etc/passwd"
		},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, delivertest.Unzip(b, &m))
			change()
			text, err := json.Marshal(m) // plain JSON is read, too
			must(t, err)
			must(t, os.WriteFile(path, text, 0o600))
			_, err = deliver.Verify(context.Background(), r.lake, r.target(), r.opts, false)
			if err == nil || name == "newer" && !errors.Is(err, deliver.ErrNewer) {
				t.Errorf("verify: %v", err)
			}
			_, err = deliver.Restore(context.Background(), r.b, "", filepath.Join(t.TempDir(), "l"), false, nil)
			if err == nil {
				t.Error("restored from it")
			}
		})
	}
}

// TestALogThatIsGoneIsMadeAnew, and a table that nobody asks for any more is kept up to date.
func TestALogThatIsGoneIsMadeAnew(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.w.RandomDay(day("acme", 1), 11, 2)
	r.delivered(nil)
	r.w.RandomDay(day("acme", 0), 12, 3)
	r.delivered(func(t *deliver.Target) { t.Delta = false })
	r.tableIs()
	must(t, os.RemoveAll(filepath.Join(r.dir, "_delta_log")))
	r.w.RandomDay(day("acme", 1), 13, 4)
	r.delivered(nil)
	r.tableIs()
	if n := len(deltaFiles(t, r.dir)); n != 2 {
		t.Errorf("the table has %d files", n)
	}
}

// TestAnEmptiedPrefix: whatever was sent there before, and wherever it broke off, everything is delivered anew.
func TestAnEmptiedPrefix(t *testing.T) {
	r := newRig(t)
	for n := range 4 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
	}
	r.b.fault = func(op, key string) fault { // it breaks off before its first manifest
		if key == deliver.ManifestKey && op == "put" {
			return broken
		}
		return sound
	}
	if _, err := r.deliver(nil); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	r.b.fault = nil
	must(t, os.RemoveAll(r.dir))
	r.delivered(nil)
	r.same("usage")
	must(t, os.RemoveAll(r.dir))
	r.delivered(nil)
	r.same("usage")
	r.tableIs()
}
