package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// The raw archive. A window (or a balance answer) is one file:
//
//	raw/acct=acme/date=2026-11-01/000001_000000-060000_8c1f0a6e55d1b2c3.pages.zst
//	                                 seq    start  end    digest
//	raw/acct=acme/date=2026-11-01/000002_061503_77aa0c1d2e3f4051.balance.zst
//	                                 seq    second digest
//
// Seq counts from 1 per directory, over both kinds, so the order of the windows doesn't hang on any clock. End is
// exclusive; the end of the day is 240000. digest is the first 16 digits of Seal.Digest: what a day is to be derived
// from can be told from the names alone, without opening a file.
//
// The content is Zstandard, which `zstd -d` reads:
//
//	the Seal as JSON, one line
//	for each page, in order of number:
//	  {"page":1,"request_id":"…","fetched_at":"…","length":N}   one line
//	  N bytes of body, one line feed
//
// Seal.Digest is the SHA-256 of everything after the first line. Behind the compressed data stands a skippable frame
// (which Zstandard readers pass over) with the SHA-256 of all bytes before it, so that a changed byte anywhere in the
// file is found, in the header and in the compression's own padding too.
//
// Whoever changes this raises schemas.RawFormat and keeps reading what stands here.

const (
	// MaxPage is the largest page body that is sealed and read back, in bytes. It bounds the memory of a reader.
	MaxPage = 64 << 20
	// maxLine bounds the seal's line and a page's line.
	maxLine = 64 << 20

	maxSeq       = 999_999
	digestPrefix = 16 // hex digits of the digest in a name

	usageSuffix   = ".pages.zst"
	balanceSuffix = ".balance.zst"

	// trailerMagic is the little-endian magic number of a skippable frame.
	trailerMagic = 0x184D2A5A
	trailerSize  = 8 + sha256.Size
)

// Raw is a sealed file of the raw archive, as its name tells.
type Raw struct {
	Kind   string         // schemas.KindUsage or schemas.KindBalance
	Window schemas.Window // of a balance: the second it was asked for
	Seq    int            // from 1, unique in the partition over both kinds
	Name   string         // of the file, without directory
	Pruned bool           // it was deleted: the tombstone of its day names it, see Source
}

var (
	usageName   = regexp.MustCompile(`^([0-9]{6})_([0-9]{6})-([0-9]{6})_([0-9a-f]{16})\.pages\.zst$`)
	balanceName = regexp.MustCompile(`^([0-9]{6})_([0-9]{6})_([0-9a-f]{16})\.balance\.zst$`)
)

// parseRaw reads a file name of the partition p. Names that Seal would not have given are refused.
func parseRaw(p schemas.Partition, name string) (Raw, bool) {
	r := Raw{Name: name}
	var start, end time.Time
	var ok bool
	if m := usageName.FindStringSubmatch(name); m != nil {
		r.Kind = schemas.KindUsage
		r.Seq, _ = strconv.Atoi(m[1])
		if start, ok = clockTime(p.Date, m[2]); !ok {
			return r, false
		}
		if end, ok = clockTime(p.Date, m[3]); !ok {
			return r, false
		}
	} else if m := balanceName.FindStringSubmatch(name); m != nil {
		r.Kind = schemas.KindBalance
		r.Seq, _ = strconv.Atoi(m[1])
		if start, ok = clockTime(p.Date, m[2]); !ok {
			return r, false
		}
		end = start.Add(time.Second)
	} else {
		return r, false
	}
	r.Window = schemas.Window{Account: p.Account, Start: start, End: end}
	return r, r.Seq > 0 && r.Window.Validate() == nil && r.Window.Date() == p.Date
}

// clockTime reads HHMMSS, where 240000 is the end of the day.
func clockTime(d schemas.Date, s string) (time.Time, bool) {
	h, m, sec := digits(s[0:2]), digits(s[2:4]), digits(s[4:6])
	if h > 24 || m > 59 || sec > 59 || h == 24 && m+sec > 0 {
		return time.Time{}, false
	}
	return d.Start().Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second), true
}

func digits(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }

// clockText writes t, a whole second of the day d or its end, as HHMMSS.
func clockText(d schemas.Date, t time.Time) string {
	s := t.Unix() - d.Start().Unix()
	return fmt.Sprintf("%02d%02d%02d", s/3600, s/60%60, s%60)
}

