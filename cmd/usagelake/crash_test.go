package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
)

// How many kills, of all kinds together; make crash raises both.
var (
	killSteps = flag.Int("crash.steps", 6, "write steps to kill at, each before and after it is done; 0 is every one")
	killTimes = flag.Int("crash.random", 6, "kills at random moments")
)

// ofKind is the part of so many kills that is each kind's.
func ofKind(all int) int { return max(1, all/len(crashKinds)) }

// killing counts the steps that change the disk and kills its own process at one of them, or makes it fail: before the
// step, or after it was done and before anybody hears of it.
type killing struct {
	durable.FS
	steps *atomic.Int64
	at    int64
	after bool
	log   string // steps are written there, if it isn't ""
	fault error  // what the step ends with; nil: the process is killed
	name  string // of the step at
}

// envKill is "STEP before" or "STEP after"; envSteps a file that lists the steps.
const (
	envKill  = "USAGELAKE_TEST_KILL"
	envSteps = "USAGELAKE_TEST_STEPS"
)

// killedMain is main on a disk that kills.
func killedMain() {
	k := &killing{FS: durable.System{}, steps: new(atomic.Int64), log: os.Getenv(envSteps)}
	if at, when, ok := strings.Cut(os.Getenv(envKill), " "); ok {
		k.at, _ = strconv.ParseInt(at, 10, 64)
		k.after = when == "after"
	}
	os.Exit(run(context.Background(), os.Args[1:], streams{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Now: time.Now, FS: k}))
}

func (k *killing) step(name string, do func() error) error {
	n := k.steps.Add(1)
	if k.log != "" {
		f, err := os.OpenFile(k.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintln(f, n, name)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			panic(err)
		}
	}
	if n == k.at {
		k.name = name
	}
	if n == k.at && !k.after {
		return k.hit()
	}
	err := do()
	if n == k.at {
		return k.hit()
	}
	return err
}

