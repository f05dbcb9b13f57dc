package bucket_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/usagelake/usagelake/load/bucket"
)

func TestAFileIsPutUnderConditions(t *testing.T) {
	ctx := context.Background()
	b, err := bucket.Open(ctx, "file://"+t.TempDir()+"/x", bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Get(ctx, "a/b"); !errors.Is(err, bucket.ErrAbsent) {
		t.Fatal(err)
	}
	tag, err := b.Put(ctx, "a/b", bucket.Bytes([]byte("x")), bucket.On{Absent: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, "a/b", bucket.Bytes([]byte("y")), bucket.On{Absent: true}); !errors.Is(err, bucket.ErrTaken) {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, "a/b", bucket.Bytes([]byte("y")), bucket.On{Match: "n"}); !errors.Is(err, bucket.ErrTaken) {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, "a/b", bucket.Bytes([]byte("y")), bucket.On{Match: tag}); err != nil {
		t.Fatal(err)
	}
	r, o, err := b.Get(ctx, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	c, _ := io.ReadAll(r)
	r.Close()
	t.Log(string(c), o)
	for o, err := range b.List(ctx, "a") {
		t.Log(o, err)
	}
	if err := b.Delete(ctx, "a/b"); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(ctx, "a/b"); err != nil {
		t.Fatal(err)
	}
}
