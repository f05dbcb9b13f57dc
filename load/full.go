package load

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/duckdb/duckdb-go/v2"
)

// room is what a file system has left for this user.
type room struct {
	bytes uint64
	files *uint64 // nil where they aren't counted
}

const (
	// Below these a file system is full, whatever the error that came of it says.
	fullBytes = 16 << 20
	fullFiles = 16
	// What DuckDB spills it gives up on before the disk is full to the last byte.
	fullSpill = 1 << 30
)

// Full adds to an error that a full disk made what is full, of the file system of dir: bytes, names (inodes), or a quota. The
// system says the same of each. Other errors it leaves as they are.
func Full(err error, dir string) error {
	if err == nil || strings.Contains(err.Error(), fullHint) {
		return err
	}
	if !errors.Is(err, syscall.EDQUOT) && !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	left, errRoom := diskRoom(dir)
	return full(err, dir, left, errRoom)
}

func full(err error, dir string, left room, errRoom error) error {
	switch {
	case errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w\n%sthe quota of this user on the file system of %s is used up: raise it, or make room", err, fullHint, dir)
	case errRoom == nil && left.files != nil && *left.files < fullFiles && left.bytes > fullBytes:
		return fmt.Errorf("%w: the file system of %s has %d MiB free and no inodes for another file\n%sremove small files from it, or make one with more inodes (mkfs -N)", err, dir, left.bytes>>20, fullHint)
	}
	return fmt.Errorf("%w\n%sthe disk of %s is full: make room, then run the same command again", err, fullHint, dir)
}

const fullHint = "hint: "

// spilled adds to an error of DuckDB's, which says it in many words or none, that the disk it spills to is full.
func (d *database) spilled(err error) error {
	var e *duckdb.Error
	if d == nil || d.spill == "" || !errors.As(err, &e) || strings.Contains(err.Error(), "\n"+fullHint) {
		return err
	}
	limit := uint64(fullBytes)
	switch e.Type {
	case duckdb.ErrorTypeOutOfMemory:
		limit = fullSpill
	case duckdb.ErrorTypeIO, duckdb.ErrorTypeFatal, duckdb.ErrorTypeUnknownType:
	default:
		return err
	}
	left, errRoom := diskRoom(d.spill)
	if errRoom != nil {
		return err
	}
	switch {
	case left.files != nil && *left.files < fullFiles:
		return fmt.Errorf("%w\nthe temporary disk has no inodes left: DuckDB puts there, at %s, what is beyond its memory\n%sremove small files from it", err, d.spill, fullHint)
	case left.bytes < limit:
		return fmt.Errorf("%w\nthe temporary disk is full: DuckDB puts there, at %s, what is beyond its memory, and %d MiB are free\n%smake room there, or give DuckDB more memory (duckdb.memory), or name another place with TMPDIR where the lake can't be written", err, d.spill, left.bytes>>20, fullHint)
	}
	return err
}
