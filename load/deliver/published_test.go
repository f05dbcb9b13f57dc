package deliver_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/deliver/delivertest"
	"github.com/usagelake/usagelake/load/durable"
)

// between does something before files of a lake are looked at or opened.
type between struct {
	durable.FS
	before func(name string)
}

func (b *between) Open(name string) (durable.File, error) {
	b.before(name)
	return b.FS.Open(name)
}

func (b *between) Stat(name string) (fs.FileInfo, error) {
	b.before(name)
	return b.FS.Stat(name)
}

// publish makes another published file of a lake, as a publish does: first its marks.
func (r *rig) publish(content string) {
	r.t.Helper()
	draft := r.lake.Path(durable.TempDir, "draft")
	must(r.t, os.MkdirAll(filepath.Dir(draft), 0o700))
	must(r.t, os.WriteFile(draft, []byte(content), 0o600))
	f, err := os.Open(draft)
	must(r.t, err)
	mark, err := load.MarkOf(f)
	must(r.t, err)
	must(r.t, f.Close())
	must(r.t, r.lake.AddMark(load.PublishedMark{Mark: mark}))
	must(r.t, os.Rename(draft, r.lake.Path(load.DatabaseFile)))
}

// deliveredPair is the content of the published file that is delivered; it must be one that the marks beside it know.
func (r *rig) deliveredPair() string {
	r.t.Helper()
	there, _, err := delivertest.ReadAll(r.dir, "manifest.json")
	must(r.t, err)
	at := func(name string) string { return filepath.Join(r.dir, filepath.FromSlash(there[name].Key)) }
	f, err := os.Open(at(load.DatabaseFile))
	must(r.t, err)
	defer f.Close()
	mark, err := load.MarkOf(f)
	must(r.t, err)
	b, err := os.ReadFile(at(load.MarksFile))
	must(r.t, err)
	if _, ok := load.FindMark(load.ParseMarks(b), mark); !ok {
		r.t.Errorf("a published file is delivered that the published.json beside it doesn't know: %s", b)
	}
	content, err := os.ReadFile(f.Name())
	must(r.t, err)
	return string(content)
}

func published(t *deliver.Target) {
	t.What, t.Delta = []string{deliver.WhatPublished, deliver.WhatUsage}, false
}

// TestPublishedFilesFit: whatever publishes come between the looks at usage.duckdb and published.json, those that are
// delivered belong together, and the next delivery brings the last.
func TestPublishedFilesFit(t *testing.T) {
	r := newRig(t)
	fsys := &between{FS: r.lake.FS, before: func(string) {}}
	r.lake.FS = fsys
	r.w.RandomDay(day("acme", 0), 10, 1)
	n := 0
	next := func() string {
		n++
		content := fmt.Sprintf("%d %01000d", n, n)
		r.publish(content)
		return content
	}
	next()
	r.delivered(published)
	rnd := rand.New(rand.NewPCG(7, 7))
	for range 60 {
		if rnd.IntN(3) > 0 {
			next()
		}
		var publishing sync.Mutex
		fsys.before = func(name string) {
			if filepath.Base(name) != load.DatabaseFile {
				return
			}
			for range 100 { // whoever opens the other file beside this one goes first
				runtime.Gosched()
			}
			if publishing.TryLock() { // what a publish opens itself is let through
				defer publishing.Unlock()
				if rnd.IntN(2) == 0 {
					next()
				}
			}
		}
		r.delivered(published)
		fsys.before = func(string) {}
		r.deliveredPair()
	}
	want := next()
	if r.delivered(published); r.deliveredPair() != want {
		t.Error("the last publish isn't delivered")
	}
	if rep := r.delivered(published); rep.Changed {
		t.Errorf("nothing changed: %+v", rep)
	}
}

// TestAPublishedFileThatIsNone stays as it was delivered, with its marks, until it is mended; the rest is delivered.
func TestAPublishedFileThatIsNone(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.publish("one")
	r.delivered(published)
	must(t, os.WriteFile(r.lake.Path(load.DatabaseFile), []byte("one, and what somebody wrote"), 0o600))
	r.w.RandomDay(day("acme", 1), 10, 1)
	rep, err := r.deliver(published)
	if err == nil || !strings.Contains(err.Error(), "it is no file that published.json knows") ||
		!strings.Contains(err.Error(), "hint: usagelake verify --repair") || rep.Rows != 20 {
		t.Errorf("%+v, %v", rep, err)
	}
	if got := r.deliveredPair(); got != "one" {
		t.Errorf("delivered is %q", got)
	}
	r.publish("two")
	r.delivered(published)
	if got := r.deliveredPair(); got != "two" {
		t.Errorf("delivered is %q", got)
	}
	r.same("usage", load.DatabaseFile, load.MarksFile)
	// Where there are no marks there is nothing to hold it against.
	must(t, os.Remove(r.lake.Path(load.MarksFile)))
	must(t, os.WriteFile(r.lake.Path(load.DatabaseFile), []byte("three"), 0o600))
	r.delivered(published)
	r.same("usage", load.DatabaseFile)
}
