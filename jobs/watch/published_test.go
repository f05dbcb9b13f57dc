package watch

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/internal/kit"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// publishFacts puts a published file into the lake that holds the figures of views as they are given, so that rules can
// be asked about any.
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
		"CREATE TABLE balance_runway (account VARCHAR, currency VARCHAR, observed_at TIMESTAMPTZ, balance DECIMAL(38,12), " +
			"burn_7_days DECIMAL(38,6), days_left_7 DECIMAL(18,1), days_left_28 DECIMAL(18,1), days_left_7_coupons_beside " +
			"DECIMAL(18,1), days_left_28_coupons_beside DECIMAL(18,1))",
		"CREATE TABLE budget_status (budget VARCHAR, period_start DATE, period_end DATE, currency VARCHAR, amount " +
			"DECIMAL(38,12), spent DECIMAL(38,12), forecast DECIMAL(38,2), forecast_low DECIMAL(38,2), forecast_high " +
			"DECIMAL(38,2), completeness VARCHAR)",
		"CREATE TABLE missing_rates (\"month\" DATE, period VARCHAR, currency VARCHAR, book_currency VARCHAR, days BIGINT, " +
			"first_day DATE, last_day DATE, lacks VARCHAR)",
		"CREATE TABLE quality_issues (account VARCHAR, usage_date DATE, check_name VARCHAR, severity VARCHAR, field " +
			"VARCHAR, model VARCHAR, records BIGINT, sample_id VARCHAR, detail VARCHAR)",
		"CREATE TABLE coverage (account VARCHAR, usage_date DATE, fetched_at TIMESTAMPTZ, owns BOOLEAN)",
		"CREATE TABLE quarantine (account VARCHAR, window_start TIMESTAMPTZ, reason VARCHAR, fetched_at TIMESTAMPTZ)",
		`CREATE TABLE anomaly_events (usage_date DATE, kind VARCHAR, "scope" VARCHAR, scope_value VARCHAR, scope_name VARCHAR,
			currency VARCHAR, observed DECIMAL(38,12), expected DECIMAL(38,6), deviation DECIMAL(38,6), detail VARCHAR,
			also STRUCT("scope" VARCHAR, scope_value VARCHAR, scope_name VARCHAR)[])`,
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
	const k = "INSERT INTO balance_runway (account, currency, observed_at, balance, burn_7_days, days_left_7, " +
		"days_left_28) VALUES "
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
				"('acme', NULL, '2026-11-01 11:00:00+00', 1, NULL, NULL, NULL), ('acme', 'USD', '2026-11-20 11:00:00+00', 500, " +
				"NULL, NULL, NULL)"}, nil},
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
			[]string{"acme: the balance of account acme, 50.00 USD, lasts for about 9.8 days (fewer than 10); about 12.5 if " +
				"its coupons stand beside it"}},
		{"nothing burns", config.Rule{Kind: config.AlertRunway},
			[]string{k + "('acme', 'USD', '2026-11-20 11:00:00+00', 0, NULL, NULL, NULL)"}, nil},

		{"a threshold by the last digit", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 800, 1100, NULL, NULL, " +
				"'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: 800.00 USD of 1,000.00 spent, the threshold 0.8 is reached"}},
		{"just below it", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 799.999999999999, 1100, " +
				"NULL, NULL, 'complete')"}, nil},
		{"the rule's own", config.Rule{Kind: config.AlertBudget, Thresholds: []string{"0.5", "0.25"}},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 600.129, 1100, NULL, " +
				"NULL, 'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: 600.13 USD of 1,000.00 spent, the threshold 0.5 is reached"}},
		{"a period whose last days came late", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-11-18', 'USD', 1000, 1000, 1000, NULL, NULL, " +
				"'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: 1,000.00 USD of 1,000.00 spent, the threshold 1 is reached"}},
		{"past and coming periods, and a budget of another config", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-10-01', '2026-11-01', 'USD', 1, 2, 2, NULL, NULL, " +
				"'complete'), ('r', '2026-12-01', '2027-01-01', 'USD', 1, 2, 2, NULL, NULL, 'complete'), ('old', '2026-11-01', " +
				"'2026-12-01', 'USD', 1, 2, 2, NULL, NULL, 'complete')"}, nil},
		{"what is spent isn't known", config.Rule{Kind: config.AlertBudget},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'EUR', 1000, NULL, NULL, NULL, NULL, " +
				"'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: what is spent isn't known in EUR, for a rate is missing"}},
		{"rates that are missing", config.Rule{Kind: config.AlertRate},
			[]string{"INSERT INTO missing_rates VALUES ('2026-11-01', '2026-P08', 'USD', 'EUR', 3, '2026-11-04', " +
				"'2026-11-09', 'no rate of USD to EUR'), ('2026-10-01', '2026-P07', 'CNY', 'EUR', 1, '2026-10-31', " +
				"'2026-10-31', 'none of CNY')"},
			[]string{"CNY 2026-P07: what is charged in CNY in 2026-P07 can't be converted into EUR on 1 day from 2026-10-31 " +
				"to 2026-10-31: none of CNY", "USD 2026-P08: what is charged in USD in 2026-P08 can't be converted into EUR on 3 " +
				"days from 2026-11-04 to 2026-11-09: no rate of USD to EUR"}},
		{"no rate is missing", config.Rule{Kind: config.AlertRate}, nil, nil},
		{"a forecast", config.Rule{Kind: config.AlertForecast},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 600, 1000.01, 900, " +
				"1100, 'complete')"},
			[]string{"r 2026-11-01: budget r from 2026-11-01: 600.00 USD of 1,000.00 spent, about 1,000.01 expected by " +
				"2026-12-01"}},
		{"a forecast that fits, and one of a period that is over", config.Rule{Kind: config.AlertForecast},
			[]string{"INSERT INTO budget_status VALUES ('r', '2026-11-01', '2026-12-01', 'USD', 1000, 600, 1000, 900, 1100, " +
				"'complete'), ('r', '2026-11-01', '2026-11-19', 'USD', 1, 2, 2, 2, 2, 'complete')"}, nil},

		{"quality errors of days that were fetched lately", config.Rule{Kind: config.AlertQuality}, []string{
			q + "('acme', '2026-01-05', 'net_mismatch', 'error', 'amount', 'm`<a>', 3, 'id-1', 'amount 1, expected 2'), " +
				"('acme', '2026-01-05', 'net_mismatch', 'error', 'amount', 'n', 4, 'id-2', NULL), ('acme', '2026-01-05', " +
				"'price_change', 'warning', NULL, NULL, 1, NULL, NULL), ('acme', '2026-01-05', 'quarantined', 'error', NULL, " +
				"NULL, 1, NULL, NULL), ('acme', '2026-01-06', 'net_mismatch', 'error', NULL, NULL, 1, NULL, NULL)",
			c + "('acme', '2026-01-05', '2026-11-17 00:00:00+00', true), ('acme', '2026-01-06', '2026-11-16 23:59:59+00', " +
				"true), ('acme', '2026-01-06', '2026-11-20 00:00:00+00', false)"},
			[]string{"acme 2026-01-05 net_mismatch: account acme, 2026-01-05: the check net_mismatch failed for 7 records, " +
				"such as id-1 amount 1, expected 2"}},
		{"quarantined records", config.Rule{Kind: config.AlertQuarantine, Within: config.Duration(24 * time.Hour)},
			[]string{"INSERT INTO quarantine VALUES ('acme', '2026-11-18 23:00:00+00', 'no id', '2026-11-19 00:00:00+00'), " +
				"('acme', '2026-11-18 01:00:00+00', 'no time', '2026-11-19 00:00:00+00'), ('acme', '2026-11-17 01:00:00+00', 'no " +
				"time', '2026-11-18 00:00:00+00')"},
			[]string{"acme 2026-11-18: account acme, 2026-11-18: 2 records are in quarantine and count in no sum: no id, no " +
				"time"}},
		{"anomalies", config.Rule{Kind: config.AlertAnomaly, Scopes: []string{"token", "model"}},
			[]string{"INSERT INTO anomaly_events VALUES ('2026-11-19', 'spike', 'token', E'tk\\n1', NULL, 'USD', 9.129, 2, " +
				"7.129, 'x', []), ('2026-11-19', 'spike', 'account', 'acme', NULL, 'USD', 9, 2, 7, 'x', []), ('2026-11-16', " +
				"'spike', 'token', 'tk_2', NULL, 'USD', 9, 2, 7, 'x', []), ('2026-11-18', 'price change', 'model', 'm', NULL, " +
				"NULL, NULL, NULL, NULL, '1, then 2', [])"},
			[]string{"2026-11-19 spike token tk\n1 USD: spike of token tk 1 on 2026-11-19: 9.13 USD, 2.00 expected (x)",
				"2026-11-18 price change model m : price change of model m on 2026-11-18: 1, then 2"}},
		{"anomalies of an account", config.Rule{Kind: config.AlertAnomaly, Accounts: []string{"acme"}},
			[]string{"INSERT INTO anomaly_events VALUES ('2026-11-19', 'spike', 'account', 'bee', NULL, 'USD', 9, 2, 7, 'x', " +
				"[]), ('2026-11-19', 'spike', 'token', 'acme', NULL, 'USD', 9, 2, 7, 'x', []), ('2026-11-19', 'spike', 'token', " +
				"'tk_3', NULL, 'USD', 8, 2, 6, 'x', [{'scope': 'account', 'scope_value': 'acme', 'scope_name': NULL}])"},
			[]string{"2026-11-19 spike token tk_3 USD: spike of token tk_3 on 2026-11-19: 8.00 USD, 2.00 expected (x); it " +
				"explains account acme"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := &world{World: &kit.World{TB: t}}
			w.At(kit.Start)
			w.Cfg = &config.Config{Lake: t.TempDir(), Accounts: []config.Account{{Name: "acme"}, {Name: "bee"}},
				Budgets: []config.Budget{{Name: "r", Amount: "1000", Currency: "USD"}}}
			lake, err := publish.Create(w.Cfg.Lake, publish.Options{})
			if err != nil {
				t.Fatal(err)
			}
			w.publishFacts(x.facts...)
			x.rule.Name = "rule"
			w.Cfg.Alerts = config.Alerts{Receivers: []config.Receiver{{Name: "log", Log: true}}, Rules: []config.Rule{x.rule}}
			for _, err := range w.Cfg.Alerts.Validate(w.Cfg.AccountNames(), w.Cfg.Budgets) {
				t.Fatal(err)
			}
			found, unknown, err := gather(t.Context(), w.Cfg, w.env, lake, nil, kit.Start, Input{}, &remembered{})
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

// Of a file that an older version published, which lacks what a rule asks, there is one finding that says so, and what
// can be told is.
func TestAFileOfOlderTablesIsOneFinding(t *testing.T) {
	const mends = "the next publish mends it, and until then nothing is known of odd, odd too"
	for _, c := range []struct {
		name    string
		version int
		want    string
	}{
		{"older", schemas.SQLVersion - 1, "usage.duckdb was published by an older version (tables %d, this one makes %d); " +
			mends},
		{"newer", schemas.SQLVersion + 1, "usage.duckdb was published by a newer version (tables %d, this one makes %d); " +
			mends},
		{"the same", schemas.SQLVersion, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := "the published file can't be read, so nothing is known of odd, odd too: "
			if c.want != "" {
				want = fmt.Sprintf(c.want, c.version, schemas.SQLVersion)
			}
			w := &world{World: &kit.World{TB: t}}
			w.At(kit.Start)
			w.Cfg = &config.Config{Lake: t.TempDir(), Accounts: []config.Account{{Name: "acme"}}}
			lake, err := publish.Create(w.Cfg.Lake, publish.Options{})
			if err != nil {
				t.Fatal(err)
			}
			w.publishFacts("INSERT INTO balance_runway (account, currency, observed_at, balance) VALUES ('acme', 'USD', "+
				"'2026-11-20 11:00:00+00', 5)",
				"CREATE TABLE meta (schema_version INTEGER)", fmt.Sprintf("INSERT INTO meta VALUES (%d)", c.version),
				"ALTER TABLE anomaly_events DROP scope_name")
			w.Cfg.Alerts.Rules = []config.Rule{{Name: "low", Kind: config.AlertBalance, Below: "100"},
				{Name: "odd", Kind: config.AlertAnomaly}, {Name: "odd too", Kind: config.AlertAnomaly}}
			found, unknown, err := gather(t.Context(), w.Cfg, w.env, lake, nil, kit.Start, Input{}, &remembered{})
			if err != nil || len(found) != 2 || found[0].Rule != "low" || found[1].Rule != ruleFacts || !unknown["odd"] ||
				!unknown["odd too"] || unknown["low"] {
				t.Fatalf("%v, %v, %+v", err, unknown, found)
			}
			said := found[1].Summary
			if !strings.HasPrefix(said, want) || c.name != "the same" &&
				(said != want || strings.Contains(fmt.Sprint(found[1].Details), "scope_name")) {
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
	if err := os.WriteFile(w.Cfg.Names, []byte("kind,id,name\naccount,acme,Acme Ltd\ntoken,tk_3,Nightly\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	lake, err := publish.Create(w.Cfg.Lake, publish.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.publishFacts("INSERT INTO balance_runway (account, currency, observed_at, balance) VALUES ('acme', 'USD', "+
		"'2026-11-20 11:00:00+00', 5)",
		"INSERT INTO anomaly_events VALUES ('2026-11-19', 'spike', 'token', 'tk_3', 'Nightly', 'USD', 8, 2, 6, 'x', "+
			"[{'scope': 'account', 'scope_value': 'acme', 'scope_name': 'Acme Ltd'}])")
	w.Cfg.Alerts.Rules = []config.Rule{{Name: "low", Kind: config.AlertBalance, Below: "100"},
		{Name: "odd", Kind: config.AlertAnomaly}}
	want := []string{"acme: the balance of account Acme Ltd (acme) is 5.00 USD, below 100.00",
		"2026-11-19 spike token tk_3 USD: spike of token Nightly (tk_3) on 2026-11-19: 8.00 USD, 2.00 expected (x); it " +
			"explains account Acme Ltd (acme)"}
	for range 2 {
		found, _, err := gather(t.Context(), w.Cfg, w.env, lake, nil, kit.Start, Input{}, &remembered{})
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
		want[1] = "2026-11-19 spike token tk_3 USD: spike of token tk_3 on 2026-11-19: 8.00 USD, 2.00 expected (x); it " +
			"explains account Acme Ltd (acme)"
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
	r := w.check(Input{})
	told := h.Told(t)
	for _, want := range []string{"firing low | acme", "firing runway | acme", "firing budget | all 2026-11-01",
		"firing forecast | all 2026-11-01"} {
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
		"quality": "SELECT count(*) FROM (SELECT DISTINCT usage_date, check_name FROM quality_issues WHERE severity = " +
			"'error' AND check_name <> 'quarantined')",
		"anomaly": `SELECT count(*) FROM (SELECT DISTINCT usage_date, kind, "scope", scope_value, currency
			FROM anomaly_events)`,
	} {
		if want := read.Ask(query)[0][0]; fmt.Sprint(count(rule)) != want || rule == "quarantine" && want == "0" {
			t.Errorf("%s: %d alerts, the view has %s", rule, count(rule), want)
		}
	}
	if count("(facts)") > 0 {
		t.Errorf("%+v", r.Firing)
	}
}

// The published file is opened when it or the day changed, and not every minute.
func TestThePublishedFileIsAskedOnceAnew(t *testing.T) {
	w := newWorld(t, kit.Settings{PerDay: 20})
	h := w.alerted(config.Rule{Name: "low", Kind: config.AlertBalance, Below: "100"})
	w.export(span(19, 20))
	w.publishFacts("INSERT INTO balance_runway VALUES ('acme', 'USD', '2026-11-20 11:00:00+00', 1, NULL, NULL, NULL, " +
		"NULL, NULL)")
	db := filepath.Join(w.Cfg.Lake, "usage.duckdb")
	w.check(Input{})
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
	w.check(Input{})
	wantTold(t, h, "firing low | acme")
	w.Cfg.Alerts.Rules[0].Below = "0.5"
	w.check(Input{})
	wantTold(t, h, "firing (facts) | published file")
}
