package extract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/s2"
	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/schemas"
)

// ask is what a pass asks for: the records of a window in [start, end] as sent, Unix seconds, of which a filter may leave
// only those of a token or a user.
type ask struct {
	window     schemas.Window // whose turn it is, and for messages
	start, end int64
	size       int // of a page; 0: as the server is known to take
	field      string
	value      string // of field, which is token_id or user_id; no filter if field is ""
}

// pass is one paging through what was asked for.
type pass struct {
	ask
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
	longest  int   // records in the longest page
	repeats  int   // records that another page had brought: as many may be lacking
	twice    int   // records that stood twice on one page
	alike    int   // records without an id that equal one of another page: they may be it
	unsteady bool  // pages announced different totals
	moved    bool  // records came after a page without any
	ended    bool  // the paging has ended: with an empty page, one that brought nothing new, a refused or a short one
	blankEnd bool  // it was ended by a page without any
	most     int   // of a sum of passes, records in the longest of them
	divided  bool  // of a sum: its parts by a field brought nothing new
	refused  error // what a page past the end was answered with, if that was an error
}

// mark is where a record came, and how often.
type mark struct{ page, count int32 }

// announced is what the first page announced: of the detailed shape records, of the summary shape tokens. nil if nothing.
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

// agrees says that as much came as was announced, on every page alike. A record that stands twice on one page is one record,
// which some servers list and count twice; a page is one look at the data, so that nothing can have slipped through.
func (p *pass) agrees() bool {
	a := p.announced()
	return a != nil && !p.unsteady && (*a == p.held() || p.repeats == 0 && !p.first.summary && *a == p.held()+int64(p.twice))
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

// add takes the next page in order of number. Some servers answer a page past the end with the last one again, so a page
// that brings nothing new ends the paging.
func (p *pass) add(page schemas.Page, l *listing) {
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

// open begins a pass with its first page.
func (f *Fetcher) open(ctx context.Context, a ask) (*pass, error) {
	p := &pass{ask: a, seen: map[recordKey]mark{}, next: 2}
	f.begin(a.window)
	return p, f.firstPage(ctx, p)
}

// announcedPages asks for the pages that the total announces, but no more than most in all. Where it announces no more than
// the first page holds there are none, whatever lies beyond.
func (f *Fetcher) announcedPages(ctx context.Context, p *pass, most int) error {
	n := int64(len(p.first.entries))
	total := p.first.total
	switch {
	case n == 0:
		p.ended = true
	case total == nil || p.first.summary: // a summary's total counts tokens
		return f.exhaust(ctx, p, most)
	case *total > n:
		pages := min(pagesFor(*total, p.step), most)
		f.expect(p.window, pages)
		return f.turn(ctx, p, pages)
	}
	f.expect(p.window, 1)
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

// exhaust goes on until the paging ends, or most pages have come. A single page of which there have been much longer ones has
// ended.
func (f *Fetcher) exhaust(ctx context.Context, p *pass, most int) error {
	if p.next == 2 && len(p.first.entries) < p.size && 2*len(p.first.entries) <= f.server.longestPage() {
		p.ended = true
	}
	for step := 1; !p.ended && p.next <= most; step = min(2*step, 8) {
		to := min(p.next+step-1, most)
		f.expect(p.window, to)
		if err := f.turn(ctx, p, to); err != nil {
			return err
		}
		if p.moved {
			f.blank()
		}
		if a := p.announced(); p.blankEnd && (f.knowsBlanks() || a != nil && *a > p.held() && !p.first.summary) { // there may be more
			if err := f.endAgain(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// endAgain asks once more for the page that ended a pass with nothing on it, and goes on if there is something.
func (f *Fetcher) endAgain(ctx context.Context, p *pass) error {
	rest := p.ask
	rest.size = p.step
	number := len(p.pages) + 1
	page, l, attempts, err := f.client.usagePage(ctx, rest, number, rest.size, nil)
	p.requests += max(1, attempts)
	if refusal(err) || err == nil && len(l.entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	f.blank()
	page.Body = pack(page.Body)
	p.ended, p.blankEnd = false, false
	p.add(page, l)
	p.next = number + 1
	return nil
}

// firstPage asks for page 1. A server may refuse the page size or the length of the range, and doesn't say which: a short
// range in place of the window tells.
func (f *Fetcher) firstPage(ctx context.Context, p *pass) error {
	for {
		size := p.size
		if size == 0 {
			size = f.server.pageSize()
		}
		page, l, attempts, err := f.client.usagePage(ctx, p.ask, 1, size, func() { f.asking(p.window, 1) })
		p.requests += attempts
		if err == nil {
			p.size = size
			f.arrived(p.window)
			page.Body = pack(page.Body)
			p.add(page, l)
			f.server.page(size, len(l.entries), false)
			return nil
		}
		if errors.Is(err, errTooLarge) {
			p.size = 0
			if !f.server.tooLarge(size) {
				return err
			}
			f.log.Info("an answer was too large, smaller pages are asked for", "window", p.window.String(), "asked", size)
			continue
		}
		if !refusal(err) || p.size > 0 {
			return err
		}
		if probe := p.ask; p.end-p.start > 2*shortRange && !f.wasRefused(p.window) {
			probe.end = probe.start + shortRange
			_, _, attempts, probeErr := f.client.usagePage(ctx, probe, 1, size, nil)
			p.requests += attempts
			if probeErr == nil {
				f.server.refusesRange(p.window, err)
				return &errSplit{2}
			}
			if !refusal(probeErr) {
				return probeErr
			}
		}
		if !f.server.refuse(size) {
			return err
		}
		f.log.Info("the API refused the page size, trying a smaller one", "asked", size, "error", err)
	}
}

// shortRange is a range, in seconds, that every server is taken to accept.
const shortRange = int64(10 * time.Minute / time.Second)

// refusal says that the server won't answer this, however often it is asked.
func refusal(err error) bool {
	var api *APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// turn asks for the pages up to to, as many at once as the pacer lets through, and adds them in order. A page that has not
// been let through is a number: the one after it gets its goroutine when it has. None is begun once one has come that ends
// the paging.
func (f *Fetcher) turn(ctx context.Context, p *pass, to int) error {
	type got struct {
		page     schemas.Page
		listing  *listing
		attempts int
		refused  error
	}
	var pages []*got
	var over atomic.Bool
	g, gctx := errgroup.WithContext(ctx)
	rest := p.ask
	rest.size = p.step
	for number := p.next; number <= to && gctx.Err() == nil && !over.Load(); number++ {
		next := make(chan struct{})
		sending := sync.OnceFunc(func() {
			f.asking(p.window, number)
			close(next)
		})
		a := &got{}
		pages = append(pages, a)
		g.Go(func() (err error) {
			defer sending()
			defer schemas.Guard(&err)
			a.page, a.listing, a.attempts, err = f.client.usagePage(gctx, rest, number, rest.size, sending)
			switch {
			case refusal(err): // it is past the end, or deeper than the server pages
				a.refused = err
				over.Store(true)
				return nil
			case err != nil:
				return err
			case len(a.listing.entries) == 0:
				over.Store(true)
			}
			f.arrived(p.window)
			a.page.Body = pack(a.page.Body)
			return nil
		})
		<-next
	}
	err := g.Wait()
	if ctx.Err() != nil && (err != nil || p.next+len(pages) <= to && !over.Load()) { // all that were asked for may have come, and the rest was not
		return context.Cause(ctx)
	}
	if errors.Is(err, errTooLarge) && f.server.tooLarge(rest.size) {
		return &errSplit{2}
	}
	if err != nil {
		return err
	}
	for i, a := range pages {
		p.requests += max(1, a.attempts)
		if a.refused != nil {
			p.ended, p.refused = true, a.refused
			continue
		}
		if p.next == 2 && i == 0 && p.brings(a.listing) {
			f.server.page(p.size, len(p.first.entries), true)
		}
		p.add(a.page, a.listing)
	}
	p.next += len(pages)
	return nil
}

// usagePage asks for one page of what a asks for. It also tells what the page lists and how many requests it took. sending,
// if it isn't nil, is called each time the pacer has let the request through.
func (c *Client) usagePage(ctx context.Context, a ask, page, size int, sending func()) (schemas.Page, *listing, int, error) {
	q := map[string][]string{
		"start_time": {strconv.FormatInt(a.start, 10)},
		"end_time":   {strconv.FormatInt(a.end, 10)},
		"page":       {strconv.Itoa(page)},
		"pagesize":   {strconv.Itoa(size)},
	}
	of := ""
	if a.field != "" {
		q[a.field] = []string{a.value}
		of = " of one " + a.field
	}
	op := fmt.Sprintf("GET /usage page %d of %s/%s%s", page, time.Unix(a.start, 0).UTC().Format(time.RFC3339), time.Unix(a.end, 0).UTC().Format(time.RFC3339), of)
	var l *listing
	answer, err := c.get(ctx, question{op: op, path: "usage", query: q, priority: a.window.Start.Unix(), sending: sending, valid: func(body []byte) (err error) {
		l, err = readListing(body)
		return err
	}})
	if err != nil {
		return schemas.Page{}, nil, 0, err
	}
	return schemas.Page{Number: page, RequestID: answer.requestID, FetchedAt: answer.at, Body: answer.body}, l, answer.attempts, nil
}

// pack compresses a page for the time that the rest of its window takes: with many accounts it is most of what is in
// memory. It takes body over, whose memory the next answer is read into.
func pack(body []byte) []byte {
	buf := packed.Get().(*[]byte)
	*buf = s2.EncodeBetter((*buf)[:cap(*buf)], body)
	p := bytes.Clone(*buf)
	if cap(body) <= keptBody {
		bodies.Put(&body)
		packed.Put(buf)
	}
	return p
}

// packed holds what pages are compressed into, bodies what answers are read into: together they were most of the garbage.
var (
	packed = sync.Pool{New: func() any { return new([]byte) }}
	bodies = sync.Pool{New: func() any { return new([]byte) }}
)

// keptBody bounds the memory that waits for the next answer; what it is compressed into is hardly larger.
const keptBody = 1 << 20

// unpack undoes pack for all pages of a window.
func unpack(pages []schemas.Page) error {
	for i := range pages {
		body, err := s2.Decode(nil, pages[i].Body)
		if err != nil {
			return fmt.Errorf("page %d can't be decompressed: %w", pages[i].Number, err)
		}
		pages[i].Body = body
	}
	return nil
}
