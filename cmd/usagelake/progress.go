package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/schemas/words"
)

// progress shows how far an export is: a bar for each account on a terminal, a line in the log now and then elsewhere.
// mu guards watched, and is taken before a watched's own, never after: the bars draw themselves in
// goroutines of their own, which take that one alone.
type progress struct {
	app  *app
	bars *mpb.Progress // nil where there is no terminal
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	watched []*watched
}

// watched is an account that is shown. mu guards eta; all else never changes. bar is nil where there is no terminal.
type watched struct {
	plan     jobs.Plan
	progress func() extract.Progress
	started  time.Time
	bar      *mpb.Bar

	mu  sync.Mutex
	eta eta
}

// look asks how far it is, and what to show of that.
func (w *watched) look() (extract.Progress, eta) {
	g := w.progress()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.eta.note(g, time.Now())
	return g, w.eta
}

// barLength is how many steps a bar has.
const barLength = 10_000

const (
	redraw   = 200 * time.Millisecond
	logEvery = 30 * time.Second
)

func (a *app) newProgress(ctx context.Context, cfg *config.Config) *progress {
	p := &progress{app: a, stop: make(chan struct{})}
	every := logEvery
	if a.Terminal && !a.quiet && !a.verbose && !a.json() {
		p.bars = mpb.New(mpb.WithOutput(a.Stderr), mpb.WithRefreshRate(redraw), mpb.WithAutoRefresh())
		every = redraw
	}
	p.wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.update()
			case <-p.stop:
				return
			}
		}
	})
	return p
}

// logger writes above the bars.
func (p *progress) logger() *slog.Logger {
	if p.bars == nil {
		return p.app.log
	}
	return slog.New(p.app.logHandler(p.bars))
}

// watch begins to show an account.
func (p *progress) watch(plan jobs.Plan, ask func() extract.Progress) {
	w := &watched{plan: plan, progress: ask, started: time.Now()}
	if p.bars != nil {
		w.bar = p.bars.New(0, mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"), mpb.BarWidth(24),
			mpb.PrependDecorators(decor.Name(plan.Account, decor.WC{W: len(plan.Account) + 1})),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return w.line() })),
		)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = append(p.watched, w)
}

// line is what a bar says: pages of pages, records, the rate that was reached, the time left.
func (w *watched) line() string {
	g, e := w.look()
	elapsed := time.Since(w.started).Seconds()
	rate := 0.0
	if elapsed > 0 {
		rate = float64(g.Requests) / elapsed
	}
	s := fmt.Sprintf(" page %s of %s · %s records · %.2f/s", words.Count(g.Pages),
		words.Count(max(g.Pages, int64(e.total))), words.Count(g.Records), rate)
	if g.Throttled > 0 {
		s += fmt.Sprintf(" · %s × 429", words.Count(g.Throttled))
	}
	if g.PagesLeft > 0 {
		s += " · " + words.Took(e.left) + " left"
	}
	return s
}

// phase shows what is done after the fetching.
func (p *progress) phase(what string) {
	p.app.log.Debug("phase", "doing", what)
}

func (p *progress) update() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watched {
		g, e := w.look()
		if w.bar != nil {
			// One more than there is: a bar that is full would end, and be drawn no more.
			w.bar.SetTotal(barLength+1, false)
			w.bar.SetCurrent(int64(e.share * barLength))
			continue
		}
		if g.WindowsLeft > 0 {
			p.app.log.Info("progress", "account", w.plan.Account, "pages", g.Pages, "of_about", max(g.Pages, int64(e.total)),
				"records", g.Records,
				"windows_left", g.WindowsLeft, "left", e.left.Round(time.Second))
		}
	}
}

// close ends the ticking before it draws the last state, and waits for the bars without mu. No account is watched any
// more: the run has ended.
func (p *progress) close() {
	close(p.stop)
	p.wg.Wait()
	if p.bars == nil {
		return
	}
	p.update()
	p.mu.Lock()
	for _, w := range p.watched {
		if g := w.progress(); g.WindowsLeft > 0 {
			w.bar.Abort(false) // stopped midway: the bar stays as it stands
		} else {
			w.bar.SetTotal(-1, true)
		}
	}
	p.mu.Unlock()
	p.bars.Wait()
	fmt.Fprintln(p.app.Stderr)
}
