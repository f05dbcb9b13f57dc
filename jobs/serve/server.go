package serve

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/jobs/serve/finance"
)

// How long answers are good, and how long a request waits for better ones.
const (
	statusEvery = 15 * time.Second
	alertsEvery = 15 * time.Second
	bytesEvery  = 10 * time.Minute
	patience    = 2 * time.Second

	// How many connections are open at once, and how long one is that asks nothing: pages and monitoring need a handful.
	maxConnections = 64
	idleFor        = 15 * time.Second

	statusLimit = 10 * time.Minute
	bytesLimit  = 2 * time.Minute
	shortLimit  = time.Minute
)

// Options of a Server. State, Status, Now and Version are needed.
type Options struct {
	// State is asked of the scheduler at each request. One that doesn't answer within two seconds counts as stuck.
	State func() schedule.State
	// Status reads the lake, without its lock. It is asked at most every 15 s, or a tenth of the time if it takes long.
	Status func(context.Context) (*jobs.Status, error)
	// Balances reads the last balance of each account from the published file. nil: none are shown.
	Balances func(context.Context) ([]Balance, error)
	// Alerts are those that fire. nil: none are shown.
	Alerts func() ([]Alert, error)
	// Accounts are the names of those in the config: others get no series and no complaints. nil: all that the lake holds.
	Accounts func() []string
	// Called are what people call the accounts that have a name. nil: none has.
	Called func() map[string]string
	// Every is the longest time between two occurrences of a job; 0: not known. nil: a day for each.
	Every func(schedule.JobState) time.Duration
	// Token is asked for at each request, so that it can change. nil: there is none, and only this machine can ask.
	Token func() (string, error)
	// Finance answers below finance.Root. nil: there is nothing there.
	Finance *finance.Site

	Version string
	Now     func() time.Time
	Logger  *slog.Logger // nil: nothing is logged
}

// Balance is the last known balance of an account in a currency.
type Balance struct {
	Account    string    `json:"account"`
	Currency   string    `json:"currency"` // "" if it isn't known
	ObservedAt time.Time `json:"observed_at"`
	Balance    string    `json:"balance"` // exact decimal
	// at the burn of the last 7 days, decimal; "" if nothing burns or that isn't known
	DaysLeft string `json:"days_left,omitempty"`
}

// Alert is one that fires. Subject and Summary may hold text from outside.
type Alert struct {
	Rule        string    `json:"rule"`     // its name in the config
	Severity    string    `json:"severity"` // warning or critical
	Subject     string    `json:"subject,omitempty"`
	Summary     string    `json:"summary"`
	Since       time.Time `json:"since"`
	Undelivered string    `json:"undelivered,omitempty"` // why nobody was told yet; "" if somebody was
	// Waiting is why receivers were not told yet, by their names; nil if all were.
	Waiting map[string]string `json:"waiting,omitempty"`
}

// Server answers about a scheduler. Its methods may be called at any time, from any goroutine. It has no lock of its
// own: opts and log never change, each latest and counts guard themselves, and a request's view is a copy that nobody
// else has.
type Server struct {
	opts Options
	log  *slog.Logger

	state    latest[schedule.State]
	status   latest[*jobs.Status]
	balances latest[[]Balance]
	alerts   latest[[]Alert]
	bytes    latest[map[string]int64]

	counts  *counts
	process *prometheus.Registry // of the process and of what is counted here
}

// New makes a Server.
func New(opts Options) *Server {
	s := &Server{opts: opts, log: opts.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.state = latest[schedule.State]{now: opts.Now, limit: shortLimit,
		ask: func(context.Context) (schedule.State, error) { return opts.State(), nil }}
	s.status = latest[*jobs.Status]{now: opts.Now, every: statusEvery, limit: statusLimit, ask: opts.Status}
	s.balances = latest[[]Balance]{now: opts.Now, every: statusEvery, limit: statusLimit,
		ask: func(ctx context.Context) ([]Balance, error) {
			if opts.Balances == nil {
				return nil, nil
			}
			return opts.Balances(ctx)
		}}
	s.alerts = latest[[]Alert]{now: opts.Now, every: alertsEvery, limit: shortLimit,
		ask: func(context.Context) ([]Alert, error) {
			if opts.Alerts == nil {
				return nil, nil
			}
			return opts.Alerts()
		}}
	s.bytes = latest[map[string]int64]{now: opts.Now, every: bytesEvery, limit: bytesLimit, ask: s.measure}
	s.counts = newCounts()
	s.process = newRegistry(s.counts)
	if opts.Finance != nil {
		s.process.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "usagelake_wrong_tokens_total",
			Help: "Requests with a token that no viewer of finance's page has."},
			func() float64 { return float64(opts.Finance.Wrong()) }))
	}
	return s
}

// RunStarted tells that a job's run began.
func (s *Server) RunStarted(schedule.JobState) { s.expire() }

