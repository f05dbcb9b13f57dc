package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/pack"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform"
)

// Status is the state of a lake, read off its files without a lock.
type Status struct {
	Lake     string          `json:"lake"`
	Format   int             `json:"format"`
	Database DatabaseStatus  `json:"database"`
	Accounts []AccountStatus `json:"accounts"`
	Runs     []schemas.Run   `json:"runs"` // the last ones, newest first
	// Overlaps says which accounts hold the same records, as the published file has it; nil if none do, or ReadOverlaps
	// wasn't asked.
	Overlaps   []OverlapStatus   `json:"overlaps,omitempty"`
	Deliveries []deliver.Outcome `json:"deliveries"` // what the last one to each place came to
	// Packages are what the lake remembers of the packages of closed months, and to whom they were delivered.
	Packages []*pack.Deliveries `json:"packages"`
	// JournalDamaged is how many lines can't be read of the part of the journal that was.
	JournalDamaged int             `json:"journal_damaged,omitempty"`
	Holder         *load.HeldError `json:"holder,omitempty"`
	CheckedAt      time.Time       `json:"checked_at"`
}

// DatabaseStatus is the published file.
type DatabaseStatus struct {
	Path        string    `json:"path"`
	Exists      bool      `json:"exists"`
	Bytes       int64     `json:"bytes"`
	PublishedAt time.Time `json:"published_at,omitzero"`
	// Intruded says what another program did to it, or left beside it; "" if nothing.
	Intruded string `json:"intruded,omitempty"`
	Unmarked string `json:"unmarked,omitempty"` // why that can't be told; "" if it can
	// Records is the publish.records that it was published with, "" if that isn't known, and Outside of how many days it
	// reads the records from records/ of the lake.
	Records string `json:"publish_records,omitempty"`
	Outside int    `json:"records_outside_days"`
}

// WhereRecords says for people where the records of the published file are; "" if nobody knows.
func (d DatabaseStatus) WhereRecords() string {
	switch {
	case d.Records == "":
		return ""
	case d.Outside == 0:
		return "publish.records " + d.Records
	}
	return fmt.Sprintf("publish.records %s: it needs records/ of the lake beside it, for the records of %s; a copy of "+
		"the file alone has sums and charges", d.Records, words.Plural(d.Outside, "day", "days"))
}

// AccountStatus is what the lake holds of one account.
type AccountStatus struct {
	Account string `json:"account"`
	// Coverage is [From, To), with Gaps in between: nothing was fetched there.
	From        time.Time `json:"from,omitzero"`
	To          time.Time `json:"to,omitzero"`
	Behind      string    `json:"behind"` // how long ago To was
	Gaps        []Gap     `json:"gaps"`
	Days        []Day     `json:"days"`
	Records     int64     `json:"records"`
	Quarantined int64     `json:"quarantined"`
	Issues      int64     `json:"issues"` // warnings and errors of the quality checks
	Stale       int       `json:"stale"`  // days that are sealed and not derived yet
	Pruned      int       `json:"pruned"` // days whose raw files were deleted by retention
	// Unproven are windows that are not shown to be whole.
	Unproven []Unproven `json:"unproven,omitempty"`
	Orphans  []Orphan   `json:"orphans,omitempty"` // what is kept though it can't be derived again, for raw files are gone
}

// Unproven is a publish.Unproven for a document.
type Unproven struct {
	Start   time.Time `json:"start"` // [Start, End), UTC
	End     time.Time `json:"end"`
	Records int64     `json:"records"`
	Lacking int64     `json:"lacking"`
	Doubted bool      `json:"doubted"` // much of what is held did not come
	Detail  string    `json:"detail"`
	Hint    string    `json:"hint"`
}

