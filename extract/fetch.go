package extract

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/schemas"
)

// Defaults of a Fetcher.
const (
	DefaultPageSize = 100
	// DefaultMaxPages bounds a window, and with it what an interruption costs and the memory a window takes.
	DefaultMaxPages = 200
	// maxPasses is how often a window is paged through before it is split or given up.
	maxPasses = 4
	// hopeless is how many windows may fail in a row before the rest isn't tried in this run.
	hopeless = 3
)

// Margin is how many seconds more are asked for at the start of a window, so that it makes no difference whether
// the API takes the ends as inclusive or exclusive: [start-1, end] as sent holds [start, end) in every reading.
const Margin = 1

// FetchOptions make a Fetcher. Client and RunID are required.
type FetchOptions struct {
	Client   *Client
	RunID    string
	Version  string // of the program, for the seal
	PageSize int    // 0: DefaultPageSize
	MaxPages int    // 0: DefaultMaxPages
	Logger   *slog.Logger
	// Sealing, if it isn't nil, is how many sinks may be at work at once, of all the Fetchers that share it: a channel with
	// so much room. A window that waits for its sink is compressed.
	Sealing chan struct{}
}

// Fetcher fetches windows of one account, several at a time, each proven complete.
//
// A window is complete when its paging has ended (with an empty page, or one shorter than the server's own page size,
// which is learnt from what it sends), and
//
//   - the number of distinct records equals the announced total, which stayed the same on every page; or
//   - two whole passes gave the same records, and no more were announced than came, unless the total of a window
//     that fits in one page has shown that it can't be believed.
//
// Where fewer records come than were announced the server may not page that deep: the window is split in time, as is
// one that is longer than MaxPages. A window that keeps moving is paged through anew, then split; a window of one
// second that keeps moving has failed.
//
// A Fetcher is for one run of one account; its methods are safe for concurrent use.
type Fetcher struct {
	opts   FetchOptions
	client *Client
	log    *slog.Logger

	currency string

	mu      sync.Mutex
	queue   []schemas.Window // in time order
	active  map[int64]*progress
	failed  []schemas.FailedWindow
	inARow  int     // windows that failed since one was sealed
	density float64 // records a second of the last sealed window
	changed *sync.Cond

	// What was learnt of the server.
	pageSize   int      // to ask for
	sizeProven bool     // it was answered with a page
	longest    int      // records in the longest page so far
	maxPages   int      // how deep it pages
	maxSeconds int64    // how long a range it takes
	split      struct { // the last window that was split for its total
		window schemas.Window
		total  int64
	}
	totalLies bool // a window of one page had another total than records

	pages, records, windows atomic.Int64
}

type progress struct {
	window   schemas.Window
	expected int // pages, 0 while unknown
	done     int
	asked    int // pages of this pass that the pacer has let through
}

// NewFetcher makes a Fetcher.
func NewFetcher(opts FetchOptions) *Fetcher {
	if opts.PageSize <= 0 {
		opts.PageSize = DefaultPageSize
	}
	if opts.MaxPages <= 0 {
		opts.MaxPages = DefaultMaxPages
	}
	f := &Fetcher{opts: opts, client: opts.Client, log: opts.Logger, active: map[int64]*progress{},
		pageSize: opts.PageSize, maxPages: opts.MaxPages, maxSeconds: math.MaxInt64 / 2}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.changed = sync.NewCond(&f.mu)
	return f
}

// SetCurrency sets the account's currency for the seals of the next Fetch; "" if it isn't known.
func (f *Fetcher) SetCurrency(code string) { f.currency = code }

// Sink takes a complete window. It is called from several goroutines; its pages are its own from then on.
type Sink func(ctx context.Context, s schemas.Seal, pages []schemas.Page) error

// Fetch fetches windows, earliest first, and hands each complete one (or the parts it was split into) to sink. It
// returns the windows that could not be fetched, in time order, and an error only where the account had to stop:
// the key was refused (ErrRefused), the context ended, or sink failed.
func (f *Fetcher) Fetch(ctx context.Context, windows []schemas.Window, sink Sink) ([]schemas.FailedWindow, error) {
	f.mu.Lock()
	f.queue = slices.Clone(windows)
	slices.SortFunc(f.queue, func(a, b schemas.Window) int { return a.Start.Compare(b.Start) })
	f.failed, f.inARow = nil, 0
	clear(f.active)
	f.mu.Unlock()

	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changed.Broadcast()
	})
	defer stop()
	for {
		w, ok := f.take(ctx)
		if !ok {
			break
		}
		g.Go(func() (err error) {
			defer schemas.Guard(&err)
			return f.handle(ctx, w, sink)
		})
	}
	stopped := context.Cause(ctx)
	err := g.Wait()
	if err == nil {
		err = stopped
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.failed, func(a, b schemas.FailedWindow) int { return a.Start.Compare(b.Start) })
	return f.failed, err
}

