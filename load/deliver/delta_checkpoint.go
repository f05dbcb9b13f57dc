package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/usagelake/usagelake/load/bucket"
)

// checkpointSchema is that of a checkpoint: a row an action, all members of the others NULL.
var checkpointSchema = func() *arrow.Schema {
	text, long, whole := arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32
	texts := arrow.MapOf(text, text)
	of := func(name string, t arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: t, Nullable: true}
	}
	return arrow.NewSchema([]arrow.Field{
		of("txn", arrow.StructOf(of("appId", text), of("version", long))),
		of("add", arrow.StructOf(of("path", text), of("partitionValues", texts), of("size", long),
			of("modificationTime", long), of("dataChange", arrow.FixedWidthTypes.Boolean), of("stats", text))),
		of("metaData", arrow.StructOf(of("id", text), of("name", text),
			of("format", arrow.StructOf(of("provider", text), of("options", texts))), of("schemaString", text),
			of("partitionColumns", arrow.ListOf(text)), of("configuration", texts), of("createdTime", long))),
		of("protocol", arrow.StructOf(of("minReaderVersion", whole), of("minWriterVersion", whole))),
	}, nil)
}()

// checkpointRows is how many actions are made at once.
const checkpointRows = 10_000

// checkpoint writes what the log holds at a version: the table as the manifest has it. Of a log that other lakes write
// to the manifest doesn't know the rest, and there is none.
func (d *delivery) checkpoint(ctx context.Context, version int64, schema string) error {
	var file bytes.Buffer
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd))
	w, err := pqarrow.NewFileWriter(checkpointSchema, &file, props, pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	size := int64(0)
	var rows []deltaAction
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		text, err := checkpointJSON(rows)
		if err != nil {
			return err
		}
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, checkpointSchema, bytes.NewReader(text))
		if err != nil {
			return err
		}
		defer batch.Release()
		size += int64(len(rows))
		rows = rows[:0]
		return w.Write(batch)
	}
	rows = append(rows, deltaAction{Protocol: deltaVersions()}, deltaAction{MetaData: d.deltaMeta(schema)},
		deltaAction{Txn: d.deltaTxn()})
	for _, g := range d.root.Manifest.Groups {
		if g.Account == "" {
			continue
		}
		held, err := d.group(ctx, g)
		if err != nil {
			return err
		}
		for _, f := range held.Files {
			if !inTable(f) {
				continue
			}
			add := addOf(f, &d.root.Manifest)
			add.DataChange = false
			if rows = append(rows, deltaAction{Add: add}); len(rows) == checkpointRows {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	key := fmt.Sprintf("_delta_log/%020d.checkpoint.parquet", version)
	if err := d.putNew(ctx, key, bucket.Bytes(file.Bytes()), nil); err != nil {
		return err
	}
	last, err := json.Marshal(map[string]int64{"version": version, "size": size})
	if err != nil {
		return err
	}
	// A hint for readers, and no more: whoever overwrites it, it names a checkpoint that is there.
	_, err = d.t.Bucket.Put(ctx, "_delta_log/_last_checkpoint", bucket.Bytes(last), bucket.On{})
	return err
}

// checkpointJSON writes actions as Arrow's JSON has them, where a map is a list of pairs.
func checkpointJSON(rows []deltaAction) ([]byte, error) {
	b, err := json.Marshal(rows)
	if err != nil {
		return nil, err
	}
	// All maps of a checkpoint are empty.
	for _, name := range []string{"partitionValues", "options", "configuration"} {
		b = bytes.ReplaceAll(b, []byte(`"`+name+`":{}`), []byte(`"`+name+`":[]`))
	}
	return b, nil
}
