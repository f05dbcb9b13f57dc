package jobs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
)

// OrphanError says that a run did what it was to do, and that the lake keeps what can't be derived again (load.Orphan).
// Until that is mended or given up, every run is done in part.
type OrphanError struct {
	Orphans []load.Orphan // one at least
}

func (e *OrphanError) Error() string {
	first := e.Orphans[0]
	return fmt.Sprintf("%s can't be derived again, for raw files are gone; what was derived is kept as it is. The first: "+
		"%s\nhint: %s\nhint: usagelake verify lists all of them",
		words.Plural(len(daysOf(e.Orphans)), "day", "days"), first, first.Hint())
}

// daysOf are the days that orphans are of, each once, in order.
func daysOf(orphans []load.Orphan) []schemas.Partition {
	var out []schemas.Partition
	for _, o := range orphans {
		out = append(out, o.Partition)
	}
	slices.SortFunc(out, schemas.Partition.Compare)
	return slices.Compact(out)
}

// maxOrphans is how many orphans a run logs.
const maxOrphans = 10

// keepOrphans notes what a publish found.
func (r *Result) keepOrphans(found []load.Orphan, env Env) {
	r.Orphans = found
	for i, o := range found {
		if i == maxOrphans {
			env.Logger.Error("and more days that can't be derived again", "more", len(found)-i)
			break
		}
		env.Logger.Error("it can't be derived again and is kept as it is", "day", o.Partition.String(), "what", o.What, "why",
			o.Why)
	}
}

// drops are what somebody said is to be given up, by name: days, and closed months whose statements are gone.
type drops struct {
	days   []schemas.Partition
	months []schemas.Month
}

// parseDrops reads names such as "acme/2026-11-20" and "2026-10".
func parseDrops(names []string) (drops, error) {
	var d drops
	for _, name := range names {
		if account, date, ok := strings.Cut(name, "/"); ok {
			day, err := schemas.ParseDate(date)
			if err == nil {
				err = schemas.ValidateAccount(account)
			}
			if err != nil {
				return d, config.Usage("", "--drop-orphans %q: %w", name, err)
			}
			d.days = append(d.days, schemas.Partition{Account: account, Date: day})
			continue
		}
		month, err := schemas.ParseMonth(name)
		if err != nil {
			return d, config.Usage("",
				"--drop-orphans %q names neither a day, as acme/2026-11-20 does, nor a closed month, as 2026-10", name)
		}
		d.months = append(d.months, month)
	}
	return d, nil
}

// QuarantineError says that half or more of what an account's export brought could not be normalised: it counts in no
// figure, and something is wrong with the Portal or with this program.
type QuarantineError struct {
	Account           string
	Rows, Quarantined int64 // of the days that were derived
	Others            int   // accounts besides
}

func (e *QuarantineError) Error() string {
	others := ""
	if e.Others > 0 {
		others = fmt.Sprintf(" (and so of %s more)", words.Plural(e.Others, "account", "accounts"))
	}
	return fmt.Sprintf("account %s: %d of %d records could not be normalised and are in quarantine%s: they count in no "+
		"figure", e.Account, e.Quarantined, e.Rows+e.Quarantined, others)
}

// mostlyQuarantined says whether an export brought as much into quarantine as into the tables, or more.
func (x *exporter) mostlyQuarantined() bool {
	return x.out.Quarantined > 0 && x.out.Quarantined >= x.rows
}

// quarantineVerdict is the outcome of an export in which nothing else went wrong.
func quarantineVerdict(accounts []*exporter) error {
	var first *QuarantineError
	for _, x := range accounts {
		switch {
		case !x.mostlyQuarantined():
		case first == nil:
			first = &QuarantineError{Account: x.account.Name, Rows: x.rows, Quarantined: x.out.Quarantined}
		default:
			first.Others++
		}
	}
	if first == nil {
		return nil
	}
	return &config.Hint{Err: first,
		Hint: "usagelake query \"SELECT reason, field, count(*) FROM quarantine GROUP BY ALL ORDER BY 3 DESC\""}
}
