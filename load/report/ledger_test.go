package report_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/loadtest"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/publish/publishtest"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/load/report"
	"github.com/usagelake/usagelake/schemas"
)

// unit is a currency unit, in the smallest amount that there is.
var unit = big.NewInt(1_000_000_000_000)

// posting is a record of usage, or a part of it that somebody bears.
type posting struct {
	account, token, model, center, team, project, environment, currency string

	day        schemas.Date
	hour       int
	billed     schemas.Date // the month that it is charged in
	correction bool         // it came after its month was closed
	shared     bool         // it goes to the pool, or comes from it
	requests   int64
	amount     *big.Int
}

// of is the value of a dimension, as a scope names it.
func (p posting) of(dimension string) string {
	v := map[string]string{"account": p.account, "model": p.model, "token": p.token, "cost_center": p.center, "team": p.team, "project": p.project, "environment": p.environment}[dimension]
	return cmp.Or(v, schemas.Unallocated)
}

// placed are the test rules, with a project and an environment for some.
type placed struct{ loadtest.Rules }

func (r placed) Assign(k schemas.AllocationKey, day schemas.Date) schemas.Assignment {
	a := r.Rules.Assign(k, day)
	if a.Pool == "" && a.CostCenter != "" {
		a.Project = "p-" + a.CostCenter
		a.Environment = map[bool]string{true: "prod", false: "test"}[*k.Model == "m1"]
	}
	return a
}

// look is a balance as it was seen at the first second of a day.
type look struct {
	day    schemas.Date
	amount *big.Int
}

// ledger is a random lake, and all that it was made of. What the reports of outlooks and of reconciliation must say is computed
// from it by the words of docs/reports.md, in fractions, and by nothing that the lake computes.
type ledger struct {
	lake     *publish.Lake
	rnd      *rand.Rand
	accounts []string
	gone     map[string]bool // accounts that the config names no more
	hours    map[string]map[schemas.Date]int
	used     []posting // usage, what goes to the pool unsplit
	charged  []posting // the same as charged
	closed   schemas.Date
	budgets  []schemas.Budget
	invoices []schemas.InvoiceLine
	topUps   []schemas.TopUp
	given    bool // whether the top-ups are all that there were
	looks    map[string][]look
}

