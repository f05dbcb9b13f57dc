package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/bucket/storetest"
)

// TestTheDemoIsDeliveredToEachStore: one command each, and the lake that is lost comes back from each with the same
// answers. No credential stands anywhere.
func TestTheDemoIsDeliveredToEachStore(t *testing.T) {
	lake := filepath.Join(t.TempDir(), "usagelake-demo")
	usagelake := func(t *testing.T, env map[string]string, args ...string) string {
		t.Helper()
		var out, log bytes.Buffer
		code := run(context.Background(), args, streams{Stdout: &out, Stderr: &log, Now: time.Now,
			Getenv: func(name string) string { return env[name] }})
		if code != exitDone {
			t.Fatalf("usagelake %q: exit %d\n%s%s", args, code, &out, &log)
		}
		return out.String() + log.String()
	}
	usagelake(t, nil, "demo", "--lake", lake)
	const sum = `SELECT (SELECT count(*) FROM usage), (SELECT sum(amount) FROM usage), (SELECT sum(net_cost)
		FROM chargeback_monthly)`
	want := usagelake(t, nil, "query", "--lake", lake, sum)
	for _, name := range slices.Sorted(maps.Keys(storetest.All())) {
		t.Run(name, func(t *testing.T) {
			store := storetest.All()[name](t)
			place := []string{store.URL}
			if store.Options.Endpoint != "" {
				place = append(place, "--endpoint", store.Options.Endpoint)
			}
			told := usagelake(t, store.Env, slices.Concat([]string{"deliver", "--lake", lake, "--what", "raw,finance",
				"--tables", "delta,iceberg", "--to"}, place)...)
			if !strings.Contains(told, "delivered") || !strings.Contains(told, "manifest 1: ") ||
				!strings.Contains(told, "Delta table") || !strings.Contains(told, "Iceberg table") {
				t.Errorf("it said\n%s", told)
			}
			told += usagelake(t, store.Env, slices.Concat([]string{"deliver", "--lake", lake, "--what", "raw,finance",
				"--verify", "--deep", "--output", "json", "--to"}, place)...)
			if !strings.Contains(told, `"found": []`) {
				t.Errorf("it said\n%s", told)
			}
			told += usagelake(t, nil, "status", "--lake", lake)
			if !strings.Contains(told, "manifest 1, ") {
				t.Errorf("status doesn't tell:\n%s", told)
			}
			back := filepath.Join(t.TempDir(), "back")
			told += usagelake(t, store.Env, slices.Concat([]string{"restore", "--lake", back, "--from"}, place)...)
			if got := usagelake(t, nil, "query", "--lake", back, "SELECT (SELECT count(*) FROM usage), "+
				"(SELECT sum(amount) FROM usage)"); !strings.Contains(want, strings.Fields(strings.Split(got, "\n")[2])[1]) {
				t.Errorf("the restored lake has\n%swant\n%s", got, want)
			}
			told += usagelake(t, nil, "verify", "--lake", back)
			for _, secret := range store.Secrets {
				if strings.Contains(told, secret) {
					t.Errorf("a secret was shown:\n%s", told)
				}
				noSecret(t, lake, secret)
				noSecret(t, back, secret)
			}
		})
	}
}

// noSecret finds a secret in the files of a directory.
func noSecret(t *testing.T, dir, secret string) {
	t.Helper()
	for _, f := range find(t, dir) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s holds a secret", f)
		}
	}
}

func find(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWrongDeliveriesAreRefused: before anything is written, with what to do.
func TestWrongDeliveriesAreRefused(t *testing.T) {
	lake := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"deliver"}, "nothing says where to deliver to"},
		{[]string{"deliver", "warehouse"}, "no deliveries"},
		{[]string{"deliver", "--to", "ftp://x/y"}, "ftp"},
		{[]string{"deliver", "--to", "s3://key:secret@x/y"}, "hint"},
		{[]string{"deliver", "--to", "file:///x", "--what", "everything"}, "everything"},
		{[]string{"deliver", "--to", "file:///x", "--tables", "hudi"}, "hudi"},
		{[]string{"deliver", "--what", "usage"}, "go with --to"},
		{[]string{"deliver", "--to", "file:///x", "--keep", "1s"}, "keep"},
		{[]string{"deliver", "--to", "file:///x", "--deep"}, "--verify"},
		{[]string{"restore"}, "--from"},
		{[]string{"restore", "--from", "nowhere"}, "nowhere"},
	} {
		var out, log bytes.Buffer
		code := run(context.Background(), append(c.args, "--lake", lake, "--output", "json"),
			streams{Stdout: &out, Stderr: &log, Now: time.Now, Getenv: func(string) string { return "" }})
		if code != exitUsage || !strings.Contains(log.String(), c.want) && !strings.Contains(c.want, "hint") {
			t.Errorf("usagelake %q: exit %d, %s", c.args, code, &log)
		}
		if strings.Contains(log.String(), "secret@") {
			t.Errorf("a password was shown: %s", &log)
		}
		var doc map[string]any
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc["exit_code"] != float64(exitUsage) {
			t.Errorf("usagelake %q printed %s", c.args, &out)
		}
	}
	if len(find(t, lake)) > 0 {
		t.Errorf("something was written: %q", find(t, lake))
	}
}
