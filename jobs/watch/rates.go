package watch

import (
	"context"
	"fmt"
	"strconv"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas/words"
)

// rates finds currencies and periods of which something is charged that no rate is there for. It is over once the rate
// is published.
func (g *gatherer) rates(ctx context.Context, snap *query.Snapshot, r config.Rule) error {
	return each(ctx, snap, `SELECT period, currency, book_currency, days, first_day, last_day, lacks FROM missing_rates
		ORDER BY "month", currency`, func(v row) error {
		details := map[string]string{}
		for _, c := range []string{"period", "currency", "book_currency", "days", "first_day", "last_day", "lacks"} {
			details[c] = v.text(c)
		}
		days, err := strconv.Atoi(v.text("days"))
		if err != nil {
			return err
		}
		g.add(r, alert.Finding{Subject: v.text("currency") + " " + v.text("period"), Details: details,
			Summary: fmt.Sprintf("what is charged in %s in %s can't be converted into %s on %s from %s to %s: %s",
				v.text("currency"), v.text("period"), v.text("book_currency"), words.Plural(days, "day", "days"),
				v.text("first_day"), v.text("last_day"), v.text("lacks"))})
		return nil
	})
}
