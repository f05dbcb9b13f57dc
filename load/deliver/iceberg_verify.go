package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/apache/iceberg-go"

	"github.com/usagelake/usagelake/load/bucket"
)

// verifyIceberg holds the table against a listing and the manifest: whatever it names is there, and its files are the
// manifest's. What it names is taken from the listing. It returns the version of the table, 0 of none.
func (d *delivery) verifyIceberg(ctx context.Context, there map[string]listed, c *checker, deep bool) (int64, error) {
	state := d.icebergNow()
	if state == nil {
		return 0, nil
	}
	if err := d.sameKeeper(ctx, state); err != nil {
		return 0, err
	}
	table := hintKey
	if d.t.Catalog != nil {
		table = d.t.Catalog.Name()
		// What is in the metadata, and for how long their files stay, is the catalog's matter.
		maps.DeleteFunc(there, func(key string, _ listed) bool { return catalogKey.MatchString(key) })
	}
	t, err := d.findIceberg(ctx)
	if errors.Is(err, ErrTable) {
		what, _, _ := strings.Cut(err.Error(), "\n")
		c.found(Found{Problem: FoundReplaced, Key: table, Detail: what})
		leaveMetadata(there)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if t.version == 0 {
		if state.Version > 0 {
			c.found(Found{Problem: FoundMissing, Key: table,
				Detail: "the Iceberg table is gone: the next delivery makes it anew"})
			d.missed = true
		}
		return 0, nil
	}
	v := &icebergCheck{d: d, t: t, there: there, c: c, deep: deep, whole: true, files: map[string]int64{},
		seen: map[string]bool{}}
	if err := v.all(ctx); err != nil {
		return 0, err
	}
	held := d.root.Iceberg
	switch {
	case !v.whole:
		leaveMetadata(there)
		return 0, nil
	case held != nil && !held.Begun && held.Number == d.root.Manifest.Number: // else the next delivery makes it up
		return t.version, v.against(ctx)
	}
	return t.version, nil
}

// leaveMetadata takes from a listing what the table may need, where it can't be read whole.
func leaveMetadata(there map[string]listed) {
	maps.DeleteFunc(there, func(key string, _ listed) bool { return strings.HasPrefix(key, "metadata/") })
}

// icebergCheck is a verification of the table under way.
type icebergCheck struct {
	d     *delivery
	t     *icebergTable
	there map[string]listed
	c     *checker
	deep  bool

	whole bool             // all that the table names could be read
	files map[string]int64 // this lake's, of the current snapshot: rows by key
	seen  map[string]bool  // what was looked at, and whether it is there
}

// named takes an object of the table from the listing. length is -1 where the table doesn't say it. What isn't listed
// may have come since, with a version of another lake's.
func (v *icebergCheck) named(ctx context.Context, at string, length int64) (ok bool, err error) {
	key, within := v.t.key(at)
	if ok, seen := v.seen[key]; seen {
		return ok, nil
	}
	defer func() { v.seen[key] = ok }()
	o, ok := v.there[key]
	delete(v.there, key)
	if within && !ok {
		b, err := v.d.download(ctx, key)
		if err != nil && !errors.Is(err, bucket.ErrAbsent) {
			return false, err
		}
		ok, o.size = err == nil, int64(len(b))
	}
	switch {
	case !within || !ok:
		v.c.found(Found{Problem: FoundMissing, Key: key, Detail: "the Iceberg table names it: " + icebergAnew})
		v.whole = false
		return false, nil
	case length >= 0 && o.size != length:
		v.c.found(Found{Problem: FoundSize, Key: key,
			Detail: fmt.Sprintf("it has %d bytes, and the Iceberg table says %d: %s", o.size, length, icebergAnew)})
		v.whole = false
		return false, nil
	}
	return true, nil
}

func (v *icebergCheck) all(ctx context.Context) error {
	m := v.t.meta
	var names []string
	if v.d.t.Catalog == nil {
		names = append(names, v.t.at(versionKey(v.t.version)))
		for _, l := range m.MetadataLog {
			names = append(names, l.File)
		}
	}
	if v.d.t.Catalog != nil { // readers begin there
	} else if v.t.hintAt > 0 {
		names = append(names, v.t.at(hintKey))
	} else {
		v.c.found(Found{Problem: FoundMissing, Key: hintKey, Detail: "readers begin there: the next delivery puts it back"})
		v.d.missed = true
	}
	for _, at := range names {
		if _, err := v.named(ctx, at, -1); err != nil {
			return err
		}
	}
	for _, s := range m.Snapshots {
		ok, err := v.named(ctx, s.List, -1)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		list, err := v.read(ctx, s.List)
		if err != nil {
			return err
		}
		if list == nil {
			continue
		}
		files, err := iceberg.ReadManifestList(bytes.NewReader(list))
		if err != nil {
			return fmt.Errorf("read %s: %w", s.List, err)
		}
		for _, f := range files {
			if ok, err := v.named(ctx, f.FilePath(), f.Length()); err != nil {
				return err
			} else if !ok {
				continue
			}
			if err := v.manifest(ctx, f, s.ID == *m.Current); err != nil {
				return err
			}
		}
	}
	return nil
}

// manifest notes the files of one that is this lake's, and the current snapshot's.
func (v *icebergCheck) manifest(ctx context.Context, f iceberg.ManifestFile, current bool) error {
	key, _ := v.t.key(f.FilePath())
	if _, owner, ok := metadataOwner(key); !ok || owner != v.d.root.Manifest.Lake.ID || !current {
		return nil
	}
	b, err := v.read(ctx, f.FilePath())
	if err != nil || b == nil {
		return err
	}
	entries, err := iceberg.ReadManifest(f, bytes.NewReader(b), true)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.FilePath(), err)
	}
	for _, e := range entries {
		key, _ := v.t.key(e.DataFile().FilePath())
		v.files[key] = e.DataFile().Count()
	}
	return nil
}

