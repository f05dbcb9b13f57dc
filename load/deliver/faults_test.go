package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/deliver/delivertest"
	"github.com/usagelake/usagelake/schemas"
)

// reader reads the manifest and every file of it, again and again, as somebody does who queries the delivery.
func reader(t *testing.T, dir string) (stop func()) {
	t.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(ended)
		last := int64(0)
		for {
			_, m, err := delivertest.ReadAll(dir, "manifest.json")
			if err != nil {
				t.Errorf("a reader: %v", err)
				return
			}
			if m != nil {
				if m.Number < last {
					t.Errorf("a reader saw manifest %d after %d", m.Number, last)
				}
				last = m.Number
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	stop = func() { once.Do(func() { close(done); <-ended }) }
	t.Cleanup(stop)
	return stop
}

// TestNothingMixed: days come, change and go, deliveries break off at any request, lose requests and answers; whoever
// reads meanwhile sees whole states alone, and the next sound delivery is the lake, in its manifest and its table.
func TestNothingMixed(t *testing.T) {
	contents := days(t)
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		stop := reader(t, r.dir)
		defer stop()
		for range rapid.IntRange(1, 8).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 4).Draw(rt, "changes") {
				p := day([]string{"acme", "2026"}[rapid.IntRange(0, 1).Draw(rt, "account")], rapid.IntRange(0, 3).Draw(rt, "day"))
				put(t, r.lake, p, contents[rapid.IntRange(0, len(contents)-1).Draw(rt, "content")])
			}
			seed := rapid.Uint64().Draw(rt, "seed")
			left := rapid.IntRange(0, 30).Draw(rt, "requests until it is killed")
			some := chance(seed, 0.1)
			r.b.fault = func(op, key string) fault {
				if left--; left < 0 { // nothing comes through any more
					return broken
				}
				return some(op, key)
			}
			if _, err := r.deliver(nil); err != nil && !errors.Is(err, errBroken) {
				rt.Fatalf("a delivery that is broken off: %v", err)
			}
		}
		r.b.fault = nil
		r.delivered(nil)
		r.same("usage")
		r.tableIs()
		v, err := deliver.Verify(context.Background(), r.lake, r.target(), r.opts, true)
		if err != nil || len(v.Found) > 0 {
			rt.Fatalf("verify: %+v, %v", v, err)
		}
		swept(rt, r, v)
	})
}

// swept holds what is there after a verification against what the manifest names. A file of the manifest's own number
// may be that of a delivery that goes on: it is swept once there is a later manifest.
func swept(rt *rapid.T, r *rig, v *deliver.Verified) {
	there, m, err := delivertest.ReadAll(r.dir, "manifest.json")
	if err != nil {
		rt.Fatal(err)
	}
	named := map[string]bool{}
	for _, f := range there {
		named[f.Key] = true
	}
	for _, x := range m.Retired {
		named[x.Key] = true
	}
	for key := range filesOf(r.t, r.dir, "data") {
		if !named[key] && !strings.HasSuffix(key, fmt.Sprintf("-%d.parquet", m.Number)) {
			rt.Fatalf("%s is there, and nothing of manifest %d names it (%d were swept)", key, m.Number, v.Swept)
		}
	}
}

// days are day files of several contents, one of no rows.
func days(t *testing.T) [][]byte {
	t.Helper()
	r := newRig(t)
	var out [][]byte
	for n := range 6 {
		p := day("acme", n)
		r.w.RandomDay(p, n*3, int64(n))
		b, err := os.ReadFile(r.lake.UsagePath(p))
		must(t, err)
		out = append(out, b)
	}
	return out
}

// put makes a day file what a run makes it: by one rename, or by its removal from a folder that stays.
func put(t *testing.T, l *load.Lake, p schemas.Partition, content []byte) {
	t.Helper()
	target := l.UsagePath(p)
	must(t, os.MkdirAll(filepath.Dir(target), 0o700))
	temp := l.Path(".tmp", "put")
	must(t, os.WriteFile(temp, content, 0o600))
	must(t, os.Rename(temp, target))
}

