package serve

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
)

const namespace = "usagelake_"

// series is one metric: its description, and what it counts as.
type series struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) series {
	return series{prometheus.NewDesc(namespace+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) series {
	return series{prometheus.NewDesc(namespace+name, help, labels, nil), prometheus.CounterValue}
}

// The metrics. Labels are accounts, jobs, rules of the config and words of ours; a name that leaves the config takes
// its series along. A job's label is job_name, for job is what Prometheus calls what it scrapes. The currency of a
// balance is the only text of the API's, so it counts only as three capital letters and only the newest one of an
// account.
var (
	buildInfo = gauge("build_info", "1, by the versions of usagelake and of the DuckDB library in it.", "version",
		"duckdb")
	startTime = gauge("scheduler_start_time_seconds", "When the scheduler began.")
	stuck     = gauge("scheduler_stuck",
		"1 if the scheduler doesn't answer, or runs nothing although a job is overdue; else 0.")

	runs       = counter("runs_total", "Scheduled runs that ended.", "job_name", "kind", "status")
	jobRunning = gauge("job_running", "1 while a run of the job is under way, else 0.", "job_name", "kind")
	jobBegan   = gauge("job_run_start_time_seconds", "When the run that is under way began.", "job_name")
	jobNext    = gauge("job_next_run_timestamp_seconds", "When the job runs next, jitter and backoff included.",
		"job_name")
	jobSuccess = gauge("job_last_success_timestamp_seconds",
		"When the job's last run that was wholly done ended. No series before the first.", "job_name")
	jobEnded = gauge("job_last_end_timestamp_seconds",
		"When the job's last run ended, however it went. No series before the first.", "job_name")
	jobFailures = gauge("job_consecutive_failures",
		"Runs that failed, or were done in part, since the last that was done.", "job_name")
	records  = counter("records_total", "Usage records fetched and sealed by scheduled runs.", "account")
	requests = counter("requests_total",
		"Requests sent to the Portal by scheduled runs, retries and balance included.", "account")
	retries   = counter("retries_total", "Of the requests, those that repeat a failed one.", "account")
	throttled = counter("throttled_total", "Of the requests, those answered by 429.", "account")
	failed    = counter("windows_failed_total",
		"Windows that scheduled runs could not fetch. The next run tries them again.", "account")
	quarantined = counter("quarantined_records_total",
		"Records that could not be normalised, in the days that scheduled runs wrote. A day that is written again counts "+
			"again.", "account")
	requestRate = gauge("last_run_requests_per_second",
		"Requests of the account in its last scheduled run, by the time its part of the run took. Low in short runs.",
		"account")
	freshness = gauge("freshness_seconds",
		"How long ago the account's coverage ends. No series before the first export.", "account")
	expected = gauge("freshness_expected_seconds",
		"How long ago it may end: twice the longest time between two exports of the schedule.", "account")
	gaps       = gauge("coverage_gaps", "Gaps within the account's coverage.", "account")
	gapSeconds = gauge("coverage_gap_seconds", "How long the gaps within the account's coverage are together.",
		"account")
	staleDays = gauge("stale_partitions", "Days of the account that were fetched and are not in the tables yet.",
		"account")
	damagedDays = gauge("unreadable_partitions", "Days of the account whose file can't be read.", "account")
	held        = gauge("lake_records", "Usage records of the account in the lake.", "account")
	rejected    = gauge("lake_quarantined_records", "Quarantined records of the account in the lake.", "account")
	issues      = gauge("lake_quality_issues",
		"Warnings and errors of the quality checks, of the account's days in the lake.", "account")
	lakeBytes = gauge("lake_bytes",
		"Size of the lake's files, looked at every ten minutes. No series if that takes too long.", "part")
	published = gauge("published_timestamp_seconds", "When usage.duckdb was published last.")
	intruded  = gauge("published_intruded",
		"1 if another program wrote into usage.duckdb since it was published, or its log lies beside the file, else 0.")
	delivered = gauge("delivered_timestamp_seconds",
		"When the lake was last delivered to this place. No series before the first time.", "delivery")
	deliveryFailing = gauge("delivery_failing",
		"1 if the last delivery to this place failed, else 0: the next one makes it up.", "delivery")
	balance = gauge("balance",
		"Balance of the account when it was asked last, rounded to a float for graphs and thresholds. The exact one is in "+
			"the lake.", "account", "currency")
	balanceAt    = gauge("balance_observed_timestamp_seconds", "When the account's balance was asked last.", "account")
	balanceLasts = gauge("balance_runway_seconds",
		"How long the balance lasts at the burn of the last seven days. An estimate; no series if nothing burns.", "account")
	firing      = gauge("alerts_firing", "Alerts that fire, by the rule of the config.", "rule", "severity")
	undelivered = gauge("alerts_undelivered", "Alerts that fire and could not be delivered to somebody who is to know.")
	reloads     = counter("config_reloads_total", "Times that the config was read anew.", "result")
	reloadOK    = gauge("config_last_reload_successful",
		"1 if the config was accepted when it was read last, else 0: the one before it goes on.")
	reloadAt = gauge("config_last_reload_success_timestamp_seconds", "When the config in force was read.")
	statusAt = gauge("status_timestamp_seconds",
		"When the lake was read for what stands here. No series before the first time.")
	statusOK = gauge("status_readable",
		"1 if the lake could be read when it was tried last, else 0. A lake that doesn't exist yet is readable.")
	everySeries = []series{buildInfo, startTime, stuck, runs, jobRunning, jobBegan, jobNext, jobSuccess, jobEnded,
		jobFailures, records, requests, retries, throttled,
		failed, quarantined, requestRate, freshness, expected, gaps, gapSeconds, staleDays, damagedDays, held, rejected,
		issues, lakeBytes, published, intruded, delivered, deliveryFailing, balance,
		balanceAt, balanceLasts, firing, undelivered, reloads, reloadOK, reloadAt, statusAt, statusOK}
)

// metrics answers Prometheus from what was read last. Each answer has a registry of its own for what is of the moment,
// beside that of the process: what it collects is one view, and two who ask at once don't share it.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	now := prometheus.NewRegistry()
	now.MustRegister(snapshot{s.look(r.Context()), s.counts})
	promhttp.HandlerFor(prometheus.Gatherers{s.process, now}, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError, // one series that is wrong doesn't hide the others
	}).ServeHTTP(w, r)
}

