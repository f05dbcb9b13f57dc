package deliver

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"

	"github.com/usagelake/usagelake/schemas"
)

// leafFiles is how many files a manifest of the table lists: some hundred kilobytes, one request.
const leafFiles = 4000

// The names of objects in metadata/.
var (
	leafKey = regexp.MustCompile(
		`^metadata/([0-9a-f]{32})-(\d{1,18})-(\d{4}-\d\d)-([a-z0-9][a-z0-9_-]*)-[0-9a-f]{32}\.avro$`)
	listKey     = regexp.MustCompile(`^metadata/snap-\d{1,19}-([0-9a-f]{32})-(\d{1,18})-[0-9a-f]{32}\.avro$`)
	metadataKey = regexp.MustCompile(`^metadata/v(\d{1,18})\.metadata\.json$`)
)

// place is where a group stands among others: by month, so that what changes from night to night stands together.
type place struct{ month, account string }

func (p place) compare(o place) int {
	return cmp.Or(strings.Compare(p.month, o.month), strings.Compare(p.account, o.account))
}

// leaf is a manifest of the table. It lists the files from its first place up to the next leaf's.
type leaf struct {
	first place
	file  iceberg.ManifestFile
}

func (l leaf) live() int32 { return l.file.AddedDataFiles() + l.file.ExistingDataFiles() }

// leavesOf are the manifests of a snapshot: this lake's in order, and those of others, which no delivery of this lake
// touches.
func (d *delivery) leavesOf(ctx context.Context, t *icebergTable) (mine []leaf, others []iceberg.ManifestFile,
	err error) {
	s := t.meta.snapshot()
	if s == nil {
		return nil, nil, nil
	}
	files, err := d.manifestList(ctx, t, *s)
	for _, f := range files {
		key, _ := t.key(f.FilePath())
		name := leafKey.FindStringSubmatch(key)
		if name == nil || f.ManifestContent() != iceberg.ManifestContentData {
			return nil, nil, d.foreign(t.version, "its snapshot has the manifest "+f.FilePath())
		}
		if name[1] != d.root.Manifest.Lake.ID {
			others = append(others, f)
			continue
		}
		mine = append(mine, leaf{place{name[3], name[4]}, f})
	}
	slices.SortFunc(mine, func(a, b leaf) int { return a.first.compare(b.first) })
	return mine, others, err
}

// manifestList reads what a snapshot lists.
func (d *delivery) manifestList(ctx context.Context, t *icebergTable, s icebergSnapshot) ([]iceberg.ManifestFile,
	error) {
	b, err := d.metadataObject(ctx, t, s.List)
	if err != nil {
		return nil, err
	}
	files, err := iceberg.ReadManifestList(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.List, err)
	}
	return files, nil
}

// change is what a snapshot adds to a table and takes from it.
type change struct{ files, rows, bytes int64 }

func (c *change) count(f iceberg.DataFile) {
	c.files++
	c.rows += f.Count()
	c.bytes += f.FileSizeBytes()
}

// leafWriter writes the leaves of a snapshot.
type leafWriter struct {
	d        *delivery
	t        *icebergTable
	schema   *iceberg.Schema
	spec     iceberg.PartitionSpec
	snapshot int64

	out            []leaf
	added, removed change
	parts          map[[2]string]bool // the partitions that changed
}

// leafRange is what lies from a place up to the next range's.
type leafRange struct {
	first   place
	old     []leaf
	groups  []Group // of the manifest that is there
	touched bool    // something may have changed
}

func (r leafRange) live() (n int64) {
	for _, l := range r.old {
		n += int64(l.live())
	}
	return n
}