// take gives the next window once it is time for it: when the pacer has let through every page that could be asked for,
// so that it always has one to send and no more windows are in memory than that takes. It returns false when there is
// nothing left to do and nobody who might add to it.
func (f *Fetcher) take(ctx context.Context) (schemas.Window, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ctx.Err() == nil && len(f.active) > 0 && (len(f.queue) == 0 || len(f.active) >= f.client.pacer.most || f.waiting()) {
		f.changed.Wait()
	}
	if len(f.queue) == 0 || ctx.Err() != nil {
		return schemas.Window{}, false
	}
	w := f.queue[0]
	f.queue = f.queue[1:]
	if parts := f.foresee(w); len(parts) > 1 {
		w = parts[0]
		f.queue = append(parts[1:], f.queue...)
	}
	f.active[w.Start.Unix()] = &progress{window: w}
	return w, true
}

// waiting says that an active window has a page that the pacer hasn't let through. The first page of a window is one;
// the others are from when the first has told of them. The lock is held.
func (f *Fetcher) waiting() bool {
	for _, a := range f.active {
		if a.asked < max(1, a.expected) {
			return true
		}
	}
	return false
}

// foresee splits a window that would hold too much if it is as dense as the last one, or is longer than the server takes.
func (f *Fetcher) foresee(w schemas.Window) []schemas.Window {
	parts := f.parts(f.density * float64(w.Seconds()))
	return w.Split(max(parts, int((w.Seconds()+f.maxSeconds-1)/f.maxSeconds)))
}

// parts is into how many windows so many records are to be split: into one if they fit.
func (f *Fetcher) parts(records float64) int {
	most := float64(f.maxPages) * float64(f.size())
	if records <= most {
		return 1
	}
	return int(records/(0.75*most)) + 1
}

// size is how many records a page is expected to hold.
func (f *Fetcher) size() int {
	if f.longest > 0 && f.longest < f.pageSize {
		return f.longest
	}
	return f.pageSize
}

// errSplit says that a window must be fetched in parts.
type errSplit struct{ parts int }

func (e *errSplit) Error() string { return fmt.Sprintf("must be split in %d", e.parts) }

// handle fetches w and decides what becomes of it. An error stops the account.
func (f *Fetcher) handle(ctx context.Context, w schemas.Window, sink Sink) error {
	seal, pages, err := f.window(ctx, w)
	if err == nil {
		err = f.deliver(ctx, seal, pages, sink)
		if err == nil {
			f.records.Add(seal.Records)
			f.windows.Add(1)
		}
		f.finish(w, func() {
			f.inARow = 0
			f.density = float64(seal.Records) / float64(w.Seconds())
		})
		return err
	}
	var split *errSplit
	switch {
	case errors.As(err, &split):
		parts := w.Split(max(2, split.parts))
		f.log.Debug("window split", "window", w.String(), "parts", len(parts))
		f.finish(w, func() {
			f.queue = append(parts, f.queue...)
		})
		return nil
	case ctx.Err() != nil: // w stays among the active ones: it is left to do
		return context.Cause(ctx)
	case errors.Is(err, ErrRefused):
		return err
	}
	f.log.Warn("window failed", "window", w.String(), "error", err)
	f.finish(w, func() {
		f.failed = append(f.failed, schemas.FailedWindow{Start: w.Start, End: w.End, Error: err.Error()})
		if errors.Is(err, ErrPermanent) { // it says nothing of the others
			return
		}
		f.inARow++
		if f.inARow < hopeless {
			return
		}
		for _, rest := range f.queue {
			f.failed = append(f.failed, schemas.FailedWindow{Start: rest.Start, End: rest.End,
				Error: fmt.Sprintf("not tried: %d windows in a row had failed", f.inARow)})
		}
		f.queue = nil
	})
	return nil
}

// deliver hands a complete window to sink once that may be at work.
func (f *Fetcher) deliver(ctx context.Context, seal schemas.Seal, pages []schemas.Page, sink Sink) error {
	if f.opts.Sealing != nil {
		f.opts.Sealing <- struct{}{} // what is complete is kept, even if the context has ended
		defer func() { <-f.opts.Sealing }()
	}
	if err := unpack(pages); err != nil {
		return fmt.Errorf("window %s: %w", seal.Window(), err)
	}
	return sink(ctx, seal, pages)
}

