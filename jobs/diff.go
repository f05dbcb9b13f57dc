package jobs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform"
)

// DiffOptions say what Diff compares.
type DiffOptions struct {
	From, To time.Time       // what the lake knew at either; From is not after To
	Books    *schemas.Books  // whose months Diff.Months are
	Days     *schemas.Period // book days of usage; nil: all
	Account  string          // "": all
	Limit    int             // most records in Diff.Records
	Each     func(DiffRecord) error
	Phase    func(string)
}

// Diff says what the lake knew at To and didn't at From, and the other way round. Nothing of it is rounded.
type Diff struct {
	From    time.Time    `json:"from"`
	To      time.Time    `json:"to"`
	Months  []DiffLine   `json:"months"` // by account, month and currency
	Days    []DiffLine   `json:"days"`   // by account, day and currency, those alone that changed
	Rejects []DiffReject `json:"quarantine"`
	// Records are the first of those that came, went or changed; More is how many further ones there are.
	Records []DiffRecord `json:"records"`
	More    int64        `json:"records_left_out"`
	// Unanswered are days that can't be compared: what was known of them then can't be read any more.
	Unanswered []DiffUnanswered `json:"unanswered"`
	Compared   int              `json:"days_compared"`  // whose windows differ
	Same       int              `json:"days_same"`      // of these, days in which no record that was asked about differs
	Looked     int              `json:"days_looked_at"` // of all
}

// DiffLine is what changed in a month or a day of an account, in one currency; nil is usage without one.
//
//	after = before + came − went − changed_before + changed_after     (so of the amounts; records: before + came − went)
type DiffLine struct {
	Account  string  `json:"account"`
	Month    string  `json:"month,omitempty"` // of the books, 2026-10 or 2026-P07, of Diff.Months
	Date     string  `json:"date,omitempty"`  // the UTC day, 2026-10-07, of Diff.Days
	Currency *string `json:"currency"`

	Came    int64 `json:"came"` // records
	Went    int64 `json:"went"`
	Changed int64 `json:"changed"`

	CameAmount    string `json:"came_amount"`
	WentAmount    string `json:"went_amount"`
	ChangedBefore string `json:"changed_before"`
	ChangedAfter  string `json:"changed_after"`
	Difference    string `json:"difference"` // amount after − before

	// Before and After are all that is known of a day; nil of a month, whose other days weren't read, and of a day of
	// which only a part was asked about.
	Before *DiffSum `json:"before,omitempty"`
	After  *DiffSum `json:"after,omitempty"`
}

// DiffSum is what is known at an instant.
type DiffSum struct {
	Records  int64  `json:"records"`
	NoAmount int64  `json:"without_amount"` // of these
	Amount   string `json:"amount"`
}

// DiffReject counts a day's records in quarantine.
type DiffReject struct {
	Account string `json:"account"`
	Date    string `json:"date"`
	Before  int64  `json:"before"`
	After   int64  `json:"after"`
	Came    int64  `json:"came"`
	Went    int64  `json:"went"`
}

// The kinds of a DiffRecord.
const (
	DiffCame    = "came"
	DiffWent    = "went"
	DiffChanged = "changed" // the same id, day, month and currency, other content
)

// DiffRecord is a record that came, went or changed. What it was before is nil of one that came, and so the other way
// round; an amount may be nil besides, of a record that has none.
type DiffRecord struct {
	Kind     string     `json:"kind"`
	Account  string     `json:"account"`
	Date     string     `json:"date"`
	ID       string     `json:"id"`
	Time     *time.Time `json:"request_time"` // of what it is now; of one that went, of what it was
	Model    string     `json:"model"`
	TokenID  string     `json:"token_id"`
	Currency *string    `json:"currency"`
	Before   *string    `json:"amount_before"`
	After    *string    `json:"amount_after"`
	Fields   []string   `json:"fields"` // columns of usage that differ, of one that changed
}

// DiffUnanswered is a day that can't be compared.
type DiffUnanswered struct {
	Account string `json:"account"`
	Date    string `json:"date"`
	Why     string `json:"why"`
}

// UnansweredError says that part of a question about what was known can't be answered any more: what was answered is
// right, and not all.
type UnansweredError struct {
	Days  int
	First DiffUnanswered
}

func (e *UnansweredError) Error() string {
	return fmt.Sprintf("what was known of %s can't be told any more, first of account %s, %s: %s",
		words.Plural(e.Days, "day", "days"), e.First.Account, e.First.Date, e.First.Why)
}