// draw makes a lake: accounts that begin when they like, are behind, lack days and hours or are no more; two currencies, refunds,
// spikes, tokens that are new; a pool, a closed month that changed since; budgets, invoices with credit notes, balances with top-ups.
func draw(t *testing.T, seed uint64) *ledger {
	rnd := rand.New(rand.NewPCG(seed, 41))
	w := publishtest.New(t, load.Options{})
	var pool []string
	if seed%3 != 0 {
		pool = []string{"cc-2", "cc-pool"}
	}
	finance := publishtest.Ruled("2026-10-20", pool...)
	finance.Rules = placed{finance.Rules.(loadtest.Rules)}
	finance.Archived = func([]publish.RuleFile) (publish.Allocator, error) { return finance.Rules, nil }
	k := &ledger{lake: w.Lake, rnd: rnd, gone: map[string]bool{}, hours: map[string]map[schemas.Date]int{}, looks: map[string][]look{}}
	k.accounts = []string{"acme", "beta", "0042"}[:1+(seed+1)%3]
	rows := map[schemas.Partition][]publishtest.Charged{}
	add := func(c publishtest.Charged, p schemas.Partition, late bool) {
		amount, err := schemas.ParseMoney(c.Amount)
		if err != nil {
			t.Fatal(err)
		}
		rows[p] = append(rows[p], c)
		a := finance.Rules.Assign(schemas.AllocationKey{Account: p.Account, TokenID: &c.Token, Model: &c.Model}, p.Date)
		one := posting{account: p.Account, token: c.Token, model: c.Model, center: cmp.Or(a.CostCenter, schemas.Unallocated), team: a.Team, project: a.Project, environment: a.Environment, currency: c.Currency, day: p.Date, hour: c.Hour,
			billed: p.Date.Month().First(), correction: late, shared: a.Pool != "", requests: 1, amount: amount.Units()}
		if one.shared {
			one.center = ""
		}
		k.used = append(k.used, one)
		if late {
			one.billed = (k.closed.Month() + 1).First()
		}
		if a.Pool == "" {
			k.charged = append(k.charged, one)
			return
		}
		for i, c := range pool { // amounts are multiples of what they are divided by
			part := one
			part.center, part.requests = c, int64(1-i)
			part.amount = new(big.Int).Quo(one.amount, big.NewInt(int64(len(pool))))
			k.charged = append(k.charged, part)
		}
	}
	for i, account := range k.accounts {
		k.hours[account] = map[schemas.Date]int{}
		first, days := day("2026-09-12")+schemas.Date(rnd.IntN(40)*min(i, 1)), 30+rnd.IntN(28)
		if seed%4 == 3 && i > 0 { // new: not a week old
			first, days = day("2026-11-02"), 1+rnd.IntN(4)
		}
		home := []string{"USD", "EUR", "USD"}[i]
		var streams []publishtest.Charged
		for n := range 2 + rnd.IntN(3) {
			streams = append(streams, publishtest.Charged{Token: fmt.Sprintf("tk_%d", rnd.IntN(8)), Model: []string{"m0", "m1", "model-1"}[rnd.IntN(3)], Amount: strconv.Itoa(2 + 7*n), Currency: home, Hour: rnd.IntN(24)})
		}
		for n := range days {
			p := schemas.Partition{Account: account, Date: first + schemas.Date(n)}
			if n > 0 && rnd.IntN(14) == 0 {
				continue
			}
			hours := 24
			if rnd.IntN(20) == 0 || n == days-1 && rnd.IntN(2) == 0 {
				hours = 1 + rnd.IntN(23)
			}
			k.hours[account][p.Date] = hours
			rows[p] = nil
			for s, c := range streams {
				base, _ := strconv.ParseInt(c.Amount, 10, 64)
				amount := base * (900_000_000_000 + rnd.Int64N(200_000_000_000))
				switch rnd.IntN(40) {
				case 0:
					amount *= 6
				case 1:
					amount /= -2
				case 2:
					c.Currency = "EUR"
				case 3:
					amount = 0
				case 4:
					c.Token = fmt.Sprintf("tk_new%d", rnd.IntN(10))
				}
				c.ID, c.Amount = fmt.Sprintf("r%d", s), schemas.MoneyOf(big.NewInt(amount/12*12)).String()
				if c.Hour < hours && (n+s)%9 > 0 {
					add(c, p, false)
				}
			}
		}
	}
	for p, r := range rows {
		w.PartOfDay(p, k.hours[p.Account][p.Date], r...)
	}
	if len(k.accounts) > 2 {
		k.gone["beta"] = seed%2 == 0
	}
	for _, a := range k.accounts {
		if !k.gone[a] {
			finance.Accounts = append(finance.Accounts, a)
		}
	}
	k.drawBudgets()
	k.drawInvoices()
	for _, a := range k.accounts {
		k.drawBalance(w, a)
	}
	k.given = seed%2 == 0
	if k.given {
		finance.TopUps, finance.TopUpsGiven = k.topUps, true
	}
	finance.Budgets, finance.Invoices = k.budgets, k.invoices
	w.Publish(publish.PublishOptions{Finance: finance})
	if seed%2 == 1 { // close a month, and change it
		_, current, _ := k.clock()
		k.closed = []schemas.Date{(current - 1).Month().First(), day("2026-09-01")}[seed%4/2]
		w.Close(k.closed.Month().String(), finance)
		for p := range rows {
			if p.Date.Month().First() == k.closed && p.Date%3 == 0 {
				add(publishtest.Charged{ID: "late", Token: "tk_2", Model: []string{"m1", "model-1"}[p.Date%2], Amount: "3.6", Currency: "USD"}, p, true)
				w.PartOfDay(p, k.hours[p.Account][p.Date], rows[p]...)
			}
		}
		w.Publish(publish.PublishOptions{Finance: finance})
	}
	return k
}

