package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// longHeld is how long a run may hold the lake without a word about it: a first export of a year of a busy account
// takes hours, a nightly one minutes.
const longHeld = 12 * time.Hour

// checkLake looks at the lake's directory: what it is, who holds it, who may read and write it, and for how long there
// is room. What can't be told without a lake is left out where there is none: a lake to be made is looked at in the
// directory above it.
func (d *doctor) checkLake(ctx context.Context) {
	dir := d.cfg.Lake
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	// Through a link: a lake as a whole may be one.
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		d.fail("format", "name a directory with lake: or --lake", "%s is a file", dir)
		return
	}
	d.checkFormat(dir)
	if d.lake != nil {
		d.checkLock()
		if err := d.lake.CheckRaw(); err != nil {
			d.failure("raw archive", "restore raw/ from a backup", err)
		}
	}
	at := existing(dir)
	d.checkWriting(at)
	var s survey
	if d.lake != nil {
		s = surveyLake(dir, d.cfg.LakeAccess == config.AccessGroup)
		d.checkModes(dir, &s)
	}
	d.checkDisk(at, &s)
	if d.lake != nil {
		d.checkPublished(ctx)
		d.checkOverlaps(ctx)
	}
}

// checkFormat says what stands in the lake's place.
func (d *doctor) checkFormat(dir string) {
	switch {
	case d.lakeErr == nil:
		d.ok("format", "%s, format %d", dir, d.lake.Format())
		return
	case !errors.Is(d.lakeErr, load.ErrNoLake):
		hint := "put lake.json back as it should read, then usagelake verify"
		switch {
		case errors.Is(d.lakeErr, load.ErrNewer):
			hint = "run the newest of the versions that write to this lake"
		case errors.Is(d.lakeErr, fs.ErrPermission):
			hint = "run it as the user that exports run as"
		}
		d.failure("format", hint, d.lakeErr)
		return
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		d.ok("format", "%s is not made yet: the first export makes it", dir)
	case err != nil:
		d.fail("format", "is this the user that exports run as, and is lake: right?", "%v", err)
	case load.HasRaw(dir):
		d.warn("format", "usagelake rebuild", "%s holds a raw archive without lake.json, as after a restore", dir)
	default:
		d.fail("format", "name another directory with lake: or --lake; an export refuses this one",
			"%s is no lake, and not empty: it has %s", dir, entries[0].Name())
	}
}

// checkLock says who holds the lake. That somebody does is no fault; that nobody can be found who does, or that it goes
// on for half a day, may be one. The lock is the kernel's and goes with its process, so that a holder who isn't among
// ours is one that we can't see, or that has left the lock to a child. A PID is worth something on the machine alone
// that it is of.
func (d *doctor) checkLock() {
	h := d.lake.Holder()
	if h == nil {
		d.ok("lock", "free")
		return
	}
	host, _ := os.Hostname()
	who := h.Holder()
	// By the wall clock of the holder's machine, which may be ahead of ours: shown as 0 at the least.
	since := time.Duration(0)
	if !h.Since.IsZero() {
		since = d.now.Sub(h.Since)
		who += fmt.Sprintf(" (%s)", words.Span(max(since, 0)))
	}
	// A PID of 0 is a holder whose words could not be read, as while it writes them.
	here := h.PID != 0 && h.Host == host
	switch {
	case here && !alive(h.PID):
		d.warn("lock", "in a container, look for the process from there; else see which process it is with: fuser -v "+
			filepath.Join(d.cfg.Lake, ".lock"),
			"held by %s, which isn't among this machine's processes: it runs in a container, or left the lock to a child", who)
	case since > longHeld && here:
		d.warn("lock", fmt.Sprintf("does it still do something? usagelake status; ps -fp %d; kill %[1]d stops it cleanly",
			h.PID), "held by %s, alive", who)
	case since > longHeld:
		d.warn("lock", "does it still do something? Look on that machine", "held by %s", who)
	case here:
		d.add(CheckOK, "lock", "whoever writes meanwhile ends with 5, or waits with --wait", "held by %s, alive", who)
	default:
		d.add(CheckOK, "lock", "whoever writes meanwhile ends with 5, or waits with --wait", "held by %s", who)
	}
}

// alive says whether a process of this machine has the id.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission) // another user's
}

