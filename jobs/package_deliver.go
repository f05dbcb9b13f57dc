package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/usagelake/usagelake/jobs/alert"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/pack"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas/words"
)

// handing delivers the packages of a month.
type handing struct {
	lake       *publish.Lake
	index      *pack.Index
	remembered *pack.Deliveries
	env        Env
	again      bool
	phase      func(string)

	delivered, failed []pack.Delivery
	before            int
}

// HeaderPackage is the header of a webhook's request that says which package it is.
const HeaderPackage = "X-Usagelake-Package"

// deliver delivers each of the packages to those who get it and haven't got it, and writes down what became of it after
// each: a kill has at most the one that was under way delivered once more. A receiver that doesn't answer is left alone
// for the rest of the run; one that refuses a package is given the next.
func (d *handing) deliver(ctx context.Context, cfg *config.Config, packages []pack.Package) error {
	d.delivered, d.failed = []pack.Delivery{}, []pack.Delivery{}
	d.remembered.Keep(func(o pack.Delivery) bool {
		for _, r := range cfg.Packages.Deliver {
			if r.Name == o.Receiver && r.Takes(o.CostCenter) {
				for _, p := range d.index.Packages {
					if p.CostCenter == o.CostCenter {
						return true
					}
				}
			}
		}
		return false
	})
	// What is to be delivered is written down first, so that a kill leaves a lake that knows what lacks.
	for _, r := range cfg.Packages.Deliver {
		d.unknown(r)
		for _, p := range packages {
			if was := d.remembered.Of(r.Name, p.CostCenter); r.Takes(p.CostCenter) && (d.again || was.SHA256 != p.SHA256) {
				d.remembered.Put(pack.Delivery{Receiver: r.Name, CostCenter: p.CostCenter, SHA256: p.SHA256})
			}
		}
	}
	if err := d.remembered.Write(d.lake.Lake); err != nil {
		return err
	}
	for _, r := range cfg.Packages.Deliver {
		if err := d.to(ctx, cfg, r, packages); err != nil {
			return brokenOff(ctx, err)
		}
	}
	if len(d.failed) == 0 {
		return nil
	}
	first := d.failed[0]
	err := fmt.Errorf("%s of packages of %s failed, the rest is done; the first: %s for %s: %s",
		words.Plural(len(d.failed), "delivery", "deliveries"), d.index.Period, first.Receiver,
		words.Cell(first.CostCenter), first.Error)
	return &PackagesError{&config.Hint{Err: err, Hint: fmt.Sprintf(
		"usagelake package --month %s   (delivers what wasn't)", d.index.Period)}}
}

// unknown warns of cost centres of a receiver that have no package: a mistyped one would never be delivered.
func (d *handing) unknown(r config.PackageReceiver) {
	for _, c := range r.CostCenters {
		known := false
		for _, p := range d.index.Packages {
			known = known || p.CostCenter == c
		}
		if !known {
			d.env.Logger.Warn("a receiver of packages is given nothing of a cost centre: it is charged nothing in the month",
				"receiver", r.Name, "cost_center", c, "month", d.index.Period)
		}
	}
}