func (k *ledger) drawBudgets() {
	of := map[string][]string{"account": k.accounts, "cost_center": {"cc-2", "cc-4", schemas.Unallocated, "cc-nobody"}, "team": {"team-2", "team-4"}, "project": {"p-cc-2", "p-cc-moved"}, "environment": {"prod", "test"}, "model": {"m0", "m1"}}
	for i := range 14 {
		b := schemas.Budget{Name: fmt.Sprintf("b%d", i), Period: []string{"month", "quarter"}[k.rnd.IntN(2)], Currency: []string{"USD", "USD", "EUR"}[k.rnd.IntN(3)], Amount: schemas.MoneyOf(big.NewInt((1 + k.rnd.Int64N(1500)) * 1_000_000_000_000))}
		b.Scope = []string{"", "account", "cost_center", "team", "model", "project", "environment"}[i%7]
		if values := of[b.Scope]; len(values) > 0 {
			b.Value = values[k.rnd.IntN(len(values))]
		}
		if k.rnd.IntN(3) == 0 {
			from := day("2026-10-01")
			b.From = &from
		}
		if k.rnd.IntN(4) == 0 {
			to := day("2026-11-01")
			b.To = &to
		}
		if k.rnd.IntN(2) == 0 {
			b.Thresholds = []schemas.Decimal{500_000_000_000, 900_000_000_000}
		}
		k.budgets = append(k.budgets, b)
	}
}

// drawInvoices makes invoices of periods: totals, by model, by day, two of a period, credit notes.
func (k *ledger) drawInvoices() {
	n := 0
	for _, account := range append(slices.Clone(k.accounts), "") {
		for _, month := range []schemas.Date{day("2026-09-01"), day("2026-10-01")} {
			from, to := month, (month.Month() + 1).First()
			if k.rnd.IntN(3) == 0 {
				from, to = from+3, from+13
			}
			for range k.rnd.IntN(3) {
				n++
				line := schemas.InvoiceLine{Invoice: fmt.Sprintf("I%d", n), Account: account, From: from, To: to, Currency: []string{"USD", "USD", "EUR"}[k.rnd.IntN(3)], Source: fmt.Sprintf("i.csv:%d", n)}
				write := func(model string, at schemas.Date, amount int64) {
					l := line
					if model != "" {
						l.Model = &model
					}
					if at != 0 {
						l.Date = &at
					}
					l.Amount = schemas.MoneyOf(big.NewInt(amount * 10_000_000_000))
					k.invoices = append(k.invoices, l)
				}
				switch k.rnd.IntN(4) {
				case 0:
					write("", 0, 1+k.rnd.Int64N(50000))
				case 1:
					write("m0", 0, 1+k.rnd.Int64N(5000))
					write("m1", 0, 1+k.rnd.Int64N(5000))
				case 2:
					write("", from+1, 1+k.rnd.Int64N(500))
					write("", from+2, 1+k.rnd.Int64N(500))
				case 3:
					write("", 0, 1+k.rnd.Int64N(50000))
					line.Invoice += "-credit"
					write("", 0, -1-k.rnd.Int64N(900))
				}
			}
		}
	}
}

// drawBalance looks at an account's balance every few days. Between two looks it falls by what was used, rises by what is paid in,
// and now and then moves for no reason.
func (k *ledger) drawBalance(w *publishtest.Writer, account string) {
	balance := big.NewInt(5_000_000_000_000_000)
	at := day("2026-09-05")
	for range 12 {
		k.looks[account] = append(k.looks[account], look{at, new(big.Int).Set(balance)})
		w.Balance(schemas.Partition{Account: account, Date: at}, schemas.MoneyOf(balance).String())
		next := at + 2 + schemas.Date(k.rnd.IntN(6))
		balance.Sub(balance, k.usedBetween(account, "USD", at, next))
		if k.rnd.IntN(3) == 0 {
			amount := big.NewInt((1 + k.rnd.Int64N(900)) * 1_000_000_000_000)
			k.topUps = append(k.topUps, schemas.TopUp{Account: account, Date: at + 1, Amount: schemas.MoneyOf(amount), Currency: "USD", Kind: schemas.TopUpPaid, Source: "t.csv:1"})
			balance.Add(balance, amount)
		}
		if k.rnd.IntN(5) == 0 {
			balance.Add(balance, big.NewInt(k.rnd.Int64N(900_000_000_000)-500_000_000_000))
		}
		at = next
	}
}

func (k *ledger) usedBetween(account, currency string, from, to schemas.Date) *big.Int {
	return sum(k.used, func(p posting) bool {
		return p.account == account && p.currency == currency && p.day >= from && p.day < to
	})
}

// sum is what the postings that are kept come to.
func sum(of []posting, keep func(posting) bool) *big.Int {
	out := new(big.Int)
	for _, p := range of {
		if keep == nil || keep(p) {
			out.Add(out, p.amount)
		}
	}
	return out
}