// hit is what happens at the step.
func (k *killing) hit() error {
	if k.fault == nil {
		die()
	}
	return k.fault
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (k *killing) CreateTemp(dir, pattern string) (f durable.File, err error) {
	err = k.step("create "+pattern, func() error { f, err = k.FS.CreateTemp(dir, pattern); return err })
	return k.file(f), err
}

func (k *killing) OpenAppend(name string) (f durable.File, err error) {
	err = k.step("append "+filepath.Base(name), func() error { f, err = k.FS.OpenAppend(name); return err })
	return k.file(f), err
}

func (k *killing) Rename(from, to string) error {
	return k.step("rename to "+filepath.Base(to), func() error { return k.FS.Rename(from, to) })
}

func (k *killing) Link(from, to string) error {
	return k.step("link "+filepath.Base(to), func() error { return k.FS.Link(from, to) })
}

func (k *killing) Remove(name string) error {
	return k.step("remove "+filepath.Base(name), func() error { return k.FS.Remove(name) })
}

func (k *killing) SyncDir(name string) error {
	return k.step("sync directory "+filepath.Base(name), func() error { return k.FS.SyncDir(name) })
}

func (k *killing) file(f durable.File) durable.File {
	if f == nil {
		return nil
	}
	return &killingFile{File: f, k: k}
}

type killingFile struct {
	durable.File
	k *killing
}

func (f *killingFile) Write(b []byte) (n int, err error) {
	err = f.k.step("write "+filepath.Base(f.Name()), func() error { n, err = f.File.Write(b); return err })
	return n, err
}

func (f *killingFile) Sync() error {
	return f.k.step("sync "+filepath.Base(f.Name()), f.File.Sync)
}

// crashWorld is a Portal and a lake that a process is killed on again and again.
type crashWorld struct {
	t        *testing.T
	portal   *portal.Portal
	dir      string
	env      []string
	from, to time.Time
	want     int64  // records
	net      string // their amount
	base     string // the lake that a run finds; "" is none
}

// crashKind is where records stand, and what the run that is killed finds.
type crashKind struct {
	name    string
	records string // publish.records
	refetch bool   // the lake is whole, and every day of it fetched anew and replaced
}

var crashKinds = []crashKind{{name: "records all", records: "all"}, {name: "records none", records: "none"},
	{"records none, fetched anew", "none", true}}

func newCrashWorld(t *testing.T, kind crashKind) *crashWorld {
	w := &crashWorld{t: t, dir: t.TempDir(), from: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		to: time.Date(2026, 11, 6, 0, 0, 0, 0, time.UTC)}
	var err error
	w.portal, err = portal.New(portal.Options{Seed: 5, Limit: portal.LimitOptions{Kind: portal.Off},
		Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 400}}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := portal.Listen("127.0.0.1:0", w.portal, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	n, net := w.portal.Total("0", w.from, w.to)
	w.want, w.net = int64(n), net
	config := fmt.Sprintf("lake: lake\naccounts:\n  - name: acme\n    base_url: %s\n    key_env: USAGELAKE_API_KEY\n    "+
		"rate: 900\npublish: {records: %s}\n", s.BaseURL(), kind.records)
	if err := os.WriteFile(filepath.Join(w.dir, "usagelake.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env = append(os.Environ(), "USAGELAKE_API_KEY="+w.portal.Key("0"))
	if kind.refetch {
		w.mend("the lake to begin with")
		w.base = filepath.Join(w.dir, "base")
		if err := os.Rename(w.lake(), w.base); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// begin puts the lake there that the run finds.
func (w *crashWorld) begin() {
	w.t.Helper()
	if err := os.RemoveAll(w.lake()); err != nil {
		w.t.Fatal(err)
	}
	if w.base == "" {
		return
	}
	if out, err := exec.Command("cp", "-a", w.base, w.lake()).CombinedOutput(); err != nil { // with its second names
		w.t.Fatalf("%v\n%s", err, out)
	}
}

// command is the real program, or with kill one that kills itself.
func (w *crashWorld) command(ctx context.Context, kill string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	c := exec.CommandContext(ctx, self, args...)
	c.Args[0] = "usagelake"
	if kill != "" {
		c.Args[0] = "usagelake-killed"
	}
	// testscript takes the program's name from the first argument.
	c.Dir = w.dir
	c.Env = append(w.env, kill)
	return c
}

func (w *crashWorld) lake() string { return filepath.Join(w.dir, "lake") }

func (w *crashWorld) exportArgs() []string {
	return []string{"export", "--quiet", "--from", w.from.Format(time.RFC3339), "--to", w.to.Format(time.RFC3339)}
}

// killedArgs are those of the run that is killed.
func (w *crashWorld) killedArgs() []string {
	if w.base == "" {
		return w.exportArgs()
	}
	return append(w.exportArgs(), "--refetch")
}

// look reads the lake as its readers do, and says how many records it saw in Parquet and DuckDB. Whatever a crash left,
// no file is torn, no record stands twice, and no day is lost.
func (w *crashWorld) look(db *sql.DB) (parquet, published int64, err error) {
	glob := filepath.Join(w.lake(), "usage", "**", "*.parquet")
	if files, _ := filepath.Glob(filepath.Join(w.lake(), "usage", "*", "*", "*.parquet")); len(files) > 0 {
		var distinct int64
		if err := db.QueryRow("SELECT count(*), count(DISTINCT id) FROM read_parquet('"+glob+"')").Scan(&parquet,
			&distinct); err != nil {
			return 0, 0, fmt.Errorf("read Parquet: %w", err)
		}
		if parquet != distinct {
			return 0, 0, fmt.Errorf("parquet holds %d records with %d ids", parquet, distinct)
		}
	}
	l, err := publish.Open(w.lake(), publish.Options{})
	if errors.Is(err, load.ErrNoLake) {
		return parquet, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	rows, err := query.Run(context.Background(), l,
		"SELECT count(*), count(DISTINCT id), (SELECT coalesce(sum(requests), 0)::BIGINT FROM usage_daily) FROM usage")
	if errors.Is(err, query.ErrNotPublished) {
		return parquet, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("open usage.duckdb: %w", err)
	}
	defer rows.Close()
	for v, err := range rows.All(context.Background()) {
		if err != nil {
			return 0, 0, fmt.Errorf("read usage.duckdb: %w", err)
		}
		if v[0].Text != v[1].Text || v[0].Text != v[2].Text {
			return 0, 0, fmt.Errorf("usage.duckdb holds %s records with %s ids, its rollup %s", v[0].Text, v[1].Text, v[2].Text)
		}
		published, err = strconv.ParseInt(v[0].Text, 10, 64)
		if err != nil {
			return 0, 0, err
		}
	}
	return parquet, published, nil
}

// readers look at the lake all the time until stop is called, which gives the number of looks and the first thing that
// should not have been seen.
func (w *crashWorld) readers() (stop func() (int, error)) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var looks int
	var first error
	wg.Go(func() {
		db, err := sql.Open("duckdb", "")
		if err != nil {
			first = err
			return
		}
		defer db.Close()
		var before [2]int64
		for {
			select {
			case <-done:
				return
			default:
			}
			parquet, published, err := w.look(db)
			switch {
			case err != nil:
			case parquet < before[0]:
				err = fmt.Errorf("parquet held %d records, now %d", before[0], parquet)
			case published < before[1]:
				err = fmt.Errorf("usage.duckdb held %d records, now %d", before[1], published)
			}
			if err != nil {
				first = err
				return
			}
			before = [2]int64{parquet, published}
			if parquet > 0 {
				looks++
			}
		}
	})
	return func() (int, error) {
		close(done)
		wg.Wait()
		return looks, first
	}
}

// mend runs the program as it is, and looks whether all is well.
func (w *crashWorld) mend(what string) {
	w.t.Helper()
	if out, err := w.command(context.Background(), "", w.exportArgs()...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: the next run: %v\n%s", what, err, out)
	}
	w.compare(what)
	if out, err := w.command(context.Background(), "", "verify").CombinedOutput(); err != nil {
		w.t.Fatalf("%s: verify: %v\n%s", what, err, out)
	}
}

// compare compares the lake with the truth.
func (w *crashWorld) compare(what string) {
	w.t.Helper()
	l, err := publish.Open(w.lake(), publish.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	rows, err := query.Run(context.Background(), l,
		fmt.Sprintf("SELECT count(*), count(DISTINCT id), sum(amount) = %s::DECIMAL(38,12), (SELECT sum(amount) FROM "+
			"usage_line_items) = sum(amount) FROM usage", w.net))
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	defer rows.Close()
	for v, err := range rows.All(context.Background()) {
		if err != nil {
			w.t.Fatal(err)
		}
		want := strconv.FormatInt(w.want, 10)
		if v[0].Text != want || v[1].Text != want || v[2].Text != "true" || v[3].Text != "true" {
			w.t.Fatalf("%s: %s records, %s ids, net as the truth %s, line items tie out %s; want %s", what, v[0].Text, v[1].Text,
				v[2].Text, v[3].Text, want)
		}
	}
}

// killed runs an export that is to be killed, and fails if it ended otherwise; it reports false if it ended by itself
// before the kill.
func (w *crashWorld) killed(c *exec.Cmd) bool {
	w.t.Helper()
	out, err := c.CombinedOutput()
	if err == nil {
		return false
	}
	if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		w.t.Fatalf("it ended with %v\n%s", err, out)
	}
	return true
}

func TestNothingIsLostOrDoubledWhateverStepIsKilled(t *testing.T) {
	for _, kind := range crashKinds {
		t.Run(kind.name, func(t *testing.T) { killAtSteps(t, newCrashWorld(t, kind)) })
	}
}

func killAtSteps(t *testing.T, w *crashWorld) {
	w.begin()
	// How many steps there are.
	steps := filepath.Join(w.dir, "steps")
	c := w.command(t.Context(), envSteps+"="+steps, w.killedArgs()...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(steps)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSpace(string(b)), "\n")
	each := 1
	if *killSteps > 0 {
		each = max(1, len(names)/ofKind(*killSteps))
	}
	w.mend("without a kill")
	kills := 0
	for n := 1; n <= len(names); n += each {
		for _, when := range []string{"before", "after"} {
			what := fmt.Sprintf("killed %s step %s", when, names[n-1])
			w.begin()
			if !w.killed(w.command(t.Context(), fmt.Sprintf("%s=%d %s", envKill, n, when), w.killedArgs()...)) {
				continue
			}
			kills++
			db, err := sql.Open("duckdb", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := w.look(db); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			_ = db.Close()
			w.mend(what)
		}
	}
	if kills == 0 {
		t.Fatal("nothing was killed")
	}
	t.Logf("%d kills at %d of %d steps: nothing lost, nothing twice", kills, (len(names)+each-1)/each, len(names))
}

func TestNothingIsLostOrDoubledWhenKilledAtRandom(t *testing.T) {
	for _, kind := range crashKinds {
		t.Run(kind.name, func(t *testing.T) { killAtRandom(t, newCrashWorld(t, kind)) })
	}
}

func killAtRandom(t *testing.T, w *crashWorld) {
	most := ofKind(*killTimes)
	w.portal.SetFaults(portal.Faults{Latency: 5 * time.Millisecond})
	kills, rounds, looks := 0, 0, 0
	r := rand.New(rand.NewPCG(1, uint64(most)))
	for kills < most {
		rounds++
		if rounds > 20*most {
			t.Fatalf("only %d kills in %d rounds", kills, rounds)
		}
		// A round is kills on one lake until a run gets through; a reader looks on.
		w.begin()
		stop := w.readers()
		for range 6 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+r.IntN(500))*time.Millisecond)
			through := !w.killed(w.command(ctx, "", w.killedArgs()...))
			cancel()
			if through || kills == most {
				break
			}
			kills++
		}
		w.mend(fmt.Sprintf("round %d", rounds))
		n, err := stop()
		if err != nil {
			t.Fatalf("round %d: a reader saw: %v", rounds, err)
		}
		looks += n
	}
	t.Logf("%d kills in %d rounds, %d looks of a reader meanwhile: nothing lost, nothing twice, nothing torn", kills,
		rounds, looks)
}
