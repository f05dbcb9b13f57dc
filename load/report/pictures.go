package report

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/query"
)

// most series that a stack tells apart; what is beyond them is one.
const maxSeries = 6

// pictures draws those of a chargeback, in the currency that most is spent in.
func (b *builder) pictures(ctx context.Context) error {
	t, err := b.ask(ctx, "currency", "",
		"SELECT currency FROM chargeback_daily GROUP BY ALL ORDER BY sum(net_cost) DESC NULLS LAST, currency LIMIT 1")
	if err != nil || len(t.Rows) == 0 {
		return err
	}
	// One that isn't known is NULL, which is a currency like others here.
	currency := t.Rows[0][0]
	for _, x := range []struct{ title, column string }{{"Net cost a day, by cost centre", "cost_center"},
		{"Net cost a day, by model", "model"}} {
		if err := b.stackedPicture(ctx, x.title, x.column, currency); err != nil {
			return err
		}
	}
	forecast := "forecast, forecast_low, forecast_high, "
	if b.closed {
		forecast = ""
	}
	budgets, err := b.ask(ctx, "budgets", "Budgets",
		fmt.Sprintf(`SELECT budget, currency, amount AS budget_amount, spent, left_over, used_share, `+forecast+`status
			FROM whole_budget_status WHERE period_start < DATE '%s' AND period_end > DATE '%s' AND (budget, "scope",
			scope_value) IN (SELECT (budget, "scope", scope_value) FROM budgets) ORDER BY period_start, used_share DESC, budget`,
			b.period.To, b.period.From))
	if err != nil {
		return err
	}
	if err := b.budgetPicture(budgets); err != nil {
		return err
	}
	if month, ok := b.period.Month(); ok && month == b.current && !b.closed {
		if err := b.outlookPicture(ctx); err != nil {
			return err
		}
	}
	for _, draw := range []func(context.Context, query.Value) error{b.moversPicture, b.heatPicture, b.calendarPicture} {
		if err := draw(ctx, currency); err != nil {
			return err
		}
	}
	return nil
}

// What a picture has room for.
const (
	maxDays     = 400
	maxAccounts = 40
)

// allDays are the days of the period that the data reaches, maxDays of them at the most.
func (b *builder) allDays() []string {
	from, to := b.period.From, b.period.To
	// asOf is excluded: at midnight the day before is the last. A day is shown in any case, so that a picture isn't empty.
	if last := b.books.Day(b.asOf.Add(-time.Second)) + 1; to > last {
		to = max(last, from+1)
	}
	var out []string
	for d := from; d < to && len(out) < maxDays; d++ {
		out = append(out, d.String())
	}
	return out
}

