package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/usagelake/usagelake/schemas"
)

// Allocator says who pays for what: the allocation rules, as publishing needs them.
type Allocator interface {
	// Digest is that of the rules, with everything they look up.
	Digest() string
	// Fields are those of a key that the rules look at, as schemas.Field has them. The account is always one.
	Fields() []string
	// Boundaries are the days at which the validity of some rule begins or ends, in order.
	Boundaries() []schemas.Date
	// Assign is what the rules say of the key on a book day. Fields that the rules don't look at may be nil.
	Assign(schemas.AllocationKey, schemas.Date) schemas.Assignment
	List() []schemas.AllocationRule
	Pools() []schemas.SharedPool
	// Split parts the costs of the shared pools in a period. The shares of each cost sum to it.
	Split(costs []schemas.PoolCost, direct []schemas.DirectCost) ([]schemas.PoolShare, error)
}

// Finance is what goes into the published file beside usage: who pays for it, and what it is held against. The zero
// value allocates nothing.
type Finance struct {
	Rules Allocator // nil: none
	// Archived reads the rules that a month was closed with, from the files that were kept.
	Archived func([]RuleFile) (Allocator, error)
	// Accounts are those of the config: what is to be there. If none of them is in the lake, the config is of another lake
	// or none, and every account of the lake is.
	Accounts []string
	// Books are the calendar that it is charged by; nil is UTC's calendar months.
	Books *schemas.Books
	// Rates convert it into the currency of the books; nil: they have none.
	Rates    *schemas.Rates
	Budgets  []schemas.Budget
	Markups  []schemas.Markup
	Metrics  []schemas.MetricLine
	Invoices []schemas.InvoiceLine
	Names    []schemas.Name
	// TopUps are what was added to the accounts' balances; with TopUpsGiven they are all that was.
	TopUps      []schemas.TopUp
	TopUpsGiven bool
	// Billing says how each account is billed; one that isn't there is postpaid.
	Billing []schemas.Billing
	// Draw goes on with the ledger of a prepaid account in a currency: it draws in an order on the credits that the
	// entries before left and on top-ups, for usage by days, from a day on and up to another, and gives the entries that
	// this makes. Needed where an account is prepaid.
	Draw func(order string, before []schemas.CreditEntry, topUps []*schemas.Credit, usage []schemas.DayUsage,
		from, until schemas.Date) ([]schemas.CreditEntry, error)
	// The general ledger's codes of the journal: what is debited where no rule assigned one, and what is credited.
	// "" is DefaultGLCode and DefaultCreditGLCode.
	GLCode       string
	CreditGLCode string
}

// What the journal says where the config names no codes of the general ledger.
const (
	DefaultGLCode       = "(no GL code)"
	DefaultCreditGLCode = "(clearing)"
)

// noRules allocates nothing.
type noRules struct{}

func (noRules) Digest() string                 { return "none" }
func (noRules) Fields() []string               { return nil }
func (noRules) Boundaries() []schemas.Date     { return nil }
func (noRules) List() []schemas.AllocationRule { return nil }
func (noRules) Pools() []schemas.SharedPool    { return nil }
func (noRules) Assign(schemas.AllocationKey, schemas.Date) schemas.Assignment {
	return schemas.Assignment{}
}
func (noRules) Split([]schemas.PoolCost, []schemas.DirectCost) ([]schemas.PoolShare, error) {
	return nil, nil
}

// financeVersion changes when the same rules and the same usage would give other rows.
const financeVersion = 4

// ErrOtherBooks says that months were closed by another calendar than the one that is to be charged by.
var ErrOtherBooks = errors.New("the calendar of the books can't change while months are closed by it")

// finance is the allocation of one publish: the rules by month, for a closed month keeps those it was closed with.
// It doesn't change once loadFinance has made it. rules has an entry for each of closed, and closed is in order of
// month.
type finance struct {
	Finance
	current ruleset
	closed  []ClosedMonth
	rules   map[schemas.Month]ruleset // of the closed months
	rates   *bookRates                // those of closed months among them
	digest  string                    // of all that the finance tables are derived from, besides usage and rates
	ratesAt string                    // the digest of the rates, which charges alone are derived from
}

// ruleset is an Allocator by its short name.
type ruleset struct {
	Allocator
	name string
}

func newRuleset(a Allocator) ruleset {
	if a == nil {
		a = noRules{}
	}
	digest := a.Digest()
	return ruleset{a, digest[:min(12, len(digest))]}
}

