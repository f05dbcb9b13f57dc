package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// ExportOptions say what an export fetches. The zero value is the nightly run.
type ExportOptions struct {
	Span Span
	Wait bool // for a lake that another process holds
	// Watch is told of each account as its work begins; progress may be asked from any goroutine until the run ends.
	Watch func(p Plan, progress func() extract.Progress)
	// Phase is told what the run does after the fetching: "derive acme 2026-11-01", "publish".
	Phase func(string)
	// Retry is for tests that can't wait.
	Retry extract.Retry
}

// Export fetches what is missing in cfg's accounts, side by side and each at its own pace, derives and publishes. It
// returns a Result even with an error, of as much as happened. What the run came to is the Result's Status; the error
// is nil if it is done, and else says why it isn't.
func Export(ctx context.Context, cfg *config.Config, env Env, opts ExportOptions) (*Result, error) {
	if err := opts.Span.validate(env.Now()); err != nil {
		return nil, err
	}
	// Everything that the user has to put right comes before anything is made.
	clients, err := makeClients(cfg, env, opts.Retry)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	command := "export"
	if opts.Span.Covered {
		command = "lookback"
	}
	res, err := underLock(ctx, cfg, env, command, opts.Wait,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			return fetch(ctx, lake, cfg, env, opts, clients, res)
		})
	deliverAfter(ctx, cfg, env, res, opts.Phase)
	return res, err
}

// sealsAtOnce is how many windows a run seals at once, of all its accounts: an encoder takes 16 MiB.
const sealsAtOnce = 4

// fetch fetches what opts ask for, derives and publishes. The error is nil if all of it was done.
func fetch(ctx context.Context, lake *publish.Lake, cfg *config.Config, env Env, opts ExportOptions,
	clients []*extract.Client, res *Result) error {
	defer boundHeap(len(cfg.Accounts))()
	outcome, err := fetchAndDerive(ctx, lake, cfg, env, opts, clients, res)
	if err != nil {
		return err
	}
	came := outcome
	if res.Command == "close" { // it has only begun
		came = errUnderWay
	}
	if err := publishFile(ctx, lake, env, res, opts.Phase, false, came); err != nil {
		return err
	}
	return outcome
}

