// Bench measures usagelake against other ways of doing the same work, on the machine it runs on, and writes the tables
// of docs/performance.md. It lives in a module of its own, so that what it compares with is no dependency of the
// program.
//
//	bench -usagelake ../bin/usagelake            every part, in some 15 minutes
//	bench -usagelake ../bin/usagelake -full      at ten times the size
//	bench -only parquet,publish …                   some parts
//	bench -docs ../docs/performance.md           the last run's tables into the document, without a new run
//
// What is measured runs in a process of its own (this program again, as `bench child NAME`), whose CPU is read from the
// kernel's accounting and whose memory is its VmHWM. Ways that are compared take turns.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// children are the measured runs, by name.
var children = map[string]func(context.Context, []string, *answer) error{
	"generate": childGenerate, "pages": childPages, "duckdb": childDuckDB, "peer": childPeer, "exact": childExact,
	"compare": childCompare,
	"rebuild": childRebuild, "export": childExport, "change": childChange, "deliver": childDeliver,
	"scale":  childScale,
	"nights": childNights, "settled": childSettled,
	"serve": childServe, "accounts": childAccounts, "queries": childQueries, "month": childMonth, "page": childPage,
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		if err := runChild(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench child:", err)
			os.Exit(1)
		}
		return
	}
	if err := measureAll(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func runChild(name string, args []string) error {
	do := children[name]
	if do == nil {
		return fmt.Errorf("%w %q", errChild, name)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	out := newAnswer()
	if name := os.Getenv("BENCH_CPUPROFILE"); name != "" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	if err := do(ctx, args, out); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if name != "serve" && name != "accounts" {
		out.print()
	}
	return nil
}

// print ends a measured run: its figures, and the profiles that were asked for.
func (a *answer) print() {
	pprof.StopCPUProfile()
	if name := os.Getenv("BENCH_ALLOCPROFILE"); name != "" {
		if f, err := os.Create(name); err == nil {
			_ = pprof.Lookup("allocs").WriteTo(f, 0)
			_ = f.Close()
		}
	}
	a.V["peak"] = max(peak(), a.V["derive.peak"], a.V["publish.peak"])
	_ = json.NewEncoder(os.Stdout).Encode(a)
}

// bench is a run of some parts.
type bench struct {
	ctx       context.Context
	dir       string // of lakes and pages
	self      string // this program
	usagelake string // the measured one
	empty     string // the one that does nothing
	module    string // the directory of this module, for go test
	env       []string
	size      sizes
	began     time.Time
}

// sizes of a run.
type sizes struct {
	name       string
	turns      int
	records    []int // exported and rebuilt, growing
	compared   int   // records from pages to Parquet
	peers      int   // the same, with the other libraries
	year       int   // records of the lake of a year
	yearDays   int   // which has so many days
	nights     int
	perNight   int
	pacingDays int
	accounts   int
	watch      time.Duration
	limit      time.Duration // of the whole run
	starts     int
	closed     int // records of the month that is closed
	month      int // records of the month that finance's page is asked for
	delivered  int // day files of the lake that is delivered
}

var (
	quick = sizes{name: "quick", turns: 5, records: []int{100_000, 1_000_000}, compared: 1_000_000, peers: 200_000,
		year: 3_000_000, yearDays: 365,
		nights: 365, perNight: 1_000, pacingDays: 30, accounts: 1000, watch: 60 * time.Second, limit: 30 * time.Minute,
		starts: 20, closed: 100_000, delivered: 10_000, month: 3_000_000}
	full = sizes{name: "full", turns: 5, records: []int{100_000, 1_000_000, 10_000_000}, compared: 10_000_000,
		peers: 1_000_000, year: 30_000_000, yearDays: 365,
		nights: 365, perNight: 8_000, pacingDays: 120, accounts: 1000, watch: 5 * time.Minute, limit: 6 * time.Hour,
		starts: 50, closed: 1_000_000, delivered: 100_000, month: 3_000_000}
	tiny = sizes{name: "tiny", turns: 1, records: []int{2_000}, compared: 5_000, peers: 5_000, year: 5_000, yearDays: 20,
		nights: 3, perNight: 50, pacingDays: 1, accounts: 20, watch: 2 * time.Second, limit: 10 * time.Minute, starts: 2,
		closed: 4_000, delivered: 50, month: 5_000}
)

func measureAll(args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	program := fs.String("usagelake", "../bin/usagelake", "the program to measure")
	dir := fs.String("dir", "", "where lakes and results are kept (default bench beside the program)")
	only := fs.String("only", "", "these parts alone, joined by commas")
	isFull := fs.Bool("full", false, "at ten times the size")
	isTiny := fs.Bool("tiny", false, "at a size that only shows that it works")
	docs := fs.String("docs", "",
		"write the tables of the last run between the marks of this document, and measure nothing")
	keep := fs.Bool("keep", false, "use lakes that are there already, and leave them")
	if err := fs.Parse(args); err != nil {
		return err
	}
	b := &bench{env: os.Environ(), size: quick, dir: *dir, began: time.Now()}
	switch {
	case *isFull:
		b.size = full
	case *isTiny:
		b.size = tiny
	}
	var err error
	if b.usagelake, err = filepath.Abs(*program); err != nil {
		return err
	}
	if b.dir == "" {
		b.dir = filepath.Join(filepath.Dir(b.usagelake), "bench")
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	results := filepath.Join(b.dir, "report-"+b.size.name+".json")
	if *docs != "" {
		return writeDocs(*docs, results)
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.module, err = os.Getwd(); err != nil {
		return err
	}
	b.empty = filepath.Join(filepath.Dir(b.self), "bench-empty")
	ctx, cancel := background(b.size.limit)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	b.ctx = ctx
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	if !*keep {
		defer b.sweep()
	}
	r, err := b.machine()
	if err != nil {
		return err
	}
	if *only != "" {
		if err := r.goOn(results); err != nil {
			return err
		}
	}
	wanted := strings.FieldsFunc(*only, func(c rune) bool { return c == ',' })
	for _, p := range parts {
		if len(wanted) > 0 && !slices.Contains(wanted, p.name) {
			continue
		}
		b.say("── %s", p.title)
		start := time.Now()
		s := section{Name: p.name, Title: p.title}
		if err := p.run(b, &s); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		s.Seconds = time.Since(start).Seconds()
		fmt.Println(s.markdown(b.size.name))
		r.put(s)
		if err := r.save(results); err != nil { // after each part, so that a run that is stopped leaves what it had
			return err
		}
	}
	fmt.Println(r.verdicts())
	b.say("%s: %s; into the document: make bench-docs", b.size.name, results)
	return nil
}

// part is a comparison.
type part struct {
	name, title string
	run         func(*bench, *section) error
}

var parts = []part{
	{"start", "Start-up", (*bench).starting},
	{"pacing", "The Portal's limit", (*bench).pacing},
	{"parquet", "Raw archive to Parquet", (*bench).parquet},
	{"memory", "Memory", (*bench).memory},
	{"publish", "Publishing", (*bench).publishing},
	{"books", "Publishing by other books", (*bench).booking},
	{"close", "Closing a month", (*bench).closing},
	{"deliver", "Delivering many files", (*bench).delivering},
	{"scale", "Many accounts, a year, delivered", (*bench).scaling},
	{"queries", "Questions", (*bench).queries},
	{"page", "Finance's page", (*bench).paging},
	{"accounts", "A thousand accounts at once", (*bench).thousand},
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// fresh is a directory that doesn't exist yet.
func (b *bench) fresh(name string) string {
	dir := filepath.Join(b.dir, "tmp-"+name)
	_ = os.RemoveAll(dir)
	return dir
}

// sweep removes what was generated, and leaves the reports.
func (b *bench) sweep() {
	for _, pattern := range []string{"tmp-*", "lake-*", "pages-*"} {
		found, _ := filepath.Glob(filepath.Join(b.dir, pattern))
		for _, f := range found {
			_ = os.RemoveAll(f)
		}
	}
}
