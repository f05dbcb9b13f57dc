package jobs

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
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

// AllocationCheck is what a look at the allocation rules found.
type AllocationCheck struct {
	Rules    string             `json:"rules"` // the file
	Digest   string             `json:"digest"`
	Month    string             `json:"month,omitempty"` // whose cost Costs are of; "" if there is no usage to look at
	Costs    []RuleCost         `json:"costs"`
	Findings []allocate.Finding `json:"findings"`
}

// CheckAllocation looks at the config's allocation rules and asks them of the usage that is published: what each
// catches of a month (nil: the last that is over and has usage), and which do nothing. It changes nothing.
func CheckAllocation(ctx context.Context, cfg *Config, month *schemas.Date) (*AllocationCheck, error) {
	if cfg.Allocation.Rules == "" {
		return nil, Usage("write allocation: and below it rules: allocation.yaml; docs/allocation.md has an example", "the config names no allocation rules")
	}
	rules, err := cfg.Rules()
	if err != nil {
		return nil, err
	}
	out := &AllocationCheck{Rules: cfg.Allocation.Rules, Digest: rules.Digest(), Costs: []RuleCost{}}
	lake, err := load.Open(cfg.Lake, cfg.LakeOptions(Env{}))
	if err != nil && !errors.Is(err, load.ErrNoLake) {
		return nil, err
	}
	var used []allocate.Used
	if err == nil {
		if used, err = usedKeys(ctx, lake); errors.Is(err, load.ErrNotPublished) {
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
	if month == nil {
		m, err := texts(ctx, lake, `SELECT coalesce(max(m) FILTER (m < current_month), max(m))::VARCHAR FROM (SELECT DISTINCT date_trunc('month', usage_date)::DATE AS m FROM usage_daily), data_as_of`)
		if err != nil {
			return nil, err
		}
		d, err := schemas.ParseDate(m[0])
		if err != nil {
			return nil, err
		}
		month = &d
	}
	out.Month = month.Month()
	out.Costs, err = ruleCosts(ctx, lake, rules, *month)
	return out, err
}

// keyColumns are the fields of an AllocationKey, in the order that scanKey takes them.
const keyColumns = "account, token_id, user_id, custom_user_id, model, model_type, channel_id"

func scanKey(row []load.Value) (schemas.AllocationKey, error) {
	text := func(v load.Value) *string {
		if v.Null {
			return nil
		}
		return &v.Text
	}
	k := schemas.AllocationKey{Account: row[0].Text, TokenID: text(row[1]), UserID: text(row[2]), CustomUserID: text(row[3]), Model: text(row[4]), ModelType: text(row[5])}
	if !row[6].Null {
		n, err := strconv.ParseInt(row[6].Text, 10, 64)
		if err != nil {
			return k, err
		}
		k.ChannelID = &n
	}
	return k, nil
}

// usedKeys are the combinations that were ever used.
func usedKeys(ctx context.Context, lake *load.Lake) ([]allocate.Used, error) {
	rows, err := lake.Query(ctx, "SELECT "+keyColumns+", min(usage_date), max(usage_date) FROM usage GROUP BY ALL")
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

// ruleCosts sums a month's cost by the rule that catches it; what none does comes last.
func ruleCosts(ctx context.Context, lake *load.Lake, rules *allocate.Rules, month schemas.Date) ([]RuleCost, error) {
	type sum struct {
		requests int64
		net      map[string]*big.Int
	}
	type version struct {
		id string
		n  int
	}
	sums := map[version]*sum{}
	rows, err := lake.Query(ctx, fmt.Sprintf("SELECT %s, usage_date, currency, count(*), sum(amount) FROM usage WHERE usage_date >= DATE '%s' AND usage_date < DATE '%s' GROUP BY ALL", keyColumns, month, schemas.NextMonth(month)))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
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
		n, err := strconv.ParseInt(row[9].Text, 10, 64)
		if err != nil {
			return nil, err
		}
		a := rules.Assign(k, day)
		s := sums[version{a.RuleID, a.Version}]
		if s == nil {
			s = &sum{net: map[string]*big.Int{}}
			sums[version{a.RuleID, a.Version}] = s
		}
		s.requests += n
		if row[10].Null {
			continue
		}
		v, err := schemas.ParseMoney(row[10].Text)
		if err != nil {
			return nil, err
		}
		if s.net[row[8].Text] == nil {
			s.net[row[8].Text] = new(big.Int)
		}
		s.net[row[8].Text].Add(s.net[row[8].Text], v)
	}
	var out []RuleCost
	add := func(c RuleCost) {
		c.NetCost = map[string]string{}
		if s := sums[version{c.RuleID, c.Version}]; s != nil {
			c.Requests = s.requests
			for currency, v := range s.net {
				c.NetCost[currency] = schemas.MoneyText(v)
			}
		}
		out = append(out, c)
	}
	for _, r := range rules.List() {
		add(RuleCost{RuleID: r.RuleID, Version: r.Version, Source: r.Source, Matches: r.Match, Assigns: r.Assigns})
	}
	add(RuleCost{Matches: "what no rule matches", Assigns: schemas.Unallocated})
	return out, nil
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

// Explain says which rule and version assigned the records of an id (which several may have, in several accounts), in the
// published file, and what the rules of the config say of it now.
func Explain(ctx context.Context, cfg *Config, id string) ([]Explanation, error) {
	rules, err := cfg.Rules()
	if err != nil {
		return nil, err
	}
	lake, err := load.Open(cfg.Lake, cfg.LakeOptions(Env{}))
	if err != nil {
		return nil, NoLake(err)
	}
	rows, err := lake.Query(ctx, "SELECT "+keyColumns+", usage_date, id, request_time, amount, currency, rule_id, rule_version, ruleset, source, pool, cost_center, team, project FROM allocated_usage WHERE id = "+schemas.SQLString(id)+" ORDER BY account, request_time, ordinal")
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
		optional := func(v load.Value) *string {
			if v.Null {
				return nil
			}
			return &v.Text
		}
		e := Explanation{Account: k.Account, ID: row[8].Text, Time: row[9].Text, Amount: optional(row[10]), Currency: optional(row[11]),
			Published: PublishedOwner{row[12].Text, row[13].Text, row[14].Text, row[15].Text, row[16].Text, row[17].Text, row[18].Text, row[19].Text},
			Now:       rules.Assign(k, day), Steps: rules.Explain(k, day)}
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
		return nil, &Hint{Err: fmt.Errorf("no record %q in %s", id, lake.Database()), Hint: `usagelake query "SELECT id FROM usage LIMIT 5"`}
	}
	return out, nil
}
