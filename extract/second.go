package extract

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/usagelake/usagelake/schemas"
)

// A second can't be cut in time. One that holds more than a page, in an order that isn't the same each time or in no
// order at all, is asked for in larger pages, then by token and by user, then again and again. What came adds up; it is
// all once it is as many as were announced, or as the totals of the tokens sum to.

// secondPasses is how often a second is paged through in the end.
const secondPasses = 8

// second gathers what a second holds. p is a pass that did not prove it. What can't be proven is returned all the same,
// with schemas.ProofNone.
func (r *prover) second(ctx context.Context, t *task, p *pass) (*pass, string, error) {
	sum := p.gather()
	steps := []func(context.Context, *task, *pass) (bool, error){
		r.largerPages, r.byField("token_id"), r.byField("user_id"), r.again,
	}
	for _, step := range steps {
		done, err := step(ctx, t, sum)
		switch {
		case err != nil:
			return nil, "", err
		case done && sum.announced() == nil && (r.server.listsMore(sum.most) || sum.divided):
			return sum, schemas.ProofRepeat, nil
		case done && sum.announced() == nil: // each pass may end at one limit
		case done || r.complete(sum):
			return sum, schemas.ProofTotal, nil
		}
	}
	r.log.Warn("a second can't be shown to be complete: what came is kept", "window", t.window.String(),
		"records", len(sum.entries), "found", p.describe())
	return sum, schemas.ProofNone, nil
}

// gather makes p a sum of passes: of what it holds already, and of what take adds.
func (p *pass) gather() *pass {
	sum := &pass{ask: p.ask, requests: p.requests, spent: p.spent, first: p.first, last: p.last,
		seen: p.seen, entries: p.entries, rows: p.rows, tokens: p.tokens, step: p.step, longest: p.longest,
		twice: p.twice, alike: p.alike, unsteady: p.unsteady, ended: true, most: len(p.entries)}
	sum.pages = slices.Clone(p.pages)
	for i := range sum.pages {
		sum.pages[i].Number = i + 1
	}
	return sum
}

// take adds what another pass through a part of the same second brought. Its pages are numbered on from those before.
func (p *pass) take(q *pass) {
	p.requests += q.requests
	p.spent += q.spent
	p.alike += q.alike
	p.most = max(p.most, len(q.entries))
	p.twice = max(p.twice, q.twice)
	for _, page := range q.pages {
		page.Number = len(p.pages) + 1
		p.pages = append(p.pages, page)
	}
	for _, e := range q.entries {
		m, came := p.seen[e.key]
		if came && (e.key.hasID() || m.count >= q.seen[e.key].count) {
			continue
		}
		p.seen[e.key] = mark{int32(len(p.pages)), m.count + 1}
		p.entries = append(p.entries, e)
	}
}

// complete says that as much has come as was announced. Where records stand twice on a page it isn't known which of the
// two the total counts, nor of those without an id which are the same.
func (p *pass) complete() bool {
	a := p.announced()
	return a != nil && !p.first.summary && !p.unsteady && p.alike == 0 && *a == int64(len(p.entries))
}

// complete says so of a second, whose total must not be the doing of a limit, for it can't be cut to find that out.
func (r *prover) complete(sum *pass) bool { return sum.complete() && !r.server.doubts(sum) }

// largerPages asks for the second in pages that might hold all of it.
func (r *prover) largerPages(ctx context.Context, t *task, sum *pass) (bool, error) {
	for _, size := range []int{200, 500, LargePage, 5000} {
		if size <= sum.size || size/2 < len(sum.entries) && sum.announced() == nil {
			continue
		}
		p, err := r.open(ctx, sum.ask.sized(size))
		if refusal(err) {
			return false, t.spend(p, nil)
		}
		if t.spend(p, err) != nil {
			return false, err
		}
		n := len(p.first.entries)
		a := p.announced()
		sum.take(p)
		switch {
		case a != nil && p.agrees() && n > sum.longest && !r.server.doubts(p):
			return true, nil // one page, longer than any before, and as many as announced
		case n <= sum.longest: // no larger pages are given
			return false, nil
		case a == nil && 2*n <= size:
			return true, nil
		}
	}
	return false, nil
}

