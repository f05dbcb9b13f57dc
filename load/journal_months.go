package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// The months of the journal are journal/runs/YYYY-MM.parquet: a row per run that started in that UTC month and has left
// the live journal. What a run was stands in the column "line" as it stood in the journal, checksum included; the other
// columns are for people who look. A run that stands in a month and in the live journal, as a crash between the two
// steps of a compaction leaves it, counts once, as the live journal has it.

const (
	monthsDir   = "runs"
	monthSuffix = ".parquet"

	// The live journal is compacted from these on. Fewer runs than minRuns stay, however large they are: a run of
	// hundreds of accounts has a long line.
	compactBytes = 256 << 10
	compactRuns  = 64
	minRuns      = 32
)

// monthColumns are the columns of a month of the journal.
func monthColumns() []schemas.Column {
	str, at := arrow.BinaryTypes.String, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	return []schemas.Column{
		{Name: "run_id", Type: str, Comment: "Id of the run."},
		{Name: "command", Type: str, Comment: "The command: export, rebuild, …"},
		{Name: "job", Type: str, Nullable: true,
			Comment: "Name of the job of the schedule that began it; NULL if it was begun by hand."},
		{Name: "started_at", Type: at, Comment: "Start, UTC."},
		{Name: "ended_at", Type: at, Nullable: true, Comment: "End, UTC; NULL if it was killed."},
		{Name: "status", Type: str, Comment: "How it ended; running if it was killed."},
		{Name: "line", Type: str, Comment: "What the journal said of it last, as it stood there: JSON."},
	}
}

const monthLine = 6 // the column's place

func (l *Lake) monthPath(month string) string {
	return l.Path(journalDir, monthsDir, month+monthSuffix)
}

// JournalMonths are the months of the journal, "2026-11", in order.
func (l *Lake) JournalMonths() ([]string, error) {
	names, err := l.list(l.Path(journalDir, monthsDir))
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var months []string
	for _, n := range names {
		month, ok := strings.CutSuffix(n, monthSuffix)
		if _, err := time.Parse("2006-01", month); ok && err == nil {
			months = append(months, month)
		}
	}
	slices.Sort(months)
	return months, nil
}

// MonthDigest is the digest of a month's rows, and how many they are, from the file's footer. A file that can't be read
// as one gives a *DamagedError.
func (l *Lake) MonthDigest(month string) (digest string, runs int64, err error) {
	path := l.monthPath(month)
	f, err := l.FS.Open(path)
	if err != nil {
		return "", 0, fmt.Errorf("read journal: %w", err)
	}
	defer f.Close()
	meta, err := readFooter(f)
	if err != nil {
		return "", 0, monthDamage(path, "it can't be read as Parquet", err)
	}
	var sum bodySum
	text := meta.KeyValueMetadata().FindValue(bodyKey)
	if text == nil || json.Unmarshal([]byte(*text), &sum) != nil {
		return "", 0, monthDamage(path, "its footer has no digest", nil)
	}
	return sum.SHA256, meta.NumRows, nil
}

// HintJournal is what to do about a journal that can't be read.
const HintJournal = "usagelake verify --repair   (sets aside what can't be read)"

func monthDamage(path, detail string, err error) error {
	return &DamagedError{Path: path, Detail: detail, Hint: HintJournal, Err: err}
}

