package deliver

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/iceberg-go"

	"github.com/usagelake/usagelake/schemas"
)

// A version of the table: metadata/vN.metadata.json, as the Iceberg table spec has it for format 2. Members that
// deliveries never write are left out: a version that has them is another program's.
type (
	icebergMetadata struct {
		Format       int                     `json:"format-version"`
		UUID         string                  `json:"table-uuid"`
		Location     string                  `json:"location"`
		LastSequence int64                   `json:"last-sequence-number"`
		LastUpdated  int64                   `json:"last-updated-ms"`
		LastColumn   int                     `json:"last-column-id"`
		SchemaID     int                     `json:"current-schema-id"`
		Schemas      []*iceberg.Schema       `json:"schemas"`
		SpecID       int                     `json:"default-spec-id"`
		Specs        []iceberg.PartitionSpec `json:"partition-specs"`
		LastField    int                     `json:"last-partition-id"`
		SortOrderID  int                     `json:"default-sort-order-id"`
		SortOrders   []icebergSortOrder      `json:"sort-orders"`
		Properties   map[string]string       `json:"properties"`
		Current      *int64                  `json:"current-snapshot-id,omitempty"` // nil of a table that never had a file
		Refs         map[string]icebergRef   `json:"refs"`
		Snapshots    []icebergSnapshot       `json:"snapshots"` // oldest first
		SnapshotLog  []icebergSnapshotLog    `json:"snapshot-log"`
		MetadataLog  []icebergMetadataLog    `json:"metadata-log"` // of the versions before this one, oldest first
	}
	icebergSortOrder struct {
		ID     int   `json:"order-id"`
		Fields []any `json:"fields"`
	}
	icebergRef struct {
		Snapshot int64  `json:"snapshot-id"`
		Type     string `json:"type"`
	}
	icebergSnapshot struct {
		ID       int64             `json:"snapshot-id"`
		Parent   *int64            `json:"parent-snapshot-id,omitempty"`
		Sequence int64             `json:"sequence-number"`
		At       int64             `json:"timestamp-ms"`
		List     string            `json:"manifest-list"`
		Summary  map[string]string `json:"summary"`
		SchemaID int               `json:"schema-id"`
	}
	icebergSnapshotLog struct {
		At       int64 `json:"timestamp-ms"`
		Snapshot int64 `json:"snapshot-id"`
	}
	icebergMetadataLog struct {
		At   int64  `json:"timestamp-ms"`
		File string `json:"metadata-file"`
	}
)

// What deliveries note in a table's properties and its snapshots' summaries.
const (
	propVersion  = "usagelake.version" // of the metadata that has it: another program's keeps the number of one before
	propManifest = "usagelake.manifest."
	sumLake      = "usagelake.lake"
	sumManifest  = "usagelake.manifest"          // whose files of this lake the snapshot has
	sumReplaced  = "usagelake.manifest-replaced" // the one that it followed
)

// keptVersions is how many versions of the metadata stay beside the current one.
const keptVersions = 20

// mainRef is the branch that readers read.
const mainRef = "main"

// manifestProp is the property that says which of this lake's manifests the table holds.
func (d *delivery) manifestProp() string {
	m := &d.root.Manifest
	return propManifest + m.Lake.ID + "." + m.Series
}

// numberIn is the manifest of this lake that a version holds, 0 of none.
func (d *delivery) numberIn(meta *icebergMetadata) int64 {
	n, _ := strconv.ParseInt(meta.Properties[d.manifestProp()], 10, 64)
	return n
}

// snapshot is the current snapshot, nil of a table that never had a file.
func (m *icebergMetadata) snapshot() *icebergSnapshot {
	if m.Current == nil {
		return nil
	}
	i := slices.IndexFunc(m.Snapshots, func(s icebergSnapshot) bool { return s.ID == *m.Current })
	if i < 0 {
		return nil
	}
	return &m.Snapshots[i]
}

// schema is the current schema.
func (m *icebergMetadata) schema() *iceberg.Schema {
	i := slices.IndexFunc(m.Schemas, func(s *iceberg.Schema) bool { return s.ID == m.SchemaID })
	if i < 0 {
		return nil
	}
	return m.Schemas[i]
}

