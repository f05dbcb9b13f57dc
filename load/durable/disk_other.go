//go:build !unix

package durable

import "errors"

func diskRoom(string) (room, error) { return room{}, errors.ErrUnsupported }
