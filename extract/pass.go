package extract

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/schemas"
)

// pass is one paging through what was asked for. Pages come side by side and are added in order, by one goroutine.
type pass struct {
	ask          // but for its page; its size is 0 until a first page has come
	requests int // retries included
	spent    int // of these, those that the window's budget has been charged with

	pages    []schemas.Page // packed: the first, and those that brought something new
	first    *listing
	last     *listing           // of the last of pages
	seen     map[recordKey]mark // what came
	entries  []entry            // what came, each record once, in the order of the pages
	rows     int
	tokens   int64 // of summary records
	step     int   // records a page: as asked for, from the second page on as the first one came
	next     int   // the page to go on with
	longest  int   // records in the longest of pages
	repeats  int   // records that another page had brought: as many may be lacking
	twice    int   // records that stood twice on one page
	alike    int   // records without an id that equal one of another page: they may be it
	unsteady bool  // pages announced different totals
	moved    bool  // records came after a page without any
	ended    bool  // the paging has ended: with an empty page, one that brought nothing new, a refused or a short one
	blankEnd bool  // it was ended by a page without any
	most     int   // of a sum of passes, records in the longest of them
	divided  bool  // of a sum: its parts by a field brought nothing new
}

// mark is where a record came, and how often.
type mark struct{ page, count int32 }

// announced is what the first page announced: of the detailed shape records, of the summary shape tokens. nil if
// nothing.
func (p *pass) announced() *int64 {
	if p.first.summary {
		return p.first.tokens
	}
	return p.first.total
}

// held is what came of that: records, each once; or tokens.
func (p *pass) held() int64 {
	if p.first.summary {
		return p.tokens
	}
	return int64(len(p.entries))
}

// agrees says that as much came as was announced, on every page alike. A record that stands twice on one page is one
// record, which some servers list and count twice; a page is one look at the data, so that nothing can have slipped
// through.
func (p *pass) agrees() bool {
	a := p.announced()
	return a != nil && !p.unsteady &&
		(*a == p.held() || p.repeats == 0 && !p.first.summary && *a == p.held()+int64(p.twice))
}

// empty says that nothing came, and nothing was announced.
func (p *pass) empty() bool {
	a := p.announced()
	return p.rows == 0 && (a == nil || *a == 0)
}

// full says that the last page was: the records may end there by a limit.
func (p *pass) full() bool { return len(p.last.entries) >= p.longest && p.rows > 0 }

// brimful says so, too, and that a single page was as long as it was asked to be, or as the longest that came so far.
func (p *pass) brimful(longest int) bool {
	return p.full() && (len(p.pages) > 1 || p.longest >= longest || p.longest >= p.size)
}

func (p *pass) describe() string {
	total := "no total"
	if a := p.announced(); a != nil {
		total = fmt.Sprintf("a total of %d", *a)
		if p.unsteady {
			total += " at first, which changed"
		}
	}
	s := fmt.Sprintf("%d records on %d pages with %s", p.rows, len(p.pages), total)
	if p.repeats > 0 {
		s += fmt.Sprintf(", %d of them repeated", p.repeats)
	}
	return s
}

// within counts the records that show a second of [from, to).
func (p *pass) within(from, to int64) (n int64) {
	for _, e := range p.entries {
		if from <= e.at && e.at < to {
			n++
		}
	}
	return n
}

// add takes the next page in order of number. Some servers answer a page past the end with the last one again, so a
// page that brings nothing new ends the paging. Pages that were asked for side by side with that one are added all the
// same: where they bring something the end was none, and the pass is one that moved.
func (p *pass) add(got told) {
	page, l := got.page, got.listing
	switch {
	case p.first == nil:
		p.first = l
		p.step = p.size
		if n := len(l.entries); n > 0 && n < p.size {
			p.step = n
		}
	case !p.brings(l):
		p.ended = true
		p.blankEnd = len(l.entries) == 0
		return
	default:
		p.moved = p.moved || p.ended
		p.unsteady = p.unsteady || !equalCounts(l.total, p.first.total) || !equalCounts(l.tokens, p.first.tokens)
	}
	p.pages = append(p.pages, page)
	p.last = l
	p.longest = max(p.longest, len(l.entries))
	p.rows += len(l.entries)
	p.tokens += l.sum
	for _, e := range l.entries {
		m, came := p.seen[e.key]
		switch {
		case !came || l.summary || !e.key.hasID(): // what has no id is one of its own each time it comes
			p.entries = append(p.entries, e)
			if came && !l.summary && m.page != int32(page.Number) {
				p.alike++
			}
		case m.page == int32(page.Number):
			p.twice++
		default:
			p.repeats++
		}
		p.seen[e.key] = mark{int32(page.Number), m.count + 1}
	}
	p.blankEnd = false
	if len(l.entries) == 0 || page.Number > 1 && len(l.entries) < p.step {
		p.ended = true
	}
}