// byField asks for the second by each token or user that has come so far. It is complete if each part is, and the parts
// are as many as the whole. Where nothing is announced, parts that are smaller than the whole and bring nothing new
// show that it does not end at a limit.
func (r *prover) byField(field string) func(context.Context, *task, *pass) (bool, error) {
	return func(ctx context.Context, t *task, sum *pass) (bool, error) {
		of := sum.announced()
		if sum.first.summary || of == nil && r.server.listsMore(sum.most) {
			return false, nil
		}
		before := len(sum.entries)
		values, err := sum.values(field)
		if err != nil || len(values) < 2 || len(values) > 200 {
			return false, err
		}
		total, twice, whole := int64(0), 0, true
		for _, v := range values {
			part := sum.ask.sized(sum.step)
			part.field, part.value = field, v
			p, err := r.open(ctx, part)
			if refusal(err) {
				return false, t.spend(p, nil)
			}
			if err == nil {
				err = r.announcedPages(ctx, p, 1000)
			}
			if t.spend(p, err) != nil {
				return false, err
			}
			a := p.announced()
			if of == nil && len(p.entries) >= sum.most || of != nil && a != nil && *a >= *of {
				return false, nil // the filter is ignored
			}
			if of == nil {
				whole = whole && p.ended && p.repeats == 0 && !p.moved
				sum.take(p)
				continue
			}
			whole = whole && a != nil && p.agrees() && p.alike == 0
			if a != nil {
				total += *a
			}
			twice += p.twice
			sum.take(p)
		}
		if of == nil {
			sum.divided = sum.divided || whole && len(sum.entries) == before
			return false, nil
		}
		sum.twice = max(sum.twice, twice)
		return whole && total == *of, nil
	}
}

// values are the distinct texts of a field of the records that came.
func (p *pass) values(field string) ([]string, error) {
	pages := slices.Clone(p.pages)
	if err := unpack(pages); err != nil {
		return nil, err
	}
	var out []string
	for _, page := range pages {
		var doc struct {
			Data struct {
				List []json.RawMessage `json:"list"`
			} `json:"data"`
		}
		if err := json.Unmarshal(page.Body, &doc); err != nil {
			return nil, fmt.Errorf("page %d: %w", page.Number, err)
		}
		for _, raw := range doc.Data.List {
			var r map[string]json.RawMessage
			if json.Unmarshal(raw, &r) != nil {
				continue
			}
			if v := plainText(r[field]); v != "" {
				out = append(out, v)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// again pages through the second a few times more, with other borders between the pages.
func (r *prover) again(ctx context.Context, t *task, sum *pass) (bool, error) {
	same := 0
	for n := range secondPasses {
		if r.complete(sum) || t.spent() {
			return false, nil
		}
		size := max(1, sum.step-n*max(1, sum.step/7))
		p, err := r.open(ctx, sum.ask.sized(size))
		if err == nil {
			err = r.exhaust(ctx, p, 2*max(1, r.server.memory/size))
		}
		if t.spend(p, err) != nil {
			return false, err
		}
		if p.repeats == 0 && p.alike == 0 && p.agrees() && !r.server.doubts(p) {
			sum.take(p)
			return true, nil
		}
		sum.unsteady = sum.unsteady || p.unsteady || !equalCounts(p.announced(), sum.announced())
		before := len(sum.entries)
		sum.take(p)
		if sum.announced() != nil || p.repeats > 0 || p.moved || !p.ended ||
			len(p.entries) < len(sum.entries) || len(sum.entries) > before {
			same = 0
		} else if same++; same == 2 && !r.server.knowsBlanks() || same == 4 {
			return true, nil // passes whose pages end at other places
		}
	}
	return false, nil
}
