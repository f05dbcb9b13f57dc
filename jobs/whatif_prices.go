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
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform/allocate"
)

// UnpricedLines are lines of usage that no row of a file of prices is for: they cost what they do.
type UnpricedLines struct {
	Model    string `json:"model"` // "" of none
	Line     string `json:"line"`  // input, output, cached, category/item, tokens or adjustment
	Currency string `json:"currency"`
	Lines    int64  `json:"lines"`
	Net      string `json:"net_cost"` // exact
	Why      string `json:"why"`      // NoRow or NoPrice
}

// Why a line is not priced.
const (
	NoRow   = "no row"
	NoPrice = "no price" // of its own, that another could stand for: a record's adjustment has its cost, if it has one
)

// CheckPrices reckons the usage of each open month (or of month) by the prices of a file, where a row of it matches,
// and says what each cost centre is charged and would be, its parts of shared pools included. It changes nothing.
func CheckPrices(ctx context.Context, cfg *config.Config, file string, month *schemas.Month) (*WhatIf, error) {
	b, err := ReadFinanceFile(file)
	if err != nil {
		return nil, config.Usage("", "read the prices: %w", err)
	}
	rows, err := parsePrices(filepath.Base(file), b)
	if err != nil {
		return nil, config.Usage("", "prices %s: %w", file, err)
	}
	rules, err := Rules(cfg)
	if err != nil {
		return nil, err
	}
	s, books, err := openWhatIf(ctx, cfg)
	if err != nil {
		return nil, err
	}
	out := &WhatIf{Prices: file}
	if s == nil {
		return out.unpublished(), nil
	}
	defer s.Close()
	p := &pricing{s: s, rules: rules, prices: priceList{rows: rows, known: map[string][]*priceRow{}},
		left: map[unpriced]*unpricedSum{}}
	months := []schemas.Month{}
	if err := s.Each(ctx, "SELECT DISTINCT billing_month FROM chargeback_daily WHERE charge_class IS NULL AND "+
		openOnly("billing_month", month)+" ORDER BY 1", func(row []query.Value) error {
		first, err := schemas.ParseDate(row[0].Text)
		months = append(months, first.Month())
		return err
	}); err != nil {
		return nil, err
	}
	before, after := map[schemas.Month]owed{}, map[schemas.Month]owed{}
	for _, m := range months {
		if before[m], after[m], err = p.month(ctx, books, m); err != nil {
			return nil, err
		}
	}
	out.changed(books, before, after)
	out.Unpriced = p.unpriced()
	if len(months) > 0 {
		used, err := usedLines(ctx, s)
		if err != nil {
			return nil, err
		}
		out.Findings = slices.Concat(out.Findings, p.prices.unused(used), p.whole())
		if err := p.omitted(ctx, out, month); err != nil {
			return nil, err
		}
	}
	return out, out.leftOut(ctx, s, books, month, "prices")
}

// pricing reckons months by other prices.
type pricing struct {
	s      *query.Snapshot
	rules  *allocate.Rules
	prices priceList
	all    int64 // lines
	left   map[unpriced]*unpricedSum
}

type (
	unpriced    struct{ model, line, currency, why string }
	unpricedSum struct {
		lines int64
		net   *big.Rat
	}
)

// The columns of a charge, in a query that has them of u and the owner of a, or both of u.
const (
	poolColumns = "coalesce(%[1]s.pool, ''), coalesce(%[1]s.rule_id, ''), coalesce(%[1]s.rule_version, 0), " +
		"u.usage_date, u.book_date, u.account, u.model, u.model_type, u.record_kind, u.currency"
	ownerColumns = "coalesce(%[1]s.cost_center, ''), coalesce(%[1]s.team, ''), coalesce(%[1]s.project, ''), " +
		"coalesce(%[1]s.environment, ''), coalesce(%[1]s.gl_code, ''), coalesce(%[1]s.tags, '')"
)

const poolColumnsLen, ownerColumnsLen = 10, 6

// chargeOf tells charges apart as they are split and summed: those of a pool, and of an owner and currency. The row
// begins with poolColumns and ownerColumns.
func chargeOf(row []query.Value) string {
	parts := make([]string, 0, poolColumnsLen+ownerColumnsLen)
	if row[0].Text != "" {
		for _, v := range row[:poolColumnsLen] {
			parts = append(parts, v.Text, fmt.Sprint(v.Null))
		}
		return fmt.Sprintf("%q", parts)
	}
	parts = append(parts, row[poolColumnsLen-1].Text, fmt.Sprint(row[poolColumnsLen-1].Null))
	for _, v := range row[poolColumnsLen : poolColumnsLen+ownerColumnsLen] {
		parts = append(parts, v.Text)
	}
	return fmt.Sprintf("%q", parts)
}

// charges are what is charged in a month before pools are split.
type charges struct {
	pools            []schemas.PoolCost
	direct           []schemas.DirectCost
	ofPool, ofDirect []string // by which chargeOf knows each
}

