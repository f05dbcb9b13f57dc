package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/xuri/excelize/v2"

	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/load/publish"
)

func TestMain(m *testing.M) {
	testscript.Main(m,
		map[string]func(){"usagelake": main, "usagelake-killed": killedMain, "usagelake-crashed": crashedMain,
			"usagelake-supervised": supervisedMain})
}

// The promises to whoever types commands are scripts: testdata/script. Beside testscript's own commands they have
//
//	portal [FAULT=VALUE,…]       start a simulated Portal without a limit; $BASE and $KEY lead to it
//	faults [FAULT=VALUE,…]       other faults from now on
//	key disable|revoke|restore|enable|no-balance
//	requests N                   fails unless the Portal was asked N times since the last look
//	exits CODE COMMAND…          runs a command, and fails unless it exits with CODE
//	for_each_help COMMAND…       each has help with examples and the exit codes
//	flip FILE                    flips a bit in the middle of a file (of the first one, if it is a directory)
//	waitfor PATTERN              waits until a file of that pattern is there and not empty
//	appendfile FILE LINE         adds a line to a file
//	copytree FROM TO             copies a directory
//	hold DIR                     holds the lake's lock until the script ends
//	get SOCKET PATH TEXT         asks a daemon until its answer has the text
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values["script"] = &script{}
			e.Setenv("NO_COLOR", "1")
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"portal": startPortal, "faults": setFaults, "key": changeKey, "requests": countRequests, "exits": exits,
			"hold": hold, "for_each_help": eachHelp,
			"flip": flip, "copytree": copyTree, "appendfile": appendFile, "waitfor": waitFor, "get": get, "workbook": workbook,
		},
	})
}

// workbook makes a workbook of a CSV file: days are dates there, what has a point is a number, and all else text.
func workbook(ts *testscript.TestScript, _ bool, args []string) {
	rows, err := csv.NewReader(strings.NewReader(ts.ReadFile(args[0]))).ReadAll()
	ts.Check(err)
	f := excelize.NewFile()
	defer f.Close()
	date, err := f.NewStyle(&excelize.Style{NumFmt: 14})
	ts.Check(err)
	for i, row := range rows {
		for j, c := range row {
			at, err := excelize.CoordinatesToCellName(j+1, i+1)
			ts.Check(err)
			if day, err := time.Parse(time.DateOnly, c); err == nil {
				ts.Check(f.SetCellValue("Sheet1", at, day))
				ts.Check(f.SetCellStyle("Sheet1", at, at, date))
			} else if _, err := strconv.ParseFloat(c, 64); err == nil && strings.Contains(c, ".") {
				ts.Check(f.SetCellDefault("Sheet1", at, c))
			} else {
				ts.Check(f.SetCellStr("Sheet1", at, c))
			}
		}
	}
	ts.Check(f.SaveAs(ts.MkAbs(args[1])))
}

// script is what one script has started.
type script struct {
	portal *portal.Portal
}

func state(ts *testscript.TestScript) *script { return ts.Value("script").(*script) }

func parseFaults(ts *testscript.TestScript, args []string) portal.Faults {
	f, err := portal.ParseFaults(strings.Join(args, ","))
	ts.Check(err)
	return f
}

func startPortal(ts *testscript.TestScript, _ bool, args []string) {
	p, err := portal.New(portal.Options{Seed: 3, Limit: portal.LimitOptions{Kind: portal.Off},
		Faults: parseFaults(ts, args),
		Orgs:   []portal.OrgOptions{{ID: "0", RecordsPerDay: 300}}})
	ts.Check(err)
	s, err := portal.Listen("127.0.0.1:0", p, false)
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() })
	state(ts).portal = p
	ts.Setenv("BASE", s.BaseURL())
	ts.Setenv("KEY", p.Key("0"))
	ts.Setenv("USAGELAKE_API_KEY", p.Key("0"))
	// Most scripts want an account without the real Portal's pace.
	ts.Check(os.WriteFile(ts.MkAbs("usagelake.yaml"),
		fmt.Appendf(nil, "lake: ./lake\naccounts:\n  - name: acme\n    base_url: %s\n    key_env: USAGELAKE_API_KEY\n    "+
			"rate: 900\n", s.BaseURL()), 0o600))
}

func setFaults(ts *testscript.TestScript, _ bool, args []string) {
	state(ts).portal.SetFaults(parseFaults(ts, args))
}

func changeKey(ts *testscript.TestScript, _ bool, args []string) {
	p, key := state(ts).portal, ts.Getenv("KEY")
	switch args[0] {
	case "disable":
		ts.Check(p.DisableKey(key))
	case "enable":
		ts.Check(p.EnableKey(key))
	case "revoke":
		ts.Check(p.RevokeKey(key))
	case "restore":
		ts.Check(p.RestoreKey(key))
	case "no-balance":
		ts.Check(p.SetScopes(key, portal.ScopeUsage))
	default:
		ts.Fatalf("key %s?", args[0])
	}
}

func countRequests(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := state(ts).portal.Stats().Requests
	if (got == want) == neg {
		ts.Fatalf("the Portal was asked %d times, want %d (not: %t)", got, want, neg)
	}
	state(ts).portal.ResetStats()
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Check(err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exits with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func hold(ts *testscript.TestScript, _ bool, args []string) {
	lake, err := publish.Open(ts.MkAbs(args[0]), publish.Options{})
	ts.Check(err)
	unlock, err := lake.Lock(context.Background(), "export", false)
	ts.Check(err)
	ts.Defer(func() { _ = unlock() })
}

func eachHelp(ts *testscript.TestScript, _ bool, args []string) {
	for _, c := range args {
		ts.Check(ts.Exec("usagelake", c, "--help"))
		help := ts.ReadFile("stdout")
		for _, want := range []string{"Examples:", "Exit codes:", "usagelake " + c} {
			if !strings.Contains(help, want) {
				ts.Fatalf("usagelake %s --help doesn't have %q", c, want)
			}
		}
	}
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(path)
		ts.Check(err)
		path = filepath.Join(path, entries[0].Name())
	}
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

func copyTree(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.CopyFS(ts.MkAbs(args[1]), os.DirFS(ts.MkAbs(args[0]))))
}

func appendFile(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = fmt.Fprintln(f, args[1])
	ts.Check(errors.Join(err, f.Close()))
}

func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	for range 3000 {
		files, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.Size() > 0 {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s never came", args[0])
}

// get asks the daemon that listens on a unix socket, until it answers with what is wanted.
func get(ts *testscript.TestScript, _ bool, args []string) {
	socket := ts.MkAbs(args[0])
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
	last := ""
	for range 600 {
		resp, err := client.Get("http://localhost" + args[1])
		if err != nil {
			last = err.Error()
		} else {
			b, err := io.ReadAll(resp.Body)
			ts.Check(errors.Join(err, resp.Body.Close()))
			last = fmt.Sprintf("%d\n%s", resp.StatusCode, b)
			if strings.Contains(last, args[2]) {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s never had %q; last:\n%s", args[1], args[2], last)
}
