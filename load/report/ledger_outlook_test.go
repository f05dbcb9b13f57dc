package report_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// outlook is what is still to come of some postings.
type outlook struct {
	rate, more *big.Rat // nil: unknown
	spread     float64
	history    int
}

// outlook is, for each account, the mean of its last whole days times the time of the period that isn't there yet.
func (k *ledger) outlook(of []posting, accounts []string, from, to schemas.Date) outlook {
	out := outlook{rate: new(big.Rat), more: new(big.Rat), history: math.MaxInt}
	unknown := false
	var variance float64
	for _, a := range k.accounts {
		_, _, ahead, there := k.lacks(a, from, to)
		if !there || !slices.ContainsFunc(of, func(p posting) bool { return p.account == a }) {
			continue
		}
		days := k.recent(a, 28)
		if len(days) == 0 {
			out.rate, out.history, unknown = nil, 0, unknown || ahead > 0
			continue
		}
		if !slices.ContainsFunc(of, func(p posting) bool { return p.account == a && slices.Contains(days, p.day) }) {
			continue // it costs nothing lately
		}
		var squares, mean float64
		for _, d := range days {
			f, _ := new(big.Rat).SetFrac(sum(of, func(p posting) bool { return p.account == a && p.day == d }), unit).Float64()
			squares, mean = squares+f*f/float64(len(days)), mean+f/float64(len(days))
		}
		total := sum(of, func(p posting) bool { return p.account == a && slices.Contains(days, p.day) })
		rate := new(big.Rat).SetFrac(total, new(big.Int).Mul(unit, big.NewInt(int64(len(days)))))
		if out.rate != nil {
			out.rate.Add(out.rate, rate)
		}
		out.more.Add(out.more, new(big.Rat).Mul(rate, big.NewRat(ahead, 86400)))
		variance += max(0, squares-mean*mean) * float64(ahead) / 86400
		out.history = min(out.history, len(days))
	}
	out.spread = math.Sqrt(variance)
	if unknown {
		out.more = nil
	}
	if out.history == math.MaxInt { // it costs nothing lately
		out.history = 0
		for _, a := range k.accounts {
			if n := len(k.recent(a, 28)); n > 0 && (len(accounts) == 0 || slices.Contains(accounts, a)) &&
				(out.history == 0 || n < out.history) {
				out.history = n
			}
		}
	}
	return out
}

// ahead holds a forecast and its range against what was spent and what is still to come.
func (p page) ahead(what string, row map[string]query.Value, spent *big.Int, o outlook) {
	p.t.Helper()
	more, low, high := number(o.more), math.NaN(), math.NaN()
	p.near(what+" forecast", row["forecast"], units(spent)+more, 0.01)
	if o.more != nil && (more == 0 && o.spread == 0 || o.history >= 7) {
		low, high = more-1.2816*o.spread, more+1.2816*o.spread
		if more < 0 { // what is still to come doesn't change its sign
			high = min(high, 0)
		} else {
			low = max(low, 0)
		}
	}
	p.near(what+" low", row["forecast_low"], units(spent)+low, 0.011)
	p.near(what+" high", row["forecast_high"], units(spent)+high, 0.011)
}

// forecast holds a report of the running month.
func (k *ledger) forecast(p page, doc *report.Document, s query.Scope) {
	_, month, over := k.clock()
	end := (month.Month() + 1).First()
	charged := scoped(k.charged, s, false)
	groups := map[string][]posting{}
	for _, l := range charged {
		for _, key := range []string{"all|", "account|" + l.account, "cost_center|" + l.center} {
			groups[key+"|"+l.currency] = append(groups[key+"|"+l.currency], l)
		}
	}
	got := rows(table(doc, "forecast"), "scope", "scope_value", "currency")
	var want []string
	for key, of := range groups {
		spent := sum(of, func(l posting) bool { return l.billed == month })
		anyAhead := slices.ContainsFunc(of, func(l posting) bool {
			_, _, _, there := k.lacks(l.account, month, end)
			days := k.recent(l.account, 28)
			return there && (len(days) == 0 || slices.Contains(days, l.day))
		})
		if !anyAhead && !slices.ContainsFunc(of, func(l posting) bool { return l.billed == month }) {
			continue
		}
		want = append(want, key)
		row, o := got[key], k.outlook(of, s.Accounts, month, end)
		if row == nil {
			continue
		}
		p.exact(key+" spent", row["spent"], spent)
		p.near(key+" rate", row["recent_rate"], number(o.rate), 1e-6)
		p.ahead(key, row, spent, o)
		p.text(key+" days left", row["days_left"], strconv.Itoa(int(end-max(over, month))))
		p.text(key+" history", row["history_days"], fmt.Sprint(o.history))
		accounts := s.Accounts
		if strings.HasPrefix(key, "account|") {
			accounts = []string{of[0].account}
		}
		if len(accounts) == 1 && len(s.Accounts) != 1 && k.gone[accounts[0]] && !k.expected(accounts[0], month) {
			accounts = s.Accounts // what is no more is expected in no month
		}
		text, _ := k.complete(accounts, month, end)
		p.text(key+" completeness", row["completeness"], text)
	}
	p.keys("forecast", got, want)
	k.drivers(p, doc, s, month)
}

