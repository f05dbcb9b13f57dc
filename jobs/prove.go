package jobs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/evidence"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform"
	"github.com/usagelake/usagelake/transform/allocate"
)

// ProveOptions say what is proven.
type ProveOptions struct {
	Month      schemas.Month
	CostCenter string
	Out        string // the folder, which must not be there; "" is evidence-MONTH-COST-CENTER here
	Pages      bool   // the sealed files, too
	Phase      func(string)
}

// Proof is a folder of evidence.
type Proof struct {
	evidence.Claim
	Dir string `json:"folder"`
}

// Prove writes what a cost centre is charged in a month, and all that it comes of, into a folder that is checked
// without this program. The records are derived anew for it, from the sealed windows: of a closed month from those that
// it was closed with, by the rules that it was closed with, whatever came since. It takes no lock, and changes nothing
// in the lake.
func Prove(ctx context.Context, cfg *config.Config, env Env, opts ProveOptions) (*Proof, error) {
	lopts := env.LakeOptions(cfg)
	lopts.Threads = 1 // so that the same state gives the same bytes
	lake, err := publish.Open(cfg.Lake, lopts)
	if err != nil {
		return nil, NoLake(err)
	}
	closings, err := lake.Closings()
	if err != nil {
		return nil, err
	}
	finance, err := readFinance(cfg)
	if err != nil {
		return nil, err
	}
	p := proverOf(lake, opts.Month, closings)
	if p.closed == nil { // a closed month keeps its own
		if err := sameSetup(ctx, lake, cfg, finance, &opts.Month); err != nil {
			return nil, err
		}
	}
	books := finance.Books
	derived, rules, done, err := p.derive(ctx, cfg, env, finance, opts.Phase)
	if err != nil {
		return nil, fmt.Errorf("prove %s: %w", opts.Month, err)
	}
	defer done()
	if opts.Out == "" {
		opts.Out = "evidence-" + books.Name(opts.Month) + "-" + words.FileName(opts.CostCenter, "cost-center")
	}
	proof := &Proof{Dir: opts.Out}
	e := evidence.Options{Lake: lake, Derived: derived, Closed: p.closed, Books: books, Month: opts.Month,
		CostCenter: opts.CostCenter,
		Days:       p.taken, GLCode: finance.GLCode, Pages: opts.Pages, Version: env.Version, Phase: opts.Phase}
	if e.GLCode == "" {
		e.GLCode = publish.DefaultGLCode
	}
	if rules != nil {
		e.Fields = rules.Fields()
	}
	if p.closed != nil {
		e.Chain = publish.Chain(closings, p.closed.Digest)
	} else if r, ok := rules.(*allocate.Rules); ok {
		for _, f := range r.Files() {
			e.Rules = append(e.Rules, publish.RuleFile{Name: f.Name, Content: f.Content})
		}
	}
	proof.Claim, err = evidence.Write(ctx, opts.Out, e)
	unproven := (*evidence.Unproven)(nil)
	switch {
	case errors.As(err, &unproven) && p.closed == nil:
		err = &config.Hint{Err: err, Hint: "usagelake rebuild   (what is published may be of other days than what is sealed)"}
	case errors.As(err, &unproven):
		err = &config.Hint{Err: err, Hint: "usagelake verify   (says what is wrong with the lake)"}
	case errors.Is(err, evidence.ErrNothing):
		err = p.nothing(ctx, opts, err)
	}
	if err != nil {
		return nil, fmt.Errorf("prove %s for %s: %w", opts.Month, opts.CostCenter, err)
	}
	if abs, err := filepath.Abs(proof.Dir); err == nil {
		proof.Dir = abs
	}
	return proof, nil
}

// nothing says whom the month is charged to, if not to whom was asked for.
func (p *prover) nothing(ctx context.Context, opts ProveOptions, err error) error {
	centers, qerr := Texts(ctx, p.lake, fmt.Sprintf("SELECT DISTINCT cost_center FROM chargeback_daily WHERE "+
		"billing_month = DATE '%s' ORDER BY 1", opts.Month.First()))
	if errors.Is(qerr, query.ErrNotPublished) || qerr == nil && len(centers) == 0 {
		return config.Usage("usagelake report chargeback", "%w: nothing is charged in it at all", err)
	}
	if qerr != nil {
		return errors.Join(err, qerr)
	}
	return config.Usage("", "%w: it is charged to %s", err, strings.Join(centers, ", "))
}

