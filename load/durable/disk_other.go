//go:build !unix

package durable

import "errors"

// RoomOf is not known here.
func RoomOf(string) (Room, error) { return Room{}, errors.ErrUnsupported }
