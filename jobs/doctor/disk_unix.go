//go:build unix

package doctor

import (
	"io/fs"
	"syscall"

	sys "golang.org/x/sys/unix"
)

// diskRoom is what the file system of dir has left.
func diskRoom(dir string) (room, error) {
	var s sys.Statfs_t
	if err := sys.Statfs(dir, &s); err != nil {
		return room{}, err
	}
	r := room{free: uint64(s.Bavail) * uint64(s.Bsize)}
	if s.Files > 0 { // Btrfs makes them as it needs them, and counts none
		free := uint64(s.Ffree)
		r.freeFiles = &free
	}
	return r, nil
}

// ownerOf is the id of the user that a file belongs to.
func ownerOf(info fs.FileInfo) (int, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}
