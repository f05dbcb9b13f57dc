package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/extract/portal"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/schemas"
)

func unpack(t testing.TB, b []byte) []byte {
	t.Helper()
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	out, err := d.DecodeAll(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAKeyThatIsRefusedMidwayLosesNothingAndOnceItWorksTheRunCompletes(t *testing.T) {
	for _, c := range []struct {
		becomes string
		status  int
		restore func(p *portal.Portal, key string) error
	}{
		{"disabled", 401, (*portal.Portal).EnableKey},
		{"revoked", 401, (*portal.Portal).RestoreKey},
		{"expired", 401, func(p *portal.Portal, key string) error { return p.ExpireKey(key, time.Time{}) }},
		{"stripped", 403, func(p *portal.Portal, key string) error {
			return p.SetScopes(key, portal.ScopeUsage, portal.ScopeBalance)
		}},
		{"deleted", 401, nil}, // a new one is made
	} {
		kit.Bubble(t, c.becomes, func(t *testing.T) {
			w := newWorld(t, kit.Settings{})
			w.Portal.SetFaults(portal.Faults{KeyAfter: 50, KeyBecomes: c.becomes})
			res, err := w.try(t.Context(), span(12, 20))
			var refused *RefusedError
			var api *extract.APIError
			if !errors.As(err, &refused) || !errors.Is(err, extract.ErrRefused) || !errors.As(err, &api) ||
				api.Status != c.status {
				t.Fatalf("%v", err)
			}
			if res.Status != schemas.StatusRefused || res.Accounts[0].Status != schemas.StatusRefused ||
				!strings.Contains(kit.HintOf(err), "scopes usage:read and balance:read") {
				t.Errorf("%s, hint %q", res.Status, kit.HintOf(err))
			}
			if res.Windows == 0 || res.Windows == 8 || !res.Published {
				t.Fatalf("%d windows were sealed, published: %t", res.Windows, res.Published)
			}
			w.published(res)
			// Refused again, nothing is lost and little is asked.
			before := w.Files()
			w.Requests()
			again, err := w.try(t.Context(), span(12, 20))
			if !errors.As(err, &refused) || again.Windows != 0 || again.Retries != 0 {
				t.Errorf("%v: %+v", err, again.RunCounts)
			}
			w.Kept(before)

			w.Faults("")
			if c.restore != nil {
				if err := c.restore(w.Portal, w.Keys["KEY_0"]); err != nil {
					t.Fatal(err)
				}
			} else {
				_, key, err := w.Portal.AddKey(portal.KeySpec{Org: "0", Admin: true, Name: "next",
					Scopes: []string{portal.ScopeUsage, portal.ScopeBalance}})
				if err != nil {
					t.Fatal(err)
				}
				w.Keys["KEY_0"] = key
			}
			done := w.export(span(12, 20))
			if res.Windows+done.Windows != 8 {
				t.Errorf("%d + %d windows, want 8", res.Windows, done.Windows)
			}
			w.Kept(before)
			w.Equal(kit.Day(12), kit.Day(20))
		})
	}
}

func TestAKeyThatMayNotReadTheBalanceExportsAllTheSame(t *testing.T) {
	for _, c := range []struct{ config, want string }{{"EUR", "EUR"}, {"", ""}} {
		kit.Bubble(t, c.config, func(t *testing.T) {
			w := newWorld(t, kit.Settings{})
			w.Cfg.Accounts[0].Currency = c.config
			if err := w.Portal.SetScopes(w.Keys["KEY_0"], portal.ScopeUsage); err != nil {
				t.Fatal(err)
			}
			w.export(span(17, 20))
			w.EqualAccount("acme", c.want, kit.Day(17), kit.Day(20))
			r := w.Read()
			defer r.Close()
			issues := r.One("SELECT count(*)::VARCHAR FROM quality_issues WHERE check_name = 'unknown_currency'")
			if (issues != "0") != (c.want == "") {
				t.Errorf("%s issues of an unknown currency", issues)
			}
			if res, _, err := Balance(t.Context(), w.Cfg, w.env, BalanceOptions{Retry: kit.Retry}); !errors.Is(err,
				extract.ErrRefused) || res.Status != schemas.StatusRefused {
				t.Errorf("balance: %v", err)
			}
		})
	}
	kit.Bubble(t, "what it was last", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 100, Currency: "CNY"}}})
		w.export(span(17, 18))
		w.Faults("status-500=1,only=balance")
		w.Cfg.Accounts[0].Currency = "EUR"
		w.export(span(18, 20))
		w.EqualAccount("acme", "CNY", kit.Day(17), kit.Day(20))
	})
}

