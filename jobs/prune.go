package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform"
)

// PruneOptions say what a prune does.
type PruneOptions struct {
	Raw, Quarantine time.Duration // in place of the config's; 0: as the config says
	Account         string        // only this one's days; "" is every account
	DryRun          bool          // change nothing: say what would be deleted
	Wait            bool
	Phase           func(string) // told which day is looked at
}

// PruneReport is what a prune deleted, or would delete, and what it kept.
type PruneReport struct {
	DryRun     bool         `json:"dry_run"`
	Raw        string       `json:"raw_older_than,omitempty"`        // "" is for ever
	Quarantine string       `json:"quarantine_older_than,omitempty"` // the same
	Months     []PruneMonth `json:"months"`                          // in order of account and month
	Days       int          `json:"days"`                            // in all
	load.Freed
}

// PruneMonth is an account's month.
type PruneMonth struct {
	Account string `json:"account"`
	Month   string `json:"month"` // 2026-10
	Days    int    `json:"days"`  // of which something is deleted
	load.Freed
	Pruned int        `json:"pruned"` // days that were pruned before
	Kept   []KeptDays `json:"kept"`   // days whose raw files or quarantine stay, in order of the first
}

// KeptDays are days that are kept for the same reason.
type KeptDays struct {
	Reason string `json:"reason"`
	Days   int    `json:"days"`
	First  string `json:"first"`  // the first of them
	Failed bool   `json:"failed"` // they are due, and something is wrong with them
}

// Reasons why a day is kept.
const (
	keptOpen    = "the month is open"
	keptYoung   = "the month ended less than %s ago"
	keptBorder  = "the day next to it is of %s, which is open"
	keptPart    = "the day is not covered whole"
	keptEmptied = "the day was fetched anew and holds nothing since: what it held before is the last copy, should the " +
		"Portal have forgotten it"
	keptNoPolicy = "no policy for raw files: they and their quarantine stay"
	keptFetching = "the day is being fetched anew, and not all of it is there: the next export goes on"
	keptStale    = "its day file is not up to date: usagelake rebuild"
	keptDiffers  = "its day file is not, byte for byte, what its raw files give: usagelake rebuild, then prune again"
	keptLost     = "its files are damaged: usagelake verify"
)

// KeptError says that days which are due were kept, for something is wrong with them. The rest is pruned.
type KeptError struct {
	Days  int
	First string // the first, and why
}

func (e *KeptError) Error() string {
	if e.Days == 1 {
		return "a day is due and was kept, for something is wrong with it: " + e.First
	}
	return fmt.Sprintf("%d days are due and were kept, for something is wrong with them; the first: %s", e.Days, e.First)
}

// Unwrap makes it a run that was done in part.
func (e *KeptError) Unwrap() error { return &PartialError{What: "days", Count: e.Days, First: e.First} }

// Prune deletes the raw files of closed months that are older than the policy says, and the quarantine of days whose
// raw files are gone. A day goes only if what its raw files give is, byte for byte, what its derived files are: these
// are the source of the day from then on. What an open month is derived from stays, whatever its age.
//
// A dry run takes no lock, changes nothing and has no Result. The error is a *KeptError if days were kept that should
// have gone, and ErrUsage if there is no policy.
func Prune(ctx context.Context, cfg *config.Config, env Env, opts PruneOptions) (*Result, *PruneReport, error) {
	p := &pruner{env: env, opts: opts, policy: config.Prune{Raw: cfg.Prune.Raw, Quarantine: cfg.Prune.Quarantine}}
	if opts.Raw != 0 {
		p.policy.Raw = config.Duration(opts.Raw)
	}
	if opts.Quarantine != 0 {
		p.policy.Quarantine = config.Duration(opts.Quarantine)
	}
	const hint = "usagelake prune --raw-older-than 400d --dry-run   (or in the config: prune: {raw: 400d, quarantine: " +
		"400d})"
	if err := errors.Join(p.policy.Validate()...); err != nil {
		return nil, nil, config.Usage(hint, "%w", err)
	}
	if p.policy == (config.Prune{}) {
		return nil, nil, config.Usage(hint, "there is no policy to prune by: everything is kept for ever")
	}
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg)) // prune makes no lake
	if err != nil {
		return nil, nil, NoLake(err)
	}
	if p.names, err = lake.Accounts(); err != nil {
		return nil, nil, err
	}
	if opts.Account != "" {
		if !slices.Contains(p.names, opts.Account) {
			return nil, nil, config.Usage("usagelake status", "the lake %s holds no account %q: it has %s", lake.Dir(),
				opts.Account, strings.Join(p.names, ", "))
		}
		p.names = []string{opts.Account}
	}
	if opts.DryRun {
		p.lake = lake
		err := p.prune(ctx)
		return nil, &p.report, err
	}
	res, err := underLock(ctx, cfg, env, "prune", opts.Wait,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			p.lake, p.runID = lake, res.RunID
			kept := p.prune(ctx)
			res.Accounts = p.accounts
			if kept != nil && !errors.As(kept, new(*KeptError)) {
				return kept
			}
			if p.report.QuarantineFiles > 0 { // of raw files, the published file knows nothing
				if err := publishFile(ctx, lake, env, res, opts.Phase, false, kept); err != nil {
					return err
				}
			}
			return kept
		})
	if p.lake == nil {
		return res, nil, err // it never began
	}
	return res, &p.report, err
}

