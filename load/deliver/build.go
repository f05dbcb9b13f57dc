package deliver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/schemas"
)

// uploads is how many objects a delivery sends at once.
const uploads = 8

// groupPlan is what becomes of a group: what stays as it was delivered, and what is to be hashed.
type groupPlan struct {
	localGroup
	had    heldGroup
	same   []File // as delivered
	anew   []local
	retire []File // that the next manifest doesn't list
	lost   []File

	dropped int64 // of retire, by name
}

// minor says of files that they go along with others and are no reason to deliver: each run adds to the journal.
func minor(p string) bool { return strings.HasPrefix(p, "journal/") }

// groups goes through the lake and the manifest, group by group.
func (d *delivery) groups(ctx context.Context, each func(groupPlan) error) error {
	left := map[[2]string]Group{}
	if d.root != nil {
		for _, g := range d.root.Manifest.Groups {
			left[[2]string{g.Account, g.Month}] = g
		}
	}
	visit := func(l localGroup) error {
		p := groupPlan{localGroup: l}
		name := [2]string{l.account, l.month}
		if g, ok := left[name]; ok {
			var err error
			if p.had, err = d.group(ctx, g); err != nil {
				return err
			}
			delete(left, name)
		}
		p.had.Files = slices.DeleteFunc(slices.Clone(p.had.Files), func(f File) bool {
			here := func(l local) bool { return l.path == f.Path }
			if !d.opts.Anew[f.Key] || !slices.ContainsFunc(l.files, here) { // what the lake lacks it can't deliver anew
				return false
			}
			p.retire = append(p.retire, f)
			return true
		})
		if err := d.compare(&p); err != nil {
			return err
		}
		return each(p)
	}
	for l, err := range walk(d.lake, d.what, d.t.Extra) {
		if err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := visit(l); err != nil {
			return err
		}
	}
	inOrder := func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }
	for _, name := range slices.SortedFunc(maps.Keys(left), inOrder) {
		if err := visit(localGroup{account: name[0], month: name[1]}); err != nil {
			return err
		}
	}
	return nil
}

// compare holds the lake's files of a group against those that were delivered.
func (d *delivery) compare(p *groupPlan) error {
	had := map[string]File{}
	for _, f := range p.had.Files {
		had[f.Path] = f
	}
	for _, l := range p.files {
		f, ok := had[l.path]
		delete(had, l.path)
		if was, seen := p.had.Looks[l.path]; ok && seen && !f.Lost && was == lookOf(l) {
			p.same = append(p.same, f)
			continue
		}
		p.anew = append(p.anew, l)
	}
	for _, f := range p.had.Files {
		if _, ok := had[f.Path]; !ok {
			continue
		}
		up := slices.ContainsFunc(d.opts.Drop, func(x Drop) bool { return x.names(f) })
		if up {
			p.dropped++
		} else {
			var err error
			if up, err = d.givenUp(f, p.localGroup); err != nil {
				return err
			}
		}
		if up {
			p.retire = append(p.retire, f)
		} else {
			f.Lost = true
			p.lost = append(p.lost, f)
		}
	}
	return nil
}

