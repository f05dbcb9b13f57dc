package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"
)

// pack writes a .tar.gz of files, given by their names in the archive below root. Names are sorted, directories stand
// before what is in them, everything belongs to root and is of one time: the bytes depend on names and contents alone.
// What its owner may execute has mode 0755, the rest 0644.
func pack(w io.Writer, root string, files map[string]string, at time.Time) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	header := func(name string, kind byte, mode, size int64) error {
		return t.WriteHeader(&tar.Header{Format: tar.FormatPAX, Typeflag: kind, Name: name, Mode: mode, Size: size,
			ModTime: at, Uname: "root", Gname: "root"})
	}
	done := map[string]bool{}
	var directory func(name string) error
	directory = func(name string) error {
		if name == "." || done[name] {
			return nil
		}
		if err := directory(path.Dir(name)); err != nil {
			return err
		}
		done[name] = true
		return header(name+"/", tar.TypeDir, 0o755, 0)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		inside := path.Join(root, name)
		if err := directory(path.Dir(inside)); err != nil {
			return err
		}
		f, err := os.Open(files[name])
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			mode := int64(0o644)
			if info.Mode()&0o100 != 0 {
				mode = 0o755
			}
			if err = header(inside, tar.TypeReg, mode, info.Size()); err == nil {
				_, err = io.Copy(t, f)
			}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}
