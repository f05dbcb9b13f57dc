package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/catalog"
)

// DefaultKeep is how long what was replaced stays for readers that hold an older manifest.
const DefaultKeep = 7 * 24 * time.Hour

// Target is where a lake is delivered to, and what of it.
type Target struct {
	Name   string        // what the lake calls it: NamePattern
	Bucket bucket.Bucket // below a prefix of its own
	Place  string        // the bucket's URL and endpoint; "" if the URL says it all
	What   []string      // nil: DefaultWhat
	Delta  bool          // a Delta log over the day files
	Keep   time.Duration // 0: DefaultKeep

	Iceberg bool             // an Iceberg table over the day files
	Catalog *catalog.Catalog // that keeps the Iceberg table; nil: it is in the layout of Hadoop's
	// As is the lake's name where several lakes deliver below one prefix: its manifest is lakes/AS/manifest.json then.
	As    string
	Extra []Extra // finance: the tables of the published file
}

// NamePattern is what targets and lakes may be called.
var NamePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Options of a delivery. Now is needed.
type Options struct {
	Now     func() time.Time
	Version string // of the program
	Logger  *slog.Logger
	// Watch is told how far a delivery is, from several goroutines.
	Watch func(Progress)
	// Adopt makes the lake take the identity of what is delivered there.
	Adopt bool
	// Anew are objects that are delivered anew, under other names: those that a verification found missing or replaced.
	Anew map[string]bool
	// Drop is what is given up by name where the lake lacks it, though nothing of the lake says so.
	Drop []Drop
}

// Progress is how far a delivery, a restore or a verification is.
type Progress struct {
	Doing       string // "look at the lake", "deliver", "swap", "table", "verify", "restore"
	Files, All  int64
	Bytes, Size int64
}

// Report is what a delivery did.
type Report struct {
	Name    string    `json:"name"`
	URL     string    `json:"url"`
	Error   string    `json:"error,omitempty"` // why it failed, or failed in part, for a document; whoever calls sets it
	Number  int64     `json:"number"`          // of the manifest that is there now
	Changed bool      `json:"changed"`
	EndedAt time.Time `json:"ended_at"`
	Elapsed float64   `json:"elapsed_seconds"`
	// Requests to the store; a listing counts as one.
	Requests int64 `json:"requests"`
	// CatalogRequests are those to the catalog that keeps the Iceberg table.
	CatalogRequests int64 `json:"catalog_requests,omitempty"`

	Files int64 `json:"files"` // that the manifest lists
	Bytes int64 `json:"bytes"`
	Rows  int64 `json:"rows"`

	Sent      int64    `json:"sent"` // files that were uploaded
	SentBytes int64    `json:"sent_bytes"`
	Retired   int64    `json:"retired"`
	Dropped   int64    `json:"dropped,omitempty"` // of those, files that were given up by name
	Deleted   int64    `json:"deleted"`           // objects whose time was over
	Lost      []string `json:"lost,omitempty"`
	Damaged   []string `json:"damaged,omitempty"` // files that can't be read: what was delivered of them stays
	Delta     *int64   `json:"delta_version,omitempty"`
	Iceberg   *int64   `json:"iceberg_version,omitempty"`
	// IcebergTable is the table's name and its catalog, if one keeps it.
	IcebergTable string `json:"iceberg_table,omitempty"`
}

// tries bounds how often a delivery begins anew since another one came in between.
const tries = 20

// Errors of a delivery.
var (
	ErrOtherLake = errors.New("another lake is delivered there")
	ErrOlder     = errors.New("the lake is an older copy of the one that was delivered there")
	ErrForeign   = errors.New("there is something else")
	ErrNothing   = errors.New("nothing is delivered there")
)

// hint adds to an error what to do next.
func hint(err error, format string, args ...any) error {
	return fmt.Errorf("%w\nhint: %s", err, fmt.Sprintf(format, args...))
}

// Deliver makes what is there what the lake is. Nothing of the lake is changed but what it remembers of its
// deliveries. What it came to is remembered, too (Last). The error names the target.
func Deliver(ctx context.Context, lake *load.Lake, t Target, opts Options) (*Report, error) {
	started := opts.Now()
	d, unlock, err := begin(ctx, lake, t, opts, false)
	if err != nil {
		return nil, err
	}
	defer unlock()
	asked := &counted{Bucket: t.Bucket}
	d.t.Bucket = asked
	err = d.deliver(ctx)
	d.report.Requests = asked.n.Load()
	if d.t.Catalog != nil {
		d.report.CatalogRequests = d.t.Catalog.Requests()
	}
	d.report.EndedAt = opts.Now().UTC()
	d.report.Elapsed = d.report.EndedAt.Sub(started).Seconds()
	if err != nil {
		err = fmt.Errorf("deliver to %s (%s): %w", t.Name, t.Bucket.URL(), err)
	}
	if context.Cause(ctx) != nil { // it was told to stop: that is no failure to tell of
		return d.report, err
	}
	return d.report, errors.Join(err, d.recalled.remember(d.report, err))
}

