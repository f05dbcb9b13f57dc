//go:build unix

package load

import "golang.org/x/sys/unix"

// DiskFree is how many bytes this user may still write to the file system of dir.
func DiskFree(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

func diskRoom(dir string) (room, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return room{}, err
	}
	r := room{bytes: uint64(s.Bavail) * uint64(s.Bsize)}
	if s.Files > 0 { // Btrfs makes them as it needs them, and counts none
		free := uint64(s.Ffree)
		r.files = &free
	}
	return r, nil
}
