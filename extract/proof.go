package extract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/usagelake/usagelake/schemas"
)

// How a window is proven complete. No figure of the server's vouches for another that the same limit, order or outage
// may have made, so each proof holds two against each other that come about in different ways:
//
//	total   the listing has as many distinct records as every page announced, and the totals of the window's two halves,
//	        asked for with pages of one record, sum to the same. The halves are asked for only where the total can be the
//	        doing of a limit: where it ends with a full page, is the largest so far, or counts no more than its own page.
//	parts   the listing of the whole and the listings of its two halves, cut where half of the records lie, are the same
//	        records, and no page of them repeats a record of another. A page that repeats one lacks another.
//
// What fits neither is cut in time, down to a second, and a second by token, user and page size (see second.go). An
// empty window is looked at once more at the end of the run (see finish.go).

// prover pages through windows until it is shown what they hold. It asks what has to be asked for that, within the
// budget of a task, and decides nothing of what becomes of it.
type prover struct{ *pager }

// errSplit says that a window must be fetched in parts.
type errSplit struct{ parts int }

func (e *errSplit) Error() string { return fmt.Sprintf("must be split in %d", e.parts) }

// maxPasses is how often a window is paged through before it is split or given up.
const maxPasses = 3

// prove pages through a task's window until it is proven complete, or returns *errSplit or why it failed. An empty one
// is returned with an empty proof. What another window has shown to belong to it is there, however it was proven: where
// it lacks some of that, it is asked for again with more and more behind its end, and fails once that is as much as is
// ever asked for.
func (r *prover) prove(ctx context.Context, t *task) (*pass, string, error) {
	for {
		p, proof, err := r.passes(ctx, t)
		if err != nil || p.hasAll(t.must) {
			return p, proof, err
		}
		if !r.server.widen() { // it lists them with its neighbour's margin, not with its own
			return nil, "", fmt.Errorf("window %s: another window lists records that belong to it, which it doesn't: %w",
				t.window, ErrTemporary)
		}
	}
}

// passes pages through it up to maxPasses times, with what is learnt of the margins now. A second, which can't be cut,
// is left to second after one pass that repeats records, or two.
func (r *prover) passes(ctx context.Context, t *task) (*pass, string, error) {
	var sum *pass
	for n := 1; ; n++ {
		t.passes = n
		p, err := r.whole(ctx, t)
		if err != nil {
			return nil, "", err
		}
		if p.empty() && n > 1 {
			r.server.blank() // the pass before it had something
		}
		if p.empty() {
			return p, "", nil
		}
		proof, err := r.judge(ctx, t, p)
		if proof != "" || err != nil && !errors.Is(err, errAgain) {
			return p, proof, err
		}
		if t.spent() {
			return nil, "", fmt.Errorf("window %s: %d requests did not show what it holds (the last pass found %s): %w",
				t.window, t.budget.used.Load(), p.describe(), ErrTemporary)
		}
		if sum = p.addTo(sum); sum != nil && sum.complete() {
			halves, err := r.sumOfHalves(ctx, t, p)
			if err != nil {
				return nil, "", err
			}
			if p.isSum(halves, *p.announced()) {
				return sum, schemas.ProofTotal, nil
			}
		}
		if t.window.Seconds() == 1 {
			if n > 1 || p.repeats > 0 {
				return r.second(ctx, t, p)
			}
		} else if n == maxPasses {
			return nil, "", r.split(p)
		}
		r.log.Debug("window not proven complete, paging through it again", "window", t.window.String(), "pass", n,
			"found", p.describe())
	}
}

// spent says that the task has taken more requests than any proof is worth.
func (t *task) spent() bool { return t.budget.used.Load() > 128+16*t.budget.pages.Load() }

// spend charges the task with what a pass took since it was last called, and returns err: a pass that failed took
// requests, too.
func (t *task) spend(p *pass, err error) error {
	t.budget.used.Add(int64(p.requests - p.spent))
	p.spent = p.requests
	t.budget.grow(len(p.pages))
	if p.rows > 0 {
		t.budget.listed.Store(true)
	}
	return err
}

// hasAll says that p holds all of some records.
func (p *pass) hasAll(records []entry) bool {
	return !slices.ContainsFunc(records, func(e entry) bool { _, came := p.seen[e.key]; return !came })
}

// addTo adds a pass in whose order some records slipped through to those before it. Each misses others, so that what
// came of all of them may be as many as each announced.
func (p *pass) addTo(sum *pass) *pass {
	switch {
	case p.repeats == 0 || p.unsteady || p.announced() == nil || p.first.summary:
		return nil
	case sum == nil || !equalCounts(p.announced(), sum.announced()):
		return p.gather()
	}
	sum.take(p)
	return sum
}

// errAgain says that a pass proves nothing, and that another may.
var errAgain = errors.New("not proven")

