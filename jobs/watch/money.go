package watch

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// balance asks for the last reading of each account. Amounts are compared exactly, and shown rounded; where the two
// would look the same (9.999 below 10) they are shown exactly. A balance that is NULL, and a runway where nothing
// burns, find nothing, and end what was told.
func (g *gatherer) balance(ctx context.Context, snap *query.Snapshot, r config.Rule) error {
	return each(ctx, snap,
		`SELECT account, currency, observed_at, balance, burn_7_days, days_left_7, days_left_28,
			least(days_left_7, days_left_28) AS days_left,
			least(days_left_7_coupons_beside, days_left_28_coupons_beside) AS days_left_coupons_beside
		FROM balance_runway QUALIFY row_number() OVER (PARTITION BY account ORDER BY observed_at DESC) = 1 ORDER BY account`,
		func(v row) error {
			account := v.text("account")
			if !g.covers(r, account) {
				return nil
			}
			balance, err := v.money("balance")
			if err != nil || balance == nil {
				return err
			}
			held := balance.In(v.text("currency"))
			amount := held.Text()
			details := map[string]string{"account": account, "balance": balance.String(), "currency": v.text("currency"),
				"observed_at": v.text("observed_at")}
			if r.Kind == config.AlertBalance {
				below, err := schemas.ParseMoney(r.Below)
				if err != nil {
					return err
				}
				if balance.Cmp(below) < 0 {
					details["below"] = below.String()
					limit := below.In(held.Currency()).Amount()
					if held.Amount() == limit { // the difference is less than people read
						amount, limit = held.Exact(), below.String()
					}
					g.add(r, alert.Finding{Subject: account, Details: details,
						Summary: fmt.Sprintf("the balance of account %s is %s, below %s", g.label("account", account), amount, limit)})
				}
				return nil
			}
			left, err := v.money("days_left")
			if err != nil || left == nil { // nothing burns
				return err
			}
			days := cmp.Or(r.Days, config.DefaultRunway)
			if left.Rat().Cmp(new(big.Rat).SetInt64(int64(days))) < 0 {
				details["days_left"], details["days"], details["burn_7_days"] = v.text("days_left"), strconv.Itoa(days),
					v.text("burn_7_days")
				f := alert.Finding{Subject: account, Details: details,
					Summary: fmt.Sprintf("the balance of account %s, %s, lasts for about %s days (fewer than %d)",
						g.label("account", account), amount, left, days)}
				// The API doesn't say whether the balance includes what is left of coupons; the shorter reading is what warns.
				if more := v.text("days_left_coupons_beside"); more != "" && more != v.text("days_left") {
					f.Details["days_left_coupons_beside"] = more
					f.Summary += fmt.Sprintf("; about %s if its coupons stand beside it", more)
				}
				g.add(r, f)
			}
			return nil
		})
}

// budget holds what was spent of each period against the thresholds. The level of an alert is how many of them are
// reached: with 0.8 and 1, 85 % is level 1, and 100 % level 2 is told anew. The identity is the budget and its period,
// so that the next period begins in silence.
func (g *gatherer) budget(ctx context.Context, snap *query.Snapshot, r config.Rule) error {
	books, err := g.cfg.ReadBooks()
	if err != nil {
		return err
	}
	thresholds := map[string][]schemas.Decimal{}
	for _, b := range g.cfg.Budgets {
		if r.Budgets != nil && !slices.Contains(r.Budgets, b.Name) {
			continue
		}
		own, err := b.Parse(books)
		if err != nil {
			return err
		}
		thresholds[b.Name] = own.Thresholds
		if r.Thresholds != nil {
			if thresholds[b.Name], err = config.ParseThresholds(r.Thresholds); err != nil {
				return err
			}
		}
	}
	// A period's last days come after it has ended.
	return each(ctx, snap,
		fmt.Sprintf(`SELECT budget, period_start, period_end, currency, amount, spent, forecast, forecast_low, forecast_high,
			completeness FROM budget_status
		WHERE period_start <= DATE '%s' AND period_end > DATE '%s' ORDER BY ALL`, g.today,
			g.today-schemas.Date(config.DefaultRecent/(24*time.Hour))), func(v row) error {
			name := v.text("budget")
			shares, ok := thresholds[name]
			if !ok {
				return nil
			}
			amount, err := v.money("amount")
			if err != nil {
				return err
			}
			spent, err := v.money("spent")
			if err != nil {
				return err
			}
			if spent == nil { // what isn't known is not over: an alert of before goes on, and says so
				g.add(r, alert.Finding{Subject: name + " " + v.text("period_start"), Level: 1,
					Summary: fmt.Sprintf("budget %s from %s: what is spent isn't known in %s, for a rate is missing", name,
						v.text("period_start"), v.text("currency")),
					Details: map[string]string{"budget": name, "period_start": v.text("period_start"),
						"currency": v.text("currency")}})
				return nil
			}
			forecast, err := v.money("forecast")
			if err != nil {
				return err
			}
			end, err := schemas.ParseDate(v.text("period_end"))
			if err != nil {
				return err
			}
			f := alert.Finding{Subject: name + " " + v.text("period_start"),
				Until: passes((end - 1).Start(), config.DefaultRecent), Details: map[string]string{
					"budget": name, "period_start": v.text("period_start"), "period_end": v.text("period_end"),
					"currency": v.text("currency"),
					"amount":   amount.String(), "spent": spent.String(), "completeness": v.text("completeness")}}
			currency := v.text("currency")
			what := fmt.Sprintf("budget %s from %s: %s of %s", name, v.text("period_start"),
				spent.In(currency).Text(), amount.In(currency).Amount())
			if strings.Contains(v.text("completeness"), " lacks ") {
				what += ", with " + v.text("completeness") + ","
			}
			if r.Kind == config.AlertForecast {
				// A period that has ended has a sum, and needs no forecast.
				if forecast == nil || forecast.Cmp(*amount) <= 0 || end <= g.today {
					return nil
				}
				for _, c := range []string{"forecast", "forecast_low", "forecast_high"} {
					f.Details[c] = v.text(c)
				}
				f.Summary = fmt.Sprintf("%s spent, about %s expected by %s", what, forecast.In(currency).Amount(),
					v.text("period_end"))
				g.add(r, f)
				return nil
			}
			for _, t := range shares {
				if reached(*spent, *amount, t) {
					f.Level++
					f.Details["threshold"] = t.String()
				}
			}
			if f.Level == 0 {
				return nil
			}
			f.Summary = fmt.Sprintf("%s spent, the threshold %s is reached", what, f.Details["threshold"])
			g.add(r, f)
			return nil
		})
}

// reached says whether spent is at least the share t of amount, exactly.
func reached(spent, amount schemas.Money, t schemas.Decimal) bool {
	share := schemas.MoneyOf(big.NewInt(int64(t)))
	return spent.Rat().Cmp(new(big.Rat).Mul(amount.Rat(), share.Rat())) >= 0
}