func TestBalanceIsKeptExactAndWarnsUnderTheThreshold(t *testing.T) {
	kit.Bubble(t, "balance", func(t *testing.T) {
		w := newWorld(t, kit.Settings{Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 100},
			{ID: "two", RecordsPerDay: 100, Currency: "EUR"}}})
		least := schemas.Decimal(1)
		most := schemas.Decimal(999_999_999_999_999_999)
		for i, below := range []*schemas.Decimal{nil, &least, &most} {
			res, got, err := Balance(t.Context(), w.Cfg, w.env, BalanceOptions{Below: below, Retry: kit.Retry})
			if err != nil || res.Status != schemas.StatusDone || len(got) != 2 {
				t.Fatalf("%+v, %v", got, err)
			}
			for _, b := range got {
				if b.Balance != w.Portal.Balance(kit.OrgOf(b.Account)) || b.Below != (below == &most) || b.Error != "" {
					t.Errorf("%+v, want %s", b, w.Portal.Balance(kit.OrgOf(b.Account)))
				}
			}
			if got[1].Currency != "EUR" {
				t.Errorf("%+v", got[1])
			}
			r := w.Read()
			rows := r.Ask("SELECT account, balance::VARCHAR, currency FROM balance ORDER BY observed_at, account")
			if len(rows) != 2*(i+1) || rows[0][1] != kit.Dec(w.Portal.Balance("0")) {
				t.Errorf("%v", rows)
			}
			r.Close()
			time.Sleep(time.Second)
		}
		if err := w.Portal.DisableKey(w.Keys["KEY_two"]); err != nil {
			t.Fatal(err)
		}
		res, got, err := Balance(t.Context(), w.Cfg, w.env, BalanceOptions{Retry: kit.Retry})
		var refused *RefusedError
		if !errors.As(err, &refused) || res.Status != schemas.StatusRefused || got[0].Balance == "" || got[1].Error == "" {
			t.Errorf("one refused: %+v, %v", got, err)
		}
	})
}

// by answers each organisation in its own way: none, a refusal, an outage.
func (w *world) by(ways map[string]int) {
	inner := w.env.Transport
	keys := map[string]int{}
	for account, status := range ways {
		keys[w.Keys["KEY_"+kit.OrgOf(account)]] = status
	}
	w.env.Transport = tripper(func(req *http.Request) (*http.Response, error) {
		if status := keys[strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")]; status != 0 {
			return (&kit.Wire{Portal: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.WriteHeader(status)
				_, _ = fmt.Fprintf(rw, `{"meta":{"code":%d,"message":"no","request_id":"r"},"data":null}`, status)
			})}).RoundTrip(req)
		}
		return inner.RoundTrip(req)
	})
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAccountsSideBySideDontHarmEachOther(t *testing.T) {
	type ways = map[string]int
	for name, c := range map[string]struct {
		ways   ways
		run    string
		status [3]string // acme, bee, cee
	}{
		"all well":    {ways{}, schemas.StatusDone, [3]string{"done", "done", "done"}},
		"one refused": {ways{"bee": 401}, schemas.StatusRefused, [3]string{"done", "refused", "done"}},
		"one down":    {ways{"bee": 500}, schemas.StatusPartial, [3]string{"done", "failed", "done"}},
		"one refused, one down": {ways{"bee": 403, "cee": 502}, schemas.StatusRefused,
			[3]string{"done", "refused", "failed"}},
		"all down": {ways{"acme": 500, "bee": 503, "cee": 504}, schemas.StatusFailed,
			[3]string{"failed", "failed", "failed"}},
	} {
		kit.Bubble(t, name, func(t *testing.T) {
			w := newWorld(t, kit.Settings{Orgs: []portal.OrgOptions{{ID: "0", RecordsPerDay: 80}, {ID: "bee", RecordsPerDay: 80},
				{ID: "cee", RecordsPerDay: 80, Shape: portal.Summary}}})
			whole := w.env.Transport
			w.by(c.ways)
			res, err := w.try(t.Context(), span(15, 20))
			if res.Status != c.run || (err == nil) != (c.run == schemas.StatusDone) {
				t.Fatalf("%s: %v", res.Status, err)
			}
			var sum schemas.RunCounts
			for i, a := range res.Accounts {
				if a.Account != w.Cfg.Accounts[i].Name || a.Status != c.status[i] {
					t.Errorf("%s ended as %s, want %s", a.Account, a.Status, c.status[i])
				}
				if a.Status == "done" {
					w.EqualAccount(a.Account, "USD", kit.Day(15), kit.Day(20))
				}
				sum.Add(a.RunCounts)
			}
			if sum != res.RunCounts {
				t.Errorf("the accounts sum to %+v, the run has %+v", sum, res.RunCounts)
			}
			w.env.Transport = whole
			w.export(span(15, 20))
			w.Equal(kit.Day(15), kit.Day(20))
			// Up to date, one being down is a part that failed; nothing is made worse.
			if c.run == schemas.StatusPartial {
				w.by(c.ways)
				res, err := w.try(t.Context(), span(15, 20))
				var partial *PartialError
				if res.Status != schemas.StatusPartial || !errors.As(err, &partial) {
					t.Errorf("%s: %v", res.Status, err)
				}
				w.Equal(kit.Day(15), kit.Day(20))
			}
		})
	}
}