// givenUp says of a file that was delivered and that the lake lacks whether it was removed by what removes files: a run
// that derived the day anew, retention, a repair, a month that was opened again. Else it was lost, and what is
// delivered may be all there is.
func (d *delivery) givenUp(f File, g localGroup) (bool, error) {
	partitioned, others := treesOf(d.what)
	top, _, _ := strings.Cut(f.Path, "/")
	switch {
	case f.Account == "" && top == "finance": // what the published file has no more of
		return true, nil
	case !slices.Contains(append(partitioned, others...), top): // not asked for any more
		return true, nil
	case f.Account == "":
		return d.givenUpStatement(f)
	case !g.days[f.Date]:
		return false, nil
	}
	date, err := schemas.ParseDate(f.Date)
	if err != nil {
		return false, err
	}
	p := schemas.Partition{Account: f.Account, Date: date}
	source, err := d.lake.Source(p)
	if errors.As(err, new(*load.DamagedError)) { // nobody can tell
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch top {
	case load.QuarantineDir:
		footer, ok, err := d.lake.Day(p)
		return ok && footer.Quarantined == 0 || source.Pruned != nil && source.Pruned.QuarantineGone(), err
	case load.UsageDir, load.BalanceDir: // nothing removes them but who names the day, and then they are in damaged/
		return d.keptAside(f)
	}
	name := path.Base(f.Path)
	named := func(r load.PrunedRaw) bool { return r.Name == name }
	if source.Pruned != nil && slices.ContainsFunc(source.Pruned.Files, named) {
		return true, nil
	}
	if strings.HasPrefix(name, "pruned.") { // a tombstone, and what it kept: gone when the day was fetched whole again
		return source.Pruned == nil && len(source.Windows) > 0, nil
	}
	aside := fmt.Sprintf("%s_%s_%s", path.Base(path.Dir(path.Dir(f.Path))), path.Base(path.Dir(f.Path)), name)
	return d.isCopy(f, load.DamagedDir, aside)
}

// keptAside says whether damaged/ holds a derived file as it was delivered.
func (d *delivery) keptAside(f File) (bool, error) {
	parts := strings.Split(f.Path, "/")
	entries, err := d.lake.Entries(d.lake.Path(load.DamagedDir))
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), parts[1]+"_"+parts[2]+"_")
		sum, named := strings.CutSuffix(rest, "_"+parts[3])
		if ok && named && sum != "" && strings.HasPrefix(f.SHA256, sum) {
			return true, nil
		}
	}
	return false, err
}

// isCopy says whether a file of the lake is what was delivered of another.
func (d *delivery) isCopy(f File, elem ...string) (bool, error) {
	sum, err := d.lake.Digest(d.lake.Path(elem...))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return sum == f.SHA256, err
}

// givenUpStatement is givenUp of what no account has.
func (d *delivery) givenUpStatement(f File) (bool, error) {
	parts := strings.Split(f.Path, "/")
	if parts[0] != load.StatementsDir {
		return parts[0] != load.DamagedDir && parts[0] != "journal", nil
	}
	month, err := schemas.ParseMonth(parts[1])
	if err != nil {
		return false, nil
	}
	kept, err := d.lake.Entries(d.lake.Path(load.StatementsDir, "reopened"))
	for _, e := range kept {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), month.String()+"_") {
			continue
		}
		elem := append([]string{load.StatementsDir, "reopened", e.Name()}, parts[2:]...)
		if ok, err := d.isCopy(f, elem...); ok || err != nil {
			return ok, err
		}
	}
	return false, err
}

// built gathers the next manifest from the groups, which come side by side.
type built struct {
	mu      sync.Mutex
	groups  []Group
	retired []Retired
	changed bool
	files   int64 // of those that are inline
}

