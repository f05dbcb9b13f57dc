package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// BalanceReading is an account's balance as it was asked for.
type BalanceReading struct {
	Account    string    `json:"account"`
	ObservedAt time.Time `json:"observed_at"`
	Balance    string    `json:"balance"`  // exact decimal text; "" if the answer named none
	Currency   string    `json:"currency"` // "" if unknown
	Below      bool      `json:"below"`    // the threshold
	Error      string    `json:"error,omitempty"`
}

// BalanceOptions say when a balance is too low.
type BalanceOptions struct {
	Wait  bool
	Below *schemas.Decimal // warn under this; nil: never
	Retry extract.Retry    // for tests that can't wait
}

// Balance asks for each account's balance, keeps the answers and publishes them.
func Balance(ctx context.Context, cfg *config.Config, env Env, opts BalanceOptions) (*Result, []BalanceReading, error) {
	clients, err := makeClients(cfg, env, opts.Retry)
	if err != nil {
		return nil, nil, err
	}
	readings := make([]BalanceReading, len(cfg.Accounts))
	res, err := underLock(ctx, cfg, env, "balance", opts.Wait,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			errs := make([]error, len(clients))
			var wg sync.WaitGroup
			for i, c := range clients {
				wg.Go(func() {
					defer c.Close()
					defer schemas.Guard(&errs[i])
					readings[i], errs[i] = readBalance(ctx, lake, c, cfg.Accounts[i], res.RunID, env, opts.Below)
				})
			}
			wg.Wait()
			had := 0
			for i, a := range cfg.Accounts {
				n := clients[i].Counts()
				out := schemas.RunAccount{Account: a.Name, Status: StatusOf(errs[i]), RunCounts: schemas.RunCounts{
					Requests: n.Requests, Retries: n.Retries, Throttled: n.Throttled}}
				if errs[i] == nil {
					had++
				} else {
					out.Error, readings[i].Error = errs[i].Error(), errs[i].Error()
				}
				res.Accounts = append(res.Accounts, out)
				res.RunCounts.Add(out.RunCounts)
				if _, err := derive(ctx, lake, a.Name, env.Logger, nil); err != nil {
					return err
				}
			}
			outcome := errors.Join(errs...)
			switch {
			case outcome == nil:
			case errors.Is(outcome, extract.ErrRefused):
				outcome = &RefusedError{Err: outcome}
			case had > 0:
				outcome = &PartialError{What: "balances", Count: len(clients) - had, First: outcome.Error()}
			}
			if had > 0 {
				if err := publishFile(ctx, lake, env, res, nil, false, outcome); err != nil {
					return err
				}
			}
			return outcome
		})
	return res, readings, err
}

func readBalance(ctx context.Context, lake *publish.Lake, c *extract.Client, a config.Account, runID string, env Env,
	below *schemas.Decimal) (BalanceReading, error) {
	r := BalanceReading{Account: a.Name, Currency: a.Currency}
	b, err := askBalance(ctx, lake, c, a.Name, runID, env)
	if err != nil {
		return r, err
	}
	r.ObservedAt, r.Balance = b.At, b.Amount
	if b.Currency != "" {
		r.Currency = b.Currency
	}
	if below != nil && b.Amount != "" {
		v, err := schemas.ParseDecimal([]byte(b.Amount))
		switch {
		case err == nil:
			r.Below = v < *below
		case errors.Is(err, schemas.ErrOutOfRange): // a million and more: its sign tells
			r.Below = strings.HasPrefix(b.Amount, "-")
		default:
			return r, fmt.Errorf("account %s: the balance %q can't be compared: %w", a.Name, b.Amount, err)
		}
	}
	return r, nil
}

// LastBalance is the last known balance of an account in a currency, and how long it lasts.
type LastBalance struct {
	Account, Currency string
	ObservedAt        time.Time
	// exact decimals; DaysLeft, at the burn of the last 7 days, is "" if nothing burns or it isn't known
	Balance, DaysLeft string
}

// LastBalances reads them from the published file of cfg's lake; none if nothing is published yet.
func LastBalances(ctx context.Context, cfg *config.Config) ([]LastBalance, error) {
	lake, err := publish.Open(cfg.Lake, Env{}.LakeOptions(cfg))
	if errors.Is(err, load.ErrNoLake) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := query.Run(ctx, lake,
		"SELECT account, currency, observed_at, balance, days_left_7 FROM balance_runway ORDER BY ALL")
	if errors.Is(err, query.ErrNotPublished) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []LastBalance
	for row, err := range rows.All(ctx) {
		if err != nil {
			return nil, err
		}
		at, err := time.Parse(time.RFC3339Nano, row[2].Text)
		if err != nil {
			return nil, fmt.Errorf("a balance of account %s: %w", row[0].Text, err)
		}
		out = append(out, LastBalance{Account: row[0].Text, Currency: row[1].Text, ObservedAt: at, Balance: row[3].Text,
			DaysLeft: row[4].Text})
	}
	return out, nil
}
