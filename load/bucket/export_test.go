package bucket

import (
	"time"

	"github.com/usagelake/usagelake/load/durable"
)

// SetFS lets a directory's steps go through fs, and its links through link.
func SetFS(b Bucket, fs durable.FS, link func(from, to string) error) {
	f := b.(*guard).store.(*files)
	f.tree.FS = fs
	if link != nil {
		f.link = link
	}
}

// SetParts lets bodies above single bytes go in parts of part bytes, so that tests needn't put 5 GiB.
func SetParts(b Bucket, single, part int64) {
	switch s := b.(*guard).store.(type) {
	case *s3:
		s.single, s.part = single, part
	case *azure:
		s.single, s.block = single, part
	case *gcs:
		s.single = single
	}
}

// SetStall lets requests of S3 and Google end after d without a byte.
func SetStall(b Bucket, d time.Duration) {
	switch s := b.(*guard).store.(type) {
	case *s3:
		s.wire.stall = d
	case *gcs:
		s.wire.stall = d
	}
}
