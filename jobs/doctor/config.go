package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas"
	"github.com/usagelake/usagelake/schemas/words"
	"github.com/usagelake/usagelake/transform/allocate"
)

// What the Portal allows a key, and its largest page.
const (
	portalRate     = 2.0
	portalInFlight = 20
	portalPage     = 100
)

// checkConfig looks for what a config may say and hardly means.
func (d *doctor) checkConfig(ctx context.Context) {
	cfg := d.cfg
	if cfg.Path == "" {
		d.ok("config", "no file: one account from the environment (usagelake init writes one)")
	} else if info, err := os.Stat(cfg.Path); err == nil && info.Mode().Perm()&0o002 != 0 {
		d.warn("config", "chmod o-w "+cfg.Path,
			"anybody on this machine can change %s (its mode is %04o), and so have the keys sent elsewhere", cfg.Path,
			info.Mode().Perm())
	} else {
		d.ok("config", "%s, %s", cfg.Path, words.Plural(len(cfg.Accounts), "account", "accounts"))
	}
	d.checkEnvironment()
	for _, a := range d.accounts() {
		d.checkSettings(a)
	}
	d.checkExport()
	d.checkNames()
	d.checkFinance(ctx)
	d.checkPackages()
	d.checkOwners()
	d.checkViewers()
}

// checkOwners looks whether the owners' files can be made, and read by whom the config says, and the key of what is
// handed out be read.
func (d *doctor) checkOwners() {
	if d.cfg.EndUsers != (config.EndUsers{}) {
		if _, err := d.cfg.EndUsers.Handed(d.env.Getenv); err != nil {
			d.failure("end users", "", err)
		} else {
			d.ok("end users", "handed out: %s", d.cfg.EndUsers.HandedOut)
		}
	}
	if len(d.cfg.Owners.Files) == 0 {
		return
	}
	if info, err := os.Stat(d.cfg.Owners.Folder); err != nil || !info.IsDir() {
		d.fail("owners", "mount it, or make it: mkdir "+d.cfg.Owners.Folder, "their folder %s is not there",
			d.cfg.Owners.Folder)
		return
	}
	for _, o := range d.cfg.Owners.Files {
		if _, err := o.GID(); err != nil {
			d.failure("owners: "+o.Name, "", err)
			continue
		}
		d.ok("owners: "+o.Name, "a file of his own in %s", filepath.Join(d.cfg.Owners.Folder, o.Name))
	}
}

// checkViewers looks at what viewers of finance's page are known by.
func (d *doctor) checkViewers() {
	n := len(d.cfg.Serve.Viewers)
	if n == 0 {
		return
	}
	errs := d.cfg.CheckViewers(d.env.Getenv)
	for _, err := range errs {
		d.failure("viewers", "", err)
	}
	if len(errs) == 0 {
		d.ok("viewers", "%s of finance's page", words.Plural(n, "viewer", "viewers"))
	}
}

// checkEnvironment tells of variables that stand above the config, or that nothing reads.
func (d *doctor) checkEnvironment() {
	if d.cfg.Path == "" {
		return
	}
	var above []string
	for _, name := range []string{config.EnvBaseURL, config.EnvLake} {
		if d.env.Getenv(name) != "" {
			above = append(above, name)
		}
	}
	if len(above) > 0 {
		d.ok("environment", "%s stands above the config", strings.Join(above, " and "))
	}
	read := func(a config.Account) bool { return a.KeyEnv == config.EnvKey }
	if d.env.Getenv(config.EnvKey) != "" && !slices.ContainsFunc(d.cfg.Accounts, read) {
		d.warn("environment", "unset "+config.EnvKey+", or name it as key_env: of the account that it is for",
			"%s is set, and no account of the config reads it", config.EnvKey)
	}
}

