package jobs

import (
	"context"
	"fmt"
	"slices"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// CurrencyError says that /balance names another currency than what is sealed of the account has. What is sealed keeps
// its own, whoever fetches it again, unless it is told to be fetched anew by --refetch.
type CurrencyError struct{ Account, Was, Is string }

func (e *CurrencyError) Error() string {
	return fmt.Sprintf("account %s: /balance names %s, and what is sealed is in %s: days that are sealed keep %[3]s, new "+
		"ones have %[2]s", e.Account, e.Is, e.Was)
}

// checkCurrency holds what /balance names against what was sealed last.
func (x *exporter) checkCurrency(ctx context.Context, named string) error {
	held, err := sealedCurrency(ctx, x.lake, x.account.Name)
	if err != nil || held == "" || held == named {
		return err
	}
	x.currency = &CurrencyError{Account: x.account.Name, Was: held, Is: named}
	x.log.Error("the account's currency has changed", "was", held, "is", named)
	return nil
}

// sealedCurrency is the currency of the newest window that names one; "" if none does.
func sealedCurrency(ctx context.Context, lake *publish.Lake, account string) (string, error) {
	days, err := lake.Partitions(account)
	if err != nil {
		return "", err
	}
	for _, p := range slices.Backward(days) {
		source, err := lake.Source(p)
		if err != nil {
			return "", err
		}
		for _, r := range slices.Backward(source.Live()) {
			if code := currencyOf(ctx, lake, p, r); code != "" {
				return code, nil
			}
		}
		if len(source.Windows) > 0 {
			return "", nil // as far back as that it isn't asked what a currency was
		}
	}
	return "", nil
}

// currencyOf is what a sealed window names; "" too if the file can't be read, which verify tells.
func currencyOf(ctx context.Context, lake *publish.Lake, p schemas.Partition, r load.Raw) string {
	s, err := lake.OpenRaw(ctx, p, r)
	if err != nil || !schemas.IsCurrency(s.Seal.Currency) {
		return ""
	}
	return s.Seal.Currency
}

// keptCurrency is the currency for a window that is to be sealed: that of the time as it was sealed before.
func (x *exporter) keptCurrency(ctx context.Context, s schemas.Seal) (string, error) {
	if x.opts.Span.Anew || s.Currency == "" {
		return s.Currency, nil
	}
	w := s.Window()
	source, err := x.lake.Source(w.Partition())
	if err != nil {
		return "", err
	}
	for _, r := range source.Live() {
		if !r.Window.Start.Before(w.End) || !w.Start.Before(r.Window.End) {
			continue
		}
		if code := currencyOf(ctx, x.lake, w.Partition(), r); code != "" && code != s.Currency {
			x.log.Warn("a window that is fetched anew keeps its currency", "window", w.String(), "currency", code, "named_now",
				s.Currency)
			return code, nil
		}
	}
	return s.Currency, nil
}
