package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usagelake/usagelake/load/deliver"
)

func both(t *deliver.Target) { t.Iceberg = true }

// tables are what a dry run says of the tables, such as "delta new_version 3".
func (r *rig) tables(change func(*deliver.Target)) (string, error) {
	r.t.Helper()
	target := r.target()
	change(&target)
	r.b.reset()
	p, err := deliver.DryRun(context.Background(), r.lake, target, r.opts)
	if p == nil {
		r.t.Fatal(err)
	}
	for _, q := range r.b.requests {
		if !strings.HasPrefix(q, "get ") && !strings.HasPrefix(q, "list ") {
			r.t.Errorf("a dry run did %s", q)
		}
	}
	var out []string
	for _, t := range p.Tables {
		s := t.Table + " " + t.Does
		if t.Version != nil {
			s += fmt.Sprintf(" %d", *t.Version)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", "), err
}

// TestADryRunTellsOfTheTables: what it says of them is what the delivery after it makes of them.
func TestADryRunTellsOfTheTables(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	change := func(seed int64) { r.w.RandomDay(day("acme", 1), 10, seed) }
	brokenOff := func(at string) {
		r.b.fault = func(op, key string) fault {
			if op == "put" && strings.Contains(key, at) {
				return broken
			}
			return sound
		}
		if _, err := r.deliver(both); !errors.Is(err, errBroken) {
			t.Errorf("a delivery whose %s can't be put: %v", at, err)
		}
		r.b.fault = nil
	}
	for _, c := range []struct {
		what   string
		before func()
		want   string
		then   [2]int64 // the versions of both tables after the delivery
	}{
		{"nothing is there", func() {}, "delta begun, iceberg begun", [2]int64{0, 1}},
		{"nothing changed", func() {}, "delta unchanged 0, iceberg unchanged 1", [2]int64{0, 1}},
		{"a day", func() { change(2) }, "delta new_version 0, iceberg new_version 1", [2]int64{1, 2}},
		{"a day that is given up", func() {
			must(t, os.RemoveAll(r.lake.Partition("usage", day("acme", 1))))
			r.opts.Drop = []deliver.Drop{{Account: "acme"}}
		}, "delta new_version 1, iceberg new_version 2", [2]int64{2, 3}},
		{"its log was left out", func() { r.opts.Drop = nil; change(3); brokenOff("_delta_log/") },
			"delta made_up 2, iceberg unchanged 4", [2]int64{3, 4}},
		{"its version was left out", func() { change(4); brokenOff(".metadata.json") },
			"delta unchanged 4, iceberg made_up 4", [2]int64{4, 5}},
		{"left out, and another day", func() { change(5); brokenOff(".metadata.json"); change(6) },
			"delta new_version 5, iceberg new_version 5", [2]int64{6, 6}},
		{"its hint was left out", func() { change(7); brokenOff("version-hint") },
			"delta unchanged 7, iceberg made_up 7", [2]int64{7, 7}},
		{"a day without rows", func() { r.w.RandomDay(day("acme", 9), 0, 1) },
			"delta unchanged 7, iceberg unchanged 7", [2]int64{7, 7}},
		{"a day that was written anew with the same content", func() {
			must(t, os.Chtimes(r.lake.UsagePath(day("acme", 0)), r.now, r.now))
		}, "delta new_version 7, iceberg new_version 7", [2]int64{7, 7}},
		{"its answer was lost, and the lake forgot", func() {
			change(8)
			brokenOff(".metadata.json")
			must(t, os.RemoveAll(r.lake.Path(deliver.Dir, "warehouse")))
			r.opts.Adopt = true
		}, "delta new_version 8, iceberg new_version 7", [2]int64{8, 8}},
		{"the folders are gone", func() {
			r.opts.Adopt = false
			must(t, errors.Join(os.RemoveAll(filepath.Join(r.dir, "_delta_log")),
				os.RemoveAll(filepath.Join(r.dir, "metadata"))))
			change(9)
		}, "delta made_anew, iceberg made_anew", [2]int64{0, 1}},
	} {
		c.before()
		got, err := r.tables(both)
		if err != nil || got != c.want {
			t.Errorf("%s: the plan says %q, %v, want %q", c.what, got, err, c.want)
		}
		rep := r.delivered(both)
		if then := [2]int64{*rep.Delta, *rep.Iceberg}; then != c.then {
			t.Errorf("%s: the delivery left versions %d, want %d", c.what, then, c.then)
		}
		r.tableIs()
	}
	// Only what is asked for, or there.
	r.now = r.now.AddDate(0, 0, 1)
	if got, err := r.tables(func(t *deliver.Target) { t.Delta = false }); err != nil ||
		got != "delta unchanged 0, iceberg unchanged 1" {
		t.Errorf("tables that nobody asks for: %q, %v", got, err)
	}
}

// TestADryRunTellsOfATableThatStops: with an error, and with the plan.
func TestADryRunTellsOfATableThatStops(t *testing.T) {
	r := newRig(t)
	r.w.RandomDay(day("acme", 0), 10, 1)
	r.delivered(nil)
	log := filepath.Join(r.dir, "_delta_log", "00000000000000000001.json")
	must(t, os.WriteFile(log, []byte(`{"remove":{"path":"data/usage/acme/x.parquet"}}`+"\n"), 0o600))
	r.w.RandomDay(day("acme", 0), 11, 2)
	got, err := r.tables(func(*deliver.Target) {})
	if !errors.Is(err, deliver.ErrTable) || got != "delta stopped" {
		t.Errorf("a log that another program wrote to: %q, %v", got, err)
	}
	if _, err := r.deliver(nil); !errors.Is(err, deliver.ErrTable) {
		t.Errorf("the delivery: %v", err)
	}
}

// TestADryRunRefusesAForeignPrefix as the delivery would.
func TestADryRunRefusesAForeignPrefix(t *testing.T) {
	r := newRig(t)
	must(t, os.MkdirAll(r.dir, 0o700))
	must(t, os.WriteFile(filepath.Join(r.dir, "thesis.docx"), []byte("x"), 0o600))
	if _, err := deliver.DryRun(context.Background(), r.lake, r.target(), r.opts); !errors.Is(err, deliver.ErrForeign) {
		t.Errorf("a prefix of somebody else: %v", err)
	}
}

// TestLooksWriteNothing: a dry run and a verification leave the lake as it is, with the times that files and folders
// had, and go on while a delivery holds the lock of deliveries.
func TestLooksWriteNothing(t *testing.T) {
	r := newRig(t)
	for n := range 3 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
	}
	state := func() (out []string) {
		must(t, filepath.WalkDir(r.lake.Dir(), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			out = append(out, fmt.Sprint(path, " ", info.Size(), " ", info.ModTime(), " ", info.Mode()))
			return err
		}))
		return out
	}
	look := func(what string) {
		t.Helper()
		before := state()
		target := r.target()
		both(&target)
		if _, err := deliver.DryRun(context.Background(), r.lake, target, r.opts); err != nil {
			t.Errorf("%s: a dry run: %v", what, err)
		}
		for _, deep := range []bool{false, true} {
			v, err := deliver.Verify(context.Background(), r.lake, target, r.opts, deep)
			if errors.Is(err, deliver.ErrNothing) && what == "never delivered" {
				continue
			}
			if err != nil || len(v.Found) > 0 {
				t.Errorf("%s: verify: %+v, %v", what, v, err)
			}
		}
		if after := state(); !slices.Equal(before, after) {
			t.Errorf("%s: the lake changed from\n%s\nto\n%s", what, strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	}
	look("never delivered")
	r.delivered(both)
	look("delivered")
	// What the lake remembers of the place can be lost, all but who the lake is.
	must(t, os.RemoveAll(r.lake.Path(deliver.Dir, "warehouse")))
	look("without a memory")
	r.delivered(both)
	unlock, err := r.lake.LockState(context.Background(), "deliver")
	must(t, err)
	look("beside a delivery")
	must(t, unlock())
	r.same("usage")
}

// TestAVerificationBesideADelivery: at each request of a delivery of the same lake it finds nothing wrong, and removes
// nothing that the delivery needs. What a delivery before it left is removed all the same.
func TestAVerificationBesideADelivery(t *testing.T) {
	r := newRig(t)
	for n := range 4 {
		r.w.RandomDay(day("acme", n), 10+n, int64(n))
	}
	r.delivered(both)
	target := r.target()
	both(&target)
	target.Bucket = r.b.Bucket
	looks := 0
	for round := range 4 {
		r.w.RandomDay(day("acme", round%3), 20, int64(100+round))
		r.w.RandomDay(day("acme", 4+round), 20, int64(200+round))
		r.b.fault = func(op, key string) fault {
			looks++
			v, err := deliver.Verify(context.Background(), r.lake, target, r.opts, round%2 == 1)
			if err != nil || len(v.Found) > 0 {
				t.Errorf("before %s %s: %+v, %v", op, key, v, err)
			}
			if round == 2 && op == "put" && strings.Contains(key, "snap-") { // the next one makes it up
				return broken
			}
			return sound
		}
		if _, err := r.deliver(both); (err != nil) != (round == 2) {
			t.Error(err)
		}
		r.b.fault = nil
	}
	if looks < 30 {
		t.Errorf("%d looks", looks)
	}
	v, err := deliver.Verify(context.Background(), r.lake, target, r.opts, true)
	if err != nil || len(v.Found) > 0 {
		t.Errorf("verify at the end: %+v, %v", v, err)
	}
	r.same("usage")
	r.tableIs()
	r.icebergIs()
}
