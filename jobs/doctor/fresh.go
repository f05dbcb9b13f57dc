package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform"
)

// maxBehind is how far coverage may be behind: a nightly export, and two hours for it to run in. An hourly one is late
// long before that, which its alert rules are there to tell.
const maxBehind = 26 * time.Hour

// checkFreshness tells how far behind each account is, what is missing, and how the last runs ended.
func (d *doctor) checkFreshness(context.Context) {
	if d.statusErr != nil {
		d.failure("lake", "usagelake verify", d.statusErr)
		return
	}
	if d.status == nil {
		return // no lake, no news
	}
	held := map[string]jobs.AccountStatus{}
	for _, a := range d.status.Accounts {
		held[a.Account] = a
	}
	for _, a := range d.accounts() {
		d.checkCoverage(a.Name, held[a.Name])
	}
	runs, err := jobs.History(d.lake, d.cfg)
	if err != nil {
		d.failure("runs", "usagelake verify", err)
		return
	}
	d.checkRuns(runs)
	if n := d.status.JournalDamaged; n > 0 {
		d.warn("journal", "usagelake verify --repair   (sets them aside)",
			"%s of the journal can't be read; what they said of past runs is lost, no usage is",
			words.Plural(n, "line", "lines"))
	}
}

// checkCoverage is about one account; a is zero if the lake has nothing of it. It is ok only if nothing else was said.
func (d *doctor) checkCoverage(name string, a jobs.AccountStatus) {
	export := "usagelake export --account " + name
	if n := len(a.Orphans); n > 0 {
		o := a.Orphans[0]
		d.fail(name, o.Hint, "%s can't be derived again and %s kept, the first: %s (%s): %s",
			words.Plural(n, "derived file", "derived files"), map[bool]string{true: "is", false: "are"}[n == 1], o.Date,
			o.What, o.Detail)
	}
	if a.To.IsZero() {
		d.warn(name, export, "nothing is fetched yet")
		return
	}
	behind := max(d.now.Sub(a.To), 0)
	fine := len(a.Orphans) == 0
	warn := func(hint, format string, args ...any) {
		fine = false
		d.warn(name, hint, format, args...)
	}
	if behind > maxBehind {
		warn(export+"; does the timer still run?", "covered to %s UTC: %s behind", words.Minute(a.To), words.Span(behind))
	}
	if n := len(a.Gaps); n > 0 {
		var missing time.Duration
		for _, g := range a.Gaps {
			missing += g.End.Sub(g.Start)
		}
		warn(export+"   (any export without --from fills them)", "%s, %s in all, the first from %s UTC",
			words.Plural(n, "gap", "gaps"), words.Span(missing), words.Minute(a.Gaps[0].Start))
	}
	if n := len(a.Unproven); n > 0 {
		warn(a.Unproven[0].Hint, "%s not shown to be whole, the first from %s UTC: %s",
			map[bool]string{true: "a window is", false: fmt.Sprintf("%d windows are", n)}[n == 1],
			a.Unproven[0].Start.UTC().Format(time.DateTime), a.Unproven[0].Detail)
	}
	if a.Stale > 0 {
		warn("usagelake rebuild, or the next export", "%s sealed and not derived yet", words.Plural(a.Stale, "day", "days"))
	}
	damaged := ""
	for _, day := range a.Days {
		if day.Error != "" && damaged == "" {
			damaged = day.Date
		}
	}
	if damaged != "" {
		fine = false
		d.fail(name, "usagelake verify --repair", "the day file of %s can't be read", damaged)
	}
	if fine {
		d.ok(name, "covered from %s to %s UTC without a gap, %s behind", words.Minute(a.From), words.Minute(a.To),
			words.Span(behind))
	}
}

// longestError is how much of a run's error is shown.
const longestError = 200

