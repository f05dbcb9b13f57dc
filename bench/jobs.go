package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// environment is what the jobs of a child have of the world.
func environment(now func() time.Time, key string, t http.RoundTripper) jobs.Env {
	return jobs.Env{Now: now, Getenv: func(string) string { return key }, Logger: slog.New(slog.DiscardHandler),
		Version: "bench", Transport: t}
}

// setUp is the config of one account without a limit, that keeps its books as one of the kinds says.
func setUp(lake, base, books string) *config.Config {
	c := &config.Config{Lake: lake,
		Export:   config.DefaultExport(),
		Accounts: []config.Account{{Name: account, BaseURL: base, KeyEnv: "KEY", Rate: 1000}}}
	if rules := filepath.Join(lake+".finance", "allocation.yaml"); fileExists(rules) {
		c.Allocation.Rules = rules
		for _, model := range []string{"", "gpt-5", "claude-opus-4.1", "gemini-2.5-pro"} {
			c.Budgets = append(c.Budgets, config.Budget{Name: "budget " + model, Model: model, Amount: "10000",
				Currency: "USD"})
		}
	}
	keepBooks(c, books)
	return c
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// stages splits a job in what comes before the publishing and the publishing itself. Each has its own time, CPU, bytes
// written and most memory.
type stages struct {
	out     *answer
	name    string
	start   time.Time
	cpu     float64
	written float64
	alone   bool // end the process before the publishing
}

func (a *answer) stages() *stages {
	return &stages{out: a, name: "derive", start: time.Now(), cpu: cpuSeconds(), written: written()}
}

func (s *stages) phase(name string) {
	if name != "publish" {
		return
	}
	s.end()
	if s.alone {
		s.out.print()
		os.Exit(0)
	}
	resetPeak()
	*s = stages{out: s.out, name: "publish", start: time.Now(), cpu: cpuSeconds(), written: written()}
}

func (s *stages) end() {
	v := s.out.V
	v[s.name+".wall"] = time.Since(s.start).Seconds()
	v[s.name+".cpu"] = cpuSeconds() - s.cpu
	v[s.name+".written"] = written() - s.written
	v[s.name+".peak"] = peak()
}

// childRebuild is `usagelake rebuild`, by the books of a kind; with "derive" it ends where the publishing would begin.
func childRebuild(ctx context.Context, args []string, out *answer) error {
	s := out.stages()
	s.alone = args[1] == "derive"
	cfg := setUp(args[0], "", strings.Join(args[2:], ""))
	res, err := jobs.Rebuild(ctx, cfg, environment(time.Now, "", nil), jobs.RebuildOptions{Phase: s.phase})
	if err != nil {
		return err
	}
	s.end()
	out.V["records"], out.V["bytes"] = float64(res.Records), float64(res.Publish.Bytes)
	return nil
}

// childExport is `usagelake export` of the days before the clock's from a Portal at an address.
func childExport(ctx context.Context, args []string, out *answer) error {
	s := out.stages()
	cfg := setUp(args[0], args[1], "")
	span := jobs.Span{From: lastDay().AddDate(0, 0, -atoi(args[3])), To: lastDay()}
	res, err := jobs.Export(ctx, cfg, environment(func() time.Time { return clock }, args[2], nil),
		jobs.ExportOptions{Span: span, Phase: s.phase})
	if err != nil {
		return err
	}
	s.end()
	out.V["records"], out.V["requests"] = float64(res.Records), float64(res.Requests)
	return nil
}

// childChange fetches one day anew and publishes it, by the books of a kind: the lake is otherwise as it was.
// What is told is the publishing's.
func childChange(ctx context.Context, args []string, out *answer) error {
	t, err := readTruth(args[0])
	if err != nil {
		return err
	}
	now := func() time.Time { return clock }
	// The same records, some of them with other amounts: a day that comes back with others altogether is doubted.
	p, err := newPortal(t.Asked, t.Days, now, portal.Faults{Corrected: 0.01, CorrectedBy: time.Hour})
	if err != nil {
		return err
	}
	s := out.stages()
	day := lastDay().AddDate(0, 0, -t.Days/2)
	res, err := jobs.Export(ctx, setUp(args[0], "https://portal.test"+p.BasePath(), strings.Join(args[1:], "")),
		environment(now, p.Key(org), &wire{p, t.Callers}),
		jobs.ExportOptions{Span: jobs.Span{From: day, To: day.AddDate(0, 0, 1), Anew: true}, Phase: s.phase})
	if err != nil {
		return err
	}
	s.end()
	out.V["changed"], out.V["bytes"] = float64(res.Publish.Changed), float64(res.Publish.Bytes)
	if res.Publish.Full {
		return errors.New("the file was built from nothing")
	}
	return nil
}

// childNights is a year of nightly exports: a new day, late records of the days before it, days fetched anew
// each week.
// After each the published file is asked how much of it is dead.
func childNights(ctx context.Context, args []string, out *answer) error {
	nights, perDay := atoi(args[1]), atoi(args[2])
	at := clock
	now := func() time.Time { return at }
	p, err := portal.New(portal.Options{Seed: 11, Now: now, Start: clock.AddDate(0, 0, -3).Truncate(24 * time.Hour),
		Limit: portal.LimitOptions{Kind: portal.Off},
		Faults: portal.Faults{Gzip: "off", Late: 0.01, LateBy: 30 * time.Hour, Corrected: 0.005,
			CorrectedBy: 36 * time.Hour},
		Orgs: []portal.OrgOptions{{ID: org, RecordsPerDay: float64(perDay)}}})
	if err != nil {
		return err
	}
	cfg, env := setUp(args[0], "https://portal.test"+p.BasePath(), ""), environment(now, p.Key(org), &wire{p, false})
	for range nights {
		at = at.AddDate(0, 0, 1)
		span := jobs.Span{}
		if out.V["nights"] == 0 {
			span.From = lastDay()
		}
		start, before := time.Now(), written()
		s := out.stages()
		res, err := jobs.Export(ctx, cfg, env, jobs.ExportOptions{Span: span, Phase: s.phase})
		if err != nil {
			return err
		}
		s.end()
		out.V["nights"]++
		out.V["days"] += float64(res.DaysWritten)
		if res.Publish.Full {
			out.V["fulls"]++
		}
		dead, size, err := deadSpace(ctx, res.Database)
		if err != nil {
			return err
		}
		out.V["dead.most"] = max(out.V["dead.most"], dead)
		out.V["size"], out.V["rows"] = size, float64(res.Publish.Rows)
		if size > 16<<20 { // a smaller file isn't worth the work of building it anew
			out.V["dead.share"] = max(out.V["dead.share"], dead/size)
		}
		out.V["dead.share.any"] = max(out.V["dead.share.any"], dead/size)
		out.V["wall"] += time.Since(start).Seconds()
		out.V["slowest"] = max(out.V["slowest"], time.Since(start).Seconds())
		out.V["written"] += written() - before
		if int(out.V["nights"])%30 == 0 {
			anew, err := builtAnew(ctx, args[0], res.Database)
			if err != nil {
				return err
			}
			if size > 16<<20 {
				out.V["grown.most"] = max(out.V["grown.most"], size/anew)
			}
		}
	}
	anew, err := builtAnew(ctx, args[0], filepath.Join(args[0], "usage.duckdb"))
	out.V["anew"] = anew
	return err
}

// builtAnew is the size that a published file has if it is built from nothing. The file is left as it was.
func builtAnew(ctx context.Context, lake, path string) (float64, error) {
	aside := path + ".aside"
	if err := os.Rename(path, aside); err != nil {
		return 0, err
	}
	l, err := publish.Open(lake, publish.Options{})
	if err != nil {
		return 0, err
	}
	done, err := l.Publish(ctx, publish.PublishOptions{Version: "bench"})
	return float64(done.Bytes), errors.Join(err, os.Rename(aside, path))
}

// deadSpace is how many bytes of a DuckDB file hold nothing, and its size.
func deadSpace(ctx context.Context, path string) (dead, size float64, err error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return 0, 0, err
	}
	defer db.Close()
	c, err := db.Conn(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if _, err := c.ExecContext(ctx, "ATTACH "+schemas.SQLString(path)+" AS f (READ_ONLY)"); err != nil {
		return 0, 0, err
	}
	var block, total, free int64
	err = c.QueryRowContext(ctx,
		"SELECT block_size, total_blocks, free_blocks FROM pragma_database_size() WHERE database_name = 'f'").Scan(&block,
		&total, &free)
	if err != nil {
		return 0, 0, err
	}
	// DuckDB cuts free blocks off the end of a file after it has counted them: a reader is told of some that
	// aren't there.
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	size = float64(info.Size())
	return max(0, size-float64(block*(total-free))), size, nil
}

// childSettled counts the requests of an export whose days are all there: one for each day of the lookback, and one
// for the balance.
func childSettled(ctx context.Context, args []string, out *answer) error {
	at := clock
	now := func() time.Time { return at }
	p, err := newPortal(20_000, 10, now, portal.Faults{})
	if err != nil {
		return err
	}
	cfg, env := setUp(args[0], "https://portal.test"+p.BasePath(), ""), environment(now, p.Key(org), &wire{p, false})
	if _, err := jobs.Export(ctx, cfg, env,
		jobs.ExportOptions{Span: jobs.Span{From: lastDay().AddDate(0, 0, -10), To: lastDay()}}); err != nil {
		return err
	}
	p.ResetStats()
	res, err := jobs.Export(ctx, cfg, env,
		jobs.ExportOptions{Span: jobs.Span{From: lastDay().AddDate(0, 0, -10), To: lastDay()}})
	if err != nil {
		return err
	}
	out.V["days"] = float64(len(res.Plans[0].Check))
	for _, n := range p.Stats().ByStatus["usage"] {
		out.V["requests"] += float64(n)
	}
	return nil
}

// childServe serves the simulated Portal on loopback until stdin ends. It prints the base URL and the key.
func childServe(ctx context.Context, args []string, _ *answer) error {
	p, err := newPortal(atoi(args[0]), atoi(args[1]), func() time.Time { return clock }, portal.Faults{})
	if err != nil {
		return err
	}
	s, err := portal.Listen("127.0.0.1:0", p, false)
	if err != nil {
		return err
	}
	fmt.Println(s.BaseURL())
	fmt.Println(p.Key(org))
	waitForEnd(ctx)
	return s.Close()
}

// waitForEnd waits until whoever started this process is gone or closes the pipe.
func waitForEnd(ctx context.Context) {
	end := make(chan struct{})
	go func() {
		defer close(end)
		_, _ = bufio.NewReader(os.Stdin).ReadString(0)
	}()
	select {
	case <-end:
	case <-ctx.Done():
	}
}

// server starts a child that serves, and returns the lines it prints first.
func (b *bench) server(lines int, args ...string) (said []string, pid int, stop func(), err error) {
	cmd := exec.CommandContext(b.ctx, b.self, append([]string{"child"}, args...)...)
	cmd.Env, cmd.Stderr = b.env, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, 0, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, 0, nil, err
	}
	stop = func() { in.Close(); _ = cmd.Wait() }
	r := bufio.NewReader(out)
	for range lines {
		line, err := r.ReadString('\n')
		if err != nil {
			stop()
			return nil, 0, nil, fmt.Errorf("%s: it doesn't serve: %w", strings.Join(args, " "), err)
		}
		said = append(said, strings.TrimSpace(line))
	}
	return said, cmd.Process.Pid, stop, nil
}

// exported measures an export of so many records from a Portal on loopback into a new lake.
func (b *bench) exported(records, days int) (run, error) {
	said, _, stop, err := b.server(2, "serve", strconv.Itoa(records), strconv.Itoa(days))
	if err != nil {
		return run{}, err
	}
	defer stop()
	dir := b.fresh("export")
	return b.child("export", dir, said[0], said[1], strconv.Itoa(days))
}
