package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform/allocate"
)

// CloseOptions say how a month is closed.
type CloseOptions struct {
	Month   schemas.Month
	Reason  string // overrides the objections, and is recorded; "" overrides none
	NoFetch bool   // don't ask the Portal once more: an objection in itself
	Wait    bool
	Watch   func(p Plan, progress func() extract.Progress) // as in ExportOptions
	Phase   func(string)
	// Progress is told how much is done of what takes long, of how much: days of FOCUS, statements. nil: nobody is.
	Progress func(what string, done, total int)
	Retry    extract.Retry
}

// ObjectionsError says why a month isn't closed.
type ObjectionsError struct {
	Month      string
	Objections []string
}

func (e *ObjectionsError) Error() string {
	return fmt.Sprintf("%s is not closed:\n  - %s", e.Month, strings.Join(e.Objections, "\n  - "))
}

// Close closes a month: it fetches the days that were not fetched whole since the month ended, what differs or is
// missing, derives, publishes, looks for objections, and writes what is charged into statements/MONTH for good. An
// objection that no reason overrides is an ObjectionsError, and nothing is closed. Where the config says so, the
// packages are made and delivered then, without the lake's lock; what fails of that is a PackagesError, and the month
// is closed.
func Close(ctx context.Context, cfg *config.Config, env Env, opts CloseOptions) (*Result, *publish.ClosedMonth, error) {
	books, err := cfg.ReadBooks()
	if err != nil {
		return nil, nil, err
	}
	if env.Now().Before(books.Starts(books.First(opts.Month))) {
		return nil, nil, config.Usage("", "--month %s has not begun", books.Name(opts.Month))
	}
	if err := needLake(cfg.Lake); err != nil {
		return nil, nil, err
	}
	// Before anything is fetched, for a close without a signature that was meant to have one would be final.
	signer, err := SignerOf(cfg, env)
	if err != nil {
		return nil, nil, err
	}
	var clients []*extract.Client
	if !opts.NoFetch {
		if clients, err = makeClients(cfg, env, opts.Retry); err != nil {
			return nil, nil, err
		}
		defer func() {
			for _, c := range clients {
				c.Close()
			}
		}()
	}
	opts.Reason = strings.TrimSpace(opts.Reason)
	var closed *publish.ClosedMonth
	res, err := underLock(ctx, cfg, env, "close", opts.Wait,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			if err := sameSetup(ctx, lake, cfg, res.finance, &opts.Month); err != nil {
				return err
			}
			months, err := lake.Closed()
			if err != nil {
				return err
			}
			if err := closedAlready(months, opts.Month); err != nil {
				// The run that closed it may have died before it published.
				return cmp.Or(publishFile(ctx, lake, env, res, opts.Phase, false, err), err)
			}
			var objections []string
			if opts.NoFetch {
				objections = append(objections, notAsked)
				if err := deriveAll(ctx, lake, env, opts.Phase); err != nil {
					return err
				}
				if err := publishFile(ctx, lake, env, res, opts.Phase, false, errUnderWay); err != nil {
					return err
				}
			} else {
				month, span := closing(cfg, env, opts.Month, books)
				err := fetch(ctx, lake, month, env, ExportOptions{Span: span, Watch: opts.Watch, Phase: opts.Phase}, clients, res)
				switch status := StatusOf(err); {
				case err == nil:
				case errors.As(err, new(*PartialError)), status == schemas.StatusRefused, errors.Is(err, errNothing):
					objections = append(objections, "the Portal could not be asked once more for all of it: "+err.Error())
				case status == schemas.StatusPartial: // it is all there, and something is wrong with it
					objections = append(objections, err.Error())
				default:
					return err
				}
			}
			// Most are asked of the published file, which is why it is published before.
			more, err := objectionsTo(ctx, lake, cfg, env, opts.Month, books, months)
			if err != nil {
				return err
			}
			objections = append(objections, more...)
			lacks, err := lackingRates(ctx, lake, opts.Month)
			if err != nil {
				return err
			}
			if len(lacks) > 0 { // what has no rate can't be charged: no reason makes one
				return &config.Hint{Err: &ObjectionsError{books.Name(opts.Month), append(lacks, objections...)},
					Hint: "add the rates to the file that books.rates names, then close it again"}
			}
			if len(objections) > 0 && opts.Reason == "" {
				return &config.Hint{Err: &ObjectionsError{books.Name(opts.Month), objections},
					Hint: fmt.Sprintf(`mend them, or close it in spite of them: usagelake close --month %s --reason "…"   `+
						"(the reason is recorded)", books.Name(opts.Month))}
			}
			if err := warnOf(ctx, lake, env, opts.Month); err != nil {
				return err
			}
			if opts.Phase != nil {
				opts.Phase("write the statements")
			}
			reason := opts.Reason
			if len(objections) == 0 {
				reason = ""
			}
			// The rules that the file was published with, and not what their files may have become since.
			var files []publish.RuleFile
			digest := "none"
			if rules, ok := res.finance.Rules.(*allocate.Rules); ok {
				digest = rules.Digest()
				for _, f := range rules.Files() {
					files = append(files, publish.RuleFile{Name: f.Name, Content: f.Content})
				}
			}
			c, err := lake.CloseMonth(ctx, publish.CloseOptions{Month: opts.Month, RunID: res.RunID, Version: env.Version,
				By: closer(), Reason: reason, Objections: objections,
				Rules: files, RulesDigest: digest, Books: books, Rates: res.finance.Rates, Sign: signer, Now: env.Now,
				Progress: opts.progress("days of FOCUS"),
				Write: func(ctx context.Context, dir string, edition int) error {
					return report.WriteMonth(ctx, lake, opts.Month, dir, report.MonthOptions{Books: books, Edition: edition,
						Now:     env.Now(),
						Version: env.Version, Progress: opts.progress("statements"), Posting: cfg.Journal.Posting(),
						Formats: cfg.Journal.Formats})
				}})
			if refused := (*posting.Error)(nil); errors.As(err, &refused) {
				return config.Usage(refused.Hint, "%s is not closed: its journal can't be written: %w", books.Name(opts.Month),
					refused)
			}
			if err != nil {
				return err
			}
			// Final from here on, whatever comes: the next run that publishes charges by the statements.
			closed, res.closed = &c, true
			if err := publishFile(ctx, lake, env, res, opts.Phase, false, nil); err != nil {
				return fmt.Errorf("%s is closed, but could not be published: %w", books.Name(opts.Month), err)
			}
			return nil
		})
	if closed != nil && err == nil {
		if res.Packed, err = packAfter(ctx, cfg, env, opts.Month, opts.Phase, opts.progress("packages")); err != nil {
			res.Undelivered = brief(err)
		}
	}
	return res, closed, err
}

