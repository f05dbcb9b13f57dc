package deliver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load/catalog"
)

// A table whose versions a catalog keeps: the same manifests and manifest lists are put below the prefix, and then a
// commit to the catalog makes them the table's, if its branch main is where the delivery read it. The catalog writes
// the metadata itself, below the prefix, too. After any error of a commit the table is loaded: its own property says
// whether it holds the manifest, and if it doesn't, the commit is planned anew on what is there.

// commitRetries is the property by which writers of other makes lay a commit over another one's that came in between.
const commitRetries = "commit.retry.num-retries"

// catalogKey is how catalogs call what they keep of a table below its prefix.
var catalogKey = regexp.MustCompile(`^metadata/[^/]+\.metadata\.json(\.gz)?$`)

// sameKeeper refuses a table that was kept elsewhere and is still there: its readers would go on reading what nobody
// keeps up to date, until its files are gone.
func (d *delivery) sameKeeper(ctx context.Context, held *IcebergState) error {
	if d.t.Catalog == nil {
		if held.Catalog == "" {
			return nil
		}
		for _, err := range d.t.Bucket.List(ctx, "metadata/") {
			if err != nil {
				return err
			}
			return hint(fmt.Errorf("it is %s in the catalog %s, and this delivery names none", held.Name, held.Catalog),
				"deliver by the name of the delivery in the config, where iceberg: has the catalog. If the table is to leave "+
					"the catalog: drop it there (without PURGE), remove the folder metadata, and deliver again")
		}
		return nil
	}
	if held.Catalog == "" {
		switch _, _, there, err := d.readHint(ctx); {
		case err != nil && !errors.Is(err, ErrTable):
			return err
		case err != nil || there:
			return hint(fmt.Errorf("there is a table without a catalog, %s/metadata", d.t.Bucket.URL()),
				"readers of that one would find no later version. When they are told: remove the folder metadata, and deliver "+
					"again, to the catalog; or give the delivery a prefix of its own")
		}
		return nil
	}
	if is, was := d.t.Catalog.Name()+" in "+d.t.Catalog.URI(), held.Name+" in "+held.Catalog; is != was {
		d.opts.Logger.Warn("the Iceberg table has another place in catalogs now: drop the one before, without PURGE",
			"target", d.t.Name, "before", was, "now", is)
	}
	return nil
}

// findInCatalog is the table as its catalog has it. One that isn't there is of version 0.
func (d *delivery) findInCatalog(ctx context.Context) (*icebergTable, error) {
	there, err := d.t.Catalog.Load(ctx)
	if errors.Is(err, catalog.ErrAbsent) {
		meta, err := d.firstIceberg()
		return &icebergTable{meta: meta}, err
	}
	if err != nil {
		return nil, err
	}
	return d.inCatalog(there)
}

// inCatalog refuses a table that no delivery made. Members that deliveries don't know are the catalog's matter: it
// writes the metadata.
func (d *delivery) inCatalog(metadata json.RawMessage) (*icebergTable, error) {
	var m icebergMetadata
	if err := json.Unmarshal(metadata, &m); err != nil {
		return nil, d.foreign(0, err.Error())
	}
	if m.Current != nil && *m.Current < 0 { // how some write that there is none
		m.Current = nil
	}
	m.Location = strings.TrimRight(m.Location, "/")
	slices.SortStableFunc(m.Snapshots, func(a, b icebergSnapshot) int { return cmp.Compare(a.Sequence, b.Sequence) })
	t := &icebergTable{version: m.LastSequence + 1, meta: &m}
	if here := tableLocation(d.t.Bucket.URL()); m.Location != here {
		return nil, hint(fmt.Errorf("the catalog has the table at %s, and the delivery is to %s", m.Location, here),
			"files are registered where they lie, so a table must be where its delivery is. If the delivery just made it: drop "+
				"it, let the catalog take that location (of the warehouse, the namespace or the storage that it may use), and "+
				"deliver again. A catalog that gives every table a location of its own, as S3 Tables does, can't keep it")
	}
	if err := d.checkIceberg(&m, t.version); err != nil {
		return nil, err
	}
	if n := m.Properties[commitRetries]; n != "" && n != "0" {
		return nil, hint(fmt.Errorf("%w: its property %s is %s", ErrTable, commitRetries, n), "set it to 0: two writers "+
			"that lay their commits over one another's count a day twice")
	}
	for name := range m.Refs {
		if name != mainRef {
			return nil, hint(fmt.Errorf("%w: it has the branch or tag %s", ErrTable, name), "drop it: the files that it "+
				"holds are deleted when they have been replaced for %s; keep says how long that is", d.t.Keep)
		}
	}
	for _, s := range m.Snapshots {
		if s.Summary[sumLake] == "" {
			return nil, d.foreign(t.version, fmt.Sprintf("no delivery wrote its snapshot %d", s.ID))
		}
	}
	return t, nil
}

