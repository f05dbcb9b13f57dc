package main

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/usagelake/usagelake/extract"
)

// Whatever is estimated from one page to the next, what is shown moves as time does and no bar runs backwards.
func TestTheTimeLeftDoesntSwingNorTheBarRunBackwards(t *testing.T) {
	for name, estimate := range map[string]func(n int, rnd *rand.Rand) (left float64, rate float64){
		"steady":                  func(int, *rand.Rand) (float64, float64) { return 1, 1.95 },
		"pages threefold in turn": func(n int, _ *rand.Rand) (float64, float64) { return 1 + 2*float64(n/5%2), 1.95 },
		"the rate halved by 429s": func(n int, _ *rand.Rand) (float64, float64) { return 1, 1.95 / (1 + float64(n/7%2)) },
		"both, at random": func(_ int, rnd *rand.Rand) (float64, float64) {
			return 0.5 + 2*rnd.Float64(),
				0.5 + 1.5*rnd.Float64()
		},
	} {
		rnd := rand.New(rand.NewPCG(1, 2))
		var e eta
		at := time.Unix(0, 0)
		const pages = 2000
		shown, share := time.Duration(0), 0.0
		var off []float64 // the time that is shown, by what it is in the end
		for n := range pages {
			at = at.Add(time.Second / 2)
			factor, rate := estimate(n, rnd)
			e.note(extract.Progress{Pages: int64(n), PagesLeft: max(1, int64(factor*float64(pages-n))), Rate: rate}, at)
			if e.share < share || e.share > 1 {
				t.Fatalf("%s: page %d: the bar is at %f after %f", name, n, e.share, share)
			}
			if n > 0 && (e.left > shown+shown/10+2*time.Second || e.left < shown-shown/10-2*time.Second) {
				t.Fatalf("%s: page %d: %s are left after %s", name, n, e.left, shown)
			}
			shown, share = e.left, e.share
			if really := time.Duration(pages-n) * time.Second / 2; n > 200 && really > time.Minute {
				off = append(off, float64(e.left)/float64(really))
			}
		}
		least, most := math.Inf(1), 0.0
		for _, o := range off {
			least, most = min(least, o), max(most, o)
		}
		if most/least > 2.5 {
			t.Errorf("%s: what is shown is between %.2f and %.2f of what it takes", name, least, most)
		}
		e.note(extract.Progress{Pages: pages, Rate: 1.95}, at)
		if e.left != 0 || e.share != 1 {
			t.Errorf("%s: at the end %s are left, the bar is at %f", name, e.left, e.share)
		}
	}
}