// TestCopies: two copies of one lake deliver to one place at once. One of them is refused as the older one; what is
// there is always whole.
func TestCopies(t *testing.T) {
	r := newRig(t)
	contents := days(t)
	put(t, r.lake, day("acme", 0), contents[1])
	r.delivered(nil)
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(copied, os.DirFS(r.lake.Dir())))
	other, err := load.Open(copied, load.Options{})
	must(t, err)
	stop := reader(t, r.dir)
	refused := 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, lake := range []*load.Lake{r.lake, other} {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 7))
			b, err := bucket.Open(context.Background(), "file://"+r.dir, bucket.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				put(t, lake, day("acme", rnd.IntN(4)), contents[rnd.IntN(len(contents))])
				_, err := deliver.Deliver(context.Background(), lake, deliver.Target{Name: "warehouse", Bucket: b},
					deliver.Options{Now: time.Now, Version: "v1"})
				if err == nil {
					continue
				}
				if !errors.Is(err, deliver.ErrOlder) {
					t.Errorf("a copy: %v", err)
				}
				mu.Lock()
				refused++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	stop()
	if refused < 20 {
		t.Errorf("%d deliveries of the older copy were refused, want 20: one is the older one from the first on", refused)
	}
	v, err := deliver.Verify(context.Background(), r.lake, deliver.Target{Name: "warehouse", Bucket: r.b}, r.opts, true)
	if err != nil && !errors.Is(err, deliver.ErrOlder) || err == nil && len(v.Found) > 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
}

// TestVerify finds what was done to the objects.
func TestVerify(t *testing.T) {
	r := newRig(t)
	contents := days(t)
	for n := range 4 {
		put(t, r.lake, day("acme", n), contents[n+1])
	}
	r.delivered(nil)
	there, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	at := func(n int) string {
		rel := fmt.Sprintf("usage/acct=acme/date=%s/usage.parquet", day("acme", n).Date)
		return filepath.Join(r.dir, filepath.FromSlash(there[rel].Key))
	}
	must(t, os.Remove(at(0)))
	must(t, os.WriteFile(at(1), contents[1][1:], 0o600))
	b, err := os.ReadFile(at(2))
	must(t, err)
	b[10] ^= 1
	must(t, os.WriteFile(at(2), b, 0o600))
	must(t, os.WriteFile(filepath.Join(r.dir, "report.txt"), nil, 0o600))
	orphan := filepath.Join(filepath.Dir(at(3)), strings.Repeat("0", 32)+"-0.parquet")
	must(t, os.WriteFile(orphan, nil, 0o600))
	coming := filepath.Join(filepath.Dir(at(3)), strings.Repeat("0", 32)+"-1.parquet") // of a delivery under way
	must(t, os.WriteFile(coming, nil, 0o600))
	v, err := deliver.Verify(context.Background(), r.lake, r.target(), r.opts, false)
	must(t, err)
	got := map[string]int{}
	for _, f := range v.Found {
		got[f.Problem]++
	}
	if fmt.Sprint(got) != "map[missing:1 replaced:1 size:1 stray:1]" || v.Swept != 1 {
		t.Errorf("found %v, swept %d: %+v", got, v.Swept, v.Found)
	}
	if _, err := os.Stat(coming); err != nil {
		t.Error("an object of a delivery that may be under way was removed")
	}
}