// to delivers to one receiver.
func (d *handing) to(ctx context.Context, cfg *config.Config, r config.PackageReceiver, packages []pack.Package) error {
	hand, err := d.receiver(cfg, r)
	for _, p := range packages {
		o := d.remembered.Of(r.Name, p.CostCenter)
		if !r.Takes(p.CostCenter) {
			continue
		}
		if !o.DeliveredAt.IsZero() && r.Folder == "" { // a folder is looked at: somebody may have emptied it
			d.before++
			continue
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if d.phase != nil {
			d.phase("deliver to " + r.Name)
		}
		// Whoever can't be reached isn't tried for each of some hundred packages.
		refused := (*alert.SendError)(nil)
		if err == nil || errors.As(err, &refused) && refused.Refused {
			var written bool
			if written, err = hand(ctx, p); err == nil && !written && !o.DeliveredAt.IsZero() {
				d.before++
				continue
			}
			if cause := context.Cause(ctx); err != nil && cause != nil { // broken off, and no failure of the receiver's
				return cause
			}
			if err != nil {
				o.Attempts++
			}
		}
		if err != nil {
			o.Error, o.DeliveredAt = brief(err), time.Time{}
			d.failed = append(d.failed, o)
		} else {
			o.Error, o.Attempts, o.DeliveredAt = "", 0, d.env.Now().UTC()
			d.delivered = append(d.delivered, o)
		}
		d.remembered.Put(o)
		if err := d.remembered.Write(d.lake.Lake); err != nil {
			return err
		}
	}
	return nil
}

// receiver is how a receiver is given a package; written is false if it had it already.
func (d *handing) receiver(cfg *config.Config, r config.PackageReceiver) (
	hand func(context.Context, pack.Package) (written bool, err error), err error) {
	timeout := time.Duration(r.Timeout)
	if timeout == 0 {
		timeout = config.DefaultHandingTimeout
	}
	switch {
	case r.Folder != "":
		return d.folder(r)
	case len(r.Command) > 0:
		c := &alert.Command{Receiver: r.Name, Argv: r.Command, Timeout: timeout, Hide: cfg.SecretVariables(),
			Logger: d.env.Logger}
		return func(ctx context.Context, p pack.Package) (bool, error) {
			manifest, err := os.ReadFile(d.index.Manifest(p))
			if err != nil {
				return false, err
			}
			folder, err := filepath.Abs(d.index.Folder(p))
			if err != nil {
				return false, err
			}
			return true, c.Run(ctx, manifest, "package", p.Name, "USAGELAKE_PACKAGE="+folder,
				"USAGELAKE_PACKAGE_ZIP="+folder+".zip", "USAGELAKE_PACKAGE_SHA256="+p.SHA256,
				"USAGELAKE_PACKAGE_MONTH="+d.index.Period, "USAGELAKE_PACKAGE_COST_CENTER="+p.CostCenter)
		}, nil
	}
	w, err := PackageWebhook(d.env, r)
	if err != nil {
		return nil, err
	}
	w.Timeout = timeout
	return func(ctx context.Context, p pack.Package) (bool, error) {
		path, kind := d.index.Zip(p), "application/zip"
		if r.Send == config.SendIndex {
			path, kind = d.index.Manifest(p), "application/json; charset=utf-8"
		}
		info, err := os.Stat(path)
		if err != nil {
			return false, err
		}
		return true, w.Post(ctx, alert.Payload{ID: p.SHA256, Type: kind, Header: map[string]string{HeaderPackage: p.Name},
			Size: info.Size(), Open: func() (io.ReadCloser, error) { return os.Open(path) }})
	}, nil
}

// folder delivers into a folder, of which the month has one of its own. It isn't made: where a share isn't mounted,
// what was written would be on this machine.
func (d *handing) folder(r config.PackageReceiver) (func(context.Context, pack.Package) (bool, error), error) {
	if info, err := os.Stat(r.Folder); err != nil {
		return nil, fmt.Errorf("receiver %s: its folder: %w", r.Name, err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("receiver %s: %s is no folder", r.Name, r.Folder)
	}
	dir := filepath.Join(r.Folder, d.index.Period)
	return func(ctx context.Context, p pack.Package) (bool, error) {
		if p.Intact(d.lake, filepath.Join(dir, p.Name)) == nil {
			return false, nil
		}
		err := os.MkdirAll(dir, folderMode(d.lake))
		if err == nil {
			err = copyPackage(ctx, d.lake, d.index, p, dir)
		}
		if err != nil {
			err = fmt.Errorf("receiver %s: %w", r.Name, err)
		}
		return true, err
	}, nil
}

// PackageWebhook is the webhook of a receiver of packages, with its secrets as they are now.
func PackageWebhook(env Env, r config.PackageReceiver) (*alert.Webhook, error) {
	whose := "receiver " + r.Name
	url, err := config.Secret(whose, "URL", r.WebhookEnv, r.WebhookFile, env.Getenv)
	if err != nil {
		return nil, err
	}
	if err := alert.CheckURL(url); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", whose, r.WebhookEnv+r.WebhookFile, err)
	}
	key := ""
	if r.HMACEnv != "" || r.HMACFile != "" {
		if key, err = config.Secret(whose, "HMAC secret", r.HMACEnv, r.HMACFile, env.Getenv); err != nil {
			return nil, err
		}
	}
	return &alert.Webhook{Receiver: r.Name, URL: url, Secret: key, UserAgent: "usagelake/" + env.Version,
		Transport: env.Transport, Now: env.Now}, nil
}