// month is what the cost centres are charged in a month as it is, and by the prices.
func (p *pricing) month(ctx context.Context, books *schemas.Books, m schemas.Month) (before, after owed, err error) {
	c, err := p.charged(ctx, books, m)
	if err != nil {
		return nil, nil, err
	}
	moved, err := p.reprice(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	if before, err = p.owed(c); err != nil {
		return nil, nil, err
	}
	for i, id := range c.ofPool {
		c.pools[i].Net = plusMoney(c.pools[i].Net, moved[id])
	}
	for i, id := range c.ofDirect {
		c.direct[i].Net = plusMoney(c.direct[i].Net, moved[id])
	}
	after, err = p.owed(c)
	return before, after, err
}

// owed is what is charged to whom: what is direct, and the shares of the pools, as a publish splits them.
func (p *pricing) owed(c *charges) (owed, error) {
	out := owed{}
	for _, d := range c.direct {
		out.add(d.CostCenter, textOf(d.Currency), d.Net)
	}
	shares, err := p.rules.Split(c.pools, c.direct)
	for _, s := range shares {
		out.add(s.Owner.CostCenter, textOf(s.Currency), s.Net)
	}
	return out, err
}

// charged is what is published of a month, but for corrections of closed ones.
func (p *pricing) charged(ctx context.Context, books *schemas.Books, m schemas.Month) (*charges, error) {
	c := &charges{}
	rulesets := map[string]bool{}
	at := map[string]int{}
	err := p.s.Each(ctx, fmt.Sprintf("SELECT "+poolColumns+", "+ownerColumns+", any_value(a.ruleset), "+
		`sum(u.net_cost), sum(u.total_tokens)
		FROM allocated_model_daily u JOIN allocations a USING (allocation_id)
		WHERE u.book_date >= DATE '%[2]s' AND u.book_date < DATE '%[3]s'
		GROUP BY ALL ORDER BY ALL`, "a", books.First(m), books.End(m)), func(row []query.Value) error {
		id := chargeOf(row)
		net, err := moneyOf(row[17])
		if err != nil {
			return err
		}
		if row[0].Text == "" {
			var tokens *big.Int
			var ok bool
			if !row[18].Null {
				if tokens, ok = new(big.Int).SetString(row[18].Text, 10); !ok {
					return fmt.Errorf("%q is not a whole number", row[18].Text)
				}
			}
			i, ok := at[id]
			if !ok {
				i, at[id] = len(c.direct), len(c.direct)
				c.ofDirect = append(c.ofDirect, id)
				c.direct = append(c.direct, schemas.DirectCost{Currency: row[9].Optional(), Owner: schemas.Owner{
					CostCenter: row[10].Text, Team: row[11].Text, Project: row[12].Text, Environment: row[13].Text,
					GLCode: row[14].Text, Tags: row[15].Text}})
			}
			c.direct[i].Net, c.direct[i].Tokens = plusMoney(c.direct[i].Net, net), plus(c.direct[i].Tokens, tokens)
			return nil
		}
		rulesets[row[16].Text] = true
		version, err1 := strconv.Atoi(row[2].Text)
		date, err2 := schemas.ParseDate(row[3].Text)
		book, err3 := schemas.ParseDate(row[4].Text)
		c.ofPool = append(c.ofPool, id)
		c.pools = append(c.pools, schemas.PoolCost{Pool: row[0].Text, RuleID: row[1].Text, Version: version, Date: date,
			Book: book, Account: row[5].Text, Model: row[6].Optional(), ModelType: row[7].Optional(), RecordKind: row[8].Text,
			Currency: row[9].Optional(), Measures: schemas.Measures{Net: net}})
		return errors.Join(err1, err2, err3)
	})
	if err != nil {
		return nil, err
	}
	for is := range rulesets {
		if !strings.HasPrefix(p.rules.Digest(), is) {
			return nil, config.Usage("usagelake allocation apply   (publishes by the rules of the config; "+
				"or name the config that it was published by, with --config)",
				"pools are split by the rules, and those of the config aren't the ones that are published")
		}
	}
	return c, nil
}

// reprice is by how much the prices change each charge of a month, rounded once.
func (p *pricing) reprice(ctx context.Context, m schemas.Month) (map[string]*schemas.Money, error) {
	moved := map[string]*big.Int{} // with fine decimals
	err := p.s.Each(ctx, fmt.Sprintf("SELECT "+poolColumns+", "+ownerColumns+`, line, category, item, price, price_per,
		count(*), sum(quantity), sum(net_cost)
		FROM focus_lines u WHERE usage_month = DATE '%[2]s' AND NOT closed GROUP BY ALL`, "u", m.First()),
		func(row []query.Value) error {
			u := usedLine{account: row[5].Text, model: row[6].Optional(), line: row[16].Text, currency: row[9].Text}
			if u.line == "ext" {
				u.line = row[17].Text + "/" + row[18].Text
			}
			day, err1 := schemas.ParseDate(row[4].Text)
			lines, err2 := strconv.ParseInt(row[21].Text, 10, 64)
			quantity, err3 := moneyOf(row[22])
			price, err4 := moneyOf(row[19])
			net, ok := new(big.Rat).SetString(row[23].Text)
			if err := errors.Join(err1, err2, err3, err4); err != nil || !ok {
				return cmp.Or(err, fmt.Errorf("%q is not a sum", row[23].Text))
			}
			p.all += lines
			if price == nil {
				p.leave(unpriced{textOf(u.model), u.line, u.currency, NoPrice}, lines, net)
				return nil
			}
			as := p.prices.of(u, day, lines)
			if as == nil {
				p.leave(unpriced{textOf(u.model), u.line, u.currency, NoRow}, lines, net)
				return nil
			}
			per, err := strconv.ParseInt(row[20].Text, 10, 64)
			if err != nil || quantity == nil {
				return cmp.Or(err, errors.New("a line with a price has no quantity"))
			}
			id := chargeOf(row)
			if moved[id] == nil {
				moved[id] = new(big.Int)
			}
			moved[id].Add(moved[id], halfEven(lineCost{*quantity, per, *price, net}.moved(as.price), fine))
			return nil
		})
	out := map[string]*schemas.Money{}
	for id, sum := range moved {
		v := rounded(new(big.Rat).SetFrac(sum, schemas.Pow10(fine)))
		out[id] = &v
	}
	return out, err
}

// leave notes lines that stay as they are.
func (p *pricing) leave(u unpriced, lines int64, net *big.Rat) {
	sum := p.left[u]
	if sum == nil {
		sum = &unpricedSum{net: new(big.Rat)}
		p.left[u] = sum
	}
	sum.lines += lines
	sum.net.Add(sum.net, net)
}

// unpriced are the lines that stay as they are, the largest cost first.
func (p *pricing) unpriced() []UnpricedLines {
	out := []UnpricedLines{}
	for _, u := range slices.SortedFunc(maps.Keys(p.left), func(a, b unpriced) int {
		abs := func(u unpriced) *big.Rat { return new(big.Rat).Abs(p.left[u].net) }
		return cmp.Or(strings.Compare(a.currency, b.currency), abs(b).Cmp(abs(a)), strings.Compare(a.model, b.model),
			strings.Compare(a.line, b.line), strings.Compare(a.why, b.why))
	}) {
		sum := p.left[u]
		out = append(out, UnpricedLines{u.model, u.line, u.currency, sum.lines, rounded(sum.net).String(), u.why})
	}
	return out
}

// whole says how much of the usage the prices are for, so that nobody takes a part for the whole.
func (p *pricing) whole() []allocate.Finding {
	lines, net := int64(0), map[string]*big.Rat{}
	for u, sum := range p.left {
		lines += sum.lines
		if net[u.currency] == nil {
			net[u.currency] = new(big.Rat)
		}
		net[u.currency].Add(net[u.currency], sum.net)
	}
	if lines == 0 {
		return nil
	}
	by := map[string]schemas.Money{}
	for currency, v := range net {
		by[currency] = rounded(v)
	}
	return []allocate.Finding{{Severity: allocate.Info, Message: fmt.Sprintf("%s of %s have no price in the file and "+
		"cost what they do: %s", words.Plural(lines, "line", "lines"), words.Count(p.all), amounts(by))}}
}

// omitted says of records that have no lines, as their currency is none, that they cost what they do.
func (p *pricing) omitted(ctx context.Context, w *WhatIf, month *schemas.Month) error {
	by, records := map[string]schemas.Money{}, int64(0)
	err := p.s.Each(ctx, "SELECT coalesce(currency, ''), sum(requests), sum(net_cost) FROM focus_omitted WHERE "+
		openOnly("billing_month", month)+" AND net_cost IS NOT NULL GROUP BY 1", func(row []query.Value) error {
		n, err1 := strconv.ParseInt(row[1].Text, 10, 64)
		net, err2 := schemas.ParseMoney(row[2].Text)
		records += n
		by[row[0].Text] = net
		return errors.Join(err1, err2)
	})
	if records > 0 {
		w.Findings = append(w.Findings, allocate.Finding{Severity: allocate.Warning, Message: fmt.Sprintf(
			"%s without a currency, or of one that is no ISO 4217 code, cost what they do: %s",
			words.Plural(records, "record", "records"), amounts(by))})
	}
	return err
}

// usedLines are all lines that anything was ever used of, with a price.
func usedLines(ctx context.Context, s *query.Snapshot) ([]usedLine, error) {
	var out []usedLine
	err := s.Each(ctx, `SELECT DISTINCT account, model, CASE line WHEN 'ext'
		THEN coalesce(category, '') || '/' || coalesce(item, '') ELSE line END FROM unit_prices`,
		func(row []query.Value) error {
			out = append(out, usedLine{account: row[0].Text, model: row[1].Optional(), line: row[2].Text})
			return nil
		})
	return out, err
}