// split cuts what p was a pass of: into parts that fit a page each, where its pages repeat records, else in two.
func (r *prover) split(p *pass) error {
	if p.repeats > 0 && p.longest > 0 {
		return &errSplit{min(16, max(2, 3*p.rows/(2*p.longest)))}
	}
	return &errSplit{2}
}

// whole pages through the task's window once, with margins that hold what its filter gives for it.
func (r *prover) whole(ctx context.Context, t *task) (*pass, error) {
	w := t.window
	for {
		a := r.server.asks(w)
		a.progress = t.progress
		if size := r.server.pageSize(); t.passes > 1 && size > 10 { // other borders between the pages
			a.size = size - size/7*(t.passes-1)
		}
		p, err := r.open(ctx, a)
		if err != nil {
			return nil, t.spend(p, err)
		}
		most := r.server.most()
		pages := max(1, int(most)/p.step)
		if total := p.first.total; w.Seconds() > 1 && p.isMore(total) && float64(*total) > most {
			first, second, err := r.halves(ctx, t, p, (p.start+p.end)/2)
			if err != nil {
				return nil, t.spend(p, err)
			}
			if first != nil && second != nil && *first+*second == *total {
				t.budget.grow(pagesFor(*total, p.step))
				return nil, t.spend(p, &errSplit{parts(float64(*total), most)})
			}
			if err := t.spend(p, r.exhaust(ctx, p, 2*pages)); err != nil { // it counts something else
				return nil, err
			}
		} else if err := t.spend(p, r.announcedPages(ctx, p, 2*pages)); err != nil {
			return nil, err
		}
		r.server.lists(len(p.entries))
		if early, late := p.strays(); r.server.strays(w, early, late) {
			continue
		}
		// More is asked for behind windows by now, and this may be the last word on these seconds.
		if _, behind := r.server.margins(); behind > a.end-w.End.Unix() && (t.tail || t.must != nil) {
			continue
		}
		if !p.ended && p.next > 2*pages && w.Seconds() > 1 {
			t.budget.grow(4 * len(p.pages))
			return nil, &errSplit{4}
		}
		return p, nil
	}
}

// isMore says that a total counts more records than the first page holds.
func (p *pass) isMore(total *int64) bool {
	return total != nil && !p.first.summary && *total > int64(len(p.first.entries))
}

// strays tells how far the records of p lie outside of what was asked for, in seconds; 0 if none do. What lies further
// off than maxMargin is no matter of two clocks.
func (p *pass) strays() (early, late int64) {
	for _, e := range p.entries {
		if e.at == noTime || !e.key.hasID() {
			continue
		}
		if off := p.start - e.at; off > 0 && off <= maxMargin {
			early = max(early, off)
		}
		if off := e.at - p.end; off > 0 && off <= maxMargin {
			late = max(late, off)
		}
	}
	return early, late
}

// judge says how p is proven complete, asking what has to be asked for it. It returns errAgain if p isn't, and another
// pass may be, or *errSplit.
func (r *prover) judge(ctx context.Context, t *task, p *pass) (string, error) {
	a := p.announced()
	single := t.window.Seconds() == 1
	switch {
	case p.agrees() && p.alike > 0 && single: // as many, but perhaps not the same
		return "", errAgain
	case p.agrees() && p.alike > 0:
		return r.parts(ctx, t, p)
	case p.agrees():
		if !r.server.doubts(p) && !t.held.shrinks(p) {
			r.server.agreed(*a, *a > int64(len(p.first.entries)))
			return schemas.ProofTotal, nil
		}
		if p.lopsided() { // a limit would be the same on the one side that holds all
			if single {
				return "", errAgain
			}
			return "", &errSplit{2}
		}
		ok, err := r.farHalf(ctx, t, p)
		if err != nil {
			return "", err
		}
		var sum *int64
		if !ok {
			if sum, err = r.sumOfHalves(ctx, t, p); err != nil {
				return "", err
			}
		}
		if ok || p.isSum(sum, *a) {
			r.server.agreed(*a, len(p.entries) > 2) // of which a page of one was answered with a part
			return schemas.ProofTotal, nil
		}
		if sum != nil && *sum > *a && !single {
			return "", r.limited(ctx, t, p, *sum)
		}
	case single:
		return "", errAgain // it can't be cut: see second
	case a == nil || p.first.summary:
	case p.repeats > 0:
		return "", errAgain
	case p.unsteady && !r.server.isUseless():
		return "", errAgain
	case !p.unsteady:
		sum, err := r.sumOfHalves(ctx, t, p)
		if err != nil {
			return "", err
		}
		switch {
		case sum == nil:
		case p.isSum(sum, *a) && *a > p.held(): // the totals agree among themselves, so the listing is short
			if t.passes == 1 || !p.full() {
				return "", errAgain
			}
			r.server.shallow(t.window, len(p.pages))
			return "", &errSplit{max(2, parts(float64(*a), r.server.most()))}
		case p.isSum(sum, p.held()) && *sum > *a: // the total ends at a limit, the listing doesn't
			return "", r.limited(ctx, t, p, *sum)
		}
	}
	r.server.disagreed()
	if single {
		return "", errAgain
	}
	return r.parts(ctx, t, p)
}