// nextLeaves makes the leaves of the manifest that is there from those of the table, which are known to be those of an
// earlier one. A leaf in whose range no group has changed since then stays as it is.
func (w *leafWriter) nextLeaves(ctx context.Context, mine []leaf, since int64) error {
	ranges := w.ranges(mine, since)
	for i := 0; i < len(ranges); i++ {
		r := ranges[i]
		if !r.touched {
			w.keep(r.old)
			continue
		}
		for i+1 < len(ranges) && ranges[i+1].live() < leafFiles/4 && r.live()+ranges[i+1].live() <= leafFiles {
			i++
			r.old, r.groups = append(r.old, ranges[i].old...), append(r.groups, ranges[i].groups...)
		}
		if err := w.rewrite(ctx, r, i == len(ranges)-1); err != nil {
			return err
		}
	}
	return nil
}

// keep takes leaves as they are, but for those that only tell what an earlier snapshot removed.
func (w *leafWriter) keep(leaves []leaf) {
	for _, l := range leaves {
		if l.live() > 0 {
			w.out = append(w.out, l)
		}
	}
}

func placeOf(g Group) place { return place{g.Month, g.Account} }

// ranges lays the manifest's groups over the leaves.
func (w *leafWriter) ranges(mine []leaf, since int64) []leafRange {
	m := &w.d.root.Manifest
	var groups []Group
	for _, g := range m.Groups {
		if g.Account != "" {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(a, b Group) int { return placeOf(a).compare(placeOf(b)) })
	var out []leafRange
	for _, l := range mine {
		out = append(out, leafRange{first: l.first, old: []leaf{l}})
	}
	if len(out) == 0 {
		if len(groups) == 0 {
			return nil
		}
		out = []leafRange{{first: placeOf(groups[0])}}
	}
	at := func(p place) *leafRange { // what comes before the first is the first's, too
		i, found := slices.BinarySearchFunc(out, p, func(r leafRange, p place) int { return r.first.compare(p) })
		if !found && i > 0 {
			i--
		}
		return &out[i]
	}
	for _, g := range groups {
		r := at(placeOf(g))
		r.groups = append(r.groups, g)
		r.touched = r.touched || g.Number > since
	}
	for _, x := range m.Retired {
		if x.By > since && x.inTable() {
			account, date := partitionOf(x.Key)
			at(place{date[:len("2026-11")], account}).touched = true
		}
	}
	return out
}

// inTable says whether a retired object was a file of the table.
func (r Retired) inTable() bool { return r.Rows > 0 && strings.HasPrefix(r.Key, "data/usage/") }

// partitionOf is the account and the day of a day file's key: data/usage/ACCOUNT/DAY/NAME.
func partitionOf(key string) (account, date string) {
	parts := strings.Split(key, "/")
	return parts[2], parts[3]
}

// rewrite makes of a range's leaves those that list its groups' files. What both have keeps where it came from.
func (w *leafWriter) rewrite(ctx context.Context, r leafRange, last bool) error {
	had := map[string]iceberg.ManifestEntry{}
	for _, l := range r.old {
		if err := w.d.leafEntries(ctx, w.t, l.file, had); err != nil {
			return err
		}
	}
	total, stays := 0, 0
	for _, g := range r.groups {
		held, err := w.d.group(ctx, g)
		if err != nil {
			return err
		}
		for _, f := range held.Files {
			if inTable(f) {
				total++
				if _, ok := had[w.t.at(f.Key)]; ok {
					stays++
				}
			}
		}
	}
	if stays == total && stays == len(had) { // what was touched is no file of the table
		w.keep(r.old)
		return nil
	}
	limit := leafFiles
	if parts := max(1, (total+leafFiles/2)/leafFiles); !last { // in the middle, equal parts: each may grow again
		limit = (total + parts - 1) / parts
	}
	first := r.first
	if len(r.groups) > 0 && placeOf(r.groups[0]).compare(first) < 0 { // before all that there was
		first = placeOf(r.groups[0])
	}
	var pending []iceberg.ManifestEntry
	for _, g := range r.groups {
		if len(pending) >= limit {
			if err := w.leaf(ctx, first, pending); err != nil {
				return err
			}
			first, pending = placeOf(g), pending[:0]
		}
		held, err := w.d.group(ctx, g)
		if err != nil {
			return err
		}
		for _, f := range held.Files {
			if !inTable(f) {
				continue
			}
			e, ok := had[w.t.at(f.Key)]
			if delete(had, w.t.at(f.Key)); ok {
				e = entryOf(e, iceberg.EntryStatusEXISTING, e.SnapshotID())
			} else if e, err = w.add(f, held); err != nil {
				return err
			}
			pending = append(pending, e)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(had)) {
		e := had[at]
		key, _ := w.t.key(at)
		account, date := partitionOf(key)
		w.removed.count(e.DataFile())
		w.parts[[2]string{account, date}] = true
		pending = append(pending, entryOf(e, iceberg.EntryStatusDELETED, w.snapshot))
	}
	return w.leaf(ctx, first, pending)
}

// entryOf is an entry with another status: it keeps the sequence numbers of the snapshot that added its file.
func entryOf(e iceberg.ManifestEntry, status iceberg.ManifestEntryStatus, snapshot int64) iceberg.ManifestEntry {
	b := iceberg.NewManifestEntryBuilder(status, &snapshot, e.DataFile()).SequenceNum(e.SequenceNum())
	if n := e.FileSequenceNum(); n != nil {
		b = b.FileSequenceNum(*n)
	}
	return b.Build()
}

// add is the entry of a file that the table doesn't have yet.
func (w *leafWriter) add(f File, held heldGroup) (iceberg.ManifestEntry, error) {
	day, err := schemas.ParseDate(f.Date)
	if err != nil {
		return nil, err
	}
	var fields [2]int
	partition := map[int]any{}
	for i, p := range []any{f.Account, iceberg.Date(day)} {
		field := w.spec.Field(i)
		fields[i] = field.SourceIDs[0]
		partition[field.FieldID] = p
	}
	b, err := iceberg.NewDataFileBuilder(w.spec, iceberg.EntryContentData, w.t.at(f.Key), iceberg.ParquetFile, partition,
		nil, nil, rowsOf(f), f.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Key, err)
	}
	s, err := statsOf(w.d.lake, f, held.Looks[f.Path], w.schema)
	if err != nil {
		return nil, err
	}
	file := b.ValueCounts(s.values).NullValueCounts(s.nulls).LowerBoundValues(s.lower).UpperBoundValues(s.upper).
		SortOrderID(0).Build()
	w.added.count(file)
	w.parts[[2]string{f.Account, f.Date}] = true
	return iceberg.NewManifestEntryBuilder(iceberg.EntryStatusADDED, &w.snapshot, file).Build(), nil
}

// leaf writes one manifest.
func (w *leafWriter) leaf(ctx context.Context, first place, entries []iceberg.ManifestEntry) error {
	if len(entries) == 0 {
		return nil
	}
	var b bytes.Buffer
	m := &w.d.root.Manifest
	key := fmt.Sprintf("metadata/%s-%d-%s-%s-%s.avro", m.Lake.ID, m.Number, first.month, first.account, randomID())
	file, err := iceberg.WriteManifest(w.t.at(key), &b, 2, w.spec, w.schema, w.snapshot, entries)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	if err := w.d.putMetadata(ctx, w.t, key, b.Bytes()); err != nil {
		return err
	}
	w.out = append(w.out, leaf{first, file})
	return nil
}

// leafEntries adds to a map the files that a manifest lists, by path.
func (d *delivery) leafEntries(ctx context.Context, t *icebergTable, f iceberg.ManifestFile,
	to map[string]iceberg.ManifestEntry) error {
	b, err := d.metadataObject(ctx, t, f.FilePath())
	if err != nil {
		return err
	}
	entries, err := iceberg.ReadManifest(f, bytes.NewReader(b), true)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.FilePath(), err)
	}
	for _, e := range entries {
		to[e.DataFile().FilePath()] = e
	}
	return nil
}