// checkWriting tries to write, and looks at what became of the file. The first errors have hints of their own; then a
// whole commit is tried, for there are file systems that can write and can't rename or fsync. A kill in between leaves
// .usagelake-doctor-… behind, which nothing reads and anybody may delete.
func (d *doctor) checkWriting(at string) {
	// Past env.FS, for its mode is what the system gives it.
	probe, err := os.CreateTemp(at, ".usagelake-doctor-*")
	switch {
	case errors.Is(err, syscall.EROFS):
		d.fail("permissions", "mount it for writing; status, query, report and verify work on it as it is",
			"%s is mounted read-only", at)
		return
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		d.fail("permissions", "make room, or raise the quota of this user", "%v", err)
		return
	case err != nil:
		d.fail("permissions",
			"run it as the user that exports run as, or let this user ("+userName(os.Geteuid())+") write to "+at, "%v", err)
		return
	}
	info, errStat := probe.Stat()
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	if err := durable.TryCommit(d.env.FS, at, d.cfg.LakeAccess == config.AccessGroup); err != nil {
		d.failure("permissions", "every run ends at this step: keep the lake on a local disk that can do it",
			durable.Full(fmt.Errorf("a file can't be committed there: %w", err), at))
		return
	}
	if errStat == nil && info.Mode().Perm() != 0o600 {
		d.warn("permissions", "keep the lake on a file system with Unix permissions, and the umask at 022 or 077",
			"%s can be written to, but a file made with mode 0600 has %04o there: the umask or the file system changes it", at,
			info.Mode().Perm())
		return
	}
	// Root can write anywhere: what it writes the lake's owner may then not be able to replace.
	if dir, err := os.Stat(at); err == nil && d.lake != nil { // of a lake to be made this is a directory above it
		if owner, known := durable.OwnerOf(dir); known && owner != os.Geteuid() {
			d.warn("permissions",
				fmt.Sprintf("run usagelake as %s alone: sudo -u %[1]s usagelake doctor. What another user writes there, it may "+
					"not be able to read", userName(owner)),
				"%s belongs to %s, and this is %s", at, userName(owner), userName(os.Geteuid()))
			return
		}
	}
	d.ok("permissions", "%s can be written to", at)
}

// userName is a user's name, or the number if nobody has it.
func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(id)
}

// oddFiles are files that have something in common: how many, and one of them.
type oddFiles struct {
	n       int
	example string
}

// add counts a file, and keeps the first as the example: a directory's before what lies in it.
func (o *oddFiles) add(path string) {
	if path == "." {
		path = "the directory itself"
	}
	if o.n++; o.n == 1 {
		o.example = path
	}
}

// String: "3 files, such as raw/…".
func (o oddFiles) String() string {
	if o.n == 1 {
		return o.example
	}
	return fmt.Sprintf("%d files and directories, such as %s", o.n, o.example)
}

// survey is what a walk through a lake's files found. Symbolic links are not followed; only regular files count for
// bytes.
type survey struct {
	days     map[schemas.Date]dayFiles // of all accounts: raw, usage, quarantine, balance
	temp     int64                     // bytes of half-done files
	open     oddFiles                  // more can read or write them than lake_access says
	closed   oddFiles                  // the group can't read them, though lake_access says so
	strange  oddFiles                  // another user's than the lake's directory
	unread   oddFiles                  // could not be looked at
	whyNot   error                     // of the first of these
	database int64                     // bytes of the published file
}

type dayFiles struct{ bytes, files int64 }

// surveyLake walks through the lake in dir, which may be a link. Files that go while it walks are none.
func surveyLake(dir string, group bool) survey {
	if to, err := filepath.EvalSymlinks(dir); err == nil { // a walk follows no link, that of its root included
		dir = to
	}
	s := survey{days: map[schemas.Date]dayFiles{}}
	owner, ownerKnown := -1, false
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		rel, errRel := filepath.Rel(dir, path)
		if errors.Is(err, fs.ErrNotExist) || errRel != nil {
			return nil
		}
		var info fs.FileInfo
		if err == nil {
			info, err = e.Info()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			s.unread.add(rel)
			if s.whyNot == nil {
				s.whyNot = err
			}
			return nil
		}
		if path == dir {
			owner, ownerKnown = durable.OwnerOf(info)
		} else if o, known := durable.OwnerOf(info); known && ownerKnown && o != owner {
			s.strange.add(rel)
		}
		s.mode(rel, info, group)
		if !info.Mode().IsRegular() {
			return nil
		}
		// raw/ACCOUNT/date=2026-11-01/FILE, and usage, quarantine and balance alike: four parts, the third of which is a day.
		parts := strings.Split(filepath.ToSlash(rel), "/")
		switch {
		case parts[0] == ".tmp":
			s.temp += info.Size()
		case rel == "usage.duckdb":
			s.database = info.Size()
		case parts[0] == load.RecordsDir: // second names of day files
		case len(parts) == 4:
			date, ok := strings.CutPrefix(parts[2], "date=")
			day, err := schemas.ParseDate(date)
			if !ok || err != nil {
				break
			}
			f := s.days[day]
			f.bytes += info.Size()
			f.files++
			s.days[day] = f
		}
		return nil
	})
	return s
}

