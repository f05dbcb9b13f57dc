package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/deliver/delivertest"
)

// killedDelivery is a lake that is delivered to a directory by processes that are killed, while somebody reads there.
type killedDelivery struct {
	*crashWorld
	place string
	days  []string // paths of the day files
	kinds [][]byte // contents that they take
	rnd   *rand.Rand
}

// change gives some days other contents, as a run does: by one rename each.
func (w *killedDelivery) change() {
	w.t.Helper()
	for range 1 + w.rnd.IntN(3) {
		day := w.days[w.rnd.IntN(len(w.days))]
		temp := filepath.Join(w.lake(), ".tmp", "change")
		if err := os.WriteFile(temp, w.kinds[w.rnd.IntN(len(w.kinds))], 0o600); err != nil {
			w.t.Fatal(err)
		}
		if err := os.Rename(temp, day); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *killedDelivery) args() []string {
	return []string{"deliver", "--to", "file://" + w.place, "--what", "usage", "--tables", "delta,iceberg"}
}

// delivered lets a delivery through, and holds what is there against the lake.
func (w *killedDelivery) delivered(what string) {
	w.t.Helper()
	if out, err := w.command(context.Background(), "", w.args()...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: the next delivery: %v\n%s", what, err, out)
	}
	there, _, err := delivertest.ReadAll(w.place, "manifest.json")
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	if len(there) != len(w.days) {
		w.t.Errorf("%s: %d files are delivered, the lake has %d", what, len(there), len(w.days))
	}
	for _, day := range w.days {
		b, err := os.ReadFile(day)
		if err != nil {
			w.t.Fatal(err)
		}
		rel, _ := filepath.Rel(w.lake(), day)
		object, err := os.ReadFile(filepath.Join(w.place, there[filepath.ToSlash(rel)].Key))
		if err != nil || !bytes.Equal(b, object) {
			w.t.Errorf("%s: %s is not what is delivered: %v", what, rel, err)
		}
	}
}

// TestADeliveryThatIsKilledMixesNothing: real processes are killed at write steps and at random moments; a reader sees
// whole manifests alone, and the next delivery is the lake, in the manifest and the Delta log, with nothing left over.
func TestADeliveryThatIsKilledMixesNothing(t *testing.T) {
	w := &killedDelivery{crashWorld: newCrashWorld(t, crashKinds[0]), rnd: rand.New(rand.NewPCG(3, 4))}
	w.place = filepath.Join(w.dir, "bucket")
	if out, err := w.command(context.Background(), "", w.exportArgs()...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var err error
	if w.days, err = filepath.Glob(filepath.Join(w.lake(), "usage", "*", "*", "usage.parquet")); err != nil {
		t.Fatal(err)
	}
	for _, day := range w.days {
		b, err := os.ReadFile(day)
		if err != nil {
			t.Fatal(err)
		}
		w.kinds = append(w.kinds, b)
	}
	began := time.Now()
	w.delivered("the first")
	took := time.Since(began)

	done := make(chan struct{})
	var readers sync.WaitGroup
	var looks int
	readers.Go(func() {
		for {
			if _, _, err := delivertest.ReadAll(w.place, "manifest.json"); err != nil {
				t.Errorf("a reader: %v", err)
				return
			}
			looks++
			select {
			case <-done:
				return
			default:
			}
		}
	})

	// The steps of a delivery that changes something.
	w.change()
	steps := filepath.Join(w.dir, "steps")
	if out, err := w.command(context.Background(), envSteps+"="+steps, w.args()...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(steps)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		n++
	}
	at := make([]int, n)
	for i := range at {
		at[i] = i + 1
	}
	if *killSteps > 0 && *killSteps < n {
		w.rnd.Shuffle(n, func(i, j int) { at[i], at[j] = at[j], at[i] })
		at = at[:*killSteps]
	}
	kills := 0
	for _, step := range at {
		for _, when := range []string{"before", "after"} {
			w.change()
			kill := fmt.Sprintf("%s=%d %s", envKill, step, when)
			out, err := w.command(context.Background(), kill, w.args()...).CombinedOutput()
			if err == nil { // it had fewer steps this time
				continue
			}
			if !strings.Contains(err.Error(), "killed") {
				t.Fatalf("killed %s step %d: %v\n%s", when, step, err, out)
			}
			kills++
			if kills%3 == 0 {
				w.delivered(fmt.Sprintf("killed %s step %d of %d", when, step, n))
			}
		}
	}
	for range *killTimes {
		w.change()
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(w.rnd.Int64N(int64(took))))
		_ = w.command(ctx, "", w.args()...).Run() // killed when its time is over
		cancel()
		kills++
	}
	w.delivered("at the end")
	close(done)
	readers.Wait()
	out, err := w.command(context.Background(), "", slices.Concat(w.args()[:5], []string{"--verify", "--deep"})...).
		CombinedOutput()
	if err != nil || !strings.Contains(string(out), "everything is there as it was sent") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	t.Logf("%d kills, %d looks of a reader", kills, looks)
}
