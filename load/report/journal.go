package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"

	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
)

// postings are what a document of the journal can be posted from.
type postings struct {
	entries  []posting.Entry
	settings posting.Settings
	open     []schemas.Month // those of its months that aren't closed, unless they are an accrual
}

// posted is the report journal: the lines of the entries that its months are posted with.
func (b *builder) posted(ctx context.Context) error {
	b.doc.Title = "Journal"
	if b.Accrual {
		b.doc.Title = "Accrual"
	}
	closed, err := b.ask(ctx, "closed", "", `SELECT "month" FROM closed_months WHERE `+within(b.period, `"month"`))
	if err != nil {
		return err
	}
	isClosed := map[schemas.Date]bool{}
	for _, row := range closed.Rows {
		d, err := schemas.ParseDate(row[0].Text)
		if err != nil {
			return err
		}
		isClosed[d] = true
	}
	journals, err := journals(ctx, b.books, b.ask, "whole_chargeback_journal", b.period)
	if err != nil {
		return err
	}
	b.doc.postings = &postings{settings: b.Posting}
	for _, j := range journals {
		month, _ := j.Period.Month()
		switch {
		case b.Accrual && isClosed[month.First()]:
			return &OptionsError{fmt.Sprintf("--accrual: %s is closed, and its journal final: leave --accrual out",
				j.Period.Name())}
		case !b.Accrual && !isClosed[month.First()] && !slices.Contains(b.doc.postings.open, month):
			b.doc.postings.open = append(b.doc.postings.open, month)
			b.warn("%s is not closed: what is posted of it may change. %s", j.Period.Name(), b.Voice.or("usagelake close "+
				"--month "+j.Period.Name()+" closes it, and --accrual makes an accrual of it.", "It is final when it is closed."))
		}
		entries, err := posting.Entries(j, b.Posting, b.Accrual)
		if err != nil {
			return err
		}
		b.doc.postings.entries = append(b.doc.postings.entries, entries...)
	}
	b.doc.Tables = append(b.doc.Tables, journalTable(b.doc.postings.entries))
	if len(b.doc.postings.entries) == 0 {
		b.warn("nothing is charged in this period")
	}
	if b.Accrual {
		b.note("An accrual is posted on the last day of its month, and taken back on the first day after it.")
		if b.Posting.PostingDate != posting.NextMonth {
			b.warn("once the month is closed, its charge is posted on the same day as the accrual (journal: posting_date: " +
				"month_end), and the month would have both: with next_month the charge meets the reversal")
		}
	}
	b.note("Posted is what is posted, in whole minor units of the currency; lines that come to less aren't posted. " +
		"Amount is what it is rounded from.")
	return nil
}

