package extract

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// Sealing, if it isn't nil, is how many sinks may be at work at once, of all the Fetchers that share it: a channel
	// with so much room. A window that waits for its sink is compressed.
	Sealing chan struct{}
	// Held, if it isn't nil, tells what is held of a window already; nil if nothing is.
	Held func(context.Context, schemas.Window) (*Held, error)
}

// Fetcher fetches windows of one account, several at a time, each proven complete (see proof.go) or reported. A window
// goes one way through it:
//
//	queue    which is next, and when                            queue.go
//	pager    its pages, side by side                            ask.go, pass.go
//	prover   more passes and counts, until they show it whole   proof.go, second.go
//	keep     held against what is held of it, and sealed        held.go, seal.go
//	finish   what only all of them together show, which may     finish.go
//	         put some of them into the queue again
//
// What is learnt of the server on the way (server.go) all of these go by.
//
// A window that would hold too much, that keeps moving, or whose pages and totals contradict each other is split in
// time. One of a single second that can't be proven is yielded with what came of it, marked as such, and reported.
//
// A Fetcher is for one run of one account. Its methods are safe for concurrent use, but one Fetch runs at a time.
type Fetcher struct {
	opts   FetchOptions
	log    *slog.Logger
	server *server
	queue  *queue
	prover *prover
	found  findings

	currency string // set between two Fetches

	records, windows atomic.Int64 // sealed
}

// Outcome is what became of the windows of a Fetch that were not yielded as complete.
type Outcome struct {
	// Failed are the windows that could not be fetched, or not proven, in time order.
	Failed []schemas.FailedWindow
	// Horizon is where the Portal's records begin: it refused all windows before and none after, or lists nothing any more
	// of what is held of the time before. Zero if neither was.
	Horizon time.Time
	// Doubts are windows of which much of what is held didn't come.
	Doubts []Doubt
	// Kept is how many of Failed were answered, and are held as they were because what came is no better.
	Kept int
}

// NewFetcher makes a Fetcher.
func NewFetcher(opts FetchOptions) *Fetcher {
	if opts.MaxRecords <= 0 {
		opts.MaxRecords = DefaultMaxRecords
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := newServer(opts)
	return &Fetcher{
		opts: opts, log: opts.Logger, server: s,
		queue:  newQueue(s, opts.MaxRecords, opts.Client.pacer.most),
		prover: &prover{&pager{client: opts.Client, server: s, log: opts.Logger}},
	}
}

// SetCurrency sets the account's currency for the seals of the next Fetch; "" if it isn't known.
func (f *Fetcher) SetCurrency(code string) { f.currency = code }

// Learnt is what the server has shown of itself so far.
func (f *Fetcher) Learnt() Learnt { return f.server.learnt() }

// Fetch fetches windows, earliest first, and hands each complete one (or the parts it was split into) to sink. It
// returns an error only where the account had to stop: the key was refused (ErrRefused), the context ended, or sink
// failed. The Outcome is that of what was done until then; what was not is neither yielded nor among the failed.
func (f *Fetcher) Fetch(ctx context.Context, windows []schemas.Window, sink Sink) (Outcome, error) {
	f.found.reset()
	f.server.begin()
	f.queue.reset(windows)
	var err error
	for again := true; again && err == nil; {
		if err = f.run(ctx, sink); err == nil {
			again, err = f.finish(ctx, sink)
		}
	}
	return f.found.outcome(), err
}

// run works off the queue. It returns when nothing is under way any more, so that what the windows have shown is all
// there.
func (f *Fetcher) run(ctx context.Context, sink Sink) error {
	f.queue.sort()
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, f.queue.wake)
	defer stop()
	for {
		t, ok := f.queue.take(ctx)
		if !ok {
			break
		}
		g.Go(func() (err error) {
			defer schemas.Guard(&err)
			return f.handle(ctx, t, sink)
		})
		for _, end := range f.queue.due() {
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

// handle fetches t and decides what becomes of it. An error stops the account, and leaves t among those under way: it
// is left to do. Else what t has shown is noted before it is taken off the queue, for with the last one the run ends.
func (f *Fetcher) handle(ctx context.Context, t *task, sink Sink) error {
	w := t.window
	var err error
	if t.held, err = f.heldOf(ctx, w); err != nil {
		return err
	}
	p, proof, err := f.prover.prove(ctx, t)
	if err == nil {
		if p.rows == 0 { // kept once the end of the run has shown that it isn't an outage that answers empty
			f.found.empty(t, p, proof)
		} else {
			if err := f.keep(ctx, t, p, proof, sink); err != nil {
				return err
			}
			f.found.border(t, p)
		}
		f.found.answered(w, p.rows)
		f.queue.answered(t, p.rows)
		return nil
	}
	var split *errSplit
	switch {
	case errors.As(err, &split):
		windows := w.Split(max(2, split.parts))
		f.log.Debug("window split", "window", w.String(), "parts", len(windows))
		f.queue.split(t, windows)
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrRefused):
		return err
	case refusal(err): // finish decides whether it is the horizon
		f.found.refused(t, err)
		f.server.refusesWindow(w)
		f.queue.done(t)
		return nil
	}
	f.log.Warn("window failed", "window", w.String(), "error", err)
	f.found.failed(w, err)
	if errors.Is(err, ErrPermanent) { // it says nothing of the others
		f.queue.done(t)
		return nil
	}
	rest, inARow := f.queue.failed(t)
	for _, r := range rest {
		f.found.failed(r.window, fmt.Errorf("not tried: %d windows in a row had failed", inARow))
	}
	return nil
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
	client := f.prover.client
	counts := client.Counts()
	p := Progress{Windows: f.windows.Load(), Pages: f.prover.pages.Load(), Records: f.records.Load(),
		Requests: counts.Requests, Throttled: counts.Throttled, Rate: client.pacer.Rate()}
	p.WindowsLeft, p.PagesLeft = f.queue.left()
	return p
}

// Count asks with one small request how much the API holds for a window, with the margins a fetch has.
func (f *Fetcher) Count(ctx context.Context, w schemas.Window) (Counted, error) {
	return f.count(ctx, f.server.asks(w))
}

// CountAs asks how much it holds for what a window was asked for, Unix seconds as they were sent.
func (f *Fetcher) CountAs(ctx context.Context, w schemas.Window, start, end int64) (Counted, error) {
	return f.count(ctx, ask{window: w, start: start, end: end})
}

func (f *Fetcher) count(ctx context.Context, a ask) (Counted, error) {
	got, err := f.prover.client.usage(ctx, a.sized(1))
	return got.counted(), err
}

// PageSize is how many records the server gives on a page, as a window that holds many shows; where it holds fewer,
// what would be asked for.
func (f *Fetcher) PageSize(ctx context.Context, w schemas.Window) (int, error) {
	p, err := f.prover.open(ctx, f.server.asks(w))
	if err != nil {
		return 0, err
	}
	if a := p.first.total; a != nil && *a > int64(len(p.first.entries)) {
		return max(1, p.step), nil
	}
	return p.size, nil
}