func TestARunThatIsStoppedKeepsWhatIsSealedAndTheNextOneCompletesIt(t *testing.T) {
	for _, after := range []int64{1, 12, 90} {
		kit.Bubble(t, fmt.Sprint(after), func(t *testing.T) {
			w := newWorld(t, kit.Settings{Faults: "latency=100ms", PerDay: 60})
			ctx, cancel := context.WithCancelCause(t.Context())
			signal := errors.New("a signal")
			var n atomic.Int64
			inner := w.env.Transport
			w.env.Transport = tripper(func(req *http.Request) (*http.Response, error) {
				if n.Add(1) == after {
					cancel(signal)
				}
				return inner.RoundTrip(req)
			})
			res, err := w.try(ctx, Span{})
			if !errors.Is(err, signal) || res.Status != schemas.StatusStopped {
				t.Fatalf("%s: %v", res.Status, err)
			}
			if after >= 90 && res.Windows == 0 {
				t.Error("nothing was sealed")
			}
			if after > 1 && res.Pending == 0 {
				t.Error("nothing was left to do")
			}
			before := w.Files()
			w.env.Transport = inner
			w.Pass(24 * time.Hour)
			w.Requests()
			done := w.export(Span{})
			if sum := res.Windows + done.Windows; sum < 32 || sum > 33 { // 31 days, then one more; a part day is two windows
				t.Errorf("%d + %d windows", res.Windows, done.Windows)
			}
			w.Kept(before)
			w.Equal(kit.Day(20).AddDate(0, 0, -config.FirstDays), w.settled())
		})
	}
}

func TestTheKeyIsNowhereInWhatARunLeavesBehind(t *testing.T) {
	for _, faults := range []string{
		"", "status-500=0.2,reset=0.1,html=0.1,bad=0.05", "redirect=1", "code-inside=1,inside-code=401", "key-after=30",
		"hang=1", "status-429=0.2", "echo",
	} {
		kit.Bubble(t, faults, func(t *testing.T) {
			f := faults
			if f == "echo" {
				f = ""
			}
			w := newWorld(t, kit.Settings{Faults: f})
			key := w.Keys["KEY_0"]
			if faults == "echo" { // the server's own messages hold the key
				n := 0
				inner := w.env.Transport
				w.env.Transport = tripper(func(req *http.Request) (*http.Response, error) {
					if n++; n%3 != 0 {
						return inner.RoundTrip(req)
					}
					return (&kit.Wire{Portal: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
						rw.Header().Set("Location", "https://elsewhere.test/?key="+key)
						rw.WriteHeader([]int{500, 307, 400, 502}[n/3%4])
						_, _ = fmt.Fprintf(rw, `{"meta":{"code":500,"message":"bad key %s","request_id":"%s"},"data":null}`, key, key)
					})}).RoundTrip(req)
				})
			}
			var said strings.Builder
			res, err := w.try(t.Context(), span(17, 20))
			fmt.Fprintln(&said, err, kit.HintOf(err), fmt.Sprintf("%+v", res))
			_, readings, err := Balance(t.Context(), w.Cfg, w.env, BalanceOptions{Retry: kit.Retry})
			fmt.Fprintln(&said, err, kit.HintOf(err), fmt.Sprintf("%+v", readings))
			_, err = DryRun(t.Context(), w.Cfg, w.env, ExportOptions{Retry: kit.Retry})
			fmt.Fprintln(&said, err, kit.HintOf(err))
			fmt.Fprintf(&said, "%+v %#v", Examined(t.Context(), w.Cfg, w.env, false), w.Cfg)
			st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
			fmt.Fprintf(&said, "%+v %v", st, err)
			if _, err := os.Stat(filepath.Join(w.Cfg.Lake, "usage.duckdb")); err == nil {
				for table, rows := range w.content() {
					fmt.Fprintln(&said, table, rows)
				}
				r := w.Read()
				fmt.Fprintln(&said, r.Ask("SELECT r::VARCHAR FROM runs r"), r.Ask("SELECT r::VARCHAR FROM run_accounts r"))
				r.Close()
			}
			hex := strings.TrimPrefix(key, "sk_mg_")
			for what, text := range map[string]string{"the log": w.Logs.String(), "what it said": said.String()} {
				if i := strings.Index(text, hex[:16]); i >= 0 {
					t.Errorf("%s holds the key: …%.200s", what, text[max(0, i-100):])
				}
			}
			if !regexp.MustCompile(`level=DEBUG`).MatchString(w.Logs.String()) && res.Windows > 0 {
				t.Error("nothing was logged at debug level")
			}
			for _, f := range w.secretIn(key) {
				t.Errorf("%s holds the key", f)
			}
		})
	}
}