// rawName is the name Seal gives.
func rawName(seal schemas.Seal, seq int) string {
	d := schemas.DateOf(seal.Start)
	if seal.Kind == schemas.KindBalance {
		return fmt.Sprintf("%06d_%s_%s%s", seq, clockText(d, seal.Start), seal.Digest[:digestPrefix], balanceSuffix)
	}
	return fmt.Sprintf("%06d_%s-%s_%s%s", seq, clockText(d, seal.Start), clockText(d, seal.End),
		seal.Digest[:digestPrefix], usageSuffix)
}

// Balances returns the sealed balance answers of p in order of Seq, from the file names alone.
func (l *Lake) Balances(p schemas.Partition) ([]Raw, error) {
	all, _, err := l.readRaws(p)
	if err != nil {
		return nil, err
	}
	return ofKind(all, schemas.KindBalance), nil
}

// Strays returns what stands in the raw archive's directory of p and is no sealed file: names Seal would not have
// given, and files that share a sequence number with one before them. Readers pass over the former. What is kept of a
// pruned day is no stray.
func (l *Lake) Strays(p schemas.Partition) ([]string, error) {
	all, strays, err := l.readRaws(p)
	if err != nil {
		return nil, err
	}
	strays = slices.DeleteFunc(strays, func(name string) bool {
		return name == prunedFile || name == KeptUsage ||
			name == KeptQuarantine
	})
	for i := 1; i < len(all); i++ {
		if all[i].Seq == all[i-1].Seq {
			strays = append(strays, all[i].Name)
		}
	}
	slices.Sort(strays)
	return strays, nil
}

// readRaws reads the directory of p: the sealed files in order of Seq, and the names that are none.
func (l *Lake) readRaws(p schemas.Partition) (raws []Raw, strays []string, err error) {
	names, err := l.list(l.Partition(RawDir, p))
	if err != nil {
		return nil, nil, fmt.Errorf("list raw archive of %s: %w", p, err)
	}
	for _, name := range names {
		if r, ok := parseRaw(p, name); ok {
			raws = append(raws, r)
		} else {
			strays = append(strays, name)
		}
	}
	// Two files of one number can't come from one lake; should two have been copied together, the order is at least
	// always the same.
	slices.SortFunc(raws, compareRaw)
	return raws, strays, nil
}

func compareRaw(a, b Raw) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Name, b.Name)) }

// DayDigest is what a day derived from raws with that version of the transformation has in its footer: the hex
// SHA-256 over schemas.SchemaVersion, the version, and the names in order, which hold sequence number, interval and
// content digest.
func DayDigest(transformVersion int, raws []Raw) string {
	return dayDigest(schemas.SchemaVersion, transformVersion, raws)
}

