package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/schedule"
	"github.com/usagelake/usagelake/jobs/serve"
	"github.com/usagelake/usagelake/jobs/watch"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) scheduleCommand() *cobra.Command {
	var list bool
	var once string
	c := &cobra.Command{
		Use:   "schedule",
		Short: "The daemon: run the config's jobs when they are due",
		Long: `schedule runs the jobs of the config (schedule: jobs:) when they are due, one after the other, until it is
told to stop. What is due it reads off the lake: a job that missed some of its times, because the program was down or
another job took long, runs once for all of them. A job that fails is tried again, after pauses that grow, and stands
in nobody's way.

SIGTERM and Ctrl-C end the run that is under way, cleanly. SIGHUP has the config read anew, and so does a change of the
file; a bad one is refused, and the one before goes on. Key files are read for each run: keys can be replaced at any
time.

Meanwhile it answers on schedule: listen: (127.0.0.1:9464 by default): / is a status page, /finance/ finance's page
(docs/page.md), /metrics for Prometheus, /healthz and /readyz. See docs/monitoring.md. Alerts are checked each minute
and after each run: docs/alerts.md.`,
		Example: `  usagelake schedule
  usagelake schedule --list                 the next five runs of each job, in its zone and in UTC
  usagelake schedule --once nightly         run a job now, and end
  usagelake schedule --log-format json      for whatever collects logs`,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case list && once != "":
				return config.Usage("", "give --list or --once, not both")
			case c.Flags().Changed("once") && once == "":
				return config.Usage("usagelake schedule --list", "--once: which job?")
			case list:
				return a.listSchedule()
			case once != "":
				return a.scheduleOnce(c.Context(), once)
			}
			return a.daemon(c.Context())
		},
	}
	c.Flags().BoolVar(&list, "list", false, "list the jobs, how they last ended, and their next five runs")
	c.Flags().StringVar(&once, "once", "", "run the `job` of this name now, and end with its exit code")
	return c
}

// scheduleConfig is the set-up of a daemon, with its address checked.
func (a *app) scheduleConfig() (*config.Config, error) {
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	if err := cfg.Schedulable(); err != nil {
		return nil, err
	}
	if s := cfg.Schedule; s.Listen != config.ListenNone {
		if err := serve.CheckAddress(s.Listen, guarded(cfg)); err != nil {
			return nil, config.Usage("", "config %s: schedule.%w", cfg.Path, err)
		}
		if err := cfg.Serve.Listened(s.Listen); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}

// scheduleLog is the daemon's log: on a terminal, too, it tells what happens.
func (a *app) scheduleLog() *slog.Logger {
	quieter := *a
	quieter.Terminal = false
	return slog.New(quieter.logHandler(a.logOut))
}

// daemon runs the scheduler, and beside it what shows it and what tells of it. The order:
//
//	config · lake · the lock of the one daemon · scheduler · page · signals · Run
//
// The lock comes before the scheduler, so that a second daemon ends before it does anything. It is the kernel's: a
// daemon that is killed is in no later one's way. The page listens before Run begins, and ends after it: a watcher sees
// it from the first run to the last. What was put up last is taken down first.
func (a *app) daemon(ctx context.Context) error {
	env := a.env()
	env.Logger = a.scheduleLog()
	cfg, err := a.scheduleConfig()
	if err != nil {
		return err
	}
	lake, err := publish.Create(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return err
	}
	unlock, err := lake.LockState(ctx, "schedule")
	if errors.Is(err, load.ErrStateHeld) {
		return &config.Hint{Err: fmt.Errorf("another usagelake schedule runs for the lake %s: %w", cfg.Lake, err),
			Hint: "one is enough: stop that one first. usagelake status shows what runs"}
	}
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()

	// The scheduler and the server each ask the other. Nothing runs before Run, and by then server is set.
	var server *serve.Server
	var memory watch.Memory
	var failures unbegun
	scheduler, err := schedule.New(env, schedule.Options{
		Load:  a.scheduleConfig,
		Began: func(j schedule.JobState) { server.RunStarted(j) },
		Ended: func(e schedule.RunEvent) {
			failures.note(e)
			server.RunEnded(e)
		},
		Reloaded: func(err error) { server.ConfigReloaded(err == nil) },
		Check: func(ctx context.Context, cfg *config.Config, configError string) {
			_, err := watch.Check(ctx, cfg, env,
				watch.Input{ConfigError: configError, Failures: failures.list(), Memory: &memory})
			if err != nil && ctx.Err() == nil {
				env.Logger.Error("alerts: the lake can't be used as it should", "error", err)
			}
		},
	})
	if err != nil {
		return err
	}
	options := a.serveOptions(scheduler.Config, scheduler.State, env.Logger)
	options.Finance = a.finance(scheduler.Config, env.Logger)
	defer options.Finance.Close()
	server = serve.New(options)

	if s := cfg.Schedule; s.Listen != config.ListenNone {
		// It is read at each request; one that can't be read at the start is a mistake to be told at once.
		if _, err := s.Token(a.Getenv); err != nil {
			return err
		}
		if errs := cfg.CheckViewers(a.Getenv); len(errs) > 0 {
			return errors.Join(errs...)
		}
		listener, err := serve.Listen(s.Listen, guarded(cfg))
		if err != nil {
			return &config.Hint{Err: err,
				Hint: "is another program there? Set schedule: listen: in the config to another address, or to none"}
		}
		env.Logger.Info("answering", "address", s.Listen)
		// Not ctx's, or the page would be gone while the last run ends.
		serving, stopServing := context.WithCancel(context.WithoutCancel(ctx)) // it answers while a run ends
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := server.Serve(serving, listener); err != nil {
				env.Logger.Error("the status page has ended", "error", err)
			}
		})
		defer wg.Wait()
		defer stopServing()
		defer madeAhead(serving, options.Finance)()
	}

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	watched, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go func() {
		for {
			select {
			case <-watched.Done():
				return
			case <-hup:
				scheduler.Reload()
			}
		}
	}()
	return scheduler.Run(ctx)
}

