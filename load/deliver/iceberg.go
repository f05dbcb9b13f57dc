package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/schemas"
)

// An Iceberg table over the day files that are delivered, format 2, partitioned by account and usage_date. The table is
// the prefix itself, in the layout of Hadoop's catalog:
//
//	metadata/LAKE-NUMBER-MONTH-ACCOUNT-CHANCE.avro   a manifest: the day files of this lake from a place on
//	metadata/snap-SNAPSHOT-LAKE-NUMBER-CHANCE.avro   a manifest list: what a snapshot is made of
//	metadata/vN.metadata.json                        a version of the table: create-only, this is the commit
//	metadata/version-hint.text                       N, put in place of the one before; readers begin there
//
// They are put in this order, after the delivery's own manifest. A property of the table says by the lake's id, and by
// the series of its manifests, which of them it holds; what a kill left out is made up by the next delivery. Day files
// are registered as they are: none is rewritten, and one without rows is none of the table's.
//
// A manifest lists up to leafFiles files, by month, account and day. A delivery writes those anew in whose range
// something changed and keeps the rest: of one account that is one, of a night of 1,000 accounts some eight. Manifests
// of other lakes are carried over untouched, so that several lakes share one table; whoever loses the race for a
// version plans anew on the winner's.

// IcebergState is what a manifest says of the table: a version that is known to hold the files of a manifest.
type IcebergState struct {
	// Version is of metadata/vN.metadata.json, or in a catalog one more than the table had snapshots; 0 before the first.
	Version  int64  `json:"version"`
	Snapshot int64  `json:"snapshot,omitempty"` // the current one of that version
	Number   int64  `json:"number"`             // of the manifest whose files it holds
	Since    int64  `json:"since"`              // what was retired up to this manifest is in none of its snapshots
	Table    string `json:"table,omitempty"`    // its UUID
	// Of a table that a catalog keeps: where it is, and the table's name there.
	Catalog string `json:"catalog,omitempty"`
	Name    string `json:"name,omitempty"`
}

// heldIceberg is the table as the lake knows it.
type heldIceberg struct {
	IcebergState
	Digest string     `json:"digest"`          // hex SHA-256 of the version
	Hint   bucket.Tag `json:"hint"`            // of version-hint.text, which names the version
	Begun  bool       `json:"begun,omitempty"` // a commit was begun, and isn't known to be done
}

// icebergTable is a table under way.
type icebergTable struct {
	version int64
	meta    *icebergMetadata
	digest  string
	hint    bucket.Tag // "" if there is none
	hintAt  int64      // the version that it names
	unsure  int        // how many commits to the catalog had no answer
	put     []string   // keys that the version to come is made of
	wasted  []string   // keys of versions that came to nothing
	drop    []string   // keys that are over once the hint names the version
}

const hintKey = "metadata/version-hint.text"

func versionKey(version int64) string { return fmt.Sprintf("metadata/v%d.metadata.json", version) }

// at is an object as the table names it, key the reverse.
func (t *icebergTable) at(key string) string { return t.meta.Location + "/" + key }

func (t *icebergTable) key(at string) (string, bool) {
	return strings.CutPrefix(at, t.meta.Location+"/")
}

// icebergNow is what the manifest to be says of the table.
func (d *delivery) icebergNow() *IcebergState {
	switch {
	case d.root != nil && d.root.Iceberg != nil:
		return &d.root.Iceberg.IcebergState
	case d.root != nil && d.root.Manifest.Tables != nil && d.root.Manifest.Tables.Iceberg != nil:
		return d.root.Manifest.Tables.Iceberg
	case d.t.Iceberg: // said before its first version: nothing that it may hold is deleted before it is known
		return &IcebergState{}
	}
	return nil
}

