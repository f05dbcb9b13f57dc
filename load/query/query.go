package query

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
)

// ErrNotPublished says that the lake has no usage.duckdb yet.
var ErrNotPublished = errors.New("nothing is published in this lake yet")

// ErrNotReading says that a statement would do something else than read.
var ErrNotReading = errors.New("a query is one statement that reads, such as SELECT, DESCRIBE, SUMMARIZE or EXPLAIN: " +
	"the published file is never written to")

var (
	errEmpty      = errors.New("the query is empty")
	errParameters = errors.New("the query has parameters ($1 or ?) that nothing fills in")
)

// Mistake is what is wrong with a statement, of an error of Run or Rows.All, as DuckDB or we say it; "" of one that
// isn't the statement's.
func Mistake(err error) string {
	for _, known := range []error{ErrNotReading, errEmpty, errParameters} {
		if errors.Is(err, known) {
			return err.Error()
		}
	}
	var d *duckdb.Error
	if errors.As(err, &d) {
		switch d.Type {
		case duckdb.ErrorTypeIO, duckdb.ErrorTypeInternal, duckdb.ErrorTypeFatal, duckdb.ErrorTypeInterrupt,
			duckdb.ErrorTypeConnection:
		default:
			return d.Msg
		}
	}
	return ""
}

// Rows is the answer to a query. Close must be called.
type Rows struct {
	// Columns are those of the answer, in order. Two may have the same name.
	Columns []ResultColumn
	// QuoteDecimals says that JSON has decimals as strings, those within lists and structs too: a reader that makes
	// doubles of numbers loses digits after the fifteenth. Nothing else changes.
	QuoteDecimals bool

	// Of Run both d and conn are the answer's own; of a Snapshot d is nil, and conn the snapshot's. Close lets go of what
	// is its own, and a second Close of nothing. One of fetch, direct and parquet is set once there is an answer.
	d       *publish.Database
	conn    *duckdb.Conn
	shared  bool // conn is somebody else's to close
	types   []duckdb.TypeInfo
	fetch   string       // reads the stored answer from one row number to another; "" if the answer isn't stored
	direct  driver.Rows  // the answer where it isn't stored
	parquet *parquetFile // the answer where it is a file
}

// ResultColumn is a column of an answer.
type ResultColumn struct {
	Name string
	Type string // as DuckDB names it: DECIMAL(18,12), VARCHAR, TIMESTAMP WITH TIME ZONE, …
	// Numeric says that the values are numbers: set to the right in a table, without quotes in JSON.
	Numeric bool
}

// Value is a cell of an answer, rendered exactly.
type Value struct {
	Null bool
	// Text is the value. Decimals have all their digits; times are in UTC, 2026-11-01T10:00:00.25Z; lists, structs and
	// maps are JSON; booleans true and false. "" if Null.
	Text string
	// Bare says that Text is JSON as it stands, a number for instance; else JSON takes it as a string.
	Bare bool
}

// Optional is the text; nil of NULL.
func (v Value) Optional() *string {
	if v.Null {
		return nil
	}
	return &v.Text
}

// Run runs one statement that reads on the published file. It sees that file as it was when Run opened it, whatever is
// published meanwhile. It can reach nothing but the file: no other file, no network. The answer is held by DuckDB,
// which spills to disk what is beyond its memory limit.
//
// Errors of the statement are DuckDB's, with the names it suggests; besides, ErrNotPublished and ErrNotReading.
func Run(ctx context.Context, l *publish.Lake, query string) (*Rows, error) {
	d, conn, err := openPublished(ctx, l)
	if err != nil {
		return nil, err
	}
	return answerTo(ctx, query, &Rows{d: d, conn: conn})
}

// Snapshot is the published file as it was when it was opened: several queries on one of it see the same, whatever is
// published meanwhile. It is for one goroutine, and Close must be called. Temporary tables and views are conn's alone:
// what Narrow and Query make is seen by nobody else, and gone with it.
type Snapshot struct {
	d      *publish.Database
	conn   *duckdb.Conn
	scoped []schemas.SQLView // of Narrow, those that no query has named yet
}

