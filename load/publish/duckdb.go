package publish

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// Catalog is the name a database file is attached by. It is what a client that opens usage.duckdb calls it, so that
// names that spell it out mean the same in both.
const Catalog = "usage"

// The memory DuckDB may use when nothing else is said; beyond it, it spills to disk.
const (
	DefaultMemoryLimit = "512MB" // to answer questions
	PublishMemoryLimit = "128MB" // to publish
)

// engine sets up a DuckDB instance.
type engine struct {
	memoryLimit string // "" is DefaultMemoryLimit
	threads     int    // 0 is GOMAXPROCS
	tempDir     string // where it spills; made when needed, and removed
	lake        string // where records that the file hasn't are read; "" as the file says
}

// Database is a DuckDB instance of its own with one file attached, by one connection. It is not taken from the
// driver's cache of instances: there a file is known by its path, and whoever opens the path after a publish would
// be given the file that was there before it.
type Database struct {
	// One goroutine uses conn. A second connection (Second) sees what the first has committed, and not what it is about
	// to. after is called once, by the first Close: a second Close does nothing, so that it can be deferred, too.
	connector *duckdb.Connector
	db        *sql.DB
	conn      *sql.Conn
	session   []string // what each connection begins with
	spill     string   // where it spills; "" if it doesn't
	after     func()   // what close does at the end; nil: nothing
}

// wholeCheckpoint is how much may be written before DuckDB checkpoints of its own accord. Each checkpoint writes the
// unfinished row groups anew and leaves holes where they were; so a publish should come out with the one at its end,
// and the file without holes. What waits for it can be spilled.
const wholeCheckpoint = "256MB"

// storageVersion is the format of usage.duckdb. DuckDB from 1.4 on reads it, and every view from 1.4.3 on
// (docs/readers.md). From 1.4 on a file and its log know each other: a log that another program wrote for the file of
// before is refused, where it was added to the new one without a word. That is worth the readers of before
// 1.4, a release with long support.
const storageVersion = "v1.4.0"

// openDatabase starts an instance and attaches path, or nothing if it is "". Extensions are neither installed nor
// loaded, so that nothing is ever downloaded. The session's time zone is UTC.
//
// A file that is opened to be written has no log: what a crash leaves of it is thrown away, and until detach it is no
// whole file.
func openDatabase(ctx context.Context, e engine, path string, readOnly bool) (_ *Database, err error) {
	if e.memoryLimit == "" {
		e.memoryLimit = DefaultMemoryLimit
	}
	if e.threads == 0 {
		e.threads = runtime.GOMAXPROCS(0)
	}
	settings := url.Values{
		"autoinstall_known_extensions": {"false"},
		"autoload_known_extensions":    {"false"},
		"memory_limit":                 {e.memoryLimit},
		"threads":                      {strconv.Itoa(e.threads)},
	}
	if e.tempDir != "" {
		settings.Set("temp_directory", e.tempDir)
	}
	if path != "" && !readOnly {
		settings.Set("checkpoint_threshold", wholeCheckpoint)
	}
	connector, err := duckdb.NewConnector(":memory:?"+settings.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", err)
	}
	d := &Database{connector: connector, db: sql.OpenDB(connector), session: []string{sessionUTC}, spill: e.tempDir}
	if e.lake != "" {
		d.session = append(d.session, "SET VARIABLE "+lakeVariable+" = "+SqlPath(e.lake))
	}
	defer func() {
		if err != nil {
			_ = d.Close()
		}
	}()
	if d.conn, err = d.db.Conn(ctx); err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", err)
	}
	if err := d.Exec(ctx, d.session...); err != nil {
		return nil, err
	}
	if path == "" {
		return d, nil
	}
	attach := "ATTACH " + SqlPath(path) + " AS " + Catalog
	if readOnly {
		attach += " (READ_ONLY)"
	} else {
		attach += " (RECOVERY_MODE no_wal_writes, STORAGE_VERSION '" + storageVersion + "')"
	}
	if err := d.Exec(ctx, attach, "USE "+Catalog); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return d, nil
}

const sessionUTC = "SET TimeZone = 'UTC'"

