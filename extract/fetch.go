package extract

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/schemas"
)

// Defaults of a Fetcher.
const (
	// DefaultMaxRecords is what a window is planned to hold at the most, and twice that bounds it, and with it what an
	// interruption costs and the memory a window takes.
	DefaultMaxRecords = 20_000
	// maxPages bounds a window of a server whose pages are small.
	maxPages = 200
	// hopeless is how many windows may fail in a row before the rest isn't tried in this run.
	hopeless = 3
)

// Margin is how many seconds more are asked for at the start of a window, so that it makes no difference whether
// the API takes the ends as inclusive or exclusive: [start-1, end] as sent holds [start, end) in every reading.
const Margin = 1

// FetchOptions make a Fetcher. Client and RunID are required.
type FetchOptions struct {
	Client     *Client
	RunID      string
	Version    string // of the program, for the seal
	PageSize   int    // 0: as the server shows to take, LargePage at the most
	MaxRecords int    // 0: DefaultMaxRecords
	Known      Learnt // of the server, by earlier runs
	Logger     *slog.Logger
	// Sealing, if it isn't nil, is how many sinks may be at work at once, of all the Fetchers that share it: a channel with
	// so much room. A window that waits for its sink is compressed.
	Sealing chan struct{}
	// Held, if it isn't nil, tells what is held of a window already; nil if nothing is.
	Held func(context.Context, schemas.Window) (*Held, error)
}

// Fetcher fetches windows of one account, several at a time, each proven complete (see proof.go) or reported.
//
// A window that would hold too much, that keeps moving, or whose pages and totals contradict each other is split in time.
// One of a single second that can't be proven is yielded with what came of it, marked as such, and reported.
//
// A Fetcher is for one run of one account; its methods are safe for concurrent use.
type Fetcher struct {
	opts   FetchOptions
	client *Client
	log    *slog.Logger
	server *server

	currency string

	mu      sync.Mutex // guards all below
	changed *sync.Cond
	queue   []*task // in time order
	active  map[int64]*progress
	out     Outcome
	inARow  int // windows that failed since one was sealed
	// density is records a second over the last day or so of what was fetched: that of a second, or of a night, alone says nothing
	// of the day around it.
	density struct{ rows, seconds float64 }

	// For the end of a run, see finish.
	empties  []*look
	blanks   bool // the server has answered empty where there was something
	refusals []refused
	borders  []border
	ends     []int64     // of windows that no other follows, until they were looked beyond
	first    time.Time   // start of the earliest window that was answered; zero if none was
	some     []time.Time // starts of windows that had records

	pages, records, windows atomic.Int64
}

// Outcome is what became of the windows of a Fetch that were not yielded as complete.
type Outcome struct {
	// Failed are the windows that could not be fetched, or not proven, in time order.
	Failed []schemas.FailedWindow
	// Horizon is where the Portal's records begin: it refused all windows before and none after, or lists nothing any more of what
	// is held of the time before. Zero if neither was.
	Horizon time.Time
	// Doubts are windows of which much of what is held didn't come.
	Doubts []Doubt
	// Kept is how many of Failed were answered, and are held as they were because what came is no better.
	Kept int
}

type progress struct {
	window   schemas.Window
	expected int // pages, 0 while unknown
	done     int
	asked    int // pages of this pass that the pacer has let through
}

// NewFetcher makes a Fetcher.
func NewFetcher(opts FetchOptions) *Fetcher {
	if opts.MaxRecords <= 0 {
		opts.MaxRecords = DefaultMaxRecords
	}
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Fetcher{opts: opts, client: opts.Client, log: log, active: map[int64]*progress{},
		server: newServer(opts.Known, opts.PageSize, maxPages, log)}
	f.changed = sync.NewCond(&f.mu)
	return f
}

// SetCurrency sets the account's currency for the seals of the next Fetch; "" if it isn't known.
func (f *Fetcher) SetCurrency(code string) { f.currency = code }

// Learnt is what the server has shown of itself so far.
func (f *Fetcher) Learnt() Learnt {
	f.server.mu.Lock()
	defer f.server.mu.Unlock()
	l := f.server.Learnt
	if f.server.settled {
		l.PageSize = f.server.size
	}
	return l
}

// Sink takes a window. It is called from several goroutines; its pages are its own from then on.
type Sink func(ctx context.Context, s schemas.Seal, pages []schemas.Page) error

// task is a window to be fetched.
type task struct {
	window schemas.Window
	budget *budgetOf // of the window it is a part of
	passes int
	held   *Held
	must   []entry // what another window has shown to belong to this one
	tail   bool    // the end of a window that was kept, once more
	looks  int     // how often it came back empty and was not
}

