package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/jobs/serve/finance"
	"github.com/usagelake/usagelake/schemas"
)

// ended is a run of the hourly job that ended.
func ended(status string, err error) schedule.RunEvent {
	return schedule.RunEvent{
		Job: schedule.JobState{Name: "hourly", Kind: config.KindExport}, Started: noon.Add(-time.Minute),
		Elapsed: 58 * time.Second, Err: err,
		Result: &jobs.Result{
			Run: schemas.Run{Status: status, Accounts: []schemas.RunAccount{
				{Account: "acme", RunCounts: schemas.RunCounts{Records: 1200, Requests: 90, Retries: 3, Throttled: 1,
					Quarantined: 2, Windows: 4}},
				{Account: "beta-labs", Failed: make([]schemas.FailedWindow, 5),
					RunCounts: schemas.RunCounts{Requests: 8, Retries: 7}},
				{Account: "from-the-api", RunCounts: schemas.RunCounts{Records: 1}},
			}},
			Took: []time.Duration{50 * time.Second, 40 * time.Second, time.Second},
		},
	}
}

// counted is a busy server that has counted runs of each kind.
func counted(w *world) *Server {
	s := w.server()
	s.RunStarted(schedule.JobState{Name: "hourly"})
	s.RunEnded(ended(schemas.StatusDone, nil))
	s.RunEnded(ended(schemas.StatusPartial, errors.New("in part")))
	s.RunEnded(schedule.RunEvent{Job: schedule.JobState{Name: "hourly", Kind: config.KindExport},
		Err:     errors.New("no key"),
		Elapsed: time.Millisecond})
	s.ConfigReloaded(true)
	s.ConfigReloaded(false)
	w.status.CheckedAt = noon
	return s
}

// scraped is what Prometheus gets, without what the libraries tell of process and runtime.
func scraped(t *testing.T, s *Server) string {
	t.Helper()
	s.look(t.Context())
	s.bytes.get(t.Context())
	r := ask(s, "/metrics")
	if r.Code != http.StatusOK {
		t.Fatal(r.Code, r.Body)
	}
	var own strings.Builder
	for line := range strings.Lines(r.Body.String()) {
		if strings.Contains(line, namespace) {
			own.WriteString(line)
		}
	}
	return own.String()
}

