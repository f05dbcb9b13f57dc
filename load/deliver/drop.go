package deliver

import (
	"context"
	"errors"
	"slices"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/load/bucket"
	"github.com/usagelake/usagelake/schemas"
)

// Drop names what is to be given up: the days [From, To) of an account, all of them if To is 0. What of it the lake has
// stays as it is: a file that the next delivery would bring back isn't given up.
type Drop struct {
	Account  string
	From, To schemas.Date
}

// names says whether a file is of what is to be given up.
func (x Drop) names(f File) bool {
	if f.Account != x.Account || x.To == 0 {
		return f.Account == x.Account
	}
	date, err := schemas.ParseDate(f.Date)
	return err == nil && x.From <= date && date < x.To
}

// Held are the months that a target has something of, for an account.
type Held struct {
	Account     string
	First, Last string // 2026-10
}

// FindDrops says which accounts are delivered to a target, in order, and of which drops there is any file. It writes
// nothing.
func FindDrops(ctx context.Context, lake *load.Lake, t Target, opts Options, drops []Drop) (held []Held, found []bool,
	err error) {
	found = make([]bool, len(drops))
	d, _, err := begin(ctx, lake, t, opts, true)
	if err != nil {
		return nil, nil, err
	}
	remote, err := fetchRoot(ctx, t.Bucket, d.manifestKey())
	if errors.Is(err, bucket.ErrAbsent) {
		return nil, found, nil
	}
	if err == nil {
		err = d.adopt(ctx, remote)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, g := range d.root.Manifest.Groups { // by account and month
		if g.Account == "" {
			continue
		}
		if n := len(held); n == 0 || held[n-1].Account != g.Account {
			held = append(held, Held{g.Account, g.Month, g.Month})
		}
		held[len(held)-1].Last = g.Month
		for i, x := range drops {
			if found[i] || x.Account != g.Account {
				continue
			}
			if x.To == 0 {
				found[i] = true
				continue
			}
			month, err := schemas.ParseMonth(g.Month)
			if err != nil || (month+1).First() <= x.From || x.To <= month.First() {
				continue
			}
			files, err := d.group(ctx, g)
			if err != nil {
				return nil, nil, err
			}
			found[i] = slices.ContainsFunc(files.Files, x.names)
		}
	}
	return held, found, nil
}
