// Package kit is what tests of jobs and of the rooms beside it share: a Portal without sockets, a lake, a clock that
// both go by, and a reader of its own that holds the lake against what the Portal says is true. It knows no job: a room
// adds its own.
package kit

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
)

// Start is when the tests begin, unless they say otherwise: noon, so that the last day is a part of one.
var Start = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// Day is midnight of a day of the month of Start.
func Day(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }

// World is a Portal, a lake that is exported from it, and a clock that both go by.
type World struct {
	testing.TB
	Portal *portal.Portal
	Cfg    *config.Config
	Logs   *Buffer
	Keys   map[string]string // by account
	Wire   http.RoundTripper // to the Portal
	live   bool              // the clock is the bubble's

	mu    sync.Mutex
	clock time.Time
	asked []portal.RequestInfo
}

// Settings of a world; the zero value works.
type Settings struct {
	Faults  string
	Orgs    []portal.OrgOptions // nil: one of 200 records a day
	At      time.Time           // zero: Start
	PerDay  float64
	Live    bool // in a bubble: by its clock, which At is the beginning of
	Limited bool // the Portal's documented limit, and the client's default rate
	Seed    uint64
}

// New makes a Portal with an account for each organisation, named after it ("0" is acme).
func New(t testing.TB, s Settings) *World {
	t.Helper()
	f, err := portal.ParseFaults(s.Faults)
	if err != nil {
		t.Fatal(err)
	}
	w := &World{TB: t, clock: s.At, Keys: map[string]string{}, Logs: &Buffer{}}
	if s.At.IsZero() {
		w.clock = Start
	}
	if s.Live {
		time.Sleep(time.Until(w.clock))
		w.live = true
	}
	if s.PerDay == 0 {
		s.PerDay = 200
	}
	if s.Orgs == nil {
		s.Orgs = []portal.OrgOptions{{ID: "0", RecordsPerDay: s.PerDay}}
	}
	limit := portal.LimitOptions{Kind: portal.Off}
	if s.Limited {
		limit = portal.LimitOptions{}
	}
	w.Portal, err = portal.New(portal.Options{Seed: cmp.Or(s.Seed, 7), Now: w.Now, Orgs: s.Orgs, Limit: limit, Faults: f,
		OnRequest: w.heard})
	if err != nil {
		t.Fatal(err)
	}
	w.Cfg = &config.Config{Lake: filepath.Join(t.TempDir(), "lake"), Export: config.DefaultExport()}
	for _, o := range s.Orgs {
		a := config.Account{Name: accountOf(o.ID), BaseURL: "https://portal.test" + portal.BasePath, KeyEnv: "KEY_" + o.ID,
			PageSize: 20}
		if !s.Limited {
			a.Rate = 1000
		}
		w.Cfg.Accounts = append(w.Cfg.Accounts, a)
		w.Keys[a.KeyEnv] = w.Portal.Key(o.ID)
	}
	w.Wire = &Wire{w.Portal}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("what was logged last:\n" + tail(w.Logs.String(), 4000))
		}
	})
	return w
}

func accountOf(org string) string {
	if org == "0" {
		return "acme"
	}
	return org
}

// OrgOf is the organisation of an account.
func OrgOf(account string) string {
	if account == "acme" {
		return "0"
	}
	return account
}

// Now is the world's clock.
func (w *World) Now() time.Time {
	if w.live {
		return time.Now().UTC()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

// At sets the clock.
func (w *World) At(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = t
}

// Pass lets time pass.
func (w *World) Pass(d time.Duration) { w.At(w.Now().Add(d)) }

func (w *World) heard(r portal.RequestInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, r)
}

// Requests are those since it was last called.
func (w *World) Requests() []portal.RequestInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.asked
	w.asked = nil
	return r
}

// Faults sets other faults.
func (w *World) Faults(s string) {
	w.Helper()
	f, err := portal.ParseFaults(s)
	if err != nil {
		w.Fatal(err)
	}
	w.Portal.SetFaults(f)
}

// Retry is quick where time is real; in a bubble it costs nothing.
var Retry = extract.Retry{Base: time.Millisecond, Cap: 10 * time.Millisecond}

// ---- the wire

// Wire carries requests to a Portal without a socket. A handler that aborts is a connection that breaks: before the
// headers, or in the middle of the body.
type Wire struct{ Portal http.Handler }

func (w *Wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.WroteRequest != nil {
		t.WroteRequest(httptrace.WroteRequestInfo{})
	}
	r := req.Clone(req.Context())
	r.RemoteAddr = "127.0.0.1:1"
	rec := httptest.NewRecorder()
	whole := serve(w.Portal, rec, r)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if !whole && rec.Body.Len() == 0 {
		return nil, syscall.ECONNRESET
	}
	res := rec.Result()
	if !whole {
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(rec.Body.Bytes()), broken{}))
	}
	res.Request = req
	return res, nil
}

func serve(h http.Handler, w http.ResponseWriter, r *http.Request) (whole bool) {
	defer func() {
		if x := recover(); x != nil && x != http.ErrAbortHandler { //nolint:errorlint // it is panicked with as it is
			panic(x)
		}
	}()
	h.ServeHTTP(w, r)
	return true
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *Buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *Buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// ---- what a lake holds, as a reader of its files sees it

// ---- the truth

// Files are the lake's, with a digest of each; the lock is left out.
func (w *World) Files() map[string]string {
	w.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(w.Cfg.Lake, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(w.Cfg.Lake, path)
		sum := sha256.Sum256(b)
		out[filepath.ToSlash(name)] = hex.EncodeToString(sum[:8])
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// Changed are the names that differ.
func Changed(before, after map[string]string) []string {
	var names []string
	for k, v := range after {
		if before[k] != v {
			names = append(names, k)
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	return names
}

// Seals are the sealed windows among files.
func Seals(files map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range files {
		if strings.HasPrefix(k, "raw/") {
			out[k] = v
		}
	}
	return out
}

// Kept fails unless every sealed file of before still stands as it was.
func (w *World) Kept(before map[string]string) {
	w.Helper()
	after := w.Files()
	for k, v := range Seals(before) {
		if after[k] != v {
			w.Errorf("the sealed file %s is not as it was", k)
		}
	}
}

// HintOf is the hint that an error carries, "" if none.
func HintOf(err error) string {
	var h *config.Hint
	if errors.As(err, &h) {
		return h.Hint
	}
	return ""
}

// Itoa is a number as text.
func Itoa[T int | int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// Getenv is the environment: the keys.
func (w *World) Getenv(name string) string { return w.Keys[name] }

// Logger is a logger to log.
func (w *World) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w.Logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write writes a file of that text and mode, and gives its path back.
func Write(t testing.TB, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// NoEnv is an environment without a variable.
func NoEnv(string) string { return "" }

// SecondKey gives an account another key of acme's organisation.
func (w *World) SecondKey(account string) {
	w.Helper()
	_, key, err := w.Portal.AddKey(portal.KeySpec{Org: "0", User: "u_admin", Admin: true, Name: "second",
		Scopes: []string{portal.ScopeUsage, portal.ScopeBalance}})
	if err != nil {
		w.Fatal(err)
	}
	w.Keys["KEY_"+account] = key
}