// stackedPicture draws what was spent each day by the values of a column. Corrections are left out: they would stand on
// days of other months.
func (b *builder) stackedPicture(ctx context.Context, title, column string, currency query.Value) error {
	t, err := b.ask(ctx, column, title,
		fmt.Sprintf(`SELECT book_date, %[1]s, sum(net_cost) AS net_cost FROM chargeback_daily
			WHERE charge_class IS NULL AND currency IS NOT DISTINCT FROM %[2]s GROUP BY ALL ORDER BY ALL`,
			column, literal(currency)))
	if err != nil || len(t.Rows) == 0 {
		return err
	}
	days := b.allDays()
	sums := map[query.Value]float64{}
	for _, row := range t.Rows {
		sums[row[1]] += float(row[2])
	}
	var parts []query.Value
	for name := range sums {
		parts = append(parts, name)
	}
	// The largest first, and of equal ones by name: a map's order must not reach the page.
	slices.SortFunc(parts, func(x, y query.Value) int {
		if sums[x] != sums[y] {
			if sums[x] > sums[y] {
				return -1
			}
			return 1
		}
		return strings.Compare(x.Text, y.Text)
	})
	// Of each part the series that it is in.
	place := map[query.Value]int{}
	var stack []series
	for i, name := range parts {
		// The largest have a series each. All that are smaller share the last; where that would be one part alone it has its
		// own.
		if i < maxSeries || len(parts) == maxSeries+1 {
			stack = append(stack, series{b.called.label(column, show(t.Columns[1], name, "")), make([]float64, len(days))})
		} else if i == maxSeries {
			stack = append(stack, series{fmt.Sprintf("%d others", len(parts)-maxSeries), make([]float64, len(days))})
		}
		place[name] = min(i, len(stack)-1)
	}
	stacks := exact{}
	for _, row := range t.Rows {
		// Days beyond those that the picture has are left out of it, and not of the sums that order the parts.
		if d := slices.Index(days, row[0].Text); d >= 0 {
			stack[place[row[1]]].values[d] += float(row[2])
			stacks.add(d, place[row[1]], row[2])
		}
	}
	var named []string
	for _, s := range stack {
		named = append(named, s.name)
	}
	var about, drawn []string // of what it shows, and of how: a workbook's own charts have no sums beside the names
	if !currency.Null {
		about = append(about, "Before corrections of earlier months.")
		drawn = append(drawn, "Numbers beside the names are sums over the period.")
	}
	if len(days) == maxDays {
		ends := fmt.Sprintf("The picture ends after %d days, the table doesn't.", maxDays)
		about, drawn = append(about, ends), append(drawn, ends)
	}
	plot := newPlot(stackedColumns, currency.Text, dayColumn, days, Money, named, stacks).of(strings.Join(about, " "))
	caption := strings.Join(slices.Concat(about[:min(1, len(about))], drawn), " ")
	b.doc.Pictures = append(b.doc.Pictures, Picture{title, caption, stacked{days, stack, currency.Text}, t, plot})
	return nil
}

// budgetPicture draws the budgets of a table that has their columns. Of a month that is closed there is no forecast in
// either.
func (b *builder) budgetPicture(t *Table) error {
	var items []budgetItem
	series, along, shares := []string{"Spent", "Forecast"}, []string{}, exact{}
	if b.closed {
		series = series[:1]
	}
	for i, row := range t.Rows {
		along = append(along, t.value(row, "budget").Text)
		shares.share(i, 0, t.value(row, "spent"), t.value(row, "budget_amount"))
		if !b.closed {
			shares.share(i, 1, t.value(row, "forecast"), t.value(row, "budget_amount"))
		}
		v := func(name string) float64 { return float(t.value(row, name)) }
		items = append(items, budgetItem{name: t.value(row, "budget").Text, spent: v("spent"), amount: v("budget_amount"),
			forecast: v("forecast"), low: v("forecast_low"), high: v("forecast_high"),
			ranged: !t.value(row, "forecast_low").Null, text: show(Column{Kind: Share}, t.value(row, "used_share"), "") + " · " +
				t.value(row, "status").Text})
	}
	if len(items) > 0 {
		plot := newPlot(sideBars, "", Column{Title: "Budget"}, along, Share, series, shares).of("As shares of each budget.")
		b.doc.Pictures = append(b.doc.Pictures, Picture{"Budgets", "", budgetBars{items, b.closed}, t, plot})
	}
	return nil
}