// progress is Progress of one thing.
func (o CloseOptions) progress(what string) func(done, total int) {
	if o.Progress == nil {
		return nil
	}
	return func(done, total int) { o.Progress(what, done, total) }
}

// SignerOf is who signs what is closed; nil: nobody.
func SignerOf(cfg *config.Config, env Env) (*publish.Signer, error) {
	key, err := cfg.SigningKey(env.Getenv)
	if key == nil || err != nil {
		return nil, err
	}
	s, err := publish.ParseSigner(key)
	if err != nil {
		return nil, config.Usage("", "close.ssh_key: %s: %w", cfg.Close.SSHKey, err)
	}
	return s, nil
}

// sameSetup refuses a set-up that is not the one the lake was made with, as where --config was forgotten: the month
// would be closed without the rules, or with the usage of an account that nobody meant. month is nil where it is about
// every month.
func sameSetup(ctx context.Context, lake *publish.Lake, cfg *config.Config, finance publish.Finance,
	month *schemas.Month) error {
	const hint = "name the config of this lake with --config"
	accounts, err := lake.Accounts()
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(cfg.AccountNames(), func(name string) bool { return slices.Contains(accounts, name) })
	if len(accounts) > 0 && !known {
		return config.Usage(hint, "the lake has the accounts %s, the config has %s", strings.Join(accounts, ", "),
			strings.Join(cfg.AccountNames(), ", "))
	}
	if finance.Rules != nil {
		return nil
	}
	what, during := "the lake", "true"
	if month != nil {
		what, during = finance.Books.Name(*month), fmt.Sprintf("billing_month = DATE '%s'", month.First())
	}
	rules, err := Texts(ctx,
		lake, "SELECT rule_id FROM chargeback_daily WHERE "+during+" AND rule_id IS NOT NULL LIMIT 1")
	switch {
	case errors.Is(err, query.ErrNotPublished):
		return nil
	case err != nil:
		return err
	case len(rules) > 0:
		return config.Usage(hint+"; if the rules are to be gone, usagelake allocation apply first",
			"%s was allocated by rules, and the config names none", what)
	}
	return nil
}

// warnOf says what the month is closed with that is no objection, and that somebody may want to know.
func warnOf(ctx context.Context, lake *publish.Lake, env Env, month schemas.Month) error {
	lines, err := Texts(ctx, lake, fmt.Sprintf(`
		SELECT format('{} {} of the month are charged to nobody: %[2]s', money_text(sum(net_cost), currency),
		coalesce(currency, 'without currency')) FROM chargeback_daily
		WHERE billing_month = DATE '%[1]s' AND cost_center = '%[2]s' GROUP BY currency HAVING sum(net_cost) <> 0
		UNION ALL
		SELECT format('{} requests of the month have no amount: they count in no cost', sum(without_amount))
		FROM chargeback_daily WHERE billing_month = DATE '%[1]s' AND record_kind = '%[3]s' HAVING sum(without_amount) <> 0
		ORDER BY ALL`, month.First(), schemas.Unallocated, schemas.RecordRequest))
	for _, line := range lines {
		env.Logger.Warn(line)
	}
	return err
}