// dayDigest is the DayDigest that a version of the program gave whose schema had that number.
func dayDigest(schemaVersion, transformVersion int, raws []Raw) string {
	h := sha256.New()
	fmt.Fprintf(h, "schema %d\ntransform %d\n", schemaVersion, transformVersion)
	for _, r := range raws {
		fmt.Fprintf(h, "%s\n", r.Name)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// pageLine is the line before a page's body.
type pageLine struct {
	Page      int       `json:"page"`
	RequestID string    `json:"request_id"`
	FetchedAt time.Time `json:"fetched_at"`
	Length    int       `json:"length"`
}

// Seal archives the pages of a window that is proven complete, and returns the file it made. This is the commit point:
// when Seal returns nil, the window is on the disk and is never asked for again; when it returns an error, the window
// may be there or not, and sealing it again is right in either case (the later one owns, with the same content).
//
// The archive sets seal.Format, Pages and Digest. The pages are written in order of their numbers, which must differ.
// Texts that are no UTF-8 are mended by JSON's rules; bodies are kept byte for byte. Equal input gives equal bytes.
// Seal may be called by several goroutines at once; the caller holds the lake's lock.
func (l *Lake) Seal(ctx context.Context, seal schemas.Seal, pages []schemas.Page) (Raw, error) {
	r, err := l.seal(ctx, seal, pages)
	if err != nil {
		return Raw{}, fmt.Errorf("seal %s window %s: %w", seal.Kind, seal.Window(), err)
	}
	return r, nil
}

func (l *Lake) seal(ctx context.Context, seal schemas.Seal, pages []schemas.Page) (Raw, error) {
	pages = slices.SortedStableFunc(slices.Values(pages),
		func(a, b schemas.Page) int { return cmp.Compare(a.Number, b.Number) })
	lines := make([][]byte, len(pages))
	digest := sha256.New()
	for i, page := range pages {
		switch {
		case page.Number < 1 || i > 0 && page.Number == pages[i-1].Number:
			return Raw{}, fmt.Errorf("page number %d is not a number of its own, from 1", page.Number)
		case len(page.Body) > MaxPage:
			return Raw{}, fmt.Errorf("page %d has %d bytes, more than %d", page.Number, len(page.Body), MaxPage)
		}
		line, err := json.Marshal(pageLine{page.Number, page.RequestID, page.FetchedAt.Round(0).UTC(), len(page.Body)})
		if err != nil {
			return Raw{}, fmt.Errorf("page %d: %w", page.Number, err)
		}
		lines[i] = append(line, '\n')
		if len(lines[i]) > maxLine {
			return Raw{}, fmt.Errorf("page %d: its request_id is too long", page.Number)
		}
		digest.Write(lines[i])
		digest.Write(page.Body)
		digest.Write(lineFeed)
	}

	seal.Format = schemas.RawFormat
	seal.Pages = len(pages)
	seal.Digest = hex.EncodeToString(digest.Sum(nil))
	seal.Start, seal.End, seal.FetchedAt = seal.Start.Round(0).UTC(), seal.End.Round(0).UTC(),
		seal.FetchedAt.Round(0).UTC()
	if seal.Kind == schemas.KindBalance && !seal.Start.Before(seal.End) {
		seal.End = seal.Start.Add(time.Second)
	}
	if err := checkSeal(seal); err != nil {
		return Raw{}, err
	}
	head, err := json.Marshal(seal)
	if err != nil {
		return Raw{}, err
	}
	head = append(head, '\n')
	if len(head) > maxLine {
		return Raw{}, errors.New("its request_ids are too long")
	}

	t, err := l.CreateTemp("raw.*")
	if err != nil {
		return Raw{}, err
	}
	defer t.Abort()
	if err := writeRaw(ctx, &l.coders, t, head, lines, pages); err != nil {
		return Raw{}, err
	}
	if err := t.Finish(); err != nil {
		return Raw{}, err
	}

	// The context no longer counts: the answers cost requests, and three quick steps are left. Killed before the rename
	// the file is dropped by the next holder of the lock, and the window is asked for again; killed after it, it stands.
	p := seal.Window().Partition()
	dir := l.Partition(RawDir, p)
	if err := l.MakeDirs(dir); err != nil {
		_ = l.FS.Remove(t.Name())
		return Raw{}, err
	}
	r := Raw{Kind: seal.Kind, Window: seal.Window()}
	if err := l.place(p, seal, t.Name(), &r); err != nil {
		return Raw{}, err
	}
	if err := l.SyncDir(dir); err != nil {
		return Raw{}, fmt.Errorf("commit %s: %w", filepath.Join(dir, r.Name), err)
	}
	return r, nil
}

// place renames a finished temp file into the archive under the next sequence number. The number is chosen and taken
// in one critical section; among processes, the lake's lock does the same.
func (l *Lake) place(p schemas.Partition, seal schemas.Seal, temp string, r *Raw) error {
	l.seqMu.Lock()
	defer l.seqMu.Unlock()
	if err := l.CheckHeld(); err != nil {
		_ = l.FS.Remove(temp)
		return err
	}
	_, all, err := l.sources(p) // a number is never taken twice, were its file pruned
	if err != nil {
		_ = l.FS.Remove(temp)
		return err
	}
	r.Seq = 1
	if n := len(all); n > 0 {
		r.Seq = all[n-1].Seq + 1
	}
	// Nor if its file is missing: should it come back, each of the two is what its name says, and the day file is held
	// against the numbers (Orphan). One that can't be read tells none.
	footer, _, err := l.Day(p)
	if err != nil && !errors.As(err, new(*DamagedError)) {
		_ = l.FS.Remove(temp)
		return err
	}
	for _, w := range footer.Windows {
		r.Seq = max(r.Seq, w.Seq+1)
	}
	if r.Seq > maxSeq {
		_ = l.FS.Remove(temp)
		return fmt.Errorf("%s has %d sealed files, the most a day can have", p, maxSeq)
	}
	r.Name = rawName(seal, r.Seq)
	target := filepath.Join(l.Partition(RawDir, p), r.Name)
	if err := l.FS.Rename(temp, target); err != nil {
		_ = l.FS.Remove(temp)
		return fmt.Errorf("commit %s: %w", target, err)
	}
	return nil
}

var lineFeed = []byte{'\n'}

// checkSeal reports what is wrong with a seal that is to be written or was read.
func checkSeal(s schemas.Seal) error {
	var errs []error
	if s.Kind != schemas.KindUsage && s.Kind != schemas.KindBalance {
		errs = append(errs, fmt.Errorf("the kind %q is neither %s nor %s", s.Kind, schemas.KindUsage, schemas.KindBalance))
	}
	if err := s.Window().Validate(); err != nil {
		errs = append(errs, err)
	}
	if s.Kind == schemas.KindBalance && s.Window().Seconds() != 1 {
		errs = append(errs, errors.New("a balance has the one second it was asked for"))
	}
	if s.Pages < 1 {
		errs = append(errs, errors.New("it has no page"))
	}
	if s.RunID == "" {
		errs = append(errs, errors.New("it has no run_id"))
	}
	if s.FetchedAt.IsZero() {
		errs = append(errs, errors.New("it has no fetched_at"))
	}
	return errors.Join(errs...)
}

// writeRaw writes the content of a raw file: the compressed data, then the trailer over it.
func writeRaw(ctx context.Context, c *coders, w io.Writer, head []byte, lines [][]byte, pages []schemas.Page) error {
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	z, err := c.encoder(buffered)
	if err != nil {
		return err
	}
	put := func(b []byte) {
		if err == nil {
			_, err = z.Write(b)
		}
	}
	put(head)
	for i, page := range pages {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		put(lines[i])
		put(page.Body)
		put(lineFeed)
	}
	if err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	c.putEncoder(z)
	if err := buffered.Flush(); err != nil {
		return err
	}
	_, err = w.Write(trailer(sum))
	return err
}

// trailer is the skippable frame over what sum has seen.
func trailer(sum hash.Hash) []byte {
	b := binary.LittleEndian.AppendUint32(nil, trailerMagic)
	b = binary.LittleEndian.AppendUint32(b, sha256.Size)
	return sum.Sum(b)
}

// OpenRaw reads the first line of a sealed file and holds it against the file's name. The pages are read anew by each
// iteration over Pages, which holds one of them at a time and ends with a *DamagedError if anything in the file is not
// as it was written. OpenRaw returns a *DamagedError, or ErrNewer for a format this program doesn't know.
func (l *Lake) OpenRaw(ctx context.Context, p schemas.Partition, r Raw) (schemas.Sealed, error) {
	var sealed schemas.Sealed
	if err := context.Cause(ctx); err != nil {
		return sealed, err
	}
	if r.Pruned {
		return sealed, fmt.Errorf("open raw file %s of %s: it was pruned", r.Name, p)
	}
	f, err := l.openRaw(p, r)
	if err != nil {
		return sealed, err
	}
	defer f.close()
	seal, head, err := f.readSeal()
	if err != nil {
		return sealed, err
	}
	return schemas.Sealed{
		Seal: seal,
		Seq:  r.Seq,
		Pages: func(ctx context.Context) iter.Seq2[schemas.Page, error] {
			return func(yield func(schemas.Page, error) bool) { l.pages(ctx, p, r, head, yield) }
		},
		Whole: func(ctx context.Context, buf []byte) ([]schemas.Page, []byte, bool, error) {
			return l.whole(ctx, p, r, head, buf)
		},
	}, nil
}

// pages reads a sealed file from its start to its end.
func (l *Lake) pages(ctx context.Context, p schemas.Partition, r Raw, head []byte,
	yield func(schemas.Page, error) bool) {
	f, err := l.openRaw(p, r)
	if err != nil {
		yield(schemas.Page{}, err)
		return
	}
	defer f.close()
	seal, again, err := f.readSeal()
	if err == nil && !bytes.Equal(head, again) { // another file has taken its name
		err = f.damaged("its first line has changed since it was opened", nil)
	}
	if err != nil {
		yield(schemas.Page{}, err)
		return
	}
	digest := sha256.New()
	last := 0
	for range seal.Pages {
		if err := context.Cause(ctx); err != nil {
			yield(schemas.Page{}, err)
			return
		}
		page, err := f.readPage(digest)
		if err == nil && page.Number <= last {
			err = f.damaged(fmt.Sprintf("page %d comes after page %d", page.Number, last), nil)
		}
		if err != nil {
			yield(schemas.Page{}, err)
			return
		}
		last = page.Number
		if !yield(page, nil) {
			return
		}
	}
	if err := f.finish(seal, digest); err != nil {
		yield(schemas.Page{}, err)
	}
}

// rawReader reads one raw file from start to end, once. It is one goroutine's, and a page is of its buffers.
type rawReader struct {
	file durable.File
	path string
	raw  Raw
	size int64     // of the compressed data, without the trailer
	sum  hash.Hash // of the compressed data so far
	line []byte    // of readLine: the next read writes over it
	body []byte    // of readPage: so does the next page; it grows to the largest, and goes with the reader

	coders *coders
	zstd   *zstd.Decoder // lent by coders until close
	in     *bufio.Reader
	failed bool // the decoder, or the disk beneath it: the decoder isn't given back
}

func (l *Lake) openRaw(p schemas.Partition, r Raw) (*rawReader, error) {
	f := &rawReader{path: filepath.Join(l.Partition(RawDir, p), r.Name), raw: r, sum: sha256.New(), coders: &l.coders}
	file, err := l.FS.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("open raw file: %w", err)
	}
	f.file = file
	info, err := file.Stat()
	if err != nil {
		f.close()
		return nil, fmt.Errorf("open raw file %s: %w", f.path, err)
	}
	f.size = info.Size() - trailerSize
	if f.size <= 0 {
		f.close()
		return nil, f.damaged("it is cut off", nil)
	}
	compressed := io.TeeReader(io.LimitReader(file, f.size), f.sum)
	if f.zstd, err = l.coders.decoder(compressed); err != nil {
		f.close()
		return nil, fmt.Errorf("open raw file %s: %w", f.path, err)
	}
	f.in = bufio.NewReaderSize(f.zstd, 1<<16)
	return f, nil
}

// close ends the reading. Nothing can be read from f after it; what was read before it stays valid.
func (f *rawReader) close() {
	if f.zstd != nil && !f.failed {
		f.coders.putDecoder(f.zstd)
	}
	f.zstd, f.in = nil, nil
	_ = f.file.Close()
}

// damaged names the window too: it is what can be fetched again.
func (f *rawReader) damaged(detail string, err error) error {
	w := f.raw.Window
	hint := "restore the file from a backup"
	if f.raw.Kind == schemas.KindUsage {
		hint += fmt.Sprintf(", or set it aside with: usagelake verify --repair; then the next export fetches %s anew", w)
	} else {
		hint += ", or set it aside with: usagelake verify --repair; a balance can't be asked for a time that has passed"
	}
	return &DamagedError{Path: f.path, Detail: detail, Hint: hint, Err: err}
}

// readLine reads up to the next line feed, which is left out. The line is valid until the next read.
func (f *rawReader) readLine() ([]byte, error) {
	f.line = f.line[:0]
	for {
		part, err := f.in.ReadSlice('\n')
		if len(f.line)+len(part) > maxLine {
			return nil, f.damaged(fmt.Sprintf("a line is longer than %d bytes", maxLine), nil)
		}
		f.line = append(f.line, part...)
		switch {
		case err == nil:
			return f.line[:len(f.line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return nil, f.unreadable(err)
		}
	}
}

// unreadable tells damage from a disk that failed to answer.
func (f *rawReader) unreadable(err error) error {
	f.failed = true
	var path *fs.PathError
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return f.damaged("it ends too early", nil)
	case errors.As(err, &path):
		return fmt.Errorf("read raw file: %w", err)
	}
	return f.damaged("its compressed data can't be read", err)
}

// readSeal reads the first line and checks it. The line is returned too, as a copy.
func (f *rawReader) readSeal() (schemas.Seal, []byte, error) {
	var seal schemas.Seal
	line, err := f.readLine()
	if err != nil {
		return seal, nil, err
	}
	line = bytes.Clone(line)
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(line, &format); err != nil {
		return seal, nil, f.damaged("its first line is no seal", err)
	}
	if format.Format > schemas.RawFormat {
		return seal, nil, fmt.Errorf("open raw file %s: %w (its format is %d, this version knows %d)", f.path, ErrNewer,
			format.Format, schemas.RawFormat)
	}
	if err := json.Unmarshal(line, &seal); err != nil {
		return seal, nil, f.damaged("its first line is no seal", err)
	}
	if seal.Format < 1 {
		return seal, nil, f.damaged(fmt.Sprintf("its format is %d", seal.Format), nil)
	}
	if err := checkSeal(seal); err != nil {
		return seal, nil, f.damaged("its first line is not right", err)
	}
	seal.Start, seal.End, seal.FetchedAt = seal.Start.UTC(), seal.End.UTC(), seal.FetchedAt.UTC()
	if len(seal.Digest) != 2*sha256.Size {
		return seal, nil, f.damaged("its first line has no digest", nil)
	}
	if seal.Account != f.raw.Window.Account || rawName(seal, f.raw.Seq) != f.raw.Name {
		return seal, nil, f.damaged(fmt.Sprintf("its first line is of another file, %s of %s", rawName(seal, f.raw.Seq),
			seal.Account), nil)
	}
	return seal, line, nil
}

// readPage reads a page's line and its body.
func (f *rawReader) readPage(digest hash.Hash) (schemas.Page, error) {
	line, err := f.readLine()
	if err != nil {
		return schemas.Page{}, err
	}
	digest.Write(line)
	digest.Write(lineFeed)
	p, err := f.pageLine(line)
	if err != nil {
		return schemas.Page{}, err
	}
	if f.body, err = readFull(f.in, f.body, p.Length+1); err != nil {
		return schemas.Page{}, f.unreadable(err)
	}
	digest.Write(f.body)
	if f.body[p.Length] != '\n' {
		return schemas.Page{}, f.damaged(fmt.Sprintf("page %d is longer than its line says", p.Page), nil)
	}
	return p.page(f.body[:p.Length:p.Length]), nil
}

// pageLine reads a page's line.
func (f *rawReader) pageLine(line []byte) (p pageLine, err error) {
	if err := json.Unmarshal(line, &p); err != nil {
		return p, f.damaged("a page's line can't be read", err)
	}
	if p.Length < 0 || p.Length > MaxPage {
		return p, f.damaged(fmt.Sprintf("page %d is said to have %d bytes; at most %d are read", p.Page, p.Length, MaxPage),
			nil)
	}
	return p, nil
}

func (p *pageLine) page(body []byte) schemas.Page {
	return schemas.Page{Number: p.Page, RequestID: p.RequestID, FetchedAt: p.FetchedAt.UTC(), Body: body}
}

// readFull reads n bytes into buf, which grows as they come: a length that lies costs no memory.
func readFull(r io.Reader, buf []byte, n int) ([]byte, error) {
	const step = 1 << 20
	buf = buf[:0]
	for len(buf) < n {
		at := len(buf)
		buf = slices.Grow(buf, min(n-at, step))
		buf = buf[:min(n, cap(buf))]
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return buf[:0], err
		}
	}
	return buf, nil
}

// finish checks that the file ends here, and both digests.
func (f *rawReader) finish(seal schemas.Seal, digest hash.Hash) error {
	switch _, err := f.in.ReadByte(); {
	case err == nil:
		return f.damaged(fmt.Sprintf("something follows its %d pages", seal.Pages), nil)
	case !errors.Is(err, io.EOF):
		return f.unreadable(err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != seal.Digest {
		return f.damaged(fmt.Sprintf("its pages have the digest %s, its first line says %s", got, seal.Digest), nil)
	}
	var end [trailerSize]byte
	if _, err := f.file.ReadAt(end[:], f.size); err != nil {
		return f.unreadable(err)
	}
	if !bytes.Equal(end[:], trailer(f.sum)) {
		return f.damaged("the checksum at its end is not that of what stands before it", nil)
	}
	return nil
}