// fetchAndDerive does all of a run but the publishing. outcome says what was not done; the error is what stopped the
// run.
func fetchAndDerive(ctx context.Context, lake *publish.Lake, cfg *config.Config, env Env, opts ExportOptions,
	clients []*extract.Client, res *Result) (outcome, err error) {
	runs, err := History(lake, cfg)
	if err != nil {
		return nil, err
	}
	past := pasts(runs)
	announce := announcer(lake, res.Run)
	sealing := make(chan struct{}, sealsAtOnce)
	accounts := make([]*exporter, len(cfg.Accounts))
	for i, a := range cfg.Accounts {
		accounts[i] = &exporter{cfg: cfg, account: a, client: clients[i], lake: lake, env: env, opts: opts, runID: res.RunID,
			sealing: sealing, log: env.Logger.With("account", a.Name), past: past[a.Name],
			announce: announce, out: schemas.RunAccount{Account: a.Name}}
	}
	// A failed disk or a signal stops all; a refused key stops its account alone.
	var wg sync.WaitGroup
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for _, x := range accounts {
		wg.Go(func() {
			if err := x.guarded(ctx); err != nil {
				stop(err)
			}
		})
	}
	wg.Wait()
	for _, x := range accounts {
		x.conclude()
		res.Accounts = append(res.Accounts, x.out)
		res.Plans = append(res.Plans, x.plan)
		res.Took = append(res.Took, x.took)
		res.RunCounts.Add(x.out.RunCounts)
		res.Pending += x.pending()
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return verdict(accounts), nil
}

// makeClients reads the keys and makes a client for each account, or reports every account that can't have one.
func makeClients(cfg *config.Config, env Env, retry extract.Retry) ([]*extract.Client, error) {
	var errs []error
	clients := make([]*extract.Client, len(cfg.Accounts))
	owner := map[string]string{} // of a key at an address
	if _, err := connections(len(cfg.Accounts), 0, maxFiles()); err != nil {
		return nil, err
	}
	for i, a := range cfg.Accounts {
		key, err := a.Key(env.Getenv)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if other, ok := owner[a.BaseURL+" "+key]; ok {
			errs = append(errs, config.Usage("", "accounts %s and %s have the same key: every record would count twice",
				other, a.Name))
			continue
		}
		owner[a.BaseURL+" "+key] = a.Name
		flight, err := connections(len(cfg.Accounts), a.MaxInFlight, maxFiles())
		if err != nil {
			return nil, err
		}
		clients[i], err = extract.NewClient(extract.Options{
			Account: a.Name, BaseURL: a.BaseURL, Key: key, UserAgent: "usagelake/" + env.Version,
			Pacer: extract.NewPacer(a.Rate, flight), Transport: env.Transport, Retry: retry, Now: env.Now, Logger: env.Logger,
		})
		if err != nil {
			errs = append(errs, config.Usage("", "account %s: %w", a.Name, err))
		}
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return clients, errors.Join(errs...)
}

// past is what the journal tells of an account.
type past struct {
	began   time.Time // where its earliest export that was not told a start began; zero if there was none
	lacking time.Time // start of the earliest window that an export could not fetch; zero if there was none
	// where the Portal's records began when it last refused to answer for what lies before; zero if it never did
	horizon     time.Time
	lastRefetch time.Time // when a run last fetched its lookback anew, or it was first exported; zero if neither was
}

// pasts reads the journal once for all accounts.
func pasts(history []schemas.Run) map[string]past {
	all := map[string]past{}
	for _, r := range history {
		for _, a := range r.Accounts {
			p := all[a.Account]
			if !a.From.IsZero() && (p.began.IsZero() || a.From.Before(p.began)) {
				p.began = a.From
			}
			for _, f := range a.Failed {
				if p.lacking.IsZero() || f.Start.Before(p.lacking) {
					p.lacking = f.Start
				}
			}
			if a.Windows > 0 && (p.lastRefetch.IsZero() || a.Refetched && a.Status == schemas.StatusDone) {
				p.lastRefetch = r.StartedAt
			}
			if !a.Horizon.IsZero() {
				p.horizon = a.Horizon
			}
			all[a.Account] = p
		}
	}
	return all
}

// announcer gives a function that journals that an account is under way in run. Of accounts that begin at the same time
// one writes for all that wait: accounts guards the list, for a moment; writing is held for the fsync, and whoever gets
// it then finds its own account written by the one before, or writes it with all that have come meanwhile.
func announcer(lake *publish.Lake, run schemas.Run) func(schemas.RunAccount) error {
	var accounts, writing sync.Mutex
	written := 0
	return func(a schemas.RunAccount) error {
		accounts.Lock()
		run.Accounts = append(run.Accounts, a)
		n := len(run.Accounts)
		accounts.Unlock()

		writing.Lock()
		defer writing.Unlock()
		if written >= n {
			return nil
		}
		accounts.Lock()
		all := run
		accounts.Unlock()
		if err := lake.AppendRun(all); err != nil {
			return err
		}
		written = len(all.Accounts)
		return nil
	}
}

// errNothing says that an export fetched nothing; what was derived before is published.
var errNothing = errors.New("nothing could be fetched")

// verdict sums up what the accounts came to: nil if all of them are done.
func verdict(accounts []*exporter) error {
	var refused []error
	partial := PartialError{What: "windows"}
	failed, silent := 0, 0
	var changed []error
	for _, x := range accounts {
		if x.currency != nil {
			changed = append(changed, x.currency)
		}
		if x.out.Status == schemas.StatusFailed {
			failed++
			if !x.client.Answered() {
				silent++
			}
		}
		if x.refused != nil {
			refused = append(refused, x.refused)
		}
		for _, f := range x.out.Failed {
			if partial.Count == 0 {
				partial.First = f.Error
			}
			partial.Count++
		}
	}
	switch {
	case len(refused) > 0:
		return &RefusedError{Err: errors.Join(refused...)}
	case partial.Count == 0 && len(changed) > 0:
		return &config.Hint{Err: errors.Join(changed...),
			Hint: "ask whoever runs the Portal which currency the amounts are in; " +
				"if what is sealed has the wrong one: usagelake export --refetch --from …"}
	case partial.Count == 0:
		return quarantineVerdict(accounts)
	case silent == len(accounts):
		return &config.Hint{Err: fmt.Errorf("%w, the Portal can't be reached: %s", errNothing, partial.First),
			Hint: "is base_url right, and does a firewall or a proxy (HTTPS_PROXY) stand in between? usagelake doctor looks " +
				"closer; then run the same command again"}
	case failed == len(accounts):
		return &config.Hint{Err: fmt.Errorf("%w: %s", errNothing, partial.First),
			Hint: "usagelake doctor   (then run the same command again: what is covered is not asked for again)"}
	default:
		return &config.Hint{Err: errors.Join(append([]error{&partial}, changed...)...),
			Hint: "run the same command again: it asks for what is missing alone"}
	}
}

// exporter exports one account within a run, in one goroutine. The fetcher calls sink and held in several: what these
// read (sealed, days, plan, fetcher) is set before, and changes no more until they have ended.
type exporter struct {
	cfg      *config.Config
	account  config.Account
	client   *extract.Client
	lake     *publish.Lake
	env      Env
	opts     ExportOptions
	runID    string
	past     past
	log      *slog.Logger
	announce func(schemas.RunAccount) error // journals what an account sets out to do
	sealing  chan struct{}                  // bounds how many windows the run seals at once

	rows     int64 // of the days that were derived
	plan     Plan
	sealed   sealed
	days     map[schemas.Date]schemas.DayFooter // of the last weeks
	fetcher  *extract.Fetcher
	refused  error
	currency *CurrencyError // nil if it is what it was
	checked  int            // days of the lookback that the API answered for
	doubts   int            // windows that lacked some of what is held, which stays
	stopped  bool           // by a signal, or by another account's failed disk
	out      schemas.RunAccount
	took     time.Duration
	mu       sync.Mutex // of sink: guards out.Windows, out.Records and the files of doubts
}

// guarded is run, in which a panic is an error.
func (x *exporter) guarded(ctx context.Context) error {
	err := Guarded(func() error { return x.run(ctx) })
	if wrong := (*schemas.PanicError)(nil); errors.As(err, &wrong) {
		x.out.Error = wrong.Error()
	}
	return err
}

// run does the account's part. It returns an error only for what must stop the other accounts, too.
func (x *exporter) run(ctx context.Context) error {
	started := x.env.Now()
	defer func() { x.took = max(0, x.env.Now().Sub(started)) }() // not below 0: the clock may be set meanwhile
	err := x.export(ctx)
	switch {
	case errors.Is(err, extract.ErrRefused) && context.Cause(ctx) == nil:
		x.refused = &config.Hint{Err: fmt.Errorf("the key was refused: %w", err),
			Hint: fmt.Sprintf("check the key of account %s in the Portal (Settings > API Keys > Management API Keys): is it "+
				"active, not expired, with the scopes usage:read and balance:read?", x.account.Name)}
		x.out.Error = err.Error()
		x.log.Error("the key was refused", "error", err)
	case context.Cause(ctx) != nil:
		x.stopped = !errors.As(context.Cause(ctx), new(*TimeoutError))
		x.out.Error = context.Cause(ctx).Error()
		return context.Cause(ctx)
	case err != nil:
		x.out.Error = err.Error()
		return err
	}
	// Whatever came of the fetching, what is sealed is derived: this is also how a run after a crash starts.
	return x.derive(ctx)
}

func (x *exporter) derive(ctx context.Context) error {
	d, err := derive(ctx, x.lake, x.account.Name, x.log, func(p schemas.Partition) {
		if x.opts.Phase != nil {
			x.opts.Phase("derive " + p.String())
		}
	})
	x.out.DaysWritten += d.days
	x.out.Quarantined += d.quarantined
	x.rows += d.rows
	return err
}

func (x *exporter) export(ctx context.Context) error {
	// Recovery comes first: what an earlier run sealed is derived, and the counts that the lookback compares are there.
	if err := x.derive(ctx); err != nil {
		return err
	}
	now := x.env.Now()
	var err error
	if x.sealed, err = sealedOf(x.lake, x.account.Name); err != nil {
		return err
	}
	if x.days, err = recentDays(x.lake, x.account.Name, x.sealed, x.cfg.Export, now); err != nil {
		return err
	}
	x.plan = plan(x.account.Name, x.opts.Span, x.sealed, x.days, x.cfg.Export, now, x.past)
	x.fetcher = extract.NewFetcher(extract.FetchOptions{Client: x.client, Sealing: x.sealing, RunID: x.runID,
		Version:  x.env.Version,
		PageSize: x.account.PageSize, MaxRecords: windowRecords(len(x.cfg.Accounts)), Known: learnt(x.days), Held: x.held,
		Logger: x.log})
	if x.opts.Watch != nil {
		x.opts.Watch(x.plan, x.fetcher.Progress)
	}
	x.log.Info("export begins", "from", x.plan.Range.Start, "to", x.plan.Range.End, "windows", len(x.plan.Missing),
		"checks", len(x.plan.Check))
	if err := x.announceStart(); err != nil {
		return err
	}
	currency, asked := "", len(x.plan.Missing) > 0
	if asked {
		// It comes before all else, for its answer has the server's time on it, by which the plan may have to be made anew.
		if currency, err = x.balance(ctx); err != nil {
			return err
		}
		if !x.client.Answered() {
			if !x.answers(ctx) {
				return nil
			}
			if currency, err = x.balance(ctx); err != nil { // with more patience, now that the Portal is known to be there
				return err
			}
		}
		if t, ahead := portalTime(now, x.client); ahead > 0 {
			x.plan = plan(x.account.Name, x.opts.Span, x.sealed, x.days, x.cfg.Export, t, x.past.by(ahead))
			x.warnAhead(ahead)
			if err := x.announceStart(); err != nil {
				return err
			}
		}
	}
	if x.plan.Refetch {
		x.log.Info("the lookback is fetched anew, as every refetch_every")
	}

	if err := x.check(ctx); err != nil {
		return err
	}
	if err := x.doubted(ctx); err != nil {
		return err
	}
	if !asked {
		// The days that were compared are covered, but if a clock that ran ahead covered them, they may not be over yet.
		if t, ahead := portalTime(now, x.client); ahead > 0 {
			x.plan = x.plan.until(t.Add(-time.Duration(x.cfg.Export.Settle)))
			x.warnAhead(ahead)
		}
	}
	if len(x.plan.Missing) == 0 {
		return nil
	}
	if !asked {
		if currency, err = x.balance(ctx); err != nil {
			return err
		}
	}
	x.fetcher.SetCurrency(currency)
	out, err := x.fetcher.Fetch(ctx, x.plan.Missing, x.sink)
	x.out.Failed = append(x.out.Failed, out.Failed...)
	x.out.Refetched = x.plan.Refetch
	x.out.Horizon = out.Horizon
	x.doubts = len(out.Doubts) + out.Kept
	return cmp.Or(err, x.doubt(ctx, out.Doubts))
}

// announceStart journals where an export that was not told a start begins, before anything is fetched: windows are not
// sealed in order, and a run that is killed may leave a gap at the start, which no window shows.
func (x *exporter) announceStart() error {
	if x.opts.Span.Covered || !x.opts.Span.From.IsZero() || !x.plan.Range.Start.Before(x.plan.Range.End) {
		return nil
	}
	x.out.From = x.plan.Range.Start
	if !x.past.began.IsZero() || len(x.plan.Missing) == 0 {
		return nil
	}
	return x.announce(schemas.RunAccount{Account: x.account.Name, Status: schemas.StatusRunning, From: x.out.From})
}

func (x *exporter) warnAhead(ahead time.Duration) {
	x.log.Warn("this machine's clock is ahead of the Portal's: the export ends by the Portal's; set this machine's (NTP)",
		"ahead", ahead.Round(time.Second), "to", x.plan.Range.End)
}

// answers reports whether the Portal can be reached at all, after /balance had no answer: it alone may be out of order,
// and an export does without it. If the Portal can't be reached, every window that is missing has failed.
func (x *exporter) answers(ctx context.Context) bool {
	_, err := x.fetcher.Count(ctx, x.plan.Missing[0])
	if err == nil || x.client.Answered() {
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	x.log.Warn("the Portal can't be reached", "error", err)
	message := err.Error()
	for _, w := range x.plan.Missing {
		x.out.Failed = append(x.out.Failed, schemas.FailedWindow{Start: w.Start, End: w.End, Error: message})
		message = "not tried: the Portal can't be reached"
	}
	return false
}

// sink seals a window: the commit point. A doubt is taken back after that: a kill in between has the window looked at
// once more.
func (x *exporter) sink(ctx context.Context, s schemas.Seal, pages []schemas.Page) error {
	var err error
	if s.Currency, err = x.keptCurrency(ctx, s); err != nil {
		return err
	}
	if _, err := x.lake.Seal(ctx, s, pages); err != nil {
		return fmt.Errorf("seal window %s: %w", s.Window(), err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.settleDoubts(s.Window()); err != nil {
		return err
	}
	x.out.Windows++
	x.out.Records += s.Kept
	x.log.Debug("window sealed", "window", s.Window().String(), "records", s.Records, "requests", s.Requests, "proof",
		s.Proof)
	return nil
}

// balance asks for the balance, seals the answer, and returns the account's currency: as /balance names it now, else as
// it last did, else the config's. That the balance can't be had doesn't fail an export, but a key that isn't accepted
// at all (401) does.
func (x *exporter) balance(ctx context.Context) (string, error) {
	b, err := askBalance(ctx, x.lake, x.client, x.account.Name, x.runID, x.env)
	var api *extract.APIError
	switch {
	case err == nil && b.Currency != "":
		return b.Currency, x.checkCurrency(ctx, b.Currency)
	case err == nil && b.NoCurrency != "":
		x.log.Warn("/balance names a currency that is no code of three capital letters; it isn't taken", "currency_code",
			b.NoCurrency)
	case err == nil:
		x.log.Warn("/balance names no currency")
	case errors.As(err, &api) && api.Status != http.StatusUnauthorized && ctx.Err() == nil:
		x.log.Warn("the balance can't be had; the export goes on", "error", err)
	default:
		return "", err
	}
	last, err := lastCurrency(ctx, x.lake, x.account.Name)
	return cmp.Or(last, x.account.Currency), err
}

// askBalance asks for the balance and seals the answer.
func askBalance(ctx context.Context, lake *publish.Lake, client *extract.Client, account, runID string,
	env Env) (extract.Balance, error) {
	b, err := client.Balance(ctx)
	if err != nil {
		return b, err
	}
	at := b.At.Truncate(time.Second)
	_, err = lake.Seal(ctx, schemas.Seal{
		Format: schemas.RawFormat, Kind: schemas.KindBalance, Account: account, Start: at, End: at.Add(time.Second),
		Records: 1, Pages: 1, Requests: 1, RequestIDs: []string{b.Page.RequestID}, FetchedAt: b.At,
		RunID: runID, Version: env.Version, Currency: b.Currency,
	}, []schemas.Page{b.Page})
	if err != nil {
		return b, fmt.Errorf("seal balance of %s: %w", account, err)
	}
	return b, nil
}

// lastCurrency is what the newest sealed balance of an account named; "" if there is none.
func lastCurrency(ctx context.Context, lake *publish.Lake, account string) (string, error) {
	partitions, err := lake.Partitions(account)
	if err != nil {
		return "", err
	}
	for _, p := range slices.Backward(partitions) {
		raws, err := lake.Balances(p)
		if err != nil {
			return "", err
		}
		for _, r := range slices.Backward(raws) {
			s, err := lake.OpenRaw(ctx, p, r)
			if err != nil {
				return "", err
			}
			if schemas.IsCurrency(s.Seal.Currency) {
				return s.Seal.Currency, nil
			}
		}
	}
	return "", nil
}

// conclude sets the account's status and the figures of its client.
func (x *exporter) conclude() {
	c := x.client.Counts()
	x.out.Requests, x.out.Retries, x.out.Throttled = c.Requests, c.Retries, c.Throttled
	x.out.Status = StatusOf(x.came())
}

// came is why the account isn't done, nil if it is.
func (x *exporter) came() error {
	switch {
	case x.refused != nil:
		return &RefusedError{Err: x.refused}
	case x.stopped:
		return &stoppedError{errors.New(x.out.Error)}
	case x.out.Error != "":
		return errors.New(x.out.Error)
	case len(x.out.Failed) > 0 && x.out.Windows == 0 && x.doubts == 0 && (len(x.plan.Missing) > 0 || x.checked == 0):
		return errNothing
	case len(x.out.Failed) > 0:
		return &PartialError{What: "windows", Count: len(x.out.Failed), First: x.out.Failed[0].Error}
	case x.mostlyQuarantined():
		return &QuarantineError{Account: x.account.Name, Rows: x.rows, Quarantined: x.out.Quarantined}
	case x.currency != nil:
		x.out.Error = x.currency.Error()
		return x.currency
	}
	return nil
}

// pending is how many windows were left when the run ended.
func (x *exporter) pending() int64 {
	if x.fetcher == nil {
		return 0
	}
	return x.fetcher.Progress().WindowsLeft
}