// scoped are the postings of a scope: of usage those that no pool gets, where it is narrowed to owners.
func scoped(of []posting, s query.Scope, usage bool) []posting {
	var out []posting
	for _, p := range of {
		if usage && s.Owned() && p.shared || slices.ContainsFunc(query.ScopeDimensions, func(d string) bool {
			values := *s.Values(d)
			return len(values) > 0 && !slices.Contains(values, p.of(d))
		}) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// covered are the first and the last second that were fetched of an account.
func (k *ledger) covered(account string) (from, to time.Time) {
	days := slices.Sorted(maps.Keys(k.hours[account]))
	last := days[len(days)-1]
	return days[0].Start(), last.Start().Add(time.Duration(k.hours[account][last]) * time.Hour)
}

// clock is how far the lake goes, the month that is running, and the day before which all days are over.
func (k *ledger) clock() (asOf time.Time, month, over schemas.Date) {
	for _, a := range k.accounts {
		if _, to := k.covered(a); to.After(asOf) {
			asOf = to
		}
	}
	return asOf, (schemas.DateOf(asOf.Add(-time.Second))).Month().First(), schemas.DateOf(asOf)
}

// fetched are the seconds of an account that are there between two days.
func (k *ledger) fetched(account string, from, to schemas.Date) (seconds int64) {
	for d, h := range k.hours[account] {
		if d >= from && d < to {
			seconds += int64(h) * 3600
		}
	}
	return seconds
}

// expected says whether an account is to be there in a month.
func (k *ledger) expected(account string, month schemas.Date) bool {
	from, to := k.covered(account)
	return !k.gone[account] || (month.Month()+1).First() > schemas.DateOf(from) && month.Start().Before(to)
}

// lacks are the seconds of a period that are over, those that an account lacks of the months in which it is expected, and those that aren't
// there yet from its first one on.
func (k *ledger) lacks(account string, from, to schemas.Date) (expected, missing, ahead int64, any bool) {
	asOf, _, _ := k.clock()
	for m := from.Month().First(); m < to; m = (m.Month() + 1).First() {
		if !k.expected(account, m) {
			continue
		}
		any = true
		start, end := max(m, from), min((m.Month()+1).First(), to)
		over := max(0, min(end.Start().Unix(), asOf.Unix())-start.Start().Unix())
		expected += over
		missing += max(0, over-k.fetched(account, start, end))
		if begins, _ := k.covered(account); !k.gone[account] {
			ahead += max(0, end.Start().Unix()-max(start.Start().Unix(), begins.Unix())-k.fetched(account, start, end))
		}
	}
	return expected, missing, ahead, any
}

// complete says how complete a period is, of accounts (nil: all), in the words that docs/reports.md has.
func (k *ledger) complete(accounts []string, from, to schemas.Date) (text string, missing int64) {
	asOf, _, _ := k.clock()
	type lack struct {
		account string
		seconds int64
	}
	var expected int64
	var lacking []lack
	for _, a := range k.accounts {
		e, m, _, _ := k.lacks(a, from, to)
		if len(accounts) > 0 && !slices.Contains(accounts, a) {
			continue
		}
		expected, missing = max(expected, e), missing+m
		if m > 0 {
			lacking = append(lacking, lack{a, m})
		}
	}
	slices.SortFunc(lacking, func(a, b lack) int {
		return cmp.Or(cmp.Compare(b.seconds, a.seconds), cmp.Compare(a.account, b.account))
	})
	period := to.Start().Unix() - from.Start().Unix()
	hours := func(s int64) string { return strconv.FormatFloat(float64(s)/3600, 'f', -1, 64) }
	until := asOf.Format("2006-01-02 15:04") + " UTC"
	switch {
	case len(lacking) == 0 && expected == period:
		return "complete", 0
	case len(lacking) == 0 && expected == 0:
		return "0 of " + hours(period) + " hours", 0
	case len(lacking) == 0:
		return hours(expected) + " of " + hours(period) + " hours, complete to " + until, 0
	}
	text = hours(expected-lacking[0].seconds) + " of " + hours(period) + " hours ("
	for i, l := range lacking {
		if i > 0 {
			text += ", "
		}
		text += "account " + l.account + " lacks " + hours(l.seconds)
	}
	text += ")"
	if expected < period {
		text += ", as of " + until
	}
	return text, missing
}

// recent are the days that tell what an account costs: the whole ones among its last 28.
func (k *ledger) recent(account string, days schemas.Date) (out []schemas.Date) {
	_, to := k.covered(account)
	end := schemas.DateOf(to)
	for d := end - days; d < end; d++ {
		if k.hours[account][d] == 24 {
			out = append(out, d)
		}
	}
	return out
}

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
			if n := len(k.recent(a, 28)); n > 0 && (len(accounts) == 0 || slices.Contains(accounts, a)) && (out.history == 0 || n < out.history) {
				out.history = n
			}
		}
	}
	return out
}