// budgetOf bounds the requests that a planned window and its parts may take.
type budgetOf struct {
	used, pages atomic.Int64
	listed      atomic.Bool // a pass through it had records
	kept        atomic.Bool // one of its windows that has records was kept
}

// grow makes room for a window of so many pages.
func (b *budgetOf) grow(pages int) {
	for {
		n := b.pages.Load()
		if int64(pages) <= n || b.pages.CompareAndSwap(n, int64(pages)) {
			return
		}
	}
}

// spent says that the task has taken more requests than any proof is worth.
func (t *task) spent() bool { return t.budget.used.Load() > 128+16*t.budget.pages.Load() }

// spend charges the task with what a pass took since it was last called, and returns err.
func (t *task) spend(p *pass, err error) error {
	t.budget.used.Add(int64(p.requests - p.spent))
	p.spent = p.requests
	t.budget.grow(len(p.pages))
	if p.rows > 0 {
		t.budget.listed.Store(true)
	}
	return err
}

// Fetch fetches windows, earliest first, and hands each complete one (or the parts it was split into) to sink. It returns an
// error only where the account had to stop: the key was refused (ErrRefused), the context ended, or sink failed.
func (f *Fetcher) Fetch(ctx context.Context, windows []schemas.Window, sink Sink) (Outcome, error) {
	f.mu.Lock()
	f.queue, f.out, f.inARow = nil, Outcome{}, 0
	f.empties, f.refusals, f.borders, f.blanks, f.first, f.some = nil, nil, nil, false, time.Time{}, nil
	for _, w := range windows {
		f.queue = append(f.queue, &task{window: w, budget: &budgetOf{}})
	}
	f.ends = nil
	for _, w := range windows {
		if !slices.ContainsFunc(windows, func(o schemas.Window) bool { return !o.Start.After(w.End) && o.End.After(w.End) }) {
			f.ends = append(f.ends, w.End.Unix())
		}
	}
	clear(f.active)
	f.mu.Unlock()
	var err error
	for again := true; again && err == nil; {
		if err = f.run(ctx, sink); err == nil {
			again, err = f.finish(ctx, sink)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.out.Failed, func(a, b schemas.FailedWindow) int { return a.Start.Compare(b.Start) })
	return f.out, err
}

// run works off the queue.
func (f *Fetcher) run(ctx context.Context, sink Sink) error {
	f.mu.Lock()
	slices.SortFunc(f.queue, func(a, b *task) int { return a.window.Start.Compare(b.window.Start) })
	f.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changed.Broadcast()
	})
	defer stop()
	for {
		t, ok := f.take(ctx)
		if !ok {
			break
		}
		g.Go(func() (err error) {
			defer schemas.Guard(&err)
			return f.handle(ctx, t, sink)
		})
		for _, end := range f.due() {
			g.Go(func() (err error) {
				defer schemas.Guard(&err)
				return f.edge(ctx, end)
			})
		}
	}
	stopped := context.Cause(ctx)
	if err := g.Wait(); err != nil {
		return err
	}
	return stopped
}

// take gives the next task once it is time for it: when the pacer has let through every page that could be asked for,
// so that it always has one to send and no more windows are in memory than that takes. The first goes alone, for it shows
// what pages the server gives. It returns false when there is nothing left to do and nobody who might add to it.
func (f *Fetcher) take(ctx context.Context) (*task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ctx.Err() == nil && len(f.active) > 0 && (len(f.queue) == 0 || len(f.active) >= f.client.pacer.most || f.waiting() || !f.server.isAnswered()) {
		f.changed.Wait()
	}
	if len(f.queue) == 0 || ctx.Err() != nil {
		return nil, false
	}
	t := f.queue[0]
	f.queue = f.queue[1:]
	if windows := f.foresee(t.window); len(windows) > 1 {
		f.queue = append(t.cut(windows[1:]), f.queue...)
		t = t.cut(windows[:1])[0]
	}
	f.active[t.window.Start.Unix()] = &progress{window: t.window}
	return t, true
}

// due are the ends to be looked beyond, once the last window is under way.
func (f *Fetcher) due() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) > 0 {
		return nil
	}
	ends := f.ends
	f.ends = nil
	return ends
}

