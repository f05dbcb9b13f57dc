package publish

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/schemas"
)

// allocate derives the finance tables of the given days, or of all of them; the rows of usage are there already. It
// is the last step before the totals are compared.
func (p *publisher) allocate(ctx context.Context, d *Database, days []schemas.Partition, all bool) error {
	if err := d.transaction(ctx, func() error { return p.allocateDays(ctx, d, days, all) }); err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	return nil
}

func (p *publisher) allocateDays(ctx context.Context, d *Database, days []schemas.Partition, all bool) error {
	a := &allocation{publisher: p, d: d, ids: map[allocated]int64{}}
	var err error
	p.drawnTo = nil
	if all {
		// The rules or the file are new.
		err = a.reset(ctx)
	} else if err = a.known(ctx); err == nil {
		// The digest of finance is the file's, so rules, closed months and the fields that are looked at are the same, and
		// what was answered before still holds. So are top-ups, and the orders in which they are drawn on.
		p.drawnTo, err = d.completeBefore(ctx)
	}
	if err != nil {
		return err
	}
	defer func() {
		_ = d.Exec(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS temp.stale_days", "DROP TABLE IF EXISTS temp.segments",
			"DROP TABLE IF EXISTS temp.stale_groups", "DROP TABLE IF EXISTS temp.summed_days",
			"DROP TABLE IF EXISTS temp.stale_months", "DROP VIEW IF EXISTS temp.chargeback_live")
	}()
	if err := a.mark(ctx, days, all); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"ask the rules", a.keys}, {"sum up", a.sums}, {"split the shared pools", a.shares}, {"charge", a.charge},
		{"correct closed months", a.correct}, {"compare", a.check},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// allocation is one derivation of the finance tables.
type allocation struct {
	*publisher
	d *Database
	// Those that the file has, and those that keys has added: each answer of the rules once, however many keys have it. No
	// two have one number.
	ids map[allocated]int64 // the rows of allocations
	// stale are the days that are derived, in order.
	stale []schemas.Partition
}

// allocated is a row of allocations, but for its number.
type allocated struct {
	schemas.Assignment
	ruleset string
}

// id is a number that tells the row from others, and is the same on every run. It has 53 bits, which every reader of
// numbers holds exactly.
func (r allocated) id() int64 {
	// Quoted, so that a space in a name doesn't make two rows the same text. Of 64 bits the upper 53 are taken.
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q %q %q", r.ruleset, r.RuleID, r.Version, r.Source, r.Pool,
		[]string{r.CostCenter, r.Team, r.Project, r.Environment, r.GLCode, r.Tags}))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 11)
}

// financeTables hold what is derived from usage and the rules; they are emptied when the rules change.
var financeTables = []string{
	"allocation_rules", "shared_pools", "allocations", "allocation_keys", "allocated_daily", "allocated_model_daily",
	"ext_daily", "shared_cost_shares",
	"chargeback_daily", "focus_closed", "closed_months", "closed_lacking", "budgets", "markups",
	"closed_markups", "metric_lines", "invoice_lines", "top_ups",
	"finance_settings", "currencies", "names", "book_rates",
}