// journals are the journals of the months of a period, one a month and currency. relation is what chargeback_journal is
// called where all of it is seen.
//
// The cents of a line are those of the view. Where a line has corrections of closed months in it, it is parted by the
// month that is corrected, so that each names it: the parts sum to its cents.
func journals(ctx context.Context, books *schemas.Books,
	ask func(context.Context, string, string, string) (*Table, error), relation string, period schemas.Period) (
	[]posting.Journal, error) {
	lines, err := ask(ctx, "journal", "", `SELECT "month", currency, entry, gl_code, cost_center, amount, posted FROM `+
		relation+" WHERE "+months(period, `"month"`)+`
		ORDER BY "month", currency NULLS LAST, entry DESC, gl_code, cost_center`)
	if err != nil {
		return nil, err
	}
	// Parts of what is converted are each what all until there come to, in twelve decimals, less what came before: so they
	// sum to the line's.
	parts, err := ask(ctx, "corrections", "", `WITH p AS (
			SELECT billing_month AS "month", coalesce(book_currency, currency) AS currency,
				coalesce(gl_code, (SELECT default_gl_code FROM finance_settings)) AS gl_code, cost_center,
				CASE WHEN charge_class IS NOT NULL THEN month_of(book_date) END AS corrects,
				book_currency IS NOT NULL AS booked, sum(net_cost) AS own, book_sum(book_cost, net_cost) AS book
			FROM chargeback_daily WHERE `+months(period, "billing_month")+`
			GROUP BY ALL HAVING sum(net_cost) IS NOT NULL
		)
		SELECT "month", currency, gl_code, cost_center, corrects, CASE WHEN booked
			THEN (sum(book) OVER (w ROWS UNBOUNDED PRECEDING))::DECIMAL(38,12)
				- coalesce((sum(book) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))::DECIMAL(38,12), 0)
			ELSE own END AS amount
		FROM p WINDOW w AS (PARTITION BY "month", currency, gl_code, cost_center ORDER BY corrects NULLS FIRST)
		ORDER BY ALL NULLS FIRST`)
	if err != nil {
		return nil, err
	}
	charged, err := ask(ctx, "charged", "", `
		SELECT "month", book_currency, gl_code, cost_center, corrects,
			string_agg(own || ' ' || coalesce(currency, '?') || CASE WHEN low = high
				THEN ' at ' || rtrim(rtrim(low::VARCHAR, '0'), '.') ELSE '' END, ' and ' ORDER BY currency)
		FROM (
			SELECT billing_month AS "month", c.book_currency, c.currency,
				coalesce(gl_code, (SELECT default_gl_code FROM finance_settings)) AS gl_code, cost_center,
				CASE WHEN charge_class IS NOT NULL THEN month_of(c.book_date) END AS corrects,
				rtrim(rtrim(sum(net_cost)::VARCHAR, '0'), '.') AS own, min(r.rate) AS low, max(r.rate) AS high
			FROM chargeback_daily c LEFT JOIN book_rates r ON r.currency = c.currency AND r.book_date = c.book_date
			WHERE `+months(period, "billing_month")+` AND c.book_currency <> c.currency
			GROUP BY ALL HAVING sum(net_cost) IS NOT NULL
		) GROUP BY ALL`)
	if err != nil {
		return nil, err
	}
	// A line's key: NULL and the text "" are two.
	type key [4]query.Value
	of := map[key][][2]query.Value{} // what is corrected, and how much of the line that is
	type part struct {
		key
		corrects query.Value
	}
	from := map[part]string{} // what a part is converted from
	for _, row := range charged.Rows {
		from[part{key{row[0], row[1], row[2], row[3]}, row[4]}] = row[5].Text
	}
	for _, row := range parts.Rows {
		k := key{row[0], row[1], row[2], row[3]}
		of[k] = append(of[k], [2]query.Value{row[4], row[5]})
	}
	var out []posting.Journal
	for _, row := range lines.Rows {
		if row[6].Null {
			return nil, &posting.Error{Message: "what is charged can't be posted: a rate is missing",
				Hint: "FROM missing_rates says which; add it to the file that books.rates names"}
		}
		month, err1 := schemas.ParseDate(row[0].Text)
		exact, err2 := schemas.ParseMoney(row[5].Text)
		posted, err3 := schemas.ParseMoney(row[6].Text)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
		p, currency := books.Period(month.Month(), month.Month()), row[1].Text
		if n := len(out); n == 0 || out[n-1].Period != p || out[n-1].Currency != currency {
			out = append(out, posting.Journal{Period: p, Currency: currency})
		}
		j := &out[len(out)-1]
		if row[2].Text == "credit" {
			j.Credit, j.Credited = row[3].Text, posted
			continue
		}
		whole := posting.Debit{Account: row[3].Text, CostCenter: row[4].Text, Amount: posted, Exact: exact}
		k := key{row[0], row[1], row[3], row[4]}
		debits, err := parted(whole, currency, of[k])
		if err != nil {
			return nil, err
		}
		for i := range debits {
			debits[i].Charged = from[part{k, of[k][i][0]}]
		}
		j.Debits = append(j.Debits, debits...)
	}
	return out, nil
}

// JournalCSV writes the journal of a month, as it is published: of a cost centre the lines that debit it, of nil all.
func JournalCSV(ctx context.Context, lake *publish.Lake, month schemas.Month, costCenter *string, w io.Writer) error {
	where := ""
	if costCenter != nil {
		where = " AND entry = 'debit' AND cost_center = " + schemas.SQLString(*costCenter)
	}
	journal, err := answer(ctx, lake, fmt.Sprintf(`SELECT * FROM chargeback_journal WHERE "month" = DATE '%s'%s
		ORDER BY currency, entry DESC, gl_code, cost_center`, month.First(), where))
	if err != nil {
		return err
	}
	return (&Document{Tables: []*Table{journal}}).CSV(w)
}

// Entries are those that the journal of a month is posted with, as it is published. What can't be posted is a
// posting.Error.
func Entries(ctx context.Context, lake *publish.Lake, month schemas.Month, s posting.Settings) (
	[]posting.Entry, error) {
	snapshot, err := query.OpenSnapshot(ctx, lake)
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	books, err := snapshot.Books(ctx)
	if err != nil {
		return nil, err
	}
	all, err := journals(ctx, books, func(ctx context.Context, name, title, sql string) (*Table, error) {
		return ask(ctx, snapshot, name, title, sql)
	}, "chargeback_journal", books.Period(month, month))
	if err != nil {
		return nil, err
	}
	var entries []posting.Entry
	for _, j := range all {
		of, err := posting.Entries(j, s, false)
		if err != nil {
			return nil, err
		}
		entries = append(entries, of...)
	}
	return entries, nil
}