// OpenSnapshot opens the published file for several queries.
func OpenSnapshot(ctx context.Context, l *publish.Lake) (*Snapshot, error) {
	return openSnapshot(ctx, l)
}

// openSnapshot is OpenSnapshot with settings of DuckDB's besides.
func openSnapshot(ctx context.Context, l *publish.Lake, settings ...string) (*Snapshot, error) {
	d, conn, err := openPublished(ctx, l, settings...)
	if err != nil {
		return nil, err
	}
	return &Snapshot{d: d, conn: conn}, nil
}

// Query is as Run. It ends the answer before it.
func (s *Snapshot) Query(ctx context.Context, query string) (*Rows, error) {
	if err := s.define(ctx, query); err != nil {
		return nil, err
	}
	if _, err := s.conn.ExecContext(ctx, "DROP TABLE IF EXISTS temp."+answer, nil); err != nil {
		return nil, err
	}
	rows, err := answerTo(ctx, query, &Rows{conn: s.conn, shared: true})
	return rows, s.d.Spilled(err)
}

// Each hands on the rows of the answer to a query, one after the other. A row is valid until the next.
func (s *Snapshot) Each(ctx context.Context, query string, do func(row []Value) error) error {
	rows, err := s.Query(ctx, query)
	if err != nil {
		return err
	}
	return rows.Each(ctx, do)
}

