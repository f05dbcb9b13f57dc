package load

import (
	"io"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/zstd"
)

// maxDecoder bounds what a compressed frame may ask for; our frames stay at 8 MiB or below.
const maxDecoder = 64 << 20

// coders are the Zstandard coders of the raw archive that wait to be used again: a new decoder clears 8 MiB for its
// window, a new encoder 16 MiB, and most windows hold less than that. The garbage collector takes those that nobody
// uses. A coder that met an error isn't given back.
//
// Each lake has its own. A coder has a channel inside, and one that was made within a testing/synctest bubble can't be
// used in another.
type coders struct {
	decoders, encoders sync.Pool
	buffers            sync.Pool // of *[]byte: what is read to be decoded at once
}

// buffer is memory of that size, whatever it held before.
func (c *coders) buffer(size int) *[]byte {
	b, ok := c.buffers.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = slices.Grow((*b)[:0], size)[:size]
	return b
}

// putBuffer gives back what buffer has lent. It must not be used after.
func (c *coders) putBuffer(b *[]byte) { c.buffers.Put(b) }

// decode appends what src decodes to, maxDecoder bytes at the most, to dst.
func (c *coders) decode(src, dst []byte) ([]byte, error) {
	d, err := c.decoder(nil)
	if err != nil {
		return dst, err
	}
	out, err := d.DecodeAll(src, dst)
	if err == nil {
		c.putDecoder(d)
	}
	return out, err
}

// decoder reads what r has compressed, in the goroutine that calls it.
func (c *coders) decoder(r io.Reader) (*zstd.Decoder, error) {
	if d, ok := c.decoders.Get().(*zstd.Decoder); ok {
		return d, d.Reset(r)
	}
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDecoder),
		zstd.WithDecoderMaxWindow(maxDecoder))
}

// putDecoder gives back a decoder, which may stand anywhere in its stream. It must not be used after.
func (c *coders) putDecoder(d *zstd.Decoder) {
	// One that can't be reset is left to the garbage collector.
	if d.Reset(nil) == nil { // lets go of the reader
		c.decoders.Put(d)
	}
}

// encoder compresses into w, in the goroutine that calls it: the same input gives the same blocks then, and a seal
// isn't worth starting more. An encoder that was used before writes the same bytes as a new one.
func (c *coders) encoder(w io.Writer) (*zstd.Encoder, error) {
	if e, ok := c.encoders.Get().(*zstd.Encoder); ok {
		e.Reset(w)
		return e, nil
	}
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderCRC(true))
}

// putEncoder gives back an encoder that was closed. It must not be used after.
func (c *coders) putEncoder(e *zstd.Encoder) {
	e.Reset(nil) // lets go of the writer
	c.encoders.Put(e)
}

// pageCodec is arrow-go's Zstandard with other encoders. Its own keep the history of a stream, 16 MiB that are cleared
// whenever one is made, and the garbage collector lets go of them all the time; a page is one call and 1 MiB.
type pageCodec struct {
	compress.ErrorCodec
	encoders [zstd.SpeedBestCompression + 1]sync.Pool // by level
}

// pageWindow holds a page of the default size whole. In a larger one, repetitions are looked for as far back as this.
const pageWindow = 1 << 20

// EncodeLevel compresses a page; level is that of the reference implementation.
func (c *pageCodec) EncodeLevel(dst, src []byte, level int) []byte {
	l := zstd.SpeedDefault
	if level != compress.DefaultCompressionLevel {
		l = zstd.EncoderLevelFromZstd(level)
	}
	e, ok := c.encoders[l].Get().(*zstd.Encoder)
	if !ok {
		var err error
		if e, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(l), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(pageWindow),
			zstd.WithZeroFrames(true), zstd.WithAllLitEntropyCompression(true)); err != nil {
			panic(err) // of options that contradict each other
		}
	}
	defer c.encoders[l].Put(e)
	return e.EncodeAll(src, dst[:0])
}

// arrow-go knows codecs by number alone, for the whole program.
func init() {
	codec, err := compress.GetCodec(compress.Codecs.Zstd)
	if err != nil {
		panic(err)
	}
	compress.RegisterCodec(compress.Codecs.Zstd, &pageCodec{ErrorCodec: codec.(compress.ErrorCodec)})
}
