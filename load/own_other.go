//go:build !unix

package load

import (
	"io/fs"
	"os"
)

func openNoLink(path string, flag int, mode fs.FileMode) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, errLink
	}
	return os.OpenFile(path, flag, mode)
}

func ownerOf(fs.FileInfo) (int, bool) { return 0, false }
func linksTo(fs.FileInfo) int         { return 1 }
