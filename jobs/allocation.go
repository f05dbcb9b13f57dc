package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform/allocate"
)

// RuleCost is what one rule catches of a month.
type RuleCost struct {
	RuleID   string            `json:"rule_id"` // "" of what no rule matches
	Version  int               `json:"version"`
	Source   string            `json:"source"`
	Matches  string            `json:"matches"`
	Assigns  string            `json:"assigns"`
	Requests int64             `json:"requests"`
	NetCost  map[string]string `json:"net_cost"` // by currency, "" where it is unknown; exact
}

// Finding is one of a look at the rules, or of a what-if, as commands know it.
type Finding = allocate.Finding

// AllocationCheck is what a look at the allocation rules found.
type AllocationCheck struct {
	Rules  string `json:"rules"` // the file
	Digest string `json:"digest"`
	// Month is whose cost Costs are of, the last of Months; "" if there is no usage to look at.
	Month    string         `json:"month,omitempty"`
	Months   []string       `json:"months"` // the open months with usage, or the one that was asked for
	Costs    []RuleCost     `json:"costs"`
	Centers  []CenterChange `json:"cost_centers"` // what the rules in the file change; none of a closed month
	ByMonth  []MonthChanges `json:"by_month"`     // the same of each month apart, in order
	Findings []Finding      `json:"findings"`
}

// MonthChanges are the changes of a month, or by calendar of the books a period.
type MonthChanges struct {
	Month   string         `json:"month"`
	Centers []CenterChange `json:"cost_centers"`
}

// CenterChange is what a cost centre is charged in a currency, as published and by the rules, mark-ups or prices that
// were asked for. Exact decimals. In a list those that change most come first.
type CenterChange struct {
	CostCenter string `json:"cost_center"`
	Currency   string `json:"currency"` // "" if it is unknown
	Before     string `json:"before"`
	After      string `json:"after"`
	Difference string `json:"difference"`
}

