package deliver

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"

	"github.com/usagelake/usagelake/load"
)

// openPublished has usage.duckdb and published.json sent as they were at one moment, where one of them is to be sent:
// looked at by itself, each may be of another publish, and then every reader of the copy takes the file for one that
// somebody wrote into. No lock is needed: a publish puts the marks of its file there before the file. What doesn't fit,
// however often it is looked at, isn't sent, and what was delivered of both stays. done closes them.
func (u *upload) openPublished(ctx context.Context, p *groupPlan) (done func(), err error) {
	var both [2]local
	done = func() {
		for i := range both {
			if both[i].opened != nil {
				_ = both[i].opened.Close()
				both[i].opened = nil
			}
		}
	}
	pair := [2]string{load.DatabaseFile, load.MarksFile}
	for i, name := range pair {
		at := slices.IndexFunc(p.files, func(l local) bool { return l.path == name })
		if at < 0 { // there is nothing to hold the other one against
			return done, nil
		}
		both[i] = p.files[at]
	}
	ofPair := func(path string) bool { return slices.Contains(pair[:], path) }
	if !slices.ContainsFunc(p.anew, func(l local) bool { return ofPair(l.path) }) {
		return done, nil
	}
	p.anew = slices.DeleteFunc(p.anew, func(l local) bool { return ofPair(l.path) })
	p.same = slices.DeleteFunc(p.same, func(f File) bool { return ofPair(f.Path) })
	fits := false
	for try := 0; try < tries && !fits && err == nil; try++ {
		done()
		if fits, err = u.openPair(&both); err == nil {
			err = context.Cause(ctx)
		}
	}
	gone := errors.Is(err, fs.ErrNotExist) // since it was listed: the next delivery sees whether it was given up
	switch {
	case err != nil && !gone:
		return done, err
	case fits:
		p.anew = append(p.anew, both[:]...)
		return done, nil
	}
	for _, f := range p.had.Files {
		if ofPair(f.Path) {
			p.same = append(p.same, f)
		}
	}
	if !gone {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.d.report.Damaged = append(u.d.report.Damaged, load.DatabaseFile+": it is no file that "+load.MarksFile+
			" knows: another program wrote into it, or one of the two was copied here without the other")
	}
	return done, nil
}

// openPair opens both files, and says whether the marks know the published one. Marks that can't be read know all.
func (u *upload) openPair(both *[2]local) (fits bool, err error) {
	for i := range both {
		l := &both[i]
		if l.opened, err = u.d.lake.FS.Open(l.file); err != nil {
			l.opened = nil
			return false, err
		}
		info, err := l.opened.Stat()
		if err != nil {
			return false, err
		}
		l.size, l.modified = info.Size(), info.ModTime()
	}
	mark, err := load.MarkOf(both[0].opened)
	if err != nil {
		return false, err
	}
	b, err := io.ReadAll(io.NewSectionReader(both[1].opened, 0, both[1].size))
	known := load.ParseMarks(b)
	_, fits = load.FindMark(known, mark)
	return len(known) == 0 || fits, err
}