// CompareKnown compares what the lake knew at two instants, by the windows that were fetched until then: those of the
// highest number own, as everywhere. Days whose windows are the same aren't read. It takes no lock. Days that can't be
// compared are listed, and are an UnansweredError beside the answer.
func CompareKnown(ctx context.Context, lake *publish.Lake, opts DiffOptions) (*Diff, error) {
	d := &differ{opts: opts, lake: lake, months: map[diffKey]*diffSums{}, out: &Diff{From: opts.From.UTC(),
		To: opts.To.UTC(), Days: []DiffLine{}, Rejects: []DiffReject{}, Records: []DiffRecord{},
		Unanswered: []DiffUnanswered{}}}
	accounts, err := lake.Accounts()
	if err != nil {
		return nil, err
	}
	if opts.Account != "" {
		if !slices.Contains(accounts, opts.Account) {
			return nil, config.Usage("usagelake status", "the lake %s holds no account %q: it has %s", lake.Dir(),
				opts.Account, strings.Join(accounts, ", "))
		}
		accounts = []string{opts.Account}
	}
	for _, account := range accounts {
		days, err := lake.Partitions(account)
		if err != nil {
			return nil, err
		}
		for _, p := range days {
			if opts.Days != nil {
				if from, to := opts.Days.UTC(); p.Date < from || p.Date >= to {
					continue
				}
			}
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			if err := d.day(ctx, p); err != nil {
				return nil, fmt.Errorf("compare %s: %w", p, err)
			}
		}
	}
	d.out.Months = []DiffLine{}
	for _, k := range slices.SortedFunc(maps.Keys(d.months), diffKey.compare) {
		d.out.Months = append(d.out.Months, d.months[k].line(k))
	}
	if n := len(d.out.Unanswered); n > 0 {
		return d.out, &UnansweredError{n, d.out.Unanswered[0]}
	}
	return d.out, nil
}

type differ struct {
	opts   DiffOptions
	lake   *publish.Lake
	out    *Diff
	months map[diffKey]*diffSums
}

// diffKey is what a line is of: a month, or a day.
type diffKey struct{ account, month, date, currency string }

func (k diffKey) compare(o diffKey) int {
	return cmp.Or(cmp.Compare(k.account, o.account), cmp.Compare(k.month, o.month), cmp.Compare(k.currency, o.currency))
}

// diffSums is a line as it is summed.
type diffSums struct {
	came, went, changed                                 int64
	cameAmount, wentAmount, changedBefore, changedAfter schemas.Money
}

func (s *diffSums) add(c transform.Change) {
	amount := func(k *transform.Known) schemas.Money {
		if k.Amount == nil {
			return schemas.Money{}
		}
		return k.Amount.In("")
	}
	switch {
	case c.Before == nil:
		s.came++
		s.cameAmount = s.cameAmount.Add(amount(c.After))
	case c.After == nil:
		s.went++
		s.wentAmount = s.wentAmount.Add(amount(c.Before))
	default:
		s.changed++
		s.changedBefore = s.changedBefore.Add(amount(c.Before))
		s.changedAfter = s.changedAfter.Add(amount(c.After))
	}
}

