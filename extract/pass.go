package extract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/schemas"
)

// pass is one paging through a window.
type pass struct {
	start, end int64 // as asked, Unix seconds
	size       int   // as asked
	requests   int   // retries included

	pages    []schemas.Page // packed: the first, and those that brought something new
	first    *listing
	last     *listing            // of the last of pages
	lastLen  int                 // records on the highest page asked for
	keys     map[recordKey]int32 // how often each came
	rows     int
	distinct int   // records: rows less those whose id had come before
	tokens   int64 // of summary records
	most     int64 // the largest total announced
	known    bool  // a total was announced
	steady   bool  // every page with records announced the same
	longest  int   // records in the longest page
	over     bool  // a page brought nothing new: the paging has ended
	onePage  bool  // the first page was short, and all there was
}

// short says that fewer records came than were announced.
func (p *pass) short() bool { return p.known && int64(p.distinct) < p.most }

// cut says that the last page was full: the records may end there, or the server may not page deeper.
func (p *pass) cut() bool { return p.rows > 0 && !p.onePage && len(p.last.keys) >= p.longest }

func (p *pass) describe() string {
	total := "no total"
	if p.known {
		total = fmt.Sprintf("a total of %d", p.most)
		if !p.steady {
			total += " at most, which changed"
		}
	}
	return fmt.Sprintf("%d records of %d ids with %s", p.rows, p.distinct, total)
}

// proof says how p is proven complete, "" if it isn't. before is the pass before it, nil if p is the first; lies says
// that totals can't be believed.
func (p *pass) proof(before *pass, lies bool) string {
	switch {
	case p.first.summary:
		// No count is announced, but a sum of tokens, of the window or of the page: of the window if it is more than one.
		if p.first.tokens != nil && p.steady && p.tokens == *p.first.tokens {
			return schemas.ProofTotal
		}
	case p.known && p.steady && p.most == int64(p.distinct) && !lies:
		return schemas.ProofTotal
	}
	if before != nil && maps.Equal(p.keys, before.keys) && (!p.short() || lies) {
		return schemas.ProofRepeat
	}
	return ""
}

// add takes the next page in order of number.
func (p *pass) add(page schemas.Page, l *listing) {
	p.lastLen = len(l.keys)
	if len(l.keys) > 0 && l.total != nil {
		p.known = true
		p.most = max(p.most, *l.total)
	}
	if p.first == nil {
		p.first = l
		if l.total != nil {
			p.known, p.most = true, *l.total
		}
	} else {
		if !p.brings(l) {
			p.over = true
			return
		}
		if !same(l.total, p.first.total) || !same(l.tokens, p.first.tokens) {
			p.steady = false
		}
		if p.over { // records after a page without any: the pages moved
			p.steady = false
		}
	}
	p.pages = append(p.pages, page)
	p.last = l
	p.longest = max(p.longest, len(l.keys))
	p.rows += len(l.keys)
	p.tokens += l.sum
	for _, k := range l.keys {
		// What has no id is one of its own each time it comes; an id counts once.
		if p.keys[k] == 0 || l.summary || !k.hasID() {
			p.distinct++
		}
		p.keys[k]++
	}
}

// brings says whether a page holds something new. Some servers answer a page past the end with the last one again.
// Summary records have no identity, so only a page that equals the one before it tells nothing new.
func (p *pass) brings(l *listing) bool {
	if l.summary {
		if len(l.keys) == 0 || len(l.keys) != len(p.last.keys) {
			return len(l.keys) > 0
		}
		for i, k := range l.keys {
			if k != p.last.keys[i] {
				return true
			}
		}
		return false
	}
	for _, k := range l.keys {
		if p.keys[k] == 0 {
			return true
		}
	}
	return false
}

