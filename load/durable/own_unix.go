//go:build unix

package durable

import (
	"io/fs"
	"syscall"
)

// OwnerOf is the user that a file belongs to, where the system knows.
func OwnerOf(info fs.FileInfo) (int, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}

// LinksTo is how many names a file has.
func LinksTo(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Nlink)
	}
	return 1
}
