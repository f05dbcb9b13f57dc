package jobs

import (
	"math"
	"runtime"
	"runtime/debug"

	"github.com/usagelake/usagelake/extract"
)

// What a run's heap is kept to: the windows and row groups of the days it derives, and what each account has under way.
// The collector works harder near it rather than let the heap grow to twice what is in use; a run that needs more gets
// more.
const (
	heapOfRun     = 160 << 20
	heapOfAccount = 768 << 10
)

// boundHeap keeps the process small while a run of so many accounts goes on, unless GOMEMLIMIT says otherwise. The
// process has one limit; where runs go on side by side the first one's holds.
func boundHeap(accounts int) (restore func()) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return func() {}
	}
	debug.SetMemoryLimit(heapOfRun + heapOfAccount*int64(accounts))
	return func() { debug.SetMemoryLimit(math.MaxInt64) }
}

// releaseHeap gives the memory of what was derived back to the system, for DuckDB, whose own it isn't. What pools keep
// survives one collection.
func releaseHeap() {
	runtime.GC()
	debug.FreeOSMemory()
}

// How many records the windows under way may have together, and how few are too few for one: the last page of a window
// is half empty on average, so that a window of 50 pages costs one request in a hundred.
const (
	recordsOfRun = 5_000_000
	minRecords   = 5_000
)

// windowRecords bounds a window of a run of so many accounts.
func windowRecords(accounts int) int {
	return min(extract.DefaultMaxRecords, max(minRecords, recordsOfRun/accounts))
}
