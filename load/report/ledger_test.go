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
	v := map[string]string{"account": p.account, "model": p.model, "token": p.token, "cost_center": p.center,
		"team": p.team, "project": p.project, "environment": p.environment}[dimension]
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

// ledger is a random lake, and all that it was made of. What the reports of outlooks and of reconciliation must say is
// computed from it by the words of docs/reports.md, in fractions, and by nothing that the lake computes.
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

// draw makes a lake: accounts that begin when they like, are behind, lack days and hours or are no more; two
// currencies, refunds, spikes, tokens that are new; a pool, a closed month that changed since; budgets, invoices with
// credit notes, balances with top-ups.
func draw(t *testing.T, seed uint64) *ledger {
	rnd := rand.New(rand.NewPCG(seed, 41))
	w := publishtest.New(t, load.Options{})
	if seed%2 == 1 { // every sum that has more rows than half of the records is a view
		var err error
		if w.Lake, err = publish.Open(w.Lake.Dir(), publish.Options{ViewsFrom: 1}); err != nil {
			t.Fatal(err)
		}
	}
	var pool []string
	if seed%3 != 0 {
		pool = []string{"cc-2", "cc-pool"}
	}
	finance := publishtest.Ruled("2026-10-20", pool...)
	finance.Rules = placed{finance.Rules.(loadtest.Rules)}
	finance.Archived = func([]publish.RuleFile) (publish.Allocator, error) { return finance.Rules, nil }
	k := &ledger{lake: w.Lake, rnd: rnd, gone: map[string]bool{}, hours: map[string]map[schemas.Date]int{},
		looks: map[string][]look{}}
	k.accounts = []string{"acme", "beta", "0042"}[:1+(seed+1)%3]
	rows := map[schemas.Partition][]publishtest.Charged{}
	add := func(c publishtest.Charged, p schemas.Partition, late bool) {
		amount, err := schemas.ParseMoney(c.Amount)
		if err != nil {
			t.Fatal(err)
		}
		rows[p] = append(rows[p], c)
		a := finance.Rules.Assign(schemas.AllocationKey{Account: p.Account, TokenID: &c.Token, Model: &c.Model}, p.Date)
		one := posting{account: p.Account, token: c.Token, model: c.Model, center: cmp.Or(a.CostCenter, schemas.Unallocated),
			team: a.Team, project: a.Project, environment: a.Environment, currency: c.Currency, day: p.Date, hour: c.Hour,
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
			streams = append(streams,
				publishtest.Charged{Token: fmt.Sprintf("tk_%d", rnd.IntN(8)), Model: []string{"m0", "m1", "model-1"}[rnd.IntN(3)],
					Amount: strconv.Itoa(2 + 7*n), Currency: home, Hour: rnd.IntN(24)})
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
				add(publishtest.Charged{ID: "late", Token: "tk_2", Model: []string{"m1", "model-1"}[p.Date%2], Amount: "3.6",
					Currency: "USD"}, p, true)
				w.PartOfDay(p, k.hours[p.Account][p.Date], rows[p]...)
			}
		}
		w.Publish(publish.PublishOptions{Finance: finance})
	}
	kinds := "[{'kind': BASE TABLE}]"
	if seed%2 == 1 {
		kinds = "[{'kind': VIEW}]"
	}
	if got := fmt.Sprint(w.Ask("SELECT DISTINCT table_type AS kind FROM information_schema.tables WHERE table_name IN " +
		"('usage_daily', 'allocated_daily')")); got != kinds {
		t.Fatalf("sums are %s, want %s", got, kinds)
	}
	return k
}

func (k *ledger) drawBudgets() {
	of := map[string][]string{"account": k.accounts, "cost_center": {"cc-2", "cc-4", schemas.Unallocated, "cc-nobody"},
		"team": {"team-2", "team-4"}, "project": {"p-cc-2", "p-cc-moved"}, "environment": {"prod", "test"},
		"model": {"m0", "m1"}}
	for i := range 14 {
		b := schemas.Budget{Name: fmt.Sprintf("b%d", i), Period: []string{"month", "quarter"}[k.rnd.IntN(2)],
			Currency: []string{"USD", "USD", "EUR"}[k.rnd.IntN(3)],
			Amount:   schemas.MoneyOf(big.NewInt((1 + k.rnd.Int64N(1500)) * 1_000_000_000_000))}
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
				line := schemas.InvoiceLine{Invoice: fmt.Sprintf("I%d", n), Account: account, From: from, To: to,
					Currency: []string{"USD", "USD", "EUR"}[k.rnd.IntN(3)], Source: fmt.Sprintf("i.csv:%d", n)}
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

// drawBalance looks at an account's balance every few days. Between two looks it falls by what was used, rises by what
// is paid in, and now and then moves for no reason.
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
			k.topUps = append(k.topUps, schemas.TopUp{Account: account, Date: at + 1, Amount: schemas.MoneyOf(amount),
				Currency: "USD", Kind: schemas.TopUpPaid, Source: "t.csv:1"})
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

// lacks are the seconds of a period that are over, those that an account lacks of the months in which it is expected,
// and those that aren't there yet from its first one on.
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

// near holds an estimate, which passes through doubles, against a fraction: to 1e-9 of it, and half of the last place
// that it has.
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
					months := [][2]string{{"2026-09-01", "2026-10-01"}, {"2026-10-01", "2026-11-01"}, {"2026-11-01", "2026-12-01"},
						{"2026-09-01", "2026-11-01"}, {"2026-10-01", "2027-01-01"}, {"2026-07-01", "2026-10-01"}}[k.rnd.IntN(6)]
					o.Period = monthsFrom(months[0], months[1])
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
				period := monthPeriod(month.Month())
				if o.Period != nil {
					period = *o.Period
				} else if r.Spans != report.Running { // the last month in which anything is charged
					lines := scoped(k.charged, o.Scope, false)
					if len(lines) == 0 {
						lines = k.charged
					}
					period = monthPeriod((slices.MaxFunc(lines,
						func(a, b posting) int { return cmp.Compare(a.billed, b.billed) }).billed).Month())
				}
				p.what = fmt.Sprintf("%s %s %+v", o.Name, period.Name(), o.Scope)
				if text, missing := k.complete(o.Scope.Accounts, period.From, period.To); doc.Completeness.Text != text ||
					doc.Completeness.MissingSeconds != missing {
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