// deriveAll brings the day files of every account up to their sealed windows.
func deriveAll(ctx context.Context, lake *publish.Lake, env Env, phase func(string)) error {
	accounts, err := lake.Accounts()
	if err != nil {
		return err
	}
	for _, account := range accounts {
		_, err := derive(ctx, lake, account, env.Logger, func(p schemas.Partition) {
			if phase != nil {
				phase("derive " + p.String())
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// objectionsTo lists what stands against closing a month.
func objectionsTo(ctx context.Context, lake *publish.Lake, cfg *config.Config, env Env, month schemas.Month,
	books *schemas.Books, closed []publish.ClosedMonth) ([]string, error) {
	var out []string
	period := books.Period(month, month)
	begin, end := books.Starts(period.From), books.Starts(period.To)
	settled := env.Now().Add(-time.Duration(cfg.Export.Settle))
	if settled.Before(end) {
		out = append(out, fmt.Sprintf("the month is not over: its records can be complete from %s on",
			end.Add(time.Duration(cfg.Export.Settle)).Format(time.RFC3339)))
	}
	accounts, err := lake.Accounts()
	if err != nil {
		return nil, err
	}
	for _, a := range cfg.Accounts {
		if !slices.Contains(accounts, a.Name) {
			accounts = append(accounts, a.Name)
		}
	}
	for _, account := range accounts {
		s, err := sealedOf(lake, account)
		if err != nil {
			return nil, err
		}
		whole := schemas.Window{Account: account, Start: begin, End: end}
		gaps := schemas.Uncovered(whole, s.windows())
		missing := time.Duration(0)
		for _, g := range gaps {
			missing += g.End.Sub(g.Start)
		}
		configured := slices.ContainsFunc(cfg.Accounts, func(a config.Account) bool { return a.Name == account })
		if missing == 0 || !configured && missing == whole.End.Sub(whole.Start) { // an account that is no more
			continue
		}
		out = append(out, fmt.Sprintf("account %s: %.1f hours of the month are not exported, the first from %s to %s",
			account, missing.Hours(), words.Instant(gaps[0].Start), words.Instant(gaps[0].End)))
	}
	from, to := period.UTC() // what is wrong with a day that two months share stands against both
	about := strings.NewReplacer("{month}", month.First().String(), "{from}", from.String(), "{to}", to.String())
	for _, q := range []string{
		`SELECT format('account {}: {} of {} records', account, check_name, sum(records)) || coalesce(', ' || field,
			'') || ' (quality error)' FROM quality_issues WHERE severity = 'error' AND usage_date >= DATE '{from}'
			AND usage_date < DATE '{to}' GROUP BY account, check_name, field ORDER BY ALL`,
		`SELECT format('account {}: {} records are in quarantine and count in nothing', account, sum(quarantined))
			FROM partitions WHERE quarantined > 0 AND usage_date >= DATE '{from}' AND usage_date < DATE '{to}'
			GROUP BY account ORDER BY ALL`,
		`SELECT format('account {}: {} has no currency: set accounts[].currency in the config', account,
			money_text(sum(net_cost), NULL)) FROM allocated_model_daily WHERE currency IS NULL AND net_cost IS NOT NULL
			AND month_of(book_date) = DATE '{month}' GROUP BY account ORDER BY ALL`,
		`SELECT format('{} has usage and is still open: close months in their order', period_of(billing_month))
			FROM chargeback_daily WHERE billing_month < DATE '{month}'
			AND billing_month NOT IN (SELECT "month" FROM closed_months)
			GROUP BY billing_month ORDER BY ALL`,
		`SELECT format('the rates of {} to {} do not go to the end of the month: those of {} days from {} to {} may ' ||
			'be others once they do', currency, book_currency, count(*), min(book_date), max(book_date)) FROM book_rates
			WHERE "month" = DATE '{month}' AND NOT final AND rate IS NOT NULL GROUP BY currency, book_currency ORDER BY ALL`,
	} {
		lines, err := Texts(ctx, lake, about.Replace(q))
		if err != nil {
			return nil, err
		}
		out = append(out, lines...)
	}
	more, err := looseObjections(ctx, lake, cfg, month)
	if err != nil {
		return nil, err
	}
	out = append(out, more...)
	if len(closed) > 0 && closed[len(closed)-1].Month > month {
		out = append(out, "a later month is closed: "+closed[len(closed)-1].Name())
	}
	return out, nil
}

// lackingRates lists what a month is charged that can't be converted into the currency of the books.
func lackingRates(ctx context.Context, lake *publish.Lake, month schemas.Month) ([]string, error) {
	return Texts(ctx, lake, fmt.Sprintf(`
		SELECT format('{} records of {} days from {} to {} have no rate: ', sum(c.requests), count(DISTINCT c.book_date),
			min(c.book_date), max(c.book_date)) || coalesce(arg_min(r.lacks, c.book_date), 'they have no currency')
		FROM chargeback_daily c LEFT JOIN book_rates r ON r.currency = c.currency AND r.book_date = c.book_date
		WHERE c.billing_month = DATE '%s' AND c.book_currency IS NOT NULL AND c.net_cost IS NOT NULL AND c.book_cost IS NULL
		GROUP BY c.currency ORDER BY ALL`, month.First()))
}

// Texts is the answer to a query of one column.
func Texts(ctx context.Context, lake *publish.Lake, sql string) ([]string, error) {
	rows, err := query.Run(ctx, lake, sql)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for row, err := range rows.All(ctx) {
		if err != nil {
			return nil, err
		}
		out = append(out, row[0].Text)
	}
	return out, nil
}

// Reopen opens the month that was closed last, for a reason that is kept with what it was closed with.
func Reopen(ctx context.Context, cfg *config.Config, env Env, month schemas.Month, reason string,
	wait bool) (res *Result, kept string, err error) {
	books, err := cfg.ReadBooks()
	if err != nil {
		return nil, "", err
	}
	if strings.TrimSpace(reason) == "" {
		return nil, "", config.Usage(fmt.Sprintf(`usagelake close --reopen --month %s --reason "…"`, books.Name(month)),
			"a closed month is opened for a reason, which is recorded: give --reason")
	}
	if err := needLake(cfg.Lake); err != nil {
		return nil, "", err
	}
	res, err = underLock(ctx, cfg, env, "close --reopen", wait,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			if err := sameSetup(ctx, lake, cfg, res.finance, &month); err != nil {
				return err
			}
			closed, err := lake.Closed()
			if err != nil {
				return err
			}
			if len(closed) > 0 && closed[len(closed)-1].Month > month &&
				slices.ContainsFunc(closed, func(c publish.ClosedMonth) bool { return c.Month == month }) {
				last := closed[len(closed)-1].Name()
				return &config.Hint{Err: fmt.Errorf("%s was closed after %s, and may hold corrections of it: "+
					"months are opened from the last on", last, res.finance.Books.Name(month)),
					Hint: `usagelake close --reopen --month ` + last + ` --reason "…"`}
			}
			if kept, err = lake.ReopenMonth(month, res.RunID, env.Version, reason, env.Now()); errors.Is(err,
				publish.ErrNotClosed) {
				// The run that opened it may have died before it published.
				return errors.Join(err, publishFile(ctx, lake, env, res, nil, false, err))
			} else if err != nil {
				return err
			}
			return publishFile(ctx, lake, env, res, nil, false, nil)
		})
	return res, kept, err
}

// closeDue closes every month from the job's first to the one before logical that is still open, in order. A month that
// can't be closed is in the way of those after it.
func closeDue(ctx context.Context, cfg *config.Config, env Env, job config.Job, logical time.Time) (*Result, error) {
	books, err := cfg.ReadBooks()
	if err != nil {
		return nil, err
	}
	first, err := books.ParseMonth(job.From, logical)
	if err != nil {
		return nil, config.Usage("", "job %s: from: %w", job.Name, err)
	}
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	closed, err := lake.Closed()
	if err != nil {
		return nil, err
	}
	for _, c := range closed {
		first = max(first, c.Month+1)
	}
	last := books.Month(dateOf(logical.In(job.Calendar.Location()))) - 1
	var res *Result
	var unpacked []error
	for month := first; month <= last; month++ {
		each := env
		if month < last { // the time is done when its last month is
			each.Job.Logical = time.Time{}
		}
		res, _, err = Close(ctx, cfg, each, CloseOptions{Month: month, Wait: true})
		if errors.As(err, new(*PackagesError)) { // the month is closed, and in no other's way
			env.Logger.Error("the month is closed; its packages are made up by usagelake package, or a job of that kind",
				"month", books.Name(month), "error", err)
			unpacked, err = append(unpacked, err), nil
		}
		if err != nil {
			return res, err
		}
	}
	if res != nil {
		return res, errors.Join(unpacked...)
	}
	return underLock(ctx, cfg, env, "close", true, func(context.Context, *publish.Lake, *Result) error {
		env.Logger.Info("there is no month to close", "closed_to", books.Name(first-1))
		return nil
	})
}
