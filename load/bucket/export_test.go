package bucket

import "time"

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
