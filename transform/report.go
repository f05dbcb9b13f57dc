package transform

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/usagelake/usagelake/schemas"
)

// report sums up a day while its batches are made: counts, exact sums, findings. It sees the records in the order of
// the batches, so that it too owes nothing to the order they came in.
type report struct {
	count  schemas.DayStats
	total  wide // Σ total_amount
	off    wide // Σ discount_amount
	net    wide // Σ amount
	tokens wide // Σ tokens of summary records, margins included
	// summary: an owning window held a summary answer.
	summary bool

	// Its issues are at most schemas.MaxIssues, and one of CheckMore. sorted is made of it once, by finish.
	found  map[issueKey]*schemas.Issue
	listed map[string]int // distinct issues of each check
	more   int64          // records of issues beyond schemas.MaxIssues

	models map[string]*modelPrices
	staged []*modelPrices // of stage.models, of those that were met; see begin
	sorted []schemas.Issue

	strays map[[sha256.Size]byte]bool // contents of the records outside of the day that were counted
}

type issueKey struct{ check, field, model, detail string }

func (p *report) reset() {
	*p = report{found: map[issueKey]*schemas.Issue{}, listed: map[string]int{}, models: map[string]*modelPrices{},
		strays: map[[sha256.Size]byte]bool{}}
}

// maxNames bounds the issues of one check of drift: names the API makes up must not crowd out those about money.
const maxNames = 100

// issue counts n records under an issue. It returns the issue if it is new, for the caller to fill in the detail;
// detail in the key only tells apart what the other parts don't.
func (p *report) issue(check, severity, field, model, key string, n int64, sample []byte) *schemas.Issue {
	// The count of one that is known goes on beyond the bound: only new ones are turned away.
	k := issueKey{check, field, model, key}
	if i := p.found[k]; i != nil {
		i.Count += n
		return nil
	}
	if len(p.found) >= schemas.MaxIssues || check == schemas.CheckUnknown && p.listed[check] >= maxNames {
		p.more += n
		return nil
	}
	p.listed[check]++
	i := &schemas.Issue{
		Check: check, Severity: severity, Field: field, Model: model, Count: n, SampleID: string(clip(sample, maxName)),
	}
	p.found[k] = i
	return i
}

// window takes down what is counted once a window: what it brought that the day does not keep.
func (p *report) window(d *Day, no int, w *window) {
	s := &w.stage
	var owned []schemas.Segment
	for _, g := range d.segments {
		if g.Index == no {
			owned = append(owned, g)
		}
	}
	at := 0
	// Both lists are in order of time, so that one step through owned answers all. It is begun anew for dups.
	holds := func(t int64) bool { // asked in the order of time
		for at < len(owned) && t >= owned[at].End.UnixMicro() {
			at++
		}
		return at < len(owned) && t >= owned[at].Start.UnixMicro()
	}
	for _, i := range w.order[w.unplaced:] {
		if !holds(s.recs[i].time) {
			p.count.Ignored++
		}
	}
	at = 0
	for _, i := range w.dups {
		r := &s.recs[i]
		if !s.unplaced(r) && !holds(r.time) {
			continue
		}
		p.count.Duplicates++
		if i := p.issue(schemas.CheckDuplicate, schemas.Warning, "id", "", "", 1, s.id(r)); i != nil {
			i.Detail = "the same record came again, its content included: it counts once"
		}
	}
	p.outside(d, w)
	p.summary = p.summary || s.summary
	p.seal(d.windows[no].Seal)
}

// unlisted takes down a record that its instant's owner doesn't list.
func (p *report) unlisted(id []byte, at int64) {
	if i := p.issue(schemas.CheckUnlisted, schemas.Failure, "request_time", "", "", 1, id); i != nil {
		i.Detail = "a window lists records of before or after what it was asked for, " +
			"and the window whose time they lie in does not: they are in no table. The first is of " +
			time.UnixMicro(at).UTC().Format(time.RFC3339)
	}
}