// mode compares a file's mode with what lake_access says: any bit beyond it is too many. What only the owner works
// with, half-done files and locks, needs no bit for the group.
func (s *survey) mode(rel string, info fs.FileInfo, group bool) {
	most := fs.FileMode(0o600)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return
	case info.IsDir() && group:
		most = 0o750
	case info.IsDir():
		most = 0o700
	case group:
		most = 0o640
	}
	perm := info.Mode().Perm()
	if perm&^most != 0 {
		s.open.add(rel)
	}
	inner := rel == ".tmp" || strings.HasPrefix(rel, ".tmp"+string(filepath.Separator)) || strings.HasSuffix(rel, ".lock")
	if group && !inner && perm&0o040 == 0 {
		s.closed.add(rel)
	}
}

// checkModes tells what the survey found about who may read the lake.
func (d *doctor) checkModes(dir string, s *survey) {
	fine := true
	warn := func(hint, format string, args ...any) {
		fine = false
		d.warn("access", hint, format, args...)
	}
	access := config.AccessPrivate
	if d.cfg.LakeAccess != "" {
		access = d.cfg.LakeAccess
	}
	if s.unread.n > 0 {
		warn("run it as the user that exports run as", "%s can't be looked at: %v", s.unread, s.whyNot)
	}
	if s.open.n > 0 {
		hint, than := "chmod -R go= "+dir+"   (or, if its group should read it, set lake_access: group)", "its owner"
		if access == config.AccessGroup {
			hint, than = "chmod -R g-w,o= "+dir, "its owner writes or its group reads"
		}
		warn(hint, "open to more than %s: %s", than, s.open)
	}
	if s.closed.n > 0 {
		warn("chmod -R g+rX "+dir, "lake_access is group, and the group can't read %s: it was written before", s.closed)
	}
	if s.strange.n > 0 {
		warn("give it to the lake's owner: chown -R --reference="+dir+" "+dir, "another user's than the lake's: %s",
			s.strange)
	}
	if fine {
		d.ok("access", "%s, as lake_access says", access)
	}
}

// The least room: days until the disk is full, and bytes free where growth isn't known.
const (
	minDays = 30
	minDisk = 1 << 30
	// So little counts as a full disk (durable.FullBytes): a commit fails, and with it every run.
	noDisk = 16 << 20
	// growthDays is how many of the last days tell how a lake grows.
	growthDays = 30
)

// checkDisk holds the room there is against how the lake grows.
func (d *doctor) checkDisk(at string, s *survey) {
	room, err := durable.RoomOf(at)
	if err != nil {
		return // not known on this system
	}
	u := s.use(schemas.DateOf(d.now))
	u.free, u.freeFiles = room.Bytes, room.Files
	c := u.check()
	d.add(c.Verdict, "disk", c.Hint, "%s", c.Detail)
	if s.temp > 0 && d.lake.Holder() == nil {
		d.ok("half-done files", "%s in .tmp, left by a run that was killed: the next run drops them",
			words.Bytes(s.temp))
	}
}

// use sums up the last days before today that have files, for how the lake grows. Of a lake with files of 1 to 10
// November, looked at on the 20th, these are ten days and not thirty; if the 5th has none they are still ten.
func (s *survey) use(today schemas.Date) diskUse {
	u := diskUse{database: s.database}
	last := schemas.Date(0)
	for day, f := range s.days {
		u.allBytes += f.bytes
		if day < today { // which still grows
			last = max(last, day)
		}
	}
	// Over days of the calendar, so that days without usage count for what they are; but no more days than there are.
	first := last
	for day, f := range s.days {
		if day > last-growthDays && day <= last {
			first = min(first, day)
			u.bytes += f.bytes
			u.files += f.files
		}
	}
	if last > 0 {
		u.days = int64(last-first) + 1
	}
	return u
}

// diskUse is what the arithmetic of the disk goes by.
type diskUse struct {
	free      uint64
	freeFiles *uint64
	bytes     int64 // of the files of days, over the last of them
	files     int64
	days      int64 // so many; 0: nothing is known of growth
	allBytes  int64 // of the files of all days
	database  int64 // bytes of usage.duckdb, which grows with them
}

// perDay is by how many bytes a lake grows a day: its files, and its part of the published file. 0 if it isn't known.
// The published file is taken to grow with the day files: with 100 GB of them, 40 GB of it and 1 GB a day, that is 1.4
// GB a day.
func (u diskUse) perDay() float64 {
	if u.days == 0 || u.allBytes == 0 {
		return 0
	}
	files := float64(u.bytes) / float64(u.days)
	return files + files*float64(u.database)/float64(u.allBytes)
}