// Each hands on the rows that are left, one after the other, and closes the answer. A row is valid until the next.
func (r *Rows) Each(ctx context.Context, do func(row []Value) error) error {
	defer r.Close()
	for row, err := range r.All(ctx) {
		if err == nil {
			err = do(row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the file.
func (s *Snapshot) Close() error { return errors.Join(s.conn.Close(), s.d.Close()) }

// allow is the setting by which the files of some paths, absolute ones, can be read and written.
func allow(paths ...string) string {
	quoted := make([]string, len(paths))
	for i, path := range paths {
		quoted[i] = schemas.SQLString(path)
	}
	return "SET allowed_paths = [" + strings.Join(quoted, ", ") + "]"
}

// allowRecords is the setting by which the day files can be read that the published file names. A path that has the
// characters of a pattern is asked for by its pattern, too.
func allowRecords(l *publish.Lake) string {
	dir := l.Path(load.RecordsDir)
	return "SET allowed_directories = [" + publish.SqlPath(dir) + ", " + publish.SqlGlob(dir) + "]"
}

// openPublished opens the published file to be read, and shuts off everything else but what the settings allow.
func openPublished(ctx context.Context, l *publish.Lake, settings ...string) (*publish.Database, *duckdb.Conn, error) {
	if _, err := l.FS.Stat(l.Database()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("open %s: %w\nhint: usagelake export --lake %s", l.Database(), ErrNotPublished, l.Dir())
	}
	d, err := l.OpenPublishedFile(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case errors.Is(err, publish.ErrIntruded):
		return nil, nil, err
	default:
		return nil, nil, fmt.Errorf("%w\nhint: if another program has the file open for writing, open it there with "+
			"-readonly; if it is damaged: usagelake rebuild --lake %s", err, l.Dir())
	}
	conn, err := d.Second(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	// Last, and in this order: the file has to be attached before nothing can be, and once the configuration is locked no
	// statement opens any of it again. The settings are the instance's, so that they hold for conn, too. What usage reads
	// where the file doesn't have all records can be read, and nothing beside it.
	err = d.Exec(ctx, slices.Concat(settings, []string{allowRecords(l), "SET enable_external_access = false",
		"SET lock_configuration = true"})...)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close(), d.Close())
	}
	return d, conn, nil
}

// prepare checks that query is one statement that reads.
func prepare(ctx context.Context, conn *duckdb.Conn, query string) (*duckdb.Stmt, duckdb.StmtType, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if strings.TrimSpace(query) == "" {
		return nil, 0, errEmpty
	}
	if err := refuseFunctions(query); err != nil {
		return nil, 0, err
	}
	// DuckDB's parser, and no look at the words, says that it is one statement and of what kind: a WITH may stand before
	// an INSERT. Preparing runs nothing.
	s, err := conn.Prepare(query)
	if err != nil {
		if e := (*duckdb.Error)(nil); errors.As(err, &e) {
			return nil, 0, err
		}
		// The driver's own: there is more than one statement, or none. A PIVOT that finds its values itself is two.
		if strings.Contains(strings.ToUpper(query), "PIVOT") {
			return nil, 0, fmt.Errorf("%w\nhint: a PIVOT must list its values: ON model IN ('a', 'b')", ErrNotReading)
		}
		return nil, 0, ErrNotReading
	}
	stmt := s.(*duckdb.Stmt)
	kind, err := stmt.StatementType()
	if err == nil && kind != duckdb.STATEMENT_TYPE_SELECT && kind != duckdb.STATEMENT_TYPE_EXPLAIN {
		err = ErrNotReading
	}
	if err == nil && stmt.NumInput() > 0 {
		err = errParameters
	}
	if err != nil {
		_ = stmt.Close()
		return nil, 0, err
	}
	return stmt, kind, nil
}

// answerTo runs a query on the connection of r.
func answerTo(ctx context.Context, query string, r *Rows) (_ *Rows, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(ctx.Err(), r.d.Spilled(err))
			_ = r.Close()
		}
	}()
	stmt, kind, err := prepare(ctx, r.conn, query)
	if err != nil {
		return nil, err
	}
	if err := r.describe(stmt); err != nil {
		_ = stmt.Close()
		return nil, err
	}
	// An EXPLAIN can't stand within another statement. Neither answer is long.
	if kind == duckdb.STATEMENT_TYPE_EXPLAIN || showsCatalog(query) {
		if err := stmt.Close(); err != nil {
			return nil, err
		}
		r.direct, err = r.conn.QueryContext(ctx, query, nil)
		return r, err
	}
	if err := stmt.Close(); err != nil {
		return nil, err
	}
	// The driver would hold a whole answer in memory, whatever the memory limit says. A temporary table keeps the
	// order of its rows, is under the limit and spills.
	if _, err := r.conn.ExecContext(ctx, "CREATE TEMP TABLE "+answer+" AS "+subquery(query), nil); err != nil {
		return nil, err
	}
	cells := make([]string, len(r.Columns))
	for i, t := range r.types {
		cells[i] = fmt.Sprintf("#%d", i+1)
		if hasJSON(t) { // which the driver would read through floats
			cells[i] = fmt.Sprintf("CAST(#%d AS %s)", i+1, typeName(t, true))
		}
	}
	// By place and not by name, for two columns may have one name. A table that was filled once, and of which nothing was
	// deleted, has its rows numbered from 0 in the order in which they came.
	r.fetch = "SELECT " + strings.Join(cells, ", ") + " FROM temp." + answer + " WHERE rowid >= ? AND rowid < ?"
	return r, nil
}

// showsCatalog says that a statement lists tables, among which the one that keeps answers must not stand. Such an
// answer is short.
func showsCatalog(query string) bool {
	words := strings.Fields(query)
	return len(words) > 0 && strings.EqualFold(words[0], "SHOW")
}

// answer is the temporary table that keeps an answer.
const answer = "usagelake_answer"

// subquery makes a checked statement stand within another.
func subquery(query string) string {
	return "FROM (\n" + strings.TrimRight(query, "; \t\r\n") + "\n)"
}

func (r *Rows) describe(stmt *duckdb.Stmt) error {
	n, err := stmt.ColumnCount()
	if err != nil {
		return err
	}
	for i := range n {
		name, err := stmt.ColumnName(i)
		if err != nil {
			return err
		}
		t, err := stmt.ColumnTypeInfo(i)
		if err != nil {
			return err
		}
		r.types = append(r.types, t)
		r.Columns = append(r.Columns, ResultColumn{Name: name, Type: typeName(t, false), Numeric: numeric(t)})
	}
	return nil
}

// Close lets go of the answer and of the file.
func (r *Rows) Close() error {
	var errs []error
	if r.parquet != nil {
		errs = append(errs, r.parquet.Close())
		r.parquet = nil
	}
	if r.direct != nil {
		errs = append(errs, r.direct.Close())
		r.direct = nil
	}
	if r.conn != nil && !r.shared {
		errs = append(errs, r.conn.Close())
		r.conn = nil
	}
	if r.d != nil {
		errs = append(errs, r.d.Close())
		r.d = nil
	}
	return errors.Join(errs...)
}

// Count is how many rows the answer has; -1 of one that isn't stored, which is short, as that of SHOW.
func (r *Rows) Count(ctx context.Context) (n int64, err error) {
	if r.fetch == "" {
		return -1, nil
	}
	rows, err := r.conn.QueryContext(ctx, "SELECT count(*) FROM temp."+answer, nil)
	if err != nil {
		return 0, errors.Join(ctx.Err(), err)
	}
	cell := make([]driver.Value, 1)
	if err := rows.Next(cell); err != nil {
		return 0, errors.Join(err, rows.Close())
	}
	n, _ = cell[0].(int64)
	return n, rows.Close()
}

// fetchRows is how many rows are read from the stored answer at once: a few of DuckDB's vectors.
const fetchRows = 16 * 2048

// All reads the rows once, in their order. The slice is valid until the next step. The iteration ends with the first
// error, which is the context's if that was cancelled.
func (r *Rows) All(ctx context.Context) iter.Seq2[[]Value, error] {
	if r.parquet != nil {
		return r.parquet.all(ctx)
	}
	return func(yield func([]Value, error) bool) {
		// Both are used again for each row; what is in them is copied by who keeps it.
		cells := make([]driver.Value, len(r.Columns))
		values := make([]Value, len(r.Columns))
		each := func(rows driver.Rows) (n int, more bool) {
			for {
				err := rows.Next(cells)
				if errors.Is(err, io.EOF) {
					return n, true
				}
				if err == nil {
					err = ctx.Err()
				}
				for i := 0; err == nil && i < len(cells); i++ {
					values[i], err = render(r.types[i], cells[i], r.QuoteDecimals)
				}
				if err != nil {
					yield(nil, err)
					return n, false
				}
				if !yield(values, nil) {
					return n, false
				}
				n++
			}
		}
		if r.direct != nil {
			each(r.direct)
			return
		}
		for from := int64(0); ; from += fetchRows {
			rows, err := r.conn.QueryContext(ctx, r.fetch,
				[]driver.NamedValue{{Ordinal: 1, Value: from}, {Ordinal: 2, Value: from + fetchRows}})
			if err != nil {
				yield(nil, errors.Join(ctx.Err(), err))
				return
			}
			n, more := each(rows)
			if err := rows.Close(); err != nil && more {
				yield(nil, err)
				return
			}
			// Fewer than were asked for: the answer ends here. One that ends with a full stretch costs an empty one more.
			if !more || n < fetchRows {
				return
			}
		}
	}
}

// WriteJSON writes the answer as an array of objects, a row a line. Numbers stand with all their digits; a decimal is
// never made a float. Of columns with the same name the later ones get a number: "amount_2". It returns the number of
// rows.
func (r *Rows) WriteJSON(ctx context.Context, w io.Writer) (int64, error) {
	b := bufio.NewWriterSize(w, 1<<16)
	keys := make([]string, len(r.Columns))
	used := map[string]bool{}
	for i, c := range r.Columns {
		name := c.Name
		for k := 2; used[name]; k++ {
			name = fmt.Sprintf("%s_%d", c.Name, k)
		}
		used[name] = true
		keys[i] = string(appendJSONString(nil, name)) + ":"
	}
	n := int64(0)
	// A bufio.Writer keeps its first error, and gives it to every write after: it is enough to look at one a row, and at
	// Flush.
	_ = b.WriteByte('[')
	var buf []byte
	for row, err := range r.All(ctx) {
		if err != nil {
			return n, err
		}
		buf = buf[:0]
		if n > 0 {
			buf = append(buf, ',')
		}
		buf = append(buf, "\n{"...)
		for i, v := range row {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(buf, keys[i]...)
			buf = v.appendJSON(buf)
		}
		buf = append(buf, '}')
		if _, err := b.Write(buf); err != nil {
			return n, err
		}
		n++
	}
	if n > 0 {
		_ = b.WriteByte('\n')
	}
	_, _ = b.WriteString("]\n")
	return n, b.Flush()
}

func (v Value) appendJSON(b []byte) []byte {
	switch {
	case v.Null:
		return append(b, "null"...)
	case v.Bare:
		return append(b, v.Text...)
	}
	return appendJSONString(b, v.Text)
}

func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c == '\n':
				b = append(b, '\\', 'n')
			case c == '\t':
				b = append(b, '\\', 't')
			case c == '\r':
				b = append(b, '\\', 'r')
			case c < 0x20 || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		b = utf8.AppendRune(b, r) // U+FFFD for what is no UTF-8
		i += size
	}
	return append(b, '"')
}

