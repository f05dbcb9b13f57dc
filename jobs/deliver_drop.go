package jobs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/deliver"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// ParseDrops reads what of a delivery is to be given up: accounts, such as "acme", days of them, such as
// "acme/2026-11-20", and days from one to another that isn't among them, "acme/2026-11-20/2026-11-24".
func ParseDrops(names []string) ([]deliver.Drop, error) {
	var out []deliver.Drop
	for _, name := range names {
		account, days, some := strings.Cut(name, "/")
		drop := deliver.Drop{Account: account}
		err := schemas.ValidateAccount(account)
		if err == nil && some {
			first, end, ranged := strings.Cut(days, "/")
			if drop.From, err = schemas.ParseDate(first); err == nil {
				drop.To = drop.From + 1
			}
			if err == nil && ranged {
				drop.To, err = schemas.ParseDate(end)
			}
			if err == nil && drop.To <= drop.From {
				err = fmt.Errorf("%s is not after %s, and is excluded", drop.To, drop.From)
			}
		}
		if err != nil {
			return nil, config.Usage("--drop acme, acme/2026-11-20, or acme/2026-11-20/2026-11-24 without the 24th",
				"--drop %q: %w", name, err)
		}
		out = append(out, drop)
	}
	return out, nil
}

// checkDrops refuses what no target holds anything of, before anything is delivered: it would be a name that was
// mistyped. A target that can't be asked says so when it is delivered to.
func checkDrops(ctx context.Context, lake *publish.Lake, env Env, opts DeliverOptions) error {
	if len(opts.Drop) == 0 {
		return nil
	}
	known := map[string]deliver.Held{}
	found := make([]bool, len(opts.Drop))
	for _, to := range opts.To {
		target, o, err := targetOf(ctx, env, to, opts)
		if err != nil {
			return nil
		}
		held, here, err := deliver.FindDrops(ctx, lake.Lake, target, o, opts.Drop)
		if err != nil {
			return nil
		}
		for _, h := range held {
			was := known[h.Account]
			known[h.Account] = deliver.Held{Account: h.Account, First: min(cmp.Or(was.First, h.First), h.First),
				Last: max(was.Last, h.Last)}
		}
		for i := range here {
			found[i] = found[i] || here[i]
		}
	}
	for i, x := range opts.Drop {
		if found[i] {
			continue
		}
		h, ok := known[x.Account]
		if ok {
			return config.Usage("", "--drop: of the days of account %s that it names none is delivered: what is are days from "+
				"%s to %s", x.Account, h.First, h.Last)
		}
		var names []string
		for name := range known {
			names = append(names, name)
		}
		slices.Sort(names)
		if len(names) == 0 {
			return config.Usage("", "--drop %s: nothing of any account is delivered there", x.Account)
		}
		meant, _ := strings.CutPrefix(words.Nearest(x.Account, names), ": ")
		if !strings.HasSuffix(meant, "?") { // a list, or nothing
			meant = ""
		}
		return config.Usage(meant, "--drop %s: nothing is delivered of an account of that name, but of %s", x.Account,
			words.Some(names, 10))
	}
	return nil
}