// Over real sockets, compressed, with connections that break as real ones do.
func TestOverRealConnectionsTheLakeEqualsTheTruth(t *testing.T) {
	for _, faults := range []string{
		"", "gzip=always", "gzip=off", "reset=0.1,reset-body=0.1,truncate=0.1,gzip=always", "drip=1ms,drip-bytes=500",
		"reset=0.05,truncate=0.05,status-503=0.05,cut=0.05,empty=0.05,html=0.05,html-status=200,order=newest," +
			"page-clamp=7,strings=true",
	} {
		t.Run(faults, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kit.Settings{Faults: faults})
			w.listen()
			w.export(span(17, 20))
			w.Equal(kit.Day(17), kit.Day(20))
		})
	}
	for faults, says := range map[string]string{"gzip-bomb=1": "larger than", "redirect=1": "portal.invalid"} {
		t.Run(faults, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kit.Settings{Faults: faults})
			w.listen()
			res, err := w.try(t.Context(), span(18, 20))
			if err == nil || res.Status != schemas.StatusFailed || !strings.Contains(err.Error(), says) {
				t.Fatalf("%v", err)
			}
			w.Faults("")
			w.export(span(18, 20))
			w.Equal(kit.Day(18), kit.Day(20))
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		w := newWorld(t, kit.Settings{})
		s := w.listen()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		res, err := w.try(t.Context(), span(18, 20))
		if err == nil || res.Status != schemas.StatusFailed || !strings.Contains(err.Error(), "refused") ||
			errors.Is(err, extract.ErrRefused) {
			t.Errorf("%v", err)
		}
	})
}

// listen makes the world's Portal a server, and its accounts ask it over TCP.
func (w *world) listen() *portal.Server {
	w.Helper()
	s, err := portal.Listen("127.0.0.1:0", w.Portal, false)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = s.Close() })
	w.env.Transport = nil
	for i := range w.Cfg.Accounts {
		w.Cfg.Accounts[i].BaseURL = s.BaseURL()
	}
	return s
}

func TestNoKeyOfAnyAccountIsMissingBeforeAnythingIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lake")
	secret := "sk_mg_ " + strings.Repeat("cd", 32) // a space: no key has one
	cfg := &config.Config{Lake: dir, Accounts: []config.Account{
		{Name: "a", KeyEnv: "A", BaseURL: config.DefaultBaseURL}, {Name: "b", KeyEnv: "B", BaseURL: config.DefaultBaseURL},
		{Name: "c", KeyEnv: "C", BaseURL: config.DefaultBaseURL}}}
	env := Env{Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Getenv: func(k string) string { return map[string]string{"B": secret}[k] }}
	_, err := Export(t.Context(), cfg, env, ExportOptions{})
	for _, want := range []string{"account a: no key", "account b: the key holds a space", "account c: no key"} {
		if err == nil || !errors.Is(err, config.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "cdcd") {
		t.Errorf("%v shows the key", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a lake was made")
	}
	if _, err := Export(t.Context(), cfg, env, ExportOptions{Span: Span{Anew: true}}); !errors.Is(err, config.ErrUsage) ||
		!strings.Contains(kit.HintOf(err), "--refetch --from") {
		t.Errorf("--refetch without --from: %v", err)
	}
}
