package deliver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/schemas"
)

// Problems of what is delivered.
const (
	FoundMissing  = "missing"  // the manifest lists an object that isn't there
	FoundSize     = "size"     // it has another size
	FoundReplaced = "replaced" // it has another content
	FoundStray    = "stray"    // an object that no delivery made
)

// Found is a problem of what is delivered.
type Found struct {
	Problem string `json:"problem"`
	Key     string `json:"key"`
	Path    string `json:"path,omitempty"` // of the lake's file
	Detail  string `json:"detail"`
}

// Verified is what a verification saw.
type Verified struct {
	Name    string  `json:"name"`
	URL     string  `json:"url"`
	Number  int64   `json:"number"` // of the manifest
	Files   int64   `json:"files"`  // that it lists
	Bytes   int64   `json:"bytes"`
	Objects int64   `json:"objects"` // that are there
	Read    int64   `json:"read"`    // objects whose content was read
	Swept   int64   `json:"swept"`   // objects that no manifest can list, removed
	Found   []Found `json:"found"`
}

// Verify holds what is there against the manifest: each object is there, of its size and in the state that it was put
// in; with deep, its content has its digest. What deliveries left that were broken off is removed; another lake's
// objects are left alone. It changes nothing else, takes no lock, and does for a lake that can only be read: a delivery
// beside it puts objects of numbers that no verification removes, and deletes none that its manifest lists.
func Verify(ctx context.Context, lake *load.Lake, t Target, opts Options, deep bool) (*Verified, error) {
	d, _, err := begin(ctx, lake, t, opts, true)
	if err != nil {
		return nil, err
	}
	out := &Verified{Name: t.Name, URL: t.Bucket.URL(), Found: []Found{}}
	if err := d.verify(ctx, out, deep); err != nil {
		return out, fmt.Errorf("verify %s (%s): %w", t.Name, t.Bucket.URL(), err)
	}
	if d.missed {
		d.lookAgain(ctx)
	}
	return out, nil
}

// lookAgain makes the next delivery look for the Iceberg table, though nothing changed: this is all that a verification
// writes, and where it can't, it says so.
func (d *delivery) lookAgain(ctx context.Context) {
	err := func() error {
		unlock, err := d.lake.LockState(ctx, lockName)
		if err != nil {
			return err
		}
		defer func() { _ = unlock() }()
		var held root
		at := d.path("root.json")
		if ok, err := d.read(at, &held); err != nil || !ok || held.Iceberg == nil { // it looks anyway
			return err
		}
		held.Iceberg.Begun = true
		return recalled{lake: d.lake, name: d.name}.write(at, held)
	}()
	if err != nil {
		d.opts.Logger.Warn("the next delivery won't look for the Iceberg table: verify where the lake can be written",
			"target", d.t.Name, "error", err)
	}
}

// listed is an object of the listing that nothing has named yet.
type listed struct {
	size     int64
	tag      bucket.Tag
	modified time.Time
	named    bool // by the manifest: two paths may share an object
}

func (d *delivery) verify(ctx context.Context, out *Verified, deep bool) error {
	remote, err := fetchRoot(ctx, d.t.Bucket, d.manifestKey())
	if errors.Is(err, bucket.ErrAbsent) {
		return hint(ErrNothing, "usagelake deliver")
	}
	if err != nil {
		return err
	}
	if err := d.adopt(ctx, remote); err != nil {
		return err
	}
	m := &d.root.Manifest
	out.Number, out.Files, out.Bytes = m.Number, m.Count, m.Bytes
	// Stores list in orders of their own, so the listing is taken whole.
	there := map[string]listed{}
	for o, err := range d.t.Bucket.List(ctx, "") {
		if err != nil {
			return err
		}
		there[o.Key] = listed{size: o.Size, tag: o.Tag, modified: o.Modified}
		out.Objects++
	}
	c := &checker{d: d, out: out, all: m.Count}
	work, workCtx := errgroup.WithContext(ctx)
	work.SetLimit(uploads)
	for _, g := range m.Groups {
		if g.Key != "" {
			if _, ok := there[g.Key]; !ok {
				c.found(Found{Problem: FoundMissing, Key: g.Key, Detail: "the files of " + g.name() + " stand there"})
			}
			delete(there, g.Key)
			if deep {
				if _, err := filesOf(ctx, d.t.Bucket, g); err != nil {
					c.found(Found{Problem: FoundReplaced, Key: g.Key, Detail: err.Error()})
				}
			}
		}
		held, err := d.group(ctx, g)
		if err != nil {
			return errors.Join(err, work.Wait())
		}
		for _, f := range held.Files {
			o, ok := there[f.Key]
			if ok && !o.named {
				o.named = true
				there[f.Key] = o
			}
			switch {
			case !ok:
				c.found(Found{Problem: FoundMissing, Key: f.Key, Path: f.Path, Detail: "it isn't there"})
			case o.size != f.Bytes:
				c.found(Found{Problem: FoundSize, Key: f.Key, Path: f.Path,
					Detail: fmt.Sprintf("it has %d bytes, and was delivered with %d", o.size, f.Bytes)})
			case deep || f.Tag != "" && string(o.tag) != f.Tag:
				// Another tag may be that of the same content, in a copy of the bucket.
				work.Go(func() (err error) {
					defer schemas.Guard(&err)
					return c.read(workCtx, f)
				})
				continue
			}
			c.passed()
		}
	}
	if err := work.Wait(); err != nil {
		return err
	}
	maps.DeleteFunc(there, func(_ string, o listed) bool { return o.named })
	for _, r := range m.Retired {
		delete(there, r.Key)
	}
	table, err := d.verifyIceberg(ctx, there, c, deep)
	if err != nil {
		return err
	}
	if err := d.sweep(ctx, there, table, out, c); err != nil {
		return err
	}
	slices.SortFunc(out.Found, func(a, b Found) int { return strings.Compare(a.Key, b.Key) })
	return nil
}

