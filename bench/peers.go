package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	_ "github.com/duckdb/duckdb-go/v2" // the driver
	parquetgo "github.com/parquet-go/parquet-go"
	xparquet "github.com/xitongsys/parquet-go/parquet"
	xwriter "github.com/xitongsys/parquet-go/writer"

	"github.com/usagelake/usagelake/schemas"
)

// The other ways from JSON pages to one Parquet file. They do less than usagelake: the records as they come, without
// checks, quarantine, order, ownership or digests, and an ext that stays text.

// duckColumns are the record's fields as DuckDB is told of them.
const duckColumns = `id VARCHAR, request_time BIGINT, user_id VARCHAR, custom_user_id VARCHAR, token_id VARCHAR,
model VARCHAR, model_type VARCHAR, input_token BIGINT, output_token BIGINT, cached_token BIGINT,
input_price DECIMAL(18,12), output_price DECIMAL(18,12), cached_price DECIMAL(18,12),
total_amount DECIMAL(18,12), discount_amount DECIMAL(18,12), amount DECIMAL(18,12), channel_id BIGINT, ext JSON`

// duckColumnMap is the same as an argument of read_json.
const duckColumnMap = `{id: 'VARCHAR', request_time: 'BIGINT', user_id: 'VARCHAR', custom_user_id: 'VARCHAR',
token_id: 'VARCHAR', model: 'VARCHAR', model_type: 'VARCHAR', input_token: 'BIGINT', output_token: 'BIGINT',
cached_token: 'BIGINT', input_price: 'DECIMAL(18,12)', output_price: 'DECIMAL(18,12)', cached_price: 'DECIMAL(18,12)',
total_amount: 'DECIMAL(18,12)', discount_amount: 'DECIMAL(18,12)', amount: 'DECIMAL(18,12)', channel_id: 'BIGINT',
ext: 'JSON'}`

// duckCopy is DuckDB's own way, from the files of a directory: of pages, a page a line, or flat, a record a line.
func duckCopy(form, dir, to string) string {
	glob := schemas.SQLString(filepath.Join(dir, "*.ndjson"))
	from := "read_json(" + glob + ", format = 'newline_delimited', columns = " + duckColumnMap + ")"
	if form == "pages" {
		from = "(SELECT r.* FROM (SELECT unnest(data.list) AS r FROM read_json(" + glob +
			", format = 'newline_delimited', columns = {data: 'STRUCT(list STRUCT(" + duckColumns + ")[])'})))"
	}
	return "COPY (SELECT * FROM " + from + ") TO " + schemas.SQLString(to) + " (FORMAT parquet, COMPRESSION zstd)"
}

// childDuckDB runs DuckDB's way with two threads.
func childDuckDB(ctx context.Context, args []string, out *answer) error {
	db, err := sql.Open("duckdb", "?threads=2")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, duckCopy(args[0], args[1], args[2])); err != nil {
		return err
	}
	return fileSize(args[2], out)
}

func fileSize(path string, out *answer) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	out.V["bytes"] = float64(info.Size())
	return nil
}

// peerRecord is a record as encoding/json reads it.
type peerRecord struct {
	ID             string          `json:"id"`
	RequestTime    int64           `json:"request_time"`
	UserID         string          `json:"user_id"`
	CustomUserID   string          `json:"custom_user_id"`
	TokenID        string          `json:"token_id"`
	Model          string          `json:"model"`
	ModelType      string          `json:"model_type"`
	InputToken     int64           `json:"input_token"`
	OutputToken    int64           `json:"output_token"`
	CachedToken    int64           `json:"cached_token"`
	InputPrice     json.Number     `json:"input_price"`
	OutputPrice    json.Number     `json:"output_price"`
	CachedPrice    json.Number     `json:"cached_price"`
	TotalAmount    json.Number     `json:"total_amount"`
	DiscountAmount json.Number     `json:"discount_amount"`
	Amount         json.Number     `json:"amount"`
	ChannelID      int64           `json:"channel_id"`
	Ext            json.RawMessage `json:"ext"`
}

// peerRow is a record as the Parquet libraries take it: decimals by their digits, in units of 10⁻¹².
type peerRow struct {
	ID             string `parquet:"id,zstd,dict"`
	RequestTime    int64  `parquet:"request_time,zstd"`
	UserID         string `parquet:"user_id,zstd,dict"`
	CustomUserID   string `parquet:"custom_user_id,zstd,dict"`
	TokenID        string `parquet:"token_id,zstd,dict"`
	Model          string `parquet:"model,zstd,dict"`
	ModelType      string `parquet:"model_type,zstd,dict"`
	InputToken     int64  `parquet:"input_token,zstd"`
	OutputToken    int64  `parquet:"output_token,zstd"`
	CachedToken    int64  `parquet:"cached_token,zstd"`
	InputPrice     int64  `parquet:"input_price,decimal(12:18),zstd,dict"`
	OutputPrice    int64  `parquet:"output_price,decimal(12:18),zstd,dict"`
	CachedPrice    int64  `parquet:"cached_price,decimal(12:18),zstd,dict"`
	TotalAmount    int64  `parquet:"total_amount,decimal(12:18),zstd"`
	DiscountAmount int64  `parquet:"discount_amount,decimal(12:18),zstd"`
	Amount         int64  `parquet:"amount,decimal(12:18),zstd"`
	ChannelID      int64  `parquet:"channel_id,zstd,dict"`
	Ext            string `parquet:"ext,zstd,dict"`
}