// anomalies holds a report of days that left their history: each day that did stands once, or beside what explains it.
func (k *ledger) anomalies(p page, doc *report.Document, s query.Scope, period schemas.Period) {
	_, _, over := k.clock()
	type series struct {
		scope, value, currency string
		of                     []posting
	}
	all := map[string]*series{}
	put := func(scope, value string, l posting) {
		key := scope + " " + value + "|" + l.currency
		if all[key] == nil {
			all[key] = &series{scope: scope, value: value, currency: l.currency}
		}
		all[key].of = append(all[key].of, l)
	}
	for _, l := range scoped(k.used, s, true) {
		if l.day < over {
			put("account", l.account, l)
			put("model", l.model, l)
			put("token", l.token, l)
		}
	}
	for _, l := range scoped(k.charged, s, false) {
		if l.day < over {
			put("cost_center", l.center, l)
		}
	}
	type finding struct {
		cost              *big.Int
		median, deviation float64
		score             float64
		kind              string
	}
	want := map[string]finding{}
	for key, x := range all {
		first := slices.MinFunc(x.of, func(a, b posting) int { return cmp.Compare(a.day, b.day) }).day
		cost := func(d schemas.Date) *big.Int { return sum(x.of, func(l posting) bool { return l.day == d }) }
		seen := map[string]bool{}
		for _, l := range x.of {
			seen[l.account] = true
		}
		if x.scope == "token" && sum(x.of, nil).Cmp(unit) >= 0 &&
			!slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(a string) bool {
				from, _ := k.covered(a)
				return first < schemas.DateOf(from)+7
			}) {
			want[first.String()+"|new|"+key] = finding{cost: cost(first), deviation: units(cost(first)), score: math.NaN(),
				kind: "new"}
		}
		past := map[bool][]float64{}
		for d := first; d < over; d++ {
			whole, torn := false, false
			for a := range seen {
				from, to := k.covered(a)
				end := over
				if k.gone[a] {
					end = schemas.DateOf(to)
				}
				if k.hours[a][d] == 24 {
					whole = true
				} else if d >= schemas.DateOf(from) && d < end {
					torn = true
				}
			}
			if !whole || torn {
				continue
			}
			day := d.Start().Weekday()
			weekend := day == time.Saturday || day == time.Sunday
			before := past[weekend]
			now := units(cost(d))
			past[weekend] = append(before, now)
			if before = before[max(0, len(before)-20):]; len(before) < 5 {
				continue
			}
			m := median(before)
			var off []float64
			for _, v := range before {
				off = append(off, math.Abs(v-m))
			}
			spread := max(1.4826*median(off), 0.05*math.Abs(m))
			if math.Abs(now-m) < 1 || math.Abs(now-m) <= 4*spread {
				continue
			}
			kind := "spike"
			if now < m {
				kind = "drop"
			}
			f := finding{cost(d), m, now - m, math.NaN(), kind}
			if spread > 0 {
				f.score = (now - m) / spread
			}
			want[d.String()+"|"+kind+"|"+key] = f
		}
	}
	said := map[string]bool{}
	for _, row := range rows(table(doc, "anomalies"), "usage_date", "kind", "scope", "scope_value", "currency") {
		at, up := row["usage_date"].Text, !strings.HasPrefix(row["deviation"].Text, "-")
		name := row["scope"].Text + " " + row["scope_value"].Text + "|" + row["currency"].Text
		key := at + "|" + row["kind"].Text + "|" + name
		said[key] = true
		f, ok := want[key]
		if !ok {
			p.t.Errorf("%s: %s left no history", p.what, key)
			continue
		}
		p.exact(key+" observed", row["observed"], f.cost)
		p.near(key+" expected", row["expected"], f.median, 1e-6)
		p.near(key+" deviation", row["deviation"], f.deviation, 1e-6)
		p.near(key+" score", row["score"], f.score, 0.01)
		for _, also := range strings.Split(row["also"].Text, ", ") {
			for _, kind := range []string{"new", "spike", "drop"} {
				other := at + "|" + kind + "|" + also + "|" + row["currency"].Text
				if o, ok := want[other]; ok && (o.deviation > 0) == up {
					said[other] = true
				}
			}
		}
	}
	for key := range want {
		if d := day(key[:10]); d >= period.From && d < period.To && !said[key] {
			p.t.Errorf("%s: %s stands nowhere", p.what, key)
		}
	}
}