// iceberg brings the table to the manifest that is there. It asks for nothing if the table is known to be there.
func (d *delivery) iceberg(ctx context.Context) error {
	held := d.root.Iceberg
	if held == nil {
		held = &heldIceberg{IcebergState: *d.icebergNow(), Begun: true}
	}
	mend := d.mendable()
	if !held.Begun && held.Number == d.root.Manifest.Number && len(mend) == 0 {
		return nil
	}
	d.watch(Progress{Doing: "table"})
	if err := d.putBack(ctx, held, mend); err != nil {
		return err
	}
	t, err := d.openIceberg(ctx, held)
	if err != nil {
		return err
	}
	held.Begun, d.root.Iceberg = true, held
	if err := d.write(d.path("root.json"), d.root); err != nil {
		return err
	}
	for range tries {
		switch {
		case d.t.Catalog != nil && t.version == 0:
			if t, err = d.createInCatalog(ctx, t); err != nil {
				return err
			}
			continue
		case d.t.Catalog == nil && t.hintAt != t.version:
			if t, err = d.pointHint(ctx, t); err != nil {
				return err
			}
			continue
		}
		next, err := d.planIceberg(ctx, t)
		if err != nil {
			return err
		}
		if next == nil {
			return d.holdIceberg(ctx, t)
		}
		commit := d.commitIceberg
		if d.t.Catalog != nil {
			commit = d.commitInCatalog
		}
		if t, err = commit(ctx, t, next); err != nil {
			return err
		}
	}
	return hint(errors.New("others commit to the table all the time"), "deliver again when they are done")
}

// holdIceberg remembers the table, and removes what its last version made superfluous.
func (d *delivery) holdIceberg(ctx context.Context, t *icebergTable) error {
	s := IcebergState{Version: t.version, Number: d.root.Manifest.Number, Since: d.since(t.meta), Table: t.meta.UUID}
	if t.meta.Current != nil {
		s.Snapshot = *t.meta.Current
	}
	if d.t.Catalog != nil {
		s.Catalog, s.Name = d.t.Catalog.URI(), d.t.Catalog.Name()
	}
	d.root.Iceberg = &heldIceberg{IcebergState: s, Digest: t.digest, Hint: t.hint}
	if err := d.write(d.path("root.json"), d.root); err != nil {
		return err
	}
	work, workCtx := errgroup.WithContext(ctx)
	work.SetLimit(uploads)
	stays, err := d.namesOf(ctx, t)
	if err != nil {
		return err
	}
	for _, key := range slices.Concat(t.drop, t.wasted) {
		if stays[key] { // of a commit that was taken for lost
			continue
		}
		work.Go(func() (err error) {
			defer schemas.Guard(&err)
			return d.t.Bucket.Delete(workCtx, key)
		})
	}
	return errors.Join(work.Wait(), d.forgetMetadata(stays))
}

// openIceberg is the table as the lake knows it, or else as it is found.
func (d *delivery) openIceberg(ctx context.Context, held *heldIceberg) (*icebergTable, error) {
	if err := d.sameKeeper(ctx, &held.IcebergState); err != nil {
		return nil, err
	}
	if d.t.Catalog != nil || held.Begun || held.Version == 0 {
		return d.findIceberg(ctx)
	}
	b, err := d.lake.FS.ReadFile(d.metadataPath(versionKey(held.Version)))
	if sum := sha256.Sum256(b); err != nil || hex.EncodeToString(sum[:]) != held.Digest {
		return d.findIceberg(ctx)
	}
	t := &icebergTable{version: held.Version, digest: held.Digest, hint: held.Hint, hintAt: held.Version}
	t.meta, err = d.parseVersion(b, held.Version)
	return t, err
}

// findIceberg looks for the table in the bucket: from the version that its hint names to the last. A table that isn't
// there is one of version 0.
func (d *delivery) findIceberg(ctx context.Context) (*icebergTable, error) {
	if d.t.Catalog != nil {
		return d.findInCatalog(ctx)
	}
	hinted, tag, there, err := d.readHint(ctx)
	if err != nil {
		return nil, err
	}
	t := &icebergTable{hint: tag, hintAt: hinted}
	from := hinted
	if !there { // a first commit was broken off before its hint, or somebody removed it
		for o, err := range d.t.Bucket.List(ctx, "metadata/") {
			if err != nil {
				return nil, err
			}
			if m := metadataKey.FindStringSubmatch(o.Key); m != nil {
				from = max(from, mustNumber(m[1]))
			} else if catalogKey.MatchString(o.Key) {
				return nil, d.foreign(0, "a catalog keeps a table there: "+o.Key)
			}
		}
	}
	for ; from > 0; from++ {
		meta, digest, ok, err := d.loadVersion(ctx, from)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		t.version, t.meta, t.digest = from, meta, digest
	}
	if t.version > 0 {
		return t, nil
	}
	if there {
		return nil, d.foreign(hinted, "its hint names it, and it isn't there")
	}
	t.meta, err = d.firstIceberg()
	return t, err
}

