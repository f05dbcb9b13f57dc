//go:build unix

package durable

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// OpenNoLink is os.OpenFile, but that a link is syscall.ELOOP, and that nothing waits for the other end of a pipe.
func OpenNoLink(path string, flag int, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
}