// rows are those of a table by the texts of columns, each row's cells by the names of their columns.
func rows(t *report.Table, key ...string) map[string]map[string]query.Value {
	out := map[string]map[string]query.Value{}
	for _, row := range t.Rows {
		cells := map[string]query.Value{}
		for i, c := range t.Columns {
			cells[c.Name] = row[i]
		}
		var k []string
		for _, c := range key {
			k = append(k, cells[c].Text)
		}
		name := strings.Join(k, "|")
		if out[name] != nil {
			name += "|twice"
		}
		out[name] = cells
	}
	return out
}

// page is a document being compared.
type page struct {
	t    *testing.T
	what string
}

// keys holds the rows that are there against those that should be.
func (p page) keys(table string, got map[string]map[string]query.Value, want []string) {
	p.t.Helper()
	slices.Sort(want)
	if g := slices.Sorted(maps.Keys(got)); !slices.Equal(g, want) {
		p.t.Errorf("%s: %s has\n %v\nwant\n %v", p.what, table, g, want)
	}
}

// exact holds an amount against the one it must be; nil is NULL.
func (p page) exact(what string, got query.Value, want *big.Int) {
	p.t.Helper()
	if got.Null || want == nil {
		if got.Null != (want == nil) {
			p.t.Errorf("%s: %s is %q, want %v", p.what, what, got.Text, want)
		}
		return
	}
	if n, err := schemas.ParseMoney(got.Text); err != nil || n.Units().Cmp(want) != 0 {
		p.t.Errorf("%s: %s is %s, want %s (%v)", p.what, what, got.Text, schemas.MoneyOf(want).String(), err)
	}
}

// near holds an estimate, which passes through doubles, against a fraction: to 1e-9 of it, and half of the last place that it has.
func (p page) near(what string, got query.Value, want float64, place float64) {
	p.t.Helper()
	if math.IsNaN(want) != got.Null {
		p.t.Errorf("%s: %s is %q, want %v", p.what, what, got.Text, want)
		return
	}
	if got.Null {
		return
	}
	if f, err := strconv.ParseFloat(got.Text, 64); err != nil || math.Abs(f-want) > place*0.51+1e-9*math.Abs(want) {
		p.t.Errorf("%s: %s is %s, want %v (%v)", p.what, what, got.Text, want, err)
	}
}

func (p page) text(what string, got query.Value, want string) {
	p.t.Helper()
	if got.Text != want {
		p.t.Errorf("%s: %s is %q, want %q", p.what, what, got.Text, want)
	}
}

// units is an amount as a number of currency units; nil is unknown.
func units(amount *big.Int) float64 {
	f, _ := new(big.Rat).SetFrac(amount, unit).Float64()
	return f
}

