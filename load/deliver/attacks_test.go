package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/deliver/delivertest"
)

// What people and programs may do to a lake and to a prefix, and what must not come of it.

// write makes a file of the lake.
func write(t *testing.T, l *load.Lake, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(l.Path(path)), 0o700))
	must(t, os.WriteFile(l.Path(path), []byte(content), 0o600))
}

const rawName = "000001_000000-240000_0123456789abcdef.pages.zst"

func rawOnly(t *deliver.Target) { t.What, t.Delta = []string{deliver.WhatRaw}, false }

// verified looks at what is delivered to a target.
func (r *rig) verified(change func(*deliver.Target), deep bool) *deliver.Verified {
	r.t.Helper()
	target := r.target()
	change(&target)
	v, err := deliver.Verify(context.Background(), r.lake, target, r.opts, deep)
	must(r.t, err)
	return v
}

// TestOneLakeUnderTwoNames: below one prefix a lake has one name, or the sweep of the one would take the other's.
func TestOneLakeUnderTwoNames(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	write(t, r.lake, "raw/acct=acme/date=2026-10-30/"+rawName, "sealed")
	off := func(t *deliver.Target) { rawOnly(t); t.Name, t.As = "offsite", "emea" }
	r.delivered(off)
	if _, err := r.deliver(nil); err == nil || !strings.Contains(err.Error(), "(emea)") {
		t.Errorf("under another name: %v", err)
	}
	if v := r.verified(off, true); len(v.Found) > 0 || v.Swept > 0 {
		t.Errorf("verify: %+v", v)
	}
}

// TestAnOlderCopyDoesNotCatchUp by delivering elsewhere.
func TestAnOlderCopyDoesNotCatchUp(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(nil)
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(copied, os.DirFS(r.lake.Dir())))
	old, err := load.Open(copied, load.Options{})
	must(t, err)
	r.w.RandomDay(day("acme", 0), 99, 2)
	r.delivered(nil)
	for _, n := range []string{"", "test-a", "test-b", ""} {
		target := r.target()
		if n != "" {
			target = deliver.Target{Name: n, Bucket: openBucket(t, filepath.Join(t.TempDir(), n))}
		}
		_, err := deliver.Deliver(context.Background(), old, target, r.opts)
		if n == "" && !errors.Is(err, deliver.ErrOlder) || n != "" && err != nil {
			t.Errorf("the older copy to %q: %v", n, err)
		}
	}
	r.same("usage")
}