// TestRestore: what was delivered becomes the lake that delivered it, and that one is refused from then on.
func TestRestore(t *testing.T) {
	r := newRig(t)
	contents := days(t)
	for n := range 4 {
		put(t, r.lake, day("acme", n), contents[n+1])
	}
	for path, content := range map[string]string{
		"raw/acct=acme/date=2026-10-30/000001_000000-240000_0123456789abcdef.pages.zst": "sealed",
		"statements/2026-09/manifest.json":                                              "{}",
		"journal/runs.jsonl":                                                            "{}\n",
		"doubts/acme/2026-10-30.json":                                                   "{}",
	} {
		must(t, os.MkdirAll(filepath.Dir(r.lake.Path(path)), 0o700))
		must(t, os.WriteFile(r.lake.Path(path), []byte(content), 0o600))
	}
	usage := func(t *deliver.Target) { t.Delta = false }
	r.delivered(usage)
	dir := filepath.Join(t.TempDir(), "restored")
	ctx := context.Background()
	if _, err := deliver.Restore(ctx, r.b, "", dir, false, nil); !errors.Is(err, deliver.ErrNoRaw) {
		t.Errorf("without raw: %v", err)
	}
	raw := func(t *deliver.Target) { t.What = []string{deliver.WhatRaw} }
	r.delivered(raw)
	// It breaks off in the middle, and goes on where it was.
	n := 0
	r.b.fault = func(op, key string) fault {
		if n++; n > 5 {
			return broken
		}
		return sound
	}
	if _, err := deliver.Restore(ctx, r.b, "", dir, false, nil); !errors.Is(err, errBroken) {
		t.Errorf("broken off: %v", err)
	}
	if _, err := load.Open(dir, load.Options{}); !errors.Is(err, load.ErrNoLake) {
		t.Errorf("half restored, it opens as a lake: %v", err)
	}
	cuts := 0
	r.b.fault = func(op, key string) fault { // bodies that are cut on their way come in the end
		if cuts++; strings.HasPrefix(key, "data/") && cuts%3 == 0 {
			return lost
		}
		return sound
	}
	got, err := deliver.Restore(ctx, r.b, "", dir, false, nil)
	r.b.fault = nil
	must(t, err)
	if got.Here == 0 || got.Files != 9 {
		t.Errorf("restored: %+v", got)
	}
	trees := []string{"usage", "raw", "statements", "journal", "doubts"}
	want, have := filesOf(t, r.lake.Dir(), trees...), filesOf(t, dir, trees...)
	delete(want, "journal/deliver.lock")
	if fmt.Sprint(want) != fmt.Sprint(have) {
		t.Errorf("restored\n%v\nwant\n%v", have, want)
	}
	if _, err := deliver.Restore(ctx, r.b, "", dir, false, nil); !errors.Is(err, deliver.ErrNotEmpty) {
		t.Errorf("into a lake: %v", err)
	}
	lake, err := load.Open(dir, load.Options{})
	must(t, err)
	target := r.target()
	raw(&target)
	put(t, lake, day("acme", 0), contents[5])
	rep, err := deliver.Deliver(ctx, lake, target, r.opts)
	if err != nil || rep.Sent != 1 {
		t.Errorf("the restored lake delivers: %+v, %v", rep, err)
	}
	put(t, r.lake, day("acme", 0), contents[3])
	if _, err := r.deliver(raw); !errors.Is(err, deliver.ErrOlder) {
		t.Errorf("the lost lake came back: %v", err)
	}
}

// TestRepairedAnew: what a verification finds missing or replaced is delivered anew under other names.
func TestRepairedAnew(t *testing.T) {
	r := newRig(t)
	contents := days(t)
	for n := range 3 {
		put(t, r.lake, day("acme", n), contents[n+1])
	}
	r.delivered(nil)
	there, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(t, err)
	anew := map[string]bool{}
	for _, f := range there {
		if len(anew) < 2 {
			anew[f.Key] = true
			must(t, os.Remove(filepath.Join(r.dir, filepath.FromSlash(f.Key))))
		}
	}
	if rep := r.delivered(nil); rep.Changed { // a delivery alone doesn't see it
		t.Errorf("a delivery: %+v", rep)
	}
	r.opts.Anew = anew
	if rep := r.delivered(nil); rep.Sent != 2 {
		t.Errorf("delivered anew: %+v", rep)
	}
	r.opts.Anew = nil
	r.same("usage")
	r.tableIs()
	v, err := deliver.Verify(context.Background(), r.lake, r.target(), r.opts, true)
	if err != nil || len(v.Found) > 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
}
