package publish

import (
	"os"

	"golang.org/x/sys/unix"
)

// reflink makes dst share the blocks of src, where the file system can. It costs no copy.
func reflink(dst, src *os.File) error {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
}