func (d *delivery) readHint(ctx context.Context) (version int64, tag bucket.Tag, there bool, err error) {
	body, o, err := d.t.Bucket.Get(ctx, hintKey)
	if errors.Is(err, bucket.ErrAbsent) {
		return 0, "", false, nil
	}
	if err != nil {
		return 0, "", false, err
	}
	b, err := io.ReadAll(io.LimitReader(body, 64))
	if err = errors.Join(err, body.Close()); err != nil {
		return 0, "", false, err
	}
	version, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || version < 1 {
		return 0, "", false, d.foreign(0, fmt.Sprintf("its hint is %q", b))
	}
	return version, o.Tag, true, nil
}

// loadVersion reads a version of the table, if it is there.
func (d *delivery) loadVersion(ctx context.Context, version int64) (*icebergMetadata, string, bool, error) {
	b, err := d.download(ctx, versionKey(version))
	if errors.Is(err, bucket.ErrAbsent) {
		return nil, "", false, nil
	}
	if err != nil {
		return nil, "", false, err
	}
	meta, err := d.parseVersion(b, version)
	sum := sha256.Sum256(b)
	return meta, hex.EncodeToString(sum[:]), true, err
}

func (d *delivery) download(ctx context.Context, key string) ([]byte, error) {
	body, _, err := d.t.Bucket.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(body, maxManifest))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", d.t.Bucket.URL(), key, err)
	}
	return b, nil
}

// parseVersion refuses a version that no delivery wrote.
func (d *delivery) parseVersion(b []byte, version int64) (*icebergMetadata, error) {
	var m icebergMetadata
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, d.foreign(version, err.Error())
	}
	if m.Properties[propVersion] != strconv.FormatInt(version, 10) {
		return nil, d.foreign(version, "no delivery wrote it")
	}
	return &m, d.checkIceberg(&m, version)
}

// checkIceberg refuses a version that isn't a table of deliveries there.
func (d *delivery) checkIceberg(m *icebergMetadata, version int64) error {
	first, err := d.firstIceberg()
	if err != nil {
		return err
	}
	switch {
	case m.Format != 2 || m.schema() == nil || m.SpecID != 0 || m.Current != nil && m.snapshot() == nil ||
		len(m.Specs) != 1 || !m.Specs[0].Equals(first.Specs[0]):
		return d.foreign(version, "its schema or partitioning is another one")
	case m.Location != first.Location:
		return d.foreign(version, "it is the table of "+m.Location)
	}
	prefix := propManifest + d.root.Manifest.Lake.ID + "."
	for name := range m.Properties {
		if strings.HasPrefix(name, prefix) && name != d.manifestProp() {
			return d.foreign(version, "it has the files of manifests of this lake that are gone")
		}
	}
	return nil
}

// foreign is ErrTable of a version of the Iceberg table.
func (d *delivery) foreign(version int64, what string) error {
	where := d.t.Bucket.URL() + "/metadata"
	if d.t.Catalog != nil {
		where = d.t.Catalog.Name() + " in the catalog " + d.t.Catalog.URI()
	}
	return hint(fmt.Errorf("%w: version %d in %s: %s", ErrTable, version, where, what), icebergAnew)
}

const icebergAnew = "the table must be the deliveries' own: no writing, no compaction, no expiry by other programs. " +
	"Remove its folder metadata, or drop it in its catalog (never with PURGE, which may take the day files along), and " +
	"deliver again: it is made anew"