// unbegun are the jobs whose last run could not begin, which the journal may not show. mu guards jobs: runs end in the
// scheduler's goroutine, and alerts are checked in another. It is this process's memory; after a restart the job is
// tried again, and tells once more.
type unbegun struct {
	mu   sync.Mutex
	jobs []watch.Failure
}

// note is told of every run: one that began takes back what stands here, however it ended, for the journal has it.
func (u *unbegun) note(e schedule.RunEvent) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.jobs = slices.DeleteFunc(u.jobs, func(f watch.Failure) bool { return f.Job == e.Job.Name })
	if e.Result == nil && e.Err != nil {
		u.jobs = append(u.jobs,
			watch.Failure{Job: e.Job.Name, Attempts: e.Job.Attempts + 1, Error: e.Err.Error(), At: e.Started.Add(e.Elapsed)})
	}
}

func (u *unbegun) list() []watch.Failure {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.jobs)
}

// serveOptions is what the status page and the metrics ask of a set-up, its scheduler and its lake.
func (a *app) serveOptions(cfg func() *config.Config, state func() schedule.State, log *slog.Logger) serve.Options {
	o := serve.Options{
		State: state, Version: version(), Now: a.Now, Logger: log,
		Status: func(ctx context.Context) (*jobs.Status, error) {
			st, err := jobs.ReadStatus(ctx, cfg().Lake, "", a.Now())
			if err == nil { // one that somebody made by hand, or that has left the config, is nobody's to look after
				st.Deliveries = slices.DeleteFunc(st.Deliveries, func(o deliver.Outcome) bool {
					return !slices.ContainsFunc(cfg().Deliver, func(d config.Delivery) bool { return d.Name == o.Name })
				})
			}
			return st, err
		},
		Balances: func(ctx context.Context) ([]serve.Balance, error) {
			last, err := jobs.LastBalances(ctx, cfg())
			var out []serve.Balance
			for _, b := range last {
				out = append(out, serve.Balance{Account: b.Account, Currency: b.Currency, ObservedAt: b.ObservedAt,
					Balance: b.Balance, DaysLeft: b.DaysLeft})
			}
			return out, err
		},
		Alerts: func() ([]serve.Alert, error) {
			active, err := watch.Active(cfg())
			var out []serve.Alert
			for _, f := range active {
				var undelivered []string
				for receiver, why := range f.Undelivered {
					undelivered = append(undelivered, receiver+": "+why)
				}
				slices.Sort(undelivered)
				out = append(out, serve.Alert{Rule: f.Rule, Severity: f.Severity, Subject: f.Subject, Summary: f.Summary,
					Since:       f.Since,
					Undelivered: strings.Join(undelivered, "; "), Waiting: f.Undelivered})
			}
			return out, err
		},
		Accounts: func() []string {
			var names []string
			for _, acc := range cfg().Accounts {
				names = append(names, acc.Name)
			}
			return names
		},
		Called: func() map[string]string { return jobs.NamesOfAccounts(cfg()) },
		Every: func(j schedule.JobState) time.Duration {
			job, err := cfg().Schedule.Job(j.Name)
			if err != nil {
				return 0
			}
			// Not the next pause: of a job of working days the one that counts is the weekend's.
			var longest time.Duration
			next := job.Next(a.Now(), 200) // over a weekend, of a job that runs every few minutes of working days
			for i := 1; i < len(next); i++ {
				longest = max(longest, next[i].Sub(next[i-1]))
			}
			return longest
		},
	}
	if c := cfg().Schedule; c.TokenEnv != "" || c.TokenFile != "" {
		o.Token = func() (string, error) { return cfg().Schedule.Token(a.Getenv) }
	}
	return o
}