// firstIceberg is a table before its first version.
func (d *delivery) firstIceberg() (*icebergMetadata, error) {
	schema, last, err := icebergSchema(nil)
	if err != nil {
		return nil, err
	}
	spec := icebergSpec(schema)
	mapping, err := json.Marshal(schema.NameMapping())
	if err != nil {
		return nil, err
	}
	// A commit is random, so a table that is made anew is known to be another one.
	id := d.root.Manifest.Commit
	return &icebergMetadata{
		Format: 2, UUID: strings.Join([]string{id[:8], id[8:12], "4" + id[13:16], "8" + id[17:20], id[20:]}, "-"),
		Location: tableLocation(d.t.Bucket.URL()), LastColumn: last, SchemaID: schema.ID,
		Schemas: []*iceberg.Schema{schema}, Specs: []iceberg.PartitionSpec{spec}, LastField: spec.LastAssignedFieldID(),
		SortOrders: []icebergSortOrder{{Fields: []any{}}}, Refs: map[string]icebergRef{}, Snapshots: []icebergSnapshot{},
		SnapshotLog: []icebergSnapshotLog{}, MetadataLog: []icebergMetadataLog{},
		Properties: map[string]string{
			"schema.name-mapping.default":                string(mapping), // day files have no field ids
			"write.metadata.delete-after-commit.enabled": "true",
			"write.metadata.previous-versions-max":       strconv.Itoa(keptVersions),
			// The table's folder is the whole delivery: what other programs take for orphans there is the manifest, the raw
			// archive, another table. With this they refuse to remove anything.
			"gc.enabled": "false",
		}}, nil
}

// tableLocation is a bucket's URL as readers of tables write it.
func tableLocation(url string) string {
	if rest, ok := strings.CutPrefix(url, "az://"); ok {
		account, rest, _ := strings.Cut(rest, "/")
		container, prefix, _ := strings.Cut(rest, "/")
		return strings.TrimSuffix(fmt.Sprintf("abfss://%s@%s.dfs.core.windows.net/%s", container, account, prefix), "/")
	}
	return strings.TrimPrefix(url, "file://")
}

// nextVersion is the version after a table's last one, with nothing changed but what says which it is.
func (d *delivery) nextVersion(t *icebergTable) *icebergMetadata {
	next := *t.meta
	next.Properties = maps.Clone(t.meta.Properties)
	next.Refs = maps.Clone(t.meta.Refs)
	next.Schemas = slices.Clone(t.meta.Schemas)
	// Clocks differ between lakes: a table's time goes on.
	next.LastUpdated = max(d.opts.Now().UnixMilli(), t.meta.LastUpdated+1)
	next.Properties[d.manifestProp()] = strconv.FormatInt(d.root.Manifest.Number, 10)
	if d.t.Catalog != nil { // whose matter versions are
		return &next
	}
	next.Properties[propVersion] = strconv.FormatInt(t.version+1, 10)
	next.MetadataLog = slices.Clone(t.meta.MetadataLog)
	if t.version > 0 {
		next.MetadataLog = append(next.MetadataLog, icebergMetadataLog{t.meta.LastUpdated, t.at(versionKey(t.version))})
	}
	next.MetadataLog = next.MetadataLog[max(0, len(next.MetadataLog)-keptVersions):]
	return &next
}

// evolve gives a version the schema that the program has now, if it is another one. Columns keep their ids.
func (m *icebergMetadata) evolve() (changed bool, err error) {
	was := m.schema()
	schema, last, err := icebergSchema(was)
	if err != nil || schema.Equals(was) {
		return false, err
	}
	for _, s := range m.Schemas {
		schema.ID = max(schema.ID, s.ID+1)
	}
	mapping, err := json.Marshal(schema.NameMapping())
	if err != nil {
		return false, err
	}
	m.Schemas, m.SchemaID, m.LastColumn = append(m.Schemas, schema), schema.ID, max(last, m.LastColumn)
	m.Properties["schema.name-mapping.default"] = string(mapping)
	return true, nil
}

// icebergSchema is the day files' columns as the table has them. Every one may be NULL: files of before lack some. A
// column has the id that it has in was, a new one the next; last is the highest.
func icebergSchema(was *iceberg.Schema) (s *iceberg.Schema, last int, err error) {
	if was != nil {
		last = was.HighestFieldID()
	}
	id := func(path string) int {
		if was != nil {
			if f, ok := was.FindFieldByName(path); ok {
				return f.ID
			}
		}
		last++
		return last
	}
	columns := schemas.UsageColumns()
	ids := make([]int, len(columns))
	for i, c := range columns {
		ids[i] = id(c.Name)
	}
	var fields []iceberg.NestedField
	for i, c := range columns {
		t, err := icebergType(c.Type, c.Name, id)
		if err != nil {
			return nil, 0, err
		}
		fields = append(fields, iceberg.NestedField{ID: ids[i], Name: c.Name, Type: t, Doc: c.Comment})
		if was == nil {
			continue
		}
		if f, ok := was.FindFieldByName(c.Name); ok && f.Type.String() != t.String() {
			return nil, 0, hint(fmt.Errorf("%w: its column %s is %s, and not %s", ErrTable, c.Name, f.Type, t), icebergAnew)
		}
	}
	schemaID := 0
	if was != nil {
		schemaID = was.ID
	}
	return iceberg.NewSchema(schemaID, fields...), last, nil
}

