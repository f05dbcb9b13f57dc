package deliver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/schemas"
)

// A Delta log over the day files that are delivered, by the protocol of Delta Lake (reader version 1, writer version 2;
// github.com/delta-io/delta, PROTOCOL.md). The table is the prefix itself:
//
//	_delta_log/00000000000000000000.json             protocol, metaData, txn, an add of each day file that has rows
//	_delta_log/00000000000000000017.json             txn, and the adds and removes of one manifest
//	_delta_log/00000000000000000100.checkpoint.parquet and _last_checkpoint: all of it, so that a reader needs no more
//
// A version is written create-only, after the manifest. txn says by the lake's id, and by the series of its manifests
// there, which of them it holds, so a version that a kill left out is made up by the next delivery, from what the
// manifest says of itself: a file's key has the number of the manifest that it was built on, and Retired has that of
// the first one without it.
// There are no partition columns: account and usage_date stand in the files, and each add has their bounds.

// DeltaState is what a manifest says of the log: a version that is known to hold the files of a manifest. The version
// that holds this manifest's own is a later one, if its files are others.
type DeltaState struct {
	Version int64  `json:"version"`
	Number  int64  `json:"number"` // of the manifest whose files it holds
	Schema  string `json:"schema"` // hex SHA-256 of the table's schema
	Shared  bool   `json:"shared"` // another lake has written to the log
}

// ErrTable says that the log isn't what deliveries made of it.
var ErrTable = errors.New("another program has changed the table")

// checkpointEvery is how many versions a reader has to go through at most. A version of so many actions that reading
// them again and again would be dear, and that are most of the table, has a checkpoint of its own.
const (
	checkpointEvery = 100
	largeVersion    = 1_000
)

// The actions of the log, as far as a delivery writes and reads them.
type (
	deltaAction struct {
		Txn        *deltaTxn       `json:"txn,omitempty"`
		Add        *deltaAdd       `json:"add,omitempty"`
		Remove     *deltaRemove    `json:"remove,omitempty"`
		MetaData   *deltaMetaData  `json:"metaData,omitempty"`
		Protocol   *deltaProtocol  `json:"protocol,omitempty"`
		CommitInfo json.RawMessage `json:"commitInfo,omitempty"`
	}
	deltaProtocol struct {
		MinReaderVersion int `json:"minReaderVersion"`
		MinWriterVersion int `json:"minWriterVersion"`
	}
	deltaMetaData struct {
		ID               string            `json:"id"`
		Name             string            `json:"name"`
		Format           deltaFormat       `json:"format"`
		SchemaString     string            `json:"schemaString"`
		PartitionColumns []string          `json:"partitionColumns"`
		Configuration    map[string]string `json:"configuration"`
		CreatedTime      int64             `json:"createdTime"` // milliseconds
	}
	deltaFormat struct {
		Provider string            `json:"provider"`
		Options  map[string]string `json:"options"`
	}
	deltaTxn struct {
		AppID   string `json:"appId"`
		Version int64  `json:"version"` // the manifest's number
	}
	deltaAdd struct {
		Path             string            `json:"path"`
		PartitionValues  map[string]string `json:"partitionValues"`
		Size             int64             `json:"size"`
		ModificationTime int64             `json:"modificationTime"` // milliseconds
		DataChange       bool              `json:"dataChange"`
		Stats            string            `json:"stats"`
	}
	deltaRemove struct {
		Path              string `json:"path"`
		DeletionTimestamp int64  `json:"deletionTimestamp"` // milliseconds
		DataChange        bool   `json:"dataChange"`
	}
)

func deltaKey(version int64) string { return fmt.Sprintf("_delta_log/%020d.json", version) }

// inTable says whether a file is one of the table's: a day file with rows. A file without rows fails in some engines.
func inTable(f File) bool {
	return f.Account != "" && strings.HasPrefix(f.Path, load.UsageDir+"/") && rowsOf(f) > 0
}

