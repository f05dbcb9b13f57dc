//go:build !unix

package durable

import (
	"errors"
	"fmt"
	"os"
)

var ErrLocked = errors.New("locked")

// TryLock has no lock to offer here: writing is refused rather than left to luck.
func TryLock(f *os.File, _ bool) error {
	return fmt.Errorf("%s: %w", f.Name(), ErrNoLocks)
}
