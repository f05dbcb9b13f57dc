package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/pack"
	"github.com/usagelake/usagelake/load/posting"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// PackageOptions say what is packed and handed out.
type PackageOptions struct {
	Month schemas.Month // closed
	// CostCenters are those whose packages are written or delivered; nil: all. All are made, whatever it says.
	CostCenters []string
	Out         string // the packages are copied into this folder, and not delivered; "": they are delivered
	NoDeliver   bool
	Again       bool // what was delivered already is delivered once more
	Phase       func(string)
	Progress    func(done, total int) // of packages that are made
}

// Packed is what became of the packages of a month.
type Packed struct {
	Month    string         `json:"month"` // what the books call it
	Folder   string         `json:"folder"`
	Made     bool           `json:"made"`     // and not there already
	Packages []pack.Package `json:"packages"` // those that were asked about
	All      int            `json:"all"`      // how many the month has
	Out      string         `json:"out,omitempty"`
	// Delivered are the packages that were delivered by this run, Before how many were by an earlier one.
	Delivered   []pack.Delivery `json:"delivered"`
	Before      int             `json:"delivered_before"`
	Undelivered []pack.Delivery `json:"undelivered"`
}

// PackagesError says that packages of a month could not be made or delivered; the month is closed, and what could be
// done is done.
type PackagesError struct{ Err error }

func (e *PackagesError) Error() string { return e.Err.Error() }
func (e *PackagesError) Unwrap() error { return e.Err }

// packageState is the lock that whoever makes or delivers packages holds.
const packageState = "packages"

// Pack makes the packages of a closed month, unless they are there, and delivers those that weren't. It takes no lock
// of the lake: what a closed month is made of doesn't change. Deliveries that failed are a PackagesError.
func Pack(ctx context.Context, cfg *config.Config, env Env, opts PackageOptions) (*Packed, error) {
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	finance, err := readFinance(cfg)
	if err != nil {
		return nil, err
	}
	closings, err := lake.Closings()
	if err != nil {
		return nil, err
	}
	name := finance.Books.Name(opts.Month)
	p := proverOf(lake, opts.Month, closings)
	if p.closed == nil {
		return nil, config.Usage("usagelake close --month "+name+"; what it is charged until now: usagelake report "+
			"statement --month "+name, "%s is not closed, and packages are made of closed months: what they say is final", name)
	}
	unlock, err := lake.LockState(ctx, packageState)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unlock() }()
	return p.pack(ctx, cfg, env, opts, finance)
}

func (p *prover) pack(ctx context.Context, cfg *config.Config, env Env, opts PackageOptions, finance publish.Finance) (
	*Packed, error) {
	remembered, err := pack.ReadDeliveries(p.lake.Lake, opts.Month)
	if err != nil {
		return nil, err
	}
	remembered.Period, remembered.TriedAt = p.closed.Name(), env.Now().UTC()
	users, err := cfg.EndUsers.Handed(env.Getenv)
	if err != nil {
		return nil, err
	}
	x, made, err := pack.Make(ctx, p.lake, pack.Options{Closed: *p.closed, Books: finance.Books, EndUsers: users,
		Posting: cfg.Journal.Posting(), Formats: cfg.Journal.Formats, Progress: opts.Progress,
		Derive: func(ctx context.Context) (*publish.Lake, func(), error) {
			derived, _, done, err := p.derive(ctx, cfg, env, finance, opts.Phase)
			return derived, done, err
		}})
	if refused := (*posting.Error)(nil); errors.As(err, &refused) {
		err = config.Usage(refused.Hint, "packages of %s: its journal can't be written: %w", p.closed.Name(), refused)
	}
	if err != nil {
		if context.Cause(ctx) == nil {
			remembered.Error = brief(err)
			err = errors.Join(err, remembered.Write(p.lake.Lake))
		}
		return nil, brokenOff(ctx, err)
	}
	remembered.Error = ""
	out := &Packed{Month: x.Period, Folder: p.lake.Path(pack.Dir, opts.Month.String()), Made: made, All: len(x.Packages),
		Delivered: []pack.Delivery{}, Undelivered: []pack.Delivery{}}
	if out.Packages, err = chosen(x, opts.CostCenters); err != nil {
		return nil, err
	}
	if opts.Out != "" {
		out.Out = opts.Out
		if err := os.MkdirAll(opts.Out, folderMode(p.lake)); err != nil {
			return nil, err
		}
		for _, one := range out.Packages {
			if err := brokenOff(ctx, copyPackage(ctx, p.lake, x, one, opts.Out)); err != nil {
				return out, err
			}
		}
		return out, nil
	}
	if opts.NoDeliver {
		return out, remembered.Write(p.lake.Lake)
	}
	d := &handing{lake: p.lake, index: x, remembered: remembered, env: env, again: opts.Again, phase: opts.Phase}
	err = d.deliver(ctx, cfg, out.Packages)
	out.Delivered, out.Before, out.Undelivered = d.delivered, d.before, d.failed
	return out, err
}