// Orphan is a load.Orphan for a document.
type Orphan struct {
	Date   string `json:"date"`
	What   string `json:"what"`
	Rows   int64  `json:"rows"` // that are kept
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

// OverlapStatus is a pair of accounts that hold the same records.
type OverlapStatus struct {
	Accounts [2]string `json:"accounts"`
	Records  int64     `json:"records"`
	Days     int       `json:"days"`
	From     string    `json:"from"` // the first and the last of them
	To       string    `json:"to"`
	Sample   string    `json:"sample_id"`
}

// Gap is [Start, End) that is not covered.
type Gap struct {
	Account string    `json:"account"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
}

// Day is one day of coverage.
type Day struct {
	Date        string  `json:"date"`
	Covered     float64 `json:"covered"` // share of the day, 0 to 1
	Records     int64   `json:"records"`
	Quarantined int64   `json:"quarantined"`
	Windows     int     `json:"windows"`
	Stale       bool    `json:"stale"`
	Pruned      bool    `json:"pruned,omitempty"` // its raw files were deleted by retention; the day file is the source
	Orphan      bool    `json:"orphan,omitempty"` // raw files that it was made from are gone: it is kept as it is
	Error       string  `json:"error,omitempty"`  // the day file can't be read
}

// lastRuns is how many runs a status shows.
const lastRuns = 10

// ReadStatus reads the state of the lake in dir. account narrows it to one; "" means all.
func ReadStatus(ctx context.Context, dir, account string, now time.Time) (*Status, error) {
	lake, err := publish.Open(dir, publish.Options{})
	if err != nil {
		return nil, NoLake(err)
	}
	st := &Status{Lake: dir, Format: lake.Format(), CheckedAt: now.UTC(), Accounts: []AccountStatus{},
		Runs: []schemas.Run{}}
	st.Database.Path = lake.Database()
	if info, err := lake.DatabaseInfo(); err == nil {
		st.Database.Exists, st.Database.Bytes, st.Database.PublishedAt = true, info.Size(), info.ModTime().UTC()
	}
	intruded, err := lake.Intrusion()
	if err != nil {
		return nil, err
	}
	if mark, known, err := lake.Published(); err != nil {
		return nil, err
	} else if known {
		st.Database.Records, st.Database.Outside = mark.Records, mark.Outside
	}
	if st.Database.Intruded = intruded.String(); intruded.None() {
		st.Database.Intruded, st.Database.Unmarked = "", intruded.String()
	}
	st.Holder = lake.Holder()
	accounts, err := lake.Accounts()
	if err != nil {
		return nil, err
	}
	closed, err := lake.Closed()
	if err != nil {
		return nil, err
	}
	for _, name := range accounts {
		if account != "" && account != name {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		a, err := accountStatus(lake, name, closed, now)
		if err != nil {
			return nil, err
		}
		st.Accounts = append(st.Accounts, a)
	}
	if account != "" && len(st.Accounts) == 0 {
		return nil, config.Usage("usagelake status", "the lake %s holds no account %q", dir, account)
	}
	runs, damaged, err := lake.LastRuns(lastRuns)
	if err != nil {
		return nil, err
	}
	st.JournalDamaged = damaged
	if st.Deliveries, err = deliver.Outcomes(lake.Lake); err != nil {
		return nil, err
	}
	if st.Packages, err = pack.Remembered(lake.Lake); err != nil {
		return nil, err
	}
	for i := len(runs) - 1; i >= 0 && len(st.Runs) < lastRuns; i-- {
		r := runs[i]
		if r.Status == schemas.StatusRunning && !UnderWay(runs, i, st.Holder) {
			r.Status = schemas.StatusInterrupted
		}
		st.Runs = append(st.Runs, r)
	}
	return st, nil
}

// ReadOverlaps adds to st which accounts hold the same records; account is as in ReadStatus. It opens the published
// file, which reading a status does not.
func ReadOverlaps(ctx context.Context, st *Status, account string) error {
	if account == "" && len(st.Accounts) < 2 {
		return nil
	}
	lake, err := publish.Open(st.Lake, publish.Options{})
	if err != nil {
		return NoLake(err)
	}
	found, err := lake.Overlaps(ctx)
	for _, o := range found {
		if account != "" && account != o.Account && account != o.Other {
			continue
		}
		st.Overlaps = append(st.Overlaps, OverlapStatus{[2]string{o.Account, o.Other}, o.Records, o.Days, o.From.String(),
			o.To.String(), o.Sample})
	}
	return err
}

func accountStatus(lake *publish.Lake, name string, closed []publish.ClosedMonth, now time.Time) (AccountStatus,
	error) {
	a := AccountStatus{Account: name, Gaps: []Gap{}, Days: []Day{}}
	s, err := sealedOf(lake, name)
	if err != nil {
		return a, err
	}
	partitions, err := lake.Partitions(name)
	if err != nil {
		return a, err
	}
	states := map[schemas.Date]load.DayState{}
	for _, p := range partitions {
		st, err := lake.State(p)
		if err != nil {
			return a, err
		}
		states[p.Date] = st
		unproven, err := lake.Unproven(p, st.Footer, closed)
		if err != nil {
			return a, err
		}
		for _, u := range unproven {
			a.Unproven = append(a.Unproven, Unproven{u.Window.Start, u.Window.End, u.Records, u.Lacking, u.Doubt != nil, u.Why(),
				u.Hint()})
		}
		for _, o := range st.Orphans {
			a.Orphans = append(a.Orphans, Orphan{Date: p.Date.String(), What: o.What, Rows: o.Rows, Detail: o.Why,
				Hint: o.Hint()})
		}
	}
	have := s.windows()
	if len(have) == 0 {
		return a, nil
	}
	a.From = have[0].Start
	for _, w := range have {
		if w.End.After(a.To) {
			a.To = w.End
		}
	}
	a.Behind = now.Sub(a.To).Round(time.Second).String()
	for _, g := range schemas.Uncovered(schemas.Window{Account: name, Start: a.From, End: a.To}, have) {
		a.Gaps = append(a.Gaps, Gap{Account: name, Start: g.Start, End: g.End})
	}
	for d := schemas.DateOf(a.From); d.Start().Before(a.To); d++ {
		p := schemas.Partition{Account: name, Date: d}
		day := Day{Date: d.String(), Windows: len(s[d].Windows)}
		missing := int64(0)
		for _, g := range schemas.Uncovered(p.Window(), windowsOf(s[d].Windows)) {
			missing += g.Seconds()
		}
		day.Covered = 1 - float64(missing)/float64(p.Window().Seconds())
		st := states[d]
		footer, ok := st.Footer, st.Derived
		switch {
		case st.Damage != nil:
			day.Error = st.Damage.Error()
		case ok:
			day.Records, day.Quarantined = footer.Rows, footer.Quarantined
			a.Records += footer.Rows
			a.Quarantined += footer.Quarantined
			for _, i := range footer.Issues {
				if i.Severity != schemas.Info {
					a.Issues += i.Count
				}
			}
		}
		if day.Pruned = s[d].Frozen(); day.Pruned {
			a.Pruned++
		}
		if day.Orphan = len(st.Orphans) > 0; day.Orphan {
			// It stays as it is.
		} else if len(s[d].Windows) > 0 && (!ok || footer.Digest != s[d].Digest(transform.Version)) {
			day.Stale = true
			a.Stale++
		}
		a.Days = append(a.Days, day)
	}
	return a, nil
}