// planIceberg is the version that follows: the table with the files of the manifest that is there. What it lists is put
// by then. nil says that the table has them.
func (d *delivery) planIceberg(ctx context.Context, t *icebergTable) (*icebergMetadata, error) {
	m := &d.root.Manifest
	if d.numberIn(t.meta) == m.Number {
		return nil, nil
	}
	next := d.nextVersion(t)
	renewed, err := next.evolve()
	if err != nil {
		return nil, err
	}
	mine, others, err := d.leavesOf(ctx, t)
	if err != nil {
		return nil, err
	}
	w := &leafWriter{d: d, t: t, schema: next.schema(), spec: next.Specs[0], snapshot: d.snapshotID(t.meta),
		parts: map[[2]string]bool{}}
	if err := w.nextLeaves(ctx, mine, d.numberIn(t.meta)); err != nil {
		return nil, err
	}
	rows := int64(0)
	for _, l := range w.out {
		rows += l.file.AddedRows() + l.file.ExistingRows()
	}
	if rows != m.Rows { // whatever led to it: no reader is to see it
		return nil, hint(fmt.Errorf("the Iceberg table would have %d rows of this lake, and manifest %d has %d", rows,
			m.Number, m.Rows), "remove its folder %s/metadata, and deliver again: the table is made anew", d.t.Bucket.URL())
	}
	if w.added.files+w.removed.files == 0 {
		if !renewed && t.version > 0 {
			return nil, nil
		}
		return next, nil
	}
	list := slices.Clone(others)
	for _, l := range w.out {
		list = append(list, l.file)
	}
	if err := d.addSnapshot(ctx, t, next, w, list); err != nil {
		return nil, err
	}
	t.drop, err = d.superfluous(ctx, t, next, list)
	return next, err
}

// addSnapshot puts a manifest list, and makes its snapshot the current one.
func (d *delivery) addSnapshot(ctx context.Context, t *icebergTable, next *icebergMetadata, w *leafWriter,
	list []iceberg.ManifestFile) error {
	m := &d.root.Manifest
	next.LastSequence++
	var b bytes.Buffer
	key := fmt.Sprintf("metadata/snap-%d-%s-%d-%s.avro", w.snapshot, m.Lake.ID, m.Number, randomID())
	if err := iceberg.WriteManifestList(2, &b, w.snapshot, next.Current, &next.LastSequence, 0, list); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	if err := d.putMetadata(ctx, t, key, b.Bytes()); err != nil {
		return err
	}
	s := icebergSnapshot{ID: w.snapshot, Parent: next.Current, Sequence: next.LastSequence, At: next.LastUpdated,
		List: t.at(key), SchemaID: next.SchemaID, Summary: w.summary(t.meta.snapshot())}
	s.Summary[sumLake], s.Summary[sumManifest] = d.lakeSeries(), strconv.FormatInt(m.Number, 10)
	s.Summary[sumReplaced] = strconv.FormatInt(d.numberIn(t.meta), 10)
	next.Snapshots = append(slices.Clone(next.Snapshots), s)
	next.SnapshotLog = append(slices.Clone(next.SnapshotLog), icebergSnapshotLog{s.At, s.ID})
	next.Current = &s.ID
	next.Refs[mainRef] = icebergRef{s.ID, "branch"}
	return nil
}

