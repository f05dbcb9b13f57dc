package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// hook is a webhook that keeps what it gets, and the Portal for all else.
type hook struct {
	http.RoundTripper
	mu     sync.Mutex
	status int
	bodies []string
}

func (h *hook) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "hooks.test" {
		return h.RoundTripper.RoundTrip(r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	h.bodies = append(h.bodies, string(b))
	return &http.Response{StatusCode: h.status, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}, Request: r}, nil
}

// told are the notifications it got since it was last asked.
func (h *hook) told(t testing.TB) (out []string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.bodies {
		var p struct {
			Notifications []struct{ State, Rule, Subject, Summary string }
		}
		if err := json.Unmarshal([]byte(b), &p); err != nil {
			t.Fatal(err)
		}
		for _, n := range p.Notifications {
			out = append(out, n.State+" "+n.Rule+" | "+n.Subject)
		}
	}
	h.bodies = nil
	return out
}

// alerted makes the world one with rules, and a webhook that is told.
func (w *world) alerted(rules ...config.Rule) *hook {
	w.Keys["HOOK"] = "https://hooks.test/secret"
	w.Cfg.Alerts = config.Alerts{Repeat: config.Duration(config.DefaultRepeat),
		Receivers: []config.Receiver{{Name: "ops", WebhookEnv: "HOOK"}}, Rules: rules}
	var budgets []config.Budget = w.Cfg.Budgets
	for _, err := range w.Cfg.Alerts.Validate(w.Cfg.AccountNames(), budgets) {
		w.Fatal(err)
	}
	h := &hook{RoundTripper: w.env.Transport, status: 200}
	w.env.Transport = h
	return h
}

func (w *world) check(in AlertInput) AlertReport {
	w.Helper()
	r, err := CheckAlerts(w.Context(), w.Cfg, w.env, in)
	if err != nil {
		w.Fatalf("check: %v", err)
	}
	return r
}

func wantTold(t testing.TB, h *hook, want ...string) {
	t.Helper()
	if got := h.told(t); !slices.Equal(got, want) {
		t.Errorf("told\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

func TestALateExportAGapAFailedRunAndARefusedKeyAreTold(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 40})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)},
		config.Rule{Name: "gap", Kind: config.AlertGap},
		config.Rule{Name: "failed", Kind: config.AlertFailed, After: 2}, config.Rule{Name: "key", Kind: config.AlertKey})
	if _, err := CheckAlerts(t.Context(), w.Cfg, w.env, AlertInput{}); !errors.Is(err, load.ErrNoLake) {
		t.Errorf("no lake: %v", err)
	}
	w.export(span(15, 16))
	w.check(AlertInput{})
	wantTold(t, h, "firing late | acme")
	w.export(span(18, 19))
	w.check(AlertInput{})
	wantTold(t, h, "firing gap | acme")

	if err := w.Portal.DisableKey(w.Keys["KEY_0"]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.Pass(time.Minute)
		if _, err := w.try(t.Context(), Span{}); err == nil {
			t.Fatal("a disabled key exports")
		}
		w.check(AlertInput{})
	}
	wantTold(t, h, "firing key | acme refused by export", "firing failed | export")
	if err := w.Portal.EnableKey(w.Keys["KEY_0"]); err != nil {
		t.Fatal(err)
	}

	// While a run goes on its windows may lie apart: that is no gap, nor is a gap over.
	lake, err := load.Open(w.Cfg.Lake, load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lake.Lock(t.Context(), "export", false)
	if err != nil {
		t.Fatal(err)
	}
	w.check(AlertInput{})
	wantTold(t, h)
	if err := unlock(); err != nil {
		t.Fatal(err)
	}

	w.export(Span{})
	w.check(AlertInput{})
	wantTold(t, h, "over failed | export", "over gap | acme", "over key | acme refused by export", "over late | acme")

	// A run that was killed is a failed one; one under way is none.
	for i := range 2 {
		if err := lake.AppendRun(schemas.Run{RunID: fmt.Sprint("killed-", i), Command: "export", PID: 1 << 30, StartedAt: w.Now(), Status: schemas.StatusRunning}); err != nil {
			t.Fatal(err)
		}
	}
	w.check(AlertInput{})
	wantTold(t, h, "firing failed | export")
	w.Pass(forgotten)
	w.Cfg.Alerts.Rules = w.Cfg.Alerts.Rules[2:]
	w.check(AlertInput{})
	wantTold(t, h) // nobody runs it any more: it passes without a word
}