// finish takes w off the active ones after change was made, and wakes who waits for work.
func (f *Fetcher) finish(w schemas.Window, change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if change != nil {
		change()
	}
	delete(f.active, w.Start.Unix())
	f.changed.Broadcast()
}

// window pages through w until it is proven complete, or returns *errSplit or why it failed.
func (f *Fetcher) window(ctx context.Context, w schemas.Window) (schemas.Seal, []schemas.Page, error) {
	var before *pass
	requests := 0
	for n := 1; ; n++ {
		p, err := f.pass(ctx, w)
		if err != nil {
			return schemas.Seal{}, nil, err
		}
		requests += p.requests
		if proof := p.proof(before, f.lies()); proof != "" {
			if proof == schemas.ProofRepeat && p.cut() && w.Seconds() > 1 {
				// No total vouches for the end, so its halves must show that nothing lies beyond the last full page.
				f.keepShorter(len(p.pages))
				return schemas.Seal{}, nil, &errSplit{2}
			}
			return f.seal(w, p, requests, proof), p.pages, nil
		}
		if p.short() && p.steady && !f.lies() {
			if err := f.whyShort(ctx, w, p, before); err != nil {
				return schemas.Seal{}, nil, err
			}
		}
		if n == maxPasses {
			if w.Seconds() > 1 {
				return schemas.Seal{}, nil, &errSplit{2}
			}
			return schemas.Seal{}, nil, fmt.Errorf("window %s: %d passes did not agree on what it holds (the last found %s): %w", w, n, p.describe(), ErrTemporary)
		}
		f.log.Debug("window not proven complete, paging through it again", "window", w.String(), "pass", n, "found", p.describe())
		p.pages = nil // only what they held is compared
		before = p
	}
}

// seal describes a complete window.
func (f *Fetcher) seal(w schemas.Window, p *pass, requests int, proof string) schemas.Seal {
	s := schemas.Seal{
		Format: schemas.RawFormat, Kind: schemas.KindUsage, Account: w.Account, Start: w.Start, End: w.End,
		AskedStart: p.start, AskedEnd: p.end, PageSize: p.size,
		Announced: p.first.total, Records: int64(p.distinct), Proof: proof,
		Pages: len(p.pages), Requests: requests,
		RunID: f.opts.RunID, Version: f.opts.Version, Currency: f.currency,
	}
	for _, page := range p.pages {
		s.RequestIDs = append(s.RequestIDs, page.RequestID)
		if page.FetchedAt.After(s.FetchedAt) {
			s.FetchedAt = page.FetchedAt
		}
	}
	return s
}