// superfluous drops from a version the snapshots whose time is over, and returns what is no one's then: their manifest
// lists, the manifests of theirs that no later snapshot has, and versions of the metadata that nothing names.
func (d *delivery) superfluous(ctx context.Context, t *icebergTable, next *icebergMetadata,
	list []iceberg.ManifestFile) ([]string, error) {
	var at []string
	for _, l := range t.meta.MetadataLog {
		if !slices.Contains(next.MetadataLog, l) {
			at = append(at, l.File)
		}
	}
	dropped := next.expireSnapshots(d.t.Keep)
	if len(dropped) > 0 {
		// A manifest that a snapshot doesn't have is in none after it, so the first that stays tells for all.
		if first := next.Snapshots[0]; first.ID != *next.Current {
			var err error
			if list, err = d.manifestList(ctx, t, first); err != nil {
				return nil, err
			}
		}
		stays := map[string]bool{}
		for _, f := range list {
			stays[f.FilePath()] = true
		}
		for _, s := range dropped {
			at = append(at, s.List)
			files, err := d.manifestList(ctx, t, s)
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				if !stays[f.FilePath()] {
					stays[f.FilePath()] = true
					at = append(at, f.FilePath())
				}
			}
		}
	}
	var keys []string
	for _, a := range at { // what it names isn't trusted
		key, ok := t.key(a)
		if _, _, ours := metadataOwner(key); ok && (ours || metadataKey.MatchString(key)) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// commitIceberg puts a version after the last one. Of one that is there already the table goes on with that.
func (d *delivery) commitIceberg(ctx context.Context, t *icebergTable, next *icebergMetadata) (*icebergTable, error) {
	b, err := json.Marshal(next)
	if err != nil {
		return nil, err
	}
	key := versionKey(t.version + 1)
	body := bucket.Bytes(b)
	body.Type = "application/json"
	out := &icebergTable{version: t.version + 1, meta: next, digest: hex.EncodeToString(body.SHA256[:]), hint: t.hint,
		hintAt: t.hintAt, put: t.put, wasted: t.wasted, drop: t.drop}
	for unsure := 1; ; unsure++ {
		_, err := d.t.Bucket.Put(ctx, key, body, bucket.On{Absent: true})
		if err == nil {
			return out, writeFile(d.lake, d.metadataPath(key), b)
		}
		if !errors.Is(err, bucket.ErrTaken) && !errors.Is(err, bucket.ErrUnsure) {
			return nil, err
		}
		meta, digest, there, lost := d.loadVersion(ctx, t.version+1)
		switch {
		case lost != nil:
			return nil, lost
		case there && digest == out.digest: // its answer was lost
			return out, writeFile(d.lake, d.metadataPath(key), b)
		case there: // another lake's, or this one's of a try that was broken off
			out.meta, out.digest, out.drop = meta, digest, nil
			return out.without(t), nil
		case unsure == tries || context.Cause(ctx) != nil:
			return nil, err
		}
	}
}

// pointHint makes the hint name the version. It also tells whether the version is the table's last one: if another
// lake's commits went on meanwhile, the table is theirs, and if somebody removed the table, it is made anew.
func (d *delivery) pointHint(ctx context.Context, t *icebergTable) (*icebergTable, error) {
	body := bucket.Bytes([]byte(strconv.FormatInt(t.version, 10)))
	body.Type = "text/plain"
	on := bucket.On{Absent: t.hint == "", Match: t.hint}
	for unsure := 1; ; unsure++ {
		tag, err := d.t.Bucket.Put(ctx, hintKey, body, on)
		if err == nil {
			t.hint, t.hintAt = tag, t.version
			return t, nil
		}
		if !errors.Is(err, bucket.ErrTaken) && !errors.Is(err, bucket.ErrUnsure) ||
			unsure == tries || context.Cause(ctx) != nil {
			return nil, err
		}
		at, tag, there, lost := d.readHint(ctx)
		switch {
		case lost != nil:
			return nil, lost
		case !there && !on.Absent:
			_, _, before, err := d.loadVersion(ctx, t.version-1)
			if err != nil {
				return nil, err
			}
			if before { // the hint alone was removed
				on = bucket.On{Absent: true}
				continue
			}
			return d.goneIceberg(ctx, t)
		case at == t.version:
			t.hint, t.hintAt = tag, at
			return t, nil
		case at > t.version:
			return d.overtaken(ctx, t)
		case there: // it lags behind, unless another lake has made the table anew
			meta, _, ok, err := d.loadVersion(ctx, at)
			if err != nil {
				return nil, err
			}
			if !ok || meta.UUID != t.meta.UUID {
				return d.goneIceberg(ctx, t)
			}
			on = bucket.On{Match: tag}
		}
	}
}

// goneIceberg is the table where it was removed since it was last seen: this version is of nothing that is there.
func (d *delivery) goneIceberg(ctx context.Context, t *icebergTable) (*icebergTable, error) {
	d.opts.Logger.Warn("the Iceberg table is gone: it is made anew", "target", d.t.Name, "url", d.t.Bucket.URL())
	if err := d.t.Bucket.Delete(ctx, versionKey(t.version)); err != nil {
		return nil, err
	}
	out, err := d.findIceberg(ctx)
	if err != nil {
		return nil, err
	}
	return out.without(t), nil
}

// without is the table where a version under way came to nothing.
func (t *icebergTable) without(lost *icebergTable) *icebergTable {
	t.put, t.wasted = nil, slices.Concat(lost.wasted, lost.put)
	return t
}

// overtaken is the table where its hint names a later version than this one. This one may stand where one was that is
// over and removed: then it never counted.
func (d *delivery) overtaken(ctx context.Context, t *icebergTable) (*icebergTable, error) {
	last, err := d.findIceberg(ctx)
	if err != nil {
		return nil, err
	}
	this := last.at(versionKey(t.version))
	if !slices.ContainsFunc(last.meta.MetadataLog, func(l icebergMetadataLog) bool { return l.File == this }) {
		if err := d.t.Bucket.Delete(ctx, versionKey(t.version)); err != nil {
			return nil, err
		}
	}
	if d.numberIn(last.meta) == d.root.Manifest.Number { // it counted, and others built on it
		last.wasted = t.wasted
		return last, nil
	}
	return last.without(t), nil
}

// metadataPath is where the lake keeps an object of metadata/, so that the next delivery needn't ask for it.
func (d *delivery) metadataPath(key string) string { return d.path("metadata", path.Base(key)) }

// putMetadata puts an object of the version to come, under a name that nothing else has.
func (d *delivery) putMetadata(ctx context.Context, t *icebergTable, key string, b []byte) error {
	t.put = append(t.put, key)
	if err := d.putNew(ctx, key, bucket.Bytes(b), nil); err != nil {
		return err
	}
	return writeFile(d.lake, d.metadataPath(key), b)
}

// metadataObject reads a manifest or a manifest list, from what the lake keeps or from the bucket.
func (d *delivery) metadataObject(ctx context.Context, t *icebergTable, at string) ([]byte, error) {
	key, ok := t.key(at)
	if _, _, ours := metadataOwner(key); !ok || !ours {
		return nil, d.foreign(t.version, "it has "+at)
	}
	if b, err := d.lake.FS.ReadFile(d.metadataPath(key)); err == nil {
		return b, nil
	}
	b, err := d.download(ctx, key)
	if err != nil {
		return nil, err
	}
	return b, d.keep(d.metadataPath(key), b)
}

// namesOf are the keys of the objects that a delivery needs of the table: its version, the lists of its snapshots and
// the manifests of the current one.
func (d *delivery) namesOf(ctx context.Context, t *icebergTable) (map[string]bool, error) {
	needed := map[string]bool{versionKey(t.version): true}
	var at []string
	for _, s := range t.meta.Snapshots {
		at = append(at, s.List)
	}
	if s := t.meta.snapshot(); s != nil {
		files, err := d.manifestList(ctx, t, *s)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			at = append(at, f.FilePath())
		}
	}
	for _, a := range at {
		key, _ := t.key(a)
		needed[key] = true
	}
	return needed, nil
}

