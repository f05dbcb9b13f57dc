package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/scan"
)

// maxWhole is the most compressed data that is read at once, in bytes. Pages are some eight times as long, and the
// decoder stops at maxDecoder.
const maxWhole = maxDecoder / 8

// usualRatio is more than pages take for each byte of compressed data: mostly 7 or 8.
const usualRatio = 9

// whole reads a sealed file at once: schemas.Sealed.Whole. A page at a time the decoder copies what it has decoded into
// its window, out of it into the page, and whoever keeps the page once more; here it is decoded where it stays. Both
// digests are checked before anything is handed out.
func (l *Lake) whole(ctx context.Context, p schemas.Partition, r Raw, head, buf []byte) (pages []schemas.Page,
	grown []byte, ok bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return nil, buf, false, err
	}
	f := &rawReader{path: filepath.Join(l.Partition(RawDir, p), r.Name), raw: r}
	file, err := l.FS.Open(f.path)
	if err != nil {
		return nil, buf, false, fmt.Errorf("open raw file: %w", err)
	}
	f.file = file
	defer f.close()
	info, err := file.Stat()
	if err != nil {
		return nil, buf, false, fmt.Errorf("open raw file %s: %w", f.path, err)
	}
	size := info.Size() - trailerSize
	switch {
	case size <= 0:
		return nil, buf, false, f.damaged("it is cut off", nil)
	case size > maxWhole:
		return nil, buf, false, nil
	}
	all := l.coders.buffer(int(info.Size()))
	defer l.coders.putBuffer(all)
	if _, err := io.ReadFull(file, *all); err != nil {
		return nil, buf, false, f.unreadable(err)
	}
	compressed, end := (*all)[:size], (*all)[size:]
	sum := sha256.New()
	sum.Write(compressed)
	if !bytes.Equal(end, trailer(sum)) {
		return nil, buf, false, f.damaged("the checksum at its end is not that of what stands before it", nil)
	}
	// The decoder would make room as it goes, and copy what it has each time. What nothing is written to takes no memory.
	grown, err = l.coders.decode(compressed, slices.Grow(buf[:0], usualRatio*int(size)))
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, grown, false, nil
	case err != nil:
		return nil, grown, false, f.unreadable(err)
	}
	grown = slices.Grow(grown, scan.Padding)
	pages, err = f.split(grown, head)
	return pages, grown, err == nil, err
}

// split cuts what was decoded into its pages. What stands behind a body is read before it is overwritten with the
// padding, which most bodies have room for: the next page's line is longer.
func (f *rawReader) split(content, head []byte) ([]schemas.Page, error) {
	line, rest, found := bytes.Cut(content, lineFeed)
	if !found || !bytes.Equal(line, head) { // another file has taken its name
		return nil, f.damaged("its first line has changed since it was opened", nil)
	}
	var seal schemas.Seal
	if err := json.Unmarshal(line, &seal); err != nil {
		return nil, f.damaged("its first line is no seal", err)
	}
	digest := sha256.Sum256(rest)
	var pages []schemas.Page
	for len(pages) < seal.Pages {
		line, body, found := bytes.Cut(rest, lineFeed)
		if !found {
			return nil, f.damaged("it ends too early", nil)
		}
		p, err := f.pageLine(line)
		if err != nil {
			return nil, err
		}
		if len(body) <= p.Length {
			return nil, f.damaged("it ends too early", nil)
		}
		if body[p.Length] != '\n' {
			return nil, f.damaged(fmt.Sprintf("page %d is longer than its line says", p.Page), nil)
		}
		if n := len(pages); n > 0 {
			if last := pages[n-1].Number; p.Page <= last {
				return nil, f.damaged(fmt.Sprintf("page %d comes after page %d", p.Page, last), nil)
			}
			pages[n-1].Body = withPadding(pages[n-1].Body, len(line)+2) // it and the line feeds before and behind it
		}
		rest = body[p.Length+1:]
		pages = append(pages, p.page(body[:p.Length]))
	}
	if len(rest) > 0 {
		return nil, f.damaged(fmt.Sprintf("something follows its %d pages", seal.Pages), nil)
	}
	if got := hex.EncodeToString(digest[:]); got != seal.Digest {
		return nil, f.damaged(fmt.Sprintf("its pages have the digest %s, its first line says %s", got, seal.Digest), nil)
	}
	if n := len(pages); n > 0 {
		pages[n-1].Body = withPadding(pages[n-1].Body, scan.Padding)
	}
	return pages, nil
}

// withPadding is body with scan.Padding zeros in its capacity, if as many bytes behind it are free.
func withPadding(body []byte, free int) []byte {
	n := len(body)
	if free < scan.Padding {
		return body[:n:n]
	}
	clear(body[n : n+scan.Padding])
	return body[: n : n+scan.Padding]
}
