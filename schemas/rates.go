package schemas

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/usagelake/usagelake/schemas/words"
)

// What amounts are converted by into the currency of the books.
const (
	RateByDay     = "day"           // the rate of the book day, or the last one of at most RateDays before
	RateByAverage = "month_average" // the mean of the rates of the days of the period
	RateByEnd     = "month_end"     // the last rate of the period, at most RateDays before its end
)

// RateBys are those that there are.
func RateBys() []string { return []string{RateByDay, RateByAverage, RateByEnd} }

// RateScale is how many decimals a Rate has, and RateDays how many days a rate counts for after its own.
const (
	RateScale = 10
	RateDays  = 7
)

// Rate is how many units of one currency one unit of another is, in 10⁻¹⁰: more than 0, with at most 8 digits before
// the point. An amount of twelve decimals times a rate has 22, and none is ever cut off.
type Rate int64

// ParseRate reads a rate from its digits.
func ParseRate(s string) (Rate, error) {
	whole, decimals, point := strings.Cut(s, ".")
	switch {
	case !areDigits(whole, 8) || point && !areDigits(decimals, 38):
		return 0, fmt.Errorf("the rate %q is not a number like 0.9231 (above 0, at most 8 digits before the point)", s)
	case len(decimals) > RateScale:
		return 0, fmt.Errorf("the rate %s has %d decimals: write at most %d", s, len(decimals), RateScale)
	}
	v, err := strconv.ParseInt(whole+decimals+"0000000000"[len(decimals):], 10, 64)
	if err == nil && v == 0 {
		err = fmt.Errorf("the rate %q is 0, which makes every amount nothing", s)
	}
	return Rate(v), err
}

// String is the rate without trailing zeros.
func (r Rate) String() string {
	return strings.TrimSuffix(strings.TrimRight(decimalText(big.NewInt(int64(r)), RateScale), "0"), ".")
}

// RateLine is a line of a file of rates: one unit of From is Rate units of To.
type RateLine struct {
	Date     Date
	From, To string
	Rate     Rate
	Source   string // who says so, in the file's words
	Line     string // file and line, for errors
}

// Rates convert amounts into the currency of the books. They don't change once they are made.
type Rates struct {
	currency, by string
	lines        []RateLine
	into         map[string][]RateLine // into the currency of the books, by currency and in order of their dates
	inverse      map[string]bool       // currencies that the books' own has rates into
}

// MakeRates checks a file's lines. by is one of RateBys; "" is RateByDay. No currency makes none: nil.
func MakeRates(currency, by string, lines []RateLine) (*Rates, error) {
	var errs []error
	by = cmp.Or(by, RateByDay)
	switch {
	case currency == "" && (len(lines) > 0 || by != RateByDay):
		return nil, errors.New("currency: name the one that the rates are to convert into, such as EUR")
	case currency == "":
		return nil, nil
	case !IsCurrency(currency):
		errs = append(errs, fmt.Errorf("currency: %q is not an ISO 4217 code like EUR", currency))
	}
	if !slices.Contains(RateBys(), by) {
		errs = append(errs, fmt.Errorf("rate_by: %q is none of %s%s", by, strings.Join(RateBys(), ", "),
			words.Nearest(by, RateBys())))
	}
	r := &Rates{currency: currency, by: by, lines: lines, into: map[string][]RateLine{}, inverse: map[string]bool{}}
	type pair struct {
		date     Date
		from, to string
	}
	seen := map[pair]string{}
	for _, l := range lines {
		p := pair{l.Date, l.From, l.To}
		if first, twice := seen[p]; twice {
			errs = append(errs, fmt.Errorf("%s: %s to %s on %s stands in %s already: leave one of them", l.Line, l.From, l.To,
				l.Date, first))
			continue
		}
		seen[p] = l.Line
		switch currency {
		case l.To:
			r.into[l.From] = append(r.into[l.From], l)
		case l.From:
			r.inverse[l.To] = true
		}
	}
	for _, own := range r.into {
		slices.SortFunc(own, func(a, b RateLine) int { return cmp.Compare(a.Date, b.Date) })
	}
	return r, errors.Join(errs...)
}