// build uploads what differs and returns the manifest that is to be swapped in; nil if nothing differs.
func (d *delivery) build(ctx context.Context) (*Manifest, error) {
	p, err := d.plan(ctx)
	if err != nil {
		return nil, err
	}
	d.report.Lost, d.report.Dropped = p.Lost, p.Dropped
	if !p.changed {
		return nil, nil
	}
	m := &Manifest{Format: Format, Number: d.start + 1, Series: randomID(), Commit: randomID(), Version: d.opts.Version,
		WrittenAt: d.opts.Now().UTC().Truncate(time.Millisecond), What: d.what}
	if d.root != nil {
		m.Number, m.Series = d.root.Manifest.Number+1, d.root.Manifest.Series
		for _, a := range d.root.Manifest.Accounts {
			d.claimed[a] = true
		}
	}
	if t := (Tables{d.deltaNow(), d.icebergNow()}); t != (Tables{}) {
		m.Tables = &t
	}
	if d.root == nil { // what no account has is the lake's: below one prefix it has one name
		if err := d.claim(ctx, "_"+d.id.ID); err != nil {
			return nil, err
		}
		delete(d.claimed, "_"+d.id.ID)
	}
	u, err := d.newUpload(m.Number-1, p)
	if err != nil {
		return nil, err
	}
	defer u.close()
	var b built
	work, workCtx := errgroup.WithContext(ctx)
	work.SetLimit(uploads)
	err = d.groups(workCtx, func(p groupPlan) error {
		if p.account != "" && len(p.files) > 0 {
			if err := d.claim(workCtx, p.account); err != nil {
				return err
			}
		}
		work.Go(func() (err error) {
			defer schemas.Guard(&err)
			g, err := d.buildGroup(workCtx, u, p, m, &b)
			if err != nil {
				return err
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if g.Count > 0 {
				b.groups = append(b.groups, g)
			}
			return nil
		})
		return nil
	})
	if err = errors.Join(work.Wait(), err); err != nil {
		return nil, err
	}
	if !b.changed && d.root != nil && slices.Equal(d.root.Manifest.What, d.what) {
		return nil, nil
	}
	if err := d.assemble(ctx, m, &b); err != nil {
		return nil, err
	}
	return m, d.expire(ctx, m)
}

// buildGroup uploads what differs of a group, and returns it as the next manifest lists it. Nothing of it is kept in
// memory but what the manifest holds itself.
func (d *delivery) buildGroup(ctx context.Context, u *upload, p groupPlan, m *Manifest, b *built) (Group, error) {
	g := Group{Account: p.account, Month: p.month}
	done, err := u.openPublished(ctx, &p)
	if err != nil {
		return g, err
	}
	defer done()
	looks := map[string]look{}
	had := map[string]File{}
	for _, f := range p.had.Files {
		had[f.Path] = f
	}
	for _, f := range p.same {
		looks[f.Path] = p.had.Looks[f.Path]
	}
	g.Files = slices.Concat(p.same, p.lost)
	retired, changed := slices.Clone(p.retire), false
	sent := make([]*sent, len(p.anew))
	work, ctx := errgroup.WithContext(ctx)
	for i, l := range p.anew {
		work.Go(func() (err error) {
			defer schemas.Guard(&err)
			sent[i], err = u.send(ctx, l, had[l.path])
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return g, err
	}
	for i, s := range sent {
		was, ok := had[p.anew[i].path]
		if s == nil { // it went away since it was listed: the next delivery sees whether it was given up
			if ok {
				g.Files = append(g.Files, was)
			}
			continue
		}
		looks[s.File.Path] = s.Look
		g.Files = append(g.Files, s.File)
		if ok && s.File.Key != was.Key {
			retired = append(retired, was)
		}
		changed = changed || (!ok || s.File.Key != was.Key || was.Lost) && !minor(s.File.Path)
	}
	slices.SortFunc(g.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	g.summed()
	if err := g.check(); err != nil { // what nobody could read again isn't delivered
		return g, err
	}
	// Two files of one group may have one content, and so one object.
	retired = slices.DeleteFunc(retired, func(r File) bool {
		return slices.ContainsFunc(g.Files, func(f File) bool { return f.Key == r.Key })
	})
	changed = changed || slices.ContainsFunc(retired, func(f File) bool { return !minor(f.Path) }) ||
		slices.ContainsFunc(p.lost, func(f File) bool { return !had[f.Path].Lost })
	g.Number = m.Number
	var before Group
	if d.root != nil {
		if i, ok := slices.BinarySearchFunc(d.root.Manifest.Groups, g, Group.compare); ok {
			before = d.root.Manifest.Groups[i]
		}
	}
	anew := before.Key != "" && d.opts.Anew[before.Key]
	if changed = changed || anew; g.Digest == before.Digest {
		if g.Number = before.Number; !anew {
			g.Key = before.Key
		}
	}
	if err := d.write(d.groupPath(p.account, p.month), heldGroup{g.Digest, g.Files, looks}); err != nil {
		return g, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed = b.changed || changed
	for _, f := range retired {
		b.retired = append(b.retired, Retired{Key: f.Key, Since: m.WrittenAt, By: m.Number, Rows: rowsOf(f)})
	}
	if before.Key != "" && before.Key != g.Key {
		b.retired = append(b.retired, Retired{Key: before.Key, Since: m.WrittenAt, By: m.Number})
	}
	if b.files += g.Count; b.files > inlineFiles || d.split() {
		g.Files = nil
	}
	return g, nil
}

// split says that the manifest that the delivery is built on has parts: once it has, it keeps them.
func (d *delivery) split() bool {
	return d.root != nil && slices.ContainsFunc(d.root.Manifest.Groups, func(g Group) bool { return g.Key != "" })
}

func rowsOf(f File) int64 {
	if f.Rows == nil {
		return 0
	}
	return *f.Rows
}

// assemble sums up the groups, and puts their files into objects of their own where they are too many.
func (d *delivery) assemble(ctx context.Context, m *Manifest, b *built) error {
	slices.SortFunc(b.groups, Group.compare)
	m.Groups = b.groups
	var total sums
	for _, g := range m.Groups {
		m.Count += g.Count
		m.Bytes += g.Bytes
		m.Rows += g.Rows
		total.add(g.Sums)
	}
	m.Sums = total.list()
	for _, g := range m.Groups { // an account that was dropped may be another lake's from now on
		if g.Account != "" && !slices.Contains(m.Accounts, g.Account) {
			m.Accounts = append(m.Accounts, g.Account)
		}
	}
	if d.root != nil {
		m.Retired = slices.Clone(d.root.Manifest.Retired)
	}
	slices.SortFunc(b.retired, func(a, b Retired) int { return strings.Compare(a.Key, b.Key) })
	m.Retired = append(m.Retired, b.retired...)
	d.report.Retired = int64(len(b.retired))
	if m.Count <= inlineFiles && !d.split() {
		return nil
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(uploads)
	for i := range m.Groups {
		g := &m.Groups[i]
		if g.Key != "" {
			continue
		}
		g.Key = partKeyOf(*g, d.id.ID, m.Number-1)
		work.Go(func() (err error) {
			defer schemas.Guard(&err)
			var held heldGroup
			if _, err := d.read(d.groupPath(g.Account, g.Month), &held); err != nil {
				return err
			}
			if held.Digest != g.Digest {
				return fmt.Errorf("%s changed while it was delivered", d.groupPath(g.Account, g.Month))
			}
			g.Files = nil
			body, err := packed(held.Files)
			if err != nil {
				return err
			}
			return d.putNew(ctx, g.Key, bucket.Bytes(body), nil)
		})
	}
	return work.Wait()
}

// putNew puts an object under a name that nothing else has: one that is there already is this one.
func (d *delivery) putNew(ctx context.Context, key string, body bucket.Body, tag *string) error {
	for try := 1; ; try++ {
		t, err := d.t.Bucket.Put(ctx, key, body, bucket.On{Absent: true})
		switch {
		case err == nil:
			if tag != nil {
				*tag = string(t)
			}
			return nil
		case errors.Is(err, bucket.ErrTaken):
			return nil
		case errors.Is(err, bucket.ErrUnsure) && try < tries:
			continue
		}
		return err
	}
}

// upload sends files for the manifest that is built on base.
type upload struct {
	d     *delivery
	at    string
	base  int64
	log   *sentLog
	slots chan struct{}

	mu       sync.Mutex
	progress Progress
}

func (d *delivery) newUpload(base int64, p *Plan) (*upload, error) {
	at := d.place()
	if d.root != nil {
		at += " " + d.root.Manifest.Commit
	}
	log, err := d.openSent(at, base)
	if err != nil {
		return nil, err
	}
	// Before the first manifest somebody may have emptied the prefix: then nothing tells that it was.
	maps.DeleteFunc(log.have, func(_ string, s sent) bool { return d.root == nil && !d.there[s.File.Key] })
	return &upload{d: d, at: at, base: base, log: log, slots: make(chan struct{}, uploads),
		progress: Progress{Doing: "deliver", All: p.Send, Size: p.Size}}, nil
}

func (u *upload) close() { _ = u.log.file.Close() }

func (u *upload) done(bytes int64) {
	u.mu.Lock()
	u.progress.Files++
	u.progress.Bytes += bytes
	p := u.progress
	u.mu.Unlock()
	u.d.watch(p)
}

// send delivers a file, if its content isn't what was delivered. nil says that it isn't there any more.
func (u *upload) send(ctx context.Context, l local, was File) (*sent, error) {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer u.done(l.size)
	u.mu.Lock()
	before, ok := u.log.have[l.path]
	u.mu.Unlock()
	if ok && before.Look == lookOf(l) {
		return &before, nil
	}
	f := l.opened
	if f == nil {
		var err error
		if f, err = u.d.lake.FS.Open(l.file); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
	}
	s, err := u.sendOpen(ctx, l, f, was)
	var damaged *load.DamagedError
	if errors.As(err, &damaged) { // what was delivered of it stays, and so does the rest of the delivery
		u.mu.Lock()
		defer u.mu.Unlock()
		u.d.report.Damaged = append(u.d.report.Damaged, err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.file, err)
	}
	return s, nil
}

// sendOpen is send of a file that is open: what is replaced under its name meanwhile is another file. Of one that grows
// only what there is now is sent.
func (u *upload) sendOpen(ctx context.Context, l local, f durable.File, was File) (*sent, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	listed := lookOf(l)
	if l.size, l.modified = info.Size(), info.ModTime(); l.account != "" && lookOf(l) != listed {
		return nil, nil // derived anew since it was listed, maybe of raw files that were not: the next delivery has both
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, l.size)); err != nil {
		return nil, err
	}
	out := &sent{At: u.at, Base: u.base, Look: lookOf(l),
		File: File{Path: l.path, SHA256: hex.EncodeToString(sum.Sum(nil)), Bytes: l.size, Account: l.account, Date: l.date}}
	if was.SHA256 == out.File.SHA256 && was.Bytes == l.size {
		out.File = was
		out.File.Lost = false
		return out, nil
	}
	if err := u.describe(ctx, &out.File, f); err != nil {
		return nil, err
	}
	out.File.Key = keyOf(out.File, u.d.id.ID, u.base)
	body := bucket.Body{Size: l.size, SHA256: [sha256.Size]byte(sum.Sum(nil)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(f, 0, l.size)), nil
	}}
	if err := u.d.putNew(ctx, out.File.Key, body, &out.File.Tag); err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.d.report.Sent++
	u.d.report.SentBytes += l.size
	return out, u.log.add(*out)
}

// describe adds to a day file how many rows it has, what they sum to, and how much of the day is there.
func (u *upload) describe(ctx context.Context, f *File, open durable.File) error {
	if f.Account == "" || !strings.HasPrefix(f.Path, load.UsageDir+"/") {
		return nil
	}
	rows, list, err := daySums(ctx, open)
	if err != nil {
		return hint(&load.DamagedError{Path: f.Path, Detail: "it can't be read", Err: err},
			"derive it anew from the raw archive: usagelake rebuild")
	}
	date, err := schemas.ParseDate(f.Date)
	if err != nil {
		return err
	}
	seconds, err := missing(u.d.lake, schemas.Partition{Account: f.Account, Date: date})
	if err != nil {
		return err
	}
	f.Rows, f.Sums, f.MissingSeconds = &rows, list, &seconds
	return nil
}
