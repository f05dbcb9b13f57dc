package main

import (
	"math"
	"time"

	"github.com/usagelake/usagelake/extract"
)

// eta is what a bar shows of progress that is estimated anew with each page: how many pages there are swings with what
// the windows ahead are thought to hold, and the rate with each 429. What is shown follows with some inertia, and no
// bar runs backwards: share never falls, and is 1 only where no page is left. watched's mu guards it.
type eta struct {
	at    time.Time
	total float64       // pages there are, in all
	rate  float64       // pages a second
	left  time.Duration // until it is done
	share float64       // of the whole that is done, 0 to 1
}

// inertia is within what time what is shown comes most of the way to what is estimated: after 40 s 63 % of it, after
// two minutes 95 %.
const inertia = 40 * time.Second

// note takes what is estimated now.
func (e *eta) note(g extract.Progress, now time.Time) {
	pages, total := float64(g.Pages), float64(g.Pages+g.PagesLeft)
	first := e.at.IsZero()
	passed := max(0, now.Sub(e.at))
	e.at = now
	if g.PagesLeft == 0 {
		e.total, e.left = total, 0
		if g.Pages > 0 {
			e.share = 1
		}
		return
	}
	if first || e.rate <= 0 || e.total == 0 {
		e.total, e.rate = total, g.Rate
		e.left = lastingSeconds((e.total - pages) / e.rate)
	} else {
		// The share of the way that is gone in the time that has passed, however often it is asked.
		way := 1 - math.Exp(-float64(passed)/float64(inertia))
		e.total += way * (total - e.total)
		e.rate += way * (g.Rate - e.rate)
		e.total = max(e.total, pages+1)
		// The clock takes its part off first; then what is left is drawn towards the estimate.
		e.left = max(0, e.left-passed)
		e.left += time.Duration(way * float64(lastingSeconds((e.total-pages)/e.rate)-e.left))
	}
	e.share = max(e.share, min(pages/e.total, 0.99))
}

func lastingSeconds(s float64) time.Duration {
	const most = 1000 * 24 * time.Hour
	if !(s < most.Seconds()) { // NaN, too
		return most
	}
	return time.Duration(s * float64(time.Second))
}
