package kit

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/zstd"
)

// Bubble runs a subtest by a clock of its own: waits take no time, and a Retry-After of an hour is as good as none.
func Bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, f)
	})
}

// Parquet's zstd coders are kept in a global pool (load/zstd.go), and each has a channel inside. A channel made in one
// bubble can't be used in another, so coders made before any bubble take their place. They write the same bytes.
func init() {
	c := &outsideCodec{encoders: map[zstd.EncoderLevel]*zstd.Encoder{}}
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression,
		zstd.SpeedBestCompression} {
		e, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true), zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(1<<20), zstd.WithAllLitEntropyCompression(true))
		if err != nil {
			panic(err)
		}
		e.EncodeAll([]byte("x"), nil) // makes its channel
		c.encoders[level] = e
	}
	var err error
	if c.Codec, err = compress.GetCodec(compress.Codecs.Zstd); err != nil {
		panic(err)
	}
	if c.decoder, err = zstd.NewReader(nil); err != nil {
		panic(err)
	}
	compress.RegisterCodec(compress.Codecs.Zstd, c)
}

type outsideCodec struct {
	compress.Codec // the bound alone is taken from it
	encoders       map[zstd.EncoderLevel]*zstd.Encoder
	decoder        *zstd.Decoder
	mu             sync.Mutex
}

func (c *outsideCodec) Encode(dst, src []byte) []byte {
	return c.EncodeLevel(dst, src, compress.DefaultCompressionLevel)
}

func (c *outsideCodec) EncodeLevel(dst, src []byte, level int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := zstd.SpeedDefault
	if level != compress.DefaultCompressionLevel {
		l = zstd.EncoderLevelFromZstd(level)
	}
	return c.encoders[l].EncodeAll(src, dst[:0])
}

func (c *outsideCodec) Decode(dst, src []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.decoder.DecodeAll(src, dst[:0])
	if err != nil {
		panic(err)
	}
	return b
}