func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}

// drivers holds why a month differs from the one before: by the days that both have whole.
func (k *ledger) drivers(p page, doc *report.Document, s query.Scope, month schemas.Date) {
	before := (month - 1).Month().First()
	whole := func(account string, d schemas.Date) bool { return k.hours[account][d] == 24 }
	full := func(account string, m schemas.Date) bool {
		return k.fetched(account, m, (m.Month()+1).First()) == int64((m.Month()+1).First()-m)*86400
	}
	alike := func(l posting) bool {
		other := map[schemas.Date]schemas.Date{month: before, before: month}[l.day.Month().First()]
		if other == 0 || !whole(l.account, l.day) {
			return false
		}
		same := other + l.day - l.day.Month().First()
		return full(l.account, month) && full(l.account, before) || same.Month().First() == other && whole(l.account, same)
	}
	type side struct{ before, now, requestsBefore, requestsNow big.Int }
	models, all := map[string]*side{}, map[string]*side{}
	for _, l := range scoped(k.used, s, true) {
		if !alike(l) {
			continue
		}
		for _, m := range []struct {
			in  map[string]*side
			key string
		}{{models, l.model + "|" + l.currency}, {all, l.currency}} {
			if m.in[m.key] == nil {
				m.in[m.key] = new(side)
			}
			if x := m.in[m.key]; l.day.Month().First() == month {
				x.now.Add(&x.now, l.amount)
				x.requestsNow.Add(&x.requestsNow, big.NewInt(l.requests))
			} else {
				x.before.Add(&x.before, l.amount)
				x.requestsBefore.Add(&x.requestsBefore, big.NewInt(l.requests))
			}
		}
	}
	got := rows(table(doc, "drivers"), "model", "currency")
	p.keys("drivers", got, slices.Collect(maps.Keys(models)))
	for key, m := range models {
		row := got[key]
		if row == nil {
			continue
		}
		change := new(big.Int).Sub(&m.now, &m.before)
		p.exact(key+" before", row["net_before"], &m.before)
		p.exact(key+" now", row["net_now"], &m.now)
		p.exact(key+" change", row["change"], change)
		parts := new(big.Int)
		for _, c := range []string{"volume", "mix", "cache", "price_effect"} {
			n, err := schemas.ParseMoney(row[c].Text)
			if err != nil {
				p.t.Fatal(err)
			}
			parts.Add(parts, n.Units())
		}
		if parts.Cmp(change) != 0 {
			p.t.Errorf("%s: %s: the parts sum to %s, not to %s", p.what, key, schemas.MoneyOf(parts).String(),
				schemas.MoneyOf(change).String())
		}
		volume, mix := new(big.Rat), new(big.Rat).SetFrac(change, unit)
		if total := all[row["currency"].Text]; m.requestsBefore.Sign() != 0 { // each request has as many tokens
			growth := new(big.Rat).SetFrac(&total.requestsNow, &total.requestsBefore)
			net := new(big.Rat).SetFrac(&m.before, unit)
			volume.Mul(net, new(big.Rat).Sub(growth, big.NewRat(1, 1)))
			own := new(big.Rat).SetFrac(&m.requestsNow, &m.requestsBefore)
			mix.Mul(net, own.Sub(own, growth))
		}
		p.near(key+" volume", row["volume"], number(volume), 1e-6)
		p.near(key+" mix", row["mix"], number(mix), 1e-6)
	}
}