// outlookPicture draws the running month in the currency with the largest forecast.
func (b *builder) outlookPicture(ctx context.Context) error {
	f, err := b.ask(ctx, "outlook", "",
		`SELECT currency, forecast, forecast_low, forecast_high FROM forecast_month_end WHERE "scope" = 'all'
			ORDER BY forecast DESC NULLS LAST, currency LIMIT 1`)
	if err != nil || len(f.Rows) == 0 {
		return err
	}
	row := f.Rows[0]
	t, err := b.ask(ctx, "outlook", "Cost added up by day",
		fmt.Sprintf(`SELECT book_date, sum(net_cost) AS net_cost FROM chargeback_daily
			WHERE billing_month = DATE '%s' AND charge_class IS NULL AND currency IS NOT DISTINCT FROM %s GROUP BY ALL
			ORDER BY ALL`, b.current.First(), literal(row[0])))
	if err != nil {
		return err
	}
	o := outlook{forecast: float(row[1]), low: float(row[2]), high: float(row[3]), ranged: !row[2].Null, unit: row[0].Text}
	for d := range b.books.Period(b.current, b.current).Days() {
		o.days = append(o.days, d.String())
	}
	sum, sums := 0.0, exact{}
	for i, day := range o.days {
		// The day that is running isn't whole: the forecast has it. Texts of this form are in the order of the days.
		if day >= b.books.Day(b.asOf).String() {
			break
		}
		if i > 0 {
			sums.add(i, 0, sums.value(i-1, 0))
		}
		for _, r := range t.Rows {
			if r[0].Text == day {
				sum += float(r[1])
				sums.add(i, 0, r[1])
			}
		}
		o.actual = append(o.actual, sum)
	}
	series := []string{"So far", "Forecast", "High", "Low"}
	if row[2].Null {
		series = series[:2]
	}
	for i, end := range []query.Value{row[1], row[3], row[2]}[:len(series)-1] { // from what is there straight to the end
		if n := len(o.actual); n > 0 && n < len(o.days) {
			sums.add(n-1, i+1, sums.value(n-1, 0))
			sums.add(len(o.days)-1, i+1, end)
		}
	}
	b.doc.Pictures = append(b.doc.Pictures, Picture{"What the month will come to",
		"What isn't there yet at the mean of each account's last 28 whole days; 8 of 10 outcomes lie in the band, if days " +
			"scatter as those did.", o, t, newPlot(lines, o.unit, dayColumn, o.days, Money, series, sums)})
	return nil
}

// moversPicture draws the ten cost centres whose cost differs most from the month before, either way; none of a period
// that isn't a month.
func (b *builder) moversPicture(ctx context.Context, currency query.Value) error {
	month, ok := b.period.Month()
	if !ok {
		return nil
	}
	t, err := b.ask(ctx, "movers", "Cost centres against the month before", fmt.Sprintf(`
		SELECT cost_center, currency, coalesce(sum(net_cost) FILTER (side = 'before'), 0) AS net_before,
		coalesce(sum(net_cost) FILTER (side = 'now'), 0) AS net_now,
			coalesce(sum(net_cost) FILTER (side = 'now'), 0) - coalesce(sum(net_cost) FILTER (side = 'before'), 0) AS change,
			any_value(basis) AS compared
		FROM chargeback_ever JOIN (FROM comparable_days JOIN comparison_basis USING ("month")
		WHERE "month" = DATE '%s') USING (account, book_date)
		WHERE charge_class IS NULL AND currency IS NOT DISTINCT FROM %s GROUP BY cost_center,
			currency ORDER BY abs(change) DESC, cost_center LIMIT 10`, month.First(), literal(currency)))
	if err != nil || len(t.Rows) == 0 {
		return err
	}
	c := bars{unit: currency.Text}
	along, sums := []string{}, exact{}
	for i, row := range t.Rows {
		along = append(along, b.called.label("cost_center", row[0].Text))
		if float(row[4]) < 0 {
			sums.add(i, 1, row[4])
		} else {
			sums.add(i, 0, row[4])
		}
		c.items = append(c.items, barItem{b.called.label("cost_center", row[0].Text), float(row[4]),
			signed(show(Column{Kind: Money}, row[4], currency.Text))})
	}
	caption := "Net cost less that of the month before, by cost centre, corrections apart. Of like with like: " +
		t.value(t.Rows[0], "compared").Text + "."
	b.doc.Pictures = append(b.doc.Pictures, Picture{"Top movers", caption, c, t,
		newPlot(movedBars, c.unit, Column{Title: "Cost centre"}, along, Money, []string{moreTitle, lessTitle}, sums)})
	return nil
}