// snapshot collects a view and the counts at one moment.
type snapshot struct {
	view   *view
	counts *counts
}

// Describe tells all metrics.
func (s snapshot) Describe(out chan<- *prometheus.Desc) {
	for _, m := range everySeries {
		out <- m.desc
	}
}

// Collect tells what the metrics are.
func (s snapshot) Collect(out chan<- prometheus.Metric) {
	set := func(m series, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
	}
	// A time that isn't known has no series, rather than 1970.
	at := func(m series, t time.Time, labels ...string) {
		if !t.IsZero() {
			set(m, float64(t.UnixMilli())/1000, labels...)
		}
	}
	v := s.view
	set(buildInfo, 1, v.version, publish.DuckDBVersion())
	set(stuck, truth(v.stuck() != ""))
	// Before the scheduler has answered once nothing is known of it, but that it may be stuck.
	if !v.state.At.IsZero() {
		st := v.state.Value
		at(startTime, st.StartedAt)
		set(reloadOK, truth(st.ConfigError == ""))
		at(reloadAt, st.ConfigLoadedAt)
	}
	// Held to the end, for figures of one moment. A run that ends meanwhile waits for the answer to be collected, which is
	// memory alone.
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	set(reloads, float64(s.counts.reloads[true]), "ok")
	set(reloads, float64(s.counts.reloads[false]), "refused")
	for _, j := range v.state.Value.Jobs {
		s.collectJob(j, set, at)
	}
	// Of the accounts of the config, whether they have run or not: with a 0 from the start the first failure is an
	// increase.
	for _, name := range v.accounts() {
		c := s.counts.of(name)
		set(records, float64(c.Records), name)
		set(requests, float64(c.Requests), name)
		set(retries, float64(c.Retries), name)
		set(throttled, float64(c.Throttled), name)
		set(failed, float64(c.failed), name)
		set(quarantined, float64(c.Quarantined), name)
		if c.rate > 0 {
			set(requestRate, c.rate, name)
		}
	}
	at(statusAt, v.status.At)
	set(statusOK, truth(v.status.Err == nil && !v.status.At.IsZero() || errors.Is(v.status.Err, load.ErrNoLake)))
	if st := v.status.Value; st != nil {
		at(published, st.Database.PublishedAt)
		set(intruded, truth(st.Database.Intruded != ""))
		for _, d := range st.Deliveries {
			at(delivered, d.Delivered, d.Name)
			set(deliveryFailing, truth(d.Error != ""), d.Name)
		}
		for _, a := range st.Accounts {
			if v.isConfigured(a.Account) {
				v.collectAccount(a, set)
			}
		}
	}
	if v.bytes.Err == nil { // else what stands there is old
		for part, n := range v.bytes.Value {
			set(lakeBytes, float64(n), part)
		}
	}
	v.collectBalances(set, at)
	v.collectAlerts(set)
}

