package load

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

const (
	UsageFile      = "usage.parquet"
	QuarantineFile = "quarantine.parquet"
	BalanceFile    = "balance.parquet"

	// DigestKey is the footer key of quarantine and balance files with the digest of what they were derived from.
	DigestKey = "usagelake.digest"
)

// UsagePath is the day file of p.
func (l *Lake) UsagePath(p schemas.Partition) string {
	return filepath.Join(l.Partition(UsageDir, p), UsageFile)
}

// QuarantinePath is the quarantine of p, which a day without one lacks.
func (l *Lake) QuarantinePath(p schemas.Partition) string {
	return filepath.Join(l.Partition(QuarantineDir, p), QuarantineFile)
}

// BalancePath is the balances of p.
func (l *Lake) BalancePath(p schemas.Partition) string {
	return filepath.Join(l.Partition(BalanceDir, p), BalanceFile)
}

// Day returns what the day file of p says of itself, and false if there is none. Only the footer is read. A file that
// can't be read as one gives a *DamagedError.
func (l *Lake) Day(p schemas.Partition) (schemas.DayFooter, bool, error) {
	var footer schemas.DayFooter
	path := l.UsagePath(p)
	text, ok, err := l.FooterValue(path, p, schemas.FooterKey)
	if err != nil || !ok {
		return footer, false, err
	}
	if err := json.Unmarshal([]byte(text), &footer); err != nil {
		return schemas.DayFooter{}, false, derivedDamage(path, "its footer can't be read", err)
	}
	return footer, true, nil
}

// Stale reports whether the derived files of p are to be derived anew: the day file isn't there, or was derived from
// other windows or by another transformation, or can't be read; or the quarantine isn't the one that belongs to it. A
// day without windows is not stale, whatever is derived of it, and neither is one whose day file was made from windows
// that are missing: see Orphan. A frozen day can't be derived: it is stale if FrozenDay has something to put in its
// place.
func (l *Lake) Stale(p schemas.Partition, transformVersion int) (bool, error) {
	source, err := l.Source(p)
	if err != nil {
		return false, err
	}
	if source.Frozen() {
		return l.frozenStale(source)
	}
	var damaged *DamagedError
	footer, ok, err := l.Day(p)
	if err == nil || errors.As(err, &damaged) {
		if o, err := l.OrphanedDay(source, footer, ok, err); o != nil || err != nil {
			return false, err
		}
	}
	switch {
	case errors.As(err, &damaged):
		l.Log.Warn("a day file is damaged and will be derived anew", "path", damaged.Path, "detail", damaged.Detail)
		return true, nil
	case err != nil:
		return false, err
	case !ok && len(source.Windows) > 0:
		return true, nil
	case ok && footer.Digest != source.Digest(transformVersion):
		return true, nil
	}

	digest, ok, err := l.FooterValue(l.QuarantinePath(p), p, DigestKey)
	switch {
	case errors.As(err, &damaged):
		l.Log.Warn("a quarantine file is damaged and will be derived anew", "path", damaged.Path, "detail", damaged.Detail)
		return true, nil
	case err != nil:
		return false, err
	}
	return ok != (footer.Quarantined > 0) || ok && digest != footer.Digest, nil
}

func derivedDamage(path, detail string, err error) error {
	return &DamagedError{Path: path, Detail: detail, Hint: "derive it anew from the raw archive: usagelake rebuild",
		Err: err}
}

// DayWriter writes the day file of a partition and its quarantine. Nothing of the lake changes before Commit; Abort (or
// a crash) before it leaves the day as it was: the temp files of one that was killed are dropped by the next holder of
// the lock. Memory is bounded by a row group of each file, whatever is written. It is for one goroutine.
type DayWriter struct {
	lake      *Lake
	partition schemas.Partition
	// A writer that compares writes nothing: usageSum and rejectSum see what the files would hold.
	usageSum, rejectSum hash.Hash

	usageTemp *durable.Temp // nil of one that compares
	usage     *tableWriter

	rejectTemp *durable.Temp // nil until there is a reject
	rejects    *tableWriter  // the same
	rejected   int64
	builder    *array.RecordBuilder

	err  error // the first that came; nothing is committed after it
	done bool
}