// limited decides what becomes of a window whose halves have more than its total: the total ends at a limit, unless
// something came meanwhile.
func (r *prover) limited(ctx context.Context, t *task, p *pass, sum int64) error {
	a := *p.announced()
	c, err := r.count(ctx, t, p.ask)
	if err != nil && !refusal(err) {
		return err
	}
	if p.first.summary || c.Records == nil || *c.Records != a {
		return errAgain
	}
	r.server.capped(t.window, a)
	return &errSplit{max(2, parts(float64(sum), max(1, float64(a)*0.75)))}
}

// isSum says that the sum of two halves is the whole, of which the second between them may count twice: where no second
// is free of records, and the server takes both ends as inclusive.
func (p *pass) isSum(sum *int64, whole int64) bool {
	if sum == nil {
		return false
	}
	middle := p.middle()
	return *sum == whole || *sum == whole+p.within(middle, middle+1)
}

// middle is a second of the range that p asked for with half of its records on each side, and if it can be none in it,
// so that it makes no difference whether the server takes the ends as inclusive or exclusive.
func (p *pass) middle() int64 { return p.gap(func(n int) int { return n / 2 }) }

// gap is such a second with as many records before it as before says of all of them, or nearly so.
func (p *pass) gap(before func(n int) int) int64 {
	at := make([]int64, 0, len(p.entries))
	for _, e := range p.entries {
		if e.at > p.start && e.at < p.end {
			at = append(at, e.at)
		}
	}
	if len(at) == 0 {
		return (p.start + p.end) / 2
	}
	slices.Sort(at)
	half := min(before(len(at)), len(at)-1)
	best, distance := at[half], len(at)+1
	for i := range at {
		gap := i+1 == len(at) && at[i]+1 < p.end || i+1 < len(at) && at[i]+1 < at[i+1]
		if d := max(i+1-half, half-i-1); gap && d < distance {
			best, distance = at[i]+1, d
		}
	}
	return best
}

// farHalf asks how much lies in the half of what p asked for that its listing ended with, where it has an order: what a
// limit cut off would lie there. It reports whether that is as much as p has of it. One small request tells, but where
// the listing ended with a full page: it may have ended where a total did that is too low, and so would the count of
// the half. There the last records are listed, half a page of them.
func (r *prover) farHalf(ctx context.Context, t *task, p *pass) (bool, error) {
	byTime := func(a, b entry) int { return cmp.Compare(a.at, b.at) }
	newer := slices.IsSortedFunc(p.entries, byTime) // the listing ends with the newest
	older := slices.IsSortedFunc(p.entries, func(a, b entry) int { return byTime(b, a) })
	size := 1
	middle := p.middle()
	if p.brimful(r.server.longestPage()) {
		size = p.step
		last := max(1, p.longest/2)
		middle = p.gap(func(n int) int {
			switch {
			case 2*last >= n:
				return n / 2
			case older:
				return last
			}
			return n - last
		})
	}
	if older == newer || p.first.summary || p.twice > 0 ||
		p.within(middle, middle+1) > 0 || p.within(noTime, noTime+1) > 0 {
		return false, nil
	}
	a, held := p.ask, int64(0)
	if older {
		a.end, held = middle, p.within(noTime, middle)
	} else {
		a.start, held = middle, p.within(middle, math.MaxInt64)
	}
	got, err := r.list(ctx, t, a.sized(size))
	if err != nil && !refusal(err) {
		return false, err
	}
	c := got.counted()
	same := err == nil && c.Records != nil && *c.Records == held && held > 0
	if !same || size == 1 {
		return same, nil
	}
	return int64(len(got.listing.entries)) == held && p.hasAll(got.listing.entries), nil
}

// sumOfHalves asks how much the two halves of what p asked for hold together; nil if the server doesn't say, or if one
// of them holds it all, and so would end at the same limit as the whole.
func (r *prover) sumOfHalves(ctx context.Context, t *task, p *pass) (*int64, error) {
	first, second, err := r.halves(ctx, t, p, p.middle())
	if err != nil || first == nil || second == nil {
		return nil, err
	}
	if a := p.announced(); int64(len(p.entries)) >= fewest && (*first >= *a || *second >= *a) && *first+*second == *a {
		return nil, nil
	}
	sum := *first + *second
	return &sum, nil
}