// CheckAllocation looks at the allocation rules in file, or "" for the config's, and asks them of the usage that is
// published: what each catches of the open months (or of month), what they would charge to whom, what they would charge
// to nobody, and which rules do nothing. It changes nothing.
func CheckAllocation(ctx context.Context, cfg *config.Config, file string, month *schemas.Month) (*AllocationCheck,
	error) {
	again := "usagelake allocation check"
	if file != "" {
		again += " --compare " + file
	}
	if file = cmp.Or(file, cfg.Allocation.Rules); file == "" {
		return nil, config.Usage("write allocation: and below it rules: allocation.yaml; docs/allocation.md has an example",
			"the config names no allocation rules")
	}
	rules, err := readRules(file, again)
	if err != nil {
		return nil, err
	}
	out := &AllocationCheck{Rules: file, Digest: rules.Digest(), Months: []string{}, Costs: []RuleCost{},
		Centers: []CenterChange{}, ByMonth: []MonthChanges{}}
	lake, err := publish.Open(cfg.Lake, Env{}.LakeOptions(cfg))
	if err != nil && !errors.Is(err, load.ErrNoLake) {
		return nil, err
	}
	var used []allocate.Used
	if err == nil {
		if used, err = UsedKeys(ctx, lake); errors.Is(err, query.ErrNotPublished) {
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
	out.Findings = rules.Check(used)
	if out.Findings == nil {
		out.Findings = []allocate.Finding{}
	}
	if len(used) == 0 {
		return out, nil
	}
	months, closed, err := monthsToCheck(ctx, lake, month)
	if err != nil {
		return nil, err
	}
	books, err := cfg.ReadBooks()
	if err != nil {
		return nil, err
	}
	t := newTrial(rules)
	t.known = knownNames(cfg)
	after := map[schemas.Month]owed{}
	for _, m := range months {
		out.Months = append(out.Months, books.Name(m))
		out.Month = books.Name(m)
		t.centers = owed{}
		if err := t.month(ctx, lake, m); err != nil {
			return nil, err
		}
		after[m] = t.centers
	}
	out.Costs = t.ruleCosts()
	out.Findings = append(out.Findings, t.findings()...)
	if closed {
		out.Findings = append(out.Findings, allocate.Finding{Severity: allocate.Info,
			Source:  filepath.Base(file),
			Message: out.Month + " is closed and keeps the rules that it was closed with: nothing of it changes"})
		return out, nil
	}
	before, err := centersOf(ctx, lake, months)
	if err != nil {
		return nil, err
	}
	out.Centers = changesOf(total(before), total(after))
	for i, m := range months {
		out.ByMonth = append(out.ByMonth, MonthChanges{out.Months[i], changesOf(before[m], after[m])})
	}
	return out, nil
}

// monthsToCheck are the months with usage that are open, or the one that is asked for, which may be closed. If all are
// closed it is the last.
func monthsToCheck(ctx context.Context, lake *publish.Lake, month *schemas.Month) (months []schemas.Month, closed bool,
	err error) {
	const used = "SELECT DISTINCT month_of(book_date) AS m FROM allocated_model_daily"
	open := "SELECT m::VARCHAR FROM (" + used + ") WHERE m NOT IN (SELECT \"month\" FROM closed_months) ORDER BY 1"
	if month != nil {
		open = fmt.Sprintf("SELECT '%s' WHERE DATE '%[1]s' NOT IN (SELECT \"month\" FROM closed_months)", month.First())
	}
	names, err := Texts(ctx, lake, open)
	if err == nil && len(names) == 0 {
		closed = true
		names = []string{}
		if month != nil {
			names = append(names, month.First().String())
		} else {
			names, err = Texts(ctx, lake, "SELECT max(m)::VARCHAR FROM ("+used+")")
		}
	}
	for _, n := range names {
		d, err := schemas.ParseDate(n)
		if err != nil {
			return nil, false, err
		}
		months = append(months, d.Month())
	}
	return months, closed, err
}

// keyColumns are the fields of an AllocationKey, in the order that scanKey takes them.
const keyColumns = "account, token_id, user_id, custom_user_id, model, model_type, channel_id"

func scanKey(row []query.Value) (schemas.AllocationKey, error) {
	k := schemas.AllocationKey{Account: row[0].Text, TokenID: row[1].Optional(), UserID: row[2].Optional(),
		CustomUserID: row[3].Optional(), Model: row[4].Optional(), ModelType: row[5].Optional()}
	if !row[6].Null {
		n, err := strconv.ParseInt(row[6].Text, 10, 64)
		if err != nil {
			return k, err
		}
		k.ChannelID = &n
	}
	return k, nil
}

// UsedKeys are the combinations that were ever used.
func UsedKeys(ctx context.Context, lake *publish.Lake) ([]allocate.Used, error) {
	rows, err := query.Run(ctx, lake, "SELECT "+keyColumns+
		", min(book_date), max(book_date) FROM booked_usage GROUP BY ALL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []allocate.Used
	for row, err := range rows.All(ctx) {
		if err != nil {
			return nil, err
		}
		var u allocate.Used
		var errs [3]error
		u.Key, errs[0] = scanKey(row)
		u.First, errs[1] = schemas.ParseDate(row[7].Text)
		u.Last, errs[2] = schemas.ParseDate(row[8].Text)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// owed is what cost centres are charged.
type owed map[centerKey]schemas.Money

type centerKey struct{ center, currency string }

func (o owed) add(center, currency string, v *schemas.Money) {
	if v == nil {
		return
	}
	k := centerKey{cmp.Or(center, schemas.Unallocated), currency}
	o[k] = o[k].Add(*v)
}

// total is what is charged in all of the months.
func total(by map[schemas.Month]owed) owed {
	out := owed{}
	for _, centers := range by {
		for k, v := range centers {
			out[k] = out[k].Add(v)
		}
	}
	return out
}

// centersOf is what the published file charges in each of the open months, but for corrections of closed ones.
func centersOf(ctx context.Context, lake *publish.Lake, months []schemas.Month) (map[schemas.Month]owed, error) {
	out := map[schemas.Month]owed{}
	var in []string
	for _, m := range months {
		out[m] = owed{}
		in = append(in, "DATE '"+m.First().String()+"'")
	}
	if len(months) == 0 {
		return out, nil
	}
	rows, err := query.Run(ctx, lake, `SELECT billing_month, cost_center, coalesce(currency, ''), sum(net_cost)
		FROM chargeback_daily WHERE charge_class IS NULL AND billing_month IN (`+strings.Join(in, ", ")+`)
		GROUP BY ALL HAVING sum(net_cost) IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for row, err := range rows.All(ctx) {
		if err != nil {
			return nil, err
		}
		first, err1 := schemas.ParseDate(row[0].Text)
		v, err2 := schemas.ParseMoney(row[3].Text)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		out[first.Month()].add(row[1].Text, row[2].Text, &v)
	}
	return out, nil
}

// openCenters is what the published file charges in the months that are open.
func openCenters(ctx context.Context, lake *publish.Lake) (owed, error) {
	months, closed, err := monthsToCheck(ctx, lake, nil)
	if err != nil || closed {
		return nil, err
	}
	centers, err := centersOf(ctx, lake, months)
	return total(centers), err
}

// changesOf lists every cost centre, what changes most first.
func changesOf(before, after owed) []CenterChange {
	out := []CenterChange{}
	keys := map[centerKey]bool{}
	for k := range before {
		keys[k] = true
	}
	for k := range after {
		keys[k] = true
	}
	moved := func(k centerKey) schemas.Money { return after[k].Sub(before[k]).Abs() }
	for _, k := range slices.SortedFunc(maps.Keys(keys), func(a, b centerKey) int {
		return cmp.Or(strings.Compare(a.currency, b.currency), moved(b).Cmp(moved(a)), strings.Compare(a.center, b.center))
	}) {
		b, a := before[k], after[k]
		out = append(out, CenterChange{CostCenter: k.center, Currency: k.currency,
			Before: b.String(), After: a.String(), Difference: a.Sub(b).String()})
	}
	return out
}

// trial asks rules of the usage that is published, as a publish would: what comes out is what it would charge, to the
// last digit.
type trial struct {
	rules   *allocate.Rules
	sums    map[ruleVersion]*ruleSum
	centers owed                                 // of the month that month takes in
	lost    map[lostKey]map[string]schemas.Money // cost that a rule matches and no cost centre gets, by currency
	nobody  map[string]map[string]schemas.Money  // cost that no rule matches, by token and currency
	who     map[string]map[string]*bearers       // by attribute and the name that comes out
	// by attribute, lists of names that somebody wrote down as those of several
	known map[string][][]string
}

type (
	ruleVersion struct {
		id string
		n  int
	}
	ruleSum struct {
		requests int64
		net      map[string]schemas.Money
	}
	lostKey struct{ rule, source, why string }
)

func newTrial(rules *allocate.Rules) *trial {
	return &trial{rules: rules, sums: map[ruleVersion]*ruleSum{},
		lost:   map[lostKey]map[string]schemas.Money{},
		nobody: map[string]map[string]schemas.Money{}, who: map[string]map[string]*bearers{"cost_center": {}, "team": {}}}
}

// month takes in a month of usage.
func (t *trial) month(ctx context.Context, lake *publish.Lake, month schemas.Month) error {
	rows, err := query.Run(ctx, lake, fmt.Sprintf(`
		SELECT %s, book_date, currency, record_kind, count(*), sum(amount), sum(total_tokens)
		FROM booked_usage WHERE month_of(book_date) = DATE '%s' GROUP BY ALL`, keyColumns, month.First()))
	if err != nil {
		return err
	}
	defer rows.Close()
	costs, direct := map[string]*schemas.PoolCost{}, map[string]*schemas.DirectCost{}
	for row, err := range rows.All(ctx) {
		if err != nil {
			return err
		}
		if err := t.take(row, costs, direct); err != nil {
			return err
		}
	}
	var poolCosts []schemas.PoolCost
	for _, k := range slices.Sorted(maps.Keys(costs)) {
		poolCosts = append(poolCosts, *costs[k])
	}
	var directCosts []schemas.DirectCost
	for _, k := range slices.Sorted(maps.Keys(direct)) {
		directCosts = append(directCosts, *direct[k])
	}
	shares, err := t.rules.Split(poolCosts, directCosts)
	for _, s := range shares {
		t.centers.add(s.Owner.CostCenter, textOf(s.Currency), s.Net)
		t.comesOut(s.Owner, nil)
		if s.Owner.CostCenter == "" && s.Net != nil {
			who := "it has nobody to bear it"
			if s.Owner.Team != "" {
				who = "the share of team " + s.Owner.Team
			}
			t.lose(lostKey{why: "pool " + s.Pool + ": " + who}, textOf(s.Currency), *s.Net)
		}
	}
	return err
}

// take takes in what the records of one key, day and currency cost.
func (t *trial) take(row []query.Value, costs map[string]*schemas.PoolCost,
	direct map[string]*schemas.DirectCost) error {
	k, err := scanKey(row)
	if err != nil {
		return err
	}
	day, err1 := schemas.ParseDate(row[7].Text)
	requests, err2 := strconv.ParseInt(row[10].Text, 10, 64)
	net, err3 := moneyOf(row[11])
	var tokens *big.Int
	if !row[12].Null {
		tokens, _ = new(big.Int).SetString(row[12].Text, 10)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	code, currency := row[8].Optional(), row[8].Text // "" of NULL
	a := t.rules.Assign(k, day)
	s := t.sums[ruleVersion{a.RuleID, a.Version}]
	if s == nil {
		s = &ruleSum{net: map[string]schemas.Money{}}
		t.sums[ruleVersion{a.RuleID, a.Version}] = s
	}
	s.requests += requests
	if net != nil {
		s.net[currency] = s.net[currency].Add(*net)
	}
	if a.Pool != "" {
		id := fmt.Sprintf("%q", []string{a.Pool, a.RuleID, fmt.Sprintf("%09d", a.Version), day.String(), k.Account,
			textOf(k.Model), textOf(k.ModelType), row[9].Text, currency, fmt.Sprint(code == nil)})
		if costs[id] == nil {
			costs[id] = &schemas.PoolCost{Pool: a.Pool, RuleID: a.RuleID, Version: a.Version, Date: day,
				Account: k.Account, Model: k.Model, ModelType: k.ModelType, RecordKind: row[9].Text, Currency: code}
		}
		costs[id].Net, costs[id].Total = plusMoney(costs[id].Net, net), plus(costs[id].Total, tokens)
		costs[id].Requests += requests
		return nil
	}
	id := fmt.Sprintf("%q", []string{a.CostCenter, a.Team, a.Project, a.Environment, a.GLCode, a.Tags, currency,
		fmt.Sprint(code == nil)})
	if direct[id] == nil {
		direct[id] = &schemas.DirectCost{Owner: a.Owner, Currency: code}
	}
	direct[id].Net, direct[id].Tokens = plusMoney(direct[id].Net, net), plus(direct[id].Tokens, tokens)
	t.centers.add(a.CostCenter, currency, net)
	t.comesOut(a.Owner, &k)
	if net == nil || a.CostCenter != "" {
		return nil
	}
	if a.RuleID == "" {
		token := textOf(k.TokenID)
		if t.nobody[token] == nil {
			t.nobody[token] = map[string]schemas.Money{}
		}
		t.nobody[token][currency] = t.nobody[token][currency].Add(*net)
		return nil
	}
	l := lostKey{a.RuleID, a.Source, t.rules.Lost(k, day)}
	l.source, _, _ = strings.Cut(l.source, " ") // the rule's own place
	t.lose(l, currency, *net)
	return nil
}

func (t *trial) lose(k lostKey, currency string, net schemas.Money) {
	if t.lost[k] == nil {
		t.lost[k] = map[string]schemas.Money{}
	}
	t.lost[k][currency] = t.lost[k][currency].Add(net)
}

// plus adds v to sum; nil is none of either.
func plus(sum, v *big.Int) *big.Int {
	switch {
	case v == nil:
		return sum
	case sum == nil:
		return new(big.Int).Set(v)
	}
	return sum.Add(sum, v)
}

func plusMoney(sum, v *schemas.Money) *schemas.Money {
	if v == nil || sum == nil {
		return cmp.Or(sum, v)
	}
	s := sum.Add(*v)
	return &s
}

// moneyOf is an amount; nil for NULL.
func moneyOf(v query.Value) (*schemas.Money, error) {
	if v.Null {
		return nil, nil
	}
	m, err := schemas.ParseMoney(v.Text)
	return &m, err
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// maxOwnerless is how many of a kind findings name.
const maxOwnerless = 10

// findings are what the owners that come out tell of the rules.
func (t *trial) findings() []allocate.Finding {
	var out []allocate.Finding
	for _, k := range slices.SortedFunc(maps.Keys(t.lost), func(a, b lostKey) int {
		return cmp.Or(strings.Compare(a.source, b.source), strings.Compare(a.why, b.why))
	}) {
		out = append(out, allocate.Finding{Severity: allocate.Warning, RuleID: k.rule, Source: k.source,
			Message: fmt.Sprintf("%s: %s is charged to %s", k.why, amounts(t.lost[k]), schemas.Unallocated)})
	}
	tokens := slices.SortedFunc(maps.Keys(t.nobody), func(a, b string) int {
		return cmp.Or(largest(t.nobody[b]).Cmp(largest(t.nobody[a])), strings.Compare(a, b))
	})
	for i, token := range tokens {
		if i == maxOwnerless {
			out = append(out, allocate.Finding{Severity: allocate.Warning,
				Message: fmt.Sprintf("and %s more with cost and no owner", words.Plural(len(tokens)-i, "token", "tokens"))})
			break
		}
		name := "token " + token
		if token == "" {
			name = "records without a token"
		}
		out = append(out, allocate.Finding{Severity: allocate.Warning, Message: fmt.Sprintf(
			"%s: no rule matches: %s is charged to %s", name, amounts(t.nobody[token]), schemas.Unallocated)})
	}
	return append(out, t.names()...)
}

// largest is the largest amount of any currency: it orders a list, and nothing more.
func largest(by map[string]schemas.Money) schemas.Money {
	var out schemas.Money
	for _, v := range by {
		if v.Abs().Cmp(out) > 0 {
			out = v.Abs()
		}
	}
	return out
}

// amounts are exact, by currency.
func amounts(by map[string]schemas.Money) string {
	var out []string
	for _, c := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[c].In(c).Exact())
	}
	return strings.Join(out, ", ")
}

// ruleCosts are what each rule catches; what none does comes last.
func (t *trial) ruleCosts() []RuleCost {
	var out []RuleCost
	add := func(c RuleCost) {
		c.NetCost = map[string]string{}
		if s := t.sums[ruleVersion{c.RuleID, c.Version}]; s != nil {
			c.Requests = s.requests
			for currency, v := range s.net {
				c.NetCost[currency] = v.String()
			}
		}
		out = append(out, c)
	}
	for _, r := range t.rules.List() {
		add(RuleCost{RuleID: r.RuleID, Version: r.Version, Source: r.Source, Matches: r.Match, Assigns: r.Assigns})
	}
	add(RuleCost{Matches: "what no rule matches", Assigns: schemas.Unallocated})
	return out
}

// Explanation says who pays for a record, and why.
type Explanation struct {
	Account   string             `json:"account"`
	ID        string             `json:"id"`
	Time      string             `json:"request_time"`
	Amount    *string            `json:"amount"`
	Currency  *string            `json:"currency"`
	Published PublishedOwner     `json:"published"`
	Now       schemas.Assignment `json:"now"`   // by the rules as they are in the file now
	Steps     []allocate.Step    `json:"steps"` // of the rules now
	Fields    [][2]string        `json:"fields"`
}

// PublishedOwner is what the published file says of a record.
type PublishedOwner struct {
	RuleID     string `json:"rule_id"`
	Version    string `json:"version"`
	Ruleset    string `json:"ruleset"`
	Source     string `json:"source"`
	Pool       string `json:"pool,omitempty"`
	CostCenter string `json:"cost_center,omitempty"`
	Team       string `json:"team,omitempty"`
	Project    string `json:"project,omitempty"`
}

// Explain says which rule and version assigned the records of an id (which several may have, in several accounts), in
// the published file, and what the rules of the config say of it now.
func Explain(ctx context.Context, cfg *config.Config, id string) ([]Explanation, error) {
	rules, err := Rules(cfg)
	if err != nil {
		return nil, err
	}
	lake, err := publish.Open(cfg.Lake, Env{}.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	rows, err := query.Run(ctx, lake,
		"SELECT "+keyColumns+", usage_date, id, request_time, amount, currency, rule_id, rule_version, ruleset, source, "+
			"pool, cost_center, team, project FROM allocated_usage WHERE id = "+schemas.SQLString(id)+
			" ORDER BY account, request_time, ordinal")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Explanation
	for row, err := range rows.All(ctx) {
		if err != nil {
			return nil, err
		}
		k, err := scanKey(row)
		if err != nil {
			return nil, err
		}
		day, err := schemas.ParseDate(row[7].Text)
		if err != nil {
			return nil, err
		}
		e := Explanation{Account: k.Account, ID: row[8].Text, Time: row[9].Text, Amount: row[10].Optional(),
			Currency: row[11].Optional(),
			Published: PublishedOwner{row[12].Text, row[13].Text, row[14].Text, row[15].Text, row[16].Text, row[17].Text,
				row[18].Text, row[19].Text},
			Now: rules.Assign(k, day), Steps: rules.Explain(k, day)}
		if e.Steps == nil {
			e.Steps = []allocate.Step{}
		}
		for i, name := range strings.Split(keyColumns, ", ") {
			v := row[i].Text
			if row[i].Null {
				v = "NULL"
			}
			e.Fields = append(e.Fields, [2]string{name, v})
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, &config.Hint{Err: fmt.Errorf("no record %q in %s", id, lake.Database()),
			Hint: `usagelake query "SELECT id FROM usage LIMIT 5"`}
	}
	return out, nil
}
