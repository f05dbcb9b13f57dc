package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas/schemastest"
)

// A window's bytes don't hang on what its encoder wrote before, and no decoder carries anything from one to the next:
// over many small windows, windows beyond the encoder's 8 MiB, and such as can't be compressed.
func TestUsedCodersDoAsNewOnesDo(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	// Every content is made of the same texts, so that what an encoder has seen before would be found again.
	texts := make([][]byte, 300)
	for i := range texts {
		texts[i] = fmt.Appendf(nil, `{"id":%d,"model":"vendor-%d","amount":0.%06d,"ext":{}},`, rnd.IntN(1_000_000_000), i%9,
			rnd.IntN(1_000_000))
	}
	content := func(size int, noise bool) []byte {
		b := make([]byte, 0, size+100)
		for len(b) < size {
			if noise {
				b = append(b, byte(rnd.Uint32()))
			} else {
				b = append(b, texts[rnd.IntN(len(texts))]...)
			}
		}
		return b[:size]
	}
	var used coders
	encoders, decoders := map[*zstd.Encoder]int{}, map[*zstd.Decoder]int{}
	compress := func(c *coders, content []byte) []byte {
		var out bytes.Buffer
		e, err := c.encoder(&out)
		must(t, err)
		if c == &used {
			encoders[e]++
		}
		for step := 1000; len(content) > 0; content = content[min(step, len(content)):] {
			_, err = e.Write(content[:min(step, len(content))])
			must(t, err)
		}
		must(t, e.Close())
		c.putEncoder(e)
		return out.Bytes()
	}
	const windows = 600 // the encoder starts its positions over after some 250
	for i := range windows {
		size := rnd.IntN(3000)
		switch {
		case i%100 == 50:
			size = 9<<20 + rnd.IntN(1<<20)
		case i%20 == 10:
			size = rnd.IntN(600_000)
		}
		content := content(size, i%7 == 3 && size < 1<<20)
		compressed := compress(&used, content)
		if i%3 == 0 || size > 3000 || i > 240 && i < 270 {
			if !bytes.Equal(compressed, compress(new(coders), content)) {
				t.Fatalf("window %d of %d bytes: a used encoder writes other bytes than a new one", i, size)
			}
		}
		d, err := used.decoder(bytes.NewReader(compressed))
		must(t, err)
		decoders[d]++
		if i%5 == 0 && size > 0 { // as OpenRaw does
			_, err = io.ReadFull(d, make([]byte, rnd.IntN(size)))
		} else {
			var got []byte
			if got, err = io.ReadAll(d); !bytes.Equal(got, content) {
				t.Fatalf("window %d of %d bytes came back as %d others", i, size, len(got))
			}
		}
		must(t, err)
		used.putDecoder(d)
	}
	if len(encoders) > windows/2 || len(decoders) > windows/2 {
		t.Errorf("%d encoders and %d decoders for %d windows: they aren't used again", len(encoders), len(decoders), windows)
	}
}

// Whatever becomes of a reading (damage, a disk that fails, a reader that stops early), others of the same lake,
// before, after and at the same time, are as if they were alone.
func TestReadingsOfOneLakeDontTouchEachOther(t *testing.T) {
	l := newTestLake(t, Options{})
	bad := sealWindow(t, l, 0, time.Hour)
	path := filepath.Join(l.Partition(RawDir, schemastest.Day), bad.Name)
	written, err := os.ReadFile(path)
	must(t, err)
	good := sealWindow(t, l, time.Hour, 2*time.Hour)
	want := schemastest.Pages(schemastest.Day.Date.End())
	read := func() error {
		s, err := l.OpenRaw(t.Context(), schemastest.Day, good)
		if err != nil {
			return err
		}
		for page, err := range s.Pages(t.Context()) { // stops early, within another reading of the same file
			if err != nil || !reflect.DeepEqual(page, want[0]) {
				return fmt.Errorf("the first page came back as %v, %w", page, err)
			}
			if pages, err := collect(t.Context(), s); err != nil || !reflect.DeepEqual(pages, want) {
				return fmt.Errorf("pages came back as %v, %w", pages, err)
			}
			if !reflect.DeepEqual(page, want[0]) {
				return fmt.Errorf("the first page has become %v", page)
			}
			break
		}
		return nil
	}
	for i := range written {
		damaged := bytes.Clone(written)
		damaged[i] ^= 16
		if i%2 == 0 {
			damaged = written[:i]
		}
		must(t, os.WriteFile(path, damaged, durable.FileMode))
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if readRaw(t, l, bad) == nil {
					t.Errorf("damage at byte %d: not found", i)
				}
				if err := read(); err != nil {
					t.Errorf("after damage at byte %d: %v", i, err)
				}
			})
		}
		wg.Wait()
	}

	must(t, os.WriteFile(path, written, durable.FileMode))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Seal(ctx, schemastest.Seal(schemastest.Day.Date.Start().Add(2*time.Hour),
		schemastest.Day.Date.Start().Add(3*time.Hour)), want); err == nil {
		t.Error("a seal that was cancelled succeeds")
	}
	next := sealWindow(t, l, 3*time.Hour, 4*time.Hour)
	if err := readRaw(t, l, next); err != nil {
		t.Error(err)
	}
}
