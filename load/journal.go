package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// The run journal is history alone: nothing in the lake is derived from it, and removing it loses no data. It has two
// parts:
//
//	journal/runs.jsonl            a line of JSON for each start and each end of a run: what ran of late
//	journal/runs/YYYY-MM.parquet  a row per older run, by the UTC month that it started in (journal_months.go)
//
// Whoever holds the lake's lock appends to the first, and moves what is older to the second once there is enough of it
// (CompactJournal). What a run asks of the past must stand in the first: of older runs the few that still count stand
// there, too, as lines that say "kept". So a run, a look and a check read some hundred kilobytes, whatever the lake has
// seen; only who wants all of the history reads the months.
//
// The last member of a line is "crc32c", the CRC-32C of the line without it, in hex. A line of a version that wrote
// none is taken as well, if it has no member that such a version didn't know.

const journalFile = "runs.jsonl"

// journalPath is the live journal.
func (l *Lake) journalPath() string { return l.Path(journalDir, journalFile) }

// journalLine is a line of the journal.
type journalLine struct {
	schemas.Run
	// Kept says that the run is one of the archived ones, shortened to what is still asked for.
	Kept bool `json:"kept,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	sumMember = `,"crc32c":"` // then eight hex digits, a quote and a brace
	sumLength = len(sumMember) + 8 + len(`"}`)
)

var errLine = errors.New("its checksum is another")

// encodeLine makes a line, without its line feed.
func encodeLine(run schemas.Run, kept bool) ([]byte, error) {
	if run.RunID == "" {
		return nil, errors.New("it has no run_id")
	}
	b, err := json.Marshal(journalLine{run, kept})
	if err != nil {
		return nil, err
	}
	return sumLine(b), nil
}

// sumLine puts the checksum at the end of a JSON object.
func sumLine(b []byte) []byte {
	sum := crc32.Checksum(b, castagnoli)
	return fmt.Appendf(b[:len(b)-1:len(b)-1], `%s%08x"}`, sumMember, sum)
}

// summed is how much of a line stands before its checksum; 0 if it has none.
func summed(line []byte) int {
	n := len(line) - sumLength
	if n <= 0 || !bytes.HasPrefix(line[n:], []byte(sumMember)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		return 0
	}
	return n
}

// checkLine holds a line that has a checksum against it.
func checkLine(line []byte, n int) error {
	sum := crc32.Update(crc32.Checksum(line[:n], castagnoli), castagnoli, []byte("}"))
	if string(line[n+len(sumMember):len(line)-2]) != fmt.Sprintf("%08x", sum) {
		return errLine
	}
	return nil
}

func decodeLine(line []byte) (out journalLine, err error) {
	if n := summed(line); n > 0 {
		if err := checkLine(line, n); err != nil {
			return out, err
		}
		err = json.Unmarshal(line, &out)
	} else {
		// Without a checksum, what is no member that was ever written without one is one that was damaged.
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err = dec.Decode(&out); err == nil {
			if _, more := dec.Token(); !errors.Is(more, io.EOF) {
				err = errors.New("something stands behind it")
			}
		}
	}
	if err == nil && out.RunID == "" {
		err = errors.New("it has no run_id")
	}
	return out, err
}

// AppendRun appends what is known of a run, and returns when it is on the disk. A run is appended when it starts
// (schemas.StatusRunning) and when it ends; Runs takes the last line of a RunID. After an error the line may be there
// or not, and appending it again is right in either case. The caller holds the lake's lock.
func (l *Lake) AppendRun(run schemas.Run) error {
	if err := l.appendRun(run); err != nil {
		return fmt.Errorf("append run %s to the journal: %w", run.RunID, err)
	}
	return nil
}

func (l *Lake) appendRun(run schemas.Run) (err error) {
	line, err := encodeLine(run, false)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	path := l.journalPath()
	if err := l.MakeDirs(l.Path(journalDir)); err != nil {
		return err
	}
	f, err := l.FS.OpenAppend(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if size == 0 {
		if err := l.Share(path); err != nil {
			return err
		}
	}
	if size > 0 {
		if size, err = mendTail(f, size); err != nil {
			return err
		}
	}
	// The file may have less than the line, if the disk is full. Nobody reads what has no line feed (live).
	if _, err := f.Write(line); err != nil {
		// Whatever part of the line was written is taken back; if that fails too, the next append does it.
		return errors.Join(err, f.Truncate(size))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return l.SyncDir(l.Path(journalDir)) // the file may be new
}

// mendTail cuts off what a crash left behind the last line feed: a line whose write was never answered. It returns
// the file's size.
func mendTail(f durable.File, size int64) (int64, error) {
	end := size
	buf := make([]byte, 4096)
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return size, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			end += int64(i) + 1 - n
			break
		}
		end -= n
	}
	if end == size {
		return size, nil
	}
	return end, f.Truncate(end)
}