func same(a, b *int64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// pass pages through w once.
func (f *Fetcher) pass(ctx context.Context, w schemas.Window) (*pass, error) {
	p := &pass{keys: map[recordKey]int32{}, steady: true}
	p.start, p.end = bounds(w)
	f.begin(w)
	if err := f.firstPage(ctx, w, p); err != nil {
		return nil, err
	}
	n := len(p.first.keys)
	total := p.first.total
	if p.first.summary {
		total = nil
	}
	if total != nil {
		if other, ok := f.repeats(w, *total); ok {
			start, end := bounds(other)
			_, l, attempts, err := f.client.usagePage(ctx, other, start, end, 1, p.size, w.Start.Unix(), nil)
			if err != nil {
				return nil, err
			}
			p.requests += attempts
			if l.total != nil && *l.total >= *total {
				f.disbelieve(w, *total, n)
			}
		}
	}
	if f.lies() {
		total = nil
	}

	f.mu.Lock()
	// A page as long as the longest so far, but shorter than asked for, may be as long as this server's pages get.
	suspect := n > 0 && n < p.size && n >= f.longest
	f.longest = max(f.longest, n)
	parts := 1
	if total != nil {
		parts = f.parts(float64(*total))
	}
	most := f.maxPages
	f.mu.Unlock()
	if parts > 1 && w.Seconds() > 1 {
		f.noteSplit(w, *total)
		return nil, &errSplit{parts}
	}

	size := p.size // the server's own, as far as this window shows it
	if n > size || (total != nil && *total > int64(n) && n > 0) {
		size = n
	}
	switch {
	case n == 0:
		p.onePage = true
		return p, nil
	case total == nil:
	case *total > int64(n):
		// The announced pages, all at once: the pacer sends them in order.
		// A second that holds more than a window may is asked for in turns, so that a total without sense costs little.
		pages := int(min(*total/int64(size)+1, int64(2*max(most, f.opts.MaxPages, DefaultMaxPages))))
		if *total%int64(size) == 0 {
			pages = min(pages, int(*total/int64(size)))
		}
		f.expect(w, pages)
		if err := f.turn(ctx, w, p, 2, pages); err != nil {
			return nil, err
		}
		if p.over && len(p.pages) == 1 && n < p.size && !suspect {
			p.onePage = true
		}
		if p.over || (p.lastLen < size && int64(p.rows) >= *total) {
			return p, nil
		}
	case *total == int64(n) && n < size && !suspect:
		p.onePage = true
		f.expect(w, 1)
		return p, nil
	}
	// What was announced has come, or nothing was announced: on, until a page brings nothing new.
	for next, step := len(p.pages)+1, 1; !p.over; next += step {
		if next > 2*most && w.Seconds() > 1 {
			return nil, &errSplit{4}
		}
		if next > 2*max(most, f.opts.MaxPages, DefaultMaxPages) {
			return nil, fmt.Errorf("window %s: %d pages did not end it (%s): %w", w, next-1, p.describe(), ErrPermanent)
		}
		if total == nil {
			step = min(2*step, 8)
		}
		f.expect(w, next+step-1)
		if err := f.turn(ctx, w, p, next, next+step-1); err != nil {
			return nil, err
		}
	}
	p.onePage = len(p.pages) == 1 && n < p.size && !suspect
	return p, nil
}

// firstPage asks for page 1. A server may refuse the page size or the length of the range with a 400, and doesn't say
// which: a short range in place of w tells.
func (f *Fetcher) firstPage(ctx context.Context, w schemas.Window, p *pass) error {
	for {
		f.mu.Lock()
		size := f.pageSize
		f.mu.Unlock()
		page, l, attempts, err := f.client.usagePage(ctx, w, p.start, p.end, 1, size, w.Start.Unix(), func() { f.asking(w, 1) })
		p.requests += attempts
		if err == nil {
			f.mu.Lock()
			f.sizeProven = true
			f.mu.Unlock()
			p.size = size
			f.arrived(w)
			page.Body = pack(page.Body)
			p.add(page, l)
			return nil
		}
		if !badRequest(err) {
			return err
		}
		if probe := (schemas.Window{Account: w.Account, Start: w.Start, End: w.Start.Add(shortRange)}); w.Seconds() > 2*probe.Seconds() {
			start, end := bounds(probe)
			_, _, _, probeErr := f.client.usagePage(ctx, probe, start, end, 1, size, w.Start.Unix(), nil)
			if probeErr == nil {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.sizeProven = true
				f.maxSeconds = min(f.maxSeconds, w.Seconds()/2)
				f.log.Warn("the API refuses a range of this length: windows are kept shorter", "window", w.String(),
					"max", time.Duration(f.maxSeconds)*time.Second, "error", err)
				return &errSplit{2}
			}
			if !badRequest(probeErr) {
				return probeErr
			}
		}
		if !f.smallerPages(size) {
			return err
		}
		f.log.Info("the API refused the page size, trying a smaller one", "asked", size, "error", err)
	}
}

// shortRange is a range that every server is taken to accept.
const shortRange = 10 * time.Minute

func badRequest(err error) bool {
	var api *APIError
	return errors.As(err, &api) && api.Status == http.StatusBadRequest
}

// smallerPages lowers the page size after the server refused one, until a size has been answered. When every size is
// refused the size is not what is wrong, and it is as before.
func (f *Fetcher) smallerPages(refused int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pageSize < refused {
		return true // another window has lowered it
	}
	if f.sizeProven {
		return false
	}
	for _, s := range []int{100, 50, 20, 10} {
		if s < refused {
			f.pageSize = s
			return true
		}
	}
	f.pageSize = f.opts.PageSize
	f.sizeProven = true
	return false
}

// turn asks for the pages from to to, as many at once as the pacer lets through, and adds them in order. A page that
// has not been let through is a number: the one after it gets its goroutine when it has.
func (f *Fetcher) turn(ctx context.Context, w schemas.Window, p *pass, from, to int) error {
	type got struct {
		page     schemas.Page
		listing  *listing
		attempts int
	}
	pages := make([]got, to-from+1)
	g, gctx := errgroup.WithContext(ctx)
	asked := 0
	for i := range pages {
		if gctx.Err() != nil {
			break
		}
		asked++
		next := make(chan struct{})
		sending := sync.OnceFunc(func() {
			f.asking(w, from+i)
			close(next)
		})
		g.Go(func() (err error) {
			defer sending()
			defer schemas.Guard(&err)
			a := &pages[i]
			a.page, a.listing, a.attempts, err = f.client.usagePage(gctx, w, p.start, p.end, from+i, p.size, w.Start.Unix(), sending)
			if err == nil {
				f.arrived(w)
				a.page.Body = pack(a.page.Body)
			}
			return err
		})
		<-next
	}
	err := g.Wait()
	if ctx.Err() != nil && (err != nil || asked < len(pages)) { // all that were asked for may have come, and the rest was not
		return context.Cause(ctx)
	}
	if err != nil {
		return f.tooDeep(w, from, to, err)
	}
	for _, a := range pages {
		p.requests += a.attempts
		p.add(a.page, a.listing)
	}
	return nil
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

// tooDeep turns a 400 to a later page, where the first was answered, into a split: the server doesn't page so deep.
func (f *Fetcher) tooDeep(w schemas.Window, from, to int, err error) error {
	if !badRequest(err) || w.Seconds() == 1 {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.maxPages = max(1, min(f.maxPages, to/2)) // several windows may learn it at once
	f.log.Warn("the API refused a later page: windows are kept shorter", "window", w.String(), "from_page", from,
		"max_pages", f.maxPages, "error", err)
	return &errSplit{4}
}