// reset empties the finance tables and fills those that hold what people wrote.
func (a *allocation) reset(ctx context.Context) error {
	if !a.fresh {
		for _, t := range financeTables {
			if slices.Contains(a.views, t) {
				continue
			}
			if err := a.d.Exec(ctx, "DELETE FROM "+t); err != nil {
				return err
			}
		}
		if err := a.d.Exec(ctx, a.layout().Allocated()); err != nil {
			return err
		}
	}
	_, err := a.d.conn.ExecContext(ctx, "INSERT INTO finance_settings VALUES (?, ?, ?, ?)",
		cmp.Or(a.finance.GLCode, DefaultGLCode), cmp.Or(a.finance.CreditGLCode, DefaultCreditGLCode), a.finance.TopUpsGiven,
		nullable(a.finance.Rates.Currency()))
	if err != nil {
		return err
	}
	err = a.d.fill(Catalog, "currencies", func(add func(...driver.Value) error) error {
		for _, c := range schemas.OddCurrencies() {
			if err := add(c.Code, int32(c.MinorUnit)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = a.d.fill(Catalog, "names", func(add func(...driver.Value) error) error {
		for _, n := range a.finance.Names {
			if err := add(n.Kind, n.ID, n.Name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = a.d.fill(Catalog, "allocation_rules", func(add func(...driver.Value) error) error {
		for _, set := range a.finance.all() {
			for _, r := range set.List() {
				err := add(set.name, int32(r.Position), r.RuleID, int32(r.Version), dateValue(r.ValidFrom), dateValue(r.ValidTo),
					r.Match, r.Assigns, nullable(r.Pool), r.Source)
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = a.d.fill(Catalog, "shared_pools", func(add func(...driver.Value) error) error {
		for _, set := range a.finance.all() {
			for _, s := range set.Pools() {
				if err := add(set.name, s.Pool, s.Method, s.Source); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = a.d.fill(Catalog, "budgets", func(add func(...driver.Value) error) error {
		for _, b := range a.finance.Budgets {
			thresholds := make([]any, len(b.Thresholds))
			for i, t := range b.Thresholds {
				thresholds[i] = duckdb.Decimal{Width: schemas.DecimalPrecision, Scale: schemas.DecimalScale,
					Value: big.NewInt(int64(t))}
			}
			err := add(b.Name, cmp.Or(b.Scope, "all"), nullable(b.Value), b.Period, moneyValue(&b.Amount), b.Currency,
				dateValue(b.From), dateValue(b.To), thresholds)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := a.fillMarkups(); err != nil {
		return err
	}
	if err := a.fillMetrics(); err != nil {
		return err
	}
	err = a.d.fill(Catalog, "top_ups", func(add func(...driver.Value) error) error {
		for _, t := range a.finance.TopUps {
			err := add(t.Account, t.Date.Start(), moneyValue(&t.Amount), t.Currency, t.Kind, nullable(t.Reference),
				dateValue(t.Expires), t.Source)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.d.fill(Catalog, "invoice_lines", func(add func(...driver.Value) error) error {
		for _, l := range a.finance.Invoices {
			err := add(l.Invoice, nullable(l.Account), l.From.Start(), l.To.Start(), dateValue(l.Date), textValue(l.Model),
				moneyValue(&l.Amount), l.Currency, l.Source, moneyValue(l.Book))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// known reads the rows of allocations that the file has.
func (a *allocation) known(ctx context.Context) error {
	rows, err := a.d.conn.QueryContext(ctx,
		`SELECT allocation_id, ruleset, coalesce(rule_id, ''), coalesce(rule_version, 0), coalesce(source, ''),
			coalesce(pool, ''),
		coalesce(cost_center, ''), coalesce(team, ''), coalesce(project, ''), coalesce(environment, ''),
		coalesce(gl_code, ''), coalesce(tags, '') FROM allocations`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var r allocated
		if err := rows.Scan(&id, &r.ruleset, &r.RuleID, &r.Version, &r.Source, &r.Pool, &r.CostCenter, &r.Team, &r.Project,
			&r.Environment, &r.GLCode, &r.Tags); err != nil {
			return err
		}
		a.ids[r] = id
	}
	return rows.Err()
}

// mark notes which days and months are to be derived, and takes out what the file has of the days.
func (a *allocation) mark(ctx context.Context, days []schemas.Partition, all bool) error {
	err := a.d.Exec(ctx,
		"CREATE OR REPLACE TEMP TABLE stale_days (account VARCHAR, usage_date DATE)",
		"CREATE OR REPLACE TEMP TABLE segments (valid_from DATE, valid_to DATE)")
	if err != nil {
		return err
	}
	if a.stale = days; all {
		a.stale = a.days
	}
	if all {
		if err := a.d.Exec(ctx, "INSERT INTO temp.stale_days SELECT account, usage_date FROM partitions"); err != nil {
			return err
		}
	} else {
		err := a.d.fill("temp", "stale_days", func(add func(...driver.Value) error) error {
			for _, p := range days {
				if err := add(p.Account, p.Date.Start()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, t := range []string{"allocated_daily", "allocated_model_daily", "ext_daily"} {
			if slices.Contains(a.views, t) {
				continue
			}
			if err := a.d.Exec(ctx,
				"DELETE FROM "+t+
					" WHERE (account, usage_date) IN (SELECT (account, usage_date) FROM temp.stale_days)"); err != nil {
				return err
			}
		}
	}
	err = a.d.fill("temp", "segments", func(add func(...driver.Value) error) error {
		for _, s := range a.finance.segments() {
			if err := add(s.from.Start(), s.to.Start()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Of days that are gone, too, which have no parts any more: so where a book day of the day before or after may have
	// some of the day, its period is derived anew as well.
	near := "[0]"
	if !a.finance.Books.UTC() {
		near = "[-1, 0, 1]"
	}
	return a.d.Exec(ctx,
		"CREATE OR REPLACE TEMP TABLE stale_months AS SELECT DISTINCT month_of(book_date) AS billing_month FROM ("+
			"SELECT usage_date + unnest("+near+") AS book_date FROM temp.stale_days)")
}

// keys asks the rules of every combination of fields that they have not been asked of yet.
func (a *allocation) keys(ctx context.Context) error {
	if !a.reads() {
		return a.newKeys(ctx)
	}
	// Some days at a time, so that no statement names thousands of files.
	for days := range slices.Chunk(a.stale, keyDays) {
		if err := a.see(ctx, a.d, days); err != nil {
			return err
		}
		if err := a.newKeys(ctx); err != nil {
			return err
		}
	}
	return nil
}

// keyDays is how many day files are looked at for their keys at once.
const keyDays = 1000

// newKeys is keys of the stale days whose records usage has.
func (a *allocation) newKeys(ctx context.Context) error {
	columns := make([]string, len(KeyFields))
	var on strings.Builder
	for i, f := range KeyFields {
		// A field that no rule looks at would only make more keys, with the same answers. allocation_keys has NULL there, and
		// the join goes by the others (schemas.SQLLayout).
		columns[i] = "NULL AS " + f
		if slices.Contains(a.finance.fields(), f) {
			columns[i] = "u." + f
			fmt.Fprintf(&on, " AND k.%[1]s IS NOT DISTINCT FROM n.%[1]s", f)
		}
	}
	// The answers are read whole before the first is written: one connection does both. Which days' records are read says
	// the condition: by the join alone those of all days would be, for the keys of a few.
	rows, err := a.d.conn.QueryContext(ctx, `
		WITH n AS (
			SELECT DISTINCT u.account, `+strings.Join(columns, ", ")+`, s.valid_from, s.valid_to
			FROM booked_usage u
			JOIN (SELECT d.account, d.usage_date, p.book_date, g.valid_from, g.valid_to
			FROM temp.stale_days d JOIN day_parts p USING (usage_date)
			JOIN temp.segments g ON p.book_date >= g.valid_from AND p.book_date < g.valid_to) s
			USING (account, usage_date, book_date)
			WHERE u.usage_date IN (SELECT usage_date FROM temp.stale_days)
		)
		SELECT n.account, n.token_id::VARCHAR, n.user_id::VARCHAR, n.custom_user_id::VARCHAR, n.model::VARCHAR,
		n.model_type::VARCHAR, n.channel_id::BIGINT, n.valid_from, n.valid_to
		FROM n ANTI JOIN allocation_keys k ON k.account = n.account AND k.valid_from = n.valid_from
		AND k.valid_to = n.valid_to`+on.String())
	if err != nil {
		return err
	}
	defer rows.Close()
	type answer struct {
		key      schemas.AllocationKey
		from, to sql.NullTime
		id       int64
	}
	taken := map[int64]bool{}
	for _, id := range a.ids {
		taken[id] = true
	}
	var answers []answer
	var fresh []allocated
	for rows.Next() {
		var x answer
		k := &x.key
		if err := rows.Scan(&k.Account, &k.TokenID, &k.UserID, &k.CustomUserID, &k.Model, &k.ModelType, &k.ChannelID, &x.from,
			&x.to); err != nil {
			return err
		}
		// Within a segment the rules say the same on each day. The first of a segment without beginning is as good as
		// any, but that it lies in another month than its end.
		day := schemas.DateOf(x.from.Time)
		set := a.finance.at(day)
		row := allocated{set.Assign(*k, day), set.name}
		id, ok := a.ids[row]
		if !ok {
			// By chance two rows may come to one number: one pair in 2⁵³. The second takes the next that is free.
			for id = row.id(); taken[id]; id++ {
			}
			taken[id] = true
			a.ids[row] = id
			fresh = append(fresh, row)
		}
		x.id = id
		answers = append(answers, x)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	err = a.d.fill(Catalog, "allocations", func(add func(...driver.Value) error) error {
		for _, r := range fresh {
			err := add(a.ids[r], r.ruleset, nullable(r.RuleID), nullable(int32(r.Version)), nullable(r.Source), nullable(r.Pool),
				nullable(r.CostCenter), nullable(r.Team), nullable(r.Project), nullable(r.Environment), nullable(r.GLCode),
				nullable(r.Tags))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.d.fill(Catalog, "allocation_keys", func(add func(...driver.Value) error) error {
		for _, x := range answers {
			k := x.key
			var channel driver.Value
			if k.ChannelID != nil {
				channel = *k.ChannelID
			}
			err := add(x.id, k.Account, textValue(k.TokenID), textValue(k.UserID), textValue(k.CustomUserID), textValue(k.Model),
				textValue(k.ModelType),
				channel, x.from.Time, x.to.Time)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// sums fills allocated_daily, allocated_model_daily and ext_daily for the stale days, some at a time, so that DuckDB
// never has more sums to hold than a group of days has records.
func (a *allocation) sums(ctx context.Context) error {
	err := a.d.Exec(ctx, `CREATE OR REPLACE TEMP TABLE stale_groups AS
		SELECT account, usage_date, (sum("rows") OVER (ORDER BY account, usage_date ROWS BETWEEN UNBOUNDED PRECEDING
			AND 1 PRECEDING) // `+strconv.Itoa(groupRows)+`)::BIGINT AS place
		FROM temp.stale_days JOIN partitions USING (account, usage_date)`)
	if err != nil {
		return err
	}
	var last sql.NullInt64
	const most = "SELECT max(coalesce(place, 0)) FROM temp.stale_groups"
	if err := a.d.conn.QueryRowContext(ctx, most).Scan(&last); err != nil {
		return err
	}
	for place := int64(0); last.Valid && place <= last.Int64; place++ {
		err := a.d.Exec(ctx, fmt.Sprintf("CREATE OR REPLACE TEMP TABLE summed_days AS SELECT account, usage_date "+
			"FROM temp.stale_groups WHERE coalesce(place, 0) = %d", place))
		if err != nil {
			return err
		}
		if err := a.seeSummed(ctx, a.d); err != nil {
			return err
		}
		if err := a.d.Exec(ctx, a.layout().AllocatedSums()); err != nil {
			return err
		}
		// Once these days are out of sight nothing compares their sums with their records.
		if a.reads() {
			const days = " SEMI JOIN temp.summed_days USING (account, usage_date))"
			if err := a.compare(ctx, "(FROM usage_addends"+days, "(FROM allocated_model_daily"+days); err != nil {
				return err
			}
		}
	}
	// What is said of no record any more goes, so that the file is the same however it came about; but for keys that only
	// repeat what is said of others, which would cost a look at all of usage.
	return a.d.Exec(ctx, "DELETE FROM allocations WHERE allocation_id NOT IN (SELECT allocation_id FROM "+
		"allocated_model_daily)", "DELETE FROM allocation_keys WHERE allocation_id NOT IN (SELECT allocation_id FROM "+
		"allocations)")
}

// shares splits the shared pools of the months in which a day is stale.
func (a *allocation) shares(ctx context.Context) error {
	if err := a.d.Exec(ctx,
		"DELETE FROM shared_cost_shares WHERE month_of(book_date) IN (SELECT billing_month FROM "+
			"temp.stale_months)"); err != nil {
		return err
	}
	months, err := a.months(ctx, "SELECT DISTINCT billing_month FROM temp.stale_months ORDER BY 1")
	if err != nil {
		return err
	}
	for _, month := range months {
		shares, err := a.split(ctx, month)
		if err != nil {
			return fmt.Errorf("month %s: %w", month, err)
		}
		period := a.finance.Books.Name(month)
		err = a.d.fill(Catalog, "shared_cost_shares", func(add func(...driver.Value) error) error {
			for _, s := range shares {
				o := s.Owner
				err := add(s.Date.Start(), s.Book.Start(), period, s.Account, s.Pool,
					nullable(s.RuleID), nullable(int32(s.Version)), s.Method, s.Basis,
					duckdb.Decimal{Width: schemas.DecimalPrecision, Scale: schemas.DecimalScale, Value: big.NewInt(int64(s.Ratio))},
					nullable(o.CostCenter), nullable(o.Team), nullable(o.Project), nullable(o.Environment), nullable(o.GLCode),
					nullable(o.Tags),
					textValue(s.Model), textValue(s.ModelType), s.RecordKind, textValue(s.Currency), s.Requests, s.WithoutAmount,
					countValue(s.Input), countValue(s.Output), countValue(s.Cached), countValue(s.Total),
					moneyValue(s.List), moneyValue(s.Discount), moneyValue(s.Net))
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *allocation) months(ctx context.Context, query string) ([]schemas.Month, error) {
	rows, err := a.d.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []schemas.Month
	for rows.Next() {
		var t sql.NullTime
		if err := rows.Scan(&t); err != nil {
			return nil, err
		}
		out = append(out, schemas.DateOf(t.Time).Month())
	}
	return out, rows.Err()
}

// within is the condition that usage lies in a month. Plain comparisons with a column are what DuckDB takes down to a
// scan.
func (f *finance) within(m schemas.Month) string {
	return fmt.Sprintf("book_date >= DATE '%s' AND book_date < DATE '%s'", f.Books.First(m), f.Books.End(m))
}

// split asks the rules who bears the shared pools of a month.
func (a *allocation) split(ctx context.Context, month schemas.Month) ([]schemas.PoolShare, error) {
	// All of the month, though a single day is stale: a pool is split by what each owner used in the month, so that one
	// more record moves every share of it.
	between := a.finance.within(month)
	rows, err := a.d.conn.QueryContext(ctx, `
		SELECT a.pool, coalesce(a.rule_id, ''), coalesce(a.rule_version, 0), u.usage_date, u.book_date, u.account,
		u.model, u.model_type,
		u.record_kind, u.currency,
			sum(u.requests)::BIGINT, sum(u.without_amount)::BIGINT, sum(u.input_tokens), sum(u.output_tokens),
			sum(u.cached_tokens), sum(u.total_tokens),
			sum(u.list_cost), sum(u.discount), sum(u.net_cost)
		FROM allocated_model_daily u JOIN allocations a USING (allocation_id)
		WHERE a.pool IS NOT NULL AND `+between+`
		GROUP BY ALL ORDER BY ALL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var costs []schemas.PoolCost
	for rows.Next() {
		var c schemas.PoolCost
		var date, book sql.NullTime
		var in, out, cached, total, list, discount, net any
		err := rows.Scan(&c.Pool, &c.RuleID, &c.Version, &date, &book, &c.Account, &c.Model, &c.ModelType, &c.RecordKind,
			&c.Currency,
			&c.Requests, &c.WithoutAmount, &in, &out, &cached, &total, &list, &discount, &net)
		if err != nil {
			return nil, err
		}
		c.Date, c.Book = schemas.DateOf(date.Time), schemas.DateOf(book.Time)
		c.Input, c.Output, c.Cached, c.Total = bigOf(in), bigOf(out), bigOf(cached), bigOf(total)
		c.List, c.Discount, c.Net = moneyOf(list), moneyOf(discount), moneyOf(net)
		costs = append(costs, c)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	if len(costs) == 0 {
		return nil, nil
	}
	rows, err = a.d.conn.QueryContext(ctx, `
		SELECT coalesce(a.cost_center, ''), coalesce(a.team, ''), coalesce(a.project, ''), coalesce(a.environment, ''),
		coalesce(a.gl_code, ''), coalesce(a.tags, ''),
			u.currency, sum(u.total_tokens), sum(u.net_cost)
		FROM allocated_model_daily u JOIN allocations a USING (allocation_id)
		WHERE a.pool IS NULL AND `+between+`
		GROUP BY ALL ORDER BY ALL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var direct []schemas.DirectCost
	for rows.Next() {
		var c schemas.DirectCost
		var tokens, net any
		if err := rows.Scan(&c.CostCenter, &c.Team, &c.Project, &c.Environment, &c.GLCode, &c.Tags, &c.Currency, &tokens,
			&net); err != nil {
			return nil, err
		}
		c.Tokens, c.Net = bigOf(tokens), moneyOf(net)
		direct = append(direct, c)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return a.finance.at(a.finance.Books.First(month)).Split(costs, direct)
}

// The columns of chargeback_daily that tell charges apart, and those that are summed.
const (
	chargeDimensions = `usage_date, book_date, account, cost_center, team, project, environment, gl_code, tags, pool, ` +
		`rule_id, rule_version, model, model_type, record_kind, currency`
	chargeMeasures = `requests, without_amount, input_tokens, output_tokens, cached_tokens, total_tokens, list_cost, ` +
		`discount, net_cost`
)

// charge fills chargeback_daily for the stale months that are open, from what was spent directly and from the shares,
// and converts it. A share is converted as what it is a share of, for its amount times the rate is exact: the parts sum
// to the whole in either currency.
func (a *allocation) charge(ctx context.Context) error {
	if err := a.fillClosed(ctx); err != nil {
		return err
	}
	if err := a.fillRates(ctx); err != nil {
		return fmt.Errorf("rates: %w", err)
	}
	return converted(a.d.Exec(ctx, a.layout().Chargeback()))
}

// check compares what is charged with what was used. All days are compared, and not only those that were derived now:
// corrections are of days of closed months.
func (a *allocation) check(ctx context.Context) error {
	used := "usage_addends"
	if a.reads() { // usage doesn't have all days here; what it has of each was held against these sums before
		used = "(SELECT * RENAME (list_cost AS total_amount, discount AS discount_amount, net_cost AS amount) FROM " +
			"allocated_model_daily)"
	}
	return a.compare(ctx, used, "chargeback_daily")
}

// compare holds sums of what was charged against sums of what was used, day by day and currency by currency, to the
// last digit.
func (a *allocation) compare(ctx context.Context, used, charged string) error {
	var what sql.NullString
	err := a.d.conn.QueryRowContext(ctx, `
		WITH used AS (
			SELECT account, usage_date, currency, sum(requests) AS n, sum(without_amount) AS w,
			coalesce(sum(total_amount), 0) AS l, coalesce(sum(discount_amount), 0) AS d, coalesce(sum(amount), 0) AS a
			FROM `+used+` GROUP BY ALL
		), charged AS (
			SELECT account, usage_date, currency, sum(requests) AS n, sum(without_amount) AS w, coalesce(sum(list_cost), 0) AS l,
			coalesce(sum(discount), 0) AS d, coalesce(sum(net_cost), 0) AS a
			FROM `+charged+` GROUP BY ALL
		)
		SELECT format('{} {}: charged {} for {} records, used {} by {}', coalesce(u.account, c.account),
		coalesce(u.usage_date, c.usage_date), coalesce(c.a, 0), coalesce(c.n, 0), coalesce(u.a, 0), coalesce(u.n, 0))
		FROM used u FULL JOIN charged c ON u.account = c.account AND u.usage_date = c.usage_date
		AND u.currency IS NOT DISTINCT FROM c.currency
		WHERE (coalesce(u.n, 0), coalesce(u.w, 0), coalesce(u.l, 0), coalesce(u.d, 0), coalesce(u.a, 0))
			IS DISTINCT FROM (coalesce(c.n, 0), coalesce(c.w, 0), coalesce(c.l, 0), coalesce(c.d, 0), coalesce(c.a, 0))
		ORDER BY 1 LIMIT 1`).Scan(&what)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", errInexact, what.String)
}
