package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/schemas"
)

// Validate fills in defaults and reports every mistake at once, each with its line where the config was read from a
// file: what couldn't be read of it, and what can't be meant. The error is ErrUsage.
func (c *Config) Validate() error {
	var errs []error
	for _, m := range c.unread {
		errs = append(errs, m)
	}
	if len(errs) > 0 && len(c.Accounts) == 0 { // most of what is wrong with the rest would follow from that
		return c.refused(errs)
	}
	for _, err := range c.impossible() {
		var m mistake
		if !errors.As(err, &m) || judged(m.path, c.unread) {
			errs = append(errs, err)
		}
	}
	return c.refused(errs)
}

// impossible lists what can't be meant.
func (c *Config) impossible() []error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, at(path, format, args...)) }
	if c.LakeAccess != "" && c.LakeAccess != AccessPrivate && c.LakeAccess != AccessGroup {
		bad("lake_access", "lake_access: %q is neither %s nor %s", c.LakeAccess, AccessPrivate, AccessGroup)
	}
	names := map[string]bool{}
	for i, a := range c.Accounts {
		path := fmt.Sprintf("accounts[%d]", i)
		where := fmt.Sprintf("%s (%s)", path, a.Name)
		if strings.HasPrefix(a.KeyEnv, keyPrefix) {
			bad(path, "%s: key_env holds a key: write the name of a variable there, "+
				"and revoke that key if others could read the file", path)
		}
		for _, err := range a.Validate() {
			bad(path, "%s: %w", where, err)
		}
		if names[a.Name] {
			bad(path, "%s: name: another account has it too", where)
		}
		names[a.Name] = true
	}
	errs = append(errs, c.checkTopUps()...)
	errs = append(errs, c.Close.Validate()...)
	errs = append(errs, c.Packages.Validate()...)
	errs = append(errs, c.Owners.Validate(c.AccountNames())...)
	errs = append(errs, c.EndUsers.Validate()...)
	errs = append(errs, c.Journal.Validate()...)
	errs = append(errs, c.Export.Validate()...)
	errs = append(errs, c.Schedule.Validate(c.AccountNames())...)
	errs = append(errs, c.Serve.Validate(c.AccountNames())...)
	if c.Prune.Raw == 0 && slices.ContainsFunc(c.Schedule.Jobs, func(j Job) bool { return j.Kind == KindPrune }) {
		bad("schedule", "schedule: a job of kind prune has nothing to go by: "+
			"set prune: raw: to how long raw files of closed months are kept")
	}
	for i, j := range c.Schedule.Jobs {
		path := fmt.Sprintf("schedule.jobs[%d]", i)
		if j.Kind != KindDeliver {
			continue
		}
		if len(c.Deliver) == 0 {
			bad(path, "%s (%s): a job of kind deliver has nothing to do: say under deliver: where to", path, j.Name)
		} else if _, err := c.Deliveries(j.Deliver); err != nil {
			bad(path, "%s (%s): deliver: %w", path, j.Name, err)
		}
	}
	errs = append(errs, deliveries(c.Deliver)...)
	errs = append(errs, c.DuckDB.Validate()...)
	errs = append(errs, c.Prune.Validate()...)
	errs = append(errs, c.Alerts.Validate(c.AccountNames(), c.Budgets)...)
	books, err := c.Books.read()
	if err != nil {
		bad("books", "books: %w", err)
	}
	if err := c.Books.checkRates(); err != nil {
		bad("books", "books: %w", err)
	}
	for i, b := range c.Budgets {
		path := fmt.Sprintf("budgets[%d]", i)
		if _, err := b.Parse(books); err != nil {
			bad(path, "%s (%s): %w", path, b.Name, err)
		}
		if slices.ContainsFunc(c.Budgets[:i], func(o Budget) bool { return o.Name == b.Name }) {
			bad(path, "%s (%s): name: another budget has it too", path, b.Name)
		}
	}
	errs = append(errs, markups(c.Markups, books)...)
	return errs
}

// keyPrefix is what the Portal's management keys begin with.
const keyPrefix = "sk_mg_"

// Validate lists what can't be meant of an account. It shows no key.
func (a Account) Validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := schemas.ValidateAccount(a.Name); err != nil {
		bad("name: %w", err)
	}
	// By the rules of who will use it. A key is not at hand, nor needed, to check a config.
	if err := (extract.Options{BaseURL: a.BaseURL, Key: "-"}).Validate(); err != nil {
		errs = append(errs, err)
	}
	switch {
	case a.KeyEnv != "" && a.KeyFile != "":
		bad("give key_env or key_file, not both")
	case a.KeyEnv == "" && a.KeyFile == "":
		bad("give key_env (a variable that holds the key) or key_file (a file that only its owner can read)")
	}
	if a.Rate != 0 && !(a.Rate >= 0.001 && a.Rate <= 1000) { // NaN included
		bad("rate: %v is not between 0.001 and 1000 requests a second", a.Rate)
	}
	if a.MaxInFlight < 0 || a.MaxInFlight > 1000 {
		bad("max_in_flight: %d is not between 1 and 1000", a.MaxInFlight)
	}
	if a.PageSize < 0 || a.PageSize > 100_000 {
		bad("page_size: %d is not between 1 and 100000", a.PageSize)
	}
	if a.Currency != "" && !schemas.IsCurrency(a.Currency) {
		bad("currency: %q is not an ISO 4217 code like USD: three capital letters", a.Currency)
	}
	if _, err := schemas.ParseDate(a.KeyExpires); a.KeyExpires != "" && err != nil {
		bad("key_expires: %w", err)
	}
	return append(errs, a.checkBilling()...)
}

// Validate lists what can't be meant.
func (c Export) Validate() []error {
	for _, age := range c.RefetchAt {
		if age <= 0 {
			return []error{at("export.refetch_at", "export.refetch_at: an age is more than 0: "+
				"write [48h, 7d, 30d], or [] to fetch no day anew")}
		}
	}
	return nil
}

var memorySize = regexp.MustCompile(`^[1-9][0-9]*(MB|MiB|GB|GiB)$`)

// Validate lists what DuckDB wouldn't take.
func (c DuckDB) Validate() []error {
	var errs []error
	if c.Memory != "" && !memorySize.MatchString(c.Memory) {
		errs = append(errs, at("duckdb.memory", "duckdb.memory: %q is not a size such as 512MB or 4GB", c.Memory))
	}
	if c.Threads < 0 || c.Threads > 1024 {
		errs = append(errs, at("duckdb.threads", "duckdb.threads: %d is not between 0 and 1024", c.Threads))
	}
	return errs
}

// minAge is the shortest retention there is: a day at least, so that nothing is pruned before it is settled.
const minAge = 24 * time.Hour

// Validate lists the ages that are too short.
func (c Prune) Validate() []error {
	var errs []error
	for _, p := range []struct {
		path string
		age  Duration
	}{{"prune.raw", c.Raw}, {"prune.quarantine", c.Quarantine}} {
		if p.age != 0 && time.Duration(p.age) < minAge {
			errs = append(errs, at(p.path, "%s: %s is less than 1d", p.path, time.Duration(p.age)))
		}
	}
	return errs
}

// name is what a job of the schedule, an alert rule and a receiver may be called: it stands in metrics, logs and the
// journal.
var name = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// named lists what is wrong with such a name.
func named(s string) []error {
	if name.MatchString(s) {
		return nil
	}
	return []error{fmt.Errorf(
		"name: %q is not a name: 1 to 64 of a-z, 0-9, _ and -, starting with a letter or digit", s)}
}
