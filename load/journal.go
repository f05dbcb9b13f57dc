package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/usagelake/usagelake/schemas"
)

// The run journal is journal/runs.jsonl: a line of JSON for each start and each end of a run, appended and never
// changed. It is history alone: nothing in the lake is derived from it, and removing it loses no data.

const journalFile = "runs.jsonl"

func (l *Lake) journalPath() string { return l.path(journalDir, journalFile) }

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
	if run.RunID == "" {
		return errors.New("it has no run_id")
	}
	line, err := json.Marshal(run)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	path := l.journalPath()
	if err := l.mkdirs(l.path(journalDir)); err != nil {
		return err
	}
	f, err := l.fs.OpenAppend(path)
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
		if err := l.shareFile(path); err != nil {
			return err
		}
	}
	if size > 0 {
		if size, err = mendTail(f, size); err != nil {
			return err
		}
	}
	if _, err := f.Write(line); err != nil {
		// Whatever part of the line was written is taken back; if that fails too, the next append does it.
		return errors.Join(err, f.Truncate(size))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return l.syncDir(l.path(journalDir)) // the file may be new
}

// mendTail cuts off what a crash left behind the last line feed: a line whose write was never answered. It returns
// the file's size.
func mendTail(f File, size int64) (int64, error) {
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

// Runs returns the runs of the journal in the order they started, each as its last line has it. A run whose last line
// says schemas.StatusRunning either runs or was killed: whoever knows who holds the lock can tell. No journal is no
// runs. Lines that can't be read are passed over with a warning; fields this version doesn't know are too.
func (l *Lake) Runs() ([]schemas.Run, error) {
	runs, bad, err := l.journal()
	if err != nil {
		return nil, err
	}
	for _, line := range bad {
		l.log.Warn("a line of the journal can't be read", "path", l.journalPath(), "line", line)
	}
	return runs, nil
}

// journal reads the journal: its runs, and the numbers (from 1) of the lines that are no run. A last line without line
// feed is one that is being written, or was when its process died, and is none of them.
func (l *Lake) journal() (runs []schemas.Run, bad []int, err error) {
	b, err := l.fs.ReadFile(l.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read journal: %w", err)
	}
	runs, bad = parseJournal(b)
	return runs, bad, nil
}

func parseJournal(b []byte) (runs []schemas.Run, bad []int) {
	at := map[string]int{} // by RunID, the place in runs
	for n := 1; ; n++ {
		line, rest, ok := bytes.Cut(b, lineFeed)
		if !ok {
			return runs, bad
		}
		b = rest
		var run schemas.Run
		if err := json.Unmarshal(line, &run); err != nil || run.RunID == "" {
			bad = append(bad, n)
			continue
		}
		if i, ok := at[run.RunID]; ok {
			runs[i] = run
			continue
		}
		at[run.RunID] = len(runs)
		runs = append(runs, run)
	}
}
