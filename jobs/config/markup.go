package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// Markup is what a cost centre is charged on top of its cost, as the config has it.
type Markup struct {
	CostCenter string `yaml:"cost_center"` // "": each that has none by its name
	Percent    string `yaml:"percent"`     // of the net cost
	PerRequest string `yaml:"per_request"`
	PerPeriod  string `yaml:"per_period"`
	Minimum    string `yaml:"minimum"` // of cost and mark-up
	Currency   string `yaml:"currency"`
	From       string `yaml:"from"` // the first day of a period
	To         string `yaml:"to"`   // excluded
}

func (m Markup) name() string {
	if m.CostCenter == "" {
		return "of each other cost centre"
	}
	return m.CostCenter
}

// Parse checks and converts m, whose periods are those of the books; every mistake is reported.
func (m Markup) Parse(books *schemas.Books) (schemas.Markup, error) {
	out := schemas.Markup{CostCenter: m.CostCenter, Currency: m.Currency}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if m.CostCenter == schemas.Unallocated {
		bad("cost_center: nobody pays what is %s, so that it can't be marked up", schemas.Unallocated)
	}
	if m.Percent != "" {
		// With six decimals at the most a part of a cost is rounded once, at the last of its own twelve.
		p, err := schemas.ParseDecimal([]byte(m.Percent))
		if err != nil || p < 0 || p >= 1_000_000_000_000_000 || p%1_000_000 != 0 {
			bad("percent: %q is not a percentage like 5 or 2.5: from 0 to below 1000, with six decimals at the most", m.Percent)
		}
		out.Percent = &p
	}
	amounts := false
	for _, a := range []struct {
		key, text string
		to        **schemas.Money
	}{{"per_request", m.PerRequest, &out.PerRequest}, {"per_period", m.PerPeriod, &out.PerPeriod},
		{"minimum", m.Minimum, &out.Minimum}} {
		if a.text == "" {
			continue
		}
		amounts = true
		v, err := schemas.ParseMoney(a.text)
		if err != nil {
			bad("%s: %w", a.key, err)
		} else if v.Sign() < 0 {
			bad("%s: %s is less than 0", a.key, a.text)
		}
		*a.to = &v
	}
	switch {
	case amounts && !schemas.IsCurrency(m.Currency):
		bad("currency: %q is not an ISO 4217 code like USD, which the amounts are in", m.Currency)
	case !amounts && m.Percent == "":
		bad("it marks nothing up: give percent, per_request, per_period or minimum")
	case !amounts && m.Currency != "":
		bad("currency: a percentage has none: it is of the cost in each currency")
	}
	first := func(key, s string) *schemas.Month {
		if s == "" {
			return nil
		}
		d, err := schemas.ParseDate(s)
		if err != nil {
			bad("%s: %w", key, err)
			return nil
		}
		month := books.Month(d)
		if books.First(month) != d {
			bad("%s: %s is not the first day of a month", key, s)
		}
		return &month
	}
	out.From, out.To = first("from", m.From), first("to", m.To)
	if out.From != nil && out.To != nil && *out.From >= *out.To {
		bad("from %s is not before to %s", m.From, m.To)
	}
	return out, errors.Join(errs...)
}

// markups lists what is wrong with mark-ups, each by itself and beside the others.
func markups(list []Markup, books *schemas.Books) []error {
	var errs []error
	parsed := make([]*schemas.Markup, len(list)) // nil where it can't be
	for i, m := range list {
		path := fmt.Sprintf("markups[%d]", i)
		is, err := m.Parse(books)
		if err != nil {
			errs = append(errs, at(path, "%s (%s): %w", path, m.name(), err))
			continue
		}
		parsed[i] = &is
		for j, o := range parsed[:i] {
			if o != nil && o.CostCenter == is.CostCenter && during(*o, is) && during(is, *o) {
				errs = append(errs, at(path, "%s (%s): markups[%d] is of it, too, in the same months: end one with to "+
					"where the other begins with from", path, m.name(), j))
			}
		}
	}
	return errs
}

// during says whether a begins before b ends.
func during(a, b schemas.Markup) bool { return a.From == nil || b.To == nil || *a.From < *b.To }

// ParseMarkups converts the mark-ups of a config that was checked.
func ParseMarkups(list []Markup, books *schemas.Books) ([]schemas.Markup, error) {
	if errs := markups(list, books); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var out []schemas.Markup
	for _, m := range list {
		p, _ := m.Parse(books)
		out = append(out, p)
	}
	return out, nil
}

// ReadMarkups reads the mark-ups of a file that isn't the config, under markups: as there, with whatever else of a
// config stands beside it. centers are the cost centres that anything is known of, to tell a misspelt one; nil is
// nothing to hold them against. Every mistake is reported, with its line, as ErrUsage.
func ReadMarkups(path string, b []byte, books *schemas.Books, centers []string) ([]schemas.Markup, error) {
	var c Config
	more, err := c.decode(b, path)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, m := range c.unread {
		errs = append(errs, m)
	}
	for _, err := range markups(c.Markups, books) {
		if m := (mistake{}); !errors.As(err, &m) || judged(m.path, c.unread) {
			errs = append(errs, err)
		}
	}
	for i, m := range c.Markups {
		if m.CostCenter != "" && m.CostCenter != schemas.Unallocated && centers != nil &&
			!slices.Contains(centers, m.CostCenter) {
			path := fmt.Sprintf("markups[%d].cost_center", i)
			errs = append(errs, at(path, "%s: nothing was ever charged to %q, and no rule, name or budget has it%s", path,
				m.CostCenter, words.Nearest(m.CostCenter, centers)))
		}
	}
	if _, ok := c.lines["markups"]; !ok {
		errs = append(errs, at("", "it has no markups: write them as in the config, or markups: [] for none at all"))
	}
	if err := c.refused(errs); err != nil {
		return nil, err
	}
	if more {
		return nil, errMore(path)
	}
	return ParseMarkups(c.Markups, books)
}
