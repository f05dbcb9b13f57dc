package deliver

import (
	"context"
	"io"
	"iter"
	"sync/atomic"

	"github.com/usagelake/usagelake/load/bucket"
)

// counted counts what is asked of a bucket: a listing as one, however many pages it has, and none of what the bucket
// asks again by itself.
type counted struct {
	bucket.Bucket
	n atomic.Int64
}

func (c *counted) Get(ctx context.Context, key string) (io.ReadCloser, bucket.Object, error) {
	c.n.Add(1)
	return c.Bucket.Get(ctx, key)
}

func (c *counted) Put(ctx context.Context, key string, body bucket.Body, on bucket.On) (bucket.Tag, error) {
	c.n.Add(1)
	return c.Bucket.Put(ctx, key, body, on)
}

func (c *counted) List(ctx context.Context, prefix string) iter.Seq2[bucket.Object, error] {
	c.n.Add(1)
	return c.Bucket.List(ctx, prefix)
}

func (c *counted) Delete(ctx context.Context, key string) error {
	c.n.Add(1)
	return c.Bucket.Delete(ctx, key)
}