// brings says whether a page holds something new. Summary records have no identity, so only a page that equals the one
// before it tells nothing new.
func (p *pass) brings(l *listing) bool {
	if l.summary {
		return len(l.entries) > 0 && !slices.Equal(l.entries, p.last.entries)
	}
	return slices.ContainsFunc(l.entries, func(e entry) bool { _, came := p.seen[e.key]; return !came })
}

func equalCounts(a, b *int64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// pager pages through what is asked for, and learns of the server from what comes. It knows of no window but what an
// ask says, and nothing of what a page proves.
type pager struct {
	client *Client
	server *server
	log    *slog.Logger
	pages  atomic.Int64 // that came of passes
}

// open begins a pass with its first page. It gives the pass along with an error, too, for what it took.
func (g *pager) open(ctx context.Context, a ask) (*pass, error) {
	p := &pass{ask: a, seen: map[recordKey]mark{}, next: 2}
	a.progress.begin()
	return p, g.firstPage(ctx, p)
}

// announcedPages asks for the pages that the total announces, but no more than most in all. Where it announces no more
// than the first page holds there are none, whatever lies beyond.
func (g *pager) announcedPages(ctx context.Context, p *pass, most int) error {
	n := int64(len(p.first.entries))
	total := p.first.total
	switch {
	case n == 0:
		p.ended = true
	case total == nil || p.first.summary: // a summary's total counts tokens
		return g.exhaust(ctx, p, most)
	case *total > n:
		pages := min(pagesFor(*total, p.step), most)
		p.progress.expect(pages)
		return g.turn(ctx, p, pages)
	}
	p.progress.expect(1)
	return nil
}

// pagesFor is how many pages of size hold total records; of a total without sense, very many.
func pagesFor(total int64, size int) int {
	pages := total / int64(size)
	if total%int64(size) > 0 {
		pages++
	}
	return int(min(pages, 1<<30))
}

// exhaust goes on until the paging ends, or most pages have come. A single page of which there have been much longer
// ones has ended. How many are left isn't known, so it asks for 1, 2, 4 and then 8 at a time: those past the end are
// wasted.
func (g *pager) exhaust(ctx context.Context, p *pass, most int) error {
	if p.next == 2 && len(p.first.entries) < p.size && 2*len(p.first.entries) <= g.server.longestPage() {
		p.ended = true
	}
	for step := 1; !p.ended && p.next <= most; step = min(2*step, 8) {
		to := min(p.next+step-1, most)
		p.progress.expect(to)
		if err := g.turn(ctx, p, to); err != nil {
			return err
		}
		if p.moved {
			g.server.blank()
		}
		if p.blankEnd && (g.server.knowsBlanks() || p.isShort()) {
			if err := g.endAgain(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// isShort says that fewer records came than were announced.
func (p *pass) isShort() bool {
	a := p.announced()
	return a != nil && *a > p.held() && !p.first.summary
}

// endAgain asks once more for the page that ended a pass by having nothing on it. An empty page may be the end of the
// listing, or an outage that answers empty; the second answer tells which:
//
//	records   The first was an outage's. The page is added, the pass goes on behind it, and the server is known to blank.
//	empty     The pass has ended. If it is an outage that lasts, what follows lacks: that is for a proof to find out.
//	refusal   The page lies past the end, and this server refuses such pages. The pass has ended, too.
//	an error  Nothing is known of the page, so the pass can't be used.
//
// The page is the one after those that are kept, whatever number the empty one had: of pages asked for side by side the
// empty one needn't be the last.
func (g *pager) endAgain(ctx context.Context, p *pass) error {
	rest := p.ask.sized(p.step)
	rest.page = len(p.pages) + 1
	got, err := g.client.usage(ctx, rest)
	p.requests += max(1, got.attempts)
	if refusal(err) || err == nil && len(got.listing.entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	g.server.blank()
	got.page.Body = pack(got.page.Body)
	p.ended, p.blankEnd = false, false
	p.add(got)
	p.next = rest.page + 1
	return nil
}

// firstPage asks for page 1. A server may refuse the page size or the length of the range, and doesn't say which: a
// short range in place of the window tells.
//
//	too large an answer    smaller pages, from now on; what is too large with one record a page fails
//	refused, and a short
//	range isn't            the range is too long: the window is split, and later ones are shorter
//	refused, and a short
//	range is, too          smaller pages, until a size is answered or none is left: then the window is refused
//
// A size that was answered before isn't tried smaller, nor one that the pass was made with: other pages than those
// would compare with nothing.
func (g *pager) firstPage(ctx context.Context, p *pass) error {
	for {
		size := p.size
		if size == 0 {
			size = g.server.pageSize()
		}
		first := p.ask.sized(size)
		first.sending = func() { p.progress.asking(1) }
		got, err := g.client.usage(ctx, first)
		p.requests += got.attempts
		if err == nil {
			p.size = size
			g.arrived(p)
			got.page.Body = pack(got.page.Body)
			p.add(got)
			g.server.page(size, len(got.listing.entries), false)
			return nil
		}
		if errors.Is(err, errTooLarge) {
			p.size = 0
			if !g.server.tooLarge(size) {
				return err
			}
			g.log.Info("an answer was too large, smaller pages are asked for", "window", p.window.String(), "asked", size)
			continue
		}
		if !refusal(err) || p.size > 0 {
			return err
		}
		if p.end-p.start > 2*shortRange && !g.server.wasRefused(p.window) {
			probe, probeErr := g.client.usage(ctx, p.ask.between(p.start, p.start+shortRange).sized(size))
			p.requests += probe.attempts
			if probeErr == nil {
				g.server.refusesRange(p.window, err)
				return &errSplit{2}
			}
			if !refusal(probeErr) {
				return probeErr
			}
		}
		if !g.server.refuse(size) {
			return err
		}
		g.log.Info("the API refused the page size, trying a smaller one", "asked", size, "error", err)
	}
}

// shortRange is a range, in seconds, that every server is taken to accept.
const shortRange = int64(10 * time.Minute / time.Second)

// arrived counts a page of a pass.
func (g *pager) arrived(p *pass) {
	g.pages.Add(1)
	p.progress.arrived()
}

// turn asks for the pages up to to, as many at once as the pacer lets through, and adds them in order. A page that has
// not been let through is a number: the one after it gets its goroutine when it has. None is begun once one has come
// that ends the paging. Pages are added only when all have come: where one fails the pass is of no use, and is thrown
// away.
func (g *pager) turn(ctx context.Context, p *pass, to int) error {
	type answer struct {
		told
		refused bool // it is past the end, or deeper than the server pages
	}
	var answers []*answer
	var over atomic.Bool
	group, gctx := errgroup.WithContext(ctx)
	for number := p.next; number <= to && gctx.Err() == nil && !over.Load(); number++ {
		next := make(chan struct{})
		rest := p.ask.sized(p.step)
		rest.page = number
		rest.sending = sync.OnceFunc(func() {
			p.progress.asking(number)
			close(next)
		})
		a := &answer{}
		answers = append(answers, a)
		group.Go(func() (err error) {
			defer rest.sending() // a request that ended before it was let through must not hold up those behind it
			defer schemas.Guard(&err)
			a.told, err = g.client.usage(gctx, rest)
			switch {
			case refusal(err):
				a.refused = true
				over.Store(true)
				return nil
			case err != nil:
				return err
			case len(a.listing.entries) == 0:
				over.Store(true)
			}
			g.arrived(p)
			a.page.Body = pack(a.page.Body)
			return nil
		})
		<-next
	}
	err := group.Wait()
	// Where the context ended all that were asked for may have come, and the rest not been asked for.
	if ctx.Err() != nil && (err != nil || p.next+len(answers) <= to && !over.Load()) {
		return context.Cause(ctx)
	}
	if errors.Is(err, errTooLarge) && g.server.tooLarge(p.step) {
		return &errSplit{2}
	}
	if err != nil {
		return err
	}
	for i, a := range answers {
		p.requests += max(1, a.attempts)
		if a.refused {
			p.ended = true
			continue
		}
		if p.next == 2 && i == 0 && p.brings(a.listing) {
			g.server.page(p.size, len(p.first.entries), true)
		}
		p.add(a.told)
	}
	p.next += len(answers)
	return nil
}
