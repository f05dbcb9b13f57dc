package report_test

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// reconciliation holds a report of invoices, balances and months.
func (k *ledger) reconciliation(p page, doc *report.Document, s query.Scope, period schemas.Period) {
	of := func(account string) bool { return len(s.Accounts) == 0 || slices.Contains(s.Accounts, account) }
	k.invoiced(p, table(doc, "invoices"), of, period)
	balance := rows(table(doc, "balance"), "account", "closed_at")
	var want []string
	for a, looks := range k.looks {
		for i := 1; i < len(looks) && of(a); i++ {
			from, to := looks[i-1], looks[i]
			if to.day < period.From || from.day >= period.To {
				continue
			}
			key := a + "|" + to.day.String() + "T00:00:00Z"
			want = append(want, key)
			row := balance[key]
			if row == nil {
				continue
			}
			used := k.usedBetween(a, "USD", from.day, to.day)
			came := new(big.Int).Add(new(big.Int).Sub(to.amount, from.amount), used)
			filed := new(big.Int)
			for _, t := range k.topUps {
				if k.given && t.Account == a && t.Date >= from.day && t.Date < to.day {
					filed.Add(filed, t.Amount.Units())
				}
			}
			unexplained := new(big.Int).Sub(came, filed)
			// Without a file, more than one unit and a hundredth of what was used is taken for a top-up.
			if !k.given && came.Cmp(unit) >= 0 && new(big.Int).Mul(came, big.NewInt(100)).Cmp(used) > 0 {
				filed, unexplained = came, nil
			}
			p.exact(key+" opening", row["opening"], from.amount)
			p.exact(key+" closing", row["closing"], to.amount)
			p.exact(key+" used", row["used"], used)
			p.exact(key+" top-ups", row["top_ups"], filed)
			p.exact(key+" unexplained", row["unexplained"], unexplained)
			p.text(key+" checked", row["checked"], strconv.FormatBool(unexplained != nil))
		}
	}
	p.keys("balance", balance, want)
	_, current, _ := k.clock()
	if runway := table(doc, "runway"); (runway != nil) != (period.To > current) {
		p.t.Errorf("%s: how long the balance lasts is about now", p.what)
	} else if runway != nil {
		want = nil
		for row, cells := range rows(runway, "account") {
			looks := k.looks[row]
			want = append(want, row)
			p.exact(row+" balance", cells["balance"], looks[len(looks)-1].amount)
			for _, days := range []schemas.Date{7, 28} {
				whole, burn := k.recent(row, days), math.NaN()
				if len(whole) > 0 {
					burn = units(sum(k.used, func(l posting) bool {
						return l.account == row && l.currency == "USD" && slices.Contains(whole, l.day)
					})) / float64(len(whole))
				}
				p.near(row+" burn", cells[fmt.Sprintf("burn_%d_days", days)], burn, 1e-6)
				lasts := math.NaN()
				if burn > 0 {
					lasts = max(units(looks[len(looks)-1].amount), 0) / burn
				}
				p.near(row+" days", cells[fmt.Sprintf("days_left_%d", days)], lasts, 0.1)
			}
		}
		if n := len(slices.DeleteFunc(slices.Clone(k.accounts), func(a string) bool { return !of(a) })); n != len(want) {
			p.t.Errorf("%s: %d of %d balances last", p.what, len(want), n)
		}
	}
	got := rows(table(doc, "months"), "month", "currency")
	want = nil
	months := map[string][]posting{}
	out := map[string][]posting{}
	for _, l := range k.charged {
		if !of(l.account) {
			continue
		}
		key := l.billed.String() + "|" + l.currency
		months[key] = append(months[key], l)
		if l.correction {
			key = l.day.Month().First().String() + "|" + l.currency
			out[key] = append(out[key], l)
		}
	}
	for key := range out { // it is listed, though nothing may be charged in it
		if _, ok := months[key]; !ok {
			months[key] = nil
		}
	}
	if k.closed != 0 &&
		!slices.ContainsFunc(slices.Collect(maps.Keys(months)),
			func(key string) bool { return key[:10] == k.closed.String() }) {
		months[k.closed.String()+"|"] = nil
	}
	for key, lines := range months {
		month := day(key[:10])
		if month < period.From || month >= period.To {
			continue
		}
		want = append(want, key)
		row := got[key]
		if row == nil {
			continue
		}
		orNothing := func(lines []posting) *big.Int {
			if len(lines) == 0 {
				return nil
			}
			return sum(lines, nil)
		}
		var requests int64
		var in []posting
		for _, l := range lines {
			requests += l.requests
			if l.correction {
				in = append(in, l)
			}
		}
		if len(lines) > 0 {
			p.exact(key+" net", row["net_cost"], sum(lines, nil))
			p.text(key+" requests", row["requests"], strconv.FormatInt(requests, 10))
		}
		p.exact(key+" corrections in", row["corrections_in"], orNothing(in))
		p.exact(key+" corrections out", row["corrections_out"], orNothing(out[key]))
		status := "open"
		if month == k.closed {
			status = "closed"
		} else if month >= current {
			status = "current"
		}
		p.text(key+" status", row["status"], status)
		text, _ := k.complete(s.Accounts, month, (month.Month() + 1).First())
		p.text(key+" completeness", row["completeness"], text)
	}
	p.keys("months", got, want)
}