// RunEnded tells that a job's run ended, and counts what it did.
func (s *Server) RunEnded(e schedule.RunEvent) {
	s.counts.add(e)
	s.expire()
}

// ConfigReloaded tells that the config was read anew. ok: it is in force; else the one before it goes on.
func (s *Server) ConfigReloaded(ok bool) {
	s.counts.reloaded(ok)
	s.expire()
}

// expire has what may have changed read anew. Sizes are not: a run changes them by little, and adding them up costs
// most.
func (s *Server) expire() {
	s.status.expire()
	s.balances.expire()
	s.alerts.expire()
}

// view is all that is known at one moment.
type view struct {
	now      time.Time
	version  string
	state    reading[schedule.State]
	status   reading[*jobs.Status]
	balances reading[[]Balance]
	alerts   reading[[]Alert]
	bytes    reading[map[string]int64]

	unbegun    map[string]string // by job: why its last run could not begin
	configured []string          // accounts; nil: not known
	called     map[string]string // by account, its name
	every      func(schedule.JobState) time.Duration
}

// look asks everything that is too old, and waits a moment for the answers.
func (s *Server) look(ctx context.Context) *view {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.state.start(ctx)
	s.status.start(ctx)
	s.balances.start(ctx)
	s.alerts.start(ctx)
	v := &view{now: s.opts.Now().UTC(), version: s.opts.Version, every: s.opts.Every}
	// All questions are under way by now, and share the two seconds; whoever comes second in waiting has its answer
	// meanwhile.
	v.status = s.status.get(ctx)
	s.bytes.start(ctx) // it wants to know where the lake is
	v.state, v.balances, v.alerts = s.state.get(ctx), s.balances.get(ctx), s.alerts.get(ctx)
	// Sizes are taken as they are: adding them up may take minutes, and a figure of ten minutes ago will do.
	now, cancelNow := context.WithCancel(ctx)
	cancelNow()
	v.bytes = s.bytes.get(now)
	s.counts.mu.Lock()
	v.unbegun = maps.Clone(s.counts.unbegun)
	s.counts.mu.Unlock()
	if s.opts.Accounts != nil {
		v.configured = append([]string{}, s.opts.Accounts()...)
		slices.Sort(v.configured)
	}
	if s.opts.Called != nil {
		v.called = s.opts.Called()
	}
	return v
}

// label is an account with its name before it, where it has one.
func (v *view) label(account string) string {
	if name := v.called[account]; name != "" {
		return name + " (" + account + ")"
	}
	return account
}

// labels are accounts in a line.
func (v *view) labels(accounts []string) string {
	out := make([]string, len(accounts))
	for i, a := range accounts {
		out[i] = v.label(a)
	}
	return strings.Join(out, ", ")
}

// isConfigured says that an account of the lake is in the config.
func (v *view) isConfigured(account string) bool {
	return v.configured == nil || slices.Contains(v.configured, account)
}

// accounts are those in the config, in order of name, whether the lake holds anything of them or not.
func (v *view) accounts() []string {
	if v.configured != nil || v.status.Value == nil {
		return v.configured
	}
	var names []string
	for _, a := range v.status.Value.Accounts {
		names = append(names, a.Account)
	}
	return names
}

// measure adds up the sizes of the lake's files by part. A lake too large for the time there is has no sizes rather
// than wrong ones. Files that go meanwhile count as nothing. The lake's place is that of the last status, which it
// reads and doesn't ask for: a question must not wait for another one.
func (s *Server) measure(ctx context.Context) (map[string]int64, error) {
	s.status.mu.Lock()
	st := s.status.last.Value
	s.status.mu.Unlock()
	if st == nil {
		return nil, errors.New("the lake has not been read yet")
	}
	sizes := map[string]int64{"database": st.Database.Bytes}
	for _, part := range lakeParts {
		sizes[part] = 0
		err := filepath.WalkDir(filepath.Join(st.Lake, part), func(path string, d fs.DirEntry, err error) error {
			if stopped := context.Cause(ctx); stopped != nil {
				return stopped
			}
			if err == nil && d.Type().IsRegular() {
				var info fs.FileInfo
				if info, err = d.Info(); err == nil {
					sizes[part] += info.Size()
				}
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// lakeParts are the directories of a lake whose sizes are told.
var lakeParts = []string{"raw", "usage", "balance", "quarantine"}

// Serve answers on l until ctx ends, lets what is under way finish for some seconds, and closes l. Requests end before
// the questions, for they wait for them; both within the same seconds, whatever hangs.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	const last = 5 * time.Second
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second, // finance's page gives each part of an answer as long
		IdleTimeout:       idleFor,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	server.ConnState = (&connections{most: maxConnections, open: map[net.Conn]bool{}}).state
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), last)
	defer cancel()
	if server.Shutdown(closing) != nil {
		_ = server.Close()
	}
	s.state.stop(closing)
	s.status.stop(closing)
	s.balances.stop(closing)
	s.alerts.stop(closing)
	s.bytes.stop(closing)
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
