package publish

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math/big"
	"reflect"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/schemas"
)

// ManifestMarkup is what a cost centre was charged in a closed month on top of its cost, in one currency; amounts have
// twelve decimals.
type ManifestMarkup struct {
	CostCenter    string  `json:"cost_center"`
	Currency      *string `json:"currency"`
	Requests      int64   `json:"requests"`
	Net           *string `json:"net_cost"`
	Percent       *string `json:"percent"`
	PercentMarkup string  `json:"percent_markup"`
	RequestMarkup string  `json:"request_markup"`
	PeriodFee     string  `json:"period_fee"`
	MinimumCharge string  `json:"minimum_charge"`
}

// fillMarkups fills the table of the mark-ups that the config has.
func (a *allocation) fillMarkups() error {
	return a.d.fill(Catalog, "markups", markupRows(a.finance.Markups))
}

// AppendMarkups fills the temporary table markups of a connection, which has the columns of the file's.
func AppendMarkups(c driver.Conn, markups []schemas.Markup) error {
	return appendRows(c, "temp", "markups", markupRows(markups))
}

// markupRows are the rows of the table markups.
func markupRows(markups []schemas.Markup) func(add func(...driver.Value) error) error {
	month := func(m *schemas.Month) driver.Value {
		if m == nil {
			return nil
		}
		return m.Start()
	}
	return func(add func(...driver.Value) error) error {
		for _, m := range markups {
			var percent driver.Value
			if m.Percent != nil { // which has no more than six decimals
				percent = duckdb.Decimal{Width: 9, Scale: 6, Value: big.NewInt(int64(*m.Percent) / 1_000_000)}
			}
			if err := add(nullable(m.CostCenter), percent, moneyValue(m.PerRequest), moneyValue(m.PerPeriod),
				moneyValue(m.Minimum), nullable(m.Currency), month(m.From), month(m.To)); err != nil {
				return err
			}
		}
		return nil
	}
}

// fillClosedMarkups fills what was charged on top in a closed month.
func (a *allocation) fillClosedMarkups(ctx context.Context, c ClosedMonth) error {
	for _, m := range c.Markups {
		// The amounts are text, which DuckDB reads exactly.
		if _, err := a.d.conn.ExecContext(ctx, "INSERT INTO closed_markups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			c.Month.Start(), m.CostCenter, textValue(m.Currency), m.Requests, textValue(m.Net), textValue(m.Percent),
			m.PercentMarkup, m.RequestMarkup, m.PeriodFee, m.MinimumCharge); err != nil {
			return fmt.Errorf("closed month %s: its mark-ups: %w", c.Month, err)
		}
	}
	return nil
}

// markups are what is charged on top in a month, as a manifest has it, of the view or of closed_markups.
func (d *Database) markups(ctx context.Context, from string, month schemas.Month) ([]ManifestMarkup, error) {
	rows, err := d.conn.QueryContext(ctx, fmt.Sprintf(`SELECT cost_center, currency, requests, net_cost::VARCHAR,
		percent::VARCHAR, percent_markup::VARCHAR, request_markup::VARCHAR, period_fee::VARCHAR, minimum_charge::VARCHAR
		FROM %s WHERE "month" = DATE '%s' ORDER BY cost_center, currency`, from, month.First()))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []ManifestMarkup
	for rows.Next() {
		var m ManifestMarkup
		if err := rows.Scan(&m.CostCenter, &m.Currency, &m.Requests, &m.Net, &m.Percent, &m.PercentMarkup, &m.RequestMarkup,
			&m.PeriodFee, &m.MinimumCharge); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, rows.Err()
}

// markupsHold says whether the published file has of a closed month what was charged on top in it.
func (d *Database) markupsHold(ctx context.Context, c ClosedMonth) (bool, error) {
	have, err := d.markups(ctx, "closed_markups", c.Month)
	return reflect.DeepEqual(have, c.Markups), err
}