// xRow is peerRow with the tags of xitongsys/parquet-go.
type xRow struct {
	ID             string `parquet:"name=id, type=BYTE_ARRAY, convertedtype=UTF8"`
	RequestTime    int64  `parquet:"name=request_time, type=INT64"`
	UserID         string `parquet:"name=user_id, type=BYTE_ARRAY, convertedtype=UTF8, encoding=PLAIN_DICTIONARY"`
	CustomUserID   string `parquet:"name=custom_user_id, type=BYTE_ARRAY, convertedtype=UTF8, encoding=PLAIN_DICTIONARY"`
	TokenID        string `parquet:"name=token_id, type=BYTE_ARRAY, convertedtype=UTF8, encoding=PLAIN_DICTIONARY"`
	Model          string `parquet:"name=model, type=BYTE_ARRAY, convertedtype=UTF8, encoding=PLAIN_DICTIONARY"`
	ModelType      string `parquet:"name=model_type, type=BYTE_ARRAY, convertedtype=UTF8, encoding=PLAIN_DICTIONARY"`
	InputToken     int64  `parquet:"name=input_token, type=INT64"`
	OutputToken    int64  `parquet:"name=output_token, type=INT64"`
	CachedToken    int64  `parquet:"name=cached_token, type=INT64"`
	InputPrice     int64  `parquet:"name=input_price, type=INT64, convertedtype=DECIMAL, scale=12, precision=18, encoding=PLAIN_DICTIONARY"`
	OutputPrice    int64  `parquet:"name=output_price, type=INT64, convertedtype=DECIMAL, scale=12, precision=18, encoding=PLAIN_DICTIONARY"`
	CachedPrice    int64  `parquet:"name=cached_price, type=INT64, convertedtype=DECIMAL, scale=12, precision=18, encoding=PLAIN_DICTIONARY"`
	TotalAmount    int64  `parquet:"name=total_amount, type=INT64, convertedtype=DECIMAL, scale=12, precision=18"`
	DiscountAmount int64  `parquet:"name=discount_amount, type=INT64, convertedtype=DECIMAL, scale=12, precision=18"`
	Amount         int64  `parquet:"name=amount, type=INT64, convertedtype=DECIMAL, scale=12, precision=18"`
	ChannelID      int64  `parquet:"name=channel_id, type=INT64, encoding=PLAIN_DICTIONARY"`
	Ext            string `parquet:"name=ext, type=BYTE_ARRAY, convertedtype=UTF8, encoding=PLAIN_DICTIONARY"`
}

// row is the record with its decimals read.
func (r *peerRecord) row() (peerRow, error) {
	var err error
	dec := func(n json.Number) int64 {
		if n == "" {
			return 0
		}
		d, e := schemas.ParseDecimal([]byte(n))
		if e != nil && err == nil {
			err = e
		}
		return int64(d)
	}
	row := peerRow{ID: r.ID, RequestTime: r.RequestTime, UserID: r.UserID, CustomUserID: r.CustomUserID,
		TokenID: r.TokenID, Model: r.Model,
		ModelType: r.ModelType, InputToken: r.InputToken, OutputToken: r.OutputToken, CachedToken: r.CachedToken,
		InputPrice: dec(r.InputPrice), OutputPrice: dec(r.OutputPrice), CachedPrice: dec(r.CachedPrice),
		TotalAmount: dec(r.TotalAmount), DiscountAmount: dec(r.DiscountAmount), Amount: dec(r.Amount), ChannelID: r.ChannelID,
		Ext: string(r.Ext)}
	return row, err
}

// peerWriter takes the rows of a page at a time.
type peerWriter interface {
	write([]peerRow) error
	close() error
}

// childPeer reads pages with encoding/json in one goroutine and writes them with a Parquet library in another.
func childPeer(ctx context.Context, args []string, out *answer) error {
	files, err := filepath.Glob(filepath.Join(args[1], "*.ndjson"))
	if err != nil {
		return err
	}
	f, err := os.Create(args[2])
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := newPeerWriter(args[0], f)
	if err != nil {
		return err
	}
	pages := make(chan []peerRow, 64)
	done := make(chan error, 1)
	go func() {
		var err error
		for rows := range pages {
			if err == nil {
				err = w.write(rows)
			}
		}
		if errClose := w.close(); err == nil {
			err = errClose
		}
		done <- err
	}()
	err = readPeerPages(ctx, files, pages)
	close(pages)
	if errWrite := <-done; err == nil {
		err = errWrite
	}
	if err != nil {
		return err
	}
	return fileSize(args[2], out)
}

