package publish

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// ErrTopUpGone says that a top-up that months were closed with isn't in the files any more.
var ErrTopUpGone = errors.New("a top-up that months were closed with is gone or was changed")

// PrepaidFile is the ledger of prepaid credit of a closed month: the rows of prepaid_ledger that were entered in it,
// and of accounts that came to be prepaid later than the month before, those of earlier months.
const PrepaidFile = "ledger/prepaid.parquet"

// prepaidOf is an account in a currency.
type prepaidOf struct {
	account  string
	currency sql.NullString
}

// prepaid is the ledger of an account in a currency while it is made.
type prepaid struct {
	prepaidOf
	before  []schemas.CreditEntry // of closed months: frozen
	credits map[string]*schemas.Credit
	usage   []schemas.DayUsage
	after   []schemas.CreditEntry
}

// replacePrepaid brings the ledger of prepaid credit up to date: what closed months have of it stays as it is, and what
// follows is reckoned from the top-ups and from what is charged by day. Only rows that differ are written.
func (p *publisher) replacePrepaid(ctx context.Context, d *Database) error {
	if err := p.replaceLedger(ctx, d); err != nil {
		return fmt.Errorf("prepaid credit: %w", err)
	}
	return nil
}

func (p *publisher) replaceLedger(ctx context.Context, d *Database) error {
	err := d.Exec(ctx, "DELETE FROM account_billing")
	if err != nil {
		return err
	}
	err = d.fill(Catalog, "account_billing", func(add func(...driver.Value) error) error {
		for _, b := range p.finance.Billing {
			if err := add(b.Account, b.Billing, nullable(b.Draw), b.TopUpsGiven); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	prepaid := slices.ContainsFunc(p.finance.Billing, func(b schemas.Billing) bool {
		return b.Billing == schemas.Prepaid
	})
	from, stale := openStart, "true"
	if p.drawnTo != nil {
		if !prepaid {
			return nil
		}
		first, err := d.firstDraw(ctx, *p.drawnTo)
		if err != nil || first == nil {
			return err
		}
		from, stale = *first, fmt.Sprintf("x.closed_in IS NULL AND x.book_date >= DATE '%s'", first)
	}
	err = d.Exec(ctx, "CREATE OR REPLACE TEMP TABLE prepaid_now AS FROM "+Catalog+".prepaid_ledger LIMIT 0")
	if err != nil {
		return err
	}
	defer func() { _ = d.Exec(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS temp.prepaid_now") }()
	if p.drawnTo == nil {
		if err := p.readClosed(ctx, d); err != nil {
			return err
		}
	}
	if prepaid {
		if err := p.draw(ctx, d, from); err != nil {
			return err
		}
	}
	// By a join and not by NOT EXISTS, which takes several times as long to compare whole rows.
	const differ = " FROM %[1]s x ANTI JOIN %[2]s y ON x.account = y.account AND x.book_date = y.book_date " +
		"AND x.line = y.line AND x IS NOT DISTINCT FROM y WHERE %[3]s"
	const now, before = "temp.prepaid_now", Catalog + ".prepaid_ledger"
	err = d.Exec(ctx,
		fmt.Sprintf("DELETE FROM "+before+" WHERE rowid IN (SELECT x.rowid"+differ+")", before, now, stale),
		fmt.Sprintf("INSERT INTO "+before+" SELECT x.*"+differ+" ORDER BY ALL", now, before, stale))
	if err != nil || !prepaid {
		return err
	}
	return d.drawsAreCharges(ctx)
}

// completeBefore is the day up to which the ledger of prepaid credit goes, whatever was used.
func (d *Database) completeBefore(ctx context.Context) (*schemas.Date, error) {
	var until sql.NullTime
	if err := d.conn.QueryRowContext(ctx, "SELECT complete_before FROM data_as_of").Scan(&until); err != nil {
		return nil, fmt.Errorf("look how far the days go: %w", err)
	}
	return new(schemas.DateOf(until.Time)), nil
}

// firstDraw is the first book day whose entries may be others than those that the file has; nil if there is none. The
// file's are of the same top-ups, orders and closed months, and go to the day drawnTo: so those of a day are what they
// were as long as the same was charged on it and on each day before. Of days beyond, what is topped up and expires is
// entered only if something was charged later, if only 0, which no entry tells: these are always looked at.
func (d *Database) firstDraw(ctx context.Context, drawnTo schemas.Date) (*schemas.Date, error) {
	until, err := d.completeBefore(ctx)
	if err != nil {
		return nil, err
	}
	both := min(*until, drawnTo)
	var day sql.NullTime
	err = d.conn.QueryRowContext(ctx, drawnAndCharged+`SELECT min(day) FROM days WHERE drawn <> charged OR day > `+
		fmt.Sprintf("DATE '%s'", both)).Scan(&day)
	if err != nil {
		return nil, err
	}
	var first *schemas.Date
	if day.Valid {
		first = new(schemas.DateOf(day.Time))
	}
	if *until != drawnTo && (first == nil || *first > both) {
		first = new(both + 1)
	}
	return first, nil
}

// readClosed enters in temp.prepaid_now what closed months have of the ledger.
func (p *publisher) readClosed(ctx context.Context, d *Database) error {
	for _, c := range p.finance.closed {
		if !c.Has(PrepaidFile) {
			continue
		}
		file := filepath.Join(c.Dir, filepath.FromSlash(PrepaidFile))
		err := d.Exec(ctx, fmt.Sprintf("INSERT INTO temp.prepaid_now BY NAME SELECT *, DATE '%s' AS closed_in "+
			"FROM read_parquet(%s, hive_partitioning = false)", c.Month.First(), SqlGlob(file)))
		if err != nil {
			return fmt.Errorf("closed month %s: read %s: %w\nhint: restore %s from a backup", c.Month, PrepaidFile, err,
				c.Dir)
		}
	}
	return nil
}

// Has says whether a closed month has a file.
func (c ClosedMonth) Has(path string) bool {
	return slices.ContainsFunc(c.Files, func(f ManifestFile) bool { return f.Path == path })
}

// draw enters in temp.prepaid_now what follows the entries of closed months, from a book day on.
func (p *publisher) draw(ctx context.Context, d *Database, from schemas.Date) error {
	frozen := "temp.prepaid_now"
	if p.drawnTo != nil {
		frozen = "(FROM prepaid_ledger WHERE closed_in IS NOT NULL)"
	}
	ledgers, err := frozenEntries(ctx, d, frozen)
	if err != nil {
		return err
	}
	of := func(account string, currency sql.NullString) *prepaid {
		key := prepaidOf{account, currency}
		if ledgers[key] == nil {
			ledgers[key] = &prepaid{prepaidOf: key, credits: map[string]*schemas.Credit{}}
		}
		return ledgers[key]
	}
	order := map[string]string{} // of the prepaid accounts
	for _, b := range p.finance.Billing {
		if b.Billing == schemas.Prepaid {
			order[b.Account] = b.Draw
		}
	}
	topUps := map[prepaidOf][]schemas.TopUp{}
	for _, t := range p.finance.TopUps {
		if order[t.Account] != "" {
			l := of(t.Account, sql.NullString{String: t.Currency, Valid: true})
			topUps[l.prepaidOf] = append(topUps[l.prepaidOf], t)
		}
	}
	if err := p.chargedByDay(ctx, d, of); err != nil {
		return err
	}
	until, err := d.completeBefore(ctx)
	if err != nil {
		return err
	}
	for key, l := range ledgers {
		if order[key.account] == "" {
			delete(ledgers, key) // it was prepaid once: what closed months have of it stays, and nothing follows
			continue
		}
		credits, err := p.newCredits(l, topUps[key])
		if err != nil {
			return err
		}
		if l.after, err = p.finance.Draw(order[key.account], l.before, credits, l.usage, p.frozenTo(key.account),
			*until); err != nil {
			return fmt.Errorf("account %s: what closed months have of it: %w\nhint: usagelake verify", key.account, err)
		}
	}
	return p.enter(d, ledgers, from)
}

// frozenEntries are those that closed months have, the rows of a table.
func frozenEntries(ctx context.Context, d *Database, table string) (map[prepaidOf]*prepaid, error) {
	rows, err := d.conn.QueryContext(ctx, `SELECT account, currency, book_date, entry, credit, coalesce(kind, ''), amount,
		top_up_date, expires FROM `+table+` ORDER BY account, currency, book_date, line`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[prepaidOf]*prepaid{}
	for rows.Next() {
		var key prepaidOf
		var day time.Time
		var e schemas.CreditEntry
		var credit sql.NullString
		var kind string
		var amount any
		var date, expires sql.NullTime
		if err := rows.Scan(&key.account, &key.currency, &day, &e.Kind, &credit, &kind, &amount, &date,
			&expires); err != nil {
			return nil, err
		}
		l := out[key]
		if l == nil {
			l = &prepaid{prepaidOf: key, credits: map[string]*schemas.Credit{}}
			out[key] = l
		}
		e.Day, e.Amount = schemas.DateOf(day), *moneyOf(amount)
		if credit.Valid {
			if e.Kind == schemas.EntryTopUp {
				c := &schemas.Credit{ID: credit.String, From: e.Day, TopUp: schemas.TopUp{Account: key.account, Kind: kind,
					Date: schemas.DateOf(date.Time), Amount: e.Amount, Currency: key.currency.String}}
				if expires.Valid {
					day := schemas.DateOf(expires.Time)
					c.Expires = &day
				}
				l.credits[c.ID] = c
			}
			if e.Credit = l.credits[credit.String]; e.Credit == nil {
				e.Credit = &schemas.Credit{ID: credit.String} // Draw tells that it wasn't topped up
			}
		}
		l.before = append(l.before, e)
	}
	return out, rows.Err()
}

// chargedByDay adds to the ledgers of prepaid accounts what is charged in months that have no entries yet, by day. What
// corrects a closed month is of the first day of the month that it is charged in.
func (p *publisher) chargedByDay(ctx context.Context, d *Database,
	of func(string, sql.NullString) *prepaid) error {
	rows, err := d.conn.QueryContext(ctx, `SELECT c.account, c.currency, `+chargedOn+` AS day, sum(c.net_cost) AS amount
		FROM chargeback_daily c
		WHERE c.account IN (SELECT account FROM account_billing WHERE billing = 'prepaid') AND c.net_cost IS NOT NULL
			AND `+notFrozen+`
		GROUP BY ALL ORDER BY ALL`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account string
		var currency sql.NullString
		var day time.Time
		var amount any
		if err := rows.Scan(&account, &currency, &day, &amount); err != nil {
			return err
		}
		l := of(account, currency)
		l.usage = append(l.usage, schemas.DayUsage{Day: schemas.DateOf(day), Amount: *moneyOf(amount)})
	}
	return rows.Err()
}

const (
	// chargedOn is the day on which a row c of chargeback_daily draws on credit.
	chargedOn = `CASE WHEN c.charge_class IS NULL THEN c.book_date
		ELSE (SELECT p.period_start FROM periods p WHERE p."month" = c.billing_month) END`
	// notFrozen is the condition that no closed month has entries of a row c of chargeback_daily.
	notFrozen = `c.billing_month > coalesce((SELECT max(m."month") FROM closed_months m
		WHERE list_contains(m.prepaid, c.account)), DATE '0001-01-01')`
)

// frozenTo is the first book day of an account that no closed month has entries of.
func (p *publisher) frozenTo(account string) schemas.Date {
	from := openStart
	for _, c := range p.finance.closed {
		if slices.Contains(c.Prepaid, account) {
			from = p.finance.Books.End(c.Month)
		}
	}
	return from
}

// newCredits are the top-ups of the files that no closed month has, as they pay: one whose date lies in a month that
// has entries already pays from the first day after it. It is ErrTopUpGone if one that a closed month has isn't among
// them.
//
// What tells top-ups apart is all that counts: date, kind, amount and expiry. A line may move in its file.
func (p *publisher) newCredits(l *prepaid, topUps []schemas.TopUp) ([]*schemas.Credit, error) {
	type terms struct {
		date, expires schemas.Date
		kind, amount  string
	}
	of := func(t schemas.TopUp) terms {
		out := terms{date: t.Date, expires: openEnd, kind: t.Kind, amount: t.Amount.String()}
		if t.Expires != nil {
			out.expires = *t.Expires
		}
		return out
	}
	given, had := map[terms]int{}, map[terms]int{} // by the files, and by closed months
	if len(l.before) > 0 {
		for _, t := range topUps {
			given[of(t)]++
		}
	}
	ids := map[string]bool{}
	for _, e := range l.before {
		if e.Kind != schemas.EntryTopUp {
			continue
		}
		ids[e.Credit.ID] = true
		k := of(e.Credit.TopUp)
		if had[k]++; had[k] > given[k] {
			expires := ""
			if e.Credit.Expires != nil {
				expires = fmt.Sprintf(", expires %s", *e.Credit.Expires)
			}
			return nil, fmt.Errorf("%w: account %s, %s, %s, %s %s%s\nhint: write that line as it was, and what was added to "+
				"it as a line of its own; or open the closed months again, the last first (usagelake close --reopen)", ErrTopUpGone,
				l.account, e.Credit.Date, e.Credit.Kind, e.Amount, l.currency.String, expires)
		}
	}
	from := p.frozenTo(l.account)
	nth := map[schemas.Date]int{}
	out := make([]*schemas.Credit, 0, len(topUps))
	for _, t := range topUps {
		if len(had) > 0 {
			if k := of(t); had[k] > 0 {
				had[k]--
				continue
			}
		}
		c := &schemas.Credit{TopUp: t, From: max(t.Date, from)}
		for c.ID == "" || ids[c.ID] {
			nth[t.Date]++
			c.ID = fmt.Sprintf("%s/%d", t.Date, nth[t.Date])
		}
		ids[c.ID] = true
		out = append(out, c)
	}
	return out, nil
}

// enter writes the new entries into temp.prepaid_now, from a book day on.
func (p *publisher) enter(d *Database, ledgers map[prepaidOf]*prepaid, from schemas.Date) error {
	books := p.finance.Books
	return d.fill("temp", "prepaid_now", func(add func(...driver.Value) error) error {
		for _, l := range ledgers {
			line, day := int32(0), schemas.Date(0)
			var month schemas.Month
			var period string
			for _, e := range l.after {
				if e.Day < from {
					continue
				}
				if line++; e.Day != day {
					line, day, month = 1, e.Day, books.Month(e.Day)
					period = books.Name(month)
				}
				var currency, credit, kind, date, expires, reference, source driver.Value
				if l.currency.Valid {
					currency = l.currency.String
				}
				if c := e.Credit; c != nil {
					credit, kind = c.ID, c.Kind
					if e.Kind == schemas.EntryTopUp {
						date, expires, reference, source = c.Date.Start(), dateValue(c.Expires), nullable(c.Reference), c.Source
					}
				}
				err := add(month.Start(), period, l.account, currency, e.Day.Start(), line, e.Kind, credit, kind,
					moneyValue(&e.Amount), date, expires, reference, source, nil)
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// drawnAndCharged begins a query of days: what the ledger has of each day's usage, and what is charged on it.
const drawnAndCharged = `
	WITH charges AS (
		SELECT c.account, c.currency, ` + chargedOn + ` AS day, sum(c.net_cost) AS amount FROM chargeback_daily c
		WHERE c.account IN (SELECT account FROM account_billing WHERE billing = 'prepaid') AND ` + notFrozen + `
		GROUP BY ALL
	), draws AS (
		SELECT account, currency, book_date AS day, sum(amount) FILTER (entry IN ('draw', 'overdrawn')) AS amount
		FROM prepaid_ledger WHERE closed_in IS NULL GROUP BY ALL
	), days AS (
		SELECT coalesce(d.account, c.account) AS account, coalesce(d.day, c.day) AS day, coalesce(d.amount, 0) AS drawn,
			coalesce(c.amount, 0) AS charged
		FROM charges c FULL JOIN draws d
			ON d.account = c.account AND d.day = c.day AND d.currency IS NOT DISTINCT FROM c.currency
	) `

// drawsAreCharges compares what the ledger has of each day's usage with what is charged on it, and the credits with
// what became of them, to the last digit.
func (d *Database) drawsAreCharges(ctx context.Context) error {
	var what sql.NullString
	err := d.conn.QueryRowContext(ctx, drawnAndCharged+`
		SELECT format('{} {}: drawn {}, charged {}', account, day, drawn, charged) FROM days WHERE drawn <> charged
		UNION ALL
		SELECT format('{} {}: {} is left', account, credit, sum(CASE entry WHEN 'top_up' THEN amount ELSE -amount END))
		FROM prepaid_ledger WHERE credit IS NOT NULL GROUP BY account, currency, credit
		HAVING sum(CASE entry WHEN 'top_up' THEN amount ELSE -amount END) < 0
		LIMIT 1`).Scan(&what)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", errInexact, what.String)
}

// writePrepaid keeps the entries of a month that is being closed, if accounts are prepaid.
func (d *Database) writePrepaid(ctx context.Context, dir string, month schemas.Month, m *Manifest) error {
	rows, err := d.conn.QueryContext(ctx, "SELECT account FROM account_billing WHERE billing = 'prepaid' ORDER BY 1")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account string
		if err := rows.Scan(&account); err != nil {
			return err
		}
		m.Prepaid = append(m.Prepaid, account)
	}
	if err := rows.Err(); err != nil || len(m.Prepaid) == 0 {
		return err
	}
	return d.copyParquet(ctx, fmt.Sprintf("SELECT * EXCLUDE (closed_in) FROM prepaid_ledger WHERE closed_in IS NULL AND "+
		"billing_month <= DATE '%s' ORDER BY ALL", month.First()),
		filepath.Join(dir, filepath.FromSlash(PrepaidFile)), "")
}

// prepaid compares the entries of a closed month with those that the published file has of it, row by row.
func (v *verifier) prepaid(ctx context.Context, c ClosedMonth, found func(path, format string, args ...any)) error {
	if !c.Has(PrepaidFile) {
		return nil
	}
	kept := fmt.Sprintf("(SELECT *, DATE '%s' AS closed_in FROM read_parquet(%s, hive_partitioning = false))",
		c.Month.First(), SqlGlob(filepath.Join(c.Dir, filepath.FromSlash(PrepaidFile))))
	published := fmt.Sprintf("(FROM prepaid_ledger WHERE closed_in = DATE '%s')", c.Month.First())
	var differ int64
	err := v.d.conn.QueryRowContext(ctx, strings.NewReplacer("KEPT", kept, "PUBLISHED", published).Replace(
		"SELECT count(*) FROM ((FROM KEPT EXCEPT ALL FROM PUBLISHED) UNION ALL (FROM PUBLISHED EXCEPT ALL FROM KEPT))")).
		Scan(&differ)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		found(PrepaidFile, "it can't be held against usage.duckdb: %s", err)
	case differ > 0:
		found(PrepaidFile, "usage.duckdb has other draws of the month: usagelake rebuild")
	}
	return nil
}
