package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/load"
)

var errNoLake = fmt.Errorf("open lake x: %w", load.ErrNoLake)

func TestATokenIsAskedForEverythingButHealth(t *testing.T) {
	w := well()
	token, tokenErr := "s3cret", error(nil)
	w.token = func() (string, error) { return token, tokenErr }
	s := w.server()
	bearer := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", v); r.Host = "lake.example.com" }
	}
	basic := func(r *http.Request) { r.SetBasicAuth("anybody", "s3cret") }
	for _, path := range []string{"/", "/status.json", "/metrics", "/nothing", "/healthz/", "//healthz"} {
		for name, c := range map[string]struct {
			as   func(*http.Request)
			want bool
		}{
			"none": {func(*http.Request) {}, false}, "right": {bearer("Bearer s3cret"), true},
			"any case": {bearer("bearer  s3cret"), true}, "basic": {basic, true},
			"wrong": {bearer("Bearer s3cre"), false}, "longer": {bearer("Bearer s3cret1"), false},
			"empty": {bearer("Bearer "), false}, "no scheme": {bearer("s3cret"), false},
		} {
			r := ask(s, path, c.as)
			if (r.Code != http.StatusUnauthorized) != c.want {
				t.Errorf("%s, token %s: %d", path, name, r.Code)
			}
			if !c.want && (len(r.Header().Values("WWW-Authenticate")) != 2 || strings.Contains(r.Body.String(), "acme")) {
				t.Errorf("%s, token %s: %v %s", path, name, r.Header(), r.Body)
			}
		}
	}
	// It rotates.
	token = "other\n"
	if ask(s, "/", bearer("Bearer s3cret")).Code != http.StatusUnauthorized ||
		ask(s, "/", bearer("Bearer other")).Code != http.StatusOK {
		t.Error("the token isn't read anew")
	}
	// What isn't known lets nobody in.
	for _, c := range []struct {
		token string
		err   error
	}{{"", nil}, {" \n", nil}, {"x", errors.New("no such file")}} {
		token, tokenErr = c.token, c.err
		for _, as := range []string{"Bearer ", "Bearer x", ""} {
			if r := ask(s, "/", bearer(as)); r.Code != http.StatusServiceUnavailable ||
				strings.Contains(r.Body.String(), "no such file") {
				t.Errorf("token %q, %v: %d %s", c.token, c.err, r.Code, r.Body)
			}
		}
	}
}

func TestHealthWithoutTheTokenTellsTheBareState(t *testing.T) {
	w := busy()
	w.token = func() (string, error) { return "s3cret", nil }
	w.readErr, w.status = errors.New("/srv/lake is gone"), nil
	s := w.server()
	if r := ask(s, "/readyz"); r.Code != http.StatusServiceUnavailable || r.Body.String() != "{\n  \"ready\": false\n}\n" {
		t.Error(r.Code, r.Body)
	}
	if r := ask(s, "/readyz",
		func(r *http.Request) { r.Header.Set("Authorization", "Bearer s3cret") }); !strings.Contains(r.Body.String(),
		"/srv/lake is gone") {
		t.Error(r.Code, r.Body)
	}
	if r := ask(s, "/healthz"); r.Code != http.StatusOK || r.Body.String() != "ok\n" {
		t.Error(r.Code, r.Body)
	}
	w.state.Jobs = []schedule.JobState{{Name: "private", NextAt: noon.Add(-time.Hour)}}
	if r := ask(s, "/healthz"); r.Code != http.StatusServiceUnavailable || r.Body.String() != "stuck\n" {
		t.Error(r.Code, r.Body)
	}
}

func TestWithoutATokenOnlyLoopbackNamesAreAnswered(t *testing.T) {
	s := well().server()
	for host, want := range map[string]int{
		"127.0.0.1:9464": 200, "localhost": 200, "LocalHost:8080": 200, "[::1]:9464": 200, "[::1]": 200, "127.8.9.1": 200,
		"evil.example:9464": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421, "10.0.0.1": 421, "": 421,
		"[::]:1": 421, "0.0.0.0": 421, "0": 421,
	} {
		for _, path := range []string{"/", "/metrics", "/healthz", "/readyz"} {
			if r := ask(s, path, func(r *http.Request) { r.Host = host }); r.Code != want {
				t.Errorf("%s of %q: %d, want %d", path, host, r.Code, want)
			}
		}
	}
	through := func(r *http.Request) {
		r.Host = "whatever"
		*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/s", Net: "unix"}))
	}
	if r := ask(s, "/", through); r.Code != http.StatusOK {
		t.Error("a unix socket has no host name to check", r.Code)
	}
}

