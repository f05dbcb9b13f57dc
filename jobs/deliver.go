package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/load/catalog"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/durable"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
)

// DeliverOptions say what is delivered. The zero value delivers everything that the config says.
type DeliverOptions struct {
	To    []config.Delivery
	Adopt bool // the lake takes the identity of what is there
	Anew  map[string]bool
	Drop  []deliver.Drop // what is given up though the lake doesn't say so; ParseDrops
	Watch func(name string, p deliver.Progress)
}

// FinanceTables are the tables and views of the published file that a delivery of finance holds, a Parquet file each.
func FinanceTables() []string {
	return []string{"accounts", "periods", "coverage_daily", "completeness_monthly", "usage_daily", "chargeback_daily",
		"chargeback_monthly", "unallocated", "budget_status", "closed_months", "allocation_rules", "shared_cost_shares",
		"book_rates", "prepaid_ledger", "credits", "prepaid_monthly", "markup_monthly", "unit_economics", "metric_lines"}
}

// TargetsError says that some of several targets failed, each for its own reason; the others are done.
type TargetsError struct{ Err error }

func (e *TargetsError) Error() string { return e.Err.Error() }
func (e *TargetsError) Unwrap() error { return e.Err }

// eachTarget does something with each target, one after the other. One that fails doesn't keep the others, and where it
// isn't all of them that fail, the error is a TargetsError. What a stop breaks off ends with that.
func eachTarget(ctx context.Context, opts DeliverOptions, do func(config.Delivery) error) error {
	var errs []error
	for _, to := range opts.To {
		err := context.Cause(ctx)
		if err == nil {
			err = do(to)
		}
		if err = brokenOff(ctx, err); errors.As(err, new(*stoppedError)) {
			return err
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	err := errors.Join(errs...)
	if n := len(errs); n > 0 && n < len(opts.To) {
		return &TargetsError{err}
	}
	return err
}

// Deliver delivers the lake to each target. It takes no lock of the lake: a run that goes on meanwhile replaces files
// whole, and the next delivery brings them. There is a report of each target, but for those that a stop came before.
func Deliver(ctx context.Context, cfg *config.Config, env Env, opts DeliverOptions) ([]*deliver.Report, error) {
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	if err := checkDrops(ctx, lake, env, opts); err != nil {
		return nil, err
	}
	var out []*deliver.Report
	err = eachTarget(ctx, opts, func(to config.Delivery) error {
		report, err := deliverTo(ctx, lake, env, to, opts)
		if report == nil {
			report = &deliver.Report{Name: to.Name, URL: to.To, EndedAt: env.Now().UTC()}
		}
		if err != nil {
			report.Error, _, _ = strings.Cut(brokenOff(ctx, err).Error(), "\nhint: ")
		}
		out = append(out, report)
		return err
	})
	return out, err
}

func deliverTo(ctx context.Context, lake *publish.Lake, env Env, to config.Delivery, opts DeliverOptions) (
	*deliver.Report, error) {
	target, o, err := targetOf(ctx, env, to, opts)
	if err == nil && slices.Contains(to.What, deliver.WhatFinance) {
		target.Extra, err = financeFiles(ctx, lake, lake.Path(deliver.Dir, to.Name, "finance"))
	}
	if err != nil {
		err = fmt.Errorf("deliver to %s (%s): %w", to.Name, to.To, err)
		return nil, errors.Join(err, deliver.Failed(lake.Lake, to.Name, to.To, env.Now(), err))
	}
	return deliver.Deliver(ctx, lake.Lake, target, o)
}

// tell logs what became of deliveries that nobody watches.
func tell(env Env, reports []*deliver.Report, err error) {
	for _, r := range reports {
		if r.Number == 0 { // it failed: the error says all there is
			continue
		}
		env.Logger.Info("delivery", "to", r.Name, "url", r.URL, "manifest", r.Number, "changed", r.Changed, "sent", r.Sent,
			"bytes", r.SentBytes, "replaced", r.Retired, "lost", len(r.Lost))
	}
	if err != nil {
		env.Logger.Error("not delivered; the next delivery makes it up", "error", err)
	}
}

// targetOf opens the bucket of a delivery.
func targetOf(ctx context.Context, env Env, to config.Delivery, opts DeliverOptions) (deliver.Target, deliver.Options,
	error) {
	target := deliver.Target{Name: to.Name, Place: strings.TrimSpace(to.To + " " + to.Endpoint), What: to.What,
		Keep: time.Duration(to.Keep), As: to.As,
		Delta: slices.Contains(to.Tables, config.TableDelta), Iceberg: slices.Contains(to.Tables, config.TableIceberg)}
	o := deliver.Options{Now: env.Now, Version: env.Version, Logger: env.Logger, Adopt: opts.Adopt, Drop: opts.Drop,
		Anew: opts.Anew}
	if opts.Watch != nil {
		o.Watch = func(p deliver.Progress) { opts.Watch(to.Name, p) }
	}
	var err error
	if target.Bucket, err = OpenBucket(ctx, env, to); err == nil && to.Iceberg.Set() {
		target.Catalog, err = openCatalog(env, to.Iceberg)
	}
	return target, o, err
}

// openCatalog opens the catalog of a delivery's Iceberg table; it asks nobody anything yet.
func openCatalog(env Env, c config.IcebergCatalog) (*catalog.Catalog, error) {
	o := c.Options()
	var err error
	if o.Token, o.Client.Secret, err = c.Secrets(env.Getenv); err != nil {
		return nil, err
	}
	o.Transport, o.UserAgent = env.Transport, "usagelake/"+env.Version
	if c.SigV4 != "" {
		o.Sign = bucket.Signer(env.Getenv, c.SigV4, "glue")
	}
	return catalog.Open(o)
}

// OpenBucket opens the bucket of a delivery; it asks the store nothing yet.
func OpenBucket(ctx context.Context, env Env, to config.Delivery) (bucket.Bucket, error) {
	return bucket.Open(ctx, to.To, bucket.Options{Endpoint: to.Endpoint, Region: to.Region, Encryption: to.Encryption,
		Getenv: env.Getenv, Transport: env.Transport, UserAgent: "usagelake/" + env.Version})
}

// financeFiles are FinanceTables as Parquet files, kept in dir beside what the lake remembers of the delivery, and made
// anew if another file was published since.
func financeFiles(ctx context.Context, lake *publish.Lake, dir string) ([]deliver.Extra, error) {
	out, stamp, err := financeKept(lake, dir)
	if err != nil || stamp == "" {
		return out, err
	}
	if err := lake.MakeDirs(dir); err != nil {
		return nil, err
	}
	for i, table := range FinanceTables() {
		if _, err := query.WriteParquet(ctx, lake, "FROM "+table+" ORDER BY ALL", out[i].File); err != nil {
			return nil, fmt.Errorf("write %s: %w", out[i].File, err)
		}
	}
	return out, durable.Full(os.WriteFile(filepath.Join(dir, financeMark), []byte(stamp), durable.FileMode), lake.Dir())
}

// financeMark says of which published file the tables beside it are.
const financeMark = "published"

// financeKept are the files of financeFiles, and what financeMark must say once they are made anew; "" if they are
// those of the published file.
func financeKept(lake *publish.Lake, dir string) (out []deliver.Extra, stamp string, err error) {
	info, err := lake.DatabaseInfo()
	if err != nil {
		return nil, "", &config.Hint{Err: fmt.Errorf("finance is of the published file: %w", err),
			Hint: "usagelake export, or usagelake rebuild"}
	}
	for _, table := range FinanceTables() {
		file := table + ".parquet"
		out = append(out, deliver.Extra{Path: "finance/" + file, File: filepath.Join(dir, file)})
	}
	// With the tables, for another version of the program may deliver others of the same file.
	stamp = fmt.Sprintf("%d %s %s\n", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano),
		strings.Join(FinanceTables(), " "))
	if was, err := os.ReadFile(filepath.Join(dir, financeMark)); err == nil && string(was) == stamp {
		stamp = ""
	}
	return out, stamp, nil
}

// deliverAfter delivers what an export has published, where the config says so. What comes of it is no part of the
// export's outcome: it is remembered by itself, and made up by the next.
func deliverAfter(ctx context.Context, cfg *config.Config, env Env, res *Result, phase func(string)) {
	due := slices.DeleteFunc(slices.Clone(cfg.Deliver),
		func(d config.Delivery) bool { return d.After != config.AfterExport })
	if res == nil || len(due) == 0 || context.Cause(ctx) != nil {
		return
	}
	opts := DeliverOptions{To: due}
	if phase != nil {
		opts.Watch = func(name string, p deliver.Progress) { phase("deliver to " + name) }
	}
	err := Guarded(func() (err error) {
		res.Deliveries, err = Deliver(ctx, cfg, env, opts)
		return err
	})
	LogPanic(env.Logger, err)
	tell(env, res.Deliveries, err)
	if err != nil {
		res.Undelivered = err.Error()
	}
}

// deliverJob is a job of the schedule. It is journaled when it has ended, so that no other run waits for a store.
func deliverJob(ctx context.Context, cfg *config.Config, env Env, names []string) (*Result, error) {
	to, err := cfg.Deliveries(names)
	if err != nil {
		return nil, err
	}
	started := env.Now()
	reports, failed := Deliver(ctx, cfg, env, DeliverOptions{To: to})
	tell(env, reports, failed)
	return underLock(ctx, cfg, env, "deliver", true,
		func(_ context.Context, _ *publish.Lake, res *Result) error {
			res.StartedAt, res.Deliveries = started.UTC(), reports
			return failed
		})
}

// DryRunDeliver tells what a delivery would do. It writes nothing into the lake: tables of finance that a delivery
// would make anew are made in a directory that goes with it.
func DryRunDeliver(ctx context.Context, cfg *config.Config, env Env, opts DeliverOptions) ([]*deliver.Plan, error) {
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	if err := checkDrops(ctx, lake, env, opts); err != nil {
		return nil, err
	}
	var out []*deliver.Plan
	err = eachTarget(ctx, opts, func(to config.Delivery) error {
		plan, err := planDelivery(ctx, lake, env, to, opts)
		if plan != nil {
			out = append(out, plan)
		}
		return err
	})
	return out, err
}

func planDelivery(ctx context.Context, lake *publish.Lake, env Env, to config.Delivery, opts DeliverOptions) (
	*deliver.Plan, error) {
	target, o, err := targetOf(ctx, env, to, opts)
	if err == nil && slices.Contains(to.What, deliver.WhatFinance) {
		var stamp string
		if target.Extra, stamp, err = financeKept(lake, lake.Path(deliver.Dir, to.Name, "finance")); stamp != "" {
			scratch, done, failed := lake.Scratch()
			if failed != nil {
				return nil, failed
			}
			defer done()
			target.Extra, err = financeFiles(ctx, lake, filepath.Join(scratch, "finance"))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("deliver to %s (%s): %w", to.Name, to.To, err)
	}
	return deliver.DryRun(ctx, lake.Lake, target, o)
}

// VerifyDelivered holds what is delivered against its manifest; see deliver.Verify.
func VerifyDelivered(ctx context.Context, cfg *config.Config, env Env, opts DeliverOptions, deep bool) (
	[]*deliver.Verified, error) {
	lake, err := publish.Open(cfg.Lake, env.LakeOptions(cfg))
	if err != nil {
		return nil, NoLake(err)
	}
	var out []*deliver.Verified
	err = eachTarget(ctx, opts, func(to config.Delivery) error {
		target, o, err := targetOf(ctx, env, to, opts)
		if err != nil {
			return fmt.Errorf("verify %s (%s): %w", to.Name, to.To, err)
		}
		v, err := deliver.Verify(ctx, lake.Lake, target, o, deep)
		if err == nil {
			out = append(out, v)
		}
		return err
	})
	return out, err
}

// Restore makes a lake of what was delivered, and publishes it. The Result is nil if it came to no publishing.
func Restore(ctx context.Context, cfg *config.Config, env Env, from config.Delivery, watch func(deliver.Progress),
	phase func(string)) (restored *deliver.Restored, res *Result, err error) {
	defer func() { err = brokenOff(ctx, err) }()
	b, err := OpenBucket(ctx, env, from)
	if err != nil {
		return nil, nil, fmt.Errorf("restore from %s: %w", from.To, err)
	}
	restored, err = deliver.Restore(ctx, b, from.As, cfg.Lake, cfg.LakeAccess == config.AccessGroup, watch)
	if err != nil {
		return restored, nil, err
	}
	res, err = underLock(ctx, cfg, env, "restore", false,
		func(ctx context.Context, lake *publish.Lake, res *Result) error {
			return publishFile(ctx, lake, env, res, phase, true, nil)
		})
	return restored, res, err
}
