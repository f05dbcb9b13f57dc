package deliver_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/deliver/delivertest"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a lake and the directory that it is delivered to.
type rig struct {
	t    testing.TB
	lake *load.Lake
	w    *loadtest.Writer
	dir  string // of the bucket
	b    *watched
	now  time.Time
	opts deliver.Options
}

func newRig(t testing.TB) *rig {
	t.Helper()
	lake, err := load.Create(filepath.Join(t.TempDir(), "lake"), load.Options{})
	must(t, err)
	r := &rig{t: t, lake: lake, w: loadtest.NewWriter(t, lake), dir: filepath.Join(t.TempDir(), "bucket"),
		now: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)}
	r.b = &watched{Bucket: openBucket(t, r.dir)}
	r.opts = deliver.Options{Now: func() time.Time { return r.now }, Version: "v1"}
	return r
}

func openBucket(t testing.TB, dir string) bucket.Bucket {
	t.Helper()
	b, err := bucket.Open(context.Background(), "file://"+dir, bucket.Options{})
	must(t, err)
	return b
}

func day(account string, n int) schemas.Partition {
	return schemas.Partition{Account: account, Date: schemastest.Date("2026-10-30") + schemas.Date(n)}
}

func (r *rig) target() deliver.Target {
	return deliver.Target{Name: "warehouse", Bucket: r.b, What: []string{deliver.WhatUsage}, Delta: true}
}

// deliver delivers, and counts its requests.
func (r *rig) deliver(change func(*deliver.Target)) (*deliver.Report, error) {
	r.t.Helper()
	target := r.target()
	if change != nil {
		change(&target)
	}
	r.b.reset()
	r.now = r.now.Add(time.Minute)
	return deliver.Deliver(context.Background(), r.lake, target, r.opts)
}

func (r *rig) delivered(change func(*deliver.Target)) *deliver.Report {
	r.t.Helper()
	rep, err := r.deliver(change)
	must(r.t, err)
	return rep
}

// watched counts requests, and breaks some.
type watched struct {
	bucket.Bucket
	mu       sync.Mutex
	requests []string
	// fault is asked of each request: fail before it is done, or lose its answer.
	fault func(op, key string) fault
}

type fault int

const (
	sound fault = iota
	broken
	lost
)

var errBroken = errors.New("the network is down")

func (w *watched) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = nil
}

func (w *watched) note(op, key string) fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, op+" "+key)
	if w.fault == nil {
		return sound
	}
	return w.fault(op, key)
}

func (w *watched) Get(ctx context.Context, key string) (io.ReadCloser, bucket.Object, error) {
	switch w.note("get", key) {
	case broken:
		return nil, bucket.Object{}, errBroken
	case lost: // it is cut in the middle
		body, o, err := w.Bucket.Get(ctx, key)
		if err != nil {
			return nil, o, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(body, o.Size/2), iotest.ErrReader(errBroken)), body}, o, nil
	}
	return w.Bucket.Get(ctx, key)
}

func (w *watched) Put(ctx context.Context, key string, body bucket.Body, on bucket.On) (bucket.Tag, error) {
	switch w.note("put", key) {
	case broken:
		return "", errBroken
	case lost:
		_, err := w.Bucket.Put(ctx, key, body, on)
		if err != nil {
			return "", err
		}
		return "", fmt.Errorf("%w: %w", bucket.ErrUnsure, errBroken)
	}
	return w.Bucket.Put(ctx, key, body, on)
}

func (w *watched) Delete(ctx context.Context, key string) error {
	switch w.note("delete", key) {
	case broken:
		return errBroken
	case lost:
		return errors.Join(w.Bucket.Delete(ctx, key), errBroken)
	}
	return w.Bucket.Delete(ctx, key)
}

func (w *watched) List(ctx context.Context, prefix string) iter.Seq2[bucket.Object, error] {
	if w.note("list", prefix) != sound {
		return func(yield func(bucket.Object, error) bool) { yield(bucket.Object{}, errBroken) }
	}
	return w.Bucket.List(ctx, prefix)
}

// filesOf are the digests of a lake's files below its trees.
func filesOf(t testing.TB, dir string, trees ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, tree := range trees {
		must(t, filepath.WalkDir(filepath.Join(dir, tree), func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			sum := sha256.Sum256(b)
			out[filepath.ToSlash(rel)] = hex.EncodeToString(sum[:])
			return err
		}))
	}
	return out
}

// same holds what is delivered against the lake.
func (r *rig) same(trees ...string) *delivertest.Manifest {
	r.t.Helper()
	there, m, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(r.t, err)
	want := filesOf(r.t, r.lake.Dir(), trees...)
	for path, sum := range want {
		if there[path].SHA256 != sum {
			r.t.Errorf("%s is delivered with digest %q, the lake has %s", path, there[path].SHA256, sum)
		}
	}
	if len(want) != len(there) {
		r.t.Errorf("%d files are delivered, the lake has %d", len(there), len(want))
	}
	return m
}

// deltaFiles replays the Delta log: which files a reader would read, and how many rows they have.
func deltaFiles(t testing.TB, dir string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	names, err := filepath.Glob(filepath.Join(dir, "_delta_log", "*.json"))
	must(t, err)
	for i, name := range names {
		if filepath.Base(name) != fmt.Sprintf("%020d.json", i) {
			t.Fatalf("version %d of the log is %s", i, filepath.Base(name))
		}
		f, err := os.Open(name)
		must(t, err)
		lines := json.NewDecoder(f)
		for {
			var a struct {
				Add *struct {
					Path  string `json:"path"`
					Stats string `json:"stats"`
				} `json:"add"`
				Remove *struct {
					Path string `json:"path"`
				} `json:"remove"`
			}
			err := lines.Decode(&a)
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			switch {
			case a.Add != nil:
				if _, ok := out[a.Add.Path]; ok {
					t.Errorf("version %d adds %s, which is there", i, a.Add.Path)
				}
				var stats struct {
					N int64 `json:"numRecords"`
				}
				must(t, json.Unmarshal([]byte(a.Add.Stats), &stats))
				out[a.Add.Path] = stats.N
			case a.Remove != nil:
				if _, ok := out[a.Remove.Path]; !ok {
					t.Errorf("version %d removes %s, which isn't there", i, a.Remove.Path)
				}
				delete(out, a.Remove.Path)
			}
		}
		must(t, f.Close())
	}
	return out
}

// tableIs holds the Delta log against the manifest.
func (r *rig) tableIs() {
	r.t.Helper()
	there, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(r.t, err)
	table := deltaFiles(r.t, r.dir)
	n := 0
	for _, f := range there {
		if !strings.HasPrefix(f.Path, "usage/") || *f.Rows == 0 {
			continue
		}
		n++
		if rows, ok := table[f.Key]; !ok || rows != *f.Rows {
			r.t.Errorf("the table has %d rows of %s (%s), the manifest %d", rows, f.Key, f.Path, *f.Rows)
		}
	}
	if n != len(table) {
		r.t.Errorf("the table has %d files, the manifest %d with rows", len(table), n)
	}
}

// chance breaks a share of the requests.
func chance(seed uint64, share float64) func(op, key string) fault {
	rnd := rand.New(rand.NewPCG(seed, 1))
	return func(op, key string) fault {
		switch v := rnd.Float64(); {
		case v < share:
			return broken
		case v < 2*share:
			return lost
		}
		return sound
	}
}