// monthLines reads the lines of a month, in their order. A line is valid until the next step. What the decoder makes of
// damaged bytes, panics included, is a *DamagedError.
func (l *Lake) monthLines(month string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		path := l.monthPath(month)
		f, err := l.FS.Open(path)
		if err != nil {
			yield(nil, fmt.Errorf("read journal: %w", err))
			return
		}
		defer f.Close()
		stopped := false
		err = readTexts(f, monthLine, "line", func(line []byte) bool {
			stopped = !yield(line, nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(nil, monthDamage(path, "it can't be read as a month of the journal", err))
		}
	}
}

// readTexts reads a column of texts without NULLs of a Parquet file, until each says no.
func readTexts(f durable.File, column int, name string, each func([]byte) bool) (err error) {
	// A panic of each is none of the decoder's, and goes on up.
	inside := true // of the decoder, and not of each
	defer func() {
		if !inside {
			return
		}
		if r := recover(); r != nil {
			err = fmt.Errorf("unreadable rows: %v", r)
		}
	}()
	r, err := file.NewParquetReader(f)
	if err != nil {
		return err
	}
	if s := r.MetaData().Schema; s.NumColumns() <= column || s.Column(column).Name() != name {
		return fmt.Errorf("its columns are others")
	}
	values := make([]parquet.ByteArray, 1024)
	for i := range r.NumRowGroups() {
		chunk, err := r.RowGroup(i).Column(column)
		if err != nil {
			return err
		}
		texts, ok := chunk.(*file.ByteArrayColumnChunkReader)
		if !ok {
			return errors.New("its columns are others")
		}
		// Damaged pages may end early without an error: the rows are counted.
		left := r.MetaData().RowGroups[i].NumRows
		for texts.HasNext() {
			_, n, err := texts.ReadBatch(int64(len(values)), values, nil, nil)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			left -= int64(n)
			for _, v := range values[:n] {
				inside = false
				more := each(v)
				inside = true
				if !more {
					return nil
				}
			}
		}
		if err := texts.Err(); err != nil {
			return err
		}
		if left != 0 {
			return fmt.Errorf("%d of its rows are missing", left)
		}
	}
	return nil
}

// MonthRuns reads the runs of a month, in their order. A line that can't be read is an error that wraps ErrUnknownLine,
// after which it goes on.
func (l *Lake) MonthRuns(month string) iter.Seq2[schemas.Run, error] {
	return func(yield func(schemas.Run, error) bool) {
		for text, err := range l.monthLines(month) {
			var line journalLine
			if err == nil {
				if line, err = decodeLine(text); err != nil {
					err = fmt.Errorf("%w: %w", ErrUnknownLine, err)
				}
			}
			if !yield(line.Run, err) {
				return
			}
		}
	}
}

// AllRuns reads every run that the journal knows, archived ones first, in the order they started. Months and lines that
// can't be read are passed over with a warning.
func (l *Lake) AllRuns(ctx context.Context) iter.Seq2[schemas.Run, error] {
	return func(yield func(schemas.Run, error) bool) {
		j, err := l.live(false)
		if err != nil {
			yield(schemas.Run{}, err)
			return
		}
		defer j.close()
		l.warnBad(j.bad)
		live := map[string]bool{}
		for _, a := range j.runs {
			if !a.kept {
				live[a.run] = true
			}
		}
		months, err := l.JournalMonths()
		if err != nil {
			yield(schemas.Run{}, err)
			return
		}
		for _, month := range months {
			for run, err := range l.MonthRuns(month) {
				if stopped := ctx.Err(); stopped != nil {
					yield(run, stopped)
					return
				}
				if err != nil {
					l.Log.Warn("a month of the journal can't be read whole", "path", l.monthPath(month), "error", err, "hint",
						HintJournal)
					continue
				}
				if !live[run.RunID] && !yield(run, nil) {
					return
				}
			}
		}
		for _, a := range j.runs {
			if a.kept {
				continue
			}
			line, err := j.run(a)
			if errors.Is(err, ErrUnknownLine) {
				l.warnBad([]lineAt{a})
				continue
			}
			if err != nil {
				yield(line.Run, fmt.Errorf("read journal: %w", err))
				return
			}
			if !yield(line.Run, nil) {
				return
			}
		}
	}
}

// Keep picks of runs, which come in the order they started, those that something may still ask for, shortened to what
// it asks. What it kept before is among what it is given the next time, and nothing else is of the runs before that.
type Keep func(iter.Seq[schemas.Run]) []schemas.Run

// CompactJournal moves runs from the live journal to the months they started in, if there are enough of them, and
// leaves what keep says of them. It says how many it moved. The caller holds the lock.
//
//	each month: read · add · commit (one rename)  ─▶  the live journal without them: commit (one rename)
//
// A crash in between leaves runs in both, which count once, and the next compaction moves them again. Lines that can't
// be read stay where they are.
func (l *Lake) CompactJournal(ctx context.Context, keep Keep) (moved int, err error) {
	info, err := l.FS.Stat(l.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("compact journal: %w", err)
	}
	if info.Size() <= compactBytes {
		return 0, nil
	}
	moved, err = l.compactBeyond(ctx, keep, compactRuns, minRuns)
	if err != nil {
		return 0, fmt.Errorf("compact journal: %w", err)
	}
	return moved, nil
}

// compactBeyond is CompactJournal with bounds of its own: if more than `from` runs stand in the live journal, all but
// the last `least` of them are moved.
func (l *Lake) compactBeyond(ctx context.Context, keep Keep, from, least int) (int, error) {
	j, err := l.live(false)
	if err != nil {
		return 0, err
	}
	defer j.close()
	plain := 0
	for _, a := range j.runs {
		if !a.kept {
			plain++
		}
	}
	if plain <= from {
		return 0, nil
	}
	// Of plain runs the last `least` stay. The one before these is the last to go, and whatever stands before it goes with
	// it: kept lines, too, since keep says anew what is kept. With (kept) a, then b, c, d, and least 2, a and b go.
	split, seen := 0, 0
	for i, a := range j.runs {
		if !a.kept {
			if seen++; seen == plain-least {
				split = i + 1
				break
			}
		}
	}
	old, stay := j.runs[:split], j.runs[split:]
	a := &archiver{lake: l, ids: map[string]bool{}}
	defer a.abort()
	for _, r := range old {
		// A kept one is in its month already, and is not to be taken out there.
		a.ids[r.run] = !r.kept
	}
	var unknown []lineAt
	var failed error
	done, more := 0, true
	// keep sees each run as it is moved, so that the journal is read once. Months are written as runs come; the last one
	// is committed below.
	kept := keep(func(yield func(schemas.Run) bool) {
		for _, r := range old[done:] {
			done++
			text, err := j.bytes(r)
			var line journalLine
			if err == nil {
				if line, err = decodeLine(text); err != nil {
					unknown = append(unknown, r)
					continue
				}
			}
			if err == nil && !r.kept {
				err = a.add(line.Run, text)
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				failed = err
				return
			}
			more = more && yield(line.Run) // whoever has seen enough: all are moved
		}
	})
	if failed == nil && done < len(old) {
		failed = fmt.Errorf("%d runs were not looked at", len(old)-done)
	}
	// Every month is on the disk before a line leaves the live journal. In the other order a crash would lose runs; in
	// this one it leaves some in both.
	if failed == nil {
		failed = a.commit()
	}
	if failed != nil {
		return 0, failed
	}
	return plain - least - len(unknown), l.rewriteJournal(j, append(j.bad, unknown...), kept, stay)
}

// archiver adds runs to the months they started in, one month after the other.
type archiver struct {
	lake *Lake
	ids  map[string]bool // the runs that are still to be added: what a month has of them already is left out of it
	// The month that is being written; Temp and w are nil while none is. add commits it when another comes, and abort
	// drops it: what was committed before stays, and is written again by the next compaction.
	month string
	Temp  *durable.Temp
	w     *monthWriter
}

// add adds a run and its line.
func (a *archiver) add(run schemas.Run, line []byte) error {
	month := run.StartedAt.UTC().Format("2006-01")
	if a.w == nil || month != a.month {
		if err := a.commit(); err != nil {
			return err
		}
		if err := a.open(month); err != nil {
			return fmt.Errorf("month %s: %w", month, err)
		}
	}
	if summed(line) == 0 {
		line = sumLine(line)
	}
	// Runs needn't come in order of their months. One that is opened again must keep what was put there before.
	delete(a.ids, run.RunID)
	return a.w.add(run, line)
}

// open begins a month anew with what it has.
func (a *archiver) open(month string) (err error) {
	a.month = month
	if a.Temp, err = a.lake.CreateTemp(month + ".*"); err != nil {
		return err
	}
	if a.w, err = newMonthWriter(a.Temp); err != nil {
		return err
	}
	path := a.lake.monthPath(month)
	switch _, err := a.lake.FS.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := a.lake.checkMonth(month); err != nil { // what is wrong in it is mended, and not written anew
		return err
	}
	for line, err := range a.lake.monthLines(month) {
		if err != nil {
			return err
		}
		run, err := decodeLine(line)
		if err != nil {
			return monthDamage(path, "a line can't be read", err)
		}
		if a.ids[run.RunID] {
			continue
		}
		if err := a.w.add(run.Run, line); err != nil {
			return err
		}
	}
	return nil
}

// commit puts the month in its place.
func (a *archiver) commit() error {
	if a.w == nil {
		return nil
	}
	defer a.abort()
	err := a.w.close()
	if err == nil {
		err = a.Temp.Commit(a.lake.monthPath(a.month))
	}
	if err != nil {
		return fmt.Errorf("month %s: %w", a.month, err)
	}
	return nil
}

func (a *archiver) abort() {
	if a.w != nil {
		a.w.rows.Release()
		a.w = nil
	}
	if a.Temp != nil {
		a.Temp.Abort()
		a.Temp = nil
	}
}

// checkMonth holds a month's rows against the digest in its footer.
func (l *Lake) checkMonth(month string) error {
	err := l.CheckBody(l.monthPath(month))
	if damaged := (*DamagedError)(nil); errors.As(err, &damaged) {
		return monthDamage(damaged.Path, damaged.Detail, damaged.Err)
	}
	return err
}

// monthWriter writes a month of the journal.
type monthWriter struct {
	out  *tableWriter
	rows *array.RecordBuilder
	n    int
}

func newMonthWriter(t io.Writer) (*monthWriter, error) {
	columns := monthColumns()
	// Without a page index all but the footer is under the digest that the footer has of the rows: nothing can derive them
	// anew.
	out, err := newTableWriter(t, columns, parquet.WithPageIndexEnabled(false), parquet.WithDictionaryFor("line", false),
		parquet.WithDictionaryFor("run_id", false))
	if err != nil {
		return nil, err
	}
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.Name, Type: c.Type, Nullable: c.Nullable}
	}
	return &monthWriter{out: out, rows: array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))}, nil
}

