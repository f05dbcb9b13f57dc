//go:build !unix

package doctor

import (
	"errors"
	"io/fs"
)

// diskRoom is not known here.
func diskRoom(string) (room, error) { return room{}, errors.ErrUnsupported }

// ownerOf is not known here.
func ownerOf(fs.FileInfo) (int, bool) { return 0, false }