// createInCatalog makes the table, without a file yet: the catalog numbers columns and partition fields.
func (d *delivery) createInCatalog(ctx context.Context, t *icebergTable) (*icebergTable, error) {
	if s := d.icebergNow(); s.Catalog != "" && s.Version > 0 {
		d.opts.Logger.Warn("the Iceberg table is gone from its catalog: it is made anew", "target", d.t.Name,
			"table", d.t.Catalog.Name(), "catalog", d.t.Catalog.URI())
	}
	m := t.meta
	properties := map[string]string{"format-version": "2", commitRetries: "0"}
	for name, value := range m.Properties {
		properties[name] = value
	}
	made, err := d.t.Catalog.Create(ctx, map[string]any{"location": m.Location, "schema": m.schema(),
		"partition-spec": m.Specs[0], "properties": properties, "stage-create": false})
	switch {
	case errors.Is(err, catalog.ErrTaken), errors.Is(err, catalog.ErrUnsure):
		out, lost := d.findInCatalog(ctx)
		if lost != nil {
			return nil, lost
		}
		if out.version == 0 { // it wasn't done
			return nil, err
		}
		return out.without(t), nil
	case err != nil:
		return nil, err
	}
	out, err := d.inCatalog(made)
	if err != nil {
		return nil, err
	}
	return out.without(t), nil
}

// Of commits without an answer: how many are waited for, and how long, at first and at the most.
const (
	unsureCommits = 5
	pauseAfter    = 100 * time.Millisecond
	pauseMost     = 5 * time.Second
)

// commitInCatalog makes next of the table, if nobody else has committed meanwhile. Else the table is what is there now.
func (d *delivery) commitInCatalog(ctx context.Context, t *icebergTable, next *icebergMetadata) (*icebergTable,
	error) {
	requirements, updates := changesOf(t.meta, next)
	done, err := d.t.Catalog.Commit(ctx, requirements, updates)
	if err == nil {
		out, err := d.inCatalog(done)
		if err != nil {
			return nil, err
		}
		return out.after(t, next), nil
	}
	if errors.Is(err, catalog.ErrUnsure) {
		t.unsure++
		if !waited(ctx, rand.N(min(pauseAfter<<t.unsure, pauseMost))) {
			return nil, err
		}
	}
	out, lost := d.findInCatalog(ctx)
	if lost != nil {
		return nil, errors.Join(err, lost)
	}
	out.unsure = t.unsure
	if next.Current != nil && slices.ContainsFunc(out.meta.Snapshots, func(s icebergSnapshot) bool {
		return s.ID == *next.Current && s.List == next.snapshot().List
	}) { // it was done
		return out.after(t, next), nil
	}
	again := errors.Is(err, catalog.ErrTaken) || errors.Is(err, catalog.ErrAbsent) || errors.Is(err, catalog.ErrUnsure)
	if !again || t.unsure == unsureCommits {
		return nil, err
	}
	return out.without(t), nil
}

// after is the table where a commit of next to it was done. A catalog may keep snapshots that it was told to drop: then
// what they have stays.
func (t *icebergTable) after(was *icebergTable, next *icebergMetadata) *icebergTable {
	t.put, t.wasted, t.drop = was.put, was.wasted, was.drop
	for _, s := range was.meta.Snapshots {
		is := func(o icebergSnapshot) bool { return o.ID == s.ID }
		if !slices.ContainsFunc(next.Snapshots, is) && slices.ContainsFunc(t.meta.Snapshots, is) {
			t.drop = nil
		}
	}
	return t
}

// waited is false if the context ended meanwhile.
func waited(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// changesOf are what a commit requires of a table and what it makes of it, as the protocol has them.
func changesOf(was, next *icebergMetadata) (requirements, updates []any) {
	type object = map[string]any
	requirements = []any{
		object{"type": "assert-table-uuid", "uuid": was.UUID},
		object{"type": "assert-ref-snapshot-id", "ref": mainRef, "snapshot-id": was.Current},
		object{"type": "assert-current-schema-id", "current-schema-id": was.SchemaID},
	}
	if next.SchemaID != was.SchemaID {
		updates = append(updates, object{"action": "add-schema", "schema": next.schema(), "last-column-id": next.LastColumn},
			object{"action": "set-current-schema", "schema-id": -1}) // the one that was added
	}
	set := map[string]string{}
	for name, value := range next.Properties {
		if was.Properties[name] != value {
			set[name] = value
		}
	}
	if len(set) > 0 {
		updates = append(updates, object{"action": "set-properties", "updates": set})
	}
	if s := next.snapshot(); s != nil && (was.Current == nil || *was.Current != s.ID) {
		updates = append(updates, object{"action": "add-snapshot", "snapshot": s}, object{"action": "set-snapshot-ref",
			"ref-name": mainRef, "type": "branch", "snapshot-id": s.ID})
	}
	var over []int64
	for _, s := range was.Snapshots {
		if !slices.ContainsFunc(next.Snapshots, func(n icebergSnapshot) bool { return n.ID == s.ID }) {
			over = append(over, s.ID)
		}
	}
	if len(over) > 0 {
		updates = append(updates, object{"action": "remove-snapshots", "snapshot-ids": over})
	}
	return requirements, updates
}
