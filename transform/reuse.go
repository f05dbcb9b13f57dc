package transform

import (
	"math/bits"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// reuse hands out again what batches have let go of: a day has some twenty columns of the same few sizes, batch after
// batch, and what is let go of last is still in the processor's caches. It holds no more than batches had at one time.
//
// Whoever retains a batch may let go of it later, and elsewhere: after close, what comes back goes to where it is from.
type reuse struct {
	from memory.Allocator

	mu     sync.Mutex
	free   [64][][]byte // by the power of two that is their size
	closed bool
}

func (a *reuse) Allocate(size int) []byte {
	if size == 0 {
		return a.from.Allocate(0)
	}
	class := bits.Len(uint(size - 1))
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.free[class]); n > 0 {
		b := a.free[class][n-1]
		a.free[class] = a.free[class][:n-1]
		return b[:size] // what it held is still there
	}
	return a.from.Allocate(1 << class)[: size : 1<<class]
}

func (a *reuse) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return b[:size]
	}
	out := a.Allocate(size)
	copy(out, b)
	a.Free(b)
	return out
}

func (a *reuse) Free(b []byte) {
	if cap(b) == 0 {
		return
	}
	b = b[:cap(b)]
	class := bits.Len(uint(cap(b) - 1))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		a.from.Free(b)
	} else {
		a.free[class] = append(a.free[class], b)
	}
}

// close gives back what is free.
func (a *reuse) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for class := range a.free {
		for _, b := range a.free[class] {
			a.from.Free(b)
		}
		a.free[class] = nil
	}
}
