package serve

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// daemonOn answers on a socket until the test ends.
func daemonOn(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := well().server().Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	return path
}

// asks asks /healthz on a connection of its own.
func asks(path string) (string, error) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}
	resp, err := client.Get("http://daemon/healthz")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// Hundreds of connections that ask nothing, or that have asked once: the next one is answered at once, and
// few are open.
func TestConnectionsThatAskNothingAreInNobodysWay(t *testing.T) {
	for _, x := range []struct {
		name string
		hold func(c net.Conn)
	}{
		{"silent", func(net.Conn) {}},
		{"kept alive", func(c net.Conn) {
			_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
			}
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			path := daemonOn(t)
			before := descriptors(t)
			var held []net.Conn
			for range 300 {
				c, err := net.Dial("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				x.hold(c)
				held = append(held, c)
			}
			began := time.Now()
			if got, err := asks(path); err != nil || !strings.HasPrefix(got, "ok") {
				t.Errorf("the next is answered %q, %v", got, err)
			}
			if took := time.Since(began); took > 15*time.Second { // a machine that is busy; the bound is on turns, not on time
				t.Errorf("it waited %s", took)
			}
			// Each that is held has a descriptor at this end; the server's end has at most so many.
			if n := descriptors(t) - before - len(held); n > maxConnections+20 {
				t.Errorf("the server holds %d descriptors", n)
			}
		})
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("descriptors can't be counted here")
	}
	return len(entries)
}

func TestOneConnectionTooManyTakesTheLongestIdlesPlace(t *testing.T) {
	c := &connections{most: 2, open: map[net.Conn]bool{}}
	conn := func() net.Conn {
		a, b := net.Pipe()
		t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
		return a
	}
	a, b, d, e, f := conn(), conn(), conn(), conn(), conn()
	for i, step := range []struct {
		conn  net.Conn
		state http.ConnState
		over  net.Conn
	}{
		{a, http.StateNew, nil}, {b, http.StateNew, nil}, {a, http.StateActive, nil},
		{d, http.StateNew, b},                                // b asked nothing
		{b, http.StateClosed, nil},                           // and is gone
		{a, http.StateIdle, nil}, {d, http.StateActive, nil}, // a waits
		{e, http.StateNew, a}, {a, http.StateIdle, nil}, {e, http.StateActive, nil},
		{f, http.StateNew, f}, // all are asking
		{e, http.StateClosed, nil}, {f, http.StateNew, nil},
	} {
		if got := c.note(step.conn, step.state); got != step.over {
			t.Errorf("step %d: %v is closed, want %v", i, got, step.over)
		}
	}
	if len(c.open) != 2 {
		t.Errorf("%d are open", len(c.open))
	}
}