func TestJobsOfTheScheduleFailByName(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly"}, {Name: "hourly"}}
	h := w.alerted(config.Rule{Name: "failed", Kind: config.AlertFailed})
	w.export(span(18, 19))
	lake, err := load.Open(w.Cfg.Lake, load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run := func(job, command, status string) {
		if err := lake.AppendRun(schemas.Run{RunID: newRunID(w.Now()), Job: job, Command: command, StartedAt: w.Now(), EndedAt: w.Now(), Status: status, Error: "why"}); err != nil {
			t.Fatal(err)
		}
	}
	run("nightly", "export", schemas.StatusPartial)
	run("gone", "export", schemas.StatusFailed)    // no longer in the schedule
	run("hourly", "export", schemas.StatusStopped) // no failure
	run("", "close", schemas.StatusFailed)         // somebody saw it
	w.check(AlertInput{Failures: []JobFailure{{Job: "hourly", Attempts: 1, Error: "no key", At: w.Now()}}, ConfigError: "line 3: unknown key"})
	wantTold(t, h, "firing (config) | reload", "firing failed | job hourly", "firing failed | job nightly")
	run("nightly", "export", schemas.StatusStopped)
	w.check(AlertInput{})
	wantTold(t, h, "over (config) | reload", "over failed | job hourly")
	run("nightly", "export", schemas.StatusDone)
	w.check(AlertInput{})
	wantTold(t, h, "over failed | job nightly")
}

func TestAKeyThatExpiresIsToldAheadAtTheEndAndAfterIt(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.Cfg.Accounts[0].KeyExpires = "2026-12-10"
	h := w.alerted(config.Rule{Name: "key", Kind: config.AlertKey, Within: config.Duration(10 * 24 * time.Hour),
		Repeat: new(config.Duration)})
	w.export(span(18, 19))
	for _, c := range []struct {
		at   string
		want []string
	}{
		{"2026-11-29T23:00:00Z", nil},
		{"2026-11-30T01:00:00Z", []string{"firing key | acme expires 2026-12-10"}},
		{"2026-12-07T23:00:00Z", nil},
		{"2026-12-08T01:00:00Z", []string{"firing key | acme expires 2026-12-10"}},
		{"2026-12-09T23:00:00Z", nil},
		{"2026-12-10T00:00:00Z", []string{"firing key | acme expires 2026-12-10"}},
		{"2027-01-10T00:00:00Z", nil},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		w.At(at)
		w.check(AlertInput{})
		wantTold(t, h, c.want...)
	}
	w.Cfg.Accounts[0].KeyExpires = "2027-12-10"
	w.check(AlertInput{})
	wantTold(t, h, "over key | acme expires 2026-12-10")
}

// publishFacts puts a published file into the lake that holds the figures of views as they are given, so that rules can be
// asked about any.
func (w *world) publishFacts(statements ...string) {
	w.Helper()
	path := filepath.Join(w.Cfg.Lake, "usage.duckdb")
	_ = os.Remove(path)
	c, err := duckdb.NewConnector(path, nil)
	if err != nil {
		w.Fatal(err)
	}
	db := sql.OpenDB(c)
	for _, s := range append([]string{
		"SET TimeZone = 'UTC'",
		"CREATE TABLE balance_runway (account VARCHAR, currency VARCHAR, observed_at TIMESTAMPTZ, balance DECIMAL(38,12), burn_7_days DECIMAL(38,6), days_left_7 DECIMAL(18,1), days_left_28 DECIMAL(18,1), days_left_7_coupons_beside DECIMAL(18,1), days_left_28_coupons_beside DECIMAL(18,1))",
		"CREATE TABLE budget_status (budget VARCHAR, period_start DATE, period_end DATE, currency VARCHAR, amount DECIMAL(38,12), spent DECIMAL(38,12), forecast DECIMAL(38,2), forecast_low DECIMAL(38,2), forecast_high DECIMAL(38,2), completeness VARCHAR)",
		"CREATE TABLE quality_issues (account VARCHAR, usage_date DATE, check_name VARCHAR, severity VARCHAR, field VARCHAR, model VARCHAR, records BIGINT, sample_id VARCHAR, detail VARCHAR)",
		"CREATE TABLE coverage (account VARCHAR, usage_date DATE, fetched_at TIMESTAMPTZ, owns BOOLEAN)",
		"CREATE TABLE quarantine (account VARCHAR, window_start TIMESTAMPTZ, reason VARCHAR, fetched_at TIMESTAMPTZ)",
		`CREATE TABLE anomaly_events (usage_date DATE, kind VARCHAR, "scope" VARCHAR, scope_value VARCHAR, scope_name VARCHAR, currency VARCHAR, observed DECIMAL(38,12), expected DECIMAL(38,6), deviation DECIMAL(38,6), detail VARCHAR, also STRUCT("scope" VARCHAR, scope_value VARCHAR, scope_name VARCHAR)[])`,
	}, statements...) {
		if _, err := db.ExecContext(w.Context(), s); err != nil {
			w.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		w.Fatal(err)
	}
	_ = os.Remove(filepath.Join(w.Cfg.Lake, "published.json")) // it isn't what was published
}

func TestWhatThePublishedFileSaysIsTold(t *testing.T) {
	const k = "INSERT INTO balance_runway (account, currency, observed_at, balance, burn_7_days, days_left_7, days_left_28) VALUES "
	const q = "INSERT INTO quality_issues VALUES "
	const c = "INSERT INTO coverage VALUES "
	for _, x := range []struct {
		name  string
		rule  config.Rule
		facts []string
		want  []string
	}{
		{"a balance below, by the last digit", config.Rule{Kind: config.AlertBalance, Below: "100"},
			[]string{k + "('acme', 'USD', '2026-11-20 11:00:00+00', 99.999999999999, NULL, NULL, NULL)"},
			[]string{"acme: the balance of account acme is 99.999999999999 USD, below 100"}},
		{"a balance that is the threshold", config.Rule{Kind: config.AlertBalance, Below: "100.0"},
			[]string{k + "('acme', 'USD', '2026-11-20 11:00:00+00', 100, NULL, NULL, NULL)"}, nil},
		{"a negative balance, greater than any column of 18 digits",
			config.Rule{Kind: config.AlertBalance, Below: "-12345678901234567890.5"},
			[]string{k + "('acme', NULL, '2026-11-20 11:00:00+00', -12345678901234567890.500000000001, NULL, NULL, NULL)"},
			[]string{"acme: the balance of account acme is -12345678901234567890.500000000001, below -12345678901234567890.5"}},
		{"no balance", config.Rule{Kind: config.AlertBalance, Below: "100"},
			[]string{k + "('acme', 'USD', '2026-11-20 11:00:00+00', NULL, NULL, NULL, NULL)"}, nil},
		{"a balance in the currency before", config.Rule{Kind: config.AlertBalance, Below: "100"},
			[]string{k +
				"('acme', NULL, '2026-11-01 11:00:00+00', 1, NULL, NULL, NULL), ('acme', 'USD', '2026-11-20 11:00:00+00', 500, NULL, NULL, NULL)"}, nil},
		{"an account that is not in the config", config.Rule{Kind: config.AlertBalance, Below: "100"},
			[]string{k + "('gone', 'USD', '2026-11-20 11:00:00+00', 1, NULL, NULL, NULL)"}, nil},
		{"another account than the rule's", config.Rule{Kind: config.AlertBalance, Below: "100", Accounts: []string{"bee"}},
			[]string{k + "('acme', 'USD', '2026-11-20 11:00:00+00', 1, NULL, NULL, NULL)"}, nil},
		{"a short runway", config.Rule{Kind: config.AlertRunway, Days: 10},
			[]string{k + "('acme', 'USD', '2026-11-20 11:00:00+00', 50, 5.1, 9.8, 20)"},
			[]string{"acme: the balance of account acme, 50.00 USD, lasts for about 9.8 days (fewer than 10)"}},
		{"a runway of the default", config.Rule{Kind: config.AlertRunway},
			[]string{k + "('acme', 'USD', '2026-11-20 11:00:00+00', 50, 5.1, 14, 20)"}, nil},
		{"coupons, in both readings", config.Rule{Kind: config.AlertRunway, Days: 10},
			[]string{"INSERT INTO balance_runway VALUES ('acme', 'USD', '2026-11-20 11:00:00+00', 50, 5.1, 9.8, 20, 12.5, 25)"},
			[]string{"acme: the balance of account acme, 50.00 USD, lasts for about 9.8 days (fewer than 10); about 12.5 if its coupons stand beside it"}},
		{"nothing burns", config.Rule{Kind: config.AlertRunway},
			[]string{k + "('acme', 'USD', '2026-11-20 11:00:00+00', 0, NULL, NULL, NULL)"}, nil},

		{"a threshold by the last digit", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 800, 1100, NULL, NULL, 'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: 800.00 USD of 1,000.00 spent, the threshold 0.8 is reached"}},
		{"just below it", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 799.999999999999, 1100, NULL, NULL, 'complete')"}, nil},
		{"the rule's own", config.Rule{Kind: config.AlertBudget, Thresholds: []string{"0.5", "0.25"}},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 600.129, 1100, NULL, NULL, 'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: 600.13 USD of 1,000.00 spent, the threshold 0.5 is reached"}},
		{"a period whose last days came late", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-11-18', 'USD', 1000, 1000, 1000, NULL, NULL, 'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: 1,000.00 USD of 1,000.00 spent, the threshold 1 is reached"}},
		{"past and coming periods, and a budget of another config", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-10-01', '2026-11-01', 'USD', 1, 2, 2, NULL, NULL, 'complete'), ('r', '2026-12-01', '2027-01-01', 'USD', 1, 2, 2, NULL, NULL, 'complete'), ('old', '2026-11-01', '2026-12-01', 'USD', 1, 2, 2, NULL, NULL, 'complete')"}, nil},
		{"a forecast", config.Rule{Kind: config.AlertForecast},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 600, 1000.01, 900, 1100, 'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: 600.00 USD of 1,000.00 spent, about 1,000.01 expected by 2026-12-01"}},
		{"a forecast that fits, and one of a period that is over", config.Rule{Kind: config.AlertForecast},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 600, 1000, 900, 1100, 'complete'), ('r', '2026-11-01', '2026-11-19', 'USD', 1, 2, 2, 2, 2, 'complete')"}, nil},

		{"quality errors of days that were fetched lately", config.Rule{Kind: config.AlertQuality}, []string{
			q + "('acme', '2026-01-05', 'net_mismatch', 'error', 'amount', 'm`<a>', 3, 'id-1', 'amount 1, expected 2'), ('acme', '2026-01-05', 'net_mismatch', 'error', 'amount', 'n', 4, 'id-2', NULL), ('acme', '2026-01-05', 'price_change', 'warning', NULL, NULL, 1, NULL, NULL), ('acme', '2026-01-05', 'quarantined', 'error', NULL, NULL, 1, NULL, NULL), ('acme', '2026-01-06', 'net_mismatch', 'error', NULL, NULL, 1, NULL, NULL)",
			c + "('acme', '2026-01-05', '2026-11-17 00:00:00+00', true), ('acme', '2026-01-06', '2026-11-16 23:59:59+00', true), ('acme', '2026-01-06', '2026-11-20 00:00:00+00', false)"},
			[]string{"acme 2026-01-05 net_mismatch: account acme, 2026-01-05: the check net_mismatch failed for 7 records, such as id-1 amount 1, expected 2"}},
		{"quarantined records", config.Rule{Kind: config.AlertQuarantine, Within: config.Duration(24 * time.Hour)},
			[]string{"INSERT INTO quarantine VALUES ('acme', '2026-11-18 23:00:00+00', 'no id', '2026-11-19 00:00:00+00'), ('acme', '2026-11-18 01:00:00+00', 'no time', '2026-11-19 00:00:00+00'), ('acme', '2026-11-17 01:00:00+00', 'no time', '2026-11-18 00:00:00+00')"},
			[]string{"acme 2026-11-18: account acme, 2026-11-18: 2 records are in quarantine and count in no sum: no id, no time"}},
		{"anomalies", config.Rule{Kind: config.AlertAnomaly, Scopes: []string{"token", "model"}},
			[]string{"INSERT INTO anomaly_events VALUES ('2026-11-19', 'spike', 'token', E'tk\\n1', NULL, 'USD', 9.129, 2, 7.129, 'x', []), ('2026-11-19', 'spike', 'account', 'acme', NULL, 'USD', 9, 2, 7, 'x', []), ('2026-11-16', 'spike', 'token', 'tk_2', NULL, 'USD', 9, 2, 7, 'x', []), ('2026-11-18', 'price change', 'model', 'm', NULL, NULL, NULL, NULL, NULL, '1, then 2', [])"},
			[]string{"2026-11-19 spike token tk\n1 USD: spike of token tk 1 on 2026-11-19: 9.13 USD, 2.00 expected (x)", "2026-11-18 price change model m : price change of model m on 2026-11-18: 1, then 2"}},
		{"anomalies of an account", config.Rule{Kind: config.AlertAnomaly, Accounts: []string{"acme"}},
			[]string{"INSERT INTO anomaly_events VALUES ('2026-11-19', 'spike', 'account', 'bee', NULL, 'USD', 9, 2, 7, 'x', []), ('2026-11-19', 'spike', 'token', 'acme', NULL, 'USD', 9, 2, 7, 'x', []), ('2026-11-19', 'spike', 'token', 'tk_3', NULL, 'USD', 8, 2, 6, 'x', [{'scope': 'account', 'scope_value': 'acme', 'scope_name': NULL}])"},
			[]string{"2026-11-19 spike token tk_3 USD: spike of token tk_3 on 2026-11-19: 8.00 USD, 2.00 expected (x); it explains account acme"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := &world{World: &kit.World{TB: t}}
			w.At(kit.Start)
			w.Cfg = &config.Config{Lake: t.TempDir(), Accounts: []config.Account{{Name: "acme"}, {Name: "bee"}},
				Budgets: []config.Budget{{Name: "r", Amount: "1000", Currency: "USD"}}}
			lake, err := load.Create(w.Cfg.Lake, load.Options{})
			if err != nil {
				t.Fatal(err)
			}
			w.publishFacts(x.facts...)
			x.rule.Name = "rule"
			w.Cfg.Alerts = config.Alerts{Receivers: []config.Receiver{{Name: "log", Log: true}}, Rules: []config.Rule{x.rule}}
			for _, err := range w.Cfg.Alerts.Validate(w.Cfg.AccountNames(), w.Cfg.Budgets) {
				t.Fatal(err)
			}
			found, unknown, err := gather(t.Context(), w.Cfg, w.env, lake, nil, kit.Start, AlertInput{}, &alertMemory{})
			if err != nil || len(unknown) > 0 {
				t.Fatalf("%v, %v, %+v", err, unknown, found)
			}
			var got []string
			for _, f := range found {
				got = append(got, f.Subject+": "+f.Summary)
				if f.Severity != alert.Warning || f.Rule != "rule" || f.Kind != x.rule.Kind {
					t.Errorf("%+v", f)
				}
			}
			if !slices.Equal(got, x.want) {
				t.Errorf("\n got %q\nwant %q", got, x.want)
			}
		})
	}
}

// Of a file that an older version published, which lacks what a rule asks, there is one finding that says so, and what can be told is.
func TestAFileOfOlderTablesIsOneFinding(t *testing.T) {
	for _, c := range []struct {
		name, version string
		want          string
	}{
		{"older", "7", "usage.duckdb was published by an older version (tables 7, this one makes 8); the next publish mends it, and until then nothing is known of odd, odd too"},
		{"newer", "9", "usage.duckdb was published by a newer version (tables 9, this one makes 8); the next publish mends it, and until then nothing is known of odd, odd too"},
		{"the same", "8", "the published file can't be read, so nothing is known of odd, odd too: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := strings.ReplaceAll(c.want, "makes 8", fmt.Sprintf("makes %d", schemas.SQLVersion))
			w := &world{World: &kit.World{TB: t}}
			w.At(kit.Start)
			w.Cfg = &config.Config{Lake: t.TempDir(), Accounts: []config.Account{{Name: "acme"}}}
			lake, err := load.Create(w.Cfg.Lake, load.Options{})
			if err != nil {
				t.Fatal(err)
			}
			w.publishFacts("INSERT INTO balance_runway (account, currency, observed_at, balance) VALUES ('acme', 'USD', '2026-11-20 11:00:00+00', 5)",
				"CREATE TABLE meta (schema_version INTEGER)", "INSERT INTO meta VALUES ("+c.version+")", "ALTER TABLE anomaly_events DROP scope_name")
			w.Cfg.Alerts.Rules = []config.Rule{{Name: "low", Kind: config.AlertBalance, Below: "100"},
				{Name: "odd", Kind: config.AlertAnomaly}, {Name: "odd too", Kind: config.AlertAnomaly}}
			found, unknown, err := gather(t.Context(), w.Cfg, w.env, lake, nil, kit.Start, AlertInput{}, &alertMemory{})
			if err != nil || len(found) != 2 || found[0].Rule != "low" || found[1].Rule != ruleFacts || !unknown["odd"] || !unknown["odd too"] || unknown["low"] {
				t.Fatalf("%v, %v, %+v", err, unknown, found)
			}
			said := found[1].Summary
			if !strings.HasPrefix(said, want) || c.name != "the same" && (said != want || strings.Contains(fmt.Sprint(found[1].Details), "scope_name")) {
				t.Errorf("%s %v", said, found[1].Details)
			}
		})
	}
}

// An alert shows a name and the id; what it is about stays the id, so that a name changes nothing.
func TestAlertsCallThingsByNameAndID(t *testing.T) {
	w := &world{World: &kit.World{TB: t}}
	w.At(kit.Start)
	w.Cfg = &config.Config{Lake: t.TempDir(), Accounts: []config.Account{{Name: "acme"}},
		Names: filepath.Join(t.TempDir(), "names.csv")}
	if err := os.WriteFile(w.Cfg.Names, []byte("kind,id,name\naccount,acme,Acme Ltd\ntoken,tk_3,Nightly\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lake, err := load.Create(w.Cfg.Lake, load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.publishFacts("INSERT INTO balance_runway (account, currency, observed_at, balance) VALUES ('acme', 'USD', '2026-11-20 11:00:00+00', 5)",
		"INSERT INTO anomaly_events VALUES ('2026-11-19', 'spike', 'token', 'tk_3', 'Nightly', 'USD', 8, 2, 6, 'x', [{'scope': 'account', 'scope_value': 'acme', 'scope_name': 'Acme Ltd'}])")
	w.Cfg.Alerts.Rules = []config.Rule{{Name: "low", Kind: config.AlertBalance, Below: "100"},
		{Name: "odd", Kind: config.AlertAnomaly}}
	want := []string{"acme: the balance of account Acme Ltd (acme) is 5.00 USD, below 100.00", "2026-11-19 spike token tk_3 USD: spike of token Nightly (tk_3) on 2026-11-19: 8.00 USD, 2.00 expected (x); it explains account Acme Ltd (acme)"}
	for range 2 {
		found, _, err := gather(t.Context(), w.Cfg, w.env, lake, nil, kit.Start, AlertInput{}, &alertMemory{})
		var got []string
		for _, f := range found {
			got = append(got, f.Subject+": "+f.Summary)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n got %q\nwant %q", err, got, want)
		}
		// Without the file there are ids.
		if err := os.Remove(w.Cfg.Names); err != nil {
			return
		}
		want[0] = "acme: the balance of account acme is 5.00 USD, below 100.00"
		want[1] = "2026-11-19 spike token tk_3 USD: spike of token tk_3 on 2026-11-19: 8.00 USD, 2.00 expected (x); it explains account Acme Ltd (acme)"
	}
}

// Every kind of rule asks a lake as it is published, and finds there what the views have.
func TestRulesAskTheViewsOfARealLake(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 60, Faults: "bad=0.05"})
	w.Cfg.Budgets = []config.Budget{{Name: "all", Amount: "0.01", Currency: "USD"}}
	long := config.Duration(60 * 24 * time.Hour)
	h := w.alerted(config.Rule{Name: "low", Kind: config.AlertBalance, Below: "99999999"},
		config.Rule{Name: "runway", Kind: config.AlertRunway, Days: 3650},
		config.Rule{Name: "budget", Kind: config.AlertBudget},
		config.Rule{Name: "forecast", Kind: config.AlertForecast},
		config.Rule{Name: "quality", Kind: config.AlertQuality, Within: long},
		config.Rule{Name: "quarantine", Kind: config.AlertQuarantine, Within: long},
		config.Rule{Name: "anomaly", Kind: config.AlertAnomaly, Within: long})
	w.export(span(1, 20))
	r := w.check(AlertInput{})
	told := h.told(t)
	for _, want := range []string{"firing low | acme", "firing runway | acme", "firing budget | all 2026-11-01", "firing forecast | all 2026-11-01"} {
		if !slices.Contains(told, want) {
			t.Errorf("not told of %s, but of %q", want, told)
		}
	}
	read := w.Read()
	defer read.Close()
	count := func(rule string) (n int) {
		for _, a := range r.Firing {
			if a.Rule == rule {
				n++
			}
		}
		return n
	}
	for rule, query := range map[string]string{
		"quarantine": "SELECT count(DISTINCT make_timestamp(epoch_us(window_start))::DATE) FROM quarantine",
		"quality":    "SELECT count(*) FROM (SELECT DISTINCT usage_date, check_name FROM quality_issues WHERE severity = 'error' AND check_name <> 'quarantined')",
		"anomaly":    `SELECT count(*) FROM (SELECT DISTINCT usage_date, kind, "scope", scope_value, currency FROM anomaly_events)`,
	} {
		if want := read.Ask(query)[0][0]; fmt.Sprint(count(rule)) != want || rule == "quarantine" && want == "0" {
			t.Errorf("%s: %d alerts, the view has %s", rule, count(rule), want)
		}
	}
	if count("(facts)") > 0 {
		t.Errorf("%+v", r.Firing)
	}
}

func TestFactsThatCantBeReadAreToldAndNothingIsOver(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "low", Kind: config.AlertBalance, Below: "99999999"},
		config.Rule{Name: "late", Kind: config.AlertFreshness})
	w.export(span(19, 20))
	w.check(AlertInput{})
	wantTold(t, h, "firing low | acme")
	db := filepath.Join(w.Cfg.Lake, "usage.duckdb")
	whole, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(db, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Pass(30 * time.Hour)
	w.check(AlertInput{})
	wantTold(t, h, "firing (intruded) | usage.duckdb", "firing late | acme")
	if err := os.WriteFile(db, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	w.check(AlertInput{})
	wantTold(t, h, "still_firing low | acme", "over (intruded) | usage.duckdb")
	log := db + ".wal" // which another program left
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.check(AlertInput{})
	wantTold(t, h, "firing (intruded) | usage.duckdb")
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	w.check(AlertInput{})
	wantTold(t, h, "over (intruded) | usage.duckdb")
	if err := os.Remove(db); err != nil { // as before the first publish
		t.Fatal(err)
	}
	w.check(AlertInput{})
	wantTold(t, h)
}

// The published file is opened when it or the day changed, and not every minute.
func TestThePublishedFileIsAskedOnceAnew(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "low", Kind: config.AlertBalance, Below: "100"})
	w.export(span(19, 20))
	w.publishFacts("INSERT INTO balance_runway VALUES ('acme', 'USD', '2026-11-20 11:00:00+00', 1, NULL, NULL, NULL, NULL, NULL)")
	db := filepath.Join(w.Cfg.Lake, "usage.duckdb")
	w.check(AlertInput{})
	info, err := os.Stat(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(db, make([]byte, info.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(db, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	w.check(AlertInput{})
	wantTold(t, h, "firing low | acme")
	w.Cfg.Alerts.Rules[0].Below = "0.5"
	w.check(AlertInput{})
	wantTold(t, h, "firing (facts) | published file")
}

func TestWhatIsNotDeliveredWaitsAndIsToldOnce(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.Cfg.Alerts.Receivers = append(w.Cfg.Alerts.Receivers, config.Receiver{Name: "none", WebhookEnv: "UNSET"},
		config.Receiver{Name: "log", Log: true})
	w.export(span(18, 19))
	h.status = 404
	r := w.check(AlertInput{})
	h.bodies = nil
	if !r.Failed() || len(r.Deliveries) != 3 || r.Deliveries[1].Error != "receiver none: its webhook: no URL: the environment variable UNSET is not set" || r.Deliveries[2].Sent != 1 {
		t.Errorf("%+v", r.Deliveries)
	}
	active, err := ActiveAlerts(w.Cfg)
	if err != nil || len(active) != 1 || active[0].Undelivered["ops"] != "receiver ops: it answered 404" || active[0].Undelivered["log"] != "" {
		t.Errorf("%+v, %v", active, err)
	}
	h.status = 200
	w.check(AlertInput{})
	wantTold(t, h) // it rests for a minute
	w.Pass(time.Minute)
	w.check(AlertInput{})
	wantTold(t, h, "firing late | acme")
	w.Pass(time.Hour)
	w.check(AlertInput{})
	wantTold(t, h)
	if strings.Contains(w.Logs.String(), "hooks.test") {
		t.Error("the log shows the webhook's URL")
	}
}

// fullDisk refuses whatever makes a file, once it is full.
type fullDisk struct {
	durable.FS
	full bool
}

func (f *fullDisk) CreateTemp(dir, pattern string) (durable.File, error) {
	if f.full {
		return nil, &os.PathError{Op: "open", Path: dir, Err: syscall.ENOSPC}
	}
	return f.FS.CreateTemp(dir, pattern)
}

func TestAFullDiskKeepsNobodyFromBeingToldOnce(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.export(span(18, 19))
	w.check(AlertInput{})
	wantTold(t, h, "firing late | acme")
	disk := &fullDisk{FS: durable.System{}, full: true}
	w.env.FS = disk
	in := AlertInput{Memory: &AlertMemory{}, ConfigError: "line 1"}
	for range 3 {
		if _, err := CheckAlerts(t.Context(), w.Cfg, w.env, in); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v", err)
		}
	}
	wantTold(t, h, "firing (config) | reload")
	disk.full = false
	w.check(in)
	wantTold(t, h)
	if active, err := ActiveAlerts(w.Cfg); err != nil || len(active) != 2 {
		t.Errorf("what was told is not written down: %+v, %v", active, err)
	}
}

// A lake that became read-only, or belongs to somebody else, has no lock to take.
func TestALakeThatCantBeLockedKeepsNobodyFromBeingToldOnce(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.export(span(18, 19))
	lock := filepath.Join(w.Cfg.Lake, "journal", "alerts.lock")
	if err := os.Mkdir(lock, 0o700); err != nil {
		t.Fatal(err)
	}
	check := func(in AlertInput) {
		t.Helper()
		if _, err := CheckAlerts(t.Context(), w.Cfg, w.env, in); !errors.Is(err, syscall.EISDIR) {
			t.Errorf("%v", err)
		}
	}
	check(AlertInput{})
	wantTold(t, h, "firing late | acme")
	daemon := AlertInput{Memory: &AlertMemory{}}
	for range 3 {
		check(daemon)
	}
	wantTold(t, h, "firing late | acme")
	if active, err := ActiveAlerts(w.Cfg); err != nil || len(active) > 0 {
		t.Errorf("it was written without the lock: %+v, %v", active, err)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	w.check(daemon)
	wantTold(t, h)
	if active, err := ActiveAlerts(w.Cfg); err != nil || len(active) != 1 {
		t.Errorf("what was told is not written down: %+v, %v", active, err)
	}
}

func TestADaemonTellsThatItsLakeIsGoneAndNothingElseIsOver(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport}}
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)},
		config.Rule{Name: "failed", Kind: config.AlertFailed}, config.Rule{Name: "key", Kind: config.AlertKey})
	w.export(span(18, 19))
	db := filepath.Join(w.Cfg.Lake, "usage.duckdb")
	if err := os.WriteFile(db, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Cfg.Alerts.Rules = append(w.Cfg.Alerts.Rules, config.Rule{Name: "low", Kind: config.AlertBalance, Below: "1"})
	in := AlertInput{Memory: &AlertMemory{}}
	w.check(in)
	wantTold(t, h, "firing (intruded) | usage.duckdb", "firing late | acme")

	away := w.Cfg.Lake + "-away"
	if err := os.Rename(w.Cfg.Lake, away); err != nil {
		t.Fatal(err)
	}
	w.Cfg.Accounts[0].KeyExpires = w.Now().Format(time.DateOnly)
	in.Failures = []JobFailure{{Job: "nightly", Attempts: 1, Error: "no lake", At: w.Now()}}
	for range 2 {
		report, err := CheckAlerts(t.Context(), w.Cfg, w.env, in)
		if !errors.Is(err, load.ErrNoLake) || len(report.Firing) != 5 {
			t.Errorf("%v, %+v", err, report.Firing)
		}
	}
	wantTold(t, h, "firing (facts) | lake", "firing failed | job nightly", "firing key | acme expires "+w.Cfg.Accounts[0].KeyExpires)
	if _, err := os.Stat(w.Cfg.Lake); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a check made the lake: %v", err)
	}
	if _, err := CheckAlerts(t.Context(), w.Cfg, w.env, AlertInput{}); !errors.Is(err, load.ErrNoLake) {
		t.Errorf("%v", err)
	}
	wantTold(t, h) // who typed it sees it

	if err := os.Rename(away, w.Cfg.Lake); err != nil {
		t.Fatal(err)
	}
	in.Failures = nil
	w.check(in)
	wantTold(t, h, "over (facts) | lake", "over failed | job nightly")
	if active, err := ActiveAlerts(w.Cfg); err != nil || len(active) != 3 {
		t.Errorf("what was told is not written down: %+v, %v", active, err)
	}
}

// What a daemon told stands in the lake; if that can't be read any more, the daemon knows it still.
func TestADaemonRemembersWhatADamagedLakeForgets(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.export(span(18, 19))
	in := AlertInput{Memory: &AlertMemory{}}
	w.check(in)
	wantTold(t, h, "firing late | acme")
	if err := os.WriteFile(filepath.Join(w.Cfg.Lake, "journal", "alerts.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.check(in)
	wantTold(t, h)
	if active, err := ActiveAlerts(w.Cfg); err != nil || len(active) != 1 {
		t.Errorf("it is not written anew: %+v, %v", active, err)
	}
}

// The journal's rules say what needs no journal, even if it can't be read.
func TestAJobThatCantBeginIsToldWithoutAJournal(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport},
		{Name: "hourly", Kind: config.KindLookback}}
	h := w.alerted(config.Rule{Name: "failed", Kind: config.AlertFailed})
	w.export(span(18, 19))
	lake, err := load.Open(w.Cfg.Lake, load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := lake.AppendRun(schemas.Run{RunID: "r", Job: "hourly", Command: "lookback", StartedAt: w.Now(), EndedAt: w.Now(), Status: schemas.StatusFailed}); err != nil {
		t.Fatal(err)
	}
	w.check(AlertInput{})
	wantTold(t, h, "firing failed | job hourly")
	path := filepath.Join(w.Cfg.Lake, "journal", "runs.jsonl")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	w.check(AlertInput{Failures: []JobFailure{{Job: "nightly", Attempts: 1, Error: "the journal can't be written", At: w.Now()}}})
	wantTold(t, h, "firing (facts) | journal", "firing failed | job nightly")
}

func TestAFailureThatWasMadeGoodIsOver(t *testing.T) {
	now := time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC)
	cfg := &config.Config{Accounts: []config.Account{{Name: "acme"}, {Name: "bee"}}}
	cfg.Schedule.Jobs = []config.Job{{Name: "close", Kind: config.KindClose}, {Name: "nightly", Kind: config.KindExport},
		{Name: "hourly", Kind: config.KindExport}}
	run := func(hour int, job, command, status string, accounts ...string) schemas.Run {
		r := schemas.Run{Job: job, Command: command, Status: status, StartedAt: now.Add(time.Duration(hour-24) * time.Hour)}
		r.EndedAt = r.StartedAt.Add(time.Minute)
		for _, a := range accounts {
			name, how, _ := strings.Cut(a, " ")
			r.Accounts = append(r.Accounts, schemas.RunAccount{Account: name, Status: how})
		}
		return r
	}
	failure := func(hour int, job string) []JobFailure {
		return []JobFailure{{Job: job, Attempts: 1, Error: "no key", At: now.Add(time.Duration(hour-24) * time.Hour)}}
	}
	for _, x := range []struct {
		name    string
		runs    []schemas.Run
		unbegun []JobFailure
		want    []string
	}{
		{"a job could not begin", nil, failure(1, "nightly"), []string{"job nightly"}},
		{"its job was removed", nil, failure(1, "gone"), nil},
		{"it was done since, by usagelake schedule --once", []schemas.Run{run(2, "nightly", "export", "done")}, failure(1, "nightly"), nil},
		{"or by hand", []schemas.Run{run(2, "", "export", "done", "acme done")}, failure(1, "nightly"), nil},
		{"it was done before", []schemas.Run{run(0, "nightly", "export", "done")}, failure(1, "nightly"), []string{"job nightly"}},
		{"another job of the kind was done", []schemas.Run{run(2, "hourly", "export", "done")}, failure(1, "nightly"), []string{"job nightly"}},
		{"another command was", []schemas.Run{run(2, "", "rebuild", "done")}, failure(1, "nightly"), []string{"job nightly"}},
		{"it was stopped since", []schemas.Run{run(2, "nightly", "export", "stopped")}, failure(1, "nightly"), []string{"job nightly"}},
		{"a job failed", []schemas.Run{run(1, "close", "close", "failed")}, nil, []string{"job close"}},
		{"somebody did it by hand", []schemas.Run{run(1, "close", "close", "failed"), run(2, "", "close", "done")}, nil, nil},
		{"somebody did it before", []schemas.Run{run(1, "", "close", "done"), run(2, "close", "close", "failed")}, nil, []string{"job close"}},
		{"somebody tried it", []schemas.Run{run(1, "close", "close", "failed"), run(2, "", "close", "failed")}, nil, []string{"job close"}},
		{"somebody did another thing", []schemas.Run{run(1, "close", "close", "failed"), run(2, "", "close --reopen", "done")}, nil, []string{"job close"}},
		{"by hand for the account that had failed", []schemas.Run{run(1, "nightly", "export", "partial", "acme failed", "bee done"), run(2, "", "export", "done", "acme done")}, nil, nil},
		{"by hand for another one", []schemas.Run{run(1, "nightly", "export", "partial", "acme failed", "bee done"), run(2, "", "export", "done", "bee done")}, nil, []string{"job nightly"}},
		{"the account that had failed is gone", []schemas.Run{run(1, "nightly", "export", "partial", "gone failed", "bee done"), run(2, "", "export", "done", "bee done")}, nil, nil},
		{"a job made good what was tried by hand", []schemas.Run{run(1, "", "export", "failed", "acme failed"), run(2, "nightly", "export", "done", "acme done")}, nil, nil},
		{"it failed again", []schemas.Run{run(1, "nightly", "export", "failed"), run(2, "", "export", "done"), run(3, "nightly", "export", "failed")}, nil, []string{"job nightly"}},
	} {
		g := &gatherer{cfg: cfg, now: now, today: schemas.DateOf(now)}
		g.ofJournal([]config.Rule{{Name: "failed", Kind: config.AlertFailed}}, x.runs, x.unbegun)
		var got []string
		for _, f := range g.found {
			got = append(got, f.Subject)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

func TestARefusedKeyIsForgottenWhereNobodyAsksAgain(t *testing.T) {
	now := time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC)
	run := func(daysAgo int, job, command, account, status string, requests int64) schemas.Run {
		return schemas.Run{Job: job, Command: command, StartedAt: now.AddDate(0, 0, -daysAgo), Accounts: []schemas.RunAccount{{Account: account, Status: status, RunCounts: schemas.RunCounts{Requests: requests}}}}
	}
	for _, x := range []struct {
		name string
		runs []schemas.Run
		want []string
	}{
		{"refused by hand", []schemas.Run{run(6, "", "balance", "acme", "refused", 1)}, []string{"acme refused by balance"}},
		{"a week ago", []schemas.Run{run(7, "", "balance", "acme", "refused", 1)}, nil},
		{"accepted since", []schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "", "balance", "acme", "done", 1)}, nil},
		{"a job's export was accepted since", []schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "nightly", "export", "acme", "done", 9)}, nil},
		{"or part of it", []schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "nightly", "export", "acme", "partial", 9)}, nil},
		{"before", []schemas.Run{run(6, "nightly", "export", "acme", "done", 9), run(5, "", "balance", "acme", "refused", 1)}, []string{"acme refused by balance"}},
		{"another account's", []schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "nightly", "export", "bee", "done", 9)}, []string{"acme refused by balance"}},
		{"without a request", []schemas.Run{run(6, "", "balance", "acme", "refused", 1), run(5, "nightly", "prune", "acme", "done", 0)}, []string{"acme refused by balance"}},
		// Timers that ask both again and again, with a key that isn't let see the balance: it must not be over and fire in turn.
		{"an export that no schedule runs", []schemas.Run{run(2, "", "balance", "acme", "refused", 1), run(1, "", "export", "acme", "done", 9)}, []string{"acme refused by balance"}},
		{"a job asks again, however late", []schemas.Run{run(90, "monthly", "lookback", "acme", "refused", 1), run(5, "nightly", "export", "acme", "done", 9)}, []string{"acme refused by lookback"}},
		{"a job of other accounts does not", []schemas.Run{run(90, "monthly", "lookback", "bee", "refused", 1)}, nil},
	} {
		cfg := &config.Config{Accounts: []config.Account{{Name: "acme"}, {Name: "bee"}}}
		cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport},
			{Name: "monthly", Kind: config.KindLookback, Accounts: []string{"acme"}}}
		g := &gatherer{cfg: cfg, now: now, today: schemas.DateOf(now)}
		g.ofJournal([]config.Rule{{Name: "key", Kind: config.AlertKey}}, x.runs, nil)
		var got []string
		for _, f := range g.found {
			got = append(got, f.Subject)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

// In a container each process has the PID 1, so the one that holds the lake seems to be the one that was killed.
func TestARunThatWasKilledIsNotUnderWayForItsPID(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	w.Cfg.Schedule.Jobs = []config.Job{{Name: "nightly", Kind: config.KindExport}}
	h := w.alerted(config.Rule{Name: "failed", Kind: config.AlertFailed})
	lake, err := load.Create(w.Cfg.Lake, load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(id string) (unlock func() error) {
		t.Helper()
		unlock, err := lake.Lock(t.Context(), "export", true)
		if err != nil {
			t.Fatal(err)
		}
		if err := lake.AppendRun(schemas.Run{RunID: id, Job: "nightly", Command: "export", PID: os.Getpid(), StartedAt: w.Now(), Status: schemas.StatusRunning}); err != nil {
			t.Fatal(err)
		}
		return unlock
	}
	statuses := func() (out []string) {
		t.Helper()
		st, err := ReadStatus(t.Context(), w.Cfg.Lake, "", w.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range st.Runs {
			out = append(out, r.Status)
		}
		return out
	}
	unlock := begin("a")
	w.check(AlertInput{})
	wantTold(t, h)
	if got := statuses(); !slices.Equal(got, []string{schemas.StatusRunning}) {
		t.Errorf("%q", got)
	}
	for _, id := range []string{"b", "c"} {
		if err := unlock(); err != nil { // killed
			t.Fatal(err)
		}
		w.check(AlertInput{})
		unlock = begin(id)
		w.check(AlertInput{})
	}
	wantTold(t, h, "firing failed | job nightly")
	if got := statuses(); !slices.Equal(got, []string{schemas.StatusRunning, schemas.StatusInterrupted, schemas.StatusInterrupted}) {
		t.Errorf("%q", got)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestOneChecksAtATimeAndADamagedMemoryTellsAnew(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "late", Kind: config.AlertFreshness, OlderThan: config.Duration(time.Hour)})
	w.export(span(18, 19))
	lake, err := load.Open(w.Cfg.Lake, load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lake.LockState(t.Context(), alertsState)
	if err != nil {
		t.Fatal(err)
	}
	if r := w.check(AlertInput{}); !r.Held {
		t.Error("two check at once")
	}
	wantTold(t, h)
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	w.check(AlertInput{})
	wantTold(t, h, "firing late | acme")
	path := filepath.Join(w.Cfg.Lake, "journal", "alerts.json")
	for _, damage := range []string{"", "{", "[]", `{"version":99}`, "\x00\x00"} {
		if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		w.check(AlertInput{})
		wantTold(t, h, "firing late | acme")
		w.check(AlertInput{})
		wantTold(t, h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CheckAlerts(ctx, w.Cfg, w.env, AlertInput{}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestReceiversAreTriedWithoutALake(t *testing.T) {
	w := newWorld(t, kit.Settings{})
	h := w.alerted()
	w.Cfg.Alerts.Receivers = append(w.Cfg.Alerts.Receivers, config.Receiver{Name: "clear", WebhookEnv: "CLEAR"})
	w.Keys["CLEAR"] = "http://hooks.example/secret"
	d, err := TryReceivers(t.Context(), w.Cfg, w.env, "")
	if err != nil || len(d) != 2 || d[0].Sent != 1 || !strings.Contains(d[1].Error, "CLEAR: the URL is http://") || strings.Contains(d[1].Error, "secret") {
		t.Errorf("%+v, %v", d, err)
	}
	wantTold(t, h, "test test | ops")
	if _, err := TryReceivers(t.Context(), w.Cfg, w.env, "nobody"); !errors.Is(err, config.ErrUsage) {
		t.Errorf("%v", err)
	}
}
