package jobs

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/transform/allocate"
)

// ReadMetrics reads the files of metrics of the config.
func ReadMetrics(cfg *config.Config) ([]schemas.MetricLine, error) {
	books, err := cfg.ReadBooks()
	if err != nil {
		return nil, err
	}
	var out []schemas.MetricLine
	for _, name := range cfg.Metrics {
		b, err := ReadFinanceFile(name)
		if err != nil {
			return nil, config.Usage("", "read metrics: %w", err)
		}
		lines, err := ParseMetrics(filepath.Base(name), b, books)
		if err != nil {
			return nil, config.Usage("", "metrics %s: %w", name, err)
		}
		out = append(out, lines...)
	}
	if err := metricsOnce(out); err != nil {
		return nil, config.Usage("", "metrics: %w", err)
	}
	return out, nil
}

// ParseMetrics reads a file of what the company counted or earned: a table of metric, value, and period (2026-10) or
// date, the book day; and where they are known one of cost_center, team, project, environment, account and model,
// which it is for, and the currency of an amount. Other columns are passed over. Every mistake is reported, with its
// line.
func ParseMetrics(name string, b []byte, books *schemas.Books) ([]schemas.MetricLine, error) {
	columns := append([]string{"metric", "value", "period", "date", "currency"}, schemas.BudgetScopes()...)
	var lines []schemas.MetricLine
	err := allocate.ReadSheet(name, b, allocate.Ours(columns), func(columns map[string]int) []error {
		errs := allocate.Lacking(columns, "metric", "value")
		_, period := columns["period"]
		if _, date := columns["date"]; !period && !date {
			errs = append(errs, errors.New("give the column period (2026-10), or date"))
		}
		return errs
	}, func(r *allocate.Row) error {
		l, err := metricLine(r, books)
		l.Source = r.Source()
		lines = append(lines, l)
		return err
	})
	if err == nil {
		err = metricsOnce(lines)
	}
	return lines, err
}

func metricLine(r *allocate.Row, books *schemas.Books) (schemas.MetricLine, error) {
	l := schemas.MetricLine{Metric: r.Text("metric"), Currency: r.Text("currency")}
	var errs []error
	bad := func(column, format string, args ...any) { errs = append(errs, r.Wrong(column, format, args...)) }
	if l.Metric == "" {
		bad("metric", "metric: say what is counted, such as orders")
	}
	for _, scope := range schemas.BudgetScopes() {
		of := r.Text(scope)
		switch {
		case of == "":
		case l.Scope != "":
			bad(scope, "it is for the %s %s and the %s %s: give one of them", l.Scope, l.Of, scope, of)
		default:
			l.Scope, l.Of = scope, of
		}
	}
	switch {
	case r.Empty("period") == r.Empty("date"):
		bad("period", "give period or date: which month, or which day")
	case !r.Empty("date"):
		d, err := r.Date("date")
		if err != nil {
			bad("date", "date: %w", err)
		}
		l.Date, l.Month = &d, books.Month(d)
	default:
		period := r.Period("period")
		month, err := books.ParseMonth(period, time.Date(2026, 10, 15, 0, 0, 0, 0, time.UTC))
		if err == nil && (period == "this" || period == "last") {
			err = fmt.Errorf("%q is another month every month: write which", period)
		}
		if err != nil {
			bad("period", "period: %w", err)
		}
		l.Month = month
	}
	var err error
	if l.Value, err = allocate.Number(r, "value", schemas.ParseMoney); err != nil {
		bad("value", "value: %w", err)
	}
	if l.Currency != "" && !schemas.IsCurrency(l.Currency) {
		bad("currency", "currency %q is not an ISO 4217 code like USD; leave it empty for what is counted", l.Currency)
	}
	if l.Currency == "" && l.Value.Sign() < 0 {
		bad("value", "value: %s is less than 0; an amount may be, with its currency", l.Value)
	}
	return l, errors.Join(errs...)
}

// metricsOnce sees that nothing is counted twice: a day or a month stands once, and a month whole or by its days.
func metricsOnce(lines []schemas.MetricLine) error {
	type key struct {
		metric, scope, of string
		month             schemas.Month
	}
	days := map[key]map[schemas.Date]string{}
	whole, some, currency := map[key]string{}, map[key]string{}, map[string]schemas.MetricLine{}
	var errs []error
	for _, l := range lines {
		k := key{l.Metric, l.Scope, l.Of, l.Month}
		if first, ok := currency[l.Metric]; ok && first.Currency != l.Currency {
			errs = append(errs, fmt.Errorf("%s: %s is in %s, and in %s in %s: give a metric one currency, or none", l.Source,
				l.Metric, inCurrency(l.Currency), first.Source, inCurrency(first.Currency)))
		} else if !ok {
			currency[l.Metric] = l
		}
		if days[k] == nil {
			days[k] = map[schemas.Date]string{}
		}
		first := ""
		if l.Date == nil {
			first = whole[k] + some[k]
			whole[k] = l.Source
		} else {
			if first = whole[k]; first == "" {
				first = days[k][*l.Date]
			}
			days[k][*l.Date], some[k] = l.Source, l.Source
		}
		if first != "" {
			errs = append(errs, fmt.Errorf("%s: %s of the same month or day stands in %s already: it would count twice",
				l.Source, l.Metric, first))
		}
	}
	return errors.Join(errs...)
}

func inCurrency(code string) string {
	if code == "" {
		return "no currency"
	}
	return code
}