// delivery is one delivery under way.
type delivery struct {
	recalled
	t       Target
	opts    Options
	what    []string
	id      self
	root    *root // the manifest that it is built on; nil of the first
	claimed map[string]bool
	there   map[string]bool // of a first delivery, the objects that are there already
	start   int64           // of a first delivery: the number that it is built on
	missed  bool            // a verification misses the Iceberg table, or its hint
	report  *Report
}

// begin prepares a delivery, and excludes others of this lake. One that only looks takes no lock, and nothing of the
// lake is written.
func begin(ctx context.Context, lake *load.Lake, t Target, opts Options, looks bool) (*delivery, func(), error) {
	if !NamePattern.MatchString(t.Name) {
		return nil, nil, fmt.Errorf("%q is no name of a delivery: small letters, digits and -", t.Name)
	}
	what := slices.Sorted(slices.Values(t.What))
	if len(what) == 0 {
		what = DefaultWhat()
	}
	if err := CheckWhat(what); err != nil {
		return nil, nil, err
	}
	if t.Keep == 0 {
		t.Keep = DefaultKeep
	}
	if lake.Format() < load.Format {
		return nil, nil, hint(fmt.Errorf("the lake %s has format %d, from before version 3", lake.Dir(), lake.Format()),
			"any run that writes makes it one of format %d: usagelake export", load.Format)
	}
	unlock := func() error { return nil }
	if !looks {
		var err error
		if unlock, err = lake.LockState(ctx, lockName); err != nil {
			return nil, nil, err
		}
	}
	d := &delivery{recalled: recalled{lake, t.Name, looks}, t: t, opts: opts, what: what, claimed: map[string]bool{},
		report: &Report{Name: t.Name, URL: t.Bucket.URL()}}
	if opts.Logger == nil {
		d.opts.Logger = slog.New(slog.DiscardHandler)
	}
	var err error
	if d.id, err = whoAmI(lake); err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	return d, func() { _ = unlock() }, nil
}

func (d *delivery) watch(p Progress) {
	if d.opts.Watch != nil {
		d.opts.Watch(p)
	}
}

func (d *delivery) deliver(ctx context.Context) error {
	if err := d.recall(ctx); err != nil {
		return err
	}
	// Two deliveries of one lake exclude each other; what comes in between is another copy of it, or what another
	// program made of the store. Each round is built on what is there by then.
	for range tries {
		next, err := d.build(ctx)
		if err != nil {
			return err
		}
		if next == nil {
			same, err := d.confirm(ctx)
			if err != nil {
				return err
			}
			if !same {
				continue
			}
			return d.finish(ctx)
		}
		won, err := d.swap(ctx, next)
		if err != nil {
			return err
		}
		if won {
			d.report.Changed = true
			return d.finish(ctx)
		}
		if d.root != nil { // else the prefix was emptied, and that is said
			d.opts.Logger.Info("another delivery came in between: it is built on that one now", "target", d.t.Name,
				"number", d.root.Manifest.Number)
		}
	}
	return hint(errors.New("others deliver there all the time"),
		"one lake, one deliverer: is another copy of this lake running?")
}

// finish makes the tables what the manifest is, and says what is there.
func (d *delivery) finish(ctx context.Context) error {
	m := &d.root.Manifest
	d.report.Number, d.report.Files, d.report.Bytes, d.report.Rows = m.Number, m.Count, m.Bytes, m.Rows
	if err := d.tables(ctx); err != nil {
		return err
	}
	if len(d.report.Lost) > 0 {
		d.opts.Logger.Warn("the lake lacks files that nobody removed; what is delivered of them stays", "target", d.t.Name,
			"files", len(d.report.Lost), "first", d.report.Lost[0])
	}
	if n := len(d.report.Damaged); n > 0 {
		return hint(fmt.Errorf("%d files of the lake can't be read, and stay as they were delivered before; the first: %s", n,
			d.report.Damaged[0]), "usagelake verify --repair; the rest is delivered")
	}
	return nil
}

