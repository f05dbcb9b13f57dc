package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/usagelake/usagelake/extract/portal"
)

// perPortal is how many organisations a simulated Portal takes.
const perPortal = 16

// childAccounts serves many organisations on loopback, each with a key of its own at the documented limit, and writes a
// config for them into a directory. It prints the address; /stats tells what was asked so far.
func childAccounts(ctx context.Context, args []string, _ *answer) error {
	dir, n, pageSize := args[0], atoi(args[1]), atoi(args[2])
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	var portals []*portal.Portal
	var config strings.Builder
	config.WriteString("lake: lake\naccounts:\n")
	for i := 0; i < n; i += perPortal {
		o := portal.Options{Seed: uint64(100 + i), Start: time.Now().AddDate(0, 0, -5).Truncate(24 * time.Hour),
			Faults: portal.Faults{Gzip: "off", Latency: 200 * time.Millisecond, Jitter: 20 * time.Millisecond}}
		for k := i; k < min(i+perPortal, n); k++ {
			o.Orgs = append(o.Orgs, portal.OrgOptions{ID: strconv.Itoa(k), RecordsPerDay: 5_000})
		}
		p, err := portal.New(o)
		if err != nil {
			return err
		}
		prefix := "/p" + strconv.Itoa(i)
		mux.Handle(prefix+"/", http.StripPrefix(prefix, p))
		portals = append(portals, p)
		for _, id := range p.Orgs() {
			key := filepath.Join("keys", id)
			if err := os.WriteFile(filepath.Join(dir, key), []byte(p.Key(id)), 0o600); err != nil {
				return err
			}
			fmt.Fprintf(&config, "  - {name: org-%s, base_url: \"http://%s%s%s\", key_file: %s, page_size: %d}\n", id,
				l.Addr(), prefix, portal.BasePath, key, pageSize)
		}
	}
	// A balance is the sum of all charges, which the simulated Portal has to add up the first time. No real one would.
	var balances sync.WaitGroup
	for _, p := range portals {
		balances.Go(func() {
			for _, id := range p.Orgs() {
				p.Balance(id)
			}
		})
	}
	balances.Wait()
	if err := os.WriteFile(filepath.Join(dir, "usagelake.yaml"), []byte(config.String()), 0o600); err != nil {
		return err
	}
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		var sum portal.Stats
		for _, p := range portals {
			s := p.Stats()
			sum.Requests += s.Requests
			sum.Accepted += s.Accepted
			sum.Limited += s.Limited
		}
		_ = json.NewEncoder(w).Encode(sum)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	fmt.Println("http://" + l.Addr().String())
	waitForEnd(ctx)
	return s.Close()
}

// crowd is what an export of many accounts did while it was watched.
type crowd struct {
	accounts, pageSize int
	share              float64 // of the requests that all accounts together were allowed
	limited, accepted  float64
	cpu, serverCPU     float64 // cores
	peak, files        float64
}

// watched runs `usagelake export` for n accounts at their limits, lets it get going, watches it, and stops it.
func (b *bench) watched(n, pageSize int, warm, long time.Duration) (c crowd, err error) {
	dir := b.fresh("accounts")
	said, serverPID, stop, err := b.server(1, "accounts", dir, strconv.Itoa(n), strconv.Itoa(pageSize))
	if err != nil {
		return c, err
	}
	defer stop()
	c = crowd{accounts: n, pageSize: pageSize}
	cmd := exec.CommandContext(b.ctx, b.usagelake, "export", "--quiet", "--config", filepath.Join(dir, "usagelake.yaml"),
		"--from", time.Now().AddDate(0, 0, -4).UTC().Format(time.DateOnly))
	cmd.Env = b.env
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return c, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	pid := cmd.Process.Pid
	before, err := b.stats(said[0])
	if err != nil {
		return c, err
	}
	var start time.Time
	var cpu, serverCPU float64
	for began := time.Now(); ; {
		select {
		case err := <-ended:
			return c, fmt.Errorf("the export ended before it was watched: %w", err)
		case <-time.After(time.Second):
		}
		if start.IsZero() && time.Since(began) >= warm {
			if before, err = b.stats(said[0]); err != nil {
				return c, err
			}
			start, cpu, serverCPU = time.Now(), cpuOf(pid), cpuOf(serverPID)
		}
		if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			c.files = max(c.files, float64(len(files)))
		}
		if !start.IsZero() && time.Since(start) >= long {
			break
		}
	}
	after, err := b.stats(said[0])
	if err != nil {
		return c, err
	}
	spent := time.Since(start).Seconds()
	c.accepted = float64(after.Accepted - before.Accepted)
	c.limited = float64(after.Limited - before.Limited)
	c.share = c.accepted / (2 * float64(n) * spent)
	c.cpu, c.serverCPU = (cpuOf(pid)-cpu)/spent, (cpuOf(serverPID)-serverCPU)/spent
	c.peak = procValue(fmt.Sprintf("/proc/%d/status", pid), "VmHWM")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return c, err
	}
	err = <-ended
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 128+int(syscall.SIGINT) {
		err = nil
	}
	return c, err
}

func (b *bench) stats(base string) (s portal.Stats, err error) {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, base+"/stats", nil)
	if err != nil {
		return s, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// cpuOf is what a running process has used, in seconds: user and system are fields 14 and 15 of its stat, in
// hundredths.
func cpuOf(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before it may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}
