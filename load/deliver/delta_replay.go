package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/usagelake/usagelake/load/bucket"
)

// replayed is the table at a version of a log that several lakes write to: what the last checkpoint has, and what the
// versions since changed. Memory goes by the latter, and by the bytes of the checkpoint.
type replayed struct {
	protocol *deltaProtocol
	meta     *deltaMetaData
	txns     map[string]int64
	adds     map[string]*deltaAdd // by path; nil of a file that was removed
	before   []byte               // the checkpoint; nil of none
	strange  string               // why there can be no checkpoint: the log has what no delivery writes
}

// replay reads the log from its last checkpoint to a version.
func (d *delivery) replay(ctx context.Context, version int64) (*replayed, error) {
	r := &replayed{txns: map[string]int64{}, adds: map[string]*deltaAdd{}}
	next := int64(0)
	var last lastCheckpoint
	_, err := get(ctx, d.t.Bucket, lastCheckpointKey, &last)
	if err == nil && last.Version < version {
		r.before, err = d.download(ctx, checkpointKey(last.Version))
		next = last.Version + 1
	}
	if errors.Is(err, bucket.ErrAbsent) { // a hint: without it, or what it names, the log is read from its beginning
		r.before, next = nil, 0
	} else if err != nil {
		return nil, err
	}
	for ; next <= version && r.strange == ""; next++ {
		body, err := d.download(ctx, deltaKey(next))
		if errors.Is(err, bucket.ErrAbsent) {
			r.strange = fmt.Sprintf("version %d is gone", next)
			break
		}
		if err != nil {
			return nil, err
		}
		if err := r.add(body); err != nil {
			return nil, fmt.Errorf("read %s/%s: %w", d.t.Bucket.URL(), deltaKey(next), err)
		}
	}
	return r, nil
}

// add takes in the actions of a version, a line each.
func (r *replayed) add(body []byte) error {
	for line := range bytes.Lines(body) {
		var kinds map[string]json.RawMessage
		if err := json.Unmarshal(line, &kinds); err != nil {
			return err
		}
		for kind := range kinds {
			if !slices.Contains([]string{"txn", "add", "remove", "metaData", "protocol", "commitInfo"}, kind) {
				r.strange = fmt.Sprintf("the log has %q, which no delivery writes", kind)
			}
		}
		var a deltaAction
		if err := json.Unmarshal(line, &a); err != nil {
			return err
		}
		r.take(a)
	}
	return nil
}

func (r *replayed) take(a deltaAction) {
	switch {
	case a.Protocol != nil:
		r.protocol = a.Protocol
		if *a.Protocol != *deltaVersions() {
			r.strange = "its protocol is another"
		}
	case a.MetaData != nil:
		r.meta = a.MetaData
		if len(a.MetaData.PartitionColumns)+len(a.MetaData.Configuration)+len(a.MetaData.Format.Options) > 0 {
			r.strange = "its metadata has what no delivery writes"
		}
	case a.Txn != nil:
		r.txns[a.Txn.AppID] = a.Txn.Version
	case a.Remove != nil:
		r.adds[a.Remove.Path] = nil
	case a.Add != nil:
		r.adds[a.Add.Path] = a.Add
		if len(a.Add.PartitionValues) > 0 {
			r.strange = "it has partitions"
		}
	}
}

// actions is the whole table, the last checkpoint's part batch by batch.
func (r *replayed) actions(yield func(deltaAction, error) bool) {
	// What stands once comes first, and the checkpoint's is older than what follows it.
	old := replayed{txns: map[string]int64{}, adds: map[string]*deltaAdd{}}
	for a, err := range checkpointActions(r.before) {
		if err != nil {
			yield(deltaAction{}, err)
			return
		}
		if a.Add == nil {
			old.take(a)
			continue
		}
		if _, newer := r.adds[a.Add.Path]; !newer && !yield(a, nil) {
			return
		}
	}
	maps.Copy(old.txns, r.txns)
	if r.protocol == nil {
		r.protocol = old.protocol
	}
	if r.meta == nil {
		r.meta = old.meta
	}
	if r.protocol == nil || r.meta == nil {
		yield(deltaAction{}, errors.New("the log has no protocol or no metadata"))
		return
	}
	rest := []deltaAction{{Protocol: r.protocol}, {MetaData: r.meta}}
	for _, app := range slices.Sorted(maps.Keys(old.txns)) {
		rest = append(rest, deltaAction{Txn: &deltaTxn{app, old.txns[app]}})
	}
	for _, path := range slices.Sorted(maps.Keys(r.adds)) {
		if a := r.adds[path]; a != nil {
			rest = append(rest, deltaAction{Add: a})
		}
	}
	for _, a := range rest {
		if !yield(a, nil) {
			return
		}
	}
}

// checkpointActions reads a checkpoint that checkpointFile wrote.
func checkpointActions(content []byte) iter.Seq2[deltaAction, error] {
	return func(yield func(deltaAction, error) bool) {
		if content == nil {
			return
		}
		fail := func(err error) { yield(deltaAction{}, fmt.Errorf("read the last checkpoint: %w", err)) }
		r, err := file.NewParquetReader(bytes.NewReader(content))
		if err != nil {
			fail(err)
			return
		}
		reader, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: checkpointRows},
			memory.DefaultAllocator)
		if err != nil {
			fail(err)
			return
		}
		batches, err := reader.GetRecordReader(context.Background(), nil, nil)
		if err != nil {
			fail(err)
			return
		}
		defer batches.Release()
		for batches.Next() {
			var text bytes.Buffer
			if err := array.RecordToJSON(batches.RecordBatch(), &text); err != nil {
				fail(err)
				return
			}
			for line := range bytes.Lines(text.Bytes()) {
				a, err := fromCheckpoint(line)
				if err != nil {
					fail(err)
					return
				}
				if !yield(a, nil) {
					return
				}
			}
		}
		if err := batches.Err(); err != nil && !errors.Is(err, io.EOF) {
			fail(err)
		}
	}
}

// fromCheckpoint is a row of a checkpoint as Arrow's JSON has it, where a map is a list of pairs: all are empty.
func fromCheckpoint(line []byte) (a deltaAction, err error) {
	for _, name := range []string{"partitionValues", "options", "configuration"} {
		line = bytes.ReplaceAll(line, []byte(`"`+name+`":[]`), []byte(`"`+name+`":{}`))
	}
	err = json.Unmarshal(line, &a)
	return a, err
}
