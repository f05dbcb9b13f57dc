package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket/storetest"
	"github.com/usagelake/usagelake/load/deliver"
)

// TestStores: what is delivered to each real store, with changes, broken requests and lost answers in between, is the
// lake; a lake that is lost is restored from it, file for file.
func TestStores(t *testing.T) {
	contents := days(t)
	for _, name := range slices.Sorted(maps.Keys(storetest.All())) {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			store := storetest.All()[name](t)
			r := newRig(t)
			r.b = &watched{Bucket: store.Bucket(t)}
			raw := func(t *deliver.Target) { t.What, t.Iceberg = []string{deliver.WhatRaw}, true }
			rnd := rand.New(rand.NewPCG(1, 2))
			for round := range 12 {
				for range 3 {
					put(t, r.lake, day([]string{"acme", "0042"}[rnd.IntN(2)], rnd.IntN(5)), contents[rnd.IntN(len(contents))])
				}
				if r.b.fault = nil; round%3 != 0 {
					r.b.fault = chance(uint64(round), 0.1)
				}
				if _, err := r.deliver(raw); err != nil && !errors.Is(err, errBroken) {
					t.Fatal(err)
				}
			}
			r.b.fault = nil
			r.delivered(raw)
			target := r.target()
			raw(&target)
			for _, deep := range []bool{false, true} {
				v, err := deliver.Verify(ctx, r.lake, target, r.opts, deep)
				if err != nil || len(v.Found) > 0 {
					t.Fatalf("verify (deep: %t): %+v, %v", deep, v, err)
				}
			}
			put(t, r.lake, day("acme", 0), contents[5])
			if r.delivered(raw); len(r.b.requests) > 5+4 { // the day, the manifest, the tables
				t.Errorf("one changed day: %q", r.b.requests)
			}
			dir := filepath.Join(t.TempDir(), "restored")
			_, err := deliver.Restore(ctx, r.b, "", dir, false, nil)
			must(t, err)
			want, have := filesOf(t, r.lake.Dir(), "usage"), filesOf(t, dir, "usage")
			if fmt.Sprint(want) != fmt.Sprint(have) {
				t.Errorf("restored\n%v\nwant\n%v", have, want)
			}
			_, err = load.Open(dir, load.Options{})
			must(t, err)
		})
	}
}
