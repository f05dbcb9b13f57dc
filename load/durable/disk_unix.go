//go:build unix

package durable

import "golang.org/x/sys/unix"

// RoomOf is what the file system of dir has left.
func RoomOf(dir string) (Room, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Room{}, err
	}
	r := Room{Bytes: uint64(s.Bavail) * uint64(s.Bsize)}
	if s.Files > 0 { // Btrfs makes them as it needs them, and counts none
		free := uint64(s.Ffree)
		r.Files = &free
	}
	return r, nil
}