func number(r *big.Rat) float64 {
	if r == nil {
		return math.NaN()
	}
	f, _ := r.Float64()
	return f
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
		if x.scope == "token" && sum(x.of, nil).Cmp(unit) >= 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(a string) bool {
			from, _ := k.covered(a)
			return first < schemas.DateOf(from)+7
		}) {
			want[first.String()+"|new|"+key] = finding{cost: cost(first), deviation: units(cost(first)), score: math.NaN(), kind: "new"}
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
	if k.closed != 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(months)), func(key string) bool { return key[:10] == k.closed.String() }) {
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

// invoiced holds invoices against usage: each line against what the others of the period leave of it, the models and days that have no
// line, and the sum of a period's invoices.
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
				return (s.account == "" || l.account == s.account) && l.currency == s.currency && l.day >= s.from && l.day < s.to && (model == "" || l.model == model) && (at == 0 || l.day == at)
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
				if !slices.ContainsFunc(lines, func(l line) bool { return l.day == d && l.model == "" }) && used("", d).Sign() != 0 {
					row("no line", list(all), "", d, nil, new(big.Int))
				}
			}
		}
	}
	p.keys("invoices", got, want)
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
			p.t.Errorf("%s: %s: the parts sum to %s, not to %s", p.what, key, schemas.MoneyOf(parts).String(), schemas.MoneyOf(change).String())
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
			if seen[from] || b.From != nil && from < *b.From || b.To != nil && from >= *b.To || from >= period.To || to <= period.From {
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
			if r := row["threshold_reached"]; r.Null != reached.Null || !r.Null && strings.TrimRight(strings.TrimRight(r.Text, "0"), ".") != reached.Text {
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

// The reports that look ahead, hold against a history or against what others say are what the records make them.
func TestOutlooksAndReconciliationAreWhatTheRecordsMakeThem(t *testing.T) {
	for _, seed := range []uint64{0, 1, 4, 5, 7, 9} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			k := draw(t, seed)
			for i := range 8 {
				o := report.Options{Now: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Version: "t", Pictures: i%4 == 0}
				o.Name = []string{"budget", "forecast", "anomalies", "reconciliation"}[i%4]
				r, _ := report.Find(o.Name)
				if r.Spans != report.Running && k.rnd.IntN(4) > 0 {
					months := [][2]string{{"2026-09-01", "2026-10-01"}, {"2026-10-01", "2026-11-01"}, {"2026-11-01", "2026-12-01"}, {"2026-09-01", "2026-11-01"}, {"2026-10-01", "2027-01-01"}, {"2026-07-01", "2026-10-01"}}[k.rnd.IntN(6)]
					o.Period = &schemas.Period{From: day(months[0]), To: day(months[1]), Billing: true}
					if r.Spans == report.AnyDays && k.rnd.IntN(2) == 0 {
						from := day("2026-09-10") + schemas.Date(k.rnd.IntN(50))
						o.Period = &schemas.Period{From: from, To: from + 1 + schemas.Date(k.rnd.IntN(30))}
					}
				}
				for _, d := range r.Dimensions {
					of := map[string][]string{}
					for _, l := range k.charged {
						of[d] = append(of[d], l.of(d))
					}
					if k.rnd.IntN(1+len(r.Dimensions)) == 0 {
						*o.Scope.Values(d) = []string{of[d][k.rnd.IntN(len(of[d]))]}
						if other := of[d][k.rnd.IntN(len(of[d]))]; k.rnd.IntN(2) == 0 {
							*o.Scope.Values(d) = append(*o.Scope.Values(d), other)
						}
					}
				}
				doc, err := report.Build(t.Context(), k.lake, o)
				p := page{t, fmt.Sprintf("%s %+v", o.Name, o.Scope)}
				if err != nil {
					if !errors.Is(err, report.ErrNothing) {
						t.Errorf("%s: %v", p.what, err)
					}
					continue
				}
				_, month, _ := k.clock()
				period := schemas.MonthPeriod(month.Month())
				if o.Period != nil {
					period = *o.Period
				} else if r.Spans != report.Running { // the last month in which anything is charged
					lines := scoped(k.charged, o.Scope, false)
					if len(lines) == 0 {
						lines = k.charged
					}
					period = schemas.MonthPeriod((slices.MaxFunc(lines, func(a, b posting) int { return cmp.Compare(a.billed, b.billed) }).billed).Month())
				}
				p.what = fmt.Sprintf("%s %s %+v", o.Name, period.Name(), o.Scope)
				if text, missing := k.complete(o.Scope.Accounts, period.From, period.To); doc.Completeness.Text != text || doc.Completeness.MissingSeconds != missing {
					t.Errorf("%s: %+v, want %s (%d seconds)", p.what, doc.Completeness, text, missing)
				}
				switch o.Name {
				case "budget":
					k.budget(p, doc, o.Scope, period)
				case "forecast":
					k.forecast(p, doc, o.Scope)
				case "reconciliation":
					k.reconciliation(p, doc, o.Scope, period)
				case "anomalies":
					k.anomalies(p, doc, o.Scope, period)
				}
				everyFormat(t, p.what, doc)
			}
		})
	}
}