// TestNamesThatNobodyCouldRead are left out: what is delivered can be read and restored.
func TestNamesThatNobodyCouldRead(t *testing.T) {
	for _, name := range []string{`a\b`, "caf\xe9"} {
		r := newRig(t)
		r.w.RandomDay(day("acme", 0), 10, 1)
		write(t, r.lake, "raw/acct=acme/date=2026-10-30/"+name, "x")
		for range 2 {
			r.delivered(rawOnly)
		}
		_, err := deliver.Restore(context.Background(), r.b, "", filepath.Join(t.TempDir(), "l"), false, nil)
		if err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestTheLastCopyStays: a raw file that a repair set aside since it rotted, the day file of a pruned day, statements of
// a month that was opened again before, and history: what is delivered may be the only good one.
func TestTheLastCopyStays(t *testing.T) {
	r := newRig(t)
	for n := range 3 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
	}
	raw := "raw/acct=acme/date=2026-10-30/" + rawName
	write(t, r.lake, raw, "good")
	must(t, os.MkdirAll(r.lake.Path("raw/acct=acme/date=2026-10-31"), 0o700))
	write(t, r.lake, "statements/2026-09/ledger.jsonl", "closed anew")
	write(t, r.lake, "statements/reopened/2026-09_20261001T000000Z/ledger.jsonl", "as it was")
	write(t, r.lake, "journal/runs/2026-09.jsonl", "runs")
	r.delivered(rawOnly)
	had, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	write(t, r.lake, "damaged/acct=acme_date=2026-10-30_"+rawName, "r0tt")
	must(t, os.Remove(r.lake.Path(raw)))
	must(t, os.Remove(r.lake.UsagePath(day("acme", 1))))
	must(t, os.RemoveAll(r.lake.Path("statements/2026-09")))
	must(t, os.RemoveAll(r.lake.Path("journal/runs")))
	if rep := r.delivered(rawOnly); len(rep.Lost) != 4 {
		t.Errorf("lost: %q", rep.Lost)
	}
	for range 2 {
		r.now = r.now.AddDate(0, 0, 8)
		r.w.RandomDay(day("acme", 2), 50, r.now.Unix())
		r.delivered(rawOnly)
	}
	now, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	for path := range had {
		if _, ok := now[path]; !ok {
			t.Errorf("%s was given up", path)
		}
	}
	// A month that is opened again is given up: its statements stand below reopened.
	write(t, r.lake, "statements/2026-08/ledger.jsonl", "closed")
	r.delivered(rawOnly)
	must(t, os.Rename(r.lake.Path("statements/2026-08"), r.lake.Path("statements/reopened/2026-08_20261101T000000Z")))
	if rep := r.delivered(rawOnly); len(rep.Lost) != 4 {
		t.Errorf("lost after a month was opened again: %q", rep.Lost)
	}
}

// TestAnAccountHandedOver to another lake is that lake's: the sweep of the first leaves it alone.
func TestAnAccountHandedOver(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.w.RandomDay(day("other", 0), 10, 1)
	a := func(t *deliver.Target) { t.As = "a" }
	r.delivered(a)
	must(t, os.RemoveAll(r.lake.AccountDir("usage", "acme")))
	r.opts.Drop = []deliver.Drop{{Account: "acme"}}
	r.delivered(a)
	r.opts.Drop = nil
	must(t, os.Remove(filepath.Join(r.dir, "claims", "acme.json")))
	s := newRig(t)
	s.w.RandomDay(day("acme", 0), 33, 5)
	s.dir, s.b = r.dir, &watched{Bucket: openBucket(t, r.dir)}
	b := func(t *deliver.Target) { t.As = "b" }
	s.delivered(b)
	r.verified(a, false)
	if v := s.verified(b, true); len(v.Found) > 0 {
		t.Errorf("the other lake: %+v", v.Found)
	}
}

// named gives a bucket another URL.
type named struct {
	bucket.Bucket
	url string
}

func (n named) URL() string { return n.url }

// TestTwoEndpoints of one URL are two places: what was sent to one counts for nothing at the other.
func TestTwoEndpoints(t *testing.T) {
	r := newRig(t)
	var at [2]*watched
	to := func(i int) func(*deliver.Target) {
		return func(t *deliver.Target) {
			t.Bucket, t.Place = named{at[i], "s3://finance/usage"}, fmt.Sprintf("s3://finance/usage endpoint-%d", i)
		}
	}
	for i := range at {
		at[i] = &watched{Bucket: openBucket(t, filepath.Join(t.TempDir(), "b"))}
	}
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(to(0))
	r.delivered(to(1))
	r.w.RandomDay(day("acme", 0), 11, 2)
	at[0].fault = func(op, key string) fault {
		if key == deliver.ManifestKey && op == "put" {
			return broken
		}
		return sound
	}
	if _, err := r.deliver(to(0)); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	r.delivered(to(1))
	if v := r.verified(to(1), true); len(v.Found) > 0 {
		t.Errorf("the second: %+v", v.Found)
	}
}

// TestAPartThatRotted is found by a deep look, and delivered anew.
func TestAPartThatRotted(t *testing.T) {
	r := newRig(t)
	for i := range 2100 {
		write(t, r.lake, fmt.Sprintf("doubts/acme/%d.json", i), fmt.Sprint(i))
	}
	r.delivered(rawOnly)
	parts, err := filepath.Glob(filepath.Join(r.dir, "parts", "*", "*", "*"))
	if must(t, err); len(parts) == 0 {
		t.Fatal("there are no parts")
	}
	must(t, os.Truncate(parts[0], 10))
	v := r.verified(rawOnly, true)
	if len(v.Found) != 1 {
		t.Fatalf("found: %+v", v.Found)
	}
	r.opts.Anew = map[string]bool{v.Found[0].Key: true}
	r.delivered(rawOnly)
	r.opts.Anew = nil
	if v := r.verified(rawOnly, true); len(v.Found) > 0 {
		t.Errorf("after it was delivered anew: %+v", v.Found)
	}
	_, err = deliver.Restore(context.Background(), r.b, "", filepath.Join(t.TempDir(), "l"), false, nil)
	if must(t, err); len(filesOf(t, r.lake.Dir(), "doubts")) != 2100 {
		t.Error("files are missing")
	}
}

// unsure loses the answer of each put of a version of the log, and does none.
type unsure struct{ bucket.Bucket }

func (u unsure) Put(ctx context.Context, key string, b bucket.Body, on bucket.On) (bucket.Tag, error) {
	if strings.HasPrefix(key, "_delta_log/") {
		return "", fmt.Errorf("%w: 503", bucket.ErrUnsure)
	}
	return u.Bucket.Put(ctx, key, b, on)
}

// TestALogThatCanNotBeWritten ends a delivery with an error; its files are there.
func TestALogThatCanNotBeWritten(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	_, err := r.deliver(func(t *deliver.Target) { t.Bucket = unsure{r.b} })
	if !errors.Is(err, bucket.ErrUnsure) {
		t.Errorf("it ended with %v", err)
	}
	r.same("usage")
	r.delivered(nil)
	r.tableIs()
}

// TestARunInBetween: of a day that is derived anew while it is delivered neither the new file nor the new window is
// there, or both.
func TestARunInBetween(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	raw := "raw/acct=acme/date=2026-10-30/" + rawName
	r.b.fault = func(op, key string) fault {
		if key == "claims/acme.json" {
			write(t, r.lake, raw, "the window of the new rows")
			r.w.RandomDay(day("acme", 0), 99, 2)
		}
		return sound
	}
	r.delivered(rawOnly)
	there, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	_, window := there[raw]
	u := there["usage/acct=acme/date=2026-10-30/usage.parquet"]
	if (u.Rows != nil && *u.Rows == 99) != window {
		t.Errorf("the day is %+v, its window there: %t", u, window)
	}
	r.b.fault = nil
	r.delivered(rawOnly)
	r.same("usage", "raw", "lake.json")
}

// TestALogOfWhichNobodyKnows: its first version was written and its answer lost; deliveries without a table follow for
// longer than anything is kept. The table has no file that is gone.
func TestALogOfWhichNobodyKnows(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	n := 0
	r.b.fault = func(op, key string) fault {
		if !strings.HasPrefix(key, "_delta_log/") {
			return sound
		}
		if n++; n == 1 {
			return lost
		}
		return broken
	}
	if _, err := r.deliver(nil); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	r.b.fault = nil
	for i := range 3 {
		r.w.RandomDay(day("acme", 0), 20+i, int64(5+i))
		r.delivered(func(t *deliver.Target) { t.Delta = false })
		r.now = r.now.Add(8 * 24 * time.Hour)
	}
	r.delivered(nil)
	r.tableIs()
}

// TestAManifestThatIsGone alone: what it named is not taken for this delivery's, and its log is told of.
func TestAManifestThatIsGone(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.w.RandomDay(day("acme", 0), 10+i, int64(i))
		r.delivered(nil)
	}
	must(t, os.Remove(filepath.Join(r.dir, deliver.ManifestKey)))
	if _, err := r.deliver(nil); !errors.Is(err, deliver.ErrTable) {
		t.Errorf("beside the old log: %v", err)
	}
	must(t, os.RemoveAll(filepath.Join(r.dir, "_delta_log")))
	for i := range 3 {
		r.w.RandomDay(day("acme", 0), 30+i, int64(50+i))
		r.delivered(nil)
		r.tableIs()
	}
	r.same("usage")
}