func TestNothingCanBeChanged(t *testing.T) {
	s := well().server()
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "PROPFIND"} {
		if r := ask(s, "/", func(r *http.Request) { r.Method = method }); r.Code != http.StatusMethodNotAllowed ||
			r.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", method, r.Code)
		}
	}
	if r := ask(s, "/", func(r *http.Request) { r.Method = http.MethodHead }); r.Code != http.StatusOK {
		t.Error(r.Code)
	}
}

func TestEveryAnswerHasTheHeadersThatKeepItIn(t *testing.T) {
	s := well().server()
	for _, path := range []string{"/", "/status.json", "/metrics", "/healthz", "/readyz", "/nothing"} {
		h := ask(s, path).Header()
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin"} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		if p := h.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'; ") ||
			!strings.Contains(p, "frame-ancestors 'none'") || strings.Contains(p, "unsafe") {
			t.Errorf("%s: %s", path, p)
		}
	}
}

func TestAddresses(t *testing.T) {
	for addr, c := range map[string]struct {
		ok, token bool
		hint      string
	}{
		"127.0.0.1:9464": {true, true, ""}, "[::1]:0": {true, true, ""}, "localhost:80": {true, true, ""},
		"127.9.9.9:1": {true, true, ""}, "[::ffff:127.0.0.1]:1": {true, true, ""},
		"unix:/run/usagelake/http.sock": {true, true, ""},
		":9464":                         {false, true, "every address"}, "0.0.0.0:9464": {false, true, "needs a token"},
		"[::]:9464": {false, true, "127.0.0.1:9464"}, "10.0.0.1:1": {false, true, "token"},
		"example.com:443": {false, true, "token"},
		"9464":            {false, false, "HOST:PORT"}, "": {false, false, "HOST:PORT"},
		"127.0.0.1":      {false, false, "HOST:PORT"},
		"::1:9464":       {false, false, "[::1]:9464"},
		"127.0.0.1:http": {false, false, "not a port"}, "127.0.0.1:65536": {false, false, "65535"},
		"127.0.0.1:": {false, false, "not a port"}, "127.0.0.1:+1": {false, false, "not a port"},
		"unix:http.sock": {false, false, "whole path"}, "unix:": {false, false, "whole path"},
		"unix:/a/../b": {false, false, "whole path"}, "unix:/" +
			strings.Repeat("x", 100): {false, false, "works everywhere"},
	} {
		err := CheckAddress(addr, false)
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%s: %v", addr, err)
		}
		if err := CheckAddress(addr, true); (err == nil) != c.token {
			t.Errorf("%s with a token: %v", addr, err)
		}
	}
	if l, err := Listen("0.0.0.0:0", false); err == nil {
		_ = l.Close()
		t.Error("it listens everywhere without a token")
	}
}

