package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Defaults of a Config, and the environment that a set-up without a file uses.
const (
	DefaultFile     = "usagelake.yaml"
	DefaultLake     = "./lake"
	DefaultAccount  = "default"
	DefaultBaseURL  = "https://portal-api.r9s.ai/api/v1/portal/management"
	DefaultSettle   = 10 * time.Minute
	DefaultLookback = 72 * time.Hour
	// FirstDays is how far back the first export of an account goes.
	FirstDays = 30

	EnvKey     = "USAGELAKE_API_KEY"
	EnvBaseURL = "USAGELAKE_BASE_URL"
	EnvLake    = "USAGELAKE_LAKE"
)

// Config is what a set-up is made of: a file, or the environment alone. Once Load has returned it nobody changes it: a
// daemon that reloads takes another one, and a run keeps the one that it began with. Who needs a different one (Job.Of)
// copies it first.
type Config struct {
	Lake string `yaml:"lake"`
	// LakeAccess is who may read the lake beside its owner: AccessPrivate (nobody) or AccessGroup (its group).
	LakeAccess string    `yaml:"lake_access"`
	Accounts   []Account `yaml:"accounts"`
	Export     Export    `yaml:"export"`
	// By which days and periods it is charged, and in which currency.
	Books Books `yaml:"books"`
	// Who pays for what, and what it is held against.
	Allocation Allocation `yaml:"allocation"`
	Journal    Journal    `yaml:"journal"`
	Budgets    []Budget   `yaml:"budgets"`
	Markups    []Markup   `yaml:"markups"`  // what cost centres are charged on top
	Metrics    []string   `yaml:"metrics"`  // CSV files
	Invoices   []string   `yaml:"invoices"` // CSV files
	Names      string     `yaml:"names"`    // a CSV file: what tokens, users, models, cost centres and accounts are called
	TopUps     []string   `yaml:"topups"`   // CSV files
	Close      Close      `yaml:"close"`
	Packages   Packages   `yaml:"packages"`  // what is handed out of a closed month: docs/packages.md
	Owners     Owners     `yaml:"owners"`    // who gets a file of his own: docs/packages.md
	EndUsers   EndUsers   `yaml:"end_users"` // what all of them have of end users' ids
	// What DuckDB may use.
	DuckDB  DuckDB  `yaml:"duckdb"`
	Publish Publish `yaml:"publish"`
	// What runs by itself: docs/schedule.md.
	Schedule Schedule `yaml:"schedule"`
	// Who may look at it in a browser: docs/page.md.
	Serve  Serve  `yaml:"serve"`
	Prune  Prune  `yaml:"prune"`
	Alerts Alerts `yaml:"alerts"`
	// Where the lake is delivered to: docs/deliver.md.
	Deliver []Delivery `yaml:"deliver"`

	Path   string         `yaml:"-"` // the file, "" if there is none
	all    []Account      // of AllAccounts; nil of a config that wasn't loaded
	lines  map[string]int // of the file, by path; nil if there is none
	unread []mistake      // keys and values of the file that can't be: what c holds is without them
}

// Account is one management key and what it may do.
type Account struct {
	Name        string  `yaml:"name"`
	BaseURL     string  `yaml:"base_url"`
	KeyEnv      string  `yaml:"key_env"`  // the environment variable that holds the key
	KeyFile     string  `yaml:"key_file"` // or the file, readable by its owner alone
	Rate        float64 `yaml:"rate"`     // requests a second at the most
	MaxInFlight int     `yaml:"max_in_flight"`
	PageSize    int     `yaml:"page_size"`
	Currency    string  `yaml:"currency"`    // where /balance can't be asked
	KeyExpires  string  `yaml:"key_expires"` // the day on which the key expires, UTC; the API doesn't tell
	Billing     string  `yaml:"billing"`     // schemas.Prepaid or schemas.Postpaid; "" is postpaid
	Draw        string  `yaml:"draw"`        // of a prepaid account: schemas.DrawFIFO or schemas.DrawCouponsFirst; "" is fifo
	TopUps      string  `yaml:"topups"`      // a CSV file of what was added to its balance
}

// Export says how far an export goes.
type Export struct {
	Settle   Duration `yaml:"settle"`   // nothing younger is exported
	Lookback Duration `yaml:"lookback"` // so far back days are asked again
	// RefetchAt are the ages at which a day is fetched whole once more, for corrections that leave its count alone.
	RefetchAt    []Duration `yaml:"refetch_at"`
	RefetchEvery Duration   `yaml:"refetch_every"` // so often the days of the lookback are fetched anew besides; 0: never
	NotBefore    Instant    `yaml:"not_before"`    // an export that isn't told a start begins no earlier; zero: anywhere
}

// DefaultExport is what holds where the config says nothing. A day is fetched whole once more before it leaves the
// lookback, and again after a week and after a month: corrections that leave its count alone are found by nothing else.
func DefaultExport() Export {
	const day = 24 * time.Hour
	return Export{Settle: Duration(DefaultSettle), Lookback: Duration(DefaultLookback),
		RefetchAt: []Duration{Duration(DefaultLookback - day), Duration(7 * day), Duration(30 * day)}}
}

// DuckDB is what the engine that builds and asks usage.duckdb may use.
type DuckDB struct {
	Memory  string `yaml:"memory"`  // beyond it, it spills to disk; "" as in publish.Options
	Threads int    `yaml:"threads"` // 0 as in publish.Options
}

// Publish says what usage.duckdb is made of.
type Publish struct {
	Records Records `yaml:"records"` // of which days it has the records itself
}

