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
	step    *step // what takes long after the fetching; nil until there is something
}

// step is something of which it is known how much there is to do. started never changes.
type step struct {
	what        string
	done, total int
	started     time.Time
	bar         *mpb.Bar
}

// left is how long the rest takes at the pace since a time; 0 if nothing is done yet.
func left(since time.Time, done, total int) time.Duration {
	if done == 0 {
		return 0
	}
	return time.Since(since) / time.Duration(done) * time.Duration(total-done)
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

// work shows how much is done of something, of how much.
func (p *progress) work(what string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.step == nil || p.step.what != what {
		p.endStep()
		started := time.Now()
		p.step = &step{what: what, started: started}
		if p.bars != nil {
			p.step.bar = p.bars.New(int64(total), mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
				mpb.BarWidth(24), mpb.PrependDecorators(decor.Name(what, decor.WC{W: len(what) + 1})),
				mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string {
					line := fmt.Sprintf(" %d of %d", s.Current, s.Total)
					if rest := left(started, int(s.Current), int(s.Total)); rest > 0 {
						line += " · " + words.Took(rest) + " left"
					}
					return line
				})))
		}
	}
	p.step.done, p.step.total = done, total
	if p.step.bar != nil {
		p.step.bar.SetCurrent(int64(done))
	}
}

// endStep ends the step that is shown: another begins, or nothing more comes.
func (p *progress) endStep() {
	switch {
	case p.step == nil || p.step.bar == nil:
	case p.step.done < p.step.total:
		p.step.bar.Abort(false) // stopped midway: the bar stays as it stands
	default:
		p.step.bar.SetTotal(-1, true)
	}
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
	if s := p.step; s != nil && s.bar == nil && s.done < s.total {
		p.app.log.Info("progress", "doing", s.what, "done", s.done, "of", s.total,
			"left", left(s.started, s.done, s.total).Round(time.Second))
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
	p.endStep()
	p.mu.Unlock()
	p.bars.Wait()
	fmt.Fprintln(p.app.Stderr)
}