// add adds a run and the line that says it, which is copied.
func (w *monthWriter) add(r schemas.Run, line []byte) error {
	text := func(i int, s string) { w.rows.Field(i).(*array.StringBuilder).Append(s) }
	at := func(i int, t time.Time) {
		w.rows.Field(i).(*array.TimestampBuilder).Append(arrow.Timestamp(t.UnixMicro()))
	}
	text(0, r.RunID)
	text(1, r.Command)
	if r.Job == "" {
		w.rows.Field(2).AppendNull()
	} else {
		text(2, r.Job)
	}
	at(3, r.StartedAt)
	if r.EndedAt.IsZero() {
		w.rows.Field(4).AppendNull()
	} else {
		at(4, r.EndedAt)
	}
	text(5, r.Status)
	text(monthLine, string(line))
	if w.n++; w.n%cutStep == 0 {
		return w.flush()
	}
	return nil
}

func (w *monthWriter) flush() error {
	rec := w.rows.NewRecordBatch()
	defer rec.Release()
	return w.out.write(rec)
}

func (w *monthWriter) close() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.out.close()
}

// rewriteJournal replaces the live journal: lines that can't be read first, as they are; what is kept; and the runs
// that stay, each by its last line.
func (l *Lake) rewriteJournal(j *liveJournal, bad []lineAt, kept []schemas.Run, stay []lineAt) error {
	var b bytes.Buffer
	for _, a := range bad {
		line, err := j.bytes(a)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	for _, r := range kept {
		line, err := encodeLine(r, true)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	for _, a := range stay {
		line, err := j.bytes(a)
		if err != nil {
			return err
		}
		if summed(line) == 0 {
			line = sumLine(line)
		}
		b.Write(append(line, '\n'))
	}
	return l.Replace(l.journalPath(), &b)
}
