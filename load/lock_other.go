//go:build !unix

package load

import (
	"errors"
	"fmt"
	"os"
)

var errLocked = errors.New("locked")

// tryLock has no lock to offer here: writing is refused rather than left to luck.
func tryLock(f *os.File, _ bool) error {
	return fmt.Errorf("%s: %w", f.Name(), ErrNoLocks)
}