// checkSettings looks at what an account is asked with.
func (d *doctor) checkSettings(a config.Account) {
	name := func(key string) string { return a.Name + ": " + key }
	if u, err := url.Parse(a.BaseURL); err == nil {
		switch loopback := u.Scheme == "http"; { // which config.Load takes for loopback addresses alone
		case !strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/management"):
			d.warn(name("base_url"), "write it like "+config.DefaultBaseURL, "%s doesn't end in /management", a.BaseURL)
		case loopback:
			d.warn(name("base_url"), "for the real Portal leave base_url out, and see whether "+config.EnvBaseURL+" is set",
				"%s is this machine: a simulated Portal, whose usage is made up", a.BaseURL)
		}
	}
	if a.Rate > portalRate {
		d.warn(name("rate"), "set rate: 1.95, or leave it out",
			"%g requests a second, and the Portal allows %g: what is more comes back as 429", a.Rate, portalRate)
	}
	if a.MaxInFlight > portalInFlight {
		d.warn(name("max_in_flight"), "set max_in_flight: 20, or leave it out",
			"%d requests at once, and the Portal allows %d", a.MaxInFlight, portalInFlight)
	}
	if size := a.PageSize; size > 0 && size < portalPage/2 {
		d.warn(name("page_size"), "leave it out", "%d records a page: an export takes %d times the requests that it needs",
			size, portalPage/size)
	}
}

// checkExport looks at how far exports go.
func (d *doctor) checkExport() {
	settle, lookback := time.Duration(d.cfg.Export.Settle), time.Duration(d.cfg.Export.Lookback)
	fine := true
	warn := func(key, hint, format string, args ...any) {
		fine = false
		d.warn("export."+key, hint, format, args...)
	}
	switch {
	case settle < time.Minute:
		warn("settle", "set settle: 10m",
			"%s: what is exported a moment after it happened may miss records that are still on their way", settle)
	case settle > 24*time.Hour:
		warn("settle", "set settle: 10m", "%s: what is published is always that old", settle)
	}
	switch {
	case lookback == 0:
		warn("lookback", "set lookback: 72h", "0s: records that come late, or are deleted later, are never noticed")
	case lookback < 24*time.Hour:
		warn("lookback", "set lookback: 72h", "%s: it checks whole days, and that is less than one", lookback)
	}
	ages := make([]string, len(d.cfg.Export.RefetchAt))
	for i, age := range d.cfg.Export.RefetchAt {
		ages[i] = words.Span(time.Duration(age))
	}
	if len(ages) == 0 && d.cfg.Export.RefetchEvery == 0 {
		warn("refetch_at", "set refetch_at: [48h, 7d, 30d], or leave it out",
			"[]: corrections that leave a day's count alone are never noticed")
	}
	if fine {
		d.ok("export", "settle %s, lookback %s, each day anew at an age of %s", words.Span(settle), words.Span(lookback),
			strings.Join(ages, ", "))
	}
}

// checkNames compares the accounts of the config with those of the lake.
func (d *doctor) checkNames() {
	if d.status == nil || len(d.status.Accounts) == 0 {
		return
	}
	configured := map[string]bool{}
	held := map[string]bool{}
	var gone, fresh []string
	for _, name := range d.cfg.AccountNames() {
		configured[name] = true
	}
	for _, a := range d.status.Accounts {
		held[a.Account] = true
		if !configured[a.Account] {
			gone = append(gone, a.Account)
		}
	}
	for _, name := range d.cfg.AccountNames() {
		if !held[name] {
			fresh = append(fresh, name)
		}
	}
	switch {
	// Each is a mistake of its own: a config that was forgotten, a name that was changed, an account that was taken out,
	// one that is new.
	case len(gone) > 0 && d.cfg.Path == "":
		d.warn("accounts", "was --config forgotten?",
			"the lake holds %s, and without a config there is the account %s alone: nothing new of the others is fetched",
			words.Some(gone, 5), config.DefaultAccount)
	case len(gone) > 0 && len(fresh) > 0:
		d.warn("accounts", "if it was renamed, take the old name back: an account is its name, in every path and table",
			"the lake holds %s, which the config doesn't have, and the config has %s, which the lake doesn't hold",
			words.Some(gone, 5), words.Some(fresh, 5))
	case len(gone) > 0:
		d.warn("accounts", "if its usage should go on, put it back under accounts:",
			"the lake holds %s, which the config doesn't have: nothing new of it is fetched", words.Some(gone, 5))
	case len(fresh) > 0:
		d.warn("accounts", "usagelake export --account "+fresh[0], "the lake holds nothing of %s yet", words.Some(fresh, 5))
	default:
		d.ok("accounts", "the lake and the config have the same")
	}
}

// stops is what a mistake in one of finance's files does.
const stops = "every command that publishes ends with 2 at this, before it does anything"