// Postings are the journal of a month, as it is published, in the forms that ledgers import, of posting.Names: what a
// close writes beside journal.csv. What can't be posted is a posting.Error.
func Postings(ctx context.Context, lake *publish.Lake, month schemas.Month, s posting.Settings, formats []string) (
	[]posting.File, error) {
	entries, err := Entries(ctx, lake, month, s)
	if err != nil {
		return nil, err
	}
	return posting.Write(entries, s, formats)
}

// parted is a debit by what it corrects. Its cents are parted by largest remainder: each part is rounded down, and
// those that lost most get a cent back, the earlier first, until they sum to the whole.
func parted(whole posting.Debit, currency string, parts [][2]query.Value) ([]posting.Debit, error) {
	if len(parts) == 1 && parts[0][0].Null {
		return []posting.Debit{whole}, nil
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(schemas.DecimalScale-schemas.MinorUnit(currency))), nil)
	out := make([]posting.Debit, len(parts))
	rests := make([]*big.Int, len(parts))
	left, exact := whole.Amount, schemas.Money{}
	for i, p := range parts {
		d := whole
		if !p[0].Null {
			month, err := schemas.ParseDate(p[0].Text)
			if err != nil {
				return nil, fmt.Errorf("journal: %w", err)
			}
			d.Corrects = month.Month()
		}
		var err error
		if d.Exact, err = schemas.ParseMoney(p[1].Text); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
		down, rest := new(big.Int).DivMod(d.Exact.Units(), unit, new(big.Int)) // DivMod rounds down, below 0 too
		d.Amount, rests[i] = schemas.MoneyOf(down.Mul(down, unit)), rest
		left, exact = left.Sub(d.Amount), exact.Add(d.Exact)
		out[i] = d
	}
	if exact.Cmp(whole.Exact) != 0 {
		return nil, fmt.Errorf("journal: %s of %s is charged, and its parts come to %s\nhint: usagelake verify",
			whole.Exact.String(), whole.CostCenter, exact.String())
	}
	order := make([]int, len(parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return rests[b].Cmp(rests[a]) })
	cent := schemas.MoneyOf(unit)
	for _, i := range order {
		if left.Sign() > 0 {
			out[i].Amount, left = out[i].Amount.Add(cent), left.Sub(cent)
		}
	}
	for _, i := range slices.Backward(order) { // twelve decimals may round a part up to a cent that it hasn't
		if left.Sign() < 0 {
			out[i].Amount, left = out[i].Amount.Sub(cent), left.Add(cent)
		}
	}
	if left.Sign() != 0 { // the view rounds a line to a cent below or above: no more than a cent a part can be left
		return nil, fmt.Errorf("journal: %s of %s can't be parted\nhint: usagelake verify", whole.Amount.String(),
			whole.CostCenter)
	}
	return out, nil
}

// journalTable are the lines of entries as a table.
func journalTable(entries []posting.Entry) *Table {
	t := &Table{Name: "journal", Title: "Journal", Basis: AsCharged}
	for _, name := range []string{"month", "posting_date", "document", "currency", "entry", "gl_code", "cost_center",
		"corrects", "amount", "posted", "id"} {
		t.Columns = append(t.Columns, describe(query.ResultColumn{Name: name}))
	}
	text := func(s string) query.Value { return query.Value{Text: s, Null: s == ""} }
	for _, e := range entries {
		for _, l := range e.Lines {
			side, corrects := "debit", ""
			if l.Credit {
				side = "credit"
			}
			if l.Corrects != 0 {
				corrects = l.Corrects.First().String()
			}
			t.Rows = append(t.Rows, []query.Value{text(e.Period.First.First().String()), text(e.Date.String()), text(e.Number),
				text(e.Currency), text(side), text(l.Account), {Text: l.CostCenter, Null: l.Credit}, text(corrects),
				text(l.Exact.String()), text(l.Amount.Posted()), text(l.ID)})
		}
	}
	return t
}

// Post writes the journal as a ledger imports it, in one of posting.Names. Of months that aren't closed there is
// nothing but an accrual to post: their figures may change. Errors in what was asked are an OptionsError, and what
// can't be posted a posting.Error.
func (d *Document) Post(format string) ([]posting.File, error) {
	f, ok := posting.Find(format)
	if !ok || d.postings == nil {
		return nil, &OptionsError{fmt.Sprintf("the report %s has no format %q", d.Name, format)}
	}
	if len(d.postings.open) > 0 {
		return nil, &posting.Error{Message: fmt.Sprintf("%s is not closed, and what is charged in it may change",
			d.postings.open[0]), Hint: fmt.Sprintf("usagelake close --month %s; or --accrual, for an accrual and its reversal",
			d.postings.open[0])}
	}
	return f.Write(d.postings.entries, d.postings.settings)
}