// Currency is that of the books; "" if they have none.
func (r *Rates) Currency() string {
	if r == nil {
		return ""
	}
	return r.currency
}

// By is one of RateBys.
func (r *Rates) By() string { return r.by }

// Lines are how many lines of the file convert into the currency of the books, and how many don't.
func (r *Rates) Lines() (used, others int) {
	for _, own := range r.into {
		used += len(own)
	}
	return used, len(r.lines) - used
}

// Digestible is all that they say of any day, for a digest.
func (r *Rates) Digestible() any {
	if r == nil {
		return nil
	}
	return []any{r.currency, r.by, r.lines}
}

// BookRate is what an amount of a currency and a book day is converted by. The zero value is a rate that is missing.
type BookRate struct {
	Rate   Rate   // 0: there is none, and Lacks says why
	Date   *Date  // the day that the rate was written for; nil of a mean, and of the books' own currency
	Of     int    // how many rates it is the mean of; 0 if it is none
	Source string // who says so; "" if the file doesn't
	// Final says that a rate that is yet to be written for a later day doesn't change it.
	Final bool
	Lacks string
}

// one is the rate of the books' own currency.
const one = Rate(10_000_000_000)

// On is the rate for amounts of a currency on a book day.
func (r *Rates) On(books *Books, currency string, day Date) BookRate {
	if currency == r.currency {
		return BookRate{Rate: one, Final: true}
	}
	own := r.into[currency]
	pair := currency + " to " + r.currency
	switch {
	case len(own) == 0 && r.inverse[currency]:
		return BookRate{Lacks: fmt.Sprintf("no rate of %s: the file has %s to %s, and an inverse is not exact: write %[1]s",
			pair, r.currency, currency)}
	case len(own) == 0:
		return BookRate{Lacks: "no rate of " + pair}
	}
	// until is how many of the lines are of a day or one before.
	until := func(d Date) int {
		n, _ := slices.BinarySearchFunc(own, d+1, func(l RateLine, d Date) int { return cmp.Compare(l.Date, d) })
		return n
	}
	latest := own[len(own)-1].Date
	month := books.Month(day)
	first, last := books.First(month), books.End(month)-1
	switch r.by {
	case RateByAverage:
		lines := own[until(first-1):until(last)]
		if len(lines) == 0 {
			return BookRate{Lacks: fmt.Sprintf("no rate of %s from %s to %s", pair, first, last)}
		}
		out := BookRate{Rate: mean(lines), Of: len(lines), Final: latest >= last}
		var sources []string
		for _, l := range lines {
			if l.Source != "" && !slices.Contains(sources, l.Source) {
				sources = append(sources, l.Source)
			}
		}
		out.Source = strings.Join(sources, ", ")
		return out
	case RateByEnd:
		// While the file doesn't go to the end of the period, the last one that it has stands for it, of the period at least.
		day = last
		if latest < last {
			day = max(latest, first)
		}
		last = min(last, day)
	default:
		last = day
	}
	n := until(last)
	if n == 0 || own[n-1].Date < last-RateDays {
		return BookRate{Lacks: fmt.Sprintf("no rate of %s on %s or in the %d days before", pair, last, RateDays)}
	}
	l := own[n-1]
	if r.by == RateByEnd {
		last = books.End(month) - 1
	}
	return BookRate{Rate: l.Rate, Date: &l.Date, Source: l.Source, Final: latest >= last}
}

// mean is that of some rates, rounded half to even: the rounded figure is the rate.
func mean(lines []RateLine) Rate {
	sum, n := new(big.Int), big.NewInt(int64(len(lines)))
	for _, l := range lines {
		sum.Add(sum, big.NewInt(int64(l.Rate)))
	}
	q, rest := sum.QuoRem(sum, n, new(big.Int))
	switch rest.Lsh(rest, 1).Cmp(n) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, big.NewInt(int64(q.Bit(0))))
	}
	return Rate(q.Int64())
}