// checkFinance looks at rules, budgets, names and invoices, and at what of them does nothing. Each file is read as a
// run reads it, by the same functions: what passes here passes there.
func (d *doctor) checkFinance(ctx context.Context) {
	cfg := d.cfg
	published := d.status != nil && d.status.Database.Exists
	if cfg.Allocation.Rules != "" {
		d.checkRules(ctx, published)
	}
	d.checkBooks()
	d.checkRates(ctx, published)
	if len(cfg.Budgets) > 0 {
		d.checkBudgets(ctx, published)
	}
	if len(cfg.Markups) > 0 {
		d.checkMarkups(ctx, published)
	}
	d.checkTopUps()
	if cfg.Close.SSHKey != "" {
		if s, err := jobs.SignerOf(cfg, d.env); err != nil {
			d.failure("close.ssh_key", "correct it; until then no month is closed", err)
		} else {
			d.ok("close.ssh_key", "signs with %s", s.PublicKey())
		}
	}
	if cfg.Names != "" {
		if names, err := jobs.Called(cfg); err != nil {
			d.failure("names", "correct the file; "+stops, err)
		} else {
			d.ok("names", "%s", words.Plural(len(names), "name", "names"))
		}
	}
	if len(cfg.Metrics) > 0 {
		if lines, err := jobs.ReadMetrics(cfg); err != nil {
			d.failure("metrics", "correct the file, or metrics: in the config; "+stops, err)
		} else {
			d.ok("metrics", "%s of %s", words.Plural(len(lines), "line", "lines"),
				words.Plural(len(cfg.Metrics), "file", "files"))
		}
	}
	if len(cfg.Invoices) == 0 {
		return
	}
	lines, fine := 0, true
	for _, name := range cfg.Invoices {
		b, err := jobs.ReadFinanceFile(name)
		if err != nil {
			fine = false
			d.failure("invoices", "correct invoices: in the config; "+stops, err)
			continue
		}
		parsed, err := jobs.ParseInvoices(filepath.Base(name), b)
		if err != nil {
			fine = false
			d.failure("invoices", "correct the file; "+stops, fmt.Errorf("%s: %w", name, err))
			continue
		}
		lines += len(parsed)
		if odd := d.unknownAccounts(parsed); len(odd) > 0 {
			fine = false
			d.warn("invoices", "accounts are named as in the config", "%s names %s, which neither the config nor the lake has",
				name, words.Some(odd, 5))
		}
	}
	if fine {
		d.ok("invoices", "%s of %s", words.Plural(lines, "line", "lines"), words.Plural(len(cfg.Invoices), "file", "files"))
	}
}

func (d *doctor) unknownAccounts(lines []schemas.InvoiceLine) []string {
	known := d.cfg.AccountNames()
	if d.status != nil {
		for _, a := range d.status.Accounts {
			known = append(known, a.Account)
		}
	}
	var odd []string
	for _, l := range lines {
		if l.Account != "" && !slices.Contains(known, l.Account) && !slices.Contains(odd, l.Account) {
			odd = append(odd, l.Account)
		}
	}
	return odd
}

// booksAhead is how long before its end a file of periods is worth a word.
const booksAhead = 60

// checkBooks says by which calendar is charged, and when a file of periods ends: from then on nothing is published.
func (d *doctor) checkBooks() {
	books, err := d.cfg.ReadBooks()
	if err != nil || books == nil {
		return // config.Load refuses it; or nothing is said of it
	}
	list := books.Settings().Periods
	if len(list) == 0 || books.Covers(books.Day(d.now)+booksAhead) {
		d.ok("books", "%s", books)
		return
	}
	last := list[len(list)-1]
	d.warn("books", "add the periods that follow to "+d.cfg.Books.Calendar,
		"%s: %s ends before %s, and usage from then on can't be published", books, last.Name, last.To)
}

// maxFindings is how many findings about the rules are shown.
const maxFindings = 3

