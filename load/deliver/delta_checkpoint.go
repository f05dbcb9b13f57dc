package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

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

// checkpoint writes what the log holds at a version, so that a reader needs no version before it. Of a log that other
// lakes write to the manifest doesn't know the rest: that is read from the log.
func (d *delivery) checkpoint(ctx context.Context, version int64, schema string, shared bool) error {
	actions := d.tableActions(ctx, schema)
	if shared {
		r, err := d.replay(ctx, version)
		if err != nil {
			return err
		}
		if r.strange != "" {
			d.opts.Logger.Warn("the table gets no checkpoint: readers go through the log from the last one",
				"target", d.t.Name, "version", version, "because", r.strange)
			return nil
		}
		actions = r.actions
	}
	body, size, err := checkpointFile(actions)
	if err != nil {
		return err
	}
	if err := d.putNew(ctx, checkpointKey(version), bucket.Bytes(body), nil); err != nil {
		return err
	}
	last, err := json.Marshal(lastCheckpoint{version, size})
	if err != nil {
		return err
	}
	// A hint for readers, and no more: whoever overwrites it, it names a checkpoint that is there.
	_, err = d.t.Bucket.Put(ctx, lastCheckpointKey, bucket.Bytes(last), bucket.On{})
	return err
}

func checkpointKey(version int64) string {
	return fmt.Sprintf("_delta_log/%020d.checkpoint.parquet", version)
}

const lastCheckpointKey = "_delta_log/_last_checkpoint"

type lastCheckpoint struct {
	Version int64 `json:"version"`
	Size    int64 `json:"size"` // in actions
}

// tableActions is the table as the manifest has it.
func (d *delivery) tableActions(ctx context.Context, schema string) iter.Seq2[deltaAction, error] {
	return func(yield func(deltaAction, error) bool) {
		for _, a := range []deltaAction{{Protocol: deltaVersions()}, {MetaData: d.deltaMeta(schema)}, {Txn: d.deltaTxn()}} {
			if !yield(a, nil) {
				return
			}
		}
		for _, g := range d.root.Manifest.Groups {
			if g.Account == "" {
				continue
			}
			held, err := d.group(ctx, g)
			if err != nil {
				yield(deltaAction{}, err)
				return
			}
			for _, f := range held.Files {
				if inTable(f) && !yield(deltaAction{Add: addOf(f, &d.root.Manifest)}, nil) {
					return
				}
			}
		}
	}
}

// checkpointFile writes actions as Parquet, and says how many they are.
func checkpointFile(actions iter.Seq2[deltaAction, error]) ([]byte, int64, error) {
	var file bytes.Buffer
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd))
	w, err := pqarrow.NewFileWriter(checkpointSchema, &file, props, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, 0, err
	}
	rows := array.NewRecordBuilder(memory.DefaultAllocator, checkpointSchema)
	defer rows.Release()
	size, waiting := int64(0), 0
	flush := func() error {
		batch := rows.NewRecordBatch()
		defer batch.Release()
		waiting = 0
		return w.Write(batch)
	}
	for a, err := range actions {
		if err != nil {
			return nil, 0, err
		}
		appendAction(rows, a)
		size++
		if waiting++; waiting == checkpointRows {
			if err := flush(); err != nil {
				return nil, 0, err
			}
		}
	}
	if waiting > 0 {
		err = flush()
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, 0, err
	}
	return file.Bytes(), size, nil
}

// appendAction adds a row of checkpointSchema. It is built value by value: arrow-go's RecordFromJSON (v18.8.0) takes
// time by the square of the texts that have a quote in them, as the statistics have.
func appendAction(rows *array.RecordBuilder, a deltaAction) {
	for i, there := range []bool{a.Txn != nil, a.Add != nil, a.MetaData != nil, a.Protocol != nil} {
		row := rows.Field(i).(*array.StructBuilder)
		if !there {
			row.AppendNull()
			continue
		}
		row.Append(true)
		switch i {
		case 0:
			appendTo(row, a.Txn.AppID, a.Txn.Version)
		case 1:
			appendTo(row, a.Add.Path, emptyMap{}, a.Add.Size, a.Add.ModificationTime, false, a.Add.Stats)
		case 2:
			m := a.MetaData
			appendTo(row, m.ID, m.Name, []any{m.Format.Provider, emptyMap{}}, m.SchemaString, emptyList{}, emptyMap{},
				m.CreatedTime)
		case 3:
			appendTo(row, int32(a.Protocol.MinReaderVersion), int32(a.Protocol.MinWriterVersion))
		}
	}
}

// The maps and lists of a checkpoint are empty: of partitions, of options.
type (
	emptyMap  struct{}
	emptyList struct{}
)

// appendTo adds the members of a struct.
func appendTo(row *array.StructBuilder, members ...any) {
	for i, v := range members {
		switch to := row.FieldBuilder(i).(type) {
		case *array.StringBuilder:
			to.Append(v.(string))
		case *array.Int64Builder:
			to.Append(v.(int64))
		case *array.Int32Builder:
			to.Append(v.(int32))
		case *array.BooleanBuilder:
			to.Append(v.(bool))
		case *array.MapBuilder:
			to.Append(true)
		case *array.ListBuilder:
			to.Append(true)
		case *array.StructBuilder:
			to.Append(true)
			appendTo(to, v.([]any)...)
		}
	}
}