// CreateDay starts the files of p. The caller must Commit or Abort, and holds the lake's lock.
func (l *Lake) CreateDay(p schemas.Partition) (*DayWriter, error) {
	w := &DayWriter{lake: l, partition: p}
	var err error
	if w.usageTemp, err = l.CreateTemp(UsageFile + ".*"); err != nil {
		return nil, fmt.Errorf("write day %s: %w", p, err)
	}
	if w.usage, err = newUsageWriter(w.usageTemp); err != nil {
		w.usageTemp.Abort()
		return nil, fmt.Errorf("write day %s: %w", p, err)
	}
	return w, nil
}

// ErrDiffers says that a day gives other files than those that stand in the lake.
var ErrDiffers = errors.New("the derived files are not what the day's windows give")

// CompareDay is CreateDay without a change to the lake: Commit returns ErrDiffers unless the files of p are, byte for
// byte, what was written. It needs no lock.
func (l *Lake) CompareDay(p schemas.Partition) (*DayWriter, error) {
	w := &DayWriter{lake: l, partition: p, usageSum: sha256.New(), rejectSum: sha256.New()}
	var err error
	if w.usage, err = newUsageWriter(w.usageSum); err != nil {
		return nil, fmt.Errorf("compare day %s: %w", p, err)
	}
	return w, nil
}

// dayBuffers holds the buffers of day files that were written, for the next: a row group is some 20 MiB, and growing
// them anew for each day was a tenth of what deriving one took. Only a file that came out whole gives them, empty; what
// one that failed holds goes with it.
var dayBuffers sync.Pool

// newUsageWriter starts a day file. What it is buffered in goes back to dayBuffers once the file is whole.
func newUsageWriter(w io.Writer) (*tableWriter, error) {
	t, err := newTableWriter(w, schemas.UsageColumns(), usageEncodings()...)
	if b, ok := dayBuffers.Get().(*buffers); ok && err == nil {
		t.buffers = *b // every day file has the same columns
	}
	return t, err
}

// usageEncodings are the encodings of the day file's columns that came out smallest, and the levels of Zstandard that
// paid; see BenchmarkDayWriter. What isn't named has a dictionary, and the default level. BYTE_STREAM_SPLIT is left
// alone: not every reader takes it for INT64.
func usageEncodings() []parquet.WriterProperty {
	var props []parquet.WriterProperty
	plain := func(column string, e parquet.Encoding) {
		props = append(props, parquet.WithDictionaryFor(column, false), parquet.WithEncodingFor(column, e))
	}
	// Ids grow from row to row: what they share with the one before is left out.
	plain("id", parquet.Encodings.DeltaByteArray)
	plain("request_time", parquet.Encodings.DeltaBinaryPacked)
	// Counts differ in nearly every row, so a dictionary would be the column again. Whole bytes, most of them 0, are coded
	// smaller than bits packed across their borders.
	for _, column := range []string{"channel_id", "input_tokens", "output_tokens", "cached_tokens", "total_tokens"} {
		plain(column, parquet.Encodings.Plain)
	}
	// list costs come again with the same request, discounts are often 0; net costs have more digits, and next to no
	// repetitions. DELTA_BINARY_PACKED would save 0.1 bytes a record, and fastparquet (2026.9) adds such amounts up to
	// another sum without an error.
	plain("total_amount", parquet.Encodings.Plain)
	plain("discount_amount", parquet.Encodings.Plain)
	plain("amount", parquet.Encodings.Plain)
	// The fastest level looks for few repetitions and leaves the rest to the entropy coder. Of digits and counts, which
	// repeat by chance alone, that comes out smaller: a match costs more than the bytes it stands for. Levels above the
	// default gain 0.2 bytes a record, for a tenth of the time that deriving takes.
	for _, column := range []string{"id", "channel_id", "input_tokens", "output_tokens", "cached_tokens", "total_tokens",
		"amount",
		"input_price", "output_price", "cached_price"} {
		props = append(props, parquet.WithCompressionLevelFor(column, 1))
	}
	return append(props, parquet.WithSortingColumns(usageOrder()))
}