// loadFinance reads the closed months and their rules.
func (l *Lake) loadFinance(f Finance) (*finance, error) {
	closed, err := l.Closed()
	if err != nil {
		return nil, err
	}
	out := &finance{Finance: f, current: newRuleset(f.Rules), closed: closed, rules: map[schemas.Month]ruleset{}}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d\n%s\n", financeVersion, out.current.Digest())
	if err := json.NewEncoder(sum).Encode([]any{slices.Sorted(slices.Values(f.Accounts)), f.Budgets, f.Markups, f.Metrics,
		f.Invoices, f.Names, f.TopUps, f.TopUpsGiven, f.Billing, f.GLCode, f.CreditGLCode, f.Books.Text(),
		f.Rates.Currency()}); err != nil {
		return nil, err
	}
	read := map[string]ruleset{}
	for _, c := range closed {
		if !c.books.Same(f.Books, c.Month) {
			return nil, fmt.Errorf("%w: %s was closed by %s, and the config has %s\nhint: write books as they were; or open "+
				"the closed months again, the last first (usagelake close --reopen), and close them by the new books",
				ErrOtherBooks, c.Name(), c.books, f.Books)
		}
		// A month that is closed or opened changes this digest, and so everything is allocated anew: that is how a publish
		// after a crash between closing and publishing finds out.
		fmt.Fprintln(sum, c.Digest)
		r, ok := read[c.Rules.Digest]
		switch {
		case ok:
		case len(c.Rules.Files) == 0:
			r = newRuleset(nil)
		// The same rules need not be read again from the files that were kept.
		case c.Rules.Digest == out.current.Digest():
			r = out.current
		case f.Archived == nil:
			return nil, fmt.Errorf("closed month %s: nobody to read its allocation rules", c.Month)
		default:
			files, err := l.ClosedRules(c)
			if err != nil {
				return nil, err
			}
			a, err := f.Archived(files)
			if err != nil {
				return nil, fmt.Errorf("closed month %s: read its allocation rules: %w", c.Month, err)
			}
			r = newRuleset(a)
		}
		read[c.Rules.Digest] = r
		out.rules[c.Month] = r
	}
	out.digest = hex.EncodeToString(sum.Sum(nil))
	if out.rates, err = newBookRates(f.Rates, f.Books, closed); err != nil {
		return nil, err
	}
	out.ratesAt, err = out.rates.digest()
	return out, err
}

// at is the rules for a book day.
func (f *finance) at(day schemas.Date) ruleset {
	if r, ok := f.rules[f.Books.Month(day)]; ok {
		return r
	}
	return f.current
}

// all lists each ruleset once, the current one first.
func (f *finance) all() []ruleset {
	out := []ruleset{f.current}
	for _, c := range f.closed {
		r := f.rules[c.Month]
		if !slices.ContainsFunc(out, func(o ruleset) bool { return o.name == r.name }) {
			out = append(out, r)
		}
	}
	return out
}

// fields are those that any of the rules looks at, in the order of the table allocation_keys.
func (f *finance) fields() []string {
	used := map[string]bool{}
	for _, r := range f.all() {
		for _, field := range r.Fields() {
			used[field] = true
		}
	}
	var out []string
	for _, field := range KeyFields {
		if used[field] {
			out = append(out, field)
		}
	}
	return out
}

// KeyFields are the columns of allocation_keys, which rules may look at.
var KeyFields = []string{
	schemas.FieldTokenID, schemas.FieldUserID, schemas.FieldCustomUserID, schemas.FieldModel, schemas.FieldModelType,
	schemas.FieldChannelID,
}

// openStart and openEnd stand for "from ever" and "for ever" in allocation_keys, whose validity is never NULL so that a
// join is a plain comparison.
var openStart, openEnd = mustParseDate("0001-01-01"), mustParseDate("9999-12-31")

func mustParseDate(s string) schemas.Date {
	d, err := schemas.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

// segment is a stretch of days in which the rules say the same.
type segment struct{ from, to schemas.Date }

// segments cuts all time at each day on which any of the rules says something else, and at the borders of closed
// months, where another ruleset begins to hold: within one, the same rules say the same of a key on every day.
// Half-open: a boundary is the end of one and the start of the next. With boundaries on the 3rd and the 7th they are
// (ever, 3rd), (3rd, 7th), (7th, ever).
func (f *finance) segments() []segment {
	days := []schemas.Date{openStart, openEnd}
	for _, r := range f.all() {
		days = append(days, r.Boundaries()...)
	}
	for _, c := range f.closed {
		days = append(days, f.Books.First(c.Month), f.Books.End(c.Month))
	}
	slices.Sort(days)
	days = slices.Compact(days)
	out := make([]segment, 0, len(days))
	for i := 1; i < len(days); i++ {
		out = append(out, segment{days[i-1], days[i]})
	}
	return out
}

// nextOpen is the month that corrections of closed months go to: the one after the last that is closed.
func (f *finance) nextOpen() schemas.Month { return f.closed[len(f.closed)-1].Month + 1 }