// tables makes the tables what the manifest is. A table that is there is kept up to date, asked for or not: its readers
// rely on it. One that fails doesn't keep the other.
func (d *delivery) tables(ctx context.Context) error {
	var errs []error
	if d.deltaNow() != nil {
		if err := d.delta(ctx); err != nil {
			errs = append(errs, fmt.Errorf("the files are delivered, their Delta log isn't: %w", err))
		} else {
			d.report.Delta = &d.root.Delta.Version
		}
	}
	if d.icebergNow() != nil {
		if err := d.iceberg(ctx); err != nil {
			errs = append(errs, fmt.Errorf("the files are delivered, their Iceberg table isn't: %w", err))
		} else {
			d.report.Iceberg = &d.root.Iceberg.Version
			if s := d.root.Iceberg; s.Catalog != "" {
				d.report.IcebergTable = s.Name + " in " + s.Catalog
			}
		}
	}
	return errors.Join(errs...)
}

// place is where the manifest is, apart from all others that have the same URL at another endpoint.
func (d *delivery) place() string {
	return cmp.Or(d.t.Place, d.t.Bucket.URL()) + "/" + d.manifestKey()
}

func (d *delivery) manifestKey() string { return manifestKey(d.t.As) }

func manifestKey(as string) string {
	if as == "" {
		return ManifestKey
	}
	return "lakes/" + as + "/" + ManifestKey
}

// recall finds the manifest to build on: the one that the lake remembers, or else the one that is there. The former
// saves a request, and is found out at the swap if it isn't the last.
func (d *delivery) recall(ctx context.Context) error {
	var held root
	ok, err := d.read(d.path("root.json"), &held)
	if err != nil {
		return err
	}
	if ok && held.URL == d.place() && held.Manifest.check() == nil &&
		d.id.knows(&held.Manifest, d.t.Name, d.place()) {
		d.root = &held
		return nil
	}
	remote, err := fetchRoot(ctx, d.t.Bucket, d.manifestKey())
	if errors.Is(err, bucket.ErrAbsent) {
		return d.first(ctx)
	}
	if err != nil {
		return err
	}
	return d.adopt(ctx, remote)
}

// first prepares for a first delivery: the store must be able to do what it takes, and the prefix be empty.
func (d *delivery) first(ctx context.Context) error {
	if d.id.ID == "" {
		d.id.ID = randomID()
		if err := d.writeSelf(); err != nil {
			return err
		}
	}
	if err := d.survey(ctx); err != nil {
		return err
	}
	if err := bucket.Probe(ctx, d.t.Bucket); err != nil {
		return err
	}
	d.root = nil
	return nil
}

// survey looks at what is below the prefix where no manifest is: a first delivery takes one that is empty, or was.
func (d *delivery) survey(ctx context.Context) error {
	d.start = 0
	d.claimed, d.there = map[string]bool{}, map[string]bool{}
	for o, err := range d.t.Bucket.List(ctx, "") {
		if err != nil {
			return err
		}
		d.there[o.Key] = true
		// Where a manifest was, its numbers are used: those of this one come after.
		if number, _, ok := numberOf(o.Key); ok && number > 0 {
			d.start = max(d.start, number+1)
		}
		if !known(o.Key) {
			return hint(fmt.Errorf("%w: %s has an object %s, and no manifest", ErrForeign, d.t.Bucket.URL(), o.Key),
				"give the delivery a prefix of its own, such as %s/usagelake", d.t.Bucket.URL())
		}
	}
	return nil
}

// known says whether a key can be a delivery's.
func known(key string) bool {
	_, _, ok := numberOf(key)
	top, _, _ := strings.Cut(key, "/")
	if ok || strings.HasPrefix(key, bucket.ProbePrefix) {
		return true
	}
	return slices.Contains([]string{ManifestKey, "lakes", "claims", "_delta_log", "metadata"}, top)
}

// fetchRoot reads the manifest that is there.
func fetchRoot(ctx context.Context, b bucket.Bucket, key string) (*root, error) {
	r := &root{URL: b.URL() + "/" + key}
	o, err := get(ctx, b, key, &r.Manifest)
	if err != nil {
		return nil, err
	}
	if err := r.Manifest.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", r.URL, err)
	}
	r.Tag = o.Tag
	return r, nil
}

// get reads a JSON object.
func get(ctx context.Context, b bucket.Bucket, key string, v any) (bucket.Object, error) {
	body, o, err := b.Get(ctx, key)
	if err != nil {
		return o, err
	}
	err = unpack(body, v)
	if err = errors.Join(err, body.Close()); err != nil {
		return o, fmt.Errorf("read %s/%s: %w", b.URL(), key, err)
	}
	return o, nil
}