func readPeerPages(ctx context.Context, files []string, to chan<- []peerRow) error {
	slices.Sort(files)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			var doc struct {
				Data struct {
					List []peerRecord `json:"list"`
				} `json:"data"`
			}
			if err := json.Unmarshal(lines.Bytes(), &doc); err != nil {
				return err
			}
			rows := make([]peerRow, len(doc.Data.List))
			for i := range doc.Data.List {
				if rows[i], err = doc.Data.List[i].row(); err != nil {
					return err
				}
			}
			select {
			case to <- rows:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := lines.Err(); err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

func newPeerWriter(name string, to io.Writer) (peerWriter, error) {
	switch name {
	case "parquet-go":
		return &parquetGo{parquetgo.NewGenericWriter[peerRow](to, parquetgo.MaxRowsPerRowGroup(schemas.MaxRowGroup))}, nil
	case "xitongsys":
		w, err := xwriter.NewParquetWriterFromWriter(to, new(xRow), int64(runtime.GOMAXPROCS(0)))
		if err != nil {
			return nil, err
		}
		w.CompressionType = xparquet.CompressionCodec_ZSTD
		return &xitongsys{w}, nil
	case "pqarrow":
		return newPQArrow(to)
	}
	return nil, fmt.Errorf("no library %q", name)
}

type parquetGo struct {
	w *parquetgo.GenericWriter[peerRow]
}

func (p *parquetGo) write(rows []peerRow) error { _, err := p.w.Write(rows); return err }
func (p *parquetGo) close() error               { return p.w.Close() }

type xitongsys struct{ w *xwriter.ParquetWriter }

func (x *xitongsys) write(rows []peerRow) error {
	for _, r := range rows {
		if err := x.w.Write(xRow(r)); err != nil {
			return err
		}
	}
	return nil
}
func (x *xitongsys) close() error { return x.w.WriteStop() }

// pqArrow writes by Arrow's record builder and its own Parquet layer.
type pqArrow struct {
	w *pqarrow.FileWriter
	b *array.RecordBuilder
	n int
}

func newPQArrow(to io.Writer) (*pqArrow, error) {
	money := &arrow.Decimal128Type{Precision: 18, Scale: 12}
	text, number := arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: text}, {Name: "request_time", Type: number}, {Name: "user_id", Type: text},
		{Name: "custom_user_id", Type: text},
		{Name: "token_id", Type: text}, {Name: "model", Type: text}, {Name: "model_type", Type: text},
		{Name: "input_token", Type: number}, {Name: "output_token", Type: number}, {Name: "cached_token", Type: number},
		{Name: "input_price", Type: money}, {Name: "output_price", Type: money}, {Name: "cached_price", Type: money},
		{Name: "total_amount", Type: money}, {Name: "discount_amount", Type: money}, {Name: "amount", Type: money},
		{Name: "channel_id", Type: number}, {Name: "ext", Type: text},
	}, nil)
	w, err := pqarrow.NewFileWriter(schema, to, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithMaxRowGroupLength(schemas.MaxRowGroup), parquet.WithStoreDecimalAsInteger(true)),
		pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, err
	}
	return &pqArrow{w: w, b: array.NewRecordBuilder(memory.DefaultAllocator, schema)}, nil
}

func (p *pqArrow) write(rows []peerRow) error {
	for _, r := range rows {
		text := []string{0: r.ID, 2: r.UserID, 3: r.CustomUserID, 4: r.TokenID, 5: r.Model, 6: r.ModelType, 17: r.Ext}
		number := []int64{1: r.RequestTime, 7: r.InputToken, 8: r.OutputToken, 9: r.CachedToken, 10: r.InputPrice,
			11: r.OutputPrice, 12: r.CachedPrice,
			13: r.TotalAmount, 14: r.DiscountAmount, 15: r.Amount, 16: r.ChannelID}
		for i, f := range p.b.Fields() {
			switch f := f.(type) {
			case *array.StringBuilder:
				f.Append(text[i])
			case *array.Int64Builder:
				f.Append(number[i])
			case *array.Decimal128Builder:
				f.Append(decimal128.FromI64(number[i]))
			}
		}
	}
	if p.n += len(rows); p.n < 20_000 {
		return nil
	}
	return p.flush()
}

func (p *pqArrow) flush() error {
	p.n = 0
	rec := p.b.NewRecordBatch()
	defer rec.Release()
	return p.w.WriteBuffered(rec)
}

func (p *pqArrow) close() error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.w.Close()
}