func (s snapshot) collectJob(j schedule.JobState, set func(series, float64, ...string),
	at func(series, time.Time, ...string)) {
	for _, status := range runStatuses { // all from the start, so that the first failure is an increase
		set(runs, float64(s.counts.runs[runKey{j.Name, j.Kind, status}]), j.Name, j.Kind, status)
	}
	set(jobRunning, truth(j.Running), j.Name, j.Kind)
	if j.Running {
		at(jobBegan, j.StartedAt, j.Name)
	}
	at(jobNext, j.NextAt, j.Name)
	at(jobSuccess, j.LastDone, j.Name)
	if j.Last != nil {
		at(jobEnded, j.Last.EndedAt, j.Name)
	}
	// The scheduler remembers attempts over a restart, the counts remember occurrences that were given up.
	set(jobFailures, float64(max(j.Attempts, s.counts.failures[j.Name])), j.Name)
}

func (v *view) collectAccount(a jobs.AccountStatus, set func(series, float64, ...string)) {
	if !a.To.IsZero() {
		set(freshness, v.now.Sub(a.To).Seconds(), a.Account)
	}
	_, allowed := v.late(a)
	set(expected, allowed.Seconds(), a.Account)
	missing, damaged := time.Duration(0), 0
	for _, g := range a.Gaps {
		missing += g.End.Sub(g.Start)
	}
	for _, d := range a.Days {
		if d.Error != "" {
			damaged++
		}
	}
	set(gaps, float64(len(a.Gaps)), a.Account)
	set(gapSeconds, missing.Seconds(), a.Account)
	set(staleDays, float64(a.Stale), a.Account)
	set(damagedDays, float64(damaged), a.Account)
	set(held, float64(a.Records), a.Account)
	set(rejected, float64(a.Quarantined), a.Account)
	set(issues, float64(a.Issues), a.Account)
}

func (v *view) collectBalances(set func(series, float64, ...string), at func(series, time.Time, ...string)) {
	// An account whose currency changed has two last balances: one series, or sums over it would add them up.
	newest := map[string]Balance{}
	for _, b := range v.balances.Value {
		if have, ok := newest[b.Account]; v.isConfigured(b.Account) && (!ok || b.ObservedAt.After(have.ObservedAt)) {
			newest[b.Account] = b
		}
	}
	for name, b := range newest {
		at(balanceAt, b.ObservedAt, name)
		// Prometheus knows floats alone; nothing is computed from this one.
		if f, err := strconv.ParseFloat(b.Balance, 64); err == nil {
			set(balance, f, name, currencyLabel(b.Currency))
		}
		if f, err := strconv.ParseFloat(b.DaysLeft, 64); err == nil {
			set(balanceLasts, f*day.Seconds(), name)
		}
	}
}

func (v *view) collectAlerts(set func(series, float64, ...string)) {
	type key struct{ rule, severity string }
	n, waiting := map[key]int{}, 0
	for _, a := range v.alerts.Value {
		n[key{a.Rule, a.Severity}]++
		if a.Undelivered != "" {
			waiting++
		}
	}
	for k, count := range n {
		set(firing, float64(count), k.rule, k.severity)
	}
	set(undelivered, float64(waiting))
}

// currencyLabel is a currency as a label may have it.
func currencyLabel(s string) string {
	if len(s) == 3 && !slices.ContainsFunc([]byte(s), func(b byte) bool { return b < 'A' || b > 'Z' }) {
		return s
	}
	return "unknown"
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
