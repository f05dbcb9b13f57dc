package durable

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Room is what a file system has left for this user.
type Room struct {
	Bytes uint64
	Files *uint64 // nil where they aren't counted
}

// When a disk is taken for full.
const (
	// Below these a file system is full, whatever the error that came of it says.
	FullBytes = 16 << 20
	FullFiles = 16
	// What DuckDB spills it gives up on before the disk is full to the last byte.
	FullSpill = 1 << 30
)

// Full adds to an error that a full disk made what is full, of the file system of dir: bytes, names (inodes), or a
// quota. The system says the same of each. Other errors it leaves as they are.
func Full(err error, dir string) error {
	if err == nil || strings.Contains(err.Error(), FullHint) {
		return err
	}
	if !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	left, errRoom := RoomOf(dir)
	return full(err, dir, left, errRoom)
}

func full(err error, dir string, left Room, errRoom error) error {
	switch {
	case errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w\n%sthe quota of this user on the file system of %s is used up: raise it, or make room", err,
			FullHint, dir)
	case errRoom == nil && left.Files != nil && *left.Files < FullFiles && left.Bytes > FullBytes:
		return fmt.Errorf("%w: the file system of %s has %d MiB free and no inodes for another file\n%sremove small files "+
			"from it, or make one with more inodes (mkfs -N)", err, dir, left.Bytes>>20, FullHint)
	}
	return fmt.Errorf("%w\n%sthe disk of %s is full: make room, then run the same command again", err, FullHint, dir)
}

// FullHint begins the line that says what to do about it.
const FullHint = "hint: "
