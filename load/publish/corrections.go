package publish

import (
	"context"
	"database/sql/driver"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/schemas"
)

// fillClosed reads the ledgers of the closed months, unless the file has them, and notes whether their usage has
// changed since they were closed.
func (a *allocation) fillClosed(ctx context.Context) error {
	if err := a.d.Exec(ctx, "DELETE FROM closed_months", "DELETE FROM closed_lacking",
		"DELETE FROM closed_markups"); err != nil {
		return err
	}
	for _, c := range a.finance.closed {
		for _, l := range ledgers {
			var n int64
			if err := a.d.conn.QueryRowContext(ctx,
				fmt.Sprintf("SELECT count(*) FROM (FROM %s WHERE billing_month = DATE '%s' LIMIT 1)",
					l.table, c.Month.First())).Scan(&n); err != nil {
				return err
			}
			// They are there since a publish before: the ledger of a closed month doesn't change, and where rules or months did
			// the tables were emptied.
			if n > 0 {
				continue
			}
			file := filepath.Join(c.Dir, filepath.FromSlash(l.file))
			rows, err := a.d.ledgerRows(ctx, l, file)
			if err == nil {
				err = a.d.Exec(ctx, fmt.Sprintf("INSERT INTO %s BY NAME FROM %s", l.table, rows))
			}
			if err != nil {
				return fmt.Errorf("closed month %s: read %s: %w\nhint: restore %s from a backup", c.Month, l.file, err, c.Dir)
			}
		}
		if err := a.fillClosedMarkups(ctx, c); err != nil {
			return err
		}
		changed, err := a.changedSince(c)
		if err != nil {
			return err
		}
		err = a.d.fill(Catalog, "closed_lacking", func(add func(...driver.Value) error) error {
			for _, l := range c.Lacking {
				if err := add(c.Month.Start(), l.Account, l.Seconds); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		set := a.finance.rules[c.Month].name
		err = a.d.fill(Catalog, "closed_months", func(add func(...driver.Value) error) error {
			return add(c.Month.Start(), c.ClosedAt, c.RunID, c.Version, set, nullable(c.Reason), listValue(c.Objections),
				c.Digest, changed, nullable(c.Completeness), listValue(c.Prepaid))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// closedDerived refuses to go on while a day that a closed month was closed with is yet to be derived and won't be in
// the file: it would look like usage that is gone, and the next open month would be credited for it.
func (p *publisher) closedDerived() error {
	for _, c := range p.finance.closed {
		days, err := c.days()
		if err != nil {
			return err
		}
		for _, d := range slices.SortedFunc(maps.Keys(days), schemas.Partition.Compare) {
			if _, ok := p.want[d]; ok || slices.Contains(p.opts.Drop, d) {
				continue
			}
			source, err := p.lake.Source(d)
			if err != nil {
				return err
			}
			if len(source.Live()) > 0 {
				return fmt.Errorf("%s was closed with %s, whose day file is gone; its raw files are there\nhint: usagelake "+
					"rebuild   (derives it)", c.Month, d)
			}
		}
	}
	return nil
}

// days are the digests of the day files that the month was closed with.
func (c ClosedMonth) days() (map[schemas.Partition]string, error) {
	out := map[schemas.Partition]string{}
	for _, in := range c.Partitions {
		d, err := schemas.ParseDate(in.Date)
		if err != nil {
			return nil, fmt.Errorf("closed month %s: its manifest is damaged: %w", c.Month, err)
		}
		out[schemas.Partition{Account: in.Account, Date: d}] = in.Digest
	}
	return out, nil
}

// changedSince says whether the day files of a closed month differ from those it was closed with.
func (a *allocation) changedSince(c ClosedMonth) (bool, error) {
	then, err := c.days()
	if err != nil {
		return false, err
	}
	// Of want. Where the published file is brought up to date, a day whose day file is gone is in it as before: that is no
	// correction.
	now := map[schemas.Partition]string{}
	for day, digest := range a.want {
		if c.Touches(day.Date) {
			now[day] = digest
		}
	}
	return !maps.Equal(then, now), nil
}

// ledger is a table that holds what was charged in closed months.
type ledger struct {
	table      string
	live       string // what its rows are as usage is now
	when       string // the period of a row's usage
	file       string // of a closed month
	dimensions string
	measures   string
	named      bool // whether it has the name of billing_month, too
	// What stands beside the measures in the currency of the books; "" of one that has none. It is no measure: a
	// correction is converted, by the rate of its day, and not the difference of two that were.
	booked string
	later  []later
}

// later is a column that ledgers of before lack, and what they have instead: they are of calendar months in UTC, and
// of books without a currency.
type later struct{ column, before string }

// ledgerRows is the query, in parentheses, of the rows of a ledger file with the columns of its table.
func (d *Database) ledgerRows(ctx context.Context, l ledger, file string) (string, error) {
	columns := "*"
	for _, c := range l.later {
		var has bool
		if err := d.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*) > 0 FROM parquet_schema(%s) WHERE name = '%s'",
			SqlGlob(file), c.column)).Scan(&has); err != nil {
			return "", err
		}
		if !has {
			columns += ", " + c.before
		}
	}
	return "(SELECT " + columns + " FROM read_parquet(" + SqlGlob(file) + ", hive_partitioning = false))", nil
}

var ledgers = []ledger{
	{"chargeback_daily", "temp.chargeback_live", "month_of(book_date)", LedgerFile, chargeDimensions, chargeMeasures,
		true, "book_currency, book_cost", []later{
			{"book_date", "usage_date AS book_date, strftime(billing_month, '%Y-%m') AS period"},
			{"book_cost", "NULL::VARCHAR AS book_currency, NULL::DECIMAL(38,22) AS book_cost"}}},
	{"focus_closed", "focus_live", "usage_month", LedgerFocus, focusColumns(false), focusColumns(true),
		false, "", []later{{"usage_month", "date_trunc('month', usage_date)::DATE AS usage_month"}}},
}

func focusColumns(measures bool) string {
	var names []string
	for _, c := range schemas.FocusChargeColumns() {
		if c.Measure == measures {
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, ", ")
}

// correct charges to the next open month what the usage of closed months has come to differ from what was charged for
// it, in that month and in later ones. So all that was ever charged sums to what was used, whenever it came.
func (a *allocation) correct(ctx context.Context) error {
	if len(a.finance.closed) == 0 {
		return nil
	}
	next := a.finance.nextOpen().First()
	changed, err := a.months(ctx, `SELECT "month" FROM closed_months WHERE corrected ORDER BY 1`)
	if err != nil {
		return err
	}
	var during []string
	for _, m := range changed {
		during = append(during, "DATE '"+m.First().String()+"'")
	}
	if err := a.see(ctx, a.d, slices.DeleteFunc(slices.Clone(a.days), func(d schemas.Partition) bool {
		return !slices.ContainsFunc(a.finance.Books.Touches(d.Date), func(m schemas.Month) bool {
			return slices.Contains(changed, m)
		})
	})); err != nil {
		return err
	}
	for _, l := range ledgers {
		if err := a.d.Exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE billing_month = DATE '%s' AND charge_class = 'Correction'",
			l.table, next)); err != nil {
			return err
		}
		if len(during) == 0 {
			continue
		}
		var plus, minus, sums, having []string
		for m := range strings.SplitSeq(l.measures, ", ") {
			plus = append(plus, m)
			minus = append(minus, "-"+m+" AS "+m)
			sums = append(sums, "sum("+m+") AS "+m)
			having = append(having, "coalesce(sum("+m+"), 0) <> 0")
		}
		named, booked, rates := "", "SELECT c.* FROM (", ""
		if l.named {
			named = fmt.Sprintf("period_of(DATE '%s') AS period, ", next)
		}
		if l.booked != "" {
			rates = "LEFT JOIN book_rates r ON r.currency = c.currency AND r.book_date = c.book_date"
			booked = "SELECT c.*, s.book_currency, c.net_cost * r.rate AS book_cost FROM finance_settings s, ("
		}
		// What usage of these days is as the rules see it now, less what was charged for it in any closed month, corrections
		// of then included: what is left is charged now. A row per dimensions in which any measure differs. So each
		// correction is made anew until its month is closed, and is part of what was charged from then on: of 100 that became
		// 120 in the next month, and 90 in the one after it, 100, 20 and −30 are charged.
		err := a.d.Exec(ctx, fmt.Sprintf(`INSERT INTO %[1]s BY NAME
			%[11]sSELECT DATE '%[2]s' AS billing_month, %[10]s'Correction' AS charge_class, %[3]s, %[4]s
			FROM (
				SELECT %[3]s, %[5]s FROM %[8]s WHERE %[9]s
				UNION ALL
				SELECT %[3]s, %[6]s FROM %[1]s WHERE billing_month IN (SELECT "month" FROM closed_months) AND %[9]s
			)
			GROUP BY %[3]s HAVING %[7]s) c %[12]s ORDER BY ALL`,
			l.table, next, l.dimensions, strings.Join(sums, ", "), strings.Join(plus, ", "), strings.Join(minus, ", "),
			strings.Join(having, " OR "), l.live, l.when+" IN ("+strings.Join(during, ", ")+")", named, booked, rates))
		if err != nil {
			return fmt.Errorf("%s: %w", l.table, converted(err))
		}
	}
	// A day may be derived anew, by a newer version say, and come out with the same records: nothing was corrected then.
	return a.d.Exec(ctx, `UPDATE closed_months SET corrected = EXISTS (
		FROM (SELECT month_of(book_date) AS of_month, charge_class FROM chargeback_daily UNION ALL SELECT usage_month,
		charge_class FROM focus_closed) c
		WHERE c.charge_class = 'Correction' AND c.of_month = closed_months."month") WHERE corrected`)
}