// usageOrder is the order that a day's rows are in.
func usageOrder() []parquet.SortingColumn {
	var order []parquet.SortingColumn
	for _, name := range []string{"request_time", "id", "ordinal"} {
		leaf := 0
		for _, c := range schemas.UsageColumns() {
			if c.Name == name {
				order = append(order, parquet.SortingColumn{ColumnIdx: int32(leaf)})
			}
			leaf += leavesOf(c.Type)
		}
	}
	return order
}

// leavesOf counts the Parquet columns of a column.
func leavesOf(t arrow.DataType) int {
	if list, ok := t.(*arrow.ListType); ok {
		return list.Elem().(*arrow.StructType).NumFields()
	}
	return 1
}

// Write appends the rows of rec, a batch of schemas.UsageSchema of any length. The batch is not kept.
func (w *DayWriter) Write(rec arrow.RecordBatch) error {
	if w.err == nil {
		w.err = w.usage.write(rec)
	}
	return w.wrap(w.err)
}

// WriteRejects appends records to the quarantine. What they refer to is not kept.
func (w *DayWriter) WriteRejects(rejects []schemas.Reject) error {
	if w.err == nil && len(rejects) > 0 {
		w.err = w.writeRejects(rejects)
	}
	return w.wrap(w.err)
}

func (w *DayWriter) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write day %s: %w", w.partition, err)
}

func (w *DayWriter) writeRejects(rejects []schemas.Reject) (err error) {
	if w.rejects == nil {
		var out io.Writer = w.rejectSum
		if w.rejectSum == nil {
			if w.rejectTemp, err = w.lake.CreateTemp(QuarantineFile + ".*"); err != nil {
				return err
			}
			out = w.rejectTemp
		}
		if w.rejects, err = newTableWriter(out, schemas.QuarantineColumns(),
			parquet.WithDictionaryFor("raw", false)); err != nil {
			return err
		}
		w.builder = array.NewRecordBuilder(memory.DefaultAllocator, schemas.QuarantineSchema())
	}
	b := w.builder
	text := func(i int, s string) { b.Field(i).(*array.StringBuilder).Append(validText(s)) }
	orNull := func(i int, s string) {
		if s == "" {
			b.Field(i).AppendNull()
		} else {
			text(i, s)
		}
	}
	for len(rejects) > 0 {
		// Their raw JSON may be large: so many at a time are copied, and not all of a batch's.
		n := min(len(rejects), cutStep)
		for _, r := range rejects[:n] {
			text(0, w.partition.Account)
			b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(r.Window.Start.UnixMicro()))
			b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(r.Window.End.UnixMicro()))
			text(3, r.Reason)
			orNull(4, r.Field)
			b.Field(5).(*array.StringBuilder).BinaryBuilder.Append(validBytes(r.Raw))
			orNull(6, r.RequestID)
			b.Field(7).(*array.TimestampBuilder).Append(arrow.Timestamp(r.FetchedAt.UnixMicro()))
			text(8, r.RunID)
		}
		rec := b.NewRecordBatch()
		err := w.rejects.write(rec)
		rec.Release()
		if err != nil {
			return err
		}
		w.rejected += int64(n)
		rejects = rejects[n:]
	}
	return nil
}

const replacement = "\uFFFD"

func validBytes(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return bytes.ToValidUTF8(b, []byte(replacement))
}

func validText(s string) string { return string(validBytes([]byte(s))) }

// Commit finishes the files with this footer and puts them in the place of what was there. Two files can't be renamed
// as one, so the order matters:
//
//	quarantine.parquet   renamed, if there are rejects
//	usage.parquet        renamed: the day is committed
//	old quarantine       removed, if there are no rejects
//
// A crash after the first step leaves the old day file, whose digest is not that of the windows (else it would not have
// been derived anew), nor of the new quarantine; one after the second leaves a quarantine that the new footer says
// isn't there. In either case Stale says so, and the day is derived again to the same bytes. A reader of the day files
// never sees anything but the old day or the new one.
//
// footer.Rows and Quarantined must be what was written. After an error the old or the new day is there, whole.
func (w *DayWriter) Commit(footer schemas.DayFooter) error {
	defer w.Abort()
	if w.err == nil {
		w.err = w.commit(footer)
	}
	if w.err != nil {
		return fmt.Errorf("commit day %s: %w", w.partition, w.err)
	}
	return nil
}