// budget holds a report of budgets.
func (k *ledger) budget(p page, doc *report.Document, s query.Scope, period schemas.Period) {
	_, current, _ := k.clock()
	first, last := current, current
	for _, l := range k.charged {
		first, last = min(first, l.billed), max(last, l.billed)
	}
	got := rows(table(doc, "budget"), "budget", "period_start")
	var want []string
	for _, b := range k.budgets {
		if slices.ContainsFunc(query.ScopeDimensions, func(d string) bool {
			values := *s.Values(d)
			return len(values) > 0 && (b.Scope != d || !slices.Contains(values, b.Value))
		}) {
			continue
		}
		var of []posting
		for _, l := range k.charged {
			if l.currency == b.Currency && (b.Scope == "" || l.of(b.Scope) == b.Value) {
				of = append(of, l)
			}
		}
		seen := map[schemas.Date]bool{}
		for m := first; m <= last; m = (m.Month() + 1).First() {
			from, to := m, (m.Month() + 1).First()
			if b.Period == "quarter" {
				at := m.Start()
				from = schemas.DateOf(time.Date(at.Year(), (at.Month()-1)/3*3+1, 1, 0, 0, 0, 0, time.UTC))
				to = (from.Month() + 3).First()
			}
			if seen[from] || b.From != nil && from < *b.From || b.To != nil && from >= *b.To || from >= period.To ||
				to <= period.From {
				continue
			}
			seen[from] = true
			key := b.Name + "|" + from.String()
			want = append(want, key)
			row := got[key]
			if row == nil {
				continue
			}
			spent := sum(of, func(l posting) bool { return l.billed >= from && l.billed < to })
			p.exact(key+" amount", row["budget_amount"], b.Amount.Units())
			p.exact(key+" spent", row["spent"], spent)
			p.exact(key+" left", row["left_over"], new(big.Int).Sub(b.Amount.Units(), spent))
			p.near(key+" used", row["used_share"], units(spent)/units(b.Amount.Units()), 1e-6)
			p.text(key+" end", row["period_end"], to.String())
			o := k.outlook(of, nil, from, to)
			p.ahead(key, row, spent, o)
			rate := math.NaN()
			for _, a := range k.accounts {
				days := 0
				for d := range k.hours[a] {
					if d >= from && d < to && k.hours[a][d] == 24 {
						days++
					}
				}
				on := func(l posting) bool {
					return !l.correction && l.account == a && l.day >= from && l.day < to && k.hours[a][l.day] == 24
				}
				if slices.ContainsFunc(of, on) {
					if math.IsNaN(rate) {
						rate = 0
					}
					rate += units(sum(of, on)) / float64(days)
				}
			}
			p.near(key+" a day", row["burn_rate"], rate, 1e-6)
			var reached query.Value
			reached.Null = true
			for _, t := range b.Thresholds {
				limit := new(big.Int).Quo(new(big.Int).Mul(b.Amount.Units(), big.NewInt(int64(t))), unit)
				if spent.Cmp(limit) >= 0 {
					reached = query.Value{Text: t.String()}
				}
			}
			if r := row["threshold_reached"]; r.Null != reached.Null || !r.Null &&
				strings.TrimRight(strings.TrimRight(r.Text, "0"), ".") != reached.Text {
				p.t.Errorf("%s: %s threshold is %+v, want %+v", p.what, key, r, reached)
			}
			status, forecast := "ok", units(spent)+number(o.more)
			switch {
			case spent.Cmp(b.Amount.Units()) > 0:
				status = "over"
			case forecast > units(b.Amount.Units())+0.005: // amounts are whole units
				status = "forecast over"
			case !reached.Null:
				status = "warning"
			}
			p.text(key+" status", row["status"], status)
			text, _ := k.complete(nil, from, to)
			p.text(key+" completeness", row["completeness"], text)
		}
	}
	p.keys("budget", got, want)
}