// icebergType is a column's type; id numbers what is within it.
func icebergType(t arrow.DataType, path string, id func(path string) int) (iceberg.Type, error) {
	switch t := t.(type) {
	case *arrow.Date32Type:
		return iceberg.PrimitiveTypes.Date, nil
	case *arrow.TimestampType:
		return iceberg.PrimitiveTypes.TimestampTz, nil
	case *arrow.Int64Type:
		return iceberg.PrimitiveTypes.Int64, nil
	case arrow.DecimalType:
		return iceberg.DecimalTypeOf(int(t.GetPrecision()), int(t.GetScale())), nil
	case *arrow.StringType:
		return iceberg.PrimitiveTypes.String, nil
	case *arrow.DictionaryType:
		return icebergType(t.ValueType, path, id)
	case *arrow.ListType:
		path += ".element"
		element := id(path)
		of, err := icebergType(t.Elem(), path, id)
		return &iceberg.ListType{ElementID: element, Element: of}, err
	case *arrow.StructType:
		out := &iceberg.StructType{}
		for _, f := range t.Fields() {
			of, err := icebergType(f.Type, path+"."+f.Name, id)
			if err != nil {
				return nil, err
			}
			out.FieldList = append(out.FieldList, iceberg.NestedField{ID: id(path + "." + f.Name), Name: f.Name, Type: of})
		}
		return out, nil
	}
	return nil, fmt.Errorf("there is no type of Iceberg for %s", t)
}

// icebergSpec partitions by account and day, which no program can join in one file without changing the spec.
func icebergSpec(s *iceberg.Schema) iceberg.PartitionSpec {
	var fields []iceberg.PartitionField
	for i, name := range []string{"account", "usage_date"} {
		f, _ := s.FindFieldByName(name)
		fields = append(fields, iceberg.PartitionField{SourceIDs: []int{f.ID}, FieldID: 1000 + i, Name: name,
			Transform: iceberg.IdentityTransform{}})
	}
	return iceberg.NewPartitionSpecID(0, fields...)
}

// snapshotID is the id of the snapshot that brings a table to the manifest that is there: whoever tries again after a
// lost answer or a lost race makes the same one.
func (d *delivery) snapshotID(meta *icebergMetadata) int64 {
	m := &d.root.Manifest
	for salt := 0; ; salt++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %d %d", meta.UUID, m.Lake.ID, m.Series, m.Number, salt))
		id := int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
		if id > 0 && !slices.ContainsFunc(meta.Snapshots, func(s icebergSnapshot) bool { return s.ID == id }) {
			return id
		}
	}
}

// expireSnapshots drops from a version the snapshots that were replaced longer ago than readers may hold them.
func (m *icebergMetadata) expireSnapshots(keep time.Duration) (dropped []icebergSnapshot) {
	over := m.LastUpdated - keep.Milliseconds()
	n := 0
	for n+1 < len(m.Snapshots) && m.Snapshots[n+1].At < over {
		n++
	}
	dropped, m.Snapshots = m.Snapshots[:n], slices.Clone(m.Snapshots[n:])
	if n > 0 {
		kept := m.Snapshots[0].At
		m.SnapshotLog = slices.DeleteFunc(slices.Clone(m.SnapshotLog),
			func(l icebergSnapshotLog) bool { return l.At < kept })
	}
	return dropped
}

// since is the manifest of this lake before which no snapshot of the table shows another one: what was retired up to it
// is in no snapshot.
func (d *delivery) since(meta *icebergMetadata) int64 {
	for i, s := range meta.Snapshots {
		if s.Summary[sumLake] != d.lakeSeries() {
			continue
		}
		name := sumManifest
		if i > 0 { // those before it have what this one replaced
			name = sumReplaced
		}
		n, _ := strconv.ParseInt(s.Summary[name], 10, 64)
		return n
	}
	return d.numberIn(meta)
}

// lakeSeries is how a summary names the lake.
func (d *delivery) lakeSeries() string { return d.root.Manifest.Lake.ID + "." + d.root.Manifest.Series }