// WriteParquet writes the answer to a Parquet file, compressed with zstd, in place of what stood there; decimals are
// decimals there. If it fails, there is no new file. It returns the number of rows.
func WriteParquet(ctx context.Context, l *publish.Lake, query, path string) (rows int64, err error) {
	f, s, err := draftParquet(ctx, l, path)
	if err != nil {
		return 0, err
	}
	defer f.Abort()
	defer s.Close()
	if rows, err = s.copyTo(ctx, f, query, ""); err != nil {
		return 0, err
	}
	return rows, f.Commit()
}

// draftParquet makes a file under a temporary name, for Commit or Abort, and a snapshot that may write into it.
func draftParquet(ctx context.Context, l *publish.Lake, path string) (*durable.OutFile, *Snapshot, error) {
	return draftParquetFrom(ctx, l, path, nil)
}

// draftParquetFrom is draftParquet with a snapshot that may read some files besides, and has more settings.
func draftParquetFrom(ctx context.Context, l *publish.Lake, path string, read []string,
	settings ...string) (*durable.OutFile, *Snapshot, error) {
	f, err := l.Out().Create(path)
	if err != nil {
		return nil, nil, err
	}
	abs, err := filepath.Abs(f.Name())
	if f.Target == "" {
		err = fmt.Errorf("write %s: Parquet goes into a file, and this is none", path)
	}
	if err == nil {
		var s *Snapshot
		if s, err = openSnapshot(ctx, l, append(settings, allow(append(read, abs)...))...); err == nil {
			return f, s, nil
		}
	}
	f.Abort()
	return nil, nil, err
}

