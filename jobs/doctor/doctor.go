package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/publish"
)

// Verdicts of a Check.
const (
	CheckOK      = "ok"
	CheckWarning = "warning"
	CheckFailed  = "FAILED"
)

// Sections of a doctor's report, in order. Those of an account are SectionAccount and its name.
const (
	SectionConfig   = "config"
	SectionAccount  = "account "
	SectionLake     = "lake"
	SectionFresh    = "freshness"
	SectionSchedule = "schedule"
	SectionMachine  = "machine"
)

// Check is one line of a doctor's report.
type Check struct {
	Section string `json:"section"` // what it is about; the checks of a section stand together
	Name    string `json:"name"`    // "time zone"; of an account "acme: key", of the lake "lake: disk"
	Verdict string `json:"verdict"` // one of the Check constants
	Detail  string `json:"detail"`
	Hint    string `json:"hint,omitempty"` // what to do
	Refused bool   `json:"refused,omitempty"`
}

// Options say what Examine looks at. The zero value is everything.
type Options struct {
	Account string // only this account of the config; "" is all
	Offline bool   // ask the API nothing
}

// Examine checks a set-up: every line says whether a thing is right and, if not, what to do about it. It asks the API a
// handful of small questions per account and changes nothing but a probe file in the lake's directory, which it
// removes. cfg is the whole config, whatever the account that is looked at. No check holds a key.
func Examine(ctx context.Context, cfg *config.Config, env jobs.Env, opts Options) []Check {
	// The status is read once for all sections: a run that goes on meanwhile must not have two of them tell different
	// things.
	d := &doctor{cfg: cfg, env: env, opts: opts, now: env.Now()}
	if d.lake, d.lakeErr = publish.Open(cfg.Lake, env.LakeOptions(cfg)); d.lakeErr == nil {
		d.status, d.statusErr = jobs.ReadStatus(ctx, cfg.Lake, "", d.now)
	}
	for _, p := range parts {
		d.section, d.prefix = p.section, p.prefix
		p.look(d, ctx)
	}
	out := d.out
	at := map[string]int{}
	for _, c := range out {
		if _, ok := at[c.Section]; !ok {
			at[c.Section] = len(at)
		}
	}
	slices.SortStableFunc(out, func(a, b Check) int { return at[a.Section] - at[b.Section] })
	return out
}

// parts are what is looked at, in order.
var parts = []struct {
	section string // of its checks, unless they say otherwise
	prefix  string // of their names
	look    func(*doctor, context.Context)
}{
	{SectionConfig, "", (*doctor).checkConfig},
	{SectionAccount, "", (*doctor).checkAccounts}, // each has a section of its own
	{SectionLake, "lake: ", (*doctor).checkLake},
	{SectionFresh, "", (*doctor).checkFreshness},
	{SectionSchedule, "", (*doctor).checkSchedule},
	{SectionMachine, "", (*doctor).checkMachine},
}

// doctor is one examination. The parts run one after the other, and out is theirs in turn; where accounts are asked
// side by side each has a checklist of its own.
type doctor struct {
	cfg  *config.Config
	env  jobs.Env
	opts Options
	now  time.Time
	checklist

	lake      *publish.Lake // nil where lakeErr isn't
	lakeErr   error
	status    *jobs.Status // nil where statusErr isn't, or there is no lake
	statusErr error
}

// accounts are those that are looked at.
func (d *doctor) accounts() []config.Account {
	if d.opts.Account == "" {
		return d.cfg.Accounts
	}
	return slices.DeleteFunc(slices.Clone(d.cfg.Accounts), func(a config.Account) bool { return a.Name != d.opts.Account })
}

// checklist gathers the checks of a section.
type checklist struct {
	section, prefix string
	out             []Check
}

// add returns the check for one word more (Refused, another verdict), until the next add: out may move then.
func (l *checklist) add(verdict, name, hint, format string, args ...any) *Check {
	l.out = append(l.out, Check{Section: l.section, Name: l.prefix + name, Verdict: verdict, Hint: hint,
		Detail: fmt.Sprintf(format, args...)})
	return &l.out[len(l.out)-1]
}

func (l *checklist) ok(name, format string, args ...any) { l.add(CheckOK, name, "", format, args...) }

func (l *checklist) warn(name, hint, format string, args ...any) {
	l.add(CheckWarning, name, hint, format, args...)
}

func (l *checklist) fail(name, hint, format string, args ...any) {
	l.add(CheckFailed, name, hint, format, args...)
}

// failure adds a failed check of an error, with the hint that it carries, or hint if it carries none. A hint is an
// error's own, or a line of its text, which goes before.
func (l *checklist) failure(name, hint string, err error) {
	var h *config.Hint
	if errors.As(err, &h) {
		hint = h.Hint
	}
	var lines []string
	account, _ := strings.CutPrefix(l.section, SectionAccount)
	for line := range strings.Lines(strings.TrimPrefix(err.Error(), "account "+account+": ")) {
		line = strings.TrimRight(line, "\n")
		if after, ok := strings.CutPrefix(line, "hint: "); ok {
			hint = after
			continue
		}
		lines = append(lines, line)
	}
	l.fail(name, hint, "%s", strings.Join(lines, "\n"))
}

// maxAsked is how many accounts are asked side by side. Each has a key, and so a rate limit, of its own.
const maxAsked = 16

// checkAccounts looks at the accounts side by side; what it found comes in the order of the config.
func (d *doctor) checkAccounts(ctx context.Context) {
	keys := d.readKeys()
	accounts := d.accounts()
	// Each goroutine writes its own place alone.
	found := make([][]Check, len(accounts))
	turn := make(chan struct{}, maxAsked)
	var wg sync.WaitGroup
	for i, a := range accounts {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			found[i] = d.checkAccount(ctx, a, keys[a.Name])
		})
	}
	wg.Wait()
	for _, f := range found {
		d.out = append(d.out, f...)
	}
	d.checkPairs(ctx, keys)
}