// adopt takes a manifest that is there as the one to build on: if it is this lake's, and no later one than it knows.
func (d *delivery) adopt(ctx context.Context, remote *root) error {
	remote.URL = d.place()
	there := remote.Manifest.Lake
	switch {
	case d.opts.Adopt:
		if !d.id.knows(&remote.Manifest, d.t.Name, d.place()) {
			d.id = self{Identity: there, Base: there.Generation}
			if err := d.writeSelf(); err != nil {
				return err
			}
		}
	case d.id.ID == "":
		return hint(fmt.Errorf("%w (lake %s, manifest %d of %s), and this lake was never delivered", ErrOtherLake, there.ID,
			remote.Manifest.Number, remote.Manifest.WrittenAt.Format(time.RFC3339)),
			"a prefix of its own for this lake; with `as: NAME` its accounts beside the other's; or, if it is the same lake "+
				"and lost its folder %s: usagelake deliver --adopt", Dir)
	case d.id.ID != there.ID:
		return hint(fmt.Errorf("%w: lake %s, and this one is %s", ErrOtherLake, there.ID, d.id.ID),
			"give this lake a prefix of its own, or `as: NAME` to deliver its accounts beside the other's")
	case !d.id.knows(&remote.Manifest, d.t.Name, d.place()):
		return hint(fmt.Errorf("%w: generation %d is there, and this one knows %d", ErrOlder, there.Generation,
			d.id.Generation),
			"is this a restored backup or a copy, and the other one still runs? Deliver from that one. If this one is to go on "+
				"in its place: usagelake deliver --adopt")
	}
	if err := d.seen(&remote.Manifest); err != nil {
		return err
	}
	// Which version of a table holds which manifest stays true.
	var was root
	if ok, err := d.read(d.path("root.json"), &was); err != nil {
		return err
	} else if ok && was.URL == remote.URL && was.Manifest.Series == remote.Manifest.Series {
		remote.Delta, remote.Iceberg = was.Delta, was.Iceberg
	}
	d.root = remote
	if d.looks {
		return nil
	}
	if err := d.heal(ctx); err != nil {
		return err
	}
	return d.write(d.path("root.json"), d.root)
}