// heatPicture draws when in the week is spent. It asks the records, and so leaves out shares of pools, and summary
// records, which have no hour.
func (b *builder) heatPicture(ctx context.Context, currency query.Value) error {
	t, err := b.ask(ctx, "hours", "Net cost by weekday and hour",
		// Hours since 1970, which began on a Thursday: to look up the calendar for each record takes ten times as long.
		fmt.Sprintf(`SELECT (since // 24 + 3) %% 7 + 1 AS weekday, since %% 24 AS "hour", sum(requests)::BIGINT AS requests,
			sum(net_cost) AS net_cost FROM (SELECT epoch_us(request_time) // 3600000000 AS since, count(*) AS requests,
			sum(amount) AS net_cost FROM usage WHERE currency IS NOT DISTINCT FROM %s AND record_kind = 'request' GROUP BY ALL)
			GROUP BY ALL ORDER BY ALL`, literal(currency)))
	if err != nil || len(t.Rows) == 0 {
		return err
	}
	t.Columns[0].Title, t.Columns[0].Kind = "Weekday (1 is Monday)", Count
	t.Columns[1].Title, t.Columns[1].Kind = "Hour", Count
	c := heat{unit: currency.Text + " in each hour of the week, UTC, over the period"}
	sums := exact{}
	for _, row := range t.Rows {
		day, hour := int(float(row[0])), int(float(row[1]))
		if day >= 1 && day <= 7 && hour >= 0 && hour < 24 {
			// Days are counted from Monday, 1; what lies outside is of no hour that a week has.
			c.values[day-1][hour] += float(row[3])
			sums.add(day-1, hour, row[3])
		}
	}
	caption := ""
	if b.closed {
		caption = "Usage as it is now, whatever was charged for it."
	}
	b.doc.Pictures = append(b.doc.Pictures, Picture{"When it is used", caption, c, t,
		newPlot(field, currency.Text, Column{Title: "Weekday, hours UTC"}, weekdays, Money, hours, sums)})
	return nil
}

// calendarPicture draws which days are covered; one without a row isn't at all.
func (b *builder) calendarPicture(ctx context.Context, _ query.Value) error {
	t, err := b.ask(ctx, "coverage", "Coverage by day",
		`SELECT account, book_date, (sum(covered_seconds) / 3600.0)::DECIMAL(18,4) AS covered_hours,
			sum(covered_seconds) = book_day_starts(book_date + 1) - book_day_starts(book_date) AS whole
			FROM coverage_daily WHERE `+within(b.period, "book_date")+` GROUP BY account, book_date ORDER BY ALL`)
	if err != nil {
		return err
	}
	days := b.allDays()
	var rows []calendarRow
	at, sums, along := map[string]int{}, exact{}, []string{}
	for _, row := range t.Rows {
		i, ok := at[row[0].Text]
		if !ok {
			i = len(rows)
			at[row[0].Text] = i
			along = append(along, b.called.label("account", row[0].Text))
			rows = append(rows, calendarRow{b.called.label("account", row[0].Text), []byte(strings.Repeat("n", len(days)))})
		}
		if d := slices.Index(days, row[1].Text); d >= 0 {
			sums.add(i, d, row[2])
			// An account's days are all 'n' until one is found.
			rows[i].state[d] = 'p'
			if row[3].Text == "true" {
				rows[i].state[d] = 'f'
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	caption := "Which days these figures are made of."
	if len(rows) > maxAccounts {
		caption += fmt.Sprintf(" The picture has %d of %d accounts, the table all.", maxAccounts, len(rows))
		rows = rows[:maxAccounts]
	}
	b.doc.Pictures = append(b.doc.Pictures, Picture{"Coverage", caption, calendar{days, rows}, t,
		newPlot(field, "", Column{Title: "Hours covered"}, along, Quantity, days, sums)})
	return nil
}