func TestAUnixSocketIsForItsGroupAndReplacesADeadOne(t *testing.T) {
	dir, err := os.MkdirTemp("", "ul") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "http.sock")
	// One that was left behind.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()

	l, err := Listen("unix:"+path, false)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Error(info.Mode(), err)
	}
	if other, err := Listen("unix:"+path, false); err == nil || !strings.Contains(err.Error(), "another process") {
		_ = other.Close()
		t.Error("a socket that somebody listens on was taken", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- well().server().Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
		error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	res, err := client.Get("http://anything/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || string(body) != "ok\n" {
		t.Errorf("%q, %v", body, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Error("left behind:", left)
	}
	// What is no socket stays.
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:"+path, false); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "mine" {
		t.Error("a file was replaced")
	}
}

func TestARequestNeverHangsOnALargeLake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := well()
		o := w.options()
		o.Now = time.Now
		var asked atomic.Int32
		reading := make(chan struct{})
		o.Status = func(ctx context.Context) (*jobs.Status, error) {
			asked.Add(1)
			select {
			case <-reading:
				return w.status, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		s := New(o)
		began := time.Now()
		if r := ask(s, "/"); r.Code != http.StatusOK || !strings.Contains(r.Body.String(), "has not been read yet") {
			t.Error(r.Code, r.Body)
		}
		if r := ask(s, "/readyz"); r.Code != http.StatusServiceUnavailable {
			t.Error(r.Code)
		}
		if took := time.Since(began); took != 2*patience {
			t.Error("two requests took", took)
		}
		if r := ask(s, "/healthz"); r.Code != http.StatusOK {
			t.Error("a slow lake is no reason to restart", r.Code)
		}
		if asked.Load() != 1 {
			t.Errorf("the lake was read %d times at once", asked.Load())
		}
		time.Sleep(56 * time.Second)
		close(reading)
		synctest.Wait()
		if r := ask(s, "/readyz"); r.Code != http.StatusOK {
			t.Error(r.Code, r.Body)
		}
		// It took a minute: it isn't read again for ten, unless a run ended.
		time.Sleep(9 * time.Minute)
		ask(s, "/metrics")
		if asked.Load() != 1 {
			t.Errorf("read %d times", asked.Load())
		}
		s.RunEnded(schedule.RunEvent{Job: schedule.JobState{Name: "nightly", Kind: config.KindExport}})
		ask(s, "/metrics")
		if asked.Load() != 2 {
			t.Errorf("read %d times", asked.Load())
		}
	})
}

func TestWhatCouldNotBeReadIsTriedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		l := latest[int]{now: time.Now, every: time.Hour, limit: time.Minute, ask: func(context.Context) (int, error) {
			if asked++; asked < 3 {
				return 0, errors.New("not yet")
			}
			return asked, nil
		}}
		var got reading[int]
		for range 8 {
			got = l.get(t.Context())
			time.Sleep(retryEvery / 2)
		}
		if got.Value != 3 || got.Err != nil || asked != 3 {
			t.Errorf("%+v after %d questions", got, asked)
		}
		// A question that takes longer than it may is given up, and what was known stays.
		l.ask = func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
		l.expire()
		if got := l.get(t.Context()); got.Value != 3 || !errors.Is(got.Err, context.DeadlineExceeded) {
			t.Errorf("%+v", got)
		}
		// After the end nothing is asked.
		l.expire()
		l.start(t.Context())
		l.stop(t.Context())
		l.expire()
		if got := l.get(t.Context()); got.Value != 3 || !errors.Is(got.Err, context.Canceled) {
			t.Errorf("%+v", got)
		}
	})
}

func TestALakeIsReadOnceForManyRequests(t *testing.T) {
	w := well()
	s := w.server()
	for range 20 {
		ask(s, "/metrics")
		ask(s, "/")
		ask(s, "/readyz")
	}
	if w.asked != 1 {
		t.Errorf("read %d times", w.asked)
	}
}

func TestASchedulerThatDoesNotAnswerIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := well().options()
		o.Now = time.Now
		locked := make(chan struct{})
		o.State = func() schedule.State { <-locked; return schedule.State{} }
		s := New(o)
		if r := ask(s, "/healthz"); r.Code != http.StatusServiceUnavailable ||
			r.Body.String() != "the scheduler doesn't answer\n" {
			t.Error(r.Code, r.Body)
		}
		if r := ask(s, "/metrics"); !strings.Contains(r.Body.String(), "usagelake_scheduler_stuck 1") {
			t.Error(r.Code)
		}
		close(locked)
		synctest.Wait()
		if r := ask(s, "/healthz"); r.Code != http.StatusOK {
			t.Error(r.Code, r.Body)
		}
	})
}

func TestAPanicInAQuestionIsAnAnswer(t *testing.T) {
	o := well().options()
	o.Status = func(context.Context) (*jobs.Status, error) { panic("oh") }
	if r := ask(New(o), "/readyz"); r.Code != http.StatusServiceUnavailable || !strings.Contains(r.Body.String(), "oh") {
		t.Error(r.Code, r.Body)
	}
}