// read reads a manifest or a list. With deep it is the bucket's own, which must be what the lake keeps of it; nil says
// that it isn't.
func (v *icebergCheck) read(ctx context.Context, at string) ([]byte, error) {
	b, err := v.d.metadataObject(ctx, v.t, at)
	if err != nil || !v.deep {
		return b, err
	}
	key, _ := v.t.key(at)
	own, err := v.d.download(ctx, key)
	if errors.Is(err, bucket.ErrAbsent) {
		own, err = nil, nil
	}
	if err == nil && !bytes.Equal(own, b) {
		v.c.found(Found{Problem: FoundReplaced, Key: key, Detail: "it isn't what was put there: " + icebergAnew})
		v.whole = false
		return nil, nil
	}
	return own, err
}

// against holds the files of the table against the manifest's.
func (v *icebergCheck) against(ctx context.Context) error {
	for _, g := range v.d.root.Manifest.Groups {
		held, err := v.d.group(ctx, g)
		if err != nil {
			return err
		}
		for _, f := range held.Files {
			if !inTable(f) {
				continue
			}
			if rows, ok := v.files[f.Key]; !ok || rows != rowsOf(f) {
				v.c.found(Found{Problem: FoundMissing, Key: f.Key, Path: f.Path,
					Detail: "the Iceberg table lacks it: " + icebergAnew})
			}
			delete(v.files, f.Key)
		}
	}
	for key := range v.files {
		v.c.found(Found{Problem: FoundStray, Key: key, Detail: "the Iceberg table has it: " + icebergAnew})
	}
	return nil
}

// mendable are the keys of the table's objects that a verification found missing or changed.
func (d *delivery) mendable() []string {
	var keys []string
	for key := range d.opts.Anew {
		if _, _, ours := metadataOwner(key); ours || key == hintKey {
			keys = append(keys, key)
		}
	}
	return keys
}

// putBack puts such objects where they were, as the lake keeps them: manifests and lists, and of a table without a
// catalog its version, if that is gone. Of what the lake doesn't keep a warning tells.
func (d *delivery) putBack(ctx context.Context, held *heldIceberg, keys []string) error {
	for _, key := range keys {
		on := bucket.On{}
		if key == hintKey { // the hint itself is the commit's matter
			if d.t.Catalog != nil || held.Version == 0 {
				continue
			}
			key, on = versionKey(held.Version), bucket.On{Absent: true}
		}
		b, err := d.lake.FS.ReadFile(d.metadataPath(key))
		if err != nil {
			d.opts.Logger.Warn("an object of the Iceberg table can't be put back: the lake doesn't keep it", "target", d.t.Name,
				"key", key)
			continue
		}
		if _, err := d.t.Bucket.Put(ctx, key, bucket.Bytes(b), on); err != nil && !errors.Is(err, bucket.ErrTaken) {
			return err
		}
	}
	return nil
}

// metadataOwner is the manifest that a manifest or manifest list was written for, and the lake that wrote it.
func metadataOwner(key string) (number int64, lake string, ok bool) {
	if m := leafKey.FindStringSubmatch(key); m != nil {
		return mustNumber(m[2]), m[1], true
	}
	if m := listKey.FindStringSubmatch(key); m != nil {
		return mustNumber(m[2]), m[1], true
	}
	return 0, "", false
}

// strayMetadata says of a key in metadata/ that no delivery has such names.
func strayMetadata(key string) bool {
	_, _, ok := metadataOwner(key)
	return strings.HasPrefix(key, "metadata/") && !ok && key != hintKey && !metadataKey.MatchString(key)
}

// overVersion says of a key that it is a version of the table before another one that doesn't name it.
func overVersion(key string, current int64) bool {
	m := metadataKey.FindStringSubmatch(key)
	return m != nil && mustNumber(m[1]) < current
}