// deltaNow is what the manifest to be says of the log.
func (d *delivery) deltaNow() *DeltaState {
	switch {
	case d.root != nil && d.root.Delta != nil:
		return d.root.Delta
	case d.root != nil && d.root.Manifest.Tables != nil && d.root.Manifest.Tables.Delta != nil:
		return d.root.Manifest.Tables.Delta
	case d.t.Delta: // said before the log's first version: nothing that it may hold is deleted before it is known
		return &DeltaState{Version: -1, Schema: digestText(deltaSchema())}
	}
	return nil
}

// delta brings the log to the manifest that is there. It asks for nothing if the log is known to be there.
func (d *delivery) delta(ctx context.Context) error {
	m := &d.root.Manifest
	if d.root.Delta == nil && m.Tables != nil {
		d.root.Delta = m.Tables.Delta
	}
	at := d.root.Delta
	if at != nil && at.Number == m.Number {
		return nil
	}
	d.watch(Progress{Doing: "table"})
	schema := deltaSchema()
	state := DeltaState{Version: -1, Schema: digestText(schema)}
	if at != nil {
		state.Version, state.Number, state.Shared = at.Version, at.Number, at.Shared
	}
	renewed := at != nil && at.Schema != state.Schema
	// A log that was removed is made anew from its first version. Where a checkpoint follows, this look waits for the next
	// delivery: a table asks for three objects at the most.
	if state.Version >= 0 && (state.Shared || (state.Version+1)%checkpointEvery != 0) {
		if _, there, err := d.deltaRead(ctx, state.Version); err != nil {
			return err
		} else if !there {
			state, renewed = DeltaState{Version: -1, Schema: state.Schema}, false
		}
	}
	size := 0 // of the version, in files added and removed
	for unsure := 0; ; {
		next := state.Version + 1
		body, n, err := d.deltaCommit(ctx, next, schema, renewed, state.Number)
		if err != nil {
			return err
		}
		if n == 0 && !renewed && state.Version >= 0 {
			break
		}
		size = n
		_, err = d.t.Bucket.Put(ctx, deltaKey(next), body, bucket.On{Absent: true})
		failed := err
		if err == nil {
			state.Version, state.Number = next, m.Number
			break
		}
		if !errors.Is(err, bucket.ErrTaken) && !errors.Is(err, bucket.ErrUnsure) {
			return err
		}
		mine, there, err := d.deltaRead(ctx, next)
		switch {
		case err != nil:
			return err
		case !there: // the put whose answer was lost wasn't done
			if unsure++; unsure == tries || context.Cause(ctx) != nil {
				return failed
			}
			continue
		case mine < 0:
			state.Version, state.Shared = next, true
			continue
		}
		// A version of this lake: of this delivery, its answer lost, or of one that was killed after it.
		if state.Version, state.Number, renewed = next, mine, false; mine == m.Number {
			break
		}
	}
	state.Number = m.Number
	if state.Version > 0 && state.Version%checkpointEvery == 0 || size >= max(largeVersion, int(m.Count)/2) {
		if err := d.checkpoint(ctx, state.Version, schema, state.Shared); err != nil {
			return err
		}
	}
	d.root.Delta = &state
	return d.write(d.path("root.json"), d.root)
}

// deltaActions are the adds and removes that lead from the files of manifest since to those of the one that is there.
func (d *delivery) deltaActions(ctx context.Context, since int64) iter.Seq2[deltaAction, error] {
	m := &d.root.Manifest
	return func(yield func(deltaAction, error) bool) {
		for _, g := range m.Groups {
			if g.Number <= since || g.Account == "" {
				continue
			}
			held, err := d.group(ctx, g)
			if err != nil {
				yield(deltaAction{}, err)
				return
			}
			for _, f := range held.Files {
				number, _, _ := numberOf(f.Key)
				if number >= since && inTable(f) && !yield(deltaAction{Add: addOf(f, m)}, nil) {
					return
				}
			}
		}
		for _, r := range m.Retired {
			number, _, ok := numberOf(r.Key)
			if !ok || r.By <= since || number >= since || !r.inTable() {
				continue
			}
			remove := &deltaRemove{Path: r.Key, DeletionTimestamp: m.WrittenAt.UnixMilli(), DataChange: true}
			if !yield(deltaAction{Remove: remove}, nil) {
				return
			}
		}
	}
}