// probeAge is when an object of bucket.Probe is nobody's any more: another lake may be trying out the store.
const probeAge = 24 * time.Hour

// sweep removes what deliveries of this lake left that were broken off, of what neither the manifest nor the version
// table of the Iceberg table names.
func (d *delivery) sweep(ctx context.Context, there map[string]listed, table int64, out *Verified,
	c *checker) error {
	m := &d.root.Manifest
	whose := map[string]bool{}
	for key, o := range there {
		number, owner, ok := numberOf(key)
		if !ok {
			number, owner, ok = metadataOwner(key)
		}
		switch {
		case strings.HasPrefix(key, bucket.ProbePrefix) && d.opts.Now().Sub(o.modified) < probeAge:
		case !ok && !known(key), strayMetadata(key):
			c.found(Found{Problem: FoundStray, Key: key, Detail: "no delivery made it"})
		case strings.HasPrefix(key, bucket.ProbePrefix), overVersion(key, table),
			ok && number < m.Number && (owner == m.Lake.ID || slices.Contains(m.Accounts, owner)):
			if ok {
				mine, asked := whose[owner]
				if !asked {
					var err error
					if mine, err = d.owns(ctx, owner); err != nil {
						return err
					}
					whose[owner] = mine
				}
				if !mine {
					continue
				}
			}
			if err := d.t.Bucket.Delete(ctx, key); err != nil {
				return err
			}
			out.Swept++
		}
	}
	return nil
}

// checker reads objects side by side.
type checker struct {
	d   *delivery
	all int64

	mu  sync.Mutex
	out *Verified
	n   int64
}

func (c *checker) found(f Found) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Found = append(c.out.Found, f)
}

func (c *checker) passed() {
	c.mu.Lock()
	c.n++
	n := c.n
	c.mu.Unlock()
	c.d.watch(Progress{Doing: "verify", Files: n, All: c.all})
}

func (c *checker) read(ctx context.Context, f File) error {
	defer c.passed()
	body, _, err := c.d.t.Bucket.Get(ctx, f.Key)
	if errors.Is(err, bucket.ErrAbsent) {
		c.found(Found{Problem: FoundMissing, Key: f.Key, Path: f.Path, Detail: "it isn't there any more"})
		return nil
	}
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, body)
	if err = errors.Join(err, body.Close()); err != nil {
		return err
	}
	c.mu.Lock()
	c.out.Read++
	c.mu.Unlock()
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		c.found(Found{Problem: FoundReplaced, Key: f.Key, Path: f.Path,
			Detail: fmt.Sprintf("its SHA-256 is %s, and was delivered as %s", got, f.SHA256)})
	}
	return nil
}

// owns asks the store whether what has an owner is this delivery's now: an account may have been given to another lake.
func (d *delivery) owns(ctx context.Context, owner string) (bool, error) {
	name := owner
	if owner == d.id.ID {
		name = "_" + owner
	}
	var there claim
	_, err := get(ctx, d.t.Bucket, "claims/"+name+".json", &there)
	if errors.Is(err, bucket.ErrAbsent) {
		return owner == d.id.ID, nil
	}
	return there.Lake == d.id.ID && there.As == d.t.As, err
}
