package publish

import (
	"cmp"
	"database/sql/driver"
)

// fillMetrics fills the table of what the files of metrics say.
func (a *allocation) fillMetrics() error {
	return a.d.fill(Catalog, "metric_lines", func(add func(...driver.Value) error) error {
		for _, l := range a.finance.Metrics {
			if err := add(l.Metric, l.Month.Start(), dateValue(l.Date), cmp.Or(l.Scope, "all"), nullable(l.Of),
				moneyValue(&l.Value), nullable(l.Currency), l.Source); err != nil {
				return err
			}
		}
		return nil
	})
}