// forgetMetadata removes what the lake keeps of the table and needs no more.
func (d *delivery) forgetMetadata(needed map[string]bool) error {
	entries, err := d.lake.Entries(d.path("metadata"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !needed["metadata/"+e.Name()] {
			err = errors.Join(err, d.lake.FS.Remove(d.path("metadata", e.Name())))
		}
	}
	return err
}

// summary is what a snapshot says of itself, by the spec's names; readers take counts from it.
func (w *leafWriter) summary(was *icebergSnapshot) map[string]string {
	out := map[string]string{"operation": "overwrite"}
	switch {
	case w.removed.files == 0:
		out["operation"] = "append"
	case w.added.files == 0:
		out["operation"] = "delete"
	}
	for name, n := range map[string][2]int64{"data-files": {w.added.files, w.removed.files},
		"records": {w.added.rows, w.removed.rows}, "files-size": {w.added.bytes, w.removed.bytes}} {
		total := n[0] - n[1]
		if was != nil {
			before, _ := strconv.ParseInt(was.Summary["total-"+name], 10, 64)
			total += before
		}
		removed := "deleted-" + name
		if name == "files-size" {
			removed = "removed-" + name
		}
		out["total-"+name] = strconv.FormatInt(total, 10)
		for name, n := range map[string]int64{"added-" + name: n[0], removed: n[1]} {
			if n > 0 {
				out[name] = strconv.FormatInt(n, 10)
			}
		}
	}
	for _, name := range []string{"total-delete-files", "total-position-deletes", "total-equality-deletes"} {
		out[name] = "0"
	}
	out["changed-partition-count"] = strconv.Itoa(len(w.parts))
	return out
}