func (w *DayWriter) commit(footer schemas.DayFooter) error {
	switch {
	case w.done:
		return errors.New("the day is committed or aborted already")
	case footer.Rows != w.usage.total:
		return fmt.Errorf("the footer says %d rows, %d were written", footer.Rows, w.usage.total)
	case footer.Quarantined != w.rejected:
		return fmt.Errorf("the footer says %d quarantined records, %d were written", footer.Quarantined, w.rejected)
	case footer.Digest == "":
		return errors.New("the footer has no digest")
	}
	text, err := json.Marshal(footer)
	if err != nil {
		return err
	}
	if err := w.usage.close(keyValue{schemas.FooterKey, string(text)}); err != nil {
		return err
	}
	// The writer is done with them. Whoever takes them next may be another goroutine's.
	used := w.usage.buffers
	w.usage.buffers = buffers{}
	dayBuffers.Put(&used)
	quarantine := w.lake.QuarantinePath(w.partition)
	if w.rejects != nil {
		if err := w.rejects.close(keyValue{DigestKey, footer.Digest}); err != nil {
			return err
		}
	}
	// Nothing was written anywhere: the sums are of what the files would hold.
	if w.usageSum != nil {
		return w.compare()
	}
	if w.rejects != nil {
		if err := w.rejectTemp.Commit(quarantine); err != nil {
			return err
		}
	}
	if err := w.usageTemp.Commit(w.lake.UsagePath(w.partition)); err != nil {
		return err
	}
	if w.rejects == nil {
		return w.lake.remove(quarantine)
	}
	return nil
}

// compare holds what was written against the files of the day.
func (w *DayWriter) compare() error {
	same := func(path string, sum hash.Hash) error {
		got, err := w.lake.Digest(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && got != hex.EncodeToString(sum.Sum(nil)) {
			return fmt.Errorf("%w: %s", ErrDiffers, filepath.Base(path))
		}
		return err
	}
	if err := same(w.lake.UsagePath(w.partition), w.usageSum); err != nil {
		return err
	}
	quarantine := w.lake.QuarantinePath(w.partition)
	if w.rejects != nil {
		return same(quarantine, w.rejectSum)
	}
	if _, err := w.lake.FS.Stat(quarantine); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fmt.Errorf("%w: %s", ErrDiffers, QuarantineFile))
	}
	return nil
}

// Abort drops what isn't committed. After Commit it does nothing.
func (w *DayWriter) Abort() {
	if w.done {
		return
	}
	w.done = true
	if w.usageTemp != nil {
		w.usageTemp.Abort()
	}
	if w.rejectTemp != nil {
		w.rejectTemp.Abort()
	}
	if w.builder != nil {
		w.builder.Release()
	}
}

// RemoveDay removes the derived files of a day that somebody named (Drop): nothing else does. None is no error. The
// quarantine goes first: after a crash between the two, the day file says that the work isn't done. It may be the last
// of its day: it is moved to damaged/.
func (l *Lake) RemoveDay(p schemas.Partition) error {
	if err := l.SetAsideDay(p); err != nil {
		return err
	}
	for _, path := range []string{l.QuarantinePath(p), l.UsagePath(p)} {
		if err := l.remove(path); err != nil {
			return fmt.Errorf("remove day %s: %w", p, err)
		}
	}
	return nil
}