// cut makes tasks of the parts of one.
func (t *task) cut(windows []schemas.Window) []*task {
	var out []*task
	for _, w := range windows {
		part := &task{window: w, budget: t.budget}
		for _, e := range t.must {
			if e.key.hasID() && e.at >= w.Start.Unix() && e.at < w.End.Unix() {
				part.must = append(part.must, e)
			}
		}
		out = append(out, part)
	}
	return out
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

// expected is how many records a window holds if it is as dense as the last ones. The lock is held.
func (f *Fetcher) expected(w schemas.Window) float64 {
	return f.density.rows / max(1, f.density.seconds) * float64(w.Seconds())
}

// most is how many records a window is fetched with at the most. It is more than windows are planned for, so that one of the busy
// hours is not split for being busier than the day.
func (f *Fetcher) most() float64 { return f.server.most(2 * f.opts.MaxRecords) }

// foresee splits a window that would hold too much if it is as dense as the last ones, or is longer than the server takes.
func (f *Fetcher) foresee(w schemas.Window) []schemas.Window {
	records := f.expected(w)
	n := max(parts(records, f.most()), int(math.Ceil(min(48, records/float64(f.opts.MaxRecords)))))
	return w.Split(max(n, int(min(1000, (w.Seconds()-1)/f.server.longestRange()+1))))
}

// handle fetches t and decides what becomes of it. An error stops the account.
func (f *Fetcher) handle(ctx context.Context, t *task, sink Sink) error {
	w := t.window
	var err error
	if t.held, err = f.heldOf(ctx, w); err != nil {
		return err
	}
	p, proof, err := f.window(ctx, t)
	if err == nil && p.rows == 0 {
		f.finished(w, func() {
			f.answered(w, 0)
			f.empties = append(f.empties, &look{task: t, pass: p, proof: proof, at: time.Now()})
		})
		return nil
	}
	if err == nil {
		if err = f.keep(ctx, t, p, proof, sink); err != nil {
			return err
		}
		f.finished(w, func() {
			f.answered(w, p.rows)
			f.border(t, p)
		})
		return nil
	}
	var split *errSplit
	switch {
	case errors.As(err, &split):
		windows := w.Split(max(2, split.parts))
		f.log.Debug("window split", "window", w.String(), "parts", len(windows))
		f.finished(w, func() {
			f.queue = append(t.cut(windows), f.queue...)
		})
		return nil
	case ctx.Err() != nil: // w stays among the active ones: it is left to do
		return context.Cause(ctx)
	case errors.Is(err, ErrRefused):
		return err
	case refusal(err):
		f.finished(w, func() { f.refusals = append(f.refusals, refused{t, err}) })
		return nil
	}
	f.log.Warn("window failed", "window", w.String(), "error", err)
	f.finished(w, func() {
		f.fail(w, err)
		if errors.Is(err, ErrPermanent) { // it says nothing of the others
			return
		}
		f.inARow++
		if f.inARow < hopeless {
			return
		}
		for _, rest := range f.queue {
			f.fail(rest.window, fmt.Errorf("not tried: %d windows in a row had failed", f.inARow))
		}
		f.queue = nil
	})
	return nil
}

// fail reports a window. The lock is held.
func (f *Fetcher) fail(w schemas.Window, err error) {
	f.out.Failed = append(f.out.Failed, schemas.FailedWindow{Start: w.Start, End: w.End, Error: err.Error()})
}

// answered notes that a window was, with so many records. The lock is held.
func (f *Fetcher) answered(w schemas.Window, rows int) {
	f.inARow = 0
	if rows > 0 {
		f.some = append(f.some, w.Start)
	}
	const day = 24 * 60 * 60
	stays := max(0, 1-float64(w.Seconds())/day)
	f.density.rows = f.density.rows*stays + float64(rows)
	f.density.seconds = f.density.seconds*stays + float64(w.Seconds())
	if f.first.IsZero() || w.Start.Before(f.first) {
		f.first = w.Start
	}
}

// keep hands a window to sink, unless much of what is held of it is lacking.
func (f *Fetcher) keep(ctx context.Context, t *task, p *pass, proof string, sink Sink) error {
	if first, later := t.held.begins(t.window, p); later {
		begins := time.Unix(first, 0).UTC()
		forgotten, err := t.held.Forgotten(ctx, begins)
		if err != nil {
			return err
		}
		if forgotten { // what is held of the time before stays
			f.log.Warn("the API lists no records any more of what lies before: those that are held stay", "window", t.window.String(), "at", begins)
			rest := *t
			rest.window.Start = begins
			t = &rest
			t.held.cut(first)
			f.mu.Lock()
			if f.out.Horizon.Before(begins) {
				f.out.Horizon = begins
			}
			f.mu.Unlock()
		}
	}
	if d := t.held.doubt(t.window, p); d != nil {
		f.log.Error("much of what is held of a window did not come: it stays until another look agrees", "window", t.window.String(),
			"held", d.Held, "lacking", d.Gone, "came", d.Came)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.out.Doubts = append(f.out.Doubts, *d)
		return nil
	}
	seal := f.seal(t, p, proof)
	if proof == schemas.ProofNone {
		if gone := t.held.gone(p); gone > 0 { // it is no better than what is held
			f.mu.Lock()
			defer f.mu.Unlock()
			f.out.Kept++
			f.fail(t.window, fmt.Errorf("window %s: %d records came, which can't be shown to be all (%s), and lack %d of the %d that are held: these stay", t.window, len(p.entries), p.describe(), gone, t.held.n))
			return nil
		}
		f.mu.Lock()
		message := fmt.Sprintf("window %s: %d records came and are kept, but they can't be shown to be all (%s)", t.window, len(p.entries), p.describe())
		if seal.Lacking > 0 {
			message = fmt.Sprintf("window %s: %d records came and are kept, %d are lacking by what the API announces", t.window, len(p.entries), seal.Lacking)
		}
		f.fail(t.window, errors.New(message))
		f.mu.Unlock()
	}
	if err := f.deliver(ctx, seal, p.pages, sink); err != nil {
		return err
	}
	if p.rows > 0 {
		t.budget.kept.Store(true)
	}
	f.log.Debug("window kept", "window", t.window.String(), "proof", proof, "found", p.describe())
	f.records.Add(seal.Kept)
	f.windows.Add(1)
	return nil
}

// deliver hands a window to sink once that may be at work.
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

// finished takes w off the active ones after change was made, and wakes who waits for work.
func (f *Fetcher) finished(w schemas.Window, change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if change != nil {
		change()
	}
	delete(f.active, w.Start.Unix())
	f.changed.Broadcast()
}

// seal describes a window.
func (f *Fetcher) seal(t *task, p *pass, proof string) schemas.Seal {
	w := t.window
	s := schemas.Seal{
		Format: schemas.RawFormat, Kind: schemas.KindUsage, Account: w.Account, Start: w.Start, End: w.End,
		AskedStart: p.start, AskedEnd: p.end, PageSize: p.size, PageRecords: p.longest,
		Announced: p.first.total, Records: int64(len(p.entries)), Twice: int64(p.twice), Proof: proof,
		Kept:  p.within(noTime, noTime+1) + p.within(w.Start.Unix(), w.End.Unix()),
		Pages: len(p.pages), Requests: p.requests,
		RunID: f.opts.RunID, Version: f.opts.Version, Currency: f.currency,
	}
	if proof == schemas.ProofNone && s.Announced != nil {
		s.Lacking = max(0, *s.Announced-s.Records)
	}
	for _, page := range p.pages {
		s.RequestIDs = append(s.RequestIDs, page.RequestID)
		if page.FetchedAt.After(s.FetchedAt) {
			s.FetchedAt = page.FetchedAt
		}
	}
	return s
}

// Progress is how far a Fetcher is.
type Progress struct {
	Windows, WindowsLeft int64 // sealed; waiting or under way
	Pages, PagesLeft     int64 // answered; expected still, an estimate from the announced totals and the density so far
	Records              int64 // of sealed windows
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
		return int64(f.expected(w))/int64(max(1, f.server.pageSize())) + 1
	}
	for _, a := range f.active {
		expected := int64(a.expected)
		if expected == 0 {
			expected = guess(a.window)
		}
		p.PagesLeft += max(0, expected-int64(a.done))
	}
	for _, t := range f.queue {
		p.PagesLeft += guess(t.window)
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

// Count asks with one small request how much the API holds for a window, with the margins a fetch has.
func (f *Fetcher) Count(ctx context.Context, w schemas.Window) (Counted, error) {
	before, behind := f.server.margins()
	return f.CountAs(ctx, w, w.Start.Unix()-before, w.End.Unix()+behind)
}

// CountAs asks how much it holds for what a window was asked for, Unix seconds as they were sent.
func (f *Fetcher) CountAs(ctx context.Context, w schemas.Window, start, end int64) (Counted, error) {
	return f.count(ctx, nil, ask{window: w, start: start, end: end})
}

// Counted is what the API announces for a window: records of the detailed shape or tokens of the summary shape. Nil
// means that it doesn't say.
type Counted struct {
	Records, Tokens *int64
	Some            bool // a record came with the answer
}

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