// heal makes what the lake remembers of each group what the manifest has.
func (d *delivery) heal(ctx context.Context) error {
	for _, g := range d.root.Manifest.Groups {
		if _, err := d.group(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// group is the files of a group of the manifest, as the lake remembers them, or else from the bucket.
func (d *delivery) group(ctx context.Context, g Group) (heldGroup, error) {
	var held heldGroup
	at := d.groupPath(g.Account, g.Month)
	if ok, err := d.read(at, &held); err != nil {
		return held, err
	} else if ok && held.Digest == g.Digest && digestOf(held.Files) == g.Digest {
		return held, nil
	}
	files, err := filesOf(ctx, d.t.Bucket, g)
	if err != nil {
		return held, err
	}
	held = heldGroup{Digest: g.Digest, Files: files}
	return held, d.write(at, held)
}

// filesOf reads the files of a group from the bucket, if the manifest doesn't hold them.
func filesOf(ctx context.Context, b bucket.Bucket, g Group) ([]File, error) {
	if g.Key != "" {
		if _, err := get(ctx, b, g.Key, &g.Files); err != nil {
			return nil, err
		}
		if err := g.check(); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", b.URL(), g.Key, err)
		}
	}
	return g.Files, nil
}

// confirm asks whether the manifest that the delivery is built on is still the one that is there. If not, it is built
// on that one.
func (d *delivery) confirm(ctx context.Context) (bool, error) {
	remote, err := fetchRoot(ctx, d.t.Bucket, d.manifestKey())
	if errors.Is(err, bucket.ErrAbsent) {
		return false, d.vanished(ctx)
	}
	if err != nil {
		return false, err
	}
	if remote.Manifest.Commit == d.root.Manifest.Commit {
		return true, nil
	}
	return false, d.adopt(ctx, remote)
}

// vanished begins anew where the manifest is gone: somebody emptied the prefix.
func (d *delivery) vanished(ctx context.Context) error {
	d.opts.Logger.Warn("the manifest is gone: everything is delivered anew", "target", d.t.Name, "url", d.t.Bucket.URL())
	if err := d.lake.FS.RemoveAll(d.path("groups")); err != nil {
		return err
	}
	if err := d.lake.FS.RemoveAll(d.path("root.json")); err != nil {
		return err
	}
	return d.first(ctx)
}

// swap puts the manifest in place of the one that the delivery is built on. won is false if another one was there, and
// the delivery is built on that one now.
func (d *delivery) swap(ctx context.Context, m *Manifest) (won bool, err error) {
	d.watch(Progress{Doing: "swap"})
	// The lake knows its commit before it is there: one that is killed in between knows it again.
	m.Lake = Identity{d.id.ID, d.id.Generation + 1}
	if d.id.Pending == nil {
		d.id.Pending = map[string][]string{}
	}
	d.id.Pending[d.t.Name] = append(d.id.Pending[d.t.Name], m.Commit)
	if err := d.writeSelf(); err != nil {
		return false, err
	}
	b, err := packed(m)
	if err != nil {
		return false, err
	}
	body := bucket.Bytes(b)
	body.Type = "application/json"
	on := bucket.On{Absent: true}
	next := &root{URL: d.place(), Manifest: *m}
	if d.root != nil {
		on = bucket.On{Match: d.root.Tag}
		next.Delta, next.Iceberg = d.root.Delta, d.root.Iceberg
	}
	for try := 1; ; try++ {
		tag, err := d.t.Bucket.Put(ctx, d.manifestKey(), body, on)
		if err == nil {
			next.Tag = tag
			break
		}
		if !errors.Is(err, bucket.ErrTaken) && !errors.Is(err, bucket.ErrUnsure) {
			return false, err
		}
		// Whose is it that is there? A client that asked again after a lost answer is told that its own write is in the way.
		remote, lost := fetchRoot(ctx, d.t.Bucket, d.manifestKey())
		switch {
		case errors.Is(lost, bucket.ErrAbsent) && d.root == nil && try < tries: // it wasn't done
			continue
		case errors.Is(lost, bucket.ErrAbsent):
			return false, d.vanished(ctx)
		case lost != nil:
			return false, errors.Join(err, lost)
		case remote.Manifest.Commit == m.Commit:
			next.Tag = remote.Tag
		case d.root != nil && remote.Manifest.Commit == d.root.Manifest.Commit && try < tries: // it wasn't done
			on = bucket.On{Match: remote.Tag}
			continue
		default:
			return false, d.adopt(ctx, remote)
		}
		break
	}
	d.root = next
	if err := d.seen(m); err != nil {
		return true, err
	}
	if err := d.write(d.path("root.json"), d.root); err != nil {
		return true, err
	}
	return true, d.lake.FS.RemoveAll(d.path("sent.jsonl"))
}

// seen counts a manifest of this lake that is there.
func (d *delivery) seen(m *Manifest) error {
	d.id.Generation = max(d.id.Generation, m.Lake.Generation)
	delete(d.id.Pending, d.t.Name)
	if d.id.Seen == nil {
		d.id.Seen = map[string]int64{}
	}
	d.id.Seen[d.place()] = max(d.id.Seen[d.place()], m.Lake.Generation)
	return d.writeSelf()
}

// claim is claims/ACCOUNT.json.
type claim struct {
	Format int    `json:"format"`
	Lake   string `json:"lake"`
	As     string `json:"as,omitempty"`
}

// claim makes an account this lake's below the prefix.
func (d *delivery) claim(ctx context.Context, account string) error {
	if d.claimed[account] {
		return nil
	}
	key := "claims/" + account + ".json"
	b, err := packed(claim{1, d.id.ID, d.t.As})
	if err != nil {
		return err
	}
	_, err = d.t.Bucket.Put(ctx, key, bucket.Bytes(b), bucket.On{Absent: true})
	if err != nil {
		if !errors.Is(err, bucket.ErrTaken) && !errors.Is(err, bucket.ErrUnsure) {
			return err
		}
		var there claim
		if _, err := get(ctx, d.t.Bucket, key, &there); err != nil {
			return err
		}
		if there.Lake == d.id.ID && there.As != d.t.As {
			return hint(fmt.Errorf("account %s: this lake delivers it there%s already", account, parenthesis(there.As)),
				"below one prefix a lake delivers once, under one name (as): deliver under that name, or to another prefix")
		}
		if there.Lake != d.id.ID {
			return hint(fmt.Errorf("account %s: %w: lake %s%s has claimed it", account, ErrOtherLake, there.Lake,
				parenthesis(there.As)),
				"an account is one lake's. If that lake is gone, remove the object %s/%s; else leave the account out of one "+
					"of them", d.t.Bucket.URL(), key)
		}
	}
	d.claimed[account] = true
	return nil
}

func parenthesis(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}
