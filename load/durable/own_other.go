//go:build !unix

package durable

import "io/fs"

// OwnerOf is not known here.
func OwnerOf(fs.FileInfo) (int, bool) { return 0, false }

// LinksTo is not known here.
func LinksTo(fs.FileInfo) int { return 1 }