func TestTheMetricsAreAsTheyWereReadInReview(t *testing.T) {
	w := busy()
	w.status.Lake = t.TempDir()
	for _, name := range []string{"raw/acct=acme/date=2026-11-01/1.zst", "usage/acct=acme/date=2026-11-01/usage.parquet"} {
		path := filepath.Join(w.status.Lake, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, len(name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := regexp.MustCompile(`duckdb="[^"]*"`).ReplaceAllString(scraped(t, counted(w)), `duckdb="v"`)
	golden(t, "metrics.txt", []byte(got))
}

func TestMetricsFollowTheConventions(t *testing.T) {
	r := ask(counted(busy()), "/metrics")
	problems, err := promlint.New(bytes.NewReader(r.Body.Bytes())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestSeriesAreOfTheConfigAlone(t *testing.T) {
	w := busy()
	s := counted(w)
	text := scraped(t, s)
	for _, never := range []string{"from-the-api", "old-team", "script", `currency="usd`} {
		if strings.Contains(text, never) {
			t.Errorf("there is a series of %s", never)
		}
	}
	// Accounts and jobs that go take their series along.
	w.accounts = []string{"acme"}
	w.state.Jobs = w.state.Jobs[1:]
	s.ConfigReloaded(true)
	text = scraped(t, s)
	for _, gone := range []string{"beta-labs", `job_name="hourly"`} {
		if strings.Contains(text, gone) {
			t.Errorf("%s has left the config, and its series stay", gone)
		}
	}
	if !strings.Contains(text, `usagelake_records_total{account="acme"} 2400`) {
		t.Error("the others stay", text)
	}
}

func TestAnAPICannotMakeSeries(t *testing.T) {
	w := well()
	w.balances = nil
	for i := range 50 {
		w.balances = append(w.balances, Balance{Account: "acme", Currency: fmt.Sprintf("X%d", i), Balance: "1",
			ObservedAt: noon.Add(time.Duration(i) * time.Second)})
	}
	text := scraped(t, w.server())
	if n := strings.Count(text, "usagelake_balance{"); n != 1 ||
		!strings.Contains(text, `usagelake_balance{account="acme",currency="unknown"} 1`) {
		t.Error(n, text)
	}
}

func TestFailuresAreCountedUntilARunIsDone(t *testing.T) {
	s := well().server()
	fail := func(status string) {
		e := ended(status, errors.New("x"))
		e.Job.Name = "nightly"
		s.RunEnded(e)
	}
	for _, c := range []struct {
		status string
		want   string
	}{{schemas.StatusFailed, "1"}, {schemas.StatusPartial, "2"}, {schemas.StatusStopped, "2"},
		{schemas.StatusRefused, "3"}, {schemas.StatusDone, "0"}, {schemas.StatusFailed, "1"}} {
		fail(c.status)
		if text := scraped(t, s); !strings.Contains(text,
			`usagelake_job_consecutive_failures{job_name="nightly"} `+c.want+"\n") {
			t.Errorf("after %s: want %s in %s", c.status, c.want, text)
		}
	}
}

func TestNoLakeYetIsNoFailureOfTheMetrics(t *testing.T) {
	w := well()
	w.status, w.readErr = nil, errNoLake
	text := scraped(t, w.server())
	for _, want := range []string{"usagelake_status_readable 1", `usagelake_records_total{account="acme"} 0`,
		"usagelake_scheduler_stuck 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	w.readErr = errors.New("input/output error")
	if text := scraped(t, w.server()); !strings.Contains(text, "usagelake_status_readable 0") {
		t.Error(text)
	}
}

// known are the names of the series that a scrape can have.
func known(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, m := range everySeries {
		names[fqName(m.desc)] = true
	}
	opts := busy().options()
	opts.Finance = finance.New(finance.Options{Now: opts.Now})
	families, err := counted(busy()).process.Gather()
	more, err2 := New(opts).process.Gather()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for _, f := range append(families, more...) {
		if f.GetType() == dto.MetricType_HISTOGRAM {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names[f.GetName()+suffix] = true
			}
		} else {
			names[f.GetName()] = true
		}
	}
	return names
}

var descName = regexp.MustCompile(`fqName: "([^"]+)"`)

func fqName(d *prometheus.Desc) string { return descName.FindStringSubmatch(d.String())[1] }

// ownName finds metrics in texts; names of rules and of files have other forms.
var ownName = regexp.MustCompile(`\busagelake_[a-z0-9_]+\b`)

func TestEveryMetricThatIsUsedExistsAndEachIsDocumented(t *testing.T) {
	names := known(t)
	read := func(elem ...string) string {
		b, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, elem...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	used := map[string]bool{}
	for _, file := range [][]string{{"deploy", "grafana", "usagelake.json"},
		{"deploy", "prometheus", "usagelake.rules.yml"}, {"deploy", "prometheus", "usagelake.rules.test.yml"},
		{"docs", "monitoring.md"}} {
		for _, name := range ownName.FindAllString(read(file...), -1) {
			used[name] = true
			if !names[name] && !names[name+"_bucket"] {
				t.Errorf("%s: there is no metric %s", filepath.Join(file...), name)
			}
		}
	}
	docs := read("docs", "monitoring.md")
	for _, m := range everySeries {
		if name := fqName(m.desc); !strings.Contains(docs, "`"+name) {
			t.Errorf("docs/monitoring.md doesn't tell of %s", name)
		}
	}
	if len(used) < 20 {
		t.Errorf("only %d metrics are used: %v", len(used), slices.Sorted(maps.Keys(used)))
	}
}

func TestTheDashboardCanBeImported(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "grafana", "usagelake.json"))
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ Type, UID string }
	var d struct {
		UID, Title    string
		SchemaVersion int
		Panels        []struct {
			ID         int
			Type       string
			Title      string
			Datasource source
			GridPos    struct{ X, Y, W, H int }
			Targets    []struct {
				Datasource source
				Expr       string
			}
		}
		Templating struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if d.SchemaVersion < 39 || d.UID == "" || d.Templating.List[0].Name != "datasource" ||
		d.Templating.List[0].Type != "datasource" {
		t.Errorf("%d %q %+v", d.SchemaVersion, d.UID, d.Templating.List)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %d is there twice", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or past the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q asks nothing, or of a data source that others don't have", p.Title)
		}
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" || !strings.Contains(q.Expr, "$instance") {
				t.Errorf("panel %q: %s", p.Title, q.Expr)
			}
		}
	}
}

func TestEachAlertRuleIsTestedToFireAndToBeSilent(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "prometheus", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	rules := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read("usagelake.rules.yml"), -1)
	tests, docs := read("usagelake.rules.test.yml"), read(filepath.Join("..", "..", "docs", "monitoring.md"))
	for _, r := range rules {
		for _, want := range []string{"exp_alerts:\n", "exp_alerts: []\n"} {
			if !strings.Contains(tests, "alertname: "+r[1]+"\n        "+want) {
				t.Errorf("%s: no test with %q", r[1], want)
			}
		}
		if !strings.Contains(docs, "`"+r[1]+"`") {
			t.Errorf("docs/monitoring.md doesn't tell of %s", r[1])
		}
	}
	if len(rules) < 10 {
		t.Errorf("%d rules", len(rules))
	}
}

// promtool runs Prometheus's checker, where there is one.
func promtool(t *testing.T, stdin []byte, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no promtool, and CI is set")
		}
		t.Skip("no promtool")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

func TestPromtoolAcceptsMetricsAndRules(t *testing.T) {
	rules := filepath.Join("..", "..", "deploy", "prometheus")
	promtool(t, ask(counted(busy()), "/metrics").Body.Bytes(), "check", "metrics")
	promtool(t, nil, "check", "rules", filepath.Join(rules, "usagelake.rules.yml"))
	promtool(t, nil, "check", "config", "--syntax-only", filepath.Join(rules, "prometheus.yml"))
	promtool(t, nil, "test", "rules", filepath.Join(rules, "usagelake.rules.test.yml"))
}