type prover struct {
	lake   *publish.Lake
	month  schemas.Month
	closed *publish.ClosedMonth
	days   map[schemas.Partition]string // the digests of the days that the month was closed with
	taken  []evidence.Day
}

// proverOf is that of a month, closed or not.
func proverOf(lake *publish.Lake, month schemas.Month, closings []publish.Closing) *prover {
	p := &prover{lake: lake, month: month, days: map[schemas.Partition]string{}}
	for i, c := range closings {
		if c.Month == month && c.Reopened == nil {
			p.closed = &closings[i].ClosedMonth
		}
	}
	return p
}

// derive makes a lake that has the days of the month alone, derived and published by its rules: of a closed month as it
// was closed, whatever came since. done removes it.
func (p *prover) derive(ctx context.Context, cfg *config.Config, env Env, finance publish.Finance, phase func(string)) (
	derived *publish.Lake, rules publish.Allocator, done func(), err error) {
	if rules, err = p.rules(finance); err != nil {
		return nil, nil, nil, err
	}
	if p.closed != nil {
		for _, in := range p.closed.Partitions {
			d, err := schemas.ParseDate(in.Date)
			if err != nil {
				return nil, nil, nil, fmt.Errorf("its manifest is damaged: %w", err)
			}
			p.days[schemas.Partition{Account: in.Account, Date: d}] = in.Digest
		}
	}
	books := finance.Books
	period := books.Period(p.month, p.month)
	derived, done, err = recall(ctx, p.lake, cfg, env, recalled{days: &period, known: p.known,
		now:     books.Starts(books.End(p.month)),
		threads: 1, phase: phase, finance: publish.Finance{Rules: rules, Accounts: finance.Accounts, Books: books,
			GLCode: finance.GLCode, CreditGLCode: finance.CreditGLCode}})
	if err != nil {
		return nil, nil, nil, err
	}
	for day := range p.days {
		if !slices.ContainsFunc(p.taken, func(t evidence.Day) bool { return t.Partition == day }) {
			done()
			return nil, nil, nil, fmt.Errorf("the month was closed with %s, of which the lake has nothing\nhint: restore it "+
				"from a backup", day)
		}
	}
	slices.SortFunc(p.taken, func(a, b evidence.Day) int { return a.Partition.Compare(b.Partition) })
	return derived, rules, done, nil
}

// rules are those of the month: that it was closed with, or as they are; nil if there are none.
func (p *prover) rules(now publish.Finance) (publish.Allocator, error) {
	if p.closed == nil {
		return now.Rules, nil
	}
	if len(p.closed.Rules.Files) == 0 {
		return nil, nil
	}
	files, err := p.lake.ClosedRules(*p.closed)
	if err != nil {
		return nil, err
	}
	return archivedRules(files)
}

// known chooses the windows of a day: of a closed month those whose names give the digest that it was closed with.
func (p *prover) known(day schemas.Partition, all []load.Sealing) ([]load.Sealing, error) {
	source, err := p.lake.Source(day)
	if err != nil {
		return nil, err
	}
	d := evidence.Day{Partition: day, Windows: all, Schema: schemas.SchemaVersion, Transform: transform.Version}
	if source.Pruned != nil {
		d.Pruned = source.Pruned.Files
	}
	if p.closed == nil {
		if len(all) == 0 {
			return nil, nil
		}
		d.Digest = load.DayDigest(transform.Version, raws(all))
		p.taken = append(p.taken, d)
		return all, nil
	}
	want, ok := p.days[day]
	if !ok { // it came after the close
		return nil, nil
	}
	// They came in the order of their numbers, and none goes but what is set aside as damaged.
	for n := len(all); n > 0; n-- {
		if d.Schema, d.Transform, ok = load.DigestVersions(want, transform.Version, raws(all[:n])); ok {
			d.Windows, d.Digest = all[:n], want
			p.taken = append(p.taken, d)
			return d.Windows, nil
		}
	}
	return nil, fmt.Errorf("the sealed windows that %s was closed with are not those of the lake any more\nhint: restore "+
		"%s from a backup", p.month, p.lake.Partition(load.RawDir, day))
}

func raws(sealings []load.Sealing) []load.Raw {
	out := make([]load.Raw, len(sealings))
	for i, s := range sealings {
		out[i] = s.Raw
	}
	return out
}