// invoiced holds invoices against usage: each line against what the others of the period leave of it, the models and
// days that have no line, and the sum of a period's invoices.
func (k *ledger) invoiced(p page, t *report.Table, of func(account string) bool, period schemas.Period) {
	type span struct {
		account  string
		from, to schemas.Date
		currency string
	}
	type line struct {
		invoice, model string
		day            schemas.Date
		amount         *big.Int
	}
	spans := map[span][]line{}
	for _, l := range k.invoices {
		if l.From >= period.To || l.To <= period.From || !of(l.Account) {
			continue
		}
		key := span{l.Account, l.From, l.To, l.Currency}
		x := line{invoice: l.Invoice, amount: l.Amount.Units()}
		if l.Model != nil {
			x.model = *l.Model
		}
		if l.Date != nil {
			x.day = *l.Date
		}
		spans[key] = append(spans[key], x)
	}
	got := rows(t, "kind", "invoice", "account", "period_start", "period_end", "currency", "model", "usage_date")
	var want []string
	for s, lines := range spans {
		used := func(model string, at schemas.Date) *big.Int {
			return sum(k.used, func(l posting) bool {
				return (s.account == "" || l.account == s.account) && l.currency == s.currency && l.day >= s.from && l.day < s.to &&
					(model == "" || l.model == model) && (at == 0 || l.day == at)
			})
		}
		row := func(kind, invoice, model string, at schemas.Date, invoiced, others *big.Int) {
			date := ""
			if at != 0 {
				date = at.String()
			}
			key := strings.Join([]string{kind, invoice, s.account, s.from.String(), s.to.String(), s.currency, model, date}, "|")
			want = append(want, key)
			if cells := got[key]; cells != nil {
				p.exact(key+" invoiced", cells["invoiced"], invoiced)
				p.exact(key+" others", cells["other_invoices"], others)
				p.exact(key+" exported", cells["exported"], used(model, at))
				difference := new(big.Int).Sub(used(model, at), others)
				if invoiced != nil {
					difference.Sub(difference, invoiced)
				}
				p.exact(key+" difference", cells["difference"], difference)
			}
		}
		// An invoice comes to its total, or else to its models or days; no drawn invoice has two of these.
		bills := map[string]*big.Int{}
		total := new(big.Int)
		for _, l := range lines {
			if bills[l.invoice] == nil {
				bills[l.invoice] = new(big.Int)
			}
			bills[l.invoice].Add(bills[l.invoice], l.amount)
			total.Add(total, l.amount)
		}
		var byModel, byDay []string // the invoices that are
		hasTotal := false
		for _, l := range lines {
			others := new(big.Int)
			for _, o := range lines {
				if o.invoice != l.invoice && (l.model == "" && l.day == 0 || o.model == l.model && o.day == l.day) {
					others.Add(others, o.amount)
				}
			}
			row("line", l.invoice, l.model, l.day, l.amount, others)
			hasTotal = hasTotal || l.model == "" && l.day == 0
			if l.model != "" {
				byModel = append(byModel, l.invoice)
			}
			if l.day != 0 {
				byDay = append(byDay, l.invoice)
			}
		}
		if invoices := slices.Sorted(maps.Keys(bills)); len(invoices) > 1 || !hasTotal {
			row("sum", strings.Join(invoices, ", "), "", 0, total, new(big.Int))
		}
		list := func(of []string) string {
			return strings.Join(slices.Compact(slices.Sorted(slices.Values(of))), ", ")
		}
		if len(byModel) > 0 {
			for _, m := range []string{"m0", "m1", "model-1"} {
				if !slices.ContainsFunc(lines, func(l line) bool { return l.model == m }) && used(m, 0).Sign() != 0 {
					row("no line", list(byModel), m, 0, nil, new(big.Int))
				}
			}
		}
		if len(byDay) > 0 {
			all := slices.Clone(byDay) // without a model, the lines of a period are one list
			for _, l := range lines {
				if l.model == "" {
					all = append(all, l.invoice)
				}
			}
			for d := s.from; d < s.to; d++ {
				if !slices.ContainsFunc(lines, func(l line) bool { return l.day == d && l.model == "" }) &&
					used("", d).Sign() != 0 {
					row("no line", list(all), "", d, nil, new(big.Int))
				}
			}
		}
	}
	p.keys("invoices", got, want)
}