// chosen are the packages of the cost centres; nil: all.
func chosen(x *pack.Index, costCenters []string) ([]pack.Package, error) {
	if costCenters == nil {
		return x.Packages, nil
	}
	var out []pack.Package
	var known []string
	for _, p := range x.Packages {
		known = append(known, p.CostCenter)
		if slices.Contains(costCenters, p.CostCenter) {
			out = append(out, p)
		}
	}
	for _, c := range costCenters {
		if !slices.Contains(known, c) {
			return nil, config.Usage("", "--cost-center %s: it is charged nothing in %s%s", words.Cell(c), x.Period,
				words.Nearest(c, known))
		}
	}
	return out, nil
}

// brief is an error without its hints, as it is remembered.
func brief(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\nhint: ")
	return s
}

// copyPackage puts a package into a folder: the zip by one rename; the folder written beside, and renamed. One that is
// there and as it was made is left alone. Where an older one is there, a kill between two renames leaves neither, and
// the next run writes it.
func copyPackage(ctx context.Context, lake *publish.Lake, x *pack.Index, p pack.Package, dir string) error {
	target := filepath.Join(dir, p.Name)
	if p.Intact(lake, target) == nil {
		return nil
	}
	temp, old := filepath.Join(dir, ".usagelake-"+p.Name), filepath.Join(dir, ".usagelake-old-"+p.Name)
	defer func() { _, _ = os.RemoveAll(temp), os.RemoveAll(old) }()
	if err := errors.Join(os.RemoveAll(temp), os.RemoveAll(old), os.Mkdir(temp, folderMode(lake))); err != nil {
		return err
	}
	for _, f := range p.Files {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := lake.Out().Copy(filepath.Join(x.Folder(p), filepath.FromSlash(f.Path)),
			filepath.Join(temp, filepath.FromSlash(f.Path))); err != nil {
			return err
		}
	}
	if err := os.Rename(target, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(temp, target); err != nil {
		return err
	}
	// Last, and it makes the names in the folder durable: whose zip is there has all of it.
	return lake.Out().Copy(x.Zip(p), target+".zip")
}

// folderMode is the mode of a folder for packages: as private as the lake is.
func folderMode(lake *publish.Lake) fs.FileMode {
	if lake.Group {
		return durable.GroupDirMode &^ fs.ModeSetgid
	}
	return durable.DirMode
}

// packAfter makes and delivers the packages of a month that was closed just now, where the config says so. The month is
// closed, whatever comes of it: an error is a PackagesError.
func packAfter(ctx context.Context, cfg *config.Config, env Env, month schemas.Month, phase func(string),
	progress func(done, total int)) (packed *Packed, err error) {
	if cfg.Packages.After != config.AfterClose {
		return nil, nil
	}
	if phase != nil {
		phase("make the packages")
	}
	err = Guarded(func() (err error) {
		packed, err = Pack(ctx, cfg, env, PackageOptions{Month: month, Phase: phase, Progress: progress})
		return err
	})
	LogPanic(env.Logger, err)
	if err = brokenOff(ctx, err); err == nil || errors.As(err, new(*stoppedError)) || errors.As(err, new(*PackagesError)) {
		return packed, err
	}
	err = fmt.Errorf("the month is closed, and its packages could not be made: %w", err)
	return packed, &PackagesError{&config.Hint{Err: err,
		Hint: "usagelake package --month last   (makes and delivers what lacks)"}}
}

// packageJob is a job of the schedule: the packages of the last closed month, and of those before of which something is
// undelivered. It is journaled when it has ended, so that no other run waits for a receiver.
func packageJob(ctx context.Context, cfg *config.Config, env Env) (*Result, error) {
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	closed, err := lake.Closed()
	if err != nil {
		return nil, err
	}
	started := env.Now()
	var errs []error
	for i, c := range closed {
		remembered, err := pack.ReadDeliveries(lake.Lake, c.Month)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if i < len(closed)-1 && remembered.Error == "" && len(remembered.Undelivered()) == 0 {
			continue
		}
		packed, err := Pack(ctx, cfg, env, PackageOptions{Month: c.Month})
		if packed != nil {
			env.Logger.Info("packages", "month", packed.Month, "made", packed.Made, "packages", len(packed.Packages),
				"delivered", len(packed.Delivered), "undelivered", len(packed.Undelivered))
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	failed := errors.Join(errs...)
	return underLock(ctx, cfg, env, "package", true,
		func(_ context.Context, _ *publish.Lake, res *Result) error {
			res.StartedAt = started.UTC()
			return failed
		})
}