// checkRules asks the rules of what was ever used, if that is published; without it their form alone is told.
func (d *doctor) checkRules(ctx context.Context, published bool) {
	const name = "allocation rules"
	rules, err := jobs.Rules(d.cfg)
	if err != nil {
		d.failure(name, "correct allocation.rules in the config; "+stops, err)
		return
	}
	var used []allocate.Used
	if published {
		if used, err = jobs.UsedKeys(ctx, d.lake); err != nil && !errors.Is(err, query.ErrNotPublished) {
			d.failure(name, "usagelake verify", fmt.Errorf("not asked of the usage that is published: %w", err))
			return
		}
	}
	findings := rules.Check(used)
	if len(findings) == 0 {
		d.ok(name, "%s, %s", d.cfg.Allocation.Rules, words.Plural(len(rules.List()), "rule", "rules"))
		return
	}
	var lines []string
	for _, f := range findings[:min(len(findings), maxFindings)] {
		lines = append(lines, fmt.Sprintf("%s: %s", f.Source, f.Message))
	}
	if n := len(findings) - len(lines); n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	d.warn(name, "usagelake allocation check", "%s: %s\n%s", d.cfg.Allocation.Rules,
		words.Plural(len(findings), "finding", "findings"), strings.Join(lines, "\n"))
}

// checkMarkups finds mark-ups of cost centres that nothing was ever charged to: their fees would be charged to nobody.
func (d *doctor) checkMarkups(ctx context.Context, published bool) {
	var centers []string
	if published {
		// An older version's file, or one that can't be read: both are told elsewhere.
		centers, _ = jobs.Texts(ctx, d.lake, "SELECT DISTINCT cost_center FROM chargeback_daily")
	}
	var odd []string
	for _, m := range d.cfg.Markups {
		if m.CostCenter != "" && len(centers) > 0 && !slices.Contains(centers, m.CostCenter) {
			odd = append(odd, fmt.Sprintf("%q: nothing was ever charged to it%s", m.CostCenter,
				words.Nearest(m.CostCenter, centers)))
		}
	}
	if len(odd) > 0 {
		d.warn("markups", "correct markups: in the config; what the names are: usagelake report chargeback --by cost_center",
			"%s", strings.Join(odd, "\n"))
		return
	}
	d.ok("markups", "%s", words.Plural(len(d.cfg.Markups), "mark-up", "mark-ups"))
}

// checkBudgets finds budgets that no cost will ever be held against.
func (d *doctor) checkBudgets(ctx context.Context, published bool) {
	today := schemas.DateOf(d.now)
	seen := map[string][]string{} // by scope, what usage was charged to
	if published {
		for _, scope := range append(schemas.BudgetScopes(), "currency") {
			values, err := jobs.Texts(ctx, d.lake,
				fmt.Sprintf("SELECT DISTINCT %s FROM chargeback_daily WHERE %[1]s IS NOT NULL", scope))
			if err != nil {
				break // an older version's file, or one that can't be read: both are told elsewhere
			}
			seen[scope] = values
		}
	}
	charged := len(seen["account"]) > 0 // else nothing is, to anybody
	books, err := d.cfg.ReadBooks()
	if err != nil {
		return // config.Load refuses it
	}
	var odd []string
	inForce := 0
	for _, c := range d.cfg.Budgets {
		b, err := c.Parse(books)
		if err != nil {
			continue // config.Load refuses it
		}
		// A scope that could not be asked for has no values, which is not the same as none: nothing is said of it.
		never := func(scope, value string) bool {
			values, asked := seen[scope]
			return charged && asked && !slices.Contains(values, value)
		}
		switch {
		// A year typed wrong, most likely. One that begins sooner, or has ended, is none of today's.
		case b.From != nil && *b.From > today+366:
			odd = append(odd, fmt.Sprintf("%q begins on %s only", b.Name, b.From))
			continue
		case b.From != nil && *b.From > today, b.To != nil && *b.To <= today:
			continue
		}
		inForce++
		switch {
		case b.Scope != "" && never(b.Scope, b.Value):
			odd = append(odd, fmt.Sprintf("%q is for %s %q, to which nothing was ever charged", b.Name, b.Scope, b.Value))
		case len(seen["currency"]) > 0 && never("currency", b.Currency):
			odd = append(odd,
				fmt.Sprintf("%q is in %s, and all cost is in %s", b.Name, b.Currency, words.Some(seen["currency"], 5)))
		}
	}
	switch {
	case len(odd) > 0:
		d.warn("budgets", "correct budgets: in the config; what the names are: usagelake report chargeback --by cost_center",
			"%s", strings.Join(odd, "\n"))
	case inForce == 0:
		d.warn("budgets", "give one of them another to:, or add one", "%s, and none is in force today",
			words.Plural(len(d.cfg.Budgets), "budget", "budgets"))
	default:
		d.ok("budgets", "%s, %d in force today", words.Plural(len(d.cfg.Budgets), "budget", "budgets"), inForce)
	}
}