// liveJournal is journal/runs.jsonl, indexed: which line counts of each run, and which can't be read. Its runs are read
// one by one, so that a journal that was never compacted takes memory for the index alone.
type liveJournal struct {
	// Of a small journal its bytes, read at once; else the open file, which closer closes. The positions hold as long as
	// from does: an append only adds behind them, and a compaction puts another file in its place.
	from io.ReaderAt
	runs []lineAt // in the order in which they appear first
	// In the order of the file: lines that are no run, or not as they were written.
	bad []lineAt

	closer io.Closer
	lazy   bool
}

// lineAt is where a line stands.
type lineAt struct {
	run  string // its RunID
	kept bool
	at   int64
	size int
	line int // from 1
}

// wholeJournal is up to what size a live journal is read at once.
const wholeJournal = 4 << 20

// live opens the live journal; no journal is an empty one. A last line without line feed is one that is being written,
// or was when its process died, and is left out. Of a journal that was never compacted, lines without a checksum are
// known to be damaged when they are read, unless strict is set.
func (l *Lake) live(strict bool) (*liveJournal, error) {
	f, err := l.FS.Open(l.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return &liveJournal{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	j, err := indexJournal(f, strict)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", errors.Join(err, f.Close()))
	}
	if j.closer == nil {
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
	}
	return j, nil
}

func indexJournal(f durable.File, strict bool) (*liveJournal, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	j := &liveJournal{from: f, closer: f, lazy: !strict && info.Size() > wholeJournal}
	var in io.Reader = f
	if info.Size() <= wholeJournal {
		b, err := io.ReadAll(f)
		if err != nil {
			return nil, err
		}
		r := bytes.NewReader(b)
		j.from, j.closer, in = r, nil, r
	}
	return j, j.index(in)
}

func (j *liveJournal) close() error {
	if j.closer == nil {
		return nil
	}
	return j.closer.Close()
}

// index finds the lines.
func (j *liveJournal) index(from io.Reader) error {
	at := map[string]int{} // by RunID, the place in runs
	in := bufio.NewReaderSize(from, 1<<16)
	// A line that doesn't fit the reader's buffer is put together here; either way it is gone with the next, and what is
	// kept of it is copied.
	var long []byte
	for pos, n := int64(0), 1; ; n++ {
		line, err := in.ReadSlice('\n')
		for errors.Is(err, bufio.ErrBufferFull) {
			long = append(long[:0], line...)
			for errors.Is(err, bufio.ErrBufferFull) {
				line, err = in.ReadSlice('\n')
				long = append(long, line...)
			}
			line = long
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		here := lineAt{at: pos, size: len(line) - 1, line: n}
		pos += int64(len(line))
		if here.run, here.kept, err = identify(line[:here.size], j.lazy); err != nil {
			j.bad = append(j.bad, here)
			continue
		}
		i, ok := at[here.run]
		switch {
		case !ok:
			at[here.run] = len(j.runs)
			j.runs = append(j.runs, here)
		case !here.kept || j.runs[i].kept: // what was kept of a run is less than the run
			j.runs[i] = here
		}
	}
}

// identify checks a line and says whose it is.
func identify(line []byte, lazy bool) (run string, kept bool, err error) {
	// encodeLine writes the id first and "kept" last before the checksum, so that both can be told without reading the
	// rest, which may list hundreds of accounts. An id with an escape in it is read the long way.
	const begin = `{"run_id":"`
	if n := summed(line); (n > 0 || lazy) && bytes.HasPrefix(line, []byte(begin)) {
		if n > 0 {
			if err := checkLine(line, n); err != nil {
				return "", false, err
			}
		}
		id, _, ok := bytes.Cut(line[len(begin):], []byte(`"`))
		if ok && len(id) > 0 && bytes.IndexByte(id, '\\') < 0 {
			return string(id), bytes.HasSuffix(line[:n], []byte(`,"kept":true`)), nil
		}
	}
	whole, err := decodeLine(line)
	return whole.RunID, whole.Kept, err
}

// bytes reads a line as it stands.
func (j *liveJournal) bytes(a lineAt) ([]byte, error) {
	b := make([]byte, a.size)
	_, err := j.from.ReadAt(b, a.at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b, err
}

// ErrUnknownLine is of a line that has the right checksum and isn't what this version expects.
var ErrUnknownLine = errors.New("it is no run as this version knows them")

// run reads a run.
func (j *liveJournal) run(a lineAt) (journalLine, error) {
	b, err := j.bytes(a)
	if err != nil {
		return journalLine{}, err
	}
	line, err := decodeLine(b)
	if err != nil {
		return line, fmt.Errorf("line %d: %w: %w", a.line, ErrUnknownLine, err)
	}
	return line, nil
}

// Runs returns the runs of the live journal in the order they started, each as its last line has it: those of late, and
// before them what is kept of older ones. A run whose last line says schemas.StatusRunning either runs or was killed:
// whoever knows who holds the lock can tell. No journal is no runs. Lines that can't be read are passed over with a
// warning; fields this version doesn't know are too.
func (l *Lake) Runs() ([]schemas.Run, error) {
	var runs []schemas.Run
	err := l.EachRun(func(r schemas.Run) { runs = append(runs, r) })
	return runs, err
}

// EachRun calls f with what Runs returns, one run after the other.
func (l *Lake) EachRun(f func(schemas.Run)) error {
	j, err := l.live(false)
	if err != nil {
		return err
	}
	defer j.close()
	l.warnBad(j.bad)
	for _, a := range j.runs {
		line, err := j.run(a)
		if errors.Is(err, ErrUnknownLine) {
			l.warnBad([]lineAt{a})
			continue
		}
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		f(line.Run)
	}
	return nil
}

func (l *Lake) warnBad(bad []lineAt) {
	for _, a := range bad {
		l.Log.Warn("a line of the journal can't be read", "path", l.journalPath(), "line", a.line, "hint",
			"usagelake verify --repair   (sets it aside)")
	}
}

// Stamp tells whether a file is still as it was: two that are the same are of the same file, which nobody wrote to in
// between. The zero value is of none.
type Stamp struct{ info fs.FileInfo }

// JournalStamp looks at the live journal, and reads nothing of it.
func (l *Lake) JournalStamp() Stamp { return l.stamp(l.journalPath()) }

// RawStamp looks at an account's directory in the raw archive: whether days were added or taken away.
func (l *Lake) RawStamp(account string) Stamp { return l.stamp(l.AccountDir(RawDir, account)) }

func (l *Lake) stamp(path string) Stamp {
	info, err := l.FS.Stat(path)
	if err != nil {
		return Stamp{}
	}
	return Stamp{info}
}

// Size is the file's, in bytes; 0 of none.
func (s Stamp) Size() int64 {
	if s.info == nil {
		return 0
	}
	return s.info.Size()
}

// Same compares two stamps.
func (s Stamp) Same(other Stamp) bool {
	if s.info == nil || other.info == nil {
		return s.info == nil && other.info == nil
	}
	return durable.Unchanged(s.info, other.info)
}

// tailStep is how much is read first from the end of the journal: all of one that is compacted.
const tailStep = 512 << 10

// LastRuns returns the last n runs of the journal, oldest first, and how many of the lines that it came across can't be
// read. It reads the end of the file, no more than it takes.
func (l *Lake) LastRuns(n int) (runs []schemas.Run, bad int, err error) {
	f, err := l.FS.Open(l.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read journal: %w", err)
	}
	for step := int64(tailStep); ; step *= 4 {
		from := max(0, info.Size()-step)
		b := make([]byte, info.Size()-from)
		if _, err := f.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, fmt.Errorf("read journal: %w", err)
		}
		if from > 0 { // it begins within a line
			_, b, _ = bytes.Cut(b, lineFeed)
		}
		j := &liveJournal{from: bytes.NewReader(b)}
		if err := j.index(bytes.NewReader(b)); err != nil {
			return nil, 0, fmt.Errorf("read journal: %w", err)
		}
		var plain []lineAt
		for _, a := range j.runs {
			if !a.kept {
				plain = append(plain, a)
			}
		}
		// the first may have a line before; kept ones aren't asked for
		if from > 0 && len(plain) <= n && step < wholeJournal {
			continue
		}
		for _, a := range plain[max(0, len(plain)-n):] {
			line, err := j.run(a)
			if errors.Is(err, ErrUnknownLine) {
				j.bad = append(j.bad, a)
				continue
			}
			if err != nil {
				return nil, 0, fmt.Errorf("read journal: %w", err)
			}
			runs = append(runs, line.Run)
		}
		return runs, len(j.bad), nil
	}
}
