//go:build !unix

package durable

import (
	"io/fs"
	"os"
	"syscall"
)

// OpenNoLink is os.OpenFile, but that a link is refused.
func OpenNoLink(path string, flag int, mode fs.FileMode) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
	}
	return os.OpenFile(path, flag, mode)
}