// Second makes another connection of the instance, of the driver's own kind: it can tell what a statement is, and how
// the values of its answer are typed, before it runs.
func (d *Database) Second(ctx context.Context) (*duckdb.Conn, error) {
	c, err := d.connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("start DuckDB: %w", err)
	}
	conn := c.(*duckdb.Conn)
	for _, s := range append(d.session[:len(d.session):len(d.session)], "USE "+Catalog) {
		if _, err := conn.ExecContext(ctx, s, nil); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// Close ends the instance. A file that was written is complete, and has no log beside it, only after detach.
func (d *Database) Close() error {
	var err error
	if d.conn != nil {
		if err = d.conn.Close(); errors.Is(err, sql.ErrConnDone) {
			err = nil
		}
	}
	err = errors.Join(err, d.db.Close())
	if d.after != nil {
		d.after()
		d.after = nil
	}
	return err
}

// openScratch is openDatabase to read path, or for an instance without a file, in a scratch of its own.
func (l *Lake) openScratch(ctx context.Context, path string) (*Database, error) {
	spill, done, err := l.Scratch()
	if err != nil {
		return nil, fmt.Errorf("make a directory for DuckDB: %w", err)
	}
	d, err := openDatabase(ctx, l.engineFor(spill), path, true)
	if err != nil {
		done()
		return nil, err
	}
	d.after = done
	return d, nil
}

// detach writes what is left in memory into the file, and lets go of it.
func (d *Database) detach(ctx context.Context) error {
	return d.Exec(ctx, "CHECKPOINT "+Catalog, "USE memory", "DETACH "+Catalog)
}

// Exec runs statements, until one fails.
func (d *Database) Exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := d.conn.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// transaction runs f between BEGIN and COMMIT.
func (d *Database) transaction(ctx context.Context, f func() error) error {
	if err := d.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := f(); err != nil {
		_ = d.Exec(context.WithoutCancel(ctx), "ROLLBACK")
		return err
	}
	return d.Exec(ctx, "COMMIT")
}

// fill appends rows to a table; values as the driver's appender takes them, in the order of the columns.
func (d *Database) fill(database, table string, rows func(add func(...driver.Value) error) error) error {
	return d.conn.Raw(func(c any) error { return appendRows(c.(driver.Conn), database, table, rows) })
}

// appendRows is fill on a connection.
func appendRows(c driver.Conn, database, table string, rows func(add func(...driver.Value) error) error) error {
	a, err := duckdb.NewAppender(c, database, "", table)
	if err != nil {
		return fmt.Errorf("append to %s: %w", table, err)
	}
	err = rows(a.AppendRow)
	// Close writes what the appender has gathered, and says what is wrong with it. After an error the transaction that it
	// is part of is rolled back, with whatever came through.
	if errClose := a.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		return fmt.Errorf("append to %s: %w", table, err)
	}
	return nil
}

