package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

func TestAFullDiskIsCalledByItsKind(t *testing.T) {
	dir := t.TempDir()
	write := func(err error) error { return &fs.PathError{Op: "write", Path: "x", Err: err} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{write(syscall.ENOSPC), "hint: the disk of " + dir + " is full"},
		{fmt.Errorf("publish: %w", write(syscall.EDQUOT)), "hint: the quota of this user"},
		{write(syscall.EIO), ""},
		{nil, ""},
	} {
		got := Full(c.err, dir)
		if c.want == "" {
			if got != c.err {
				t.Errorf("%v became %v", c.err, got)
			}
			continue
		}
		if !strings.Contains(got.Error(), c.want) || !errors.Is(got, errors.Unwrap(c.err)) {
			t.Errorf("%v became %v", c.err, got)
		}
		if again := Full(got, dir); again.Error() != got.Error() {
			t.Errorf("said twice: %v", again)
		}
	}
	none := uint64(0)
	for _, c := range []struct {
		left Room
		want string
	}{
		{Room{Bytes: 1 << 30, Files: &none}, "no inodes"},
		{Room{Bytes: 1 << 10, Files: &none}, "is full"},
		{Room{Bytes: 1 << 30}, "is full"}, // by what the system says, whatever is free by now
	} {
		if got := full(write(syscall.ENOSPC), dir, c.left, nil); !strings.Contains(got.Error(), c.want) {
			t.Errorf("%+v: %v", c.left, got)
		}
	}
}