func addOf(f File, m *Manifest) *deltaAdd {
	type bounds struct {
		Account string `json:"account"`
		Date    string `json:"usage_date"`
	}
	type nulls struct {
		Account int `json:"account"`
		Date    int `json:"usage_date"`
	}
	stats, err := json.Marshal(struct {
		Records int64  `json:"numRecords"`
		Min     bounds `json:"minValues"`
		Max     bounds `json:"maxValues"`
		Nulls   nulls  `json:"nullCount"`
	}{rowsOf(f), bounds{f.Account, f.Date}, bounds{f.Account, f.Date}, nulls{}})
	if err != nil { // none of its members can fail
		panic(err)
	}
	return &deltaAdd{Path: f.Key, PartitionValues: map[string]string{}, Size: f.Bytes,
		ModificationTime: m.WrittenAt.UnixMilli(), DataChange: true, Stats: string(stats)}
}

// deltaCommit is a version of the log, and how many files it adds and removes: a line an action. The first version of a
// large lake has more lines than memory should: they are made twice, for the digest, and as they are sent.
func (d *delivery) deltaCommit(ctx context.Context, version int64, schema string, renewed bool,
	since int64) (body bucket.Body, n int, err error) {
	m := &d.root.Manifest
	info, err := json.Marshal(map[string]any{"timestamp": m.WrittenAt.UnixMilli(), "operation": "WRITE",
		"operationParameters": map[string]string{"mode": "Append"}, "engineInfo": "usagelake/" + d.opts.Version,
		"manifest": m.Number, "lake": m.Lake.ID})
	if err != nil {
		return body, 0, err
	}
	head := []deltaAction{{CommitInfo: info}}
	if version == 0 {
		head = append(head, deltaAction{Protocol: deltaVersions()})
	}
	if version == 0 || renewed {
		head = append(head, deltaAction{MetaData: d.deltaMeta(schema)})
	}
	head = append(head, deltaAction{Txn: d.deltaTxn()})
	write := func(w io.Writer) (n int, err error) {
		lines := json.NewEncoder(w)
		lines.SetEscapeHTML(false)
		for _, a := range head {
			if err := lines.Encode(a); err != nil {
				return n, err
			}
		}
		for a, err := range d.deltaActions(ctx, since) {
			if err == nil {
				err = lines.Encode(a)
			}
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	sum, size := sha256.New(), byteCount(0)
	if n, err = write(io.MultiWriter(sum, &size)); err != nil {
		return body, 0, err
	}
	return bucket.Body{Type: "application/json", Size: int64(size), SHA256: [sha256.Size]byte(sum.Sum(nil)),
		Open: func() (io.ReadCloser, error) {
			r, w := io.Pipe()
			go func() { // ends when all is read, or r is closed
				var err error
				defer func() { _ = w.CloseWithError(err) }()
				defer schemas.Guard(&err)
				_, err = write(w)
			}()
			return r, nil
		}}, n, nil
}

type byteCount int64

func (c *byteCount) Write(b []byte) (int, error) {
	*c += byteCount(len(b))
	return len(b), nil
}

// appID is what deliveries are called in the log, with the lake's id and the series of its manifests.
const appID = "usagelake:"

func deltaVersions() *deltaProtocol { return &deltaProtocol{MinReaderVersion: 1, MinWriterVersion: 2} }

func (d *delivery) deltaTxn() *deltaTxn {
	m := &d.root.Manifest
	return &deltaTxn{AppID: appID + m.Lake.ID + ":" + m.Series, Version: m.Number}
}

// deltaMeta describes the table. Its id is the first lake's, in the form of a UUID.
func (d *delivery) deltaMeta(schema string) *deltaMetaData {
	id := d.root.Manifest.Lake.ID
	return &deltaMetaData{ID: strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-"), Name: "usage",
		Format: deltaFormat{"parquet", map[string]string{}}, SchemaString: schema, PartitionColumns: []string{},
		Configuration: map[string]string{}, CreatedTime: d.root.Manifest.WrittenAt.UnixMilli()}
}

// deltaRead reads a version that is there: which of this lake's manifests it holds, -1 if it is another lake's. What
// neither wrote, and what touches this lake's files, is ErrTable.
func (d *delivery) deltaRead(ctx context.Context, version int64) (mine int64, there bool, err error) {
	body, _, err := d.t.Bucket.Get(ctx, deltaKey(version))
	if errors.Is(err, bucket.ErrAbsent) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	mine = -1
	other := false // another lake's delivery, which may hold an account that is this one's now
	lines := json.NewDecoder(io.LimitReader(body, maxManifest))
	for {
		var a deltaAction
		if err = lines.Decode(&a); err != nil {
			break
		}
		touched := ""
		switch {
		case a.Txn != nil && a.Txn.AppID == d.deltaTxn().AppID:
			mine = a.Txn.Version
		case a.Txn != nil:
			other = strings.HasPrefix(a.Txn.AppID, appID) && !strings.HasPrefix(a.Txn.AppID, appID+d.id.ID+":")
		case a.Remove != nil:
			touched = a.Remove.Path
		case a.Add != nil:
			touched = a.Add.Path
		}
		if mine >= 0 || other || touched == "" {
			continue
		}
		if _, owner, ok := numberOf(touched); !ok || d.claimed[owner] || slices.Contains(d.root.Manifest.Accounts, owner) {
			err = hint(fmt.Errorf("%w: version %d of its log has %s", ErrTable, version, touched),
				"the log must be the deliveries' own: no OPTIMIZE, VACUUM or writing there. Remove %s/_delta_log, and "+
					"deliver again: it is made anew", d.t.Bucket.URL())
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, body.Close()); err != nil {
		return 0, true, fmt.Errorf("read %s/%s: %w", d.t.Bucket.URL(), deltaKey(version), err)
	}
	return mine, true, nil
}

// deltaSchema is the table's, as the log has it. Every column may be NULL: files of before lack some.
func deltaSchema() string {
	type field struct {
		Name     string            `json:"name"`
		Type     any               `json:"type"`
		Nullable bool              `json:"nullable"`
		Metadata map[string]string `json:"metadata"`
	}
	type structure struct {
		Type   string  `json:"type"`
		Fields []field `json:"fields"`
	}
	var typeOf func(t arrow.DataType) any
	typeOf = func(t arrow.DataType) any {
		switch t := t.(type) {
		case *arrow.Date32Type:
			return "date"
		case *arrow.TimestampType:
			return "timestamp"
		case *arrow.Int64Type:
			return "long"
		case arrow.DecimalType:
			return fmt.Sprintf("decimal(%d,%d)", t.GetPrecision(), t.GetScale())
		case *arrow.StringType:
			return "string"
		case *arrow.DictionaryType:
			return typeOf(t.ValueType)
		case *arrow.ListType:
			return map[string]any{"type": "array", "elementType": typeOf(t.Elem()), "containsNull": false}
		case *arrow.StructType:
			out := structure{Type: "struct"}
			for _, f := range t.Fields() {
				out.Fields = append(out.Fields, field{f.Name, typeOf(f.Type), true, map[string]string{}})
			}
			return out
		}
		panic("deliver: no type of Delta for " + t.String())
	}
	out := structure{Type: "struct"}
	for _, c := range schemas.UsageColumns() {
		out.Fields = append(out.Fields, field{c.Name, typeOf(c.Type), true, map[string]string{"comment": c.Comment}})
	}
	b, err := json.Marshal(out)
	if err != nil { // none of its members can fail
		panic(err)
	}
	return string(b)
}

func digestText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