// outside counts the records that a window brought from before the day and from after it. Windows next to each other
// may bring the same ones, where the API lists by another clock than it shows.
func (p *report) outside(d *Day, w *window) {
	day := d.partition.Window()
	first, end := w.within(day.Start.UnixMicro(), day.End.UnixMicro())
	count := func(records []uint32, n *int64) {
		for _, i := range records {
			r := &w.stage.recs[i]
			sum := sha256.Sum256(canonical(w.stage.bytes(r, r.raw)))
			if p.strays[sum] && len(w.stage.id(r)) > 0 {
				continue
			}
			p.strays[sum] = true
			*n++
			p.summaryTokens(r)
		}
	}
	count(w.order[w.unplaced:first], &p.count.Before)
	count(w.order[end:], &p.count.After)
}

func (p *report) summaryTokens(r *record) {
	if r.kind == kindSummary && r.bad == 0 && r.has(fTotalTokens) {
		p.tokens = p.tokens.add(wideOf(r.counts[cTotal]))
	}
}

// begin precedes the rows of a window, or of a stretch of it.
func (p *report) begin(s *stage) {
	p.staged = slices.Grow(p.staged[:0], len(s.models))[:len(s.models)]
	clear(p.staged)
}

// rows takes down the rows of a batch.
func (p *report) rows(s *stage, recs []uint32, seal schemas.Seal) {
	p.count.Rows += int64(len(recs))
	if seal.Currency == "" {
		p.issue(schemas.CheckCurrency, schemas.Warning, "currency_code", "", "", int64(len(recs)), s.id(&s.recs[recs[0]]))
	}
	for _, i := range recs {
		r := &s.recs[i]
		if r.has(fTotalAmount) {
			p.total = p.total.add(wideOf(int64(r.money[mTotal])))
		}
		if r.has(fDiscount) {
			p.off = p.off.add(wideOf(int64(r.money[mDiscount])))
		}
		if r.has(fAmount) {
			p.net = p.net.add(wideOf(int64(r.money[mAmount])))
		}
		p.summaryTokens(r)
		p.check(s, r)
	}
}

// reject takes down a reject.
func (p *report) reject(s *stage, r *record, f *fault) {
	p.count.Quarantined++
	if f.reason == schemas.ReasonNotAsked {
		p.issue(schemas.CheckNotAsked, schemas.Warning, f.field, "", "", 1, s.id(r))
		return
	}
	if i := p.issue(schemas.CheckQuarantine, schemas.Warning, string(clip([]byte(f.field), maxName)), "", f.reason, 1,
		s.id(r)); i != nil {
		i.Detail = f.reason
	}
}

func (p *report) stats() schemas.DayStats {
	st := p.count
	st.TotalAmount = p.total.decimal(schemas.DecimalScale)
	st.Discount = p.off.decimal(schemas.DecimalScale)
	st.Amount = p.net.decimal(schemas.DecimalScale)
	if p.summary {
		n := p.tokens.int64()
		st.SummaryTokens = &n
	}
	return st
}

// finish orders the issues.
func (p *report) finish() {
	p.finishPrices()
	if p.more > 0 {
		p.found[issueKey{check: schemas.CheckMore}] = &schemas.Issue{
			Check: schemas.CheckMore, Severity: schemas.Info, Count: p.more,
			Detail: "records with findings beyond those listed",
		}
	}
	p.sorted = make([]schemas.Issue, 0, len(p.found))
	for _, i := range p.found {
		p.sorted = append(p.sorted, *i)
	}
	slices.SortFunc(p.sorted, func(a, b schemas.Issue) int {
		return cmp.Or(cmp.Compare(a.Check, b.Check), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Model, b.Model),
			cmp.Compare(a.Detail, b.Detail), cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.SampleID, b.SampleID))
	})
}

func (p *report) issues() []schemas.Issue { return slices.Clone(p.sorted) }