// TestAnEmptiedPrefixAndAChangedDay: everything is delivered anew, the claims too.
func TestAnEmptiedPrefixAndAChangedDay(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(nil)
	must(t, os.RemoveAll(r.dir))
	r.w.RandomDay(day("acme", 0), 11, 2)
	r.delivered(nil)
	r.same("usage")
	r.tableIs()
	if _, err := os.Stat(filepath.Join(r.dir, "claims", "acme.json")); err != nil {
		t.Error(err)
	}
}

// TestADamagedDay keeps what was delivered of it, and doesn't keep the others.
func TestADamagedDay(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.w.RandomDay(day("acme", 1), 10, 2)
	r.delivered(nil)
	must(t, os.WriteFile(r.lake.UsagePath(day("acme", 0)), []byte("no Parquet"), 0o600))
	r.w.RandomDay(day("acme", 1), 30, 3)
	rep, err := r.deliver(nil)
	if err == nil || !strings.Contains(err.Error(), "can't be read") || rep.Sent != 1 || len(rep.Damaged) != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	there, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	rows := int64(0)
	for _, f := range there {
		rows += *f.Rows
	}
	if rows != 40 {
		t.Errorf("%d rows are delivered", rows)
	}
	r.w.RandomDay(day("acme", 0), 5, 4)
	r.delivered(nil)
	r.same("usage")
	r.tableIs()
}
