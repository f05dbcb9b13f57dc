package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
)

// TestADiskThatFailsLosesNothing makes each step that changes the disk fail, in every way a disk does, once before it
// is done and once after. The run says what happened; what was sealed is not asked for again; and on a mended disk the
// next run completes.
func TestADiskThatFailsLosesNothing(t *testing.T) {
	w := newCrashWorld(t, crashKinds[0])
	w.to = w.from.AddDate(0, 0, 2)
	n, net := w.portal.Total("0", w.from, w.to)
	w.want, w.net = int64(n), net

	runOn := func(fs durable.FS, args ...string) (int, string) {
		var stderr bytes.Buffer
		code := run(t.Context(), append(args, "--config", w.dir+"/usagelake.yaml", "--lake", w.lake()),
			streams{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &stderr,
				Getenv: func(name string) string {
					if name == "USAGELAKE_API_KEY" {
						return w.portal.Key("0")
					}
					return ""
				}, Now: time.Now, FS: fs})
		return code, stderr.String()
	}
	faults := []error{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EACCES, syscall.EMFILE, syscall.EXDEV}

	counting := &killing{FS: durable.System{}, steps: new(atomic.Int64)}
	if code, text := runOn(counting, w.exportArgs()...); code != exitDone {
		t.Fatal(text)
	}
	steps := int(counting.steps.Load())
	each := 1
	if *killSteps > 0 {
		each = max(1, steps/(2**killSteps))
	}
	failures, survived := 0, 0
	for at := 1; at <= steps; at += each {
		for _, after := range []bool{false, true} {
			if err := os.RemoveAll(w.lake()); err != nil {
				t.Fatal(err)
			}
			fault := faults[failures%len(faults)]
			failing := &killing{FS: durable.System{}, steps: new(atomic.Int64), at: int64(at), after: after, fault: fault}
			code, text := runOn(failing, w.exportArgs()...)
			what := fmt.Sprintf("step %d (%s), done %t: %v", at, failing.name, after, fault)
			failures++
			switch code {
			case exitFailed:
				if !strings.Contains(text, fault.Error()) {
					t.Errorf("%s: the run doesn't say so: %s", what, text)
				}
			case exitDone: // what failed was tidying up
				survived++
			default:
				t.Errorf("%s: exit %d: %s", what, code, text)
			}
			// What is sealed, by its directory entries, is not asked for again.
			sealed := int64(0)
			if l, err := publish.Open(w.lake(), publish.Options{}); err == nil {
				ps, err := l.Partitions("acme")
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range ps {
					source, err := l.Source(p)
					if err != nil {
						t.Fatal(err)
					}
					sealed += int64(len(source.Windows))
				}
			}
			w.portal.ResetStats()
			if code, text := runOn(nil, w.exportArgs()...); code != exitDone {
				t.Fatalf("%s: the next run: exit %d: %s", what, code, text)
			}
			if asked := w.portal.Stats().Requests; sealed == 2 && asked != 0 {
				t.Errorf("%s: both days were sealed, and the next run sent %d requests", what, asked)
			}
			w.compare(what)
			if code, text := runOn(nil, "verify"); code != exitDone {
				t.Fatalf("%s: verify: %s", what, text)
			}
		}
	}
	t.Logf("%d failures at %d of %d steps (%d of them harmless): nothing lost, nothing twice", failures,
		(steps+each-1)/each, steps, survived)
}
