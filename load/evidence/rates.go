package evidence

import (
	"context"
	"fmt"

	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
)

// converted is publish.ErrNoRate if something that is charged in an open month has no rate: nothing of it is posted.
func (w *writer) converted(ctx context.Context, month string) error {
	rows, err := query.Run(ctx, w.Lake, `SELECT r.lacks FROM chargeback_daily JOIN book_rates r USING (currency, book_date)
		WHERE billing_month = `+month+` AND net_cost IS NOT NULL AND book_cost IS NULL ORDER BY book_date LIMIT 1`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for row, err := range rows.All(ctx) {
		if err == nil {
			err = fmt.Errorf("%w: %s\nhint: add the rates to the file that books.rates names (FROM missing_rates lists them), "+
				"then usagelake allocation apply", publish.ErrNoRate, row[0].Text)
		}
		return err
	}
	return nil
}

// rates writes what the month is converted by: of a closed month what it and those before it keep, and else what was
// published. There is none where the books have no currency.
func (w *writer) rates(ctx context.Context) error {
	if w.Closed == nil {
		month := "DATE '" + w.Month.First().String() + "'"
		if err := w.converted(ctx, month); err != nil {
			return err
		}
		_, err := query.WriteParquet(ctx, w.Lake, `SELECT currency, book_date, rate, rate_date, mean_of, source
			FROM book_rates SEMI JOIN (FROM chargeback_daily WHERE billing_month = `+month+`) USING (currency, book_date)
			WHERE rate IS NOT NULL AND currency <> book_currency ORDER BY ALL`, w.path("rates.parquet"))
		return err
	}
	closed, err := w.Lake.Closed()
	if err != nil {
		return fmt.Errorf("rates: %w", err)
	}
	rates := []publish.ManifestRate{}
	for _, c := range closed { // none of them keeps a rate that one before it has
		if c.Month <= w.Month {
			rates = append(rates, c.Rates...)
		}
	}
	return w.rows(ctx, "rates", "{currency: 'VARCHAR', book_date: 'DATE', rate: 'DECIMAL(18,10)', rate_date: 'DATE', "+
		"mean_of: 'INTEGER', source: 'VARCHAR'}", rates)
}
