package jobs

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// ReadTopUps reads the files of top-ups, those of all accounts first, and says how each account is billed. Every
// mistake in them is reported, as ErrUsage.
func ReadTopUps(cfg *config.Config) ([]schemas.TopUp, []schemas.Billing, error) {
	accounts := cfg.AllAccounts()
	var out []schemas.TopUp
	var errs []error
	read := func(file string, of []string, own bool) {
		b, err := ReadFinanceFile(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("read top-ups: %w", err))
			return
		}
		lines, err := ParseTopUps(filepath.Base(file), b, of, own)
		if err != nil {
			errs = append(errs, fmt.Errorf("topups %s: %w", file, err))
		}
		out = append(out, lines...)
	}
	for _, file := range cfg.TopUps {
		read(file, cfg.AllAccountNames(), false)
	}
	for _, a := range accounts {
		if a.TopUps != "" {
			read(a.TopUps, []string{a.Name}, true)
		}
	}
	if len(errs) > 0 {
		return nil, nil, config.Usage("", "%w", errors.Join(errs...))
	}
	billing := make([]schemas.Billing, len(accounts))
	for i, a := range accounts {
		b := schemas.Billing{Account: a.Name, Billing: cmp.Or(a.Billing, schemas.Postpaid), TopUpsGiven: a.TopUps != ""}
		if b.Billing == schemas.Prepaid {
			b.Draw = cmp.Or(a.Draw, schemas.DrawFIFO)
			errs = append(errs, prepaidTopUps(a, out)...)
		}
		billing[i] = b
	}
	if len(errs) > 0 {
		return nil, nil, config.Usage("", "%w", errors.Join(errs...))
	}
	return out, billing, nil
}

// maxTopUp is the most that a top-up of a prepaid account may be.
const maxTopUp = "999999999999999"

// prepaidTopUps lists what is wrong with top-ups of a prepaid account: its credit is in one currency, and each adds to
// it.
func prepaidTopUps(a config.Account, topUps []schemas.TopUp) []error {
	var errs []error
	currency, says := a.Currency, "the config"
	most, _ := schemas.ParseMoney(maxTopUp)
	for _, t := range topUps {
		if t.Account != a.Name {
			continue
		}
		if currency == "" {
			currency, says = t.Currency, t.Source
		}
		if t.Currency != currency {
			errs = append(errs, fmt.Errorf("%s: currency %s: the account %s is prepaid in %s, as %s has it: write what was "+
				"credited in %[4]s", t.Source, t.Currency, a.Name, currency, says))
		}
		if t.Amount.Sign() < 0 {
			errs = append(errs, fmt.Errorf("%s: amount %s: credit of the prepaid account %s isn't lowered by a line of its "+
				"own: write the top-up that was paid back or reversed with what is left of it, or without its line if nothing is; "+
				"if its month is closed, open it again first (usagelake close --reopen)", t.Source, t.Amount, a.Name))
		} else if t.Amount.Sign() == 0 || t.Amount.Cmp(most) > 0 {
			errs = append(errs, fmt.Errorf("%s: amount %s: a top-up of the prepaid account %s is more than 0, and at most %s",
				t.Source, t.Amount, a.Name, maxTopUp))
		}
	}
	return errs
}

// topUpColumns are those of a file of top-ups.
var topUpColumns = []string{"date", "amount", "currency", "kind", "account", "reference", "expires"}

// topUpKinds are the kinds of top-ups.
var topUpKinds = []string{schemas.TopUpPaid, schemas.TopUpCoupon, schemas.TopUpCredit}

// ParseTopUps reads a file of what was paid into accounts, given as coupons or credited: a table of date,
// amount and currency, and where they are known kind (paid, coupon or credit; paid), account (needed where there are
// several), reference, and expires, the first day on which what is left of it counts no more. Other columns are passed
// over. own says that the file is of one account, accounts[0].
func ParseTopUps(name string, b []byte, accounts []string, own bool) ([]schemas.TopUp, error) {
	var out []schemas.TopUp
	err := allocate.ReadSheet(name, b, allocate.Ours(topUpColumns), func(columns map[string]int) []error {
		return allocate.Lacking(columns, "date", "amount", "currency")
	}, func(r *allocate.Row) error {
		t := schemas.TopUp{Account: r.Text("account"), Currency: r.Text("currency"), Kind: r.Text("kind"),
			Reference: r.Text("reference"), Source: r.Source()}
		var errs []error
		var err error
		if t.Date, err = r.Date("date"); err != nil {
			errs = append(errs, fmt.Errorf("date: %w", err))
		}
		if t.Amount, err = allocate.Number(r, "amount", schemas.ParseMoney); err != nil {
			errs = append(errs, err)
		}
		if !schemas.IsCurrency(t.Currency) {
			errs = append(errs, r.Wrong("currency", "currency %q is not an ISO 4217 code like USD", t.Currency))
		}
		if t.Kind == "" {
			t.Kind = schemas.TopUpPaid
		}
		if !slices.Contains(topUpKinds, t.Kind) {
			errs = append(errs, r.Wrong("kind", "kind %q is none of %s", t.Kind, strings.Join(topUpKinds, ", ")))
		}
		switch {
		case own && t.Account != "" && t.Account != accounts[0]:
			errs = append(errs, r.Wrong("account",
				"account %q: the file is of the account %s: write the line into the file of %[1]q, "+
					"or into one of topups: of the whole config", t.Account, accounts[0]))
		case t.Account == "" && len(accounts) == 1:
			t.Account = accounts[0]
		case t.Account == "":
			errs = append(errs, r.Wrong("account", "no account: the config has %s", strings.Join(accounts, ", ")))
		}
		if !r.Empty("expires") {
			day, err := r.Date("expires")
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("expires: %w", err))
			case day <= t.Date:
				errs = append(errs, r.Wrong("expires",
					"it expires on %s, not after its date %s: write the first day on which it no "+
						"longer pays, or nothing if it doesn't expire", day, t.Date))
			}
			t.Expires = &day
		}
		out = append(out, t)
		return errors.Join(errs...)
	})
	return out, err
}
