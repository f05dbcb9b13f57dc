package watch

import (
	"slices"
	"sync"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// seenLake is what a check saw of the lake's files, for those after it: while nobody wrote to the journal nothing has
// run, and what a run writes is as it was. A daemon that waits for the next night then looks at one file a minute.
//
// mu guards all of it, and is held while the files are read. What is handed out is shared: runs is cloned, for journal
// changes it; windows and orphans nobody changes who gets them. All of it is of one lake, and of one state of its
// journal. Without known the next look reads everything anew.
type seenLake struct {
	mu      sync.Mutex
	journal load.Stamp
	lake    string
	at      time.Time
	raw     map[string]load.Stamp       // by account
	windows map[string][]schemas.Window // by account, in order
	orphans map[string][]load.Orphan    // by account
	runs    []schemas.Run
	known   bool // runs and windows are as of journal
}

// seenFor is how long that holds at the most: somebody may put a file into a day, or take one out, by hand, which
// neither the journal nor the directory of the account shows.
const seenFor = time.Hour

// orphansOf is what is kept of an account though it can't be derived again; look was asked for it just now.
func (g *gatherer) orphansOf(account string) ([]load.Orphan, error) {
	s := g.seen
	if s == nil {
		s = &seenLake{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.orphans[account]; ok && s.known {
		return found, nil
	}
	days, err := g.lake.Partitions(account)
	if err != nil {
		return nil, err
	}
	var found []load.Orphan
	for _, d := range days {
		o, err := g.lake.Orphans(d)
		if err != nil {
			return nil, err
		}
		found = append(found, o...)
	}
	if s.orphans != nil {
		s.orphans[account] = found
	}
	return found, nil
}

// look reads what the lake's files say of runs and windows, or remembers it.
func (g *gatherer) look(accounts []string) (map[string][]schemas.Window, []schemas.Run, error) {
	s := g.seen
	if s == nil {
		s = &seenLake{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The stamps come before the reading: what is written in between is read or not, and in either case the next stamp is
	// another, so that it is read then. A lake that is held, before or after, may have sealed what no line tells of yet:
	// what was seen does for this check alone. Without a journal nothing can be told, and everything is read each time.
	held := g.lake.Holder() != nil
	stamp := g.lake.JournalStamp()
	fresh := s.known && !held && s.lake == g.lake.Dir() && stamp.Size() > 0 && stamp.Same(s.journal) &&
		g.now.Sub(s.at).Abs() < seenFor
	if !fresh {
		runs, err := jobs.History(g.lake, g.cfg)
		if err != nil {
			s.known = false
			return nil, nil, err
		}
		s.journal, s.lake, s.at, s.known = stamp, g.lake.Dir(), g.now, !held
		s.runs, s.raw, s.windows, s.orphans = runs, map[string]load.Stamp{}, map[string][]schemas.Window{},
			map[string][]load.Orphan{}
	}
	for _, a := range accounts {
		// A day that was added or taken away without a run, as by a restore.
		stamp := g.lake.RawStamp(a)
		if _, ok := s.windows[a]; ok && stamp.Same(s.raw[a]) {
			continue
		}
		have, err := jobs.SealedWindows(g.lake, a)
		if err != nil {
			return nil, nil, err
		}
		s.windows[a], s.raw[a] = have, stamp
		delete(s.orphans, a)
	}
	if s.known && g.lake.Holder() != nil { // it may seal what we have not seen
		s.known = false
	}
	return s.windows, slices.Clone(s.runs), nil
}
