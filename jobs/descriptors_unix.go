//go:build unix

package jobs

import (
	sys "golang.org/x/sys/unix"
)

// maxFiles is how many descriptors the process may have open; 0 if that isn't limited or not known. What may be had
// above the limit that it was started with, the Go runtime has taken already.
func maxFiles() uint64 {
	var limit sys.Rlimit
	if err := sys.Getrlimit(sys.RLIMIT_NOFILE, &limit); err != nil || limit.Cur == sys.RLIM_INFINITY {
		return 0
	}
	return limit.Cur
}
