package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket/storetest"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/schemas"
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

// TestADeliveryIsOneDocument: with --output json, whatever it comes to, a command of deliveries prints exactly one
// document, with status, error and exit code, and what became of each target. Of several targets each is done for
// itself, and the exit code tells whether all of them failed.
func TestADeliveryIsOneDocument(t *testing.T) {
	dir := t.TempDir()
	place := func(name string) string { return "file://" + filepath.Join(dir, name) }
	l, err := load.Create(filepath.Join(dir, "lake"), load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := loadtest.NewWriter(t, l)
	day := func(account, date string, rows int) schemas.Partition {
		d, err := schemas.ParseDate(date)
		if err != nil {
			t.Fatal(err)
		}
		p := schemas.Partition{Account: account, Date: d}
		if rows > 0 {
			w.RandomDay(p, rows, int64(rows))
		}
		return p
	}
	day("acme", "2026-10-30", 5)
	day("acme", "2026-11-01", 6)
	day("globex", "2026-11-01", 7)
	s3 := storetest.All()["s3"](t)
	wrong := maps.Clone(s3.Env)
	wrong["AWS_SECRET_ACCESS_KEY"] = "not the one"
	config := fmt.Sprintf(`lake: %s
accounts:
  - {name: acme, key_env: USAGELAKE_API_KEY}
deliver:
  - {name: one, to: "%s", tables: [delta, iceberg]}
  - {name: two, to: "%s"}
  - {name: lost, to: "file:///nowhere/at/all"}
  - {name: away, to: "file:///nowhere/else/at/all"}
  - {name: refused, to: "%s", endpoint: "%s"}
`, l.Dir(), place("one"), place("two"), s3.URL, s3.Options.Endpoint)
	file := filepath.Join(dir, "usagelake.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	remove := func(dir string) func() {
		return func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		args   string
		before func()
		code   int
		status string
		told   string // in the error or a hint; "" of none
		list   string // the document's list, and how many there are
		n      int
	}{
		{"deliver one two --dry-run", nil, exitDone, "done", "", "plans", 2},
		{"deliver one lost --dry-run", nil, exitPartial, "partial", "there is no such bucket", "plans", 1},
		{"deliver lost away --dry-run", nil, exitFailed, "failed", "there is no such bucket", "plans", 0},
		{"deliver one --verify", nil, exitFailed, "failed", "nothing is delivered there", "verified", 0},
		{"deliver one two --drop acme", nil, exitUsage, "failed", "nothing of any account is delivered", "deliveries", 0},
		{"deliver one lost two", nil, exitPartial, "partial", "lost (file:///nowhere/at/all)", "deliveries", 3},
		{"deliver lost away", nil, exitFailed, "failed", "away (file:///nowhere/else/at/all)", "deliveries", 2},
		{"deliver lost", nil, exitFailed, "failed", "there is no such bucket", "deliveries", 1},
		{"deliver refused", nil, exitFailed, "failed", "SignatureDoesNotMatch", "deliveries", 1},
		{"deliver one", nil, exitDone, "done", "", "deliveries", 1},
		{"deliver one two --verify", nil, exitDone, "done", "", "verified", 2},
		{"deliver one lost --verify", nil, exitPartial, "partial", "there is no such bucket", "verified", 1},
		{"deliver one --verify --adopt", nil, exitUsage, "failed", "--verify writes nothing into the lake", "accounts", 0},
		{"deliver nobody", nil, exitUsage, "failed", "no delivery \"nobody\"", "accounts", 0},
		{"restore --from " + place("two") + " --lake " + filepath.Join(dir, "back"), nil, exitFailed, "failed",
			"no raw archive", "", 0},
		{"restore --from file:///nowhere/at/all --lake " + filepath.Join(dir, "back"), nil, exitFailed, "failed",
			"no such bucket", "", 0},

		// What is given up is what somebody named, and what is there.
		{"deliver one two --drop acmee", nil, exitUsage, "failed", "did you mean acme?", "deliveries", 0},
		{"deliver one two --drop acmee", nil, exitUsage, "failed", "but of acme, globex", "deliveries", 0},
		{"deliver one --drop acme,acmee --dry-run", nil, exitUsage, "failed", "but of acme, globex", "plans", 0},
		{"deliver one --drop acme/2026-10-31", nil, exitUsage, "failed", "days from 2026-10 to 2026-11", "deliveries", 0},
		{"deliver one --drop acme/2026-10-31/2026-11-01", nil, exitUsage, "failed", "none is delivered", "deliveries", 0},
		{"deliver one --drop acme/2026-11-02/2026-11-02", nil, exitUsage, "failed", "and is excluded", "accounts", 0},
		{"deliver one --drop acme/soon", nil, exitUsage, "failed", "soon", "accounts", 0},
		{"deliver one --drop acme/2026-11-01", nil, exitDone, "done", "", "deliveries", 1}, // the lake has it: it stays

		{"deliver two --verify", remove(filepath.Join(dir, "two", "data", "usage", "globex")), exitFailed, "failed",
			"1 object is not as delivered", "verified", 1},
		{"deliver lost two --verify", nil, exitFailed, "failed", "no such bucket", "verified", 1},
		{"deliver lost two --verify --repair", nil, exitPartial, "partial", "no such bucket", "verified", 1},
		{"deliver two --verify", nil, exitDone, "done", "", "verified", 1},
	} {
		if c.before != nil {
			c.before()
		}
		var out, log bytes.Buffer
		code := run(context.Background(), append(strings.Fields(c.args), "--config", file, "--output", "json"),
			streams{Stdout: &out, Stderr: &log, Now: time.Now, Getenv: func(name string) string { return wrong[name] }})
		doc := decodeOne(t, &out)
		if code != c.code || doc["exit_code"] != float64(c.code) || doc["status"] != c.status {
			t.Errorf("usagelake %s: exit %d, its document %v, want %d and %s\n%s", c.args, code, doc, c.code, c.status, &log)
		}
		if text := fmt.Sprint(doc["error"], doc["hints"]); c.told == "" && doc["error"] != nil ||
			!strings.Contains(text, c.told) || c.told != "" && !strings.Contains(log.String(), c.told) {
			t.Errorf("usagelake %s: it says %q, want %q\n%s", c.args, text, c.told, &log)
		}
		if c.list == "" {
			continue
		}
		list, ok := doc[c.list].([]any)
		if !ok || len(list) != c.n {
			t.Errorf("usagelake %s: %s are %v, want %d", c.args, c.list, doc[c.list], c.n)
		}
		for _, e := range list {
			e := e.(map[string]any)
			if c.list == "deliveries" && (e["error"] != nil) != (e["name"] != "one" && e["name"] != "two") {
				t.Errorf("usagelake %s: %v", c.args, e)
			}
		}
	}
}

// decodeOne reads the one document that a command printed.
func decodeOne(t *testing.T, out *bytes.Buffer) map[string]any {
	t.Helper()
	text := out.String()
	var doc map[string]any
	d := json.NewDecoder(out)
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Fatalf("more than one document: %s", text)
	}
	return doc
}

// TestAStoppedDeliverySaysSo in its document, with the exit code of the signal.
func TestAStoppedDeliverySaysSo(t *testing.T) {
	dir := t.TempDir()
	l, err := load.Create(filepath.Join(dir, "lake"), load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loadtest.NewWriter(t, l).RandomDay(schemas.Partition{Account: "acme", Date: 20000}, 5, 1)
	for _, args := range [][]string{{"deliver"}, {"deliver", "--dry-run"}, {"deliver", "--verify"}, {"restore"}} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(&signalError{syscall.SIGTERM})
		var out, log bytes.Buffer
		to := "--to"
		if args[0] == "restore" {
			to = "--from"
		}
		code := run(ctx, append(args, to, "file://"+filepath.Join(dir, "bucket"), "--lake", l.Dir(), "--output", "json"),
			streams{Stdout: &out, Stderr: &log, Now: time.Now, Getenv: func(string) string { return "" }})
		if doc := decodeOne(t, &out); code != exitTerm || doc["exit_code"] != float64(exitTerm) ||
			doc["status"] != "stopped" {
			t.Errorf("usagelake %q: exit %d, %v", args, code, doc)
		}
	}
}