// halves asks with two small requests how much lies on each side of a second of what p asked for; nil where the server
// doesn't say.
func (r *prover) halves(ctx context.Context, t *task, p *pass, middle int64) (first, second *int64, err error) {
	for i, half := range [][2]int64{{p.start, middle}, {middle, p.end}} {
		c, err := r.count(ctx, t, p.ask.between(half[0], half[1]))
		if refusal(err) {
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		n := c.Records
		if p.first.summary {
			n = c.Tokens
		}
		if n == nil || *n > 1<<61 {
			return nil, nil, nil
		}
		if *n == 0 && p.within(half[0]+Margin, half[1]) > 0 {
			if _, behind := r.server.margins(); behind == 0 {
				r.server.blank()
			}
		}
		if i == 0 {
			first = n
		} else {
			second = n
		}
	}
	return first, second, nil
}

// count asks with one small request how much there is of what a asks for.
func (r *prover) count(ctx context.Context, t *task, a ask) (Counted, error) {
	got, err := r.list(ctx, t, a.sized(1))
	return got.counted(), err
}

// list asks for the first page of what a asks for, and charges t with it.
func (r *prover) list(ctx context.Context, t *task, a ask) (told, error) {
	got, err := r.client.usage(ctx, a)
	t.budget.used.Add(int64(max(1, got.attempts)))
	return got, err
}

// fewest is the smallest number of records that a server might limit a listing to.
const fewest = 10

// lopsided says that no cut in time divides what p holds, so that one half would list it all, and end at the same limit
// as p if there is one. A handful of records is no limit's doing.
func (p *pass) lopsided() bool {
	middle, n := p.middle(), int64(len(p.entries))
	return n >= fewest && (p.within(middle+1, math.MaxInt64) == 0 || p.within(noTime, middle-Margin) == 0)
}

// parts holds p, to its end, against the listings of its two halves.
func (r *prover) parts(ctx context.Context, t *task, p *pass) (string, error) {
	most := 2 * max(1, int(r.server.most())/p.step)
	if err := t.spend(p, r.exhaust(ctx, p, most)); err != nil {
		return "", err
	}
	if p.repeats > 0 || p.moved || !p.ended {
		return "", r.split(p)
	}
	if p.lopsided() { // a limit would be the same on the one side that holds all
		return "", &errSplit{2}
	}
	middle := p.middle()
	if p.within(middle, middle+2) == 0 && middle+1 < p.end {
		middle++ // so that the second half begins, with its margin, behind what the first holds
	}
	var halves [2]*pass
	for i, half := range [2][2]int64{{p.start, middle}, {middle - Margin, p.end}} {
		h, err := r.open(ctx, p.ask.between(half[0], half[1]).sized(p.step))
		if err == nil {
			err = r.exhaust(ctx, h, most)
		}
		_ = t.spend(h, nil)
		if refusal(err) {
			return "", errAgain
		}
		if err != nil {
			return "", err
		}
		halves[i] = h
	}
	union := p.isUnion(halves, middle)
	if !union && (halves[0].rows == 0 || halves[1].rows == 0) && p.rows >= fewest {
		r.server.blank() // each holds some, by p
	}
	if union && r.server.knowsBlanks() { // an answer that was empty ends a listing early: another one tells
		h, err := r.open(ctx, p.ask)
		if err == nil {
			err = r.exhaust(ctx, h, most)
		}
		if t.spend(h, err) != nil {
			return "", err
		}
		if len(h.entries) != len(p.entries) || !p.hasAll(h.entries) {
			return "", errAgain
		}
	}
	if !union {
		r.log.Info("a window and its halves don't hold the same: it is cut", "window", t.window.String(),
			"found", p.describe(), "halves", fmt.Sprintf("%d and %d", halves[0].rows, halves[1].rows))
		if p.full() && halves[0].held()+halves[1].held() > p.held() {
			r.server.shallow(t.window, len(p.pages))
		}
		return "", &errSplit{2}
	}
	return schemas.ProofParts, nil
}

// isUnion says that p holds exactly what its halves do, which overlap by a second or two.
func (p *pass) isUnion(halves [2]*pass, middle int64) bool {
	for _, h := range halves {
		if h.repeats > 0 || h.moved || !h.ended || len(h.entries) == len(p.entries) && len(p.entries) >= fewest {
			return false
		}
		for k := range h.seen {
			if _, ok := p.seen[k]; !ok {
				return false
			}
		}
	}
	for _, e := range p.entries {
		first, second := halves[0].seen[e.key].count, halves[1].seen[e.key].count
		switch {
		case first+second == 0:
			return false
		case e.key.hasID() && !p.first.summary:
		case e.at != noTime && e.at < middle-Margin && first != p.seen[e.key].count,
			e.at > middle && second != p.seen[e.key].count:
			return false // of records without an id it counts how many are alike
		}
	}
	return true
}