func (s *diffSums) line(k diffKey) DiffLine {
	return DiffLine{Account: k.account, Month: k.month, Date: k.date, Currency: orNull(k.currency),
		Came: s.came, Went: s.went, Changed: s.changed, CameAmount: s.cameAmount.String(), WentAmount: s.wentAmount.String(),
		ChangedBefore: s.changedBefore.String(), ChangedAfter: s.changedAfter.String(),
		Difference: s.cameAmount.Sub(s.wentAmount).Sub(s.changedBefore).Add(s.changedAfter).String()}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// day compares a day, if the windows known of it differ.
func (d *differ) day(ctx context.Context, p schemas.Partition) error {
	sealings, err := d.lake.Sealings(ctx, p)
	if err != nil || len(sealings) == 0 { // a day may have nothing but a balance
		return err
	}
	d.out.Looked++
	before, after := knownBy(sealings, d.opts.From), knownBy(sealings, d.opts.To)
	if len(before) == len(after) { // what was known stays among what is
		return nil
	}
	if d.opts.Phase != nil {
		d.opts.Phase("compare " + p.String())
	}
	for _, known := range [][]load.Sealing{before, after} {
		if why := unreadable(known); why != "" {
			d.out.Unanswered = append(d.out.Unanswered, DiffUnanswered{p.Account, p.Date.String(), why})
			return nil
		}
	}
	was, err := d.known(ctx, p, before)
	if err != nil {
		return err
	}
	is, err := d.known(ctx, p, after)
	if err != nil {
		return err
	}
	sums := map[string]*diffSums{}
	compared, err := transform.Compare(ctx, was, is, func(c transform.Change) error {
		var then, now lineOf
		if c.Before != nil {
			then = d.lineOf(c.Before)
		}
		if c.After != nil {
			now = d.lineOf(c.After)
		}
		if c.Before != nil && c.After != nil && then != now {
			// In each currency and month a record less or more, so that each ties out by itself.
			if then.asked {
				if err := d.change(p, sums, then, transform.Change{Before: c.Before}); err != nil {
					return err
				}
			}
			c.Before = nil
		}
		if c.After == nil {
			now = then
		}
		if !now.asked {
			return nil
		}
		return d.change(p, sums, now, c)
	})
	if err != nil {
		return err
	}
	d.out.Compared++
	if r := (DiffReject{p.Account, p.Date.String(), compared.RejectsBefore, compared.RejectsAfter, compared.RejectsCame,
		compared.RejectsWent}); r.Came+r.Went > 0 {
		d.out.Rejects = append(d.out.Rejects, r)
	} else if len(sums) == 0 {
		d.out.Same++
	}
	for _, currency := range slices.Sorted(maps.Keys(sums)) {
		l := sums[currency].line(diffKey{p.Account, "", p.Date.String(), currency})
		if days := d.opts.Days; days == nil || days.Holds(p.Date.Start()) && days.Holds(p.Date.End().Add(-1)) {
			l.Before, l.After = diffSum(compared.Before[currency]), diffSum(compared.After[currency])
		}
		d.out.Days = append(d.out.Days, l)
	}
	return nil
}

func diffSum(s transform.Sum) *DiffSum { return &DiffSum{s.Records, s.NoAmount, s.Amount.String()} }

// knownBy are the windows that were fetched by an instant.
func knownBy(sealings []load.Sealing, at time.Time) []load.Sealing {
	return slices.DeleteFunc(slices.Clone(sealings), func(s load.Sealing) bool { return s.FetchedAt.After(at) })
}

// unreadable says why what these windows give can't be derived: one that owns some instant among them is gone. "" if it
// can.
func unreadable(known []load.Sealing) string {
	windows, seqs := make([]schemas.Window, len(known)), make([]int, len(known))
	for i, s := range known {
		windows[i], seqs[i] = s.Window, s.Seq
	}
	for _, seg := range schemas.Own(windows, seqs) {
		switch s := known[seg.Index]; {
		case s.Gone && s.Pruned:
			return "retention deleted raw files that were the source then"
		case s.Gone:
			return "raw files that were the source then are missing"
		}
	}
	return ""
}

// known is the day as these windows give it.
func (d *differ) known(ctx context.Context, p schemas.Partition, known []load.Sealing) (*transform.Day, error) {
	var windows []schemas.Sealed
	for _, s := range known {
		if s.Gone { // it owns nothing
			continue
		}
		w, err := d.lake.OpenRaw(ctx, p, s.Raw)
		if err != nil {
			return nil, err
		}
		windows = append(windows, w)
	}
	return transform.NewDay(p, windows, transform.Options{}), nil
}

// lineOf is where a record counts.
type lineOf struct {
	month    schemas.Month
	currency string
	asked    bool // it is of the days that were asked about
}

func (d *differ) lineOf(k *transform.Known) lineOf {
	month := d.opts.Books.Month(d.opts.Books.Day(k.Time))
	return lineOf{month, k.Currency, d.opts.Days == nil || d.opts.Days.Holds(k.Time)}
}

// change counts a change of one line, and lists it.
func (d *differ) change(p schemas.Partition, sums map[string]*diffSums, of lineOf, c transform.Change) error {
	r := DiffRecord{Kind: DiffChanged, Account: p.Account, Date: p.Date.String(),
		Fields: append([]string{}, c.Fields()...)}
	is := cmp.Or(c.After, c.Before)
	switch {
	case c.Before == nil:
		r.Kind = DiffCame
	case c.After == nil:
		r.Kind = DiffWent
	}
	r.ID, r.Time, r.Model, r.TokenID, r.Currency = is.ID, &is.Time, is.Model, is.TokenID, orNull(is.Currency)
	for _, side := range []struct {
		of *transform.Known
		to **string
	}{{c.Before, &r.Before}, {c.After, &r.After}} {
		if side.of != nil && side.of.Amount != nil {
			text := side.of.Amount.String()
			*side.to = &text
		}
	}
	month := diffKey{p.Account, d.opts.Books.Name(of.month), "", of.currency}
	if sums[of.currency] == nil {
		sums[of.currency] = &diffSums{}
	}
	if d.months[month] == nil {
		d.months[month] = &diffSums{}
	}
	sums[of.currency].add(c)
	d.months[month].add(c)
	if len(d.out.Records) < d.opts.Limit {
		d.out.Records = append(d.out.Records, r)
	} else {
		d.out.More++
	}
	if d.opts.Each != nil {
		return d.opts.Each(r)
	}
	return nil
}
