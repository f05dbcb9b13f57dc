package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform/allocate"
)

// WhatIf is what a change in money would come to in the months that are open: who pays more, and who less. What isn't
// an amount is as in AllocationCheck.
type WhatIf struct {
	Markups string `json:"markups,omitempty"` // the file, of mark-ups
	Prices  string `json:"prices,omitempty"`  // or of prices
	// Months are the open months that anything is charged in, or the one that was asked for; none where it is closed.
	Months   []string         `json:"months"`
	Centers  []CenterChange   `json:"cost_centers"` // of all of the months
	Totals   []CurrencyChange `json:"totals"`       // the sums of these
	ByMonth  []WhatIfMonth    `json:"by_month"`
	Unpriced []UnpricedLines  `json:"unpriced,omitempty"` // of prices: lines that cost what they do, the largest first
	Findings []Finding        `json:"findings"`
}

// WhatIfMonth is WhatIf of a month.
type WhatIfMonth struct {
	MonthChanges
	Totals []CurrencyChange `json:"totals"`
}

// CurrencyChange is what all cost centres are charged in a currency, as CenterChange.
type CurrencyChange struct {
	Currency   string `json:"currency"`
	Before     string `json:"before"`
	After      string `json:"after"`
	Difference string `json:"difference"`
}

// What is what another file has: rules of CheckAllocation, mark-ups of CheckMarkups, or prices of CheckPrices.
type What int

// What a file may have.
const (
	WhatRules What = iota
	WhatMarkups
	WhatPrices
)

// WhatDigest is of all that these look at beside what is published: as long as both stay the same, so does what they
// say.
func WhatDigest(cfg *config.Config, what What, file string) (string, error) {
	if what == WhatRules {
		rules, err := readRules(file, "usagelake allocation check --compare "+file)
		if err != nil {
			return "", err
		}
		return whatDigest(cfg, file, rules.Digest())
	}
	b, err := ReadFinanceFile(file)
	if err != nil {
		return "", config.Usage("", "read %s: %w", file, err)
	}
	rules, err := Rules(cfg)
	if err != nil {
		return "", err
	}
	return whatDigest(cfg, file, string(b)+rules.Digest())
}

func whatDigest(cfg *config.Config, more ...string) (string, error) {
	books, err := cfg.ReadBooks()
	if err != nil {
		return "", err
	}
	all, err := json.Marshal([]any{more, books.Settings(), knownNames(cfg)})
	return fmt.Sprintf("%x", sha256.Sum256(all)), err
}

