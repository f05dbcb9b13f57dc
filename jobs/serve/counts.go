package serve

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/schemas"
)

// runStatuses are how a scheduled run can end.
var runStatuses = []string{schemas.StatusDone, schemas.StatusPartial, schemas.StatusRefused, schemas.StatusFailed,
	schemas.StatusStopped}

// kinds of jobs there are.
var kinds = config.Kinds()

// counts is what was counted since the process began, of scheduled runs that have ended. mu guards the maps and what
// they point to; durations has its own lock. A restart begins at 0, as Prometheus expects of counters; what must
// outlive it is read off the lake or asked of the scheduler.
type counts struct {
	mu       sync.Mutex
	runs     map[runKey]uint64
	failures map[string]int    // by job: failed runs since the last one that was done
	unbegun  map[string]string // by job: why its last run could not begin
	accounts map[string]*accountCounts
	reloads  map[bool]uint64

	durations *prometheus.HistogramVec
}

type runKey struct{ job, kind, status string }

// accountCounts are an account's sums over runs, and the rate of the last one.
type accountCounts struct {
	schemas.RunCounts
	failed int64   // windows
	rate   float64 // requests a second of the account's part of the last run; 0: not known
}

func newCounts() *counts {
	c := &counts{
		runs:     map[runKey]uint64{},
		failures: map[string]int{},
		unbegun:  map[string]string{},
		accounts: map[string]*accountCounts{},
		reloads:  map[bool]uint64{},
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    namespace + "run_duration_seconds",
			Help:    "How long scheduled runs took, by kind of job.",
			Buckets: []float64{1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200},
		}, []string{"kind"}),
	}
	// So that each kind has its series from the start, at 0.
	for _, kind := range kinds {
		c.durations.WithLabelValues(kind)
	}
	return c
}

func newRegistry(c *counts) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(c.durations, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// add counts a run that has ended. One without a Result never began, and has nothing of accounts; it counts by its
// error. One that was stopped is no failure, nor does it end a row of them.
func (c *counts) add(e schedule.RunEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	status := jobs.StatusOf(e.Err)
	if e.Result != nil {
		status = e.Result.Status
	}
	c.runs[runKey{e.Job.Name, e.Job.Kind, status}]++
	c.durations.WithLabelValues(e.Job.Kind).Observe(e.Elapsed.Seconds())
	delete(c.unbegun, e.Job.Name)
	if e.Result == nil && e.Err != nil {
		c.unbegun[e.Job.Name] = e.Err.Error()
	}
	switch status {
	case schemas.StatusDone:
		delete(c.failures, e.Job.Name)
	case schemas.StatusStopped: // says nothing of the job
	default:
		c.failures[e.Job.Name]++
	}
	if e.Result == nil {
		return
	}
	for i, a := range e.Result.Accounts {
		sum := c.accounts[a.Account]
		if sum == nil {
			sum = &accountCounts{}
			c.accounts[a.Account] = sum
		}
		sum.Add(a.RunCounts)
		sum.failed += int64(len(a.Failed))
		// nil of a job that does its accounts together: then no account has a rate of its own.
		if len(e.Result.Took) == len(e.Result.Accounts) && e.Result.Took[i] > 0 && a.Requests > 0 {
			sum.rate = float64(a.Requests) / e.Result.Took[i].Seconds()
		}
	}
}

func (c *counts) reloaded(ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reloads[ok]++
}

// of is an account's counts, and its last rate. An account without any has 0. The lock is held.
func (c *counts) of(account string) accountCounts {
	if a := c.accounts[account]; a != nil {
		return *a
	}
	return accountCounts{}
}