// remove removes a file, if it is there, and makes that durable.
func (l *Lake) remove(path string) error {
	if err := l.CheckHeld(); err != nil {
		return err
	}
	switch err := l.FS.Remove(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return l.SyncDir(filepath.Dir(path))
}

// WriteBalance replaces the balance file of p by these rows, batches of schemas.BalanceSchema, derived from what digest
// says (DayDigest over Balances): the answers of those names, in order.
func (l *Lake) WriteBalance(p schemas.Partition, digest string, sealed []string, rows []arrow.RecordBatch) error {
	if err := l.writeBalance(p, digest, sealed, rows); err != nil {
		return fmt.Errorf("write balance %s: %w", p, err)
	}
	return nil
}

func (l *Lake) writeBalance(p schemas.Partition, digest string, sealed []string, rows []arrow.RecordBatch) error {
	names, err := json.Marshal(sealed)
	if err != nil {
		return err
	}
	t, err := l.CreateTemp(BalanceFile + ".*")
	if err != nil {
		return err
	}
	defer t.Abort()
	w, err := newTableWriter(t, schemas.BalanceColumns())
	if err != nil {
		return err
	}
	for _, rec := range rows {
		if err := w.write(rec); err != nil {
			return err
		}
	}
	if err := w.close(keyValue{DigestKey, digest}, keyValue{sealedKey, string(names)}); err != nil {
		return err
	}
	return t.Commit(l.BalancePath(p))
}

// OrphanedBalances are the rows of the balance file of p whose sealed answers are gone: those of raws were asked for at
// the times that have says true of. names are what the answers were called; of a file that doesn't say, when they were
// asked for. The caller releases the rows. A file that can't be read has none.
func (l *Lake) OrphanedBalances(ctx context.Context, p schemas.Partition, raws []Raw,
	have func(time.Time) bool) (names []string, rows []arrow.RecordBatch, err error) {
	sealed, ok, err := l.balanceNames(p)
	if errors.As(err, new(*DamagedError)) || err == nil && !ok {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, name := range sealed {
		if !slices.ContainsFunc(raws, func(r Raw) bool { return r.Name == name }) {
			names = append(names, name)
		}
	}
	if sealed != nil && len(names) == 0 {
		return nil, nil, nil
	}
	all, err := l.readBalance(ctx, p)
	if err != nil {
		return nil, nil, fmt.Errorf("read balance %s: %w", p, err)
	}
	for _, rec := range all {
		at := rec.Column(1).(*array.Timestamp)
		for i := range int(rec.NumRows()) {
			if t := time.UnixMicro(int64(at.Value(i))).UTC(); !have(t) {
				// A slice holds on to the memory of all of rec, which is a few rows; rec itself is let go of below.
				rows = append(rows, rec.NewSlice(int64(i), int64(i)+1))
				if sealed == nil {
					names = append(names, "asked for at "+t.Format(time.RFC3339Nano))
				}
			}
		}
		rec.Release()
	}
	return names, rows, nil
}

// readBalance reads the balance file of p.
func (l *Lake) readBalance(ctx context.Context, p schemas.Partition) (out []arrow.RecordBatch, err error) {
	path := l.BalancePath(p)
	f, err := l.FS.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer func() {
		if r := recover(); r != nil {
			err = derivedDamage(path, fmt.Sprintf("it can't be read: %v", r), nil)
		}
	}()
	table, err := pqarrow.ReadTable(ctx, f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, derivedDamage(path, "it can't be read as Parquet", err)
	}
	defer table.Release()
	columns := make([]arrow.Column, 0, len(schemas.BalanceColumns()))
	for i, c := range schemas.BalanceColumns() {
		at := table.Schema().FieldIndices(c.Name)
		if len(at) != 1 || !arrow.TypeEqual(table.Column(at[0]).DataType(), c.Type) {
			return nil, derivedDamage(path, "it has no column "+c.Name+" as a balance file has it", nil)
		}
		columns = append(columns, *arrow.NewColumn(schemas.BalanceSchema().Field(i), table.Column(at[0]).Data()))
	}
	defer func() {
		for i := range columns {
			columns[i].Release()
		}
	}()
	same := array.NewTable(schemas.BalanceSchema(), columns, table.NumRows())
	defer same.Release()
	r := array.NewTableReader(same, 0)
	defer r.Release()
	for r.Next() {
		rec := r.RecordBatch()
		rec.Retain()
		out = append(out, rec)
	}
	return out, r.Err()
}

// BalanceDigest returns what the balance file of p was derived from, and false if there is none or it can't be read as
// one: either way it is to be derived.
func (l *Lake) BalanceDigest(p schemas.Partition) (string, bool, error) {
	digest, ok, err := l.FooterValue(l.BalancePath(p), p, DigestKey)
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		l.Log.Warn("a balance file is damaged and will be derived anew", "path", damaged.Path, "detail", damaged.Detail)
		return "", false, nil
	}
	return digest, ok, err
}