// openWhatIf opens what is published for a what-if, and says by which books; nil, with those of the config, where
// nothing is.
func openWhatIf(ctx context.Context, cfg *config.Config) (*query.Snapshot, *schemas.Books, error) {
	lake, err := publish.Open(cfg.Lake, Env{}.LakeOptions(cfg))
	var s *query.Snapshot
	if err == nil {
		s, err = query.OpenSnapshot(ctx, lake)
	}
	if errors.Is(err, load.ErrNoLake) || errors.Is(err, query.ErrNotPublished) {
		books, err := cfg.ReadBooks()
		return nil, books, err
	}
	if err != nil {
		return nil, nil, err
	}
	books, err := s.Books(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, books, nil
}

// openOnly is a condition on a column of months: those that are open, and of these the one that is asked for.
func openOnly(column string, month *schemas.Month) string {
	where := column + ` NOT IN (SELECT "month" FROM closed_months)`
	if month != nil {
		where += fmt.Sprintf(" AND %s = DATE '%s'", column, month.First())
	}
	return where
}

// CheckMarkups holds the mark-ups of a file against those that are published: what each cost centre is charged on top
// of its cost in each open month (or in month), and would be. It changes nothing.
func CheckMarkups(ctx context.Context, cfg *config.Config, file string, month *schemas.Month) (*WhatIf, error) {
	b, err := ReadFinanceFile(file)
	if err != nil {
		return nil, config.Usage("", "read the mark-ups: %w", err)
	}
	s, books, err := openWhatIf(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if s != nil {
		defer s.Close()
	}
	centers, err := knownCenters(ctx, cfg, s)
	if err != nil {
		return nil, err
	}
	markups, err := config.ReadMarkups(file, b, books, centers)
	if err != nil {
		return nil, err
	}
	out := &WhatIf{Markups: file}
	if s == nil {
		return out.unpublished(), nil
	}
	before, err := onTop(ctx, s, month)
	if err != nil {
		return nil, err
	}
	if err := s.MarkUp(ctx, markups); err != nil {
		return nil, err
	}
	after, err := onTop(ctx, s, month)
	if err != nil {
		return nil, err
	}
	out.changed(books, before, after)
	return out, out.leftOut(ctx, s, books, month, "mark-ups")
}

// onTop is what the cost centres are charged on top of their cost in the open months, by the mark-ups of the snapshot.
func onTop(ctx context.Context, s *query.Snapshot, month *schemas.Month) (map[schemas.Month]owed, error) {
	out := map[schemas.Month]owed{}
	return out, s.Each(ctx, `SELECT "month", cost_center, coalesce(currency, ''), markup FROM markup_monthly WHERE `+
		openOnly(`"month"`, month), func(row []query.Value) error {
		first, err1 := schemas.ParseDate(row[0].Text)
		fee, err2 := moneyOf(row[3])
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		m := first.Month()
		if out[m] == nil {
			out[m] = owed{}
		}
		out[m].add(row[1].Text, row[2].Text, fee)
		return nil
	})
}

// knownCenters are the cost centres that anything was charged to, and those that are written anywhere; nil where there
// are none.
func knownCenters(ctx context.Context, cfg *config.Config, s *query.Snapshot) ([]string, error) {
	rules, err := Rules(cfg)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for name := range rules.Mentions("cost_center") {
		known[name] = true
	}
	for _, names := range knownNames(cfg)["cost_center"] {
		for _, name := range names {
			known[name] = true
		}
	}
	for _, m := range cfg.Markups {
		known[m.CostCenter] = true
	}
	if s != nil {
		if err := s.Each(ctx, "SELECT cost_center FROM chargeback_daily UNION SELECT cost_center FROM markups",
			func(row []query.Value) error {
				known[row[0].Text] = true
				return nil
			}); err != nil {
			return nil, err
		}
	}
	delete(known, "")
	delete(known, schemas.Unallocated)
	return slices.Sorted(maps.Keys(known)), nil
}

// unpublished is the answer where nothing is published.
func (w *WhatIf) unpublished() *WhatIf {
	w.changed(nil, nil, nil)
	w.Findings = append(w.Findings, Finding{Severity: allocate.Info,
		Message: "nothing is published yet that it could be asked of"})
	return w
}

// changed takes in what is charged before and after, by month.
func (w *WhatIf) changed(books *schemas.Books, before, after map[schemas.Month]owed) {
	months := map[schemas.Month]bool{}
	for _, by := range []map[schemas.Month]owed{before, after} {
		for m := range by {
			months[m] = true
		}
	}
	w.Months, w.ByMonth, w.Findings = []string{}, []WhatIfMonth{}, []Finding{}
	for _, m := range slices.Sorted(maps.Keys(months)) {
		name := books.Name(m)
		w.Months = append(w.Months, name)
		w.ByMonth = append(w.ByMonth, WhatIfMonth{MonthChanges{name, changesOf(before[m], after[m])},
			sumsOf(before[m], after[m])})
	}
	was, is := total(before), total(after)
	w.Centers, w.Totals = changesOf(was, is), sumsOf(was, is)
}

// sumsOf are the sums of changesOf, by currency.
func sumsOf(before, after owed) []CurrencyChange {
	sums := func(of owed) owed {
		out := owed{}
		for k, v := range of {
			out.add("", k.currency, &v)
		}
		return out
	}
	out := []CurrencyChange{}
	for _, c := range changesOf(sums(before), sums(after)) {
		out = append(out, CurrencyChange{c.Currency, c.Before, c.After, c.Difference})
	}
	return out
}

// leftOut says which months are closed, and that what they were charged by stays.
func (w *WhatIf) leftOut(ctx context.Context, s *query.Snapshot, books *schemas.Books, month *schemas.Month,
	what string) error {
	var closed []string
	err := s.Each(ctx, `SELECT "month" FROM closed_months ORDER BY 1`, func(row []query.Value) error {
		first, err := schemas.ParseDate(row[0].Text)
		if err != nil {
			return err
		}
		if m := first.Month(); month == nil || m == *month {
			closed = append(closed, books.Name(m))
		}
		return nil
	})
	if len(closed) > 0 {
		w.Findings = append(w.Findings, Finding{Severity: allocate.Info, Source: filepath.Base(w.File()),
			Message: fmt.Sprintf("%s: closed with the %s of then, and left out: nothing of it changes",
				words.Some(closed, maxOwnerless), what)})
	}
	return err
}

// File is the one that it is about.
func (w *WhatIf) File() string { return cmp.Or(w.Markups, w.Prices) }