// whyShort finds out why fewer records came than were announced while nothing moved. A window whose single, short page
// twice has another total than records shows that the total can't be believed: nil is returned. Else the server
// doesn't page deep enough, which is remembered, and w is to be split.
func (f *Fetcher) whyShort(ctx context.Context, w schemas.Window, p, before *pass) error {
	if p.onePage {
		if before != nil && before.onePage && before.most == p.most && maps.Equal(before.keys, p.keys) {
			f.disbelieve(w, p.most, p.distinct)
		}
		return nil
	}
	if w.Seconds() == 1 {
		return nil // it can't be split; unless a later pass is whole, it fails
	}
	parts := w.Split(4 * len(p.pages))
	small := parts[len(parts)/2]
	start, end := bounds(small)
	for try := 1; ; try++ {
		_, l, _, err := f.client.usagePage(ctx, small, start, end, 1, p.size, w.Start.Unix(), nil)
		if err != nil {
			return err
		}
		f.mu.Lock()
		short := len(l.keys) < f.size()
		f.mu.Unlock()
		if l.total == nil || !short || *l.total == int64(len(l.keys)) {
			break
		}
		if try == 2 {
			f.disbelieve(small, *l.total, len(l.keys))
			return nil
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.maxPages = max(1, min(f.maxPages, p.distinct/max(1, f.size())))
	f.log.Warn("the API pages less deep than it announces records: windows are kept shorter", "window", w.String(),
		"total", p.most, "records", p.distinct, "max_pages", f.maxPages)
	return &errSplit{f.parts(float64(p.most))}
}

// keepShorter remembers that windows of so many pages are long enough.
func (f *Fetcher) keepShorter(pages int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.maxPages = max(1, min(f.maxPages, pages))
}

func (f *Fetcher) disbelieve(w schemas.Window, total int64, records int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.totalLies {
		return
	}
	f.totalLies = true
	// What was split for such totals is put together again.
	var whole []schemas.Window
	for _, q := range f.queue {
		if n := len(whole); n > 0 && whole[n-1].End.Equal(q.Start) && whole[n-1].Date() == q.Date() {
			whole[n-1].End = q.End
			continue
		}
		whole = append(whole, q)
	}
	f.queue = whole
	f.log.Warn("the API's total can't be believed: windows are paged through twice", "window", w.String(),
		"total", total, "records", records)
}

// noteSplit remembers that w is split because it announced so much.
func (f *Fetcher) noteSplit(w schemas.Window, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.split.window, f.split.total = w, total
}

// repeats says that w, a part of a window that was split for its total, announces as much as the whole. Either all its
// records lie in w, or the total counts something else: the rest of the window, which is returned, tells.
func (f *Fetcher) repeats(w schemas.Window, total int64) (rest schemas.Window, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.split.window
	if total == 0 || total < f.split.total || w.Seconds() >= of.Seconds() || w.Start.Before(of.Start) || w.End.After(of.End) {
		return rest, false
	}
	if w.End.Before(of.End) {
		return schemas.Window{Account: w.Account, Start: w.End, End: of.End}, true
	}
	return schemas.Window{Account: w.Account, Start: of.Start, End: w.Start}, true
}

func (f *Fetcher) lies() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.totalLies
}

// bounds are the Unix seconds to ask for, so that [Start, End) comes whatever the API's ends mean.
func bounds(w schemas.Window) (start, end int64) { return w.Start.Unix() - Margin, w.End.Unix() }

// Progress is how far a Fetcher is.
type Progress struct {
	Windows, WindowsLeft int64 // sealed; waiting or under way
	Pages, PagesLeft     int64 // answered; expected still, an estimate from the announced totals and the density so far
	Records              int64 // in sealed windows
	Requests, Throttled  int64
	Rate                 float64 // requests a second the pacer allows now
}

// Progress gives the state of now.
func (f *Fetcher) Progress() Progress {
	counts := f.client.Counts()
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Progress{Windows: f.windows.Load(), Pages: f.pages.Load(), Records: f.records.Load(),
		Requests: counts.Requests, Throttled: counts.Throttled, Rate: f.client.pacer.Rate()}
	guess := func(w schemas.Window) int64 {
		return int64(f.density*float64(w.Seconds()))/int64(max(1, f.size())) + 1
	}
	for _, a := range f.active {
		expected := int64(a.expected)
		if expected == 0 {
			expected = guess(a.window)
		}
		p.PagesLeft += max(0, expected-int64(a.done))
	}
	for _, w := range f.queue {
		p.PagesLeft += guess(w)
	}
	p.WindowsLeft = int64(len(f.queue) + len(f.active))
	return p
}

// expect notes how many pages an active window is thought to have.
func (f *Fetcher) expect(w schemas.Window, pages int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.active[w.Start.Unix()]; a != nil {
		a.expected = pages
	}
}

// begin starts a pass of an active window: nothing of it has been asked for.
func (f *Fetcher) begin(w schemas.Window) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.active[w.Start.Unix()]; a != nil {
		a.expected, a.done, a.asked = 0, 0, 0
	}
}

// asking notes that the pacer has let the request for a page of an active window through.
func (f *Fetcher) asking(w schemas.Window, page int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.active[w.Start.Unix()]; a != nil {
		a.asked = max(a.asked, page)
		f.changed.Broadcast()
	}
}

// arrived counts a page of an active window.
func (f *Fetcher) arrived(w schemas.Window) {
	f.pages.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.active[w.Start.Unix()]; a != nil {
		a.done++
	}
}

// Count asks with one small request how much the API holds for the window p's day, with the margins a fetch has.
func (f *Fetcher) Count(ctx context.Context, w schemas.Window) (Counted, error) {
	start, end := bounds(w)
	_, l, _, err := f.client.usagePage(ctx, w, start, end, 1, 1, w.Start.Unix(), nil)
	if err != nil {
		return Counted{}, err
	}
	if l.summary {
		return Counted{Tokens: l.tokens}, nil
	}
	return Counted{Records: l.total}, nil
}

// Counted is what the API announces for a window: records of the detailed shape or tokens of the summary shape. Nil
// means that it doesn't say.
type Counted struct{ Records, Tokens *int64 }

// String is for a log: "4711 records".
func (c Counted) String() string {
	switch {
	case c.Records != nil:
		return fmt.Sprintf("%d records", *c.Records)
	case c.Tokens != nil:
		return fmt.Sprintf("%d tokens", *c.Tokens)
	}
	return "no count"
}