func (a *app) scheduleOnce(ctx context.Context, name string) error {
	cfg, err := a.scheduleConfig()
	if err != nil {
		return err
	}
	env := a.env()
	env.Logger = a.scheduleLog()
	res, err := schedule.RunOnce(ctx, cfg, env, name)
	return a.ended(res, err, func(res *jobs.Result) {
		if len(res.Plans) > 0 {
			a.exportSummary(res)
			return
		}
		fmt.Fprintf(a.Stdout, "%s %s in %s   run %s\n", ran(res), res.Status, words.Took(res.Elapsed), res.RunID)
	})
}

// upcoming is a time that a job runs for.
type upcoming struct {
	Local time.Time `json:"local"` // with its zone's offset
	UTC   time.Time `json:"utc"`
}

func (a *app) listSchedule() error {
	cfg, err := a.scheduleConfig()
	if err != nil {
		return err
	}
	env := a.env()
	scheduler, err := schedule.New(env,
		schedule.Options{Load: func() (*config.Config, error) { return cfg, nil }})
	if err != nil {
		return err
	}
	type listed struct {
		schedule.JobState
		Next []upcoming `json:"next"`
	}
	var out []listed
	// A scheduler that is never run: it reads off the lake what is due, and its jobs are in the order of the config's.
	for i, st := range scheduler.State().Jobs {
		l := listed{JobState: st}
		for _, t := range cfg.Schedule.Jobs[i].Next(a.Now(), 5) {
			l.Next = append(l.Next, upcoming{Local: t, UTC: t.UTC()})
		}
		out = append(out, l)
	}
	if a.json() {
		return a.printJSON(map[string]any{"jobs": out})
	}
	w := a.Stdout
	for i, l := range out {
		if i > 0 {
			fmt.Fprintln(w)
		}
		accounts := ""
		if len(l.Accounts) > 0 {
			accounts = "   accounts " + strings.Join(l.Accounts, ", ")
		}
		fmt.Fprintf(w, "%s   %s   %s   %s%s\n", l.Name, l.Kind, l.Cron, l.Zone, accounts)
		switch {
		case l.Last == nil:
			fmt.Fprintln(w, "  last  never ran")
		default:
			fmt.Fprintf(w, "  last  %s   %s UTC, %s   %s\n", l.Last.Status, words.Stamp(l.Last.StartedAt),
				words.Took(l.Last.EndedAt.Sub(l.Last.StartedAt)), words.Clip(words.Line(l.Last.Error), 80))
		}
		if !l.Logical.IsZero() {
			also := ""
			if l.Missed > 0 {
				also = fmt.Sprintf(", and %s before it", words.Plural(l.Missed, "time", "times"))
			}
			tries := ""
			if l.Attempts > 0 {
				tries = fmt.Sprintf(", after %s, at %s UTC", words.Plural(l.Attempts, "failure", "failures"), words.Stamp(l.NextAt))
			}
			fmt.Fprintf(w, "  due   for %s%s%s\n", l.Logical.Format("Mon 2006-01-02 15:04 MST"), also, tries)
		}
		for k, u := range l.Next {
			label := "     "
			if k == 0 {
				label = "next "
			}
			fmt.Fprintf(w, "  %s %s   %s UTC\n", label, u.Local.Format("Mon 2006-01-02 15:04 MST"), words.Minute(u.UTC))
		}
	}
	return nil
}

// jobColumn names a run as people know it: the job of the schedule, or the command.
func jobColumn(r schemas.Run) string {
	if r.Job == "" {
		return r.Command
	}
	return fmt.Sprintf("%s (%s)", r.Command, r.Job)
}