// checkRuns tells how the last run of each command and of each job of the schedule ended, and since when none was done.
// A run that says running and holds no lock was killed: it counts as a failure.
func (d *doctor) checkRuns(runs []schemas.Run) {
	var names []string
	last := map[string]schemas.Run{}
	good := map[string]time.Time{} // when the last one that was done ended
	bad := map[string]int{}        // how many have failed since
	for i, r := range runs {
		running := r.Status == schemas.StatusRunning
		if running && jobs.UnderWay(runs, i, d.status.Holder) {
			continue // under way: the lock says so
		}
		name := r.Command
		if r.Job != "" {
			name = "job " + r.Job
		}
		if _, ok := last[name]; !ok {
			names = append(names, name)
		}
		if running {
			r.Status, r.Error = schemas.StatusInterrupted, "it never ended: killed, or the machine went down"
		}
		last[name] = r
		switch r.Status {
		case schemas.StatusDone:
			bad[name], good[name] = 0, r.EndedAt
		case schemas.StatusStopped:
		default:
			bad[name] += 1 + r.Repeats
		}
	}
	for _, which := range names {
		r := last[which]
		name := "last " + which
		at := r.EndedAt
		if at.IsZero() {
			at = r.StartedAt
		}
		ago := words.Span(max(d.now.Sub(at), 0)) + " ago"
		if r.Status == schemas.StatusDone {
			d.ok(name, "done %s, in %s", ago, words.Span(r.EndedAt.Sub(r.StartedAt)))
			continue
		}
		hint := "usagelake " + r.Command + "   (it goes on where that one ended)"
		switch {
		case r.Status == schemas.StatusRefused:
			hint = "see what the account's checks say above; then run it again"
		case r.Job != "":
			hint = "the schedule tries it again by itself; if it stays so, see its log"
		}
		detail := fmt.Sprintf("%s %s: %s", r.Status, ago, shortened(r.Error))
		if n := bad[which]; n > 1 {
			detail = fmt.Sprintf("the last %d failed; %s", n, detail)
		}
		if t := good[which]; !t.IsZero() {
			detail += fmt.Sprintf(" (the last that was done: %s ago)", words.Span(max(d.now.Sub(t), 0)))
		}
		d.warn(name, hint, "%s", detail)
	}
}

// shortened is the first line of an error, and not all of a long one.
func shortened(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return words.Clip(s, longestError)
}

// checkMachine looks at the clock's zone and the versions.
func (d *doctor) checkMachine(context.Context) {
	if d.status != nil && len(d.status.Runs) > 0 {
		// The newest run can't lie in the future, unless the clock was ahead when it began, or is behind now.
		if ahead := d.status.Runs[0].StartedAt.Sub(d.now); ahead > maxSkew {
			d.warn("clock", "set this machine's clock (NTP)",
				"the journal has a run that began %s from now: the clock was set back", words.Span(ahead))
		}
	}
	checkZone(&d.checklist, d.now, d.env.Getenv("TZ"))
	d.ok("versions", "usagelake %s, %s %s/%s, DuckDB %s, Parquet by arrow-go v%s", d.env.Version, runtime.Version(),
		runtime.GOOS, runtime.GOARCH, publish.DuckDBVersion(), arrow.PkgVersion)
	d.ok("formats", "lake %d, raw %d, schema %d, tables %d, transform %d", load.Format, schemas.RawFormat,
		schemas.SchemaVersion, schemas.SQLVersion, transform.Version)
}

// checkZone tells of surprises with time zones. Everything that usagelake counts is UTC; a timer of the system may not
// be.
func checkZone(l *checklist, now time.Time, tz string) {
	if _, err := time.LoadLocation("Europe/Berlin"); err != nil {
		l.warn("time zones", "install the package tzdata",
			"this machine has no time zone database: a schedule can be in UTC alone")
	}
	// TZ may be a path, or begin with a colon, as POSIX has it. Go takes UTC for what it doesn't know, without a word.
	if name := strings.TrimPrefix(tz, ":"); name != "" {
		var err error
		if filepath.IsAbs(name) {
			_, err = os.Stat(name)
		} else {
			_, err = time.LoadLocation(name)
		}
		if err != nil {
			l.warn("time zone", "write TZ like Europe/Berlin, or unset it",
				"TZ=%q is no zone that is known here: usagelake then takes UTC, and other programs may take another", tz)
			return
		}
	}
	zone, offset := now.Zone()
	local := now.Location().String()
	if local != "Local" && local != zone {
		zone += ", " + local
	}
	_, change := now.ZoneBounds()
	// The next change within a year is told, whichever way it goes. At +1 h in spring, from 02:00 to 03:00 by the offset
	// of before, these times don't exist; in autumn the two bounds come the other way round, and what lies between comes
	// twice.
	switch {
	case !change.IsZero() && change.Before(now.AddDate(1, 0, 0)):
		_, next := change.Zone()
		// The hour that the clock jumps over, or shows twice, by the offset that stands before it.
		_, before := change.Add(-time.Second).Zone()
		first, last := change.UTC().Add(time.Duration(before)*time.Second), change.UTC().Add(time.Duration(next)*time.Second)
		what := "don't exist"
		if next < before {
			first, last, what = last, first, "come twice"
		}
		l.add(CheckOK, "time zone",
			"a timer in local time should keep clear of these hours, or be in UTC (systemd: OnCalendar=… UTC)",
			"this machine is in %s; days, windows and reports are UTC. On %s the times from %s to %s %s", zone,
			first.Format(time.DateOnly), first.Format("15:04"), last.Format("15:04"), what)
	case offset != 0:
		l.ok("time zone", "this machine is in %s; days, windows and reports are UTC, whose midnight is %s here", zone,
			now.UTC().Truncate(24*time.Hour).In(now.Location()).Format("15:04"))
	default:
		l.ok("time zone", "UTC")
	}
}
