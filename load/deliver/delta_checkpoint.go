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
	for a, err := range actions {
		if err != nil {
			return nil, 0, err
		}
		if a.Add != nil {
			a.Add.DataChange = false
		}
		if rows = append(rows, a); len(rows) == checkpointRows {
			if err := flush(); err != nil {
				return nil, 0, err
			}
		}
	}
	if err := errors.Join(flush(), w.Close()); err != nil {
		return nil, 0, err
	}
	return file.Bytes(), size, nil
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