// Values of lake_access.
const (
	AccessPrivate = "private"
	AccessGroup   = "group"
)

// Overrides are the flags that stand above environment and config. "" means not given.
type Overrides struct {
	ConfigFile, Lake, Account, BaseURL string
}

// Load reads the set-up: the file (the named one, or DefaultFile if it stands in the working directory), or without one
// a single account of the environment's key. Relative paths in the file are relative to the file. Every mistake is
// reported at once, as ErrUsage.
//
// The defaults of export and alerts stand in the Config before it is parsed, so that a 0 that somebody wrote (lookback:
// 0) isn't taken for nothing said.
func Load(o Overrides, getenv func(string) string) (*Config, error) {
	c := &Config{Export: DefaultExport(),
		Alerts: Alerts{Repeat: Duration(DefaultRepeat)}}
	path := o.ConfigFile
	if path == "" {
		path = DefaultFile
	}
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := c.parse(b, path); err != nil {
			return nil, err
		}
	case errors.Is(err, fs.ErrNotExist) && o.ConfigFile == "":
		c.Accounts = []Account{{Name: DefaultAccount, KeyEnv: EnvKey}}
	default:
		return nil, Usage("usagelake init --config "+path, "read config: %w", err)
	}
	dir := "."
	if c.Path != "" {
		dir = filepath.Dir(c.Path)
	}
	switch {
	case o.Lake != "":
		c.Lake = o.Lake
	case getenv(EnvLake) != "":
		c.Lake = getenv(EnvLake)
	case c.Lake == "":
		c.Lake = filepath.Join(dir, DefaultLake)
	case !filepath.IsAbs(c.Lake):
		c.Lake = filepath.Join(dir, c.Lake)
	}
	beside := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	for i := range c.Accounts {
		a := &c.Accounts[i]
		switch {
		case o.BaseURL != "":
			a.BaseURL = o.BaseURL
		case getenv(EnvBaseURL) != "":
			a.BaseURL = getenv(EnvBaseURL)
		case a.BaseURL == "":
			a.BaseURL = DefaultBaseURL
		}
		a.KeyFile, a.TopUps = beside(a.KeyFile), beside(a.TopUps)
		// Of several accounts none can be meant by the one variable.
		if a.KeyEnv == "" && a.KeyFile == "" && len(c.Accounts) == 1 {
			a.KeyEnv = EnvKey
		}
	}
	c.Allocation.Rules = beside(c.Allocation.Rules)
	c.Serve.Compare, c.Serve.CompareMarkups = beside(c.Serve.Compare), beside(c.Serve.CompareMarkups)
	c.Serve.ComparePrices = beside(c.Serve.ComparePrices)
	if c.Books.file() {
		c.Books.Calendar = beside(c.Books.Calendar)
	}
	c.Books.Rates = beside(c.Books.Rates)
	c.Close.SSHKey = beside(c.Close.SSHKey)
	c.Names = beside(c.Names)
	c.Schedule.TokenFile = beside(c.Schedule.TokenFile)
	c.Alerts.beside(beside)
	c.Packages.beside(beside)
	c.Owners.Folder, c.EndUsers.KeyFile = beside(c.Owners.Folder), beside(c.EndUsers.KeyFile)
	for i := range c.Serve.Viewers {
		v := &c.Serve.Viewers[i]
		v.TokenFile, v.Map = beside(v.TokenFile), beside(v.Map)
	}
	for i := range c.Deliver {
		in := &c.Deliver[i].Iceberg
		in.TokenFile, in.ClientSecretFile = beside(in.TokenFile), beside(in.ClientSecretFile)
	}
	for i := range c.Schedule.Jobs {
		c.Schedule.Jobs[i].Out = beside(c.Schedule.Jobs[i].Out)
	}
	for i := range c.TopUps {
		c.TopUps[i] = beside(c.TopUps[i])
	}
	for i := range c.Metrics {
		c.Metrics[i] = beside(c.Metrics[i])
	}
	for i := range c.Invoices {
		c.Invoices[i] = beside(c.Invoices[i])
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	// After everything is checked: an account that is asked for alone must not hide a mistake in another, and the
	// published file is told of all of them.
	c.all = slices.Clone(c.Accounts)
	if o.Account != "" {
		i := slices.IndexFunc(c.Accounts, func(a Account) bool { return a.Name == o.Account })
		if i < 0 {
			return nil, Usage("", "no account %q in the config: it has %s", o.Account, strings.Join(c.AccountNames(), ", "))
		}
		// The capacity is cut, too: an append must not write over the next account.
		c.Accounts = c.Accounts[i : i+1 : i+1]
	}
	return c, nil
}

// AllAccounts are all accounts, also where one was asked for alone.
func (c *Config) AllAccounts() []Account {
	if c.all != nil {
		return c.all
	}
	return c.Accounts
}

// AllAccountNames are those of AllAccounts.
func (c *Config) AllAccountNames() []string { return namesOf(c.AllAccounts()) }

func (c *Config) AccountNames() []string { return namesOf(c.Accounts) }

func namesOf(accounts []Account) []string {
	names := make([]string, len(accounts))
	for i, a := range accounts {
		names[i] = a.Name
	}
	return names
}

// Prune says how long files are kept that closed months don't need. 0 is for ever.
type Prune struct {
	// Ages count from the end of the month that a day is of, once that month is closed.
	Raw        Duration `yaml:"raw"`        // raw files of windows
	Quarantine Duration `yaml:"quarantine"` // quarantine files of days whose raw files are pruned
}
