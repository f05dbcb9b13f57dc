//go:build !unix

package load

import "errors"

// DiskFree is not known here.
func DiskFree(string) (uint64, error) { return 0, errors.ErrUnsupported }

func diskRoom(string) (room, error) { return room{}, errors.ErrUnsupported }
