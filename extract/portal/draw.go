package portal

import (
	"math"
	"math/rand/v2"
	"time"
)

// Draw draws a Portal, and what it gets wrong, for a property test: an export ends with [Portal.Truth], or says what it
// lacks. What a client meets is drawn, and what it can misjudge: orders, ties, caps, clocks, retention, identities,
// page sizes, blank answers, swaps, totals, duplicates, and seconds that hold more than a page. Each is off most of the
// time; one to three stand together usually. Failures that a client sees, and records that can't be read, are left to
// others.
//
// The options are one organisation of some 30 to 3,000 records a day, with a seed and without faults, so that a test
// can set its clock, its limits and the time from which the faults are in force. A case is named by the seed and by
// [Faults.String].
func Draw(r *rand.Rand) (Options, Faults) {
	perDay := math.Round(30 * math.Pow(100, r.Float64()))
	o := Options{Seed: r.Uint64(), Orgs: []OrgOptions{{RecordsPerDay: perDay}}}
	var f Faults
	for _, kind := range kinds {
		if r.IntN(6) == 0 {
			kind(r, &f)
		}
	}
	return o, f
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// few is a small share more often than a large one.
func few(r *rand.Rand) float64 { return pick(r, 0.005, 0.02, 0.02, 0.1, 0.1, 0.5) }

// kinds are the ways in which Draw spoils a Portal, each of which sets one of its faults and what belongs to it.
var kinds = []func(*rand.Rand, *Faults){
	func(r *rand.Rand, f *Faults) { f.Order = pick(r, "oldest", "newest", "newest", "random", "shaky") },
	func(r *rand.Rand, f *Faults) { // ties
		f.Ties = pick(r, "request", "page")
		f.TieSpan = pick(r, 0, time.Second, time.Minute, time.Hour, 24*time.Hour)
	},
	func(r *rand.Rand, f *Faults) { // caps
		f.PastEnd = pick(r, "", "", "empty", "last", "null", "400", "404")
		switch n := 1 + r.IntN(500); r.IntN(4) {
		case 0:
			f.TotalCapOnly = n
		case 1:
			f.DeepPage = 1 + n/50
		case 2:
			f.TotalCap = n
		}
	},
	func(r *rand.Rand, f *Faults) { // clocks
		switch r.IntN(4) {
		case 0:
			f.InclusiveEnd = true
		case 1:
			f.ExclusiveStart = true
		default:
			f.FilterBy = "settled"
			f.SettleBy = pick(r, time.Second, 35*time.Second, 5*time.Minute, time.Hour)
			f.SettleJitter = pick(r, 0, 0, 10*time.Second, 10*time.Minute)
		}
	},
	func(r *rand.Rand, f *Faults) { // retention
		f.Keep = time.Duration(1+r.IntN(20*24)) * time.Hour
		f.KeepAnswer = pick(r, "empty", "400", "404")
	},
	func(r *rand.Rand, f *Faults) { // identities
		switch r.IntN(4) {
		case 0:
			f.IDModulo = pick(r, 1, 64, 1024, 1_000_000)
		case 1:
			f.IDText = pick(r, "None", "0")
			fallthrough
		default:
			f.SharedID = few(r)
		}
	},
	func(r *rand.Rand, f *Faults) { // page sizes
		small := 2 + r.IntN(60)
		switch r.IntN(5) {
		case 0:
			f.PageMax = pick(r, small, 200, 1000, 5000)
			f.PageOver = pick(r, "clamp", "refuse", "default")
		case 1:
			f.PageDefault = small
			f.SizeIgnored = true
		case 2:
			f.PageClamp = small
			f.PageClampAfter = r.IntN(30)
		default:
			f.PageClamp = small
			f.PageClampFrom = 2 + r.IntN(4)
			f.PageClampBack = r.IntN(3) == 0
		}
	},
	func(r *rand.Rand, f *Faults) { // blank answers, now and then or for a while
		p := &f.Blank
		if r.IntN(3) == 0 {
			p = &f.BlankPage
		}
		if *p = few(r); r.IntN(3) == 0 {
			*p, f.From = 1, 1+r.IntN(40)
			f.To = f.From + r.IntN(20)
		}
	},
	func(r *rand.Rand, f *Faults) { // swaps, and what comes or goes without one
		switch r.IntN(6) {
		case 0:
			f.Swap, f.SwapBy = few(r), time.Duration(1+r.IntN(72))*time.Hour
		case 1:
			f.SwapEvery, f.SwapMax = 1+r.IntN(6), 1+r.IntN(8)
		case 2:
			f.ArriveEvery, f.ArriveMax = 1+r.IntN(6), 1+r.IntN(8)
		case 3:
			f.DropEvery, f.DropMax = 1+r.IntN(6), 1+r.IntN(8)
		case 4:
			f.Late, f.LateBy = few(r), time.Duration(1+r.IntN(48))*time.Hour
		default:
			f.Vanish, f.VanishBy = few(r), time.Duration(1+r.IntN(72))*time.Hour
		}
	},
	func(r *rand.Rand, f *Faults) { // totals
		if f.Total = pick(r, "", "page", "absent", "null", "string", "random", "huge"); f.Total == "" {
			f.TotalDelta = pick(r, -100, -2, -1, 1, 2, 100)
		}
	},
	func(r *rand.Rand, f *Faults) { // duplicates
		if r.IntN(2) == 0 {
			f.Twice = few(r)
		} else {
			f.Duplicate = few(r)
		}
	},
	func(r *rand.Rand, f *Faults) { // full seconds
		f.Burst = 1 + r.IntN(400)
		f.BurstEvery = pick(r, 3*time.Hour, 24*time.Hour, 72*time.Hour)
	},
}