// check tells how long the room lasts. A publish builds usage.duckdb beside the one that is there, so the room for a
// second copy isn't for growth. Files (inodes) may run out before bytes do, on a file system that was made with few of
// them: the sooner of the two is told, if it is soon.
func (u diskUse) check() Check {
	free := words.Bytes(int64(min(u.free, math.MaxInt64))) + " free"
	const more = "make room, or move the lake to a larger disk (copy it, then change lake:)"
	perDay := u.perDay()
	grows := fmt.Sprintf("grows by %s a day (last %s)", words.Bytes(int64(perDay)), words.Plural(u.days, "day", "days"))
	spare := float64(u.free) - float64(u.database)
	switch {
	case u.free < noDisk:
		return Check{Verdict: CheckFailed, Hint: more, Detail: free + ": no run gets through"}
	case spare < 0:
		return Check{Verdict: CheckWarning, Hint: more,
			Detail: fmt.Sprintf("%s, and a publish may need %s for a second copy of usage.duckdb", free,
				words.Bytes(u.database))}
	case perDay == 0 && u.free < minDisk:
		return Check{Verdict: CheckWarning, Hint: more, Detail: free}
	case perDay == 0:
		return Check{Verdict: CheckOK, Detail: free}
	}
	lasts := spare / perDay
	// For so many days there are files left; nil where the system counts none.
	if u.freeFiles != nil && u.files > 0 {
		if byFiles := float64(*u.freeFiles) / (float64(u.files) / float64(u.days)); byFiles < lasts && byFiles < minDays {
			return Check{Verdict: CheckWarning,
				Hint: "make a file system with more inodes for the lake, or remove small files from this one",
				Detail: fmt.Sprintf("%s, but room for %d files only: enough for %s", free, *u.freeFiles,
					words.Plural(int64(byFiles), "day", "days"))}
		}
	}
	c := Check{Verdict: CheckOK, Detail: fmt.Sprintf("%s; the lake %s: room for %s", free, grows, words.Days(lasts))}
	if lasts < minDays {
		c.Verdict, c.Hint = CheckWarning, more
	}
	return c
}

// existing is dir or its nearest parent that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return dir
		}
		dir = parent
	}
}

// checkOverlaps tells which accounts hold the same records.
func (d *doctor) checkOverlaps(ctx context.Context) {
	if d.status == nil || len(d.status.Accounts) < 2 {
		return
	}
	const name = "accounts"
	switch found, err := d.lake.Overlaps(ctx); {
	case err != nil: // the published file says why
	case len(found) > 0:
		wrong := &publish.OverlapError{Overlaps: found}
		d.fail(name, wrong.Hint(), "%s", wrong)
	default:
		d.ok(name, "no two hold the same records")
	}
}

// checkPublished tells which version of the program published the file.
func (d *doctor) checkPublished(ctx context.Context) {
	const name = "published"
	if d.status == nil {
		return // the section on freshness says why
	}
	if !d.status.Database.Exists {
		if len(d.status.Accounts) == 0 {
			d.ok(name, "nothing yet")
			return
		}
		d.warn(name, "usagelake rebuild", "there is no usage.duckdb, though the lake holds usage")
		return
	}
	if d.status.Database.Intruded != "" {
		d.fail(name, publish.HintIntruded, "%s", d.status.Database.Intruded)
		return
	}
	if d.status.Database.Unmarked != "" {
		d.warn(name, "usagelake rebuild, or the next export", "%s", d.status.Database.Unmarked)
		return
	}
	var written [2]string
	rows, err := query.Run(ctx, d.lake, "SELECT version, schema_version FROM meta")
	if err == nil {
		defer rows.Close()
		for row, errRow := range rows.All(ctx) {
			if err = errRow; err != nil {
				break
			}
			written = [2]string{row[0].Text, row[1].Text}
		}
	}
	// Not a number either where there was no row at all: the file is no publish's, and can't be read.
	tables, errTables := strconv.Atoi(written[1])
	size, age := words.Bytes(d.status.Database.Bytes), words.Span(max(d.now.Sub(d.status.Database.PublishedAt), 0))
	switch {
	case err != nil || errTables != nil:
		d.failure(name, "usagelake rebuild", errors.Join(fmt.Errorf("%s can't be read", d.status.Database.Path), err))
	case tables > schemas.SQLVersion:
		d.warn(name, "run one version of usagelake everywhere",
			"by usagelake %s, which is newer than this one: the next publish by this one takes its tables back from version %d "+
				"to %d", written[0], tables, schemas.SQLVersion)
	case tables < schemas.SQLVersion:
		d.warn(name, "usagelake rebuild, or the next export",
			"by usagelake %s, with tables of version %d; this one makes version %d", written[0], tables, schemas.SQLVersion)
	default:
		where := d.status.Database.WhereRecords()
		if where != "" {
			where = "; " + where
		}
		d.ok(name, "usage.duckdb, %s, %s ago by usagelake %s%s", size, age, written[0], where)
	}
}