// copyTo writes the answer to a query into a file that the snapshot may write into, and settles it. options are
// further ones of DuckDB's COPY, each with a comma before it.
func (s *Snapshot) copyTo(ctx context.Context, f *durable.OutFile, query, options string) (rows int64, err error) {
	abs, err := filepath.Abs(f.Name())
	if err != nil {
		return 0, err
	}
	stmt, kind, err := prepare(ctx, s.conn, query)
	if err != nil {
		return 0, err
	}
	if err := stmt.Close(); err != nil {
		return 0, err
	}
	if kind != duckdb.STATEMENT_TYPE_SELECT {
		return 0, errors.New("only the answer to a SELECT can be written as Parquet")
	}
	// DuckDB writes into the file that was made, of our mode and under its temporary name. USE_TMP_FILE false keeps it
	// from making one of its own beside it, which it may not reach.
	res, err := s.conn.ExecContext(ctx,
		fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false%s)", subquery(query),
			publish.SqlPath(abs), options), nil)
	if err != nil {
		return 0, errors.Join(ctx.Err(), durable.Full(s.d.Spilled(err), filepath.Dir(abs)))
	}
	if rows, err = res.RowsAffected(); err != nil {
		return 0, err
	}
	if err := f.Settle(); err != nil {
		return 0, durable.Full(fmt.Errorf("write %s: %w", f.Path, err), filepath.Dir(abs))
	}
	return rows, nil
}