// pruner is one prune.
type pruner struct {
	env    Env
	opts   PruneOptions
	policy config.Prune
	lake   *publish.Lake // nil until the prune begins
	runID  string
	names  []string // of the accounts

	closed   []publish.ClosedMonth
	report   PruneReport
	accounts []schemas.RunAccount
	failed   KeptError
}

func (p *pruner) prune(ctx context.Context) error {
	p.report = PruneReport{DryRun: p.opts.DryRun, Raw: ageText(p.policy.Raw), Quarantine: ageText(p.policy.Quarantine),
		Months: []PruneMonth{}}
	var err error
	if p.closed, err = p.lake.Closed(); err != nil {
		return err
	}
	for _, account := range p.names {
		before := p.failed.Days
		if err := p.account(ctx, account); err != nil {
			return err
		}
		out := schemas.RunAccount{Account: account}
		var err error
		if days := p.failed.Days - before; days > 0 {
			err = &KeptError{Days: days, First: p.failed.First}
			out.Error = words.Plural(days, "day", "days") + " that are due were kept"
		}
		out.Status = StatusOf(err)
		p.accounts = append(p.accounts, out)
	}
	if p.failed.Days > 0 {
		return &p.failed
	}
	return nil
}

// account prunes one account, day by day.
func (p *pruner) account(ctx context.Context, account string) error {
	partitions, err := p.lake.Partitions(account)
	if err != nil {
		return err
	}
	for _, day := range partitions {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if p.opts.Phase != nil {
			p.opts.Phase("look at " + day.String())
		}
		if err := p.day(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// month is the report of the month of a day.
func (p *pruner) month(day schemas.Partition) *PruneMonth {
	name := day.Date.Month().String()
	if n := len(p.report.Months); n == 0 || p.report.Months[n-1].Account != day.Account ||
		p.report.Months[n-1].Month != name {
		p.report.Months = append(p.report.Months, PruneMonth{Account: day.Account, Month: name, Kept: []KeptDays{}})
	}
	return &p.report.Months[len(p.report.Months)-1]
}

func (p *pruner) keep(day schemas.Partition, reason string, failed bool) {
	m := p.month(day)
	i := slices.IndexFunc(m.Kept, func(k KeptDays) bool { return k.Reason == reason })
	if i < 0 {
		m.Kept = append(m.Kept, KeptDays{Reason: reason, First: day.Date.String(), Failed: failed})
		i = len(m.Kept) - 1
	}
	m.Kept[i].Days++
	if failed {
		if p.failed.Days == 0 {
			p.failed.First = day.String() + ": " + reason
		}
		p.failed.Days++
		p.env.Logger.Warn("a day is due to be pruned, and kept", "day", day.String(), "reason", reason)
	}
}

// day prunes a day, or notes why it is kept.
func (p *pruner) day(ctx context.Context, day schemas.Partition) error {
	source, err := p.lake.Source(day)
	if errors.As(err, new(*load.DamagedError)) {
		p.keep(day, keptLost, true)
		return nil
	}
	if err != nil || len(source.Windows) == 0 {
		return err
	}
	months := publish.ClosedWhole(p.closed, day.Date)
	if len(months) == 0 {
		p.keep(day, keptOpen, false)
		return nil
	}
	ended := months[len(months)-1].End()
	frozen := source.Frozen()
	if !frozen {
		why, failed, err := p.rawStays(ctx, source, ended)
		if err != nil {
			return err
		}
		if why != "" {
			p.keep(day, why, failed)
			return nil
		}
	} else if source.Thawing() {
		p.keep(day, keptFetching, false)
		return nil
	}
	freed, err := p.lake.PruneDay(day, load.PruneOptions{RunID: p.runID, Version: p.env.Version, Now: p.env.Now(),
		DryRun:     p.opts.DryRun,
		Policy:     "raw files " + p.report.Raw + " after the end of the closed month",
		Quarantine: p.old(ended, p.policy.Quarantine)})
	if errors.As(err, new(*load.DamagedError)) {
		p.keep(day, keptLost, true)
		return nil
	}
	m := p.month(day)
	m.Add(freed)
	p.report.Add(freed)
	if freed != (load.Freed{}) {
		m.Days++
		p.report.Days++
	}
	if frozen {
		m.Pruned++
	}
	return err
}

// rawStays says why the raw files of a day of a closed month stay, "" if nothing stands against deleting them. failed
// is that something is wrong with the day. Its month ended at ended.
func (p *pruner) rawStays(ctx context.Context, source load.Source, ended time.Time) (why string, failed bool,
	err error) {
	day := source.Partition
	switch {
	case p.policy.Raw == 0:
		return keptNoPolicy, false, nil
	case !p.old(ended, p.policy.Raw):
		return fmt.Sprintf(keptYoung, p.report.Raw), false, nil
	case len(schemas.Uncovered(day.Window(), windowsOf(source.Windows))) > 0:
		return keptPart, false, nil
	}
	// A window is asked for with a second on either side. Nothing is derived from a neighbour's margins; they stay until
	// nobody can have a question about them.
	for _, d := range []schemas.Date{day.Date - 1, day.Date + 1} {
		if open := publish.OpenOf(p.closed, d); open != "" {
			next, err := p.lake.Source(schemas.Partition{Account: day.Account, Date: d})
			if err != nil && !errors.As(err, new(*load.DamagedError)) {
				return "", false, err
			}
			if err != nil || len(next.Windows) > 0 {
				return fmt.Sprintf(keptBorder, open), false, nil
			}
		}
	}
	stale, err := p.lake.Stale(day, transform.Version)
	if err != nil {
		return "", false, err
	}
	if stale {
		return keptStale, true, nil
	}
	w, err := p.lake.CompareDay(day)
	if err != nil {
		return "", false, err
	}
	footer, err := deriveTo(ctx, p.lake, source, w)
	switch {
	case err == nil && emptied(footer):
		return keptEmptied, false, nil
	case err == nil:
		return "", false, nil
	case context.Cause(ctx) != nil:
		return "", false, context.Cause(ctx)
	case errors.Is(err, load.ErrDiffers):
		return keptDiffers, true, nil
	case errors.As(err, new(*load.DamagedError)):
		return keptLost, true, nil
	}
	return "", false, err
}

// emptied says whether a day holds nothing, of which an earlier window brought something.
func emptied(f schemas.DayFooter) bool {
	return f.Rows+f.Quarantined == 0 &&
		slices.ContainsFunc(f.Windows, func(w schemas.DayWindow) bool { return !w.Owns && w.Records > 0 })
}

// old says whether a month ended so long ago that a policy of that age applies.
func (p *pruner) old(ended time.Time, age config.Duration) bool {
	return age != 0 && !p.env.Now().Before(ended.Add(time.Duration(age)))
}

// ageText writes an age as a policy does; "" for 0.
func ageText(d config.Duration) string {
	switch age := time.Duration(d); {
	case d == 0:
		return ""
	case age%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", age/(24*time.Hour))
	default:
		return age.String()
	}
}