// AppendTemp fills a temporary table of a connection that has two columns of text.
func AppendTemp(c driver.Conn, table string, pairs [][2]string) error {
	return appendRows(c, "temp", table, func(add func(...driver.Value) error) error {
		for _, p := range pairs {
			if err := add(p[0], p[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// wideDecimal reads the exact text of a sum as DECIMAL(38,12). An empty text is 0.
func wideDecimal(text string) (duckdb.Decimal, error) {
	whole, frac, _ := strings.Cut(text, ".")
	if len(frac) > schemas.DecimalScale {
		return duckdb.Decimal{}, fmt.Errorf("%q has more than %d decimals", text, schemas.DecimalScale)
	}
	// Without its point the text is the number of units of 10⁻¹²: "-1.5" is "-1" and "5" with eleven zeros behind.
	digits := whole + frac + strings.Repeat("0", schemas.DecimalScale-len(frac))
	v, ok := new(big.Int).SetString(digits, 10)
	if !ok || len(strings.TrimPrefix(digits, "-")) > 38 {
		return duckdb.Decimal{}, fmt.Errorf("%q is not a sum", text)
	}
	return duckdb.Decimal{Width: 38, Scale: schemas.DecimalScale, Value: v}, nil
}

// nullable is nil for the zero value, else v.
func nullable[T comparable](v T) driver.Value {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// engineFor is how the lake's DuckDB is set up, to spill into a directory.
func (l *Lake) engineFor(spill string) engine {
	e := l.engine
	e.tempDir, e.lake = spill, l.Dir()
	return e
}

// outOfMemory says of an error whether DuckDB gave up for want of memory, or of a disk to spill to.
func outOfMemory(err error) bool {
	var e *duckdb.Error
	return errors.As(err, &e) && e.Type == duckdb.ErrorTypeOutOfMemory
}

// Spilled adds to an error of DuckDB's, which says it in many words or none, that the disk it spills to is full.
func (d *Database) Spilled(err error) error {
	var e *duckdb.Error
	if d == nil || d.spill == "" || !errors.As(err, &e) || strings.Contains(err.Error(), "\n"+durable.FullHint) {
		return err
	}
	// DuckDB gives up what it can't spill long before the disk is full, and calls it out of memory.
	limit := uint64(durable.FullBytes)
	switch e.Type {
	case duckdb.ErrorTypeOutOfMemory:
		limit = durable.FullSpill
	case duckdb.ErrorTypeIO, duckdb.ErrorTypeFatal, duckdb.ErrorTypeUnknownType:
	default:
		return err
	}
	left, errRoom := durable.RoomOf(d.spill)
	if errRoom != nil {
		return err
	}
	switch {
	case left.Files != nil && *left.Files < durable.FullFiles:
		return fmt.Errorf("%w\nthe temporary disk has no inodes left: DuckDB puts there, at %s, what is beyond its "+
			"memory\n%sremove small files from it", err, d.spill, durable.FullHint)
	case left.Bytes < limit:
		return fmt.Errorf("%w\nthe temporary disk is full: DuckDB puts there, at %s, what is beyond its memory, and %d MiB "+
			"are free\n%smake room there, or give DuckDB more memory (duckdb.memory), or name another place with TMPDIR where "+
			"the lake can't be written", err, d.spill, left.Bytes>>20, durable.FullHint)
	}
	return err
}

// DecimalText writes a decimal with as many decimals as its type has.
func DecimalText(d duckdb.Decimal) string {
	digits := d.Value.String()
	sign := ""
	if d.Value.Sign() < 0 {
		sign, digits = "-", digits[1:]
	}
	scale := int(d.Scale)
	if scale == 0 {
		return sign + digits
	}
	// One digit stands before the point at least: 5 units of 10⁻³ are 0005, and 0.005.
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

// SqlPath is a file's path as a string of SQL. It is absolute: DuckDB takes the beginning of a relative one, as of
// s3:lake or md:lake, for the name of an extension.
func SqlPath(path string) string {
	return schemas.SQLString(absolute(path))
}

// SqlGlob is Glob as a string of SQL, for read_parquet.
func SqlGlob(path string) string { return schemas.SQLString(Glob(path)) }

// Glob is the pattern that stands for one file alone, of an absolute path. Where files are allowed by their names, both
// the file's and this are asked for.
func Glob(path string) string { return noGlob.Replace(absolute(path)) }

var noGlob = strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]")

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// dateValue, textValue, moneyValue and countValue are what the driver's appender takes; nil is NULL.
func dateValue(d *schemas.Date) driver.Value {
	if d == nil {
		return nil
	}
	return d.Start()
}

// listValue is the value of a VARCHAR[].
func listValue(list []string) driver.Value {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func textValue(s *string) driver.Value {
	if s == nil {
		return nil
	}
	return *s
}

func moneyValue(m *schemas.Money) driver.Value {
	if m == nil {
		return nil
	}
	return duckdb.Decimal{Width: 38, Scale: schemas.DecimalScale, Value: m.Units()}
}

// moneyOf is the value of a DECIMAL(38,12); nil is NULL.
func moneyOf(v any) *schemas.Money {
	units := bigOf(v)
	if units == nil {
		return nil
	}
	m := schemas.MoneyOf(units)
	return &m
}

// countValue is NULL too where the count is beyond 64 bits, as in the tables it was summed from.
func countValue(v *big.Int) driver.Value {
	if v == nil || !v.IsInt64() {
		return nil
	}
	return v.Int64()
}

// bigOf is the value of a HUGEINT, or of a DECIMAL in units of its last place; nil is NULL.
func bigOf(v any) *big.Int {
	switch v := v.(type) {
	// What DuckDB's driver gives for each type of sum: HUGEINT, DECIMAL, and BIGINT.
	case *big.Int:
		return v
	case duckdb.Decimal:
		return v.Value
	case int64:
		return big.NewInt(v)
	}
	return nil
}
